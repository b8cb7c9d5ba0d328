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
#include <resourcepool/lease.h>
#include <resourcepool/log.h>
#include <resourcepool/request.h>
#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rp_pool rp_pool;

/** Options of a pool; zero means default. Start from RP_POOL_OPTIONS_INIT. */
typedef struct rp_pool_options {
    size_t size;            /* sizeof(rp_pool_options)                                       */
    rp_log_sink log_sink;   /* NULL: RESOURCE_POOL_LOG decides, silent without it            */
    rp_log_level log_level; /* what the sink gets                                            */
    void *log_user;         /* given to the sink                                             */
} rp_pool_options;

/* clang-format off */
#define RP_POOL_OPTIONS_INIT {sizeof(rp_pool_options), 0, RP_LOG_OFF, 0}
/* clang-format on */

/** What rp_pool_clear() did. */
typedef struct rp_cleared {
    uint64_t removed_count; /* objects destroyed                                              */
    uint64_t removed_bytes; /* their bytes, as far as they are known                          */
    uint64_t leased_count;  /* objects that go with their last lease                          */
    uint64_t loading_count; /* objects in the making, which were left alone                   */
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
 * every waiter gets its story, and the next request tries anew.
 *
 * A deadline bounds the wait for somebody else's load and an engine's load. A constructor of the
 * caller's own runs on its thread and to its end (rp_build_is_cancelled() lets it stop); an object
 * that is ready too late is kept, and the answer is RP_ERR_TIMEOUT.
 *
 * RP_ERR_ARGUMENT, RP_ERR_LIMIT: the request; nothing was looked up or counted.
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
 * Destroy every object that is not leased; those that are go with their last lease, and a new
 * request for one of them makes a fresh one. `cleared` may be NULL; it is filled in either way.
 *
 * RP_ERR_BUSY: done as far as it goes, and the message names the leases that are still out.
 */
RP_API rp_status rp_pool_clear(rp_pool *pool, rp_cleared *cleared, rp_error *err);

RP_END_DECLS

#endif
