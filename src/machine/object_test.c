/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects at the broker: first the registry alone, step by step, with answers written down; then
 * with real processes behind channels, some of which are killed.
 */
#include "machine/object.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "failure/own.h"
#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/segment.h"
#include "pool/hooks.h"
#include "pool/pool.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

/* --- the registry alone -------------------------------------------------------------------- */

enum { ANSWERS_MAX = 64, JOBS_MAX = 8 };

struct answer {
    char what; /* 'h'ave, 'b'uild, 'f'ail */
    char *client;
    uint32_t number;
    uint64_t id; /* lease or token */
    uint64_t size;
    rp_error why;
};

struct desk {
    rp_pool *pool;
    struct rp_objects *objects;
    struct answer answers[ANSWERS_MAX];
    size_t count;
    uint64_t last_id;
    bool holds_jobs; /* rather than doing them at once */
    bool has_no_thread;
    struct {
        void (*work)(void *job);
        void (*done)(void *job);
        void *job;
    } jobs[JOBS_MAX];
    size_t job_count;
};

/* Connections are told apart by address only. */
static char anna[] = "anna";
static char bert[] = "bert";
static char cleo[] = "cleo";

static struct answer *next_answer(struct desk *desk, char what, struct rp_objects_asker asker) {
    assert_true(desk->count < ANSWERS_MAX);
    struct answer *answer = &desk->answers[desk->count++];
    *answer = (struct answer){.what = what, .client = asker.client, .number = asker.number};
    return answer;
}

static void have(void *user, struct rp_objects_asker asker, uint64_t lease_id, uint64_t size,
                 int fd) {
    struct answer *answer = next_answer(user, 'h', asker);
    answer->id = lease_id;
    answer->size = size;
    assert_true(fcntl(fd, F_GETFD) >= 0);
}

static void build(void *user, struct rp_objects_asker asker, uint64_t token) {
    next_answer(user, 'b', asker)->id = token;
}

static void tell_failure(void *user, struct rp_objects_asker asker, const rp_error *why) {
    next_answer(user, 'f', asker)->why = *why;
}

static bool defer(void *user, void (*work)(void *job), void (*done)(void *job), void *job) {
    struct desk *desk = user;
    if (desk->has_no_thread) return false;
    if (desk->holds_jobs) {
        desk->jobs[desk->job_count].work = work;
        desk->jobs[desk->job_count].done = done;
        desk->jobs[desk->job_count++].job = job;
        return true;
    }
    work(job);
    done(job);
    return true;
}

static void do_jobs(struct desk *desk) {
    for (size_t i = 0; i < desk->job_count; i++) {
        desk->jobs[i].work(desk->jobs[i].job);
        desk->jobs[i].done(desk->jobs[i].job);
    }
    desk->job_count = 0;
}

static uint64_t next_id(void *user) {
    return ++((struct desk *)user)->last_id;
}

static pid_t pid_of(void *user, void *client) {
    (void)user;
    return *(char *)client;
}

static const char *command_of(void *user, void *client) {
    (void)user;
    return client;
}

static void open_desk(struct desk *desk, const char *budget, size_t count_max) {
    rp_error err = RP_ERROR_INIT;
    struct rp_objects_host host = {desk,  have,    build,  tell_failure,
                                   defer, next_id, pid_of, command_of};
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.budget = budget;
    options.history = "off";
    *desk = (struct desk){0};
    assert_ok(rp_pool_open(&options, &desk->pool, &err));
    assert_ok(rp_objects_open(&host, desk->pool, count_max, &desk->objects, &err));
}

static void close_desk(struct desk *desk) {
    rp_error err = RP_ERROR_INIT;
    rp_objects_close(desk->objects);
    assert_ok(rp_pool_close(desk->pool, &err));
}

static struct rp_objects_asker from(char *client, uint32_t number) {
    return (struct rp_objects_asker){.client = client, .number = number};
}

static void get(struct desk *desk, char *client, uint32_t number, const char *key) {
    rp_objects_get(desk->objects, from(client, number), key, RP_NEVER_NS);
}

/* The next answer that nobody has looked at is this one. */
static struct answer *expect(struct desk *desk, size_t *seen, char what, const char *client,
                             uint32_t number) {
    if (*seen >= desk->count) fail_msg("no answer to %s's %u", client, number);
    struct answer *answer = &desk->answers[(*seen)++];
    if (answer->what == 'f' && what != 'f') fail_msg("failed: %s", answer->why.message);
    assert_int_equal(answer->what, what);
    assert_string_equal(answer->client, client);
    assert_int_equal(answer->number, number);
    return answer;
}

static void expect_no_more(const struct desk *desk, size_t seen) {
    assert_int_equal(desk->count, seen);
}

static int make_segment(size_t bytes) {
    rp_error err = RP_ERROR_INIT;
    int fd = -1;
    uint64_t size = 0;
    char *data = calloc(1, bytes);
    rp_object_part part = {data, bytes};
    assert_ok(rp_segment_create(&part, 1, &fd, &size, &err));
    free(data);
    return fd;
}

/* Get and put, by one who is first. */
static uint64_t publish(struct desk *desk, char *client, const char *key, size_t bytes) {
    size_t seen = desk->count;
    get(desk, client, 1, key);
    uint64_t token = expect(desk, &seen, 'b', client, 1)->id;
    rp_objects_put(desk->objects, from(client, 2), token, make_segment(bytes));
    return expect(desk, &seen, 'h', client, 2)->id;
}

