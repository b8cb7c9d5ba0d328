/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONNX is protocol buffers: fields of (number, length, bytes) or (number, variable-length integer),
 * messages within messages. A message is written into a text of its own and then appended to the
 * one around it. Numbers of fields are those of onnx.proto.
 */
#include "bench/large_model.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS = 23, NARROW = 768, WIDE = 3072, OPSET = 17, IR_VERSION = 8, FLOAT = 1, EXTERNAL = 1 };

static const size_t matrix_bytes = (size_t)NARROW * WIDE * sizeof(float);

/* ---- protocol buffers ---- */

static void put_varint(struct rp_text *out, uint64_t value) {
    do {
        char byte = (char)((value & 127) | (value > 127 ? 128 : 0));
        rp_text_append(out, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void put_number(struct rp_text *out, unsigned field, uint64_t value) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

static void put_bytes(struct rp_text *out, unsigned field, const char *bytes, size_t length) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length);
    rp_text_append(out, bytes, length);
}

static void put_text(struct rp_text *out, unsigned field, const char *text) {
    put_bytes(out, field, text, strlen(text));
}

/* Takes the inner message over. */
static void put_message(struct rp_text *out, unsigned field, struct rp_text *inner) {
    put_bytes(out, field, inner->bytes ? inner->bytes : "", inner->length);
    out->failed |= inner->failed;
    rp_text_fini(inner);
}

/* ---- ONNX ---- */

static void put_pair(struct rp_text *out, unsigned field, const char *key, const char *value) {
    struct rp_text pair = RP_TEXT_INIT;
    put_text(&pair, 1, key);
    put_text(&pair, 2, value);
    put_message(out, field, &pair);
}

static void put_node(struct rp_text *graph, const char *kind, const char *input, const char *weight,
                     const char *output) {
    struct rp_text node = RP_TEXT_INIT;
    put_text(&node, 1, input);
    if (weight) put_text(&node, 1, weight);
    put_text(&node, 2, output);
    put_text(&node, 3, output);
    put_text(&node, 4, kind);
    put_message(graph, 1, &node);
}

static void put_matrix(struct rp_text *graph, const char *name, unsigned rows, unsigned columns,
                       size_t offset) {
    struct rp_text tensor = RP_TEXT_INIT;
    char number[24];
    put_number(&tensor, 1, rows);
    put_number(&tensor, 1, columns);
    put_number(&tensor, 2, FLOAT);
    put_text(&tensor, 8, name);
    put_pair(&tensor, 13, "location", "model.onnx.data");
    snprintf(number, sizeof number, "%zu", offset);
    put_pair(&tensor, 13, "offset", number);
    snprintf(number, sizeof number, "%zu", matrix_bytes);
    put_pair(&tensor, 13, "length", number);
    put_number(&tensor, 14, EXTERNAL);
    put_message(graph, 5, &tensor);
}

/* (batch, 768) of float32. */
static void put_port(struct rp_text *graph, unsigned field, const char *name) {
    struct rp_text first = RP_TEXT_INIT;
    struct rp_text second = RP_TEXT_INIT;
    struct rp_text shape = RP_TEXT_INIT;
    struct rp_text tensor = RP_TEXT_INIT;
    struct rp_text type = RP_TEXT_INIT;
    struct rp_text port = RP_TEXT_INIT;
    put_text(&first, 2, "batch");
    put_number(&second, 1, NARROW);
    put_message(&shape, 1, &first);
    put_message(&shape, 1, &second);
    put_number(&tensor, 1, FLOAT);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&port, 1, name);
    put_message(&port, 2, &type);
    put_message(graph, field, &port);
}

