/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: what happens when a request is not a hit.
 *
 * A hit never comes here: it is answered by the caller's own seat (seat.h). Everything else takes
 * pool.lock for as long as it looks at the tables, and lets go of it before anything is resolved,
 * constructed, waited for, destroyed or logged.
 *
 *     request --alias--> entry            known request: take a lease, or wait for its load
 *     request --resolve--> instance --> entry    new request for a known instance: add the alias
 *     request --resolve--> instance --> build    nobody has it: load, publish, wake the waiters
 */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"
#include "placement/placement.h"
#include "pool/build.h"
#include "pool/waits.h"

#include <errno.h>
#include <resourcepool/hardware.h>
#include <resourcepool/model.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One request on its slow way. Lives on the caller's stack. */
struct ask {
    rp_pool *pool;
    const rp_request *request;
    struct rp_key_parts asked;
    rp_build *by; /* the load on whose behalf */
    struct rp_seat *seat;
    int64_t deadline_ns;

    /* What it resolves to; filled in by resolve(), owned. */
    bool is_counted; /* as a miss, by the load that it started */
    bool is_resolved;
    const rp_snapshot *snapshot;
    struct rp_placement_choice choice;
    struct rp_key_parts instance;
    char *file; /* the canonical path of the model's file */
};

static void ask_fini(struct ask *ask) {
    if (ask->snapshot) rp_snapshot_release(ask->snapshot);
    rp_free(ask->file);
    ask->snapshot = NULL;
    ask->file = NULL;
}

/* The entry that this request is known to lead to, and the key under which it is known. */
static struct rp_alias *find_alias(const rp_pool *pool, const struct rp_key_parts *asked) {
    struct rp_table_probe at = rp_table_find(&pool->requests, rp_key_hash(asked));
    for (; at.value; at = rp_table_find_next(&pool->requests, at)) {
        struct rp_alias *alias = at.value;
        if (rp_key_equals(alias->request, asked)) return alias;
    }
    return NULL;
}

static struct rp_entry *find_instance(const rp_pool *pool, const struct rp_key_parts *instance) {
    struct rp_table_probe at = rp_table_find(&pool->instances, rp_key_hash(instance));
    for (; at.value; at = rp_table_find_next(&pool->instances, at)) {
        struct rp_entry *entry = at.value;
        if (rp_key_equals(entry->instance, instance)) return entry;
    }
    return NULL;
}

/* Where `name` leads, with every link followed; NULL with errno when it leads nowhere. */
static char *canonical_path(const char *name) {
    char *resolved = realpath(name, NULL);
    if (!resolved) return NULL;
    char *copy = rp_strdup(resolved);
    free(resolved);
    if (!copy) errno = ENOMEM;
    return copy;
}

/* Who loads a model for which the caller brought no constructor, and from which file. */
static rp_status resolve_engine(struct ask *ask, rp_error *err) {
    const char *path = ask->asked.path ? ask->asked.path : ask->asked.name;
    const struct rp_engine_ops *engine = NULL;
    rp_status status =
        rp_engine_choose(ask->asked.engine, path, ask->instance.device, &engine, err);
    if (status != RP_OK) return status;
    ask->instance.engine = engine->name;
    if (engine->simulated) return RP_OK; /* its names are no files */
    ask->file = canonical_path(path);
    if (!ask->file) return rp_fail_errno(err, "cannot load the model '%s'", path);
    /* However the file was named, it is one instance. */
    if (ask->asked.path) {
        ask->instance.path = ask->file;
    } else {
        ask->instance.name = ask->file;
    }
    return RP_OK;
}

/* Whether a constructor's object is there: it also answers a request that brings none. */
static bool has_constructed(const struct ask *ask) {
    if (ask->asked.engine || ask->asked.path) return false;
    rp_lock_acquire(&ask->pool->lock);
    bool is_there = find_instance(ask->pool, &ask->instance) != NULL;
    rp_lock_release(&ask->pool->lock);
    return is_there;
}

