/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/key.h"

#include "base/memory.h"

#include "../../tests/test.h"

static const struct rp_key_parts samples[] = {
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c"},
    {.kind = RP_KIND_MODEL, .type = "a:b", .name = "c"},
    {.kind = RP_KIND_TOKENIZER, .type = "a", .name = "b:c"},
    {.kind = RP_KIND_RESOURCE, .type = "a"},
    {.kind = RP_KIND_RESOURCE, .type = "a", .name = "a"},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .device = "cpu"},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .precision = "cpu"},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .engine = "cpu"},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .path = "cpu"},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .threads = 1},
    {.kind = RP_KIND_MODEL, .type = "a", .name = "b:c", .threads = 2},
    {.kind = RP_KIND_MODEL,
     .type = "a",
     .name = "b:c",
     .device = "cpu",
     .precision = "fp16",
     .engine = "e",
     .path = "/p",
     .threads = 3},
};
enum { COUNT = sizeof samples / sizeof samples[0] };

static void keys_equal_their_own_parts_and_no_others(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct rp_key *key = rp_key_create(&samples[i]);
        assert_non_null(key);
        assert_int_equal(key->hash, rp_key_hash(&samples[i]));
        for (size_t j = 0; j < COUNT; j++) {
            assert_int_equal(rp_key_equals(key, &samples[j]), i == j);
        }
        struct rp_key_parts parts = rp_key_parts_of(key);
        assert_true(rp_key_equals(key, &parts));
        assert_int_equal(rp_key_hash(&parts), key->hash);
        rp_free(key);
    }
}

static void keys_read_well(void **state) {
    (void)state;
    static const char *const texts[COUNT] = {[0] = "a:b:c",
                                             [2] = "tokenizer:a:b:c",
                                             [3] = "a",
                                             [5] = "a:b:c@cpu",
                                             [11] = "a:b:c@cpu/fp16"};
    for (size_t i = 0; i < COUNT; i++) {
        char *text = rp_key_text(&samples[i]);
        assert_non_null(text);
        if (texts[i]) assert_string_equal(text, texts[i]);
        rp_free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_equal_their_own_parts_and_no_others),
        cmocka_unit_test(keys_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
