/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is copied once and cut up in place; rows point into the copy, and so do the pieces of
 * their texts. Rows of a category stand one after the other, so that choosing some is a walk.
 */
#include "failure/advice_rows.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "failure/built_in.h"
#include "placement/rules.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
#define RP_DEVICE_KIND_ONE(constant, number, name) +1
    KIND_COUNT = 0 RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE),
#undef RP_DEVICE_KIND_ONE
    CONDITIONS_MAX = 6,
    SETS_MAX = 32,
    SAFE_WORD_BYTES = 100,      /* a name that was cut to be shown is longer */
    COMMON = RP_CATEGORY_COUNT, /* the section of the rows of all categories */
    SECTION_COUNT,
};

static const char *const type_names[] = {"line", "do", "check"};
static const char *const others_names[] = {
#define NAME(constant, name) name,
    RP_OTHERS_MAP(NAME)
#undef NAME
};
static const char *const place_names[] = {
#define NAME(constant, name) name,
    RP_PLACE_MAP(NAME)
#undef NAME
};

/* A part of a text: letters, or a place. */
struct piece {
    const char *letters;
    uint32_t length;
    int32_t place; /* -1: letters */
};

struct pieces {
    uint32_t first;
    uint32_t count;
};

struct condition {
    int place;
    bool is_not;
    const char *like; /* NULL: it is enough that it is known */
};

struct rp_advice_row {
    enum rp_advice_type type;
    bool is_plainer; /* another form of the row before */
    uint32_t on;     /* a bit for each kind; 0: on any and on none */
    uint32_t off;
    uint32_t families;
    const char *engine; /* NULL: any */
    struct condition conditions[CONDITIONS_MAX];
    size_t condition_count;
    struct pieces text;
    struct pieces command;
};

/* What one place says of another: "cv2" is of the package "opencv-python". */
struct word {
    int target;
    int source;
    uint32_t on;
    const char *like; /* several, with a NUL after each and two at the end */
    const char *text;
};

struct section {
    size_t first;
    size_t count;
    enum rp_others others;
    bool is_there;
};

struct set {
    const char *name;
    size_t first;
    size_t count;
};

struct rp_advice_rows {
    char *bytes; /* the copy */
    struct rp_advice_row *rows;
    size_t row_count;
    struct piece *pieces;
    size_t piece_count;
    struct word *words;
    size_t word_count;
    const char *word_names[RP_PLACE_WORDS_MAX];
    size_t word_name_count;
    struct set sets[SETS_MAX];
    size_t set_count;
    struct section sections[SECTION_COUNT];
};

/* --- reading --------------------------------------------------------------------------------- */

struct reader {
    struct rp_advice_rows *rows;
    const char *source;
    size_t line;  /* where what is read began */
    char *at;     /* the rest of the text */
    size_t lines; /* that lie before it   */
    size_t *row_count;
    rp_error *err;
};

RP_PRINTF(2, 3)
static rp_status refuse(const struct reader *reader, const char *format, ...) {
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rp_fail(reader->err, RP_ERR_DATA, "'%s', line %zu: %s", reader->source, reader->line,
                   what);
}

static rp_status no_memory(const struct reader *reader) {
    return rp_fail(reader->err, RP_ERR_MEMORY, "no memory for '%s'", reader->source);
}

static size_t indent_of(const char *line) {
    return strspn(line, " ");
}

/* One line without its end, NULL at the end of the text. */
static char *take_line(struct reader *reader) {
    char *line = reader->at;
    if (!line || !*line) return NULL;
    char *end = strchr(line, '\n');
    reader->at = end ? end + 1 : NULL;
    if (end) *end = '\0';
    reader->lines++;
    return line;
}

static bool is_nothing(const char *line) {
    line += indent_of(line);
    return *line == '\0' || *line == '#';
}

/*
 * One statement: a line and those that are indented by four or more after it, joined by spaces; one
 * of these that begins with "$ " is its command. NULL at the end.
 */
