/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Detection in two tiers, and the one snapshot that a process shares. The fast tier looks at files
 * (probe() of every kind; detect_ms). Where that finds a sign of a driver, the driver is asked in a
 * child process, all kinds at once (ask(); probe_ms of its kind). That snapshot, its two mutexes
 * and the fork handlers are the mutable state that this folder has outside its handles, beside the
 * list of children that did not die (child.c).
 */
#include "hardware/detect.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/status.h"
#include "hardware/cache.h"
#include "hardware/child.h"
#include "hardware/device.h"
#include "hardware/simulated.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Order is that of the devices in a snapshot. */
static const struct rp_device_ops *const kinds[] = {
    &rp_device_cpu,      &rp_device_cuda, &rp_device_rocm,  &rp_device_mps,    &rp_device_openvino,
    &rp_device_qualcomm, &rp_device_tpu,  &rp_device_webnn, &rp_device_webgpu,
};

/* What detection walks: all of them, or a test's own. */
static struct {
    const struct rp_device_ops *const *ops;
    size_t count;
} walked = {kinds, sizeof kinds / sizeof kinds[0]};

static const struct rp_device_ops *find_ops(rp_device_kind kind) {
    for (size_t i = 0; i < walked.count; i++) {
        if (walked.ops[i]->kind == kind) return walked.ops[i];
    }
    return NULL;
}

/* Options of a caller that was built against an older or newer header. */
static rp_status read_options(const rp_hardware_options *given, rp_hardware_options *options,
                              rp_error *err) {
    *options = (rp_hardware_options)RP_HARDWARE_OPTIONS_INIT;
    if (!given) return RP_OK;
    if (given->size < sizeof given->size) {
        rp_fail(err, RP_ERR_ARGUMENT, "options of %zu bytes are none", given->size);
        rp_hint(err, "start from RP_HARDWARE_OPTIONS_INIT");
        return RP_ERR_ARGUMENT;
    }
    const unsigned char *bytes = (const unsigned char *)given;
    for (size_t i = sizeof *options; i < given->size; i++) {
        if (bytes[i] == 0) continue;
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "these options set what only a newer version of the library knows");
    }
    memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
    options->size = sizeof *options;
    if (options->root && options->simulate) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a root ('%s') and a file to simulate ('%s') cannot both be the machine",
                       options->root, options->simulate);
    }
    if (options->root && strlen(options->root) >= RP_LIMIT_NAME_BYTES) {
        return rp_fail(err, RP_ERR_ARGUMENT, "the root is a path of %zu bytes, of %d at most",
                       strlen(options->root), RP_LIMIT_NAME_BYTES - 1);
    }
    return RP_OK;
}

static rp_status add_absence(struct rp_snapshot *snapshot, rp_device_kind kind, const rp_error *why,
                             rp_error *err) {
    const rp_absence absence = {
        .kind = kind,
        .reason = why->message,
        .hint = why->hint[0] != '\0' ? why->hint : NULL,
    };
    return rp_snapshot_copy_absence(snapshot, &absence, err);
}

/* A kind that only its driver can tell about, which is not asked now. */
static rp_status add_unprobed(struct rp_snapshot *snapshot, const struct rp_device_ops *ops,
                              rp_error *err) {
    char reason[128];
    rp_absence absence = {.kind = ops->kind, .reason = reason, .unprobed = true};
    if (snapshot->root[0] != '\0') {
        snprintf(reason, sizeof reason, "%s can only be asked on the machine itself", ops->name);
    } else {
        snprintf(reason, sizeof reason, "%s was not asked yet, as that may take seconds",
                 ops->name);
        absence.hint = "rpool hardware --all";
    }
    return rp_snapshot_copy_absence(snapshot, &absence, err);
}

/* What the fast tier found about each kind, by place in `walked`. */
struct survey {
    bool is_to_ask[RP_DEVICE_KIND_COUNT];
};

static rp_status probe_kind(struct rp_snapshot *snapshot, const struct rp_device_ops *ops,
                            bool *is_to_ask, rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    int64_t start_ns = rp_clock_ns();
    rp_status status = ops->probe(snapshot, &why);
    if (ops->close) ops->close();
    snapshot->probe_ms[ops->kind] = rp_snapshot_round_ms(rp_elapsed_ms(start_ns, rp_clock_ns()));
    *is_to_ask = status == RP_OK && ops->ask;
    if (status == RP_ERR_MEMORY) {
        if (err) *err = why;
        return status;
    }
    return status == RP_OK ? RP_OK : add_absence(snapshot, ops->kind, &why, err);
}

