/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much processor time the control groups above this process leave it: rp_hardware_quota() of
 * resourcepool/hardware.h, and its parser.
 */
#ifndef RP_HARDWARE_QUOTA_H
#define RP_HARDWARE_QUOTA_H

#include "hardware/proc.h"

/*
 * From "QUOTA PERIOD", microseconds each, as cpu.max has them: processors. -1: "max", version 1's
 * "-1", more than any machine has, or damaged.
 */
double rp_quota_parse(struct rp_span text);

#endif
