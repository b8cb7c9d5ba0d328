/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from the facts of an error text, by the tables of versions and codes: a row for each
 * name of a fact that says more than it seems to.
 */
#include "failure/codes.h"
#include "failure/facts.h"
#include "failure/versions.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool is_whole_number(const char *text, uint64_t *number) {
    const char *end = text + strlen(text);
    return rp_fact_read(RP_FACT_NUMBER, text, end, number) == end;
}

/* Add what follows from `from`. NULL: nothing does. A name that was read in the text as strongly
 * stays what the text says. */
static void derive(struct rp_facts *facts, const struct rp_fact *from, enum rp_fact_name name,
                   const char *text) {
    if (!text) return;
    struct rp_fact fact = {.name = name,
                           .is_derived = true,
                           .start = from->start,
                           .end = from->end,
                           .weight = from->weight};
    snprintf(fact.text, sizeof fact.text, "%s", text);
    rp_facts_add(facts, &fact);
}

static void derive_bytes(struct rp_facts *facts, const struct rp_fact *from, enum rp_fact_name name,
                         uint64_t bytes) {
    struct rp_fact fact = *from;
    fact.name = name;
    fact.is_derived = true;
    fact.number = bytes;
    snprintf(fact.text, sizeof fact.text, "%llu bytes", (unsigned long long)bytes);
    rp_facts_add(facts, &fact);
}

/* What an allocator keeps for later: PyTorch before 2.0 told what it holds, used or not. */
static void decode_reserved_total(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *used = rp_facts_find(facts, RP_FACT_NAME_BYTES_USED);
    if (!used || used->number > fact->number) return;
    derive_bytes(facts, fact, RP_FACT_NAME_BYTES_RESERVED, fact->number - used->number);
}

/* Apple's GPUs share main memory: what is free is what the limit leaves. */
static void decode_others(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *limit = rp_facts_find(facts, RP_FACT_NAME_BYTES_LIMIT);
    const struct rp_fact *used = rp_facts_find(facts, RP_FACT_NAME_BYTES_USED);
    if (!limit || !used || used->number > limit->number) return;
    uint64_t left = limit->number - used->number;
    derive_bytes(facts, limit, RP_FACT_NAME_BYTES_FREE,
                 fact->number < left ? left - fact->number : 0);
}

/* 12040: "12.4"; what was never a version of CUDA, such as cuDNN's 8907 or 90100, is none. */
static const char *cuda_of_code(int64_t code, char text[24]) {
    if (code < 1000 || code > 30000 || code % 10 != 0 || code % 1000 > 200) return NULL;
    snprintf(text, 24, "%d.%d", (int)(code / 1000), (int)(code % 1000 / 10));
    return text;
}

/* 8907: "8.9.7"; since cuDNN 9 90100: "9.1.0". */
static const char *cudnn_of_code(int64_t code, char text[24]) {
    if (code < 1000 || code > 10000000) return NULL;
    int hundreds = (int)(code / 100);
    int major = code < 10000 ? hundreds / 10 : hundreds / 100;
    int minor = code < 10000 ? hundreds % 10 : hundreds % 100;
    snprintf(text, 24, "%d.%d.%d", major, minor, (int)(code % 100));
    return text;
}

static void decode_cuda_code(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_MAX, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cuda);
}

static void decode_cuda_code_runtime(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_VERSION, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cuda);
}

static void decode_cuda_code_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_NEEDED, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_NEEDED, cuda);
}

static void decode_cudnn_code(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cudnn_of_code((int64_t)fact->number, text));
}

static void decode_cudnn_code_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    derive(facts, fact, RP_FACT_NAME_VERSION_NEEDED, cudnn_of_code((int64_t)fact->number, text));
}

static void decode_driver(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_cuda_release *release = rp_cuda_release_of_driver(fact->text);
    if (release) derive(facts, fact, RP_FACT_NAME_CUDA_MAX, release->cuda);
}

