/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/event.h"

#include "base/clock.h"
#include "pool/pool.h"

#include <string.h>

const char *rp_event_name(rp_event_kind kind) {
    switch (kind) {
#define CASE(constant, number, name, text)                                                         \
    case RP_EVENT_##constant:                                                                      \
        return name;
        RP_EVENT_MAP(CASE)
#undef CASE
    }
    return NULL;
}

void rp_event_write(struct rp_event_ring *ring, rp_event *event) {
    uint64_t number = atomic_fetch_add_explicit(&ring->count, 1, memory_order_relaxed) + 1;
    event->number = number;
    event->at_ns = rp_clock_coarse_ns();
    struct rp_event_slot *slot = &ring->slots[number % RP_EVENT_KEPT];
    uint64_t before = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    /* Somebody is in there, or a later event already is: this one is lost. */
    if ((before & 1) != 0 || before > 2 * number) return;
    if (!atomic_compare_exchange_strong_explicit(&slot->sequence, &before, 2 * number - 1,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        return;
    }
    uint64_t words[RP_EVENT_WORDS];
    memcpy(words, event, sizeof words);
    for (size_t i = 0; i < RP_EVENT_WORDS; i++) {
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    }
    atomic_store_explicit(&slot->sequence, 2 * number, memory_order_release);
}

/* Copy the event of that number out of its place; false when it is not whole there. */
static bool copy_out(struct rp_event_ring *ring, uint64_t number, rp_event *event) {
    struct rp_event_slot *slot = &ring->slots[number % RP_EVENT_KEPT];
    if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != 2 * number) return false;
    uint64_t words[RP_EVENT_WORDS];
    for (size_t i = 0; i < RP_EVENT_WORDS; i++) {
        words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    }
    if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != 2 * number) return false;
    memcpy(event, words, sizeof *event);
    return true;
}

uint64_t rp_event_read(struct rp_event_ring *ring, uint64_t *cursor, rp_event_reader reader,
                       void *user) {
    uint64_t last = atomic_load_explicit(&ring->count, memory_order_acquire);
    uint64_t lost = 0;
    uint64_t next = *cursor + 1;
    if (last >= RP_EVENT_KEPT && next <= last - RP_EVENT_KEPT) {
        lost += last - RP_EVENT_KEPT + 1 - next;
        next = last - RP_EVENT_KEPT + 1;
    }
    for (; next <= last; next++) {
        rp_event event;
        if (copy_out(ring, next, &event)) {
            if (reader) reader(&event, user);
        } else {
            lost++;
        }
    }
    *cursor = last > *cursor ? last : *cursor;
    return lost;
}

static void copy_text(char *out, size_t size, const char *text) {
    if (!text) return;
    size_t length = strnlen(text, size - 1);
    memcpy(out, text, length);
}

void rp_event_tell(struct rp_event_ring *ring, rp_event_kind kind, const char *key,
                   const char *device, uint64_t bytes, uint64_t other_bytes, double ms) {
    rp_event event = {.kind = kind, .bytes = bytes, .other_bytes = other_bytes, .ms = ms};
    copy_text(event.key, sizeof event.key, key);
    copy_text(event.device, sizeof event.device, device);
    rp_event_write(ring, &event);
}

uint64_t rp_pool_read_events(rp_pool *pool, uint64_t *cursor, rp_event_reader reader, void *user) {
    if (!pool || !cursor || rp_pool_check_process(pool, NULL) != RP_OK) return 0;
    return rp_event_read(&pool->events, cursor, reader, user);
}
