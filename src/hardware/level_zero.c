/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs are written out in level_zero_abi.h: their layout is frozen, each has a number that
 * says which it is, and tests/vendor_layouts compares them with the header.
 */
#include "hardware/level_zero.h"

#include "base/limits.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/child.h"
#include "hardware/level_zero_abi.h"
#include "hardware/library.h"

#include <resourcepool/hardware.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRIVERS_MAX = 8, MODULES_MAX = 16 };

#define SYMBOL(name, field, required)                                                              \
    { name, offsetof(struct rp_level_zero, field), required }
static const struct rp_library_symbol symbols[] = {
    SYMBOL("zeInit", init, true),
    SYMBOL("zeDriverGet", driver_get, true),
    SYMBOL("zeDeviceGet", device_get, true),
    SYMBOL("zeDeviceGetProperties", get_properties, true),
    SYMBOL("zeDeviceGetMemoryProperties", get_memory, true),
    SYMBOL("zeDevicePciGetPropertiesExt", get_pci, false),
    SYMBOL("zesDeviceEnumMemoryModules", enumerate_memory, false),
    SYMBOL("zesMemoryGetState", get_memory_state, false),
    {NULL, 0, false},
};

static const char *const sonames[] = {"libze_loader.so.1", NULL};
static const struct rp_library_names names = {"RESOURCE_POOL_LEVEL_ZERO", sonames, NULL};

static uint64_t known_bytes(uint64_t bytes) {
    return bytes > 0 && bytes <= INT64_MAX ? bytes : RP_UNKNOWN_U64;
}

/* The sum of a device's memories, or unknown when one of them is. */
static uint64_t read_total(const struct rp_level_zero *ze, void *handle) {
    struct rp_ze_memory memory[MODULES_MAX] = {0};
    uint32_t count = MODULES_MAX;
    uint64_t bytes = 0;
    for (size_t i = 0; i < MODULES_MAX; i++) {
        memory[i].structure = RP_ZE_DEVICE_MEMORY_PROPERTIES;
    }
    if (ze->get_memory(handle, &count, memory) != 0) return RP_UNKNOWN_U64;
    for (uint32_t i = 0; i < count && i < MODULES_MAX; i++) {
        if (memory[i].bytes > INT64_MAX - bytes) return RP_UNKNOWN_U64;
        bytes += memory[i].bytes;
    }
    return known_bytes(bytes);
}

static uint64_t read_free(const struct rp_level_zero *ze, void *handle) {
    void *modules[MODULES_MAX] = {0};
    uint32_t count = MODULES_MAX;
    uint64_t bytes = 0;
    if (!ze->enumerate_memory || !ze->get_memory_state) return RP_UNKNOWN_U64;
    if (ze->enumerate_memory(handle, &count, modules) != 0 || count == 0) return RP_UNKNOWN_U64;
    for (uint32_t i = 0; i < count && i < MODULES_MAX; i++) {
        struct rp_zes_memory_state state = {.structure = RP_ZES_MEM_STATE};
        if (!modules[i] || ze->get_memory_state(modules[i], &state) != 0) return RP_UNKNOWN_U64;
        if (state.bytes_free > INT64_MAX - bytes) return RP_UNKNOWN_U64;
        bytes += state.bytes_free;
    }
    return bytes;
}

static void read_pci(const struct rp_level_zero *ze, void *handle,
                     struct rp_level_zero_device *out) {
    struct rp_ze_pci pci = {.structure = RP_ZE_PCI_PROPERTIES};
    if (!ze->get_pci || ze->get_pci(handle, &pci) != 0) return;
    if (pci.domain > 0xffff || pci.bus > 0xff || pci.slot > 0x1f || pci.function > 7) return;
    snprintf(out->pci_address, sizeof out->pci_address, "%04x:%02x:%02x.%x", pci.domain & 0xffff,
             pci.bus & 0xff, pci.slot & 0x1f, pci.function & 7);
}

static void read_device(const struct rp_level_zero *ze, void *handle,
                        struct rp_level_zero_devices *devices) {
    struct rp_ze_device told = {.structure = RP_ZE_DEVICE_PROPERTIES};
    if (ze->get_properties(handle, &told) != 0) return;
    struct rp_level_zero_device *out = &devices->devices[devices->count++];
    *out = (struct rp_level_zero_device){
        .vendor = told.vendor,
        .device = told.device,
        .is_gpu = told.type == RP_ZE_TYPE_GPU,
        .is_npu = told.type == RP_ZE_TYPE_VPU,
        .is_integrated = (told.flags & RP_ZE_INTEGRATED) != 0,
        .unit_count = RP_UNKNOWN_U32,
        .memory_bytes_total = read_total(ze, handle),
        .memory_bytes_free = read_free(ze, handle),
    };
    memcpy(out->name, told.name, sizeof out->name - 1);
    rp_text_make_printable(out->name);
    uint64_t units = (uint64_t)told.units_per_subslice * told.subslices_per_slice % UINT32_MAX *
                     told.slice_count;
    if (out->is_gpu && units > 0 && units < 1 << 20) out->unit_count = (uint32_t)units;
    for (size_t i = 0; i < sizeof told.uuid; i++) {
        snprintf(out->uuid + 2 * i, 3, "%02x", told.uuid[i]);
    }
    if (out->uuid[strspn(out->uuid, "0")] == '\0') out->uuid[0] = '\0';
    if (out->memory_bytes_free > out->memory_bytes_total) out->memory_bytes_free = RP_UNKNOWN_U64;
    read_pci(ze, handle, out);
}

static rp_status list(const struct rp_level_zero *ze, struct rp_level_zero_devices *devices,
                      rp_error *err) {
    void *drivers[DRIVERS_MAX] = {0};
    uint32_t driver_count = DRIVERS_MAX;
    devices->count = 0;
    rp_child_step("zeInit of libze_loader.so.1");
    int rc = ze->init(0);
    if (rc == 0) rc = ze->driver_get(&driver_count, drivers);
    if (rc != 0) {
        return rp_fail(err, RP_ERR_ABSENT, "Level Zero does not start: 0x%x%s", (unsigned)rc,
                       (unsigned)rc == 0x78000001 ? ", no driver is installed" : "");
    }
    for (uint32_t i = 0; i < driver_count && i < DRIVERS_MAX; i++) {
        void *handles[RP_LEVEL_ZERO_DEVICES_MAX] = {0};
        uint32_t count = RP_LEVEL_ZERO_DEVICES_MAX;
        if (!drivers[i] || ze->device_get(drivers[i], &count, handles) != 0) continue;
        for (uint32_t j = 0; j < count && j < RP_LEVEL_ZERO_DEVICES_MAX; j++) {
            if (!handles[j] || devices->count == RP_LEVEL_ZERO_DEVICES_MAX) break;
            read_device(ze, handles[j], devices);
        }
    }
    if (devices->count > 0) return RP_OK;
    return rp_fail(err, RP_ERR_ABSENT, "Level Zero lists no device");
}

rp_status rp_level_zero_list(struct rp_level_zero_devices *devices, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    struct rp_level_zero ze;
    void *handle = NULL;
    rp_status status = rp_library_find("", &names, path, err);
    if (status != RP_OK) return status;
    setenv("ZES_ENABLE_SYSMAN", "1", 0);
    status = rp_library_open(path, symbols, &ze, &handle, err);
    if (status == RP_OK) status = list(&ze, devices, err);
    rp_library_close(handle);
    return status;
}
