/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is compared with a few of the thousands of patterns only: each is known by four characters
 * that every match has (three, where its words are no longer), the rarest of its own among all
 * patterns. A look at each four characters of the line, first in a set of bits that stays in the
 * nearest cache, finds whom to ask.
 */
#include "failure/rules.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "failure/built_in.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

enum {
    GRAM_BYTES = 4,
    SHORT_GRAM_BYTES = 3,
    GRAM_BITS = 16,
    BUCKETS = 1 << GRAM_BITS,
};

#define NOBODY UINT32_MAX

/* Who is to be asked where a gram stands, if the whole run is there: a pattern with choices, for
 * one run of each. */
struct asker {
    const char *run; /* of the pattern */
    uint32_t pattern;
    uint32_t next;
    uint16_t length;
    uint16_t gram_at;  /* in the run */
    bool is_beginning; /* every match begins with this run */
};

/* Grams of one length. */
struct grams {
    uint64_t bits[BUCKETS / 64]; /* whether a bucket has anybody */
    uint32_t first[BUCKETS];
};

struct rp_gram_index {
    struct grams grams[2]; /* of GRAM_BYTES, of SHORT_GRAM_BYTES */
    struct asker *askers;
    size_t asker_count;
    size_t asker_capacity;
    uint32_t *always; /* patterns too short for a gram: always asked */
    size_t always_count;
};

/* --- reading ------------------------------------------------------------------------------- */

struct reading {
    struct rp_failure_rules *rules;
    const char *source;
    uint32_t line;
    size_t rule_capacity;
    size_t pattern_capacity;
    size_t used_capacity;
    size_t example_capacity;
    /* Texts of patterns by hash, to find one that is there: open addressing, numbers + 1. */
    uint32_t *table;
    const char **texts;
    size_t *lengths;
    size_t table_size;
    rp_error *err;
};

RP_PRINTF(2, 3)
static rp_status refuse(const struct reading *reading, const char *format, ...) {
    rp_error why = RP_ERROR_INIT;
    va_list args;
    va_start(args, format);
    rp_fail_va(&why, RP_ERR_DATA, format, args);
    va_end(args);
    return rp_fail(reading->err, RP_ERR_DATA, "'%s', line %u: %s", reading->source, reading->line,
                   why.message);
}

static rp_status no_memory(const struct reading *reading) {
    return rp_fail(reading->err, RP_ERR_MEMORY, "no memory for the rules of '%s'", reading->source);
}

/* Make room for one more element; *block grows by half of itself. */
static bool grow(void **block, size_t *capacity, size_t count, size_t bytes_each) {
    if (count < *capacity) return true;
    size_t more = *capacity + *capacity / 2 + 64;
    void *bigger = rp_realloc_array(*block, more, bytes_each);
    if (!bigger) return false;
    *block = bigger;
    *capacity = more;
    return true;
}
#define GROW(array, capacity, count) grow((void **)&(array), &(capacity), (count), sizeof *(array))

static uint32_t hash_text(const char *text, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    }
    return hash;
}

/* The table is made for as many patterns as the text can have: one for each of its lines. */
static rp_status find_pattern(struct reading *reading, const char *text, size_t length,
                              uint32_t *number) {
    struct rp_failure_rules *rules = reading->rules;
    size_t slot = hash_text(text, length) & (reading->table_size - 1);
    while (reading->table[slot]) {
        uint32_t at = reading->table[slot] - 1;
        if (reading->lengths[at] == length && memcmp(reading->texts[at], text, length) == 0) {
            *number = at;
            return RP_OK;
        }
        slot = (slot + 1) & (reading->table_size - 1);
    }
    if (!GROW(rules->patterns, reading->pattern_capacity, rules->pattern_count)) {
        return no_memory(reading);
    }
    rp_error why = RP_ERROR_INIT;
    struct rp_pattern *pattern = NULL;
    rp_status status = rp_pattern_create(text, length, &pattern, &why);
    if (status == RP_ERR_DATA) return refuse(reading, "%s", why.message);
    if (status != RP_OK) return no_memory(reading);
    *number = (uint32_t)rules->pattern_count;
    rules->patterns[rules->pattern_count++] = pattern;
    reading->texts[*number] = text;
    reading->lengths[*number] = length;
    reading->table[slot] = *number + 1;
    return RP_OK;
}

