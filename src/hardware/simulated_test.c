/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/simulated.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *path;
    size_t device_count;
    const char *last_id;
} machines[] = {
    {SOURCE_ROOT "/tests/machines/laptop.json", 1, "cpu"},
    {SOURCE_ROOT "/tests/machines/1xh100.json", 2, "cuda:0"},
    {SOURCE_ROOT "/tests/machines/8xh100.json", 9, "cuda:7"},
    {SOURCE_ROOT "/tests/machines/m3.json", 2, "mps:0"},
    {SOURCE_ROOT "/tests/machines/container-2gib.json", 1, "cpu"},
};

static void each_composed_machine_is_read_and_marked(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = NULL;
        assert_ok(rp_simulated_open(machines[i].path, &snapshot, &err));
        assert_int_equal(rp_snapshot_device_count(snapshot), machines[i].device_count);
        assert_true(rp_snapshot_is_simulated(snapshot));
        for (size_t j = 0; j < machines[i].device_count; j++) {
            assert_true(rp_snapshot_device(snapshot, j)->simulated);
        }
        assert_string_equal(rp_snapshot_device(snapshot, machines[i].device_count - 1)->id,
                            machines[i].last_id);
        rp_snapshot_release(snapshot);
    }
    assert_int_equal(rp_memory_live_count(), before);
}

static void the_environment_names_the_machine(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/1xh100.json", 1);
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    assert_non_null(rp_snapshot_find_device(snapshot, "cuda"));
    assert_true(rp_snapshot_detect_ms(snapshot) >= 0);
    rp_snapshot_release(snapshot);

    /* An option goes before it, and so does a root. */
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = SOURCE_ROOT "/tests/machines/m3.json";
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_non_null(rp_snapshot_find_device(snapshot, "mps"));
    rp_snapshot_release(snapshot);
    options.simulate = NULL;
    options.root = SOURCE_ROOT "/tests/machines/plain";
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_null(rp_snapshot_find_device(snapshot, "cuda"));
    rp_snapshot_release(snapshot);

    setenv("RESOURCE_POOL_SIMULATE", "", 1);
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    assert_false(rp_snapshot_is_simulated(snapshot));
    rp_snapshot_release(snapshot);
    unsetenv("RESOURCE_POOL_SIMULATE");
}

static void a_missing_file_never_becomes_the_real_machine(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    setenv("RESOURCE_POOL_SIMULATE", "no/such.json", 1);
    assert_status(rp_hardware_detect(NULL, &snapshot, &err), RP_ERR_NOT_FOUND);
    assert_null(snapshot);
    assert_string_equal(err.message,
                        "cannot simulate a machine: 'no/such.json': No such file or directory");
    assert_says(err.hint, "unset RESOURCE_POOL_SIMULATE");
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines", 1);
    assert_status(rp_hardware_detect(NULL, &snapshot, &err), RP_ERR_IO);
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/meson.build", 1);
    assert_status(rp_hardware_detect(NULL, &snapshot, &err), RP_ERR_DATA);
    assert_says(err.message, "meson.build': line 1");
    assert_says(err.hint, "unset RESOURCE_POOL_SIMULATE");
    unsetenv("RESOURCE_POOL_SIMULATE");
}

static void a_file_larger_than_any_snapshot_is_refused(void **state) {
    (void)state;
    char path[] = "/tmp/rp-simulated-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 5 << 20), 0);
    close(fd);
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = NULL;
    assert_status(rp_simulated_open(path, &snapshot, &err), RP_ERR_LIMIT);
    assert_says(err.message, path);
    unlink(path);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    json_object_seed(1); /* jansson's own first-use state stays out of the count */
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = NULL;
        rp_memory_fail_at(n);
        rp_status status =
            rp_simulated_open(SOURCE_ROOT "/tests/machines/8xh100.json", &snapshot, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 100);
            return;
        }
        /*
         * jansson takes a string that it has no memory for as damaged, and loses a byte of it when
         * its buffer cannot grow. What is ours must neither crash nor leak then.
         */
        bool is_told = status == RP_ERR_MEMORY || status == RP_ERR_DATA;
        assert_true(is_told || status == RP_OK);
        assert_int_equal(err.status, status);
    }
}

int main(void) {
    json_heap_is_ours();
    unsetenv("RESOURCE_POOL_SIMULATE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_composed_machine_is_read_and_marked),
        cmocka_unit_test(the_environment_names_the_machine),
        cmocka_unit_test(a_missing_file_never_becomes_the_real_machine),
        cmocka_unit_test(a_file_larger_than_any_snapshot_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
