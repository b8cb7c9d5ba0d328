/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a segment is any process's. What is accepted has every part inside, on a page
 * boundary, behind the table and behind the part before it.
 *
 * The input is the file from its start; its size may be far more than what is at hand, so the first
 * eight bytes say how much more.
 */
#include "base/limits.h"
#include "machine/segment.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t more = 0;
    uint64_t count = UINT64_MAX;
    rp_error err = RP_ERROR_INIT;
    if (size < sizeof more) return 0;
    memcpy(&more, data, sizeof more);
    const uint8_t *bytes = data + sizeof more;
    uint64_t have = size - sizeof more;
    uint64_t whole = more > UINT64_MAX - have ? UINT64_MAX : have + more;
    if (rp_segment_parse(bytes, have, whole, &count, &err) != RP_OK) {
        FUZZ_ASSERT(count == UINT64_MAX);
        FUZZ_ASSERT(err.message[0]);
        return 0;
    }
    FUZZ_ASSERT(count <= RP_LIMIT_SEGMENT_PARTS);
    uint64_t end = sizeof(struct rp_segment_head) + count * sizeof(struct rp_segment_entry);
    FUZZ_ASSERT(end <= have);
    for (uint64_t i = 0; i < count; i++) {
        struct rp_segment_entry entry;
        memcpy(&entry, bytes + sizeof(struct rp_segment_head) + i * sizeof entry, sizeof entry);
        FUZZ_ASSERT(entry.offset >= end && entry.offset % RP_SEGMENT_ALIGN == 0);
        FUZZ_ASSERT(entry.offset <= whole && entry.size <= whole - entry.offset);
        end = entry.offset + entry.size;
    }
    return 0;
}
