/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server fits. Its name is a hash of everything that a start of the interpreter depends on
 * and that a fork cannot change afterwards; two launchers that agree in all of it share a server.
 */
#include "launcher.h"

#include "proc.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>

extern char **environ;

enum { PRELOADS_BYTES_MAX = 1 << 20, PROC_BYTES = 4096 };

/*
 * What libraries, the loader and the interpreter read when they start, by the beginning of its
 * name; what a module reads in Python the server finds out by itself.
 */
static const char *const variables[] = {
    "PYTHON", "LD_",       "MALLOC_",      "GLIBC_TUNABLES=", "OMP_", "GOMP_", "KMP_",
    "MKL_",   "OPENBLAS_", "BLIS_",        "NUMEXPR_",        "NPY_", "TORCH", "PYTORCH_",
    "CUDA_",  "NVIDIA_",   "HIP_",         "ROCR_",           "HSA_", "GPU_",  "TF_",
    "XLA_",   "JAX_",      "HF_",          "TRANSFORMERS_",   "LC_",  "LANG=", "LANGUAGE=",
    "TZ=",    "HOME=",     "VIRTUAL_ENV=", "CONDA_PREFIX=",
};

/* Variables with which a start does what a fork has behind it, and why. */
static const char *const forbidden[][2] = {
    {"PYTHONINSPECT", "PYTHONINSPECT asks for a session after the program"},
    {"PYTHONHOME", "PYTHONHOME is set"},
    {"PYTHONPROFILEIMPORTTIME", "PYTHONPROFILEIMPORTTIME measures a start"},
    {"PYTHONVERBOSE", "PYTHONVERBOSE tells of a start"},
    {"PYTHONDUMPREFS", "PYTHONDUMPREFS tells of an end"},
    {"PYTHONMALLOCSTATS", "PYTHONMALLOCSTATS tells of an end"},
    {"PYTHONTRACEMALLOC", "PYTHONTRACEMALLOC follows memory from the start"},
    {"PYTHONPERFSUPPORT", "PYTHONPERFSUPPORT writes a file of its own for each process"},
    {"COVERAGE_PROCESS_START", "coverage begins with the start (COVERAGE_PROCESS_START)"},
    {"COVERAGE_PROCESS_CONFIG", "coverage begins with the start (COVERAGE_PROCESS_CONFIG)"},
    {"COV_CORE_SOURCE", "coverage begins with the start (COV_CORE_SOURCE)"},
    {"COV_CORE_DATAFILE", "coverage begins with the start (COV_CORE_DATAFILE)"},
};

/* --- preloads -------------------------------------------------------------------------------- */

/* Whether a line of `kept_out` is that name, or a package that it is in. */
static bool is_kept_out(const struct preloads *kept_out, const char *name, size_t name_bytes) {
    const char *end = kept_out->text + kept_out->bytes;
    for (const char *at = kept_out->text; at < end;) {
        size_t length = strcspn(at, "\n");
        bool is_begin = length <= name_bytes && memcmp(at, name, length) == 0;
        if (is_begin && (length == name_bytes || name[length] == '.')) return true;
        at += length + 1;
    }
    return false;
}

static bool add(struct preloads *preloads, const char *package, size_t package_bytes,
                const char *name, size_t name_bytes) {
    size_t more = package_bytes + name_bytes + 3;
    char *larger = realloc(preloads->text, preloads->bytes + more);
    if (!larger) return false;
    preloads->text = larger;
    preloads->bytes +=
        (size_t)snprintf(larger + preloads->bytes, more, "%.*s%s%.*s\n", (int)package_bytes,
                         package, package_bytes ? "." : "", (int)name_bytes, name);
    return true;
}

/* "NAME" or "NAME: sub sub.sub", or "@TYPE NAME PLACE:FUNCTION" for a model, into `preloads`;
 * "-NAME" into `kept_out`. */
