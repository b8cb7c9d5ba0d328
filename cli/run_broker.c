/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker of a run: reached or started, told to the command by the environment, watched.
 *
 * Totals are asked for at each look; what the broker holds only when they moved, so that watching
 * an idle broker costs it one small answer.
 */
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STOP_MS = 5000, FAILURES_MAX = 64 };

enum { REQUESTS, HITS, LOADS, LOAD_FAILURES, EVICTIONS };

static const char *const total_names[] = {"requests", "hits", "loads", "load_failures",
                                          "evictions"};

/* What lies in the folder of a broker, to be removed with one of our own. */
static const char *const folder_files[] = {"broker.sock", "broker.lock", "broker.start",
                                           "broker.log"};

/* --- where ----------------------------------------------------------------------------------- */

static const char *set_text(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

/* The folder of the user's broker, as the library finds it. */
static void usual_folder(char *out, size_t out_bytes) {
    const char *own = set_text("RESOURCE_POOL_BROKER");
    const char *runtime = set_text("XDG_RUNTIME_DIR");
    if (own) {
        snprintf(out, out_bytes, "%s", own);
    } else if (runtime) {
        snprintf(out, out_bytes, "%s/resourcepool", runtime);
    } else {
        snprintf(out, out_bytes, "/tmp/resourcepool-%ld", (long)getuid());
    }
}

/* A folder for a broker of our own, below the usual one: 'rpool status --all' looks there. */
static rp_status make_folder(struct run_broker *broker, rp_error *err) {
    char above[FOLDER_BYTES];
    struct stat info;
    usual_folder(above, sizeof above);
    if (mkdir(above, 0700) != 0 && errno != EEXIST) {
        return rp_fail_errno(err, "cannot make the folder '%s' for a broker", above);
    }
    if (lstat(above, &info) != 0) return rp_fail_errno(err, "cannot look at '%s'", above);
    if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is not a folder of this user's alone", above);
    }
    int length =
        snprintf(broker->folder, sizeof broker->folder, "%s/run-%d-XXXXXX", above, (int)getpid());
    if (length >= (int)sizeof broker->folder) {
        broker->folder[0] = '\0';
        return rp_fail(err, RP_ERR_LIMIT, "'%s' is too long for the folder of a broker", above);
    }
    if (mkdtemp(broker->folder)) return RP_OK;
    rp_status status = rp_fail_errno(err, "cannot make a folder in '%s'", above);
    broker->folder[0] = '\0';
    return status;
}

static void remove_folder(struct run_broker *broker) {
    char path[FOLDER_BYTES + 32];
    if (!broker->folder[0]) return;
    for (size_t i = 0; i < sizeof folder_files / sizeof folder_files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", broker->folder, folder_files[i]);
        unlink(path);
    }
    rmdir(broker->folder);
}

/* --- what failed ----------------------------------------------------------------------------- */

/* The log of a broker that a client started; one that somebody runs in a terminal has none. */
static FILE *open_log(const struct run_broker *broker) {
    char path[FOLDER_BYTES + 16];
    char folder[FOLDER_BYTES];
    usual_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/broker.log", broker->folder[0] ? broker->folder : folder);
    return fopen(path, "re");
}

static void note_log_end(struct run_broker *broker) {
    FILE *log = open_log(broker);
    if (log && fseek(log, 0, SEEK_END) == 0) broker->log_offset = ftell(log);
    if (log) fclose(log);
}

static bool has_reason(const json_t *failures, const char *reason) {
    size_t i;
    const json_t *row;
    json_array_foreach(failures, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "reason")), reason) == 0) return true;
    }
    return false;
}

