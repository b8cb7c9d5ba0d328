/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an error text: each line is compared with all patterns as it comes, what was hit is kept;
 * at the end, when it is known which block was caused by which, the rules that hold are weighed.
 *
 * A rule speaks for its category with its strength, more where it stands in a deeper cause, less on
 * a line that is no message. The strongest rule of a category counts most: many hints do not
 * outweigh one message that says what happened, but decide where nothing does.
 */
#include "failure/diagnosis.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "failure/error_text.h"
#include "failure/facts_near.h"
#include "failure/rules.h"
#include "failure/words.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    HITS_MAX = 256,
    LINES_KEPT_MAX = 96,
    RAW_FACTS_MAX = 96,
    NAMES_MAX = 32,
    LINES_AROUND = 8, /* the last ones, beside which a cause may stand */
    LINES_BESIDE = 4, /* of those, how far from the cause one still speaks of it */
    RULES_MAX = 1024, /* more than HITS_MAX hits have, unless they share words */
    NO_HIT = UINT16_MAX,
    BEFORE_MATCH_BYTES = 80, /* of a long line, so much is kept in front of what was found */
};

/* Stands for what is left out of a long line. */
static const char left_out[] = "...";

/* What a rule's strength is changed by. */
static const double role_weights[] = {
    [RP_LINE_PLAIN] = 0,   [RP_LINE_MESSAGE] = 0.6, [RP_LINE_WARNING] = -0.8, [RP_LINE_FRAME] = -3,
    [RP_LINE_SOURCE] = -4, [RP_LINE_KERNEL] = 0.3,  [RP_LINE_NOISE] = -3,
};
static const double DEPTH_WEIGHT = 0.8; /* for each step towards the deepest cause */
static const double DEPTH_WEIGHT_MAX = 2;
static const double TRACE_WEIGHT = -0.5;    /* in a stack trace that came apart from the error */
static const double SHARPNESS = 0.9;        /* how much more one step of strength counts */
static const double WORDS_WEIGHT = 2.25;    /* of what words tell, where no rule is strong */
static const double WORDS_WEIGHT_MIN = 0.4; /* where one says it all */
static const double WEAK_RULE = 6;
static const double STRONG_RULE = 9.4;
static const double SURE_RULE = 7.5;      /* of our own messages: beside it words say nothing */
static const double UNKNOWN_WEIGHT = 3.6; /* how strong a rule must be to be believed */
static const double NOTHING_WEIGHT = 0.5; /* of a category for which no rule speaks */
static const double PLAIN_KIND = 5;       /* from so strong on rules say what device it is about */
static const double SILENCE_WEIGHT = 4.2; /* of unknown, where no rule speaks at all */

struct kept_line {
    char text[RP_CAUSE_BYTES];
    uint16_t from; /* where in the line it begins */
    uint64_t number;
    uint64_t start;
    uint64_t end;
    unsigned hit_count; /* how many hits refer to it */
};

struct hit {
    uint32_t pattern;
    uint16_t line; /* in kept_lines; NO_HIT: not kept */
    uint16_t next; /* the last hit of the same pattern, behind the first */
    enum rp_line_role role;
    unsigned block;
    bool is_trace;
    uint16_t at; /* in the line */
    uint16_t length;
    uint64_t start;
    uint64_t end;
};

struct raw_fact {
    struct rp_fact fact;
    uint64_t line;
    unsigned block;
    enum rp_line_role role;
    bool is_trace;
};

struct reader {
    const struct rp_failure_rules *rules;
    struct rp_error_text *text;
    unsigned char *seen;  /* of rp_failure_rules_scan() */
    uint16_t *first_hits; /* of each pattern, NO_HIT */
    size_t hit_count;
    struct kept_line *lines[LINES_KEPT_MAX]; /* NULL: free */
    size_t fact_count;
    size_t name_count;
    struct kept_line around[LINES_AROUND]; /* code and noise left out */
    size_t around_count;
    struct rp_fact frame_package;  /* of the deepest frame; ends at 0: none */
    struct rp_fact called;         /* the operator of the deepest source line; ends at 0: none */
    struct kept_line last_message; /* for a text of which nothing is known */
    unsigned last_message_block;
    struct rp_words words;    /* of all lines */
    struct rp_words messages; /* of those that are messages: for a text of more lines than count */
    bool is_trace;
    bool is_short_of_memory;
    uint64_t base; /* of the text's offsets: the error's length while its stack trace is read */
    uint64_t line_base;

    /* While a line is looked at. */
    const struct rp_error_line *line;
    uint16_t kept;

    /* From here on nothing is zeroed. */
    struct hit hits[HITS_MAX];
    struct raw_fact facts[RAW_FACTS_MAX];
    struct raw_fact names[NAMES_MAX]; /* of rp_facts_scan_names(), the last ones */
};

/* --- taking what is hit -------------------------------------------------------------------- */

static uint64_t offset_of(const struct reader *reader, size_t at) {
    const struct rp_error_line *line = reader->line;
    return reader->base + line->start + (line->from ? line->from[at] : at);
}

/* Where of a long line the text that is kept begins, so that it has the match. */
static size_t start_of_text(const struct rp_error_line *line,
                            const struct rp_pattern_match *match) {
    bool is_in_front = match->end < RP_CAUSE_BYTES - sizeof left_out;
    if (is_in_front || match->start <= BEFORE_MATCH_BYTES) return 0;
    size_t from = match->start - BEFORE_MATCH_BYTES;
    while (from > 0 && ((unsigned char)line->text[from] & 0xC0) == 0x80) {
        from--;
    }
    return from;
}

