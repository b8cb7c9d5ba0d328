/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of device, as detection sees it: one const struct of functions per kind. To add a kind,
 * write one and name it in the array in detect.c.
 */
#ifndef RP_HARDWARE_DEVICE_H
#define RP_HARDWARE_DEVICE_H

#include "hardware/snapshot.h"

struct rp_device_ops {
    rp_device_kind kind;
    const char *name; /* for messages: what is looked with, such as "hwloc" or "nvml" */

    /*
     * Required. Add the devices of this kind to the snapshot. RP_ERR_ABSENT and a message is the
     * normal answer where there are none: the message becomes the reason. Any other failure becomes
     * a reason as well, except RP_ERR_MEMORY, which ends the detection. Reads below snapshot->root.
     */
    rp_status (*probe)(struct rp_snapshot *snapshot, rp_error *err);

    /*
     * Bring the figures that move up to date, on a copy of an earlier device that belongs to the
     * snapshot but is not added yet. NULL: values never change. Failures as with probe: the device
     * stays as it was, and a note says so.
     */
    rp_status (*refresh)(struct rp_snapshot *snapshot, rp_device *device, rp_error *err);

    /* Give back what probe and refresh opened; called once after them. NULL: they leave nothing. */
    void (*close)(void);
};

extern const struct rp_device_ops rp_device_cpu;

#endif
