/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What OpenVINO can compute on: the processor, Intel's GPUs and NPUs. Its own list is slow (it
 * loads a plugin for each), so it is made on request; Level Zero is asked beside it for memory that
 * is free. Intel's cards in /sys are the second witness: one that OpenVINO does not list is there,
 * and what is missing is said.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/child.h"
#include "hardware/describe.h"
#include "hardware/device.h"
#include "hardware/level_zero.h"
#include "hardware/library.h"
#include "hardware/openvino_abi.h"
#include "hardware/pci.h"
#include "hardware/python.h"
#include "hardware/sysfs.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEVICES_MAX = 64 };

/* A system's packages have the version in the name, newest first; wheels are found by pattern. */
/* clang-format off */
static const char *const sonames[] = {
    "libopenvino_c.so", "libopenvino_c.so.2641", "libopenvino_c.so.2640", "libopenvino_c.so.2630",
    "libopenvino_c.so.2620", "libopenvino_c.so.2610", "libopenvino_c.so.2600",
    "libopenvino_c.so.2541", "libopenvino_c.so.2540", "libopenvino_c.so.2530",
    "libopenvino_c.so.2520", "libopenvino_c.so.2510", "libopenvino_c.so.2500",
    "libopenvino_c.so.2460", "libopenvino_c.so.2440", "libopenvino_c.so.2430", NULL,
};
static const char *const folders[] = {"/opt/intel/openvino/runtime/lib/intel64", NULL};
static const struct rp_library_names names = {"RESOURCE_POOL_OPENVINO", sonames, folders};

/* Number formats as OpenVINO calls them, and as we do. */
static const struct {
    const char *capability;
    const char *precision;
} precisions[] = {
    {"FP32", "fp32"}, {"FP16", "fp16"}, {"BF16", "bf16"}, {"INT8", "int8"}, {"INT4", "int4"},
};
/* clang-format on */

#define SYMBOL(name, field, required)                                                              \
    { name, offsetof(struct rp_openvino, field), required }
static const struct rp_library_symbol symbols[] = {
    SYMBOL("ov_get_openvino_version", get_version, true),
    SYMBOL("ov_version_free", version_free, true),
    SYMBOL("ov_core_create", core_create, true),
    SYMBOL("ov_core_free", core_free, true),
    SYMBOL("ov_core_get_available_devices", get_devices, true),
    SYMBOL("ov_available_devices_free", devices_free, true),
    SYMBOL("ov_core_get_property", get_property, true),
    SYMBOL("ov_free", text_free, true),
    SYMBOL("ov_get_error_info", get_error, false),
    SYMBOL("ov_get_last_err_msg", get_last_error, false),
    {NULL, 0, false},
};

/* --- Intel's cards --------------------------------------------------------------------------- */

static bool is_gpu(const struct rp_pci_device *card) {
    return card->vendor == RP_PCI_INTEL && rp_pci_base_class(card) == RP_PCI_DISPLAY;
}

static bool is_npu(const struct rp_pci_device *card) {
    return card->vendor == RP_PCI_INTEL && rp_pci_base_class(card) == RP_PCI_ACCELERATOR;
}

/* What keeps OpenVINO from a card that is there. */
static const char *what_is_missing(const char *root, const struct rp_pci_device *card, char *out,
                                   size_t out_bytes) {
    if (card->driver[0] == '\0') {
        snprintf(out, out_bytes, "the kernel has no driver for it (%s)",
                 is_npu(card) ? "intel_vpu" : "i915 or xe");
    } else if (is_npu(card)) {
        snprintf(out, out_bytes, "%s",
                 root[0] == '\0' && !rp_sysfs_exists(root, "/dev/accel/accel0")
                     ? "/dev/accel/accel0 is not there: a container needs --device=/dev/accel"
                     : "Intel's NPU driver (intel-level-zero-npu) is not installed or not usable");
    } else {
        snprintf(out, out_bytes, "%s",
                 root[0] == '\0' && !rp_sysfs_exists(root, "/dev/dri")
                     ? "/dev/dri is not there: a container needs --device=/dev/dri"
                     : "Intel's compute runtime (intel-opencl-icd) is not installed or not usable");
    }
    return out;
}

/* --- finding it ------------------------------------------------------------------------------ */

