/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF: the files of llama.cpp. A header, key-value pairs, a table of tensors, the tensors.
 *
 * Versions 1 to 3, of either byte order. The first had 32 bits for every count. Figures of the
 * model stand under keys that begin with its architecture ("llama.block_count"). A model may be
 * split into files "NAME-00001-of-00003.gguf": all of them are read, whichever is given.
 */
#include "model/gguf.h"

#include "base/limits.h"
#include "base/status.h"
#include "model/cursor.h"
#include "model/facts.h"
#include "model/rows.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_BYTES = 128,
    NAME_BYTES = 96,
    STRING_BYTES_MAX = 65535, /* of keys and of names of tensors */
    DIMENSIONS_MAX = 4,
    ALIGNMENT_DEFAULT = 32,
    POOLING_RANK = 4,
};

/* clang-format off */
const struct rp_ggml_type rp_ggml_types[] = {
    { 0, "fp32",       1,   4}, { 1, "fp16",       1,   2}, { 2, "q4_0",      32,  18},
    { 3, "q4_1",      32,  20}, { 6, "q5_0",      32,  22}, { 7, "q5_1",      32,  24},
    { 8, "q8_0",      32,  34}, { 9, "q8_1",      32,  36}, {10, "q2_k",     256,  84},
    {11, "q3_k",     256, 110}, {12, "q4_k",     256, 144}, {13, "q5_k",     256, 176},
    {14, "q6_k",     256, 210}, {15, "q8_k",     256, 292}, {16, "iq2_xxs",  256,  66},
    {17, "iq2_xs",   256,  74}, {18, "iq3_xxs",  256,  98}, {19, "iq1_s",    256,  50},
    {20, "iq4_nl",    32,  18}, {21, "iq3_s",    256, 110}, {22, "iq2_s",    256,  82},
    {23, "iq4_xs",   256, 136}, {24, "int8",       1,   1}, {25, "int16",      1,   2},
    {26, "int32",      1,   4}, {27, "int64",      1,   8}, {28, "fp64",       1,   8},
    {29, "iq1_m",    256,  56}, {30, "bf16",       1,   2}, {31, "q4_0_4_4",  32,  18},
    {32, "q4_0_4_8",  32,  18}, {33, "q4_0_8_8",  32,  18}, {34, "tq1_0",    256,  54},
    {35, "tq2_0",    256,  66}, {36, "iq4_nl_4_4", 32, 18}, {37, "iq4_nl_4_8", 32, 18},
    {38, "iq4_nl_8_8", 32, 18}, {39, "mxfp4",     32,  17}, {40, "nvfp4",     64,  36},
    {41, "q1_0",     128,  18},
};
const size_t rp_ggml_type_count = sizeof rp_ggml_types / sizeof rp_ggml_types[0];

/* What general.file_type stands for; NULL: not quantised, or a number without a meaning. */
static const char *const schemes[] = {
    [2] = "Q4_0",      [3] = "Q4_1",       [4] = "Q4_1",      [7] = "Q8_0",      [8] = "Q5_0",
    [9] = "Q5_1",      [10] = "Q2_K",      [11] = "Q3_K_S",   [12] = "Q3_K_M",   [13] = "Q3_K_L",
    [14] = "Q4_K_S",   [15] = "Q4_K_M",    [16] = "Q5_K_S",   [17] = "Q5_K_M",   [18] = "Q6_K",
    [19] = "IQ2_XXS",  [20] = "IQ2_XS",    [21] = "Q2_K_S",   [22] = "IQ3_XS",   [23] = "IQ3_XXS",
    [24] = "IQ1_S",    [25] = "IQ4_NL",    [26] = "IQ3_S",    [27] = "IQ3_M",    [28] = "IQ2_S",
    [29] = "IQ2_M",    [30] = "IQ4_XS",    [31] = "IQ1_M",    [33] = "Q4_0_4_4", [34] = "Q4_0_4_8",
    [35] = "Q4_0_8_8", [36] = "TQ1_0",     [37] = "TQ2_0",    [38] = "MXFP4_MOE", [39] = "NVFP4",
    [40] = "Q1_0",
};
enum { SCHEME_GUESSED = 1024 }; /* a bit beside it: the writer went by the first tensor */

