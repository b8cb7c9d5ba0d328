/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/build.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include "pool/waits.h"

#include <malloc.h>
#include <unistd.h>

static _Thread_local rp_build *current;

/* How bytes are known: for people, and whether that is surer than the growth of the process. */
static const struct {
    const char *name;
    bool is_counted;
} methods[] = {
    [RP_BYTES_CONSTRUCTOR] = {"constructor", false},
    [RP_BYTES_TENSORS] = {"tensors", true},
    [RP_BYTES_ARRAYS] = {"arrays", true},
    [RP_BYTES_BUFFER] = {"buffer", true},
    [RP_BYTES_CONTENTS] = {"contents", false},
    [RP_BYTES_FILE] = {"file", false},
    [RP_BYTES_VOCABULARY] = {"vocabulary", false},
    [RP_BYTES_NOT_ITS_OWN] = {"not_its_own", true},
    [RP_BYTES_SHARED] = {"shared", true},
};

const char *rp_bytes_method_name(rp_bytes_method method) {
    return (size_t)method < sizeof methods / sizeof methods[0] ? methods[method].name : NULL;
}

rp_build *rp_build_create(struct rp_entry *entry, rp_build *parent, const rp_request *request,
                          const char *path) {
    rp_build *build = rp_alloc(sizeof *build);
    if (!build) return NULL;
    if (path) {
        build->path = rp_strdup(path);
        if (!build->path) {
            rp_free(build);
            return NULL;
        }
    }
    build->entry = entry;
    build->parent = parent;
    build->depth = parent ? parent->depth + 1 : 1;
    build->construct = request->construct;
    build->user = request->user;
    build->expected_bytes = request->memory_bytes;
    build->deadline_ns = RP_NEVER_NS;
    build->destroy = request->destroy;
    build->grown_bytes = RP_UNKNOWN_U64;
    atomic_init(&build->memory_bytes, RP_UNKNOWN_U64);
    atomic_init(&build->bytes_method, RP_BYTES_CONSTRUCTOR);
    atomic_init(&build->thread_id, gettid());
    return build;
}

void rp_build_destroy(rp_build *build) {
    if (!build) return;
    rp_free(build->path);
    rp_free(build);
}

rp_build *rp_build_current(void) {
    return current;
}

const rp_placement *rp_build_placement(const rp_build *build) {
    return &build->entry->placement;
}

const char *rp_build_key(const rp_build *build) {
    return build->entry->text;
}

void rp_build_set_bytes(rp_build *build, uint64_t memory_bytes) {
    rp_build_set_bytes_by(build, memory_bytes, RP_BYTES_CONSTRUCTOR);
}

void rp_build_set_bytes_by(rp_build *build, uint64_t memory_bytes, rp_bytes_method method) {
    if (!rp_bytes_method_name(method)) method = RP_BYTES_CONSTRUCTOR;
    if (method == RP_BYTES_NOT_ITS_OWN) memory_bytes = RP_UNKNOWN_U64;
    atomic_store_explicit(&build->bytes_method, method, memory_order_relaxed);
    atomic_store_explicit(&build->memory_bytes, memory_bytes, memory_order_relaxed);
}

static rp_bytes_method bytes_method(const rp_build *build) {
    return (rp_bytes_method)atomic_load_explicit(&build->bytes_method, memory_order_relaxed);
}

int rp_build_is_cancelled(const rp_build *build) {
    return atomic_load_explicit(&build->is_abandoned, memory_order_relaxed) ||
           rp_cancel_is_fired(build->cancel) ||
           (build->deadline_ns != RP_NEVER_NS && rp_clock_ns() >= build->deadline_ns);
}

static rp_status run_constructor(rp_build *build, rp_error *err) {
    struct rp_entry *entry = build->entry;
    rp_error story = RP_ERROR_INIT;
    void *object = NULL;
    rp_status status = build->construct(build, build->user, &object, &story);
    if (status == RP_OK && !object) {
        rp_fail(err, RP_ERR_LOAD,
                "cannot load '%s': its constructor succeeded but made nothing (NULL)", entry->text);
        rp_hint(err, "return a status other than RP_OK when there is nothing to return");
        return RP_ERR_LOAD;
    }
    if (status != RP_OK) {
        if (story.message[0] == '\0') {
            return rp_fail(err, status,
                           "cannot load '%s': its constructor failed and gave no reason (%s)",
                           entry->text, rp_status_text(status));
        }
        story.status = status;
        rp_error_prefix(&story, "cannot load '%s'", entry->text);
        if (err) *err = story;
        return status;
    }
    entry->object = object;
    entry->memory_bytes = atomic_load_explicit(&build->memory_bytes, memory_order_relaxed);
    if (entry->memory_bytes != RP_UNKNOWN_U64) {
        entry->memory_method = rp_bytes_method_name(bytes_method(build));
    }
    return RP_OK;
}

