/* SPDX-License-Identifier: Apache-2.0 */
#include "model/facts.h"

#include "../../tests/test.h"

#include <math.h>
#include <resourcepool/facts.h>
#include <stdio.h>

static rp_memory_need need_of(const char *name, const char *precision, uint32_t batch,
                              uint32_t context) {
    rp_model_facts facts;
    rp_memory_need need;
    rp_workload workload = RP_WORKLOAD_INIT;
    workload.batch_size = batch;
    workload.context_length = context;
    rp_model_facts_of_name(name, NULL, &facts);
    rp_model_memory_need(&facts, precision, &workload, &need);
    return need;
}

static void assert_near(double found, double wanted, double tolerance, const char *what) {
    if (fabs(found / wanted - 1) > tolerance) fail_msg("%s: %g, not %g", what, found, wanted);
}

/*
 * Parameters as the cards of the models give them, and sizes of their published weights in MB
 * (10^6 bytes), at the precision they were published in. Files have headers and now and then a
 * table twice or less: 3 %.
 */
static void weights_agree_with_public_figures(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double parameters;
        const char *precision;
        double megabytes;
    } models[] = {
        {"google-bert/bert-base-uncased", 109.5e6, "fp32", 440},
        {"google-bert/bert-large-uncased", 335e6, "fp32", 1340},
        {"distilbert/distilbert-base-uncased", 66.4e6, "fp32", 268},
        {"FacebookAI/roberta-base", 124.6e6, "fp32", 499},
        {"FacebookAI/roberta-large", 355.4e6, "fp32", 1420},
        {"FacebookAI/xlm-roberta-base", 278e6, "fp32", 1115},
        {"albert/albert-base-v2", 11.7e6, "fp32", 47},
        {"sentence-transformers/all-MiniLM-L6-v2", 22.7e6, "fp32", 91},
        {"sentence-transformers/all-mpnet-base-v2", 109.5e6, "fp32", 438},
        {"BAAI/bge-large-en-v1.5", 335e6, "fp32", 1340},
        {"openai-community/gpt2", 124.4e6, "fp32", 498},
        {"openai-community/gpt2-xl", 1.56e9, "fp32", 6230},
        {"facebook/opt-1.3b", 1.316e9, "fp16", 2630},
        {"EleutherAI/gpt-j-6b", 6.05e9, "fp16", 12100},
        {"google-t5/t5-base", 222.9e6, "fp32", 892},
        {"google/flan-t5-xxl", 11.14e9, "fp32", 44500},
        {"facebook/bart-large", 406.3e6, "fp32", 1625},
        {"meta-llama/Llama-2-7b-hf", 6.74e9, "fp16", 13480},
        {"meta-llama/Llama-2-13b-hf", 13.02e9, "fp16", 26030},
        {"meta-llama/Llama-2-70b-hf", 68.98e9, "fp16", 137950},
        {"meta-llama/Meta-Llama-3-8B", 8.03e9, "bf16", 16060},
        {"mistralai/Mistral-7B-v0.1", 7.24e9, "bf16", 14480},
        {"mistralai/Mixtral-8x7B-v0.1", 46.7e9, "bf16", 93400},
        {"tiiuae/falcon-7b", 6.92e9, "bf16", 13840},
        {"Qwen/Qwen2.5-7B-Instruct", 7.62e9, "bf16", 15230},
        {"microsoft/phi-2", 2.78e9, "fp16", 5560},
        {"google/gemma-2-9b", 9.24e9, "bf16", 18490},
        {"TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1.1e9, "bf16", 2200},
        {"openai/whisper-tiny", 37.8e6, "fp32", 151},
        {"openai/whisper-large-v3", 1.54e9, "fp16", 3090},
        {"facebook/wav2vec2-base-960h", 94.4e6, "fp32", 378},
        {"google/vit-base-patch16-224", 86.6e6, "fp32", 346},
        {"google/vit-large-patch16-224", 304.3e6, "fp32", 1217},
        {"openai/clip-vit-large-patch14", 427.6e6, "fp32", 1711},
        {"openai/clip-vit-base-patch32", 151.3e6, "fp32", 605},
        {"microsoft/resnet-50", 25.6e6, "fp32", 103},
        {"facebook/detr-resnet-50", 41.6e6, "fp32", 167},
        {"llava-hf/llava-1.5-7b-hf", 7.06e9, "fp16", 14130},
    };
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        rp_model_facts facts;
        rp_model_facts_of_name(models[i].name, NULL, &facts);
        assert_near((double)facts.parameter_count, models[i].parameters, 0.01, models[i].name);
        rp_memory_need need = need_of(models[i].name, models[i].precision, 1, 0);
        assert_near((double)need.weights_bytes / 1e6, models[i].megabytes, 0.03, models[i].name);
        assert_int_equal(need.method, RP_FACTS_NAME);
        assert_true(need.total_bytes_min < need.total_bytes);
        assert_true(need.total_bytes_max > need.total_bytes);
        assert_true(need.total_bytes == need.weights_bytes + need.state_bytes +
                                            need.activation_bytes + need.overhead_bytes);
    }
}

