/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when a request is not a hit.
 *
 * A hit never comes here: it is answered by the caller's own seat (seat.h). Everything else takes
 * pool.lock for as long as it looks at the tables, and lets go of it before anything is resolved,
 * estimated, constructed, waited for, destroyed or logged.
 *
 *     request --alias--> entry            known request: take a lease, or wait for its load
 *     request --resolve--> instance --> entry    new request for a known instance: add the alias
 *     request --resolve--> instance --> room --> build    nobody has it: load, publish, wake
 *
 * A request may name other devices and lower precisions that would do. Each pair is an attempt, in
 * order: all devices in the precision asked for, then all in the next lower one. An attempt that
 * finds no room or no memory hands over to the next, and says so in the placement's reason.
 */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"
#include "failure/own.h"
#include "hardware/detect.h"
#include "placement/placement.h"
#include "pool/admission.h"
#include "pool/build.h"
#include "pool/choice.h"
#include "pool/history.h"
#include "pool/reserve.h"
#include "pool/waits.h"

#include <errno.h>
#include <resourcepool/hardware.h>
#include <resourcepool/model.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Loads on accelerators take seconds: figures of half a second ago are of now. */
enum { FIGURES_AGE_MS_MAX = 500 };

/* One request on its slow way. Lives on the caller's stack. */
struct ask {
    rp_pool *pool;
    const rp_request *request;
    struct rp_key_parts asked;
    rp_build *by; /* the load on whose behalf */
    struct rp_seat *seat;
    int64_t deadline_ns;

    bool is_counted;   /* as a miss, by the load that it started */
    bool is_present;   /* what it brings is in memory already    */
    bool is_explained; /* the failure was, by whoever loaded     */

    struct rp_reserved *reserved; /* room for what is not loaded; NULL: an object is asked for */
    bool has_room;                /* it is the entry's now, and may be gone */

    struct rp_choice *choice; /* where it may go; made by the first resolve() */
    char key_device[RP_LIMIT_DEVICE_BYTES];
    uint32_t attempt;
    uint32_t first_without_room; /* plus one; 0: all failed for other reasons */
    bool is_last_round;          /* nobody has room now: wait for it */
    struct rp_text steps;        /* what was tried before, for people */

    /* What it resolves to; filled in by resolve(), owned. */
    bool is_resolved;
    struct rp_estimate estimate;
    uint64_t revision;
    const rp_snapshot *snapshot;
    rp_policy policy;
    const char *reason; /* borrowed from the choice */
    struct rp_key_parts instance;
    char *file; /* the canonical path of the model's file */
};

/* Forget what it resolved to. */
static void unresolve(struct ask *ask) {
    if (ask->snapshot) rp_snapshot_release(ask->snapshot);
    rp_free(ask->file);
    ask->snapshot = NULL;
    ask->file = NULL;
    ask->is_resolved = false;
}

static void ask_fini(struct ask *ask) {
    unresolve(ask);
    rp_choice_destroy(ask->choice);
    rp_text_fini(&ask->steps);
}

