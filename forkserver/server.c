/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: an interpreter that waits for its program, and forks instead of getting one.
 *
 * C's stdin becomes a stream whose read function is the loop below. The interpreter's main() finds
 * no program on its command line, so it reads one from stdin; in that call it stays. A child
 * therefore begins at the place at which a program would: on the main thread, in the main
 * interpreter, with no frame of Python beneath it, and with every flag that a plain start has.
 *
 * One thread, no memory of past children but a row each for those that live.
 */
#include "preload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_MAX = 4096, FDS_ROOM = FS_PASSED_MAX + FS_FD_PASSED };

struct child {
    pid_t pid; /* 0: it has ended, and the keeper has not read that yet */
    uint32_t number;
    int connection; /* its launcher's; -1: it was told the end */
    int status;     /* as it ended */
    bool is_lost;   /* the launcher has gone, and the child was killed */
};

static struct server {
    int control; /* to the keeper; -1: it has gone */
    int signals; /* SIGCHLD */
    bool is_retired;
    FILE *real_stdin;
    PyObject *inside;
    struct child children[CHILDREN_MAX];
    struct pollfd polled[CHILDREN_MAX + 2];
    size_t child_count;
    size_t untold_count; /* of children: those that have ended */
} server = {.control = -1, .signals = -1};

PyObject *fs_inside_call(const char *function, ...) {
    PyObject *arguments[6] = {NULL};
    va_list list;
    va_start(list, function);
    for (size_t i = 0; i < 5 && (arguments[i] = va_arg(list, PyObject *)); i++)
        continue;
    va_end(list);
    PyObject *callable = PyDict_GetItemString(server.inside, function);
    return PyObject_CallFunctionObjArgs(callable, arguments[0], arguments[1], arguments[2],
                                        arguments[3], arguments[4], NULL);
}

static void tell_keeper(const struct fs_frame *frame, int fd) {
    if (server.control >= 0) fs_send(server.control, frame, &fd, fd >= 0 ? 1 : 0);
}

/* --- forking --------------------------------------------------------------------------------- */

static void close_all(const int *fds, size_t count) {
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void refuse(uint32_t number, int *fds, size_t fd_count, const char *why) {
    struct fs_frame frame = fs_frame_of(FS_REFUSED, 0, 0, why);
    if (fd_count > 0) fs_send_now(fds[FS_FD_CONNECTION], &frame);
    frame = fs_frame_of(FS_FAILED, number, 0, why);
    tell_keeper(&frame, -1);
    close_all(fds, fd_count);
}

/* In the child. The signals stay blocked until its program begins. */
static _Noreturn void be_child(const struct fs_request *request, int *fds, size_t fd_count) {
    char why[FS_WHY_BYTES] = "";
    stdin = server.real_stdin;
    bool is_child = fs_child_become(request, fds, fd_count, why);
    if (is_child) fs_program_run(request, fds[FS_FD_CONNECTION], fs_preload_sums());
    struct fs_frame frame = fs_frame_of(FS_REFUSED, 0, 0, why);
    fs_send(fds[FS_FD_CONNECTION], &frame, NULL, 0);
    _exit(1);
}

static void keep_child(uint32_t number, pid_t pid, int connection) {
    struct fs_frame frame = fs_frame_of(FS_FORKED, number, pid, NULL);
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    tell_keeper(&frame, process);
    if (process >= 0) close(process);
    server.children[server.child_count++] =
        (struct child){.pid = pid, .number = number, .connection = connection};
}

static void fork_child(uint32_t number, const struct fs_request *request, int *fds,
                       size_t fd_count) {
    PyOS_BeforeFork();
    pid_t pid = fork();
    int os_errno = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
        be_child(request, fds, fd_count);
    }
    PyOS_AfterFork_Parent();
    if (pid < 0) {
        char why[FS_WHY_BYTES];
        snprintf(why, sizeof why, "cannot fork: %s", strerror(os_errno));
        refuse(number, fds, fd_count, why);
        return;
    }
    keep_child(number, pid, fds[FS_FD_CONNECTION]);
    close_all(fds + 1, fd_count - 1);
}

