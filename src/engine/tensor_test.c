/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tensor.h"

#include "../../tests/test.h"

#if __has_include(<dlpack/dlpack.h>)
#include <dlpack/dlpack.h>
#define HAVE_DLPACK 1
#else
#define HAVE_DLPACK 0
#endif

static rp_tensor tensor_of(rp_dtype dtype, int64_t *shape, int32_t ndim) {
    return (rp_tensor){
        .device = {RP_TENSOR_DEVICE_CPU, 0}, .ndim = ndim, .dtype = dtype, .shape = shape};
}

static void a_tensor_lies_in_memory_like_dlpack_says(void **state) {
    (void)state;
#if HAVE_DLPACK
#define SAME(member)                                                                               \
    assert_int_equal(offsetof(rp_tensor, member), offsetof(DLTensor, member));                     \
    assert_int_equal(sizeof(((rp_tensor *)0)->member), sizeof(((DLTensor *)0)->member))
    SAME(data);
    SAME(device);
    SAME(ndim);
    SAME(dtype);
    SAME(shape);
    SAME(strides);
    SAME(byte_offset);
#undef SAME
    assert_int_equal(sizeof(rp_tensor), sizeof(DLTensor));
    assert_int_equal(offsetof(rp_tensor_device, type), offsetof(DLDevice, device_type));
    assert_int_equal(offsetof(rp_tensor_device, id), offsetof(DLDevice, device_id));
    assert_int_equal(offsetof(rp_dtype, code), offsetof(DLDataType, code));
    assert_int_equal(offsetof(rp_dtype, bits), offsetof(DLDataType, bits));
    assert_int_equal(offsetof(rp_dtype, lanes), offsetof(DLDataType, lanes));
    assert_int_equal(RP_TENSOR_DEVICE_CPU, kDLCPU);
    assert_int_equal(RP_TENSOR_DEVICE_ROCM_HOST, kDLROCMHost);
    assert_int_equal(RP_DTYPE_INT64.code, kDLInt);
    assert_int_equal(RP_DTYPE_UINT8.code, kDLUInt);
    assert_int_equal(RP_DTYPE_FLOAT32.code, kDLFloat);
    assert_int_equal(RP_DTYPE_BFLOAT16.code, kDLBfloat);
    assert_int_equal(RP_DTYPE_COMPLEX64.code, kDLComplex);
#else
    print_message("skipped: <dlpack/dlpack.h> is not installed (libdlpack-dev)\n");
    skip();
#endif
}

