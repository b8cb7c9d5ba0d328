/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First three windows are cut out of a text that is very long; these are cleaned and redacted; then
 * what is kept is cut out of the result. The windows are much wider than what is kept of them, so
 * that a secret which is cut in two, and not seen for one, lies where nothing is kept.
 */
#include "failure/kept_text.h"

#include <stdbool.h>
#include <string.h>

enum {
    WINDOW_BYTES = 256 << 10, /* even: a window of UTF-16 begins with a whole unit */
    HEAD_BYTES = 20 << 10,
    MIDDLE_BYTES = 24 << 10,
    TAIL_BYTES = RP_KEPT_TEXT_BYTES - HEAD_BYTES - MIDDLE_BYTES,
    LINE_LOOK_BYTES = 1 << 10, /* so far from where it falls, a cut looks for a line's end */
    TERMINAL_CODE_BYTES_MAX = 1 << 10,
    GAPS_MAX = 2,
};

/* --- UTF-16 ---------------------------------------------------------------------------------- */

enum wide { NOT_WIDE, LITTLE_ENDIAN_WIDE, BIG_ENDIAN_WIDE };

/* Windows PowerShell writes files so: "> error.txt". */
static enum wide wide_of(const char *text, size_t length) {
    length -= length % 2;
    if (length < 4) return NOT_WIDE;
    if (memcmp(text, "\xFF\xFE", 2) == 0) return LITTLE_ENDIAN_WIDE;
    if (memcmp(text, "\xFE\xFF", 2) == 0) return BIG_ENDIAN_WIDE;
    size_t zeros[2] = {0, 0};
    size_t looked = length < 256 ? length : 256;
    for (size_t i = 0; i < looked; i++) {
        zeros[i % 2] += text[i] == '\0';
    }
    if (zeros[1] > looked / 3 && zeros[0] == 0) return LITTLE_ENDIAN_WIDE;
    if (zeros[0] > looked / 3 && zeros[1] == 0) return BIG_ENDIAN_WIDE;
    return NOT_WIDE;
}

static unsigned unit_at(const char *text, enum wide wide) {
    unsigned first = (unsigned char)text[0];
    unsigned second = (unsigned char)text[1];
    return wide == LITTLE_ENDIAN_WIDE ? first | second << 8 : first << 8 | second;
}

static void append_utf8(struct rp_text *out, unsigned c) {
    char bytes[4];
    size_t length = 1;
    if (c < 0x80) {
        bytes[0] = (char)c;
    } else if (c < 0x800) {
        bytes[0] = (char)(0xC0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 0x3F));
        length = 2;
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xE0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (c & 0x3F));
        length = 3;
    } else {
        bytes[0] = (char)(0xF0 | c >> 18);
        bytes[1] = (char)(0x80 | (c >> 12 & 0x3F));
        bytes[2] = (char)(0x80 | (c >> 6 & 0x3F));
        bytes[3] = (char)(0x80 | (c & 0x3F));
        length = 4;
    }
    rp_text_append(out, bytes, length);
}

/* The same text in UTF-8. */
static void narrow(const char *text, size_t length, enum wide wide, struct rp_text *out,
                   size_t *mark) {
    size_t marked = 0;
    for (size_t i = 0; i + 1 < length; i += 2) {
        if (i <= *mark) marked = out->length;
        unsigned c = unit_at(text + i, wide);
        bool is_high = c >= 0xD800 && c < 0xDC00 && i + 3 < length;
        unsigned low = is_high ? unit_at(text + i + 2, wide) : 0;
        if (low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            i += 2;
        }
        bool is_half = c >= 0xD800 && c < 0xE000;
        if (c != 0xFEFF) append_utf8(out, is_half ? '?' : c);
    }
    *mark = marked;
}

/* --- cleaning -------------------------------------------------------------------------------- */

