/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where something should go: a pure function of what the machine has and what was asked for.
 */
#ifndef RP_PLACEMENT_PLACEMENT_H
#define RP_PLACEMENT_PLACEMENT_H

#include <resourcepool/hardware.h>
#include <resourcepool/placement.h>
#include <resourcepool/status.h>

struct rp_placement_choice {
    const char *device; /* borrowed from the snapshot */
    rp_policy policy;
    char reason[160];
};

/*
 * The device asked for, if the machine has it; without one (NULL), the CPU. RP_ERR_ABSENT names
 * the devices that there are.
 */
rp_status rp_placement_choose(const rp_snapshot *snapshot, const char *device,
                              struct rp_placement_choice *choice, rp_error *err);

#endif
