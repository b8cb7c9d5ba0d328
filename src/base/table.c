/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/memory.h"

enum { SLOTS_MIN = 16 };

bool rp_table_reserve(struct rp_table *table) {
    size_t slot_count = table->slots ? table->mask + 1 : 0;
    if ((table->count + 1) * 4 <= slot_count * 3) return true;
    struct rp_table grown = {0};
    size_t grown_count = slot_count ? slot_count * 2 : SLOTS_MIN;
    grown.slots = rp_alloc_array(grown_count, sizeof *grown.slots);
    if (!grown.slots) return false;
    grown.mask = grown_count - 1;
    for (size_t i = 0; i < slot_count; i++) {
        if (table->slots[i].value) {
            rp_table_insert(&grown, table->slots[i].hash, table->slots[i].value);
        }
    }
    rp_free(table->slots);
    *table = grown;
    return true;
}

void rp_table_insert(struct rp_table *table, uint64_t hash, void *value) {
    size_t index = hash & table->mask;
    while (table->slots[index].value) {
        index = (index + 1) & table->mask;
    }
    table->slots[index] = (struct rp_table_slot){hash, value};
    table->count++;
}

void rp_table_remove(struct rp_table *table, uint64_t hash, const void *value) {
    struct rp_table_probe at = rp_table_find(table, hash);
    while (at.value && at.value != value) {
        at = rp_table_find_next(table, at);
    }
    if (!at.value) return;
    /* Close the gap (Knuth 6.4, algorithm R): move up whatever the gap would hide from its hash. */
    size_t gap = at.index;
    for (size_t i = (gap + 1) & table->mask; table->slots[i].value; i = (i + 1) & table->mask) {
        size_t home = table->slots[i].hash & table->mask;
        if (((i - home) & table->mask) >= ((i - gap) & table->mask)) {
            table->slots[gap] = table->slots[i];
            gap = i;
        }
    }
    table->slots[gap] = (struct rp_table_slot){0};
    table->count--;
}

void rp_table_fini(struct rp_table *table) {
    rp_free(table->slots);
    *table = (struct rp_table){0};
}
