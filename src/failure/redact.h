/* SPDX-License-Identifier: Apache-2.0 */
/* Redaction from inside: whose names go, and where a place of the text lies afterwards. */
#ifndef RP_FAILURE_REDACT_H
#define RP_FAILURE_REDACT_H

#include "base/text.h"

#include <stddef.h>

enum { RP_OWN_NAMES = 4, RP_OWN_NAME_BYTES = 256 };

/* Names that tell who and where somebody is. A word of everybody's language is none: "root". */
struct rp_own_names {
    struct {
        char text[RP_OWN_NAME_BYTES];
        size_t length;            /* 0: none here         */
        const char *stand;        /* what stands for it   */
    } words[RP_OWN_NAMES];        /* user, host and the host's short name */
    char home[RP_OWN_NAME_BYTES]; /* without a slash at the end; "": as any other */
};

/* Add a word unless it is one that means something to everybody, is too short, or has no room. */
void rp_own_names_add(struct rp_own_names *names, const char *word, const char *stand);

/* Those of this process: asked for once. */
const struct rp_own_names *rp_own_names_of_process(void);

/* Length of a folder of somebody's own that begins at text[0]: "/home/ada", "C:\Users\ada". 0:
 * none. Looks at a bounded part. */
size_t rp_home_at(const char *text, size_t length, const struct rp_own_names *names);

/*
 * Append the text as rp_redact() leaves it. mark: NULL, or a place in the text that becomes the one
 * in out->bytes. out->failed: no memory.
 */
void rp_redact_as(const char *text, size_t length, const struct rp_own_names *names,
                  struct rp_text *out, size_t *mark);

#endif
