/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ONNX, in three files: the wire format (onnx_wire.c), tensors and the files they lie in
 * (onnx_tensor.c), graphs and what they say (onnx.c). rp_onnx_read() is declared in facts.h.
 */
#ifndef RP_MODEL_ONNX_H
#define RP_MODEL_ONNX_H

#include "model/cursor.h"
#include "model/facts.h"
#include "model/graph.h"
#include "model/rows.h"

enum { RP_ONNX_NAME_BYTES = 96 };

/* ---- types of elements, as TensorProto numbers them ---- */

struct rp_onnx_type {
    const char *name; /* as in rp_model_facts.precision; NULL: no type has this number */
    uint32_t bits;    /* packed without gaps; 0: texts, each of its own length         */
};

/* By number, from 0, which is none. */
extern const struct rp_onnx_type rp_onnx_types[];
extern const size_t rp_onnx_type_count;

/* ---- a model while it is read ---- */

/* What is kept of a tensor. The hash comes first in every row that has one. */
struct rp_onnx_tensor {
    uint64_t name_hash; /* 0: has no name that others could refer to */
    uint64_t element_count;
    uint64_t bytes;
    uint64_t file_hash; /* 0: inside the model */
    uint64_t offset;
    uint32_t type;
    bool is_constant; /* no parameter */
};

/* A file of external data. */
struct rp_onnx_file {
    uint64_t hash;
    uint64_t size;
};

struct rp_onnx {
    struct rp_cursor cursor;
    rp_model_facts *facts;
    struct rp_graph graph;
    bool has_graph;
    size_t scheme; /* of quantisation, an index; SIZE_MAX: none */
    char producer[RP_ONNX_NAME_BYTES];
    char producer_version[RP_ONNX_NAME_BYTES];
    struct rp_rows tensors;  /* struct rp_onnx_tensor                             */
    struct rp_rows inputs;   /* of the graph, those with an initialiser too       */
    struct rp_rows operands; /* what operators say of tensors */
    struct rp_rows files;    /* of external data, sorted by hash                  */
    uint64_t parameter_count;
    uint64_t external_bytes;
};

/* One more row, within RP_LIMIT_MODEL_TENSORS; NULL with the status of why not. */
void *rp_onnx_add_row(struct rp_onnx *onnx, struct rp_rows *rows, const char *what,
                      rp_status *status, rp_error *err);

/* Order rows by the hash that they begin with. */
int rp_onnx_compare_hashes(const void *left, const void *right);

/* ---- the wire format of protocol buffers ---- */

enum rp_wire {
    RP_WIRE_VARINT = 0,
    RP_WIRE_FIXED64 = 1,
    RP_WIRE_BYTES = 2,
    RP_WIRE_GROUP = 3,
    RP_WIRE_GROUP_END = 4,
    RP_WIRE_FIXED32 = 5,
};

/* A field: its number, and where its bytes are or what its value is. */
struct rp_field {
    uint32_t number;
    enum rp_wire wire;
    uint64_t value; /* of VARINT, FIXED32, FIXED64 */
    uint64_t begin; /* of BYTES                    */
    uint64_t end;   /* where the next field begins */
};

/* What looks at one field of a message; the bytes that it does not read are passed over. */
typedef rp_status rp_onnx_field_reader(struct rp_onnx *onnx, const struct rp_field *field,
                                       void *user, rp_error *err);

/*
 * Show each field from `begin` to `end` to `read`; groups are passed over. `what` is for messages.
 * RP_ERR_DATA when it ends within a field, RP_ERR_LIMIT, and what `read` returns.
 */
rp_status rp_onnx_read_message(struct rp_onnx *onnx, uint64_t begin, uint64_t end, const char *what,
                               rp_onnx_field_reader *read, void *user, rp_error *err);

rp_status rp_onnx_read_varint(struct rp_onnx *onnx, uint64_t *value, rp_error *err);

/* The beginning of a text as it stands there, NUL-terminated. */
rp_status rp_onnx_read_text(struct rp_onnx *onnx, const struct rp_field *field, char *out,
                            size_t out_bytes, rp_error *err);

/* The same, printable. */
rp_status rp_onnx_read_shown(struct rp_onnx *onnx, const struct rp_field *field,
                             char out[RP_ONNX_NAME_BYTES], rp_error *err);

/* A hash of the whole of a text, however long. Never 0, which stands for none. */
rp_status rp_onnx_read_hash(struct rp_onnx *onnx, const struct rp_field *field, uint64_t *hash,
                            rp_error *err);

/* ---- tensors ---- */

/* A TensorProto: checked, with its external data looked up, kept in onnx->tensors. */
rp_status rp_onnx_read_tensor(struct rp_onnx *onnx, const struct rp_field *field, rp_error *err);

/* A SparseTensorProto: its values and where they stand, likewise. */
rp_status rp_onnx_read_sparse(struct rp_onnx *onnx, const struct rp_field *field, rp_error *err);

#endif
