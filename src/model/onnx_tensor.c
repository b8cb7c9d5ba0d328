/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors of ONNX models, inside or in files beside the model, of which the sizes are checked.
 *
 * Whole numbers of 64 bits, truth values and single numbers are shapes, masks and constants of
 * formulas: they have bytes, but are no parameters.
 */
#include "model/onnx.h"

#include "base/limits.h"
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { NUMBER_BYTES = 24 };

/* clang-format off */
const struct rp_onnx_type rp_onnx_types[] = {
    { NULL,         0 }, /*  0 undefined      */
    { "fp32",      32 }, /*  1 float          */
    { "uint8",      8 }, /*  2                */
    { "int8",       8 }, /*  3                */
    { "uint16",    16 }, /*  4                */
    { "int16",     16 }, /*  5                */
    { "int32",     32 }, /*  6                */
    { "int64",     64 }, /*  7                */
    { "string",     0 }, /*  8                */
    { "bool",       8 }, /*  9                */
    { "fp16",      16 }, /* 10                */
    { "fp64",      64 }, /* 11 double         */
    { "uint32",    32 }, /* 12                */
    { "uint64",    64 }, /* 13                */
    { "complex64", 64 }, /* 14                */
    { "complex128", 128 }, /* 15              */
    { "bf16",      16 }, /* 16                */
    { "fp8",        8 }, /* 17 float8e4m3fn   */
    { "fp8",        8 }, /* 18 float8e4m3fnuz */
    { "fp8",        8 }, /* 19 float8e5m2     */
    { "fp8",        8 }, /* 20 float8e5m2fnuz */
    { "uint4",      4 }, /* 21                */
    { "int4",       4 }, /* 22                */
    { "fp4",        4 }, /* 23 float4e2m1     */
    { "fp8",        8 }, /* 24 float8e8m0     */
    { "uint2",      2 }, /* 25                */
    { "int2",       2 }, /* 26                */
    { "fp6",        6 }, /* 27 float6e2m3     */
    { "fp6",        6 }, /* 28 float6e3m2     */
};
const size_t rp_onnx_type_count = sizeof rp_onnx_types / sizeof rp_onnx_types[0];
/* clang-format on */

enum { TYPE_INT64 = 7, TYPE_STRING = 8, TYPE_BOOL = 9, TYPE_UINT64 = 13 };

/* A tensor while it is read. */
struct tensor {
    char name[RP_ONNX_NAME_BYTES];
    uint64_t name_hash;
    uint64_t element_count;
    uint32_t dimension_count;
    uint64_t type;
    bool has_data;
    uint64_t raw_bytes;   /* RP_UNKNOWN_U64: no raw data                             */
    uint64_t typed_bytes; /* of fixed numbers; RP_UNKNOWN_U64 when they are varints  */
    uint64_t text_bytes;
    bool is_external;
    char location[RP_LIMIT_NAME_BYTES];
    uint64_t offset;
    uint64_t length; /* RP_UNKNOWN_U64: not said */
};

void *rp_onnx_add_row(struct rp_onnx *onnx, struct rp_rows *rows, const char *what,
                      rp_status *status, rp_error *err) {
    if (rows->count >= RP_LIMIT_MODEL_TENSORS) {
        *status = rp_fail(err, RP_ERR_LIMIT, "'%s' has more than %d %s", onnx->cursor.source->name,
                          RP_LIMIT_MODEL_TENSORS, what);
        return NULL;
    }
    void *row = rp_rows_add(rows);
    if (!row) {
        *status = rp_fail(err, RP_ERR_MEMORY, "no memory for the %s of '%s'", what,
                          onnx->cursor.source->name);
    }
    return row;
}

/* ---- external data ---- */

int rp_onnx_compare_hashes(const void *left, const void *right) {
    uint64_t a;
    uint64_t b;
    memcpy(&a, left, sizeof a); /* each row begins with its hash */
    memcpy(&b, right, sizeof b);
    return (a > b) - (a < b);
}

/* A location is relative and stays in the folder of the model. */
static bool leaves_folder(const char *location) {
    if (location[0] == '/' || location[0] == '\0') return true;
    for (const char *at = location; at; at = strchr(at, '/')) {
        if (*at == '/') at++;
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || at[2] == '\0')) return true;
    }
    return false;
}

