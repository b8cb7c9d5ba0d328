/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes become characters, characters a line, a line one or more of what is told: a progress bar
 * and what follows it, the lines of a string. What each is stands in line_role.c, what goes from
 * its beginning in line_prefix.c.
 *
 * Most of a text is ASCII in a row, which is copied as it comes; `from` is only kept once a byte
 * of the line stands elsewhere than in the input. Whoever changes a line does so in place: every
 * change makes it shorter. A few bytes that cannot be decided yet wait in `carried`, so that it is
 * all the same how the text is cut when it is fed.
 */
#include "failure/error_text.h"

#include "base/memory.h"
#include "failure/character.h"
#include "failure/line_escape.h"
#include "failure/line_prefix.h"
#include "failure/line_role.h"
#include "failure/line_text.h"
#include "failure/terminal.h"

#include <string.h>

enum {
    CARRIED_BYTES = 64,
    LOOK_UTF16_BYTES = 5,  /* to see that UTF-16 begins */
    LOOK_BYTES_BYTES = 16, /* and that it ends          */
    CUT_AT_BLANK_BYTES = 1024,
    SPAN_BYTES_MAX = 1 << 30, /* of the input, for one line: from[] has 32 bits */
    BAR_BYTES_MAX = 200,
};

enum encoding { ENCODING_BYTES, ENCODING_UTF16_LE, ENCODING_UTF16_BE };

enum ending { END_LINE, END_OVERWRITTEN, END_PIECE };

struct rp_error_text {
    rp_error_line_fn *take;
    void *user;
    uint64_t offset; /* of the byte that is being read */
    uint64_t line_count;

    enum encoding encoding;
    bool is_line_start;
    bool is_returned; /* a carriage return, and nothing since */
    struct rp_terminal terminal;

    /* The line so far. base + from[i], or base + i while is_verbatim, is where line[i] stood. */
    uint64_t base;
    uint64_t end; /* behind the last character */
    size_t length;
    bool is_verbatim;
    bool is_continued; /* its beginning was told already */
    struct rp_line_escapes escapes;
    enum rp_line_role last_role;

    struct rp_story story;
    size_t carried_length;
    unsigned char carried[CARRIED_BYTES];
    /* From here on nothing is zeroed. */
    char line[RP_ERROR_LINE_BYTES];
    uint32_t from[RP_ERROR_LINE_BYTES + 1];
};

struct rp_error_text *rp_error_text_create(rp_error_line_fn *take, void *user) {
    struct rp_error_text *text = rp_realloc_array(NULL, 1, sizeof *text);
    if (!text) return NULL;
    memset(text, 0, offsetof(struct rp_error_text, line));
    text->take = take;
    text->user = user;
    text->is_line_start = true;
    text->is_verbatim = true;
    rp_story_init(&text->story);
    return text;
}

/* ---- telling lines ----------------------------------------------------------------------- */

static void keep_places(struct rp_error_text *text) {
    if (!text->is_verbatim) return;
    for (size_t i = 0; i <= text->length; i++) {
        text->from[i] = (uint32_t)i;
    }
    text->is_verbatim = false;
}

static uint64_t place_of(const struct rp_error_text *text, size_t at) {
    return text->base + (text->is_verbatim ? at : text->from[at]);
}

static bool is_at(const char *at, const char *end, const char *what) {
    size_t length = strlen(what);
    return (size_t)(end - at) >= length && memcmp(at, what, length) == 0;
}

/* The line from `begin` to `end`, whose places are made to count from its beginning meanwhile. */
static void tell(struct rp_error_text *text, size_t begin, size_t end, enum rp_line_role role) {
    struct rp_error_line line = {.text = text->line + begin,
                                 .length = end - begin,
                                 .role = role,
                                 .number = ++text->line_count,
                                 .block = text->story.block,
                                 .start = place_of(text, begin)};
    text->last_role = role;
    if (text->is_verbatim) {
        text->take(&line, text->user);
        return;
    }
    uint32_t first = text->from[begin];
    uint32_t behind = text->from[end];
    for (size_t i = begin; i <= end; i++) {
        text->from[i] -= first;
    }
    line.from = text->from + begin;
    text->take(&line, text->user);
    text->from[end] = behind; /* the next may begin here */
}

