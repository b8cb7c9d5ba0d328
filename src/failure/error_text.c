/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/error_text.h"

#include "base/memory.h"

#include <string.h>

struct rp_error_text {
    rp_error_line_fn *take;
    void *user;
    uint64_t bytes;
    uint64_t line_count;
    size_t length;
    char line[RP_ERROR_LINE_BYTES];
};

struct rp_error_text *rp_error_text_create(rp_error_line_fn *take, void *user) {
    struct rp_error_text *text = rp_alloc(sizeof *text);
    if (!text) return NULL;
    text->take = take;
    text->user = user;
    return text;
}

static void end_line(struct rp_error_text *text) {
    struct rp_error_line line = {.text = text->line,
                                 .length = text->length,
                                 .number = ++text->line_count,
                                 .start = text->bytes - text->length};
    text->take(&line, text->user);
    text->length = 0;
}

void rp_error_text_feed(struct rp_error_text *text, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++, text->bytes++) {
        if (bytes[i] == '\n' || text->length == sizeof text->line) end_line(text);
        if (bytes[i] != '\n') text->line[text->length++] = bytes[i];
    }
}

void rp_error_text_finish(struct rp_error_text *text) {
    if (text->length > 0) end_line(text);
}

unsigned rp_error_text_depth(const struct rp_error_text *text, unsigned block) {
    (void)text;
    (void)block;
    return 0;
}

unsigned rp_error_text_block_count(const struct rp_error_text *text) {
    (void)text;
    return 1;
}

uint64_t rp_error_text_line_count(const struct rp_error_text *text) {
    return text->line_count;
}

uint64_t rp_error_text_bytes(const struct rp_error_text *text) {
    return text->bytes;
}

void rp_error_text_destroy(struct rp_error_text *text) {
    rp_free(text);
}
