/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a source forwards through a small window: what is passed over is never read, so that a
 * table at the end of a file of 100 GB costs a few kB.
 */
#ifndef RP_MODEL_CURSOR_H
#define RP_MODEL_CURSOR_H

#include "model/source.h"

#include <stdbool.h>

enum { RP_CURSOR_WINDOW_BYTES = 4096 };

struct rp_cursor {
    const struct rp_source *source;
    uint64_t at;        /* of the next byte; may be set to go elsewhere                          */
    uint64_t end;       /* nothing is read at or beyond it; never beyond the end of the source   */
    bool is_limited;    /* the end is a limit of ours: meeting it is RP_ERR_LIMIT, not _DATA     */
    bool is_big_endian; /* of numbers                                                            */
    const char *what;   /* what is being read, for messages: "the metadata"                      */
    uint64_t window_at; /* private: where the window begins and how much of it is filled         */
    size_t window_length;
    unsigned char window[RP_CURSOR_WINDOW_BYTES];
};

/* At the first byte of a source, whose end is the cursor's. */
void rp_cursor_init(struct rp_cursor *cursor, const struct rp_source *source, const char *what);

/* Read on. RP_ERR_DATA (or _LIMIT) when less is left, RP_ERR_IO. */
rp_status rp_cursor_read(struct rp_cursor *cursor, void *out, size_t length, rp_error *err);
rp_status rp_cursor_read_u8(struct rp_cursor *cursor, uint8_t *value, rp_error *err);
rp_status rp_cursor_read_u32(struct rp_cursor *cursor, uint32_t *value, rp_error *err);
rp_status rp_cursor_read_u64(struct rp_cursor *cursor, uint64_t *value, rp_error *err);

/* Read an unsigned number of 1, 2, 4 or 8 bytes. */
rp_status rp_cursor_read_number(struct rp_cursor *cursor, size_t bytes, uint64_t *value,
                                rp_error *err);

/* Pass over what is not wanted. */
rp_status rp_cursor_skip(struct rp_cursor *cursor, uint64_t length, rp_error *err);

#endif
