/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules: two or three threads, of which one is stopped at a decision point of the pool
 * (pool/schedule.h) while another goes through the very moment that would hurt. No clock decides
 * anything; an alarm ends a schedule that hangs.
 */
#include "pool/pool.h"
#include "pool/schedule.h"

#include "test.h"

#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { GATES_MAX = 4, LOG_MAX = 512, ALARM_S = 60 };

/* ---- the scheduler ---- */

/* Where a thread stops the next time that it comes by. */
struct gate {
    const char *who;
    const char *point;
    bool is_reached;
    bool is_open;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of these */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct gate gates[GATES_MAX];
static size_t gate_count;
static struct {
    const char *who;
    const char *point;
} passed[LOG_MAX];
static size_t passed_count;

static _Thread_local const char *who_am_i = "main";

static size_t count_passed(const char *who, const char *point) {
    size_t count = 0;
    for (size_t i = 0; i < passed_count; i++) {
        count += strcmp(passed[i].who, who) == 0 && strcmp(passed[i].point, point) == 0;
    }
    return count;
}

void rp_schedule_point(const char *point) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < gate_count; i++) {
        struct gate *gate = &gates[i];
        if (gate->is_reached || strcmp(gate->who, who_am_i) || strcmp(gate->point, point)) continue;
        gate->is_reached = true;
        pthread_cond_broadcast(&changed);
        while (!gate->is_open) {
            pthread_cond_wait(&changed, &lock);
        }
        break;
    }
    if (passed_count < LOG_MAX) {
        passed[passed_count].who = who_am_i;
        passed[passed_count++].point = point;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static struct gate *stop(const char *who, const char *point) {
    pthread_mutex_lock(&lock);
    assert_true(gate_count < GATES_MAX);
    struct gate *gate = &gates[gate_count++];
    *gate = (struct gate){.who = who, .point = point};
    pthread_mutex_unlock(&lock);
    return gate;
}

static void wait_until_stopped(const struct gate *gate) {
    pthread_mutex_lock(&lock);
    while (!gate->is_reached) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

/* Wait until somebody has come by a point, where nothing stops it. */
static void wait_until_passed(const char *who, const char *point) {
    pthread_mutex_lock(&lock);
    while (count_passed(who, point) == 0) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static bool has_passed(const char *who, const char *point) {
    pthread_mutex_lock(&lock);
    size_t count = count_passed(who, point);
    pthread_mutex_unlock(&lock);
    return count > 0;
}

static void let_pass(struct gate *gate) {
    pthread_mutex_lock(&lock);
    gate->is_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- the actors ---- */

static rp_pool *pool;
static _Atomic int made;
static _Atomic int gone;

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    (void)user;
    (void)err;
    made++;
    rp_build_set_bytes(build, 100 * MIB);
    *object = malloc(1);
    return RP_OK;
}

static void unmake(void *object) {
    gone++;
    free(object);
}

/* Ask for an object of 100 MiB. */
static rp_status ask(const char *name, rp_lease **lease, rp_error *err) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.destroy = unmake;
    request.memory_bytes = 100 * MIB;
    return rp_pool_get_resource(pool, &request, lease, err);
}

static rp_lease *get(const char *name) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    assert_ok(ask(name, &lease, &err));
    return lease;
}

static void evict(const char *key) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_evict(pool, key, NULL, &err));
}

/* A thread with a name and something to do. */
struct actor {
    const char *name;
    void (*act)(struct actor *actor);
    const char *wants;
    rp_lease *lease; /* what it holds at its end */
    pthread_t thread;
};

static void *play(void *argument) {
    struct actor *actor = argument;
    who_am_i = actor->name;
    actor->act(actor);
    rp_schedule_point("end");
    return NULL;
}

static void start(struct actor *actor) {
    assert_int_equal(pthread_create(&actor->thread, NULL, play, actor), 0);
}

static void finish(struct actor *actor) {
    pthread_join(actor->thread, NULL);
}

static void open_pool(const char *budget) {
    rp_error err = RP_ERROR_INIT;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    options.budget = budget;
    gate_count = passed_count = 0;
    made = gone = 0;
    alarm(ALARM_S);
    assert_ok(rp_pool_open(&options, &pool, &err));
}

