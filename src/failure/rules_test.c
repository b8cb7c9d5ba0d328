/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/rules.h"

#include "../../tests/test.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

static const char two_rules[] = "# a comment\n"
                                "out_of_memory_device 9\n"
                                "    CUDA out of memory\n"
                                "    HIP out of memory\n"
                                "    = CUDA out of memory\n"
                                "\n"
                                "unsupported_operation 7 on webgpu webnn\n"
                                "    no kernel for {operator}\n"
                                "    with backend\n"
                                "    without HIP out of memory\n"
                                "    = no kernel for Relu\\nbackend x\n";

static struct rp_failure_rules *rules_of(const char *text) {
    rp_error err = RP_ERROR_INIT;
    struct rp_failure_rules *rules = NULL;
    assert_ok(rp_failure_rules_create(text, strlen(text), "test", &rules, &err));
    return rules;
}

static void a_rule_has_its_strength_devices_and_patterns(void **state) {
    (void)state;
    struct rp_failure_rules *rules = rules_of(two_rules);
    assert_int_equal(rules->count, 2);
    assert_int_equal(rules->rows[0].category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_int_equal(rules->rows[0].strength, 9);
    assert_int_equal(rules->rows[0].any_count, 2);
    assert_int_equal(rules->rows[0].kinds, 0);
    assert_int_equal(rules->rows[1].line, 7);
    assert_int_equal(rules->rows[1].kinds, 1 << RP_DEVICE_WEBGPU | 1 << RP_DEVICE_WEBNN);
    assert_int_equal(rules->rows[1].with_count, 1);
    assert_int_equal(rules->rows[1].without_count, 1);
    assert_int_equal(rules->rows[1].example_count, 1);
    assert_int_equal(rules->pattern_count, 4); /* two rules share one */
    rp_failure_rules_destroy(rules);
}

struct hits {
    unsigned count[8];
};

static void count_hit(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    struct hits *hits = user;
    (void)match;
    hits->count[pattern]++;
}

static struct hits scan(const struct rp_failure_rules *rules, const char *line) {
    struct hits hits = {{0}};
    unsigned char *seen = calloc(1, rp_failure_rules_seen_bytes(rules));
    assert_non_null(seen);
    rp_failure_rules_scan(rules, line, strlen(line), seen, count_hit, &hits);
    for (size_t i = 0; i < rp_failure_rules_seen_bytes(rules); i++) {
        assert_int_equal(seen[i], 0); /* ready for the next line */
    }
    free(seen);
    return hits;
}

static void a_line_tells_each_of_its_patterns_once(void **state) {
    (void)state;
    struct rp_failure_rules *rules = rules_of(two_rules);
    struct hits hits = scan(rules, "HIP out of memory, HIP OUT OF MEMORY, no kernel for Relu");
    assert_int_equal(hits.count[0], 0);
    assert_int_equal(hits.count[1], 1);
    assert_int_equal(hits.count[2], 1);
    assert_int_equal(hits.count[3], 0);
    rp_failure_rules_destroy(rules);
}

static void a_pattern_of_short_words_is_found_too(void **state) {
    (void)state;
    struct rp_failure_rules *rules = rules_of("assert_or_numerical 5\n    is NaN\n");
    assert_int_equal(scan(rules, "the loss is nan").count[0], 1);
    assert_int_equal(scan(rules, "nan").count[0], 0);
    rp_failure_rules_destroy(rules);
}

static void take_match(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    char *said = user;
    size_t at = strlen(said);
    snprintf(said + at, 100 - at, "%u:%zu-%zu ", pattern, match->start, match->end);
}

static void a_match_begins_where_its_words_do(void **state) {
    (void)state;
    static const char text[] =
        "unknown 1\n    failed to {got} here\n    ^oops there\n    [wrong|bad] size\n"
        "    \\ at once\n    [unreachable|reach]\n    unreal\n";
    static const char *const lines[][2] = {
        {"unfailed to no, failed to do here", "0:16-33 "}, /* the first of its words is none    */
        {"  failed\tto  do here", "0:2-20 "},              /* blanks that the index leaves out  */
        {"bad wrong size", "2:4-14 "},                     /* of several, the first is not it   */
        {"oops there, oops there", "1:0-10 "},
        {"so oops there", ""},
        {"not at once", "3:3-11 "}, /* it begins with a blank */
        /* The choice inside the other is found first: "unreal" makes the other's beginning common.
         */
        {"unreachable", "4:0-11 "},
    };
    rp_error err = RP_ERROR_INIT;
    struct rp_failure_rules *rules = NULL;
    assert_ok(rp_failure_rules_create(text, strlen(text), "test", &rules, &err));
    unsigned char seen[8] = {0};
    assert_true(rp_failure_rules_seen_bytes(rules) <= sizeof seen);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char said[100] = "";
        rp_failure_rules_scan(rules, lines[i][0], strlen(lines[i][0]), seen, take_match, said);
        assert_string_equal(said, lines[i][1]);
    }
    rp_failure_rules_destroy(rules);
}

