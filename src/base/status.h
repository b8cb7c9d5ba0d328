/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the library: the public statuses and errors, and va_list forms of their functions. */
#ifndef RP_BASE_STATUS_H
#define RP_BASE_STATUS_H

#include <resourcepool/status.h>
#include <stdarg.h>

_Static_assert(sizeof(rp_error) == 512,
               "frozen: fits a stack frame, a socket frame, a shared slot");

rp_status rp_fail_va(rp_error *err, rp_status status, const char *format, va_list args)
    RP_PRINTF(3, 0);

/* The status that stands for an errno: ENOENT is not found, ENOMEM is memory, the rest is I/O. */
rp_status rp_status_of_errno(int os_errno);

#ifdef __clang_analyzer__
/* The static analyzer sees one file at a time: tell it that a failure is never RP_OK. */
#define rp_fail(err, status, ...) ((rp_fail)((err), (status), __VA_ARGS__), (status))
#define rp_fail_errno(err, ...)   ((rp_fail_errno)((err), __VA_ARGS__), RP_ERR_IO)
#endif

#endif