static bool parse_line(const char *line, size_t length, struct preloads *preloads,
                       struct preloads *kept_out) {
    static const char blanks[] = " \t\r";
    const char *hash = memchr(line, '#', length);
    const char *end = hash ? hash : line + length;
    const char *colon = memchr(line, ':', (size_t)(end - line));
    const char *package = line;
    while (package < end && strchr(blanks, *package))
        package++;
    const char *package_end = colon ? colon : end;
    while (package_end > package && strchr(blanks, package_end[-1]))
        package_end--;
    size_t package_bytes = (size_t)(package_end - package);
    if (package_bytes == 0) return true;
    if (*package == '@') { /* a model: the whole line is one entry */
        while (end > package && strchr(blanks, end[-1]))
            end--;
        return add(preloads, "", 0, package, (size_t)(end - package));
    }
    if (*package == '-') return add(kept_out, "", 0, package + 1, package_bytes - 1);
    if (!add(preloads, "", 0, package, package_bytes)) return false;
    for (const char *at = colon ? colon + 1 : end; at < end;) {
        if (strchr(blanks, *at)) {
            at++;
            continue;
        }
        const char *begin = at;
        while (at < end && !strchr(blanks, *at))
            at++;
        if (!add(preloads, package, package_bytes, begin, (size_t)(at - begin))) return false;
    }
    return true;
}

/* Without the lines that are kept out, wherever in the file that was said. */
static void keep_out(struct preloads *preloads, const struct preloads *kept_out) {
    size_t kept = 0;
    for (size_t at = 0; kept_out->bytes > 0 && at < preloads->bytes;) {
        const char *name = preloads->text + at;
        size_t length = strcspn(name, "\n");
        at += length + 1;
        if (is_kept_out(kept_out, name, length)) continue;
        memmove(preloads->text + kept, name, length + 1);
        kept += length + 1;
    }
    if (kept_out->bytes > 0) preloads->bytes = kept;
}

bool preloads_parse(const char *text, size_t bytes, struct preloads *preloads) {
    struct preloads kept_out = {0};
    bool is_whole = true;
    *preloads = (struct preloads){0};
    for (const char *at = text, *end = text + bytes; at < end && is_whole;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = newline ? (size_t)(newline - at) : (size_t)(end - at);
        /* A NUL would end a word before the line ends. */
        is_whole = memchr(at, '\0', length) || parse_line(at, length, preloads, &kept_out);
        at += length + 1;
    }
    if (is_whole) keep_out(preloads, &kept_out);
    free(kept_out.text);
    return is_whole;
}

static bool read_file(const char *path, struct preloads *preloads, char why[WHY_BYTES]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return true; /* nothing was learnt yet */
    char *text = fd >= 0 ? malloc(PRELOADS_BYTES_MAX) : NULL;
    ssize_t size = 0;
    ssize_t got = text ? 1 : -1;
    while (got > 0 && size < PRELOADS_BYTES_MAX) {
        got = read(fd, text + size, (size_t)(PRELOADS_BYTES_MAX - size));
        if (got > 0) size += got;
    }
    if (fd >= 0) close(fd);
    bool is_read = got == 0 && preloads_parse(text, (size_t)size, preloads);
    free(text);
    if (!is_read) snprintf(why, WHY_BYTES, "cannot read the list of preloads '%.120s'", path);
    return is_read;
}

bool preloads_read(const char *given, struct preloads *preloads, char why[WHY_BYTES]) {
    const char *path = getenv("RESOURCE_POOL_PYTHON_PRELOADS");
    *preloads = (struct preloads){0};
    if (!given) return !path || !path[0] || read_file(path, preloads, why);
    while (*given) {
        size_t length = strcspn(given, ", ");
        if (length > 0 && !add(preloads, "", 0, given, length)) {
            snprintf(why, WHY_BYTES, "no memory for the list of preloads");
            return false;
        }
        given += length + (given[length] != '\0');
    }
    return true;
}

/* --- the key --------------------------------------------------------------------------------- */

static void add_bytes(XXH3_state_t *state, const void *bytes, size_t size) {
    uint64_t length = size;
    XXH3_128bits_update(state, &length, sizeof length);
    XXH3_128bits_update(state, bytes, size);
}

/* What a file is; one that is not there is a fact too. */
static void add_stat(XXH3_state_t *state, const char *path) {
    struct stat found = {0};
    uint64_t facts[4] = {0};
    if (stat(path, &found) == 0) {
        facts[0] = (uint64_t)found.st_dev;
        facts[1] = (uint64_t)found.st_ino;
        facts[2] = (uint64_t)found.st_size;
        facts[3] = (uint64_t)found.st_mtim.tv_sec * 1000000000 + (uint64_t)found.st_mtim.tv_nsec;
    }
    add_bytes(state, facts, sizeof facts);
}

