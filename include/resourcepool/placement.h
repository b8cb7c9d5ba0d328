/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Where an object was put, and why.
 */
#ifndef RESOURCEPOOL_PLACEMENT_H
#define RESOURCEPOOL_PLACEMENT_H

#include <resourcepool/api.h>

/** What happens when the device that was asked for cannot be had. */
typedef enum rp_policy {
    RP_POLICY_REQUIRE = 1, /* that device or an error: what naming a device means        */
    RP_POLICY_ANY = 2,     /* whatever is there: what asking for "auto" or nothing means */
} rp_policy;

/** The chosen device, precision and engine. Borrowed from the object it describes. */
typedef struct rp_placement {
    const char
        *device; /* "cpu", "cuda:1"; NULL for what lives on no device: tokenizers, resources */
    const char *precision; /* "fp16", ...; NULL: as stored, or the constructor's own matter */
    const char *engine;    /* the engine that loaded it; NULL: the caller's constructor    */
    rp_policy policy;
    const char *reason; /* one sentence */
} rp_placement;

RP_BEGIN_DECLS

/** "require" or "any". Static storage. */
RP_API const char *rp_policy_name(rp_policy policy);

RP_END_DECLS

#endif
