/* SPDX-License-Identifier: Apache-2.0 */
/* The part of QNN's binary interface that is used, for qualcomm.c and the fake driver. */
#ifndef RP_HARDWARE_QNN_ABI_H
#define RP_HARDWARE_QNN_ABI_H

#include <stdint.h>

/* Qnn_Version_t */
struct rp_qnn_version {
    uint32_t major;
    uint32_t minor;
    uint32_t patch;
};

/* The beginning of QnnInterface_t; tables of functions follow. */
struct rp_qnn_interface {
    uint32_t backend_id;
    const char *provider_name;
    struct rp_qnn_version core_version;
    struct rp_qnn_version backend_version;
};

#endif
