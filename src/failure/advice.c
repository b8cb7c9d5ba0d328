/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "failure/diagnosis.h"

#include <stdio.h>

rp_status rp_advise(struct rp_diagnosis *diagnosis, const rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    snprintf(diagnosis->line, sizeof diagnosis->line, "%s: %s",
             rp_category_name(diagnosis->category), rp_category_text(diagnosis->category));
    return RP_OK;
}

void rp_advice_fini(struct rp_advice *advice) {
    for (size_t i = 0; i < advice->recommendation_count; i++) {
        rp_free(advice->recommendations[i]);
    }
    for (size_t i = 0; i < advice->check_count; i++) {
        rp_free(advice->checks[i].what);
        rp_free(advice->checks[i].command);
    }
    for (size_t i = 0; i < advice->alternative_count; i++) {
        rp_free(advice->alternatives[i].reason);
    }
    rp_free(advice->known_problem);
}