/*
 * The thread that waits for this load, unless it could be told that it is stuck in vain: another
 * may be holding, and so give back, what was leased for this one.
 */
static pid_t lone_waiter(const rp_build *build) {
    rp_pool *pool = build->entry->pool;
    pid_t thread = build->entry->asked_by;
    rp_lock_acquire(&pool->lock);
    for (const struct rp_entry *at = pool->oldest; at && thread; at = at->next) {
        if (at->asked_by != thread) continue;
        for (const struct rp_holder *holder = at->holders; holder; holder = holder->next_of_entry) {
            bool is_others = holder->seat->thread_id != build->entry->asked_by;
            if (is_others && rp_holder_lease_count(holder) > 0) thread = 0;
        }
    }
    rp_lock_release(&pool->lock);
    return thread;
}

static rp_status lease(rp_build *build, const struct rp_key_parts *parts,
                       const rp_model_options *options, rp_error *err) {
    struct rp_entry *entry = build->entry;
    const struct rp_pool_hooks *hooks = &entry->pool->hooks;
    struct rp_pool_leased leased = {.model = NULL};
    const struct rp_pool_wanted wanted = {
        .file = build->path,
        .options = options,
        .cancelled = &build->is_abandoned,
        .type = parts->type,
        .name = parts->name,
        .path = parts->path,
        .memory_bytes = build->expected_bytes,
        .thread = lone_waiter(build),
    };
    rp_status status = hooks->lease_model(hooks->user, &wanted, &leased, err);
    if (status != RP_OK) return status;
    build->is_hit = leased.is_hit;
    entry->is_leased = !leased.is_own;
    entry->object = entry->model = leased.model;
    entry->memory_bytes = rp_model_bytes(entry->model);
    entry->memory_method = leased.memory_method;
    return RP_OK;
}

static rp_status run_engine(rp_build *build, rp_error *err) {
    struct rp_entry *entry = build->entry;
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    options.engine = parts.engine;
    options.device = parts.device;
    options.precision = parts.precision;
    options.threads = parts.threads;
    if (entry->pool->hooks.lease_model) return lease(build, &parts, &options, err);
    const struct rp_pool_hooks *hooks = &entry->pool->hooks;
    rp_status status = hooks->open_model
                           ? hooks->open_model(hooks->user, build->path, &options,
                                               &build->is_abandoned, &entry->model, err)
                           : rp_model_open_until(build->path, &options, &build->is_abandoned,
                                                 RP_NEVER_NS, &entry->model, err);
    if (status != RP_OK) return status; /* its message names the file */
    entry->object = entry->model;
    entry->memory_bytes = rp_model_bytes(entry->model);
    if (entry->memory_bytes != RP_UNKNOWN_U64) entry->memory_method = "engine";
    return RP_OK;
}

/* So much more than what was said is not noise any more, and what was said is wrong. */
static bool is_far_above(uint64_t grown_bytes, uint64_t said_bytes) {
    return grown_bytes != RP_UNKNOWN_U64 && grown_bytes > said_bytes &&
           grown_bytes - said_bytes > said_bytes / 20 + (UINT64_C(16) << 20);
}

/*
 * How many bytes the object takes: as its maker counted or said, unless it only said so and the
 * process was seen to grow by much more; without a word of it, what it was seen to grow by; else
 * what was expected.
 */
