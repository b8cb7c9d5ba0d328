/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about a model: from its files first, its configuration next, its name last. */
#include "model/facts.h"

#include "base/status.h"
#include "base/text.h"
#include "model/size.h"

#include <stdlib.h>
#include <string.h>

static const char *const method_names[] = {"unknown", "name", "config", "file"};

const char *rp_facts_method_name(rp_facts_method method) {
    return method <= RP_FACTS_FILE ? method_names[method] : NULL;
}

void rp_facts_init(rp_model_facts *facts) {
    *facts = (rp_model_facts){
        .size = sizeof *facts,
        .parameter_count = RP_UNKNOWN_U64,
        .parameter_count_min = RP_UNKNOWN_U64,
        .parameter_count_max = RP_UNKNOWN_U64,
        .weights_bytes = RP_UNKNOWN_U64,
        .file_bytes = RP_UNKNOWN_U64,
        .file_count = RP_UNKNOWN_U32,
        .tensor_count = RP_UNKNOWN_U64,
        .layer_count = RP_UNKNOWN_U32,
        .hidden_size = RP_UNKNOWN_U32,
        .intermediate_size = RP_UNKNOWN_U32,
        .head_count = RP_UNKNOWN_U32,
        .kv_head_count = RP_UNKNOWN_U32,
        .head_size = RP_UNKNOWN_U32,
        .vocabulary_size = RP_UNKNOWN_U32,
        .context_length = RP_UNKNOWN_U32,
        .expert_count = RP_UNKNOWN_U32,
        .expert_used_count = RP_UNKNOWN_U32,
        .input_count = RP_UNKNOWN_U32,
        .output_count = RP_UNKNOWN_U32,
    };
    rp_classify_name("", &facts->classification);
}

void rp_facts_set_text(char *field, size_t field_bytes, const char *bytes, size_t length) {
    if (length >= field_bytes) length = field_bytes - 1;
    memcpy(field, bytes, length);
    field[length] = '\0';
    rp_text_make_printable(field);
}

rp_status rp_facts_add_tensor(rp_model_facts *facts, const char *type, uint64_t element_count,
                              uint64_t bytes, const struct rp_source *source, rp_error *err) {
    rp_stored *row = NULL;
    for (size_t i = 0; i < facts->stored_count && !row; i++) {
        if (strcmp(facts->stored[i].name, type) == 0) row = &facts->stored[i];
    }
    if (!row && facts->stored_count < RP_FACTS_STORED_MAX) {
        row = &facts->stored[facts->stored_count++];
        bool is_last = facts->stored_count == RP_FACTS_STORED_MAX;
        const char *name = is_last ? "other" : type;
        rp_facts_set_text(row->name, sizeof row->name, name, strlen(name));
    }
    if (!row) row = &facts->stored[RP_FACTS_STORED_MAX - 1];
    if (__builtin_add_overflow(row->element_count, element_count, &row->element_count) ||
        __builtin_add_overflow(row->bytes, bytes, &row->bytes)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': its tensors of type %s have more than 2^64 bytes",
                       source->name, type);
    }
    row->tensor_count++;
    return RP_OK;
}

static int more_bytes_first(const void *left, const void *right) {
    const rp_stored *a = left;
    const rp_stored *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return strcmp(a->name, b->name);
}

void rp_facts_finish_tensors(rp_model_facts *facts) {
    uint64_t tensors = 0;
    uint64_t elements = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < facts->stored_count; i++) {
        tensors += facts->stored[i].tensor_count;
        if (__builtin_add_overflow(elements, facts->stored[i].element_count, &elements) ||
            __builtin_add_overflow(bytes, facts->stored[i].bytes, &bytes)) {
            return; /* each type is possible, all together are not: the sums stay unknown */
        }
    }
    qsort(facts->stored, facts->stored_count, sizeof facts->stored[0], more_bytes_first);
    facts->tensor_count = tensors;
    facts->parameter_count = elements;
    facts->parameter_count_min = elements;
    facts->parameter_count_max = elements;
    facts->parameter_method = RP_FACTS_FILE;
    facts->weights_bytes = bytes;
    facts->weights_method = RP_FACTS_FILE;
    if (facts->stored_count == 0) return;
    memcpy(facts->precision, facts->stored[0].name, sizeof facts->precision);
}

void rp_model_facts_of_name(const char *name, const rp_model_hints *hints, rp_model_facts *facts) {
    rp_model_hints known = RP_MODEL_HINTS_INIT;
    if (hints) known = *hints;
    if (!known.name) known.name = name;
    rp_facts_init(facts);
    rp_classify(&known, &facts->classification);
    rp_size_of_name(known.name ? known.name : "", facts);
}
