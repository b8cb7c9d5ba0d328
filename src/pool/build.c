/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/build.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include "pool/waits.h"

#include <unistd.h>

static _Thread_local rp_build *current;

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
    build->deadline_ns = RP_NEVER_NS;
    build->started_ns = rp_clock_ns();
    atomic_init(&build->memory_bytes, RP_UNKNOWN_U64);
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
    atomic_store_explicit(&build->memory_bytes, memory_bytes, memory_order_relaxed);
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
    if (entry->memory_bytes != RP_UNKNOWN_U64) entry->memory_method = "constructor";
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
    rp_status status = rp_model_open_until(build->path, &options, &build->is_abandoned, RP_NEVER_NS,
                                           &entry->model, err);
    if (status != RP_OK) return status; /* its message names the file */
    entry->object = entry->model;
    entry->memory_bytes = rp_model_bytes(entry->model);
    if (entry->memory_bytes != RP_UNKNOWN_U64) entry->memory_method = "engine";
    return RP_OK;
}

rp_status rp_build_run(rp_build *build, rp_destructor destroy, rp_error *err) {
    rp_build *outer = current;
    current = build;
    atomic_store_explicit(&build->thread_id, gettid(), memory_order_relaxed);
    rp_status status = build->construct ? run_constructor(build, err) : run_engine(build, err);
    current = outer;
    build->entry->destroy = destroy;
    build->entry->load_ms = rp_elapsed_ms(build->started_ns, rp_clock_ns());
    return status;
}
