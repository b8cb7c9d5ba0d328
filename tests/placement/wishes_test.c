/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each preference has an effect: a machine on which it matters, the answer without it and with it.
 * What a dictionary may say, and what it may not, stands in src/placement/preferences_test.c.
 */
#include "../test.h"
#include "placing.h"

#include <jansson.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>

#define BERT  "bert-base-uncased"
#define LLAMA "meta-llama/Llama-2-7b-hf"
#define CLIP  "openai/clip-vit-large-patch14"
#define VIT   "google/vit-base-patch16-224"

static const struct {
    const char *key;
    const char *machine;
    const char *model;
    const char *without;
    const char *answer_without;
    const char *with;
    const char *answer_with;
} effects[] = {
    /* clang-format off */
    {"device", "8xh100", BERT, "{}", "cuda:0/fp32",
        "{'device':'cuda:5'}", "cuda:5/fp32"},
    {"device", "nvidia-amd", BERT, "{'device':'auto'}", "cuda:0/fp32",
        "{'device':'rocm'}", "rocm:0/fp32"},
    {"policy", "4xa10g", LLAMA, "{'device':'cuda:0'}", "error: capacity",
        "{'device':'cuda:0','policy':'prefer'}", "cuda:2/fp16"},
    {"policy", "8xh100", BERT, "{'device':'cuda:5'}", "cuda:5/fp32",
        "{'device':'cuda:5','policy':'any'}", "cuda:0/fp32"},
    {"force_device", "radeon-apu", BERT, "{'device':'rocm:0'}", "error: unsupported",
        "{'device':'rocm:0','force_device':true}", "rocm:0/fp32"},
    {"force_device", "1xh100", BERT,
        "{'device':'cuda','hw_compatibility':{'cuda':{'compatible':false}}}", "error: unsupported",
        "{'device':'cuda','hw_compatibility':{'cuda':{'compatible':false}},'force_device':true}",
        "cuda:0/fp32"},
    {"force_device", "h100-1gb-free", LLAMA, "{'device':'cuda:0'}", "error: capacity",
        "{'device':'cuda:0','policy':'prefer','force_device':true}", "cpu/bf16"},
    {"priority_list", "nvidia-amd", BERT, "{}", "cuda:0/fp32",
        "{'priority_list':['mps','rocm','cuda']}", "rocm:0/fp32"},
    {"priority_list", "arc-npu", BERT, "{}", "cpu/fp32",
        "{'priority_list':['openvino']}", "openvino:GPU.1/fp32"},
    {"preferred_index", "8xh100", BERT, "{}", "cuda:0/fp32",
        "{'preferred_index':3}", "cuda:3/fp32"},
    {"distribution", "a100-t4", BERT, "{'distribution':'spread'}", "cuda:0/fp32",
        "{'distribution':'pack'}", "cuda:2/fp32"},
    {"hw_compatibility", "1xh100", BERT, "{'hw_compatibility':{'cuda':{'compatible':true}}}",
        "cuda:0/fp32", "{'hw_compatibility':{'cuda':{'compatible':false}}}", "cpu/fp32"},
    {"hw_compatibility", "1xh100", BERT,
        "{'hw_compatibility':{'cuda':{'memory_usage':{'peak':80000}}}}", "cuda:0/fp32",
        "{'hw_compatibility':{'cuda':{'memory_usage':{'peak':90000}}}}", "cpu/fp32"},
    {"force_low_memory", "1xh100", LLAMA, "{}", "cuda:0/fp16",
        "{'force_low_memory':true}", "cuda:0/int8"},
    {"precision", "1xh100", BERT, "{}", "cuda:0/fp32",
        "{'precision':'fp16'}", "cuda:0/fp16"},
    {"require_precision", "gtx1080", BERT, "{'precision':'fp8'}", "cuda:0/fp32",
        "{'precision':'fp8','require_precision':true}", "error: unsupported"},
    {"precisions", "rtx3060-laptop", LLAMA, "{}", "cpu/int8",
        "{'precisions':'int8,int4'}", "cuda:0/int4"},
    {"precisions", "1xh100", "meta-llama/Llama-2-70b", "{}", "cuda:0/int8",
        "{'precisions':''}", "cpu/bf16"},
    {"model_family", "container-2gib", CLIP, "{}", "error: capacity",
        "{'model_family':'text_generation'}", "cpu/int8"},
    {"subfamily", "container-2gib", CLIP, "{}", "error: capacity",
        "{'subfamily':'vision_language'}", "cpu/int8"},
    {"subfamily", "browser-only", BERT, "{}", "cpu/fp32",
        "{'subfamily':'web_deployment'}", "webgpu:chromium/fp32"},
    {"browser_optimized", "browser-only", VIT, "{}", "cpu/fp32",
        "{'browser_optimized':true}", "webgpu:chromium/fp32"},
    {"engine", "1xh100", BERT, "{}", "cuda:0/fp32",
        "{'engine':'onnxruntime'}", "cpu/fp32"},
    {"batch_size", "v100", LLAMA, "{}", "cuda:0/fp16",
        "{'batch_size':4}", "cuda:0/int8"},
    {"context_length", "v100", LLAMA, "{'batch_size':4}", "cuda:0/int8",
        "{'batch_size':4,'context_length':512}", "cuda:0/fp16"},
    /* clang-format on */
};

