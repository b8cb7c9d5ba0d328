/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seats come and go with threads and pools, whichever ends first. Both ends meet under the registry
 * lock, which is taken when a thread enters a pool for the first time, when it ends, and when a
 * pool is closed: never on the way of a request that has its seat.
 */
#include "pool/seat.h"

#include "base/memory.h"
#include "pool/pool.h"
#include "pool/waits.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

enum { HOLDERS_PER_BLOCK = 16 };

struct rp_holder_block {
    struct rp_holder holders[HOLDERS_PER_BLOCK];
    struct rp_holder_block *next;
};

_Thread_local struct rp_seat *rp_seat_latest;

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static pthread_key_t thread_end; /* its value is the thread's first seat */
static bool has_thread_end;      /* constant after `prepared` */
static _Atomic uint64_t fork_count;

static void free_seat(struct rp_seat *seat) {
    while (seat->slot_blocks) {
        struct rp_slot_block *block = seat->slot_blocks;
        seat->slot_blocks = block->next;
        rp_free(block);
    }
    while (seat->holder_blocks) {
        struct rp_holder_block *block = seat->holder_blocks;
        seat->holder_blocks = block->next;
        rp_free(block);
    }
    rp_table_fini(&seat->holders);
    rp_free(seat);
}

/* Take the dead holders out of the thread's table, so that they can serve again. */
static void clear_dead(struct rp_seat *seat) {
    while (seat->dead_holders) {
        struct rp_holder *holder = seat->dead_holders;
        seat->dead_holders = holder->next_of_seat;
        rp_table_remove(&seat->holders, holder->hash, holder);
        holder->next_of_seat = seat->free_holders;
        seat->free_holders = holder;
    }
}

/* The thread of the seat has ended: keep what is still leased, let go of the rest. */
static void vacate(struct rp_seat *seat, rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    clear_dead(seat);
    for (size_t i = 0; seat->holders.slots && i <= seat->holders.mask; i++) {
        struct rp_holder *holder = seat->holders.slots[i].value;
        if (!holder || rp_holder_lease_count(holder) > 0) continue;
        rp_entry_drop_holder(holder->entry, holder);
        rp_seat_bury(holder); /* stays in the table that is being walked until it is over */
    }
    clear_dead(seat);
    seat->is_vacant = true;
    rp_lock_release(&pool->lock);
}

static void end_of_thread(void *first_seat) {
    rp_seat_latest = NULL;
    pthread_mutex_lock(&registry);
    for (struct rp_seat *seat = first_seat, *next; seat; seat = next) {
        next = seat->next_of_thread;
        seat->next_of_thread = NULL;
        rp_pool *pool = RP_READ(seat->pool);
        if (pool) {
            vacate(seat, pool);
        } else {
            free_seat(seat);
        }
    }
    pthread_mutex_unlock(&registry);
}

static void after_fork_in_child(void) {
    atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
    rp_seat_latest = NULL;
    if (has_thread_end)
        pthread_setspecific(thread_end, NULL); /* the parent's seats stay the parent's */
    pthread_mutex_init(&registry, NULL);
    rp_waits_after_fork();
    rp_pool_after_fork();
}

