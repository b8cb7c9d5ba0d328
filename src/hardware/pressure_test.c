/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/pressure.h"

#include "base/clock.h"
#include "base/memory.h"
#include "hardware/cgroup.h"
#include "hardware/snapshot.h"

#include "../../tests/memory_group.h"
#include "../../tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB       (UINT64_C(1) << 20)
#define GIB       (UINT64_C(1) << 30)
#define SECOND_NS INT64_C(1000000000)

static struct rp_span span(const char *text) {
    return (struct rp_span){text, strlen(text)};
}

/* -- parsers ------------------------------------------------------------------------------- */

static void stall_times_are_read(void **state) {
    (void)state;
    struct rp_pressure_stall stall;
    rp_pressure_parse_stall(span("some avg10=12.34 avg60=1.00 avg300=0.10 total=1234567\n"
                                 "full avg10=100.00 avg60=0.50 avg300=0.05 total=7\n"),
                            &stall);
    assert_float_equal(stall.some_percent_10s, 12.34, 1e-9);
    assert_float_equal(stall.full_percent_10s, 100, 1e-9);
    assert_int_equal(stall.some_us_total, 1234567);
    assert_int_equal(stall.full_us_total, 7);
}

static void damaged_stall_times_are_unknown(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "\n\n",
        "some",
        "some avg10= total=\n",
        "some avg10=1 total=-1\n",
        "some avg10=-1.00 total=99999999999999999999999\n",
        "some avg10=100.01 total=1x\n",
        "some avg10=1.0 total\n",
        "somewhat avg10=1.00 total=1\n",
        "nan",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rp_pressure_stall stall;
        rp_pressure_parse_stall(span(bad[i]), &stall);
        if (stall.some_percent_10s >= 0 || stall.full_percent_10s >= 0 ||
            stall.some_us_total != RP_UNKNOWN_U64 || stall.full_us_total != RP_UNKNOWN_U64) {
            fail_msg("'%s' is taken for something", bad[i]);
        }
    }
}

static void private_memory_is_resident_without_shared(void **state) {
    (void)state;
    assert_int_equal(rp_pressure_parse_statm(span("900 300 100 5 0 80 0\n"), 4096), 200 * 4096);
    assert_int_equal(rp_pressure_parse_statm(span("900 100 100\n"), 4096), 0);
    static const char *const bad[] = {
        "", "900", "900 300", "900 100 300", "x 3 1", "9 -3 1", "1 18446744073709551615 0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(rp_pressure_parse_statm(span(bad[i]), 4096), RP_UNKNOWN_U64);
    }
}

static void busy_time_leaves_out_idle_and_waiting(void **state) {
    (void)state;
    uint64_t busy;
    uint64_t all;
    assert_true(
        rp_pressure_parse_cpu(span("cpu  10 1 5 100 20 2 3 4 50 60\ncpu0 1\n"), &busy, &all));
    assert_int_equal(busy, 25);
    assert_int_equal(all, 145);
    assert_false(rp_pressure_parse_cpu(span("cpu 1 2 3 4 5 6 7\n"), &busy, &all));
    assert_false(rp_pressure_parse_cpu(span("cpu0 1 2 3 4 5 6 7 8\n"), &busy, &all));
    assert_false(rp_pressure_parse_cpu(span(""), &busy, &all));
    assert_false(
        rp_pressure_parse_cpu(span("cpu 18446744073709551615 1 0 0 0 0 0 0\n"), &busy, &all));
}

/* -- recorded machines --------------------------------------------------------------------- */

static void each_machine_leaves_what_detection_says(void **state) {
    (void)state;
    static const char *const machines[] = {
        "plain",     "container-v2",  "container-v1",  "hybrid",       "flat-v1",
        "nested-v2", "throttled-v2",  "namespaced-v2", "elsewhere-v2", "no-usage-v2",
        "damaged",   "damaged-limit", "empty",         "without-proc", "no-such-machine",
    };
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        char root[512];
        snprintf(root, sizeof root, SOURCE_ROOT "/tests/machines/%s", machines[i]);
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = rp_snapshot_create();
        struct rp_cgroup_limit limit;
        assert_ok(rp_cgroup_read_limit(root, snapshot, &limit, &err));
        struct rp_pressure *pressure;
        struct rp_pressure_reading reading;
        assert_ok(rp_pressure_open(root, &pressure, &err));
        rp_pressure_read(pressure, &reading);
        print_message("%s: %s\n", machines[i], reading.group ? reading.group : "no limit");
        uint64_t total = limit.bytes_total < reading.machine_bytes_total
                             ? limit.bytes_total
                             : reading.machine_bytes_total;
        assert_int_equal(reading.bytes_total, total);
        assert_int_equal(!reading.group, !limit.source);
        bool is_known = reading.machine_bytes_available != RP_UNKNOWN_U64 &&
                        (!limit.source || limit.bytes_free != RP_UNKNOWN_U64);
        uint64_t usable = reading.machine_bytes_available;
        if (limit.bytes_free < usable) usable = limit.bytes_free;
        if (total < usable) usable = total;
        assert_int_equal(reading.bytes_usable, is_known ? usable : RP_UNKNOWN_U64);
        rp_pressure_close(pressure);
        rp_snapshot_release(snapshot);
    }
    assert_int_equal(rp_memory_live_count(), before);
}

