/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/line_noise.h"

#include "failure/line_text.h"

#include <string.h>

enum { LOOK_BYTES = 400, BAR_SIGNS = 4 };

struct view {
    const char *at; /* the first byte that is not blank */
    const char *end;
};

static size_t left(const struct view *view) {
    return (size_t)(view->end - view->at);
}

/* Only in the beginning of the line: no word that decides stands far behind. */
static const char *find_near(const struct view *view, const char *text) {
    size_t look = left(view) < LOOK_BYTES ? left(view) : LOOK_BYTES;
    return memmem(view->at, look, text, strlen(text));
}

static bool begins_with_one(const struct view *view, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (*view->at == *texts[i] && rp_begins(view->at, view->end, texts[i])) return true;
    }
    return false;
}

#define BEGINS_WITH_ONE(view, texts) begins_with_one(view, texts, sizeof(texts) / sizeof(texts)[0])

/* Of three bytes after E2: punctuation, arrows, lines, blocks, ornaments, braille. */
static bool is_sign(unsigned char second) {
    return second == 0x80 || second == 0x86 || (second >= 0x94 && second <= 0x97) ||
           (second >= 0x9c && second <= 0xa3);
}

/* No letter or digit, nor a word in another script: rules, frames of tables, blanks. */
static bool is_rule_of(const struct view *view) {
    for (const char *at = view->at; at < view->end; at++) {
        unsigned char c = (unsigned char)*at;
        if (rp_is_letter(*at) || rp_is_digit(*at)) return false;
        if (c == 0xe2 && view->end - at >= 3 && is_sign((unsigned char)at[1])) {
            at += 2;
        } else if (c >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Blocks, braille and thick lines in a row, of which bars are drawn. */
static bool has_drawn_bar(const struct view *view) {
    unsigned signs = 0;
    const char *at = view->at;
    while ((at = memchr(at, 0xe2, (size_t)(view->end - at))) && view->end - at >= 3) {
        unsigned char second = (unsigned char)at[1];
        unsigned char third = (unsigned char)at[2];
        bool is_block = second == 0x96 && third < 0xa0;
        bool is_line = second == 0x94 && third == 0x81;
        bool is_half_line = second == 0x95 && (third == 0xb8 || third == 0xba);
        signs = is_block || is_line || is_half_line ? signs + 1 : 0;
        if (signs >= BAR_SIGNS) return true;
        at += 3;
        /* Another byte between two signs ends the row. */
        if (at < view->end && *at != '\xe2') signs = 0;
    }
    return false;
}

/* "[====>    ]", "|####----|". */
static bool has_typed_bar(const struct view *view) {
    const char *open = find_near(view, "[=");
    if (!open) open = find_near(view, "[#");
    if (!open) open = find_near(view, "|#");
    if (!open) open = find_near(view, "[>");
    if (!open) open = find_near(view, "[.....");
    if (!open) return false;
    const char *at = open + 1;
    while (at < view->end && memchr("=#>-. ", *at, 6)) {
        at++;
    }
    return at < view->end && (*at == ']' || *at == '|') && at - open > 8;
}

/* The layers of an image on their way: "3f4e2ab5c1d0: Pulling fs layer". */
static bool is_layer(const struct view *view) {
    static const char *const steps[] = {"Pulling fs layer",  "Waiting",       "Verifying Checksum",
                                        "Download complete", "Downloading",   "Extracting",
                                        "Pull complete",     "Already exists"};
    const char *at = view->at;
    while (at < view->end && (rp_is_digit(*at) || (*at >= 'a' && *at <= 'f'))) {
        at++;
    }
    if (at - view->at != 12 || !rp_begins(at, view->end, ": ")) return false;
    struct view step = {at + 2, view->end};
    return step.at < step.end && BEGINS_WITH_ONE(&step, steps);
}

/* Columns of figures and units, as downloads print them: no word of three letters. */
static bool is_download_row(const struct view *view) {
    if (!find_near(view, ":--")) return false;
    unsigned letters = 0;
    for (const char *at = view->at; at < view->end; at++) {
        letters = rp_is_letter(*at) ? letters + 1 : 0;
        if (letters >= 3) return false;
    }
    return true;
}

bool rp_line_is_noise(const char *line, size_t length) {
    const struct view whole = {line, line + length};
    const struct view *view = &whole;
    if (view->at == view->end || is_rule_of(view)) return true;
    if (left(view) == 1 && *view->at == 'E') return true; /* an empty line of a test report */
    if (memchr(view->at, 0xe2, left(view)) && has_drawn_bar(view)) return true;
    if (is_download_row(view)) return true;
    if (rp_begins(view->at, view->end, "% Total")) return true;
    bool has_percent = memchr(view->at, '%', left(view)) != NULL;
    if (has_percent && (find_near(view, "%|") || has_typed_bar(view))) return true;
    if (find_near(view, "ETA") && has_typed_bar(view)) return true;
    return is_layer(view);
}

bool rp_line_is_rule(const char *line, size_t length) {
    const struct view view = {line, line + length};
    return is_rule_of(&view);
}
