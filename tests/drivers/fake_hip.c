/* SPDX-License-Identifier: Apache-2.0 */
/* AMD's libamdhip64, as far as it is asked, with scripted answers. FAKE_OLD: one that lacks much.
 */
#include "answers.h"

FAKE_API int hipGetDeviceCount(int *count);
FAKE_API int hipDeviceGet(int *device, int ordinal);
FAKE_API int hipDeviceGetName(char *name, int length, int device);
FAKE_API int hipDeviceTotalMem(size_t *bytes, int device);
FAKE_API int hipDeviceGetPCIBusId(char *id, int length, int device);
FAKE_API int hipRuntimeGetVersion(int *version);
FAKE_API const char *hipGetErrorName(int error);

int hipGetDeviceCount(int *count) {
    *count = (int)answer_number("count", 1);
    return answer_code("hipGetDeviceCount");
}

int hipDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return answer_code("hipDeviceGet");
}

int hipDeviceGetName(char *name, int length, int device) {
    char key[32];
    char text[512] = "AMD Instinct MI300X";
    snprintf(key, sizeof key, "name.%d", device);
    answer_text(key, text, sizeof text);
    /* A driver that forgets the end of a text that is too long for its place. */
    size_t bytes = strlen(text) + 1;
    memcpy(name, text, bytes < (size_t)length ? bytes : (size_t)length);
    return answer_code("hipDeviceGetName");
}

int hipDeviceTotalMem(size_t *bytes, int device) {
    char key[32];
    snprintf(key, sizeof key, "bytes.%d", device);
    *bytes = (size_t)answer_number(key, 206141652992);
    return answer_code("hipDeviceTotalMem");
}

#ifndef FAKE_OLD
int hipDeviceGetPCIBusId(char *id, int length, int device) {
    char key[32];
    char text[64] = "0000:05:00.0";
    snprintf(key, sizeof key, "pci.%d", device);
    answer_text(key, text, sizeof text);
    snprintf(id, (size_t)length, "%s", text);
    return answer_code("hipDeviceGetPCIBusId");
}

int hipRuntimeGetVersion(int *version) {
    *version = (int)answer_number("version", 60241133);
    return answer_code("hipRuntimeGetVersion");
}

const char *hipGetErrorName(int error) {
    return error == 3 ? "hipErrorNotInitialized" : "hipErrorUnknown";
}
#endif
