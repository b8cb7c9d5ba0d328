/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transformer is a stack of equal blocks between embeddings and a head, so its parameters follow
 * from a dozen figures. What differs between types, such as biases or a third matrix in the
 * feed-forward block, are traits in a table. For the types in it the count is that of the
 * published checkpoints, mostly to the last one; of other types the range says what is not known.
 *
 * The arithmetic is in doubles: whole numbers are exact up to 2^53, and beyond there is no model.
 */
#include "model/parameters.h"

#include "model/json.h"
#include "model/shape.h"

#include <resourcepool/hardware.h>
#include <string.h>

/* What a type has besides the common block: matrices without bias, two norms, a tied output. */
enum trait {
    GATED = 1 << 0,          /* three matrices in the feed-forward block, not two               */
    BIAS = 1 << 1,           /* every matrix adds a vector                                      */
    QKV_BIAS = 1 << 2,       /* those of queries, keys and values do                            */
    NORM_BIAS = 1 << 3,      /* a norm has two vectors                                          */
    QK_NORM = 1 << 4,        /* a norm of each head's queries and keys                          */
    ONE_NORM = 1 << 5,       /* per block                                                       */
    FOUR_NORMS = 1 << 6,     /* per block                                                       */
    NO_NORM = 1 << 7,        /* without parameters                                              */
    NO_FINAL_NORM = 1 << 8,  /* after the last block                                            */
    INPUT_NORM = 1 << 9,     /* after the embeddings                                            */
    UNTIED = 1 << 10,        /* the output has a matrix of its own unless the configuration says */
    HEAD_BIAS = 1 << 11,     /* the output adds a vector                                        */
    POSITIONS = 1 << 12,     /* learnt, one vector each                                         */
    TWO_MORE = 1 << 13,      /* positions than the configuration says                           */
    TOKEN_TYPES = 1 << 14,   /* as BERT has them                                                */
    POOLER = 1 << 15,        /* a square matrix over the first token                            */
    SHARED_BLOCK = 1 << 16,  /* all blocks are one                                              */
    HALF_INNER = 1 << 17,    /* the configured width is that of two matrices together           */
    CLASS_TOKEN = 1 << 18,   /* a learnt first token                                            */
    MASK_TOKEN = 1 << 19,    /* a learnt token for what is hidden                               */
    PATCH_BIAS = 1 << 20,    /* the projection of patches adds a vector                         */
    LAYER_SCALE = 1 << 21,   /* two vectors per block                                           */
    POOLING_BLOCK = 1 << 22, /* a block that attends from one learnt token to all               */
    RELATIVE = 1 << 23,      /* 32 buckets of relative positions for each head                  */
};

enum {
    BERT = BIAS | NORM_BIAS | POSITIONS | INPUT_NORM | NO_FINAL_NORM,
    GPT2 = BIAS | NORM_BIAS | POSITIONS,
    LLAMA = GATED | UNTIED,
    VIT = BIAS | NORM_BIAS | CLASS_TOKEN | PATCH_BIAS,
};

enum form { TEXT, MASKED, IMAGE, SPEECH, BART, T5, WHISPER };

