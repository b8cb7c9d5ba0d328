/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of HIP's binary interface that is used, for rocm.c and tests/drivers/hip_layout.c. All
 * of it kept its form since ROCm 3.
 */
#ifndef RP_HARDWARE_HIP_ABI_H
#define RP_HARDWARE_HIP_ABI_H

#include <stddef.h>

enum { RP_HIP_SUCCESS = 0, RP_HIP_NO_DEVICE = 100, RP_HIP_NAME_BYTES = 256 };

struct rp_hip {
    int (*get_device_count)(int *count);
    int (*device_get)(int *device, int ordinal);
    int (*device_get_name)(char *name, int length, int device);
    int (*device_total_mem)(size_t *bytes, int device);
    int (*device_get_pci_bus_id)(char *id, int length, int device);
    int (*runtime_get_version)(int *version);
    const char *(*get_error_name)(int error);
};

#endif
