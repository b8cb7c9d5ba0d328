/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/doomed.h"

#include "base/memory.h"

void rp_doomed_fini(struct rp_doomed *doomed) {
    rp_free(doomed->loads);
    *doomed = (struct rp_doomed){0};
}

void rp_doomed_add(struct rp_doomed *doomed, uint64_t hash, const rp_error *why, int64_t now_ns) {
    if (!doomed->loads) {
        doomed->loads = rp_alloc_array(RP_DOOMED_MAX, sizeof *doomed->loads);
        if (!doomed->loads) return;
    }
    struct rp_doomed_load *at = doomed->loads;
    struct rp_doomed_load *end = at + doomed->count;
    while (at < end && at->hash != hash) {
        at++;
    }
    if (at == end && doomed->count < RP_DOOMED_MAX) {
        doomed->count++;
    } else if (at == end) {
        at = doomed->loads;
        for (size_t i = 1; i < doomed->count; i++) {
            if (doomed->loads[i].until_ns < at->until_ns) at = &doomed->loads[i];
        }
    }
    *at = (struct rp_doomed_load){.hash = hash, .until_ns = now_ns + RP_DOOMED_NS, .why = *why};
}

const struct rp_doomed_load *rp_doomed_find(const struct rp_doomed *doomed, uint64_t hash,
                                            int64_t now_ns) {
    for (size_t i = 0; i < doomed->count; i++) {
        const struct rp_doomed_load *load = &doomed->loads[i];
        if (load->hash == hash && now_ns < load->until_ns) return load;
    }
    return NULL;
}

void rp_doomed_clear(struct rp_doomed *doomed) {
    doomed->count = 0;
}
