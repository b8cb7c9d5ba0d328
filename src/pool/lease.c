/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"
#include "pool/pool.h"
#include "pool/reserve.h"

#include <resourcepool/lease.h>

static rp_status tell_stale(const rp_lease *lease, rp_error *err) {
    rp_fail(err, RP_ERR_STATE, "the lease %p was given back before", (const void *)lease);
    rp_hint(err, "each lease is released once; rp_lease_clone() makes a second one");
    return RP_ERR_STATE;
}

/* Another thread's lease: its holder's own count is not ours to write, so count beside it. */
static rp_status release_elsewhere(rp_lease *lease, rp_error *err) {
    struct rp_slot *slot = rp_ticket_slot(lease);
    struct rp_seat *seat = slot->seat;
    rp_pool *pool = RP_READ(seat->pool);
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    rp_lock_acquire(&pool->lock);
    uint64_t state = rp_ticket_state(lease); /* again: two threads may release it at once */
    if (state == 0) {
        rp_lock_release(&pool->lock);
        return tell_stale(lease, err);
    }
    struct rp_holder *holder = RP_READ(slot->holder);
    RP_WRITE(slot->state, state + 1);
    slot->next = seat->returned_slots;
    seat->returned_slots = slot;
    holder->given_elsewhere++;
    rp_pool_settle_holder(pool, holder);
    return RP_OK;
}

rp_status rp_lease_release(rp_lease *lease, rp_error *err) {
    if (!lease) return RP_OK;
    uint64_t state = rp_ticket_state(lease);
    if (state == 0) return tell_stale(lease, err);
    struct rp_slot *slot = rp_ticket_slot(lease);
    struct rp_seat *seat = slot->seat;
    if (seat != rp_seat_latest) {
        rp_pool *pool = RP_READ(seat->pool);
        /* The seat of another pool of this thread, or of another thread. */
        if (rp_pool_check_process(pool, NULL) != RP_OK || rp_seat_existing(pool) != seat) {
            return release_elsewhere(lease, err);
        }
    }
    struct rp_holder *holder = RP_READ(slot->holder);
    if (rp_seat_give_back(seat, slot, state)) return RP_OK;
    rp_pool *pool = RP_READ(seat->pool);
    rp_lock_acquire(&pool->lock);
    rp_pool_settle_holder(pool, holder);
    return RP_OK;
}

/* The entry of a good lease; NULL for none and for a stale one. */
static struct rp_entry *entry_of(const rp_lease *lease) {
    if (!lease || rp_ticket_state(lease) == 0) return NULL;
    return RP_READ(rp_ticket_slot(lease)->holder)->entry;
}

rp_status rp_lease_clone(rp_lease *lease, rp_lease **clone, rp_error *err) {
    if (!lease || !clone)
        return rp_fail(err, RP_ERR_ARGUMENT, "no lease to clone, or no place for it");
    struct rp_entry *entry = entry_of(lease);
    if (!entry) return tell_stale(lease, err);
    rp_pool *pool = entry->pool;
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct rp_seat *seat = rp_seat_of(pool);
    if (!seat) return rp_fail(err, RP_ERR_MEMORY, "no memory for this thread's place in the pool");
    rp_lock_acquire(&pool->lock);
    const struct rp_key *request = RP_READ(rp_ticket_slot(lease)->holder)->request;
    status = rp_pool_take_lease(seat, entry, request, false, clone, err);
    rp_lock_release(&pool->lock);
    return status;
}

void *rp_lease_object(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry && !rp_entry_is_reservation(entry) ? entry->object : NULL;
}

rp_model *rp_lease_model(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? entry->model : NULL;
}

const char *rp_lease_key(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? entry->text : NULL;
}

const rp_placement *rp_lease_placement(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? &entry->placement : NULL;
}

uint64_t rp_lease_memory_bytes(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? entry->memory_bytes : RP_UNKNOWN_U64;
}

const char *rp_pool_lease_method(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? entry->memory_method : NULL;
}

rp_kind rp_pool_lease_kind(const rp_lease *lease) {
    const struct rp_entry *entry = entry_of(lease);
    return entry ? (rp_kind)entry->instance->kind : (rp_kind)0;
}
