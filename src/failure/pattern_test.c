/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/pattern.h"

#include "../../tests/test.h"
#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

static struct rp_pattern *pattern_of(const char *text) {
    rp_error err = RP_ERROR_INIT;
    struct rp_pattern *pattern = NULL;
    assert_ok(rp_pattern_create(text, strlen(text), &pattern, &err));
    return pattern;
}

static bool fits(const char *text, const char *line) {
    struct rp_pattern *pattern = pattern_of(text);
    struct rp_pattern_match match;
    bool found = rp_pattern_find(pattern, line, strlen(line), &match);
    rp_pattern_destroy(pattern);
    return found;
}

/* What the first hole of a pattern takes from a line; "" where nothing fits. Static storage. */
static const char *taken(const char *text, const char *line) {
    static char out[512];
    struct rp_pattern *pattern = pattern_of(text);
    struct rp_pattern_match match;
    out[0] = '\0';
    if (rp_pattern_find(pattern, line, strlen(line), &match) && match.hole_count > 0) {
        snprintf(out, sizeof out, "%.*s", (int)(match.holes[0].end - match.holes[0].start),
                 line + match.holes[0].start);
    }
    rp_pattern_destroy(pattern);
    return out;
}

static void letters_of_any_size_and_any_white_space_fit(void **state) {
    (void)state;
    assert_true(fits("CUDA out of memory", "RuntimeError: cuda OUT  of\tmemory."));
    assert_false(fits("CUDA out of memory", "CUDA outof memory"));
    assert_false(fits("CUDA out of memory", "CUDA out of memor"));
}

static void words_end_where_a_pattern_ends(void **state) {
    (void)state;
    assert_true(fits("Killed", "Killed"));
    assert_true(fits("Killed", "1.28it/s]Killed"));
    assert_false(fits("Killed", "SKilled"));
    assert_false(fits("Killed", "Killedby"));
    assert_false(fits("Killed", "was_Killed"));
    assert_true(fits("*Killed*", "SKilledModel"));
    assert_true(fits("(core dumped)", "x(core dumped)y"));
    assert_true(fits("Killed", "\xe8\xa2\xabKilled\xe4\xba\x86")); /* Chinese has no spaces */
}

static void the_ends_of_a_line_hold_a_pattern(void **state) {
    (void)state;
    assert_true(fits("^Killed$", "  Killed  "));
    assert_false(fits("^Killed", "it was Killed"));
    assert_false(fits("Killed$", "Killed it was"));
    assert_true(fits("costs 5$ here", "costs 5$ here"));
}

static void one_of_several_may_stand_and_an_empty_one_nothing(void **state) {
    (void)state;
    assert_true(fits("[CUDA|HIP] error", "HIP error"));
    assert_false(fits("[CUDA|HIP] error", "XPU error"));
    assert_true(fits("not [even |]there", "not there"));
    assert_true(fits("not [even |]there", "not even there"));
    assert_true(fits("on [the|] CPU", "on CPU"));
    assert_true(fits("on [the|] CPU", "on the CPU"));
    assert_false(fits("[CUDA|HIP] error", "CHIP error")); /* a word begins where a choice does */
}

static void a_star_is_anything_on_the_line(void **state) {
    (void)state;
    assert_true(fits("expected * got", "expected [1, 2] but got [3]"));
    assert_true(fits("lib*.so.{version_needed}: cannot", "libcudart.so.11.0: cannot open"));
    assert_false(fits("expected * got", "got what was expected"));
}

static void holes_take_what_their_facts_are(void **state) {
    (void)state;
    assert_string_equal(taken("opset {opset_found}", "found opset 17, sorry"), "17");
    assert_string_equal(taken("operator '{operator}'", "the operator 'aten::x.y' is"), "aten::x.y");
    assert_string_equal(taken("node {operator}(", "for the node Relu(1)"), "Relu");
    assert_string_equal(taken("module named {package}", "No module named flash_attn."),
                        "flash_attn");
    assert_string_equal(taken("module named {package}", "no module named 'x y'"), "");
    assert_string_equal(taken("file '{file}'", "no file 'my model/a b.bin' here"),
                        "my model/a b.bin");
    assert_string_equal(taken("file {file} is", "the file my model is"), ""); /* no quotes */
    assert_string_equal(taken("got {got}$", "expected 3, got torch.Size([2, 3])"),
                        "torch.Size([2, 3])");
    assert_string_equal(taken("HRESULT {windows_error}", "HRESULT 887A0007"), "");
    assert_string_equal(taken("between {got} and", "between [1, 2] and [3]"), "[1, 2]");
}

static void words_of_a_hole_are_the_fact(void **state) {
    (void)state;
    assert_string_equal(taken("{library=NCCL} version", "error, nccl version 2.18"), "nccl");
    assert_string_equal(taken("{library=NCCL} version", "error, RCCL version 2.18"), "");
    assert_string_equal(
        taken("all of {package=PyTorch Lightning} is", "all of PyTorch Lightning is"),
        "PyTorch Lightning");
}

