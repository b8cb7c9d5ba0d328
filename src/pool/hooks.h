/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may differ between pools that are otherwise the same: how a model's file becomes a model.
 * The broker's pool opens it in a worker process, a client's leases it from the broker.
 */
#ifndef RP_POOL_HOOKS_H
#define RP_POOL_HOOKS_H

#include "base/limits.h"

#include <resourcepool/model.h>
#include <resourcepool/pool.h>
#include <stdatomic.h>
#include <sys/types.h>

/* A model that is to be leased from somebody else. Everything is borrowed for the call. */
struct rp_pool_wanted {
    const char *file; /* what an engine would open here */
    const rp_model_options *options;
    const _Atomic int *cancelled;

    /* As the program said it, but for links that were followed. */
    const char *type;
    const char *name;
    const char *path;      /* NULL: the name is the path */
    uint64_t memory_bytes; /* what the program expects; 0: nothing */

    /*
     * The thread of the program that waits for the answer, with no end to its patience, and alone
     * holds what was leased for it before. 0: there is no such thread.
     */
    pid_t thread;
};

struct rp_pool_leased {
    rp_model *model;
    bool is_hit;               /* it was there already: no load */
    bool is_own;               /* nobody had one to lease: it was opened here, and may stay */
    const char *memory_method; /* static storage; NULL: unknown */
};

/* Room that somebody else is to reserve. Borrowed for the call. */
struct rp_pool_room_wanted {
    const char *device; /* or a kind */
    const char *name;
    uint64_t memory_bytes;
    int64_t timeout_ms; /* 0: as long as it takes */
    rp_cancel *cancel;  /* NULL; rp_cancel_ask() */
    pid_t thread;       /* as of rp_pool_wanted */
};

enum { RP_ROOM_REASON_BYTES = 96 };

struct rp_pool_room {
    void *remote; /* NULL: nobody else has an account */
    void (*give_back)(void *remote);
    char device[RP_LIMIT_DEVICE_BYTES];
    rp_policy policy;
    char reason[RP_ROOM_REASON_BYTES];
};

struct rp_pool_hooks {
    /*
     * As rp_model_open_until(): stop early once *cancelled is not 0. On a thread of the pool's or
     * of a caller, under no lock. NULL: rp_model_open_until() itself.
     */
    rp_status (*open_model)(void *user, const char *path, const rp_model_options *options,
                            const _Atomic int *cancelled, rp_model **model, rp_error *err);

    /*
     * Instead of it: models are somebody else's, whose ledger and history they are in. Each goes
     * with its last lease here, unless it is the pool's own after all. NULL: they are the pool's
     * own.
     */
    rp_status (*lease_model)(void *user, const struct rp_pool_wanted *wanted,
                             struct rp_pool_leased *leased, rp_error *err);

    /* rp_pool_reserve(): room is somebody else's. Blocks, on the caller's thread, under no lock.
     * RP_OK with room->remote NULL: it is the pool's own after all. NULL: it is. */
    rp_status (*reserve)(void *user, const struct rp_pool_room_wanted *wanted,
                         struct rp_pool_room *room, rp_error *err);

    /* A request begins to wait for room. Under the pool's lock: waits for nobody. NULL: fine. */
    void (*waits_for_room)(void *user);

    /* The pool has been closed, and calls nothing any more. NULL: `user` need not know. */
    void (*closed)(void *user);

    void *user; /* given to them; outlives the pool */
};

/* rp_pool_open() with hooks, which are copied; NULL: none. */
rp_status rp_pool_open_hooked(const rp_pool_options *options, const struct rp_pool_hooks *hooks,
                              rp_pool **pool, rp_error *err);

#endif
