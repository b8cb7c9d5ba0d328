/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/remote_model.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/ring.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_NS = 50 * 1000 * 1000 };

/* This side of a slot. */
struct seat {
    bool is_taken;                /* guarded by lock: a thread waits for its answer     */
    bool is_left;                 /* guarded by lock: the answer is still to come, and unwanted */
    uint32_t number;              /* of the last request; its thread's while is_taken   */
    struct rp_ring_spin spin;     /* its thread's while is_taken */
    struct rp_ring_tensor *table; /* likewise: private copies of an answer's */
};

struct remote {
    /* Set by rp_remote_model_open(), constant afterwards. */
    struct rp_engine_ops ops; /* with the name of the engine that runs there */
    char engine[RP_LIMIT_ENGINE_BYTES];
    struct rp_ring ring;
    uint64_t memory_bytes;
    pid_t opened_by;
    bool (*is_alive)(void *user);
    void (*closed)(void *user, struct rp_ring *ring, bool is_clean);
    void *user;

    struct rp_lock lock;
    struct rp_condition freed;
    struct seat seats[RP_RING_SLOTS];
};

/* Why an answer will not come; RP_OK while it may. Asks nobody, so that every run can look. */
static rp_status check_words(struct remote *remote, const rp_model *model,
                             const _Atomic int *cancelled, int64_t deadline_ns, rp_error *err) {
    rp_error story;
    if (rp_ring_is_gone(&remote->ring, &story)) {
        if (err) *err = story;
        return story.status;
    }
    if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed)) {
        return rp_fail(err, RP_ERR_CANCELLED, "the run of '%s' was called off", model->path);
    }
    if (deadline_ns != RP_NEVER_NS && rp_clock_ns() >= deadline_ns) {
        return rp_fail(err, RP_ERR_TIMEOUT, "the run of '%s' passed its deadline", model->path);
    }
    return RP_OK;
}

/* The same for those who have waited for a while. */
static rp_status check_hope(struct remote *remote, const rp_model *model,
                            const _Atomic int *cancelled, int64_t deadline_ns, rp_error *err) {
    rp_status status = check_words(remote, model, cancelled, deadline_ns, err);
    if (status != RP_OK) return status;
    if (remote->is_alive && !remote->is_alive(remote->user)) {
        rp_fail(err, RP_ERR_RUN, "the broker died, and with it the worker of '%s'", model->path);
        rp_hint(err, "ask for the model again: a new broker is started");
        return RP_ERR_RUN;
    }
    return RP_OK;
}

static int64_t next_look(int64_t deadline_ns) {
    int64_t look_ns = rp_clock_ns() + LOOK_NS;
    return look_ns < deadline_ns ? look_ns : deadline_ns;
}

/* A seat that nobody uses; one whose unwanted answer has come counts. */
static bool find_seat(struct remote *remote, uint32_t *index) {
    assert(rp_lock_is_held(&remote->lock));
    for (uint32_t i = 0; i < remote->ring.slot_count; i++) {
        struct seat *seat = &remote->seats[i];
        struct rp_ring_slot *slot = rp_ring_slot(&remote->ring, i);
        if (seat->is_left &&
            atomic_load_explicit(&slot->response, memory_order_acquire) == seat->number) {
            seat->is_left = false;
        }
        if (seat->is_taken || seat->is_left) continue;
        seat->is_taken = true;
        *index = i;
        return true;
    }
    return false;
}

static rp_status take_seat(struct remote *remote, const rp_model *model,
                           const _Atomic int *cancelled, int64_t deadline_ns, uint32_t *index,
                           rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&remote->lock);
    while (status == RP_OK && !find_seat(remote, index)) {
        status = check_hope(remote, model, cancelled, deadline_ns, err);
        if (status != RP_OK) break;
        rp_condition_wait(&remote->freed, &remote->lock, next_look(deadline_ns));
    }
    rp_lock_release(&remote->lock);
    return status;
}

static void give_seat_back(struct remote *remote, uint32_t index, bool is_left) {
    rp_lock_acquire(&remote->lock);
    remote->seats[index].is_taken = false;
    remote->seats[index].is_left = is_left;
    rp_condition_broadcast(&remote->freed);
    rp_lock_release(&remote->lock);
}

