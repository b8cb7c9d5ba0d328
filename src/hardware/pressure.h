/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How memory stands now: the machine's, that of the control groups above this process (cgroup v1
 * and v2), the time that tasks stall for want of it (PSI), and the process's own.
 *
 * The files are opened once and read again and again, some microseconds each. A process that is
 * moved to another group is noticed within a second.
 */
#ifndef RP_HARDWARE_PRESSURE_H
#define RP_HARDWARE_PRESSURE_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stdint.h>

/* Any figure may be RP_UNKNOWN_U64, or below 0. */
struct rp_pressure_reading {
    int64_t at_ns;
    uint64_t machine_bytes_total;
    uint64_t machine_bytes_available;
    uint64_t group_bytes_limit; /* of the group that leaves least room (max, or high)            */
    uint64_t group_bytes_used;  /* without file cache that the kernel would drop first           */
    char group[96];             /* "cgroup v1 /a/b"; "" for none with a limit                    */
    uint64_t oom_kills;         /* processes ended for lack of memory in the groups above, so far */
    double
        stall_percent; /* of the time since a reading 2 s ago or more, in which some task stalled */
    double cpu_percent;    /* of all processors, busy since a reading 2 s ago or more             */
    uint64_t bytes_total;  /* the most this process could have                                    */
    uint64_t bytes_usable; /* what it could still take                                           */
    uint64_t process_bytes; /* anonymous memory of this process                                  */
};

struct rp_pressure;

/*
 * root  "" for this machine, or a recorded tree. On RP_OK *out is the caller's.
 * RP_ERR_MEMORY; what is not there is unknown in the readings.
 */
rp_status rp_pressure_open(const char *root, struct rp_pressure **out, rp_error *err);

/* One thread at a time. */
void rp_pressure_read(struct rp_pressure *pressure, struct rp_pressure_reading *reading);

/*
 * A descriptor that poll() reports POLLPRI on when tasks stalled on memory for 150 ms within 2 s;
 * -1 where the kernel offers none. Belongs to `pressure`.
 */
int rp_pressure_trigger(struct rp_pressure *pressure);

/* Accepts NULL. */
void rp_pressure_close(struct rp_pressure *pressure);

/* Anonymous memory of this process alone: a few microseconds, any thread. */
uint64_t rp_pressure_process_bytes(void);

#endif
