/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An asymmetric fence for the pattern "I write X, then read Y; you write Y, then read X", in which
 * at least one of us must see the other's write. The frequent side pays a compiler barrier, the
 * rare side makes every running thread of the process execute a full one (membarrier(2)).
 *
 * Where the kernel refuses membarrier, and under ThreadSanitizer, which cannot see it, both sides
 * use a full fence.
 */
#ifndef RP_BASE_FENCE_H
#define RP_BASE_FENCE_H

#include <stdatomic.h>
#include <stdbool.h>

/* Constant once rp_fence_prepare() has run, which every rp_pool_open() does first. */
extern bool rp_fence_is_asymmetric;

/* Register the process with the kernel. Any thread, any number of times, also after fork(). */
void rp_fence_prepare(void);

/* The frequent side. */
static inline void rp_fence_light(void) {
#ifdef RP_THREAD_SANITIZER
    extern _Atomic int rp_fence_token;
    atomic_fetch_add_explicit(&rp_fence_token, 0, memory_order_seq_cst);
#else
    atomic_signal_fence(memory_order_seq_cst);
    if (!rp_fence_is_asymmetric) atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* The rare side: microseconds. */
void rp_fence_heavy(void);

#endif
