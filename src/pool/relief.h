/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool does when memory is short: the steps of the pressure ladder, low-memory mode, and the
 * optional thread that looks by itself (also for idle objects that have had their time).
 */
#ifndef RP_POOL_RELIEF_H
#define RP_POOL_RELIEF_H

#include "base/lock.h"
#include "pool/meter.h"
#include "pool/pressure_ladder.h"

#include <pthread.h>
#include <resourcepool/pool.h>

struct rp_pressure;

/* Below this much memory in all, low-memory mode is on by itself. */
#define RP_LOW_MEMORY_TOTAL_BYTES (UINT64_C(1) << 30)

/* What is left of each budget in low-memory mode. */
enum { RP_LOW_MEMORY_PERCENT = 50 };

/* Who asked for low-memory mode: it is on while anybody does. */
enum rp_low_memory_reason {
    RP_LOW_MEMORY_CALL = 1,
    RP_LOW_MEMORY_ENVIRONMENT = 2,
    RP_LOW_MEMORY_SIZE = 4,
    RP_LOW_MEMORY_PRESSURE = 8,
};

struct rp_relief {
    /* Set by rp_relief_init(), constant afterwards. */
    void (*on_pressure)(const rp_pressure_info *info, void *user);
    void *on_pressure_user;
    rp_freed_callback on_freed;
    void *freed_user;
    int64_t idle_expiry_ns; /* 0: idle objects stay */
    bool is_monitored;

    /* Guarded by pool.lock. */
    unsigned low_memory;              /* of rp_low_memory_reason */
    bool is_size_known;               /* whether the machine was looked at for RP_LOW_MEMORY_SIZE */
    struct rp_ladder ladder;          /* of the memory of this process */
    struct rp_ladder *device_ladders; /* of the devices in the ledger, by their index; owned */
    size_t device_ladder_count;
    int64_t looked_ns; /* when the ladder was last climbed by a load */

    /* The reader of pressure; its own lock, which is taken under pool.lock or alone. */
    struct rp_lock reader_lock;
    struct rp_pressure *reader; /* opened with the first look */
    bool has_failed;            /* it could not be opened: no figures */

    /* The thread. */
    pthread_t thread;
    bool has_thread;
    _Atomic bool is_ending;
    int poke; /* an eventfd that wakes the thread: to end, or to look; -1: none */
};

/* Options of the pool and the environment; starts the thread if it is wanted. */
rp_status rp_relief_init(rp_pool *pool, const rp_pool_options *options, rp_error *err);

/* End the thread, if there is one. No lock held. */
void rp_relief_end(rp_pool *pool);

/*
 * The pool has its first entry: from now on the thread looks now and then. While there is none, and
 * no pressure to come down from, it sleeps. Needs pool.lock.
 */
void rp_relief_wake(rp_pool *pool);

/* Close what is read. */
void rp_relief_fini(rp_pool *pool);

/* Whether the step that the ladder is on lets new loads in. Needs pool.lock. */
rp_status rp_relief_admits(rp_pool *pool, const char *key, uint64_t bytes, rp_error *err);

/* Why low-memory mode is on; "" when it is off. Static storage. Needs pool.lock. */
const char *rp_relief_reason(const rp_pool *pool);

/* A load is about to ask for room: look at the memory if nobody did lately. No lock held. */
void rp_relief_before_load(rp_pool *pool, uint64_t machine_bytes_total);

/* The CPU's meter, for rp_meter. */
void rp_relief_read_meter(void *pool, const char *device, struct rp_meter_reading *reading);

/* Give freed heap back to the system, and what engines keep for the next run. No lock held. */
void rp_relief_trim(rp_pool *pool);

#endif
