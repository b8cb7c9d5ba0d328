/* SPDX-License-Identifier: Apache-2.0 */
/* Which NUMA nodes are near the processors that a process may use. */
#ifndef RP_PLACEMENT_NEARNESS_H
#define RP_PLACEMENT_NEARNESS_H

#include <resourcepool/hardware.h>

/*
 * A bit for each node below 64 that has a processor which may be used. All bits where it makes no
 * difference or is not known: the process is bound to none, or may use some of every node.
 */
uint64_t rp_near_nodes(const rp_cpu *cpu);

#endif
