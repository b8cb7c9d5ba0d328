/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory the control groups above this process leave it: versions 1 and 2 and both at
 * once, on the machine itself and inside a container that sees only a part of the tree.
 */
#ifndef RP_HARDWARE_CGROUP_H
#define RP_HARDWARE_CGROUP_H

#include "base/limits.h"
#include "hardware/proc.h"
#include "hardware/snapshot.h"

struct rp_cgroup_limit {
    uint64_t bytes_total; /* the least limit of all groups above; RP_UNKNOWN_U64: none has one   */
    uint64_t bytes_free;  /* the least room that any of them has left; RP_UNKNOWN_U64: not known */
    const char *source;   /* "cgroup v2 /a/b", of the snapshot; NULL when there is no limit      */
};

/*
 * Look at every group from this process's own up to the top of what is mounted. What is damaged or
 * may not be read is noted in the snapshot and passed over. Fails for lack of memory only.
 */
rp_status rp_cgroup_read_limit(const char *root, struct rp_snapshot *snapshot,
                               struct rp_cgroup_limit *limit, rp_error *err);

/*
 * From /proc/self/cgroup, the path of the process in the hierarchy that has this controller of
 * version 1 ("memory", "cpu"), or in version 2's. False: it is in none, or the line is damaged.
 */
bool rp_cgroup_find_path(struct rp_span text, int version, const char *controller,
                         char out[RP_LIMIT_NAME_BYTES]);

/* A mounted hierarchy that may have a limit. */
struct rp_cgroup_mount {
    int version;                     /* 1 or 2                             */
    char root[RP_LIMIT_NAME_BYTES];  /* the group at the top of the mount  */
    char point[RP_LIMIT_NAME_BYTES]; /* where it is mounted                */
};

/* From /proc/self/mountinfo, the next of these; lines that cannot be read are passed over. */
bool rp_cgroup_next_mount(struct rp_span *rest, const char *controller,
                          struct rp_cgroup_mount *mount);

/*
 * The part of a group's path that lies below the mount: "" is the mount's own top. NULL when the
 * mount shows another part of the tree, so that nothing in it is about this process.
 */
const char *rp_cgroup_path_below(const char *path, const char *mount_root);

/* A climb through the groups of one mount: from that of the process up to the top of the mount. */
enum { RP_CGROUP_FOLDER_BYTES = 2 * RP_LIMIT_NAME_BYTES };
struct rp_cgroup_climb {
    int version;
    bool own;                            /* this is the group of the process itself            */
    char folder[RP_CGROUP_FOLDER_BYTES]; /* where its files are                                */
    char group[RP_CGROUP_FOLDER_BYTES];  /* its name in the whole tree; "" is the top of all   */
    size_t point_length;
    size_t top_length;
};

/* `below` comes from rp_cgroup_path_below(). Stands at the group of the process afterwards. */
void rp_cgroup_climb_start(struct rp_cgroup_climb *climb, const struct rp_cgroup_mount *mount,
                           const char *below);

/* Go to the parent; false at the top of the mount. */
bool rp_cgroup_climb_up(struct rp_cgroup_climb *climb);

/*
 * What a file with one figure holds: a number, or RP_UNKNOWN_U64 for "max" and for numbers so large
 * that they limit nothing (version 1). False when it is damaged.
 */
bool rp_cgroup_parse_figure(struct rp_span text, uint64_t *value);

/* RP_UNKNOWN_U64 for a number so large that it limits nothing, else the number. */
uint64_t rp_cgroup_limit_of(uint64_t number);

#endif
