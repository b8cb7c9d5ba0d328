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
#include <time.h>
#include <unistd.h>

enum { STOP_MS = 5000, FAILURES_MAX = 64, LEAKS_MAX = 64, PROCESSES_KEPT_MS = 1000 };

/*
 * A look takes microseconds. While it waits, signals are not passed on, so a broker that does not
 * answer is left alone for a while.
 */
enum { ANSWER_MS = 2000, SILENCE_MS = 10000 };

enum { REQUESTS, HITS, LOADS, LOAD_FAILURES, EVICTIONS, RESERVATIONS };

static const char *const total_names[] = {"requests",      "hits",      "loads",
                                          "load_failures", "evictions", "reservations"};

/* --- where ----------------------------------------------------------------------------------- */

static const char *set_text(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static void remove_folder(struct run_broker *broker) {
    if (broker->folder[0]) isolated_remove(broker->folder, broker->folder_lock);
    broker->folder[0] = '\0';
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

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The one that runs, for looks. */
static rp_status reach_again(struct run_broker *broker, rp_error *err) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = broker->folder[0] ? broker->folder : NULL;
    options.no_start = true;
    options.timeout_ms = ANSWER_MS;
    broker->machine = NULL;
    return rp_machine_open(&options, &broker->machine, err);
}

/* A broker may take long to start, hence the first way; one that runs answers at once. */
static rp_status look_quickly(struct run_broker *broker, rp_error *err) {
    rp_machine *patient = broker->machine;
    rp_status status = reach_again(broker, err);
    rp_machine_close(patient);
    return status;
}

static rp_status reach(struct run_broker *broker, const char *budget, rp_error *err) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = broker->folder[0] ? broker->folder : NULL;
    if (broker->kind == RUN_BROKER_SHARED) {
        options.no_start = true;
        rp_status status = rp_machine_open(&options, &broker->machine, err);
        broker->was_running = status == RP_OK;
        options.no_start = false;
        if (status == RP_OK) return look_quickly(broker, err);
        if (status != RP_ERR_ABSENT) return status;
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
    return status == RP_OK ? look_quickly(broker, err) : status;
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
        isolated_tidy();
        if (wish->is_isolated) {
            status = isolated_make(broker->folder, &broker->folder_lock, &why);
        }
        if (status == RP_OK) status = reach(broker, wish->budget, &why);
        if (status != RP_OK) {
            snprintf(broker->why, sizeof broker->why,
                     "no broker, so each process loads for itself: %s", why.message);
            remove_folder(broker);
            broker->kind = RUN_BROKER_NONE;
        } else if (wish->budget && broker->was_running) {
            snprintf(broker->why, sizeof broker->why,
                     "the broker that runs already keeps its own budget; '--isolated' has one of "
                     "its own");
        }
    }
    set_environment(broker);
    broker->entries = json_object();
    broker->processes = json_object();
    broker->failures = json_array();
    broker->failure_counts = json_object();
    broker->leaked = json_array();
    broker->counts.peak_bytes = broker->machine ? 0 : RP_UNKNOWN_U64;
    if (!broker->machine) return RP_OK;
    run_broker_look(broker);
    /* What was before is the ground to count from. */
    uint64_t memory_bytes = broker->counts.memory_bytes;
    broker->counts = (struct run_counts){.memory_bytes = memory_bytes, .peak_bytes = memory_bytes};
    json_array_clear(broker->failures);
    json_array_clear(broker->leaked);
    return RP_OK;
}

/* --- look ------------------------------------------------------------------------------------ */

static uint64_t whole(const json_t *object, const char *name) {
    json_int_t number = json_integer_value(json_object_get(object, name));
    return number > 0 ? (uint64_t)number : 0;
}