/* A type of models: the sizes are what a part of a configuration leaves out when they are usual. */
static const struct type {
    const char *name;
    enum form form;
    unsigned traits;
    uint32_t hidden_size;
    uint32_t intermediate_size;
    uint32_t layer_count;
    uint32_t head_count;
    uint32_t kv_head_count;
    uint32_t vocabulary_size;
    uint32_t extent; /* positions of text, or pixels along an image's side */
    uint32_t patch_size;
} types[] = {
    {.name = "bert", .form = MASKED, .traits = BERT | TOKEN_TYPES | POOLER},
    {.name = "roberta", .form = MASKED, .traits = BERT | TOKEN_TYPES | POOLER},
    {.name = "xlm-roberta", .form = MASKED, .traits = BERT | TOKEN_TYPES | POOLER},
    {.name = "camembert", .form = MASKED, .traits = BERT | TOKEN_TYPES | POOLER},
    {.name = "electra", .form = MASKED, .traits = BERT | TOKEN_TYPES},
    {.name = "albert", .form = MASKED, .traits = BERT | TOKEN_TYPES | POOLER | SHARED_BLOCK},
    {.name = "mpnet", .form = MASKED, .traits = BERT | POOLER | RELATIVE},
    {.name = "distilbert", .form = MASKED, .traits = BERT},
    {.name = "deberta-v2", .form = MASKED, .traits = BERT & ~POSITIONS},
    {.name = "modernbert", .form = MASKED, .traits = GATED | INPUT_NORM},

    {.name = "gpt2", .form = TEXT, .traits = GPT2},
    {.name = "gpt_bigcode", .form = TEXT, .traits = GPT2},
    {.name = "gpt_neo", .form = TEXT, .traits = GPT2},
    {.name = "opt", .form = TEXT, .traits = GPT2 | TWO_MORE},
    {.name = "gptj", .form = TEXT, .traits = BIAS | NORM_BIAS | ONE_NORM | UNTIED | HEAD_BIAS},
    {.name = "phi", .form = TEXT, .traits = BIAS | NORM_BIAS | ONE_NORM | UNTIED | HEAD_BIAS},
    {.name = "gpt_neox", .form = TEXT, .traits = BIAS | NORM_BIAS | UNTIED},
    {.name = "bloom", .form = TEXT, .traits = BIAS | NORM_BIAS | INPUT_NORM},
    {.name = "starcoder2", .form = TEXT, .traits = BIAS | NORM_BIAS},
    {.name = "falcon", .form = TEXT, .traits = NORM_BIAS},
    {.name = "mpt", .form = TEXT},
    {"llama", TEXT, LLAMA, 4096, 11008, 32, 32, 32, 32000, 0, 0},
    {"mistral", TEXT, LLAMA, 4096, 14336, 32, 32, 8, 32000, 0, 0},
    {.name = "mixtral", .form = TEXT, .traits = LLAMA},
    {.name = "phi3", .form = TEXT, .traits = LLAMA},
    {.name = "qwen", .form = TEXT, .traits = LLAMA | QKV_BIAS | HALF_INNER},
    {.name = "qwen2", .form = TEXT, .traits = LLAMA | QKV_BIAS},
    {.name = "qwen2_moe", .form = TEXT, .traits = LLAMA | QKV_BIAS},
    {.name = "qwen3", .form = TEXT, .traits = LLAMA | QK_NORM},
    {.name = "qwen3_moe", .form = TEXT, .traits = LLAMA | QK_NORM},
    {.name = "gemma", .form = TEXT, .traits = GATED},
    {.name = "gemma2", .form = TEXT, .traits = GATED | FOUR_NORMS},
    {.name = "gemma3_text", .form = TEXT, .traits = GATED | FOUR_NORMS | QK_NORM},
    {.name = "stablelm", .form = TEXT, .traits = LLAMA | NORM_BIAS},
    {.name = "cohere", .form = TEXT, .traits = GATED | ONE_NORM},
    {.name = "olmo", .form = TEXT, .traits = LLAMA | NO_NORM},
    {.name = "granite", .form = TEXT, .traits = GATED},
    {.name = "smollm3", .form = TEXT, .traits = GATED},
    {.name = "internlm2", .form = TEXT, .traits = LLAMA},
    {.name = "deepseek_v2", .form = TEXT, .traits = LLAMA},
    {.name = "deepseek_v3", .form = TEXT, .traits = LLAMA},
    {.name = "gpt_oss", .form = TEXT, .traits = LLAMA | BIAS},

    {.name = "t5", .form = T5, .traits = RELATIVE},
    {.name = "mt5", .form = T5, .traits = RELATIVE | UNTIED},
    {.name = "longt5", .form = T5, .traits = RELATIVE},
    {.name = "bart", .form = BART, .traits = GPT2 | TWO_MORE | INPUT_NORM | NO_FINAL_NORM},
    {.name = "mbart", .form = BART, .traits = GPT2 | TWO_MORE | INPUT_NORM},
    {.name = "pegasus", .form = BART, .traits = GPT2},
    {.name = "marian", .form = BART, .traits = GPT2 | NO_FINAL_NORM},
    {.name = "m2m_100", .form = BART, .traits = BIAS | NORM_BIAS},
    {.name = "blenderbot", .form = BART, .traits = GPT2},
    {.name = "whisper", .form = WHISPER, .traits = BIAS | NORM_BIAS},

    {"clip_text_model", TEXT, GPT2, 512, 2048, 12, 8, 8, 49408, 77, 0},
    {"siglip_text_model", TEXT, GPT2 | POOLER, 768, 3072, 12, 12, 12, 32000, 64, 0},
    {"clip_vision_model", IMAGE, (VIT & ~PATCH_BIAS) | INPUT_NORM, 768, 3072, 12, 12, 12, 0, 224,
     32},
    {"siglip_vision_model", IMAGE, (VIT & ~CLASS_TOKEN) | POOLING_BLOCK, 768, 3072, 12, 12, 12, 0,
     224, 16},
    {"vit", IMAGE, VIT | POOLER, 768, 3072, 12, 12, 12, 0, 224, 16},
    {"deit", IMAGE, VIT | MASK_TOKEN, 768, 3072, 12, 12, 12, 0, 224, 16},
    {"dinov2", IMAGE, VIT | MASK_TOKEN | LAYER_SCALE, 768, 3072, 12, 12, 12, 0, 224, 14},

    {.name = "wav2vec2", .form = SPEECH, .traits = BIAS | NORM_BIAS},
    {.name = "hubert", .form = SPEECH, .traits = BIAS | NORM_BIAS},
    {.name = "wavlm", .form = SPEECH, .traits = BIAS | NORM_BIAS},
    {.name = "data2vec-audio", .form = SPEECH, .traits = BIAS | NORM_BIAS},
};

