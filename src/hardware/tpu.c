/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google's TPUs: the chips of Cloud TPU machines, and Coral's Edge TPUs.
 *
 * Nobody is asked. libtpu has one question, "give me all chips", which takes them from every other
 * process; and Coral's library lists what is on the buses, which can be read there. So the buses
 * and the device files tell what there is, a library's file tells that it can be used, and memory,
 * which no file tells, comes from a table of the models: the source says so.
 */
#include "hardware/tpu.h"
#include "base/limits.h"
#include "base/status.h"
#include "hardware/describe.h"
#include "hardware/device.h"
#include "hardware/library.h"
#include "hardware/pci.h"
#include "hardware/python.h"
#include "hardware/sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)

enum { CHIPS_MAX = 64 };

struct model {
    uint32_t device;
    const char *name;
    uint64_t memory_bytes; /* of one chip, as published */
    const char *precisions;
};

/* Devices of vendor 1ae0 that are TPUs; the same vendor makes network and storage cards. */
/* clang-format off */
static const struct model models[] = {
    {0x0027, "TPU v2 or v3", RP_UNKNOWN_U64, "fp32 bf16"}, /* one number for both */
    {0x005e, "TPU v4",       32 * GIB,       "fp32 bf16 int8"},
    {0x0062, "TPU v5p",      95 * GIB,       "fp32 bf16 int8"},
    {0x0063, "TPU v5e",      16 * GIB,       "fp32 bf16 int8"},
    {0x006f, "TPU v6e",      32 * GIB,       "fp32 bf16 int8"},
    {0x0076, "TPU7x",        192 * GIB,      "fp32 bf16 int8 fp8"},
    {0x0083, "TPU8i",        RP_UNKNOWN_U64, NULL},
    {0x007c, "TPU8t",        RP_UNKNOWN_U64, NULL},
};
/* clang-format on */

static const char *const libtpu_sonames[] = {"libtpu.so", NULL};
static const struct rp_library_names libtpu_names = {"TPU_LIBRARY_PATH", libtpu_sonames, NULL};
static const char *const edgetpu_sonames[] = {"libedgetpu.so.1", NULL};
static const struct rp_library_names edgetpu_names = {"RESOURCE_POOL_EDGETPU", edgetpu_sonames,
                                                      NULL};

/* The variables that limit a process to some chips, by their indexes. */
static const char *const visible_variables[] = {"TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"};

struct chip {
    char address[32]; /* on the PCI bus */
    char file[48];    /* what programs open: "/dev/vfio/3", "/dev/accel0"; "" */
    const struct model *model;
};
struct chips {
    struct chip chips[CHIPS_MAX];
    size_t count;
};

static const struct model *find_model(uint64_t vendor, uint64_t device) {
    if (vendor != RP_PCI_GOOGLE) return NULL;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (models[i].device == device) return &models[i];
    }
    return NULL;
}

/* The same chip may be met in several places, of which one tells its file. */
static void add_chip(struct chips *chips, const char *address, const char *file,
                     const struct model *model) {
    struct chip *chip = NULL;
    for (size_t i = 0; i < chips->count; i++) {
        if (strcmp(chips->chips[i].address, address) == 0) chip = &chips->chips[i];
    }
    if (!chip && (!model || chips->count == CHIPS_MAX)) return;
    if (!chip) {
        chip = &chips->chips[chips->count++];
        snprintf(chip->address, sizeof chip->address, "%s", address);
        chip->model = model;
    }
    if (chip->file[0] == '\0') snprintf(chip->file, sizeof chip->file, "%s", file);
}

