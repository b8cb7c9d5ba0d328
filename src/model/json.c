/* SPDX-License-Identifier: Apache-2.0 */
#include "model/json.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <resourcepool/hardware.h>
#include <string.h>

/* Overwrite a word that is no JSON, such as "Infinity", with a number that counts nothing. */
static size_t replace_word(char *text, size_t at, size_t length, const char *word) {
    size_t word_length = strlen(word);
    if (length - at < word_length || memcmp(text + at, word, word_length) != 0) return 0;
    memset(text + at, ' ', word_length);
    text[at] = '0';
    return word_length - 1;
}

/*
 * One pass over the text, before it is parsed: how deep it nests, how many values it has at most,
 * and words that only Python writes.
 */
static rp_status check_extent(char *text, size_t length, enum rp_json_kind kind, const char *name,
                              rp_error *err) {
    size_t depth = 0;
    size_t values = 0;
    bool is_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (is_string) {
            if (c == '\\') i++;
            is_string = c != '"';
        } else if (c == '"') {
            is_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            values++;
        } else if (c == '}' || c == ']') {
            if (depth > 0) depth--;
        } else if (c == ',') {
            values++;
        } else if (kind == RP_JSON_CONFIG && c == 'N') {
            i += replace_word(text, i, length, "NaN");
        } else if (kind == RP_JSON_CONFIG && c == 'I') {
            i += replace_word(text, i, length, "Infinity");
        }
        if (depth > RP_LIMIT_JSON_DEPTH) {
            return rp_fail(err, RP_ERR_LIMIT, "'%s': nests more than %d deep at byte %zu", name,
                           RP_LIMIT_JSON_DEPTH, i);
        }
        if (values > RP_LIMIT_JSON_VALUES) {
            return rp_fail(err, RP_ERR_LIMIT, "'%s': more than %d values", name,
                           RP_LIMIT_JSON_VALUES);
        }
    }
    return RP_OK;
}

static rp_status fail_syntax(const char *name, uint64_t offset, const json_error_t *error,
                             rp_error *err) {
    /*
     * jansson says nothing where it lacks memory, except inside a string: that it calls damaged,
     * and nothing tells the two apart.
     */
    if (error->text[0] == '\0') {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the JSON of '%s'", name);
    }
    uint64_t at = offset + (error->position > 0 ? (uint64_t)error->position : 0);
    return rp_fail(err, RP_ERR_DATA, "'%s': line %d, byte %llu: %s", name, error->line,
                   (unsigned long long)at, error->text);
}

rp_status rp_json_read(const struct rp_source *source, uint64_t offset, size_t length,
                       enum rp_json_kind kind, const char *what, json_t **root, rp_error *err) {
    char *text = rp_alloc(length);
    if (!text) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the %zu bytes of %s of '%s'", length,
                       what, source->name);
    }
    json_t *parsed = NULL;
    rp_status status = rp_source_read(source, offset, text, length, what, err);
    if (status == RP_OK) status = check_extent(text, length, kind, source->name, err);
    if (status == RP_OK) {
        json_error_t error;
        parsed = json_loadb(
            text, length, kind == RP_JSON_TABLE ? JSON_REJECT_DUPLICATES : JSON_DECODE_INT_AS_REAL,
            &error);
        if (!parsed) status = fail_syntax(source->name, offset, &error, err);
    }
    rp_free(text);
    if (status == RP_OK) *root = parsed;
    return status;
}

rp_status rp_json_read_file(const struct rp_source *source, size_t bytes_max,
                            enum rp_json_kind kind, json_t **root, rp_error *err) {
    if (source->size > bytes_max) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' has %llu bytes, such a file has at most %zu",
                       source->name, (unsigned long long)source->size, bytes_max);
    }
    return rp_json_read(source, 0, (size_t)source->size, kind, "the file", root, err);
}

uint32_t rp_json_count(const json_t *object, const char *const *keys) {
    for (; *keys; keys++) {
        const json_t *value = json_object_get(object, *keys);
        if (!json_is_number(value)) continue;
        double number = json_number_value(value);
        if (number >= 1 && number < RP_UNKNOWN_U32 && floor(number) == number) {
            return (uint32_t)number;
        }
    }
    return RP_UNKNOWN_U32;
}

const char *rp_json_text(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

bool rp_json_truth(const json_t *object, const char *key, bool otherwise) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}
