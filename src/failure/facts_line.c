/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/facts_line.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_word(const char *text, size_t length, size_t at) {
    return at < length &&
           (isalnum((unsigned char)text[at]) || text[at] == '_' || (unsigned char)text[at] > 127);
}

/* Where the token that begins at `at` ends. */
static size_t end_of_token(const char *text, size_t length, size_t at) {
    size_t end = at;
    for (;;) {
        while (is_word(text, length, end)) {
            end++;
        }
        if (end < length && strchr(".-+", text[end]) && is_word(text, length, end + 1)) {
            end++;
        } else if (end + 2 < length && text[end] == ':' && text[end + 1] == ':' &&
                   is_word(text, length, end + 2)) {
            end += 2;
        } else {
            return end;
        }
    }
}

/* What stands before a token: marks between it and the one before. */
static void take_mark(const char *text, size_t length, size_t at, struct rp_fact_token *token) {
    char c = text[at];
    bool is_end = at + 1 >= length || isspace((unsigned char)text[at + 1]);
    if (strchr(",;|\t", c) || (strchr(".!?", c) && is_end)) token->is_apart = true;
    if (!isspace((unsigned char)c)) token->before = c;
}

void rp_fact_line_read(const char *text, size_t length, struct rp_fact_line *line) {
    line->text = text;
    line->length = length;
    line->count = 0;
    struct rp_fact_token token = {0};
    for (size_t at = 0; at < length && line->count < RP_FACT_TOKENS_MAX;) {
        if (!is_word(text, length, at)) {
            take_mark(text, length, at, &token);
            at++;
            continue;
        }
        size_t end = end_of_token(text, length, at);
        token.at = text + at;
        token.length = end - at;
        line->tokens[line->count++] = token;
        token = (struct rp_fact_token){0};
        at = end;
    }
    line->tokens[line->count] =
        (struct rp_fact_token){.at = text + length, .is_apart = true, .before = token.before};
}

/* Whether two letters may be the same: what a word is not is told at once. */
static bool is_like(char a, char b) {
    return ((a ^ b) & ~0x20) == 0;
}

bool rp_fact_token_is(const struct rp_fact_token *token, const char *word) {
    return token->length > 0 && is_like(token->at[0], word[0]) && strlen(word) == token->length &&
           strncasecmp(token->at, word, token->length) == 0;
}

int rp_fact_token_among(const struct rp_fact_token *token, const char *const *words, size_t count) {
    if (token->length == 0) return -1;
    for (size_t i = 0; i < count; i++) {
        if (rp_fact_token_is(token, words[i])) return (int)i;
    }
    return -1;
}

bool rp_fact_token_begins(const struct rp_fact_token *token, const char *beginning) {
    size_t length = strlen(beginning);
    return token->length > length && strncmp(token->at, beginning, length) == 0;
}

bool rp_fact_token_is_quoted(const struct rp_fact_token *token) {
    return token->before != '\0' && strchr("'\"`", token->before) != NULL;
}

int rp_fact_token_role(const struct rp_fact_token *token, const struct rp_fact_role *rows,
                       size_t count) {
    if (token->length == 0) return 0;
    for (size_t i = 0; i < count; i++) {
        if (rp_fact_token_is(token, rows[i].word)) return rows[i].role;
    }
    return 0;
}

bool rp_fact_token_is_number(const struct rp_fact_token *token) {
    for (size_t i = 0; i < token->length; i++) {
        if (!isdigit((unsigned char)token->at[i])) return false;
    }
    return token->length > 0;
}

size_t rp_fact_line_token_at(const struct rp_fact_line *line, size_t from, const char *at) {
    while (from < line->count && line->tokens[from].at < at) {
        from++;
    }
    return from;
}

void rp_fact_scan_take(const struct rp_fact_scan *scan, enum rp_fact_name name, const char *from,
                       const char *end) {
    const char *text = scan->line->text;
    if (end > from) scan->take(name, (size_t)(from - text), (size_t)(end - text), scan->user);
}
