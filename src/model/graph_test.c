/* SPDX-License-Identifier: Apache-2.0 */
#include "model/graph.h"

#include "model/facts.h"

#include "../../tests/test.h"

#include <stdlib.h>

/* "input_ids" or "logits:?,?,50257". */
static struct rp_port port_of(const char *text) {
    struct rp_port port = {.has_shape = strchr(text, ':')};
    size_t length = strcspn(text, ":");
    memcpy(port.name, text, length);
    for (const char *at = text + length; *at; at += 1 + strcspn(at + 1, ",")) {
        bool is_known = at[1] != '?';
        port.dimensions[port.dimension_count++] =
            is_known ? strtoull(at + 1, NULL, 10) : RP_UNKNOWN_U64;
    }
    return port;
}

static void read_ports(const char *const *inputs, const char *const *outputs,
                       rp_model_facts *facts) {
    struct rp_graph graph;
    rp_graph_init(&graph);
    rp_facts_init(facts);
    for (size_t i = 0; inputs[i]; i++) {
        struct rp_port port = port_of(inputs[i]);
        rp_graph_add_input(&graph, &port);
    }
    for (size_t i = 0; outputs[i]; i++) {
        struct rp_port port = port_of(outputs[i]);
        rp_graph_add_output(&graph, &port);
    }
    rp_graph_tell(&graph, facts);
}