/* The fast tier: files only. */
static rp_status probe_all(struct rp_snapshot *snapshot, struct survey *survey, rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < walked.count; i++) {
        status = probe_kind(snapshot, walked.ops[i], &survey->is_to_ask[i], err);
    }
    for (size_t i = 0; status == RP_OK && i < RP_DEVICE_KIND_COUNT; i++) {
        if (find_ops((rp_device_kind)i)) continue;
        status = rp_snapshot_add_absence(snapshot, (rp_device_kind)i,
                                         "this version does not look for it yet", err);
    }
    return status;
}

/* What a question brought, and the time it took. */
static rp_status take_answer(struct rp_snapshot *snapshot, const struct rp_question *question,
                             rp_error *err) {
    rp_device_kind kind = question->ops->kind;
    double before_ms = snapshot->probe_ms[kind] < 0 ? 0 : snapshot->probe_ms[kind];
    rp_status status = question->answer ? rp_snapshot_add_all(snapshot, question->answer, err)
                                        : add_absence(snapshot, kind, &question->why, err);
    snapshot->probe_ms[kind] = rp_snapshot_round_ms(before_ms + question->ms);
    return status;
}

/*
 * What is kept of earlier answers: of a slow kind the whole answer, unless it is to be asked anew;
 * of a driver only that it hung or crashed a moment ago, as its figures move.
 */
static rp_status look_up(struct rp_cache *cache, const struct rp_device_ops *ops, bool is_anew,
                         bool *found, rp_error *err) {
    *found = false;
    return is_anew ? RP_OK : rp_cache_load(cache, ops->kind, found, err);
}

static rp_status keep(struct rp_cache *cache, const struct rp_question *question, rp_error *err) {
    rp_device_kind kind = question->ops->kind;
    if (question->answer) {
        if (question->ops->when == RP_ASK_DRIVER) return rp_cache_drop(cache, kind, err);
        return rp_cache_keep(cache, kind, question->answer, false, err);
    }
    if (!question->is_harmful) return RP_OK; /* want of memory or of a process passes */
    struct rp_snapshot *failure = rp_snapshot_create();
    if (!failure) return rp_fail_no_memory(err);
    rp_status status = add_absence(failure, kind, &question->why, err);
    if (status == RP_OK) status = rp_cache_keep(cache, kind, failure, true, err);
    rp_snapshot_release(failure);
    return status;
}

static bool has_devices(const rp_snapshot *snapshot, rp_device_kind kind) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        if (snapshot->devices[i]->kind == kind) return true;
    }
    return false;
}

/* The slow tier: the drivers of which the survey found a sign, all at once. */
static rp_status ask_found(struct rp_snapshot *snapshot, const struct survey *survey,
                           const rp_hardware_options *options, struct rp_cache *cache,
                           rp_error *err) {
    struct rp_question questions[RP_DEVICE_KIND_COUNT] = {0};
    size_t count = 0;
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < walked.count; i++) {
        bool is_known = false;
        if (!survey->is_to_ask[i]) continue;
        status = look_up(cache, walked.ops[i], options->refresh, &is_known, err);
        if (status != RP_OK || is_known) continue;
        if (walked.ops[i]->when == RP_ASK_SLOW && !options->all) {
            status = add_unprobed(snapshot, walked.ops[i], err);
        } else {
            questions[count++] =
                (struct rp_question){.ops = walked.ops[i], .is_patient = options->all};
        }
    }
    if (status == RP_OK) status = rp_questions_ask(questions, count, err);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        status = take_answer(snapshot, &questions[i], err);
        if (status == RP_OK) status = keep(cache, &questions[i], err);
    }
    rp_questions_fini(questions, count);
    return status;
}

static rp_status ask_all(struct rp_snapshot *snapshot, const struct survey *survey,
                         const rp_hardware_options *options, rp_error *err) {
    bool is_recorded = snapshot->root[0] != '\0';
    bool is_any = false;
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < walked.count; i++) {
        if (!survey->is_to_ask[i]) continue;
        is_any = true;
        /* The files of a recorded machine told about its devices: there is nobody else to ask. */
        if (is_recorded && !has_devices(snapshot, walked.ops[i]->kind)) {
            status = add_unprobed(snapshot, walked.ops[i], err);
        }
    }
    if (status != RP_OK || is_recorded || !is_any) return status;
    struct rp_cache *cache = NULL;
    status = rp_cache_open(options->cache, snapshot, &cache, err);
    if (status == RP_OK) status = ask_found(snapshot, survey, options, cache, err);
    rp_status closed = rp_cache_close(cache, status == RP_OK ? err : NULL);
    return status == RP_OK ? closed : status;
}

