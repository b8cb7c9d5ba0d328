/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/summary.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t count) {
    double sorted[RP_BENCH_ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

rp_measure rp_bench_summarise(const char *name, const char *unit, const double *ours,
                              const double *baseline, size_t rounds) {
    double ratios[RP_BENCH_ROUNDS_MAX] = {0};
    rp_measure row = {.name = name, .unit = unit, .min = ours[0], .max = ours[0]};
    for (size_t i = 0; i < rounds; i++) {
        if (ours[i] < row.min) row.min = ours[i];
        if (ours[i] > row.max) row.max = ours[i];
        ratios[i] = ours[i] / baseline[i];
    }
    row.median = median(ours, rounds);
    row.baseline = median(baseline, rounds);
    row.ratio = median(ratios, rounds);
    return row;
}
