/* SPDX-License-Identifier: Apache-2.0 */
/* Needs are placement's own: rp_model_memory_need(), and the context of a GPU's driver. */
#include "failure/fit.h"

#include "model/size.h"
#include "placement/precision.h"

#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 16, BATCH_MAX = 256, CONTEXT_LEAST = 512 };

/* As placement counts it: the context and the kernels that come with the first model of a GPU. */
#define CONTEXT_BYTES (UINT64_C(400) << 20)

static uint64_t need_of(const rp_model_facts *facts, const char *precision,
                        const rp_workload *workload, const rp_device *device) {
    rp_memory_need need = {.size = sizeof need};
    rp_model_memory_need(facts, precision, workload, &need);
    bool has_context = device->kind == RP_DEVICE_CUDA || device->kind == RP_DEVICE_ROCM;
    if (need.total_bytes == RP_UNKNOWN_U64 || !has_context) return need.total_bytes;
    return need.total_bytes + CONTEXT_BYTES;
}

uint64_t rp_fit_need(const rp_model_facts *facts, const char *precision) {
    rp_memory_need need = {.size = sizeof need};
    rp_model_memory_need(facts, precision, NULL, &need);
    return need.total_bytes;
}

static void find_precision(const rp_model_facts *facts, const rp_device *device,
                           struct rp_fit *fit) {
    static const char *const narrower[] = {"fp16", "int8", "int4"};
    if (fit->need_bytes <= fit->room_bytes) return;
    for (size_t i = 0; i < sizeof narrower / sizeof narrower[0]; i++) {
        bool has_kernels = device->kind == RP_DEVICE_CUDA || device->kind == RP_DEVICE_ROCM ||
                           device->kind == RP_DEVICE_CPU || device->kind == RP_DEVICE_OPENVINO;
        const char *stored = rp_precision_name(fit->precision);
        if (!stored || !rp_precision_is_lower(narrower[i], stored)) continue;
        if (i > 0 && !has_kernels) continue;
        uint64_t bytes = need_of(facts, narrower[i], NULL, device);
        if (bytes > fit->room_bytes) continue;
        fit->fit_precision = narrower[i];
        fit->fit_bytes = bytes;
        return;
    }
}

/* How much of it at a time: powers of two, which is how people try. */
static void find_workload(const rp_model_facts *facts, rp_family family, const rp_device *device,
                          struct rp_fit *fit) {
    const char *precision = fit->fit_precision ? fit->fit_precision : fit->precision;
    rp_workload workload = RP_WORKLOAD_INIT;
    uint32_t most = facts->context_length == RP_UNKNOWN_U32 ? 0 : facts->context_length;
    for (uint32_t batch = 1; batch <= BATCH_MAX; batch *= 2) {
        workload.batch_size = batch;
        if (need_of(facts, precision, &workload, device) > fit->room_bytes) break;
        fit->batch = batch;
    }
    if (family != RP_FAMILY_TEXT_GENERATION || fit->batch == 0) return;
    workload.batch_size = 1;
    for (uint32_t tokens = CONTEXT_LEAST; tokens <= most; tokens *= 2) {
        workload.context_length = tokens;
        if (need_of(facts, precision, &workload, device) > fit->room_bytes) break;
        fit->context = tokens;
    }
}

/* --- a smaller model of the line ------------------------------------------------------------- */

struct words {
    const char *list[WORDS_MAX];
    size_t lengths[WORDS_MAX];
    size_t count;
};

static bool is_word(const struct words *words, size_t at, const char *text) {
    return at < words->count && strlen(text) == words->lengths[at] &&
           memcmp(words->list[at], text, words->lengths[at]) == 0;
}

static bool is_number(const struct words *words, size_t at) {
    return at < words->count && words->list[at][0] >= '0' && words->list[at][0] <= '9';
}

static struct words cut(const char *text) {
    struct words words = {.count = 0};
    while (*text && words.count < WORDS_MAX) {
        size_t length = strcspn(text, " ");
        words.list[words.count] = text;
        words.lengths[words.count++] = length;
        text += length;
        text += *text == ' ';
    }
    return words;
}

