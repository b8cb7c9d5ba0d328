/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of reports: new ones get a name that nothing had, and the oldest go. A file counts as a
 * report when its name and its end are as we write them; whatever else lies in the folder is left
 * alone, links too. The time in the name says which is old: other programs change a file's own.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "failure/new_file.h"
#include "failure/report.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char name_head[] = "hardware_error_";
static const char name_tail[] = ".json";
static const char content_tail[] = "\"resourcepool_report\": 1\n}\n";

enum {
    NAME_BYTES = 256,
    MODEL_BYTES = 96,
    HARDWARE_BYTES = 32,
    TIME_BYTES = sizeof "20260131_120000_123456" - 1,
    SAME_NAMES_MAX = 1000,
};

struct saved {
    char name[NAME_BYTES];
    char time[TIME_BYTES + 8]; /* with its number among those of the same moment */
    uint64_t bytes;
};

/* --- names ----------------------------------------------------------------------------------- */

/* Letters and digits of a text, anything else as '_', at most `max` bytes. */
static void append_safe(struct rp_text *name, const char *text, size_t max) {
    size_t length = 0;
    bool was_replaced = true;
    for (; *text && length < max; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_safe = isascii(c) && (isalnum(c) || strchr("._-", c));
        if (!is_safe && was_replaced) continue;
        was_replaced = !is_safe;
        rp_text_append(name, is_safe ? text : "_", 1);
        length++;
    }
    if (length == 0) rp_text_append(name, "unknown", 7);
}

static void append_time(struct rp_text *name) {
    int64_t now_ns = rp_wall_ns();
    time_t seconds = (time_t)(now_ns / 1000000000);
    struct tm parts;
    char time[32] = "00000000_000000";
    if (gmtime_r(&seconds, &parts)) strftime(time, sizeof time, "%Y%m%d_%H%M%S", &parts);
    rp_text_print(name, "%s_%06d", time, (int)(now_ns % 1000000000 / 1000));
}

static bool are_digits(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)text[i])) return false;
    }
    return true;
}

/* Whether the text ends at `end` with a time as it stands in names; where it begins, else NULL. */
static const char *time_before(const char *name, const char *end) {
    if (end - name < TIME_BYTES + 1) return NULL;
    const char *time = end - TIME_BYTES;
    bool is_one = time[-1] == '_' && are_digits(time, 8) && time[8] == '_' &&
                  are_digits(time + 9, 6) && time[15] == '_' && are_digits(time + 16, 6);
    return is_one ? time : NULL;
}

/* Take a name apart; false: not one of ours. */
static bool read_name(const char *name, struct saved *saved) {
    size_t length = strlen(name);
    size_t tail = sizeof name_tail - 1;
    if (length >= sizeof saved->name || length < sizeof name_head + TIME_BYTES + tail) return false;
    if (strncmp(name, name_head, sizeof name_head - 1) != 0) return false;
    const char *end = name + length - tail;
    if (strcmp(end, name_tail) != 0) return false;
    const char *time = time_before(name, end);
    if (!time) {
        const char *number = memrchr(name, '_', (size_t)(end - name));
        bool is_number = number && end - number > 1 && end - number <= 5 &&
                         are_digits(number + 1, (size_t)(end - number - 1));
        time = is_number ? time_before(name, number) : NULL;
    }
    if (!time) return false;
    memcpy(saved->name, name, length + 1);
    snprintf(saved->time, sizeof saved->time, "%.*s", (int)(end - time), time);
    return true;
}

/* --- the oldest go --------------------------------------------------------------------------- */

static bool is_ours(int folder, const char *name, uint64_t *bytes) {
    char end[sizeof content_tail];
    size_t length = sizeof content_tail - 1;
    struct stat found;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool is_one = fstat(fd, &found) == 0 && S_ISREG(found.st_mode) &&
                  found.st_size > (off_t)length && found.st_size <= RP_REPORT_BYTES_MAX &&
                  pread(fd, end, length, found.st_size - (off_t)length) == (ssize_t)length &&
                  memcmp(end, content_tail, length) == 0;
    close(fd);
    if (is_one) *bytes = (uint64_t)found.st_size;
    return is_one;
}

static int compare_times(const void *a, const void *b) {
    const struct saved *left = a;
    const struct saved *right = b;
    int order = strcmp(left->time, right->time);
    return order ? order : strcmp(left->name, right->name);
}

/* What has the name of a report, in a folder that is open; the caller frees it. NULL: none, or no
 * memory. */
static struct saved *list_names(DIR *folder, size_t *count) {
    struct saved *list = NULL;
    size_t room = 0;
    struct dirent *entry;
    *count = 0;
    for (size_t seen = 0; seen < RP_LIMIT_FOLDER_ENTRIES && (entry = readdir(folder)); seen++) {
        if (*count == room) {
            room = room ? 2 * room : RP_REPORTS_KEPT + 56;
            struct saved *grown = rp_realloc_array(list, room, sizeof *list);
            if (!grown) {
                rp_free(list);
                return NULL;
            }
            list = grown;
        }
        list[*count] = (struct saved){.bytes = 0};
        if (read_name(entry->d_name, &list[*count])) (*count)++;
    }
    return list;
}

/* Remove the oldest reports beyond the bounds; `newest` stays. What cannot be removed stays too:
 * the new report is safe, and that is what was asked for. */
