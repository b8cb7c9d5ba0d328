/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names are looked up as roles, roles in a table of rules, of which the first that fits answers.
 * Shapes help where a name says two things: "logits" of two dimensions are classes of a text, of
 * three words or classes of words.
 */
#include "model/graph.h"

#include "base/text.h"
#include "model/facts.h"

#include <stdio.h>
#include <string.h>

/* Fewer classes than the smallest vocabulary, more than the largest set of labels for words. */
enum { VOCABULARY_MIN = 1000, IMAGE_SIDE_MIN = 8 };

enum role {
    TEXT = 1 << 0,     /* ids of tokens, or their vectors                                     */
    SEGMENTS = 1 << 1, /* which of two texts a token belongs to: encoders only                */
    POSITIONS = 1 << 2,
    BOXES_IN = 1 << 3, /* where a word stands on a page                                       */
    PAST = 1 << 4,     /* keys and values of earlier tokens                                   */
    ENCODED = 1 << 5,  /* what an encoder made                                                */
    IMAGE = 1 << 6,
    SOUND = 1 << 7,
    SPEECH = 1 << 8, /* the spectra of speech recognition                                   */
    IMAGE_SHAPED = 1 << 9,
    HIDDEN = 1 << 10,     /* a vector for each token                                             */
    SENTENCE = 1 << 11,   /* a vector for all                                                    */
    IMAGE_TEXT = 1 << 12, /* how well an image and a text agree                                  */
    LOGITS = 1 << 13,
    ROW = 1 << 14,  /* ... one row of them                                                 */
    FEW = 1 << 15,  /* ... for each token few                                              */
    SPAN = 1 << 16, /* where an answer begins and ends                                     */
    BOXES = 1 << 17,
    MASKS = 1 << 18,
    DEPTH = 1 << 19,
    WAVE = 1 << 20,
};

enum side { IN = 1, OUT = 2 };

/* clang-format off */
static const struct name {
    const char *name;
    int sides;
    bool is_prefix;
    uint64_t roles;
} names[] = {
    {"input_ids",             IN,       false, TEXT},
    {"decoder_input_ids",     IN,       false, TEXT},
    {"inputs_embeds",         IN,       false, TEXT},
    {"tokens",                IN,       false, TEXT},
    {"token_type_ids",        IN,       false, SEGMENTS},
    {"segment_ids",           IN,       false, SEGMENTS},
    {"position_ids",          IN,       false, POSITIONS},
    {"bbox",                  IN,       false, BOXES_IN},
    {"past_key_values",       IN,       true,  PAST},
    {"past_key_",             IN,       true,  PAST},
    {"past.",                 IN,       true,  PAST},
    {"past_0",                IN,       true,  PAST},
    {"cache_position",        IN,       false, PAST},
    {"beam_idx",              IN,       false, PAST},
    {"present",               OUT,      true,  PAST},
    {"encoder_hidden_states", IN,       false, ENCODED},
    {"encoder_outputs",       IN,       true,  ENCODED},
    {"pixel_values",          IN,       true,  IMAGE},
    {"image",                 IN,       false, IMAGE},
    {"images",                IN,       false, IMAGE},
    {"pixels",                IN,       false, IMAGE},
    {"input_features",        IN,       false, SOUND | SPEECH},
    {"mel",                   IN,       false, SOUND | SPEECH},
    {"audio_signal",          IN,       false, SOUND | SPEECH},
    {"input_values",          IN,       false, SOUND},
    {"audio",                 IN,       false, SOUND},
    {"audio_values",          IN,       false, SOUND},
    {"waveform",              IN,       false, SOUND},
    {"speech",                IN,       false, SOUND | SPEECH},
    {"last_hidden_state",     OUT,      false, HIDDEN},
    {"hidden_states",         OUT,      false, HIDDEN},
    {"token_embeddings",      OUT,      false, HIDDEN},
    {"sentence_embedding",    OUT,      false, SENTENCE},
    {"text_embeds",           OUT,      false, SENTENCE},
    {"pooler_output",         OUT,      false, SENTENCE},
    {"embeddings",            OUT,      false, SENTENCE},
    {"image_embeds",          OUT,      false, IMAGE_TEXT},
    {"logits_per_image",      OUT,      false, IMAGE_TEXT},
    {"logits",                OUT,      false, LOGITS},
    {"start_logits",          OUT,      false, SPAN},
    {"end_logits",            OUT,      false, SPAN},
    {"boxes",                 OUT,      false, BOXES},
    {"pred_boxes",            OUT,      false, BOXES},
    {"dets",                  OUT,      false, BOXES},
    {"masks",                 OUT,      false, MASKS},
    {"pred_masks",            OUT,      false, MASKS},
    {"iou_scores",            OUT,      false, MASKS},
    {"predicted_depth",       OUT,      false, DEPTH},
    {"waveform",              OUT,      false, WAVE},
    {"audio",                 OUT,      false, WAVE},
    {"wav",                   OUT,      false, WAVE},
    {"spectrogram",           OUT,      false, WAVE},
};

