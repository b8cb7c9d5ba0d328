/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool as a whole: opening and closing it, and everything by which objects leave it.
 *
 * Leaving has two halves. Under the lock an entry is detached (no request finds it any more) and,
 * once nobody holds it and nothing was made of it, settled: unlinked, its bytes unloading. After
 * unlocking, rp_pool_bury() unmakes it and tells the ledger what came back.
 */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "pool/admission.h"
#include "pool/build.h"
#include "pool/choice.h"
#include "pool/history.h"
#include "pool/reserve.h"
#include "pool/waits.h"

#include <malloc.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

rp_status rp_pool_check_process(const rp_pool *pool, rp_error *err) {
    if (pool->fork_count == rp_seat_fork_count()) return RP_OK;
    rp_fail(err, RP_ERR_FORKED, "this pool belongs to process %d, the parent of this one (%d)",
            (int)pool->pid, (int)getpid());
    rp_hint(err, "open a pool of its own in the child, or call rp_pool_default() there");
    return RP_ERR_FORKED;
}

bool rp_pool_settle_idle(struct rp_entry *entry) {
    assert(rp_lock_is_held(&entry->pool->lock));
    const rp_pool *pool = entry->pool;
    if (pool->relief.low_memory == 0 && !entry->is_leased) return false;
    if (entry->needed_by || !rp_entry_seems_idle(entry)) return false;
    rp_entry_detach(entry); /* its holders are closed already: the pool is watched */
    return rp_entry_settle(entry);
}

void rp_pool_settle_holder(rp_pool *pool, struct rp_holder *holder) {
    assert(rp_lock_is_held(&pool->lock));
    struct rp_entry *entry = holder->entry;
    if (!entry) {
        rp_lock_release(&pool->lock); /* whoever cleared it saw that this was the last */
        return;
    }
    bool is_dead = entry->is_detached ? rp_entry_settle(entry) : rp_pool_settle_idle(entry);
    if (!is_dead && holder->seat->is_vacant && rp_holder_lease_count(holder) == 0) {
        rp_entry_drop_holder(entry, holder);
        rp_seat_bury(holder);
    }
    rp_admission_wake(pool);
    rp_lock_release(&pool->lock);
    if (is_dead) rp_pool_bury(pool, entry, NULL);
}

/* ---- unmaking ---- */

/* How often it was asked for, for the next process that loads it. No lock held. */
static void remember_uses(const struct rp_entry *entry, uint64_t uses) {
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    char *key = rp_key_history_text(&parts);
    if (!key) return;
    rp_history_record_uses(entry->pool->history, key, entry->revision, uses);
    rp_free(key);
}

/* Unmake one entry that is settled, and tell the ledger. Returns the entries whose turn has come.
 */
static struct rp_entry *bury_one(struct rp_entry *entry, uint64_t *bytes) {
    rp_pool *pool = entry->pool;
    bool is_loaded = entry->state == RP_ENTRY_LOADED;
    uint64_t arrived = entry->charge.arrived_bytes;
    bool is_metered = arrived >= RP_LEDGER_NOISE_BYTES;
    uint64_t before = RP_UNKNOWN_U64;
    uint64_t after = RP_UNKNOWN_U64;
    uint64_t held = entry->charge.bytes;
    uint64_t began = 0;
    int64_t start_ns = rp_clock_ns();
    /* A load that is measured meanwhile is not alone. What is known to be small spoils nothing. */
    bool is_object = is_loaded && !rp_entry_is_reservation(entry);
    bool is_activity = is_object && (held == 0 || held >= RP_LEDGER_NOISE_BYTES);
    if (is_activity) {
        rp_lock_acquire(&pool->lock);
        began = rp_ledger_begin(&pool->ledger, entry->charge.device);
        rp_lock_release(&pool->lock);
    }
    if (is_loaded && !is_object) {
        rp_event_tell(&pool->events, RP_EVENT_GIVE_BACK, entry->text, rp_entry_device(entry), held,
                      RP_UNKNOWN_U64, -1);
    }
    if (is_loaded) {
        if (is_metered) before = rp_meter_own_bytes(&pool->meter, rp_entry_device(entry));
        rp_entry_unmake(entry);
        if (is_metered) {
            malloc_trim(0); /* the C library keeps what was freed, unless it is told */
            after = rp_meter_own_bytes(&pool->meter, rp_entry_device(entry));
        }
    }
    RP_POINT("bury: unmade");
    rp_lock_acquire(&pool->lock);
    if (is_activity) (void)rp_ledger_end(&pool->ledger, entry->charge.device, began);
    uint64_t freed = rp_ledger_unload(&pool->ledger, &entry->charge, before, after, rp_clock_ns());
    struct rp_entry *due = rp_entry_drop_dependencies(entry);
    if (is_object) {
        pool->counts.unloads++;
        pool->counts.freed_bytes += freed;
    }
    if (is_loaded && freed > 0) rp_doomed_clear(&pool->doomed);
    uint64_t uses = rp_entry_hits(entry) + entry->misses;
    rp_admission_wake(pool);
    rp_lock_release(&pool->lock);
    if (is_object) {
        rp_event_tell(&pool->events, RP_EVENT_UNLOAD, entry->text, rp_entry_device(entry), held,
                      freed, rp_elapsed_ms(start_ns, rp_clock_ns()));
        remember_uses(entry, uses);
    }
    if (bytes) *bytes += freed;
    rp_entry_destroy(entry);
    return due;
}