static void count_totals(struct run_broker *broker, const json_t *totals, bool is_other) {
    struct run_counts *counts = &broker->counts;
    uint64_t *const sums[] = {NULL,
                              &counts->hits,
                              &counts->loads,
                              &counts->load_failures,
                              &counts->evictions,
                              &counts->reservations};
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

/* --- what was spared ------------------------------------------------------------------------- */

/* What a process has that no file has: its anonymous memory, as the kernel sums it up. */
static uint64_t read_anonymous(json_int_t pid) {
    static const char field[] = "Anonymous:";
    char path[64];
    char line[256];
    unsigned long long kib = 0;
    bool is_found = false;
    snprintf(path, sizeof path, "/proc/%lld/smaps_rollup", (long long)pid);
    FILE *file = fopen(path, "re");
    while (file && !is_found && fgets(line, sizeof line, file)) {
        if (strncmp(line, field, sizeof field - 1) != 0) continue;
        char *end;
        kib = strtoull(line + sizeof field - 1, &end, 10);
        is_found = strncmp(end, " kB", 3) == 0;
    }
    if (file) fclose(file);
    return is_found ? kib * 1024 : RP_UNKNOWN_U64;
}

/* The same, not more than once a second: the kernel walks all pages of the process for it. */
static uint64_t anonymous_bytes(struct run_broker *broker, json_int_t pid) {
    char name[24];
    int64_t time_ns = now_ns();
    if (time_ns - broker->processes_ns > PROCESSES_KEPT_MS * INT64_C(1000000)) {
        json_object_clear(broker->processes);
        broker->processes_ns = time_ns;
    }
    snprintf(name, sizeof name, "%lld", (long long)pid);
    const json_t *known = json_object_get(broker->processes, name);
    if (known) return (uint64_t)json_integer_value(known);
    uint64_t bytes = read_anonymous(pid);
    if (bytes != RP_UNKNOWN_U64) {
        json_object_set_new(broker->processes, name, json_integer((json_int_t)bytes));
    }
    return bytes;
}

/* What all entries of that process say they take. */
static uint64_t bytes_in_process(const json_t *entries, json_int_t pid) {
    uint64_t sum = 0;
    size_t i;
    const json_t *entry;
    json_array_foreach(entries, i, entry) {
        if (json_integer_value(json_object_get(entry, "process")) != pid) continue;
        sum += whole(entry, "memory_bytes");
    }
    return sum;
}

/* Whether its bytes are there once, whoever attaches them, and would be a process's own otherwise.
 */
static bool is_attached(const json_t *entry) {
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const char *type = json_string_value(json_object_get(entry, "type"));
    return kind && type && strcmp(kind, "resource") == 0 && strcmp(type, "object") == 0;
}

/*
 * What one more process with that object would have had for itself. Pages of files (weights that
 * are mapped) it would have shared with the others without a broker too, so on a processor that is
 * the worker's anonymous memory, and no more than the object's bytes: a process that loads it for
 * itself has its heap and its libraries anyway. On a device nothing is shared. RP_UNKNOWN_U64: not
 * told.
 */
static uint64_t private_bytes(struct run_broker *broker, const json_t *entries,
                              const json_t *entry) {
    const char *device =
        json_string_value(json_object_get(json_object_get(entry, "placement"), "device"));
    json_int_t pid = json_integer_value(json_object_get(entry, "process"));
    uint64_t bytes = whole(entry, "memory_bytes");
    if ((device && strcmp(device, "cpu") != 0) || is_attached(entry)) return bytes;
    uint64_t anonymous = pid > 0 ? anonymous_bytes(broker, pid) : RP_UNKNOWN_U64;
    if (anonymous == RP_UNKNOWN_U64) return RP_UNKNOWN_U64;
    uint64_t all = bytes_in_process(entries, pid);
    if (all > bytes) anonymous = (uint64_t)((double)anonymous * ((double)bytes / (double)all));
    return anonymous < bytes ? anonymous : bytes;
}

/*
 * What it spares: time for each hit, since without the broker that process would have loaded; and
 * bytes as long as more than one process holds an object, which then would be there as often.
 */
static void count_savings(struct run_broker *broker, const json_t *status) {
    json_t *leases = json_array();
    const json_t *entries = json_object_get(status, "entries");
    struct run_counts *counts = &broker->counts;
    json_t *seen = json_object();
    uint64_t saved_bytes = 0;
    bool is_known = true;
    size_t i;
    const json_t *entry;
    json_array_extend(leases, json_object_get(status, "leases"));
    json_array_extend(leases, json_object_get(json_object_get(status, "objects"), "leases"));
    json_array_foreach(entries, i, entry) {
        const char *key = json_string_value(json_object_get(entry, "key"));
        if (!key) continue;
        uint64_t hits = whole(entry, "hits");
        uint64_t before = whole(broker->entries, key);
        double load_ms = json_number_value(json_object_get(entry, "load_ms"));
        /* Fewer than before: it went and was loaded again. */
        uint64_t fresh = hits >= before ? hits - before : hits;
        if (load_ms > 0) counts->saved_ms += (double)fresh * load_ms;
        json_object_set_new(seen, key, json_integer((json_int_t)hits));
        size_t holders = holder_count(leases, key);
        if (holders <= 1) continue;
        uint64_t bytes = private_bytes(broker, entries, entry);
        if (bytes == RP_UNKNOWN_U64) {
            is_known = false;
        } else {
            saved_bytes += bytes * (holders - 1);
        }
    }
    if (saved_bytes > 0 &&
        (counts->saved_bytes == RP_UNKNOWN_U64 || saved_bytes > counts->saved_bytes)) {
        counts->saved_bytes = saved_bytes;
    } else if (!is_known && counts->saved_bytes == 0) {
        counts->saved_bytes = RP_UNKNOWN_U64;
    }
    json_decref(leases);
    json_decref(broker->entries);
    broker->entries = seen;
}

/* --- what went wrong ------------------------------------------------------------------------- */

static json_t *find_reason(const json_t *failures, const char *reason) {
    size_t i;
    json_t *row;
    json_array_foreach(failures, i, row) {
        const char *known = json_string_value(json_object_get(row, "reason"));
        if (known && strcmp(known, reason) == 0) return row;
    }
    return NULL;
}

/* Rows that are newer than *number, to `take`. */
static void take_new(struct run_broker *broker, const json_t *rows, json_int_t *number,
                     void (*take)(struct run_broker *broker, json_t *row)) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        json_int_t its = json_integer_value(json_object_get(row, "number"));
        if (its <= *number) continue;
        *number = its;
        take(broker, row);
    }
}