static rp_status add_pattern(struct reading *reading, const char *text, size_t length,
                             uint16_t *count) {
    struct rp_failure_rules *rules = reading->rules;
    uint32_t number = 0;
    rp_status status = find_pattern(reading, text, length, &number);
    if (status != RP_OK) return status;
    if (!GROW(rules->used, reading->used_capacity, rules->used_count)) return no_memory(reading);
    rules->used[rules->used_count++] = number;
    if (*count == UINT16_MAX) return refuse(reading, "too many patterns");
    ++*count;
    return RP_OK;
}

static rp_status add_example(struct reading *reading, const char *text, size_t length) {
    struct rp_failure_rules *rules = reading->rules;
    if (!GROW(rules->examples, reading->example_capacity, rules->example_count)) {
        return no_memory(reading);
    }
    rules->examples[rules->example_count++] = (struct rp_failure_example){text, length};
    rules->rows[rules->count - 1].example_count++;
    return RP_OK;
}

static size_t word_length(const char *at, const char *end) {
    const char *from = at;
    while (at < end && *at != ' ') {
        at++;
    }
    return (size_t)(at - from);
}

static const char *skip_spaces(const char *at, const char *end) {
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

static bool copy_word(char *out, size_t out_bytes, const char *word, size_t length) {
    if (length == 0 || length >= out_bytes) return false;
    memcpy(out, word, length);
    out[length] = '\0';
    return true;
}

/* The name as it stands in the list; NULL: it is not there. */
static const char *name_among(const char *const *names, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) return names[i];
    }
    return NULL;
}

static rp_status read_verdict(struct reading *reading, struct rp_failure_rule *rule,
                              const char *word) {
    static const char *const engines[] = {RP_RULE_ENGINES};
    static const char *const systems[] = {RP_RULE_SYSTEMS};
    const char *engine = name_among(engines, sizeof engines / sizeof engines[0], word);
    const char *system = name_among(systems, sizeof systems / sizeof systems[0], word);
    rule->name = engine ? engine : system;
    rule->category = rp_category_of_name(word);
    if (rule->category != RP_CATEGORY_UNKNOWN || strcmp(word, "unknown") == 0) {
        rule->verdict = RP_VERDICT_CATEGORY;
    } else if (strcmp(word, "fact") == 0) {
        rule->verdict = RP_VERDICT_FACT;
    } else if (strcmp(word, "fallback") == 0) {
        rule->verdict = RP_VERDICT_FALLBACK;
    } else if (rule->name) {
        rule->verdict = engine ? RP_VERDICT_ENGINE : RP_VERDICT_SYSTEM;
    } else if (rp_device_kind_parse(word, &rule->kind, NULL) == RP_OK) {
        rule->verdict = RP_VERDICT_DEVICE;
    } else {
        return refuse(reading, "'%s' is no category", word);
    }
    return RP_OK;
}

static rp_status read_kinds(struct reading *reading, struct rp_failure_rule *rule, const char *at,
                            const char *end) {
    while (at < end) {
        char word[32];
        rp_device_kind kind = RP_DEVICE_CPU;
        size_t length = word_length(at, end);
        if (!copy_word(word, sizeof word, at, length) ||
            rp_device_kind_parse(word, &kind, NULL) != RP_OK) {
            return refuse(reading, "'%.*s' is no kind of device", (int)length, at);
        }
        rule->kinds |= UINT32_C(1) << kind;
        at = skip_spaces(at + length, end);
    }
    return RP_OK;
}

