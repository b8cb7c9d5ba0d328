/* SPDX-License-Identifier: Apache-2.0 */
#include "run_python.h"

#include "command.h"
#include "python.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MINOR_MIN = 8,
    MINOR_MAX = 20,
    EVENTS_BYTES_MAX = 256 << 20,
    REASONS_MAX = 64,
    PACKAGES_SHOWN = 2,
    REFUSED_SHOWN = 8
};

/* --- the environment ------------------------------------------------------------------------- */

static bool is_in_path(const char *name) {
    const char *at = getenv("PATH");
    char path[PATH_MAX];
    while (at && *at) {
        size_t length = strcspn(at, ":");
        int written = snprintf(path, sizeof path, "%.*s/%s", (int)length, at, name);
        if (written < (int)sizeof path && access(path, X_OK) == 0) return true;
        at += length + (at[length] == ':');
    }
    return false;
}

/* A name that was not there before is not there now: programs look for what there is. */
static bool link_names(const char *folder, const char *launcher) {
    char name[32];
    char path[FOLDER_BYTES + 64];
    bool is_any = false;
    for (int minor = MINOR_MIN - 2; minor <= MINOR_MAX; minor++) {
        if (minor == MINOR_MIN - 2) snprintf(name, sizeof name, "python");
        if (minor == MINOR_MIN - 1) snprintf(name, sizeof name, "python3");
        if (minor >= MINOR_MIN) snprintf(name, sizeof name, "python3.%d", minor);
        if (!is_in_path(name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (symlink(launcher, path) != 0) return false;
        is_any = true;
    }
    return is_any;
}

static bool make_files(struct run_python *python, const char *launcher) {
    char links[FOLDER_BYTES + 32];
    snprintf(links, sizeof links, "%s/python", python->folder);
    snprintf(python->events_path, sizeof python->events_path, "%s/python.events", python->folder);
    if (mkdir(links, 0700) != 0 || !link_names(links, launcher)) return false;
    int events = open(python->events_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (events < 0) return false;
    close(events);
    return true;
}

static bool set_environment(const struct run_python *python, const char *launcher) {
    const char *path = getenv("PATH");
    char *longer = NULL;
    if (asprintf(&longer, "%s/python:%s", python->folder, path ? path : "") < 0) return false;
    setenv("PATH", longer, 1);
    free(longer);
    setenv("RESOURCE_POOL_PYTHON", launcher, 1);
    setenv("RESOURCE_POOL_PYTHON_EVENTS", python->events_path, 1);
    if (python->preloads.path[0]) {
        setenv("RESOURCE_POOL_PYTHON_PRELOADS", python->preloads.path, 1);
    } else {
        unsetenv("RESOURCE_POOL_PYTHON_PRELOADS");
    }
    return true;
}

/* "torch,transformers" as a file of preloads, which is the run's and teaches nobody. */
static bool write_preloads(struct run_python *python, const char *names) {
    struct run_preloads *preloads = &python->preloads;
    *preloads = (struct run_preloads){.is_given = true};
    snprintf(preloads->path, sizeof preloads->path, "%s/python.preloads", python->folder);
    FILE *file = fopen(preloads->path, "we");
    if (!file) return false;
    for (; *names; names++)
        fputc(*names == ',' ? '\n' : *names, file);
    fputc('\n', file);
    return fclose(file) == 0;
}

static void leave(struct run_python *python) {
    if (python->is_own_folder) isolated_remove(python->folder, python->folder_lock);
    python->is_own_folder = false;
    python->is_on = false;
}

/* NULL, or what keeps it from being done. */
static const char *begin(struct run_python *python, const struct run_python_wish *wish,
                         char *const *command) {
    char launcher[PATH_MAX];
    rp_error err = RP_ERROR_INIT;
    if (!python_find_launcher(launcher)) return "the program 'rpool-python' is not beside rpool";
    if (wish->folder) {
        snprintf(python->folder, sizeof python->folder, "%s", wish->folder);
    } else if (isolated_make(python->folder, &python->folder_lock, &err) == RP_OK) {
        python->is_own_folder = true;
    } else {
        return "no folder for it can be made";
    }
    if (wish->preloads) {
        if (!write_preloads(python, wish->preloads))
            return "the list of preloads cannot be written";
    } else {
        run_preloads_find(&python->preloads, command);
    }
    /* Where there is no Python there is nothing to do, and nothing to say. */
    if (!make_files(python, launcher)) return "";
    run_preloads_look(&python->preloads);
    return set_environment(python, launcher) ? NULL : "no memory";
}

void run_python_open(struct run_python *python, const struct run_python_wish *wish,
                     char *const *command, char *why, size_t why_bytes) {
    const char *outer = getenv("RESOURCE_POOL_PYTHON_EVENTS");
    const char *set = getenv("RESOURCE_POOL_PYTHON");
    *python = (struct run_python){.folder_lock = -1};
    why[0] = '\0';
    bool is_off =
        (wish->how && strcmp(wish->how, "plain") == 0) || (set && strcmp(set, "off") == 0);
    if (is_off) setenv("RESOURCE_POOL_PYTHON", "off", 1);
    /* Of a run in a run the outer one sees to it. */
    if (is_off || (outer && access(outer, W_OK) == 0)) return;
    const char *wrong = begin(python, wish, command);
    if (wrong) {
        if (wrong[0]) snprintf(why, why_bytes, "Pythons are started as they are: %s", wrong);
        leave(python);
        return;
    }
    python->is_on = true;
    python->reasons = json_object();
    python->servers = json_object();
    python->groups = json_object();
    python->refused = json_object();
}

/* --- events ---------------------------------------------------------------------------------- */

static void count_in(json_t *object, const char *key) {
    json_int_t before = json_integer_value(json_object_get(object, key));
    json_object_set_new(object, key, json_integer(before + 1));
}

static void take_plain(struct run_python *python, const char *reason) {
    python->plain++;
    if (json_object_size(python->reasons) < REASONS_MAX ||
        json_object_get(python->reasons, reason)) {
        count_in(python->reasons, reason);
    }
}

static void keep_alive(struct run_python *python, pid_t pid) {
    if (python->alive_count == python->alive_room) {
        size_t room = python->alive_room ? 2 * python->alive_room : 64;
        pid_t *larger = realloc(python->alive, room * sizeof *larger);
        if (!larger) return;
        python->alive = larger;
        python->alive_room = room;
    }
    python->alive[python->alive_count++] = pid;
}

/* PID SERVER_PID IMPORT_MS PRIVATE_BYTES PRELOAD_COUNT WHAT */
static void take_forked(struct run_python *python, char *fields) {
    char *at = fields;
    long pid = strtol(at, &at, 10);
    long server = strtol(at, &at, 10);
    double ms = strtod(at, &at);
    uint64_t bytes = strtoull(at, &at, 10);
    uint64_t count = strtoull(at, &at, 10);
    char name[24];
    if (pid <= 0 || server <= 0 || *at != '\t') return;
    python->forked++;
    python->plain_ms += ms;
    if (ms > python->import_ms) python->import_ms = ms;
    if (bytes > python->private_bytes) python->private_bytes = bytes;
    if (count > python->preload_count) python->preload_count = count;
    snprintf(name, sizeof name, "%ld", server);
    json_object_set_new(python->servers, name, json_true());
    keep_alive(python, (pid_t)pid);
}

/* PID IMPORT_MS ...: a server that was started for this run. */
static void take_server(struct run_python *python, char *fields) {
    char *at = strchr(fields, '\t');
    if (at) python->servers_ms += strtod(at, NULL);
}

static void take_imported(struct run_python *python, char *fields) {
    char *names = strchr(fields, '\t');
    char *place;
    if (!names) return;
    *names++ = '\0';
    json_t *group = json_object_get(python->groups, fields);
    if (!group) {
        group = json_pack("{s:i, s:{}}", "count", 0, "names");
        if (json_object_set_new(python->groups, fields, group) != 0) return;
    }
    count_in(group, "count");
    json_t *met = json_object_get(group, "names");
    for (char *name = strtok_r(names, ",", &place); name; name = strtok_r(NULL, ",", &place)) {
        count_in(met, name);
    }
}

static void take_refused(struct run_python *python, char *fields) {
    char *reason = strchr(fields, '\t');
    if (!reason) return;
    *reason++ = '\0';
    json_object_set_new(python->refused, fields, json_string(reason));
}

static void take_event(struct run_python *python, char *line) {
    char *fields = strchr(line, '\t');
    if (!fields) return;
    *fields++ = '\0';
    if (strcmp(line, "plain") == 0) {
        fields[strcspn(fields, "\t")] = '\0';
        take_plain(python, fields);
    } else if (strcmp(line, "forked") == 0) {
        take_forked(python, fields);
    } else if (strcmp(line, "imported") == 0) {
        take_imported(python, fields);
    } else if (strcmp(line, "server") == 0) {
        take_server(python, fields);
    } else if (strcmp(line, "refused") == 0) {
        take_refused(python, fields);
    }
}

/* Lines that are whole; the rest comes with the next look. */
static void read_events(struct run_python *python) {
    struct stat info;
    int file = open(python->events_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *text = NULL;
    if (file >= 0 && fstat(file, &info) == 0 && info.st_size > python->read_bytes &&
        info.st_size < EVENTS_BYTES_MAX) {
        size_t size = (size_t)(info.st_size - python->read_bytes);
        text = malloc(size + 1);
        ssize_t got = text ? pread(file, text, size, (off_t)python->read_bytes) : 0;
        char *last = got > 0 ? memrchr(text, '\n', (size_t)got) : NULL;
        if (last) {
            *last = '\0';
            python->read_bytes += last + 1 - text;
            char *rest = text;
            for (char *line; (line = strsep(&rest, "\n"));)
                take_event(python, line);
        }
    }
    free(text);
    if (file >= 0) close(file);
}

/* Plain ones would have that much each; here the first one's is the server's. */
static void count_alive(struct run_python *python) {
    size_t count = 0;
    for (size_t i = 0; i < python->alive_count; i++) {
        if (kill(python->alive[i], 0) == 0) python->alive[count++] = python->alive[i];
    }
    python->alive_count = count;
    uint64_t saved = count > 1 ? (count - 1) * python->private_bytes : 0;
    if (saved > python->saved_bytes) python->saved_bytes = saved;
}

void run_python_look(struct run_python *python) {
    if (!python->is_on) return;
    int64_t before = python->read_bytes;
    read_events(python);
    if (python->read_bytes != before || python->alive_count > 0) count_alive(python);
}

void run_python_close(struct run_python *python, bool learns) {
    if (!python->is_on) return;
    read_events(python);
    bool is_file_of_run =
        strncmp(python->preloads.path, python->folder, strlen(python->folder)) == 0;
    if (is_file_of_run) python->preloads.path[0] = '\0';
    if (learns) run_preloads_learn(&python->preloads, python->groups, python->refused);
    if (python->is_own_folder) isolated_remove(python->folder, python->folder_lock);
    python->is_own_folder = false;
}

void run_python_fini(struct run_python *python) {
    json_decref(python->reasons);
    json_decref(python->servers);
    json_decref(python->groups);
    json_decref(python->refused);
    json_decref(python->preloads.packages);
    free(python->alive);
}

/* --- what is told ---------------------------------------------------------------------------- */

static double saved_ms(const struct run_python *python) {
    return python->plain_ms - python->servers_ms;
}

static void print_saved(const struct run_python *python) {
    if (python->import_ms < 1) return;
    fprintf(stderr, "rpool: python: %s %.1f s of imports", saved_ms(python) < 0 ? "cost" : "saved",
            (saved_ms(python) < 0 ? -saved_ms(python) : saved_ms(python)) / 1e3);
    if (python->saved_bytes > 0) fprintf(stderr, " and %s", bytes_text(python->saved_bytes));
    fprintf(stderr, " (one plain process, measured: %.1f s, %s", python->import_ms / 1e3,
            bytes_text(python->private_bytes));
    if (python->servers_ms > 0) {
        fprintf(stderr, "; servers started for this run took %.1f s", python->servers_ms / 1e3);
    }
    fprintf(stderr, ")\n");
}

/* "torch, transformers and 210 more": the packages of most modules stand for all. */
static void print_loaded(const struct run_python *python) {
    unsigned long long left = python->preload_count;
    size_t shown = 0;
    size_t i;
    const json_t *package;
    if (left == 0) fprintf(stderr, "nothing loaded yet");
    json_array_foreach(python->preloads.packages, i, package) {
        const char *name = json_string_value(package);
        if (left == 0 || shown == PACKAGES_SHOWN) break;
        if (json_object_get(python->refused, name)) continue;
        fprintf(stderr, "%s%s", shown > 0 ? ", " : "", name);
        shown++;
        left--;
    }
    if (left > 0 && shown > 0) fprintf(stderr, " and %llu more", left);
    if (left > 0 && shown == 0) fprintf(stderr, "%llu module%s loaded", left, left == 1 ? "" : "s");
}

static void print_refused(const struct run_python *python) {
    const char *name;
    json_t *reason;
    size_t count = 0;
    json_object_foreach(python->refused, name, reason) {
        if (count++ == REFUSED_SHOWN) break;
        fprintf(stderr, "rpool: python: not loaded before forking: %s: %s\n", name,
                json_string_value(reason));
    }
    if (count > REFUSED_SHOWN) {
        fprintf(stderr, "rpool: python: not loaded before forking: %zu more\n",
                json_object_size(python->refused) - REFUSED_SHOWN);
    }
}

void run_python_print(const struct run_python *python) {
    const char *reason;
    json_t *count;
    uint64_t all = python->forked + python->plain;
    size_t servers = json_object_size(python->servers);
    if (!python->is_on || all == 0) return;
    fprintf(stderr, "rpool: python: %llu of %llu process%s forked",
            (unsigned long long)python->forked, (unsigned long long)all, all == 1 ? "" : "es");
    if (servers > 0) {
        fprintf(stderr, " from %zu server%s with ", servers, servers == 1 ? "" : "s");
        print_loaded(python);
    }
    fputc('\n', stderr);
    print_saved(python);
    json_object_foreach(python->reasons, reason, count) {
        fprintf(stderr, "rpool: python: %lld plain: %s\n", (long long)json_integer_value(count),
                reason);
    }
    print_refused(python);
    const struct run_preloads *preloads = &python->preloads;
    if (preloads->learnt_count > 0) {
        fprintf(stderr, "rpool: python: learnt %zu module%s for the next run: %s\n",
                preloads->learnt_count, preloads->learnt_count == 1 ? "" : "s", preloads->path);
    } else if (preloads->known_count > 0 && preloads->path[0]) {
        fprintf(stderr, "rpool: python: modules to load: %s\n", preloads->path);
    }
}

json_t *run_python_describe(const struct run_python *python) {
    if (!python->is_on) return json_null();
    return json_pack(
        "{s:I, s:I, s:O, s:I, s:I, s:f, s:f, s:I, s:f, s:I, s:o, s:I, s:I, s:O}", "forked",
        (json_int_t)python->forked, "plain", (json_int_t)python->plain, "reasons", python->reasons,
        "servers", (json_int_t)json_object_size(python->servers), "preloads",
        (json_int_t)python->preload_count, "import_ms", python->import_ms, "servers_ms",
        python->servers_ms, "private_bytes", (json_int_t)python->private_bytes, "saved_ms",
        saved_ms(python), "saved_bytes", (json_int_t)python->saved_bytes, "preloads_file",
        json_text(python->preloads.path[0] ? python->preloads.path : NULL), "preloads_known",
        (json_int_t)python->preloads.known_count, "learnt",
        (json_int_t)python->preloads.learnt_count, "refused", python->refused);
}
