/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A meter of memory pressure.
 *
 * A meter keeps a few files open and pread()s them: to open and close each would double the cost.
 * Of the groups above the process it keeps its own (for the events) and each that has a limit.
 * Which these are is looked at anew once a second, and at once when a file answers ENODEV, as those
 * of a removed group do: limits are set and processes moved while they run. That look opens files
 * and may allocate; where it finds no memory, the groups known so far stay.
 *
 * Only file cache that was not used lately counts as room, as in cgroup.c: the kernel would drop
 * the other cache too, but of a process that maps its models this is the models.
 */
#include "hardware/pressure.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/cgroup.h"
#include "hardware/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A process is moved by people and service managers: a second late is early enough. */
#define LOOK_NS_MIN INT64_C(1000000000)

/* The kernel updates the stall times every 2 s; a longer window than its own average is stale. */
#define STALL_NS_MIN INT64_C(2000000000)
#define STALL_NS_MAX INT64_C(10000000000)

/* Ticks are 10 ms: a second makes the share of processors exact to 1 % for one of them. */
#define CPU_NS_MIN INT64_C(1000000000)

enum {
    PATH_BYTES = RP_LIMIT_NAME_BYTES + RP_CGROUP_FOLDER_BYTES + 64,
    NAME_BYTES = RP_CGROUP_FOLDER_BYTES + 64,
    SCRATCH_BYTES = 16 << 10, /* memory.stat is 2-4 kB, /proc/meminfo 1.5 kB */
};

/* Files of a group; which of them exist depends on the version. */
enum group_file { FILE_LIMIT, FILE_HIGH, FILE_USED, FILE_STAT, FILE_EVENTS, FILE_FAILURES, FILES };

static const struct {
    const char *name[2]; /* by version; NULL: version 1 or 2 has none */
} group_files[FILES] = {
    [FILE_LIMIT] = {{"memory.limit_in_bytes", "memory.max"}},
    [FILE_HIGH] = {{NULL, "memory.high"}},
    [FILE_USED] = {{"memory.usage_in_bytes", "memory.current"}},
    [FILE_STAT] = {{"memory.stat", "memory.stat"}},
    [FILE_EVENTS] = {{"memory.oom_control", "memory.events"}},
    [FILE_FAILURES] = {{"memory.failcnt", NULL}},
};

/* Counters of a group, and of all since the meter was opened. */
enum { COUNT_OOM, COUNT_KILLS, COUNT_HIGH, COUNTS };

/* The stall times of a group or of the machine. */
struct stall_meter {
    int fd;
    bool has_base;
    int64_t base_ns;
    struct rp_pressure_stall base;
    double some_percent;
    double full_percent;
};

struct group {
    char *folder; /* owned; without the root */
    char *name;   /* owned */
    char *name_above;
    int version;
    bool own;
    bool ignores_limit; /* version 1 without use_hierarchy: limits only its own processes */
    int fds[FILES];
    struct stall_meter stall;
    uint64_t counts[COUNTS]; /* as last read */
};

/* What one group says at one reading. */
struct level {
    uint64_t max;
    uint64_t high;
    uint64_t used;
    uint64_t reclaimable;
    uint64_t above; /* version 1: the least limit of the groups above, in sight or not */
};

struct rp_pressure {
    pid_t pid;
    uint64_t page_bytes;
    int meminfo_fd;
    int statm_fd;
    int cpu_fd;
    struct stall_meter stall;

    struct group groups[RP_LIMIT_PRESSURE_GROUPS];
    size_t group_count;
    const struct group *tightest; /* of the last reading; NULL: none has a limit */
    uint64_t counts[COUNTS];
    int64_t look_ns;
    bool must_look;     /* for lack of memory, or because this is another process now */
    bool group_is_gone; /* a file answered so: all are to be opened anew              */

    bool has_cpu_base;
    int64_t cpu_ns;
    uint64_t cpu_busy;
    uint64_t cpu_all;
    double cpu_percent;