/* The reasons stand in the broker's log, in its words; each once, however often it was met. */
static void find_failures(struct run_broker *broker) {
    static const char event[] = "event=not_leased ";
    char line[1024];
    FILE *log = broker->counts.load_failures > 0 ? open_log(broker) : NULL;
    /* Shorter than it was: it has begun anew. */
    if (log && fseek(log, 0, SEEK_END) == 0 && ftell(log) < broker->log_offset) {
        broker->log_offset = 0;
    }
    if (log && fseek(log, broker->log_offset, SEEK_SET) == 0) {
        while (fgets(line, sizeof line, log) && json_array_size(broker->failures) < FAILURES_MAX) {
            char *reason = strstr(line, event);
            if (!reason) continue;
            reason += sizeof event - 1;
            reason[strcspn(reason, "\n")] = '\0';
            if (has_reason(broker->failures, reason)) continue;
            json_t *row = json_pack("{s:s}", "reason", reason);
            if (row) json_array_append_new(broker->failures, row);
        }
    }
    if (log) fclose(log);
    if (broker->counts.load_failures == 0 || json_array_size(broker->failures) > 0) return;
    json_array_append_new(broker->failures,
                          json_pack("{s:s}", "reason", "the broker keeps no log that says why"));
}

/* --- open ------------------------------------------------------------------------------------ */

