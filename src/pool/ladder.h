/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ladder of memory pressure: from readings to a step, with two thresholds so that it does not
 * swing. A pure state machine; time is an argument.
 *
 *     none --> warn --> drop --> low memory --> refuse
 *          <--      <--      <--            <--
 *
 * Up when little is usable or tasks stall, one step at a time, each held for a while so that what
 * was done can show its effect; at once to `drop` when the kernel ended a process. Down, one step
 * at a time, only after a while of plenty.
 */
#ifndef RP_POOL_LADDER_H
#define RP_POOL_LADDER_H

#include <resourcepool/pressure.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RP_LADDER_SHORT_PERCENT = 10,  /* of the total: less usable is too little                  */
    RP_LADDER_PLENTY_PERCENT = 15, /* more is enough                                          */
    RP_LADDER_STALL_PERCENT = 15,  /* of the time: more stalling is too much                  */
    RP_LADDER_CALM_PERCENT = 5,    /* less is calm                                            */
};

#define RP_LADDER_HOLD_NS (INT64_C(1) * 1000000000) /* before the next step up   */
#define RP_LADDER_CALM_NS (INT64_C(2) * 1000000000) /* before the next step down */

/* Zero is the bottom. */
struct rp_ladder {
    rp_pressure_step step;
    int64_t since_ns; /* of the step                                     */
    int64_t calm_ns;  /* since when there is plenty; 0: there is not     */
    uint64_t oom_kills;
    bool has_oom_kills;
};

/*
 * Climb by what was read: fills in info->step, to_free_bytes and reason from its other figures.
 * Returns whether the step changed.
 */
bool rp_ladder_climb(struct rp_ladder *ladder, rp_pressure_info *info, int64_t now_ns);

#endif
