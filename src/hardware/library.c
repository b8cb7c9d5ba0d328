/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search repeats what the system's loader does, from files it reads as well, because the loader
 * itself can only be asked by opening. Its cache (/etc/ld.so.cache) is not read: it is made from
 * the same folders, in a format of its own.
 */
#include "hardware/library.h"

#include "base/status.h"
#include "hardware/proc.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#else
enum { OWN_MACHINE = EM_NONE }; /* not compared */
#endif

/* Files that include files that include ...: the system's own have two levels. */
enum { INCLUDE_DEPTH = 4, PATH_BYTES = 2 * RP_LIMIT_NAME_BYTES };

/* For either processor, as a recorded machine may be of the other one. */
static const char *const system_folders[] = {
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/run/opengl-driver/lib",
    NULL,
};

struct search {
    const char *root;
    const char *const *sonames;
    char *path; /* of RP_LIMIT_NAME_BYTES */
    bool is_found;
    size_t rank;       /* of the soname that was found: the lower, the better */
    char refused[160]; /* what has the name and cannot be it; "" */
};

static bool is_this_machine(const char *root) {
    return root[0] == '\0';
}

static void refuse(struct search *search, const char *path, const char *why) {
    if (search->refused[0] != '\0') return;
    snprintf(search->refused, sizeof search->refused, "'%.100s' %s", path, why);
}

/* Whether the loader of this process could open it: the same processor and word size. */
static bool is_our_kind(struct search *search, const char *path, off_t bytes) {
    if (bytes == 0) {
        /* What a container's set-up leaves where it could not mount the host's library. */
        refuse(search, path, "is an empty file");
        return false;
    }
    unsigned char head[EI_NIDENT + 4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, head, sizeof head) : -1;
    int os_errno = errno;
    if (fd >= 0) close(fd);
    if (got < 0) {
        refuse(search, path, os_errno == EACCES ? "may not be read" : "cannot be read");
        return false;
    }
    if (got < (ssize_t)sizeof head || memcmp(head, ELFMAG, SELFMAG) != 0) {
        refuse(search, path, "is not a shared library");
        return false;
    }
    const unsigned char own_class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    unsigned machine =
        head[EI_DATA] == ELFDATA2MSB ? head[18] * 256u + head[19] : head[19] * 256u + head[18];
    if (head[EI_CLASS] != own_class || (OWN_MACHINE != EM_NONE && machine != OWN_MACHINE)) {
        refuse(search, path, "is for another processor");
        return false;
    }
    return true;
}

static bool try_file(struct search *search, const char *path) {
    char whole[PATH_BYTES];
    struct stat info;
    int length = snprintf(whole, sizeof whole, "%s%s", search->root, path);
    if (length < 0 || (size_t)length >= sizeof whole || strlen(path) >= RP_LIMIT_NAME_BYTES) {
        return false;
    }
    if (stat(whole, &info) != 0) {
        if (lstat(whole, &info) == 0) refuse(search, path, "is a link that leads nowhere");
        return false;
    }
    if (!S_ISREG(info.st_mode)) return false;
    /* A recorded machine has empty files, and may be of another processor. */
    if (is_this_machine(search->root) && !is_our_kind(search, path, info.st_size)) return false;
    memcpy(search->path, path, strlen(path) + 1);
    search->is_found = true;
    return true;
}

/* Keep the best soname of all folders; the first folder that has it. */
static void try_folder(struct search *search, const char *folder, size_t length) {
    if (length == 0 || length >= RP_LIMIT_NAME_BYTES) return;
    size_t limit = search->is_found ? search->rank : SIZE_MAX;
    for (size_t i = 0; i < limit && search->sonames[i]; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, search->sonames[i]);
        if (!try_file(search, path)) continue;
        search->rank = i;
        return;
    }
}

static void try_folders(struct search *search, const char *const *folders) {
    for (size_t i = 0; folders && folders[i]; i++) {
        try_folder(search, folders[i], strlen(folders[i]));
    }
}

/* A list as in LD_LIBRARY_PATH, parted by ':' or ';'. */
static void try_list(struct search *search, const char *list) {
    while (list && *list) {
        size_t length = strcspn(list, ":;");
        try_folder(search, list, length);
        list += length + (list[length] != '\0');
    }
}

static rp_status read_conf(struct search *search, const char *path, int depth, rp_error *err);

/* "include PATTERN", relative to /etc. The matches begin with root, which is cut off again. */
static rp_status include(struct search *search, struct rp_span pattern, int depth, rp_error *err) {
    char whole[PATH_BYTES];
    glob_t found;
    bool is_absolute = pattern.length > 0 && pattern.at[0] == '/';
    if (pattern.length == 0 || pattern.length >= RP_LIMIT_NAME_BYTES) return RP_OK;
    snprintf(whole, sizeof whole, "%s%s%.*s", search->root, is_absolute ? "" : "/etc/",
             (int)pattern.length, pattern.at);
    rp_status status = RP_OK;
    int rc = glob(whole, 0, NULL, &found);
    if (rc == GLOB_NOSPACE) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory to read /etc/ld.so.conf");
    }
    for (size_t i = 0; status == RP_OK && rc == 0 && i < found.gl_pathc; i++) {
        status = read_conf(search, found.gl_pathv[i] + strlen(search->root), depth + 1, err);
    }
    globfree(&found);
    return status;
}

