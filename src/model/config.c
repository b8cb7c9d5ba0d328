/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json is read for what the model is made of: its class, the shape of its largest part, how
 * its weights are quantised, and the parameters that follow from all that. Of its neighbours, one
 * or two keys count each.
 */
#include "model/config.h"

#include "base/limits.h"
#include "base/status.h"
#include "model/json.h"
#include "model/parameters.h"
#include "model/path.h"
#include "model/shape.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void rp_config_init(struct rp_config *config) {
    *config = (struct rp_config){0};
}

static void set_text(char *field, size_t field_bytes, const char *text) {
    if (text && text[0]) rp_facts_set_text(field, field_bytes, text, strlen(text));
}

/* ---- precision and quantisation ---- */

static const char *find_precision(const char *dtype) {
    static const struct {
        const char *dtype;
        const char *precision;
    } rows[] = {
        {"float32", "fp32"}, {"float", "fp32"},        {"float16", "fp16"},
        {"half", "fp16"},    {"bfloat16", "bf16"},     {"float64", "fp64"},
        {"int8", "int8"},    {"float8_e4m3fn", "fp8"}, {"float8_e5m2", "fp8"},
    };
    if (!dtype) return NULL;
    if (strncmp(dtype, "torch.", 6) == 0) dtype += 6;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].dtype, dtype) == 0) return rows[i].precision;
    }
    return NULL;
}

static void set_precision(rp_model_facts *facts, const json_t *config) {
    const char *precision = find_precision(rp_json_text(config, "dtype"));
    if (!precision) precision = find_precision(rp_json_text(config, "torch_dtype"));
    set_text(facts->precision, sizeof facts->precision, precision);
}

/* The width of a quantised weight, where a scheme has more than one. */
static uint32_t quantized_bits(const json_t *quantization) {
    static const char *const names[] = {"bits", "w_bit", "num_bits", "nbits", NULL};
    uint32_t bits = rp_json_count(quantization, names);
    if (bits != RP_UNKNOWN_U32) return bits;
    if (rp_json_truth(quantization, "load_in_4bit", false)) return 4;
    if (rp_json_truth(quantization, "load_in_8bit", false)) return 8;
    const char *group;
    json_t *value;
    json_t *groups = json_object_get(quantization, "config_groups");
    json_object_foreach(groups, group, value) {
        bits = rp_json_count(json_object_get(value, "weights"), names);
        if (bits != RP_UNKNOWN_U32) return bits;
    }
    return RP_UNKNOWN_U32;
}

static bool is_float_scheme(const json_t *quantization, const char *method) {
    const char *format = rp_json_text(quantization, "format");
    return strstr(method, "fp") != NULL || (format && strstr(format, "float") != NULL);
}

/* A description of a quantisation, wherever it stands. */
static void read_quantization(const json_t *quantization, const char *otherwise,
                              rp_model_facts *facts) {
    if (!json_is_object(quantization)) return;
    const char *method = rp_json_text(quantization, "quant_method");
    bool is_bitsandbytes = rp_json_truth(quantization, "load_in_4bit", false) ||
                           rp_json_truth(quantization, "load_in_8bit", false);
    if (!method) method = is_bitsandbytes ? "bitsandbytes" : otherwise;
    if (!method) return;
    set_text(facts->quantization, sizeof facts->quantization, method);
    uint32_t bits = quantized_bits(quantization);
    if (bits == RP_UNKNOWN_U32 && strstr(method, "fp4")) bits = 4;
    if (bits == RP_UNKNOWN_U32 && strstr(method, "fp8")) bits = 8;
    if (bits < 2 || bits > 8) return;
    snprintf(facts->precision, sizeof facts->precision, "%s%u",
             is_float_scheme(quantization, method) ? "fp" : "int", bits);
}

/* ---- shape ---- */

/* The part that the figures are of: text where there is some, what sees or hears otherwise. */
static const json_t *main_part(const json_t *config) {
    static const char *const keys[] = {"text_config",   "llm_config", "language_config", "decoder",
                                       "vision_config", "encoder",    "audio_config"};
    if (rp_json_count(config, RP_JSON_KEYS("hidden_size", "n_embd", "d_model", "dim")) !=
        RP_UNKNOWN_U32) {
        return config;
    }
    const json_t *thinker = json_object_get(config, "thinker_config");
    if (json_is_object(thinker)) config = thinker;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *part = json_object_get(config, keys[i]);
        if (json_is_object(part)) return part;
    }
    return config;
}

