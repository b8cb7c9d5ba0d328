/* SPDX-License-Identifier: Apache-2.0 */
/* OpenVINO's libopenvino_c, as far as it is asked, with scripted answers. FAKE_OLD lacks much. */
#include "hardware/openvino_abi.h"

#include "script.h"

FAKE_API int ov_get_openvino_version(struct rp_ov_version *version);
FAKE_API void ov_version_free(struct rp_ov_version *version);
FAKE_API int ov_core_create(void **core);
FAKE_API void ov_core_free(void *core);
FAKE_API int ov_core_get_available_devices(const void *core, struct rp_ov_devices *devices);
FAKE_API void ov_available_devices_free(struct rp_ov_devices *devices);
FAKE_API int ov_core_get_property(const void *core, const char *device, const char *key,
                                  char **value);
FAKE_API void ov_free(const char *text);
FAKE_API const char *ov_get_error_info(int status);
FAKE_API const char *ov_get_last_err_msg(void);

/* A copy that is given back: a leak, or a text freed twice, is seen by the sanitizers. */
static char *copy(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copied = malloc(bytes);
    if (!copied) abort();
    memcpy(copied, text, bytes);
    return copied;
}

/* What nobody gave back because of a lie goes with the core. */
static char **listed;

static void free_listed(void) {
    for (size_t i = 0; listed && listed[i]; i++) {
        free(listed[i]);
    }
    free(listed);
    listed = NULL;
}

int ov_get_openvino_version(struct rp_ov_version *version) {
    char text[256] = "2026.4.1-22222-0123abcd-releases/2026/4";
    script_find("version", text, sizeof text);
    version->build_number = copy(text);
    version->description = copy("fake");
    return script_enter(-1, __func__);
}

void ov_version_free(struct rp_ov_version *version) {
    ov_free(version->build_number);
    ov_free(version->description);
}

int ov_core_create(void **core) {
    script_load("FAKE_SCRIPT");
    int code = script_enter(-1, __func__);
    if (code == 0) *core = malloc(1);
    return code;
}

void ov_core_free(void *core) {
    free_listed();
    free(core);
}

#ifndef FAKE_OLD
int ov_core_get_available_devices(const void *core, struct rp_ov_devices *devices) {
    char text[1024] = "CPU";
    (void)core;
    int code = script_enter(-1, __func__);
    if (code != 0) return code;
    script_find("devices", text, sizeof text);
    devices->devices = calloc(65, sizeof(char *));
    if (!devices->devices) abort();
    devices->count = 0;
    for (char *rest = text, *word; (word = strsep(&rest, " ")) && devices->count < 64;) {
        if (*word) devices->devices[devices->count++] = copy(word);
    }
    listed = devices->devices;
    long long claimed = script_number_or("count", -1);
    if (claimed >= 0) devices->count = (size_t)claimed;
    return 0;
}

void ov_available_devices_free(struct rp_ov_devices *devices) {
    (void)devices;
    free_listed();
}

int ov_core_get_property(const void *core, const char *device, const char *key, char **value) {
    char name[256];
    char text[1024];
    (void)core;
    snprintf(name, sizeof name, "%s.%s", device, key);
    if (!script_find(name, text, sizeof text)) return -5;
    *value = copy(text);
    return 0;
}
#endif

void ov_free(const char *text) {
    free((char *)(uintptr_t)text);
}

const char *ov_get_error_info(int status) {
    return status == -1 ? "general error" : "unknown error";
}

const char *ov_get_last_err_msg(void) {
    return "Cannot load library 'libopenvino_intel_cpu_plugin.so'";
}