static uint32_t attempt_count(const struct ask *ask) {
    return ask->choice ? ask->choice->count : 1;
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

struct rp_entry *rp_pool_find_request(const rp_pool *pool, const struct rp_key_parts *asked) {
    const struct rp_alias *alias = find_alias(pool, asked);
    return alias ? alias->entry : NULL;
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
    struct rp_path inside;
    rp_status status = rp_engine_find_file(ask->asked.engine, path, &inside, err);
    if (status != RP_OK) return status;
    path = inside.text;
    status = rp_engine_choose(ask->asked.engine, path, ask->instance.device, &engine, err);
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

/* A number that changes with the file: what was learnt of another version does not count. */
static uint64_t file_revision(const char *path, uint64_t *bytes) {
    struct stat file;
    if (stat(path, &file) != 0 || !S_ISREG(file.st_mode)) return 0;
    *bytes = (uint64_t)file.st_size;
    uint64_t stamp[3] = {(uint64_t)file.st_size, (uint64_t)file.st_mtim.tv_sec,
                         (uint64_t)file.st_mtim.tv_nsec};
    uint64_t revision = XXH3_64bits(stamp, sizeof stamp);
    return revision ? revision : 1;
}

/* The plain size of a model's file, and of the file with its weights where ONNX keeps one. */
static uint64_t file_bytes(const char *path, uint64_t *revision) {
    static const char *const weights[] = {".data", "_data"};
    uint64_t bytes = RP_UNKNOWN_U64;
    *revision = file_revision(path, &bytes);
    for (size_t i = 0; i < sizeof weights / sizeof weights[0] && *revision; i++) {
        struct rp_text beside = RP_TEXT_INIT;
        rp_text_print(&beside, "%s%s", path, weights[i]);
        uint64_t more = 0;
        uint64_t theirs = beside.failed ? 0 : file_revision(beside.bytes, &more);
        rp_text_fini(&beside);
        if (!theirs) continue;
        bytes += more;
        *revision ^= theirs * 31;
    }
    return bytes;
}

/*
 * What a constructor's model takes by its files or its name. A name only tells what the real model
 * would take: where that is more than the device has, the least that it may be is asked for.
 */
static void estimate_from_facts(struct ask *ask) {
    rp_model_facts named;
    const rp_model_facts *facts = &named;
    if (ask->choice) {
        facts = &ask->choice->facts;
    } else {
        rp_choice_facts(ask->request, &named);
    }
    rp_memory_need need = {.size = sizeof need};
    rp_model_memory_need(facts, ask->instance.precision, NULL, &need);
    if (need.total_bytes == RP_UNKNOWN_U64) return;
    const rp_device *device = rp_snapshot_find_device(ask->snapshot, ask->instance.device);
    bool is_over = device && need.total_bytes > device->memory_bytes_total;
    ask->estimate = (struct rp_estimate){is_over ? need.total_bytes_min : need.total_bytes,
                                         rp_facts_method_name(need.method)};
}

/* The best figure there is: the caller's, what an earlier load took, the engine's, the file's, the
 * facts'. */
static void estimate(struct ask *ask) {
    const char *path = ask->file ? ask->file : ask->asked.path ? ask->asked.path : ask->asked.name;
    uint64_t in_file = RP_UNKNOWN_U64;
    ask->estimate = (struct rp_estimate){RP_UNKNOWN_U64, NULL};
    ask->revision = 0;
    if (ask->reserved) {
        /* What another has the account of counts here once it is there, but waits for nothing. */
        if (!ask->reserved->remote) {
            ask->estimate = (struct rp_estimate){ask->reserved->bytes, "request"};
        }
        return;
    }
    if (ask->file) in_file = file_bytes(ask->file, &ask->revision);
    /* What is kept elsewhere is in somebody else's ledger and history. */
    if (ask->pool->hooks.lease_model && !ask->request->construct) return;
    if (ask->request->memory_bytes > 0) {
        ask->estimate = (struct rp_estimate){ask->request->memory_bytes, "request"};
        return;
    }
    struct rp_footprint known;
    char *key = rp_key_history_text(&ask->instance);
    bool is_known = key && rp_history_find(ask->pool->history, key, ask->revision, &known);
    rp_free(key);
    if (is_known && known.bytes != RP_UNKNOWN_U64) {
        ask->estimate = (struct rp_estimate){known.bytes, "measured"};
        return;
    }
    if (!ask->request->construct && ask->instance.engine) {
        uint64_t bytes = rp_engine_estimate(ask->instance.engine, path, ask->instance.device);
        if (bytes != RP_UNKNOWN_U64) {
            ask->estimate = (struct rp_estimate){bytes, "engine"};
            return;
        }
    }
    if (in_file != RP_UNKNOWN_U64) {
        ask->estimate = (struct rp_estimate){in_file, "file"};
    } else if (ask->asked.kind == RP_KIND_MODEL && ask->request->construct) {
        estimate_from_facts(ask);
    }
}

/* More entries than this are not asked one by one whether they are leased. */
enum { ENTRIES_ASKED_MAX = 1024 };

/* What this pool holds on each device, for placement; NULL without memory. */
static rp_room *take_room(rp_pool *pool, size_t *count) {
    rp_lock_acquire(&pool->lock);
    size_t devices = pool->ledger.count;
    rp_room *room = rp_alloc(devices * (sizeof *room + RP_LIMIT_DEVICE_BYTES) + 1);
    char *ids = room ? (char *)(room + devices) : NULL;
    for (size_t i = 0; room && i < devices; i++) {
        const struct rp_ledger_device *device = &pool->ledger.devices[i];
        char *id = memcpy(ids + i * RP_LIMIT_DEVICE_BYTES, device->id, RP_LIMIT_DEVICE_BYTES);
        room[i] = (rp_room){id, rp_ledger_budget(&pool->ledger, (uint16_t)i),
                            rp_ledger_charged(device->sums), 0};
    }
    for (const struct rp_entry *entry = pool->oldest; room && entry; entry = entry->next) {
        bool may_go = entry->state == RP_ENTRY_LOADED && entry->charge.state == RP_CHARGE_RESIDENT;
        bool is_asked = pool->entry_count <= ENTRIES_ASKED_MAX;
        if (may_go && (!is_asked || rp_entry_lease_count(entry) == 0)) {
            room[entry->charge_device].idle_bytes += entry->charge.bytes;
        }
    }
    rp_lock_release(&pool->lock);
    *count = devices;
    return room;
}

/* Rank where it may go. Under no lock: reads headers of files. */
static rp_status choose(struct ask *ask, rp_error *err) {
    struct rp_choice_request asked = {
        .request = ask->request,
        .snapshot = ask->snapshot,
        .has_constructor = ask->request->construct != NULL,
    };
    rp_room *room = take_room(ask->pool, &asked.room_count);
    if (!room) return rp_fail(err, RP_ERR_MEMORY, "no memory to place '%s'", ask->asked.name);
    asked.room = room;
    rp_status status = rp_choice_create(&asked, &ask->choice, err);
    rp_free(room);
    if (status == RP_OK && ask->request->precisions && rp_pool_is_low_memory(ask->pool, NULL)) {
        ask->attempt = ask->choice->lowest;
    }
    return status;
}

/*
 * A machine with nothing but a processor leaves no choice, and most machines that run tests are
 * such: nothing is read or ranked. Wishes and rules about the processor are weighed all the same.
 */
static const rp_device *only_device(const struct ask *ask, const struct rp_rules *rules) {
    const rp_request *request = ask->request;
    if (request->preferences || request->devices || request->precision || request->precisions ||
        rp_snapshot_device_count(ask->snapshot) != 1 ||
        rp_rules_has_problems(rules, RP_DEVICE_CPU)) {
        return NULL;
    }
    const rp_device *device = rp_snapshot_device(ask->snapshot, 0);
    bool is_it =
        !ask->asked.device || rp_snapshot_find_device(ask->snapshot, ask->asked.device) == device;
    return device->kind == RP_DEVICE_CPU && device->available && is_it ? device : NULL;
}

static rp_status resolve_model(struct ask *ask, rp_error *err) {
    const struct rp_rules *rules = NULL;
    rp_status status = rp_rules_of_process(&rules, err);
    if (status != RP_OK) return status;
    const rp_device *only = only_device(ask, rules);
    if (only) {
        ask->instance.device = only->id;
        ask->policy = ask->asked.device ? RP_POLICY_REQUIRE : RP_POLICY_ANY;
        ask->reason = "the only device of this machine";
        if (ask->request->construct || has_constructed(ask)) return RP_OK;
        return resolve_engine(ask, err);
    }
    status = ask->choice ? RP_OK : choose(ask, err);
    if (status != RP_OK) return status;
    const struct rp_attempt *attempt = &ask->choice->attempts[ask->attempt];
    if (!attempt->candidate) {
        rp_placement none;
        return rp_plan_placement(attempt->plan, &none, err);
    }
    bool is_wish = !attempt->precision && !attempt->candidate->is_stored && !ask->asked.engine;
    ask->instance.device = attempt->candidate->device;
    ask->instance.precision = attempt->precision                     ? attempt->precision
                              : is_wish && ask->request->preferences ? attempt->candidate->precision
                                                                     : NULL;
    ask->policy = rp_plan_policy(attempt->plan);
    ask->reason = rp_plan_reason(attempt->plan, attempt->candidate);
    if (ask->request->construct || has_constructed(ask)) return RP_OK;
    return resolve_engine(ask, err);
}

/* From what was asked to what it is. Under no lock: looks at hardware, files and the history. */
static rp_status resolve(struct ask *ask, rp_error *err) {
    unresolve(ask);
    ask->instance = ask->asked;
    /* Free memory of accelerators moves with other programs: it is looked at before each load. */
    bool may_move = ask->asked.kind == RP_KIND_MODEL &&
                    (!ask->asked.device || strcmp(ask->asked.device, "cpu") != 0);
    rp_status status = may_move ? rp_hardware_recent(FIGURES_AGE_MS_MAX, &ask->snapshot, err)
                                : rp_hardware_snapshot(&ask->snapshot, err);
    if (status != RP_OK) return status;
    if (ask->asked.kind == RP_KIND_MODEL) {
        status = resolve_model(ask, err);
        if (status != RP_OK) return status;
    } else if (ask->reserved) {
        ask->policy = ask->reserved->policy;
        ask->reason = ask->reserved->reason;
    } else if (!ask->request->construct) {
        rp_fail(err, RP_ERR_NOT_FOUND,
                "no %s '%s%s%s' is loaded, and the request has no constructor",
                rp_kind_name(ask->asked.kind), ask->asked.type, ask->asked.name ? ":" : "",
                ask->asked.name ? ask->asked.name : "");
        rp_hint(err, "give rp_request.construct: only models can be loaded by an engine");
        return RP_ERR_NOT_FOUND;
    } else {
        ask->policy = RP_POLICY_ANY;
        ask->reason = "where its constructor put it";
    }
    estimate(ask);
    rp_pool_tell_notes(ask->pool);
    const rp_device *device = rp_snapshot_find_device(ask->snapshot, "cpu");
    rp_relief_before_load(ask->pool, device ? device->memory_bytes_total : RP_UNKNOWN_U64);
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
    if (entry->is_detached || entry->pool->watch_count > 0) RP_WRITE(holder->is_open, 0);
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
    int64_t started_ns = RP_READ(build->started_ns);
    char how_far[64] = "it waits for room";
    if (started_ns != 0) {
        snprintf(how_far, sizeof how_far, "thread %d has been loading it for %.0f ms",
                 (int)RP_READ(build->thread_id), rp_elapsed_ms(started_ns, rp_clock_ns()));
    }
    if (status == RP_ERR_CANCELLED) {
        return rp_fail(err, status, "the wait for '%s' was called off: %s", entry->text, how_far);
    }
    rp_fail(err, status, "'%s' was not there within %lld ms: %s", entry->text,
            (long long)ask->request->timeout_ms, how_far);
    rp_hint(err, "raise timeout_ms, or ask again: the load goes on");
    return status;
}

/*
 * Wait for a load on another thread: somebody else's, or one that a loader thread runs for this
 * caller. RP_OK with *lease NULL: its own caller called it off, try again. Enters and leaves with
 * pool.lock held; *dead is the entry if it is due for destruction afterwards.
 */
static rp_status wait_for_load(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
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
    rp_admission_wake(pool); /* this thread lets go of nothing now: who waits for it may see that */
    rp_lock_release(&pool->lock);
    RP_POINT("load: waits");
    status = rp_waits_sleep(&wait, ask->deadline_ns);
    rp_waits_leave(&wait);
    rp_lock_acquire(&pool->lock);
    build->waiter_count--;
    if (build->counted_by == ask && build->is_hit) ask->is_counted = false;

    if (entry->state == RP_ENTRY_LOADED) {
        status = rp_pool_take_lease(ask->seat, entry, request, !ask->is_counted, lease, err);
    } else if (entry->state == RP_ENTRY_FAILED) {
        status = build->was_called_off ? RP_OK : build->failure.status;
        ask->is_explained = true;
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

/* The same of all places of a reservation; the first. Needs pool.lock. */
static uint16_t ledger_places(struct ask *ask) {
    struct rp_ledger *ledger = &ask->pool->ledger;
    struct rp_reserved *reserved = ask->reserved;
    for (size_t i = 0; i < reserved->place_count; i++) {
        struct rp_place *place = &reserved->places[i];
        place->index = rp_ledger_device_index(ledger, place->id);
        if (place->index == RP_LEDGER_NO_DEVICE) return RP_LEDGER_NO_DEVICE;
        if (!reserved->remote) ledger->devices[place->index].limit_bytes = place->limit_bytes;
    }
    return reserved->places[0].index;
}

/* The device's place in the ledger, with what it allows at most. Needs pool.lock. */
static uint16_t ledger_device(struct ask *ask) {
    if (ask->reserved) return ledger_places(ask);
    rp_pool *pool = ask->pool;
    const char *id = ask->instance.device ? ask->instance.device : "cpu";
    uint16_t index = rp_ledger_device_index(&pool->ledger, id);
    if (index == RP_LEDGER_NO_DEVICE) return index;
    const rp_device *device = rp_snapshot_find_device(ask->snapshot, id);
    if (device) pool->ledger.devices[index].limit_bytes = device->memory_bytes_total;
    return index;
}

/* Why it goes where it goes, with what was tried before. */
static char *full_reason(const struct ask *ask) {
    struct rp_text reason = RP_TEXT_INIT;
    rp_text_print(&reason, "%s%s", ask->steps.length ? ask->steps.bytes : "", ask->reason);
    if (reason.failed) rp_text_fini(&reason);
    return reason.bytes;
}

/* A new entry in both tables, in the list, with its build; NULL without memory. Needs pool.lock. */
static struct rp_entry *add_entry(struct ask *ask) {
    rp_pool *pool = ask->pool;
    uint16_t device = ledger_device(ask);
    char *reason = device == RP_LEDGER_NO_DEVICE ? NULL : full_reason(ask);
    if (!reason) return NULL;
    struct rp_entry *entry = rp_entry_create(pool, &ask->instance, ask->policy, reason);
    rp_free(reason);
    if (!entry) return NULL;
    const char *path = ask->file ? ask->file : ask->asked.path ? ask->asked.path : ask->asked.name;
    entry->charge_device = device;
    if (ask->reserved) entry->placement.device = ask->reserved->device;
    entry->revision = ask->revision;
    entry->build =
        rp_build_create(entry, ask->by, ask->request, ask->request->construct ? NULL : path);
    if (!entry->build || !rp_table_reserve(&pool->instances) ||
        !rp_entry_add_alias(entry, &ask->asked)) {
        rp_entry_destroy(entry);
        return NULL;
    }
    entry->build->estimate = ask->estimate;
    rp_table_insert(&pool->instances, entry->instance->hash, entry);
    entry->previous = pool->newest;
    if (pool->newest) {
        pool->newest->next = entry;
    } else {
        pool->oldest = entry;
    }
    pool->newest = entry;
    if (pool->entry_count++ == 0) rp_relief_wake(pool);
    pool->texts_size += rp_entry_texts_size(entry);
    entry->pin_count = 1; /* the builder's */
    return entry;
}

/* What the object takes is known now: the ledger and the policy learn it. Needs pool.lock. */
static void account(struct rp_entry *entry) {
    rp_pool *pool = entry->pool;
    const rp_build *build = entry->build;
    uint64_t bytes = entry->memory_bytes == RP_UNKNOWN_U64 ? 0 : entry->memory_bytes;
    rp_ledger_correct(&pool->ledger, &entry->charge, bytes);
    rp_ledger_move(&pool->ledger, &entry->charge, RP_CHARGE_RESIDENT);
    if (build->grown_bytes != RP_UNKNOWN_U64) {
        entry->charge.arrived_bytes = build->grown_bytes < bytes ? build->grown_bytes : bytes;
        rp_ledger_level_rose(&pool->ledger, entry->charge_device, build->grown_bytes);
    } else {
        rp_ledger_level_rose(&pool->ledger, entry->charge_device, bytes);
    }
    /* What the constructor gave back already is not held by the object. */
    for (struct rp_dependency *edge = entry->needs; edge; edge = edge->next_of) {
        if (rp_ticket_state(edge->lease) == 0) edge->lease = NULL;
    }
    if (rp_entry_is_reservation(entry)) return;
    rp_eviction_admit(&pool->eviction, &entry->worth, entry->instance->hash, bytes, entry->load_ms,
                      rp_clock_coarse_ns());
}

/* It was no load after all: somebody else had it. Needs pool.lock. */
static void uncount_load(struct rp_entry *entry) {
    entry->pool->load_count--;
    if (entry->build->counted_by) entry->misses--;
}

/* The load is over: say so to the tables and to whoever waits. Needs pool.lock. */
static void publish(struct rp_entry *entry, rp_status status, const rp_error *failure,
                    bool was_called_off) {
    rp_pool *pool = entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    if (status == RP_OK) {
        entry->state = RP_ENTRY_LOADED;
        entry->used_ns = entry->loaded_ns = rp_clock_coarse_ns();
        account(entry);
        if (entry->build->is_hit) uncount_load(entry);
        rp_doomed_clear(&pool->doomed);
    } else {
        entry->state = RP_ENTRY_FAILED;
        entry->build->failure = *failure;
        entry->build->failure.status = status;
        entry->build->was_called_off = was_called_off;
        rp_ledger_drop(&pool->ledger, &entry->charge);
        rp_entry_detach(entry); /* nobody holds it: no fence is needed */
    }
    rp_admission_wake(pool);
    rp_waits_wake(entry);
}

/*
 * What goes into a negative entry: who asks again is told the one line of the diagnosis, unless the
 * place of the failure knew better what to do.
 */
static rp_error doomed_story(const rp_error *failure, const struct rp_explanation *explanation) {
    rp_error story = *failure;
    bool is_own_hint = strcmp(story.hint, explanation->advice) != 0;
    if (!is_own_hint && explanation->category != RP_CATEGORY_UNKNOWN) {
        rp_cut_text(story.hint, sizeof story.hint, explanation->line);
    }
    return story;
}

/* A load was tried and failed: count it, and remember it if there was no memory for it. */
static void count_failure(struct rp_entry *entry, rp_status status, const rp_error *failure) {
    rp_pool *pool = entry->pool;
    const struct rp_explanation *explanation = &entry->build->explanation;
    pool->load_failure_count++;
    pool->counts.failures[explanation->category]++;
    if (status != RP_ERR_MEMORY) return;
    rp_error story = doomed_story(failure, explanation);
    rp_doomed_add(&pool->doomed, entry->instance->hash, &story, rp_clock_ns());
    rp_event_tell(&pool->events, RP_EVENT_DOOMED, entry->text, rp_entry_device(entry),
                  entry->charge.bytes, RP_UNKNOWN_U64, (double)RP_DOOMED_NS / 1e6);
}

/* The history, the ring and the log learn how a load went. No lock held. */
static void tell_load(struct rp_entry *entry, rp_status status, const rp_error *err) {
    rp_pool *pool = entry->pool;
    const rp_build *build = entry->build;
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    bool is_kept_elsewhere = !build->construct && pool->hooks.lease_model;
    char *key = is_kept_elsewhere ? NULL : rp_key_history_text(&parts);
    if (status == RP_OK) {
        uint64_t known = build->remembered_method ? entry->memory_bytes : RP_UNKNOWN_U64;
        if (key) {
            rp_history_record_load(pool->history, key, entry->revision, known,
                                   build->remembered_method, entry->load_ms);
        }
        rp_event_tell(&pool->events, RP_EVENT_LOAD, entry->text, rp_entry_device(entry),
                      entry->memory_bytes, RP_UNKNOWN_U64, entry->load_ms);
        rp_log(&pool->logger, RP_LOG_INFO, "event=load key=\"%s\" ms=%.1f", entry->text,
               entry->load_ms);
    } else {
        if (key) {
            rp_history_record_failure(pool->history, key, entry->revision, status, err->message);
        }
        rp_event_tell(&pool->events, RP_EVENT_LOAD_FAILED, entry->text, rp_entry_device(entry),
                      RP_UNKNOWN_U64, RP_UNKNOWN_U64, entry->load_ms);
        rp_log(&pool->logger, RP_LOG_WARNING,
               "event=load_failed key=\"%s\" ms=%.1f status=%s category=%s message=\"%s\"",
               entry->text, entry->load_ms, rp_status_name(status),
               rp_category_name(build->explanation.category), err->message);
    }
    rp_free(key);
}

/* Whether a load ended because of its own caller's deadline or token, which are nobody else's
 * matter. */
static bool is_called_off(const rp_build *build, rp_status status) {
    return (status == RP_ERR_CANCELLED || status == RP_ERR_TIMEOUT) && rp_build_is_cancelled(build);
}

/* Free what is idle on the entry's device; whether anything went. No lock held. */
static bool free_idle(struct rp_entry *entry, uint64_t *freed_bytes) {
    rp_pool *pool = entry->pool;
    rp_lock_acquire(&pool->lock);
    struct rp_entry *dead = rp_admission_evict(pool, entry->charge_device, UINT64_MAX, false);
    pool->counts.retries += dead != NULL;
    rp_lock_release(&pool->lock);
    uint64_t count = rp_pool_bury(pool, dead, freed_bytes);
    if (count > 0) rp_relief_trim(pool);
    return count > 0;
}

/* The sentence is one that people look for in logs. No lock held. */
static void tell_place(const struct rp_entry *entry) {
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    if (parts.kind != RP_KIND_MODEL || entry->placement.policy == RP_POLICY_REQUIRE) return;
    rp_log(&entry->pool->logger, RP_LOG_INFO,
           "event=place message=\"Selected optimal device for %s:%s: %s\" reason=\"%s\"",
           parts.type, parts.name, entry->placement.device, entry->placement.reason);
}

/* Once for all who wait for it. No lock held. */
static void explain(struct rp_entry *entry, rp_error *story) {
    rp_build *build = entry->build;
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    (void)rp_explain(story, rp_entry_device(entry), build->path ? build->path : parts.name,
                     &build->explanation);
}

/* Run the load; out of memory, free what is idle there and run it once more. No lock held. */
static rp_status run_build(struct rp_entry *entry, rp_error *story) {
    rp_build *build = entry->build;
    uint64_t freed = 0;
    tell_place(entry);
    rp_status status = rp_build_run(build, story);
    if (status == RP_ERR_MEMORY && !rp_build_is_cancelled(build) && free_idle(entry, &freed)) {
        rp_event_tell(&entry->pool->events, RP_EVENT_RETRY, entry->text, rp_entry_device(entry),
                      freed, RP_UNKNOWN_U64, -1);
        rp_build_set_bytes(build, RP_UNKNOWN_U64);
        *story = (rp_error)RP_ERROR_INIT;
        status = rp_build_run(build, story);
        if (status == RP_ERR_MEMORY) {
            char text[RP_BYTES_TEXT_BYTES];
            rp_error_prefix(story, "twice, the second time with %s of idle objects freed",
                            rp_text_bytes(freed, text, sizeof text));
        }
    }
    if (status != RP_OK && !is_called_off(build, status)) explain(entry, story);
    tell_load(entry, status, story);
    return status;
}

/* It may have turned out larger than expected: idle ones make up for it. Needs pool.lock. */
static struct rp_entry *evict_excess(struct rp_entry *entry) {
    rp_pool *pool = entry->pool;
    struct rp_shortage over =
        rp_ledger_shortage(&pool->ledger, entry->charge_device, 0, RP_UNKNOWN_U64);
    if (over.device_bytes == 0 && over.all_bytes == 0) return NULL;
    uint64_t bytes = over.device_bytes > over.all_bytes ? over.device_bytes : over.all_bytes;
    rp_event_tell(&pool->events, RP_EVENT_OVER_BUDGET, entry->text, rp_entry_device(entry),
                  entry->charge.bytes, bytes, -1);
    uint16_t device = over.device_bytes > 0 ? entry->charge_device : RP_LEDGER_NO_DEVICE;
    return rp_admission_evict(pool, device, bytes, false);
}

/* Unmake what is due, without the lock, and take it again. */
static void bury_unlocked(rp_pool *pool, struct rp_entry *dead) {
    if (!dead) return;
    rp_lock_release(&pool->lock);
    rp_pool_bury(pool, dead, NULL);
    rp_lock_acquire(&pool->lock);
}

/* The room is there, and is leased: in no table, so that it goes with its lease. Needs pool.lock.
 */
static rp_status hold_room(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                           rp_error *story) {
    rp_pool *pool = ask->pool;
    const struct rp_key *request = entry->instance;
    ask->has_room = true;
    entry->object = ask->reserved;
    entry->destroy = rp_reserved_destroy;
    entry->is_leased = ask->reserved->remote != NULL;
    entry->memory_bytes = ask->reserved->bytes;
    entry->memory_method = "request";
    entry->build->grown_bytes = 0; /* whatever comes is not the pool's to see go */
    publish(entry, RP_OK, NULL, false);
    rp_entry_detach(entry); /* nobody holds it yet: no fence is needed */
    rp_status status = rp_pool_take_lease(ask->seat, entry, request, false, lease, story);
    if (status != RP_OK) return status;
    pool->counts.reservations++;
    rp_event_tell(&pool->events, RP_EVENT_RESERVE, entry->text, rp_entry_device(entry),
                  entry->memory_bytes, RP_UNKNOWN_U64, -1);
    return RP_OK;
}

/* Load on this thread, for the caller that asked. Enters and leaves with pool.lock held. */
static rp_status load_here(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                           rp_error *story) {
    rp_pool *pool = ask->pool;
    rp_build *build = entry->build;
    build->deadline_ns = ask->deadline_ns;
    build->cancel = ask->request->cancel;
    build->seat = ask->seat;
    rp_lock_release(&pool->lock);
    rp_status status = run_build(entry, story);
    ask->is_explained = true;
    RP_POINT("load: built");
    bool is_late = ask->deadline_ns != RP_NEVER_NS && rp_clock_ns() >= ask->deadline_ns;
    bool was_called_off = is_called_off(build, status);
    rp_lock_acquire(&pool->lock);
    if (status != RP_OK) count_failure(entry, status, story);
    publish(entry, status, story, was_called_off);
    if (build->counted_by == ask && build->is_hit) ask->is_counted = false;
    if (status == RP_OK && is_late) {
        status = rp_fail(story, RP_ERR_TIMEOUT,
                         "'%s' took %.0f ms to load, longer than the %lld ms allowed", entry->text,
                         entry->load_ms, (long long)ask->request->timeout_ms);
        rp_hint(story, "it is loaded now: ask again");
    } else if (status == RP_OK) {
        status = rp_pool_take_lease(ask->seat, entry, find_request_key(entry, &ask->asked),
                                    !ask->is_counted, lease, story);
    }
    if (entry->state == RP_ENTRY_LOADED) bury_unlocked(pool, evict_excess(entry));
    return status;
}

/* A loader thread's whole life: an engine's load whose caller has a deadline or a token. */
static void *load_elsewhere(void *argument) {
    struct rp_entry *entry = argument;
    rp_pool *pool = entry->pool;
    rp_error story = RP_ERROR_INIT;
    rp_status status = run_build(entry, &story);
    bool was_called_off = is_called_off(entry->build, status);
    rp_lock_acquire(&pool->lock);
    if (status != RP_OK) count_failure(entry, status, &story);
    publish(entry, status, &story, was_called_off);
    if (entry->state == RP_ENTRY_LOADED) bury_unlocked(pool, evict_excess(entry));
    bool is_dead = rp_entry_unpin(entry);
    rp_lock_release(&pool->lock);
    if (is_dead) rp_pool_bury(pool, entry, NULL);
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

/* Get the room for a new entry. Enters and leaves with pool.lock held. */
static rp_status admit(struct ask *ask, struct rp_entry *entry, struct rp_wait *wait,
                       rp_error *story) {
    struct rp_admission admission = {
        .entry = entry,
        .wait = wait,
        .bytes = ask->estimate.bytes,
        .method = ask->estimate.method,
        .deadline_ns = ask->deadline_ns,
        .is_present = ask->is_present,
        .reserved = ask->reserved,
        .may_wait = ask->is_last_round || attempt_count(ask) == 1,
    };
    rp_status status = rp_admission_enter(&admission, story);
    bool is_full = status == RP_ERR_CAPACITY && !admission.is_never && !admission.may_wait;
    if (is_full && ask->first_without_room == 0) ask->first_without_room = ask->attempt + 1;
    return status;
}

/* Load an admitted entry on a thread of its own, and wait for it. */
static rp_status load_on_thread(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                                struct rp_entry **dead, rp_error *err) {
    rp_pool *pool = ask->pool;
    entry->build->has_loader_thread = true;
    pool->loader_thread_count++;
    int rc = start_loader(entry);
    if (rc == 0) return wait_for_load(ask, entry, lease, dead, err);
    pool->loader_thread_count--;
    errno = rc;
    rp_error story = RP_ERROR_INIT;
    rp_status status = rp_fail_errno(&story, "cannot load '%s': no thread for it", entry->text);
    rp_hint(&story, "a request without a deadline and a token loads on its own thread");
    pool->load_failure_count++;
    publish(entry, status, &story, false);
    if (rp_entry_unpin(entry)) *dead = entry;
    if (err) *err = story;
    return status;
}

/*
 * Load a new entry, once there is room: here, or on a thread of its own if the caller may have to
 * leave before the end. Enters and leaves with pool.lock held.
 */
static rp_status load(struct ask *ask, struct rp_entry *entry, rp_lease **lease,
                      struct rp_entry **dead, rp_error *err) {
    rp_error story = RP_ERROR_INIT;
    struct rp_wait wait = {.on = entry, .by = ask->by, .cancel = ask->request->cancel};
    rp_status status = rp_waits_enter(&wait, &story);
    assert(status == RP_OK); /* no circle: nothing waits on behalf of a new entry */
    status = admit(ask, entry, &wait, &story);
    bool may_leave = ask->deadline_ns != RP_NEVER_NS || ask->request->cancel;
    if (status != RP_OK) {
        publish(entry, status, &story, true); /* others may have more patience */
    } else if (ask->reserved) {
        status = hold_room(ask, entry, lease, &story);
    } else {
        if (!ask->is_counted) { /* one for a request, however often it loads */
            entry->misses++;
            entry->build->counted_by = ask;
        }
        ask->is_counted = true;
        ask->pool->load_count++;
        if (!may_leave) entry->asked_by = gettid();
        if (!entry->build->construct && may_leave) {
            rp_waits_leave(&wait);
            return load_on_thread(ask, entry, lease, dead, err);
        }
        status = load_here(ask, entry, lease, &story);
    }
    rp_waits_leave(&wait);
    if (rp_entry_unpin(entry)) *dead = entry;
    if (status != RP_OK && err) *err = story;
    return status;
}

/* The same load found no memory a moment ago. Needs pool.lock. */
static rp_status tell_doomed(const struct rp_doomed_load *load, int64_t now_ns, rp_error *err) {
    if (err) {
        *err = load->why;
        rp_error_prefix(err, "not tried again for %.1f s",
                        rp_elapsed_ms(now_ns, load->until_ns) / 1e3);
    }
    return RP_ERR_MEMORY;
}

static bool can_load(const struct ask *ask) {
    return ask->request->construct || ask->instance.engine || ask->reserved;
}

/* One look at the tables, and what follows from it. RP_OK with *lease NULL: look again. */
static rp_status look(struct ask *ask, rp_lease **lease, rp_error *err) {
    rp_pool *pool = ask->pool;
    struct rp_entry *dead = NULL;
    struct rp_entry *entry = NULL;
    const struct rp_key *request = NULL;
    rp_status status = RP_OK;

    ask->is_explained = false;
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
        int64_t now_ns = rp_clock_ns();
        const struct rp_doomed_load *doomed =
            rp_doomed_find(&pool->doomed, rp_key_hash(&ask->instance), now_ns);
        if (doomed) {
            status = tell_doomed(doomed, now_ns, err);
            ask->is_explained = true;
            goto done;
        }
        entry = add_entry(ask);
        status = entry ? load(ask, entry, lease, &dead, err)
                       : rp_fail(err, RP_ERR_MEMORY, "no memory to keep '%s:%s'", ask->asked.type,
                                 ask->asked.name ? ask->asked.name : "");
    }
    /* Room that a constructor reserved is the lease's: no object is made of it. */
    bool is_part = !ask->reserved && ask->by && ask->by->entry->pool == pool;
    if (status == RP_OK && *lease && is_part &&
        !rp_entry_add_dependency(ask->by->entry, entry, *lease)) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory to note that '%s' needs '%s'",
                         ask->by->entry->text, entry->text);
    }
done:
    rp_lock_release(&pool->lock);
    rp_pool_bury(pool, dead, NULL);
    if (status != RP_OK && *lease) {
        rp_lease_release(*lease, NULL);
        *lease = NULL;
    }
    if (status == RP_OK && !*lease && !ask->is_resolved) status = resolve(ask, err);
    return status;
}

/* No room or no memory here: whether there is another attempt to make, and which. */
static bool next_attempt(struct ask *ask, rp_status status) {
    uint32_t count = attempt_count(ask);
    bool is_short = status == RP_ERR_MEMORY || status == RP_ERR_CAPACITY;
    if (!is_short || count == 1 || ask->is_last_round || !ask->is_resolved) return false;
    uint32_t tried = ask->attempt;
    rp_text_print(&ask->steps, "%s%s%s: no %s; ", ask->instance.device,
                  ask->instance.precision ? "/" : "",
                  ask->instance.precision ? ask->instance.precision : "",
                  status == RP_ERR_CAPACITY ? "room" : "memory");
    if (tried + 1 < count) {
        ask->attempt++;
    } else if (ask->first_without_room > 0) {
        ask->is_last_round = true;
        ask->attempt = ask->first_without_room - 1;
    } else {
        return false;
    }
    const struct rp_attempt *next = &ask->choice->attempts[ask->attempt];
    bool is_lower = next->precision != ask->choice->attempts[tried].precision;
    rp_event_tell(&ask->pool->events, is_lower ? RP_EVENT_LOWER_PRECISION : RP_EVENT_OTHER_DEVICE,
                  ask->asked.name, next->candidate ? next->candidate->device : next->device,
                  ask->estimate.bytes, RP_UNKNOWN_U64, -1);
    rp_lock_acquire(&ask->pool->lock);
    ask->pool->counts.fallbacks++;
    rp_lock_release(&ask->pool->lock);
    unresolve(ask);
    return true;
}

/* What failed before a load began: the file, the device, the room. No lock held. */
static void explain_refusal(const struct ask *ask, rp_error *err) {
    const char *device = ask->is_resolved ? ask->instance.device : ask->asked.device;
    if (ask->reserved && !ask->has_room) device = ask->reserved->places[0].id;
    const char *name = ask->file ? ask->file : ask->asked.path ? ask->asked.path : ask->asked.name;
    if (ask->is_explained) return;
    (void)rp_explain(err, device, name, NULL);
}

/* Ask until there is a lease, an error, or nothing left to try. */
static rp_status ask_until_answered(struct ask *ask, rp_lease **lease, rp_error *err) {
    rp_status status = RP_OK;
    while (status == RP_OK && !*lease) {
        rp_error why = RP_ERROR_INIT;
        status = look(ask, lease, &why);
        if (status == RP_OK) continue;
        if (next_attempt(ask, status)) {
            status = RP_OK;
            continue;
        }
        if (ask->steps.length > 2 && !ask->steps.failed) {
            rp_error_prefix(&why, "after %.*s", (int)ask->steps.length - 2, ask->steps.bytes);
        }
        if (!err) continue;
        *err = why;
        explain_refusal(ask, err);
    }
    return status;
}

/* What only callers inside say, and are told. */
struct manner {
    bool is_present;
    struct rp_reserved *reserved; /* NULL: an object is asked for */
    bool has_room;                /* out: `reserved` is an entry's */
    bool is_hit;                  /* out */
};

/* What keeps the keys of reservations apart, as long as they are in the tables. */
static uint32_t next_number(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    if (++pool->reservation_number == 0) pool->reservation_number = 1;
    uint32_t number = pool->reservation_number;
    rp_lock_release(&pool->lock);
    return number;
}

/* Whatever is not a hit of a thread that has been here before. */
static rp_status acquire_slowly(rp_pool *pool, rp_kind kind, const rp_request *request,
                                struct manner *manner, rp_lease **lease, rp_error *err) {
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct ask ask = {.pool = pool,
                      .request = request,
                      .is_present = manner->is_present,
                      .reserved = manner->reserved};
    status = rp_key_parts_of_request(kind, request, &ask.asked, err);
    if (status == RP_OK) status = rp_choice_check(kind, request, err);
    if (status != RP_OK) return status;
    ask.asked.device = rp_choice_key_device(request, ask.key_device);
    if (ask.reserved) ask.asked.threads = next_number(pool);
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
    if (status == RP_OK) status = ask_until_answered(&ask, &taken, err);
    ask_fini(&ask);
    manner->has_room = ask.has_room;
    if (status == RP_OK) {
        *lease = taken;
        manner->is_hit = !ask.is_counted;
    } else if (!ask.is_counted && !ask.reserved) {
        rp_lock_acquire(&pool->lock);
        pool->retired_misses++;
        rp_lock_release(&pool->lock);
    }
    return status;
}

/* What this thread was given before under these words; they were looked at then. NULL: nothing. */
static rp_lease *hit(rp_pool *pool, rp_kind kind, const rp_request *request) {
    char key_device[RP_LIMIT_DEVICE_BYTES];
    if (!request->type) return NULL;
    struct rp_key_parts parts = {
        .kind = kind,
        .threads = request->threads,
        .type = request->type,
        .name = request->name,
        .device = rp_choice_key_device(request, key_device),
        .precision = request->precision,
        .engine = request->engine,
        .path = request->path,
    };
    return rp_seat_hit(pool, &parts);
}

/* What is known under these words and loaded: *lease is one on it, else NULL. Waits for nobody's
 * load. Not RP_OK: the words are wrong. */
static rp_status take_loaded(rp_pool *pool, rp_kind kind, const rp_request *request,
                             rp_lease **lease, rp_error *err) {
    char key_device[RP_LIMIT_DEVICE_BYTES];
    struct rp_key_parts asked;
    *lease = hit(pool, kind, request);
    if (*lease) return RP_OK;
    rp_status status = rp_pool_check_process(pool, err);
    if (status == RP_OK) status = rp_key_parts_of_request(kind, request, &asked, err);
    if (status == RP_OK) status = rp_choice_check(kind, request, err);
    if (status != RP_OK) return status;
    asked.device = rp_choice_key_device(request, key_device);
    struct rp_seat *seat = rp_seat_of(pool);
    if (!seat) return RP_OK;
    rp_lock_acquire(&pool->lock);
    const struct rp_alias *alias = find_alias(pool, &asked);
    if (alias && alias->entry->state == RP_ENTRY_LOADED) {
        (void)rp_pool_take_lease(seat, alias->entry, alias->request, true, lease, NULL);
    }
    rp_lock_release(&pool->lock);
    return RP_OK;
}

rp_lease *rp_pool_hit_model(rp_pool *pool, const rp_request *request) {
    rp_lease *lease = NULL;
    return take_loaded(pool, RP_KIND_MODEL, request, &lease, NULL) == RP_OK ? lease : NULL;
}

/* For rp_request.only_loaded. What a constructor takes is noted as its need, on the slow way. */
static rp_status acquire_loaded(rp_pool *pool, rp_kind kind, const rp_request *request,
                                rp_lease **lease, rp_error *err) {
    bool is_inside = request->within || rp_build_current();
    rp_lease *taken = NULL;
    rp_status status = is_inside ? RP_OK : take_loaded(pool, kind, request, &taken, err);
    if (status != RP_OK) return status;
    if (taken) {
        *lease = taken;
        return RP_OK;
    }
    return rp_fail(err, RP_ERR_NOT_FOUND, "no %s '%s%s%s' is loaded", rp_kind_name(kind),
                   request->type, request->name ? ":" : "", request->name ? request->name : "");
}

bool rp_pool_lease_is_outdated(const rp_lease *lease) {
    const struct rp_entry *entry = RP_READ(rp_ticket_slot(lease)->holder)->entry;
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    uint64_t revision = 0;
    if (entry->revision == 0) return false;
    (void)file_bytes(parts.path ? parts.path : parts.name, &revision);
    /* What is gone is not newer: who has it goes on with it. */
    return revision != 0 && revision != entry->revision;
}

static rp_status acquire(rp_pool *pool, rp_kind kind, const rp_request *request,
                         struct manner *manner, rp_lease **lease, rp_error *err) {
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
    if (request->only_loaded) {
        manner->is_hit = true;
        return acquire_loaded(pool, kind, request, lease, err);
    }
    rp_lease *taken = request->within ? NULL : hit(pool, kind, request);
    if (taken) {
        *lease = taken;
        manner->is_hit = true;
        return RP_OK;
    }
    return acquire_slowly(pool, kind, request, manner, lease, err);
}

rp_status rp_pool_get_model_told(rp_pool *pool, const rp_request *request, rp_lease **lease,
                                 bool *is_hit, rp_error *err) {
    struct manner manner = {.is_hit = false};
    rp_status status = acquire(pool, RP_KIND_MODEL, request, &manner, lease, err);
    *is_hit = manner.is_hit;
    return status;
}

rp_status rp_pool_get_present(rp_pool *pool, const rp_request *request, rp_lease **lease,
                              rp_error *err) {
    struct manner manner = {.is_present = true};
    return acquire(pool, RP_KIND_RESOURCE, request, &manner, lease, err);
}

rp_status rp_pool_get_model(rp_pool *pool, const rp_request *request, rp_lease **lease,
                            rp_error *err) {
    struct manner manner = {.is_hit = false};
    return acquire(pool, RP_KIND_MODEL, request, &manner, lease, err);
}

rp_status rp_pool_get_tokenizer(rp_pool *pool, const rp_request *request, rp_lease **lease,
                                rp_error *err) {
    struct manner manner = {.is_hit = false};
    return acquire(pool, RP_KIND_TOKENIZER, request, &manner, lease, err);
}

rp_status rp_pool_get_resource(rp_pool *pool, const rp_request *request, rp_lease **lease,
                               rp_error *err) {
    struct manner manner = {.is_hit = false};
    return acquire(pool, RP_KIND_RESOURCE, request, &manner, lease, err);
}

rp_status rp_pool_lease_room_take(rp_pool *pool, const rp_request *request,
                                  struct rp_reserved *reserved, rp_lease **lease, rp_error *err) {
    struct manner manner = {.reserved = reserved};
    rp_status status = acquire_slowly(pool, RP_KIND_RESERVATION, request, &manner, lease, err);
    if (!manner.has_room) rp_reserved_destroy(reserved);
    return status;
}
