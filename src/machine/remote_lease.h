/* SPDX-License-Identifier: Apache-2.0 */
/* From the broker's answer to a model: what ties a remote model to the lease that it is under. */
#ifndef RP_MACHINE_REMOTE_LEASE_H
#define RP_MACHINE_REMOTE_LEASE_H

#include "machine/client.h"

#include <resourcepool/model.h>

/*
 * The model of a LEASED answer, an rp_share_opener (share.h): takes over a share of `client` and
 * the lease on RP_OK, and gives both back when the model is closed; on failure they stay the
 * caller's. RP_ERR_DATA: the answer is none, or came without a ring. RP_ERR_NOT_FOUND: it is about
 * a ring that was kept, and is not any more; asked again, the broker makes one.
 */
RP_MUST_CHECK rp_status rp_remote_model_lease(struct rp_client *client, struct rp_reply *reply,
                                              const char *path, rp_model **model, rp_error *err);

#endif
