/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/facts.h"

#include "../../tests/test.h"
#include "failure/codes.h"
#include "failure/diagnosis.h"
#include "failure/versions.h"

#include <stdio.h>
#include <stdlib.h>

/* --- reading ------------------------------------------------------------------------------- */

/* How many bytes of the text the reader took; -1: none begins there. */
static int read_as(enum rp_fact_type type, const char *text, uint64_t *number) {
    const char *end = rp_fact_read(type, text, text + strlen(text), number);
    return end ? (int)(end - text) : -1;
}

static void sizes_are_read_with_their_unit(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int taken;
        uint64_t bytes;
    } cases[] = {
        {"2.00 GiB", 8, UINT64_C(2) << 30},
        {"2.00 GiB (GPU 0", 8, UINT64_C(2) << 30},
        {"1455 MB", 7, 1455000000},
        {"1,455MB", 7, 1455000000},
        {"1,234,567 bytes", 15, 1234567},
        {"1,45", 1, 1},
        {"1,2345", 1, 1},
        {"12345,678", 5, 12345},
        {"23802932552 bytes", 17, UINT64_C(23802932552)},
        {"23802932552", 11, UINT64_C(23802932552)},
        {"1 byte", 6, 1},
        {"563.62 MB", 9, 563620000},
        {"57.70 GiB", 9, UINT64_C(61954903245)},
        {"0.1 KiB", 7, 102},
        {"0x1000", 6, 4096},
        {"20480 kB", 8, 20971520},
        {"11GB", 4, UINT64_C(11000000000)},
        {"11Gb free", 4, UINT64_C(11000000000)},
        {"16 GBytes", 9, UINT64_C(16000000000)},
        {"1.5e9", 5, 1500000000},
        {"1e3 kB", 6, 1024000},
        {"17.22G of", 6, UINT64_C(18489834209)},
        {"512Mi", 5, UINT64_C(512) << 20},
        {"64K", 3, 65536},
        {"3 TiB", 5, UINT64_C(3) << 40},
        {"0 bytes", 7, 0},
        {"0B", 2, 0},
        {"12 m", 2, 12},
        {"12 MBit", 2, 12},
        {"12 requests", 2, 12},
        {"1234.", 4, 1234},
        {"1234. Then", 4, 1234},
        {"0.00", 4, 0},
        {"18446744073709551615", 20, UINT64_MAX},
        {"17179869183.99 GiB", 18, UINT64_C(18446744073698814198)},
        {"0.00000000000000000000000001 GiB", 32, 0},
        {"0.12345678901234567890123456789 MB", 34, 123457},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 77;
        int taken = read_as(RP_FACT_BYTES, cases[i].text, &bytes);
        if (taken != cases[i].taken || bytes != cases[i].bytes) {
            fail_msg("'%s': %d bytes taken, %llu", cases[i].text, taken, (unsigned long long)bytes);
        }
    }
}

static void what_is_no_size_is_none_and_leaves_the_number(void **state) {
    (void)state;
    static const char *const cases[] = {"",
                                        "NaN",
                                        "inf GB",
                                        "-1 GiB",
                                        ".5 GiB",
                                        "GiB",
                                        " 1",
                                        "1.5",
                                        "1.5 of",
                                        "3.00",
                                        "18446744073709551616",
                                        "99999999999 GiB",
                                        "1e30",
                                        "x"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 77;
        if (read_as(RP_FACT_BYTES, cases[i], &bytes) != -1) fail_msg("'%s' was read", cases[i]);
        assert_int_equal(bytes, 77);
    }
}

static void numbers_may_be_negative_grouped_or_hexadecimal(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int taken;
        int64_t number;
    } cases[] = {
        {"12040)", 5, 12040},
        {"-1073741819 (0xC0000005)", 11, -1073741819},
        {"3221225477", 10, INT64_C(3221225477)},
        {"0xC0000005", 10, INT64_C(0xC0000005)},
        {"0x100f", 6, 0x100f},
        {"0x", 1, 0},
        {"1,234 tokens", 5, 1234},
        {"4,5", 1, 4},
        {"12.5", 2, 12},
        {"9223372036854775807", 19, INT64_MAX},
        {"0xFFFFFFFFFFFFFFFF", 18, -1},
        {"9223372036854775808", -1, 77},
        {"0x1FFFFFFFFFFFFFFFF", 1, 0},
        {"", -1, 77},
        {"-", -1, 77},
        {"- 5", -1, 77},
        {"abc", -1, 77},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t number = 77;
        int taken = read_as(RP_FACT_NUMBER, cases[i].text, &number);
        if (taken != cases[i].taken || (int64_t)number != cases[i].number) {
            fail_msg("'%s': %d bytes taken, %lld", cases[i].text, taken, (long long)number);
        }
    }
}

static void versions_end_where_they_end(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int taken;
    } cases[] = {
        {"12.4", 4},
        {"12.4.", 4},
        {"12.4, please", 4},
        {"535.104.05", 10},
        {"2.1.0+cu118", 11},
        {"2.1.0+cu118.", 11},
        {"5.4.2+rocm5.4.2 x", 15},
        {"v4.31.0", 7},
        {"1.16.3rc1", 9},
        {"2.0.0rc1.dev5", 13},
        {"2.1.0.dev20230901+cu121", 23},
        {"4.0.0-beta.2", 10},
        {"1.0.post2 is", 9},
        {"1.0b2", 5},
        {"1.0b", 3},
        {"11.0-8.0", 4},
        {"23.05-py3", 5},
        {"3.20.x or lower", 6},
        {"1.x cannot", 3},
        {"12", 2},
        {"8.6)", 3},
        {"1.2.3.4.5", 9},
        {"3.10+", 4},
        {"11.0: cannot", 4},
        {"vision", -1},
        {"", -1},
        {".5", -1},
        {"GLIBC_2.34", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t number;
        int taken = read_as(RP_FACT_VERSION, cases[i].text, &number);
        if (taken != cases[i].taken) fail_msg("'%s': %d bytes taken", cases[i].text, taken);
    }
    uint64_t number = 77;
    assert_int_equal(read_as(RP_FACT_WORD, "12", &number), -1); /* not the reader's to cut */
    assert_int_equal(number, 77);
}

static void names_are_found_by_their_text(void **state) {
    (void)state;
    for (int i = 0; i < RP_FACT_NAME_COUNT; i++) {
        const char *name = rp_fact_name_text((enum rp_fact_name)i);
        assert_non_null(name);
        assert_int_equal(rp_fact_name_of_text(name, strlen(name)), i);
    }
    assert_int_equal(rp_fact_name_of_text("bytes", 5), RP_FACT_NAME_NONE);
    assert_int_equal(rp_fact_name_of_text("chip_", 5), RP_FACT_NAME_NONE);
    assert_int_equal(rp_fact_type_of(RP_FACT_NAME_DRIVER_MIN), RP_FACT_VERSION);
}

/* --- keeping ------------------------------------------------------------------------------- */

static struct rp_facts *no_facts(void) {
    struct rp_facts *facts = calloc(1, sizeof *facts);
    assert_non_null(facts);
    return facts;
}

static void add_at(struct rp_facts *facts, enum rp_fact_name name, const char *text,
                   uint64_t number, int weight, uint64_t start) {
    struct rp_fact fact = {.name = name, .number = number, .weight = weight, .start = start};
    snprintf(fact.text, sizeof fact.text, "%s", text);
    rp_facts_add(facts, &fact);
}

static void add(struct rp_facts *facts, enum rp_fact_name name, const char *text, uint64_t number) {
    add_at(facts, name, text, number, 0, 0);
}

static const char *text_of(const struct rp_facts *facts, enum rp_fact_name name) {
    const struct rp_fact *fact = rp_facts_find(facts, name);
    return fact ? fact->text : "(none)";
}

static void the_heavier_fact_is_found_and_of_equals_the_later(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    assert_null(rp_facts_find(facts, RP_FACT_NAME_DEVICE));
    add_at(facts, RP_FACT_NAME_DEVICE, "cuda:0", 0, 5, 10);
    add_at(facts, RP_FACT_NAME_DEVICE, "cuda:1", 0, 5, 90);
    add_at(facts, RP_FACT_NAME_DEVICE, "cuda:2", 0, 5, 50);
    add_at(facts, RP_FACT_NAME_DEVICE, "cuda:3", 0, 4, 99);
    assert_string_equal(text_of(facts, RP_FACT_NAME_DEVICE), "cuda:1");
    add_at(facts, RP_FACT_NAME_DEVICE, "cpu", 0, 6, 0);
    assert_string_equal(text_of(facts, RP_FACT_NAME_DEVICE), "cpu");
    free(facts);
}

static void one_value_is_kept_once_with_its_greater_weight(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add_at(facts, RP_FACT_NAME_BYTES_FREE, "1 KiB", 1024, 3, 10);
    add_at(facts, RP_FACT_NAME_BYTES_FREE, "1024", 1024, 7, 20);
    add_at(facts, RP_FACT_NAME_BYTES_FREE, "1024 B", 1024, 2, 30);
    add_at(facts, RP_FACT_NAME_BYTES_TOTAL, "1024 B", 1024, 2, 30);
    assert_int_equal(facts->count, 2);
    assert_int_equal(rp_facts_find(facts, RP_FACT_NAME_BYTES_FREE)->weight, 7);
    assert_string_equal(text_of(facts, RP_FACT_NAME_BYTES_FREE), "1024");
    free(facts);
}

static void the_lightest_fact_makes_room(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add_at(facts, RP_FACT_NAME_LIBRARY, "only one", 0, 1, 0);
    for (uint64_t i = 1; i < RP_FACTS_KEPT; i++) {
        add_at(facts, RP_FACT_NAME_FILE_OFFSET, "", i, 1, i);
    }
    assert_int_equal(facts->count, RP_FACTS_KEPT);
    add_at(facts, RP_FACT_NAME_PID, "", 7, 2, 0);
    assert_int_equal(facts->count, RP_FACTS_KEPT);
    assert_non_null(rp_facts_find(facts, RP_FACT_NAME_PID));
    /* Of equals one goes that nobody would find. */
    assert_string_equal(text_of(facts, RP_FACT_NAME_LIBRARY), "only one");
    assert_int_equal(rp_facts_find(facts, RP_FACT_NAME_FILE_OFFSET)->number, RP_FACTS_KEPT - 1);
    add_at(facts, RP_FACT_NAME_RANK, "", 3, 0, 0); /* lighter than all */
    assert_null(rp_facts_find(facts, RP_FACT_NAME_RANK));
    free(facts);
}

