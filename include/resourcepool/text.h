/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Texts that the library hands out, which who gets one through an output gives back here, and
 * numbers in texts.
 */
#ifndef RESOURCEPOOL_TEXT_H
#define RESOURCEPOOL_TEXT_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stdint.h>

RP_BEGIN_DECLS

/**
 * Free a text that a function of this library returned through a `char **` output. Not free():
 * the library has its own account of memory. Accepts NULL. Any thread.
 */
RP_API void rp_string_free(char *text);

/**
 * Read a number of bytes as people write it, and budgets have it: "1073741824", "512MiB", "1.5GB",
 * "2 GiB"; K, M, G and T alone are binary. RP_ERR_ARGUMENT: it is none.
 */
RP_API RP_MUST_CHECK rp_status rp_bytes_parse(const char *text, uint64_t *bytes, rp_error *err);

RP_END_DECLS

#endif
