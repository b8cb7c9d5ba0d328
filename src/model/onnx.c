/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONNX: a graph as a protocol buffer.
 *
 *   ModelProto > GraphProto > NodeProto > AttributeProto > GraphProto (branches, loops)
 *                           > TensorProto (initialisers)  > TensorProto (Constant)
 *
 * Tensors of all graphs count.
 */
#include "model/onnx.h"

#include "base/limits.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum { OPERATOR_BYTES = 48, ATTRIBUTE_BYTES = 24 };

/* clang-format off */
/* Operators that tell of a scheme of quantisation; of several schemes the last in this table. */
static const struct scheme {
    const char *operator;
    const char *scheme;
} schemes[] = {
    {"QuantizeLinear",        "QDQ"},
    {"DequantizeLinear",      "QDQ"},
    {"DynamicQuantizeLinear", "dynamic"},
    {"MatMulInteger",         "dynamic"},
    {"ConvInteger",           "dynamic"},
    {"DynamicQuantizeMatMul", "dynamic"},
    {"DynamicQuantizeLSTM",   "dynamic"},
    {"MatMulIntegerToFloat",  "dynamic"},
    {"QLinearConv",           "QOperator"},
    {"QLinearMatMul",         "QOperator"},
    {"QLinearAdd",            "QOperator"},
    {"QGemm",                 "QOperator"},
    {"QAttention",            "QOperator"},
    {"QEmbedLayerNormalization", "QOperator"},
    {"GatherBlockQuantized",  "MatMulNBits"},
    {"QMoE",                  "MatMulNBits"},
    {"MatMulBnb4",            "MatMulBnb4"},
    {"MatMulNBits",           "MatMulNBits"},
};
enum { SCHEMES = sizeof schemes / sizeof schemes[0] };
/* clang-format on */

struct input {
    uint64_t name_hash;
    struct rp_port port;
};

/*
 * What an operator says of a tensor that it is given: weights packed into bytes, how many there are
 * of how many bits; or scales and zero points, which are no parameters (0 bits).
 */
struct operand {
    uint64_t name_hash;
    uint64_t element_count;
    uint64_t bits;
};

/* Operators that are given scales and zero points: at which inputs. */
static const struct {
    const char *operator;
    size_t first;
    size_t last;
} scaled[] = {
    {"QuantizeLinear", 1, 2},
    {"DequantizeLinear", 1, 2},
    {"MatMulBnb4", 2, 2},
    {"MatMulNBits", 2, 3},
};
enum { OPERANDS_MAX = 4 };

/* ---- inputs and outputs ---- */

static rp_status read_dimension_field(struct rp_onnx *onnx, const struct rp_field *field,
                                      void *user, rp_error *err) {
    uint64_t *dimension = user;
    (void)onnx;
    (void)err;
    bool is_length =
        field->number == 1 && field->wire == RP_WIRE_VARINT && field->value <= INT64_MAX;
    if (is_length) *dimension = field->value;
    return RP_OK;
}

static rp_status read_shape_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                  rp_error *err) {
    struct rp_port *port = user;
    if (field->number != 1 || field->wire != RP_WIRE_BYTES) return RP_OK;
    uint64_t dimension = RP_UNKNOWN_U64;
    rp_status status = rp_onnx_read_message(onnx, field->begin, field->end, "a dimension",
                                            read_dimension_field, &dimension, err);
    if (port->dimension_count < RP_PORT_DIMENSIONS) {
        port->dimensions[port->dimension_count] = dimension;
    }
    port->dimension_count++;
    return status;
}

static rp_status read_tensor_type_field(struct rp_onnx *onnx, const struct rp_field *field,
                                        void *user, rp_error *err) {
    struct rp_port *port = user;
    if (field->number != 2 || field->wire != RP_WIRE_BYTES) return RP_OK;
    port->has_shape = true;
    return rp_onnx_read_message(onnx, field->begin, field->end, "a shape", read_shape_field, port,
                                err);
}

