/* SPDX-License-Identifier: Apache-2.0 */
/* Intel's GPUs and NPUs as Level Zero sees them: the witness beside OpenVINO. */
#ifndef RP_HARDWARE_LEVEL_ZERO_H
#define RP_HARDWARE_LEVEL_ZERO_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_LEVEL_ZERO_DEVICES_MAX = 16, RP_LEVEL_ZERO_NAME_BYTES = 256 };

/* A number that is not known is RP_UNKNOWN_U64 or RP_UNKNOWN_U32, a text "". */
struct rp_level_zero_device {
    char name[RP_LEVEL_ZERO_NAME_BYTES];
    char uuid[40];        /* of 32 hexadecimal digits */
    char pci_address[16]; /* "0000:03:00.0"           */
    uint32_t vendor;
    uint32_t device;
    bool is_gpu;
    bool is_npu;
    bool is_integrated;
    uint32_t unit_count; /* execution units */
    uint64_t memory_bytes_total;
    uint64_t memory_bytes_free; /* where the driver may tell */
};

struct rp_level_zero_devices {
    struct rp_level_zero_device devices[RP_LEVEL_ZERO_DEVICES_MAX];
    size_t count;
};

/*
 * Ask libze_loader.so.1, which opens Intel's drivers: for a child process only, whose environment
 * it changes (ZES_ENABLE_SYSMAN, without which free memory is not told). Makes no context.
 * RP_ERR_ABSENT: it is not installed, does not start, or lists nothing.
 */
rp_status rp_level_zero_list(struct rp_level_zero_devices *devices, rp_error *err);

#endif
