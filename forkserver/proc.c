/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

size_t fs_proc_read(const char *path, char *text, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, room - 1) : 0;
    if (fd >= 0) close(fd);
    size_t size = got > 0 ? (size_t)got : 0;
    text[size] = '\0';
    return size;
}

size_t fs_proc_read_of(pid_t pid, const char *name, char *text, size_t room) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fs_proc_read(path, text, room);
}

char fs_process_state(pid_t pid) {
    char text[1024];
    fs_proc_read_of(pid, "stat", text, sizeof text);
    /* Behind the name, which may hold anything. */
    const char *at = strrchr(text, ')');
    return *(at && at[1] == ' ' ? at + 2 : "");
}
