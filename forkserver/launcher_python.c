/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link of another build's 'rpool run': two launchers that take each other for an interpreter
 * would not come to an end. */
static bool is_link_to_launcher(const char *path) {
    static const char name[] = "rpool-python";
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < (ssize_t)sizeof name - 1) return false;
    target[length] = '\0';
    const char *end = target + length - (sizeof name - 1);
    return strcmp(end, name) == 0 && (end == target || end[-1] == '/');
}

bool python_is_other(const char *path) {
    struct stat self;
    struct stat found;
    if (is_link_to_launcher(path)) return false;
    if (stat(path, &found) != 0 || !S_ISREG(found.st_mode) || access(path, X_OK) != 0) return false;
    return stat("/proc/self/exe", &self) != 0 || self.st_dev != found.st_dev ||
           self.st_ino != found.st_ino;
}

/* The n-th folder of a list as PATH is one, with a name behind it. False: it has no more. */
static bool next_in_path(const char **at, const char *name, char out[PATH_MAX]) {
    if (!*at) return false;
    size_t length = strcspn(*at, ":");
    const char *folder = length > 0 ? *at : ".";
    int written = snprintf(out, PATH_MAX, "%.*s/%s", length > 0 ? (int)length : 1, folder, name);
    *at = (*at)[length] == ':' ? *at + length + 1 : NULL;
    if (written >= PATH_MAX) out[0] = '\0';
    return true;
}

static bool find_in_path(const char *name, char path[PATH_MAX]) {
    const char *at = getenv("PATH");
    if (!at) at = "/usr/local/bin:/usr/bin:/bin";
    while (next_in_path(&at, name, path)) {
        if (path[0] && python_is_other(path)) return true;
    }
    return false;
}

/* --- pyenv ----------------------------------------------------------------------------------- */

/* The first word of a file; false: there is none. */
static bool read_word(const char *path, char *out, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, out, room - 1);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, " \t\r\n:")] = '\0';
    return out[0] != '\0';
}

/* The version that pyenv would choose here: variable, file of the folder or one above, its own. */
static bool choose_version(const char *root, char *version, size_t room) {
    const char *given = getenv("PYENV_VERSION");
    char folder[PATH_MAX];
    char path[PATH_MAX + 32];
    if (given && given[0]) {
        snprintf(version, room, "%.*s", (int)strcspn(given, ":"), given);
        return true;
    }
    if (!getcwd(folder, sizeof folder)) folder[0] = '\0';
    while (folder[0] == '/') {
        snprintf(path, sizeof path, "%s/.python-version", folder);
        if (read_word(path, version, room)) return true;
        *strrchr(folder, '/') = '\0';
    }
    snprintf(path, sizeof path, "%s/version", root);
    return read_word(path, version, room);
}

/* A shim of pyenv is a script in ROOT/shims that starts ROOT/versions/VERSION/bin/NAME. */
static void resolve_shim(char path[PATH_MAX]) {
    char root[PATH_MAX];
    char version[64];
    char real[PATH_MAX];
    snprintf(root, sizeof root, "%s", path);
    char *name = strrchr(root, '/');
    if (!name) return;
    *name++ = '\0';
    char *shims = strrchr(root, '/');
    if (!shims || strcmp(shims, "/shims") != 0) return;
    *shims = '\0';
    if (!choose_version(root, version, sizeof version) || strchr(version, '/')) return;
    int length = snprintf(real, sizeof real, "%s/versions/%s/bin/%s", root, version, name);
    if (length < PATH_MAX && python_is_other(real)) memcpy(path, real, (size_t)length + 1);
}

/* --- all of it ------------------------------------------------------------------------------- */

static bool make_absolute(char path[PATH_MAX]) {
    char folder[PATH_MAX];
    char whole[2 * PATH_MAX + 2];
    if (path[0] == '/') return true;
    if (!getcwd(folder, sizeof folder)) return false;
    int length = snprintf(whole, sizeof whole, "%s/%s", folder, path);
    if (length >= PATH_MAX) return false;
    memcpy(path, whole, (size_t)length + 1);
    return true;
}

bool python_find(const char *given, const char *name, char path[PATH_MAX], char why[WHY_BYTES]) {
    bool is_found = true;
    if (given && strchr(given, '/')) {
        snprintf(path, PATH_MAX, "%s", given);
        is_found = python_is_other(path);
    } else if (given || name) {
        is_found = find_in_path(given ? given : name, path);
    } else {
        is_found = find_in_path("python", path) || find_in_path("python3", path);
    }
    if (!is_found || !make_absolute(path)) {
        snprintf(why, WHY_BYTES, "there is no interpreter '%.100s'%s",
                 given  ? given
                 : name ? name
                        : "python",
                 given && strchr(given, '/') ? "" : " in the PATH");
        return false;
    }
    resolve_shim(path);
    return true;
}

bool python_is_program(const char *path, char why[WHY_BYTES]) {
    unsigned char start[4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, start, sizeof start) : -1;
    if (fd >= 0) close(fd);
    if (got == (ssize_t)sizeof start && memcmp(start, "\177ELF", 4) == 0) return true;
    snprintf(why, WHY_BYTES, "the interpreter is a script");
    return false;
}
