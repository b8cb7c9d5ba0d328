/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Where a pool says what it does. The library is silent unless a sink is given or
 * RESOURCE_POOL_LOG names a level, which sends lines to stderr.
 */
#ifndef RESOURCEPOOL_LOG_H
#define RESOURCEPOOL_LOG_H

#include <resourcepool/api.h>

/** How loud. Each level contains those above it. */
typedef enum rp_log_level {
    RP_LOG_OFF = 0,
    RP_LOG_ERROR = 1,
    RP_LOG_WARNING = 2,
    RP_LOG_INFO = 3,
    RP_LOG_DEBUG = 4,
} rp_log_level;

/**
 * Takes one line, without its newline, in logfmt: `event=load key="..." ms=12`.
 * Called from whichever thread has something to say, never under a lock of the pool; must not
 * call back into the pool that logs. The line is borrowed for the call.
 */
typedef void (*rp_log_sink)(rp_log_level level, const char *line, void *user);

RP_BEGIN_DECLS

/** "error", "warning", ... for a level; "off" for RP_LOG_OFF. Static storage. */
RP_API const char *rp_log_level_name(rp_log_level level);

RP_END_DECLS

#endif
