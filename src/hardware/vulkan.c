/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few structs that are needed are written out here, as far as they are read: their layout is
 * frozen by Vulkan's rules, and tests/vendor_layouts compares it with the header.
 */
#include "hardware/vulkan.h"

#include "base/limits.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/child.h"
#include "hardware/library.h"
#include "hardware/vulkan_abi.h"

#include <resourcepool/hardware.h>

#include <stdio.h>
#include <string.h>

#define SYMBOL(name, field)                                                                        \
    { name, offsetof(struct rp_vulkan, field), true }
static const struct rp_library_symbol symbols[] = {
    SYMBOL("vkCreateInstance", create_instance),
    SYMBOL("vkDestroyInstance", destroy_instance),
    SYMBOL("vkEnumeratePhysicalDevices", enumerate),
    SYMBOL("vkGetPhysicalDeviceProperties", get_properties),
    SYMBOL("vkGetPhysicalDeviceMemoryProperties", get_memory),
    {NULL, 0, false},
};

static const char *const sonames[] = {"libvulkan.so.1", NULL};
static const struct rp_library_names names = {"RESOURCE_POOL_VULKAN", sonames, NULL};

/* Numbers of makers on the PCI bus, and what WebGPU calls them. */
static const struct {
    const char *name;
    uint32_t vendor;
} vendors[] = {
    {"amd", 0x1002},   {"apple", 0x106b},  {"arm", 0x13b5},      {"img-tec", 0x1010},
    {"intel", 0x8086}, {"nvidia", 0x10de}, {"qualcomm", 0x5143},
};

static uint64_t largest_heap(const struct rp_vk_memory *memory) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < memory->heap_count && i < RP_VK_HEAPS_MAX; i++) {
        bool is_local = (memory->heaps[i].flags & RP_VK_HEAP_DEVICE_LOCAL) != 0;
        if (is_local && memory->heaps[i].size > bytes) bytes = memory->heaps[i].size;
    }
    return bytes > 0 && bytes <= INT64_MAX ? bytes : RP_UNKNOWN_U64;
}

static void read_device(const struct rp_vulkan *vulkan, void *handle,
                        struct rp_vulkan_device *out) {
    struct rp_vk_properties properties = {0};
    struct rp_vk_memory memory = {0};
    vulkan->get_properties(handle, &properties);
    vulkan->get_memory(handle, &memory);
    *out = (struct rp_vulkan_device){
        .vendor = properties.vendor_id,
        .device = properties.device_id,
        .type = properties.type <= RP_VULKAN_CPU ? (enum rp_vulkan_type)properties.type
                                                 : RP_VULKAN_OTHER,
        .memory_bytes = largest_heap(&memory),
    };
    memcpy(out->name, properties.name, sizeof out->name - 1);
    rp_text_make_printable(out->name);
}

static rp_status list(const struct rp_vulkan *vulkan, struct rp_vulkan_devices *devices,
                      rp_error *err) {
    struct rp_vk_instance_info info = {.type = RP_VK_TYPE_INSTANCE_INFO};
    void *instance = NULL;
    rp_child_step("vkCreateInstance of libvulkan.so.1");
    int rc = vulkan->create_instance(&info, NULL, &instance);
    if (rc != 0) {
        return rp_fail(err, RP_ERR_ABSENT, "Vulkan does not start (vkCreateInstance: %d)%s", rc,
                       rc == RP_VK_INCOMPATIBLE_DRIVER ? ": no driver is installed" : "");
    }
    void *handles[RP_VULKAN_DEVICES_MAX] = {0};
    uint32_t count = RP_VULKAN_DEVICES_MAX;
    rc = vulkan->enumerate(instance, &count, handles);
    /* RP_VK_INCOMPLETE: there are more than fit, the first ones are there. */
    if (rc != 0 && rc != RP_VK_INCOMPLETE) count = 0;
    devices->count = 0;
    for (uint32_t i = 0; i < count && i < RP_VULKAN_DEVICES_MAX && handles[i]; i++) {
        read_device(vulkan, handles[i], &devices->devices[devices->count++]);
    }
    vulkan->destroy_instance(instance, NULL);
    if (devices->count > 0) return RP_OK;
    return rp_fail(err, RP_ERR_ABSENT, "Vulkan lists no device (vkEnumeratePhysicalDevices: %d)",
                   rc);
}

rp_status rp_vulkan_list(struct rp_vulkan_devices *devices, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    struct rp_vulkan vulkan;
    void *handle = NULL;
    rp_status status = rp_library_find("", &names, path, err);
    if (status == RP_OK) status = rp_library_open(path, symbols, &vulkan, &handle, err);
    if (status == RP_OK) status = list(&vulkan, devices, err);
    rp_library_close(handle);
    return status;
}

const struct rp_vulkan_device *rp_vulkan_find_vendor(const struct rp_vulkan_devices *devices,
                                                     const char *vendor) {
    const struct rp_vulkan_device *found = NULL;
    uint32_t number = 0;
    for (size_t i = 0; i < sizeof vendors / sizeof vendors[0]; i++) {
        if (strcmp(vendors[i].name, vendor) == 0) number = vendors[i].vendor;
    }
    for (size_t i = 0; number != 0 && i < devices->count; i++) {
        const struct rp_vulkan_device *each = &devices->devices[i];
        if (each->vendor != number || each->type == RP_VULKAN_CPU) continue;
        if (found) return NULL;
        found = each;
    }
    return found;
}

const char *rp_vulkan_describe(const struct rp_vulkan_devices *devices, char *out,
                               size_t out_bytes) {
    snprintf(out, out_bytes, "%s", devices->count == 0 ? "nothing" : "");
    for (size_t i = 0; i < devices->count; i++) {
        size_t length = strlen(out);
        snprintf(out + length, out_bytes - length, "%s'%.60s' (%s)", i > 0 ? ", " : "",
                 devices->devices[i].name,
                 devices->devices[i].type == RP_VULKAN_CPU ? "software" : "GPU");
    }
    return out;
}
