/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/admission.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "pool/build.h"
#include "pool/pool.h"
#include "pool/reserve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Memory that others take or give back makes no event of ours: look again after a while. */
#define LOOK_AGAIN_MS 50

/* Smaller needs are not worth asking the device about. */
#define MEASURED_BYTES (UINT64_C(1) << 20)

/* What loads leave free on a device while there is anything idle to evict: other programs live
 * there too, and below it the pressure ladder begins (pressure_ladder.h). */
#define HEADROOM_PART      10
#define HEADROOM_BYTES_MAX (UINT64_C(4) << 30)

/* With more entries than this, the cheapest of one scan serve several evictions. */
enum { SCAN_ALWAYS = 128, HARVEST_PART = 8 };

/* ---- watching ---- */

static void set_holders(rp_pool *pool, uint32_t is_open) {
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->is_detached) continue;
        for (struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
            RP_WRITE(at->is_open, is_open);
        }
    }
}

void rp_pool_watch(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock));
    if (pool->watch_count++ > 0) return;
    set_holders(pool, 0);
    rp_fence_heavy();
    rp_seat_wait_for_readers(pool);
}

void rp_pool_unwatch(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock) && pool->watch_count > 0);
    if (--pool->watch_count == 0) set_holders(pool, 1);
}

/* ---- who may go ---- */

/* Whether it is on its way out: nobody holds it, and only its turn or its unmaking is waited for.
 */
static bool is_leaving(const struct rp_entry *entry) {
    return entry->charge.state == RP_CHARGE_UNLOADING;
}

/* Whether the object that `of` became still holds the lease that its constructor took. */
static bool is_held_inside(const struct rp_dependency *edge) {
    const struct rp_entry *of = edge->of;
    if (!edge->lease || of->state != RP_ENTRY_LOADED || is_leaving(of)) return false;
    if (rp_ticket_state(edge->lease) == 0) return false;
    const struct rp_holder *holder = RP_READ(rp_ticket_slot(edge->lease)->holder);
    return holder && holder->entry == edge->on;
}

/* Leases that are not the matter of a dependent which would go first. */
static uint64_t outside_leases(const struct rp_entry *entry) {
    uint64_t leases = rp_entry_lease_count(entry);
    for (const struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (leases > 0 && is_held_inside(edge)) leases--;
    }
    return leases;
}

/* Whether it is loaded and used by nobody but what was made of it. */
static bool is_unused(const struct rp_entry *entry) {
    return entry->state == RP_ENTRY_LOADED && entry->pin_count == 0 && !is_leaving(entry) &&
           outside_leases(entry) == 0;
}

bool rp_entry_seems_idle(const struct rp_entry *entry) {
    return !entry->is_detached && is_unused(entry);
}

/*
 * Whether the entry can go, with all that depends on it. That may be an entry which is detached
 * already, and only stays for the sake of what was made of it.
 */
static bool can_go(const struct rp_entry *entry, uint32_t depth) {
    if (!is_unused(entry) || depth > RP_LIMIT_BUILD_DEPTH) return false;
    for (const struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (!is_leaving(edge->of) && !can_go(edge->of, depth + 1)) return false;
    }
    return true;
}

static bool has_dependents(const struct rp_entry *entry) {
    for (const struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (!is_leaving(edge->of)) return true;
    }
    return false;
}

/* ---- choosing ---- */

/* A set of entries that are to go, marked with the number of this choice. */
struct choice {
    rp_pool *pool;
    uint16_t device; /* RP_LEDGER_NO_DEVICE: any */
    uint32_t mark;
    uint64_t device_bytes; /* chosen so far, on the device */
    uint64_t all_bytes;
    struct rp_entry *first; /* the chosen, by `chosen` */
};

static bool is_on(const struct choice *choice, const struct rp_entry *entry) {
    return choice->device == RP_LEDGER_NO_DEVICE ||
           (entry->charge.state != RP_CHARGE_NONE && entry->charge.device == choice->device);
}

/* Choose an entry with everything that depends on it. */
static void choose_entry(struct choice *choice, struct rp_entry *entry) {
    if (entry->mark == choice->mark) return;
    entry->mark = choice->mark;
    entry->chosen = choice->first;
    choice->first = entry;
    choice->all_bytes += entry->charge.bytes;
    if (is_on(choice, entry)) choice->device_bytes += entry->charge.bytes;
    for (struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (!is_leaving(edge->of)) choose_entry(choice, edge->of);
    }
}

/*
 * The victims of one scan. Entries on which nothing depends stand for themselves; the others only
 * come in when those do not suffice, and bring their dependents with them.
 */
