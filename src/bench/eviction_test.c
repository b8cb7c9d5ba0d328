/* SPDX-License-Identifier: Apache-2.0 */
/* What 'rpool bench eviction' claims, on seeds that the policy was not tuned on. */
#include "../../tests/test.h"

#include <resourcepool/bench.h>
#include <stdbool.h>
#include <string.h>

enum { FIRST_SEED = 101, SEEDS = 3 };

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static void ours_is_near_the_best_on_every_trace_and_the_best_on_average(void **state) {
    (void)state;
    for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
        rp_error err = RP_ERROR_INIT;
        rp_measure rows[RP_BENCH_EVICTION_ROWS];
        double ours = 0;
        assert_ok(rp_bench_eviction(rows, seed, 1, &err));
        for (size_t i = 0; i < RP_BENCH_EVICTION_ROWS; i++) {
            const rp_measure *row = &rows[i];
            bool is_mean = strncmp(row->name, "evict, mean", 11) == 0;
            if (ends_with(row->name, "to best of the others")) {
                if (row->max > 1.05) fail_msg("%s: %.3f, seed %d", row->name, row->max, (int)seed);
            } else if (row->ratio < 1) {
                fail_msg("%s: below what no policy can pass: %.3f", row->name, row->ratio);
            } else if (is_mean && ends_with(row->name, ": ours")) {
                ours = row->median;
            } else if (is_mean && row->median <= ours) {
                fail_msg("%s: %.3f, ours %.3f", row->name, row->median, ours);
            }
        }
        assert_true(ours >= 1);
    }
}

static void seeds_are_counted(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_measure rows[RP_BENCH_EVICTION_ROWS];
    assert_status(rp_bench_eviction(rows, 1, 0, &err), RP_ERR_ARGUMENT);
    assert_status(rp_bench_eviction(rows, 1, 10, &err), RP_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_is_near_the_best_on_every_trace_and_the_best_on_average),
        cmocka_unit_test(seeds_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
