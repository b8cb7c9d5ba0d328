/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is one JSON object:
 *
 *     {"resourcepool_hardware_cache": 1, "library": "0.1.0", "machine": "<fingerprint>",
 *      "kinds": {"webgpu": {"asked_wall_s": 1700000000, "conditions": "<fingerprint>",
 *                           "failed": false, "snapshot": {...}}}}
 *
 * Its first key is how a cache is told from any other file: what was named by mistake is left
 * alone, however it is spelt. Who writes reads again first, so that answers of other processes
 * about other kinds survive; of two that write in the same moment one is lost, and is asked again.
 */
#include "hardware/cache.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "base/user_file.h"
#include "hardware/identity.h"
#include "hardware/snapshot_json.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <resourcepool/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char variable[] = "HARDWARE_DETECTION_CACHE";
static const char first_key[] = "\"resourcepool_hardware_cache\"";

enum {
    SUFFIX_BYTES = 8,
    PATH_BYTES = RP_LIMIT_NAME_BYTES - SUFFIX_BYTES,
    WHY_BYTES = 256,
    AGE_BYTES = 40
};

struct rp_cache {
    struct rp_snapshot *snapshot;
    bool may_write;
    bool is_default; /* nobody named the file: whatever stands there is ours by its name */
    json_t *read;    /* "kinds" of the file; NULL: it has nothing that holds             */
    json_t *kept;    /* what is to be added, null to be taken out; NULL: nothing         */
    char machine[RP_IDENTITY_BYTES];
    char path[PATH_BYTES]; /* "": none */
};

/* --- what may not be kept -------------------------------------------------------------------- */

static void remove_keys(json_t *object, const char *const *keys) {
    for (; *keys; keys++) {
        json_object_del(object, *keys);
    }
}

/* Take from the JSON of a snapshot what moves. Done on the way out and, as anybody may have edited
 * the file, on the way in. */
static void remove_what_moves(json_t *snapshot) {
    static const char *const of_memory[] = {"memory_bytes_free", NULL};
    static const char *const of_accelerator[] = {"utilization_percent", "temperature_celsius",
                                                 "ecc_error_count",     "throttle_reasons",
                                                 "processes",           NULL};
    size_t i;
    size_t j;
    json_t *device;
    json_t *slice;
    json_array_foreach(json_object_get(snapshot, "devices"), i, device) {
        json_t *accelerator = json_object_get(device, "accelerator");
        remove_keys(device, of_memory);
        remove_keys(accelerator, of_accelerator);
        json_array_foreach(json_object_get(accelerator, "slices"), j, slice) {
            remove_keys(slice, of_memory);
        }
    }
}

/* --- reading --------------------------------------------------------------------------------- */

/* Whether the bytes begin as those of a cache: '{', blanks, its first key. */
static bool is_ours(const char *bytes) {
    static const char blanks[] = " \t\r\n";
    bytes += strspn(bytes, blanks);
    if (*bytes++ != '{') return false;
    bytes += strspn(bytes, blanks);
    return strncmp(bytes, first_key, sizeof first_key - 1) == 0;
}

/* Open the file if it is one of this user's. -1 without it: `why` says what is wrong, if anything.
 */
static int open_file(const char *path, char *why) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        if (errno == ELOOP) snprintf(why, WHY_BYTES, "it is a symbolic link");
        if (errno != ENOENT && errno != ELOOP) {
            snprintf(why, WHY_BYTES, "%s", strerrordesc_np(errno));
        }
        return -1;
    }
    struct stat found;
    if (fstat(fd, &found) != 0) {
        snprintf(why, WHY_BYTES, "%s", strerrordesc_np(errno));
    } else if (!S_ISREG(found.st_mode) || found.st_uid != geteuid()) {
        snprintf(why, WHY_BYTES, "it is not a file of this user");
    } else if (found.st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, WHY_BYTES, "others may write to it");
    }
    if (!why[0]) return fd;
    close(fd);
    return -1;
}

/* Why the document as a whole does not hold; "" when it does. */
static void check_document(const struct rp_cache *cache, const json_t *root, char *why) {
    const json_t *version = json_object_get(root, "resourcepool_hardware_cache");
    const char *library = json_string_value(json_object_get(root, "library"));
    const char *machine = json_string_value(json_object_get(root, "machine"));
    if (json_is_integer(version) && json_integer_value(version) > RP_CACHE_VERSION) {
        snprintf(why, WHY_BYTES, "a newer version wrote it");
    } else if (!json_is_integer(version) || json_integer_value(version) != RP_CACHE_VERSION ||
               !library || !machine || !json_is_object(json_object_get(root, "kinds"))) {
        snprintf(why, WHY_BYTES, "it is damaged");
    } else if (strcmp(library, RP_VERSION_STRING) != 0) {
        snprintf(why, WHY_BYTES, "version %.32s wrote it", library);
    } else if (strcmp(machine, cache->machine) != 0) {
        snprintf(why, WHY_BYTES, "it is of another machine, or of other cards or drivers");
    }
}

