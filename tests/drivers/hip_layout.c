/* SPDX-License-Identifier: Apache-2.0 */
/* What hardware/hip_abi.h declares, against AMD's own header: that it compiles is the test. */
#include "hardware/hip_abi.h"
#include "layout.h"

#define __HIP_PLATFORM_AMD__
#include <hip/hip_runtime_api.h>

SAME_SIZE(int, hipError_t);
SAME_SIZE(int, hipDevice_t);
SAME_NUMBER(RP_HIP_SUCCESS, hipSuccess);
SAME_NUMBER(RP_HIP_NO_DEVICE, hipErrorNoDevice);
_Static_assert(RP_HIP_NAME_BYTES >= sizeof(((hipDeviceProp_t *)0)->name), "RP_HIP_NAME_BYTES");

SAME_CALL(struct rp_hip, get_device_count, int (*)(int *), hipGetDeviceCount,
          hipError_t (*)(int *));
SAME_CALL(struct rp_hip, device_get, int (*)(int *, int), hipDeviceGet,
          hipError_t (*)(hipDevice_t *, int));
SAME_CALL(struct rp_hip, device_get_name, int (*)(char *, int, int), hipDeviceGetName,
          hipError_t (*)(char *, int, hipDevice_t));
SAME_CALL(struct rp_hip, device_total_mem, int (*)(size_t *, int), hipDeviceTotalMem,
          hipError_t (*)(size_t *, hipDevice_t));
SAME_CALL(struct rp_hip, device_get_pci_bus_id, int (*)(char *, int, int), hipDeviceGetPCIBusId,
          hipError_t (*)(char *, int, int));
SAME_CALL(struct rp_hip, runtime_get_version, int (*)(int *), hipRuntimeGetVersion,
          hipError_t (*)(int *));
SAME_CALL(struct rp_hip, get_error_name, const char *(*)(int), hipGetErrorName,
          const char *(*)(hipError_t));
