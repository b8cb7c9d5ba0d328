/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/python.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a package that has no such file leaves: no memory for the search reads the same. */
static bool find_match(const char *pattern, char path[RP_LIMIT_NAME_BYTES]) {
    glob_t found;
    bool is_found = false;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = found.gl_pathc; !is_found && i-- > 0;) {
            size_t length = strlen(found.gl_pathv[i]);
            if (length >= RP_LIMIT_NAME_BYTES) continue;
            memcpy(path, found.gl_pathv[i], length + 1);
            is_found = true;
        }
    }
    globfree(&found);
    return is_found;
}

/* In the packages of the Python whose prefix this is. */
static bool find_below(const char *prefix, const char *pattern, char path[RP_LIMIT_NAME_BYTES]) {
    static const char *const folders[] = {"site-packages", "dist-packages"};
    for (size_t i = 0; prefix && prefix[0] == '/' && i < 2; i++) {
        char whole[PATH_MAX];
        int length =
            snprintf(whole, sizeof whole, "%s/lib/python3*/%s/%s", prefix, folders[i], pattern);
        if (length < 0 || (size_t)length >= sizeof whole) continue;
        if (find_match(whole, path)) return true;
    }
    return false;
}

/* The python3 that the PATH leads to first. A link to it is a virtual environment's own. */
static bool find_on_path(const char *pattern, char path[RP_LIMIT_NAME_BYTES]) {
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t length = strcspn(at, ":");
        char program[PATH_MAX];
        char real[PATH_MAX];
        int printed = snprintf(program, sizeof program, "%.*s/python3", (int)length, at);
        if (printed > 0 && (size_t)printed < sizeof program && access(program, X_OK) == 0) {
            /* Above its bin/: first as it is called, then as it is. */
            program[length] = '\0';
            char *slash = strrchr(program, '/');
            if (slash) {
                *slash = '\0';
                if (find_below(program, pattern, path)) return true;
                *slash = '/';
            }
            program[length] = '/';
            if (!realpath(program, real)) return false;
            for (int i = 0; i < 2 && (slash = strrchr(real, '/')); i++) {
                *slash = '\0';
            }
            return find_below(real, pattern, path);
        }
        at += length + (at[length] == ':');
    }
    return false;
}

/* build/venv, as seen from the build folder's libraries and programs. */
static bool find_beside_us(const char *pattern, char path[RP_LIMIT_NAME_BYTES]) {
    static const char *const folders[] = {"/../venv", "/venv"};
    static const char here; /* an address inside this library, or program if it is linked in */
    Dl_info us;
    char real[PATH_MAX];
    if (dladdr(&here, &us) == 0 || !us.dli_fname || !realpath(us.dli_fname, real)) return false;
    char *slash = strrchr(real, '/');
    for (size_t i = 0; slash && i < 2; i++) {
        if (slash + sizeof "/../venv" > real + sizeof real) return false;
        memcpy(slash, folders[i], strlen(folders[i]) + 1);
        if (find_below(real, pattern, path)) return true;
    }
    return false;
}

bool rp_python_find(const char *root, const char *pattern, char path[RP_LIMIT_NAME_BYTES]) {
    if (root[0] != '\0') return false;
    return find_below(getenv("VIRTUAL_ENV"), pattern, path) ||
           find_below(getenv("CONDA_PREFIX"), pattern, path) || find_on_path(pattern, path) ||
           find_beside_us(pattern, path);
}
