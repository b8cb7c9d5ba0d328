/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/words.h"

#include "failure/line_text.h"

#include <math.h>
#include <string.h>

enum { PART_BYTES = 4, WORD_BYTES_MAX = 64 };

static char small(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static bool is_letter(char c) {
    c = small(c);
    return (c >= 'a' && c <= 'z') || c == '_';
}

/* FNV-1a; `kind` keeps words, pairs and parts apart. */
static uint32_t hash(uint32_t seed, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        seed = (seed ^ (unsigned char)text[i]) * 16777619u;
    }
    return seed;
}

static uint32_t seed_of(char kind) {
    return hash(2166136261u, &kind, 1);
}

static void set_bucket(struct rp_words *words, uint32_t hashed) {
    uint32_t bucket = (hashed ^ hashed >> 15) % RP_WORDS_BUCKETS;
    words->bits[bucket / 64] |= UINT64_C(1) << (bucket % 64);
}

/* The parts of a word, with a blank at either end. */
static void add_parts(struct rp_words *words, const char *word, size_t length) {
    char padded[WORD_BYTES_MAX + 2];
    padded[0] = ' ';
    memcpy(padded + 1, word, length);
    padded[length + 1] = ' ';
    for (size_t i = 0; i + PART_BYTES <= length + 2; i++) {
        set_bucket(words, hash(seed_of('p'), padded + i, PART_BYTES));
    }
}

/* The next word from *at: letters (two or more), or digits; its length, 0 at the end of the line.
 */
static size_t next_word(const char *line, size_t length, size_t *at, char *word) {
    while (*at < length) {
        size_t count = 0;
        bool is_number = rp_is_digit(line[*at]);
        if (!is_number && !is_letter(line[*at])) {
            ++*at;
            continue;
        }
        while (*at < length && (is_number ? rp_is_digit(line[*at]) : is_letter(line[*at]))) {
            if (count < WORD_BYTES_MAX) word[count++] = small(line[*at]);
            ++*at;
        }
        if (is_number || count > 1) return count;
    }
    return 0;
}

void rp_words_add(struct rp_words *words, const char *line, size_t length) {
    if (words->line_count == RP_WORDS_LINES_MAX) return;
    words->line_count++;
    char word[WORD_BYTES_MAX];
    uint32_t pair = 0;
    size_t at = 0;
    for (size_t count; (count = next_word(line, length, &at, word)) > 0;) {
        set_bucket(words, hash(seed_of('w'), word, count));
        if (pair) set_bucket(words, hash(pair, word, count));
        pair = hash(hash(seed_of('b'), word, count), " ", 1);
        add_parts(words, word, count);
    }
}

/* The sum of the rows of all buckets, each times its rarity; returns the square of its length. */
static int64_t add_rows(const struct rp_words *words, int32_t sums[RP_WORDS_COLUMNS]) {
    int64_t square = 0;
    for (size_t i = 0; i < RP_WORDS_BUCKETS / 64; i++) {
        for (uint64_t left = words->bits[i]; left; left &= left - 1) {
            size_t bucket = i * 64 + (size_t)__builtin_ctzll(left);
            int32_t rarity = rp_word_rarities[bucket];
            square += (int64_t)rarity * rarity;
            for (size_t j = 0; j < RP_WORDS_COLUMNS; j++) {
                sums[j] += rarity * rp_word_weights[bucket][j];
            }
        }
    }
    return square;
}

bool rp_words_weigh(const struct rp_words *words, double shares[RP_CATEGORY_COUNT]) {
    int32_t sums[RP_WORDS_COLUMNS] = {0}; /* 8192 * 255 * 127 is below 2^31 */
    int64_t square = add_rows(words, sums);
    if (square <= 0) return false;
    double total = 0;
    double most = -INFINITY;
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        shares[i] = (sums[i] / sqrt((double)square) + rp_word_biases[i]) * (double)rp_word_unit;
        if (shares[i] > most) most = shares[i];
    }
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        shares[i] = exp(shares[i] - most);
        total += shares[i];
    }
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        shares[i] /= total;
    }
    return true;
}