/* Devices and absences in the order of their kinds, whoever told first; few of each. */
static void sort_by_kind(struct rp_snapshot *snapshot) {
    for (size_t i = 1; i < snapshot->device_count; i++) {
        rp_device *device = snapshot->devices[i];
        size_t at = i;
        for (; at > 0 && snapshot->devices[at - 1]->kind > device->kind; at--) {
            snapshot->devices[at] = snapshot->devices[at - 1];
        }
        snapshot->devices[at] = device;
    }
    for (size_t i = 1; i < snapshot->absent_count; i++) {
        rp_absence *absence = snapshot->absences[i];
        size_t at = i;
        for (; at > 0 && snapshot->absences[at - 1]->kind > absence->kind; at--) {
            snapshot->absences[at] = snapshot->absences[at - 1];
        }
        snapshot->absences[at] = absence;
    }
}

/* A new snapshot for a folder that stands for "/"; "" is this machine. */
static rp_status create_for_root(const char *root, struct rp_snapshot **out, rp_error *err) {
    struct rp_snapshot *snapshot = rp_snapshot_create();
    if (!snapshot) return rp_fail_no_memory(err);
    size_t length = strlen(root);
    while (length > 0 && root[length - 1] == '/') {
        length--;
    }
    char *copy = rp_snapshot_alloc(snapshot, length + 1);
    if (!copy) {
        rp_snapshot_release(snapshot);
        return rp_fail_no_memory(err);
    }
    memcpy(copy, root, length);
    snapshot->root = copy;
    snapshot->simulated = length > 0;
    *out = snapshot;
    return RP_OK;
}

/* This machine, or a recorded one, looked at with nothing known before. */
static rp_status look(const rp_hardware_options *options, struct rp_snapshot **out, rp_error *err) {
    int64_t start_ns = rp_clock_ns();
    struct rp_snapshot *snapshot = NULL;
    struct survey survey = {0};
    rp_status status = create_for_root(options->root ? options->root : "", &snapshot, err);
    if (status == RP_OK) status = probe_all(snapshot, &survey, err);
    if (status == RP_OK) {
        snapshot->detect_ms = rp_snapshot_round_ms(rp_elapsed_ms(start_ns, rp_clock_ns()));
        status = ask_all(snapshot, &survey, options, err);
    }
    if (status != RP_OK) {
        rp_snapshot_release(snapshot);
        return status;
    }
    sort_by_kind(snapshot);
    *out = snapshot;
    return RP_OK;
}

static rp_status detect(const rp_hardware_options *options, struct rp_snapshot **out,
                        rp_error *err) {
    int64_t start_ns = rp_clock_ns();
    const char *simulate = options->simulate;
    if (!simulate && !options->root) simulate = getenv("RESOURCE_POOL_SIMULATE");
    bool from_file = simulate && simulate[0] != '\0';
    struct rp_snapshot *snapshot = NULL;
    rp_status status =
        from_file ? rp_simulated_open(simulate, &snapshot, err) : look(options, &snapshot, err);
    if (status != RP_OK) return status;
    snapshot->generation = 1;
    snapshot->taken_ns = rp_clock_ns();
    if (from_file) {
        snapshot->detect_ms = rp_snapshot_round_ms(rp_elapsed_ms(start_ns, rp_clock_ns()));
    }
    *out = snapshot;
    return RP_OK;
}

static rp_status refresh_device(struct rp_snapshot *snapshot, const rp_device *previous,
                                bool from_file, rp_error *err) {
    rp_device *device = rp_snapshot_copy_device(snapshot, previous);
    if (!device) return rp_fail_no_memory(err);
    const struct rp_device_ops *ops = from_file ? NULL : find_ops(device->kind);
    if (ops && ops->refresh && !ops->ask) {
        rp_error why = RP_ERROR_INIT;
        int64_t start_ns = rp_clock_ns();
        rp_status status = ops->refresh(snapshot, device, &why);
        double ms = rp_elapsed_ms(start_ns, rp_clock_ns());
        double *total_ms = &snapshot->probe_ms[device->kind];
        *total_ms = rp_snapshot_round_ms((*total_ms < 0 ? 0 : *total_ms) + ms);
        if (status == RP_ERR_MEMORY) {
            if (err) *err = why;
            return status;
        }
        if (status != RP_OK) {
            status = rp_snapshot_add_note(snapshot, err, "%s: figures are old: %s", device->id,
                                          why.message);
        }
        if (status != RP_OK) return status;
    }
    return rp_snapshot_add_device(snapshot, device, err);
}