static void decode_cuda_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_cuda_release *release = rp_cuda_release_of(fact->text);
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN, release->driver);
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN_WINDOWS, release->driver_windows);
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, release->driver_compatible);
}

/* What is installed needs its driver too, unless the text says what is needed. */
static void decode_cuda_version(struct rp_facts *facts, const struct rp_fact *fact) {
    if (!rp_facts_find(facts, RP_FACT_NAME_CUDA_NEEDED)) decode_cuda_needed(facts, fact);
}

static void derive_chip(struct rp_facts *facts, const struct rp_fact *fact,
                        const struct rp_chip *chip) {
    derive(facts, fact, RP_FACT_NAME_CHIP_NAME, chip->products);
    derive(facts, fact, RP_FACT_NAME_CHIP_CUDA_FIRST, chip->cuda_first);
    derive(facts, fact, RP_FACT_NAME_CHIP_CUDA_LAST, chip->cuda_last);
    derive(facts, fact, RP_FACT_NAME_HSA_OVERRIDE, chip->hsa_override);
}

/* 520: "sm_52". */
static void decode_cuda_arch(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    if (fact->number < 200 || fact->number > 9999) return;
    snprintf(text, sizeof text, "sm_%u", (unsigned)(fact->number / 10));
    derive(facts, fact, RP_FACT_NAME_CHIP, text);
}

static void decode_chip(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_chip *chip = rp_chip_of_name(fact->text);
    if (!chip) return;
    derive_chip(facts, fact, chip);
    derive(facts, fact, RP_FACT_NAME_COMPUTE, chip->compute);
}

/* PyTorch has a compute capability for AMD's chips too: gfx1030's is 10.3, which is no sm_103. */
static void decode_compute(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *named = rp_facts_find(facts, RP_FACT_NAME_CHIP);
    const struct rp_chip *chip = rp_chip_of_compute(fact->text);
    if (!chip || (named && strncmp(named->text, "gfx", 3) == 0)) return;
    derive_chip(facts, fact, chip);
    derive(facts, fact, RP_FACT_NAME_CHIP, chip->name);
}

static void decode_compute_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_chip *chip = rp_chip_of_compute(fact->text);
    if (chip) derive(facts, fact, RP_FACT_NAME_CHIP_NAME_NEEDED, chip->products);
}

static void derive_onnx(struct rp_facts *facts, const struct rp_fact *fact,
                        const struct rp_onnx_release *release) {
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_ONNX_NEEDED, release->onnx);
    derive(facts, fact, RP_FACT_NAME_ONNXRUNTIME_NEEDED, release->onnxruntime);
}

static void decode_opset(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_onnx(facts, fact, rp_onnx_of_opset((int64_t)fact->number));
}

static void decode_ir(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_onnx(facts, fact, rp_onnx_of_ir((int64_t)fact->number));
}

static void decode_glibc(struct rp_facts *facts, const struct rp_fact *fact) {
    derive(facts, fact, RP_FACT_NAME_SYSTEMS_NEEDED, rp_systems_of_glibc(fact->text));
}

static void derive_gcc(struct rp_facts *facts, const struct rp_fact *fact,
                       const struct rp_gcc_release *release) {
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_GCC_NEEDED, release->gcc);
    derive(facts, fact, RP_FACT_NAME_SYSTEMS_NEEDED, release->systems);
}

static void decode_glibcxx(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_gcc(facts, fact, rp_gcc_of_glibcxx(fact->text));
}

static void decode_cxxabi(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_gcc(facts, fact, rp_gcc_of_cxxabi(fact->text));
}

/* A status of Windows in any of its clothes: 0xC0000005, 3221225477, -1073741819; a small number is
 * one of GetLastError(). */
