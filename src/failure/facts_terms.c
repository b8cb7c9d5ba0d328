/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that a message states without a pattern for it: operators, number types, packages,
 * libraries of the accelerators' stacks, signals. A name is known by a table, by the form of its
 * library
 * ("aten::roll"), or by the word before or behind it ("operator 'X'", "X is not implemented").
 */
#include "failure/facts_line.h"
#include "failure/facts_near.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void take_token(const struct rp_fact_scan *scan, enum rp_fact_name name,
                       const struct rp_fact_token *token) {
    rp_fact_scan_take(scan, name, token->at, token->at + token->length);
}

/* --- number types -------------------------------------------------------------------------- */

static bool is_bare_dtype(const char *at, size_t length) {
    static const char *const names[] = {
        "float16",       "float32",     "float64",     "bfloat16",
        "float8",        "fp16",        "fp32",        "fp64",
        "fp8",           "bf16",        "int4",        "int8",
        "int16",         "int32",       "int64",       "uint4",
        "uint8",         "uint16",      "uint32",      "uint64",
        "complex64",     "complex128",  "fp4",         "nf4",
        "mxfp4",         "nvfp4",       "f16",         "f32",
        "f64",           "i8",          "i16",         "i32",
        "i64",           "u8",          "u32",         "u64",
        "float8_e4m3fn", "float8_e5m2", "float8_e4m3", "fp8e4nv",
        "fp8e5",         "halftensor",  "floattensor", "doubletensor",
        "longtensor",    "inttensor",   "booltensor",  "bfloat16tensor",
        "chartensor",    "bytetensor",  "qint8",       "quint8",
        "tf32"};
    struct rp_fact_token token = {.at = at, .length = length};
    return rp_fact_token_among(&token, names, COUNT(names)) >= 0;
}

/* Types that are words too: only in a library's own spelling, or where a type is spoken of. */
static bool is_dtype_word(const char *at, size_t length) {
    static const char *const names[] = {"half", "float",  "double", "long", "int",
                                        "bool", "string", "short",  "char", "byte"};
    struct rp_fact_token token = {.at = at, .length = length};
    return rp_fact_token_among(&token, names, COUNT(names)) >= 0;
}

