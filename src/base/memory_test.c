/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include "../../tests/test.h"

static void memory_comes_zeroed_and_is_counted(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    unsigned char *block = rp_alloc(4096);
    assert_non_null(block);
    for (size_t i = 0; i < 4096; i++) {
        assert_int_equal(block[i], 0);
    }
    assert_int_equal(rp_memory_live_count(), before + 1);
    rp_free(block);
    assert_int_equal(rp_memory_live_count(), before);
}

static void an_array_whose_size_overflows_is_refused(void **state) {
    (void)state;
    assert_null(rp_alloc_array(SIZE_MAX / 2, 3));
    assert_null(rp_realloc_array(NULL, SIZE_MAX, 2));
    assert_null(rp_alloc_aligned(64, SIZE_MAX - 3));
}

static void the_nth_allocation_fails_and_only_that_one(void **state) {
    (void)state;
    rp_memory_fail_at(2);
    void *first = rp_alloc(1);
    assert_true(rp_memory_fail_pending());
    assert_null(rp_alloc(1));
    assert_false(rp_memory_fail_pending());
    void *third = rp_alloc(1);
    assert_non_null(first);
    assert_non_null(third);
    rp_free(first);
    rp_free(third);
    rp_memory_fail_at(0);
}

static void aligned_memory_is_aligned_and_zeroed(void **state) {
    (void)state;
    unsigned char *block = rp_alloc_aligned(64, 100);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (size_t i = 0; i < 128; i++) {
        assert_int_equal(block[i], 0);
    }
    rp_free(block);
}

static void a_failed_growth_keeps_the_old_block(void **state) {
    (void)state;
    char *text = rp_strdup("kept");
    assert_non_null(text);
    rp_memory_fail_at(1);
    assert_null(rp_realloc_array(text, 100, 1));
    assert_string_equal(text, "kept");
    rp_free(text);
    rp_memory_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_is_counted),
        cmocka_unit_test(an_array_whose_size_overflows_is_refused),
        cmocka_unit_test(the_nth_allocation_fails_and_only_that_one),
        cmocka_unit_test(aligned_memory_is_aligned_and_zeroed),
        cmocka_unit_test(a_failed_growth_keeps_the_old_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