static size_t trim_end(const struct rp_error_text *text, size_t begin, size_t end) {
    while (end > begin && text->line[end - 1] == ' ') {
        end--;
    }
    return end;
}

/* The role of what goes on: that of its beginning, unless that was noise. */
static enum rp_line_role role_of_rest(struct rp_error_text *text, size_t begin, size_t end) {
    static const struct rp_line_prefix none;
    if (text->last_role != RP_LINE_NOISE) return text->last_role;
    return rp_story_read(&text->story, text->line + begin, end - begin, &none, false);
}

/* Without prefixes and blanks at its ends. */
static void tell_trimmed(struct rp_error_text *text, size_t begin, size_t end, enum ending ending) {
    struct rp_line_prefix prefix = {0};
    enum rp_line_role role;
    end = trim_end(text, begin, end);
    if (text->is_continued) {
        role = role_of_rest(text, begin, end);
    } else {
        const char *at = text->line + begin;
        rp_line_prefix_read(at, end - begin, &prefix);
        begin += prefix.length;
        /* The right side of a box whose left one was a prefix. */
        if (prefix.length >= 3 && is_at(at, at + 3, "\xe2\x94\x82") && end - begin > 3 &&
            is_at(text->line + end - 3, text->line + end, "\xe2\x94\x82")) {
            end = trim_end(text, begin, end - 3);
        }
        role = rp_story_read(&text->story, text->line + begin, end - begin, &prefix,
                             ending == END_OVERWRITTEN);
    }
    while (begin < end && text->line[begin] == ' ') {
        begin++;
    }
    tell(text, begin, end, role);
    text->is_continued = false;
}

/* Where a progress bar ends that other text may follow: "3/8 [00:02<00:03, 1.28it/s]"; 0: none. */
static size_t find_bar_end(const struct rp_error_text *text, size_t begin, size_t end) {
    const char *last = text->line + end;
    const char *open = text->line + begin;
    while ((open = memchr(open, '[', (size_t)(last - open)))) {
        const char *at = ++open;
        if (last - at < 6 || !rp_is_digit(at[0]) || !rp_is_digit(at[1]) || at[2] != ':') continue;
        size_t most = (size_t)(last - at) < BAR_BYTES_MAX ? (size_t)(last - at) : BAR_BYTES_MAX;
        const char *close = memchr(at, ']', most);
        if (!close) continue;
        size_t inside = (size_t)(close - at);
        if (!memchr(at, ',', inside)) continue;
        if (memmem(at, inside, "/s", 2) || memmem(at, inside, "s/", 2) ||
            memmem(at, inside, "?", 1)) {
            return (size_t)(close + 1 - text->line);
        }
    }
    return 0;
}

/* A bar, then what a program printed behind it. */
static void tell_parts(struct rp_error_text *text, size_t begin, size_t end, enum ending ending) {
    size_t bar_end = find_bar_end(text, begin, end);
    while (bar_end > 0) {
        end = trim_end(text, begin, end);
        size_t at = begin;
        while (at < bar_end && text->line[at] == ' ') {
            at++;
        }
        tell(text, at, bar_end, RP_LINE_NOISE);
        text->is_continued = false;
        begin = bar_end;
        if (begin >= end) return;
        bar_end = find_bar_end(text, begin, end);
    }
    tell_trimmed(text, begin, end, ending);
}

/* ---- strings ----------------------------------------------------------------------------- */

