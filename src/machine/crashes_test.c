/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/crashes.h"

#include "base/memory.h"
#include "base/status.h"

#include "../../tests/test.h"

#include <stdio.h>

#define S INT64_C(1000000000)

static rp_error story_of(const char *text) {
    rp_error story = RP_ERROR_INIT;
    rp_fail(&story, RP_ERR_RUN, "%s", text);
    return story;
}

static void the_third_crash_holds_a_model_back(void **state) {
    (void)state;
    struct rp_crashes crashes;
    rp_error err = RP_ERROR_INIT;
    const rp_error story = story_of("ended by SIGSEGV");
    rp_crashes_init(&crashes);
    assert_false(rp_crashes_has(&crashes, "/a", 0));
    rp_crashes_add(&crashes, "/a", true, &story, 1 * S);
    rp_crashes_add(&crashes, "/a", true, &story, 2 * S);
    assert_true(rp_crashes_has(&crashes, "/a", 2 * S));
    assert_ok(rp_crashes_check(&crashes, "/a", 2 * S, &err));
    rp_crashes_add(&crashes, "/a", true, &story, 3 * S);
    assert_status(rp_crashes_check(&crashes, "/a", 4 * S, &err), RP_ERR_LOAD);
    assert_string_equal(err.message,
                        "held back for 30 s, its worker crashed 3 times: ended by SIGSEGV");
    assert_ok(rp_crashes_check(&crashes, "/b", 4 * S, &err));
    assert_ok(rp_crashes_check(&crashes, "/a", 33 * S, &err));
    /* The next time twice as long, and never more than ten minutes. */
    rp_crashes_add(&crashes, "/a", true, &story, 40 * S);
    assert_status(rp_crashes_check(&crashes, "/a", 99 * S, &err), RP_ERR_LOAD);
    assert_ok(rp_crashes_check(&crashes, "/a", 100 * S, &err));
    for (int i = 0; i < 40; i++) {
        rp_crashes_add(&crashes, "/a", true, &story, 200 * S);
    }
    assert_status(rp_crashes_check(&crashes, "/a", 799 * S, &err), RP_ERR_LOAD);
    assert_ok(rp_crashes_check(&crashes, "/a", 800 * S, &err));
    assert_false(rp_crashes_has(&crashes, "/a", 1401 * S));
    rp_crashes_fini(&crashes);
}

static void who_crashed_with_others_is_not_held_back(void **state) {
    (void)state;
    struct rp_crashes crashes;
    rp_error err = RP_ERROR_INIT;
    const rp_error story = story_of("ended by SIGABRT");
    rp_crashes_init(&crashes);
    for (int i = 0; i < 9; i++) {
        rp_crashes_add(&crashes, "/a", false, &story, i * S);
    }
    assert_true(rp_crashes_has(&crashes, "/a", 9 * S));
    assert_ok(rp_crashes_check(&crashes, "/a", 9 * S, &err));
    rp_crashes_fini(&crashes);
}

static void so_many_are_kept_and_no_more(void **state) {
    (void)state;
    struct rp_crashes crashes;
    char path[16];
    const rp_error story = story_of("ended");
    int64_t blocks = rp_memory_live_count();
    rp_crashes_init(&crashes);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "/%d", i);
        rp_crashes_add(&crashes, path, true, &story, i * S / 1000);
    }
    assert_int_equal(rp_memory_live_count(), blocks + 64);
    assert_true(rp_crashes_has(&crashes, "/999", S));
    assert_true(rp_crashes_has(&crashes, "/936", S));
    assert_false(rp_crashes_has(&crashes, "/935", S));
    rp_memory_fail_at(1);
    rp_crashes_add(&crashes, "/new", true, &story, S);
    rp_memory_fail_at(0);
    assert_false(rp_crashes_has(&crashes, "/new", S));
    rp_crashes_fini(&crashes);
    assert_int_equal(rp_memory_live_count(), blocks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_crash_holds_a_model_back),
        cmocka_unit_test(who_crashed_with_others_is_not_held_back),
        cmocka_unit_test(so_many_are_kept_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
