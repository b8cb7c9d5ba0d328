/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory limits of control groups.
 *
 * /proc/self/cgroup says where the process stands in each hierarchy, /proc/self/mountinfo where the
 * hierarchies are mounted and which group is at the top of each mount: inside a container that is
 * the container's own group, not "/". From the two follows a folder; its limit counts, and that of
 * every folder above it up to the mount, because a group can use no more than its parents leave.
 *
 * memory.high counts like memory.max. It is a throttle, not a wall: a process above it is not
 * killed but made to reclaim until it barely moves. Loading a model there works as little as
 * behind a wall, so the room below `high` is the room there is; the source says which of the two
 * it was.
 *
 * File cache that was not used lately (inactive_file) counts as room, for the kernel drops it
 * before it refuses memory. Where memory.stat cannot be read it counts as used: less room than
 * there is, never more.
 */
#include "hardware/cgroup.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Version 1 writes "no limit" as LONG_MAX rounded down to a page (of 64 KiB at most). What is that
 * large limits nothing.
 */
static const uint64_t no_limit_from = UINT64_C(0x7FFFFFFFFFFF0000);

enum { FOLDER_BYTES = RP_CGROUP_FOLDER_BYTES, SOURCE_BYTES = FOLDER_BYTES + 64 };

/* The walk through all groups: where to read, what was found so far. */
struct walk {
    const char *root;
    struct rp_snapshot *snapshot;
    uint64_t bytes_total;
    uint64_t bytes_free;
    bool free_unknown; /* a group has a limit, but not even its use can be read */
    char source[SOURCE_BYTES];
};

static bool copy_span(char *out, size_t out_bytes, struct rp_span span) {
    if (span.length >= out_bytes || memchr(span.at, '\0', span.length)) return false;
    memcpy(out, span.at, span.length);
    out[span.length] = '\0';
    return true;
}

/* Whether a list such as "rw,memory" has the word. */
static bool list_has(struct rp_span list, const char *wanted) {
    struct rp_span word;
    while (rp_span_next_word(&list, ",", &word)) {
        if (rp_span_is(word, wanted)) return true;
    }
    return false;
}

bool rp_cgroup_find_path(struct rp_span text, int version, const char *controller,
                         char out[RP_LIMIT_NAME_BYTES]) {
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        /* "4:memory:/a", "0::/a"; the path may hold colons. */
        const char *first = line.length > 0 ? memchr(line.at, ':', line.length) : NULL;
        if (!first) continue;
        const char *end = line.at + line.length;
        const char *second = memchr(first + 1, ':', (size_t)(end - first - 1));
        if (!second) continue;
        struct rp_span number = {line.at, (size_t)(first - line.at)};
        struct rp_span controllers = {first + 1, (size_t)(second - first - 1)};
        bool fits = version == 2 ? rp_span_is(number, "0") && controllers.length == 0
                                 : list_has(controllers, controller);
        if (!fits) continue;
        struct rp_span path = {second + 1, (size_t)(end - second - 1)};
        return path.length > 0 && path.at[0] == '/' && copy_span(out, RP_LIMIT_NAME_BYTES, path);
    }
    return false;
}

/* mountinfo writes blanks, newlines and backslashes in names as three octal digits. */
static bool copy_unescaped(char *out, size_t out_bytes, struct rp_span span) {
    size_t used = 0;
    for (size_t i = 0; i < span.length; i++) {
        char byte = span.at[i];
        if (byte == '\\' && span.length - i > 3) {
            unsigned value = 0;
            bool octal = true;
            for (size_t j = 1; j <= 3; j++) {
                octal = octal && span.at[i + j] >= '0' && span.at[i + j] <= '7';
                value = value * 8 + (unsigned)(span.at[i + j] - '0');
            }
            if (octal && value < 256) {
                byte = (char)value;
                i += 3;
            }
        }
        if (byte == '\0' || used + 1 >= out_bytes) return false;
        out[used++] = byte;
    }
    out[used] = '\0';
    return true;
}

