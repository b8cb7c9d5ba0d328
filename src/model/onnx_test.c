/* SPDX-License-Identifier: Apache-2.0 */
#include "model/onnx.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"

#include "../../tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FLOAT = 1, UINT8 = 2, INT8 = 3, INT64 = 7, STRING = 8, BOOL = 9, FLOAT16 = 10, INT4 = 22 };

/* ---- writing protocol buffers ---- */

static void put_varint(struct rp_text *out, uint64_t value) {
    do {
        char byte = (char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        rp_text_append(out, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void put_tag(struct rp_text *out, uint32_t number, enum rp_wire wire) {
    put_varint(out, number << 3 | (uint32_t)wire);
}

static void put_number(struct rp_text *out, uint32_t number, uint64_t value) {
    put_tag(out, number, RP_WIRE_VARINT);
    put_varint(out, value);
}

static void put_bytes(struct rp_text *out, uint32_t number, const void *bytes, size_t length) {
    put_tag(out, number, RP_WIRE_BYTES);
    put_varint(out, length);
    rp_text_append(out, bytes, length);
}

static void put_text(struct rp_text *out, uint32_t number, const char *text) {
    put_bytes(out, number, text, strlen(text));
}

/* A message in a message; the inner one is done with. */
static void put_message(struct rp_text *out, uint32_t number, struct rp_text *inner) {
    assert_false(inner->failed);
    put_bytes(out, number, inner->length ? inner->bytes : "", inner->length);
    rp_text_fini(inner);
}

/* ---- writing models ---- */

/* A tensor of up to two dimensions (0: none more) and so many bytes of raw data. */
static struct rp_text tensor(const char *name, uint64_t type, uint64_t rows, uint64_t columns,
                             size_t raw_bytes) {
    struct rp_text out = RP_TEXT_INIT;
    static const char zeros[4096];
    if (rows) put_number(&out, 1, rows);
    if (columns) put_number(&out, 1, columns);
    put_number(&out, 2, type);
    if (name) put_text(&out, 8, name);
    if (raw_bytes) put_bytes(&out, 9, zeros, raw_bytes);
    return out;
}

static void put_entry(struct rp_text *out, const char *key, const char *value) {
    struct rp_text entry = RP_TEXT_INIT;
    put_text(&entry, 1, key);
    put_text(&entry, 2, value);
    put_message(out, 13, &entry);
}

static struct rp_text external(const char *name, const char *location, const char *offset,
                               const char *length) {
    struct rp_text out = tensor(name, FLOAT, 4, 2, 0);
    put_entry(&out, "location", location);
    if (offset) put_entry(&out, "offset", offset);
    if (length) put_entry(&out, "length", length);
    put_entry(&out, "checksum", "none");
    put_number(&out, 14, 1);
    return out;
}

/* An input or output; `last` 0: no shape, else two dimensions before it may be any. */
static struct rp_text port(const char *name, uint64_t last) {
    struct rp_text out = RP_TEXT_INIT;
    put_text(&out, 1, name);
    if (!last) return out;
    struct rp_text shape = RP_TEXT_INIT;
    for (int i = 0; i < 3; i++) {
        struct rp_text dimension = RP_TEXT_INIT;
        if (i < 2) {
            put_text(&dimension, 2, "any");
        } else {
            put_number(&dimension, 1, last);
        }
        put_message(&shape, 1, &dimension);
    }
    struct rp_text of_tensor = RP_TEXT_INIT;
    struct rp_text type = RP_TEXT_INIT;
    put_number(&of_tensor, 1, FLOAT);
    put_message(&of_tensor, 2, &shape);
    put_message(&type, 1, &of_tensor);
    put_message(&out, 2, &type);
    return out;
}

static struct rp_text node(const char *operator, const char * first, const char *second) {
    struct rp_text out = RP_TEXT_INIT;
    put_text(&out, 1, first);
    put_text(&out, 1, second);
    put_text(&out, 4, operator);
    return out;
}

static void put_integer(struct rp_text *node_, const char *name, uint64_t value) {
    struct rp_text attribute = RP_TEXT_INIT;
    put_text(&attribute, 1, name);
    put_number(&attribute, 3, value);
    put_message(node_, 5, &attribute);
}

static void put_constant(struct rp_text *graph, const char *output, struct rp_text *value) {
    struct rp_text out = RP_TEXT_INIT;
    struct rp_text attribute = RP_TEXT_INIT;
    put_text(&attribute, 1, "value");
    put_message(&attribute, 5, value);
    put_message(&out, 5, &attribute); /* before the operator, which may come last */
    put_text(&out, 2, output);
    put_text(&out, 4, "Constant");
    put_message(graph, 1, &out);
}

/* The graph in a model; the graph is done with. */
static struct rp_text model(struct rp_text *graph) {
    struct rp_text out = RP_TEXT_INIT;
    struct rp_text opset = RP_TEXT_INIT;
    struct rp_text other = RP_TEXT_INIT;
    put_number(&out, 1, 8);
    put_text(&out, 2, "pytorch");
    put_text(&out, 3, "2.1");
    put_message(&out, 7, graph);
    put_text(&opset, 1, "");
    put_number(&opset, 2, 17);
    put_message(&out, 8, &opset);
    put_text(&other, 1, "com.microsoft");
    put_number(&other, 2, 1);
    put_message(&out, 8, &other);
    return out;
}

static rp_status read_bytes(const void *bytes, size_t length, rp_model_facts *facts,
                            rp_error *err) {
    struct rp_source source;
    /* A copy of exactly that many bytes: a read beyond them is seen by the sanitizer. */
    char *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    rp_source_init_memory(&source, "test.onnx", copy, length);
    rp_facts_init(facts);
    rp_status status = rp_onnx_read(&source, facts, err);
    free(copy);
    return status;
}

static rp_status read_graph(struct rp_text *graph, rp_model_facts *facts, rp_error *err) {
    struct rp_text out = model(graph);
    assert_false(out.failed);
    rp_status status = read_bytes(out.bytes, out.length, facts, err);
    rp_text_fini(&out);
    return status;
}

/* One initialiser alone. */
static rp_status read_one(struct rp_text *one, rp_model_facts *facts, rp_error *err) {
    struct rp_text graph = RP_TEXT_INIT;
    put_message(&graph, 5, one);
    return read_graph(&graph, facts, err);
}

/* ---- tests ---- */

static void the_table_of_types_is_whole(void **state) {
    (void)state;
    /* TensorProto.DataType of ONNX 1.23, with the bits of each. */
    static const uint32_t bits[] = {0,   32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64,
                                    128, 16, 8, 8, 8,  8,  4,  4,  4, 8, 2,  2,  6,  6};
    assert_int_equal(rp_onnx_type_count, sizeof bits / sizeof bits[0]);
    for (size_t i = 0; i < rp_onnx_type_count; i++) {
        const struct rp_onnx_type *type = &rp_onnx_types[i];
        if (type->bits != bits[i]) fail_msg("type %zu has %u bits", i, type->bits);
        if (i == 0) continue;
        assert_true(strlen(type->name) < sizeof(((rp_stored *)0)->name));
        /* The number in a name is its bits: "int4", "fp16". */
        const char *digits = strpbrk(type->name, "0123456789");
        if (digits) assert_int_equal(strtoul(digits, NULL, 10), bits[i]);
    }
}

static void put_branches(struct rp_text *graph) {
    struct rp_text branch = RP_TEXT_INIT;
    struct rp_text one = tensor("b", FLOAT16, 3, 0, 6);
    put_message(&branch, 5, &one);
    one = port("not_the_models_own", 0);
    put_message(&branch, 11, &one);
    one = tensor(NULL, INT8, 5, 0, 5);
    put_constant(&branch, "k", &one);
    struct rp_text attribute = RP_TEXT_INIT;
    put_text(&attribute, 1, "then_branch");
    put_message(&attribute, 6, &branch);
    struct rp_text fork = node("If", "condition", "");
    put_message(&fork, 5, &attribute);
    put_message(graph, 1, &fork);
}

static void a_model_is_read_field_by_field(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    struct rp_text part = tensor("weight", FLOAT, 4, 8, 128);
    put_message(&graph, 5, &part);
    part = tensor("shape", INT64, 2, 0, 16);
    put_message(&graph, 5, &part);
    part = tensor("half", FLOAT, 0, 0, 4);
    put_message(&graph, 5, &part);
    part = tensor("packed", INT4, 7, 0, 4);
    put_message(&graph, 5, &part);
    put_branches(&graph);
    static const char *const inputs[] = {"input_ids", "attention_mask", "weight"};
    for (size_t i = 0; i < 3; i++) {
        part = port(inputs[i], 0);
        put_message(&graph, 11, &part);
    }
    part = port("last_hidden_state", 384);
    put_message(&graph, 12, &part);
    assert_ok(read_graph(&graph, &facts, &err));
    assert_string_equal(facts.format, "onnx");
    assert_int_equal(facts.tensor_count, 6);
    assert_int_equal(facts.weights_bytes, 128 + 16 + 4 + 4 + 6 + 5);
    assert_int_equal(facts.parameter_count, 32 + 7 + 3 + 5);
    assert_int_equal(facts.parameter_count_max, facts.parameter_count);
    assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
    assert_string_equal(facts.precision, "fp32");
    assert_int_equal(facts.stored[0].bytes, 132);
    assert_int_equal(facts.input_count, 2); /* a weight among the inputs has its value */
    assert_int_equal(facts.output_count, 1);
    assert_int_equal(facts.hidden_size, 384);
    assert_int_equal(facts.opset_version, 17);
    assert_string_equal(facts.producer, "pytorch 2.1");
    assert_string_equal(facts.quantization, "");
    assert_int_equal(facts.file_count, 1);
    assert_int_equal(facts.classification.family, RP_FAMILY_EMBEDDING);
    assert_string_equal(facts.classification.source, "graph");
    assert_string_equal(facts.classification.evidence,
                        "inputs input_ids, attention_mask; outputs last_hidden_state");
}

static void every_type_has_the_bytes_of_its_bits(void **state) {
    (void)state;
    for (uint64_t type = 1; type < rp_onnx_type_count; type++) {
        for (uint64_t elements = 1; elements <= 17; elements++) {
            rp_error err = RP_ERROR_INIT;
            rp_model_facts facts;
            uint64_t bytes = (elements * rp_onnx_types[type].bits + 7) / 8;
            struct rp_text one = tensor("w", type, elements, 0, (size_t)bytes);
            if (type == STRING) put_text(&one, 6, "text");
            assert_ok(read_one(&one, &facts, &err));
            assert_int_equal(facts.weights_bytes, type == STRING ? 4 : bytes);
            assert_int_equal(facts.stored[0].element_count, elements);
            if (type == STRING) continue;
            one = tensor("w", type, elements, 0, (size_t)bytes + 1);
            assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
        }
    }
}

static void data_may_stand_in_fields_of_their_type(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    static const char numbers[8];
    struct rp_text one = tensor("w", FLOAT, 2, 0, 0);
    put_bytes(&one, 4, numbers, 8); /* packed */
    assert_ok(read_one(&one, &facts, &err));
    assert_int_equal(facts.weights_bytes, 8);
    one = tensor("w", FLOAT, 2, 0, 0);
    for (int i = 0; i < 2; i++) {
        put_tag(&one, 4, RP_WIRE_FIXED32); /* one by one */
        rp_text_append(&one, numbers, 4);
    }
    assert_ok(read_one(&one, &facts, &err));
    one = tensor("w", FLOAT, 3, 0, 0);
    put_bytes(&one, 4, numbers, 8);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "has 8 bytes, 3 elements of fp32 take 12");
    one = tensor("w", INT8, 3, 0, 0);
    put_bytes(&one, 5, "\1\2\3", 3);
    assert_ok(read_one(&one, &facts, &err));
    assert_int_equal(facts.weights_bytes, 3);
    one = tensor("w", INT8, 3, 0, 0);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "tensor 'w' before byte ");
    assert_says(err.message, "has 0 bytes, 3 elements of int8 take 3");
    assert_null(facts.format); /* untouched */
}

static void dimensions_may_be_packed(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text one = tensor("w", INT8, 0, 0, 600);
    put_bytes(&one, 1, "\2\254\2", 3); /* 2 x 300 */
    assert_ok(read_one(&one, &facts, &err));
    assert_int_equal(facts.parameter_count, 600);
    one = tensor("w", INT8, 0, 0, 1);
    put_bytes(&one, 1, "\2\254", 2);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
}

static void dimensions_that_cannot_be_are_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text one = tensor("w", INT8, UINT64_MAX, 0, 1);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "has a dimension of -1");
    one = tensor("w", INT8, 1ULL << 62, 4, 1);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "has more than 2^64 elements");
    one = tensor("w", FLOAT, 1ULL << 62, 0, 1);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "has more than 2^64 bytes");
    one = tensor("w", INT8, 1, 0, 1);
    for (int i = 0; i < 40; i++) {
        put_number(&one, 1, 1);
    }
    assert_status(read_one(&one, &facts, &err), RP_ERR_LIMIT);
    one = tensor("w", 0, 1, 0, 1);
    assert_status(read_one(&one, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "has no type");
    one = tensor("w", 29, 1, 0, 1);
    assert_status(read_one(&one, &facts, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "tensor 'w' is of type 29, known are to 28");
}

static void fields_of_another_wire_type_count_as_unknown(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text one = tensor("w", INT8, 3, 0, 3);
    put_tag(&one, 1, RP_WIRE_FIXED64); /* dims */
    rp_text_append(&one, "12345678", 8);
    put_text(&one, 2, "type");
    put_number(&one, 8, 5);  /* name */
    put_number(&one, 9, 5);  /* raw data */
    put_number(&one, 13, 5); /* external data */
    put_text(&one, 14, "external");
    put_text(&one, 1000000, "later");
    put_tag(&one, 77, RP_WIRE_GROUP);
    put_tag(&one, 78, RP_WIRE_GROUP);
    put_number(&one, 1, 1000);
    put_text(&one, 2, "in a group");
    put_tag(&one, 78, RP_WIRE_GROUP_END);
    put_tag(&one, 77, RP_WIRE_GROUP_END);
    assert_ok(read_one(&one, &facts, &err));
    assert_int_equal(facts.parameter_count, 3);
}

static void what_is_no_protocol_buffer_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        rp_status status;
        const char *says;
    } others[] = {
        {"", 0, RP_ERR_DATA, "'test.onnx' has no graph: it is no ONNX model"},
        {"\x08\x07", 2, RP_ERR_DATA, "has no graph"},
        {"\x00\x00", 2, RP_ERR_DATA, "has no field at byte 0 (tag 0)"},
        {"\x07\x00", 2, RP_ERR_DATA, "has no field at byte 0 (tag 7)"},
        {"\x3e\x00", 2, RP_ERR_DATA, "has no field at byte 0 (tag 62)"},
        {"\x3a\x05\x0a", 3, RP_ERR_DATA, "the model needs 5 bytes at byte 2, 1 are left"},
        {"\x3a\x02\x0a\x05zzzzz", 9, RP_ERR_DATA, "the graph needs 5 bytes at byte 4, 0 are left"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, RP_ERR_DATA,
         "the number at byte 1 does not end after 10 bytes"},
        {"\x08\xff", 2, RP_ERR_DATA, "the model needs 1 bytes at byte 2, 0 are left"},
        {"\x0c", 1, RP_ERR_DATA, "has no field at byte 0"},
        {"\x0b\x14", 2, RP_ERR_DATA, "has no field at byte 1"},
        {"\xff\xff\xff\xff\xff\x7f\x00", 7, RP_ERR_DATA, "has no field at byte 0"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        assert_status(read_bytes(others[i].bytes, others[i].length, &facts, &err),
                      others[i].status);
        assert_says(err.message, others[i].says);
    }
}

