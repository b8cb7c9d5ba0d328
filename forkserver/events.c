/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include "inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GROUP_BYTES = 80 };

/* Of this child: where its lines go, kept before its program could change that, and what it runs.
 */
static char events_path[4096];
static char group[GROUP_BYTES];
static pid_t owner;

/* Without what would end a field or a line. */
static void name_group(const struct fs_request *request) {
    static const char *const modes[] = {"-c ", "-m ", "", "stdin "};
    snprintf(group, sizeof group, "%s%s", modes[request->head->mode], request->target);
    for (char *at = group; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = ' ';
    }
}

void fs_events_open(const struct fs_request *request) {
    const char *path = fs_event_path();
    if (path && strlen(path) < sizeof events_path) {
        snprintf(events_path, sizeof events_path, "%s", path);
    }
    owner = getpid();
    name_group(request);
}

void fs_events_forked(const struct fs_imports *imports) {
    if (!events_path[0]) return;
    fs_event_add(events_path, "forked\t%d\t%d\t%.0f\t%" PRIu64 "\t%u\t%s", (int)owner,
                 (int)getppid(), imports->ms, imports->private_bytes, imports->count, group);
}

void fs_events_imported(void) {
    /* A fork of the program's own that came to its end has imported nothing for itself. */
    if (!events_path[0] || getpid() != owner) return;
    PyObject *names = fs_inside_call("imported");
    char *text = NULL;
    Py_ssize_t size = 0;
    if (names && PyBytes_AsStringAndSize(names, &text, &size) == 0 && size > 0) {
        fs_event_add(events_path, "imported\t%s\t%s", group, text);
    }
    PyErr_Clear();
    Py_XDECREF(names);
}