/* Wait for the answer to `number`; the reason why nobody waits any longer, or RP_OK. */
static rp_status await_answer(struct remote *remote, const rp_model *model, uint32_t index,
                              const _Atomic int *cancelled, int64_t deadline_ns, rp_error *err) {
    struct seat *seat = &remote->seats[index];
    struct rp_ring_slot *slot = rp_ring_slot(&remote->ring, index);
    for (;;) {
        uint32_t response = atomic_load_explicit(&slot->response, memory_order_acquire);
        if (response == seat->number) return RP_OK;
        int64_t wait_ns = LOOK_NS;
        if (deadline_ns != RP_NEVER_NS) {
            int64_t left_ns = deadline_ns - rp_clock_ns();
            if (left_ns < wait_ns) wait_ns = left_ns;
        }
        if (rp_ring_wait(&slot->response, &slot->client_sleeps, response, &seat->spin, wait_ns)) {
            continue;
        }
        rp_status status = check_hope(remote, model, cancelled, deadline_ns, err);
        if (status != RP_OK) return status;
    }
}

/* A copy of the answer, the caller's. */
static rp_status take_result(struct remote *remote, const rp_model *model, uint32_t index,
                             rp_result **result, rp_error *err) {
    struct seat *seat = &remote->seats[index];
    size_t count = model->outputs.count;
    const unsigned char *area = rp_ring_area(&remote->ring, index);
    uint64_t bytes = 0;
    rp_status status = rp_ring_read_table(area, rp_ring_area_bytes(&remote->ring), count,
                                          seat->table, &bytes, err);
    if (status != RP_OK) return status;
    rp_result *made = rp_result_make(count);
    /* Aligned by hand: what is asked for aligned is cleared, and 12 MB of that cost as much as the
     * copy. */
    unsigned char *block = rp_alloc(bytes + RP_RING_ALIGNMENT);
    if (!made || !block) {
        rp_result_close(made);
        rp_free(block);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the outputs of '%s'", model->path);
    }
    made->owner = block;
    made->release = rp_free;
    uintptr_t misfit = (uintptr_t)block % RP_RING_ALIGNMENT;
    unsigned char *data = block + (misfit ? RP_RING_ALIGNMENT - misfit : 0);
    rp_ring_read_data(area, seat->table, count, data, made->tensors);
    for (size_t i = 0; i < count; i++) {
        int64_t *shape = made->shapes + i * RP_LIMIT_TENSOR_DIMENSIONS;
        memcpy(shape, seat->table[i].shape, (size_t)seat->table[i].ndim * sizeof *shape);
        made->tensors[i].shape = shape;
    }
    *result = made;
    return RP_OK;
}

rp_status rp_remote_model_run(rp_model *model, const rp_tensor *inputs,
                              const _Atomic int *cancelled, int64_t deadline_ns, rp_result **result,
                              rp_error *err) {
    struct remote *remote = model->state;
    uint32_t index = 0;
    if (getpid() != remote->opened_by) {
        return rp_fail(err, RP_ERR_FORKED,
                       "the model '%s' was leased by the parent of this process", model->path);
    }
    rp_status status = check_words(remote, model, cancelled, deadline_ns, err);
    if (status == RP_OK) status = take_seat(remote, model, cancelled, deadline_ns, &index, err);
    if (status != RP_OK) return status;
    struct seat *seat = &remote->seats[index];
    struct rp_ring_slot *slot = rp_ring_slot(&remote->ring, index);
    status = rp_ring_write(rp_ring_area(&remote->ring, index), rp_ring_area_bytes(&remote->ring),
                           inputs, model->inputs.count, err);
    if (status != RP_OK) {
        rp_error_prefix(err, "cannot run '%s': inputs", model->path);
        give_seat_back(remote, index, false);
        return status;
    }
    uint64_t timeout_ns = UINT64_MAX;
    if (deadline_ns != RP_NEVER_NS) {
        int64_t left_ns = deadline_ns - rp_clock_ns();
        timeout_ns = left_ns > 0 ? (uint64_t)left_ns : 0;
    }
    atomic_store_explicit(&slot->timeout_ns, timeout_ns, memory_order_relaxed);
    /* Numbers come round: one that was called off long ago may be this one's. */
    atomic_store_explicit(&slot->cancelled, seat->number, memory_order_relaxed);
    seat->number++;
    rp_ring_post(&slot->request, &slot->worker_sleeps, seat->number);
    status = await_answer(remote, model, index, cancelled, deadline_ns, err);
    if (status != RP_OK) {
        atomic_store_explicit(&slot->cancelled, seat->number, memory_order_relaxed);
        give_seat_back(remote, index, true);
        return status;
    }
    status = take_result(remote, model, index, result, err);
    give_seat_back(remote, index, false);
    return status;
}

static rp_status remote_run(rp_model *model, const rp_tensor *inputs, rp_result **result,
                            rp_error *err) {
    return rp_remote_model_run(model, inputs, NULL, RP_NEVER_NS, result, err);
}