static rp_status read_type_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                 rp_error *err) {
    if (field->number != 1 || field->wire != RP_WIRE_BYTES) return RP_OK;
    return rp_onnx_read_message(onnx, field->begin, field->end, "the type of a tensor",
                                read_tensor_type_field, user, err);
}

static rp_status read_port_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                 rp_error *err) {
    struct input *input = user;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    if (field->number == 2) {
        return rp_onnx_read_message(onnx, field->begin, field->end, "a type", read_type_field,
                                    &input->port, err);
    }
    if (field->number != 1) return RP_OK;
    rp_status status = rp_onnx_read_shown(onnx, field, input->port.name, err);
    return status == RP_OK ? rp_onnx_read_hash(onnx, field, &input->name_hash, err) : status;
}

static rp_status read_port(struct rp_onnx *onnx, const struct rp_field *field, bool is_input,
                           rp_error *err) {
    struct input input = {.name_hash = 0};
    rp_status status =
        rp_onnx_read_message(onnx, field->begin, field->end, is_input ? "an input" : "an output",
                             read_port_field, &input, err);
    if (status != RP_OK) return status;
    if (!is_input) {
        rp_graph_add_output(&onnx->graph, &input.port);
        return RP_OK;
    }
    struct input *row = rp_onnx_add_row(onnx, &onnx->inputs, "inputs", &status, err);
    if (row) *row = input;
    return status;
}

/* ---- nodes ---- */

/* A node; its fields come in any order, so that it is read twice. */
struct node {
    size_t depth;
    char operator[OPERATOR_BYTES];
    size_t input_count;
    uint64_t inputs[OPERANDS_MAX]; /* hashes of their names */
    uint64_t output;
    uint64_t rows; /* K, N and bits of packed weights */
    uint64_t columns;
    uint64_t bits;
};

/* An attribute: its name, and its whole number. */
struct attribute {
    struct node *node;
    char name[ATTRIBUTE_BYTES];
    uint64_t number;
};

static rp_status read_graph(struct rp_onnx *onnx, const struct rp_field *field, size_t depth,
                            rp_error *err);

/* What a Constant makes is known by the name of its output, not by that of its tensor. */
static rp_status read_constant(struct rp_onnx *onnx, const struct rp_field *field,
                               const struct node *node, rp_error *err) {
    rp_status status = rp_onnx_read_tensor(onnx, field, err);
    if (status != RP_OK) return status;
    struct rp_onnx_tensor *tensor = rp_rows_at(&onnx->tensors, onnx->tensors.count - 1);
    tensor->name_hash = node->output;
    return RP_OK;
}

static rp_status read_attribute_field(struct rp_onnx *onnx, const struct rp_field *field,
                                      void *user, rp_error *err) {
    struct attribute *attribute = user;
    bool is_constant = strcmp(attribute->node->operator, "Constant") == 0;
    if (field->number == 3 && field->wire == RP_WIRE_VARINT) attribute->number = field->value;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    switch (field->number) {
    case 1:
        return rp_onnx_read_text(onnx, field, attribute->name, sizeof attribute->name, err);
    case 5: /* t */
        return is_constant ? read_constant(onnx, field, attribute->node, err) : RP_OK;
    case 22: /* sparse_tensor */
        return is_constant ? rp_onnx_read_sparse(onnx, field, err) : RP_OK;
    case 6:  /* g */
    case 11: /* graphs */
        return read_graph(onnx, field, attribute->node->depth + 1, err);
    default:
        return RP_OK;
    }
}

static rp_status read_node_head(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                rp_error *err) {
    struct node *node = user;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    if (field->number == 4) {
        return rp_onnx_read_text(onnx, field, node->operator, sizeof node->operator, err);
    }
    if (field->number == 2 && node->output == 0) {
        return rp_onnx_read_hash(onnx, field, &node->output, err);
    }
    if (field->number != 1 || node->input_count == OPERANDS_MAX) return RP_OK;
    return rp_onnx_read_hash(onnx, field, &node->inputs[node->input_count++], err);
}

