/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's management library (libnvidia-ml.so.1): the GPUs of the machine, whatever CUDA shows of
 * them. Its functions and layouts are declared here as far as they are used, so that no header of
 * NVIDIA's is needed to build; tests/drivers/nvidia_layout.c compares them with NVIDIA's.
 *
 * Runs in a child only (child.h).
 */
#ifndef RP_HARDWARE_NVML_H
#define RP_HARDWARE_NVML_H

#include "hardware/library.h"
#include "hardware/snapshot.h"

extern const struct rp_library_names rp_nvml_library;

/* More than any machine has; what is above is a lie. */
enum { RP_NVIDIA_GPUS_MAX = 256, RP_NVIDIA_SLICES_MAX = 64, RP_NVIDIA_PROCESSES_MAX = 4096 };

/* What NVML says about the machine. All of it belongs to the snapshot. */
struct rp_nvml_machine {
    const char *driver_version; /* "550.54.15"; NULL: not told    */
    uint32_t cuda_version;      /* 12040 is 12.4; RP_UNKNOWN_U32  */
    /*
     * In order of their PCI addresses, with the id "cuda", not added. A GPU that cannot be used has
     * its reason. The accelerator of each is the machine's own, to be changed freely.
     */
    rp_device **gpus;
    rp_accelerator **accelerators;
    size_t gpu_count;
};

/*
 * Everything. A GPU that cannot even be named is a note. Fails as a whole where NVML does:
 * RP_ERR_ABSENT with a sentence on what is wrong with the driver.
 */
rp_status rp_nvml_read(struct rp_snapshot *snapshot, const char *path,
                       struct rp_nvml_machine *machine, rp_error *err);

/*
 * What moves, of one GPU or slice, found by its uuid or else by its PCI address. Opens the library
 * at the first call; give back with rp_nvml_close().
 */
rp_status rp_nvml_refresh(struct rp_snapshot *snapshot, const char *path, rp_device *device,
                          rp_error *err);
void rp_nvml_close(void);

/* --- as NVIDIA declares it ----------------------------------------------------------------- */

typedef struct rp_nvml_handle *rp_nvml_handle;

/* What an nvmlReturn_t means, as the end of a sentence; rows in order of their numbers. */
struct rp_nvml_result {
    int number;
    const char *meaning;
    const char *hint; /* NULL: nothing helps */
};
extern const struct rp_nvml_result rp_nvml_results[];
extern const size_t rp_nvml_result_count;

enum {
    RP_NVML_SUCCESS = 0,
    RP_NVML_NOT_SUPPORTED = 3,
    RP_NVML_NO_PERMISSION = 4,
    RP_NVML_NOT_FOUND = 6,
    RP_NVML_INSUFFICIENT_SIZE = 7,
    RP_NVML_DRIVER_NOT_LOADED = 9,
    RP_NVML_FUNCTION_NOT_FOUND = 13,
    RP_NVML_GPU_IS_LOST = 15,
    RP_NVML_RESET_REQUIRED = 16,
    RP_NVML_LIB_RM_VERSION_MISMATCH = 18,

    RP_NVML_TEMPERATURE_GPU = 0,
    RP_NVML_MEMORY_ERROR_UNCORRECTED = 1,
    RP_NVML_VOLATILE_ECC = 0,

    RP_NVML_UUID_BYTES = 96,
    RP_NVML_NAME_BYTES = 96,
    RP_NVML_VERSION_BYTES = 80,
};

struct rp_nvml_pci {
    char bus_id_legacy[16];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pci_device_id; /* device << 16 | vendor */
    unsigned int pci_subsystem_id;
    char bus_id[32];
};

struct rp_nvml_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

struct rp_nvml_memory_v2 {
    unsigned int version;
    unsigned long long total;
    unsigned long long reserved;
    unsigned long long free;
    unsigned long long used;
};
#define RP_NVML_MEMORY_V2 ((unsigned int)sizeof(struct rp_nvml_memory_v2) | 2u << 24)

struct rp_nvml_process_v1 {
    unsigned int pid;
    unsigned long long memory;
};

/* Of the functions _v2 and _v3. */
struct rp_nvml_process {
    unsigned int pid;
    unsigned long long memory;
    unsigned int gpu_instance;
    unsigned int compute_instance;
};

