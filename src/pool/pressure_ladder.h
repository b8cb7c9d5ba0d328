/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about a shortage of memory: a ladder that is climbed while the shortage lasts and
 * climbed down when it is well over. Pure: readings and times come from the caller, nothing is read
 * or freed here. One ladder for the machine's memory, one for each device that has its own.
 *
 * A ladder belongs to one thread at a time: the caller holds a lock of its own.
 */
#ifndef RP_POOL_PRESSURE_LADDER_H
#define RP_POOL_PRESSURE_LADDER_H

#include "hardware/pressure.h"

#include <resourcepool/pressure.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two thresholds for each measure; what lies between them changes nothing. */
struct rp_ladder_options {
    /* Short below this share of the total, or this many bytes if that is less. */
    double enter_usable_percent;
    uint64_t enter_bytes_max;

    /* Well above this one. */
    double leave_usable_percent;
    uint64_t leave_bytes_max;

    /* Short from this share of time in which some task waited for memory; well below that one. */
    double enter_stall_percent;
    double leave_stall_percent;

    int64_t step_ns_min;       /* at a level before the next one, while memory is short */
    int64_t stall_step_ns_min; /* the same where only the waiting tells of a shortage   */
    int64_t calm_ns_min;       /* well without a break before one level down            */
};

/* clang-format off */
#define RP_LADDER_OPTIONS_INIT                                                                                           \
    {                                                                                                                    \
        .enter_usable_percent = 10,              /* below it the kernel reclaims more than it serves */                  \
        .enter_bytes_max = UINT64_C(4) << 30,    /* a tenth of 1 TiB is no shortage; a usual model and its run fit here */\
        .leave_usable_percent = 20,              /* twice: one model that is freed is not undone by the next load */     \
        .leave_bytes_max = UINT64_C(8) << 30,                                                                            \
        .enter_stall_percent = 10,               /* a tenth of the time lost; reclaim of file cache alone stays near 1 */\
        .leave_stall_percent = 2,                                                                                        \
        .step_ns_min = INT64_C(500000000),       /* unloading gigabytes and giving their pages back takes 0.1-0.3 s */   \
        .stall_step_ns_min = INT64_C(2500000000),/* stalls are known 2 s late: one whole window after the last step */   \
        .calm_ns_min = INT64_C(5000000000),      /* longer than a load, so that a pause between two is not taken for calm */\
    }
/* clang-format on */

/* Room of one kind: of the machine, of a group, of a device. Unknown: RP_UNKNOWN_U64. */
struct rp_ladder_room {
    const char *name; /* for the sentence: "machine", "cgroup v2 /a", "cuda:0"; borrowed */
    uint64_t bytes_total;
    uint64_t bytes_usable;
};

struct rp_ladder_reading {
    struct rp_ladder_room rooms[2]; /* the scarcer one counts; name NULL: no such room */
    double stall_percent;           /* < 0: not known                                  */
    uint64_t oom_count;             /* grows with each event; RP_UNKNOWN_U64: not known */
};

/* What a meter says. Names are borrowed from its reading. */
void rp_ladder_reading_of_memory(const struct rp_pressure_reading *pressure,
                                 struct rp_ladder_reading *reading);

/* What a device says: its total and what is free, as measured. */
void rp_ladder_reading_of_device(const char *name, uint64_t bytes_total, uint64_t bytes_free,
                                 struct rp_ladder_reading *reading);

/* Zero-initialise with rp_ladder_init(). Nothing to give back. */
struct rp_ladder {
    struct rp_ladder_options options;
    rp_pressure_step level;
    uint64_t bytes_to_free; /* as of the last reading: what is missing to be well again; 0: nothing.
                               Where only the waiting tells, a guess: one threshold to the other */
    bool has_last;
    int64_t last_ns;
    int64_t held_ns; /* at this level */
    int64_t calm_ns; /* well, without a break */
    bool was_well;
    uint64_t oom_count;
};

/* options NULL: the defaults. */
void rp_ladder_init(struct rp_ladder *ladder, const struct rp_ladder_options *options);

/*
 * Take one reading. True when the level changed: then `text` holds a sentence with the numbers,
 * such as "412.0 MiB of 8.0 GiB usable (cgroup v1 /x), below 10 %: idle entries are dropped".
 *
 * Up goes one level at a time, each held for a while so that what it frees can show; a grown oom
 * count goes up at once, at least to RP_PRESSURE_DROP. Down goes one level at a time. A reading in
 * which nothing is known changes nothing. now_ns may stand still or jump: back counts as no time
 * passed, forth as no more than one step's, and as half of the calm that is needed.
 */
bool rp_ladder_step(struct rp_ladder *ladder, const struct rp_ladder_reading *reading,
                    int64_t now_ns, char *text, size_t text_bytes);

#endif
