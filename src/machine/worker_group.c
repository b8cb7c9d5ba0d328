/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/worker_group.h"

#include "base/memory.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "rpool-worker-PID-N", PID being the broker's. */
#define PREFIX "rpool-worker-"

static bool find_in(struct rp_worker_groups *groups, struct rp_span cgroups,
                    struct rp_span mounts) {
    static const char controller[] = "memory";
    struct rp_cgroup_mount mount;
    struct rp_cgroup_climb climb;
    char path[RP_LIMIT_NAME_BYTES];
    while (rp_cgroup_next_mount(&mounts, controller, &mount)) {
        if (!rp_cgroup_find_path(cgroups, mount.version, controller, path)) continue;
        const char *below = rp_cgroup_path_below(path, mount.root);
        if (!below) continue;
        rp_cgroup_climb_start(&climb, &mount, below);
        memcpy(groups->folder, climb.folder, sizeof groups->folder);
        groups->version = mount.version;
        if (mount.version == 1) return true; /* with it mounted, version 2 has no controller */
    }
    return groups->version != 0;
}

/* A broker that was killed removes nothing. One in another pid namespace may seem to be gone: its
 * groups have processes in them, and stay. */
static void sweep(const struct rp_worker_groups *groups) {
    DIR *folder = opendir(groups->folder);
    if (!folder) return;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        long pid = strtol(entry->d_name + sizeof PREFIX - 1, NULL, 10);
        if (pid > 0 && (kill((pid_t)pid, 0) == 0 || errno != ESRCH)) continue;
        unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
    }
    closedir(folder);
}

void rp_worker_groups_find(struct rp_worker_groups *groups) {
    struct rp_proc_file cgroups = {0};
    struct rp_proc_file mounts = {0};
    *groups = (struct rp_worker_groups){0};
    if (rp_proc_file_read(&cgroups, "", "/proc/self/cgroup", NULL) == RP_OK &&
        rp_proc_file_read(&mounts, "", "/proc/self/mountinfo", NULL) == RP_OK && cgroups.bytes &&
        mounts.bytes &&
        find_in(groups, (struct rp_span){cgroups.bytes, cgroups.length},
                (struct rp_span){mounts.bytes, mounts.length})) {
        if (access(groups->folder, W_OK) == 0) {
            sweep(groups);
        } else {
            groups->version = 0;
        }
    }
    rp_proc_file_fini(&cgroups);
    rp_proc_file_fini(&mounts);
}

static bool write_figure(const struct rp_worker_group *group, const char *name, uint64_t figure) {
    char path[sizeof group->folder + 40];
    char text[24];
    snprintf(path, sizeof path, "%s/%s", group->folder, name);
    int length = snprintf(text, sizeof text, "%" PRIu64, figure);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t written = write(fd, text, (size_t)length);
    close(fd);
    return written == length;
}

bool rp_worker_group_make(struct rp_worker_groups *groups, uint64_t limit_bytes,
                          struct rp_worker_group *group) {
    static _Atomic uint32_t last_number; /* of this process, whoever asks */
    *group = (struct rp_worker_group){0};
    if (groups->version == 0) return false;
    int rc;
    do { /* one of an earlier process of this pid may still be there */
        snprintf(group->folder, sizeof group->folder, "%s/" PREFIX "%d-%" PRIu32, groups->folder,
                 (int)getpid(), atomic_fetch_add(&last_number, 1) + 1);
        rc = mkdir(group->folder, 0755);
    } while (rc != 0 && errno == EEXIST);
    if (rc != 0) {
        groups->version = 0; /* nor will it be allowed later */
        return false;
    }
    group->version = groups->version;
    const char *limit = group->version == 1 ? "memory.limit_in_bytes" : "memory.max";
    char path[sizeof group->folder + 40];
    snprintf(path, sizeof path, "%s/%s", group->folder, limit);
    bool is_limited = access(path, W_OK) == 0; /* version 2: only where the parent hands it on */
    if (is_limited && limit_bytes != RP_UNKNOWN_U64) {
        is_limited = write_figure(group, limit, limit_bytes);
        /* Else what is over the limit would only be slow. Without swap the file may be missing. */
        write_figure(group, group->version == 1 ? "memory.swappiness" : "memory.swap.max", 0);
    }
    if (is_limited) return true;
    rp_worker_group_remove(group);
    groups->version = 0;
    return false;
}

void rp_worker_group_file(const struct rp_worker_group *group,
                          char out[RP_CGROUP_FOLDER_BYTES + 80]) {
    snprintf(out, sizeof group->folder + 16, "%s/cgroup.procs", group->folder);
}

void rp_worker_group_enter(const char *file) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t written = write(fd, "0", 1); /* without it, it lives with the broker's */
    (void)written;
    close(fd);
}

/* A file of the group's, the caller's; NULL: there is none. */
static char *read_file(const struct rp_worker_group *group, const char *name, size_t *length) {
    char path[sizeof group->folder + 40];
    char *text = NULL;
    if (group->version == 0) return NULL;
    snprintf(path, sizeof path, "%s/%s", group->folder, name);
    int failed = rp_text_read_file(path, RP_LIMIT_SYSTEM_FILE_BYTES, &text, length);
    return failed ? NULL : text;
}

uint64_t rp_worker_group_kills(const struct rp_worker_group *group) {
    size_t length = 0;
    const char *name = group->version == 1 ? "memory.oom_control" : "memory.events";
    char *text = read_file(group, name, &length);
    if (!text) return RP_UNKNOWN_U64;
    uint64_t kills = rp_proc_stat_value((struct rp_span){text, length}, "oom_kill");
    rp_free(text);
    return kills;
}

uint64_t rp_worker_group_peak(const struct rp_worker_group *group) {
    size_t length = 0;
    uint64_t peak_bytes = RP_UNKNOWN_U64;
    const char *name = group->version == 1 ? "memory.max_usage_in_bytes" : "memory.peak";
    char *text = read_file(group, name, &length);
    if (!text) return RP_UNKNOWN_U64;
    text[strcspn(text, "\n")] = '\0';
    if (!rp_text_parse_u64(text, &peak_bytes)) peak_bytes = RP_UNKNOWN_U64;
    rp_free(text);
    return peak_bytes;
}

void rp_worker_group_remove(struct rp_worker_group *group) {
    if (group->version != 0) rmdir(group->folder);
    group->version = 0;
}
