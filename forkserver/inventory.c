/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory.h"

#define XXH_INLINE_ALL
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { INVENTORY_BYTES_MAX = 16 << 20 };

struct file {
    const char *path;
    int64_t size;
    int64_t mtime_ns;
};

struct folder {
    const char *path;
    int64_t mtime_ns;
    uint64_t content; /* a hash of what in it matters */
};

struct fs_inventory {
    char *text; /* everything below points into it */
    struct file *files;
    size_t file_count;
    struct folder *folders;
    size_t folder_count;
    const char **names; /* sorted */
    size_t name_count;
    const char **variables; /* "NAME=VALUE", or "NAME": not set */
    size_t variable_count;
};

/* --- reading --------------------------------------------------------------------------------- */

/* Off the end of a line: a tab and a number. */
static bool take_number(char *line, int64_t *number) {
    char *tab = strrchr(line, '\t');
    char *end;
    if (!tab || tab[1] == '\0') return false;
    errno = 0;
    *number = strtoll(tab + 1, &end, 10);
    if (errno || *end) return false;
    *tab = '\0';
    return true;
}

static bool take_line(struct fs_inventory *inventory, char *line) {
    char *text = strchr(line, '\t');
    if (!text || text[1] == '\0') return false;
    *text++ = '\0';
    if (strcmp(line, "file") == 0) {
        struct file *file = &inventory->files[inventory->file_count++];
        file->path = text;
        return take_number(text, &file->mtime_ns) && take_number(text, &file->size);
    }
    if (strcmp(line, "folder") == 0) {
        struct folder *folder = &inventory->folders[inventory->folder_count++];
        folder->path = text;
        return take_number(text, &folder->mtime_ns);
    }
    if (strcmp(line, "name") == 0) {
        inventory->names[inventory->name_count++] = text;
        return true;
    }
    bool is_set = strcmp(line, "env") == 0;
    if (!is_set && strcmp(line, "unset") != 0) return false;
    inventory->variables[inventory->variable_count++] = text;
    return is_set == (strchr(text, '=') != NULL);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_name(const struct fs_inventory *inventory, const char *name) {
    return inventory->name_count > 0 && bsearch(&name, inventory->names, inventory->name_count,
                                                sizeof inventory->names[0], by_text) != NULL;
}

static int64_t mtime_ns_of(const struct stat *found) {
    return (int64_t)found->st_mtim.tv_sec * 1000000000 + found->st_mtim.tv_nsec;
}

/* What in a folder of modules could make an import find another: not the rest, which comes and goes
 * where people work. */
static bool matters(const struct fs_inventory *inventory, const char *entry) {
    static const char *const endings[] = {".pth", ".dist-info", ".egg-info", ".egg-link"};
    char name[NAME_MAX + 1];
    size_t length = strcspn(entry, ".");
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t all = strlen(entry);
        size_t ending = strlen(endings[i]);
        if (all > ending && strcmp(entry + all - ending, endings[i]) == 0) return true;
    }
    snprintf(name, sizeof name, "%.*s", (int)length, entry);
    return is_name(inventory, name);
}

/* In any order, since a folder has none. */
static uint64_t hash_folder(const struct fs_inventory *inventory, const char *path) {
    DIR *folder = opendir(path);
    uint64_t sum = 0;
    for (struct dirent *at; folder && (at = readdir(folder));) {
        if (matters(inventory, at->d_name)) sum += XXH3_64bits(at->d_name, strlen(at->d_name));
    }
    if (folder) closedir(folder);
    return sum;
}

static bool read_lines(struct fs_inventory *inventory) {
    char *line = inventory->text;
    while (*line) {
        char *newline = strchr(line, '\n');
        if (!newline) return false;
        *newline = '\0';
        if (!take_line(inventory, line)) return false;
        line = newline + 1;
    }
    qsort(inventory->names, inventory->name_count, sizeof inventory->names[0], by_text);
    for (size_t i = 0; i < inventory->folder_count; i++) {
        struct folder *folder = &inventory->folders[i];
        folder->content = hash_folder(inventory, folder->path);
    }
    return true;
}

struct fs_inventory *fs_inventory_read(const char *text, size_t bytes) {
    struct fs_inventory *inventory = calloc(1, sizeof *inventory);
    size_t lines = 1;
    if (!inventory || bytes > INVENTORY_BYTES_MAX || memchr(text, '\0', bytes)) {
        free(inventory);
        return NULL;
    }
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    inventory->text = malloc(bytes + 1);
    inventory->files = calloc(lines, sizeof *inventory->files);
    inventory->folders = calloc(lines, sizeof *inventory->folders);
    inventory->names = calloc(lines, sizeof *inventory->names);
    inventory->variables = calloc(lines, sizeof *inventory->variables);
    if (inventory->text && inventory->files && inventory->folders && inventory->names &&
        inventory->variables) {
        if (bytes > 0) memcpy(inventory->text, text, bytes);
        inventory->text[bytes] = '\0';
        if (read_lines(inventory)) return inventory;
    }
    fs_inventory_free(inventory);
    return NULL;
}

