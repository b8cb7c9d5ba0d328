/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a model needs: weights, what attention keeps of past tokens, intermediate
 * results, and the engine's own.
 *
 * Each part is a figure with what it may be as well. Weights whose tensors are known are exact, and
 * so is the state of attention once layers and heads are; the other two depend on the engine, and
 * their bands are wide. Where layers and widths are not known, they follow from the number of
 * parameters: a transformer has 12 x layers x width^2 of them, and its width is about 128 x layers
 * (32 and 4096 at 7 billion, 80 and 8192 at 70).
 */
#include <math.h>
#include <resourcepool/facts.h>
#include <stdbool.h>
#include <string.h>

/* A figure, and what it may be as well. */
struct range {
    double expected;
    double least;
    double most;
};

static const double mib = 1 << 20;

/* Bits of an element with its share of scales: ggml's blocks are exact, "int4" is in groups of 128
 * with a scale and an offset, "nvfp4" in groups of 16. */
static const struct {
    const char *precision;
    double bits;
} widths[] = {
    {"fp64", 64},       {"fp32", 32},      {"tf32", 32},        {"fp16", 16},
    {"bf16", 16},       {"fp8", 8},        {"fp8_e4m3", 8},     {"fp8_e5m2", 8},
    {"int8", 8},        {"uint8", 8},      {"int4", 4.25},      {"uint4", 4.25},
    {"nf4", 4.13},      {"fp4", 4.25},     {"mxfp4", 4.25},     {"nvfp4", 4.5},
    {"int2", 2.25},     {"q4_0", 4.5},     {"q4_1", 5},         {"q5_0", 5.5},
    {"q5_1", 6},        {"q8_0", 8.5},     {"q8_1", 9},         {"q2_k", 2.625},
    {"q3_k", 3.4375},   {"q4_k", 4.5},     {"q5_k", 5.5},       {"q6_k", 6.5625},
    {"q8_k", 9.125},    {"iq1_s", 1.5625}, {"iq1_m", 1.75},     {"iq2_xxs", 2.0625},
    {"iq2_xs", 2.3125}, {"iq2_s", 2.5625}, {"iq3_xxs", 3.0625}, {"iq3_s", 3.4375},
    {"iq4_nl", 4.5},    {"iq4_xs", 4.25},  {"tq1_0", 1.6875},   {"tq2_0", 2.0625},
};

/* Files of ggml mix types; their mean over a whole model of 7 billion. */
static const struct {
    const char *scheme;
    double bits;
} mixtures[] = {
    {"Q2_K", 3.35},   {"Q2_K_S", 3.16}, {"Q3_K_S", 3.5},  {"Q3_K_M", 3.91}, {"Q3_K_L", 4.27},
    {"Q4_K_S", 4.58}, {"Q4_K_M", 4.85}, {"Q5_K_S", 5.54}, {"Q5_K_M", 5.69}, {"Q6_K", 6.59},
    {"IQ2_M", 2.7},   {"IQ3_M", 3.66},  {"IQ4_XS", 4.3},
};

/* 0 when nobody knows it. */
static double bits_of(const char *precision) {
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        if (strcmp(widths[i].precision, precision) == 0) return widths[i].bits;
    }
    return 0;
}

static double bits_of_scheme(const char *scheme) {
    for (size_t i = 0; i < sizeof mixtures / sizeof mixtures[0]; i++) {
        if (strcmp(mixtures[i].scheme, scheme) == 0) return mixtures[i].bits;
    }
    return 0;
}

static bool is_known(uint32_t value) {
    return value != RP_UNKNOWN_U32 && value > 0;
}

static struct range scale(struct range range, double factor) {
    return (struct range){range.expected * factor, range.least * factor, range.most * factor};
}

static struct range add(struct range a, struct range b) {
    return (struct range){a.expected + b.expected, a.least + b.least, a.most + b.most};
}

static uint64_t to_bytes(double value) {
    return value >= 0x1p63 ? INT64_MAX : (uint64_t)(value + 0.5);
}

/* ---- weights ---- */

/* Tables of positions and flags stay what they are when weights change their precision. */
static bool is_weight(const rp_stored *stored) {
    static const char *const others[] = {"int64",  "int32",  "int16", "uint64",
                                         "uint32", "uint16", "bool"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i], stored->name) == 0) return false;
    }
    return true;
}

/* Elements of the tables of the vocabulary, at the entrance and at the exit. */
static double vocabulary_elements(const rp_model_facts *facts) {
    if (!is_known(facts->vocabulary_size) || !is_known(facts->hidden_size)) return 0;
    return 2.0 * facts->vocabulary_size * facts->hidden_size;
}