static void add_interpreter(XXH3_state_t *state, const char *interpreter) {
    char path[PATH_MAX + 32];
    add_bytes(state, interpreter, strlen(interpreter));
    add_stat(state, interpreter);
    add_stat(state, "/proc/self/exe");
    int folder = (int)(strrchr(interpreter, '/') - interpreter);
    snprintf(path, sizeof path, "%.*s/pyvenv.cfg", folder, interpreter);
    add_stat(state, path);
    snprintf(path, sizeof path, "%.*s/../pyvenv.cfg", folder, interpreter);
    add_stat(state, path);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In an order of their own: two environments that differ in nothing else are one. */
static bool add_environment(XXH3_state_t *state) {
    size_t count = 0;
    size_t kept = 0;
    while (environ[count])
        count++;
    const char **sorted = calloc(count + 1, sizeof *sorted);
    if (!sorted) return false;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < sizeof variables / sizeof variables[0]; j++) {
            if (strncmp(environ[i], variables[j], strlen(variables[j])) != 0) continue;
            sorted[kept++] = environ[i];
            break;
        }
    }
    qsort(sorted, kept, sizeof *sorted, by_text);
    for (size_t i = 0; i < kept; i++)
        add_bytes(state, sorted[i], strlen(sorted[i]));
    free(sorted);
    return true;
}

/* An entry of PYTHONPATH that is not absolute means another folder elsewhere. */
static bool has_relative_path(void) {
    const char *at = getenv("PYTHONPATH");
    if (!at || !*at) return false;
    while (at && *at == '/') {
        const char *colon = strchr(at, ':');
        at = colon ? colon + 1 : NULL;
    }
    return at != NULL;
}

static void add_folder(XXH3_state_t *state) {
    char folder[PATH_MAX];
    if (has_relative_path() && getcwd(folder, sizeof folder))
        add_bytes(state, folder, strlen(folder));
}

/* Room for each entry behind the current folder. */
bool path_make_absolute(void) {
    const char *at = getenv("PYTHONPATH");
    char folder[PATH_MAX];
    if (!at || !has_relative_path()) return true;
    if (!getcwd(folder, sizeof folder)) return false;
    size_t count = 1;
    for (const char *colon = strchr(at, ':'); colon; colon = strchr(colon + 1, ':'))
        count++;
    size_t room = strlen(at) + count * (strlen(folder) + 2);
    char *all = malloc(room);
    size_t length = 0;
    while (all && at) {
        size_t bytes = strcspn(at, ":");
        const char *before = *at == '/' ? "" : folder;
        const char *slash = *before && bytes > 0 ? "/" : "";
        length += (size_t)snprintf(all + length, room - length, "%s%s%s%.*s", length ? ":" : "",
                                   before, slash, (int)bytes, at);
        at = at[bytes] ? at + bytes + 1 : NULL;
    }
    bool is_set = all && setenv("PYTHONPATH", all, 1) == 0;
    free(all);
    return is_set;
}

static void add_file_text(XXH3_state_t *state, const char *path) {
    char text[PROC_BYTES];
    add_bytes(state, text, fs_proc_read(path, text, sizeof text));
}

/* The session, if it has a terminal: its processes are started from one of their own. */
static int64_t session_with_terminal(void) {
    char text[1024];
    fs_proc_read("/proc/self/stat", text, sizeof text);
    /* Behind the name, which may hold anything: state, parent, group, session, terminal. */
    char *at = strrchr(text, ')');
    if (!at || strlen(at) < 4) return 0;
    at += 4;
    long fields[4] = {0};
    for (size_t i = 0; i < 4; i++)
        fields[i] = strtol(at, &at, 10);
    return fields[3] != 0 ? fields[2] : 0;
}

/* What a process can never raise again, and what its program looks at as it starts: the size of
 * stacks, the memory and the time it may take. The others a child sets as its caller had them. */
