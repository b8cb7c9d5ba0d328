/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that looks after a pool by itself; steps of real pressure are in tests/room_test.c. */
#include "pool/pool.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)user;
    (void)err;
    *object = malloc(1);
    return RP_OK;
}

static rp_lease *get(rp_pool *pool, const char *name) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.destroy = free;
    request.memory_bytes = 1000;
    assert_ok(rp_pool_get_resource(pool, &request, &lease, &err));
    return lease;
}

static void *do_nothing(void *argument) {
    return argument;
}

/* The last thread that is there before the pool: with the first of a program's own, a sanitizer
 * starts one that sleeps now and then. */
static long last_stranger(void) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
    pthread_join(thread, NULL);
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    long last = getpid();
    assert_non_null(tasks);
    while ((task = readdir(tasks))) {
        long number = strtol(task->d_name, NULL, 10);
        if (number > last) last = number;
    }
    closedir(tasks);
    return last;
}

/* How often the threads of this process after that one went to sleep so far. */
static long sleep_count(long stranger) {
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    long count = 0;
    assert_non_null(tasks);
    while ((task = readdir(tasks))) {
        char path[300];
        char line[128];
        long number = strtol(task->d_name, NULL, 10);
        if (number <= stranger) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            long switches;
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &switches) == 1) count += switches;
        }
        if (file) fclose(file);
    }
    closedir(tasks);
    return count;
}

static void nap(long ms) {
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static void an_empty_pool_is_not_looked_after(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.monitor = true;
    long stranger = last_stranger();
    assert_ok(rp_pool_open(&options, &pool, &err));
    nap(300); /* it has begun */
    long before = sleep_count(stranger);
    nap(1200);
    assert_true(sleep_count(stranger) - before <= 1); /* every 250 ms would be four */
    rp_lease *lease = get(pool, "a");
    before = sleep_count(stranger);
    for (int i = 0; i < 1000 && sleep_count(stranger) - before < 4; i++) {
        nap(10);
    }
    assert_true(sleep_count(stranger) - before >= 4);
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_close(pool, &err));
}

/* How many objects are there, once they are `wanted` or five seconds have passed. */
static size_t wait_for_count(rp_pool *pool, size_t wanted) {
    size_t count = SIZE_MAX;
    for (int i = 0; i < 1000 && count != wanted; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_statistics *statistics = NULL;
        struct timespec pause = {0, 5000000};
        assert_ok(rp_pool_statistics(pool, &statistics, &err));
        count = rp_statistics_entry_count(statistics);
        rp_statistics_destroy(statistics);
        if (count != wanted) nanosleep(&pause, NULL);
    }
    return count;
}

static void idle_objects_expire_by_themselves_and_leased_ones_stay(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.idle_expiry_ms = 60;
    assert_ok(rp_pool_open(&options, &pool, &err));
    rp_lease *leased = get(pool, "leased");
    rp_lease_release(get(pool, "a"), NULL);
    rp_lease_release(get(pool, "b"), NULL);
    assert_int_equal(wait_for_count(pool, 1), 1);
    assert_non_null(rp_lease_object(leased));
    rp_lease_release(leased, NULL);
    assert_int_equal(wait_for_count(pool, 0), 0);
    assert_ok(rp_pool_close(pool, &err));
    options.idle_expiry_ms = INT64_MAX;
    assert_status(rp_pool_open(&options, &pool, &err), RP_ERR_ARGUMENT);
}

static void the_environment_asks_for_low_memory_mode_and_a_call_ends_it(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    const char *why = NULL;
    setenv("RESOURCE_POOL_LOW_MEMORY", "1", 1);
    assert_ok(rp_pool_open(NULL, &pool, &err));
    assert_true(rp_pool_is_low_memory(pool, &why));
    assert_string_equal(why, "RESOURCE_POOL_LOW_MEMORY=1");
    rp_lease_release(get(pool, "a"), NULL);
    assert_int_equal(wait_for_count(pool, 0), 0);
    assert_ok(rp_pool_set_low_memory(pool, false, &err));
    assert_false(rp_pool_is_low_memory(pool, &why));
    assert_string_equal(why, "");
    rp_lease_release(get(pool, "a"), NULL);
    assert_int_equal(wait_for_count(pool, 1), 1);
    assert_ok(rp_pool_close(pool, &err));
    setenv("RESOURCE_POOL_LOW_MEMORY", "0", 1);
    assert_ok(rp_pool_open(NULL, &pool, &err));
    assert_false(rp_pool_is_low_memory(pool, NULL));
    assert_ok(rp_pool_close(pool, &err));
    unsetenv("RESOURCE_POOL_LOW_MEMORY");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_pool_is_not_looked_after),
        cmocka_unit_test(idle_objects_expire_by_themselves_and_leased_ones_stay),
        cmocka_unit_test(the_environment_asks_for_low_memory_mode_and_a_call_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