/* Figures under "ARCHITECTURE.", and where they go. */
static const struct figure {
    const char *key;
    size_t offset;
} figures[] = {
    {"block_count",             offsetof(rp_model_facts, layer_count)},
    {"embedding_length",        offsetof(rp_model_facts, hidden_size)},
    {"feed_forward_length",     offsetof(rp_model_facts, intermediate_size)},
    {"attention.head_count",    offsetof(rp_model_facts, head_count)},
    {"attention.head_count_kv", offsetof(rp_model_facts, kv_head_count)},
    {"attention.key_length",    offsetof(rp_model_facts, head_size)},
    {"context_length",          offsetof(rp_model_facts, context_length)},
    {"vocab_size",              offsetof(rp_model_facts, vocabulary_size)},
    {"expert_count",            offsetof(rp_model_facts, expert_count)},
    {"expert_used_count",       offsetof(rp_model_facts, expert_used_count)},
};

/* Architectures that only llama.cpp calls so: rp_classify() reads them as something else. */
static const struct {
    const char *name;
    rp_family family;
    rp_subfamily subfamily;
} exceptions[] = {
    {"t5encoder",        RP_FAMILY_EMBEDDING,  RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {"gemma-embedding",  RP_FAMILY_EMBEDDING,  RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {"llama-embed",      RP_FAMILY_EMBEDDING,  RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {"wavtokenizer-dec", RP_FAMILY_AUDIO,      RP_SUBFAMILY_TEXT_TO_SPEECH},
    {"paddleocr",        RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"deepseek2-ocr",    RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
};
/* clang-format on */

/* Types of metadata, and the bytes of those that have a fixed size. */
enum value_type { T_BOOL = 7, T_STRING = 8, T_ARRAY = 9, T_COUNT = 13 };
static const unsigned char value_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static bool is_integer(uint32_t type) {
    return type <= 5 || type == 10 || type == 11;
}

static bool is_signed(uint32_t type) {
    return type == 1 || type == 3 || type == 5 || type == 11;
}

/* Where a tensor lies, and where the table has its name. */
struct extent {
    uint64_t begin;
    uint64_t end;
    uint64_t name_at;
};

/* One file while it is read. */
struct gguf {
    struct rp_cursor cursor;
    rp_model_facts *facts; /* of all files */
    uint32_t version;
    uint64_t tensor_count;
    uint64_t pair_count;
    uint64_t pairs_at;
    uint64_t alignment;
    uint64_t file_type;
    uint64_t split_number; /* from 0 */
    uint64_t split_count;
    uint64_t split_tensor_count;
    uint64_t pooling_type;
    uint64_t token_count;
    bool has_figures_early; /* a figure came before the architecture was known */
    char name[NAME_BYTES];
    char architecture[RP_FACTS_TEXT_BYTES];
    struct rp_rows extents;
};

const struct rp_ggml_type *rp_ggml_type_find(uint32_t number) {
    for (size_t i = 0; i < rp_ggml_type_count; i++) {
        if (rp_ggml_types[i].number == number) return &rp_ggml_types[i];
    }
    return NULL;
}

/* ---- what metadata is made of ---- */

static rp_status read_count(struct gguf *gguf, uint64_t *count, rp_error *err) {
    return rp_cursor_read_number(&gguf->cursor, gguf->version == 1 ? 4 : 8, count, err);
}

/* A string of which as much is kept as there is room for, for people. */
static rp_status read_text(struct gguf *gguf, char *out, size_t out_bytes, rp_error *err) {
    char bytes[KEY_BYTES];
    uint64_t length;
    rp_status status = read_count(gguf, &length, err);
    if (status != RP_OK) return status;
    size_t kept = length < sizeof bytes ? (size_t)length : sizeof bytes;
    status = rp_cursor_read(&gguf->cursor, bytes, kept, err);
    if (status == RP_OK) status = rp_cursor_skip(&gguf->cursor, length - kept, err);
    if (status == RP_OK) rp_facts_set_text(out, out_bytes, bytes, kept);
    return status;
}

/* A key, or the name of a tensor. */
static rp_status read_name(struct gguf *gguf, char out[KEY_BYTES], rp_error *err) {
    uint64_t at = gguf->cursor.at;
    rp_status status = read_text(gguf, out, KEY_BYTES, err);
    if (status != RP_OK) return status;
    uint64_t length = gguf->cursor.at - at;
    if (length <= STRING_BYTES_MAX) return RP_OK;
    return rp_fail(err, RP_ERR_DATA,
                   "'%s': the name at byte %llu has %llu bytes, at most %d are allowed",
                   gguf->cursor.source->name, (unsigned long long)at, (unsigned long long)length,
                   STRING_BYTES_MAX);
}

static rp_status fail_type(struct gguf *gguf, uint32_t type, rp_error *err) {
    return rp_fail(err, RP_ERR_DATA, "'%s': a value of type %u before byte %llu, types are 0 to %d",
                   gguf->cursor.source->name, type, (unsigned long long)gguf->cursor.at,
                   T_COUNT - 1);
}

static rp_status read_array(struct gguf *gguf, uint32_t *type, uint64_t *count, rp_error *err) {
    rp_status status = rp_cursor_read_u32(&gguf->cursor, type, err);
    if (status == RP_OK && *type >= T_COUNT) return fail_type(gguf, *type, err);
    if (status == RP_OK) status = read_count(gguf, count, err);
    return status;
}

/* An element that takes no bytes does not exist: each turn of these loops moves on in the file. */
static rp_status skip_value(struct gguf *gguf, uint32_t type, int depth, rp_error *err) {
    uint64_t count;
    if (type >= T_COUNT) return fail_type(gguf, type, err);
    if (value_bytes[type] > 0) return rp_cursor_skip(&gguf->cursor, value_bytes[type], err);
    if (type == T_STRING) {
        rp_status status = read_count(gguf, &count, err);
        return status == RP_OK ? rp_cursor_skip(&gguf->cursor, count, err) : status;
    }
    if (depth >= RP_LIMIT_MODEL_DEPTH) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': arrays within arrays at byte %llu, at most %d",
                       gguf->cursor.source->name, (unsigned long long)gguf->cursor.at,
                       RP_LIMIT_MODEL_DEPTH);
    }
    rp_status status = read_array(gguf, &type, &count, err);
    if (status != RP_OK) return status;
    uint64_t bytes;
    if (value_bytes[type] > 0) {
        if (__builtin_mul_overflow(count, value_bytes[type], &bytes)) bytes = UINT64_MAX;
        return rp_cursor_skip(&gguf->cursor, bytes, err);
    }
    for (uint64_t i = 0; i < count && status == RP_OK; i++) {
        status = skip_value(gguf, type, depth + 1, err);
    }
    return status;
}

/* A whole number; what is negative or no number leaves `value` as it is. */
static rp_status read_integer(struct gguf *gguf, uint32_t type, uint64_t *value, rp_error *err) {
    if (type >= T_COUNT || !is_integer(type)) return skip_value(gguf, type, 0, err);
    uint64_t number;
    size_t bytes = value_bytes[type];
    rp_status status = rp_cursor_read_number(&gguf->cursor, bytes, &number, err);
    if (status != RP_OK) return status;
    bool is_negative = is_signed(type) && (number >> (8 * bytes - 1)) != 0;
    if (!is_negative) *value = number;
    return RP_OK;
}

/* A figure, or one for each layer, of which the largest counts. Zero stands for "has none". */
static rp_status read_figure(struct gguf *gguf, uint32_t type, uint32_t *figure, rp_error *err) {
    uint64_t count = 1;
    uint64_t most = 0;
    rp_status status = RP_OK;
    if (type == T_ARRAY) status = read_array(gguf, &type, &count, err);
    for (uint64_t i = 0; i < count && status == RP_OK; i++) {
        uint64_t one = 0;
        status = read_integer(gguf, type, &one, err);
        if (one > most) most = one;
    }
    if (status == RP_OK && most > 0 && most < RP_UNKNOWN_U32) *figure = (uint32_t)most;
    return status;
}

/* ---- metadata ---- */

/* What follows the architecture and a dot in a key; NULL. Parts of "clip" have one word more. */
static const char *after_architecture(const struct gguf *gguf, const char *key) {
    static const char *const parts[] = {"vision.", "audio."};
    const char *architecture = gguf->architecture;
    size_t length = strlen(architecture);
    if (length == 0 || strncmp(key, architecture, length) != 0 || key[length] != '.') return NULL;
    key += length + 1;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t part = strlen(parts[i]);
        if (strcmp(architecture, "clip") == 0 && strncmp(key, parts[i], part) == 0)
            return key + part;
    }
    return key;
}

static rp_status read_general(struct gguf *gguf, const char *key, uint32_t type, bool *is_known,
                              rp_error *err) {
    const struct {
        const char *key;
        uint64_t *value;
    } numbers[] = {
        {"general.alignment", &gguf->alignment},
        {"general.file_type", &gguf->file_type},
        {"split.no", &gguf->split_number},
        {"split.count", &gguf->split_count},
        {"split.tensors.count", &gguf->split_tensor_count},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0)
            return read_integer(gguf, type, numbers[i].value, err);
    }
    if (type == T_STRING && strcmp(key, "general.architecture") == 0) {
        return read_text(gguf, gguf->architecture, sizeof gguf->architecture, err);
    }
    if (type == T_STRING && strcmp(key, "general.name") == 0) {
        return read_text(gguf, gguf->name, sizeof gguf->name, err);
    }
    if (type == T_ARRAY && strcmp(key, "tokenizer.ggml.tokens") == 0) {
        uint32_t element;
        uint64_t at = gguf->cursor.at;
        rp_status status = read_array(gguf, &element, &gguf->token_count, err);
        if (status != RP_OK) return status;
        gguf->cursor.at = at;
    }
    *is_known = false;
    return RP_OK;
}