static void add_limits(XXH3_state_t *state) {
    static const int at_start[] = {RLIMIT_STACK, RLIMIT_AS,    RLIMIT_DATA,
                                   RLIMIT_CPU,   RLIMIT_FSIZE, RLIMIT_MEMLOCK};
    struct rlimit limit;
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        limit = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
        getrlimit((__rlimit_resource_t)i, &limit);
        add_bytes(state, &limit.rlim_max, sizeof limit.rlim_max);
    }
    for (size_t i = 0; i < sizeof at_start / sizeof at_start[0]; i++) {
        getrlimit((__rlimit_resource_t)at_start[i], &limit);
        add_bytes(state, &limit.rlim_cur, sizeof limit.rlim_cur);
    }
}

/* Rights and filters: a process that gave some up is to have no child that did not. */
static void add_rights(XXH3_state_t *state) {
    static const char *const names[] = {"\nCap", "\nNoNewPrivs:", "\nSeccomp"};
    char text[PROC_BYTES];
    fs_proc_read("/proc/self/status", text, sizeof text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (const char *at = text; (at = strstr(at, names[i]));) {
            at++;
            add_bytes(state, at, strcspn(at, "\n"));
        }
    }
    add_file_text(state, "/proc/self/attr/current");
}

/* Of memory (numactl), disks (ionice) and the layout of a process (setarch). */
static void add_policies(XXH3_state_t *state) {
    enum { NODES_MAX = 4096, WHO_PROCESS = 1 };
    int mode = 0;
    unsigned long nodes[NODES_MAX / (8 * sizeof(unsigned long))] = {0};
    if (syscall(SYS_get_mempolicy, &mode, nodes, NODES_MAX, NULL, 0) != 0) mode = 0;
    int64_t facts[] = {mode, syscall(SYS_ioprio_get, WHO_PROCESS, 0), personality(0xffffffff)};
    add_bytes(state, facts, sizeof facts);
    add_bytes(state, nodes, sizeof nodes);
}

static void add_process(XXH3_state_t *state) {
    static const char *const spaces[] = {"mnt", "pid",    "net",  "user", "ipc",
                                         "uts", "cgroup", "time", NULL};
    cpu_set_t processors;
    gid_t groups[256];
    char path[64];
    CPU_ZERO(&processors);
    sched_getaffinity(0, sizeof processors, &processors);
    int group_count = getgroups(256, groups);
    int64_t facts[] = {getuid(),
                       geteuid(),
                       getgid(),
                       getegid(),
                       sched_getscheduler(0),
                       getpriority(PRIO_PROCESS, 0),
                       session_with_terminal()};
    add_bytes(state, facts, sizeof facts);
    add_bytes(state, groups, group_count > 0 ? (size_t)group_count * sizeof groups[0] : 0);
    add_bytes(state, &processors, sizeof processors);
    for (size_t i = 0; spaces[i]; i++) {
        struct stat found = {0};
        snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
        if (stat(path, &found) != 0) found.st_ino = 0;
        add_bytes(state, &found.st_ino, sizeof found.st_ino);
    }
    struct stat root = {0};
    if (stat("/", &root) != 0) root.st_ino = 0;
    add_bytes(state, &root.st_ino, sizeof root.st_ino);
    add_file_text(state, "/proc/self/cgroup");
    add_limits(state);
    add_rights(state);
    add_policies(state);
}

bool key_make(const char *interpreter, const struct preloads *preloads, char key[KEY_DIGITS + 1],
              char why[WHY_BYTES]) {
    XXH3_state_t *state = XXH3_createState();
    uint32_t version = FS_VERSION;
    if (!state || XXH3_128bits_reset(state) == XXH_ERROR) {
        snprintf(why, WHY_BYTES, "no memory");
        return false;
    }
    add_bytes(state, &version, sizeof version);
    add_interpreter(state, interpreter);
    bool is_made = add_environment(state);
    add_folder(state);
    add_process(state);
    add_bytes(state, preloads->text, preloads->bytes);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(key, KEY_DIGITS + 1, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    if (!is_made) snprintf(why, WHY_BYTES, "no memory");
    return is_made;
}

const char *key_forbids(void) {
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        const char *value = getenv(forbidden[i][0]);
        if (value && value[0]) return forbidden[i][1];
    }
    const char *coerces = getenv("PYTHONCOERCECLOCALE");
    if (coerces && strcmp(coerces, "warn") == 0) return "PYTHONCOERCECLOCALE=warn tells of a start";
    return NULL;
}
