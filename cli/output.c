/* SPDX-License-Identifier: Apache-2.0 */
/* What every command says the same way: errors, numbers, JSON. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int report(const rp_error *err) {
    fprintf(stderr, "rpool: %s\n", err->message);
    if (err->hint[0]) fprintf(stderr, "hint: %s\n", err->hint);
    return rp_status_exit_code(err->status);
}

/* The failure and its diagnosis, which may be NULL; a diagnosis that has no JSON is left out. */
static json_t *describe_failure(const rp_error *err, const rp_diagnosis *diagnosis) {
    char *text = NULL;
    json_t *whole = json_null();
    const char *advice = diagnosis ? rp_diagnosis_recommendation(diagnosis, 0) : NULL;
    if (diagnosis && rp_diagnosis_to_json(diagnosis, 0, &text, NULL) == RP_OK) {
        json_t *parsed = json_loads(text, 0, NULL);
        if (parsed) whole = parsed;
    }
    rp_string_free(text);
    json_t *row =
        json_pack("{s:s, s:o, s:o}", "status", rp_status_name(err->status), "message",
                  json_text(err->message), "hint", json_text(err->hint[0] ? err->hint : NULL));
    json_object_set_new(row, "category",
                        diagnosis ? json_string(rp_category_name(rp_diagnosis_category(diagnosis)))
                                  : json_null());
    json_object_set_new(row, "confidence",
                        diagnosis ? json_real(rp_diagnosis_confidence(diagnosis)) : json_null());
    json_object_set_new(row, "line", json_text(diagnosis ? rp_diagnosis_line(diagnosis) : NULL));
    json_object_set_new(row, "recommendation", json_text(advice));
    json_object_set_new(row, "diagnosis", whole);
    return row;
}

int report_failure(const rp_error *err, const char *device, const char *model, bool json) {
    rp_failure_question about = RP_FAILURE_QUESTION_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_diagnosis *diagnosis = NULL;
    about.hardware = device;
    about.model = model;
    if (rp_hardware_snapshot(&snapshot, NULL) == RP_OK) about.snapshot = snapshot;
    if (rp_failure_explain(err, &about, &diagnosis, NULL) != RP_OK) diagnosis = NULL;
    int code = report(err);
    static const double LEAST_TOLD = 0.5; /* what is less sure is a guess, and a message is there */
    if (diagnosis && rp_diagnosis_category(diagnosis) != RP_CATEGORY_UNKNOWN &&
        rp_diagnosis_confidence(diagnosis) >= LEAST_TOLD) {
        fprintf(stderr, "why: %s (%.2f): %s\n", rp_category_name(rp_diagnosis_category(diagnosis)),
                rp_diagnosis_confidence(diagnosis), rp_diagnosis_line(diagnosis));
    }
    if (json) print_json(json_pack("{s:o}", "error", describe_failure(err, diagnosis)));
    rp_diagnosis_destroy(diagnosis);
    if (snapshot) rp_snapshot_release(snapshot);
    return code;
}

bool parse_number(const char *command, const char *option, const char *text, long min, long max,
                  long *value) {
    if (!text) return true;
    errno = 0;
    char *end;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < min || number > max) {
        usage_error(command, "'%s%s %s': not a whole number from %ld to %ld",
                    option[1] ? "--" : "-", option, text, min, max);
        return false;
    }
    *value = number;
    return true;
}

void print_name(const char *name) {
    for (; *name; name++) {
        unsigned char byte = (unsigned char)*name;
        putchar(byte < 0x20 || byte == 0x7F ? '?' : byte);
    }
}

static int print_as(json_t *document, size_t flags) {
    if (!document) {
        fprintf(stderr, "rpool: cannot make the JSON document: out of memory\n");
        return 1;
    }
    int failed = json_dumpf(document, stdout, flags);
    json_decref(document);
    if (failed || putchar('\n') == EOF) return 1; /* main() says that stdout cannot be written */
    return 0;
}

int print_json(json_t *document) {
    return print_as(document, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
}

int print_json_line(json_t *document) {
    return print_as(document, JSON_COMPACT | JSON_REAL_PRECISION(4));
}

/* A text that is not all UTF-8: U+FFFD stands for each byte that is none. Jansson knows which. */
static json_t *json_mended(const char *text) {
    static const char stranger[] = "\xEF\xBF\xBD";
    size_t length = strlen(text);
    char *mended = malloc(3 * length + 1);
    size_t used = 0;
    for (size_t i = 0; mended && i < length;) {
        size_t bytes = 1;
        json_t *one = NULL;
        for (; bytes <= 4 && bytes <= length - i && !one; bytes++) {
            one = json_stringn(text + i, bytes);
        }
        const char *from = one ? text + i : stranger;
        size_t taken = one ? bytes - 1 : 3;
        memcpy(mended + used, from, taken);
        used += taken;
        i += one ? taken : 1;
        json_decref(one);
    }
    json_t *whole = mended ? json_stringn(mended, used) : NULL;
    free(mended);
    return whole;
}

json_t *json_text(const char *text) {
    if (!text) return json_null();
    json_t *whole = json_string(text);
    return whole ? whole : json_mended(text);
}

json_t *json_bytes(uint64_t bytes) {
    return bytes == RP_UNKNOWN_U64 ? json_null() : json_integer((json_int_t)bytes);
}

json_t *json_placement(const rp_placement *placement) {
    return json_pack("{s:o, s:o, s:o, s:s, s:o}", "device", json_text(placement->device),
                     "precision", json_text(placement->precision), "engine",
                     json_text(placement->engine), "policy", rp_policy_name(placement->policy),
                     "reason", json_text(placement->reason));
}

const char *bytes_text(uint64_t bytes) {
    static char texts[4][24];
    static unsigned next;
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes == RP_UNKNOWN_U64) return "unknown";
    char *text = texts[next++ % 4];
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.95 && unit < 6) {
        value /= 1024;
        unit++;
    }
    snprintf(text, sizeof texts[0], unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *age_text(double milliseconds) {
    static char texts[4][48];
    static unsigned next;
    char *text = texts[next++ % 4];
    double seconds = milliseconds / 1e3;
    if (milliseconds < 0) return "unknown";
    if (milliseconds < 999.5) {
        snprintf(text, sizeof texts[0], "%.0f ms", milliseconds);
    } else if (seconds < 9.95) {
        snprintf(text, sizeof texts[0], "%.1f s", seconds);
    } else if (seconds < 120) {
        snprintf(text, sizeof texts[0], "%.0f s", seconds);
    } else if (seconds < 7200) {
        snprintf(text, sizeof texts[0], "%.0f min", seconds / 60);
    } else if (seconds < 172800) {
        long minutes = (long)(seconds / 60);
        snprintf(text, sizeof texts[0], "%ld h %ld min", minutes / 60, minutes % 60);
    } else {
        snprintf(text, sizeof texts[0], "%.0f days", seconds / 86400);
    }
    return text;
}