/* From what was asked to what it is. Under no lock: looks at hardware and files. */
static rp_status resolve(struct ask *ask, rp_error *err) {
    ask_fini(ask);
    ask->instance = ask->asked;
    if (ask->asked.kind == RP_KIND_MODEL) {
        rp_status status = rp_hardware_snapshot(&ask->snapshot, err);
        if (status != RP_OK) return status;
        status = rp_placement_choose(ask->snapshot, ask->asked.device, &ask->choice, err);
        if (status != RP_OK) return status;
        ask->instance.device = ask->choice.device;
        if (!ask->request->construct && !has_constructed(ask)) {
            status = resolve_engine(ask, err);
            if (status != RP_OK) return status;
        }
    } else if (!ask->request->construct) {
        rp_fail(err, RP_ERR_NOT_FOUND,
                "no %s '%s%s%s' is loaded, and the request has no constructor",
                rp_kind_name(ask->asked.kind), ask->asked.type, ask->asked.name ? ":" : "",
                ask->asked.name ? ask->asked.name : "");
        rp_hint(err, "give rp_request.construct: only models can be loaded by an engine");
        return RP_ERR_NOT_FOUND;
    } else {
        ask->choice.policy = RP_POLICY_ANY;
        snprintf(ask->choice.reason, sizeof ask->choice.reason, "where its constructor put it");
    }
    ask->is_resolved = true;
    return RP_OK;
}

static const struct rp_key *find_request_key(const struct rp_entry *entry,
                                             const struct rp_key_parts *asked) {
    for (const struct rp_alias *alias = entry->aliases; alias; alias = alias->next_of_entry) {
        if (rp_key_equals(alias->request, asked)) return alias->request;
    }
    return NULL;
}

/* This thread's holder of the entry under that key, made if need be; NULL without memory. */
static struct rp_holder *holder_of(struct rp_seat *seat, struct rp_entry *entry,
                                   const struct rp_key *request) {
    struct rp_table_probe at = rp_table_find(&seat->holders, request->hash);
    for (; at.value; at = rp_table_find_next(&seat->holders, at)) {
        struct rp_holder *holder = at.value;
        if (holder->entry == entry && holder->request == request) return holder;
    }
    struct rp_holder *holder = rp_seat_add_holder(seat, entry, request);
    if (!holder) return NULL;
    if (entry->is_detached) RP_WRITE(holder->is_open, 0);
    holder->next_of_entry = entry->holders;
    entry->holders = holder;
    return holder;
}

rp_status rp_pool_take_lease(struct rp_seat *seat, struct rp_entry *entry,
                             const struct rp_key *request, bool is_hit, rp_lease **lease,
                             rp_error *err) {
    assert(rp_lock_is_held(&entry->pool->lock));
    struct rp_holder *holder = rp_seat_reserve_slot(seat) ? holder_of(seat, entry, request) : NULL;
    if (!holder) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a lease on '%s'", entry->text);
    }
    struct rp_slot *slot = seat->free_slots;
    seat->free_slots = slot->next;
    if (!is_hit) holder->not_hits++;
    *lease = rp_holder_take(holder, slot);
    return RP_OK;
}

/* Why a wait ended without the object: who loads it, since when. Needs pool.lock. */
static rp_status tell_wait(const struct ask *ask, const struct rp_entry *entry, rp_status status,
                           rp_error *err) {
    const rp_build *build = entry->build;
    double loading_ms = rp_elapsed_ms(build->started_ns, rp_clock_ns());
    if (status == RP_ERR_CANCELLED) {
        return rp_fail(err, status,
                       "the wait for '%s' was called off; it has been loading for %.0f ms",
                       entry->text, loading_ms);
    }
    rp_fail(err, status,
            "'%s' was not there within %lld ms: thread %d has been loading it for %.0f ms",
            entry->text, (long long)ask->request->timeout_ms, (int)RP_READ(build->thread_id),
            loading_ms);
    rp_hint(err, "raise timeout_ms, or ask again: the load goes on");
    return status;
}

/*
 * Wait for a load on another thread: somebody else's, or one that a loader thread runs for this
 * caller. RP_OK with *lease NULL: its own caller called it off, try again. Enters and leaves with
 * pool.lock held; *dead is the entry if it is due for destruction afterwards.
 */
