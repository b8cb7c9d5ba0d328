/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A meter of memory pressure: where the machine, the control groups above this process and the
 * process itself stand now. Files are opened once and read in place, so that a look is cheap enough
 * for every load.
 *
 * A meter belongs to one thread at a time: the caller holds a lock of its own around the calls.
 */
#ifndef RP_HARDWARE_PRESSURE_H
#define RP_HARDWARE_PRESSURE_H

#include "hardware/proc.h"

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stdint.h>

/* A figure that is not known is RP_UNKNOWN_U64, a share below 0, never 0. */
struct rp_pressure_reading {
    int64_t at_ns; /* CLOCK_MONOTONIC */

    uint64_t machine_bytes_total;     /* MemTotal     */
    uint64_t machine_bytes_available; /* MemAvailable */

    /*
     * The group that leaves this process the least room, of all above it. NULL and unknown when
     * none has a limit. Of version 1 the limit may be that of a group out of sight: "(above)".
     */
    const char *group; /* "cgroup v2 /a/b"; the meter's, until the next reading */
    uint64_t group_bytes_limit;
    uint64_t group_bytes_high;        /* memory.high; version 2 only                     */
    uint64_t group_bytes_used;        /* file cache included                             */
    uint64_t group_bytes_reclaimable; /* file cache that was not used lately, part of it */

    /*
     * What happened in these groups since the meter was opened: the counters only grow, whichever
     * group is the tightest and wherever the process is moved. Version 1 does not count times out
     * of memory, only kills.
     */
    uint64_t group_oom_events;  /* times that a group was out of memory                     */
    uint64_t group_oom_kills;   /* processes killed for it                                  */
    uint64_t group_high_events; /* times that a limit or memory.high was met: memory had to be
                                   reclaimed first; file cache alone makes this grow too    */

    /*
     * The share of time in which some, or all, tasks waited for memory: of the group where version
     * 2 tells, else of the machine. Over the last 2-10 s between readings; without such readings,
     * the kernel's own 10 s average.
     */
    double stall_some_percent;
    double stall_full_percent;

    uint64_t process_bytes_anonymous; /* resident and private: /proc/self/statm */
    double cpu_percent; /* the machine's processors, busy since 1 s or more; for statistics only */

    uint64_t bytes_usable; /* what this process could still take, by machine and groups          */
    uint64_t bytes_total;  /* the limit that counts: the machine's memory or the group's         */
};

struct rp_pressure;

/*
 * Open a meter. root is put before every path: "" for this machine, a folder for a recorded one.
 * What is not there is unknown in each reading, not a failure; only RP_ERR_MEMORY and an overlong
 * root (RP_ERR_ARGUMENT) are. Close with rp_pressure_close().
 */
rp_status rp_pressure_open(const char *root, struct rp_pressure **out, rp_error *err);

/* Accepts NULL. */
void rp_pressure_close(struct rp_pressure *pressure);

/*
 * Read all figures. Does not block and cannot fail. About once a second it looks whether the
 * process was moved or limits were set; after a fork the child's readings are about the child.
 */
void rp_pressure_read(struct rp_pressure *pressure, struct rp_pressure_reading *reading);

/* The same at a time that the caller tells, for tests; it may stand still or go back. */
void rp_pressure_read_at(struct rp_pressure *pressure, int64_t now_ns,
                         struct rp_pressure_reading *reading);

/* What is left of the group's own limit; RP_UNKNOWN_U64 where there is none or it is not known. */
uint64_t rp_pressure_group_bytes_room(const struct rp_pressure_reading *reading);

/*
 * A descriptor that poll() reports POLLPRI on when tasks waited for memory for 150 ms within 2 s,
 * at most once per 2 s; POLLERR when its group is gone: open another then. That of the
 * group that leaves the least room now, or the machine's. The caller closes it with close().
 * RP_ERR_UNSUPPORTED with the reason where the kernel has none for us; reading from time to time is
 * the way then.
 */
rp_status rp_pressure_open_trigger(struct rp_pressure *pressure, int *descriptor, rp_error *err);

/* What a file such as /proc/pressure/memory says. */
struct rp_pressure_stall {
    double some_percent_10s; /* < 0: not told */
    double full_percent_10s;
    uint64_t some_us_total; /* RP_UNKNOWN_U64: not told */
    uint64_t full_us_total;
};

/* Damaged or missing pieces are unknown in *stall. */
void rp_pressure_parse_stall(struct rp_span text, struct rp_pressure_stall *stall);

/* Bytes from /proc/self/statm: resident - shared; RP_UNKNOWN_U64 when damaged. */
uint64_t rp_pressure_parse_statm(struct rp_span text, uint64_t page_bytes);

/* Ticks from the first line of /proc/stat; false when damaged. */
bool rp_pressure_parse_cpu(struct rp_span text, uint64_t *busy, uint64_t *all);

#endif