    struct rp_proc_file mounts; /* read again only when the process was moved or a group is gone */
    size_t cgroup_length;
    char cgroup[SCRATCH_BYTES]; /* /proc/self/cgroup as of the last look */
    char scratch[SCRATCH_BYTES];
    char path[PATH_BYTES];
    struct rp_cgroup_mount mount;
    struct rp_cgroup_climb climb;
    char below[RP_LIMIT_NAME_BYTES];
    char root[RP_LIMIT_NAME_BYTES];
};

/* -- parsers ------------------------------------------------------------------------------- */

/* "avg10=12.34": at most 100.00, as the kernel writes it. */
static double parse_percent(struct rp_span text) {
    const char *point = text.length > 0 ? memchr(text.at, '.', text.length) : NULL;
    if (!point) return -1;
    struct rp_span whole = {text.at, (size_t)(point - text.at)};
    struct rp_span part = {point + 1, text.length - whole.length - 1};
    uint64_t units;
    uint64_t hundredths;
    if (!rp_span_parse_u64(whole, &units) || !rp_span_parse_u64(part, &hundredths)) return -1;
    if (part.length != 2 || units > 100) return -1;
    double percent = (double)units + (double)hundredths / 100;
    return percent <= 100 ? percent : -1;
}

/* Cut "key=" off a word. */
static bool cut_key(struct rp_span *word, const char *key) {
    size_t length = strlen(key);
    if (word->length < length || memcmp(word->at, key, length) != 0) return false;
    word->at += length;
    word->length -= length;
    return true;
}

void rp_pressure_parse_stall(struct rp_span text, struct rp_pressure_stall *stall) {
    *stall = (struct rp_pressure_stall){-1, -1, RP_UNKNOWN_U64, RP_UNKNOWN_U64};
    struct rp_span line;
    while (rp_span_next_line(&text, &line)) {
        struct rp_span word;
        if (!rp_span_next_word(&line, " ", &word)) continue;
        bool some = rp_span_is(word, "some");
        if (!some && !rp_span_is(word, "full")) continue;
        double percent = -1;
        uint64_t total = RP_UNKNOWN_U64;
        while (rp_span_next_word(&line, " ", &word)) {
            if (cut_key(&word, "avg10=")) {
                percent = parse_percent(word);
            } else if (cut_key(&word, "total=") && !rp_span_parse_u64(word, &total)) {
                total = RP_UNKNOWN_U64;
            }
        }
        *(some ? &stall->some_percent_10s : &stall->full_percent_10s) = percent;
        *(some ? &stall->some_us_total : &stall->full_us_total) = total;
    }
}

uint64_t rp_pressure_parse_statm(struct rp_span text, uint64_t page_bytes) {
    uint64_t pages[3]; /* size, resident, shared */
    struct rp_span word;
    text = rp_span_trim(text);
    for (size_t i = 0; i < 3; i++) {
        if (!rp_span_next_word(&text, " ", &word)) return RP_UNKNOWN_U64;
        if (!rp_span_parse_u64(word, &pages[i])) return RP_UNKNOWN_U64;
    }
    uint64_t bytes;
    if (pages[2] > pages[1]) return RP_UNKNOWN_U64;
    if (__builtin_mul_overflow(pages[1] - pages[2], page_bytes, &bytes)) return RP_UNKNOWN_U64;
    return bytes <= INT64_MAX ? bytes : RP_UNKNOWN_U64;
}

bool rp_pressure_parse_cpu(struct rp_span text, uint64_t *busy, uint64_t *all) {
    /* cpu user nice system idle iowait irq softirq steal, then guest times that are in user too */
    enum { IDLE = 3, IOWAIT = 4, FIELDS = 8 };
    struct rp_span line;
    struct rp_span word;
    uint64_t sum = 0;
    uint64_t idle = 0;
    if (!rp_span_next_line(&text, &line) || !rp_span_next_word(&line, " ", &word)) return false;
    if (!rp_span_is(word, "cpu")) return false;
    for (int i = 0; i < FIELDS; i++) {
        uint64_t ticks;
        if (!rp_span_next_word(&line, " ", &word)) return false;
        if (!rp_span_parse_u64(word, &ticks)) return false;
        if (__builtin_add_overflow(sum, ticks, &sum)) return false;
        if (i == IDLE || i == IOWAIT) idle += ticks;
    }
    *busy = sum - idle;
    *all = sum;
    return true;
}