static const struct rule {
    uint64_t all;
    uint64_t none;
    rp_family family;
    rp_subfamily subfamily;
    double confidence;
} rules[] = {
    {TEXT | BOXES_IN,         0, RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_DOCUMENT_QA,              0.75},
    {TEXT | IMAGE | IMAGE_TEXT, 0, RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER,     0.80},
    {TEXT | IMAGE,            0, RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE,          0.80},
    {IMAGE | SOUND,           0, RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE,          0.75},
    {TEXT | SOUND,            0, RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION,            0.75},
    {TEXT | WAVE,             0, RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH,                0.80},
    {SOUND | ROW,             0, RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER,          0.80},
    {SOUND | SPEECH,          0, RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION,            0.80},
    {SOUND,                   0, RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION,            0.75},
    {IMAGE | BOXES,           0, RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR,              0.80},
    {IMAGE | MASKS,           0, RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION,                 0.80},
    {IMAGE | DEPTH,           0, RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION,             0.80},
    {IMAGE,                   0, RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER,             0.75},
    {PAST | ENCODED,          0, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_SEQ2SEQ,             0.60},
    {PAST | TEXT,             0, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM,           0.80},
    {ENCODED | LOGITS,        0, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_SEQ2SEQ,             0.60},
    {TEXT | SPAN,             0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM,                 0.75},
    {TEXT | SENTENCE,         0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER,      0.80},
    {TEXT | HIDDEN,           0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER,      0.75},
    {TEXT | LOGITS | ROW,     0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM,                 0.70},
    {TEXT | LOGITS | FEW,     0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_TOKEN_CLASSIFIER,          0.70},
    {TEXT | LOGITS | SEGMENTS, 0, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM,                0.70},
    {TEXT | LOGITS | POSITIONS, 0, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM,         0.70},
    {TEXT | LOGITS,           0, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM,           0.55},
    {IMAGE_SHAPED | BOXES, TEXT, RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR,              0.65},
    {IMAGE_SHAPED | MASKS, TEXT, RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION,                 0.65},
    {IMAGE_SHAPED,         TEXT, RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER,             0.60},
};
/* clang-format on */

void rp_graph_init(struct rp_graph *graph) {
    *graph = (struct rp_graph){
        .layer_count = RP_UNKNOWN_U32,
        .kv_head_count = RP_UNKNOWN_U32,
        .head_size = RP_UNKNOWN_U32,
        .hidden_size = RP_UNKNOWN_U32,
        .vocabulary_size = RP_UNKNOWN_U32,
    };
}

static uint64_t roles_of(const char *name, enum side side) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct name *row = &names[i];
        if (!(row->sides & (int)side)) continue;
        size_t length = strlen(row->name);
        bool is_it =
            row->is_prefix ? strncmp(name, row->name, length) == 0 : strcmp(name, row->name) == 0;
        if (is_it) return row->roles;
    }
    return 0;
}

static uint32_t known(uint64_t dimension) {
    return dimension > 0 && dimension < RP_UNKNOWN_U32 ? (uint32_t)dimension : RP_UNKNOWN_U32;
}

static uint64_t last_dimension(const struct rp_port *port) {
    bool is_kept = port->dimension_count > 0 && port->dimension_count <= RP_PORT_DIMENSIONS;
    return is_kept ? port->dimensions[port->dimension_count - 1] : RP_UNKNOWN_U64;
}

/* A batch of images, channels first or last. A side may be any, a number of channels may not. */
static bool is_image_shaped(const struct rp_port *port) {
    if (!port->has_shape || port->dimension_count != 4) return false;
    const uint64_t *dimensions = port->dimensions;
    for (size_t channels = 1; channels <= 3; channels += 2) {
        uint64_t height = dimensions[channels == 1 ? 2 : 1];
        uint64_t width = dimensions[channels == 1 ? 3 : 2];
        bool is_coloured = dimensions[channels] == 3 || dimensions[channels] == 1;
        if (is_coloured && height >= IMAGE_SIDE_MIN && width >= IMAGE_SIDE_MIN) return true;
    }
    return false;
}