static rp_status read_pair(struct gguf *gguf, rp_error *err) {
    char key[KEY_BYTES];
    uint32_t type;
    rp_status status = read_name(gguf, key, err);
    if (status == RP_OK) status = rp_cursor_read_u32(&gguf->cursor, &type, err);
    if (status != RP_OK) return status;
    bool is_known = true;
    status = read_general(gguf, key, type, &is_known, err);
    if (status != RP_OK || is_known) return status;
    const char *rest = after_architecture(gguf, key);
    bool is_early = gguf->architecture[0] == '\0' && strncmp(key, "general.", 8) != 0;
    if (is_early) gguf->has_figures_early = true;
    for (size_t i = 0; rest && i < sizeof figures / sizeof figures[0]; i++) {
        if (strcmp(rest, figures[i].key) != 0) continue;
        char *facts = (char *)gguf->facts;
        return read_figure(gguf, type, (uint32_t *)(void *)(facts + figures[i].offset), err);
    }
    if (rest && strcmp(rest, "pooling_type") == 0) {
        return read_integer(gguf, type, &gguf->pooling_type, err);
    }
    return skip_value(gguf, type, 0, err);
}

static rp_status read_pairs(struct gguf *gguf, rp_error *err) {
    rp_status status = RP_OK;
    gguf->cursor.what = "the metadata";
    gguf->cursor.at = gguf->pairs_at;
    for (uint64_t i = 0; i < gguf->pair_count && status == RP_OK; i++) {
        status = read_pair(gguf, err);
    }
    return status;
}