/* -- composed machines --------------------------------------------------------------------- */

static char tree[64];

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static int make_tree(void **state) {
    (void)state;
    snprintf(tree, sizeof tree, "/tmp/rp_pressure_XXXXXX");
    return mkdtemp(tree) ? 0 : -1;
}

static int remove_tree(void **state) {
    (void)state;
    return nftw(tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Write a file below the tree, in place: an open descriptor sees it. */
static void put(const char *path, const char *text) {
    char whole[512];
    int length = snprintf(whole, sizeof whole, "%s%s", tree, path);
    assert_true(length > 0 && (size_t)length < sizeof whole);
    for (char *at = whole + strlen(tree) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        assert_true(mkdir(whole, 0755) == 0 || errno == EEXIST);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void drop(const char *path) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", tree, path);
    assert_int_equal(unlink(whole), 0);
}

static const char *const mount_v2 = "31 23 0:28 / /cg rw - cgroup2 cgroup2 rw\n";

static void put_machine(void) {
    put("/proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\n");
    put("/proc/self/statm", "900 300 100 5 0 80 0\n");
    put("/proc/stat", "cpu 10 0 10 80 0 0 0 0 0 0\n");
    put("/proc/pressure/memory", "some avg10=3.00 avg60=0.00 avg300=0.00 total=1000\n"
                                 "full avg10=1.00 avg60=0.00 avg300=0.00 total=500\n");
}

/* Version 2: /job has a limit of 1 GiB, 768 MiB are used, 256 MiB of them cache. */
static void put_v2(void) {
    put_machine();
    put("/proc/self/cgroup", "0::/job\n");
    put("/proc/self/mountinfo", mount_v2);
    put("/cg/job/memory.max", "1073741824\n");
    put("/cg/job/memory.high", "max\n");
    put("/cg/job/memory.current", "805306368\n");
    put("/cg/job/memory.stat", "anon 1\ninactive_file 268435456\nactive_file 5\n");
    put("/cg/job/memory.events", "low 0\nhigh 2\nmax 3\noom 5\noom_kill 4\n");
    put("/cg/job/memory.pressure", "some avg10=50.00 avg60=0.00 avg300=0.00 total=0\n"
                                   "full avg10=20.00 avg60=0.00 avg300=0.00 total=0\n");
}

static struct rp_pressure *open_tree(void) {
    rp_error err = RP_ERROR_INIT;
    struct rp_pressure *pressure = NULL;
    assert_ok(rp_pressure_open(tree, &pressure, &err));
    return pressure;
}

static void a_group_of_version_2_is_read_whole(void **state) {
    (void)state;
    put_v2();
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, SECOND_NS, &reading);
    assert_int_equal(reading.at_ns, SECOND_NS);
    assert_int_equal(reading.machine_bytes_total, 8 * GIB);
    assert_int_equal(reading.machine_bytes_available, 4 * GIB);
    assert_string_equal(reading.group, "cgroup v2 /job");
    assert_int_equal(reading.group_bytes_limit, GIB);
    assert_int_equal(reading.group_bytes_high, RP_UNKNOWN_U64);
    assert_int_equal(reading.group_bytes_used, 768 * MIB);
    assert_int_equal(reading.group_bytes_reclaimable, 256 * MIB);
    assert_int_equal(reading.bytes_usable, 512 * MIB);
    assert_int_equal(reading.bytes_total, GIB);
    assert_int_equal(reading.process_bytes_anonymous, 200 * (uint64_t)sysconf(_SC_PAGESIZE));
    /* What happened before the meter was opened is not ours. */
    assert_int_equal(reading.group_oom_events, 0);
    assert_int_equal(reading.group_oom_kills, 0);
    assert_int_equal(reading.group_high_events, 0);
    put("/cg/job/memory.events", "low 0\nhigh 4\nmax 4\noom 6\noom_kill 6\n");
    put("/cg/job/memory.high", "900000000\n");
    rp_pressure_read_at(pressure, SECOND_NS, &reading);
    assert_int_equal(reading.group_oom_events, 1);
    assert_int_equal(reading.group_oom_kills, 2);
    assert_int_equal(reading.group_high_events, 3);
    assert_int_equal(reading.group_bytes_high, 900000000);
    assert_int_equal(reading.bytes_total, 900000000);
    assert_int_equal(reading.bytes_usable, 900000000 - 512 * MIB);
    rp_pressure_close(pressure);
}

static void a_group_of_version_1_is_read_whole(void **state) {
    (void)state;
    put_machine();
    put("/proc/self/cgroup", "4:memory:/job/step\n0::/\n");
    put("/proc/self/mountinfo", "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
                                "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n");
    put("/cg/memory/job/memory.limit_in_bytes", "1073741824\n");
    put("/cg/memory/job/memory.usage_in_bytes", "536870912\n");
    put("/cg/memory/job/memory.stat", "total_inactive_file 0\n");
    put("/cg/memory/job/memory.failcnt", "10\n");
    put("/cg/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    put("/cg/memory/job/step/memory.limit_in_bytes", "9223372036854771712\n");
    put("/cg/memory/job/step/memory.usage_in_bytes", "1048576\n");
    put("/cg/memory/job/step/memory.stat",
        "total_inactive_file 0\nhierarchical_memory_limit 1073741824\n");
    put("/cg/memory/job/step/memory.failcnt", "0\n");
    put("/cg/memory/job/step/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, 0, &reading);
    assert_string_equal(reading.group, "cgroup v1 /job");
    assert_int_equal(reading.bytes_usable, 512 * MIB);
    assert_int_equal(reading.group_oom_events, RP_UNKNOWN_U64);
    put("/cg/memory/job/memory.failcnt", "13\n");
    put("/cg/memory/job/step/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    rp_pressure_read_at(pressure, 0, &reading);
    assert_int_equal(reading.group_oom_kills, 2);
    assert_int_equal(reading.group_high_events, 3);
    /* The machine's: version 2 has no group with a limit here. */
    assert_float_equal(reading.stall_some_percent, 3.0, 1e-9);
    rp_pressure_close(pressure);
}

static void without_groups_the_machine_counts(void **state) {
    (void)state;
    put_machine();
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, 0, &reading);
    assert_null(reading.group);
    assert_int_equal(reading.bytes_usable, 4 * GIB);
    assert_int_equal(reading.bytes_total, 8 * GIB);
    assert_int_equal(reading.group_bytes_used, RP_UNKNOWN_U64);
    assert_int_equal(reading.group_oom_kills, RP_UNKNOWN_U64);
    assert_int_equal(rp_pressure_group_bytes_room(&reading), RP_UNKNOWN_U64);
    rp_pressure_close(pressure);
}

static void stalls_are_a_share_of_the_window(void **state) {
    (void)state;
    put_v2();
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, 10 * SECOND_NS, &reading);
    assert_float_equal(reading.stall_some_percent, 50.0, 1e-9); /* the kernel's */
    put("/cg/job/memory.pressure", "some avg10=0.00 total=500000\nfull avg10=0.00 total=250000\n");
    rp_pressure_read_at(pressure, 12 * SECOND_NS - 1, &reading);
    assert_float_equal(reading.stall_some_percent, 50.0, 1e-9); /* too early for another */
    rp_pressure_read_at(pressure, 12 * SECOND_NS, &reading);
    assert_float_equal(reading.stall_some_percent, 25.0, 1e-9);
    assert_float_equal(reading.stall_full_percent, 12.5, 1e-9);
    /* A window longer than the kernel's own, and a clock that went back. */
    put("/cg/job/memory.pressure", "some avg10=7.00 total=900000\nfull avg10=6.00 total=900000\n");
    rp_pressure_read_at(pressure, 60 * SECOND_NS, &reading);
    assert_float_equal(reading.stall_some_percent, 7.0, 1e-9);
    put("/cg/job/memory.pressure", "some avg10=9.00 total=1\nfull avg10=8.00 total=1\n");
    rp_pressure_read_at(pressure, SECOND_NS, &reading);
    assert_float_equal(reading.stall_some_percent, 9.0, 1e-9);
    put("/cg/job/memory.pressure", "nonsense\n");
    rp_pressure_read_at(pressure, 5 * SECOND_NS, &reading);
    assert_true(reading.stall_some_percent < 0 && reading.stall_full_percent < 0);
    rp_pressure_close(pressure);
}

static void processors_are_busy_since_the_reading_before(void **state) {
    (void)state;
    put_machine();
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, SECOND_NS, &reading);
    assert_true(reading.cpu_percent < 0);
    put("/proc/stat", "cpu 30 0 20 150 0 0 0 0 0 0\n");
    rp_pressure_read_at(pressure, 2 * SECOND_NS, &reading);
    assert_float_equal(reading.cpu_percent, 30.0, 1e-9);
    put("/proc/stat", "cpu 0 0 0 0 0 0 0 0 0 0\n");
    rp_pressure_read_at(pressure, 3 * SECOND_NS, &reading);
    assert_true(reading.cpu_percent < 0);
    rp_pressure_close(pressure);
}

static void a_limit_set_later_and_a_move_are_noticed(void **state) {
    (void)state;
    put_v2();
    put("/cg/job/memory.max", "max\n");
    put("/proc/self/cgroup", "0::/job/step\n");
    put("/cg/job/step/memory.max", "max\n");
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, SECOND_NS, &reading);
    assert_null(reading.group);
    put("/cg/job/memory.max", "1073741824\n");
    rp_pressure_read_at(pressure, 2 * SECOND_NS, &reading);
    assert_string_equal(reading.group, "cgroup v2 /job");
    put("/cg/other/memory.max", "2147483648\n");
    put("/cg/other/memory.current", "0\n");
    put("/proc/self/cgroup", "0::/other\n");
    rp_pressure_read_at(pressure, 3 * SECOND_NS - 1, &reading);
    assert_string_equal(reading.group, "cgroup v2 /job");
    rp_pressure_read_at(pressure, 3 * SECOND_NS, &reading);
    assert_string_equal(reading.group, "cgroup v2 /other");
    assert_int_equal(reading.bytes_usable, 2 * GIB);
    /* Files that are gone, and none of them there any more. */
    drop("/proc/self/cgroup");
    rp_pressure_read_at(pressure, 4 * SECOND_NS, &reading);
    assert_null(reading.group);
    assert_int_equal(reading.bytes_usable, 4 * GIB);
    rp_pressure_close(pressure);
}

static void garbage_is_unknown_never_zero(void **state) {
    (void)state;
    static const char *const files[] = {
        "/proc/meminfo",          "/proc/self/statm",    "/proc/stat",
        "/proc/pressure/memory",  "/cg/job/memory.max",  "/cg/job/memory.high",
        "/cg/job/memory.current", "/cg/job/memory.stat", "/cg/job/memory.events",
        "/cg/job/memory.pressure"};
    static const char *const texts[] = {
        "", "\n", "x\n", "-1\n", "99999999999999999999999\n", "MemTotal: 1 MB\nMemAvailable: kB\n"};
    put_v2();
    struct rp_pressure *pressure = open_tree();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t j = 0; j < sizeof files / sizeof files[0]; j++) {
            put(files[j], texts[i]);
        }
        struct rp_pressure_reading reading;
        rp_pressure_read_at(pressure, (int64_t)(i + 1) * 20 * SECOND_NS, &reading);
        assert_int_equal(reading.machine_bytes_total, RP_UNKNOWN_U64);
        assert_int_equal(reading.machine_bytes_available, RP_UNKNOWN_U64);
        assert_null(reading.group);
        assert_int_equal(reading.bytes_usable, RP_UNKNOWN_U64);
        assert_int_equal(reading.bytes_total, RP_UNKNOWN_U64);
        assert_int_equal(reading.process_bytes_anonymous, RP_UNKNOWN_U64);
        assert_true(reading.stall_some_percent < 0);
        assert_true(reading.cpu_percent < 0);
    }
    rp_pressure_close(pressure);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    put_v2();
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        struct rp_pressure *pressure = NULL;
        rp_error err = RP_ERROR_INIT;
        rp_memory_fail_at(n);
        rp_status status = rp_pressure_open(tree, &pressure, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_pressure_close(pressure);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 3);
            return;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_null(pressure);
    }
}