/* -- files --------------------------------------------------------------------------------- */

static int open_below(struct rp_pressure *pressure, const char *folder, const char *name) {
    int length =
        snprintf(pressure->path, sizeof pressure->path, "%s%s%s", pressure->root, folder, name);
    if (length < 0 || (size_t)length >= sizeof pressure->path) return -1;
    return open(pressure->path, O_RDONLY | O_CLOEXEC);
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Up to SCRATCH_BYTES of a file, from its start. at == NULL: it could not be read. */
static struct rp_span read_start(struct rp_pressure *pressure, int fd, char *bytes) {
    size_t used = 0;
    while (fd >= 0 && used < SCRATCH_BYTES) {
        ssize_t got = pread(fd, bytes + used, SCRATCH_BYTES - used, (off_t)used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            /* The group was removed, or the process that the file is about has ended. */
            if (errno == ENODEV || errno == ESRCH) pressure->group_is_gone = true;
            return (struct rp_span){NULL, 0};
        }
        if (got == 0) break;
        used += (size_t)got;
        /* The kernel gives these files whole; a last read for the end of file is spared. */
        if (bytes[used - 1] == '\n') break;
    }
    return (struct rp_span){used > 0 ? bytes : NULL, used};
}

static struct rp_span read_fd(struct rp_pressure *pressure, int fd) {
    return read_start(pressure, fd, pressure->scratch);
}

static uint64_t read_figure(struct rp_pressure *pressure, int fd) {
    struct rp_span text = read_fd(pressure, fd);
    uint64_t value;
    return text.at && rp_cgroup_parse_figure(text, &value) ? value : RP_UNKNOWN_U64;
}

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b; /* unknown is the largest number */
}

/* -- groups -------------------------------------------------------------------------------- */

static void group_fini(struct group *group) {
    for (size_t i = 0; i < FILES; i++) {
        close_fd(&group->fds[i]);
    }
    close_fd(&group->stall.fd);
    rp_free(group->folder);
    rp_free(group->name);
    rp_free(group->name_above);
    group->folder = group->name = group->name_above = NULL;
}

static void read_level(struct rp_pressure *pressure, const struct group *group,
                       struct level *level) {
    level->max = read_figure(pressure, group->fds[FILE_LIMIT]);
    if (group->ignores_limit) level->max = RP_UNKNOWN_U64;
    level->high = read_figure(pressure, group->fds[FILE_HIGH]);
    level->used = level->reclaimable = level->above = RP_UNKNOWN_U64;
    bool may_be_above = group->version == 1 && group->own;
    if (lesser(level->max, level->high) == RP_UNKNOWN_U64 && !may_be_above) return;
    level->used = read_figure(pressure, group->fds[FILE_USED]);
    struct rp_span stat = read_fd(pressure, group->fds[FILE_STAT]);
    if (!stat.at) return;
    bool v1 = group->version == 1;
    level->reclaimable = rp_proc_stat_value(stat, v1 ? "total_inactive_file" : "inactive_file");
    if (!may_be_above) return;
    level->above = rp_cgroup_limit_of(rp_proc_stat_value(stat, "hierarchical_memory_limit"));
}

static uint64_t level_limit(const struct level *level) {
    return lesser(lesser(level->max, level->high), level->above);
}

/* used without what can be dropped, from the limit; unknown where either is. */
static uint64_t room_below(uint64_t limit, uint64_t used, uint64_t reclaimable) {
    if (limit == RP_UNKNOWN_U64 || used == RP_UNKNOWN_U64) return RP_UNKNOWN_U64;
    if (reclaimable != RP_UNKNOWN_U64) used -= lesser(reclaimable, used);
    return limit > used ? limit - used : 0;
}

