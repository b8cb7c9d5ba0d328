/* SPDX-License-Identifier: Apache-2.0 */
#include "model/parameters.h"

#include "../../tests/test.h"

#include <resourcepool/status.h>
#include <stdlib.h>

/*
 * Configurations as they are published, cut to the keys that count, and how many parameters the
 * published weights have, without buffers.
 */
static const struct {
    const char *name;
    uint64_t parameters;
    const char *config;
} models[] = {
    {"bert-base-uncased, whole", 109482240,
     "{'architectures':['BertModel'],'model_type':'bert','hidden_size':768,'num_hidden_layers':12,"
     "'num_attention_heads':12,'intermediate_size':3072,'vocab_size':30522,"
     "'max_position_embeddings':512,'type_vocab_size':2}"},
    {"bert-base-uncased, masked", 109514298,
     "{'architectures':['BertForMaskedLM'],'model_type':'bert','hidden_size':768,"
     "'num_hidden_layers':12,'num_attention_heads':12,'intermediate_size':3072,'vocab_size':30522,"
     "'max_position_embeddings':512,'type_vocab_size':2}"},
    {"roberta-base", 124697433,
     "{'architectures':['RobertaForMaskedLM'],'model_type':'roberta','hidden_size':768,"
     "'num_hidden_layers':12,'num_attention_heads':12,'intermediate_size':3072,'vocab_size':50265,"
     "'max_position_embeddings':514,'type_vocab_size':1}"},
    {"distilbert-base-uncased", 66985530,
     "{'architectures':['DistilBertForMaskedLM'],'model_type':'distilbert','dim':768,"
     "'hidden_dim':3072,'n_layers':6,'n_heads':12,'vocab_size':30522,"
     "'max_position_embeddings':512}"},
    {"albert-base-v2", 11683584,
     "{'architectures':['AlbertModel'],'model_type':'albert','embedding_size':128,"
     "'hidden_size':768,'num_hidden_layers':12,'num_attention_heads':12,'intermediate_size':3072,"
     "'vocab_size':30000,'max_position_embeddings':512,'type_vocab_size':2,'num_hidden_groups':1}"},
    {"all-mpnet-base-v2", 109486464,
     "{'architectures':['MPNetModel'],'model_type':'mpnet','hidden_size':768,"
     "'num_hidden_layers':12,'num_attention_heads':12,'intermediate_size':3072,'vocab_size':30527,"
     "'max_position_embeddings':514,'relative_attention_num_buckets':32}"},
    {"deberta-v3-base", 183831552,
     "{'model_type':'deberta-v2','hidden_size':768,'num_hidden_layers':12,"
     "'num_attention_heads':12,'intermediate_size':3072,'vocab_size':128100,"
     "'max_position_embeddings':512,'relative_attention':true,'position_buckets':256,"
     "'norm_rel_ebd':'layer_norm','position_biased_input':false,'type_vocab_size':0}"},
    {"gpt2", 124439808,
     "{'architectures':['GPT2LMHeadModel'],'model_type':'gpt2','n_embd':768,'n_layer':12,"
     "'n_head':12,'n_positions':1024,'n_ctx':1024,'vocab_size':50257,'n_inner':null}"},
    {"opt-125m", 125239296,
     "{'architectures':['OPTForCausalLM'],'model_type':'opt','hidden_size':768,"
     "'num_hidden_layers':12,'num_attention_heads':12,'ffn_dim':3072,'vocab_size':50272,"
     "'max_position_embeddings':2048,'word_embed_proj_dim':768}"},
    {"bloom-560m", 559214592,
     "{'architectures':['BloomForCausalLM'],'model_type':'bloom','n_embed':1024,"
     "'hidden_size':1024,'n_layer':24,'num_attention_heads':16,'vocab_size':250880}"},
    {"gpt-neox-20b", 20554567680,
     "{'architectures':['GPTNeoXForCausalLM'],'model_type':'gpt_neox','hidden_size':6144,"
     "'intermediate_size':24576,'num_hidden_layers':44,'num_attention_heads':64,"
     "'vocab_size':50432,'max_position_embeddings':2048,'tie_word_embeddings':false}"},
    {"phi-2", 2779683840,
     "{'architectures':['PhiForCausalLM'],'model_type':'phi','hidden_size':2560,"
     "'intermediate_size':10240,'num_hidden_layers':32,'num_attention_heads':32,"
     "'vocab_size':51200,'tie_word_embeddings':false}"},
    {"falcon-7b", 6921720704,
     "{'architectures':['FalconForCausalLM'],'model_type':'falcon','hidden_size':4544,"
     "'num_hidden_layers':32,'num_attention_heads':71,'multi_query':true,'parallel_attn':true,"
     "'new_decoder_architecture':false,'bias':false,'vocab_size':65024}"},
    {"Llama-2-7b", 6738415616,
     "{'architectures':['LlamaForCausalLM'],'model_type':'llama','hidden_size':4096,"
     "'intermediate_size':11008,'num_hidden_layers':32,'num_attention_heads':32,"
     "'num_key_value_heads':32,'vocab_size':32000,'tie_word_embeddings':false}"},
    {"Llama-2-70b", 68976648192,
     "{'architectures':['LlamaForCausalLM'],'model_type':'llama','hidden_size':8192,"
     "'intermediate_size':28672,'num_hidden_layers':80,'num_attention_heads':64,"
     "'num_key_value_heads':8,'vocab_size':32000,'tie_word_embeddings':false}"},
    {"Meta-Llama-3-8B", 8030261248,
     "{'architectures':['LlamaForCausalLM'],'model_type':'llama','hidden_size':4096,"
     "'intermediate_size':14336,'num_hidden_layers':32,'num_attention_heads':32,"
     "'num_key_value_heads':8,'vocab_size':128256,'tie_word_embeddings':false}"},
    {"Mistral-7B-v0.1", 7241732096,
     "{'architectures':['MistralForCausalLM'],'model_type':'mistral','hidden_size':4096,"
     "'intermediate_size':14336,'num_hidden_layers':32,'num_attention_heads':32,"
     "'num_key_value_heads':8,'vocab_size':32000,'tie_word_embeddings':false}"},
    {"Mixtral-8x7B-v0.1", 46702792704,
     "{'architectures':['MixtralForCausalLM'],'model_type':'mixtral','hidden_size':4096,"
     "'intermediate_size':14336,'num_hidden_layers':32,'num_attention_heads':32,"
     "'num_key_value_heads':8,'num_local_experts':8,'num_experts_per_tok':2,'vocab_size':32000,"
     "'tie_word_embeddings':false}"},
    {"Qwen2.5-7B", 7615616512,
     "{'architectures':['Qwen2ForCausalLM'],'model_type':'qwen2','hidden_size':3584,"
     "'intermediate_size':18944,'num_hidden_layers':28,'num_attention_heads':28,"
     "'num_key_value_heads':4,'vocab_size':152064,'tie_word_embeddings':false}"},
    {"Qwen2.5-0.5B", 494032768,
     "{'architectures':['Qwen2ForCausalLM'],'model_type':'qwen2','hidden_size':896,"
     "'intermediate_size':4864,'num_hidden_layers':24,'num_attention_heads':14,"
     "'num_key_value_heads':2,'vocab_size':151936,'tie_word_embeddings':true}"},
    {"gemma-2b", 2506172416,
     "{'architectures':['GemmaForCausalLM'],'model_type':'gemma','hidden_size':2048,"
     "'intermediate_size':16384,'num_hidden_layers':18,'num_attention_heads':8,"
     "'num_key_value_heads':1,'head_dim':256,'vocab_size':256000}"},
    {"DeepSeek-V3, without its predictor of second tokens", 671026419200,
     "{'architectures':['DeepseekV3ForCausalLM'],'model_type':'deepseek_v3','hidden_size':7168,"
     "'intermediate_size':18432,'moe_intermediate_size':2048,'num_hidden_layers':61,"
     "'num_attention_heads':128,'num_key_value_heads':128,'n_routed_experts':256,"
     "'n_shared_experts':1,'first_k_dense_replace':3,'kv_lora_rank':512,'q_lora_rank':1536,"
     "'qk_nope_head_dim':128,'qk_rope_head_dim':64,'v_head_dim':128,'topk_method':'noaux_tc',"
     "'vocab_size':129280,'tie_word_embeddings':false}"},
    {"t5-small", 60506624,
     "{'architectures':['T5ForConditionalGeneration'],'model_type':'t5','d_model':512,"
     "'d_ff':2048,'d_kv':64,'num_heads':8,'num_layers':6,'num_decoder_layers':6,"
     "'is_encoder_decoder':true,'vocab_size':32128}"},
    {"flan-t5-base", 247577856,
     "{'architectures':['T5ForConditionalGeneration'],'model_type':'t5','d_model':768,"
     "'d_ff':2048,'d_kv':64,'num_heads':12,'num_layers':12,'num_decoder_layers':12,"
     "'feed_forward_proj':'gated-gelu','is_encoder_decoder':true,'vocab_size':32128,"
     "'tie_word_embeddings':false}"},
    {"bart-large", 406291456,
     "{'architectures':['BartForConditionalGeneration'],'model_type':'bart','d_model':1024,"
     "'encoder_layers':12,'decoder_layers':12,'num_hidden_layers':12,'encoder_ffn_dim':4096,"
     "'decoder_ffn_dim':4096,'encoder_attention_heads':16,'decoder_attention_heads':16,"
     "'max_position_embeddings':1024,'vocab_size':50265,'is_encoder_decoder':true}"},
    {"whisper-tiny", 37760640,
     "{'architectures':['WhisperForConditionalGeneration'],'model_type':'whisper','d_model':384,"
     "'encoder_layers':4,'decoder_layers':4,'num_hidden_layers':4,'encoder_ffn_dim':1536,"
     "'decoder_ffn_dim':1536,'encoder_attention_heads':6,'decoder_attention_heads':6,"
     "'num_mel_bins':80,'max_source_positions':1500,'max_target_positions':448,"
     "'vocab_size':51865,'is_encoder_decoder':true}"},
    {"wav2vec2-base", 94371712,
     "{'architectures':['Wav2Vec2Model'],'model_type':'wav2vec2','hidden_size':768,"
     "'intermediate_size':3072,'num_hidden_layers':12,'num_attention_heads':12,"
     "'conv_dim':[512,512,512,512,512,512,512],'conv_kernel':[10,3,3,3,3,2,2],'conv_bias':false,"
     "'feat_extract_norm':'group','num_conv_pos_embeddings':128,"
     "'num_conv_pos_embedding_groups':16}"},
    {"dinov2-base", 86580480,
     "{'architectures':['Dinov2Model'],'model_type':'dinov2','hidden_size':768,'mlp_ratio':4,"
     "'num_hidden_layers':12,'num_attention_heads':12,'image_size':518,'patch_size':14,"
     "'qkv_bias':true}"},
    {"clip-vit-base-patch32", 151277313,
     "{'architectures':['CLIPModel'],'model_type':'clip','projection_dim':512,"
     "'text_config':{'hidden_size':512,'intermediate_size':2048,'num_attention_heads':8,"
     "'num_hidden_layers':12,'vocab_size':49408,'max_position_embeddings':77},"
     "'vision_config':{'hidden_size':768,'intermediate_size':3072,'num_attention_heads':12,"
     "'num_hidden_layers':12,'image_size':224,'patch_size':32}}"},
    {"siglip-base-patch16-224, with little in its configuration", 203155970,
     "{'architectures':['SiglipModel'],'model_type':'siglip',"
     "'text_config':{'model_type':'siglip_text_model'},"
     "'vision_config':{'model_type':'siglip_vision_model'}}"},
    {"llava-1.5-7b, with little in its configuration", 7063427072,
     "{'architectures':['LlavaForConditionalGeneration'],'model_type':'llava',"
     "'text_config':{'model_type':'llama','vocab_size':32064},"
     "'vision_config':{'model_type':'clip_vision_model','hidden_size':1024,"
     "'intermediate_size':4096,'num_hidden_layers':24,'num_attention_heads':16,'image_size':336,"
     "'patch_size':14}}"},
};

