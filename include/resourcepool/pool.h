/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The pool: ask for a resource, get a lease on it, loaded once however many ask.
 *
 * Every function here may be called from any thread. A hit takes no lock, allocates nothing and
 * does not slow down when threads are added. Nothing is locked while anything loads.
 *
 * After fork() a pool stays the parent's: in the child every call on it fails with RP_ERR_FORKED
 * (rp_pool_default() opens a new one there).
 */
#ifndef RESOURCEPOOL_POOL_H
#define RESOURCEPOOL_POOL_H

#include <resourcepool/api.h>
#include <resourcepool/event.h>
#include <resourcepool/lease.h>
#include <resourcepool/ledger.h>
#include <resourcepool/log.h>
#include <resourcepool/pressure.h>
#include <resourcepool/request.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rp_pool rp_pool;

/**
 * What the program's own allocators keep of freed memory may go back: objects were destroyed (once
 * for all of a batch), or memory is short though nothing was. Called under no lock, on the thread
 * that destroyed them or looked at the memory; may use the pool.
 */
typedef void (*rp_freed_callback)(bool is_short, void *user);

/** Who holds what is loaded. */
typedef enum rp_share {
    RP_SHARE_DEFAULT = 0, /* RESOURCE_POOL_SHARE decides ("process", "machine"); else the process */
    RP_SHARE_PROCESS = 1, /* this process, for itself                                             */
    RP_SHARE_MACHINE = 2, /* the user's broker, for all processes: models that engines load from
                             files; what constructors make stays in the process                 */
} rp_share;

/** Options of a pool; zero means default. Start from RP_POOL_OPTIONS_INIT. */
typedef struct rp_pool_options {
    size_t size;            /* sizeof(rp_pool_options)                                       */
    rp_log_sink log_sink;   /* NULL: RESOURCE_POOL_LOG decides, silent without it            */
    rp_log_level log_level; /* what the sink gets                                            */
    void *log_user;         /* given to the sink                                             */
    const char *budget;     /* "2GiB" for all devices together, or "cpu=8GiB,cuda:0=20GiB,
                               all=24GiB"; NULL: RESOURCE_POOL_BUDGET, else what the devices have */
    const char *history;    /* the file that remembers what loads took; "off": none; NULL:
                               RESOURCE_POOL_HISTORY, else in the user's cache folder        */
    int64_t idle_expiry_ms; /* objects that nobody used for so long are taken out; 0: never   */
    bool low_memory;        /* begin in low-memory mode (or RESOURCE_POOL_LOW_MEMORY=1)       */
    bool monitor;           /* a thread watches memory pressure; else loads look now and then */
    rp_pressure_callback on_pressure; /* told of each change of step; NULL                    */
    void *pressure_user;              /* given to it                                          */
    rp_share share;                   /* without a broker the pool is the process's own       */
    rp_freed_callback on_freed;       /* after objects were destroyed; NULL                   */
    void *freed_user;                 /* given to it                                          */
} rp_pool_options;

/* clang-format off */
#define RP_POOL_OPTIONS_INIT {sizeof(rp_pool_options), 0, RP_LOG_OFF, 0, 0, 0, 0, false, false, 0, 0, RP_SHARE_DEFAULT, 0, 0}
/* clang-format on */

/** Room that is asked for. Zero and NULL mean the default; start from RP_RESERVATION_INIT. */
typedef struct rp_reservation {
    size_t size;           /* sizeof(rp_reservation): lets the struct grow                       */
    const char *device;    /* "cpu", "cuda:1"; a kind ("cuda"): the one with room; required      */
    uint64_t memory_bytes; /* required                                                           */
    const char *name;      /* what for, for people; NULL: the process                            */
    int64_t timeout_ms;    /* how long to wait at most; 0: as long as it takes                   */
    rp_cancel *cancel;     /* NULL: cannot be called off                                         */
    rp_build *within;      /* the load on whose behalf another thread of its constructor asks    */
} rp_reservation;

/* clang-format off */
#define RP_RESERVATION_INIT {sizeof(rp_reservation), 0, 0, 0, 0, 0, 0}
/* clang-format on */

/** Whether something was seen to be so. */
typedef enum rp_seen {
    RP_SEEN_UNKNOWN = 0, /* nobody could look                 */
    RP_SEEN_NO = 1,      /* somebody looked, and it was not   */
    RP_SEEN_YES = 2,
} rp_seen;

/** What was taken out by a clean-up, an eviction or rp_pool_clear(). */
typedef struct rp_cleared {
    uint64_t removed_count; /* objects destroyed                                              */
    uint64_t removed_bytes; /* their bytes, as far as they are known                          */
    uint64_t leased_count;  /* objects that go with their last lease                          */
    uint64_t loading_count; /* objects in the making, which were left alone                   */
    uint64_t freed_bytes;   /* of removed_bytes, those seen to be back, or never seen to come */
    rp_seen verified;       /* a broker's: every process that held one of them is gone        */
} rp_cleared;