static void a_model_cut_at_any_byte_is_refused_or_has_less(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    struct rp_text part = tensor("weight", FLOAT, 4, 8, 128);
    put_message(&graph, 5, &part);
    put_branches(&graph);
    part = port("input_ids", 4);
    put_message(&graph, 11, &part);
    size_t graph_bytes = graph.length;
    struct rp_text whole = model(&graph);
    for (size_t length = 0; length < whole.length; length++) {
        rp_status status = read_bytes(whole.bytes, length, &facts, &err);
        /* After the graph only operator sets follow: between two of them nothing is damaged. */
        if (length < graph_bytes || status != RP_OK) assert_int_equal(status, RP_ERR_DATA);
    }
    rp_text_fini(&whole);
}

static void graphs_and_groups_within_each_other_have_a_limit(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    for (int i = 0; i < RP_LIMIT_MODEL_DEPTH; i++) {
        struct rp_text attribute = RP_TEXT_INIT;
        struct rp_text outer = RP_TEXT_INIT;
        struct rp_text loop = RP_TEXT_INIT;
        put_message(&attribute, 6, &graph);
        put_message(&loop, 5, &attribute);
        put_message(&outer, 1, &loop);
        graph = outer;
        struct rp_text copy = RP_TEXT_INIT;
        rp_text_append(&copy, graph.bytes, graph.length);
        assert_status(read_graph(&copy, &facts, &err),
                      i < RP_LIMIT_MODEL_DEPTH - 1 ? RP_OK : RP_ERR_LIMIT);
    }
    assert_says(err.message, "graphs within graphs at byte ");
    rp_text_fini(&graph);
    for (int i = 0; i < 100000; i++) {
        put_tag(&graph, 1, RP_WIRE_GROUP);
    }
    assert_status(read_graph(&graph, &facts, &err), RP_ERR_LIMIT);
    assert_says(err.message, "groups within groups");
}

