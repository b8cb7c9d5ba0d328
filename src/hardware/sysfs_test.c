/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/sysfs.h"

#include "hardware/python.h"

#include <resourcepool/hardware.h>

#include "../../tests/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/rp-sysfs-XXXXXX";

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_value_is_the_first_line_without_blanks(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *line; /* NULL: none */
        uint64_t number;
    } cases[] = {
        {"42\n", "42", 42},
        {"  0x1Af \n second\n", "0x1Af", 0x1af},
        {"18446744073709551615\n", "18446744073709551615", UINT64_MAX},
        {"18446744073709551616\n", "18446744073709551616", RP_UNKNOWN_U64},
        {"0x\n", "0x", RP_UNKNOWN_U64},
        {"0x11111111111111111\n", "0x11111111111111111", RP_UNKNOWN_U64},
        {"-1\n", "-1", RP_UNKNOWN_U64},
        {"12 MiB\n", "12 MiB", RP_UNKNOWN_U64},
        {"\x1b[2Jx\n", "?[2Jx", RP_UNKNOWN_U64},
        {"\n7\n", NULL, RP_UNKNOWN_U64},
        {"   \n", NULL, RP_UNKNOWN_U64},
        {"", NULL, RP_UNKNOWN_U64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[64];
        put("value", cases[i].text);
        bool is_read = rp_sysfs_line(root, line, sizeof line, "/%s", "value");
        if (is_read != (cases[i].line != NULL)) fail_msg("case %zu", i);
        if (is_read) assert_string_equal(line, cases[i].line);
        assert_int_equal(rp_sysfs_u64(root, "/value"), cases[i].number);
    }
    char line[4];
    put("value", "abcdef\n");
    assert_true(rp_sysfs_line(root, line, sizeof line, "/value"));
    assert_string_equal(line, "abc");
    assert_false(rp_sysfs_line(root, line, sizeof line, "/none"));
    assert_false(rp_sysfs_exists(root, "/none"));
    assert_true(rp_sysfs_exists(root, "/value"));
}

static void names_come_in_the_order_of_their_numbers(void **state) {
    (void)state;
    struct rp_sysfs_names names;
    char folder[128];
    snprintf(folder, sizeof folder, "%s/many", root);
    assert_int_equal(mkdir(folder, 0700), 0);
    put("many/card10", "");
    put("many/card2", "");
    put("many/other", "");
    put("many/.hidden", "");
    rp_sysfs_list(root, "/many", "card", &names);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[0], "card2");
    assert_string_equal(names.names[1], "card10");
    for (int i = 0; i < 2 * RP_SYSFS_NAMES; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/x%d", i);
        put(name, "");
    }
    rp_sysfs_list(root, "/many", "x", &names);
    assert_int_equal(names.count, RP_SYSFS_NAMES);
    rp_sysfs_list(root, "/none", "", &names);
    assert_int_equal(names.count, 0);
}

static void a_link_has_the_name_of_what_it_leads_to(void **state) {
    (void)state;
    char path[128];
    char name[16];
    snprintf(path, sizeof path, "%s/driver", root);
    assert_int_equal(symlink("../../bus/pci/drivers/amdgpu", path), 0);
    assert_true(rp_sysfs_link_name(root, name, sizeof name, "/driver"));
    assert_string_equal(name, "amdgpu");
    assert_false(rp_sysfs_link_name(root, name, 4, "/driver"));
    assert_false(rp_sysfs_link_name(root, name, sizeof name, "/value"));
}

static void a_package_s_file_is_found_in_the_active_python(void **state) {
    (void)state;
    char path[RP_LIMIT_NAME_BYTES];
    static const char *const folders[] = {"lib", "lib/python3.11", "lib/python3.11/site-packages",
                                          "lib/python3.11/site-packages/some"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", root, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    put("lib/python3.11/site-packages/some/lib.so.1", "");
    put("lib/python3.11/site-packages/some/lib.so.2", "");
    unsetenv("CONDA_PREFIX");
    setenv("PATH", "/nonexistent", 1);
    unsetenv("VIRTUAL_ENV");
    assert_false(rp_python_find("", "some/lib.so*", path));
    setenv("VIRTUAL_ENV", root, 1);
    assert_true(rp_python_find("", "some/lib.so*", path));
    assert_non_null(strstr(path, "site-packages/some/lib.so.2"));
    assert_false(rp_python_find("", "other/lib.so*", path));
    assert_false(rp_python_find("/recorded", "some/lib.so*", path));
    setenv("VIRTUAL_ENV", "relative", 1);
    assert_false(rp_python_find("", "some/lib.so*", path));
    unsetenv("VIRTUAL_ENV");
    /* By the PATH: the folder above the one of python3. */
    snprintf(path, sizeof path, "%s/bin", root);
    assert_int_equal(mkdir(path, 0700), 0);
    put("bin/python3", "");
    snprintf(path, sizeof path, "%s/bin/python3", root);
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(path, sizeof path, "/nonexistent::%s/bin", root);
    setenv("PATH", path, 1);
    assert_true(rp_python_find("", "some/lib.so.1", path));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

int main(void) {
    if (!mkdtemp(root)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_the_first_line_without_blanks),
        cmocka_unit_test(names_come_in_the_order_of_their_numbers),
        cmocka_unit_test(a_link_has_the_name_of_what_it_leads_to),
        cmocka_unit_test(a_package_s_file_is_found_in_the_active_python),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}
