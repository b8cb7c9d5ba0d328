/* SPDX-License-Identifier: Apache-2.0 */
#include "model/config.h"

#include "base/limits.h"
#include "base/memory.h"
#include "model/path.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>

/* What a file tells, over facts that know nothing. `text` is written with ' for ". */
struct told {
    rp_model_facts facts;
    struct rp_config config;
};

static rp_status read_as(const char *name, const char *text, struct told *told, rp_error *err) {
    struct rp_source source;
    size_t length = strlen(text);
    char *quoted = malloc(length + 1);
    assert_non_null(quoted);
    for (size_t i = 0; i <= length; i++) {
        quoted[i] = (char)(text[i] == '\'' ? '"' : text[i]);
    }
    rp_source_init_memory(&source, name, quoted, length);
    rp_facts_init(&told->facts);
    rp_config_init(&told->config);
    rp_status status = rp_config_read(name, &source, &told->facts, &told->config, err);
    free(quoted);
    return status;
}

static void figures_are_found_under_their_many_names(void **state) {
    (void)state;
    static const struct {
        const char *config;
        uint32_t layers, hidden, intermediate, heads, kv_heads, head_size, vocabulary, context;
    } rows[] = {
        {"{'hidden_size':768,'num_hidden_layers':12,'num_attention_heads':12,"
         "'intermediate_size':3072,'vocab_size':30522,'max_position_embeddings':512}",
         12, 768, 3072, 12, 12, 64, 30522, 512},
        {"{'n_embd':1600,'n_layer':48,'n_head':25,'n_inner':6400,'vocab_size':50257,"
         "'n_positions':1024}",
         48, 1600, 6400, 25, 25, 64, 50257, 1024},
        {"{'d_model':2048,'n_layers':24,'n_heads':16,'vocab_size':50368,'max_seq_len':8192}", 24,
         2048, RP_UNKNOWN_U32, 16, 16, 128, 50368, 8192},
        {"{'dim':768,'hidden_dim':3072,'n_layers':6,'n_heads':12,'vocab_size':30522}", 6, 768, 3072,
         12, 12, 64, 30522, RP_UNKNOWN_U32},
        {"{'hidden_size':2048,'num_hidden_layers':18,'num_attention_heads':8,"
         "'num_key_value_heads':1,'head_dim':256,'vocab_size':256000}",
         18, 2048, RP_UNKNOWN_U32, 8, 1, 256, 256000, RP_UNKNOWN_U32},
        {"{'is_encoder_decoder':true,'d_model':512,'d_ff':2048,'d_kv':64,'num_heads':8,"
         "'num_layers':6,'vocab_size':32128,'n_positions':512}",
         12, 512, 2048, 8, 8, 64, 32128, 512},
        {"{'d_model':384,'encoder_layers':4,'decoder_layers':2,'encoder_attention_heads':6,"
         "'encoder_ffn_dim':1536,'max_source_positions':1500,'max_target_positions':448,"
         "'num_hidden_layers':4,'vocab_size':51865}",
         6, 384, 1536, 6, 6, 64, 51865, 448},
        {"{'hidden_size':4544,'num_hidden_layers':32,'num_attention_heads':71,'multi_query':true}",
         32, 4544, RP_UNKNOWN_U32, 71, 1, 64, RP_UNKNOWN_U32, RP_UNKNOWN_U32},
        {"{'hidden_size':8192,'num_hidden_layers':60,'num_attention_heads':128,'num_kv_heads':8,"
         "'multi_query':true,'new_decoder_architecture':true}",
         60, 8192, RP_UNKNOWN_U32, 128, 8, 64, RP_UNKNOWN_U32, RP_UNKNOWN_U32},
        {"{'text_config':{'hidden_size':4096,'num_hidden_layers':32},"
         "'vision_config':{'hidden_size':1024}}",
         32, 4096, RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32,
         RP_UNKNOWN_U32},
        {"{'vision_config':{'hidden_size':1024,'num_hidden_layers':24}}", 24, 1024, RP_UNKNOWN_U32,
         RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32, RP_UNKNOWN_U32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct told told;
        assert_ok(read_as("config.json", rows[i].config, &told, &err));
        assert_int_equal(told.facts.layer_count, rows[i].layers);
        assert_int_equal(told.facts.hidden_size, rows[i].hidden);
        assert_int_equal(told.facts.intermediate_size, rows[i].intermediate);
        assert_int_equal(told.facts.head_count, rows[i].heads);
        assert_int_equal(told.facts.kv_head_count, rows[i].kv_heads);
        assert_int_equal(told.facts.head_size, rows[i].head_size);
        assert_int_equal(told.facts.vocabulary_size, rows[i].vocabulary);
        assert_int_equal(told.facts.context_length, rows[i].context);
    }
}

static void class_type_and_experts_are_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct told told;
    assert_ok(read_as("config.json",
                      "{'architectures':['MixtralForCausalLM','Other'],'model_type':'mixtral',"
                      "'num_local_experts':8,'num_experts_per_tok':2}",
                      &told, &err));
    assert_true(told.config.is_found);
    assert_string_equal(told.facts.architecture, "MixtralForCausalLM");
    assert_string_equal(told.facts.model_type, "mixtral");
    assert_int_equal(told.facts.expert_count, 8);
    assert_int_equal(told.facts.expert_used_count, 2);
    assert_int_equal(told.facts.parameter_method, RP_FACTS_UNKNOWN);
}

