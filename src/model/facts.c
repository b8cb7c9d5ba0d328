/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about a model: from its files first, its configuration next, its name last. */
#include "model/facts.h"

#include "base/status.h"
#include "base/text.h"
#include "model/config.h"
#include "model/folder.h"
#include "model/path.h"
#include "model/pytorch.h"
#include "model/safetensors.h"
#include "model/size.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const method_names[] = {"unknown", "name", "config", "file"};

const char *rp_facts_method_name(rp_facts_method method) {
    return method <= RP_FACTS_FILE ? method_names[method] : NULL;
}

void rp_facts_init(rp_model_facts *facts) {
    *facts = (rp_model_facts){
        .size = sizeof *facts,
        .parameter_count = RP_UNKNOWN_U64,
        .parameter_count_min = RP_UNKNOWN_U64,
        .parameter_count_max = RP_UNKNOWN_U64,
        .weights_bytes = RP_UNKNOWN_U64,
        .file_bytes = RP_UNKNOWN_U64,
        .file_count = RP_UNKNOWN_U32,
        .tensor_count = RP_UNKNOWN_U64,
        .layer_count = RP_UNKNOWN_U32,
        .hidden_size = RP_UNKNOWN_U32,
        .intermediate_size = RP_UNKNOWN_U32,
        .head_count = RP_UNKNOWN_U32,
        .kv_head_count = RP_UNKNOWN_U32,
        .head_size = RP_UNKNOWN_U32,
        .vocabulary_size = RP_UNKNOWN_U32,
        .context_length = RP_UNKNOWN_U32,
        .expert_count = RP_UNKNOWN_U32,
        .expert_used_count = RP_UNKNOWN_U32,
        .input_count = RP_UNKNOWN_U32,
        .output_count = RP_UNKNOWN_U32,
        .opset_version = RP_UNKNOWN_U32,
    };
    rp_classify_name("", &facts->classification);
}

void rp_facts_set_text(char *field, size_t field_bytes, const char *bytes, size_t length) {
    if (length >= field_bytes) length = field_bytes - 1;
    memcpy(field, bytes, length);
    field[length] = '\0';
    rp_text_make_printable(field);
}

rp_status rp_facts_add_tensor(rp_model_facts *facts, const char *type, uint64_t element_count,
                              uint64_t bytes, const struct rp_source *source, rp_error *err) {
    rp_stored *row = NULL;
    for (size_t i = 0; i < facts->stored_count && !row; i++) {
        if (strcmp(facts->stored[i].name, type) == 0) row = &facts->stored[i];
    }
    if (!row && facts->stored_count < RP_FACTS_STORED_MAX) {
        row = &facts->stored[facts->stored_count++];
        bool is_last = facts->stored_count == RP_FACTS_STORED_MAX;
        const char *name = is_last ? "other" : type;
        rp_facts_set_text(row->name, sizeof row->name, name, strlen(name));
    }
    if (!row) row = &facts->stored[RP_FACTS_STORED_MAX - 1];
    if (__builtin_add_overflow(row->element_count, element_count, &row->element_count) ||
        __builtin_add_overflow(row->bytes, bytes, &row->bytes)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': its tensors of type %s have more than 2^64 bytes",
                       source->name, type);
    }
    row->tensor_count++;
    return RP_OK;
}

static int more_bytes_first(const void *left, const void *right) {
    const rp_stored *a = left;
    const rp_stored *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return strcmp(a->name, b->name);
}

void rp_facts_finish_tensors(rp_model_facts *facts) {
    uint64_t tensors = 0;
    uint64_t elements = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < facts->stored_count; i++) {
        tensors += facts->stored[i].tensor_count;
        if (__builtin_add_overflow(elements, facts->stored[i].element_count, &elements) ||
            __builtin_add_overflow(bytes, facts->stored[i].bytes, &bytes)) {
            return; /* each type is possible, all together are not: the sums stay unknown */
        }
    }
    qsort(facts->stored, facts->stored_count, sizeof facts->stored[0], more_bytes_first);
    facts->tensor_count = tensors;
    facts->parameter_count = elements;
    facts->parameter_count_min = elements;
    facts->parameter_count_max = elements;
    facts->parameter_method = RP_FACTS_FILE;
    facts->weights_bytes = bytes;
    facts->weights_method = RP_FACTS_FILE;
    if (facts->stored_count == 0) return;
    memcpy(facts->precision, facts->stored[0].name, sizeof facts->precision);
}