/* In a folder, whatever the version in its name. */
static bool find_in_folder(const char *folder, char path[RP_LIMIT_NAME_BYTES]) {
    char pattern[RP_LIMIT_NAME_BYTES];
    glob_t found;
    bool is_found = false;
    int length = snprintf(pattern, sizeof pattern, "%s/libopenvino_c.so*", folder);
    if (length < 0 || (size_t)length >= sizeof pattern) return false;
    if (glob(pattern, 0, NULL, &found) == 0) {
        const char *last = found.gl_pathv[found.gl_pathc - 1];
        is_found = strlen(last) < RP_LIMIT_NAME_BYTES;
        if (is_found) memcpy(path, last, strlen(last) + 1);
    }
    globfree(&found);
    return is_found;
}

static rp_status find(const char *root, char path[RP_LIMIT_NAME_BYTES], rp_error *err) {
    const char *chosen = root[0] == '\0' ? getenv(names.variable) : NULL;
    struct stat info;
    if (chosen && stat(chosen, &info) == 0 && S_ISDIR(info.st_mode) &&
        find_in_folder(chosen, path)) {
        return RP_OK;
    }
    rp_status status = rp_library_find(root, &names, path, err);
    bool may_be_wheel = status == RP_ERR_ABSENT && !(chosen && chosen[0] != '\0');
    if (may_be_wheel && rp_python_find(root, "openvino/libs/libopenvino_c.so*", path)) return RP_OK;
    return status;
}

/* --- asking it ------------------------------------------------------------------------------- */

/* A property as a text of at most out_bytes; false when it has none. */
static bool get_text(const struct rp_openvino *ov, const void *core, const char *device,
                     const char *key, char *out, size_t out_bytes) {
    char *value = NULL;
    out[0] = '\0';
    if (ov->get_property(core, device, key, &value) != 0 || !value) return false;
    snprintf(out, out_bytes, "%s", value);
    ov->text_free(value);
    return out[0] != '\0';
}

static uint64_t get_number(const struct rp_openvino *ov, const void *core, const char *device,
                           const char *key) {
    char text[64];
    uint64_t value;
    bool is_known = get_text(ov, core, device, key, text, sizeof text) &&
                    rp_sysfs_parse_u64(text, &value) && value > 0 && value <= INT64_MAX;
    return is_known ? value : RP_UNKNOWN_U64;
}

static bool has_word(const char *words, const char *word) {
    struct rp_span rest = {words, strlen(words)};
    struct rp_span each;
    while (rp_span_next_word(&rest, " ,[]'\"", &each)) {
        if (rp_span_is(each, word)) return true;
    }
    return false;
}

static rp_status describe_capabilities(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                                       const char *capabilities, rp_error *err) {
    char words[64] = "";
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        if (!has_word(capabilities, precisions[i].capability)) continue;
        size_t length = strlen(words);
        snprintf(words + length, sizeof words - length, "%s%s", length > 0 ? " " : "",
                 precisions[i].precision);
    }
    if (has_word(capabilities, "GPU_HW_MATMUL")) accelerator->has_tensor_cores = RP_ANSWER_YES;
    return rp_describe_precisions(snapshot, accelerator, words, err);
}

/* "cpu", "gpu", "npu" from "GPU.0"; NULL for others. */
static const char *type_of(const char *name) {
    static const char *const types[] = {"CPU", "GPU", "NPU"};
    static const char *const ours[] = {"cpu", "gpu", "npu"};
    for (size_t i = 0; i < 3; i++) {
        if (strncmp(name, types[i], 3) == 0 && (name[3] == '\0' || name[3] == '.')) return ours[i];
    }
    return NULL;
}

/* What Level Zero calls this one; NULL when it is not among them. */
static const struct rp_level_zero_device *find_twin(const struct rp_level_zero_devices *devices,
                                                    const char *type, const char *uuid,
                                                    const char *name) {
    const struct rp_level_zero_device *found = NULL;
    for (size_t i = 0; type && i < devices->count; i++) {
        const struct rp_level_zero_device *each = &devices->devices[i];
        bool is_type = (each->is_gpu && strcmp(type, "gpu") == 0) ||
                       (each->is_npu && strcmp(type, "npu") == 0);
        if (!is_type) continue;
        if (uuid[0] != '\0' && strcmp(uuid, each->uuid) == 0) return each;
        /* OpenVINO adds "(iGPU)" or "(dGPU)". Two of one name cannot be told apart. */
        bool is_name = each->name[0] != '\0' && strncmp(name, each->name, strlen(each->name)) == 0;
        if (!is_name) continue;
        if (found) return NULL;
        found = each;
    }
    return found;
}