static struct rp_victim *collect(struct choice *choice, bool with_dependents, bool on_device,
                                 size_t *count) {
    rp_pool *pool = choice->pool;
    int64_t now_ns = rp_clock_coarse_ns();
    struct rp_victim *victims = rp_alloc_array(pool->entry_count, sizeof *victims);
    *count = 0;
    if (!victims) return NULL;
    rp_eviction_scan(&pool->eviction);
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->mark == choice->mark || (on_device && !is_on(choice, entry))) continue;
        if ((!with_dependents && has_dependents(entry)) || !can_go(entry, 0)) continue;
        rp_eviction_observe(&pool->eviction, &entry->worth, rp_entry_hits(entry),
                            entry->instance->hash, rp_entry_last_ns(entry));
        victims[(*count)++] = (struct rp_victim){
            .cost = rp_eviction_cost(&pool->eviction, &entry->worth, now_ns),
            .bytes = entry->charge.bytes,
            .owner = entry,
        };
    }
    return victims;
}

/* Without memory for a scan: whatever is idle, oldest first, until it suffices. */
static bool choose_oldest(struct choice *choice, uint64_t bytes, bool on_device) {
    for (struct rp_entry *entry = choice->pool->oldest; entry; entry = entry->next) {
        uint64_t sum = on_device ? choice->device_bytes : choice->all_bytes;
        if (sum >= bytes) return true;
        if ((!on_device || is_on(choice, entry)) && can_go(entry, 0)) choose_entry(choice, entry);
    }
    return (on_device ? choice->device_bytes : choice->all_bytes) >= bytes;
}

/* Choose more, until what is chosen reaches `bytes` on the device, or in all. */
static bool choose_more(struct choice *choice, uint64_t bytes, bool on_device) {
    for (int with_dependents = 0; with_dependents < 2; with_dependents++) {
        uint64_t sum = on_device ? choice->device_bytes : choice->all_bytes;
        if (sum >= bytes) return true;
        size_t count;
        struct rp_victim *victims = collect(choice, with_dependents, on_device, &count);
        if (!victims) return choose_oldest(choice, bytes, on_device);
        bool is_found = rp_eviction_choose(victims, count, bytes - sum);
        for (size_t i = 0; i < count && is_found; i++) {
            if (victims[i].is_chosen) choose_entry(choice, victims[i].owner);
        }
        rp_free(victims);
        if (is_found) return true;
    }
    return false;
}

/* Everything that is idle there. */
static void choose_all(struct choice *choice) {
    for (struct rp_entry *entry = choice->pool->oldest; entry; entry = entry->next) {
        if (is_on(choice, entry) && can_go(entry, 0)) choose_entry(choice, entry);
    }
}

static int cheapest_first(const void *a, const void *b) {
    const struct rp_victim *x = a;
    const struct rp_victim *y = b;
    double left = x->cost * ((double)y->bytes + 1);
    double right = y->cost * ((double)x->bytes + 1);
    return (left > right) - (left < right);
}

/* Scan all entries, and keep a part of the cheapest for the evictions to come. */
static void harvest(rp_pool *pool) {
    struct choice any = {.pool = pool, .device = RP_LEDGER_NO_DEVICE, .mark = ++pool->mark};
    for (uint32_t i = 0; i < pool->harvest_count; i++) {
        if (pool->harvest[i]) pool->harvest[i]->harvest_number = 0;
    }
    pool->harvest_count = pool->harvest_at = 0;
    size_t count;
    struct rp_victim *victims = collect(&any, false, false, &count);
    if (!victims) return;
    qsort(victims, count, sizeof *victims, cheapest_first);
    size_t kept = count / HARVEST_PART;
    struct rp_entry **grown = rp_realloc_array(pool->harvest, kept + 1, sizeof(struct rp_entry *));
    if (grown) {
        pool->harvest = grown;
        for (size_t i = 0; i < kept; i++) {
            grown[i] = victims[i].owner;
            grown[i]->harvest_number = (uint32_t)i + 1;
        }
        pool->harvest_count = (uint32_t)kept;
    }
    rp_free(victims);
}

/* Choose from the harvest: whoever was not used since. False: it does not suffice. */
static bool choose_harvested(struct choice *choice, uint64_t device_bytes, uint64_t all_bytes) {
    rp_pool *pool = choice->pool;
    if (pool->entry_count <= SCAN_ALWAYS) return false;
    for (int again = 0; again < 2; again++) {
        for (uint32_t i = pool->harvest_at; i < pool->harvest_count; i++) {
            struct rp_entry *entry = pool->harvest[i];
            if (!entry || entry->mark == choice->mark || !is_on(choice, entry)) continue;
            bool is_used = rp_entry_hits(entry) != entry->worth.uses;
            if (is_used || has_dependents(entry) || !can_go(entry, 0)) continue;
            choose_entry(choice, entry);
            if (choice->device_bytes >= device_bytes && choice->all_bytes >= all_bytes) return true;
        }
        if (again == 0) harvest(pool);
    }
    return false;
}

/* ---- taking out ---- */

static void set_open(const struct rp_entry *entry, uint32_t is_open) {
    for (struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
        RP_WRITE(at->is_open, is_open);
    }
}

/* From here on every hit on a chosen entry has to pass the lock. */
static void close_chosen(const struct choice *choice) {
    for (struct rp_entry *entry = choice->first; entry; entry = entry->chosen) {
        set_open(entry, 0);
    }
    if (!choice->first) return;
    rp_fence_heavy();
    rp_seat_wait_for_readers(choice->pool);
}

