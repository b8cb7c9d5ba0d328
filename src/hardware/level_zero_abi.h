/* SPDX-License-Identifier: Apache-2.0 */
/* The part of Level Zero's binary interface that is used, for its reader, test and fake driver. */
#ifndef RP_HARDWARE_LEVEL_ZERO_ABI_H
#define RP_HARDWARE_LEVEL_ZERO_ABI_H

#include <stdint.h>

enum {
    RP_ZE_DEVICE_PROPERTIES = 0x3,
    RP_ZE_DEVICE_MEMORY_PROPERTIES = 0x7,
    RP_ZE_PCI_PROPERTIES = 0x10008,
    RP_ZES_MEM_STATE = 0x1e,

    RP_ZE_TYPE_GPU = 1,
    RP_ZE_TYPE_VPU = 5,
    RP_ZE_INTEGRATED = 1, /* of the flags of a device */
    RP_ZE_NAME_BYTES = 256,
};

/* ze_device_properties_t */
struct rp_ze_device {
    uint32_t structure;
    void *next;
    uint32_t type;
    uint32_t vendor;
    uint32_t device;
    uint32_t flags;
    uint32_t subdevice;
    uint32_t clock_mhz;
    uint64_t allocation_bytes_max;
    uint32_t context_count_max;
    uint32_t priority_max;
    uint32_t threads_per_unit;
    uint32_t unit_width;
    uint32_t units_per_subslice;
    uint32_t subslices_per_slice;
    uint32_t slice_count;
    uint64_t timer_resolution;
    uint32_t timestamp_bits;
    uint32_t kernel_timestamp_bits;
    uint8_t uuid[16];
    char name[RP_ZE_NAME_BYTES];
};

/* ze_device_memory_properties_t */
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the order is the vendor's */
struct rp_ze_memory {
    uint32_t structure;
    void *next;
    uint32_t flags;
    uint32_t clock_max;
    uint32_t bus_bits;
    uint64_t bytes;
    char name[RP_ZE_NAME_BYTES];
};

/* ze_pci_ext_properties_t */
struct rp_ze_pci {
    uint32_t structure;
    void *next;
    uint32_t domain;
    uint32_t bus;
    uint32_t slot;
    uint32_t function;
    int32_t generation;
    int32_t lanes;
    int64_t bytes_per_second;
};

/* zes_mem_state_t */
struct rp_zes_memory_state {
    uint32_t structure;
    const void *next;
    uint32_t health;
    uint64_t bytes_free;
    uint64_t bytes_total;
};

struct rp_level_zero {
    int (*init)(uint32_t flags);
    int (*driver_get)(uint32_t *count, void **drivers);
    int (*device_get)(void *driver, uint32_t *count, void **devices);
    int (*get_properties)(void *device, struct rp_ze_device *properties);
    int (*get_memory)(void *device, uint32_t *count, struct rp_ze_memory *memory);
    int (*get_pci)(void *device, struct rp_ze_pci *pci);
    int (*enumerate_memory)(void *device, uint32_t *count, void **modules);
    int (*get_memory_state)(void *module, struct rp_zes_memory_state *state);
};

#endif
