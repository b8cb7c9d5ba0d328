/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/proc.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { START_BYTES = 16 << 10, PATH_BYTES = 3 * RP_LIMIT_NAME_BYTES };

static bool join(char *out, const char *root, const char *path) {
    int length = snprintf(out, PATH_BYTES, "%s%s", root, path);
    return length > 0 && length < PATH_BYTES;
}

static rp_status finish(struct rp_proc_file *file, const char *path, rp_error *err) {
    if (file->os_errno != ENOMEM) return RP_OK;
    return rp_fail(err, RP_ERR_MEMORY, "no memory to read '%s'", path);
}

rp_status rp_proc_file_read(struct rp_proc_file *file, const char *root, const char *path,
                            rp_error *err) {
    *file = (struct rp_proc_file){0};
    char whole[PATH_BYTES];
    file->os_errno = join(whole, root, path) ? rp_text_read_file(whole, RP_LIMIT_SYSTEM_FILE_BYTES,
                                                                 &file->bytes, &file->length)
                                             : ENAMETOOLONG;
    return finish(file, path, err);
}

static int read_start(struct rp_proc_file *file, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int os_errno = 0;
    char *bytes = rp_alloc(START_BYTES + 1);
    if (!bytes) os_errno = ENOMEM;
    size_t used = 0;
    while (os_errno == 0 && used < START_BYTES) {
        ssize_t got = read(fd, bytes + used, START_BYTES - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) os_errno = errno;
        if (got <= 0) break;
        used += (size_t)got;
    }
    close(fd);
    if (os_errno != 0) {
        rp_free(bytes);
        return os_errno;
    }
    file->bytes = bytes;
    file->length = used;
    return 0;
}

rp_status rp_proc_file_read_start(struct rp_proc_file *file, const char *root, const char *path,
                                  rp_error *err) {
    *file = (struct rp_proc_file){0};
    char whole[PATH_BYTES];
    file->os_errno = join(whole, root, path) ? read_start(file, whole) : ENAMETOOLONG;
    return finish(file, path, err);
}

void rp_proc_file_fini(struct rp_proc_file *file) {
    rp_free(file->bytes);
    *file = (struct rp_proc_file){0};
}

bool rp_span_next_line(struct rp_span *rest, struct rp_span *line) {
    if (rest->length == 0) return false;
    const char *newline = memchr(rest->at, '\n', rest->length);
    line->at = rest->at;
    line->length = newline ? (size_t)(newline - rest->at) : rest->length;
    size_t taken = line->length + (newline ? 1 : 0);
    rest->at += taken;
    rest->length -= taken;
    return true;
}

static bool is_one_of(char byte, const char *set) {
    return byte != '\0' && strchr(set, byte);
}

bool rp_span_next_word(struct rp_span *rest, const char *separators, struct rp_span *word) {
    while (rest->length > 0 && is_one_of(*rest->at, separators)) {
        rest->at++;
        rest->length--;
    }
    *word = (struct rp_span){rest->at, 0};
    while (rest->length > 0 && !is_one_of(*rest->at, separators)) {
        rest->at++;
        rest->length--;
        word->length++;
    }
    return word->length > 0;
}

struct rp_span rp_span_trim(struct rp_span span) {
    while (span.length > 0 && is_one_of(*span.at, " \t\r\n")) {
        span.at++;
        span.length--;
    }
    while (span.length > 0 && is_one_of(span.at[span.length - 1], " \t\r\n")) {
        span.length--;
    }
    return span;
}

bool rp_span_is(struct rp_span span, const char *text) {
    return span.length == strlen(text) && memcmp(span.at, text, span.length) == 0;
}

bool rp_span_parse_u64(struct rp_span span, uint64_t *value) {
    if (span.length == 0) return false;
    uint64_t number = 0;
    for (size_t i = 0; i < span.length; i++) {
        if (span.at[i] < '0' || span.at[i] > '9') return false;
        if (__builtin_mul_overflow(number, 10, &number)) return false;
        if (__builtin_add_overflow(number, (uint64_t)(span.at[i] - '0'), &number)) return false;
    }
    *value = number;
    return true;
}

/* Figures that JSON cannot carry (above INT64_MAX) are no bytes that a machine has. */
static uint64_t known_bytes(uint64_t number, uint64_t unit) {
    uint64_t bytes;
    if (__builtin_mul_overflow(number, unit, &bytes) || bytes > INT64_MAX) return RP_UNKNOWN_U64;
    return bytes;
}

