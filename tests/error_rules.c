/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with the rules of data/errors: error_rules [--overlaps] FILE...
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

enum { FILES_MAX = 64 };

/* Of the command line: what numbers of lines are told by. */
static char *const *file_paths;
static size_t file_count;
static uint32_t file_lines[FILES_MAX];

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
           : rule->name                         ? rule->name
                                                : "fallback";
}

/* "gpu.txt:12, out_of_memory_device 9" */
static void print_rule(const struct rp_failure_rule *rule) {
    uint32_t line = rule->line;
    size_t file = 0;
    while (file + 1 < file_count && line > file_lines[file]) {
        line -= file_lines[file++];
    }
    const char *slash = strrchr(file_paths[file], '/');
    printf("%s:%u, %s %d", slash ? slash + 1 : file_paths[file], line, verdict_of(rule),
           rule->strength);
}

static void complain(struct check *check, const struct rp_failure_rule *rule, const char *what,
                     const char *text) {
    print_rule(rule);
    printf(": %s\n    %.300s\n", what, text);
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
        print_rule(rule);
        printf(" overlaps ");
        print_rule(other);
        printf(":\n    %.300s\n", text);
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

/* All files one after another, and where each begins. */
static char *read_files(char *const *paths, size_t count, size_t *length) {
    enum { BYTES_MAX = 4 << 20 };
    char *text = calloc(1, BYTES_MAX);
    if (!text) abort();
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "re");
        if (!file) {
            perror(paths[i]);
            exit(1);
        }
        size_t begin = *length;
        *length += fread(text + begin, 1, BYTES_MAX - begin, file);
        fclose(file);
        uint32_t lines = 0;
        for (size_t at = begin; at < *length; at++) {
            lines += text[at] == '\n';
        }
        file_lines[i] = lines;
    }
    return text;
}

int main(int argc, char **argv) {
    rp_error err = RP_ERROR_INIT;
    struct check check = {0};
    bool overlaps = argc > 1 && strcmp(argv[1], "--overlaps") == 0;
    size_t length = 0;
    struct rp_failure_rules *rules = NULL;
    file_paths = argv + 1 + overlaps;
    file_count = (size_t)(argc - 1 - overlaps);
    if (file_count == 0 || file_count > FILES_MAX) {
        fprintf(stderr, "usage: error_rules [--overlaps] FILE...\n");
        return 2;
    }
    char *text = read_files(file_paths, file_count, &length);
    if (rp_failure_rules_create(text, length, "data/errors", &rules, &err) != RP_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    check.rules = rules;
    check.seen = calloc(1, rp_failure_rules_seen_bytes(rules));
    check.hit = calloc(1, rules->pattern_count + 1);
    check.alive = calloc(1, rules->pattern_count + 1);
    if (!check.seen || !check.hit || !check.alive) abort();
    for (size_t i = 0; i < rules->count; i++) {
        check_rule(&check, &rules->rows[i], overlaps);
    }
    if (!overlaps) {
        check_dead(&check);
        printf("%zu rules, %zu patterns, %zu examples: %u complaints\n", rules->count,
               rules->pattern_count, rules->example_count, check.bad);
    }
    free(check.seen);
    free(check.hit);
    free(check.alive);
    rp_failure_rules_destroy(rules);
    free(text);
    return check.bad > 0;
}