static void texts_are_tidied_and_nonsense_is_not_taken(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add(facts, RP_FACT_NAME_VERSION_FOUND, "v4.31.0", 0);
    add(facts, RP_FACT_NAME_OPERATOR, "Conv_0:Conv", 0);
    add(facts, RP_FACT_NAME_PACKAGE, "torch==1.9.0+cu111", 0);
    add(facts, RP_FACT_NAME_SIGNAL, "handler", 0);
    add(facts, RP_FACT_NAME_HTTP_STATUS, "5", 5);
    assert_string_equal(text_of(facts, RP_FACT_NAME_VERSION_FOUND), "4.31.0");
    assert_string_equal(text_of(facts, RP_FACT_NAME_OPERATOR), "Conv");
    assert_string_equal(text_of(facts, RP_FACT_NAME_PACKAGE), "torch");
    assert_int_equal(facts->count, 3);
    add(facts, RP_FACT_NAME_OPERATOR, "aten::conv2d", 0);
    assert_string_equal(text_of(facts, RP_FACT_NAME_OPERATOR), "aten::conv2d");
    free(facts);
}

/* --- decoding ------------------------------------------------------------------------------ */

static void codes_and_versions_are_decoded(void **state) {
    (void)state;
    static const struct {
        enum rp_fact_name name;
        const char *text;
        int64_t number;
        enum rp_fact_name derived;
        const char *expected; /* NULL: nothing follows */
    } cases[] = {
        {RP_FACT_NAME_CUDA_CODE, "", 12040, RP_FACT_NAME_CUDA_MAX, "12.4"},
        {RP_FACT_NAME_CUDA_CODE, "", 11010, RP_FACT_NAME_VERSION_FOUND, "11.1"},
        {RP_FACT_NAME_CUDA_CODE, "", 9000, RP_FACT_NAME_VERSION_FOUND, "9.0"},
        {RP_FACT_NAME_CUDA_CODE, "", 0, RP_FACT_NAME_VERSION_FOUND, NULL},
        {RP_FACT_NAME_CUDA_CODE, "", 8907, RP_FACT_NAME_VERSION_FOUND, NULL},
        {RP_FACT_NAME_CUDA_CODE, "", 9105, RP_FACT_NAME_VERSION_FOUND, NULL},
        {RP_FACT_NAME_CUDA_CODE_NEEDED, "", 12080, RP_FACT_NAME_DRIVER_MIN, "570.26"},
        {RP_FACT_NAME_CUDA_CODE_NEEDED, "", 90100, RP_FACT_NAME_CUDA_NEEDED, NULL},
        {RP_FACT_NAME_CUDNN_CODE, "", 8907, RP_FACT_NAME_VERSION_FOUND, "8.9.7"},
        {RP_FACT_NAME_CUDNN_CODE_NEEDED, "", 90100, RP_FACT_NAME_VERSION_NEEDED, "9.1.0"},
        {RP_FACT_NAME_CUDNN_CODE, "", 7605, RP_FACT_NAME_VERSION_FOUND, "7.6.5"},
        {RP_FACT_NAME_DRIVER_VERSION, "535.104.05", 0, RP_FACT_NAME_CUDA_MAX, "12.2"},
        {RP_FACT_NAME_DRIVER_VERSION, "384.81", 0, RP_FACT_NAME_CUDA_MAX, "9.0"},
        {RP_FACT_NAME_DRIVER_VERSION, "300.1", 0, RP_FACT_NAME_CUDA_MAX, NULL},
        {RP_FACT_NAME_CUDA_NEEDED, "12.4", 0, RP_FACT_NAME_DRIVER_MIN, "550.54.14"},
        {RP_FACT_NAME_CUDA_NEEDED, "12.4.1", 0, RP_FACT_NAME_DRIVER_MIN_WINDOWS, "551.61"},
        {RP_FACT_NAME_CUDA_NEEDED, "12.4", 0, RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, "525.60.13"},
        {RP_FACT_NAME_CUDA_NEEDED, "13", 0, RP_FACT_NAME_DRIVER_MIN, "580.65.06"},
        {RP_FACT_NAME_CUDA_NEEDED, "13.0", 0, RP_FACT_NAME_DRIVER_MIN_WINDOWS, NULL},
        {RP_FACT_NAME_CUDA_NEEDED, "99.1", 0, RP_FACT_NAME_DRIVER_MIN, NULL},
        {RP_FACT_NAME_CUDA_VERSION, "11.8", 0, RP_FACT_NAME_DRIVER_MIN, "520.61.05"},
        {RP_FACT_NAME_COMPUTE, "8.6", 0, RP_FACT_NAME_CHIP, "sm_86"},
        {RP_FACT_NAME_COMPUTE, "12.0", 0, RP_FACT_NAME_CHIP_CUDA_FIRST, "12.8"},
        {RP_FACT_NAME_COMPUTE, "3.7", 0, RP_FACT_NAME_CHIP_CUDA_LAST, "11.8"},
        {RP_FACT_NAME_COMPUTE, "4.4", 0, RP_FACT_NAME_CHIP, NULL},
        {RP_FACT_NAME_COMPUTE_NEEDED, "8.0", 0, RP_FACT_NAME_CHIP_NAME_NEEDED, "Ampere: A100, A30"},
        {RP_FACT_NAME_CHIP, "sm_90a", 0, RP_FACT_NAME_COMPUTE, "9.0"},
        {RP_FACT_NAME_CHIP, "compute_120", 0, RP_FACT_NAME_COMPUTE, "12.0"},
        {RP_FACT_NAME_CHIP, "gfx1031", 0, RP_FACT_NAME_HSA_OVERRIDE, "10.3.0"},
        {RP_FACT_NAME_CHIP, "gfx90a:sramecc+:xnack-", 0, RP_FACT_NAME_CHIP_NAME,
         "CDNA 2: MI210, MI250"},
        {RP_FACT_NAME_CHIP, "gfx1100", 0, RP_FACT_NAME_HSA_OVERRIDE, NULL},
        {RP_FACT_NAME_CHIP, "gfx10", 0, RP_FACT_NAME_CHIP_NAME, NULL},
        {RP_FACT_NAME_CUDA_ARCH, "", 610, RP_FACT_NAME_COMPUTE, "6.1"},
        {RP_FACT_NAME_OPSET_FOUND, "", 20, RP_FACT_NAME_ONNX_NEEDED, "1.15"},
        {RP_FACT_NAME_OPSET_FOUND, "", 16, RP_FACT_NAME_ONNXRUNTIME_NEEDED, "1.11"},
        {RP_FACT_NAME_OPSET_FOUND, "", 3, RP_FACT_NAME_ONNX_NEEDED, "1.1"},
        {RP_FACT_NAME_OPSET_FOUND, "", 99, RP_FACT_NAME_ONNX_NEEDED, NULL},
        {RP_FACT_NAME_OPSET_FOUND, "", -1, RP_FACT_NAME_ONNX_NEEDED, NULL},
        {RP_FACT_NAME_IR_VERSION, "", 10, RP_FACT_NAME_ONNXRUNTIME_NEEDED, "1.18"},
        {RP_FACT_NAME_IR_VERSION, "", 13, RP_FACT_NAME_ONNXRUNTIME_NEEDED, NULL},
        {RP_FACT_NAME_GLIBC_NEEDED, "2.32", 0, RP_FACT_NAME_SYSTEMS_NEEDED,
         "RHEL 9, Ubuntu 22.04, Debian 12"},
        {RP_FACT_NAME_GLIBC_NEEDED, "2.99", 0, RP_FACT_NAME_SYSTEMS_NEEDED, NULL},
        {RP_FACT_NAME_GLIBCXX_NEEDED, "3.4.29", 0, RP_FACT_NAME_GCC_NEEDED, "11.1"},
        {RP_FACT_NAME_CXXABI_NEEDED, "1.3.13", 0, RP_FACT_NAME_GCC_NEEDED, "11.1"},
        {RP_FACT_NAME_EXIT_CODE, "", 137, RP_FACT_NAME_SIGNAL, "SIGKILL"},
        {RP_FACT_NAME_EXIT_CODE, "", 139, RP_FACT_NAME_SIGNAL, "SIGSEGV"},
        {RP_FACT_NAME_EXIT_CODE, "", 134, RP_FACT_NAME_SIGNAL, "SIGABRT"},
        {RP_FACT_NAME_EXIT_CODE, "", -9, RP_FACT_NAME_SIGNAL, "SIGKILL"},
        {RP_FACT_NAME_EXIT_CODE, "", 1, RP_FACT_NAME_SIGNAL, NULL},
        {RP_FACT_NAME_EXIT_CODE, "", 128, RP_FACT_NAME_SIGNAL, NULL},
        {RP_FACT_NAME_EXIT_CODE, "", 0xC0000135, RP_FACT_NAME_ERROR_CODE_NAME,
         "STATUS_DLL_NOT_FOUND"},
        {RP_FACT_NAME_EXIT_CODE, "", -1073741819, RP_FACT_NAME_ERROR_CODE_NAME,
         "STATUS_ACCESS_VIOLATION"},
        {RP_FACT_NAME_EXIT_CODE, "", INT64_C(3221225501), RP_FACT_NAME_ERROR_CODE_NAME,
         "STATUS_ILLEGAL_INSTRUCTION"},
        {RP_FACT_NAME_SIGNAL, "11", 0, RP_FACT_NAME_SIGNAL, "SIGSEGV"},
        {RP_FACT_NAME_SIGNAL, "killed", 0, RP_FACT_NAME_SIGNAL, "SIGKILL"},
        {RP_FACT_NAME_SIGNAL, "SIGBUS", 0, RP_FACT_NAME_SIGNAL, "SIGBUS"},
        {RP_FACT_NAME_ERRNO, "", 12, RP_FACT_NAME_ERRNO_NAME, "ENOMEM"},
        {RP_FACT_NAME_ERRNO, "", 1455, RP_FACT_NAME_ERROR_CODE_NAME, "ERROR_COMMITMENT_LIMIT"},
        {RP_FACT_NAME_HTTP_STATUS, "", 401, RP_FACT_NAME_HTTP_TEXT, "Unauthorized"},
        {RP_FACT_NAME_CUDA_ERROR, "", 35, RP_FACT_NAME_ERROR_CODE_NAME,
         "cudaErrorInsufficientDriver"},
        {RP_FACT_NAME_HIP_ERROR, "", 209, RP_FACT_NAME_ERROR_CODE_NAME, "hipErrorNoBinaryForGpu"},
        {RP_FACT_NAME_HSA_ERROR, "", 0x1008, RP_FACT_NAME_ERROR_CODE_NAME,
         "HSA_STATUS_ERROR_OUT_OF_RESOURCES"},
        {RP_FACT_NAME_NCCL_ERROR, "", 2, RP_FACT_NAME_ERROR_CODE_NAME, "ncclSystemError"},
        {RP_FACT_NAME_CUDNN_ERROR, "", 8, RP_FACT_NAME_ERROR_CODE_NAME,
         "CUDNN_STATUS_EXECUTION_FAILED"},
        {RP_FACT_NAME_CUBLAS_ERROR, "", 3, RP_FACT_NAME_ERROR_CODE_NAME,
         "CUBLAS_STATUS_ALLOC_FAILED"},
        {RP_FACT_NAME_OPENCL_ERROR, "", -5, RP_FACT_NAME_ERROR_CODE_NAME, "CL_OUT_OF_RESOURCES"},
        {RP_FACT_NAME_VULKAN_ERROR, "", -4, RP_FACT_NAME_ERROR_CODE_NAME, "VK_ERROR_DEVICE_LOST"},
        {RP_FACT_NAME_LEVEL_ZERO_ERROR, "", 0x70000003, RP_FACT_NAME_ERROR_CODE_NAME,
         "ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"},
        {RP_FACT_NAME_QNN_ERROR, "", 5005, RP_FACT_NAME_ERROR_CODE_NAME,
         "QNN_CONTEXT_ERROR_CREATE_FROM_BINARY"},
        {RP_FACT_NAME_WINDOWS_ERROR, "", 126, RP_FACT_NAME_ERROR_CODE_NAME, "ERROR_MOD_NOT_FOUND"},
        {RP_FACT_NAME_WINDOWS_ERROR, "", -2005270523, RP_FACT_NAME_ERROR_CODE_NAME,
         "DXGI_ERROR_DEVICE_REMOVED"},
        {RP_FACT_NAME_XID, "", 79, RP_FACT_NAME_XID_TEXT, "GPU has fallen off the bus"},
        {RP_FACT_NAME_ERROR_CODE, "804", 0, RP_FACT_NAME_ERROR_CODE_NAME,
         "cudaErrorCompatNotSupportedOnDevice"},
        {RP_FACT_NAME_ERROR_CODE, "3110", 0, RP_FACT_NAME_ERROR_CODE_NAME,
         "QNN_OP_PACKAGE_ERROR_VALIDATION_FAILURE"},
        {RP_FACT_NAME_ERROR_CODE, "0x887A0005", 0, RP_FACT_NAME_ERROR_CODE_NAME,
         "DXGI_ERROR_DEVICE_REMOVED"},
        {RP_FACT_NAME_ERROR_CODE, "887A0006", 0, RP_FACT_NAME_ERROR_CODE_NAME,
         "DXGI_ERROR_DEVICE_HUNG"},
        {RP_FACT_NAME_ERROR_CODE, "0x100f", 0, RP_FACT_NAME_ERROR_CODE_NAME,
         "HSA_STATUS_ERROR_INVALID_ISA"},
        {RP_FACT_NAME_ERROR_CODE, "2", 0, RP_FACT_NAME_ERROR_CODE_NAME, NULL},
        {RP_FACT_NAME_ERROR_CODE, "-4", 0, RP_FACT_NAME_ERROR_CODE_NAME, NULL},
        {RP_FACT_NAME_ERROR_CODE, "CUDNN_STATUS_X", 0, RP_FACT_NAME_ERROR_CODE_NAME, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_facts *facts = no_facts();
        add(facts, cases[i].name, cases[i].text, (uint64_t)cases[i].number);
        rp_facts_decode(facts);
        const char *got = text_of(facts, cases[i].derived);
        const char *expected = cases[i].expected ? cases[i].expected : "(none)";
        if (strcmp(got, expected) != 0) {
            fail_msg("%s '%s' %lld: %s is '%s', not '%s'", rp_fact_name_text(cases[i].name),
                     cases[i].text, (long long)cases[i].number, rp_fact_name_text(cases[i].derived),
                     got, expected);
        }
        free(facts);
    }
}

static void what_follows_stands_where_its_cause_does(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    struct rp_fact fact = {
        .name = RP_FACT_NAME_EXIT_CODE, .number = 139, .start = 40, .end = 43, .weight = 9};
    rp_facts_add(facts, &fact);
    rp_facts_decode(facts);
    const struct rp_fact *derived = rp_facts_find(facts, RP_FACT_NAME_SIGNAL);
    assert_non_null(derived);
    assert_true(derived->is_derived);
    assert_int_equal(derived->start, 40);
    assert_int_equal(derived->end, 43);
    assert_int_equal(derived->weight, 9);
    free(facts);
}

static void what_the_text_says_beats_what_follows(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add(facts, RP_FACT_NAME_CUDA_NEEDED, "12.4", 0);
    add(facts, RP_FACT_NAME_DRIVER_MIN, "999.1", 0);
    add(facts, RP_FACT_NAME_CHIP, "gfx1030", 0);
    add(facts, RP_FACT_NAME_COMPUTE, "10.3", 0);
    rp_facts_decode(facts);
    assert_string_equal(text_of(facts, RP_FACT_NAME_DRIVER_MIN), "999.1");
    assert_string_equal(text_of(facts, RP_FACT_NAME_CHIP), "gfx1030");
    assert_string_equal(text_of(facts, RP_FACT_NAME_CHIP_NAME),
                        "RDNA 2: RX 6800, RX 6900, Pro W6800");
    free(facts);
}

static void unused_and_free_bytes_follow_from_sums(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add(facts, RP_FACT_NAME_BYTES_USED, "", 700);
    add(facts, RP_FACT_NAME_BYTES_RESERVED_TOTAL, "", 900);
    add(facts, RP_FACT_NAME_BYTES_LIMIT, "", 1000);
    add(facts, RP_FACT_NAME_BYTES_OTHERS, "", 250);
    rp_facts_decode(facts);
    assert_int_equal(rp_facts_find(facts, RP_FACT_NAME_BYTES_RESERVED)->number, 200);
    assert_int_equal(rp_facts_find(facts, RP_FACT_NAME_BYTES_FREE)->number, 50);
    free(facts);
}

/* --- tables -------------------------------------------------------------------------------- */

static void tables_of_codes_are_sorted_and_answer(void **state) {
    (void)state;
    for (int kind = 0; kind < RP_CODE_KIND_COUNT; kind++) {
        size_t count = 0;
        const struct rp_code *rows = rp_code_table((enum rp_code_kind)kind, &count);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            if (i > 0 && rows[i].number <= rows[i - 1].number) {
                fail_msg("'%s' is not in its place", rows[i].name);
            }
            assert_string_equal(rp_code_name((enum rp_code_kind)kind, rows[i].number),
                                rows[i].name);
        }
        assert_null(rp_code_name((enum rp_code_kind)kind, INT64_C(1) << 40));
    }
}

