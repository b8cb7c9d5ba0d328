/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room that is reserved for what the pool does not load: an entry like any other, so that the
 * ledger, the queue and the leases are the same, but
 *
 *     - it has a number in its key, so that no two requests meet in one
 *     - nothing is loaded: once it is admitted it is there, in no table, and goes with its lease
 *     - it is no object and no request: only its leases and its bytes are told
 *     - it may have several places, and takes the first that has room, also while it waits
 *
 * Where the machine shares, the room is the broker's, and the entry here stands for it.
 */
#ifndef RP_POOL_RESERVE_H
#define RP_POOL_RESERVE_H

#include "base/limits.h"
#include "pool/entry.h"
#include "pool/hooks.h"

/* A device that would do. */
struct rp_place {
    char id[RP_LIMIT_DEVICE_BYTES];
    uint64_t limit_bytes;
    uint64_t room_bytes; /* as it was when it was asked for, to begin with the best */
    uint16_t index;      /* in the ledger, once the entry is there */
};

/* One reservation: what its entry has for an object. */
struct rp_reserved {
    char device[RP_LIMIT_DEVICE_BYTES]; /* where it is, or is tried; guarded by pool.lock */
    uint64_t bytes;
    rp_policy policy;
    char reason[RP_ROOM_REASON_BYTES]; /* why it is there, for people */
    void *remote;                      /* the broker's part; NULL: this pool has the account */
    void (*give_back)(void *remote);
    size_t place_count;
    struct rp_place places[];
};

/* Give back the broker's part and free it. Accepts NULL. */
void rp_reserved_destroy(void *reserved);

static inline bool rp_entry_is_reservation(const struct rp_entry *entry) {
    return entry->instance->kind == RP_KIND_RESERVATION;
}

#endif
