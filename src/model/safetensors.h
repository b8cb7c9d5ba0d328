/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights in safetensors files: a table of tensors as JSON, then their bytes without a gap. The
 * reader for one file, rp_safetensors_read(), is declared with the others in model/facts.h.
 *
 * Files of one model are read one after the other into the same facts; each adds to the sums of
 * those before it. Where the facts name a quantisation (config.json comes first), packed elements
 * count as so many weights as they hold.
 */
#ifndef RP_MODEL_SAFETENSORS_H
#define RP_MODEL_SAFETENSORS_H

#include "model/facts.h"

/*
 * A model in several files, by its index: the table of every file is read, and each must hold the
 * tensors that the index puts there. Also sets file_bytes and file_count.
 */
rp_status rp_safetensors_read_index(const struct rp_source *source, rp_model_facts *facts,
                                    rp_error *err);

#endif
