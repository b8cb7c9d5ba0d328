/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What messages say: the rules of data/errors.
 *
 *   CATEGORY STRENGTH [on KIND...]
 *       PATTERN                      one or more: any of them on a line
 *       with PATTERN                 this too, anywhere in the text (several: all of them)
 *       without PATTERN              and this nowhere
 *       = AN ERROR TEXT              a test: the rule holds there and its category wins;
 *                                    \n begins a new line
 *
 * A category is one of failure.h, or "fact" (strength 0) for patterns that only read facts.
 * Strength: 9 the library's own words for just this; 7, 8 nearly always this; 5, 6 mostly; 3, 4 a
 * hint, or a wrapper whose cause may stand elsewhere; 1, 2 a trace.
 */
#ifndef RP_FAILURE_RULES_H
#define RP_FAILURE_RULES_H

#include "failure/pattern.h"

#include <resourcepool/failure.h>
#include <resourcepool/status.h>

enum { RP_FAILURE_CATEGORY_FACT = -1 };

struct rp_failure_rules;

/* The built-in ones; made at first use, kept for the process. */
rp_status rp_failure_rules_of_process(const struct rp_failure_rules **out, rp_error *err);

/* Those of a text, for tests and tools. `source` names it in messages. */
rp_status rp_failure_rules_create(const char *text, size_t length, const char *source,
                                  struct rp_failure_rules **out, rp_error *err);
void rp_failure_rules_destroy(struct rp_failure_rules *rules);

#endif
