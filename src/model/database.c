/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's model database.
 *
 * The lock is a file of its own, since the database is replaced by renaming and a lock on it would
 * be on the file of before. Readers take it shared where they may write there; where they may not,
 * nobody is in their way, because a rename is whole or not at all.
 */
#include "model/database.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_WAIT_MS = 5000, POLL_NS = 2000000 };

struct rp_model_database {
    json_t *root; /* an object of objects, every one checked */
    char *source;
};

static rp_status fail_memory(rp_error *err, const char *path) {
    return rp_fail(err, RP_ERR_MEMORY, "no memory for the model database '%s'", path);
}

/* jansson's texts are given back the way jansson was told to make them. */
static void json_free(char *text) {
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
}

/* ---- entries ---- */

static bool has_family(const char *name) {
    return strcmp(name, "unknown") == 0 || rp_family_of_name(name) != RP_FAMILY_UNKNOWN;
}

/* One entry into an answer; RP_ERR_DATA names what is wrong with it. */
static rp_status read_entry(const char *source, const char *name, const json_t *entry,
                            rp_classification *out, rp_error *err) {
    const char *family = json_string_value(json_object_get(entry, "family"));
    const json_t *subfamily = json_object_get(entry, "subfamily");
    const json_t *confidence = json_object_get(entry, "confidence");
    bool has_subfamily = subfamily && !json_is_null(subfamily);
    bool has_confidence = confidence && !json_is_null(confidence);
    const char *sub = json_string_value(subfamily);
    if (!json_is_object(entry) || !family || !has_family(family)) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%.120s': the family of '%.64s' is %.32s, not embedding, text_generation, "
                       "vision, audio, multimodal or unknown",
                       source, name, family ? family : "missing");
    }
    if (has_subfamily && (!sub || rp_subfamily_of_name(sub) == RP_SUBFAMILY_NONE)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': '%.64s' has a strange subfamily (%.64s)", source,
                       name, sub ? sub : "no text");
    }
    double sure = has_confidence ? json_number_value(confidence) : 1;
    if (has_confidence && (!json_is_number(confidence) || sure < 0 || sure > 1)) {
        return rp_fail(err, RP_ERR_DATA, "'%s': the confidence of '%.64s' is not from 0 to 1",
                       source, name);
    }
    *out = (rp_classification){
        .family = rp_family_of_name(family),
        .subfamily = has_subfamily ? rp_subfamily_of_name(sub) : RP_SUBFAMILY_NONE,
        .confidence = sure,
        .source = "database",
    };
    snprintf(out->evidence, sizeof out->evidence, "recorded in %.120s", source);
    return RP_OK;
}

rp_status rp_model_database_parse(const char *bytes, size_t length, const char *source,
                                  rp_model_database **database, rp_error *err) {
    json_error_t problem;
    json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &problem);
    if (!root && problem.text[0] == '\0') return fail_memory(err, source);
    if (!root) {
        rp_status status = rp_fail(err, RP_ERR_DATA, "'%s': line %d, column %d: %s", source,
                                   problem.line, problem.column, problem.text);
        rp_hint(err, "repair it or move it away; it is not overwritten");
        return status;
    }
    rp_status status = RP_OK;
    if (!json_is_object(root)) {
        status = rp_fail(err, RP_ERR_DATA, "'%s' is no object of models", source);
    }
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry) {
        rp_classification answer;
        if (status == RP_OK) status = read_entry(source, name, entry, &answer, err);
    }
    rp_model_database *made = status == RP_OK ? rp_alloc(sizeof *made) : NULL;
    if (made) made->source = rp_strdup(source);
    if (status == RP_OK && (!made || !made->source)) {
        rp_free(made);
        status = fail_memory(err, source);
    }
    if (status != RP_OK) {
        json_decref(root);
        return status;
    }
    made->root = root;
    *database = made;
    return RP_OK;
}

/* ---- files ---- */