static bool swap_if_foreign(uint32_t *version) {
    uint32_t swapped = __builtin_bswap32(*version);
    bool is_foreign = (*version & 0xFFFF) == 0 && swapped != 0;
    if (is_foreign) *version = swapped;
    return is_foreign;
}

/* Header and metadata. The figures go into the facts. */
static rp_status read_metadata(struct gguf *gguf, const struct rp_source *source, rp_error *err) {
    char magic[4];
    rp_cursor_init(&gguf->cursor, source, "the header");
    if (source->size > RP_LIMIT_MODEL_HEADER_BYTES) {
        gguf->cursor.end = RP_LIMIT_MODEL_HEADER_BYTES;
        gguf->cursor.is_limited = true;
    }
    rp_status status = rp_cursor_read(&gguf->cursor, magic, sizeof magic, err);
    if (status == RP_OK && memcmp(magic, "GGUF", 4) != 0) {
        return rp_fail(err, RP_ERR_DATA, "'%s' does not begin with 'GGUF'", source->name);
    }
    if (status == RP_OK) status = rp_cursor_read_u32(&gguf->cursor, &gguf->version, err);
    if (status != RP_OK) return status;
    gguf->cursor.is_big_endian = swap_if_foreign(&gguf->version);
    if (gguf->version < 1 || gguf->version > 3) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is GGUF version %u, known are 1 to 3",
                       source->name, gguf->version);
    }
    status = read_count(gguf, &gguf->tensor_count, err);
    if (status == RP_OK) status = read_count(gguf, &gguf->pair_count, err);
    if (status != RP_OK) return status;
    gguf->pairs_at = gguf->cursor.at;
    status = read_pairs(gguf, err);
    bool is_again = status == RP_OK && gguf->has_figures_early && gguf->architecture[0];
    if (is_again) status = read_pairs(gguf, err);
    if (status != RP_OK) return status;
    bool is_power = gguf->alignment > 0 && (gguf->alignment & (gguf->alignment - 1)) == 0;
    if (is_power && gguf->alignment <= RP_LIMIT_MODEL_HEADER_BYTES) return RP_OK;
    return rp_fail(err, RP_ERR_DATA, "'%s': an alignment of %llu, which is no power of two",
                   source->name, (unsigned long long)gguf->alignment);
}

