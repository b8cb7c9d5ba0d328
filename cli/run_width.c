/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many workers fit: as many as there are processors for, unless the memory is too small for so
 * many processes of the size that an earlier run of the same command line had.
 *
 * That size is the resident size of the largest of its processes. It counts what processes share
 * with each other for each of them, so it errs on the side of fewer workers.
 */
#include "run.h"

#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { WIDTH_MAX = 4096, RUNS_MAX = 500, HISTORY_BYTES_MAX = 1 << 20, FORMAT = 1 };

/* --- what is remembered ---------------------------------------------------------------------- */

/*
 *  {"format": 1, "runs": {"93ab...": {"process_bytes_peak": 1, "seconds": 1700000000}, ...}}
 *
 * in RESOURCE_POOL_RUNS, else runs.json in the user's cache folder; "off": nothing is kept. A file
 * that is not like that is replaced.
 */
void run_history_find(char *path, size_t path_bytes) {
    const char *own = getenv("RESOURCE_POOL_RUNS");
    const char *history = getenv("RESOURCE_POOL_HISTORY");
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length = 0;
    path[0] = '\0';
    if (own ? strcmp(own, "off") == 0 || !own[0] : history && strcmp(history, "off") == 0) return;
    if (own) {
        length = snprintf(path, path_bytes, "%s", own);
    } else if (cache && cache[0] == '/') {
        length = snprintf(path, path_bytes, "%s/resourcepool/runs.json", cache);
    } else if (home && home[0] == '/') {
        length = snprintf(path, path_bytes, "%s/.cache/resourcepool/runs.json", home);
    }
    /* Beside it stand its lock and, for a moment, the next one. */
    if (length + 16 > (int)path_bytes) path[0] = '\0';
}

static json_t *empty_history(void) {
    return json_pack("{s:i, s:{}}", "format", FORMAT, "runs");
}

/* What the file holds; without a good one, nothing. */
static json_t *read_history(const char *path) {
    struct stat info;
    json_t *history = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
        info.st_size <= HISTORY_BYTES_MAX) {
        history = json_loadfd(file, JSON_REJECT_DUPLICATES, NULL);
    }
    if (file >= 0) close(file);
    if (history && json_integer_value(json_object_get(history, "format")) == FORMAT &&
        json_is_object(json_object_get(history, "runs"))) {
        return history;
    }
    json_decref(history);
    return empty_history();
}

/* The command line and the folder, each part with its length, so that ("a b") is not ("a", "b"). */
static bool name_run(char *const *command, char key[17]) {
    char *folder = getcwd(NULL, 0);
    XXH3_state_t *state = folder ? XXH3_createState() : NULL;
    bool is_named = state != NULL;
    if (is_named) {
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, folder, strlen(folder) + 1);
        for (; *command; command++) {
            XXH3_64bits_update(state, *command, strlen(*command) + 1);
        }
        snprintf(key, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(state));
    }
    XXH3_freeState(state);
    free(folder);
    return is_named;
}

void run_history_open(struct run_history *history, char *const *command) {
    *history = (struct run_history){.process_bytes_peak = RP_UNKNOWN_U64};
    run_history_find(history->path, sizeof history->path);
    if (history->path[0] && !name_run(command, history->key)) history->path[0] = '\0';
    if (!history->path[0]) return;
    json_t *known = read_history(history->path);
    const json_t *run = json_object_get(json_object_get(known, "runs"), history->key);
    json_int_t bytes = json_integer_value(json_object_get(run, "process_bytes_peak"));
    if (bytes > 0) history->process_bytes_peak = (uint64_t)bytes;
    json_decref(known);
}

static void forget_oldest(json_t *runs) {
    while (json_object_size(runs) > RUNS_MAX) {
        const char *oldest = NULL;
        json_int_t least = 0;
        const char *key;
        json_t *run;
        json_object_foreach(runs, key, run) {
            json_int_t seconds = json_integer_value(json_object_get(run, "seconds"));
            if (oldest && seconds >= least) continue;
            oldest = key;
            least = seconds;
        }
        json_object_del(runs, oldest);
    }
}

void run_make_folders(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *last = strrchr(folder, '/');
    if (!last || last == folder) return;
    *last = '\0';
    if (mkdir(folder, 0700) == 0 || errno != ENOENT) return;
    char *above = strrchr(folder, '/');
    if (!above || above == folder) return;
    *above = '\0';
    mkdir(folder, 0700);
    *above = '/';
    mkdir(folder, 0700);
}

/*
 * Read the file, change it, write it, while nobody else does, so that none undoes another; false
 * when nothing was to be written, or it could not be.
 */
