/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of strangers, and a line for them: the rest of the input behind the first NUL. */
#include "failure/rules.h"
#include "target.h"

#include <string.h>

struct line {
    size_t length;
    size_t patterns;
};

static void take(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    const struct line *line = user;
    FUZZ_ASSERT(pattern < line->patterns);
    FUZZ_ASSERT(match->start <= match->end && match->end <= line->length);
    for (size_t i = 0; i < match->hole_count; i++) {
        FUZZ_ASSERT(match->holes[i].start < match->holes[i].end);
        FUZZ_ASSERT(match->holes[i].end <= line->length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const char *end = size ? memchr(text, '\0', size) : NULL;
    size_t length = end ? (size_t)(end - text) : size;
    rp_error err = RP_ERROR_INIT;
    struct rp_failure_rules *rules = NULL;
    rp_status status = rp_failure_rules_create(text, length, "input", &rules, &err);
    if (status != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return 0;
    }
    struct line line = {.length = end ? size - length - 1 : 0, .patterns = rules->pattern_count};
    unsigned char *seen = calloc(1, rp_failure_rules_seen_bytes(rules));
    FUZZ_ASSERT(seen);
    if (end) rp_failure_rules_scan(rules, end + 1, line.length, seen, take, &line);
    free(seen);
    rp_failure_rules_destroy(rules);
    return 0;
}