static bool parse_mount(struct rp_span line, const char *controller,
                        struct rp_cgroup_mount *mount) {
    /* 36 35 98:0 /root /point rw,noatime [shared:1 ...] - type source rw,memory */
    struct rp_span root = {0};
    struct rp_span point = {0};
    struct rp_span word;
    for (int field = 0; rp_span_next_word(&line, " ", &word); field++) {
        if (field == 3) root = word;
        if (field == 4) point = word;
        if (field >= 6 && rp_span_is(word, "-")) break;
    }
    struct rp_span type;
    struct rp_span source;
    struct rp_span options;
    if (!rp_span_next_word(&line, " ", &type) || !rp_span_next_word(&line, " ", &source) ||
        !rp_span_next_word(&line, " ", &options)) {
        return false;
    }
    bool is_v2 = rp_span_is(type, "cgroup2");
    if (!is_v2 && !(rp_span_is(type, "cgroup") && list_has(options, controller))) return false;
    mount->version = is_v2 ? 2 : 1;
    return copy_unescaped(mount->root, sizeof mount->root, root) &&
           copy_unescaped(mount->point, sizeof mount->point, point) && mount->root[0] == '/' &&
           mount->point[0] == '/';
}

bool rp_cgroup_next_mount(struct rp_span *rest, const char *controller,
                          struct rp_cgroup_mount *mount) {
    struct rp_span line;
    while (rp_span_next_line(rest, &line)) {
        if (parse_mount(line, controller, mount)) return true;
    }
    return false;
}

/* Whether a path has a component "..": it leads out of what is visible. */
static bool leads_out(const char *path) {
    for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/..")) {
        if (at[3] == '\0' || at[3] == '/') return true;
    }
    return false;
}

/* Whether a path is made of ".." alone: "/.." is the parent of the group that seems to be "/". */
static bool is_above(const char *path) {
    while (strncmp(path, "/..", 3) == 0) {
        path += 3;
    }
    return *path == '\0';
}

const char *rp_cgroup_path_below(const char *path, const char *mount_root) {
    size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    const char *below = NULL;
    if (strncmp(path, mount_root, length) == 0 && (path[length] == '/' || path[length] == '\0')) {
        below = path + length;
    } else if (is_above(mount_root)) {
        /* Mounted from outside our cgroup namespace: its top is above us, the way down untold. */
        below = "";
    }
    if (!below || leads_out(below)) return NULL;
    return strcmp(below, "/") == 0 ? "" : below;
}

void rp_cgroup_climb_start(struct rp_cgroup_climb *climb, const struct rp_cgroup_mount *mount,
                           const char *below) {
    const char *top = strcmp(mount->root, "/") == 0 ? "" : mount->root;
    const char *point = strcmp(mount->point, "/") == 0 ? "" : mount->point;
    climb->version = mount->version;
    climb->own = true;
    snprintf(climb->folder, sizeof climb->folder, "%s%s", point, below);
    snprintf(climb->group, sizeof climb->group, "%s%s", top, below);
    climb->point_length = strlen(point);
    climb->top_length = strlen(top);
}

bool rp_cgroup_climb_up(struct rp_cgroup_climb *climb) {
    if (strlen(climb->folder) <= climb->point_length) return false;
    *strrchr(climb->folder + climb->point_length, '/') = '\0';
    *strrchr(climb->group + climb->top_length, '/') = '\0';
    climb->own = false;
    return true;
}

uint64_t rp_cgroup_limit_of(uint64_t number) {
    return number < no_limit_from ? number : RP_UNKNOWN_U64;
}

bool rp_cgroup_parse_figure(struct rp_span text, uint64_t *value) {
    uint64_t number;
    text = rp_span_trim(text);
    if (rp_span_parse_u64(text, &number)) {
        *value = rp_cgroup_limit_of(number);
        return true;
    }
    if (!rp_span_is(text, "max")) return false;
    *value = RP_UNKNOWN_U64;
    return true;
}