/* ---- tensors ---- */

static rp_status read_dimensions(struct gguf *gguf, const char *name, uint64_t *first,
                                 uint64_t *elements, rp_error *err) {
    uint32_t count;
    rp_status status = rp_cursor_read_u32(&gguf->cursor, &count, err);
    if (status != RP_OK) return status;
    if (count > DIMENSIONS_MAX) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' has %u dimensions, at most %d are allowed",
                       gguf->cursor.source->name, name, count, DIMENSIONS_MAX);
    }
    *first = 1;
    *elements = 1;
    bool is_too_many = false;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length;
        status = read_count(gguf, &length, err);
        if (status != RP_OK) return status;
        if (i == 0) *first = length;
        is_too_many |= __builtin_mul_overflow(*elements, length, elements);
    }
    if (!is_too_many) return RP_OK;
    return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' has more than 2^64 elements",
                   gguf->cursor.source->name, name);
}

/* The extent of a tensor from the beginning of the data, whose place is not known yet. */
static rp_status add_extent(struct gguf *gguf, const char *name, uint64_t name_at, uint64_t offset,
                            uint64_t bytes, rp_error *err) {
    const char *file = gguf->cursor.source->name;
    if (offset % gguf->alignment != 0) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' lies at %llu, which is no multiple of %llu", file, name,
                       (unsigned long long)offset, (unsigned long long)gguf->alignment);
    }
    if (gguf->extents.count >= RP_LIMIT_MODEL_TENSORS) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' has %llu tensors, at most %d are read", file,
                       (unsigned long long)gguf->tensor_count, RP_LIMIT_MODEL_TENSORS);
    }
    struct extent *extent = rp_rows_add(&gguf->extents);
    if (!extent) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the %llu tensors of '%s'",
                       (unsigned long long)gguf->tensor_count, file);
    }
    extent->begin = offset;
    extent->name_at = name_at;
    if (__builtin_add_overflow(offset, bytes, &extent->end)) extent->end = UINT64_MAX;
    return RP_OK;
}