static void prepare(void) {
    has_thread_end = pthread_key_create(&thread_end, end_of_thread) == 0;
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

uint64_t rp_seat_fork_count(void) {
    pthread_once(&prepared, prepare);
    return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

/* A seat that a thread left behind with nothing leased on it any more. */
static struct rp_seat *find_vacant(const rp_pool *pool) {
    for (struct rp_seat *seat = pool->seats; seat; seat = seat->next_of_pool) {
        if (seat->is_vacant && seat->live_holder_count == 0) return seat;
    }
    return NULL;
}

/* The seat of this thread in its own list; seats of pools that were closed are freed on the way. */
static struct rp_seat *find_own(const rp_pool *pool) {
    struct rp_seat *first = pthread_getspecific(thread_end);
    struct rp_seat **at = &first;
    struct rp_seat *found = NULL;
    while (*at) {
        struct rp_seat *seat = *at;
        rp_pool *of = RP_READ(seat->pool);
        if (!of) {
            *at = seat->next_of_thread;
            free_seat(seat);
            continue;
        }
        if (of == pool) found = seat;
        at = &seat->next_of_thread;
    }
    pthread_setspecific(thread_end, first);
    return found;
}

struct rp_seat *rp_seat_existing(rp_pool *pool) {
    struct rp_seat *seat = rp_seat_latest;
    if (seat && RP_READ(seat->pool) == pool) return seat;
    if (!has_thread_end) return NULL;
    pthread_mutex_lock(&registry);
    rp_seat_latest = NULL; /* it may be one of those that are freed now */
    seat = find_own(pool);
    pthread_mutex_unlock(&registry);
    rp_seat_latest = seat;
    return seat;
}

/* A seat for this thread: one that was left behind, or a new one. */
static struct rp_seat *take_seat(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    struct rp_seat *seat = find_vacant(pool);
    if (seat) {
        seat->is_vacant = false;
    } else {
        seat = rp_alloc_aligned(alignof(struct rp_seat), sizeof *seat);
        if (seat) {
            RP_WRITE(seat->pool, pool);
            seat->next_of_pool = pool->seats;
            pool->seats = seat;
        }
    }
    if (seat) seat->thread_id = gettid();
    rp_lock_release(&pool->lock);
    return seat;
}

struct rp_seat *rp_seat_of(rp_pool *pool) {
    struct rp_seat *seat = rp_seat_existing(pool);
    if (seat || !has_thread_end) return seat; /* no key was left for us: as good as no memory */
    pthread_mutex_lock(&registry);
    seat = take_seat(pool);
    if (seat) {
        seat->next_of_thread = pthread_getspecific(thread_end);
        pthread_setspecific(thread_end, seat);
    }
    pthread_mutex_unlock(&registry);
    rp_seat_latest = seat;
    return seat;
}

bool rp_seat_reserve_slot(struct rp_seat *seat) {
    if (seat->free_slots) return true;
    seat->free_slots = seat->returned_slots;
    seat->returned_slots = NULL;
    if (seat->free_slots) return true;
    struct rp_slot_block *block = rp_alloc_aligned(alignof(struct rp_slot), sizeof *block);
    if (!block) return false;
    block->next = seat->slot_blocks;
    seat->slot_blocks = block;
    for (size_t i = RP_SLOTS_PER_BLOCK; i-- > 0;) {
        block->slots[i].seat = seat;
        block->slots[i].next = seat->free_slots;
        seat->free_slots = &block->slots[i];
    }
    return true;
}

static struct rp_holder *free_holder(struct rp_seat *seat) {
    clear_dead(seat);
    if (!seat->free_holders) {
        struct rp_holder_block *block = rp_alloc_aligned(alignof(struct rp_holder), sizeof *block);
        if (!block) return NULL;
        block->next = seat->holder_blocks;
        seat->holder_blocks = block;
        for (size_t i = HOLDERS_PER_BLOCK; i-- > 0;) {
            block->holders[i].seat = seat;
            block->holders[i].next_of_seat = seat->free_holders;
            seat->free_holders = &block->holders[i];
        }
    }
    struct rp_holder *holder = seat->free_holders;
    seat->free_holders = holder->next_of_seat;
    return holder;
}

struct rp_holder *rp_seat_add_holder(struct rp_seat *seat, struct rp_entry *entry,
                                     const struct rp_key *request) {
    assert(rp_lock_is_held(&entry->pool->lock));
    if (!rp_table_reserve(&seat->holders)) return NULL;
    struct rp_holder *holder = free_holder(seat);
    if (!holder) return NULL;
    holder->entry = entry;
    holder->request = request;
    holder->hash = request->hash;
    holder->given_elsewhere = 0;
    holder->oldest_ns = INT64_MAX;
    holder->not_hits = 0;
    RP_WRITE(holder->taken, 0);
    RP_WRITE(holder->given, 0);
    RP_WRITE(holder->last_ns, 0);
    RP_WRITE(holder->is_open, 1);
    rp_table_insert(&seat->holders, holder->hash, holder);
    seat->live_holder_count++;
    return holder;
}

void rp_seat_bury(struct rp_holder *holder) {
    struct rp_seat *seat = holder->seat;
    RP_WRITE(holder->is_open, 0);
    holder->entry = NULL;
    holder->next_of_seat = seat->dead_holders;
    seat->dead_holders = holder;
    seat->live_holder_count--;
    if (seat->is_vacant) clear_dead(seat); /* no thread is looking into that table */
}

void rp_seat_wait_for_readers(const rp_pool *pool) {
    for (struct rp_seat *seat = pool->seats; seat; seat = seat->next_of_pool) {
        uint64_t epoch = atomic_load_explicit(&seat->epoch, memory_order_acquire);
        /* A reader is gone within nanoseconds, unless it was preempted: let it run then. */
        while ((epoch & 1) != 0 &&
               atomic_load_explicit(&seat->epoch, memory_order_acquire) == epoch) {
            RP_POINT("close: waits for a reader");
            sched_yield();
        }
    }
}

uint64_t rp_holder_lease_count(const struct rp_holder *holder) {
    /* Given before taken: a lease that comes and goes in between is not seen as one below zero. */
    uint64_t given = atomic_load_explicit(&holder->given, memory_order_acquire);
    uint64_t taken = atomic_load_explicit(&holder->taken, memory_order_relaxed);
    return taken - given - holder->given_elsewhere;
}

void rp_seat_close_all(rp_pool *pool) {
    pthread_mutex_lock(&registry);
    struct rp_seat *seat = pool->seats;
    pool->seats = NULL;
    while (seat) {
        struct rp_seat *next = seat->next_of_pool;
        if (seat->is_vacant) {
            free_seat(seat);
        } else {
            RP_WRITE(seat->pool, NULL); /* its thread frees it */
        }
        seat = next;
    }
    rp_seat_latest = NULL;
    if (has_thread_end) find_own(NULL); /* this thread does so at once */
    pthread_mutex_unlock(&registry);
}