static rp_status wait_for_load(const struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                               struct rp_entry **dead, rp_error *err) {
    rp_pool *pool = ask->pool;
    const struct rp_key *request = find_request_key(entry, &ask->asked);
    rp_build *build = entry->build;
    struct rp_wait wait = {.on = entry, .by = ask->by, .cancel = ask->request->cancel};
    rp_status status = rp_waits_enter(&wait, err);
    if (status != RP_OK) return status;

    entry->pin_count++;
    build->waiter_count++;
    if (!ask->is_counted) pool->wait_count++;
    rp_lock_release(&pool->lock);
    status = rp_waits_sleep(&wait, ask->deadline_ns);
    rp_waits_leave(&wait);
    rp_lock_acquire(&pool->lock);
    build->waiter_count--;

    if (entry->state == RP_ENTRY_LOADED) {
        status = rp_pool_take_lease(ask->seat, entry, request, !ask->is_counted, lease, err);
    } else if (entry->state == RP_ENTRY_FAILED) {
        status = build->was_called_off ? RP_OK : build->failure.status;
        if (status != RP_OK && err) *err = build->failure;
    } else {
        status = tell_wait(ask, entry, status, err);
        /* Nobody is left who wants it: a load that can stop may do so. */
        if (build->waiter_count == 0 && build->has_loader_thread) {
            atomic_store_explicit(&build->is_abandoned, 1, memory_order_relaxed);
        }
    }
    if (rp_entry_unpin(entry)) *dead = entry;
    return status;
}

/* A new entry in both tables, in the list, with its build; NULL without memory. Needs pool.lock. */
static struct rp_entry *add_entry(struct ask *ask) {
    rp_pool *pool = ask->pool;
    struct rp_entry *entry =
        rp_entry_create(pool, &ask->instance, ask->choice.policy, ask->choice.reason);
    if (!entry) return NULL;
    const char *path = ask->file ? ask->file : ask->asked.path ? ask->asked.path : ask->asked.name;
    entry->build =
        rp_build_create(entry, ask->by, ask->request, ask->request->construct ? NULL : path);
    if (!entry->build || !rp_table_reserve(&pool->instances) ||
        !rp_entry_add_alias(entry, &ask->asked)) {
        rp_entry_destroy(entry);
        return NULL;
    }
    rp_table_insert(&pool->instances, entry->instance->hash, entry);
    entry->previous = pool->newest;
    if (pool->newest) {
        pool->newest->next = entry;
    } else {
        pool->oldest = entry;
    }
    pool->newest = entry;
    entry->pin_count = 1; /* the builder's */
    pool->load_count++;
    return entry;
}

/* The load is over: say so to the tables and to whoever waits. Needs pool.lock. */
static void publish(struct rp_entry *entry, rp_status status, const rp_error *failure,
                    bool was_called_off) {
    rp_pool *pool = entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    entry->misses++;
    if (status == RP_OK) {
        entry->state = RP_ENTRY_LOADED;
        entry->used_ns = rp_clock_coarse_ns();
    } else {
        entry->state = RP_ENTRY_FAILED;
        entry->build->failure = *failure;
        entry->build->failure.status = status;
        entry->build->was_called_off = was_called_off;
        pool->load_failure_count++;
        rp_entry_detach(entry); /* nobody holds it: no fence is needed */
    }
    rp_waits_wake(entry);
}

static void log_load(const rp_pool *pool, const char *key, double load_ms, rp_status status,
                     const rp_error *err) {
    if (status == RP_OK) {
        rp_log(&pool->logger, RP_LOG_INFO, "event=load key=\"%s\" ms=%.1f", key, load_ms);
    } else {
        rp_log(&pool->logger, RP_LOG_WARNING,
               "event=load_failed key=\"%s\" ms=%.1f status=%s message=\"%s\"", key, load_ms,
               rp_status_name(status), err->message);
    }
}

/* Whether a load ended because of its own caller's deadline or token, which are nobody else's
 * matter. */
static bool is_called_off(const rp_build *build, rp_status status) {
    return (status == RP_ERR_CANCELLED || status == RP_ERR_TIMEOUT) && rp_build_is_cancelled(build);
}

