/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that libraries and systems fail with, and the names that their headers give them. */
#ifndef RP_FAILURE_CODES_H
#define RP_FAILURE_CODES_H

#include <stddef.h>
#include <stdint.h>

enum rp_code_kind {
    RP_CODE_CUDA,
    RP_CODE_HIP,
    RP_CODE_HSA,
    RP_CODE_NCCL,
    RP_CODE_CUDNN,
    RP_CODE_CUBLAS,
    RP_CODE_OPENCL,
    RP_CODE_VULKAN,
    RP_CODE_LEVEL_ZERO,
    RP_CODE_QNN,
    RP_CODE_ONNXRUNTIME,
    RP_CODE_HRESULT,  /* unsigned: 0x887A0005                           */
    RP_CODE_NTSTATUS, /* unsigned: 0xC0000005                           */
    RP_CODE_WINDOWS,  /* GetLastError()                                 */
    RP_CODE_SIGNAL,   /* Linux's                                        */
    RP_CODE_ERRNO,    /* Linux's                                        */
    RP_CODE_HTTP,
    RP_CODE_XID, /* NVIDIA's kernel module */
    RP_CODE_KIND_COUNT,
};

struct rp_code {
    int64_t number;
    const char *name;
};

/* The name of a number, NULL where it is not known. */
const char *rp_code_name(enum rp_code_kind kind, int64_t number);

/* All of a kind, the smallest number first. */
const struct rp_code *rp_code_table(enum rp_code_kind kind, size_t *count);

#endif
