/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/engine.h"
#include "failure/own.h"
#include "placement/rules.h"
#include "pool/pool.h"

#include "../../tests/test.h"

#include <resourcepool/hardware.h>
#include <resourcepool/statistics.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the constructors of these tests share: how often they ran, and how they behave. */
struct plan {
    _Atomic int made;
    _Atomic int gone;
    rp_status fails_with; /* RP_OK: it does not */
    sem_t *started;       /* posted when the constructor begins; NULL: not */
    sem_t *may_end;       /* waited for before it ends; NULL: not */
    uint64_t bytes;
};

struct thing {
    struct plan *plan;
    rp_lease *needs; /* another lease that it holds, or NULL */
};

static rp_status make_thing(rp_build *build, void *user, void **object, rp_error *err) {
    struct plan *plan = user;
    atomic_fetch_add(&plan->made, 1);
    if (plan->started) sem_post(plan->started);
    if (plan->may_end) sem_wait(plan->may_end);
    if (plan->fails_with != RP_OK) return rp_fail(err, plan->fails_with, "planned, with %d", 42);
    struct thing *thing = calloc(1, sizeof *thing);
    thing->plan = plan;
    if (plan->bytes) rp_build_set_bytes(build, plan->bytes);
    *object = thing;
    return RP_OK;
}

static void drop_thing(void *object) {
    struct thing *thing = object;
    atomic_fetch_add(&thing->plan->gone, 1);
    rp_lease_release(thing->needs, NULL);
    free(thing);
}

static rp_request request_for(const char *name, struct plan *plan) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = name;
    request.construct = make_thing;
    request.destroy = drop_thing;
    request.user = plan;
    return request;
}

static rp_totals totals_of(rp_pool *pool) {
    rp_statistics *statistics = NULL;
    assert_int_equal(rp_pool_statistics(pool, &statistics, NULL), RP_OK);
    rp_totals totals = *rp_statistics_totals(statistics);
    assert_int_equal(totals.requests, totals.hits + totals.misses);
    uint64_t leases = 0;
    for (size_t i = 0; i < rp_statistics_lease_count(statistics); i++) {
        leases += rp_statistics_lease(statistics, i)->count;
    }
    assert_int_equal(leases, totals.lease_count);
    rp_statistics_destroy(statistics);
    return totals;
}

static rp_pool *open_pool(void) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    assert_ok(rp_pool_open(NULL, &pool, &err));
    return pool;
}

static void close_pool(rp_pool *pool) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_close(pool, &err));
}

static void the_first_request_loads_and_the_next_ones_hit(void **state) {
    (void)state;
    int64_t blocks = rp_memory_live_count();
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {.bytes = 1000};
    rp_request request = request_for("a", &plan);
    rp_lease *leases[100] = {NULL};
    for (size_t i = 0; i < 100; i++) {
        assert_ok(rp_pool_get_model(pool, &request, &leases[i], &err));
        assert_ptr_equal(rp_lease_object(leases[i]), rp_lease_object(leases[0]));
    }
    assert_string_equal(rp_lease_key(leases[0]), "embedding:a@cpu");
    assert_string_equal(rp_lease_placement(leases[0])->device, "cpu");
    assert_int_equal(rp_lease_memory_bytes(leases[0]), 1000);
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.hits, 99);
    assert_int_equal(totals.misses, 1);
    assert_int_equal(totals.loads, 1);
    assert_int_equal(totals.lease_count, 100);
    assert_int_equal(totals.memory_bytes, 1000);
    for (size_t i = 0; i < 100; i++) {
        assert_ok(rp_lease_release(leases[i], &err));
    }
    assert_int_equal(totals_of(pool).lease_count, 0);
    close_pool(pool);
    assert_int_equal(plan.made, 1);
    assert_int_equal(plan.gone, 1);
    assert_int_equal(rp_memory_live_count(), blocks);
}

static void what_is_asked_differently_but_is_the_same_is_one_instance(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    static const char *const devices[] = {NULL, "auto", "cpu", "cpu:0"};
    rp_lease *leases[4] = {NULL};
    for (size_t i = 0; i < 4; i++) {
        rp_request request = request_for("a", &plan);
        request.device = devices[i];
        if (i == 2) request.construct = NULL; /* what a constructor made answers this one too */
        assert_ok(rp_pool_get_model(pool, &request, &leases[i], &err));
        assert_ptr_equal(rp_lease_object(leases[i]), rp_lease_object(leases[0]));
    }
    assert_int_equal(plan.made, 1);
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.entry_count, 1);
    assert_int_equal(totals.hits, 3);
    for (size_t i = 0; i < 4; i++) {
        rp_lease_release(leases[i], NULL);
    }
    close_pool(pool);
}

