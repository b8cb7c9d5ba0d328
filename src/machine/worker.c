/* SPDX-License-Identifier: Apache-2.0 */
/* The models in workers; worker_process.c has the processes that they live in. */
#include "machine/worker.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/proc.h"
#include "machine/worker_inside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    UNLOAD_MS = 2000, /* how long runs of a model that is taken out are waited for */
    LOOK_MS = 20,     /* how often a caller's cancel flag is looked at */
};

rp_status rp_worker_take_facts(struct rp_worker *worker, const struct rp_message *message,
                               rp_error *err) {
    struct rp_worker_facts *facts = &worker->facts;
    facts->threads = message->loaded.threads;
    facts->is_simulated = message->loaded.simulated != 0;
    facts->memory_bytes = message->loaded.memory_bytes;
    snprintf(facts->engine, sizeof facts->engine, "%s",
             message->loaded.engine ? message->loaded.engine : "");
    snprintf(facts->device, sizeof facts->device, "%s",
             message->loaded.device ? message->loaded.device : "");
    snprintf(facts->precision, sizeof facts->precision, "%s",
             message->loaded.precision ? message->loaded.precision : "");
    rp_status status = rp_ports_decode(&message->loaded.inputs, &facts->inputs, err);
    if (status == RP_OK) status = rp_ports_decode(&message->loaded.outputs, &facts->outputs, err);
    return status;
}

/* Of models and rings in all processes: no number comes again while somebody may remember it. */
static uint32_t next_number(void) {
    static _Atomic uint32_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

/* ---- loading ---- */

static rp_status send_load(struct rp_worker *worker, const struct rp_worker_request *request,
                           rp_error *err) {
    const struct rp_message message = {
        .type = RP_MESSAGE_LOAD,
        .number = worker->number,
        .load = {.path = request->path,
                 .engine = request->engine,
                 .device = request->device ? request->device : "cpu",
                 .precision = request->precision,
                 .threads = request->threads ? request->threads : 1},
    };
    const struct rp_descriptors turns = {{request->turns_fd}, 1};
    return rp_process_send(worker->process, &message, request->turns_fd > 0 ? &turns : NULL, err);
}

/* Into the list of its process; RP_ERR_STATE when that takes no more. */
static rp_status enter(struct rp_worker *worker, struct rp_process *process,
                       const struct rp_worker_request *request, rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&process->lock);
    if (process->is_ending) {
        status = rp_fail(err, RP_ERR_STATE, "the worker's process is ending");
    } else {
        worker->process = process;
        worker->number = next_number();
        status = send_load(worker, request, err);
    }
    if (status == RP_OK) {
        worker->next = process->workers;
        process->workers = worker;
        process->live_count++;
    }
    rp_lock_release(&process->lock);
    return status;
}

/* Out of the list; true when it was the last, and the process, which is over, goes with it. */
static bool leave(struct rp_worker *worker) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    struct rp_worker **at = &process->workers;
    while (*at != worker) {
        at = &(*at)->next;
    }
    *at = worker->next;
    bool is_last = !process->workers;
    while (is_last && !process->is_over) {
        rp_condition_wait(&process->changed, &process->lock, RP_NEVER_NS);
    }
    rp_lock_release(&process->lock);
    return is_last;
}

static void free_worker(struct rp_worker *worker) {
    while (worker->rings) {
        struct rp_kept_ring *ring = worker->rings;
        worker->rings = ring->next;
        rp_ring_unmap(&ring->ring);
        rp_free(ring);
    }
    rp_engine_ports_fini(&worker->facts.inputs);
    rp_engine_ports_fini(&worker->facts.outputs);
    rp_free(worker->path);
    rp_free(worker);
}

/* The first model enters before the process runs, so that whatever happens is its story. */
static rp_status begin_process(struct rp_worker *worker, const struct rp_worker_request *request,
                               rp_error *err) {
    struct rp_process *process = NULL;
    rp_status status = rp_process_create(request, &process, err);
    if (status != RP_OK) return status;
    status = enter(worker, process, request, err);
    if (status == RP_OK) status = rp_process_start(process, err);
    if (status != RP_OK) rp_process_destroy(process);
    return status;
}

rp_status rp_worker_begin(const struct rp_worker_request *request, struct rp_worker **worker,
                          rp_error *err) {
    struct rp_worker *made = rp_alloc(sizeof *made);
    if (made) made->path = rp_strdup(request->path);
    if (!made || !made->path) {
        rp_free(made);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a worker");
    }
    made->crashed = request->crashed;
    made->look_at_memory = request->look_at_memory;
    made->user = request->user;
    rp_status status = request->beside ? enter(made, request->beside->process, request, err)
                                       : begin_process(made, request, err);
    if (status == RP_OK) {
        *worker = made;
    } else {
        free_worker(made);
    }
    return status;
}