struct fs_inventory *fs_inventory_receive(int fd) {
    struct stat found;
    if (fstat(fd, &found) != 0 || found.st_size <= 0 || found.st_size > INVENTORY_BYTES_MAX) {
        return NULL;
    }
    size_t bytes = (size_t)found.st_size;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return NULL;
    struct fs_inventory *inventory = fs_inventory_read(map, bytes);
    munmap(map, bytes);
    return inventory;
}

void fs_inventory_free(struct fs_inventory *inventory) {
    if (!inventory) return;
    free(inventory->text);
    free(inventory->files);
    free(inventory->folders);
    free(inventory->names);
    free(inventory->variables);
    free(inventory);
}

/* --- stale ----------------------------------------------------------------------------------- */

static bool is_file_stale(const struct file *file) {
    struct stat found;
    return stat(file->path, &found) != 0 || (int64_t)found.st_size != file->size ||
           mtime_ns_of(&found) != file->mtime_ns;
}

static bool is_folder_stale(const struct fs_inventory *inventory, struct folder *folder) {
    struct stat found;
    int64_t mtime_ns = stat(folder->path, &found) == 0 ? mtime_ns_of(&found) : 0;
    if (mtime_ns == folder->mtime_ns) return false;
    if (hash_folder(inventory, folder->path) != folder->content) return true;
    folder->mtime_ns = mtime_ns;
    return false;
}

bool fs_inventory_is_stale(struct fs_inventory *inventory, char *what, size_t room) {
    for (size_t i = 0; i < inventory->file_count; i++) {
        if (!is_file_stale(&inventory->files[i])) continue;
        snprintf(what, room, "%s", inventory->files[i].path);
        return true;
    }
    for (size_t i = 0; i < inventory->folder_count; i++) {
        if (!is_folder_stale(inventory, &inventory->folders[i])) continue;
        snprintf(what, room, "%s", inventory->folders[i].path);
        return true;
    }
    return false;
}

/* --- fits ------------------------------------------------------------------------------------ */

/* The first of that name, as an interpreter takes it; NULL: it is not set. */
static const char *find_variable(const struct fs_request *request, const char *name,
                                 size_t length) {
    for (const char **at = request->environment; *at; at++) {
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=') return *at;
    }
    return NULL;
}

static bool is_same_variable(const struct fs_request *request, const char *variable) {
    size_t length = strcspn(variable, "=");
    const char *found = find_variable(request, variable, length);
    /* Ways to programs, of which 'rpool run' puts its own first, and words of our own. */
    if (length == 4 && memcmp(variable, "PATH", 4) == 0) return true;
    if (strncmp(variable, "RESOURCE_POOL_", 14) == 0) return true;
    return variable[length] == '=' ? found && strcmp(found, variable) == 0 : !found;
}

/* A module of that name: a file, or a folder that is a package. */
static bool is_module(int folder, const char *entry) {
    static const char *const endings[] = {".py", ".pyc", ".so"};
    size_t all = strlen(entry);
    char path[NAME_MAX + 16];
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t ending = strlen(endings[i]);
        if (all > ending && strcmp(entry + all - ending, endings[i]) == 0) return true;
    }
    if (strchr(entry, '.')) return false;
    snprintf(path, sizeof path, "%s/__init__.py", entry);
    return faccessat(folder, path, F_OK, 0) == 0;
}

/* Looks through the folder, which is closed. */
static bool has_no_namesake(const struct fs_inventory *inventory, int fd, char *why, size_t room) {
    DIR *folder = fdopendir(fd);
    bool is_clear = true;
    if (!folder) close(fd);
    for (struct dirent *at; folder && is_clear && (at = readdir(folder));) {
        char name[NAME_MAX + 1];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at->d_name, "."), at->d_name);
        is_clear = !is_name(inventory, name) || !is_module(fd, at->d_name);
        if (!is_clear) snprintf(why, room, "the program's folder has a module '%s' too", name);
    }
    if (folder) closedir(folder);
    return is_clear;
}

/* Where the script lies once links are followed. -1: nowhere. */
static int open_script_folder(const struct fs_request *request, int folder_fd) {
    char path[PATH_MAX + 32];
    char real[PATH_MAX];
    struct stat found;
    bool is_absolute = request->target[0] == '/';
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", folder_fd, request->target);
    if (!realpath(is_absolute ? request->target : path, real) || stat(real, &found) != 0) return -1;
    char *slash = strrchr(real, '/');
    if (!S_ISDIR(found.st_mode) && slash) slash[slash == real] = '\0';
    return open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool fs_inventory_fits(const struct fs_inventory *inventory, const struct fs_request *request,
                       int folder_fd, char *why, size_t room) {
    for (size_t i = 0; i < inventory->variable_count; i++) {
        const char *variable = inventory->variables[i];
        if (is_same_variable(request, variable)) continue;
        snprintf(why, room, "a module that is loaded has read %.*s with another value",
                 (int)strcspn(variable, "="), variable);
        return false;
    }
    int fd = request->head->mode == FS_MODE_SCRIPT
                 ? open_script_folder(request, folder_fd)
                 : openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || has_no_namesake(inventory, fd, why, room);
}
