/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A safetensors file is
 *
 *     8 bytes   length of the table, little-endian
 *     table     JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
 *     data      the tensors, one behind the other: their ranges cover it without gap or overlap
 *
 * Only the table is read. It is checked as strictly as the format is defined, so that the figures
 * are exact to the byte or refused.
 */
#include "model/safetensors.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/index.h"
#include "model/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

/* Types of elements. Different floats of 8 bits are one precision to whoever needs room. */
static const struct dtype {
    const char *name;
    const char *type; /* as in the facts */
    uint32_t bits;
    bool is_word; /* whole numbers, in which quantised weights may be packed */
} dtypes[] = {
    {"F64", "fp64", 64, false},        {"F32", "fp32", 32, false},
    {"F16", "fp16", 16, false},        {"BF16", "bf16", 16, false},
    {"F8_E4M3", "fp8", 8, false},      {"F8_E5M2", "fp8", 8, false},
    {"F8_E4M3FNUZ", "fp8", 8, false},  {"F8_E5M2FNUZ", "fp8", 8, false},
    {"F8_E8M0", "fp8_e8m0", 8, false}, {"F6_E2M3", "fp6", 6, false},
    {"F6_E3M2", "fp6", 6, false},      {"F4", "fp4", 4, false},
    {"I64", "int64", 64, true},        {"I32", "int32", 32, true},
    {"I16", "int16", 16, true},        {"I8", "int8", 8, true},
    {"U64", "uint64", 64, true},       {"U32", "uint32", 32, true},
    {"U16", "uint16", 16, true},       {"U8", "uint8", 8, true},
    {"BOOL", "bool", 8, false},        {"C64", "complex64", 64, false},
};

/* What tensors of quantised checkpoints hold, by the ends of their names. */
static const struct packing {
    const char *scheme;
    const char *ending;
    bool is_packed; /* several weights in each word; otherwise it holds no weights but scales */
} packings[] = {
    {"gptq", ".qweight", true},
    {"gptq", ".qzeros", false},
    {"gptq", ".scales", false},
    {"gptq", ".g_idx", false},
    {"awq", ".qweight", true},
    {"awq", ".qzeros", false},
    {"awq", ".scales", false},
    {"bitsandbytes", ".weight", true},
    {"bitsandbytes", ".absmax", false},
    {"bitsandbytes", ".quant_map", false},
    {"bitsandbytes", ".nested_absmax", false},
    {"bitsandbytes", ".nested_quant_map", false},
    {"bitsandbytes", ".quant_state.bitsandbytes__nf4", false},
    {"bitsandbytes", ".quant_state.bitsandbytes__fp4", false},
    {"bitsandbytes", ".SCB", false},
    {"bitsandbytes", ".weight_format", false},
    {"compressed-tensors", ".weight_packed", true},
    {"compressed-tensors", ".weight_scale", false},
    {"compressed-tensors", ".weight_zero_point", false},
    {"compressed-tensors", ".weight_shape", false},
    {"compressed-tensors", ".weight_g_idx", false},
    {"compressed-tensors", ".input_scale", false},
    {"mxfp4", "_blocks", true},
    {"mxfp4", "_scales", false},
    {"fp8", ".weight_scale_inv", false},
    {"fp8", ".weight_scale", false},
    {"fp8", ".input_scale", false},
};

/* A tensor's place in the data. */
struct extent {
    uint64_t begin;
    uint64_t end;
    const char *name;
};

/* A table while it is read. */
struct table {
    const struct rp_source *source;
    json_t *root;
    uint64_t data_bytes;
    uint32_t packed_bits;  /* of a quantised weight; 0: not packed */
    uint64_t weight_count; /* elements, unpacked                   */
    rp_model_facts *facts;
    rp_error *err;
};

/* "int4" and "fp4" have 4 bits; 0 for what has no such name. */
static uint32_t bits_of_precision(const char *precision) {
    static const char *const kinds[] = {"int", "fp"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t length = strlen(kinds[i]);
        if (strncmp(precision, kinds[i], length) != 0) continue;
        char digit = precision[length];
        if (digit >= '1' && digit <= '8' && precision[length + 1] == '\0') {
            return (uint32_t)(digit - '0');
        }
    }
    return 0;
}

static const struct dtype *find_dtype(const char *name) {
    for (size_t i = 0; name && i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    }
    return NULL;
}

static const struct packing *find_packing(const struct table *table, const char *name) {
    for (size_t i = 0; i < sizeof packings / sizeof packings[0]; i++) {
        if (strcmp(packings[i].scheme, table->facts->quantization) == 0 &&
            rp_path_ends_with(name, packings[i].ending)) {
            return &packings[i];
        }
    }
    return NULL;
}

