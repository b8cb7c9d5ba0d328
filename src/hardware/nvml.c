/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML is asked for each figure by a call of its own, most of which a GPU or a driver may not
 * support: such a figure is unknown. What it answers is checked against what a GPU can be: a free
 * memory above the total, 500 degrees or a name without an end are unknown as well.
 */
#include "hardware/nvml.h"

#include "base/memory.h"
#include "base/status.h"
#include "hardware/child.h"
#include "hardware/pci.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const sonames[] = {"libnvidia-ml.so.1", NULL};
static const char *const folders[] = {
    "/usr/local/nvidia/lib64", /* a container of a cluster, mounted by its plugin */
    "/usr/local/nvidia/lib",
    "/usr/lib/wsl/lib", /* Linux on Windows */
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia", /* Jetson */
    "/home/kubernetes/bin/nvidia/lib64",
    NULL,
};
const struct rp_library_names rp_nvml_library = {
    .variable = "RESOURCE_POOL_NVML",
    .sonames = sonames,
    .folders = folders,
};

#define FIELD(required, function, arguments) int(*function) arguments;
struct nvml {
    RP_NVML_FUNCTIONS(FIELD)
};

#define SYMBOL(required, function, arguments)                                                      \
    {#function, offsetof(struct nvml, function), required},
static const struct rp_library_symbol symbols[] = {RP_NVML_FUNCTIONS(SYMBOL){0}};

/* A call, or the answer of a library that does not have it. */
#define ASK(nvml, function, ...)                                                                   \
    ((nvml)->function                                                                              \
         ? (rp_child_step(#function " of libnvidia-ml.so.1"), (nvml)->function(__VA_ARGS__))       \
         : RP_NVML_FUNCTION_NOT_FOUND)

/* clang-format off */
const struct rp_nvml_result rp_nvml_results[] = {
    {1, "it was not initialised", NULL},
    {2, "it does not accept an argument", NULL},
    {3, "this GPU or driver does not support it", NULL},
    {4, "this user may not do that", "look at the permissions of /dev/nvidiactl and /dev/nvidia0"},
    {6, "it does not find a GPU", NULL},
    {8, "a GPU's power cables are not attached", "connect them"},
    {9, "the kernel's driver 'nvidia' is not loaded", "'modprobe nvidia', or reinstall the driver for this kernel"},
    {10, "it timed out", NULL},
    {11, "the kernel met a problem with the interrupts of a GPU", "look into the kernel's log ('dmesg')"},
    {12, "a library of the driver is missing", "reinstall the driver"},
    {13, "it does not have this function", NULL},
    {14, "the memory that describes the GPU (infoROM) is damaged", NULL},
    {15, "the GPU is lost: it fell off the bus or cannot be reached", "restart the machine; look into the kernel's log for 'Xid'"},
    {16, "the GPU must be reset before it can be used", "'nvidia-smi --gpu-reset', or restart the machine"},
    {17, "the operating system does not let this process reach the GPU", "in a container: give it the device ('docker run --gpus all')"},
    {18, "the kernel's driver and the library are of different versions", "restart the machine, or reload the kernel's driver after its update"},
    {19, "the GPU is in use", NULL},
    {20, "it has no memory", NULL},
    {21, "it has no data", NULL},
    {23, "it has no resources left", NULL},
    {25, "it is of another version", NULL},
    {26, "it does not offer this any more", NULL},
    {27, "the system is not ready", NULL},
    {28, "no GPU was found", NULL},
    {29, "the GPU is not in a state for it", NULL},
    {999, "its driver met an internal error", "look into the kernel's log ('dmesg')"},
};
const size_t rp_nvml_result_count = sizeof rp_nvml_results / sizeof rp_nvml_results[0];

static const struct {
    unsigned long long bit;
    const char *name;
} throttle_bits[] = {
    {0x002, "application_clocks"}, {0x004, "power_cap"},        {0x008, "hardware_slowdown"},
    {0x010, "sync_boost"},         {0x020, "thermal_slowdown"}, {0x040, "hardware_thermal_slowdown"},
    {0x080, "power_brake"},        {0x100, "display_clocks"}, /* 0x001 is: idle */
};
/* clang-format on */

static const struct rp_nvml_result *find_result(int number) {
    for (size_t i = 0; i < rp_nvml_result_count; i++) {
        if (rp_nvml_results[i].number == number) return &rp_nvml_results[i];
    }
    return NULL;
}

static rp_status fail_call(rp_error *err, const char *what, int number) {
    const struct rp_nvml_result *result = find_result(number);
    if (!result) {
        return rp_fail(err, RP_ERR_ABSENT, "NVML cannot %s: error %d", what, number);
    }
    rp_fail(err, RP_ERR_ABSENT, "NVML cannot %s: %s", what, result->meaning);
    if (result->hint) rp_hint(err, "%s", result->hint);
    return RP_ERR_ABSENT;
}

/* A text that a driver wrote into a buffer, ended or not; NULL when it is empty. */
static rp_status keep_text(struct rp_snapshot *snapshot, const char *bytes, size_t size,
                           const char **field, rp_error *err) {
    size_t length = strnlen(bytes, size);
    if (length == 0) return RP_OK;
    const char *text = rp_snapshot_text(snapshot, bytes, length);
    if (!text) return rp_fail_no_memory(err);
    *field = text;
    return RP_OK;
}

/* "GPU-" or "MIG-" and what a uuid is made of; the old form of a slice has '/' and numbers. */
static bool is_uuid(const char *text, size_t size) {
    size_t length = strnlen(text, size);
    if (length < 8 || length == size) return false;
    if (memcmp(text, "GPU-", 4) != 0 && memcmp(text, "MIG-", 4) != 0) return false;
    for (size_t i = 4; i < length; i++) {
        if (!isxdigit((unsigned char)text[i]) && !strchr("-/GPU", text[i])) return false;
    }
    return true;
}

static bool is_memory(unsigned long long bytes) {
    return bytes > 0 && bytes < (1ULL << 50);
}

/* Total and free, where they are possible; returns what the first call said. */
static int read_memory(const struct nvml *nvml, rp_nvml_handle gpu, uint64_t *total,
                       uint64_t *free_bytes) {
    struct rp_nvml_memory_v2 memory = {.version = RP_NVML_MEMORY_V2};
    int rc = ASK(nvml, nvmlDeviceGetMemoryInfo_v2, gpu, &memory);
    if (rc == RP_NVML_SUCCESS) {
        /* What the driver keeps for itself no program can have. */
        if (memory.reserved < memory.total) memory.total -= memory.reserved;
    } else if (rc != RP_NVML_GPU_IS_LOST && rc != RP_NVML_RESET_REQUIRED) {
        struct rp_nvml_memory old = {0};
        rc = ASK(nvml, nvmlDeviceGetMemoryInfo, gpu, &old);
        memory.total = old.total;
        memory.free = old.free;
    }
    *total = *free_bytes = RP_UNKNOWN_U64;
    if (rc != RP_NVML_SUCCESS) return rc;
    if (is_memory(memory.total)) *total = memory.total;
    if (is_memory(memory.total) && memory.free <= memory.total) *free_bytes = memory.free;
    return rc;
}

/* --- processes ----------------------------------------------------------------------------- */

struct process_list {
    struct rp_nvml_process *rows; /* room for RP_NVIDIA_PROCESSES_MAX, and as much again: one
                                     driver wrote larger rows than it declared */
    size_t count;
    bool is_known;
};

typedef int list_function(rp_nvml_handle, unsigned int *, struct rp_nvml_process *);
typedef int list_function_v1(rp_nvml_handle, unsigned int *, struct rp_nvml_process_v1 *);

/* Through the newest of three functions that is there. */
static int list_processes(rp_nvml_handle gpu, list_function *newest, list_function *newer,
                          list_function_v1 *old, struct rp_nvml_process *rows,
                          unsigned int *count) {
    *count = RP_NVIDIA_PROCESSES_MAX;
    rp_child_step("a list of processes from libnvidia-ml.so.1");
    if (newest) return newest(gpu, count, rows);
    if (newer) return newer(gpu, count, rows);
    if (!old) return RP_NVML_FUNCTION_NOT_FOUND;
    struct rp_nvml_process_v1 *old_rows = (struct rp_nvml_process_v1 *)(void *)rows;
    int rc = old(gpu, count, old_rows);
    if (rc != RP_NVML_SUCCESS || *count > RP_NVIDIA_PROCESSES_MAX) return rc;
    for (size_t i = *count; i-- > 0;) { /* the new rows are larger: from the end */
        struct rp_nvml_process_v1 row = old_rows[i];
        rows[i] = (struct rp_nvml_process){.pid = row.pid, .memory = row.memory};
    }
    return rc;
}

/* A process with several contexts, or in both lists, is one. False: these are no processes. */
static bool merge(struct process_list *list, const struct rp_nvml_process *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (rows[i].pid == 0 || rows[i].pid > (1u << 22))
            return false; /* of Linux: PID_MAX_LIMIT */
        size_t at = 0;
        while (at < list->count && list->rows[at].pid != rows[i].pid) {
            at++;
        }
        if (at == list->count) {
            if (list->count == RP_NVIDIA_PROCESSES_MAX) return false;
            list->rows[list->count++] = rows[i];
        } else if (rows[i].memory != UINT64_MAX && (list->rows[at].memory == UINT64_MAX ||
                                                    list->rows[at].memory < rows[i].memory)) {
            list->rows[at].memory = rows[i].memory;
        }
    }
    return true;
}

static rp_status put_processes(struct rp_snapshot *snapshot, const struct nvml *nvml,
                               const struct process_list *list, uint64_t memory_max,
                               rp_accelerator *accelerator, rp_error *err) {
    const rp_device_process **processes =
        rp_snapshot_alloc(snapshot, (list->count + 1) * sizeof *processes);
    if (!processes) return rp_fail_no_memory(err);
    size_t count = list->count < RP_LIMIT_DEVICES ? list->count : RP_LIMIT_DEVICES;
    for (size_t i = 0; i < count; i++) {
        rp_device_process *process = rp_snapshot_alloc(snapshot, sizeof *process);
        if (!process) return rp_fail_no_memory(err);
        bool is_possible = list->rows[i].memory <= memory_max && list->rows[i].memory <= INT64_MAX;
        *process = (rp_device_process){
            .size = sizeof *process,
            .pid = list->rows[i].pid,
            .memory_bytes = is_possible ? list->rows[i].memory : RP_UNKNOWN_U64,
        };
        char name[256] = "";
        if (ASK(nvml, nvmlSystemGetProcessName, process->pid, name, sizeof name) ==
            RP_NVML_SUCCESS) {
            rp_status status = keep_text(snapshot, name, sizeof name, &process->name, err);
            if (status != RP_OK) return status;
        }
        processes[i] = process;
    }
    accelerator->processes = processes;
    accelerator->process_count = count;
    return RP_OK;
}

static rp_status read_processes(struct rp_snapshot *snapshot, const struct nvml *nvml,
                                rp_nvml_handle gpu, uint64_t memory_max,
                                rp_accelerator *accelerator, rp_error *err) {
    struct process_list list = {0};
    accelerator->processes = NULL;
    accelerator->process_count = 0;
    list.rows = rp_alloc_array((size_t)2 * RP_NVIDIA_PROCESSES_MAX, sizeof *list.rows);
    struct rp_nvml_process *rows =
        rp_alloc_array((size_t)2 * RP_NVIDIA_PROCESSES_MAX, sizeof *rows);
    rp_status status = list.rows && rows ? RP_OK : rp_fail_no_memory(err);
    for (int graphics = 0; status == RP_OK && graphics < 2; graphics++) {
        unsigned int count;
        int rc = graphics
                     ? list_processes(gpu, nvml->nvmlDeviceGetGraphicsRunningProcesses_v3,
                                      nvml->nvmlDeviceGetGraphicsRunningProcesses_v2,
                                      nvml->nvmlDeviceGetGraphicsRunningProcesses, rows, &count)
                     : list_processes(gpu, nvml->nvmlDeviceGetComputeRunningProcesses_v3,
                                      nvml->nvmlDeviceGetComputeRunningProcesses_v2,
                                      nvml->nvmlDeviceGetComputeRunningProcesses, rows, &count);
        if (rc != RP_NVML_SUCCESS) continue;
        list.is_known = count <= RP_NVIDIA_PROCESSES_MAX && merge(&list, rows, count);
        if (!list.is_known) break;
    }
    if (status == RP_OK && list.is_known) {
        status = put_processes(snapshot, nvml, &list, memory_max, accelerator, err);
    }
    rp_free(rows);
    rp_free(list.rows);
    return status;
}

/* --- one GPU ------------------------------------------------------------------------------- */

static rp_status read_throttling(struct rp_snapshot *snapshot, const struct nvml *nvml,
                                 rp_nvml_handle gpu, rp_accelerator *accelerator, rp_error *err) {
    unsigned long long bits = 0;
    accelerator->throttle_reasons = NULL;
    accelerator->throttle_reason_count = 0;
    int rc = ASK(nvml, nvmlDeviceGetCurrentClocksEventReasons, gpu, &bits);
    if (rc == RP_NVML_FUNCTION_NOT_FOUND) {
        rc = ASK(nvml, nvmlDeviceGetCurrentClocksThrottleReasons, gpu, &bits);
    }
    if (rc != RP_NVML_SUCCESS) return RP_OK;
    const char *reasons[sizeof throttle_bits / sizeof throttle_bits[0]];
    size_t count = 0;
    for (size_t i = 0; i < sizeof throttle_bits / sizeof throttle_bits[0]; i++) {
        if (bits & throttle_bits[i].bit) reasons[count++] = throttle_bits[i].name;
    }
    const char *const *copies = rp_snapshot_texts(snapshot, reasons, count);
    if (!copies) return rp_fail_no_memory(err);
    accelerator->throttle_reasons = copies;
    accelerator->throttle_reason_count = count;
    return RP_OK;
}

/* Whether the first call says that the GPU cannot be used any more. */
static rp_status note_loss(struct rp_snapshot *snapshot, rp_device *device, int rc, rp_error *err) {
    const struct rp_nvml_result *result = find_result(rc);
    bool is_lost = rc == RP_NVML_GPU_IS_LOST || rc == RP_NVML_RESET_REQUIRED;
    device->available = !is_lost;
    device->reason = NULL;
    if (!is_lost || !result) return RP_OK;
    device->reason = rp_snapshot_text(snapshot, result->meaning, strlen(result->meaning));
    return device->reason ? RP_OK : rp_fail_no_memory(err);
}

static rp_status read_moving(struct rp_snapshot *snapshot, const struct nvml *nvml,
                             rp_nvml_handle gpu, rp_device *device, rp_accelerator *accelerator,
                             rp_error *err) {
    uint64_t total;
    int rc = read_memory(nvml, gpu, &total, &device->memory_bytes_free);
    rp_status status = note_loss(snapshot, device, rc, err);
    if (status != RP_OK || !device->available) return status;
    if (total != RP_UNKNOWN_U64) device->memory_bytes_total = total;
    struct rp_nvml_utilization utilization = {0};
    rc = ASK(nvml, nvmlDeviceGetUtilizationRates, gpu, &utilization);
    accelerator->utilization_percent =
        rc == RP_NVML_SUCCESS && utilization.gpu <= 100 ? utilization.gpu : RP_UNKNOWN_U32;
    unsigned int celsius = 0;
    rc = ASK(nvml, nvmlDeviceGetTemperature, gpu, RP_NVML_TEMPERATURE_GPU, &celsius);
    accelerator->temperature_celsius =
        rc == RP_NVML_SUCCESS && celsius > 0 && celsius < 150 ? celsius : RP_UNKNOWN_U32;
    unsigned long long errors = 0;
    rc = ASK(nvml, nvmlDeviceGetTotalEccErrors, gpu, RP_NVML_MEMORY_ERROR_UNCORRECTED,
             RP_NVML_VOLATILE_ECC, &errors);
    accelerator->ecc_error_count =
        rc == RP_NVML_SUCCESS && errors < (1ULL << 48) ? errors : RP_UNKNOWN_U64;
    status = read_throttling(snapshot, nvml, gpu, accelerator, err);
    if (status != RP_OK) return status;
    return read_processes(snapshot, nvml, gpu, device->memory_bytes_total, accelerator, err);
}

static rp_answer answer_of(int rc, int mode) {
    if (rc != RP_NVML_SUCCESS || mode < 0 || mode > 1) return RP_ANSWER_UNKNOWN;
    return mode == 1 ? RP_ANSWER_YES : RP_ANSWER_NO;
}

/* "NVIDIA A100-SXM4-40GB MIG 1g.5gb" ends with the profile. */
static const char *profile_in(const char *name) {
    const char *found = strstr(name, " MIG ");
    return found ? found + 5 : "";
}

static rp_status read_slice(struct rp_snapshot *snapshot, const struct nvml *nvml,
                            rp_nvml_handle handle, rp_slice **out, rp_error *err) {
    rp_slice *slice = rp_snapshot_alloc(snapshot, sizeof *slice);
    if (!slice) return rp_fail_no_memory(err);
    *slice = (rp_slice){.size = sizeof *slice};
    char text[RP_NVML_NAME_BYTES + 1] = "";
    rp_status status = RP_OK;
    if (ASK(nvml, nvmlDeviceGetUUID, handle, text, RP_NVML_UUID_BYTES) == RP_NVML_SUCCESS &&
        is_uuid(text, RP_NVML_UUID_BYTES)) {
        status = keep_text(snapshot, text, RP_NVML_UUID_BYTES, &slice->uuid, err);
    }
    memset(text, 0, sizeof text);
    if (status == RP_OK &&
        ASK(nvml, nvmlDeviceGetName, handle, text, RP_NVML_NAME_BYTES) == RP_NVML_SUCCESS) {
        const char *profile = profile_in(text);
        status = keep_text(snapshot, profile, strlen(profile), &slice->profile, err);
    }
    read_memory(nvml, handle, &slice->memory_bytes_total, &slice->memory_bytes_free);
    struct rp_nvml_attributes attributes = {0};
    if (slice->memory_bytes_total == RP_UNKNOWN_U64 &&
        ASK(nvml, nvmlDeviceGetAttributes_v2, handle, &attributes) == RP_NVML_SUCCESS &&
        is_memory(attributes.memory_mib) && is_memory(attributes.memory_mib << 20)) {
        slice->memory_bytes_total = attributes.memory_mib << 20;
    }
    *out = slice;
    return status;
}

static rp_status read_slices(struct rp_snapshot *snapshot, const struct nvml *nvml,
                             rp_nvml_handle gpu, rp_accelerator *accelerator, rp_error *err) {
    unsigned int mode = 0;
    unsigned int pending = 0;
    int rc = ASK(nvml, nvmlDeviceGetMigMode, gpu, &mode, &pending);
    /* A GPU that cannot be divided says so: it is not. */
    accelerator->is_mig_enabled =
        rc == RP_NVML_NOT_SUPPORTED ? RP_ANSWER_NO : answer_of(rc, mode <= 1 ? (int)mode : -1);
    if (accelerator->is_mig_enabled != RP_ANSWER_YES) return RP_OK;
    unsigned int count_max = 0;
    rc = ASK(nvml, nvmlDeviceGetMaxMigDeviceCount, gpu, &count_max);
    if (rc != RP_NVML_SUCCESS || count_max > RP_NVIDIA_SLICES_MAX) return RP_OK;
    const rp_slice **slices = rp_snapshot_alloc(snapshot, (count_max + 1) * sizeof *slices);
    if (!slices) return rp_fail_no_memory(err);
    size_t count = 0;
    for (unsigned int i = 0; i < count_max; i++) { /* numbers that are not used answer so */
        rp_nvml_handle handle = NULL;
        rp_slice *slice = NULL;
        rc = ASK(nvml, nvmlDeviceGetMigDeviceHandleByIndex, gpu, i, &handle);
        if (rc != RP_NVML_SUCCESS) continue;
        rp_status status = read_slice(snapshot, nvml, handle, &slice, err);
        if (status != RP_OK) return status;
        slices[count++] = slice;
    }
    accelerator->slices = slices;
    accelerator->slice_count = count;
    return RP_OK;
}

static rp_status read_pci(struct rp_snapshot *snapshot, const struct nvml *nvml, rp_nvml_handle gpu,
                          rp_accelerator *accelerator, rp_error *err) {
    struct rp_nvml_pci pci = {0};
    char address[16];
    if (ASK(nvml, nvmlDeviceGetPciInfo_v3, gpu, &pci) != RP_NVML_SUCCESS) return RP_OK;
    pci.bus_id[sizeof pci.bus_id - 1] = '\0';
    if (!rp_pci_parse_address(pci.bus_id, address)) return RP_OK;
    rp_status status = keep_text(snapshot, address, sizeof address, &accelerator->pci_address, err);
    const struct rp_pci_device card = {
        .vendor = pci.pci_device_id & 0xffff,
        .device = pci.pci_device_id >> 16,
    };
    if (status == RP_OK && card.vendor == RP_PCI_NVIDIA && card.device != 0) {
        char id[RP_PCI_ID_BYTES];
        status =
            keep_text(snapshot, rp_pci_format_id(&card, id), sizeof id, &accelerator->pci_id, err);
    }
    return status;
}

static rp_status read_gpu(struct rp_snapshot *snapshot, const struct nvml *nvml, rp_nvml_handle gpu,
                          struct rp_nvml_machine *machine, rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_CUDA, "cuda");
    rp_accelerator *accelerator = rp_snapshot_new_accelerator(snapshot);
    if (!device || !accelerator) return rp_fail_no_memory(err);
    device->accelerator = accelerator;
    accelerator->type = "gpu";
    accelerator->vendor = "nvidia";
    char text[RP_NVML_UUID_BYTES + 1] = "";
    rp_status status = RP_OK;
    if (ASK(nvml, nvmlDeviceGetName, gpu, text, RP_NVML_NAME_BYTES) == RP_NVML_SUCCESS) {
        status = keep_text(snapshot, text, RP_NVML_NAME_BYTES, &device->name, err);
    }
    memset(text, 0, sizeof text);
    if (status == RP_OK &&
        ASK(nvml, nvmlDeviceGetUUID, gpu, text, RP_NVML_UUID_BYTES) == RP_NVML_SUCCESS &&
        is_uuid(text, RP_NVML_UUID_BYTES)) {
        status = keep_text(snapshot, text, RP_NVML_UUID_BYTES, &accelerator->uuid, err);
    }
    if (status == RP_OK) status = read_pci(snapshot, nvml, gpu, accelerator, err);
    if (status != RP_OK) return status;
    int major = 0;
    int minor = 0;
    int rc = ASK(nvml, nvmlDeviceGetCudaComputeCapability, gpu, &major, &minor);
    if (rc == RP_NVML_SUCCESS && major > 0 && major < 100 && minor >= 0 && minor < 10) {
        snprintf(text, sizeof text, "%d.%d", major, minor);
        status = keep_text(snapshot, text, sizeof text, &accelerator->compute_capability, err);
    }
    int mode = -1;
    int pending = -1;
    rc = ASK(nvml, nvmlDeviceGetEccMode, gpu, &mode, &pending);
    accelerator->is_ecc_enabled = answer_of(rc, mode);
    if (status == RP_OK) status = read_slices(snapshot, nvml, gpu, accelerator, err);
    if (status == RP_OK) status = read_moving(snapshot, nvml, gpu, device, accelerator, err);
    if (status != RP_OK) return status;
    machine->gpus[machine->gpu_count] = device;
    machine->accelerators[machine->gpu_count++] = accelerator;
    return RP_OK;
}

/* --- the machine --------------------------------------------------------------------------- */

static rp_status open_nvml(const char *path, struct nvml *nvml, void **handle, rp_error *err) {
    rp_child_step("the loader, opening libnvidia-ml.so.1");
    rp_status status = rp_library_open(path, symbols, nvml, handle, err);
    if (status != RP_OK) return status;
    int rc = ASK(nvml, nvmlInit_v2, );
    if (rc == RP_NVML_SUCCESS) return RP_OK;
    rp_library_close(*handle);
    *handle = NULL;
    return fail_call(err, "start", rc);
}

static rp_status read_versions(struct rp_snapshot *snapshot, const struct nvml *nvml,
                               struct rp_nvml_machine *machine, rp_error *err) {
    char text[RP_NVML_VERSION_BYTES + 1] = "";
    rp_status status = RP_OK;
    int rc = ASK(nvml, nvmlSystemGetDriverVersion, text, RP_NVML_VERSION_BYTES);
    if (rc == RP_NVML_SUCCESS && isdigit((unsigned char)text[0])) {
        status = keep_text(snapshot, text, RP_NVML_VERSION_BYTES, &machine->driver_version, err);
    }
    int version = 0;
    rc = ASK(nvml, nvmlSystemGetCudaDriverVersion_v2, &version);
    if (rc == RP_NVML_FUNCTION_NOT_FOUND) {
        rc = ASK(nvml, nvmlSystemGetCudaDriverVersion, &version);
    }
    bool is_possible = version >= 1000 && version < 1000000;
    machine->cuda_version =
        rc == RP_NVML_SUCCESS && is_possible ? (uint32_t)version : RP_UNKNOWN_U32;
    return status;
}

rp_status rp_nvml_read(struct rp_snapshot *snapshot, const char *path,
                       struct rp_nvml_machine *machine, rp_error *err) {
    struct nvml nvml;
    void *handle = NULL;
    *machine = (struct rp_nvml_machine){.cuda_version = RP_UNKNOWN_U32};
    rp_status status = open_nvml(path, &nvml, &handle, err);
    if (status != RP_OK) return status;
    unsigned int count = 0;
    int rc = ASK(&nvml, nvmlDeviceGetCount_v2, &count);
    if (rc != RP_NVML_SUCCESS) {
        status = fail_call(err, "count GPUs", rc);
    } else if (count > RP_NVIDIA_GPUS_MAX) {
        status = rp_fail(err, RP_ERR_DATA, "NVML counts %u GPUs, which no machine has", count);
    } else {
        status = read_versions(snapshot, &nvml, machine, err);
    }
    if (status == RP_OK) {
        machine->gpus = rp_snapshot_alloc(snapshot, (count + 1) * sizeof *machine->gpus);
        machine->accelerators =
            rp_snapshot_alloc(snapshot, (count + 1) * sizeof *machine->accelerators);
        if (!machine->gpus || !machine->accelerators) status = rp_fail_no_memory(err);
    }
    for (unsigned int i = 0; status == RP_OK && i < count; i++) {
        rp_nvml_handle gpu = NULL;
        rp_error why = RP_ERROR_INIT;
        rc = ASK(&nvml, nvmlDeviceGetHandleByIndex_v2, i, &gpu);
        if (rc == RP_NVML_SUCCESS) {
            status = read_gpu(snapshot, &nvml, gpu, machine, err);
        } else {
            (void)fail_call(&why, "reach it", rc);
            status =
                rp_snapshot_add_note(snapshot, err, "NVIDIA GPU number %u: %s", i, why.message);
        }
    }
    rp_library_close(handle);
    return status;
}

/* Open over the devices of one refresh; a child's own, so no lock. */
static struct nvml refreshed;
static void *refreshed_handle;

void rp_nvml_close(void) {
    rp_library_close(refreshed_handle);
    refreshed_handle = NULL;
}

/* A GPU by its place on the bus, for those whose uuid is not known. */
static int find_by_address(const char *address, rp_nvml_handle *gpu) {
    unsigned int count = 0;
    int rc = ASK(&refreshed, nvmlDeviceGetCount_v2, &count);
    if (rc != RP_NVML_SUCCESS || !address) return RP_NVML_NOT_FOUND;
    for (unsigned int i = 0; i < count && i < RP_NVIDIA_GPUS_MAX; i++) {
        struct rp_nvml_pci pci = {0};
        char its[16];
        if (ASK(&refreshed, nvmlDeviceGetHandleByIndex_v2, i, gpu) != RP_NVML_SUCCESS) continue;
        if (ASK(&refreshed, nvmlDeviceGetPciInfo_v3, *gpu, &pci) != RP_NVML_SUCCESS) continue;
        pci.bus_id[sizeof pci.bus_id - 1] = '\0';
        if (rp_pci_parse_address(pci.bus_id, its) && strcmp(its, address) == 0) {
            return RP_NVML_SUCCESS;
        }
    }
    return RP_NVML_NOT_FOUND;
}

rp_status rp_nvml_refresh(struct rp_snapshot *snapshot, const char *path, rp_device *device,
                          rp_error *err) {
    if (!device->accelerator) return RP_OK;
    if (!refreshed_handle) {
        rp_status status = open_nvml(path, &refreshed, &refreshed_handle, err);
        if (status != RP_OK) return status;
    }
    rp_accelerator *accelerator = rp_snapshot_alloc(snapshot, sizeof *accelerator);
    if (!accelerator) return rp_fail_no_memory(err);
    *accelerator = *device->accelerator;
    rp_nvml_handle gpu = NULL;
    int rc = accelerator->uuid ? ASK(&refreshed, nvmlDeviceGetHandleByUUID, accelerator->uuid, &gpu)
                               : RP_NVML_NOT_FOUND;
    if (rc == RP_NVML_NOT_FOUND || rc == RP_NVML_FUNCTION_NOT_FOUND) {
        bool is_slice = accelerator->uuid && memcmp(accelerator->uuid, "MIG-", 4) == 0;
        if (!is_slice) rc = find_by_address(accelerator->pci_address, &gpu);
    }
    if (rc != RP_NVML_SUCCESS) return fail_call(err, "find it again", rc);
    uint64_t total = device->memory_bytes_total;
    rp_status status = read_moving(snapshot, &refreshed, gpu, device, accelerator, err);
    if (status != RP_OK) return status;
    /* What CUDA offers is the less of the two. */
    if (total < device->memory_bytes_total) device->memory_bytes_total = total;
    if (device->memory_bytes_free != RP_UNKNOWN_U64 &&
        device->memory_bytes_free > device->memory_bytes_total) {
        device->memory_bytes_free = device->memory_bytes_total;
    }
    device->accelerator = accelerator;
    return RP_OK;
}