uint64_t rp_proc_meminfo_bytes(struct rp_span text, const char *key) {
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        struct rp_span word;
        if (!rp_span_next_word(&line, " \t", &word)) continue;
        if (rp_span_is(word, "Node")) {
            if (!rp_span_next_word(&line, " \t", &word)) continue; /* its number */
            if (!rp_span_next_word(&line, " \t", &word)) continue;
        }
        if (!rp_span_is(word, key)) continue;
        struct rp_span number;
        struct rp_span unit;
        uint64_t value;
        if (!rp_span_next_word(&line, " \t\r", &number)) return RP_UNKNOWN_U64;
        if (!rp_span_next_word(&line, " \t\r", &unit)) return RP_UNKNOWN_U64;
        if (!rp_span_parse_u64(number, &value) || !rp_span_is(unit, "kB")) return RP_UNKNOWN_U64;
        return known_bytes(value, 1024);
    }
    return RP_UNKNOWN_U64;
}

uint64_t rp_proc_stat_value(struct rp_span text, const char *key) {
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        struct rp_span word;
        if (!rp_span_next_word(&line, " ", &word) || !rp_span_is(word, key)) continue;
        uint64_t value;
        return rp_span_parse_u64(rp_span_trim(line), &value) ? known_bytes(value, 1)
                                                             : RP_UNKNOWN_U64;
    }
    return RP_UNKNOWN_U64;
}

/* "x86_64" needs the long-mode flag; aarch64 kernels write the architecture as 8. */
static const char *guess_architecture(struct rp_span key, struct rp_span value) {
    if (rp_span_is(key, "CPU architecture") && rp_span_is(value, "8")) return "aarch64";
    if (!rp_span_is(key, "flags")) return NULL;
    struct rp_span word;
    while (rp_span_next_word(&value, " ", &word)) {
        if (rp_span_is(word, "lm")) return "x86_64";
    }
    return NULL;
}

static void take_first(struct rp_span *field, struct rp_span value) {
    if (!field->at && value.length > 0) *field = value;
}

void rp_cpuinfo_parse(struct rp_span text, struct rp_cpuinfo *info) {
    *info = (struct rp_cpuinfo){0};
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        const char *colon = line.length > 0 ? memchr(line.at, ':', line.length) : NULL;
        if (!colon) continue;
        size_t key_length = (size_t)(colon - line.at);
        struct rp_span key = rp_span_trim((struct rp_span){line.at, key_length});
        struct rp_span value =
            rp_span_trim((struct rp_span){colon + 1, line.length - key_length - 1});
        if (rp_span_is(key, "processor")) {
            info->processor_count++;
        } else if (rp_span_is(key, "model name")) {
            take_first(&info->name, value);
        } else if (rp_span_is(key, "flags") || rp_span_is(key, "Features")) {
            take_first(&info->features, value);
        } else if (rp_span_is(key, "CPU implementer")) {
            take_first(&info->implementer, value);
        } else if (rp_span_is(key, "CPU part")) {
            take_first(&info->part, value);
        }
        if (!info->architecture) info->architecture = guess_architecture(key, value);
    }
}

bool rp_cpulist_parse(struct rp_span text, uint32_t *numbers, uint32_t *count) {
    text = rp_span_trim(text);
    uint64_t next = 0; /* the least number that may still come */
    uint32_t seen = 0;
    bool more = text.length > 0;
    while (more) {
        const char *comma = memchr(text.at, ',', text.length);
        struct rp_span range = {text.at, comma ? (size_t)(comma - text.at) : text.length};
        more = comma;
        if (comma) {
            text.at += range.length + 1;
            text.length -= range.length + 1;
            if (text.length == 0) return false;
        }
        if (range.length == 0) return false;
        const char *dash = memchr(range.at, '-', range.length);
        struct rp_span low = {range.at, dash ? (size_t)(dash - range.at) : range.length};
        struct rp_span high =
            dash ? (struct rp_span){dash + 1, range.length - low.length - 1} : low;
        uint64_t first;
        uint64_t last;
        if (!rp_span_parse_u64(low, &first) || !rp_span_parse_u64(high, &last)) return false;
        if (first < next || last < first || last >= RP_LIMIT_PROCESSORS) return false;
        for (uint64_t i = first; i <= last; i++) {
            if (numbers) numbers[seen] = (uint32_t)i;
            seen++;
        }
        next = last + 1;
    }
    *count = seen;
    return true;
}

bool rp_cpulist_count(struct rp_span text, uint32_t *count) {
    return rp_cpulist_parse(text, NULL, count);
}
