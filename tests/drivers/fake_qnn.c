/* SPDX-License-Identifier: Apache-2.0 */
/* Qualcomm's libQnnHtp, as far as it is asked, with scripted answers. FAKE_OLD lacks its symbol. */
#include "hardware/qnn_abi.h"

#include "script.h"

FAKE_API uint64_t QnnInterface_getProviders(const struct rp_qnn_interface ***providers,
                                            uint32_t *count);
FAKE_API int qnn_fake(void);

int qnn_fake(void) {
    return 1;
}

#ifndef FAKE_OLD
uint64_t QnnInterface_getProviders(const struct rp_qnn_interface ***providers, uint32_t *count) {
    static struct rp_qnn_interface interface = {.backend_id = 6, .provider_name = "HTP"};
    static const struct rp_qnn_interface *all[] = {&interface};
    script_load("FAKE_SCRIPT");
    interface.core_version.major = (uint32_t)script_number_or("major", 2);
    interface.core_version.minor = (uint32_t)script_number_or("minor", 25);
    *providers = script_number_or("list", 1) != 0 ? all : NULL;
    *count = (uint32_t)script_number_or("count", 1);
    return (uint64_t)script_enter(-1, __func__);
}
#endif
