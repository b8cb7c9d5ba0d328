/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qualcomm's NPU (Hexagon), reached through QNN. The system tells which chip this is and whether
 * the way to its signal processor is open; QNN is asked for its version, and whether it loads. QNN
 * also exists for other processors, where it only emulates: that is no NPU.
 */
#include "base/limits.h"
#include "base/status.h"
#include "hardware/child.h"
#include "hardware/describe.h"
#include "hardware/device.h"
#include "hardware/library.h"
#include "hardware/pci.h"
#include "hardware/python.h"
#include "hardware/qnn_abi.h"
#include "hardware/sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const qnn_sonames[] = {"libQnnHtp.so", NULL};
static const struct rp_library_names qnn_names = {"RESOURCE_POOL_QNN", qnn_sonames, NULL};
static const char *const snpe_sonames[] = {"libSNPE.so", NULL};
static const struct rp_library_names snpe_names = {NULL, snpe_sonames, NULL};

/* The folders of the SDK for the systems that it may be on, below what its variables name. */
static const char *const sdk_variables[] = {"QNN_SDK_ROOT", "QAIRT_SDK_ROOT"};
static const char *const sdk_folders[] = {
#if defined(__aarch64__)
    "lib/aarch64-oe-linux-gcc11.2",
    "lib/aarch64-ubuntu-gcc9.4",
    "lib/aarch64-oe-linux-gcc9.3",
    "lib/aarch64-android",
#else
    "lib/x86_64-linux-clang",
#endif
};

/* The ways to the compute processor: Linux has the first, Android the last. */
static const char *const ways[] = {"/dev/fastrpc-cdsp", "/dev/fastrpc-cdsp-secure",
                                   "/dev/adsprpc-smd"};

struct qnn {
    uint64_t (*get_providers)(const struct rp_qnn_interface ***providers, uint32_t *count);
};
static const struct rp_library_symbol qnn_symbols[] = {
    {"QnnInterface_getProviders", offsetof(struct qnn, get_providers), true},
    {NULL, 0, false},
};

/* What the system says about the chip; texts are "" when it says nothing. */
struct soc {
    bool is_qualcomm;
    char machine[64]; /* "SC8380XP"   */
    char family[64];  /* "Snapdragon" */
    char model[64];   /* the first of its names in the device tree: "qcom,x1e80100" */
};

/* The device tree's names, each ended by NUL, most special first. */
static void read_compatible(const char *root, struct soc *soc) {
    char text[1024];
    if (!rp_sysfs_text(root, text, sizeof text, "/sys/firmware/devicetree/base/compatible")) return;
    /* The reader ends the whole with NUL: two in a row are the end. */
    for (const char *at = text; at < text + sizeof text - 1 && *at; at += strlen(at) + 1) {
        if (strncmp(at, "qcom,", 5) != 0) continue;
        soc->is_qualcomm = true;
        if (soc->model[0] == '\0') snprintf(soc->model, sizeof soc->model, "%.63s", at);
    }
}

static void read_soc(const char *root, struct soc *soc) {
    *soc = (struct soc){.is_qualcomm = false};
    if (rp_sysfs_line(root, soc->family, sizeof soc->family, "/sys/devices/soc0/family") &&
        strcmp(soc->family, "Snapdragon") == 0) {
        soc->is_qualcomm = true;
    }
    if (!rp_sysfs_line(root, soc->machine, sizeof soc->machine, "/sys/devices/soc0/machine")) {
        soc->machine[0] = '\0';
    }
    read_compatible(root, soc);
}

/* Why the signal processor cannot be reached; false when it can. */
static bool is_unreachable(const char *root, char *reason, size_t reason_bytes) {
    if (root[0] != '\0' && !rp_sysfs_exists(root, "/dev")) return false;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char path[RP_LIMIT_NAME_BYTES];
        int length = snprintf(path, sizeof path, "%s%s", root, ways[i]);
        if (length < 0 || (size_t)length >= sizeof path) continue;
        if (access(path, R_OK | W_OK) == 0) return false;
        if (errno != EACCES && errno != EPERM) continue;
        snprintf(reason, reason_bytes, "no permission for %s", ways[i]);
        return true;
    }
    snprintf(reason, reason_bytes,
             "%s is not there: the kernel has no way to the NPU (FastRPC), or its firmware did not "
             "start",
             ways[0]);
    return true;
}

