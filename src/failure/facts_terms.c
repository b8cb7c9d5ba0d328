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

struct scan {
    const struct rp_fact_line *line;
    rp_facts_take_fn *take;
    void *user;
};

static void take_span(const struct scan *scan, enum rp_fact_name name, const char *from,
                      size_t length) {
    size_t start = (size_t)(from - scan->line->text);
    if (length > 0) scan->take(name, start, start + length, scan->user);
}

static void take_token(const struct scan *scan, enum rp_fact_name name,
                       const struct rp_fact_token *token) {
    take_span(scan, name, token->at, token->length);
}

static bool begins_with(const struct rp_fact_token *token, const char *beginning) {
    size_t length = strlen(beginning);
    return token->length > length && strncmp(token->at, beginning, length) == 0;
}

static bool is_quoted(const struct rp_fact_token *token) {
    return token->before != '\0' && strchr("'\"`", token->before) != NULL;
}

/* --- operators ----------------------------------------------------------------------------- */

/* Names of ONNX and TensorFlow that are no words of a sentence. In strcmp()'s order. */
static const char *const operators[] = {
    "Acosh",
    "ArgMax",
    "ArgMin",
    "Asinh",
    "Atanh",
    "Attention",
    "AveragePool",
    "BatchMatMul",
    "BatchMatMulV2",
    "BatchNormalization",
    "Bernoulli",
    "BiasAdd",
    "BiasGelu",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "BlackmanWindow",
    "CastLike",
    "Ceil",
    "Celu",
    "CenterCropPad",
    "Clip",
    "Col2Im",
    "CombinedNonMaxSuppression",
    "Compress",
    "Concat",
    "ConcatFromSequence",
    "ConcatV2",
    "ConstantOfShape",
    "Conv",
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "ConvInteger",
    "ConvTranspose",
    "Cosh",
    "CropAndResize",
    "CudnnRNN",
    "CumSum",
    "DFT",
    "DeformConv",
    "DepthToSpace",
    "DepthwiseConv2dNative",
    "DequantizeLinear",
    "Det",
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "Einsum",
    "Elu",
    "EmbedLayerNormalization",
    "Erf",
    "ExpandDims",
    "ExtractImagePatches",
    "EyeLike",
    "FFT",
    "FFT2D",
    "FastGelu",
    "Flatten",
    "FlexErf",
    "FusedBatchNorm",
    "FusedBatchNormV3",
    "FusedConv",
    "FusedMatMul",
    "GRU",
    "Gather",
    "GatherBlockQuantized",
    "GatherElements",
    "GatherND",
    "GatherNd",
    "GatherV2",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GridSample",
    "GroupNorm",
    "GroupNormalization",
    "GroupQueryAttention",
    "HammingWindow",
    "HannWindow",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "HashTable",
    "HashTableV2",
    "ImageDecoder",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LSTM",
    "LayerNorm",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MatrixBandPart",
    "MatrixInverse",
    "MaxPool",
    "MaxRoiPool",
    "MaxUnpool",
    "MeanVarianceNormalization",
    "MelWeightMatrix",
    "Mish",
    "MoE",
    "MultiHeadAttention",
    "Multinomial",
    "NegativeLogLikelihoodLoss",
    "NonMaxSuppression",
    "NonMaxSuppressionV3",
    "NonMaxSuppressionV5",
    "NonZero",
    "OneHot",
    "PRelu",
    "PackedAttention",
    "Pad",
    "PadV2",
    "QAttention",
    "QGemm",
    "QLinearAdd",
    "QLinearConv",
    "QLinearMatMul",
    "QMoE",
    "QuantizeLinear",
    "RFFT",
    "RFFT2D",
    "RMSNormalization",
    "RNN",
    "RandomNormal",
    "RandomNormalLike",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformLike",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "RegexFullMatch",
    "RegexNormalizer",
    "Relu",
    "Relu6",
    "Reshape",
    "Resize",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
    "ReverseSequence",
    "ReverseV2",
    "RoiAlign",
    "RotaryEmbedding",
    "STFT",
    "ScaledDotProductAttention",
    "ScatterElements",
    "ScatterND",
    "ScatterNd",
    "SelectV2",
    "Selu",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "Shrink",
    "Sigmoid",
    "SimplifiedLayerNormalization",
    "Sinh",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "Softmax",
    "SoftmaxCrossEntropyLoss",
    "Softplus",
    "Softsign",
    "SpaceToBatchND",
    "SpaceToDepth",
    "SplitToSequence",
    "SplitV",
    "Sqrt",
    "Squeeze",
    "StridedSlice",
    "StringNormalizer",
    "Swish",
    "TensorListReserve",
    "TensorListStack",
    "TfIdfVectorizer",
    "ThresholdedRelu",
    "TopK",
    "TopKV2",
    "Transpose",
    "TransposeConv",
    "Trilu",
    "Unsqueeze",
    "Upsample",
    "Xor",
};