static rp_status open_external(struct rp_onnx *onnx, const struct tensor *tensor, uint64_t *size,
                               rp_error *err) {
    const char *model = onnx->cursor.source->name;
    char path[2 * RP_LIMIT_NAME_BYTES];
    struct rp_source source;
    const char *slash = strrchr(model, '/');
    int folder = slash ? (int)(slash - model) + 1 : 0;
    int length = snprintf(path, sizeof path, "%.*s%s", folder, model, tensor->location);
    if (length < 0 || (size_t)length >= sizeof path) {
        return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' lies in a file with a name of %d bytes",
                       model, tensor->name, length);
    }
    rp_status status = rp_source_open(path, &source, err);
    if (status == RP_ERR_NOT_FOUND) {
        status = rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' lies in '%.100s', which is not there",
                         model, tensor->name, path);
        rp_hint(err, "files of external data belong into the folder of the model");
        return status;
    }
    if (status != RP_OK) return status;
    *size = source.size;
    rp_source_close(&source);
    return RP_OK;
}

/* The size of the file that a tensor lies in; each file is looked at once. */
static rp_status size_external(struct rp_onnx *onnx, const struct tensor *tensor,
                               struct rp_onnx_file *found, rp_error *err) {
    found->hash = XXH64(tensor->location, strlen(tensor->location), 0) | 1;
    size_t index = rp_rows_find(&onnx->files, found, rp_onnx_compare_hashes);
    if (index < onnx->files.count) {
        const struct rp_onnx_file *file = rp_rows_at(&onnx->files, index);
        if (file->hash == found->hash) {
            *found = *file;
            return RP_OK;
        }
    }
    if (onnx->files.count >= RP_LIMIT_MODEL_FILES) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' has its tensors in more than %d files",
                       onnx->cursor.source->name, RP_LIMIT_MODEL_FILES);
    }
    rp_status status = open_external(onnx, tensor, &found->size, err);
    if (status != RP_OK) return status;
    struct rp_onnx_file *file = rp_onnx_add_row(onnx, &onnx->files, "files", &status, err);
    if (!file) return status;
    struct rp_onnx_file *place = rp_rows_at(&onnx->files, index);
    memmove(place + 1, place, (onnx->files.count - 1 - index) * sizeof *place);
    *place = *found;
    onnx->external_bytes += found->size;
    return RP_OK;
}

static rp_status check_external(struct rp_onnx *onnx, const struct tensor *tensor, uint64_t bytes,
                                struct rp_onnx_tensor *kept, rp_error *err) {
    const char *model = onnx->cursor.source->name;
    if (leaves_folder(tensor->location)) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' lies in '%.100s', outside the folder of the model", model,
                       tensor->name, tensor->location);
    }
    if (tensor->length != RP_UNKNOWN_U64 && tensor->length != bytes) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' has %llu bytes in '%.100s', its shape makes %llu", model,
                       tensor->name, (unsigned long long)tensor->length, tensor->location,
                       (unsigned long long)bytes);
    }
    kept->offset = tensor->offset;
    if (onnx->cursor.source->fd < 0) return RP_OK; /* in memory: there is no folder to look in */
    struct rp_onnx_file file;
    rp_status status = size_external(onnx, tensor, &file, err);
    if (status != RP_OK) return status;
    kept->file_hash = file.hash;
    if (bytes <= file.size && tensor->offset <= file.size - bytes) return RP_OK;
    status =
        rp_fail(err, RP_ERR_DATA,
                "'%s': tensor '%s' needs %llu bytes from byte %llu of '%.100s', which has "
                "%llu",
                model, tensor->name, (unsigned long long)bytes, (unsigned long long)tensor->offset,
                tensor->location, (unsigned long long)file.size);
    rp_hint(err, "was the whole file downloaded?");
    return status;
}

/* A key and its value: where external data lie. */
struct entry {
    struct rp_field key;
    struct rp_field value;
    bool has_key;
    bool has_value;
};

static rp_status read_entry_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                  rp_error *err) {
    struct entry *entry = user;
    (void)onnx;
    (void)err;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    if (field->number == 1) {
        entry->key = *field;
        entry->has_key = true;
    } else if (field->number == 2) {
        entry->value = *field;
        entry->has_value = true;
    }
    return RP_OK;
}

static rp_status read_whole_number(struct rp_onnx *onnx, const struct rp_field *field,
                                   uint64_t *number, rp_error *err) {
    char text[NUMBER_BYTES];
    rp_status status = rp_onnx_read_text(onnx, field, text, sizeof text, err);
    if (status != RP_OK) return status;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 &&
                     strlen(text) == field->end - field->begin;
    if (!is_number) {
        rp_facts_set_text(text, sizeof text, text, strlen(text));
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': external data at '%s', which is no number (byte "
                       "%llu)",
                       onnx->cursor.source->name, text, (unsigned long long)field->begin);
    }
    *number = value;
    return RP_OK;
}

