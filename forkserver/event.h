/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file in which a run of tests collects what became of its Pythons:
 * $RESOURCE_POOL_PYTHON_EVENTS. A line for each event, its fields ended by tabs, written with one
 * call, so that the lines of many processes do not mix:
 *
 *     plain     REASON  WHAT                                    by the launcher
 *     forked    PID  SERVER_PID  IMPORT_MS  PRIVATE_BYTES  PRELOAD_COUNT  WHAT    by the child
 *     imported  GROUP  NAME,NAME,...                            by the child, at its end
 *     server    PID  IMPORT_MS  PRIVATE_BYTES  PRELOAD_COUNT    by the keeper, once it is ready
 *     refused   NAME  REASON                                    by the keeper
 */
#ifndef RP_FORKSERVER_EVENT_H
#define RP_FORKSERVER_EVENT_H

#include <stddef.h>

/* $RESOURCE_POOL_PYTHON_EVENTS, if it is an absolute path; else NULL. */
const char *fs_event_path(void);

/*
 * Append a line, made as by printf(), without its newline; control characters in it but tabs become
 * blanks. A line that cannot be written is missing, and nobody fails for it. `path` may be NULL.
 */
void fs_event_add(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
