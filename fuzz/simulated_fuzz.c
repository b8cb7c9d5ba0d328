/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a simulated model comes from a command line. */
#include "engine/simulated.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char name[512];
    if (size >= sizeof name) return 0;
    memcpy(name, data, size);
    name[size] = '\0';
    struct rp_simulated_plan plan;
    rp_error err = RP_ERROR_INIT;
    if (rp_simulated_parse(name, &plan, &err) != RP_OK) FUZZ_ASSERT(err.message[0] != '\0');
    return 0;
}
