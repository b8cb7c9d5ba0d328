/* SPDX-License-Identifier: Apache-2.0 */
/* What a load took, when other loads and unloads run beside it, on a meter of the test's own. */
#include "base/memory.h"
#include "pool/history.h"
#include "pool/pool.h"

#include "../../tests/test.h"

#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)

/* What the process has, as the meter sees it: all on one thread. */
static uint64_t level_bytes;

static void read_meter(void *user, const char *device, struct rp_meter_reading *reading) {
    (void)user;
    (void)device;
    *reading = (struct rp_meter_reading){level_bytes, RP_UNKNOWN_U64};
}

struct plan {
    rp_pool *pool;
    uint64_t bytes;     /* that really come */
    uint64_t kept;      /* of those, what stays when the object is unmade */
    const char *evicts; /* while it is loaded */
    struct plan *needs; /* loaded in the middle, by the name "inner" */
};

struct object {
    uint64_t bytes_returned;
};

/* What the constructor says of its bytes, where it says anything. */
static rp_bytes_method said_by;
static uint64_t said_bytes;

static rp_status get(const char *name, struct plan *plan, rp_lease **lease, rp_error *err);

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    struct plan *plan = user;
    struct object *made = calloc(1, sizeof *made);
    level_bytes += plan->bytes / 2;
    if (plan->evicts) assert_int_equal(rp_pool_evict(plan->pool, plan->evicts, NULL, err), RP_OK);
    if (plan->needs) {
        rp_lease *lease = NULL;
        assert_int_equal(get("inner", plan->needs, &lease, err), RP_OK);
        rp_lease_release(lease, NULL);
    }
    level_bytes += plan->bytes - plan->bytes / 2;
    made->bytes_returned = plan->bytes - plan->kept;
    if (said_by) rp_build_set_bytes_by(build, said_bytes, said_by);
    *object = made;
    return RP_OK;
}

static void unmake(void *pointer) {
    struct object *object = pointer;
    level_bytes -= object->bytes_returned;
    free(object);
}

static rp_status get(const char *name, struct plan *plan, rp_lease **lease, rp_error *err) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.destroy = unmake;
    request.user = plan;
    return rp_pool_get_model(plan->pool, &request, lease, err);
}

static void load_and_leave(const char *name, struct plan *plan) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_ok(get(name, plan, &lease, &err));
    assert_ok(rp_lease_release(lease, &err));
}

static rp_pool *open_pool(void) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = ""; /* in the memory of this process alone */
    assert_ok(rp_pool_open(&options, &pool, &err));
    pool->meter = (struct rp_meter){read_meter, NULL};
    level_bytes = 1000 * MIB;
    return pool;
}

static void close_pool(rp_pool *pool) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_close(pool, &err));
}

static uint64_t remembered(rp_pool *pool, const char *name) {
    struct rp_key_parts parts = {.kind = RP_KIND_MODEL, .type = "t", .name = name, .device = "cpu"};
    struct rp_footprint found;
    char *key = rp_key_history_text(&parts);
    assert_true(rp_history_find(pool->history, key, 0, &found));
    rp_free(key);
    return found.bytes;
}

/* The row of an object, copied: its texts are static or gone. */
static rp_entry_info look(rp_pool *pool, const char *key) {
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    const rp_entry_info *found = rp_statistics_find(statistics, key);
    assert_non_null(found);
    rp_entry_info copy = *found;
    rp_statistics_destroy(statistics);
    return copy;
}

static uint64_t charged(rp_pool *pool, rp_charge_state state) {
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    uint64_t bytes = rp_statistics_device(statistics, 0)->in_state_bytes[state];
    rp_statistics_destroy(statistics);
    return bytes;
}

static void a_load_alone_is_measured_and_remembered(void **state) {
    (void)state;
    rp_pool *pool = open_pool();
    struct plan plan = {.pool = pool, .bytes = 200 * MIB};
    load_and_leave("a", &plan);
    assert_int_equal(look(pool, "t:a@cpu").memory_bytes, 200 * MIB);
    assert_string_equal(look(pool, "t:a@cpu").memory_method, "measured");
    assert_int_equal(remembered(pool, "a"), 200 * MIB);
    close_pool(pool);
}