static char *take_statement(struct reader *reader, char **command) {
    char *line = take_line(reader);
    while (line && is_nothing(line)) {
        line = take_line(reader);
    }
    *command = NULL;
    if (!line) return NULL;
    reader->line = reader->lines;
    char *end = line + strlen(line);
    while (reader->at && indent_of(reader->at) >= 4) {
        char *more = take_line(reader);
        if (is_nothing(more)) continue;
        more += indent_of(more);
        if (more[0] == '$' && more[1] == ' ') {
            *command = more + 2;
            continue;
        }
        size_t length = strlen(more);
        *end++ = ' ';
        memmove(end, more, length + 1); /* it only moves towards the beginning */
        end += length;
    }
    return line;
}

/* The next word of a head, NULL at its end. */
static char *take_word(char **at) {
    *at += strspn(*at, " ");
    if (!**at) return NULL;
    char *word = *at;
    *at += strcspn(*at, " ");
    if (**at) *(*at)++ = '\0';
    return word;
}

static int find_name(const char *const *names, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) return (int)i;
    }
    return -1;
}

int rp_advice_place(const struct rp_advice_rows *rows, const char *name, size_t length) {
    enum rp_fact_name fact = rp_fact_name_of_text(name, length);
    if (fact != RP_FACT_NAME_NONE) return (int)fact;
    for (size_t i = 0; i < sizeof place_names / sizeof place_names[0]; i++) {
        if (strlen(place_names[i]) == length && memcmp(place_names[i], name, length) == 0) {
            return RP_FACT_NAME_COUNT + (int)i;
        }
    }
    for (size_t i = 0; i < rows->word_name_count; i++) {
        if (strlen(rows->word_names[i]) == length &&
            memcmp(rows->word_names[i], name, length) == 0) {
            return RP_PLACE_COUNT + (int)i;
        }
    }
    return -1;
}

static rp_status add_piece(struct reader *reader, struct pieces *pieces, struct piece piece) {
    struct rp_advice_rows *rows = reader->rows;
    struct piece *grown = rp_realloc_array(rows->pieces, rows->piece_count + 1, sizeof *grown);
    if (!grown) return no_memory(reader);
    rows->pieces = grown;
    rows->pieces[rows->piece_count++] = piece;
    pieces->count++;
    return RP_OK;
}

/* A brace that no name of a place follows is a brace: commands have some. */
static size_t place_length(const char *at) {
    size_t length = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
    return *at == '{' && length > 0 && at[1 + length] == '}' ? length : 0;
}

static rp_status read_pieces(struct reader *reader, const char *text, struct pieces *pieces) {
    *pieces = (struct pieces){(uint32_t)reader->rows->piece_count, 0};
    rp_status status = RP_OK;
    const char *from = text;
    for (const char *at = text; status == RP_OK; at++) {
        size_t length = *at ? place_length(at) : 0;
        if (*at && length == 0) continue;
        if (at > from) {
            status = add_piece(reader, pieces, (struct piece){from, (uint32_t)(at - from), -1});
        }
        if (!*at || status != RP_OK) break;
        int place = rp_advice_place(reader->rows, at + 1, length);
        if (place < 0) {
            return refuse(reader, "'{%.*s}' is neither a fact nor a place", (int)length, at + 1);
        }
        if (place == RP_PLACE_CAUSE) return refuse(reader, "'{cause}' is not for showing");
        status = add_piece(reader, pieces, (struct piece){at, (uint32_t)length + 2, place});
        at += length + 1;
        from = at + 1;
    }
    return status;
}

static rp_status read_kind(struct reader *reader, const char *word, uint32_t *kinds) {
    rp_device_kind kind = RP_DEVICE_CPU;
    if (rp_device_kind_parse(word, &kind, NULL) != RP_OK) {
        return refuse(reader, "'%.40s' is no kind of device", word);
    }
    *kinds |= UINT32_C(1) << kind;
    return RP_OK;
}

