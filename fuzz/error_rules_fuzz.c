/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of strangers, and a line for them: the rest of the input behind the first NUL. The index of
 * the patterns finds what asking each of them would find.
 */
#include "failure/rules.h"
#include "target.h"

#include <string.h>

enum { PATTERNS_MAX = 500 }; /* of more, a scan leaves some out */

struct line {
    const char *text;
    size_t length;
    const struct rp_failure_rules *rules;
    bool is_taken[PATTERNS_MAX];
};

static void take(uint32_t pattern, const struct rp_pattern_match *match, void *user) {
    struct line *line = user;
    FUZZ_ASSERT(pattern < line->rules->pattern_count);
    FUZZ_ASSERT(match->start <= match->end && match->end <= line->length);
    for (size_t i = 0; i < match->hole_count; i++) {
        FUZZ_ASSERT(match->holes[i].start < match->holes[i].end);
        FUZZ_ASSERT(match->holes[i].end <= line->length);
    }
    struct rp_pattern_match other;
    if (rp_pattern_find(line->rules->patterns[pattern], line->text, line->length, &other)) {
        FUZZ_ASSERT(other.start == match->start && other.end == match->end);
        FUZZ_ASSERT(other.hole_count == match->hole_count);
    }
    if (pattern >= PATTERNS_MAX) return;
    FUZZ_ASSERT(!line->is_taken[pattern]);
    line->is_taken[pattern] = true;
}

static void check_others(const struct line *line) {
    struct rp_pattern_match match;
    size_t count = line->rules->pattern_count;
    for (size_t i = 0; i < count && count <= PATTERNS_MAX; i++) {
        FUZZ_ASSERT(line->is_taken[i] ||
                    !rp_pattern_find(line->rules->patterns[i], line->text, line->length, &match));
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
    struct line line = {.text = end ? end + 1 : NULL, .rules = rules};
    line.length = end ? size - length - 1 : 0;
    if (line.length > RP_RULES_LINE_BYTES) line.length = RP_RULES_LINE_BYTES;
    unsigned char *seen = calloc(1, rp_failure_rules_seen_bytes(rules));
    FUZZ_ASSERT(seen);
    if (end) {
        rp_failure_rules_scan(rules, line.text, line.length, seen, take, &line);
        check_others(&line);
    }
    free(seen);
    rp_failure_rules_destroy(rules);
    return 0;
}
