/* SPDX-License-Identifier: Apache-2.0 */
/* Room for what the pool does not load, on a simulated machine with two GPUs of 24 GiB. */
#include "base/clock.h"
#include "base/memory.h"
#include "failure/own.h"
#include "pool/admission.h"
#include "pool/pool.h"

#include "../../tests/test.h"

#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)

static rp_error err;

static rp_pool *open_pool(const char *budget) {
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.budget = budget;
    options.history = "off";
    assert_ok(rp_pool_open(&options, &pool, &err));
    return pool;
}

static void close_pool(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    assert_true(rp_ledger_is_sound(&pool->ledger));
    rp_lock_release(&pool->lock);
    assert_ok(rp_pool_close(pool, &err));
}

static rp_reservation room(const char *device, uint64_t bytes, int64_t timeout_ms) {
    rp_reservation request = RP_RESERVATION_INIT;
    request.device = device;
    request.memory_bytes = bytes;
    request.name = "a test";
    request.timeout_ms = timeout_ms;
    return request;
}

static rp_status reserve(rp_pool *pool, const char *device, uint64_t bytes, int64_t timeout_ms,
                         rp_lease **lease) {
    rp_reservation request = room(device, bytes, timeout_ms);
    return rp_pool_reserve(pool, &request, lease, &err);
}

static uint64_t charged(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    uint64_t bytes = rp_ledger_charged(pool->ledger.sums);
    rp_lock_release(&pool->lock);
    return bytes;
}

static size_t queue_length(rp_pool *pool) {
    size_t length = 0;
    rp_lock_acquire(&pool->lock);
    for (const struct rp_admission *at = pool->queue; at; at = at->next) {
        length++;
    }
    rp_lock_release(&pool->lock);
    return length;
}

static void wait_for_queue(rp_pool *pool, size_t length) {
    int64_t deadline_ns = rp_deadline_after_ms(20000);
    while (queue_length(pool) != length) {
        if (rp_clock_ns() > deadline_ns) fail_msg("%zu do not wait", length);
        usleep(500);
    }
}

/* ---- an object that can be in the way ---- */

static _Atomic int gone;

static rp_status make(rp_build *build, void *user, void **object, rp_error *why) {
    (void)why;
    rp_build_set_bytes(build, *(uint64_t *)user);
    *object = user;
    return RP_OK;
}

static void unmake(void *object) {
    (void)object;
    atomic_fetch_add(&gone, 1);
}

static rp_status get(rp_pool *pool, const char *name, uint64_t *bytes, int64_t timeout_ms,
                     rp_lease **lease) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.device = "cuda:0";
    request.memory_bytes = *bytes;
    request.timeout_ms = timeout_ms;
    request.construct = make;
    request.destroy = unmake;
    request.user = bytes;
    return rp_pool_get_model(pool, &request, lease, &err);
}

/* ---- tests ---- */

static void room_is_out_of_the_account_until_its_lease_ends(void **state) {
    (void)state;
    int64_t blocks = rp_memory_live_count();
    rp_pool *pool = open_pool(NULL);
    rp_lease *lease = NULL;
    assert_ok(reserve(pool, "cuda:0", 8 * GIB, 0, &lease));
    assert_int_equal(charged(pool), 8 * GIB);
    assert_null(rp_lease_object(lease));
    assert_null(rp_lease_model(lease));
    assert_int_equal(rp_lease_memory_bytes(lease), 8 * GIB);
    assert_string_equal(rp_lease_key(lease), "reservation:a test");
    assert_string_equal(rp_lease_placement(lease)->device, "cuda:0");
    assert_says(rp_lease_placement(lease)->reason, "simulated");
    assert_ok(rp_lease_release(lease, &err));
    assert_int_equal(charged(pool), 0);
    close_pool(pool);
    assert_true(rp_memory_live_count() - blocks < 1000); /* what a process keeps of its machine */
}

