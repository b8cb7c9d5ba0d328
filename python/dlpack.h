/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack's structures, in capsules of these names: what is read (input.c) and given (tensor.c). */
#ifndef RESOURCEPOOL_PYTHON_DLPACK_H
#define RESOURCEPOOL_PYTHON_DLPACK_H

#include "core.h"

#define RP_PYTHON_DLPACK_NAME           "dltensor"
#define RP_PYTHON_DLPACK_NAME_VERSIONED "dltensor_versioned"

/* The versions whose structure is the one below: what others have where is not known. */
enum { RP_PYTHON_DLPACK_MAJOR = 1 };

/* rp_tensor is laid out like DLPack's DLTensor. */
struct rp_python_managed {
    rp_tensor tensor;
    void *context;
    void (*deleter)(struct rp_python_managed *self);
};

struct rp_python_managed_versioned {
    uint32_t major;
    uint32_t minor;
    void *context;
    void (*deleter)(struct rp_python_managed_versioned *self);
    uint64_t flags;
    rp_tensor tensor;
};

#endif
