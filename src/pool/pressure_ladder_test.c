/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/pressure_ladder.h"

#include "../../tests/test.h"

#include <stdio.h>

#define MIB   (UINT64_C(1) << 20)
#define GIB   (UINT64_C(1) << 30)
#define MS_NS INT64_C(1000000)

/* One ladder with what the last step said. */
static struct rp_ladder ladder;
static char text[256];

static int begin(void **state) {
    (void)state;
    rp_ladder_init(&ladder, NULL);
    memset(text, 0, sizeof text);
    return 0;
}

static rp_pressure_step feed(uint64_t usable, double stall, uint64_t oom, int64_t at_ms) {
    struct rp_ladder_reading reading = {
        .rooms = {{"cgroup v1 /x", 8 * GIB, usable}},
        .stall_percent = stall,
        .oom_count = oom,
    };
    rp_ladder_step(&ladder, &reading, at_ms * MS_NS, text, sizeof text);
    return ladder.level;
}

static rp_pressure_step room(uint64_t usable, int64_t at_ms) {
    return feed(usable, -1, RP_UNKNOWN_U64, at_ms);
}

static void each_level_has_its_name(void **state) {
    (void)state;
    static const char *const names[] = {"none", "warn", "drop", "low_memory", "refuse"};
    for (int i = RP_PRESSURE_NONE; i <= RP_PRESSURE_REFUSE; i++) {
        assert_string_equal(rp_pressure_step_name((rp_pressure_step)i), names[i]);
    }
}

static void a_lasting_shortage_climbs_one_level_at_a_time(void **state) {
    (void)state;
    assert_int_equal(room(4 * GIB, 0), RP_PRESSURE_NONE);
    assert_int_equal(room(412 * MIB, 10), RP_PRESSURE_WARN);
    assert_string_equal(text,
                        "412.0 MiB of 8.0 GiB usable (cgroup v1 /x), below 10 %: memory is short");
    assert_int_equal(room(412 * MIB, 509), RP_PRESSURE_WARN); /* held so that it can show */
    assert_int_equal(room(412 * MIB, 510), RP_PRESSURE_DROP);
    assert_says(text, "idle entries are dropped");
    assert_int_equal(room(412 * MIB, 1009), RP_PRESSURE_DROP);
    assert_int_equal(room(412 * MIB, 1010), RP_PRESSURE_LOW_MEMORY);
    assert_int_equal(room(412 * MIB, 1510), RP_PRESSURE_REFUSE);
    assert_int_equal(room(0, 9999), RP_PRESSURE_REFUSE);
}

static void between_the_thresholds_nothing_changes(void **state) {
    (void)state;
    assert_int_equal(room(GIB, 0), RP_PRESSURE_NONE); /* 12.5 % */
    assert_int_equal(ladder.bytes_to_free, 0);
    assert_int_equal(room(400 * MIB, 100), RP_PRESSURE_WARN);
    for (int i = 1; i < 100; i++) {
        assert_int_equal(room(GIB, 100 + INT64_C(1000) * i), RP_PRESSURE_WARN);
    }
}

static void calm_climbs_down_one_level_at_a_time(void **state) {
    (void)state;
    room(400 * MIB, 0);
    assert_int_equal(room(400 * MIB, 500), RP_PRESSURE_DROP);
    int64_t at_ms = 500;
    for (; at_ms < 5500; at_ms += 500) {
        assert_int_equal(room(4 * GIB, at_ms), RP_PRESSURE_DROP);
    }
    assert_int_equal(room(4 * GIB, at_ms), RP_PRESSURE_WARN);
    assert_string_equal(text,
                        "4.0 GiB of 8.0 GiB usable (cgroup v1 /x), above 20 %: down to 'warn'");
    assert_int_equal(room(GIB, at_ms + 4000), RP_PRESSURE_WARN); /* the calm begins anew */
    at_ms += 4000;
    for (int i = 0; i < 10; i++, at_ms += 500) {
        assert_int_equal(room(4 * GIB, at_ms), RP_PRESSURE_WARN);
    }
    assert_int_equal(room(4 * GIB, at_ms), RP_PRESSURE_NONE);
    assert_says(text, "above 20 %: back to normal");
}

static void what_to_free_leads_out(void **state) {
    (void)state;
    room(400 * MIB, 0);
    uint64_t missing = ladder.bytes_to_free;
    assert_true(missing > 0 && 400 * MIB + missing <= 8 * GIB);
    room(400 * MIB + missing - 1, 2000);
    assert_int_equal(ladder.bytes_to_free, 1);
    for (int i = 1; i <= 20; i++) {
        room(400 * MIB + missing, 2000 + INT64_C(1000) * i);
    }
    assert_int_equal(ladder.level, RP_PRESSURE_NONE);
    assert_int_equal(ladder.bytes_to_free, 0);
}