static void what_differs_in_any_part_is_another_instance(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request requests[8];
    for (size_t i = 0; i < 8; i++) {
        requests[i] = request_for("c", &plan);
    }
    requests[0].type = "a:b"; /* ("a:b", "c") is not ("a", "b:c") */
    requests[1].type = "a";
    requests[1].name = "b:c";
    requests[2].precision = "fp16";
    requests[3].precision = "fp32";
    requests[4].threads = 2;
    requests[5].name = "d";
    rp_lease *leases[10] = {NULL};
    for (size_t i = 0; i < 7; i++) {
        assert_ok(rp_pool_get_model(pool, &requests[i], &leases[i], &err));
    }
    assert_ok(rp_pool_get_tokenizer(pool, &requests[7], &leases[7], &err));
    assert_ok(rp_pool_get_resource(pool, &requests[7], &leases[8], &err));
    requests[7].name = NULL;
    assert_ok(rp_pool_get_resource(pool, &requests[7], &leases[9], &err));
    assert_int_equal(plan.made, 10);
    assert_string_equal(rp_lease_key(leases[7]), "tokenizer:embedding:c");
    assert_string_equal(rp_lease_key(leases[8]), "embedding:c");
    assert_string_equal(rp_lease_key(leases[9]), "embedding");
    assert_string_equal(rp_lease_key(leases[2]), "embedding:c@cpu/fp16");
    for (size_t i = 0; i < 10; i++) {
        rp_lease_release(leases[i], NULL);
    }
    close_pool(pool);
}

static void a_failed_load_is_told_and_tried_again(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {.fails_with = RP_ERR_DATA};
    rp_request request = request_for("a", &plan);
    rp_lease *lease = NULL;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_DATA);
    assert_string_equal(err.message, "cannot load 'embedding:a@cpu': planned, with 42");
    assert_null(lease);
    assert_int_equal(totals_of(pool).entry_count, 0);
    assert_int_equal(totals_of(pool).load_failures, 1);
    assert_int_equal(totals_of(pool).failures[RP_CATEGORY_INVALID_MODEL_FILE], 1);
    plan.fails_with = RP_OK;
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_int_equal(plan.made, 2);
    assert_int_equal(totals_of(pool).misses, 2);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

/* What was asked for wrongly, called off or too late is nobody's failure to diagnose. */
static void what_has_no_cause_gets_no_hint(void **state) {
    (void)state;
    static const rp_status statuses[] = {RP_ERR_ARGUMENT, RP_ERR_TIMEOUT, RP_ERR_CANCELLED,
                                         RP_ERR_STATE};
    rp_pool *pool = open_pool();
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct plan plan = {.fails_with = statuses[i]};
        rp_request request = request_for("a", &plan);
        rp_lease *lease = NULL;
        assert_status(rp_pool_get_model(pool, &request, &lease, &err), statuses[i]);
        assert_string_equal(err.hint, "");
    }
    assert_int_equal(totals_of(pool).failures[RP_CATEGORY_UNKNOWN], 4);
    close_pool(pool);
}

/* The hook costs a run that goes well nothing; one that fails is explained like a load. */
static void a_run_that_fails_says_what_to_do(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    rp_request request = RP_REQUEST_INIT;
    rp_lease *lease = NULL;
    request.type = "model";
    request.name = "x?fail=run";
    request.engine = "simulated";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_status(rp_model_run_sample(rp_lease_model(lease), NULL, NULL, &err), RP_ERR_RUN);
    assert_says(err.message, "the simulated model 'x?fail=run' fails to run, as told");
    assert_non_null(rp_lease_model(lease)->run_failed);
    rp_error failure = RP_ERROR_INIT;
    rp_fail(&failure, RP_ERR_MEMORY, "no memory to run 'x'");
    rp_lease_model(lease)->run_failed(rp_lease_model(lease), &failure);
    rp_error other = {.status = RP_ERR_MEMORY, .message = "no memory to run 'x'"};
    struct rp_explanation told;
    assert_true(rp_explain(&other, "cpu", "x?fail=run", &told));
    assert_string_equal(failure.hint, told.advice);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static rp_status make_nothing(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)user;
    (void)err;
    *object = NULL;
    return RP_OK;
}

static rp_status fail_silently(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)user;
    (void)object;
    (void)err;
    return RP_ERR_LOAD;
}

static void a_constructor_that_makes_nothing_or_says_nothing_is_an_error(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    rp_request request = request_for("a", NULL);
    rp_lease *lease = NULL;
    request.construct = make_nothing;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_LOAD);
    assert_says(err.message, "made nothing (NULL)");
    request.construct = fail_silently;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_LOAD);
    assert_says(err.message, "gave no reason");
    close_pool(pool);
}

static void a_lease_released_twice_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request request = request_for("a", &plan);
    rp_lease *lease = NULL;
    rp_lease *other = NULL;
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_ok(rp_lease_release(lease, &err));
    assert_status(rp_lease_release(lease, &err), RP_ERR_STATE);
    assert_says(err.message, "given back before");
    assert_null(rp_lease_object(lease));
    assert_null(rp_lease_key(lease));
    /* Not either when its slot serves another lease by now. */
    assert_ok(rp_pool_get_model(pool, &request, &other, &err));
    assert_status(rp_lease_release(lease, &err), RP_ERR_STATE);
    assert_int_equal(totals_of(pool).lease_count, 1);
    assert_ok(rp_lease_release(other, &err));
    assert_ok(rp_lease_release(NULL, &err));
    close_pool(pool);
}

