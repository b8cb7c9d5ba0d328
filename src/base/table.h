/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table from 64-bit hashes to pointers: open addressing, linear probing, at most three
 * quarters full. It does not know what it holds; the caller's loop compares what has the same hash:
 *
 *     for (struct rp_table_probe at = rp_table_find(&table, hash); at.value;
 *          at = rp_table_find_next(&table, at)) { if (matches(at.value)) ... }
 *
 * No locks: whoever owns a table guards it.
 */
#ifndef RP_BASE_TABLE_H
#define RP_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rp_table_slot {
    uint64_t hash;
    void *value; /* NULL: free */
};

struct rp_table {
    struct rp_table_slot *slots; /* NULL while nothing was inserted */
    size_t mask;                 /* slot count - 1: a power of two less one */
    size_t count;
};

struct rp_table_probe {
    uint64_t hash;
    size_t index;
    void *value; /* NULL: no (further) slot has that hash */
};

static inline struct rp_table_probe rp_table_scan(const struct rp_table *table, uint64_t hash,
                                                  size_t index) {
    for (;; index = (index + 1) & table->mask) {
        const struct rp_table_slot *slot = &table->slots[index];
        if (slot->hash == hash || !slot->value) {
            return (struct rp_table_probe){hash, index, slot->value};
        }
    }
}

static inline struct rp_table_probe rp_table_find(const struct rp_table *table, uint64_t hash) {
    if (!table->slots) return (struct rp_table_probe){hash, 0, NULL};
    return rp_table_scan(table, hash, hash & table->mask);
}

static inline struct rp_table_probe rp_table_find_next(const struct rp_table *table,
                                                       struct rp_table_probe at) {
    return rp_table_scan(table, at.hash, (at.index + 1) & table->mask);
}

/* Make room for one more, so that the next rp_table_insert() cannot fail; false without memory. */
bool rp_table_reserve(struct rp_table *table);

/* Insert after rp_table_reserve(); value is not NULL. Several values may have one hash. */
void rp_table_insert(struct rp_table *table, uint64_t hash, void *value);

/* Remove that value; does nothing when it is not there. */
void rp_table_remove(struct rp_table *table, uint64_t hash, const void *value);

void rp_table_fini(struct rp_table *table);

#endif
