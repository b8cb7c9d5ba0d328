/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of device, as detection sees it: one const struct of functions per kind. To add a kind,
 * write one and name it in the array in detect.c.
 */
#ifndef RP_HARDWARE_DEVICE_H
#define RP_HARDWARE_DEVICE_H

#include "hardware/snapshot.h"

/* What is behind a kind: how long asking it may take, and when it is asked. */
enum rp_ask {
    RP_ASK_NEVER,  /* there is nothing to ask: probe() knows all                                */
    RP_ASK_DRIVER, /* a driver's library: asked whenever probe() found a sign of it             */
    RP_ASK_SLOW,   /* a browser, a runtime that loads plugins: asked with `all`, or known from
                      the cache; else the kind is unprobed                                      */
};

struct rp_device_ops {
    rp_device_kind kind;
    const char *name; /* for messages: what is looked with, such as "hwloc" or "nvml" */
    enum rp_ask when;

    /*
     * Required. Look without starting a process and without opening a vendor's library: files below
     * snapshot->root, and whether libraries are installed. Adds the devices of this kind where that
     * tells all about them. With `ask`, RP_OK means that there is something to ask. RP_ERR_ABSENT
     * with a message and a hint is the normal answer where there is nothing: they become the
     * absence. Any other failure becomes a reason as well, except RP_ERR_MEMORY, which ends the
     * detection.
     */
    rp_status (*probe)(struct rp_snapshot *snapshot, rp_error *err);

    /*
     * Ask the driver, and add the devices. Runs in a child process with a deadline (child.h), so
     * that it may hang or crash; what it adds, and its notes, come back as JSON. Creates no context
     * on a device. Not called on a recorded machine. NULL unless `when` says it is asked. The
     * snapshot is an empty one: what probe() found is not in it.
     */
    rp_status (*ask)(struct rp_snapshot *snapshot, rp_error *err);

    /* How long it may take; 0: RP_CHILD_MS, or RP_CHILD_SLOW_MS for RP_ASK_SLOW. */
    uint32_t ask_ms_max;

    /*
     * Bring the figures that move up to date, on a copy of an earlier device that belongs to the
     * snapshot but is not added yet. Failures as with probe: the device stays as it was, and a
     * note says so. NULL: values never change. Of a kind with `ask` it runs in the child too;
     * there, without it, RP_ASK_DRIVER asks again, and what was slow stays as it was.
     */
    rp_status (*refresh)(struct rp_snapshot *snapshot, rp_device *device, rp_error *err);

    /*
     * Give back what probe and refresh opened; called once after them, in the process that ran
     * them. NULL: they leave nothing.
     */
    void (*close)(void);
};

extern const struct rp_device_ops rp_device_cpu;
extern const struct rp_device_ops rp_device_cuda;
extern const struct rp_device_ops rp_device_rocm;
extern const struct rp_device_ops rp_device_mps;
extern const struct rp_device_ops rp_device_openvino;
extern const struct rp_device_ops rp_device_qualcomm;
extern const struct rp_device_ops rp_device_tpu;
extern const struct rp_device_ops rp_device_webnn;
extern const struct rp_device_ops rp_device_webgpu;

#endif