static void a_release_of_cuda_is_what_its_own_driver_runs(void **state) {
    (void)state;
    static const char *const releases[] = {"9.0",  "9.1",  "9.2",  "10.0", "10.1", "10.2", "11.0",
                                           "11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7",
                                           "11.8", "12.0", "12.1", "12.2", "12.3", "12.4", "12.5",
                                           "12.6", "12.7", "12.8", "12.9", "13.0", "13.1", "13.2"};
    for (size_t i = 0; i < sizeof releases / sizeof releases[0]; i++) {
        const struct rp_cuda_release *release = rp_cuda_release_of(releases[i]);
        assert_non_null(release);
        assert_ptr_equal(rp_cuda_release_of_driver(release->driver), release);
        /* 11.8 came to Windows with a driver numbered below that of Linux. */
        if (release->driver_windows && strcmp(releases[i], "11.8") != 0) {
            assert_ptr_equal(rp_cuda_release_of_driver(release->driver_windows), release);
        }
    }
}

/* --- texts --------------------------------------------------------------------------------- */

/* An error text, and facts that are found in it: "name=value|name=value". */
static const struct {
    const char *text;
    const char *facts;
} texts[] = {
    {"CUDA out of memory. Tried to allocate 1.50 GiB (GPU 1; 11.76 GiB total capacity; 8.25 GiB "
     "already allocated; 512.00 MiB free; 9.25 GiB reserved in total by PyTorch)",
     "bytes_asked=1610612736|bytes_free=536870912|bytes_total=12627203850|bytes_used=8858370048|"
     "bytes_reserved=1073741824|device_index=1|bytes_reserved_total=9932111872"},
    {"CUDA out of memory. Tried to allocate 3.00 GiB (GPU 0; 15.78 GiB total capacity; 9.50 GiB "
     "already allocated; 1.25 GiB free; 2.50 GiB cached)",
     "bytes_asked=3221225472|bytes_free=1342177280|bytes_total=16943645983|bytes_used=10200547328|"
     "bytes_reserved=2684354560|device_index=0"},
    {"CUDA out of memory. Tried to allocate 48.00 MiB. GPU 2 has a total capacty of 23.65 GiB of "
     "which 11.00 MiB is free. Process 4711 has 7.00 GiB memory in use. Including non-PyTorch "
     "memory, this process has 16.25 GiB memory in use. Of the allocated memory 15.50 GiB is "
     "allocated by PyTorch, and 256.00 MiB is reserved by PyTorch but unallocated.",
     "bytes_asked=50331648|bytes_free=11534336|bytes_total=25393994138|bytes_used=16642998272|"
     "bytes_reserved=268435456|device_index=2|pid=4711|bytes_process=17448304640|bytes_others="
     "7516192768"},
    {"MPS backend out of memory (MPS allocated: 9.25 GB, other allocations: 1.50 GB, max allowed: "
     "18.00 GB). Tried to allocate 8.00 GB on private pool.",
     "bytes_asked=8589934592|bytes_free=7784628224|bytes_used=9932111872|bytes_limit=19327352832|"
     "bytes_others=1610612736"},
    {"MPS backend out of memory (MPS allocated: 9.25 GiB, other allocations: 96.00 KB, max "
     "allowed: 18.00 GiB). Tried to allocate 512 bytes on private pool.",
     "bytes_asked=512|bytes_used=9932111872|bytes_limit=19327352832|bytes_others=98304"},
    {"RuntimeError: Invalid buffer size: 14.25 GB", "bytes_asked=15300820992"},
    {"ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
     "library=libcudnn.so.9|version_needed=9"},
    {"RuntimeError: RoIRotate is not compiled with GPU support", "operator=RoIRotate"},
    {"PaddlePaddle is not compiled with GPU support", "package=PaddlePaddle"},
    {"Allocator (GPU_0_bfc) ran out of memory trying to allocate 3.25GiB (rounded to "
     "3489661184)requested by op model/dense/MatMul",
     "bytes_asked=3489660928|operator=model/dense/MatMul|device_index=0"},
    {"Failed to allocate request for 3.00GiB (3221225472B) on device ordinal 1",
     "bytes_asked=3221225472|device_index=1"},
    {"Ran out of memory in memory space hbm. Used 19.25G of 15.48G hbm. Exceeded hbm capacity by "
     "3.77G.",
     "bytes_asked=20669530112|bytes_limit=16621523436|memory=hbm"},
    {"BFCArena: Available memory of 734003200 is smaller than requested bytes of 1610612736",
     "bytes_asked=1610612736|bytes_free=734003200"},
    {"CUDA failure 2: out of memory ; GPU=1 ; hostname=node7 ; file=cuda_execution_provider.cc",
     "device_index=1|cuda_error=2|error_code_name=cudaErrorMemoryAllocation"},
    {"[GPU] Exceeded max size of memory object allocation: requested 6442450944 bytes, but max "
     "alloc size supported by device is 4294959104 bytes.",
     "bytes_asked=6442450944|bytes_limit=4294959104"},
    {"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9216.50 MiB on device 1: cudaMalloc "
     "failed: out of memory",
     "bytes_asked=9664200704|device_index=1"},
    {"alloc_tensor_range: failed to allocate CUDA0 buffer of size 9664131072",
     "bytes_asked=9664131072|device=CUDA0|device_index=0"},
    {"ggml_vulkan: Device memory allocation of size 2415919104 failed.", "bytes_asked=2415919104"},
    {"ValueError: Free memory on device cuda:0 (12.5/23.64 GiB) on startup is less than desired "
     "GPU memory utilization (0.9, 21.28 GiB).",
     "bytes_asked=22849226015|bytes_total=25383256719|device=cuda:0|bytes_free=13421772800|device_"
     "index=0"},
    {"Out of memory: Killed process 4242 (python3) total-vm:91234560kB, anon-rss:63123456kB, "
     "file-rss:2048kB, shmem-rss:0kB",
     "bytes_used=64638418944|process=python3|pid=4242"},
    {"Memory cgroup out of memory: Killed process 99 (node), UID 1000, total-vm:9123456kB, "
     "anon-rss:4123456kB, file-rss:512kB",
     "bytes_used=4222418944|process=node|pid=99"},
    {"numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with "
     "shape (50000, 20000) and data type float64",
     "bytes_asked=7999376589|dtype=float64|value=(50000, 20000)"},
    {"RuntimeError: unable to mmap 9876543210 bytes from file </models/large model.safetensors>: "
     "Cannot allocate memory (12)",
     "bytes_asked=9876543210|file=/models/large model.safetensors|errno=12|errno_name=ENOMEM"},
    {"Not enough free disk space to download the file. The expected file size is: 14483.46 MB. The "
     "target location /data/hub only has 9216.25 MB free disk space.",
     "bytes_asked=14483460000|bytes_free=9216250000|folder=/data/hub"},
    {"Buffer size 1073741824 is greater than the maximum buffer size (268435456)",
     "bytes_asked=1073741824|bytes_limit=268435456"},
    {"Binding size (402653184) of [Buffer \"weights\"] is larger than the maximum storage buffer "
     "binding size (134217728).",
     "bytes_asked=402653184|bytes_limit=134217728"},
    {"The number of storage buffers (12) in the Compute stage exceeds the maximum per-stage limit "
     "(8).",
     "asked=12|limit=8|value=storage buffers"},
    {"Dispatch workgroup count X (91204) exceeds max compute workgroups per dimension (65535).",
     "asked=91204|limit=65535"},
    {"Limit 'max_buffer_size' value 4294967296 is better than allowed 1073741824",
     "asked=4294967296|limit=1073741824|feature=max_buffer_size"},
    {"Token indices sequence length is longer than the specified maximum sequence length for this "
     "model (733 > 512). Running this sequence through the model will result in indexing errors",
     "asked=733|limit=512"},
    {"The model's max seq len (40960) is larger than the maximum number of tokens that can be "
     "stored in KV cache (21744). Try increasing gpu_memory_utilization",
     "asked=40960|limit=21744"},
    {"User-specified max_model_len (16384) is greater than the derived max_model_len "
     "(max_position_embeddings=4096 or model_max_length=None in model's config.json).",
     "asked=16384|limit=4096"},
    {"ValueError: Requested tokens (3012) exceed context window of 2048", "asked=3012|limit=2048"},
    {"The NVIDIA driver on your system is too old (found version 11060). Please update your GPU "
     "driver",
     "version_found=11.6|cuda_code=11060|cuda_max=11.6"},
    {"RuntimeError: Found CUDA version 12010, but JAX was built against version 12030, which is "
     "newer.",
     "version_found=12.1|version_needed=12.3|cuda_code_runtime=12010|cuda_code_needed=12030|cuda_"
     "version=12.1|cuda_needed=12.3|driver_min=545.23.06|driver_min_windows=545.84|driver_min_"
     "compatible=525.60.13"},
    {"RuntimeError: Found cuDNN version 8902, but JAX was built against version 90100",
     "version_found=8.9.2|version_needed=9.1.0|cudnn_code=8902|cudnn_code_needed=90100"},
    {"Outdated CUDA installation found.\nVersion JAX was built against: 12080\nInstalled version: "
     "12020",
     "version_found=12.2|version_needed=12.8|cuda_code_runtime=12020|cuda_code_needed=12080|cuda_"
     "version=12.2|cuda_needed=12.8|driver_min=570.26|driver_min_windows=570.65|driver_min_"
     "compatible=525.60.13"},
    {"Loaded runtime CuDNN library: 8.0.5 but source was compiled with: 8.6.0.  CuDNN library "
     "needs to have matching major version",
     "version_found=8.0.5|version_needed=8.6.0"},
    {"nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.6, please update "
     "your driver to a newer version",
     "cuda_needed=12.6|driver_min=560.28.03|driver_min_windows=560.76|driver_min_compatible=525.60."
     "13"},
    {"kernel version 535.54.3 does not match DSO version 535.129.3 -- cannot find working devices "
     "in this configuration",
     "version_found=535.129.3|driver_version=535.54.3|cuda_max=12.2"},
    {"kernel reported version is: 470.57.2\nlibcuda reported version is: 470.82.1",
     "version_found=470.82.1|driver_version=470.57.2|cuda_max=11.4"},
    {"NVRM: API mismatch: the client has the version 550.90.07, but\nNVRM: this kernel module has "
     "the version 550.54.15.",
     "version_found=550.54.15|version_needed=550.90.07|driver_version=550.54.15|cuda_max=12.4"},
    {"| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2     |",
     "driver_version=535.104.05|cuda_max=12.2"},
    {"Nvidia driver version: 525.85.12\nCUDA used to build PyTorch: 12.1\nCUDA runtime version: "
     "12.1.105",
     "driver_version=525.85.12|cuda_version=12.1.105|cuda_max=12.0|driver_min=530.30.02|driver_min_"
     "windows=531.14|driver_min_compatible=525.60.13"},
    {"The detected CUDA version (12.4) mismatches the version that was used to compile PyTorch "
     "(11.8). Please make sure to use the same CUDA versions.",
     "version_found=12.4|version_needed=11.8"},
    {"RuntimeError: FlashAttention is only supported on CUDA 11.7 and above.",
     "cuda_needed=11.7|driver_min=515.43.04|driver_min_windows=516.01|driver_min_compatible=450.80."
     "02"},
    {"/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.35' not found (required by ./llama-cli)",
     "library=/lib/x86_64-linux-gnu/libc.so.6|file=./"
     "llama-cli|glibc_needed=2.35|systems_needed=RHEL 10, Ubuntu 22.04, Debian 12"},
    {"/usr/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by "
     "/opt/env/pyarrow.so)",
     "library=/usr/lib/libstdc++.so.6|file=/opt/env/"
     "pyarrow.so|glibcxx_needed=3.4.32|gcc_needed=13.2|systems_needed=RHEL 10, Ubuntu 24.04, "
     "Debian 13"},
    {"/usr/lib/libstdc++.so.6: version `CXXABI_1.3.15' not found (required by /opt/env/libLLVM.so)",
     "library=/usr/lib/libstdc++.so.6|file=/opt/env/"
     "libLLVM.so|cxxabi_needed=1.3.15|gcc_needed=14.1|systems_needed=RHEL 10, Ubuntu 24.04, Debian "
     "13"},
    {"ImportError: tokenizers>=0.14 is required for a normal functioning of this module, but found "
     "tokenizers==0.13.3.",
     "version_found=0.13.3|version_needed=0.14|package=tokenizers"},
    {"ImportError: huggingface-hub>=0.16.4,<1.0 is required for a normal functioning of this "
     "module, but found huggingface-hub==0.14.1.",
     "version_found=0.14.1|version_needed=0.16.4|package=huggingface-hub"},
    {"ERROR: gradio 4.1.0 requires pydantic>=2.0, but you have pydantic 1.10.12 which is "
     "incompatible.",
     "version_found=1.10.12|version_needed=2.0|package=gradio|package_other=pydantic"},
    {"ERROR: tensorflow 2.15.0 requires keras<2.16,>=2.15.0, but you have keras 3.0.1 which is "
     "incompatible.",
     "version_found=3.0.1|version_needed=2.15.0|package=tensorflow|package_other=keras"},
    {"ERROR: Could not find a version that satisfies the requirement torch==1.9.0+cu111 (from "
     "versions: 2.0.0, 2.0.1)",
     "version_needed=1.9.0+cu111|package=torch"},
    {"ERROR: Could not find a version that satisfies the requirement bitsandbytes>=0.43 (from "
     "versions: 0.41.0, 0.42.0)",
     "version_needed=0.43|package=bitsandbytes"},
    {"ERROR: Package 'x' requires a different Python: 3.8.10 not in '>=3.9'",
     "version_found=3.8.10|version_needed=3.9"},
    {"A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0.1 as it may crash.",
     "version_found=2.0.1|version_needed=1.x"},
    {"FlashAttention2 has been toggled on, but it cannot be used due to the following error: the "
     "package flash_attn seems to be not installed.",
     "package=flash_attn"},
    {"ImportError: cannot import name 'Qwen3ForCausalLM' from 'transformers' "
     "(/opt/env/transformers/__init__.py)",
     "symbol=Qwen3ForCausalLM|package=transformers"},
    {"ImportError: /opt/env/xformers/_C.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
     "library=/opt/env/xformers/_C.so|symbol=_ZN3c104cuda9SetDeviceEi"},
    {"Error: dlopen_ex failed for libQnnHtpV73Skel.so (flags 258)", "library=libQnnHtpV73Skel.so"},
    {"FileNotFoundError: [Errno 2] No such file or directory: '/models/tiny/vocab.json'",
     "file=/models/tiny/vocab.json|errno=2|errno_name=ENOENT"},
    {"OSError: [Errno 28] No space left on device: '/tmp/pip-unpack/torch.whl'",
     "file=/tmp/pip-unpack/torch.whl|errno=28|errno_name=ENOSPC"},
    {"Error: Permission denied (os error 13)", "errno=13|errno_name=EACCES"},
    {"open failed, errno: 24", "errno=24|errno_name=EMFILE"},
    {"OSError: acme/tiny-model does not appear to have a file named pytorch_model.bin.",
     "model=acme/tiny-model|file=pytorch_model.bin"},
    {"OSError: acme/typo-model is not a local folder and is not a valid model identifier listed on "
     "the hub",
     "model=acme/typo-model"},
    {"UnicodeDecodeError: 'utf-8' codec can't decode byte 0x8b in position 17: invalid start byte",
     "file_offset=17|value=0x8b"},
    {"Unable to open /dev/kfd read-write: Permission denied", "file=/dev/kfd"},
    {"ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your "
     "Quadro RTX 5000 GPU has compute capability 7.5.",
     "dtype=Bfloat16|device_name=Quadro RTX "
     "5000|chip=sm_75|compute_capability=7.5|compute_capability_needed=8.0|chip_name=Turing: T4, "
     "RTX 20, GTX 16, Quadro RTX|chip_name_needed=Ampere: A100, A30|chip_cuda_first=10.0"},
    {"NVIDIA GeForce RTX 5070 with CUDA capability sm_120 is not compatible with the current "
     "PyTorch installation.\nThe current PyTorch install supports CUDA capabilities sm_70 sm_75 "
     "sm_80 sm_86 sm_90.",
     "device_name=NVIDIA GeForce RTX 5070|chip=sm_120|chips_supported=sm_70 sm_75 sm_80 sm_86 "
     "sm_90|compute_capability=12.0|chip_name=Blackwell: RTX 50, RTX PRO|chip_cuda_first=12.8"},
    {"Found GPU0 GeForce GTX 670 which is of cuda capability 3.0.\nPyTorch no longer supports this "
     "GPU because it is too old.\nThe minimum cuda capability supported by this library is 3.7.",
     "device_index=0|device_name=GeForce GTX "
     "670|chip=sm_30|compute_capability=3.0|compute_capability_needed=3.7|chip_name=Kepler: GTX "
     "600, GTX 700, Tesla K10|chip_name_needed=Kepler: Tesla "
     "K80|chip_cuda_first=4.2|chip_cuda_last=10.2"},
    {"Created device /device:GPU:0 with 14000 MB memory: -> device: 0, name: Tesla T4, pci bus id: "
     "0000:00:1e.0, compute capability: 7.5",
     "device_index=0|device_name=Tesla T4|chip=sm_75|compute_capability=7.5|chip_name=Turing: T4, "
     "RTX 20, GTX 16, Quadro RTX|chip_cuda_first=10.0"},
    {"Device 0: NVIDIA GeForce GTX 1080 Ti, compute capability 6.1, VMM: yes",
     "device_index=0|device_name=NVIDIA GeForce GTX 1080 "
     "Ti|chip=sm_61|compute_capability=6.1|chip_name=Pascal: GTX 10, Tesla P4, Tesla "
     "P40|chip_cuda_first=8.0|chip_cuda_last=12.9"},
    {"Device 0: AMD Radeon RX 6600, gfx1032 (0x1032), VMM: no, Wave Size: 32",
     "device_index=0|device_name=AMD Radeon RX 6600|chip=gfx1032|chip_name=RDNA 2: RX "
     "6600|hsa_override=10.3.0"},
    {"ERROR: CUDA kernel mul_mat_q has no device code compatible with CUDA arch 520. ggml-cuda.cu "
     "was compiled for: 610,700,750",
     "operator=mul_mat_q|chip=sm_52|chips_supported=610,700,750|compute_capability=5.2|cuda_arch="
     "520|chip_name=Maxwell: GTX 900, Tesla M40, Tesla "
     "M60|chip_cuda_first=7.0|chip_cuda_last=12.9"},
    {"ValueError: type fp8e4nv not supported in this architecture. The supported fp8 dtypes are "
     "('fp8e5',)",
     "dtype=fp8e4nv"},
    {"rocBLAS error: Cannot read TensileLibrary.dat: Illegal seek for GPU arch : gfx1031",
     "chip=gfx1031|chip_name=RDNA 2: RX 6700|hsa_override=10.3.0"},
    {"level=WARN msg=\"amdgpu is not supported\" gpu=0 gpu_type=gfx1035 library=/usr/lib/ollama "
     "supported_types=\"[gfx1030 gfx1100]\"",
     "chip=gfx1035|chips_supported=[gfx1030 gfx1100]|chip_name=RDNA 2 of Ryzen 6000 (Radeon "
     "680M)|hsa_override=10.3.0"},
    {"Opset 23 is under development and support for this is limited. Current official support for "
     "domain ai.onnx is till opset 21.",
     "opset_found=23|opset_supported=21|onnx_needed=1.18|onnxruntime_needed=1.23"},
    {"Unsupported model IR version: 10, max supported IR version: 9",
     "ir_version=10|ir_version_supported=9|onnx_needed=1.16|onnxruntime_needed=1.18"},
    {"[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for the node "
     "Gelu_3:Gelu(20)",
     "operator=Gelu|node=Gelu_3|error_code=NOT_IMPLEMENTED"},
    {"[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for "
     "ConvInteger(10) node with name 'Conv_0_quant'",
     "operator=ConvInteger|node=Conv_0_quant|error_code=NOT_IMPLEMENTED"},
    {"Node 'Conv_7' OpType:Conv with domain:com.ms.internal.nhwc was inserted using the NHWC "
     "format",
     "operator=Conv|node=Conv_7"},
    {"Got invalid dimensions for input: pixel_values for the following indices\n index: 2 Got: 320 "
     "Expected: 640\n Please fix either the inputs/outputs or the model.",
     "expected=640|got=320|axis=2|tensor=pixel_values"},
    {"index: 1 Got: 5 Expected: 3 Please fix either the inputs or the model.",
     "expected=3|got=5|axis=1"},
    {"Unexpected input data type. Actual: (tensor(int32)) , expected: (tensor(int64))",
     "dtype=int32|dtype_expected=int64"},
    {"Type 'tensor(bfloat16)' of input parameter (x7) of operator (LayerNormalization) in node "
     "(ln_2) is invalid.",
     "operator=LayerNormalization|node=ln_2|dtype=bfloat16|tensor=x7"},
    {"NotImplementedError: Could not run 'torchvision::roi_align' with arguments from the 'CUDA' "
     "backend. 'torchvision::roi_align' is only available for these backends: [CPU, Meta, "
     "QuantizedCPU].",
     "operator=torchvision::roi_align|backend=CUDA|backends_available=CPU, Meta, QuantizedCPU"},
    {"RuntimeError: \"LayerNormKernelImpl\" not implemented for 'Half'",
     "operator=LayerNormKernelImpl|dtype=Half"},
    {"TypeError: cannot resolve operator 'GridSample' with opsets: ai.onnx v16",
     "opset_supported=16|operator=GridSample"},
    {"No OpKernel was registered to support Op 'CudnnRNN' used by {{node rnn}}",
     "operator=CudnnRNN"},
    {"QNN.backendValidateOpConfig() failed for node `Softmax_12` of type `Softmax` with error code "
     "3110",
     "operator=Softmax|node=Softmax_12|qnn_error=3110|error_code_name=QNN_OP_PACKAGE_ERROR_"
     "VALIDATION_FAILURE"},
    {"TypeError: Trying to convert Float8_e4m3fn to the MPS backend but it does not have support "
     "for that dtype.",
     "dtype=Float8_e4m3fn|backend=MPS"},
    {"RuntimeError: mat1 and mat2 must have the same dtype, but got BFloat16 and Float",
     "dtype=BFloat16|dtype_expected=Float"},
    {"RuntimeError: expected scalar type Float but found BFloat16",
     "dtype=BFloat16|dtype_expected=Float"},
    {"RuntimeError: Input type (torch.cuda.FloatTensor) and weight type (torch.cuda.HalfTensor) "
     "should be the same",
     "dtype=torch.cuda.FloatTensor|dtype_expected=torch.cuda.HalfTensor"},
    {"RuntimeError: Expected all tensors to be on the same device, but found at least two devices, "
     "cuda:1 and cpu!",
     "device=cuda:1|device_other=cpu"},
    {"RuntimeError: Attempting to deserialize object on CUDA device 3 but "
     "torch.cuda.device_count() is 2. Please use torch.load with map_location",
     "limit=2|device_index=3"},
    {"Device with \"NPU\" name is not registered in the OpenVINO Runtime", "device=NPU"},
    {"Error: Unsupported device: \"webgpu\". Should be one of: dml, cpu.",
     "device=webgpu|backends_available=dml, cpu"},
    {"RuntimeError: The size of tensor a (4096) must match the size of tensor b (1024) at "
     "non-singleton dimension 2",
     "expected=1024|got=4096|axis=2"},
    {"RuntimeError: Given groups=1, weight of size [32, 4, 3, 3], expected input[1, 3, 512, 512] "
     "to have 4 channels, but got 3 channels instead",
     "expected=4|got=3"},
    {"InvalidArgumentError: Incompatible shapes: [16,128] vs. [16,127]",
     "expected=[16,127]|got=[16,128]"},
    {"Input 0 is incompatible with the layer: expected shape=(None, 299, 299, 3), found "
     "shape=(None, 224, 224, 3)",
     "expected=(None, 299, 299, 3)|got=(None, 224, 224, 3)"},
    {"The input tensor size is not equal to the model input type: got [1,3,320,320] expecting "
     "[1,3,640,640].",
     "expected=[1,3,640,640]|got=[1,3,320,320]"},
    {"IndexError: index 32000 is out of bounds for dimension 0 with size 32000",
     "limit=32000|axis=0|value=32000"},
    {"error loading model: missing tensor 'blk.0.attn_k_norm.weight'",
     "tensor=blk.0.attn_k_norm.weight"},
    {"check_tensor_dims: tensor 'token_embd.weight' has wrong shape; expected 4096, 32000, got "
     "4096, 32064, 1, 1",
     "expected=4096, 32000|got=4096, 32064, 1, 1|tensor=token_embd.weight"},
    {"The checkpoint you are trying to load has model type `exaone4` but Transformers does not "
     "recognize this architecture.",
     "architecture=exaone4"},
    {"RuntimeError: Error(s) in loading state_dict for UNet2DConditionModel:\n\tMissing key(s) in "
     "state_dict: \"conv_in.weight\", \"conv_in.bias\".\n\tUnexpected key(s) in state_dict: "
     "\"conv_out.weight\".",
     "architecture=UNet2DConditionModel|tensor=conv_in.weight"},
    {"requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: "
     "https://hub.example.org/acme/model/resolve/main/config.json",
     "host=hub.example.org|http_status=403|http_status_text=Forbidden"},
    {"fatal: unable to access: The requested URL returned error: 401",
     "http_status=401|http_status_text=Unauthorized"},
    {"Segmentation fault (core dumped)", "signal=SIGSEGV"},
    {"Killed", "signal=SIGKILL|memory=host"},
    {"OSError: [Errno 28] No space left on device", "memory=disk|errno=28|errno_name=ENOSPC"},
    {"There is not enough space on the disk. (os error 112)",
     "windows_error=112|error_code_name=ERROR_DISK_FULL"},
    {"RuntimeError: Expected all tensors to be on the same device, but found at least two devices, "
     "cuda:1 and cpu! (when checking argument for argument mat1 in method wrapper_CUDA__index_add)",
     "operator=index_add|device=cuda:1|device_index=1"},
    {"failed: could not parse '/srv/My Models/tiny.gguf' in time", "file=/srv/My Models/tiny.gguf"},
    {"RuntimeError: NCCL error in: NCCLUtils.hpp:275, internal error, NCCL version 2.18.1",
     "version_found=2.18.1|library=NCCL"},
    {"worker exited with code 139", "signal=SIGSEGV|exit_code=139"},
    {"failed (exitcode: -9) local_rank: 0 (pid: 24680) of binary: /opt/env/bin/python",
     "pid=24680|signal=SIGKILL|exit_code=-9"},
    {"container Exited (137) 2 minutes ago", "signal=SIGKILL|exit_code=137"},
    {"terminated by signal SIGSEGV", "signal=SIGSEGV"},
    {"python3[5151]: segfault at 8 ip 00007f12 sp 00007ffd error 4 in "
     "libcuda.so.550.54.15[7f1000000000+1a00000]",
     "library=libcuda.so.550.54.15"},
    {"RuntimeError: cuda runtime error (77) : an illegal memory access was encountered at "
     "THCTensorCopy.cu:20",
     "cuda_error=77|error_code_name=cudaErrorIllegalAddress"},
    {"Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before? Error "
     "802: system not yet initialized",
     "cuda_error=802|error_code_name=cudaErrorSystemNotReady"},
    {"Check failed: error == cudaSuccess (209 vs. 0) no kernel image is available",
     "cuda_error=209|error_code_name=cudaErrorNoKernelImageForDevice"},
    {"failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
     "error_code=CUDA_ERROR_NO_DEVICE"},
    {"HIP error 209 at line 12", "hip_error=209|error_code_name=hipErrorNoBinaryForGpu"},
    {"cuDNN error: 8", "error_code=8|cudnn_error=8|error_code_name=CUDNN_STATUS_EXECUTION_FAILED"},
    {"cuBLAS error 13 at ggml-cuda.cu:6001",
     "cublas_error=13|error_code_name=CUBLAS_STATUS_EXECUTION_FAILED"},
    {"Callback: Queue 0x7f33 aborting with error : HSA_STATUS_ERROR_OUT_OF_RESOURCES: The runtime "
     "failed to allocate the necessary resources. code: 0x1008",
     "error_code=HSA_STATUS_ERROR_OUT_OF_RESOURCES|hsa_error=4104|error_code_name=HSA_STATUS_ERROR_"
     "OUT_OF_RESOURCES"},
    {"NCCL error 2 in communicator", "nccl_error=2|error_code_name=ncclSystemError"},
    {"\"Could not create context from binary for context index = 1 : err 5004\"",
     "qnn_error=5004|error_code_name=QNN_CONTEXT_ERROR_BINARY_VERSION"},
    {"failed: HRESULT 0x887A0005",
     "windows_error=2289696773|error_code_name=DXGI_ERROR_DEVICE_REMOVED"},
    {"CreateCommittedResource failed, hr = 0x8007000E",
     "windows_error=2147942414|error_code_name=E_OUTOFMEMORY"},
    {"NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
     "device=PCI:0000:41:00|xid=79|xid_text=GPU has fallen off the bus"},
    {"Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 41000", "device=41000|rank=1"},
};