static void without_memory_the_known_groups_stay(void **state) {
    (void)state;
    put_v2();
    struct rp_pressure *pressure = open_tree();
    struct rp_pressure_reading reading;
    put("/cg/job/step/memory.max", "1048576\n");
    put("/cg/job/step/memory.current", "0\n");
    put("/proc/self/cgroup", "0::/job/step\n");
    for (uint64_t n = 1;; n++) {
        rp_memory_fail_at(n);
        rp_pressure_read_at(pressure, (int64_t)n * 20 * SECOND_NS, &reading);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_non_null(reading.group);
        if (pending) break;
    }
    assert_string_equal(reading.group, "cgroup v2 /job/step");
    rp_pressure_close(pressure);
}

/* -- this machine -------------------------------------------------------------------------- */

static void this_machine_is_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_pressure *pressure;
    struct rp_pressure_reading reading;
    assert_ok(rp_pressure_open("", &pressure, &err));
    rp_pressure_read(pressure, &reading);
    assert_true(reading.machine_bytes_total != RP_UNKNOWN_U64);
    assert_true(reading.bytes_usable <= reading.bytes_total);
    assert_true(reading.process_bytes_anonymous > 0);
    enum { ROUNDS = 1000 };
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < ROUNDS; i++) {
        rp_pressure_read(pressure, &reading);
    }
    int64_t end_ns = rp_clock_ns();
    print_message("%.1f us a reading\n", (double)(end_ns - start_ns) / 1000 / ROUNDS);
    for (int i = 0; i < ROUNDS; i++) {
        rp_pressure_read_at(pressure, end_ns + 2 * SECOND_NS * i, &reading);
    }
    print_message("%.1f us once a second, with a look for new limits\n",
                  (double)(rp_clock_ns() - end_ns) / 1000 / ROUNDS);
    rp_pressure_close(pressure);
}

