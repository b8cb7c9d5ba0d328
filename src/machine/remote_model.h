/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model in another process, as a client's pool sees it: an rp_model whose runs go through a ring
 * to a worker. It carries the name of the engine that runs there.
 *
 * Data is copied twice each way: into the ring and out of it. Several threads may run at once, as
 * many as the ring has slots; more wait for one. After fork() the child gets RP_ERR_FORKED.
 */
#ifndef RP_MACHINE_REMOTE_MODEL_H
#define RP_MACHINE_REMOTE_MODEL_H

#include "engine/engine.h"
#include "machine/ring.h"

#include <stdatomic.h>
#include <stdbool.h>

/* What a lease told. Texts are borrowed for the call. */
struct rp_remote_request {
    const char *path;
    const char *device;
    const char *precision; /* NULL: unknown */
    const char *engine;    /* the one that runs there */
    uint32_t threads;
    uint64_t memory_bytes; /* RP_UNKNOWN_U64 */

    /* Taken over on RP_OK; left to the caller on failure. */
    struct rp_ring *ring; /* mapped; used before or not */
    struct rp_engine_ports *inputs;
    struct rp_engine_ports *outputs;

    /*
     * NULL, or whether an answer may still come: asked every 50 ms while waiting for one, for the
     * case that nobody is left to tell the worker's story.
     */
    bool (*is_alive)(void *user);
    /*
     * NULL, or told once, by rp_model_close(), that the lease is given back. The ring is mapped
     * still, and goes after the call unless it is taken (by setting ring->base to NULL). is_clean:
     * no run that was left goes on in it, and another lease may use it.
     */
    void (*closed)(void *user, struct rp_ring *ring, bool is_clean);
    void *user; /* lives until `closed` */
};

RP_MUST_CHECK rp_status rp_remote_model_open(const struct rp_remote_request *request,
                                             rp_model **model, rp_error *err);

/* Whether a model is one of these. */
bool rp_model_is_remote(const rp_model *model);

/*
 * rp_model_run() that can be left: RP_ERR_TIMEOUT, RP_ERR_CANCELLED. A run that has begun goes on
 * in the worker, and its slot is free again when it is done. Inputs must have passed the checks of
 * rp_model_run(). cancelled may be NULL.
 */
RP_MUST_CHECK rp_status rp_remote_model_run(rp_model *model, const rp_tensor *inputs,
                                            const _Atomic int *cancelled, int64_t deadline_ns,
                                            rp_result **result, rp_error *err);

#endif