static void get_by(struct desk *desk, char *client, uint64_t thread, uint32_t number,
                   const char *key) {
    struct rp_objects_asker asker = {.client = client, .number = number, .thread = thread};
    rp_objects_get(desk->objects, asker, key, RP_NEVER_NS);
}

static void builders_that_wait_for_each_other_are_told(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get_by(&desk, anna, 1, 1, "a");
    get_by(&desk, bert, 7, 1, "b");
    get_by(&desk, cleo, 9, 1, "c");
    uint64_t token = expect(&desk, &seen, 'b', "anna", 1)->id;
    expect(&desk, &seen, 'b', "bert", 1);
    expect(&desk, &seen, 'b', "cleo", 1);
    get_by(&desk, anna, 1, 2, "b");
    get_by(&desk, bert, 7, 2, "c");
    expect_no_more(&desk, seen);
    get_by(&desk, cleo, 9, 2, "a");
    const rp_error *why = &expect(&desk, &seen, 'f', "cleo", 2)->why;
    assert_int_equal(why->status, RP_ERR_CYCLE);
    assert_says(why->message, "process 97 ('anna') builds 'a'");
    assert_says(why->message, "process 98 ('bert') builds 'b'");
    assert_says(why->message, "process 99 ('cleo') builds 'c'");
    /* The others go on waiting, and one who is in no circle may join them. */
    get_by(&desk, cleo, 10, 3, "a");
    get_by(&desk, cleo, 0, 4, "a");
    expect_no_more(&desk, seen);
    /* Waiting for what one builds oneself is the shortest of them. */
    get_by(&desk, bert, 7, 5, "b");
    assert_int_equal(expect(&desk, &seen, 'f', "bert", 5)->why.status, RP_ERR_CYCLE);
    /* What is sent already is not waited for in vain. */
    desk.holds_jobs = true;
    rp_objects_put(desk.objects, from(anna, 3), token, make_segment(64));
    get_by(&desk, cleo, 9, 6, "a");
    expect_no_more(&desk, seen);
    do_jobs(&desk);
    assert_int_equal(desk.count, seen + 4); /* cleo's three, and anna's own */
    close_desk(&desk);
}

/* Bert may build with one thread what another of his waits for: who knows no threads is no alarm.
 */
static void another_thread_of_a_builder_may_wait(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get_by(&desk, anna, 1, 1, "a");
    get_by(&desk, bert, 7, 1, "b");
    expect(&desk, &seen, 'b', "anna", 1);
    expect(&desk, &seen, 'b', "bert", 1);
    get_by(&desk, anna, 1, 2, "b");
    get_by(&desk, bert, 8, 2, "a");
    get_by(&desk, bert, 0, 3, "a");
    get_by(&desk, anna, 2, 3, "a");
    expect_no_more(&desk, seen);
    get_by(&desk, cleo, 0, 1, "c");
    expect(&desk, &seen, 'b', "cleo", 1);
    get_by(&desk, cleo, 0, 2, "c");
    expect_no_more(&desk, seen);
    close_desk(&desk);
}

static void tight_read(void *user, const char *device, struct rp_meter_reading *reading) {
    (void)user;
    (void)device;
    reading->usable_bytes = 2 << 20;
}

/* Its bytes are in the sender's segment already: what is free is free beside them. */
static void an_object_needs_its_memory_once(void **state) {
    (void)state;
    struct desk desk = {0};
    open_desk(&desk, NULL, 0);
    desk.pool->meter.read = tight_read;
    publish(&desk, anna, "large", 8 << 20);
    close_desk(&desk);
}

static void one_builds_and_all_others_wait(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    int descriptors = open_descriptors();
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    get(&desk, cleo, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    expect_no_more(&desk, seen);
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(5000));
    uint64_t berts = expect(&desk, &seen, 'h', bert, 1)->id;
    expect(&desk, &seen, 'h', cleo, 1);
    assert_int_equal(expect(&desk, &seen, 'h', anna, 2)->size, 4096 + 5000);
    get(&desk, bert, 2, "x"); /* it is there now */
    expect(&desk, &seen, 'h', bert, 2);
    expect_no_more(&desk, seen);
    assert_int_equal(rp_objects_use_count(desk.objects), 4);
    assert_false(rp_objects_release(desk.objects, anna, berts, false)); /* is not hers */
    assert_true(rp_objects_release(desk.objects, bert, berts, false));
    assert_false(rp_objects_release(desk.objects, bert, berts, false));
    rp_objects_leave(desk.objects, bert);
    rp_objects_leave(desk.objects, cleo);
    rp_objects_leave(desk.objects, anna);
    assert_int_equal(rp_objects_use_count(desk.objects), 0);
    close_desk(&desk);
    assert_int_equal(open_descriptors(), descriptors);
}

