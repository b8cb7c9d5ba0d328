/* SPDX-License-Identifier: Apache-2.0 */
/* A model's folder: which of its files are the model, and what they say together. */
#ifndef RP_MODEL_FOLDER_H
#define RP_MODEL_FOLDER_H

#include "model/config.h"
#include "model/facts.h"
#include "model/path.h"

/*
 * Read the JSON files and the tables of the weights in a folder. A folder in which there is nothing
 * of a model leaves the facts as they were.
 */
rp_status rp_folder_read(const char *folder, rp_model_facts *facts, struct rp_config *config,
                         rp_error *err);

/*
 * The one file of a folder that an engine of this format ("onnx") would load: the one of the usual
 * name, there or in the folder below that hubs use, else the only one. RP_ERR_UNSUPPORTED names
 * what is there instead: none, or several of which none is the usual. RP_ERR_IO, RP_ERR_MEMORY.
 */
rp_status rp_folder_find_file(const char *folder, const char *format, struct rp_path *file,
                              rp_error *err);

#endif
