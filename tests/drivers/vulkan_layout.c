/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hardware/vulkan_abi.h declares, against Khronos' own header: that it compiles is the test.
 * Structs are compared by their size and by the place and size of what is used.
 */
#include "hardware/vulkan.h"
#include "hardware/vulkan_abi.h"
#include "layout.h"

#include <vulkan/vulkan_core.h>

SAME_SIZE(struct rp_vk_instance_info, VkInstanceCreateInfo);
SAME_FIELD(struct rp_vk_instance_info, type, VkInstanceCreateInfo, sType);
SAME_FIELD(struct rp_vk_instance_info, application, VkInstanceCreateInfo, pApplicationInfo);
SAME_FIELD(struct rp_vk_instance_info, extension_count, VkInstanceCreateInfo,
           enabledExtensionCount);
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
SAME_NUMBER(RP_VK_TYPES_MAX, VK_MAX_MEMORY_TYPES);
SAME_NUMBER(RP_VK_HEAPS_MAX, VK_MAX_MEMORY_HEAPS);
SAME_NUMBER(RP_VULKAN_OTHER, VK_PHYSICAL_DEVICE_TYPE_OTHER);
SAME_NUMBER(RP_VULKAN_DISCRETE_GPU, VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU);
SAME_NUMBER(RP_VULKAN_CPU, VK_PHYSICAL_DEVICE_TYPE_CPU);
SAME_NUMBER(RP_VK_NAME_BYTES, VK_MAX_PHYSICAL_DEVICE_NAME_SIZE);

SAME_CALL(struct rp_vulkan, create_instance,
          int (*)(const struct rp_vk_instance_info *, const void *, void **), vkCreateInstance,
          VkResult (*)(const VkInstanceCreateInfo *, const VkAllocationCallbacks *, VkInstance *));
SAME_CALL(struct rp_vulkan, destroy_instance, void (*)(void *, const void *), vkDestroyInstance,
          void (*)(VkInstance, const VkAllocationCallbacks *));
SAME_CALL(struct rp_vulkan, enumerate, int (*)(void *, uint32_t *, void **),
          vkEnumeratePhysicalDevices, VkResult (*)(VkInstance, uint32_t *, VkPhysicalDevice *));
SAME_CALL(struct rp_vulkan, get_properties, void (*)(void *, struct rp_vk_properties *),
          vkGetPhysicalDeviceProperties, void (*)(VkPhysicalDevice, VkPhysicalDeviceProperties *));
SAME_CALL(struct rp_vulkan, get_memory, void (*)(void *, struct rp_vk_memory *),
          vkGetPhysicalDeviceMemoryProperties,
          void (*)(VkPhysicalDevice, VkPhysicalDeviceMemoryProperties *));
SAME_SIZE(void *, VkInstance);
SAME_SIZE(void *, VkPhysicalDevice);
SAME_SIZE(int, VkResult);