/* One part of a model while it is counted. */
struct part {
    const json_t *config;
    const char *architecture; /* "" when there is none */
    enum form form;
    unsigned traits;
    double hidden;
    double inner;
    double layers;
    double decoder_layers; /* 0: one stack */
    double heads;
    double kv_heads;
    double head_size;
    double vocabulary;
    double embedding; /* width of the embeddings: mostly `hidden` */
    double positions;
    double experts; /* 0: none */
    uint32_t extent;
    uint32_t patch_size;
};

static double known_or(uint32_t value, double otherwise) {
    return value != RP_UNKNOWN_U32 ? value : otherwise;
}

static double number(const json_t *config, const char *key, double otherwise) {
    return known_or(rp_json_count(config, RP_JSON_KEYS(key)), otherwise);
}

static bool has(const struct part *part, unsigned trait) {
    return (part->traits & trait) != 0;
}

static bool is_for(const struct part *part, const char *head) {
    return strstr(part->architecture, head) != NULL;
}

/* A matrix, with its vector when the type has one. */
static double linear(double from, double to, bool has_bias) {
    return from * to + (has_bias ? to : 0);
}

static double norm(const struct part *part, double width) {
    if (has(part, NO_NORM)) return 0;
    return has(part, NORM_BIAS) ? 2 * width : width;
}

/* Keys and values through a narrow middle, as DeepSeek's types have them. */
static double latent_attention(const struct part *part) {
    const json_t *config = part->config;
    double kv_rank = number(config, "kv_lora_rank", 0);
    double q_rank = number(config, "q_lora_rank", 0);
    double rope = number(config, "qk_rope_head_dim", 64);
    double nope = number(config, "qk_nope_head_dim", 128);
    double value = number(config, "v_head_dim", 128);
    double queries = part->heads * (nope + rope);
    double sum =
        q_rank > 0 ? part->hidden * q_rank + q_rank + q_rank * queries : part->hidden * queries;
    sum += part->hidden * (kv_rank + rope) + kv_rank;
    sum += kv_rank * part->heads * (nope + value);
    return sum + part->heads * value * part->hidden;
}

