/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now); /* cannot fail for the clocks that every Linux has */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t rp_clock_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t rp_deadline_after_ms(int64_t milliseconds) {
    if (milliseconds < 0) return RP_NEVER_NS;
    int64_t span_ns;
    int64_t deadline_ns;
    if (__builtin_mul_overflow(milliseconds, INT64_C(1000000), &span_ns)) return RP_NEVER_NS;
    if (__builtin_add_overflow(rp_clock_ns(), span_ns, &deadline_ns)) return RP_NEVER_NS;
    return deadline_ns;
}

double rp_elapsed_ms(int64_t start_ns, int64_t end_ns) {
    return (double)(end_ns - start_ns) / 1e6;
}

int64_t rp_wall_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

void rp_wall_format_iso(int64_t wall_ns, char *out, size_t out_bytes) {
    time_t seconds = (time_t)(wall_ns / INT64_C(1000000000));
    int milliseconds = (int)(wall_ns / 1000000 % 1000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc)) {
        snprintf(out, out_bytes, "unknown");
        return;
    }
    char date[24];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out, out_bytes, "%s.%03dZ", date, milliseconds);
}
