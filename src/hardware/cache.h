/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What drivers and slow runtimes said, kept in a file between processes; docs/snapshot.md has its
 * rules. Never kept: what moves (free memory, use, heat, processes), and the processor.
 *
 * It is a help, never a condition: a file that cannot be read or written is lived without, and a
 * note in the snapshot says why. Any number of processes may use one file; each sees a whole one.
 */
#ifndef RP_HARDWARE_CACHE_H
#define RP_HARDWARE_CACHE_H

#include "hardware/snapshot.h"

enum {
    RP_CACHE_VERSION = 1,

    /* How long an answer stands: what a package manager does not see to changes rarely. */
    RP_CACHE_SECONDS = 24 * 3600,

    /* A driver that hung or crashed may be well again soon; until then nobody waits for it. */
    RP_CACHE_FAILED_SECONDS = 600,

    /* A clock may be set back by this much before what was kept seems to come from the future. */
    RP_CACHE_AHEAD_SECONDS = 60,
};

struct rp_cache;

/*
 * Read what is kept.
 *
 * path      as rp_hardware_options.cache
 * snapshot  of this machine; gets the notes and the devices. Borrowed until rp_cache_close().
 * On RP_OK *out is the caller's: rp_cache_close(). RP_ERR_MEMORY is the only failure, here and
 * below.
 */
rp_status rp_cache_open(const char *path, struct rp_snapshot *snapshot, struct rp_cache **out,
                        rp_error *err);

/*
 * Add what is kept of one kind to the snapshot: devices, absences, notes. *found says whether there
 * was an answer that still stands.
 */
rp_status rp_cache_load(struct rp_cache *cache, rp_device_kind kind, bool *found, rp_error *err);

/*
 * Keep an answer, from rp_cache_close() on.
 *
 * answer     what asking that kind gave: devices or absences of it, and notes
 * is_failed  the driver hung or crashed: to be asked again soon
 */
rp_status rp_cache_keep(struct rp_cache *cache, rp_device_kind kind, const rp_snapshot *answer,
                        bool is_failed, rp_error *err);

/* Forget what is kept of a kind, from rp_cache_close() on: its driver answers again. */
rp_status rp_cache_drop(struct rp_cache *cache, rp_device_kind kind, rp_error *err);

/* Write what is to be kept, if anything, and forget the rest. Accepts NULL. */
rp_status rp_cache_close(struct rp_cache *cache, rp_error *err);

#endif
