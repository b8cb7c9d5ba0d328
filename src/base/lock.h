/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mutex that knows its owner in debug builds, so that a function that needs the lock can say
 * so: `assert(rp_lock_is_held(&pool->lock))`. Its condition variable waits on the monotonic clock.
 */
#ifndef RP_BASE_LOCK_H
#define RP_BASE_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rp_lock {
    pthread_mutex_t mutex;
    _Atomic uintptr_t owner; /* debug only: a number for the holding thread, 0 when free */
};

struct rp_condition {
    pthread_cond_t condition;
};

extern _Thread_local char rp_thread_mark;

/* A number of this thread that differs from that of every other living one. */
static inline uintptr_t rp_thread_number(void) {
    return (uintptr_t)&rp_thread_mark;
}

void rp_lock_init(struct rp_lock *lock);
void rp_lock_fini(struct rp_lock *lock);

static inline void rp_lock_acquire(struct rp_lock *lock) {
    int rc = pthread_mutex_lock(&lock->mutex);
    assert(rc == 0);
    (void)rc;
    atomic_store_explicit(&lock->owner, rp_thread_number(), memory_order_relaxed);
}

static inline void rp_lock_release(struct rp_lock *lock) {
    atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
    int rc = pthread_mutex_unlock(&lock->mutex);
    assert(rc == 0);
    (void)rc;
}

static inline bool rp_lock_is_held(struct rp_lock *lock) {
    return atomic_load_explicit(&lock->owner, memory_order_relaxed) == rp_thread_number();
}

void rp_condition_init(struct rp_condition *condition);
void rp_condition_fini(struct rp_condition *condition);
void rp_condition_broadcast(struct rp_condition *condition);

/*
 * Give up the lock, sleep, take it again. False once `deadline_ns` (rp_clock_ns(), RP_NEVER_NS for
 * no deadline) has passed. May wake for no reason: loop over what is waited for.
 */
bool rp_condition_wait(struct rp_condition *condition, struct rp_lock *lock, int64_t deadline_ns);

#endif