static void close_with_leases_out_is_refused_and_names_them(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request held = request_for("held", &plan);
    rp_request idle = request_for("idle", &plan);
    rp_lease *lease = NULL;
    rp_lease *second = NULL;
    assert_ok(rp_pool_get_model(pool, &idle, &lease, &err));
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_get_model(pool, &held, &lease, &err));
    assert_ok(rp_lease_clone(lease, &second, &err));
    assert_status(rp_pool_close(pool, &err), RP_ERR_BUSY);
    char expected[100];
    snprintf(expected, sizeof expected, "'embedding:held@cpu' (thread %d holds 2)", (int)gettid());
    assert_says(err.message, expected);
    assert_int_equal(plan.gone, 1); /* the idle one */
    rp_lease_release(lease, NULL);
    assert_int_equal(plan.gone, 1);
    rp_lease_release(second, NULL);
    assert_int_equal(plan.gone, 2); /* goes with its last lease */
    close_pool(pool);
}

static void what_is_loaded_is_leased_by_its_key_and_that_is_no_request(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {.bytes = 7};
    rp_request request = request_for("a", &plan);
    rp_lease *first = NULL;
    rp_lease *second = NULL;
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    assert_ok(rp_pool_find(pool, rp_lease_key(first), &second, &err));
    assert_ptr_equal(rp_lease_object(first), rp_lease_object(second));
    assert_int_equal(totals_of(pool).requests, 1);
    assert_int_equal(totals_of(pool).hits, 0);
    assert_int_equal(totals_of(pool).lease_count, 2);
    rp_lease_release(second, NULL);
    assert_status(rp_pool_find(pool, "t:nobody@cpu", &second, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_pool_clear(pool, NULL, &err), RP_ERR_BUSY);
    assert_status(rp_pool_find(pool, rp_lease_key(first), &second, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_pool_find(pool, NULL, &second, &err), RP_ERR_ARGUMENT);
    rp_lease_release(first, NULL);
    close_pool(pool);
}

static void clear_leaves_what_is_leased_and_a_new_request_loads_afresh(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {.bytes = 7};
    rp_request request = request_for("a", &plan);
    rp_request other = request_for("b", &plan);
    rp_lease *old = NULL;
    rp_lease *fresh = NULL;
    rp_cleared cleared;
    assert_ok(rp_pool_get_model(pool, &other, &old, &err));
    rp_lease_release(old, NULL);
    assert_ok(rp_pool_get_model(pool, &request, &old, &err));
    assert_status(rp_pool_clear(pool, &cleared, &err), RP_ERR_BUSY);
    assert_int_equal(cleared.removed_count, 1);
    assert_int_equal(cleared.removed_bytes, 7);
    assert_int_equal(cleared.leased_count, 1);
    assert_ok(rp_pool_get_model(pool, &request, &fresh, &err));
    assert_ptr_not_equal(rp_lease_object(old), rp_lease_object(fresh));
    assert_int_equal(plan.made, 3);
    rp_lease_release(old, NULL);
    assert_int_equal(plan.gone, 2);
    rp_lease_release(fresh, NULL);
    assert_ok(rp_pool_clear(pool, &cleared, &err));
    assert_int_equal(plan.gone, 3);
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.entry_count, 0);
    assert_int_equal(totals.requests, 3); /* what is gone still counts */
    close_pool(pool);
}

/* A constructor that asks the pool for the next name of a chain: a -> b -> c -> ... */
struct chain {
    rp_pool *pool;
    const char *const *names; /* NULL ends it */
    size_t depth;
    struct plan plan;
    rp_error innermost;
};

static rp_status make_link(rp_build *build, void *user, void **object, rp_error *err) {
    struct chain *chain = user;
    const char *next = chain->names[++chain->depth];
    struct thing *thing = calloc(1, sizeof *thing);
    thing->plan = &chain->plan;
    (void)build;
    if (next) {
        rp_request request = request_for(next, NULL);
        request.construct = make_link;
        request.user = chain;
        rp_status status = rp_pool_get_model(chain->pool, &request, &thing->needs, err);
        if (status != RP_OK) {
            free(thing);
            return status;
        }
    }
    *object = thing;
    return RP_OK;
}

static void a_constructor_may_use_the_pool(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    static const char *const names[] = {"a", "b", "c", NULL};
    struct chain chain = {.pool = open_pool(), .names = names};
    rp_request request = request_for("a", NULL);
    request.construct = make_link;
    request.user = &chain;
    rp_lease *lease = NULL;
    assert_ok(rp_pool_get_model(chain.pool, &request, &lease, &err));
    assert_int_equal(totals_of(chain.pool).entry_count, 3);
    rp_lease_release(lease, NULL);
    /* Closing releases a, whose destructor releases b, and so on. */
    close_pool(chain.pool);
    assert_int_equal(chain.plan.gone, 3);
}

static void a_constructor_that_needs_itself_is_a_named_cycle(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    static const char *const names[] = {"a", "b", "c", "a", NULL};
    static const char *const alone[] = {"a", "a", NULL};
    struct chain chain = {.pool = open_pool(), .names = names};
    rp_request request = request_for("a", NULL);
    request.construct = make_link;
    request.user = &chain;
    rp_lease *lease = NULL;
    assert_status(rp_pool_get_model(chain.pool, &request, &lease, &err), RP_ERR_CYCLE);
    assert_says(err.message,
                "embedding:c@cpu -> embedding:a@cpu -> embedding:b@cpu -> embedding:c@cpu");
    chain.names = alone;
    chain.depth = 0;
    assert_status(rp_pool_get_model(chain.pool, &request, &lease, &err), RP_ERR_CYCLE);
    assert_says(err.message, "embedding:a@cpu -> embedding:a@cpu");
    assert_int_equal(totals_of(chain.pool).entry_count, 0);
    close_pool(chain.pool);
}

/* Two threads: one builds x and needs y, the other builds y and needs x. */
struct crossing {
    rp_pool *pool;
    const char *mine;
    const char *theirs;
    pthread_barrier_t *both_are_building;
    rp_status status;
    rp_error err;
};

static rp_status make_crossed(rp_build *build, void *user, void **object, rp_error *err) {
    struct crossing *crossing = user;
    (void)build;
    pthread_barrier_wait(crossing->both_are_building);
    struct plan plan = {0};
    rp_request request = request_for(crossing->theirs, &plan);
    rp_lease *lease = NULL;
    rp_status status = rp_pool_get_model(crossing->pool, &request, &lease, err);
    if (status != RP_OK) return status;
    rp_lease_release(lease, NULL);
    *object = crossing;
    return RP_OK;
}

static void *cross(void *argument) {
    struct crossing *crossing = argument;
    rp_request request = request_for(crossing->mine, NULL);
    request.construct = make_crossed;
    request.destroy = NULL;
    request.user = crossing;
    rp_lease *lease = NULL;
    crossing->status = rp_pool_get_model(crossing->pool, &request, &lease, &crossing->err);
    rp_lease_release(lease, NULL);
    return NULL;
}

static void a_cycle_across_two_threads_ends_in_an_error_for_both(void **state) {
    (void)state;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    rp_pool *pool = open_pool();
    struct crossing sides[2] = {
        {.pool = pool, .mine = "x", .theirs = "y", .both_are_building = &barrier},
        {.pool = pool, .mine = "y", .theirs = "x", .both_are_building = &barrier},
    };
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, cross, &sides[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(sides[i].status, RP_ERR_CYCLE);
        assert_says(sides[i].err.message, "needs itself");
    }
    close_pool(pool);
    pthread_barrier_destroy(&barrier);
}

/* Callers of one key at once. */
struct caller {
    rp_pool *pool;
    const rp_request *request;
    rp_status status;
    rp_error err;
    void *object;
    rp_lease *lease;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    caller->status = rp_pool_get_model(caller->pool, caller->request, &caller->lease, &caller->err);
    caller->object = caller->lease ? rp_lease_object(caller->lease) : NULL;
    return NULL;
}

enum { CALLERS = 24 };

static void start_callers(struct caller *callers, pthread_t *threads, rp_pool *pool,
                          const rp_request *request) {
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.pool = pool, .request = request};
        pthread_create(&threads[i], NULL, call, &callers[i]);
    }
}