/*
 * What the file keeps; *kinds is NULL, and `why` may say the reason, when that is nothing that
 * holds. Finds out whether it may be replaced.
 */
static rp_status read_file(struct rp_cache *cache, json_t **kinds, char *why, rp_error *err) {
    *kinds = NULL;
    why[0] = '\0';
    int fd = open_file(cache->path, why);
    cache->may_write = !why[0];
    if (fd < 0) return RP_OK;
    char *bytes = NULL;
    size_t length = 0;
    int os_errno = rp_text_read_fd(fd, RP_LIMIT_HARDWARE_CACHE_BYTES, &bytes, &length);
    close(fd);
    if (os_errno == ENOMEM) return rp_fail_no_memory(err);
    if (os_errno != 0) {
        cache->may_write = os_errno == EFBIG && cache->is_default;
        snprintf(why, WHY_BYTES, "%s", strerrordesc_np(os_errno));
        return RP_OK;
    }
    if (length > 0 && !is_ours(bytes)) {
        cache->may_write = cache->is_default;
        snprintf(why, WHY_BYTES, "it is no hardware cache%s",
                 cache->is_default ? "" : ", and is left as it is");
        rp_free(bytes);
        return RP_OK;
    }
    json_error_t error;
    json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
    rp_free(bytes);
    if (!root) {
        /* jansson says nothing where it lacks memory. */
        if (error.text[0] == '\0') return rp_fail_no_memory(err);
        snprintf(why, WHY_BYTES, "it is damaged: line %d: %.120s", error.line, error.text);
        return RP_OK;
    }
    check_document(cache, root, why);
    if (!why[0]) *kinds = json_incref(json_object_get(root, "kinds"));
    json_decref(root);
    return RP_OK;
}

rp_status rp_cache_open(const char *path, struct rp_snapshot *snapshot, struct rp_cache **out,
                        rp_error *err) {
    struct rp_cache *cache = rp_alloc(sizeof *cache);
    if (!cache) return rp_fail_no_memory(err);
    cache->snapshot = snapshot;
    cache->is_default = !path && !secure_getenv(variable);
    const char *none = NULL;
    char why[WHY_BYTES] = "";
    rp_status status = RP_OK;
    if (!rp_user_file_find(path, variable, "hardware.json", cache->path, sizeof cache->path,
                           &none)) {
        cache->path[0] = '\0';
        if (none) {
            status = rp_snapshot_add_note(snapshot, err, "there is no hardware cache: %s", none);
        }
    }
    if (status == RP_OK && cache->path[0]) {
        status = rp_identity_machine(snapshot, cache->machine, err);
        if (status == RP_OK) status = read_file(cache, &cache->read, why, err);
    }
    if (status == RP_OK && why[0]) {
        status = rp_snapshot_add_note(snapshot, err, "the hardware cache '%.400s' is not used: %s",
                                      cache->path, why);
    }
    if (status != RP_OK) {
        json_decref(cache->read);
        rp_free(cache);
        return status;
    }
    *out = cache;
    return RP_OK;
}

/* "3 hours": how long ago, for people. */
static const char *age_text(int64_t seconds, char out[AGE_BYTES]) {
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    size_t i = 0;
    while (i < 3 && seconds < units[i].seconds) {
        i++;
    }
    long long count = (long long)(seconds / units[i].seconds);
    snprintf(out, AGE_BYTES, "%lld %s%s", count, units[i].name, count == 1 ? "" : "s");
    return out;
}

/* Why an answer does not stand any more; "" when it does. */
static rp_status check_answer(const struct rp_cache *cache, rp_device_kind kind,
                              const json_t *answer, char *why, rp_error *err) {
    const json_t *asked = json_object_get(answer, "asked_wall_s");
    const char *conditions = json_string_value(json_object_get(answer, "conditions"));
    const json_t *is_failed = json_object_get(answer, "failed");
    if (!json_is_integer(asked) || json_integer_value(asked) < 0 || !conditions ||
        !json_is_boolean(is_failed) || !json_is_object(json_object_get(answer, "snapshot"))) {
        snprintf(why, WHY_BYTES, "it is damaged");
        return RP_OK;
    }
    char age[AGE_BYTES];
    char now_conditions[RP_IDENTITY_BYTES];
    rp_status status = rp_identity_conditions(cache->snapshot, kind, now_conditions, err);
    if (status != RP_OK) return status;
    int64_t age_s = rp_wall_ns() / 1000000000 - json_integer_value(asked);
    int64_t age_s_max = json_is_true(is_failed) ? RP_CACHE_FAILED_SECONDS : RP_CACHE_SECONDS;
    if (age_s < -RP_CACHE_AHEAD_SECONDS) {
        snprintf(why, WHY_BYTES, "it comes from the future");
    } else if (age_s > age_s_max) {
        snprintf(why, WHY_BYTES, "it is %s old", age_text(age_s, age));
    } else if (strcmp(conditions, now_conditions) != 0) {
        snprintf(why, WHY_BYTES, "the environment or what is installed has changed");
    }
    return RP_OK;
}

