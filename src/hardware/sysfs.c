/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/sysfs.h"

#include "base/limits.h"
#include "base/text.h"

#include <resourcepool/hardware.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 2 * RP_LIMIT_NAME_BYTES };

static bool print_path(char *path, const char *root, const char *format, va_list args) {
    int length = snprintf(path, PATH_BYTES, "%s", root);
    if (length < 0 || length >= PATH_BYTES) return false;
    int more = vsnprintf(path + length, (size_t)(PATH_BYTES - length), format, args);
    return more >= 0 && more < PATH_BYTES - length;
}

static bool read_text(const char *path, char *out, size_t out_bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    size_t length = 0;
    while (length + 1 < out_bytes) {
        ssize_t got = read(fd, out + length, out_bytes - 1 - length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        length += (size_t)got;
    }
    close(fd);
    out[length] = '\0';
    return length > 0 && out[0] != '\0';
}

static bool read_line(const char *path, char *out, size_t out_bytes) {
    if (!read_text(path, out, out_bytes)) return false;
    out[strcspn(out, "\n")] = '\0';
    size_t start = strspn(out, " \t\r");
    size_t length = strlen(out + start);
    while (length > 0 && strchr(" \t\r", out[start + length - 1])) {
        length--;
    }
    memmove(out, out + start, length);
    out[length] = '\0';
    rp_text_make_printable(out);
    return length > 0;
}

bool rp_sysfs_text(const char *root, char *out, size_t out_bytes, const char *format, ...) {
    char path[PATH_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = print_path(path, root, format, args);
    va_end(args);
    return fits && read_text(path, out, out_bytes);
}

bool rp_sysfs_line(const char *root, char *out, size_t out_bytes, const char *format, ...) {
    char path[PATH_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = print_path(path, root, format, args);
    va_end(args);
    return fits && read_line(path, out, out_bytes);
}

bool rp_sysfs_parse_u64(const char *text, uint64_t *value) {
    if (text[0] != '0' || (text[1] != 'x' && text[1] != 'X')) return rp_text_parse_u64(text, value);
    size_t digits = strspn(text + 2, "0123456789abcdefABCDEF");
    if (digits == 0 || digits > 16 || text[2 + digits] != '\0') return false;
    *value = strtoull(text + 2, NULL, 16);
    return true;
}

uint64_t rp_sysfs_u64(const char *root, const char *format, ...) {
    char path[PATH_BYTES];
    char line[64];
    uint64_t value;
    va_list args;
    va_start(args, format);
    bool fits = print_path(path, root, format, args);
    va_end(args);
    bool is_known = fits && read_line(path, line, sizeof line) && rp_sysfs_parse_u64(line, &value);
    return is_known ? value : RP_UNKNOWN_U64;
}

bool rp_sysfs_exists(const char *root, const char *format, ...) {
    char path[PATH_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = print_path(path, root, format, args);
    va_end(args);
    return fits && access(path, F_OK) == 0;
}

bool rp_sysfs_link_name(const char *root, char *out, size_t out_bytes, const char *format, ...) {
    char path[PATH_BYTES];
    char target[RP_LIMIT_NAME_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = print_path(path, root, format, args);
    va_end(args);
    ssize_t length = fits ? readlink(path, target, sizeof target - 1) : -1;
    if (length <= 0) return false;
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    int printed = snprintf(out, out_bytes, "%s", slash ? slash + 1 : target);
    return printed > 0 && (size_t)printed < out_bytes;
}

static int compare_names(const void *left, const void *right) {
    return strverscmp(left, right);
}

void rp_sysfs_list(const char *root, const char *folder, const char *prefix,
                   struct rp_sysfs_names *names) {
    char path[PATH_BYTES];
    names->count = 0;
    int length = snprintf(path, sizeof path, "%s%s", root, folder);
    DIR *dir = length > 0 && length < PATH_BYTES ? opendir(path) : NULL;
    struct dirent *entry;
    while (dir && names->count < RP_SYSFS_NAMES && (entry = readdir(dir))) {
        size_t name_length = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || name_length >= RP_SYSFS_NAME_BYTES) continue;
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
        memcpy(names->names[names->count++], entry->d_name, name_length + 1);
    }
    if (dir) closedir(dir);
    qsort(names->names, names->count, sizeof names->names[0], compare_names);
}