void rp_model_facts_of_name(const char *name, const rp_model_hints *hints, rp_model_facts *facts) {
    rp_model_hints known = RP_MODEL_HINTS_INIT;
    if (hints) known = *hints;
    if (!known.name) known.name = name;
    rp_facts_init(facts);
    rp_classify(&known, &facts->classification);
    rp_size_of_name(known.name ? known.name : "", facts);
}

/* ---- files of weights ---- */

/* A row per format. The readers that take an index add up sizes themselves. */
static const struct format {
    const char *ending;
    const char *name;
    const char *magic; /* how such a file begins, where its ending says nothing; NULL: anyhow */
    size_t magic_at;
    rp_status (*read)(const struct rp_source *source, rp_model_facts *facts, rp_error *err);
} formats[] = {
    {".safetensors.index.json", "safetensors", NULL, 0, rp_safetensors_read_index},
    {".safetensors", "safetensors", "{\"", 8, rp_safetensors_read},
    {".gguf", "gguf", "GGUF", 0, rp_gguf_read},
    {".onnx", "onnx", NULL, 0, rp_onnx_read},
    {".xml", "openvino", "<?xml", 0, rp_openvino_read},
    {".bin.index.json", "pytorch", NULL, 0, rp_pytorch_read_index},
    {".bin", "pytorch", "PK\3\4", 0, rp_pytorch_read},
    {".pt", "pytorch", NULL, 0, rp_pytorch_read},
    {".pth", "pytorch", NULL, 0, rp_pytorch_read},
    {".ckpt", "pytorch", NULL, 0, rp_pytorch_read},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

static const struct format *find_format(const char *path) {
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (rp_path_ends_with(path, formats[i].ending)) return &formats[i];
    }
    return NULL;
}

static bool begins_with(const struct rp_source *source, uint64_t offset, const char *bytes) {
    char read[16];
    size_t length = strlen(bytes);
    return rp_source_read(source, offset, read, length, "the beginning", NULL) == RP_OK &&
           memcmp(read, bytes, length) == 0;
}

/* Hubs keep files by their hash: the format is in the first bytes then. */
static const struct format *recognise(const struct rp_source *source) {
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        const struct format *format = &formats[i];
        if (format->magic && begins_with(source, format->magic_at, format->magic)) return format;
    }
    return NULL;
}

bool rp_facts_can_read(const char *path) {
    return find_format(path) != NULL;
}

static rp_status refuse_format(const char *path, rp_error *err) {
    rp_status status =
        rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is no file of weights that is known here", path);
    rp_hint(err, "give a file of safetensors, GGUF, ONNX or OpenVINO (.xml), or the folder");
    return status;
}

static rp_status read_source(const struct rp_source *source, rp_model_facts *facts, rp_error *err) {
    const struct format *format = find_format(source->name);
    if (!format) format = recognise(source);
    if (!format) return refuse_format(source->name, err);
    /* What a checkout without its large files has in their place: a hundred bytes of text. */
    if (source->size < 1024 && begins_with(source, 0, "version https")) {
        rp_status status = rp_fail(err, RP_ERR_DATA,
                                   "'%s' stands for a file that was not fetched: it is a pointer "
                                   "of Git LFS",
                                   source->name);
        rp_hint(err, "'git lfs pull' in its folder fetches the weights");
        return status;
    }
    const rp_classification before = facts->classification;
    uint64_t bytes = facts->file_bytes == RP_UNKNOWN_U64 ? 0 : facts->file_bytes;
    uint32_t count = facts->file_count == RP_UNKNOWN_U32 ? 0 : facts->file_count;
    facts->file_bytes = RP_UNKNOWN_U64;
    facts->file_count = RP_UNKNOWN_U32;
    rp_status status = format->read(source, facts, err);
    if (status != RP_OK) return status;
    /* Of several files, the one that is surest tells the family. */
    bool is_told = strcmp(before.source, "name") != 0;
    if (is_told && before.confidence > facts->classification.confidence) {
        facts->classification = before;
    }
    facts->format = format->name;
    facts->file_bytes =
        bytes + (facts->file_bytes == RP_UNKNOWN_U64 ? source->size : facts->file_bytes);
    facts->file_count = count + (facts->file_count == RP_UNKNOWN_U32 ? 1 : facts->file_count);
    return RP_OK;
}

rp_status rp_facts_read_file(const char *path, rp_model_facts *facts, rp_error *err) {
    struct rp_source source;
    rp_status status = rp_source_open(path, &source, err);
    if (status != RP_OK) return status;
    status = read_source(&source, facts, err);
    rp_source_close(&source);
    return status;
}

/* ---- the name behind a path ---- */

