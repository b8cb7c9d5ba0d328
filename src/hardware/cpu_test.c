/* SPDX-License-Identifier: Apache-2.0 */
#include <resourcepool/hardware.h>

#include "base/memory.h"
#include "base/status.h"

#include "../../tests/test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#define GIB     (UINT64_C(1) << 30)
#define UNKNOWN RP_UNKNOWN_U32

/* Recorded trees and the processor that must be found in them. */
static const struct {
    const char *machine;
    const char *name;
    const char *architecture;
    size_t feature_count;
    uint32_t logical, physical, sockets, numa;
    const char *affinity;
    uint32_t affinity_count;
    uint64_t bytes_total, bytes_free;
    const char *source;
    uint64_t machine_bytes;
} machines[] = {
    {"plain", "Example(R) CPU 4 @ 3.00GHz", "x86_64", 8, 4, 2, 1, 1, "0-3", 4, 16 * GIB, 12 * GIB,
     "machine", 16 * GIB},
    {"container-v2", "Example(R) Server CPU", "x86_64", 8, 4, 4, 2, 2, "1,3", 2, 2 * GIB, GIB,
     "cgroup v2 /docker/0123abcd", 512 * GIB},
    {"container-v1", "Example(R) CPU", "x86_64", 8, 2, UNKNOWN, UNKNOWN, UNKNOWN, "0-1", 2, 3 * GIB,
     3 * GIB - 3 * GIB / 4, "cgroup v1 /docker/0123abcd (above)", 64 * GIB},
    {"no-usage-v2", NULL, NULL, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, NULL, UNKNOWN, 8 * GIB,
     RP_UNKNOWN_U64, "cgroup v2 /job", 64 * GIB},
    {"arm", "arm implementer 0x41, part 0xd0c", "aarch64", 5, 4, UNKNOWN, UNKNOWN, UNKNOWN, "0-3",
     4, 8 * GIB, 6 * GIB, "machine", 8 * GIB},
    {"damaged", "???[2J", NULL, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, NULL, UNKNOWN,
     RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL, RP_UNKNOWN_U64},
    {"empty", NULL, NULL, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, NULL, UNKNOWN, RP_UNKNOWN_U64,
     RP_UNKNOWN_U64, NULL, RP_UNKNOWN_U64},
    {"without-proc", NULL, NULL, 0, 2, 2, 1, 1, NULL, UNKNOWN, RP_UNKNOWN_U64, RP_UNKNOWN_U64, NULL,
     RP_UNKNOWN_U64},
};

static void assert_text(const char *machine, const char *what, const char *is, const char *should) {
    if (!is != !should || (is && strcmp(is, should) != 0)) {
        fail_msg("%s: %s is %s, not %s", machine, what, is ? is : "unknown",
                 should ? should : "unknown");
    }
}

static const rp_snapshot *detect_machine(const char *machine) {
    char root[512];
    snprintf(root, sizeof root, SOURCE_ROOT "/tests/machines/%s", machine);
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.root = root;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    return snapshot;
}

static void the_processor_of_each_machine_is_described(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        const char *machine = machines[i].machine;
        print_message("%s\n", machine);
        const rp_snapshot *snapshot = detect_machine(machine);
        assert_true(rp_snapshot_is_simulated(snapshot));
        const rp_device *device = rp_snapshot_find_device(snapshot, "cpu");
        assert_non_null(device);
        assert_true(device->available);
        assert_true(device->simulated);
        assert_text(machine, "name", device->name, machines[i].name);
        assert_int_equal(device->memory_bytes_total, machines[i].bytes_total);
        assert_int_equal(device->memory_bytes_free, machines[i].bytes_free);
        const rp_cpu *cpu = device->cpu;
        assert_text(machine, "architecture", cpu->architecture, machines[i].architecture);
        assert_int_equal(cpu->feature_count, machines[i].feature_count);
        assert_int_equal(cpu->logical_count, machines[i].logical);
        assert_int_equal(cpu->physical_count, machines[i].physical);
        assert_int_equal(cpu->socket_count, machines[i].sockets);
        assert_int_equal(cpu->numa_count, machines[i].numa);
        assert_text(machine, "affinity", cpu->affinity, machines[i].affinity);
        assert_int_equal(cpu->affinity_count, machines[i].affinity_count);
        assert_int_equal(cpu->memory_limit_bytes, machines[i].bytes_total);
        assert_text(machine, "source", cpu->memory_limit_source, machines[i].source);
        assert_int_equal(cpu->machine_memory_bytes_total, machines[i].machine_bytes);
        rp_snapshot_release(snapshot);
    }
    assert_int_equal(rp_memory_live_count(), before);
}