static void keep_text(struct reader *reader, size_t from, struct kept_line *kept) {
    const struct rp_error_line *line = reader->line;
    const char *begin = from > 0 ? left_out : "";
    int length = snprintf(kept->text, sizeof kept->text, "%s%.*s", begin,
                          (int)(line->length - from), line->text + from);
    kept->from = (uint16_t)from;
    if (length >= (int)sizeof kept->text) {
        memcpy(kept->text + sizeof kept->text - sizeof left_out, left_out, sizeof left_out);
        rp_text_make_printable(kept->text);
    }
    kept->number = reader->line_base + line->number;
    kept->start = offset_of(reader, 0);
    kept->end = offset_of(reader, line->length);
}

/* As keep_text(), but of every line, so as cheap as can be. */
static void keep_around(struct reader *reader) {
    struct kept_line *kept = &reader->around[reader->around_count++ % LINES_AROUND];
    const struct rp_error_line *line = reader->line;
    size_t length = line->length < sizeof kept->text ? line->length : sizeof kept->text - 1;
    memcpy(kept->text, line->text, length);
    kept->text[length] = '\0';
    kept->from = 0;
    kept->number = reader->line_base + line->number;
    kept->start = offset_of(reader, 0);
    kept->end = offset_of(reader, line->length);
}

static uint16_t keep_line(struct reader *reader, const struct rp_pattern_match *match) {
    uint16_t number = reader->kept;
    if (number == NO_HIT) {
        number = 0;
        while (number < LINES_KEPT_MAX && reader->lines[number]) {
            number++;
        }
        if (number == LINES_KEPT_MAX) return NO_HIT;
        struct kept_line *kept = rp_alloc(sizeof *kept);
        if (!kept) {
            reader->is_short_of_memory = true;
            return NO_HIT;
        }
        keep_text(reader, start_of_text(reader->line, match), kept);
        reader->lines[number] = kept;
        reader->kept = number;
    }
    reader->lines[number]->hit_count++;
    return number;
}

/* A line goes with the last hit on it: of a long log few lines stay. */
static void drop_line(struct reader *reader, uint16_t number) {
    if (number == NO_HIT || --reader->lines[number]->hit_count > 0) return;
    rp_free(reader->lines[number]);
    reader->lines[number] = NULL;
}

static void fill_fact(const struct reader *reader, enum rp_fact_name name, size_t start, size_t end,
                      struct raw_fact *raw) {
    const struct rp_error_line *line = reader->line;
    *raw = (struct raw_fact){.line = reader->line_base + line->number,
                             .block = line->block,
                             .role = line->role,
                             .is_trace = reader->is_trace};
    raw->fact.name = name;
    raw->fact.start = offset_of(reader, start);
    raw->fact.end = offset_of(reader, end - 1) + 1;
    snprintf(raw->fact.text, sizeof raw->fact.text, "%.*s", (int)(end - start), line->text + start);
    rp_text_make_printable(raw->fact.text);
}

static void take_fact(struct reader *reader, const struct rp_pattern_hole *hole) {
    /* Of a long log the beginning is kept, and the end, where the error stands. */
    size_t slot = reader->fact_count++;
    if (slot >= RAW_FACTS_MAX) slot = RAW_FACTS_MAX / 2 + slot % (RAW_FACTS_MAX / 2);
    fill_fact(reader, hole->name, hole->start, hole->end, &reader->facts[slot]);
    reader->facts[slot].fact.number = hole->number;
}

static void take_name(enum rp_fact_name name, size_t start, size_t end, void *user) {
    struct reader *reader = user;
    fill_fact(reader, name, start, end, &reader->names[reader->name_count++ % NAMES_MAX]);
}

static void take_frame(enum rp_fact_name name, size_t start, size_t end, void *user) {
    struct reader *reader = user;
    struct raw_fact raw;
    fill_fact(reader, name, start, end, &raw);
    if (name == RP_FACT_NAME_PACKAGE) reader->frame_package = raw.fact;
    if (name == RP_FACT_NAME_OPERATOR) reader->called = raw.fact;
}

/* The first hit of a pattern is kept, and the last one on a line that counts as much. */
static struct hit *slot_of(struct reader *reader, uint32_t pattern) {
    uint16_t *first = &reader->first_hits[pattern];
    if (*first != NO_HIT && reader->hits[*first].next != NO_HIT) {
        struct hit *last = &reader->hits[reader->hits[*first].next];
        drop_line(reader, last->line);
        return last;
    }
    if (reader->hit_count == HITS_MAX) return NULL;
    uint16_t number = (uint16_t)reader->hit_count++;
    if (*first == NO_HIT) {
        *first = number;
    } else {
        reader->hits[*first].next = number;
    }
    return &reader->hits[number];
}

static void take_hit(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    struct reader *reader = user;
    struct hit *hit = slot_of(reader, pattern);
    if (hit) {
        *hit = (struct hit){.pattern = pattern,
                            .line = keep_line(reader, match),
                            .next = NO_HIT,
                            .role = reader->line->role,
                            .block = reader->line->block,
                            .is_trace = reader->is_trace,
                            .at = (uint16_t)match->start,
                            .length = (uint16_t)(match->end - match->start),
                            .start = offset_of(reader, match->start),
                            .end = match->end > match->start ? offset_of(reader, match->end - 1) + 1
                                                             : offset_of(reader, match->start)};
    }
    for (size_t i = 0; i < match->hole_count; i++) {
        take_fact(reader, &match->holes[i]);
    }
}