static void put_layers(struct rp_text *graph) {
    char before[32] = "input";
    for (size_t i = 0; i < PAIRS; i++) {
        char names[5][32];
        static const char *const kinds[5] = {"up", "wide", "bent", "down", "out"};
        for (size_t n = 0; n < 5; n++) {
            snprintf(names[n], sizeof names[n], "%s.%zu", kinds[n], i);
        }
        if (i + 1 == PAIRS) snprintf(names[4], sizeof names[4], "output");
        put_node(graph, "MatMul", before, names[0], names[1]);
        put_node(graph, "Relu", names[1], NULL, names[2]);
        put_node(graph, "MatMul", names[2], names[3], names[4]);
        put_matrix(graph, names[0], NARROW, WIDE, 2 * i * matrix_bytes);
        put_matrix(graph, names[3], WIDE, NARROW, (2 * i + 1) * matrix_bytes);
        memcpy(before, names[4], sizeof before);
    }
}

static void put_model(struct rp_text *out) {
    struct rp_text opset = RP_TEXT_INIT;
    struct rp_text graph = RP_TEXT_INIT;
    put_number(out, 1, IR_VERSION);
    put_layers(&graph);
    put_text(&graph, 2, "large");
    put_port(&graph, 11, "input");
    put_port(&graph, 12, "output");
    put_message(out, 7, &graph);
    put_number(&opset, 2, OPSET);
    put_message(out, 8, &opset);
}

/* ---- files ---- */

static rp_status open_file(const char *path, int *fd, rp_error *err) {
    int made = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (made < 0) return rp_fail_errno(err, "cannot write '%s'", path);
    *fd = made;
    return RP_OK;
}

static rp_status write_all(int fd, const void *bytes, size_t length, const char *path,
                           rp_error *err) {
    for (size_t done = 0; done < length;) {
        ssize_t written = write(fd, (const char *)bytes + done, length - done);
        if (written <= 0) return rp_fail_errno(err, "cannot write '%s'", path);
        done += (size_t)written;
    }
    return RP_OK;
}

/*
 * Small numbers of both signs, so that nothing grows out of what a float holds. Each matrix has its
 * own: an engine may keep those that are alike once.
 */
static void fill(float *matrix, uint32_t seed) {
    uint32_t state = seed;
    for (size_t i = 0; i < (size_t)NARROW * WIDE; i++) {
        state = state * 1664525 + 1013904223;
        matrix[i] = ((float)(state >> 8) / (float)(1 << 24) - 0.5F) * 0.06F;
    }
}

static rp_status write_weights(const char *path, rp_error *err) {
    int fd = -1;
    float *matrix = rp_alloc(matrix_bytes);
    if (!matrix) return rp_fail(err, RP_ERR_MEMORY, "no memory to write a model");
    rp_status status = open_file(path, &fd, err);
    for (uint32_t i = 0; i < 2 * PAIRS && status == RP_OK; i++) {
        fill(matrix, i);
        status = write_all(fd, matrix, matrix_bytes, path, err);
    }
    if (fd >= 0) close(fd);
    rp_free(matrix);
    return status;
}

rp_status rp_large_model_write(const char *folder, char path[RP_LARGE_MODEL_PATH_BYTES],
                               rp_error *err) {
    char data[RP_LARGE_MODEL_PATH_BYTES];
    struct rp_text model = RP_TEXT_INIT;
    int fd = -1;
    snprintf(path, RP_LARGE_MODEL_PATH_BYTES, "%s/model.onnx", folder);
    snprintf(data, sizeof data, "%s/model.onnx.data", folder);
    put_model(&model);
    rp_status status = model.failed ? rp_fail(err, RP_ERR_MEMORY, "no memory to write a model")
                                    : write_weights(data, err);
    if (status == RP_OK) status = open_file(path, &fd, err);
    if (status == RP_OK) status = write_all(fd, model.bytes, model.length, path, err);
    if (fd >= 0) close(fd);
    rp_text_fini(&model);
    return status;
}

void rp_large_model_remove(const char *folder) {
    static const char *const files[] = {"model.onnx", "model.onnx.data"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[RP_LARGE_MODEL_PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
}
