/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/pattern.h"

#include "base/status.h"

rp_status rp_pattern_create(const char *text, size_t length, struct rp_pattern **out,
                            rp_error *err) {
    (void)text;
    (void)length;
    (void)out;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "patterns are not there yet");
}

void rp_pattern_destroy(struct rp_pattern *pattern) {
    (void)pattern;
}

bool rp_pattern_find(const struct rp_pattern *pattern, const char *line, size_t length,
                     struct rp_pattern_match *match) {
    (void)pattern;
    (void)line;
    (void)length;
    (void)match;
    return false;
}
