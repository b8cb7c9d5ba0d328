/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of failures from inside: what the public functions of failure.h stand on. */
#ifndef RP_FAILURE_REPORT_H
#define RP_FAILURE_REPORT_H

#include "base/text.h"

#include <jansson.h>
#include <resourcepool/failure.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    RP_REPORT_VERSION = 1,
    RP_REPORT_BYTES_MAX =
        4 << 20, /* two texts of 64 KiB, each byte spelled out in six, and advice */
    RP_REPORTS_KEPT = 200,
    RP_REPORTS_BYTES_KEPT = 32 << 20,
};

/*
 * The text without what nobody else should read: tokens and passwords (of hubs, clouds, URLs), home
 * folders, names of users and of this host, mail addresses. Each is replaced by what it was:
 * "<token>", "~", "<user>". A zero byte becomes '?'. *out is the caller's: rp_free().
 */
rp_status rp_redact(const char *text, size_t length, char **out, rp_error *err);

/* Redact every text in a value, also within others; false: no memory. */
bool rp_redact_json(json_t *value);

/* A report as a value; a new reference. */
rp_status rp_failure_report_make(const rp_failure_question *question, json_t **report,
                                 rp_error *err);

/* A value as JSON with two spaces of indent; false: no memory. */
bool rp_report_print(const json_t *value, struct rp_text *out);

/*
 * The report in a text, or the one in a bundle; a new reference. `source` names it in messages.
 * is_ours: only as this library writes them. RP_ERR_DATA.
 */
rp_status rp_report_read(const char *text, size_t length, const char *source, bool is_ours,
                         json_t **report, rp_error *err);

/* A text of a report; "" where it has none. Borrowed. */
const char *rp_report_text(const json_t *report, const char *key);

#endif
