/* SPDX-License-Identifier: Apache-2.0 */
#include "base/user_file.h"

#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = RP_LIMIT_NAME_BYTES };

/* The text of the environment; nothing for a program that runs with another user's rights. */
static const char *environment(const char *name) {
    const char *text = secure_getenv(name);
    return text && text[0] ? text : NULL;
}

bool rp_user_file_find(const char *path, const char *variable, const char *name, char *out,
                       size_t out_bytes, const char **why) {
    *why = NULL;
    int length = 0;
    if (!path && variable) path = secure_getenv(variable);
    if (path && (!path[0] || strcmp(path, "off") == 0)) return false;
    const char *cache = environment("XDG_CACHE_HOME");
    const char *home = environment("HOME");
    if (path) {
        char folder[PATH_BYTES] = "";
        if (path[0] != '/' && !getcwd(folder, sizeof folder)) {
            *why = "it is relative to a folder that is gone";
            return false;
        }
        length = snprintf(out, out_bytes, "%s%s%s", folder, path[0] == '/' ? "" : "/", path);
    } else if (cache && cache[0] == '/') {
        length = snprintf(out, out_bytes, "%s/resourcepool/%s", cache, name);
    } else if (home && home[0] == '/') {
        length = snprintf(out, out_bytes, "%s/.cache/resourcepool/%s", home, name);
    } else {
        *why = "neither XDG_CACHE_HOME nor HOME is a folder";
        return false;
    }
    if (length > 0 && (size_t)length < out_bytes) return true;
    *why = "its path is too long";
    return false;
}

/* The folders above the file that are missing; `path` is changed meanwhile. */
static bool make_folders(char *path, char *why, size_t why_bytes) {
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        int rc = mkdir(path, 0700);
        int error = rc == 0 ? 0 : errno;
        struct stat found;
        if (error && stat(path, &found) != 0) {
            snprintf(why, why_bytes, "cannot make the folder '%s': %s", path,
                     strerrordesc_np(error));
            return false;
        }
        *at = '/';
    }
    return true;
}

bool rp_user_file_prepare(const char *path, char *why, size_t why_bytes) {
    char folder[PATH_BYTES];
    size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof folder) {
        snprintf(why, why_bytes, "its path is too long, or not absolute");
        return false;
    }
    memcpy(folder, path, length + 1);
    if (!make_folders(folder, why, why_bytes)) return false;
    char *slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    struct stat found;
    if (stat(folder, &found) != 0) {
        snprintf(why, why_bytes, "its folder: %s", strerrordesc_np(errno));
        return false;
    }
    if (!S_ISDIR(found.st_mode)) {
        snprintf(why, why_bytes, "'%s' is no folder", folder);
        return false;
    }
    if ((found.st_uid != geteuid() && found.st_uid != 0) ||
        ((found.st_mode & S_IWOTH) && !(found.st_mode & S_ISVTX))) {
        snprintf(why, why_bytes, "its folder belongs to another user or is open to all");
        return false;
    }
    return true;
}
