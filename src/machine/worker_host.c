/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/worker_host.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct hosted {
    struct rp_engine_ops ops; /* with the name of the engine that runs in the worker */
    char engine[RP_LIMIT_ENGINE_BYTES];
    struct rp_worker *worker;
};

static rp_status hosted_probe(rp_engine_info *info, rp_error *err) {
    (void)err;
    info->available = true;
    return RP_OK;
}

static rp_status hosted_can_load(const char *path, const char *device, rp_error *err) {
    (void)device;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is loaded by a worker", path);
}

static rp_status hosted_open(const struct rp_engine_request *request, rp_model *model,
                             rp_error *err) {
    (void)model;
    return hosted_can_load(request->path, request->device, err);
}

static rp_status hosted_run(rp_model *model, const rp_tensor *inputs, rp_result **result,
                            rp_error *err) {
    (void)inputs;
    (void)result;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is run by its clients, not by the broker",
                   model->path);
}

/* The engine's figure, or what the process has. */
static uint64_t hosted_bytes(const rp_model *model) {
    const struct hosted *hosted = model->state;
    uint64_t bytes = rp_worker_facts(hosted->worker)->memory_bytes;
    return bytes != RP_UNKNOWN_U64 ? bytes : rp_worker_bytes(hosted->worker);
}

static void hosted_close(rp_model *model) {
    struct hosted *hosted = model->state;
    if (!hosted) return;
    rp_worker_stop(hosted->worker, "the broker took it out", NULL);
    rp_free(hosted);
    model->state = NULL;
}

static struct hosted *hosted_create(struct rp_worker *worker) {
    const struct rp_worker_facts *facts = rp_worker_facts(worker);
    struct hosted *hosted = rp_alloc(sizeof *hosted);
    if (!hosted) return NULL;
    hosted->worker = worker;
    snprintf(hosted->engine, sizeof hosted->engine, "%s", facts->engine);
    hosted->ops = (struct rp_engine_ops){
        .abi = RP_ENGINE_ABI,
        .name = hosted->engine,
        .simulated = facts->is_simulated,
        .probe = hosted_probe,
        .can_load = hosted_can_load,
        .open = hosted_open,
        .run = hosted_run,
        .bytes = hosted_bytes,
        .close = hosted_close,
    };
    return hosted;
}

/* The pool's model of a worker; on failure the worker is still the caller's. */
static rp_status make_model(struct rp_worker *worker, const char *path, rp_model **model,
                            rp_error *err) {
    const struct rp_worker_facts *facts = rp_worker_facts(worker);
    struct rp_engine_request request = {
        .path = path,
        .device = facts->device,
        .precision = facts->precision[0] ? facts->precision : NULL,
        .threads = facts->threads,
        .deadline_ns = RP_NEVER_NS,
    };
    rp_model *made = NULL;
    struct hosted *hosted = hosted_create(worker);
    if (!hosted) return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", path);
    rp_status status = rp_model_make(&hosted->ops, &request, &made, err);
    if (status == RP_OK && (!rp_engine_ports_copy(&facts->inputs, &made->inputs) ||
                            !rp_engine_ports_copy(&facts->outputs, &made->outputs))) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", path);
    }
    if (status != RP_OK) {
        rp_model_close(made); /* without a state: the worker lives on */
        rp_free(hosted);
        return status;
    }
    made->state = hosted;
    *model = made;
    return RP_OK;
}

static rp_status host_open_model(void *user, const char *path, const rp_model_options *options,
                                 const _Atomic int *cancelled, rp_model **model, rp_error *err) {
    rp_model_options own = RP_MODEL_OPTIONS_INIT;
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    struct rp_worker_request request = {
        .program = user,
        .path = path,
        .engine = own.engine,
        .device = own.device,
        .precision = own.precision,
        .threads = own.threads,
        .cancelled = cancelled,
        .deadline_ns = RP_NEVER_NS,
    };
    struct rp_worker *worker = NULL;
    rp_status status = rp_worker_spawn(&request, &worker, err);
    if (status == RP_OK) status = make_model(worker, path, model, err);
    if (status != RP_OK) rp_worker_stop(worker, NULL, NULL);
    return status;
}

static rp_status host_attach(void *user, rp_model *model, pid_t client, struct rp_broker_ring *ring,
                             rp_error *err) {
    (void)user;
    struct rp_worker_ring made;
    struct rp_worker *worker = rp_worker_of(model);
    rp_error story;
    if (!rp_worker_is_alive(worker, &story)) {
        return rp_fail(err, RP_ERR_STATE, "%s", story.message);
    }
    rp_status status = rp_worker_add_ring(worker, client, &made, err);
    if (status == RP_OK) *ring = (struct rp_broker_ring){made.fd, made.id, made.bytes};
    return status;
}

static void host_detach(void *user, rp_model *model, uint64_t ring_id) {
    (void)user;
    rp_worker_remove_ring(rp_worker_of(model), ring_id);
}

static pid_t host_process_of(void *user, const rp_model *model, bool *is_alone) {
    (void)user;
    *is_alone = true;
    return rp_worker_pid(rp_worker_of(model));
}

struct rp_broker_host rp_worker_host(const char *program) {
    return (struct rp_broker_host){
        .user = (void *)(uintptr_t)program,
        .open_model = host_open_model,
        .attach = host_attach,
        .detach = host_detach,
        .process_of = host_process_of,
    };
}

struct rp_worker *rp_worker_of(const rp_model *model) {
    assert(model->ops->close == hosted_close);
    const struct hosted *hosted = model->state;
    return hosted->worker;
}
