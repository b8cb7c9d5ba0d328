/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a key listens on a socket in the folder of the user's broker. Who finds nobody
 * there starts it: in the same session, so that children may join the caller's process group, but
 * in a group of its own, and as nobody's child.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 10000, READY_FD = 3, LOG_BYTES_MAX = 1 << 20 };

/* As docs/protocol.md has it for the broker. */
static bool find_folder(char folder[PATH_MAX], char why[WHY_BYTES]) {
    const char *given = getenv("RESOURCE_POOL_BROKER");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat found;
    if (given && given[0]) {
        if (given[0] != '/') {
            snprintf(why, WHY_BYTES, "RESOURCE_POOL_BROKER does not begin with '/'");
            return false;
        }
        snprintf(folder, PATH_MAX, "%s", given);
    } else if (runtime && runtime[0] == '/') {
        snprintf(folder, PATH_MAX, "%s/resourcepool", runtime);
    } else {
        snprintf(folder, PATH_MAX, "/tmp/resourcepool-%u", (unsigned)geteuid());
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        snprintf(why, WHY_BYTES, "cannot make '%.100s': %s", folder, strerror(errno));
        return false;
    }
    if (lstat(folder, &found) != 0 || !S_ISDIR(found.st_mode) || found.st_uid != geteuid() ||
        (found.st_mode & 077) != 0) {
        snprintf(why, WHY_BYTES, "'%.100s' is no folder of this user's alone", folder);
        return false;
    }
    return true;
}

/* -1 with errno; a stranger who listens there is EPERM. */
static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t peer_bytes = sizeof peer;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    /* A keeper that takes no more callers or requests is none. */
    static const struct timeval patience = {.tv_sec = READY_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int rc;
    do { /* a stop and a continue interrupt a wait that has an end */
        rc = connect(fd, (const struct sockaddr *)&address, sizeof address);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        rc = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes);
        if (rc == 0 && peer.uid != geteuid()) {
            errno = EPERM;
            rc = -1;
        }
    }
    if (rc == 0) return fd;
    int os_errno = errno;
    close(fd);
    errno = os_errno;
    return -1;
}

/* --- starting it ----------------------------------------------------------------------------- */

/* The command rpool, beside this program or where it is built. */
static bool find_rpool(char path[PATH_MAX]) {
    static const char *const places[] = {"rpool", "../cli/rpool"};
    const char *given = getenv("RESOURCE_POOL_RPOOL");
    char self[PATH_MAX];
    if (given && given[0] == '/' && access(given, X_OK) == 0) {
        snprintf(path, PATH_MAX, "%s", given);
        return true;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return false;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int written = snprintf(path, PATH_MAX, "%s/%s", self, places[i]);
        if (written < PATH_MAX && access(path, X_OK) == 0) return true;
    }
    return false;
}

static int open_log(const char *folder) {
    char path[PATH_MAX + 16];
    struct stat found;
    snprintf(path, sizeof path, "%s/python.log", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fstat(fd, &found) == 0 && found.st_size > LOG_BYTES_MAX) {
        if (ftruncate(fd, 0) != 0) return fd;
    }
    return fd;
}

static int write_preloads(const struct preloads *preloads) {
    int fd = memfd_create("rpool-preloads", MFD_CLOEXEC);
    size_t done = 0;
    while (fd >= 0 && done < preloads->bytes) {
        ssize_t wrote = write(fd, preloads->text + done, preloads->bytes - done);
        if (wrote <= 0 && errno != EINTR) {
            close(fd);
            return -1;
        }
        if (wrote > 0) done += (size_t)wrote;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void set_signals_default(void) {
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the grandchild: descriptors 0 to 3 and nothing else. */
static _Noreturn void be_keeper(const char *rpool, const char *key, const char *interpreter,
                                const int fds[4]) {
    int moved[4];
    for (int i = 0; i < 4; i++)
        moved[i] = fcntl(fds[i], F_DUPFD, 16);
    for (int i = 0; i < 4; i++) {
        if (moved[i] < 0 || dup2(moved[i], i) < 0) _exit(LAUNCHER_FAILED);
    }
    close_range(4, ~0U, 0);
    setpgid(0, 0);
    set_signals_default();
    if (!path_make_absolute() || chdir("/") != 0) _exit(LAUNCHER_FAILED);
    execl(rpool, "rpool", "serve", "--fork-server", key, "3", interpreter, (char *)NULL);
    _exit(LAUNCHER_FAILED);
}

/* Two forks, so that it is no child of ours: a wait() of the program that we become finds none. */
static bool spawn(const char *rpool, const char *key, const char *interpreter, const int fds[4]) {
    int status;
    pid_t pid = fork();
    if (pid < 0) return false;
    if (pid == 0) {
        pid_t keeper = fork();
        if (keeper == 0) be_keeper(rpool, key, interpreter, fds);
        _exit(keeper > 0 ? 0 : 1);
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno == ECHILD) return true; /* SIGCHLD is ignored: the kernel has waited */
        if (errno != EINTR) return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool await_ready(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    int rc;
    do {
        rc = poll(&wait, 1, READY_MS);
    } while (rc < 0 && errno == EINTR);
    return rc > 0 && read(fd, &byte, 1) == 1;
}

static bool start(const char *folder, const char *key, const char *interpreter,
                  const struct preloads *preloads, char why[WHY_BYTES]) {
    char rpool[PATH_MAX];
    int ready[2];
    if (!find_rpool(rpool)) {
        snprintf(why, WHY_BYTES, "the command rpool is not beside rpool-python");
        return false;
    }
    if (pipe2(ready, O_CLOEXEC) != 0) {
        snprintf(why, WHY_BYTES, "cannot make a pipe: %s", strerror(errno));
        return false;
    }
    int log = open_log(folder);
    int fds[4] = {write_preloads(preloads), log, log, ready[1]};
    bool is_ready = false;
    if (fds[0] < 0 || log < 0 || !spawn(rpool, key, interpreter, fds)) {
        snprintf(why, WHY_BYTES, "cannot start a keeper: %s", strerror(errno));
    } else {
        close(ready[1]);
        ready[1] = -1;
        is_ready = await_ready(ready[0]);
        if (!is_ready)
            snprintf(why, WHY_BYTES, "the keeper did not start: '%.100s/python.log'", folder);
    }
    if (fds[0] >= 0) close(fds[0]);
    if (log >= 0) close(log);
    if (ready[1] >= 0) close(ready[1]);
    close(ready[0]);
    return is_ready;
}

int keeper_reach(const char *key, const char *interpreter, const struct preloads *preloads,
                 char why[WHY_BYTES]) {
    char folder[PATH_MAX];
    char path[PATH_MAX + 64];
    if (!find_folder(folder, why)) return -1;
    snprintf(path, sizeof path, "%s/python-%s.sock", folder, key);
    int fd = connect_to(path);
    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
        if (!start(folder, key, interpreter, preloads, why)) return -1;
        fd = connect_to(path);
    }
    if (fd < 0) snprintf(why, WHY_BYTES, "cannot reach the keeper: %s", strerror(errno));
    return fd;
}
