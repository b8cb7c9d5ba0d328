/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a model whose weights lie in several files: "model.safetensors.index.json" and
 * "pytorch_model.bin.index.json" map each tensor to its file.
 */
#ifndef RP_MODEL_INDEX_H
#define RP_MODEL_INDEX_H

#include "model/path.h"
#include "model/source.h"

#include <jansson.h>

struct rp_index_row {
    const char *file;
    const char *tensor;
};

struct rp_index {
    const char *name;          /* borrowed: its path                                  */
    struct rp_index_row *rows; /* ordered by file, then by tensor                     */
    size_t row_count;          /* at least 1                                          */
    uint64_t total_bytes;      /* of the tensors, as it claims; RP_UNKNOWN_U64        */
    json_t *root;              /* owns the texts                                      */
};

/*
 * Read an index. RP_ERR_DATA when it is damaged, maps nothing, or names a file outside of its
 * folder; RP_ERR_LIMIT, RP_ERR_IO, RP_ERR_MEMORY.
 */
rp_status rp_index_read(const struct rp_source *source, struct rp_index *index, rp_error *err);

void rp_index_fini(struct rp_index *index);

/* Behind the rows of the file that row `begin` is of. */
size_t rp_index_file_end(const struct rp_index *index, size_t begin);

/* Open the file that a row is of; `path` holds its name. A missing one is RP_ERR_DATA. */
rp_status rp_index_open_file(const struct rp_index *index, size_t row, struct rp_path *path,
                             struct rp_source *file, rp_error *err);

#endif
