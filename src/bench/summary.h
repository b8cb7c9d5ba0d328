/* SPDX-License-Identifier: Apache-2.0 */
/* A row of a benchmark from what its rounds gave. */
#ifndef RP_BENCH_SUMMARY_H
#define RP_BENCH_SUMMARY_H

#include <resourcepool/bench.h>

enum { RP_BENCH_ROUNDS_MAX = 99 };

/* `name` and `unit` are kept; rounds is at most RP_BENCH_ROUNDS_MAX. */
rp_measure rp_bench_summarise(const char *name, const char *unit, const double *ours,
                              const double *baseline, size_t rounds);

#endif
