/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/rules.h"

#include "../../tests/test.h"
#include "base/limits.h"
#include "base/memory.h"
#include "placement/built_in_rules.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rp_rules *rules_of(const char *text) {
    rp_error err = RP_ERROR_INIT;
    struct rp_rules *rules = rp_rules_create();
    assert_non_null(rules);
    assert_ok(rp_rules_add(rules, text, strlen(text), "test", &err));
    return rules;
}

static void add(struct rp_rules *rules, const char *text) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_rules_add(rules, text, strlen(text), "user", &err));
}

/* A card to look problems up for, and a model. */
struct asked {
    rp_accelerator told;
    rp_device device;
    rp_model_facts facts;
    struct rp_rule_subject subject;
};

static struct rp_rule_subject *ask(struct asked *asked) {
    *asked = (struct asked){
        .told = {.size = sizeof asked->told,
                 .type = "gpu",
                 .vendor = "nvidia",
                 .driver_version = "525.105.17",
                 .runtime_version = "12.0",
                 .compute_capability = "8.6"},
        .device = {.size = sizeof asked->device, .id = "cuda:0", .kind = RP_DEVICE_CUDA},
        .subject = {.name = "org/Some-Whisper-large",
                    .family = RP_FAMILY_AUDIO,
                    .subfamily = RP_SUBFAMILY_SPEECH_RECOGNITION,
                    .precision = "fp16"},
    };
    rp_model_facts_of_name("", NULL, &asked->facts);
    asked->facts.parameter_count = 1500000000;
    asked->device.accelerator = &asked->told;
    asked->subject.device = &asked->device;
    asked->subject.facts = &asked->facts;
    return &asked->subject;
}

/* The reason of the problem that decides; "" without one. */
static const char *found(const char *text, const struct rp_rule_subject *subject) {
    static char reason[64];
    struct rp_rules *rules = rules_of(text);
    const struct rp_problem *problem = rp_rules_find_problem(rules, subject);
    snprintf(reason, sizeof reason, "%s", problem ? problem->reason : "");
    rp_rules_destroy(rules);
    return reason;
}

static void levels_are_those_that_were_said_last(void **state) {
    (void)state;
    const char *note = "untouched";
    struct rp_rules *rules = rules_of("# a comment\n"
                                      "level vision cuda high \"the best\"  # and another\r\n"
                                      "\n"
                                      "\tlevel  vision mps   none");
    assert_int_equal(rp_rules_level(rules, RP_FAMILY_VISION, RP_DEVICE_CUDA, &note), RP_LEVEL_HIGH);
    assert_string_equal(note, "the best");
    assert_int_equal(rp_rules_level(rules, RP_FAMILY_VISION, RP_DEVICE_MPS, &note), RP_LEVEL_NONE);
    assert_null(note);
    /* What no row tells of. */
    assert_int_equal(rp_rules_level(rules, RP_FAMILY_AUDIO, RP_DEVICE_CPU, &note), RP_LEVEL_MEDIUM);
    assert_null(note);
    add(rules, "level vision cuda low \"not mine\"");
    assert_int_equal(rp_rules_level(rules, RP_FAMILY_VISION, RP_DEVICE_CUDA, &note), RP_LEVEL_LOW);
    assert_string_equal(note, "not mine");
    rp_rules_destroy(rules);
    static const char *const names[] = {"none", "low", "medium", "high"};
    for (int level = 0; level < RP_LEVEL_COUNT; level++) {
        assert_string_equal(rp_level_name((enum rp_level)level), names[level]);
    }
}

