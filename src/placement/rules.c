/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rule text is cut into words in place, in a copy that the rules keep: every row points into it.
 * One parser serves the built-in rows and the user's.
 */
#include "placement/rules.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "placement/built_in_rules.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
#define RP_FAMILY_ONE(constant, number, name) +1
    FAMILY_COUNT = 0 RP_FAMILY_MAP(RP_FAMILY_ONE),
#undef RP_FAMILY_ONE
#define RP_DEVICE_KIND_ONE(constant, number, name) +1
    KIND_COUNT = 0 RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE),
#undef RP_DEVICE_KIND_ONE
    WORDS_MAX = 4 + RP_CONDITIONS_MAX + 1,
};

static const char *const level_names[] = {"none", "low", "medium", "high"};
static const char *const effect_names[] = {"refuse", "lower", "accept"};
static const char *const key_names[] = {"type",           "vendor",    "driver",     "runtime",
                                        "compute",        "gfx",       "family",     "subfamily",
                                        "model",          "precision", "parameters", "engine",
                                        "engine_version", "operator",  "category"};
_Static_assert(sizeof key_names / sizeof key_names[0] == RP_RULE_KEY_COUNT, "each key has a name");

struct level {
    enum rp_level level;
    const char *note;
};

/* One text that was added, cut into words. */
struct text {
    struct text *next;
    char bytes[];
};

struct rp_rules {
    struct level levels[FAMILY_COUNT][KIND_COUNT];
    struct rp_problem *problems;
    size_t problem_count;
    struct text *texts;
};

struct rp_rules *rp_rules_create(void) {
    struct rp_rules *rules = rp_alloc(sizeof *rules);
    if (!rules) return NULL;
    for (size_t family = 0; family < FAMILY_COUNT; family++) {
        for (size_t kind = 0; kind < KIND_COUNT; kind++) {
            rules->levels[family][kind].level = RP_LEVEL_MEDIUM;
        }
    }
    return rules;
}

void rp_rules_destroy(struct rp_rules *rules) {
    if (!rules) return;
    while (rules->texts) {
        struct text *next = rules->texts->next;
        rp_free(rules->texts);
        rules->texts = next;
    }
    rp_free(rules->problems);
    rp_free(rules);
}

/* --- reading a text ------------------------------------------------------------------------ */

struct line {
    const char *source;
    size_t number;
    char *words[WORDS_MAX];
    bool is_quoted[WORDS_MAX];
    size_t count;
    rp_error *err;
};

RP_PRINTF(2, 3)
static rp_status refuse(const struct line *line, const char *format, ...) {
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rp_fail(line->err, RP_ERR_DATA, "'%s', line %zu: %s", line->source, line->number, what);
}

/* Cut a line into words; "..." is one word. A '#' begins a comment. */
static rp_status cut_line(struct line *line, char *at) {
    line->count = 0;
    for (;;) {
        at += strspn(at, " \t\r");
        if (*at == '\0' || *at == '#') return RP_OK;
        if (line->count == WORDS_MAX) return refuse(line, "more than %d words", WORDS_MAX);
        bool is_quoted = *at == '"';
        line->is_quoted[line->count] = is_quoted;
        at += is_quoted;
        line->words[line->count++] = at;
        at += strcspn(at, is_quoted ? "\"" : " \t\r");
        if (*at == '\0' && is_quoted) return refuse(line, "a '\"' is not closed");
        if (*at != '\0') *at++ = '\0';
    }
}

/* Which of `names` a word is; -1: none. */
static int find_name(const char *const *names, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) return (int)i;
    }
    return -1;
}

static rp_status read_kind(const struct line *line, const char *word, rp_device_kind *kind) {
    if (rp_device_kind_parse(word, kind, NULL) == RP_OK) return RP_OK;
    return refuse(line, "'%.40s' is no kind of device", word);
}

static rp_status read_family(const struct line *line, const char *word, rp_family *family) {
    for (int i = 0; i < FAMILY_COUNT; i++) {
        if (strcmp(rp_family_name((rp_family)i), word) != 0) continue;
        *family = (rp_family)i;
        return RP_OK;
    }
    return refuse(line, "'%.40s' is no family", word);
}