/* One number from a file of a group. Without the file: unknown. "max" and v1's "none": no limit. */
static rp_status read_figure(struct walk *walk, const char *folder, const char *name,
                             uint64_t *value, rp_error *err) {
    char path[FOLDER_BYTES + 64];
    struct rp_proc_file file;
    *value = RP_UNKNOWN_U64;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    rp_status status = rp_proc_file_read(&file, walk->root, path, err);
    if (status != RP_OK) return status;
    struct rp_span text = rp_span_trim((struct rp_span){file.bytes, file.length});
    if (!file.bytes) {
        if (file.os_errno != ENOENT && file.os_errno != ENOTDIR) {
            status = rp_snapshot_add_note(walk->snapshot, err, "cannot read '%s': %s; passed over",
                                          path, strerrordesc_np(file.os_errno));
        }
    } else if (!rp_cgroup_parse_figure(text, value)) {
        status = rp_snapshot_add_note(walk->snapshot, err,
                                      "'%s' holds '%.*s', which is no number; passed over", path,
                                      text.length < 40 ? (int)text.length : 40, text.at);
    }
    rp_proc_file_fini(&file);
    return status;
}

static rp_status read_stat(struct walk *walk, const char *folder, const char *key, uint64_t *value,
                           rp_error *err) {
    char path[FOLDER_BYTES + 64];
    struct rp_proc_file file;
    *value = RP_UNKNOWN_U64;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    rp_status status = rp_proc_file_read(&file, walk->root, path, err);
    if (status == RP_OK && file.bytes) {
        *value = rp_proc_stat_value((struct rp_span){file.bytes, file.length}, key);
    }
    rp_proc_file_fini(&file);
    return status;
}

/* What one group says: its limit and the room below it. */
struct level {
    uint64_t limit; /* RP_UNKNOWN_U64: none */
    const char *mark;
    const char *usage_file;
    const char *inactive_key;
};

static rp_status read_v2(struct walk *walk, const char *folder, struct level *level,
                         rp_error *err) {
    uint64_t max;
    uint64_t high;
    rp_status status = read_figure(walk, folder, "memory.max", &max, err);
    if (status == RP_OK) status = read_figure(walk, folder, "memory.high", &high, err);
    if (status != RP_OK) return status;
    *level = (struct level){
        .limit = high < max ? high : max, /* unknown is the largest number */
        .mark = high < max ? " (memory.high)" : "",
        .usage_file = "memory.current",
        .inactive_key = "inactive_file",
    };
    return RP_OK;
}

static rp_status read_v1(struct walk *walk, const char *folder, bool own, struct level *level,
                         rp_error *err) {
    uint64_t limit;
    uint64_t above = RP_UNKNOWN_U64;
    uint64_t hierarchical;
    rp_status status = read_figure(walk, folder, "memory.limit_in_bytes", &limit, err);
    if (status == RP_OK)
        status = read_figure(walk, folder, "memory.use_hierarchy", &hierarchical, err);
    /* The kernel's own minimum over all groups above, those that a container cannot see included.
     */
    if (status == RP_OK && own) {
        status = read_stat(walk, folder, "hierarchical_memory_limit", &above, err);
    }
    if (status != RP_OK) return status;
    above = rp_cgroup_limit_of(above);
    /* Before Linux 5.11 a group without use_hierarchy did not limit its children. */
    if (!own && hierarchical == 0) limit = RP_UNKNOWN_U64;
    *level = (struct level){
        .limit = above < limit ? above : limit,
        .mark = above < limit ? " (above)" : "",
        .usage_file = "memory.usage_in_bytes",
        .inactive_key = "total_inactive_file",
    };
    return RP_OK;
}

static rp_status count_level(struct walk *walk, const char *folder, const char *group, int version,
                             const struct level *level, rp_error *err) {
    uint64_t used;
    uint64_t inactive;
    rp_status status = read_figure(walk, folder, level->usage_file, &used, err);
    if (status == RP_OK) status = read_stat(walk, folder, level->inactive_key, &inactive, err);
    if (status != RP_OK) return status;
    /* "Above" is also found as the limit of the group it is of, when that comes into sight. */
    bool same_but_seen = level->limit == walk->bytes_total && strstr(walk->source, " (above)");
    if (level->limit < walk->bytes_total || same_but_seen) {
        walk->bytes_total = level->limit;
        snprintf(walk->source, sizeof walk->source, "cgroup v%d %s%s", version, group, level->mark);
    }
    if (used == RP_UNKNOWN_U64) {
        walk->free_unknown = true;
        return RP_OK;
    }
    if (inactive != RP_UNKNOWN_U64) used -= inactive < used ? inactive : used;
    uint64_t room = level->limit > used ? level->limit - used : 0;
    if (room < walk->bytes_free) walk->bytes_free = room;
    return RP_OK;
}

