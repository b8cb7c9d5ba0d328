/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build: one load in progress. Made when a request finds nothing, kept until its builder and
 * every waiter have read how it ended.
 */
#ifndef RP_POOL_BUILD_H
#define RP_POOL_BUILD_H

#include "failure/own.h"
#include "pool/entry.h"

#include <resourcepool/request.h>
#include <stdatomic.h>

/* What is expected of the load: filled in before it, from the best source there is. */
struct rp_estimate {
    uint64_t bytes;     /* RP_UNKNOWN_U64 */
    const char *method; /* "request", "measured", "engine", "file"; static storage; NULL: unknown */
};

struct rp_build {
    /* Constant while the load runs. */
    struct rp_entry *entry;
    rp_build *parent; /* the load whose constructor asked for this one; NULL: none */
    uint32_t depth;
    rp_constructor construct; /* NULL: an engine opens `path` */
    void *user;
    char *path;              /* owned; NULL with a constructor */
    uint64_t expected_bytes; /* the caller's; 0: unknown       */
    int64_t deadline_ns;     /* of the caller whose thread runs it; RP_NEVER_NS: none */
    const rp_cancel *cancel; /* likewise; NULL: none */
    struct rp_estimate estimate;
    rp_destructor destroy;
    struct rp_seat *seat; /* of the thread that runs it; NULL: a thread of ours */

    /* The load's own. */
    double elsewhere_ms;  /* what making it took before this load began, in another process */
    uint64_t grown_bytes; /* what the process grew by; RP_UNKNOWN_U64 unless nothing else ran */
    bool is_together;     /* the bytes are what it took with others */
    bool is_hit;          /* hooks.lease_model: no load was needed */
    const char *remembered_method; /* how bytes that may be remembered were found; NULL: none may */

    _Atomic pid_t thread_id;       /* who runs it, for those who wait in vain; relaxed */
    _Atomic int64_t started_ns;    /* 0 while it waits for room; relaxed */
    _Atomic uint64_t memory_bytes; /* as the constructor said; relaxed */
    _Atomic int bytes_method;      /* rp_bytes_method: how it knows; relaxed */
    _Atomic int is_abandoned;      /* nobody waits any more: relaxed, a hint to stop early */

    /* Guarded by pool.lock. */
    uint32_t waiter_count;
    const void *counted_by; /* the request that it is a miss of, which is only compared; or NULL */
    bool has_loader_thread; /* the one who asked may leave before the load ends */
    bool was_called_off;    /* it failed for a reason of its caller's own: others try again */
    bool has_retried;       /* without memory the first time */
    rp_error failure;       /* why, once the entry is FAILED */

    struct rp_explanation explanation; /* of a failed load; the builder's until it is published */

    /* Guarded by the lock of the waits: for the search for cycles. */
    uint64_t walk_number;
    struct rp_entry *walk_from;
    struct rp_entry *walk_next;
};

/* A build of that entry; NULL without memory. */
rp_build *rp_build_create(struct rp_entry *entry, rp_build *parent, const rp_request *request,
                          const char *path);
void rp_build_destroy(rp_build *build);

/* The load that this thread is running, if any. */
rp_build *rp_build_current(void);

/*
 * Run the constructor or the engine on this thread, under no lock, and record what came of it in
 * the entry (but for its state). The error is whole: it names the instance.
 */
rp_status rp_build_run(rp_build *build, rp_error *err);

#endif