static void a_trigger_is_opened_or_says_why_not(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_pressure *pressure;
    assert_ok(rp_pressure_open("", &pressure, &err));
    int fd = -1;
    if (rp_pressure_open_trigger(pressure, &fd, &err) == RP_OK) {
        struct pollfd wait = {.fd = fd, .events = POLLPRI};
        assert_true(poll(&wait, 1, 0) >= 0);
        assert_int_equal(wait.revents & POLLERR, 0);
        close(fd);
    } else {
        print_message("%s\n", err.message);
        assert_int_equal(fd, -1);
        assert_int_equal(err.status, RP_ERR_UNSUPPORTED);
        assert_says(err.message, "memory");
    }
    rp_pressure_close(pressure);
    pressure = open_tree();
    assert_status(rp_pressure_open_trigger(pressure, &fd, &err), RP_ERR_UNSUPPORTED);
    rp_pressure_close(pressure);
}

/* What the child in the group found, through a pipe. */
struct found {
    int stage; /* how far it came; see child() */
    struct rp_pressure_reading before;
    struct rp_pressure_reading after;
    char group[512];
    int grandchild_status;
};

/* In the grandchild: be the first that the kernel would kill, then take too much. */
static void take_too_much(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1000", 4) != 4) _exit(3);
    if (fd >= 0) close(fd);
    _exit(memory_group_touch(100 * MIB) ? 0 : 4);
}