static void name_run(struct run_broker *broker) {
    const char *outer = set_text("RESOURCE_POOL_RUN");
    struct timespec now;
    broker->is_nested = outer && strlen(outer) < sizeof broker->id;
    if (broker->is_nested) {
        snprintf(broker->id, sizeof broker->id, "%s", outer);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(broker->id, sizeof broker->id, "%d-%llx", (int)getpid(),
             (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec);
}

/* A budget is the same text for a pool in this process, which knows what is wrong with it. */
static rp_status check_budget(const char *budget, rp_error *err) {
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_pool *pool = NULL;
    options.budget = budget;
    options.share = RP_SHARE_PROCESS;
    rp_status status = rp_pool_open(&options, &pool, err);
    rp_pool_close(pool, NULL);
    return status;
}

static rp_status reach(struct run_broker *broker, const char *budget, rp_error *err) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = broker->folder[0] ? broker->folder : NULL;
    if (broker->kind == RUN_BROKER_SHARED) {
        options.no_start = true;
        rp_status status = rp_machine_open(&options, &broker->machine, err);
        broker->was_running = status == RP_OK;
        if (status != RP_ERR_ABSENT) return status;
        options.no_start = false;
    }
    /* The one that is started takes its budget from the environment. */
    const char *outer = getenv("RESOURCE_POOL_BUDGET");
    char *before = outer ? strdup(outer) : NULL;
    if (budget) setenv("RESOURCE_POOL_BUDGET", budget, 1);
    rp_status status = rp_machine_open(&options, &broker->machine, err);
    if (budget && broker->kind == RUN_BROKER_SHARED) {
        if (before) setenv("RESOURCE_POOL_BUDGET", before, 1);
        if (!before) unsetenv("RESOURCE_POOL_BUDGET");
    }
    free(before);
    return status;
}

/* What the processes of the command read. */
static void set_environment(const struct run_broker *broker) {
    bool is_alone = broker->kind == RUN_BROKER_NONE;
    char folder[FOLDER_BYTES];
    usual_folder(folder, sizeof folder);
    setenv("RESOURCE_POOL_RUN", broker->id, 1);
    setenv("RESOURCE_POOL_SHARE", is_alone ? "process" : "machine", 1);
    if (!is_alone) {
        setenv("RESOURCE_POOL_BROKER", broker->folder[0] ? broker->folder : folder, 1);
    }
}

rp_status run_broker_open(struct run_broker *broker, const struct run_broker_wish *wish,
                          rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_OK;
    *broker = (struct run_broker){.kind = RUN_BROKER_NONE};
    name_run(broker);
    if (wish->budget) status = check_budget(wish->budget, err);
    if (status != RP_OK) return status;
    if (!wish->is_alone) {
        broker->kind = wish->is_isolated ? RUN_BROKER_ISOLATED : RUN_BROKER_SHARED;
        if (wish->is_isolated) status = make_folder(broker, &why);
        if (status == RP_OK) status = reach(broker, wish->budget, &why);
        if (status != RP_OK) {
            snprintf(broker->why, sizeof broker->why,
                     "no broker, so each process loads for itself: %s", why.message);
            remove_folder(broker);
            broker->folder[0] = '\0';
            broker->kind = RUN_BROKER_NONE;
        } else if (wish->budget && broker->was_running) {
            snprintf(broker->why, sizeof broker->why,
                     "the broker that runs already keeps its own budget; '--isolated' has one of "
                     "its own");
        }
    }
    set_environment(broker);
    broker->entries = json_object();
    broker->failures = json_array();
    broker->leaked = json_array();
    broker->counts.peak_bytes = broker->machine ? 0 : RP_UNKNOWN_U64;
    if (!broker->machine) return RP_OK;
    run_broker_look(broker);
    /* What was before is the ground to count from. */
    uint64_t memory_bytes = broker->counts.memory_bytes;
    broker->counts = (struct run_counts){.memory_bytes = memory_bytes, .peak_bytes = memory_bytes};
    note_log_end(broker);
    return RP_OK;
}

/* --- look ------------------------------------------------------------------------------------ */

static uint64_t whole(const json_t *object, const char *name) {
    json_int_t number = json_integer_value(json_object_get(object, name));
    return number > 0 ? (uint64_t)number : 0;
}

static void count_totals(struct run_broker *broker, const json_t *totals, bool is_other) {
    struct run_counts *counts = &broker->counts;
    uint64_t *const sums[] = {NULL, &counts->hits, &counts->loads, &counts->load_failures,
                              &counts->evictions};
    for (size_t i = 0; i < sizeof total_names / sizeof total_names[0]; i++) {
        json_int_t now = json_integer_value(json_object_get(totals, total_names[i]));
        json_int_t before = is_other ? 0 : broker->totals[i];
        if (sums[i] && now > before) *sums[i] += (uint64_t)(now - before);
        broker->totals[i] = now;
    }
    counts->leases = counts->hits + counts->loads - counts->load_failures;
    counts->entry_count = whole(totals, "entries");
    counts->open_leases = whole(totals, "leases");
    counts->waiter_count = whole(totals, "waiters");
    counts->memory_bytes = whole(totals, "memory_bytes");
    if (counts->memory_bytes > counts->peak_bytes) counts->peak_bytes = counts->memory_bytes;
    uint64_t peak_bytes = whole(totals, "peak_bytes");
    if (broker->kind == RUN_BROKER_ISOLATED && peak_bytes > counts->peak_bytes) {
        counts->peak_bytes = peak_bytes;
    }
}

/* How many processes hold a lease on that object. */
static size_t holder_count(const json_t *leases, const char *key) {
    size_t count = 0;
    size_t i;
    const json_t *lease;
    json_array_foreach(leases, i, lease) {
        const char *its_key = json_string_value(json_object_get(lease, "key"));
        json_int_t pid = json_integer_value(json_object_get(lease, "pid"));
        bool is_new = its_key && strcmp(its_key, key) == 0;
        for (size_t j = 0; j < i && is_new; j++) {
            const json_t *other = json_array_get(leases, j);
            const char *other_key = json_string_value(json_object_get(other, "key"));
            is_new = !(other_key && strcmp(other_key, key) == 0 &&
                       json_integer_value(json_object_get(other, "pid")) == pid);
        }
        count += is_new;
    }
    return count;
}

/*
 * What it spares: time for each hit, since without the broker that process would have loaded; and
 * bytes as long as more than one process holds an object, which then would be there as often.
 */
static void count_savings(struct run_broker *broker, const json_t *status) {
    const json_t *leases = json_object_get(status, "leases");
    json_t *seen = json_object();
    uint64_t saved_bytes = 0;
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(status, "entries"), i, entry) {
        const char *key = json_string_value(json_object_get(entry, "key"));
        if (!key) continue;
        uint64_t hits = whole(entry, "hits");
        uint64_t before = whole(broker->entries, key);
        double load_ms = json_number_value(json_object_get(entry, "load_ms"));
        /* Fewer than before: it went and was loaded again. */
        uint64_t fresh = hits >= before ? hits - before : hits;
        if (load_ms > 0) broker->counts.saved_ms += (double)fresh * load_ms;
        size_t holders = holder_count(leases, key);
        if (holders > 1) saved_bytes += whole(entry, "memory_bytes") * (holders - 1);
        json_object_set_new(seen, key, json_integer((json_int_t)hits));
    }
    if (saved_bytes > broker->counts.saved_bytes) broker->counts.saved_bytes = saved_bytes;
    json_decref(broker->entries);
    broker->entries = seen;
}

