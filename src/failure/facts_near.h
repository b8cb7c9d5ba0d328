/* SPDX-License-Identifier: Apache-2.0 */
/* Facts by the words beside them, in messages that no pattern knows. */
#ifndef RP_FAILURE_FACTS_NEAR_H
#define RP_FAILURE_FACTS_NEAR_H

#include "failure/facts.h"

#include <resourcepool/failure.h>

/* Sizes, versions, indices of devices, operators, number types, ...: whatever a line states. */
void rp_facts_scan_near(const char *text, size_t length, rp_facts_take_fn *take, void *user);

/* Whether a failure of that category is about such a fact. Elsewhere a word that looks like one is
 * too often none: a size beside a missing file, an operator's name in a traceback. */
bool rp_fact_is_about(enum rp_fact_name name, rp_category category);

/* The package in whose folder a frame's code lies: "…/site-packages/torch/nn/a.py" is torch's. */
void rp_facts_scan_frame(const char *text, size_t length, rp_facts_take_fn *take, void *user);

struct rp_fact_line;

/* The names among these: facts_terms.c. */
void rp_facts_scan_terms(const struct rp_fact_line *line, rp_facts_take_fn *take, void *user);

#endif
