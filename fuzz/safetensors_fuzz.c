/* SPDX-License-Identifier: Apache-2.0 */
/* A safetensors file, and the index of several: anybody's bytes. */
#include "model/facts.h"
#include "model/index.h"
#include "target.h"

#include <string.h>

/* What was accepted adds up to the file, to the byte. */
static void check(const rp_model_facts *facts, const uint8_t *data, size_t size) {
    uint64_t length = 0;
    for (size_t i = 8; i > 0; i--) {
        length = length << 8 | data[i - 1];
    }
    FUZZ_ASSERT(facts->weights_bytes == size - 8 - length);
    FUZZ_ASSERT(facts->weights_method == RP_FACTS_FILE);
    uint64_t bytes = 0;
    uint64_t tensors = 0;
    for (size_t i = 0; i < facts->stored_count; i++) {
        bytes += facts->stored[i].bytes;
        tensors += facts->stored[i].tensor_count;
        FUZZ_ASSERT(i == 0 || facts->stored[i].bytes <= facts->stored[i - 1].bytes);
    }
    FUZZ_ASSERT(bytes == facts->weights_bytes && tensors == facts->tensor_count);
    FUZZ_ASSERT(strcmp(facts->format, "safetensors") == 0);
}

static void read_table(const uint8_t *data, size_t size, const char *scheme,
                       const char *precision) {
    struct rp_source source;
    rp_model_facts facts;
    rp_error err = RP_ERROR_INIT;
    rp_source_init_memory(&source, "input", data, size);
    rp_facts_init(&facts);
    rp_facts_set_text(facts.quantization, sizeof facts.quantization, scheme, strlen(scheme));
    rp_facts_set_text(facts.precision, sizeof facts.precision, precision, strlen(precision));
    if (rp_safetensors_read(&source, &facts, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return;
    }
    check(&facts, data, size);
}

static void read_index(const uint8_t *data, size_t size) {
    struct rp_source source;
    struct rp_index index;
    rp_error err = RP_ERROR_INIT;
    rp_source_init_memory(&source, "folder/input", data, size);
    if (rp_index_read(&source, &index, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return;
    }
    FUZZ_ASSERT(index.row_count > 0);
    for (size_t at = 0; at < index.row_count;) {
        FUZZ_ASSERT(rp_path_stays_inside(index.rows[at].file));
        size_t end = rp_index_file_end(&index, at);
        FUZZ_ASSERT(end > at && end <= index.row_count);
        at = end;
    }
    rp_index_fini(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_table(data, size, "", "");
    read_table(data, size, "gptq", "int3");
    read_index(data, size);
    return 0;
}
