/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights as PyTorch saves them. The table of their tensors is a program for Python's unpickler,
 * and is left alone: what counts here is the size of the files.
 */
#ifndef RP_MODEL_PYTORCH_H
#define RP_MODEL_PYTORCH_H

#include "model/facts.h"

/* RP_ERR_UNSUPPORTED for what begins like no such file. */
rp_status rp_pytorch_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err);

/* "pytorch_model.bin.index.json": the files that it names; their bytes as it claims them. */
rp_status rp_pytorch_read_index(const struct rp_source *source, rp_model_facts *facts,
                                rp_error *err);

#endif