/* Load on this thread, for the caller that asked. Enters and leaves with pool.lock held. */
static rp_status load_here(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                           struct rp_entry **dead, rp_error *err) {
    rp_pool *pool = ask->pool;
    rp_build *build = entry->build;
    build->deadline_ns = ask->deadline_ns;
    build->cancel = ask->request->cancel;
    struct rp_wait wait = {.on = entry, .by = ask->by};
    rp_error story = RP_ERROR_INIT;
    rp_status status = rp_waits_enter(&wait, &story);
    assert(status == RP_OK); /* no circle: nothing waits on behalf of a new entry */
    rp_lock_release(&pool->lock);

    status = rp_build_run(build, ask->request->destroy, &story);
    bool is_late = ask->deadline_ns != RP_NEVER_NS && rp_clock_ns() >= ask->deadline_ns;
    bool was_called_off = is_called_off(build, status);
    log_load(pool, entry->text, entry->load_ms, status, &story);

    rp_waits_leave(&wait);
    rp_lock_acquire(&pool->lock);
    publish(entry, status, &story, was_called_off);
    if (status == RP_OK && is_late) {
        status = rp_fail(&story, RP_ERR_TIMEOUT,
                         "'%s' took %.0f ms to load, longer than the %lld ms allowed", entry->text,
                         entry->load_ms, (long long)ask->request->timeout_ms);
        rp_hint(&story, "it is loaded now: ask again");
    } else if (status == RP_OK) {
        status = rp_pool_take_lease(ask->seat, entry, find_request_key(entry, &ask->asked), false,
                                    lease, &story);
    }
    if (rp_entry_unpin(entry)) *dead = entry;
    if (status != RP_OK && err) *err = story;
    return status;
}

/* A loader thread's whole life: an engine's load whose caller has a deadline or a token. */
static void *load_elsewhere(void *argument) {
    struct rp_entry *entry = argument;
    rp_pool *pool = entry->pool;
    rp_error story = RP_ERROR_INIT;
    rp_status status = rp_build_run(entry->build, NULL, &story);
    bool was_called_off = is_called_off(entry->build, status);
    log_load(pool, entry->text, entry->load_ms, status, &story);
    rp_lock_acquire(&pool->lock);
    publish(entry, status, &story, was_called_off);
    bool is_dead = rp_entry_unpin(entry);
    rp_lock_release(&pool->lock);
    if (is_dead) rp_entry_destroy(entry);
    rp_lock_acquire(&pool->lock);
    pool->loader_thread_count--;
    rp_condition_broadcast(&pool->load_ended);
    rp_lock_release(&pool->lock);
    return NULL;
}

/* Start a thread that takes no signals, which are the program's own matter. */
static int start_loader(struct rp_entry *entry) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &attributes, load_elsewhere, entry);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return rc;
}

/* Load a new entry: here, or on a thread of its own if the caller may have to leave before the end.
 */
static rp_status load(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                      struct rp_entry **dead, rp_error *err) {
    rp_pool *pool = ask->pool;
    ask->is_counted = true;
    bool may_leave = ask->deadline_ns != RP_NEVER_NS || ask->request->cancel;
    if (entry->build->construct || !may_leave) return load_here(ask, entry, lease, dead, err);

    entry->build->has_loader_thread = true;
    pool->loader_thread_count++;
    int rc = start_loader(entry);
    if (rc == 0) return wait_for_load(ask, entry, lease, dead, err);

    pool->loader_thread_count--;
    errno = rc;
    rp_error story = RP_ERROR_INIT;
    rp_status status = rp_fail_errno(&story, "cannot load '%s': no thread for it", entry->text);
    rp_hint(&story, "a request without a deadline and a token loads on its own thread");
    publish(entry, status, &story, false);
    if (rp_entry_unpin(entry)) *dead = entry;
    if (err) *err = story;
    return status;
}

static bool can_load(const struct ask *ask) {
    return ask->request->construct || ask->instance.engine;
}

