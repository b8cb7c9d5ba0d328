/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large server has 500 cards, nearly all of no interest. Each has one file (uevent) that tells
 * what it is and who drives it; only of the few that matter more is read.
 */
#include "hardware/pci.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/bus/pci/devices"

struct name {
    uint32_t vendor;
    uint32_t device;
    const char *name;
};

/* What people have in machines for models; all others are called by their numbers. */
/* clang-format off */
static const struct name names[] = {
    {RP_PCI_NVIDIA, 0x1db4, "NVIDIA V100 16GB"},    {RP_PCI_NVIDIA, 0x1db6, "NVIDIA V100 32GB"},
    {RP_PCI_NVIDIA, 0x1eb8, "NVIDIA T4"},           {RP_PCI_NVIDIA, 0x20b0, "NVIDIA A100 40GB"},
    {RP_PCI_NVIDIA, 0x20b2, "NVIDIA A100 80GB"},    {RP_PCI_NVIDIA, 0x20b5, "NVIDIA A100 80GB PCIe"},
    {RP_PCI_NVIDIA, 0x20f1, "NVIDIA A100 40GB PCIe"}, {RP_PCI_NVIDIA, 0x2204, "NVIDIA RTX 3090"},
    {RP_PCI_NVIDIA, 0x2235, "NVIDIA A40"},          {RP_PCI_NVIDIA, 0x2236, "NVIDIA A10"},
    {RP_PCI_NVIDIA, 0x2237, "NVIDIA A10G"},         {RP_PCI_NVIDIA, 0x2330, "NVIDIA H100 80GB"},
    {RP_PCI_NVIDIA, 0x2331, "NVIDIA H100 PCIe"},    {RP_PCI_NVIDIA, 0x2335, "NVIDIA H200"},
    {RP_PCI_NVIDIA, 0x2684, "NVIDIA RTX 4090"},     {RP_PCI_NVIDIA, 0x26b9, "NVIDIA L40S"},
    {RP_PCI_NVIDIA, 0x27b8, "NVIDIA L4"},           {RP_PCI_NVIDIA, 0x2901, "NVIDIA B200"},
    {RP_PCI_NVIDIA, 0x2b85, "NVIDIA RTX 5090"},
    {RP_PCI_AMD, 0x738c, "AMD MI100"},              {RP_PCI_AMD, 0x7408, "AMD MI250X"},
    {RP_PCI_AMD, 0x740c, "AMD MI250"},              {RP_PCI_AMD, 0x740f, "AMD MI210"},
    {RP_PCI_AMD, 0x744c, "AMD RX 7900"},            {RP_PCI_AMD, 0x74a0, "AMD MI300A"},
    {RP_PCI_AMD, 0x74a1, "AMD MI300X"},             {RP_PCI_AMD, 0x74a5, "AMD MI325X"},
    {RP_PCI_AMD_SYSTEM, 0x1502, "AMD Ryzen AI NPU"}, {RP_PCI_AMD_SYSTEM, 0x17f0, "AMD Ryzen AI NPU"},
    {RP_PCI_INTEL, 0x56a0, "Intel Arc A770"},       {RP_PCI_INTEL, 0x56a1, "Intel Arc A750"},
    {RP_PCI_INTEL, 0xe20b, "Intel Arc B580"},       {RP_PCI_INTEL, 0x7d1d, "Intel NPU (Meteor Lake)"},
    {RP_PCI_INTEL, 0x643e, "Intel NPU (Lunar Lake)"}, {RP_PCI_INTEL, 0xad1d, "Intel NPU (Arrow Lake)"},
    {RP_PCI_QUALCOMM, 0xa100, "Qualcomm Cloud AI 100"},
    {RP_PCI_CORAL, 0x089a, "Coral Edge TPU"},
};
/* clang-format on */

static const struct {
    uint32_t vendor;
    const char *name;
} vendors[] = {
    {RP_PCI_NVIDIA, "NVIDIA"},     {RP_PCI_AMD, "AMD"},       {RP_PCI_AMD_SYSTEM, "AMD"},
    {RP_PCI_INTEL, "Intel"},       {RP_PCI_GOOGLE, "Google"}, {RP_PCI_CORAL, "Coral"},
    {RP_PCI_QUALCOMM, "Qualcomm"},
};

const char *rp_pci_device_name(uint32_t vendor, uint32_t device) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].vendor == vendor && names[i].device == device) return names[i].name;
    }
    return NULL;
}

static const char *vendor_name(uint32_t vendor) {
    for (size_t i = 0; i < sizeof vendors / sizeof vendors[0]; i++) {
        if (vendors[i].vendor == vendor) return vendors[i].name;
    }
    return "other maker's";
}

