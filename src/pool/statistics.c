/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot of a pool. Taken under the lock, which hits do not need, and all totals are sums of
 * the rows in the same snapshot (plus what entries that are gone left behind), so that they fit.
 */
#include <resourcepool/statistics.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "pool/admission.h"
#include "pool/build.h"
#include "pool/pool.h"
#include "pool/reserve.h"

#include <string.h>

struct rp_statistics {
    rp_totals totals;
    rp_entry_info *entries;
    size_t entry_count;
    rp_lease_info *leases;
    size_t lease_count;
    rp_ledger_info *devices;
    size_t device_count;
    const char **keys; /* what depends_on and dependents point to */
    size_t keys_used;
    char *texts; /* what the rows point to */
    size_t texts_used;
    const rp_snapshot *hardware; /* a share; NULL: not known */
};

const char *rp_kind_name(rp_kind kind) {
    switch (kind) {
    case RP_KIND_RESOURCE:
        return "resource";
    case RP_KIND_MODEL:
        return "model";
    case RP_KIND_TOKENIZER:
        return "tokenizer";
    case RP_KIND_RESERVATION:
        return "reservation";
    }
    return "unknown";
}

void rp_statistics_destroy(rp_statistics *statistics) {
    if (!statistics) return;
    rp_snapshot_release(statistics->hardware);
    rp_free(statistics->entries);
    rp_free(statistics->leases);
    rp_free(statistics->devices);
    rp_free(statistics->keys);
    rp_free(statistics->texts);
    rp_free(statistics);
}