static rp_status read_external(struct rp_onnx *onnx, const struct rp_field *field,
                               struct tensor *tensor, rp_error *err) {
    struct entry entry = {.has_key = false};
    char key[NUMBER_BYTES];
    rp_status status =
        rp_onnx_read_message(onnx, field->begin, field->end, "the place of external data",
                             read_entry_field, &entry, err);
    if (status != RP_OK || !entry.has_key || !entry.has_value) return status;
    status = rp_onnx_read_text(onnx, &entry.key, key, sizeof key, err);
    if (status != RP_OK) return status;
    if (strcmp(key, "offset") == 0) {
        return read_whole_number(onnx, &entry.value, &tensor->offset, err);
    }
    if (strcmp(key, "length") == 0) {
        return read_whole_number(onnx, &entry.value, &tensor->length, err);
    }
    if (strcmp(key, "location") != 0) return RP_OK;
    status = rp_onnx_read_text(onnx, &entry.value, tensor->location, sizeof tensor->location, err);
    if (status != RP_OK) return status;
    if (strlen(tensor->location) == entry.value.end - entry.value.begin) return RP_OK;
    return rp_fail(err, RP_ERR_DATA, "'%s': the location at byte %llu is no name of a file",
                   onnx->cursor.source->name, (unsigned long long)entry.value.begin);
}

/* ---- tensors ---- */

static rp_status add_dimension(struct rp_onnx *onnx, struct tensor *tensor, uint64_t length,
                               rp_error *err) {
    const char *file = onnx->cursor.source->name;
    if (++tensor->dimension_count > RP_LIMIT_TENSOR_DIMENSIONS) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': tensor '%s' has more than %d dimensions", file,
                       tensor->name, RP_LIMIT_TENSOR_DIMENSIONS);
    }
    if (length > INT64_MAX) {
        return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' has a dimension of %lld", file,
                       tensor->name, (long long)length);
    }
    if (!__builtin_mul_overflow(tensor->element_count, length, &tensor->element_count)) {
        return RP_OK;
    }
    return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' has more than 2^64 elements", file,
                   tensor->name);
}

static rp_status read_dimensions(struct rp_onnx *onnx, const struct rp_field *field,
                                 struct tensor *tensor, rp_error *err) {
    if (field->wire == RP_WIRE_VARINT) return add_dimension(onnx, tensor, field->value, err);
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    uint64_t outer_end = onnx->cursor.end;
    rp_status status = RP_OK;
    onnx->cursor.at = field->begin;
    onnx->cursor.end = field->end;
    while (status == RP_OK && onnx->cursor.at < field->end) {
        uint64_t length;
        status = rp_onnx_read_varint(onnx, &length, err);
        if (status == RP_OK) status = add_dimension(onnx, tensor, length, err);
    }
    onnx->cursor.end = outer_end;
    return status;
}

static rp_status read_tensor_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                   rp_error *err) {
    struct tensor *tensor = user;
    uint64_t length = field->wire == RP_WIRE_BYTES ? field->end - field->begin : 0;
    switch (field->number) {
    case 1:
        return read_dimensions(onnx, field, tensor, err);
    case 2:
        if (field->wire == RP_WIRE_VARINT) tensor->type = field->value;
        return RP_OK;
    case 4:  /* float_data  */
    case 10: /* double_data */
        if (field->wire == RP_WIRE_VARINT) return RP_OK;
        tensor->has_data = true;
        if (tensor->typed_bytes == RP_UNKNOWN_U64) tensor->typed_bytes = 0;
        tensor->typed_bytes += field->wire == RP_WIRE_BYTES     ? length
                               : field->wire == RP_WIRE_FIXED64 ? 8
                                                                : 4;
        return RP_OK;
    case 5:  /* int32_data  */
    case 7:  /* int64_data  */
    case 11: /* uint64_data */
        if (field->wire == RP_WIRE_BYTES || field->wire == RP_WIRE_VARINT) tensor->has_data = true;
        return RP_OK;
    case 6: /* string_data */
        if (field->wire != RP_WIRE_BYTES) return RP_OK;
        tensor->has_data = true;
        tensor->text_bytes += length;
        return RP_OK;
    case 8: {
        if (field->wire != RP_WIRE_BYTES) return RP_OK;
        rp_status status = rp_onnx_read_shown(onnx, field, tensor->name, err);
        return status == RP_OK ? rp_onnx_read_hash(onnx, field, &tensor->name_hash, err) : status;
    }
    case 9: /* raw_data */
        if (field->wire != RP_WIRE_BYTES) return RP_OK;
        tensor->has_data = true;
        tensor->raw_bytes = length;
        return RP_OK;
    case 13:
        return field->wire == RP_WIRE_BYTES ? read_external(onnx, field, tensor, err) : RP_OK;
    case 14:
        if (field->wire == RP_WIRE_VARINT) tensor->is_external = field->value == 1;
        return RP_OK;
    default:
        return RP_OK;
    }
}

