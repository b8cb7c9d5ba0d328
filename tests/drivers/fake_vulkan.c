/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vulkan's loader, as far as it is asked, with scripted answers: "vk.count", and for each device
 * "vk.0.name", "vk.0.vendor", "vk.0.type", "vk.0.bytes".
 */
#include "hardware/vulkan_abi.h"

#include "script.h"

FAKE_API int vkCreateInstance(const struct rp_vk_instance_info *info, const void *allocator,
                              void **instance);
FAKE_API void vkDestroyInstance(void *instance, const void *allocator);
FAKE_API int vkEnumeratePhysicalDevices(void *instance, uint32_t *count, void **devices);
FAKE_API void vkGetPhysicalDeviceProperties(void *device, struct rp_vk_properties *properties);
FAKE_API void vkGetPhysicalDeviceMemoryProperties(void *device, struct rp_vk_memory *memory);

static long long number(void *device, const char *what, long long otherwise) {
    char key[64];
    snprintf(key, sizeof key, "vk.%u.%s", (unsigned)(uintptr_t)device - 1, what);
    return script_number_or(key, otherwise);
}

int vkCreateInstance(const struct rp_vk_instance_info *info, const void *allocator,
                     void **instance) {
    (void)allocator;
    script_load("FAKE_SCRIPT");
    if (info->type != RP_VK_TYPE_INSTANCE_INFO || info->extension_count != 0) return -1;
    int code = script_enter(-1, __func__);
    if (code == 0) *instance = malloc(1);
    return code;
}

void vkDestroyInstance(void *instance, const void *allocator) {
    (void)allocator;
    free(instance);
}

int vkEnumeratePhysicalDevices(void *instance, uint32_t *count, void **devices) {
    (void)instance;
    uint32_t real = (uint32_t)script_number_or("vk.count", 1);
    uint32_t given = real < *count ? real : *count;
    for (uint32_t i = 0; i < given; i++) {
        devices[i] = (void *)(uintptr_t)(i + 1);
    }
    *count = (uint32_t)script_number_or("vk.claims", given);
    int code = script_enter(-1, __func__);
    return code != 0 ? code : given < real ? RP_VK_INCOMPLETE : 0;
}

void vkGetPhysicalDeviceProperties(void *device, struct rp_vk_properties *properties) {
    char key[64];
    char name[RP_VK_NAME_BYTES] = "NVIDIA Graphics";
    snprintf(key, sizeof key, "vk.%u.name", (unsigned)(uintptr_t)device - 1);
    script_find(key, name, sizeof name);
    properties->vendor_id = (uint32_t)number(device, "vendor", 0x10de);
    properties->device_id = (uint32_t)number(device, "device", 0x2684);
    properties->type = (uint32_t)number(device, "type", 2);
    memcpy(properties->name, name, sizeof name);
    memset(properties->rest, 0xff, sizeof properties->rest);
}

void vkGetPhysicalDeviceMemoryProperties(void *device, struct rp_vk_memory *memory) {
    memory->heap_count = (uint32_t)number(device, "heaps", 2);
    memory->heaps[0].size = 68719476736; /* of the host */
    memory->heaps[1].size = (uint64_t)number(device, "bytes", 25757220864);
    memory->heaps[1].flags = RP_VK_HEAP_DEVICE_LOCAL;
}
