/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/worker_host.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/crashes.h"
#include "machine/turns.h"
#include "machine/worker_group.h"

#include <assert.h>
#include <resourcepool/facts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SMALL_BYTES = 16 << 20,
    SMALL_COUNT_MAX = 32,
    SMALL_LOAD_MS = 2000, /* a process that takes longer for one may hang, or have been stopped */
};

struct rp_worker_host {
    /* Constant. */
    const char *program;
    uint64_t limit_bytes;
    int turns_fd;

    struct rp_worker_groups groups;
    struct rp_crashes crashes;

    struct rp_lock lock;
    struct small *smalls;  /* guarded by lock */
    struct hosted *hosted; /* guarded by lock */

    struct rp_lock watch_lock;
    void (*died)(void *watcher); /* guarded by watch_lock */
    void *watcher;               /* guarded by watch_lock; NULL: nobody */
    struct rp_condition looked;
    rp_memory_looker *look; /* guarded by watch_lock; NULL: nobody keeps a ledger */
    void *looker;           /* guarded by watch_lock */
    uint32_t look_count;    /* guarded by watch_lock: calls of it that are under way */
};

/* A model that shares its process, or would; from before it is loaded until it is taken out. */
struct small {
    struct small *next; /* guarded by host.lock */
    struct rp_worker *worker;
    char engine[RP_LIMIT_ENGINE_BYTES]; /* as asked for; "": any */
    char device[RP_LIMIT_DEVICE_BYTES];
};

/* What stands behind a model of the pool. */
struct hosted {
    struct rp_engine_ops ops; /* with the name of the engine that runs in the worker */
    char engine[RP_LIMIT_ENGINE_BYTES];
    struct rp_worker_host *host;
    struct rp_worker *worker;
    struct small *small; /* NULL: its process is its own */
    struct hosted *next; /* guarded by host.lock */
    struct hosted **link;
};

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

/* Nobody joins it any more. */
static void forget_small(struct rp_worker_host *host, struct small *small) {
    if (!small) return;
    rp_lock_acquire(&host->lock);
    struct small **at = &host->smalls;
    while (*at != small) {
        at = &(*at)->next;
    }
    *at = small->next;
    rp_lock_release(&host->lock);
    rp_free(small);
}

static void hosted_close(rp_model *model) {
    struct hosted *hosted = model->state;
    if (!hosted) return;
    rp_lock_acquire(&hosted->host->lock);
    *hosted->link = hosted->next;
    if (hosted->next) hosted->next->link = hosted->link;
    rp_lock_release(&hosted->host->lock);
    forget_small(hosted->host, hosted->small);
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
        .run = hosted_run,
        .bytes = hosted_bytes,
        .close = hosted_close,
    };
    return hosted;
}

/* The pool's model of a worker; on failure the worker is still the caller's. */
static rp_status make_model(struct rp_worker_host *host, struct rp_worker *worker,
                            struct small *small, const char *path, rp_model **model,
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
    hosted->host = host;
    hosted->small = small;
    rp_lock_acquire(&host->lock);
    hosted->next = host->hosted;
    hosted->link = &host->hosted;
    if (hosted->next) hosted->next->link = &hosted->next;
    host->hosted = hosted;
    rp_lock_release(&host->lock);
    made->state = hosted;
    *model = made;
    return RP_OK;
}

/* On a minder's thread, under its lock. */
static void note_crash(void *user, const struct rp_worker *worker, const rp_error *story,
                       bool was_alone) {
    struct rp_worker_host *host = user;
    rp_crashes_add(&host->crashes, rp_worker_path(worker), was_alone, story, rp_clock_ns());
    rp_lock_acquire(&host->watch_lock);
    if (host->watcher) host->died(host->watcher);
    rp_lock_release(&host->watch_lock);
}

/* On a minder's thread, under no lock: it ends up in the pool, whose lock comes before ours. */
static void look_at_memory(void *user, pid_t process, const char *path,
                           struct rp_memory_look *look) {
    struct rp_worker_host *host = user;
    rp_lock_acquire(&host->watch_lock);
    rp_memory_looker *ask = host->look;
    void *looker = host->looker;
    host->look_count += ask != NULL;
    rp_lock_release(&host->watch_lock);
    if (!ask) return;
    ask(looker, process, path, look);
    rp_lock_acquire(&host->watch_lock);
    host->look_count--;
    rp_condition_broadcast(&host->looked);
    rp_lock_release(&host->watch_lock);
}