/* Whether the devices of a kind are brought up to date by a child. */
static bool is_asked_again(const rp_snapshot *previous, const struct rp_device_ops *ops) {
    if (!ops || !ops->ask || previous->from_file || previous->root[0] != '\0') return false;
    if (!ops->refresh && ops->when != RP_ASK_DRIVER) return false;
    return has_devices(previous, ops->kind);
}

/* The drivers of known devices again. One that does not answer now leaves its devices as they were.
 */
static rp_status ask_again(struct rp_snapshot *snapshot, const rp_snapshot *previous,
                           rp_error *err) {
    struct rp_question questions[RP_DEVICE_KIND_COUNT] = {0};
    size_t count = 0;
    for (size_t i = 0; i < walked.count; i++) {
        if (!is_asked_again(previous, walked.ops[i])) continue;
        questions[count++] = (struct rp_question){
            .ops = walked.ops[i],
            .previous = walked.ops[i]->refresh ? previous : NULL,
        };
    }
    rp_status status = rp_questions_ask(questions, count, err);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        if (questions[i].answer && questions[i].answer->device_count > 0) {
            status = take_answer(snapshot, &questions[i], err);
            continue;
        }
        rp_device_kind kind = questions[i].ops->kind;
        const char *why = questions[i].answer ? questions[i].answer->absences[0]->reason
                                              : questions[i].why.message;
        status = rp_snapshot_add_note(snapshot, err, "%s: figures are old: %s",
                                      rp_device_kind_name(kind), why);
        for (size_t j = 0; status == RP_OK && j < previous->device_count; j++) {
            if (previous->devices[j]->kind != kind) continue;
            rp_device *device = rp_snapshot_copy_device(snapshot, previous->devices[j]);
            status =
                device ? rp_snapshot_add_device(snapshot, device, err) : rp_fail_no_memory(err);
        }
    }
    rp_questions_fini(questions, count);
    return status;
}

/* The devices of an earlier snapshot, with the figures of now. */
static rp_status look_again(const rp_snapshot *previous, struct rp_snapshot **out, rp_error *err) {
    int64_t start_ns = rp_clock_ns();
    struct rp_snapshot *snapshot = NULL;
    rp_status status = create_for_root(previous->root, &snapshot, err);
    if (status != RP_OK) return status;
    snapshot->simulated = previous->simulated;
    snapshot->from_file = previous->from_file;
    for (size_t i = 0; status == RP_OK && i < previous->device_count; i++) {
        if (is_asked_again(previous, find_ops(previous->devices[i]->kind))) continue;
        status = refresh_device(snapshot, previous->devices[i], previous->from_file, err);
    }
    for (size_t i = 0; i < walked.count; i++) {
        if (previous->from_file || is_asked_again(previous, walked.ops[i])) continue;
        if (walked.ops[i]->refresh && walked.ops[i]->close) walked.ops[i]->close();
    }
    snapshot->detect_ms = rp_snapshot_round_ms(rp_elapsed_ms(start_ns, rp_clock_ns()));
    if (status == RP_OK) status = ask_again(snapshot, previous, err);
    for (size_t i = 0; status == RP_OK && i < previous->absent_count; i++) {
        status = rp_snapshot_copy_absence(snapshot, previous->absences[i], err);
    }
    for (size_t i = 0; status == RP_OK && previous->from_file && i < previous->note_count; i++) {
        status = rp_snapshot_add_note(snapshot, err, "%s", previous->notes[i]);
    }
    if (status != RP_OK) {
        rp_snapshot_release(snapshot);
        return status;
    }
    sort_by_kind(snapshot);
    snapshot->taken_ns = rp_clock_ns();
    *out = snapshot;
    return RP_OK;
}

rp_status rp_hardware_detect(const rp_hardware_options *options, const rp_snapshot **snapshot,
                             rp_error *err) {
    if (!snapshot) return rp_fail(err, RP_ERR_ARGUMENT, "a place for the snapshot is needed");
    rp_hardware_options wanted;
    struct rp_snapshot *detected = NULL;
    rp_status status = read_options(options, &wanted, err);
    if (status == RP_OK) status = detect(&wanted, &detected, err);
    if (status == RP_OK) *snapshot = detected;
    return status;
}