/* Names that files of any model have. */
static bool is_any_name(const char *base) {
    static const char *const beginnings[] = {"model.",        "model-",
                                             "model_",        "pytorch_model",
                                             "adapter_model", "diffusion_pytorch",
                                             "consolidated",  "openvino_model",
                                             "encoder_model", "decoder_model",
                                             "onnx"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        if (strncmp(base, beginnings[i], strlen(beginnings[i])) == 0) return true;
    }
    return false;
}

/* "models--org--name" in a path stands for "org/name". */
static bool take_hub_name(const char *path, char *name, size_t name_bytes) {
    static const char prefix[] = "models--";
    const char *at = strstr(path, prefix);
    if (!at || (at != path && at[-1] != '/')) return false;
    at += strlen(prefix);
    snprintf(name, name_bytes, "%.*s", (int)strcspn(at, "/"), at);
    char *cut = strstr(name, "--");
    if (cut) {
        *cut = '/';
        memmove(cut + 1, cut + 2, strlen(cut + 2) + 1);
    }
    return name[0] != '\0';
}

/* What a path says of the model in it: the name of its folder, or of the file when it has one. */
static void name_of_path(const char *path, bool is_folder, char *name, size_t name_bytes) {
    char whole[PATH_MAX];
    struct rp_path named;
    snprintf(named.text, sizeof named.text, "%s", path);
    if (!is_folder && is_any_name(rp_path_base(path))) {
        bool is_here = !rp_path_beside(&named, path, "") || named.text[0] == '\0';
        if (is_here) snprintf(named.text, sizeof named.text, ".");
    }
    for (size_t end = strlen(named.text); end > 1 && named.text[end - 1] == '/'; end--) {
        named.text[end - 1] = '\0';
    }
    const char *base = rp_path_base(named.text);
    bool is_dots = strcmp(base, ".") == 0 || strcmp(base, "..") == 0;
    if (is_dots && realpath(named.text, whole)) {
        snprintf(named.text, sizeof named.text, "%s", whole);
    }
    if (take_hub_name(named.text, name, name_bytes)) return;
    snprintf(name, name_bytes, "%s", rp_path_base(named.text));
}

/* ---- all together ---- */

/*
 * What the files say is put above what the caller says; the name is what is left. The names of a
 * graph's inputs are habits, no more: they are weighed against the name by their confidence.
 */
static void classify(const struct rp_config *config, const rp_model_hints *hints, const char *name,
                     rp_model_facts *facts) {
    const rp_classification told = facts->classification; /* by a reader of weights */
    if (strcmp(told.source, "architecture") == 0) return;
    rp_model_hints known = RP_MODEL_HINTS_INIT;
    const char *tasks[1] = {config->task};
    char processor[RP_FACTS_TEXT_BYTES];
    if (hints) known = *hints;
    if (!known.name) known.name = config->base_model[0] ? config->base_model : name;
    bool is_classed = (facts->model_type[0] || facts->architecture[0]) && !config->is_pipeline;
    if (is_classed) {
        known.model_type = facts->model_type[0] ? facts->model_type : NULL;
        known.architecture = facts->architecture[0] ? facts->architecture : NULL;
    } else if (config->processor[0] && !known.model_type && !known.architecture) {
        const char *end = strstr(config->processor, "Processor");
        size_t length = end ? (size_t)(end - config->processor) : strlen(config->processor);
        snprintf(processor, sizeof processor, "%.*s", (int)length, config->processor);
        if (processor[0]) known.model_type = processor;
    }
    if (config->task && known.task_count == 0) {
        known.tasks = tasks;
        known.task_count = 1;
    }
    rp_classification *found = &facts->classification;
    rp_classify(&known, found);
    bool is_guess = strcmp(found->source, "name") == 0 && strcmp(told.source, "name") != 0;
    if (is_guess && told.confidence > found->confidence) *found = told;
}

/* What other files say of the family, beyond class, task and name. */
static void refine(const struct rp_config *config, rp_model_facts *facts) {
    rp_classification *found = &facts->classification;
    size_t used = strlen(found->evidence);
    if (config->is_sentence_encoder) {
        *found = (rp_classification){.family = RP_FAMILY_EMBEDDING,
                                     .subfamily = RP_SUBFAMILY_SENTENCE_TRANSFORMER,
                                     .confidence = 0.99,
                                     .source = "files"};
        snprintf(found->evidence, sizeof found->evidence,
                 "modules.json lists the modules of a sentence encoder");
    } else if (config->has_chat_template && found->subfamily == RP_SUBFAMILY_CAUSAL_LM) {
        found->subfamily = RP_SUBFAMILY_CHAT_MODEL;
        snprintf(found->evidence + used, sizeof found->evidence - used, "; it has a chat template");
    }
    used = strlen(found->evidence);
    if (config->base_model[0]) {
        snprintf(found->evidence + used, sizeof found->evidence - used, "; an adapter of '%.64s'",
                 config->base_model);
    }
    const char *task = rp_subfamily_task(found->subfamily);
    if (task && !facts->task[0])
        rp_facts_set_text(facts->task, sizeof facts->task, task, strlen(task));
}

