/* SPDX-License-Identifier: Apache-2.0 */
/**
 * How a call reports failure: a status that programs branch on, and an rp_error that people read.
 *
 * Every call that can fail returns an rp_status and takes an `rp_error *err` last. The error is
 * owned by the caller and lives wherever the caller put it, usually on the stack; NULL means that
 * the status is enough. On success *err stays untouched, on failure the other outputs do.
 */
#ifndef RESOURCEPOOL_STATUS_H
#define RESOURCEPOOL_STATUS_H

#include <resourcepool/api.h>

/*
 * One row per way to fail: constant, number, HTTP status, exit code of the command line, name, name
 * of the exception in language bindings, and what it means. A number never changes its meaning.
 */
/* clang-format off */
#define RP_STATUS_MAP(X)                                                                                                        \
    X(OK,               0, 200, 0, "ok",          "",                 "success")                                                \
    X(ERR_ARGUMENT,     1, 400, 2, "argument",    "ArgumentError",    "the call was made wrongly: a bad name, option or handle")\
    X(ERR_MEMORY,       2, 503, 4, "memory",      "MemoryError",      "the process or the machine is out of memory")            \
    X(ERR_CAPACITY,     3, 503, 4, "capacity",    "CapacityError",    "no device has room; waiting or releasing may help")      \
    X(ERR_TIMEOUT,      4, 504, 4, "timeout",     "TimeoutError",     "the deadline passed before the answer was there")        \
    X(ERR_CANCELLED,    5, 499, 1, "cancelled",   "CancelledError",   "the caller's own cancel token was fired")                \
    X(ERR_NOT_FOUND,    6, 404, 3, "not_found",   "NotFoundError",    "nothing of that name exists")                            \
    X(ERR_ABSENT,       7, 424, 1, "absent",      "AbsentError",      "a device, driver or library is not on this machine")     \
    X(ERR_UNSUPPORTED,  8, 501, 1, "unsupported", "UnsupportedError", "it exists, but this cannot be done with it")             \
    X(ERR_DATA,         9, 422, 1, "data",        "DataError",        "a file or message is damaged or not what it should be")  \
    X(ERR_LOAD,        10, 500, 1, "load",        "LoadError",        "a constructor or an engine failed to make the object")   \
    X(ERR_CYCLE,       11, 508, 1, "cycle",       "CycleError",       "a constructor needs, in the end, what it is making")     \
    X(ERR_BUSY,        12, 409, 1, "busy",        "BusyError",        "leases or loads are still out")                          \
    X(ERR_STATE,       13, 409, 1, "state",       "StateError",       "the object is past that: released, closed or ended")     \
    X(ERR_FORKED,      14, 409, 1, "forked",      "ForkedError",      "the pool was opened by the parent of this process")      \
    X(ERR_LIMIT,       15, 413, 1, "limit",       "LimitError",       "over a limit that is written in the documentation")      \
    X(ERR_IO,          16, 500, 1, "io",          "SystemError",      "a system call failed")                                   \
    X(ERR_RUN,         17, 500, 1, "run",         "RunError",         "a loaded model failed to run on these inputs")
/* clang-format on */

/** What kind of outcome. RP_OK is 0; everything else is an error. */
typedef enum rp_status {
#define RP_STATUS_ENUM(constant, number, http, exit_code, name, exception, text)                   \
    RP_##constant = number,
    RP_STATUS_MAP(RP_STATUS_ENUM)
#undef RP_STATUS_ENUM
} rp_status;

/** Why a call failed. Owned by the caller, no heap, nothing to free. */
typedef struct rp_error {
    rp_status status;  /* what kind: never changes meaning                        */
    int os_errno;      /* 0 when no system call was involved                      */
    char message[312]; /* what happened: names, numbers, limits; valid UTF-8      */
    char hint[192];    /* what to do next; empty when nothing would help          */
} rp_error;

/** An error that says nothing yet. */
#define RP_ERROR_INIT                                                                              \
    {                                                                                              \
        RP_OK, 0, {0}, {                                                                           \
            0                                                                                      \
        }                                                                                          \
    }

RP_BEGIN_DECLS

/** The name of a status without its prefix, in lower case: "timeout". NULL for a stranger. */
RP_API const char *rp_status_name(rp_status status);

/** What a status means, in one sentence. Static storage; never NULL. */
RP_API const char *rp_status_text(rp_status status);

/** The exit code that a command line uses for it: 0, 1, 2, 3 or 4. */
RP_API int rp_status_exit_code(rp_status status);

/** The HTTP status code that stands for it. */
RP_API int rp_status_http_code(rp_status status);

/** The name of the exception that language bindings raise for it; "" for RP_OK. */
RP_API const char *rp_status_exception(rp_status status);

/**
 * Fill in an error and return its status, so that a function can end with
 * `return rp_fail(err, RP_ERR_DATA, "cannot read '%s': ...", path);`.
 *
 * For constructors too: what they write here is what every waiting caller reads. A message
 * that is too long ends in "..."; control characters become '?', broken UTF-8 too. Clears the hint.
 * err may be NULL. Any thread.
 */
RP_API rp_status rp_fail(rp_error *err, rp_status status, const char *format, ...) RP_PRINTF(3, 4);

/** Like rp_fail() after a failed system call: takes errno, appends its text, picks the status. */
RP_API rp_status rp_fail_errno(rp_error *err, const char *format, ...) RP_PRINTF(2, 3);

/** Say what to do next. Does nothing when err is NULL. */
RP_API void rp_hint(rp_error *err, const char *format, ...) RP_PRINTF(2, 3);

/** Put "what was being done: " in front of the message; keeps status and hint. */
RP_API void rp_error_prefix(rp_error *err, const char *format, ...) RP_PRINTF(2, 3);

RP_END_DECLS

#endif
