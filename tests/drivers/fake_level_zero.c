/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Level Zero's loader, as far as it is asked, with scripted answers: "count", and for each device
 * "ze.0.name", "ze.0.type", "ze.0.flags", "ze.0.pci" (a number 0xDDDDBBSF), "ze.0.total",
 * "ze.0.free".
 */
#include "hardware/level_zero_abi.h"

#include "script.h"

FAKE_API int zeInit(uint32_t flags);
FAKE_API int zeDriverGet(uint32_t *count, void **drivers);
FAKE_API int zeDeviceGet(void *driver, uint32_t *count, void **devices);
FAKE_API int zeDeviceGetProperties(void *device, struct rp_ze_device *properties);
FAKE_API int zeDeviceGetMemoryProperties(void *device, uint32_t *count,
                                         struct rp_ze_memory *memory);
FAKE_API int zeDevicePciGetPropertiesExt(void *device, struct rp_ze_pci *pci);
FAKE_API int zesDeviceEnumMemoryModules(void *device, uint32_t *count, void **modules);
FAKE_API int zesMemoryGetState(void *module, struct rp_zes_memory_state *state);

/* Handles are numbers from 1. */
static void *handle_of(uint32_t index) {
    return (void *)(uintptr_t)(index + 1);
}

static unsigned index_of(void *handle) {
    return (unsigned)(uintptr_t)handle - 1;
}

static long long number(void *handle, const char *what, long long otherwise) {
    char key[64];
    snprintf(key, sizeof key, "ze.%u.%s", index_of(handle), what);
    return script_number_or(key, otherwise);
}

int zeInit(uint32_t flags) {
    (void)flags;
    script_load("FAKE_SCRIPT");
    return script_enter(-1, __func__);
}

int zeDriverGet(uint32_t *count, void **drivers) {
    if (*count > 0) drivers[0] = handle_of(0);
    *count = 1;
    return script_enter(-1, __func__);
}

int zeDeviceGet(void *driver, uint32_t *count, void **devices) {
    (void)driver;
    uint32_t real = (uint32_t)script_number_or("ze.count", 1);
    for (uint32_t i = 0; i < real && i < *count; i++) {
        devices[i] = handle_of(i);
    }
    /* As the specification has it: more are there than fit, and the count stays as it was. */
    *count = (uint32_t)script_number_or("ze.claims", real < *count ? real : *count);
    return script_enter(-1, __func__);
}

int zeDeviceGetProperties(void *device, struct rp_ze_device *properties) {
    char key[64];
    char name[RP_ZE_NAME_BYTES] = "Intel(R) Arc(TM) A770 Graphics";
    if (properties->structure != RP_ZE_DEVICE_PROPERTIES) return 0x78000004;
    snprintf(key, sizeof key, "ze.%u.name", index_of(device));
    script_find(key, name, sizeof name);
    properties->type = (uint32_t)number(device, "type", RP_ZE_TYPE_GPU);
    properties->vendor = 0x8086;
    properties->device = (uint32_t)number(device, "device", 0x56a0);
    properties->flags = (uint32_t)number(device, "flags", 0);
    properties->units_per_subslice = (uint32_t)number(device, "units", 16);
    properties->subslices_per_slice = 4;
    properties->slice_count = 8;
    properties->uuid[0] = (uint8_t)number(device, "uuid", 0x86);
    memcpy(properties->name, name, sizeof name);
    return script_enter(-1, __func__);
}

int zeDeviceGetMemoryProperties(void *device, uint32_t *count, struct rp_ze_memory *memory) {
    if (*count == 0 || memory[0].structure != RP_ZE_DEVICE_MEMORY_PROPERTIES) return 0x78000004;
    *count = 1;
    memory[0].bytes = (uint64_t)number(device, "total", 16225243136);
    return script_enter(-1, __func__);
}

int zeDevicePciGetPropertiesExt(void *device, struct rp_ze_pci *pci) {
    uint32_t packed = (uint32_t)number(device, "pci", 0x0300);
    if (pci->structure != RP_ZE_PCI_PROPERTIES) return 0x78000004;
    pci->domain = packed >> 16;
    pci->bus = packed >> 8 & 0xff;
    pci->slot = packed >> 3 & 0x1f;
    pci->function = packed & 7;
    return script_enter(-1, __func__);
}

int zesDeviceEnumMemoryModules(void *device, uint32_t *count, void **modules) {
    if (!getenv("ZES_ENABLE_SYSMAN")) return 0x78000001;
    if (*count > 0) modules[0] = device;
    *count = 1;
    return script_enter(-1, __func__);
}

int zesMemoryGetState(void *module, struct rp_zes_memory_state *state) {
    if (state->structure != RP_ZES_MEM_STATE) return 0x78000004;
    state->bytes_free = (uint64_t)number(module, "free", 12884901888);
    state->bytes_total = (uint64_t)number(module, "total", 16225243136);
    return script_enter(-1, __func__);
}