uint64_t rp_pool_bury(rp_pool *pool, struct rp_entry *dead, uint64_t *bytes) {
    uint64_t count = 0;
    while (dead) {
        struct rp_entry *entry = dead;
        dead = entry->next;
        count += entry->state == RP_ENTRY_LOADED;
        struct rp_entry *due = bury_one(entry, bytes);
        while (due) {
            struct rp_entry *next = due->next;
            due->next = dead;
            dead = due;
            due = next;
        }
    }
    if (count > 0 && pool->relief.on_freed) pool->relief.on_freed(false, pool->relief.freed_user);
    return count;
}

/* ---- taking out ---- */

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

/* Whether it is loaded and `wanted` says yes; what is detached already only waits to be settled. */
static bool is_wanted(const struct rp_entry *entry,
                      bool (*wanted)(const struct rp_entry *entry, void *user), void *user) {
    return entry->state == RP_ENTRY_LOADED && !entry->is_detached &&
           (!wanted || wanted(entry, user));
}

struct rp_entry *rp_pool_detach(rp_pool *pool,
                                bool (*wanted)(const struct rp_entry *entry, void *user),
                                void *user) {
    assert(rp_lock_is_held(&pool->lock));
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (is_wanted(entry, wanted, user)) rp_entry_detach(entry);
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

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0; /* what others loaded meanwhile is not below zero */
}

/* So often what destructors loaded is cleared as well; one that always loads another never ends. */
enum { CLEAR_ROUNDS = 8 };

/* What is cleared of less than this is not worth a walk over the heap. */
enum { TRIMMED_BYTES = 1 << 20 };

rp_status rp_pool_clear(rp_pool *pool, rp_cleared *cleared, rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool to clear");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;

    uint64_t freed = 0;
    rp_lock_acquire(&pool->lock);
    struct rp_cleared before = count_entries(pool);
    rp_doomed_clear(&pool->doomed);
    for (int round = 0; round < CLEAR_ROUNDS; round++) {
        struct rp_entry *dead = rp_pool_detach(pool, NULL, NULL);
        if (!dead) break;
        rp_lock_release(&pool->lock);
        /* Destructors may release leases on others, which then go too, and may load others. */
        rp_pool_bury(pool, dead, &freed);
        rp_lock_acquire(&pool->lock);
    }
    struct rp_cleared after = count_entries(pool);
    if (after.leased_count > 0) {
        status = RP_ERR_BUSY;
        if (err) tell_leases(pool, after.leased_count, err);
    }
    rp_lock_release(&pool->lock);

    after.removed_count = less(before.leased_count, after.leased_count);
    after.removed_bytes = less(before.removed_bytes, after.removed_bytes);
    after.freed_bytes = freed;
    if (cleared) *cleared = after;
    if (after.removed_bytes >= TRIMMED_BYTES) rp_relief_trim(pool);
    rp_event_tell(&pool->events, RP_EVENT_CLEAR, NULL, NULL, freed, RP_UNKNOWN_U64, -1);
    rp_log(&pool->logger, RP_LOG_INFO, "event=clear removed=%llu leased=%llu",
           (unsigned long long)after.removed_count, (unsigned long long)after.leased_count);
    return status;
}

/* One round of a clean-up. */
struct sweep {
    int64_t now_ns;
    int64_t max_age_ns;
};

