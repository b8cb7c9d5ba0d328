/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/served.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/proc.h"

#include <dirent.h>
#include <jansson.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROC_BYTES_MAX = 64 << 10 };

static pid_t pid_of(rp_machine *machine) {
    char *text = NULL;
    json_int_t pid = 0;
    if (rp_machine_stats(machine, &text, NULL) != RP_OK) return -1;
    json_t *stats = json_loads(text, 0, NULL);
    pid = json_integer_value(json_object_get(stats, "pid"));
    json_decref(stats);
    rp_string_free(text);
    return pid > 0 ? (pid_t)pid : -1;
}

rp_status rp_bench_served_start(struct rp_bench_served *served, rp_error *err) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    char folder[sizeof served->folder] = "/tmp/resourcepool-bench-XXXXXX";
    if (!mkdtemp(folder)) return rp_fail_errno(err, "cannot make a folder for a broker");
    memcpy(served->folder, folder, sizeof folder);
    options.folder = served->folder;
    rp_status status = rp_machine_open(&options, &served->machine, err);
    if (status == RP_OK) served->pid = pid_of(served->machine);
    return status;
}

void rp_bench_served_end(struct rp_bench_served *served) {
    static const char *const files[] = {"broker.sock", "broker.lock", "broker.start", "broker.log"};
    if (served->machine) {
        rp_status status = rp_machine_stop(served->machine, true, NULL);
        (void)status; /* it also ends by itself */
    }
    rp_machine_close(served->machine);
    for (size_t i = 0; served->folder[0] && i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", served->folder, files[i]);
        unlink(path);
    }
    if (served->folder[0]) rmdir(served->folder);
    *served = (struct rp_bench_served){.machine = NULL};
}

/* ---- what processes take ---- */

static char *read_proc(pid_t pid, const char *name) {
    char path[340];
    char *text = NULL;
    size_t length = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return rp_text_read_file(path, PROC_BYTES_MAX, &text, &length) == 0 ? text : NULL;
}

/* A line "NAME   123 kB" of such a file, in bytes. */
static uint64_t read_kilobytes(pid_t pid, const char *file, const char *name) {
    char *text = read_proc(pid, file);
    if (!text) return RP_UNKNOWN_U64;
    uint64_t bytes = rp_proc_meminfo_bytes((struct rp_span){text, strlen(text)}, name);
    rp_free(text);
    return bytes;
}

uint64_t rp_bench_pss(pid_t pid) {
    return read_kilobytes(pid, "smaps_rollup", "Pss:");
}

uint64_t rp_bench_resident(pid_t pid) {
    return read_kilobytes(pid, "status", "VmRSS:");
}

static pid_t parent_of(pid_t pid) {
    char *stat = read_proc(pid, "stat");
    const char *at = stat ? strrchr(stat, ')') : NULL; /* the name before it may hold anything */
    long parent = -1;
    if (at && strlen(at) > 4) parent = strtol(at + 4, NULL, 10); /* ") S 123" */
    rp_free(stat);
    return (pid_t)parent;
}

uint64_t rp_bench_pss_of_children(pid_t pid) {
    DIR *folder = opendir("/proc");
    uint64_t total = 0;
    for (struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder)) {
        uint64_t child = 0;
        if (!rp_text_parse_u64(entry->d_name, &child) || parent_of((pid_t)child) != pid) continue;
        uint64_t bytes = rp_bench_pss((pid_t)child);
        if (bytes != RP_UNKNOWN_U64) total += bytes; /* else it has ended meanwhile */
    }
    if (folder) closedir(folder);
    return total;
}

uint64_t rp_bench_processor_ns(pid_t pid) {
    char path[64];
    uint64_t total = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    if (!folder) return RP_UNKNOWN_U64;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char name[300];
        snprintf(name, sizeof name, "task/%s/schedstat", entry->d_name);
        char *text = entry->d_name[0] == '.' ? NULL : read_proc(pid, name);
        if (text) total += strtoull(text, NULL, 10);
        rp_free(text);
    }
    closedir(folder);
    return total;
}