static void take_line(const struct rp_error_line *line, void *user) {
    struct reader *reader = user;
    if (line->length == 0) return;
    reader->line = line;
    reader->kept = NO_HIT;
    bool is_cause = line->role == RP_LINE_MESSAGE ||
                    (line->role == RP_LINE_PLAIN && !reader->last_message.text[0]);
    if (is_cause && !reader->is_trace) {
        keep_text(reader, 0, &reader->last_message);
        reader->last_message_block = line->block;
    }
    if (line->role != RP_LINE_NOISE) rp_words_add(&reader->words, line->text, line->length);
    if (line->role == RP_LINE_MESSAGE || line->role == RP_LINE_KERNEL) {
        rp_words_add(&reader->messages, line->text, line->length);
    }
    rp_failure_rules_scan(reader->rules, line->text, line->length, reader->seen, take_hit, reader);
    bool is_code = line->role == RP_LINE_FRAME || line->role == RP_LINE_SOURCE;
    if ((is_cause || reader->kept != NO_HIT) && !is_code && !reader->is_trace) {
        rp_facts_scan_names(line->text, line->length, take_name, reader);
    }
    if (!is_code && line->role != RP_LINE_NOISE && !reader->is_trace) {
        keep_around(reader);
    }
    if (line->role == RP_LINE_SOURCE) {
        reader->called.end = 0;
        rp_facts_scan_source(line->text, line->length, take_frame, reader);
    }
    if (line->role == RP_LINE_FRAME) {
        rp_facts_scan_frame(line->text, line->length, take_frame, reader);
    }
}

/* --- weighing ------------------------------------------------------------------------------ */

struct weighing {
    struct reader *reader;
    const struct rp_failure_question *question;
    const struct rp_failure_prior *prior; /* NULL: none */
    struct rp_diagnosis *diagnosis;
    uint16_t rules[RULES_MAX]; /* of which a pattern was hit, in their order */
    size_t rule_count;
    double best[RP_CATEGORY_COUNT]; /* the strongest rule of each, as weighed */
    double sums[RP_CATEGORY_COUNT];
    const struct hit *causes[RP_CATEGORY_COUNT];
    uint64_t cause_number; /* of the cause's line */
};

static double weight_of_hit(const struct reader *reader, const struct hit *hit) {
    double depth = hit->is_trace ? 0 : DEPTH_WEIGHT * rp_error_text_depth(reader->text, hit->block);
    if (depth > DEPTH_WEIGHT_MAX) depth = DEPTH_WEIGHT_MAX;
    return role_weights[hit->role] + depth + (hit->is_trace ? TRACE_WEIGHT : 0);
}

/* The weightier of a pattern's hits; NULL: it has none. */
static const struct hit *best_hit(const struct reader *reader, uint32_t pattern) {
    uint16_t first = reader->first_hits[pattern];
    if (first == NO_HIT) return NULL;
    const struct hit *best = &reader->hits[first];
    if (best->next != NO_HIT) {
        const struct hit *last = &reader->hits[best->next];
        if (weight_of_hit(reader, last) > weight_of_hit(reader, best)) best = last;
    }
    return best;
}

/* The hit by which a rule holds; NULL: it does not. */
static const struct hit *hit_of_rule(const struct weighing *weighing,
                                     const struct rp_failure_rule *rule) {
    const struct reader *reader = weighing->reader;
    const uint32_t *used = reader->rules->used + rule->first;
    const struct hit *best = NULL;
    for (size_t i = 0; i < rule->any_count; i++) {
        const struct hit *hit = best_hit(reader, used[i]);
        if (hit && (!best || weight_of_hit(reader, hit) > weight_of_hit(reader, best))) best = hit;
    }
    if (!best) return NULL;
    used += rule->any_count;
    for (size_t i = 0; i < rule->with_count; i++) {
        if (reader->first_hits[used[i]] == NO_HIT) return NULL;
    }
    used += rule->with_count;
    for (size_t i = 0; i < rule->without_count; i++) {
        if (reader->first_hits[used[i]] != NO_HIT) return NULL;
    }
    const struct rp_failure_subject *subject = &weighing->diagnosis->subject;
    if (rule->kinds && !(subject->has_kind && rule->kinds >> subject->kind & 1)) return NULL;
    return best;
}

static int compare_numbers(const void *left, const void *right) {
    return (int)*(const uint16_t *)left - (int)*(const uint16_t *)right;
}

/* The rules of what was hit, each once. */
static void find_rules(struct weighing *weighing) {
    const struct reader *reader = weighing->reader;
    const struct rp_failure_rules *rules = reader->rules;
    size_t count = 0;
    for (size_t i = 0; i < reader->hit_count; i++) {
        uint32_t pattern = reader->hits[i].pattern;
        uint32_t at = rules->of_pattern_first[pattern];
        for (; at < rules->of_pattern_first[pattern + 1] && count < RULES_MAX; at++) {
            weighing->rules[count++] = rules->of_pattern[at];
        }
    }
    qsort(weighing->rules, count, sizeof weighing->rules[0], compare_numbers);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || weighing->rules[i] != weighing->rules[i - 1]) {
            weighing->rules[weighing->rule_count++] = weighing->rules[i];
        }
    }
}

/* Which kind of device the text is about: that of the subject, where the question does not say. */
static void find_kind(struct weighing *weighing) {
    const struct rp_failure_rules *rules = weighing->reader->rules;
    struct rp_failure_subject *subject = &weighing->diagnosis->subject;
    double scores[32] = {0};
    double best = 0;
    rp_device_kind kind = RP_DEVICE_CPU;
    for (size_t i = 0; i < weighing->rule_count; i++) {
        const struct rp_failure_rule *rule = &rules->rows[weighing->rules[i]];
        if (rule->verdict != RP_VERDICT_DEVICE || !hit_of_rule(weighing, rule)) continue;
        scores[rule->kind] += rule->strength;
        if (scores[rule->kind] <= best) continue;
        best = scores[rule->kind];
        kind = rule->kind;
    }
    subject->has_text_kind = best >= PLAIN_KIND;
    subject->text_kind = kind;
    if (subject->is_kind_told || best <= 0) return;
    subject->kind = kind;
    subject->has_kind = true;
}

/* Which library printed the text, and on which system: the strongest word for one counts, most in
 * the deepest cause. */
