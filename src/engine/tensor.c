/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tensor.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct dtype_row {
    rp_dtype dtype;
    const char *name;
};

static const struct dtype_row rows[] = {
#define ROW(constant, name, code, bits) {{code, bits, 1}, name},
    RP_DTYPE_MAP(ROW)
#undef ROW
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

bool rp_dtype_equals(rp_dtype a, rp_dtype b) {
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

const char *rp_dtype_name(rp_dtype dtype) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rp_dtype_equals(rows[i].dtype, dtype)) return rows[i].name;
    }
    return NULL;
}

rp_status rp_dtype_parse(const char *name, rp_dtype *dtype, rp_error *err) {
    if (!name || !dtype) return rp_fail(err, RP_ERR_ARGUMENT, "rp_dtype_parse() needs a name");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        *dtype = rows[i].dtype;
        return RP_OK;
    }
    rp_fail(err, RP_ERR_ARGUMENT, "there is no type of element called '%s'", name);
    rp_hint(err, "float16, float32, float64, bfloat16, bool, int8 to int64, uint8 to uint64, "
                 "complex64, complex128, int4, uint4 or float8*");
    return RP_ERR_ARGUMENT;
}

rp_status rp_tensor_bytes(const rp_tensor *tensor, uint64_t *bytes, rp_error *err) {
    if (!tensor || !bytes) return rp_fail(err, RP_ERR_ARGUMENT, "rp_tensor_bytes() needs a tensor");
    if (tensor->ndim < 0 || (tensor->ndim > 0 && !tensor->shape)) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a tensor of %d dimensions has no shape",
                       (int)tensor->ndim);
    }
    if (tensor->ndim > RP_LIMIT_TENSOR_DIMENSIONS) {
        return rp_fail(err, RP_ERR_LIMIT, "a tensor has %d dimensions, at most %d are possible",
                       (int)tensor->ndim, RP_LIMIT_TENSOR_DIMENSIONS);
    }
    if (tensor->dtype.bits == 0 || tensor->dtype.lanes == 0) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a tensor has elements of %u bits in %u lanes",
                       tensor->dtype.bits, tensor->dtype.lanes);
    }
    uint64_t count = 1;
    bool is_empty = false;
    bool is_too_large = false;
    for (int32_t i = 0; i < tensor->ndim; i++) {
        int64_t size = tensor->shape[i];
        if (size < 0) {
            return rp_fail(err, RP_ERR_ARGUMENT,
                           "dimension %d of a tensor is %" PRId64 ", it cannot be negative", (int)i,
                           size);
        }
        is_empty = is_empty || size == 0;
        if (__builtin_mul_overflow(count, (uint64_t)size, &count)) is_too_large = true;
    }
    uint64_t bits_each = (uint64_t)tensor->dtype.bits * tensor->dtype.lanes;
    uint64_t bits = 0;
    /* An empty tensor is small whatever its other dimensions say. */
    if (is_empty) {
        count = 0;
        is_too_large = false;
    }
    /* Bits rather than bytes, because two 4-bit numbers share one. */
    bool is_wide = bits_each % 8 == 0;
    uint64_t unit = is_wide ? bits_each / 8 : bits_each;
    if (__builtin_mul_overflow(count, unit, &bits)) is_too_large = true;
    uint64_t total = is_wide ? bits : bits / 8 + (bits % 8 != 0);
    if (is_too_large || total > PTRDIFF_MAX) {
        char shape[RP_SHAPE_TEXT_BYTES];
        return rp_fail(err, RP_ERR_LIMIT, "a tensor of shape %s is larger than any memory",
                       rp_shape_format(tensor->shape, tensor->ndim, shape, sizeof shape));
    }
    *bytes = total;
    return RP_OK;
}

bool rp_tensor_is_contiguous(const rp_tensor *tensor) {
    if (!tensor->strides) return true;
    for (int32_t i = 0; i < tensor->ndim; i++) {
        if (tensor->shape[i] == 0) return true;
    }
    int64_t expected = 1;
    for (int32_t i = tensor->ndim - 1; i >= 0; i--) {
        /* The stride of a dimension of 1 is never used, and libraries fill in anything. */
        if (tensor->shape[i] == 1) continue;
        if (tensor->strides[i] != expected) return false;
        if (__builtin_mul_overflow(expected, tensor->shape[i], &expected)) return false;
    }
    return true;
}

void *rp_tensor_data(const rp_tensor *tensor) {
    return tensor->data ? (char *)tensor->data + tensor->byte_offset : NULL;
}

const char *rp_shape_format(const int64_t *shape, int32_t ndim, char *out, size_t out_bytes) {
    size_t used = 1;
    snprintf(out, out_bytes, "[");
    for (int32_t i = 0; i < ndim; i++) {
        char number[24];
        if (shape[i] < 0) {
            snprintf(number, sizeof number, "?");
        } else {
            snprintf(number, sizeof number, "%" PRId64, shape[i]);
        }
        size_t length = strlen(number) + (i > 0);
        if (used + length + sizeof ",...]" > out_bytes) {
            snprintf(out + used, out_bytes - used, "...");
            used += 3;
            break;
        }
        snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? "," : "", number);
        used += length;
    }
    snprintf(out + used, out_bytes - used, "]");
    return out;
}
