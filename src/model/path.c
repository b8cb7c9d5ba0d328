/* SPDX-License-Identifier: Apache-2.0 */
#include "model/path.h"

#include <stdio.h>
#include <string.h>

static bool join(struct rp_path *path, const char *folder, size_t folder_length, const char *name) {
    bool has_slash = folder_length == 0 || folder[folder_length - 1] == '/';
    if (folder_length >= sizeof path->text) return false;
    int length = snprintf(path->text, sizeof path->text, "%.*s%s%s", (int)folder_length, folder,
                          has_slash ? "" : "/", name);
    return length >= 0 && (size_t)length < sizeof path->text;
}

bool rp_path_join(struct rp_path *path, const char *folder, const char *name) {
    return join(path, folder, strlen(folder), name);
}

bool rp_path_beside(struct rp_path *path, const char *file, const char *name) {
    return join(path, file, (size_t)(rp_path_base(file) - file), name);
}

const char *rp_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool rp_path_stays_inside(const char *name) {
    if (name[0] == '\0' || name[0] == '/') return false;
    for (const char *part = name; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        bool is_up = part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0');
        if (is_up || strchr(part, '\\')) return false;
    }
    return true;
}

bool rp_path_ends_with(const char *path, const char *ending) {
    size_t length = strlen(path);
    size_t ending_length = strlen(ending);
    return length >= ending_length && strcmp(path + length - ending_length, ending) == 0;
}