/* One look at the tables, and what follows from it. RP_OK with *lease NULL: look again. */
static rp_status look(struct ask *ask, rp_lease **lease, rp_error *err) {
    rp_pool *pool = ask->pool;
    struct rp_entry *dead = NULL;
    struct rp_entry *entry = NULL;
    const struct rp_key *request = NULL;
    rp_status status = RP_OK;

    rp_lock_acquire(&pool->lock);
    struct rp_alias *alias = find_alias(pool, &ask->asked);
    if (alias) {
        entry = alias->entry;
        request = alias->request;
    } else if (ask->is_resolved) {
        entry = find_instance(pool, &ask->instance);
        if (entry && !rp_entry_add_alias(entry, &ask->asked)) {
            status = rp_fail(err, RP_ERR_MEMORY, "no memory for a request for '%s'", entry->text);
            goto done;
        }
        if (entry) request = entry->aliases->request;
    }
    if (entry && entry->state == RP_ENTRY_LOADED) {
        status = rp_pool_take_lease(ask->seat, entry, request, true, lease, err);
    } else if (entry) {
        status = wait_for_load(ask, entry, lease, &dead, err);
    } else if (ask->is_resolved && !can_load(ask)) {
        ask->is_resolved = false; /* the constructor's object that was there has gone meanwhile */
    } else if (ask->is_resolved) {
        entry = add_entry(ask);
        status = entry ? load(ask, entry, lease, &dead, err)
                       : rp_fail(err, RP_ERR_MEMORY, "no memory to keep '%s:%s'", ask->asked.type,
                                 ask->asked.name ? ask->asked.name : "");
    }
done:
    rp_lock_release(&pool->lock);
    if (dead) rp_entry_destroy(dead);
    if (status == RP_OK && !*lease && !ask->is_resolved) status = resolve(ask, err);
    return status;
}

/* Whatever is not a hit of a thread that has been here before. */
static rp_status acquire_slowly(rp_pool *pool, rp_kind kind, const rp_request *request,
                                rp_lease **lease, rp_error *err) {
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct ask ask = {.pool = pool, .request = request};
    status = rp_key_parts_of_request(kind, request, &ask.asked, err);
    if (status != RP_OK) return status;
    ask.deadline_ns =
        request->timeout_ms > 0 ? rp_deadline_after_ms(request->timeout_ms) : RP_NEVER_NS;
    ask.by = request->within ? request->within : rp_build_current();
    rp_lease *taken = NULL;
    if (ask.by && ask.by->depth >= RP_LIMIT_BUILD_DEPTH) {
        status =
            rp_fail(err, RP_ERR_LIMIT, "constructors that need each other are %d deep, at '%s'",
                    RP_LIMIT_BUILD_DEPTH, ask.by->entry->text);
    } else if (rp_cancel_is_fired(request->cancel)) {
        status =
            rp_fail(err, RP_ERR_CANCELLED, "the request for '%s:%s' was called off before it began",
                    request->type, request->name ? request->name : "");
    } else {
        ask.seat = rp_seat_of(pool);
        if (!ask.seat) {
            rp_fail(err, RP_ERR_MEMORY, "no memory for this thread's place in the pool");
            status = RP_ERR_MEMORY;
        }
    }
    while (status == RP_OK && !taken) {
        status = look(&ask, &taken, err);
    }
    ask_fini(&ask);
    if (status == RP_OK) {
        *lease = taken;
    } else if (!ask.is_counted) {
        rp_lock_acquire(&pool->lock);
        pool->retired_misses++;
        rp_lock_release(&pool->lock);
    }
    return status;
}

static rp_status acquire(rp_pool *pool, rp_kind kind, const rp_request *request, rp_lease **lease,
                         rp_error *err) {
    if (!pool || !request || !lease || request->size < offsetof(rp_request, device)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a request needs a pool, an rp_request with its size set, and a lease");
    }
    rp_request whole;
    if (request->size != sizeof whole) {
        /* A caller that was built with an older header: what it does not know is default. */
        whole = (rp_request)RP_REQUEST_INIT;
        size_t known = request->size < sizeof whole ? request->size : sizeof whole;
        memcpy(&whole, request, known);
        whole.size = sizeof whole;
        request = &whole;
    }
    if (request->type) {
        struct rp_key_parts parts = {
            .kind = kind,
            .threads = request->threads,
            .type = request->type,
            .name = request->name,
            .device = request->device,
            .precision = request->precision,
            .engine = request->engine,
            .path = request->path,
        };
        if (parts.device && strcmp(parts.device, "auto") == 0) parts.device = NULL;
        rp_lease *hit = rp_seat_hit(pool, &parts);
        if (hit) {
            *lease = hit;
            return RP_OK;
        }
    }
    return acquire_slowly(pool, kind, request, lease, err);
}

