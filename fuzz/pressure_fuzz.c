/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of the pressure meter: stall times, events, statm, /proc/stat, limits. */
#include "hardware/pressure.h"

#include "hardware/cgroup.h"
#include "target.h"

static bool is_percent(double percent) {
    return percent == -1 || (percent >= 0 && percent <= 100);
}

static bool is_bytes(uint64_t value) {
    return value == RP_UNKNOWN_U64 || value <= INT64_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const counters[] = {"oom", "oom_kill", "high", "max"};
    struct rp_span text = {(const char *)data, size};
    struct rp_pressure_stall stall;
    rp_pressure_parse_stall(text, &stall);
    FUZZ_ASSERT(is_percent(stall.some_percent_10s) && is_percent(stall.full_percent_10s));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        FUZZ_ASSERT(is_bytes(rp_proc_stat_value(text, counters[i])));
    }
    FUZZ_ASSERT(is_bytes(rp_pressure_parse_statm(text, 4096)));
    uint64_t busy;
    uint64_t all;
    if (rp_pressure_parse_cpu(text, &busy, &all)) FUZZ_ASSERT(busy <= all);
    uint64_t limit;
    if (rp_cgroup_parse_figure(text, &limit)) FUZZ_ASSERT(is_bytes(limit));
    return 0;
}