/* A terminal's code inside a string, of which ESC has been read. */
static size_t skip_written_code(const struct rp_error_text *text, size_t at, size_t end) {
    size_t next = at;
    if (next == end || text->line[next] != '[') return at;
    next++;
    while (next < end && (rp_is_digit(text->line[next]) || text->line[next] == ';')) {
        next++;
    }
    return next < end && ((text->line[next] | 0x20) >= 'a') ? next + 1 : at;
}

/* What stands between the strings of a list, and behind the last of an object. */
static size_t skip_between_strings(const struct rp_error_text *text, size_t begin, size_t end) {
    const char *at = text->line + begin;
    const char *last = text->line + end;
    if (end - begin < 4 || (*at != '"' && *at != '\'')) return begin;
    if (is_at(at, last, "\",\"stream\":\"")) return end;
    return at[1] == ',' && at[2] == ' ' && at[3] == *at ? begin + 4 : begin;
}

static void tell_segment(struct rp_error_text *text, size_t begin, size_t end, enum ending ending) {
    size_t at = skip_between_strings(text, begin, end);
    if (at == end && begin < end) {
        tell(text, begin, end, RP_LINE_NOISE);
        text->is_continued = false;
    } else {
        tell_parts(text, at, end, ending);
    }
}

/* Put a character of a string where it goes; a control character goes nowhere. */
static size_t put(struct rp_error_text *text, size_t to, uint32_t character, uint32_t from) {
    char bytes[4];
    if (character < 0x20 || (character >= 0x7f && character < 0xa0)) return to;
    size_t count = rp_utf8_write(character, bytes);
    for (size_t i = 0; i < count; i++) {
        text->from[to + i] = from;
        text->line[to + i] = bytes[i];
    }
    return to + count;
}

static void tell_string(struct rp_error_text *text, size_t end, enum ending ending) {
    keep_places(text);
    size_t begin = 0;
    size_t to = 0;
    size_t at = 0;
    while (at < end) {
        uint32_t character = 0;
        size_t used = 0;
        if (text->line[at] == '\\') {
            used = rp_line_escape_read(text->line, end, at, &text->escapes, &character);
        }
        if (used == 0) {
            text->from[to] = text->from[at];
            text->line[to++] = text->line[at++];
        } else if (character == '\n') {
            text->from[to] = text->from[at];
            at += used;
            bool is_told = to == begin && text->is_continued; /* the piece before ended here */
            if (!is_told) tell_segment(text, begin, to, END_LINE);
            text->is_continued = false;
            to = begin = at;
        } else {
            to = put(text, to, character, text->from[at]);
            at += used;
            if (character == 0x1b) at = skip_written_code(text, at, end);
        }
    }
    text->from[to] = text->from[end];
    if (to == begin && begin > 0) {
        text->is_continued = false; /* it ends in a line break */
        return;
    }
    tell_segment(text, begin, to, ending);
    text->is_continued = ending == END_PIECE;
}

/* ---- codes of terminals whose ESC was lost or written out -------------------------------- */

static bool is_colour(unsigned number) {
    return number <= 1 || number == 22 || (number >= 30 && number <= 49) ||
           (number >= 90 && number <= 97);
}

/* How long the introducer is that ends before `open`: "^[", "\x1b", "\u001b", "\033", a picture. */
static size_t introducer_bytes(const char *line, const char *open) {
    static const char *const introducers[] = {"^[",      "\\x1b", "\\x1B", "\\u001b",
                                              "\\u001B", "\\033", "\\e",   "\xe2\x90\x9b"};
    for (size_t i = 0; i < sizeof introducers / sizeof introducers[0]; i++) {
        size_t length = strlen(introducers[i]);
        if ((size_t)(open - line) >= length && memcmp(open - length, introducers[i], length) == 0) {
            return length;
        }
    }
    return 0;
}

