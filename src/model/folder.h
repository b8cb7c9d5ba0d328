/* SPDX-License-Identifier: Apache-2.0 */
/* A model's folder: which of its files are the model, and what they say together. */
#ifndef RP_MODEL_FOLDER_H
#define RP_MODEL_FOLDER_H

#include "model/config.h"
#include "model/facts.h"

/*
 * Read the JSON files and the tables of the weights in a folder. A folder in which there is nothing
 * of a model leaves the facts as they were.
 */
rp_status rp_folder_read(const char *folder, rp_model_facts *facts, struct rp_config *config,
                         rp_error *err);

#endif
