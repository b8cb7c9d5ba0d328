/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of failures from inside: what the public functions of failure.h stand on. */
#ifndef RP_FAILURE_REPORT_H
#define RP_FAILURE_REPORT_H

#include <resourcepool/failure.h>
#include <resourcepool/status.h>

/*
 * The text without what nobody else should read: tokens and passwords (of hubs, clouds, URLs), home
 * folders, names of users and of this host, mail addresses. Each is replaced by what it was:
 * "<token>", "~", "<user>". *out is the caller's: rp_free().
 */
rp_status rp_redact(const char *text, size_t length, char **out, rp_error *err);

#endif
