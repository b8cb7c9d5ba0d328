/* SPDX-License-Identifier: Apache-2.0 */
/* Several devices, on a machine from a file: moving between them, and going on to the next. */
#include "test.h"

#include "base/memory.h"

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

/* A model of an engine, by the key that people see; what led to it leads to the new one. */
static void a_model_moves_by_its_key_with_all_that_led_to_it(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_lease *first = NULL;
    rp_lease *moved = NULL;
    rp_lease *found = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = "m?memory_bytes=1MiB";
    request.engine = "simulated";
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    assert_string_equal(rp_lease_key(first), "t:m?memory_bytes=1MiB@cuda:0");
    static const rp_device_kind cuda_first[] = {RP_DEVICE_CUDA, RP_DEVICE_CPU};
    rp_preferences wishes = RP_PREFERENCES_INIT;
    rp_request wishing = request; /* another way to ask that leads there too */
    wishes.priority = cuda_first;
    wishes.priority_count = 2;
    wishes.preferred_index = 0;
    wishing.preferences = &wishes;
    assert_ok(rp_pool_get_model(pool, &wishing, &found, &err));
    assert_ptr_equal(rp_lease_model(found), rp_lease_model(first));
    rp_lease_release(found, NULL);
    assert_ok(rp_pool_move_key(pool, "t:m?memory_bytes=1MiB@cuda:0", "cuda:3", NULL, &moved, &err));
    assert_string_equal(rp_lease_key(moved), "t:m?memory_bytes=1MiB@cuda:3");
    assert_ok(rp_pool_get_model(pool, &request, &found, &err));
    assert_ptr_equal(rp_lease_model(found), rp_lease_model(moved));
    assert_ptr_not_equal(rp_lease_model(found), rp_lease_model(first));
    rp_lease_release(found, NULL);
    assert_ok(rp_pool_get_model(pool, &wishing, &found, &err));
    assert_ptr_equal(rp_lease_model(found), rp_lease_model(moved));
    rp_lease_release(found, NULL);
    rp_lease_release(moved, NULL);
    /* Once more, to where it is: nothing happens. */
    assert_ok(rp_pool_move_key(pool, "t:m?memory_bytes=1MiB@cuda:3", "cuda:3", NULL, &moved, &err));
    assert_string_equal(rp_lease_key(moved), "t:m?memory_bytes=1MiB@cuda:3");
    rp_lease_release(moved, NULL);
    assert_status(
        rp_pool_move_key(pool, "t:m?memory_bytes=1MiB@cuda:0", "cuda:1", NULL, &moved, &err),
        RP_ERR_NOT_FOUND);
    rp_request made_here = request_for("a");
    assert_ok(rp_pool_get_model(pool, &made_here, &found, &err));
    assert_status(rp_pool_move_key(pool, rp_lease_key(found), "cuda:1", NULL, &moved, &err),
                  RP_ERR_UNSUPPORTED);
    rp_lease_release(found, NULL);
    rp_lease_release(first, NULL);
    close_pool(pool);
}

static void what_a_constructor_made_moves_by_its_key_with_a_constructor(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_lease *first = NULL;
    rp_lease *found = NULL;
    rp_lease *moved = NULL;
    rp_request request = request_for("a");
    rp_request maker = RP_REQUEST_INIT;
    maker.construct = make;
    maker.destroy = unmake;
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    assert_string_equal(rp_lease_object(first), "cuda:0");
    full = "cuda:3";
    assert_status(rp_pool_move_key(pool, "t:a@cuda:0", "cuda:3", &maker, &moved, &err),
                  RP_ERR_MEMORY);
    assert_status(rp_pool_move_key(pool, "t:b@cuda:0", "cuda:3", &maker, &moved, &err),
                  RP_ERR_NOT_FOUND);
    assert_ok(rp_pool_get_model(pool, &request, &found, &err));
    assert_ptr_equal(rp_lease_object(found), rp_lease_object(first));
    rp_lease_release(found, NULL);
    full = NULL;
    assert_ok(rp_pool_move_key(pool, "t:a@cuda:0", "cuda:2", &maker, &moved, &err));
    assert_string_equal(rp_lease_object(moved), "cuda:2");
    assert_ok(rp_pool_get_model(pool, &request, &found, &err));
    assert_ptr_equal(rp_lease_object(found), rp_lease_object(moved));
    assert_int_equal(gone, 0); /* somebody has the old one */
    rp_lease_release(first, NULL);
    assert_int_equal(gone, 1);
    rp_lease_release(found, NULL);
    rp_lease_release(moved, NULL);
    close_pool(pool);
}