/* A configuration, written with ' for ". */
static json_t *config_of(const char *text) {
    char *quoted = strdup(text);
    assert_non_null(quoted);
    for (char *at = quoted; *at; at++) {
        if (*at == '\'') *at = '"';
    }
    json_error_t error;
    json_t *config = json_loads(quoted, JSON_DECODE_INT_AS_REAL, &error);
    if (!config) fail_msg("%s: %s", error.text, quoted);
    free(quoted);
    return config;
}

static bool count(const char *text, struct rp_parameters *parameters) {
    json_t *config = config_of(text);
    bool is_known = rp_parameters_of_config(config, parameters);
    json_decref(config);
    return is_known;
}

static void well_known_models_are_counted_to_the_last_one(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct rp_parameters found = {0};
        if (!count(models[i].config, &found)) fail_msg("%s is not counted", models[i].name);
        if (found.count != models[i].parameters) {
            fail_msg("%s: %llu instead of %llu", models[i].name, (unsigned long long)found.count,
                     (unsigned long long)models[i].parameters);
        }
        assert_true(found.min <= found.count && found.count <= found.max);
        assert_true((double)found.max <= 1.1 * (double)found.count);
    }
}

static void an_image_classifier_counts_its_labels(void **state) {
    (void)state;
    static const char three[] =
        "{'architectures':['ViTForImageClassification'],'model_type':'vit','hidden_size':768,"
        "'intermediate_size':3072,'num_hidden_layers':12,'num_attention_heads':12,"
        "'image_size':224,'patch_size':16,'id2label':{'0':'a','1':'b','2':'c'}}";
    struct rp_parameters found = {0};
    assert_true(count(three, &found));
    /* 86,567,656 with a thousand labels of 769 figures each. */
    assert_int_equal(found.count, 86567656 - 997 * 769);
}