static rp_status read_level(struct rp_rules *rules, const struct line *line) {
    rp_family family = RP_FAMILY_UNKNOWN;
    rp_device_kind kind = RP_DEVICE_CPU;
    if (line->count < 4 || line->count > 5 || (line->count == 5 && !line->is_quoted[4])) {
        return refuse(line, "a level is 'level FAMILY KIND high|medium|low|none [\"note\"]'");
    }
    rp_status status = read_family(line, line->words[1], &family);
    if (status == RP_OK) status = read_kind(line, line->words[2], &kind);
    if (status != RP_OK) return status;
    int level = find_name(level_names, RP_LEVEL_COUNT, line->words[3]);
    if (level < 0) return refuse(line, "'%.40s' is no level", line->words[3]);
    rules->levels[family][kind].level = (enum rp_level)level;
    rules->levels[family][kind].note = line->count == 5 ? line->words[4] : NULL;
    return RP_OK;
}

/* "7b", "300m", "1.5e9"; negative: no number. */
static double number_of(const char *text) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || !isfinite(number)) return -1;
    if (*end == 'b' || *end == 'B') return end[1] ? -1 : number * 1e9;
    if (*end == 'm' || *end == 'M') return end[1] ? -1 : number * 1e6;
    return *end ? -1 : number;
}

static rp_status read_condition(const struct line *line, char *word,
                                struct rp_rule_condition *condition) {
    char *at = word + strcspn(word, "=<>");
    char operation = *at;
    bool is_sound = operation && at != word && (operation != '>' || at[1] == '=');
    char *value = at + (operation == '>' ? 2 : 1);
    if (!is_sound || !*value) {
        return refuse(line, "'%.40s' is no condition: KEY=VALUE, KEY<VALUE or KEY>=VALUE", word);
    }
    *at = '\0';
    int key = find_name(key_names, RP_RULE_KEY_COUNT, word);
    if (key < 0) return refuse(line, "'%.40s' is nothing that a condition knows", word);
    bool is_ordered = key == RP_RULE_DRIVER || key == RP_RULE_RUNTIME || key == RP_RULE_COMPUTE ||
                      key == RP_RULE_PARAMETERS || key == RP_RULE_ENGINE_VERSION;
    if (operation != '=' && !is_ordered) return refuse(line, "'%s' has no order", word);
    if (key == RP_RULE_PARAMETERS && (operation == '=' || number_of(value) < 0)) {
        return refuse(line, "parameters are compared with '<' or '>=' and a number such as 7b");
    }
    *condition = (struct rp_rule_condition){(enum rp_rule_key)key, operation, value};
    return RP_OK;
}

static rp_status read_problem(struct rp_rules *rules, const struct line *line) {
    struct rp_problem problem = {.way_out = NULL};
    if (line->count < 4)
        return refuse(line, "a problem is 'problem KIND CONDITION... EFFECT \"why\"'");
    rp_status status = read_kind(line, line->words[1], &problem.kind);
    if (status != RP_OK) return status;
    size_t at = 2;
    int effect = -1;
    for (; at < line->count && !line->is_quoted[at]; at++) {
        effect =
            find_name(effect_names, sizeof effect_names / sizeof effect_names[0], line->words[at]);
        if (effect >= 0) break;
        if (problem.condition_count == RP_CONDITIONS_MAX) {
            return refuse(line, "more than %d conditions", RP_CONDITIONS_MAX);
        }
        status =
            read_condition(line, line->words[at], &problem.conditions[problem.condition_count]);
        if (status != RP_OK) return status;
        problem.condition_count++;
    }
    if (effect < 0) return refuse(line, "no effect: 'refuse', 'lower' or 'accept'");
    size_t texts = line->count - at - 1;
    if (texts < 1 || texts > 2 || !line->is_quoted[at + 1] || !line->is_quoted[line->count - 1]) {
        return refuse(line, "after '%s' come a reason and perhaps a way out, both in '\"'",
                      effect_names[effect]);
    }
    problem.effect = (enum rp_effect)effect;
    problem.reason = line->words[at + 1];
    if (texts == 2) problem.way_out = line->words[at + 2];
    struct rp_problem *grown =
        rp_realloc_array(rules->problems, rules->problem_count + 1, sizeof *grown);
    if (!grown) return rp_fail(line->err, RP_ERR_MEMORY, "no memory for '%s'", line->source);
    rules->problems = grown;
    rules->problems[rules->problem_count++] = problem;
    return RP_OK;
}

static rp_status read_line(struct rp_rules *rules, struct line *line, char *text) {
    rp_status status = cut_line(line, text);
    if (status != RP_OK || line->count == 0) return status;
    if (strcmp(line->words[0], "level") == 0) return read_level(rules, line);
    if (strcmp(line->words[0], "problem") == 0) return read_problem(rules, line);
    return refuse(line, "'%.40s' is neither 'level' nor 'problem'", line->words[0]);
}

