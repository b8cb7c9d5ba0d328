/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

static const char *const level_names[] = {"off", "error", "warning", "info", "debug"};

const char *rp_log_level_name(rp_log_level level) {
    return level >= RP_LOG_OFF && level <= RP_LOG_DEBUG ? level_names[level] : "unknown";
}

static void write_to_stderr(rp_log_level level, const char *line, void *user) {
    (void)user;
    fprintf(stderr, "%s %s\n", rp_log_level_name(level), line);
}

static rp_log_level level_from_environment(void) {
    const char *wanted = getenv("RESOURCE_POOL_LOG");
    for (int level = RP_LOG_OFF; wanted && level <= RP_LOG_DEBUG; level++) {
        if (strcmp(wanted, level_names[level]) == 0) return (rp_log_level)level;
    }
    return RP_LOG_OFF;
}

struct rp_logger rp_logger_make(rp_log_level level, rp_log_sink sink, void *user) {
    if (sink) return (struct rp_logger){level, sink, user};
    rp_log_level wanted = level_from_environment();
    return (struct rp_logger){wanted, wanted == RP_LOG_OFF ? NULL : write_to_stderr, NULL};
}

void rp_log(const struct rp_logger *logger, rp_log_level level, const char *format, ...) {
    if (!logger->sink || level > logger->level) return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rp_text_make_printable(line);
    logger->sink(level, line, logger->user);
}
