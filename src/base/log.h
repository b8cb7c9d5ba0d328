/* SPDX-License-Identifier: Apache-2.0 */
/* A logger: a level and a sink, both constant once a pool is open. */
#ifndef RP_BASE_LOG_H
#define RP_BASE_LOG_H

#include <resourcepool/log.h>

struct rp_logger {
    rp_log_level level;
    rp_log_sink sink; /* NULL: silent */
    void *user;
};

/*
 * The logger of a pool that was opened with these options. Without a sink, RESOURCE_POOL_LOG
 * (error, warning, info, debug) sends lines to stderr; otherwise all is silent.
 */
struct rp_logger rp_logger_make(rp_log_level level, rp_log_sink sink, void *user);

/* One logfmt line; texts in it should be quoted: `event=load key="%s"`. Never fails. */
void rp_log(const struct rp_logger *logger, rp_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
