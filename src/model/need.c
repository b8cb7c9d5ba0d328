/* SPDX-License-Identifier: Apache-2.0 */
#include <resourcepool/facts.h>
void rp_model_memory_need(const rp_model_facts *facts, const char *precision,
                          const rp_workload *workload, rp_memory_need *need) {
    (void)precision; (void)workload;
    *need = (rp_memory_need){.size=sizeof *need, .total_bytes = facts->parameter_count == RP_UNKNOWN_U64 ? RP_UNKNOWN_U64 : facts->parameter_count * 4};
}
