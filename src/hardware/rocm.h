/* SPDX-License-Identifier: Apache-2.0 */
/* What the ROCm kind reads beside /sys, for its fuzz target. */
#ifndef RP_HARDWARE_ROCM_H
#define RP_HARDWARE_ROCM_H

#include "hardware/proc.h"

/*
 * A line of libdrm's table of names: "744C,\tC8,\tAMD Radeon RX 7900 XTX". False when it is about
 * another device or revision, or damaged.
 */
bool rp_rocm_parse_name(struct rp_span line, uint64_t device, uint64_t revision,
                        struct rp_span *name);

#endif
