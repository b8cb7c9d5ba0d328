/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/quota.h"

#include "base/memory.h"

#include "../../tests/tree.h"

#include <resourcepool/hardware.h>

static const char v2_mount[] = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
static const char v1_mounts[] =
    "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";

static double parse(const char *text) {
    return rp_quota_parse((struct rp_span){text, strlen(text)});
}

static void a_quota_is_time_by_period(void **state) {
    (void)state;
    assert_true(parse("250000 100000\n") == 2.5);
    assert_true(parse("50000 100000") == 0.5);
    assert_true(parse("300000\n 100000\n ") == 3);
}

static void what_limits_nothing_is_no_quota(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "max 100000",
        "-1 100000",
        "100000",
        "0 100000",
        "100000 0",
        "a b",
        "1e5 1e5",
        "18446744073709551615 1",
        "18446744073709551616 1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (parse(texts[i]) != -1) fail_msg("'%s' is a quota of %f", texts[i], parse(texts[i]));
    }
}

static void the_least_of_all_groups_above_counts(void **state) {
    (void)state;
    char root[64];
    char source[64];
    tree_create(root);
    tree_write(root, "/proc/self/mountinfo", v2_mount);
    tree_write(root, "/proc/self/cgroup", "0::/ci/job/step\n");
    tree_write(root, "/sys/fs/cgroup/ci/cpu.max", "400000 100000\n");
    tree_write(root, "/sys/fs/cgroup/ci/job/cpu.max", "150000 100000\n");
    tree_write(root, "/sys/fs/cgroup/ci/job/step/cpu.max", "max 100000\n");
    assert_true(rp_hardware_quota(root, source, sizeof source) == 1.5);
    assert_string_equal(source, "cgroup v2 /ci/job");
    assert_true(rp_hardware_quota(root, NULL, 0) == 1.5);
    tree_remove(root);
}

static void version_1_has_two_files_below_the_mount_of_cpu(void **state) {
    (void)state;
    char root[64];
    char source[64];
    tree_create(root);
    tree_write(root, "/proc/self/mountinfo", v1_mounts);
    tree_write(root, "/proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/c\n");
    tree_write(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    tree_write(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    tree_write(root, "/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "200000\n");
    tree_write(root, "/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
    assert_true(rp_hardware_quota(root, source, sizeof source) == 2);
    assert_string_equal(source, "cgroup v1 /c");
    tree_remove(root);
}

static void without_files_there_is_no_quota(void **state) {
    (void)state;
    char root[64];
    char source[64] = "before";
    tree_create(root);
    assert_true(rp_hardware_quota(root, source, sizeof source) == -1);
    assert_string_equal(source, "");
    tree_remove(root);
}

static void without_memory_there_is_no_quota(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1; n <= 6; n++) {
        rp_memory_fail_at(n);
        (void)rp_hardware_quota(NULL, NULL, 0);
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_is_time_by_period),
        cmocka_unit_test(what_limits_nothing_is_no_quota),
        cmocka_unit_test(the_least_of_all_groups_above_counts),
        cmocka_unit_test(version_1_has_two_files_below_the_mount_of_cpu),
        cmocka_unit_test(without_files_there_is_no_quota),
        cmocka_unit_test(without_memory_there_is_no_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
