/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/cuda_driver.h"

#include "base/status.h"
#include "hardware/child.h"
#include "hardware/pci.h"

#include <stdio.h>
#include <string.h>

static const char *const sonames[] = {"libcuda.so.1", NULL};
static const char *const folders[] = {
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib/aarch64-linux-gnu/tegra",
    "/home/kubernetes/bin/nvidia/lib64",
    NULL,
};
const struct rp_library_names rp_cuda_library = {
    .variable = "RESOURCE_POOL_CUDA",
    .sonames = sonames,
    .folders = folders,
};

#define FIELD(required, function, arguments) int(*function) arguments;
struct cuda {
    RP_CUDA_FUNCTIONS(FIELD)
};

#define SYMBOL(required, function, arguments)                                                      \
    {#function, offsetof(struct cuda, function), required},
static const struct rp_library_symbol symbols[] = {RP_CUDA_FUNCTIONS(SYMBOL){0}};

#define ASK(cuda, function, ...)                                                                   \
    ((cuda)->function                                                                              \
         ? (rp_child_step(#function " of libcuda.so.1"), (cuda)->function(__VA_ARGS__))            \
         : RP_CUDA_FUNCTION_NOT_FOUND)

/* clang-format off */
const struct rp_nvml_result rp_cuda_results[] = {
    {1, "it does not accept an argument", NULL},
    {2, "it has no memory", NULL},
    {3, "it was not initialised", NULL},
    {34, "the library is a stub, made for linking only", "take the folder with 'stubs' out of LD_LIBRARY_PATH"},
    {46, "the GPU is in use by others alone, or not available", "'nvidia-smi -q -d COMPUTE' shows its compute mode"},
    {100, "no GPU that CUDA can use was found", NULL},
    {101, "it does not know this GPU", NULL},
    {214, "a GPU has an error in its memory that cannot be corrected", "'nvidia-smi --gpu-reset', or restart the machine"},
    {300, "the driver's files are damaged", "reinstall the driver"},
    {302, "a library of the driver lacks a symbol", "reinstall the driver"},
    {303, "a library of the driver cannot be opened", "reinstall the driver"},
    {304, "the operating system refused a call", "in a container: give it the device ('docker run --gpus all')"},
    {500, "it does not have this function", NULL},
    {800, "this user may not do that", NULL},
    {801, "this system does not support it", NULL},
    {802, "the system is not ready: its GPUs are connected by NVSwitch, which nothing has set up", "start the service nvidia-fabricmanager, of the driver's version"},
    {803, "the kernel's driver and the library are of different versions", "restart the machine, or reload the kernel's driver after its update"},
    {804, "the compatibility library of a newer CUDA does not work on this GPU", "take the folder 'compat' out of LD_LIBRARY_PATH"},
    {805, "the MPS daemon cannot be reached", "restart nvidia-cuda-mps-control"},
    {806, "the MPS daemon does not answer as it should", "restart nvidia-cuda-mps-control"},
    {807, "the MPS daemon is not ready", NULL},
    {808, "the MPS daemon has as many clients as it takes", NULL},
    {999, "its driver met an internal error", "reload the module nvidia_uvm; look into the kernel's log ('dmesg')"},
};
/* clang-format on */
const size_t rp_cuda_result_count = sizeof rp_cuda_results / sizeof rp_cuda_results[0];

static rp_status fail_call(rp_error *err, const char *what, int number) {
    for (size_t i = 0; i < rp_cuda_result_count; i++) {
        const struct rp_nvml_result *result = &rp_cuda_results[i];
        if (result->number != number) continue;
        rp_fail(err, RP_ERR_ABSENT, "CUDA cannot %s: %s", what, result->meaning);
        if (result->hint) rp_hint(err, "%s", result->hint);
        return RP_ERR_ABSENT;
    }
    return rp_fail(err, RP_ERR_ABSENT, "CUDA cannot %s: error %d", what, number);
}

void rp_cuda_format_uuid(const char *start, const unsigned char bytes[16],
                         char out[RP_CUDA_UUID_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    size_t at = strlen(start);
    memcpy(out, start, at);
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
        out[at++] = digits[bytes[i] >> 4];
        out[at++] = digits[bytes[i] & 15];
    }
    out[at] = '\0';
}

static bool read_attribute(const struct cuda *cuda, int device, int attribute, int least, int most,
                           int *value) {
    int told = least - 1;
    int rc = ASK(cuda, cuDeviceGetAttribute, &told, attribute, device);
    if (rc != RP_CUDA_SUCCESS || told < least || told > most) return false;
    *value = told;
    return true;
}

static rp_answer read_answer(const struct cuda *cuda, int device, int attribute) {
    int value;
    if (!read_attribute(cuda, device, attribute, 0, 1, &value)) return RP_ANSWER_UNKNOWN;
    return value == 1 ? RP_ANSWER_YES : RP_ANSWER_NO;
}

static void read_uuid(const struct cuda *cuda, int number, struct rp_cuda_device *device) {
    struct rp_cuda_uuid uuid = {{0}};
    static const struct rp_cuda_uuid nothing = {{0}};
    /* The second version names the slice of a divided GPU, the first one the whole GPU. */
    int rc = ASK(cuda, cuDeviceGetUuid_v2, &uuid, number);
    if (rc == RP_CUDA_FUNCTION_NOT_FOUND) rc = ASK(cuda, cuDeviceGetUuid, &uuid, number);
    device->has_uuid = rc == RP_CUDA_SUCCESS && memcmp(&uuid, &nothing, sizeof uuid) != 0;
    memcpy(device->uuid, uuid.bytes, sizeof device->uuid);
}

static void read_device(const struct cuda *cuda, int number, struct rp_cuda_device *device) {
    *device = (struct rp_cuda_device){
        .memory_bytes_total = RP_UNKNOWN_U64,
        .compute_unit_count = RP_UNKNOWN_U32,
    };
    int value;
    if (ASK(cuda, cuDeviceGetName, device->name, RP_NVML_NAME_BYTES, number) != RP_CUDA_SUCCESS) {
        device->name[0] = '\0';
    }
    device->name[RP_NVML_NAME_BYTES] = '\0';
    read_uuid(cuda, number, device);
    char address[32] = "";
    int rc = ASK(cuda, cuDeviceGetPCIBusId, address, (int)sizeof address - 1, number);
    if (rc != RP_CUDA_SUCCESS || !rp_pci_parse_address(address, device->pci_address)) {
        device->pci_address[0] = '\0';
    }
    size_t bytes = 0;
    rc = ASK(cuda, cuDeviceTotalMem_v2, &bytes, number);
    if (rc == RP_CUDA_SUCCESS && bytes > 0 && bytes < (size_t)1 << 50) {
        device->memory_bytes_total = bytes;
    }
    if (read_attribute(cuda, number, RP_CUDA_MULTIPROCESSOR_COUNT, 1, 100000, &value)) {
        device->compute_unit_count = (uint32_t)value;
    }
    device->is_integrated = read_answer(cuda, number, RP_CUDA_INTEGRATED);
    device->is_ecc_enabled = read_answer(cuda, number, RP_CUDA_ECC_ENABLED);
    int major;
    int minor;
    if (read_attribute(cuda, number, RP_CUDA_CAPABILITY_MAJOR, 1, 99, &major) &&
        read_attribute(cuda, number, RP_CUDA_CAPABILITY_MINOR, 0, 9, &minor)) {
        device->capability_major = major;
        device->capability_minor = minor;
    }
}

static rp_status read_devices(const struct cuda *cuda, struct rp_cuda_devices *devices,
                              rp_error *err) {
    int version = 0;
    /* Before cuInit(), as it tells even where that fails. */
    int rc = ASK(cuda, cuDriverGetVersion, &version);
    if (rc == RP_CUDA_SUCCESS && version >= 1000 && version < 1000000) {
        devices->version = (uint32_t)version;
    }
    rc = ASK(cuda, cuInit, 0);
    if (rc == RP_CUDA_NO_DEVICE) return RP_OK;
    if (rc == RP_CUDA_NOT_INITIALIZED) {
        devices->is_spoilt_by_fork = true;
        return RP_OK;
    }
    if (rc != RP_CUDA_SUCCESS) return fail_call(err, "start", rc);
    int count = 0;
    rc = ASK(cuda, cuDeviceGetCount, &count);
    if (rc == RP_CUDA_NO_DEVICE) return RP_OK;
    if (rc != RP_CUDA_SUCCESS) return fail_call(err, "count GPUs", rc);
    if (count < 0 || count > RP_NVIDIA_GPUS_MAX) {
        return rp_fail(err, RP_ERR_DATA, "CUDA counts %d GPUs, which no machine has", count);
    }
    for (int i = 0; i < count; i++) {
        int number = -1;
        rc = ASK(cuda, cuDeviceGet, &number, i);
        if (rc != RP_CUDA_SUCCESS) return fail_call(err, "reach a GPU", rc);
        read_device(cuda, number, &devices->devices[devices->count++]);
    }
    return RP_OK;
}

rp_status rp_cuda_driver_read(const char *path, struct rp_cuda_devices *devices, rp_error *err) {
    struct cuda cuda;
    void *handle = NULL;
    devices->version = RP_UNKNOWN_U32;
    devices->count = 0;
    devices->is_spoilt_by_fork = false;
    rp_child_step("the loader, opening libcuda.so.1");
    rp_status status = rp_library_open(path, symbols, &cuda, &handle, err);
    if (status != RP_OK) return status;
    /* It stays open: it starts threads and is not made to be unloaded; the child ends soon. */
    return read_devices(&cuda, devices, err);
}