/* From the group of the process up to the top of one mount. */
static rp_status walk_mount(struct walk *walk, const struct rp_cgroup_mount *mount,
                            const char *below, rp_error *err) {
    struct rp_cgroup_climb climb;
    rp_cgroup_climb_start(&climb, mount, below);
    do {
        struct level level;
        rp_status status = climb.version == 2 ? read_v2(walk, climb.folder, &level, err)
                                              : read_v1(walk, climb.folder, climb.own, &level, err);
        if (status == RP_OK && level.limit != RP_UNKNOWN_U64) {
            status = count_level(walk, climb.folder, climb.group[0] ? climb.group : "/",
                                 climb.version, &level, err);
        }
        if (status != RP_OK) return status;
    } while (rp_cgroup_climb_up(&climb));
    return RP_OK;
}

static rp_status walk_all(struct walk *walk, struct rp_span cgroups, struct rp_span mounts,
                          struct rp_cgroup_mount *mount, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    for (int i = 0; i < RP_LIMIT_CGROUP_MOUNTS; i++) {
        if (!rp_cgroup_next_mount(&mounts, "memory", mount)) return RP_OK;
        if (!rp_cgroup_find_path(cgroups, mount->version, "memory", path)) continue;
        const char *below = rp_cgroup_path_below(path, mount->root);
        if (!below) continue;
        rp_status status = walk_mount(walk, mount, below, err);
        if (status != RP_OK) return status;
    }
    return rp_snapshot_add_note(walk->snapshot, err,
                                "more than %d cgroup mounts; those after them are not looked at",
                                RP_LIMIT_CGROUP_MOUNTS);
}

rp_status rp_cgroup_read_limit(const char *root, struct rp_snapshot *snapshot,
                               struct rp_cgroup_limit *limit, rp_error *err) {
    struct rp_proc_file cgroups = {0};
    struct rp_proc_file mounts = {0};
    /* Paths make these two large: not for the stack of a thread that a caller made small. */
    struct walk *walk = rp_alloc(sizeof *walk);
    struct rp_cgroup_mount *mount = rp_alloc(sizeof *mount);
    rp_status status = walk && mount ? RP_OK : rp_fail_no_memory(err);
    if (status == RP_OK) status = rp_proc_file_read(&cgroups, root, "/proc/self/cgroup", err);
    if (status == RP_OK) status = rp_proc_file_read(&mounts, root, "/proc/self/mountinfo", err);
    if (status != RP_OK) goto done;

    *walk = (struct walk){
        .root = root,
        .snapshot = snapshot,
        .bytes_total = RP_UNKNOWN_U64,
        .bytes_free = RP_UNKNOWN_U64,
    };
    if (cgroups.bytes && mounts.bytes) {
        status = walk_all(walk, (struct rp_span){cgroups.bytes, cgroups.length},
                          (struct rp_span){mounts.bytes, mounts.length}, mount, err);
    }
    if (status != RP_OK) goto done;
    const char *source = NULL;
    if (walk->bytes_total != RP_UNKNOWN_U64) {
        source = rp_snapshot_text(snapshot, walk->source, strlen(walk->source));
        if (!source) {
            status = rp_fail_no_memory(err);
            goto done;
        }
    }
    *limit = (struct rp_cgroup_limit){
        .bytes_total = walk->bytes_total,
        .bytes_free = walk->free_unknown ? RP_UNKNOWN_U64 : walk->bytes_free,
        .source = source,
    };
done:
    rp_proc_file_fini(&cgroups);
    rp_proc_file_fini(&mounts);
    rp_free(walk);
    rp_free(mount);
    return status;
}
