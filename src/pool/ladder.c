/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/ladder.h"

#include "base/text.h"

#include <stdio.h>

const char *rp_pressure_step_name(rp_pressure_step step) {
    switch (step) {
    case RP_PRESSURE_NONE:
        return "none";
    case RP_PRESSURE_WARN:
        return "warn";
    case RP_PRESSURE_DROP:
        return "drop";
    case RP_PRESSURE_LOW_MEMORY:
        return "low_memory";
    case RP_PRESSURE_REFUSE:
        return "refuse";
    }
    return NULL;
}

static bool is_known(const rp_pressure_info *info) {
    return info->usable_bytes != RP_UNKNOWN_U64 && info->total_bytes != RP_UNKNOWN_U64;
}

static uint64_t percent_of(uint64_t bytes, uint64_t percent) {
    return bytes / 100 * percent;
}

/* A process was ended for lack of memory since the last look. */
static bool saw_oom_kill(struct rp_ladder *ladder, const rp_pressure_info *info) {
    if (info->group_oom_kills == RP_UNKNOWN_U64) return false;
    bool is_new = ladder->has_oom_kills && info->group_oom_kills > ladder->oom_kills;
    ladder->oom_kills = info->group_oom_kills;
    ladder->has_oom_kills = true;
    return is_new;
}

static void tell(rp_pressure_info *info, bool is_killed) {
    char usable[RP_BYTES_TEXT_BYTES];
    char total[RP_BYTES_TEXT_BYTES];
    if (!is_known(info)) {
        snprintf(info->reason, sizeof info->reason, "nothing is known about the memory here");
        return;
    }
    int length = snprintf(info->reason, sizeof info->reason, "%s of %s usable (%.0f %%)",
                          rp_text_bytes(info->usable_bytes, usable, sizeof usable),
                          rp_text_bytes(info->total_bytes, total, sizeof total),
                          100.0 * (double)info->usable_bytes / ((double)info->total_bytes + 1));
    if (info->stall_percent >= 0) {
        length += snprintf(info->reason + length, sizeof info->reason - (size_t)length,
                           ", tasks stalled on memory %.0f %% of the time", info->stall_percent);
    }
    if (is_killed) {
        snprintf(info->reason + length, sizeof info->reason - (size_t)length,
                 ", the kernel ended a process");
    }
}

bool rp_ladder_climb(struct rp_ladder *ladder, rp_pressure_info *info, int64_t now_ns) {
    bool is_killed = saw_oom_kill(ladder, info);
    bool is_short = is_killed;
    bool is_plenty = true;
    info->to_free_bytes = 0;
    if (is_known(info)) {
        uint64_t plenty = percent_of(info->total_bytes, RP_LADDER_PLENTY_PERCENT);
        is_short |= info->usable_bytes < percent_of(info->total_bytes, RP_LADDER_SHORT_PERCENT);
        is_plenty = info->usable_bytes >= plenty;
        if (!is_plenty) info->to_free_bytes = plenty - info->usable_bytes;
    }
    is_short |= info->stall_percent > RP_LADDER_STALL_PERCENT;
    is_plenty = is_plenty && !is_short && info->stall_percent < RP_LADDER_CALM_PERCENT;
    if (!is_plenty) ladder->calm_ns = 0;
    if (is_plenty && ladder->calm_ns == 0) ladder->calm_ns = now_ns;

    rp_pressure_step before = ladder->step;
    if (is_killed && ladder->step < RP_PRESSURE_DROP) {
        ladder->step = RP_PRESSURE_DROP;
    } else if (is_short && ladder->step < RP_PRESSURE_REFUSE &&
               (ladder->step == RP_PRESSURE_NONE ||
                now_ns - ladder->since_ns >= RP_LADDER_HOLD_NS)) {
        ladder->step = (rp_pressure_step)(ladder->step + 1);
    } else if (is_plenty && ladder->step > RP_PRESSURE_NONE &&
               now_ns - ladder->calm_ns >= RP_LADDER_CALM_NS) {
        ladder->step = (rp_pressure_step)(ladder->step - 1);
        ladder->calm_ns = now_ns; /* the next step down waits as long again */
    }
    if (ladder->step != before) ladder->since_ns = now_ns;
    info->step = ladder->step;
    tell(info, is_killed);
    return ladder->step != before;
}