static void child(struct memory_group *group, int out) {
    static struct found found;
    struct rp_pressure *pressure = NULL;
    if (memory_group_move(group, 0) == NULL) found.stage = 1;
    if (found.stage == 1 && memory_group_touch(40 * MIB)) found.stage = 2;
    if (found.stage == 2 && rp_pressure_open("", &pressure, NULL) == RP_OK) {
        rp_pressure_read(pressure, &found.before);
        if (found.before.group) {
            snprintf(found.group, sizeof found.group, "%s", found.before.group);
        }
        pid_t pid = fork();
        if (pid == 0) take_too_much();
        if (pid > 0 && waitpid(pid, &found.grandchild_status, 0) == pid) found.stage = 3;
        rp_pressure_read(pressure, &found.after);
    }
    rp_pressure_close(pressure);
    _exit(write(out, &found, sizeof found) == (ssize_t)sizeof found ? 0 : 1);
}

static void a_process_in_a_group_sees_its_limit_and_its_kills(void **state) {
    (void)state;
    static struct memory_group group;
    const char *reason = memory_group_make(&group);
    if (!reason) {
        reason = memory_group_set_limit(&group, 64 * MIB);
        if (reason) rmdir(group.folder);
    }
    if (reason) {
        print_message("%s\n", reason);
        skip();
    }
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(&group, ends[1]);
    close(ends[1]);
    static struct found found;
    ssize_t got = read(ends[0], &found, sizeof found);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    reason = memory_group_remove(&group);
    if (reason) fail_msg("%s", reason);
    assert_int_equal(got, sizeof found);
    assert_int_equal(status, 0);
    assert_int_equal(found.stage, 3);

    char name[600];
    snprintf(name, sizeof name, "cgroup v%d %.500s", group.version, group.name);
    assert_string_equal(found.group, name);
    const struct rp_pressure_reading *before = &found.before;
    assert_int_equal(before->group_bytes_limit, 64 * MIB);
    assert_int_equal(before->bytes_total, 64 * MIB);
    assert_true(before->group_bytes_used >= 40 * MIB);
    assert_true(before->bytes_usable <= 24 * MIB);
    assert_true(before->process_bytes_anonymous >= 40 * MIB);
    assert_true(WIFSIGNALED(found.grandchild_status));
    assert_int_equal(WTERMSIG(found.grandchild_status), SIGKILL);
    assert_true(found.after.group_oom_kills > before->group_oom_kills);
    assert_true(found.after.group_high_events > before->group_high_events);
}

