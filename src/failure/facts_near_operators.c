/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators by their names, by the form of their library ("aten::roll") or by the words beside them
 * ("operator 'X'", "X is not implemented").
 */
#include "failure/facts_line.h"
#include "failure/facts_near.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

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
        if (rp_fact_token_begins(token, domains[i]))
            return !isdigit((unsigned char)token->at[strlen(domains[i])]);
    }
    return false;
}

/* The word before an operator's name. */
static bool is_operator_word(const struct rp_fact_token *token) {
    static const char *const words[] = {
        "operator",  "op",         "operators", "ops",    "optype",         "op_type",
        "operation", "operations", "layer",     "opcode", "implementation", "builtin",
        "builtin",   "primitive",  "node_type", "opname", "op_name",        "kernel"};
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
    if (memchr(token->at, '_', token->length) || memchr(token->at, '.', token->length)) return true;
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
        if (rp_fact_token_is_quoted(token) && !is_sentence_word(token) &&
            !isdigit((unsigned char)*token->at)) {
            return next;
        }
        bool is_joined = rp_fact_token_is(token, "type") || rp_fact_token_is(token, "name") ||
                         rp_fact_token_is(token, "of") || rp_fact_token_is(token, "code") ||
                         rp_fact_token_is(token, "is") || rp_fact_token_is(token, "named");
        if (is_joined || (rp_fact_token_is(token, "for") &&
                          rp_fact_token_is(&line->tokens[i], "implementation"))) {
            continue;
        }
        if (is_sentence_word(token) || isdigit((unsigned char)*token->at)) return SIZE_MAX;
        bool is_told =
            is_name(token) || token->before == ':' || token->before == '=' || token->before == '[';
        return is_told ? next : SIZE_MAX;
    }
    return SIZE_MAX;
}

/* The best token for an operator: one with a domain, one that is named so, one of the table. */
void rp_fact_scan_operators(const struct rp_fact_scan *scan) {
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
        } else if (best == 0 && rp_fact_token_is_quoted(token) && !is_sentence_word(token) &&
                   is_lacking(line, i)) {
            how = BY_LACK;
        }
        if (how > best) {
            best = how;
            found = at;
        }
    }
    if (best > 0)
        rp_fact_scan_take(scan, RP_FACT_NAME_OPERATOR, line->tokens[found].at,
                          line->tokens[found].at + line->tokens[found].length);
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