static void what_is_no_rule_is_refused_with_its_line(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"nonsense 3\n    a\n", "line 1: 'nonsense' is no category"},
        {"unknown x\n    a\n", "line 1: a strength from 0 to 9"},
        {"unknown\n    a\n", "line 1: a strength from 0 to 9"},
        {"unknown 12\n    a\n", "line 1: a strength from 0 to 9"},
        {"unknown 1 in cuda\n", "line 1: 'on KIND...'"},
        {"unknown 1 on moon\n", "line 1: 'moon' is no kind"},
        {"    a\n", "line 1: a category comes first"},
        {"unknown 1\nunknown 2\n    a\n", "line 2: the rule before has no pattern"},
        {"unknown 1\n", "the rule before has no pattern"},
        {"unknown 1\n    {x}\n", "line 2: pattern '{x}': 'x' is no fact"},
        {"unknown 1\n    a\n    = a\n    b\n", "line 4: examples come last"},
        {"unknown 1\n    a\n    with b\n    c\n", "line 4: 'with' comes behind"},
        {"unknown 1\n    a\n    without b\n    with c\n", "line 4: 'without' comes behind"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_failure_rules *rules = NULL;
        assert_status(rp_failure_rules_create(bad[i][0], strlen(bad[i][0]), "test", &rules, &err),
                      RP_ERR_DATA);
        assert_says(err.message, bad[i][1]);
    }
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_failure_rules *rules = NULL;
        rp_memory_fail_at(n);
        rp_status status =
            rp_failure_rules_create(two_rules, strlen(two_rules), "test", &rules, &err);
        bool is_done = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (status == RP_OK) {
            rp_failure_rules_destroy(rules);
        } else {
            assert_int_equal(status, RP_ERR_MEMORY);
        }
        assert_int_equal(rp_memory_live_count(), before);
        if (is_done) break;
    }
}

static void the_built_in_rules_are_rules(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const struct rp_failure_rules *rules = NULL;
    const struct rp_failure_rules *again = NULL;
    assert_ok(rp_failure_rules_of_process(&rules, &err));
    assert_ok(rp_failure_rules_of_process(&again, &err));
    assert_ptr_equal(rules, again);
    bool has[RP_CATEGORY_COUNT] = {false};
    for (size_t i = 0; i < rules->count; i++) {
        if (rules->rows[i].verdict == RP_VERDICT_CATEGORY) has[rules->rows[i].category] = true;
    }
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        if (!has[i]) fail_msg("no rule for '%s'", rp_category_name((rp_category)i));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_has_its_strength_devices_and_patterns),
        cmocka_unit_test(a_line_tells_each_of_its_patterns_once),
        cmocka_unit_test(a_pattern_of_short_words_is_found_too),
        cmocka_unit_test(a_match_begins_where_its_words_do),
        cmocka_unit_test(what_is_no_rule_is_refused_with_its_line),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(the_built_in_rules_are_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
