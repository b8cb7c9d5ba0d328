/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_server.h"

#include "event.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { PRELOADS_BYTES_MAX = 1 << 20, REFUSALS_MAX = 16, CONTROL_FD = 3, LOGGED_BYTES = 4096 };
enum { START_MS = 60000, IMPORT_MS = 120000, FREEZE_MS = 60000 };

int64_t fs_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct rlimit callers_limit = {RLIM_INFINITY, RLIM_INFINITY};

static void limit_descriptors(rlim_t most) {
    struct rlimit limit = {most, callers_limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) errno = 0;
}

void fs_descriptors_raise(void) {
    if (getrlimit(RLIMIT_NOFILE, &callers_limit) == 0) limit_descriptors(callers_limit.rlim_max);
}

/* --- what is to be preloaded ----------------------------------------------------------------- */

bool fs_preloads_read(struct fs_preloads *preloads, int fd) {
    size_t size = 0;
    size_t lines = 1;
    *preloads = (struct fs_preloads){.text = malloc(PRELOADS_BYTES_MAX + 1)};
    if (!preloads->text) return false;
    ssize_t got;
    while ((got = read(fd, preloads->text + size, PRELOADS_BYTES_MAX - size)) > 0) {
        size += (size_t)got;
    }
    preloads->text[size] = '\0';
    for (size_t i = 0; i < size; i++)
        lines += preloads->text[i] == '\n';
    preloads->rows = calloc(lines, sizeof *preloads->rows);
    if (!preloads->rows) return false;
    char *rest = preloads->text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (!line[0]) continue;
        struct fs_preload *row = &preloads->rows[preloads->count++];
        row->name = line;
        row->is_refused = strlen(line) >= FS_TEXT_BYTES; /* a frame would cut it to another name */
        if (row->is_refused) snprintf(row->why, sizeof row->why, "its name is too long");
    }
    return true;
}

void fs_preloads_fini(struct fs_preloads *preloads) {
    free(preloads->rows);
    free(preloads->text);
}

/* `counts`: it cost a server; that many may. */
static void refuse(struct fs_preloads *preloads, size_t index, const char *why, bool counts) {
    struct fs_preload *row = &preloads->rows[index];
    row->is_refused = true;
    row->is_loaded = false;
    snprintf(row->why, sizeof row->why, "%s", why);
    fprintf(stderr, "level=warning event=preload_refused module=%s reason=\"%s\"\n", row->name,
            why);
    fs_event_add(fs_event_path(), "refused\t%s\t%s", row->name, why);
    preloads->refusals += counts;
    if (preloads->refusals < REFUSALS_MAX) return;
    for (size_t i = 0; i < preloads->count; i++) {
        if (preloads->rows[i].is_refused) continue;
        preloads->rows[i].is_refused = true;
        snprintf(preloads->rows[i].why, sizeof preloads->rows[i].why,
                 "too many others were refused (%d)", REFUSALS_MAX);
    }
}