static rp_status read_condition(struct reader *reader, struct rp_advice_row *row, char *word,
                                bool is_not) {
    if (row->condition_count == CONDITIONS_MAX) {
        return refuse(reader, "more than %d conditions", CONDITIONS_MAX);
    }
    size_t length = strcspn(word, "=");
    int place = rp_advice_place(reader->rows, word, length);
    if (place < 0) return refuse(reader, "'%.40s' is neither a fact nor a place", word);
    row->conditions[row->condition_count++] =
        (struct condition){place, is_not, word[length] ? word + length + 1 : NULL};
    return RP_OK;
}

/* [on KIND...] [off KIND...] [for FAMILY...] [in ENGINE] [when PLACE[=LIKE]...] [unless ...] */
static rp_status read_head(struct reader *reader, struct rp_advice_row *row, char *at) {
    static const char *const leads[] = {"on", "off", "for", "in", "when", "unless"};
    int lead = -1;
    rp_status status = RP_OK;
    for (char *word; status == RP_OK && (word = take_word(&at));) {
        int next = find_name(leads, sizeof leads / sizeof leads[0], word);
        if (next >= 0) {
            lead = next;
            continue;
        }
        switch (lead) {
        case 0:
            status = read_kind(reader, word, &row->on);
            break;
        case 1:
            status = read_kind(reader, word, &row->off);
            break;
        case 2: {
            rp_family family = rp_family_of_name(word);
            if (family == RP_FAMILY_UNKNOWN) {
                return refuse(reader, "'%.40s' is no family", word);
            }
            row->families |= UINT32_C(1) << family;
            break;
        }
        case 3:
            row->engine = word;
            break;
        case 4:
        case 5:
            status = read_condition(reader, row, word, lead == 5);
            break;
        default:
            return refuse(reader, "'%.40s' is none of on, off, for, in, when, unless", word);
        }
    }
    return status;
}

static rp_status add_row(struct reader *reader, const struct rp_advice_row *row) {
    struct rp_advice_rows *rows = reader->rows;
    struct rp_advice_row *grown = rp_realloc_array(rows->rows, rows->row_count + 1, sizeof *grown);
    if (!grown) return no_memory(reader);
    rows->rows = grown;
    rows->rows[rows->row_count++] = *row;
    (*reader->row_count)++;
    return RP_OK;
}

static rp_status read_use(struct reader *reader, char *at) {
    const struct rp_advice_rows *rows = reader->rows;
    const char *name = take_word(&at);
    const struct set *set = NULL;
    for (size_t i = 0; name && i < rows->set_count; i++) {
        if (strcmp(rows->sets[i].name, name) == 0) set = &rows->sets[i];
    }
    if (!set) return refuse(reader, "there is no set '%.40s' before", name ? name : "");
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < set->count; i++) {
        const struct rp_advice_row row = rows->rows[set->first + i];
        status = add_row(reader, &row);
    }
    return status;
}

/* "do on cuda when free: text", "or: text", "use SET" */
static rp_status read_row(struct reader *reader, char *statement, char *command) {
    char *at = statement + indent_of(statement);
    if (!reader->row_count) return refuse(reader, "a row belongs to a category or a set");
    if (strncmp(at, "use ", 4) == 0) {
        at += 4;
        return read_use(reader, at);
    }
    char *colon = strchr(at, ':');
    if (!colon) return refuse(reader, "a row is 'do|or|check|line [WHEN]: TEXT'");
    *colon = '\0';
    char *head = at;
    const char *type = take_word(&head);
    struct rp_advice_row row = {.type = RP_ADVICE_LINE};
    row.is_plainer = type && strcmp(type, "or") == 0;
    if (row.is_plainer && *reader->row_count == 0) return refuse(reader, "'or' comes after a row");
    int found = type ? find_name(type_names, sizeof type_names / sizeof type_names[0], type) : -1;
    if (found < 0 && !row.is_plainer) {
        return refuse(reader, "'%.40s' is none of do, or, check, line, use", type ? type : "");
    }
    row.type = row.is_plainer ? reader->rows->rows[reader->rows->row_count - 1].type
                              : (enum rp_advice_type)found;
    if (command && row.type != RP_ADVICE_CHECK) return refuse(reader, "only a check has a command");
    rp_status status = read_head(reader, &row, head);
    const char *text = colon + 1;
    text += strspn(text, " ");
    if (status == RP_OK && !*text) return refuse(reader, "a row without a text");
    if (status == RP_OK) status = read_pieces(reader, text, &row.text);
    if (status == RP_OK && command) status = read_pieces(reader, command, &row.command);
    return status == RP_OK ? add_row(reader, &row) : status;
}