/* What the events files say now; unknown for what is not told. */
static void read_counts(struct rp_pressure *pressure, const struct group *group,
                        uint64_t counts[COUNTS]) {
    for (size_t i = 0; i < COUNTS; i++) {
        counts[i] = RP_UNKNOWN_U64;
    }
    struct rp_span text = read_fd(pressure, group->fds[FILE_EVENTS]);
    if (text.at) {
        counts[COUNT_KILLS] = rp_proc_stat_value(text, "oom_kill");
        if (group->version == 2) {
            counts[COUNT_OOM] = rp_proc_stat_value(text, "oom");
            uint64_t high = rp_proc_stat_value(text, "high");
            uint64_t max = rp_proc_stat_value(text, "max");
            if (high != RP_UNKNOWN_U64 && max != RP_UNKNOWN_U64) counts[COUNT_HIGH] = high + max;
        }
    }
    if (group->version == 1) {
        counts[COUNT_HIGH] = read_figure(pressure, group->fds[FILE_FAILURES]);
    }
}

/*
 * Add what grew since the last reading. In version 2 a parent counts its children's events too, so
 * the largest growth stands for all; in version 1 each counts its own.
 */
static void add_growth(struct rp_pressure *pressure) {
    uint64_t growth[COUNTS] = {0};
    for (size_t i = 0; i < pressure->group_count; i++) {
        struct group *group = &pressure->groups[i];
        uint64_t now[COUNTS];
        read_counts(pressure, group, now);
        for (size_t j = 0; j < COUNTS; j++) {
            if (now[j] == RP_UNKNOWN_U64) continue;
            if (pressure->counts[j] == RP_UNKNOWN_U64) pressure->counts[j] = 0;
            uint64_t last = group->counts[j];
            /* A counter that was unknown or set back begins anew. */
            uint64_t grown = last != RP_UNKNOWN_U64 && now[j] > last ? now[j] - last : 0;
            if (group->version == 1) {
                growth[j] += grown;
            } else if (grown > growth[j]) {
                growth[j] = grown;
            }
            group->counts[j] = now[j];
        }
    }
    for (size_t j = 0; j < COUNTS; j++) {
        if (pressure->counts[j] != RP_UNKNOWN_U64) pressure->counts[j] += growth[j];
    }
}

/* -- which groups -------------------------------------------------------------------------- */

/* Version 1 before Linux 5.11: a parent without use_hierarchy does not limit its children. */
static bool ignores_limit(struct rp_pressure *pressure, const struct rp_cgroup_climb *climb) {
    if (climb->version != 1 || climb->own) return false;
    int fd = open_below(pressure, climb->folder, "/memory.use_hierarchy");
    bool ignores = read_figure(pressure, fd) == 0;
    close_fd(&fd);
    return ignores;
}

static char *name_of(const struct rp_cgroup_climb *climb, const char *mark) {
    char name[NAME_BYTES];
    int length = snprintf(name, sizeof name, "cgroup v%d %s%s", climb->version,
                          climb->group[0] ? climb->group : "/", mark);
    return length > 0 && (size_t)length < sizeof name ? rp_strdup(name) : NULL;
}

/* Open the group where the climb stands. False: no memory, *group holds nothing. */
static bool open_group(struct rp_pressure *pressure, struct group *group) {
    const struct rp_cgroup_climb *climb = &pressure->climb;
    *group = (struct group){
        .folder = rp_strdup(climb->folder),
        .name = name_of(climb, ""),
        .name_above = name_of(climb, " (above)"),
        .version = climb->version,
        .own = climb->own,
        .stall = {.fd = -1, .some_percent = -1, .full_percent = -1},
    };
    for (size_t i = 0; i < FILES; i++) {
        group->fds[i] = -1;
    }
    if (!group->folder || !group->name || !group->name_above) {
        group_fini(group);
        return false;
    }
    for (size_t i = 0; i < FILES; i++) {
        const char *name = group_files[i].name[climb->version - 1];
        char file[64];
        if (!name) continue;
        snprintf(file, sizeof file, "/%s", name);
        group->fds[i] = open_below(pressure, climb->folder, file);
    }
    if (climb->version == 2) {
        group->stall.fd = open_below(pressure, climb->folder, "/memory.pressure");
    }
    group->ignores_limit = ignores_limit(pressure, climb);
    read_counts(pressure, group, group->counts);
    return true;
}

