/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include "event.h"
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

/* What this process was given, and hands on. */
struct given {
    int32_t fds[FS_PASSED_MAX];
    size_t fd_count;
    bool is_unknown; /* what is open: without /proc */
    bool has_too_many;
    char interpreter[PATH_MAX];
    char **argv;     /* main()'s */
    char **python;   /* arguments of the interpreter */
    char **original; /* the same behind its path */
};

static const char help[] =
    "rpool python - a Python forked from one that has its libraries loaded\n\n"
    "usage: rpool python [--preload M,...] [--interpreter EXE] [--] ARGS...\n\n"
    "options:\n"
    "  --preload M,...  modules to have loaded (default: what earlier runs of 'rpool run' learnt)\n"
    "  --interpreter EXE  a path, or a name in the PATH (default: python, else python3)\n"
    "  --help           this\n\n"
    "ARGS are those of the interpreter: -c CODE, -m MODULE, a script, or - for a program on "
    "stdin.\n"
    "What a fork cannot do as a plain interpreter would (-X, -I, -E, -W, an interactive session,\n"
    "...) the plain interpreter does. RESOURCE_POOL_PYTHON=off: always that one.\n"
    "Exit codes are the program's; 125 to 127 for failures of rpool's own.\n";

/* --- what was inherited ---------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Before anything is opened: all that is open is the caller's. */
static void list_descriptors(struct given *given) {
    DIR *folder = opendir("/proc/self/fd");
    given->is_unknown = !folder;
    for (struct dirent *at; folder && (at = readdir(folder));) {
        if (at->d_name[0] == '.') continue;
        int32_t number = (int32_t)strtol(at->d_name, NULL, 10);
        if (number == dirfd(folder)) continue;
        given->has_too_many = given->fd_count == FS_PASSED_MAX;
        if (given->has_too_many) break;
        given->fds[given->fd_count++] = number;
    }
    if (folder) closedir(folder);
    qsort(given->fds, given->fd_count, sizeof given->fds[0], by_number);
}

static bool is_traced(void) {
    char text[4096];
    fs_proc_read("/proc/self/status", text, sizeof text);
    const char *at = strstr(text, "\nTracerPid:");
    return at && strtol(at + sizeof "\nTracerPid:" - 1, NULL, 10) != 0;
}

/* --- the plain interpreter ------------------------------------------------------------------- */

/* A line for whoever collects what happened in a run. */
static void tell_plain(const struct given *given, const char *why) {
    const char *first = given->python[0] ? given->python[0] : "";
    const char *second = given->python[0] && given->python[1] ? given->python[1] : "";
    char what[96];
    snprintf(what, sizeof what, "%.40s %.40s", first, second);
    for (char *at = what; *at; at++) {
        if (*at == '\t') *at = ' '; /* it would end the field */
    }
    fs_event_add(fs_event_path(), "plain\t%s\t%s", why, what);
}

static int run_plain(const struct given *given, const char *why) {
    tell_plain(given, why);
    execv(given->interpreter, given->original);
    int os_errno = errno;
    fprintf(stderr, "rpool: cannot start '%s': %s\n", given->interpreter, strerror(os_errno));
    return os_errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

/* --- the request ----------------------------------------------------------------------------- */

static int read_oom_score(void) {
    char text[16];
    fs_proc_read("/proc/self/oom_score_adj", text, sizeof text);
    return (int)strtol(text, NULL, 10);
}

static void describe(struct fs_request_head *head, const struct given *given,
                     const struct program *program) {
    mode_t mask = umask(0);
    umask(mask);
    *head = (struct fs_request_head){
        .mode = program->mode,
        .passed_count = (uint32_t)given->fd_count,
        .is_unbuffered = program->is_unbuffered,
        .umask = mask,
        .pid = getpid(),
        .process_group = getpgrp(),
        .session = getsid(0),
        .oom_score_adj = read_oom_score(),
        .nice = getpriority(PRIO_PROCESS, 0),
        .signals_blocked = wait_blocked(),
        .signals_ignored = wait_ignored(),
    };
    for (int i = 0; i < FS_LIMITS && i < (int)RLIM_NLIMITS; i++) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        getrlimit((__rlimit_resource_t)i, &limit);
        head->limits[i][0] = limit.rlim_cur;
        head->limits[i][1] = limit.rlim_max;
    }
}