/* Until that many requests wait for a load. */
static void await_waits(rp_pool *pool, uint64_t count) {
    while (totals_of(pool).waits < count) {
        usleep(1000);
    }
}

static void twentyfour_threads_share_one_load(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    sem_t started;
    sem_t may_end;
    sem_init(&started, 0, 0);
    sem_init(&may_end, 0, 0);
    rp_pool *pool = open_pool();
    struct plan plan = {.started = &started, .may_end = &may_end};
    struct plan quick = {0};
    rp_request request = request_for("a", &plan);
    rp_request other = request_for("b", &quick);
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    start_callers(callers, threads, pool, &request);
    sem_wait(&started);
    await_waits(pool, CALLERS - 1);
    /* Nothing is locked meanwhile: another key loads and goes. */
    rp_lease *lease = NULL;
    assert_ok(rp_pool_get_model(pool, &other, &lease, &err));
    assert_ok(rp_lease_release(lease, &err));
    sem_post(&may_end);
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].status, RP_OK);
        assert_ptr_equal(callers[i].object, callers[0].object);
    }
    assert_int_equal(plan.made, 1);
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.hits, CALLERS - 1);
    assert_int_equal(totals.misses, 2);
    /* The threads are gone, their leases are not; who held them is known, and this one gives them
     * back. */
    assert_int_equal(totals.lease_count, CALLERS);
    for (size_t i = 0; i < CALLERS; i++) {
        assert_ok(rp_lease_release(callers[i].lease, &err));
        assert_status(rp_lease_release(callers[i].lease, &err), RP_ERR_STATE);
    }
    assert_int_equal(totals_of(pool).lease_count, 0);
    assert_int_equal(totals_of(pool).requests, CALLERS + 1);
    close_pool(pool);
    sem_destroy(&started);
    sem_destroy(&may_end);
}