static double attention(const struct part *part) {
    if (json_object_get(part->config, "kv_lora_rank")) return latent_attention(part);
    double width = part->heads * part->head_size;
    double kv_width = part->kv_heads * part->head_size;
    bool has_bias = has(part, BIAS | QKV_BIAS);
    double sum =
        linear(part->hidden, width, has_bias) + 2 * linear(part->hidden, kv_width, has_bias);
    if (part->form == WHISPER) sum -= kv_width; /* its keys have no vector */
    if (has(part, QK_NORM)) sum += 2 * part->head_size;
    return sum + linear(width, part->hidden, has(part, BIAS));
}

static double feed_forward(const struct part *part, double inner) {
    double to = has(part, GATED) ? 2 : 1;
    return to * linear(part->hidden, inner, has(part, BIAS)) +
           linear(inner, part->hidden, has(part, BIAS));
}

/* All feed-forward blocks: experts in most layers, where there are any. */
static double all_feed_forward(const struct part *part) {
    double dense = feed_forward(part, part->inner);
    if (part->experts == 0) return part->layers * dense;
    const json_t *config = part->config;
    double inner = number(config, "moe_intermediate_size", part->inner);
    double step = number(config, "decoder_sparse_step", 1);
    double first = number(config, "first_k_dense_replace", 0);
    if (first > part->layers) first = part->layers;
    double sparse = part->layers - first;
    if (step > 1) sparse /= step;
    double shared = number(config, "n_shared_experts", 0) * inner;
    double shared_gate = 0;
    if (json_object_get(config, "shared_expert_intermediate_size")) {
        shared = number(config, "shared_expert_intermediate_size", 0);
        shared_gate = part->hidden;
    }
    double router = linear(part->hidden, part->experts, has(part, BIAS));
    const char *method = rp_json_text(config, "topk_method");
    if (method && strcmp(method, "noaux_tc") == 0) router += part->experts;
    double layer = part->experts * feed_forward(part, inner) + router + shared_gate;
    if (shared > 0) layer += feed_forward(part, shared);
    return sparse * layer + (part->layers - sparse) * dense;
}

static double norms_per_block(const struct part *part) {
    if (has(part, ONE_NORM)) return 1;
    return has(part, FOUR_NORMS) ? 4 : 2;
}

/* A stack of blocks without cross attention. */
static double stack(const struct part *part) {
    double layers =
        has(part, SHARED_BLOCK) ? number(part->config, "num_hidden_groups", 1) : part->layers;
    struct part blocks = *part;
    blocks.layers = layers;
    double norms = norms_per_block(part) * norm(part, part->hidden);
    if (has(part, LAYER_SCALE)) norms += 2 * part->hidden;
    double sum = all_feed_forward(&blocks) + layers * (attention(part) + norms);
    if (rp_json_truth(part->config, "add_cross_attention", false)) {
        sum += layers * (attention(part) + norm(part, part->hidden));
    }
    if (!has(part, NO_FINAL_NORM)) sum += norm(part, part->hidden);
    return sum;
}

static double text_embeddings(const struct part *part) {
    double sum = part->vocabulary * part->embedding;
    if (has(part, POSITIONS)) {
        sum += (part->positions + (has(part, TWO_MORE) ? 2 : 0)) * part->embedding;
    }
    if (has(part, TOKEN_TYPES)) sum += number(part->config, "type_vocab_size", 0) * part->embedding;
    if (has(part, INPUT_NORM)) sum += norm(part, part->embedding);
    if (has(part, RELATIVE)) {
        sum += number(part->config, "relative_attention_num_buckets", 32) * part->heads;
    }
    if (part->embedding != part->hidden) sum += linear(part->embedding, part->hidden, true);
    return sum;
}

/* What DeBERTa has in place of positions. */
static double relative_positions(const struct part *part) {
    double buckets = number(part->config, "position_buckets", 0);
    if (!rp_json_truth(part->config, "relative_attention", false) || buckets == 0) return 0;
    const char *kind = rp_json_text(part->config, "norm_rel_ebd");
    return 2 * buckets * part->hidden + (kind && strstr(kind, "layer_norm") ? 2 * part->hidden : 0);
}