static void the_pool_counts_each_request_once(void **state) {
    (void)state;
    struct desk desk = {0};
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    int64_t start_ns = rp_clock_ns();
    usleep(20000); /* anna builds */
    double built_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(5000));
    get(&desk, cleo, 1, "x");
    assert_ok(rp_pool_statistics(desk.pool, &statistics, &err));
    const rp_totals *totals = rp_statistics_totals(statistics);
    assert_int_equal(totals->misses, 1);
    assert_int_equal(totals->hits, 2);
    assert_int_equal(totals->resource_count, 1);
    assert_int_equal(totals->memory_bytes, 4096 + 5000);
    assert_true(rp_statistics_entry(statistics, 0)->load_ms >= built_ms); /* a hit saves that */
    rp_statistics_destroy(statistics);
    close_desk(&desk);
}

static void when_a_builder_leaves_the_next_builds(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 7, "x");
    get(&desk, cleo, 8, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_objects_leave(desk.objects, anna);
    uint64_t berts = expect(&desk, &seen, 'b', bert, 7)->id;
    assert_int_not_equal(token, berts);
    /* The old token is nobody's, and the new one only bert's. */
    rp_objects_put(desk.objects, from(bert, 9), token, make_segment(1));
    assert_int_equal(expect(&desk, &seen, 'f', bert, 9)->why.status, RP_ERR_STATE);
    rp_objects_put(desk.objects, from(cleo, 9), berts, make_segment(1));
    assert_int_equal(expect(&desk, &seen, 'f', cleo, 9)->why.status, RP_ERR_STATE);
    rp_objects_leave(desk.objects, cleo); /* waits no more */
    rp_objects_put(desk.objects, from(bert, 10), berts, make_segment(1));
    expect(&desk, &seen, 'h', bert, 10);
    expect_no_more(&desk, seen);
    close_desk(&desk);
}

static void when_the_last_leaves_the_build_is_forgotten(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    expect(&desk, &seen, 'b', anna, 1);
    rp_objects_leave(desk.objects, anna);
    assert_int_equal(rp_objects_use_count(desk.objects), 0);
    get(&desk, bert, 1, "x");
    expect(&desk, &seen, 'b', bert, 1);
    close_desk(&desk);
}

static void a_builder_that_fails_tells_all_who_wait(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    rp_error why = RP_ERROR_INIT;
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_fail(&why, RP_ERR_LOAD, "no such checkpoint");
    rp_objects_abort(desk.objects, bert, token, &why); /* is not his to give up */
    expect_no_more(&desk, seen);
    rp_objects_abort(desk.objects, anna, token, &why);
    struct answer *answer = expect(&desk, &seen, 'f', bert, 1);
    assert_int_equal(answer->why.status, RP_ERR_LOAD);
    assert_string_equal(answer->why.message,
                        "object 'x' could not be made by process 97: no such checkpoint");
    /* One that was only called off is somebody else's turn. */
    get(&desk, anna, 2, "x");
    get(&desk, bert, 2, "x");
    token = expect(&desk, &seen, 'b', anna, 2)->id;
    rp_fail(&why, RP_ERR_CANCELLED, "called off");
    rp_objects_abort(desk.objects, anna, token, &why);
    expect(&desk, &seen, 'b', bert, 2);
    expect_no_more(&desk, seen);
    close_desk(&desk);
}

static void rubbish_is_refused_and_the_next_builds(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    int descriptors = open_descriptors();
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(unsealed, 8192), 0);
    rp_objects_put(desk.objects, from(anna, 2), token, unsealed);
    struct answer *answer = expect(&desk, &seen, 'f', anna, 2);
    assert_int_equal(answer->why.status, RP_ERR_DATA);
    assert_says(answer->why.message, "object 'x' was not kept: shared memory of 8192 bytes");
    token = expect(&desk, &seen, 'b', bert, 1)->id;
    rp_objects_put(desk.objects, from(bert, 2), token, make_segment(10));
    expect(&desk, &seen, 'h', bert, 2);
    expect_no_more(&desk, seen);
    close_desk(&desk);
    assert_int_equal(open_descriptors(), descriptors);
}

static void waiting_ends_at_the_deadline_and_names_the_builder(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    int64_t now_ns = rp_clock_ns();
    get(&desk, anna, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    assert_int_equal(rp_objects_next_deadline_ns(desk.objects), RP_NEVER_NS);
    rp_objects_get(desk.objects, from(cleo, 1), "x", now_ns + 1000);
    get(&desk, cleo, 2, "x");
    rp_objects_get(desk.objects, from(bert, 1), "x", now_ns + 2000);
    assert_int_equal(rp_objects_next_deadline_ns(desk.objects), now_ns + 1000);
    rp_objects_expire(desk.objects, now_ns + 999);
    expect_no_more(&desk, seen);
    rp_objects_expire(desk.objects, now_ns + 1000);
    struct answer *answer = expect(&desk, &seen, 'f', cleo, 1);
    assert_int_equal(answer->why.status, RP_ERR_TIMEOUT);
    assert_says(answer->why.message, "process 97 has been building it");
    expect_no_more(&desk, seen);
    assert_int_equal(rp_objects_next_deadline_ns(desk.objects), now_ns + 2000);
    rp_objects_expire(desk.objects, now_ns + 5000);
    expect(&desk, &seen, 'f', bert, 1);
    /* Who waits without a deadline is still there, at the end of a list that was cut. */
    rp_objects_get(desk.objects, from(bert, 3), "x", now_ns + 9000);
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(10));
    expect(&desk, &seen, 'h', cleo, 2);
    expect(&desk, &seen, 'h', bert, 3);
    expect(&desk, &seen, 'h', anna, 2);
    expect_no_more(&desk, seen);
    close_desk(&desk);
}