static void every_waiter_gets_the_whole_story_of_a_failure(void **state) {
    (void)state;
    sem_t started;
    sem_t may_end;
    sem_init(&started, 0, 0);
    sem_init(&may_end, 0, 0);
    rp_pool *pool = open_pool();
    struct plan plan = {.fails_with = RP_ERR_DATA, .started = &started, .may_end = &may_end};
    rp_request request = request_for("a", &plan);
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    start_callers(callers, threads, pool, &request);
    sem_wait(&started);
    await_waits(pool, CALLERS - 1);
    sem_post(&may_end);
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].status, RP_ERR_DATA);
        assert_string_equal(callers[i].err.message,
                            "cannot load 'embedding:a@cpu': planned, with 42");
    }
    assert_int_equal(plan.made, 1);
    assert_int_equal(totals_of(pool).misses, CALLERS);
    close_pool(pool);
    sem_destroy(&started);
    sem_destroy(&may_end);
}

static void a_waiter_leaves_at_its_deadline_and_by_its_token(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    sem_t started;
    sem_t may_end;
    sem_init(&started, 0, 0);
    sem_init(&may_end, 0, 0);
    rp_pool *pool = open_pool();
    struct plan plan = {.started = &started, .may_end = &may_end};
    rp_request request = request_for("a", &plan);
    struct caller builder = {.pool = pool, .request = &request};
    pthread_t thread;
    pthread_create(&thread, NULL, call, &builder);
    sem_wait(&started);

    rp_request hasty = request;
    hasty.timeout_ms = 20;
    rp_lease *lease = NULL;
    assert_status(rp_pool_get_model(pool, &hasty, &lease, &err), RP_ERR_TIMEOUT);
    assert_says(err.message, "'embedding:a@cpu' was not there within 20 ms: thread ");

    rp_request token = request;
    assert_ok(rp_cancel_create(&token.cancel, &err));
    struct caller waiter = {.pool = pool, .request = &token};
    pthread_t waiting;
    pthread_create(&waiting, NULL, call, &waiter);
    await_waits(pool, 2);
    rp_cancel_fire(token.cancel);
    pthread_join(waiting, NULL);
    assert_int_equal(waiter.status, RP_ERR_CANCELLED);
    assert_status(rp_pool_get_model(pool, &token, &lease, &err), RP_ERR_CANCELLED);

    assert_status(rp_pool_close(pool, &err), RP_ERR_BUSY);
    assert_says(err.message, "1 constructor is still running");
    sem_post(&may_end);
    pthread_join(thread, NULL);
    assert_int_equal(builder.status, RP_OK);
    rp_lease_release(builder.lease, NULL);
    rp_cancel_destroy(token.cancel);
    close_pool(pool);
    sem_destroy(&started);
    sem_destroy(&may_end);
}

static rp_status wait_until_cancelled(rp_build *build, void *user, void **object, rp_error *err) {
    struct plan *plan = user;
    if (atomic_fetch_add(&plan->made, 1) > 0) { /* only the first one gives up */
        return make_thing(build, plan, object, err);
    }
    sem_post(plan->started);
    while (!rp_build_is_cancelled(build)) {
        usleep(100);
    }
    return rp_fail(err, RP_ERR_CANCELLED, "told to stop");
}

static void a_load_that_its_caller_calls_off_is_done_by_who_still_wants_it(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    sem_t started;
    sem_init(&started, 0, 0);
    rp_pool *pool = open_pool();
    struct plan plan = {.started = &started};
    rp_request first = request_for("a", &plan);
    first.construct = wait_until_cancelled;
    assert_ok(rp_cancel_create(&first.cancel, &err));
    rp_request second = first;
    second.cancel = NULL;
    struct caller callers[2] = {{.pool = pool, .request = &first},
                                {.pool = pool, .request = &second}};
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, call, &callers[0]);
    sem_wait(&started);
    pthread_create(&threads[1], NULL, call, &callers[1]);
    await_waits(pool, 1);
    rp_cancel_fire(first.cancel);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(callers[0].status, RP_ERR_CANCELLED);
    assert_int_equal(callers[1].status, RP_OK);
    rp_lease_release(callers[1].lease, NULL);
    rp_cancel_destroy(first.cancel);
    close_pool(pool);
    sem_destroy(&started);
}

static rp_status sleep_past_deadline(rp_build *build, void *user, void **object, rp_error *err) {
    while (!rp_build_is_cancelled(build)) {
        usleep(100);
    }
    return make_thing(build, user, object, err);
}