static uint64_t remote_bytes(const rp_model *model) {
    const struct remote *remote = model->state;
    return remote->memory_bytes;
}

static bool remote_is_gone(const rp_model *model) {
    const struct remote *remote = model->state;
    rp_error story;
    return rp_ring_is_gone(&remote->ring, &story) ||
           (remote->is_alive && !remote->is_alive(remote->user));
}

/* What idle slots keep of the largest run so far. */
static void remote_trim(rp_model *model) {
    struct remote *remote = model->state;
    rp_lock_acquire(&remote->lock);
    for (uint32_t i = 0; i < remote->ring.slot_count; i++) {
        struct seat *seat = &remote->seats[i];
        if (!seat->is_taken && !seat->is_left) rp_ring_trim(&remote->ring, i);
    }
    rp_lock_release(&remote->lock);
}

/* A late answer to a run that was left would be taken for that of another. */
static bool is_clean(struct remote *remote) {
    rp_error story;
    bool is = remote->opened_by == getpid() && !rp_ring_is_gone(&remote->ring, &story);
    for (uint32_t i = 0; is && i < remote->ring.slot_count; i++) {
        const struct rp_ring_slot *slot = rp_ring_slot(&remote->ring, i);
        is = atomic_load_explicit(&slot->response, memory_order_acquire) == remote->seats[i].number;
    }
    return is;
}

static void remote_close(rp_model *model) {
    struct remote *remote = model->state;
    if (!remote) return;
    if (remote->closed) remote->closed(remote->user, &remote->ring, is_clean(remote));
    rp_ring_unmap(&remote->ring);
    for (uint32_t i = 0; i < RP_RING_SLOTS; i++) {
        rp_free(remote->seats[i].table);
    }
    rp_condition_fini(&remote->freed);
    rp_lock_fini(&remote->lock);
    rp_free(remote);
    model->state = NULL;
}

static struct remote *remote_create(const struct rp_remote_request *request) {
    const struct rp_engine_ops *engine = rp_engine_find(request->engine);
    struct remote *remote = rp_alloc(sizeof *remote);
    if (!remote) return NULL;
    rp_lock_init(&remote->lock);
    rp_condition_init(&remote->freed);
    snprintf(remote->engine, sizeof remote->engine, "%s", request->engine);
    remote->ops = (struct rp_engine_ops){
        .abi = RP_ENGINE_ABI,
        .name = remote->engine,
        .simulated = engine && engine->simulated,
        .run = remote_run,
        .bytes = remote_bytes,
        .trim = remote_trim,
        .is_gone = remote_is_gone,
        .close = remote_close,
    };
    remote->memory_bytes = request->memory_bytes;
    remote->opened_by = getpid();
    remote->is_alive = request->is_alive;
    remote->user = request->user;
    for (uint32_t i = 0; i < RP_RING_SLOTS; i++) {
        remote->seats[i].table =
            rp_alloc_array(request->outputs->count, sizeof *remote->seats[i].table);
    }
    return remote;
}

/* A model that could not be opened, whose lease is still the caller's. */
static void discard(struct remote *remote) {
    rp_model nobody = {.state = remote};
    if (remote) remote_close(&nobody);
}

rp_status rp_remote_model_open(const struct rp_remote_request *request, rp_model **model,
                               rp_error *err) {
    struct rp_engine_request opened = {
        .path = request->path,
        .device = request->device,
        .precision = request->precision,
        .threads = request->threads,
    };
    rp_status status = RP_OK;
    rp_model *made = NULL;
    struct remote *remote = remote_create(request);
    for (uint32_t i = 0; i < RP_RING_SLOTS && status == RP_OK; i++) {
        if (remote && remote->seats[i].table) continue;
        status = rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", request->path);
    }
    if (status == RP_OK) status = rp_model_make(&remote->ops, &opened, &made, err);
    if (status != RP_OK) {
        discard(remote);
        return status;
    }
    remote->ring = *request->ring;
    request->ring->base = NULL;
    /* A ring that was used before goes on where it stood. */
    for (uint32_t i = 0; i < remote->ring.slot_count; i++) {
        struct rp_ring_slot *slot = rp_ring_slot(&remote->ring, i);
        remote->seats[i].number = atomic_load_explicit(&slot->response, memory_order_acquire);
    }
    remote->closed = request->closed;
    made->state = remote;
    made->inputs = *request->inputs;
    made->outputs = *request->outputs;
    *request->inputs = (struct rp_engine_ports){0};
    *request->outputs = (struct rp_engine_ports){0};
    *model = made;
    return RP_OK;
}

bool rp_model_is_remote(const rp_model *model) {
    return model->ops->close == remote_close;
}