/* Take it out of the choice, and let hits pass again. */
static void spare(struct choice *choice, struct rp_entry **at) {
    struct rp_entry *entry = *at;
    *at = entry->chosen;
    entry->mark = 0;
    choice->all_bytes -= entry->charge.bytes;
    if (is_on(choice, entry)) choice->device_bytes -= entry->charge.bytes;
    if (choice->pool->watch_count == 0 && !entry->is_detached) set_open(entry, 1);
}

/* Those of the chosen that were leased in the last moment stay, and what they need with them. */
static void spare_leased(struct choice *choice) {
    for (struct rp_entry **at = &choice->first; *at;) {
        if (can_go(*at, 0)) {
            at = &(*at)->chosen;
        } else {
            spare(choice, at);
        }
    }
}

static void spare_all(struct choice *choice) {
    while (choice->first) {
        spare(choice, &choice->first);
    }
}

/* Detach and settle what is chosen. What still waits for a dependent comes out with it. */
static struct rp_entry *take_out(const struct choice *choice) {
    rp_pool *pool = choice->pool;
    struct rp_entry *dead = NULL;
    for (struct rp_entry *entry = choice->first; entry; entry = entry->chosen) {
        rp_entry_detach(entry);
        rp_ledger_move(&pool->ledger, &entry->charge, RP_CHARGE_UNLOADING);
        pool->counts.evictions++;
        pool->counts.evicted_bytes += entry->charge.bytes;
        rp_event_tell(&pool->events, RP_EVENT_EVICT, entry->text, entry->placement.device,
                      entry->charge.bytes, RP_UNKNOWN_U64, entry->load_ms);
    }
    for (struct rp_entry *entry = choice->first; entry; entry = entry->chosen) {
        if (!rp_entry_settle(entry)) continue;
        entry->next = dead;
        dead = entry;
    }
    return dead;
}

/* Exactly enough, or nothing; the list of those that can be unmade now. */
static bool evict_for(rp_pool *pool, uint16_t device, uint64_t device_bytes, uint64_t all_bytes,
                      struct rp_entry **dead) {
    enum { ATTEMPTS = 4 }; /* each is spoilt only by a hit on a victim meanwhile */
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct choice choice = {.pool = pool, .device = device, .mark = ++pool->mark};
        if (!choose_harvested(&choice, device_bytes, all_bytes)) {
            choice = (struct choice){.pool = pool, .device = device, .mark = ++pool->mark};
            if (!choose_more(&choice, device_bytes, true)) return false;
            if (!choose_more(&choice, all_bytes, false)) return false;
        }
        RP_POINT("evict: chosen");
        close_chosen(&choice);
        spare_leased(&choice);
        if (choice.device_bytes >= device_bytes && choice.all_bytes >= all_bytes) {
            *dead = take_out(&choice);
            return true;
        }
        spare_all(&choice);
    }
    return false;
}

struct rp_entry *rp_admission_evict(rp_pool *pool, uint16_t device, uint64_t bytes, bool whole) {
    assert(rp_lock_is_held(&pool->lock));
    if (pool->entry_count == 0) return NULL;
    if (bytes != UINT64_MAX) {
        struct rp_entry *dead = NULL;
        if (evict_for(pool, device, bytes, 0, &dead) || whole) return dead;
    }
    struct choice choice = {.pool = pool, .device = device, .mark = ++pool->mark};
    choose_all(&choice);
    close_chosen(&choice);
    spare_leased(&choice);
    return take_out(&choice);
}

/* ---- the queue ---- */

void rp_admission_wake(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock));
    for (struct rp_admission *ask = pool->queue; ask; ask = ask->next) {
        rp_waits_nudge(ask->wait);
    }
}

static void enqueue(struct rp_admission *ask) {
    rp_pool *pool = ask->entry->pool;
    struct rp_admission **at = &pool->queue;
    while (*at && (!ask->is_nested || (*at)->is_nested)) {
        at = &(*at)->next;
    }
    ask->next = *at;
    *at = ask;
    ask->is_queued = true;
    pool->counts.room_waits++;
    rp_pool_watch(pool);
    if (pool->hooks.waits_for_room) pool->hooks.waits_for_room(pool->hooks.user);
}

static void dequeue(struct rp_admission *ask) {
    if (!ask->is_queued) return;
    rp_pool *pool = ask->entry->pool;
    struct rp_admission **at = &pool->queue;
    while (*at != ask) {
        at = &(*at)->next;
    }
    *at = ask->next;
    ask->is_queued = false;
    rp_pool_unwatch(pool);
    rp_admission_wake(pool); /* the next in line may be served, or see that it cannot be */
}

/* Whether this thread holds any lease of the pool. */
static bool holds_leases(rp_pool *pool) {
    const struct rp_seat *seat = rp_seat_latest;
    if (!seat || RP_READ(seat->pool) != pool) return false;
    for (size_t i = 0; seat->holders.slots && i <= seat->holders.mask; i++) {
        const struct rp_holder *holder = seat->holders.slots[i].value;
        if (holder && holder->entry && rp_holder_lease_count(holder) > 0) return true;
    }
    return false;
}

