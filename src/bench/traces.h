/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made-up requests for models, as test suites and services make them: for the eviction benchmark.
 */
#ifndef RP_BENCH_TRACES_H
#define RP_BENCH_TRACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Constant, name, what it is like. */
/* clang-format off */
#define RP_TRACE_MAP(X)                                                                          \
    X(SUITE,  "suite",  "test files of several tests, taken by 8 workers in order")              \
    X(ZIPF,   "zipf",   "few models are asked for often, many seldom, in no order")              \
    X(SCAN,   "scan",   "a hot set, and now and then every cold model once")                     \
    X(PHASES, "phases", "a working set that changes, and partly comes back")                     \
    X(MIXED,  "mixed",  "sizes from 10 MB to 20 GB, asked for as in zipf")                       \
    X(SKEWED, "skewed", "load times that have nothing to do with sizes, a few very long")        \
    X(LOOP,   "loop",   "the same order again and again, larger than the room")
/* clang-format on */

enum rp_trace_kind {
#define RP_TRACE_ENUM(constant, name, text) RP_TRACE_##constant,
    RP_TRACE_MAP(RP_TRACE_ENUM)
#undef RP_TRACE_ENUM
        RP_TRACE_KINDS
};

struct rp_trace_item {
    uint64_t bytes;
    double load_s;
};

struct rp_trace_request {
    uint32_t item;
    int64_t at_ns;
    int64_t until_ns; /* leased so long */
};

struct rp_trace {
    struct rp_trace_item *items;
    size_t item_count;
    struct rp_trace_request *requests; /* by time */
    size_t request_count;
    uint64_t capacity_bytes;
};

/*
 * Make a trace. The seed also draws its parameters (number of models, skew, room, length) around
 * the middle: another seed is another suite, not the same one shuffled. False without memory.
 */
bool rp_trace_make(enum rp_trace_kind kind, uint64_t seed, struct rp_trace *trace);
void rp_trace_fini(struct rp_trace *trace);

const char *rp_trace_name(enum rp_trace_kind kind);

#endif