static rp_status read_node_attributes(struct rp_onnx *onnx, const struct rp_field *field,
                                      void *user, rp_error *err) {
    struct node *node = user;
    if (field->number != 5 || field->wire != RP_WIRE_BYTES) return RP_OK;
    struct attribute attribute = {.node = node};
    rp_status status = rp_onnx_read_message(onnx, field->begin, field->end, "an attribute",
                                            read_attribute_field, &attribute, err);
    if (strcmp(attribute.name, "K") == 0) node->rows = attribute.number;
    if (strcmp(attribute.name, "N") == 0) node->columns = attribute.number;
    if (strcmp(attribute.name, "bits") == 0) node->bits = attribute.number;
    return status;
}

static rp_status add_operand(struct rp_onnx *onnx, uint64_t name_hash, uint64_t element_count,
                             uint64_t bits, rp_error *err) {
    rp_status status = RP_OK;
    struct operand *row = rp_onnx_add_row(onnx, &onnx->operands, "operands", &status, err);
    if (row) *row = (struct operand){name_hash, element_count, bits};
    return status;
}

/* Weights of MatMulNBits are bytes that hold several each. */
static rp_status add_packed(struct rp_onnx *onnx, const struct node *node, rp_error *err) {
    bool is_bnb = strcmp(node->operator, "MatMulBnb4") == 0;
    bool is_packed = is_bnb || strcmp(node->operator, "MatMulNBits") == 0;
    uint64_t bits = is_bnb || node->bits == 0 ? 4 : node->bits;
    uint64_t elements;
    if (!is_packed || bits > 8 || node->input_count < 2) return RP_OK;
    if (__builtin_mul_overflow(node->rows, node->columns, &elements) || elements == 0) return RP_OK;
    return add_operand(onnx, node->inputs[1], elements, bits, err);
}

static rp_status add_operands(struct rp_onnx *onnx, const struct node *node, rp_error *err) {
    rp_status status = add_packed(onnx, node, err);
    for (size_t i = 0; i < sizeof scaled / sizeof scaled[0]; i++) {
        if (strcmp(node->operator, scaled[i].operator) != 0) continue;
        for (size_t j = scaled[i].first; j <= scaled[i].last && status == RP_OK; j++) {
            bool is_given = j < node->input_count;
            if (is_given) status = add_operand(onnx, node->inputs[j], 0, 0, err);
        }
    }
    return status;
}

static rp_status read_node(struct rp_onnx *onnx, const struct rp_field *field, size_t depth,
                           rp_error *err) {
    struct node node = {.depth = depth};
    rp_status status =
        rp_onnx_read_message(onnx, field->begin, field->end, "a node", read_node_head, &node, err);
    if (status != RP_OK) return status;
    status = rp_onnx_read_message(onnx, field->begin, field->end, "a node", read_node_attributes,
                                  &node, err);
    if (status != RP_OK) return status;
    for (size_t i = 0; i < SCHEMES; i++) {
        bool is_stronger = onnx->scheme == SIZE_MAX || i > onnx->scheme;
        if (is_stronger && strcmp(node.operator, schemes[i].operator) == 0) onnx->scheme = i;
    }
    return add_operands(onnx, &node, err);
}

static rp_status read_graph_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                  rp_error *err) {
    size_t depth = *(size_t *)user;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    switch (field->number) {
    case 1:
        return read_node(onnx, field, depth, err);
    case 5:
        return rp_onnx_read_tensor(onnx, field, err);
    case 15:
        return rp_onnx_read_sparse(onnx, field, err);
    case 11: /* what a branch or a loop gets and gives is not the model's */
    case 12:
        return depth == 0 ? read_port(onnx, field, field->number == 11, err) : RP_OK;
    default:
        return RP_OK;
    }
}