static void figures_that_count_nothing_are_unknown(void **state) {
    (void)state;
    static const char *const figures[] = {
        "-768",       "0",     "768.5",    "1e30",      "1e300",
        "4294967295", "'768'", "[768]",    "{}",        "null",
        "true",       "NaN",   "Infinity", "-Infinity", "1000000000000000019884624838656"};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct told told;
        char config[128];
        snprintf(config, sizeof config, "{'hidden_size':%s,'num_hidden_layers':3}", figures[i]);
        assert_ok(read_as("config.json", config, &told, &err));
        assert_int_equal(told.facts.hidden_size, RP_UNKNOWN_U32);
        assert_int_equal(told.facts.layer_count, 3);
    }
}

static void precision_and_quantisation_are_read(void **state) {
    (void)state;
    static const struct {
        const char *file;
        const char *text;
        const char *precision;
        const char *quantization;
    } rows[] = {
        {"config.json", "{'torch_dtype':'float32'}", "fp32", ""},
        {"config.json", "{'torch_dtype':'torch.float16'}", "fp16", ""},
        {"config.json", "{'dtype':'bfloat16','torch_dtype':'float32'}", "bf16", ""},
        {"config.json", "{'torch_dtype':'auto'}", "", ""},
        {"config.json", "{'torch_dtype':7}", "", ""},
        {"config.json", "{'text_config':{'torch_dtype':'float16'}}", "fp16", ""},
        {"config.json", "{'quantization_config':{'quant_method':'gptq','bits':4}}", "int4", "gptq"},
        {"config.json", "{'quantization_config':{'quant_method':'awq','bits':4}}", "int4", "awq"},
        {"config.json", "{'quantization_config':{'load_in_8bit':true}}", "int8", "bitsandbytes"},
        {"config.json",
         "{'quantization_config':{'quant_method':'bitsandbytes','load_in_4bit':true,"
         "'load_in_8bit':false}}",
         "int4", "bitsandbytes"},
        {"config.json", "{'torch_dtype':'bfloat16','quantization_config':{'quant_method':'fp8'}}",
         "fp8", "fp8"},
        {"config.json", "{'quantization_config':{'quant_method':'mxfp4'}}", "fp4", "mxfp4"},
        {"config.json",
         "{'quantization_config':{'quant_method':'compressed-tensors','format':'pack-quantized',"
         "'config_groups':{'group_0':{'weights':{'num_bits':4,'type':'int'}}}}}",
         "int4", "compressed-tensors"},
        {"config.json",
         "{'quantization_config':{'quant_method':'compressed-tensors','format':'float-quantized',"
         "'config_groups':{'group_0':{'weights':{'num_bits':8}}}}}",
         "fp8", "compressed-tensors"},
        {"config.json",
         "{'dtype':'float16','quantization_config':{'quant_method':'x','bits':4000}}", "fp16", "x"},
        {"config.json", "{'quantization_config':[]}", "", ""},
        {"quantize_config.json", "{'bits':4,'group_size':128}", "int4", "gptq"},
        {"quant_config.json", "{'w_bit':4,'q_group_size':128}", "int4", "awq"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct told told;
        assert_ok(read_as(rows[i].file, rows[i].text, &told, &err));
        assert_string_equal(told.facts.precision, rows[i].precision);
        assert_string_equal(told.facts.quantization, rows[i].quantization);
    }
}

static void the_neighbours_tell_one_thing_each(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct told told;
    assert_ok(read_as("modules.json",
                      "[{'path':'0_Transformer','type':'sentence_transformers.models.Transformer'},"
                      "{'path':'1_Pooling','type':'sentence_transformers.models.Pooling'}]",
                      &told, &err));
    assert_true(told.config.is_sentence_encoder);
    assert_string_equal(told.config.module_folder, "0_Transformer");
    assert_ok(read_as("modules.json",
                      "[{'path':'../up','type':'sentence_transformers.models.CLIPModel'}]", &told,
                      &err));
    assert_false(told.config.is_sentence_encoder);
    assert_string_equal(told.config.module_folder, "");
    assert_ok(read_as("modules.json", "[1,{},{'type':'others.Module'}]", &told, &err));
    assert_false(told.config.is_sentence_encoder);
    assert_ok(read_as("tokenizer_config.json",
                      "{'model_max_length':1000000000000000019884624838656,'chat_template':'x'}",
                      &told, &err));
    assert_true(told.config.has_chat_template);
    assert_int_equal(told.facts.context_length, RP_UNKNOWN_U32);
    assert_ok(read_as("tokenizer_config.json", "{'model_max_length':512}", &told, &err));
    assert_false(told.config.has_chat_template);
    assert_int_equal(told.facts.context_length, 512);
    assert_ok(read_as("tokenizer_config.json", "{'model_max_length':20000000}", &told, &err));
    assert_int_equal(told.facts.context_length, RP_UNKNOWN_U32);
    assert_ok(read_as("adapter_config.json",
                      "{'base_model_name_or_path':'org/base','task_type':'CAUSAL_LM'}", &told,
                      &err));
    assert_string_equal(told.config.base_model, "org/base");
    assert_string_equal(told.config.task, "text-generation");
    assert_ok(read_as("preprocessor_config.json",
                      "{'processor_class':'LlavaProcessor','image_mean':[0.5]}", &told, &err));
    assert_string_equal(told.config.processor, "LlavaProcessor");
    assert_string_equal(told.config.task, "image-classification");
    assert_ok(read_as("preprocessor_config.json", "{'sampling_rate':16000}", &told, &err));
    assert_string_equal(told.config.task, "automatic-speech-recognition");
    assert_ok(
        read_as("model_index.json", "{'_class_name':'StableDiffusionPipeline'}", &told, &err));
    assert_true(told.config.is_pipeline);
    assert_status(read_as("other.json", "{}", &told, &err), RP_ERR_ARGUMENT);
}

static void what_python_writes_is_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct told told;
    assert_ok(read_as("config.json",
                      "{'a':NaN,'b':[-Infinity,Infinity],'c':'NaN, Infinity','d':'\\'NaN','n':1,"
                      "'n':2,'model_type':'Infinity','hidden_size':768.0}",
                      &told, &err));
    assert_string_equal(told.facts.model_type, "Infinity");
    assert_int_equal(told.facts.hidden_size, 768);
}