/* What the shape makes; bits are packed, the last byte may be half used. */
static bool count_bytes(const struct tensor *tensor, uint64_t *bytes) {
    uint64_t bits = rp_onnx_types[tensor->type].bits;
    *bytes = tensor->text_bytes;
    if (bits == 0) return true;
    if (bits >= 8) return !__builtin_mul_overflow(tensor->element_count, bits / 8, bytes);
    uint64_t eights = tensor->element_count / 8;
    uint64_t rest = tensor->element_count % 8;
    *bytes = eights * bits + (rest * bits + 7) / 8; /* bits < 8: no overflow */
    return true;
}

static rp_status check_tensor(struct rp_onnx *onnx, const struct tensor *tensor,
                              struct rp_onnx_tensor *kept, rp_error *err) {
    const char *file = onnx->cursor.source->name;
    if (tensor->type == 0) {
        return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' before byte %llu has no type", file,
                       tensor->name, (unsigned long long)onnx->cursor.at);
    }
    if (tensor->type >= rp_onnx_type_count) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "'%s': tensor '%s' is of type %llu, known are to "
                       "%zu",
                       file, tensor->name, (unsigned long long)tensor->type,
                       rp_onnx_type_count - 1);
    }
    const char *type = rp_onnx_types[tensor->type].name;
    uint64_t bytes;
    if (!count_bytes(tensor, &bytes)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%s' has more than 2^64 bytes", file,
                       tensor->name);
    }
    kept->name_hash = tensor->name_hash;
    kept->element_count = tensor->element_count;
    kept->bytes = bytes;
    kept->type = (uint32_t)tensor->type;
    kept->is_constant = tensor->element_count <= 1 || tensor->type == TYPE_INT64 ||
                        tensor->type == TYPE_UINT64 || tensor->type == TYPE_BOOL ||
                        tensor->type == TYPE_STRING;
    if (tensor->is_external) return check_external(onnx, tensor, bytes, kept, err);
    uint64_t stored = tensor->raw_bytes != RP_UNKNOWN_U64 ? tensor->raw_bytes : tensor->typed_bytes;
    bool is_wrong = stored != RP_UNKNOWN_U64 && stored != bytes && tensor->type != TYPE_STRING;
    if (is_wrong || (!tensor->has_data && tensor->element_count > 0)) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s': tensor '%s' before byte %llu has %llu bytes, %llu elements of %s "
                       "take %llu",
                       file, tensor->name, (unsigned long long)onnx->cursor.at,
                       (unsigned long long)(tensor->has_data ? stored : 0),
                       (unsigned long long)tensor->element_count, type, (unsigned long long)bytes);
    }
    return RP_OK;
}

rp_status rp_onnx_read_tensor(struct rp_onnx *onnx, const struct rp_field *field, rp_error *err) {
    struct tensor tensor = {
        .element_count = 1,
        .raw_bytes = RP_UNKNOWN_U64,
        .typed_bytes = RP_UNKNOWN_U64,
        .length = RP_UNKNOWN_U64,
    };
    rp_status status = rp_onnx_read_message(onnx, field->begin, field->end, "a tensor",
                                            read_tensor_field, &tensor, err);
    struct rp_onnx_tensor kept = {.name_hash = 0};
    if (status == RP_OK) status = check_tensor(onnx, &tensor, &kept, err);
    if (status != RP_OK) return status;
    struct rp_onnx_tensor *row = rp_onnx_add_row(onnx, &onnx->tensors, "tensors", &status, err);
    if (row) *row = kept;
    return status;
}

/* A sparse tensor: its values, of which it has the name, and where they stand. */
static rp_status read_sparse_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                   rp_error *err) {
    (void)user;
    bool is_tensor = field->wire == RP_WIRE_BYTES && (field->number == 1 || field->number == 2);
    return is_tensor ? rp_onnx_read_tensor(onnx, field, err) : RP_OK;
}

rp_status rp_onnx_read_sparse(struct rp_onnx *onnx, const struct rp_field *field, rp_error *err) {
    return rp_onnx_read_message(onnx, field->begin, field->end, "a sparse tensor",
                                read_sparse_field, NULL, err);
}
