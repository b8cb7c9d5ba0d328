/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded threads that ask, hold, clone, hand over, release and clear at random, while constructors
 * fail now and then; every other pool has room for a part of the objects only. After it: every
 * object was destroyed exactly once, none while it was leased, and all counts fit. A failure prints
 * its seed; run with that number to see the same choices again.
 */
#include "base/memory.h"
#include "placement/rules.h"

#include "test.h"

#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    THREADS = 6,
    STEPS = 4000,
    KEYS = 9,
    HELD = 12,
    ALIVE = 0x600D,
    DEAD = 0xDEAD,
    OBJECT_BYTES = 1 << 20
};

struct object {
    _Atomic int magic;
    _Atomic int users; /* leases that somebody believes to hold */
};

static _Atomic int made;
static _Atomic int gone;
static _Atomic int building[KEYS]; /* constructors of that key that are running */
static _Atomic int mistakes;
static _Atomic uint64_t requests;
static _Atomic uint64_t refused;

/* A place to hand leases over to other threads. */
static rp_lease *exchange[8];
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;

struct worker {
    rp_pool *pool;
    bool is_tight; /* there is room for some of the objects: requests may be refused */
    uint64_t random;
    rp_lease *held[HELD];
    uint64_t asked;
};

static void mistake(const char *what) {
    atomic_fetch_add(&mistakes, 1);
    fprintf(stderr, "mistake: %s\n", what);
}

static uint32_t next_random(struct worker *worker) {
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return (uint32_t)(worker->random >> 32);
}

struct order {
    int key;
    bool fails;
};

static rp_status build_object(rp_build *build, void *user, void **object, rp_error *err) {
    const struct order *order = user;
    rp_build_set_bytes(build, OBJECT_BYTES);
    if (atomic_fetch_add(&building[order->key], 1) != 0) mistake("two constructors of one key");
    for (volatile int i = 0; i < 500; i++) {
    }
    atomic_fetch_sub(&building[order->key], 1);
    if (order->fails) return rp_fail(err, RP_ERR_LOAD, "planned");
    struct object *made_object = calloc(1, sizeof *made_object);
    atomic_store(&made_object->magic, ALIVE);
    atomic_fetch_add(&made, 1);
    *object = made_object;
    return RP_OK;
}

static void destroy_object(void *pointer) {
    struct object *object = pointer;
    if (atomic_exchange(&object->magic, DEAD) != ALIVE) mistake("destroyed twice");
    if (atomic_load(&object->users) != 0) mistake("destroyed while leased");
    atomic_fetch_add(&gone, 1);
    free(object);
}

static void enter(rp_lease *lease) {
    struct object *object = rp_lease_object(lease);
    if (!object || atomic_load(&object->magic) != ALIVE) {
        mistake("a lease on something that is not there");
        return;
    }
    atomic_fetch_add(&object->users, 1);
}

static void leave(rp_lease *lease) {
    if (!lease) return;
    struct object *object = rp_lease_object(lease);
    if (!object || atomic_load(&object->magic) != ALIVE) mistake("gone under its lease");
    if (object) atomic_fetch_sub(&object->users, 1);
    if (rp_lease_release(lease, NULL) != RP_OK) mistake("a good lease was refused");
}

