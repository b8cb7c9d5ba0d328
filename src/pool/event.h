/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of events: any thread writes without a lock and never waits; a reader takes what is
 * whole. A place is claimed by making its sequence odd; a writer that finds another one still
 * writing there, a whole round behind, drops its event and counts it.
 */
#ifndef RP_POOL_EVENT_H
#define RP_POOL_EVENT_H

#include <resourcepool/event.h>
#include <stdatomic.h>
#include <stddef.h>

enum { RP_EVENT_WORDS = sizeof(rp_event) / sizeof(uint64_t) };
_Static_assert(sizeof(rp_event) % sizeof(uint64_t) == 0, "copied word by word");

struct rp_event_slot {
    _Atomic uint64_t sequence; /* 2 * number when whole, odd while it is written */
    _Atomic uint64_t words[RP_EVENT_WORDS];
};

struct rp_event_ring {
    _Atomic uint64_t count; /* events so far */
    struct rp_event_slot slots[RP_EVENT_KEPT];
};

/* Write one; number and at_ns are filled in here. */
void rp_event_write(struct rp_event_ring *ring, rp_event *event);

/* As rp_pool_read_events(). */
uint64_t rp_event_read(struct rp_event_ring *ring, uint64_t *cursor, rp_event_reader reader,
                       void *user);

/* Write an event of that kind. key and device may be NULL. */
void rp_event_tell(struct rp_event_ring *ring, rp_event_kind kind, const char *key,
                   const char *device, uint64_t bytes, uint64_t other_bytes, double ms);

#endif