static void each_wrong_line_is_named(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *says;
    } wrong[] = {
        {"levels vision cuda high", "'levels' is neither 'level' nor 'problem'"},
        {"level vision cuda", "a level is"},
        {"level vision cuda high note", "a level is"},
        {"level vision cuda high \"a\" \"b\"", "a level is"},
        {"level seeing cuda high", "'seeing' is no family"},
        {"level vision gpu high", "'gpu' is no kind of device"},
        {"level vision cuda best", "'best' is no level"},
        {"level vision cuda high \"a", "a '\"' is not closed"},
        {"problem cuda refuse", "a problem is"},
        {"problem gpu refuse \"a\" \"b\"", "'gpu' is no kind of device"},
        {"problem cuda colour=red refuse \"a\"", "'colour' is nothing that a condition knows"},
        {"problem cuda type refuse \"a\"", "'type' is no condition"},
        {"problem cuda =gpu refuse \"a\"", "'=gpu' is no condition"},
        {"problem cuda type= refuse \"a\"", "'type=' is no condition"},
        {"problem cuda driver>5 refuse \"a\"", "'driver>5' is no condition"},
        {"problem cuda driver>= refuse \"a\"", "'driver>=' is no condition"},
        {"problem cuda type<gpu refuse \"a\"", "'type' has no order"},
        {"problem cuda model>=a refuse \"a\"", "'model' has no order"},
        {"problem cuda parameters=7b refuse \"a\"", "parameters are compared"},
        {"problem cuda parameters<many refuse \"a\"", "parameters are compared"},
        {"problem cuda parameters<7bb refuse \"a\"", "parameters are compared"},
        {"problem cuda parameters<inf refuse \"a\"", "parameters are compared"},
        {"problem cuda type=gpu \"a\" \"b\"", "no effect"},
        {"problem cuda type=gpu type=gpu", "no effect"},
        {"problem cuda refuse why not", "after 'refuse' come a reason"},
        {"problem cuda type=gpu refuse", "after 'refuse' come a reason"},
        {"problem cuda lower \"a\" b", "after 'lower' come a reason"},
        {"problem cuda accept \"a\" \"b\" \"c\"", "after 'accept' come a reason"},
        {"problem cuda type=a type=b type=c type=d type=e type=f type=g refuse \"a\"",
         "more than 6 conditions"},
        {"problem a b c d e f g h i j k l m n", "more than 11 words"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        const char *note;
        char text[256];
        struct asked asked;
        struct rp_rules *rules = rules_of("level vision cuda low \"before\"\n"
                                          "problem cuda refuse \"before\"");
        int length = snprintf(text, sizeof text,
                              "level vision cuda high\n"
                              "problem cuda accept \"after\"\n%s\n"
                              "level vision cuda high\n",
                              wrong[i].line);
        assert_status(rp_rules_add(rules, text, (size_t)length, "my rules", &err), RP_ERR_DATA);
        assert_says(err.message, "'my rules', line 3: ");
        assert_says(err.message, wrong[i].says);
        /* Nothing of that text counts, what was there before does. */
        assert_int_equal(rp_rules_level(rules, RP_FAMILY_VISION, RP_DEVICE_CUDA, &note),
                         RP_LEVEL_LOW);
        assert_string_equal(note, "before");
        assert_string_equal(rp_rules_find_problem(rules, ask(&asked))->reason, "before");
        rp_rules_destroy(rules);
    }
}

static void what_is_no_text_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_rules *rules = rp_rules_create();
    assert_status(rp_rules_add(rules, "# \xff", 3, "test", &err), RP_ERR_DATA);
    assert_says(err.message, "byte 2");
    assert_status(rp_rules_add(rules, "# \0", 3, "test", &err), RP_ERR_DATA);
    assert_says(err.message, "byte 2");
    char *large = malloc(RP_LIMIT_RULES_BYTES + 1);
    assert_non_null(large);
    memset(large, '\n', RP_LIMIT_RULES_BYTES + 1);
    assert_ok(rp_rules_add(rules, large, RP_LIMIT_RULES_BYTES, "test", &err));
    assert_status(rp_rules_add(rules, large, RP_LIMIT_RULES_BYTES + 1, "test", &err), RP_ERR_LIMIT);
    free(large);
    rp_rules_destroy(rules);
    rp_rules_destroy(NULL);
}