static void ask(struct worker *worker, size_t at) {
    static const char *const names[KEYS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct order order = {(int)(next_random(worker) % KEYS), next_random(worker) % 16 == 0};
    rp_request request = RP_REQUEST_INIT;
    request.type = "stress";
    request.name = names[order.key];
    if (next_random(worker) % 4 == 0) request.device = "cpu";
    request.construct = build_object;
    request.destroy = destroy_object;
    request.user = &order;
    request.memory_bytes = OBJECT_BYTES;
    /* Leases lie in the exchange for as long as it takes: who waits for one needs an end. */
    if (worker->is_tight) request.timeout_ms = 1 + next_random(worker) % 2;
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_status status = rp_pool_get_model(worker->pool, &request, &lease, &err);
    worker->asked++;
    if (status == RP_OK) {
        enter(lease);
        leave(worker->held[at]);
        worker->held[at] = lease;
    } else if (worker->is_tight && (status == RP_ERR_CAPACITY || status == RP_ERR_TIMEOUT)) {
        atomic_fetch_add(&refused, 1);
    } else if (status != RP_ERR_LOAD || !strstr(err.message, ": planned")) {
        mistake(err.message);
    }
}

static void step(struct worker *worker) {
    size_t held = worker->is_tight ? 1 : HELD; /* else all that fits would be leased always */
    size_t at = next_random(worker) % held;
    uint32_t choice = next_random(worker) % 100;
    if (choice < 60) {
        ask(worker, at);
    } else if (choice < 80) {
        leave(worker->held[at]);
        worker->held[at] = NULL;
    } else if (choice < 88 && worker->held[at]) {
        rp_lease *clone = NULL;
        size_t to = next_random(worker) % held;
        if (rp_lease_clone(worker->held[at], &clone, NULL) != RP_OK) mistake("no clone");
        enter(clone);
        leave(worker->held[to]);
        worker->held[to] = clone;
    } else if (choice < 97) {
        size_t place = next_random(worker) % (worker->is_tight ? 1 : 8);
        pthread_mutex_lock(&exchange_lock);
        rp_lease *other = exchange[place];
        exchange[place] = worker->held[at];
        pthread_mutex_unlock(&exchange_lock);
        worker->held[at] = other;
    } else if (choice < 99) {
        rp_statistics *statistics = NULL;
        if (rp_pool_statistics(worker->pool, &statistics, NULL) != RP_OK) mistake("no statistics");
        const rp_totals *totals = rp_statistics_totals(statistics);
        if (totals->requests != totals->hits + totals->misses)
            mistake("requests are not hits + misses");
        if (totals->lease_count > THREADS * (HELD + 1) + 8 + 1) mistake("more leases than can be");
        rp_statistics_destroy(statistics);
    } else if (!worker->is_tight) {
        rp_pool_clear(worker->pool, NULL, NULL);
    } else if (next_random(worker) % 2) {
        if (rp_pool_cleanup_unused(worker->pool, 0, NULL, NULL) != RP_OK) mistake("no clean-up");
    } else {
        bool is_on = next_random(worker) % 2;
        if (rp_pool_set_low_memory(worker->pool, is_on, NULL) != RP_OK) mistake("no low memory");
    }
}

static void *work(void *argument) {
    struct worker *worker = argument;
    for (int i = 0; i < STEPS; i++) {
        step(worker);
    }
    /* Half of what is held is left to another thread, after this one has ended. */
    for (size_t i = 0; i < HELD; i += 2) {
        leave(worker->held[i]);
        worker->held[i] = NULL;
    }
    atomic_fetch_add(&requests, worker->asked);
    return NULL;
}

static void random_schedules_keep_every_promise(void **state) {
    (void)state;
    const char *given = getenv("RP_STRESS_SEED");
    uint64_t first = given ? strtoull(given, NULL, 10) : 1;
    const rp_snapshot *snapshot = NULL; /* the process keeps one, and rules: they are no leak */
    const struct rp_rules *rules = NULL;
    assert_int_equal(rp_hardware_snapshot(&snapshot, NULL), RP_OK);
    assert_int_equal(rp_rules_of_process(&rules, NULL), RP_OK);
    rp_snapshot_release(snapshot);
    /* What a process keeps once a failure was diagnosed. */
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_diagnosis *diagnosis = NULL;
    assert_int_equal(rp_diagnose(&question, &diagnosis, NULL), RP_OK);
    rp_diagnosis_destroy(diagnosis);
    int64_t blocks = rp_memory_live_count();
    for (uint64_t seed = first; seed < first + (given ? 1 : 6); seed++) {
        rp_error err = RP_ERROR_INIT;
        rp_pool *pool = NULL;
        struct worker workers[THREADS] = {{0}};
        pthread_t threads[THREADS];
        rp_pool_options options = RP_POOL_OPTIONS_INIT;
        bool is_tight = seed % 2 == 0;
        if (is_tight) options.budget = "5MiB"; /* of 9 */
        assert_ok(rp_pool_open(&options, &pool, &err));
        atomic_store(&requests, 0);
        for (size_t i = 0; i < THREADS; i++) {
            workers[i].pool = pool;
            workers[i].is_tight = is_tight;
            workers[i].random = (seed * THREADS + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
            pthread_create(&threads[i], NULL, work, &workers[i]);
        }
        for (size_t i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
        for (size_t i = 0; i < THREADS; i++) {
            for (size_t h = 0; h < HELD; h++) {
                leave(workers[i].held[h]);
            }
        }
        for (size_t i = 0; i < 8; i++) {
            leave(exchange[i]);
            exchange[i] = NULL;
        }
        rp_statistics *statistics = NULL;
        assert_ok(rp_pool_statistics(pool, &statistics, &err));
        const rp_totals *totals = rp_statistics_totals(statistics);
        if (totals->requests != atomic_load(&requests)) mistake("requests were lost or made up");
        if (totals->lease_count != 0) mistake("leases are left");
        rp_statistics_destroy(statistics);
        assert_ok(rp_pool_close(pool, &err));
        if (atomic_load(&made) != atomic_load(&gone)) mistake("made and gone differ");
        if (atomic_load(&mistakes)) fail_msg("seed %llu", (unsigned long long)seed);
    }
    assert_true(atomic_load(&made) > 100);
    printf("%d made, %llu refused\n", atomic_load(&made),
           (unsigned long long)atomic_load(&refused));
    assert_int_equal(rp_memory_live_count(), blocks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_keep_every_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
