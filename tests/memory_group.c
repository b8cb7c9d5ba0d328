/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_group.h"

#include "hardware/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *fail(struct memory_group *group, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *fail(struct memory_group *group, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(group->reason, sizeof group->reason, format, args);
    va_end(args);
    return group->reason;
}

static const char *write_file(struct memory_group *group, const char *file, const char *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", group->folder, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t put = fd < 0 ? -1 : write(fd, text, strlen(text));
    int os_errno = errno;
    if (fd >= 0) close(fd);
    if (put == (ssize_t)strlen(text)) return NULL;
    return fail(group, "cannot write '%s' to '%.900s': %s", text, path, strerrordesc_np(os_errno));
}

static bool has_file(const struct memory_group *group, const char *file) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", group->folder, file);
    return access(path, F_OK) == 0;
}

/* One folder where the climb stands; it must have got the memory controller. */
static const char *make_at(struct memory_group *group, const struct rp_cgroup_climb *climb) {
    static int number;
    group->version = climb->version;
    number++;
    snprintf(group->folder, sizeof group->folder, "%.900s/rp-test-%d-%d", climb->folder,
             (int)getpid(), number);
    snprintf(group->name, sizeof group->name, "%.900s/rp-test-%d-%d", climb->group, (int)getpid(),
             number);
    if (mkdir(group->folder, 0755) != 0) {
        return fail(group, "cannot make '%.900s': %s", group->folder, strerrordesc_np(errno));
    }
    if (has_file(group, climb->version == 2 ? "memory.max" : "memory.limit_in_bytes")) return NULL;
    rmdir(group->folder);
    return fail(group, "'%.900s' gets no memory controller from its parent", group->folder);
}

static const char *make_in(struct memory_group *group, struct rp_span cgroups,
                           struct rp_span mounts) {
    static struct rp_cgroup_mount mount;
    static struct rp_cgroup_climb climb;
    static char path[RP_LIMIT_NAME_BYTES];
    const char *reason = fail(group, "no cgroup with a memory controller is mounted");
    while (rp_cgroup_next_mount(&mounts, "memory", &mount)) {
        if (!rp_cgroup_find_path(cgroups, mount.version, "memory", path)) continue;
        const char *below = rp_cgroup_path_below(path, mount.root);
        if (!below) continue;
        rp_cgroup_climb_start(&climb, &mount, below);
        reason = make_at(group, &climb);
        /* Version 2 takes processes in leaves only: there the new group stands beside ours. */
        if (reason && mount.version == 2 && rp_cgroup_climb_up(&climb)) {
            reason = make_at(group, &climb);
        }
        /* With version 1's controller mounted, version 2 has none: its reason would mislead. */
        if (!reason || mount.version == 1) return reason;
    }
    return reason;
}

const char *memory_group_make(struct memory_group *group) {
    struct rp_proc_file cgroups = {0};
    struct rp_proc_file mounts = {0};
    *group = (struct memory_group){0};
    const char *reason = fail(group, "cannot read /proc/self/cgroup and /proc/self/mountinfo");
    if (rp_proc_file_read(&cgroups, "", "/proc/self/cgroup", NULL) == RP_OK &&
        rp_proc_file_read(&mounts, "", "/proc/self/mountinfo", NULL) == RP_OK && cgroups.bytes &&
        mounts.bytes) {
        reason = make_in(group, (struct rp_span){cgroups.bytes, cgroups.length},
                         (struct rp_span){mounts.bytes, mounts.length});
    }
    rp_proc_file_fini(&cgroups);
    rp_proc_file_fini(&mounts);
    return reason;
}

const char *memory_group_set_limit(struct memory_group *group, uint64_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    bool v1 = group->version == 1;
    const char *reason = write_file(group, v1 ? "memory.limit_in_bytes" : "memory.max", text);
    if (reason) return reason;
    /* Not v1's limit of memory and swap: that one would be met first, and count elsewhere. */
    const char *swap = v1 ? "memory.swappiness" : "memory.swap.max";
    return has_file(group, swap) ? write_file(group, swap, "0") : NULL;
}

const char *memory_group_move(struct memory_group *group, pid_t pid) {
    char text[16];
    snprintf(text, sizeof text, "%d", (int)pid);
    return write_file(group, "cgroup.procs", text);
}

uint64_t memory_group_usage(const struct memory_group *group) {
    struct rp_proc_file file;
    uint64_t bytes = UINT64_MAX;
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", group->folder,
             group->version == 2 ? "memory.current" : "memory.usage_in_bytes");
    if (rp_proc_file_read(&file, "", path, NULL) == RP_OK && file.bytes &&
        !rp_cgroup_parse_figure((struct rp_span){file.bytes, file.length}, &bytes)) {
        bytes = UINT64_MAX;
    }
    rp_proc_file_fini(&file);
    return bytes;
}

const char *memory_group_remove(struct memory_group *group) {
    if (rmdir(group->folder) == 0) return NULL;
    return fail(group, "cannot remove '%.900s': %s", group->folder, strerrordesc_np(errno));
}

__attribute__((no_sanitize("address", "thread", "undefined"))) void *
memory_group_touch(size_t bytes) {
    /* The system call itself: the sanitizers' own mmap() would prepare memory beside it. */
    long at =
        syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    if (at == -1) return NULL;
    volatile char *pages = (volatile char *)at;
    for (size_t i = 0; i < bytes; i += 4096) {
        pages[i] = 1;
    }
    return (void *)at;
}