/* Chips that a program gets whole, by VFIO: its file has the number of the chip's IOMMU group. */
static void find_vfio(const char *root, struct chips *chips) {
    struct rp_sysfs_names names;
    rp_sysfs_list(root, "/sys/bus/pci/drivers/vfio-pci", "0", &names);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        char group[16];
        char file[48] = "";
        uint64_t vendor = rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/vendor", name);
        uint64_t device = rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/device", name);
        if (strlen(name) >= sizeof chips->chips[0].address) continue;
        if (rp_sysfs_link_name(root, group, sizeof group, "/sys/bus/pci/devices/%s/iommu_group",
                               name)) {
            snprintf(file, sizeof file, "/dev/vfio/%s", group);
        }
        add_chip(chips, name, file, find_model(vendor, device));
    }
}

/* Chips with a driver of their own, in the class of accelerators. */
static void find_accel(const char *root, struct chips *chips) {
    struct rp_sysfs_names names;
    rp_sysfs_list(root, "/sys/class/accel", "accel", &names);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        char address[32];
        char file[48];
        uint64_t vendor = rp_sysfs_u64(root, "/sys/class/accel/%s/device/vendor", name);
        uint64_t device = rp_sysfs_u64(root, "/sys/class/accel/%s/device/device", name);
        if (!rp_sysfs_link_name(root, address, sizeof address, "/sys/class/accel/%s/device",
                                name)) {
            snprintf(address, sizeof address, "%.20s", name);
        }
        snprintf(file, sizeof file, "/dev/%.20s", name);
        add_chip(chips, address, file, find_model(vendor, device));
    }
}

static rp_status find_chips(struct rp_snapshot *snapshot, struct chips *chips, rp_error *err) {
    const struct rp_pci_device *cards = NULL;
    size_t count = 0;
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    if (status != RP_OK) return status;
    for (size_t i = 0; i < count; i++) {
        add_chip(chips, cards[i].address, "", find_model(cards[i].vendor, cards[i].device));
    }
    find_vfio(snapshot->root, chips);
    find_accel(snapshot->root, chips);
    return RP_OK;
}

bool rp_tpu_lists_chip(const char *list, size_t index) {
    struct rp_span rest = {list, strlen(list)};
    struct rp_span word;
    while (rp_span_next_word(&rest, ", ", &word)) {
        uint64_t value;
        if (rp_span_parse_u64(word, &value) && value == index) return true;
    }
    return false;
}

/* Why a chip cannot be used by this process; false when nothing is in the way. */
static bool is_barred(const char *root, const struct chip *chip, size_t index, char *reason,
                      size_t reason_bytes) {
    size_t count = sizeof visible_variables / sizeof visible_variables[0];
    for (size_t i = 0; root[0] == '\0' && i < count; i++) {
        const char *list = getenv(visible_variables[i]);
        if (!list || rp_tpu_lists_chip(list, index)) continue;
        snprintf(reason, reason_bytes, "hidden by %s=%.100s", visible_variables[i], list);
        return true;
    }
    /* A recorded machine without /dev does not tell. */
    bool is_told = root[0] == '\0' || rp_sysfs_exists(root, "/dev");
    char path[RP_LIMIT_NAME_BYTES];
    int length = snprintf(path, sizeof path, "%s%s", root, chip->file);
    if (!is_told || chip->file[0] == '\0' || (size_t)length >= sizeof path) return false;
    if (access(path, R_OK | W_OK) == 0) return false;
    if (errno == EACCES || errno == EPERM) {
        snprintf(reason, reason_bytes, "no permission for %s", chip->file);
    } else {
        snprintf(reason, reason_bytes,
                 "%s is not there: a container must be given the device files of its TPUs",
                 chip->file);
    }
    return true;
}

static rp_status find_library(const char *root, char path[RP_LIMIT_NAME_BYTES], rp_error *err) {
    const char *chosen = root[0] == '\0' ? getenv(libtpu_names.variable) : NULL;
    bool is_chosen = chosen && chosen[0] != '\0';
    if (!is_chosen && rp_python_find(root, "libtpu/libtpu.so", path)) return RP_OK;
    return rp_library_find(root, &libtpu_names, path, err);
}