/* Whether its weights, wherever they are kept, take less than an engine does. */
static bool is_small(struct rp_worker_host *host, const struct rp_worker_request *request) {
    rp_model_facts facts;
    struct stat found;
    if (rp_crashes_has(&host->crashes, request->path, rp_clock_ns())) return false;
    /* Without a file there is nothing to share for: the simulated engine's names. */
    if (stat(request->path, &found) != 0 || !S_ISREG(found.st_mode)) return false;
    if (found.st_size > SMALL_BYTES) return false;
    if (rp_model_facts_read(request->path, NULL, &facts, NULL) != RP_OK) return false;
    return facts.weights_bytes <= SMALL_BYTES; /* no when unknown */
}

/* Begin to load a small model, beside others if there is a process with room. */
static rp_status begin_small(struct rp_worker_host *host, struct rp_worker_request *request,
                             struct small **small, struct rp_worker **worker, rp_error *err) {
    struct small *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", request->path);
    snprintf(made->engine, sizeof made->engine, "%s", request->engine ? request->engine : "");
    snprintf(made->device, sizeof made->device, "%s", request->device ? request->device : "cpu");
    rp_status status = RP_ERR_STATE;
    rp_lock_acquire(&host->lock);
    for (struct small *at = host->smalls; at && status == RP_ERR_STATE; at = at->next) {
        uint32_t count = rp_worker_count(at->worker);
        if (count == 0 || count >= SMALL_COUNT_MAX || strcmp(at->engine, made->engine) != 0 ||
            strcmp(at->device, made->device) != 0) {
            continue;
        }
        request->beside = at->worker;
        status = rp_worker_begin(request, worker, err);
    }
    if (status == RP_ERR_STATE) {
        request->beside = NULL;
        status = rp_worker_begin(request, worker, err);
    }
    if (status == RP_OK) {
        made->worker = *worker;
        made->next = host->smalls;
        host->smalls = made;
        *small = made;
    } else {
        rp_free(made);
    }
    rp_lock_release(&host->lock);
    return status;
}

/* Beside others, or else, if their process does not answer, alone after all. */
static rp_status open_small(struct rp_worker_host *host, struct rp_worker_request *request,
                            struct small **small, struct rp_worker **worker, rp_error *err) {
    rp_status status = begin_small(host, request, small, worker, err);
    if (status != RP_OK || !request->beside) {
        return status == RP_OK ? rp_worker_await(*worker, request, err) : status;
    }
    request->deadline_ns = rp_deadline_after_ms(SMALL_LOAD_MS);
    status = rp_worker_await(*worker, request, err);
    request->deadline_ns = RP_NEVER_NS;
    if (status != RP_ERR_TIMEOUT) return status;
    rp_worker_shun(*worker);
    forget_small(host, *small);
    rp_worker_stop(*worker, NULL, NULL);
    *small = NULL;
    *worker = NULL;
    request->beside = NULL;
    status = rp_worker_begin(request, worker, err);
    return status == RP_OK ? rp_worker_await(*worker, request, err) : status;
}

static rp_status host_open_model(void *user, const char *path, const rp_model_options *options,
                                 const _Atomic int *cancelled, rp_model **model, rp_error *err) {
    struct rp_worker_host *host = user;
    rp_model_options own = RP_MODEL_OPTIONS_INIT;
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    struct rp_worker_request request = {
        .program = host->program,
        .path = path,
        .engine = own.engine,
        .device = own.device,
        .precision = own.precision,
        .threads = own.threads,
        .turns_fd = host->turns_fd,
        .groups = &host->groups,
        .limit_bytes = host->limit_bytes,
        .crashed = note_crash,
        .look_at_memory = look_at_memory,
        .user = host,
        .cancelled = cancelled,
        .deadline_ns = RP_NEVER_NS,
    };
    struct rp_worker *worker = NULL;
    struct small *small = NULL;
    rp_status status = rp_crashes_check(&host->crashes, path, rp_clock_ns(), err);
    if (status != RP_OK) return status;
    if (is_small(host, &request)) {
        status = open_small(host, &request, &small, &worker, err);
    } else {
        status = rp_worker_begin(&request, &worker, err);
        if (status == RP_OK) status = rp_worker_await(worker, &request, err);
    }
    if (status == RP_OK) status = make_model(host, worker, small, path, model, err);
    if (status != RP_OK) {
        forget_small(host, small);
        rp_worker_stop(worker, NULL, NULL);
    }
    return status;
}

