/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated model is told by its name; apart, so that the parser can be fuzzed. */
#ifndef RP_ENGINE_SIMULATED_H
#define RP_ENGINE_SIMULATED_H

#include <resourcepool/status.h>
#include <stdint.h>

enum rp_simulated_failure {
    RP_SIMULATED_NEVER,
    RP_SIMULATED_LOAD,
    RP_SIMULATED_RUN,
    RP_SIMULATED_MEMORY,
};

struct rp_simulated_plan {
    uint64_t load_ms;
    uint64_t run_ms;
    uint64_t memory_bytes;
    enum rp_simulated_failure failure;
};

/* Read what follows the '?' of a name; nothing there means all defaults. RP_ERR_ARGUMENT says why.
 */
rp_status rp_simulated_parse(const char *name, struct rp_simulated_plan *plan, rp_error *err);

#endif