/* The version of the package stands in the name of its folder: "libtpu-0.0.52.dist-info". */
static rp_status describe_version(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                                  rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    if (!rp_python_find(snapshot->root, "libtpu-*.dist-info", path)) return RP_OK;
    const char *name = strrchr(path, '/');
    char *end = strstr(path, ".dist-info");
    if (!name || !end) return RP_OK;
    *end = '\0';
    return rp_describe_text(snapshot, &accelerator->runtime_version, name + strlen("/libtpu-"),
                            err);
}

static rp_status add_google(struct rp_snapshot *snapshot, const struct chip *chip, size_t index,
                            const char *why_not, rp_error *err) {
    char id[32];
    char reason[512];
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    snprintf(id, sizeof id, "tpu:%zu", index);
    rp_status status = rp_describe_new(snapshot, RP_DEVICE_TPU, id, &device, &accelerator, err);
    if (status != RP_OK) return status;
    device->name = chip->model->name;
    device->memory_bytes_total = chip->model->memory_bytes;
    accelerator->type = "tpu";
    accelerator->vendor = "google";
    accelerator->source = "sysfs, table";
    accelerator->has_tensor_cores = RP_ANSWER_YES;
    accelerator->is_integrated = RP_ANSWER_NO;
    uint64_t node =
        rp_sysfs_u64(snapshot->root, "/sys/bus/pci/devices/%s/numa_node", chip->address);
    if (node < 4096) accelerator->numa_node = (uint32_t)node;
    status = rp_describe_precisions(snapshot, accelerator, chip->model->precisions, err);
    char address[16];
    if (status == RP_OK && rp_pci_parse_address(chip->address, address)) {
        status = rp_describe_text(snapshot, &accelerator->pci_address, address, err);
    }
    if (status == RP_OK) {
        status = rp_describe_print(snapshot, &accelerator->pci_id, err, "%04x:%04x", RP_PCI_GOOGLE,
                                   chip->model->device);
    }
    if (status == RP_OK) status = describe_version(snapshot, accelerator, err);
    if (status == RP_OK && why_not) {
        status = rp_describe_unavailable(snapshot, device, why_not, err);
    } else if (status == RP_OK && is_barred(snapshot->root, chip, index, reason, sizeof reason)) {
        status = rp_describe_unavailable(snapshot, device, reason, err);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status add_coral(struct rp_snapshot *snapshot, const char *where, const char *pci_address,
                           size_t index, const char *why_not, rp_error *err) {
    char id[32];
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    snprintf(id, sizeof id, "tpu:%zu", index);
    rp_status status = rp_describe_new(snapshot, RP_DEVICE_TPU, id, &device, &accelerator, err);
    if (status != RP_OK) return status;
    device->name = "Coral Edge TPU";
    accelerator->type = "tpu";
    accelerator->vendor = "google";
    accelerator->has_tensor_cores = RP_ANSWER_YES;
    status = rp_describe_print(snapshot, &accelerator->source, err, "sysfs (%s)", where);
    if (status == RP_OK) status = rp_describe_precisions(snapshot, accelerator, "int8", err);
    if (status == RP_OK) {
        status = rp_describe_text(snapshot, &accelerator->pci_address, pci_address, err);
    }
    if (status == RP_OK && why_not) {
        status = rp_describe_unavailable(snapshot, device, why_not, err);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

/* Whether Coral's library is there, and in *why what is wrong when it is not. */
static rp_status find_edgetpu(const char *root, rp_error *why, bool *is_there, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    rp_status status = rp_library_find(root, &edgetpu_names, path, why);
    *is_there = status == RP_OK;
    if (status == RP_ERR_MEMORY) {
        if (err) *err = *why;
        return status;
    }
    return RP_OK;
}

/* A number of a USB device, which is written without 0x; 0 when there is none. */
static uint64_t usb_number(const char *root, const char *name, const char *file) {
    char text[16];
    char line[24];
    uint64_t value;
    if (!rp_sysfs_line(root, text, sizeof text, "/sys/bus/usb/devices/%s/%s", name, file)) return 0;
    snprintf(line, sizeof line, "0x%s", text);
    return rp_sysfs_parse_u64(line, &value) ? value : 0;
}

/* A stick calls itself by its chip's maker until its firmware was loaded, then by Google. */
static bool is_coral_stick(const char *root, const char *name) {
    uint64_t vendor = usb_number(root, name, "idVendor");
    if (vendor == 0x1a6e) return usb_number(root, name, "idProduct") == 0x089a;
    return vendor == 0x18d1 && usb_number(root, name, "idProduct") == 0x9302;
}

/* Coral's sticks on USB and cards on PCI. */
static rp_status probe_coral(struct rp_snapshot *snapshot, size_t *index, rp_error *err) {
    const char *root = snapshot->root;
    const struct rp_pci_device *cards = NULL;
    size_t count = 0;
    struct rp_sysfs_names names;
    rp_error why = RP_ERROR_INIT;
    bool is_there = false;
    bool is_looked_for = false;
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    rp_sysfs_list(root, "/sys/bus/usb/devices", "", &names);
    for (size_t i = 0; status == RP_OK && i < names.count + count; i++) {
        const struct rp_pci_device *card = i < names.count ? NULL : &cards[i - names.count];
        bool is_coral = card ? card->vendor == RP_PCI_CORAL && card->device == 0x089a
                             : is_coral_stick(root, names.names[i]);
        if (!is_coral) continue;
        if (!is_looked_for) status = find_edgetpu(root, &why, &is_there, err);
        is_looked_for = true;
        if (status != RP_OK) break;
        const char *why_not = is_there ? NULL : why.message;
        if (card && card->driver[0] == '\0') why_not = "the kernel has no driver for it (apex)";
        status = add_coral(snapshot, card ? "pci" : "usb", card ? card->address : NULL, (*index)++,
                           why_not, err);
    }
    return status;
}

static rp_status fail_absent(const struct rp_snapshot *snapshot, rp_error *err) {
    const char *name = snapshot->root[0] == '\0' ? getenv("TPU_NAME") : NULL;
    if (!name) return rp_fail(err, RP_ERR_ABSENT, "no TPU is in this machine");
    rp_fail(err, RP_ERR_ABSENT, "TPU_NAME is '%.60s', but no TPU is in this machine", name);
    rp_hint(err, "run where the chips are: on the machine of the Cloud TPU itself");
    return RP_ERR_ABSENT;
}

static rp_status tpu_probe(struct rp_snapshot *snapshot, rp_error *err) {
    struct chips chips = {.count = 0};
    size_t index = 0;
    rp_status status = find_chips(snapshot, &chips, err);
    if (status == RP_OK && chips.count > 0) {
        char path[RP_LIMIT_NAME_BYTES];
        char text[400];
        rp_error why = RP_ERROR_INIT;
        rp_status found = find_library(snapshot->root, path, &why);
        if (found == RP_ERR_MEMORY) {
            if (err) *err = why;
            return found;
        }
        /* The Python of a recorded machine is not known: nothing follows from there. */
        bool is_missing = found != RP_OK && snapshot->root[0] == '\0';
        snprintf(text, sizeof text, "%s: 'pip install libtpu' in the active Python", why.message);
        for (; status == RP_OK && index < chips.count; index++) {
            status =
                add_google(snapshot, &chips.chips[index], index, is_missing ? text : NULL, err);
        }
    }
    if (status == RP_OK) status = probe_coral(snapshot, &index, err);
    if (status != RP_OK || index > 0) return status;
    return fail_absent(snapshot, err);
}

const struct rp_device_ops rp_device_tpu = {
    .kind = RP_DEVICE_TPU,
    .name = "libtpu",
    .when = RP_ASK_NEVER,
    .probe = tpu_probe,
};