/* A folder without weights of which only the name says something: that must not look like more. */
static void tell_bare(rp_classification *found) {
    size_t used = strlen(found->evidence);
    if (strcmp(found->source, "name") != 0) return;
    snprintf(found->evidence + used, sizeof found->evidence - used,
             "; the folder has no files of a model");
}

/* What the user's database says of the model wins over all. */
static void take_recorded(const rp_model_hints *hints, const char *name, rp_classification *found) {
    if (!hints || !hints->database) return;
    rp_model_hints named = RP_MODEL_HINTS_INIT;
    rp_classification recorded;
    named.name = hints->name ? hints->name : name;
    named.database = hints->database;
    rp_classify(&named, &recorded);
    if (strcmp(recorded.source, "database") == 0) *found = recorded;
}

/* What no file tells, the name may: "7b", "-int4". */
static void add_from_name(const char *name, rp_model_facts *facts) {
    rp_model_facts by_name;
    rp_model_facts_of_name(name, NULL, &by_name);
    if (facts->parameter_method == RP_FACTS_UNKNOWN) {
        facts->parameter_count = by_name.parameter_count;
        facts->parameter_count_min = by_name.parameter_count_min;
        facts->parameter_count_max = by_name.parameter_count_max;
        facts->parameter_method = by_name.parameter_method;
    }
    if (facts->precision[0]) return;
    memcpy(facts->precision, by_name.precision, sizeof facts->precision);
    if (facts->quantization[0]) return;
    memcpy(facts->quantization, by_name.quantization, sizeof facts->quantization);
}

/* Whether a text can only mean something on the disk. */
static bool looks_like_path(const char *model) {
    static const char *const beginnings[] = {"/", "./", "../"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        if (strncmp(model, beginnings[i], strlen(beginnings[i])) == 0) return true;
    }
    bool is_dots = strcmp(model, ".") == 0 || strcmp(model, "..") == 0;
    return is_dots || model[strlen(model) - 1] == '/' || find_format(model) != NULL;
}

static rp_status read_path(const char *path, bool is_folder, rp_model_facts *facts,
                           struct rp_config *config, rp_error *err) {
    if (is_folder) return rp_folder_read(path, facts, config, err);
    struct rp_path folder;
    if (!rp_path_beside(&folder, path, "")) {
        return rp_fail(err, RP_ERR_LIMIT, "the path is longer than %zu bytes: '%.80s...'",
                       sizeof folder.text - 1, path);
    }
    rp_status status = rp_config_read_folder(folder.text, facts, config, err);
    return status == RP_OK ? rp_facts_read_file(path, facts, err) : status;
}

rp_status rp_model_facts_read(const char *model, const rp_model_hints *hints, rp_model_facts *facts,
                              rp_error *err) {
    if (!model || !facts) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a model and a place for its facts are needed");
    }
    if (!model[0]) {
        rp_fail(err, RP_ERR_ARGUMENT, "the name of the model is empty");
        rp_hint(err, "give a name such as 'org/model', a folder or a file");
        return RP_ERR_ARGUMENT;
    }
    struct stat file;
    if (stat(model, &file) != 0) {
        if (!looks_like_path(model)) {
            rp_model_facts_of_name(model, hints, facts);
            return RP_OK;
        }
        rp_status status = rp_fail_errno(err, "cannot look at '%s'", model);
        if (status == RP_ERR_NOT_FOUND) {
            rp_hint(err, "give a folder or a file that is there, or a name such as 'org/model'");
        }
        return status;
    }
    rp_model_facts read;
    struct rp_config config;
    char name[RP_LIMIT_NAME_BYTES];
    bool is_folder = S_ISDIR(file.st_mode);
    rp_facts_init(&read);
    rp_config_init(&config);
    rp_status status = read_path(model, is_folder, &read, &config, err);
    if (status != RP_OK) return status;
    name_of_path(model, is_folder, name, sizeof name);
    classify(&config, hints, name, &read);
    refine(&config, &read);
    if (is_folder && !read.format) tell_bare(&read.classification);
    take_recorded(hints, name, &read.classification);
    add_from_name(hints && hints->name ? hints->name : name, &read);
    *facts = read;
    return RP_OK;
}
