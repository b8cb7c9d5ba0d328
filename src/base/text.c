/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <resourcepool/text.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool reserve(struct rp_text *text, size_t more) {
    if (text->failed) return false;
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    if (needed > RP_LIMIT_TEXT_BYTES) {
        text->failed = true;
        return false;
    }
    size_t capacity = text->capacity ? text->capacity : 128;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *grown = rp_realloc_array(text->bytes, capacity, 1);
    if (!grown) {
        text->failed = true;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

void rp_text_append(struct rp_text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void rp_text_print(struct rp_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        text->failed = true;
        return;
    }
    if (!reserve(text, (size_t)length)) return;
    va_start(args, format);
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, args);
    va_end(args);
    text->length += (size_t)length;
}

void rp_string_free(char *text) {
    rp_free(text);
}

void rp_text_fini(struct rp_text *text) {
    rp_free(text->bytes);
    *text = (struct rp_text)RP_TEXT_INIT;
}

/*
 * The length of the valid UTF-8 sequence at `at`, or 0. The table of well-formed sequences of the
 * Unicode standard (3.9, D92): only the second byte's range depends on the first.
 */
static size_t sequence_length(const unsigned char *at, size_t left) {
    unsigned char first = at[0];
    if (first < 0x80) return 1;
    size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                    : first >= 0xE0 && first <= 0xEF ? 3
                    : first >= 0xF0 && first <= 0xF4 ? 4
                                                     : 0;
    if (length == 0 || length > left) return 0;
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
    }
    return length;
}

size_t rp_text_utf8_error_at(const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    size_t i = 0;
    while (i < length) {
        size_t step = sequence_length(at + i, length - i);
        if (step == 0) return i;
        i += step;
    }
    return length;
}

static bool is_control_at(const unsigned char *at, size_t left) {
    if (at[0] < 0x20 || at[0] == 0x7F) return true;
    return at[0] == 0xC2 && left > 1 && at[1] >= 0x80 && at[1] <= 0x9F;
}

size_t rp_text_control_at(const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0; i < length; i++) {
        if (is_control_at(at + i, length - i)) return i;
    }
    return length;
}

void rp_text_make_printable(char *text) {
    unsigned char *at = (unsigned char *)text;
    size_t left = strlen(text);
    while (left > 0) {
        size_t step = sequence_length(at, left);
        if (step == 0 || is_control_at(at, left)) {
            step = step ? step : 1;
            memset(at, '?', step);
        }
        at += step;
        left -= step;
    }
}

const char *rp_text_bytes(uint64_t bytes, char *out, size_t out_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    /* 1023.95 would print as 1024.0: move on before it rounds up. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    if (unit == 0) {
        snprintf(out, out_bytes, "%u B", (unsigned)bytes);
    } else {
        snprintf(out, out_bytes, "%.1f %s", value, units[unit]);
    }
    return out;
}

bool rp_text_parse_bytes(const char *text, uint64_t *bytes) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {
        {"", 1},       {"b", 1},        {"k", 0x1p10},   {"kib", 0x1p10}, {"kb", 1e3},
        {"m", 0x1p20}, {"mib", 0x1p20}, {"mb", 1e6},     {"g", 0x1p30},   {"gib", 0x1p30},
        {"gb", 1e9},   {"t", 0x1p40},   {"tib", 0x1p40}, {"tb", 1e12},
    };
    if (!isdigit((unsigned char)text[0])) return false;
    char *end;
    double value = strtod(text, &end);
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) return false;
    while (*end == ' ') {
        end++;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(end, units[i].name) != 0) continue;
        double total = value * units[i].factor;
        if (!isfinite(total) || total >= 0x1p64) return false;
        *bytes = (uint64_t)total;
        return true;
    }
    return false;
}

rp_status rp_bytes_parse(const char *text, uint64_t *bytes, rp_error *err) {
    if (!text || !bytes) return rp_fail(err, RP_ERR_ARGUMENT, "no text to read bytes from");
    if (rp_text_parse_bytes(text, bytes) && *bytes != UINT64_MAX) return RP_OK;
    rp_fail(err, RP_ERR_ARGUMENT, "'%.60s' is no number of bytes", text);
    rp_hint(err, "such as 1073741824, 512MiB, 1.5GB");
    return RP_ERR_ARGUMENT;
}

bool rp_text_parse_u64(const char *text, uint64_t *value) {
    if (!isdigit((unsigned char)text[0])) return false;
    errno = 0;
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') return false;
    *value = number;
    return true;
}

int rp_text_read_fd(int fd, size_t bytes_max, char **bytes, size_t *length) {
    size_t capacity = 4096;
    size_t used = 0;
    int os_errno = 0;
    char *buffer = rp_alloc(capacity);
    while (buffer) {
        if (used + 1 == capacity) {
            char *grown = rp_realloc_array(buffer, capacity * 2, 1);
            if (!grown) {
                os_errno = ENOMEM;
                break;
            }
            buffer = grown;
            capacity *= 2;
        }
        ssize_t got = read(fd, buffer + used, capacity - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) os_errno = errno;
        if (got <= 0) break;
        used += (size_t)got;
        if (used > bytes_max) {
            os_errno = EFBIG;
            break;
        }
    }
    if (!buffer) return ENOMEM;
    if (os_errno != 0) {
        rp_free(buffer);
        return os_errno;
    }
    buffer[used] = '\0';
    *bytes = buffer;
    *length = used;
    return 0;
}

int rp_text_read_file(const char *path, size_t bytes_max, char **bytes, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int os_errno = rp_text_read_fd(fd, bytes_max, bytes, length);
    close(fd);
    return os_errno;
}