/* "past_key_values.11.key": its number, and what its shape says of heads. */
static void look_at_past(struct rp_graph *graph, const struct rp_port *port) {
    const char *digits = strpbrk(port->name, "0123456789");
    uint32_t layer = 0;
    for (const char *at = digits; at && *at >= '0' && *at <= '9' && layer < 10000; at++) {
        layer = layer * 10 + (uint32_t)(*at - '0');
    }
    bool is_first = graph->layer_count == RP_UNKNOWN_U32;
    if (digits && (is_first || layer >= graph->layer_count)) graph->layer_count = layer + 1;
    if (!port->has_shape || port->dimension_count != 4) return;
    /* Batch, heads, tokens, width of a head; the tokens are any. */
    if (port->dimensions[2] != RP_UNKNOWN_U64) return;
    graph->kv_head_count = known(port->dimensions[1]);
    graph->head_size = known(port->dimensions[3]);
}

/* Names that have room; what has none is left out whole. */
static void add_evidence(char *evidence, size_t evidence_bytes, const char *name) {
    size_t used = strlen(evidence);
    size_t length = strlen(name);
    size_t between = used ? 2 : 0;
    if (used + between + length >= evidence_bytes) return;
    memcpy(evidence + used, ", ", between);
    memcpy(evidence + used + between, name, length + 1);
}

static void add(struct rp_graph *graph, const struct rp_port *port, enum side side) {
    uint64_t roles = roles_of(port->name, side);
    if ((roles & PAST) != 0) look_at_past(graph, port);
    bool is_another_past = (roles & PAST) != 0 && (graph->roles & PAST) != 0;
    graph->roles |= roles;
    bool is_seen = roles != 0 || strcmp(port->name, "attention_mask") == 0;
    if (!is_seen || is_another_past) return;
    add_evidence(side == IN ? graph->inputs : graph->outputs, sizeof graph->inputs, port->name);
}

void rp_graph_add_input(struct rp_graph *graph, const struct rp_port *port) {
    graph->input_count++;
    add(graph, port, IN);
    if (roles_of(port->name, IN) != 0 || !is_image_shaped(port)) return;
    graph->roles |= IMAGE_SHAPED;
    add_evidence(graph->inputs, sizeof graph->inputs, "one of the shape of images");
}

void rp_graph_add_output(struct rp_graph *graph, const struct rp_port *port) {
    graph->output_count++;
    add(graph, port, OUT);
    uint64_t roles = roles_of(port->name, OUT);
    if (!port->has_shape) return;
    uint32_t last = known(last_dimension(port));
    bool is_of_tokens = port->dimension_count == 3;
    if ((roles & LOGITS) != 0) {
        if (port->dimension_count == 2) graph->roles |= ROW;
        if (is_of_tokens && last < VOCABULARY_MIN) graph->roles |= FEW;
        if (is_of_tokens && last >= VOCABULARY_MIN) graph->vocabulary_size = last;
    }
    if ((roles & HIDDEN) != 0 && is_of_tokens) graph->hidden_size = last;
}

static void fill(uint32_t *fact, uint32_t figure) {
    if (*fact == RP_UNKNOWN_U32) *fact = figure;
}

void rp_graph_tell(const struct rp_graph *graph, rp_model_facts *facts) {
    facts->input_count = graph->input_count;
    facts->output_count = graph->output_count;
    fill(&facts->layer_count, graph->layer_count);
    fill(&facts->kv_head_count, graph->kv_head_count);
    fill(&facts->head_size, graph->head_size);
    fill(&facts->hidden_size, graph->hidden_size);
    if ((graph->roles & TEXT) != 0) fill(&facts->vocabulary_size, graph->vocabulary_size);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        if ((graph->roles & rule->all) != rule->all || (graph->roles & rule->none) != 0) continue;
        rp_classification *result = &facts->classification;
        *result = (rp_classification){.family = rule->family,
                                      .subfamily = rule->subfamily,
                                      .confidence = rule->confidence,
                                      .source = "graph"};
        snprintf(result->evidence, sizeof result->evidence, "inputs %s%s%s",
                 graph->inputs[0] ? graph->inputs : "none known",
                 graph->outputs[0] ? "; outputs " : "", graph->outputs);
        rp_text_make_printable(result->evidence);
        return;
    }
}

void rp_graph_tell_parameters(rp_model_facts *facts, uint64_t parameter_count) {
    if (facts->parameter_method == RP_FACTS_FILE) parameter_count += facts->parameter_count;
    facts->tensor_count = RP_UNKNOWN_U64;
    rp_facts_finish_tensors(facts);
    if (facts->tensor_count == RP_UNKNOWN_U64) return; /* more than 64 bits hold */
    facts->parameter_count = parameter_count;
    facts->parameter_count_min = parameter_count;
    facts->parameter_count_max = parameter_count;
}
