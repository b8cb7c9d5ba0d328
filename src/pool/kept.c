/* SPDX-License-Identifier: Apache-2.0 */
/* What the library keeps for its user between runs: a list of its files, and a broom. */
#include <resourcepool/kept.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "base/user_file.h"
#include "hardware/cache.h"
#include "pool/history.h"

#include <dirent.h>
#include <jansson.h>
#include <resourcepool/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static const struct {
    const char *name;
    const char *variable;
    const char *file;
    const char *what;
} files[] = {
    {"history", "RESOURCE_POOL_HISTORY", "history.sqlite", "what loads took, and how often"},
    {"hardware", "HARDWARE_DETECTION_CACHE", "hardware.json",
     "what slow drivers and runtimes said"},
};

enum { FILE_COUNT = sizeof files / sizeof files[0], HISTORY = 0, PATH_BYTES = RP_LIMIT_NAME_BYTES };

/* With another number in it, what was kept before is not read any more. */
enum { KEY_FORMAT = 1 };

static json_t *json_or_null(const char *text) {
    json_t *value = text ? json_string(text) : NULL;
    return value ? value : json_null();
}

static void count_rows(json_t *row) {
    struct rp_history *history = NULL;
    uint64_t rows = 0;
    uint64_t rows_here = 0;
    if (rp_history_open(NULL, &history, NULL) != RP_OK) return;
    if (rp_history_count(history, &rows, &rows_here)) {
        json_object_set_new(row, "rows", json_integer((json_int_t)rows));
        json_object_set_new(row, "rows_here", json_integer((json_int_t)rows_here));
    }
    size_t notes = rp_history_note_count(history);
    if (notes > 0) {
        json_object_set_new(row, "note", json_or_null(rp_history_note(history, notes - 1)));
    }
    rp_history_close(history);
}

static json_t *describe_file(size_t index) {
    char path[PATH_BYTES];
    const char *why = NULL;
    struct stat info;
    bool is_named =
        rp_user_file_find(NULL, files[index].variable, files[index].file, path, sizeof path, &why);
    bool is_there = is_named && lstat(path, &info) == 0 && S_ISREG(info.st_mode);
    json_t *row = json_pack("{s:s, s:s, s:o, s:n, s:n, s:n, s:n, s:o}", "name", files[index].name,
                            "what", files[index].what, "path", json_or_null(is_named ? path : NULL),
                            "bytes", "age_ms", "rows", "rows_here", "note",
                            json_or_null(is_named ? NULL
                                         : why    ? why
                                                  : "switched off"));
    if (!is_there) return row;
    int64_t written_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    json_object_set_new(row, "bytes", json_integer((json_int_t)info.st_size));
    json_object_set_new(row, "age_ms", json_real(rp_elapsed_ms(written_ns, rp_wall_ns())));
    if (index == HISTORY) count_rows(row);
    return row;
}

/* The folder of all, unless the environment puts one elsewhere. */
static bool find_folder(char *path, size_t path_bytes) {
    const char *why = NULL;
    char *slash = NULL;
    if (rp_user_file_find(NULL, NULL, "", path, path_bytes, &why)) slash = strrchr(path, '/');
    if (slash) *slash = '\0';
    return slash != NULL;
}

static void make_key(char *out, size_t out_bytes) {
    char text[96];
    int length = snprintf(text, sizeof text, "%d %d %d %016llx", KEY_FORMAT, RP_HISTORY_FORMAT,
                          RP_CACHE_VERSION, (unsigned long long)rp_history_machine());
    snprintf(out, out_bytes, "resourcepool-%d.%d-%016llx", RP_VERSION_MAJOR, RP_VERSION_MINOR,
             (unsigned long long)XXH3_64bits(text, (size_t)length));
}

rp_status rp_kept_to_json(char **json, rp_error *err) {
    char folder[PATH_BYTES];
    char machine[20];
    char key[64];
    if (!json) return rp_fail(err, RP_ERR_ARGUMENT, "no place for the answer");
    make_key(key, sizeof key);
    snprintf(machine, sizeof machine, "%016llx", (unsigned long long)rp_history_machine());
    json_t *list = json_array();
    for (size_t i = 0; i < FILE_COUNT; i++) {
        json_array_append_new(list, describe_file(i));
    }
    bool has_folder = find_folder(folder, sizeof folder);
    json_t *document =
        json_pack("{s:o, s:s, s:s, s:o}", "folder", json_or_null(has_folder ? folder : NULL),
                  "machine", machine, "key", key, "files", list);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    char *copy = text ? rp_strdup(text) : NULL;
    free(text); /* jansson's */
    json_decref(document);
    if (!copy) return rp_fail(err, RP_ERR_MEMORY, "no memory to tell what is kept");
    *json = copy;
    return RP_OK;
}

/* Files that were set aside stand beside the one that was to be used: "history.sqlite.damaged-1".
 */
static uint64_t remove_set_aside(size_t index) {
    char path[PATH_BYTES];
    char found[PATH_BYTES + sizeof(struct dirent)];
    const char *why = NULL;
    uint64_t count = 0;
    if (!rp_user_file_find(NULL, files[index].variable, files[index].file, path, sizeof path,
                           &why)) {
        return 0;
    }
    char *slash = strrchr(path, '/');
    size_t length = strlen(slash + 1);
    *slash = '\0';
    DIR *listing = opendir(path);
    for (const struct dirent *at; listing && (at = readdir(listing));) {
        const char *rest = at->d_name + length;
        bool is_damaged =
            strncmp(at->d_name, slash + 1, length) == 0 && strncmp(rest, ".damaged", 8) == 0;
        if (!is_damaged) continue; /* what a newer version wrote may be of use to it again */
        snprintf(found, sizeof found, "%s/%s", path, at->d_name);
        count += unlink(found) == 0;
    }
    if (listing) closedir(listing);
    return count;
}

rp_status rp_kept_prune(int64_t max_age_ms, uint64_t *rows, uint64_t *file_count, rp_error *err) {
    struct rp_history *history = NULL;
    uint64_t removed = 0;
    uint64_t set_aside = 0;
    if (max_age_ms < 0 || max_age_ms > INT64_MAX / 1000000) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "an age of %lld ms: it is 0 or more, and in milliseconds",
                       (long long)max_age_ms);
    }
    rp_status status = rp_history_open(NULL, &history, err);
    if (status != RP_OK) return status;
    if (rp_history_path(history) && access(rp_history_path(history), F_OK) == 0 &&
        !rp_history_prune(history, max_age_ms * 1000000, &removed)) {
        size_t notes = rp_history_note_count(history);
        status = rp_fail(err, RP_ERR_BUSY, "cannot prune '%s': %s", rp_history_path(history),
                         notes > 0 ? rp_history_note(history, notes - 1) : "it is in use");
        rp_hint(err, "try again when the programs that use it have ended");
    }
    rp_history_close(history);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        set_aside += remove_set_aside(i);
    }
    if (rows) *rows = removed;
    if (file_count) *file_count = set_aside;
    return status;
}
