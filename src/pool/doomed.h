/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads that found no memory a moment ago: for RP_DOOMED_NS the same instance gets the same answer
 * at once, so that 24 callers do not repeat it. Any success and any freed memory clears them all.
 */
#ifndef RP_POOL_DOOMED_H
#define RP_POOL_DOOMED_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RP_DOOMED_NS (INT64_C(5) * 1000000000)

enum { RP_DOOMED_MAX = 64 };

struct rp_doomed_load {
    uint64_t hash; /* of the instance: 64 bits are taken for it */
    int64_t until_ns;
    rp_error why; /* with the one line of its diagnosis for a hint, if the load had none itself */
};

struct rp_doomed {
    struct rp_doomed_load *loads; /* owned; RP_DOOMED_MAX of them, made with the first */
    size_t count;
};

void rp_doomed_fini(struct rp_doomed *doomed);

/* Remember; without memory, or with too many (the oldest goes), it is simply tried again. */
void rp_doomed_add(struct rp_doomed *doomed, uint64_t hash, const rp_error *why, int64_t now_ns);

/* Why that load is not worth trying now; NULL: it is. */
const struct rp_doomed_load *rp_doomed_find(const struct rp_doomed *doomed, uint64_t hash,
                                            int64_t now_ns);

void rp_doomed_clear(struct rp_doomed *doomed);

#endif