static void settle_bytes(rp_build *build, uint64_t before) {
    struct rp_entry *entry = build->entry;
    if (build->is_together) return;
    bool is_said = entry->memory_bytes != RP_UNKNOWN_U64;
    bool is_counted = build->construct && methods[bytes_method(build)].is_counted;
    if (build->grown_bytes != RP_UNKNOWN_U64 &&
        is_far_above(build->grown_bytes, is_said ? entry->memory_bytes : 0)) {
        malloc_trim(0); /* what the maker used and freed again is not part of the object */
        uint64_t after = rp_meter_own_bytes(&entry->pool->meter, rp_entry_device(entry));
        build->grown_bytes = after > before ? after - before : 0;
    }
    if (is_counted && !is_said) {
        entry->memory_method = NULL; /* a library: nothing of it comes back */
    } else if (is_said && (is_counted || !is_far_above(build->grown_bytes, entry->memory_bytes))) {
        build->remembered_method = entry->memory_method;
    } else if (build->grown_bytes != RP_UNKNOWN_U64 &&
               build->grown_bytes >= RP_LEDGER_NOISE_BYTES) {
        entry->memory_bytes = build->grown_bytes;
        entry->memory_method = build->remembered_method = "measured";
    } else if (!is_said && build->estimate.bytes != RP_UNKNOWN_U64) {
        entry->memory_bytes = build->estimate.bytes;
        entry->memory_method = build->estimate.method;
    }
}

/*
 * Others ran beside it. What its maker said is charged at once, so that it is not charged to them.
 * If nobody said anything, what is there and nobody is charged for is: that may be another's, who
 * then finds less, but the sum is right and a budget holds. It is not remembered.
 */
static void settle_shared(rp_build *build, uint64_t after) {
    struct rp_entry *entry = build->entry;
    struct rp_ledger *ledger = &entry->pool->ledger;
    assert(rp_lock_is_held(&entry->pool->lock));
    bool is_known = entry->memory_bytes != RP_UNKNOWN_U64 ||
                    build->estimate.bytes != RP_UNKNOWN_U64 ||
                    bytes_method(build) == RP_BYTES_NOT_ITS_OWN;
    if (!is_known) {
        uint64_t bytes = rp_ledger_unexplained(ledger, entry->charge_device, after);
        if (bytes == RP_UNKNOWN_U64 || bytes < RP_LEDGER_NOISE_BYTES) return;
        entry->memory_bytes = bytes;
        entry->memory_method = "together";
        build->is_together = true;
    }
    if (entry->memory_bytes != RP_UNKNOWN_U64) {
        rp_ledger_correct(ledger, &entry->charge, entry->memory_bytes);
    }
}

/* A run of the model failed: what to do then. */
static void explain_run(const rp_model *model, rp_error *err) {
    (void)rp_explain(err, model->device, model->path, NULL);
}

static rp_status run(rp_build *build, rp_error *err) {
    rp_build *outer = current;
    current = build;
    if (build->seat) build->seat->building_count++;
    rp_status status = build->construct ? run_constructor(build, err) : run_engine(build, err);
    if (build->seat) build->seat->building_count--;
    current = outer;
    return status;
}

rp_status rp_build_run(rp_build *build, rp_error *err) {
    struct rp_entry *entry = build->entry;
    rp_pool *pool = entry->pool;
    const char *device = rp_entry_device(entry);
    atomic_store_explicit(&build->thread_id, gettid(), memory_order_relaxed);
    int64_t started_ns = rp_clock_ns();
    RP_WRITE(build->started_ns, started_ns);

    rp_lock_acquire(&pool->lock);
    uint64_t began = rp_ledger_begin(&pool->ledger, entry->charge_device);
    rp_lock_release(&pool->lock);
    uint64_t before = rp_meter_own_bytes(&pool->meter, device);
    if (began) {
        rp_lock_acquire(&pool->lock);
        rp_ledger_anchor(&pool->ledger, entry->charge_device, began, before);
        rp_lock_release(&pool->lock);
    }
    rp_status status = run(build, err);
    uint64_t after = rp_meter_own_bytes(&pool->meter, device);
    rp_lock_acquire(&pool->lock);
    bool is_alone = rp_ledger_end(&pool->ledger, entry->charge_device, began);
    if (!is_alone && status == RP_OK && !entry->is_leased) settle_shared(build, after);
    rp_lock_release(&pool->lock);

    bool is_metered = is_alone && before != RP_UNKNOWN_U64 && after != RP_UNKNOWN_U64;
    build->grown_bytes = !is_metered ? RP_UNKNOWN_U64 : after > before ? after - before : 0;
    entry->destroy = build->destroy;
    entry->load_ms = build->elsewhere_ms + rp_elapsed_ms(started_ns, rp_clock_ns());
    if (status == RP_OK && !entry->is_leased) settle_bytes(build, before);
    if (status == RP_OK && entry->model) entry->model->run_failed = explain_run;
    return status;
}
