/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes when room is needed: the policy alone, without pool, lock or clock.
 */
#ifndef RP_POOL_EVICTION_H
#define RP_POOL_EVICTION_H

#include <resourcepool/api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the policy knows of one thing that could go: embedded in its record. */
struct rp_worth {
    uint64_t bytes;
    double reload_ms;
    uint64_t uses;
    int64_t last_use_ns;
    int64_t seen_ns;
    double rate;
};

struct rp_eviction {
    int64_t unused;
};

void rp_eviction_init(struct rp_eviction *eviction);
void rp_eviction_fini(struct rp_eviction *eviction);

/* It was loaded: recall what is known of it from before. */
void rp_eviction_admit(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t key_hash,
                       uint64_t bytes, double reload_ms, int64_t now_ns);

/* How often it was used so far, and when last. */
void rp_eviction_observe(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t uses_total,
                         int64_t last_use_ns, int64_t now_ns);

/* It goes. */
void rp_eviction_forget(struct rp_eviction *eviction, const struct rp_worth *worth,
                        uint64_t key_hash, int64_t now_ns);

/* What letting it go is expected to cost, in milliseconds of loading. */
double rp_eviction_cost(const struct rp_eviction *eviction, const struct rp_worth *worth,
                        int64_t now_ns);

struct rp_victim {
    double cost;
    uint64_t bytes;
    void *owner;
    bool is_chosen;
};

/* The cheapest set whose bytes reach `bytes`; false, with nothing chosen, if all do not. */
bool rp_eviction_choose(struct rp_victim *victims, size_t count, uint64_t bytes);

#endif
