/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcuda.so.1 with NVIDIA's own symbols, whose answers come from the script FAKE_CUDA. It shows
 * "shown" devices; device N is number N of the script, whatever CUDA_VISIBLE_DEVICES says. As
 * with the real one, cuInit() fails in a child of a process that called it.
 */
#include "hardware/cuda_driver.h"

#include "script.h"

#define DECLARE(required, function, arguments) FAKE_API int function arguments;
RP_CUDA_FUNCTIONS(DECLARE)

enum { NOT_SUPPORTED = 801 };

static pid_t owner; /* the process that called cuInit() first */

#define ENTER(device)                                                                              \
    do {                                                                                           \
        int result_ = script_enter(device, __func__);                                              \
        if (result_ != 0) return result_;                                                          \
    } while (0)

int cuInit(unsigned int flags) {
    if (owner != 0 && owner != getpid()) return RP_CUDA_NOT_INITIALIZED;
    owner = getpid();
    script_load("FAKE_CUDA");
    ENTER(-1);
    return flags == 0 ? 0 : 1;
}

int cuDriverGetVersion(int *version) {
    script_load("FAKE_CUDA");
    ENTER(-1);
    unsigned long long value;
    if (!script_number(-1, "cuda", &value)) return NOT_SUPPORTED;
    *version = (int)value;
    return 0;
}

int cuDeviceGetCount(int *count) {
    ENTER(-1);
    unsigned long long value = 0;
    script_number(-1, "shown", &value);
    *count = (int)value;
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    ENTER(ordinal);
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int bytes, int device) {
    char text[256];
    ENTER(device);
    if (!script_text(device, "name", text, sizeof text)) return NOT_SUPPORTED;
    snprintf(name, (size_t)bytes, "%s", text);
    return 0;
}

/* "00112233-4455-..." */
int cuDeviceGetUuid_v2(struct rp_cuda_uuid *uuid, int device) {
    char text[128];
    ENTER(device);
    if (!script_text(device, "uuid", text, sizeof text)) return NOT_SUPPORTED;
    size_t used = 0;
    for (const char *at = text; *at != '\0' && used < 16; at++) {
        unsigned int byte;
        if (*at == '-' || sscanf(at, "%2x", &byte) != 1) continue;
        uuid->bytes[used++] = (char)byte;
        at++;
    }
    return 0;
}

int cuDeviceGetUuid(struct rp_cuda_uuid *uuid, int device) {
    return cuDeviceGetUuid_v2(uuid, device);
}

int cuDeviceGetPCIBusId(char *address, int bytes, int device) {
    char text[64];
    ENTER(device);
    if (!script_text(device, "pci", text, sizeof text)) return NOT_SUPPORTED;
    snprintf(address, (size_t)bytes, "%s", text);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    ENTER(device);
    unsigned long long value;
    if (!script_number(device, "memory_total", &value)) return NOT_SUPPORTED;
    *bytes = (size_t)value;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER(device);
    static const struct {
        int attribute;
        const char *key;
    } keys[] = {
        {RP_CUDA_MULTIPROCESSOR_COUNT, "units"},
        {RP_CUDA_INTEGRATED, "integrated"},
        {RP_CUDA_ECC_ENABLED, "ecc"},
        {RP_CUDA_CAPABILITY_MAJOR, "major"},
        {RP_CUDA_CAPABILITY_MINOR, "minor"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        unsigned long long number;
        if (keys[i].attribute != attribute) continue;
        if (!script_number(device, keys[i].key, &number)) return NOT_SUPPORTED;
        *value = (int)number;
        return 0;
    }
    return 1;
}
