/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a request for a model may go: the attempts that will be made, best first. Placement ranks
 * devices; the request's own lists of devices and precisions come in their order.
 */
#ifndef RP_POOL_CHOICE_H
#define RP_POOL_CHOICE_H

#include "pool/key.h"

#include <resourcepool/facts.h>
#include <resourcepool/placement.h>
#include <resourcepool/request.h>

enum { RP_ATTEMPTS_MAX = 64 };

struct rp_attempt {
    const rp_plan *plan;
    const rp_candidate *candidate; /* NULL: the plan has none, and says why       */
    const char *device;            /* as the request named it; NULL: auto         */
    const char *precision;         /* likewise; NULL: as stored                   */
};

struct rp_choice {
    rp_model_facts facts;
    rp_plan *plans[RP_ATTEMPTS_MAX];
    size_t plan_count;
    struct rp_attempt attempts[RP_ATTEMPTS_MAX];
    uint32_t count;
    uint32_t lowest; /* the first attempt in the last precision of the request */
    char *devices;   /* owned copies of the request's lists, cut into words; NULL */
    char *precisions;
};

/* The caller's request and what a pool adds to it. Borrowed for the call. */
struct rp_choice_request {
    const rp_request *request;
    const rp_snapshot *snapshot;
    const rp_room *room;
    size_t room_count;
    bool has_constructor;
};

/*
 * Make the list; *choice is the caller's, also on failure: rp_choice_destroy(). Reads the headers
 * of the model's files.
 */
rp_status rp_choice_create(const struct rp_choice_request *asked, struct rp_choice **choice,
                           rp_error *err);
void rp_choice_destroy(struct rp_choice *choice);

/* What the model is: from its files where there are any that can be read, else from its name. */
void rp_choice_facts(const rp_request *request, rp_model_facts *facts);

/* Whether the lists of a request are short enough, and make sense for the kind. */
rp_status rp_choice_check(rp_kind kind, const rp_request *request, rp_error *err);

/*
 * What stands for the device in the key of a request with preferences: two requests that differ in
 * them are two. Written to `text`, which holds RP_LIMIT_DEVICE_BYTES.
 */
const char *rp_choice_key_device(const rp_request *request, char *text);

#endif
