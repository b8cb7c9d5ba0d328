/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/eviction.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How uses may fade, from counting them all to looking at the latest. */
static const struct variant {
    double fading;
    double weight; /* of the earlier uses */
} variants[] = {
    {0.2, 1}, {0.6, 1}, {1.0, 1}, {1.0, 0.1}, {1.5, 1}, {1.5, 0.1}, {2.5, 0.02},
};
_Static_assert(sizeof variants / sizeof variants[0] == RP_EVICTION_VARIANTS, "one of each");

enum {
    FIRST_VARIANT = 2, /* before anything was learnt */
    PROBES = 16,       /* how far from its place an item may stand in the table */
};

/* What a millisecond spent on paper still counts after a hundred more uses: 0.98^100 = 0.13. */
#define REMEMBERED 0.98

/* Another variant takes over when it was better by so much: prices should not flutter. */
#define CLEARLY 0.98

/* What is idle is never typically younger than this: the stamps of uses are no finer. */
#define AGE_S_MIN 4e-3

/* An item that is there or was, and where it would be under each variant. */
struct rp_known {
    uint64_t key_hash; /* 0: free */
    int64_t first_ns;
    int64_t last_ns;
    uint64_t bytes;
    double reload_ms;
    double periods;
    uint32_t held_by; /* a bit for each variant that would have it now */
    bool is_resident;
};

void rp_eviction_init(struct rp_eviction *eviction) {
    *eviction = (struct rp_eviction){.best = FIRST_VARIANT, .typical_age_s = 1};
}

void rp_eviction_fini(struct rp_eviction *eviction) {
    rp_free(eviction->known);
    eviction->known = NULL;
}

/* ---- prices ---- */