/* How many weights a tensor holds. */
static uint64_t count_weights(const struct table *table, const char *name,
                              const struct dtype *dtype, uint64_t elements) {
    const struct packing *packing = find_packing(table, name);
    if (!packing) return elements;
    if (!packing->is_packed) return 0;
    bool is_packed = dtype->is_word && table->packed_bits > 0 && dtype->bits > table->packed_bits;
    /* Three bits do not divide 32, but rows of words hold whole weights. Below 2^59 elements. */
    return is_packed ? elements * dtype->bits / table->packed_bits : elements;
}

/* The element of an array as a whole number of 0 or more. */
static bool get_whole(const json_t *array, size_t index, uint64_t *number) {
    const json_t *value = json_array_get(array, index);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

RP_PRINTF(3, 4)
static rp_status refuse(const struct table *table, const char *tensor, const char *format, ...) {
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rp_fail(table->err, RP_ERR_DATA, "'%s': tensor '%.80s': %s", table->source->name, tensor,
                   what);
}

static rp_status count_elements(const struct table *table, const char *name, const json_t *shape,
                                uint64_t *elements) {
    if (!json_is_array(shape)) return refuse(table, name, "has no 'shape'");
    *elements = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        uint64_t length;
        if (!get_whole(shape, i, &length)) {
            return refuse(table, name, "shape[%zu] is no whole number of 0 or more", i);
        }
        if (__builtin_mul_overflow(*elements, length, elements)) {
            return refuse(table, name, "its shape has more than 2^64 elements");
        }
    }
    return RP_OK;
}

static rp_status read_extent(const struct table *table, const char *name, const json_t *tensor,
                             struct extent *extent) {
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    *extent = (struct extent){.name = name};
    if (json_array_size(offsets) != 2 || !get_whole(offsets, 0, &extent->begin) ||
        !get_whole(offsets, 1, &extent->end)) {
        return refuse(table, name, "'data_offsets' are not two whole numbers of 0 or more");
    }
    if (extent->begin > extent->end || extent->end > table->data_bytes) {
        return refuse(table, name,
                      "bytes %" PRIu64 " to %" PRIu64 " are not among the %" PRIu64 " of the data",
                      extent->begin, extent->end, table->data_bytes);
    }
    return RP_OK;
}

static rp_status read_tensor(struct table *table, const char *name, const json_t *tensor,
                             struct extent *extent) {
    const char *type = rp_json_text(tensor, "dtype");
    const struct dtype *dtype = find_dtype(type);
    if (!dtype) {
        return refuse(table, name, "its type '%.24s' is not known here", type ? type : "");
    }
    uint64_t elements = 0;
    rp_status status = count_elements(table, name, json_object_get(tensor, "shape"), &elements);
    if (status == RP_OK) status = read_extent(table, name, tensor, extent);
    if (status != RP_OK) return status;
    uint64_t bits;
    uint64_t bytes = extent->end - extent->begin;
    if (__builtin_mul_overflow(elements, (uint64_t)dtype->bits, &bits) || bits % 8 != 0 ||
        bits / 8 != bytes) {
        return refuse(table, name,
                      "%" PRIu64 " elements of type %s do not fill bytes %" PRIu64 " to %" PRIu64,
                      elements, dtype->name, extent->begin, extent->end);
    }
    table->weight_count += count_weights(table, name, dtype, elements);
    return rp_facts_add_tensor(table->facts, dtype->type, elements, bytes, table->source,
                               table->err);
}

static rp_status check_metadata(const struct table *table, json_t *metadata) {
    const char *key;
    json_t *value;
    bool is_good = json_is_object(metadata);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) is_good = false;
    }
    if (is_good) return RP_OK;
    return rp_fail(table->err, RP_ERR_DATA, "'%s': '__metadata__' is not an object of texts",
                   table->source->name);
}

static int by_place(const void *left, const void *right) {
    const struct extent *a = left;
    const struct extent *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

/* The tensors cover the data: no gap, no byte that two of them share. */
static rp_status check_extents(const struct table *table, struct extent *extents, size_t count) {
    uint64_t at = 0;
    if (count > 0) qsort(extents, count, sizeof *extents, by_place);
    for (size_t i = 0; i < count; i++) {
        if (extents[i].begin != at) {
            return refuse(table, extents[i].name,
                          "begins at byte %" PRIu64 " of the data, the one before ends at %" PRIu64,
                          extents[i].begin, at);
        }
        at = extents[i].end;
    }
    if (at == table->data_bytes) return RP_OK;
    return rp_fail(table->err, RP_ERR_DATA,
                   "'%s': the tensors end at byte %" PRIu64
                   " of the data, the file at byte %" PRIu64,
                   table->source->name, at, table->data_bytes);
}

static rp_status read_tensors(struct table *table) {
    size_t count = json_object_size(table->root);
    struct extent *extents = rp_alloc_array(count, sizeof *extents);
    if (!extents) {
        return rp_fail(table->err, RP_ERR_MEMORY, "no memory for the %zu tensors of '%s'", count,
                       table->source->name);
    }
    rp_status status = RP_OK;
    size_t used = 0;
    const char *name;
    json_t *value;
    json_object_foreach(table->root, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(table, value);
        } else {
            status = read_tensor(table, name, value, &extents[used++]);
        }
        if (status != RP_OK) break;
    }
    if (status == RP_OK) status = check_extents(table, extents, used);
    rp_free(extents);
    return status;
}