/* A module of a package that was refused would import the package. */
static bool is_of_refused(const struct fs_preloads *preloads, const char *name) {
    for (size_t i = 0; i < preloads->count; i++) {
        const struct fs_preload *row = &preloads->rows[i];
        size_t length = row->is_refused ? strlen(row->name) : 0;
        if (length > 0 && strncmp(name, row->name, length) == 0 &&
            (name[length] == '.' || name[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* --- starting -------------------------------------------------------------------------------- */

/* Where sitecustomize.py of the server is. */
static bool find_hook(char folder[PATH_MAX]) {
    static const char *const places[] = {"../forkserver",
                                         "../" FS_LIBDIR "/resourcepool/forkserver"};
    const char *given = getenv("RESOURCE_POOL_FORKSERVER_DIR");
    char self[PATH_MAX];
    char path[PATH_MAX + 64];
    if (given && given[0] == '/') {
        snprintf(folder, PATH_MAX, "%s", given);
        return true;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return false;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", self, places[i]);
        if (!realpath(path, folder)) continue;
        snprintf(path, sizeof path, "%.4000s/sitecustomize.py", folder);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

/* The keeper's environment with two variables of its own; malloc()ed, as are those two. */
static char **make_environment(const char *hook) {
    size_t count = 0;
    size_t kept = 0;
    char *path = NULL;
    char *control = NULL;
    const char *before = getenv("PYTHONPATH");
    while (environ[count])
        count++;
    char **variables = calloc(count + 3, sizeof *variables);
    if (!variables || asprintf(&control, "RESOURCE_POOL_FORKSERVER=%d", CONTROL_FD) < 0 ||
        asprintf(&path, "PYTHONPATH=%s%s%s", hook, before && before[0] ? ":" : "",
                 before ? before : "") < 0) {
        free(variables);
        free(control);
        return NULL;
    }
    variables[kept++] = path;
    variables[kept++] = control;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "PYTHONPATH=", 11) != 0) variables[kept++] = environ[i];
    }
    return variables;
}

static int spawn(const char *interpreter, char **environment, int control, int output, pid_t *pid) {
    char name[PATH_MAX];
    char *const arguments[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    snprintf(name, sizeof name, "%s", interpreter);
    if (posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&actions, output, 2);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&actions, control, CONTROL_FD);
    if (rc == 0) rc = posix_spawn_file_actions_addclosefrom_np(&actions, CONTROL_FD + 1);
    limit_descriptors(callers_limit.rlim_cur);
    if (rc == 0) rc = posix_spawn(pid, interpreter, &actions, &attributes, arguments, environment);
    limit_descriptors(callers_limit.rlim_max);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

struct fs_server *fs_server_start(const char *interpreter, char *why, size_t room) {
    char hook[PATH_MAX];
    int pair[2] = {-1, -1};
    struct fs_server *server = calloc(1, sizeof *server);
    char **environment = server && find_hook(hook) ? make_environment(hook) : NULL;
    if (!environment) {
        snprintf(why, room, "the server's files are not beside rpool, or there is no memory");
        free(server);
        return NULL;
    }
    server->output = memfd_create("rpool-output", MFD_CLOEXEC);
    int rc = server->output < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0
                 ? errno
                 : spawn(interpreter, environment, pair[1], server->output, &server->pid);
    free(environment[0]);
    free(environment[1]);
    free(environment);
    if (pair[1] >= 0) close(pair[1]);
    server->control = pair[0];
    server->deadline_ms = fs_now_ms() + START_MS;
    if (rc == 0) return server;
    snprintf(why, room, "cannot start '%.100s': %s", interpreter, strerror(rc));
    server->state = FS_SERVER_DEAD;
    fs_server_free(server);
    return NULL;
}

/* --- preloading ------------------------------------------------------------------------------ */

static int64_t import_ms(void) {
    const char *given = getenv("RESOURCE_POOL_PYTHON_IMPORT_SECONDS");
    long seconds = given ? strtol(given, NULL, 10) : 0;
    return seconds > 0 && seconds < 3600 ? seconds * 1000 : IMPORT_MS;
}

/* The next import, or the freeze. */
static bool go_on(struct fs_server *server, const struct fs_preloads *preloads) {
    size_t at = server->import_index;
    while (at < preloads->count && is_of_refused(preloads, preloads->rows[at].name))
        at++;
    server->import_index = at;
    bool is_last = at == preloads->count;
    struct fs_frame frame = fs_frame_of(is_last ? FS_FREEZE : FS_IMPORT, 0, 0,
                                        is_last ? NULL : preloads->rows[at].name);
    server->state = is_last ? FS_SERVER_FREEZING : FS_SERVER_IMPORTING;
    server->deadline_ms = fs_now_ms() + (is_last ? FREEZE_MS : import_ms());
    return fs_send(server->control, &frame, NULL, 0);
}

/* A module that is not there at all has done nothing; the server is none the worse. */
static bool is_harmless(const struct fs_preload *row, const struct fs_frame *frame) {
    char text[FS_TEXT_BYTES];
    if (frame->value != FS_IMPORT_RAISED) return false;
    snprintf(text, sizeof text, "raises ModuleNotFoundError: No module named '%.120s'", row->name);
    return strcmp(text, frame->text) == 0;
}

static bool take_import(struct fs_server *server, struct fs_preloads *preloads,
                        const struct fs_frame *frame) {
    struct fs_preload *row = &preloads->rows[server->import_index];
    if (frame->value != FS_IMPORT_GOOD) {
        bool costs = !is_harmless(row, frame);
        refuse(preloads, server->import_index, frame->text, costs);
        if (costs) return false;
    } else {
        row->is_loaded = true;
        row->us = frame->numbers[0];
        row->bytes = frame->numbers[1];
        row->private_bytes = frame->numbers[2];
        snprintf(row->why, sizeof row->why, "%s", frame->text);
    }
    server->import_index++;
    return go_on(server, preloads);
}

/* What maps a device nobody could tell from the import alone: all of them are to blame. */
static bool take_inventory(struct fs_server *server, struct fs_preloads *preloads,
                           const struct fs_frame *frame, int fd) {
    size_t loaded = 0;
    if (frame->value != FS_IMPORT_GOOD) {
        for (size_t i = 0; i < preloads->count; i++) {
            if (!preloads->rows[i].is_refused) refuse(preloads, i, frame->text, true);
        }
        return false;
    }
    server->inventory = fd >= 0 ? fs_inventory_receive(fd) : NULL;
    if (!server->inventory) return false;
    server->import_us = frame->numbers[0];
    server->private_bytes = frame->numbers[2];
    server->state = FS_SERVER_READY;
    for (size_t i = 0; i < preloads->count; i++)
        loaded += preloads->rows[i].is_loaded;
    fs_event_add(fs_event_path(), "server\t%d\t%.0f\t%" PRIu64 "\t%zu", (int)server->pid,
                 (double)server->import_us / 1000, server->private_bytes, loaded);
    return true;
}

bool fs_server_take(struct fs_server *server, struct fs_preloads *preloads, struct fs_frame *frame,
                    int *fd) {
    size_t fd_count = 1;
    *fd = -1;
    int rc = fs_receive(server->control, frame, fd, &fd_count);
    if (rc < 0 && errno == EAGAIN) {
        frame->type = 0;
        return true;
    }
    if (rc <= 0) return false;
    if (fd_count == 0) *fd = -1;
    bool is_good = true;
    switch (frame->type) {
    case FS_FORKED:
    case FS_FAILED:
    case FS_CONTINUED:
    case FS_CHILD_ENDED:
        return true;
    case FS_READY:
        is_good = server->state == FS_SERVER_STARTING && frame->value == FS_IMPORT_GOOD &&
                  go_on(server, preloads);
        break;
    case FS_IMPORTED:
        is_good = server->state == FS_SERVER_IMPORTING && take_import(server, preloads, frame);
        break;
    case FS_INVENTORY:
        is_good =
            server->state == FS_SERVER_FREEZING && take_inventory(server, preloads, frame, *fd);
        break;
    default:
        is_good = false;
        break;
    }
    if (*fd >= 0) close(*fd);
    *fd = -1;
    if (is_good) frame->type = 0;
    return is_good;
}

void fs_server_blame(struct fs_server *server, struct fs_preloads *preloads, const char *why) {
    if (server->state == FS_SERVER_IMPORTING && server->import_index < preloads->count &&
        !preloads->rows[server->import_index].is_refused) {
        refuse(preloads, server->import_index, why, true);
    }
}

bool fs_server_check_time(struct fs_server *server, struct fs_preloads *preloads) {
    char why[FS_TEXT_BYTES];
    if (server->state >= FS_SERVER_READY || fs_now_ms() < server->deadline_ms) return true;
    snprintf(why, sizeof why, "takes longer than %d s", (int)(import_ms() / 1000));
    fs_server_blame(server, preloads, why);
    return false;
}

void fs_server_describe(const struct fs_server *server, const struct fs_preloads *preloads,
                        char *text, size_t room) {
    static const char *const states[] = {"starting", "importing", "freezing",
                                         "ready",    "ending",    "dead"};
    if (server->state == FS_SERVER_IMPORTING && server->import_index < preloads->count) {
        snprintf(text, room, "importing %.120s (%zu of %zu)",
                 preloads->rows[server->import_index].name, server->import_index + 1,
                 preloads->count);
    } else {
        snprintf(text, room, "%s", states[server->state]);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

/* What it said goes to the log; nobody else hears it. */
static void log_output(const struct fs_server *server) {
    char text[LOGGED_BYTES];
    ssize_t size = server->output >= 0 ? pread(server->output, text, sizeof text - 1, 0) : 0;
    if (size <= 0) return;
    text[size] = '\0';
    fprintf(stderr, "level=info event=server_said server=%d text:\n%s\n", (int)server->pid, text);
}

void fs_server_free(struct fs_server *server) {
    if (!server) return;
    log_output(server);
    if (server->state != FS_SERVER_DEAD && server->state != FS_SERVER_RETIRED && server->pid > 0) {
        kill(server->pid, SIGKILL);
    }
    if (server->control >= 0) close(server->control);
    if (server->output >= 0) close(server->output);
    fs_inventory_free(server->inventory);
    free(server);
}