/* Files of Llama 2 and 3 as ggml's quantisers write them, in GB (10^9): 4 %. */
static void quantised_weights_agree_with_public_figures(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double gigabytes;
    } files[] = {
        {"llama-2-7b.Q4_K_M.gguf", 4.08},  {"llama-2-7b.Q5_K_M.gguf", 4.78},
        {"llama-2-7b.Q8_0.gguf", 7.16},    {"llama-2-7b.Q4_0.gguf", 3.83},
        {"llama-2-7b.Q6_K.gguf", 5.53},    {"llama-2-13b.Q4_K_M.gguf", 7.87},
        {"llama-2-70b.Q4_K_M.gguf", 41.4}, {"Meta-Llama-3-8B.Q4_K_M.gguf", 4.92},
        {"Llama-2-7B-AWQ", 3.89},          {"Qwen2.5-7B-Instruct-GPTQ-Int4", 5.58},
        {"Llama-2-13B-GPTQ", 7.26},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        rp_memory_need need = need_of(files[i].name, NULL, 1, 0);
        assert_near((double)need.weights_bytes / 1e9, files[i].gigabytes, 0.04, files[i].name);
    }
}

/* 2 x layers x heads of keys and values x their size x tokens x 2 bytes. */
static void attention_keeps_keys_and_values(void **state) {
    (void)state;
    rp_memory_need need = need_of("meta-llama/Llama-2-7b-hf", "fp16", 1, 4096);
    assert_int_equal(need.state_bytes, 2ULL << 30); /* 512 kB for each token */
    need = need_of("meta-llama/Llama-2-70b-hf", "fp16", 1, 4096);
    assert_int_equal(need.state_bytes, 2ULL * 80 * 8 * 128 * 4096 * 2);
    need = need_of("meta-llama/Llama-2-70b-hf", "fp16", 4, 4096);
    assert_int_equal(need.state_bytes, 4 * 2ULL * 80 * 8 * 128 * 4096 * 2);
    need = need_of("meta-llama/Llama-2-70b-hf", "int4", 1, 4096);
    assert_int_equal(need.state_bytes, 2ULL * 80 * 8 * 128 * 4096 * 2);
    need = need_of("meta-llama/Llama-2-70b-hf", "fp16", 1, 100000); /* 4096 is all it can */
    assert_int_equal(need.state_bytes, 2ULL * 80 * 8 * 128 * 4096 * 2);
    need = need_of("meta-llama/Meta-Llama-3-8B", "bf16", 1, 8192);
    assert_int_equal(need.state_bytes, 1ULL << 30);
    need = need_of("google-bert/bert-base-uncased", "fp32", 1, 512);
    assert_int_equal(need.state_bytes, 0);
    need = need_of("google/vit-base-patch16-224", "fp32", 1, 0);
    assert_int_equal(need.state_bytes, 0);
    need = need_of("state-spaces/mamba-2.8b", "fp16", 1, 2000); /* of one size, whatever it reads */
    assert_int_equal(need.state_bytes,
                     need_of("state-spaces/mamba-2.8b", "fp16", 1, 4000).state_bytes);
}

