/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include "../../tests/test.h"

#include <errno.h>

static const rp_status all[] = {
#define VALUE(constant, number, http, exit_code, name, exception, text) RP_##constant,
    RP_STATUS_MAP(VALUE)
#undef VALUE
};
enum { COUNT = sizeof all / sizeof all[0] };

static void the_table_is_complete_and_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(all[i], i);
        assert_non_null(rp_status_name(all[i]));
        assert_true(strlen(rp_status_text(all[i])) > 0);
        assert_in_range(rp_status_exit_code(all[i]), 0, 5);
        assert_in_range(rp_status_http_code(all[i]), 200, 599);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(rp_status_name(all[i]), rp_status_name(all[j]));
            assert_string_not_equal(rp_status_exception(all[i]), rp_status_exception(all[j]));
        }
    }
}

static void a_stranger_has_no_name_and_fails(void **state) {
    (void)state;
    assert_null(rp_status_name((rp_status)999));
    assert_int_equal(rp_status_exit_code((rp_status)999), 1);
    assert_non_null(rp_status_text((rp_status)999));
}

static void an_error_carries_status_message_and_hint(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    assert_int_equal(rp_fail(&err, RP_ERR_CAPACITY, "needs %d, has %d", 7, 3), RP_ERR_CAPACITY);
    rp_hint(&err, "release %s", "something");
    assert_int_equal(err.status, RP_ERR_CAPACITY);
    assert_string_equal(err.message, "needs 7, has 3");
    assert_string_equal(err.hint, "release something");
    rp_error_prefix(&err, "cannot load '%s'", "x");
    assert_string_equal(err.message, "cannot load 'x': needs 7, has 3");
    assert_string_equal(err.hint, "release something");
    rp_fail(&err, RP_ERR_IO, "next");
    assert_string_equal(err.hint, "");
}

static void no_error_object_is_needed(void **state) {
    (void)state;
    assert_int_equal(rp_fail(NULL, RP_ERR_DATA, "%s", "x"), RP_ERR_DATA);
    rp_hint(NULL, "x");
    rp_error_prefix(NULL, "x");
    errno = ENOENT;
    assert_int_equal(rp_fail_errno(NULL, "x"), RP_ERR_NOT_FOUND);
}

static void a_failed_system_call_is_told_with_its_reason(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    errno = ENOENT;
    assert_int_equal(rp_fail_errno(&err, "cannot open '%s'", "a"), RP_ERR_NOT_FOUND);
    assert_int_equal(err.os_errno, ENOENT);
    assert_string_equal(err.message, "cannot open 'a': No such file or directory");
    errno = EACCES;
    assert_int_equal(rp_fail_errno(&err, "x"), RP_ERR_IO);
    errno = ENOMEM;
    assert_int_equal(rp_fail_errno(&err, "x"), RP_ERR_MEMORY);
}

static void a_long_message_is_cut_where_a_character_ends(void **state) {
    (void)state;
    char name[1000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(name, 'a', sizeof name);
        for (size_t i = shift; i + 2 < sizeof name; i += 2) {
            memcpy(name + i, "\xC3\xA9", 2); /* e with an acute accent */
        }
        name[sizeof name - 1] = '\0';
        rp_error err = RP_ERROR_INIT;
        rp_fail(&err, RP_ERR_DATA, "%s", name);
        size_t length = strlen(err.message);
        assert_in_range(length, sizeof err.message - 6, sizeof err.message - 1);
        assert_string_equal(err.message + length - 3, "...");
        assert_null(strchr(err.message + shift, '?'));
        rp_error_prefix(&err, "%s", "while loading");
        assert_in_range(strlen(err.message), sizeof err.message - 6, sizeof err.message - 1);
    }
}

static void a_hostile_name_cannot_write_to_the_terminal(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_fail(&err, RP_ERR_DATA, "'%s'",
            "a\x1b[2Jb\nc\xff"
            "d");
    assert_string_equal(err.message, "'a?[2Jb?c?d'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_complete_and_in_order),
        cmocka_unit_test(a_stranger_has_no_name_and_fails),
        cmocka_unit_test(an_error_carries_status_message_and_hint),
        cmocka_unit_test(no_error_object_is_needed),
        cmocka_unit_test(a_failed_system_call_is_told_with_its_reason),
        cmocka_unit_test(a_long_message_is_cut_where_a_character_ends),
        cmocka_unit_test(a_hostile_name_cannot_write_to_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