static void waiting_for_memory_is_a_shortage_too(void **state) {
    (void)state;
    assert_int_equal(feed(4 * GIB, 14.25, RP_UNKNOWN_U64, 0), RP_PRESSURE_WARN);
    assert_says(text, "tasks waited for memory 14.2 % of the time, from 10 %");
    assert_true(ladder.bytes_to_free > 0);
    assert_int_equal(feed(4 * GIB, 14.2, RP_UNKNOWN_U64, 2499), RP_PRESSURE_WARN);
    assert_int_equal(feed(4 * GIB, 14.2, RP_UNKNOWN_U64, 2500), RP_PRESSURE_DROP);
    for (int i = 1; i < 20; i++) {
        assert_int_equal(feed(4 * GIB, 5, RP_UNKNOWN_U64, 2500 + INT64_C(1000) * i),
                         RP_PRESSURE_DROP);
    }
    for (int i = 20; i < 40; i++) {
        feed(4 * GIB, 0.5, RP_UNKNOWN_U64, 2500 + INT64_C(1000) * i);
    }
    assert_int_equal(ladder.level, RP_PRESSURE_NONE);
}

static void out_of_memory_climbs_at_once(void **state) {
    (void)state;
    assert_int_equal(feed(4 * GIB, 0, 7, 0), RP_PRESSURE_NONE); /* of before */
    assert_int_equal(feed(4 * GIB, 0, 9, 1), RP_PRESSURE_DROP);
    assert_says(text, "out of memory 2 times");
    assert_int_equal(feed(4 * GIB, 0, 9, 2), RP_PRESSURE_DROP);
    assert_int_equal(feed(4 * GIB, 0, 10, 2), RP_PRESSURE_LOW_MEMORY);
    assert_int_equal(feed(4 * GIB, 0, RP_UNKNOWN_U64, 3), RP_PRESSURE_LOW_MEMORY);
    assert_int_equal(feed(4 * GIB, 0, 11, 4), RP_PRESSURE_REFUSE);
    assert_int_equal(feed(4 * GIB, 0, 12, 5), RP_PRESSURE_REFUSE);
    assert_int_equal(feed(4 * GIB, 0, 3, 6), RP_PRESSURE_REFUSE);
}

static void a_large_machine_is_short_by_bytes(void **state) {
    (void)state;
    struct rp_ladder_reading reading = {
        .rooms = {{"machine", 1024 * GIB, 50 * GIB}},
        .stall_percent = -1,
        .oom_count = RP_UNKNOWN_U64,
    };
    assert_false(rp_ladder_step(&ladder, &reading, 0, text, sizeof text));
    reading.rooms[0].bytes_usable = 3 * GIB;
    assert_true(rp_ladder_step(&ladder, &reading, 0, text, sizeof text));
    assert_string_equal(text,
                        "3.0 GiB of 1.0 TiB usable (machine), below 4.0 GiB: memory is short");
}

static void the_scarcer_room_counts(void **state) {
    (void)state;
    struct rp_pressure_reading pressure = {
        .machine_bytes_total = 512 * GIB,
        .machine_bytes_available = GIB,
        .group = "cgroup v2 /a",
        .group_bytes_limit = 2 * GIB,
        .group_bytes_high = RP_UNKNOWN_U64,
        .group_bytes_used = 0,
        .group_bytes_reclaimable = 0,
        .group_oom_events = 4,
        .group_oom_kills = RP_UNKNOWN_U64,
        .stall_some_percent = -1,
    };
    struct rp_ladder_reading reading;
    rp_ladder_reading_of_memory(&pressure, &reading);
    assert_int_equal(reading.oom_count, 4);
    assert_true(rp_ladder_step(&ladder, &reading, 0, text, sizeof text));
    assert_string_equal(text, "1.0 GiB of 512.0 GiB usable (machine), below 4.0 GiB: "
                              "memory is short");
    assert_true(ladder.bytes_to_free > 7 * GIB);
    begin(NULL);
    pressure.machine_bytes_available = 100 * GIB;
    pressure.group_bytes_used = 2 * GIB - MIB;
    rp_ladder_reading_of_memory(&pressure, &reading);
    assert_true(rp_ladder_step(&ladder, &reading, 0, text, sizeof text));
    assert_says(text, "1.0 MiB of 2.0 GiB usable (cgroup v2 /a), below 10 %");
}

