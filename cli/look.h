/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at a broker that runs, for the commands that show one or give it orders. Nothing here
 * starts one. The document is that of rp_machine_status(); what it does not have reads as "", 0 or
 * unknown, since a broker may be of another version.
 */
#ifndef RP_CLI_LOOK_H
#define RP_CLI_LOOK_H

#include <jansson.h>
#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_NO_BROKER = 5 };

/* NULL after a report; *code is the exit code then. `folder` NULL: the user's. */
rp_machine *look_reach(const char *folder, int64_t timeout_ms, int *code);

/* What it says of itself; NULL after a report. */
json_t *look_ask(rp_machine *machine, bool all, int *code);

const char *look_text(const json_t *object, const char *key);
long long look_number(const json_t *object, const char *key);
uint64_t look_bytes(const json_t *object, const char *key); /* RP_UNKNOWN_U64 */
double look_ms(const json_t *object, const char *key);      /* below 0: unknown */

/* Who holds leases on that key (NULL: any), a row each, borrowed from the document. */
json_t *look_holders(const json_t *document, const char *key);

/* The bytes of objects and of what is reserved beside them, of "totals". */
uint64_t look_held(const json_t *totals);

#endif
