/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/nearness.h"

#include "base/limits.h"
#include "hardware/proc.h"

#include <string.h>

enum { WORD_BITS = 64, WORDS = RP_LIMIT_PROCESSORS / WORD_BITS };

/* A list such as "0-3,8" as bits; false when it is none. */
static bool read_list(const char *list, uint64_t bits[WORDS]) {
    uint32_t numbers[RP_LIMIT_PROCESSORS];
    uint32_t count = 0;
    memset(bits, 0, WORDS * sizeof *bits);
    if (!list || !rp_cpulist_parse((struct rp_span){list, strlen(list)}, numbers, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (numbers[i] >= RP_LIMIT_PROCESSORS) return false;
        bits[numbers[i] / WORD_BITS] |= UINT64_C(1) << numbers[i] % WORD_BITS;
    }
    return count > 0;
}

static bool share_any(const uint64_t a[WORDS], const uint64_t b[WORDS]) {
    for (size_t i = 0; i < WORDS; i++) {
        if (a[i] & b[i]) return true;
    }
    return false;
}

uint64_t rp_near_nodes(const rp_cpu *cpu) {
    uint64_t allowed[WORDS];
    uint64_t its[WORDS];
    uint64_t near = 0;
    bool is_any_far = false;
    bool is_bound = cpu && cpu->affinity && cpu->numa_node_count > 1 &&
                    cpu->affinity_count < cpu->logical_count;
    if (!is_bound || !read_list(cpu->affinity, allowed)) return UINT64_MAX;
    for (size_t i = 0; i < cpu->numa_node_count; i++) {
        const rp_numa_node *node = cpu->numa_nodes[i];
        if (node->index >= 64 || !read_list(node->processors, its)) return UINT64_MAX;
        if (share_any(allowed, its)) {
            near |= UINT64_C(1) << node->index;
        } else {
            is_any_far = true;
        }
    }
    return is_any_far ? near : UINT64_MAX;
}