/* Add an answer to the snapshot; a kind that it has no word about, or another kind, is damage. */
static rp_status add_answer(struct rp_cache *cache, rp_device_kind kind, const rp_snapshot *answer,
                            bool *found, rp_error *err) {
    struct rp_snapshot *snapshot = cache->snapshot;
    *found = answer->device_count + answer->absent_count > 0;
    for (size_t i = 0; i < answer->device_count; i++) {
        *found = *found && answer->devices[i]->kind == kind;
    }
    for (size_t i = 0; i < answer->absent_count; i++) {
        *found = *found && answer->absences[i]->kind == kind;
    }
    rp_status status = RP_OK;
    for (size_t i = 0; *found && status == RP_OK && i < answer->device_count; i++) {
        rp_device *device = rp_snapshot_copy_device(snapshot, answer->devices[i]);
        status = device ? rp_snapshot_add_device(snapshot, device, err) : rp_fail_no_memory(err);
    }
    for (size_t i = 0; *found && status == RP_OK && i < answer->absent_count; i++) {
        status = rp_snapshot_copy_absence(snapshot, answer->absences[i], err);
    }
    for (size_t i = 0; *found && status == RP_OK && i < answer->note_count; i++) {
        status = rp_snapshot_add_note(snapshot, err, "%s", answer->notes[i]);
    }
    return status;
}

rp_status rp_cache_load(struct rp_cache *cache, rp_device_kind kind, bool *found, rp_error *err) {
    *found = false;
    const char *name = rp_device_kind_name(kind);
    json_t *entry = json_object_get(cache->read, name);
    if (!entry || kind == RP_DEVICE_CPU) return RP_OK;
    char why[WHY_BYTES] = "";
    rp_status checked = check_answer(cache, kind, entry, why, err);
    if (checked != RP_OK) return checked;
    if (!why[0]) {
        rp_error damage = RP_ERROR_INIT;
        struct rp_snapshot *answer = NULL;
        json_t *value = json_object_get(entry, "snapshot");
        remove_what_moves(value);
        rp_status status = rp_snapshot_from_value(value, name, &answer, &damage);
        if (status == RP_OK) status = add_answer(cache, kind, answer, found, &damage);
        rp_snapshot_release(answer);
        if (status == RP_ERR_MEMORY) {
            if (err) *err = damage;
            return status;
        }
        if (!*found) {
            snprintf(why, sizeof why, "it is damaged%s%.200s", damage.message[0] ? ": " : "",
                     damage.message);
        }
    }
    if (*found) {
        char age[AGE_BYTES];
        int64_t age_s =
            rp_wall_ns() / 1000000000 - json_integer_value(json_object_get(entry, "asked_wall_s"));
        return rp_snapshot_add_note(cache->snapshot, err,
                                    "%s: asked %s ago; 'rpool hardware --refresh --all' asks again",
                                    name, age_text(age_s < 0 ? 0 : age_s, age));
    }
    return rp_snapshot_add_note(cache->snapshot, err, "%s: what is kept of it is not used: %s",
                                name, why);
}

/* --- writing --------------------------------------------------------------------------------- */

