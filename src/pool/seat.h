/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A seat: one thread's place in one pool, and with it the fast path.
 *
 * The first time a thread gets a lease on an entry it asks under the pool's lock, and receives a
 * *holder*: its standing right to lease that entry without asking. From then on it finds the
 * holder in a table of its own, and counts leases in it with plain stores, since nobody else
 * writes there. So a hit shares no cache line with any other thread.
 *
 * The other side pays: whoever wants to know whether an entry is leased closes its holders, makes
 * sure that every thread saw that (rp_seat_wait_for_readers()), and adds up their counts.
 *
 *     hit:      epoch odd | fence | holder open? | taken + 1        | epoch even
 *     release:                                     given + 1 | fence | holder closed? -> slow path
 *     closing:  holders closed | heavy fence | wait while a seat's epoch is odd | add up the counts
 *
 * Either the hit sees the closed holder, or the closer sees its count; likewise for a release, so
 * that exactly one of them finds out that the last lease is gone.
 *
 * Memory: holders and lease slots live in their seat, and seats live until the pool is closed (a
 * seat whose thread ended is given to the next thread), so a stale ticket never points nowhere.
 */
#ifndef RP_POOL_SEAT_H
#define RP_POOL_SEAT_H

#include "base/clock.h"
#include "base/fence.h"
#include "base/table.h"
#include "pool/key.h"
#include "pool/schedule.h"

#include <resourcepool/lease.h>
#include <resourcepool/pool.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/types.h>

struct rp_entry;

/* A value that one thread writes and any may read. */
#define RP_READ(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define RP_WRITE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

struct rp_holder {
    alignas(64) _Atomic uint32_t is_open; /* cleared under pool.lock, set before it is published */
    struct rp_seat *seat;                 /* constant                                            */
    struct rp_entry *entry;               /* guarded by pool.lock; readable while open or leased */
    const struct rp_key *request;         /* what was asked for; valid while open                */
    _Atomic uint64_t taken;               /* leases taken; written by the seat's thread          */
    _Atomic uint64_t given;               /* leases given back by the seat's thread; pairs with
                                             the fence in rp_entry_is_leased()                   */
    _Atomic int64_t last_ns;              /* coarse clock of the last lease taken                */
    uint64_t hash;                        /* of the request                                      */

    uint64_t given_elsewhere; /* leases given back by other threads; guarded by pool.lock       */
    uint64_t not_hits;        /* of taken: those of misses and clones; guarded by pool.lock     */
    int64_t oldest_ns;        /* of its leases, while statistics are taken; guarded by pool.lock */
    struct rp_holder *next_of_entry; /* guarded by pool.lock                                    */
    struct rp_holder *next_of_seat;  /* the seat's dead or free ones; guarded by pool.lock      */
};

/* What a rp_lease * points to, but for the low bits, which carry a part of the generation. */
struct rp_slot {
    alignas(64) struct rp_seat *seat;   /* constant                                            */
    _Atomic(struct rp_holder *) holder; /* while held                                          */
    _Atomic int64_t since_ns;           /* coarse clock                                        */
    _Atomic uint64_t state;             /* odd: held; grows by one at each change              */
    struct rp_slot *next;               /* free list; the thread's, or guarded by pool.lock    */
};

enum { RP_SLOTS_PER_BLOCK = 32, RP_MEMO_COUNT = 256, RP_TICKET_TAGS = 64 };

struct rp_slot_block {
    struct rp_slot slots[RP_SLOTS_PER_BLOCK];
    struct rp_slot_block *next;
};

struct rp_seat {
    /* The thread's own. */
    alignas(64) _Atomic uint64_t epoch; /* odd while the thread looks at holders               */
    _Atomic(rp_pool *) pool;            /* NULL once the pool is closed                        */
    struct rp_slot *free_slots;
    struct rp_table holders; /* hash of the request -> struct rp_holder *           */
    uint32_t building_count; /* constructors of this pool that run on the thread: what they take
                                is recorded, and so no hit                          */
    struct rp_seat *next_of_thread;
    struct rp_holder *memo[RP_MEMO_COUNT]; /* by address of the request's name             */