static void close_pool(void) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pool_close(pool, &err));
    assert_int_equal(made, gone);
    alarm(0);
}

static void ask_and_hold(struct actor *actor) {
    actor->lease = get(actor->wants);
}

static void ask_and_release(struct actor *actor) {
    rp_lease_release(get(actor->wants), NULL);
}

static void evict_it(struct actor *actor) {
    evict(actor->wants);
}

/* ---- the schedules ---- */

/* Load two, say so, and take the one that `wants` names by then: by a hit. */
static void load_two_then_hit(struct actor *actor) {
    rp_lease_release(get("x"), NULL);
    rp_lease_release(get("y"), NULL);
    rp_schedule_point("both are idle");
    actor->lease = get(actor->wants);
}

/* The name of the entry that the eviction which is stopped now has chosen. */
static const char *chosen_name(void) {
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->mark == pool->mark) return rp_key_parts_of(entry->instance).name;
    }
    fail_msg("nothing is chosen");
    return NULL;
}

static void a_victim_that_is_leased_after_the_choice_is_spared(void **state) {
    (void)state;
    open_pool("200MiB");
    struct actor user = {.name = "user", .act = load_two_then_hit};
    struct actor loader = {.name = "loader", .act = ask_and_hold, .wants = "z"};
    struct gate *idle = stop("user", "both are idle");
    struct gate *chosen = stop("loader", "evict: chosen");
    start(&user);
    wait_until_stopped(idle);
    start(&loader);
    wait_until_stopped(chosen);
    user.wants = chosen_name();
    let_pass(idle);
    wait_until_passed("user", "end"); /* the rest of its end wants the lock that the other has */
    let_pass(chosen);
    finish(&loader);
    finish(&user);
    assert_int_equal(gone, 1); /* the other one */
    assert_string_equal(rp_key_parts_of(rp_ticket_slot(user.lease)->holder->entry->instance).name,
                        user.wants);
    assert_false(rp_ticket_slot(user.lease)->holder->entry->is_detached);
    rp_lease_release(user.lease, NULL);
    rp_lease_release(loader.lease, NULL);
    close_pool();
}

static void get_twice(struct actor *actor) {
    rp_lease_release(get(actor->wants), NULL);
    actor->lease = get(actor->wants);
}

static void whoever_evicts_waits_for_a_hit_that_has_begun(void **state) {
    (void)state;
    open_pool(NULL);
    struct actor user = {.name = "user", .act = get_twice, .wants = "x"};
    struct actor evicter = {.name = "evicter", .act = evict_it, .wants = "t:x"};
    struct gate *hit = stop("user", "hit: seen open");
    start(&user);
    wait_until_stopped(hit);
    start(&evicter);
    wait_until_passed("evicter", "close: waits for a reader"); /* or it would be at its end */
    assert_false(has_passed("evicter", "end"));
    let_pass(hit);
    finish(&evicter);
    finish(&user);
    assert_int_equal(gone, 0); /* it goes with its last lease */
    rp_lease_release(user.lease, NULL);
    assert_int_equal(gone, 1);
    close_pool();
}

/* A release that is stopped at a point while the object is evicted; who destroys it? */
static void release_against_evict(const char *point, int gone_by_evicter) {
    open_pool(NULL);
    struct actor user = {.name = "user", .act = ask_and_release, .wants = "x"};
    struct actor evicter = {.name = "evicter", .act = evict_it, .wants = "t:x"};
    struct gate *release = stop("user", point);
    start(&user);
    wait_until_stopped(release);
    start(&evicter);
    finish(&evicter);
    assert_int_equal(gone, gone_by_evicter);
    let_pass(release);
    finish(&user);
    assert_int_equal(gone, 1);
    close_pool();
}

static void the_last_release_destroys_what_was_evicted_before_it(void **state) {
    (void)state;
    release_against_evict("release: begun", 0);
}

static void an_eviction_destroys_what_was_released_before_it(void **state) {
    (void)state;
    release_against_evict("release: given", 1);
}

