/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format of protocol buffers, read by hand, forwards and through a small window: a library
 * would want the whole model in memory, and here bytes of weights are passed over by their length.
 * As there, fields may come in any order, and one of another wire type than expected counts as
 * unknown.
 */
#include "model/onnx.h"

#include "base/limits.h"
#include "base/status.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

rp_status rp_onnx_read_varint(struct rp_onnx *onnx, uint64_t *value, rp_error *err) {
    uint64_t at = onnx->cursor.at;
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte;
        rp_status status = rp_cursor_read_u8(&onnx->cursor, &byte, err);
        if (status != RP_OK) return status;
        /* As protocol buffers do: bits beyond the 64th are lost. */
        if (shift < 64) number |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *value = number;
            return RP_OK;
        }
    }
    return rp_fail(err, RP_ERR_DATA, "'%s': the number at byte %llu does not end after 10 bytes",
                   onnx->cursor.source->name, (unsigned long long)at);
}

static rp_status fail_tag(struct rp_onnx *onnx, uint64_t at, uint64_t tag, rp_error *err) {
    return rp_fail(err, RP_ERR_DATA, "'%s': %s has no field at byte %llu (tag %llu)",
                   onnx->cursor.source->name, onnx->cursor.what, (unsigned long long)at,
                   (unsigned long long)tag);
}

static rp_status read_tag(struct rp_onnx *onnx, struct rp_field *field, rp_error *err) {
    uint64_t at = onnx->cursor.at;
    uint64_t tag = 0;
    rp_status status = rp_onnx_read_varint(onnx, &tag, err);
    if (status != RP_OK) return status;
    if (tag > UINT32_MAX || tag >> 3 == 0 || (tag & 7) > RP_WIRE_FIXED32) {
        return fail_tag(onnx, at, tag, err);
    }
    field->number = (uint32_t)(tag >> 3);
    field->wire = (enum rp_wire)(tag & 7);
    return RP_OK;
}

/* The value of a field that is no group; the cursor stands behind it. */
static rp_status read_value(struct rp_onnx *onnx, struct rp_field *field, rp_error *err) {
    rp_status status = RP_OK;
    if (field->wire == RP_WIRE_VARINT) {
        status = rp_onnx_read_varint(onnx, &field->value, err);
    } else if (field->wire == RP_WIRE_BYTES) {
        uint64_t length;
        status = rp_onnx_read_varint(onnx, &length, err);
        if (status != RP_OK) return status;
        field->begin = onnx->cursor.at;
        status = rp_cursor_skip(&onnx->cursor, length, err);
    } else {
        size_t bytes = field->wire == RP_WIRE_FIXED64 ? 8 : 4;
        status = rp_cursor_read_number(&onnx->cursor, bytes, &field->value, err);
    }
    field->end = onnx->cursor.at;
    return status;
}

/* After the beginning of a group: pass over it and the groups in it. */
static rp_status skip_group(struct rp_onnx *onnx, uint32_t number, rp_error *err) {
    uint32_t open[RP_LIMIT_MODEL_DEPTH] = {number};
    size_t depth = 1;
    while (depth > 0) {
        struct rp_field field;
        uint64_t at = onnx->cursor.at;
        rp_status status = read_tag(onnx, &field, err);
        if (status != RP_OK) return status;
        if (field.wire == RP_WIRE_GROUP_END) {
            if (field.number != open[--depth]) return fail_tag(onnx, at, field.number, err);
        } else if (field.wire != RP_WIRE_GROUP) {
            status = read_value(onnx, &field, err);
            if (status != RP_OK) return status;
        } else if (depth < RP_LIMIT_MODEL_DEPTH) {
            open[depth++] = field.number;
        } else {
            return rp_fail(err, RP_ERR_LIMIT, "'%s': groups within groups at byte %llu, at most %d",
                           onnx->cursor.source->name, (unsigned long long)at, RP_LIMIT_MODEL_DEPTH);
        }
    }
    return RP_OK;
}

rp_status rp_onnx_read_message(struct rp_onnx *onnx, uint64_t begin, uint64_t end, const char *what,
                               rp_onnx_field_reader *read, void *user, rp_error *err) {
    uint64_t outer_end = onnx->cursor.end;
    const char *outer_what = onnx->cursor.what;
    rp_status status = RP_OK;
    onnx->cursor.at = begin;
    onnx->cursor.end = end;
    onnx->cursor.what = what;
    while (status == RP_OK && onnx->cursor.at < end) {
        struct rp_field field;
        uint64_t at = onnx->cursor.at;
        status = read_tag(onnx, &field, err);
        if (status != RP_OK) break;
        if (field.wire == RP_WIRE_GROUP_END) {
            status = fail_tag(onnx, at, field.number, err);
        } else if (field.wire == RP_WIRE_GROUP) {
            status = skip_group(onnx, field.number, err);
        } else {
            status = read_value(onnx, &field, err);
            if (status == RP_OK) status = read(onnx, &field, user, err);
            if (status == RP_OK) onnx->cursor.at = field.end;
        }
    }
    onnx->cursor.end = outer_end;
    onnx->cursor.what = outer_what;
    return status;
}

rp_status rp_onnx_read_text(struct rp_onnx *onnx, const struct rp_field *field, char *out,
                            size_t out_bytes, rp_error *err) {
    uint64_t length = field->end - field->begin;
    size_t kept = length < out_bytes ? (size_t)length : out_bytes - 1;
    onnx->cursor.at = field->begin;
    rp_status status = rp_cursor_read(&onnx->cursor, out, kept, err);
    if (status == RP_OK) out[kept] = '\0';
    return status;
}

rp_status rp_onnx_read_shown(struct rp_onnx *onnx, const struct rp_field *field,
                             char out[RP_ONNX_NAME_BYTES], rp_error *err) {
    char text[RP_ONNX_NAME_BYTES];
    rp_status status = rp_onnx_read_text(onnx, field, text, sizeof text, err);
    if (status == RP_OK) rp_facts_set_text(out, RP_ONNX_NAME_BYTES, text, strlen(text));
    return status;
}

rp_status rp_onnx_read_hash(struct rp_onnx *onnx, const struct rp_field *field, uint64_t *hash,
                            rp_error *err) {
    char part[512];
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    onnx->cursor.at = field->begin;
    for (uint64_t left = field->end - field->begin; left > 0;) {
        size_t length = left < sizeof part ? (size_t)left : sizeof part;
        rp_status status = rp_cursor_read(&onnx->cursor, part, length, err);
        if (status != RP_OK) return status;
        XXH64_update(&state, part, length);
        left -= length;
    }
    *hash = XXH64_digest(&state);
    if (*hash == 0) *hash = 1;
    return RP_OK;
}
