/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/identity.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/browser.h"
#include "hardware/pci.h"
#include "hardware/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The first that can be read. The last changes with each start, which is safe if not thrifty. */
static const char *const machine_files[] = {
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/sys/class/dmi/id/product_uuid",
    "/proc/sys/kernel/random/boot_id",
};

/* Versions of the kernel, whose own drivers come with it, and of drivers that come apart. */
static const char *const version_files[] = {
    "/proc/sys/kernel/osrelease",    "/proc/driver/nvidia/version", "/sys/module/nvidia/version",
    "/sys/module/amdgpu/version",    "/sys/module/i915/version",    "/sys/module/xe/version",
    "/sys/module/intel_vpu/version", "/sys/module/amdxdna/version", "/sys/module/apex/version",
};

#define KIND(name) (1U << RP_DEVICE_##name)
enum { ANY_KIND = (1U << RP_DEVICE_KIND_COUNT) - 1 };

/* What changes an answer, and to whose. */
static const struct {
    const char *name;
    unsigned kinds;
} variables[] = {
    {"LD_LIBRARY_PATH", ANY_KIND},
    {"PATH", KIND(OPENVINO) | KIND(WEBNN) | KIND(WEBGPU)},
    {"VIRTUAL_ENV", KIND(OPENVINO) | KIND(TPU)},
    {"CONDA_PREFIX", KIND(OPENVINO) | KIND(TPU)},
    {"CUDA_VISIBLE_DEVICES", KIND(CUDA)},
    {"CUDA_DEVICE_ORDER", KIND(CUDA)},
    {"NVIDIA_VISIBLE_DEVICES", KIND(CUDA)},
    {"RESOURCE_POOL_CUDA", KIND(CUDA)},
    {"RESOURCE_POOL_NVML", KIND(CUDA)},
    {"HIP_VISIBLE_DEVICES", KIND(ROCM)},
    {"ROCR_VISIBLE_DEVICES", KIND(ROCM)},
    {"GPU_DEVICE_ORDINAL", KIND(ROCM)},
    {"HSA_OVERRIDE_GFX_VERSION", KIND(ROCM)},
    {"ZE_AFFINITY_MASK", KIND(OPENVINO)},
    {"RESOURCE_POOL_OPENVINO", KIND(OPENVINO)},
    {"RESOURCE_POOL_LEVEL_ZERO", KIND(OPENVINO)},
    {"RESOURCE_POOL_HIP", KIND(ROCM)},
    {"RESOURCE_POOL_QNN", KIND(QUALCOMM)},
    {"ADSP_LIBRARY_PATH", KIND(QUALCOMM)},
    {"QNN_SDK_ROOT", KIND(QUALCOMM)},
    {"TPU_LIBRARY_PATH", KIND(TPU)},
    {"TPU_VISIBLE_CHIPS", KIND(TPU)},
    {"CHROME_PATH", KIND(WEBNN) | KIND(WEBGPU)},
    {"WEBNN_SIMULATION", KIND(WEBNN)},
    {"WEBGPU_SIMULATION", KIND(WEBGPU)},
    {"RESOURCE_POOL_VULKAN", KIND(WEBNN) | KIND(WEBGPU)},
    {"VK_ICD_FILENAMES", KIND(WEBNN) | KIND(WEBGPU)},
    {"VK_DRIVER_FILES", KIND(WEBNN) | KIND(WEBGPU)},
};

/* What is installed with a package manager changes one of these. */
static const char *const installed[] = {
    "/etc/ld.so.cache",
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/etc/OpenCL/vendors",
};

/* Whatever is fed is told from its neighbour: the end of each piece is fed too. */
static void feed(XXH3_state_t *state, const void *bytes, size_t length) {
    XXH3_128bits_update(state, &length, sizeof length);
    if (length > 0) XXH3_128bits_update(state, bytes, length);
}