/* Each reason once, with how often it was met. */
static void take_failure(struct run_broker *broker, const json_t *row, json_int_t times) {
    static const char *const parts[] = {"name",       "status", "device",        "category",
                                        "confidence", "line",   "recommendation"};
    const char *reason = json_string_value(json_object_get(row, "message"));
    json_t *known = reason ? find_reason(broker->failures, reason) : NULL;
    if (known) {
        times += json_integer_value(json_object_get(known, "count"));
        json_object_set_new(known, "count", json_integer(times));
    }
    if (!reason || known || json_array_size(broker->failures) >= FAILURES_MAX) return;
    json_t *copy = json_pack("{s:s}", "reason", reason);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        json_t *part = json_object_get(row, parts[i]);
        json_object_set(copy, parts[i], part ? part : json_null());
    }
    json_object_set_new(copy, "count", json_integer(times));
    json_array_append_new(broker->failures, copy);
}

/* A row stays while the same happens again, and counts it: what it had at the last look is known.
 */
static void take_failures(struct run_broker *broker, const json_t *rows) {
    json_t *counts = json_object();
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        char number[24];
        json_int_t its = json_integer_value(json_object_get(row, "number"));
        json_int_t count = json_integer_value(json_object_get(row, "count"));
        snprintf(number, sizeof number, "%lld", (long long)its);
        if (count == 0) count = 1;
        const json_t *before = json_object_get(broker->failure_counts, number);
        json_int_t times = count - json_integer_value(before);
        if (times > 0) take_failure(broker, row, times);
        if (its > broker->failure_number) broker->failure_number = its;
        json_object_set_new(counts, number, json_integer(count));
    }
    json_decref(broker->failure_counts);
    broker->failure_counts = counts;
}