RP_BEGIN_DECLS

/**
 * Open a pool. NULL options mean the defaults. The caller's: rp_pool_close().
 * Takes well under a millisecond: hardware and engines are looked at when first needed.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_open(const rp_pool_options *options, rp_pool **pool,
                                            rp_error *err);

/**
 * Clear the pool and close it. NULL is accepted.
 *
 * RP_ERR_BUSY: leases are out or constructors run; the message says which and whose. The pool then
 * stays open, empty but for those. No other thread may be inside a call on the pool.
 */
RP_API rp_status rp_pool_close(rp_pool *pool, rp_error *err);

/** The one default pool of the process, opened on first use. Borrowed; may be closed like any. */
RP_API RP_MUST_CHECK rp_status rp_pool_default(rp_pool **pool, rp_error *err);

/**
 * Borrow a model, loading it first if nobody has it yet. The same for all three names: they differ
 * in the name space (a tokenizer is no model) and in that only a model has a device.
 *
 * request  borrowed for the call, and so is all it points to.
 * lease    on RP_OK owns one lease: rp_lease_release().
 *
 * An instance is what it is: kind, type, name, resolved device, precision, engine, threads. Two
 * requests that resolve to the same get the same object. One caller makes it, the others wait:
 * each up to its own deadline, and other instances go on meanwhile. A failed load is not kept;
 * every waiter gets its story, and the next request tries anew. (One that found no memory is not
 * tried again for 5 s, unless something was loaded or freed meanwhile.)
 *
 * Before it loads, room is made: bytes are estimated (request.memory_bytes, what an earlier load
 * took, the engine's figure, the file's size), idle objects are taken out if the budget or the
 * device is short, cheapest set first, and when leases are in the way the request waits in a fair
 * queue. An object that is leased, or that a leased one was made of, is never taken out. Out of
 * memory all the same: what is idle is freed and the load tried once more, then on
 * request.devices, then in request.precisions; rp_placement.reason tells the steps.
 *
 * A deadline bounds the wait for somebody else's load and an engine's load. A constructor of the
 * caller's own runs on its thread and to its end (rp_build_is_cancelled() lets it stop); an object
 * that is ready too late is kept, and the answer is RP_ERR_TIMEOUT.
 *
 * RP_ERR_ARGUMENT, RP_ERR_LIMIT: the request; nothing was looked up or counted.
 * RP_ERR_CAPACITY: it could never fit, or there was no room within timeout_ms; without a deadline,
 * only when nobody but those who wait could make room. The message has need, room and holders.
 * RP_ERR_NOT_FOUND: the file is not there, or nothing is loaded and there is nothing to load it
 * with. RP_ERR_ABSENT: the device or the engine's library is not on this machine. RP_ERR_CYCLE: the
 * constructor that asks is needed by what it asks for; the message has the circle. RP_ERR_TIMEOUT,
 * RP_ERR_CANCELLED, RP_ERR_MEMORY, and whatever the constructor answered.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_get_model(rp_pool *pool, const rp_request *request,
                                                 rp_lease **lease, rp_error *err);

/** Borrow a tokenizer; needs a constructor the first time. See rp_pool_get_model(). */
RP_API RP_MUST_CHECK rp_status rp_pool_get_tokenizer(rp_pool *pool, const rp_request *request,
                                                     rp_lease **lease, rp_error *err);

/** Borrow anything else: a library, a data set. See rp_pool_get_model(). */
RP_API RP_MUST_CHECK rp_status rp_pool_get_resource(rp_pool *pool, const rp_request *request,
                                                    rp_lease **lease, rp_error *err);

/**
 * Reserve room for what the pool does not load itself: the bytes are taken out of the device's
 * account until the lease is released, in every process where the pool shares. Nothing is
 * allocated, nothing is shared: each call gets room of its own.
 *
 * Room is made and waited for as for a load, in the same queue. What is reserved counts against
 * budgets; what the device has free is looked at once, when the room is given.
 *
 * request  borrowed for the call, and so is all it points to.
 * lease    on RP_OK owns one lease, without an object; its placement has the device. A process
 *          that ends gives its room back; of a broker that ends nobody takes it over.
 *
 * RP_ERR_ARGUMENT, RP_ERR_LIMIT: the request. RP_ERR_ABSENT: this machine has no such device, or it
 * cannot be used. RP_ERR_CAPACITY: it could never fit. RP_ERR_CYCLE: it could, but only if threads
 * gave back what they hold that themselves wait for room without a deadline, in this process or
 * another; the last one to ask is told. RP_ERR_TIMEOUT, RP_ERR_CANCELLED, RP_ERR_MEMORY.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_reserve(rp_pool *pool, const rp_reservation *request,
                                               rp_lease **lease, rp_error *err);

/**
 * Destroy every object that is not leased; those that are go with their last lease, and a new
 * request for one of them makes a fresh one. `cleared` may be NULL; it is filled in either way.
 *
 * RP_ERR_BUSY: done as far as it goes, and the message names the leases that are still out.
 */
