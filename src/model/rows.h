/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of one size that come one by one: what a reader must keep until it has seen the whole file.
 * They grow as they come, never by a count that the file claims.
 */
#ifndef RP_MODEL_ROWS_H
#define RP_MODEL_ROWS_H

#include <stddef.h>

struct rp_rows {
    void *bytes; /* NULL while there are none */
    size_t count;
    size_t capacity;
    size_t row_bytes;
};

/* For an array of `type`. */
#define RP_ROWS_INIT(type)                                                                         \
    { NULL, 0, 0, sizeof(type) }

/* One more row, zeroed; NULL without memory. Rows that were there may have moved. */
void *rp_rows_add(struct rp_rows *rows);

void *rp_rows_at(const struct rp_rows *rows, size_t index);

void rp_rows_sort(struct rp_rows *rows, int (*compare)(const void *, const void *));

/* The first row of sorted ones that is not less than `key`: an index, `count` when all are less. */
size_t rp_rows_find(const struct rp_rows *rows, const void *key,
                    int (*compare)(const void *, const void *));

void rp_rows_fini(struct rp_rows *rows);

#endif
