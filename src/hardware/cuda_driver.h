/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUDA's driver library (libcuda.so.1): which GPUs a CUDA program of this process gets, in which
 * order. Asked without making a context on any of them. As nvml.h, it declares what it uses.
 *
 * Runs in a child only (child.h).
 */
#ifndef RP_HARDWARE_CUDA_DRIVER_H
#define RP_HARDWARE_CUDA_DRIVER_H

#include "hardware/library.h"
#include "hardware/nvml.h"

extern const struct rp_library_names rp_cuda_library;

/* cuda:N as CUDA tells it. What is not known is RP_UNKNOWN_*, RP_ANSWER_UNKNOWN or "". */
struct rp_cuda_device {
    char name[RP_NVML_NAME_BYTES + 1];
    unsigned char uuid[16];
    bool has_uuid;
    char pci_address[16];
    uint64_t memory_bytes_total;
    uint32_t compute_unit_count;
    rp_answer is_integrated;
    rp_answer is_ecc_enabled;
    int capability_major; /* 0: not known */
    int capability_minor;
};

struct rp_cuda_devices {
    uint32_t version; /* 12040 is 12.4; RP_UNKNOWN_U32 */
    size_t count;
    struct rp_cuda_device devices[RP_NVIDIA_GPUS_MAX];
    /*
     * CUDA was in use in this process before it was forked: no child can use it, while the program
     * itself can. The count says nothing then.
     */
    bool is_spoilt_by_fork;
};

/* RP_OK with no devices is an answer. RP_ERR_ABSENT: CUDA does not work, with a sentence why. */
rp_status rp_cuda_driver_read(const char *path, struct rp_cuda_devices *devices, rp_error *err);

/* "GPU-8-4-4-4-12" or "MIG-..." of 16 bytes; out holds at least 41. */
enum { RP_CUDA_UUID_BYTES = 41 };
void rp_cuda_format_uuid(const char *start, const unsigned char bytes[16],
                         char out[RP_CUDA_UUID_BYTES]);

/* --- as NVIDIA declares it ----------------------------------------------------------------- */

struct rp_cuda_uuid {
    char bytes[16];
};

enum {
    RP_CUDA_SUCCESS = 0,
    RP_CUDA_NOT_INITIALIZED = 3,
    RP_CUDA_NO_DEVICE = 100,
    RP_CUDA_FUNCTION_NOT_FOUND = 500,

    RP_CUDA_MULTIPROCESSOR_COUNT = 16,
    RP_CUDA_INTEGRATED = 18,
    RP_CUDA_ECC_ENABLED = 32,
    RP_CUDA_CAPABILITY_MAJOR = 75,
    RP_CUDA_CAPABILITY_MINOR = 76,
};

/* As in nvml.h. */
extern const struct rp_nvml_result rp_cuda_results[];
extern const size_t rp_cuda_result_count;

/* clang-format off */
#define RP_CUDA_FUNCTIONS(X)                                        \
    X(true,  cuInit, (unsigned int))                                \
    X(true,  cuDeviceGetCount, (int *))                             \
    X(true,  cuDeviceGet, (int *, int))                             \
    X(true,  cuDeviceGetName, (char *, int, int))                   \
    X(true,  cuDeviceGetAttribute, (int *, int, int))               \
    X(true,  cuDeviceTotalMem_v2, (size_t *, int))                  \
    X(false, cuDriverGetVersion, (int *))                           \
    X(false, cuDeviceGetUuid_v2, (struct rp_cuda_uuid *, int))      \
    X(false, cuDeviceGetUuid, (struct rp_cuda_uuid *, int))         \
    X(false, cuDeviceGetPCIBusId, (char *, int, int))
/* clang-format on */

#endif
