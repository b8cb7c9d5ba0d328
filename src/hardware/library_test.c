/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/library.h"

#include "base/memory.h"
#include "base/status.h"

#include "../../tests/test.h"
#include "../../tests/tree.h"

#include <stdlib.h>

static const char *const sonames[] = {"libfake.so.2", "libfake.so.1", NULL};
static const char *const folders[] = {"/opt/maker/lib", NULL};
static const struct rp_library_names names = {"RP_TEST_LIBRARY", sonames, folders};

static char root[64];
static char path[RP_LIMIT_NAME_BYTES];

static int set_up(void **state) {
    (void)state;
    tree_create(root);
    unsetenv("RP_TEST_LIBRARY");
    unsetenv("LD_LIBRARY_PATH");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tree_remove(root);
    unsetenv("RP_TEST_LIBRARY");
    unsetenv("LD_LIBRARY_PATH");
    return 0;
}

static void each_place_is_searched(void **state) {
    (void)state;
    static const char *const places[] = {
        "/opt/maker/lib/libfake.so.2",
        "/usr/lib/x86_64-linux-gnu/libfake.so.1",
        "/usr/lib/aarch64-linux-gnu/libfake.so.1",
        "/usr/lib64/libfake.so.2",
        "/lib/libfake.so.1",
        "/strange/place/libfake.so.2",
        "/strange/other/libfake.so.1",
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        char machine[64];
        tree_create(machine);
        tree_write(machine, "/etc/ld.so.conf",
                   "# a comment\ninclude ld.so.conf.d/*.conf\n\nnonsense\n");
        tree_write(machine, "/etc/ld.so.conf.d/a.conf", "/strange/place # here\n");
        tree_write(machine, "/etc/ld.so.conf.d/b.conf",
                   "/strange/other\ninclude /etc/ld.so.conf\n");
        assert_status(rp_library_find(machine, &names, path, &err), RP_ERR_ABSENT);
        assert_string_equal(err.message, "libfake.so.2 is not installed");
        tree_write(machine, places[i], "");
        assert_ok(rp_library_find(machine, &names, path, &err));
        assert_string_equal(path, places[i]);
        tree_remove(machine);
    }
}

static void the_newest_soname_wins_wherever_it_is(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    tree_write(root, "/lib64/libfake.so.1", "");
    tree_write(root, "/opt/maker/lib/libfake.so.2", "");
    assert_ok(rp_library_find(root, &names, path, &err));
    assert_string_equal(path, "/opt/maker/lib/libfake.so.2");
    tree_write(root, "/usr/lib/libfake.so.2", "");
    assert_ok(rp_library_find(root, &names, path, &err));
    assert_string_equal(path, "/usr/lib/libfake.so.2"); /* the first folder of equals */
}

static void this_process_says_nothing_about_a_recorded_machine(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    setenv("RP_TEST_LIBRARY", FAKE_CUDA, 1);
    setenv("LD_LIBRARY_PATH", root, 1);
    tree_write(root, "/libfake.so.1", "");
    assert_status(rp_library_find(root, &names, path, &err), RP_ERR_ABSENT);
    assert_false(rp_library_is_chosen(root, &names));
    assert_true(rp_library_is_chosen("", &names));
    assert_ok(rp_library_find("", &names, path, &err));
    assert_string_equal(path, FAKE_CUDA);
}

static void the_variable_is_obeyed_or_complained_about(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    tree_link(root, "/libfake.so.1", FAKE_CUDA);
    setenv("RP_TEST_LIBRARY", root, 1); /* its folder is enough */
    assert_ok(rp_library_find("", &names, path, &err));
    assert_says(path, "/libfake.so.1");
    setenv("RP_TEST_LIBRARY", "/no/such/file", 1);
    assert_status(rp_library_find("", &names, path, &err), RP_ERR_ABSENT);
    assert_says(err.message, "RP_TEST_LIBRARY is '/no/such/file', where no libfake.so.2 is");
    setenv("RP_TEST_LIBRARY", "off", 1);
    assert_status(rp_library_find("", &names, path, &err), RP_ERR_ABSENT);
    assert_says(err.message, "switched off by RP_TEST_LIBRARY");
    assert_false(rp_library_is_chosen("", &names));
    setenv("RP_TEST_LIBRARY", "", 1); /* as if it were not set */
    assert_status(rp_library_find("", &names, path, &err), RP_ERR_ABSENT);
    assert_string_equal(err.message, "libfake.so.2 is not installed");
}

/* What a container's set-up or another architecture leaves. */
static void what_cannot_be_opened_is_passed_over_and_told(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        const char *says;
    } cases[] = {
        {"", "is an empty file"},
        {"GROUP ( /lib/libfake.so.1 ) and more text", "is not a shared library"},
        {"\177ELF\001\001\001 thirty-two bits", "is for another processor"},
    };
    rp_error err = RP_ERROR_INIT;
    setenv("LD_LIBRARY_PATH", root, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_write(root, "/libfake.so.1", cases[i].bytes);
        assert_status(rp_library_find("", &names, path, &err), RP_ERR_ABSENT);
        assert_says(err.message, "libfake.so.2 is not installed: ");
        assert_says(err.message, cases[i].says);
    }
    char other[80];
    snprintf(other, sizeof other, "%s/other", root);
    tree_link(root, "/other/libfake.so.1", FAKE_CUDA);
    char both[160];
    snprintf(both, sizeof both, "%s:%s::", root, other);
    setenv("LD_LIBRARY_PATH", both, 1);
    assert_ok(rp_library_find("", &names, path, &err));
    assert_says(path, "/other/libfake.so.1");
    tree_link(root, "/libfake.so.2", "/nowhere/at/all");
    setenv("LD_LIBRARY_PATH", root, 1);
    assert_status(rp_library_find("", &names, path, &err), RP_ERR_ABSENT);
    assert_says(err.message, "leads nowhere");
}

struct functions {
    int (*cuInit)(unsigned int);
    int (*missing)(void);
};

static void symbols_go_into_their_places(void **state) {
    (void)state;
    static const struct rp_library_symbol good[] = {
        {"missing_symbol", offsetof(struct functions, missing), false},
        {"cuInit", offsetof(struct functions, cuInit), true},
        {0},
    };
    static const struct rp_library_symbol bad[] = {
        {"missing_symbol", offsetof(struct functions, missing), true},
        {0},
    };
    rp_error err = RP_ERROR_INIT;
    struct functions functions = {0};
    void *handle = NULL;
    assert_ok(rp_library_open(FAKE_CUDA, good, &functions, &handle, &err));
    assert_non_null(functions.cuInit);
    assert_null(functions.missing);
    rp_library_close(handle);
    handle = NULL;
    assert_status(rp_library_open(FAKE_CUDA, bad, &functions, &handle, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "has no missing_symbol");
    assert_null(handle);
    assert_status(rp_library_open("/no/such.so", good, &functions, &handle, &err), RP_ERR_ABSENT);
    assert_says(err.message, "cannot open '/no/such.so'");
    rp_library_close(NULL);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    tree_write(root, "/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n");
    tree_write(root, "/etc/ld.so.conf.d/a.conf", "/strange\n");
    tree_write(root, "/strange/libfake.so.1", "");
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_memory_fail_at(n);
        rp_status status = rp_library_find(root, &names, path, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_place_is_searched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_soname_wins_wherever_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(this_process_says_nothing_about_a_recorded_machine, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_variable_is_obeyed_or_complained_about, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_opened_is_passed_over_and_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(symbols_go_into_their_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
