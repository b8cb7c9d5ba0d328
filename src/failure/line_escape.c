/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "C:\new" and "failed\nretrying" are told apart by what stands around: a drive before, a file's
 * ending behind. When in doubt it is a line break, but only where the line is a string at all: a
 * quote is open, or there are several.
 */
#include "failure/line_escape.h"

#include "failure/line_text.h"

#include <string.h>

enum { PATH_BYTES_MAX = 260, ENDING_BYTES_MAX = 12, BACKSLASHES_MAX = 64 };

static bool is_of_path(char c) {
    if (rp_is_letter(c) || rp_is_digit(c) || (c & 0x80)) return true;
    return (c >= '(' && c <= '/' && c != '*' && c != ',') || c == '\\' || c == '_' || c == '~' ||
           c == '@' || c == '%';
}

/* A dot, then letters and digits, of which one is a letter: what a file's name ends in. */
static bool ends_as_file(const char *from, const char *end) {
    const char *at = end;
    bool has_letter = false;
    while (at > from && (rp_is_letter(at[-1]) || rp_is_digit(at[-1])) &&
           end - at < ENDING_BYTES_MAX) {
        at--;
        has_letter |= rp_is_letter(*at);
    }
    return has_letter && at - from >= 2 && at[-1] == '.' && at[-2] != '\\' && at[-2] != '/';
}

/* Going back from a backslash: is there a drive, with nothing between that paths have not? */
static bool has_drive(const char *line, const char *backslash) {
    size_t before = (size_t)(backslash - line);
    size_t look = before < PATH_BYTES_MAX ? before : PATH_BYTES_MAX;
    const char *colon = memrchr(backslash - look, ':', look);
    if (!colon || colon == line || !rp_is_letter(colon[-1]) || colon[1] != '\\') return false;
    for (const char *at = colon + 1; at < backslash; at++) {
        if (!is_of_path(*at) && *at != ' ') return false;
        if (*at == ' ' && ends_as_file(colon, at)) return false; /* it ended there */
    }
    return colon - line == 1 || (!rp_is_letter(colon[-2]) && !rp_is_digit(colon[-2]));
}

/* Whether the backslash parts folders. */
static bool is_of_windows_path(const char *line, size_t length, size_t position) {
    const char *backslash = line + position;
    const char *end = line + length;
    if (position == 0) return false;
    char before = backslash[-1];
    if (strchr(".,;!?]}>'\"` ", before)) return false;
    if (before == ':') return has_drive(line, backslash);
    const char *component = backslash;
    while (component > line && is_of_path(component[-1]) && component[-1] != '\\' &&
           component[-1] != '/') {
        component--;
    }
    if (ends_as_file(component, backslash)) return false;
    if (has_drive(line, backslash)) return true;
    const char *after = backslash;
    while (after < end && after - backslash < PATH_BYTES_MAX / 2 && is_of_path(*after)) {
        after++;
    }
    return after < end && is_of_path(before) && ends_as_file(component, after) &&
           (*after == '"' || *after == '\'' || *after == ' ' || *after == ',');
}

static size_t count_backslashes(const char *line, size_t length, size_t at) {
    size_t count = 0;
    while (at + count < length && line[at + count] == '\\' && count < BACKSLASHES_MAX) {
        count++;
    }
    return count;
}

/* Whether a quote is open at `position`. An apostrophe within a word is none. */
static bool is_quoted(const char *line, size_t position) {
    char open = 0;
    for (size_t i = 0; i < position; i++) {
        char c = line[i];
        if (c == '\\') {
            i++;
        } else if (open) {
            if (c == open) open = 0;
        } else if (c == '"' || c == '\'') {
            char before = ' ';
            if (i > 0) before = line[i - 1];
            bool is_prefixed = strchr("bruf", before) && (i < 2 || !rp_is_letter(line[i - 2]));
            if (is_prefixed || (!rp_is_letter(before) && !rp_is_digit(before))) open = c;
        }
    }
    return open != 0;
}