/* What stands behind the last block of an encoder of text. */
static double masked_head(const struct part *part) {
    bool is_masked = is_for(part, "ForMaskedLM") || is_for(part, "ForPreTraining");
    bool has_no_pooler = is_for(part, "ForMaskedLM") || is_for(part, "ForTokenClassification") ||
                         is_for(part, "ForQuestionAnswering");
    double sum = 0;
    if (has(part, POOLER) && !has_no_pooler) sum += linear(part->hidden, part->hidden, true);
    if (is_masked) {
        sum += linear(part->hidden, part->embedding, true) + norm(part, part->embedding);
        sum += part->vocabulary;
    }
    if (is_for(part, "Classification")) {
        double labels = (double)json_object_size(json_object_get(part->config, "id2label"));
        sum += linear(part->hidden, labels > 0 ? labels : 2, true);
    }
    return sum;
}

static double text(const struct part *part) {
    double sum = text_embeddings(part) + stack(part);
    if (part->form == MASKED) return sum + relative_positions(part) + masked_head(part);
    if (has(part, POOLER)) sum += linear(part->hidden, part->hidden, true);
    bool is_bare = is_for(part, "Model") && !is_for(part, "LMHeadModel");
    bool is_tied = rp_json_truth(part->config, "tie_word_embeddings", !has(part, UNTIED));
    if (is_bare || is_for(part, "Classification")) return sum;
    if (!is_tied) sum += part->vocabulary * part->hidden;
    if (has(part, HEAD_BIAS)) sum += part->vocabulary;
    return sum;
}

static double image(const struct part *part) {
    double size = number(part->config, "image_size", part->extent);
    double patch = number(part->config, "patch_size", part->patch_size);
    double channels = number(part->config, "num_channels", 3);
    double side = (double)(uint64_t)(size / patch); /* rounded down */
    double tokens = side * side + (has(part, CLASS_TOKEN) ? 1 : 0);
    double sum = linear(channels * patch * patch, part->hidden, has(part, PATCH_BIAS));
    if (has(part, CLASS_TOKEN)) sum += part->hidden;
    if (has(part, MASK_TOKEN)) sum += part->hidden;
    sum += tokens * part->hidden + stack(part);
    if (has(part, INPUT_NORM)) sum += norm(part, part->hidden);
    if (has(part, POOLING_BLOCK)) {
        sum += part->hidden + attention(part) + norm(part, part->hidden);
        sum += feed_forward(part, part->inner);
    }
    if (is_for(part, "ForImageClassification")) {
        double labels = (double)json_object_size(json_object_get(part->config, "id2label"));
        return sum + linear(part->hidden, labels > 0 ? labels : 2, true);
    }
    return sum + (has(part, POOLER) ? linear(part->hidden, part->hidden, true) : 0);
}

static double array_number(const json_t *array, size_t index) {
    double value = json_number_value(json_array_get(array, index));
    return value >= 1 && value < RP_UNKNOWN_U32 ? value : 0;
}

/* Convolutions over the samples, then a stack. */
static double speech(const struct part *part) {
    const json_t *widths = json_object_get(part->config, "conv_dim");
    const json_t *kernels = json_object_get(part->config, "conv_kernel");
    bool has_bias = rp_json_truth(part->config, "conv_bias", false);
    const char *norms = rp_json_text(part->config, "feat_extract_norm");
    bool is_each = norms && strcmp(norms, "layer") == 0;
    double from = 1;
    double sum = 0;
    for (size_t i = 0; i < json_array_size(widths); i++) {
        double width = array_number(widths, i);
        sum += linear(from * array_number(kernels, i), width, has_bias);
        if (i == 0 || is_each) sum += 2 * width;
        from = width;
    }
    sum += 2 * from + linear(from, part->hidden, true);
    double reach = number(part->config, "num_conv_pos_embeddings", 128);
    double groups = number(part->config, "num_conv_pos_embedding_groups", 16);
    sum += part->hidden * part->hidden / groups * reach + part->hidden + reach;
    sum += stack(part) + part->hidden; /* and the vector that stands for hidden samples */
    if (is_for(part, "ForCTC")) sum += linear(part->hidden, part->vocabulary, true);
    return sum;
}