static void a_release_before_the_sleep_is_not_missed(void **state) {
    (void)state;
    open_pool("100MiB");
    rp_lease *held = get("x");
    struct actor waiter = {.name = "waiter", .act = ask_and_hold, .wants = "y"};
    struct gate *sleep = stop("waiter", "room: sleeps");
    start(&waiter);
    wait_until_stopped(sleep);
    rp_lease_release(held, NULL);
    let_pass(sleep);
    finish(&waiter); /* or the alarm */
    assert_int_equal(gone, 1);
    rp_lease_release(waiter.lease, NULL);
    close_pool();
}

static void a_load_begins_when_the_bytes_have_left(void **state) {
    (void)state;
    open_pool("100MiB");
    rp_lease_release(get("x"), NULL);
    struct actor evicter = {.name = "evicter", .act = evict_it, .wants = "t:x"};
    struct actor loader = {.name = "loader", .act = ask_and_hold, .wants = "y"};
    struct gate *unmade = stop("evicter", "bury: unmade");
    start(&evicter);
    wait_until_stopped(unmade);
    start(&loader);
    wait_until_passed("loader", "room: sleeps");
    assert_int_equal(made, 1); /* promised, and not begun */
    let_pass(unmade);
    finish(&evicter);
    finish(&loader);
    assert_int_equal(made, 2);
    rp_lease_release(loader.lease, NULL);
    close_pool();
}

static void who_comes_before_the_publication_gets_the_same_object(void **state) {
    (void)state;
    open_pool(NULL);
    struct actor first = {.name = "first", .act = ask_and_hold, .wants = "x"};
    struct actor second = {.name = "second", .act = ask_and_hold, .wants = "x"};
    struct gate *built = stop("first", "load: built");
    start(&first);
    wait_until_stopped(built);
    start(&second);
    wait_until_passed("second", "load: waits");
    let_pass(built);
    finish(&first);
    finish(&second);
    assert_int_equal(made, 1);
    assert_ptr_equal(rp_lease_object(first.lease), rp_lease_object(second.lease));
    rp_lease_release(first.lease, NULL);
    rp_lease_release(second.lease, NULL);
    close_pool();
}

/* Holds one and asks for what another is waiting to load: neither can go on. */
static void hold_and_ask_for_theirs(struct actor *actor) {
    rp_lease *held = get("x");
    rp_schedule_point("holds x");
    rp_lease *lease = NULL;
    if (ask(actor->wants, &lease, NULL) != RP_ERR_CAPACITY) {
        rp_schedule_point("was not refused");
    }
    rp_lease_release(lease, NULL);
    rp_lease_release(held, NULL);
}

static void ask_or_be_refused(struct actor *actor) {
    if (ask(actor->wants, &actor->lease, NULL) == RP_ERR_CAPACITY) {
        rp_schedule_point("was refused");
    }
    rp_lease_release(actor->lease, NULL);
}

static void who_waits_for_a_holder_sees_that_it_waits_in_turn(void **state) {
    (void)state;
    open_pool("100MiB");
    struct actor holder = {.name = "holder", .act = hold_and_ask_for_theirs, .wants = "y"};
    struct actor waiter = {.name = "waiter", .act = ask_or_be_refused, .wants = "y"};
    struct gate *holds = stop("holder", "holds x");
    start(&holder);
    wait_until_stopped(holds);
    start(&waiter);
    wait_until_passed("waiter", "room: sleeps");
    let_pass(holds);
    finish(&waiter); /* or the alarm */
    finish(&holder);
    assert_true(has_passed("waiter", "was refused"));
    assert_false(has_passed("holder", "was not refused"));
    close_pool();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_victim_that_is_leased_after_the_choice_is_spared),
        cmocka_unit_test(whoever_evicts_waits_for_a_hit_that_has_begun),
        cmocka_unit_test(the_last_release_destroys_what_was_evicted_before_it),
        cmocka_unit_test(an_eviction_destroys_what_was_released_before_it),
        cmocka_unit_test(a_release_before_the_sleep_is_not_missed),
        cmocka_unit_test(a_load_begins_when_the_bytes_have_left),
        cmocka_unit_test(who_comes_before_the_publication_gets_the_same_object),
        cmocka_unit_test(who_waits_for_a_holder_sees_that_it_waits_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
