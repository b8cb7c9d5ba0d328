/* SPDX-License-Identifier: Apache-2.0 */
/* Time: the monotonic clock for what is measured and waited for, the wall clock for people. */
#ifndef RP_BASE_CLOCK_H
#define RP_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* A deadline that never comes. */
#define RP_NEVER_NS INT64_MAX

/* Nanoseconds on CLOCK_MONOTONIC: steps of the wall clock do not touch it. */
int64_t rp_clock_ns(void);

/*
 * The same clock as of the kernel's last tick, 1-10 ms old, at a quarter of the cost: for the stamp
 * on a hit. Inline, because it stands on the fast path.
 */
static inline int64_t rp_clock_coarse_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The deadline `milliseconds` from now; RP_NEVER_NS for a negative number or an overflow. */
int64_t rp_deadline_after_ms(int64_t milliseconds);

/* Milliseconds between two readings of rp_clock_ns(). */
double rp_elapsed_ms(int64_t start_ns, int64_t end_ns);

/* The wall clock in nanoseconds since 1970, UTC. */
int64_t rp_wall_ns(void);

/* Write a wall time as "2026-01-31T12:00:00.123Z"; out holds at least 25 bytes. */
enum { RP_ISO_TIME_BYTES = 25 };
void rp_wall_format_iso(int64_t wall_ns, char *out, size_t out_bytes);

#endif