static void it_is_a_lease_and_neither_object_nor_request(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *leases[2] = {NULL};
    rp_statistics *statistics = NULL;
    assert_ok(reserve(pool, "cuda:0", GIB, 0, &leases[0]));
    assert_ok(reserve(pool, "cuda:0", GIB, 0, &leases[1])); /* nothing is shared */
    assert_int_equal(charged(pool), 2 * GIB);
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    const rp_totals *totals = rp_statistics_totals(statistics);
    assert_int_equal(rp_statistics_entry_count(statistics), 0);
    assert_int_equal(totals->entry_count + totals->requests + totals->loads, 0);
    assert_int_equal(totals->memory_bytes, 0);
    assert_int_equal(totals->lease_count, 2);
    assert_int_equal(totals->reserved_count, 2);
    assert_int_equal(totals->reserved_bytes, 2 * GIB);
    assert_int_equal(rp_statistics_lease_count(statistics), 2);
    const rp_lease_info *row = rp_statistics_lease(statistics, 0);
    assert_int_equal(row->kind, RP_KIND_RESERVATION);
    assert_string_equal(row->key, "reservation:a test");
    assert_string_equal(row->device, "cuda:0");
    assert_int_equal(row->memory_bytes, GIB);
    char *json = NULL;
    assert_ok(rp_statistics_to_json(statistics, 0, &json, &err));
    assert_says(json, "\"kind\":\"reservation\"");
    rp_string_free(json);
    rp_statistics_destroy(statistics);
    rp_lease_release(leases[0], NULL);
    rp_lease_release(leases[1], NULL);
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    totals = rp_statistics_totals(statistics);
    assert_int_equal(totals->requests + totals->unloads + totals->reserved_bytes, 0);
    assert_int_equal(totals->reservations, 2);
    rp_statistics_destroy(statistics);
    close_pool(pool);
}

static void idle_objects_make_room_and_leased_ones_do_not(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    uint64_t bytes = 6 * GIB;
    rp_lease *model = NULL;
    rp_lease *lease = NULL;
    gone = 0;
    assert_ok(get(pool, "m", &bytes, 0, &model));
    assert_status(reserve(pool, "cuda:0", 6 * GIB, 20, &lease), RP_ERR_TIMEOUT);
    assert_says(err.message, "needs 6.0 GiB");
    assert_says(err.message, "4.0 GiB of 10.0 GiB free");
    assert_int_equal(gone, 0);
    rp_lease_release(model, NULL);
    assert_ok(reserve(pool, "cuda:0", 6 * GIB, 0, &lease));
    assert_int_equal(gone, 1);
    assert_status(get(pool, "m", &bytes, 20, &model), RP_ERR_CAPACITY); /* and is in their way */
    assert_says(err.message, "'reservation:a test' 6.0 GiB");
    rp_lease_release(lease, NULL);
    assert_ok(get(pool, "m", &bytes, 0, &model));
    rp_lease_release(model, NULL);
    close_pool(pool);
}

static void what_could_never_fit_is_refused_at_once(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    rp_lease *lease = NULL;
    assert_status(reserve(pool, "cuda:0", 11 * GIB, 0, &lease), RP_ERR_CAPACITY);
    assert_says(err.message, "more than the budget of cuda:0, 10.0 GiB");
    assert_status(reserve(pool, "cuda", 30 * GIB, 0, &lease), RP_ERR_CAPACITY);
    assert_null(lease);
    close_pool(pool);
}

