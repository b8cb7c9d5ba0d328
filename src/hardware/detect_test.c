/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/detect.h"

#include "base/memory.h"
#include "base/status.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <pthread.h>
#include <resourcepool/hardware.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 200 };

static void each_kind_is_there_or_absent_for_a_reason(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
        const rp_device *device =
            rp_snapshot_find_device(snapshot, rp_device_kind_name((rp_device_kind)kind));
        const rp_absence *absence = NULL;
        for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
            const rp_absence *each = rp_snapshot_absent(snapshot, i);
            if ((int)each->kind == kind) absence = each;
        }
        assert_true(!device != !absence);
        if (absence) assert_true(strlen(absence->reason) > 0);
    }
    assert_int_equal(rp_snapshot_generation(snapshot), 1);
    rp_snapshot_release(snapshot);
}

/* The target is 10 ms; the limit here leaves room for sanitizers and a busy machine. */
static void detection_is_fast(void **state) {
    (void)state;
    double least_ms = 1e9;
    for (int i = 0; i < 5; i++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
        double ms = rp_snapshot_detect_ms(snapshot);
        assert_true(ms >= rp_snapshot_probe_ms(snapshot, RP_DEVICE_CPU));
        if (i == 0) print_message("first detection: %.3f ms\n", ms);
        if (ms < least_ms) least_ms = ms;
        rp_snapshot_release(snapshot);
    }
    print_message("least of five: %.3f ms\n", least_ms);
    assert_true(least_ms <= 50);
}

static void options_of_other_sizes_are_understood(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    struct {
        rp_hardware_options options;
        uint64_t later;
    } newer = {.options = RP_HARDWARE_OPTIONS_INIT};
    newer.options.size = sizeof newer;
    newer.options.root = SOURCE_ROOT "/tests/machines/plain";
    assert_ok(rp_hardware_detect(&newer.options, &snapshot, &err));
    rp_snapshot_release(snapshot);
    newer.later = 1;
    assert_status(rp_hardware_detect(&newer.options, &snapshot, &err), RP_ERR_UNSUPPORTED);
    rp_hardware_options older = RP_HARDWARE_OPTIONS_INIT;
    older.size = sizeof older.size;
    older.root = SOURCE_ROOT "/tests/machines/plain"; /* beyond its size: not looked at */
    assert_ok(rp_hardware_detect(&older, &snapshot, &err));
    assert_false(rp_snapshot_is_simulated(snapshot));
    rp_snapshot_release(snapshot);
    rp_hardware_options none = {0};
    assert_status(rp_hardware_detect(&none, &snapshot, &err), RP_ERR_ARGUMENT);
    rp_hardware_options both = RP_HARDWARE_OPTIONS_INIT;
    both.root = "a";
    both.simulate = "b";
    assert_status(rp_hardware_detect(&both, &snapshot, &err), RP_ERR_ARGUMENT);
    assert_status(rp_hardware_detect(NULL, NULL, &err), RP_ERR_ARGUMENT);
    assert_status(rp_hardware_snapshot(NULL, &err), RP_ERR_ARGUMENT);
}

static void the_root_of_the_system_is_this_machine(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.root = "/";
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_false(rp_snapshot_is_simulated(snapshot));
    assert_false(rp_snapshot_device(snapshot, 0)->simulated);
    rp_snapshot_release(snapshot);
}