static rp_status read_tensor(struct gguf *gguf, rp_error *err) {
    char name[KEY_BYTES];
    uint64_t name_at = gguf->cursor.at;
    uint64_t first = 0;
    uint64_t elements = 0;
    uint64_t offset;
    uint32_t number;
    rp_status status = read_name(gguf, name, err);
    if (status == RP_OK) status = read_dimensions(gguf, name, &first, &elements, err);
    if (status == RP_OK) status = rp_cursor_read_u32(&gguf->cursor, &number, err);
    if (status == RP_OK) status = rp_cursor_read_u64(&gguf->cursor, &offset, err);
    if (status != RP_OK) return status;
    const char *file = gguf->cursor.source->name;
    const struct rp_ggml_type *type = rp_ggml_type_find(number);
    if (!type) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s': tensor '%s' is of type %u, known are to %u",
                       file, name, number, rp_ggml_types[rp_ggml_type_count - 1].number);
    }
    if (first % type->block_elements != 0) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' has rows of %llu elements, %s has blocks of %u", file,
                       name, (unsigned long long)first, type->name, type->block_elements);
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(elements / type->block_elements, type->block_bytes, &bytes)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' has more than 2^64 bytes", file, name);
    }
    status = add_extent(gguf, name, name_at, offset, bytes, err);
    if (status != RP_OK) return status;
    return rp_facts_add_tensor(gguf->facts, type->name, elements, bytes, gguf->cursor.source, err);
}

static int compare_extents(const void *left, const void *right) {
    const struct extent *a = left;
    const struct extent *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return (a->end > b->end) - (a->end < b->end);
}

static rp_status name_of(struct gguf *gguf, const struct extent *extent, char name[KEY_BYTES],
                         rp_error *err) {
    gguf->cursor.at = extent->name_at;
    return read_name(gguf, name, err);
}

static rp_status check_extents(struct gguf *gguf, uint64_t data_at, rp_error *err) {
    const struct rp_source *source = gguf->cursor.source;
    char name[KEY_BYTES];
    char other[KEY_BYTES];
    const struct extent *before = NULL;
    uint64_t data_bytes = data_at < source->size ? source->size - data_at : 0;
    rp_rows_sort(&gguf->extents, compare_extents);
    for (size_t i = 0; i < gguf->extents.count; i++) {
        const struct extent *extent = rp_rows_at(&gguf->extents, i);
        if (extent->begin == extent->end) continue;
        if (extent->end > data_bytes) {
            rp_status status = name_of(gguf, extent, name, err);
            if (status != RP_OK) return status;
            status = rp_fail(
                err, RP_ERR_DATA, "'%s': tensor '%s' needs bytes %llu to %llu, the file has %llu",
                source->name, name, (unsigned long long)(data_at + extent->begin),
                (unsigned long long)(data_at + extent->end), (unsigned long long)source->size);
            rp_hint(err, "was the whole file downloaded?");
            return status;
        }
        if (before && extent->begin < before->end) {
            rp_status status = name_of(gguf, before, other, err);
            if (status == RP_OK) status = name_of(gguf, extent, name, err);
            if (status != RP_OK) return status;
            return rp_fail(err, RP_ERR_DATA,
                           "'%s': tensors '%.60s' and '%.60s' overlap at byte %llu", source->name,
                           other, name, (unsigned long long)(data_at + extent->begin));
        }
        before = extent;
    }
    return RP_OK;
}

/* After the metadata. */
static rp_status read_tensors(struct gguf *gguf, rp_error *err) {
    rp_status status = RP_OK;
    gguf->cursor.what = "the table of tensors";
    for (uint64_t i = 0; i < gguf->tensor_count && status == RP_OK; i++) {
        status = read_tensor(gguf, err);
    }
    if (status != RP_OK) return status;
    uint64_t data_at = (gguf->cursor.at + gguf->alignment - 1) & ~(gguf->alignment - 1);
    return check_extents(gguf, data_at, err);
}

/* ---- files and facts ---- */

static void begin_file(struct gguf *gguf, rp_model_facts *facts) {
    *gguf = (struct gguf){
        .facts = facts,
        .alignment = ALIGNMENT_DEFAULT,
        .file_type = RP_UNKNOWN_U64,
        .split_count = 1,
        .split_tensor_count = RP_UNKNOWN_U64,
        .pooling_type = RP_UNKNOWN_U64,
        .token_count = RP_UNKNOWN_U64,
        .extents = RP_ROWS_INIT(struct extent),
    };
}