static void wrong_requests_say_what_is_wrong(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *lease = NULL;
    rp_reservation request = room("cuda:0", GIB, 0);
    request.name = "a\nb";
    assert_status(rp_pool_reserve(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    request = room("cuda:0", GIB, -1);
    assert_status(rp_pool_reserve(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    assert_status(rp_pool_reserve(NULL, &request, &lease, &err), RP_ERR_ARGUMENT);
    assert_status(reserve(pool, NULL, GIB, 0, &lease), RP_ERR_ARGUMENT);
    assert_status(reserve(pool, "", GIB, 0, &lease), RP_ERR_ARGUMENT);
    assert_status(reserve(pool, "toaster", GIB, 0, &lease), RP_ERR_ARGUMENT);
    assert_says(err.message, "toaster");
    assert_status(reserve(pool, "cuda:0", 0, 0, &lease), RP_ERR_ARGUMENT);
    assert_status(reserve(pool, "cuda:0", RP_UNKNOWN_U64, 0, &lease), RP_ERR_ARGUMENT);
    assert_status(reserve(pool, "cuda:7", GIB, 0, &lease), RP_ERR_ABSENT);
    assert_says(err.message, "'cuda:7'");
    assert_status(reserve(pool, "mps", GIB, 0, &lease), RP_ERR_ABSENT);
    char longest[100];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_status(reserve(pool, longest, GIB, 0, &lease), RP_ERR_LIMIT);
    request = room("cuda:0", GIB, 0);
    request.name = NULL; /* then it is this process's */
    assert_ok(rp_pool_reserve(pool, &request, &lease, &err));
    assert_says(rp_lease_key(lease), "reservation:process ");
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

/* One thread that reserves. */
struct asker {
    rp_pool *pool;
    rp_reservation request;
    pthread_t thread;
    rp_lease *lease;
    rp_status status;
    rp_error why;
};

static void *ask(void *user) {
    struct asker *asker = user;
    asker->status = rp_pool_reserve(asker->pool, &asker->request, &asker->lease, &asker->why);
    return NULL;
}

static void begin(struct asker *asker, rp_pool *pool, rp_reservation request) {
    *asker = (struct asker){.pool = pool, .request = request};
    assert_int_equal(pthread_create(&asker->thread, NULL, ask, asker), 0);
}

/* Whichever ends first: one that came later may overtake. */
static struct asker *join_one(struct asker *askers, size_t count) {
    int64_t deadline_ns = rp_deadline_after_ms(20000);
    for (size_t i = 0;; i = (i + 1) % count) {
        if (askers[i].pool && pthread_tryjoin_np(askers[i].thread, NULL) == 0) {
            askers[i].pool = NULL;
            return &askers[i];
        }
        if (rp_clock_ns() > deadline_ns) fail_msg("nobody gets room");
        usleep(500);
    }
}

static void who_waits_gets_room_one_after_the_other(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    struct asker askers[2];
    rp_lease *lease = NULL;
    assert_ok(reserve(pool, "cuda:0", 8 * GIB, 0, &lease));
    for (size_t i = 0; i < 2; i++) {
        begin(&askers[i], pool, room("cuda:0", 6 * GIB, 0));
        wait_for_queue(pool, i + 1);
    }
    rp_lease_release(lease, NULL);
    for (size_t i = 0; i < 2; i++) {
        const struct asker *served = join_one(askers, 2);
        assert_int_equal(served->status, RP_OK);
        assert_int_equal(queue_length(pool), 1 - i);
        rp_lease_release(served->lease, NULL);
    }
    close_pool(pool);
}

static void a_wait_can_be_called_off(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    struct asker asker;
    rp_cancel *cancel = NULL;
    rp_lease *lease = NULL;
    assert_ok(rp_cancel_create(&cancel, &err));
    assert_ok(reserve(pool, "cuda:0", 8 * GIB, 0, &lease));
    rp_reservation request = room("cuda:0", 6 * GIB, 0);
    request.cancel = cancel;
    begin(&asker, pool, request);
    wait_for_queue(pool, 1);
    rp_cancel_fire(cancel);
    pthread_join(asker.thread, NULL);
    assert_int_equal(asker.status, RP_ERR_CANCELLED);
    assert_status(rp_pool_reserve(pool, &request, &lease, &err), RP_ERR_CANCELLED);
    rp_cancel_destroy(cancel);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

/* Two threads: each holds most of a device and wants most of the other. */
static void *hold_and_want(void *user) {
    struct asker *asker = user;
    rp_reservation held = asker->request;
    rp_lease *lease = NULL;
    held.device = strcmp(held.device, "cuda:0") == 0 ? "cuda:1" : "cuda:0";
    assert_int_equal(rp_pool_reserve(asker->pool, &held, &lease, NULL), RP_OK);
    ask(asker);
    rp_lease_release(lease, NULL);
    return NULL;
}

static void of_two_that_wait_for_each_other_the_last_is_told(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB,cuda:1=10GiB");
    struct asker first = {.pool = pool, .request = room("cuda:1", 6 * GIB, 0)};
    rp_lease *lease = NULL;
    assert_ok(reserve(pool, "cuda:1", 6 * GIB, 0, &lease));
    assert_int_equal(pthread_create(&first.thread, NULL, hold_and_want, &first), 0);
    wait_for_queue(pool, 1);
    rp_lease *more = NULL;
    assert_status(reserve(pool, "cuda:0", 6 * GIB, 0, &more), RP_ERR_CYCLE);
    assert_says(err.message, "'reservation:a test' 6.0 GiB by thread");
    assert_says(err.hint, "release what is held");
    assert_int_equal(queue_length(pool), 1); /* the other still hopes, */
    rp_lease_release(lease, NULL);
    pthread_join(first.thread, NULL);
    assert_int_equal(first.status, RP_OK); /* and is right */
    rp_lease_release(first.lease, NULL);
    /* What a thread waits for that only it has is a circle of one. */
    assert_ok(reserve(pool, "cuda:1", 6 * GIB, 0, &lease));
    assert_status(reserve(pool, "cuda:1", 6 * GIB, 0, &more), RP_ERR_CYCLE);
    assert_status(reserve(pool, "cuda:1", 6 * GIB, 10, &more), RP_ERR_TIMEOUT);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void of_a_kind_it_is_whichever_has_room(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB,cuda:1=12GiB");
    rp_lease *leases[3] = {NULL};
    assert_ok(reserve(pool, "cuda", 6 * GIB, 0, &leases[0]));
    assert_string_equal(rp_lease_placement(leases[0])->device, "cuda:1"); /* the roomiest */
    assert_int_equal(rp_lease_placement(leases[0])->policy, RP_POLICY_ANY);
    assert_ok(reserve(pool, "cuda", 8 * GIB, 0, &leases[1]));
    assert_string_equal(rp_lease_placement(leases[1])->device, "cuda:0");
    assert_status(reserve(pool, "cuda", 8 * GIB, 10, &leases[2]), RP_ERR_TIMEOUT);
    /* Whichever is given back first will do. */
    for (size_t i = 0; i < 2; i++) {
        struct asker asker;
        char device[16];
        snprintf(device, sizeof device, "%s", rp_lease_placement(leases[i])->device);
        begin(&asker, pool, room("cuda", 8 * GIB, 0));
        wait_for_queue(pool, 1);
        rp_lease_release(leases[i], NULL);
        pthread_join(asker.thread, NULL);
        assert_int_equal(asker.status, RP_OK);
        assert_string_equal(rp_lease_placement(asker.lease)->device, device);
        leases[i] = asker.lease;
    }
    rp_lease_release(leases[0], NULL);
    rp_lease_release(leases[1], NULL);
    close_pool(pool);
}

struct part {
    rp_pool *pool;
    rp_lease *lease;
};

static rp_status make_with_room(rp_build *build, void *user, void **object, rp_error *why) {
    struct part *part = user;
    rp_reservation request = room("cuda:1", GIB, 0);
    rp_status status = rp_pool_reserve(part->pool, &request, &part->lease, why);
    rp_build_set_bytes(build, 1);
    *object = part;
    return status;
}

static void room_that_a_constructor_reserved_is_no_part_of_its_object(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    struct part part = {.pool = pool};
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = "made";
    request.construct = make_with_room;
    request.user = &part;
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_int_equal(charged(pool), GIB + 1);
    rp_lease_release(part.lease, NULL);
    assert_int_equal(charged(pool), 1);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void clearing_leaves_it_and_closing_waits_for_it(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *lease = NULL;
    rp_lease *second = NULL;
    assert_ok(reserve(pool, "cuda:0", GIB, 0, &lease));
    assert_status(rp_pool_evict(pool, "reservation:a test", NULL, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_pool_clear(pool, NULL, &err), RP_ERR_BUSY);
    assert_status(rp_pool_close(pool, &err), RP_ERR_BUSY);
    assert_says(err.message, "reservation:a test");
    assert_int_equal(charged(pool), GIB);
    assert_ok(rp_lease_clone(lease, &second, &err)); /* it ends with the last */
    assert_ok(rp_lease_release(lease, &err));
    assert_status(rp_lease_release(lease, &err), RP_ERR_STATE);
    assert_int_equal(charged(pool), GIB);
    assert_ok(rp_lease_release(second, &err));
    assert_int_equal(charged(pool), 0);
    close_pool(pool);
}

static void in_a_child_it_is_the_parents(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *lease = NULL;
    int how = 0;
    assert_ok(reserve(pool, "cuda:0", GIB, 0, &lease));
    pid_t child = fork();
    if (child == 0) {
        rp_lease *own = NULL;
        bool is_refused = rp_lease_release(lease, NULL) == RP_ERR_FORKED &&
                          reserve(pool, "cuda:0", GIB, 0, &own) == RP_ERR_FORKED;
        _exit(is_refused ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    assert_int_equal(charged(pool), GIB);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

/* How many allocations of a reservation failed, one after the other. */
static int fail_each_allocation(rp_pool *pool) {
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        rp_lease *lease = NULL;
        rp_memory_fail_at(n);
        rp_status status = reserve(pool, "cuda", 6 * GIB, 0, &lease);
        bool is_over = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (status != RP_OK) {
            assert_int_equal(status, RP_ERR_MEMORY);
            assert_null(lease);
            failures++;
        }
        if (lease) assert_ok(rp_lease_release(lease, &err));
        assert_int_equal(charged(pool), 0);
        if (is_over) return failures;
    }
}

static void without_memory_nothing_is_lost(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    assert_true(fail_each_allocation(pool) > 3); /* after that a process has what it keeps */
    int64_t blocks = rp_memory_live_count();
    (void)fail_each_allocation(pool);
    assert_int_equal(rp_memory_live_count(), blocks);
    close_pool(pool);
}

enum { THREADS = 8, ROUNDS = 200 };

static _Atomic uint64_t held_gib;
static _Atomic bool is_over;

static void *reserve_and_release(void *user) {
    rp_pool *pool = user;
    unsigned seed = (unsigned)(uintptr_t)&pool;
    for (int i = 0; i < ROUNDS; i++) {
        rp_lease *lease = NULL;
        uint64_t gib = 1 + (uint64_t)rand_r(&seed) % 6;
        rp_reservation request = room("cuda:0", gib * GIB, 0);
        rp_error why = RP_ERROR_INIT;
        if (rp_pool_reserve(pool, &request, &lease, &why) != RP_OK) {
            fprintf(stderr, "%s\n", why.message);
            abort();
        }
        if (atomic_fetch_add(&held_gib, gib) + gib > 10) is_over = true;
        atomic_fetch_sub(&held_gib, gib);
        if (rp_lease_release(lease, NULL) != RP_OK) abort();
    }
    return NULL;
}

static void many_threads_never_hold_more_than_there_is(void **state) {
    (void)state;
    rp_pool *pool = open_pool("cuda:0=10GiB");
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_and_release, pool), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(is_over);
    assert_int_equal(charged(pool), 0);
    rp_lock_acquire(&pool->lock);
    assert_int_equal(pool->counts.reservations, THREADS * ROUNDS);
    assert_null(pool->oldest);
    rp_lock_release(&pool->lock);
    close_pool(pool);
}

int main(void) {
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/2xrtx4090.json", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_out_of_the_account_until_its_lease_ends),
        cmocka_unit_test(it_is_a_lease_and_neither_object_nor_request),
        cmocka_unit_test(idle_objects_make_room_and_leased_ones_do_not),
        cmocka_unit_test(what_could_never_fit_is_refused_at_once),
        cmocka_unit_test(wrong_requests_say_what_is_wrong),
        cmocka_unit_test(who_waits_gets_room_one_after_the_other),
        cmocka_unit_test(a_wait_can_be_called_off),
        cmocka_unit_test(of_two_that_wait_for_each_other_the_last_is_told),
        cmocka_unit_test(of_a_kind_it_is_whichever_has_room),
        cmocka_unit_test(room_that_a_constructor_reserved_is_no_part_of_its_object),
        cmocka_unit_test(clearing_leaves_it_and_closing_waits_for_it),
        cmocka_unit_test(in_a_child_it_is_the_parents),
        cmocka_unit_test(without_memory_nothing_is_lost),
        cmocka_unit_test(many_threads_never_hold_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
