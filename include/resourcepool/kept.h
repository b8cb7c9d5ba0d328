/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What is kept for this user between runs: what loads took, and what slow drivers said. Both are a
 * help, never a condition; docs/cache.md tells what a CI does with them.
 */
#ifndef RESOURCEPOOL_KEPT_H
#define RESOURCEPOOL_KEPT_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stdint.h>

RP_BEGIN_DECLS

/**
 * What there is, as JSON: {folder, machine, key, files[{name, what, path, bytes, age_ms, rows,
 * rows_here, note}]}. What is not there or not known is null. `key` changes when what was kept
 * under another one is of no use: with the format of a file, and with the machine (or with
 * RESOURCE_POOL_MACHINE, a name for machines that are alike). rp_string_free().
 */
RP_API RP_MUST_CHECK rp_status rp_kept_to_json(char **json, rp_error *err);

/**
 * Remove what is of no use any more: what loads took on other machines or did not take for
 * `max_age_ms`, and files that were set aside as damaged.
 *
 * rows, files  what went; may be NULL
 * RP_ERR_BUSY: another process is at it just now.
 */
RP_API RP_MUST_CHECK rp_status rp_kept_prune(int64_t max_age_ms, uint64_t *rows, uint64_t *files,
                                             rp_error *err);

RP_END_DECLS

#endif
