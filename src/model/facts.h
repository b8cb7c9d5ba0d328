/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about a model while they are gathered: what readers of files share. A reader fills in what
 * its format tells and leaves the rest as it was. To add a format, write a reader and give it a row
 * in the table in facts.c.
 */
#ifndef RP_MODEL_FACTS_H
#define RP_MODEL_FACTS_H

#include "model/source.h"

#include <resourcepool/facts.h>
#include <stdbool.h>

/* Everything unknown. */
void rp_facts_init(rp_model_facts *facts);

/*
 * Count tensors of a type: "fp32", "q4_k". Sums that overflow 64 bits are RP_ERR_DATA: no file is
 * that large.
 */
rp_status rp_facts_add_tensor(rp_model_facts *facts, const char *type, uint64_t element_count,
                              uint64_t bytes, const struct rp_source *source, rp_error *err);

/* After the last tensor: order the types, set precision, parameters and bytes, by method "file". */
void rp_facts_finish_tensors(rp_model_facts *facts);

/* Copy a text into an array of the facts; control characters become '?', what is too long is cut.
 */
void rp_facts_set_text(char *field, size_t field_bytes, const char *bytes, size_t length);

/*
 * Read a file of weights by its ending, else by its first bytes, on top of what other files of the
 * model gave: sizes and tensors add up. RP_ERR_UNSUPPORTED when no reader knows it.
 */
rp_status rp_facts_read_file(const char *path, rp_model_facts *facts, rp_error *err);

/* Whether a reader knows a file of that ending. */
bool rp_facts_can_read(const char *path);

/* The readers. Each checks every length and count, and reads no more than it needs. */
rp_status rp_safetensors_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err);
rp_status rp_gguf_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err);
rp_status rp_onnx_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err);
rp_status rp_openvino_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err);

#endif
