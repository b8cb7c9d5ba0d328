/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Detection with its cache: who is asked, and how often. The kinds are the test's own, and count
 * in memory that their child processes share with it.
 */
#include "base/status.h"
#include "hardware/detect.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PATH_BYTES = 256, ANSWERS_BYTES = 64 };

static struct shared {
    int browser_asked;
    int driver_asked;
    bool driver_crashes;
} * shared;

static char folder[] = "/tmp/rp-hardware-cache-test-XXXXXX";
static char path[PATH_BYTES];

static rp_status there_is_something(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    return RP_OK;
}

static rp_status add(struct rp_snapshot *snapshot, rp_device_kind kind, const char *id,
                     rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, kind, id);
    if (!device) return rp_fail_no_memory(err);
    device->memory_bytes_total = 2048;
    device->memory_bytes_free = 1024;
    return rp_snapshot_add_device(snapshot, device, err);
}

static rp_status ask_browser(struct rp_snapshot *snapshot, rp_error *err) {
    shared->browser_asked++;
    return add(snapshot, RP_DEVICE_WEBGPU, "webgpu:0", err);
}

static rp_status ask_driver(struct rp_snapshot *snapshot, rp_error *err) {
    shared->driver_asked++;
    if (shared->driver_crashes) _exit(3);
    return add(snapshot, RP_DEVICE_CUDA, "cuda:0", err);
}

static const struct rp_device_ops driver = {
    .kind = RP_DEVICE_CUDA,
    .name = "the driver",
    .when = RP_ASK_DRIVER,
    .probe = there_is_something,
    .ask = ask_driver,
};
static const struct rp_device_ops browser = {
    .kind = RP_DEVICE_WEBGPU,
    .name = "the browser",
    .when = RP_ASK_SLOW,
    .probe = there_is_something,
    .ask = ask_browser,
};

static int set_up(void **state) {
    (void)state;
    static const struct rp_device_ops *const kinds[] = {&driver, &browser};
    rp_hardware_walk(kinds, 2);
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/hardware.json", folder);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    rp_hardware_walk(NULL, 0);
    munmap(shared, sizeof *shared);
    return rmdir(folder);
}

static int begin_anew(void **state) {
    (void)state;
    unlink(path);
    *shared = (struct shared){0};
    return 0;
}

enum { ALL = 1, REFRESH = 2, NO_CACHE = 4 };

/* What a detection says of the browser: "there", "absent" or "unprobed"; likewise of the driver. */
static const char *detect(int how, rp_device_kind kind, char out[ANSWERS_BYTES]) {
    rp_error err = RP_ERROR_INIT;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    const rp_snapshot *snapshot = NULL;
    options.cache = how & NO_CACHE ? "off" : path;
    options.all = how & ALL;
    options.refresh = how & REFRESH;
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    const rp_device *device = rp_snapshot_find_device(snapshot, rp_device_kind_name(kind));
    snprintf(out, ANSWERS_BYTES, "nothing");
    if (device) {
        snprintf(out, ANSWERS_BYTES, "there, free: %s",
                 device->memory_bytes_free == RP_UNKNOWN_U64 ? "unknown" : "known");
    }
    for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        if (absence->kind != kind) continue;
        assert_null(device);
        snprintf(out, ANSWERS_BYTES, "%s", absence->unprobed ? "unprobed" : "absent");
    }
    rp_snapshot_release(snapshot);
    return out;
}

static void a_slow_runtime_is_asked_once(void **state) {
    (void)state;
    char out[ANSWERS_BYTES];
    assert_string_equal(detect(0, RP_DEVICE_WEBGPU, out), "unprobed");
    assert_int_equal(shared->browser_asked, 0);
    assert_string_equal(detect(ALL, RP_DEVICE_WEBGPU, out), "there, free: known");
    assert_int_equal(shared->browser_asked, 1);
    /* From now on everybody knows, without waiting; what moves is not known. */
    assert_string_equal(detect(0, RP_DEVICE_WEBGPU, out), "there, free: unknown");
    assert_string_equal(detect(ALL, RP_DEVICE_WEBGPU, out), "there, free: unknown");
    assert_int_equal(shared->browser_asked, 1);
    assert_string_equal(detect(ALL | REFRESH, RP_DEVICE_WEBGPU, out), "there, free: known");
    assert_int_equal(shared->browser_asked, 2);
    assert_string_equal(detect(REFRESH, RP_DEVICE_WEBGPU, out), "unprobed");
    assert_string_equal(detect(NO_CACHE, RP_DEVICE_WEBGPU, out), "unprobed");
    assert_string_equal(detect(ALL | NO_CACHE, RP_DEVICE_WEBGPU, out), "there, free: known");
    assert_int_equal(shared->browser_asked, 3);
}

static void a_driver_is_asked_each_time(void **state) {
    (void)state;
    char out[ANSWERS_BYTES];
    for (int i = 1; i <= 3; i++) {
        assert_string_equal(detect(0, RP_DEVICE_CUDA, out), "there, free: known");
        assert_int_equal(shared->driver_asked, i);
    }
    assert_int_not_equal(access(path, F_OK), 0); /* and none of it is kept */
}

static void a_driver_that_crashed_is_left_in_peace(void **state) {
    (void)state;
    char out[ANSWERS_BYTES];
    shared->driver_crashes = true;
    assert_string_equal(detect(0, RP_DEVICE_CUDA, out), "absent");
    assert_int_equal(shared->driver_asked, 1);
    shared->driver_crashes = false;
    assert_string_equal(detect(0, RP_DEVICE_CUDA, out), "absent");
    assert_int_equal(shared->driver_asked, 1);
    assert_string_equal(detect(REFRESH, RP_DEVICE_CUDA, out), "there, free: known");
    /* Now that it answers again, it is asked again. */
    assert_string_equal(detect(0, RP_DEVICE_CUDA, out), "there, free: known");
    assert_int_equal(shared->driver_asked, 3);
}

static void a_recorded_machine_has_no_part_in_it(void **state) {
    (void)state;
    char out[ANSWERS_BYTES];
    detect(ALL, RP_DEVICE_WEBGPU, out);
    rp_error err = RP_ERROR_INIT;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    const rp_snapshot *snapshot = NULL;
    options.cache = path;
    options.root = SOURCE_ROOT "/tests/machines/plain";
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_int_equal(rp_snapshot_device_count(snapshot), 0);
    assert_true(rp_snapshot_absent_count(snapshot) >= 2);
    rp_snapshot_release(snapshot);
}

int main(void) {
    unsetenv("RESOURCE_POOL_SIMULATE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_slow_runtime_is_asked_once, begin_anew),
        cmocka_unit_test_teardown(a_driver_is_asked_each_time, begin_anew),
        cmocka_unit_test_teardown(a_driver_that_crashed_is_left_in_peace, begin_anew),
        cmocka_unit_test_teardown(a_recorded_machine_has_no_part_in_it, begin_anew),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