/* Lock FILE.lock; *fd is -1 when a reader may not write there. */
static rp_status lock(const char *path, int operation, int *fd, rp_error *err) {
    char name[RP_LIMIT_NAME_BYTES + sizeof ".lock"];
    int length = snprintf(name, sizeof name, "%s.lock", path);
    if (length < 0 || (size_t)length >= sizeof name) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "the path of a model database has %zu bytes, "
                       "%d are the most",
                       strlen(path), RP_LIMIT_NAME_BYTES);
    }
    *fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (*fd < 0 && operation == LOCK_SH && (errno == EACCES || errno == EROFS || errno == ENOENT)) {
        return RP_OK;
    }
    if (*fd < 0) return rp_fail_errno(err, "cannot open the lock '%s'", name);
    int64_t deadline_ns = rp_deadline_after_ms(LOCK_WAIT_MS);
    while (flock(*fd, operation | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        rp_status status = RP_OK;
        if (errno != EWOULDBLOCK) {
            status = rp_fail_errno(err, "cannot lock '%s'", name);
        } else if (rp_clock_ns() >= deadline_ns) {
            status = rp_fail(err, RP_ERR_TIMEOUT, "another process holds '%s' for %d s", name,
                             LOCK_WAIT_MS / 1000);
        }
        if (status != RP_OK) {
            close(*fd);
            *fd = -1;
            return status;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
    return RP_OK;
}

static void unlock(int fd) {
    if (fd >= 0) close(fd);
}

static rp_status read_file(const char *path, rp_model_database **database, rp_error *err) {
    char *bytes = NULL;
    size_t length = 0;
    int problem = rp_text_read_file(path, RP_LIMIT_MODEL_DATABASE_BYTES, &bytes, &length);
    if (problem == EFBIG) {
        return rp_fail(err, RP_ERR_LIMIT, "the model database '%s' has more than %d MiB", path,
                       RP_LIMIT_MODEL_DATABASE_BYTES >> 20);
    }
    if (problem != 0) {
        errno = problem;
        return rp_fail_errno(err, "cannot read the model database '%s'", path);
    }
    rp_status status = rp_model_database_parse(bytes, length, path, database, err);
    rp_free(bytes);
    return status;
}

rp_status rp_model_database_open(const char *path, rp_model_database **database, rp_error *err) {
    if (!path || !path[0] || !database) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a path and a place for the database are needed");
    }
    /* A file that is not there gets no lock beside it. */
    if (access(path, F_OK) != 0) {
        return rp_fail_errno(err, "cannot read the model database '%s'", path);
    }
    int fd = -1;
    rp_status status = lock(path, LOCK_SH, &fd, err);
    if (status == RP_OK) status = read_file(path, database, err);
    unlock(fd);
    return status;
}

void rp_model_database_close(rp_model_database *database) {
    if (!database) return;
    json_decref(database->root);
    rp_free(database->source);
    rp_free(database);
}

bool rp_model_database_find(const rp_model_database *database, const char *name,
                            rp_classification *result) {
    const json_t *entry = json_object_get(database->root, name);
    /* Every entry was read once already, so that this can only succeed. */
    return entry && read_entry(database->source, name, entry, result, NULL) == RP_OK;
}

/* ---- recording ---- */

static bool write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

/* jansson passes over missing memory while it writes a key; a text without it is no database. */
static char *dump(const json_t *root) {
    char *text = json_dumps(root, JSON_INDENT(2));
    json_t *again = text ? json_loads(text, 0, NULL) : NULL;
    bool is_same = again && json_equal(root, again);
    json_decref(again);
    if (is_same) return text;
    if (text) json_free(text);
    return NULL;
}

/* Replace the file as a whole, with the mode it had. The lock is held, so that nobody else writes
 * the same temporary file; what a process left there that died is overwritten. */
static rp_status replace(const char *path, const json_t *root, rp_error *err) {
    char temporary[RP_LIMIT_NAME_BYTES + sizeof ".new"];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    char *text = dump(root);
    if (!text) return fail_memory(err, path);
    struct stat old;
    bool was_there = stat(path, &old) == 0;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        rp_status status = rp_fail_errno(err, "cannot write beside '%s'", path);
        json_free(text);
        return status;
    }
    bool is_written = write_all(fd, text, strlen(text)) && write_all(fd, "\n", 1) &&
                      (!was_there || fchmod(fd, old.st_mode & 07777) == 0) && fsync(fd) == 0;
    int problem = is_written ? 0 : errno;
    if (close(fd) != 0 && problem == 0) problem = errno;
    if (problem == 0 && rename(temporary, path) != 0) problem = errno;
    json_free(text);
    if (problem == 0) return RP_OK;
    unlink(temporary);
    errno = problem;
    return rp_fail_errno(err, "cannot write the model database '%s'", path);
}