static void an_object_that_comes_too_late_is_kept_and_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request request = request_for("a", &plan);
    request.construct = sleep_past_deadline;
    request.timeout_ms = 5;
    rp_lease *lease = NULL;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_TIMEOUT);
    assert_says(err.message, "longer than the 5 ms allowed");
    assert_says(err.hint, "ask again");
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_int_equal(plan.made, 1);
    rp_lease_release(lease, NULL);
    close_pool(pool);
}

static void an_engine_load_is_left_in_time_and_stopped_when_nobody_wants_it(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = "slow?load_ms=3600000";
    request.engine = "simulated";
    request.timeout_ms = 20;
    rp_lease *lease = NULL;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_TIMEOUT);
    assert_says(err.message, "was not there within 20 ms: thread ");
    /* Closing waits for the loader's thread, which has been told to stop. */
    close_pool(pool);

    pool = open_pool();
    request.timeout_ms = 0;
    assert_ok(rp_cancel_create(&request.cancel, &err));
    struct caller caller = {.pool = pool, .request = &request};
    pthread_t thread;
    pthread_create(&thread, NULL, call, &caller);
    while (totals_of(pool).loads == 0) {
        usleep(1000);
    }
    rp_cancel_fire(request.cancel);
    pthread_join(thread, NULL);
    assert_int_equal(caller.status, RP_ERR_CANCELLED);
    close_pool(pool);
    rp_cancel_destroy(request.cancel);

    /* One that is quick enough is a miss, and the next request hits, with the engine's figure. */
    pool = open_pool();
    request.cancel = NULL;
    request.name = "quick?memory_bytes=77";
    request.timeout_ms = 60000;
    for (size_t i = 0; i < 2; i++) {
        assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
        assert_int_equal(rp_lease_memory_bytes(lease), 77);
        assert_string_equal(rp_lease_placement(lease)->engine, "simulated");
        assert_ok(rp_lease_release(lease, &err));
    }
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.misses, 1);
    assert_int_equal(totals.hits, 1);
    assert_int_equal(totals.loads, 1);
    close_pool(pool);
}

static void bad_requests_are_refused_and_not_counted(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_lease *lease = NULL;
    char *large = malloc(1 << 20);
    memset(large, 'x', (1 << 20) - 1);
    large[(1 << 20) - 1] = '\0';
    struct {
        const char *name;
        rp_status expected;
        const char *says;
    } names[] = {
        {NULL, RP_ERR_ARGUMENT, "without a name"},
        {"", RP_ERR_ARGUMENT, "is empty"},
        {"a\nb", RP_ERR_ARGUMENT, "control character, 0x0a, at position 1"},
        {"caf\xe9", RP_ERR_ARGUMENT, "not UTF-8: byte 0xe9 at position 3"},
        {large, RP_ERR_LIMIT, "longer than 4095 bytes"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        rp_request request = request_for(names[i].name, &plan);
        assert_status(rp_pool_get_model(pool, &request, &lease, &err), names[i].expected);
        assert_says(err.message, names[i].says);
    }
    rp_request request = request_for("a", &plan);
    request.type = NULL;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    request = request_for("a", &plan);
    request.timeout_ms = -1;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    request = request_for("a", &plan);
    request.path = "model.onnx";
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    request = request_for("a", &plan);
    request.threads = 1000000;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_LIMIT);
    request.size = 0;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ARGUMENT);
    assert_status(rp_pool_get_model(NULL, &request, &lease, &err), RP_ERR_ARGUMENT);
    assert_int_equal(totals_of(pool).requests, 0);
    request = request_for("a", &plan);
    request.device = "cuda:7";
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no device 'cuda:7': it has cpu");
    request = request_for("a", &plan);
    request.construct = NULL;
    assert_status(rp_pool_get_tokenizer(pool, &request, &lease, &err), RP_ERR_NOT_FOUND);
    assert_int_equal(totals_of(pool).misses, 2);
    assert_int_equal(plan.made, 0);
    free(large);
    close_pool(pool);
}

static void a_caller_with_an_older_header_is_served(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    /* A header that ended before timeout_ms: what lies behind is none of the library's business. */
    rp_request *request = malloc(offsetof(rp_request, timeout_ms));
    rp_request full = request_for("a", &plan);
    full.size = offsetof(rp_request, timeout_ms);
    memcpy(request, &full, full.size);
    rp_lease *lease = NULL;
    for (size_t i = 0; i < 2; i++) {
        assert_ok(rp_pool_get_model(pool, request, &lease, &err));
        rp_lease_release(lease, NULL);
    }
    assert_int_equal(plan.made, 1);
    free(request);
    close_pool(pool);
}