    /* Guarded by pool.lock. */
    struct rp_seat *next_of_pool;
    struct rp_slot *returned_slots;    /* given back by other threads                         */
    struct rp_holder *dead_holders;    /* their entries are gone, the thread's table has them yet */
    struct rp_holder *free_holders;    /* not in the table any more                           */
    struct rp_slot_block *slot_blocks; /* all of them, for statistics                         */
    struct rp_holder_block *holder_blocks;
    pid_t thread_id;
    uint32_t live_holder_count; /* holders that belong to an entry                     */
    bool is_vacant;             /* its thread has ended                                */
};

/* The seat that this thread used last. initial-exec: one instruction, and 8 bytes of static TLS. */
extern _Thread_local struct rp_seat *rp_seat_latest __attribute__((tls_model("initial-exec")));

static inline size_t rp_seat_memo_index(const char *name, const char *type) {
    uint64_t mixed = ((uintptr_t)name ^ (uintptr_t)type << 7) * UINT64_C(0x9E3779B97F4A7C15);
    return mixed >> 56;
}
_Static_assert(RP_MEMO_COUNT == 256, "the index is the top eight bits");

/* The ticket of a slot that is held, and back. */
static inline rp_lease *rp_slot_ticket(struct rp_slot *slot, uint64_t state) {
    return (rp_lease *)((uintptr_t)slot | (state >> 1 & (RP_TICKET_TAGS - 1)));
}
static inline struct rp_slot *rp_ticket_slot(const rp_lease *lease) {
    return (struct rp_slot *)((uintptr_t)lease & ~(uintptr_t)(RP_TICKET_TAGS - 1));
}
_Static_assert(alignof(struct rp_slot) == RP_TICKET_TAGS, "the tag lives in the alignment");

/* The state of the slot if the ticket is good, else 0. */
static inline uint64_t rp_ticket_state(const rp_lease *lease) {
    uint64_t state = RP_READ(rp_ticket_slot(lease)->state);
    bool is_good = (state & 1) != 0 &&
                   ((uintptr_t)lease & (RP_TICKET_TAGS - 1)) == (state >> 1 & (RP_TICKET_TAGS - 1));
    return is_good ? state : 0;
}

/* Take one lease of a holder for a slot: by the seat's thread, inside its epoch or under pool.lock.
 */
static inline rp_lease *rp_holder_take(struct rp_holder *holder, struct rp_slot *slot) {
    int64_t now_ns = rp_clock_coarse_ns();
    uint64_t state = RP_READ(slot->state) + 1;
    RP_WRITE(slot->holder, holder);
    RP_WRITE(slot->since_ns, now_ns);
    RP_WRITE(slot->state, state);
    RP_WRITE(holder->last_ns, now_ns);
    RP_WRITE(holder->taken, RP_READ(holder->taken) + 1);
    return rp_slot_ticket(slot, state);
}

static inline void rp_seat_enter(struct rp_seat *seat) {
    RP_WRITE(seat->epoch, RP_READ(seat->epoch) + 1);
    rp_fence_light();
}

static inline void rp_seat_leave(struct rp_seat *seat) {
    atomic_store_explicit(&seat->epoch, RP_READ(seat->epoch) + 1, memory_order_release);
}

/* The holder in the thread's table that answers these parts, if it is open. Inside the epoch. */
static inline struct rp_holder *rp_seat_find(struct rp_seat *seat,
                                             const struct rp_key_parts *parts) {
    struct rp_table_probe at = rp_table_find(&seat->holders, rp_key_hash(parts));
    for (; at.value; at = rp_table_find_next(&seat->holders, at)) {
        struct rp_holder *holder = at.value;
        if (atomic_load_explicit(&holder->is_open, memory_order_acquire) &&
            rp_key_equals(holder->request, parts)) {
            return holder;
        }
    }
    return NULL;
}

