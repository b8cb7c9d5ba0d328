/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hardware/vulkan_abi.h declares, against Khronos' own header: that it compiles is the test.
 * Structs are compared by their size and by the place and size of what is used.
 */
#include "hardware/vulkan_abi.h"

#include <stddef.h>
#include <vulkan/vulkan_core.h>

#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #ours)
#define SAME_FIELD(ours, our_field, theirs, their_field)                                           \
    _Static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) &&                   \
                       sizeof(((ours *)0)->our_field) == sizeof(((theirs *)0)->their_field),       \
                   #ours "." #our_field)
#define SAME_NUMBER(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)

SAME_SIZE(struct rp_vk_instance_info, VkInstanceCreateInfo);
SAME_FIELD(struct rp_vk_instance_info, type, VkInstanceCreateInfo, sType);
SAME_FIELD(struct rp_vk_instance_info, application, VkInstanceCreateInfo, pApplicationInfo);
SAME_FIELD(struct rp_vk_instance_info, extensions, VkInstanceCreateInfo, ppEnabledExtensionNames);

SAME_SIZE(struct rp_vk_properties, VkPhysicalDeviceProperties);
SAME_FIELD(struct rp_vk_properties, api_version, VkPhysicalDeviceProperties, apiVersion);
SAME_FIELD(struct rp_vk_properties, driver_version, VkPhysicalDeviceProperties, driverVersion);
SAME_FIELD(struct rp_vk_properties, vendor_id, VkPhysicalDeviceProperties, vendorID);
SAME_FIELD(struct rp_vk_properties, device_id, VkPhysicalDeviceProperties, deviceID);
SAME_FIELD(struct rp_vk_properties, type, VkPhysicalDeviceProperties, deviceType);
SAME_FIELD(struct rp_vk_properties, name, VkPhysicalDeviceProperties, deviceName);
SAME_FIELD(struct rp_vk_properties, uuid, VkPhysicalDeviceProperties, pipelineCacheUUID);

SAME_SIZE(struct rp_vk_memory, VkPhysicalDeviceMemoryProperties);
SAME_FIELD(struct rp_vk_memory, type_count, VkPhysicalDeviceMemoryProperties, memoryTypeCount);
SAME_FIELD(struct rp_vk_memory, types, VkPhysicalDeviceMemoryProperties, memoryTypes);
SAME_FIELD(struct rp_vk_memory, heap_count, VkPhysicalDeviceMemoryProperties, memoryHeapCount);
SAME_FIELD(struct rp_vk_memory, heaps, VkPhysicalDeviceMemoryProperties, memoryHeaps);
SAME_FIELD(struct rp_vk_memory, heaps[0].size, VkPhysicalDeviceMemoryProperties,
           memoryHeaps[0].size);
SAME_FIELD(struct rp_vk_memory, heaps[0].flags, VkPhysicalDeviceMemoryProperties,
           memoryHeaps[0].flags);

SAME_NUMBER(RP_VK_TYPE_INSTANCE_INFO, VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
SAME_NUMBER(RP_VK_INCOMPLETE, VK_INCOMPLETE);
SAME_NUMBER(RP_VK_INCOMPATIBLE_DRIVER, VK_ERROR_INCOMPATIBLE_DRIVER);
SAME_NUMBER(RP_VK_HEAP_DEVICE_LOCAL, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT);
SAME_NUMBER(RP_VK_NAME_BYTES, VK_MAX_PHYSICAL_DEVICE_NAME_SIZE);
