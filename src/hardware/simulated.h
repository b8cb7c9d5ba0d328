/* SPDX-License-Identifier: Apache-2.0 */
/* A machine from a file: the JSON of a snapshot in place of detection. */
#ifndef RP_HARDWARE_SIMULATED_H
#define RP_HARDWARE_SIMULATED_H

#include "hardware/snapshot.h"

/*
 * The snapshot in that file, every device marked simulated. A file that is missing or damaged is an
 * error that names it and the way back to the real machine, which never stands in silently.
 */
rp_status rp_simulated_open(const char *path, struct rp_snapshot **snapshot, rp_error *err);

#endif
