/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with the rules of data/errors: error_rules [--overlaps].
 *
 * A rule must hold in each of its own examples, and its category must win there; each of its
 * patterns must be hit by some example, else it is dead. With --overlaps, examples are listed in
 * which a rule of another category, as strong or stronger, holds too: one of the two is too wide,
 * or both mean it.
 */
#include "failure/diagnosis.h"
#include "failure/rules.h"

#include <resourcepool/failure.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
    const struct rp_failure_rules *rules;
    unsigned char *seen;
    unsigned char *hit; /* of each pattern: in the example that is looked at */
    unsigned char *alive;
    unsigned bad;
};

static void take(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    struct check *check = user;
    (void)match;
    check->hit[pattern] = 1;
    check->alive[pattern] = 1;
}

/* The example with its line breaks; freed by the caller. */
static char *text_of(const struct rp_failure_example *example) {
    char *text = calloc(1, example->length + 1);
    if (!text) abort();
    char *out = text;
    for (size_t i = 0; i < example->length; i++) {
        bool is_break = example->text[i] == '\\' && i + 1 < example->length &&
                        (example->text[i + 1] == 'n' || example->text[i + 1] == 't');
        *out++ = !is_break ? example->text[i] : example->text[++i] == 'n' ? '\n' : '\t';
    }
    return text;
}

static bool holds(const struct check *check, const struct rp_failure_rule *rule) {
    const uint32_t *used = check->rules->used + rule->first;
    bool any = false;
    for (size_t i = 0; i < rule->any_count; i++) {
        any = any || check->hit[used[i]];
    }
    used += rule->any_count;
    for (size_t i = 0; i < rule->with_count; i++) {
        any = any && check->hit[used[i]];
    }
    used += rule->with_count;
    for (size_t i = 0; i < rule->without_count; i++) {
        any = any && !check->hit[used[i]];
    }
    return any;
}

static void scan_lines(struct check *check, const char *text) {
    memset(check->hit, 0, check->rules->pattern_count);
    while (*text) {
        size_t length = strcspn(text, "\n");
        rp_failure_rules_scan(check->rules, text, length, check->seen, take, check);
        text += length + (text[length] == '\n');
    }
}

static const char *verdict_of(const struct rp_failure_rule *rule) {
    return rule->verdict == RP_VERDICT_CATEGORY ? rp_category_name(rule->category)
           : rule->verdict == RP_VERDICT_DEVICE ? rp_device_kind_name(rule->kind)
           : rule->verdict == RP_VERDICT_FACT   ? "fact"
                                                : "fallback";
}

static void complain(struct check *check, const struct rp_failure_rule *rule, const char *what,
                     const char *text) {
    printf("line %u, %s %d: %s\n    %.300s\n", rule->line, verdict_of(rule), rule->strength, what,
           text);
    check->bad++;
}

static void check_winner(struct check *check, const struct rp_failure_rule *rule,
                         const char *text) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    char what[200];
    question.error = text;
    question.error_bytes = strlen(text);
    for (int kind = 0; kind < 32 && !question.hardware; kind++) {
        if (rule->kinds >> kind & 1) question.hardware = rp_device_kind_name((rp_device_kind)kind);
    }
    if (rp_diagnose(&question, &diagnosis, &err) != RP_OK) {
        complain(check, rule, err.message, text);
        return;
    }
    if (rule->verdict == RP_VERDICT_CATEGORY && rule->strength >= 4 &&
        diagnosis->category != rule->category) {
        snprintf(what, sizeof what, "%s wins in its example",
                 rp_category_name(diagnosis->category));
        complain(check, rule, what, text);
    }
    if (rule->verdict == RP_VERDICT_FACT && diagnosis->facts.count == 0) {
        complain(check, rule, "no fact comes of its example", text);
    }
    rp_diagnosis_destroy(diagnosis);
}

static void list_overlaps(const struct check *check, const struct rp_failure_rule *rule,
                          const char *text) {
    for (size_t i = 0; i < check->rules->count; i++) {
        const struct rp_failure_rule *other = &check->rules->rows[i];
        if (other->verdict != RP_VERDICT_CATEGORY || other->category == rule->category ||
            other->strength < rule->strength || !holds(check, other)) {
            continue;
        }
        printf("line %u, %s %d overlaps line %u, %s %d:\n    %.300s\n", rule->line,
               verdict_of(rule), rule->strength, other->line, verdict_of(other), other->strength,
               text);
    }
}

static void check_rule(struct check *check, const struct rp_failure_rule *rule, bool overlaps) {
    if (rule->example_count == 0) complain(check, rule, "it has no example", "");
    for (size_t i = 0; i < rule->example_count; i++) {
        char *text = text_of(&check->rules->examples[rule->first_example + i]);
        scan_lines(check, text);
        if (overlaps) {
            if (rule->verdict == RP_VERDICT_CATEGORY) list_overlaps(check, rule, text);
        } else if (!holds(check, rule)) {
            complain(check, rule, "it does not hold in its own example", text);
        } else {
            check_winner(check, rule, text);
        }
        free(text);
    }
}

static void check_dead(struct check *check) {
    for (size_t i = 0; i < check->rules->count; i++) {
        const struct rp_failure_rule *rule = &check->rules->rows[i];
        for (size_t j = 0; j < rule->any_count; j++) {
            if (check->alive[check->rules->used[rule->first + j]]) continue;
            char what[100];
            snprintf(what, sizeof what, "its pattern number %zu is in no example", j + 1);
            complain(check, rule, what, "");
        }
    }
}

static char *read_all(const char *path, size_t *length) {
    FILE *file = fopen(path, "re");
    char *text = calloc(1, 1 << 22);
    if (!file || !text) abort();
    *length = fread(text, 1, (1 << 22) - 1, file);
    fclose(file);
    return text;
}

/* Without a file: the built-in rules. A file's rules are checked among the built-in ones. */
int main(int argc, char **argv) {
    rp_error err = RP_ERROR_INIT;
    struct check check = {0};
    bool overlaps = argc > 1 && strcmp(argv[1], "--overlaps") == 0;
    const char *path = argc > 1 + overlaps ? argv[1 + overlaps] : NULL;
    struct rp_failure_rules *own = NULL;
    char *text = NULL;
    size_t length = 0;
    rp_status status = RP_OK;
    if (path) {
        text = read_all(path, &length);
        status = rp_failure_rules_create(text, length, path, &own, &err);
        check.rules = own;
    } else {
        status = rp_failure_rules_of_process(&check.rules, &err);
    }
    if (status != RP_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    check.seen = calloc(1, rp_failure_rules_seen_bytes(check.rules));
    check.hit = calloc(1, check.rules->pattern_count + 1);
    check.alive = calloc(1, check.rules->pattern_count + 1);
    if (!check.seen || !check.hit || !check.alive) abort();
    for (size_t i = 0; i < check.rules->count; i++) {
        check_rule(&check, &check.rules->rows[i], overlaps);
    }
    if (!overlaps) check_dead(&check);
    if (!overlaps) {
        printf("%zu rules, %zu patterns, %zu examples: %u complaints\n", check.rules->count,
               check.rules->pattern_count, check.rules->example_count, check.bad);
    }
    free(check.seen);
    free(check.hit);
    free(check.alive);
    rp_failure_rules_destroy(own);
    free(text);
    return check.bad > 0;
}
