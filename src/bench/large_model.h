/* SPDX-License-Identifier: Apache-2.0 */
/* A model as large as a BERT, for machines that have none at hand. */
#ifndef RP_BENCH_LARGE_MODEL_H
#define RP_BENCH_LARGE_MODEL_H

#include <resourcepool/status.h>

enum { RP_LARGE_MODEL_PATH_BYTES = 128 };

/*
 * Write model.onnx and model.onnx.data into a folder that is there: 23 pairs of 768 x 3072, 108.5 M
 * parameters, 414 MiB. Its path, the caller's buffer, in *path.
 */
rp_status rp_large_model_write(const char *folder, char path[RP_LARGE_MODEL_PATH_BYTES],
                               rp_error *err);

/* Remove the two files. */
void rp_large_model_remove(const char *folder);

#endif
