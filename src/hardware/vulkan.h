/* SPDX-License-Identifier: Apache-2.0 */
/* What Vulkan sees: the witness beside a browser's WebGPU, which tells neither memory nor driver.
 */
#ifndef RP_HARDWARE_VULKAN_H
#define RP_HARDWARE_VULKAN_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_VULKAN_DEVICES_MAX = 16, RP_VULKAN_NAME_BYTES = 256 };

/* VkPhysicalDeviceType */
enum rp_vulkan_type {
    RP_VULKAN_OTHER = 0,
    RP_VULKAN_INTEGRATED_GPU = 1,
    RP_VULKAN_DISCRETE_GPU = 2,
    RP_VULKAN_VIRTUAL_GPU = 3,
    RP_VULKAN_CPU = 4,
};

struct rp_vulkan_device {
    char name[RP_VULKAN_NAME_BYTES];
    uint32_t vendor;
    uint32_t device;
    enum rp_vulkan_type type;
    uint64_t memory_bytes; /* its largest heap of device-local memory; RP_UNKNOWN_U64 */
};

struct rp_vulkan_devices {
    struct rp_vulkan_device devices[RP_VULKAN_DEVICES_MAX];
    size_t count;
};

/*
 * Ask libvulkan.so.1, which opens the drivers of all vendors: for a child process only. Makes no
 * device. RP_ERR_ABSENT: there is no Vulkan, or it lists nothing.
 */
rp_status rp_vulkan_list(struct rp_vulkan_devices *devices, rp_error *err);

/*
 * The one GPU of that maker (as WebGPU calls it: "amd", "intel", "nvidia", ...); NULL when there is
 * none or more than one.
 */
const struct rp_vulkan_device *rp_vulkan_find_vendor(const struct rp_vulkan_devices *devices,
                                                     const char *vendor);

/* "'NVIDIA T4' (GPU), 'llvmpipe' (software)", for messages; "nothing" when it lists nothing. */
const char *rp_vulkan_describe(const struct rp_vulkan_devices *devices, char *out,
                               size_t out_bytes);

#endif
