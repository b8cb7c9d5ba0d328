/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search for libonnxruntime. In order:
 *
 *   1. RESOURCE_POOL_ONNXRUNTIME, a file or a folder that holds it. If set, nothing else is tried:
 *      a wrong setting must not be hidden by a library that happens to be there.
 *   2. libonnxruntime.so.1 as the system's loader finds it.
 *   3. The wheel in the active Python: VIRTUAL_ENV, CONDA_PREFIX, the python3 on the PATH.
 *   4. ../deps/lib beside this library or program: the build folder's.
 *   5. resourcepool/deps/lib in the user's cache folder.
 */
#include "engine/onnxruntime_library.h"

#include "base/status.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#define OWN_MACHINE_NAME "x86_64"
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#define OWN_MACHINE_NAME "aarch64"
#else
enum { OWN_MACHINE = EM_NONE };
#define OWN_MACHINE_NAME "this machine"
#endif

enum { STORY_BYTES = 220 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rp_ort_library opened; /* guarded by lock until api is set, constant then */

/* What was tried and refused, as far as it fits a message. */
struct search {
    char story[STORY_BYTES];
    bool is_found;
};

__attribute__((format(printf, 2, 3))) static void tell(struct search *search, const char *format,
                                                       ...) {
    size_t length = strlen(search->story);
    va_list args;
    va_start(args, format);
    if (length > 0 && length + 3 < sizeof search->story) {
        memcpy(search->story + length, "; ", 3);
        length += 2;
    }
    vsnprintf(search->story + length, sizeof search->story - length, format, args);
    va_end(args);
}

static const char *machine_name(unsigned machine) {
    switch (machine) {
    case EM_X86_64:
        return "x86_64";
    case EM_AARCH64:
        return "aarch64";
    case EM_386:
        return "32-bit x86";
    case EM_ARM:
        return "32-bit arm";
    case EM_RISCV:
        return "riscv";
    case EM_PPC64:
        return "ppc64";
    default:
        return "another machine";
    }
}

/* What the loader would say less clearly: not a library at all, or one for another processor. */
static bool is_our_kind(struct search *search, const char *path) {
    unsigned char head[EI_NIDENT + 4] = {0};
    struct stat info;
    if (stat(path, &info) != 0) {
        tell(search, "'%s': %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(info.st_mode)) {
        tell(search, "'%s' is not a file", path);
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, head, sizeof head) : -1;
    if (fd >= 0) close(fd);
    if (got < (ssize_t)sizeof head || memcmp(head, ELFMAG, SELFMAG) != 0) {
        tell(search, "'%s' is not a shared library", path);
        return false;
    }
    unsigned machine =
        head[EI_DATA] == ELFDATA2MSB ? head[18] * 256u + head[19] : head[19] * 256u + head[18];
    if (machine != OWN_MACHINE) {
        tell(search, "'%s' is for %s, this is %s", path, machine_name(machine), OWN_MACHINE_NAME);
        return false;
    }
    return true;
}

/* Open one candidate; its symbols stay its own (RTLD_LOCAL). */
static void try_library(struct search *search, const char *path) {
    if (search->is_found) return;
    if (strchr(path, '/') && !is_our_kind(search, path)) return;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        if (strchr(path, '/')) tell(search, "'%s': %s", path, dlerror());
        return;
    }
    const OrtApiBase *(*get_base)(void) = NULL;
    void *symbol = dlsym(handle, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof get_base); /* a pointer to a function, as POSIX has it */
    const OrtApiBase *base = get_base ? get_base() : NULL;
    const OrtApi *api = base ? base->GetApi(RP_ORT_API_VERSION_MIN) : NULL;
    if (!api) {
        if (base) {
            tell(search, "'%s' is ONNX Runtime %s, too old: 1.%d or newer is needed", path,
                 base->GetVersionString(), RP_ORT_API_VERSION_MIN);
        } else {
            tell(search, "'%s' is not ONNX Runtime: it has no OrtGetApiBase", path);
        }
        dlclose(handle);
        return;
    }
    Dl_info where;
    const char *found = dladdr(symbol, &where) != 0 && where.dli_fname ? where.dli_fname : path;
    snprintf(opened.path, sizeof opened.path, "%s", found);
    opened.version = base->GetVersionString();
    opened.api = api;
    search->is_found = true;
}

/* The candidates that a pattern matches, newest version last in the alphabet and first to be tried.
 */
static void try_pattern(struct search *search, const char *pattern) {
    glob_t found;
    if (search->is_found) return;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = found.gl_pathc; i-- > 0;) {
            char *real = realpath(found.gl_pathv[i], NULL);
            try_library(search, real ? real : found.gl_pathv[i]);
            free(real);
        }
    }
    globfree(&found);
}