static void take_request(uint32_t number, int *fds, size_t fd_count) {
    struct fs_request request = {0};
    size_t size = 0;
    if (fd_count < FS_FD_PASSED) {
        refuse(number, fds, fd_count, "the request came without its descriptors");
        return;
    }
    const void *map = fs_request_map(fds[FS_FD_REQUEST], &size);
    const char *wrong = map ? fs_request_read(map, size, &request) : strerror(errno);
    if (map && !wrong && request.head->passed_count != fd_count - FS_FD_PASSED) {
        free(request.argv);
        wrong = "it has not the descriptors that it says";
    }
    if (wrong) {
        char why[FS_WHY_BYTES];
        snprintf(why, sizeof why, "the request is damaged: %s", wrong);
        refuse(number, fds, fd_count, why);
    } else if (server.child_count == CHILDREN_MAX) {
        refuse(number, fds, fd_count, "the server has 4096 children already");
        free(request.argv);
    } else {
        fork_child(number, &request, fds, fd_count);
        free(request.argv);
    }
    if (map) munmap((void *)(uintptr_t)map, size);
}

/* --- children that stop and end -------------------------------------------------------------- */

/* Without waiting for a keeper that does not read. */
static void tell_child_ended(struct child *child) {
    struct fs_frame frame = fs_frame_of(FS_CHILD_ENDED, child->number, child->status, NULL);
    if (server.control >= 0 && !fs_send_now(server.control, &frame) && errno == EAGAIN) return;
    server.untold_count--;
    *child = server.children[--server.child_count];
}