static void each_numa_node_has_its_memory(void **state) {
    (void)state;
    const rp_snapshot *snapshot = detect_machine("container-v2");
    const rp_cpu *cpu = rp_snapshot_find_device(snapshot, "cpu")->cpu;
    assert_int_equal(cpu->numa_node_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(cpu->numa_nodes[i]->index, i);
        assert_int_equal(cpu->numa_nodes[i]->memory_bytes_total, 256 * GIB);
    }
    assert_string_equal(cpu->features[7], "avx2");
    rp_snapshot_release(snapshot);
}

static void what_is_damaged_is_said_in_a_note(void **state) {
    (void)state;
    const rp_snapshot *snapshot = detect_machine("damaged");
    assert_int_equal(rp_snapshot_note_count(snapshot), 2);
    assert_says(rp_snapshot_note(snapshot, 0), "features");
    assert_says(rp_snapshot_note(snapshot, 1), "no MemTotal that can be read");
    rp_snapshot_release(snapshot);
    snapshot = detect_machine("without-proc");
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), "No such file");
    rp_snapshot_release(snapshot);
}

static void this_machine_is_described_as_the_system_tells_it(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    const rp_device *device = rp_snapshot_find_device(snapshot, "cpu:0");
    assert_non_null(device);
    assert_false(device->simulated);
    const rp_cpu *cpu = device->cpu;
    struct utsname names;
    uname(&names);
    assert_string_equal(cpu->architecture, names.machine);
    assert_int_equal(cpu->logical_count, sysconf(_SC_NPROCESSORS_ONLN));
    cpu_set_t mask;
    assert_int_equal(sched_getaffinity(getpid(), sizeof mask, &mask), 0);
    assert_int_equal(cpu->affinity_count, CPU_COUNT(&mask));
    assert_true(device->memory_bytes_total <= cpu->machine_memory_bytes_total);
    assert_true(device->memory_bytes_free <= device->memory_bytes_total);
    assert_true(cpu->physical_count <= cpu->logical_count);
    rp_snapshot_release(snapshot);
}

/* A loop rather than one: the tree takes many small files through many functions. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char *const roots[] = {NULL, SOURCE_ROOT "/tests/machines/container-v2",
                                        SOURCE_ROOT "/tests/machines/damaged",
                                        SOURCE_ROOT "/tests/machines/arm"};
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
        options.root = roots[i];
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            const rp_snapshot *snapshot = NULL;
            rp_memory_fail_at(n);
            rp_status status = rp_hardware_detect(&options, &snapshot, &err);
            int pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            if (pending) assert_int_equal(status, RP_OK);
            if (!pending) assert_int_equal(status, RP_ERR_MEMORY);
            if (!pending) assert_null(snapshot);
            rp_snapshot_release(snapshot);
            assert_int_equal(rp_memory_live_count(), before);
            if (!pending) continue;
            assert_true(n > 5);
            break;
        }
    }
}

int main(void) {
    unsetenv("RESOURCE_POOL_SIMULATE");
    /* What an earlier run heard counts for nothing, and the user's cache stays as it is. */
    setenv("HARDWARE_DETECTION_CACHE", "off", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_processor_of_each_machine_is_described),
        cmocka_unit_test(each_numa_node_has_its_memory),
        cmocka_unit_test(what_is_damaged_is_said_in_a_note),
        cmocka_unit_test(this_machine_is_described_as_the_system_tells_it),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
