/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_broker.h"

#include "proc.h"

#include <jansson.h>
#include <resourcepool/machine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TELL_MS = 1000, LOOK_S = 2, ROWS_SHOWN = 64 };

bool fs_report_folder(char *folder, size_t room) {
    const char *given = getenv("RESOURCE_POOL_BROKER");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length;
    if (given && given[0]) {
        length = snprintf(folder, room, "%s", given);
    } else if (runtime && runtime[0] == '/') {
        length = snprintf(folder, room, "%s/resourcepool", runtime);
    } else {
        length = snprintf(folder, room, "/tmp/resourcepool-%u", (unsigned)geteuid());
    }
    return length > 0 && (size_t)length < room;
}

/* --- what is told ---------------------------------------------------------------------------- */

static uint64_t resident_bytes(pid_t pid) {
    char text[128];
    fs_proc_read_of(pid, "statm", text, sizeof text);
    char *at = text;
    strtoull(at, &at, 10);
    return strtoull(at, &at, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *text_of(const char *text) {
    json_t *string = json_string(text);
    return string ? string : json_string("?"); /* what is no UTF-8 */
}

/* Most expensive first would need a sort; the order of imports tells more. Cheap ones are summed up
 * by the broker's reader, so only those that take a millisecond are named. */
static void add_preloads(json_t *told, const struct fs_preloads *preloads) {
    json_t *loaded = json_array();
    json_t *refused = json_array();
    json_int_t count = 0;
    for (size_t i = 0; i < preloads->count; i++) {
        const struct fs_preload *row = &preloads->rows[i];
        count += row->is_loaded;
        if (row->is_refused && json_array_size(refused) < ROWS_SHOWN) {
            json_array_append_new(refused, json_pack("{s:o, s:o}", "name", text_of(row->name),
                                                     "reason", text_of(row->why)));
        } else if (row->is_loaded && row->us >= 1000 && json_array_size(loaded) < ROWS_SHOWN) {
            json_array_append_new(
                loaded, json_pack("{s:o, s:f, s:I, s:I, s:o}", "name", text_of(row->name), "ms",
                                  (double)row->us / 1000, "bytes", (json_int_t)row->bytes,
                                  "private_bytes", (json_int_t)row->private_bytes, "note",
                                  row->why[0] ? text_of(row->why) : json_null()));
        }
    }
    json_object_set_new(told, "preloads", loaded);
    json_object_set_new(told, "preload_count", json_integer(count));
    json_object_set_new(told, "refused", refused);
}

static char *describe(const struct fs_report *report, const struct fs_server *server,
                      const struct fs_preloads *preloads, size_t job_count, uint64_t forked_count,
                      bool is_ending) {
    char state[FS_TEXT_BYTES] = "idle";
    json_t *told = json_object();
    json_t *refusals = json_object();
    if (server) fs_server_describe(server, preloads, state, sizeof state);
    if (is_ending) snprintf(state, sizeof state, "ending");
    json_object_set_new(told, "kind", json_string("fork_server"));
    json_object_set_new(told, "key", text_of(report->key));
    json_object_set_new(told, "interpreter", text_of(report->interpreter));
    json_object_set_new(told, "state", text_of(state));
    json_object_set_new(told, "server_pid", server ? json_integer(server->pid) : json_null());
    add_preloads(told, preloads);
    json_object_set_new(told, "import_ms",
                        json_real(server ? (double)server->import_us / 1000 : 0));
    json_object_set_new(told, "private_bytes",
                        json_integer(server ? (json_int_t)server->private_bytes : 0));
    json_object_set_new(told, "memory_bytes",
                        server ? json_integer((json_int_t)resident_bytes(server->pid))
                               : json_integer(0));
    json_object_set_new(told, "children", json_integer((json_int_t)job_count));
    json_object_set_new(told, "forked", json_integer((json_int_t)forked_count));
    for (size_t i = 0; i < FS_REFUSAL_REASONS && report->refusals[i].count > 0; i++) {
        json_object_set_new(refusals, report->refusals[i].why,
                            json_integer((json_int_t)report->refusals[i].count));
    }
    json_object_set_new(told, "refusals", refusals);
    char *text = json_dumps(told, JSON_COMPACT);
    json_decref(told);
    return text;
}

/* --- the thread ------------------------------------------------------------------------------ */

/* Somebody is there who does not know what we say: an older broker. */
static bool is_other_broker(void) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    options.no_start = true;
    rp_status status = rp_machine_open(&options, &machine, NULL);
    rp_machine_close(machine);
    return status == RP_OK;
}

/* What is to be told; NULL: it is the end, or time to look whether the broker is there. */
static char *take_text(struct fs_report *report, bool *is_ending) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOK_S;
    pthread_mutex_lock(&report->lock);
    while (!report->text && !report->is_ending) {
        if (pthread_cond_timedwait(&report->changed, &report->lock, &until) != 0) break;
    }
    char *text = report->text;
    report->text = NULL;
    *is_ending = report->is_ending;
    pthread_mutex_unlock(&report->lock);
    return text;
}