/* JSON from a text with '...' for "...". */
static const char *quoted(const char *text, char *out, size_t out_bytes) {
    size_t length = strlen(text);
    assert_true(length < out_bytes);
    for (size_t i = 0; i <= length; i++) {
        out[i] = text[i];
        if (out[i] == '\'') out[i] = '"';
    }
    return out;
}

static size_t check(const char *key, const char *machine, const char *model, const char *wishes,
                    const char *expected) {
    char json[256];
    char answer[64];
    rp_plan *plan =
        placing_ask(placing_machine(machine)->snapshot, model, quoted(wishes, json, sizeof json));
    bool is_same = strcmp(placing_answer(plan, answer), expected) == 0;
    if (!is_same) {
        print_error("%s: %s, %s %s: %s instead of %s\n", key, machine, model, json, answer,
                    expected);
    }
    rp_plan_destroy(plan);
    return !is_same;
}

static void each_key_has_an_effect(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++) {
        wrong += check(effects[i].key, effects[i].machine, effects[i].model, effects[i].without,
                       effects[i].answer_without);
        wrong += check(effects[i].key, effects[i].machine, effects[i].model, effects[i].with,
                       effects[i].answer_with);
        assert_string_not_equal(effects[i].answer_without, effects[i].answer_with);
    }
    if (wrong > 0) fail_msg("%zu answers are not what they should be", wrong);
}

static void a_description_stands_before_the_reason(void **state) {
    (void)state;
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    rp_plan *plan = placing_ask(placing_machine("1xh100")->snapshot, BERT,
                                "{\"description\":\"for the search\"}");
    assert_ok(rp_plan_placement(plan, &placement, &err));
    assert_int_equal(strncmp(placement.reason, "for the search: ", 16), 0);
    rp_plan_destroy(plan);
}

/* Whoever required WebNN or OpenVINO for a GPU's sake learns that the processor computes. */
static void the_processor_behind_another_interface_is_told(void **state) {
    (void)state;
    static const struct {
        const char *wishes;
        bool is_told;
    } cases[] = {
        {"{\"device\":\"webnn\",\"policy\":\"require\"}", true},
        {"{\"device\":\"webgpu\",\"policy\":\"require\"}", false},
        {"{\"device\":\"cpu\"}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_placement placement;
        rp_error err = RP_ERROR_INIT;
        rp_plan *plan =
            placing_ask(placing_machine("browser-only")->snapshot, BERT, cases[i].wishes);
        assert_ok(rp_plan_placement(plan, &placement, &err));
        bool is_told = strstr(placement.reason, "computed by the processor") != NULL;
        assert_int_equal(is_told, cases[i].is_told);
        rp_plan_destroy(plan);
    }
}

static void an_engine_that_is_asked_for_is_told(void **state) {
    (void)state;
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    rp_plan *plan =
        placing_ask(placing_machine("1xh100")->snapshot, BERT, "{\"engine\":\"onnxruntime\"}");
    assert_ok(rp_plan_placement(plan, &placement, &err));
    assert_string_equal(placement.engine, "onnxruntime");
    rp_plan_destroy(plan);
}

static void what_hides_a_card_is_told(void **state) {
    (void)state;
    rp_plan *plan =
        placing_ask(placing_machine("hidden-card")->snapshot, BERT, "{\"device\":\"cuda\"}");
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    assert_status(rp_plan_placement(plan, &placement, &err), RP_ERR_ABSENT);
    assert_says(err.message, "CUDA_VISIBLE_DEVICES");
    rp_plan_destroy(plan);
}

/* Without a real device that would do, a simulated one does, if it may. */
static void simulated_ones_may_stand_in(void **state) {
    (void)state;
    static const char *const wishes[] = {
        "{'priority_list':['cuda']}", "{'priority_list':['cuda'],'fallback_to_simulation':true}"};
    static const char *const answers[] = {"error: capacity", "cuda:0/fp16"};
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    assert_ok(rp_snapshot_to_json(placing_machine("rtx5090")->snapshot, 0, &text, &err));
    json_t *json = json_loads(text, 0, NULL);
    rp_string_free(text);
    json_t *processor = json_array_get(json_object_get(json, "devices"), 0);
    json_object_set_new(json, "simulated", json_false());
    json_object_set_new(processor, "simulated", json_false());
    json_object_set_new(processor, "memory_bytes_free", json_integer(1 << 20));
    text = json_dumps(json, 0);
    json_decref(json);
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_snapshot_from_json(text, strlen(text), "varied", &snapshot, &err));
    free(text);
    for (size_t i = 0; i < 2; i++) {
        char wish[128];
        char answer[64];
        rp_plan *plan = placing_ask(snapshot, LLAMA, quoted(wishes[i], wish, sizeof wish));
        assert_string_equal(placing_answer(plan, answer), answers[i]);
        rp_plan_destroy(plan);
    }
    rp_snapshot_release(snapshot);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_has_an_effect),
        cmocka_unit_test(a_description_stands_before_the_reason),
        cmocka_unit_test(the_processor_behind_another_interface_is_told),
        cmocka_unit_test(an_engine_that_is_asked_for_is_told),
        cmocka_unit_test(what_hides_a_card_is_told),
        cmocka_unit_test(simulated_ones_may_stand_in),
    };
    return cmocka_run_group_tests(tests, placing_read_machines, placing_forget_machines);
}
