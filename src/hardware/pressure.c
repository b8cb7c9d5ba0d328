/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/pressure.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/cgroup.h"
#include "hardware/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Groups above a process: systemd nests five deep, containers in containers some more. */
enum { GROUPS_MAX = 24, FILE_BYTES = 16 << 10, PATH_BYTES = 2 * RP_LIMIT_NAME_BYTES + 64 };

#define SECOND_NS INT64_C(1000000000)

/* Stalls and processor time are shares of at least this long: PSI's own shortest window. */
#define WINDOW_NS (2 * SECOND_NS)

/* What version 1 writes for "no limit", and above. */
static const uint64_t no_limit_from = UINT64_C(0x7FFFFFFFFFFF0000);

/* One control group; descriptors are -1 when there is no such file. */
struct group {
    int version;
    char name[80]; /* the end of its path, for people */
    int limit;
    int high;
    int used;
    int stat;
    int events;
};

/* A counter and what it was two seconds ago or more. */
struct window {
    int64_t at_ns[2]; /* 0: not taken yet */
    uint64_t busy[2];
    uint64_t all[2];
};

struct rp_pressure {
    char *root;
    int meminfo;
    int statm;
    int cpu;
    int stalls;
    int own_groups; /* /proc/self/cgroup */
    int trigger;
    uint64_t groups_hash;
    int64_t looked_ns;
    struct group groups[GROUPS_MAX];
    size_t group_count;
    struct window stall_window;
    struct window cpu_window;
    char buffer[FILE_BYTES];
    char path[PATH_BYTES];
};

static int open_file(const char *root, const char *folder, const char *name, int flags) {
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s%s%s", root, folder, name);
    if (length < 0 || (size_t)length >= sizeof path) return -1;
    return open(path, flags | O_CLOEXEC);
}