static bool change_history(const char *path, bool (*change)(json_t *runs, void *user), void *user) {
    char lock[4096 + 8];
    bool is_written = false;
    snprintf(lock, sizeof lock, "%s.lock", path);
    int file = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return false;
    if (flock(file, LOCK_EX) == 0) {
        json_t *known = read_history(path);
        bool is_changed = change(json_object_get(known, "runs"), user);
        char *text = is_changed ? json_dumps(known, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
        rp_error err = RP_ERROR_INIT;
        is_written = text && run_file_write(path, text, strlen(text), &err) == RP_OK;
        free(text);
        json_decref(known);
    }
    close(file);
    return is_written;
}

struct added {
    const char *key;
    uint64_t process_bytes_peak;
};

static bool add_run(json_t *runs, void *user) {
    const struct added *added = user;
    json_object_set_new(runs, added->key,
                        json_pack("{s:I, s:I}", "process_bytes_peak",
                                  (json_int_t)added->process_bytes_peak, "seconds",
                                  (json_int_t)time(NULL)));
    forget_oldest(runs);
    return true;
}

void run_history_add(const struct run_history *history, uint64_t process_bytes_peak) {
    struct added added = {history->key, process_bytes_peak};
    if (!history->path[0] || process_bytes_peak == RP_UNKNOWN_U64) return;
    run_make_folders(history->path);
    /* A run is as good without being remembered. */
    (void)change_history(history->path, add_run, &added);
}

size_t run_history_count(const char *path) {
    json_t *known = read_history(path);
    size_t count = json_object_size(json_object_get(known, "runs"));
    json_decref(known);
    return count;
}

struct pruned {
    json_int_t oldest;
    size_t count;
};

static bool forget_old(json_t *runs, void *user) {
    struct pruned *pruned = user;
    const char *key;
    json_t *run;
    void *next;
    json_object_foreach_safe(runs, next, key, run) {
        if (json_integer_value(json_object_get(run, "seconds")) >= pruned->oldest) continue;
        json_object_del(runs, key);
        pruned->count++;
    }
    return pruned->count > 0;
}

size_t run_history_prune(const char *path, int64_t max_age_s) {
    struct pruned pruned = {(json_int_t)(time(NULL) - max_age_s), 0};
    return change_history(path, forget_old, &pruned) ? pruned.count : 0;
}

/* --- how many -------------------------------------------------------------------------------- */

struct machine {
    uint32_t processors;   /* RP_UNKNOWN_U32 */
    uint64_t usable_bytes; /* RP_UNKNOWN_U64 */
};

static struct machine look_at_machine(void) {
    struct machine machine = {RP_UNKNOWN_U32, RP_UNKNOWN_U64};
    const rp_snapshot *snapshot = NULL;
    if (rp_hardware_snapshot(&snapshot, NULL) != RP_OK) return machine;
    const rp_device *cpu = rp_snapshot_find_device(snapshot, "cpu");
    if (cpu) machine.usable_bytes = cpu->memory_bytes_free;
    if (cpu && cpu->cpu) machine.processors = cpu->cpu->affinity_count;
    rp_snapshot_release(snapshot);
    return machine;
}

static void choose(struct run_width *width, const struct run_history *history) {
    struct machine machine = look_at_machine();
    char source[96];
    double quota = rp_hardware_quota(NULL, source, sizeof source);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    long processors = machine.processors != RP_UNKNOWN_U32 ? (long)machine.processors : online;
    size_t used = 0;
    if (processors < 1) processors = 1;
    width->count = processors;
    used = (size_t)snprintf(width->why, sizeof width->why, "%ld processor%s allowed", processors,
                            processors == 1 ? "" : "s");
    if (quota >= 0 && ceil(quota) < (double)processors) {
        width->count = (long)ceil(quota);
        used += (size_t)snprintf(width->why + used, sizeof width->why - used,
                                 ", time for %.1f of them (%s)", quota, source);
    }
    if (history->process_bytes_peak == RP_UNKNOWN_U64 || machine.usable_bytes == RP_UNKNOWN_U64) {
        snprintf(width->why + used, sizeof width->why - used, "; %s",
                 history->process_bytes_peak == RP_UNKNOWN_U64
                     ? "the size of its processes is not known yet"
                     : "free memory is not known");
        return;
    }
    uint64_t room = machine.usable_bytes / history->process_bytes_peak;
    if (room < (uint64_t)width->count) width->count = room > 1 ? (long)room : 1;
    snprintf(width->why + used, sizeof width->why - used,
             "; %s free for processes of up to %s (an earlier run)",
             bytes_text(machine.usable_bytes), bytes_text(history->process_bytes_peak));
}

bool run_width_choose(struct run_width *width, const char *text,
                      const struct run_history *history) {
    *width = (struct run_width){0};
    if (!text) return true;
    if (strcmp(text, "auto") == 0) {
        choose(width, history);
    } else if (!parse_number("run", "n", text, 1, WIDTH_MAX, &width->count)) {
        return false;
    } else {
        snprintf(width->why, sizeof width->why, "as asked for");
    }
    if (width->count > WIDTH_MAX) width->count = WIDTH_MAX;
    return true;
}