static rp_status describe_twin(struct rp_snapshot *snapshot, rp_device *device,
                               rp_accelerator *accelerator, const struct rp_level_zero_device *twin,
                               rp_error *err) {
    if (device->memory_bytes_total == RP_UNKNOWN_U64) {
        device->memory_bytes_total = twin->memory_bytes_total;
    }
    if (twin->memory_bytes_free <= device->memory_bytes_total) {
        device->memory_bytes_free = twin->memory_bytes_free;
    }
    accelerator->source = "openvino, level-zero";
    accelerator->is_integrated = twin->is_integrated ? RP_ANSWER_YES : RP_ANSWER_NO;
    if (accelerator->compute_unit_count == RP_UNKNOWN_U32) {
        accelerator->compute_unit_count = twin->unit_count;
    }
    rp_status status =
        rp_describe_text(snapshot, &accelerator->pci_address, twin->pci_address, err);
    if (status == RP_OK && twin->vendor <= 0xffff && twin->device <= 0xffff) {
        status = rp_describe_print(snapshot, &accelerator->pci_id, err, "%04x:%04x", twin->vendor,
                                   twin->device);
    }
    return status;
}

/* Its processor is the processor: the same memory, and as much of it free. */
static rp_status describe_processor(rp_device *device, rp_error *err) {
    struct rp_snapshot *scratch = rp_snapshot_create();
    if (!scratch) return rp_fail_no_memory(err);
    rp_error why = RP_ERROR_INIT;
    rp_status status = rp_device_cpu.probe(scratch, &why);
    if (status == RP_OK && scratch->device_count > 0) {
        device->memory_bytes_total = scratch->devices[0]->memory_bytes_total;
        device->memory_bytes_free = scratch->devices[0]->memory_bytes_free;
    }
    rp_snapshot_release(scratch);
    if (status == RP_ERR_MEMORY && err) *err = why;
    return status == RP_ERR_MEMORY ? status : RP_OK;
}

static rp_status describe_memory(const struct rp_openvino *ov, const void *core, const char *name,
                                 rp_device *device, rp_accelerator *accelerator, rp_error *err) {
    const char *type = accelerator->type;
    if (type && strcmp(type, "cpu") == 0) {
        accelerator->is_integrated = RP_ANSWER_YES;
        return describe_processor(device, err);
    }
    char text[64];
    device->memory_bytes_total = get_number(ov, core, name, "GPU_DEVICE_TOTAL_MEM_SIZE");
    if (device->memory_bytes_total == RP_UNKNOWN_U64) {
        device->memory_bytes_total = get_number(ov, core, name, "NPU_DEVICE_TOTAL_MEM_SIZE");
    }
    uint64_t units = get_number(ov, core, name, "GPU_EXECUTION_UNITS_COUNT");
    if (units < 1 << 20) accelerator->compute_unit_count = (uint32_t)units;
    if (get_text(ov, core, name, "DEVICE_TYPE", text, sizeof text)) {
        if (strcasecmp(text, "integrated") == 0) accelerator->is_integrated = RP_ANSWER_YES;
        if (strcasecmp(text, "discrete") == 0) accelerator->is_integrated = RP_ANSWER_NO;
    }
    return RP_OK;
}

static rp_status add_device(struct rp_snapshot *snapshot, const struct rp_openvino *ov,
                            const void *core, const char *name, const char *version,
                            const struct rp_level_zero_devices *level_zero, rp_error *err) {
    char id[RP_LIMIT_DEVICE_BYTES];
    char text[256];
    char uuid[64];
    int length = snprintf(id, sizeof id, "openvino:%s", name);
    if (length < 0 || (size_t)length >= sizeof id || !rp_device_id_fits(id, RP_DEVICE_OPENVINO)) {
        return rp_snapshot_add_note(snapshot, err, "openvino: a device called '%.40s' left out",
                                    name);
    }
    for (size_t i = 0; i < snapshot->device_count; i++) {
        if (strcmp(snapshot->devices[i]->id, id) != 0) continue;
        return rp_snapshot_add_note(snapshot, err, "openvino: it lists '%.40s' twice", name);
    }
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    rp_status status =
        rp_describe_new(snapshot, RP_DEVICE_OPENVINO, id, &device, &accelerator, err);
    if (status != RP_OK) return status;
    accelerator->type = type_of(name);
    accelerator->source = "openvino";
    status = rp_describe_text(snapshot, &accelerator->runtime_version, version, err);
    if (status == RP_OK && get_text(ov, core, name, "FULL_DEVICE_NAME", text, sizeof text)) {
        status = rp_describe_text(snapshot, &device->name, text, err);
        if (strstr(text, "Intel")) accelerator->vendor = "intel";
    }
    if (status == RP_OK && get_text(ov, core, name, "NPU_DRIVER_VERSION", text, sizeof text)) {
        status = rp_describe_text(snapshot, &accelerator->driver_version, text, err);
    }
    if (status == RP_OK &&
        get_text(ov, core, name, "OPTIMIZATION_CAPABILITIES", text, sizeof text)) {
        status = describe_capabilities(snapshot, accelerator, text, err);
    }
    if (status == RP_OK) {
        status = describe_memory(ov, core, name, device, accelerator, err);
    }
    bool has_uuid = get_text(ov, core, name, "DEVICE_UUID", uuid, sizeof uuid);
    if (status == RP_OK && has_uuid) {
        status = rp_describe_text(snapshot, &accelerator->uuid, uuid, err);
    }
    const struct rp_level_zero_device *twin = find_twin(
        level_zero, accelerator->type, has_uuid ? uuid : "", device->name ? device->name : "");
    if (status == RP_OK && twin) {
        status = describe_twin(snapshot, device, accelerator, twin, err);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static bool lists_type(const struct rp_snapshot *snapshot, const char *type) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        const rp_device *each = snapshot->devices[i];
        if (each->kind != RP_DEVICE_OPENVINO || !each->accelerator->type) continue;
        if (strcmp(each->accelerator->type, type) == 0) return true;
    }
    return false;
}