static bool is_rival(const struct rp_admission *ask, const struct rp_admission *other) {
    return other->entry->charge_device == ask->entry->charge_device ||
           ask->entry->pool->ledger.budget_bytes != RP_UNKNOWN_U64;
}

/*
 * Whether nobody that came before has been overtaken too often. A thread that holds leases passes:
 * the one it would wait for may be waiting for those.
 */
static bool is_gate_open(const struct rp_admission *ask, uint64_t bytes) {
    rp_pool *pool = ask->entry->pool;
    if (ask->is_nested || bytes == 0) return true;
    for (const struct rp_admission *at = pool->queue; at && at != ask; at = at->next) {
        if (at->overtaken_count >= RP_ADMISSION_OVERTAKES && is_rival(ask, at)) {
            return holds_leases(pool);
        }
    }
    return true;
}

static void count_overtaken(const struct rp_admission *ask) {
    for (struct rp_admission *at = ask->entry->pool->queue; at && at != ask; at = at->next) {
        if (!ask->is_nested && is_rival(ask, at)) at->overtaken_count++;
    }
}

/* ---- places ---- */

static size_t place_count(const struct rp_admission *ask) {
    return ask->reserved ? ask->reserved->place_count : 1;
}

static uint16_t place_device(const struct rp_admission *ask, size_t place) {
    return ask->reserved ? ask->reserved->places[place].index : ask->entry->charge_device;
}

/* What is asked for is to be there from now on. Needs pool.lock. */
static void go_to(struct rp_admission *ask, size_t place) {
    struct rp_reserved *reserved = ask->reserved;
    if (!reserved) return;
    ask->place = place;
    ask->entry->charge_device = reserved->places[place].index;
    memcpy(reserved->device, reserved->places[place].id, sizeof reserved->device);
}

/* ---- what is in the way ---- */

static const char *device_id(const struct rp_admission *ask) {
    return rp_entry_device(ask->entry);
}

/* What the device could still give; unknown for needs so small that asking costs more. */
static uint64_t read_usable(const struct rp_admission *ask, uint64_t bytes) {
    rp_pool *pool = ask->entry->pool;
    if (bytes < MEASURED_BYTES || ask->is_present) return RP_UNKNOWN_U64;
    struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
    pool->meter.read(pool->meter.user, device_id(ask), &reading);
    return reading.usable_bytes;
}

/* Less what is to stay free, where the whole is known. */
static uint64_t with_headroom(const struct rp_admission *ask, uint64_t usable) {
    uint64_t total = ask->entry->pool->ledger.devices[ask->entry->charge_device].limit_bytes;
    if (usable == RP_UNKNOWN_U64 || total == RP_UNKNOWN_U64) return usable;
    uint64_t headroom = total / HEADROOM_PART;
    if (headroom > HEADROOM_BYTES_MAX) headroom = HEADROOM_BYTES_MAX;
    return usable > headroom ? usable - headroom : 0;
}

/* Whether it has its room, and only waits for what is on its way out. */
static bool is_promised(const struct rp_admission *at) {
    return at->entry->charge.state != RP_CHARGE_NONE;
}

/* Whether a thread sleeps until somebody else makes room, with no end to its patience. */
static bool is_stuck(const struct rp_admission *ask, pid_t thread_id) {
    if (thread_id == ask->thread_id) return true;
    for (const struct rp_admission *at = ask->entry->pool->queue; at; at = at->next) {
        if (at->deadline_ns != RP_NEVER_NS || is_promised(at)) continue;
        if (at->thread_id == thread_id || rp_waits_thread_sleeps_on(thread_id, at->entry)) {
            return true;
        }
    }
    return rp_waits_thread_sleeps_on(thread_id, ask->entry);
}

/* Whether whoever holds this entry, or what was made of it, can be expected to let go. */
static bool may_let_go(const struct rp_admission *ask, const struct rp_entry *entry,
                       uint32_t depth) {
    for (const struct rp_dependency *edge = entry->needed_by; edge; edge = edge->next_on) {
        if (depth > RP_LIMIT_BUILD_DEPTH || !may_let_go(ask, edge->of, depth + 1)) return false;
    }
    if (entry->state == RP_ENTRY_LOADING) {
        return entry->build->has_loader_thread || !is_stuck(ask, RP_READ(entry->build->thread_id));
    }
    for (const struct rp_holder *at = entry->holders; at; at = at->next_of_entry) {
        if (rp_holder_lease_count(at) > 0 && is_stuck(ask, at->seat->thread_id)) return false;
    }
    return true;
}