struct rp_nvml_utilization {
    unsigned int gpu;
    unsigned int memory;
};

struct rp_nvml_attributes {
    unsigned int multiprocessor_count;
    unsigned int others[7];
    unsigned long long memory_mib;
};

/* clang-format off */
/* Required or not, function, arguments. What is not required came with later drivers. */
#define RP_NVML_FUNCTIONS(X)                                                                                          \
    X(true,  nvmlInit_v2, (void))                                                                                      \
    X(true,  nvmlDeviceGetCount_v2, (unsigned int *))                                                                  \
    X(true,  nvmlDeviceGetHandleByIndex_v2, (unsigned int, rp_nvml_handle *))                                          \
    X(true,  nvmlDeviceGetName, (rp_nvml_handle, char *, unsigned int))                                                \
    X(true,  nvmlDeviceGetUUID, (rp_nvml_handle, char *, unsigned int))                                                \
    X(true,  nvmlDeviceGetMemoryInfo, (rp_nvml_handle, struct rp_nvml_memory *))                                       \
    X(false, nvmlDeviceGetMemoryInfo_v2, (rp_nvml_handle, struct rp_nvml_memory_v2 *))                                 \
    X(false, nvmlSystemGetDriverVersion, (char *, unsigned int))                                                       \
    X(false, nvmlSystemGetCudaDriverVersion_v2, (int *))                                                               \
    X(false, nvmlSystemGetCudaDriverVersion, (int *))                                                                  \
    X(false, nvmlSystemGetProcessName, (unsigned int, char *, unsigned int))                                           \
    X(false, nvmlDeviceGetHandleByUUID, (const char *, rp_nvml_handle *))                                              \
    X(false, nvmlDeviceGetPciInfo_v3, (rp_nvml_handle, struct rp_nvml_pci *))                                          \
    X(false, nvmlDeviceGetCudaComputeCapability, (rp_nvml_handle, int *, int *))                                       \
    X(false, nvmlDeviceGetUtilizationRates, (rp_nvml_handle, struct rp_nvml_utilization *))                            \
    X(false, nvmlDeviceGetTemperature, (rp_nvml_handle, int, unsigned int *))                                          \
    X(false, nvmlDeviceGetEccMode, (rp_nvml_handle, int *, int *))                                                     \
    X(false, nvmlDeviceGetTotalEccErrors, (rp_nvml_handle, int, int, unsigned long long *))                            \
    X(false, nvmlDeviceGetCurrentClocksEventReasons, (rp_nvml_handle, unsigned long long *))                           \
    X(false, nvmlDeviceGetCurrentClocksThrottleReasons, (rp_nvml_handle, unsigned long long *))                        \
    X(false, nvmlDeviceGetComputeRunningProcesses_v3, (rp_nvml_handle, unsigned int *, struct rp_nvml_process *))      \
    X(false, nvmlDeviceGetComputeRunningProcesses_v2, (rp_nvml_handle, unsigned int *, struct rp_nvml_process *))      \
    X(false, nvmlDeviceGetComputeRunningProcesses, (rp_nvml_handle, unsigned int *, struct rp_nvml_process_v1 *))      \
    X(false, nvmlDeviceGetGraphicsRunningProcesses_v3, (rp_nvml_handle, unsigned int *, struct rp_nvml_process *))     \
    X(false, nvmlDeviceGetGraphicsRunningProcesses_v2, (rp_nvml_handle, unsigned int *, struct rp_nvml_process *))     \
    X(false, nvmlDeviceGetGraphicsRunningProcesses, (rp_nvml_handle, unsigned int *, struct rp_nvml_process_v1 *))     \
    X(false, nvmlDeviceGetMigMode, (rp_nvml_handle, unsigned int *, unsigned int *))                                   \
    X(false, nvmlDeviceGetMaxMigDeviceCount, (rp_nvml_handle, unsigned int *))                                         \
    X(false, nvmlDeviceGetMigDeviceHandleByIndex, (rp_nvml_handle, unsigned int, rp_nvml_handle *))                    \
    X(false, nvmlDeviceGetAttributes_v2, (rp_nvml_handle, struct rp_nvml_attributes *))
/* clang-format on */

#endif