static void operators_tell_the_scheme(void **state) {
    (void)state;
    static const struct {
        const char *operators[3];
        const char *scheme;
    } rows[] = {
        {{"MatMul", "Add", "Relu"}, ""},
        {{"QuantizeLinear", "DequantizeLinear", "MatMul"}, "QDQ"},
        {{"DynamicQuantizeLinear", "MatMulInteger", "DequantizeLinear"}, "dynamic"},
        {{"QLinearConv", "QuantizeLinear", "DequantizeLinear"}, "QOperator"},
        {{"DequantizeLinear", "MatMulNBits", "QuantizeLinear"}, "MatMulNBits"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        struct rp_text graph = RP_TEXT_INIT;
        for (size_t j = 0; j < 3; j++) {
            struct rp_text one = node(rows[i].operators[j], "a", "b");
            put_message(&graph, 1, &one);
        }
        assert_ok(read_graph(&graph, &facts, &err));
        assert_string_equal(facts.quantization, rows[i].scheme);
    }
}

static void packed_weights_count_one_by_one(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    for (int is_late = 0; is_late < 2; is_late++) {
        struct rp_text graph = RP_TEXT_INIT;
        struct rp_text one = node("MatMulNBits", "x", "w");
        put_integer(&one, "K", 64);
        put_integer(&one, "N", 10);
        put_integer(&one, "bits", 4);
        put_text(&one, 1, "scales");
        struct rp_text weights = tensor("w", UINT8, 10, 32, 320);
        if (is_late) put_message(&graph, 1, &one);
        put_message(&graph, 5, &weights);
        if (!is_late) put_message(&graph, 1, &one);
        weights = tensor("scales", FLOAT16, 20, 0, 40);
        put_message(&graph, 5, &weights);
        assert_ok(read_graph(&graph, &facts, &err));
        assert_string_equal(facts.precision, "int4");
        assert_int_equal(facts.parameter_count, 640);
        assert_int_equal(facts.weights_bytes, 360);
        /* More weights than the bytes can hold: the operator lies, the tensor does not. */
        graph = (struct rp_text)RP_TEXT_INIT;
        one = node("MatMulNBits", "x", "w");
        put_integer(&one, "K", 1 << 20);
        put_integer(&one, "N", 1 << 20);
        put_message(&graph, 1, &one);
        weights = tensor("w", UINT8, 10, 32, 320);
        put_message(&graph, 5, &weights);
        assert_ok(read_graph(&graph, &facts, &err));
        assert_string_equal(facts.precision, "uint8");
        assert_int_equal(facts.parameter_count, 320);
    }
}

static void scales_are_no_parameters(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    struct rp_text one = node("DequantizeLinear", "w", "scales");
    put_text(&one, 1, "zeros"); /* of a Constant, which comes before */
    put_text(&one, 2, "y");
    struct rp_text value = tensor("value", INT8, 6, 0, 6);
    put_constant(&graph, "zeros", &value);
    put_message(&graph, 1, &one);
    one = tensor("w", INT8, 60, 0, 60);
    put_message(&graph, 5, &one);
    one = tensor("scales", FLOAT, 6, 0, 24);
    put_message(&graph, 5, &one);
    assert_ok(read_graph(&graph, &facts, &err));
    assert_int_equal(facts.parameter_count, 60);
    assert_int_equal(facts.weights_bytes, 90);
    assert_int_equal(facts.tensor_count, 3);
}

static void models_of_several_files_add_up(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    struct rp_text one = tensor("w", INT8, 60, 0, 60);
    put_message(&graph, 5, &one);
    one = tensor("axes", INT64, 2, 0, 16);
    put_message(&graph, 5, &one);
    struct rp_text out = model(&graph);
    struct rp_source source;
    rp_source_init_memory(&source, "test.onnx", out.bytes, out.length);
    rp_facts_init(&facts);
    facts.parameter_count = 1000; /* as a configuration reckons */
    facts.parameter_method = RP_FACTS_CONFIG;
    snprintf(facts.quantization, sizeof facts.quantization, "gptq");
    for (uint64_t i = 1; i <= 3; i++) {
        assert_ok(rp_onnx_read(&source, &facts, &err));
        assert_int_equal(facts.parameter_count, 60 * i);
        assert_int_equal(facts.weights_bytes, 76 * i);
        assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
    }
    assert_string_equal(facts.quantization, "gptq");
    rp_text_fini(&out);
}

/* ---- on disk ---- */

static char folder[] = "/tmp/rp-onnx-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t length, uint64_t size) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    if (size) assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static rp_status read_path(const char *name, rp_model_facts *facts, rp_error *err) {
    struct rp_source source;
    char path[512];
    snprintf(path, sizeof path, "%s", path_of(name));
    assert_int_equal(rp_source_open(path, &source, err), RP_OK);
    rp_facts_init(facts);
    rp_status status = rp_onnx_read(&source, facts, err);
    rp_source_close(&source);
    return status;
}