static void find_engine(struct weighing *weighing) {
    const struct rp_failure_rules *rules = weighing->reader->rules;
    struct rp_failure_subject *subject = &weighing->diagnosis->subject;
    bool is_told = subject->engine != NULL;
    double best_engine = 0;
    double best_system = 0;
    for (size_t i = 0; i < weighing->rule_count; i++) {
        const struct rp_failure_rule *rule = &rules->rows[weighing->rules[i]];
        bool is_engine = rule->verdict == RP_VERDICT_ENGINE;
        if (!is_engine && rule->verdict != RP_VERDICT_SYSTEM) continue;
        const struct hit *hit = hit_of_rule(weighing, rule);
        if (!hit) continue;
        double weight = rule->strength + weight_of_hit(weighing->reader, hit);
        if (is_engine && !is_told && weight > best_engine) {
            best_engine = weight;
            subject->engine = rule->name;
        } else if (!is_engine && weight > best_system) {
            best_system = weight;
            subject->system = rule->name;
        }
    }
}

static void add_evidence(struct rp_diagnosis *diagnosis, const struct reader *reader,
                         const struct hit *hit) {
    for (size_t i = 0; i < diagnosis->evidence_count; i++) {
        const struct rp_evidence *other = &diagnosis->evidence[i];
        if (other->start == hit->start && other->end == hit->end) return;
    }
    if (diagnosis->evidence_count == RP_EVIDENCE_KEPT) return;
    struct rp_evidence *evidence = &diagnosis->evidence[diagnosis->evidence_count++];
    *evidence = (struct rp_evidence){.start = hit->start, .end = hit->end};
    if (hit->line == NO_HIT) return;
    const struct kept_line *line = reader->lines[hit->line];
    evidence->line = line->number;
    size_t kept = strlen(line->text);
    size_t before = line->from > 0 ? sizeof left_out - 1 : 0;
    size_t at = hit->at >= line->from ? hit->at - line->from + before : kept;
    if (at > kept) at = kept;
    size_t length = hit->length < kept - at ? hit->length : kept - at;
    if (length >= sizeof evidence->text) length = sizeof evidence->text - 1;
    memcpy(evidence->text, line->text + at, length);
    rp_text_make_printable(evidence->text);
}

static void weigh_rules(struct weighing *weighing) {
    const struct rp_failure_rules *rules = weighing->reader->rules;
    for (size_t i = 0; i < weighing->rule_count; i++) {
        const struct rp_failure_rule *rule = &rules->rows[weighing->rules[i]];
        if (rule->verdict != RP_VERDICT_CATEGORY && rule->verdict != RP_VERDICT_FALLBACK) continue;
        const struct hit *hit = hit_of_rule(weighing, rule);
        if (!hit) continue;
        if (rule->verdict == RP_VERDICT_FALLBACK) {
            weighing->diagnosis->is_silent_fallback = true;
            continue;
        }
        double weight = rule->strength + weight_of_hit(weighing->reader, hit);
        if (weight < 0.5) weight = 0.5;
        weighing->sums[rule->category] += exp(SHARPNESS * weight);
        if (weight > weighing->best[rule->category]) {
            weighing->best[rule->category] = weight;
            weighing->causes[rule->category] = hit;
        }
    }
}

static bool has_prior(const struct weighing *weighing) {
    return weighing->prior && weighing->prior->category != RP_CATEGORY_UNKNOWN;
}

/* What the text came with counts like one more rule, which no line stands behind. */
static void weigh_prior(struct weighing *weighing) {
    const struct rp_failure_prior *prior = weighing->prior;
    if (!has_prior(weighing)) return;
    weighing->sums[prior->category] += exp(SHARPNESS * prior->strength);
    double *best = &weighing->best[prior->category];
    if (prior->strength > *best) *best = prior->strength;
}

/* Of a failure of our own: its status or a sure rule has said what it is. */
static bool is_told(const struct weighing *weighing) {
    double best = 0;
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        if (weighing->best[i] > best) best = weighing->best[i];
    }
    return weighing->prior && (has_prior(weighing) || best >= SURE_RULE);
}

/* The stronger the strongest rule, the less there is to guess. */
static double weight_of_words(const struct weighing *weighing) {
    double best = 0;
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        if (weighing->best[i] > best) best = weighing->best[i];
    }
    double part = (best - WEAK_RULE) / (STRONG_RULE - WEAK_RULE);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return WORDS_WEIGHT + part * (WORDS_WEIGHT_MIN - WORDS_WEIGHT);
}

/*
 * What the words of the text speak for, as factors of the sums; 1 where they say nothing, or where
 * no guess is needed: words were learnt from what others print.
 */
static void weigh_words(const struct weighing *weighing, double factors[RP_CATEGORY_COUNT]) {
    const struct reader *reader = weighing->reader;
    static const double LEAST = 1e-3; /* words never rule a category out */
    double shares[RP_CATEGORY_COUNT];
    bool is_long = reader->words.line_count == RP_WORDS_LINES_MAX;
    bool has_messages = reader->messages.line_count > 0;
    bool has_words =
        !is_told(weighing) &&
        rp_words_weigh(is_long && has_messages ? &reader->messages : &reader->words, shares);
    double weight = weight_of_words(weighing);
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        factors[i] = has_words ? pow(shares[i] + LEAST, weight) : 1;
    }
}

/* Of an unknown text what words alone make of it is no guess worth telling: a rule must speak. */
static bool is_guess(const struct weighing *weighing, size_t category) {
    return weighing->diagnosis->category != RP_CATEGORY_UNKNOWN || weighing->sums[category] > 0;
}

