/* SPDX-License-Identifier: Apache-2.0 */
/* What a report keeps of an error text, however long it is. */
#ifndef RP_FAILURE_KEPT_TEXT_H
#define RP_FAILURE_KEPT_TEXT_H

#include "base/text.h"
#include "failure/redact.h"

#include <stddef.h>
#include <stdint.h>

enum {
    RP_KEPT_TEXT_BYTES = 64 << 10, /* a little more with the lines that say what was left out */
    RP_KEPT_TEXT_WHOLE_BYTES = 1 << 20, /* longer ones are looked at in three places only */
};

/*
 * Append the text in UTF-8, redacted, without terminal codes, "\n" at line ends; of a long one the
 * beginning, what is around `mark` (the cause) and the end, with a line for what is left out.
 * *left_out: so many bytes. out->failed: no memory.
 */
void rp_keep_text(const char *text, size_t length, uint64_t mark, const struct rp_own_names *names,
                  struct rp_text *out, uint64_t *left_out);

#endif
