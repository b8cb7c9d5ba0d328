/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool cache: what is kept between runs, which a CI keeps as well: what loads took, what slow
 * drivers said, how large the processes of a test run get. docs/cache.md says how.
 */
#include "command.h"
#include "look.h"
#include "run.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEY, FOLDER, PRUNE };

enum { MAX_AGE_DAYS = 90, DAY_S = 86400 };

/* The file of 'rpool run', in the same form as those of the library. */
static json_t *describe_runs(void) {
    char path[4096];
    struct stat info;
    struct timespec now;
    run_history_find(path, sizeof path);
    json_t *row = json_pack("{s:s, s:s, s:o, s:n, s:n, s:n, s:n, s:o}", "name", "runs", "what",
                            "how large the processes of a test run get ('rpool run -n auto')",
                            "path", json_text(path[0] ? path : NULL), "bytes", "age_ms", "rows",
                            "rows_here", "note", json_text(path[0] ? NULL : "switched off"));
    if (!path[0] || lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) return row;
    clock_gettime(CLOCK_REALTIME, &now);
    double age_ms = (double)(now.tv_sec - info.st_mtim.tv_sec) * 1e3 +
                    (double)(now.tv_nsec - info.st_mtim.tv_nsec) / 1e6;
    json_object_set_new(row, "bytes", json_integer((json_int_t)info.st_size));
    json_object_set_new(row, "age_ms", json_real(age_ms > 0 ? age_ms : 0));
    json_object_set_new(row, "rows", json_integer((json_int_t)run_history_count(path)));
    return row;
}

static json_t *describe(int *code) {
    char *text = NULL;
    rp_error err = RP_ERROR_INIT;
    if (rp_kept_to_json(&text, &err) != RP_OK) {
        *code = report(&err);
        return NULL;
    }
    json_t *document = json_loads(text, 0, NULL);
    rp_string_free(text);
    json_array_append_new(json_object_get(document, "files"), describe_runs());
    return document;
}

static void print_file(const json_t *row) {
    uint64_t bytes = look_bytes(row, "bytes");
    uint64_t rows = look_bytes(row, "rows");
    uint64_t here = look_bytes(row, "rows_here");
    printf("%-9s%s\n", look_text(row, "name"), look_text(row, "what"));
    if (look_text(row, "path")[0]) printf("         %s: ", look_text(row, "path"));
    if (!look_text(row, "path")[0]) {
        printf("         none: %s\n", look_text(row, "note"));
    } else if (bytes == RP_UNKNOWN_U64) {
        printf("nothing yet\n");
    } else {
        printf("%s, written %s ago", bytes_text(bytes), age_text(look_ms(row, "age_ms")));
        if (rows != RP_UNKNOWN_U64)
            printf(", %llu row%s", (unsigned long long)rows, rows == 1 ? "" : "s");
        if (here != RP_UNKNOWN_U64) printf(", %llu of this machine", (unsigned long long)here);
        printf("%s%s\n", look_text(row, "note")[0] ? "; " : "", look_text(row, "note"));
    }
}

static void print_all(const json_t *document) {
    const json_t *row;
    size_t i;
    printf("folder   %s\n", look_text(document, "folder"));
    printf("key      %s\n", look_text(document, "key"));
    json_array_foreach(json_object_get(document, "files"), i, row) {
        print_file(row);
    }
}

/* A file of JSON that can be read and is none: whoever needs it next would replace it. */
static bool is_damaged(const char *path) {
    struct stat info;
    json_error_t why;
    if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    json_t *content = json_load_file(path, 0, &why);
    json_decref(content);
    return !content && json_error_code(&why) != json_error_cannot_open_file &&
           json_error_code(&why) != json_error_out_of_memory;
}

/* The history looks after itself: it is set aside when it is opened. */
static uint64_t remove_damaged(void) {
    uint64_t count = 0;
    int code = 0;
    json_t *document = describe(&code);
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(document, "files"), i, row) {
        bool is_history = strcmp(look_text(row, "name"), "history") == 0;
        if (!is_history && is_damaged(look_text(row, "path"))) {
            count += unlink(look_text(row, "path")) == 0;
        }
    }
    json_decref(document);
    return count;
}

static int prune(bool is_json) {
    char path[4096];
    uint64_t rows = 0;
    uint64_t files = 0;
    uint64_t damaged = remove_damaged();
    rp_error err = RP_ERROR_INIT;
    run_history_find(path, sizeof path);
    rp_status status = rp_kept_prune((int64_t)MAX_AGE_DAYS * DAY_S * 1000, &rows, &files, &err);
    struct stat info;
    bool has_runs = path[0] && lstat(path, &info) == 0;
    size_t runs = has_runs ? run_history_prune(path, (int64_t)MAX_AGE_DAYS * DAY_S) : 0;
    if (status != RP_OK) return report(&err);
    files += damaged;
    if (is_json) {
        return print_json(json_pack("{s:I, s:I, s:I}", "removed_rows", (json_int_t)rows,
                                    "removed_runs", (json_int_t)runs, "removed_files",
                                    (json_int_t)files));
    }
    printf("removed  %llu rows, %zu runs, %llu files\n", (unsigned long long)rows, runs,
           (unsigned long long)files);
    return 0;
}

int cache_run(const struct arguments *arguments) {
    int code = 0;
    if (arguments->options[PRUNE]) return prune(arguments->json);
    json_t *document = describe(&code);
    const char *one = arguments->options[KEY]      ? "key"
                      : arguments->options[FOLDER] ? "folder"
                                                   : NULL;
    if (document && arguments->json) return print_json(document);
    if (document && one && !look_text(document, one)[0]) {
        /* An empty line would make a CI keep its working folder, or everything. */
        fprintf(stderr, "rpool: there is no folder to keep: neither XDG_CACHE_HOME nor HOME is an "
                        "absolute path\nhint: set one of them\n");
        code = 1;
    } else if (document && one) {
        printf("%s\n", look_text(document, one));
    } else if (document) {
        print_all(document);
    }
    json_decref(document);
    return code;
}