static rp_status read_graph(struct rp_onnx *onnx, const struct rp_field *field, size_t depth,
                            rp_error *err) {
    if (depth < RP_LIMIT_MODEL_DEPTH) {
        return rp_onnx_read_message(onnx, field->begin, field->end, "the graph", read_graph_field,
                                    &depth, err);
    }
    return rp_fail(err, RP_ERR_LIMIT, "'%s': graphs within graphs at byte %llu, at most %d",
                   onnx->cursor.source->name, (unsigned long long)field->begin,
                   RP_LIMIT_MODEL_DEPTH);
}

/* ---- the model ---- */

static rp_status read_function_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                     rp_error *err) {
    (void)user;
    return field->number == 7 && field->wire == RP_WIRE_BYTES ? read_node(onnx, field, 1, err)
                                                              : RP_OK;
}

struct opset {
    char domain[OPERATOR_BYTES];
    uint64_t version;
};

static rp_status read_opset_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                  rp_error *err) {
    struct opset *opset = user;
    if (field->number == 1 && field->wire == RP_WIRE_BYTES) {
        return rp_onnx_read_text(onnx, field, opset->domain, sizeof opset->domain, err);
    }
    if (field->number == 2 && field->wire == RP_WIRE_VARINT) opset->version = field->value;
    return RP_OK;
}

static rp_status read_opset(struct rp_onnx *onnx, const struct rp_field *field, rp_error *err) {
    struct opset opset = {.version = 0};
    rp_status status = rp_onnx_read_message(onnx, field->begin, field->end, "an operator set",
                                            read_opset_field, &opset, err);
    bool is_standard = opset.domain[0] == '\0' || strcmp(opset.domain, "ai.onnx") == 0;
    if (is_standard && opset.version > 0 && opset.version < RP_UNKNOWN_U32) {
        onnx->facts->opset_version = (uint32_t)opset.version;
    }
    return status;
}

static rp_status read_model_field(struct rp_onnx *onnx, const struct rp_field *field, void *user,
                                  rp_error *err) {
    (void)user;
    if (field->wire != RP_WIRE_BYTES) return RP_OK;
    switch (field->number) {
    case 2:
        return rp_onnx_read_shown(onnx, field, onnx->producer, err);
    case 3:
        return rp_onnx_read_shown(onnx, field, onnx->producer_version, err);
    case 7:
        onnx->has_graph = true;
        return read_graph(onnx, field, 0, err);
    case 8:
        return read_opset(onnx, field, err);
    case 25:
        return rp_onnx_read_message(onnx, field->begin, field->end, "a function",
                                    read_function_field, NULL, err);
    default:
        return RP_OK;
    }
}

/* Inputs that have an initialiser are none: old exporters list all weights as inputs. */
static void add_inputs(struct rp_onnx *onnx) {
    rp_rows_sort(&onnx->tensors, rp_onnx_compare_hashes);
    for (size_t i = 0; i < onnx->inputs.count; i++) {
        const struct input *input = rp_rows_at(&onnx->inputs, i);
        size_t index = rp_rows_find(&onnx->tensors, &input->name_hash, rp_onnx_compare_hashes);
        const struct rp_onnx_tensor *tensor = NULL;
        if (index < onnx->tensors.count) tensor = rp_rows_at(&onnx->tensors, index);
        bool has_value = tensor && tensor->name_hash == input->name_hash && input->name_hash != 0;
        if (!has_value) rp_graph_add_input(&onnx->graph, &input->port);
    }
}