static void close_file(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* The start of a file that is kept open; an empty span when it cannot be read. */
static struct rp_span read_file(struct rp_pressure *pressure, int fd) {
    ssize_t length = fd < 0 ? -1 : pread(fd, pressure->buffer, sizeof pressure->buffer - 1, 0);
    if (length < 0) length = 0;
    pressure->buffer[length] = '\0';
    return (struct rp_span){pressure->buffer, (size_t)length};
}

static uint64_t read_number(struct rp_pressure *pressure, int fd) {
    struct rp_span text = rp_span_trim(read_file(pressure, fd));
    uint64_t number;
    if (!rp_span_parse_u64(text, &number)) return RP_UNKNOWN_U64; /* "max" too */
    return number >= no_limit_from ? RP_UNKNOWN_U64 : number;
}

/* ---- groups ---- */

static void close_groups(struct rp_pressure *pressure) {
    for (size_t i = 0; i < pressure->group_count; i++) {
        struct group *group = &pressure->groups[i];
        close_file(&group->limit);
        close_file(&group->high);
        close_file(&group->used);
        close_file(&group->stat);
        close_file(&group->events);
    }
    pressure->group_count = 0;
    close_file(&pressure->trigger);
}

static void open_group(struct rp_pressure *pressure, const char *folder, const char *name,
                       int version) {
    if (pressure->group_count == GROUPS_MAX) return;
    struct group *group = &pressure->groups[pressure->group_count++];
    const char *root = pressure->root;
    bool is_v2 = version == 2;
    size_t length = strlen(name);
    size_t room = sizeof group->name - 1;
    *group = (struct group){.version = version};
    snprintf(group->name, sizeof group->name, "%s", length > room ? name + (length - room) : name);
    group->limit =
        open_file(root, folder, is_v2 ? "/memory.max" : "/memory.limit_in_bytes", O_RDONLY);
    group->high = is_v2 ? open_file(root, folder, "/memory.high", O_RDONLY) : -1;
    group->used =
        open_file(root, folder, is_v2 ? "/memory.current" : "/memory.usage_in_bytes", O_RDONLY);
    group->stat = open_file(root, folder, "/memory.stat", O_RDONLY);
    group->events =
        open_file(root, folder, is_v2 ? "/memory.events" : "/memory.oom_control", O_RDONLY);
}

/* The group of the process and those above it, in one mounted hierarchy. */
static void open_mount(struct rp_pressure *pressure, const struct rp_cgroup_mount *mount,
                       const char *below) {
    const char *point = strcmp(mount->point, "/") == 0 ? "" : mount->point;
    size_t point_length = strlen(point);
    snprintf(pressure->path, sizeof pressure->path, "%s%s", point, below);
    for (;;) {
        const char *name = pressure->path + point_length;
        open_group(pressure, pressure->path, *name ? name : "/", mount->version);
        if (strlen(pressure->path) <= point_length) return;
        *strrchr(pressure->path + point_length, '/') = '\0';
    }
}

static uint64_t hash_of(struct rp_span text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.length; i++) {
        hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Where the process stands now, if that changed. */
static void look_for_groups(struct rp_pressure *pressure) {
    uint64_t hash = hash_of(read_file(pressure, pressure->own_groups));
    if (hash == pressure->groups_hash) return;
    pressure->groups_hash = hash;
    close_groups(pressure);
    struct rp_proc_file groups = {0};
    struct rp_proc_file mounts = {0};
    struct rp_cgroup_mount *mount = rp_alloc(sizeof *mount);
    char *path = rp_alloc(RP_LIMIT_NAME_BYTES);
    bool is_read =
        mount && path &&
        rp_proc_file_read(&groups, pressure->root, "/proc/self/cgroup", NULL) == RP_OK &&
        rp_proc_file_read(&mounts, pressure->root, "/proc/self/mountinfo", NULL) == RP_OK;
    if (is_read && groups.bytes && mounts.bytes) {
        struct rp_span rest = {mounts.bytes, mounts.length};
        for (int i = 0; i < RP_LIMIT_CGROUP_MOUNTS && rp_cgroup_next_mount(&rest, mount); i++) {
            struct rp_span own = {groups.bytes, groups.length};
            if (!rp_cgroup_find_path(own, mount->version, path)) continue;
            const char *below = rp_cgroup_path_below(path, mount->root);
            if (below) open_mount(pressure, mount, below);
        }
    }
    rp_proc_file_fini(&groups);
    rp_proc_file_fini(&mounts);
    rp_free(mount);
    rp_free(path);
}

/* One group: its limit, what is used of it, and who was killed in it. */
static void read_group(struct rp_pressure *pressure, const struct group *group,
                       struct rp_pressure_reading *reading) {
    uint64_t kills = rp_proc_stat_value(read_file(pressure, group->events), "oom_kill");
    if (kills != RP_UNKNOWN_U64 &&
        (reading->oom_kills == RP_UNKNOWN_U64 || kills > reading->oom_kills))
        reading->oom_kills = kills;
    uint64_t limit = read_number(pressure, group->limit);
    uint64_t high = read_number(pressure, group->high);
    if (high < limit) limit = high;
    if (limit == RP_UNKNOWN_U64) return;
    if (limit < reading->bytes_total) reading->bytes_total = limit;
    uint64_t used = read_number(pressure, group->used);
    if (used == RP_UNKNOWN_U64) return;
    if (used > limit / 2) { /* far from the limit, what the kernel could drop does not matter */
        struct rp_span stat = read_file(pressure, group->stat);
        uint64_t inactive =
            rp_proc_stat_value(stat, group->version == 2 ? "inactive_file" : "total_inactive_file");
        if (inactive != RP_UNKNOWN_U64) used -= inactive < used ? inactive : used;
    }
    uint64_t room = limit > used ? limit - used : 0;
    if (room < reading->bytes_usable) reading->bytes_usable = room;
    uint64_t least = reading->group_bytes_limit == RP_UNKNOWN_U64
                         ? RP_UNKNOWN_U64
                         : reading->group_bytes_limit - reading->group_bytes_used;
    if (reading->group_bytes_limit != RP_UNKNOWN_U64 && room >= least) return;
    reading->group_bytes_limit = limit;
    reading->group_bytes_used = used < limit ? used : limit;
    snprintf(reading->group, sizeof reading->group, "cgroup v%d %s", group->version, group->name);
}

/* ---- shares of time ---- */

/* Busy per cent of all since a reading two seconds ago or more; below 0 until there is one. */
static double share(struct window *window, int64_t now_ns, uint64_t busy, uint64_t all) {
    if (window->at_ns[1] == 0 || now_ns - window->at_ns[1] >= WINDOW_NS ||
        now_ns < window->at_ns[1]) {
        window->at_ns[0] = window->at_ns[1];
        window->busy[0] = window->busy[1];
        window->all[0] = window->all[1];
        window->at_ns[1] = now_ns;
        window->busy[1] = busy;
        window->all[1] = all;
    }
    int base = window->at_ns[0] == 0 ? 1 : 0;
    if (busy < window->busy[base] || all <= window->all[base]) return -1;
    return 100.0 * (double)(busy - window->busy[base]) / (double)(all - window->all[base]);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234": microseconds. */
static uint64_t parse_stall(struct rp_span text) {
    struct rp_span line;
    struct rp_span word;
    while (rp_span_next_line(&text, &line)) {
        if (!rp_span_next_word(&line, " ", &word) || !rp_span_is(word, "some")) continue;
        while (rp_span_next_word(&line, " ", &word)) {
            uint64_t total;
            if (word.length <= 6 || memcmp(word.at, "total=", 6) != 0) continue;
            struct rp_span number = {word.at + 6, word.length - 6};
            return rp_span_parse_u64(number, &total) ? total : RP_UNKNOWN_U64;
        }
    }
    return RP_UNKNOWN_U64;
}

/* "cpu user nice system idle iowait irq softirq steal ...": ticks. */
static bool parse_cpu(struct rp_span text, uint64_t *busy, uint64_t *all) {
    struct rp_span line;
    struct rp_span word;
    *busy = *all = 0;
    if (!rp_span_next_line(&text, &line) || !rp_span_next_word(&line, " ", &word) ||
        !rp_span_is(word, "cpu")) {
        return false;
    }
    for (int field = 0; field < 8 && rp_span_next_word(&line, " ", &word); field++) {
        uint64_t ticks;
        if (!rp_span_parse_u64(word, &ticks) || ticks > UINT64_MAX / 16) return false;
        *all += ticks;
        if (field != 3 && field != 4) *busy += ticks;
    }
    return *all > 0;
}

/* "size resident shared ...": pages. What is resident and not of a file is anonymous. */
static uint64_t parse_statm(struct rp_span text) {
    uint64_t pages[3];
    struct rp_span word;
    for (int i = 0; i < 3; i++) {
        if (!rp_span_next_word(&text, " ", &word) || !rp_span_parse_u64(word, &pages[i])) {
            return RP_UNKNOWN_U64;
        }
    }
    if (pages[1] < pages[2] || pages[1] > UINT64_MAX >> 20) return RP_UNKNOWN_U64;
    return (pages[1] - pages[2]) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t rp_pressure_process_bytes(void) {
    char bytes[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return RP_UNKNOWN_U64;
    ssize_t length = read(fd, bytes, sizeof bytes);
    close(fd);
    return length <= 0 ? RP_UNKNOWN_U64 : parse_statm((struct rp_span){bytes, (size_t)length});
}

/* ---- reading ---- */

rp_status rp_pressure_open(const char *root, struct rp_pressure **out, rp_error *err) {
    struct rp_pressure *pressure = rp_alloc(sizeof *pressure);
    if (pressure) pressure->root = rp_strdup(root);
    if (!pressure || !pressure->root) {
        rp_free(pressure);
        return rp_fail(err, RP_ERR_MEMORY, "no memory to look at memory pressure");
    }
    pressure->trigger = -1;
    pressure->meminfo = open_file(root, "/proc", "/meminfo", O_RDONLY);
    pressure->statm = open_file(root, "/proc/self", "/statm", O_RDONLY);
    pressure->cpu = open_file(root, "/proc", "/stat", O_RDONLY);
    pressure->stalls = open_file(root, "/proc/pressure", "/memory", O_RDONLY);
    pressure->own_groups = open_file(root, "/proc/self", "/cgroup", O_RDONLY);
    *out = pressure;
    return RP_OK;
}

void rp_pressure_read(struct rp_pressure *pressure, struct rp_pressure_reading *reading) {
    int64_t now_ns = rp_clock_ns();
    *reading = (struct rp_pressure_reading){
        .at_ns = now_ns,
        .group_bytes_limit = RP_UNKNOWN_U64,
        .group_bytes_used = RP_UNKNOWN_U64,
        .oom_kills = RP_UNKNOWN_U64,
        .stall_percent = -1,
        .cpu_percent = -1,
    };
    struct rp_span text = read_file(pressure, pressure->meminfo);
    reading->machine_bytes_total = rp_proc_meminfo_bytes(text, "MemTotal");
    reading->machine_bytes_available = rp_proc_meminfo_bytes(text, "MemAvailable");
    reading->bytes_total = reading->machine_bytes_total;
    reading->bytes_usable = reading->machine_bytes_available;
    reading->process_bytes = parse_statm(read_file(pressure, pressure->statm));
    uint64_t stalled_us = parse_stall(read_file(pressure, pressure->stalls));
    if (stalled_us != RP_UNKNOWN_U64) {
        reading->stall_percent =
            share(&pressure->stall_window, now_ns, stalled_us, (uint64_t)now_ns / 1000);
    }
    uint64_t busy;
    uint64_t all;
    if (parse_cpu(read_file(pressure, pressure->cpu), &busy, &all)) {
        reading->cpu_percent = share(&pressure->cpu_window, now_ns, busy, all);
    }
    if (pressure->looked_ns == 0 || now_ns - pressure->looked_ns >= SECOND_NS) {
        pressure->looked_ns = now_ns;
        look_for_groups(pressure);
    }
    for (size_t i = 0; i < pressure->group_count; i++) {
        read_group(pressure, &pressure->groups[i], reading);
    }
}

int rp_pressure_trigger(struct rp_pressure *pressure) {
    static const char wanted[] = "some 150000 2000000";
    if (pressure->trigger >= 0) return pressure->trigger;
    int fd = open_file(pressure->root, "/proc/pressure", "/memory", O_RDWR | O_NONBLOCK);
    if (fd >= 0 && write(fd, wanted, sizeof wanted) < 0) close_file(&fd);
    pressure->trigger = fd;
    return fd;
}

void rp_pressure_close(struct rp_pressure *pressure) {
    if (!pressure) return;
    close_groups(pressure);
    close_file(&pressure->meminfo);
    close_file(&pressure->statm);
    close_file(&pressure->cpu);
    close_file(&pressure->stalls);
    close_file(&pressure->own_groups);
    close_file(&pressure->trigger);
    rp_free(pressure->root);
    rp_free(pressure);
}