static rp_status read_category(struct reader *reader, char *at) {
    struct rp_advice_rows *rows = reader->rows;
    const char *name = take_word(&at);
    const char *lead = take_word(&at);
    const char *others = take_word(&at);
    if (!name) return refuse(reader, "a category is 'category NAME others WHICH'");
    size_t which = COMMON;
    if (strcmp(name, "any") != 0) {
        which = (size_t)rp_category_of_name(name);
        if (which == 0 && strcmp(name, "unknown") != 0) {
            return refuse(reader, "'%.40s' is no category", name);
        }
    }
    struct section *section = &rows->sections[which];
    if (section->is_there) return refuse(reader, "'%.40s' is there already", name);
    *section = (struct section){.first = rows->row_count, .is_there = true};
    reader->row_count = &section->count;
    if (which == COMMON && !lead) return RP_OK;
    int found =
        others ? find_name(others_names, sizeof others_names / sizeof others_names[0], others) : -1;
    if (!lead || strcmp(lead, "others") != 0 || found < 0) {
        return refuse(reader, "'%.40s' does not say which 'others' may stand in", name);
    }
    section->others = (enum rp_others)found;
    return RP_OK;
}

static rp_status read_set(struct reader *reader, char *at) {
    struct rp_advice_rows *rows = reader->rows;
    const char *name = take_word(&at);
    if (!name) return refuse(reader, "a set has a name");
    if (rows->set_count == SETS_MAX) return refuse(reader, "more than %d sets", SETS_MAX);
    struct set *set = &rows->sets[rows->set_count++];
    *set = (struct set){name, rows->row_count, 0};
    reader->row_count = &set->count;
    return RP_OK;
}

/* "word TARGET of SOURCE [on KIND...] is LIKE...: TEXT" */
static rp_status read_word(struct reader *reader, char *at) {
    struct rp_advice_rows *rows = reader->rows;
    char *colon = strstr(at, ": ");
    if (!colon) return refuse(reader, "a word is 'word PLACE of PLACE [on KIND] is LIKE...: TEXT'");
    *colon = '\0';
    struct word word = {.text = colon + 2 + strspn(colon + 2, " ")};
    const char *target = take_word(&at);
    const char *of = take_word(&at);
    const char *source = take_word(&at);
    if (!target || !of || strcmp(of, "of") != 0 || !source) {
        return refuse(reader, "a word is 'word PLACE of PLACE [on KIND] is LIKE...: TEXT'");
    }
    word.target = rp_advice_place(rows, target, strlen(target));
    if (word.target < 0) {
        if (rows->word_name_count == RP_PLACE_WORDS_MAX) {
            return refuse(reader, "more than %d kinds of words", RP_PLACE_WORDS_MAX);
        }
        word.target = RP_PLACE_COUNT + (int)rows->word_name_count;
        rows->word_names[rows->word_name_count++] = target;
    }
    word.source = rp_advice_place(rows, source, strlen(source));
    if (word.source < 0) return refuse(reader, "'%.40s' is neither a fact nor a place", source);
    const char *next = take_word(&at);
    while (next && strcmp(next, "is") != 0) {
        rp_status status = strcmp(next, "on") == 0 ? RP_OK : read_kind(reader, next, &word.on);
        if (status != RP_OK) return status;
        next = take_word(&at);
    }
    at += strspn(at, " ");
    if (!next || !*at || !*word.text) return refuse(reader, "a word without its 'is LIKE: TEXT'");
    /* The colon became a NUL, and the blank behind it becomes the second one. */
    colon[1] = '\0';
    word.like = at;
    for (char *c = at; c < colon; c++) {
        if (*c == ' ') *c = '\0';
    }
    struct word *grown = rp_realloc_array(rows->words, rows->word_count + 1, sizeof *grown);
    if (!grown) return no_memory(reader);
    rows->words = grown;
    rows->words[rows->word_count++] = word;
    return RP_OK;
}

