/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A meter: what a device says about its memory now. The CPU's reads this process's own figures and
 * those of the machine and its control groups. A test puts another function in its place.
 */
#ifndef RP_POOL_METER_H
#define RP_POOL_METER_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stdbool.h>

/* Any figure may be RP_UNKNOWN_U64. */
struct rp_meter_reading {
    uint64_t own_bytes;    /* what this process holds there, without what the system may reclaim */
    uint64_t usable_bytes; /* what it could still take                                           */
};

struct rp_meter {
    void (*read)(void *user, const char *device, struct rp_meter_reading *reading);
    void *user;
};

/* Own bytes alone, of the CPU: the cheap half, some microseconds. */
uint64_t rp_meter_own_bytes(const struct rp_meter *meter, const char *device);

#endif
