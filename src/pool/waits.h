/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waits for what, in the whole process: how a waiter sleeps, how it is woken or called off, and
 * how a circle of constructors that wait for each other is found before it closes.
 *
 * One list under one lock, for all pools, since a circle may run through two of them. It only
 * holds threads that are inside a load or asleep, so it is short.
 */
#ifndef RP_POOL_WAITS_H
#define RP_POOL_WAITS_H

#include "base/lock.h"
#include "pool/entry.h"

/* One thread that needs one entry, on the stack of that thread. */
struct rp_wait {
    struct rp_entry *on; /* pinned by the waiter                                         */
    rp_build *by;        /* the load on whose behalf; NULL: nobody's                      */
    rp_cancel *cancel;   /* NULL: cannot be called off                                    */
    struct rp_condition woken;
    bool is_woken;
    pid_t thread_id;
    struct rp_wait *previous;
    struct rp_wait *next;
};

/*
 * Enter the list. RP_ERR_CYCLE when `by` would, through others, wait for itself: the message
 * names every step, and the wait is not entered.
 */
rp_status rp_waits_enter(struct rp_wait *wait, rp_error *err);

/* Leave the list. */
void rp_waits_leave(struct rp_wait *wait);

/* Sleep until woken, called off (RP_ERR_CANCELLED) or the deadline has passed (RP_ERR_TIMEOUT). */
rp_status rp_waits_sleep(struct rp_wait *wait, int64_t deadline_ns);

/* Wake one waiter, for a reason that is its own; its next sleep ends at once. */
void rp_waits_nudge(struct rp_wait *wait);

/* Whether the thread sleeps on something that needs `entry`, directly or through others. */
bool rp_waits_thread_sleeps_on(pid_t thread_id, const struct rp_entry *entry);

/* Wake whoever waits for that entry. */
void rp_waits_wake(const struct rp_entry *entry);

/* Whether the token was fired; false for NULL. */
bool rp_cancel_is_fired(const rp_cancel *cancel);

/* The same, and what the token's poll says; under no lock, on the thread that waits. */
bool rp_cancel_ask(const rp_cancel *cancel);

/* In the child of fork(): the other threads and their waits are not here. */
void rp_waits_after_fork(void);

#endif