rp_status rp_worker_await(struct rp_worker *worker, const struct rp_worker_request *request,
                          rp_error *err) {
    struct rp_process *process = worker->process;
    rp_status status = RP_OK;
    rp_lock_acquire(&process->lock);
    while (worker->state == RP_WORKER_LOADING && status == RP_OK) {
        int64_t now_ns = rp_clock_ns();
        int64_t look_ns = request->cancelled ? now_ns + LOOK_MS * INT64_C(1000000) : RP_NEVER_NS;
        if (request->cancelled && atomic_load_explicit(request->cancelled, memory_order_relaxed)) {
            status = rp_fail(err, RP_ERR_CANCELLED, "the load was called off");
        } else if (now_ns >= request->deadline_ns) {
            status = rp_fail(err, RP_ERR_TIMEOUT, "the load passed its deadline");
        } else {
            rp_condition_wait(&process->changed, &process->lock,
                              look_ns < request->deadline_ns ? look_ns : request->deadline_ns);
        }
    }
    if (worker->state == RP_WORKER_GONE) {
        status = worker->story.status;
        if (err) *err = worker->story;
    }
    rp_lock_release(&process->lock);
    return status;
}

rp_status rp_worker_spawn(const struct rp_worker_request *request, struct rp_worker **worker,
                          rp_error *err) {
    struct rp_worker *made = NULL;
    rp_status status = rp_worker_begin(request, &made, err);
    if (status == RP_OK) status = rp_worker_await(made, request, err);
    if (status == RP_OK) {
        *worker = made;
    } else {
        rp_worker_stop(made, NULL, NULL);
    }
    return status;
}

/* ---- looking ---- */

const struct rp_worker_facts *rp_worker_facts(const struct rp_worker *worker) {
    return &worker->facts;
}

const char *rp_worker_path(const struct rp_worker *worker) {
    return worker->path;
}

pid_t rp_worker_pid(const struct rp_worker *worker) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    pid_t pid = process->pid_shown;
    rp_lock_release(&process->lock);
    return pid;
}

uint32_t rp_worker_count(struct rp_worker *worker) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    uint32_t count = process->is_ending || process->is_shunned ? 0 : process->live_count;
    rp_lock_release(&process->lock);
    return count;
}

void rp_worker_shun(struct rp_worker *worker) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    process->is_shunned = true;
    rp_lock_release(&process->lock);
}

uint64_t rp_worker_bytes(struct rp_worker *worker) {
    struct rp_process *process = worker->process;
    char path[64];
    char *bytes = NULL;
    size_t length = 0;
    rp_lock_acquire(&process->lock);
    pid_t pid = process->live_count > 1 ? 0 : process->pid;
    rp_lock_release(&process->lock);
    if (pid <= 0) return RP_UNKNOWN_U64;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    if (rp_text_read_file(path, RP_LIMIT_SYSTEM_FILE_BYTES, &bytes, &length) != 0) {
        return RP_UNKNOWN_U64;
    }
    uint64_t pss = rp_proc_meminfo_bytes((struct rp_span){bytes, length}, "Pss:");
    rp_free(bytes);
    return pss;
}

bool rp_worker_is_alive(struct rp_worker *worker, rp_error *story) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    bool is_alive = worker->state != RP_WORKER_GONE;
    if (!is_alive && story) *story = worker->story;
    rp_lock_release(&process->lock);
    return is_alive;
}

/* ---- rings ---- */

/* Slots beyond the processors would only wait for each other. */
static uint32_t slots_for_machine(void) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 2 ? 1 : online < RP_RING_SLOTS ? (uint32_t)online : RP_RING_SLOTS;
}

/* Tell the process of the ring and keep it. Needs process.lock. */
static rp_status hand_over(struct rp_worker *worker, pid_t client, int fd,
                           struct rp_kept_ring *made, rp_error *err) {
    struct rp_process *process = worker->process;
    if (worker->state == RP_WORKER_GONE) {
        return rp_fail(err, RP_ERR_STATE, "%s", worker->story.message);
    }
    made->id = next_number();
    const struct rp_descriptors descriptors = {.fds = {fd}, .count = 1};
    const struct rp_message message = {
        .type = RP_MESSAGE_RING,
        .number = made->id,
        .ring = {worker->number, made->id, (uint64_t)client, made->ring.bytes},
    };
    rp_status status = rp_process_send(process, &message, &descriptors, err);
    if (status != RP_OK) return status;
    made->next = worker->rings;
    worker->rings = made;
    return RP_OK;
}