/* Whether the group where the climb stands is worth its open files. */
static bool is_wanted(struct rp_pressure *pressure) {
    const struct rp_cgroup_climb *climb = &pressure->climb;
    if (climb->own) return true;
    int max_fd = open_below(pressure, climb->folder,
                            climb->version == 2 ? "/memory.max" : "/memory.limit_in_bytes");
    int high_fd = climb->version == 2 ? open_below(pressure, climb->folder, "/memory.high") : -1;
    uint64_t limit = lesser(read_figure(pressure, max_fd), read_figure(pressure, high_fd));
    close_fd(&max_fd);
    close_fd(&high_fd);
    return limit != RP_UNKNOWN_U64;
}

/* The group known from before, or a new one. False: no memory. */
static bool take_group(struct rp_pressure *pressure, struct group *old, size_t old_count) {
    struct group *next = &pressure->groups[pressure->group_count];
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i].folder || strcmp(old[i].folder, pressure->climb.folder) != 0) continue;
        if (old[i].version != pressure->climb.version || old[i].own != pressure->climb.own)
            continue;
        *next = old[i];
        old[i].folder = NULL; /* moved */
        pressure->group_count++;
        return true;
    }
    if (!open_group(pressure, next)) return false;
    pressure->group_count++;
    return true;
}

static bool climb_all(struct rp_pressure *pressure, struct group *old, size_t old_count) {
    struct rp_span cgroups = {pressure->cgroup, pressure->cgroup_length};
    struct rp_span mounts = {pressure->mounts.bytes, pressure->mounts.length};
    struct rp_cgroup_mount *mount = &pressure->mount;
    for (int i = 0; i < RP_LIMIT_CGROUP_MOUNTS && rp_cgroup_next_mount(&mounts, "memory", mount);
         i++) {
        if (!rp_cgroup_find_path(cgroups, mount->version, "memory", pressure->below)) continue;
        const char *below = rp_cgroup_path_below(pressure->below, mount->root);
        if (!below) continue;
        rp_cgroup_climb_start(&pressure->climb, mount, below);
        do {
            if (pressure->group_count == RP_LIMIT_PRESSURE_GROUPS) return true;
            if (is_wanted(pressure) && !take_group(pressure, old, old_count)) return false;
        } while (rp_cgroup_climb_up(&pressure->climb));
    }
    return true;
}

/* Find the groups above the process; those that stay keep their files. False: no memory. */
static bool find_groups(struct rp_pressure *pressure, bool drop_all) {
    struct group old[RP_LIMIT_PRESSURE_GROUPS];
    size_t old_count = pressure->group_count;
    memcpy(old, pressure->groups, old_count * sizeof old[0]);
    pressure->group_count = 0;
    pressure->tightest = NULL;
    if (drop_all) {
        for (size_t i = 0; i < old_count; i++) {
            group_fini(&old[i]);
        }
        old_count = 0;
    }
    bool complete = climb_all(pressure, old, old_count);
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i].folder) continue;
        /* Without memory for all of the new ones, the old ones are better than none. */
        if (!complete && pressure->group_count < RP_LIMIT_PRESSURE_GROUPS) {
            pressure->groups[pressure->group_count++] = old[i];
        } else {
            group_fini(&old[i]);
        }
    }
    return complete;
}

/* Look where the process stands. False: no memory, to be tried again. */
static bool look(struct rp_pressure *pressure, int64_t now_ns) {
    bool gone = pressure->group_is_gone;
    pressure->look_ns = now_ns;
    pressure->must_look = true; /* until all went well */
    pressure->group_is_gone = false;
    int fd = open_below(pressure, "", "/proc/self/cgroup");
    struct rp_span text = read_fd(pressure, fd);
    close_fd(&fd);
    bool moved = text.length != pressure->cgroup_length ||
                 (text.at && memcmp(text.at, pressure->cgroup, text.length) != 0);
    if (moved || gone || !pressure->mounts.bytes) {
        rp_proc_file_fini(&pressure->mounts);
        if (rp_proc_file_read(&pressure->mounts, pressure->root, "/proc/self/mountinfo", NULL) !=
            RP_OK) {
            return false;
        }
        if (text.at) memcpy(pressure->cgroup, text.at, text.length);
        pressure->cgroup_length = text.length;
    }
    bool complete = find_groups(pressure, gone);
    pressure->must_look = !complete;
    return complete;
}