static void *tell_broker(void *user) {
    struct fs_report *report = user;
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    rp_error err = RP_ERROR_INIT;
    bool is_ending = false;
    if (rp_machine_open(&options, &machine, &err) != RP_OK) {
        fprintf(stderr, "level=warning event=no_broker reason=\"%s\" ignored\n", err.message);
        return NULL;
    }
    char *last = NULL; /* is told again where there is nothing new, to see that somebody is there */
    while (!is_ending) {
        char *text = take_text(report, &is_ending);
        if (text) {
            free(last);
            last = text;
        }
        rp_status status = last ? rp_machine_tell(machine, last, &err) : RP_OK;
        if (status == RP_OK || status == RP_ERR_UNSUPPORTED) continue;
        report->is_broker_gone = !is_other_broker();
        fprintf(stderr, "level=warning event=broker_%s reason=\"%s\" ignored\n",
                report->is_broker_gone ? "gone" : "deaf", err.message);
        break;
    }
    free(last);
    rp_machine_close(machine);
    return NULL;
}

/* --- what the loop calls --------------------------------------------------------------------- */

void fs_report_open(struct fs_report *report, const char *key, const char *interpreter) {
    sigset_t all;
    sigset_t before;
    report->key = key;
    report->interpreter = interpreter;
    report->is_touched = true;
    pthread_mutex_init(&report->lock, NULL);
    pthread_cond_init(&report->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    report->has_thread = pthread_create(&report->thread, NULL, tell_broker, report) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void fs_report_touch(struct fs_report *report) {
    report->is_touched = true;
}

void fs_report_refusal(struct fs_report *report, const char *why) {
    for (size_t i = 0; i < FS_REFUSAL_REASONS; i++) {
        bool is_free = report->refusals[i].count == 0;
        if (!is_free && strcmp(report->refusals[i].why, why) != 0) continue;
        if (is_free) snprintf(report->refusals[i].why, sizeof report->refusals[i].why, "%s", why);
        report->refusals[i].count++;
        break;
    }
    report->is_touched = true;
}

void fs_report_update(struct fs_report *report, const struct fs_server *server,
                      const struct fs_preloads *preloads, size_t job_count, uint64_t forked_count,
                      bool is_ending) {
    int64_t now_ms = fs_now_ms();
    if (!report->has_thread || !report->is_touched || now_ms - report->told_ms < TELL_MS) return;
    char *text = describe(report, server, preloads, job_count, forked_count, is_ending);
    report->is_touched = false;
    report->told_ms = now_ms;
    pthread_mutex_lock(&report->lock);
    free(report->text);
    report->text = text;
    pthread_cond_signal(&report->changed);
    pthread_mutex_unlock(&report->lock);
}

bool fs_report_is_broker_gone(struct fs_report *report) {
    return report->is_broker_gone;
}

void fs_report_close(struct fs_report *report) {
    if (!report->has_thread) return;
    pthread_mutex_lock(&report->lock);
    report->is_ending = true;
    pthread_cond_signal(&report->changed);
    pthread_mutex_unlock(&report->lock);
    pthread_join(report->thread, NULL);
    free(report->text);
}
