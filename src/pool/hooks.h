/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may differ between pools that are otherwise the same: how a model's file becomes a model.
 * The broker's pool opens it in a worker process, a client's asks the broker for it.
 */
#ifndef RP_POOL_HOOKS_H
#define RP_POOL_HOOKS_H

#include <resourcepool/model.h>
#include <resourcepool/pool.h>
#include <stdatomic.h>

struct rp_pool_hooks {
    /*
     * As rp_model_open_until(): stop early once *cancelled is not 0. On a thread of the pool's or
     * of a caller, under no lock. NULL: rp_model_open_until() itself.
     */
    rp_status (*open_model)(void *user, const char *path, const rp_model_options *options,
                            const _Atomic int *cancelled, rp_model **model, rp_error *err);
    void *user; /* given to it; outlives the pool */

    /* An object goes with its last lease: somebody else keeps what it stands for. */
    bool goes_with_last_lease;
};

/* rp_pool_open() with hooks, which are copied; NULL: none. */
rp_status rp_pool_open_hooked(const rp_pool_options *options, const struct rp_pool_hooks *hooks,
                              rp_pool **pool, rp_error *err);

#endif