static void each_condition_is_met_or_not(void **state) {
    (void)state;
    static const struct {
        const char *condition;
        bool is_met;
    } conditions[] = {
        {"", true},
        {"type=gpu", true},
        {"type=npu", false},
        {"type=*", true},
        {"vendor=NVIDIA", true}, /* small and capital letters are the same */
        {"vendor=amd", false},
        {"driver<525.60.13", false}, /* 105 is more than 60 */
        {"driver<525.105.18", true},
        {"driver>=525.105.17", true},
        {"driver>=525.105.18", false},
        {"driver=525.*", true},
        {"runtime>=12", true},
        {"runtime<12", false},
        {"compute<8.6", false},
        {"compute>=8.6", true},
        {"compute<10.0", true}, /* not letter by letter */
        {"gfx=*", false},       /* what is not known meets no condition */
        {"family=audio", true},
        {"family=vision", false},
        {"subfamily=speech_*", true},
        {"model=*whisper*", true},
        {"model=*whisper", false},
        {"model=org/*large", true},
        {"model=*o*e*p*e*", true},
        {"precision=fp16", true},
        {"precision=int8", false},
        {"parameters>=1b", true},
        {"parameters>=1500m", true},
        {"parameters<1.5b", false},
        {"parameters<1.6e9", true},
        {"parameters>=2b", false},
        {"type=gpu family=audio precision=fp16", true},
        {"type=gpu family=vision precision=fp16", false},
    };
    struct asked asked;
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "problem cuda %s refuse \"met\"", conditions[i].condition);
        const char *reason = found(text, ask(&asked));
        if ((reason[0] != '\0') != conditions[i].is_met) fail_msg("%s: '%s'", text, reason);
    }
    /* Of another kind, without anything told, of unknown size. */
    assert_string_equal(found("problem rocm refuse \"met\"", ask(&asked)), "");
    struct rp_rule_subject *subject = ask(&asked);
    asked.device.accelerator = NULL;
    assert_string_equal(found("problem cuda type=* refuse \"met\"", subject), "");
    assert_string_equal(found("problem cuda refuse \"met\"", subject), "met");
    asked.facts.parameter_count = RP_UNKNOWN_U64;
    assert_string_equal(found("problem cuda parameters>=1m refuse \"met\"", subject), "");
    assert_string_equal(found("problem cuda parameters<1m refuse \"met\"", subject), "");
    subject->name = NULL;
    assert_string_equal(found("problem cuda model=*whisper* refuse \"met\"", subject), "");
    snprintf(asked.facts.model_type, sizeof asked.facts.model_type, "whisper");
    assert_string_equal(found("problem cuda model=whisper refuse \"met\"", subject), "met");
}

static void the_latest_decides_and_a_refusal_more_than_a_lowering(void **state) {
    (void)state;
    struct asked asked;
    const struct rp_rule_subject *subject = ask(&asked);
    assert_string_equal(found("problem cuda lower \"one\"\nproblem cuda lower \"two\"", subject),
                        "two");
    assert_string_equal(found("problem cuda refuse \"one\"\nproblem cuda refuse \"two\"", subject),
                        "two");
    assert_string_equal(found("problem cuda refuse \"one\"\nproblem cuda lower \"two\"", subject),
                        "one");
    /* Rows before one that accepts do not count; later ones do. */
    assert_string_equal(found("problem cuda refuse \"one\"\nproblem cuda accept \"two\"", subject),
                        "");
    assert_string_equal(found("problem cuda refuse \"one\"\nproblem cuda accept \"two\"\n"
                              "problem cuda lower \"three\"",
                              subject),
                        "three");
    assert_string_equal(
        found("problem cuda refuse \"one\"\nproblem cuda type=npu accept \"two\"", subject), "one");
}

static void a_problem_has_its_way_out(void **state) {
    (void)state;
    struct asked asked;
    struct rp_rules *rules = rules_of("problem cuda lower \"why\" \"what to do\"\n");
    const struct rp_problem *problem = rp_rules_find_problem(rules, ask(&asked));
    assert_int_equal(problem->effect, RP_EFFECT_LOWER);
    assert_string_equal(problem->reason, "why");
    assert_string_equal(problem->way_out, "what to do");
    assert_true(rp_rules_has_problems(rules, RP_DEVICE_CUDA));
    assert_false(rp_rules_has_problems(rules, RP_DEVICE_CPU));
    rp_rules_destroy(rules);
}

