/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the pool: the struct behind the handle. */
#ifndef RP_POOL_POOL_H
#define RP_POOL_POOL_H

#include "base/lock.h"
#include "base/log.h"
#include "base/table.h"
#include "pool/doomed.h"
#include "pool/entry.h"
#include "pool/event.h"
#include "pool/hooks.h"
#include "pool/meter.h"
#include "pool/relief.h"
#include "pool/seat.h"

#include <resourcepool/failure.h>
#include <resourcepool/pool.h>
#include <resourcepool/statistics.h>

/* What happened so far; guarded by pool.lock. */
struct rp_pool_counts {
    uint64_t evictions;
    uint64_t evicted_bytes;
    uint64_t cleanup_runs;
    uint64_t cleanup_removed;
    uint64_t cleanup_bytes;
    int64_t cleanup_wall_ns; /* the latest; 0: never */
    uint64_t unloads;
    uint64_t freed_bytes; /* seen to be back, or never seen to arrive */
    uint64_t room_waits;
    uint64_t refusals;
    uint64_t retries;
    uint64_t fallbacks;
    uint64_t reservations;
    uint64_t failures[RP_CATEGORY_COUNT]; /* loads, by what was wrong */
};

struct rp_pool {
    /* Set by rp_pool_open(), constant afterwards: read without a lock. */
    struct rp_logger logger;
    struct rp_meter meter;
    struct rp_pool_hooks hooks;
    struct rp_history *history;
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
    uint32_t reservation_number;    /* of the latest; guarded by lock                 */

    /* Room: guarded by lock. */
    struct rp_ledger ledger;
    struct rp_eviction eviction;
    struct rp_admission *queue; /* who waits for room, first come first */
    uint32_t watch_count;       /* see admission.h */
    uint32_t mark;              /* grows with each choice of victims */
    size_t entry_count;
    size_t texts_size; /* of all entries: what a snapshot needs room for */
    size_t dependency_count;
    size_t dependency_texts_size;
    struct rp_entry **harvest; /* idle entries of the latest scan, cheapest first; NULL: gone */
    uint32_t harvest_count;
    uint32_t harvest_at;
    struct rp_doomed doomed; /* loads that are not worth trying now */
    struct rp_relief relief; /* memory pressure and low-memory mode */
    struct rp_pool_counts counts;
    size_t notes_told; /* of the history's */

    struct rp_event_ring events; /* written by any thread, without the lock */
};

/* Take out of the tables all entries that `wanted` says yes to (NULL: all that are loaded), and
 * return those that nobody uses, for rp_pool_bury(). Needs pool.lock. */
struct rp_entry *
rp_pool_detach(rp_pool *pool, bool (*wanted)(const struct rp_entry *entry, void *user), void *user);

/* What processes that are no part of the pool hold on a device now, as they say. Takes pool.lock.
 */
void rp_pool_note_outside(rp_pool *pool, const char *device, uint64_t bytes);

/* In the child of fork(): a thread that is not here may have held the default pool's lock. */
void rp_pool_after_fork(void);

/* RP_ERR_FORKED in a child of the process that opened the pool, else RP_OK. */
rp_status rp_pool_check_process(const rp_pool *pool, rp_error *err);

/*
 * Unmake entries that rp_entry_settle() has unlinked (a list by `next`), in that order, and those
 * whose turn comes with them; the ledger learns what came back. Takes pool.lock; NULL is accepted.
 * Returns how many, and adds the bytes that are free now to *bytes, which may be NULL.
 */
uint64_t rp_pool_bury(rp_pool *pool, struct rp_entry *dead, uint64_t *bytes);

/* Tell what the history was lived without, as events and in the log, each once. No lock held. */
void rp_pool_tell_notes(rp_pool *pool);

/*
 * In low-memory mode nothing stays that is not leased; what it was made of goes after it. As
 * rp_entry_settle(). Needs pool.lock.
 */
bool rp_pool_settle_idle(struct rp_entry *entry);

/* The entry that answers that request, or that has that text for a key; NULL. Need pool.lock. */
struct rp_entry *rp_pool_find_request(const rp_pool *pool, const struct rp_key_parts *asked);
struct rp_entry *rp_pool_find_text(const rp_pool *pool, const char *key);

/*
 * A lease of this closed or left holder was given back: destroy the entry if it was the last and
 * is not to stay, and wake who waits for room.
 * Enters with pool.lock held, leaves without it.
 */
void rp_pool_settle_holder(rp_pool *pool, struct rp_holder *holder);

/*
 * rp_pool_get_resource() for what is in memory already: the budget must have room for it, but what
 * the device has free is what it has left beside it.
 */
rp_status rp_pool_get_present(rp_pool *pool, const rp_request *request, rp_lease **lease,
                              rp_error *err);

struct rp_reserved;

/* A lease on that room, once one of its places has it. Takes `reserved`, also on failure. */
rp_status rp_pool_lease_room_take(rp_pool *pool, const rp_request *request,
                                  struct rp_reserved *reserved, rp_lease **lease, rp_error *err);

/*
 * rp_pool_get_model() for callers that must not wait: a lease if the same was asked for before and
 * is loaded, else NULL, and nothing is counted.
 */
rp_lease *rp_pool_hit_model(rp_pool *pool, const rp_request *request);

/* Take out what is leased, and what was made of it: nobody else gets it, and it goes with its last
 * lease. What took its place under the same key stays. */
void rp_pool_retire(const rp_lease *lease);

/* Whether the file of a leased model is another one by now than when it was loaded. */
bool rp_pool_lease_is_outdated(const rp_lease *lease);

/* rp_pool_get_model() that tells whether it was a hit: no load was begun for this request. */
rp_status rp_pool_get_model_told(rp_pool *pool, const rp_request *request, rp_lease **lease,
                                 bool *is_hit, rp_error *err);

/* A lease that nobody gives back before a thread of this process, which waits for him, has got
 * what it asks this pool for. */
struct rp_pool_held {
    pid_t waiter;
    rp_lease *lease;
    bool is_stuck; /* out: the thread waits for room */
};

/* Whether none of those who wait for room will ever have it, whatever else is given back. */
bool rp_pool_find_stuck(rp_pool *pool, struct rp_pool_held *held, size_t count);

/* Whether that thread waits for room in the pool. */
bool rp_pool_waits_for_room(rp_pool *pool, pid_t thread);

/* What kind of thing is leased; 0 for a stale lease. */
rp_kind rp_pool_lease_kind(const rp_lease *lease);

/* How the bytes of what is leased were found: "engine"; NULL: unknown, or a stale lease. Static. */
const char *rp_pool_lease_method(const rp_lease *lease);

/* Call `tell` for each loaded model with its key, under pool.lock: it waits for nobody. */
void rp_pool_each_model(rp_pool *pool, void (*tell)(void *user, const char *key, rp_model *model),
                        void *user);

/*
 * Take a lease on an entry that cannot go away meanwhile, asked for by that request. `is_hit`:
 * whether it counts as one. Needs pool.lock.
 */
rp_status rp_pool_take_lease(struct rp_seat *seat, struct rp_entry *entry,
                             const struct rp_key *request, bool is_hit, rp_lease **lease,
                             rp_error *err);

#endif
