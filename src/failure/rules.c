/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/rules.h"

#include "base/status.h"

rp_status rp_failure_rules_of_process(const struct rp_failure_rules **out, rp_error *err) {
    (void)out;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "rules are not there yet");
}

rp_status rp_failure_rules_create(const char *text, size_t length, const char *source,
                                  struct rp_failure_rules **out, rp_error *err) {
    (void)text;
    (void)length;
    (void)source;
    (void)out;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "rules are not there yet");
}

void rp_failure_rules_destroy(struct rp_failure_rules *rules) {
    (void)rules;
}
