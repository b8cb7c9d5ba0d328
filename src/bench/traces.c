/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/traces.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

enum { WORKERS = 8 };

#define SECOND_NS 1e9
#define MB        1e6

/* splitmix64: the same numbers on every machine. */
struct random {
    uint64_t state;
};

static uint64_t next(struct random *random) {
    uint64_t z = (random->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double uniform(struct random *random, double low, double high) {
    return low + (high - low) * (double)(next(random) >> 11) / 9007199254740992.0;
}

static size_t below(struct random *random, size_t count) {
    return (size_t)(next(random) % count);
}

static double log_uniform(struct random *random, double low, double high) {
    return exp(uniform(random, log(low), log(high)));
}

/* A rank from 0, where rank r is drawn in proportion to 1 / (r + 1)^skew. */
struct ranks {
    double *sums;
    size_t count;
};

static bool ranks_init(struct ranks *ranks, size_t count, double skew) {
    ranks->count = count;
    ranks->sums = rp_alloc_array(count, sizeof *ranks->sums);
    if (!ranks->sums) return false;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        ranks->sums[i] = sum += pow((double)i + 1, -skew);
    }
    return true;
}

static size_t ranks_draw(const struct ranks *ranks, struct random *random) {
    double wanted = uniform(random, 0, ranks->sums[ranks->count - 1]);
    size_t low = 0;
    size_t high = ranks->count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranks->sums[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Sizes and load times: a second for a gigabyte or so, plus what a library needs to begin. */
static void draw_items(struct rp_trace *trace, struct random *random, double low_mb,
                       double high_mb) {
    for (size_t i = 0; i < trace->item_count; i++) {
        double bytes = log_uniform(random, low_mb, high_mb) * MB;
        double rate = log_uniform(random, 0.3e9, 1.5e9);
        trace->items[i] =
            (struct rp_trace_item){.bytes = (uint64_t)bytes, .load_s = 0.1 + bytes / rate};
    }
}

/* Load times of their own: most below a second, a few of minutes (Pareto, shape 1.1). */
static void skew_load_times(struct rp_trace *trace, struct random *random) {
    for (size_t i = 0; i < trace->item_count; i++) {
        double load_s = 0.2 * pow(1 - uniform(random, 0, 1), -1 / 1.1);
        trace->items[i].load_s = load_s < 300 ? load_s : 300;
    }
}

static uint64_t total_bytes(const struct rp_trace *trace) {
    uint64_t total = 0;
    for (size_t i = 0; i < trace->item_count; i++) {
        total += trace->items[i].bytes;
    }
    return total;
}

/* Room for a part of everything, and at least for what eight workers hold at once. */
static void set_capacity(struct rp_trace *trace, double part) {
    uint64_t largest = 0;
    for (size_t i = 0; i < trace->item_count; i++) {
        if (trace->items[i].bytes > largest) largest = trace->items[i].bytes;
    }
    trace->capacity_bytes = (uint64_t)((double)total_bytes(trace) * part);
    if (trace->capacity_bytes < 2 * largest) trace->capacity_bytes = 2 * largest;
}

static bool reserve(struct rp_trace *trace, size_t items, size_t requests) {
    trace->item_count = items;
    trace->items = rp_alloc_array(items, sizeof *trace->items);
    trace->requests = rp_alloc_array(requests, sizeof *trace->requests);
    return trace->items && trace->requests;
}

static void ask(struct rp_trace *trace, size_t item, double at_s, double hold_s) {
    trace->requests[trace->request_count++] = (struct rp_trace_request){
        .item = (uint32_t)item,
        .at_ns = (int64_t)(at_s * SECOND_NS) + 1,
        .until_ns = (int64_t)((at_s + hold_s) * SECOND_NS) + 1,
    };
}

static int by_time(const void *a, const void *b) {
    const struct rp_trace_request *x = a;
    const struct rp_trace_request *y = b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/*
 * A suite: files of 5-40 tests; a file uses one to four models, drawn by popularity, and each test
 * one of those. Eight workers take the files in order; the suite runs once or twice over.
 */
static bool make_suite(struct rp_trace *trace, struct random *random) {
    enum { FILES = 220, TESTS_MAX = 40, ROUNDS_MAX = 2 };
    size_t models = 80 + below(random, 160);
    struct ranks ranks;
    if (!reserve(trace, models, (size_t)FILES * TESTS_MAX * ROUNDS_MAX)) return false;
    if (!ranks_init(&ranks, models, uniform(random, 0.3, 0.9))) return false;
    draw_items(trace, random, 80, 4000);
    double free_at_s[WORKERS] = {0};
    uint64_t suite = next(random);
    size_t rounds = 1 + below(random, ROUNDS_MAX);
    for (size_t file = 0; file < FILES * rounds; file++) {
        struct random own = {suite + file % FILES}; /* the second round is the same suite */
        size_t used[4];
        size_t used_count = 1 + below(&own, 4);
        for (size_t i = 0; i < used_count; i++) {
            used[i] = ranks_draw(&ranks, &own);
        }
        size_t worker = 0;
        for (size_t i = 1; i < WORKERS; i++) {
            if (free_at_s[i] < free_at_s[worker]) worker = i;
        }
        size_t tests = 5 + below(&own, TESTS_MAX - 5);
        for (size_t i = 0; i < tests; i++) {
            double seconds = uniform(&own, 0.1, 1.5);
            ask(trace, used[below(&own, used_count)], free_at_s[worker], seconds * 0.8);
            free_at_s[worker] += seconds;
        }
    }
    qsort(trace->requests, trace->request_count, sizeof *trace->requests, by_time);
    set_capacity(trace, uniform(random, 0.12, 0.35));
    rp_free(ranks.sums);
    return true;
}

/* Drawn by popularity, at random times; the popular ones are not the small ones. */
static bool make_zipf(struct rp_trace *trace, struct random *random, double low_mb, double high_mb,
                      bool is_skewed) {
    enum { REQUESTS = 6000 };
    size_t models = 150 + below(random, 250);
    struct ranks ranks;
    if (!reserve(trace, models, REQUESTS)) return false;
    if (!ranks_init(&ranks, models, uniform(random, 0.6, 1.1))) return false;
    draw_items(trace, random, low_mb, high_mb);
    if (is_skewed) skew_load_times(trace, random);
    double at_s = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        ask(trace, ranks_draw(&ranks, random), at_s, uniform(random, 0.05, 0.5));
        at_s += uniform(random, 0.05, 1);
    }
    set_capacity(trace, uniform(random, 0.1, 0.3));
    rp_free(ranks.sums);
    return true;
}

/* A hot set drawn by popularity; every so often all cold ones, one after the other. */
static bool make_scan(struct rp_trace *trace, struct random *random) {
    enum { REQUESTS = 6000 };
    size_t hot = 40 + below(random, 60);
    size_t cold = 100 + below(random, 150);
    size_t pause = 300 + below(random, 700);
    struct ranks ranks;
    if (!reserve(trace, hot + cold, REQUESTS)) return false;
    if (!ranks_init(&ranks, hot, uniform(random, 0.4, 0.9))) return false;
    draw_items(trace, random, 80, 4000);
    double at_s = 0;
    size_t scanned = cold;
    for (size_t i = 0; i < REQUESTS; i++) {
        if (scanned >= cold && i % pause == pause - 1) scanned = 0;
        bool is_cold = scanned < cold && below(random, 4) > 0;
        ask(trace, is_cold ? hot + scanned++ : ranks_draw(&ranks, random), at_s,
            uniform(random, 0.05, 0.5));
        at_s += uniform(random, 0.05, 1);
    }
    set_capacity(trace, uniform(random, 0.15, 0.3));
    rp_free(ranks.sums);
    return true;
}

/* A working set of 20-50 models for a while, then another; half of the time an earlier one. */
static bool make_phases(struct rp_trace *trace, struct random *random) {
    enum { REQUESTS = 6000, SETS = 8 };
    size_t models = 200 + below(random, 100);
    size_t per_set = 20 + below(random, 30);
    size_t length = 250 + below(random, 500);
    size_t sets[SETS];
    struct ranks ranks;
    if (!reserve(trace, models, REQUESTS)) return false;
    if (!ranks_init(&ranks, per_set, uniform(random, 0.2, 0.8))) return false;
    draw_items(trace, random, 80, 4000);
    for (size_t i = 0; i < SETS; i++) {
        sets[i] = below(random, models);
    }
    double at_s = 0;
    size_t first = sets[0];
    for (size_t i = 0; i < REQUESTS; i++) {
        if (i % length == 0)
            first = below(random, 2) ? sets[below(random, SETS)] : below(random, models);
        ask(trace, (first + ranks_draw(&ranks, random)) % models, at_s, uniform(random, 0.05, 0.5));
        at_s += uniform(random, 0.05, 1);
    }
    set_capacity(trace, uniform(random, 0.08, 0.2));
    rp_free(ranks.sums);
    return true;
}

/* All in one order, again and again, a tenth of the requests out of it. */
static bool make_loop(struct rp_trace *trace, struct random *random) {
    enum { REQUESTS = 5000 };
    size_t models = 60 + below(random, 120);
    if (!reserve(trace, models, REQUESTS)) return false;
    draw_items(trace, random, 80, 4000);
    double at_s = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        ask(trace, below(random, 10) ? i % models : below(random, models), at_s,
            uniform(random, 0.05, 0.5));
        at_s += uniform(random, 0.05, 1);
    }
    set_capacity(trace, uniform(random, 0.2, 0.6));
    return true;
}

bool rp_trace_make(enum rp_trace_kind kind, uint64_t seed, struct rp_trace *trace) {
    struct random random = {seed * 1000003 + (uint64_t)kind};
    *trace = (struct rp_trace){0};
    switch (kind) {
    case RP_TRACE_SUITE:
        return make_suite(trace, &random);
    case RP_TRACE_ZIPF:
        return make_zipf(trace, &random, 80, 4000, false);
    case RP_TRACE_SCAN:
        return make_scan(trace, &random);
    case RP_TRACE_PHASES:
        return make_phases(trace, &random);
    case RP_TRACE_MIXED:
        return make_zipf(trace, &random, 10, 20000, false);
    case RP_TRACE_SKEWED:
        return make_zipf(trace, &random, 80, 4000, true);
    case RP_TRACE_LOOP:
        return make_loop(trace, &random);
    case RP_TRACE_KINDS:
        break;
    }
    return false;
}

void rp_trace_fini(struct rp_trace *trace) {
    rp_free(trace->items);
    rp_free(trace->requests);
    *trace = (struct rp_trace){0};
}

const char *rp_trace_name(enum rp_trace_kind kind) {
    static const char *const names[] = {
#define NAME(constant, name, text) [RP_TRACE_##constant] = (name),
        RP_TRACE_MAP(NAME)
#undef NAME
    };
    return kind < RP_TRACE_KINDS ? names[kind] : NULL;
}
