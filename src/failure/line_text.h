/* SPDX-License-Identifier: Apache-2.0 */
/* Small looks at a piece of a line, from `at` up to `end`. ASCII, whatever the locale. */
#ifndef RP_FAILURE_LINE_TEXT_H
#define RP_FAILURE_LINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool rp_is_digit(char c) {
    return c >= '0' && c <= '9';
}

static inline bool rp_is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static inline bool rp_begins(const char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    return (size_t)(end - at) >= length && memcmp(at, text, length) == 0;
}

static inline const char *rp_skip_blanks(const char *at, const char *end) {
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

#endif