bool rp_library_next_folder(struct rp_span *text, struct rp_span *words, struct rp_span *folder,
                            bool *is_pattern) {
    for (;;) {
        /* The rest of a line "include A B": one pattern after the other. */
        if (rp_span_next_word(words, " \t", folder)) {
            *is_pattern = true;
            return true;
        }
        struct rp_span line;
        if (!rp_span_next_line(text, &line)) return false;
        const char *comment = line.length > 0 ? memchr(line.at, '#', line.length) : NULL;
        if (comment) line.length = (size_t)(comment - line.at);
        struct rp_span rest = rp_span_trim(line);
        struct rp_span word;
        *folder = rest;
        if (!rp_span_next_word(&rest, " \t", &word)) continue;
        if (rp_span_is(word, "include")) {
            *words = rest;
        } else if (folder->at[0] == '/') {
            *is_pattern = false;
            return true;
        }
    }
}

static rp_status read_conf(struct search *search, const char *path, int depth, rp_error *err) {
    if (depth > INCLUDE_DEPTH) return RP_OK;
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read(&file, search->root, path, err);
    struct rp_span text = {file.bytes, file.length};
    struct rp_span words = {NULL, 0};
    struct rp_span folder;
    bool is_pattern;
    while (status == RP_OK && rp_library_next_folder(&text, &words, &folder, &is_pattern)) {
        if (is_pattern) {
            status = include(search, folder, depth, err);
        } else {
            try_folder(search, folder.at, folder.length);
        }
    }
    rp_proc_file_fini(&file);
    return status;
}

static const char *chosen(const char *root, const struct rp_library_names *names) {
    const char *value = names->variable && is_this_machine(root) ? getenv(names->variable) : NULL;
    return value && value[0] != '\0' ? value : NULL;
}

bool rp_library_is_chosen(const char *root, const struct rp_library_names *names) {
    const char *value = chosen(root, names);
    return value && strcmp(value, "off") != 0;
}

static rp_status find_chosen(struct search *search, const struct rp_library_names *names,
                             const char *value, rp_error *err) {
    struct stat info;
    if (strcmp(value, "off") == 0) {
        rp_fail(err, RP_ERR_ABSENT, "%s is switched off by %s", names->sonames[0], names->variable);
        rp_hint(err, "unset %s to search the usual places", names->variable);
        return RP_ERR_ABSENT;
    }
    if (stat(value, &info) == 0 && S_ISDIR(info.st_mode)) {
        try_folder(search, value, strlen(value));
    } else {
        try_file(search, value);
    }
    if (search->is_found) return RP_OK;
    if (search->refused[0] != '\0') {
        rp_fail(err, RP_ERR_ABSENT, "%s: %s", names->variable, search->refused);
    } else {
        rp_fail(err, RP_ERR_ABSENT, "%s is '%.100s', where no %s is", names->variable, value,
                names->sonames[0]);
    }
    rp_hint(err, "unset %s to search the usual places", names->variable);
    return RP_ERR_ABSENT;
}

rp_status rp_library_find(const char *root, const struct rp_library_names *names,
                          char path[RP_LIMIT_NAME_BYTES], rp_error *err) {
    char found[RP_LIMIT_NAME_BYTES];
    struct search search = {.root = root, .sonames = names->sonames, .path = found};
    const char *value = chosen(root, names);
    rp_status status = RP_OK;
    if (value) {
        status = find_chosen(&search, names, value, err);
    } else {
        if (is_this_machine(root)) try_list(&search, getenv("LD_LIBRARY_PATH"));
        status = read_conf(&search, "/etc/ld.so.conf", 0, err);
        try_folders(&search, system_folders);
        try_folders(&search, names->folders);
    }
    if (status != RP_OK) return status;
    if (!search.is_found) {
        if (search.refused[0] == '\0') {
            return rp_fail(err, RP_ERR_ABSENT, "%s is not installed", names->sonames[0]);
        }
        return rp_fail(err, RP_ERR_ABSENT, "%s is not installed: %s", names->sonames[0],
                       search.refused);
    }
    memcpy(path, found, strlen(found) + 1);
    return RP_OK;
}

rp_status rp_library_open(const char *path, const struct rp_library_symbol *symbols,
                          void *functions, void **handle, rp_error *err) {
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
        const char *why = dlerror();
        return rp_fail(err, RP_ERR_ABSENT, "cannot open '%s': %s", path,
                       why ? why : "the loader does not say why");
    }
    for (size_t i = 0; symbols[i].name; i++) {
        void *symbol = dlsym(opened, symbols[i].name);
        if (!symbol && symbols[i].required) {
            dlclose(opened);
            rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' has no %s", path, symbols[i].name);
            rp_hint(err, "it is older than what this version of ResourcePool was written for");
            return RP_ERR_UNSUPPORTED;
        }
        /* A pointer to a function, as POSIX has it. */
        memcpy((char *)functions + symbols[i].offset, &symbol, sizeof symbol);
    }
    *handle = opened;
    return RP_OK;
}

void rp_library_close(void *handle) {
    if (handle) dlclose(handle);
}