static void the_process_has_one_snapshot_until_it_is_refreshed(void **state) {
    (void)state;
    rp_hardware_forget();
    int64_t before = rp_memory_live_count();
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *first = NULL;
    const rp_snapshot *again = NULL;
    const rp_snapshot *fresh = NULL;
    assert_ok(rp_hardware_snapshot(&first, &err));
    assert_ok(rp_hardware_snapshot(&again, &err));
    assert_ptr_equal(first, again);
    assert_int_equal(rp_snapshot_generation(first), 1);
    assert_ok(rp_hardware_refresh(NULL, &fresh, &err));
    assert_ptr_not_equal(first, fresh);
    assert_int_equal(rp_snapshot_generation(fresh), 2);
    assert_int_equal(rp_snapshot_device_count(fresh), rp_snapshot_device_count(first));
    assert_int_equal(rp_snapshot_absent_count(fresh), rp_snapshot_absent_count(first));
    const rp_cpu *old_cpu = rp_snapshot_device(first, 0)->cpu;
    const rp_cpu *new_cpu = rp_snapshot_device(fresh, 0)->cpu;
    assert_int_equal(new_cpu->feature_count, old_cpu->feature_count);
    assert_int_equal(new_cpu->logical_count, old_cpu->logical_count);
    assert_int_equal(new_cpu->numa_node_count, old_cpu->numa_node_count);
    assert_string_equal(new_cpu->affinity, old_cpu->affinity);
    /* Readers keep theirs. */
    rp_snapshot_release(again);
    assert_string_equal(rp_snapshot_device(first, 0)->id, "cpu");
    rp_snapshot_release(first);
    rp_snapshot_release(fresh);
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.refresh = true;
    assert_ok(rp_hardware_refresh(&options, NULL, &err));
    assert_ok(rp_hardware_snapshot(&first, &err));
    assert_int_equal(rp_snapshot_generation(first), 3);
    rp_snapshot_release(first);
    rp_hardware_forget();
    assert_int_equal(rp_memory_live_count(), before);
}

static void a_failed_refresh_keeps_the_old_snapshot(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *first = NULL;
    const rp_snapshot *again = NULL;
    assert_ok(rp_hardware_snapshot(&first, &err));
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = "no/such.json";
    assert_status(rp_hardware_refresh(&options, &again, &err), RP_ERR_NOT_FOUND);
    assert_null(again);
    assert_ok(rp_hardware_snapshot(&again, &err));
    assert_ptr_equal(first, again);
    rp_snapshot_release(first);
    rp_snapshot_release(again);
    rp_hardware_forget();
}

static void a_simulated_machine_stays_itself_when_refreshed(void **state) {
    (void)state;
    rp_hardware_forget();
    rp_error err = RP_ERROR_INIT;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = SOURCE_ROOT "/tests/machines/8xh100.json";
    assert_ok(rp_hardware_refresh(&options, NULL, &err));
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_refresh(NULL, &snapshot, &err));
    assert_int_equal(rp_snapshot_generation(snapshot), 2);
    assert_int_equal(rp_snapshot_device_count(snapshot), 9);
    assert_true(rp_snapshot_is_simulated(snapshot));
    assert_int_equal(rp_snapshot_device(snapshot, 0)->cpu->logical_count, 224);
    rp_snapshot_release(snapshot);

    /* A recorded machine is looked at again where it stands. */
    options.simulate = NULL;
    options.root = SOURCE_ROOT "/tests/machines/container-v2///";
    assert_ok(rp_hardware_refresh(&options, NULL, &err));
    assert_ok(rp_hardware_refresh(NULL, &snapshot, &err));
    assert_int_equal(rp_snapshot_device(snapshot, 0)->memory_bytes_total, UINT64_C(2) << 30);
    assert_string_equal(rp_snapshot_device(snapshot, 0)->cpu->affinity, "1,3");
    rp_snapshot_release(snapshot);
    rp_hardware_forget();
}

static void every_allocation_of_a_refresh_may_fail(void **state) {
    (void)state;
    static const char *const files[] = {NULL, SOURCE_ROOT "/tests/machines/8xh100.json"};
    rp_hardware_forget();
    int64_t nothing = rp_memory_live_count();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
        options.simulate = files[i];
        options.refresh = true;
        rp_error err = RP_ERROR_INIT;
        assert_ok(rp_hardware_refresh(&options, NULL, &err));
        int64_t before = rp_memory_live_count();
        for (uint64_t n = 1;; n++) {
            rp_memory_fail_at(n);
            rp_status status = rp_hardware_refresh(NULL, NULL, &err);
            int pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
            if (pending) break;
            assert_int_equal(rp_memory_live_count(), before);
        }
    }
    rp_hardware_forget();
    assert_int_equal(rp_memory_live_count(), nothing);
}

