/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hardware/nvml.h and hardware/cuda_driver.h declare, against NVIDIA's own headers: that it
 * compiles is the test. Functions are compared by their names and numbers of arguments, structs by
 * the place and size of what is used.
 */
#include "hardware/cuda_driver.h"
#include "hardware/nvml.h"
#include "layout.h"

/* The names that we look up, without their newest version behind the old name. */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <cuda.h>
#include <nvml.h>

SAME_SIZE(rp_nvml_handle, nvmlDevice_t);
SAME_SIZE(int, nvmlReturn_t);
SAME_SIZE(int, nvmlEnableState_t);
SAME_SIZE(int, nvmlTemperatureSensors_t);
SAME_SIZE(int, nvmlMemoryErrorType_t);
SAME_SIZE(int, nvmlEccCounterType_t);

SAME_SIZE(struct rp_nvml_pci, nvmlPciInfo_t);
SAME_FIELD(struct rp_nvml_pci, pci_device_id, nvmlPciInfo_t, pciDeviceId);
SAME_FIELD(struct rp_nvml_pci, bus_id, nvmlPciInfo_t, busId);
SAME_SIZE(struct rp_nvml_memory, nvmlMemory_t);
SAME_FIELD(struct rp_nvml_memory, total, nvmlMemory_t, total);
SAME_FIELD(struct rp_nvml_memory, free, nvmlMemory_t, free);
SAME_SIZE(struct rp_nvml_memory_v2, nvmlMemory_v2_t);
SAME_FIELD(struct rp_nvml_memory_v2, version, nvmlMemory_v2_t, version);
SAME_FIELD(struct rp_nvml_memory_v2, total, nvmlMemory_v2_t, total);
SAME_FIELD(struct rp_nvml_memory_v2, reserved, nvmlMemory_v2_t, reserved);
SAME_FIELD(struct rp_nvml_memory_v2, free, nvmlMemory_v2_t, free);
_Static_assert(RP_NVML_MEMORY_V2 == nvmlMemory_v2, "the version of nvmlMemory_v2_t");
SAME_SIZE(struct rp_nvml_process_v1, nvmlProcessInfo_v1_t);
SAME_FIELD(struct rp_nvml_process_v1, pid, nvmlProcessInfo_v1_t, pid);
SAME_FIELD(struct rp_nvml_process_v1, memory, nvmlProcessInfo_v1_t, usedGpuMemory);
SAME_SIZE(struct rp_nvml_process, nvmlProcessInfo_t);
SAME_FIELD(struct rp_nvml_process, pid, nvmlProcessInfo_t, pid);
SAME_FIELD(struct rp_nvml_process, memory, nvmlProcessInfo_t, usedGpuMemory);
SAME_FIELD(struct rp_nvml_process, gpu_instance, nvmlProcessInfo_t, gpuInstanceId);
SAME_SIZE(struct rp_nvml_utilization, nvmlUtilization_t);
SAME_FIELD(struct rp_nvml_utilization, gpu, nvmlUtilization_t, gpu);
SAME_SIZE(struct rp_nvml_attributes, nvmlDeviceAttributes_t);
SAME_FIELD(struct rp_nvml_attributes, multiprocessor_count, nvmlDeviceAttributes_t,
           multiprocessorCount);
SAME_FIELD(struct rp_nvml_attributes, memory_mib, nvmlDeviceAttributes_t, memorySizeMB);

SAME_NUMBER(RP_NVML_SUCCESS, NVML_SUCCESS);
SAME_NUMBER(RP_NVML_NOT_SUPPORTED, NVML_ERROR_NOT_SUPPORTED);
SAME_NUMBER(RP_NVML_NO_PERMISSION, NVML_ERROR_NO_PERMISSION);
SAME_NUMBER(RP_NVML_NOT_FOUND, NVML_ERROR_NOT_FOUND);
SAME_NUMBER(RP_NVML_INSUFFICIENT_SIZE, NVML_ERROR_INSUFFICIENT_SIZE);
SAME_NUMBER(RP_NVML_DRIVER_NOT_LOADED, NVML_ERROR_DRIVER_NOT_LOADED);
SAME_NUMBER(RP_NVML_FUNCTION_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND);
SAME_NUMBER(RP_NVML_GPU_IS_LOST, NVML_ERROR_GPU_IS_LOST);
SAME_NUMBER(RP_NVML_RESET_REQUIRED, NVML_ERROR_RESET_REQUIRED);
SAME_NUMBER(RP_NVML_LIB_RM_VERSION_MISMATCH, NVML_ERROR_LIB_RM_VERSION_MISMATCH);
SAME_NUMBER(RP_NVML_TEMPERATURE_GPU, NVML_TEMPERATURE_GPU);
SAME_NUMBER(RP_NVML_MEMORY_ERROR_UNCORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED);
SAME_NUMBER(RP_NVML_VOLATILE_ECC, NVML_VOLATILE_ECC);
SAME_NUMBER(RP_NVML_UUID_BYTES, NVML_DEVICE_UUID_V2_BUFFER_SIZE);
SAME_NUMBER(RP_NVML_NAME_BYTES, NVML_DEVICE_NAME_V2_BUFFER_SIZE);
SAME_NUMBER(RP_NVML_VERSION_BYTES, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE);

