/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/turns.h"

#include "base/clock.h"
#include "base/memory.h"

#include "../../tests/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void each_turn_is_taken_once(void **state) {
    (void)state;
    int fd;
    rp_error err = RP_ERROR_INIT;
    struct rp_turns one;
    struct rp_turns other; /* as another worker has it */
    struct rp_turn a = {0};
    struct rp_turn b = {0};
    struct rp_turn c = {0};
    assert_ok(rp_turns_create(4, &fd, &err));
    assert_ok(rp_turns_open(fd, &one, &err));
    assert_ok(rp_turns_open(fd, &other, &err));
    assert_true(rp_turns_try(&one, 1, &a));
    assert_true(rp_turns_try(&one, 2, &b));
    assert_int_equal(b.count, 2);
    assert_false(rp_turns_try(&other, 2, &c));
    assert_true(rp_turns_try(&other, 1, &c));
    assert_false(rp_turns_try(&one, 1, &(struct rp_turn){0}));
    uint32_t seen = rp_turns_look(&other);
    rp_turns_give(&one, &b);
    assert_int_not_equal(rp_turns_look(&other), seen);
    assert_true(rp_turns_try(&other, 2, &b));
    rp_turns_give(&other, &b);
    rp_turns_give(&other, &c);
    rp_turns_give(&one, &a);
    /* More threads than there are processors: all of them, and none twice. */
    assert_true(rp_turns_try(&one, 9, &a));
    assert_int_equal(a.count, 4);
    assert_false(rp_turns_try(&other, 1, &b));
    rp_turns_give(&one, &a);
    rp_turns_give(&one, &a);
    assert_true(rp_turns_try(&other, 4, &b));
    rp_turns_close(&other); /* gives back what it has */
    assert_true(rp_turns_try(&one, 4, &a));
    rp_turns_close(&one);
    close(fd);
}

static void who_is_killed_gives_its_turns_back(void **state) {
    (void)state;
    int fd;
    int ends[2];
    char byte = 0;
    rp_error err = RP_ERROR_INIT;
    struct rp_turns turns;
    struct rp_turn turn = {0};
    assert_ok(rp_turns_create(2, &fd, &err));
    assert_ok(rp_turns_open(fd, &turns, &err));
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rp_turns own;
        bool is_taken = rp_turns_open(fd, &own, NULL) == RP_OK && rp_turns_try(&own, 2, &turn);
        if (!is_taken || write(ends[1], "x", 1) != 1) _exit(1);
        pause();
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_false(rp_turns_try(&turns, 1, &turn));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(rp_turns_try(&turns, 2, &turn));
    rp_turns_close(&turns);
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

enum { ROUNDS = 2000, THREADS = 3 };

static _Atomic int running;
static _Atomic int most;

static void *take_and_give(void *argument) {
    struct rp_turns *turns = argument;
    for (int i = 0; i < ROUNDS;) {
        struct rp_turn turn = {0};
        uint32_t seen = rp_turns_look(turns);
        if (!rp_turns_try(turns, 1, &turn)) {
            rp_turns_wait(turns, seen, 1000000000);
            continue;
        }
        int now = atomic_fetch_add(&running, 1) + 1;
        int before = atomic_load(&most);
        while (now > before && !atomic_compare_exchange_weak(&most, &before, now)) {
        }
        atomic_fetch_sub(&running, 1);
        rp_turns_give(turns, &turn);
        i++;
    }
    return NULL;
}

static void never_more_run_than_there_are_turns(void **state) {
    (void)state;
    int fd;
    rp_error err = RP_ERROR_INIT;
    struct rp_turns turns[2];
    pthread_t threads[2 * THREADS];
    assert_ok(rp_turns_create(2, &fd, &err));
    for (int i = 0; i < 2; i++) {
        assert_ok(rp_turns_open(fd, &turns[i], &err));
    }
    for (int i = 0; i < 2 * THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &turns[i % 2]), 0);
    }
    for (int i = 0; i < 2 * THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_in_range(atomic_load(&most), 1, 2);
    rp_turns_close(&turns[0]);
    rp_turns_close(&turns[1]);
    close(fd);
}

static void what_is_no_budget_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_turns turns;
    int fd = memfd_create("other", MFD_CLOEXEC);
    assert_status(rp_turns_open(fd, &turns, &err), RP_ERR_DATA);
    assert_int_equal(ftruncate(fd, 64), 0);
    assert_status(rp_turns_open(fd, &turns, &err), RP_ERR_DATA);
    rp_turns_close(&turns);
    close(fd);
    assert_ok(rp_turns_create(0, &fd, &err));
    rp_memory_fail_at(1);
    assert_status(rp_turns_open(fd, &turns, &err), RP_ERR_MEMORY);
    rp_memory_fail_at(0);
    assert_ok(rp_turns_open(fd, &turns, &err));
    assert_int_equal(turns.count, 1);
    rp_turns_close(&turns);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_turn_is_taken_once),
        cmocka_unit_test(who_is_killed_gives_its_turns_back),
        cmocka_unit_test(never_more_run_than_there_are_turns),
        cmocka_unit_test(what_is_no_budget_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
