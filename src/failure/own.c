/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An rp_error as evidence. Its message is read like any other text, by the same rules; data/errors/
 * pool.txt has those for our own messages. What a message does not say, its status does: there is
 * no room, no such device, the file is damaged. The text is stronger where it is sure, since a
 * status names the kind and a text may name the cause.
 */
#include "failure/own.h"

#include "base/memory.h"
#include "base/status.h"
#include "failure/diagnosis.h"

#include <errno.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <string.h>

/* What a status speaks for, on a device with memory of its own and elsewhere. */
static const struct status_row {
    rp_status status;
    rp_category on_device;
    rp_category elsewhere;
    int strength;
} statuses[] = {
    {RP_ERR_MEMORY, RP_CATEGORY_OUT_OF_MEMORY_DEVICE, RP_CATEGORY_OUT_OF_MEMORY_HOST, 7},
    {RP_ERR_CAPACITY, RP_CATEGORY_OUT_OF_MEMORY_DEVICE, RP_CATEGORY_OUT_OF_MEMORY_HOST, 8},
    {RP_ERR_NOT_FOUND, RP_CATEGORY_MODEL_FILE_MISSING, RP_CATEGORY_MODEL_FILE_MISSING, 6},
    {RP_ERR_ABSENT, RP_CATEGORY_DEVICE_NOT_FOUND, RP_CATEGORY_DEVICE_NOT_FOUND, 6},
    {RP_ERR_DATA, RP_CATEGORY_INVALID_MODEL_FILE, RP_CATEGORY_INVALID_MODEL_FILE, 7},
    {RP_ERR_LIMIT, RP_CATEGORY_LIMIT_EXCEEDED, RP_CATEGORY_LIMIT_EXCEEDED, 7},
    /* These speak for nothing: their message does, or their number. */
    {RP_ERR_UNSUPPORTED, RP_CATEGORY_UNKNOWN, RP_CATEGORY_UNKNOWN, 0},
    {RP_ERR_LOAD, RP_CATEGORY_UNKNOWN, RP_CATEGORY_UNKNOWN, 0},
    {RP_ERR_RUN, RP_CATEGORY_UNKNOWN, RP_CATEGORY_UNKNOWN, 0},
    {RP_ERR_IO, RP_CATEGORY_UNKNOWN, RP_CATEGORY_UNKNOWN, 0},
};

/* What the number of a system's error speaks for. */
static const struct {
    int number;
    rp_category category;
} numbers[] = {
    {ENOMEM, RP_CATEGORY_OUT_OF_MEMORY_HOST}, {ENOSPC, RP_CATEGORY_DISK_FULL},
    {EDQUOT, RP_CATEGORY_DISK_FULL},          {EACCES, RP_CATEGORY_ACCESS_DENIED},
    {EPERM, RP_CATEGORY_ACCESS_DENIED},       {EMFILE, RP_CATEGORY_LIMIT_EXCEEDED},
    {ENFILE, RP_CATEGORY_LIMIT_EXCEEDED},     {EAGAIN, RP_CATEGORY_LIMIT_EXCEEDED},
};

enum { NUMBER_STRENGTH = 8 };

/* Below this a diagnosis is told as one, but nobody is told to act on it. */
static const double SURE_ENOUGH = 0.5;

/* NULL: with such a status there is nothing to diagnose. */
static const struct status_row *row_of(rp_status status) {
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status) return &statuses[i];
    }
    return NULL;
}

/* The kind of "cuda:1"; false: it is none. */
static bool read_kind(const char *hardware, rp_device_kind *kind) {
    char name[32];
    size_t length = hardware ? strcspn(hardware, ":") : 0;
    if (length == 0 || length >= sizeof name) return false;
    memcpy(name, hardware, length);
    name[length] = '\0';
    return rp_device_kind_parse(name, kind, NULL) == RP_OK;
}

static struct rp_failure_prior prior_of(const rp_error *failure, const struct status_row *row,
                                        bool is_on_device) {
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].number == failure->os_errno) {
            return (struct rp_failure_prior){numbers[i].category, NUMBER_STRENGTH};
        }
    }
    return (struct rp_failure_prior){is_on_device ? row->on_device : row->elsewhere, row->strength};
}

/* The message, and behind it what was printed beside it. */
static char *join(const rp_error *failure, const rp_failure_question *about, size_t *length) {
    size_t first = strnlen(failure->message, sizeof failure->message);
    size_t more = about->error ? about->error_bytes : 0;
    char *text = rp_alloc(first + more + 2);
    if (!text) return NULL;
    memcpy(text, failure->message, first);
    text[first] = '\n';
    if (more > 0) memcpy(text + first + 1, about->error, more);
    *length = first + 1 + more;
    return text;
}

