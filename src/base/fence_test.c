/* SPDX-License-Identifier: Apache-2.0 */
/* "I write X, then read Y; you write Y, then read X": at least one of us sees the other's write. */
#include "base/fence.h"

#include "../../tests/test.h"

#include <pthread.h>
#include <sched.h>

enum { ROUNDS = 100000, SPREAD = 64 };

/* On cache lines of their own, as the holder's word and the seat's epoch are. */
static struct {
    _Alignas(128) _Atomic int x;
    _Alignas(128) _Atomic int y;
    _Alignas(128) _Atomic int light_round;
    _Alignas(128) _Atomic int heavy_round;
    _Alignas(128) int light_saw;
} shared;

/* Some nanoseconds that differ from round to round, so that the two meet in every way. */
static void spread(int round) {
    for (volatile int i = 0; i < round * 7 % SPREAD; i++) {
    }
}

static void wait_for(_Atomic int *counter, int round) {
    for (int spins = 0; atomic_load_explicit(counter, memory_order_acquire) != round; spins++) {
        if (spins > 2000) sched_yield();
    }
}

/* The frequent side of every round. */
static void *run_light(void *argument) {
    (void)argument;
    for (int round = 1; round <= ROUNDS; round++) {
        wait_for(&shared.heavy_round, round);
        spread(round);
        atomic_store_explicit(&shared.x, 1, memory_order_relaxed);
        rp_fence_light();
        shared.light_saw = atomic_load_explicit(&shared.y, memory_order_relaxed);
        atomic_store_explicit(&shared.light_round, round, memory_order_release);
    }
    return NULL;
}

static void one_of_two_sees_the_other(void **state) {
    (void)state;
    pthread_t light;
    int neither = 0;
    rp_fence_prepare();
    assert_int_equal(pthread_create(&light, NULL, run_light, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        atomic_store_explicit(&shared.x, 0, memory_order_relaxed);
        atomic_store_explicit(&shared.y, 0, memory_order_relaxed);
        atomic_store_explicit(&shared.heavy_round, round, memory_order_release);
        spread(round / SPREAD);
        atomic_store_explicit(&shared.y, 1, memory_order_relaxed);
        rp_fence_heavy();
        int heavy_saw = atomic_load_explicit(&shared.x, memory_order_relaxed);
        wait_for(&shared.light_round, round);
        if (!heavy_saw && !shared.light_saw) neither++;
    }
    pthread_join(light, NULL);
    assert_int_equal(neither, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_of_two_sees_the_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