/*
 * The holder that this thread used last for a name at this address, if it answers these parts. The
 * address only says where to look; the texts are compared.
 */
static inline struct rp_holder *rp_seat_recall(struct rp_holder *const *memo,
                                               const struct rp_key_parts *parts) {
    struct rp_holder *holder = *memo;
    if (!holder || !atomic_load_explicit(&holder->is_open, memory_order_acquire)) return NULL;
    return rp_key_equals(holder->request, parts) ? holder : NULL;
}

/* The whole of a hit: a ticket, or NULL when the slow path has to decide. */
static inline rp_lease *rp_seat_hit(rp_pool *pool, const struct rp_key_parts *parts) {
    struct rp_seat *seat = rp_seat_latest;
    if (!seat || RP_READ(seat->pool) != pool || !seat->free_slots) return NULL;
    if (seat->building_count > 0) return NULL;
    rp_lease *lease = NULL;
    rp_seat_enter(seat);
    struct rp_holder **memo = &seat->memo[rp_seat_memo_index(parts->name, parts->type)];
    struct rp_holder *holder = rp_seat_recall(memo, parts);
    if (!holder) {
        holder = rp_seat_find(seat, parts);
        if (holder) *memo = holder;
    }
    if (holder) {
        RP_POINT("hit: seen open");
        struct rp_slot *slot = seat->free_slots;
        seat->free_slots = slot->next;
        lease = rp_holder_take(holder, slot);
    }
    rp_seat_leave(seat);
    return lease;
}

/*
 * Give back a lease that this thread's seat gave out, and say whether that was all: false when the
 * holder has been closed meanwhile, and somebody must look, under the lock, whether it was the
 * last.
 */
static inline bool rp_seat_give_back(struct rp_seat *seat, struct rp_slot *slot, uint64_t state) {
    struct rp_holder *holder = RP_READ(slot->holder);
    RP_POINT("release: begun");
    RP_WRITE(slot->state, state + 1);
    slot->next = seat->free_slots;
    seat->free_slots = slot;
    atomic_store_explicit(&holder->given, RP_READ(holder->given) + 1, memory_order_release);
    RP_POINT("release: given");
    rp_fence_light();
    return atomic_load_explicit(&holder->is_open, memory_order_relaxed) != 0;
}

/* This thread's seat in the pool, made if need be; NULL without memory. Takes pool.lock. */
struct rp_seat *rp_seat_of(rp_pool *pool);

/* This thread's seat in the pool if it has one. */
struct rp_seat *rp_seat_existing(rp_pool *pool);

/* Make sure that the seat has a free slot; false without memory. Needs pool.lock. */
bool rp_seat_reserve_slot(struct rp_seat *seat);

/*
 * A holder for that entry, open, in the thread's table and counted as live; NULL without memory.
 * The caller links it into its entry. Needs pool.lock.
 */
struct rp_holder *rp_seat_add_holder(struct rp_seat *seat, struct rp_entry *entry,
                                     const struct rp_key *request);

/* The entry of the holder is gone: keep the holder until its thread has taken it out of its table.
 */
void rp_seat_bury(struct rp_holder *holder);

/* After closing holders: wait until no thread looks at one that it saw open. Needs pool.lock. */
void rp_seat_wait_for_readers(const rp_pool *pool);

/* Leases of this holder that are out. Exact once the holder is closed; needs pool.lock. */
uint64_t rp_holder_lease_count(const struct rp_holder *holder);

/* The pool closes: its seats are freed, or left to their threads to free. Takes no pool.lock. */
void rp_seat_close_all(rp_pool *pool);

/* A number that changes with every fork() on the way to the child. */
uint64_t rp_seat_fork_count(void);

#endif