rp_status rp_rules_add(struct rp_rules *rules, const char *text, size_t length, const char *source,
                       rp_error *err) {
    if (length > RP_LIMIT_RULES_BYTES) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': %zu bytes, rules have at most %d", source, length,
                       RP_LIMIT_RULES_BYTES);
    }
    size_t bad_at = rp_text_utf8_error_at(text, length);
    const char *nul = memchr(text, '\0', bad_at);
    if (nul) bad_at = (size_t)(nul - text);
    if (bad_at < length) {
        return rp_fail(err, RP_ERR_DATA, "'%s': byte %zu is not part of a text", source, bad_at);
    }
    struct text *copy = rp_alloc(sizeof *copy + length + 1);
    if (!copy) return rp_fail(err, RP_ERR_MEMORY, "no memory for the rules in '%s'", source);
    memcpy(copy->bytes, text, length);
    struct rp_rules before = *rules;
    struct line line = {.source = source, .err = err};
    rp_status status = RP_OK;
    for (char *at = copy->bytes, *next; status == RP_OK && at; at = next) {
        next = strchr(at, '\n');
        if (next) *next++ = '\0';
        line.number++;
        status = read_line(rules, &line, at);
    }
    if (status != RP_OK) {
        memcpy(rules->levels, before.levels, sizeof rules->levels);
        rules->problem_count = before.problem_count;
        rp_free(copy);
        return status;
    }
    copy->next = rules->texts;
    rules->texts = copy;
    return RP_OK;
}

/* --- those of the process ------------------------------------------------------------------ */

/*
 * No lock: one that another thread held while this one forked would never be free in the child. Two
 * that come first both make rules, and one of them throws its away.
 */
static _Atomic(struct rp_rules *) process_rules; /* acquire and release pair */

static rp_status add_users_file(struct rp_rules *rules, const char *path, rp_error *err) {
    char *text = NULL;
    size_t length = 0;
    int os_errno = rp_text_read_file(path, RP_LIMIT_RULES_BYTES, &text, &length);
    if (os_errno != 0) {
        errno = os_errno;
        rp_status status = rp_fail_errno(err, "cannot read the rules in '%s'", path);
        rp_hint(err, "RESOURCE_POOL_COMPATIBILITY names that file: correct or unset it");
        return status;
    }
    rp_status status = rp_rules_add(rules, text, length, path, err);
    rp_free(text);
    return status;
}

static rp_status make_process_rules(struct rp_rules **out, rp_error *err) {
    const char *path = getenv("RESOURCE_POOL_COMPATIBILITY");
    struct rp_rules *rules = rp_rules_create();
    rp_status status = rules ? rp_rules_add(rules, rp_built_in_rules, rp_built_in_rules_bytes,
                                            "compatibility.txt", err)
                             : rp_fail(err, RP_ERR_MEMORY, "no memory for the rules of placement");
    if (status == RP_OK && path && *path) status = add_users_file(rules, path, err);
    if (status == RP_OK) {
        *out = rules;
    } else {
        rp_rules_destroy(rules);
    }
    return status;
}

rp_status rp_rules_of_process(const struct rp_rules **out, rp_error *err) {
    struct rp_rules *rules = atomic_load_explicit(&process_rules, memory_order_acquire);
    if (!rules) {
        struct rp_rules *made = NULL;
        rp_status status = make_process_rules(&made, err);
        if (status != RP_OK) return status;
        if (atomic_compare_exchange_strong_explicit(&process_rules, &rules, made,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            rules = made;
        } else {
            rp_rules_destroy(made);
        }
    }
    *out = rules;
    return RP_OK;
}

/* --- asking -------------------------------------------------------------------------------- */

const char *rp_level_name(enum rp_level level) {
    return level_names[level];
}

enum rp_level rp_rules_level(const struct rp_rules *rules, rp_family family, rp_device_kind kind,
                             const char **note) {
    const struct level *row = &rules->levels[family][kind];
    *note = row->note;
    return row->level;
}

int rp_version_compare(const char *left, const char *right) {
    for (;;) {
        char *left_end;
        char *right_end;
        unsigned long long a = strtoull(left, &left_end, 10);
        unsigned long long b = strtoull(right, &right_end, 10);
        if (a != b) return a < b ? -1 : 1;
        if (*left_end != '.' && *right_end != '.') return 0;
        left = left_end + (*left_end == '.');
        right = right_end + (*right_end == '.');
    }
}

bool rp_name_is_like(const char *text, const char *pattern) {
    const char *star = NULL;
    const char *again = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            again = text;
        } else if (tolower((unsigned char)*text) == tolower((unsigned char)*pattern)) {
            text++;
            pattern++;
        } else if (star) {
            pattern = star;
            text = ++again;
        } else {
            return false;
        }
    }
    pattern += strspn(pattern, "*");
    return *pattern == '\0';
}