static double seconds_between(int64_t from_ns, int64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static double rate(const struct rp_eviction *eviction, int variant, double age_s, double life_s,
                   double periods) {
    double fading = variants[variant].fading;
    double age = age_s + eviction->typical_age_s;
    double life = life_s + eviction->typical_age_s;
    double latest = pow(age, -fading);
    double earlier = latest; /* the mean of a^-fading over its life */
    if (life - age > 1e-6 * age) {
        double area = fading == 1 ? log(life / age)
                                  : (pow(life, 1 - fading) - pow(age, 1 - fading)) / (1 - fading);
        earlier = area / (life - age);
    }
    return latest + variants[variant].weight * (periods - 1) * earlier;
}

/* What loads in no time still costs somebody a miss. */
static double price(const struct rp_eviction *eviction, int variant, double reload_ms,
                    int64_t first_ns, int64_t last_ns, double periods, int64_t now_ns) {
    return (reload_ms + 1e-3) * rate(eviction, variant, seconds_between(last_ns, now_ns),
                                     seconds_between(first_ns, now_ns), periods);
}

/* ---- on paper ---- */

/* The place of an item, or one that it may have; NULL: it is not followed. */
static struct rp_known *find_known(struct rp_eviction *eviction, uint64_t key_hash, bool add) {
    if (!eviction->known && add) {
        eviction->known = rp_alloc_array(RP_EVICTION_KNOWN, sizeof *eviction->known);
    }
    if (!eviction->known || key_hash == 0) return NULL;
    struct rp_known *oldest = NULL;
    for (uint64_t i = 0; i < PROBES; i++) {
        struct rp_known *known = &eviction->known[(key_hash + i) % RP_EVICTION_KNOWN];
        if (known->key_hash == key_hash) return known;
        if (known->is_resident) continue;
        if (!oldest || known->key_hash == 0 ||
            (oldest->key_hash != 0 && known->last_ns < oldest->last_ns)) {
            if (!oldest || oldest->key_hash != 0) oldest = known;
        }
    }
    return add ? oldest : NULL;
}

/*
 * Whether an item is followed on paper: all of a few hundred, a sample of more, so thin that the
 * work for each load does not grow.
 */
static bool is_followed(const struct rp_eviction *eviction, uint64_t key_hash) {
    enum { ALL_BELOW = 256, THINNED = 4 };
    uint64_t times = eviction->resident_count / ALL_BELOW;
    return times == 0 || (key_hash >> 20) % (THINNED * times * times) == 0;
}

/* An item is no longer followed: nobody holds it on paper. */
static void strike(struct rp_eviction *eviction, struct rp_known *known) {
    for (int i = 0; i < RP_EVICTION_VARIANTS; i++) {
        if (known->held_by >> i & 1) eviction->held_bytes[i] -= known->bytes;
    }
    *known = (struct rp_known){0};
}

/* Let a variant evict, on paper, until it holds no more than there is room for. */
static void evict_on_paper(struct rp_eviction *eviction, int variant, const struct rp_known *spared,
                           int64_t now_ns) {
    struct {
        double price_per_byte;
        struct rp_known *known;
    } held[RP_EVICTION_KNOWN];
    size_t count = 0;
    for (size_t i = 0; i < RP_EVICTION_KNOWN; i++) {
        struct rp_known *known = &eviction->known[i];
        if ((known->held_by >> variant & 1) == 0 || known == spared) continue;
        held[count].known = known;
        held[count++].price_per_byte = price(eviction, variant, known->reload_ms, known->first_ns,
                                             known->last_ns, known->periods, now_ns) /
                                       ((double)known->bytes + 1);
    }
    while (count > 0 && eviction->held_bytes[variant] > eviction->room_bytes) {
        size_t least = 0;
        for (size_t i = 1; i < count; i++) {
            if (held[i].price_per_byte < held[least].price_per_byte) least = i;
        }
        held[least].known->held_by &= ~(UINT32_C(1) << variant);
        eviction->held_bytes[variant] -= held[least].known->bytes;
        held[least] = held[--count];
    }
}

/* An item is used: whoever does not hold it on paper pays for it. */
static void use_on_paper(struct rp_eviction *eviction, struct rp_known *known, int64_t now_ns) {
    for (int i = 0; i < RP_EVICTION_VARIANTS; i++) {
        eviction->spent_ms[i] *= REMEMBERED;
        if (known->held_by >> i & 1) continue;
        known->held_by |= UINT32_C(1) << i;
        eviction->held_bytes[i] += known->bytes;
        eviction->spent_ms[i] += known->reload_ms;
        if (eviction->room_bytes > 0 && eviction->held_bytes[i] > eviction->room_bytes) {
            evict_on_paper(eviction, i, known, now_ns);
        }
    }
    for (int i = 0; i < RP_EVICTION_VARIANTS; i++) {
        double least = eviction->spent_ms[eviction->best] * (i == eviction->best ? 1 : CLEARLY);
        if (eviction->spent_ms[i] < least) eviction->best = i;
    }
}

/* ---- what the pool tells ---- */

void rp_eviction_admit(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t key_hash,
                       uint64_t bytes, double reload_ms, int64_t now_ns) {
    *worth = (struct rp_worth){.reload_ms = reload_ms,
                               .first_ns = now_ns,
                               .last_ns = now_ns,
                               .bytes = bytes,
                               .periods = 1};
    eviction->resident_count++;
    struct rp_known *known = find_known(eviction, key_hash, is_followed(eviction, key_hash));
    if (!known) return;
    if (known->key_hash == key_hash) {
        worth->first_ns = known->first_ns;
        worth->periods = known->periods + 1;
        if (known->bytes != bytes) strike(eviction, known); /* it is not what it was */
    } else {
        strike(eviction, known);
    }
    known->key_hash = key_hash;
    known->first_ns = worth->first_ns;
    known->last_ns = now_ns;
    known->bytes = bytes;
    known->reload_ms = reload_ms;
    known->periods = worth->periods;
    if (!known->is_resident) eviction->resident_bytes += bytes;
    known->is_resident = true;
    use_on_paper(eviction, known, now_ns);
}

void rp_eviction_observe(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t uses_total,
                         uint64_t key_hash, int64_t last_use_ns) {
    bool is_used = uses_total > worth->uses;
    worth->uses = uses_total;
    worth->last_ns = last_use_ns;
    if (!is_used) return;
    worth->periods++;
    struct rp_known *known = find_known(eviction, key_hash, false);
    if (!known) return;
    known->last_ns = last_use_ns;
    known->periods = worth->periods;
    use_on_paper(eviction, known, last_use_ns);
}

void rp_eviction_forget(struct rp_eviction *eviction, uint64_t key_hash) {
    if (eviction->resident_count > 0) eviction->resident_count--;
    struct rp_known *known = find_known(eviction, key_hash, false);
    if (!known || !known->is_resident) return;
    known->is_resident = false;
    eviction->resident_bytes -= known->bytes;
}

void rp_eviction_scan(struct rp_eviction *eviction) {
    /* Room is short, or nobody would look: what is there now is what fits. It may shrink slowly. */
    uint64_t fits = eviction->resident_bytes;
    uint64_t before = eviction->room_bytes - eviction->room_bytes / 64;
    eviction->room_bytes = fits > before ? fits : before;
    if (eviction->age_count > 0) {
        eviction->typical_age_s = eviction->ages_s / (double)eviction->age_count;
        if (eviction->typical_age_s < AGE_S_MIN) eviction->typical_age_s = AGE_S_MIN;
    }
    eviction->ages_s = 0;
    eviction->age_count = 0;
}

double rp_eviction_cost(struct rp_eviction *eviction, const struct rp_worth *worth,
                        int64_t now_ns) {
    eviction->ages_s += seconds_between(worth->last_ns, now_ns);
    eviction->age_count++;
    return price(eviction, eviction->best, worth->reload_ms, worth->first_ns, worth->last_ns,
                 worth->periods, now_ns);
}

/* ---- choosing ---- */

/* Least cost per byte first; of equals the larger, then the one that came first. */
static int cheapest_first(const void *a, const void *b) {
    const struct rp_victim *x = a;
    const struct rp_victim *y = b;
    double left = x->cost * ((double)y->bytes + 1);
    double right = y->cost * ((double)x->bytes + 1);
    if (left != right) return left < right ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return (x->owner > y->owner) - (x->owner < y->owner);
}

static void choose_none(struct rp_victim *victims, size_t count) {
    for (size_t i = 0; i < count; i++) {
        victims[i].is_chosen = false;
    }
}

bool rp_eviction_choose(struct rp_victim *victims, size_t count, uint64_t bytes) {
    qsort(victims, count, sizeof *victims, cheapest_first);
    uint64_t sum = 0;
    double cost = 0;
    size_t taken = 0;
    struct rp_victim *single = NULL; /* the cheapest that suffices by itself */
    choose_none(victims, count);
    for (size_t i = 0; i < count; i++) {
        bool is_enough = victims[i].bytes >= bytes;
        if (is_enough && (!single || victims[i].cost < single->cost)) single = &victims[i];
    }
    for (; taken < count && sum < bytes; taken++) {
        victims[taken].is_chosen = true;
        sum += victims[taken].bytes;
        cost += victims[taken].cost;
    }
    if (sum < bytes) {
        choose_none(victims, count);
        return false;
    }
    for (size_t i = taken; i-- > 0;) {
        if (sum - victims[i].bytes < bytes) continue;
        victims[i].is_chosen = false;
        sum -= victims[i].bytes;
        cost -= victims[i].cost;
    }
    if (single && single->cost < cost / 2) {
        choose_none(victims, taken);
        single->is_chosen = true;
    }
    return true;
}