/* What a user writes comes after ours. */
static void a_users_rows_win_over_the_built_in_ones(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const char *note;
    struct asked asked;
    struct rp_rule_subject *subject = ask(&asked);
    asked.told.compute_capability = "3.5";
    struct rp_rules *rules = rp_rules_create();
    assert_ok(rp_rules_add(rules, rp_built_in_rules, rp_built_in_rules_bytes, "built in", &err));
    assert_int_equal(rp_rules_find_problem(rules, subject)->effect, RP_EFFECT_REFUSE);
    add(rules, "problem cuda compute>=3.5 accept \"built from source for it\"\n"
               "level audio cuda none \"not here\"");
    assert_null(rp_rules_find_problem(rules, subject));
    assert_int_equal(rp_rules_level(rules, RP_FAMILY_AUDIO, RP_DEVICE_CUDA, &note), RP_LEVEL_NONE);
    asked.told.compute_capability = "3.0";
    assert_int_equal(rp_rules_find_problem(rules, subject)->effect, RP_EFFECT_REFUSE);
    rp_rules_destroy(rules);
}

/* Each family of which the table of kinds knows has a row for each kind. */
static void the_built_in_rows_are_complete(void **state) {
    (void)state;
    for (int family = 0; rp_family_name((rp_family)family); family++) {
        if (family == RP_FAMILY_UNKNOWN) continue;
        for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
            bool is_there = false;
            for (const char *at = rp_built_in_rules; at && !is_there; at = strchr(at + 1, '\n')) {
                char family_word[32];
                char kind_word[32];
                if (sscanf(at, " level %31s %31s", family_word, kind_word) != 2) continue;
                is_there = strcmp(family_word, rp_family_name((rp_family)family)) == 0 &&
                           strcmp(kind_word, rp_device_kind_name((rp_device_kind)kind)) == 0;
            }
            if (!is_there) {
                fail_msg("no level of %s on %s", rp_family_name((rp_family)family),
                         rp_device_kind_name((rp_device_kind)kind));
            }
        }
    }
}

static void versions_are_compared_as_numbers(void **state) {
    (void)state;
    assert_int_equal(rp_version_compare("525.60.13", "525.60.13"), 0);
    assert_true(rp_version_compare("525.105", "525.60.13") > 0);
    assert_true(rp_version_compare("470.82.01", "525.60.13") < 0);
    assert_true(rp_version_compare("9.0", "10") < 0);
    assert_int_equal(rp_version_compare("12", "12.0"), 0);
    assert_true(rp_version_compare("12", "12.0.1") < 0);
    assert_true(rp_version_compare("12.0.1", "12") > 0);
    assert_int_equal(rp_version_compare("6.10.5-beta", "6.10.5"), 0);
    assert_int_equal(rp_version_compare("", ""), 0);
    assert_true(rp_version_compare("", "1") < 0);
}

static void want_of_memory_leaves_the_rules_as_they_were(void **state) {
    (void)state;
    static const char text[] = "level vision cuda high\n"
                               "problem cuda refuse \"one\"\nproblem cuda refuse \"two\"\n";
    struct asked asked;
    int64_t before = rp_memory_live_count();
    bool is_failing = true;
    for (uint64_t n = 1; is_failing; n++) {
        rp_error err = RP_ERROR_INIT;
        const char *note;
        rp_memory_fail_at(n);
        struct rp_rules *rules = rp_rules_create();
        rp_status status =
            rules ? rp_rules_add(rules, text, sizeof text - 1, "test", &err) : RP_ERR_MEMORY;
        is_failing = !rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, is_failing ? RP_ERR_MEMORY : RP_OK);
        if (rules && is_failing) {
            assert_null(rp_rules_find_problem(rules, ask(&asked)));
            assert_int_equal(rp_rules_level(rules, RP_FAMILY_VISION, RP_DEVICE_CUDA, &note),
                             RP_LEVEL_MEDIUM);
        }
        rp_rules_destroy(rules);
        assert_int_equal(rp_memory_live_count(), before);
    }
}

static void conditions_on_a_failure_are_met_by_nothing_before_it(void **state) {
    (void)state;
    static const char text[] = "problem cuda operator=*conv* lower \"no such kernel\"\n"
                               "problem cuda category=device_lost lower \"it hangs\"\n"
                               "problem cuda engine=onnxruntime engine_version<1.19 lower \"old\"";
    struct asked asked;
    struct rp_rule_subject *subject = ask(&asked);
    assert_string_equal(found(text, subject), "");
    subject->engine = "onnxruntime";
    assert_string_equal(found(text, subject), "");
    subject->engine_version = "1.20.1";
    assert_string_equal(found(text, subject), "");
    subject->engine_version = "1.9.0";
    assert_string_equal(found(text, subject), "old");
}