/* How many words of a size begin there: "7 b", "large"; 0: none. */
static size_t size_words(const struct words *words, size_t at) {
    static const char *const sizes[] = {"tiny",  "mini",   "small", "medium",  "base", "large",
                                        "xl",    "xlarge", "xxl",   "xxlarge", "huge", "giant",
                                        "micro", "nano",   "xs",    "xsmall"};
    bool is_written =
        is_number(words, at) && (is_word(words, at + 1, "b") || is_word(words, at + 1, "m"));
    if (is_written) return 2;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (is_word(words, at, sizes[i])) return 1;
    }
    return 0;
}

/* Whether two rows differ in their size alone. */
static bool is_of_line(const struct words *left, const struct words *right) {
    size_t i = 0;
    size_t j = 0;
    while (i < left->count || j < right->count) {
        size_t left_size = size_words(left, i);
        size_t right_size = size_words(right, j);
        if (left_size != 0 && right_size != 0) {
            i += left_size;
            j += right_size;
            continue;
        }
        bool is_same = i < left->count && j < right->count &&
                       left->lengths[i] == right->lengths[j] &&
                       memcmp(left->list[i], right->list[j], left->lengths[i]) == 0;
        if (!is_same) return false;
        i++;
        j++;
    }
    return true;
}

/* "llama 2 7 b" as people write it: "llama-2-7b". */
static void join(const struct words *words, char *out, size_t out_bytes) {
    size_t length = 0;
    for (size_t i = 0; i < words->count && length < out_bytes; i++) {
        bool is_unit =
            i > 0 && is_number(words, i - 1) && (is_word(words, i, "b") || is_word(words, i, "m"));
        bool is_tail =
            i > 0 && is_number(words, i) && words->lengths[i - 1] == 1 && !is_number(words, i - 1);
        const char *between = i == 0 || is_unit || is_tail ? "" : "-";
        length += (size_t)snprintf(out + length, out_bytes - length, "%s%.*s", between,
                                   (int)words->lengths[i], words->list[i]);
    }
}

static uint64_t need_of_row(const char *name, const rp_device *device, const char *precision) {
    rp_model_facts facts;
    rp_model_facts_of_name(name, NULL, &facts);
    return need_of(&facts, precision, NULL, device);
}

static void find_sibling(const char *name, const rp_device *device, struct rp_fit *fit) {
    const struct rp_known_size *row = rp_known_size_of_name(name);
    if (!row) return;
    const struct words words = cut(row->words);
    const struct rp_known_size *best = NULL;
    for (size_t i = 0; i < rp_known_size_count; i++) {
        const struct rp_known_size *each = &rp_known_sizes[i];
        bool is_smaller = each->parameter_count < row->parameter_count &&
                          (!best || each->parameter_count > best->parameter_count);
        if (!is_smaller || each->words[0] != row->words[0]) continue;
        const struct words others = cut(each->words);
        if (!is_of_line(&words, &others)) continue;
        char text[sizeof fit->sibling];
        join(&others, text, sizeof text);
        if (rp_known_size_of_name(text) != each) continue;
        uint64_t bytes = need_of_row(text, device, fit->precision);
        if (fit->room_bytes != RP_UNKNOWN_U64 && bytes > fit->room_bytes) continue;
        best = each;
        memcpy(fit->sibling, text, sizeof text);
        fit->sibling_bytes = bytes;
    }
}

void rp_fit_find(const rp_model_facts *facts, const char *name, rp_family family,
                 const rp_device *device, uint64_t room_bytes, struct rp_fit *fit) {
    const char *stored = NULL;
    *fit = (struct rp_fit){
        .room_bytes = room_bytes, .fit_bytes = RP_UNKNOWN_U64, .sibling_bytes = RP_UNKNOWN_U64};
    rp_precision_default(device, facts, family == RP_FAMILY_TEXT_GENERATION, &stored);
    snprintf(fit->precision, sizeof fit->precision, "%s", stored);
    fit->need_bytes = need_of(facts, fit->precision, NULL, device);
    if (fit->need_bytes != RP_UNKNOWN_U64 && room_bytes != RP_UNKNOWN_U64) {
        find_precision(facts, device, fit);
        find_workload(facts, family, device, fit);
    }
    find_sibling(name, device, fit);
}