static void set_shape(rp_model_facts *facts, const json_t *part) {
    struct rp_shape shape;
    rp_shape_read(part, &shape);
    facts->hidden_size = shape.hidden_size;
    facts->intermediate_size = shape.intermediate_size;
    facts->layer_count = shape.layer_count;
    bool is_pair =
        shape.decoder_layer_count != RP_UNKNOWN_U32 && shape.layer_count != RP_UNKNOWN_U32;
    uint32_t both;
    if (is_pair && !__builtin_add_overflow(shape.layer_count, shape.decoder_layer_count, &both)) {
        facts->layer_count = both;
    }
    facts->head_count = shape.head_count;
    facts->kv_head_count = shape.kv_head_count;
    facts->head_size = shape.head_size;
    facts->vocabulary_size = shape.vocabulary_size;
    facts->context_length = shape.context_length;
    facts->expert_count = shape.expert_count;
    facts->expert_used_count = shape.expert_used_count;
}

/* ---- the files ---- */

static void read_config(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    config->is_found = true;
    set_text(facts->model_type, sizeof facts->model_type, rp_json_text(root, "model_type"));
    set_text(facts->architecture, sizeof facts->architecture,
             json_string_value(json_array_get(json_object_get(root, "architectures"), 0)));
    /* timm's configurations name no class of theirs, and all of its models look at images. */
    if (json_is_object(json_object_get(root, "pretrained_cfg"))) {
        config->task = "image-classification";
    }
    const json_t *part = main_part(root);
    set_shape(facts, part);
    set_precision(facts, part);
    set_precision(facts, root);
    read_quantization(json_object_get(part, "quantization_config"), NULL, facts);
    read_quantization(json_object_get(root, "quantization_config"), NULL, facts);
    struct rp_parameters parameters;
    if (!rp_parameters_of_config(root, &parameters)) return;
    facts->parameter_count = parameters.count;
    facts->parameter_count_min = parameters.min;
    facts->parameter_count_max = parameters.max;
    facts->parameter_method = RP_FACTS_CONFIG;
}

/* A pipeline of several models: "_class_name": "StableDiffusionPipeline". */
static void read_pipeline(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    const char *class_name = rp_json_text(root, "_class_name");
    if (!class_name) return;
    config->is_found = true;
    config->is_pipeline = true;
    set_text(facts->architecture, sizeof facts->architecture, class_name);
    config->task = strstr(class_name, "Audio")   ? "text-to-audio"
                   : strstr(class_name, "Video") ? "text-to-video"
                                                 : "text-to-image";
}

/* The list of modules of a sentence encoder. That of an encoder of images and texts is no such. */
static void read_modules(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    (void)facts;
    bool is_encoder = false;
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *module = json_array_get(root, i);
        const char *type = rp_json_text(module, "type");
        const char *path = rp_json_text(module, "path");
        if (!type || !strstr(type, "sentence_transformers")) continue;
        if (i == 0 && path && rp_path_stays_inside(path)) {
            set_text(config->module_folder, sizeof config->module_folder, path);
        }
        if (strstr(type, "CLIPModel")) return;
        is_encoder = true;
    }
    config->is_sentence_encoder = is_encoder;
}

static void read_tokenizer(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    const json_t *chat = json_object_get(root, "chat_template");
    if (json_is_string(chat) || json_is_array(chat)) config->has_chat_template = true;
    if (facts->context_length != RP_UNKNOWN_U32) return;
    /* Where there is no limit the tokenizer says 10^30, or a round number of millions. */
    uint32_t length = rp_json_count(root, RP_JSON_KEYS("model_max_length"));
    if (length <= 10000000) facts->context_length = length;
}

static void read_preprocessor(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    (void)facts;
    set_text(config->processor, sizeof config->processor, rp_json_text(root, "processor_class"));
    if (config->task) return;
    bool hears = json_object_get(root, "sampling_rate") != NULL;
    bool sees =
        json_object_get(root, "image_processor_type") || json_object_get(root, "image_mean");
    if (hears) config->task = "automatic-speech-recognition";
    if (sees && !hears) config->task = "image-classification";
}

/* Only models that write text have one. */
static void read_generation(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    (void)root;
    (void)facts;
    if (!config->task) config->task = "text-generation";
}