/* Length of a terminal's code that begins with ESC; 0: none */
static size_t terminal_code_length(const char *text, size_t length) {
    size_t max = length < TERMINAL_CODE_BYTES_MAX ? length : TERMINAL_CODE_BYTES_MAX;
    if (text[0] != '\x1B') return 0;
    if (max < 2) return max;
    size_t at = 2;
    if (text[1] == '[') {
        while (at < max && text[at] >= 0x20 && text[at] <= 0x3F) {
            at++;
        }
        return at < max ? at + 1 : at;
    }
    if (text[1] == ']') {
        while (at < max && text[at] != '\a' && text[at] != '\x1B' && text[at] != '\n') {
            at++;
        }
        if (at + 1 < max && text[at] == '\x1B' && text[at + 1] == '\\') return at + 2;
        return at < max && text[at] == '\a' ? at + 1 : at;
    }
    at = 1; /* "ESC ( B" */
    while (at < max && text[at] >= 0x20 && text[at] <= 0x2F) {
        at++;
    }
    return at < max && text[at] >= 0x30 && text[at] < 0x7F ? at + 1 : at;
}

/* How many bytes at the beginning are as they should be. */
static size_t clean_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length &&
           (text[at] == '\n' || text[at] == '\t' || (text[at] >= 0x20 && text[at] < 0x7F))) {
        at++;
    }
    return at;
}

/* Valid UTF-8 without control characters other than "\n" and "\t". */
static void clean(const char *text, size_t length, struct rp_text *out, size_t *mark) {
    size_t marked = out->length;
    bool is_marked = false;
    for (size_t i = 0; i < length;) {
        size_t step = clean_length(text + i, length - i);
        size_t kept = step;
        const char *stand = "";
        if (step == 0) {
            size_t most = length - i < 4 ? length - i : 4;
            size_t valid = 1;
            while (valid <= most && rp_text_utf8_error_at(text + i, valid) != valid) {
                valid++;
            }
            bool is_valid = valid <= most && rp_text_control_at(text + i, valid) == valid;
            size_t code = terminal_code_length(text + i, length - i);
            bool is_return = text[i] == '\r';
            bool is_line_end = is_return && i + 1 < length && text[i + 1] == '\n';
            kept = is_valid ? valid : 0;
            step = is_valid ? valid : code ? code : valid <= most ? valid : 1;
            stand = is_valid || code || is_line_end ? "" : is_return ? "\n" : "?";
        }
        if (!is_marked && *mark < i + step) {
            marked = out->length + (*mark - i < kept ? *mark - i : kept);
            is_marked = true;
        }
        rp_text_append(out, text + i, kept);
        rp_text_append(out, stand, strlen(stand));
        i += step;
    }
    *mark = is_marked ? marked : out->length;
}

/* --- windows --------------------------------------------------------------------------------- */

/* The redacted text, in which something is missing at the gaps. */
struct story {
    struct rp_text text;
    size_t mark;
    struct {
        size_t at;
        uint64_t hidden;
    } gaps[GAPS_MAX];
    size_t gap_count;
};

static void add_window(struct story *story, const char *text, size_t length, size_t mark,
                       bool has_mark, enum wide wide, const struct rp_own_names *names) {
    struct rp_text narrowed = RP_TEXT_INIT;
    struct rp_text cleaned = RP_TEXT_INIT;
    if (wide != NOT_WIDE) {
        narrow(text, length, wide, &narrowed, &mark);
        text = narrowed.bytes ? narrowed.bytes : "";
        length = narrowed.length;
    }
    clean(text, length, &cleaned, &mark);
    rp_redact_as(cleaned.bytes ? cleaned.bytes : "", cleaned.length, names, &story->text, &mark);
    if (has_mark) story->mark = mark;
    story->text.failed = story->text.failed || narrowed.failed || cleaned.failed;
    rp_text_fini(&narrowed);
    rp_text_fini(&cleaned);
}

static void tell(const char *text, size_t length, size_t mark, const struct rp_own_names *names,
                 struct story *story) {
    enum wide wide = wide_of(text, length);
    if (length <= RP_KEPT_TEXT_WHOLE_BYTES) {
        add_window(story, text, length, mark, true, wide, names);
        return;
    }
    /* A cause near an end lies in the first or the last window as well as in its own. */
    size_t starts[3] = {0, WINDOW_BYTES, length - WINDOW_BYTES};
    if (mark > starts[1] + WINDOW_BYTES / 2) starts[1] = mark - WINDOW_BYTES / 2;
    if (starts[1] > length - 2 * (size_t)WINDOW_BYTES)
        starts[1] = length - 2 * (size_t)WINDOW_BYTES;
    starts[1] -= starts[1] % 2;
    starts[2] -= starts[2] % 2;
    const size_t ends[3] = {WINDOW_BYTES, starts[1] + WINDOW_BYTES, length};
    size_t read = 0;
    for (int i = 0; i < 3; i++) {
        size_t start = starts[i];
        if (start > read) {
            story->gaps[story->gap_count].at = story->text.length;
            story->gaps[story->gap_count++].hidden = start - read;
        }
        /* Windows that touch are one, or nobody would see a secret across their border. */
        while (i < 2 && starts[i + 1] <= ends[i]) {
            i++;
        }
        read = ends[i];
        bool is_here = mark >= start && mark < read;
        add_window(story, text + start, read - start, is_here ? mark - start : 0, is_here, wide,
                   names);
    }
}

