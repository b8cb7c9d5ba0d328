/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory cgroup for a worker, below the one that the broker is in, where this user may make one:
 * the kernel then kills the worker, and nobody else, for what the worker took beyond its limit, and
 * says so in a counter of its own. Where none can be made a worker lives without.
 */
#ifndef RP_MACHINE_WORKER_GROUP_H
#define RP_MACHINE_WORKER_GROUP_H

#include "hardware/cgroup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The group that new ones are made in. */
struct rp_worker_groups {
    _Atomic int version;                 /* 1 or 2; 0: none can be made */
    char folder[RP_CGROUP_FOLDER_BYTES]; /* of the broker's own group   */
};

struct rp_worker_group {
    int version; /* 0: none */
    char folder[RP_CGROUP_FOLDER_BYTES + 64];
};

/*
 * Look where this process is, and remove what workers of brokers left that are no more. Without
 * cgroups, or the right to make them, none will be made.
 */
void rp_worker_groups_find(struct rp_worker_groups *groups);

/* One more, empty. limit_bytes: RP_UNKNOWN_U64 for none. False, and no group, when it can't be had.
 */
bool rp_worker_group_make(struct rp_worker_groups *groups, uint64_t limit_bytes,
                          struct rp_worker_group *group);

/* In a child between fork and exec: it enters. The file comes from rp_worker_group_file(). */
void rp_worker_group_enter(const char *file);

/* The file that a process enters by. */
void rp_worker_group_file(const struct rp_worker_group *group,
                          char out[RP_CGROUP_FOLDER_BYTES + 80]);

/* How many processes of it the kernel has killed for lack of memory; RP_UNKNOWN_U64. */
uint64_t rp_worker_group_kills(const struct rp_worker_group *group);

/* The most memory that it had at once, its file cache included; RP_UNKNOWN_U64. */
uint64_t rp_worker_group_peak(const struct rp_worker_group *group);

/* Once its processes are gone. */
void rp_worker_group_remove(struct rp_worker_group *group);

#endif
