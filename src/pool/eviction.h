/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes when room is needed: the policy alone, without pool, lock or clock. The pool, a broker
 * and the benchmark that compares it with others run this same code.
 *
 * Letting an item go costs its load time if it is wanted again, so the price is load time x rate of
 * use, and what goes is the set of least price that frees enough bytes. All hangs on the rate.
 *
 *     rate = (age + t)^-d + w x (mean of (a + t)^-d over its life) x (earlier uses)
 *
 * Each use leaves a trace that fades by a power law, as odds of being needed again do in libraries,
 * word lists and file caches; `t` is the typical age of what is idle, so that there is no constant
 * of time. With a small `d` and w = 1 that is nearly a count of uses (best when popularity lasts),
 * with a large `d` nearly the time of the last use (best when a working set moves on), and in
 * between all that lies between LFU and LRU. Which pair (d, w) suits the requests at hand is
 * learnt: each plays the same requests for itself, on paper, and the one that has spent the least
 * load time lately sets the prices. What was let go is remembered for that.
 *
 * A hit only counts and stamps (seat.h), so an item's uses between two looks are one trace: that is
 * also what makes a burst of a hundred uses by one test file no more than a use of that file.
 */
#ifndef RP_POOL_EVICTION_H
#define RP_POOL_EVICTION_H

#include <resourcepool/api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the policy knows of one thing that could go: embedded in its record. */
struct rp_worth {
    double reload_ms;
    int64_t first_ns; /* use of all, before it was let go included */
    int64_t last_ns;
    uint64_t bytes;
    uint64_t uses;  /* as last told */
    double periods; /* between looks, in which it was used */
};

/* Ways in which uses may fade; and on how many items they are tried on paper. */
enum { RP_EVICTION_VARIANTS = 7, RP_EVICTION_KNOWN = 1024 };

struct rp_known;

/* What was learnt. Zero-initialised by rp_eviction_init(). */
struct rp_eviction {
    struct rp_known *known;                /* RP_EVICTION_KNOWN of them, made with the first */
    double spent_ms[RP_EVICTION_VARIANTS]; /* by each on paper, what is long ago counting less */
    uint64_t held_bytes[RP_EVICTION_VARIANTS]; /* by each on paper */
    uint64_t resident_count;                   /* of all */
    uint64_t resident_bytes;                   /* of the known */
    uint64_t room_bytes; /* what the known may take: the most that was resident lately */
    double ages_s;       /* sum, of the scan that runs */
    uint64_t age_count;
    double typical_age_s;
    int best;
};

void rp_eviction_init(struct rp_eviction *eviction);
void rp_eviction_fini(struct rp_eviction *eviction);

/* It was loaded: recall what is known of it from before. Without memory nothing is recalled. */
void rp_eviction_admit(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t key_hash,
                       uint64_t bytes, double reload_ms, int64_t now_ns);

/* How often it was used since it was loaded, and when last. */
void rp_eviction_observe(struct rp_eviction *eviction, struct rp_worth *worth, uint64_t uses_total,
                         uint64_t key_hash, int64_t last_use_ns);

/* It goes. */
void rp_eviction_forget(struct rp_eviction *eviction, uint64_t key_hash);

/* A look at all that could go begins: the calls of rp_eviction_cost() until the next one. */
void rp_eviction_scan(struct rp_eviction *eviction);

/* What letting it go is expected to cost, on a scale that only this scan knows. */
double rp_eviction_cost(struct rp_eviction *eviction, const struct rp_worth *worth, int64_t now_ns);

struct rp_victim {
    double cost;
    uint64_t bytes;
    void *owner;
    bool is_chosen;
};

/*
 * Choose a set whose bytes reach `bytes` (at least 1), and of which none can be spared: by least
 * cost per byte, which leaves more room for the next than the set of least cost does; but one that
 * suffices by itself at less than half the cost is preferred. False, with nothing chosen, if all do
 * not suffice. Reorders.
 */
bool rp_eviction_choose(struct rp_victim *victims, size_t count, uint64_t bytes);

#endif
