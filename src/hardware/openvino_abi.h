/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of OpenVINO's binary interface that is used, for openvino.c, its fake driver and
 * tests/drivers/openvino_layout.c. It is the same since 2022.2.
 */
#ifndef RP_HARDWARE_OPENVINO_ABI_H
#define RP_HARDWARE_OPENVINO_ABI_H

#include <stddef.h>

struct rp_ov_version {
    const char *build_number;
    const char *description;
};
struct rp_ov_devices {
    char **devices;
    size_t count;
};

struct rp_openvino {
    int (*get_version)(struct rp_ov_version *version);
    void (*version_free)(struct rp_ov_version *version);
    int (*core_create)(void **core);
    void (*core_free)(void *core);
    int (*get_devices)(const void *core, struct rp_ov_devices *devices);
    void (*devices_free)(struct rp_ov_devices *devices);
    int (*get_property)(const void *core, const char *device, const char *key, char **value);
    void (*text_free)(const char *text);
    const char *(*get_error)(int status);
    const char *(*get_last_error)(void);
};

#endif