const char *rp_pci_format_id(const struct rp_pci_device *device, char out[RP_PCI_ID_BYTES]) {
    snprintf(out, RP_PCI_ID_BYTES, "%04x:%04x", device->vendor & 0xffff, device->device & 0xffff);
    return out;
}

const char *rp_pci_describe(const struct rp_pci_device *device, char out[RP_PCI_TEXT_BYTES]) {
    char id[RP_PCI_ID_BYTES];
    const char *name = rp_pci_device_name(device->vendor, device->device);
    rp_pci_format_id(device, id);
    if (name) {
        snprintf(out, RP_PCI_TEXT_BYTES, "%s (%s) at %s", name, id, device->address);
    } else {
        snprintf(out, RP_PCI_TEXT_BYTES, "%s card (%s) at %s", vendor_name(device->vendor), id,
                 device->address);
    }
    return out;
}

/* At most `digits_max` hexadecimal digits, and nothing else. */
static bool parse_hex(struct rp_span span, size_t digits_max, uint32_t *value) {
    if (span.length == 0 || span.length > digits_max) return false;
    static const char digits[] = "0123456789abcdef";
    uint32_t number = 0;
    for (size_t i = 0; i < span.length; i++) {
        const char *digit = memchr(digits, tolower((unsigned char)span.at[i]), 16);
        if (!digit) return false;
        number = number * 16 + (uint32_t)(digit - digits);
    }
    *value = number;
    return true;
}

bool rp_pci_parse_address(const char *text, char out[16]) {
    struct rp_span rest = {text, strnlen(text, 32)};
    struct rp_span parts[4];
    uint32_t numbers[4];
    static const size_t digits_max[4] = {8, 2, 2, 1};
    static const char ends[4] = {':', ':', '.', '\0'};
    for (size_t i = 0; i < 4; i++) {
        size_t length = 0;
        while (length < rest.length && rest.at[length] != ends[i]) {
            length++;
        }
        if (i < 3 && length == rest.length) return false;
        parts[i] = (struct rp_span){rest.at, length};
        size_t taken = length + (i < 3 ? 1 : 0);
        rest = (struct rp_span){rest.at + taken, rest.length - taken};
        if (!parse_hex(parts[i], digits_max[i], &numbers[i])) return false;
    }
    /* Hypervisors have domains above 16 bits, which the kernel writes with more digits. */
    if (numbers[0] > 0xffffff || numbers[2] > 0x1f || numbers[3] > 7) return false;
    snprintf(out, 16, "%04x:%02x:%02x.%x", numbers[0], numbers[1], numbers[2], numbers[3]);
    return true;
}

static bool starts_with(struct rp_span *span, const char *start) {
    size_t length = strlen(start);
    if (span->length < length || memcmp(span->at, start, length) != 0) return false;
    span->at += length;
    span->length -= length;
    return true;
}

static void put_driver(struct rp_pci_device *device, struct rp_span name) {
    if (name.length == 0 || name.length >= sizeof device->driver) return;
    memcpy(device->driver, name.at, name.length);
    device->driver[name.length] = '\0';
}

bool rp_pci_parse_uevent(struct rp_span text, struct rp_pci_device *device) {
    bool has_id = false;
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        line = rp_span_trim(line);
        if (starts_with(&line, "DRIVER=")) {
            put_driver(device, line);
        } else if (starts_with(&line, "PCI_CLASS=")) {
            if (!parse_hex(line, 6, &device->class_code)) device->class_code = RP_UNKNOWN_U32;
        } else if (starts_with(&line, "PCI_ID=")) {
            struct rp_span vendor;
            uint32_t its_vendor;
            uint32_t its_device;
            if (!rp_span_next_word(&line, ":", &vendor) || line.length < 2) continue;
            line.at++;
            line.length--;
            if (!parse_hex(vendor, 4, &its_vendor) || !parse_hex(line, 4, &its_device)) continue;
            device->vendor = its_vendor;
            device->device = its_device;
            has_id = true;
        }
    }
    return has_id;
}

static bool is_interesting(const struct rp_pci_device *device) {
    if (device->vendor == RP_PCI_GOOGLE || device->vendor == RP_PCI_CORAL) return true;
    if (device->class_code == RP_UNKNOWN_U32) return false;
    uint32_t subclass = device->class_code >> 8;
    return rp_pci_base_class(device) == RP_PCI_DISPLAY ||
           rp_pci_base_class(device) == RP_PCI_ACCELERATOR || subclass == 0x0b40 ||
           subclass == 0x1180; /* a co-processor; AMD's NPUs call themselves signal processors */
}