/* "CATEGORY STRENGTH [on KIND...]" */
static rp_status begin_rule(struct reading *reading, const char *at, const char *end) {
    struct rp_failure_rules *rules = reading->rules;
    if (!GROW(rules->rows, reading->rule_capacity, rules->count)) return no_memory(reading);
    if (rules->count == UINT16_MAX) return refuse(reading, "more than %d rules", UINT16_MAX);
    struct rp_failure_rule *rule = &rules->rows[rules->count];
    *rule = (struct rp_failure_rule){.line = reading->line,
                                     .first = (uint32_t)rules->used_count,
                                     .first_example = (uint32_t)rules->example_count};
    char word[48];
    size_t length = word_length(at, end);
    if (!copy_word(word, sizeof word, at, length)) return refuse(reading, "a category is expected");
    rp_status status = read_verdict(reading, rule, word);
    if (status != RP_OK) return status;
    at = skip_spaces(at + length, end);
    if (at == end || *at < '0' || *at > '9' || word_length(at, end) != 1) {
        return refuse(reading, "a strength from 0 to 9 is expected behind '%s'", word);
    }
    rule->strength = *at - '0';
    at = skip_spaces(at + 1, end);
    if (at < end) {
        if (end - at < 3 || memcmp(at, "on ", 3) != 0) {
            return refuse(reading, "'on KIND...' or nothing is expected behind the strength");
        }
        status = read_kinds(reading, rule, skip_spaces(at + 3, end), end);
    }
    if (status == RP_OK) rules->count++;
    return status;
}

static bool begins_with(const char **at, const char *end, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(end - *at) < length || memcmp(*at, word, length) != 0) return false;
    *at = skip_spaces(*at + length, end);
    return true;
}

/* A line that is set in: a pattern, a condition or an example. */
static rp_status continue_rule(struct reading *reading, const char *at, const char *end) {
    struct rp_failure_rules *rules = reading->rules;
    if (rules->count == 0) return refuse(reading, "a category comes first");
    struct rp_failure_rule *rule = &rules->rows[rules->count - 1];
    if (begins_with(&at, end, "= ")) return add_example(reading, at, (size_t)(end - at));
    if (rule->example_count > 0) return refuse(reading, "examples come last");
    if (begins_with(&at, end, "without ")) {
        return add_pattern(reading, at, (size_t)(end - at), &rule->without_count);
    }
    if (rule->without_count > 0)
        return refuse(reading, "'without' comes behind the other patterns");
    if (begins_with(&at, end, "with ")) {
        return add_pattern(reading, at, (size_t)(end - at), &rule->with_count);
    }
    if (rule->with_count > 0) return refuse(reading, "'with' comes behind the patterns");
    return add_pattern(reading, at, (size_t)(end - at), &rule->any_count);
}

static rp_status end_rule(struct reading *reading) {
    const struct rp_failure_rules *rules = reading->rules;
    if (rules->count > 0 && rules->rows[rules->count - 1].any_count == 0) {
        return refuse(reading, "the rule before has no pattern");
    }
    return RP_OK;
}

static rp_status read_line(struct reading *reading, const char *line, const char *end) {
    while (end > line && (end[-1] == ' ' || end[-1] == '\r')) {
        end--;
    }
    const char *at = skip_spaces(line, end);
    if (at == end || *at == '#') return RP_OK;
    if (at > line) return continue_rule(reading, at, end);
    rp_status status = end_rule(reading);
    return status == RP_OK ? begin_rule(reading, at, end) : status;
}

/* --- the index ----------------------------------------------------------------------------- */

static uint32_t hash_gram(const char *at, bool is_short) {
    uint32_t four = 0;
    if (is_short) {
        memcpy(&four, at, SHORT_GRAM_BYTES);
    } else {
        memcpy(&four, at, GRAM_BYTES);
    }
    return (four * 2654435761u) >> (32 - GRAM_BITS);
}

/* The runs of a pattern while its part is chosen whose grams are rarest. */
enum { RUNS_MAX = 64 };

struct runs {
    const char *texts[RUNS_MAX];
    size_t lengths[RUNS_MAX];
    unsigned parts[RUNS_MAX];
    size_t count;
    bool is_full;
};

static void take_run(const char *run, size_t length, unsigned part, void *user) {
    struct runs *runs = user;
    runs->is_full = runs->is_full || runs->count == RUNS_MAX;
    if (runs->is_full) return;
    runs->texts[runs->count] = run;
    runs->lengths[runs->count] = length;
    runs->parts[runs->count++] = part;
}

/* The rarest gram of a run, which stands at *at of it; NOBODY: it is too short. */
static uint32_t rarest_gram(const char *run, size_t length, bool is_short, const uint32_t *counts,
                            size_t *at) {
    uint32_t best = NOBODY;
    size_t gram_bytes = is_short ? SHORT_GRAM_BYTES : GRAM_BYTES;
    for (size_t i = 0; i + gram_bytes <= length; i++) {
        uint32_t gram = hash_gram(run + i, is_short);
        if (best != NOBODY && counts[gram] >= counts[best]) continue;
        best = gram;
        *at = i;
    }
    return best;
}