/* The end of a code that begins with the bracket at `open`; NULL: it is none. */
static const char *lost_code_end(const char *open, const char *end, bool is_introduced) {
    const char *at = open + 1;
    unsigned number = 0;
    bool is_known = at < end && rp_is_digit(*at);
    bool is_sequence = false;
    while (at < end && (rp_is_digit(*at) || *at == ';') && at - open < 20) {
        if (*at == ';') {
            is_known = is_known && (is_sequence || is_colour(number));
            is_sequence = is_sequence || number == 38 || number == 48;
            number = 0;
        } else {
            number = number * 10 % 1000000 + (unsigned)(*at - '0');
        }
        at++;
    }
    if (at == end) return NULL;
    if (is_introduced) return memchr("mKJABCDGH", *at, 9) ? at + 1 : NULL;
    if (*at != 'm' || !is_known || (!is_sequence && !is_colour(number))) return NULL;
    /* "[1m 30s]" and "[30ms]" are times. */
    const char *next = at + 1;
    if (next < end && *next == ']') return NULL;
    if (end - next >= 2 && ((*next == ' ' && rp_is_digit(next[1])) ||
                            (*next == 's' && (next[1] == ']' || next[1] == ' ')))) {
        return NULL;
    }
    return next;
}

/* Take them out of the first `end` bytes; returns how many remain. */
static size_t drop_lost_codes(struct rp_error_text *text, size_t end) {
    const char *last = text->line + end;
    const char *open = text->line;
    size_t to = 0;
    size_t done = 0;
    uint32_t behind = 0; /* what remained before the last code */
    while ((open = memchr(open, '[', (size_t)(last - open)))) {
        size_t introducer = introducer_bytes(text->line + done, open);
        const char *close = lost_code_end(open, last, introducer > 0);
        if (!close) {
            open++;
            continue;
        }
        keep_places(text);
        size_t count = (size_t)(open - text->line) - introducer - done;
        behind = text->from[done + count];
        memmove(text->line + to, text->line + done, count);
        memmove(text->from + to, text->from + done, count * sizeof text->from[0]);
        to += count;
        done = (size_t)(close - text->line);
        open = close;
    }
    if (done == 0) return end;
    memmove(text->line + to, text->line + done, end - done);
    memmove(text->from + to, text->from + done, (end - done + 1) * sizeof text->from[0]);
    if (done == end) text->from[to] = behind;
    return to + end - done;
}

/* ---- lines ------------------------------------------------------------------------------- */

static size_t indent_of(const struct rp_error_text *text) {
    size_t indent = 0;
    while (indent < text->length && text->line[indent] == ' ') {
        indent++;
    }
    return indent;
}

static void find_escapes(struct rp_error_text *text) {
    if (text->escapes.are_text) return;
    if (text->is_continued && text->last_role == RP_LINE_SOURCE) return;
    if (!memchr(text->line, '\\', text->length)) return;
    if (rp_story_awaits_source(&text->story, indent_of(text))) return;
    /* A frame's file may lie in a folder that begins with an n. */
    if (is_at(text->line + indent_of(text), text->line + text->length, "File \"")) return;
    rp_line_escapes_find(text->line, text->length, &text->escapes);
}

/* Tell the first `end` bytes of the line. */
static void tell_line(struct rp_error_text *text, size_t end, enum ending ending) {
    find_escapes(text);
    end = drop_lost_codes(text, end);
    if (text->escapes.are_text) {
        tell_string(text, end, ending);
        return;
    }
    if (trim_end(text, 0, end) == 0 && (ending == END_PIECE || text->is_continued)) return;
    tell_parts(text, 0, end, ending);
    text->is_continued = ending == END_PIECE;
}

static void begin_line(struct rp_error_text *text) {
    text->length = 0;
    text->is_verbatim = true;
}

static void end_line(struct rp_error_text *text, enum ending ending) {
    if (text->length == 0) text->base = text->end = text->offset;
    if (!text->is_verbatim) text->from[text->length] = (uint32_t)(text->end - text->base);
    /* Nothing that was overwritten is no line. */
    if (text->length > 0 || (ending == END_LINE && !text->is_continued)) {
        tell_line(text, text->length, ending);
    }
    begin_line(text);
    text->is_returned = false;
    text->is_continued = false;
    text->escapes = (struct rp_line_escapes){0};
}

