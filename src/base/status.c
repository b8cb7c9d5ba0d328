/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status table and the caller-owned error.
 *
 * A message is written straight into the caller's buffer: no heap, so that "out of memory" can be
 * reported when there is none. Names inside messages come from files and other processes; they are
 * made harmless here, once, rather than at each call.
 */
#include "base/status.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct status_row {
    rp_status status;
    int http_code;
    int exit_code;
    const char *name;
    const char *exception;
    const char *text;
};

static const struct status_row rows[] = {
#define ROW(constant, number, http, exit_code, name, exception, text)                              \
    {RP_##constant, http, exit_code, name, exception, text},
    RP_STATUS_MAP(ROW)
#undef ROW
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static const struct status_row *find_row(rp_status status) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].status == status) return &rows[i];
    }
    return NULL;
}

/* End a text that was cut with "...", on a character boundary, so that the loss is seen. */
static void mark_cut(char *text, size_t text_bytes) {
    size_t length = text_bytes - 4;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
        length--;
    }
    memcpy(text + length, "...", 4);
}

RP_PRINTF(3, 0)
static void format_into(char *out, size_t out_bytes, const char *format, va_list args) {
    int length = vsnprintf(out, out_bytes, format, args);
    if (length < 0) {
        out[0] = '\0'; /* an encoding error inside printf: nothing of it is usable */
        return;
    }
    if ((size_t)length >= out_bytes) mark_cut(out, out_bytes);
    rp_text_make_printable(out);
}

const char *rp_status_name(rp_status status) {
    const struct status_row *row = find_row(status);
    return row ? row->name : NULL;
}

const char *rp_status_text(rp_status status) {
    const struct status_row *row = find_row(status);
    return row ? row->text : "unknown status";
}

int rp_status_exit_code(rp_status status) {
    const struct status_row *row = find_row(status);
    return row ? row->exit_code : 1;
}

int rp_status_http_code(rp_status status) {
    const struct status_row *row = find_row(status);
    return row ? row->http_code : 500;
}

const char *rp_status_exception(rp_status status) {
    const struct status_row *row = find_row(status);
    return row ? row->exception : "ResourcePoolError";
}

rp_status rp_status_of_errno(int os_errno) {
    switch (os_errno) {
    case ENOENT:
    case ENOTDIR:
        return RP_ERR_NOT_FOUND;
    case ENOMEM:
        return RP_ERR_MEMORY;
    default:
        return RP_ERR_IO;
    }
}

rp_status rp_fail_va(rp_error *err, rp_status status, const char *format, va_list args) {
    if (!err) return status;
    err->status = status;
    err->os_errno = 0;
    err->hint[0] = '\0';
    format_into(err->message, sizeof err->message, format, args);
    return status;
}

rp_status(rp_fail)(rp_error *err, rp_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    rp_fail_va(err, status, format, args);
    va_end(args);
    return status;
}

rp_status(rp_fail_errno)(rp_error *err, const char *format, ...) {
    int os_errno = errno;
    rp_status status = rp_status_of_errno(os_errno);
    if (!err) return status;
    va_list args;
    va_start(args, format);
    rp_fail_va(err, status, format, args);
    va_end(args);
    char buffer[96];
    const char *reason = strerror_r(os_errno, buffer, sizeof buffer); /* the GNU form */
    size_t length = strlen(err->message);
    int more = snprintf(err->message + length, sizeof err->message - length, ": %s", reason);
    if (more > 0 && (size_t)more >= sizeof err->message - length) {
        mark_cut(err->message, sizeof err->message);
    }
    err->os_errno = os_errno;
    return status;
}

void rp_hint(rp_error *err, const char *format, ...) {
    if (!err) return;
    va_list args;
    va_start(args, format);
    format_into(err->hint, sizeof err->hint, format, args);
    va_end(args);
}

void rp_error_prefix(rp_error *err, const char *format, ...) {
    if (!err) return;
    char story[sizeof err->message];
    memcpy(story, err->message, sizeof story);
    va_list args;
    va_start(args, format);
    format_into(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t length = strlen(err->message);
    int more = snprintf(err->message + length, sizeof err->message - length, ": %s", story);
    if (more > 0 && (size_t)more >= sizeof err->message - length) {
        mark_cut(err->message, sizeof err->message);
    }
}