/* --- what is kept ---------------------------------------------------------------------------- */

/* A good place for a cut near `at`: behind a line's end, else before a character. */
static size_t cut_at(const struct rp_text *text, size_t at) {
    if (at == 0 || at >= text->length) return at;
    size_t look = at < LINE_LOOK_BYTES ? at : LINE_LOOK_BYTES;
    const char *end = memrchr(text->bytes + at - look, '\n', look);
    if (end) return (size_t)(end + 1 - text->bytes);
    while (at > 0 && ((unsigned char)text->bytes[at] & 0xC0) == 0x80) {
        at--;
    }
    return at;
}

/* A line for what is missing between `from` and `until`. */
static void append_gap(struct story *story, size_t from, size_t until, struct rp_text *out,
                       uint64_t *left_out) {
    uint64_t hidden = until - from;
    for (size_t i = 0; i < story->gap_count; i++) {
        bool is_here = story->gaps[i].at >= from && story->gaps[i].at <= until;
        if (is_here) hidden += story->gaps[i].hidden;
        if (is_here) story->gaps[i].hidden = 0;
    }
    if (hidden == 0) return;
    bool is_begun = out->length == 0 || out->bytes[out->length - 1] == '\n';
    rp_text_print(out, "%s[... %llu bytes left out ...]\n", is_begun ? "" : "\n",
                  (unsigned long long)hidden);
    *left_out += hidden;
}

/* A piece of the story; a gap that lies in it is told. */
static void append_piece(struct story *story, size_t from, size_t until, struct rp_text *out,
                         uint64_t *left_out) {
    for (size_t i = 0; i < story->gap_count; i++) {
        size_t at = story->gaps[i].at;
        if (story->gaps[i].hidden == 0 || at <= from || at >= until) continue;
        rp_text_append(out, story->text.bytes + from, at - from);
        append_gap(story, at, at, out, left_out);
        from = at;
    }
    rp_text_append(out, story->text.bytes + from, until - from);
}

void rp_keep_text(const char *text, size_t length, uint64_t mark, const struct rp_own_names *names,
                  struct rp_text *out, uint64_t *left_out) {
    struct story story = {.text = RP_TEXT_INIT};
    struct rp_text kept = RP_TEXT_INIT;
    *left_out = 0;
    tell(text, length, mark < length ? (size_t)mark : length, names, &story);
    size_t all = story.text.length;
    bool is_short = all <= RP_KEPT_TEXT_BYTES || story.text.failed;
    size_t middle = story.mark > MIDDLE_BYTES / 2 ? story.mark - MIDDLE_BYTES / 2 : 0;
    /* A cause near an end is in the piece there. */
    if (!is_short && middle > all - TAIL_BYTES - MIDDLE_BYTES) {
        middle = all - TAIL_BYTES - MIDDLE_BYTES;
    }
    if (middle < HEAD_BYTES) middle = HEAD_BYTES;
    const size_t edges[3][2] = {{0, is_short ? all : HEAD_BYTES},
                                {middle, middle + MIDDLE_BYTES},
                                {is_short ? all : all - TAIL_BYTES, all}};
    size_t told = 0;
    for (int i = 0; i < 3 && !story.text.failed; i++) {
        size_t from = cut_at(&story.text, edges[i][0]);
        size_t until = cut_at(&story.text, edges[i][1]);
        if (until > all) until = all;
        if (from < told) from = told;
        if (until <= from) continue;
        append_gap(&story, told, from, &kept, left_out);
        append_piece(&story, from, until, &kept, left_out);
        told = until;
    }
    rp_text_append(out, kept.bytes ? kept.bytes : "", kept.length);
    out->failed = out->failed || kept.failed || story.text.failed;
    rp_text_fini(&kept);
    rp_text_fini(&story.text);
}