/* A file of a card with one number, "0x10de" or "1"; RP_UNKNOWN_U32 when it is not there. */
static rp_status read_number(const char *root, const char *address, const char *name,
                             uint32_t *number, rp_error *err) {
    char path[96];
    struct rp_proc_file file;
    snprintf(path, sizeof path, FOLDER "/%s/%s", address, name);
    *number = RP_UNKNOWN_U32;
    rp_status status = rp_proc_file_read_start(&file, root, path, err);
    if (status == RP_OK && file.bytes) {
        struct rp_span text = rp_span_trim((struct rp_span){file.bytes, file.length});
        uint64_t decimal;
        if (starts_with(&text, "0x")) {
            if (!parse_hex(text, 6, number)) *number = RP_UNKNOWN_U32;
        } else if (rp_span_parse_u64(text, &decimal) && decimal < RP_UNKNOWN_U32) {
            *number = (uint32_t)decimal;
        }
    }
    rp_proc_file_fini(&file);
    return status;
}

/* Without an uevent file, as in a tree that a person composed: one file for each figure. */
static rp_status read_files(const char *root, struct rp_pci_device *device, rp_error *err) {
    rp_status status = read_number(root, device->address, "vendor", &device->vendor, err);
    if (status == RP_OK) {
        status = read_number(root, device->address, "device", &device->device, err);
    }
    if (status == RP_OK) {
        status = read_number(root, device->address, "class", &device->class_code, err);
    }
    char path[2 * RP_LIMIT_NAME_BYTES];
    char target[256];
    snprintf(path, sizeof path, "%s" FOLDER "/%s/driver", root, device->address);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0) {
        target[length] = '\0';
        const char *slash = strrchr(target, '/');
        const char *name = slash ? slash + 1 : target;
        put_driver(device, (struct rp_span){name, strlen(name)});
    }
    return status;
}

static rp_status read_device(const char *root, struct rp_pci_device *device, rp_error *err) {
    char path[96];
    struct rp_proc_file file;
    snprintf(path, sizeof path, FOLDER "/%s/uevent", device->address);
    rp_status status = rp_proc_file_read_start(&file, root, path, err);
    bool is_told = status == RP_OK && file.bytes &&
                   rp_pci_parse_uevent((struct rp_span){file.bytes, file.length}, device);
    rp_proc_file_fini(&file);
    if (status == RP_OK && !is_told) status = read_files(root, device, err);
    /* -1 stands for a machine without nodes, and is no number here. */
    if (status == RP_OK && is_interesting(device)) {
        status = read_number(root, device->address, "numa_node", &device->numa_node, err);
    }
    return status;
}

static int compare(const void *left, const void *right) {
    const struct rp_pci_device *a = left;
    const struct rp_pci_device *b = right;
    return strcmp(a->address, b->address);
}

static rp_status scan(const char *root, struct rp_pci_device *found, size_t *count, rp_error *err) {
    char folder[2 * RP_LIMIT_NAME_BYTES];
    snprintf(folder, sizeof folder, "%s" FOLDER, root);
    DIR *stream = opendir(folder);
    if (!stream) {
        if (errno == ENOMEM) return rp_fail_no_memory(err);
        return RP_OK; /* no PCI bus, or none to be seen: as on a phone */
    }
    rp_status status = RP_OK;
    struct dirent *entry;
    /* One stream per thread, as here, is what POSIX makes safe. */
    while (status == RP_OK && *count < RP_LIMIT_DEVICES &&
           (entry = readdir(stream))) { /* NOLINT(concurrency-mt-unsafe) */
        struct rp_pci_device device = {
            .vendor = RP_UNKNOWN_U32,
            .device = RP_UNKNOWN_U32,
            .class_code = RP_UNKNOWN_U32,
            .numa_node = RP_UNKNOWN_U32,
        };
        if (!rp_pci_parse_address(entry->d_name, device.address)) continue;
        status = read_device(root, &device, err);
        if (status == RP_OK && is_interesting(&device)) found[(*count)++] = device;
    }
    closedir(stream);
    if (status == RP_OK && *count > 1) qsort(found, *count, sizeof *found, compare);
    return status;
}

rp_status rp_pci_devices(struct rp_snapshot *snapshot, const struct rp_pci_device **devices,
                         size_t *count, rp_error *err) {
    if (!snapshot->pci_devices) {
        struct rp_pci_device *found = rp_alloc_array(RP_LIMIT_DEVICES, sizeof *found);
        if (!found) return rp_fail_no_memory(err);
        size_t found_count = 0;
        rp_status status = scan(snapshot->root, found, &found_count, err);
        struct rp_pci_device *kept =
            status == RP_OK ? rp_snapshot_alloc(snapshot, (found_count + 1) * sizeof *kept) : NULL;
        if (kept) memcpy(kept, found, found_count * sizeof *kept);
        rp_free(found);
        if (status != RP_OK) return status;
        if (!kept) return rp_fail_no_memory(err);
        snapshot->pci_devices = kept;
        snapshot->pci_count = found_count;
    }
    *devices = snapshot->pci_devices;
    *count = snapshot->pci_count;
    return RP_OK;
}