static bool is_unused(const struct rp_entry *entry, const struct sweep *sweep, uint32_t depth) {
    if (!rp_entry_seems_idle(entry) || depth > RP_LIMIT_BUILD_DEPTH) return false;
    int64_t last_ns = rp_entry_last_ns(entry);
    int64_t idle_ns = sweep->now_ns - last_ns;
    if (idle_ns < sweep->max_age_ns) return false;
    /* What is used now and then, at intervals longer than the age, has not been missed yet. */
    uint64_t uses = rp_entry_hits(entry);
    int64_t interval_ns = uses >= 3 ? (last_ns - entry->loaded_ns) / (int64_t)uses : 0;
    if (idle_ns < 2 * interval_ns && idle_ns < 4 * sweep->max_age_ns) return false;
    for (const struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (!edge->of->is_detached && !is_unused(edge->of, sweep, depth + 1)) return false;
    }
    return true;
}

static bool is_wanted_by_sweep(const struct rp_entry *entry, void *user) {
    const struct sweep *sweep = user;
    if (!is_unused(entry, sweep, 0)) return false;
    rp_event_tell(&entry->pool->events, RP_EVENT_CLEANUP, entry->text, rp_entry_device(entry),
                  entry->charge.bytes, RP_UNKNOWN_U64,
                  rp_elapsed_ms(rp_entry_last_ns(entry), sweep->now_ns));
    return true;
}

rp_status rp_pool_cleanup_unused(rp_pool *pool, int64_t max_age_ms, rp_cleared *cleared,
                                 rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool to clean up");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    if (max_age_ms < 0 || max_age_ms > INT64_MAX / 8000000) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "an age of %lld ms: it is 0 or more, and in milliseconds",
                       (long long)max_age_ms);
    }
    struct rp_cleared done = {0};
    rp_lock_acquire(&pool->lock);
    struct sweep sweep = {rp_clock_coarse_ns(), max_age_ms * 1000000};
    struct rp_cleared before = count_entries(pool);
    struct rp_entry *dead = rp_pool_detach(pool, is_wanted_by_sweep, &sweep);
    rp_lock_release(&pool->lock);
    done.removed_count = rp_pool_bury(pool, dead, &done.freed_bytes);
    rp_lock_acquire(&pool->lock);
    struct rp_cleared after = count_entries(pool);
    done.removed_bytes = less(before.removed_bytes, after.removed_bytes);
    done.leased_count = after.leased_count;
    done.loading_count = after.loading_count;
    pool->counts.cleanup_runs++;
    pool->counts.cleanup_removed += done.removed_count;
    pool->counts.cleanup_bytes += done.freed_bytes;
    pool->counts.cleanup_wall_ns = rp_wall_ns();
    rp_lock_release(&pool->lock);
    if (done.removed_count > 0) rp_relief_trim(pool);
    if (cleared) *cleared = done;
    return RP_OK;
}

struct rp_entry *rp_pool_find_text(const rp_pool *pool, const char *key) {
    for (struct rp_entry *entry = pool->newest; entry; entry = entry->previous) {
        if (!entry->is_detached && strcmp(entry->text, key) == 0) return entry;
    }
    return NULL;
}

bool rp_pool_waits_for_room(rp_pool *pool, pid_t thread) {
    rp_lock_acquire(&pool->lock);
    bool waits = rp_admission_is_awaited(pool, thread);
    rp_lock_release(&pool->lock);
    return waits;
}

void rp_pool_each_model(rp_pool *pool, void (*tell)(void *user, const char *key, rp_model *model),
                        void *user) {
    rp_lock_acquire(&pool->lock);
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        bool is_loaded = entry->state == RP_ENTRY_LOADED && !entry->is_detached;
        if (is_loaded && entry->model) tell(user, entry->text, entry->model);
    }
    rp_lock_release(&pool->lock);
}

/* Detach an entry and what was made of it. */
static bool is_made_of(const struct rp_entry *entry, void *user) {
    const struct rp_entry *wanted = user;
    if (entry == wanted) return true;
    for (const struct rp_dependency *edge = entry->needs; edge; edge = edge->next_of) {
        if (is_made_of(edge->on, user)) return true;
    }
    return false;
}