static void read_adapter(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    static const struct {
        const char *type;
        const char *task;
    } rows[] = {
        {"CAUSAL_LM", "text-generation"},       {"SEQ_2_SEQ_LM", "text2text-generation"},
        {"SEQ_CLS", "text-classification"},     {"TOKEN_CLS", "token-classification"},
        {"QUESTION_ANS", "question-answering"}, {"FEATURE_EXTRACTION", "sentence-similarity"},
    };
    (void)facts;
    set_text(config->base_model, sizeof config->base_model,
             rp_json_text(root, "base_model_name_or_path"));
    const char *type = rp_json_text(root, "task_type");
    for (size_t i = 0; type && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].type, type) == 0) config->task = rows[i].task;
    }
}

static void read_gptq(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    (void)config;
    if (!facts->quantization[0]) read_quantization(root, "gptq", facts);
}

static void read_awq(const json_t *root, rp_model_facts *facts, struct rp_config *config) {
    (void)config;
    if (!facts->quantization[0]) read_quantization(root, "awq", facts);
}

static void read_chat_template(const json_t *root, rp_model_facts *facts,
                               struct rp_config *config) {
    (void)facts;
    if (json_is_string(json_object_get(root, "chat_template"))) config->has_chat_template = true;
}

/* In the order in which they are read: what the first of them says stands. */
static const struct file {
    const char *name;
    bool is_required; /* damaged, it is an error */
    void (*read)(const json_t *root, rp_model_facts *facts, struct rp_config *config);
} files[] = {
    {"config.json", true, read_config},
    {"model_index.json", true, read_pipeline},
    {"modules.json", false, read_modules},
    {"adapter_config.json", false, read_adapter},
    {"tokenizer_config.json", false, read_tokenizer},
    {"chat_template.json", false, read_chat_template},
    {"preprocessor_config.json", false, read_preprocessor},
    {"generation_config.json", false, read_generation},
    {"quantize_config.json", false, read_gptq},
    {"quant_config.json", false, read_awq},
};

enum { FILE_COUNT = sizeof files / sizeof files[0] };

const char *rp_config_name(size_t index) {
    return index < FILE_COUNT ? files[index].name : NULL;
}

static rp_status read_file(const struct file *file, const struct rp_source *source,
                           rp_model_facts *facts, struct rp_config *config, rp_error *err) {
    json_t *root = NULL;
    rp_status status = rp_json_read_file(source, RP_LIMIT_CONFIG_BYTES, RP_JSON_CONFIG, &root, err);
    if (status != RP_OK) return status;
    if (file->is_required && !json_is_object(root)) {
        status =
            rp_fail(err, RP_ERR_DATA, "'%s': is a list, not an object of settings", source->name);
    } else {
        file->read(root, facts, config);
    }
    json_decref(root);
    return status;
}

rp_status rp_config_read(const char *name, const struct rp_source *source, rp_model_facts *facts,
                         struct rp_config *config, rp_error *err) {
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (strcmp(files[i].name, name) == 0) {
            return read_file(&files[i], source, facts, config, err);
        }
    }
    return rp_fail(err, RP_ERR_ARGUMENT, "'%s' is no file of settings that is read", name);
}

/* The one file of that name, if it is there. */
static rp_status read_in_folder(const char *folder, const struct file *file, rp_model_facts *facts,
                                struct rp_config *config, rp_error *err) {
    struct rp_path path;
    struct rp_source source;
    rp_error problem = RP_ERROR_INIT;
    if (!rp_path_join(&path, folder, file->name)) {
        return rp_fail(err, RP_ERR_LIMIT, "the path of '%s' is too long: '%.80s...'", file->name,
                       folder);
    }
    rp_status status = rp_source_open(path.text, &source, &problem);
    if (status == RP_ERR_NOT_FOUND) return RP_OK;
    if (status == RP_OK) {
        status = read_file(file, &source, facts, config, &problem);
        rp_source_close(&source);
    }
    if (status == RP_OK || (!file->is_required && status != RP_ERR_MEMORY)) return RP_OK;
    if (err) *err = problem;
    return status;
}

rp_status rp_config_read_folder(const char *folder, rp_model_facts *facts, struct rp_config *config,
                                rp_error *err) {
    struct rp_path chat;
    struct stat file;
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < FILE_COUNT; i++) {
        status = read_in_folder(folder, &files[i], facts, config, err);
    }
    /* Newer tokenizers keep it as a text of its own. */
    if (rp_path_join(&chat, folder, "chat_template.jinja") && stat(chat.text, &file) == 0) {
        config->has_chat_template = true;
    }
    return status;
}