/* The likeliest category, those behind it, and their shares. */
static void rank(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    double sums[RP_CATEGORY_COUNT];
    double factors[RP_CATEGORY_COUNT];
    double total = 0;
    bool is_silent = true;
    weigh_words(weighing, factors);
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        is_silent = is_silent && weighing->sums[i] <= 0;
    }
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        double floor = i != RP_CATEGORY_UNKNOWN ? NOTHING_WEIGHT
                       : is_silent              ? SILENCE_WEIGHT
                                                : UNKNOWN_WEIGHT;
        sums[i] = (weighing->sums[i] + exp(SHARPNESS * floor)) * factors[i];
        total += sums[i];
    }
    for (size_t rank = 0; rank <= RP_RIVALS_KEPT; rank++) {
        size_t best = 0;
        for (size_t i = 1; i < RP_CATEGORY_COUNT; i++) {
            if (sums[i] > sums[best]) best = i;
        }
        double share = sums[best] / total;
        if (rank == 0) {
            diagnosis->category = (rp_category)best;
            diagnosis->confidence = share;
        } else if ((share > 0.02 || rank <= 2) && is_guess(weighing, best)) {
            diagnosis->rivals[diagnosis->rival_count] = (rp_category)best;
            diagnosis->rival_shares[diagnosis->rival_count++] = share;
        }
        sums[best] = -1;
    }
}

/*
 * How often such an answer is right, by texts that no rule was written for (docs/failures.md): a
 * share says how much rules and words agree, but a rule of strength 8 is wrong more often than one
 * of 9 however alone it is.
 */
static double calibrate(double share, double strength) {
    static const double ceilings[] = {0.45, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.76, 0.82, 0.97};
    int whole = strength < 0 ? 0 : strength > 9 ? 9 : (int)(strength + 0.5);
    return ceilings[whole] * sqrt(share);
}

static void find_cause(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    const struct reader *reader = weighing->reader;
    const struct hit *hit = weighing->causes[diagnosis->category];
    const struct kept_line *line = &reader->last_message;
    if (hit && hit->line != NO_HIT) line = reader->lines[hit->line];
    snprintf(diagnosis->cause, sizeof diagnosis->cause, "%s", line->text);
    rp_text_make_printable(diagnosis->cause);
    diagnosis->cause_start = line->start;
    diagnosis->cause_end = line->end;
    weighing->cause_number = line->number;
}

static void collect_evidence(struct weighing *weighing) {
    const struct rp_failure_rules *rules = weighing->reader->rules;
    const struct hit *cause = weighing->causes[weighing->diagnosis->category];
    if (cause) add_evidence(weighing->diagnosis, weighing->reader, cause);
    for (size_t i = 0; i < weighing->rule_count; i++) {
        const struct rp_failure_rule *rule = &rules->rows[weighing->rules[i]];
        if (rule->verdict != RP_VERDICT_CATEGORY ||
            rule->category != weighing->diagnosis->category) {
            continue;
        }
        const struct hit *hit = hit_of_rule(weighing, rule);
        if (hit) add_evidence(weighing->diagnosis, weighing->reader, hit);
    }
}

static bool is_beside(const struct rp_diagnosis *diagnosis, const struct rp_fact *fact) {
    return fact->start >= diagnosis->cause_start && fact->end <= diagnosis->cause_end;
}

static bool has_fact_at(const struct rp_facts *facts, const struct rp_fact *name) {
    for (size_t i = 0; i < facts->count; i++) {
        const struct rp_fact *row = &facts->rows[i];
        if (row->start < name->end && name->start < row->end) return true;
    }
    return false;
}

/* What the cause's line names, where no rule reads it; the first of each kind, which is what the
 * message is about. */
static void collect_names(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    const struct reader *reader = weighing->reader;
    size_t count = reader->name_count < NAMES_MAX ? reader->name_count : NAMES_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t slot = (reader->name_count - count + i) % NAMES_MAX;
        struct rp_fact fact = reader->names[slot].fact;
        bool is_path = fact.name == RP_FACT_NAME_FILE || fact.name == RP_FACT_NAME_FOLDER;
        bool is_told = is_path ? rp_facts_find(&diagnosis->facts, RP_FACT_NAME_FILE) ||
                                     rp_facts_find(&diagnosis->facts, RP_FACT_NAME_FOLDER)
                               : rp_facts_find(&diagnosis->facts, fact.name) != NULL;
        if (is_told || !is_beside(diagnosis, &fact) || has_fact_at(&diagnosis->facts, &fact)) {
            continue;
        }
        rp_facts_add(&diagnosis->facts, &fact);
    }
}

/* A line whose numbers and names are read by the words beside them. */
struct near_line {
    struct rp_diagnosis *diagnosis;
    const char *text;
    uint64_t start;
    uint64_t end;
    int weight;
    bool accepts_overlap;
};

static void take_near(enum rp_fact_name name, size_t start, size_t end, void *user) {
    const struct near_line *near = user;
    struct rp_facts *facts = &near->diagnosis->facts;
    struct rp_fact fact = {.name = name, .weight = near->weight};
    /* Where marks were taken out of the line the place is only about right. */
    fact.start = near->start + start < near->end ? near->start + start : near->end - 1;
    fact.end = near->start + end < near->end ? near->start + end : near->end;
    if (rp_facts_find(facts, name)) return;
    if (!near->accepts_overlap && has_fact_at(facts, &fact)) return;
    snprintf(fact.text, sizeof fact.text, "%.*s", (int)(end - start), near->text + start);
    (void)rp_fact_read(rp_fact_type_of(name), near->text + start, near->text + strlen(near->text),
                       &fact.number);
    rp_facts_add(facts, &fact);
}

static void scan_near(struct near_line *near, unsigned kinds) {
    kinds &= rp_facts_near_wanted(near->diagnosis->category, &near->diagnosis->facts);
    if (kinds != 0 && near->end > near->start) {
        rp_facts_scan_near(near->text, strlen(near->text), kinds, take_near, near);
    }
}