static void more_of_anything_needs_more(void **state) {
    (void)state;
    static const char *const precisions[] = {"int4", "int8", "fp16", "fp32"};
    static const char *const names[] = {"gpt2", "acme/frobnicator-7b-chat", "bert-base-uncased",
                                        "resnet-50", "openai/whisper-small"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint64_t before = 0;
        for (size_t j = 0; j < sizeof precisions / sizeof precisions[0]; j++) {
            rp_memory_need need = need_of(names[i], precisions[j], 1, 0);
            assert_true(need.total_bytes > before);
            before = need.total_bytes;
            assert_true(need_of(names[i], precisions[j], 8, 0).total_bytes > need.total_bytes);
            assert_true(need.total_bytes_min <= need.total_bytes);
            assert_true(need.total_bytes_max >= need.total_bytes);
        }
    }
}

static void a_model_of_unknown_size_needs_an_unknown_amount(void **state) {
    (void)state;
    rp_memory_need need = need_of("acme/frobnicator", "fp16", 1, 0);
    assert_true(need.total_bytes == RP_UNKNOWN_U64);
    assert_true(need.weights_bytes == RP_UNKNOWN_U64);
    assert_int_equal(need.method, RP_FACTS_UNKNOWN);
    need = need_of("gpt2", "fp3.14", 1, 0); /* nobody knows how wide that is */
    assert_true(need.total_bytes == RP_UNKNOWN_U64);
}

static rp_model_facts tensors_of_two_types(void) {
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_source source;
    rp_source_init_memory(&source, "test", "", 0);
    rp_facts_init(&facts);
    assert_ok(rp_facts_add_tensor(&facts, "fp32", 1000000, 4000000, &source, &err));
    assert_ok(rp_facts_add_tensor(&facts, "int64", 512, 4096, &source, &err));
    rp_facts_finish_tensors(&facts);
    return facts;
}

static void weights_in_a_file_are_exact_and_scale_by_elements(void **state) {
    (void)state;
    rp_model_facts facts = tensors_of_two_types();
    rp_memory_need need;
    rp_model_memory_need(&facts, NULL, NULL, &need);
    assert_int_equal(need.weights_bytes, 4004096);
    assert_int_equal(need.method, RP_FACTS_FILE);
    rp_model_memory_need(&facts, "fp32", NULL, &need);
    assert_int_equal(need.weights_bytes, 4004096);
    rp_model_memory_need(&facts, "fp16", NULL, &need);
    assert_int_equal(need.weights_bytes, 2004096); /* positions stay what they are */
    rp_model_memory_need(&facts, "q8_0", NULL, &need);
    assert_int_equal(need.weights_bytes, 1062500 + 4096);
}

/* A model without a row whose size is known: 7 billion have some 32 layers of 4096. */
static void layers_follow_from_parameters(void **state) {
    (void)state;
    rp_memory_need need = need_of("acme/frobnicator-7b-chat", "fp16", 1, 4096);
    rp_memory_need known = need_of("mistralai/Mistral-7B-v0.1", "fp16", 1, 4096);
    rp_memory_need ungrouped = need_of("meta-llama/Llama-2-7b-hf", "fp16", 1, 4096);
    assert_true(need.state_bytes >= known.state_bytes / 2);
    assert_true(need.state_bytes <= ungrouped.state_bytes);
    assert_true(need.total_bytes_min < known.total_bytes);
    assert_true(need.total_bytes_max > ungrouped.total_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_agree_with_public_figures),
        cmocka_unit_test(quantised_weights_agree_with_public_figures),
        cmocka_unit_test(attention_keeps_keys_and_values),
        cmocka_unit_test(more_of_anything_needs_more),
        cmocka_unit_test(a_model_of_unknown_size_needs_an_unknown_amount),
        cmocka_unit_test(weights_in_a_file_are_exact_and_scale_by_elements),
        cmocka_unit_test(layers_follow_from_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
