/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ladder is three answers per reading: is memory short, is it well, or is it between the two.
 * Short adds to the time at this level and in the end climbs; well adds to the calm and in the end
 * climbs down; between the two the level stays and the calm begins anew.
 */
#include "pool/pressure_ladder.h"

#include "base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *action;
} levels[] = {
    [RP_PRESSURE_NONE] = {"none", "back to normal"},
    [RP_PRESSURE_WARN] = {"warn", "memory is short"},
    [RP_PRESSURE_DROP] = {"drop", "idle entries are dropped"},
    [RP_PRESSURE_LOW_MEMORY] = {"low_memory", "low-memory mode"},
    [RP_PRESSURE_REFUSE] = {"refuse", "new loads are refused"},
};

/* What a reading says, measured against the options. */
struct verdict {
    bool is_known;
    bool room_short;
    bool stall_short;
    bool is_well;
    uint64_t oom_grown;
    uint64_t bytes_to_free;
    const struct rp_ladder_room *room; /* the scarcest; NULL: none is known */
};

const char *rp_pressure_step_name(rp_pressure_step level) {
    return levels[level].name;
}

static bool room_is_known(const struct rp_ladder_room *room) {
    return room->name && room->bytes_total != RP_UNKNOWN_U64 &&
           room->bytes_usable != RP_UNKNOWN_U64;
}

static uint64_t threshold(uint64_t bytes_total, double percent, uint64_t bytes_max) {
    double bytes = (double)bytes_total * percent / 100;
    return bytes < (double)bytes_max ? (uint64_t)bytes : bytes_max;
}

static uint64_t enter_bytes(const struct rp_ladder_options *options, uint64_t bytes_total) {
    return threshold(bytes_total, options->enter_usable_percent, options->enter_bytes_max);
}

static uint64_t leave_bytes(const struct rp_ladder_options *options, uint64_t bytes_total) {
    return threshold(bytes_total, options->leave_usable_percent, options->leave_bytes_max);
}

/* Which of two rooms is scarcer, each measured by its own threshold. */
static bool is_scarcer(const struct rp_ladder_options *options, const struct rp_ladder_room *a,
                       const struct rp_ladder_room *b) {
    return (double)a->bytes_usable * (double)enter_bytes(options, b->bytes_total) <
           (double)b->bytes_usable * (double)enter_bytes(options, a->bytes_total);
}

static void judge_room(const struct rp_ladder_options *options, const struct rp_ladder_room *room,
                       struct verdict *verdict) {
    uint64_t enter = enter_bytes(options, room->bytes_total);
    uint64_t leave = leave_bytes(options, room->bytes_total);
    verdict->is_known = true;
    if (room->bytes_usable < enter) verdict->room_short = true;
    if (room->bytes_usable <= leave) {
        /* One byte more, for leaving takes more than the threshold. */
        uint64_t missing = leave - room->bytes_usable + 1;
        verdict->is_well = false;
        if (missing > verdict->bytes_to_free) verdict->bytes_to_free = missing;
    }
    if (!verdict->room || is_scarcer(options, room, verdict->room)) verdict->room = room;
}

static void judge(const struct rp_ladder *ladder, const struct rp_ladder_reading *reading,
                  struct verdict *verdict) {
    const struct rp_ladder_options *options = &ladder->options;
    *verdict = (struct verdict){.is_well = true};
    for (size_t i = 0; i < sizeof reading->rooms / sizeof reading->rooms[0]; i++) {
        if (room_is_known(&reading->rooms[i])) judge_room(options, &reading->rooms[i], verdict);
    }
    if (reading->stall_percent >= 0) {
        verdict->is_known = true;
        verdict->stall_short = reading->stall_percent >= options->enter_stall_percent;
        if (reading->stall_percent >= options->leave_stall_percent) verdict->is_well = false;
    }
    if (reading->oom_count != RP_UNKNOWN_U64 && ladder->oom_count != RP_UNKNOWN_U64 &&
        reading->oom_count > ladder->oom_count) {
        verdict->oom_grown = reading->oom_count - ladder->oom_count;
        verdict->is_well = false;
    }
    bool short_by_effect = verdict->stall_short || verdict->oom_grown > 0;
    if (short_by_effect && verdict->bytes_to_free == 0 && verdict->room) {
        uint64_t total = verdict->room->bytes_total;
        uint64_t enter = enter_bytes(options, total);
        uint64_t leave = leave_bytes(options, total);
        verdict->bytes_to_free = leave > enter ? leave - enter : 0;
    }
    if (!short_by_effect && !verdict->room_short && ladder->level == RP_PRESSURE_NONE) {
        verdict->bytes_to_free = 0; /* less than plenty is no shortage yet */
    }
    if (!verdict->is_known) verdict->is_well = false;
}