static rp_status read_statement(struct reader *reader, char *statement, char *command) {
    if (indent_of(statement) > 0) return read_row(reader, statement, command);
    char *at = statement;
    const char *lead = take_word(&at);
    if (strcmp(lead, "category") == 0) return read_category(reader, at);
    if (strcmp(lead, "set") == 0) return read_set(reader, at);
    if (strcmp(lead, "word") == 0) return read_word(reader, at);
    return refuse(reader, "'%.40s' is none of category, set, word", lead);
}

rp_status rp_advice_rows_create(const char *text, size_t length, const char *source,
                                struct rp_advice_rows **out, rp_error *err) {
    size_t bad_at = rp_text_utf8_error_at(text, length);
    if (length > RP_LIMIT_RULES_BYTES || bad_at < length || memchr(text, '\0', length)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': too long, or byte %zu is not part of a text",
                       source, bad_at);
    }
    struct rp_advice_rows *rows = rp_alloc(sizeof *rows);
    if (rows) rows->bytes = rp_alloc(length + 1);
    if (!rows || !rows->bytes) {
        rp_advice_rows_destroy(rows);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for '%s'", source);
    }
    memcpy(rows->bytes, text, length);
    struct reader reader = {.rows = rows, .source = source, .at = rows->bytes, .err = err};
    rp_status status = RP_OK;
    char *command;
    for (char *statement; status == RP_OK && (statement = take_statement(&reader, &command));) {
        status = read_statement(&reader, statement, command);
    }
    if (status != RP_OK) {
        rp_advice_rows_destroy(rows);
        return status;
    }
    *out = rows;
    return RP_OK;
}

void rp_advice_rows_destroy(struct rp_advice_rows *rows) {
    if (!rows) return;
    rp_free(rows->bytes);
    rp_free(rows->rows);
    rp_free(rows->pieces);
    rp_free(rows->words);
    rp_free(rows);
}

/* No lock, which a child of fork() might find held; of two that come first one throws its away. */
static _Atomic(struct rp_advice_rows *) process_rows; /* acquire and release pair */

rp_status rp_advice_rows_of_process(const struct rp_advice_rows **out, rp_error *err) {
    struct rp_advice_rows *rows = atomic_load_explicit(&process_rows, memory_order_acquire);
    if (!rows) {
        struct rp_advice_rows *made = NULL;
        rp_status status = rp_advice_rows_create(rp_built_in_advice, rp_built_in_advice_bytes,
                                                 "advice.txt", &made, err);
        if (status != RP_OK) return status;
        if (atomic_compare_exchange_strong_explicit(&process_rows, &rows, made,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            rows = made;
        } else {
            rp_advice_rows_destroy(made);
        }
    }
    *out = rows;
    return RP_OK;
}

/* --- choosing -------------------------------------------------------------------------------- */

static bool is_of_kind(uint32_t kinds, const struct rp_advice_case *which) {
    return which->has_kind && (kinds >> which->kind & 1);
}

/* Whether a text is as one of the patterns says. */
static bool is_like_any(const char *text, const char *like) {
    for (; *like; like += strlen(like) + 1) {
        if (rp_name_is_like(text, like)) return true;
    }
    return false;
}

void rp_advice_add_words(const struct rp_advice_rows *rows, struct rp_advice_case *which) {
    for (size_t i = 0; i < rows->word_count; i++) {
        const struct word *word = &rows->words[i];
        const char *source = which->places[word->source];
        if (!source || which->places[word->target]) continue;
        if (word->on && !is_of_kind(word->on, which)) continue;
        if (is_like_any(source, word->like)) which->places[word->target] = word->text;
    }
}

bool rp_advice_is_safe_word(const char *text) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "._/+@,=:-";
    size_t length = strlen(text);
    return length > 0 && length <= SAFE_WORD_BYTES && text[0] != '-' &&
           strspn(text, safe) == length && !strstr(text, "://");
}

