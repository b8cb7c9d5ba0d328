/* SPDX-License-Identifier: Apache-2.0 */
/* A line as words, for those who read a fact by the words around it. */
#ifndef RP_FAILURE_FACTS_LINE_H
#define RP_FAILURE_FACTS_LINE_H

#include "failure/facts.h"

#include <stdbool.h>
#include <stddef.h>

enum { RP_FACT_TOKENS_MAX = 128 }; /* of longer lines the beginning is read */

/* "GiB", "aten::roll", "torch.float16", "8.6.1"; '/', '=', and a lone ':' stand between two. */
struct rp_fact_token {
    const char *at;
    size_t length;
    char before;   /* the mark before it, '\0': blanks alone */
    bool is_apart; /* a comma, a semicolon or the end of a sentence lies before it */
};

struct rp_fact_line {
    const char *text;
    size_t length;
    size_t count;
    struct rp_fact_token tokens[RP_FACT_TOKENS_MAX + 1]; /* the last one is empty */
};

void rp_fact_line_read(const char *text, size_t length, struct rp_fact_line *line);

bool rp_fact_token_is(const struct rp_fact_token *token, const char *word);

/* Of a table of words, the one that the token is, in whatever case; -1: none. */
int rp_fact_token_among(const struct rp_fact_token *token, const char *const *words, size_t count);

bool rp_fact_token_begins(const struct rp_fact_token *token, const char *beginning);
bool rp_fact_token_is_quoted(const struct rp_fact_token *token);

/* What a word says of what stands beside it; `word` in small letters. */
struct rp_fact_role {
    const char *word;
    int role;
};

/* The role of the first row with that word, 0: none. */
int rp_fact_token_role(const struct rp_fact_token *token, const struct rp_fact_role *rows,
                       size_t count);

/* Digits alone. */
bool rp_fact_token_is_number(const struct rp_fact_token *token);

/* Who reads a line, and to whom what is found is told. */
struct rp_fact_scan {
    const struct rp_fact_line *line;
    rp_facts_take_fn *take;
    void *user;
};

void rp_fact_scan_take(const struct rp_fact_scan *scan, enum rp_fact_name name, const char *from,
                       const char *end);

/* The first token that begins at or behind `at`; line->count: none. */
size_t rp_fact_line_token_at(const struct rp_fact_line *line, size_t from, const char *at);

#endif