rp_status rp_pool_evict(rp_pool *pool, const char *key, rp_cleared *cleared, rp_error *err) {
    if (!pool || !key) return rp_fail(err, RP_ERR_ARGUMENT, "no pool, or no key to evict");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct rp_cleared done = {0};
    struct rp_entry *dead = NULL;
    rp_lock_acquire(&pool->lock);
    struct rp_entry *entry = rp_pool_find_text(pool, key);
    struct rp_cleared before = count_entries(pool);
    if (!entry) {
        status = rp_fail(err, RP_ERR_NOT_FOUND, "nothing called '%s' is in the pool", key);
    } else if (entry->state == RP_ENTRY_LOADING) {
        status = rp_fail(err, RP_ERR_BUSY, "'%s' is being loaded", key);
    } else {
        dead = rp_pool_detach(pool, is_made_of, entry);
        for (entry = pool->oldest; entry; entry = entry->next) {
            done.leased_count += entry->is_detached && entry->state == RP_ENTRY_LOADED &&
                                 !rp_entry_is_reservation(entry);
        }
    }
    rp_lock_release(&pool->lock);
    done.removed_count = rp_pool_bury(pool, dead, &done.freed_bytes);
    rp_lock_acquire(&pool->lock);
    done.removed_bytes = less(before.removed_bytes, count_entries(pool).removed_bytes);
    pool->counts.evictions += done.removed_count;
    pool->counts.evicted_bytes += done.removed_bytes;
    rp_lock_release(&pool->lock);
    if (status == RP_OK && cleared) *cleared = done;
    return status;
}

void rp_pool_retire(const rp_lease *lease) {
    struct rp_entry *entry = RP_READ(rp_ticket_slot(lease)->holder)->entry;
    rp_pool *pool = entry->pool;
    uint64_t freed_bytes = 0;
    rp_lock_acquire(&pool->lock);
    struct rp_entry *dead = entry->is_detached ? NULL : rp_pool_detach(pool, is_made_of, entry);
    rp_lock_release(&pool->lock);
    rp_pool_bury(pool, dead, &freed_bytes);
}

rp_status rp_pool_find(rp_pool *pool, const char *key, rp_lease **lease, rp_error *err) {
    if (!pool || !key || !lease) {
        return rp_fail(err, RP_ERR_ARGUMENT, "no pool, no key, or no place for a lease");
    }
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct rp_seat *seat = rp_seat_of(pool);
    if (!seat) return rp_fail(err, RP_ERR_MEMORY, "no memory for this thread's place in the pool");
    rp_lock_acquire(&pool->lock);
    struct rp_entry *entry = rp_pool_find_text(pool, key);
    status = entry && entry->state == RP_ENTRY_LOADED && entry->aliases
                 ? rp_pool_take_lease(seat, entry, entry->aliases->request, false, lease, err)
                 : rp_fail(err, RP_ERR_NOT_FOUND, "nothing called '%s' is loaded", key);
    rp_lock_release(&pool->lock);
    return status;
}

rp_status rp_pool_move_model(rp_pool *pool, const rp_request *request, const char *device,
                             rp_lease **lease, rp_error *err) {
    if (!pool || !request || !device || !lease || request->size < offsetof(rp_request, within)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a move needs a pool, a request, a device and a lease");
    }
    rp_request whole = RP_REQUEST_INIT;
    memcpy(&whole, request, request->size < sizeof whole ? request->size : sizeof whole);
    whole.size = sizeof whole;
    int64_t start_ns = rp_clock_ns();
    rp_request there = whole;
    there.device = device;
    there.devices = NULL; /* there or nowhere */
    rp_lease *moved = NULL;
    rp_status status = rp_pool_get_model(pool, &there, &moved, err);
    if (status != RP_OK) return status;

    struct rp_key_parts asked;
    struct rp_entry *dead = NULL;
    status = rp_key_parts_of_request(RP_KIND_MODEL, &whole, &asked, err);
    if (status != RP_OK) {
        rp_lease_release(moved, NULL);
        return status;
    }
    char key_device[RP_LIMIT_DEVICE_BYTES];
    asked.device = rp_choice_key_device(&whole, key_device);
    rp_lock_acquire(&pool->lock);
    struct rp_entry *to = RP_READ(rp_ticket_slot(moved)->holder)->entry;
    struct rp_entry *from = rp_pool_find_request(pool, &asked);
    bool is_other = from && from != to && from->state == RP_ENTRY_LOADED;
    if (is_other) {
        whole.device = NULL; /* from now on, whoever names no device is led there */
        asked.device = rp_choice_key_device(&whole, key_device);
        dead = rp_pool_detach(pool, is_made_of, from);
        if (!rp_pool_find_request(pool, &asked)) (void)rp_entry_add_alias(to, &asked);
    }
    rp_lock_release(&pool->lock);
    if (is_other) {
        rp_event_tell(&pool->events, RP_EVENT_MOVE, rp_lease_key(moved), device,
                      rp_lease_memory_bytes(moved), RP_UNKNOWN_U64,
                      rp_elapsed_ms(start_ns, rp_clock_ns()));
    }
    rp_pool_bury(pool, dead, NULL);
    *lease = moved;
    return RP_OK;
}