static void what_was_counted_stands_however_much_the_process_grew(void **state) {
    (void)state;
    static const struct {
        rp_bytes_method by;
        uint64_t bytes;
        const char *method;
    } cases[] = {
        {RP_BYTES_TENSORS, 50 * MIB, "tensors"},       {RP_BYTES_ARRAYS, 50 * MIB, "arrays"},
        {RP_BYTES_BUFFER, 50 * MIB, "buffer"},         {RP_BYTES_CONTENTS, 200 * MIB, "measured"},
        {RP_BYTES_FILE, 200 * MIB, "measured"},        {RP_BYTES_VOCABULARY, 200 * MIB, "measured"},
        {RP_BYTES_CONSTRUCTOR, 200 * MIB, "measured"}, {RP_BYTES_SHARED, 50 * MIB, "shared"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_pool *pool = open_pool();
        struct plan plan = {.pool = pool, .bytes = 200 * MIB};
        said_by = cases[i].by;
        said_bytes = 50 * MIB;
        load_and_leave("a", &plan);
        assert_int_equal(look(pool, "t:a@cpu").memory_bytes, cases[i].bytes);
        assert_string_equal(look(pool, "t:a@cpu").memory_method, cases[i].method);
        assert_int_equal(remembered(pool, "a"), cases[i].bytes);
        said_by = (rp_bytes_method)0;
        close_pool(pool);
    }
}

static void a_library_is_not_charged_with_what_its_first_import_took(void **state) {
    (void)state;
    rp_pool *pool = open_pool();
    struct plan plan = {.pool = pool, .bytes = 200 * MIB};
    said_by = RP_BYTES_NOT_ITS_OWN;
    said_bytes = 7; /* not looked at */
    load_and_leave("a", &plan);
    assert_int_equal(look(pool, "t:a@cpu").memory_bytes, RP_UNKNOWN_U64);
    assert_null(look(pool, "t:a@cpu").memory_method);
    assert_int_equal(charged(pool, RP_CHARGE_RESIDENT), 0);
    assert_int_equal(remembered(pool, "a"), RP_UNKNOWN_U64);
    said_by = (rp_bytes_method)0;
    close_pool(pool);
}

static void each_way_to_know_bytes_has_a_name(void **state) {
    (void)state;
    for (int i = RP_BYTES_CONSTRUCTOR; i <= RP_BYTES_SHARED; i++) {
        assert_non_null(rp_bytes_method_name((rp_bytes_method)i));
    }
    assert_null(rp_bytes_method_name((rp_bytes_method)0));
    assert_null(rp_bytes_method_name((rp_bytes_method)(RP_BYTES_SHARED + 1)));
}

static void what_unloads_beside_a_load_is_not_taken_off_its_bytes(void **state) {
    (void)state;
    rp_pool *pool = open_pool();
    struct plan idle = {.pool = pool, .bytes = 150 * MIB};
    struct plan slow = {.pool = pool, .bytes = 200 * MIB, .evicts = "t:idle@cpu"};
    load_and_leave("idle", &idle);
    load_and_leave("slow", &slow);
    assert_int_equal(level_bytes, 1200 * MIB);
    assert_int_equal(look(pool, "t:slow@cpu").memory_bytes, 200 * MIB);
    assert_string_equal(look(pool, "t:slow@cpu").memory_method, "together");
    assert_int_equal(remembered(pool, "slow"), RP_UNKNOWN_U64);
    close_pool(pool);
}

static void loads_beside_each_other_are_charged_what_they_took_together(void **state) {
    (void)state;
    rp_pool *pool = open_pool();
    struct plan inner = {.pool = pool, .bytes = 60 * MIB};
    struct plan outer = {.pool = pool, .bytes = 100 * MIB, .needs = &inner};
    load_and_leave("outer", &outer);
    uint64_t sum = look(pool, "t:inner@cpu").memory_bytes + look(pool, "t:outer@cpu").memory_bytes;
    assert_int_equal(sum, 160 * MIB);
    assert_int_equal(charged(pool, RP_CHARGE_RESIDENT), 160 * MIB);
    assert_int_equal(remembered(pool, "inner"), RP_UNKNOWN_U64);
    assert_int_equal(remembered(pool, "outer"), RP_UNKNOWN_U64);
    close_pool(pool);
}

static void note_lost(const rp_event *event, void *user) {
    if (event->kind == RP_EVENT_LOST) *(uint64_t *)user += event->bytes;
}

static void what_does_not_come_back_is_shown_as_lost_though_nobody_asks_for_room(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan leaky = {.pool = pool, .bytes = 200 * MIB, .kept = 150 * MIB};
    load_and_leave("leaky", &leaky);
    rp_cleared done;
    assert_ok(rp_pool_evict(pool, "t:leaky@cpu", &done, &err));
    assert_int_equal(done.freed_bytes, 50 * MIB);
    assert_int_equal(charged(pool, RP_CHARGE_UNSEEN), 150 * MIB);
    rp_lock_acquire(&pool->lock);
    pool->ledger.devices[0].unseen[0].since_ns -= RP_LEDGER_UNSEEN_NS; /* two seconds later */
    rp_lock_release(&pool->lock);
    assert_int_equal(charged(pool, RP_CHARGE_LOST), 150 * MIB);
    assert_int_equal(charged(pool, RP_CHARGE_UNSEEN), 0);
    uint64_t cursor = 0;
    uint64_t lost = 0;
    rp_pool_read_events(pool, &cursor, note_lost, &lost);
    assert_int_equal(lost, 150 * MIB);
    level_bytes -= 150 * MIB; /* and yet they come */
    assert_int_equal(charged(pool, RP_CHARGE_LOST), 0);
    close_pool(pool);
}

static void what_leaves_while_another_loads_is_not_lost(void **state) {
    (void)state;
    rp_pool *pool = open_pool();
    struct plan idle = {.pool = pool, .bytes = 150 * MIB, .kept = 60 * MIB};
    struct plan slow = {.pool = pool, .bytes = 200 * MIB, .evicts = "t:idle@cpu"};
    load_and_leave("idle", &idle); /* as if 60 MiB of the load had come during the unload */
    load_and_leave("slow", &slow);
    level_bytes -= 60 * MIB;
    assert_int_equal(charged(pool, RP_CHARGE_UNSEEN), 0);
    close_pool(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_alone_is_measured_and_remembered),
        cmocka_unit_test(what_was_counted_stands_however_much_the_process_grew),
        cmocka_unit_test(a_library_is_not_charged_with_what_its_first_import_took),
        cmocka_unit_test(each_way_to_know_bytes_has_a_name),
        cmocka_unit_test(what_unloads_beside_a_load_is_not_taken_off_its_bytes),
        cmocka_unit_test(loads_beside_each_other_are_charged_what_they_took_together),
        cmocka_unit_test(what_does_not_come_back_is_shown_as_lost_though_nobody_asks_for_room),
        cmocka_unit_test(what_leaves_while_another_loads_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
