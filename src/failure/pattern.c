/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pattern is a row of elements, matched from left to right with a way back. A hole or a star
 * takes as little as the rest allows; each step back is counted, so that no line costs more than
 * its length times a constant.
 *
 * Regular expressions say more than is needed here and less: the holes have types ("2.00 GiB" is
 * one thing), and tables of messages stay readable without escapes.
 */
#include "failure/pattern.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

enum element_kind { LITERAL, STAR, HOLE, CHOICE };

enum {
    ELEMENTS_MAX = 32,
    HOLE_BYTES_MAX = 300,
    STEPS_MAX = 20000, /* tries of the rest of a pattern, for one line */
};

struct element {
    enum element_kind kind;
    enum rp_fact_name fact; /* of a hole, or a literal that is one; RP_FACT_NAME_NONE: none */
    const char *text;       /* of a literal; of a choice each with its length in front */
    size_t length;
};

struct rp_pattern {
    size_t count;
    uint64_t first[4]; /* the characters that a match may begin with, a bit for each */
    bool is_at_start;
    bool is_at_end;
    struct element elements[]; /* and their texts behind them */
};

/* A pattern while it is read: most have a few elements of the many that one may have. */
struct draft {
    struct element elements[ELEMENTS_MAX];
    size_t count;
    bool is_at_start;
    bool is_at_end;
    char bytes[RP_PATTERN_BYTES_MAX + 2];
};

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static char small(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* Not those beyond ASCII: Chinese and Japanese go on without a space beside an English message. */
static bool is_word(char c) {
    c = small(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* --- reading a pattern --------------------------------------------------------------------- */

struct reading {
    struct draft *draft;
    const char *text;
    const char *at;
    const char *end;
    char *out;         /* where the next byte of a literal goes */
    bool is_open;      /* the last element is a literal that goes on */
    size_t hole_count; /* of facts */
    rp_error *err;
};

RP_PRINTF(2, 3)
static rp_status refuse(const struct reading *reading, const char *format, ...) {
    char what[160];
    va_list args;
    va_start(args, format);
    rp_error why = RP_ERROR_INIT;
    rp_fail_va(&why, RP_ERR_DATA, format, args);
    va_end(args);
    memcpy(what, why.message, sizeof what - 1);
    what[sizeof what - 1] = '\0';
    return rp_fail(reading->err, RP_ERR_DATA, "pattern '%.*s': %s",
                   (int)(reading->end - reading->text), reading->text, what);
}

/* NULL after saying that there are too many. */
static struct element *add_element(struct reading *reading, enum element_kind kind) {
    struct draft *draft = reading->draft;
    if (draft->count == ELEMENTS_MAX) {
        refuse(reading, "more than %d parts", ELEMENTS_MAX);
        return NULL;
    }
    struct element *element = &draft->elements[draft->count++];
    *element = (struct element){
        .kind = kind, .fact = RP_FACT_NAME_NONE, .text = reading->out, .length = 0};
    reading->is_open = kind == LITERAL;
    return element;
}

static rp_status add_byte(struct reading *reading, char byte) {
    struct element *element = reading->is_open
                                  ? &reading->draft->elements[reading->draft->count - 1]
                                  : add_element(reading, LITERAL);
    if (!element) return RP_ERR_DATA;
    if (is_space(byte)) {
        if (element->length > 0 && element->text[element->length - 1] == ' ') return RP_OK;
        byte = ' ';
    }
    *reading->out++ = small(byte);
    element->length++;
    return RP_OK;
}

/* What a hole is filled with that says it: "{library=NCCL}". */
static rp_status read_words(struct reading *reading, const char *at, const char *end,
                            struct element *hole) {
    enum rp_fact_type type = rp_fact_type_of(hole->fact);
    if (at == end || type == RP_FACT_BYTES || type == RP_FACT_NUMBER) {
        return refuse(reading, "'%s' has no words", rp_fact_name_text(hole->fact));
    }
    rp_status status = RP_OK;
    while (status == RP_OK && at < end) {
        status = add_byte(reading, *at++);
    }
    reading->is_open = false;
    return status;
}

static rp_status read_hole(struct reading *reading) {
    const char *name = reading->at;
    const char *close = memchr(name, '}', (size_t)(reading->end - name));
    if (!close) return refuse(reading, "a '{' is not closed");
    const char *words = memchr(name, '=', (size_t)(close - name));
    size_t length = (size_t)((words ? words : close) - name);
    struct element *hole = add_element(reading, words ? LITERAL : HOLE);
    if (!hole) return RP_ERR_DATA;
    if (length > 0 || words) {
        hole->fact = rp_fact_name_of_text(name, length);
        if (hole->fact == RP_FACT_NAME_NONE) {
            return refuse(reading, "'%.*s' is no fact", (int)length, name);
        }
        if (++reading->hole_count > RP_PATTERN_HOLES_MAX) {
            return refuse(reading, "more than %d facts", RP_PATTERN_HOLES_MAX);
        }
    }
    reading->at = close + 1;
    return words ? read_words(reading, words + 1, close, hole) : RP_OK;
}

/* One of the choices; *reading->at is behind it, at '|' or ']'. */
static rp_status read_one_choice(struct reading *reading) {
    char *length = reading->out++;
    while (reading->at < reading->end && *reading->at != ']' && *reading->at != '|') {
        char c = *reading->at++;
        if (c == '\\' && reading->at < reading->end) {
            c = *reading->at++;
        } else if (c == '{' || c == '[' || c == '*') {
            return refuse(reading, "only words stand between '[' and ']'");
        }
        *reading->out++ = (char)(is_space(c) ? ' ' : small(c));
    }
    size_t bytes = (size_t)(reading->out - length - 1);
    if (bytes > UINT8_MAX) return refuse(reading, "a choice of more than %d bytes", UINT8_MAX);
    *length = (char)(unsigned char)bytes;
    return RP_OK;
}

/* "[a|b|]": the choices one after another. */
static rp_status read_choice(struct reading *reading) {
    struct element *choice = add_element(reading, CHOICE);
    if (!choice) return RP_ERR_DATA;
    rp_status status = RP_OK;
    while (status == RP_OK) {
        status = read_one_choice(reading);
        if (status != RP_OK) break;
        if (reading->at == reading->end) return refuse(reading, "a '[' is not closed");
        if (*reading->at++ == ']') break;
    }
    if (status == RP_OK) choice->length = (size_t)(reading->out - choice->text);
    return status;
}

static rp_status read_part(struct reading *reading) {
    char c = *reading->at++;
    switch (c) {
    case '{':
        return read_hole(reading);
    case '[':
        return read_choice(reading);
    case '*':
        return add_element(reading, STAR) ? RP_OK : RP_ERR_DATA;
    case '\\':
        if (reading->at == reading->end) return refuse(reading, "it ends with a backslash");
        return add_byte(reading, *reading->at++);
    case '$':
        if (reading->at != reading->end) return add_byte(reading, c);
        reading->draft->is_at_end = true;
        return RP_OK;
    default:
        return add_byte(reading, c);
    }
}

/* The next of the choices of a part, NULL behind the last; *at begins at its text. */
static const char *next_choice(const struct element *choice, const char **at, size_t *length) {
    if (*at == choice->text + choice->length) return NULL;
    const char *text = *at + 1;
    *length = (unsigned char)**at;
    *at = text + *length;
    return text;
}

/* Whether each of the choices is a word. */
static bool is_whole(const struct element *choice) {
    const char *at = choice->text;
    size_t length = 1;
    while (length > 0 && next_choice(choice, &at, &length)) {
    }
    return length > 0;
}

static bool has_words(const struct draft *draft) {
    for (size_t i = 0; i < draft->count; i++) {
        const struct element *element = &draft->elements[i];
        if (element->kind == LITERAL || (element->kind == CHOICE && is_whole(element))) return true;
    }
    return false;
}

static void may_begin_with(struct rp_pattern *pattern, char c) {
    unsigned char byte = (unsigned char)c;
    if (byte == ' ') may_begin_with(pattern, '\t');
    pattern->first[byte / 64] |= UINT64_C(1) << (byte % 64);
    if (byte < 'a' || byte > 'z') return;
    byte = (unsigned char)(byte - 32);
    pattern->first[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static void note_beginnings(struct rp_pattern *pattern) {
    const struct element *first = &pattern->elements[0];
    if (first->kind == LITERAL) {
        may_begin_with(pattern, first->text[0]);
    } else if (first->kind == CHOICE && is_whole(first)) {
        const char *at = first->text;
        size_t length = 0;
        for (const char *each; (each = next_choice(first, &at, &length));) {
            may_begin_with(pattern, each[0]);
        }
    } else {
        memset(pattern->first, 0xFF, sizeof pattern->first);
    }
}

/* As large as it is, in one block. */
static struct rp_pattern *keep(const struct draft *draft, size_t bytes) {
    size_t elements_bytes = draft->count * sizeof draft->elements[0];
    struct rp_pattern *pattern = rp_alloc(sizeof *pattern + elements_bytes + bytes);
    if (!pattern) return NULL;
    char *texts = (char *)pattern->elements + elements_bytes;
    pattern->count = draft->count;
    pattern->is_at_start = draft->is_at_start;
    pattern->is_at_end = draft->is_at_end;
    memcpy(texts, draft->bytes, bytes);
    for (size_t i = 0; i < draft->count; i++) {
        pattern->elements[i] = draft->elements[i];
        pattern->elements[i].text = texts + (draft->elements[i].text - draft->bytes);
    }
    note_beginnings(pattern);
    return pattern;
}

rp_status rp_pattern_create(const char *text, size_t length, struct rp_pattern **out,
                            rp_error *err) {
    struct draft draft = {.count = 0};
    struct reading reading = {.draft = &draft,
                              .text = text,
                              .at = text,
                              .end = text + length,
                              .out = draft.bytes,
                              .err = err};
    if (length > RP_PATTERN_BYTES_MAX) {
        return rp_fail(err, RP_ERR_DATA, "pattern '%.40s...': longer than %d bytes", text,
                       RP_PATTERN_BYTES_MAX);
    }
    if (length > 0 && *reading.at == '^') {
        draft.is_at_start = true;
        reading.at++;
    }
    rp_status status = RP_OK;
    while (status == RP_OK && reading.at < reading.end) {
        status = read_part(&reading);
    }
    if (status == RP_OK && !has_words(&draft)) {
        status = refuse(&reading, "it has no word of its own");
    }
    if (status != RP_OK) return status;
    struct rp_pattern *pattern = keep(&draft, (size_t)(reading.out - draft.bytes));
    if (!pattern) return rp_fail(err, RP_ERR_MEMORY, "no memory for a pattern");
    *out = pattern;
    return RP_OK;
}

void rp_pattern_destroy(struct rp_pattern *pattern) {
    rp_free(pattern);
}

/* A text without the blanks at its ends. */
static const char *trim(const char *text, size_t length, size_t *trimmed) {
    while (length > 0 && *text == ' ') {
        text++;
        length--;
    }
    while (length > 0 && text[length - 1] == ' ') {
        length--;
    }
    *trimmed = length;
    return text;
}

void rp_pattern_runs(const struct rp_pattern *pattern, rp_pattern_run_fn *take, void *user) {
    size_t length = 0;
    for (size_t i = 0; i < pattern->count; i++) {
        const struct element *element = &pattern->elements[i];
        if (element->kind == LITERAL) {
            const char *run = trim(element->text, element->length, &length);
            if (length > 0) take(run, length, (unsigned)i, user);
        }
        if (element->kind != CHOICE || !is_whole(element)) continue;
        const char *at = element->text;
        size_t choice_length = 0;
        for (const char *each; (each = next_choice(element, &at, &choice_length));) {
            const char *run = trim(each, choice_length, &length);
            take(run, length, (unsigned)i, user);
        }
    }
}

/* --- matching ------------------------------------------------------------------------------ */

struct matching {
    const struct rp_pattern *pattern;
    const char *line;
    size_t length;
    unsigned steps;
    struct rp_pattern_match *match;
};

static bool match_rest(struct matching *matching, size_t index, size_t at);

/* Where a literal that begins at `at` ends in the line; SIZE_MAX: it is not there. */
static size_t match_literal(const struct matching *matching, const char *text, size_t length,
                            size_t at) {
    for (size_t i = 0; i < length; i++) {
        if (at >= matching->length) return SIZE_MAX;
        if (text[i] == ' ') {
            bool is_passed = i == 0 && at > 0 && is_space(matching->line[at - 1]);
            if (!is_space(matching->line[at]) && !is_passed) return SIZE_MAX;
            while (at < matching->length && is_space(matching->line[at])) {
                at++;
            }
        } else if (small(matching->line[at++]) != text[i]) {
            return SIZE_MAX;
        }
    }
    return at;
}

static bool match_choice(struct matching *matching, size_t index, size_t at) {
    const struct element *choice = &matching->pattern->elements[index];
    const char *rest = choice->text;
    size_t length = 0;
    for (const char *each; (each = next_choice(choice, &rest, &length));) {
        size_t next = match_literal(matching, each, length, at);
        if (next != SIZE_MAX && match_rest(matching, index + 1, next)) return true;
    }
    return false;
}

static bool match_star(struct matching *matching, size_t index, size_t at) {
    const struct element *next = &matching->pattern->elements[index + 1];
    bool is_last = index + 1 == matching->pattern->count;
    if (is_last) return match_rest(matching, index + 1, at);
    for (; at <= matching->length; at++) {
        if (next->kind == LITERAL && next->text[0] != ' ' &&
            (at == matching->length || small(matching->line[at]) != next->text[0])) {
            continue;
        }
        if (index == 0) matching->match->start = at;
        if (match_rest(matching, index + 1, at)) return true;
        if (matching->steps == 0) return false;
    }
    return false;
}

static bool is_quote(char c) {
    return c == '\'' || c == '"' || c == '`';
}

/* Quotes around what stands there are not part of it. */
static void keep_hole(struct matching *matching, enum rp_fact_name name, size_t start, size_t end,
                      uint64_t number) {
    struct rp_pattern_match *match = matching->match;
    const char *line = matching->line;
    if (name == RP_FACT_NAME_NONE) return;
    if (end - start > 2 && is_quote(line[start]) && line[end - 1] == line[start]) {
        start++;
        end--;
    }
    match->holes[match->hole_count++] =
        (struct rp_pattern_hole){.name = name, .start = start, .end = end, .number = number};
}

static bool is_between_quotes(const struct matching *matching, size_t at) {
    return at > 0 && strchr("'\"`<", matching->line[at - 1]) && matching->line[at - 1] != '\0';
}

/* A hole that nothing certain follows: as far as a word goes. */
static size_t end_of_word(const struct matching *matching, size_t at, enum rp_fact_type type) {
    size_t end = at;
    const char *line = matching->line;
    if (type == RP_FACT_PATH) return rp_fact_path_end(line, matching->length, at);
    if (type == RP_FACT_TEXT) {
        end = matching->length;
        if (end - at > HOLE_BYTES_MAX) end = at + HOLE_BYTES_MAX;
        while (end > at && is_space(line[end - 1])) {
            end--;
        }
        return end;
    }
    while (end < matching->length && end - at < HOLE_BYTES_MAX && !is_space(line[end]) &&
           !strchr("'\"`<>,;()[]{}|", line[end])) {
        end++;
    }
    while (end > at && strchr(".:!?", line[end - 1])) {
        end--;
    }
    return end;
}

/* Where the quote that a word stands in is closed; `at`: nowhere near. */
static size_t end_of_quoted(const struct matching *matching, size_t at, enum rp_fact_type type) {
    char quote = matching->line[at - 1];
    for (size_t end = at; end < matching->length && end - at < HOLE_BYTES_MAX; end++) {
        if (matching->line[end] == quote) return end;
        if (type != RP_FACT_PATH && is_space(matching->line[end])) return at;
    }
    return at;
}

/* A word between quotes goes without them. */
static bool match_text_hole(struct matching *matching, size_t index, size_t at,
                            enum rp_fact_type type) {
    const struct element *hole = &matching->pattern->elements[index];
    bool is_last = index + 1 == matching->pattern->count;
    bool is_free = is_last || hole[1].kind != LITERAL;
    size_t kept = matching->match->hole_count;
    if (is_free && !(is_last && matching->pattern->is_at_end)) {
        bool is_quoted =
            type != RP_FACT_TEXT && at < matching->length && is_quote(matching->line[at]);
        at += is_quoted;
        size_t end =
            is_quoted ? end_of_quoted(matching, at, type) : end_of_word(matching, at, type);
        if (end == at) return false;
        keep_hole(matching, hole->fact, at, end, 0);
        if (match_rest(matching, index + 1, end + is_quoted)) return true;
        matching->match->hole_count = kept;
        return false;
    }
    bool takes_spaces =
        type == RP_FACT_TEXT || (type == RP_FACT_PATH && is_between_quotes(matching, at));
    size_t path_end =
        type == RP_FACT_PATH ? rp_fact_path_end(matching->line, matching->length, at) : at;
    for (size_t end = at; end < matching->length && end - at < HOLE_BYTES_MAX;) {
        if (!takes_spaces && is_space(matching->line[end]) && end >= path_end) return false;
        end++;
        if (!is_last && hole[1].text[0] != ' ' &&
            (end == matching->length || small(matching->line[end]) != hole[1].text[0])) {
            continue;
        }
        keep_hole(matching, hole->fact, at, end, 0);
        if (match_rest(matching, index + 1, end)) return true;
        matching->match->hole_count = kept;
        if (matching->steps == 0) return false;
    }
    return false;
}

/* Words that are a fact themselves are kept as one. */
static bool match_words(struct matching *matching, size_t index, size_t at) {
    const struct element *words = &matching->pattern->elements[index];
    size_t kept = matching->match->hole_count;
    size_t next = match_literal(matching, words->text, words->length, at);
    if (next == SIZE_MAX) return false;
    keep_hole(matching, words->fact, at, next, 0);
    if (match_rest(matching, index + 1, next)) return true;
    matching->match->hole_count = kept;
    return false;
}

static bool match_hole(struct matching *matching, size_t index, size_t at) {
    const struct element *hole = &matching->pattern->elements[index];
    enum rp_fact_type type =
        hole->fact == RP_FACT_NAME_NONE ? RP_FACT_WORD : rp_fact_type_of(hole->fact);
    if (type != RP_FACT_BYTES && type != RP_FACT_NUMBER && type != RP_FACT_VERSION) {
        return match_text_hole(matching, index, at, type);
    }
    uint64_t number = 0;
    const char *end =
        at < matching->length
            ? rp_fact_read(type, matching->line + at, matching->line + matching->length, &number)
            : NULL;
    if (!end) return false;
    size_t kept = matching->match->hole_count;
    /* "887" of "887A0007" is no number, though the message is the same. */
    bool is_part = type == RP_FACT_NUMBER && index + 1 == matching->pattern->count &&
                   end < matching->line + matching->length && is_word(*end);
    if (!is_part) keep_hole(matching, hole->fact, at, (size_t)(end - matching->line), number);
    if (match_rest(matching, index + 1, (size_t)(end - matching->line))) return true;
    matching->match->hole_count = kept;
    return false;
}

static bool ends_well(const struct matching *matching, size_t at) {
    const struct rp_pattern *pattern = matching->pattern;
    const struct element *last = &pattern->elements[pattern->count - 1];
    if (pattern->is_at_end) {
        while (at < matching->length && is_space(matching->line[at])) {
            at++;
        }
        return at == matching->length;
    }
    if (last->kind != LITERAL && last->kind != CHOICE) return true;
    return at == 0 || at == matching->length || !is_word(matching->line[at - 1]) ||
           !is_word(matching->line[at]);
}

static bool match_rest(struct matching *matching, size_t index, size_t at) {
    if (matching->steps == 0) return false;
    matching->steps--;
    if (index == matching->pattern->count) {
        if (!ends_well(matching, at)) return false;
        matching->match->end = at;
        return true;
    }
    const struct element *element = &matching->pattern->elements[index];
    switch (element->kind) {
    case LITERAL:
        return match_words(matching, index, at);
    case STAR:
        return match_star(matching, index, at);
    case HOLE:
        return match_hole(matching, index, at);
    case CHOICE:
        return match_choice(matching, index, at);
    }
    return false;
}

/* Whether a match may begin there, as far as one character tells. */
static bool may_begin(const struct matching *matching, size_t at) {
    const struct rp_pattern *pattern = matching->pattern;
    enum element_kind first = pattern->elements[0].kind;
    if (first == STAR || first == HOLE || at == matching->length) return true;
    unsigned char byte = (unsigned char)matching->line[at];
    if (!(pattern->first[byte / 64] >> (byte % 64) & 1)) return false;
    return at == 0 || !is_word(matching->line[at]) || !is_word(matching->line[at - 1]);
}

bool rp_pattern_find(const struct rp_pattern *pattern, const char *line, size_t length,
                     struct rp_pattern_match *match) {
    return rp_pattern_find_from(pattern, line, length, 0, match);
}

bool rp_pattern_find_from(const struct rp_pattern *pattern, const char *line, size_t length,
                          size_t from, struct rp_pattern_match *match) {
    struct matching matching = {
        .pattern = pattern, .line = line, .length = length, .steps = STEPS_MAX, .match = match};
    for (size_t at = pattern->is_at_start ? 0 : from; at <= length && matching.steps > 0; at++) {
        if (!may_begin(&matching, at)) {
            if (pattern->is_at_start && !(at < length && is_space(line[at]))) return false;
            continue;
        }
        match->start = at;
        match->hole_count = 0;
        if (match_rest(&matching, 0, at)) return true;
        if (pattern->elements[0].kind == STAR) return false; /* it has been everywhere */
        if (pattern->is_at_start && !(at < length && is_space(line[at]))) return false;
    }
    return false;
}