static void count_run(const char *run, size_t length, unsigned part, void *user) {
    uint32_t *counts = user;
    (void)part;
    for (size_t i = 0; i + GRAM_BYTES <= length; i++) {
        counts[hash_gram(run + i, false)]++;
    }
}

/* The part whose grams others have least; UINT_MAX: there is none whose runs all have one. */
static unsigned choose_part(const struct runs *runs, bool is_short, const uint32_t *counts) {
    unsigned best = UINT_MAX;
    uint64_t best_cost = UINT64_MAX;
    for (size_t i = 0; i < runs->count;) {
        unsigned part = runs->parts[i];
        uint64_t cost = 0;
        bool is_usable = true;
        for (; i < runs->count && runs->parts[i] == part; i++) {
            size_t at = 0;
            uint32_t gram = rarest_gram(runs->texts[i], runs->lengths[i], is_short, counts, &at);
            is_usable = is_usable && gram != NOBODY;
            if (gram != NOBODY) cost += counts[gram];
        }
        if (is_usable && cost < best_cost) {
            best = part;
            best_cost = cost;
        }
    }
    return best;
}

static bool add_asker(struct rp_gram_index *index, bool is_short, uint32_t gram,
                      struct asker asker) {
    struct grams *grams = &index->grams[is_short];
    if (!GROW(index->askers, index->asker_capacity, index->asker_count)) return false;
    asker.next = grams->first[gram];
    index->askers[index->asker_count] = asker;
    grams->first[gram] = (uint32_t)index->asker_count++;
    grams->bits[gram / 64] |= UINT64_C(1) << (gram % 64);
    return true;
}

static bool index_pattern(struct rp_gram_index *index, const struct rp_pattern *pattern,
                          uint32_t number, const uint32_t *counts) {
    struct runs runs = {.count = 0};
    rp_pattern_runs(pattern, take_run, &runs);
    bool is_short = false;
    unsigned part = choose_part(&runs, is_short, counts);
    if (part == UINT_MAX) {
        is_short = true;
        part = choose_part(&runs, is_short, counts);
    }
    if (part == UINT_MAX || runs.is_full) {
        index->always[index->always_count++] = number;
        return true;
    }
    bool is_alone = runs.count == 1 || runs.parts[1] != runs.parts[0];
    for (size_t i = 0; i < runs.count; i++) {
        if (runs.parts[i] != part) continue;
        size_t at = 0;
        uint32_t gram = rarest_gram(runs.texts[i], runs.lengths[i], is_short, counts, &at);
        struct asker asker = {.run = runs.texts[i],
                              .pattern = number,
                              .length = (uint16_t)runs.lengths[i],
                              .gram_at = (uint16_t)at,
                              .is_beginning = part == 0 && is_alone};
        if (!add_asker(index, is_short, gram, asker)) return false;
    }
    return true;
}

static void destroy_index(struct rp_gram_index *index) {
    if (!index) return;
    rp_free(index->askers);
    rp_free(index->always);
    rp_free(index);
}

static rp_status make_index(struct reading *reading) {
    struct rp_failure_rules *rules = reading->rules;
    struct rp_gram_index *index = rp_alloc(sizeof *index);
    rules->index = index;
    uint32_t *counts = rp_alloc_array(BUCKETS, sizeof *counts);
    if (index) index->always = rp_alloc_array(rules->pattern_count + 1, sizeof *index->always);
    if (!index || !counts || !index->always) {
        rp_free(counts);
        return no_memory(reading);
    }
    memset(index->grams[0].first, 0xFF, sizeof index->grams[0].first);
    memset(index->grams[1].first, 0xFF, sizeof index->grams[1].first);
    for (size_t i = 0; i < rules->pattern_count; i++) {
        rp_pattern_runs(rules->patterns[i], count_run, counts);
    }
    bool is_whole = true;
    for (uint32_t i = 0; is_whole && i < rules->pattern_count; i++) {
        is_whole = index_pattern(index, rules->patterns[i], i, counts);
    }
    rp_free(counts);
    return is_whole ? RP_OK : no_memory(reading);
}