/* What a type outside of the table may be: its range holds the true figure of such models. */
static void an_unknown_type_has_a_wide_range(void **state) {
    (void)state;
    struct rp_parameters found = {0};
    assert_true(count("{'model_type':'nobody','hidden_size':4096,'intermediate_size':11008,"
                      "'num_hidden_layers':32,'num_attention_heads':32,'vocab_size':32000,"
                      "'hidden_act':'silu'}",
                      &found));
    assert_true(found.min <= 6738415616 && 6738415616 <= found.max);
    assert_true(found.max > found.min + found.min / 4);
    assert_true(count("{'hidden_size':768,'num_hidden_layers':12,'num_attention_heads':12,"
                      "'vocab_size':50257}",
                      &found));
    assert_true(found.min <= 124439808 && 124439808 <= found.max);
}

static void what_says_too_little_or_is_no_transformer_is_not_counted(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{'model_type':'bert'}",
        "{'model_type':'gpt2','n_embd':768,'n_layer':12}",
        "{'model_type':'bert','hidden_size':-768,'num_hidden_layers':12,'num_attention_heads':12}",
        "{'model_type':'bert','hidden_size':'768','num_hidden_layers':12,'num_attention_heads':12}",
        "{'hidden_size':768.5,'num_hidden_layers':12,'num_attention_heads':12}",
        /* Mixed with layers that keep a state. */
        "{'model_type':'jamba','hidden_size':4096,'num_hidden_layers':32,'num_attention_heads':32,"
        "'mamba_d_state':16}",
        /* One part of two says nothing. */
        "{'text_config':{'model_type':'nobody'},'vision_config':{'model_type':'clip_vision_model'}"
        "}",
        /* More than 2^53. */
        "{'model_type':'llama','hidden_size':4000000000,'intermediate_size':4000000000,"
        "'num_hidden_layers':4000000000,'num_attention_heads':1,'vocab_size':4000000000}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rp_parameters found = {7, 7, 7};
        if (count(texts[i], &found)) {
            fail_msg("%s: %llu parameters", texts[i], (unsigned long long)found.count);
        }
        assert_int_equal(found.count, 7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_known_models_are_counted_to_the_last_one),
        cmocka_unit_test(an_image_classifier_counts_its_labels),
        cmocka_unit_test(an_unknown_type_has_a_wide_range),
        cmocka_unit_test(what_says_too_little_or_is_no_transformer_is_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