/* -- the reading --------------------------------------------------------------------------- */

/* now - then, where neither a clock that stands still nor one that went back is time passed. */
static int64_t passed_ns(int64_t now_ns, int64_t then_ns) {
    int64_t passed;
    if (__builtin_sub_overflow(now_ns, then_ns, &passed)) return now_ns > then_ns ? INT64_MAX : 0;
    return passed > 0 ? passed : 0;
}

static double share_percent(uint64_t now_us, uint64_t then_us, int64_t window_ns) {
    if (now_us == RP_UNKNOWN_U64 || then_us == RP_UNKNOWN_U64 || now_us < then_us) return -1;
    double percent = 100.0 * (double)(now_us - then_us) * 1000.0 / (double)window_ns;
    return percent < 100 ? percent : 100;
}

static void stall_update(struct rp_pressure *pressure, struct stall_meter *meter, int64_t now_ns) {
    if (meter->fd < 0) return;
    if (meter->has_base && now_ns < meter->base_ns) meter->has_base = false;
    int64_t window_ns = meter->has_base ? passed_ns(now_ns, meter->base_ns) : 0;
    if (meter->has_base && window_ns < STALL_NS_MIN) return;
    struct rp_pressure_stall now;
    rp_pressure_parse_stall(read_fd(pressure, meter->fd), &now);
    meter->some_percent = meter->full_percent = -1;
    if (meter->has_base && window_ns <= STALL_NS_MAX) {
        meter->some_percent =
            share_percent(now.some_us_total, meter->base.some_us_total, window_ns);
        meter->full_percent =
            share_percent(now.full_us_total, meter->base.full_us_total, window_ns);
    }
    if (meter->some_percent < 0) meter->some_percent = now.some_percent_10s;
    if (meter->full_percent < 0) meter->full_percent = now.full_percent_10s;
    meter->has_base = true;
    meter->base_ns = now_ns;
    meter->base = now;
}

static void cpu_update(struct rp_pressure *pressure, int64_t now_ns) {
    if (pressure->cpu_fd < 0) return;
    if (pressure->has_cpu_base && now_ns < pressure->cpu_ns) pressure->has_cpu_base = false;
    if (pressure->has_cpu_base && passed_ns(now_ns, pressure->cpu_ns) < CPU_NS_MIN) return;
    uint64_t busy;
    uint64_t all;
    bool had_base = pressure->has_cpu_base;
    pressure->has_cpu_base =
        rp_pressure_parse_cpu(read_fd(pressure, pressure->cpu_fd), &busy, &all);
    pressure->cpu_percent = -1;
    if (!pressure->has_cpu_base) return;
    /* The kernel's idle time may go back by a tick. */
    if (had_base && all > pressure->cpu_all && busy >= pressure->cpu_busy) {
        double percent =
            100.0 * (double)(busy - pressure->cpu_busy) / (double)(all - pressure->cpu_all);
        pressure->cpu_percent = percent < 100 ? percent : 100;
    }
    pressure->cpu_ns = now_ns;
    pressure->cpu_busy = busy;
    pressure->cpu_all = all;
}