static bool model_is_like(const struct rp_rule_subject *subject, const char *pattern) {
    return rp_name_is_like(subject->facts->model_type, pattern) ||
           rp_name_is_like(subject->facts->architecture, pattern) ||
           (subject->name && rp_name_is_like(subject->name, pattern));
}

static const char *text_of(const struct rp_rule_subject *subject, enum rp_rule_key key) {
    static const rp_accelerator nothing = {0};
    const rp_accelerator *told =
        subject->device->accelerator ? subject->device->accelerator : &nothing;
    switch (key) {
    case RP_RULE_TYPE:
        return told->type;
    case RP_RULE_VENDOR:
        return told->vendor;
    case RP_RULE_DRIVER:
        return told->driver_version;
    case RP_RULE_RUNTIME:
        return told->runtime_version;
    case RP_RULE_COMPUTE:
        return told->compute_capability;
    case RP_RULE_GFX:
        return told->gfx_target;
    case RP_RULE_FAMILY:
        return rp_family_name(subject->family);
    case RP_RULE_SUBFAMILY:
        return rp_subfamily_name(subject->subfamily);
    case RP_RULE_PRECISION:
        return subject->precision;
    case RP_RULE_ENGINE:
        return subject->engine;
    case RP_RULE_ENGINE_VERSION:
        return subject->engine_version;
    case RP_RULE_OPERATOR:
        return subject->operation;
    case RP_RULE_CATEGORY:
        return subject->category;
    case RP_RULE_MODEL:
    case RP_RULE_PARAMETERS:
    case RP_RULE_KEY_COUNT:
        break;
    }
    return NULL;
}

static bool is_met(const struct rp_rule_condition *condition,
                   const struct rp_rule_subject *subject) {
    if (condition->key == RP_RULE_MODEL) return model_is_like(subject, condition->value);
    if (condition->key == RP_RULE_PARAMETERS) {
        uint64_t count = subject->facts->parameter_count;
        if (count == RP_UNKNOWN_U64) return false;
        bool is_below = (double)count < number_of(condition->value);
        return condition->operation == '<' ? is_below : !is_below;
    }
    const char *text = text_of(subject, condition->key);
    if (!text) return false;
    if (condition->operation == '=') return rp_name_is_like(text, condition->value);
    int order = rp_version_compare(text, condition->value);
    return condition->operation == '<' ? order < 0 : order >= 0;
}

static bool is_whole_problem_met(const struct rp_problem *problem,
                                 const struct rp_rule_subject *subject) {
    if (problem->kind != subject->device->kind) return false;
    for (size_t i = 0; i < problem->condition_count; i++) {
        if (!is_met(&problem->conditions[i], subject)) return false;
    }
    return true;
}

const struct rp_problem *rp_rules_find_problem(const struct rp_rules *rules,
                                               const struct rp_rule_subject *subject) {
    const struct rp_problem *found = NULL;
    for (size_t i = rules->problem_count; i-- > 0;) {
        const struct rp_problem *problem = &rules->problems[i];
        if (!is_whole_problem_met(problem, subject)) continue;
        if (problem->effect == RP_EFFECT_ACCEPT) break;
        if (problem->effect == RP_EFFECT_REFUSE) return problem;
        if (!found) found = problem;
    }
    return found;
}

const struct rp_problem *rp_rules_find_failure(const struct rp_rules *rules,
                                               const struct rp_rule_subject *subject,
                                               uint32_t keys) {
    const struct rp_problem *found = NULL;
    for (size_t i = rules->problem_count; i-- > 0;) {
        const struct rp_problem *problem = &rules->problems[i];
        bool is_about = false;
        for (size_t j = 0; j < problem->condition_count; j++) {
            is_about |= keys >> problem->conditions[j].key & 1;
        }
        if (!is_whole_problem_met(problem, subject)) continue;
        if (problem->effect == RP_EFFECT_ACCEPT) break;
        if (!is_about || (found && problem->condition_count <= found->condition_count)) continue;
        found = problem;
    }
    return found;
}

bool rp_rules_has_problems(const struct rp_rules *rules, rp_device_kind kind) {
    for (size_t i = 0; i < rules->problem_count; i++) {
        if (rules->problems[i].kind == kind) return true;
    }
    return false;
}