static void what_happens_while_a_put_is_under_way(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    desk.holds_jobs = true;
    get(&desk, anna, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(10));
    get(&desk, bert, 1, "x"); /* comes just in time */
    get(&desk, cleo, 1, "x");
    rp_objects_put(desk.objects, from(anna, 3), token, make_segment(10)); /* a second time */
    assert_int_equal(expect(&desk, &seen, 'f', anna, 3)->why.status, RP_ERR_STATE);
    rp_objects_cancel(desk.objects, from(cleo, 1));
    rp_objects_leave(desk.objects, anna); /* what she sent is kept all the same */
    expect_no_more(&desk, seen);
    do_jobs(&desk);
    expect(&desk, &seen, 'h', bert, 1);
    expect_no_more(&desk, seen);
    assert_int_equal(rp_objects_use_count(desk.objects), 1);
    close_desk(&desk);
}

static void a_put_that_nobody_wants_any_more_waits_for_no_room(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, "cpu=10MiB", 0);
    publish(&desk, cleo, "in the way", 6 << 20);
    seen = desk.count;
    desk.holds_jobs = true;
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(6 << 20));
    rp_objects_leave(desk.objects, anna);
    rp_objects_leave(desk.objects, bert);
    alarm(20); /* cleo's lease would be waited for */
    do_jobs(&desk);
    alarm(0);
    expect_no_more(&desk, seen);
    assert_int_equal(rp_objects_use_count(desk.objects), 1);
    /* Somebody who comes just then is to build it, rather than told of a failure. */
    get(&desk, anna, 1, "x");
    token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(6 << 20));
    rp_objects_leave(desk.objects, anna);
    get(&desk, bert, 1, "x");
    do_jobs(&desk);
    expect(&desk, &seen, 'b', bert, 1);
    close_desk(&desk);
}

static void a_put_that_was_never_answered_is_taken_back_at_the_end(void **state) {
    (void)state;
    struct desk desk = {0};
    int descriptors = open_descriptors();
    for (int is_done = 0; is_done < 2; is_done++) {
        size_t seen = 0;
        open_desk(&desk, NULL, 0);
        int64_t blocks = rp_memory_live_count();
        desk.holds_jobs = true;
        get(&desk, anna, 1, "x");
        get(&desk, bert, 1, "x");
        uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
        rp_objects_put(desk.objects, from(anna, 2), token, make_segment(10));
        if (is_done) desk.jobs[0].work(desk.jobs[0].job);
        close_desk(&desk);
        assert_true(rp_memory_live_count() < blocks);
        assert_int_equal(open_descriptors(), descriptors);
    }
}

static void a_called_off_request_gives_back_whatever_it_got(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "x");
    get(&desk, bert, 4, "x");
    expect(&desk, &seen, 'b', anna, 1);
    rp_objects_cancel(desk.objects, from(anna, 9)); /* no such request */
    expect_no_more(&desk, seen);
    rp_objects_cancel(desk.objects, from(anna, 1)); /* she was to build */
    uint64_t token = expect(&desk, &seen, 'b', bert, 4)->id;
    rp_objects_put(desk.objects, from(bert, 5), token, make_segment(10));
    expect(&desk, &seen, 'h', bert, 5);
    assert_int_equal(rp_objects_use_count(desk.objects), 1);
    rp_objects_cancel(desk.objects, from(bert, 5)); /* he has a lease by now */
    assert_int_equal(rp_objects_use_count(desk.objects), 0);
    close_desk(&desk);
}

static void the_budget_of_the_pool_counts_and_idle_objects_make_room(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    open_desk(&desk, "cpu=10MiB", 0);
    uint64_t first = publish(&desk, anna, "first", 6 << 20);
    seen = desk.count;
    /* Nothing can go: everybody who waits is told, since nobody else would have more luck. */
    get(&desk, bert, 1, "second");
    get(&desk, cleo, 1, "second");
    uint64_t token = expect(&desk, &seen, 'b', bert, 1)->id;
    rp_objects_put(desk.objects, from(bert, 2), token, make_segment(11 << 20));
    struct answer *answer = expect(&desk, &seen, 'f', bert, 2);
    assert_int_equal(answer->why.status, RP_ERR_CAPACITY);
    assert_says(answer->why.message, "10.0 MiB");
    expect(&desk, &seen, 'f', cleo, 1);
    expect_no_more(&desk, seen);
    /* Nor is it waited for what somebody holds, who may be waiting for this one. */
    get(&desk, bert, 3, "second");
    token = expect(&desk, &seen, 'b', bert, 3)->id;
    rp_objects_put(desk.objects, from(bert, 4), token, make_segment(6 << 20));
    answer = expect(&desk, &seen, 'f', bert, 4);
    assert_int_equal(answer->why.status, RP_ERR_CAPACITY);
    /* An idle one goes, and whoever asks for it then builds it anew. */
    assert_true(rp_objects_release(desk.objects, anna, first, false));
    publish(&desk, bert, "second", 6 << 20);
    seen = desk.count;
    get(&desk, anna, 5, "first");
    expect(&desk, &seen, 'b', anna, 5);
    close_desk(&desk);
}

