/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission: a load gets its room before it begins, or waits for it, or is told why not.
 *
 * One queue, first come first served. A later request may overtake the first one while it waits for
 * leases to end, but only RP_ADMISSION_OVERTAKES times: then the gate is shut, so that small ones
 * cannot starve a big one. What a constructor asks for goes ahead of the queue: its own load holds
 * room that others wait for.
 *
 * While anybody waits, and in low-memory mode, the pool is *watched*: all holders are closed, so
 * that each release passes under the lock and can wake the queue. A pool with room pays nothing.
 */
#ifndef RP_POOL_ADMISSION_H
#define RP_POOL_ADMISSION_H

#include "pool/entry.h"
#include "pool/waits.h"

#include <sys/types.h>

enum { RP_ADMISSION_OVERTAKES = 16 };

/* One load that asks for room, on the stack of its thread. */
struct rp_admission {
    struct rp_entry *entry; /* its charge is made here                                  */
    struct rp_wait *wait;   /* entered by the caller; woken through it                  */
    uint64_t bytes;         /* what it needs, as estimated; RP_UNKNOWN_U64              */
    const char *method;     /* whose estimate                                           */
    int64_t deadline_ns;
    struct rp_reserved *reserved; /* the places that it may have; NULL: the entry's device only  */
    bool may_wait;   /* false: try another device first                                 */
    bool is_present; /* its bytes are in memory already: only the budget is asked       */

    /* Its own. */
    bool is_never; /* out: no waiting would have helped, another device might         */
    bool is_queued;
    bool is_nested;
    size_t place; /* of `reserved`, which is tried */
    uint32_t overtaken_count;
    pid_t thread_id;
    int64_t asked_ns;
    struct rp_admission *next;
};

/*
 * Make room and charge it: RESERVED, then LOADING. Takes out idle entries if need be, all of a set
 * at once; waits for leases and for bytes on their way out. Enters and leaves with pool.lock held,
 * gives it up meanwhile. RP_ERR_CAPACITY tells need, room and holders; RP_ERR_CANCELLED.
 */
rp_status rp_admission_enter(struct rp_admission *ask, rp_error *err);

/* Something changed that a waiting request may profit from. Needs pool.lock. */
void rp_admission_wake(rp_pool *pool);

/* Whether that thread waits for room, or for a load that does. Needs pool.lock. */
bool rp_admission_is_awaited(rp_pool *pool, pid_t thread_id);

/* Close all holders, or open them again: calls nest. Need pool.lock. */
void rp_pool_watch(rp_pool *pool);
void rp_pool_unwatch(rp_pool *pool);

/*
 * Take out idle entries of a device (RP_LEDGER_NO_DEVICE: any), cheapest first, until `bytes` are
 * freed (UINT64_MAX: all that are idle). They come back as a list by `next`, dependents before
 * what they depend on, for rp_pool_bury() after unlocking. NULL when nothing is idle. With
 * `whole`, nothing is taken unless it suffices. Needs pool.lock.
 */
struct rp_entry *rp_admission_evict(rp_pool *pool, uint16_t device, uint64_t bytes, bool whole);

/* Whether what was not seen to come back has, on any device: budgets may span them. What was waited
 * for long enough is lost. Needs pool.lock. */
void rp_admission_look_for_unseen(rp_pool *pool);

/* Whether an entry is loaded, in the tables, and used by nobody. A look, not a promise: a hit may
 * come. Needs pool.lock. */
bool rp_entry_seems_idle(const struct rp_entry *entry);

#endif