static bool put(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

rp_status rp_cache_keep(struct rp_cache *cache, rp_device_kind kind, const rp_snapshot *answer,
                        bool is_failed, rp_error *err) {
    if (!cache->path[0] || kind == RP_DEVICE_CPU) return RP_OK;
    char conditions[RP_IDENTITY_BYTES];
    rp_status status = rp_identity_conditions(cache->snapshot, kind, conditions, err);
    if (status != RP_OK) return status;
    json_t *value = rp_snapshot_to_value(answer);
    if (value) remove_what_moves(value);
    json_t *entry = json_object();
    bool is_made = put(entry, "asked_wall_s", json_integer(rp_wall_ns() / 1000000000)) &&
                   put(entry, "conditions", json_string(conditions)) &&
                   put(entry, "failed", json_boolean(is_failed));
    /* Each call takes its value over, whether it works or not. */
    is_made = put(entry, "snapshot", value) && is_made;
    if (!cache->kept) cache->kept = json_object();
    is_made = put(cache->kept, rp_device_kind_name(kind), entry) && is_made;
    return is_made ? RP_OK : rp_fail_no_memory(err);
}

rp_status rp_cache_drop(struct rp_cache *cache, rp_device_kind kind, rp_error *err) {
    const char *name = rp_device_kind_name(kind);
    if (!json_object_get(cache->read, name)) return RP_OK;
    if (!cache->kept) cache->kept = json_object();
    return put(cache->kept, name, json_null()) ? RP_OK : rp_fail_no_memory(err);
}

/* All bytes, and safe on the disk. 0 or an errno. */
static int write_all(int fd, const char *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(fd, bytes + done, length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno;
        done += (size_t)wrote;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

/* Put a new file in the place of the old one, in one step. */
static void replace_file(const char *path, const char *bytes, size_t length, char *why) {
    char temporary[PATH_BYTES + SUFFIX_BYTES];
    if (!rp_user_file_prepare(path, why, WHY_BYTES)) return;
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* for this user alone: 0600 */
    if (fd < 0) {
        snprintf(why, WHY_BYTES, "%s", strerrordesc_np(errno));
        return;
    }
    int os_errno = write_all(fd, bytes, length);
    if (close(fd) != 0 && os_errno == 0) os_errno = errno;
    if (os_errno == 0 && rename(temporary, path) != 0) os_errno = errno;
    if (os_errno == 0) return;
    unlink(temporary);
    snprintf(why, WHY_BYTES, "%s", strerrordesc_np(os_errno));
}

static int append_to_text(const char *bytes, size_t length, void *user) {
    struct rp_text *text = user;
    rp_text_append(text, bytes, length);
    return text->failed ? -1 : 0;
}

/* Over what stands in the file, what is kept. */
static bool merge(json_t *kinds, json_t *kept) {
    const char *name;
    json_t *entry;
    bool is_made = true;
    json_object_foreach(kept, name, entry) {
        if (json_is_null(entry)) {
            json_object_del(kinds, name);
        } else {
            is_made = is_made && json_object_set(kinds, name, entry) == 0;
        }
    }
    return is_made;
}

/* The whole file: what is kept, over what stands in it now. */
static rp_status compose(struct rp_cache *cache, struct rp_text *text, char *why, rp_error *err) {
    json_t *kinds = NULL;
    rp_status status = read_file(cache, &kinds, why, err);
    if (status != RP_OK) return status;
    if (cache->may_write) why[0] = '\0'; /* told when it was opened */
    if (!kinds) kinds = json_object();
    bool is_made = merge(kinds, cache->kept);
    json_t *root = json_object();
    is_made = is_made && put(root, "resourcepool_hardware_cache", json_integer(RP_CACHE_VERSION)) &&
              put(root, "library", json_string(RP_VERSION_STRING)) &&
              put(root, "machine", json_string(cache->machine));
    is_made = put(root, "kinds", kinds) && is_made;
    int rc = is_made ? json_dump_callback(root, append_to_text, text,
                                          JSON_INDENT(1) | JSON_REAL_PRECISION(15))
                     : -1;
    json_decref(root);
    return rc == 0 ? RP_OK : rp_fail_no_memory(err);
}

static rp_status write_what_is_kept(struct rp_cache *cache, rp_error *err) {
    char why[WHY_BYTES] = "";
    struct rp_text text = RP_TEXT_INIT;
    rp_status status = RP_OK;
    /* What stands there in place of a cache was noted when it was opened. */
    if (cache->may_write) status = compose(cache, &text, why, err);
    if (status == RP_OK && cache->may_write) {
        if (text.length > RP_LIMIT_HARDWARE_CACHE_BYTES) {
            snprintf(why, sizeof why, "it would have %zu bytes, of %d at most", text.length,
                     RP_LIMIT_HARDWARE_CACHE_BYTES);
        } else {
            replace_file(cache->path, text.bytes, text.length, why);
        }
    }
    rp_text_fini(&text);
    if (status != RP_OK || !why[0]) return status;
    return rp_snapshot_add_note(cache->snapshot, err,
                                "the hardware cache '%.400s' is not written: %s", cache->path, why);
}

rp_status rp_cache_close(struct rp_cache *cache, rp_error *err) {
    if (!cache) return RP_OK;
    rp_status status = cache->kept ? write_what_is_kept(cache, err) : RP_OK;
    json_decref(cache->read);
    json_decref(cache->kept);
    rp_free(cache);
    return status;
}