/* The line is full: tell what is before a good place, and go on with the rest. */
static void cut_line(struct rp_error_text *text) {
    size_t length = text->length;
    size_t cut = 0;
    if (!text->is_verbatim) text->from[length] = (uint32_t)(text->end - text->base);
    find_escapes(text);
    if (text->escapes.are_text) {
        cut = rp_line_escape_cut(text->line, length, length / 2, &text->escapes);
    }
    for (size_t i = length; cut == 0 && i > 1 && length - i < CUT_AT_BLANK_BYTES; i--) {
        if (text->line[i - 1] == ' ') cut = i;
    }
    if (cut == 0) cut = length;
    /* An escape stays whole. */
    if (cut == length && text->line[cut - 1] == '\\') cut--;
    uint32_t shift = (uint32_t)(place_of(text, cut) - text->base);
    bool was_verbatim = text->is_verbatim;
    tell_line(text, cut, END_PIECE);
    memmove(text->line, text->line + cut, length - cut);
    for (size_t i = cut; i <= length && !was_verbatim; i++) {
        text->from[i - cut] = text->from[i] - shift;
    }
    text->is_verbatim = was_verbatim;
    text->base += shift;
    text->length = length - cut;
}

/* ---- characters -------------------------------------------------------------------------- */

/* Make room for so many bytes, the first of which stands at text->offset. */
static void make_room(struct rp_error_text *text, size_t count) {
    if (text->length > 0 && text->offset - text->base > SPAN_BYTES_MAX) {
        if (!text->is_verbatim) text->from[text->length] = (uint32_t)(text->end - text->base);
        tell_line(text, text->length, END_PIECE);
        begin_line(text);
    }
    if (text->length + count > RP_ERROR_LINE_BYTES) cut_line(text);
    if (text->length == 0) {
        begin_line(text);
        text->base = text->offset;
    }
}

/* `used` bytes of the input are these; is_same: they stand there just so. */
static void append(struct rp_error_text *text, const char *bytes, size_t count, size_t used,
                   bool is_same) {
    make_room(text, count);
    if (!is_same || text->offset != text->base + text->length) keep_places(text);
    if (!text->is_verbatim) {
        uint32_t from = (uint32_t)(text->offset - text->base);
        for (size_t i = 0; i < count; i++) {
            text->from[text->length + i] = from + (is_same ? (uint32_t)i : 0);
        }
    }
    memcpy(text->line + text->length, bytes, count);
    text->length += count;
    text->end = text->offset + used;
}

static void follow_cursor(struct rp_error_text *text) {
    switch (text->terminal.move) {
    case RP_MOVE_NONE:
        return;
    case RP_MOVE_RIGHT:
        append(text, " ", 1, 1, false);
        return;
    case RP_MOVE_TO_BEGIN:
        text->is_returned = text->length > 0;
        return;
    case RP_MOVE_AWAY:
        if (text->length > 0) end_line(text, END_LINE);
    }
}

/* What never shows: controls, marks of direction, joiners. */
static bool is_invisible(uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0xad ||
           (character >= 0x200b && character <= 0x200f) ||
           (character >= 0x202a && character <= 0x202e) ||
           (character >= 0x2060 && character <= 0x206f) || character == 0xfeff;
}

/* Blanks, and the quotes that forums and word processors make of plain ones: what patterns say
 * instead. NULL: the character stays. */
static const char *plain_of(uint32_t character) {
    switch (character) {
    case '\t':
    case 0xa0:
    case 0x2028:
        return " ";
    case 0x2018:
    case 0x2019:
    case 0x201b:
        return "'";
    case 0x201c:
    case 0x201d:
        return "\"";
    default:
        return NULL;
    }
}