/* What code the failure came from, where the message says nothing of it. */
static void collect_code(struct rp_diagnosis *diagnosis, const struct reader *reader) {
    unsigned wanted = rp_facts_near_wanted(diagnosis->category, &diagnosis->facts);
    /* A card's assertion comes later than the call that it is reported for. */
    bool is_late = strstr(diagnosis->cause, "ssert") != NULL;
    bool is_tensors = diagnosis->category == RP_CATEGORY_SHAPE_MISMATCH ||
                      diagnosis->category == RP_CATEGORY_DTYPE_MISMATCH ||
                      diagnosis->category == RP_CATEGORY_DEVICE_MISMATCH ||
                      diagnosis->category == RP_CATEGORY_ASSERT_OR_NUMERICAL;
    bool has_operator = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_OPERATOR) != NULL;
    if (reader->frame_package.end > 0 && (wanted & RP_NEAR_PACKAGES)) {
        rp_facts_add(&diagnosis->facts, &reader->frame_package);
    }
    if (reader->called.end > 0 && is_tensors && !is_late && !has_operator) {
        rp_facts_add(&diagnosis->facts, &reader->called);
    }
}

/*
 * What words beside it say of a number or a name, where no rule reads such a fact: the first of
 * each kind on the cause's line, then on lines close to it, the nearer first.
 */
static void collect_near(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    const struct reader *reader = weighing->reader;
    struct near_line near = {
        diagnosis, diagnosis->cause, diagnosis->cause_start, diagnosis->cause_end, 100, false};
    scan_near(&near, RP_NEAR_ALL);
    if (rp_facts_near_wanted(diagnosis->category, &diagnosis->facts) & RP_NEAR_PACKAGES) {
        near.accepts_overlap = true; /* of a library's path its package */
        rp_facts_scan_frame(near.text, strlen(near.text), take_near, &near);
    }
    size_t count = reader->around_count < LINES_AROUND ? reader->around_count : LINES_AROUND;
    for (uint64_t distance = 1; distance <= LINES_BESIDE; distance++) {
        for (size_t i = 0; i < count; i++) {
            const struct kept_line *line = &reader->around[i];
            uint64_t cause = weighing->cause_number;
            uint64_t apart = line->number > cause ? line->number - cause : cause - line->number;
            if (apart != distance) continue;
            near = (struct near_line){diagnosis, line->text, line->start, line->end, 0, false};
            scan_near(&near, RP_NEAR_BESIDE);
        }
    }
    collect_code(diagnosis, reader);
}

/* Which memory a message means that says only how much of it. */
static void derive_memory(struct rp_diagnosis *diagnosis) {
    const char *memory = NULL;
    if (diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_DEVICE) memory = "device";
    if (diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_HOST) memory = "host";
    if (diagnosis->category == RP_CATEGORY_DISK_FULL) memory = "disk";
    if (!memory || rp_facts_find(&diagnosis->facts, RP_FACT_NAME_MEMORY)) return;
    const struct rp_failure_subject *subject = &diagnosis->subject;
    bool is_browser = subject->has_kind &&
                      (subject->kind == RP_DEVICE_WEBGPU || subject->kind == RP_DEVICE_WEBNN);
    if (is_browser && diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_HOST) memory = "browser";
    struct rp_fact fact = {.name = RP_FACT_NAME_MEMORY,
                           .is_derived = true,
                           .start = diagnosis->cause_start,
                           .end = diagnosis->cause_end};
    snprintf(fact.text, sizeof fact.text, "%s", memory);
    rp_facts_add(&diagnosis->facts, &fact);
}

/*
 * PyTorch's allocator of Apple's GPUs divides by 1024 and writes "GB", which elsewhere is a
 * thousand million; since it writes "GiB" the unit is read as it stands.
 */
static void settle_units(struct rp_diagnosis *diagnosis) {
    bool is_its = strstr(diagnosis->cause, "MPS allocated:") != NULL ||
                  strstr(diagnosis->cause, "Invalid buffer size:") != NULL;
    if (!is_its) return;
    for (size_t i = 0; i < diagnosis->facts.count; i++) {
        struct rp_fact *fact = &diagnosis->facts.rows[i];
        size_t length = strlen(fact->text);
        char text[64];
        bool is_thousands = rp_fact_type_of(fact->name) == RP_FACT_BYTES && length > 2 &&
                            length < sizeof text - 2 && fact->text[length - 1] == 'B' &&
                            strchr("KMGT", fact->text[length - 2]);
        if (!is_thousands || fact->start < diagnosis->cause_start ||
            fact->end > diagnosis->cause_end) {
            continue;
        }
        int written = snprintf(text, sizeof text, "%.*siB", (int)length - 1, fact->text);
        (void)rp_fact_read(RP_FACT_BYTES, text, text + written, &fact->number);
    }
}

/* "libcudnn.so.9" is missing: of that library major version 9 is needed. */
static void derive_soname(struct rp_diagnosis *diagnosis) {
    static const char ending[] = ".so.";
    const struct rp_fact *library = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_LIBRARY);
    bool is_missing = diagnosis->category == RP_CATEGORY_RUNTIME_LIBRARY_MISSING && library &&
                      !rp_facts_find(&diagnosis->facts, RP_FACT_NAME_VERSION_NEEDED);
    const char *at = is_missing ? strstr(library->text, ending) : NULL;
    size_t digits = at ? strspn(at + sizeof ending - 1, "0123456789") : 0;
    if (digits == 0) return;
    struct rp_fact fact = {.name = RP_FACT_NAME_VERSION_NEEDED,
                           .is_derived = true,
                           .start = library->start,
                           .end = library->end,
                           .weight = library->weight};
    snprintf(fact.text, sizeof fact.text, "%.*s", (int)digits, at + sizeof ending - 1);
    rp_facts_add(&diagnosis->facts, &fact);
}