static int compare_places(const void *left, const void *right) {
    const struct rp_onnx_tensor *a = left;
    const struct rp_onnx_tensor *b = right;
    if (a->file_hash != b->file_hash) return a->file_hash < b->file_hash ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static rp_status count_tensor(struct rp_onnx *onnx, const struct rp_onnx_tensor *tensor,
                              rp_error *err) {
    const struct rp_source *source = onnx->cursor.source;
    char name[16];
    size_t index = rp_rows_find(&onnx->operands, &tensor->name_hash, rp_onnx_compare_hashes);
    const struct operand *operand = NULL;
    if (index < onnx->operands.count) operand = rp_rows_at(&onnx->operands, index);
    if (operand && operand->name_hash != tensor->name_hash) operand = NULL;
    /* An operator that speaks of more weights than the bytes can hold is not believed. */
    bool is_packed =
        operand && operand->bits > 0 && operand->element_count / 8 <= tensor->bytes / operand->bits;
    if (is_packed) {
        snprintf(name, sizeof name, "int%u", (unsigned)operand->bits);
        onnx->parameter_count += operand->element_count;
        return rp_facts_add_tensor(onnx->facts, name, operand->element_count, tensor->bytes, source,
                                   err);
    }
    bool is_scale = operand && operand->bits == 0;
    if (!tensor->is_constant && !is_scale) onnx->parameter_count += tensor->element_count;
    return rp_facts_add_tensor(onnx->facts, rp_onnx_types[tensor->type].name, tensor->element_count,
                               tensor->bytes, source, err);
}

/* Tensors that share their bytes in a file beside the model are one. */
static rp_status count_tensors(struct rp_onnx *onnx, rp_error *err) {
    rp_rows_sort(&onnx->operands, rp_onnx_compare_hashes);
    rp_rows_sort(&onnx->tensors, compare_places);
    const struct rp_onnx_tensor *before = NULL;
    for (size_t i = 0; i < onnx->tensors.count; i++) {
        const struct rp_onnx_tensor *tensor = rp_rows_at(&onnx->tensors, i);
        bool is_same = before && tensor->file_hash != 0 && tensor->bytes > 0 &&
                       compare_places(before, tensor) == 0;
        before = tensor;
        rp_status status = is_same ? RP_OK : count_tensor(onnx, tensor, err);
        if (status != RP_OK) return status;
    }
    rp_graph_tell_parameters(onnx->facts, onnx->parameter_count);
    return RP_OK;
}

static void set_texts(struct rp_onnx *onnx) {
    rp_model_facts *facts = onnx->facts;
    char text[2 * RP_ONNX_NAME_BYTES];
    snprintf(text, sizeof text, "%s%s%s", onnx->producer,
             onnx->producer[0] && onnx->producer_version[0] ? " " : "", onnx->producer_version);
    rp_facts_set_text(facts->producer, sizeof facts->producer, text, strlen(text));
    if (onnx->scheme == SIZE_MAX) return;
    snprintf(facts->quantization, sizeof facts->quantization, "%s", schemes[onnx->scheme].scheme);
}

static rp_status read_all(struct rp_onnx *onnx, const struct rp_source *source, rp_error *err) {
    rp_model_facts *facts = onnx->facts;
    rp_cursor_init(&onnx->cursor, source, "the model");
    rp_graph_init(&onnx->graph);
    rp_status status =
        rp_onnx_read_message(onnx, 0, source->size, "the model", read_model_field, NULL, err);
    if (status != RP_OK) return status;
    if (!onnx->has_graph) {
        return rp_fail(err, RP_ERR_DATA, "'%s' has no graph: it is no ONNX model", source->name);
    }
    facts->format = "onnx";
    facts->file_count = 1 + (uint32_t)onnx->files.count;
    facts->file_bytes = source->size + onnx->external_bytes;
    add_inputs(onnx);
    status = count_tensors(onnx, err);
    if (status != RP_OK) return status;
    rp_graph_tell(&onnx->graph, facts);
    set_texts(onnx);
    return RP_OK;
}

rp_status rp_onnx_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err) {
    rp_model_facts gathered = *facts;
    struct rp_onnx onnx = {
        .facts = &gathered,
        .scheme = SIZE_MAX,
        .tensors = RP_ROWS_INIT(struct rp_onnx_tensor),
        .inputs = RP_ROWS_INIT(struct input),
        .operands = RP_ROWS_INIT(struct operand),
        .files = RP_ROWS_INIT(struct rp_onnx_file),
    };
    rp_status status = read_all(&onnx, source, err);
    rp_rows_fini(&onnx.tensors);
    rp_rows_fini(&onnx.inputs);
    rp_rows_fini(&onnx.operands);
    rp_rows_fini(&onnx.files);
    if (status == RP_OK) *facts = gathered;
    return status;
}
