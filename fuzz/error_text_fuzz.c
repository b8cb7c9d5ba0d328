/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error texts are what anybody pastes. The first byte says how the rest is cut when it is fed a
 * second time: the lines must be the same.
 */
#include "base/text.h"
#include "failure/error_text.h"
#include "target.h"

#include <string.h>

struct seen {
    const char *bytes;
    uint64_t length;
    uint64_t lines;
    uint64_t end;    /* of what was told so far */
    uint64_t digest; /* of all lines            */
    unsigned block_max;
};

static void mix(struct seen *seen, const void *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        seen->digest = (seen->digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3U;
    }
}

static void look(const struct rp_error_line *line, void *user) {
    struct seen *seen = user;
    FUZZ_ASSERT(line->length <= RP_ERROR_LINE_BYTES);
    FUZZ_ASSERT(rp_text_utf8_error_at(line->text, line->length) == line->length);
    FUZZ_ASSERT(rp_text_control_at(line->text, line->length) == line->length);
    FUZZ_ASSERT(line->role <= RP_LINE_NOISE);
    FUZZ_ASSERT(line->number == ++seen->lines);
    FUZZ_ASSERT(line->block < RP_ERROR_BLOCKS_MAX);
    if (line->block > seen->block_max) seen->block_max = line->block;
    uint64_t behind = line->start + (line->from ? line->from[line->length] : line->length);
    FUZZ_ASSERT(line->start >= seen->end);
    FUZZ_ASSERT(behind >= line->start && behind <= seen->length);
    if (line->from) {
        FUZZ_ASSERT(line->from[0] == 0);
        for (size_t i = 0; i < line->length; i++) {
            FUZZ_ASSERT(line->from[i] <= line->from[i + 1]);
        }
    } else {
        FUZZ_ASSERT(memcmp(line->text, seen->bytes + line->start, line->length) == 0);
    }
    seen->end = behind;
    mix(seen, line->text, line->length);
    mix(seen, &line->role, sizeof line->role);
    mix(seen, &line->block, sizeof line->block);
    mix(seen, &line->start, sizeof line->start);
    for (size_t i = 0; i <= line->length && line->from; i++) {
        mix(seen, &line->from[i], sizeof line->from[i]);
    }
}

/* Pieces of `step` bytes, of which each is a block of its own for a sanitizer. */
static struct seen read_text(const char *bytes, size_t size, size_t step) {
    struct seen seen = {.bytes = bytes, .length = size};
    struct rp_error_text *text = rp_error_text_create(look, &seen);
    FUZZ_ASSERT(text != NULL);
    for (size_t at = 0; at < size; at += step) {
        size_t length = size - at < step ? size - at : step;
        char *piece = malloc(length);
        FUZZ_ASSERT(piece != NULL);
        memcpy(piece, bytes + at, length);
        rp_error_text_feed(text, piece, length);
        free(piece);
    }
    rp_error_text_finish(text);
    FUZZ_ASSERT(rp_error_text_bytes(text) == size);
    FUZZ_ASSERT(rp_error_text_line_count(text) == seen.lines);
    unsigned count = rp_error_text_block_count(text);
    FUZZ_ASSERT(count >= 1 && count <= RP_ERROR_BLOCKS_MAX && seen.block_max < count);
    for (unsigned i = 0; i < count + 2; i++) {
        unsigned depth = rp_error_text_depth(text, i);
        FUZZ_ASSERT(depth < count);
        mix(&seen, &depth, sizeof depth);
    }
    rp_error_text_destroy(text);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const char *bytes = (const char *)data + 1;
    struct seen whole = read_text(bytes, size - 1, size);
    struct seen cut = read_text(bytes, size - 1, 1 + data[0] % 64);
    FUZZ_ASSERT(whole.digest == cut.digest && whole.lines == cut.lines);
    return 0;
}