static bool is_surer(const rp_classification *answer, const rp_classification *old) {
    if (answer->confidence != old->confidence) return answer->confidence > old->confidence;
    bool says_more = old->subfamily == RP_SUBFAMILY_NONE && answer->subfamily != RP_SUBFAMILY_NONE;
    return answer->family == old->family && says_more;
}

/* The answer into its entry; false: no memory. */
static bool put_answer(json_t *root, const char *name, const rp_classification *answer) {
    json_t *entry = json_object_get(root, name);
    if (!entry) {
        entry = json_object();
        if (json_object_set_new(root, name, entry) != 0) return false;
    }
    const char *subfamily = rp_subfamily_name(answer->subfamily);
    bool is_put =
        json_object_set_new(entry, "family", json_string(rp_family_name(answer->family))) == 0 &&
        json_object_set_new(entry, "confidence", json_real(answer->confidence)) == 0;
    if (!subfamily) {
        json_object_del(entry, "subfamily");
        return is_put;
    }
    return is_put && json_object_set_new(entry, "subfamily", json_string(subfamily)) == 0;
}

static rp_status merge(const char *path, const char *name, const rp_classification *answer,
                       rp_classification *kept, rp_error *err) {
    rp_model_database *database = NULL;
    rp_status status = access(path, F_OK) != 0 && errno == ENOENT
                           ? rp_model_database_parse("{}", 2, path, &database, err)
                           : read_file(path, &database, err);
    if (status != RP_OK) return status;
    rp_classification standing = *answer;
    bool is_there = rp_model_database_find(database, name, &standing);
    if (!is_there || is_surer(answer, &standing)) {
        standing = *answer;
        if (put_answer(database->root, name, answer)) {
            status = replace(path, database->root, err);
        } else {
            status = fail_memory(err, path);
        }
    }
    rp_model_database_close(database);
    if (status == RP_OK && kept) *kept = standing;
    return status;
}

rp_status rp_model_database_record(const char *path, const char *name,
                                   const rp_classification *answer, rp_classification *kept,
                                   rp_error *err) {
    if (!path || !path[0] || !name || !name[0] || !answer) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a path, a name and an answer are needed");
    }
    if (!rp_family_name(answer->family) || answer->family == RP_FAMILY_UNKNOWN ||
        !(answer->confidence >= 0 && answer->confidence <= 1)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "'%.100s': a family and a confidence from 0 to 1 are "
                       "needed to record it",
                       name);
    }
    size_t length = strlen(name);
    if (length >= RP_LIMIT_NAME_BYTES || rp_text_utf8_error_at(name, length) < length) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a name to record is UTF-8 of less than %d bytes",
                       RP_LIMIT_NAME_BYTES);
    }
    /* A link stays one: what it leads to is replaced. */
    char real[PATH_MAX];
    if (realpath(path, real)) path = real;
    int fd = -1;
    rp_status status = lock(path, LOCK_EX, &fd, err);
    if (status == RP_OK) status = merge(path, name, answer, kept, err);
    unlock(fd);
    return status;
}
