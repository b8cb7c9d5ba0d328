/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape of a transformer as its configuration gives it, under the many names that authors have
 * for the same figure.
 */
#ifndef RP_MODEL_SHAPE_H
#define RP_MODEL_SHAPE_H

#include <jansson.h>
#include <stdint.h>

/* RP_UNKNOWN_U32 where the configuration says nothing. */
struct rp_shape {
    uint32_t hidden_size;
    uint32_t intermediate_size;
    uint32_t layer_count;         /* of the encoder where there are two parts */
    uint32_t decoder_layer_count; /* where there are an encoder and a decoder */
    uint32_t head_count;
    uint32_t kv_head_count;
    uint32_t head_size;
    uint32_t vocabulary_size;
    uint32_t context_length;
    uint32_t expert_count;
    uint32_t expert_used_count;
};

/* `config` is one part: the whole of a model of text, or "text_config". Not NULL. */
void rp_shape_read(const json_t *config, struct rp_shape *shape);

#endif
