/* SPDX-License-Identifier: Apache-2.0 */
/* AMD's libamdhip64, as far as it is asked, with scripted answers. FAKE_OLD: one that lacks much.
 */
#include "script.h"

FAKE_API int hipGetDeviceCount(int *count);
FAKE_API int hipDeviceGet(int *device, int ordinal);
FAKE_API int hipDeviceGetName(char *name, int length, int device);
FAKE_API int hipDeviceTotalMem(size_t *bytes, int device);
FAKE_API int hipDeviceGetPCIBusId(char *id, int length, int device);
FAKE_API int hipRuntimeGetVersion(int *version);
FAKE_API const char *hipGetErrorName(int error);

int hipGetDeviceCount(int *count) {
    script_load("FAKE_SCRIPT");
    *count = (int)script_number_or("count", 1);
    return script_enter(-1, __func__);
}

int hipDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return script_enter(-1, __func__);
}

int hipDeviceGetName(char *name, int length, int device) {
    char key[32];
    char text[512] = "AMD Instinct MI300X";
    snprintf(key, sizeof key, "name.%d", device);
    script_find(key, text, sizeof text);
    /* A driver that forgets the end of a text that is too long for its place. */
    size_t bytes = strlen(text) + 1;
    memcpy(name, text, bytes < (size_t)length ? bytes : (size_t)length);
    return script_enter(-1, __func__);
}

int hipDeviceTotalMem(size_t *bytes, int device) {
    char key[32];
    snprintf(key, sizeof key, "bytes.%d", device);
    *bytes = (size_t)script_number_or(key, 206141652992);
    return script_enter(-1, __func__);
}

#ifndef FAKE_OLD
int hipDeviceGetPCIBusId(char *id, int length, int device) {
    char key[32];
    char text[64] = "0000:05:00.0";
    snprintf(key, sizeof key, "pci.%d", device);
    script_find(key, text, sizeof text);
    snprintf(id, (size_t)length, "%s", text);
    return script_enter(-1, __func__);
}

int hipRuntimeGetVersion(int *version) {
    *version = (int)script_number_or("version", 60241133);
    return script_enter(-1, __func__);
}

const char *hipGetErrorName(int error) {
    return error == 3 ? "hipErrorNotInitialized" : "hipErrorUnknown";
}
#endif