/* Time since the last reading, at most `most`. */
static int64_t passed_ns(int64_t now_ns, int64_t last_ns, int64_t most) {
    int64_t passed;
    if (now_ns <= last_ns) return 0;
    if (__builtin_sub_overflow(now_ns, last_ns, &passed)) return most;
    return passed < most ? passed : most;
}

/* "below 10 %", or "below 4.0 GiB" where the bytes are what counts. */
static void print_threshold(char *text, size_t text_bytes, const char *word, uint64_t total,
                            double percent, uint64_t bytes_max) {
    char bytes[RP_BYTES_TEXT_BYTES];
    if ((double)total * percent / 100 < (double)bytes_max) {
        snprintf(text, text_bytes, "%s %g %%", word, percent);
    } else {
        snprintf(text, text_bytes, "%s %s", word, rp_text_bytes(bytes_max, bytes, sizeof bytes));
    }
}

static void print_change(const struct rp_ladder *ladder, const struct rp_ladder_reading *reading,
                         const struct verdict *verdict, bool up, char *text, size_t text_bytes) {
    const struct rp_ladder_options *options = &ladder->options;
    char room[256] = "";
    char limit[64] = "";
    char reason[128] = "";
    if (verdict->room) {
        char usable[RP_BYTES_TEXT_BYTES];
        char total[RP_BYTES_TEXT_BYTES];
        snprintf(room, sizeof room, "%s of %s usable (%.160s)",
                 rp_text_bytes(verdict->room->bytes_usable, usable, sizeof usable),
                 rp_text_bytes(verdict->room->bytes_total, total, sizeof total),
                 verdict->room->name);
    }
    uint64_t total = verdict->room ? verdict->room->bytes_total : 0;
    if (!up && verdict->room) {
        print_threshold(limit, sizeof limit, ", above", total, options->leave_usable_percent,
                        options->leave_bytes_max);
    } else if (verdict->room_short) {
        print_threshold(limit, sizeof limit, ", below", total, options->enter_usable_percent,
                        options->enter_bytes_max);
    }
    const char *comma = verdict->room ? ", " : "";
    if (verdict->oom_grown > 0) {
        snprintf(reason, sizeof reason, "%sout of memory %llu times since the last look", comma,
                 (unsigned long long)verdict->oom_grown);
    } else if (up && verdict->stall_short) {
        snprintf(reason, sizeof reason, "%stasks waited for memory %.1f %% of the time, from %g %%",
                 comma, reading->stall_percent, options->enter_stall_percent);
    } else if (!up && !verdict->room) {
        snprintf(reason, sizeof reason, "tasks waited for memory %.1f %% of the time, below %g %%",
                 reading->stall_percent, options->leave_stall_percent);
    }
    bool says_action = up || ladder->level == RP_PRESSURE_NONE;
    if (!text) return; /* whoever asks may not want the sentence */
    snprintf(text, text_bytes, "%s%s%s: %s%s%s", room, limit, reason,
             says_action ? levels[ladder->level].action : "down to '",
             says_action ? "" : levels[ladder->level].name, says_action ? "" : "'");
}