/* Facts of the cause's own line come first, then those of deeper causes and of messages. */
static void collect_facts(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    const struct reader *reader = weighing->reader;
    for (size_t i = 0; i < reader->fact_count && i < RAW_FACTS_MAX; i++) {
        const struct raw_fact *raw = &reader->facts[i];
        struct rp_fact fact = raw->fact;
        double depth = raw->is_trace ? -1.0 : (double)rp_error_text_depth(reader->text, raw->block);
        fact.weight =
            (int)(10 * (depth + role_weights[raw->role])) + (is_beside(diagnosis, &fact) ? 100 : 0);
        rp_facts_add(&diagnosis->facts, &fact);
    }
    collect_names(weighing);
    collect_near(weighing);
    derive_memory(diagnosis);
    derive_soname(diagnosis);
    settle_units(diagnosis);
    rp_facts_decode(&diagnosis->facts);
}

static void weigh(struct weighing *weighing) {
    struct rp_diagnosis *diagnosis = weighing->diagnosis;
    find_rules(weighing);
    find_kind(weighing);
    find_engine(weighing);
    weigh_rules(weighing);
    weigh_prior(weighing);
    rank(weighing);
    diagnosis->confidence = calibrate(diagnosis->confidence, weighing->best[diagnosis->category]);
    find_cause(weighing);
    collect_evidence(weighing);
    collect_facts(weighing);
}

/* --- the subject --------------------------------------------------------------------------- */

/* "1" of "cuda:1": a small number; "chromium" of "webgpu:chromium": a name, of those kinds that
 * have names. Of the others a name is a slip. */
static bool is_device_suffix(rp_device_kind kind, const char *suffix) {
    enum { DIGITS_MAX = 4, NAME_MAX_BYTES = 24 };
    bool is_numbered = kind == RP_DEVICE_CUDA || kind == RP_DEVICE_ROCM || kind == RP_DEVICE_MPS ||
                       kind == RP_DEVICE_TPU || kind == RP_DEVICE_CPU;
    size_t length = strlen(suffix);
    size_t digits = strspn(suffix, "0123456789");
    if (is_numbered) return length > 0 && length <= DIGITS_MAX && digits == length;
    bool is_name = length > 0 && length < NAME_MAX_BYTES;
    for (const char *at = suffix; *at; at++) {
        is_name = is_name && (isalnum((unsigned char)*at) || strchr("._-:", *at)) && *suffix != '-';
    }
    return is_name;
}

static rp_status refuse_suffix(const char *hardware, const char *kind, rp_error *err) {
    rp_fail(err, RP_ERR_ARGUMENT, "'%.40s' is no device: no number or name is behind '%s:'",
            hardware, kind);
    rp_hint(err, "a device is '%s:0', and '%s' means any of them", kind, kind);
    return RP_ERR_ARGUMENT;
}

/* "cuda", "cuda:1", "onnxruntime-cpu", "any", in letters of either case */
static rp_status read_hardware(const char *hardware, struct rp_failure_subject *subject,
                               rp_error *err) {
    if (!hardware || !*hardware || strcasecmp(hardware, "any") == 0) return RP_OK;
    char kind[32];
    const char *told = hardware;
    static const char engine[] = "onnxruntime-";
    if (strncasecmp(told, engine, sizeof engine - 1) == 0) {
        subject->engine = "onnxruntime";
        told += sizeof engine - 1;
    }
    size_t length = strcspn(told, ":");
    if (length < sizeof kind) {
        char name[sizeof subject->hardware];
        for (size_t i = 0; i < length; i++) {
            kind[i] = (char)tolower((unsigned char)told[i]);
        }
        kind[length] = '\0';
        snprintf(name, sizeof name, "%s%s", kind, told + length);
        if (rp_device_kind_parse(kind, &subject->kind, NULL) == RP_OK) {
            if (told[length] == ':' && !is_device_suffix(subject->kind, told + length + 1)) {
                return refuse_suffix(hardware, kind, err);
            }
            subject->has_kind = subject->is_kind_told = true;
            snprintf(subject->hardware, sizeof subject->hardware, "%s", name);
            return RP_OK;
        }
    }
    rp_fail(err, RP_ERR_ARGUMENT, "'%.40s' is no kind of device", hardware);
    rp_hint(err,
            "one of cpu, cuda, rocm, mps, openvino, qualcomm, tpu, webnn, webgpu, a device such "
            "as cuda:1, onnxruntime-cpu, or any");
    return RP_ERR_ARGUMENT;
}

/* Memory of a GPU is none of the processor's, whatever the question says: the text knows better. */
static void settle_kind(struct rp_diagnosis *diagnosis) {
    struct rp_failure_subject *subject = &diagnosis->subject;
    bool is_of_gpu = diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_DEVICE &&
                     subject->has_text_kind && subject->text_kind != RP_DEVICE_CPU;
    if (is_of_gpu && subject->is_kind_told && subject->kind == RP_DEVICE_CPU) {
        subject->kind = subject->text_kind;
    }
}

/* The model that is asked about, else the one that the text names. */
static void find_model(const struct rp_failure_question *question, struct rp_diagnosis *diagnosis) {
    struct rp_failure_subject *subject = &diagnosis->subject;
    const char *name = question->model;
    if (name && *name) {
        if (rp_model_facts_read(name, NULL, &subject->facts, NULL) != RP_OK) {
            rp_model_facts_of_name(name, NULL, &subject->facts);
        }
    } else {
        const struct rp_fact *told = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_MODEL);
        name = told ? told->text : NULL;
        if (name) rp_model_facts_of_name(name, NULL, &subject->facts);
    }
    subject->has_facts = name && *name;
    if (subject->has_facts) {
        snprintf(subject->model, sizeof subject->model, "%s", name);
        rp_text_make_printable(subject->model);
    }
    subject->family = question->family;
    if (subject->family == RP_FAMILY_UNKNOWN && subject->has_facts) {
        subject->family = subject->facts.classification.family;
    }
}

/* --- a question ---------------------------------------------------------------------------- */

static void reader_destroy(struct reader *reader) {
    if (!reader) return;
    rp_error_text_destroy(reader->text);
    for (size_t i = 0; i < LINES_KEPT_MAX; i++) {
        rp_free(reader->lines[i]);
    }
    rp_free(reader->seen);
    rp_free(reader->first_hits);
    rp_free(reader);
}

