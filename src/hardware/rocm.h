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

/* From a node's properties: where the GPU is on the PCI bus. */
enum { RP_ROCM_ADDRESS_BYTES = 16, RP_ROCM_TARGET_BYTES = 16 };
void rp_rocm_format_address(const char *properties, char out[RP_ROCM_ADDRESS_BYTES]);

/* And its instruction set: 90402 is "gfx942". False for a node that is no GPU. */
bool rp_rocm_format_target(const char *properties, char out[RP_ROCM_TARGET_BYTES]);

#endif