static size_t text_size(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

static const char *keep_text(rp_statistics *statistics, const char *text) {
    if (!text) return NULL;
    size_t size = text_size(text);
    char *copy = memcpy(statistics->texts + statistics->texts_used, text, size);
    statistics->texts_used += size;
    return copy;
}

/* Room for everything that is in the pool now; false without memory. Needs pool.lock. */
static bool reserve(const rp_pool *pool, rp_statistics *statistics) {
    size_t holder_count = 0;
    size_t texts_size = pool->texts_size + pool->dependency_texts_size;
    for (const struct rp_seat *seat = pool->seats; seat; seat = seat->next_of_pool) {
        holder_count += seat->live_holder_count;
    }
    for (size_t i = 0; i < pool->ledger.count; i++) {
        texts_size += text_size(pool->ledger.devices[i].id);
    }
    statistics->devices = rp_alloc_array(pool->ledger.count, sizeof *statistics->devices);
    statistics->keys = rp_alloc_array(2 * pool->dependency_count, sizeof *statistics->keys);
    /* Each row and each byte is written once: zeroing megabytes first would double the time. */
    statistics->entries = rp_realloc_array(NULL, pool->entry_count, sizeof *statistics->entries);
    statistics->leases = rp_realloc_array(NULL, holder_count, sizeof *statistics->leases);
    statistics->texts = rp_realloc_array(NULL, texts_size, 1);
    return statistics->entries && statistics->leases && statistics->texts && statistics->devices &&
           statistics->keys;
}

/* What each slot says that is held, to `see`. Needs pool.lock. */
static void walk_slots(rp_pool *pool, void (*see)(struct rp_holder *holder, int64_t since_ns)) {
    for (struct rp_seat *seat = pool->seats; seat; seat = seat->next_of_pool) {
        for (struct rp_slot_block *block = seat->slot_blocks; block; block = block->next) {
            for (size_t i = 0; i < RP_SLOTS_PER_BLOCK; i++) {
                struct rp_slot *slot = &block->slots[i];
                if ((RP_READ(slot->state) & 1) == 0) continue;
                struct rp_holder *holder = RP_READ(slot->holder);
                if (holder) see(holder, RP_READ(slot->since_ns));
            }
        }
    }
}

static void begin_oldest(struct rp_holder *holder, int64_t since_ns) {
    (void)since_ns;
    holder->oldest_ns = INT64_MAX;
}

static void take_oldest(struct rp_holder *holder, int64_t since_ns) {
    if (since_ns < holder->oldest_ns) holder->oldest_ns = since_ns;
}

/* Give each holder the age of its oldest lease; only those of held slots are looked at. */
static void find_oldest_leases(rp_pool *pool) {
    walk_slots(pool, begin_oldest);
    walk_slots(pool, take_oldest);
}

static double age_ms(int64_t since_ns, int64_t now_ns) {
    return now_ns > since_ns ? rp_elapsed_ms(since_ns, now_ns) : 0;
}

/* One row for each thread that holds the entry, however it asked for it. */
static uint64_t add_leases(rp_statistics *statistics, const struct rp_entry *entry, const char *key,
                           int64_t now_ns) {
    size_t first = statistics->lease_count;
    uint64_t total = 0;
    for (const struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
        uint64_t count = rp_holder_lease_count(at);
        if (count == 0) continue;
        total += count;
        double oldest_ms = at->oldest_ns == INT64_MAX ? 0 : age_ms(at->oldest_ns, now_ns);
        size_t row = first;
        while (row < statistics->lease_count &&
               statistics->leases[row].thread_id != at->seat->thread_id) {
            row++;
        }
        rp_lease_info *lease = &statistics->leases[row];
        if (row == statistics->lease_count) {
            *lease = (rp_lease_info){
                .key = key,
                .pid = entry->pool->pid,
                .thread_id = at->seat->thread_id,
                .kind = (rp_kind)entry->instance->kind,
                .memory_bytes = RP_UNKNOWN_U64,
            };
            statistics->lease_count++;
        }
        lease->count += count;
        if (oldest_ms > lease->oldest_ms) lease->oldest_ms = oldest_ms;
    }
    return total;
}

/* A part of a copied key: where it stands in the copy. */
static const char *moved(const char *part, const struct rp_key *key, const char *copy) {
    return part ? copy + (part - key->bytes) : NULL;
}

static char *keep_bytes(rp_statistics *statistics, const char *bytes, size_t size) {
    char *copy = memcpy(statistics->texts + statistics->texts_used, bytes, size);
    statistics->texts_used += size;
    return copy;
}

static void add_entry(rp_statistics *statistics, const struct rp_entry *entry, int64_t now_ns) {
    const struct rp_key *key = entry->instance;
    struct rp_key_parts parts = rp_key_parts_of(key);
    const char *copy = keep_bytes(statistics, key->bytes, key->size);
    rp_entry_info *row = &statistics->entries[statistics->entry_count++];
    *row = (rp_entry_info){0};
    row->key = keep_bytes(statistics, entry->text, entry->text_size);
    row->kind = parts.kind;
    row->type = moved(parts.type, key, copy);
    row->name = parts.name ? moved(parts.name, key, copy) : "";
    row->placement = (rp_placement){
        .device = moved(parts.device, key, copy),
        .precision = moved(parts.precision, key, copy),
        .engine = moved(parts.engine, key, copy),
        .policy = entry->placement.policy,
        .reason = keep_bytes(statistics, entry->placement.reason, entry->reason_size),
    };
    row->lease_count = add_leases(statistics, entry, row->key, now_ns);
    row->hits = rp_entry_hits(entry);
    row->misses = entry->misses;
    row->requests = row->hits + row->misses;
    row->memory_bytes = entry->memory_bytes;
    row->memory_method = entry->memory_method;
    row->load_ms = entry->load_ms;
    row->created_wall_ns = entry->created_wall_ns;
    row->idle_ms = age_ms(rp_entry_last_ns(entry), now_ns);
    row->is_draining = entry->is_detached;
    row->age_ms = age_ms(entry->loaded_ns, now_ns);
    row->depends_on = statistics->keys + statistics->keys_used;
    for (const struct rp_dependency *at = entry->needs; at; at = at->next_of) {
        statistics->keys[statistics->keys_used++] = keep_text(statistics, at->on->text);
        row->depends_on_count++;
    }
    row->dependents = statistics->keys + statistics->keys_used;
    for (const struct rp_dependency *at = entry->needed_by; at; at = at->next_on) {
        statistics->keys[statistics->keys_used++] = keep_text(statistics, at->of->text);
        row->dependent_count++;
    }
}

/* Room that is held: no object, but its leases are told. */
static void add_reservation(rp_statistics *statistics, const struct rp_entry *entry,
                            int64_t now_ns) {
    size_t first = statistics->lease_count;
    const char *key = keep_bytes(statistics, entry->text, entry->text_size);
    uint64_t leases = add_leases(statistics, entry, key, now_ns);
    /* There is room for it: other texts of the entry are not told, and are longer. */
    const char *device = rp_entry_device(entry);
    assert(text_size(device) <= (size_t)entry->instance->size + entry->reason_size);
    device = keep_text(statistics, device);
    for (size_t i = first; i < statistics->lease_count; i++) {
        statistics->leases[i].device = device;
        statistics->leases[i].memory_bytes = entry->memory_bytes;
    }
    statistics->totals.lease_count += leases;
    statistics->totals.reserved_count++;
    statistics->totals.reserved_bytes += entry->memory_bytes;
}

static void add_devices(rp_pool *pool, rp_statistics *statistics) {
    for (size_t i = 0; i < pool->ledger.count; i++) {
        const struct rp_ledger_device *device = &pool->ledger.devices[i];
        struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
        pool->meter.read(pool->meter.user, device->id, &reading);
        rp_ledger_info *row = &statistics->devices[statistics->device_count++];
        *row = (rp_ledger_info){
            .device = keep_text(statistics, device->id),
            .budget_bytes = rp_ledger_budget(&pool->ledger, (uint16_t)i),
            .charged_bytes = rp_ledger_charged(device->sums),
            .peak_bytes = device->peak_bytes,
            .usable_bytes = reading.usable_bytes,
        };
        memcpy(row->in_state_bytes, device->sums, sizeof row->in_state_bytes);
    }
}

static void add_counts(rp_pool *pool, rp_totals *totals) {
    const struct rp_pool_counts *counts = &pool->counts;
    totals->evictions = counts->evictions;
    totals->evicted_bytes = counts->evicted_bytes;
    totals->unloads = counts->unloads;
    totals->freed_bytes = counts->freed_bytes;
    totals->cleanup_runs = counts->cleanup_runs;
    totals->cleanup_removed = counts->cleanup_removed;
    totals->cleanup_bytes = counts->cleanup_bytes;
    totals->cleanup_wall_ns = counts->cleanup_wall_ns;
    totals->room_waits = counts->room_waits;
    totals->refusals = counts->refusals;
    totals->retries = counts->retries;
    totals->fallbacks = counts->fallbacks;
    memcpy(totals->failures, counts->failures, sizeof totals->failures);
    totals->reservations = counts->reservations;
    totals->peak_bytes = pool->ledger.peak_bytes;
    totals->is_low_memory = pool->relief.low_memory != 0;
    totals->low_memory_reason = rp_relief_reason(pool);
    totals->taken_wall_ns = rp_wall_ns();
}

static void add_to_totals(rp_totals *totals, const rp_entry_info *row) {
    totals->hits += row->hits;
    totals->misses += row->misses;
    totals->lease_count += row->lease_count;
    totals->entry_count++;
    totals->resource_count += row->kind == RP_KIND_RESOURCE;
    totals->model_count += row->kind == RP_KIND_MODEL;
    totals->tokenizer_count += row->kind == RP_KIND_TOKENIZER;
    if (row->memory_bytes == RP_UNKNOWN_U64) {
        totals->unknown_memory_count++;
    } else {
        totals->memory_bytes += row->memory_bytes;
    }
}

/* Ten thousand entries are in no cache: the next one is on its way while one is copied. */
static void fetch_ahead(const struct rp_entry *entry) {
    enum { LINE_BYTES = 64, TEXTS_BYTES = 192 }; /* which lie behind it */
    if (!entry) return;
    for (size_t at = 0; at < sizeof *entry + TEXTS_BYTES; at += LINE_BYTES) {
        __builtin_prefetch((const char *)entry + at);
    }
}

static void fill(rp_pool *pool, rp_statistics *statistics) {
    assert(rp_lock_is_held(&pool->lock));
    int64_t now_ns = rp_clock_ns();
    rp_totals *totals = &statistics->totals;
    totals->hits = pool->retired_hits;
    totals->misses = pool->retired_misses;
    totals->waits = pool->wait_count;
    totals->loads = pool->load_count;
    totals->load_failures = pool->load_failure_count;
    rp_admission_look_for_unseen(pool);
    add_counts(pool, totals);
    add_devices(pool, statistics);
    find_oldest_leases(pool);
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        fetch_ahead(entry->next);
        if (rp_entry_is_reservation(entry)) {
            if (entry->state == RP_ENTRY_LOADED) add_reservation(statistics, entry, now_ns);
        } else if (entry->state == RP_ENTRY_LOADED) {
            add_entry(statistics, entry, now_ns);
            add_to_totals(totals, &statistics->entries[statistics->entry_count - 1]);
        } else {
            totals->misses += entry->misses;
            totals->loading_count += entry->state == RP_ENTRY_LOADING;
        }
    }
    totals->requests = totals->hits + totals->misses;
    if (totals->requests > 0) totals->hit_ratio = (double)totals->hits / (double)totals->requests;
}

