/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text: a buffer that grows up to a maximum it was born with, and what names and numbers need.
 */
#ifndef RP_BASE_TEXT_H
#define RP_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A growing text. Zero-initialise (or RP_TEXT_INIT), append, look at `failed` once at the end: an
 * append that found no memory, or would have passed RP_LIMIT_TEXT_BYTES, sets it and later ones
 * do nothing. `bytes` is NUL-terminated whenever it is not NULL.
 */
struct rp_text {
    char *bytes;
    size_t length;
    size_t capacity;
    bool failed;
};
#define RP_TEXT_INIT                                                                               \
    { 0 }

void rp_text_append(struct rp_text *text, const char *bytes, size_t length);
void rp_text_print(struct rp_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rp_text_fini(struct rp_text *text);

/*
 * The position of the first byte that is not part of valid UTF-8, or `length` when all is well.
 * Overlong forms, surrogates and what lies beyond U+10FFFF are not valid.
 */
size_t rp_text_utf8_error_at(const char *bytes, size_t length);

/* The position of the first control character (C0, DEL or C1 in UTF-8), or `length`. */
size_t rp_text_control_at(const char *bytes, size_t length);

/* Replace, in place, control characters and bytes that are not valid UTF-8 by '?'. */
void rp_text_make_printable(char *text);

/* Bytes for people: "0 B", "512 B", "1.3 GiB", "20.4 GiB". out holds at least 16 bytes. */
enum { RP_BYTES_TEXT_BYTES = 16 };
const char *rp_text_bytes(uint64_t bytes, char *out, size_t out_bytes);

/*
 * Read a size such as "1073741824", "512MiB", "1.5GB", "2 GiB", "64K" (K, M, G, T alone are
 * binary). False when it is not one or does not fit 64 bits.
 */
bool rp_text_parse_bytes(const char *text, uint64_t *bytes);

/* Read a whole decimal number, nothing before or after it; false when it is not one. */
bool rp_text_parse_u64(const char *text, uint64_t *value);

/* The whole of a small file (such as one under /proc), NUL-terminated, with a maximum of
 * `bytes_max`; *bytes is the caller's. Returns 0 or an errno (EFBIG: larger than the maximum). */
int rp_text_read_file(const char *path, size_t bytes_max, char **bytes, size_t *length);

/* The same of a file that is open, from where it stands; it stays open. */
int rp_text_read_fd(int fd, size_t bytes_max, char **bytes, size_t *length);

#endif
