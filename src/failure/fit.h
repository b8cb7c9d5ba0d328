/* SPDX-License-Identifier: Apache-2.0 */
/* What of a model would have room where the whole of it had none. */
#ifndef RP_FAILURE_FIT_H
#define RP_FAILURE_FIT_H

#include <resourcepool/facts.h>
#include <stdbool.h>
#include <stdint.h>

/* What is unknown is RP_UNKNOWN_U64, "" or NULL, or 0 of a count. */
struct rp_fit {
    char precision[16]; /* that it is stored in            */
    uint64_t need_bytes;
    uint64_t room_bytes;
    const char *fit_precision; /* the widest narrower one that has room */
    uint64_t fit_bytes;
    uint32_t batch;   /* the largest that has room, where one by itself has */
    uint32_t context; /* likewise, in tokens, of what writes text           */
    char sibling[64]; /* the largest smaller model of the line that has room, as far as room is
                         known; it stands in data/model_sizes.txt              */
    uint64_t sibling_bytes;
};

/* What the model needs in that precision, without what a driver takes; RP_UNKNOWN_U64. */
uint64_t rp_fit_need(const rp_model_facts *facts, const char *precision);

/*
 * device      where it is to go: its kind counts, and what is known of it
 * room_bytes  what it may take there; RP_UNKNOWN_U64
 */
void rp_fit_find(const rp_model_facts *facts, const char *name, rp_family family,
                 const rp_device *device, uint64_t room_bytes, struct rp_fit *fit);

#endif
