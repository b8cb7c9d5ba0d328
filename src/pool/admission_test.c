/* SPDX-License-Identifier: Apache-2.0 */
/* Room: budgets, victims, waiting, fairness, dependencies, and what happens without memory. */
#include "base/clock.h"
#include "base/memory.h"
#include "failure/own.h"
#include "pool/admission.h"
#include "pool/pool.h"

#include "../../tests/test.h"

#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

/* An object that pretends to be large, and how its constructor behaves. */
struct plan {
    uint64_t bytes;
    int fails_left;       /* that many times it finds no memory */
    const char *fails_on; /* always, on that device or in that precision */
    rp_pool *pool;
    const char *needs; /* another object, of 100 MiB */
    bool keeps_lease;  /* inside the object, until it goes */
    bool evicts;       /* what it took, as soon as it has given it back */
    sem_t *started;
    sem_t *may_end;
    _Atomic int made;
    _Atomic int gone;
};

struct object {
    struct plan *plan;
    rp_lease *needed;
};

static rp_status make(rp_build *build, void *user, void **object, rp_error *err);

static void unmake(void *pointer) {
    struct object *object = pointer;
    atomic_fetch_add(&object->plan->gone, 1);
    rp_lease_release(object->needed, NULL);
    free(object);
}

static rp_request request_of(const char *name, struct plan *plan) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.destroy = unmake;
    request.user = plan;
    request.memory_bytes = plan->bytes;
    return request;
}

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    struct plan *plan = user;
    const rp_placement *placement = rp_build_placement(build);
    if (plan->started) sem_post(plan->started);
    if (plan->may_end) sem_wait(plan->may_end);
    atomic_fetch_add(&plan->made, 1);
    bool is_bad_place =
        plan->fails_on && placement->precision && strcmp(plan->fails_on, placement->precision) == 0;
    if (plan->fails_left > 0 || is_bad_place ||
        (plan->fails_on && strcmp(plan->fails_on, placement->device) == 0)) {
        plan->fails_left--;
        return rp_fail(err, RP_ERR_MEMORY, "planned: no memory for %s", rp_build_key(build));
    }
    struct object *made = calloc(1, sizeof *made);
    made->plan = plan;
    if (plan->needs) {
        static struct plan needed = {.bytes = 100 * MIB};
        rp_request request = request_of(plan->needs, &needed);
        rp_lease *lease = NULL;
        rp_status status = rp_pool_get_model(plan->pool, &request, &lease, err);
        if (status != RP_OK) {
            free(made);
            return status;
        }
        if (plan->keeps_lease) {
            made->needed = lease;
        } else {
            char key[64];
            snprintf(key, sizeof key, "%s", rp_lease_key(lease));
            rp_lease_release(lease, NULL);
            if (plan->evicts) assert_int_equal(rp_pool_evict(plan->pool, key, NULL, err), RP_OK);
        }
    }
    rp_build_set_bytes(build, plan->bytes);
    *object = made;
    return RP_OK;
}

static rp_pool *open_pool(const char *budget) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.budget = budget;
    options.history = "off";
    assert_ok(rp_pool_open(&options, &pool, &err));
    return pool;
}

static void close_pool(rp_pool *pool) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_close(pool, &err));
}

static void check_ledger(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    assert_true(rp_ledger_is_sound(&pool->ledger));
    uint64_t sum = 0;
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        sum += entry->charge.bytes;
    }
    assert_int_equal(sum,
                     rp_ledger_charged(pool->ledger.sums) - pool->ledger.sums[RP_CHARGE_UNSEEN]);
    rp_lock_release(&pool->lock);
}

static rp_status get(rp_pool *pool, const char *name, struct plan *plan, int64_t timeout_ms,
                     rp_lease **lease, rp_error *err) {
    rp_request request = request_of(name, plan);
    request.timeout_ms = timeout_ms;
    return rp_pool_get_model(pool, &request, lease, err);
}

static void load_and_leave(rp_pool *pool, const char *name, struct plan *plan) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_ok(get(pool, name, plan, 0, &lease, &err));
    rp_lease_release(lease, NULL);
    check_ledger(pool);
}