static bool is_type_word(const struct rp_fact_token *token) {
    static const char *const words[] = {
        "type",   "dtype",  "types",       "dtypes",    "expected",  "found",   "got",
        "tensor", "scalar", "torch.dtype", "precision", "data_type", "datatype"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

static bool is_dtype(const struct rp_fact_line *line, size_t i) {
    static const char *const prefixes[] = {
        "torch.",    "torch.cuda.", "c10::",      "at::",    "DT_",          "tf.",
        "np.",       "numpy.",      "jnp.",       "kTfLite", "paddle.",      "mx.",
        "mlx.core.", "DataType.",   "DataType::", "k",       "TensorProto.", "ov::element::"};
    const struct rp_fact_token *token = &line->tokens[i];
    if (is_bare_dtype(token->at, token->length)) return true;
    for (size_t j = 0; j < COUNT(prefixes); j++) {
        if (!rp_fact_token_begins(token, prefixes[j])) continue;
        const char *rest = token->at + strlen(prefixes[j]);
        size_t length = token->length - strlen(prefixes[j]);
        if (is_bare_dtype(rest, length)) return true;
        if (strlen(prefixes[j]) > 1 && is_dtype_word(rest, length)) return true;
    }
    if (!is_dtype_word(token->at, token->length)) return false;
    bool is_told = i > 0 && is_type_word(token - 1) && !token->is_apart;
    bool is_capital = isupper((unsigned char)*token->at) && token->length > 3 &&
                      islower((unsigned char)token->at[1]);
    return is_told || rp_fact_token_is_quoted(token) || is_capital || token->before == '<';
}

static bool is_expected(const struct rp_fact_line *line, size_t i, size_t from) {
    static const char *const before[] = {"expected", "expect", "expects", "expecting", "requires",
                                         "required", "needs",  "should",  "wants",     "supports",
                                         "want",     "must",   "require", "desired",   "only"};
    static const char *const other[] = {"found", "got", "actual", "received",    "but",
                                        "not",   "has", "given",  "unsupported", "with"};
    for (size_t back = i; back > from && i - back < 5; back--) {
        const struct rp_fact_token *token = &line->tokens[back - 1];
        if (rp_fact_token_among(token, other, COUNT(other)) >= 0) return false;
        if (rp_fact_token_among(token, before, COUNT(before)) >= 0) return true;
    }
    for (size_t next = i + 1; next < line->count && next <= i + 3; next++) {
        const struct rp_fact_token *token = &line->tokens[next];
        if (token->is_apart) return false;
        if (rp_fact_token_is(token, "expected") || rp_fact_token_is(token, "required")) return true;
    }
    return false;
}

static bool is_same_type(const struct rp_fact_token *a, const struct rp_fact_token *b) {
    return a->length == b->length && strncasecmp(a->at, b->at, a->length) == 0;
}

static void scan_dtypes(const struct rp_fact_scan *scan, bool in_pairs) {
    const struct rp_fact_line *line = scan->line;
    const struct rp_fact_token *first = NULL; /* the one that is not as expected */
    bool has_expected = false;
    for (size_t i = 0, from = 0; i < line->count; i++) {
        const struct rp_fact_token *token = &line->tokens[i];
        if (!is_dtype(line, i)) continue;
        bool expected = is_expected(line, i, from);
        bool is_other = first && in_pairs && !has_expected && !is_same_type(first, token);
        take_token(scan, expected || is_other ? RP_FACT_NAME_DTYPE_EXPECTED : RP_FACT_NAME_DTYPE,
                   token);
        has_expected = has_expected || expected || is_other;
        if (!expected && !first) first = token;
        from = i + 1;
    }
}

/* --- libraries and packages ---------------------------------------------------------------- */

static void scan_library(const struct rp_fact_scan *scan, const struct rp_fact_token *token) {
    static const char *const names[] = {
        "cudnn",      "cublas",   "cublaslt",  "cufft",     "curand",   "cusolver", "cusparse",
        "cusparselt", "nccl",     "cudart",    "nvrtc",     "nvinfer",  "tensorrt", "miopen",
        "rocblas",    "hipblas",  "hipblaslt", "rccl",      "mkl",      "onednn",   "dnnl",
        "libtpu",     "opencl",   "nvjpeg",    "cutensor",  "migraphx", "openvino", "rocm",
        "libomp",     "libcudnn", "libcublas", "libcudart", "libnvrtc", "libnccl",  "zlibwapi",
        "level-zero", "libqnn",   "vulkan",    "oneapi"};
    if (rp_fact_token_among(token, names, COUNT(names)) >= 0) {
        take_token(scan, RP_FACT_NAME_LIBRARY, token);
    }
}

/* A name that an installer takes: small letters, or one in quotes. */
static bool is_package(const struct rp_fact_token *token) {
    static const char *const words[] = {"it",        "the",
                                        "a",         "an",
                                        "package",   "packages",
                                        "module",    "modules",
                                        "with",      "pip",
                                        "install",   "from",
                                        "of",        "to",
                                        "python",    "this",
                                        "that",      "and",
                                        "upgrade",   "using",
                                        "latest",    "version",
                                        "library",   "required",
                                        "not",       "is",
                                        "be",        "user",
                                        "uninstall", "required",
                                        "following", "native",
                                        "shared",    "missing",
                                        "dynamic",   "quiet",
                                        "pre",       "force-reinstall",
                                        "no-deps",   "no-cache-dir",
                                        "git",       "extra",
                                        "your",      "any",
                                        "other",     "additional",
                                        "source",    "these",
                                        "some",      "http",
                                        "https"};
    if (token->length < 2 || !isalpha((unsigned char)*token->at)) return false;
    return rp_fact_token_among(token, words, COUNT(words)) < 0;
}

/* "pip install [-U] X" */
static void scan_install(const struct rp_fact_scan *scan, size_t i) {
    static const char *const tools[] = {"pip",   "pip3", "conda",   "uv",   "poetry", "npm",
                                        "mamba", "apt",  "apt-get", "brew", "m",      "forge"};
    const struct rp_fact_line *line = scan->line;
    if (i == 0 || rp_fact_token_among(&line->tokens[i - 1], tools, COUNT(tools)) < 0) return;
    for (size_t next = i + 1; next < line->count && next <= i + 3; next++) {
        const struct rp_fact_token *token = &line->tokens[next];
        if (token->is_apart && token->before != '"') return;
        if (token->before == '-') continue;
        if (is_package(token)) take_token(scan, RP_FACT_NAME_PACKAGE, token);
        return;
    }
}

/* "RoIAlign is not compiled with GPU support": one operator of a package, whose own name is no
 * such word; "RuntimeError" is neither. */
static bool is_operator_of_build(const struct rp_fact_scan *scan, size_t name, size_t with) {
    static const char *const packages[] = {"PaddlePaddle", "PyTorch", "TensorFlow", "DeepSpeed",
                                           "CTranslate2",  "OpenCV",  "XGBoost",    "LightGBM",
                                           "ONNXRuntime",  "xFormers"};
    const struct rp_fact_line *line = scan->line;
    const struct rp_fact_token *token = &line->tokens[name];
    size_t capitals = 0;
    size_t smalls = 0;
    for (size_t i = 0; i < token->length; i++) {
        capitals += isupper((unsigned char)token->at[i]) != 0;
        smalls += islower((unsigned char)token->at[i]) != 0;
    }
    return with + 2 < line->count && rp_fact_token_is(&line->tokens[with + 1], "GPU") &&
           rp_fact_token_is(&line->tokens[with + 2], "support") && capitals > 1 && smalls > 0 &&
           isupper((unsigned char)*token->at) &&
           rp_fact_token_among(token, packages, COUNT(packages)) < 0;
}

/* "RuntimeError: Not compiled with": the word before is an exception's. */
static bool is_exception(const struct rp_fact_token *token) {
    static const char ending[] = "Error";
    size_t length = sizeof ending - 1;
    return token->length >= length &&
           memcmp(token->at + token->length - length, ending, length) == 0;
}

/* "X wasn't built with", "X is not compiled with" */
static void scan_build(const struct rp_fact_scan *scan, size_t i) {
    static const char *const built[] = {"built", "build", "compiled"};
    static const char *const between[] = {"not", "is", "was", "wasn", "isn", "t", "been"};
    const struct rp_fact_line *line = scan->line;
    if (rp_fact_token_among(&line->tokens[i - 1], built, COUNT(built)) < 0) return;
    size_t name = i - 1;
    bool is_not = false;
    while (name > 0 && rp_fact_token_among(&line->tokens[name - 1], between, COUNT(between)) >= 0) {
        if (line->tokens[name].is_apart) return;
        name--;
        const struct rp_fact_token *word = &line->tokens[name];
        is_not = is_not || rp_fact_token_is(word, "not") || rp_fact_token_is(word, "wasn") ||
                 rp_fact_token_is(word, "isn");
    }
    if (!is_not || name == 0 || name == i - 1 || line->tokens[name].is_apart) return;
    const struct rp_fact_token *token = &line->tokens[name - 1];
    if (!is_package(token) || is_exception(token)) return;
    bool is_operator = is_operator_of_build(scan, name - 1, i);
    take_token(scan, is_operator ? RP_FACT_NAME_OPERATOR : RP_FACT_NAME_PACKAGE, token);
}

/* "the X package", "requires the 'X' library", "package 'X'", "X is not installed" */
static void scan_package(const struct rp_fact_scan *scan, size_t i) {
    static const char *const kinds[] = {"package", "module", "library", "dependency"};
    static const char *const lead[] = {"the",      "requires", "require",  "needs",
                                       "missing",  "need",     "optional", "python",
                                       "required", "named",    "install"};
    const struct rp_fact_line *line = scan->line;
    const struct rp_fact_token *token = &line->tokens[i];
    if (rp_fact_token_is(token, "install")) scan_install(scan, i);
    bool is_kind = rp_fact_token_among(token, kinds, COUNT(kinds)) >= 0;
    if (is_kind && i + 1 < line->count && rp_fact_token_is_quoted(token + 1) &&
        is_package(token + 1)) {
        take_token(scan, RP_FACT_NAME_PACKAGE, token + 1);
    } else if (is_kind && i > 0 && is_package(token - 1)) {
        bool is_led = i > 1 && rp_fact_token_among(token - 2, lead, COUNT(lead)) >= 0;
        if (is_led || rp_fact_token_is_quoted(token - 1))
            take_token(scan, RP_FACT_NAME_PACKAGE, token - 1);
    }
    if (i > 1 && rp_fact_token_is(token, "with")) scan_build(scan, i);
    bool is_installed = rp_fact_token_is(token, "installed");
    if (is_installed && i > 2 && rp_fact_token_is(token - 1, "not")) {
        bool has_is = rp_fact_token_is(token - 2, "is") || rp_fact_token_is(token - 2, "are");
        const struct rp_fact_token *name = token - 2 - has_is;
        if (is_package(name) && !rp_fact_token_among(name, kinds, COUNT(kinds))) return;
        if (is_package(name)) take_token(scan, RP_FACT_NAME_PACKAGE, name);
    }
    static const char *const needs[] = {"requires", "needs"};
    if (rp_fact_token_among(token, needs, COUNT(needs)) >= 0 && i + 1 < line->count) {
        const struct rp_fact_token *name = token + 1;
        const char *end = name->at + name->length;
        bool is_end = i + 2 >= line->count || line->tokens[i + 2].is_apart ||
                      strchr("<>=!~`'\"", *end) || line->tokens[i + 2].before == '(';
        if (is_end && is_package(name) && !name->is_apart) {
            take_token(scan, RP_FACT_NAME_PACKAGE, name);
        }
    }
}

/* --- signals ------------------------------------------------------------------------------- */

static void scan_signal(const struct rp_fact_scan *scan, size_t i) {
    static const char *const pairs[][2] = {{"segmentation", "fault"},
                                           {"illegal", "instruction"},
                                           {"bus", "error"},
                                           {"floating", "point"}};
    static const char *const names[] = {"SIGSEGV", "SIGILL",  "SIGBUS",  "SIGABRT", "SIGKILL",
                                        "SIGFPE",  "SIGTERM", "SIGTRAP", "SIGINT"};
    const struct rp_fact_token *token = &scan->line->tokens[i];
    const struct rp_fact_token *next = token + 1;
    bool has_next = i + 1 < scan->line->count && !next->is_apart;
    if (rp_fact_token_among(token, names, COUNT(names)) >= 0) {
        take_token(scan, RP_FACT_NAME_SIGNAL, token);
    }
    for (size_t j = 0; has_next && j < COUNT(pairs); j++) {
        if (!rp_fact_token_is(token, pairs[j][0]) || !rp_fact_token_is(next, pairs[j][1])) continue;
        bool is_met = i + 2 < scan->line->count && rp_fact_token_is(next + 1, "was");
        if (!is_met) take_token(scan, RP_FACT_NAME_SIGNAL, token); /* CUDA meets one as well */
    }
    if (has_next && rp_fact_token_is(token, "signal") && rp_fact_token_is_number(next) &&
        next->length < 3) {
        take_token(scan, RP_FACT_NAME_SIGNAL, next);
    }
}

/* --- the whole ----------------------------------------------------------------------------- */

void rp_facts_scan_terms(const struct rp_fact_line *line, unsigned kinds, rp_facts_take_fn *take,
                         void *user) {
    struct rp_fact_scan scan = {line, take, user};
    if (kinds & RP_NEAR_OPERATORS) rp_fact_scan_operators(&scan);
    if (kinds & RP_NEAR_DTYPES) scan_dtypes(&scan, (kinds & RP_NEAR_DTYPE_PAIRS) != 0);
    for (size_t i = 0; i < line->count; i++) {
        if (kinds & RP_NEAR_LIBRARIES) scan_library(&scan, &line->tokens[i]);
        if (kinds & RP_NEAR_PACKAGES) scan_package(&scan, i);
        if (kinds & RP_NEAR_ENDS) scan_signal(&scan, i);
    }
}

void rp_facts_scan_frame(const char *text, size_t length, rp_facts_take_fn *take, void *user) {
    static const char folder[] = "-packages/";
    const char *end = text + length;
    const char *found = NULL;
    for (const char *at = text; at < end;) {
        const char *next = memchr(at, '-', (size_t)(end - at));
        if (!next || (size_t)(end - next) <= sizeof folder) break;
        bool is_folder =
            memcmp(next, folder, sizeof folder - 2) == 0 && strchr("/\\", next[sizeof folder - 2]);
        if (is_folder) found = next + sizeof folder - 1;
        at = next + 1;
    }
    if (!found) return;
    const char *to = found;
    while (to < end && (isalnum((unsigned char)*to) || *to == '_')) {
        to++;
    }
    struct rp_fact_token name = {.at = found, .length = (size_t)(to - found)};
    bool is_package = name.length > 1 && *found != '_' && to < end && strchr("/\\.", *to) &&
                      !rp_fact_token_is(&name, "nvidia"); /* many packages share that folder */
    if (is_package) take(RP_FACT_NAME_PACKAGE, (size_t)(found - text), (size_t)(to - text), user);
}