static void there_is_a_most_of_objects(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    rp_error err = RP_ERROR_INIT;
    open_desk(&desk, NULL, 2);
    publish(&desk, anna, "one", 1);
    publish(&desk, anna, "two", 1);
    seen = desk.count;
    get(&desk, bert, 1, "three");
    uint64_t token = expect(&desk, &seen, 'b', bert, 1)->id;
    rp_objects_put(desk.objects, from(bert, 2), token, make_segment(1));
    struct answer *answer = expect(&desk, &seen, 'f', bert, 2);
    assert_int_equal(answer->why.status, RP_ERR_LIMIT);
    assert_says(answer->why.message, "2 objects are kept already");
    rp_objects_leave(desk.objects, anna);
    assert_ok(rp_pool_clear(desk.pool, NULL, &err));
    publish(&desk, bert, "three", 1);
    close_desk(&desk);
}

static void a_process_may_not_ask_without_end(void **state) {
    (void)state;
    struct desk desk = {0};
    open_desk(&desk, NULL, 0);
    for (uint32_t i = 0; i < RP_LIMIT_CLIENT_REQUESTS; i++) {
        char key[32];
        snprintf(key, sizeof key, "%u", i);
        get(&desk, anna, i, key);
        assert_int_equal(desk.answers[0].what, 'b');
        desk.count = 0;
    }
    get(&desk, anna, 5000, "more");
    assert_int_equal(desk.answers[0].why.status, RP_ERR_LIMIT);
    get(&desk, bert, 1, "more"); /* others may */
    assert_int_equal(desk.answers[1].what, 'b');
    rp_objects_leave(desk.objects, anna);
    assert_int_equal(rp_objects_use_count(desk.objects), 1);
    desk.count = 0;
    publish(&desk, cleo, "leased", 1);
    for (uint32_t i = 1; i < RP_LIMIT_CLIENT_LEASES; i++) {
        desk.count = 0;
        get(&desk, cleo, i, "leased");
        assert_int_equal(desk.answers[0].what, 'h');
    }
    desk.count = 0;
    get(&desk, cleo, 1, "leased");
    assert_int_equal(desk.answers[0].why.status, RP_ERR_LIMIT);
    get(&desk, anna, 1, "leased");
    assert_int_equal(desk.answers[1].what, 'h');
    close_desk(&desk);
}

static void keys_are_checked(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    char *longest = malloc(RP_LIMIT_NAME_BYTES + 8);
    memset(longest, 'k', RP_LIMIT_NAME_BYTES + 7);
    longest[RP_LIMIT_NAME_BYTES + 7] = '\0';
    open_desk(&desk, NULL, 0);
    get(&desk, anna, 1, "");
    assert_int_equal(expect(&desk, &seen, 'f', anna, 1)->why.status, RP_ERR_ARGUMENT);
    get(&desk, anna, 2, NULL);
    expect(&desk, &seen, 'f', anna, 2);
    get(&desk, anna, 3, longest);
    expect(&desk, &seen, 'f', anna, 3);
    get(&desk, anna, 4, "broken \xff");
    expect(&desk, &seen, 'f', anna, 4);
    close_desk(&desk);
    free(longest);
}

static void without_a_thread_everybody_is_told(void **state) {
    (void)state;
    struct desk desk = {0};
    size_t seen = 0;
    int descriptors = open_descriptors();
    open_desk(&desk, NULL, 0);
    desk.has_no_thread = true;
    get(&desk, anna, 1, "x");
    get(&desk, bert, 1, "x");
    uint64_t token = expect(&desk, &seen, 'b', anna, 1)->id;
    rp_objects_put(desk.objects, from(anna, 2), token, make_segment(1));
    assert_int_equal(expect(&desk, &seen, 'f', anna, 2)->why.status, RP_ERR_MEMORY);
    expect(&desk, &seen, 'f', bert, 1);
    assert_int_equal(rp_objects_use_count(desk.objects), 0);
    close_desk(&desk);
    assert_int_equal(open_descriptors(), descriptors);
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    int descriptors = open_descriptors();
    int64_t blocks = 0;
    bool is_over = false;
    rp_error failure = {.status = RP_ERR_DATA};
    assert_true(rp_explain(&failure, "cpu", NULL, NULL)); /* a process keeps its rules of errors */
    for (uint64_t n = 1; !is_over; n++) {
        struct desk desk = {0};
        open_desk(&desk, NULL, 0);
        publish(&desk, cleo, "other", 10); /* the snapshot and the seat are there */
        size_t seen = desk.count;
        int segment = make_segment(100);
        rp_memory_fail_at(n);
        get(&desk, anna, 1, "x");
        get(&desk, bert, 1, "x");
        struct answer *answer = &desk.answers[seen];
        if (answer->what != 'b') answer++; /* then the other one was to build */
        size_t expected = answer->what == 'b' ? 3 : 2;
        if (answer->what == 'b') {
            rp_objects_put(desk.objects, from(answer->client, 2), answer->id, segment);
        } else {
            close(segment);
        }
        is_over = rp_memory_fail_pending() != 0;
        rp_memory_fail_at(0);
        assert_int_equal(desk.count - seen, expected); /* an answer to each */
        close_desk(&desk);
        assert_int_equal(open_descriptors(), descriptors);
        if (n == 1) blocks = rp_memory_live_count();
        assert_int_equal(rp_memory_live_count(), blocks);
    }
}

