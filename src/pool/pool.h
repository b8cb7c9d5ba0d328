/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the pool: the struct behind the handle. */
#ifndef RP_POOL_POOL_H
#define RP_POOL_POOL_H

#include "base/lock.h"
#include "base/log.h"
#include "base/table.h"
#include "pool/entry.h"
#include "pool/seat.h"

#include <resourcepool/pool.h>
#include <resourcepool/statistics.h>

struct rp_pool {
    /* Set by rp_pool_open(), constant afterwards: read without a lock. */
    struct rp_logger logger;
    uint64_t fork_count; /* rp_seat_fork_count() at the time: another number means a child */
    pid_t pid;

    /*
     * Lock order: the registry of seats, pool.lock, the lock of the waits. Never held while
     * anything is constructed, destroyed, logged or waited for.
     */
    struct rp_lock lock;
    struct rp_condition load_ended; /* a loader thread has left                       */
    struct rp_table requests;       /* hash -> struct rp_alias *; guarded by lock     */
    struct rp_table instances;      /* hash -> struct rp_entry *; guarded by lock     */
    struct rp_entry *oldest;        /* guarded by lock                                */
    struct rp_entry *newest;        /* guarded by lock                                */
    struct rp_seat *seats;          /* guarded by lock                                */
    uint64_t retired_hits;          /* of entries that are gone; guarded by lock      */
    uint64_t retired_misses;        /* guarded by lock                                */
    uint64_t wait_count;            /* guarded by lock                                */
    uint64_t load_count;            /* guarded by lock                                */
    uint64_t load_failure_count;    /* guarded by lock                                */
    uint32_t loader_thread_count;   /* loads on threads of ours; guarded by lock      */
};

/* In the child of fork(): a thread that is not here may have held the default pool's lock. */
void rp_pool_after_fork(void);

/* RP_ERR_FORKED in a child of the process that opened the pool, else RP_OK. */
rp_status rp_pool_check_process(const rp_pool *pool, rp_error *err);

/*
 * A lease of this closed or left holder was given back: destroy the entry if it was the last.
 * Enters with pool.lock held, leaves without it.
 */
void rp_pool_settle_holder(rp_pool *pool, struct rp_holder *holder);

/*
 * Take a lease on an entry that cannot go away meanwhile, asked for by that request. `is_hit`:
 * whether it counts as one. Needs pool.lock.
 */
rp_status rp_pool_take_lease(struct rp_seat *seat, struct rp_entry *entry,
                             const struct rp_key *request, bool is_hit, rp_lease **lease,
                             rp_error *err);

#endif
