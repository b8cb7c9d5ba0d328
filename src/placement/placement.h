/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the library: a plan, and the same question under given rules. */
#ifndef RP_PLACEMENT_PLACEMENT_H
#define RP_PLACEMENT_PLACEMENT_H

#include "placement/rules.h"

#include <resourcepool/placement.h>

/* rp_place() under these rules. */
rp_status rp_place_by_rules(const struct rp_rules *rules, const rp_place_request *request,
                            rp_plan **plan, rp_error *err);

/* The policy that a plan was made by, and the whole reason of one of its candidates; borrowed. */
rp_policy rp_plan_policy(const rp_plan *plan);
const char *rp_plan_reason(const rp_plan *plan, const rp_candidate *candidate);

#endif