/* ---- budgets ---- */

/* "2GiB", or "cpu=8GiB,cuda:0=20GiB,all=24GiB". Before the pool is used by anybody else. */
/* Whether any machine could have a device of that name: a slip of the pen is no budget. */
static bool is_device_name(const char *word) {
    char kind_name[RP_LIMIT_DEVICE_BYTES];
    rp_device_kind kind;
    snprintf(kind_name, sizeof kind_name, "%.*s", (int)strcspn(word, ":"), word);
    return rp_device_kind_parse(kind_name, &kind, NULL) == RP_OK &&
           strlen(word) < RP_LIMIT_DEVICE_BYTES;
}

static rp_status parse_budget(rp_pool *pool, const char *text, const char *source, rp_error *err) {
    char *copy = rp_strdup(text);
    if (!copy) return rp_fail(err, RP_ERR_MEMORY, "no memory for the budget");
    rp_status status = RP_OK;
    for (char *rest = copy, *word; status == RP_OK && (word = strsep(&rest, ","));) {
        char *equals = strchr(word, '=');
        const char *amount = equals ? equals + 1 : word;
        uint64_t bytes;
        if (equals) *equals = '\0';
        if (!rp_text_parse_bytes(amount, &bytes) || bytes == RP_UNKNOWN_U64) {
            status =
                rp_fail(err, RP_ERR_ARGUMENT, "%s: '%s' is no number of bytes", source, amount);
            rp_hint(err, "such as 2GiB, or cpu=8GiB,cuda:0=20GiB,all=24GiB");
        } else if (!equals || strcmp(word, "all") == 0) {
            pool->ledger.budget_bytes = bytes;
        } else if (!is_device_name(word)) {
            status = rp_fail(err, RP_ERR_ARGUMENT, "%s: '%.60s' is no device", source, word);
            rp_hint(err, "name devices as cpu=8GiB,cuda:0=20GiB, and all=24GiB for their sum");
        } else {
            uint16_t index = rp_ledger_device_index(&pool->ledger, word);
            if (index == RP_LEDGER_NO_DEVICE) {
                status = rp_fail(err, RP_ERR_ARGUMENT, "%s: no place for a device '%.60s'", source,
                                 word);
            } else {
                pool->ledger.devices[index].budget_bytes = bytes;
            }
        }
    }
    rp_free(copy);
    return status;
}

rp_status rp_pool_set_budget(rp_pool *pool, const char *device, uint64_t bytes, rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool to set a budget of");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    const rp_snapshot *snapshot = NULL;
    status = rp_hardware_snapshot(&snapshot, err);
    if (status != RP_OK) return status;
    const rp_device *found = device ? rp_snapshot_find_device(snapshot, device) : NULL;
    struct rp_entry *dead = NULL;
    if (device && !found) {
        status = rp_fail(err, RP_ERR_ABSENT, "no budget for '%s': this machine has no such device",
                         device);
        rp_snapshot_release(snapshot);
        return status;
    }
    rp_lock_acquire(&pool->lock);
    uint16_t index = RP_LEDGER_NO_DEVICE;
    if (device) index = rp_ledger_device_index(&pool->ledger, found->id);
    if (device && index == RP_LEDGER_NO_DEVICE) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory for a budget of '%s'", device);
    } else {
        if (device) {
            pool->ledger.devices[index].budget_bytes = bytes;
            pool->ledger.devices[index].limit_bytes = found->memory_bytes_total;
        } else {
            pool->ledger.budget_bytes = bytes;
        }
        for (size_t i = 0; i < pool->ledger.count; i++) {
            uint16_t at = (uint16_t)i;
            struct rp_shortage over = rp_ledger_shortage(&pool->ledger, at, 0, RP_UNKNOWN_U64);
            uint64_t most = over.device_bytes > 0 ? over.device_bytes : over.all_bytes;
            if (most == 0 || dead) continue;
            dead = rp_admission_evict(pool, over.device_bytes > 0 ? at : RP_LEDGER_NO_DEVICE, most,
                                      false);
        }
        rp_admission_wake(pool);
    }
    rp_lock_release(&pool->lock);
    rp_event_tell(&pool->events, RP_EVENT_BUDGET, device ? device : "all", device, bytes,
                  RP_UNKNOWN_U64, -1);
    rp_pool_bury(pool, dead, NULL);
    rp_snapshot_release(snapshot);
    return status;
}