/* These schemes quantise the blocks and leave the tables of the vocabulary at 16 bits. */
static bool keeps_vocabulary(const rp_model_facts *facts) {
    static const char *const names[] = {"gptq", "awq", "bitsandbytes", "autoround", "hqq"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], facts->quantization) == 0) return true;
    }
    return false;
}

/* What quantising leaves at 16 bits in some engines: the tables of the vocabulary, a third of what
 * there is where they are not known. */
static double unquantised(const rp_model_facts *facts, double weights, double bits) {
    if (bits >= 16) return 0;
    double elements = vocabulary_elements(facts);
    return elements > 0 ? elements * (16 - bits) / 8 : weights / 3;
}

/* False when nothing tells how much there is. */
static bool weigh(const rp_model_facts *facts, const char *precision, struct range *weights,
                  rp_facts_method *method) {
    bool is_stored = !precision || strcmp(precision, facts->precision) == 0;
    if (is_stored && facts->weights_bytes != RP_UNKNOWN_U64) {
        double bytes = (double)facts->weights_bytes;
        *weights = (struct range){bytes, bytes, bytes};
        *method = facts->weights_method;
        return true;
    }
    if (!precision) precision = facts->precision[0] ? facts->precision : "fp32";
    double bits = is_stored ? bits_of_scheme(facts->quantization) : 0;
    if (bits == 0) bits = bits_of(precision);
    if (bits == 0) return false;
    if (facts->stored_count > 0) {
        *weights = (struct range){0};
        for (size_t i = 0; i < facts->stored_count; i++) {
            const rp_stored *row = &facts->stored[i];
            double elements = (double)row->element_count;
            double bytes = is_weight(row) ? elements * bits / 8 : (double)row->bytes;
            *weights = add(*weights, (struct range){bytes, bytes, bytes});
        }
        *method = RP_FACTS_FILE;
    } else if (facts->parameter_count != RP_UNKNOWN_U64) {
        struct range parameters = {(double)facts->parameter_count,
                                   (double)facts->parameter_count_min,
                                   (double)facts->parameter_count_max};
        *weights = scale(parameters, bits / 8);
        *method = facts->parameter_method;
        double elements = fmin(vocabulary_elements(facts), parameters.least);
        if (bits < 16 && is_stored && keeps_vocabulary(facts) && elements > 0) {
            double more = elements * (16 - bits) / 8;
            *weights = add(*weights, (struct range){more, more, more});
            return true;
        }
    } else {
        return false;
    }
    weights->most += unquantised(facts, weights->most, bits);
    return true;
}

/* ---- shape ---- */

struct shape {
    double layers;
    double hidden;
    double inner;
    double heads;
    double vocabulary;
    struct range kept; /* elements that attention keeps of a token in one layer */
    bool is_recurrent; /* it keeps a state of one size instead */
    bool is_estimated;
};

static double or_else(uint32_t value, double otherwise) {
    return is_known(value) ? (double)value : otherwise;
}

static struct shape shape_of(const rp_model_facts *facts) {
    struct shape shape = {0};
    double parameters =
        facts->parameter_count == RP_UNKNOWN_U64 ? 1e8 : (double)facts->parameter_count;
    if (is_known(facts->expert_count)) parameters /= 0.22 + 0.78 * facts->expert_count;
    double layers = fmax(2, cbrt(parameters / (12.0 * 128 * 128)));
    shape.is_estimated = !is_known(facts->layer_count) || !is_known(facts->hidden_size);
    shape.layers = or_else(facts->layer_count, layers);
    shape.hidden = or_else(facts->hidden_size, 128 * layers);
    shape.inner = or_else(facts->intermediate_size, 4 * shape.hidden);
    shape.heads = or_else(facts->head_count, fmax(1, shape.hidden / 128));
    shape.vocabulary = or_else(facts->vocabulary_size, 50000);
    shape.is_recurrent = !shape.is_estimated && !is_known(facts->head_count);
    double head_size = or_else(facts->head_size, shape.hidden / shape.heads);
    double all = 2 * shape.heads * head_size;
    if (is_known(facts->kv_head_count)) {
        double kept = 2.0 * facts->kv_head_count * head_size;
        shape.kept = (struct range){kept, kept, kept * 1.1}; /* some keep whole pages of tokens */
    } else if (is_known(facts->head_count)) {
        shape.kept = (struct range){all, all, all * 1.1};
    } else {
        shape.is_estimated = true;
        shape.kept = (struct range){all / 4, all / 8, all * 1.2}; /* most newer ones group heads */
    }
    return shape;
}

/* A line that data/model_sizes.txt has without layers, such as one that paints by diffusion. */
static bool is_known_unlayered(const rp_model_facts *facts) {
    return is_known(facts->vocabulary_size) && !is_known(facts->layer_count);
}

