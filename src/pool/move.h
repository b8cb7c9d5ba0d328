/* SPDX-License-Identifier: Apache-2.0 */
/* Moving a model that somebody names as people see it, rather than by the request for it. */
#ifndef RP_POOL_MOVE_H
#define RP_POOL_MOVE_H

#include <resourcepool/pool.h>

/*
 * rp_pool_move_model() of the entry with that key. All requests that left the choice of a device to
 * the pool and were led to it are led to the new one.
 *
 * cancel  NULL: cannot be called off
 * RP_ERR_NOT_FOUND: there is none of that key; RP_ERR_BUSY: it is being loaded; RP_ERR_UNSUPPORTED:
 * a constructor made it, which only its program can call again. Else as rp_pool_get_model().
 */
RP_MUST_CHECK rp_status rp_pool_move_entry(rp_pool *pool, const char *key, const char *device,
                                           rp_cancel *cancel, rp_lease **lease, rp_error *err);

#endif