/* Blocks of a decoder that also attends to an encoder. */
static double cross_stack(const struct part *part, double inner) {
    double block = 2 * attention(part) + feed_forward(part, inner) + 3 * norm(part, part->hidden);
    double sum = part->decoder_layers * block;
    return has(part, NO_FINAL_NORM) ? sum : sum + norm(part, part->hidden);
}

static double t5(const struct part *part) {
    struct part gated = *part;
    const char *kind = rp_json_text(part->config, "feed_forward_proj");
    if (kind && strncmp(kind, "gated", 5) == 0) gated.traits |= GATED;
    double buckets = number(part->config, "relative_attention_num_buckets", 32) * part->heads;
    double sum = part->vocabulary * part->hidden + stack(&gated) + buckets;
    if (is_for(part, "EncoderModel")) return sum;
    sum += cross_stack(&gated, part->inner) + buckets;
    bool is_tied = rp_json_truth(part->config, "tie_word_embeddings", !has(part, UNTIED));
    return is_tied ? sum : sum + part->vocabulary * part->hidden;
}

static double bart(const struct part *part) {
    double sum = part->vocabulary * part->hidden;
    double positions = part->positions + (has(part, TWO_MORE) ? 2 : 0);
    if (has(part, POSITIONS)) sum += 2 * positions * part->hidden;
    if (has(part, INPUT_NORM)) sum += 2 * norm(part, part->hidden);
    double inner = number(part->config, "decoder_ffn_dim", part->inner);
    return sum + stack(part) + cross_stack(part, inner);
}

static double whisper(const struct part *part) {
    double bins = number(part->config, "num_mel_bins", 80);
    double sum =
        linear(3 * bins, part->hidden, true) + linear(3 * part->hidden, part->hidden, true);
    sum += number(part->config, "max_source_positions", 1500) * part->hidden;
    sum += number(part->config, "max_target_positions", 448) * part->hidden;
    sum += part->vocabulary * part->hidden;
    double inner = number(part->config, "decoder_ffn_dim", part->inner);
    return sum + stack(part) + cross_stack(part, inner);
}

static double count_part(const struct part *part) {
    switch (part->form) {
    case TEXT:
    case MASKED:
        return text(part);
    case IMAGE:
        return image(part);
    case SPEECH:
        return speech(part);
    case BART:
        return bart(part);
    case T5:
        return t5(part);
    case WHISPER:
        return whisper(part);
    }
    return 0;
}

static const struct type *find_type(const char *name) {
    for (size_t i = 0; name && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) == 0) return &types[i];
    }
    return NULL;
}

/* Figures that a configuration leaves out because they are the type's usual ones. */
static void add_usual(const struct type *type, struct rp_shape *shape) {
    if (type->hidden_size == 0) return;
    if (shape->hidden_size == RP_UNKNOWN_U32) shape->hidden_size = type->hidden_size;
    if (shape->intermediate_size == RP_UNKNOWN_U32)
        shape->intermediate_size = type->intermediate_size;
    if (shape->layer_count == RP_UNKNOWN_U32) shape->layer_count = type->layer_count;
    if (shape->head_count == RP_UNKNOWN_U32) {
        shape->head_count = type->head_count;
        if (shape->kv_head_count == RP_UNKNOWN_U32) shape->kv_head_count = type->kv_head_count;
    }
    if (shape->head_size == RP_UNKNOWN_U32)
        shape->head_size = shape->hidden_size / shape->head_count;
    if (shape->vocabulary_size == RP_UNKNOWN_U32 && type->vocabulary_size > 0) {
        shape->vocabulary_size = type->vocabulary_size;
    }
    bool is_text = type->patch_size == 0;
    if (shape->context_length == RP_UNKNOWN_U32 && is_text) shape->context_length = type->extent;
}