static bool is_loaded(rp_pool *pool, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "t:%s@cpu", name);
    rp_lock_acquire(&pool->lock);
    struct rp_entry *entry = rp_pool_find_text(pool, key);
    bool found = entry && entry->state == RP_ENTRY_LOADED;
    rp_lock_release(&pool->lock);
    return found;
}

static void five_of_one_gib_fit_into_two_one_after_the_other(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = GIB};
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++) {
            load_and_leave(pool, names[i], &plan);
        }
    }
    assert_true(plan.made >= 8);
    assert_int_equal(plan.made - plan.gone, 2);
    assert_int_equal(pool->ledger.peak_bytes, 2 * GIB);
    close_pool(pool);
    assert_int_equal(plan.made, plan.gone);
}

static void what_can_never_fit_fails_at_once_with_the_numbers(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cpu=2GiB");
    struct plan plan = {.bytes = 3 * GIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_status(get(pool, "a", &plan, 60000, &lease, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "needs 3.0 GiB (request)");
    assert_says(err.message, "2.0 GiB");
    assert_says(err.hint, "RESOURCE_POOL_BUDGET");
    assert_int_equal(plan.made, 0);
    close_pool(pool);
}

static void leases_in_the_way_are_named_when_nobody_else_can_release_them(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = GIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *leases[3] = {NULL};
    assert_ok(get(pool, "a", &plan, 0, &leases[0], &err));
    assert_ok(get(pool, "b", &plan, 0, &leases[1], &err));
    /* No deadline, and only this thread holds what is in the way: it would sleep for ever. */
    assert_status(get(pool, "c", &plan, 0, &leases[2], &err), RP_ERR_CAPACITY);
    assert_says(err.message, "no room for 't:c@cpu'");
    assert_says(err.message, "0 B of 2.0 GiB free");
    assert_says(err.message, "leases hold 2.0 GiB");
    assert_says(err.message, "'t:a@cpu'");
    /* With one it waits, in case another thread releases. */
    assert_status(get(pool, "c", &plan, 30, &leases[2], &err), RP_ERR_CAPACITY);
    assert_says(err.message, "within ");
    assert_int_equal(plan.gone, 0);
    rp_lease_release(leases[0], NULL);
    assert_ok(get(pool, "c", &plan, 0, &leases[2], &err));
    assert_false(is_loaded(pool, "a"));
    assert_true(is_loaded(pool, "b"));
    rp_lease_release(leases[1], NULL);
    rp_lease_release(leases[2], NULL);
    check_ledger(pool);
    close_pool(pool);
}

struct caller {
    rp_pool *pool;
    const char *name;
    struct plan *plan;
    int64_t timeout_ms;
    rp_status status;
    rp_error err;
    rp_lease *lease;
    _Atomic bool is_done;
    pthread_t thread;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    caller->status = get(caller->pool, caller->name, caller->plan, caller->timeout_ms,
                         &caller->lease, &caller->err);
    atomic_store(&caller->is_done, true);
    return NULL;
}

static void start(struct caller *caller, rp_pool *pool, const char *name, struct plan *plan,
                  int64_t timeout_ms) {
    *caller = (struct caller){.pool = pool, .name = name, .plan = plan, .timeout_ms = timeout_ms};
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static void finish(struct caller *caller) {
    pthread_join(caller->thread, NULL);
    rp_lease_release(caller->lease, NULL);
    caller->lease = NULL;
}

static size_t queue_length(rp_pool *pool) {
    size_t length = 0;
    rp_lock_acquire(&pool->lock);
    for (struct rp_admission *at = pool->queue; at; at = at->next) {
        length++;
    }
    rp_lock_release(&pool->lock);
    return length;
}

static void wait_until_queued(rp_pool *pool, size_t length) {
    while (queue_length(pool) != length) {
        sched_yield();
    }
}

static void a_waiting_request_is_served_when_a_lease_ends(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = GIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *a = NULL;
    rp_lease *b = NULL;
    assert_ok(get(pool, "a", &plan, 0, &a, &err));
    assert_ok(get(pool, "b", &plan, 0, &b, &err));
    struct caller caller;
    start(&caller, pool, "c", &plan, 0);
    wait_until_queued(pool, 1);
    /* Hits go on while the pool is watched, and are counted as ever. */
    rp_lease *again = NULL;
    assert_ok(get(pool, "a", &plan, 0, &again, &err));
    rp_lease_release(again, NULL);
    assert_false(atomic_load(&caller.is_done));
    rp_lease_release(b, NULL);
    finish(&caller);
    assert_int_equal(caller.status, RP_OK);
    assert_false(is_loaded(pool, "b"));
    assert_int_equal(pool->watch_count, 0);
    assert_ok(get(pool, "a", &plan, 0, &again, &err)); /* on the fast path again */
    rp_lease_release(again, NULL);
    rp_lease_release(a, NULL);
    close_pool(pool);
}

static void two_that_wait_for_each_other_do_not_sleep_for_ever(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = GIB};
    struct caller first;
    rp_error err = RP_ERROR_INIT;
    rp_lease *mine = NULL;
    assert_ok(get(pool, "mine", &plan, 0, &mine, &err));
    /* The other thread holds one as well, and wants a second. */
    struct caller holder;
    start(&holder, pool, "theirs", &plan, 0);
    pthread_join(holder.thread, NULL);
    assert_int_equal(holder.status, RP_OK);
    start(&first, pool, "more", &plan, 0); /* waits for me, or for whoever holds "theirs" */
    wait_until_queued(pool, 1);
    rp_lease *wanted = NULL;
    rp_lease_release(holder.lease, NULL);
    finish(&first);
    assert_int_equal(first.status, RP_OK);
    assert_ok(get(pool, "wanted", &plan, 0, &wanted, &err));
    rp_lease_release(wanted, NULL);
    rp_lease_release(mine, NULL);
    check_ledger(pool);
    close_pool(pool);
}

static pthread_barrier_t both_hold;

/* A thread that holds one object and then asks for another, with no deadline. */
static void *hold_and_ask(void *argument) {
    struct caller *caller = argument;
    rp_lease *held = NULL;
    rp_status status = get(caller->pool, caller->name, caller->plan, 0, &held, &caller->err);
    pthread_barrier_wait(&both_hold);
    char name[16];
    snprintf(name, sizeof name, "%s-2", caller->name);
    caller->status = get(caller->pool, name, caller->plan, 0, &caller->lease, &caller->err);
    rp_lease_release(caller->lease, NULL);
    caller->lease = NULL;
    rp_lease_release(held, NULL);
    if (status != RP_OK) caller->status = status;
    return NULL;
}

static void a_circle_of_holders_ends_with_one_refusal(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = GIB};
    struct caller callers[2];
    pthread_barrier_init(&both_hold, NULL, 2);
    for (int i = 0; i < 2; i++) {
        callers[i] = (struct caller){.pool = pool, .name = i ? "x" : "y", .plan = &plan};
        pthread_create(&callers[i].thread, NULL, hold_and_ask, &callers[i]);
    }
    int refused = 0;
    for (int i = 0; i < 2; i++) {
        pthread_join(callers[i].thread, NULL);
        refused += callers[i].status == RP_ERR_CAPACITY;
        assert_true(callers[i].status == RP_OK || callers[i].status == RP_ERR_CAPACITY);
    }
    assert_int_equal(refused, 1); /* then there is room for the other */
    pthread_barrier_destroy(&both_hold);
    check_ledger(pool);
    close_pool(pool);
}

static void small_ones_do_not_starve_a_big_one(void **state) {
    (void)state;
    rp_pool *pool = open_pool("1GiB");
    struct plan big = {.bytes = 900 * MIB};
    struct plan small = {.bytes = 200 * MIB};
    struct plan held = {.bytes = 400 * MIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_ok(get(pool, "held", &held, 0, &lease, &err));
    struct caller caller;
    start(&caller, pool, "big", &big, 60000);
    wait_until_queued(pool, 1);
    /* Small ones pass while it waits for the lease, from a thread that holds nothing... */
    struct caller others[RP_ADMISSION_OVERTAKES + 2];
    for (int i = 0; i < RP_ADMISSION_OVERTAKES; i++) {
        static char names[RP_ADMISSION_OVERTAKES][16];
        snprintf(names[i], sizeof names[i], "small%d", i);
        start(&others[i], pool, names[i], &small, 60000);
        finish(&others[i]);
        assert_int_equal(others[i].status, RP_OK);
    }
    /* ... until the gate is shut. */
    struct caller *late = &others[RP_ADMISSION_OVERTAKES];
    start(late, pool, "late", &small, 60000);
    wait_until_queued(pool, 2);
    assert_false(atomic_load(&late->is_done));
    rp_lease_release(lease, NULL);
    pthread_join(caller.thread, NULL);
    assert_int_equal(caller.status, RP_OK);
    assert_false(atomic_load(&late->is_done)); /* 900 MiB are leased: no room for 200 */
    rp_lease_release(caller.lease, NULL);
    finish(late);
    assert_int_equal(late->status, RP_OK);
    check_ledger(pool);
    close_pool(pool);
}

static void a_request_can_be_called_off_while_it_waits(void **state) {
    (void)state;
    rp_pool *pool = open_pool("1GiB");
    struct plan plan = {.bytes = GIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_cancel *cancel = NULL;
    assert_ok(rp_cancel_create(&cancel, &err));
    assert_ok(get(pool, "a", &plan, 0, &lease, &err));
    rp_request request = request_of("b", &plan);
    request.cancel = cancel;
    request.timeout_ms = 60000;
    rp_lease *other = NULL;
    rp_cancel_fire(cancel);
    assert_status(rp_pool_get_model(pool, &request, &other, &err), RP_ERR_CANCELLED);
    rp_lease_release(lease, NULL);
    rp_cancel_destroy(cancel);
    close_pool(pool);
}

static void the_set_is_chosen_as_one(void **state) {
    (void)state;
    rp_pool *pool = open_pool("1000MiB");
    struct plan small = {.bytes = 100 * MIB};
    struct plan big = {.bytes = 500 * MIB};
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    rp_error err = RP_ERROR_INIT;
    rp_lease *kept = NULL;
    for (int i = 0; i < 10; i++) {
        load_and_leave(pool, names[i], &small);
    }
    assert_ok(get(pool, "3", &small, 0, &kept, &err));
    rp_lease *lease = NULL;
    assert_ok(get(pool, "big", &big, 0, &lease, &err));
    assert_int_equal(small.gone, 5); /* no more than needed */
    assert_true(is_loaded(pool, "3"));
    /* 500 are there, 100 leased: 900 more cannot be had, so nobody is sent away for it. */
    struct plan huge = {.bytes = 900 * MIB};
    rp_lease *none = NULL;
    assert_status(get(pool, "huge", &huge, 0, &none, &err), RP_ERR_CAPACITY);
    assert_int_equal(small.gone, 5);
    rp_lease_release(lease, NULL);
    rp_lease_release(kept, NULL);
    check_ledger(pool);
    close_pool(pool);
}

static void what_a_leased_object_was_made_of_stays(void **state) {
    (void)state;
    rp_pool *pool = open_pool("300MiB");
    struct plan above = {.bytes = 100 * MIB, .pool = pool, .needs = "below"};
    struct plan other = {.bytes = 200 * MIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_lease *more = NULL;
    assert_ok(get(pool, "above", &above, 0, &lease, &err));
    assert_true(is_loaded(pool, "below"));
    assert_status(get(pool, "other", &other, 0, &more, &err), RP_ERR_CAPACITY);
    assert_true(is_loaded(pool, "below"));
    rp_lease_release(lease, NULL);
    assert_ok(get(pool, "other", &other, 0, &more, &err));
    assert_false(is_loaded(pool, "above")); /* the dependent goes first */
    rp_lease_release(more, NULL);
    check_ledger(pool);
    close_pool(pool);
}

static void dependents_go_with_what_they_hold(void **state) {
    (void)state;
    rp_pool *pool = open_pool("300MiB");
    struct plan above = {.bytes = 100 * MIB, .pool = pool, .needs = "below", .keeps_lease = true};
    struct plan other = {.bytes = 300 * MIB};
    load_and_leave(pool, "above", &above);
    load_and_leave(pool, "other", &other); /* needs the room of both */
    assert_int_equal(above.gone, 1);
    assert_false(is_loaded(pool, "below"));
    check_ledger(pool);
    close_pool(pool);
}

static void what_stays_for_a_dependent_alone_makes_room_with_it(void **state) {
    (void)state;
    rp_pool *pool = open_pool("260MiB");
    struct plan user = {.bytes = 100 * MIB, .pool = pool, .needs = "part", .evicts = true};
    struct plan big = {.bytes = 250 * MIB};
    load_and_leave(pool, "user", &user);
    check_ledger(pool);
    assert_int_equal(rp_ledger_charged(pool->ledger.sums), 200 * MIB); /* the part stays for it */
    load_and_leave(pool, "big", &big);
    assert_int_equal(user.gone, 1);
    assert_int_equal(rp_ledger_charged(pool->ledger.sums), 250 * MIB);
    close_pool(pool);
}

static rp_pool *reloading_pool;

static void unmake_and_load_another(void *pointer) {
    static struct plan another = {.bytes = MIB};
    rp_lease *lease = NULL;
    unmake(pointer);
    assert_int_equal(get(reloading_pool, "another", &another, 0, &lease, NULL), RP_OK);
    rp_lease_release(lease, NULL);
}

static void what_a_destructor_loads_is_cleared_too(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    struct plan plan = {.bytes = MIB};
    reloading_pool = open_pool(NULL);
    rp_request request = request_of("one", &plan);
    request.destroy = unmake_and_load_another;
    assert_ok(rp_pool_get_model(reloading_pool, &request, &lease, &err));
    rp_lease_release(lease, NULL);
    close_pool(reloading_pool);
    assert_int_equal(plan.gone, 1);
}

static void evicting_what_others_were_made_of_takes_those_first(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan above = {.bytes = 100 * MIB, .pool = pool, .needs = "below"};
    rp_error err = RP_ERROR_INIT;
    rp_cleared done;
    rp_lease *lease = NULL;
    assert_ok(get(pool, "above", &above, 0, &lease, &err));
    assert_ok(rp_pool_evict(pool, "t:below@cpu", &done, &err));
    assert_int_equal(done.removed_count, 0);
    assert_int_equal(done.leased_count, 2); /* both are marked, and go with the lease */
    assert_int_equal(above.gone, 0);
    rp_lease_release(lease, NULL);
    assert_int_equal(above.gone, 1);
    assert_int_equal(pool->entry_count, 0);
    assert_status(rp_pool_evict(pool, "t:below@cpu", &done, &err), RP_ERR_NOT_FOUND);
    check_ledger(pool);
    close_pool(pool);
}

static void without_memory_idle_ones_go_and_it_is_tried_once_more(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan idle = {.bytes = GIB};
    struct plan plan = {.bytes = 100 * MIB, .fails_left = 1};
    load_and_leave(pool, "idle", &idle);
    load_and_leave(pool, "a", &plan);
    assert_int_equal(plan.made, 2);
    assert_int_equal(idle.gone, 1);
    assert_int_equal(pool->counts.retries, 1);
    close_pool(pool);
}

static void a_doomed_load_is_not_repeated_until_something_changes(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = 100 * MIB, .fails_left = 1};
    struct plan other = {.bytes = 100 * MIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_status(get(pool, "a", &plan, 0, &lease, &err), RP_ERR_MEMORY);
    struct rp_explanation told;
    rp_error first = err;
    assert_true(rp_explain(&first, "cpu", "a", &told));
    assert_int_equal(told.category, RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_string_equal(err.hint, told.advice); /* what to do first, as the pool filled it in */
    char line[sizeof err.hint];
    rp_cut_text(line, sizeof line, told.line);
    for (int i = 0; i < 24; i++) {
        assert_status(get(pool, "a", &plan, 0, &lease, &err), RP_ERR_MEMORY);
        assert_says(err.message, "not tried again for");
        assert_says(err.message, "planned: no memory");
        assert_string_equal(err.hint, line); /* and the one line from then on */
    }
    assert_int_equal(plan.made, 1);
    assert_int_equal(pool->counts.failures[RP_CATEGORY_OUT_OF_MEMORY_HOST], 1);
    load_and_leave(pool, "other", &other); /* a success: the world has changed */
    assert_ok(get(pool, "a", &plan, 0, &lease, &err));
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void a_lower_precision_is_taken_where_it_is_allowed(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = 100 * MIB, .fails_on = "fp32"};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_request request = request_of("a", &plan);
    request.precision = "fp32";
    request.precisions = "fp16,int8";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_string_equal(rp_lease_placement(lease)->precision, "fp16");
    assert_says(rp_lease_placement(lease)->reason, "cpu/fp32: no memory");
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err)); /* and is a hit from now on */
    assert_int_equal(plan.made, 2);
    rp_lease_release(lease, NULL);
    plan.fails_on = "cpu";
    request.name = "b";
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_MEMORY);
    assert_says(err.message, "cpu/fp32: no memory; cpu/fp16: no memory");
    close_pool(pool);
}

static void in_low_memory_mode_nothing_stays_that_is_not_leased(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = 500 * MIB};
    rp_error err = RP_ERROR_INIT;
    const char *why = NULL;
    load_and_leave(pool, "idle", &plan);
    assert_false(rp_pool_is_low_memory(pool, &why));
    assert_ok(rp_pool_set_low_memory(pool, true, &err));
    assert_true(rp_pool_is_low_memory(pool, &why));
    assert_says(why, "program");
    assert_int_equal(plan.gone, 1);
    rp_lease *first = NULL;
    rp_lease *second = NULL;
    assert_ok(get(pool, "a", &plan, 0, &first, &err));
    assert_ok(get(pool, "a", &plan, 0, &second, &err));
    rp_lease_release(first, NULL);
    assert_int_equal(plan.gone, 1);
    rp_lease_release(second, NULL);
    assert_int_equal(plan.gone, 2);
    struct plan large = {.bytes = 1500 * MIB}; /* half of 2 GiB is the budget now */
    assert_status(get(pool, "large", &large, 0, &first, &err), RP_ERR_CAPACITY);
    rp_request request = request_of("p", &plan);
    request.precision = "fp32";
    request.precisions = "fp16,int8";
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    assert_string_equal(rp_lease_placement(first)->precision, "int8");
    rp_lease_release(first, NULL);
    assert_ok(rp_pool_set_low_memory(pool, false, &err));
    assert_false(rp_pool_is_low_memory(pool, NULL));
    load_and_leave(pool, "large", &large);
    assert_true(is_loaded(pool, "large"));
    check_ledger(pool);
    close_pool(pool);
}

static void cleanup_takes_what_nobody_used_for_so_long(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = 100 * MIB};
    rp_error err = RP_ERROR_INIT;
    rp_cleared done;
    rp_lease *lease = NULL;
    load_and_leave(pool, "old", &plan);
    load_and_leave(pool, "young", &plan);
    assert_ok(get(pool, "leased", &plan, 0, &lease, &err));
    rp_lock_acquire(&pool->lock);
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (!strstr(entry->text, "young")) {
            for (struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
                RP_WRITE(at->last_ns, rp_clock_ns() - INT64_C(60) * 1000000000);
            }
            entry->used_ns = entry->loaded_ns = rp_clock_ns() - INT64_C(60) * 1000000000;
        }
    }
    rp_lock_release(&pool->lock);
    assert_ok(rp_pool_cleanup_unused(pool, 30000, &done, &err));
    assert_int_equal(done.removed_count, 1);
    assert_int_equal(done.removed_bytes, 100 * MIB);
    assert_false(is_loaded(pool, "old"));
    assert_true(is_loaded(pool, "young"));
    assert_true(is_loaded(pool, "leased"));
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_cleanup_unused(pool, 0, &done, &err));
    assert_int_equal(done.removed_count, 2);
    assert_status(rp_pool_cleanup_unused(pool, -1, &done, &err), RP_ERR_ARGUMENT);
    close_pool(pool);
}