/* Whether what may be let go makes up for that shortage. */
static bool would_cover(const struct rp_admission *ask, uint16_t device,
                        const struct rp_shortage *shortage) {
    const struct rp_ledger *ledger = &ask->entry->pool->ledger;
    const uint64_t *sums = ledger->devices[device].sums;
    uint64_t on_device = sums[RP_CHARGE_UNLOADING] + sums[RP_CHARGE_UNSEEN];
    uint64_t in_all = ledger->sums[RP_CHARGE_UNLOADING] + ledger->sums[RP_CHARGE_UNSEEN];
    for (const struct rp_entry *entry = ask->entry->pool->oldest; entry; entry = entry->next) {
        if (entry->charge.state == RP_CHARGE_NONE || !may_let_go(ask, entry, 0)) continue;
        in_all += entry->charge.bytes;
        if (entry->charge.device == device) on_device += entry->charge.bytes;
    }
    return on_device >= shortage->device_bytes && in_all >= shortage->all_bytes;
}

/*
 * Whether waiting can help at all: what is on its way out, idle, or held by threads that are not
 * themselves stuck in this queue, is enough for somebody in it. Otherwise everybody sleeps until
 * everybody else lets go. (Memory that other processes hold may come back, but nobody promised.)
 */
static bool may_help(const struct rp_admission *ask, const struct rp_shortage *shortage) {
    const rp_pool *pool = ask->entry->pool;
    if (would_cover(ask, ask->entry->charge_device, shortage)) return true;
    for (const struct rp_admission *at = pool->queue; at; at = at->next) {
        if (at == ask) continue;
        uint64_t bytes = at->bytes == RP_UNKNOWN_U64 ? 0 : at->bytes;
        for (size_t place = 0; place < place_count(at); place++) {
            uint16_t device = place_device(at, place);
            struct rp_shortage theirs =
                rp_ledger_shortage(&pool->ledger, device, bytes, RP_UNKNOWN_U64);
            if (!theirs.is_never && would_cover(ask, device, &theirs)) return true;
        }
    }
    return false;
}

bool rp_admission_is_awaited(rp_pool *pool, pid_t thread_id) {
    assert(rp_lock_is_held(&pool->lock));
    for (const struct rp_admission *at = pool->queue; at; at = at->next) {
        if (at->thread_id == thread_id || rp_waits_thread_sleeps_on(thread_id, at->entry)) {
            return true;
        }
    }
    return false;
}

/* Whether that shortage ends when everything ends but what is marked. */
static bool would_end(const rp_pool *pool, uint16_t device, const struct rp_shortage *shortage,
                      uint32_t mark) {
    const uint64_t *sums = pool->ledger.devices[device].sums;
    uint64_t on_device = sums[RP_CHARGE_UNLOADING] + sums[RP_CHARGE_UNSEEN];
    uint64_t in_all = pool->ledger.sums[RP_CHARGE_UNLOADING] + pool->ledger.sums[RP_CHARGE_UNSEEN];
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->charge.state == RP_CHARGE_NONE || entry->mark == mark) continue;
        in_all += entry->charge.bytes;
        if (entry->charge.device == device) on_device += entry->charge.bytes;
    }
    return on_device >= shortage->device_bytes && in_all >= shortage->all_bytes;
}

/* Whether one who waits gets room when everything ends but what is marked. */
static bool would_be_served(const struct rp_admission *at, uint32_t mark) {
    const rp_pool *pool = at->entry->pool;
    uint64_t bytes = at->bytes == RP_UNKNOWN_U64 ? 0 : at->bytes;
    for (size_t place = 0; place < place_count(at); place++) {
        uint16_t device = place_device(at, place);
        struct rp_shortage shortage =
            rp_ledger_shortage(&pool->ledger, device, bytes, RP_UNKNOWN_U64);
        if (!shortage.is_never && would_end(pool, device, &shortage, mark)) return true;
    }
    return false;
}

bool rp_pool_find_stuck(rp_pool *pool, struct rp_pool_held *held, size_t count) {
    rp_lock_acquire(&pool->lock);
    uint32_t mark = ++pool->mark; /* no choice of victims is under way: those keep the lock */
    for (size_t i = 0; i < count; i++) {
        held[i].is_stuck = rp_admission_is_awaited(pool, held[i].waiter);
        if (!held[i].is_stuck) continue;
        RP_READ(rp_ticket_slot(held[i].lease)->holder)->entry->mark = mark;
    }
    bool is_stuck = pool->queue != NULL;
    for (const struct rp_admission *at = pool->queue; at && is_stuck; at = at->next) {
        if (is_promised(at) || would_be_served(at, mark)) is_stuck = false;
    }
    rp_lock_release(&pool->lock);
    return is_stuck;
}

