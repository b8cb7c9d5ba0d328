/* SPDX-License-Identifier: Apache-2.0 */
/* For targets that read a model's file: what holds for every reader, whatever the bytes. */
#ifndef RP_FUZZ_READER_H
#define RP_FUZZ_READER_H

#include "target.h"

#include "base/memory.h"
#include "model/facts.h"

#include <string.h>

/* What was read adds up; what could not be read says why and changes nothing. */
static inline void read_model(rp_status (*read)(const struct rp_source *, rp_model_facts *,
                                                rp_error *),
                              const char *format, const uint8_t *data, size_t size) {
    struct rp_source source;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    rp_model_facts before;
    int64_t live = rp_memory_live_count();
    rp_source_init_memory(&source, "input", data, size);
    memset(&before, 0, sizeof before); /* padding too: it is compared whole */
    rp_facts_init(&before);
    memcpy(&facts, &before, sizeof facts);
    rp_status status = read(&source, &facts, &err);
    FUZZ_ASSERT(rp_memory_live_count() == live);
    if (status != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        FUZZ_ASSERT(facts.format == NULL && facts.stored_count == 0);
        FUZZ_ASSERT(memcmp(&facts, &before, sizeof facts) == 0);
        return;
    }
    FUZZ_ASSERT(strcmp(facts.format, format) == 0);
    FUZZ_ASSERT(facts.stored_count <= RP_FACTS_STORED_MAX);
    FUZZ_ASSERT(facts.file_count == 1 && facts.file_bytes == size);
    FUZZ_ASSERT(facts.classification.confidence >= 0 && facts.classification.confidence <= 1);
    FUZZ_ASSERT(rp_family_name(facts.classification.family) != NULL);
    FUZZ_ASSERT(strlen(facts.classification.evidence) < sizeof facts.classification.evidence);
    uint64_t elements = 0;
    uint64_t bytes = 0;
    uint64_t tensors = 0;
    for (size_t i = 0; i < facts.stored_count; i++) {
        elements += facts.stored[i].element_count;
        bytes += facts.stored[i].bytes;
        tensors += facts.stored[i].tensor_count;
        FUZZ_ASSERT(i == 0 || facts.stored[i].bytes <= facts.stored[i - 1].bytes);
    }
    if (facts.tensor_count == RP_UNKNOWN_U64) return; /* more than 64 bits hold */
    FUZZ_ASSERT(facts.tensor_count == tensors);
    FUZZ_ASSERT(facts.weights_bytes == bytes);
    FUZZ_ASSERT(facts.parameter_count <= elements);
}

#endif
