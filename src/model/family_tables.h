/* SPDX-License-Identifier: Apache-2.0 */
/* What tools/family-tables makes of data/families.txt and data/family_weights.txt. */
#ifndef RP_MODEL_FAMILY_TABLES_H
#define RP_MODEL_FAMILY_TABLES_H

#include <resourcepool/classify.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_NO_PART = 7 };
enum { RP_FAMILY_BUCKETS = 8192, RP_FAMILY_CLASSES = 5 };

/*
 * A node of the tree of parts of names: the letters on the way to it, and what ends there. The
 * first is the root. Children stand side by side; no two of them begin with the same letter.
 */
struct rp_family_node {
    uint16_t first_child;
    uint16_t rest; /* its letters after the first, in rp_family_letters */
    uint8_t rest_length;
    char first;
    uint8_t child_count;
    uint8_t subfamily;  /* rp_subfamily; 0: the family's first */
    uint8_t family : 3; /* rp_family, or one more: vision or multimodal; RP_NO_PART: none ends */
    uint8_t strength : 4;
    uint8_t is_open : 1; /* letters may follow */
};

extern const struct rp_family_node rp_family_nodes[];
extern const char rp_family_letters[];

/* A type of models, without separators: sorted by name. */
struct rp_model_type {
    const char *name;
    uint8_t family; /* rp_family */
};

extern const struct rp_model_type rp_model_types[];
extern const size_t rp_model_type_count;

/* Weights of hashed features by class, in 1/RP_FAMILY_WEIGHT_UNIT; the last row is the bias. */
extern const int8_t rp_family_weights[RP_FAMILY_BUCKETS + 1][RP_FAMILY_CLASSES];

enum { RP_FAMILY_WEIGHT_UNIT = 40, RP_FAMILY_VALUE_UNIT = 20 };

/* The subfamily that a family has unless something says otherwise. */
rp_subfamily rp_family_first_subfamily(rp_family family);

#endif
