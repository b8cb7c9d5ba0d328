/* SPDX-License-Identifier: Apache-2.0 */
#include "model/shape.h"

#include "model/json.h"

#include <resourcepool/hardware.h>
#include <string.h>

/* What a figure is called, the clearest name first. */
static const char *const hidden_names[] = {"hidden_size", "n_embd",    "d_model",
                                           "dim",         "embed_dim", NULL};
static const char *const intermediate_names[] = {
    "intermediate_size", "n_inner",         "ffn_dim", "d_ff",       "ffn_hidden_size",
    "encoder_ffn_dim",   "decoder_ffn_dim", "d_inner", "hidden_dim", NULL};
static const char *const layer_names[] = {
    "num_hidden_layers", "n_layer", "n_layers",       "num_layers",
    "encoder_layers",    "depth",   "decoder_layers", NULL};
static const char *const head_names[] = {
    "num_attention_heads",     "n_head", "n_heads", "num_heads", "encoder_attention_heads",
    "decoder_attention_heads", NULL};
static const char *const kv_head_names[] = {"num_key_value_heads", "num_kv_heads", "n_head_kv",
                                            "multi_query_group_num", NULL};
static const char *const head_size_names[] = {"head_dim", "d_kv", "kv_channels",
                                              "attention_head_dim", NULL};
static const char *const vocabulary_names[] = {"vocab_size", "padded_vocab_size", NULL};
static const char *const context_names[] = {"max_position_embeddings",
                                            "n_positions",
                                            "n_ctx",
                                            "max_seq_len",
                                            "seq_length",
                                            "max_seq_length",
                                            "max_sequence_length",
                                            "model_max_length",
                                            "max_target_positions",
                                            NULL};
static const char *const last_context_names[] = {"max_source_positions", NULL};
static const char *const expert_names[] = {"num_local_experts", "num_experts", "n_routed_experts",
                                           "moe_num_experts", NULL};
static const char *const expert_used_names[] = {"num_experts_per_tok", "num_experts_per_token",
                                                "experts_per_token",   "moe_topk",
                                                "moe_top_k",           NULL};

static const struct {
    const char *const *names;
    size_t field; /* its place in struct rp_shape */
} rows[] = {
    {hidden_names, offsetof(struct rp_shape, hidden_size)},
    {intermediate_names, offsetof(struct rp_shape, intermediate_size)},
    {layer_names, offsetof(struct rp_shape, layer_count)},
    {head_names, offsetof(struct rp_shape, head_count)},
    {kv_head_names, offsetof(struct rp_shape, kv_head_count)},
    {head_size_names, offsetof(struct rp_shape, head_size)},
    {vocabulary_names, offsetof(struct rp_shape, vocabulary_size)},
    {context_names, offsetof(struct rp_shape, context_length)},
    {expert_names, offsetof(struct rp_shape, expert_count)},
    {expert_used_names, offsetof(struct rp_shape, expert_used_count)},
};

/* Encoder and decoder, under the names of BART's line or of T5's. */
static void read_decoder(const json_t *config, struct rp_shape *shape) {
    uint32_t encoder = rp_json_count(config, RP_JSON_KEYS("encoder_layers"));
    uint32_t decoder = rp_json_count(config, RP_JSON_KEYS("decoder_layers", "num_decoder_layers"));
    if (encoder != RP_UNKNOWN_U32) shape->layer_count = encoder;
    bool is_pair = rp_json_truth(config, "is_encoder_decoder", false);
    if (decoder == RP_UNKNOWN_U32 && is_pair) decoder = shape->layer_count;
    if (is_pair || encoder != RP_UNKNOWN_U32) shape->decoder_layer_count = decoder;
}

void rp_shape_read(const json_t *config, struct rp_shape *shape) {
    memset(shape, 0xFF, sizeof *shape); /* RP_UNKNOWN_U32 in each field */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t value = rp_json_count(config, rows[i].names);
        memcpy((char *)shape + rows[i].field, &value, sizeof value);
    }
    read_decoder(config, shape);
    if (shape->context_length == RP_UNKNOWN_U32) {
        shape->context_length = rp_json_count(config, last_context_names);
    }
    if (shape->head_count == RP_UNKNOWN_U32) return;
    /* One head of keys and values for all, unless the newer layout of Falcon counts them itself. */
    bool is_new = rp_json_truth(config, "new_decoder_architecture", false);
    if (rp_json_truth(config, "multi_query", false) && !is_new) shape->kv_head_count = 1;
    if (shape->kv_head_count == RP_UNKNOWN_U32) shape->kv_head_count = shape->head_count;
    bool is_even =
        shape->hidden_size != RP_UNKNOWN_U32 && shape->hidden_size % shape->head_count == 0;
    if (shape->head_size == RP_UNKNOWN_U32 && is_even) {
        shape->head_size = shape->hidden_size / shape->head_count;
    }
}
