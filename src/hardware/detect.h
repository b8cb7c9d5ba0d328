/* SPDX-License-Identifier: Apache-2.0 */
/* Detection, for the tests of it. */
#ifndef RP_HARDWARE_DETECT_H
#define RP_HARDWARE_DETECT_H

#include "hardware/device.h"

/* For tests only: walk these kinds, at most one of each, in place of all; NULL: all again. */
void rp_hardware_walk(const struct rp_device_ops *const *ops, size_t count);

/* For tests only: give up the snapshot of the process, so that the next call detects again. */
void rp_hardware_forget(void);

#endif
