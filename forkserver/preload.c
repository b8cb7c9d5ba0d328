/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fork carries over the memory of one thread: a library that has started others, opened a file
 * or a device, or has a child of its own would be broken in the copy. So each import is followed by
 * a look at what it left. Threads that a library ends in its own fork handler (OpenBLAS does) are
 * no harm: a trial fork tells.
 */
#include "preload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 1024 };

static int64_t began_ns; /* on the clock of files */
static unsigned fork_count;
static bool is_trial;
static uint64_t open_fds[FDS_MAX / 64]; /* before the imports */
static off_t printed_bytes;
static struct fs_imports sums;
static uint64_t sum_us;

/* --- what a process is made of --------------------------------------------------------------- */

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Bytes that are there, and of those what no file has. */
static void read_memory(uint64_t *all_bytes, uint64_t *private_bytes) {
    char text[128] = "";
    char *at = text;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) close(fd);
    if (got > 0) strtoull(at, &at, 10); /* of the address space: says nothing */
    uint64_t pages = strtoull(at, &at, 10);
    uint64_t shared = strtoull(at, &at, 10);
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    *all_bytes = pages * page_bytes;
    *private_bytes = pages > shared ? (pages - shared) * page_bytes : 0;
}

static int thread_count(void) {
    struct stat found;
    /* A link for each thread, beside "." and "..". */
    return stat("/proc/self/task", &found) == 0 ? (int)found.st_nlink - 2 : 1;
}

/* "pool-1, pool-2": threads but this one. */
static void name_threads(char *out, size_t room) {
    DIR *folder = opendir("/proc/self/task");
    size_t length = 0;
    out[0] = '\0';
    for (struct dirent *at; folder && (at = readdir(folder));) {
        char path[300];
        char name[32] = "?";
        if (at->d_name[0] == '.' || strtol(at->d_name, NULL, 10) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", at->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, name, sizeof name - 1) : 0;
        if (fd >= 0) close(fd);
        if (got > 0) name[got] = '\0';
        name[strcspn(name, "\n")] = '\0';
        int wrote = snprintf(out + length, room - length, "%s%s", length ? ", " : "", name);
        if (wrote < 0 || (size_t)wrote >= room - length) break;
        length += (size_t)wrote;
    }
    if (folder) closedir(folder);
}

/* A descriptor that was not there before; -1: none. */
static int find_new_fd(void) {
    DIR *folder = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *at; folder && (at = readdir(folder));) {
        if (at->d_name[0] == '.') continue;
        long number = strtol(at->d_name, NULL, 10);
        if (number == dirfd(folder) || number >= FDS_MAX) continue;
        uint64_t bit = UINT64_C(1) << (number % 64);
        if (!(open_fds[number / 64] & bit) && found < 0) found = (int)number;
    }
    if (folder) closedir(folder);
    return found;
}

static off_t output_bytes(void) {
    struct stat found;
    PyObject *done = fs_inside_call("flush");
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    fflush(NULL);
    return fstat(STDOUT_FILENO, &found) == 0 && S_ISREG(found.st_mode) ? found.st_size : 0;
}

/* A driver that is mapped holds state that a fork cannot take along. */
static bool find_device(char *out, size_t room) {
    static const char *const devices[] = {"/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel"};
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool is_found = false;
    while (maps && !is_found && fgets(line, sizeof line, maps)) {
        for (size_t i = 0; i < sizeof devices / sizeof devices[0] && !is_found; i++) {
            const char *at = strstr(line, devices[i]);
            if (!at) continue;
            snprintf(out, room, "maps %.*s", (int)strcspn(at, "\n"), at);
            is_found = true;
        }
    }
    if (maps) fclose(maps);
    return is_found;
}

static void count_fork(void) {
    if (!is_trial) fork_count++;
}