static rp_status host_attach(void *user, rp_model *model, pid_t client, struct rp_broker_ring *ring,
                             rp_error *err) {
    (void)user;
    struct rp_worker_ring made;
    rp_status status = rp_worker_add_ring(rp_worker_of(model), client, &made, err);
    if (status == RP_OK) *ring = (struct rp_broker_ring){made.fd, made.id, made.bytes};
    return status;
}

static void host_detach(void *user, rp_model *model, uint64_t ring_id) {
    (void)user;
    rp_worker_remove_ring(rp_worker_of(model), ring_id);
}

static pid_t host_process_of(void *user, const rp_model *model, bool *is_alone) {
    (void)user;
    struct rp_worker *worker = rp_worker_of(model);
    *is_alone = rp_worker_count(worker) <= 1;
    return rp_worker_pid(worker);
}

static bool host_has_ring(void *user, const rp_model *model, uint64_t ring_id) {
    (void)user;
    return rp_worker_has_ring(rp_worker_of(model), ring_id);
}

static void host_close_ring(void *user, uint64_t ring_id) {
    struct rp_worker_host *host = user;
    rp_lock_acquire(&host->lock);
    for (struct hosted *at = host->hosted; at; at = at->next) {
        if (!rp_worker_has_ring(at->worker, ring_id)) continue;
        rp_worker_remove_ring(at->worker, ring_id);
        break;
    }
    rp_lock_release(&host->lock);
}

static void host_watch(void *user, void (*died)(void *watcher), void *watcher) {
    struct rp_worker_host *host = user;
    rp_lock_acquire(&host->watch_lock);
    host->died = died;
    host->watcher = watcher;
    rp_lock_release(&host->watch_lock);
}

static void host_watch_memory(void *user, rp_memory_looker *look, void *watcher) {
    struct rp_worker_host *host = user;
    rp_lock_acquire(&host->watch_lock);
    host->look = look;
    host->looker = watcher;
    while (!look && host->look_count > 0) {
        rp_condition_wait(&host->looked, &host->watch_lock, RP_NEVER_NS);
    }
    rp_lock_release(&host->watch_lock);
}

static bool host_is_alive(void *user, const rp_model *model, rp_error *story) {
    (void)user;
    return rp_worker_is_alive(rp_worker_of(model), story);
}

struct rp_broker_host rp_worker_host_calls(struct rp_worker_host *host) {
    return (struct rp_broker_host){
        .user = host,
        .open_model = host_open_model,
        .attach = host_attach,
        .detach = host_detach,
        .has_ring = host_has_ring,
        .close_ring = host_close_ring,
        .watch = host_watch,
        .watch_memory = host_watch_memory,
        .is_alive = host_is_alive,
        .process_of = host_process_of,
    };
}

rp_status rp_worker_host_open(const char *program, uint64_t limit_bytes,
                              struct rp_worker_host **host, rp_error *err) {
    struct rp_worker_host *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for workers");
    rp_status status = rp_turns_create(rp_turns_of_machine(), &made->turns_fd, err);
    if (status != RP_OK) {
        rp_free(made);
        return status;
    }
    made->program = program;
    made->limit_bytes = limit_bytes;
    rp_worker_groups_find(&made->groups);
    rp_crashes_init(&made->crashes);
    rp_lock_init(&made->lock);
    rp_lock_init(&made->watch_lock);
    rp_condition_init(&made->looked);
    *host = made;
    return RP_OK;
}

void rp_worker_host_close(struct rp_worker_host *host) {
    if (!host) return;
    assert(!host->smalls);
    close(host->turns_fd);
    rp_crashes_fini(&host->crashes);
    rp_condition_fini(&host->looked);
    rp_lock_fini(&host->watch_lock);
    rp_lock_fini(&host->lock);
    rp_free(host);
}

struct rp_worker *rp_worker_of(const rp_model *model) {
    assert(model->ops->close == hosted_close);
    const struct hosted *hosted = model->state;
    return hosted->worker;
}