static void a_child_of_fork_is_told_and_harms_nothing(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request request = request_for("a", &plan);
    rp_lease *lease = NULL;
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    rp_pool *of_parent = NULL;
    assert_ok(rp_pool_default(&of_parent, &err));
    pid_t child = fork();
    if (child == 0) {
        rp_lease *other = NULL;
        rp_pool *own = NULL;
        int failures = 0;
        failures += rp_pool_get_model(pool, &request, &other, &err) != RP_ERR_FORKED;
        failures += strstr(err.message, "the parent of this one") == NULL;
        failures += rp_lease_release(lease, &err) != RP_ERR_FORKED;
        failures += rp_pool_clear(pool, NULL, &err) != RP_ERR_FORKED;
        failures += rp_pool_close(pool, &err) != RP_ERR_FORKED;
        failures += rp_pool_default(&own, &err) != RP_OK || own == of_parent;
        failures += rp_pool_get_model(own, &request, &other, &err) != RP_OK;
        failures += rp_lease_release(other, &err) != RP_OK;
        failures += rp_pool_close(own, &err) != RP_OK;
        _exit(failures);
    }
    int ended = 0;
    waitpid(child, &ended, 0);
    assert_int_equal(ended, 0);
    assert_ok(rp_lease_release(lease, &err));
    close_pool(of_parent);
    close_pool(pool);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int failed = 0;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        int64_t blocks = rp_memory_live_count();
        struct plan plan = {0};
        rp_pool *pool = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_pool_open(NULL, &pool, &err);
        for (int i = 0; status == RP_OK && i < 40; i++) {
            char name[8];
            snprintf(name, sizeof name, "m%d", i);
            rp_request request = request_for(name, &plan);
            rp_lease *lease = NULL;
            rp_lease *clone = NULL;
            status = rp_pool_get_model(pool, &request, &lease, &err);
            if (status == RP_OK) status = rp_lease_clone(lease, &clone, &err);
            if (i % 2) request.device = "cpu";
            rp_lease_release(lease, NULL);
            rp_lease_release(clone, NULL);
            lease = NULL;
            if (status == RP_OK) status = rp_pool_get_model(pool, &request, &lease, &err);
            rp_lease_release(lease, NULL);
        }
        rp_statistics *statistics = NULL;
        if (status == RP_OK) status = rp_pool_statistics(pool, &statistics, &err);
        rp_statistics_destroy(statistics);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        /* What is only remembered or estimated does not fail a request. */
        if (status != RP_OK) {
            assert_int_equal(status, RP_ERR_MEMORY);
            assert_true(strlen(err.message) > 10);
            failed++;
        }
        if (pool) close_pool(pool);
        assert_int_equal(plan.gone, plan.made);
        assert_int_equal(rp_memory_live_count(), blocks);
        if (is_pending) {
            assert_int_equal(status, RP_OK);
            assert_true(failed > 100);
            break;
        }
    }
}

struct told {
    char event[sizeof((rp_event *)0)->key];
    char line[400];
    int count;
};

static void hear_event(const rp_event *event, void *user) {
    struct told *told = user;
    if (event->kind != RP_EVENT_NOTE) return;
    memcpy(told->event, event->key, sizeof told->event);
}

static void hear_line(rp_log_level level, const char *line, void *user) {
    struct told *told = user;
    if (level != RP_LOG_WARNING || !strstr(line, "event=note")) return;
    snprintf(told->line, sizeof told->line, "%s", line);
    told->count++;
}

static void what_the_history_lives_without_is_told_once(void **state) {
    (void)state;
    char path[] = "/tmp/rp-pool-XXXXXX";
    char aside[64];
    char lock[64];
    rp_error err = RP_ERROR_INIT;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "this is no database, whatever its name says", 43), 43);
    close(fd);
    snprintf(aside, sizeof aside, "%s.damaged-1", path);
    snprintf(lock, sizeof lock, "%s.lock", path);
    struct told told = {.count = 0};
    struct plan plan = {.bytes = 1000};
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = path;
    options.log_sink = hear_line;
    options.log_level = RP_LOG_WARNING;
    options.log_user = &told;
    assert_ok(rp_pool_open(&options, &pool, &err));
    for (int i = 0; i < 3; i++) {
        rp_lease *lease = NULL;
        rp_request request = request_for(i == 0 ? "a" : i == 1 ? "b" : "c", &plan);
        assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
        rp_lease_release(lease, NULL);
    }
    uint64_t cursor = 0;
    rp_pool_read_events(pool, &cursor, hear_event, &told);
    assert_says(told.event, "the history '/tmp/rp-pool-");
    assert_says(told.line, "it was set aside as '.damaged-1' and a new one begun");
    close_pool(pool);
    assert_int_equal(told.count, 1);
    assert_int_equal(unlink(aside), 0);
    unlink(path);
    unlink(lock);
}

static void only_what_is_loaded_is_answered_at_once(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_pool *pool = open_pool();
    struct plan plan = {0};
    rp_request request = request_for("a", &plan);
    rp_request only = request_for("a", &plan);
    only.only_loaded = 1;
    assert_status(rp_pool_get_model(pool, &only, &lease, &err), RP_ERR_NOT_FOUND);
    assert_says(err.message, "no model 'embedding:a' is loaded");
    assert_int_equal(plan.made, 0);
    assert_int_equal(totals_of(pool).requests, 0);
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_ok(rp_lease_release(lease, &err));
    assert_ok(rp_pool_get_model(pool, &only, &lease, &err));
    assert_ok(rp_lease_release(lease, &err));
    assert_status(rp_pool_get_tokenizer(pool, &only, &lease, &err), RP_ERR_NOT_FOUND);
    assert_int_equal(totals_of(pool).hits, 1);
    only.type = NULL;
    assert_status(rp_pool_get_model(pool, &only, &lease, &err), RP_ERR_ARGUMENT);
    close_pool(pool);
}

