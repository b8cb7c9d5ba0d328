/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who killed the command: the kernel, for lack of memory, or somebody else. The kernel keeps no
 * names where a user may read them, but counts: processes of the control group that it ended, and
 * of the machine. The command's memory is free again by the time that its end is noticed; what is
 * told of memory is what a look some time before saw.
 */
#include "run.h"

#include "command.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many processes the kernel has killed on this machine for lack of memory. */
static uint64_t machine_kills(void) {
    static const char field[] = "oom_kill ";
    char line[128];
    uint64_t count = RP_UNKNOWN_U64;
    FILE *file = fopen("/proc/vmstat", "re");
    while (file && count == RP_UNKNOWN_U64 && fgets(line, sizeof line, file)) {
        if (strncmp(line, field, sizeof field - 1) == 0) {
            count = strtoull(line + sizeof field - 1, NULL, 10);
        }
    }
    if (file) fclose(file);
    return count;
}

static bool look(struct run_killed *killed, rp_pressure_info *info) {
    return killed->pool && rp_pool_check_pressure(killed->pool, info, NULL) == RP_OK;
}

void run_killed_open(struct run_killed *killed) {
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    *killed = (struct run_killed){.pool = NULL};
    options.share = RP_SHARE_PROCESS;
    options.history = "off";
    if (rp_pool_open(&options, &killed->pool, NULL) != RP_OK) killed->pool = NULL;
    if (!look(killed, &killed->before)) {
        rp_pool_close(killed->pool, NULL);
        killed->pool = NULL;
    }
    killed->last = killed->before;
    killed->machine_kills_before = machine_kills();
}

void run_killed_look(struct run_killed *killed) {
    (void)look(killed, &killed->last);
}

void run_killed_close(struct run_killed *killed) {
    rp_pool_close(killed->pool, NULL);
    killed->pool = NULL;
}

static uint64_t more(uint64_t before, uint64_t now) {
    if (before == RP_UNKNOWN_U64 || now == RP_UNKNOWN_U64) return RP_UNKNOWN_U64;
    return now > before ? now - before : 0;
}

/* "needed more than 1.9 GiB, 40.0 MiB free on the machine (limit 2.0 GiB of GROUP)" */
static void tell_memory(const struct run_killed *killed, const struct run_outcome *outcome,
                        char *out, size_t out_bytes) {
    const rp_pressure_info *last = &killed->last;
    bool is_known = killed->pool != NULL;
    bool has_limit = is_known && last->group_limit_bytes != RP_UNKNOWN_U64;
    snprintf(out, out_bytes, "needed more than %s, %s free on the machine%s%s%s%s",
             bytes_text(outcome->process_bytes_peak),
             bytes_text(is_known ? last->usable_bytes : RP_UNKNOWN_U64),
             has_limit ? " (limit " : "", has_limit ? bytes_text(last->group_limit_bytes) : "",
             has_limit ? " of " : "", has_limit ? last->group : "");
    size_t length = strlen(out);
    if (has_limit) snprintf(out + length, out_bytes - length, ")");
}

/* What is known of its end; the status says how sure that is. */
static void tell_end(struct run_killed *killed, const char *command,
                     const struct run_outcome *outcome, rp_error *err) {
    rp_pressure_info now = killed->last;
    uint64_t group = RP_UNKNOWN_U64;
    uint64_t machine = more(killed->machine_kills_before, machine_kills());
    char memory[256];
    if (look(killed, &now)) group = more(killed->before.group_oom_kills, now.group_oom_kills);
    tell_memory(killed, outcome, memory, sizeof memory);
    bool is_in_group = group != RP_UNKNOWN_U64 && group > 0;
    bool is_on_machine = machine != RP_UNKNOWN_U64 && machine > 0;
    if (is_in_group) {
        rp_fail(err, RP_ERR_MEMORY,
                "the kernel killed '%.60s' for lack of memory, or what it ran (%" PRIu64
                " killed in its control group meanwhile): %s",
                command, group, memory);
    } else if (is_on_machine) {
        rp_fail(err, RP_ERR_MEMORY,
                "'%.60s' was killed, as it seems for lack of memory, for which the kernel has "
                "killed %" PRIu64 " meanwhile: %s",
                command, machine, memory);
    } else {
        bool is_counted = group != RP_UNKNOWN_U64 || machine != RP_UNKNOWN_U64;
        rp_fail(err, RP_ERR_RUN, "'%.60s' was ended by SIGKILL: %swho sent it is not known",
                command,
                is_counted ? "the kernel counts no process killed for lack of memory, " : "");
    }
}

void run_killed_tell(struct run_killed *killed, const char *command, struct run_outcome *outcome,
                     json_t *failures) {
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    if (!outcome->has_started || outcome->was_interrupted || outcome->exit_code != 128 + SIGKILL) {
        return;
    }
    tell_end(killed, command, outcome, &err);
    if (rp_failure_explain(&err, NULL, &diagnosis, NULL) != RP_OK) diagnosis = NULL;
    const char *advice = diagnosis ? rp_diagnosis_recommendation(diagnosis, 0) : NULL;
    json_t *row = json_pack("{s:o, s:o, s:s, s:n}", "reason", json_text(err.message), "name",
                            json_text(command), "status", rp_status_name(err.status), "device");
    json_object_set_new(
        row, "category",
        json_text(diagnosis ? rp_category_name(rp_diagnosis_category(diagnosis)) : NULL));
    json_object_set_new(row, "confidence",
                        diagnosis ? json_real(rp_diagnosis_confidence(diagnosis)) : json_null());
    json_object_set_new(row, "line", json_text(diagnosis ? rp_diagnosis_line(diagnosis) : NULL));
    json_object_set_new(row, "recommendation", json_text(advice));
    json_object_set_new(row, "count", json_integer(1));
    outcome->was_killed = json_array_append_new(failures, row) == 0;
    rp_diagnosis_destroy(diagnosis);
}