static void count_freed(bool is_short, void *user) {
    assert_false(is_short);
    ++*(int *)user;
}

static void what_keeps_freed_memory_is_told_once_for_all_that_went(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    int told = 0;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.on_freed = count_freed;
    options.freed_user = &told;
    made = gone = 0;
    assert_ok(rp_pool_open(&options, &pool, &err));
    for (size_t i = 0; i < 3; i++) {
        rp_lease *lease = NULL;
        rp_request request = request_for(names[i]);
        assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
        rp_lease_release(lease, NULL);
    }
    assert_int_equal(told, 0);
    assert_ok(rp_pool_clear(pool, NULL, &err));
    assert_int_equal(gone, 3);
    assert_int_equal(told, 1);
    close_pool(pool);
    assert_int_equal(told, 1);
}

static void a_move_by_key_without_memory_leaves_everything_as_it_was(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_lease *first = NULL;
    rp_lease *moved = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = "m";
    request.engine = "simulated";
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    rp_lease_release(first, NULL);
    uint64_t at = 1;
    for (rp_status status = RP_ERR_MEMORY; status != RP_OK; at++) {
        rp_memory_fail_at(at);
        status = rp_pool_move_key(pool, "t:m@cuda:0", "cuda:1", NULL, &moved, &err);
        rp_memory_fail_at(0);
        assert_true(at < 1000);
        if (status == RP_OK) break;
        assert_int_equal(status, RP_ERR_MEMORY);
        rp_lease *still = NULL;
        assert_ok(rp_pool_get_model(pool, &request, &still, &err));
        assert_string_equal(rp_lease_key(still), "t:m@cuda:0");
        rp_lease_release(still, NULL);
    }
    assert_true(at > 3);
    assert_string_equal(rp_lease_key(moved), "t:m@cuda:1");
    rp_lease_release(moved, NULL);
    close_pool(pool);
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

static const char *get(rp_pool *pool, const rp_request *request, rp_lease **lease) {
    rp_error err = RP_ERROR_INIT;
    *lease = NULL;
    assert_ok(rp_pool_get_model(pool, request, lease, &err));
    return rp_lease_placement(*lease)->device;
}

static void models_without_a_device_are_spread_over_accelerators(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *leases[10];
    char name[8];
    bool is_used[8] = {false};
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "m%d", i);
        rp_request request = request_for(name);
        const char *device = get(pool, &request, &leases[i]);
        assert_int_equal(strncmp(device, "cuda:", 5), 0);
        assert_false(is_used[device[5] - '0']); /* the emptiest first: each of the eight once */
        is_used[device[5] - '0'] = true;
        assert_int_equal(rp_lease_placement(leases[i])->policy, RP_POLICY_ANY);
    }
    rp_preferences pack = RP_PREFERENCES_INIT;
    pack.distribution = RP_DISTRIBUTION_PACK;
    rp_request request = request_for("packed");
    request.preferences = &pack;
    get(pool, &request, &leases[8]);
    request.name = "packed too"; /* beside the one that made it the fullest */
    assert_string_equal(get(pool, &request, &leases[9]), rp_lease_placement(leases[8])->device);
    for (int i = 0; i < 10; i++) {
        rp_lease_release(leases[i], NULL);
    }
    close_pool(pool);
}