/* "leases hold 1.8 GiB: 'a' 1.0 GiB (thread 12), ..." as far as it fits. */
static void tell_holders(const struct rp_admission *ask, struct rp_text *text) {
    const rp_pool *pool = ask->entry->pool;
    char size[RP_BYTES_TEXT_BYTES];
    uint64_t leased = 0;
    uint64_t loading = 0;
    struct rp_text who = RP_TEXT_INIT;
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry == ask->entry || entry->charge.bytes == 0) continue;
        if (entry->state == RP_ENTRY_LOADING) loading += entry->charge.bytes;
        if (entry->state != RP_ENTRY_LOADED || rp_entry_lease_count(entry) == 0) continue;
        leased += entry->charge.bytes;
        if (who.length > 120) continue;
        const struct rp_holder *at = entry->holders;
        while (at && rp_holder_lease_count(at) == 0) {
            at = at->next_of_entry;
        }
        rp_text_print(&who, "%s'%.60s' %s", who.length ? ", " : "", entry->text,
                      rp_text_bytes(entry->charge.bytes, size, sizeof size));
        if (at) rp_text_print(&who, " by thread %d", (int)at->seat->thread_id);
    }
    if (leased > 0) {
        rp_text_print(text, "; leases hold %s", rp_text_bytes(leased, size, sizeof size));
    }
    if (loading > 0) {
        rp_text_print(text, "; loads have %s", rp_text_bytes(loading, size, sizeof size));
    }
    uint64_t outside = pool->ledger.devices[ask->entry->charge_device].outside_bytes;
    if (outside > 0) {
        rp_text_print(text, "; fork servers have %s", rp_text_bytes(outside, size, sizeof size));
    }
    uint64_t leaving = rp_ledger_charged(pool->ledger.sums) -
                       pool->ledger.sums[RP_CHARGE_RESERVED] -
                       pool->ledger.sums[RP_CHARGE_LOADING] - pool->ledger.sums[RP_CHARGE_RESIDENT];
    if (leaving > 0) {
        rp_text_print(text, "; %s are on their way out", rp_text_bytes(leaving, size, sizeof size));
    }
    if (who.length > 0 && !who.failed) rp_text_print(text, ": %s", who.bytes);
    rp_text_fini(&who);
}

static rp_status tell_no_room(struct rp_admission *ask, uint64_t bytes, uint64_t usable,
                              const struct rp_shortage *shortage, const char *after,
                              rp_error *err) {
    rp_pool *pool = ask->entry->pool;
    const struct rp_ledger_device *device = &pool->ledger.devices[ask->entry->charge_device];
    uint64_t budget = rp_ledger_budget(&pool->ledger, ask->entry->charge_device);
    uint64_t budget_all = rp_ledger_budget_all(&pool->ledger);
    char need[RP_BYTES_TEXT_BYTES];
    char have[RP_BYTES_TEXT_BYTES];
    char of[RP_BYTES_TEXT_BYTES];
    struct rp_text text = RP_TEXT_INIT;
    rp_text_bytes(bytes, need, sizeof need);
    if (shortage->is_never) {
        bool is_all = bytes <= budget;
        rp_text_print(&text, "needs %s (%s), more than the %s of %s", need, ask->method,
                      is_all                         ? "budget"
                      : budget < device->limit_bytes ? "budget"
                                                     : "whole memory",
                      is_all ? "all devices" : device->id);
        rp_text_print(&text, ", %s",
                      rp_text_bytes(is_all ? budget_all : budget, have, sizeof have));
    } else if (shortage->is_measured) {
        rp_text_print(&text, "needs %s (%s), %s has %s free", need, ask->method, device->id,
                      rp_text_bytes(usable, have, sizeof have));
    } else {
        bool is_all = shortage->device_bytes == 0;
        uint64_t charged = rp_ledger_charged(is_all ? pool->ledger.sums : device->sums);
        uint64_t limit = is_all ? budget_all : budget;
        rp_text_print(&text, "needs %s (%s), %s of %s free on %s", need, ask->method,
                      rp_text_bytes(limit > charged ? limit - charged : 0, have, sizeof have),
                      rp_text_bytes(limit, of, sizeof of), is_all ? "all devices" : device->id);
    }
    if (!shortage->is_never) tell_holders(ask, &text);
    rp_fail(err, RP_ERR_CAPACITY, "no room for '%s'%s: %s", ask->entry->text, after,
            text.failed ? "(no memory to say more)" : text.bytes);
    rp_hint(err, shortage->is_never ? "raise the budget (RESOURCE_POOL_BUDGET), or use a smaller "
                                      "model, a lower precision or another device"
                                    : "release a lease, raise the budget (RESOURCE_POOL_BUDGET), "
                                      "or wait longer (timeout_ms)");
    rp_text_fini(&text);
    pool->counts.refusals++;
    rp_event_tell(&pool->events, RP_EVENT_REFUSE, ask->entry->text, device->id, bytes,
                  shortage->device_bytes > shortage->all_bytes ? shortage->device_bytes
                                                               : shortage->all_bytes,
                  -1);
    return RP_ERR_CAPACITY;
}

/* ---- entering ---- */

