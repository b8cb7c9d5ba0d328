/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *fs_event_path(void) {
    const char *path = getenv("RESOURCE_POOL_PYTHON_EVENTS");
    return path && path[0] == '/' ? path : NULL;
}

static void append(const char *path, const char *line, size_t length) {
    struct stat found;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    bool is_file = fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
    ssize_t ignored = is_file ? write(fd, line, length) : 0;
    (void)ignored;
    close(fd);
}

void fs_event_add(const char *path, const char *format, ...) {
    char *line = NULL;
    va_list args;
    if (!path) return;
    va_start(args, format);
    int length = vasprintf(&line, format, args);
    va_end(args);
    if (length < 0) return;
    for (int i = 0; i < length; i++) {
        bool is_control = (unsigned char)line[i] < ' ' || line[i] == 0x7f;
        if (is_control && line[i] != '\t') line[i] = ' ';
    }
    line[length] = '\n'; /* in the place of its NUL */
    append(path, line, (size_t)length + 1);
    free(line);
}