/* The table of a file, parsed; table->root is the caller's. */
static rp_status open_table(struct table *table) {
    const struct rp_source *source = table->source;
    unsigned char raw[LENGTH_BYTES];
    uint64_t length = 0;
    rp_status status =
        rp_source_read(source, 0, raw, sizeof raw, "the length of the table", table->err);
    if (status != RP_OK) return status;
    for (size_t i = LENGTH_BYTES; i > 0; i--) {
        length = length << 8 | raw[i - 1];
    }
    if (length > source->size - LENGTH_BYTES) {
        status = rp_fail(table->err, RP_ERR_DATA,
                         "'%s': its table of tensors has %" PRIu64 " bytes, the file has %" PRIu64,
                         source->name, length, source->size);
        rp_hint(table->err, "the file is cut, or it is no safetensors file");
        return status;
    }
    if (length > RP_LIMIT_TENSOR_TABLE_BYTES) {
        return rp_fail(table->err, RP_ERR_LIMIT,
                       "'%s': its table of tensors has %" PRIu64 " bytes, at most %d are read",
                       source->name, length, RP_LIMIT_TENSOR_TABLE_BYTES);
    }
    table->data_bytes = source->size - LENGTH_BYTES - length;
    status = rp_json_read(source, LENGTH_BYTES, (size_t)length, RP_JSON_TABLE,
                          "the table of tensors", &table->root, table->err);
    if (status != RP_OK || json_is_object(table->root)) return status;
    return rp_fail(table->err, RP_ERR_DATA, "'%s': its table of tensors is no JSON object",
                   source->name);
}

/* Sums over what has been read so far; packed words are told as what is packed in them. */
static void finish(struct table *table, const rp_model_facts *before) {
    rp_model_facts *facts = table->facts;
    uint64_t weights = before->parameter_method == RP_FACTS_FILE ? before->parameter_count : 0;
    rp_facts_finish_tensors(facts);
    bool is_word = strcmp(facts->precision, "int32") == 0 || strcmp(facts->precision, "uint8") == 0;
    if (table->packed_bits > 0 && is_word) {
        memcpy(facts->precision, before->precision, sizeof facts->precision);
    }
    if (facts->parameter_method != RP_FACTS_FILE) return;
    facts->parameter_count = weights + table->weight_count;
    facts->parameter_count_min = facts->parameter_count;
    facts->parameter_count_max = facts->parameter_count;
}

/* `rows`: what the file must hold, by its index. */
static rp_status read_file(const struct rp_source *source, const struct rp_index_row *rows,
                           size_t row_count, rp_model_facts *facts, rp_error *err) {
    struct table table = {.source = source, .facts = facts, .err = err};
    rp_model_facts before = *facts;
    if (facts->quantization[0]) table.packed_bits = bits_of_precision(facts->precision);
    rp_status status = open_table(&table);
    if (status == RP_OK) status = read_tensors(&table);
    for (size_t i = 0; status == RP_OK && i < row_count; i++) {
        if (json_object_get(table.root, rows[i].tensor)) continue;
        status = refuse(&table, rows[i].tensor, "is not there, against what the index says");
    }
    json_decref(table.root);
    if (status != RP_OK) return status;
    finish(&table, &before);
    facts->format = "safetensors";
    return RP_OK;
}

rp_status rp_safetensors_read(const struct rp_source *source, rp_model_facts *facts,
                              rp_error *err) {
    return read_file(source, NULL, 0, facts, err);
}

rp_status rp_safetensors_read_index(const struct rp_source *source, rp_model_facts *facts,
                                    rp_error *err) {
    struct rp_index index;
    rp_status status = rp_index_read(source, &index, err);
    if (status != RP_OK) return status;
    uint64_t file_bytes = 0;
    uint32_t file_count = 0;
    for (size_t at = 0; status == RP_OK && at < index.row_count;) {
        struct rp_path path;
        struct rp_source file;
        size_t end = rp_index_file_end(&index, at);
        status = rp_index_open_file(&index, at, &path, &file, err);
        if (status != RP_OK) break;
        status = read_file(&file, &index.rows[at], end - at, facts, err);
        rp_source_close(&file);
        file_bytes += file.size; /* a file has less than 2^63 bytes, the tensors in them fewer */
        file_count++;
        at = end;
    }
    rp_index_fini(&index);
    if (status != RP_OK) return status;
    facts->file_bytes = file_bytes;
    facts->file_count = file_count;
    return RP_OK;
}
