/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnvidia-ml.so.1 with NVIDIA's own symbols, whose answers come from the script FAKE_NVML. What
 * the script does not say is not supported. With FAKE_OLD it is a library of 2017: the functions
 * of later drivers are missing. With FAKE_BROKEN one that is required is.
 */
#include "hardware/nvml.h"

#include "script.h"

enum { NOT_FOUND = RP_NVML_NOT_FOUND, NOT_SUPPORTED = RP_NVML_NOT_SUPPORTED };

/* A handle is 100 times the number of its GPU plus 1, and the number of its slice plus 1. */
static int gpu_of(rp_nvml_handle handle) {
    return (int)((uintptr_t)handle / 100) - 1;
}

static int slice_of(rp_nvml_handle handle) {
    return (int)((uintptr_t)handle % 100) - 1;
}

static rp_nvml_handle handle_of(int gpu, int slice) {
    return (rp_nvml_handle)(uintptr_t)((gpu + 1) * 100 + slice + 1);
}

/* "memory_total" of a GPU, "slice0.memory_total" of its first slice. */
static const char *key_of(rp_nvml_handle handle, const char *key, char *out, size_t out_bytes) {
    int slice = slice_of(handle);
    if (slice < 0) return key;
    snprintf(out, out_bytes, "slice%d.%s", slice, key);
    return out;
}

static bool number_of(rp_nvml_handle handle, const char *key, unsigned long long *value) {
    char whole[64];
    return script_number(gpu_of(handle), key_of(handle, key, whole, sizeof whole), value);
}