static void each_set_of_preferences_has_its_own_instance_where_they_differ(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *leases[5];
    static const rp_device_kind cpu_only[] = {RP_DEVICE_CPU};
    static const rp_device_kind cuda_first[] = {RP_DEVICE_CUDA, RP_DEVICE_CPU};
    rp_preferences wishes = RP_PREFERENCES_INIT;
    rp_request request = request_for("a");
    assert_string_equal(get(pool, &request, &leases[0]), "cuda:0");
    request.preferences = &wishes;
    wishes.priority = cpu_only;
    wishes.priority_count = 1;
    assert_string_equal(get(pool, &request, &leases[1]), "cpu");
    wishes.priority = cuda_first;
    wishes.priority_count = 2;
    wishes.preferred_index = 0;
    assert_string_equal(get(pool, &request, &leases[2]), "cuda:0");
    assert_ptr_equal(rp_lease_object(leases[2]), rp_lease_object(leases[0])); /* it is the same */
    wishes.preferred_index = 5;
    assert_string_equal(get(pool, &request, &leases[3]), "cuda:5");
    wishes.preferred_index = 0;
    assert_string_equal(get(pool, &request, &leases[4]), "cuda:0"); /* a hit */
    assert_ptr_equal(rp_lease_object(leases[4]), rp_lease_object(leases[0]));
    assert_int_equal(made, 3);
    for (int i = 0; i < 5; i++) {
        rp_lease_release(leases[i], NULL);
    }
    close_pool(pool);
}

static void a_precision_that_is_wished_for_is_taken_where_the_device_does_it_well(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *lease = NULL;
    rp_preferences wishes = RP_PREFERENCES_INIT;
    wishes.precision = "fp16";
    rp_request request = request_for("bert-base-uncased");
    request.preferences = &wishes;
    get(pool, &request, &lease);
    assert_string_equal(rp_lease_placement(lease)->precision, "fp16");
    assert_string_equal(rp_lease_key(lease), "t:bert-base-uncased@cuda:0/fp16");
    rp_lease_release(lease, NULL);
    request.device = "cpu"; /* the processor of this machine computes in bf16, not in fp16 */
    get(pool, &request, &lease);
    assert_null(rp_lease_placement(lease)->precision);
    assert_says(rp_lease_placement(lease)->reason, "fp32 where fp16 would be slow");
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void what_no_device_can_hold_is_told_at_once_with_numbers(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_request request = request_for("huge");
    request.memory_bytes = UINT64_C(4) << 40;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "4.0 TiB");
    rp_preferences wishes = RP_PREFERENCES_INIT;
    wishes.device = "mps";
    request.preferences = &wishes;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no device 'mps'");
    assert_int_equal(made, 0);
    close_pool(pool);
}

static void keep_line(rp_log_level level, const char *line, void *user) {
    (void)level;
    if (strstr(line, "event=place")) snprintf(user, 400, "%s", line);
}

static void where_a_model_goes_is_logged_in_the_known_words(void **state) {
    (void)state;
    char line[400] = "";
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.log_sink = keep_line;
    options.log_level = RP_LOG_INFO;
    options.log_user = line;
    made = gone = 0;
    assert_ok(rp_pool_open(&options, &pool, &err));
    rp_request request = request_for("bert-base-uncased");
    request.type = "embedding";
    get(pool, &request, &lease);
    assert_says(line, "Selected optimal device for embedding:bert-base-uncased: cuda:0");
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void statistics_carry_every_device_of_the_machine(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    char *json = NULL;
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    assert_int_equal(rp_snapshot_device_count(rp_statistics_hardware(statistics)), 9);
    assert_ok(rp_statistics_to_json(statistics, 2, &json, &err));
    assert_says(json, "\"tensor_cores\":true");
    rp_string_free(json);
    rp_statistics_destroy(statistics);
    close_pool(pool);
}

int main(void) {
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moved_object_is_built_there_and_the_old_one_stays_with_its_holders),
        cmocka_unit_test(a_move_that_fails_leaves_everything_as_it_was),
        cmocka_unit_test(a_model_moves_by_its_key_with_all_that_led_to_it),
        cmocka_unit_test(what_a_constructor_made_moves_by_its_key_with_a_constructor),
        cmocka_unit_test(what_keeps_freed_memory_is_told_once_for_all_that_went),
        cmocka_unit_test(a_move_by_key_without_memory_leaves_everything_as_it_was),
        cmocka_unit_test(without_memory_on_one_device_the_next_is_taken_and_it_says_so),
        cmocka_unit_test(models_without_a_device_are_spread_over_accelerators),
        cmocka_unit_test(each_set_of_preferences_has_its_own_instance_where_they_differ),
        cmocka_unit_test(a_precision_that_is_wished_for_is_taken_where_the_device_does_it_well),
        cmocka_unit_test(what_no_device_can_hold_is_told_at_once_with_numbers),
        cmocka_unit_test(where_a_model_goes_is_logged_in_the_known_words),
        cmocka_unit_test(statistics_carry_every_device_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