/* What rp_facts_scan_names() takes, as "name=text|...". */
struct named {
    const char *line;
    char text[400];
};

static void take_named(enum rp_fact_name name, size_t start, size_t end, void *user) {
    struct named *named = user;
    size_t at = strlen(named->text);
    snprintf(named->text + at, sizeof named->text - at, "%s%s=%.*s", at > 0 ? "|" : "",
             rp_fact_name_text(name), (int)(end - start), named->line + start);
}

static void a_line_names_files_libraries_and_codes_without_a_rule(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"cannot use '/srv/My Models/a.gguf' here", "file=/srv/My Models/a.gguf"},
        {"cannot use C:\\Program Files\\x\\c10.dll.", "library=C:\\Program Files\\x\\c10.dll"},
        {"broken: ../models/tiny.onnx, sorry", "file=../models/tiny.onnx"},
        {"see libcudnn_ops.so.9.1.0: gone", "library=libcudnn_ops.so.9.1.0"},
        {"nothing in /home/me/models", "folder=/home/me/models"},
        {"of binary: /opt/env/bin/python3.11", "file=/opt/env/bin/python3.11"},
        {"path=/dev/shm/nccl-x size=3", "file=/dev/shm/nccl-x"},
        {"got CUDNN_STATUS_ALLOC_FAILED, not CUDNN_STATUS_SUCCESS",
         "error_code=CUDNN_STATUS_ALLOC_FAILED"},
        {"  Killed ", "signal=Killed"},
        {"Aborted (Speicherabzug geschrieben)", "signal=Aborted"},
        {"Killed process 5", ""},
        {"at /opt/src/model.cpp:37:5", ""},
        {"File \"/usr/lib/python3/a.py\", line 5", ""},
        {"node /model/layers.0/Add and /encoder/Conv", ""},
        {"see https://example.org/a/model.onnx", ""},
        {"for domain ai.onnx is opset 15", ""},
        {"search /usr/lib:/opt/lib:/usr/local/lib", ""},
        {"run $HOME/bin/x and /opt/$X/a", ""},
        {"isn't it the server's response.json() then", ""},
        {"''\"\"``<>|= .so .dll .", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct named named = {.line = cases[i][0]};
        rp_facts_scan_names(cases[i][0], strlen(cases[i][0]), take_named, &named);
        assert_string_equal(named.text, cases[i][1]);
    }
}

