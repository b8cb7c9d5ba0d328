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

#include "pool/eviction.h"
#include "pool/key.h"
#include "pool/ledger.h"
#include "pool/seat.h"

#include <resourcepool/lease.h>
#include <resourcepool/pool.h>

/* One way in which an entry was asked for: what the request memo of the pool leads from. */
struct rp_alias {
    const struct rp_key *request; /* behind the alias; the instance itself where they are equal */
    struct rp_entry *entry;
    struct rp_alias *next_of_entry;
};

/*
 * What a constructor took from the pool: `of` needs `on`, and goes before it. Lives until `of` is
 * gone; guarded by pool.lock.
 */
struct rp_dependency {
    struct rp_entry *of;
    struct rp_entry *on;
    rp_lease
        *lease; /* the lease that it took; while good, the object holds it (or somebody later) */
    struct rp_dependency *next_of;
    struct rp_dependency *next_on;
};

enum rp_entry_state { RP_ENTRY_LOADING, RP_ENTRY_LOADED, RP_ENTRY_FAILED };

struct rp_entry {
    /* Set by rp_entry_create(), constant afterwards. The texts lie behind the entry, in its block:
     * instance, text, placement.reason. */
    rp_pool *pool;
    const struct rp_key *instance;
    const char *text;   /* the key for people */
    uint32_t text_size; /* with its NUL */
    uint32_t reason_size;
    rp_placement placement;
    int64_t created_wall_ns;

    /* Written by the load before the state becomes LOADED, constant afterwards. */
    void *object;
    rp_destructor destroy;
    rp_model *model; /* the object too, if an engine made it */
    uint64_t memory_bytes;
    const char *memory_method;
    double load_ms;
    int64_t loaded_ns; /* coarse clock */
    uint64_t revision; /* of the file it was loaded from; 0: none */
    bool is_leased;    /* somebody else keeps it, and has the account of its bytes */
    pid_t asked_by;    /* the thread that waited for its load, come what may; 0: none had to */

    /* Guarded by pool.lock. */
    struct rp_charge charge;
    struct rp_worth worth;
    struct rp_dependency *needs;     /* what its constructor took from the pool   */
    struct rp_dependency *needed_by; /* whose constructors took it                */
    struct rp_entry *chosen;         /* the next in the choice of that mark       */
    uint32_t mark;                   /* of the latest choice of victims it is in  */
    uint32_t harvest_number;         /* its place in the pool's harvest, plus one */
    uint32_t pin_count;
    uint16_t charge_device; /* in the ledger: where it is charged                */
    uint8_t state;          /* rp_entry_state */
    bool is_detached;
    rp_build *build; /* until the last pin is gone */
    struct rp_alias *aliases;
    struct rp_holder *holders;
    struct rp_entry *previous; /* all entries of the pool, oldest first */
    struct rp_entry *next;
    uint64_t retired_hits; /* of holders that are gone */
    uint64_t misses;
    int64_t used_ns; /* the latest use by holders that are gone */
};

/* An entry in the making; NULL without memory. The parts are copied. */
struct rp_entry *rp_entry_create(rp_pool *pool, const struct rp_key_parts *instance,
                                 rp_policy policy, const char *reason);

/* Call the destructor of what was loaded, if anything. Under no lock. */
void rp_entry_unmake(struct rp_entry *entry);

/* Free an entry that holds nothing any more. */
void rp_entry_destroy(struct rp_entry *entry);

/* The device its bytes are charged to: where it was put, or the CPU for what has no device. */
static inline const char *rp_entry_device(const struct rp_entry *entry) {
    return entry->placement.device ? entry->placement.device : "cpu";
}

/* The bytes of its texts, as a snapshot copies them. */
static inline size_t rp_entry_texts_size(const struct rp_entry *entry) {
    return (size_t)entry->instance->size + entry->text_size + entry->reason_size;
}

/* All below needs pool.lock. */

/* Add a way to ask for it; false without memory. */
bool rp_entry_add_alias(struct rp_entry *entry, const struct rp_key_parts *request);

/* Take it out of the tables and close its holders; rp_entry_settle() must follow. */
void rp_entry_detach(struct rp_entry *entry);

/*
 * After a heavy fence and rp_seat_wait_for_readers(): whether the detached entry is leased by
 * nobody, pinned by nobody and needed by nothing. If so it is unlinked from the pool, its bytes are
 * unloading, and the caller hands it to rp_pool_bury() after unlocking.
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

/* Note that `of` took `on` from the pool, by that lease; false without memory. */
bool rp_entry_add_dependency(struct rp_entry *of, struct rp_entry *on, rp_lease *lease);

/*
 * The entry is gone: what it needed may go too, and comes back as a list by `next` if it is due.
 */
struct rp_entry *rp_entry_drop_dependencies(struct rp_entry *entry);

/* Give up a pin. Like rp_entry_settle(), true means: destroy it after unlocking. */
bool rp_entry_unpin(struct rp_entry *entry);

#endif