/* Fills the buffer to its last byte when the script asks for no end. */
static int text_of(rp_nvml_handle handle, const char *key, char *out, unsigned int bytes) {
    char whole[64];
    char text[256];
    if (!script_text(gpu_of(handle), key_of(handle, key, whole, sizeof whole), text, sizeof text)) {
        return NOT_SUPPORTED;
    }
    if (strcmp(text, "ENDLESS") == 0) {
        memset(out, 'x', bytes);
        return 0;
    }
    if (strlen(text) >= bytes) return RP_NVML_INSUFFICIENT_SIZE;
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

#define ENTER(handle)                                                                              \
    do {                                                                                           \
        int result_ = script_enter(gpu_of(handle), __func__);                                      \
        if (result_ != 0) return result_;                                                          \
    } while (0)
#define ENTER_MACHINE()                                                                            \
    do {                                                                                           \
        int result_ = script_enter(-1, __func__);                                                  \
        if (result_ != 0) return result_;                                                          \
    } while (0)

#define DECLARE(required, function, arguments) FAKE_API int function arguments;
RP_NVML_FUNCTIONS(DECLARE)

int nvmlInit_v2(void) {
    script_load("FAKE_NVML");
    ENTER_MACHINE();
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    ENTER_MACHINE();
    unsigned long long value = 0;
    script_number(-1, "gpus", &value);
    *count = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, rp_nvml_handle *handle) {
    *handle = handle_of((int)index, -1);
    ENTER(*handle);
    return 0;
}

#ifndef FAKE_BROKEN
int nvmlDeviceGetName(rp_nvml_handle handle, char *name, unsigned int bytes) {
    ENTER(handle);
    return text_of(handle, "name", name, bytes);
}
#endif

int nvmlDeviceGetUUID(rp_nvml_handle handle, char *uuid, unsigned int bytes) {
    ENTER(handle);
    return text_of(handle, "uuid", uuid, bytes);
}

int nvmlDeviceGetMemoryInfo(rp_nvml_handle handle, struct rp_nvml_memory *memory) {
    ENTER(handle);
    if (!number_of(handle, "memory_total", &memory->total)) return NOT_SUPPORTED;
    if (!number_of(handle, "memory_free", &memory->free)) memory->free = memory->total;
    memory->used = memory->total - memory->free;
    return 0;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int bytes) {
    char text[64];
    ENTER_MACHINE();
    if (!script_text(-1, "driver", text, sizeof text)) return NOT_SUPPORTED;
    snprintf(version, bytes, "%s", text);
    return 0;
}

int nvmlDeviceGetUtilizationRates(rp_nvml_handle handle, struct rp_nvml_utilization *out) {
    ENTER(handle);
    unsigned long long value;
    if (!number_of(handle, "utilization", &value)) return NOT_SUPPORTED;
    *out = (struct rp_nvml_utilization){(unsigned int)value, 0};
    return 0;
}

int nvmlDeviceGetTemperature(rp_nvml_handle handle, int sensor, unsigned int *celsius) {
    ENTER(handle);
    unsigned long long value;
    if (sensor != RP_NVML_TEMPERATURE_GPU) return 2;
    if (!number_of(handle, "temperature", &value)) return NOT_SUPPORTED;
    *celsius = (unsigned int)value;
    return 0;
}

/* Processes "pid:bytes pid:bytes ..."; rows of the old or the new size. */
static int list(rp_nvml_handle handle, const char *key, unsigned int *count, void *rows,
                size_t row_bytes) {
    char text[256];
    unsigned int room = *count;
    if (!script_text(gpu_of(handle), key, text, sizeof text)) return NOT_SUPPORTED;
    *count = 0;
    char *at = text;
    while (*at != '\0') {
        char *end;
        struct rp_nvml_process row = {.gpu_instance = 0xffffffff, .compute_instance = 0xffffffff};
        row.pid = (unsigned int)strtoul(at, &end, 0);
        if (*end == ':') row.memory = strtoull(end + 1, &end, 0);
        if (end == at) break;
        if (*count < room) memcpy((char *)rows + *count * row_bytes, &row, row_bytes);
        ++*count;
        at = end + strspn(end, " ");
    }
    unsigned long long claimed = 0;
    if (script_number(gpu_of(handle), "process_count", &claimed)) *count = (unsigned int)claimed;
    return *count > room && claimed == 0 ? RP_NVML_INSUFFICIENT_SIZE : 0;
}

int nvmlDeviceGetComputeRunningProcesses(rp_nvml_handle handle, unsigned int *count,
                                         struct rp_nvml_process_v1 *rows) {
    ENTER(handle);
    return list(handle, "compute", count, rows, sizeof *rows);
}

#ifndef FAKE_OLD
int nvmlDeviceGetMemoryInfo_v2(rp_nvml_handle handle, struct rp_nvml_memory_v2 *memory) {
    ENTER(handle);
    if (memory->version != (40u | 2u << 24)) return 25;
    unsigned long long reserved;
    if (!number_of(handle, "memory_reserved", &reserved)) return NOT_SUPPORTED;
    struct rp_nvml_memory old;
    int rc = nvmlDeviceGetMemoryInfo(handle, &old);
    memory->total = old.total;
    memory->reserved = reserved;
    memory->free = old.free;
    memory->used = old.used - reserved;
    return rc;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER_MACHINE();
    unsigned long long value;
    if (!script_number(-1, "cuda", &value)) return NOT_SUPPORTED;
    *version = (int)value;
    return 0;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int bytes) {
    ENTER_MACHINE();
    snprintf(name, bytes, "/usr/bin/process-%u", pid);
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, rp_nvml_handle *handle) {
    ENTER_MACHINE();
    unsigned int count = 0;
    nvmlDeviceGetCount_v2(&count);
    for (int gpu = 0; gpu < (int)count; gpu++) {
        for (int slice = -1; slice < 8; slice++) {
            char its[RP_NVML_UUID_BYTES];
            *handle = handle_of(gpu, slice);
            if (text_of(*handle, "uuid", its, sizeof its) == 0 && strcmp(its, uuid) == 0) return 0;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetPciInfo_v3(rp_nvml_handle handle, struct rp_nvml_pci *pci) {
    ENTER(handle);
    unsigned long long id = 0;
    memset(pci, 0, sizeof *pci);
    int rc = text_of(handle, "pci", pci->bus_id, sizeof pci->bus_id);
    number_of(handle, "pci_device", &id);
    pci->pci_device_id = (unsigned int)id << 16 | 0x10de;
    return rc;
}

int nvmlDeviceGetCudaComputeCapability(rp_nvml_handle handle, int *major, int *minor) {
    ENTER(handle);
    unsigned long long value;
    if (!number_of(handle, "capability", &value)) return NOT_SUPPORTED;
    *major = (int)value / 10;
    *minor = (int)value % 10;
    return 0;
}

int nvmlDeviceGetEccMode(rp_nvml_handle handle, int *current, int *pending) {
    ENTER(handle);
    unsigned long long value;
    if (!number_of(handle, "ecc", &value)) return NOT_SUPPORTED;
    *current = *pending = (int)value;
    return 0;
}

int nvmlDeviceGetTotalEccErrors(rp_nvml_handle handle, int type, int counter,
                                unsigned long long *errors) {
    ENTER(handle);
    if (type != RP_NVML_MEMORY_ERROR_UNCORRECTED || counter != RP_NVML_VOLATILE_ECC) return 2;
    return number_of(handle, "ecc_errors", errors) ? 0 : NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksEventReasons(rp_nvml_handle handle, unsigned long long *bits) {
    ENTER(handle);
    return number_of(handle, "throttle", bits) ? 0 : NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(rp_nvml_handle handle, unsigned long long *bits) {
    return nvmlDeviceGetCurrentClocksEventReasons(handle, bits);
}

int nvmlDeviceGetComputeRunningProcesses_v3(rp_nvml_handle handle, unsigned int *count,
                                            struct rp_nvml_process *rows) {
    ENTER(handle);
    return list(handle, "compute", count, rows, sizeof *rows);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(rp_nvml_handle handle, unsigned int *count,
                                             struct rp_nvml_process *rows) {
    ENTER(handle);
    return list(handle, "graphics", count, rows, sizeof *rows);
}

int nvmlDeviceGetMigMode(rp_nvml_handle handle, unsigned int *current, unsigned int *pending) {
    ENTER(handle);
    unsigned long long value;
    if (!number_of(handle, "mig", &value)) return NOT_SUPPORTED;
    *current = *pending = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(rp_nvml_handle handle, unsigned int *count) {
    ENTER(handle);
    unsigned long long value = 7;
    number_of(handle, "slices_max", &value);
    *count = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(rp_nvml_handle handle, unsigned int index,
                                        rp_nvml_handle *slice) {
    ENTER(handle);
    char name[RP_NVML_NAME_BYTES];
    *slice = handle_of(gpu_of(handle), (int)index);
    return text_of(*slice, "name", name, sizeof name) == 0 ? 0 : NOT_FOUND;
}

int nvmlDeviceGetAttributes_v2(rp_nvml_handle handle, struct rp_nvml_attributes *attributes) {
    ENTER(handle);
    memset(attributes, 0, sizeof *attributes);
    return number_of(handle, "memory_mib", &attributes->memory_mib) ? 0 : NOT_SUPPORTED;
}
#endif