rp_status rp_worker_add_ring(struct rp_worker *worker, pid_t client, struct rp_worker_ring *ring,
                             rp_error *err) {
    uint64_t slot_bytes = 0;
    int fd = -1;
    rp_status status =
        rp_ring_measure(&worker->facts.inputs, &worker->facts.outputs, &slot_bytes, err);
    if (status == RP_OK) status = rp_ring_create(slot_bytes, slots_for_machine(), &fd, err);
    if (status != RP_OK) return status;
    struct rp_kept_ring *made = rp_alloc(sizeof *made);
    status = made ? rp_ring_map(fd, &made->ring, err)
                  : rp_fail(err, RP_ERR_MEMORY, "no memory for a ring");
    if (status == RP_OK) {
        rp_lock_acquire(&worker->process->lock);
        status = hand_over(worker, client, fd, made, err);
        if (status == RP_OK) *ring = (struct rp_worker_ring){fd, made->id, made->ring.bytes};
        rp_lock_release(&worker->process->lock);
    }
    if (status != RP_OK) {
        if (made) rp_ring_unmap(&made->ring);
        rp_free(made);
        close(fd);
    }
    return status;
}

bool rp_worker_has_ring(struct rp_worker *worker, uint64_t ring_id) {
    rp_lock_acquire(&worker->process->lock);
    const struct rp_kept_ring *ring = worker->state == RP_WORKER_GONE ? NULL : worker->rings;
    while (ring && ring->id != ring_id) {
        ring = ring->next;
    }
    rp_lock_release(&worker->process->lock);
    return ring != NULL;
}

void rp_worker_remove_ring(struct rp_worker *worker, uint64_t ring_id) {
    struct rp_kept_ring *found = NULL;
    rp_lock_acquire(&worker->process->lock);
    for (struct rp_kept_ring **at = &worker->rings; *at; at = &(*at)->next) {
        if ((*at)->id != ring_id) continue;
        found = *at;
        *at = found->next;
        break;
    }
    if (found && worker->state != RP_WORKER_GONE) {
        const struct rp_message message = {.type = RP_MESSAGE_RING_CLOSE, .ring_close = {ring_id}};
        /* A worker that does not listen keeps the ring until it ends. */
        rp_status ignored = rp_process_send(worker->process, &message, NULL, NULL);
        (void)ignored;
        /* Its lease may have been taken away in the middle of a run, which nothing will answer. */
        rp_error story = RP_ERROR_INIT;
        rp_fail(&story, RP_ERR_STATE, "the lease on '%s' has ended", worker->path);
        rp_ring_tell_story(&found->ring, &story);
    }
    rp_lock_release(&worker->process->lock);
    if (!found) return;
    rp_ring_unmap(&found->ring);
    rp_free(found);
}

/* ---- taking out ---- */

/* One of several: ask for it, and tell those who wait for answers. Needs process.lock. */
static void unload(struct rp_worker *worker) {
    const struct rp_message message = {.type = RP_MESSAGE_UNLOAD, .number = worker->number};
    rp_error story = RP_ERROR_INIT;
    rp_worker_tell_stop(worker, &story);
    for (struct rp_kept_ring *ring = worker->rings; ring; ring = ring->next) {
        rp_ring_tell_story(&ring->ring, &story);
    }
    rp_status status = rp_process_send(worker->process, &message, NULL, NULL);
    /* A process that does not listen: its other models are told of that when they are used. Of one
     * that is not loaded yet there is nothing to wait for. */
    if (status != RP_OK || worker->state == RP_WORKER_LOADING) rp_worker_set_gone(worker, &story);
}

/* False: its memory may not be back yet. */
static bool end(struct rp_worker *worker, const char *why) {
    struct rp_process *process = worker->process;
    rp_lock_acquire(&process->lock);
    if (worker->state != RP_WORKER_GONE && !worker->is_stopping) {
        worker->is_stopping = true;
        worker->why = why;
        if (process->live_count > 1) {
            unload(worker);
        } else {
            rp_process_end(process);
        }
    }
    /* One that let somebody wait in vain is not waited for again, model by model. */
    int64_t deadline_ns = process->is_shunned ? 0 : rp_deadline_after_ms(UNLOAD_MS);
    while (worker->state != RP_WORKER_GONE && (process->is_ending || rp_clock_ns() < deadline_ns)) {
        int64_t until_ns = process->is_ending ? RP_NEVER_NS : deadline_ns;
        rp_condition_wait(&process->changed, &process->lock, until_ns);
    }
    bool is_seen = worker->state == RP_WORKER_GONE;
    if (!is_seen) {
        rp_error story = RP_ERROR_INIT;
        rp_worker_tell_stop(worker, &story);
        rp_worker_set_gone(worker, &story);
        process->is_shunned = true;
    }
    rp_lock_release(&process->lock);
    return is_seen;
}

void rp_worker_end(struct rp_worker *worker, const char *why) {
    end(worker, why);
}

void rp_worker_stop(struct rp_worker *worker, const char *why, struct rp_worker_end *told) {
    if (!worker) return;
    struct rp_process *process = worker->process;
    uint64_t bytes = told ? rp_worker_bytes(worker) : RP_UNKNOWN_U64;
    bool is_verified = end(worker, why);
    if (leave(worker)) rp_process_destroy(process);
    if (told) *told = (struct rp_worker_end){is_verified, bytes};
    free_worker(worker);
}
