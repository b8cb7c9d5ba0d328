/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots from JSON, inside the library: the caller may still change what it gets. */
#ifndef RP_HARDWARE_SNAPSHOT_JSON_H
#define RP_HARDWARE_SNAPSHOT_JSON_H

#include "hardware/snapshot.h"

rp_status rp_snapshot_parse(const char *json, size_t length, const char *source_name,
                            struct rp_snapshot **snapshot, rp_error *err);

#endif