/* A character of the text, `used` bytes of the input; `same`: those bytes, where they are UTF-8. */
static void take_character(struct rp_error_text *text, uint32_t character, size_t used,
                           const char *same) {
    char bytes[4];
    if (rp_terminal_takes(&text->terminal, character)) {
        follow_cursor(text);
        return;
    }
    if (character == '\n' || character == 0x85) {
        end_line(text, END_LINE);
        text->is_line_start = true;
        return;
    }
    if (character == '\r') {
        text->is_returned = true;
        return;
    }
    const char *plain = plain_of(character);
    if (!plain && is_invisible(character)) return;
    if (text->is_returned) end_line(text, END_OVERWRITTEN);
    if (plain) {
        append(text, plain, 1, used, false);
    } else if (same) {
        append(text, same, used, used, true);
    } else {
        append(text, bytes, rp_utf8_write(character, bytes), used, false);
    }
}

/* How many bytes in a row are printable ASCII, eight at a time. */
static size_t count_printable(const char *bytes, size_t length) {
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        uint64_t below = word - 0x2020202020202020U; /* borrows from below a space */
        uint64_t above = word + 0x0101010101010101U; /* carries into bit 7 from 0x7f on */
        if ((word | below | above) & 0x8080808080808080U) break;
    }
    while (i < length && bytes[i] >= 0x20 && bytes[i] < 0x7f) {
        i++;
    }
    return i;
}

/* As many bytes as are of one kind; returns how many, 0: too few to tell. */
static size_t take_bytes(struct rp_error_text *text, const unsigned char *bytes, size_t length,
                         bool is_last) {
    const char *same = (const char *)bytes;
    if (text->terminal.state == 0 && !text->is_returned && bytes[0] >= 0x20 && bytes[0] < 0x7f) {
        make_room(text, 1);
        size_t room = RP_ERROR_LINE_BYTES - text->length;
        size_t count = count_printable(same, length < room ? length : room);
        append(text, same, count, count, true);
        return count;
    }
    if (bytes[0] < 0x80) {
        take_character(text, bytes[0], 1, same);
        return 1;
    }
    uint32_t character = 0;
    size_t used = rp_utf8_read(bytes, length, is_last, &character);
    if (used > 1) {
        take_character(text, character, used, same);
    } else if (used == 1) {
        character = rp_windows_1252_read(bytes[0]);
        if (character) take_character(text, character, 1, NULL);
    }
    return used;
}

static uint32_t unit_at(const struct rp_error_text *text, const unsigned char *bytes) {
    return text->encoding == ENCODING_UTF16_LE ? (uint32_t)(bytes[0] | bytes[1] << 8)
                                               : (uint32_t)(bytes[0] << 8 | bytes[1]);
}

static size_t take_unit(struct rp_error_text *text, const unsigned char *bytes, size_t length,
                        bool is_last) {
    if (length < 2) return is_last ? 1 : 0;
    uint32_t unit = unit_at(text, bytes);
    size_t used = 2;
    if (unit >= 0xd800 && unit < 0xdc00) {
        if (length < 4 && !is_last) return 0;
        uint32_t low = length < 4 ? 0 : unit_at(text, bytes + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            used = 4;
        }
    }
    take_character(text, unit, used, NULL);
    return used;
}

/* ---- encodings --------------------------------------------------------------------------- */

static bool is_ascii_text(unsigned char byte) {
    return (byte >= 0x20 && byte < 0x7f) || byte == '\t' || byte == '\n' || byte == '\r';
}

/* Two letters of UTF-16 with their NULs behind (step 0) or before them (step 1). */
static bool is_pair(const unsigned char *bytes, size_t length, size_t step) {
    return length >= 4 && bytes[1 - step] == 0 && bytes[3 - step] == 0 &&
           is_ascii_text(bytes[step]) && is_ascii_text(bytes[2 + step]);
}

/*
 * Files may change their encoding from line to line: a shell that writes UTF-16 goes on with what
 * another began. Returns how many bytes go (a mark, a line break's other half).
 */