/* Ports as exporters of these kinds of models name them. */
static const struct {
    const char *inputs[6];
    const char *outputs[4];
    rp_family family;
    rp_subfamily subfamily;
} models[] = {
    {{"input_ids", "attention_mask", "token_type_ids"},
     {"last_hidden_state:?,?,768"},
     RP_FAMILY_EMBEDDING,
     RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {{"input_ids", "attention_mask"},
     {"token_embeddings", "sentence_embedding"},
     RP_FAMILY_EMBEDDING,
     RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {{"input_ids", "attention_mask", "token_type_ids"},
     {"logits:?,?,30522"},
     RP_FAMILY_EMBEDDING,
     RP_SUBFAMILY_MASKED_LM},
    {{"input_ids", "attention_mask"}, {"logits:?,2"}, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {{"input_ids", "attention_mask"},
     {"logits:?,?,9"},
     RP_FAMILY_EMBEDDING,
     RP_SUBFAMILY_TOKEN_CLASSIFIER},
    {{"input_ids", "attention_mask"},
     {"start_logits:?,?", "end_logits:?,?"},
     RP_FAMILY_EMBEDDING,
     RP_SUBFAMILY_MASKED_LM},
    {{"input_ids", "attention_mask", "position_ids", "past_key_values.0.key:?,32,?,128"},
     {"logits:?,?,32000", "present.0.key:?,32,?,128"},
     RP_FAMILY_TEXT_GENERATION,
     RP_SUBFAMILY_CAUSAL_LM},
    {{"input_ids", "attention_mask", "position_ids", "beam_idx:?"},
     {"logits:?,?,32000"},
     RP_FAMILY_TEXT_GENERATION,
     RP_SUBFAMILY_CAUSAL_LM},
    {{"input_ids", "attention_mask"},
     {"logits:?,?,50257"},
     RP_FAMILY_TEXT_GENERATION,
     RP_SUBFAMILY_CAUSAL_LM},
    {{"encoder_attention_mask", "input_ids", "encoder_hidden_states"},
     {"logits:?,?,32128", "present.0.decoder.key"},
     RP_FAMILY_TEXT_GENERATION,
     RP_SUBFAMILY_SEQ2SEQ},
    {{"pixel_values:?,3,224,224"},
     {"logits:?,1000"},
     RP_FAMILY_VISION,
     RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {{"pixel_values", "pixel_mask"},
     {"logits:?,100,92", "pred_boxes:?,100,4"},
     RP_FAMILY_VISION,
     RP_SUBFAMILY_OBJECT_DETECTOR},
    {{"pixel_values"}, {"predicted_depth"}, RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION},
    {{"data:?,3,224,224"},
     {"resnetv17_dense0_fwd:?,1000"},
     RP_FAMILY_VISION,
     RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {{"input_1:1,224,224,3"}, {"Identity:1,1000"}, RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {{"images:1,3,640,640"},
     {"output0:1,84,8400"},
     RP_FAMILY_VISION,
     RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {{"input_features:?,80,3000"},
     {"last_hidden_state:?,1500,384"},
     RP_FAMILY_AUDIO,
     RP_SUBFAMILY_SPEECH_RECOGNITION},
    {{"input_values:?,?"}, {"logits:?,?,32"}, RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION},
    {{"input_values:?,?"}, {"logits:?,527"}, RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER},
    {{"input_ids", "style:1,256", "speed:1"},
     {"waveform:?,?"},
     RP_FAMILY_AUDIO,
     RP_SUBFAMILY_TEXT_TO_SPEECH},
    {{"input_ids", "pixel_values:?,3,224,224", "attention_mask"},
     {"logits_per_image", "logits_per_text", "text_embeds"},
     RP_FAMILY_MULTIMODAL,
     RP_SUBFAMILY_IMAGE_TEXT_ENCODER},
    {{"input_ids", "pixel_values", "attention_mask"},
     {"logits:?,?,32064"},
     RP_FAMILY_MULTIMODAL,
     RP_SUBFAMILY_VISION_LANGUAGE},
    {{"input_ids", "bbox", "attention_mask"},
     {"logits:?,?,7"},
     RP_FAMILY_MULTIMODAL,
     RP_SUBFAMILY_DOCUMENT_QA},
    {{"x:?,10"}, {"y:?,2"}, RP_FAMILY_UNKNOWN, RP_SUBFAMILY_NONE},
    {{"x:?,4,8,64"}, {"y"}, RP_FAMILY_UNKNOWN, RP_SUBFAMILY_NONE},
    {{"x:?,3,2,64"}, {"y"}, RP_FAMILY_UNKNOWN, RP_SUBFAMILY_NONE},
    {{"INPUT_IDS", "my_input_ids"}, {"logits"}, RP_FAMILY_UNKNOWN, RP_SUBFAMILY_NONE},
};

static void names_and_shapes_tell_the_family(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        rp_model_facts facts;
        read_ports(models[i].inputs, models[i].outputs, &facts);
        const rp_classification *result = &facts.classification;
        if (result->family != models[i].family || result->subfamily != models[i].subfamily) {
            fail_msg("%s -> %s: %s, %s", models[i].inputs[0], models[i].outputs[0],
                     rp_family_name(result->family), result->evidence);
        }
        if (result->family == RP_FAMILY_UNKNOWN) continue;
        assert_string_equal(result->source, "graph");
        /* A type that is in the table has 0.96, a name that is certain more. */
        assert_true(result->confidence >= 0.5 && result->confidence <= 0.8);
    }
}

static void the_past_tells_layers_and_heads(void **state) {
    (void)state;
    rp_model_facts facts;
    read_ports((const char *const[]){"input_ids", "past_key_values.0.key:?,8,?,64",
                                     "past_key_values.11.value:?,8,?,64",
                                     "past_key_values.2.key:1,7,16,9", NULL},
               (const char *const[]){"logits:?,?,32000", "present.11.key", NULL}, &facts);
    assert_int_equal(facts.layer_count, 12);
    assert_int_equal(facts.kv_head_count, 8);
    assert_int_equal(facts.head_size, 64);
    assert_int_equal(facts.vocabulary_size, 32000);
    assert_int_equal(facts.input_count, 4);
    assert_int_equal(facts.output_count, 2);
    assert_string_equal(facts.classification.evidence,
                        "inputs input_ids, past_key_values.0.key; outputs logits");
}

static void what_is_known_already_stays(void **state) {
    (void)state;
    rp_model_facts facts;
    struct rp_graph graph;
    struct rp_port port = port_of("last_hidden_state:?,?,384");
    rp_graph_init(&graph);
    rp_graph_add_output(&graph, &port);
    rp_facts_init(&facts);
    facts.hidden_size = 12;
    rp_graph_tell(&graph, &facts);
    assert_int_equal(facts.hidden_size, 12);
    assert_int_equal(facts.classification.family, RP_FAMILY_UNKNOWN);
    assert_int_equal(facts.layer_count, RP_UNKNOWN_U32);
    assert_int_equal(facts.vocabulary_size, RP_UNKNOWN_U32);
}

static void names_of_any_length_fit_the_evidence(void **state) {
    (void)state;
    rp_model_facts facts;
    read_ports((const char *const[]){"input_ids",
                                     "pixel_values_of_a_name_of_sixty_and_more_bytes_"
                                     "in_all_that_it_says",
                                     "token_type_ids", NULL},
               (const char *const[]){"last_hidden_state", NULL}, &facts);
    assert_string_equal(facts.classification.evidence,
                        "inputs input_ids, token_type_ids; outputs last_hidden_state");
    assert_int_equal(facts.classification.family, RP_FAMILY_MULTIMODAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_shapes_tell_the_family),
        cmocka_unit_test(the_past_tells_layers_and_heads),
        cmocka_unit_test(what_is_known_already_stays),
        cmocka_unit_test(names_of_any_length_fit_the_evidence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