static const char *windows_name(int64_t number) {
    if (number >= 0 && number < 65536) return rp_code_name(RP_CODE_WINDOWS, number);
    if (number < INT32_MIN || number > (int64_t)UINT32_MAX) return NULL;
    int64_t status = (int64_t)(uint32_t)number;
    const char *name = rp_code_name(RP_CODE_NTSTATUS, status);
    return name ? name : rp_code_name(RP_CODE_HRESULT, status);
}

/* A shell says 128 + n of a program that signal n ended, Python's subprocess -n, Windows a status.
 */
static void decode_exit_code(struct rp_facts *facts, const struct rp_fact *fact) {
    int64_t code = (int64_t)fact->number;
    int64_t number = code > 128 && code < 193 ? code - 128 : code < 0 && code > -65 ? -code : 0;
    derive(facts, fact, RP_FACT_NAME_SIGNAL, rp_code_name(RP_CODE_SIGNAL, number));
    if (code < -65 || code > 65535) {
        derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name(code));
    }
}

/* "Segmentation fault", as a shell says it; 0: no such word. Linux's numbers. */
static uint64_t signal_of_word(const char *word) {
    static const struct {
        const char *word;
        uint64_t number;
    } words[] = {{"illegal", 4}, {"aborted", 6},       {"bus", 7},        {"floating", 8},
                 {"killed", 9},  {"segmentation", 11}, {"terminated", 15}};
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcasecmp(word, words[i].word) == 0) return words[i].number;
    }
    return 0;
}

/* The name takes the number's place: nobody wants to hear of signal 11 twice. */
static void decode_signal(struct rp_facts *facts, const struct rp_fact *fact) {
    uint64_t number = signal_of_word(fact->text);
    if (number == 0 && !is_whole_number(fact->text, &number)) return;
    const char *name = rp_code_name(RP_CODE_SIGNAL, (int64_t)number);
    for (size_t i = 0; name && i < facts->count; i++) {
        struct rp_fact *row = &facts->rows[i];
        if (row->name != RP_FACT_NAME_SIGNAL || strcmp(row->text, fact->text) != 0) continue;
        snprintf(row->text, sizeof row->text, "%s", name);
        row->is_derived = true;
        return;
    }
}

/* Rust's "os error 1455" is errno's on Linux and GetLastError()'s on Windows, which ends its
 * sentence before: a rule reads that as what it is, and then it is no errno. */
static void decode_errno(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *windows = rp_facts_find(facts, RP_FACT_NAME_WINDOWS_ERROR);
    if (windows && windows->start == fact->start) {
        rp_facts_remove(facts, fact->name, fact->start);
        return;
    }
    if (fact->number < 134) return;
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name((int64_t)fact->number));
}

static void decode_windows_error(struct rp_facts *facts, const struct rp_fact *fact) {
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name((int64_t)fact->number));
}

/*
 * A number whose library the pattern did not tell. Only ranges that one library has to itself: a
 * status of Windows, CUDA from 100 on, QNN. A name of the library's own is its name.
 */
static void decode_error_code(struct rp_facts *facts, const struct rp_fact *fact) {
    uint64_t number;
    if (strspn(fact->text, "0123456789abcdefABCDEF") == 8 && strlen(fact->text) == 8) {
        char hex[16]; /* "887A0005", as DirectML says it */
        snprintf(hex, sizeof hex, "0x%.8s", fact->text);
        derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME,
               is_whole_number(hex, &number) ? windows_name((int64_t)number) : NULL);
        return;
    }
    if (!is_whole_number(fact->text, &number)) return;
    int64_t code = (int64_t)number;
    const char *name = NULL;
    if (code >= 100 && code < 1000) name = rp_code_name(RP_CODE_CUDA, code);
    if (code >= 3000 && code < 65536) name = rp_code_name(RP_CODE_QNN, code);
    if (!name && strncasecmp(fact->text, "0x10", 4) == 0) name = rp_code_name(RP_CODE_HSA, code);
    if (!name && (code > 65535 || code < -100000)) name = windows_name(code);
    if (!name && code >= 0x70000000) name = rp_code_name(RP_CODE_LEVEL_ZERO, code);
    if (!name && code <= -1000000000) name = rp_code_name(RP_CODE_VULKAN, code);
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, name);
}