/* Which rules a pattern is one of. */
static rp_status note_users(struct reading *reading) {
    struct rp_failure_rules *rules = reading->rules;
    rules->of_pattern_first = rp_alloc_array(rules->pattern_count + 2, sizeof(uint32_t));
    rules->of_pattern = rp_alloc_array(rules->used_count + 1, sizeof(uint16_t));
    if (!rules->of_pattern_first || !rules->of_pattern) return no_memory(reading);
    uint32_t *first = rules->of_pattern_first;
    for (size_t i = 0; i < rules->count; i++) {
        for (size_t j = 0; j < rules->rows[i].any_count; j++) {
            first[rules->used[rules->rows[i].first + j] + 2]++;
        }
    }
    for (size_t i = 2; i < rules->pattern_count + 2; i++) {
        first[i] += first[i - 1];
    }
    for (size_t i = 0; i < rules->count; i++) {
        for (size_t j = 0; j < rules->rows[i].any_count; j++) {
            rules->of_pattern[first[rules->used[rules->rows[i].first + j] + 1]++] = (uint16_t)i;
        }
    }
    return RP_OK;
}

/* --- the whole ----------------------------------------------------------------------------- */

static rp_status read_text(struct reading *reading, const char *text, size_t length) {
    const char *end = text + length;
    rp_status status = RP_OK;
    for (const char *line = text; status == RP_OK && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        reading->line++;
        status = read_line(reading, line, stop);
        line = stop + 1;
    }
    return status == RP_OK ? end_rule(reading) : status;
}

