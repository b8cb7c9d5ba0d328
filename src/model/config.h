/* SPDX-License-Identifier: Apache-2.0 */
/* What the JSON files beside a model's weights tell of it. */
#ifndef RP_MODEL_CONFIG_H
#define RP_MODEL_CONFIG_H

#include "model/facts.h"

#include <stdbool.h>

/* What they tell that has no place among the facts, or only with other evidence. */
struct rp_config {
    bool is_found;            /* a config.json, or what stands for it                           */
    bool is_pipeline;         /* of several models, each in a folder: model_index.json          */
    bool is_sentence_encoder; /* modules.json                                                   */
    bool has_chat_template;   /* tokenizer_config.json                                          */
    const char *task;         /* what an adapter or a preprocessor is for; static storage; NULL */
    char base_model[RP_FACTS_TEXT_BYTES]; /* of an adapter                                        */
    char processor[RP_FACTS_TEXT_BYTES];  /* the class of the processor, "LlavaProcessor"         */
    char module_folder[RP_FACTS_TEXT_BYTES]; /* where a sentence encoder keeps its transformer    */
};

void rp_config_init(struct rp_config *config);

/*
 * Read every such file that there is in a folder. A damaged config.json is RP_ERR_DATA; the others
 * refine, and say nothing when they are damaged. RP_ERR_LIMIT, RP_ERR_IO, RP_ERR_MEMORY.
 */
rp_status rp_config_read_folder(const char *folder, rp_model_facts *facts, struct rp_config *config,
                                rp_error *err);

/* One of them, by the name that it has ("modules.json"); a name that is none is RP_ERR_ARGUMENT. */
rp_status rp_config_read(const char *name, const struct rp_source *source, rp_model_facts *facts,
                         struct rp_config *config, rp_error *err);

/* The index-th name; NULL behind the last. */
const char *rp_config_name(size_t index);

#endif
