/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small files of /sys: one value each, below the folder that stands for "/". What cannot be
 * read is not known; nothing here fails, allocates or needs closing.
 */
#ifndef RP_HARDWARE_SYSFS_H
#define RP_HARDWARE_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The text of a small file, NUL-terminated and cut at out_bytes; the path is printed from `format`
 * and begins with '/'. *length may be NULL. False when it cannot be read or is empty.
 */
bool rp_sysfs_text(const char *root, char *out, size_t out_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Its first line, without blanks at either end. False also when that is empty. */
bool rp_sysfs_line(const char *root, char *out, size_t out_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The number that it holds, decimal or with 0x; RP_UNKNOWN_U64 when it holds none. */
uint64_t rp_sysfs_u64(const char *root, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Whether there is such a file or folder. */
bool rp_sysfs_exists(const char *root, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The last part of where a link leads: "amdgpu" for .../driver. False when it is no link. */
bool rp_sysfs_link_name(const char *root, char *out, size_t out_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Names in a folder that begin with a prefix, in the order of the numbers in them. Eight MI300X in
 * eight parts each, and the processors, are 66. */
enum { RP_SYSFS_NAMES = 256, RP_SYSFS_NAME_BYTES = 64 };
struct rp_sysfs_names {
    char names[RP_SYSFS_NAMES][RP_SYSFS_NAME_BYTES];
    size_t count; /* RP_SYSFS_NAMES at most: what is beyond is left out, as are longer names */
};
void rp_sysfs_list(const char *root, const char *folder, const char *prefix,
                   struct rp_sysfs_names *names);

/* A number in a text, decimal or with 0x, nothing before or after it. */
bool rp_sysfs_parse_u64(const char *text, uint64_t *value);

#endif
