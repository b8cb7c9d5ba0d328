/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/entry.h"

#include "base/clock.h"
#include "base/memory.h"
#include "pool/build.h"
#include "pool/pool.h"
#include "pool/reserve.h"

#include <resourcepool/model.h>

struct rp_entry *rp_entry_create(rp_pool *pool, const struct rp_key_parts *instance,
                                 rp_policy policy, const char *reason) {
    char *text = rp_key_text(instance);
    if (!text) return NULL;
    size_t key_size = rp_key_size(instance);
    size_t text_size = strlen(text) + 1;
    size_t reason_size = strlen(reason) + 1;
    struct rp_entry *entry = rp_alloc(sizeof *entry + key_size + text_size + reason_size);
    if (!entry) {
        rp_free(text);
        return NULL;
    }
    char *behind = (char *)(entry + 1);
    entry->pool = pool;
    entry->instance = rp_key_write((struct rp_key *)(void *)behind, instance);
    entry->text = memcpy(behind + key_size, text, text_size);
    entry->text_size = (uint32_t)text_size;
    entry->reason_size = (uint32_t)reason_size;
    rp_free(text);
    struct rp_key_parts own = rp_key_parts_of(entry->instance);
    entry->placement = (rp_placement){
        .device = own.device,
        .precision = own.precision,
        .engine = own.engine,
        .policy = policy,
        .reason = memcpy(behind + key_size + text_size, reason, reason_size),
    };
    entry->created_wall_ns = rp_wall_ns();
    entry->used_ns = rp_clock_coarse_ns();
    entry->memory_bytes = RP_UNKNOWN_U64;
    return entry;
}

void rp_entry_unmake(struct rp_entry *entry) {
    void *object = entry->object;
    rp_model *model = entry->model;
    entry->object = NULL;
    entry->model = NULL;
    if (model) {
        rp_model_close(model);
    } else if (object && entry->destroy) {
        entry->destroy(object);
    }
}

void rp_entry_destroy(struct rp_entry *entry) {
    if (!entry) return;
    assert(!entry->object && entry->charge.state == RP_CHARGE_NONE);
    while (entry->aliases) {
        struct rp_alias *alias = entry->aliases;
        entry->aliases = alias->next_of_entry;
        rp_free(alias);
    }
    rp_build_destroy(entry->build);
    rp_free(entry);
}

bool rp_entry_add_alias(struct rp_entry *entry, const struct rp_key_parts *request) {
    rp_pool *pool = entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    bool is_instance = rp_key_equals(entry->instance, request);
    struct rp_alias *alias = rp_alloc(sizeof *alias + (is_instance ? 0 : rp_key_size(request)));
    if (!alias || !rp_table_reserve(&pool->requests)) {
        rp_free(alias);
        return false;
    }
    alias->request = entry->instance;
    if (!is_instance) alias->request = rp_key_write((struct rp_key *)(alias + 1), request);
    alias->entry = entry;
    alias->next_of_entry = entry->aliases;
    entry->aliases = alias;
    rp_table_insert(&pool->requests, alias->request->hash, alias);
    return true;
}

void rp_entry_detach(struct rp_entry *entry) {
    rp_pool *pool = entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    if (entry->is_detached) return;
    entry->is_detached = true;
    rp_table_remove(&pool->instances, entry->instance->hash, entry);
    for (struct rp_alias *alias = entry->aliases; alias; alias = alias->next_of_entry) {
        rp_table_remove(&pool->requests, alias->request->hash, alias);
    }
    for (struct rp_holder *holder = entry->holders; holder; holder = holder->next_of_entry) {
        RP_WRITE(holder->is_open, 0);
    }
}

/* The last look at a holder: its figures go to the entry. */
static void retire_holder(struct rp_entry *entry, const struct rp_holder *holder) {
    entry->retired_hits += RP_READ(holder->taken) - holder->not_hits;
    int64_t last_ns = RP_READ(holder->last_ns);
    if (last_ns > entry->used_ns) entry->used_ns = last_ns;
}

