/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/memory.h"

#include "../../tests/test.h"

static void what_goes_in_is_found_until_it_is_removed(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static int values[COUNT];
    struct rp_table table = {0};
    assert_null(rp_table_find(&table, 5).value);
    rp_table_remove(&table, 5, values); /* from nothing: nothing */
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(rp_table_reserve(&table));
        rp_table_insert(&table, i % 700 * 64,
                        &values[i]); /* crowded: many share a hash or a home */
    }
    for (size_t i = 0; i < COUNT; i += 2) {
        rp_table_remove(&table, i % 700 * 64, &values[i]);
    }
    assert_int_equal(table.count, COUNT / 2);
    for (size_t i = 0; i < COUNT; i++) {
        struct rp_table_probe at = rp_table_find(&table, i % 700 * 64);
        while (at.value && at.value != &values[i]) {
            at = rp_table_find_next(&table, at);
        }
        assert_int_equal(at.value == &values[i], i % 2);
    }
    rp_table_fini(&table);
}

static void a_table_that_cannot_grow_stays_as_it_is(void **state) {
    (void)state;
    static int values[12];
    struct rp_table table = {0};
    for (size_t i = 0; i < 12; i++) {
        assert_true(rp_table_reserve(&table));
        rp_table_insert(&table, i, &values[i]);
    }
    rp_memory_fail_at(1);
    assert_false(rp_table_reserve(&table));
    rp_memory_fail_at(0);
    for (size_t i = 0; i < 12; i++) {
        assert_ptr_equal(rp_table_find(&table, i).value, &values[i]);
    }
    rp_table_fini(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_is_found_until_it_is_removed),
        cmocka_unit_test(a_table_that_cannot_grow_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