/* Whether the threads are gone after a fork: those that their library ends and starts again. */
static void fork_for_trial(void) {
    is_trial = true;
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    PyOS_AfterFork_Parent();
    is_trial = false;
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* --- one import ------------------------------------------------------------------------------ */

/* "ValueError: what it says", and the exception is gone. */
static void take_exception(char *out, size_t room) {
    PyObject *type;
    PyObject *value;
    PyObject *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *name = type ? PyObject_GetAttrString(type, "__name__") : NULL;
    PyObject *text = value ? PyObject_Str(value) : NULL;
    PyObject *both = name && text ? PyUnicode_FromFormat("%U: %U", name, text) : NULL;
    PyObject *bytes = both ? PyUnicode_AsEncodedString(both, "utf-8", "replace") : NULL;
    snprintf(out, room, "raises %s", bytes ? PyBytes_AsString(bytes) : "an exception");
    PyErr_Clear();
    Py_XDECREF(bytes);
    Py_XDECREF(both);
    Py_XDECREF(text);
    Py_XDECREF(name);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

/* What it left behind, worst first. */
static enum fs_import look_behind(char *why, size_t room, unsigned forks_before) {
    char names[120];
    int fd;
    if (thread_count() > 1) fork_for_trial();
    if (thread_count() > 1) {
        name_threads(names, sizeof names);
        snprintf(why, room, "starts threads that do not end before a fork: %s", names);
        return FS_IMPORT_THREADS;
    }
    if (fork_count != forks_before || waitpid(-1, NULL, WNOHANG) >= 0) {
        snprintf(why, room, "forks");
        return FS_IMPORT_FORKED;
    }
    fd = find_new_fd();
    if (fd >= 0) {
        char path[64];
        char target[128] = "?";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) target[length] = '\0';
        snprintf(why, room, "leaves a descriptor open: %s", target);
        return FS_IMPORT_DESCRIPTORS;
    }
    off_t printed = output_bytes();
    if (printed != printed_bytes) {
        snprintf(why, room, "prints %lld bytes", (long long)(printed - printed_bytes));
        printed_bytes = printed;
        return FS_IMPORT_PRINTED;
    }
    return FS_IMPORT_GOOD;
}

static void count_fork_once(void) {
    static bool is_set;
    if (!is_set) is_set = pthread_atfork(count_fork, NULL, NULL) == 0;
}

enum fs_import fs_preload_init(int control, char *why, size_t room) {
    began_ns = clock_ns(CLOCK_REALTIME);
    open_fds[0] = 7 | UINT64_C(1) << control;
    count_fork_once();
    enum fs_import found = look_behind(why, room, fork_count);
    PyObject *done = fs_inside_call("open_for_imports");
    if (!done) PyErr_Print();
    Py_XDECREF(done);
    return found;
}

/* "TYPE NAME PLACE:FUNCTION": what was found out of it, as a text. */
static PyObject *load_model(const char *line) {
    PyObject *text = PyUnicode_DecodeFSDefault(line);
    PyObject *said = text ? fs_inside_call("load_model", text) : NULL;
    Py_XDECREF(text);
    return said;
}

static void take_text(PyObject *text, char *out, size_t room) {
    PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "replace");
    if (bytes) snprintf(out, room, "%s", PyBytes_AsString(bytes));
    PyErr_Clear();
    Py_XDECREF(bytes);
}

PyObject *fs_preload_trial(PyObject *callable) {
    char text[FS_TEXT_BYTES] = "";
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0) return PyErr_SetFromErrno(PyExc_OSError);
    is_trial = true;
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        PyObject *said = PyObject_CallNoArgs(callable);
        if (said) take_text(said, text, sizeof text);
        ssize_t ignored = write(pair[1], text, strlen(text));
        (void)ignored;
        _exit(0);
    }
    PyOS_AfterFork_Parent();
    is_trial = false;
    close(pair[1]);
    ssize_t got = read(pair[0], text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    close(pair[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return PyUnicode_FromString(text);
}

struct fs_frame fs_preload_import(const char *name) {
    char why[FS_TEXT_BYTES] = "";
    unsigned forks = fork_count;
    uint64_t all_before;
    uint64_t all;
    uint64_t private_before;
    uint64_t private_bytes;
    read_memory(&all_before, &private_before);
    int64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    PyObject *module = name[0] == '@' ? load_model(name + 1) : PyImport_ImportModule(name);
    int64_t took_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
    read_memory(&all, &private_bytes);
    enum fs_import result = FS_IMPORT_RAISED;
    if (!module) {
        take_exception(why, sizeof why);
    } else {
        result = look_behind(why, sizeof why, forks);
        if (result == FS_IMPORT_GOOD && name[0] == '@') take_text(module, why, sizeof why);
    }
    Py_XDECREF(module);
    struct fs_frame answer = fs_frame_of(FS_IMPORTED, 0, result, why);
    answer.numbers[0] = (uint64_t)took_ns / 1000;
    answer.numbers[1] = all > all_before ? all - all_before : 0;
    answer.numbers[2] = private_bytes > private_before ? private_bytes - private_before : 0;
    sum_us += answer.numbers[0];
    sums.ms = (double)sum_us / 1000;
    sums.private_bytes += answer.numbers[2];
    sums.count += result == FS_IMPORT_GOOD;
    return answer;
}

const struct fs_imports *fs_preload_sums(void) {
    return &sums;
}

/* --- the freeze ------------------------------------------------------------------------------ */

static int write_inventory(void) {
    PyObject *since = PyLong_FromLongLong(began_ns);
    PyObject *lines = since ? fs_inside_call("inventory", since) : NULL;
    char *text = NULL;
    Py_ssize_t size = 0;
    int fd = -1;
    if (lines && PyBytes_AsStringAndSize(lines, &text, &size) == 0) {
        fd = memfd_create("rpool-inventory", MFD_CLOEXEC);
    }
    for (Py_ssize_t at = 0; fd >= 0 && at < size;) {
        ssize_t wrote = write(fd, text + at, (size_t)(size - at));
        if (wrote > 0) at += wrote;
        if (wrote > 0 || errno == EINTR) continue;
        close(fd);
        fd = -1;
    }
    if (PyErr_Occurred()) PyErr_Print();
    Py_XDECREF(lines);
    Py_XDECREF(since);
    return fd;
}

struct fs_frame fs_preload_freeze(int *fd) {
    char why[FS_TEXT_BYTES] = "";
    PyObject *done = fs_inside_call("freeze");
    if (!done) PyErr_Print();
    Py_XDECREF(done);
    fs_names_remember();
    bool has_device = find_device(why, sizeof why);
    *fd = write_inventory();
    struct fs_frame answer =
        fs_frame_of(FS_INVENTORY, 0, has_device ? FS_IMPORT_DEVICE : FS_IMPORT_GOOD, why);
    answer.numbers[0] = sum_us;
    answer.numbers[2] = sums.private_bytes;
    return answer;
}