static void tell_ended(struct child *child, int status, const struct rusage *usage) {
    struct fs_frame frame = fs_frame_of(FS_ENDED, 0, status, NULL);
    frame.numbers[0] =
        (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec;
    frame.numbers[1] =
        (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec;
    frame.numbers[2] = (uint64_t)usage->ru_maxrss;
    fs_send_now(child->connection, &frame);
    close(child->connection);
    child->connection = -1;
    child->pid = 0;
    child->status = status;
    server.untold_count++;
    tell_child_ended(child);
}

static void tell_those_that_ended(void) {
    for (size_t i = server.child_count; i-- > 0;) {
        if (server.children[i].pid == 0) tell_child_ended(&server.children[i]);
    }
}

static struct child *find_child(pid_t pid) {
    for (size_t i = 0; i < server.child_count; i++) {
        if (server.children[i].pid == pid) return &server.children[i];
    }
    return NULL;
}

static void reap(void) {
    struct signalfd_siginfo info;
    struct rusage usage;
    int status;
    pid_t pid;
    while (read(server.signals, &info, sizeof info) > 0)
        continue;
    while ((pid = wait4(-1, &status, WNOHANG | WUNTRACED | WCONTINUED, &usage)) > 0) {
        struct child *child = find_child(pid);
        if (!child) continue;
        if (WIFSTOPPED(status)) {
            struct fs_frame frame = fs_frame_of(FS_STOPPED, 0, WSTOPSIG(status), NULL);
            fs_send_now(child->connection, &frame);
        } else if (WIFCONTINUED(status)) {
            struct fs_frame frame = fs_frame_of(FS_CONTINUED, 0, 0, NULL);
            fs_send_now(child->connection, &frame);
            /* A launcher that is stopped itself cannot read that; the keeper wakes it. */
            frame.number = child->number;
            if (server.control >= 0) fs_send_now(server.control, &frame);
        } else {
            tell_ended(child, status, &usage);
        }
    }
}

/* From the freeze on, so that what imports start does not inherit it. */
static void watch_children(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (server.signals < 0) server.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* A descriptor for each child; those get the limit of their own callers. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) errno = 0;
}

/* --- the loop -------------------------------------------------------------------------------- */

static void obey(void) {
    struct fs_frame frame;
    int fds[FDS_ROOM];
    size_t fd_count = FDS_ROOM;
    int inventory = -1;
    int rc = fs_receive(server.control, &frame, fds, &fd_count);
    if (rc == 0 || (rc < 0 && errno != EAGAIN)) {
        close(server.control);
        server.control = -1;
        server.is_retired = true;
        tell_those_that_ended();
        return;
    }
    if (rc < 0) return;
    switch (frame.type) {
    case FS_IMPORT:
        frame = fs_preload_import(frame.text);
        tell_keeper(&frame, -1);
        break;
    case FS_FREEZE:
        watch_children();
        raise_descriptor_limit();
        frame = fs_preload_freeze(&inventory);
        tell_keeper(&frame, inventory);
        if (inventory >= 0) close(inventory);
        break;
    case FS_FORK:
        take_request(frame.number, fds, fd_count);
        return;
    case FS_RETIRE:
        server.is_retired = true;
        break;
    default:
        break;
    }
    close_all(fds, fd_count);
}

/* A launcher that went away takes its child with it. */
static void kill_lost(void) {
    for (size_t i = 0; i < server.child_count; i++) {
        struct child *child = &server.children[i];
        if (child->is_lost || child->pid == 0 ||
            !(server.polled[i + 2].revents & (POLLHUP | POLLERR)))
            continue;
        child->is_lost = true;
        kill(child->pid, SIGKILL);
    }
}

static void look(void) {
    size_t count = server.child_count;
    short untold = server.untold_count > 0 ? POLLOUT : 0;
    server.polled[0] = (struct pollfd){.fd = server.control, .events = POLLIN | untold};
    server.polled[1] = (struct pollfd){.fd = server.signals, .events = POLLIN};
    for (size_t i = 0; i < count; i++) {
        /* Those that are lost already would wake us without end. */
        int fd = server.children[i].is_lost ? -1 : server.children[i].connection;
        server.polled[i + 2] = (struct pollfd){.fd = fd};
    }
    if (poll(server.polled, count + 2, -1) < 0) return;
    kill_lost();
    if (server.polled[1].revents) reap();
    if (server.untold_count > 0) tell_those_that_ended();
    if (server.polled[0].revents & ~POLLOUT) obey();
}

/*
 * posix_spawn() left two signals of glibc's own ignored, and sigaction() does not touch them; the
 * kernel takes a struct of zeros for the default action.
 */
static void restore_inner_signals(void) {
    unsigned long action[4] = {0};
    for (int number = 32; number < 34; number++) {
        if (syscall(SYS_rt_sigaction, number, action, NULL, sizeof action[0]) != 0) errno = 0;
    }
}

static ssize_t serve(void *cookie, char *buffer, size_t size) {
    (void)cookie;
    (void)buffer;
    (void)size;
    char why[FS_TEXT_BYTES] = "";
    restore_inner_signals();
    enum fs_import found = fs_preload_init(server.control, why, sizeof why);
    struct fs_frame ready = fs_frame_of(FS_READY, 0, found, why);
    tell_keeper(&ready, -1);
    while (!server.is_retired || server.child_count > 0)
        look();
    _exit(0);
}

/* --- the module ------------------------------------------------------------------------------ */

static PyObject *begin(PyObject *module, PyObject *arguments) {
    (void)module;
    static const cookie_io_functions_t functions = {.read = serve};
    if (!PyArg_ParseTuple(arguments, "iO!", &server.control, &PyDict_Type, &server.inside)) {
        return NULL;
    }
    Py_INCREF(server.inside);
    fcntl(server.control, F_SETFD, FD_CLOEXEC);
    FILE *stream = fopencookie(NULL, "r", functions);
    if (!stream) return PyErr_SetFromErrno(PyExc_OSError);
    setvbuf(stream, NULL, _IONBF, 0);
    server.real_stdin = stdin;
    stdin = stream;
    Py_RETURN_NONE;
}

static PyObject *trial(PyObject *module, PyObject *callable) {
    (void)module;
    return fs_preload_trial(callable);
}

static PyMethodDef methods[] = {
    {"trial", trial, METH_O, "Call that in a fork: the text that it returns."},
    {"begin", begin, METH_VARARGS, "Take the place of the program on stdin."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_forkserver",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__forkserver(void);
PyMODINIT_FUNC PyInit__forkserver(void) {
    return PyModuleDef_Init(&definition);
}