static void every_type_has_a_name_that_reads_back(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
#define READ_BACK(constant, text, number, width)                                                   \
    {                                                                                              \
        rp_dtype dtype = {0, 0, 0};                                                                \
        assert_string_equal(rp_dtype_name(RP_DTYPE_##constant), text);                             \
        assert_ok(rp_dtype_parse(text, &dtype, &err));                                             \
        assert_true(rp_dtype_equals(dtype, RP_DTYPE_##constant));                                  \
    }
    RP_DTYPE_MAP(READ_BACK)
#undef READ_BACK
    rp_dtype dtype = {1, 2, 3};
    assert_status(rp_dtype_parse("float31", &dtype, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "'float31'");
    assert_says(err.hint, "float32");
    assert_int_equal(dtype.lanes, 3);
    assert_null(rp_dtype_name((rp_dtype){2, 31, 1}));
    assert_null(rp_dtype_name((rp_dtype){2, 32, 4}));
}

static void the_bytes_of_a_tensor_are_counted(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    uint64_t bytes = 0;
    int64_t shape[] = {2, 3, 5};
    rp_tensor tensor = tensor_of(RP_DTYPE_FLOAT32, shape, 3);
    assert_ok(rp_tensor_bytes(&tensor, &bytes, &err));
    assert_int_equal(bytes, 120);
    tensor = tensor_of(RP_DTYPE_FLOAT64, NULL, 0);
    assert_ok(rp_tensor_bytes(&tensor, &bytes, &err));
    assert_int_equal(bytes, 8);
    int64_t odd[] = {7};
    tensor = tensor_of(RP_DTYPE_INT4, odd, 1);
    assert_ok(rp_tensor_bytes(&tensor, &bytes, &err));
    assert_int_equal(bytes, 4);
    int64_t empty[] = {INT64_MAX, INT64_MAX, 0};
    tensor = tensor_of(RP_DTYPE_FLOAT32, empty, 3);
    assert_ok(rp_tensor_bytes(&tensor, &bytes, &err));
    assert_int_equal(bytes, 0);
}

static void an_impossible_size_is_refused_with_its_numbers(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    uint64_t bytes = 42;
    int64_t negative[] = {2, -3};
    rp_tensor tensor = tensor_of(RP_DTYPE_FLOAT32, negative, 2);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "dimension 1");
    assert_says(err.message, "-3");
    int64_t huge[] = {INT64_MAX, 3};
    tensor = tensor_of(RP_DTYPE_INT8, huge, 2);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_LIMIT);
    assert_says(err.message, "[9223372036854775807,3]");
    int64_t edge[] = {INT64_MAX / 2};
    tensor = tensor_of(RP_DTYPE_FLOAT64, edge, 1);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_LIMIT);
    int64_t many[33] = {0};
    tensor = tensor_of(RP_DTYPE_INT8, many, 33);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_LIMIT);
    assert_says(err.message, "33");
    tensor = tensor_of(RP_DTYPE_INT8, NULL, 1);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_ARGUMENT);
    tensor = tensor_of((rp_dtype){0, 8, 0}, negative, 1);
    assert_status(rp_tensor_bytes(&tensor, &bytes, &err), RP_ERR_ARGUMENT);
    assert_status(rp_tensor_bytes(NULL, &bytes, NULL), RP_ERR_ARGUMENT);
    assert_int_equal(bytes, 42);
}

static void strides_tell_whether_elements_lie_one_after_the_other(void **state) {
    (void)state;
    int64_t shape[] = {2, 1, 3};
    rp_tensor tensor = tensor_of(RP_DTYPE_FLOAT32, shape, 3);
    assert_true(rp_tensor_is_contiguous(&tensor));
    int64_t compact[] = {3, 77, 1};
    tensor.strides = compact;
    assert_true(rp_tensor_is_contiguous(&tensor));
    int64_t turned[] = {1, 1, 2};
    tensor.strides = turned;
    assert_false(rp_tensor_is_contiguous(&tensor));
    shape[0] = 0;
    assert_true(rp_tensor_is_contiguous(&tensor));
}

static void the_first_element_is_behind_the_offset(void **state) {
    (void)state;
    char bytes[8];
    rp_tensor tensor = tensor_of(RP_DTYPE_INT8, NULL, 0);
    tensor.byte_offset = 3;
    assert_null(rp_tensor_data(&tensor));
    tensor.data = bytes;
    assert_ptr_equal(rp_tensor_data(&tensor), bytes + 3);
}

static void a_shape_reads_well_and_is_cut_when_long(void **state) {
    (void)state;
    char out[RP_SHAPE_TEXT_BYTES];
    int64_t shape[40] = {1, -1, 384};
    assert_string_equal(rp_shape_format(shape, 3, out, sizeof out), "[1,?,384]");
    assert_string_equal(rp_shape_format(NULL, 0, out, sizeof out), "[]");
    for (size_t i = 0; i < 40; i++) {
        shape[i] = INT64_MAX;
    }
    for (size_t room = 8; room <= sizeof out; room++) {
        memset(out, 'x', sizeof out);
        rp_shape_format(shape, 40, out, room);
        assert_true(strlen(out) < room);
        assert_says(out, "...]");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensor_lies_in_memory_like_dlpack_says),
        cmocka_unit_test(every_type_has_a_name_that_reads_back),
        cmocka_unit_test(the_bytes_of_a_tensor_are_counted),
        cmocka_unit_test(an_impossible_size_is_refused_with_its_numbers),
        cmocka_unit_test(strides_tell_whether_elements_lie_one_after_the_other),
        cmocka_unit_test(the_first_element_is_behind_the_offset),
        cmocka_unit_test(a_shape_reads_well_and_is_cut_when_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
