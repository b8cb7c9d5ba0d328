/* SPDX-License-Identifier: Apache-2.0 */
/* The part of Vulkan's binary interface that is used, for vulkan.c, its test and its fake driver.
 */
#ifndef RP_HARDWARE_VULKAN_ABI_H
#define RP_HARDWARE_VULKAN_ABI_H

#include <stdalign.h>
#include <stdint.h>

enum {
    RP_VK_TYPE_INSTANCE_INFO = 1,
    RP_VK_INCOMPLETE = 5,
    RP_VK_INCOMPATIBLE_DRIVER = -9,
    RP_VK_TYPES_MAX = 32,
    RP_VK_HEAPS_MAX = 16,
    RP_VK_HEAP_DEVICE_LOCAL = 1,
    RP_VK_NAME_BYTES = 256,
    RP_VK_REST_BYTES = 528, /* limits and sparse properties, which nobody reads here */
};

/* VkInstanceCreateInfo */
struct rp_vk_instance_info {
    uint32_t type;
    const void *next;
    uint32_t flags;
    const void *application;
    uint32_t layer_count;
    const char *const *layers;
    uint32_t extension_count;
    const char *const *extensions;
};

/* VkPhysicalDeviceProperties */
struct rp_vk_properties {
    uint32_t api_version;
    uint32_t driver_version;
    uint32_t vendor_id;
    uint32_t device_id;
    uint32_t type;
    char name[RP_VK_NAME_BYTES];
    uint8_t uuid[16];
    alignas(8) unsigned char rest[RP_VK_REST_BYTES];
};

/* VkPhysicalDeviceMemoryProperties */
struct rp_vk_memory {
    uint32_t type_count;
    struct {
        uint32_t flags;
        uint32_t heap;
    } types[RP_VK_TYPES_MAX];
    uint32_t heap_count;
    struct {
        uint64_t size;
        uint32_t flags;
    } heaps[RP_VK_HEAPS_MAX];
};

struct rp_vulkan {
    int (*create_instance)(const struct rp_vk_instance_info *info, const void *allocator,
                           void **instance);
    void (*destroy_instance)(void *instance, const void *allocator);
    int (*enumerate)(void *instance, uint32_t *count, void **devices);
    void (*get_properties)(void *device, struct rp_vk_properties *properties);
    void (*get_memory)(void *device, struct rp_vk_memory *memory);
};

#endif