static void remove_oldest(int folder, const char *newest) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (!entries) {
        if (fd >= 0) close(fd);
        return;
    }
    size_t count = 0;
    uint64_t bytes = 0;
    struct saved *list = list_names(entries, &count);
    size_t kept = 0;
    for (size_t i = 0; list && i < count; i++) {
        if (!is_ours(folder, list[i].name, &list[i].bytes)) continue;
        bytes += list[i].bytes;
        list[kept++] = list[i];
    }
    if (list) qsort(list, kept, sizeof *list, compare_times);
    size_t left = kept;
    for (size_t i = 0; i < kept; i++) {
        if (left <= RP_REPORTS_KEPT && bytes <= RP_REPORTS_BYTES_KEPT) break;
        if (strcmp(list[i].name, newest) == 0) continue;
        unlinkat(folder, list[i].name, 0);
        bytes -= list[i].bytes;
        left--;
    }
    rp_free(list);
    closedir(entries);
}

/* --- saving ---------------------------------------------------------------------------------- */

static rp_status fail_in_folder(rp_error *err, const char *doing, const char *folder, int problem) {
    const char *hint = problem == EACCES || problem == EPERM ? "give a folder that you may write to"
                       : problem == EROFS ? "its file system is read-only: give a folder elsewhere"
                       : problem == ENOSPC || problem == EDQUOT || problem == EFBIG
                           ? "free some space there, or give a folder on another disk"
                       : problem == ENOTDIR || problem == EEXIST
                           ? "something on the way is a file: give the path of a folder"
                           : "give another folder";
    rp_fail(err, RP_ERR_IO, "cannot %s '%s': %s", doing, folder, strerrordesc_np(problem));
    rp_hint(err, "%s", hint);
    if (err) err->os_errno = problem;
    return RP_ERR_IO;
}

/* The folder and those above it that are missing, for this user alone; it is open then. */
static rp_status open_folder(const char *folder, int *fd, rp_error *err) {
    char *path = rp_strdup(folder);
    if (!path) return rp_fail(err, RP_ERR_MEMORY, "no memory for the path of a report");
    int problem = 0;
    for (char *at = path + 1; problem == 0 && at[-1]; at++) {
        if (*at != '/' && *at != '\0') continue;
        char there = *at;
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            struct stat found;
            problem = errno;
            if (stat(path, &found) == 0) problem = 0;
        }
        *at = there;
    }
    rp_free(path);
    if (problem != 0) return fail_in_folder(err, "make the folder", folder, problem);
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return fail_in_folder(err, "open the folder", folder, errno);
    return RP_OK;
}

/* Write it under a name that is free; the name is in `name` then. 0 or an errno. */
static int write_report(int folder, const json_t *report, const struct rp_text *text,
                        struct rp_text *name) {
    int problem = EEXIST;
    for (int i = 1; i <= SAME_NAMES_MAX && problem == EEXIST; i++) {
        name->length = 0;
        rp_text_print(name, "%s", name_head);
        append_safe(name, rp_report_text(report, "model_name"), MODEL_BYTES);
        rp_text_append(name, "_", 1);
        append_safe(name, rp_report_text(report, "hardware_type"), HARDWARE_BYTES);
        rp_text_append(name, "_", 1);
        append_time(name);
        if (i > 1) rp_text_print(name, "_%d", i);
        rp_text_print(name, "%s", name_tail);
        if (name->failed) return ENOMEM;
        problem = rp_new_file_write(folder, name->bytes, text->bytes, text->length);
    }
    return problem;
}

rp_status rp_failure_report_save(const char *report, const char *folder, char **path,
                                 rp_error *err) {
    if (!report || !folder || !folder[0] || !path) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a report, a folder and a place for the path are "
                       "needed");
    }
    json_t *read = NULL;
    struct rp_text text = RP_TEXT_INIT;
    struct rp_text name = RP_TEXT_INIT;
    struct rp_text whole = RP_TEXT_INIT;
    int fd = -1;
    rp_status status = rp_report_read(report, strlen(report), "that text", true, &read, err);
    if (status != RP_OK) return status;
    /* Its last key is what its folder knows it by. */
    json_t *version = json_incref(json_object_get(read, "resourcepool_report"));
    json_object_del(read, "resourcepool_report");
    json_object_set_new(read, "resourcepool_report", version);
    bool is_printed = rp_report_print(read, &text);
    rp_text_append(&text, "\n", 1);
    if (!is_printed || text.failed) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory for a report of a failure");
    } else if (text.length > RP_REPORT_BYTES_MAX) {
        status = rp_fail(err, RP_ERR_DATA, "a report of %zu bytes is larger than any: at most %d",
                         text.length, RP_REPORT_BYTES_MAX);
    } else {
        status = open_folder(folder, &fd, err);
    }
    if (status == RP_OK) {
        int problem = write_report(fd, read, &text, &name);
        if (problem == ENOMEM) {
            status = rp_fail(err, RP_ERR_MEMORY, "no memory for the name of a report");
        } else if (problem != 0) {
            status = fail_in_folder(err, "save a report in", folder, problem);
        }
    }
    if (status == RP_OK) {
        bool has_slash = folder[strlen(folder) - 1] == '/';
        remove_oldest(fd, name.bytes);
        rp_text_print(&whole, "%s%s%s", folder, has_slash ? "" : "/", name.bytes);
        if (whole.failed) status = rp_fail(err, RP_ERR_MEMORY, "no memory for a path");
    }
    if (status == RP_OK) {
        *path = whole.bytes;
    } else {
        rp_text_fini(&whole);
    }
    if (fd >= 0) close(fd);
    json_decref(read);
    rp_text_fini(&text);
    rp_text_fini(&name);
    return status;
}