static bool is_operator(const struct rp_fact_token *token) {
    if (token->length < 3 || !isupper((unsigned char)*token->at)) return false;
    for (size_t i = 0; i < COUNT(operators); i++) {
        if (operators[i][0] == *token->at && strlen(operators[i]) == token->length &&
            memcmp(operators[i], token->at, token->length) == 0) {
            return true;
        }
    }
    return false;
}

/* "aten::roll", "com.microsoft.FusedMatMul" */
static bool has_domain(const struct rp_fact_token *token) {
    static const char *const domains[] = {"aten::",
                                          "prim::",
                                          "onnx::",
                                          "torchvision::",
                                          "quantized::",
                                          "torchaudio::",
                                          "com.microsoft.",
                                          "ai.onnx.",
                                          "tf.",
                                          "torch_scatter::",
                                          "xformers::",
                                          "flash_attn::",
                                          "_c10d_functional::",
                                          "mkldnn::",
                                          "torch_sparse::",
                                          "stablehlo.",
                                          "mhlo.",
                                          "vllm::",
                                          "fairseq::",
                                          "inductor::"};
    for (size_t i = 0; i < COUNT(domains); i++) {
        if (begins_with(token, domains[i]))
            return !isdigit((unsigned char)token->at[strlen(domains[i])]);
    }
    return false;
}