rp_status rp_pool_get_model(rp_pool *pool, const rp_request *request, rp_lease **lease,
                            rp_error *err) {
    return acquire(pool, RP_KIND_MODEL, request, lease, err);
}

rp_status rp_pool_get_tokenizer(rp_pool *pool, const rp_request *request, rp_lease **lease,
                                rp_error *err) {
    return acquire(pool, RP_KIND_TOKENIZER, request, lease, err);
}

rp_status rp_pool_get_resource(rp_pool *pool, const rp_request *request, rp_lease **lease,
                               rp_error *err) {
    return acquire(pool, RP_KIND_RESOURCE, request, lease, err);
}

rp_status rp_pool_check_process(const rp_pool *pool, rp_error *err) {
    if (pool->fork_count == rp_seat_fork_count()) return RP_OK;
    rp_fail(err, RP_ERR_FORKED, "this pool belongs to process %d, the parent of this one (%d)",
            (int)pool->pid, (int)getpid());
    rp_hint(err, "open a pool of its own in the child, or call rp_pool_default() there");
    return RP_ERR_FORKED;
}

void rp_pool_settle_holder(rp_pool *pool, struct rp_holder *holder) {
    assert(rp_lock_is_held(&pool->lock));
    struct rp_entry *entry = holder->entry;
    if (!entry) {
        rp_lock_release(&pool->lock); /* whoever cleared it saw that this was the last */
        return;
    }
    bool is_dead = entry->is_detached && rp_entry_settle(entry);
    if (!is_dead && holder->seat->is_vacant && rp_holder_lease_count(holder) == 0) {
        rp_entry_drop_holder(entry, holder);
        rp_seat_bury(holder);
    }
    rp_lock_release(&pool->lock);
    if (is_dead) rp_entry_destroy(entry);
}

/* Name the leases that are out, as far as the message reaches. Needs pool.lock. */
static void tell_leases(const rp_pool *pool, uint64_t count, rp_error *err) {
    struct rp_text who = RP_TEXT_INIT;
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        for (const struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
            uint64_t leases = rp_holder_lease_count(at);
            if (leases == 0 || who.length > sizeof err->message) continue;
            rp_text_print(&who, "%s'%s' (thread %d holds %llu)", who.length ? ", " : "",
                          entry->text, (int)at->seat->thread_id, (unsigned long long)leases);
        }
    }
    rp_fail(err, RP_ERR_BUSY, "%llu object%s still leased: %s", (unsigned long long)count,
            count == 1 ? " is" : "s are", who.bytes ? who.bytes : "(no memory to name them)");
    rp_hint(err, "release the leases; each object goes with its last one");
    rp_text_fini(&who);
}

/* Take every loaded entry out of the tables; those that nobody holds come back, chained by `next`.
 */
static struct rp_entry *detach_all(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock));
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->state == RP_ENTRY_LOADED) rp_entry_detach(entry);
    }
    rp_fence_heavy();
    rp_seat_wait_for_readers(pool);
    struct rp_entry *dead = NULL;
    for (struct rp_entry *entry = pool->oldest, *next; entry; entry = next) {
        next = entry->next;
        if (!rp_entry_settle(entry)) continue;
        entry->next = dead;
        dead = entry;
    }
    return dead;
}

/* How much is in the pool: loaded objects, their bytes as far as known, and loads. Needs pool.lock.
 */
static struct rp_cleared count_entries(const rp_pool *pool) {
    struct rp_cleared found = {0};
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->state == RP_ENTRY_LOADING) {
            found.loading_count++;
        } else if (entry->state == RP_ENTRY_LOADED) {
            found.leased_count++;
            if (entry->memory_bytes != RP_UNKNOWN_U64) found.removed_bytes += entry->memory_bytes;
        }
    }
    return found;
}