static void names_lose_their_quotes_and_words_that_are_none_go(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    static const struct {
        enum rp_fact_name name;
        const char *text;
        const char *expected;
    } cases[] = {
        {RP_FACT_NAME_OPERATOR, "(gru)", "gru"},
        {RP_FACT_NAME_NODE, "\\'aten::roll\\'", "aten::roll"},
        {RP_FACT_NAME_SYMBOL, "(anonymous)::f(int)", "(anonymous)::f(int)"},
        {RP_FACT_NAME_DTYPE, "tensor(float16)", "tensor(float16)"},
        {RP_FACT_NAME_FILE, "D:\\\\a\\\\b.bin", "D:\\a\\b.bin"},
        {RP_FACT_NAME_GOT, "291'", "291"},
        {RP_FACT_NAME_VALUE, "1,3 and 4.", "1,3 and 4"},
        {RP_FACT_NAME_EXPECTED, "'a' or 'b'", "'a' or 'b'"},
        {RP_FACT_NAME_COMPUTE, "8, 6", "8.6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        add(facts, cases[i].name, cases[i].text, 0);
        assert_string_equal(text_of(facts, cases[i].name), cases[i].expected);
    }
    add_at(facts, RP_FACT_NAME_OPERATOR, "_index_select", 0, 9, 0);
    assert_string_equal(text_of(facts, RP_FACT_NAME_OPERATOR), "index_select");
    size_t count = facts->count;
    add(facts, RP_FACT_NAME_PACKAGE, "the", 0);
    add(facts, RP_FACT_NAME_PACKAGE, "...x", 0);
    add(facts, RP_FACT_NAME_DTYPE, "subgroups", 0);
    add(facts, RP_FACT_NAME_DTYPE, "OES_texture_float", 0);
    add(facts, RP_FACT_NAME_FILE, "3' at offset '0", 0);
    add(facts, RP_FACT_NAME_PROCESS, "in", 0);
    add(facts, RP_FACT_NAME_FILE, "Operation", 0);
    add(facts, RP_FACT_NAME_NODE, "....", 0);
    add(facts, RP_FACT_NAME_PROCESS, "A=b", 0);
    add(facts, RP_FACT_NAME_DEVICE_INDEX, "-11", (uint64_t)-11);
    assert_int_equal(facts->count, count);
    free(facts);
}

static void names_of_nodes_models_and_devices_are_decoded(void **state) {
    (void)state;
    static const struct {
        enum rp_fact_name name;
        const char *text;
        enum rp_fact_name derived;
        const char *expected; /* NULL: nothing follows */
    } cases[] = {
        {RP_FACT_NAME_NODE, "/encoder/layer.0/MatMul_12", RP_FACT_NAME_OPERATOR, "MatMul"},
        {RP_FACT_NAME_NODE, "Resize__31", RP_FACT_NAME_OPERATOR, "Resize"},
        {RP_FACT_NAME_NODE, "Resize", RP_FACT_NAME_OPERATOR, "Resize"},
        {RP_FACT_NAME_NODE, "NcclAllReduce", RP_FACT_NAME_OPERATOR, "NcclAllReduce"},
        {RP_FACT_NAME_NODE, "Output", RP_FACT_NAME_OPERATOR, NULL},
        {RP_FACT_NAME_NODE, "Conv_0_quant", RP_FACT_NAME_OPERATOR, NULL},
        {RP_FACT_NAME_NODE, "logits", RP_FACT_NAME_OPERATOR, NULL},
        {RP_FACT_NAME_MODEL, "E:\\models\\vicuna", RP_FACT_NAME_FOLDER, "E:\\models\\vicuna"},
        {RP_FACT_NAME_MODEL, "/srv/m", RP_FACT_NAME_FOLDER, "/srv/m"},
        {RP_FACT_NAME_MODEL, "google/t5", RP_FACT_NAME_FOLDER, NULL},
        {RP_FACT_NAME_DEVICE, "cuda:3", RP_FACT_NAME_DEVICE_INDEX, "3"},
        {RP_FACT_NAME_DEVICE, "CUDA12", RP_FACT_NAME_DEVICE_INDEX, "12"},
        {RP_FACT_NAME_DEVICE, "PCI:0000:06:00", RP_FACT_NAME_DEVICE_INDEX, NULL},
        {RP_FACT_NAME_DEVICE, "cpu", RP_FACT_NAME_DEVICE_INDEX, NULL},
        {RP_FACT_NAME_SIGNAL, "Segmentation", RP_FACT_NAME_SIGNAL, "SIGSEGV"},
        {RP_FACT_NAME_SIGNAL, "Bus", RP_FACT_NAME_SIGNAL, "SIGBUS"},
        {RP_FACT_NAME_SIGNAL, "killed", RP_FACT_NAME_SIGNAL, "SIGKILL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_facts *facts = no_facts();
        add(facts, cases[i].name, cases[i].text, 0);
        rp_facts_decode(facts);
        assert_string_equal(text_of(facts, cases[i].derived),
                            cases[i].expected ? cases[i].expected : "(none)");
        free(facts);
    }
}

static void an_error_of_windows_is_no_errno(void **state) {
    (void)state;
    struct rp_facts *facts = no_facts();
    add_at(facts, RP_FACT_NAME_ERRNO, "112", 112, 0, 40);
    add_at(facts, RP_FACT_NAME_WINDOWS_ERROR, "112", 112, 0, 40);
    rp_facts_decode(facts);
    assert_string_equal(text_of(facts, RP_FACT_NAME_ERRNO), "(none)");
    assert_string_equal(text_of(facts, RP_FACT_NAME_ERROR_CODE_NAME), "ERROR_DISK_FULL");
    free(facts);
}

/* Messages that no pattern knows, in the words that libraries say such things with. */
static const struct {
    const char *text;
    const char *facts;
} untaught[] = {
    {"Not enough VRAM on GPU 1: 6.5 GiB required, 3.25 GiB available",
     "bytes_asked=6979321856|bytes_free=3489660928|device_index=1"},
    {"CUDA out of memory: this engine needs 7168 MiB, only 2048 MiB left",
     "bytes_asked=7516192768|bytes_free=2147483648"},
    {"gpu allocator: out of memory (requested=512 MiB, free=96 MiB, total=8192 MiB)",
     "bytes_asked=536870912|bytes_free=100663296|bytes_total=8589934592"},
    {"cudaMalloc of 1610612736 bytes failed: out of memory (512 MiB / 8192 MiB free)",
     "bytes_asked=1610612736|bytes_free=536870912|bytes_total=8589934592"},
    {"device memory exhausted: want 4 GiB, have 1.5 GiB of 16 GiB",
     "bytes_asked=4294967296|bytes_free=1610612736|bytes_total=17179869184"},
    {"torch_npu: NPU out of memory. Requested 2.00 GiB on NPU 3, free memory 640.00 MiB, total "
     "memory 32.00 GiB",
     "bytes_asked=2147483648|bytes_free=671088640|bytes_total=34359738368|device_index=3"},
    {"XPU out of memory, could not reserve 12 GiB on xpu:1 (total 16 GiB, used 9 GiB)",
     "bytes_asked=12884901888|bytes_total=17179869184|bytes_used=9663676416|device_index=1"},
    {"std::bad_alloc: failed to malloc 34359738368 bytes of host memory, limit 16 GiB",
     "bytes_asked=34359738368|bytes_limit=17179869184"},
    {"Out of memory: container limit of 4 GiB exceeded while using 4.5 GiB of RAM",
     "bytes_limit=4294967296|bytes_used=4831838208"},
    {"No space left on device: the download takes 13.5 GB but there is 2.5 GB free on /data/hub",
     "bytes_asked=13500000000|bytes_free=2500000000|folder=/data/hub"},
    {"hipErrorOutOfMemory: tried to reserve 3.5GB on device 2, 1.5GB of 12GB remaining",
     "bytes_asked=3500000000|bytes_free=1500000000|bytes_total=12000000000|device_index=2"},
    {"not enough memory in the wasm heap: growing to 2.5 GB is over the maximum of 2 GB",
     "bytes_asked=2500000000|bytes_limit=2000000000"},
    {"GPU 0 ran out of memory; 9.5 GiB in use, 10 GiB total, allocation size 1 GiB",
     "bytes_used=10200547328|bytes_total=10737418240|bytes_asked=1073741824|device_index=0"},
    {"Insufficient GPU memory: model requires 24 GiB but 15.5 GiB of VRAM is available",
     "bytes_asked=25769803776|bytes_free=16642998272"},
    {"Found NVIDIA driver 470.82.01, but driver 525.60.13 or newer is required by this build",
     "version_found=470.82.01|version_needed=525.60.13"},
    {"The installed driver (460.32) is too old, at least 515.43 is needed",
     "version_found=460.32|version_needed=515.43"},
    {"CUDA driver version 11.4 is older than the CUDA runtime version 12.1 this was built with",
     "driver_version=11.4|cuda_version=12.1"},
    {"ROCm 5.4.3 is not supported: this build expects ROCm 6.1.0",
     "version_found=5.4.3|version_needed=6.1.0"},
    {"engine was serialized with TensorRT version 8.6.1 but the current version is 10.0.1: rebuild "
     "it",
     "version_found=10.0.1|version_needed=8.6.1"},
    {"incompatible versions: tokenizers 0.13.3 installed, transformers wants tokenizers "
     ">=0.19,<0.20",
     "version_found=0.13.3|version_needed=0.19"},
    {"ImportError: this version of pandas is incompatible with numpy < 1.22.4, your numpy version "
     "is 1.21.0",
     "version_found=1.21.0|version_needed=1.22.4"},
    {"RuntimeError: need PyTorch 2.3.0 or later (found: 2.1.2)",
     "version_found=2.1.2|version_needed=2.3.0"},
    {"This package needs Python 3.10 or newer, you are running Python 3.8.12",
     "version_found=3.8.12|version_needed=3.10"},
    {"model file version 7 is not supported, expected version 5",
     "version_found=7|version_needed=5"},
    {"schema version 3 expected, but the flatbuffer has schema version 4",
     "version_found=4|version_needed=3"},
    {"ONNX model uses opset 21, maximum supported opset is 18",
     "opset_found=21|opset_supported=18"},
    {"context binary was generated by QNN SDK 2.22.0 and cannot be loaded by QNN SDK 2.18.0",
     "version_found=2.22.0|version_needed=2.18.0"},
    {"minimum required driver version is 531.14, current driver version is 516.94",
     "version_found=516.94|version_needed=531.14"},
    {"Unsupported operator: GridSample", "operator=GridSample"},
    {"TIDL: layer type 'Resize' is not supported on this accelerator", "operator=Resize"},
    {"NotImplementedError: aten::_fft_r2c is not implemented on the XPU device",
     "operator=aten::_fft_r2c"},
    {"No kernel for op 'Einsum' could be found on this backend", "operator=Einsum"},
    {"Op NonMaxSuppression (node nms_1) cannot be placed on the NPU", "operator=NonMaxSuppression"},
    {"UnsupportedOperatorException: unknown onnx op com.microsoft.FusedMatMul",
     "operator=com.microsoft.FusedMatMul"},
    {"Converting op custom_roll failed: op type is not supported by this converter",
     "operator=custom_roll"},
    {"ANEC: unsupported operation 'GatherND' in the graph", "operator=GatherND"},
    {"tflite: delegate does not support builtin code TRANSPOSE_CONV version 4",
     "operator=TRANSPOSE_CONV"},
    {"the WebNN backend has no implementation of ScatterElements", "operator=ScatterElements"},
    {"TypeError: bfloat16 is unsupported on this backend", "dtype=bfloat16"},
    {"matmul: expected type float16, got float32", "dtype_expected=float16|dtype=float32"},
    {"input tensor has dtype tensor(double) but the model expects tensor(float)",
     "dtype=double|dtype_expected=float"},
    {"found struct c10::BFloat16 where struct c10::Half was expected: types of operands differ",
     "dtype=BFloat16|dtype_expected=Half"},
    {"this device cannot compute in torch.float64: unsupported data type", "dtype=torch.float64"},
    {"dtype DT_HALF is not supported by the op on this CPU", "dtype=DT_HALF"},
    {"HIP error on gpu id 2: invalid device ordinal", "device_index=2"},
    {"no such device: GPU #4 was asked for, 2 were found", "device_index=4"},
    {"CUDA device=3 is not available", "device_index=3"},
    {"GPU 5 is in use by another process", "device_index=5"},
    {"lost device /job:worker/replica:0/task:0/device:GPU:1", "device_index=1"},
    {"worker process ended, exit code: 139", "exit_code=139"},
    {"inference server terminated with status 134", "exit_code=134"},
    {"the child returned -9 (rc=-9)", "exit_code=-9"},
    {"subprocess crashed with Segmentation fault", "signal=SIGSEGV"},
    {"python3 received SIGILL: Illegal instruction", "signal=SIGILL"},
    {"the runner got signal 7 (Bus error)", "signal=SIGBUS"},
    {"ImportError: FlashAttention needs the flash_attn package, please run pip install flash-attn",
     "package=flash-attn"},
    {"ImportError: cannot import name 'soft_unicode' from 'markupsafe'", "package=markupsafe"},
    {"This loader requires sentencepiece. Install it with: pip install sentencepiece",
     "package=sentencepiece"},
    {"ModuleNotFoundError: please pip install tiktoken to use this tokenizer", "package=tiktoken"},
    {"dlopen: cannot load cuDNN, is it installed?", "library=cuDNN"},
    {"The procedure entry point could not be located in nvrtc64_112_0.dll",
     "library=nvrtc64_112_0.dll"},
    {"model.onnx_data is not beside /srv/models/phi/model.onnx", "file=/srv/models/phi/model.onnx"},
    {"RuntimeError: GPU memory allocation of 3221225472 bytes failed\n  free:  734003200 bytes\n  "
     "total: 8589934592 bytes",
     "bytes_asked=3221225472|bytes_free=734003200|bytes_total=8589934592"},
    {"Failed to create KV cache: requested 5120.00 MiB but GPU only has 3000 MiB free of 12288 MiB",
     "bytes_asked=5368709120|bytes_free=3145728000|bytes_total=12884901888"},
    {"Out of device memory. Model weights need about 13.5 GB; device has 11.8 GB (10.2 GB free).",
     "bytes_asked=13500000000|bytes_free=10200000000"},
    {"MemoryError: cannot allocate 12.0 GiB for array, 7.5 GiB of system RAM available",
     "bytes_asked=12884901888|bytes_free=8053063680"},
    {"Metal: insufficient memory for command buffer; 10.5 GB needed, recommended working set is "
     "8.0 GB",
     "bytes_asked=10500000000"},
    {"vk::Device::allocateMemory: ErrorOutOfDeviceMemory, size 268435456, heap budget 1073741824",
     "bytes_asked=268435456|bytes_limit=1073741824"},
    {"disk quota exceeded: need 20 GB, 5 GB left on /home/me",
     "bytes_asked=20000000000|bytes_free=5000000000"},
    {"ERROR: Unable to allocate 2048MB of VRAM (used: 7000MB / 8192MB)",
     "bytes_asked=2048000000|bytes_used=7000000000|bytes_total=8192000000"},
    {"Your CUDA version is 11.6 but this package requires at least 12.1",
     "version_found=11.6|version_needed=12.1"},
    {"cuDNN version mismatch: built against 8.9.2, loaded 8.6.0",
     "version_needed=8.9.2|version_found=8.6.0"},
    {"NVIDIA driver 450.80.02 does not support CUDA 12; please update to 525.60.13 or later",
     "version_found=450.80.02|version_needed=525.60.13"},
    {"model requires ONNX Runtime 1.17 but found 1.14.1: format version not supported",
     "version_needed=1.17|version_found=1.14.1"},
    {"triton 2.1.0 is incompatible with torch 2.0.1", "version_found=2.1.0"},
    {"Unsupported GGUF version: 5 (this build supports versions up to 3): file format too new",
     "version_found=5|version_needed=3"},
    {"File was written with format version 12, this reader supports 10",
     "version_found=12|version_needed=10"},
    {"operator `Mod` is not implemented for the WGPU backend", "operator=Mod"},
    {"Error: Unsupported op: ai.onnx.ml.TreeEnsembleClassifier",
     "operator=ai.onnx.ml.TreeEnsembleClassifier"},
    {"CoreML: converting 'upsample_bicubic2d' op is not supported", "operator=upsample_bicubic2d"},
    {"Cannot find kernel for operator type ROIALIGN on DSP", "operator=ROIALIGN"},
    {"RKNN: unsupport op_type: ScatterND, node: sc_1", "operator=ScatterND"},
    {"E RKNN: op name: Resize:/up/Resize unsupport", "operator=Resize"},
    {"Einsum unsupport on webnn", "operator=Einsum"},
    {"[E] unsupport GridSample", "operator=GridSample"},
    {"No implementation for torch.fft.rfft on mps", "operator=torch.fft.rfft"},
    {"LayerNorm kernel does not support Half on cpu", "dtype=Half"},
    {"Data type FLOAT16 not supported by this NPU", "dtype=FLOAT16"},
    {"weights are torch.bfloat16 while inputs are torch.float32, they must be the same type",
     "dtype=torch.bfloat16|dtype_expected=torch.float32"},
    {"Cannot open /dev/nvidia3: GPU 3 is missing", "device_index=3"},
    {"device id 7 out of range, found 4 devices", "device_index=7"},
    {"ERROR: process crashed (exit status 139)", "exit_code=139"},
    {"Aborted: worker 2 died with exit code -11", "exit_code=-11"},
    {"ImportError: You need to install the `bitsandbytes` library to use 4-bit",
     "package=bitsandbytes"},
    {"einops is not installed, run `pip install einops`", "package=einops"},
    {"Please install onnxruntime-gpu: package missing", "package=onnxruntime-gpu"},
    {"Error loading libnvinfer.so.8: file not found", "library=libnvinfer.so.8"},
};

static bool has_value(const struct rp_fact *fact, const char *value) {
    char number[32];
    bool is_number = rp_fact_type_of(fact->name) <= RP_FACT_NUMBER;
    snprintf(number, sizeof number, "%lld", (long long)fact->number);
    return strcmp(is_number ? number : fact->text, value) == 0;
}

static void check_fact(const struct rp_facts *facts, const char *text, char *expected) {
    char *value = strchr(expected, '=');
    assert_non_null(value);
    enum rp_fact_name name = rp_fact_name_of_text(expected, (size_t)(value - expected));
    assert_int_not_equal(name, RP_FACT_NAME_NONE);
    const struct rp_fact *fact = rp_facts_find(facts, name);
    if (!fact) fail_msg("%s\nhas no %s", text, expected);
    if (!has_value(fact, value + 1)) fail_msg("%s\n%s: is '%s'", text, expected, fact->text);
}

static void check_facts(const char *text, const char *facts) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.error = text;
    question.error_bytes = strlen(text);
    assert_ok(rp_diagnose(&question, &diagnosis, &err));
    char expected[600];
    snprintf(expected, sizeof expected, "%s", facts);
    for (char *each = expected, *next; each; each = next) {
        next = strchr(each, '|');
        if (next) *next++ = '\0';
        check_fact(&diagnosis->facts, text, each);
    }
    rp_diagnosis_destroy(diagnosis);
}

static void error_texts_tell_their_facts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_facts(texts[i].text, texts[i].facts);
    }
}

