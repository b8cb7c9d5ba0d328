/* SPDX-License-Identifier: Apache-2.0 */
#include "model/index.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/json.h"

#include <resourcepool/hardware.h>
#include <stdlib.h>
#include <string.h>

static int by_file(const void *left, const void *right) {
    const struct rp_index_row *a = left;
    const struct rp_index_row *b = right;
    int order = strcmp(a->file, b->file);
    return order != 0 ? order : strcmp(a->tensor, b->tensor);
}

/* Some writers give the sum as a real number. */
static uint64_t total_size(const json_t *root) {
    const json_t *value = json_object_get(json_object_get(root, "metadata"), "total_size");
    double number = json_number_value(value);
    if (json_is_integer(value)) {
        return json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value)
                                              : RP_UNKNOWN_U64;
    }
    bool is_exact = json_is_real(value) && number >= 0 && number < 9007199254740992.0;
    return is_exact ? (uint64_t)number : RP_UNKNOWN_U64;
}

static rp_status read_rows(struct rp_index *index, rp_error *err) {
    json_t *map = json_object_get(index->root, "weight_map");
    size_t count = json_object_size(map);
    if (count == 0) {
        return rp_fail(err, RP_ERR_DATA, "'%s': has no 'weight_map' of tensors", index->name);
    }
    index->rows = rp_alloc_array(count, sizeof *index->rows);
    if (!index->rows) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the %zu tensors of '%s'", count,
                       index->name);
    }
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        if (!file) {
            return rp_fail(err, RP_ERR_DATA, "'%s': tensor '%.80s' is mapped to no file name",
                           index->name, tensor);
        }
        if (!rp_path_stays_inside(file)) {
            return rp_fail(err, RP_ERR_DATA,
                           "'%s': tensor '%.80s' is mapped to '%.80s', outside of its folder",
                           index->name, tensor, file);
        }
        index->rows[index->row_count++] = (struct rp_index_row){file, tensor};
    }
    qsort(index->rows, index->row_count, sizeof *index->rows, by_file);
    size_t file_count = 0;
    for (size_t at = 0; at < index->row_count; at = rp_index_file_end(index, at)) {
        file_count++;
    }
    if (file_count <= RP_LIMIT_MODEL_FILES) return RP_OK;
    return rp_fail(err, RP_ERR_LIMIT, "'%s': names %zu files, a model has at most %d", index->name,
                   file_count, RP_LIMIT_MODEL_FILES);
}

rp_status rp_index_read(const struct rp_source *source, struct rp_index *index, rp_error *err) {
    struct rp_index read = {.name = source->name};
    rp_status status =
        rp_json_read_file(source, RP_LIMIT_TENSOR_TABLE_BYTES, RP_JSON_TABLE, &read.root, err);
    if (status == RP_OK) status = read_rows(&read, err);
    if (status != RP_OK) {
        rp_index_fini(&read);
        return status;
    }
    read.total_bytes = total_size(read.root);
    *index = read;
    return RP_OK;
}

void rp_index_fini(struct rp_index *index) {
    rp_free(index->rows);
    json_decref(index->root);
    *index = (struct rp_index){0};
}

size_t rp_index_file_end(const struct rp_index *index, size_t begin) {
    size_t end = begin + 1;
    while (end < index->row_count && strcmp(index->rows[end].file, index->rows[begin].file) == 0) {
        end++;
    }
    return end;
}

rp_status rp_index_open_file(const struct rp_index *index, size_t row, struct rp_path *path,
                             struct rp_source *file, rp_error *err) {
    const char *name = index->rows[row].file;
    if (!rp_path_beside(path, index->name, name)) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': the path of '%.80s' is too long", index->name,
                       name);
    }
    rp_status status = rp_source_open(path->text, file, err);
    if (status != RP_ERR_NOT_FOUND) return status;
    status = rp_fail(err, RP_ERR_DATA, "'%s': its file '%.80s' is missing", index->name, name);
    rp_hint(err, "the download is not complete, or files were moved: fetch the rest");
    return status;
}