/* The content of a file, or that there is none. */
static rp_status feed_file(XXH3_state_t *state, const char *root, const char *path, bool *is_there,
                           rp_error *err) {
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read_start(&file, root, path, err);
    if (status == RP_OK) {
        struct rp_span text = rp_span_trim((struct rp_span){file.bytes, file.length});
        *is_there = file.bytes && text.length > 0;
        feed(state, path, strlen(path));
        feed(state, text.at, *is_there ? text.length : 0);
    }
    rp_proc_file_fini(&file);
    return status;
}

/* The cards that compute, and who drives them; the rest of the bus may come and go. */
static rp_status feed_cards(XXH3_state_t *state, struct rp_snapshot *snapshot, rp_error *err) {
    const struct rp_pci_device *devices = NULL;
    size_t count = 0;
    rp_status status = rp_pci_devices(snapshot, &devices, &count, err);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        const uint32_t numbers[] = {devices[i].vendor, devices[i].device};
        feed(state, devices[i].address, strlen(devices[i].address));
        feed(state, numbers, sizeof numbers);
        feed(state, devices[i].driver, strlen(devices[i].driver));
    }
    return status;
}

/* Which file it is and of when: an upgrade, or another file in its place, changes that. */
static void feed_stamp(XXH3_state_t *state, const char *path) {
    struct stat found;
    if (stat(path, &found) != 0) memset(&found, 0, sizeof found);
    const int64_t stamp[] = {found.st_mtim.tv_sec, found.st_mtim.tv_nsec, (int64_t)found.st_ino,
                             (int64_t)found.st_size};
    feed(state, stamp, sizeof stamp);
}

/* The programs that would be asked. */
static rp_status feed_browsers(XXH3_state_t *state, rp_error *err) {
    struct rp_browsers *browsers = rp_alloc(sizeof *browsers);
    if (!browsers) return rp_fail_no_memory(err);
    rp_browsers_find(browsers);
    for (size_t i = 0; i < browsers->count; i++) {
        feed(state, browsers->browsers[i].path, strlen(browsers->browsers[i].path));
        feed_stamp(state, browsers->browsers[i].path);
    }
    rp_free(browsers);
    return RP_OK;
}

static void finish(const XXH3_state_t *state, char out[RP_IDENTITY_BYTES]) {
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    snprintf(out, RP_IDENTITY_BYTES, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

rp_status rp_identity_machine(struct rp_snapshot *snapshot, char out[RP_IDENTITY_BYTES],
                              rp_error *err) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    rp_status status = RP_OK;
    bool is_there = false;
    for (size_t i = 0; i < sizeof machine_files / sizeof machine_files[0] && !is_there; i++) {
        status = feed_file(&state, snapshot->root, machine_files[i], &is_there, err);
        if (status != RP_OK) return status;
    }
    for (size_t i = 0; i < sizeof version_files / sizeof version_files[0]; i++) {
        status = feed_file(&state, snapshot->root, version_files[i], &is_there, err);
        if (status != RP_OK) return status;
    }
    status = feed_cards(&state, snapshot, err);
    if (status == RP_OK) finish(&state, out);
    return status;
}

rp_status rp_identity_conditions(const struct rp_snapshot *snapshot, rp_device_kind kind,
                                 char out[RP_IDENTITY_BYTES], rp_error *err) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        if (!(variables[i].kinds & (1U << kind))) continue;
        /* Not set, and set to nothing, differ: the latter hides every card. */
        const char *value = getenv(variables[i].name);
        feed(&state, variables[i].name, strlen(variables[i].name));
        feed(&state, value ? "is" : "no", 2);
        if (value) feed(&state, value, strlen(value));
    }
    for (size_t i = 0; i < sizeof installed / sizeof installed[0]; i++) {
        char path[RP_LIMIT_NAME_BYTES + 64];
        snprintf(path, sizeof path, "%s%s", snapshot->root, installed[i]);
        feed_stamp(&state, path);
    }
    bool is_browser = kind == RP_DEVICE_WEBNN || kind == RP_DEVICE_WEBGPU;
    rp_status status = RP_OK;
    if (is_browser && snapshot->root[0] == '\0') status = feed_browsers(&state, err);
    if (status == RP_OK) finish(&state, out);
    return status;
}
