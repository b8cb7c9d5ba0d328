/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands on the PCI bus: the second witness of every GPU and NPU, which says that a card is
 * there when no driver does.
 */
#ifndef RP_HARDWARE_PCI_H
#define RP_HARDWARE_PCI_H

#include "hardware/proc.h"
#include "hardware/snapshot.h"

enum {
    RP_PCI_NVIDIA = 0x10de,
    RP_PCI_AMD = 0x1002,
    RP_PCI_AMD_SYSTEM = 0x1022, /* AMD's processors and what is on them, such as NPUs */
    RP_PCI_INTEL = 0x8086,
    RP_PCI_QUALCOMM = 0x17cb,
    RP_PCI_GOOGLE = 0x1ae0,
    RP_PCI_CORAL = 0x1ac1,
};

/* A number that is not known is RP_UNKNOWN_U32, a text "". */
struct rp_pci_device {
    char address[16]; /* "0000:65:00.0" */
    uint32_t vendor;
    uint32_t device;
    uint32_t class_code; /* 24 bits: 0x030200 */
    uint32_t numa_node;
    char driver[32]; /* the kernel's driver that has it: "nvidia"; "": none has */
};

/*
 * The GPUs, NPUs and other accelerators, in order of their addresses; other cards are left out.
 * Read once per snapshot, which owns the array; later calls return the same.
 */
rp_status rp_pci_devices(struct rp_snapshot *snapshot, const struct rp_pci_device **devices,
                         size_t *count, rp_error *err);

/* The base class of a card: */
enum { RP_PCI_DISPLAY = 0x03, RP_PCI_ACCELERATOR = 0x12 };
static inline uint32_t rp_pci_base_class(const struct rp_pci_device *device) {
    return device->class_code >> 16;
}

/* What a well-known device is called; NULL for all others. */
const char *rp_pci_device_name(uint32_t vendor, uint32_t device);

/* "10de:2330"; out holds at least 10 bytes. */
enum { RP_PCI_ID_BYTES = 10 };
const char *rp_pci_format_id(const struct rp_pci_device *device, char out[RP_PCI_ID_BYTES]);

/* "NVIDIA H100 80GB (10de:2330) at 0000:65:00.0", for messages. */
enum { RP_PCI_TEXT_BYTES = 96 };
const char *rp_pci_describe(const struct rp_pci_device *device, char out[RP_PCI_TEXT_BYTES]);

/*
 * From a card's uevent file: class, vendor, device and driver; what it does not tell stays as it
 * is. False when it tells no identity.
 */
bool rp_pci_parse_uevent(struct rp_span text, struct rp_pci_device *device);

/*
 * An address such as "00000000:65:00.0" or "0000:65:00.0", as drivers write it, in the kernel's
 * form; false when it is none.
 */
bool rp_pci_parse_address(const char *text, char out[16]);

#endif