/* All groups' figures; the one with the least room goes into the reading. */
static void read_groups(struct rp_pressure *pressure, struct rp_pressure_reading *reading,
                        uint64_t *limit, bool *is_known) {
    uint64_t room_least = RP_UNKNOWN_U64;
    bool least_is_above = false;
    *limit = RP_UNKNOWN_U64;
    *is_known = true;
    pressure->tightest = NULL;
    for (size_t i = 0; i < pressure->group_count; i++) {
        const struct group *group = &pressure->groups[i];
        struct level level;
        read_level(pressure, group, &level);
        uint64_t own = lesser(level.max, level.high);
        uint64_t least = level_limit(&level);
        if (least == RP_UNKNOWN_U64) continue;
        uint64_t room = room_below(least, level.used, level.reclaimable);
        if (room == RP_UNKNOWN_U64) *is_known = false;
        *limit = lesser(*limit, least);
        /* Of equals, the group that the limit is of rather than the one that is told of it. */
        bool same_but_seen = room == room_least && least_is_above;
        if (pressure->tightest && room >= room_least && !same_but_seen) continue;
        room_least = room;
        least_is_above = level.above < own;
        pressure->tightest = group;
        reading->group = least_is_above ? group->name_above : group->name;
        reading->group_bytes_limit = lesser(level.max, level.above);
        reading->group_bytes_high = level.high;
        reading->group_bytes_used = level.used;
        reading->group_bytes_reclaimable = level.reclaimable;
    }
    add_growth(pressure);
}

static void read_all(struct rp_pressure *pressure, int64_t now_ns,
                     struct rp_pressure_reading *reading) {
    *reading = (struct rp_pressure_reading){
        .at_ns = now_ns,
        .machine_bytes_total = RP_UNKNOWN_U64,
        .machine_bytes_available = RP_UNKNOWN_U64,
        .group_bytes_limit = RP_UNKNOWN_U64,
        .group_bytes_high = RP_UNKNOWN_U64,
        .group_bytes_used = RP_UNKNOWN_U64,
        .group_bytes_reclaimable = RP_UNKNOWN_U64,
        .process_bytes_anonymous = RP_UNKNOWN_U64,
    };
    struct rp_span text = read_fd(pressure, pressure->meminfo_fd);
    if (text.at) {
        reading->machine_bytes_total = rp_proc_meminfo_bytes(text, "MemTotal:");
        reading->machine_bytes_available = rp_proc_meminfo_bytes(text, "MemAvailable:");
    }
    text = read_fd(pressure, pressure->statm_fd);
    if (text.at) {
        reading->process_bytes_anonymous = rp_pressure_parse_statm(text, pressure->page_bytes);
    }
    uint64_t limit;
    bool is_known;
    read_groups(pressure, reading, &limit, &is_known);
    reading->group_oom_events = pressure->counts[COUNT_OOM];
    reading->group_oom_kills = pressure->counts[COUNT_KILLS];
    reading->group_high_events = pressure->counts[COUNT_HIGH];
    reading->bytes_total = lesser(reading->machine_bytes_total, limit);
    uint64_t room = lesser(rp_pressure_group_bytes_room(reading), reading->bytes_total);
    is_known = is_known && reading->machine_bytes_available != RP_UNKNOWN_U64;
    reading->bytes_usable =
        is_known ? lesser(reading->machine_bytes_available, room) : RP_UNKNOWN_U64;
}

uint64_t rp_pressure_group_bytes_room(const struct rp_pressure_reading *reading) {
    return room_below(lesser(reading->group_bytes_limit, reading->group_bytes_high),
                      reading->group_bytes_used, reading->group_bytes_reclaimable);
}

/* The group's stall times where it tells them, else the machine's. */
static struct stall_meter *stall_of(struct rp_pressure *pressure) {
    for (size_t i = 0; i < pressure->group_count; i++) {
        struct group *group = &pressure->groups[i];
        if (group == pressure->tightest && group->stall.fd >= 0) return &group->stall;
    }
    return &pressure->stall;
}

void rp_pressure_read_at(struct rp_pressure *pressure, int64_t now_ns,
                         struct rp_pressure_reading *reading) {
    pid_t pid = getpid();
    if (pid != pressure->pid) {
        pressure->pid = pid;
        pressure->must_look = true;
        close_fd(&pressure->statm_fd);
        pressure->statm_fd = open_below(pressure, "", "/proc/self/statm");
    }
    if (pressure->must_look || pressure->group_is_gone || now_ns < pressure->look_ns ||
        passed_ns(now_ns, pressure->look_ns) >= LOOK_NS_MIN) {
        (void)look(pressure, now_ns);
    }
    read_all(pressure, now_ns, reading);
    /* A group went away just now: once more, with those that are there. */
    if (pressure->group_is_gone) {
        (void)look(pressure, now_ns);
        read_all(pressure, now_ns, reading);
    }
    struct stall_meter *stall = stall_of(pressure);
    stall_update(pressure, stall, now_ns);
    cpu_update(pressure, now_ns);
    reading->stall_some_percent = stall->some_percent;
    reading->stall_full_percent = stall->full_percent;
    reading->cpu_percent = pressure->cpu_percent;
}

