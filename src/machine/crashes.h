/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which models' workers crashed, so that one that crashes again and again does not take the
 * machine's time from the others: from the third crash on it is held back for 30 s, and twice as
 * long each time, up to ten minutes. What did not crash for ten minutes is forgotten.
 */
#ifndef RP_MACHINE_CRASHES_H
#define RP_MACHINE_CRASHES_H

#include "base/lock.h"

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stdint.h>

struct rp_crashes {
    struct rp_lock lock;
    struct rp_crash *first; /* newest first; guarded by lock */
};

void rp_crashes_init(struct rp_crashes *crashes);
void rp_crashes_fini(struct rp_crashes *crashes);

/*
 * The worker of a model died unasked, at `now_ns` (rp_clock_ns()). With others in it nobody knows
 * whose fault it was: that alone holds nothing back. Without memory it is forgotten.
 */
void rp_crashes_add(struct rp_crashes *crashes, const char *path, bool was_alone,
                    const rp_error *story, int64_t now_ns);

/* Whether it crashed with others or by itself lately, and gets a worker of its own. */
bool rp_crashes_has(struct rp_crashes *crashes, const char *path, int64_t now_ns);

/* RP_ERR_LOAD, with the story and the time left, while it is held back. */
RP_MUST_CHECK rp_status rp_crashes_check(struct rp_crashes *crashes, const char *path,
                                         int64_t now_ns, rp_error *err);

#endif