/* A model of one tensor of 32 bytes in a file beside it. */
static rp_status read_external(struct rp_text *one, rp_model_facts *facts, rp_error *err) {
    struct rp_text graph = RP_TEXT_INIT;
    put_message(&graph, 5, one);
    struct rp_text out = model(&graph);
    write_file("m.onnx", out.bytes, out.length, 0);
    rp_text_fini(&out);
    rp_status status = read_path("m.onnx", facts, err);
    unlink(path_of("m.onnx"));
    return status;
}

static void external_data_are_looked_up(void **state) {
    (void)state;
    static const struct {
        const char *location;
        const char *offset;
        const char *length;
        rp_status status;
        const char *says;
    } rows[] = {
        {"w.bin", NULL, NULL, RP_OK, NULL},
        {"w.bin", "0", "32", RP_OK, NULL},
        {"w.bin", "68", "32", RP_OK, NULL},
        {"./w.bin", "68", NULL, RP_OK, NULL},
        {"w.bin", "69", NULL, RP_ERR_DATA,
         "tensor 'w' needs 32 bytes from byte 69 of 'w.bin', which has 100"},
        {"w.bin", "18446744073709551615", NULL, RP_ERR_DATA, "which has 100"},
        {"w.bin", "18446744073709551616", NULL, RP_ERR_DATA, "which is no number"},
        {"w.bin", "-1", NULL, RP_ERR_DATA, "external data at '-1', which is no number"},
        {"w.bin", " 1", NULL, RP_ERR_DATA, "which is no number"},
        {"w.bin", "1e3", NULL, RP_ERR_DATA, "which is no number"},
        {"w.bin", "0", "31", RP_ERR_DATA, "tensor 'w' has 31 bytes in 'w.bin', its shape makes 32"},
        {"none.bin", NULL, NULL, RP_ERR_DATA, "/none.bin', which is not there"},
        {"/etc/passwd", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {"../w.bin", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {"a/../w.bin", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {"a/..", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {"..", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {"", NULL, NULL, RP_ERR_DATA, "outside the folder of the model"},
        {".", NULL, NULL, RP_ERR_DATA, "is a folder, not a file"},
    };
    write_file("w.bin", "", 0, 100);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        struct rp_text one = external("w", rows[i].location, rows[i].offset, rows[i].length);
        assert_status(read_external(&one, &facts, &err), rows[i].status);
        if (rows[i].says) {
            assert_says(err.message, rows[i].says);
            continue;
        }
        assert_int_equal(facts.weights_bytes, 32);
        assert_int_equal(facts.file_count, 2);
        assert_true(facts.file_bytes > 100);
    }
    unlink(path_of("w.bin"));
}

static void tensors_that_share_their_bytes_are_one(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    static const char *const offsets[] = {"0", "32", "32", "64"};
    for (size_t i = 0; i < 4; i++) {
        struct rp_text one = external("w", "w.bin", offsets[i], "32");
        put_message(&graph, 5, &one);
    }
    struct rp_text out = model(&graph);
    write_file("m.onnx", out.bytes, out.length, 0);
    write_file("w.bin", "", 0, 96);
    assert_ok(read_path("m.onnx", &facts, &err));
    assert_int_equal(facts.tensor_count, 3);
    assert_int_equal(facts.weights_bytes, 96);
    assert_int_equal(facts.file_bytes, out.length + 96);
    assert_int_equal(facts.file_count, 2);
    rp_text_fini(&out);
    unlink(path_of("m.onnx"));
    unlink(path_of("w.bin"));
}

static void each_file_counts_once(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text graph = RP_TEXT_INIT;
    char name[16];
    for (int i = 0; i < 24; i++) {
        snprintf(name, sizeof name, "%d.bin", i % 8);
        struct rp_text one = external("w", name, i < 8 ? "0" : i < 16 ? "32" : "64", NULL);
        put_message(&graph, 5, &one);
        write_file(name, "", 0, 100);
    }
    struct rp_text out = model(&graph);
    write_file("m.onnx", out.bytes, out.length, 0);
    assert_ok(read_path("m.onnx", &facts, &err));
    assert_int_equal(facts.file_count, 9);
    assert_int_equal(facts.file_bytes, out.length + 800);
    assert_int_equal(facts.weights_bytes, 24 * 32);
    rp_text_fini(&out);
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "%d.bin", i);
        unlink(path_of(name));
    }
    unlink(path_of("m.onnx"));
}

/* Of this thread's work: what else the machine does is no part of it. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Weights inside the model: a hole in the file, which nobody reads. */
static void a_model_of_100_gb_is_read_at_once(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    uint64_t bytes = 100ULL << 30;
    struct rp_text one = tensor("w", INT8, bytes, 0, 0);
    put_tag(&one, 9, RP_WIRE_BYTES);
    put_varint(&one, bytes);
    struct rp_text graph = RP_TEXT_INIT;
    put_tag(&graph, 5, RP_WIRE_BYTES);
    put_varint(&graph, one.length + bytes);
    rp_text_append(&graph, one.bytes, one.length);
    struct rp_text out = RP_TEXT_INIT;
    put_tag(&out, 7, RP_WIRE_BYTES);
    put_varint(&out, graph.length + bytes);
    rp_text_append(&out, graph.bytes, graph.length);
    write_file("big.onnx", out.bytes, out.length, out.length + bytes);
    double began = seconds();
    assert_ok(read_path("big.onnx", &facts, &err));
    assert_true(seconds() - began < 0.1);
    assert_int_equal(facts.weights_bytes, bytes);
    assert_int_equal(facts.parameter_count, bytes);
    write_file("big.onnx", out.bytes, out.length, out.length + bytes - 1);
    assert_status(read_path("big.onnx", &facts, &err), RP_ERR_DATA);
    rp_text_fini(&one);
    rp_text_fini(&graph);
    rp_text_fini(&out);
    unlink(path_of("big.onnx"));
}

/*
 * What tools/minilm made of a file of safetensors with 22,713,728 elements: all of them but the
 * pooler (384 * 384 + 384) and 512 numbers of positions, which the graph has no use for.
 */
static void the_model_of_the_demo_has_the_weights_it_was_made_of(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_source source;
    const char *path = SOURCE_ROOT "/build/models/minilm/model.onnx";
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s, 'make demo' makes it\n", path);
        skip();
    }
    assert_ok(rp_source_open(path, &source, &err));
    rp_facts_init(&facts);
    assert_ok(rp_onnx_read(&source, &facts, &err));
    rp_source_close(&source);
    uint64_t parameters = 22713728 - (384 * 384 + 384) - 512;
    uint64_t single_numbers = 7;
    assert_int_equal(facts.parameter_count, parameters);
    assert_string_equal(facts.stored[0].name, "fp32");
    assert_int_equal(facts.stored[0].bytes, (parameters + single_numbers) * 4);
    assert_int_equal(facts.hidden_size, 384);
    assert_int_equal(facts.classification.family, RP_FAMILY_EMBEDDING);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct rp_text graph = RP_TEXT_INIT;
    for (int i = 0; i < 100; i++) {
        struct rp_text one = external("w", i % 2 ? "w.bin" : "v.bin", NULL, NULL);
        put_message(&graph, 5, &one);
        one = port("x", 0);
        put_message(&graph, 11, &one);
        one = node("MatMulNBits", "x", "w");
        put_integer(&one, "K", 1);
        put_integer(&one, "N", 8);
        put_message(&graph, 1, &one);
    }
    struct rp_text out = model(&graph);
    write_file("m.onnx", out.bytes, out.length, 0);
    write_file("v.bin", "", 0, 96);
    write_file("w.bin", "", 0, 96);
    rp_text_fini(&out);
    int64_t before = rp_memory_live_count();
    uint64_t n = 1;
    for (;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_memory_fail_at(n);
        rp_status status = read_path("m.onnx", &facts, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_says(err.message, "no memory for the ");
    }
    assert_int_equal(n, 8); /* tensors, inputs and operands twice each, and files */
    unlink(path_of("m.onnx"));
    unlink(path_of("v.bin"));
    unlink(path_of("w.bin"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_types_is_whole),
        cmocka_unit_test(a_model_is_read_field_by_field),
        cmocka_unit_test(every_type_has_the_bytes_of_its_bits),
        cmocka_unit_test(data_may_stand_in_fields_of_their_type),
        cmocka_unit_test(dimensions_may_be_packed),
        cmocka_unit_test(dimensions_that_cannot_be_are_refused),
        cmocka_unit_test(fields_of_another_wire_type_count_as_unknown),
        cmocka_unit_test(what_is_no_protocol_buffer_is_refused),
        cmocka_unit_test(a_model_cut_at_any_byte_is_refused_or_has_less),
        cmocka_unit_test(graphs_and_groups_within_each_other_have_a_limit),
        cmocka_unit_test(operators_tell_the_scheme),
        cmocka_unit_test(packed_weights_count_one_by_one),
        cmocka_unit_test(scales_are_no_parameters),
        cmocka_unit_test(models_of_several_files_add_up),
        cmocka_unit_test(external_data_are_looked_up),
        cmocka_unit_test(tensors_that_share_their_bytes_are_one),
        cmocka_unit_test(each_file_counts_once),
        cmocka_unit_test(a_model_of_100_gb_is_read_at_once),
        cmocka_unit_test(the_model_of_the_demo_has_the_weights_it_was_made_of),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