void rp_pressure_read(struct rp_pressure *pressure, struct rp_pressure_reading *reading) {
    rp_pressure_read_at(pressure, rp_clock_ns(), reading);
}

/* -- the trigger --------------------------------------------------------------------------- */

rp_status rp_pressure_open_trigger(struct rp_pressure *pressure, int *descriptor, rp_error *err) {
    /* Without privileges the window must be a multiple of 2 s; 150 ms is 7.5 % of it. */
    static const char trigger[] = "some 150000 2000000";
    if (pressure->root[0]) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "a recorded machine reports no memory pressure");
    }
    struct rp_pressure_reading now;
    rp_pressure_read(pressure, &now);
    const struct group *group = pressure->tightest;
    bool has_group = group && group->stall.fd >= 0;
    const char *folder = has_group ? group->folder : "/proc/pressure";
    const char *name = has_group ? "/memory.pressure" : "/memory";
    snprintf(pressure->path, sizeof pressure->path, "%s%s", folder, name);
    int fd = open(pressure->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    /* The kernel wants the closing NUL too. */
    if (fd >= 0 && write(fd, trigger, sizeof trigger) == (ssize_t)sizeof trigger) {
        *descriptor = fd;
        return RP_OK;
    }
    int os_errno = errno;
    if (fd >= 0) close(fd);
    rp_fail(err, RP_ERR_UNSUPPORTED, "cannot be told of memory pressure: '%s': %s", pressure->path,
            strerrordesc_np(os_errno));
    if (err) err->os_errno = os_errno;
    if (os_errno == EPERM || os_errno == EACCES || os_errno == EINVAL) {
        rp_hint(err, "before Linux 6.5 this takes CAP_SYS_RESOURCE");
    }
    return RP_ERR_UNSUPPORTED;
}

/* -- open and close ------------------------------------------------------------------------ */

rp_status rp_pressure_open(const char *root, struct rp_pressure **out, rp_error *err) {
    if (strlen(root) >= RP_LIMIT_NAME_BYTES) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a root of %zu bytes is longer than any path",
                       strlen(root));
    }
    struct rp_pressure *pressure = rp_alloc(sizeof *pressure);
    if (!pressure) return rp_fail_no_memory(err);
    memcpy(pressure->root, root, strlen(root) + 1);
    long page_bytes = sysconf(_SC_PAGESIZE);
    pressure->pid = getpid();
    pressure->page_bytes = page_bytes > 0 ? (uint64_t)page_bytes : 4096;
    pressure->meminfo_fd = open_below(pressure, "", "/proc/meminfo");
    pressure->statm_fd = open_below(pressure, "", "/proc/self/statm");
    pressure->cpu_fd = open_below(pressure, "", "/proc/stat");
    pressure->stall = (struct stall_meter){
        .fd = open_below(pressure, "", "/proc/pressure/memory"),
        .some_percent = -1,
        .full_percent = -1,
    };
    pressure->cpu_percent = -1;
    for (size_t i = 0; i < COUNTS; i++) {
        pressure->counts[i] = RP_UNKNOWN_U64;
    }
    if (!look(pressure, rp_clock_ns())) {
        rp_pressure_close(pressure);
        return rp_fail_no_memory(err);
    }
    *out = pressure;
    return RP_OK;
}

void rp_pressure_close(struct rp_pressure *pressure) {
    if (!pressure) return;
    close_fd(&pressure->meminfo_fd);
    close_fd(&pressure->statm_fd);
    close_fd(&pressure->cpu_fd);
    close_fd(&pressure->stall.fd);
    for (size_t i = 0; i < pressure->group_count; i++) {
        group_fini(&pressure->groups[i]);
    }
    rp_proc_file_fini(&pressure->mounts);
    rp_free(pressure);
}