static bool keeps_state(const rp_model_facts *facts) {
    enum { VOCABULARY_LEAST = 1000 }; /* below are letters, of models that hear without attention */
    const rp_classification *found = &facts->classification;
    switch (found->family) {
    case RP_FAMILY_TEXT_GENERATION:
        return true;
    case RP_FAMILY_MULTIMODAL:
        return found->subfamily == RP_SUBFAMILY_VISION_LANGUAGE && !is_known_unlayered(facts);
    case RP_FAMILY_AUDIO:
        return is_known(facts->vocabulary_size) && facts->vocabulary_size >= VOCABULARY_LEAST &&
               is_known(facts->layer_count);
    case RP_FAMILY_EMBEDDING:
    case RP_FAMILY_VISION:
    case RP_FAMILY_UNKNOWN:
        break;
    }
    return false;
}

/* Of convolutions and the like, by their weights: a fourth of those in fp32, at least 24 MiB. */
static struct range activations_unshaped(struct range weights, double bits, double batch,
                                         double element_bytes) {
    double in_fp32 = weights.expected * 32 / bits;
    double expected = batch * fmax(24 * mib, in_fp32 / 4) * element_bytes / 4;
    return (struct range){expected, expected / 4, expected * 4};
}

static struct range activations(const struct shape *shape, bool is_generating, double batch,
                                double context, double element_bytes) {
    double width = 4 * shape->hidden + 2 * shape->inner;
    double scores = batch * shape->heads * context * context * element_bytes;
    double all = batch * context * width * element_bytes;
    double logits = batch * shape->vocabulary * 4;
    if (!is_generating) {
        return (struct range){all + scores, (all + scores) / 2, 3 * (all + scores)};
    }
    double each = batch * width * element_bytes;
    return (struct range){all + logits, each + logits, all + scores + logits * context};
}

void rp_model_memory_need(const rp_model_facts *facts, const char *precision,
                          const rp_workload *workload, rp_memory_need *need) {
    enum { CONTEXT_GENERATING = 2048, CONTEXT_OTHER = 512, RECURRENT_STATE = 40 };
    struct range weights;
    rp_facts_method method = RP_FACTS_UNKNOWN;
    *need = (rp_memory_need){.size = sizeof *need};
    if (!weigh(facts, precision, &weights, &method)) {
        need->total_bytes = need->total_bytes_min = need->total_bytes_max = RP_UNKNOWN_U64;
        need->weights_bytes = need->state_bytes = RP_UNKNOWN_U64;
        need->activation_bytes = need->overhead_bytes = RP_UNKNOWN_U64;
        return;
    }
    if (!precision) precision = facts->precision[0] ? facts->precision : "fp32";
    double batch = workload && workload->batch_size > 0 ? workload->batch_size : 1;
    bool is_text = facts->classification.family == RP_FAMILY_TEXT_GENERATION;
    double context = is_text ? CONTEXT_GENERATING : CONTEXT_OTHER;
    if (workload && workload->context_length > 0) context = workload->context_length;
    if (is_known(facts->context_length)) context = fmin(context, facts->context_length);
    double element_bytes = bits_of(precision) >= 32 ? bits_of(precision) / 8 : 2;

    struct shape shape = shape_of(facts);
    struct range state = {0};
    if (keeps_state(facts) && shape.is_recurrent) {
        double kept = shape.layers * shape.hidden * RECURRENT_STATE * batch * element_bytes;
        state = (struct range){kept, kept / 2, kept * 2};
    } else if (keeps_state(facts)) {
        state = scale(shape.kept, shape.layers * context * batch * element_bytes);
        if (shape.is_estimated) method = RP_FACTS_NAME;
    }
    bool is_shaped = keeps_state(facts) || is_known(facts->hidden_size) ||
                     facts->classification.family == RP_FAMILY_EMBEDDING;
    double bits = bits_of(precision) > 0 ? bits_of(precision) : 16;
    struct range results =
        is_shaped ? activations(&shape, keeps_state(facts), batch, context, element_bytes)
                  : activations_unshaped(weights, bits, batch, element_bytes);
    /* A runtime and its buffers; at most a context of CUDA with its kernels. */
    struct range overhead = {48 * mib + weights.expected / 50, 8 * mib,
                             512 * mib + weights.most / 10};

    struct range total = add(add(weights, state), add(results, overhead));
    need->weights_bytes = to_bytes(weights.expected);
    need->state_bytes = to_bytes(state.expected);
    need->activation_bytes = to_bytes(results.expected);
    need->overhead_bytes = to_bytes(overhead.expected);
    need->total_bytes =
        need->weights_bytes + need->state_bytes + need->activation_bytes + need->overhead_bytes;
    need->total_bytes_min = to_bytes(total.least);
    need->total_bytes_max = to_bytes(total.most);
    need->method = method;
}