static void messages_that_no_rule_knows_tell_theirs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof untaught / sizeof untaught[0]; i++) {
        check_facts(untaught[i].text, untaught[i].facts);
    }
}

static void a_number_beside_no_word_of_its_kind_is_left_alone(void **state) {
    (void)state;
    static const char *const cases[] = {
        "CUDA out of memory on a card with 24 GB, model of 7B, 16k context, 12 GB/s",
        "the RTX 3080-12GB and A100-SXM4-40GB ran out of memory, at 0.5 of 10.1% load",
        "GPU 16 GB, device 2.5, GPU 4090, CUDA 12, 2 GPUs: out of memory",
        "driver too old at 127.0.0.1:8080 in /opt/cuda/12.4/lib and torch-2.1.0",
        "HTTP status code 404, error code 12: crashed",
        "an illegal instruction was encountered, operation was not supported",
        "the operator is not supported for this type of the model",
        "dependency conflict: requires a newer library, install the package with pip",
    };
    static const enum rp_fact_name names[] = {
        RP_FACT_NAME_BYTES_ASKED,   RP_FACT_NAME_BYTES_FREE,     RP_FACT_NAME_BYTES_TOTAL,
        RP_FACT_NAME_VERSION_FOUND, RP_FACT_NAME_VERSION_NEEDED, RP_FACT_NAME_DEVICE_INDEX,
        RP_FACT_NAME_OPERATOR,      RP_FACT_NAME_PACKAGE,        RP_FACT_NAME_EXIT_CODE,
        RP_FACT_NAME_SIGNAL,        RP_FACT_NAME_DTYPE};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_failure_question question = RP_FAILURE_QUESTION_INIT;
        rp_error err = RP_ERROR_INIT;
        rp_diagnosis *diagnosis = NULL;
        question.error = cases[i];
        question.error_bytes = strlen(cases[i]);
        assert_ok(rp_diagnose(&question, &diagnosis, &err));
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++) {
            const struct rp_fact *fact = rp_facts_find(&diagnosis->facts, names[j]);
            if (!fact) continue;
            fail_msg("%s\nhas %s '%s'", cases[i], rp_fact_name_text(names[j]), fact->text);
        }
        rp_diagnosis_destroy(diagnosis);
    }
}

