/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A quota says how much time the processes of a group get in each period: 250000 of 100000
 * microseconds are two and a half processors. Of all groups above the process the least counts, as
 * with memory (cgroup.c).
 */
#include "hardware/quota.h"

#include "base/memory.h"
#include "hardware/cgroup.h"

#include <resourcepool/hardware.h>
#include <stdio.h>
#include <string.h>

struct quota {
    const char *root;
    double processors; /* negative: no limit so far */
    char *source;
    size_t source_bytes;
};

double rp_quota_parse(struct rp_span text) {
    struct rp_span first;
    struct rp_span second;
    uint64_t time;
    uint64_t period;
    if (!rp_span_next_word(&text, " \n", &first) || !rp_span_next_word(&text, " \n", &second) ||
        !rp_span_parse_u64(first, &time) || !rp_span_parse_u64(second, &period) || time == 0 ||
        period == 0) {
        return -1;
    }
    double processors = (double)time / (double)period;
    return processors <= RP_LIMIT_PROCESSORS ? processors : -1;
}

/* Append what a file of a group holds; false when it cannot be read or is too long. */
static bool append(const struct quota *quota, const char *folder, const char *name, char *text,
                   size_t text_bytes) {
    char path[RP_CGROUP_FOLDER_BYTES + 32];
    struct rp_proc_file file;
    size_t used = strlen(text);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bool is_read = rp_proc_file_read(&file, quota->root, path, NULL) == RP_OK && file.bytes &&
                   file.length + 1 < text_bytes - used;
    if (is_read) snprintf(text + used, text_bytes - used, "%s ", file.bytes);
    rp_proc_file_fini(&file);
    return is_read;
}

static void take_group(struct quota *quota, const struct rp_cgroup_climb *climb) {
    char text[128] = "";
    bool is_read = climb->version == 2
                       ? append(quota, climb->folder, "cpu.max", text, sizeof text)
                       : append(quota, climb->folder, "cpu.cfs_quota_us", text, sizeof text) &&
                             append(quota, climb->folder, "cpu.cfs_period_us", text, sizeof text);
    if (!is_read) return;
    double processors = rp_quota_parse((struct rp_span){text, strlen(text)});
    if (processors < 0 || (quota->processors >= 0 && processors >= quota->processors)) return;
    quota->processors = processors;
    if (quota->source) {
        snprintf(quota->source, quota->source_bytes, "cgroup v%d %s", climb->version,
                 climb->group[0] ? climb->group : "/");
    }
}

/* Paths make these large: on the heap, as a caller's stack may be small. */
struct walk {
    struct rp_cgroup_mount mount;
    struct rp_cgroup_climb climb;
    char path[RP_LIMIT_NAME_BYTES];
};

static void walk_mounts(struct quota *quota, struct walk *walk, struct rp_span cgroups,
                        struct rp_span mounts) {
    for (int i = 0; i < RP_LIMIT_CGROUP_MOUNTS; i++) {
        if (!rp_cgroup_next_mount(&mounts, "cpu", &walk->mount)) return;
        if (!rp_cgroup_find_path(cgroups, walk->mount.version, "cpu", walk->path)) continue;
        const char *below = rp_cgroup_path_below(walk->path, walk->mount.root);
        if (!below) continue;
        rp_cgroup_climb_start(&walk->climb, &walk->mount, below);
        do {
            take_group(quota, &walk->climb);
        } while (rp_cgroup_climb_up(&walk->climb));
    }
}

double rp_hardware_quota(const char *root, char *source, size_t source_bytes) {
    struct quota quota = {root ? root : "", -1, source_bytes ? source : NULL, source_bytes};
    struct rp_proc_file cgroups = {0};
    struct rp_proc_file mounts = {0};
    struct walk *walk = rp_alloc(sizeof *walk);
    if (quota.source) quota.source[0] = '\0';
    if (walk && rp_proc_file_read(&cgroups, quota.root, "/proc/self/cgroup", NULL) == RP_OK &&
        rp_proc_file_read(&mounts, quota.root, "/proc/self/mountinfo", NULL) == RP_OK &&
        cgroups.bytes && mounts.bytes) {
        walk_mounts(&quota, walk, (struct rp_span){cgroups.bytes, cgroups.length},
                    (struct rp_span){mounts.bytes, mounts.length});
    }
    rp_proc_file_fini(&cgroups);
    rp_proc_file_fini(&mounts);
    rp_free(walk);
    return quota.processors;
}
