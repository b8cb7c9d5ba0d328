/* SPDX-License-Identifier: Apache-2.0 */
/* config.json and its neighbours: the same bytes as each of them. */
#include "model/config.h"
#include "target.h"

#include <string.h>

static void check(const rp_model_facts *facts, const struct rp_config *config) {
    FUZZ_ASSERT(memchr(facts->model_type, '\0', sizeof facts->model_type));
    FUZZ_ASSERT(memchr(facts->architecture, '\0', sizeof facts->architecture));
    FUZZ_ASSERT(memchr(facts->precision, '\0', sizeof facts->precision));
    FUZZ_ASSERT(memchr(facts->quantization, '\0', sizeof facts->quantization));
    FUZZ_ASSERT(memchr(config->base_model, '\0', sizeof config->base_model));
    FUZZ_ASSERT(memchr(config->module_folder, '\0', sizeof config->module_folder));
    FUZZ_ASSERT(facts->hidden_size > 0 && facts->layer_count > 0 && facts->head_count > 0);
    FUZZ_ASSERT(facts->context_length > 0 && facts->vocabulary_size > 0);
    if (facts->parameter_method == RP_FACTS_UNKNOWN) return;
    FUZZ_ASSERT(facts->parameter_method == RP_FACTS_CONFIG);
    FUZZ_ASSERT(facts->parameter_count_min >= 1 && facts->parameter_count_max <= 1ULL << 53);
    FUZZ_ASSERT(facts->parameter_count_min <= facts->parameter_count);
    FUZZ_ASSERT(facts->parameter_count <= facts->parameter_count_max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rp_source source;
    rp_source_init_memory(&source, "input", data, size);
    for (size_t i = 0; rp_config_name(i); i++) {
        rp_model_facts facts;
        struct rp_config config;
        rp_error err = RP_ERROR_INIT;
        rp_facts_init(&facts);
        rp_config_init(&config);
        if (rp_config_read(rp_config_name(i), &source, &facts, &config, &err) != RP_OK) {
            FUZZ_ASSERT(err.message[0] != '\0');
        }
        check(&facts, &config);
    }
    return 0;
}