static void a_device_climbs_by_its_free_bytes(void **state) {
    (void)state;
    struct rp_ladder_reading reading;
    rp_ladder_reading_of_device("cuda:0", 16 * GIB, GIB, &reading);
    assert_true(rp_ladder_step(&ladder, &reading, 0, text, sizeof text));
    assert_says(text, "1.0 GiB of 16.0 GiB usable (cuda:0), below 10 %");
    rp_ladder_reading_of_device("cuda:0", RP_UNKNOWN_U64, RP_UNKNOWN_U64, &reading);
    for (int i = 1; i < 20; i++) {
        assert_false(
            rp_ladder_step(&ladder, &reading, INT64_C(1000) * i * MS_NS, text, sizeof text));
    }
}

static void nothing_known_changes_nothing(void **state) {
    (void)state;
    assert_int_equal(room(RP_UNKNOWN_U64, 0), RP_PRESSURE_NONE);
    assert_int_equal(room(400 * MIB, 1), RP_PRESSURE_WARN);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(room(RP_UNKNOWN_U64, INT64_C(1000) * i), RP_PRESSURE_WARN);
    }
}

static void a_clock_that_stands_or_jumps_does_no_harm(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(room(400 * MIB, 77), RP_PRESSURE_WARN);
    }
    struct rp_ladder_reading reading = {
        .rooms = {{"machine", 8 * GIB, 400 * MIB}},
        .stall_percent = -1,
        .oom_count = RP_UNKNOWN_U64,
    };
    /* Back counts as no time, forth as one step, also from one end of time to the other. */
    rp_ladder_step(&ladder, &reading, INT64_MIN, text, sizeof text);
    assert_int_equal(ladder.level, RP_PRESSURE_WARN);
    rp_ladder_step(&ladder, &reading, INT64_MAX, text, sizeof text);
    assert_int_equal(ladder.level, RP_PRESSURE_DROP);
    rp_ladder_step(&ladder, &reading, INT64_MAX, text, sizeof text);
    assert_int_equal(ladder.level, RP_PRESSURE_DROP);
    /* A jump between two readings is not yet a calm. */
    reading.rooms[0].bytes_usable = 4 * GIB;
    rp_ladder_step(&ladder, &reading, 0, text, sizeof text);
    rp_ladder_step(&ladder, &reading, INT64_MAX, text, sizeof text);
    assert_int_equal(ladder.level, RP_PRESSURE_DROP);
}

static void a_random_walk_moves_one_level_and_only_for_a_reason(void **state) {
    (void)state;
    uint64_t seed = 42;
    int64_t at_ms = 0;
    for (int i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t usable = (seed >> 33) % (8 * GIB / MIB) * MIB;
        at_ms += (int64_t)(seed >> 60) * 100;
        if (seed % 3 != 0) usable = usable % GIB; /* mostly short */
        rp_pressure_step before = ladder.level;
        rp_pressure_step after = room(usable, at_ms);
        if (after > before) {
            assert_int_equal(after, before + 1);
            assert_true(usable < 8 * GIB / 10);
        } else if (after < before) {
            assert_int_equal(after, before - 1);
            assert_true(usable > 8 * GIB / 5);
        }
    }
}

static void the_sentence_keeps_within_its_buffer(void **state) {
    (void)state;
    char name[512];
    char small[16];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    struct rp_ladder_reading reading;
    rp_ladder_reading_of_device(name, GIB, 0, &reading);
    assert_true(rp_ladder_step(&ladder, &reading, 0, small, sizeof small));
    assert_int_equal(strlen(small), sizeof small - 1);
    begin(NULL);
    assert_true(rp_ladder_step(&ladder, &reading, 0, NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_level_has_its_name),
        cmocka_unit_test_setup(a_lasting_shortage_climbs_one_level_at_a_time, begin),
        cmocka_unit_test_setup(between_the_thresholds_nothing_changes, begin),
        cmocka_unit_test_setup(calm_climbs_down_one_level_at_a_time, begin),
        cmocka_unit_test_setup(what_to_free_leads_out, begin),
        cmocka_unit_test_setup(waiting_for_memory_is_a_shortage_too, begin),
        cmocka_unit_test_setup(out_of_memory_climbs_at_once, begin),
        cmocka_unit_test_setup(a_large_machine_is_short_by_bytes, begin),
        cmocka_unit_test_setup(the_scarcer_room_counts, begin),
        cmocka_unit_test_setup(a_device_climbs_by_its_free_bytes, begin),
        cmocka_unit_test_setup(nothing_known_changes_nothing, begin),
        cmocka_unit_test_setup(a_clock_that_stands_or_jumps_does_no_harm, begin),
        cmocka_unit_test_setup(a_random_walk_moves_one_level_and_only_for_a_reason, begin),
        cmocka_unit_test_setup(the_sentence_keeps_within_its_buffer, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