/* Traits that the configuration itself gives. */
static void adjust_traits(struct part *part, const char *name) {
    const json_t *config = part->config;
    if (rp_json_truth(config, "attention_bias", false) ||
        rp_json_truth(config, "qkv_bias", false) || rp_json_truth(config, "use_qkv_bias", false)) {
        part->traits |= QKV_BIAS;
    }
    if (strcmp(name, "falcon") == 0) {
        bool is_parallel = rp_json_truth(config, "parallel_attn", true);
        bool is_new = rp_json_truth(config, "new_decoder_architecture", false);
        if (is_parallel && !is_new) part->traits |= ONE_NORM;
        if (rp_json_truth(config, "bias", false)) part->traits |= BIAS;
    }
    if (strcmp(name, "deberta-v2") == 0 && rp_json_truth(config, "position_biased_input", false)) {
        part->traits |= POSITIONS;
    }
    if (has(part, HALF_INNER)) part->inner /= 2;
}

/* Read a part; false when it lacks what the formulas need. `type` NULL: a type not in the table. */
static bool read_part(const json_t *config, const char *name, const struct type *type,
                      struct part *part) {
    /* Layers of other kinds among those of attention, which nothing here counts. */
    static const char *const others[] = {"ssm_state_size",         "mamba_d_state",
                                         "layers_block_type",      "state_size",
                                         "linear_conv_kernel_dim", NULL};
    for (size_t i = 0; others[i]; i++) {
        if (json_object_get(config, others[i])) return false;
    }
    struct rp_shape shape;
    rp_shape_read(config, &shape);
    if (type) add_usual(type, &shape);
    if (shape.hidden_size == RP_UNKNOWN_U32 || shape.layer_count == RP_UNKNOWN_U32 ||
        shape.head_count == RP_UNKNOWN_U32 || shape.head_size == RP_UNKNOWN_U32) {
        return false;
    }
    bool is_pair = shape.decoder_layer_count != RP_UNKNOWN_U32;
    const char *architecture =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    *part = (struct part){
        .config = config,
        .architecture = architecture ? architecture : "",
        .form = type      ? type->form
                : is_pair ? BART
                          : TEXT,
        .traits = type ? type->traits : 0,
        .hidden = shape.hidden_size,
        .inner = known_or(shape.intermediate_size,
                          shape.hidden_size * number(config, "expansion_ratio", 4)),
        .layers = shape.layer_count,
        .decoder_layers = is_pair ? shape.decoder_layer_count : 0,
        .heads = shape.head_count,
        .kv_heads = known_or(shape.kv_head_count, shape.head_count),
        .head_size = shape.head_size,
        .vocabulary = known_or(shape.vocabulary_size, 0),
        .embedding = shape.hidden_size,
        .positions = known_or(shape.context_length, 0),
        .experts = known_or(shape.expert_count, 0),
        .extent = type ? type->extent : 0,
        .patch_size = type ? type->patch_size : 0,
    };
    part->embedding = number(config, "embedding_size", part->hidden);
    if (part->form == TEXT && strcmp(name, "opt") == 0) {
        part->embedding = number(config, "word_embed_proj_dim", part->hidden);
    }
    adjust_traits(part, name);
    bool is_image = part->form == IMAGE;
    return !is_image || number(config, "patch_size", part->patch_size) > 0;
}

static const double exact_max = 9007199254740992.0; /* 2^53 */

static bool to_range(double count, double min, double max, struct rp_parameters *parameters) {
    if (!(min >= 1 && count <= exact_max && max <= exact_max)) return false;
    *parameters = (struct rp_parameters){(uint64_t)count, (uint64_t)min, (uint64_t)max};
    return true;
}