static void a_smaller_budget_takes_effect_at_once(void **state) {
    (void)state;
    rp_pool *pool = open_pool("2GiB");
    struct plan plan = {.bytes = 500 * MIB};
    rp_error err = RP_ERROR_INIT;
    load_and_leave(pool, "a", &plan);
    load_and_leave(pool, "b", &plan);
    load_and_leave(pool, "c", &plan);
    assert_ok(rp_pool_set_budget(pool, NULL, 600 * MIB, &err));
    assert_int_equal(plan.gone, 2);
    assert_ok(rp_pool_set_budget(pool, "cpu", 100 * MIB, &err));
    assert_int_equal(plan.gone, 3);
    assert_status(rp_pool_set_budget(pool, "cuda:9", GIB, &err), RP_ERR_ABSENT);
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_pool *none = NULL;
    options.budget =
        "cpuu=1GiB"; /* a device of another machine is fine, a slip of the pen is not */
    assert_status(rp_pool_open(&options, &none, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "'cpuu' is no device");
    options.budget = "lots";
    assert_status(rp_pool_open(&options, &none, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "'lots'");
    close_pool(pool);
}

static void larger_than_expected_is_made_up_for_by_idle_ones(void **state) {
    (void)state;
    rp_pool *pool = open_pool("1GiB");
    struct plan idle = {.bytes = 500 * MIB};
    struct plan liar = {.bytes = 900 * MIB};
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    load_and_leave(pool, "idle", &idle);
    rp_request request = request_of("liar", &liar);
    request.memory_bytes = 100 * MIB;
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_int_equal(rp_lease_memory_bytes(lease), 900 * MIB);
    assert_int_equal(idle.gone, 1);
    rp_lease_release(lease, NULL);
    check_ledger(pool);
    close_pool(pool);
}

static void note_event(const rp_event *event, void *user) {
    uint64_t *seen = user;
    seen[event->kind]++;
}

static void each_decision_is_an_event(void **state) {
    (void)state;
    rp_pool *pool = open_pool("1GiB");
    struct plan plan = {.bytes = 600 * MIB};
    uint64_t seen[32] = {0};
    uint64_t cursor = 0;
    load_and_leave(pool, "a", &plan);
    load_and_leave(pool, "b", &plan);
    struct plan huge = {.bytes = 2 * GIB};
    rp_lease *lease = NULL;
    assert_int_equal(get(pool, "huge", &huge, 0, &lease, NULL), RP_ERR_CAPACITY);
    assert_int_equal(rp_pool_read_events(pool, &cursor, note_event, seen), 0);
    assert_int_equal(seen[RP_EVENT_LOAD], 2);
    assert_int_equal(seen[RP_EVENT_EVICT], 1);
    assert_int_equal(seen[RP_EVENT_UNLOAD], 1);
    assert_int_equal(seen[RP_EVENT_REFUSE], 1);
    memset(seen, 0, sizeof seen);
    assert_int_equal(rp_pool_read_events(pool, &cursor, note_event, seen), 0);
    assert_int_equal(seen[RP_EVENT_LOAD], 0);
    for (int i = 0; i < 3 * RP_EVENT_KEPT; i++) {
        rp_event_tell(&pool->events, RP_EVENT_NOTE, "x", NULL, 1, 2, 3);
    }
    assert_int_equal(rp_pool_read_events(pool, &cursor, note_event, seen), 2 * RP_EVENT_KEPT);
    assert_int_equal(seen[RP_EVENT_NOTE], RP_EVENT_KEPT);
    close_pool(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_of_one_gib_fit_into_two_one_after_the_other),
        cmocka_unit_test(what_can_never_fit_fails_at_once_with_the_numbers),
        cmocka_unit_test(leases_in_the_way_are_named_when_nobody_else_can_release_them),
        cmocka_unit_test(a_waiting_request_is_served_when_a_lease_ends),
        cmocka_unit_test(two_that_wait_for_each_other_do_not_sleep_for_ever),
        cmocka_unit_test(a_circle_of_holders_ends_with_one_refusal),
        cmocka_unit_test(small_ones_do_not_starve_a_big_one),
        cmocka_unit_test(a_request_can_be_called_off_while_it_waits),
        cmocka_unit_test(the_set_is_chosen_as_one),
        cmocka_unit_test(what_a_leased_object_was_made_of_stays),
        cmocka_unit_test(dependents_go_with_what_they_hold),
        cmocka_unit_test(what_stays_for_a_dependent_alone_makes_room_with_it),
        cmocka_unit_test(what_a_destructor_loads_is_cleared_too),
        cmocka_unit_test(evicting_what_others_were_made_of_takes_those_first),
        cmocka_unit_test(without_memory_idle_ones_go_and_it_is_tried_once_more),
        cmocka_unit_test(a_doomed_load_is_not_repeated_until_something_changes),
        cmocka_unit_test(a_lower_precision_is_taken_where_it_is_allowed),
        cmocka_unit_test(in_low_memory_mode_nothing_stays_that_is_not_leased),
        cmocka_unit_test(cleanup_takes_what_nobody_used_for_so_long),
        cmocka_unit_test(a_smaller_budget_takes_effect_at_once),
        cmocka_unit_test(larger_than_expected_is_made_up_for_by_idle_ones),
        cmocka_unit_test(each_decision_is_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