/* --- with processes ------------------------------------------------------------------------ */

enum { CLIENTS_MAX = 8, OBJECT_BYTES = 3 << 20 };

/* The loop of a small broker: one thread that talks, one a put that may have to wait. */
struct loop {
    rp_pool *pool;
    struct rp_objects *objects;
    int sockets[CLIENTS_MAX]; /* -1: it has gone */
    pid_t pids[CLIENTS_MAX];
    size_t count;
    int posts[2]; /* what helpers have done */
    size_t under_way;
    uint64_t last_id;
    size_t builds;
};

struct post {
    struct loop *loop;
    void (*work)(void *job);
    void (*done)(void *job);
    void *job;
};

static void send_message(int fd, const struct rp_message *message, int descriptor) {
    static _Thread_local char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes = 0;
    rp_error err = RP_ERROR_INIT;
    struct rp_descriptors descriptors = {{descriptor}, descriptor >= 0};
    if (rp_frame_write(message, frame, &bytes, &err) != RP_OK) abort();
    /* Who was killed meanwhile is noticed by the loop. */
    rp_status status = rp_channel_send(fd, frame, bytes, &descriptors, RP_NEVER_NS, &err);
    (void)status;
}

static int socket_of(struct rp_objects_asker asker) {
    return *(int *)asker.client;
}

static void loop_have(void *user, struct rp_objects_asker asker, uint64_t lease_id, uint64_t size,
                      int fd) {
    (void)user;
    struct rp_message message = {
        .type = RP_MESSAGE_OBJECT, .number = asker.number, .object = {lease_id, size}};
    send_message(socket_of(asker), &message, fd);
}

static void loop_build(void *user, struct rp_objects_asker asker, uint64_t token) {
    struct rp_message message = {
        .type = RP_MESSAGE_OBJECT_BUILD, .number = asker.number, .object_build = {token}};
    ((struct loop *)user)->builds++;
    send_message(socket_of(asker), &message, -1);
}

static void loop_fail(void *user, struct rp_objects_asker asker, const rp_error *why) {
    (void)user;
    struct rp_message message = {
        .type = RP_MESSAGE_FAILED, .number = asker.number, .failed = rp_error_to_text(why)};
    send_message(socket_of(asker), &message, -1);
}

static void *help(void *argument) {
    struct post *post = argument;
    post->work(post->job);
    if (write(post->loop->posts[1], &post, sizeof post) != sizeof post) abort();
    return NULL;
}

static bool loop_defer(void *user, void (*work)(void *job), void (*done)(void *job), void *job) {
    struct loop *loop = user;
    struct post *post = malloc(sizeof *post);
    pthread_t thread;
    *post = (struct post){loop, work, done, job};
    if (pthread_create(&thread, NULL, help, post) != 0) abort();
    pthread_detach(thread);
    loop->under_way++;
    return true;
}

static uint64_t loop_next_id(void *user) {
    return ++((struct loop *)user)->last_id;
}

static pid_t loop_pid(void *user, void *client) {
    struct loop *loop = user;
    return loop->pids[(int *)client - loop->sockets];
}

static const char *loop_command(void *user, void *client) {
    (void)user;
    (void)client;
    return "child";
}

static void loop_handle(struct loop *loop, int *client) {
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes = 0;
    struct rp_descriptors descriptors = {.count = 0};
    struct rp_message message;
    rp_error err = RP_ERROR_INIT;
    rp_status status = rp_channel_receive(*client, frame, &bytes, &descriptors, 0, &err);
    if (status == RP_ERR_TIMEOUT) return;
    if (status == RP_ERR_STATE) {
        rp_objects_leave(loop->objects, client);
        close(*client);
        *client = -1;
        return;
    }
    assert_ok(status);
    assert_ok(rp_frame_parse(frame, bytes, &message, &err));
    struct rp_objects_asker asker = {.client = client, .number = message.number};
    if (message.type == RP_MESSAGE_OBJECT_GET) {
        rp_objects_get(loop->objects, asker, message.object_get.key,
                       message.object_get.timeout_ms
                           ? rp_deadline_after_ms((int64_t)message.object_get.timeout_ms)
                           : RP_NEVER_NS);
    } else if (message.type == RP_MESSAGE_OBJECT_PUT) {
        rp_objects_put(loop->objects, asker, message.object_put.token,
                       rp_descriptors_take(&descriptors));
    } else if (message.type == RP_MESSAGE_RELEASE) {
        assert_true(rp_objects_release(loop->objects, client, message.release.lease_id, false));
    }
    rp_descriptors_close(&descriptors);
}