/* Cards of a type of which OpenVINO lists none: there, and not usable. */
static rp_status add_unlisted(struct rp_snapshot *snapshot, const char *type, const char *name,
                              bool (*is_type)(const struct rp_pci_device *), rp_error *err) {
    const struct rp_pci_device *cards = NULL;
    size_t count = 0;
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    if (status != RP_OK || lists_type(snapshot, type)) return status;
    size_t index = 0;
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        char id[32];
        char reason[256];
        char missing[160];
        char pci_id[RP_PCI_ID_BYTES];
        rp_device *device = NULL;
        rp_accelerator *accelerator = NULL;
        if (!is_type(&cards[i])) continue;
        snprintf(id, sizeof id, index == 0 ? "openvino:%s" : "openvino:%s.%zu", name, index);
        index++;
        status = rp_describe_new(snapshot, RP_DEVICE_OPENVINO, id, &device, &accelerator, err);
        if (status != RP_OK) break;
        accelerator->type = type;
        accelerator->vendor = "intel";
        accelerator->source = "sysfs";
        accelerator->numa_node = cards[i].numa_node;
        snprintf(reason, sizeof reason, "OpenVINO does not list it: %s",
                 what_is_missing(snapshot->root, &cards[i], missing, sizeof missing));
        status = rp_describe_text(snapshot, &accelerator->pci_address, cards[i].address, err);
        if (status == RP_OK) {
            status = rp_describe_text(snapshot, &accelerator->pci_id,
                                      rp_pci_format_id(&cards[i], pci_id), err);
        }
        if (status == RP_OK) {
            status = rp_describe_text(snapshot, &device->name,
                                      rp_pci_device_name(cards[i].vendor, cards[i].device), err);
        }
        if (status == RP_OK) status = rp_describe_unavailable(snapshot, device, reason, err);
        if (status == RP_OK) status = rp_snapshot_add_device(snapshot, device, err);
    }
    return status;
}

static rp_status fail_openvino(const struct rp_openvino *ov, const char *what, int code,
                               rp_error *err) {
    const char *name = ov->get_error ? ov->get_error(code) : NULL;
    const char *why = ov->get_last_error ? ov->get_last_error() : NULL;
    rp_fail(err, RP_ERR_ABSENT, "OpenVINO cannot %s: %s (%d)%s%s", what, name ? name : "error",
            code, why && why[0] ? ": " : "", why ? why : "");
    rp_hint(err, "'pip install --force-reinstall openvino' if its files are not complete");
    return RP_ERR_ABSENT;
}