/* Whether a node's name with neither path nor number is an operator's: "NcclAllReduce", "Resize".
 */
static bool is_operator_word(const char *word) {
    static const char *const words[] = {
        "Add",    "Cast",      "Concat",    "Conv",     "Div",     "Einsum", "Expand",  "Gather",
        "Gelu",   "Gemm",      "Loop",      "Mul",      "Pad",     "Pow",    "Relu",    "Reshape",
        "Resize", "Scan",      "Sigmoid",   "Slice",    "Softmax", "Split",  "Squeeze", "Sub",
        "Tile",   "Transpose", "Unsqueeze", "Upsample", "Where"};
    size_t capitals = 0;
    for (const char *at = word; *at; at++) {
        capitals += isupper((unsigned char)*at) != 0;
    }
    if (capitals > 1) return true;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0) return true;
    }
    return false;
}

/* "/encoder/Conv_12", "Resize__31": exporters name a node after its operator. */
static void decode_node(struct rp_facts *facts, const struct rp_fact *fact) {
    if (rp_facts_find(facts, RP_FACT_NAME_OPERATOR)) return;
    const char *slash = strrchr(fact->text, '/');
    const char *name = slash ? slash + 1 : fact->text;
    char text[64];
    size_t letters = 0;
    while (isalpha((unsigned char)name[letters])) {
        letters++;
    }
    size_t rest = letters + strspn(name + letters, "_0123456789");
    bool is_numbered = name[letters] == '_';
    if (!isupper((unsigned char)*name) || name[rest] || letters < 3 || letters >= sizeof text) {
        return;
    }
    memcpy(text, name, letters);
    text[letters] = '\0';
    if (!slash && !is_numbered && !is_operator_word(text)) return;
    derive(facts, fact, RP_FACT_NAME_OPERATOR, text);
}

/* "CUDA0", "cuda:1": the number behind the name. A PCI address has none. */
static void decode_device(struct rp_facts *facts, const struct rp_fact *fact) {
    const char *at = fact->text;
    while (isalpha((unsigned char)*at) || *at == '_') {
        at++;
    }
    if (at == fact->text) return;
    if (*at == ':') at++;
    size_t digits = strspn(at, "0123456789");
    if (digits == 0 || digits > 3 || at[digits]) return;
    struct rp_fact index = *fact;
    index.name = RP_FACT_NAME_DEVICE_INDEX;
    index.is_derived = true;
    index.number = strtoul(at, NULL, 10);
    snprintf(index.text, sizeof index.text, "%s", at);
    rp_facts_add(facts, &index);
}

/* A model that is named by its place is a folder or a file of this machine. */
static void decode_model(struct rp_facts *facts, const struct rp_fact *fact) {
    const char *text = fact->text;
    bool is_drive = isalpha((unsigned char)text[0]) && text[1] == ':';
    if (!is_drive && text[0] != '/' && strncmp(text, "./", 2) != 0 &&
        strncmp(text, "../", 3) != 0 && strncmp(text, "~/", 2) != 0) {
        return;
    }
    if (!rp_facts_find(facts, RP_FACT_NAME_FILE)) derive(facts, fact, RP_FACT_NAME_FOLDER, text);
}