/* Serve until all clients have gone. Opens its pool here: its children were forked before. */
static void serve(struct loop *loop) {
    rp_error err = RP_ERROR_INIT;
    struct rp_objects_host host = {loop,       loop_have,    loop_build, loop_fail,
                                   loop_defer, loop_next_id, loop_pid,   loop_command};
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    assert_ok(rp_pool_open(&options, &loop->pool, &err));
    assert_ok(rp_objects_open(&host, loop->pool, 0, &loop->objects, &err));
    assert_int_equal(pipe2(loop->posts, O_CLOEXEC), 0);
    int64_t end_ns = rp_deadline_after_ms(60000);
    for (;;) {
        struct pollfd ready[CLIENTS_MAX + 1];
        bool is_over = loop->under_way == 0;
        for (size_t i = 0; i < loop->count; i++) {
            ready[i] = (struct pollfd){loop->sockets[i], POLLIN, 0};
            if (loop->sockets[i] >= 0) is_over = false;
        }
        if (is_over) break;
        ready[loop->count] = (struct pollfd){loop->posts[0], POLLIN, 0};
        assert_true(rp_clock_ns() < end_ns);
        poll(ready, loop->count + 1, 20);
        for (size_t i = 0; i < loop->count; i++) {
            if (ready[i].revents) loop_handle(loop, &loop->sockets[i]);
        }
        if (ready[loop->count].revents) {
            struct post *post = NULL;
            assert_int_equal(read(loop->posts[0], &post, sizeof post), sizeof post);
            post->done(post->job);
            free(post);
            loop->under_way--;
        }
        rp_objects_expire(loop->objects, rp_clock_ns());
    }
    assert_int_equal(rp_objects_use_count(loop->objects), 0);
    rp_objects_close(loop->objects);
    assert_ok(rp_pool_close(loop->pool, &err));
    close(loop->posts[0]);
    close(loop->posts[1]);
}

/* One request and its answer; 0 when the other side has gone. */
static uint16_t ask(int fd, const struct rp_message *request, int descriptor,
                    struct rp_message *answer, int *received) {
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes = 0;
    struct rp_descriptors descriptors = {.count = 0};
    send_message(fd, request, descriptor);
    if (rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, NULL) != RP_OK) return 0;
    if (rp_frame_parse(frame, bytes, answer, NULL) != RP_OK) return 0;
    *received = rp_descriptors_take(&descriptors);
    rp_descriptors_close(&descriptors);
    return answer->type;
}

static void start(struct loop *loop, size_t count, int (*run)(int fd, size_t index)) {
    *loop = (struct loop){.count = count};
    for (size_t i = 0; i < count; i++) {
        rp_error err = RP_ERROR_INIT;
        int ends[2];
        assert_ok(rp_channel_pair(ends, &err));
        loop->pids[i] = fork();
        assert_true(loop->pids[i] >= 0);
        if (loop->pids[i] == 0) {
            for (size_t other = 0; other < i; other++) {
                close(loop->sockets[other]);
            }
            close(ends[0]);
            _exit(run(ends[1], i));
        }
        close(ends[1]);
        loop->sockets[i] = ends[0];
    }
}

/* How many ended well, and how many by SIGKILL. */
static void reap(struct loop *loop, size_t *well, size_t *killed) {
    *well = 0;
    *killed = 0;
    for (size_t i = 0; i < loop->count; i++) {
        int how = 0;
        assert_int_equal(waitpid(loop->pids[i], &how, 0), loop->pids[i]);
        if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) {
            ++*killed;
        } else if (how == 0) {
            ++*well;
        } else {
            fail_msg("process %zu ended with %#x", i, (unsigned)how);
        }
    }
}

static unsigned char byte_at(size_t at) {
    return (unsigned char)(at * 2654435761U >> 13);
}

/* Build what the token is for, and publish it. */
static uint16_t publish_from_here(int fd, uint64_t token, struct rp_message *answer,
                                  int *received) {
    static unsigned char bytes[OBJECT_BYTES];
    rp_error err = RP_ERROR_INIT;
    int segment = -1;
    uint64_t size = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_at(i);
    }
    rp_object_part parts[] = {{"head", 4}, {bytes, sizeof bytes}};
    if (rp_segment_create(parts, 2, &segment, &size, &err) != RP_OK) return 0;
    struct rp_message put = {
        .type = RP_MESSAGE_OBJECT_PUT, .number = 2, .object_put = {token, size}};
    uint16_t type = ask(fd, &put, segment, answer, received);
    close(segment);
    return type;
}

/* Everybody sees what was built, writes something of its own over it, and sees that. */
static int check_and_scribble(int received, size_t index) {
    struct rp_segment *segment = NULL;
    size_t bytes = 0;
    if (rp_segment_attach(received, &segment, NULL) != RP_OK) return 11;
    close(received);
    if (rp_segment_part_count(segment) != 2) return 12;
    unsigned char *data = rp_segment_part(segment, 1, &bytes);
    if (bytes != OBJECT_BYTES) return 13;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != byte_at(i)) return 14;
    }
    memset(data, (int)index, bytes);
    usleep(20000); /* all others write meanwhile */
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != index) return 15;
    }
    rp_segment_detach(segment);
    return 0;
}

static const struct rp_message get_it = {
    .type = RP_MESSAGE_OBJECT_GET, .number = 1, .object_get = {.key = "suite/weights"}};

static int be_client(int fd, size_t index) {
    struct rp_message answer;
    int received = -1;
    uint16_t type = ask(fd, &get_it, -1, &answer, &received);
    if (type == RP_MESSAGE_OBJECT_BUILD) {
        usleep(30000); /* so that all others come and wait */
        type = publish_from_here(fd, answer.object_build.token, &answer, &received);
    }
    if (type != RP_MESSAGE_OBJECT) return 10;
    uint64_t lease_id = answer.object.lease_id;
    int how = check_and_scribble(received, index);
    struct rp_message release = {.type = RP_MESSAGE_RELEASE, .release = {lease_id}};
    send_message(fd, &release, -1);
    return how;
}

