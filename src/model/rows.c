/* SPDX-License-Identifier: Apache-2.0 */
#include "model/rows.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_COUNT = 64 };

void *rp_rows_add(struct rp_rows *rows) {
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? rows->capacity * 2 : FIRST_COUNT;
        void *bytes = rp_realloc_array(rows->bytes, capacity, rows->row_bytes);
        if (!bytes) return NULL;
        rows->bytes = bytes;
        rows->capacity = capacity;
    }
    void *row = rp_rows_at(rows, rows->count++);
    memset(row, 0, rows->row_bytes);
    return row;
}

void *rp_rows_at(const struct rp_rows *rows, size_t index) {
    return (char *)rows->bytes + index * rows->row_bytes;
}

void rp_rows_sort(struct rp_rows *rows, int (*compare)(const void *, const void *)) {
    if (rows->count > 1) qsort(rows->bytes, rows->count, rows->row_bytes, compare);
}

size_t rp_rows_find(const struct rp_rows *rows, const void *key,
                    int (*compare)(const void *, const void *)) {
    size_t low = 0;
    size_t high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(rp_rows_at(rows, middle), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void rp_rows_fini(struct rp_rows *rows) {
    rp_free(rows->bytes);
    rows->bytes = NULL;
    rows->count = 0;
    rows->capacity = 0;
}