static bool find_in_sdk(const char *root, char path[RP_LIMIT_NAME_BYTES]) {
    for (size_t i = 0; root[0] == '\0' && i < sizeof sdk_variables / sizeof sdk_variables[0]; i++) {
        const char *sdk = getenv(sdk_variables[i]);
        for (size_t j = 0; sdk && j < sizeof sdk_folders / sizeof sdk_folders[0]; j++) {
            int length = snprintf(path, RP_LIMIT_NAME_BYTES, "%s/%s/%s", sdk, sdk_folders[j],
                                  qnn_sonames[0]);
            bool fits = length > 0 && length < RP_LIMIT_NAME_BYTES;
            if (fits && access(path, R_OK) == 0) return true;
        }
    }
    return false;
}

static rp_status find_qnn(const char *root, char path[RP_LIMIT_NAME_BYTES], rp_error *err) {
    const char *chosen = root[0] == '\0' ? getenv(qnn_names.variable) : NULL;
    if (chosen && chosen[0] != '\0') return rp_library_find(root, &qnn_names, path, err);
    if (find_in_sdk(root, path)) return RP_OK;
    if (rp_python_find(root, "onnxruntime/capi/libQnnHtp.so", path)) return RP_OK;
    return rp_library_find(root, &qnn_names, path, err);
}

static rp_status describe(struct rp_snapshot *snapshot, const struct soc *soc, rp_device **device,
                          rp_accelerator **accelerator, rp_error *err) {
    rp_status status =
        rp_describe_new(snapshot, RP_DEVICE_QUALCOMM, "qualcomm", device, accelerator, err);
    if (status != RP_OK) return status;
    (*accelerator)->type = "npu";
    (*accelerator)->vendor = "qualcomm";
    (*accelerator)->source = "sysfs";
    (*accelerator)->has_tensor_cores = RP_ANSWER_YES;
    (*accelerator)->is_integrated = RP_ANSWER_YES;
    const char *name = soc->machine[0] ? soc->machine : soc->model;
    status = rp_describe_print(snapshot, &(*device)->name, err, "Qualcomm Hexagon NPU%s%s%s",
                               name[0] ? " (" : "", name, name[0] ? ")" : "");
    return status == RP_OK ? rp_describe_precisions(snapshot, *accelerator, "int8", err) : status;
}

/* SNPE is the older way: with it alone the NPU could be used, but not by us. */
static const char *name_snpe(const char *root) {
    char path[RP_LIMIT_NAME_BYTES];
    rp_error ignored = RP_ERROR_INIT;
    return rp_library_find(root, &snpe_names, path, &ignored) == RP_OK
               ? "; SNPE is installed, but only QNN is used here"
               : "";
}

