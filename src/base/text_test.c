/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include "base/limits.h"
#include "base/memory.h"

#include "../../tests/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void a_text_grows_and_stays_terminated(void **state) {
    (void)state;
    struct rp_text text = RP_TEXT_INIT;
    for (int i = 0; i < 1000; i++) {
        rp_text_print(&text, "%d,", i);
    }
    assert_false(text.failed);
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(text.bytes), text.length);
    rp_text_fini(&text);
}

static void a_text_without_memory_fails_once_and_for_all(void **state) {
    (void)state;
    struct rp_text text = RP_TEXT_INIT;
    rp_text_append(&text, "kept", 4);
    rp_memory_fail_at(1);
    char large[500];
    memset(large, 'x', sizeof large);
    rp_text_append(&text, large, sizeof large);
    assert_true(text.failed);
    rp_text_append(&text, "more", 4);
    assert_string_equal(text.bytes, "kept");
    rp_text_fini(&text);
    rp_memory_fail_at(0);
}

static void utf8_is_told_from_what_only_looks_like_it(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t error_at; /* the length when valid */
    } cases[] = {
        {"", 0},
        {"plain", 5},
        {"\xC3\xA9", 2},
        {"\xE2\x82\xAC", 3},
        {"\xF0\x9F\x98\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4}, /* U+10FFFF, the last */
        {"\xF4\x90\x80\x80", 0}, /* beyond it */
        {"\xC0\x80", 0},         /* overlong NUL */
        {"\xE0\x9F\xBF", 0},     /* overlong */
        {"\xF0\x8F\xBF\xBF", 0}, /* overlong */
        {"\xED\xA0\x80", 0},     /* surrogate */
        {"ab\xE2\x82", 2},       /* cut off */
        {"\x80", 0},             /* alone */
        {"\xFF", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length = strlen(cases[i].bytes);
        assert_int_equal(rp_text_utf8_error_at(cases[i].bytes, length), cases[i].error_at);
    }
}

static void control_characters_are_found(void **state) {
    (void)state;
    assert_int_equal(rp_text_control_at("abc", 3), 3);
    assert_int_equal(rp_text_control_at("a\nc", 3), 1);
    assert_int_equal(rp_text_control_at("ab\x7f", 3), 2);
    assert_int_equal(rp_text_control_at("\xC2\x85", 2), 0); /* NEL, a C1 control */
    assert_int_equal(rp_text_control_at("\xC2\xA0", 2), 2); /* a no-break space is none */
}

static void bytes_read_well(void **state) {
    (void)state;
    char out[RP_BYTES_TEXT_BYTES];
    assert_string_equal(rp_text_bytes(0, out, sizeof out), "0 B");
    assert_string_equal(rp_text_bytes(1023, out, sizeof out), "1023 B");
    assert_string_equal(rp_text_bytes(1024, out, sizeof out), "1.0 KiB");
    assert_string_equal(rp_text_bytes((1 << 20) - 1, out, sizeof out), "1.0 MiB");
    assert_string_equal(rp_text_bytes(UINT64_C(21904333209), out, sizeof out), "20.4 GiB");
    assert_string_equal(rp_text_bytes(UINT64_MAX, out, sizeof out), "16.0 EiB");
}

static void sizes_are_parsed_or_refused(void **state) {
    (void)state;
    uint64_t bytes = 0;
    assert_true(rp_text_parse_bytes("0", &bytes) && bytes == 0);
    assert_true(rp_text_parse_bytes("512MiB", &bytes) && bytes == UINT64_C(512) << 20);
    assert_true(rp_text_parse_bytes("1.5GB", &bytes) && bytes == 1500000000);
    assert_true(rp_text_parse_bytes("2 g", &bytes) && bytes == UINT64_C(2) << 30);
    static const char *const bad[] = {"",     "-1",    "MiB", "1 banana", "1e999",
                                      "0x10", "17EiB", "nan", " 1",       "99999999999999999999",
                                      "1GiBx"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rp_text_parse_bytes(bad[i], &bytes)) fail_msg("'%s' was taken as a size", bad[i]);
    }
}

static void whole_numbers_are_parsed_or_refused(void **state) {
    (void)state;
    uint64_t value = 0;
    assert_true(rp_text_parse_u64("18446744073709551615", &value) && value == UINT64_MAX);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1.0", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rp_text_parse_u64(bad[i], &value)) fail_msg("'%s' was taken as a number", bad[i]);
    }
}

static void a_file_is_read_whole_or_refused(void **state) {
    (void)state;
    char path[] = "/tmp/rp-text-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char block[10000];
    memset(block, 'x', sizeof block);
    assert_int_equal(write(fd, block, sizeof block), sizeof block);
    close(fd);
    char *bytes = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(path, sizeof block, &bytes, &length), 0);
    assert_int_equal(length, sizeof block);
    assert_int_equal(bytes[length], '\0');
    rp_free(bytes);
    assert_int_equal(rp_text_read_file(path, sizeof block - 1, &bytes, &length), EFBIG);
    unlink(path);
    assert_int_equal(rp_text_read_file(path, 1, &bytes, &length), ENOENT);
    assert_int_equal(rp_text_read_file("/tmp", 1, &bytes, &length), EISDIR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_grows_and_stays_terminated),
        cmocka_unit_test(a_text_without_memory_fails_once_and_for_all),
        cmocka_unit_test(utf8_is_told_from_what_only_looks_like_it),
        cmocka_unit_test(control_characters_are_found),
        cmocka_unit_test(bytes_read_well),
        cmocka_unit_test(sizes_are_parsed_or_refused),
        cmocka_unit_test(whole_numbers_are_parsed_or_refused),
        cmocka_unit_test(a_file_is_read_whole_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