/* The first part has the metadata of all; which of them was given to us is another matter. */
static void take_metadata(struct gguf *gguf, const struct gguf *part) {
    if (part->file_type != RP_UNKNOWN_U64) gguf->file_type = part->file_type;
    if (part->pooling_type != RP_UNKNOWN_U64) gguf->pooling_type = part->pooling_type;
    if (part->token_count != RP_UNKNOWN_U64) gguf->token_count = part->token_count;
    if (part->name[0]) memcpy(gguf->name, part->name, sizeof gguf->name);
    if (!part->architecture[0]) return;
    memcpy(gguf->architecture, part->architecture, sizeof gguf->architecture);
}

static rp_status read_part(struct gguf *gguf, const struct rp_source *source, uint64_t number,
                           rp_error *err) {
    struct gguf part;
    begin_file(&part, gguf->facts);
    rp_status status = read_metadata(&part, source, err);
    if (status != RP_OK) return status;
    if (part.split_number != number || part.split_count != gguf->split_count) {
        return rp_fail(err, RP_ERR_DATA, "'%s' says it is part %llu of %llu, not %llu of %llu",
                       source->name, (unsigned long long)part.split_number + 1,
                       (unsigned long long)part.split_count, (unsigned long long)number + 1,
                       (unsigned long long)gguf->split_count);
    }
    status = read_tensors(&part, err);
    if (status == RP_OK) take_metadata(gguf, &part);
    rp_rows_fini(&part.extents);
    return status;
}

/* The other parts of a split model lie beside it. */
static rp_status read_other_parts(struct gguf *gguf, rp_error *err) {
    const struct rp_source *source = gguf->cursor.source;
    char path[RP_LIMIT_NAME_BYTES];
    char ending[64];
    if (gguf->split_count > RP_LIMIT_MODEL_FILES) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' is one of %llu parts, at most %d are read",
                       source->name, (unsigned long long)gguf->split_count, RP_LIMIT_MODEL_FILES);
    }
    snprintf(ending, sizeof ending, "-%05u-of-%05u.gguf", (unsigned)gguf->split_number + 1,
             (unsigned)gguf->split_count);
    size_t length = strlen(source->name);
    size_t stem = length > strlen(ending) ? length - strlen(ending) : 0;
    if (strcmp(source->name + stem, ending) != 0 || length >= sizeof path || source->fd < 0) {
        rp_status status = rp_fail(err, RP_ERR_DATA,
                                   "'%s' says it is part %llu of %llu: its name "
                                   "does not end in '%s'",
                                   source->name, (unsigned long long)gguf->split_number + 1,
                                   (unsigned long long)gguf->split_count, ending);
        rp_hint(err, "give the parts back the names that they had, all in one folder");
        return status;
    }
    for (uint64_t i = 0; i < gguf->split_count; i++) {
        struct rp_source other;
        if (i == gguf->split_number) continue;
        snprintf(path, sizeof path, "%.*s-%05u-of-%05u.gguf", (int)stem, source->name,
                 (unsigned)i + 1, (unsigned)gguf->split_count);
        rp_status status = rp_source_open(path, &other, err);
        if (status == RP_ERR_NOT_FOUND) {
            return rp_fail(err, RP_ERR_DATA, "'%s' is one of %llu parts: '%s' is missing",
                           source->name, (unsigned long long)gguf->split_count, path);
        }
        if (status != RP_OK) return status;
        status = read_part(gguf, &other, i, err);
        gguf->facts->file_bytes += other.size;
        rp_source_close(&other);
        if (status != RP_OK) return status;
    }
    return RP_OK;
}

static void set_quantization(struct gguf *gguf) {
    rp_model_facts *facts = gguf->facts;
    uint64_t number = gguf->file_type & ~(uint64_t)SCHEME_GUESSED;
    if (number < sizeof schemes / sizeof schemes[0] && schemes[number]) {
        rp_facts_set_text(facts->quantization, sizeof facts->quantization, schemes[number],
                          strlen(schemes[number]));
        return;
    }
    for (size_t i = 0; i < rp_ggml_type_count; i++) {
        const struct rp_ggml_type *type = &rp_ggml_types[i];
        if (type->block_elements == 1 || strcmp(type->name, facts->precision) != 0) continue;
        for (size_t j = 0; j <= strlen(type->name); j++) {
            facts->quantization[j] = (char)toupper((unsigned char)type->name[j]);
        }
    }
}