RP_API rp_status rp_pool_clear(rp_pool *pool, rp_cleared *cleared, rp_error *err);

/**
 * Take out what nobody has used for at least `max_age_ms`, on the monotonic clock: leased objects
 * stay, and what a younger one was made of. An object in regular use stays until it has missed two
 * of its usual intervals, but no longer than four times the age. `cleared` may be NULL.
 */
RP_API rp_status rp_pool_cleanup_unused(rp_pool *pool, int64_t max_age_ms, rp_cleared *cleared,
                                        rp_error *err);

/**
 * Take out one object, and those that were made of it first.
 *
 * key      as rp_lease_key() has it: "embedding:bert-base-uncased@cpu".
 * cleared  may be NULL. An object that is leased is only marked: it goes with its last lease
 *          (leased_count), and a new request for it makes a fresh one.
 * RP_ERR_NOT_FOUND: there is none of that key; RP_ERR_BUSY: it is being loaded.
 */
RP_API rp_status rp_pool_evict(rp_pool *pool, const char *key, rp_cleared *cleared, rp_error *err);

/**
 * Lease what is loaded under a key, as rp_lease_key() has it. Counts as no request.
 * RP_ERR_NOT_FOUND: there is none of that key, or it is still being loaded.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_find(rp_pool *pool, const char *key, rp_lease **lease,
                                            rp_error *err);

/**
 * Make an object on another device and let the old one go: room is reserved there, it is built
 * there, and from then on requests that name no device get the new one. Who holds the old one
 * keeps it until it is released.
 *
 * request  as for rp_pool_get_model(), with the constructor if it has one; its `device` is where
 *          the object is now (NULL: wherever requests without a device find it).
 * lease    on RP_OK owns a lease on the object there. The same device: a lease on what is there.
 * On failure the old one stays as it was. Fails as rp_pool_get_model() does.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_move_model(rp_pool *pool, const rp_request *request,
                                                  const char *device, rp_lease **lease,
                                                  rp_error *err);

/**
 * The same for an object that somebody names as people see it. All requests that left the choice of
 * a device to the pool and were led to it are led to the new one.
 *
 * key    as rp_lease_key() has it: "embedding:bert-base-uncased@cpu".
 * maker  its constructor, destructor, `user`, timeout, token and memory_bytes are used: how it is
 *        made there. NULL, or without a constructor: an engine made it, and makes it again.
 * RP_ERR_NOT_FOUND: there is none of that key; RP_ERR_BUSY: it is being loaded; RP_ERR_UNSUPPORTED:
 * a constructor made it, and `maker` has none.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_move_key(rp_pool *pool, const char *key, const char *device,
                                                const rp_request *maker, rp_lease **lease,
                                                rp_error *err);

/**
 * Set a budget in bytes; idle objects go at once if it is smaller than what is held.
 *
 * device  "cpu", "cuda:0"; NULL: of all devices together.
 * bytes   RP_UNKNOWN_U64: none but what the device allows.
 * RP_ERR_ABSENT: there is no such device.
 */
RP_API rp_status rp_pool_set_budget(rp_pool *pool, const char *device, uint64_t bytes,
                                    rp_error *err);

/**
 * Switch low-memory mode on or off, as far as the caller has a say: it stays on while the machine
 * has less than 1 GiB in all, or while pressure asks for it. In it budgets are halved, objects go
 * with their last lease, requests take the lowest precision they allow, and the C library keeps
 * one heap for all threads.
 */
RP_API rp_status rp_pool_set_low_memory(rp_pool *pool, bool on, rp_error *err);

/** Whether it is on. `why`, which may be NULL, is set to the reasons; static storage, "" for off.
 */
RP_API bool rp_pool_is_low_memory(rp_pool *pool, const char **why);

/**
 * How memory stands, in some microseconds; takes no step. RP_ERR_UNSUPPORTED: nothing can be read
 * here.
 */
RP_API RP_MUST_CHECK rp_status rp_pool_check_pressure(rp_pool *pool, rp_pressure_info *info,
                                                      rp_error *err);

/**
 * Look, and take the step that is due: drop idle objects by cost, go into low-memory mode, refuse
 * new loads, or come back. What the monitor thread does every quarter of a second, and loads do
 * now and then. `info` may be NULL.
 */
RP_API rp_status rp_pool_relieve_pressure(rp_pool *pool, rp_pressure_info *info, rp_error *err);

RP_END_DECLS

#endif
