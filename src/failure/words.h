/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the words of an error text speak for, where no rule knows the message: a linear model over
 * words, pairs of words and parts of words, hashed into buckets (tools/train-errors learns it).
 */
#ifndef RP_FAILURE_WORDS_H
#define RP_FAILURE_WORDS_H

#include <resourcepool/failure.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RP_WORDS_BUCKETS = 8192,
    RP_WORDS_COLUMNS = 32,   /* RP_CATEGORY_COUNT, and filled up to what processors add at once */
    RP_WORDS_LINES_MAX = 64, /* a log of thousands of lines has every word */
};

_Static_assert((int)RP_CATEGORY_COUNT <= (int)RP_WORDS_COLUMNS, "a column for each category");

/* The buckets of a text. Zero-initialise. */
struct rp_words {
    uint64_t bits[RP_WORDS_BUCKETS / 64];
    size_t line_count;
};

/* A line of it; beyond RP_WORDS_LINES_MAX they do not count. */
void rp_words_add(struct rp_words *words, const char *line, size_t length);

/* How likely each category is, as far as the words tell: they sum up to 1. False: there are none.
 */
bool rp_words_weigh(const struct rp_words *words, double shares[RP_CATEGORY_COUNT]);

/* Learnt; made of data/error_words.txt by tools/error-tables. */
extern const signed char rp_word_weights[RP_WORDS_BUCKETS][RP_WORDS_COLUMNS];
extern const unsigned char rp_word_rarities[RP_WORDS_BUCKETS]; /* of a bucket; 16 is 1.0 */
extern const signed char rp_word_biases[RP_CATEGORY_COUNT];
extern const float rp_word_unit; /* of a weight and a bias */

#endif