/* The wheel of the Python whose prefix this is. */
static void try_prefix(struct search *search, const char *prefix) {
    static const char *const folders[] = {"site-packages", "dist-packages"};
    for (size_t i = 0; prefix && prefix[0] && i < 2; i++) {
        char pattern[4352];
        snprintf(pattern, sizeof pattern, "%s/lib/python3*/%s/onnxruntime/capi/libonnxruntime.so.*",
                 prefix, folders[i]);
        try_pattern(search, pattern);
    }
}

/* The prefix of the python3 that the PATH leads to first: the folder above its bin/. */
static void try_python_on_path(struct search *search) {
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t length = strcspn(at, ":");
        char path[4096];
        snprintf(path, sizeof path, "%.*s/python3", (int)(length < 4000 ? length : 4000), at);
        if (access(path, X_OK) == 0) {
            char *real = realpath(path, NULL);
            char *slash = real ? strrchr(real, '/') : NULL;
            if (slash) {
                *slash = '\0';
                slash = strrchr(real, '/');
                if (slash) *slash = '\0';
                try_prefix(search, real);
            }
            free(real);
            return;
        }
        at += length + (at[length] == ':');
    }
}

static void try_beside_us(struct search *search) {
    Dl_info us;
    static const char here; /* an address inside this library, or program if it is linked in */
    if (dladdr(&here, &us) == 0 || !us.dli_fname) return;
    char *real = realpath(us.dli_fname, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (slash) {
        char pattern[4352];
        *slash = '\0';
        snprintf(pattern, sizeof pattern, "%.4096s/../deps/lib/libonnxruntime.so.1", real);
        try_pattern(search, pattern);
    }
    free(real);
}

static void try_cache(struct search *search) {
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char pattern[4352];
    if (cache && cache[0] == '/') {
        snprintf(pattern, sizeof pattern, "%.4096s/resourcepool/deps/lib/libonnxruntime.so.1",
                 cache);
    } else if (home && home[0] == '/') {
        snprintf(pattern, sizeof pattern,
                 "%.4096s/.cache/resourcepool/deps/lib/libonnxruntime.so.1", home);
    } else {
        return;
    }
    try_pattern(search, pattern);
}

static void try_named(struct search *search, const char *named) {
    struct stat info;
    if (stat(named, &info) == 0 && S_ISDIR(info.st_mode)) {
        char pattern[4352];
        snprintf(pattern, sizeof pattern, "%.4096s/libonnxruntime.so*", named);
        try_pattern(search, pattern);
        if (!search->is_found && !search->story[0])
            tell(search, "'%s' holds no libonnxruntime.so", named);
    } else {
        try_library(search, named);
        if (!search->is_found && !search->story[0]) tell(search, "the loader finds no '%s'", named);
    }
}

rp_status rp_ort_library_open(const struct rp_ort_library **library, rp_error *err) {
    pthread_mutex_lock(&lock);
    struct search search = {.is_found = opened.api != NULL};
    const char *named = getenv("RESOURCE_POOL_ONNXRUNTIME");
    if (!search.is_found) {
        /*
         * Official builds report usage over the network unless told not to before they are opened.
         * setenv() races with getenv() of other threads; this is the one time that the library
         * writes to the environment, and only if the program has not said it itself.
         */
        if (!getenv("ORT_DISABLE_TELEMETRY")) setenv("ORT_DISABLE_TELEMETRY", "1", 0);
        if (named && named[0]) {
            try_named(&search, named);
        } else {
            try_library(&search, "libonnxruntime.so.1");
            try_prefix(&search, getenv("VIRTUAL_ENV"));
            try_prefix(&search, getenv("CONDA_PREFIX"));
            try_python_on_path(&search);
            try_beside_us(&search);
            try_cache(&search);
        }
    }
    pthread_mutex_unlock(&lock);
    if (search.is_found) {
        *library = &opened;
        return RP_OK;
    }
    if (named && named[0]) {
        rp_fail(err, RP_ERR_ABSENT, "RESOURCE_POOL_ONNXRUNTIME leads to no ONNX Runtime: %s",
                search.story);
        rp_hint(err, "unset it to search the usual places, or name libonnxruntime.so.1.%d or newer",
                RP_ORT_API_VERSION_MIN);
    } else {
        rp_fail(err, RP_ERR_ABSENT, "no ONNX Runtime library was found%s%s",
                search.story[0] ? ": " : "", search.story);
        rp_hint(err,
                "'pip install onnxruntime' in the active Python, or name the library's file in "
                "RESOURCE_POOL_ONNXRUNTIME");
    }
    return RP_ERR_ABSENT;
}
