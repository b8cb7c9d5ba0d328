/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker that a program starts must outlive it and be nothing to it: its own session, no
 * descriptor of the program's, no child that a wait() of the program's could find. So the command
 * is started with --detach, whose first process ends as soon as the second is on its way.
 */
#include "machine/launch.h"

#include "base/clock.h"
#include "base/status.h"
#include "machine/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READY_FD = 3, LINE_BYTES = 512, LOG_BYTES_MAX = 1 << 20, TRY_MS = 5 };

extern char **environ;

static bool is_program(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode) && access(path, X_OK) == 0;
}

/* This program, if it is called rpool. */
static bool find_self(char out[RP_PROGRAM_BYTES]) {
    ssize_t length = readlink("/proc/self/exe", out, RP_PROGRAM_BYTES - 1);
    if (length <= 0) return false;
    out[length] = '\0';
    const char *slash = strrchr(out, '/');
    return slash && strcmp(slash, "/rpool") == 0 && is_program(out);
}

static bool find_in_path(char out[RP_PROGRAM_BYTES]) {
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t length = strcspn(at, ":");
        int written = snprintf(out, RP_PROGRAM_BYTES, "%.*s/rpool", (int)length, at);
        if (at[0] == '/' && written < RP_PROGRAM_BYTES && is_program(out)) return true;
        at += length + (at[length] == ':');
    }
    return false;
}

rp_status rp_launch_find_program(char out[RP_PROGRAM_BYTES], rp_error *err) {
    const char *given = secure_getenv("RESOURCE_POOL_RPOOL");
    if (given && given[0]) {
        int length = snprintf(out, RP_PROGRAM_BYTES, "%s", given);
        if (given[0] == '/' && length < RP_PROGRAM_BYTES && is_program(given)) return RP_OK;
        return rp_fail(err, RP_ERR_ABSENT, "RESOURCE_POOL_RPOOL is '%.200s', which is no program",
                       given);
    }
    if (find_self(out) || find_in_path(out)) return RP_OK;
    rp_fail(err, RP_ERR_ABSENT, "no broker is running, and the command 'rpool' is not in the PATH");
    rp_hint(err, "install it, or set RESOURCE_POOL_RPOOL to its path");
    return RP_ERR_ABSENT;
}

static rp_status lock_start(const struct rp_address *address, int64_t deadline_ns, int *lock_fd,
                            rp_error *err) {
    int fd = open(address->start, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return rp_fail_errno(err, "cannot open '%s'", address->start);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const struct timespec pause = {0, TRY_MS * 1000000L};
        if (errno != EWOULDBLOCK && errno != EINTR) {
            rp_status status = rp_fail_errno(err, "cannot lock '%s'", address->start);
            close(fd);
            return status;
        }
        if (rp_clock_ns() >= deadline_ns) {
            close(fd);
            return rp_fail(err, RP_ERR_TIMEOUT,
                           "another process has been starting the broker for too long");
        }
        nanosleep(&pause, NULL);
    }
    *lock_fd = fd;
    return RP_OK;
}

/* The first line that the broker says: "ready PID", or why it cannot serve. */
static rp_status await_ready(const struct rp_address *address, int fd, int64_t deadline_ns,
                             rp_error *err) {
    char line[LINE_BYTES] = "";
    size_t length = 0;
    while (length < sizeof line - 1 && !memchr(line, '\n', length)) {
        int64_t left_ms = (deadline_ns - rp_clock_ns()) / 1000000;
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int rc = left_ms > 0 ? poll(&wait, 1, left_ms > 1000 ? 1000 : (int)left_ms) : 0;
        if (rc < 0 && errno != EINTR) return rp_fail_errno(err, "cannot wait for the broker");
        if (rc == 0 && left_ms <= 0) {
            return rp_fail(err, RP_ERR_TIMEOUT, "the broker was started but does not serve yet");
        }
        if (rc <= 0) continue;
        ssize_t got = read(fd, line + length, sizeof line - 1 - length);
        if (got <= 0 && !(got < 0 && errno == EINTR)) break;
        if (got > 0) length += (size_t)got;
    }
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "ready ", 6) == 0) return RP_OK;
    bool is_told = strncmp(line, "error ", 6) == 0;
    rp_fail(err, RP_ERR_IO, "the broker could not be started: %s",
            is_told   ? line + 6
            : line[0] ? line
                      : "it ended without a word");
    rp_hint(err, "'%s' has what it said", address->log);
    return RP_ERR_IO;
}

/* A log that has grown large begins anew; what a broker says now matters more. */
static void trim_log(const char *path) {
    struct stat found;
    if (stat(path, &found) == 0 && found.st_size > LOG_BYTES_MAX && truncate(path, 0) != 0) return;
}

/* With /dev/null, the log, the pipe, and nothing else. Returns an errno. */
static int spawn(char *program, const struct rp_address *address, int ready_fd, pid_t *pid) {
    char folder[sizeof address->folder];
    char serve[] = "serve", detach[] = "--detach", ready[] = "--ready-fd", three[] = "3",
         option[] = "--folder";
    char *const arguments[] = {program, serve, detach, ready, three, option, folder, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    memcpy(folder, address->folder, sizeof folder);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    /* The pipe first: its number may be one of those that are opened next. */
    rc = posix_spawn_file_actions_adddup2(&actions, ready_fd, READY_FD);
    if (rc == 0) {
        rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, address->log,
                                              O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    if (rc == 0) rc = posix_spawn_file_actions_addchdir_np(&actions, "/");
    if (rc == 0) rc = posix_spawn_file_actions_addclosefrom_np(&actions, READY_FD + 1);
    if (rc == 0) rc = posix_spawn(pid, program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static rp_status start_broker(const struct rp_address *address, int64_t deadline_ns,
                              rp_error *err) {
    char program[RP_PROGRAM_BYTES];
    int ends[2];
    pid_t pid = 0;
    rp_status status = rp_launch_find_program(program, err);
    if (status != RP_OK) return status;
    if (pipe2(ends, O_CLOEXEC) != 0) return rp_fail_errno(err, "cannot make a pipe");
    /* A descriptor that is READY_FD already would be closed on exec all the same. */
    int ready_fd = fcntl(ends[1], F_DUPFD_CLOEXEC, READY_FD + 1);
    trim_log(address->log);
    int rc = ready_fd < 0 ? errno : spawn(program, address, ready_fd, &pid);
    close(ends[1]);
    if (ready_fd >= 0) close(ready_fd);
    if (rc != 0) {
        close(ends[0]);
        errno = rc;
        return rp_fail_errno(err, "cannot start the broker with '%s'", program);
    }
    status = await_ready(address, ends[0], deadline_ns, err);
    close(ends[0]);
    /* The first process has ended, or does so now, unless it hangs. The program may have waited for
     * it itself. */
    if (status == RP_ERR_TIMEOUT && waitpid(pid, NULL, WNOHANG) == 0) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return status;
}

rp_status rp_launch_broker(const struct rp_address *address, int64_t deadline_ns, rp_error *err) {
    int lock_fd = -1;
    int fd = -1;
    rp_status status = rp_address_prepare(address, err);
    if (status == RP_OK) status = lock_start(address, deadline_ns, &lock_fd, err);
    if (status != RP_OK) return status;
    status = rp_channel_connect(address->socket, &fd, err);
    if (status == RP_OK) {
        close(fd); /* somebody else started one meanwhile */
    } else if (status == RP_ERR_ABSENT) {
        status = start_broker(address, deadline_ns, err);
    }
    close(lock_fd);
    return status;
}
