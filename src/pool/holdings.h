/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the memory of a device: told when it has run out. */
#ifndef RP_POOL_HOLDINGS_H
#define RP_POOL_HOLDINGS_H

#include "pool/pool.h"

enum { RP_HOLDINGS_TOLD = 4, RP_HOLDING_NAME_BYTES = 48 };

struct rp_holding {
    char name[RP_HOLDING_NAME_BYTES]; /* without its folders; cut when longer */
    uint64_t bytes;
    uint64_t lease_count;
    bool is_loading;
};

struct rp_holdings {
    uint64_t own_bytes;  /* charged to the entries that were asked about                        */
    uint64_t free_bytes; /* what those could have: the least of budgets and of what the device
                            has; RP_UNKNOWN_U64                                                 */
    bool is_budget;      /* a budget was the least                                              */
    struct rp_holding largest[RP_HOLDINGS_TOLD]; /* of the others, the largest first */
    size_t count;
};

/*
 * Look at a device. `is_own`, called under pool.lock, says which entries are asked about. Asks the
 * device's meter, so under no lock.
 */
void rp_holdings_take(rp_pool *pool, const char *device,
                      bool (*is_own)(const struct rp_entry *entry, void *user), void *user,
                      struct rp_holdings *holdings);

#endif