static void a_path_goes_on_over_a_space_to_its_next_slash(void **state) {
    (void)state;
    static const char pattern[] = "load {file}";
    assert_string_equal(taken(pattern, "load C:\\Program Files\\AMD\\a.dll now"),
                        "C:\\Program Files\\AMD\\a.dll");
    assert_string_equal(taken(pattern, "load /Users/o/Application Support/x/a.bin\"}}"),
                        "/Users/o/Application Support/x/a.bin");
    assert_string_equal(taken(pattern, "load /dev/kfd read-write: Permission denied"), "/dev/kfd");
    assert_string_equal(taken(pattern, "load /opt/a.bin and/or b"), "/opt/a.bin");
    assert_string_equal(taken("load {file}: no", "load /a/My Models/b.bin: no"),
                        "/a/My Models/b.bin");
    assert_string_equal(taken("load {file}: no", "load /a/b yes or: no"), "");
}

static void a_hole_that_does_not_fit_is_tried_further_on(void **state) {
    (void)state;
    assert_string_equal(taken("device {device_index}", "no device at all: device 3"), "3");
    assert_string_equal(taken("'{operator}' is", "'a' and 'b' is"), "b");
}

static void a_backslash_takes_the_next_as_it_is(void **state) {
    (void)state;
    assert_true(fits("\\[ONNXRuntimeError\\] : 2", "[ONNXRuntimeError] : 2"));
    assert_true(fits("a \\* b \\{ c", "a * b { c"));
}

static void what_is_no_pattern_is_refused_with_the_reason(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "no word of its own"},
        {"*", "no word of its own"},
        {"{got}", "no word of its own"},
        {"a {nothing} b", "'nothing' is no fact"},
        {"a {got", "is not closed"},
        {"a {got=}", "has no words"},
        {"a {nothing=b}", "'nothing' is no fact"},
        {"a {bytes_asked=5}", "has no words"},
        {"a [b", "is not closed"},
        {"a \\", "ends with a backslash"},
        {"a [b{got}]", "only words stand between"},
        {"{got} a {got} b {got} c {got} d {got} e {got} f {got} g {got} h {got} i", "more than 8"},
        {"a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*q*r*s*t*u*v*w*x*y*z*", "more than 32 parts"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_pattern *pattern = NULL;
        assert_status(rp_pattern_create(bad[i][0], strlen(bad[i][0]), &pattern, &err), RP_ERR_DATA);
        assert_says(err.message, bad[i][1]);
    }
}

/* Stars and holes that can be filled in as many ways as there are letters. */
static void no_line_takes_longer_than_its_length_allows(void **state) {
    (void)state;
    static char line[8192];
    memset(line, 'a', sizeof line);
    struct rp_pattern *pattern = pattern_of("a*a*a*a*a*{got}a{got}a{got}b");
    struct rp_pattern_match match;
    int64_t begin_ns = rp_clock_ns();
    for (int i = 0; i < 10; i++) {
        assert_false(rp_pattern_find(pattern, line, sizeof line, &match));
    }
    /* Without a bound this takes longer than the universe has been there. */
    assert_true(rp_elapsed_ms(begin_ns, rp_clock_ns()) < 30e3);
    rp_pattern_destroy(pattern);
}

struct runs {
    char text[200];
};

static void take_run(const char *run, size_t length, unsigned part, void *user) {
    struct runs *runs = user;
    size_t at = strlen(runs->text);
    snprintf(runs->text + at, sizeof runs->text - at, "%u:%.*s ", part, (int)length, run);
}

static void its_runs_are_words_that_every_match_has(void **state) {
    (void)state;
    struct rp_pattern *pattern = pattern_of("Failed  to {got} load * [x y|zz] Model [no|] [a|b]");
    struct runs runs = {""};
    rp_pattern_runs(pattern, take_run, &runs);
    assert_string_equal(runs.text, "0:failed to 2:load 5:x y 5:zz 6:model 9:a 9:b ");
    rp_pattern_destroy(pattern);
}

static void without_memory_there_is_none(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_pattern *pattern = NULL;
    rp_memory_fail_at(1);
    assert_status(rp_pattern_create("abc", 3, &pattern, &err), RP_ERR_MEMORY);
    rp_memory_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_any_size_and_any_white_space_fit),
        cmocka_unit_test(words_end_where_a_pattern_ends),
        cmocka_unit_test(the_ends_of_a_line_hold_a_pattern),
        cmocka_unit_test(one_of_several_may_stand_and_an_empty_one_nothing),
        cmocka_unit_test(a_star_is_anything_on_the_line),
        cmocka_unit_test(holes_take_what_their_facts_are),
        cmocka_unit_test(words_of_a_hole_are_the_fact),
        cmocka_unit_test(a_path_goes_on_over_a_space_to_its_next_slash),
        cmocka_unit_test(a_hole_that_does_not_fit_is_tried_further_on),
        cmocka_unit_test(a_backslash_takes_the_next_as_it_is),
        cmocka_unit_test(what_is_no_pattern_is_refused_with_the_reason),
        cmocka_unit_test(no_line_takes_longer_than_its_length_allows),
        cmocka_unit_test(its_runs_are_words_that_every_match_has),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