/* What llama.cpp takes for granted where the file says nothing. */
static void set_figures(struct gguf *gguf) {
    rp_model_facts *facts = gguf->facts;
    if (facts->vocabulary_size == RP_UNKNOWN_U32 && gguf->token_count < RP_UNKNOWN_U32) {
        facts->vocabulary_size = (uint32_t)gguf->token_count;
    }
    if (facts->head_count == RP_UNKNOWN_U32) return;
    if (facts->kv_head_count == RP_UNKNOWN_U32) facts->kv_head_count = facts->head_count;
    if (facts->head_size != RP_UNKNOWN_U32 || facts->hidden_size == RP_UNKNOWN_U32) return;
    facts->head_size = facts->hidden_size / facts->head_count;
}

static void answer(rp_classification *result, rp_family family, rp_subfamily subfamily,
                   double confidence, const char *what, const char *which) {
    *result = (rp_classification){.family = family,
                                  .subfamily = subfamily,
                                  .confidence = confidence,
                                  .source = "architecture"};
    snprintf(result->evidence, sizeof result->evidence, "%s '%.100s'", what, which);
}

static void classify(struct gguf *gguf) {
    rp_model_facts *facts = gguf->facts;
    rp_classification *result = &facts->classification;
    const char *architecture = gguf->architecture;
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    hints.name = gguf->name;
    if (architecture[0]) hints.model_type = architecture;
    rp_classify(&hints, result);
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
        if (strcmp(architecture, exceptions[i].name) != 0) continue;
        answer(result, exceptions[i].family, exceptions[i].subfamily, 0.96, "the architecture",
               architecture);
    }
    bool is_pooled = gguf->pooling_type > 0 && gguf->pooling_type <= POOLING_RANK;
    bool is_unknown = result->family == RP_FAMILY_UNKNOWN || strcmp(result->source, "name") == 0;
    if (is_pooled && (is_unknown || result->family == RP_FAMILY_TEXT_GENERATION)) {
        answer(result, RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, 0.96,
               "it pools its output; the architecture", architecture);
    } else if (is_unknown && architecture[0] && gguf->token_count != RP_UNKNOWN_U64 &&
               facts->context_length != RP_UNKNOWN_U32) {
        answer(result, RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM, 0.85,
               "a tokenizer, a context length and the architecture", architecture);
    }
}

static rp_status read_all(struct gguf *gguf, const struct rp_source *source, rp_error *err) {
    rp_model_facts *facts = gguf->facts;
    facts->format = "gguf";
    facts->file_bytes = source->size;
    rp_status status = read_metadata(gguf, source, err);
    if (status == RP_OK) status = read_tensors(gguf, err);
    if (status != RP_OK) return status;
    facts->file_count = gguf->split_count > 1 ? (uint32_t)gguf->split_count : 1;
    if (gguf->split_count > 1) status = read_other_parts(gguf, err);
    if (status != RP_OK) return status;
    rp_facts_finish_tensors(facts);
    if (gguf->split_count > 1 && gguf->split_tensor_count != RP_UNKNOWN_U64 &&
        gguf->split_tensor_count != facts->tensor_count) {
        return rp_fail(err, RP_ERR_DATA, "'%s': %llu tensors in all parts, they say there are %llu",
                       source->name, (unsigned long long)facts->tensor_count,
                       (unsigned long long)gguf->split_tensor_count);
    }
    /* A configuration beside the file has said it better: the class, not only its kind. */
    char *const texts[] = {facts->architecture, facts->model_type};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!texts[i][0]) memcpy(texts[i], gguf->architecture, sizeof gguf->architecture);
    }
    set_quantization(gguf);
    set_figures(gguf);
    classify(gguf);
    return RP_OK;
}

rp_status rp_gguf_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err) {
    rp_model_facts gathered = *facts;
    struct gguf gguf;
    begin_file(&gguf, &gathered);
    rp_status status = read_all(&gguf, source, err);
    rp_rows_fini(&gguf.extents);
    if (status == RP_OK) *facts = gathered;
    return status;
}
