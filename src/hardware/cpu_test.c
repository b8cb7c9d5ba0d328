/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded and composed machines, read as this one would be; tests/machines/ has them. */
#include "hardware/cgroup.h"

#include "base/memory.h"

#include "../../tests/test.h"

#include <resourcepool/hardware.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>

#define GIB (UINT64_C(1) << 30)

static const rp_snapshot *detect(const char *machine) {
    char root[512];
    rp_error err = RP_ERROR_INIT;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    const rp_snapshot *snapshot = NULL;
    snprintf(root, sizeof root, "%s/tests/machines/%s", SOURCE_ROOT, machine);
    options.root = root;
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    return snapshot;
}

static void limits_of_control_groups_count(void **state) {
    (void)state;
    static const struct {
        const char *machine;
        uint64_t total;
        uint64_t free;
        const char *source;
    } cases[] = {
        {"plain", 16 * GIB, 10 * GIB, "machine"},
        /* 2 GiB less 1 GiB in use, of which a quarter can be reclaimed */
        {"container-v2-2gib", 2 * GIB, GIB + GIB / 4, "cgroup v2"},
        {"nested-v2", GIB, GIB - 104857600, "cgroup v2 /a"},
        {"container-v1-1gib", GIB, GIB - 524288000 + 104857600, "cgroup v1 /job"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const rp_snapshot *snapshot = detect(cases[i].machine);
        const rp_device *cpu = rp_snapshot_find_device(snapshot, "cpu");
        assert_non_null(cpu);
        if (cpu->memory_bytes_total != cases[i].total || cpu->memory_bytes_free != cases[i].free) {
            fail_msg("%s: %llu free of %llu", cases[i].machine,
                     (unsigned long long)cpu->memory_bytes_free,
                     (unsigned long long)cpu->memory_bytes_total);
        }
        assert_says(cpu->cpu->memory_limit_source, cases[i].source);
        assert_string_equal(cpu->name, "Composed Processor 9000");
        assert_true(cpu->simulated);
        rp_snapshot_release(snapshot);
    }
}

static void what_is_damaged_or_missing_is_unknown(void **state) {
    (void)state;
    static const char *const machines[] = {"damaged", "nothing"};
    for (size_t i = 0; i < 2; i++) {
        const rp_snapshot *snapshot = detect(machines[i]);
        const rp_device *cpu = rp_snapshot_find_device(snapshot, "cpu");
        if (cpu) assert_true(cpu->memory_bytes_total == RP_UNKNOWN_U64);
        rp_snapshot_release(snapshot);
    }
}

static void this_machine_is_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    unsetenv("RESOURCE_POOL_SIMULATE");
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    const rp_device *cpu = rp_snapshot_find_device(snapshot, "cpu:0");
    assert_non_null(cpu);
    assert_false(cpu->simulated);
    assert_true(cpu->memory_bytes_total > (1 << 20) && cpu->memory_bytes_total != RP_UNKNOWN_U64);
    assert_true(cpu->memory_bytes_free <= cpu->memory_bytes_total);
    assert_in_range(cpu->cpu->logical_count, 1, 100000);
    assert_true(cpu->cpu->affinity_count >= 1);
    rp_snapshot_release(snapshot);
}

static void a_file_stands_in_for_the_machine_or_is_an_error(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char path[512];
    const rp_snapshot *snapshot = NULL;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = path;
    snprintf(path, sizeof path, "%s/tests/machines/8xh100.json", SOURCE_ROOT);
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_true(rp_snapshot_is_simulated(snapshot));
    assert_int_equal(rp_snapshot_device_count(snapshot), 9);
    const rp_device *device = rp_snapshot_find_device(snapshot, "cuda:7");
    assert_non_null(device);
    assert_true(device->simulated && device->memory_bytes_total == 80 * GIB);
    assert_string_equal(rp_snapshot_find_device(snapshot, "cuda")->id, "cuda:0");
    assert_null(rp_snapshot_find_device(snapshot, "cuda:8"));
    /* Written and read again it is the same. */
    char *json = NULL;
    char *again = NULL;
    const rp_snapshot *copy = NULL;
    assert_ok(rp_snapshot_to_json(snapshot, 2, &json, &err));
    assert_ok(rp_snapshot_from_json(json, strlen(json), "json", &copy, &err));
    assert_ok(rp_snapshot_to_json(copy, 2, &again, &err));
    assert_string_equal(json, again);
    rp_string_free(json);
    rp_string_free(again);
    rp_snapshot_release(copy);
    rp_snapshot_release(snapshot);
    snprintf(path, sizeof path, "/nowhere/machine.json");
    assert_status(rp_hardware_detect(&options, &snapshot, &err), RP_ERR_NOT_FOUND);
    assert_says(err.message, "/nowhere/machine.json");
}

static void a_wrong_type_is_named_by_its_place(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    static const struct {
        const char *json;
        const char *says;
    } cases[] = {
        {"{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":true,"
         "\"memory_bytes_total\":\"much\"}]}",
         "devices[0].memory_bytes_total"},
        {"{\"version\":1,\"devices\":{}}", "devices"},
        {"[]", ""},
        {"", ""},
        {"{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"frob\",\"available\":true}]}",
         "frob"},
        {"{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":true},"
         "{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":true}]}",
         "cpu"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_status status =
            rp_snapshot_from_json(cases[i].json, strlen(cases[i].json), "test", &snapshot, &err);
        assert_true(status != RP_OK);
        assert_says(err.message, cases[i].says);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        char *json = NULL;
        int64_t blocks = rp_memory_live_count();
        rp_memory_fail_at(n);
        rp_status status = rp_hardware_detect(NULL, &snapshot, &err);
        if (status == RP_OK) status = rp_snapshot_to_json(snapshot, 0, &json, &err);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_string_free(json);
        if (snapshot) rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), blocks);
        if (is_pending) {
            assert_int_equal(status, RP_OK);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_control_groups_count),
        cmocka_unit_test(what_is_damaged_or_missing_is_unknown),
        cmocka_unit_test(this_machine_is_read),
        cmocka_unit_test(a_file_stands_in_for_the_machine_or_is_an_error),
        cmocka_unit_test(a_wrong_type_is_named_by_its_place),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