/* What an answer says; NULL when there is none. */
static json_t *ask_status(const struct run_broker *broker) {
    char *text = NULL;
    if (!broker->machine) return NULL;
    if (rp_machine_status(broker->machine, false, &text, NULL) != RP_OK) return NULL;
    json_t *status = json_loads(text, 0, NULL);
    rp_string_free(text);
    return status;
}

static json_t *ask_stats(const struct run_broker *broker) {
    char *text = NULL;
    if (!broker->machine) return NULL;
    if (rp_machine_stats(broker->machine, &text, NULL) != RP_OK) return NULL;
    json_t *stats = json_loads(text, 0, NULL);
    rp_string_free(text);
    return stats;
}

/* The totals. A broker that ended is looked for again: a client may have started the next. */
static json_t *ask_totals(struct run_broker *broker) {
    json_t *totals = ask_stats(broker);
    if (totals) return totals;
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = broker->folder[0] ? broker->folder : NULL;
    options.no_start = true;
    rp_machine_close(broker->machine);
    broker->machine = NULL;
    if (rp_machine_open(&options, &broker->machine, NULL) != RP_OK) return NULL;
    return ask_stats(broker);
}

void run_broker_look(struct run_broker *broker) {
    if (broker->kind == RUN_BROKER_NONE) return;
    json_t *totals = ask_totals(broker);
    if (!totals) return;
    json_int_t pid = json_integer_value(json_object_get(totals, "pid"));
    bool is_other = pid != broker->pid;
    json_int_t requests = json_integer_value(json_object_get(totals, "requests"));
    uint64_t leases = whole(totals, "leases");
    bool has_moved =
        is_other || requests != broker->totals[REQUESTS] || leases != broker->counts.open_leases;
    broker->pid = pid;
    count_totals(broker, totals, is_other);
    json_decref(totals);
    if (is_other) json_object_clear(broker->entries);
    if (!has_moved) return;
    json_t *status = ask_status(broker);
    if (status) count_savings(broker, status);
    json_decref(status);
}

/* --- close ----------------------------------------------------------------------------------- */

/* Leases of processes that are no more, which their broker should have taken back. */
static void find_leaked(struct run_broker *broker) {
    json_t *status = ask_status(broker);
    size_t i;
    json_t *lease;
    json_array_foreach(json_object_get(status, "leases"), i, lease) {
        json_int_t pid = json_integer_value(json_object_get(lease, "pid"));
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            json_array_append(broker->leaked, lease);
        }
    }
    json_decref(status);
}

/* A broker of our own ends with the run, whoever holds what; and is seen to be gone. */
static void stop_own(struct run_broker *broker) {
    int process = broker->pid > 0 ? pidfd_open((pid_t)broker->pid, 0) : -1;
    if (broker->machine && rp_machine_stop(broker->machine, true, NULL) != RP_OK && process >= 0) {
        pidfd_send_signal(process, SIGTERM, NULL, 0);
    }
    if (process >= 0) {
        struct pollfd end = {.fd = process, .events = POLLIN};
        if (poll(&end, 1, STOP_MS) == 0) pidfd_send_signal(process, SIGKILL, NULL, 0);
        close(process);
    }
    rp_machine_close(broker->machine);
    broker->machine = NULL;
    remove_folder(broker);
}

void run_broker_close(struct run_broker *broker) {
    run_broker_look(broker);
    find_leaked(broker);
    find_failures(broker);
    if (broker->kind == RUN_BROKER_ISOLATED) stop_own(broker);
    rp_machine_close(broker->machine);
    broker->machine = NULL;
}

void run_broker_fini(struct run_broker *broker) {
    json_decref(broker->entries);
    json_decref(broker->failures);
    json_decref(broker->leaked);
}