rp_status rp_pool_statistics(rp_pool *pool, rp_statistics **statistics, rp_error *err) {
    if (!pool || !statistics) return rp_fail(err, RP_ERR_ARGUMENT, "no pool to take statistics of");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    rp_statistics *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for statistics");
    if (rp_hardware_snapshot(&made->hardware, NULL) != RP_OK) made->hardware = NULL;
    rp_lock_acquire(&pool->lock);
    bool is_reserved = reserve(pool, made);
    if (is_reserved) fill(pool, made);
    rp_lock_release(&pool->lock);
    if (!is_reserved) {
        rp_statistics_destroy(made);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for statistics of this many entries");
    }
    if (rp_pool_check_pressure(pool, &made->totals.pressure, NULL) != RP_OK) {
        made->totals.pressure = (rp_pressure_info){.total_bytes = RP_UNKNOWN_U64,
                                                   .usable_bytes = RP_UNKNOWN_U64,
                                                   .stall_percent = -1,
                                                   .cpu_percent = -1,
                                                   .machine_total_bytes = RP_UNKNOWN_U64,
                                                   .machine_available_bytes = RP_UNKNOWN_U64,
                                                   .group_limit_bytes = RP_UNKNOWN_U64,
                                                   .group_used_bytes = RP_UNKNOWN_U64,
                                                   .group_oom_kills = RP_UNKNOWN_U64,
                                                   .process_bytes = RP_UNKNOWN_U64};
    }
    *statistics = made;
    return RP_OK;
}