void rp_pool_note_outside(rp_pool *pool, const char *device, uint64_t bytes) {
    rp_lock_acquire(&pool->lock);
    uint16_t index = rp_ledger_device_index(&pool->ledger, device);
    if (index != RP_LEDGER_NO_DEVICE) {
        uint64_t before = pool->ledger.devices[index].outside_bytes;
        pool->ledger.devices[index].outside_bytes = bytes;
        if (bytes < before) rp_admission_wake(pool);
    }
    rp_lock_release(&pool->lock);
}

/* ---- opening and closing ---- */

void rp_pool_tell_notes(rp_pool *pool) {
    size_t count = rp_history_note_count(pool->history);
    rp_lock_acquire(&pool->lock);
    size_t first = pool->notes_told;
    if (count > first) pool->notes_told = count;
    rp_lock_release(&pool->lock);
    for (size_t i = first; i < count; i++) {
        const char *note = rp_history_note(pool->history, i);
        rp_event_tell(&pool->events, RP_EVENT_NOTE, note, NULL, RP_UNKNOWN_U64, RP_UNKNOWN_U64, -1);
        rp_log(&pool->logger, RP_LOG_WARNING, "event=note message=\"%s\"", note);
    }
}

static void free_pool(rp_pool *pool) {
    rp_relief_fini(pool);
    rp_history_close(pool->history);
    rp_doomed_fini(&pool->doomed);
    rp_eviction_fini(&pool->eviction);
    rp_ledger_fini(&pool->ledger);
    rp_free(pool->harvest);
    rp_table_fini(&pool->requests);
    rp_table_fini(&pool->instances);
    rp_condition_fini(&pool->load_ended);
    rp_lock_fini(&pool->lock);
    rp_free(pool);
}

rp_status rp_pool_open_hooked(const rp_pool_options *options, const struct rp_pool_hooks *hooks,
                              rp_pool **pool, rp_error *err) {
    rp_pool_options own = RP_POOL_OPTIONS_INIT;
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no place for the pool that is to be opened");
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    rp_pool *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for a pool");
    made->logger = rp_logger_make(own.log_level, own.log_sink, own.log_user);
    made->fork_count = rp_seat_fork_count();
    made->pid = getpid();
    if (hooks) made->hooks = *hooks;
    made->meter = (struct rp_meter){rp_relief_read_meter, made};
    rp_fence_prepare();
    rp_lock_init(&made->lock);
    rp_condition_init(&made->load_ended);
    rp_ledger_init(&made->ledger);
    rp_eviction_init(&made->eviction);
    rp_status status = rp_history_open(own.history, &made->history, err);
    const char *variable = getenv("RESOURCE_POOL_BUDGET");
    if (status == RP_OK && own.budget) {
        status = parse_budget(made, own.budget, "budget", err);
    } else if (status == RP_OK && variable && *variable) {
        status = parse_budget(made, variable, "RESOURCE_POOL_BUDGET", err);
    }
    rp_status relief = rp_relief_init(made, &own, status == RP_OK ? err : NULL);
    if (status == RP_OK) status = relief;
    if (status != RP_OK) {
        rp_relief_end(made);
        free_pool(made);
        return status;
    }
    if (made->hooks.lease_model) {
        rp_lock_acquire(&made->lock);
        rp_pool_watch(made); /* so that each release is seen */
        rp_lock_release(&made->lock);
    }
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
    rp_relief_end(pool);
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
    (void)rp_history_flush(pool->history); /* what cannot be written is a note */
    rp_pool_tell_notes(pool);
    struct rp_pool_hooks hooks = pool->hooks;
    free_pool(pool);
    if (hooks.closed) hooks.closed(hooks.user);
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
