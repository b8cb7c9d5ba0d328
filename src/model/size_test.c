/* SPDX-License-Identifier: Apache-2.0 */
#include "model/size.h"

#include "../../tests/test.h"

#include <math.h>
#include <resourcepool/facts.h>

static rp_model_facts facts_of(const char *name) {
    rp_model_facts facts;
    rp_model_facts_of_name(name, NULL, &facts);
    return facts;
}

/* Parameters of models whose lines are not in the table, or whose figure is on their card. */
static void sizes_are_read_from_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double parameters; /* 0: the name has no size */
    } samples[] = {
        {"acme/Frobnicator-7B-Instruct", 7e9},
        {"acme/frobnicator-1.1b", 1.1e9},
        {"acme/frobnicator-0.5B", 0.5e9},
        {"acme/frobnicator-125m", 125e6},
        {"acme/frobnicator-v2", 0},
        {"acme/frobnicator-128k", 0},
        {"acme/frobnicator-32k-chat", 0},
        {"acme/frobnicator-32b", 32e9}, /* no "2b" in it */
        {"acme/frobnicator-4bit", 0},
        {"acme/frobnicator-30B-A3B", 30e9}, /* 3 of them at work */
        {"acme/frobnicator-A3B", 0},
        {"acme/frobnicator_13b", 13e9},
        {"acme/frobnicator-7b1", 7.1e9},
        {"acme/frobnicator-2-1_6b", 1.6e9},
        {"acme/frobnicator-7b-8k-100b-tokens", 7e9},
        {"acme/frobnicator-100b-tokens", 0},
        {"acme/frobnicator-300bt", 0},
        {"acme/frobnicator-text-1M", 0},
        {"acme/frobnicator-laion2b-s34b-b79k", 0},
        {"acme/frobnicator-7b.Q4_K_M.gguf", 7e9},
        {"frobnicator:8b-instruct-q4_0", 8e9},
        {"7b/frobnicator", 0},
        {"frobnicator-0b", 0},
        {"frobnicator-99999999999999999999b", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        rp_model_facts facts = facts_of(samples[i].name);
        if (samples[i].parameters == 0) {
            if (facts.parameter_count != RP_UNKNOWN_U64) {
                fail_msg("%s has %g", samples[i].name, (double)facts.parameter_count);
            }
            assert_int_equal(facts.parameter_method, RP_FACTS_UNKNOWN);
            continue;
        }
        if (fabs((double)facts.parameter_count / samples[i].parameters - 1) > 1e-6) {
            fail_msg("%s has %g", samples[i].name, (double)facts.parameter_count);
        }
        assert_true(facts.parameter_count_min < facts.parameter_count);
        assert_true(facts.parameter_count_max > facts.parameter_count);
        assert_int_equal(facts.parameter_method, RP_FACTS_NAME);
    }
}

static void a_mixture_has_less_than_its_parts(void **state) {
    (void)state;
    rp_model_facts facts = facts_of("acme/frobnicator-8x7B");
    assert_int_equal(facts.expert_count, 8);
    assert_true(facts.parameter_count > 40e9 && facts.parameter_count < 50e9);
    assert_true(facts.parameter_count_min < 46.7e9 && facts.parameter_count_max >= 46.7e9);
    facts = facts_of("acme/frobnicator-8x22B");
    assert_true(facts.parameter_count_min < 140.6e9 && facts.parameter_count_max > 140.6e9);
    facts = facts_of("acme/frobnicator-2x2_8");
    assert_true(facts.parameter_count == RP_UNKNOWN_U64);
}

/* The table is the one place where figures stand; these are from the cards of the models. */
static void known_lines_have_layers_and_heads(void **state) {
    (void)state;
    rp_model_facts facts = facts_of("meta-llama/Llama-2-70b-chat-hf");
    assert_int_equal(facts.layer_count, 80);
    assert_int_equal(facts.hidden_size, 8192);
    assert_int_equal(facts.head_count, 64);
    assert_int_equal(facts.kv_head_count, 8);
    assert_int_equal(facts.head_size, 128);
    assert_int_equal(facts.context_length, 4096);
    facts = facts_of("TheBloke/Llama-2-7B-GGUF");
    assert_int_equal(facts.layer_count, 32);
    facts = facts_of("Qwen/Qwen2-57B-A14B-Instruct"); /* not Qwen 2.5 with 7 billion */
    assert_int_equal(facts.expert_count, 64);
    assert_true(facts.parameter_count > 57e9);
    facts = facts_of("mistralai/Mixtral-8x7B-Instruct-v0.1");
    assert_true(fabs((double)facts.parameter_count / 46.7e9 - 1) < 0.01);
    assert_int_equal(facts.expert_used_count, 2);
}