rp_status rp_failure_explain(const rp_error *failure, const rp_failure_question *about,
                             rp_diagnosis **diagnosis, rp_error *err) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    if (!failure || !diagnosis) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a failure and a place for its diagnosis are needed");
    }
    if (about) {
        memcpy(&question, about, about->size < sizeof question ? about->size : sizeof question);
        question.size = sizeof question;
    }
    const struct status_row *row = row_of(failure->status);
    if (!row) {
        *diagnosis = NULL;
        return RP_OK;
    }
    rp_device_kind kind = RP_DEVICE_CPU;
    bool has_kind = read_kind(question.hardware, &kind);
    if (!has_kind) question.hardware = NULL;
    struct rp_failure_prior prior = prior_of(failure, row, has_kind && kind != RP_DEVICE_CPU);
    char *text = join(failure, &question, &question.error_bytes);
    if (!text) return rp_fail(err, RP_ERR_MEMORY, "no memory to explain a failure");
    question.error = text;
    rp_status status = rp_diagnose_with(&question, &prior, diagnosis, err);
    rp_free(text);
    return status;
}

rp_category rp_failure_category(const rp_error *failure, const char *hardware) {
    rp_failure_question about = RP_FAILURE_QUESTION_INIT;
    rp_diagnosis *diagnosis = NULL;
    about.hardware = hardware;
    if (rp_failure_explain(failure, &about, &diagnosis, NULL) != RP_OK || !diagnosis) {
        return RP_CATEGORY_UNKNOWN;
    }
    rp_category category = diagnosis->category;
    rp_diagnosis_destroy(diagnosis);
    return category;
}

/* --- what is kept of it ---------------------------------------------------------------------- */

/* Where the last sentence, else the last word, of what fits ends; `room` leaves space for "...". */
static size_t end_of_sentence(const char *text, size_t room) {
    for (size_t i = room; i > room / 2; i--) {
        if (text[i] == ' ' && text[i - 1] == '.') return i;
        if (text[i] == ' ' && text[i - 1] == ';') return i - 1;
    }
    return 0;
}

static size_t end_of_word(const char *text, size_t room) {
    for (size_t i = room; i > room / 2; i--) {
        if (text[i] == ' ') return i;
    }
    while (room > 0 && ((unsigned char)text[room] & 0xC0) == 0x80) {
        room--;
    }
    return room;
}

void rp_cut_text(char *out, size_t out_bytes, const char *text) {
    if (strlen(text) < out_bytes) {
        snprintf(out, out_bytes, "%s", text);
        return;
    }
    size_t end = end_of_sentence(text, out_bytes - 1);
    if (end > 0) {
        snprintf(out, out_bytes, "%.*s", (int)end, text);
    } else {
        snprintf(out, out_bytes, "%.*s...", (int)end_of_word(text, out_bytes - 4), text);
    }
}

bool rp_explain(rp_error *failure, const char *device, const char *model,
                struct rp_explanation *out) {
    struct rp_explanation unwanted;
    bool wants_hint = failure->hint[0] == '\0';
    if (out) *out = (struct rp_explanation){.category = RP_CATEGORY_UNKNOWN};
    if ((!out && !wants_hint) || !row_of(failure->status)) return false;
    if (!out) out = &unwanted;

    rp_failure_question about = RP_FAILURE_QUESTION_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_diagnosis *diagnosis = NULL;
    about.hardware = device;
    about.model = model;
    if (rp_hardware_snapshot(&snapshot, NULL) == RP_OK) about.snapshot = snapshot;
    bool is_known = rp_failure_explain(failure, &about, &diagnosis, NULL) == RP_OK && diagnosis;
    if (is_known) {
        const char *advice = rp_diagnosis_recommendation(diagnosis, 0);
        out->category = diagnosis->category;
        out->confidence = diagnosis->confidence;
        rp_cut_text(out->line, sizeof out->line, diagnosis->line);
        rp_cut_text(out->advice, sizeof out->advice, advice ? advice : "");
        /* What fits any failure is no hint, nor is a guess. */
        bool is_hint = wants_hint && advice && diagnosis->category != RP_CATEGORY_UNKNOWN &&
                       diagnosis->confidence >= SURE_ENOUGH;
        if (is_hint) rp_hint(failure, "%s", out->advice);
    }
    rp_diagnosis_destroy(diagnosis);
    if (snapshot) rp_snapshot_release(snapshot);
    return is_known;
}
