/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD in tests/run_test: a broker whose answers lie in the folder FAKE_MACHINE, in the
 * files "stats" and "status", so that a test can write what it counts. Without the file "stats" no
 * broker is running, and "start" is what becomes of starting one: the new "stats".
 */
#include <errno.h>
#include <limits.h>
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int here;

static rp_status read_answer(const char *name, char **text, rp_error *err) {
    char path[PATH_MAX];
    const char *folder = getenv("FAKE_MACHINE");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nowhere", name);
    FILE *file = fopen(path, "re");
    if (!file) return rp_fail(err, RP_ERR_ABSENT, "no broker is running");
    *text = calloc(1, 1 << 20);
    size_t length = *text ? fread(*text, 1, (1 << 20) - 1, file) : 0;
    fclose(file);
    return length > 0 ? RP_OK : rp_fail(err, RP_ERR_DATA, "'%s' is empty", path);
}

rp_status rp_machine_open(const rp_machine_options *options, rp_machine **machine, rp_error *err) {
    char *text = NULL;
    char from[PATH_MAX];
    char to[PATH_MAX];
    const char *folder = getenv("FAKE_MACHINE");
    snprintf(from, sizeof from, "%s/start", folder ? folder : "/nowhere");
    snprintf(to, sizeof to, "%s/stats", folder ? folder : "/nowhere");
    if (!options->no_start && rename(from, to) != 0 && errno != ENOENT) abort();
    rp_status status = read_answer("stats", &text, err);
    free(text);
    if (status == RP_OK) *machine = (rp_machine *)&here;
    return status;
}

void rp_machine_close(rp_machine *machine) {
    if (machine && machine != (rp_machine *)&here) abort();
}

rp_status rp_machine_stats(rp_machine *machine, char **json, rp_error *err) {
    if (machine != (rp_machine *)&here) abort();
    return read_answer("stats", json, err);
}

rp_status rp_machine_status(rp_machine *machine, bool all, char **json, rp_error *err) {
    (void)all;
    if (machine != (rp_machine *)&here) abort();
    return read_answer("status", json, err);
}

rp_status rp_machine_stop(rp_machine *machine, bool force, rp_error *err) {
    (void)force;
    if (machine != (rp_machine *)&here) abort();
    return rp_fail(err, RP_ERR_STATE, "the fake is not stopped");
}

void rp_string_free(char *text) {
    free(text);
}