/* --- the snapshot of the process ----------------------------------------------------------- */

/*
 * Lock order: making, then current_lock. `making` is held while somebody detects, so that it is
 * done once; `current_lock` for a few instructions only, so that readers never wait for that.
 */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER;
static const rp_snapshot *current; /* guarded by current_lock; owns one share */
static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

static void before_fork(void) {
    pthread_mutex_lock(&current_lock);
}

static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&current_lock);
}

/* The thread that was detecting is not in the child, and would never unlock. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&making, NULL);
    pthread_mutex_unlock(&current_lock);
}

/* Without memory for them a fork in the middle of a detection could hang its child; no more. */
static void install_fork_handlers(void) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* A share of the current one; NULL when there is none yet. */
static const rp_snapshot *acquire_current(void) {
    pthread_mutex_lock(&current_lock);
    const rp_snapshot *snapshot = current ? rp_snapshot_acquire(current) : NULL;
    pthread_mutex_unlock(&current_lock);
    return snapshot;
}

/* Keep one share of `next` (which may be NULL) as the current one. */
static void replace_current(const rp_snapshot *next) {
    if (next) rp_snapshot_acquire(next);
    pthread_mutex_lock(&current_lock);
    const rp_snapshot *old = current;
    current = next;
    pthread_mutex_unlock(&current_lock);
    rp_snapshot_release(old);
}

rp_status rp_hardware_snapshot(const rp_snapshot **snapshot, rp_error *err) {
    if (!snapshot) return rp_fail(err, RP_ERR_ARGUMENT, "a place for the snapshot is needed");
    const rp_snapshot *found = acquire_current();
    rp_status status = RP_OK;
    if (!found) {
        pthread_once(&fork_handlers, install_fork_handlers);
        pthread_mutex_lock(&making);
        found = acquire_current(); /* another thread may have been first */
        if (!found) {
            const rp_hardware_options defaults = RP_HARDWARE_OPTIONS_INIT;
            struct rp_snapshot *detected = NULL;
            status = detect(&defaults, &detected, err);
            if (status == RP_OK) replace_current(detected);
            found = detected;
        }
        pthread_mutex_unlock(&making);
    }
    if (status == RP_OK) *snapshot = found;
    return status;
}

rp_status rp_hardware_refresh(const rp_hardware_options *options, const rp_snapshot **snapshot,
                              rp_error *err) {
    rp_hardware_options wanted;
    rp_status status = read_options(options, &wanted, err);
    if (status != RP_OK) return status;
    pthread_once(&fork_handlers, install_fork_handlers);
    pthread_mutex_lock(&making);
    const rp_snapshot *previous = acquire_current();
    struct rp_snapshot *next = NULL;
    bool anew = !previous || wanted.refresh || wanted.root || wanted.simulate;
    status = anew ? detect(&wanted, &next, err) : look_again(previous, &next, err);
    if (status == RP_OK) {
        next->generation = previous ? previous->generation + 1 : 1;
        replace_current(next);
    }
    rp_snapshot_release(previous);
    pthread_mutex_unlock(&making);
    if (status != RP_OK) return status;
    if (snapshot) {
        *snapshot = next;
    } else {
        rp_snapshot_release(next);
    }
    return RP_OK;
}

rp_status rp_hardware_recent(double age_ms_max, const rp_snapshot **snapshot, rp_error *err) {
    const rp_snapshot *found = NULL;
    rp_status status = rp_hardware_snapshot(&found, err);
    if (status != RP_OK) return status;
    bool is_moving = false;
    for (size_t i = 0; i < walked.count; i++) {
        is_moving = is_moving || is_asked_again(found, walked.ops[i]);
    }
    bool is_old = rp_elapsed_ms(found->taken_ns, rp_clock_ns()) > age_ms_max;
    const rp_snapshot *fresh = NULL;
    /* A driver that does not answer now leaves a note, and the figures as they were. */
    if (is_moving && is_old && rp_hardware_refresh(NULL, &fresh, NULL) == RP_OK) {
        rp_snapshot_release(found);
        found = fresh;
    }
    *snapshot = found;
    return RP_OK;
}

void rp_hardware_forget(void) {
    replace_current(NULL);
}

void rp_hardware_walk(const struct rp_device_ops *const *ops, size_t count) {
    assert(count <= RP_DEVICE_KIND_COUNT);
    walked.ops = ops ? ops : kinds;
    walked.count = ops ? count : sizeof kinds / sizeof kinds[0];
}