static void take_leak(struct run_broker *broker, json_t *row) {
    if (json_array_size(broker->leaked) < LEAKS_MAX) json_array_append(broker->leaked, row);
}

static void take_troubles(struct run_broker *broker, const json_t *status) {
    take_failures(broker, json_object_get(status, "failures"));
    take_new(broker, json_object_get(status, "leaks"), &broker->leak_number, take_leak);
}

/* --- look ------------------------------------------------------------------------------------ */

/* What came of a question: the document, to be freed; NULL when there is none. */
static json_t *take_answer(struct run_broker *broker, rp_status status, char *text) {
    if (status == RP_ERR_TIMEOUT) {
        broker->silent_until_ns = now_ns() + SILENCE_MS * INT64_C(1000000);
    }
    if (status != RP_OK) return NULL;
    json_t *document = json_loads(text, 0, NULL);
    rp_string_free(text);
    return document;
}

static bool is_silent(const struct run_broker *broker) {
    return now_ns() < broker->silent_until_ns;
}

static json_t *ask_status(struct run_broker *broker) {
    char *text = NULL;
    if (!broker->machine || is_silent(broker)) return NULL;
    rp_status status = rp_machine_status(broker->machine, false, &text, NULL);
    return take_answer(broker, status, text);
}

static json_t *ask_stats(struct run_broker *broker) {
    char *text = NULL;
    if (!broker->machine || is_silent(broker)) return NULL;
    rp_status status = rp_machine_stats(broker->machine, &text, NULL);
    return take_answer(broker, status, text);
}

/* The totals. A broker that ended is looked for again: a client may have started the next. */
static json_t *ask_totals(struct run_broker *broker) {
    json_t *totals = ask_stats(broker);
    if (totals || is_silent(broker)) return totals;
    rp_machine_close(broker->machine);
    rp_status status = reach_again(broker, NULL);
    return status == RP_OK ? ask_stats(broker) : take_answer(broker, status, NULL);
}

/*
 * Totals move before the failure that they count is written down, and one that was met before is
 * only counted in its row. So the last look, when all who asked have their answers, asks in any
 * case.
 */
static void look(struct run_broker *broker, bool is_last) {
    if (broker->kind == RUN_BROKER_NONE) return;
    json_t *totals = ask_totals(broker);
    if (!totals) return;
    json_int_t pid = json_integer_value(json_object_get(totals, "pid"));
    bool is_other = pid != broker->pid;
    json_int_t requests = json_integer_value(json_object_get(totals, "requests"));
    uint64_t leases = whole(totals, "leases");
    bool has_moved =
        is_other || requests != broker->totals[REQUESTS] || leases != broker->counts.open_leases ||
        json_integer_value(json_object_get(totals, "failures")) != broker->failure_number ||
        json_integer_value(json_object_get(totals, "leaks")) != broker->leak_number;
    broker->pid = pid;
    count_totals(broker, totals, is_other);
    json_decref(totals);
    if (is_other) {
        json_object_clear(broker->entries);
        broker->failure_number = broker->leak_number = 0;
        json_object_clear(broker->failure_counts);
    }
    if (!has_moved && !is_last) return;
    json_t *status = ask_status(broker);
    if (status) {
        count_savings(broker, status);
        take_troubles(broker, status);
    }
    json_decref(status);
}

void run_broker_look(struct run_broker *broker) {
    look(broker, false);
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
    look(broker, true);
    find_leaked(broker);
    if (broker->counts.load_failures > 0 && json_array_size(broker->failures) == 0) {
        json_array_append_new(broker->failures,
                              json_pack("{s:s}", "reason", "the broker no longer has the reason"));
    }
    if (broker->kind == RUN_BROKER_ISOLATED) stop_own(broker);
    rp_machine_close(broker->machine);
    broker->machine = NULL;
}

void run_broker_fini(struct run_broker *broker) {
    json_decref(broker->entries);
    json_decref(broker->processes);
    json_decref(broker->failures);
    json_decref(broker->failure_counts);
    json_decref(broker->leaked);
}