/* Sleep until something changed. Gives up the lock meanwhile. */
static rp_status sleep_once(struct rp_admission *ask, bool is_measured) {
    rp_pool *pool = ask->entry->pool;
    int64_t until_ns = ask->deadline_ns;
    int64_t loss_ns = rp_ledger_next_loss_ns(&pool->ledger);
    bool is_leaving = loss_ns != INT64_MAX;
    if (is_leaving && loss_ns < until_ns) until_ns = loss_ns;
    if (is_measured || is_leaving) { /* a meter moves without telling us */
        int64_t look_ns = rp_deadline_after_ms(LOOK_AGAIN_MS);
        if (look_ns < until_ns) until_ns = look_ns;
    }
    rp_lock_release(&pool->lock);
    RP_POINT("room: sleeps");
    rp_status status = rp_waits_sleep(ask->wait, until_ns);
    rp_lock_acquire(&pool->lock);
    if (status == RP_ERR_TIMEOUT) status = RP_OK; /* whoever calls looks at its deadline */
    return status;
}

void rp_admission_look_for_unseen(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock));
    for (size_t i = 0; i < pool->ledger.count; i++) {
        struct rp_ledger_device *device = &pool->ledger.devices[i];
        if (device->unseen_count == 0) continue;
        struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
        pool->meter.read(pool->meter.user, device->id, &reading);
        uint64_t lost = device->sums[RP_CHARGE_LOST];
        rp_ledger_look(&pool->ledger, (uint16_t)i, reading.own_bytes, rp_clock_ns());
        if (device->sums[RP_CHARGE_LOST] <= lost) continue;
        rp_event_tell(&pool->events, RP_EVENT_LOST, NULL, device->id,
                      device->sums[RP_CHARGE_LOST] - lost, RP_UNKNOWN_U64, -1);
    }
}

static rp_status tell_cancelled(const struct rp_admission *ask, rp_error *err) {
    return rp_fail(err, RP_ERR_CANCELLED, "the wait of '%s' for room was called off after %.0f ms",
                   ask->entry->text, rp_elapsed_ms(ask->asked_ns, rp_clock_ns()));
}

/* What was in the way at one look: at the first place that could ever do, or without any the first.
 */
struct obstacle {
    size_t place;
    bool is_known;
    uint64_t usable;
    struct rp_shortage shortage;
    bool is_measured; /* at any place */
    bool may_end;     /* at any place, as far as one who waits for ever wants to know */
};

static void note(struct obstacle *obstacle, const struct rp_admission *ask, uint64_t usable,
                 const struct rp_shortage *shortage) {
    bool is_never = shortage->is_never;
    if (!is_never) {
        obstacle->is_measured |= shortage->is_measured;
        bool is_asked = ask->deadline_ns == RP_NEVER_NS && !obstacle->may_end;
        if (is_asked) obstacle->may_end = may_help(ask, shortage);
    }
    if (obstacle->is_known && (is_never || !obstacle->shortage.is_never)) return;
    obstacle->place = ask->place;
    obstacle->is_known = true;
    obstacle->usable = usable;
    obstacle->shortage = *shortage;
}

/* Make the promise at the place where it is tried; false: there is no room. May give up the lock,
 * once it is made. */
static bool promise(struct rp_admission *ask, uint64_t bytes, uint64_t usable,
                    const struct rp_shortage *shortage) {
    struct rp_entry *entry = ask->entry;
    rp_pool *pool = entry->pool;
    bool is_short = shortage->device_bytes > 0 || shortage->all_bytes > 0;
    struct rp_entry *dead = NULL;
    struct rp_shortage polite =
        rp_ledger_shortage(&pool->ledger, entry->charge_device, bytes, with_headroom(ask, usable));
    bool has_room =
        polite.device_bytes > shortage->device_bytes &&
        evict_for(pool, entry->charge_device, polite.device_bytes, polite.all_bytes, &dead);
    if (!has_room && is_short) {
        has_room = evict_for(pool, entry->charge_device, shortage->device_bytes,
                             shortage->all_bytes, &dead);
    }
    if (!has_room && is_short) return false;
    rp_ledger_charge(&pool->ledger, &entry->charge, entry->charge_device, bytes,
                     RP_CHARGE_RESERVED);
    if (bytes > 0) count_overtaken(ask);
    if (!dead) return true;
    rp_lock_release(&pool->lock);
    rp_pool_bury(pool, dead, NULL);
    rp_lock_acquire(&pool->lock);
    return true;
}

/* One look at all places: those that have room before those where others would have to go. */
static bool try_places(struct rp_admission *ask, uint64_t bytes, struct obstacle *obstacle) {
    rp_pool *pool = ask->entry->pool;
    size_t count = place_count(ask);
    *obstacle = (struct obstacle){.is_known = false};
    for (int may_evict = count == 1; may_evict < 2; may_evict++) {
        for (size_t place = 0; place < count; place++) {
            go_to(ask, place);
            uint64_t usable = read_usable(ask, bytes);
            struct rp_shortage shortage =
                rp_ledger_shortage(&pool->ledger, ask->entry->charge_device, bytes, usable);
            bool is_short = shortage.device_bytes > 0 || shortage.all_bytes > 0;
            bool is_tried = !shortage.is_never && (may_evict || !is_short);
            if (is_tried && is_gate_open(ask, bytes) && promise(ask, bytes, usable, &shortage)) {
                return true;
            }
            if (may_evict) note(obstacle, ask, usable, &shortage);
        }
    }
    go_to(ask, obstacle->place);
    return false;
}

