/* SPDX-License-Identifier: Apache-2.0 */
/* Types of elements in GGUF files, as ggml numbers them. rp_gguf_read() stands in facts.h. */
#ifndef RP_MODEL_GGUF_H
#define RP_MODEL_GGUF_H

#include <stddef.h>
#include <stdint.h>

/* Elements come in blocks of a fixed size, with their scales in the block. */
struct rp_ggml_type {
    uint32_t number;
    const char *name; /* as in rp_model_facts.precision */
    uint32_t block_elements;
    uint32_t block_bytes;
};

/* By number; numbers of types that were taken back are missing. */
extern const struct rp_ggml_type rp_ggml_types[];
extern const size_t rp_ggml_type_count;

/* NULL for a number that is none. */
const struct rp_ggml_type *rp_ggml_type_find(uint32_t number);

#endif
