/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static bool fail(char why[FS_WHY_BYTES], const char *what) {
    snprintf(why, FS_WHY_BYTES, "%s: %s", what, strerror(errno));
    return false;
}

/* --- descriptors ----------------------------------------------------------------------------- */

/* Out of the way of the numbers that are asked for. */
static bool move_up(int *fd, int above) {
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, above);
    if (moved < 0) return false;
    close(*fd);
    *fd = moved;
    return true;
}

static void close_between(unsigned first, unsigned last) {
    if (first <= last) close_range(first, last, 0);
}

/*
 * Everything goes above the highest number first, so that no duplicate lands on one that is still
 * needed; then what belongs to nobody is closed, the server's own descriptors among it.
 */
static bool place_descriptors(const struct fs_request *request, int *fds, size_t fd_count) {
    uint32_t count = request->head->passed_count;
    int above = 3;
    if (count > 0 && request->passed[count - 1] >= above) above = request->passed[count - 1] + 1;
    for (size_t i = 0; i < fd_count; i++) {
        if (!move_up(&fds[i], above)) return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (dup2(fds[FS_FD_PASSED + i], request->passed[i]) < 0) return false;
    }
    unsigned free_from = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned number = (unsigned)request->passed[i];
        if (number > 0) close_between(free_from, number - 1);
        free_from = number + 1;
    }
    unsigned connection = (unsigned)fds[FS_FD_CONNECTION];
    close_between(free_from, connection - 1);
    close_between(connection + 1, ~0U);
    return true;
}

/* --- the rest -------------------------------------------------------------------------------- */

/* The most that may be open while descriptors are sorted. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return;
}

static bool set_limits(const struct fs_request_head *head, char why[FS_WHY_BYTES]) {
    for (int i = 0; i < FS_LIMITS && i < (int)RLIM_NLIMITS; i++) {
        struct rlimit wanted = {head->limits[i][0], head->limits[i][1]};
        struct rlimit now;
        if (getrlimit((__rlimit_resource_t)i, &now) == 0 && now.rlim_cur == wanted.rlim_cur &&
            now.rlim_max == wanted.rlim_max) {
            continue;
        }
        if (setrlimit((__rlimit_resource_t)i, &wanted) != 0) {
            char what[64];
            snprintf(what, sizeof what, "cannot set the resource limit %d", i);
            return fail(why, what);
        }
    }
    return true;
}

/*
 * In the launcher's process group where this is one session; the kernel allows no other. Else apart
 * from the server's, and without its terminal.
 */
static void join(const struct fs_request_head *head) {
    if (getsid(0) != head->session) {
        setsid();
    } else if (setpgid(0, head->process_group) != 0) {
        setpgid(0, 0);
    }
}

/* Lowering it takes a privilege, and who has none stays as it was. */
static void set_oom_score(int score) {
    char text[16];
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t got = read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    if (strtol(text, NULL, 10) != score) {
        int length = snprintf(text, sizeof text, "%d", score);
        if (write(fd, text, (size_t)length) != length) errno = 0;
    }
    close(fd);
}

/* C's environment is a copy, since putenv() and setenv() may change it as they like. */
static bool set_environment(const struct fs_request *request) {
    uint32_t count = request->head->environment_count;
    size_t bytes = (count + 1) * sizeof(char *);
    for (uint32_t i = 0; i < count; i++)
        bytes += strlen(request->environment[i]) + 1;
    char **copy = malloc(bytes);
    if (!copy) return false;
    char *at = (char *)(copy + count + 1);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(request->environment[i]) + 1;
        memcpy(at, request->environment[i], length);
        copy[i] = at;
        at += length;
    }
    copy[count] = NULL;
    environ = copy;
    return true;
}

bool fs_child_become(const struct fs_request *request, int *fds, size_t fd_count,
                     char why[FS_WHY_BYTES]) {
    const struct fs_request_head *head = request->head;
    if (fchdir(fds[FS_FD_FOLDER]) != 0) return fail(why, "cannot go to the current folder");
    raise_descriptor_limit();
    if (!place_descriptors(request, fds, fd_count)) return fail(why, "cannot take descriptors");
    umask((mode_t)head->umask);
    join(head);
    set_oom_score(head->oom_score_adj);
    if (!set_environment(request)) return fail(why, "cannot take the environment");
    return set_limits(head, why);
}