/* Why there is none: a reservation tells apart what more patience, or others' would have changed.
 */
static rp_status tell_why(struct rp_admission *ask, uint64_t bytes, const struct obstacle *obstacle,
                          bool is_late, rp_error *err) {
    const struct rp_shortage *shortage = &obstacle->shortage;
    rp_pool *pool = ask->entry->pool;
    char after[48] = "";
    if (ask->is_queued && !shortage->is_never) {
        snprintf(after, sizeof after, " within %.0f ms",
                 rp_elapsed_ms(ask->asked_ns, rp_clock_ns()));
    }
    rp_status status = tell_no_room(ask, bytes, obstacle->usable, shortage, after, err);
    if (!ask->reserved || shortage->is_never) return status;
    if (is_late) {
        status = RP_ERR_TIMEOUT;
    } else if (would_end(pool, ask->entry->charge_device, shortage, ++pool->mark)) {
        status = RP_ERR_CYCLE; /* leases are in the way, of threads that wait like this one */
        rp_hint(err, "release what is held before asking for more, or raise the budget "
                     "(RESOURCE_POOL_BUDGET)");
    }
    if (err) err->status = status;
    return status;
}

/* Until the promise is made: the charge is RESERVED, and victims are on their way out. */
static rp_status reserve(struct rp_admission *ask, uint64_t bytes, rp_error *err) {
    struct rp_entry *entry = ask->entry;
    rp_pool *pool = entry->pool;
    for (;;) {
        struct obstacle obstacle;
        rp_admission_look_for_unseen(pool);
        if (try_places(ask, bytes, &obstacle)) return RP_OK;
        ask->is_never = obstacle.shortage.is_never;
        bool is_late = ask->deadline_ns != RP_NEVER_NS && rp_clock_ns() >= ask->deadline_ns;
        bool is_hopeless = ask->deadline_ns == RP_NEVER_NS && !obstacle.may_end;
        if (ask->is_never || is_late || is_hopeless || !ask->may_wait) {
            return tell_why(ask, bytes, &obstacle, is_late, err);
        }
        if (!ask->is_queued) {
            rp_event_tell(&pool->events, RP_EVENT_WAIT, entry->text, device_id(ask), bytes,
                          obstacle.shortage.device_bytes, -1);
            enqueue(ask);
            continue; /* holders are closed now: look once more before sleeping */
        }
        if (sleep_once(ask, obstacle.is_measured) != RP_OK) return tell_cancelled(ask, err);
    }
}

/* Until what is on its way out has left: the charge is LOADING. */
static rp_status begin(struct rp_admission *ask, rp_error *err) {
    struct rp_entry *entry = ask->entry;
    rp_pool *pool = entry->pool;
    rp_status status = RP_OK;
    while (!rp_ledger_may_begin(&pool->ledger, &entry->charge)) {
        if (!ask->is_queued) enqueue(ask); /* so that it is woken; it overtakes nobody now */
        if (ask->deadline_ns != RP_NEVER_NS && rp_clock_ns() >= ask->deadline_ns) {
            struct rp_shortage none = {0};
            status = tell_no_room(ask, entry->charge.bytes, RP_UNKNOWN_U64, &none,
                                  " in time, though victims are leaving", err);
            if (ask->reserved) status = RP_ERR_TIMEOUT;
            if (err) err->status = status;
            break;
        }
        rp_admission_look_for_unseen(pool);
        if (rp_ledger_may_begin(&pool->ledger, &entry->charge)) break;
        status = sleep_once(ask, true);
        if (status != RP_OK) {
            status = tell_cancelled(ask, err);
            break;
        }
    }
    if (status == RP_OK) {
        rp_ledger_move(&pool->ledger, &entry->charge, RP_CHARGE_LOADING);
    } else {
        rp_ledger_drop(&pool->ledger, &entry->charge);
    }
    return status;
}

rp_status rp_admission_enter(struct rp_admission *ask, rp_error *err) {
    rp_pool *pool = ask->entry->pool;
    assert(rp_lock_is_held(&pool->lock));
    ask->thread_id = gettid();
    ask->asked_ns = rp_clock_ns();
    ask->is_nested = ask->entry->build->parent != NULL;
    uint64_t bytes = ask->bytes == RP_UNKNOWN_U64 ? 0 : ask->bytes;
    rp_status status = rp_relief_admits(pool, ask->entry->text, bytes, err);
    if (status == RP_OK) status = reserve(ask, bytes, err);
    if (status == RP_OK) status = begin(ask, err);
    bool has_waited = ask->is_queued;
    dequeue(ask);
    if (status == RP_OK && has_waited) {
        rp_event_tell(&pool->events, RP_EVENT_ADMIT, ask->entry->text, device_id(ask), bytes,
                      RP_UNKNOWN_U64, rp_elapsed_ms(ask->asked_ns, rp_clock_ns()));
    }
    return status;
}
