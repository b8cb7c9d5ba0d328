/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Memory pressure: how much a program may still take, and what a pool does when it is little.
 *
 * The figures are the least of what the machine and the control groups above the process (cgroup
 * v1 and v2) leave it. Below 10 % of the total usable (or 4 GiB, if that is less), or when tasks
 * wait for memory more than 10 % of the time, a pool goes one step further on its ladder, and
 * another one if that did not help within half a second; above 20 % (or 8 GiB) and below 2 %, for
 * five seconds, it comes back one step. Devices with memory of their own have a ladder each, up to
 * dropping idle objects.
 */
#ifndef RESOURCEPOOL_PRESSURE_H
#define RESOURCEPOOL_PRESSURE_H

#include <resourcepool/api.h>
#include <stdint.h>

/** Steps of the ladder. Each includes those before it; numbers never change their meaning. */
typedef enum rp_pressure_step {
    RP_PRESSURE_NONE = 0,
    RP_PRESSURE_WARN = 1,       /* say so                                             */
    RP_PRESSURE_DROP = 2,       /* take out idle objects, cheapest first              */
    RP_PRESSURE_LOW_MEMORY = 3, /* low-memory mode                                    */
    RP_PRESSURE_REFUSE = 4,     /* new loads of more than a little get RP_ERR_CAPACITY */
} rp_pressure_step;

/** How memory stands. Unknown figures are RP_UNKNOWN_U64, or below 0. */
typedef struct rp_pressure_info {
    rp_pressure_step step;
    uint64_t total_bytes;  /* the most this process could have: machine, control group           */
    uint64_t usable_bytes; /* what it could still take                                           */
    uint64_t machine_total_bytes;
    uint64_t machine_available_bytes;
    uint64_t group_limit_bytes; /* of the tightest control group                                  */
    uint64_t group_used_bytes;
    uint64_t group_oom_kills; /* processes the kernel ended there for lack of memory            */
    double stall_percent; /* of the last two seconds or more in which some task waited for memory */
    double cpu_percent;   /* of all processors together, since the last look but one            */
    uint64_t process_bytes; /* anonymous memory of this process                                   */
    uint64_t to_free_bytes; /* what would have to go for the pressure to end; 0: nothing          */
    char group[96]; /* "cgroup v1 /a/b", cut when longer; "" for none                             */
    char reason[160]; /* a sentence with the numbers                                        */
} rp_pressure_info;

/** Told of each change of step, under no lock, on the thread that looked. */
typedef void (*rp_pressure_callback)(const rp_pressure_info *info, void *user);

RP_BEGIN_DECLS

/** "none", "warn", "drop", "low_memory", "refuse"; NULL for a stranger. Static storage. */
RP_API const char *rp_pressure_step_name(rp_pressure_step step);

RP_END_DECLS

#endif
