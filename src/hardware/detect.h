/* SPDX-License-Identifier: Apache-2.0 */
/* Detection, inside the library and for the tests of it. */
#ifndef RP_HARDWARE_DETECT_H
#define RP_HARDWARE_DETECT_H

#include "hardware/device.h"

/*
 * rp_hardware_snapshot(), but with figures of drivers that are no older than that: the drivers of
 * known accelerators are asked again if need be, which takes some ten milliseconds. Without any,
 * and on a machine from a file, the snapshot of the process is recent enough.
 */
rp_status rp_hardware_recent(double age_ms_max, const rp_snapshot **snapshot, rp_error *err);

/* For tests only: walk these kinds, at most one of each, in place of all; NULL: all again. */
void rp_hardware_walk(const struct rp_device_ops *const *ops, size_t count);

/* For tests only: give up the snapshot of the process, so that the next call detects again. */
void rp_hardware_forget(void);

#endif