/* A type that is not in the table: between two matrices and a tied output, and three and none. */
static bool count_unknown(struct part *part, struct rp_parameters *parameters) {
    const char *act = NULL;
    static const char *const keys[] = {"hidden_act", "activation_function", "hidden_activation"};
    for (size_t i = 0; !act && i < sizeof keys / sizeof keys[0]; i++) {
        act = rp_json_text(part->config, keys[i]);
    }
    bool is_gated = act && (strstr(act, "silu") || strstr(act, "glu") || strstr(act, "swish"));
    struct part least = *part;
    struct part most = *part;
    most.traits |= GATED | BIAS | NORM_BIAS;
    if (is_gated) part->traits |= GATED;
    double output = part->vocabulary * part->hidden;
    return to_range(count_part(part), 0.9 * count_part(&least), 1.1 * (count_part(&most) + output),
                    parameters);
}

/* A model of one part. */
static bool count_one(const json_t *config, const char *name, struct rp_parameters *parameters) {
    struct part part;
    const struct type *type = find_type(name);
    if (!read_part(config, name ? name : "", type, &part)) return false;
    if (!type) return count_unknown(&part, parameters);
    double count = count_part(&part);
    return to_range(count, 0.98 * count, 1.02 * count, parameters);
}

/* The parts of a model of several, by the names of their configurations. */
static const struct {
    const char *keys[5];
    const char *usual; /* the type that it has when it does not say */
} parts[] = {
    {{"text_config", "llm_config", "language_config", "decoder", NULL}, "clip_text_model"},
    {{"vision_config", "vision_tower_config", "encoder", NULL}, "clip_vision_model"},
    {{"audio_config", NULL}, ""},
};

enum { PART_COUNT = sizeof parts / sizeof parts[0] };

static const json_t *find_part(const json_t *config, size_t index) {
    for (const char *const *key = parts[index].keys; *key; key++) {
        const json_t *part = json_object_get(config, *key);
        if (json_is_object(part)) return part;
    }
    return NULL;
}

/* What joins the parts: a projection of each into a common space, or of one into the other. */
static double count_joint(const json_t *config, const json_t *first, const json_t *second,
                          const char *name) {
    struct rp_shape from;
    struct rp_shape to;
    rp_shape_read(second, &from);
    rp_shape_read(first, &to);
    const struct type *types_of[2] = {find_type(rp_json_text(first, "model_type")),
                                      find_type(rp_json_text(second, "model_type"))};
    if (types_of[0]) add_usual(types_of[0], &to);
    if (types_of[1]) add_usual(types_of[1], &from);
    double width = known_or(from.hidden_size, 0);
    double text_width = known_or(to.hidden_size, 0);
    bool is_clip = name && strcmp(name, "clip") == 0;
    if (is_clip) return (width + text_width) * number(config, "projection_dim", 512) + 1;
    if (name && strncmp(name, "siglip", 6) == 0) return 2;
    return linear(width, text_width, true) + linear(text_width, text_width, true);
}

static const char *part_type(const json_t *part, const char *whole, size_t index) {
    static const char *const siglip[PART_COUNT] = {"siglip_text_model", "siglip_vision_model", ""};
    const char *name = rp_json_text(part, "model_type");
    if (name) return name;
    return whole && strcmp(whole, "siglip") == 0 ? siglip[index] : parts[index].usual;
}

bool rp_parameters_of_config(const json_t *config, struct rp_parameters *parameters) {
    const char *name = rp_json_text(config, "model_type");
    const json_t *found[PART_COUNT];
    struct rp_parameters sum = {0};
    size_t count = 0;
    for (size_t i = 0; i < PART_COUNT; i++) {
        found[i] = find_part(config, i);
        struct rp_parameters one;
        if (!found[i]) continue;
        if (!count_one(found[i], part_type(found[i], name, i), &one)) return false;
        sum = (struct rp_parameters){sum.count + one.count, sum.min + one.min, sum.max + one.max};
        count++;
    }
    if (count == 0) return count_one(config, name, parameters);
    double joint = found[0] && found[1] ? count_joint(config, found[0], found[1], name) : 0;
    double total = (double)sum.count + joint;
    /* How the parts are joined is guessed. */
    return to_range(total, 0.97 * (double)sum.min, 1.03 * ((double)sum.max + joint), parameters);
}