struct asked {
    pthread_t thread;
    int count;
};

static int ask_three_times(void *user) {
    struct asked *asked = user;
    asked->thread = pthread_self();
    return ++asked->count == 3;
}

static void a_token_asks_on_the_thread_that_waits(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    sem_t started;
    sem_t may_end;
    sem_init(&started, 0, 0);
    sem_init(&may_end, 0, 0);
    rp_pool *pool = open_pool();
    struct plan plan = {.started = &started, .may_end = &may_end};
    rp_request request = request_for("a", &plan);
    struct caller caller = {.pool = pool, .request = &request};
    pthread_t thread;
    pthread_create(&thread, NULL, call, &caller);
    sem_wait(&started);
    rp_cancel *cancel = NULL;
    rp_lease *lease = NULL;
    struct asked asked = {.count = 0};
    rp_request waits = request_for("a", &plan);
    assert_ok(rp_cancel_create(&cancel, &err));
    rp_cancel_set_poll(cancel, ask_three_times, &asked);
    waits.cancel = cancel;
    assert_status(rp_pool_get_model(pool, &waits, &lease, &err), RP_ERR_CANCELLED);
    assert_int_equal(asked.count, 3);
    assert_true(pthread_equal(asked.thread, pthread_self()));
    /* It called off that request only, and does not stand above a deadline. */
    waits.timeout_ms = 20;
    assert_status(rp_pool_get_model(pool, &waits, &lease, &err), RP_ERR_TIMEOUT);
    sem_post(&may_end);
    pthread_join(thread, NULL);
    waits.timeout_ms = 0;
    assert_ok(rp_pool_get_model(pool, &waits, &lease, &err));
    rp_cancel_destroy(cancel);
    assert_ok(rp_lease_release(lease, &err));
    assert_ok(rp_lease_release(caller.lease, &err));
    close_pool(pool);
    sem_destroy(&started);
    sem_destroy(&may_end);
}

/* The process keeps one snapshot of the hardware and one set of rules: before blocks are counted.
 */
static int detect_hardware(void **state) {
    (void)state;
    const rp_snapshot *snapshot = NULL;
    const struct rp_rules *rules = NULL;
    if (rp_hardware_snapshot(&snapshot, NULL) != RP_OK) return -1;
    if (rp_rules_of_process(&rules, NULL) != RP_OK) return -1;
    rp_snapshot_release(snapshot);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_request_loads_and_the_next_ones_hit),
        cmocka_unit_test(what_is_asked_differently_but_is_the_same_is_one_instance),
        cmocka_unit_test(what_differs_in_any_part_is_another_instance),
        cmocka_unit_test(a_failed_load_is_told_and_tried_again),
        cmocka_unit_test(what_has_no_cause_gets_no_hint),
        cmocka_unit_test(a_run_that_fails_says_what_to_do),
        cmocka_unit_test(a_constructor_that_makes_nothing_or_says_nothing_is_an_error),
        cmocka_unit_test(a_lease_released_twice_is_refused),
        cmocka_unit_test(close_with_leases_out_is_refused_and_names_them),
        cmocka_unit_test(what_is_loaded_is_leased_by_its_key_and_that_is_no_request),
        cmocka_unit_test(clear_leaves_what_is_leased_and_a_new_request_loads_afresh),
        cmocka_unit_test(a_constructor_may_use_the_pool),
        cmocka_unit_test(a_constructor_that_needs_itself_is_a_named_cycle),
        cmocka_unit_test(a_cycle_across_two_threads_ends_in_an_error_for_both),
        cmocka_unit_test(twentyfour_threads_share_one_load),
        cmocka_unit_test(every_waiter_gets_the_whole_story_of_a_failure),
        cmocka_unit_test(a_waiter_leaves_at_its_deadline_and_by_its_token),
        cmocka_unit_test(a_load_that_its_caller_calls_off_is_done_by_who_still_wants_it),
        cmocka_unit_test(an_object_that_comes_too_late_is_kept_and_told),
        cmocka_unit_test(an_engine_load_is_left_in_time_and_stopped_when_nobody_wants_it),
        cmocka_unit_test(only_what_is_loaded_is_answered_at_once),
        cmocka_unit_test(a_token_asks_on_the_thread_that_waits),
        cmocka_unit_test(bad_requests_are_refused_and_not_counted),
        cmocka_unit_test(a_caller_with_an_older_header_is_served),
        cmocka_unit_test(a_child_of_fork_is_told_and_harms_nothing),
        cmocka_unit_test(what_the_history_lives_without_is_told_once),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, detect_hardware, NULL);
}
