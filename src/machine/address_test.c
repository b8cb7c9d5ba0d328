/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/address.h"

#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static rp_error err;
static char root[64];

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/rp-address-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    unsetenv("RESOURCE_POOL_BROKER");
    unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

static void the_environment_says_where_unless_the_caller_does(void **state) {
    (void)state;
    struct rp_address address;
    char mine[64];
    unsetenv("RESOURCE_POOL_BROKER");
    unsetenv("XDG_RUNTIME_DIR");
    assert_ok(rp_address_find(NULL, &address, &err));
    snprintf(mine, sizeof mine, "/tmp/resourcepool-%u", (unsigned)geteuid());
    assert_string_equal(address.folder, mine);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_ok(rp_address_find(NULL, &address, &err));
    assert_string_equal(address.socket, "/run/user/7/resourcepool/broker.sock");
    setenv("RESOURCE_POOL_BROKER", "/a/b//", 1);
    assert_ok(rp_address_find(NULL, &address, &err));
    assert_string_equal(address.lock, "/a/b/broker.lock");
    assert_ok(rp_address_find("/c", &address, &err));
    assert_string_equal(address.folder, "/c");
}

static void a_folder_that_no_socket_can_be_in_is_refused(void **state) {
    (void)state;
    struct rp_address address;
    char longest[RP_ADDRESS_FOLDER_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[RP_ADDRESS_FOLDER_BYTES - 1] = '\0';
    assert_ok(rp_address_find(longest, &address, &err));
    assert_int_equal(strlen(address.folder), RP_ADDRESS_FOLDER_BYTES - 1);
    longest[RP_ADDRESS_FOLDER_BYTES - 1] = 'x';
    longest[RP_ADDRESS_FOLDER_BYTES] = '\0';
    assert_status(rp_address_find(longest, &address, &err), RP_ERR_LIMIT);
    assert_status(rp_address_find("relative", &address, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "'relative'");
}

static void a_missing_folder_is_made_for_its_user_only(void **state) {
    (void)state;
    struct rp_address address;
    struct stat found;
    char path[80];
    snprintf(path, sizeof path, "%s/one/two", root);
    umask(0);
    assert_ok(rp_address_find(path, &address, &err));
    assert_status(rp_address_check(&address, &err), RP_ERR_ABSENT);
    assert_string_equal(err.message, "no broker is running");
    assert_ok(rp_address_prepare(&address, &err));
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0700);
    assert_ok(rp_address_prepare(&address, &err));
    assert_ok(rp_address_check(&address, &err));
    rmdir(path);
    snprintf(path, sizeof path, "%s/one", root);
    rmdir(path);
}

static void a_folder_that_others_may_enter_is_refused(void **state) {
    (void)state;
    struct rp_address address;
    char path[80];
    char link[80];
    snprintf(path, sizeof path, "%s/open", root);
    snprintf(link, sizeof link, "%s/link", root);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_ok(rp_address_find(path, &address, &err));
    assert_status(rp_address_prepare(&address, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "755");
    assert_int_equal(chmod(path, 0700), 0);
    assert_ok(rp_address_prepare(&address, &err));
    /* A link may be led elsewhere by whoever owns the folder that it is in. */
    assert_int_equal(symlink(path, link), 0);
    assert_ok(rp_address_find(link, &address, &err));
    assert_status(rp_address_prepare(&address, &err), RP_ERR_UNSUPPORTED);
    unlink(link);
    rmdir(path);
    if (geteuid() != 0) return;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_ok(rp_address_find(path, &address, &err));
    assert_status(rp_address_prepare(&address, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "belongs to user 12345");
    rmdir(path);
    rmdir(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_says_where_unless_the_caller_does),
        cmocka_unit_test(a_folder_that_no_socket_can_be_in_is_refused),
        cmocka_unit_test(a_missing_folder_is_made_for_its_user_only),
        cmocka_unit_test(a_folder_that_others_may_enter_is_refused),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