bool rp_entry_settle(struct rp_entry *entry) {
    rp_pool *pool = entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    if (!entry->is_detached || entry->pin_count > 0 || entry->needed_by ||
        rp_entry_lease_count(entry) > 0) {
        return false;
    }
    if (entry->state == RP_ENTRY_LOADED && !rp_entry_is_reservation(entry)) {
        rp_eviction_observe(&pool->eviction, &entry->worth, rp_entry_hits(entry),
                            entry->instance->hash, rp_entry_last_ns(entry));
        rp_eviction_forget(&pool->eviction, entry->instance->hash);
    }
    if (entry->charge.state != RP_CHARGE_NONE) {
        rp_ledger_move(&pool->ledger, &entry->charge, RP_CHARGE_UNLOADING);
    }
    if (entry->harvest_number > 0) pool->harvest[entry->harvest_number - 1] = NULL;
    pool->entry_count--;
    pool->texts_size -= rp_entry_texts_size(entry);
    while (entry->holders) {
        struct rp_holder *holder = entry->holders;
        entry->holders = holder->next_of_entry;
        retire_holder(entry, holder);
        rp_seat_bury(holder);
    }
    pool->retired_hits += entry->retired_hits;
    pool->retired_misses += entry->misses;
    if (entry->previous) {
        entry->previous->next = entry->next;
    } else {
        pool->oldest = entry->next;
    }
    if (entry->next) {
        entry->next->previous = entry->previous;
    } else {
        pool->newest = entry->previous;
    }
    entry->next = NULL;
    return true;
}

uint64_t rp_entry_lease_count(const struct rp_entry *entry) {
    uint64_t count = 0;
    for (const struct rp_holder *holder = entry->holders; holder; holder = holder->next_of_entry) {
        count += rp_holder_lease_count(holder);
    }
    return count;
}

uint64_t rp_entry_hits(const struct rp_entry *entry) {
    uint64_t hits = entry->retired_hits;
    for (const struct rp_holder *holder = entry->holders; holder; holder = holder->next_of_entry) {
        hits += RP_READ(holder->taken) - holder->not_hits;
    }
    return hits;
}

int64_t rp_entry_last_ns(const struct rp_entry *entry) {
    int64_t latest_ns = entry->used_ns;
    for (const struct rp_holder *holder = entry->holders; holder; holder = holder->next_of_entry) {
        int64_t last_ns = RP_READ(holder->last_ns);
        if (last_ns > latest_ns) latest_ns = last_ns;
    }
    return latest_ns;
}

void rp_entry_drop_holder(struct rp_entry *entry, struct rp_holder *holder) {
    assert(rp_lock_is_held(&entry->pool->lock));
    struct rp_holder **at = &entry->holders;
    while (*at != holder) {
        at = &(*at)->next_of_entry;
    }
    *at = holder->next_of_entry;
    retire_holder(entry, holder);
}

bool rp_entry_unpin(struct rp_entry *entry) {
    assert(rp_lock_is_held(&entry->pool->lock));
    assert(entry->pin_count > 0);
    if (--entry->pin_count > 0) return false;
    rp_build_destroy(entry->build);
    entry->build = NULL;
    return rp_entry_settle(entry);
}

bool rp_entry_add_dependency(struct rp_entry *of, struct rp_entry *on, rp_lease *lease) {
    assert(rp_lock_is_held(&of->pool->lock));
    struct rp_dependency *edge = rp_alloc(sizeof *edge);
    if (!edge) return false;
    *edge = (struct rp_dependency){
        .of = of, .on = on, .lease = lease, .next_of = of->needs, .next_on = on->needed_by};
    of->needs = edge;
    on->needed_by = edge;
    of->pool->dependency_count++;
    of->pool->dependency_texts_size += of->text_size + on->text_size;
    return true;
}

struct rp_entry *rp_entry_drop_dependencies(struct rp_entry *entry) {
    assert(rp_lock_is_held(&entry->pool->lock));
    struct rp_entry *due = NULL;
    while (entry->needs) {
        struct rp_dependency *edge = entry->needs;
        entry->needs = edge->next_of;
        struct rp_entry *on = edge->on;
        struct rp_dependency **at = &on->needed_by;
        while (*at != edge) {
            at = &(*at)->next_on;
        }
        *at = edge->next_on;
        entry->pool->dependency_count--;
        entry->pool->dependency_texts_size -= entry->text_size + on->text_size;
        rp_free(edge);
        if (on->is_detached ? !rp_entry_settle(on) : !rp_pool_settle_idle(on)) continue;
        on->next = due;
        due = on;
    }
    return due;
}