/* The bits and numbers that nvml.c and cuda_driver.c have in tables. */
SAME_NUMBER(0x002, nvmlClocksEventReasonApplicationsClocksSetting);
SAME_NUMBER(0x004, nvmlClocksEventReasonSwPowerCap);
SAME_NUMBER(0x008, nvmlClocksThrottleReasonHwSlowdown);
SAME_NUMBER(0x010, nvmlClocksEventReasonSyncBoost);
SAME_NUMBER(0x020, nvmlClocksEventReasonSwThermalSlowdown);
SAME_NUMBER(0x040, nvmlClocksThrottleReasonHwThermalSlowdown);
SAME_NUMBER(0x080, nvmlClocksThrottleReasonHwPowerBrakeSlowdown);
SAME_NUMBER(0x100, nvmlClocksEventReasonDisplayClockSetting);
SAME_NUMBER(17, NVML_ERROR_OPERATING_SYSTEM);
SAME_NUMBER(28, NVML_ERROR_GPU_NOT_FOUND);
SAME_NUMBER(999, NVML_ERROR_UNKNOWN);

SAME_SIZE(int, CUresult);
SAME_SIZE(int, CUdevice);
SAME_SIZE(int, CUdevice_attribute);
SAME_SIZE(struct rp_cuda_uuid, CUuuid);
SAME_NUMBER(RP_CUDA_SUCCESS, CUDA_SUCCESS);
SAME_NUMBER(RP_CUDA_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED);
SAME_NUMBER(RP_CUDA_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
SAME_NUMBER(RP_CUDA_FUNCTION_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
SAME_NUMBER(34, CUDA_ERROR_STUB_LIBRARY);
SAME_NUMBER(46, CUDA_ERROR_DEVICE_UNAVAILABLE);
SAME_NUMBER(802, CUDA_ERROR_SYSTEM_NOT_READY);
SAME_NUMBER(803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
SAME_NUMBER(804, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
SAME_NUMBER(RP_CUDA_MULTIPROCESSOR_COUNT, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME_NUMBER(RP_CUDA_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED);
SAME_NUMBER(RP_CUDA_ECC_ENABLED, CU_DEVICE_ATTRIBUTE_ECC_ENABLED);
SAME_NUMBER(RP_CUDA_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME_NUMBER(RP_CUDA_CAPABILITY_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

/*
 * Each function is called through NVIDIA's declaration with values of our types: a pointer to a
 * struct or handle of ours is a stranger to it and goes as void *, but the number of arguments and
 * which of them are numbers is compared. Never run.
 */
void nvidia_layout(void);
void nvidia_layout(void) {
    void *p = NULL;
    unsigned int u = 0;
    int i = 0;
    (void)(nvmlInit_v2() + nvmlDeviceGetCount_v2(p) + nvmlDeviceGetHandleByIndex_v2(u, p) +
           nvmlDeviceGetName(p, p, u) + nvmlDeviceGetUUID(p, p, u) + nvmlDeviceGetMemoryInfo(p, p) +
           nvmlDeviceGetMemoryInfo_v2(p, p) + nvmlSystemGetDriverVersion(p, u) +
           nvmlSystemGetCudaDriverVersion_v2(p) + nvmlSystemGetCudaDriverVersion(p) +
           nvmlSystemGetProcessName(u, p, u) + nvmlDeviceGetHandleByUUID(p, p) +
           nvmlDeviceGetPciInfo_v3(p, p) + nvmlDeviceGetCudaComputeCapability(p, p, p) +
           nvmlDeviceGetUtilizationRates(p, p) +
           nvmlDeviceGetTemperature(p, NVML_TEMPERATURE_GPU, p) + nvmlDeviceGetEccMode(p, p, p) +
           nvmlDeviceGetTotalEccErrors(p, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC,
                                       p) +
           nvmlDeviceGetCurrentClocksEventReasons(p, p) +
           nvmlDeviceGetCurrentClocksThrottleReasons(p, p) +
           nvmlDeviceGetComputeRunningProcesses_v3(p, p, p) +
           nvmlDeviceGetComputeRunningProcesses_v2(p, p, p) +
           nvmlDeviceGetComputeRunningProcesses(p, p, p) +
           nvmlDeviceGetGraphicsRunningProcesses_v2(p, p, p) +
           nvmlDeviceGetGraphicsRunningProcesses(p, p, p) +
           nvmlDeviceGetGraphicsRunningProcesses_v3(p, p, p) + nvmlDeviceGetMigMode(p, p, p) +
           nvmlDeviceGetMaxMigDeviceCount(p, p) + nvmlDeviceGetMigDeviceHandleByIndex(p, u, p) +
           nvmlDeviceGetAttributes_v2(p, p));
    (void)(cuInit(u) + cuDeviceGetCount(p) + cuDeviceGet(p, i) + cuDeviceGetName(p, i, i) +
           cuDeviceGetAttribute(p, CU_DEVICE_ATTRIBUTE_INTEGRATED, i) + cuDeviceTotalMem_v2(p, i) +
           cuDriverGetVersion(p) + cuDeviceGetUuid_v2(p, i) + cuDeviceGetUuid(p, i) +
           cuDeviceGetPCIBusId(p, i, i));
}
