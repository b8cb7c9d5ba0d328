/* SPDX-License-Identifier: Apache-2.0 */
/* Where it may run instead: devices of the snapshot only, the best first, each with its reason. */
#ifndef RP_FAILURE_ALTERNATIVES_H
#define RP_FAILURE_ALTERNATIVES_H

#include "failure/places.h"
#include "placement/rules.h"

struct rp_alternatives_question {
    struct rp_places *places;    /* RP_PLACE_BEST is filled in */
    const rp_snapshot *snapshot; /* NULL: the processor at most, since every machine has one */
    const struct rp_rules *rules;
    enum rp_others others;
};

/*
 * Fill in advice->alternatives. *room_bytes is what the model may take of the device that failed,
 * as placement sees it; RP_UNKNOWN_U64 where nobody was asked. RP_ERR_MEMORY.
 */
rp_status rp_alternatives_find(const struct rp_alternatives_question *question,
                               struct rp_advice *advice, uint64_t *room_bytes, rp_error *err);

/* A subject of rules for a device and this failure; *told and *device are filled where the snapshot
 * has no such device. */
struct rp_rule_subject rp_failure_rule_subject(const struct rp_places *places,
                                               const rp_model_facts *facts, rp_accelerator *told,
                                               rp_device *device);

#endif