static _Atomic int failures;

static void *read_over_and_over(void *user) {
    const rp_snapshot **seen = user;
    uint64_t generation = 0;
    for (int i = 0; i < ROUNDS; i++) {
        const rp_snapshot *snapshot = NULL;
        if (rp_hardware_snapshot(&snapshot, NULL) != RP_OK) {
            atomic_fetch_add(&failures, 1);
            return NULL;
        }
        if (rp_snapshot_generation(snapshot) < generation) atomic_fetch_add(&failures, 1);
        generation = rp_snapshot_generation(snapshot);
        if (!rp_snapshot_find_device(snapshot, "cpu")) atomic_fetch_add(&failures, 1);
        if (i == 0) *seen = rp_snapshot_acquire(snapshot);
        rp_snapshot_release(snapshot);
    }
    return NULL;
}

static void *refresh_over_and_over(void *user) {
    (void)user;
    for (int i = 0; i < ROUNDS / 10; i++) {
        rp_hardware_options anew = RP_HARDWARE_OPTIONS_INIT;
        anew.refresh = i % 5 == 0;
        if (rp_hardware_refresh(&anew, NULL, NULL) != RP_OK) atomic_fetch_add(&failures, 1);
    }
    return NULL;
}

static void threads_that_ask_at_once_get_one_detection(void **state) {
    (void)state;
    rp_hardware_forget();
    int64_t before = rp_memory_live_count();
    pthread_t threads[THREADS];
    const rp_snapshot *seen[THREADS] = {0};
    atomic_store(&failures, 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_over_and_over, &seen[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_ptr_equal(seen[i], seen[0]);
        rp_snapshot_release(seen[i]);
    }
    assert_int_equal(atomic_load(&failures), 0);
    rp_hardware_forget();
    assert_int_equal(rp_memory_live_count(), before);
}

static void threads_read_while_others_refresh(void **state) {
    (void)state;
    rp_hardware_forget();
    int64_t before = rp_memory_live_count();
    pthread_t readers[THREADS];
    pthread_t writers[2];
    const rp_snapshot *seen[THREADS] = {0};
    atomic_store(&failures, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, refresh_over_and_over, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_over_and_over, &seen[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(readers[i], NULL);
        rp_snapshot_release(seen[i]);
    }
    assert_int_equal(atomic_load(&failures), 0);
    rp_hardware_forget();
    assert_int_equal(rp_memory_live_count(), before);
}

/* The thread sanitizer does not follow a fork of several threads. */
#ifndef RP_THREAD_SANITIZER
static void a_child_of_fork_can_ask_while_the_parent_detects(void **state) {
    (void)state;
    rp_hardware_forget();
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, refresh_over_and_over, NULL), 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(20); /* a hang ends the child with a signal */
            bool fine = rp_hardware_refresh(NULL, NULL, NULL) == RP_OK;
            _exit(fine ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    pthread_join(writer, NULL);
    rp_hardware_forget();
}
#endif

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    unsetenv("RESOURCE_POOL_SIMULATE");
    /* What an earlier run heard counts for nothing, and the user's cache stays as it is. */
    setenv("HARDWARE_DETECTION_CACHE", "off", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(detection_is_fast),
        cmocka_unit_test(each_kind_is_there_or_absent_for_a_reason),
        cmocka_unit_test(options_of_other_sizes_are_understood),
        cmocka_unit_test(the_root_of_the_system_is_this_machine),
        cmocka_unit_test(the_process_has_one_snapshot_until_it_is_refreshed),
        cmocka_unit_test(a_failed_refresh_keeps_the_old_snapshot),
        cmocka_unit_test(a_simulated_machine_stays_itself_when_refreshed),
        cmocka_unit_test(every_allocation_of_a_refresh_may_fail),
        cmocka_unit_test(threads_that_ask_at_once_get_one_detection),
        cmocka_unit_test(threads_read_while_others_refresh),
#ifndef RP_THREAD_SANITIZER
        cmocka_unit_test(a_child_of_fork_can_ask_while_the_parent_detects),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
