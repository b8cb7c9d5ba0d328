/* SPDX-License-Identifier: Apache-2.0 */
#include "base/user_file.h"

#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES = 512 };

static char folder[] = "/tmp/rp-user-file-test-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char path[TEXT_BYTES];
    static const char *const below[] = {"/a/b/c", "/a/b", "/a", "/open", "/sticky", ""};
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        snprintf(path, sizeof path, "%s%s", folder, below[i]);
        rmdir(path);
    }
    return access(folder, F_OK) == 0 ? -1 : 0;
}

static void assert_found(const char *path, const char *expected) {
    char out[TEXT_BYTES];
    const char *why = "";
    assert_true(rp_user_file_find(path, "RP_TEST_FILE", "name.json", out, sizeof out, &why));
    assert_null(why);
    assert_string_equal(out, expected);
}

static void assert_none(const char *path, const char *reason) {
    char out[TEXT_BYTES];
    const char *why = "";
    assert_false(rp_user_file_find(path, "RP_TEST_FILE", "name.json", out, sizeof out, &why));
    if (reason) {
        assert_string_equal(why, reason);
    } else {
        assert_null(why);
    }
}

static void who_asks_last_is_heard_first(void **state) {
    (void)state;
    unsetenv("RP_TEST_FILE");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/home/somebody", 1);
    assert_found(NULL, "/home/somebody/.cache/resourcepool/name.json");
    setenv("XDG_CACHE_HOME", "relative", 1); /* which the specification says to ignore */
    assert_found(NULL, "/home/somebody/.cache/resourcepool/name.json");
    setenv("XDG_CACHE_HOME", "/caches", 1);
    assert_found(NULL, "/caches/resourcepool/name.json");
    setenv("RP_TEST_FILE", "/elsewhere/x", 1);
    assert_found(NULL, "/elsewhere/x");
    assert_found("/given", "/given");
    assert_int_equal(chdir("/tmp"), 0);
    assert_found("given", "/tmp/given");
    assert_none("off", NULL);
    assert_none("", NULL);
    setenv("RP_TEST_FILE", "off", 1);
    assert_none(NULL, NULL);
    assert_found("/given", "/given");
    unsetenv("RP_TEST_FILE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_none(NULL, "neither XDG_CACHE_HOME nor HOME is a folder");
    char large[TEXT_BYTES + 1];
    memset(large, 'x', sizeof large);
    large[0] = '/';
    large[TEXT_BYTES] = '\0';
    assert_none(large, "its path is too long");
}

static void missing_folders_are_made_for_this_user_alone(void **state) {
    (void)state;
    char path[TEXT_BYTES];
    char why[TEXT_BYTES] = "";
    snprintf(path, sizeof path, "%s/a/b/c/file", folder);
    assert_true(rp_user_file_prepare(path, why, sizeof why));
    assert_true(rp_user_file_prepare(path, why, sizeof why)); /* what is there may stay */
    *strrchr(path, '/') = '\0';
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    assert_true(rp_user_file_prepare("/file-of-the-root", why, sizeof why));
}

static void a_folder_that_anybody_may_write_is_refused(void **state) {
    (void)state;
    char path[TEXT_BYTES];
    char why[TEXT_BYTES] = "";
    snprintf(path, sizeof path, "%s/open", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    snprintf(path, sizeof path, "%s/open/file", folder);
    assert_false(rp_user_file_prepare(path, why, sizeof why));
    assert_says(why, "open to all");
    /* Where only the owner of a file may rename it, as in /tmp, it is good enough. */
    snprintf(path, sizeof path, "%s/sticky", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 01777), 0);
    snprintf(path, sizeof path, "%s/sticky/file", folder);
    assert_true(rp_user_file_prepare(path, why, sizeof why));
}

static void what_cannot_be_made_says_why(void **state) {
    (void)state;
    char why[TEXT_BYTES] = "";
    assert_false(rp_user_file_prepare("/proc/no-such/file", why, sizeof why));
    assert_says(why, "cannot make the folder '/proc/no-such': No such file or directory");
    assert_false(rp_user_file_prepare("/etc/hostname/file", why, sizeof why));
    assert_string_equal(why, "'/etc/hostname' is no folder");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_last_is_heard_first),
        cmocka_unit_test(missing_folders_are_made_for_this_user_alone),
        cmocka_unit_test(a_folder_that_anybody_may_write_is_refused),
        cmocka_unit_test(what_cannot_be_made_says_why),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
