/* SPDX-License-Identifier: Apache-2.0 */
/* What hardware/openvino_abi.h declares, against Intel's own headers: that it compiles is the test.
 */
#include "hardware/openvino_abi.h"
#include "layout.h"

#include <openvino/c/openvino.h>

SAME_SIZE(int, ov_status_e);
SAME_SIZE(struct rp_ov_version, ov_version_t);
SAME_FIELD(struct rp_ov_version, build_number, ov_version_t, buildNumber);
SAME_FIELD(struct rp_ov_version, description, ov_version_t, description);
SAME_SIZE(struct rp_ov_devices, ov_available_devices_t);
SAME_FIELD(struct rp_ov_devices, devices, ov_available_devices_t, devices);
SAME_FIELD(struct rp_ov_devices, count, ov_available_devices_t, size);

SAME_CALL(struct rp_openvino, get_version, int (*)(struct rp_ov_version *), ov_get_openvino_version,
          ov_status_e (*)(ov_version_t *));
SAME_CALL(struct rp_openvino, version_free, void (*)(struct rp_ov_version *), ov_version_free,
          void (*)(ov_version_t *));
SAME_CALL(struct rp_openvino, core_create, int (*)(void **), ov_core_create,
          ov_status_e (*)(ov_core_t **));
SAME_CALL(struct rp_openvino, core_free, void (*)(void *), ov_core_free, void (*)(ov_core_t *));
SAME_CALL(struct rp_openvino, get_devices, int (*)(const void *, struct rp_ov_devices *),
          ov_core_get_available_devices,
          ov_status_e (*)(const ov_core_t *, ov_available_devices_t *));
SAME_CALL(struct rp_openvino, devices_free, void (*)(struct rp_ov_devices *),
          ov_available_devices_free, void (*)(ov_available_devices_t *));
SAME_CALL(struct rp_openvino, get_property,
          int (*)(const void *, const char *, const char *, char **), ov_core_get_property,
          ov_status_e (*)(const ov_core_t *, const char *, const char *, char **));
SAME_CALL(struct rp_openvino, text_free, void (*)(const char *), ov_free, void (*)(const char *));
SAME_CALL(struct rp_openvino, get_error, const char *(*)(int), ov_get_error_info,
          const char *(*)(ov_status_e));
/* Declared there without a word about arguments; it takes none. */
SAME_CALL(struct rp_openvino, get_last_error, const char *(*)(void), ov_get_last_err_msg,
          const char *(*)());
