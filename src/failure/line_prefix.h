/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What loggers, containers and quotes put before a line: timestamps, levels, ranks, names of
 * processes and containers, "> ", "E   ".
 */
#ifndef RP_FAILURE_LINE_PREFIX_H
#define RP_FAILURE_LINE_PREFIX_H

#include <stdbool.h>
#include <stddef.h>

/* As far as a reader of errors cares. */
enum rp_log_level { RP_LOG_NONE, RP_LOG_QUIET, RP_LOG_WARNING, RP_LOG_ERROR };

struct rp_line_prefix {
    size_t length;           /* of all prefixes in a row, with one blank behind them            */
    enum rp_log_level level; /* of the last that has one                                        */
    bool is_kernel;          /* of a kernel log                                                 */
    bool is_source;          /* a number and an arrow, or a prompt: code follows                */
    bool is_all;             /* nothing follows; length is that without the last                */
};

void rp_line_prefix_read(const char *line, size_t length, struct rp_line_prefix *prefix);

#endif
