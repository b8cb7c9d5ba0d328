/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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

static bool has_terminal(void) {
    int fd = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

/*
 * In the launcher's process group where this is one session; the kernel allows no other. Else apart
 * from the server's, and without its terminal. For a launcher that leads its session the child
 * leads one of its own, unless it would lose the terminal that way.
 */
static void join(const struct fs_request_head *head) {
    bool leads = head->session == head->pid && !has_terminal();
    if (getsid(0) != head->session || leads) {
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

/* A block of texts: arguments, then variables. */
struct texts {
    char *arguments;
    char *environment;
    char *end;
};

static size_t bytes_of(const char *const *texts) {
    size_t bytes = 0;
    for (; *texts; texts++)
        bytes += strlen(*texts) + 1;
    return bytes;
}

static char *copy_texts(char *to, const char *const *texts, char **copies) {
    for (; *texts; texts++) {
        size_t bytes = strlen(*texts) + 1;
        memcpy(to, *texts, bytes);
        if (copies) *copies++ = to;
        to += bytes;
    }
    return to;
}

/*
 * C's environment is a copy, since putenv() and setenv() may change it as they like. Before it the
 * arguments, as the kernel lays them out. LC_CTYPE the interpreter set as it came up, where the
 * locale was none for text; a caller's own is in the request, and the same.
 */
static bool set_texts(const struct fs_request *request, struct texts *texts) {
    uint32_t count = request->head->environment_count;
    const char *locale = getenv("LC_CTYPE");
    for (uint32_t i = 0; i < count; i++) {
        if (strncmp(request->environment[i], "LC_CTYPE=", 9) == 0) locale = NULL;
    }
    size_t locale_bytes = locale ? strlen(locale) + sizeof "LC_CTYPE=" : 0;
    char **copies = calloc(count + 2, sizeof *copies);
    char *at =
        malloc(bytes_of(request->original) + bytes_of(request->environment) + locale_bytes + 1);
    if (!copies || !at) {
        free(copies);
        free(at);
        return false;
    }
    texts->arguments = at;
    texts->environment = copy_texts(at, request->original, NULL);
    texts->end = at = copy_texts(texts->environment, request->environment, copies);
    if (locale) {
        snprintf(at, locale_bytes, "LC_CTYPE=%s", locale);
        copies[count] = at;
    }
    environ = copies;
    return true;
}

/*
 * What ps and /proc show. The kernel takes all borders of the process at once, and those that are
 * no matter here are as they were. Where it does not (CONFIG_CHECKPOINT_RESTORE) the server's
 * command line is shown.
 */
static void show_texts(const struct texts *texts) {
    unsigned long long at[52] = {0};
    char text[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    char *word = strrchr(text, ')');
    if (!word || strlen(word) < 4) return;
    word += 4; /* the fourth field; the one before is a letter */
    for (size_t field = 4; field < sizeof at / sizeof at[0]; field++)
        at[field] = strtoull(word, &word, 10);
    struct prctl_mm_map map = {
        .start_code = at[26],
        .end_code = at[27],
        .start_stack = at[28],
        .start_data = at[45],
        .end_data = at[46],
        .start_brk = at[47],
        .brk = (uintptr_t)sbrk(0),
        .arg_start = (uintptr_t)texts->arguments,
        .arg_end = (uintptr_t)texts->environment,
        .env_start = (uintptr_t)texts->environment,
        .env_end = (uintptr_t)texts->end,
        .exe_fd = (uint32_t)-1,
    };
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) errno = 0;
}

bool fs_child_become(const struct fs_request *request, int *fds, size_t fd_count,
                     char why[FS_WHY_BYTES]) {
    const struct fs_request_head *head = request->head;
    static struct texts texts; /* the process's, to its end */
    if (fchdir(fds[FS_FD_FOLDER]) != 0) return fail(why, "cannot go to the current folder");
    raise_descriptor_limit();
    if (!place_descriptors(request, fds, fd_count)) return fail(why, "cannot take descriptors");
    umask((mode_t)head->umask);
    join(head);
    set_oom_score(head->oom_score_adj);
    if (!set_texts(request, &texts)) return fail(why, "cannot take the environment");
    show_texts(&texts);
    return set_limits(head, why);
}