static void after_a_failure_the_nearest_problem_that_speaks_of_it_is_found(void **state) {
    (void)state;
    static const char text[] = "problem cuda driver<600 lower \"old driver\"\n"
                               "problem cuda operator=*conv* lower \"no convolution\"\n"
                               "problem cuda operator=*conv* compute<9.0 lower \"not before 9.0\"\n"
                               "problem cuda operator=relu refuse \"no relu\"\n"
                               "problem rocm operator=conv refuse \"another kind\"";
    const uint32_t operators = UINT32_C(1) << RP_RULE_OPERATOR;
    struct asked asked;
    struct rp_rule_subject *subject = ask(&asked);
    struct rp_rules *rules = rules_of(text);
    assert_null(rp_rules_find_failure(rules, subject, operators));
    assert_string_equal(
        rp_rules_find_failure(rules, subject, UINT32_C(1) << RP_RULE_DRIVER)->reason, "old driver");
    subject->operation = "aten::conv2d";
    assert_string_equal(rp_rules_find_failure(rules, subject, operators)->reason, "not before 9.0");
    asked.told.compute_capability = "9.0";
    assert_string_equal(rp_rules_find_failure(rules, subject, operators)->reason, "no convolution");
    subject->operation = "relu";
    assert_string_equal(rp_rules_find_failure(rules, subject, operators)->reason, "no relu");
    /* What a user accepts does not count. */
    add(rules, "problem cuda operator=relu accept \"it works for me\"");
    assert_null(rp_rules_find_failure(rules, subject, operators));
    rp_rules_destroy(rules);
}

/* The thread sanitizer does not follow a fork of several threads. */
#ifndef RP_THREAD_SANITIZER
static void *ask_for_rules(void *user) {
    (void)user;
    const struct rp_rules *rules = NULL;
    return rp_rules_of_process(&rules, NULL) == RP_OK ? (void *)(uintptr_t)rules : NULL;
}

/* The user's file is a pipe: who reads it is in the midst of making the rules until it is closed.
 */
static void a_child_of_fork_has_rules_while_its_parent_makes_them(void **state) {
    (void)state;
    char path[64];
    pthread_t maker;
    void *made = NULL;
    const struct rp_rules *rules = NULL;
    int status = -1;
    snprintf(path, sizeof path, "rules_test.%d", (int)getpid());
    assert_int_equal(mkfifo(path, 0600), 0);
    setenv("RESOURCE_POOL_COMPATIBILITY", path, 1);
    assert_int_equal(pthread_create(&maker, NULL, ask_for_rules, NULL), 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC); /* returns once the other end was opened */
    assert_true(fd >= 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a hang ends the child with a signal */
        unsetenv("RESOURCE_POOL_COMPATIBILITY");
        _exit(rp_rules_of_process(&rules, NULL) == RP_OK && rules ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fd);
    pthread_join(maker, &made);
    unlink(path);
    unsetenv("RESOURCE_POOL_COMPATIBILITY");
    assert_non_null(made);
    assert_int_equal(rp_rules_of_process(&rules, NULL), RP_OK);
    assert_ptr_equal(rules, made);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_those_that_were_said_last),
        cmocka_unit_test(each_wrong_line_is_named),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(each_condition_is_met_or_not),
        cmocka_unit_test(the_latest_decides_and_a_refusal_more_than_a_lowering),
        cmocka_unit_test(a_problem_has_its_way_out),
        cmocka_unit_test(a_users_rows_win_over_the_built_in_ones),
        cmocka_unit_test(the_built_in_rows_are_complete),
        cmocka_unit_test(versions_are_compared_as_numbers),
        cmocka_unit_test(want_of_memory_leaves_the_rules_as_they_were),
        cmocka_unit_test(conditions_on_a_failure_are_met_by_nothing_before_it),
        cmocka_unit_test(after_a_failure_the_nearest_problem_that_speaks_of_it_is_found),
#ifndef RP_THREAD_SANITIZER
        cmocka_unit_test(a_child_of_fork_has_rules_while_its_parent_makes_them),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
