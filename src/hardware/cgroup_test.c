/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/cgroup.h"

#include "base/memory.h"

#include "../../tests/test.h"

#include <stdio.h>

#define GIB (UINT64_C(1) << 30)

static struct rp_span span(const char *text) {
    return (struct rp_span){text, strlen(text)};
}

/* Recorded trees and what must be found in them; tests/machines/README.md describes each. */
static const struct {
    const char *machine;
    uint64_t bytes_total;
    uint64_t bytes_free;
    const char *source;
    size_t note_count;
} machines[] = {
    {"plain", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
    {"container-v2", 2 * GIB, GIB, "cgroup v2 /docker/0123abcd", 0},
    {"container-v1", 3 * GIB, 3 * GIB - 3 * GIB / 4, "cgroup v1 /docker/0123abcd (above)", 0},
    {"hybrid", 6 * GIB, 2 * GIB, "cgroup v1 /job", 0},
    {"flat-v1", 8 * GIB, 7 * GIB, "cgroup v1 /job/step", 0},
    {"nested-v2", 4 * GIB, GIB, "cgroup v2 /ci.slice/job", 0},
    {"throttled-v2", 6 * GIB, GIB, "cgroup v2 /job (memory.high)", 0},
    {"namespaced-v2", 10 * GIB, 9 * GIB, "cgroup v2 /../..", 0},
    {"elsewhere-v2", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
    {"no-usage-v2", 8 * GIB, RP_UNKNOWN_U64, "cgroup v2 /job", 0},
    {"damaged", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
    {"damaged-limit", 4 * GIB, 3 * GIB, "cgroup v2 /job (memory.high)", 1},
    {"empty", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
    {"without-proc", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
    {"no-such-machine", RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, 0},
};

static void the_limit_of_each_machine_is_found(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        char root[512];
        snprintf(root, sizeof root, SOURCE_ROOT "/tests/machines/%s", machines[i].machine);
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = rp_snapshot_create();
        struct rp_cgroup_limit limit = {0};
        assert_ok(rp_cgroup_read_limit(root, snapshot, &limit, &err));
        print_message("%s: %s\n", machines[i].machine, limit.source ? limit.source : "no limit");
        assert_int_equal(limit.bytes_total, machines[i].bytes_total);
        assert_int_equal(limit.bytes_free, machines[i].bytes_free);
        if (machines[i].source) {
            assert_string_equal(limit.source, machines[i].source);
        } else {
            assert_null(limit.source);
        }
        assert_int_equal(rp_snapshot_note_count(snapshot), machines[i].note_count);
        rp_snapshot_release(snapshot);
    }
    assert_int_equal(rp_memory_live_count(), before);
}

static void a_damaged_limit_is_noted_with_what_it_holds(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    struct rp_cgroup_limit limit;
    assert_ok(
        rp_cgroup_read_limit(SOURCE_ROOT "/tests/machines/damaged-limit", snapshot, &limit, &err));
    assert_string_equal(
        rp_snapshot_note(snapshot, 0),
        "'/sys/fs/cgroup/job/memory.max' holds '12 GiB', which is no number; passed over");
    rp_snapshot_release(snapshot);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        struct rp_snapshot *snapshot = rp_snapshot_create();
        rp_error err = RP_ERROR_INIT;
        struct rp_cgroup_limit limit = {0};
        rp_memory_fail_at(n);
        rp_status status = rp_cgroup_read_limit(SOURCE_ROOT "/tests/machines/damaged-limit",
                                                snapshot, &limit, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 5);
            return;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_int_equal(err.status, RP_ERR_MEMORY);
        assert_int_equal(limit.bytes_total, 0);
    }
}

static void the_path_of_the_process_is_found_per_version(void **state) {
    (void)state;
    char path[RP_LIMIT_NAME_BYTES];
    const char *both = "11:cpu,cpuacct:/c\n4:memory,pids:/a:b\n1:name=systemd:/s\n0::/u\n";
    assert_true(rp_cgroup_find_path(span(both), 1, "memory", path));
    assert_string_equal(path, "/a:b");
    assert_true(rp_cgroup_find_path(span(both), 2, "memory", path));
    assert_string_equal(path, "/u");
    assert_false(rp_cgroup_find_path(span("0::/u\n"), 1, "memory", path));
    assert_false(rp_cgroup_find_path(span("4:memory:/a\n"), 2, "memory", path));
    static const char *const bad[] = {"",      ":",      "0:",  "0::", "0::relative",
                                      "x::/a", "00::/a", "\n\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rp_cgroup_find_path(span(bad[i]), 2, "memory", path))
            fail_msg("'%s' has a path", bad[i]);
    }
    assert_false(rp_cgroup_find_path((struct rp_span){"0::/a\0b", 7}, 2, "memory", path));
}

static void a_path_longer_than_any_is_refused(void **state) {
    (void)state;
    char text[RP_LIMIT_NAME_BYTES + 16];
    char path[RP_LIMIT_NAME_BYTES];
    memset(text, 'a', sizeof text);
    memcpy(text, "0::/", 4);
    size_t longest = RP_LIMIT_NAME_BYTES - 1;
    assert_true(rp_cgroup_find_path((struct rp_span){text, longest + 3}, 2, "memory", path));
    assert_int_equal(strlen(path), longest);
    assert_false(rp_cgroup_find_path((struct rp_span){text, longest + 4}, 2, "memory", path));
}

static void mounts_are_read_with_their_escapes(void **state) {
    (void)state;
    struct rp_cgroup_mount mount;
    struct rp_span rest = span("22 1 0:5 / / rw - ext4 /dev/vda rw\n"
                               "23 1 0:6 / /cg/cpu rw - cgroup cgroup rw,cpu\n"
                               "29 23 0:26 /a\\040b /sys/fs/c\\134g rw shared:4 - cgroup2 c rw\n"
                               "30 23 0:27 / /m\\9x rw - cgroup cgroup rw,memory\n"
                               "31 23 0:27 relative /m rw - cgroup2 cgroup rw\n"
                               "32 23 0:27 / /a\\000b rw - cgroup2 cgroup rw\n"
                               "33 23 - cgroup2 cgroup rw\n"
                               "34 23 0:27 / /m rw - cgroup2\n");
    assert_true(rp_cgroup_next_mount(&rest, "memory", &mount));
    assert_int_equal(mount.version, 2);
    assert_string_equal(mount.root, "/a b");
    assert_string_equal(mount.point, "/sys/fs/c\\g");
    assert_true(rp_cgroup_next_mount(&rest, "memory", &mount));
    assert_int_equal(mount.version, 1);
    assert_string_equal(mount.point, "/m\\9x");
    assert_false(rp_cgroup_next_mount(&rest, "memory", &mount));
}

static void a_path_is_below_its_mount_or_not_about_us(void **state) {
    (void)state;
    static const struct {
        const char *path;
        const char *mount_root;
        const char *below; /* NULL: not about this process */
    } cases[] = {
        {"/a/b", "/", "/a/b"},
        {"/", "/", ""},
        {"/docker/x", "/docker/x", ""},
        {"/docker/x/y", "/docker/x", "/y"},
        {"/docker/xy", "/docker/x", NULL},
        {"/user", "/docker/x", NULL},
        {"/", "/docker/x", NULL},
        {"/", "/..", ""},
        {"/", "/../..", ""},
        {"/a", "/..", ""},
        {"/../b", "/..", "/b"},
        {"/../b", "/../..", ""},
        {"/../b", "/", NULL},
        {"/a/../../etc", "/", NULL},
        {"/a/..b/c", "/", "/a/..b/c"},
        {"/a/..", "/a", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *below = rp_cgroup_path_below(cases[i].path, cases[i].mount_root);
        if (!below != !cases[i].below || (below && strcmp(below, cases[i].below) != 0)) {
            fail_msg("'%s' in a mount of '%s': %s", cases[i].path, cases[i].mount_root,
                     below ? below : "not about us");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_of_each_machine_is_found),
        cmocka_unit_test(a_damaged_limit_is_noted_with_what_it_holds),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_path_of_the_process_is_found_per_version),
        cmocka_unit_test(a_path_longer_than_any_is_refused),
        cmocka_unit_test(mounts_are_read_with_their_escapes),
        cmocka_unit_test(a_path_is_below_its_mount_or_not_about_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