void rp_line_escapes_find(const char *line, size_t length, struct rp_line_escapes *escapes) {
    size_t single = 0;
    size_t twice = 0;
    *escapes = (struct rp_line_escapes){0};
    const char *at = memchr(line, '\\', length);
    while (at && single < 2 && twice < 2) {
        size_t position = (size_t)(at - line);
        size_t count = count_backslashes(line, length, position);
        size_t after = position + count;
        if (after < length && line[after] == 'n' && !is_of_windows_path(line, length, position)) {
            if (count % 2 == 0) {
                twice++;
            } else if (++single == 1 && is_quoted(line, position)) {
                single = 2;
            }
        }
        at = after < length ? memchr(line + after, '\\', length - after) : NULL;
    }
    escapes->are_double = twice >= 2;
    escapes->are_text = single >= 2 || twice >= 2;
}

static bool read_hexadecimal(const char *at, size_t count, uint32_t *value) {
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = at[i];
        char lower = (char)(c | 0x20);
        if (!rp_is_digit(c) && (lower < 'a' || lower > 'f')) return false;
        *value = *value * 16 + (uint32_t)(rp_is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return true;
}

/* \u0041, \ud83d\ude00: behind the u. Returns bytes from the backslash on. */
static size_t read_unicode(const char *at, size_t left, uint32_t *character) {
    uint32_t low;
    if (left < 6 || !read_hexadecimal(at + 2, 4, character)) return 0;
    if (*character < 0xd800 || *character > 0xdbff) return 6;
    if (left < 12 || at[6] != '\\' || at[7] != 'u' || !read_hexadecimal(at + 8, 4, &low) ||
        low < 0xdc00 || low > 0xdfff) {
        return 6;
    }
    *character = 0x10000 + ((*character - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

size_t rp_line_escape_read(const char *line, size_t length, size_t at,
                           const struct rp_line_escapes *escapes, uint32_t *character) {
    size_t count = count_backslashes(line, length, at);
    size_t left = length - at;
    if (count == left) return 0;
    char letter = line[at + count];
    if (rp_is_letter(letter) && is_of_windows_path(line, length, at)) {
        *character = '\\';
        return count > 1 ? 2 : 0;
    }
    if (letter == 'n' && (count % 2 == 1 || escapes->are_double)) {
        *character = '\n';
        return count + 1;
    }
    if (count > 1) {
        *character = '\\';
        return 2;
    }
    switch (letter) {
    case '"':
    case '\'':
    case '/':
        *character = (unsigned char)letter;
        return 2;
    case 't':
        *character = ' ';
        return 2;
    case 'r':
        /* Alone it begins the line anew, like the one that is no text. */
        *character = left >= 4 && line[at + 2] == '\\' && line[at + 3] == 'n' ? 0 : '\n';
        return 2;
    case 'u':
        return read_unicode(line + at, left, character);
    case 'x':
        /* Only the beginning of a terminal's code: other bytes may be a part of a character. */
        if (left < 4 || !read_hexadecimal(line + at + 2, 2, character)) return 0;
        return *character == 0x1b ? 4 : 0;
    case '0':
        *character = 0x1b;
        return left >= 4 && memcmp(line + at, "\\033", 4) == 0 ? 4 : 0;
    default:
        return 0;
    }
}

size_t rp_line_escape_cut(const char *line, size_t length, size_t least,
                          const struct rp_line_escapes *escapes) {
    for (size_t at = length - 1; at > least; at--) {
        uint32_t character = 0;
        if (line[at] != 'n' || line[at - 1] != '\\') continue;
        size_t first = at - 1;
        while (first > 0 && line[first - 1] == '\\') {
            first--;
        }
        if (rp_line_escape_read(line, length, first, escapes, &character) > 0 &&
            character == '\n') {
            return at + 1;
        }
    }
    return 0;
}