static rp_pressure_step next_level(struct rp_ladder *ladder, const struct verdict *verdict) {
    const struct rp_ladder_options *options = &ladder->options;
    rp_pressure_step level = ladder->level;
    if (verdict->oom_grown > 0) {
        /* A process was killed already: a warning comes too late. */
        if (level < RP_PRESSURE_DROP) return RP_PRESSURE_DROP;
        return level < RP_PRESSURE_REFUSE ? level + 1 : level;
    }
    if (verdict->room_short || verdict->stall_short) {
        int64_t hold_ns = verdict->room_short ? options->step_ns_min : options->stall_step_ns_min;
        bool may = level == RP_PRESSURE_NONE || ladder->held_ns >= hold_ns;
        return may && level < RP_PRESSURE_REFUSE ? level + 1 : level;
    }
    bool calm = verdict->is_well && ladder->calm_ns >= options->calm_ns_min;
    return calm && level > RP_PRESSURE_NONE ? level - 1 : level;
}

void rp_ladder_init(struct rp_ladder *ladder, const struct rp_ladder_options *options) {
    static const struct rp_ladder_options defaults = RP_LADDER_OPTIONS_INIT;
    *ladder = (struct rp_ladder){
        .options = options ? *options : defaults,
        .oom_count = RP_UNKNOWN_U64,
    };
    assert(ladder->options.enter_usable_percent <= ladder->options.leave_usable_percent);
    assert(ladder->options.enter_bytes_max <= ladder->options.leave_bytes_max);
    assert(ladder->options.enter_stall_percent >= ladder->options.leave_stall_percent);
}

bool rp_ladder_step(struct rp_ladder *ladder, const struct rp_ladder_reading *reading,
                    int64_t now_ns, char *text, size_t text_bytes) {
    const struct rp_ladder_options *options = &ladder->options;
    int64_t step_most = options->stall_step_ns_min > options->step_ns_min
                            ? options->stall_step_ns_min
                            : options->step_ns_min;
    struct verdict verdict;
    judge(ladder, reading, &verdict);
    if (ladder->has_last) {
        int64_t held_ns = passed_ns(now_ns, ladder->last_ns, step_most);
        /* Enough is enough: a sum that grows for years must not overflow. */
        ladder->held_ns = ladder->held_ns < step_most ? ladder->held_ns + held_ns : step_most;
        int64_t calm_ns = passed_ns(now_ns, ladder->last_ns, options->calm_ns_min / 2 + 1);
        if (ladder->was_well && ladder->calm_ns < options->calm_ns_min) ladder->calm_ns += calm_ns;
    }
    if (!verdict.is_well) ladder->calm_ns = 0;
    ladder->was_well = verdict.is_well;
    ladder->has_last = true;
    ladder->last_ns = now_ns;
    if (verdict.is_known) ladder->bytes_to_free = verdict.bytes_to_free;

    rp_pressure_step before = ladder->level;
    ladder->level = next_level(ladder, &verdict);
    if (reading->oom_count != RP_UNKNOWN_U64) ladder->oom_count = reading->oom_count;
    if (ladder->level == before) return false;
    ladder->held_ns = 0;
    ladder->calm_ns = 0;
    print_change(ladder, reading, &verdict, ladder->level > before, text, text_bytes);
    return true;
}

void rp_ladder_reading_of_memory(const struct rp_pressure_reading *pressure,
                                 struct rp_ladder_reading *reading) {
    uint64_t limit = pressure->group_bytes_limit < pressure->group_bytes_high
                         ? pressure->group_bytes_limit
                         : pressure->group_bytes_high;
    uint64_t events = pressure->group_oom_events;
    uint64_t kills = pressure->group_oom_kills;
    *reading = (struct rp_ladder_reading){
        .rooms = {{"machine", pressure->machine_bytes_total, pressure->machine_bytes_available},
                  {pressure->group, limit, rp_pressure_group_bytes_room(pressure)}},
        .stall_percent = pressure->stall_some_percent,
        /* An event mostly ends in a kill: not to be counted twice. */
        .oom_count = events == RP_UNKNOWN_U64 || (kills != RP_UNKNOWN_U64 && kills > events)
                         ? kills
                         : events,
    };
}

void rp_ladder_reading_of_device(const char *name, uint64_t bytes_total, uint64_t bytes_free,
                                 struct rp_ladder_reading *reading) {
    *reading = (struct rp_ladder_reading){
        .rooms = {{name, bytes_total, bytes_free}},
        .stall_percent = -1,
        .oom_count = RP_UNKNOWN_U64,
    };
}
