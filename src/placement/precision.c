/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/precision.h"

#include <string.h>

/* From the widest to the narrowest, with the other names that people use. */
static const struct precision {
    const char *name;
    const char *aliases[4];
    int bits;
} precisions[] = {
    {"fp64", {"float64", "double"}, 64},
    {"fp32", {"float32", "float", "single"}, 32},
    {"bf16", {"bfloat16"}, 16},
    {"fp16", {"float16", "half"}, 16},
    {"fp8", {"float8", "fp8_e4m3", "fp8_e5m2"}, 8},
    {"int8", {"uint8", "8bit", "q8_0"}, 8},
    {"fp4", {"nf4", "mxfp4", "nvfp4"}, 4},
    {"int4", {"uint4", "4bit"}, 4},
};
enum { PRECISION_COUNT = sizeof precisions / sizeof precisions[0] };

static const struct precision *find(const char *text) {
    for (size_t i = 0; text && i < PRECISION_COUNT; i++) {
        if (strcmp(precisions[i].name, text) == 0) return &precisions[i];
    }
    for (size_t i = 0; text && i < PRECISION_COUNT; i++) {
        for (size_t j = 0; j < 4 && precisions[i].aliases[j]; j++) {
            if (strcmp(precisions[i].aliases[j], text) == 0) return &precisions[i];
        }
    }
    return NULL;
}

const char *rp_precision_name(const char *text) {
    const struct precision *found = find(text);
    return found ? found->name : NULL;
}

int rp_precision_is_lower(const char *precision, const char *than) {
    const struct precision *a = find(precision);
    const struct precision *b = find(than);
    return a && b && a->bits < b->bits;
}

static bool has_feature(const rp_cpu *cpu, const char *const *wanted) {
    for (size_t i = 0; cpu && i < cpu->feature_count; i++) {
        for (const char *const *name = wanted; *name; name++) {
            if (strcmp(cpu->features[i], *name) == 0) return true;
        }
    }
    return false;
}

/* Processors compute in fp32; narrower ones pay where they have instructions for them. */
static enum rp_precision_fit processor_fit(const rp_cpu *cpu, const char *precision) {
    static const char *const with_bf16[] = {"avx512_bf16", "amx_bf16", "bf16", NULL};
    static const char *const with_fp16[] = {"avx512_fp16", "amx_fp16", "asimdhp", "fp16", NULL};
    static const char *const with_int8[] = {"avx2",    "avx_vnni", "avx512_vnni", "asimddp",
                                            "dotprod", "i8mm",     NULL};
    if (strcmp(precision, "fp32") == 0 || strcmp(precision, "fp64") == 0) return RP_PRECISION_WELL;
    if (strcmp(precision, "fp8") == 0 || strcmp(precision, "fp4") == 0) return RP_PRECISION_LACKS;
    const char *const *wanted = strcmp(precision, "bf16") == 0   ? with_bf16
                                : strcmp(precision, "fp16") == 0 ? with_fp16
                                                                 : with_int8;
    return has_feature(cpu, wanted) ? RP_PRECISION_WELL : RP_PRECISION_SLOWLY;
}

/* A driver that said nothing of precisions: what every device of the kind does. */
static enum rp_precision_fit unknown_fit(rp_device_kind kind, const char *precision) {
    if (strcmp(precision, "fp32") == 0) return RP_PRECISION_WELL;
    if (strcmp(precision, "fp16") == 0 && kind != RP_DEVICE_TPU) return RP_PRECISION_WELL;
    if (strcmp(precision, "bf16") == 0 && kind == RP_DEVICE_TPU) return RP_PRECISION_WELL;
    return RP_PRECISION_SLOWLY;
}

enum rp_precision_fit rp_precision_fit(const rp_device *device, const char *precision) {
    const struct precision *wanted = find(precision);
    if (!wanted) return RP_PRECISION_WELL; /* a file's own type: its engine's matter */
    if (device->kind == RP_DEVICE_CPU) return processor_fit(device->cpu, wanted->name);
    const rp_accelerator *told = device->accelerator;
    if (!told || !told->precisions) return unknown_fit(device->kind, wanted->name);
    bool has_int8 = false;
    for (size_t i = 0; i < told->precision_count; i++) {
        const struct precision *each = find(told->precisions[i]);
        if (each == wanted) return RP_PRECISION_WELL;
        has_int8 |= each && strcmp(each->name, "int8") == 0;
    }
    /* Weights of 4 bits are widened on the way: whoever has int8 does that. */
    if (wanted->bits == 4) return has_int8 ? RP_PRECISION_WELL : RP_PRECISION_SLOWLY;
    /* What has no unit for 8-bit integers multiplies them as wider ones. */
    if (strcmp(wanted->name, "int8") == 0) return RP_PRECISION_SLOWLY;
    return RP_PRECISION_LACKS;
}

const char *rp_precision_default(const rp_device *device, const rp_model_facts *facts,
                                 bool generates, const char **stored) {
    const uint64_t billion = UINT64_C(1000000000);
    bool is_large = facts->parameter_count != RP_UNKNOWN_U64 && facts->parameter_count >= billion;
    *stored = facts->precision[0] ? rp_precision_name(facts->precision)
                                  : (is_large && generates ? "fp16" : "fp32");
    if (!*stored) *stored = facts->precision;
    /* Halves stand in for each other before the width doubles. */
    static const char *const wider[] = {"bf16", "fp16", "fp32"};
    if (rp_precision_fit(device, *stored) == RP_PRECISION_WELL) return *stored;
    bool is_half = strcmp(*stored, "bf16") == 0 || strcmp(*stored, "fp16") == 0;
    for (size_t i = 0; is_half && i < sizeof wider / sizeof wider[0]; i++) {
        if (rp_precision_fit(device, wider[i]) == RP_PRECISION_WELL) return wider[i];
    }
    return *stored;
}