static bool ask(int connection, const struct given *given, const struct program *program,
                char why[WHY_BYTES]) {
    struct fs_request_head head;
    int fds[FS_PASSED_MAX + 2];
    describe(&head, given, program);
    /* Texts of argv are read, not written; main() has them without const. */
    fds[0] = fs_request_write(&head, given->fds, program->target,
                              (char *const *)(uintptr_t)program->argv, given->original, environ);
    if (fds[0] < 0) {
        snprintf(why, WHY_BYTES, "cannot make the request: %s", strerror(errno));
        return false;
    }
    fds[1] = open(".", O_PATH | O_CLOEXEC);
    for (size_t i = 0; i < given->fd_count; i++)
        fds[i + 2] = given->fds[i];
    struct fs_frame frame = fs_frame_of(FS_ASK, 0, (int32_t)given->fd_count, NULL);
    bool is_sent = fds[1] >= 0 && fs_send(connection, &frame, fds, given->fd_count + 2);
    if (!is_sent) snprintf(why, WHY_BYTES, "cannot ask the keeper: %s", strerror(errno));
    close(fds[0]);
    if (fds[1] >= 0) close(fds[1]);
    return is_sent;
}

/* Comes back when the plain interpreter is to do it, with why. */
static void run_forked(const struct given *given, const struct program *program,
                       const char *preload, char why[WHY_BYTES]) {
    struct preloads preloads;
    char key[KEY_DIGITS + 1];
    if (!preloads_read(preload, &preloads, why)) return;
    bool is_made = key_make(given->interpreter, &preloads, key, why);
    int connection = is_made ? keeper_reach(key, given->interpreter, &preloads, why) : -1;
    free(preloads.text);
    if (connection < 0) return;
    wait_begin(given->argv);
    if (ask(connection, given, program, why)) {
        wait_for(connection, given->fds, given->fd_count, why);
    } else {
        close(connection);
    }
    wait_undo();
}

/* --- all of it ------------------------------------------------------------------------------- */

static bool is_forkable(const struct given *given, struct program *program, char why[WHY_BYTES]) {
    const char *wish = getenv("RESOURCE_POOL_PYTHON");
    const char *forbidden = key_forbids();
    if (wish && strcmp(wish, "off") == 0) {
        snprintf(why, WHY_BYTES, "RESOURCE_POOL_PYTHON=off");
    } else if (forbidden) {
        snprintf(why, WHY_BYTES, "%s", forbidden);
    } else if (given->is_unknown) {
        snprintf(why, WHY_BYTES, "/proc is not there");
    } else if (given->has_too_many) {
        snprintf(why, WHY_BYTES, "more than %d open descriptors", FS_PASSED_MAX);
    } else if (is_traced()) {
        snprintf(why, WHY_BYTES, "a debugger follows the process");
    } else if (getauxval(AT_SECURE)) {
        snprintf(why, WHY_BYTES, "it has another user's rights");
    } else {
        return python_is_program(given->interpreter, why) &&
               line_read(given->python, isatty(STDIN_FILENO) == 1, program, why);
    }
    return false;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The interpreter's path and its arguments behind it. */
static bool set_original(struct given *given) {
    size_t count = 0;
    while (given->python[count])
        count++;
    given->original = calloc(count + 2, sizeof *given->original);
    if (!given->original) return false;
    given->original[0] = given->interpreter;
    memcpy(given->original + 1, given->python, count * sizeof *given->python);
    return true;
}

int main(int argc, char **argv) {
    static struct given given;
    struct line line = {0};
    struct program program = {0};
    char why[WHY_BYTES] = "";
    (void)argc;
    given.argv = argv;
    list_descriptors(&given);
    const char *called = argv[0] ? argv[0] : "";
    const char *name = last_part(called);
    /* A program that starts its own interpreter by us leaves the arguments as they are. */
    bool is_in_place = called[0] == '/' && python_is_other(called);
    bool is_shim = is_in_place || strncmp(name, "python", 6) == 0;
    if (!is_shim && !line_split(argv + 1, &line, why)) {
        fprintf(stderr, "rpool: %s\nhint: 'rpool python --help' tells more\n", why);
        return LAUNCHER_FAILED;
    }
    if (line.is_help) return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? LAUNCHER_FAILED : 0;
    given.python = is_shim ? argv + 1 : line.python;
    if (is_in_place) line.interpreter = called;
    if (!python_find(line.interpreter, is_shim ? name : NULL, given.interpreter, why) ||
        !set_original(&given)) {
        fprintf(stderr, "rpool: %s\n", why[0] ? why : "no memory");
        return NOT_FOUND;
    }
    if (is_forkable(&given, &program, why)) run_forked(&given, &program, line.preloads, why);
    return run_plain(&given, why);
}