const rp_snapshot *rp_statistics_hardware(const rp_statistics *statistics) {
    return statistics->hardware;
}

const rp_totals *rp_statistics_totals(const rp_statistics *statistics) {
    return &statistics->totals;
}

size_t rp_statistics_entry_count(const rp_statistics *statistics) {
    return statistics->entry_count;
}

const rp_entry_info *rp_statistics_entry(const rp_statistics *statistics, size_t index) {
    return index < statistics->entry_count ? &statistics->entries[index] : NULL;
}

size_t rp_statistics_lease_count(const rp_statistics *statistics) {
    return statistics->lease_count;
}

const rp_lease_info *rp_statistics_lease(const rp_statistics *statistics, size_t index) {
    return index < statistics->lease_count ? &statistics->leases[index] : NULL;
}

size_t rp_statistics_device_count(const rp_statistics *statistics) {
    return statistics->device_count;
}

const rp_ledger_info *rp_statistics_device(const rp_statistics *statistics, size_t index) {
    return index < statistics->device_count ? &statistics->devices[index] : NULL;
}

const rp_entry_info *rp_statistics_find(const rp_statistics *statistics, const char *key) {
    for (size_t i = 0; i < statistics->entry_count; i++) {
        if (strcmp(statistics->entries[i].key, key) == 0) return &statistics->entries[i];
    }
    return NULL;
}
