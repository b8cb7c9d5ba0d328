/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model's name tells of its size: "Llama-2-70b", "8x7B", "bert-base", "Q4_K_M".
 *
 * Lines of models that are known (data/model_sizes.txt) have their layers and widths too. A number
 * of parameters that only the name says is rounded, so that it comes with what it may be as well.
 */
#ifndef RP_MODEL_SIZE_H
#define RP_MODEL_SIZE_H

#include <resourcepool/facts.h>
#include <stddef.h>
#include <stdint.h>

/* Fill in what the name tells and the facts do not have. */
void rp_size_of_name(const char *name, rp_model_facts *facts);

/* In the order of the columns of data/model_sizes.txt. */
enum rp_known_column {
    RP_KNOWN_LAYERS,
    RP_KNOWN_HIDDEN,
    RP_KNOWN_INNER,
    RP_KNOWN_HEADS,
    RP_KNOWN_KV_HEADS,
    RP_KNOWN_HEAD_SIZE,
    RP_KNOWN_VOCABULARY,
    RP_KNOWN_CONTEXT,
    RP_KNOWN_EXPERTS,
    RP_KNOWN_EXPERTS_USED,
    RP_KNOWN_COLUMNS
};

/* What tools/size-tables makes of a row; sorted by words. */
struct rp_known_size {
    const char *words; /* "llama 2 70 b" */
    uint64_t parameter_count;
    uint32_t counts[RP_KNOWN_COLUMNS];
};

extern const struct rp_known_size rp_known_sizes[];
extern const size_t rp_known_size_count;

/* The row that a name has; NULL: none. */
const struct rp_known_size *rp_known_size_of_name(const char *name);

#endif