static void code_and_lines_beside_the_cause_tell_of_it(void **state) {
    (void)state;
    check_facts("Traceback (most recent call last):\n  File \"/opt/run.py\", line 3, in <module>\n"
                "    y = F.conv3d(x, w)\nRuntimeError: Given groups=1, weight of size [3, 1, 4], "
                "expected input[1, 4, 7] to have 3 channels, but got 4 channels instead",
                "operator=conv3d");
    check_facts("ImportError: /opt/env/lib/python3.9/site-packages/mmdet/_e.so: undefined symbol: "
                "_ZTI",
                "package=mmdet");
    check_facts("Loading Z:\\a\\b-1.1.engine for inference\n[TRT] [E] Version tag does not match. "
                "Note: Current Version: 240, Serialized Engine Version: 239",
                "file=Z:\\a\\b-1.1.engine");
}

static void facts_at_the_end_of_a_long_log_are_not_lost(void **state) {
    (void)state;
    enum { LINES = 3000 };
    static const char line[] = "device 3: allocating 12.00 MiB on device 3: fine\n";
    static const char last[] = "CUDA out of memory. Tried to allocate 777.00 MiB (GPU 5; 8.00 GiB "
                               "total capacity; 7.00 GiB already allocated; 1.00 MiB free";
    char *log = malloc(LINES * sizeof line + sizeof last);
    assert_non_null(log);
    size_t length = 0;
    for (int i = 0; i < LINES; i++) {
        length += (size_t)snprintf(log + length, sizeof line, "%s", line);
    }
    length += (size_t)snprintf(log + length, sizeof last, "%s", last);
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.error = log;
    question.error_bytes = length;
    assert_ok(rp_diagnose(&question, &diagnosis, &err));
    assert_int_equal(rp_facts_find(&diagnosis->facts, RP_FACT_NAME_BYTES_ASKED)->number,
                     UINT64_C(777) << 20);
    assert_int_equal(rp_facts_find(&diagnosis->facts, RP_FACT_NAME_DEVICE_INDEX)->number, 5);
    rp_diagnosis_destroy(diagnosis);
    free(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_with_their_unit),
        cmocka_unit_test(what_is_no_size_is_none_and_leaves_the_number),
        cmocka_unit_test(numbers_may_be_negative_grouped_or_hexadecimal),
        cmocka_unit_test(versions_end_where_they_end),
        cmocka_unit_test(names_are_found_by_their_text),
        cmocka_unit_test(the_heavier_fact_is_found_and_of_equals_the_later),
        cmocka_unit_test(one_value_is_kept_once_with_its_greater_weight),
        cmocka_unit_test(the_lightest_fact_makes_room),
        cmocka_unit_test(texts_are_tidied_and_nonsense_is_not_taken),
        cmocka_unit_test(codes_and_versions_are_decoded),
        cmocka_unit_test(what_follows_stands_where_its_cause_does),
        cmocka_unit_test(what_the_text_says_beats_what_follows),
        cmocka_unit_test(unused_and_free_bytes_follow_from_sums),
        cmocka_unit_test(tables_of_codes_are_sorted_and_answer),
        cmocka_unit_test(a_release_of_cuda_is_what_its_own_driver_runs),
        cmocka_unit_test(a_line_names_files_libraries_and_codes_without_a_rule),
        cmocka_unit_test(names_lose_their_quotes_and_words_that_are_none_go),
        cmocka_unit_test(names_of_nodes_models_and_devices_are_decoded),
        cmocka_unit_test(an_error_of_windows_is_no_errno),
        cmocka_unit_test(error_texts_tell_their_facts),
        cmocka_unit_test(messages_that_no_rule_knows_tell_theirs),
        cmocka_unit_test(a_number_beside_no_word_of_its_kind_is_left_alone),
        cmocka_unit_test(code_and_lines_beside_the_cause_tell_of_it),
        cmocka_unit_test(facts_at_the_end_of_a_long_log_are_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
