/* SPDX-License-Identifier: Apache-2.0 */
/* What hardware/level_zero_abi.h declares, against Intel's own headers: that it compiles is the
 * test. */
#include "hardware/level_zero_abi.h"
#include "layout.h"

#include <level_zero/ze_api.h>
#include <level_zero/zes_api.h>

SAME_SIZE(int, ze_result_t);
SAME_SIZE(struct rp_ze_device, ze_device_properties_t);
SAME_FIELD(struct rp_ze_device, structure, ze_device_properties_t, stype);
SAME_FIELD(struct rp_ze_device, next, ze_device_properties_t, pNext);
SAME_FIELD(struct rp_ze_device, type, ze_device_properties_t, type);
SAME_FIELD(struct rp_ze_device, vendor, ze_device_properties_t, vendorId);
SAME_FIELD(struct rp_ze_device, device, ze_device_properties_t, deviceId);
SAME_FIELD(struct rp_ze_device, flags, ze_device_properties_t, flags);
SAME_FIELD(struct rp_ze_device, units_per_subslice, ze_device_properties_t, numEUsPerSubslice);
SAME_FIELD(struct rp_ze_device, subslices_per_slice, ze_device_properties_t, numSubslicesPerSlice);
SAME_FIELD(struct rp_ze_device, slice_count, ze_device_properties_t, numSlices);
SAME_FIELD(struct rp_ze_device, uuid, ze_device_properties_t, uuid);
SAME_FIELD(struct rp_ze_device, name, ze_device_properties_t, name);
SAME_SIZE(struct rp_ze_memory, ze_device_memory_properties_t);
SAME_FIELD(struct rp_ze_memory, structure, ze_device_memory_properties_t, stype);
SAME_FIELD(struct rp_ze_memory, bytes, ze_device_memory_properties_t, totalSize);
SAME_FIELD(struct rp_ze_memory, name, ze_device_memory_properties_t, name);
SAME_SIZE(struct rp_ze_pci, ze_pci_ext_properties_t);
SAME_FIELD(struct rp_ze_pci, structure, ze_pci_ext_properties_t, stype);
SAME_FIELD(struct rp_ze_pci, domain, ze_pci_ext_properties_t, address.domain);
SAME_FIELD(struct rp_ze_pci, bus, ze_pci_ext_properties_t, address.bus);
SAME_FIELD(struct rp_ze_pci, slot, ze_pci_ext_properties_t, address.device);
SAME_FIELD(struct rp_ze_pci, function, ze_pci_ext_properties_t, address.function);
SAME_SIZE(struct rp_zes_memory_state, zes_mem_state_t);
SAME_FIELD(struct rp_zes_memory_state, structure, zes_mem_state_t, stype);
SAME_FIELD(struct rp_zes_memory_state, bytes_free, zes_mem_state_t, free);
SAME_FIELD(struct rp_zes_memory_state, bytes_total, zes_mem_state_t, size);

SAME_NUMBER(RP_ZE_DEVICE_PROPERTIES, ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES);
SAME_NUMBER(RP_ZE_DEVICE_MEMORY_PROPERTIES, ZE_STRUCTURE_TYPE_DEVICE_MEMORY_PROPERTIES);
SAME_NUMBER(RP_ZE_PCI_PROPERTIES, ZE_STRUCTURE_TYPE_PCI_EXT_PROPERTIES);
SAME_NUMBER(RP_ZES_MEM_STATE, ZES_STRUCTURE_TYPE_MEM_STATE);
SAME_NUMBER(RP_ZE_TYPE_GPU, ZE_DEVICE_TYPE_GPU);
SAME_NUMBER(RP_ZE_TYPE_VPU, ZE_DEVICE_TYPE_VPU);
SAME_NUMBER(RP_ZE_INTEGRATED, ZE_DEVICE_PROPERTY_FLAG_INTEGRATED);
SAME_NUMBER(RP_ZE_NAME_BYTES, ZE_MAX_DEVICE_NAME);

SAME_CALL(struct rp_level_zero, init, int (*)(uint32_t), zeInit, ze_result_t (*)(ze_init_flags_t));
SAME_CALL(struct rp_level_zero, driver_get, int (*)(uint32_t *, void **), zeDriverGet,
          ze_result_t (*)(uint32_t *, ze_driver_handle_t *));
SAME_CALL(struct rp_level_zero, device_get, int (*)(void *, uint32_t *, void **), zeDeviceGet,
          ze_result_t (*)(ze_driver_handle_t, uint32_t *, ze_device_handle_t *));
SAME_CALL(struct rp_level_zero, get_properties, int (*)(void *, struct rp_ze_device *),
          zeDeviceGetProperties, ze_result_t (*)(ze_device_handle_t, ze_device_properties_t *));
SAME_CALL(struct rp_level_zero, get_memory, int (*)(void *, uint32_t *, struct rp_ze_memory *),
          zeDeviceGetMemoryProperties,
          ze_result_t (*)(ze_device_handle_t, uint32_t *, ze_device_memory_properties_t *));
SAME_CALL(struct rp_level_zero, get_pci, int (*)(void *, struct rp_ze_pci *),
          zeDevicePciGetPropertiesExt,
          ze_result_t (*)(ze_device_handle_t, ze_pci_ext_properties_t *));
SAME_CALL(struct rp_level_zero, enumerate_memory, int (*)(void *, uint32_t *, void **),
          zesDeviceEnumMemoryModules,
          ze_result_t (*)(zes_device_handle_t, uint32_t *, zes_mem_handle_t *));
SAME_CALL(struct rp_level_zero, get_memory_state, int (*)(void *, struct rp_zes_memory_state *),
          zesMemoryGetState, ze_result_t (*)(zes_mem_handle_t, zes_mem_state_t *));