static rp_status ask_core(struct rp_snapshot *snapshot, const struct rp_openvino *ov,
                          const void *core, const struct rp_level_zero_devices *level_zero,
                          rp_error *err) {
    struct rp_ov_version version = {NULL, NULL};
    char number[64] = "";
    if (ov->get_version(&version) == 0 && version.build_number) {
        /* "2026.4.1-22222-abcdef0-releases/2026/4" */
        snprintf(number, sizeof number, "%s", version.build_number);
        number[strcspn(number, "-")] = '\0';
        ov->version_free(&version);
    }
    struct rp_ov_devices devices = {NULL, 0};
    rp_child_step("ov_core_get_available_devices of libopenvino_c.so");
    int rc = ov->get_devices(core, &devices);
    if (rc != 0) return fail_openvino(ov, "list its devices", rc, err);
    rp_status status = RP_OK;
    if (devices.count > DEVICES_MAX || (devices.count > 0 && !devices.devices)) {
        return rp_fail(err, RP_ERR_ABSENT,
                       "OpenVINO says that there are %zu devices, which is not believed",
                       devices.count);
    }
    for (size_t i = 0; status == RP_OK && i < devices.count; i++) {
        const char *name = devices.devices[i];
        if (name) status = add_device(snapshot, ov, core, name, number, level_zero, err);
    }
    ov->devices_free(&devices);
    if (status == RP_OK) status = add_unlisted(snapshot, "gpu", "GPU", is_gpu, err);
    if (status == RP_OK) status = add_unlisted(snapshot, "npu", "NPU", is_npu, err);
    if (status != RP_OK || snapshot->device_count > 0) return status;
    rp_fail(err, RP_ERR_ABSENT, "OpenVINO %s lists no device", number);
    rp_hint(err, "its plugins (libopenvino_intel_cpu_plugin.so) must be beside libopenvino.so");
    return RP_ERR_ABSENT;
}

static rp_status openvino_ask(struct rp_snapshot *snapshot, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    struct rp_openvino ov;
    void *handle = NULL;
    void *core = NULL;
    /* As with every driver, the library is this machine's, whatever stands for /sys in a test. */
    rp_status status = find("", path, err);
    if (status == RP_OK) status = rp_library_open(path, symbols, &ov, &handle, err);
    if (status != RP_OK) return status;
    struct rp_level_zero_devices *level_zero = rp_alloc(sizeof *level_zero);
    if (!level_zero) status = rp_fail_no_memory(err);
    if (status == RP_OK) {
        rp_error ignored = RP_ERROR_INIT; /* a witness only: without it less is known */
        if (rp_level_zero_list(level_zero, &ignored) != RP_OK) level_zero->count = 0;
        rp_child_step("ov_core_create of libopenvino_c.so");
        int rc = ov.core_create(&core);
        status = rc == 0 && core ? ask_core(snapshot, &ov, core, level_zero, err)
                                 : fail_openvino(&ov, "start", rc, err);
        if (core) ov.core_free(core);
    }
    rp_free(level_zero);
    rp_library_close(handle);
    return status;
}

static rp_status openvino_probe(struct rp_snapshot *snapshot, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    rp_error why = RP_ERROR_INIT;
    const struct rp_pci_device *cards = NULL;
    size_t count = 0;
    rp_status status = find(snapshot->root, path, &why);
    if (status == RP_OK && snapshot->root[0] == '\0') return RP_OK;
    if (status == RP_OK) {
        return rp_fail(err, RP_ERR_ABSENT, "the OpenVINO of a recorded machine cannot be asked");
    }
    if (status == RP_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    rp_status read = rp_pci_devices(snapshot, &cards, &count, err);
    if (read != RP_OK) return read;
    /* A choice that went wrong is told as it is; that nothing is installed, with what it is for. */
    bool is_chosen = snapshot->root[0] == '\0' && getenv(names.variable);
    char list[200] = "";
    for (size_t i = 0; i < count; i++) {
        char text[RP_PCI_TEXT_BYTES];
        size_t length = strlen(list);
        if (!is_gpu(&cards[i]) && !is_npu(&cards[i])) continue;
        snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? ", " : "; it would use ",
                 rp_pci_describe(&cards[i], text));
    }
    rp_fail(err, RP_ERR_ABSENT, "%s%s", is_chosen ? why.message : "OpenVINO is not installed",
            list);
    rp_hint(err, "%s",
            is_chosen ? why.hint
                      : "'pip install openvino' in the active Python, or name libopenvino_c.so in "
                        "RESOURCE_POOL_OPENVINO");
    return RP_ERR_ABSENT;
}

static rp_status openvino_refresh(struct rp_snapshot *snapshot, rp_device *device, rp_error *err) {
    (void)snapshot;
    const char *type = device->accelerator ? device->accelerator->type : NULL;
    if (type && strcmp(type, "cpu") == 0) return describe_processor(device, err);
    device->memory_bytes_free = RP_UNKNOWN_U64; /* of a moment that is past */
    return RP_OK;
}

const struct rp_device_ops rp_device_openvino = {
    .kind = RP_DEVICE_OPENVINO,
    .name = "openvino",
    .when = RP_ASK_SLOW,
    .probe = openvino_probe,
    .ask = openvino_ask,
    .refresh = openvino_refresh,
};