/* In an order in which what is derived is there when something follows from it. */
static const struct {
    enum rp_fact_name name;
    void (*decode)(struct rp_facts *facts, const struct rp_fact *fact);
} decoders[] = {
    {RP_FACT_NAME_BYTES_RESERVED_TOTAL, decode_reserved_total},
    {RP_FACT_NAME_BYTES_OTHERS, decode_others},
    {RP_FACT_NAME_CUDA_CODE, decode_cuda_code},
    {RP_FACT_NAME_CUDA_CODE_RUNTIME, decode_cuda_code_runtime},
    {RP_FACT_NAME_CUDA_CODE_NEEDED, decode_cuda_code_needed},
    {RP_FACT_NAME_CUDNN_CODE, decode_cudnn_code},
    {RP_FACT_NAME_CUDNN_CODE_NEEDED, decode_cudnn_code_needed},
    {RP_FACT_NAME_DRIVER_VERSION, decode_driver},
    {RP_FACT_NAME_CUDA_NEEDED, decode_cuda_needed},
    {RP_FACT_NAME_CUDA_VERSION, decode_cuda_version},
    {RP_FACT_NAME_CUDA_ARCH, decode_cuda_arch},
    {RP_FACT_NAME_CHIP, decode_chip},
    {RP_FACT_NAME_COMPUTE, decode_compute},
    {RP_FACT_NAME_COMPUTE_NEEDED, decode_compute_needed},
    {RP_FACT_NAME_OPSET_FOUND, decode_opset},
    {RP_FACT_NAME_IR_VERSION, decode_ir},
    {RP_FACT_NAME_GLIBC_NEEDED, decode_glibc},
    {RP_FACT_NAME_GLIBCXX_NEEDED, decode_glibcxx},
    {RP_FACT_NAME_CXXABI_NEEDED, decode_cxxabi},
    {RP_FACT_NAME_DEVICE, decode_device},
    {RP_FACT_NAME_NODE, decode_node},
    {RP_FACT_NAME_MODEL, decode_model},
    {RP_FACT_NAME_SIGNAL, decode_signal},
    {RP_FACT_NAME_EXIT_CODE, decode_exit_code},
    {RP_FACT_NAME_ERRNO, decode_errno},
    {RP_FACT_NAME_WINDOWS_ERROR, decode_windows_error},
    {RP_FACT_NAME_ERROR_CODE, decode_error_code},
};

/* Numbers that are only looked up. */
static const struct {
    enum rp_fact_name name;
    enum rp_fact_name derived;
    enum rp_code_kind kind;
} names[] = {
    {RP_FACT_NAME_CUDA_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUDA},
    {RP_FACT_NAME_HIP_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_HIP},
    {RP_FACT_NAME_HSA_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_HSA},
    {RP_FACT_NAME_NCCL_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_NCCL},
    {RP_FACT_NAME_CUDNN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUDNN},
    {RP_FACT_NAME_CUBLAS_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUBLAS},
    {RP_FACT_NAME_OPENCL_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_OPENCL},
    {RP_FACT_NAME_VULKAN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_VULKAN},
    {RP_FACT_NAME_LEVEL_ZERO_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_LEVEL_ZERO},
    {RP_FACT_NAME_QNN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_QNN},
    {RP_FACT_NAME_ERRNO, RP_FACT_NAME_ERRNO_NAME, RP_CODE_ERRNO},
    {RP_FACT_NAME_HTTP_STATUS, RP_FACT_NAME_HTTP_TEXT, RP_CODE_HTTP},
    {RP_FACT_NAME_XID, RP_FACT_NAME_XID_TEXT, RP_CODE_XID},
};

/* Of each name only the weightiest is decoded; a copy, since adding moves the rows. */
void rp_facts_decode(struct rp_facts *facts) {
    for (size_t i = 0; i < COUNT(decoders); i++) {
        const struct rp_fact *fact = rp_facts_find(facts, decoders[i].name);
        if (!fact) continue;
        struct rp_fact copy = *fact;
        decoders[i].decode(facts, &copy);
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct rp_fact *fact = rp_facts_find(facts, names[i].name);
        if (!fact) continue;
        struct rp_fact copy = *fact;
        derive(facts, &copy, names[i].derived, rp_code_name(names[i].kind, (int64_t)copy.number));
    }
}
