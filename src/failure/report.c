/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A report: the keys of the guide first, then those of the diagnosis, then what tells that it is
 * ours. Everything in it is redacted, what other people wrote and what we concluded from it.
 */
#include "failure/report.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "failure/diagnosis.h"
#include "failure/kept_text.h"

#include <errno.h>
#include <fcntl.h>
#include <resourcepool/version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char own_key[] = "resourcepool_report";

static rp_status fail_no_memory(rp_error *err) {
    return rp_fail(err, RP_ERR_MEMORY, "no memory for a report of a failure");
}

/* --- making ---------------------------------------------------------------------------------- */

bool rp_redact_json(json_t *value) {
    const char *key;
    void *next;
    json_t *child;
    size_t i;
    if (json_is_string(value)) {
        struct rp_text out = RP_TEXT_INIT;
        rp_redact_as(json_string_value(value), json_string_length(value), rp_own_names_of_process(),
                     &out, NULL);
        bool is_good =
            !out.failed && json_string_setn(value, out.bytes ? out.bytes : "", out.length) == 0;
        rp_text_fini(&out);
        return is_good;
    }
    json_array_foreach(value, i, child) {
        if (!rp_redact_json(child)) return false;
    }
    json_object_foreach_safe(value, next, key, child) {
        if (!rp_redact_json(child)) return false;
    }
    return true;
}

/* What is kept of a text, as a value; null where there was none. */
static json_t *kept_value(const char *text, size_t length, uint64_t mark, uint64_t *left_out) {
    *left_out = 0;
    if (!text) return json_null();
    struct rp_text kept = RP_TEXT_INIT;
    rp_keep_text(text, length, mark, rp_own_names_of_process(), &kept, left_out);
    json_t *value = kept.failed ? NULL : json_stringn(kept.bytes ? kept.bytes : "", kept.length);
    rp_text_fini(&kept);
    return value;
}

/* The texts of the question, and how much of them is not here. */
static bool add_texts(json_t *report, const rp_failure_question *question, uint64_t cause) {
    uint64_t error_left;
    uint64_t trace_left;
    size_t error_bytes = question->error ? question->error_bytes : 0;
    bool is_in_error = cause < error_bytes;
    json_t *error = kept_value(question->error ? question->error : "", error_bytes,
                               is_in_error ? cause : error_bytes, &error_left);
    bool has_trace = question->stack_trace && question->stack_trace_bytes > 0;
    json_t *trace =
        kept_value(has_trace ? question->stack_trace : NULL, question->stack_trace_bytes,
                   is_in_error ? question->stack_trace_bytes : cause - error_bytes, &trace_left);
    bool is_good = json_object_set_new(report, "error_message", error) == 0;
    is_good = json_object_set_new(report, "stack_trace", trace) == 0 && is_good;
    json_t *left = json_pack("{s:I, s:I}", "error_message", (json_int_t)error_left, "stack_trace",
                             (json_int_t)trace_left);
    return json_object_set_new(report, "left_out_bytes", left) == 0 && is_good;
}

static const char *hardware_of(const rp_failure_question *question,
                               const struct rp_diagnosis *diagnosis) {
    const char *told = question->hardware;
    if (told && told[0] && strcmp(told, "any") != 0) return told;
    return diagnosis->subject.has_kind ? rp_device_kind_name(diagnosis->subject.kind) : "unknown";
}

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

/* Who and what it is about, and the keys of the guide in their order. */
static bool add_subject(json_t *report, const rp_failure_question *question,
                        const struct rp_diagnosis *diagnosis) {
    const struct rp_failure_subject *subject = &diagnosis->subject;
    const rp_classification *known = &subject->facts.classification;
    bool has_family = subject->family != RP_FAMILY_UNKNOWN;
    bool has_subfamily = subject->has_facts && known->family == subject->family && has_family;
    char time[RP_ISO_TIME_BYTES];
    rp_wall_format_iso(rp_wall_ns(), time, sizeof time);
    json_t *head = json_pack(
        "{s:s, s:s, s:s, s:n, s:n, s:n, s:o, s:o, s:n}", "timestamp", time, "model_name",
        subject->model[0] ? subject->model : "unknown", "hardware_type",
        hardware_of(question, diagnosis), "error_message", "stack_trace", "recommendations",
        "model_family", text_or_null(has_family ? rp_family_name(subject->family) : NULL),
        "subfamily", text_or_null(has_subfamily ? rp_subfamily_name(known->subfamily) : NULL),
        "alternatives");
    bool is_good = head && json_object_update(report, head) == 0;
    json_decref(head);
    return is_good;
}

