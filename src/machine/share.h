/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose models a pool hands out: its own, or the machine's. A pool that shares asks the broker for
 * each model that an engine would load, and holds it while it is leased here; without a broker that
 * can be used it loads them itself, and says so once.
 */
#ifndef RP_MACHINE_SHARE_H
#define RP_MACHINE_SHARE_H

#include "machine/client.h"

#include <resourcepool/pool.h>

/*
 * Make a model of what LEASED told. Takes over a share of `client` (rp_client_drop()) and the lease
 * on RP_OK, and gives both back when the model is closed; on failure they stay the caller's.
 * `reply` is borrowed, its descriptors may be taken.
 */
typedef rp_status (*rp_share_opener)(struct rp_client *client, struct rp_reply *reply,
                                     const char *path, rp_model **model, rp_error *err);

/* What rp_pool_open() uses; NULL: there is none, and every pool is its process's own. */
extern rp_share_opener rp_share_open_remote;

/* What the options and RESOURCE_POOL_SHARE say. RP_ERR_ARGUMENT: neither "process" nor "machine".
 */
RP_MUST_CHECK rp_status rp_share_decide(rp_share wanted, rp_share *share, rp_error *err);

#endif
