/* SPDX-License-Identifier: Apache-2.0 */
#include "diagnose_line.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_BYTES_MAX = 128 }; /* of one that is kept as it is typed */

static int hex_at(const char *at) {
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    if (strspn(digits, "0123456789abcdefABCDEF") != 4) return -1;
    return (int)strtol(digits, NULL, 16);
}

/* Whether the escape at `at`, "\uD83D", is half of a character, and its other half follows. */
static bool is_whole_pair(const char *at, size_t left, int first) {
    if (first >= 0xDC00 || left < 12 || at[6] != '\\' || at[7] != 'u') return false;
    int second = hex_at(at + 8);
    return second >= 0xDC00 && second < 0xE000;
}

/*
 * What Python writes of bytes that are no text, "\udcff", and such bytes as they are: each becomes
 * one that can be read. In place, no byte more.
 */
static void mend_text(char *line, size_t length) {
    for (size_t i = 0; i < length;) {
        size_t left = length - i;
        if (line[i] == '\\' && left > 1 && line[i + 1] != 'u') {
            i += 2;
            continue;
        }
        int code = line[i] == '\\' && left >= 6 ? hex_at(line + i + 2) : -1;
        if (code >= 0xD800 && code < 0xE000) {
            if (is_whole_pair(line + i, left, code)) {
                i += 12;
                continue;
            }
            memcpy(line + i + 2, "fffd", 4);
        }
        size_t step = 1;
        if ((unsigned char)line[i] >= 0x80) {
            json_t *one = NULL;
            for (step = 2; step <= 4 && step <= left && !one; step++) {
                one = json_stringn(line + i, step);
            }
            step = one ? step - 1 : 1;
            if (!one) line[i] = '?';
            json_decref(one);
        }
        i += step;
    }
}

static size_t skip_blanks(const char *line, size_t length, size_t at) {
    while (at < length && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    return at;
}

/* An id that is a number beyond 64 bits: keep it as it is typed, and let 0 stand in its place. */
static bool mend_id(struct line *line) {
    static const char number[] = "+-.0123456789Ee";
    char *text = line->text;
    size_t length = line->length;
    int depth = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '{' || text[i] == '[') depth++;
        if (text[i] == '}' || text[i] == ']') depth--;
        if (text[i] != '"') continue;
        size_t start = ++i;
        while (i < length && text[i] != '"') {
            i += text[i] == '\\' ? 2 : 1;
        }
        bool is_id = depth == 1 && i - start == 2 && memcmp(text + start, "id", 2) == 0;
        size_t at = skip_blanks(text, length, i + 1);
        if (!is_id || at >= length || text[at] != ':') continue;
        at = skip_blanks(text, length, at + 1);
        size_t bytes = 0;
        while (at + bytes < length && strchr(number, text[at + bytes]) && text[at + bytes]) {
            bytes++;
        }
        if (bytes == 0 || bytes >= ID_BYTES_MAX || line->id) return false;
        line->id = strndup(text + at, bytes);
        if (!line->id) return false;
        memset(text + at, ' ', bytes);
        text[at] = '0';
        return true;
    }
    return false;
}

/* Answer a line that is none, with the reason. */
static void refuse(struct line *line, const char *why) {
    json_t *text = json_sprintf("line %zu: %s", line->number, why);
    if (text) line->reason = json_dumps(text, JSON_ENCODE_ANY);
    json_decref(text);
}

/* The line as an object; NULL once it is refused. */
static json_t *parse(struct line *line) {
    json_error_t problem;
    json_t *object = json_loadb(line->text, line->length, JSON_ALLOW_NUL, &problem);
    for (int tries = 0; !object && tries < 2; tries++) {
        enum json_error_code code = json_error_code(&problem);
        if (code == json_error_numeric_overflow && !mend_id(line)) break;
        if (code != json_error_numeric_overflow) mend_text(line->text, line->length);
        object = json_loadb(line->text, line->length, JSON_ALLOW_NUL, &problem);
    }
    if (json_is_object(object)) return object;
    char why[256];
    snprintf(why, sizeof why, "no JSON object: %.200s", object ? "something else" : problem.text);
    json_decref(object);
    free(line->id);
    line->id = NULL;
    refuse(line, why);
    return NULL;
}

/* The text of a key; NULL where there is none, or null. False once the line is refused. */
static bool take(struct line *line, const json_t *object, const char *key, const char **text,
                 size_t *length) {
    const json_t *value = json_object_get(object, key);
    char why[128];
    if (!value || json_is_null(value)) return true;
    if (!json_is_string(value)) {
        snprintf(why, sizeof why, "'%s' is no text", key);
        refuse(line, why);
        return false;
    }
    *text = json_string_value(value);
    if (length) {
        *length = json_string_length(value);
        return true;
    }
    if (strlen(*text) == json_string_length(value)) return true;
    snprintf(why, sizeof why, "'%s' has a zero byte", key);
    refuse(line, why);
    return false;
}

/* False once the line is refused. */
static bool read_question(struct line *line, const json_t *object, rp_failure_question *question) {
    return take(line, object, "error", &question->error, &question->error_bytes) &&
           take(line, object, "stack_trace", &question->stack_trace,
                &question->stack_trace_bytes) &&
           take(line, object, "hardware", &question->hardware, NULL) &&
           take(line, object, "model", &question->model, NULL);
}

void line_answer(struct line *line, const rp_failure_question *defaults) {
    if (!line->text) {
        refuse(line, "longer than 64 MiB");
        return;
    }
    json_t *object = parse(line);
    if (!object) return;
    const json_t *id = json_object_get(object, "id");
    if (id && !line->id) line->id = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
    rp_failure_question question = *defaults;
    if (id && !line->id) {
        refuse(line, "out of memory");
    } else if (read_question(line, object, &question)) {
        rp_error err = RP_ERROR_INIT;
        rp_diagnosis *diagnosis = NULL;
        rp_status status = rp_diagnose(&question, &diagnosis, &err);
        if (status == RP_OK) status = rp_diagnosis_to_json(diagnosis, 0, &line->answer, &err);
        if (status != RP_OK) refuse(line, err.message);
        rp_diagnosis_destroy(diagnosis);
    }
    json_decref(object);
}

bool line_print(struct line *line) {
    const char *id = line->id ? line->id : "null";
    bool is_refused = !line->answer;
    if (is_refused) {
        printf("{\"id\":%s,\"error\":%s}\n", id, line->reason ? line->reason : "\"out of memory\"");
    } else {
        printf("{\"id\":%s,%s\n", id, line->answer + 1);
    }
    rp_string_free(line->answer);
    free(line->reason);
    free(line->id);
    return is_refused;
}