rp_status rp_pool_clear(rp_pool *pool, rp_cleared *cleared, rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool to clear");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;

    rp_lock_acquire(&pool->lock);
    struct rp_cleared before = count_entries(pool);
    struct rp_entry *dead = detach_all(pool);
    rp_lock_release(&pool->lock);
    while (dead) {
        struct rp_entry *entry = dead;
        dead = entry->next;
        rp_entry_destroy(entry); /* may release leases on others, which then go too */
    }
    rp_lock_acquire(&pool->lock);
    struct rp_cleared after = count_entries(pool);
    if (after.leased_count > 0) {
        status = RP_ERR_BUSY;
        if (err) tell_leases(pool, after.leased_count, err);
    }
    rp_lock_release(&pool->lock);

    /* What others loaded meanwhile is not below zero. */
    after.removed_count =
        before.leased_count > after.leased_count ? before.leased_count - after.leased_count : 0;
    after.removed_bytes =
        before.removed_bytes > after.removed_bytes ? before.removed_bytes - after.removed_bytes : 0;
    if (cleared) *cleared = after;
    rp_log(&pool->logger, RP_LOG_INFO, "event=clear removed=%llu leased=%llu",
           (unsigned long long)after.removed_count, (unsigned long long)after.leased_count);
    return status;
}

rp_status rp_pool_open(const rp_pool_options *options, rp_pool **pool, rp_error *err) {
    rp_pool_options own = RP_POOL_OPTIONS_INIT;
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no place for the pool that is to be opened");
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    rp_pool *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for a pool");
    made->logger = rp_logger_make(own.log_level, own.log_sink, own.log_user);
    made->fork_count = rp_seat_fork_count();
    made->pid = getpid();
    rp_fence_prepare();
    rp_lock_init(&made->lock);
    rp_condition_init(&made->load_ended);
    *pool = made;
    return RP_OK;
}

/* Loads on threads of ours end before the pool does: they are told to stop, if they can. */
static void end_loader_threads(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->state == RP_ENTRY_LOADING && entry->build->has_loader_thread) {
            atomic_store_explicit(&entry->build->is_abandoned, 1, memory_order_relaxed);
        }
    }
    while (pool->loader_thread_count > 0) {
        rp_condition_wait(&pool->load_ended, &pool->lock, RP_NEVER_NS);
    }
    rp_lock_release(&pool->lock);
}

/* The default pool, and the lock that guards the pointer. */
static pthread_mutex_t default_lock = PTHREAD_MUTEX_INITIALIZER;
static rp_pool *default_pool;

void rp_pool_after_fork(void) {
    pthread_mutex_init(&default_lock, NULL);
}

rp_status rp_pool_close(rp_pool *pool, rp_error *err) {
    if (!pool) return RP_OK;
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    end_loader_threads(pool);
    rp_cleared cleared;
    status = rp_pool_clear(pool, &cleared, err);
    if (status == RP_OK && cleared.loading_count > 0) {
        return rp_fail(err, RP_ERR_BUSY, "%llu constructor%s still running in this pool",
                       (unsigned long long)cleared.loading_count,
                       cleared.loading_count == 1 ? " is" : "s are");
    }
    if (status != RP_OK) {
        rp_error_prefix(err, "cannot close the pool");
        return status;
    }
    pthread_mutex_lock(&default_lock);
    if (default_pool == pool) default_pool = NULL;
    pthread_mutex_unlock(&default_lock);
    rp_seat_close_all(pool);
    rp_table_fini(&pool->requests);
    rp_table_fini(&pool->instances);
    rp_condition_fini(&pool->load_ended);
    rp_lock_fini(&pool->lock);
    rp_free(pool);
    return RP_OK;
}

rp_status rp_pool_default(rp_pool **pool, rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no place for the default pool");
    rp_status status = RP_OK;
    pthread_mutex_lock(&default_lock);
    /* After fork() the parent's stays the parent's: this process gets one of its own. */
    if (default_pool && rp_pool_check_process(default_pool, NULL) != RP_OK) default_pool = NULL;
    if (!default_pool) status = rp_pool_open(NULL, &default_pool, err);
    if (status == RP_OK) *pool = default_pool;
    pthread_mutex_unlock(&default_lock);
    return status;
}
