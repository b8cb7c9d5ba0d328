/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/eviction.h"

#include <stdlib.h>

void rp_eviction_init(struct rp_eviction *eviction) {
    *eviction = (struct rp_eviction){0};
}

void rp_eviction_fini(struct rp_eviction *eviction) {
    (void)eviction;
}

void rp_eviction_admit(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t key_hash,
                       uint64_t bytes, double reload_ms, int64_t now_ns) {
    (void)eviction;
    (void)key_hash;
    *worth = (struct rp_worth){
        .bytes = bytes, .reload_ms = reload_ms, .last_use_ns = now_ns, .seen_ns = now_ns};
}

void rp_eviction_observe(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t uses_total,
                         int64_t last_use_ns, int64_t now_ns) {
    (void)eviction;
    worth->uses = uses_total;
    worth->last_use_ns = last_use_ns;
    worth->seen_ns = now_ns;
}

void rp_eviction_forget(struct rp_eviction *eviction, const struct rp_worth *worth,
                        uint64_t key_hash, int64_t now_ns) {
    (void)eviction;
    (void)worth;
    (void)key_hash;
    (void)now_ns;
}

double rp_eviction_cost(const struct rp_eviction *eviction, const struct rp_worth *worth,
                        int64_t now_ns) {
    (void)eviction;
    int64_t age_ns = now_ns > worth->last_use_ns ? now_ns - worth->last_use_ns : 0;
    return (worth->reload_ms + 1e-3) * (double)(worth->uses + 1) / ((double)age_ns / 1e6 + 1);
}

static double density(const struct rp_victim *victim) {
    return victim->cost / ((double)victim->bytes + 1);
}

static int cheapest_first(const void *a, const void *b) {
    double x = density(a);
    double y = density(b);
    return (x > y) - (x < y);
}

bool rp_eviction_choose(struct rp_victim *victims, size_t count, uint64_t bytes) {
    qsort(victims, count, sizeof *victims, cheapest_first);
    uint64_t sum = 0;
    double cost = 0;
    size_t taken = 0;
    for (size_t i = 0; i < count; i++)
        victims[i].is_chosen = false;
    while (taken < count && sum < bytes) {
        victims[taken].is_chosen = true;
        sum += victims[taken].bytes;
        cost += victims[taken].cost;
        taken++;
    }
    if (sum < bytes) {
        for (size_t i = 0; i < count; i++)
            victims[i].is_chosen = false;
        return false;
    }
    for (size_t i = taken; i-- > 0;) {
        if (sum - victims[i].bytes < bytes) continue;
        victims[i].is_chosen = false;
        sum -= victims[i].bytes;
        cost -= victims[i].cost;
    }
    return true;
}