static struct reader *reader_create(const struct rp_failure_rules *rules) {
    struct reader *reader = rp_realloc_array(NULL, 1, sizeof *reader);
    if (!reader) return NULL;
    memset(reader, 0, offsetof(struct reader, hits));
    reader->rules = rules;
    reader->seen = rp_alloc(rp_failure_rules_seen_bytes(rules));
    reader->first_hits = rp_alloc_array(rules->pattern_count + 1, sizeof *reader->first_hits);
    reader->text = rp_error_text_create(take_line, reader);
    if (!reader->seen || !reader->first_hits || !reader->text) {
        reader_destroy(reader);
        return NULL;
    }
    memset(reader->first_hits, 0xFF, (rules->pattern_count + 1) * sizeof *reader->first_hits);
    return reader;
}

static rp_status feed_fd(struct reader *reader, int fd, rp_error *err) {
    enum { CHUNK = 1 << 16 };
    char *chunk = rp_alloc(CHUNK);
    if (!chunk) return rp_fail(err, RP_ERR_MEMORY, "no memory to read the error text");
    rp_status status = RP_OK;
    for (;;) {
        ssize_t length = read(fd, chunk, CHUNK);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) status = rp_fail_errno(err, "cannot read the error text");
        if (length <= 0) break;
        rp_error_text_feed(reader->text, chunk, (size_t)length);
    }
    rp_free(chunk);
    return status;
}

/* A trace that came apart is a text of its own, read behind the error. */
static rp_status read_trace(struct reader *reader, const struct rp_failure_question *question) {
    if (question->stack_trace_bytes == 0) return RP_OK;
    struct rp_error_text *whole = reader->text;
    struct rp_error_text *trace = rp_error_text_create(take_line, reader);
    if (!trace) return RP_ERR_MEMORY;
    reader->base = rp_error_text_bytes(whole);
    reader->line_base = rp_error_text_line_count(whole);
    reader->is_trace = true;
    rp_error_text_feed(trace, question->stack_trace, question->stack_trace_bytes);
    rp_error_text_finish(trace);
    rp_error_text_destroy(trace);
    return RP_OK;
}

static rp_status read_all(struct reader *reader, const struct rp_failure_question *question, int fd,
                          rp_error *err) {
    if (question->error_bytes > 0) {
        rp_error_text_feed(reader->text, question->error, question->error_bytes);
    }
    rp_status status = fd >= 0 ? feed_fd(reader, fd, err) : RP_OK;
    if (status != RP_OK) return status;
    rp_error_text_finish(reader->text);
    status = read_trace(reader, question);
    if (status != RP_OK || reader->is_short_of_memory) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory to read the error text");
    }
    return RP_OK;
}

static rp_status diagnose(const struct rp_failure_question *question, int fd,
                          const struct rp_failure_prior *prior, struct rp_diagnosis *diagnosis,
                          rp_error *err) {
    const struct rp_failure_rules *rules = NULL;
    rp_status status = read_hardware(question->hardware, &diagnosis->subject, err);
    if (status == RP_OK) status = rp_failure_rules_of_process(&rules, err);
    if (status != RP_OK) return status;
    struct reader *reader = reader_create(rules);
    if (!reader) return rp_fail(err, RP_ERR_MEMORY, "no memory to read an error text");
    status = read_all(reader, question, fd, err);
    if (status == RP_OK) {
        struct weighing weighing = {
            .reader = reader, .question = question, .prior = prior, .diagnosis = diagnosis};
        weigh(&weighing);
        settle_kind(diagnosis);
        diagnosis->text_bytes = rp_error_text_bytes(reader->text) + question->stack_trace_bytes;
        find_model(question, diagnosis);
        status = rp_advise(diagnosis, question->snapshot, err);
    }
    reader_destroy(reader);
    return status;
}

static rp_status make(const rp_failure_question *question, int fd,
                      const struct rp_failure_prior *prior, rp_diagnosis **out, rp_error *err) {
    struct rp_diagnosis *diagnosis = rp_alloc(sizeof *diagnosis);
    if (!diagnosis) return rp_fail(err, RP_ERR_MEMORY, "no memory for a diagnosis");
    diagnosis->subject.family = RP_FAMILY_UNKNOWN;
    rp_status status = diagnose(question, fd, prior, diagnosis, err);
    if (status != RP_OK) {
        rp_diagnosis_destroy(diagnosis);
        return status;
    }
    *out = diagnosis;
    return RP_OK;
}

rp_status rp_diagnose_fd(const rp_failure_question *question, int fd, rp_diagnosis **out,
                         rp_error *err) {
    return make(question, fd, NULL, out, err);
}

rp_status rp_diagnose(const rp_failure_question *question, rp_diagnosis **out, rp_error *err) {
    return make(question, -1, NULL, out, err);
}

rp_status rp_diagnose_with(const rp_failure_question *question,
                           const struct rp_failure_prior *prior, rp_diagnosis **out,
                           rp_error *err) {
    return make(question, -1, prior, out, err);
}

const char *rp_diagnosis_recommendation(const rp_diagnosis *diagnosis, size_t index) {
    const struct rp_advice *advice = &diagnosis->advice;
    return index < advice->recommendation_count ? advice->recommendations[index] : NULL;
}

rp_category rp_diagnosis_category(const rp_diagnosis *diagnosis) {
    return diagnosis->category;
}

double rp_diagnosis_confidence(const rp_diagnosis *diagnosis) {
    return diagnosis->confidence;
}

const char *rp_diagnosis_line(const rp_diagnosis *diagnosis) {
    return diagnosis->line;
}

void rp_diagnosis_destroy(rp_diagnosis *diagnosis) {
    if (!diagnosis) return;
    rp_advice_fini(&diagnosis->advice);
    rp_free(diagnosis);
}
