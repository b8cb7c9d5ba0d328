/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of tests collects what its processes did in a file of lines, each written with one call, so
 * that the lines of many processes do not mix.
 */
#include "inside.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUP_BYTES = 80, LINE_BYTES = 512 };

/* Of this child: the file, opened before its program could change where it is, and what it runs. */
static char events_path[4096];
static char group[GROUP_BYTES + 16];
static pid_t owner;

void fs_events_open(void) {
    const char *path = getenv("RESOURCE_POOL_PYTHON_EVENTS");
    if (path && path[0] == '/' && strlen(path) < sizeof events_path) {
        snprintf(events_path, sizeof events_path, "%s", path);
    }
    owner = getpid();
}

static void append(const char *line, size_t length) {
    int fd = open(events_path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    struct stat found;
    bool is_file = fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
    /* A line that is lost is missing in a sum; nobody is to fail for it. */
    ssize_t ignored = is_file ? write(fd, line, length) : 0;
    (void)ignored;
    close(fd);
}

/* Mode and target, without what would end a field or a line. */
static void name_group(const struct fs_request *request) {
    static const char *const modes[] = {"-c ", "-m ", "", "stdin "};
    snprintf(group, GROUP_BYTES, "%s%s", modes[request->head->mode], request->target);
    for (char *at = group; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = ' ';
    }
}

void fs_events_forked(const struct fs_request *request, const struct fs_imports *imports) {
    char line[LINE_BYTES];
    name_group(request);
    if (!events_path[0]) return;
    int length =
        snprintf(line, sizeof line, "forked\t%d\t%.0f\t%" PRIu64 "\t%u\t%s\n", (int)getppid(),
                 imports->ms, imports->private_bytes, imports->count, group);
    append(line, (size_t)length);
}

void fs_events_imported(void) {
    /* A fork of the program's own that came to its end has imported nothing for itself. */
    if (!events_path[0] || getpid() != owner) return;
    PyObject *names = fs_inside_call("imported", NULL);
    char *text = NULL;
    Py_ssize_t size = 0;
    if (names && PyBytes_AsStringAndSize(names, &text, &size) == 0 && size > 0) {
        size_t room = (size_t)size + sizeof group + 16;
        char *line = malloc(room);
        int length = line ? snprintf(line, room, "imported\t%s\t%s\n", group, text) : 0;
        if (length > 0) append(line, (size_t)length);
        free(line);
    }
    PyErr_Clear();
    Py_XDECREF(names);
}