/* In the child: 0, or the step that went wrong. The meter was opened by the parent. */
static int wander(struct rp_pressure *pressure, struct memory_group groups[2]) {
    struct rp_pressure_reading reading;
    rp_pressure_read_at(pressure, 0, &reading);
    if (memory_group_move(&groups[0], 0)) return 1;
    /* At the same time: only the other process id tells. */
    pid_t pid = fork();
    if (pid == 0) {
        rp_pressure_read_at(pressure, 0, &reading);
        bool found = reading.group && strstr(reading.group, groups[0].name);
        _exit(found && reading.group_bytes_limit == 64 * MIB ? 0 : 1);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return 2;
    rp_pressure_read_at(pressure, 2 * SECOND_NS, &reading);
    if (!reading.group || !strstr(reading.group, groups[0].name)) return 3;
    if (memory_group_move(&groups[1], 0)) return 4;
    /* At the same time again: only the removed group tells. */
    if (memory_group_remove(&groups[0])) return 5;
    rp_pressure_read_at(pressure, 2 * SECOND_NS, &reading);
    if (!reading.group || !strstr(reading.group, groups[1].name)) return 6;
    return reading.group_bytes_limit == 32 * MIB ? 0 : 7;
}

static void a_fork_a_move_and_a_removed_group_are_noticed(void **state) {
    (void)state;
    static struct memory_group groups[2];
    const char *reason = NULL;
    size_t made = 0;
    while (made < 2 && !reason) {
        reason = memory_group_make(&groups[made]);
        if (reason) break;
        reason = memory_group_set_limit(&groups[made], made == 0 ? 64 * MIB : 32 * MIB);
        made++;
    }
    if (reason) {
        print_message("%s\n", reason);
        for (size_t i = 0; i < made; i++) {
            rmdir(groups[i].folder);
        }
        skip();
    }
    rp_error err = RP_ERROR_INIT;
    struct rp_pressure *pressure;
    assert_ok(rp_pressure_open("", &pressure, &err));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(wander(pressure, groups));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rp_pressure_close(pressure);
    (void)memory_group_remove(&groups[0]); /* gone where all went well */
    reason = memory_group_remove(&groups[1]);
    if (reason) fail_msg("%s", reason);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stall_times_are_read),
        cmocka_unit_test(damaged_stall_times_are_unknown),
        cmocka_unit_test(private_memory_is_resident_without_shared),
        cmocka_unit_test(busy_time_leaves_out_idle_and_waiting),
        cmocka_unit_test(each_machine_leaves_what_detection_says),
        cmocka_unit_test_setup_teardown(a_group_of_version_2_is_read_whole, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(a_group_of_version_1_is_read_whole, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(without_groups_the_machine_counts, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(stalls_are_a_share_of_the_window, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(processors_are_busy_since_the_reading_before, make_tree,
                                        remove_tree),
        cmocka_unit_test_setup_teardown(a_limit_set_later_and_a_move_are_noticed, make_tree,
                                        remove_tree),
        cmocka_unit_test_setup_teardown(garbage_is_unknown_never_zero, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(without_memory_the_known_groups_stay, make_tree,
                                        remove_tree),
        cmocka_unit_test(this_machine_is_read),
        cmocka_unit_test_setup_teardown(a_trigger_is_opened_or_says_why_not, make_tree,
                                        remove_tree),
        cmocka_unit_test(a_process_in_a_group_sees_its_limit_and_its_kills),
        cmocka_unit_test(a_fork_a_move_and_a_removed_group_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
