/* SPDX-License-Identifier: Apache-2.0 */
/* Test cases for a sentence encoder: tokenised sentences, and what they must come to. */
#ifndef EXAMPLES_SENTENCES_H
#define EXAMPLES_SENTENCES_H

#include <resourcepool/resourcepool.h>

enum {
    SENTENCE_CASES = 8,
    SENTENCE_RANKS = 4, /* 0 is the anchor of its case, 3 the most distant from it */
    SENTENCE_TOKENS_MAX = 256,
    SENTENCE_WIDTH = 384, /* of a vector */
};

/* One sentence as the tokenizer left it. */
struct sentence {
    int token_count;
    int64_t ids[SENTENCE_TOKENS_MAX];
};

struct sentences {
    struct sentence of[SENTENCE_CASES][SENTENCE_RANKS];
};

/* Vectors that transformers recorded, in the order of the sentences. */
typedef float sentence_vector[SENTENCE_WIDTH];

/* How far a case is from what is expected. */
struct sentence_check {
    double difference_max; /* from the reference; may be a NaN, which is no small number */
    int out_of_order;      /* pairs that do not stand in the order of meaning */
};

double now_ms(void);

/* The file that tools/minilm writes. */
rp_status sentences_read(const char *path, struct sentences *sentences, rp_error *err);

/* SENTENCE_CASES * SENTENCE_RANKS of them; NULL when the file is not such: free(). */
sentence_vector *sentences_read_reference(const char *path);

/*
 * One case: the sentences come out in the order of meaning, and as the reference has them (NULL:
 * none to compare with). What the runs took is added to *inference_ms.
 */
rp_status sentences_check(rp_model *model, const struct sentences *sentences, int index,
                          sentence_vector *reference, struct sentence_check *check,
                          double *inference_ms, rp_error *err);

#endif