static void eight_processes_get_one_object_that_one_builds(void **state) {
    (void)state;
    struct loop loop;
    size_t well = 0;
    size_t killed = 0;
    int descriptors = open_descriptors();
    start(&loop, 8, be_client);
    serve(&loop);
    reap(&loop, &well, &killed);
    assert_int_equal(well, 8);
    assert_int_equal(loop.builds, 1);
    assert_int_equal(open_descriptors(), descriptors);
}

/* The first three to get the token die over it, each at another place. */
static int *deaths; /* in shared memory */

static int be_mortal(int fd, size_t index) {
    struct rp_message answer;
    int received = -1;
    uint16_t type = ask(fd, &get_it, -1, &answer, &received);
    if (type == RP_MESSAGE_OBJECT_BUILD) {
        usleep(20000);
        int deaths_before = __atomic_fetch_add(deaths, 1, __ATOMIC_SEQ_CST);
        if (deaths_before == 0) kill(getpid(), SIGKILL); /* mid-construct */
        if (deaths_before == 1) {                        /* sent rubbish, then killed */
            struct rp_message put = {.type = RP_MESSAGE_OBJECT_PUT,
                                     .number = 2,
                                     .object_put = {answer.object_build.token, 1}};
            int ends[2];
            if (pipe(ends) != 0) return 20;
            if (ask(fd, &put, ends[0], &answer, &received) != RP_MESSAGE_FAILED) return 21;
            kill(getpid(), SIGKILL);
        }
        type = publish_from_here(fd, answer.object_build.token, &answer, &received);
        if (deaths_before == 2) kill(getpid(), SIGKILL); /* with a lease */
    }
    if (type != RP_MESSAGE_OBJECT) return 10;
    return check_and_scribble(received, index);
}

static void when_builders_are_killed_the_next_ones_build(void **state) {
    (void)state;
    struct loop loop;
    size_t well = 0;
    size_t killed = 0;
    deaths = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(deaths, MAP_FAILED);
    start(&loop, 8, be_mortal);
    serve(&loop);
    reap(&loop, &well, &killed);
    assert_int_equal(killed, 3);
    assert_int_equal(well, 5);
    assert_int_equal(loop.builds, 3);
    munmap(deaths, 4096);
}

/* A builder that hands over and is gone before the answer: the object is there for the others. */
static int be_hasty(int fd, size_t index) {
    struct rp_message answer;
    int received = -1;
    uint16_t type = ask(fd, &get_it, -1, &answer, &received);
    if (type == RP_MESSAGE_OBJECT_BUILD) {
        rp_error err = RP_ERROR_INIT;
        int segment = -1;
        uint64_t size = 0;
        static const rp_object_part part = {"quick", 5};
        usleep(20000);
        if (rp_segment_create(&part, 1, &segment, &size, &err) != RP_OK) return 22;
        struct rp_message put = {.type = RP_MESSAGE_OBJECT_PUT,
                                 .number = 2,
                                 .object_put = {answer.object_build.token, size}};
        send_message(fd, &put, segment);
        kill(getpid(), SIGKILL);
    }
    (void)index;
    return type == RP_MESSAGE_OBJECT && answer.object.size == RP_SEGMENT_ALIGN + 5 ? 0 : 23;
}

static void what_a_killed_builder_had_sent_is_kept(void **state) {
    (void)state;
    struct loop loop;
    size_t well = 0;
    size_t killed = 0;
    start(&loop, 4, be_hasty);
    serve(&loop);
    reap(&loop, &well, &killed);
    assert_int_equal(killed, 1);
    assert_int_equal(well, 3);
    assert_int_equal(loop.builds, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        /* Those that fork come first: no thread of a pool has run yet. */
        cmocka_unit_test(eight_processes_get_one_object_that_one_builds),
        cmocka_unit_test(when_builders_are_killed_the_next_ones_build),
        cmocka_unit_test(what_a_killed_builder_had_sent_is_kept),
        cmocka_unit_test(one_builds_and_all_others_wait),
        cmocka_unit_test(builders_that_wait_for_each_other_are_told),
        cmocka_unit_test(another_thread_of_a_builder_may_wait),
        cmocka_unit_test(an_object_needs_its_memory_once),
        cmocka_unit_test(the_pool_counts_each_request_once),
        cmocka_unit_test(when_a_builder_leaves_the_next_builds),
        cmocka_unit_test(when_the_last_leaves_the_build_is_forgotten),
        cmocka_unit_test(a_builder_that_fails_tells_all_who_wait),
        cmocka_unit_test(rubbish_is_refused_and_the_next_builds),
        cmocka_unit_test(waiting_ends_at_the_deadline_and_names_the_builder),
        cmocka_unit_test(what_happens_while_a_put_is_under_way),
        cmocka_unit_test(a_put_that_nobody_wants_any_more_waits_for_no_room),
        cmocka_unit_test(a_put_that_was_never_answered_is_taken_back_at_the_end),
        cmocka_unit_test(a_called_off_request_gives_back_whatever_it_got),
        cmocka_unit_test(the_budget_of_the_pool_counts_and_idle_objects_make_room),
        cmocka_unit_test(there_is_a_most_of_objects),
        cmocka_unit_test(a_process_may_not_ask_without_end),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(without_a_thread_everybody_is_told),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
