/* SPDX-License-Identifier: Apache-2.0 */
#include "model/cursor.h"

#include "base/status.h"

#include <string.h>

void rp_cursor_init(struct rp_cursor *cursor, const struct rp_source *source, const char *what) {
    cursor->source = source;
    cursor->at = 0;
    cursor->end = source->size;
    cursor->is_limited = false;
    cursor->is_big_endian = false;
    cursor->what = what;
    cursor->window_at = 0;
    cursor->window_length = 0;
}

static rp_status check(const struct rp_cursor *cursor, uint64_t length, rp_error *err) {
    uint64_t left = cursor->at < cursor->end ? cursor->end - cursor->at : 0;
    if (length <= left) return RP_OK;
    if (cursor->is_limited) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': %s goes beyond byte %llu, which is the limit",
                       cursor->source->name, cursor->what, (unsigned long long)cursor->end);
    }
    return rp_fail(err, RP_ERR_DATA, "'%s': %s needs %llu bytes at byte %llu, %llu are left",
                   cursor->source->name, cursor->what, (unsigned long long)length,
                   (unsigned long long)cursor->at, (unsigned long long)left);
}

static rp_status fill_window(struct rp_cursor *cursor, rp_error *err) {
    uint64_t left = cursor->source->size - cursor->at;
    size_t length = left < sizeof cursor->window ? (size_t)left : sizeof cursor->window;
    cursor->window_length = 0;
    rp_status status =
        rp_source_read(cursor->source, cursor->at, cursor->window, length, cursor->what, err);
    if (status != RP_OK) return status;
    cursor->window_at = cursor->at;
    cursor->window_length = length;
    return RP_OK;
}

rp_status rp_cursor_read(struct rp_cursor *cursor, void *out, size_t length, rp_error *err) {
    rp_status status = check(cursor, length, err);
    char *next = out;
    while (status == RP_OK && length > 0) {
        uint64_t skipped = cursor->at - cursor->window_at;
        bool is_inside = cursor->at >= cursor->window_at && skipped < cursor->window_length;
        if (!is_inside) {
            status = fill_window(cursor, err);
            continue;
        }
        size_t part = cursor->window_length - (size_t)skipped;
        if (part > length) part = length;
        memcpy(next, cursor->window + skipped, part);
        next += part;
        length -= part;
        cursor->at += part;
    }
    return status;
}

rp_status rp_cursor_read_number(struct rp_cursor *cursor, size_t bytes, uint64_t *value,
                                rp_error *err) {
    unsigned char raw[8];
    rp_status status = rp_cursor_read(cursor, raw, bytes, err);
    if (status != RP_OK) return status;
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) {
        number = number << 8 | raw[cursor->is_big_endian ? i : bytes - 1 - i];
    }
    *value = number;
    return RP_OK;
}

rp_status rp_cursor_read_u8(struct rp_cursor *cursor, uint8_t *value, rp_error *err) {
    return rp_cursor_read(cursor, value, 1, err);
}

rp_status rp_cursor_read_u32(struct rp_cursor *cursor, uint32_t *value, rp_error *err) {
    uint64_t number;
    rp_status status = rp_cursor_read_number(cursor, 4, &number, err);
    if (status == RP_OK) *value = (uint32_t)number;
    return status;
}

rp_status rp_cursor_read_u64(struct rp_cursor *cursor, uint64_t *value, rp_error *err) {
    return rp_cursor_read_number(cursor, 8, value, err);
}

rp_status rp_cursor_skip(struct rp_cursor *cursor, uint64_t length, rp_error *err) {
    rp_status status = check(cursor, length, err);
    if (status == RP_OK) cursor->at += length;
    return status;
}