static void the_longest_line_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double parameters;
    } samples[] = {
        {"google-bert/bert-base-uncased", 109.5e6},
        {"google-bert/bert-base-multilingual-cased", 177.9e6},
        {"FacebookAI/xlm-roberta-base", 278e6},
        {"distilbert-base-uncased", 66.4e6},
        {"openai/whisper-large-v3", 1.54e9},
        {"openai/whisper-large-v3-turbo", 808.9e6},
        {"google/vit-base-patch16-224", 86.6e6},
        {"openai/clip-vit-large-patch14", 427.6e6},
        {"deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", 8.19e9},
        {"bigscience/bloomz-3b", 3e9}, /* not the 176 billion of "bloomz" */
        {"bigscience/bloomz", 176.25e9},
        {"allenai/OLMoE-1B-7B-0924", 6.92e9},
        /* Named after what one token uses. */
        {"meta-llama/Llama-4-Scout-17B-16E-Instruct", 108.64e9},
        {"meta-llama/Llama-4-Maverick-17B-128E", 401.58e9},
    };
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        rp_model_facts facts = facts_of(samples[i].name);
        if (fabs((double)facts.parameter_count / samples[i].parameters - 1) > 0.001) {
            fail_msg("%s has %g", samples[i].name, (double)facts.parameter_count);
        }
    }
}

static void precisions_are_read_from_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *precision;
        const char *quantization;
    } samples[] = {
        {"a/b-7b", "", ""},
        {"a/b-7b.Q4_K_M.gguf", "q4_k", "Q4_K_M"},
        {"b:7b-instruct-q5_K_S", "q5_k", "Q5_K_S"},
        {"b-7b-q8_0", "q8_0", "Q8_0"},
        {"b-7b-Q6_K", "q6_k", "Q6_K"},
        {"b-7b-q4-k-m", "q4_k", "Q4_K_M"},
        {"b-7b-IQ3_XXS", "iq3_xxs", "IQ3_XXS"},
        {"b-7b-IQ3_M", "iq3_s", "IQ3_M"},
        {"b-7b-GPTQ-Int4", "int4", "gptq"},
        {"b-7b-GPTQ-Int8", "int8", "gptq"},
        {"b-7b-AWQ", "int4", "awq"},
        {"b-7b-bnb-4bit", "int4", "bitsandbytes"},
        {"b-7b-4bit", "int4", ""},
        {"b-7b-8bit", "int8", ""},
        {"b-7b-FP8", "fp8", "fp8"},
        {"b-7b-w8a8", "int8", ""},
        {"b-7b-W4A16", "int4", ""},
        {"b-7b-bf16", "bf16", ""},
        {"b-7b-fp16", "fp16", ""},
        {"b-7b-seq2seq", "", ""},
        {"tmp2nf4x", "", ""},
        {"b-7b-24bit", "", ""},
    };
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        rp_model_facts facts = facts_of(samples[i].name);
        if (strcmp(facts.precision, samples[i].precision) != 0 ||
            strcmp(facts.quantization, samples[i].quantization) != 0) {
            fail_msg("%s: '%s', '%s'", samples[i].name, facts.precision, facts.quantization);
        }
    }
}

/* A width and layers give roughly the parameters, or a row has a slip of the pen. */
static void the_table_is_in_order_and_fits_together(void **state) {
    (void)state;
    for (size_t i = 0; i < rp_known_size_count; i++) {
        const struct rp_known_size *row = &rp_known_sizes[i];
        if (i > 0) assert_true(strcmp(rp_known_sizes[i - 1].words, row->words) < 0);
        assert_true(row->parameter_count > 1000000);
        uint32_t heads = row->counts[RP_KNOWN_HEADS];
        if (heads == RP_UNKNOWN_U32) continue;
        double hidden = row->counts[RP_KNOWN_HIDDEN];
        double kv = row->counts[RP_KNOWN_KV_HEADS];
        bool has_head_size = row->counts[RP_KNOWN_HEAD_SIZE] != RP_UNKNOWN_U32;
        double head_size = has_head_size ? row->counts[RP_KNOWN_HEAD_SIZE] : hidden / heads;
        double experts =
            row->counts[RP_KNOWN_EXPERTS] == RP_UNKNOWN_U32 ? 1 : row->counts[RP_KNOWN_EXPERTS];
        double vocabulary = row->counts[RP_KNOWN_VOCABULARY] == RP_UNKNOWN_U32
                                ? 0
                                : row->counts[RP_KNOWN_VOCABULARY];
        double layer = hidden * head_size * (2 * heads + 2 * kv) +
                       3 * hidden * row->counts[RP_KNOWN_INNER] * experts;
        double most = layer * row->counts[RP_KNOWN_LAYERS] + 2 * vocabulary * hidden;
        double ratio = (double)row->parameter_count / most;
        bool is_shared = strstr(row->words, "albert") != NULL; /* one layer, used many times */
        if (!is_shared && (ratio < 0.4 || ratio > 2.2)) {
            fail_msg("%s: %g of %g", row->words, (double)row->parameter_count, most);
        }
        if (!has_head_size && (uint32_t)hidden % heads != 0) fail_msg("%s: heads", row->words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_from_names),
        cmocka_unit_test(a_mixture_has_less_than_its_parts),
        cmocka_unit_test(known_lines_have_layers_and_heads),
        cmocka_unit_test(the_longest_line_counts),
        cmocka_unit_test(precisions_are_read_from_names),
        cmocka_unit_test(the_table_is_in_order_and_fits_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
