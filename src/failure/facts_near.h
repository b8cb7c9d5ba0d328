/* SPDX-License-Identifier: Apache-2.0 */
/* Facts by the words beside them, in messages that no pattern knows. */
#ifndef RP_FAILURE_FACTS_NEAR_H
#define RP_FAILURE_FACTS_NEAR_H

#include "failure/facts.h"

#include <resourcepool/failure.h>

/* What is looked for. */
enum {
    RP_NEAR_SIZES = 1,
    RP_NEAR_VERSIONS = 2,
    RP_NEAR_DEVICES = 4,
    RP_NEAR_ENDS = 8, /* exit codes and signals */
    RP_NEAR_OPERATORS = 16,
    RP_NEAR_DTYPES = 32,
    RP_NEAR_LIBRARIES = 64,
    RP_NEAR_PACKAGES = 128,
    RP_NEAR_FILES = 256,       /* of lines beside it: rp_facts_scan_names() reads the cause's */
    RP_NEAR_DTYPE_PAIRS = 512, /* of two types one is what the other should be */
    RP_NEAR_ALL = 255 | RP_NEAR_DTYPE_PAIRS,
    /* What another line than the cause's may tell of it. */
    RP_NEAR_BESIDE = RP_NEAR_SIZES | RP_NEAR_OPERATORS | RP_NEAR_PACKAGES | RP_NEAR_FILES,
};

/* What a failure of that category is about, less what is known. Of others a word that looks like
 * such a fact is too often none: a size beside a missing file, an operator's name in a path. */
unsigned rp_facts_near_wanted(rp_category category, const struct rp_facts *facts);

/* What a line states of those kinds. */
void rp_facts_scan_near(const char *text, size_t length, unsigned kinds, rp_facts_take_fn *take,
                        void *user);

/* The package in whose folder a frame's code lies: "…/site-packages/torch/nn/a.py" is torch's. */
void rp_facts_scan_frame(const char *text, size_t length, rp_facts_take_fn *take, void *user);

/* The operator that a line of source calls: "torch.bmm(a, b)". */
void rp_facts_scan_source(const char *text, size_t length, rp_facts_take_fn *take, void *user);

struct rp_fact_line;
struct rp_fact_scan;

/* Parts of rp_facts_scan_near(), each in a file of its own. */
void rp_facts_scan_terms(const struct rp_fact_line *line, unsigned kinds, rp_facts_take_fn *take,
                         void *user);

void rp_fact_scan_versions(const struct rp_fact_scan *scan);
void rp_fact_scan_operators(const struct rp_fact_scan *scan);

#endif
