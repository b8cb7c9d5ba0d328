/* SPDX-License-Identifier: Apache-2.0 */
/* Several devices, on a machine from a file: moving between them, and going on to the next. */
#include "test.h"

#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)

static int made;
static int gone;
static const char *full; /* the device that has no memory; NULL: none */

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    const char *device = rp_build_placement(build)->device;
    (void)user;
    if (full && strcmp(device, full) == 0)
        return rp_fail(err, RP_ERR_MEMORY, "planned: it is full");
    made++;
    *object = strdup(device);
    return RP_OK;
}

static void unmake(void *object) {
    gone++;
    free(object);
}

static rp_request request_for(const char *name) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.destroy = unmake;
    request.memory_bytes = 100 * MIB;
    return request;
}

static rp_pool *open_pool(const char *budget) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.budget = budget;
    made = gone = 0;
    full = NULL;
    assert_ok(rp_pool_open(&options, &pool, &err));
    return pool;
}

static void close_pool(rp_pool *pool) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_close(pool, &err));
    assert_int_equal(made, gone);
}

static uint64_t resident_on(rp_pool *pool, const char *device) {
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    uint64_t bytes = 0;
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    for (size_t i = 0; i < rp_statistics_device_count(statistics); i++) {
        const rp_ledger_info *row = rp_statistics_device(statistics, i);
        if (strcmp(row->device, device) == 0) bytes = row->in_state_bytes[RP_CHARGE_RESIDENT];
    }
    rp_statistics_destroy(statistics);
    return bytes;
}

static void a_moved_object_is_built_there_and_the_old_one_stays_with_its_holders(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_lease *old = NULL;
    rp_lease *moved = NULL;
    rp_lease *found = NULL;
    rp_request request = request_for("a");
    request.device = "cuda:0";
    assert_ok(rp_pool_get_model(pool, &request, &old, &err));
    assert_ok(rp_pool_move_model(pool, &request, "cuda:1", &moved, &err));
    assert_string_equal(rp_lease_placement(moved)->device, "cuda:1");
    assert_string_equal(rp_lease_object(moved), "cuda:1");
    assert_string_equal(rp_lease_object(old), "cuda:0"); /* nothing changed under its holder */
    assert_int_equal(gone, 0);
    assert_int_equal(resident_on(pool, "cuda:0"), 100 * MIB);
    request.device = NULL; /* whoever names no device is led to the new one */
    assert_ok(rp_pool_get_model(pool, &request, &found, &err));
    assert_ptr_equal(rp_lease_object(found), rp_lease_object(moved));
    assert_ok(rp_lease_release(old, &err));
    assert_int_equal(gone, 1);
    assert_int_equal(resident_on(pool, "cuda:0"), 0);
    assert_int_equal(resident_on(pool, "cuda:1"), 100 * MIB);
    rp_lease_release(moved, NULL);
    rp_lease_release(found, NULL);
    close_pool(pool);
}

static void a_move_that_fails_leaves_everything_as_it_was(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:1=50MiB");
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_lease *moved = NULL;
    rp_request request = request_for("a");
    request.device = "cuda:0";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_status(rp_pool_move_model(pool, &request, "cuda:1", &moved, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "more than the budget of cuda:1");
    full = "cuda:2";
    assert_status(rp_pool_move_model(pool, &request, "cuda:2", &moved, &err), RP_ERR_MEMORY);
    assert_status(rp_pool_move_model(pool, &request, "cuda:99", &moved, &err), RP_ERR_ABSENT);
    assert_null(moved);
    assert_int_equal(gone, 0);
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_int_equal(made, 1); /* it is still there */
    assert_ok(rp_pool_move_model(pool, &request, "cuda:0", &moved, &err));
    assert_ptr_equal(rp_lease_object(moved), rp_lease_object(lease)); /* where it is already */
    rp_lease_release(moved, NULL);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void count_events(const rp_event *event, void *user) {
    int *count = user;
    if (event->kind == RP_EVENT_OTHER_DEVICE) (*count)++;
}

static void without_memory_on_one_device_the_next_is_taken_and_it_says_so(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:1=50MiB");
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    uint64_t cursor = 0;
    int count = 0;
    full = "cuda:0";
    rp_request request = request_for("a");
    request.device = "cuda:0";
    request.devices = "cuda:1,cuda:2,cpu";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_string_equal(rp_lease_placement(lease)->device, "cuda:2");
    assert_says(rp_lease_placement(lease)->reason, "cuda:0: no memory; cuda:1: no room");
    rp_pool_read_events(pool, &cursor, count_events, &count);
    assert_int_equal(count, 2);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

int main(void) {
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moved_object_is_built_there_and_the_old_one_stays_with_its_holders),
        cmocka_unit_test(a_move_that_fails_leaves_everything_as_it_was),
        cmocka_unit_test(without_memory_on_one_device_the_next_is_taken_and_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
