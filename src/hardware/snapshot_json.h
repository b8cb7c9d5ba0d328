/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots from JSON, inside the library: the caller may still change what it gets. */
#ifndef RP_HARDWARE_SNAPSHOT_JSON_H
#define RP_HARDWARE_SNAPSHOT_JSON_H

#include "hardware/snapshot.h"

#include <jansson.h>

rp_status rp_snapshot_parse(const char *json, size_t length, const char *source_name,
                            struct rp_snapshot **snapshot, rp_error *err);

/* The same for what is a part of a larger document. The new value is the caller's; NULL without
 * memory. */
json_t *rp_snapshot_to_value(const rp_snapshot *snapshot);
rp_status rp_snapshot_from_value(const json_t *root, const char *source_name,
                                 struct rp_snapshot **snapshot, rp_error *err);

#endif