/* The word before an operator's name. */
static bool is_operator_word(const struct rp_fact_token *token) {
    static const char *const words[] = {"operator",  "op",      "operators", "ops",
                                        "optype",    "op_type", "operation", "operations",
                                        "layer",     "opcode",  "builtin",   "primitive",
                                        "node_type", "opname",  "op_name",   "kernel"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

/* A word of the sentence, no name: "operator was", "operation on". */
static bool is_sentence_word(const struct rp_fact_token *token) {
    static const char *const words[] = {"is",
                                        "are",
                                        "was",
                                        "not",
                                        "on",
                                        "for",
                                        "in",
                                        "of",
                                        "the",
                                        "has",
                                        "have",
                                        "with",
                                        "to",
                                        "from",
                                        "type",
                                        "types",
                                        "name",
                                        "named",
                                        "this",
                                        "that",
                                        "and",
                                        "or",
                                        "at",
                                        "a",
                                        "an",
                                        "by",
                                        "could",
                                        "cannot",
                                        "can",
                                        "failed",
                                        "set",
                                        "version",
                                        "kernel",
                                        "domain",
                                        "code",
                                        "node",
                                        "no",
                                        "found",
                                        "because",
                                        "support",
                                        "supported",
                                        "unsupported",
                                        "implementation",
                                        "node",
                                        "does",
                                        "requires",
                                        "error",
                                        "registered",
                                        "using",
                                        "which",
                                        "input",
                                        "image",
                                        "output",
                                        "tensor",
                                        "as",
                                        "it",
                                        "will",
                                        "must",
                                        "schema",
                                        "function",
                                        "but",
                                        "into",
                                        "unknown",
                                        "custom",
                                        "onnx",
                                        "builtin",
                                        "layers",
                                        "used",
                                        "if",
                                        "list",
                                        "driver",
                                        "module",
                                        "launch",
                                        "timeout",
                                        "reported",
                                        "attribute",
                                        "attributes",
                                        "kernels"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

/* "GridSample", "custom_roll", "TRANSPOSE_CONV": no plain word. */
static bool is_name(const struct rp_fact_token *token) {
    if (token->length < 2 || isdigit((unsigned char)*token->at)) return false;
    if (memchr(token->at, '_', token->length)) return true;
    for (size_t i = 0; i < token->length; i++) {
        if (isupper((unsigned char)token->at[i])) return true;
    }
    return false;
}

/* "X is not implemented", "X isn't supported" */
static bool is_lacking(const struct rp_fact_line *line, size_t i) {
    static const char *const ends[] = {"supported", "implemented", "available", "registered"};
    bool is_not = false;
    for (size_t next = i + 1; next < line->count && next <= i + 4; next++) {
        const struct rp_fact_token *token = &line->tokens[next];
        if (token->is_apart) return false;
        if (rp_fact_token_is(token, "unsupported") || rp_fact_token_is(token, "unimplemented")) {
            return next > i + 1;
        }
        is_not = is_not || rp_fact_token_is(token, "not") || rp_fact_token_is(token, "isn");
        if (is_not && rp_fact_token_among(token, ends, COUNT(ends)) >= 0) return true;
    }
    return false;
}

/* The name behind "operator", SIZE_MAX: none stands there. */
static size_t named_operator(const struct rp_fact_line *line, size_t i) {
    for (size_t next = i + 1; next < line->count && next <= i + 3; next++) {
        const struct rp_fact_token *token = &line->tokens[next];
        if (token->is_apart) return SIZE_MAX;
        if (is_quoted(token) && !is_sentence_word(token) && !isdigit((unsigned char)*token->at)) {
            return next;
        }
        bool is_joined = rp_fact_token_is(token, "type") || rp_fact_token_is(token, "name") ||
                         rp_fact_token_is(token, "of") || rp_fact_token_is(token, "code") ||
                         rp_fact_token_is(token, "is") || rp_fact_token_is(token, "named");
        if (is_joined) continue;
        if (is_sentence_word(token) || isdigit((unsigned char)*token->at)) return SIZE_MAX;
        bool is_told =
            is_name(token) || token->before == ':' || token->before == '=' || token->before == '[';
        return is_told ? next : SIZE_MAX;
    }
    return SIZE_MAX;
}

/* The best token for an operator: one with a domain, one that is named so, one of the table. */
static void scan_operator(const struct scan *scan) {
    const struct rp_fact_line *line = scan->line;
    enum { BY_DOMAIN = 4, BY_WORD = 3, BY_TABLE = 2, BY_LACK = 1 };
    int best = 0;
    size_t found = 0;
    for (size_t i = 0; i < line->count; i++) {
        const struct rp_fact_token *token = &line->tokens[i];
        int how = 0;
        size_t at = i;
        bool is_code = (token->at + token->length < line->text + line->length &&
                        strchr("/\\", token->at[token->length])) ||
                       token->before == '/' || token->before == '\\';
        if (is_code) continue;
        if (has_domain(token)) {
            how = BY_DOMAIN;
        } else if (is_operator_word(token)) {
            at = named_operator(line, i);
            how = at == SIZE_MAX ? 0 : BY_WORD;
        } else if (is_operator(token)) {
            how = BY_TABLE;
        } else if (best == 0 && is_quoted(token) && !is_sentence_word(token) &&
                   is_lacking(line, i)) {
            how = BY_LACK;
        }
        if (how > best) {
            best = how;
            found = at;
        }
    }
    if (best > 0) take_token(scan, RP_FACT_NAME_OPERATOR, &line->tokens[found]);
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
        if (!begins_with(token, prefixes[j])) continue;
        const char *rest = token->at + strlen(prefixes[j]);
        size_t length = token->length - strlen(prefixes[j]);
        if (is_bare_dtype(rest, length)) return true;
        if (strlen(prefixes[j]) > 1 && is_dtype_word(rest, length)) return true;
    }
    if (!is_dtype_word(token->at, token->length)) return false;
    bool is_told = i > 0 && is_type_word(token - 1) && !token->is_apart;
    bool is_capital = isupper((unsigned char)*token->at) && token->length > 3 &&
                      islower((unsigned char)token->at[1]);
    return is_told || is_quoted(token) || is_capital || token->before == '<';
}

static bool is_expected(const struct rp_fact_line *line, size_t i, size_t from) {
    static const char *const before[] = {"expected", "expects", "expecting", "requires", "required",
                                         "needs",    "should",  "wants",     "supports", "want",
                                         "must",     "require", "desired",   "only"};
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

static void scan_dtypes(const struct scan *scan) {
    size_t from = 0;
    for (size_t i = 0; i < scan->line->count; i++) {
        const struct rp_fact_token *token = &scan->line->tokens[i];
        if (!is_dtype(scan->line, i)) continue;
        bool expected = is_expected(scan->line, i, from);
        take_token(scan, expected ? RP_FACT_NAME_DTYPE_EXPECTED : RP_FACT_NAME_DTYPE, token);
        from = i + 1;
    }
}

/* --- libraries and packages ---------------------------------------------------------------- */

static void scan_library(const struct scan *scan, const struct rp_fact_token *token) {
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
static void scan_install(const struct scan *scan, size_t i) {
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

/* "X wasn't built with", "X is not compiled with" */
static void scan_build(const struct scan *scan, size_t i) {
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
    if (is_package(&line->tokens[name - 1])) {
        take_token(scan, RP_FACT_NAME_PACKAGE, &line->tokens[name - 1]);
    }
}

/* "the X package", "requires the 'X' library", "package 'X'", "X is not installed" */
static void scan_package(const struct scan *scan, size_t i) {
    static const char *const kinds[] = {"package", "module", "library", "dependency"};
    static const char *const lead[] = {"the",      "requires", "require",  "needs",
                                       "missing",  "need",     "optional", "python",
                                       "required", "named",    "install"};
    const struct rp_fact_line *line = scan->line;
    const struct rp_fact_token *token = &line->tokens[i];
    if (rp_fact_token_is(token, "install")) scan_install(scan, i);
    bool is_kind = rp_fact_token_among(token, kinds, COUNT(kinds)) >= 0;
    if (is_kind && i + 1 < line->count && is_quoted(token + 1) && is_package(token + 1)) {
        take_token(scan, RP_FACT_NAME_PACKAGE, token + 1);
    } else if (is_kind && i > 0 && is_package(token - 1)) {
        bool is_led = i > 1 && rp_fact_token_among(token - 2, lead, COUNT(lead)) >= 0;
        if (is_led || is_quoted(token - 1)) take_token(scan, RP_FACT_NAME_PACKAGE, token - 1);
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

static void scan_signal(const struct scan *scan, size_t i) {
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
    struct scan scan = {line, take, user};
    if (kinds & RP_NEAR_OPERATORS) scan_operator(&scan);
    if (kinds & RP_NEAR_DTYPES) scan_dtypes(&scan);
    for (size_t i = 0; i < line->count; i++) {
        if (kinds & RP_NEAR_LIBRARIES) scan_library(&scan, &line->tokens[i]);
        if (kinds & RP_NEAR_PACKAGES) scan_package(&scan, i);
        if (kinds & RP_NEAR_ENDS) scan_signal(&scan, i);
    }
}

/* "F.conv2d(x)", "torch.multinomial(p, 1)": what a line of code calls. */
void rp_facts_scan_source(const char *text, size_t length, rp_facts_take_fn *take, void *user) {
    static const char *const no_operators[] = {"load",
                                               "save",
                                               "device",
                                               "tensor",
                                               "no_grad",
                                               "manual_seed",
                                               "compile",
                                               "jit",
                                               "as_tensor",
                                               "from_numpy",
                                               "autocast",
                                               "inference_mode",
                                               "export",
                                               "set_default_dtype",
                                               "hub",
                                               "Tensor",
                                               "set_grad_enabled",
                                               "Generator",
                                               "Size",
                                               "is_tensor",
                                               "get_default_dtype"};
    const char *end = text + length;
    for (const char *at = text; (at = memchr(at, '(', (size_t)(end - at))) != NULL; at++) {
        const char *from = at;
        while (from > text && (isalnum((unsigned char)from[-1]) || from[-1] == '_')) {
            from--;
        }
        size_t before = (size_t)(from - text);
        bool is_call = (before >= 6 && memcmp(from - 6, "torch.", 6) == 0) ||
                       (before >= 2 && memcmp(from - 2, "F.", 2) == 0 &&
                        (before == 2 || !isalnum((unsigned char)from[-3])));
        struct rp_fact_token name = {.at = from, .length = (size_t)(at - from)};
        if (is_call && name.length > 2 &&
            rp_fact_token_among(&name, no_operators, COUNT(no_operators)) < 0) {
            take(RP_FACT_NAME_OPERATOR, before, before + name.length, user);
            return;
        }
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