static bool fill(json_t *report, const rp_failure_question *question,
                 const struct rp_diagnosis *diagnosis) {
    json_t *answer = rp_diagnosis_as_json(diagnosis);
    bool is_good = answer && add_subject(report, question, diagnosis);
    /* The report has these under the guide's names. */
    if (is_good) {
        json_object_del(answer, "hardware");
        json_object_del(answer, "model");
        json_object_del(answer, "family");
    }
    is_good = is_good && json_object_update(report, answer) == 0 && rp_redact_json(report) &&
              add_texts(report, question, diagnosis->cause_start) &&
              json_object_set_new(report, "version", json_string(rp_version_string())) == 0 &&
              json_object_set_new(report, own_key, json_integer(RP_REPORT_VERSION)) == 0;
    json_decref(answer);
    return is_good;
}

rp_status rp_failure_report_make(const rp_failure_question *question, json_t **out, rp_error *err) {
    rp_diagnosis *diagnosis = NULL;
    rp_status status = rp_diagnose(question, &diagnosis, err);
    if (status != RP_OK) return status;
    json_t *report = json_object();
    bool is_good = report && fill(report, question, diagnosis);
    rp_diagnosis_destroy(diagnosis);
    if (!is_good) {
        json_decref(report);
        return fail_no_memory(err);
    }
    *out = report;
    return RP_OK;
}

static int append_to_text(const char *bytes, size_t length, void *user) {
    struct rp_text *text = user;
    rp_text_append(text, bytes, length);
    return text->failed ? -1 : 0;
}

bool rp_report_print(const json_t *value, struct rp_text *out) {
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(15);
    return json_dump_callback(value, append_to_text, out, flags) == 0;
}

rp_status rp_failure_report(const rp_failure_question *question, char **text, rp_error *err) {
    json_t *report = NULL;
    rp_status status = rp_failure_report_make(question, &report, err);
    if (status != RP_OK) return status;
    struct rp_text out = RP_TEXT_INIT;
    bool is_good = rp_report_print(report, &out);
    json_decref(report);
    if (!is_good) {
        rp_text_fini(&out);
        return fail_no_memory(err);
    }
    *text = out.bytes;
    return RP_OK;
}

/* --- reading --------------------------------------------------------------------------------- */

const char *rp_report_text(const json_t *report, const char *key) {
    const char *text = json_string_value(json_object_get(report, key));
    return text ? text : "";
}

rp_status rp_report_read(const char *text, size_t length, const char *source, bool is_ours,
                         json_t **report, rp_error *err) {
    json_error_t problem;
    json_t *read = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (!read) {
        /* Jansson says nothing at all of some allocations that fail. */
        bool is_short = json_error_code(&problem) == json_error_out_of_memory || !problem.text[0];
        if (is_short) return fail_no_memory(err);
        return rp_fail(err, RP_ERR_DATA, "%s is no report of a failure: line %d: %s", source,
                       problem.line, problem.text);
    }
    json_t *inner = json_object_get(read, "report");
    json_t *found = json_incref(json_is_object(inner) ? inner : read);
    json_decref(read);
    bool is_report = json_is_string(json_object_get(found, "error_message")) &&
                     json_is_string(json_object_get(found, "timestamp"));
    if (is_report && (!is_ours || json_is_integer(json_object_get(found, own_key)))) {
        *report = found;
        return RP_OK;
    }
    json_decref(found);
    return rp_fail(err, RP_ERR_DATA, "%s is no report of a failure: it lacks '%s'", source,
                   is_report ? own_key : "error_message' or 'timestamp");
}

/* --- for people ------------------------------------------------------------------------------ */

/* A text on its own lines, each behind `margin`; what would move a cursor is '?'. */
static void print_lines(struct rp_text *out, const char *margin, const char *text) {
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = rp_memdup(text, length + 1);
        if (!line) {
            out->failed = true;
            return;
        }
        line[length] = '\0';
        for (char *at = line; *at; at++) {
            if (*at == '\t') *at = ' ';
        }
        rp_text_make_printable(line);
        rp_text_print(out, "%s%s\n", margin, line);
        rp_free(line);
        text += length + (text[length] == '\n');
    }
}