static rp_status add_unusable(struct rp_snapshot *snapshot, const struct soc *soc,
                              const char *reason, rp_error *err) {
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    rp_status status = describe(snapshot, soc, &device, &accelerator, err);
    if (status == RP_OK) status = rp_describe_unavailable(snapshot, device, reason, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status read_version(struct rp_snapshot *snapshot, const struct qnn *qnn,
                              rp_accelerator *accelerator, rp_error *err) {
    const struct rp_qnn_interface **providers = NULL;
    uint32_t count = 0;
    rp_child_step("QnnInterface_getProviders of libQnnHtp.so");
    uint64_t rc = qnn->get_providers(&providers, &count);
    if (rc != 0 || count == 0 || !providers || !providers[0]) {
        return rp_fail(err, RP_ERR_ABSENT,
                       "QNN names no interface (QnnInterface_getProviders: %llu)",
                       (unsigned long long)rc);
    }
    const struct rp_qnn_version *version = &providers[0]->core_version;
    if (version->major > 1000 || version->minor > 1000) {
        return rp_fail(err, RP_ERR_ABSENT,
                       "QNN says that its version is %u.%u.%u, which is not "
                       "believed",
                       version->major, version->minor, version->patch);
    }
    return rp_describe_print(snapshot, &accelerator->runtime_version, err, "%u.%u.%u",
                             version->major, version->minor, version->patch);
}

static rp_status ask_qnn(struct rp_snapshot *snapshot, const struct soc *soc, const char *path,
                         rp_error *err) {
    struct qnn qnn;
    void *handle = NULL;
    rp_error why = RP_ERROR_INIT;
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    rp_status status = describe(snapshot, soc, &device, &accelerator, err);
    if (status != RP_OK) return status;
    rp_status asked = rp_library_open(path, qnn_symbols, &qnn, &handle, &why);
    if (asked == RP_OK) asked = read_version(snapshot, &qnn, accelerator, &why);
    rp_library_close(handle);
    if (asked == RP_ERR_MEMORY) {
        if (err) *err = why;
        return asked;
    }
    accelerator->source = "qnn, sysfs";
    if (asked != RP_OK) status = rp_describe_unavailable(snapshot, device, why.message, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status qualcomm_ask(struct rp_snapshot *snapshot, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    char reason[512];
    struct soc soc;
    rp_error why = RP_ERROR_INIT;
    read_soc(snapshot->root, &soc);
    rp_status status = find_qnn("", path, &why);
    if (status == RP_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    if (status != RP_OK) {
        snprintf(reason, sizeof reason, "%s%s", why.message, name_snpe(""));
        return add_unusable(snapshot, &soc, reason, err);
    }
    if (is_unreachable(snapshot->root, reason, sizeof reason)) {
        return add_unusable(snapshot, &soc, reason, err);
    }
    return ask_qnn(snapshot, &soc, path, err);
}

/* No such chip: because it is none, or a card of another kind. */
static rp_status fail_absent(struct rp_snapshot *snapshot, rp_error *err) {
    const struct rp_pci_device *cards = NULL;
    size_t count = 0;
    char path[RP_LIMIT_NAME_BYTES];
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    if (status != RP_OK) return status;
    for (size_t i = 0; i < count; i++) {
        char text[RP_PCI_TEXT_BYTES];
        if (cards[i].vendor != RP_PCI_QUALCOMM) continue;
        return rp_fail(err, RP_ERR_ABSENT, "%s is there, but QNN does not drive it",
                       rp_pci_describe(&cards[i], text));
    }
    rp_error why = RP_ERROR_INIT;
    status = find_qnn(snapshot->root, path, &why);
    if (status == RP_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    if (status == RP_OK) {
        return rp_fail(err, RP_ERR_ABSENT,
                       "QNN is installed ('%.100s'), but this is no Qualcomm processor: here it "
                       "only emulates",
                       path);
    }
    return rp_fail(err, RP_ERR_ABSENT, "this is no Qualcomm processor");
}

static rp_status qualcomm_probe(struct rp_snapshot *snapshot, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    char reason[512] = "";
    struct soc soc;
    read_soc(snapshot->root, &soc);
    if (!soc.is_qualcomm) return fail_absent(snapshot, err);
    if (snapshot->root[0] == '\0') return RP_OK;
    /* A recorded machine: what stands in its files. */
    rp_error why = RP_ERROR_INIT;
    rp_status status = find_qnn(snapshot->root, path, &why);
    if (status == RP_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    if (status != RP_OK) {
        snprintf(reason, sizeof reason, "%s%s", why.message, name_snpe(snapshot->root));
        return add_unusable(snapshot, &soc, reason, err);
    }
    if (is_unreachable(snapshot->root, reason, sizeof reason)) {
        return add_unusable(snapshot, &soc, reason, err);
    }
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    status = describe(snapshot, &soc, &device, &accelerator, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

const struct rp_device_ops rp_device_qualcomm = {
    .kind = RP_DEVICE_QUALCOMM,
    .name = "qnn",
    .when = RP_ASK_DRIVER,
    .probe = qualcomm_probe,
    .ask = qualcomm_ask,
};