static bool are_places_known(const struct rp_advice_rows *rows, const struct pieces *pieces,
                             const struct rp_advice_case *which, bool is_command) {
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &rows->pieces[pieces->first + i];
        if (piece->place < 0) continue;
        const char *text = which->places[piece->place];
        if (!text || (is_command && !rp_advice_is_safe_word(text))) return false;
    }
    return true;
}

static bool speaks_of(const struct rp_advice_rows *rows, const struct rp_advice_row *row,
                      const struct rp_advice_case *which) {
    if (row->on && !is_of_kind(row->on, which)) return false;
    if (row->off && is_of_kind(row->off, which)) return false;
    if (row->families && !(row->families >> which->family & 1)) return false;
    if (row->engine && (!which->engine || strcmp(row->engine, which->engine) != 0)) return false;
    for (size_t i = 0; i < row->condition_count; i++) {
        const struct condition *condition = &row->conditions[i];
        const char *text = which->places[condition->place];
        bool is_met = text && (!condition->like || rp_name_is_like(text, condition->like));
        if (is_met == condition->is_not) return false;
    }
    return are_places_known(rows, &row->text, which, false) &&
           are_places_known(rows, &row->command, which, true);
}

enum rp_others rp_advice_others(const struct rp_advice_rows *rows, rp_category category) {
    return rows->sections[category].others;
}

const struct rp_advice_row *rp_advice_next(const struct rp_advice_rows *rows, rp_category category,
                                           bool common, enum rp_advice_type type,
                                           const struct rp_advice_case *which,
                                           const struct rp_advice_row *after) {
    const struct section *section = &rows->sections[common ? (size_t)COMMON : (size_t)category];
    const struct rp_advice_row *row = rows->rows + section->first;
    const struct rp_advice_row *end = row + section->count;
    if (after) row = after + 1;
    bool is_said = after != NULL;
    for (; row < end; row++) {
        if (!row->is_plainer) is_said = false;
        if (is_said || row->type != type || !speaks_of(rows, row, which)) continue;
        return row;
    }
    return NULL;
}

/* --- writing --------------------------------------------------------------------------------- */

/* What no shell reads as anything else: it needs no quotes. */
static bool is_plain_word(const char *text) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+:-";
    return text[strspn(text, plain)] == '\0';
}

static void write_pieces(const struct rp_advice_rows *rows, const struct pieces *pieces,
                         const struct rp_advice_case *which, const char *quote, char *out) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &rows->pieces[pieces->first + i];
        const char *from = piece->place < 0 ? piece->letters : which->places[piece->place];
        size_t bytes = piece->place < 0 ? piece->length : strlen(from);
        bool is_quoted = piece->place >= 0 && *quote && !is_plain_word(from);
        if (length + bytes + 3 > RP_ADVICE_TEXT_BYTES) break;
        if (is_quoted) out[length++] = *quote;
        memcpy(out + length, from, bytes);
        length += bytes;
        if (is_quoted) out[length++] = *quote;
        out[length] = '\0';
    }
}

void rp_advice_write(const struct rp_advice_rows *rows, const struct rp_advice_row *row,
                     const struct rp_advice_case *which, char text[RP_ADVICE_TEXT_BYTES],
                     char command[RP_ADVICE_TEXT_BYTES]) {
    write_pieces(rows, &row->text, which, "", text);
    write_pieces(rows, &row->command, which, "'", command);
}
