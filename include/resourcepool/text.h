/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Texts that the library hands out: who gets one through an output gives it back here.
 */
#ifndef RESOURCEPOOL_TEXT_H
#define RESOURCEPOOL_TEXT_H

#include <resourcepool/api.h>

RP_BEGIN_DECLS

/**
 * Free a text that a function of this library returned through a `char **` output. Not free():
 * the library has its own account of memory. Accepts NULL. Any thread.
 */
RP_API void rp_string_free(char *text);

RP_END_DECLS

#endif
