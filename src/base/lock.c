/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include "base/clock.h"

#include <errno.h>

_Thread_local char rp_thread_mark;

/* With default attributes and valid arguments none of these can fail on Linux. */

void rp_lock_init(struct rp_lock *lock) {
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_init(&lock->owner, 0);
}

void rp_lock_fini(struct rp_lock *lock) {
    pthread_mutex_destroy(&lock->mutex);
}

void rp_condition_init(struct rp_condition *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&condition->condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void rp_condition_fini(struct rp_condition *condition) {
    pthread_cond_destroy(&condition->condition);
}

void rp_condition_broadcast(struct rp_condition *condition) {
    pthread_cond_broadcast(&condition->condition);
}

bool rp_condition_wait(struct rp_condition *condition, struct rp_lock *lock, int64_t deadline_ns) {
    assert(rp_lock_is_held(lock));
    atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
    int rc = 0;
    if (deadline_ns == RP_NEVER_NS) {
        rc = pthread_cond_wait(&condition->condition, &lock->mutex);
    } else {
        struct timespec until = {
            .tv_sec = (time_t)(deadline_ns / INT64_C(1000000000)),
            .tv_nsec = (long)(deadline_ns % INT64_C(1000000000)),
        };
        rc = pthread_cond_timedwait(&condition->condition, &lock->mutex, &until);
    }
    atomic_store_explicit(&lock->owner, rp_thread_number(), memory_order_relaxed);
    return rc != ETIMEDOUT;
}