static size_t count_lines(const char *text, size_t length) {
    size_t lines = 1;
    for (size_t i = 0; i < length; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

rp_status rp_failure_rules_create(const char *text, size_t length, const char *source,
                                  struct rp_failure_rules **out, rp_error *err) {
    struct reading reading = {.source = source, .err = err, .table_size = 64};
    size_t lines = count_lines(text, length);
    while (reading.table_size < 2 * lines) {
        reading.table_size *= 2;
    }
    reading.rules = rp_alloc(sizeof *reading.rules);
    reading.table = rp_alloc_array(reading.table_size, sizeof *reading.table);
    reading.texts = rp_alloc_array(lines, sizeof *reading.texts);
    reading.lengths = rp_alloc_array(lines, sizeof *reading.lengths);
    rp_status status = RP_OK;
    if (!reading.rules || !reading.table || !reading.texts || !reading.lengths) {
        status = no_memory(&reading);
    }
    if (status == RP_OK) status = read_text(&reading, text, length);
    if (status == RP_OK) status = make_index(&reading);
    if (status == RP_OK) status = note_users(&reading);
    rp_free(reading.table);
    rp_free(reading.texts);
    rp_free(reading.lengths);
    if (status != RP_OK) {
        rp_failure_rules_destroy(reading.rules);
        return status;
    }
    *out = reading.rules;
    return RP_OK;
}

void rp_failure_rules_destroy(struct rp_failure_rules *rules) {
    if (!rules) return;
    for (size_t i = 0; i < rules->pattern_count; i++) {
        rp_pattern_destroy(rules->patterns[i]);
    }
    rp_free(rules->patterns);
    rp_free(rules->rows);
    rp_free(rules->used);
    rp_free(rules->examples);
    rp_free(rules->of_pattern_first);
    rp_free(rules->of_pattern);
    destroy_index(rules->index);
    rp_free(rules);
}

/*
 * No lock: one that another thread held while this one forked would never be free in the child. Two
 * that come first both make rules, and one of them throws its away.
 */
static _Atomic(struct rp_failure_rules *) process_rules; /* acquire and release pair */

rp_status rp_failure_rules_of_process(const struct rp_failure_rules **out, rp_error *err) {
    struct rp_failure_rules *rules = atomic_load_explicit(&process_rules, memory_order_acquire);
    if (!rules) {
        struct rp_failure_rules *made = NULL;
        rp_status status = rp_failure_rules_create(
            rp_built_in_error_rules, rp_built_in_error_rules_bytes, "data/errors", &made, err);
        if (status != RP_OK) return status;
        if (atomic_compare_exchange_strong_explicit(&process_rules, &rules, made,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            rules = made;
        } else {
            rp_failure_rules_destroy(made);
        }
    }
    *out = rules;
    return RP_OK;
}

/* --- scanning ------------------------------------------------------------------------------ */

size_t rp_failure_rules_seen_bytes(const struct rp_failure_rules *rules) {
    return rules->pattern_count / 8 + 1;
}

enum { ASKED_MAX = 512 }; /* a line of 8 kB that is like more patterns is no message */

struct scan {
    const struct rp_failure_rules *rules;
    const char *line;
    size_t length;
    char small[RP_RULES_LINE_BYTES]; /* the same in small letters and with single blanks */
    size_t small_length;
    unsigned char *seen;
    uint32_t asked[ASKED_MAX];
    size_t asked_count;
    rp_failure_hit_fn *take;
    void *user;
};

/* No match of it begins before `from`. */
static void ask_pattern(struct scan *scan, uint32_t number, size_t from) {
    struct rp_pattern_match match;
    unsigned char bit = (unsigned char)(1 << (number % 8));
    if (scan->seen[number / 8] & bit || scan->asked_count == ASKED_MAX) return;
    scan->seen[number / 8] |= bit;
    scan->asked[scan->asked_count++] = number;
    if (rp_pattern_find_from(scan->rules->patterns[number], scan->line, scan->length, from,
                             &match)) {
        scan->take(number, &match, scan->user);
    }
}

/* Whether the whole of an asker's run stands where its gram was found. */
static bool has_run(const struct scan *scan, const struct asker *asker, size_t gram_at) {
    if (gram_at < asker->gram_at) return false;
    size_t begin = gram_at - asker->gram_at;
    return asker->length <= scan->small_length - begin &&
           memcmp(scan->small + begin, asker->run, asker->length) == 0;
}

/* Where the first match of an asker's pattern may begin, whose run is seen for the first time:
 * there, or at a blank before it. Only known while the line has all its blanks. */
static size_t first_place(const struct scan *scan, const struct asker *asker, size_t gram_at) {
    if (!asker->is_beginning || scan->small_length != scan->length) return 0;
    size_t begin = gram_at - asker->gram_at;
    return begin > 0 ? begin - 1 : 0;
}

static void scan_grams(struct scan *scan, bool is_short) {
    const struct rp_gram_index *index = scan->rules->index;
    const struct grams *grams = &index->grams[is_short];
    size_t gram_bytes = is_short ? SHORT_GRAM_BYTES : GRAM_BYTES;
    for (size_t i = 0; i + gram_bytes <= scan->small_length; i++) {
        uint32_t gram = hash_gram(scan->small + i, is_short);
        if (!(grams->bits[gram / 64] >> (gram % 64) & 1)) continue;
        for (uint32_t at = grams->first[gram]; at != NOBODY; at = index->askers[at].next) {
            const struct asker *asker = &index->askers[at];
            if (has_run(scan, asker, i))
                ask_pattern(scan, asker->pattern, first_place(scan, asker, i));
        }
    }
}

static void scan_line(struct scan *scan, const char *line, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        char c = line[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c + 32);
        if (c == '\t') c = ' ';
        if (c != ' ' || count == 0 || scan->small[count - 1] != ' ') scan->small[count++] = c;
    }
    scan->line = line;
    scan->length = length;
    scan->small_length = count;
    scan_grams(scan, false);
    scan_grams(scan, true);
    for (size_t i = 0; i < scan->rules->index->always_count; i++) {
        ask_pattern(scan, scan->rules->index->always[i], 0);
    }
}

void rp_failure_rules_scan(const struct rp_failure_rules *rules, const char *line, size_t length,
                           unsigned char *seen, rp_failure_hit_fn *take, void *user) {
    struct scan scan;
    scan.rules = rules;
    scan.seen = seen;
    scan.asked_count = 0;
    scan.take = take;
    scan.user = user;
    scan_line(&scan, line, length < RP_RULES_LINE_BYTES ? length : RP_RULES_LINE_BYTES);
    for (size_t i = 0; i < scan.asked_count; i++) {
        seen[scan.asked[i] / 8] = 0;
    }
}