static size_t choose_from_bytes(struct rp_error_text *text, const unsigned char *bytes,
                                size_t length) {
    if (length >= 2 && bytes[0] == 0xff && bytes[1] == 0xfe) {
        text->encoding = ENCODING_UTF16_LE;
        return 2;
    }
    if (length >= 2 && bytes[0] == 0xfe && bytes[1] == 0xff) {
        text->encoding = ENCODING_UTF16_BE;
        return 2;
    }
    if (is_pair(bytes, length, 0)) {
        text->encoding = ENCODING_UTF16_LE;
    } else if (text->offset == 0 && is_pair(bytes, length, 1)) {
        text->encoding = ENCODING_UTF16_BE;
    } else if (length >= 5 && bytes[0] == 0 && is_pair(bytes + 1, length - 1, 0)) {
        text->encoding = ENCODING_UTF16_LE;
        return 1;
    }
    return 0;
}

/* False: too few bytes to tell. *used of them go. */
static bool choose_encoding(struct rp_error_text *text, const unsigned char *bytes, size_t length,
                            bool is_last, size_t *used) {
    bool is_bytes = text->encoding == ENCODING_BYTES;
    size_t needed = is_bytes ? LOOK_UTF16_BYTES : LOOK_BYTES_BYTES;
    *used = 0;
    if (length < needed && !is_last) return false;
    text->is_line_start = false;
    if (is_bytes) {
        *used = choose_from_bytes(text, bytes, length);
        return true;
    }
    size_t same = 0;
    while (same < length && same < needed && is_ascii_text(bytes[same])) {
        same++;
    }
    if (same >= 4 && (same == needed || same == length)) text->encoding = ENCODING_BYTES;
    return true;
}

/* Returns how many bytes were taken; a few may be left until more come. */
static size_t take_all(struct rp_error_text *text, const unsigned char *bytes, size_t length,
                       bool is_last) {
    size_t at = 0;
    while (at < length) {
        size_t used;
        if (text->is_line_start) {
            if (!choose_encoding(text, bytes + at, length - at, is_last, &used)) break;
        } else {
            used = text->encoding == ENCODING_BYTES
                       ? take_bytes(text, bytes + at, length - at, is_last)
                       : take_unit(text, bytes + at, length - at, is_last);
            if (used == 0) break;
        }
        at += used;
        text->offset += used;
    }
    return at;
}

/* ---- the stream -------------------------------------------------------------------------- */

void rp_error_text_feed(struct rp_error_text *text, const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    while (text->carried_length > 0 && length > 0) {
        size_t old = text->carried_length;
        size_t room = sizeof text->carried - old;
        size_t added = length < room ? length : room;
        memcpy(text->carried + old, at, added);
        size_t used = take_all(text, text->carried, old + added, false);
        if (used >= old) {
            /* What follows lies in the new bytes. */
            at += used - old;
            length -= used - old;
            text->carried_length = 0;
            break;
        }
        memmove(text->carried, text->carried + used, old + added - used);
        text->carried_length = old + added - used;
        at += added;
        length -= added;
    }
    if (length == 0) return;
    size_t used = take_all(text, at, length, false);
    memcpy(text->carried, at + used, length - used);
    text->carried_length = length - used;
}

void rp_error_text_finish(struct rp_error_text *text) {
    take_all(text, text->carried, text->carried_length, true);
    text->carried_length = 0;
    if (text->length > 0) end_line(text, END_LINE);
}

unsigned rp_error_text_depth(const struct rp_error_text *text, unsigned block) {
    return rp_story_depth(&text->story, block);
}

unsigned rp_error_text_block_count(const struct rp_error_text *text) {
    return text->story.block_count;
}

uint64_t rp_error_text_line_count(const struct rp_error_text *text) {
    return text->line_count;
}

uint64_t rp_error_text_bytes(const struct rp_error_text *text) {
    return text->offset + text->carried_length;
}

void rp_error_text_destroy(struct rp_error_text *text) {
    rp_free(text);
}