static void what_is_damaged_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",   "{",           "nonsense",      "{'a':1}x",
                                        "3",  "'a'",         "{'a':N",        "{'a':Infin",
                                        "[]", "{'a':1e999}", "{'\xC3\x28':1}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct told told;
        rp_status status = read_as("config.json", texts[i], &told, &err);
        if (status != RP_ERR_DATA) fail_msg("%s: %s", texts[i], rp_status_name(status));
        assert_says(err.message, "'config.json'");
        assert_false(told.config.is_found);
    }
}

static void what_is_deep_or_large_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct told told;
    char deep[4096];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_status(read_as("modules.json", deep, &told, &err), RP_ERR_LIMIT);
    struct rp_source source;
    rp_source_init_memory(&source, "config.json", "{}", (size_t)RP_LIMIT_CONFIG_BYTES + 1);
    assert_status(rp_config_read("config.json", &source, &told.facts, &told.config, &err),
                  RP_ERR_LIMIT);
    assert_says(err.message, "25165825 bytes");
}

static void names_stay_inside_their_folder_or_do_not(void **state) {
    (void)state;
    static const char *const inside[] = {"a", "a/b", "..a", "a..", "a/..b", "./a", "...", "a//b"};
    static const char *const outside[] = {"", "/", "/a", "..", "../a", "a/..", "a/../b", "a\\b"};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        if (!rp_path_stays_inside(inside[i])) fail_msg("'%s' is inside", inside[i]);
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        if (rp_path_stays_inside(outside[i])) fail_msg("'%s' is outside", outside[i]);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        struct told told;
        rp_memory_fail_at(n);
        rp_status status =
            read_as("config.json",
                    "{'architectures':['BertModel'],'model_type':'bert','hidden_size':768,"
                    "'quantization_config':{'quant_method':'gptq','bits':4}}",
                    &told, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 20);
            return;
        }
        /* jansson takes a text that it has no memory for as damaged. */
        assert_true(status == RP_ERR_MEMORY || status == RP_ERR_DATA || status == RP_OK);
        assert_int_equal(err.status, status);
    }
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_found_under_their_many_names),
        cmocka_unit_test(class_type_and_experts_are_read),
        cmocka_unit_test(figures_that_count_nothing_are_unknown),
        cmocka_unit_test(precision_and_quantisation_are_read),
        cmocka_unit_test(the_neighbours_tell_one_thing_each),
        cmocka_unit_test(what_python_writes_is_read),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(what_is_deep_or_large_is_refused),
        cmocka_unit_test(names_stay_inside_their_folder_or_do_not),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
