/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A tensor: a borrowed view of numbers in memory, laid out exactly like DLPack's DLTensor, so that
 * a pointer to one is a pointer to the other. It owns nothing: whoever made it says how long
 * data, shape and strides live.
 */
#ifndef RESOURCEPOOL_TENSOR_H
#define RESOURCEPOOL_TENSOR_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>

/** What one element is: DLPack's DLDataType. lanes 0 marks something that is not a number. */
typedef struct rp_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} rp_dtype;

/** Where the numbers are: DLPack's DLDevice. 1 is ordinary memory of the machine. */
typedef struct rp_tensor_device {
    int32_t type;
    int32_t id;
} rp_tensor_device;

/** DLPack's number for ordinary memory, and for memory that a GPU driver pinned. */
#define RP_TENSOR_DEVICE_CPU       1
#define RP_TENSOR_DEVICE_CUDA_HOST 3
#define RP_TENSOR_DEVICE_ROCM_HOST 11

typedef struct rp_tensor {
    void *data;
    rp_tensor_device device;
    int32_t ndim;
    rp_dtype dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL: compact, last dimension fastest */
    uint64_t byte_offset;
} rp_tensor;

/*
 * One row per type of element: constant, name, DLPack's code, bits. The 8-bit floats carry the
 * codes that DLPack gave them in 1.1.
 */
/* clang-format off */
#define RP_DTYPE_MAP(X)                       \
    X(FLOAT32,        "float32",        2, 32) \
    X(FLOAT64,        "float64",        2, 64) \
    X(FLOAT16,        "float16",        2, 16) \
    X(BFLOAT16,       "bfloat16",       4, 16) \
    X(INT8,           "int8",           0,  8) \
    X(INT16,          "int16",          0, 16) \
    X(INT32,          "int32",          0, 32) \
    X(INT64,          "int64",          0, 64) \
    X(UINT8,          "uint8",          1,  8) \
    X(UINT16,         "uint16",         1, 16) \
    X(UINT32,         "uint32",         1, 32) \
    X(UINT64,         "uint64",         1, 64) \
    X(BOOL,           "bool",           6,  8) \
    X(COMPLEX64,      "complex64",      5, 64) \
    X(COMPLEX128,     "complex128",     5, 128)\
    X(FLOAT8E4M3FN,   "float8e4m3fn",  10,  8) \
    X(FLOAT8E4M3FNUZ, "float8e4m3fnuz",11,  8) \
    X(FLOAT8E5M2,     "float8e5m2",    12,  8) \
    X(FLOAT8E5M2FNUZ, "float8e5m2fnuz",13,  8) \
    X(INT4,           "int4",           0,  4) \
    X(UINT4,          "uint4",          1,  4)
/* clang-format on */

/** RP_DTYPE_FLOAT32 and so on. */
#define RP_DTYPE_CONSTANT(constant, name, code, bits)                                              \
    static const rp_dtype RP_DTYPE_##constant = {code, bits, 1};
RP_DTYPE_MAP(RP_DTYPE_CONSTANT)
#undef RP_DTYPE_CONSTANT

RP_BEGIN_DECLS

/** "float32", "int64", ... Static storage; NULL for a type that has no name here. */
RP_API const char *rp_dtype_name(rp_dtype dtype);

/** The type of a name. RP_ERR_ARGUMENT for a stranger, with the names that exist as the hint. */
RP_API rp_status rp_dtype_parse(const char *name, rp_dtype *dtype, rp_error *err) RP_MUST_CHECK;

/** Whether two types are the same. */
RP_API bool rp_dtype_equals(rp_dtype a, rp_dtype b);

/**
 * How many bytes the elements of a tensor take when they lie one after the other (4-bit types: two
 * in a byte). Looks at dtype, ndim and shape only. RP_ERR_ARGUMENT when a dimension is negative or
 * missing, RP_ERR_LIMIT when there are too many of them or the product is beyond what an
 * address can hold.
 */
RP_API rp_status rp_tensor_bytes(const rp_tensor *tensor, uint64_t *bytes,
                                 rp_error *err) RP_MUST_CHECK;

/** Whether the elements lie one after the other, last dimension fastest. */
RP_API bool rp_tensor_is_contiguous(const rp_tensor *tensor);

/** The first element: data + byte_offset. Borrowed; NULL stays NULL. */
RP_API void *rp_tensor_data(const rp_tensor *tensor);

RP_END_DECLS

#endif
