/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry: the pool's record of one instance, from the start of its load to its destructor.
 *
 *     loading --> loaded --> (detached: in no table, still leased) --> gone
 *        \--> failed --------------------------------------------------^
 *
 * It is destroyed when it is detached, not leased and not pinned. A pin is held by whoever looks at
 * it without a lease: the caller that loads it and those that wait for it.
 */
#ifndef RP_POOL_ENTRY_H
#define RP_POOL_ENTRY_H

#include "pool/key.h"
#include "pool/seat.h"

#include <resourcepool/lease.h>
#include <resourcepool/pool.h>

/* One way in which an entry was asked for: what the request memo of the pool leads from. */
struct rp_alias {
    struct rp_key *request;
    struct rp_entry *entry;
    struct rp_alias *next_of_entry;
};

enum rp_entry_state { RP_ENTRY_LOADING, RP_ENTRY_LOADED, RP_ENTRY_FAILED };

struct rp_entry {
    /* Set by rp_entry_create(), constant afterwards. */
    rp_pool *pool;
    struct rp_key *instance;
    char *text; /* the key for people */
    rp_placement placement;
    char *reason;
    int64_t created_wall_ns;

    /* Written by the load before the state becomes LOADED, constant afterwards. */
    void *object;
    rp_destructor destroy;
    rp_model *model; /* the object too, if an engine made it */
    uint64_t memory_bytes;
    const char *memory_method;
    double load_ms;

    /* Guarded by pool.lock. */
    enum rp_entry_state state;
    bool is_detached;
    uint32_t pin_count;
    rp_build *build; /* until the last pin is gone */
    struct rp_alias *aliases;
    struct rp_holder *holders;
    struct rp_entry *previous; /* all entries of the pool, oldest first */
    struct rp_entry *next;
    uint64_t retired_hits; /* of holders that are gone */
    uint64_t misses;
    int64_t used_ns; /* the latest use by holders that are gone */

    /* Guarded by the lock of the waits: for the search for cycles. */
    uint64_t walk_number;
    struct rp_entry *walk_from;
    struct rp_entry *walk_next;
};

/* An entry in the making; NULL without memory. The parts are copied. */
struct rp_entry *rp_entry_create(rp_pool *pool, const struct rp_key_parts *instance,
                                 rp_policy policy, const char *reason);

/* Call the destructor of what was loaded, if anything, and free the entry. Under no lock. */
void rp_entry_destroy(struct rp_entry *entry);

/* All below needs pool.lock. */

/* Add a way to ask for it; false without memory. */
bool rp_entry_add_alias(struct rp_entry *entry, const struct rp_key_parts *request);

/* Take it out of the tables and close its holders; rp_entry_settle() must follow. */
void rp_entry_detach(struct rp_entry *entry);

/*
 * After a heavy fence and rp_seat_wait_for_readers(): whether the detached entry is leased by
 * nobody and pinned by nobody. If so it is unlinked from the pool, and the caller destroys it after
 * unlocking.
 */
bool rp_entry_settle(struct rp_entry *entry);

/* Leases that are out. Exact once the holders are closed and readers were waited for. */
uint64_t rp_entry_lease_count(const struct rp_entry *entry);

/* Hits so far, from those of its holders. */
uint64_t rp_entry_hits(const struct rp_entry *entry);

/* When it was last asked for, on the coarse clock. */
int64_t rp_entry_last_ns(const struct rp_entry *entry);

/* Take a holder out of its entry's list, keeping its figures. */
void rp_entry_drop_holder(struct rp_entry *entry, struct rp_holder *holder);

/* Give up a pin. Like rp_entry_settle(), true means: destroy it after unlocking. */
bool rp_entry_unpin(struct rp_entry *entry);

#endif
