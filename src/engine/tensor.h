/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the library: how a shape reads in a message. */
#ifndef RP_ENGINE_TENSOR_H
#define RP_ENGINE_TENSOR_H

#include <resourcepool/tensor.h>

enum { RP_SHAPE_TEXT_BYTES = 96 };

/*
 * "[1,?,384]": -1 is written as '?', a long shape ends in "...". Returns `out`, which holds at
 * least 8 bytes; shape may be NULL when ndim is 0.
 */
const char *rp_shape_format(const int64_t *shape, int32_t ndim, char *out, size_t out_bytes);

#endif