/* "  model        gpt2" */
static void print_row(struct rp_text *out, const char *name, const char *text) {
    char margin[32];
    if (!text || !text[0]) return;
    snprintf(margin, sizeof margin, "  %-13s", name);
    print_lines(out, margin, text);
}

static void print_facts(struct rp_text *out, json_t *facts) {
    const char *key;
    json_t *value;
    json_object_foreach(facts, key, value) {
        char number[32];
        char line[512];
        const char *text = json_string_value(value);
        bool is_bytes = strncmp(key, "bytes_", 6) == 0 && json_is_integer(value) &&
                        json_integer_value(value) >= 0;
        if (is_bytes) {
            text = rp_text_bytes((uint64_t)json_integer_value(value), number, sizeof number);
        } else if (json_is_integer(value)) {
            snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
            text = number;
        }
        if (!text) continue;
        snprintf(line, sizeof line, "%.60s: %.400s", key, text);
        print_row(out, "fact", line);
    }
}

/* Texts, or objects whose texts stand under `first` and `second`. */
static void print_list(struct rp_text *out, const char *title, json_t *list, const char *first,
                       const char *second) {
    size_t i;
    json_t *row;
    if (json_array_size(list) == 0) return;
    rp_text_print(out, "\n%s\n", title);
    json_array_foreach(list, i, row) {
        const char *text = json_string_value(row);
        print_lines(out, "  - ", text ? text : rp_report_text(row, first));
        if (!text) print_lines(out, "      ", rp_report_text(row, second));
    }
}

static void print_report(struct rp_text *out, json_t *report) {
    char head[128];
    double confidence = json_number_value(json_object_get(report, "confidence"));
    snprintf(head, sizeof head, "report of %.60s", rp_report_text(report, "timestamp"));
    print_lines(out, "", head);
    print_lines(out, "", rp_report_text(report, "line"));
    rp_text_append(out, "\n", 1);
    print_row(out, "model", rp_report_text(report, "model_name"));
    print_row(out, "hardware", rp_report_text(report, "hardware_type"));
    print_row(out, "category", rp_report_text(report, "category"));
    if (confidence > 0 && confidence <= 1) {
        rp_text_print(out, "  %-13s%.2f\n", "confidence", confidence);
    }
    print_row(out, "cause", rp_report_text(report, "cause"));
    print_facts(out, json_object_get(report, "facts"));
    print_list(out, "what to do", json_object_get(report, "recommendations"), "text", "command");
    print_list(out, "how to see whether it worked", json_object_get(report, "checks"), "what",
               "command");
    print_list(out, "elsewhere", json_object_get(report, "alternatives"), "device", "reason");
    rp_text_print(out, "\nerror\n");
    print_lines(out, "  | ", rp_report_text(report, "error_message"));
    if (rp_report_text(report, "stack_trace")[0]) {
        rp_text_print(out, "\nstack trace\n");
        print_lines(out, "  | ", rp_report_text(report, "stack_trace"));
    }
}

rp_status rp_failure_report_show(const char *path, char **text, rp_error *err) {
    char *bytes = NULL;
    size_t length = 0;
    json_t *report = NULL;
    int problem = rp_text_read_file(path, RP_REPORT_BYTES_MAX, &bytes, &length);
    if (problem == EFBIG) {
        return rp_fail(err, RP_ERR_DATA, "'%s' is no report of a failure: larger than %d MiB", path,
                       RP_REPORT_BYTES_MAX >> 20);
    }
    if (problem != 0) {
        errno = problem;
        return rp_fail_errno(err, "cannot read the report '%s'", path);
    }
    struct rp_text source = RP_TEXT_INIT;
    rp_text_print(&source, "'%s'", path);
    rp_status status = source.failed
                           ? fail_no_memory(err)
                           : rp_report_read(bytes, length, source.bytes, false, &report, err);
    rp_text_fini(&source);
    rp_free(bytes);
    if (status != RP_OK) return status;
    struct rp_text out = RP_TEXT_INIT;
    print_report(&out, report);
    json_decref(report);
    if (out.failed) {
        rp_text_fini(&out);
        return fail_no_memory(err);
    }
    *text = out.bytes;
    return RP_OK;
}
