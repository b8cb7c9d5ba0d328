/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preferences from a dictionary: one row a key, with the function that reads it. A key that is not
 * known is told together with the nearest one that is; a value of the wrong type is an error.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <math.h>
#include <resourcepool/placement.h>
#include <stdio.h>
#include <string.h>

enum {
#define RP_DEVICE_KIND_ONE(constant, number, name) +1
    KIND_COUNT = 0 RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE),
#undef RP_DEVICE_KIND_ONE
    TEXT_BYTES = 512,
    TEXT_COUNT = 5,
};

/* The preferences come first, so that the caller's pointer is that of the whole. */
struct owned {
    rp_preferences preferences;
    rp_device_kind priority[KIND_COUNT];
    rp_compatibility compatibility[KIND_COUNT];
    char texts[TEXT_COUNT][TEXT_BYTES];
    size_t text_count;
};

struct reading {
    struct owned *owned;
    const char *key;
    const json_t *value;
    rp_error *err;
};

RP_PRINTF(2, 3)
static rp_status refuse(const struct reading *at, const char *format, ...) {
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rp_fail(at->err, RP_ERR_DATA, "preference '%s': %s", at->key, what);
}

static rp_status read_text(const struct reading *at, const char **field) {
    const char *text = json_string_value(at->value);
    if (!text) return refuse(at, "a text is needed");
    size_t length = json_string_length(at->value);
    if (length >= TEXT_BYTES || rp_text_control_at(text, length) < length) {
        return refuse(at, "fewer than %d bytes, without control characters", TEXT_BYTES);
    }
    char *copy = at->owned->texts[at->owned->text_count++];
    memcpy(copy, text, length + 1);
    *field = copy;
    return RP_OK;
}

static rp_status read_truth(const struct reading *at, bool *field) {
    if (!json_is_boolean(at->value)) return refuse(at, "true or false is needed");
    *field = json_is_true(at->value);
    return RP_OK;
}

static rp_status read_number(const struct reading *at, uint32_t *field) {
    json_int_t number = json_integer_value(at->value);
    if (!json_is_integer(at->value) || number < 0 || number >= RP_UNKNOWN_U32) {
        return refuse(at, "a whole number from 0 is needed");
    }
    *field = (uint32_t)number;
    return RP_OK;
}

static rp_status read_device(const struct reading *at) {
    return read_text(at, &at->owned->preferences.device);
}

static rp_status read_policy(const struct reading *at) {
    const char *name = json_string_value(at->value);
    if (name && rp_policy_parse(name, &at->owned->preferences.policy, NULL) == RP_OK) return RP_OK;
    return refuse(at, "one of require, prefer, any is needed");
}

static rp_status read_force_device(const struct reading *at) {
    return read_truth(at, &at->owned->preferences.force_device);
}

/* "cuda:1" in a list of kinds is the kind. */
static rp_status read_kind(const struct reading *at, const char *name, rp_device_kind *kind) {
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(name, ":"), name);
    if (rp_device_kind_parse(word, kind, NULL) == RP_OK) return RP_OK;
    rp_status status = refuse(at, "'%.40s' is no kind of device", name);
    rp_hint(at->err, "the kinds are cpu cuda rocm mps openvino qualcomm tpu webnn webgpu");
    return status;
}

static rp_status read_priority(const struct reading *at) {
    struct owned *owned = at->owned;
    if (!json_is_array(at->value)) return refuse(at, "a list of kinds is needed");
    for (size_t i = 0; i < json_array_size(at->value); i++) {
        const char *name = json_string_value(json_array_get(at->value, i));
        rp_device_kind kind;
        if (!name) return refuse(at, "element %zu is no text", i);
        rp_status status = read_kind(at, name, &kind);
        if (status != RP_OK) return status;
        bool is_new = true;
        for (size_t j = 0; j < owned->preferences.priority_count; j++) {
            is_new &= owned->priority[j] != kind;
        }
        if (is_new) owned->priority[owned->preferences.priority_count++] = kind;
    }
    owned->preferences.priority = owned->priority;
    return RP_OK;
}

static rp_status read_index(const struct reading *at) {
    return read_number(at, &at->owned->preferences.preferred_index);
}

static rp_status read_distribution(const struct reading *at) {
    const char *name = json_string_value(at->value);
    if (name && strcmp(name, "spread") == 0) {
        at->owned->preferences.distribution = RP_DISTRIBUTION_SPREAD;
    } else if (name && strcmp(name, "pack") == 0) {
        at->owned->preferences.distribution = RP_DISTRIBUTION_PACK;
    } else {
        return refuse(at, "'spread' or 'pack' is needed");
    }
    return RP_OK;
}

/* {"compatible": true, "memory_usage": {"peak": 500}}, the peak in MiB. */
static rp_status read_known(const struct reading *at, const char *name, const json_t *value,
                            rp_compatibility *known) {
    const json_t *compatible = json_object_get(value, "compatible");
    const json_t *peak = json_object_get(json_object_get(value, "memory_usage"), "peak");
    if (!json_is_object(value)) return refuse(at, "'%.40s' is no dictionary", name);
    if (compatible && !json_is_boolean(compatible) && !json_is_null(compatible)) {
        return refuse(at, "'compatible' of '%.40s' is neither true nor false", name);
    }
    known->compatible = json_is_true(compatible)    ? RP_ANSWER_YES
                        : json_is_false(compatible) ? RP_ANSWER_NO
                                                    : RP_ANSWER_UNKNOWN;
    known->peak_bytes = RP_UNKNOWN_U64;
    if (!peak || json_is_null(peak)) return RP_OK;
    double mebibytes = json_number_value(peak);
    if (!json_is_number(peak) || !(mebibytes >= 0 && mebibytes < 1e9)) {
        return refuse(at, "'memory_usage.peak' of '%.40s' is no number of MiB", name);
    }
    known->peak_bytes = (uint64_t)(mebibytes * 1048576.0);
    return RP_OK;
}

static rp_status read_compatibility(const struct reading *at) {
    struct owned *owned = at->owned;
    const char *name;
    json_t *value;
    if (!json_is_object(at->value)) return refuse(at, "a dictionary by kinds is needed");
    void *each = json_object_iter((json_t *)(uintptr_t)at->value);
    for (; each; each = json_object_iter_next((json_t *)(uintptr_t)at->value, each)) {
        name = json_object_iter_key(each);
        value = json_object_iter_value(each);
        rp_compatibility known;
        rp_status status = read_kind(at, name, &known.kind);
        if (status == RP_OK) status = read_known(at, name, value, &known);
        if (status != RP_OK) return status;
        size_t count = owned->preferences.compatibility_count;
        size_t place = 0;
        while (place < count && owned->compatibility[place].kind != known.kind) {
            place++;
        }
        owned->compatibility[place] = known;
        if (place == count) owned->preferences.compatibility_count++;
    }
    owned->preferences.compatibility = owned->compatibility;
    return RP_OK;
}

static rp_status read_low_memory(const struct reading *at) {
    return read_truth(at, &at->owned->preferences.force_low_memory);
}

static rp_status read_precision(const struct reading *at) {
    return read_text(at, &at->owned->preferences.precision);
}

static rp_status read_require_precision(const struct reading *at) {
    return read_truth(at, &at->owned->preferences.require_precision);
}

static rp_status read_precisions(const struct reading *at) {
    return read_text(at, &at->owned->preferences.precisions);
}

static rp_status read_family(const struct reading *at) {
    const char *name = json_string_value(at->value);
    for (int i = 0; name && rp_family_name((rp_family)i); i++) {
        if (strcmp(rp_family_name((rp_family)i), name) != 0) continue;
        at->owned->preferences.family = (rp_family)i;
        return RP_OK;
    }
    return refuse(at, "'%.40s' is no family", name ? name : "that");
}

static rp_status read_subfamily(const struct reading *at) {
    const char *name = json_string_value(at->value);
    if (name && strcmp(name, "web_deployment") == 0) {
        at->owned->preferences.web_deployment = true;
        return RP_OK;
    }
    for (int i = 1; name && rp_subfamily_name((rp_subfamily)i); i++) {
        if (strcmp(rp_subfamily_name((rp_subfamily)i), name) != 0) continue;
        at->owned->preferences.subfamily = (rp_subfamily)i;
        return RP_OK;
    }
    return refuse(at, "'%.40s' is no subfamily", name ? name : "that");
}

static rp_status read_simulation(const struct reading *at) {
    return read_truth(at, &at->owned->preferences.fallback_to_simulation);
}

static rp_status read_browser(const struct reading *at) {
    return read_truth(at, &at->owned->preferences.browser_optimized);
}

static rp_status read_engine(const struct reading *at) {
    return read_text(at, &at->owned->preferences.engine);
}

static rp_status read_description(const struct reading *at) {
    return read_text(at, &at->owned->preferences.description);
}

static rp_status read_batch(const struct reading *at) {
    return read_number(at, &at->owned->preferences.workload.batch_size);
}

static rp_status read_context(const struct reading *at) {
    return read_number(at, &at->owned->preferences.workload.context_length);
}

static const struct key {
    const char *name;
    rp_status (*read)(const struct reading *at);
} keys[] = {
    {"device", read_device},
    {"policy", read_policy},
    {"force_device", read_force_device},
    {"priority_list", read_priority},
    {"preferred_index", read_index},
    {"distribution", read_distribution},
    {"hw_compatibility", read_compatibility},
    {"force_low_memory", read_low_memory},
    {"precision", read_precision},
    {"require_precision", read_require_precision},
    {"precisions", read_precisions},
    {"model_family", read_family},
    {"subfamily", read_subfamily},
    {"fallback_to_simulation", read_simulation},
    {"browser_optimized", read_browser},
    {"engine", read_engine},
    {"description", read_description},
    {"batch_size", read_batch},
    {"context_length", read_context},
};
enum { KEY_COUNT = sizeof keys / sizeof keys[0], KEY_BYTES_MAX = 32 };

/* How many letters must be put in, taken out or changed; the longer one is below KEY_BYTES_MAX. */
static size_t distance(const char *a, const char *b) {
    size_t row[KEY_BYTES_MAX];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t changed = corner + (a[i] != b[j]);
            corner = row[j + 1];
            size_t shorter = row[j] < corner ? row[j] : corner;
            row[j + 1] = changed < shorter + 1 ? changed : shorter + 1;
        }
    }
    return row[width];
}

/* The known key that a misspelt one is nearest to, or the beginning of; NULL: none is near. */
static const char *nearest_key(const char *name) {
    const char *best = NULL;
    size_t length = strlen(name);
    size_t best_distance = length / 2 + 1;
    if (length >= KEY_BYTES_MAX) return NULL;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (length >= 4 && strncmp(keys[i].name, name, length) == 0) return keys[i].name;
        size_t far = distance(name, keys[i].name);
        if (far >= best_distance) continue;
        best_distance = far;
        best = keys[i].name;
    }
    return best;
}

static void warn(const char *name, char *warning, size_t warning_bytes) {
    if (!warning || warning_bytes == 0) return;
    size_t length = strlen(warning);
    const char *nearest = nearest_key(name);
    snprintf(warning + length, warning_bytes - length, "%spreference '%.40s' is not known%s%s%s",
             length ? "; " : "", name, nearest ? ": did you mean '" : "", nearest ? nearest : "",
             nearest ? "'?" : "");
    rp_text_make_printable(warning);
}

static rp_status read_all(const json_t *root, struct owned *owned, char *warning,
                          size_t warning_bytes, rp_error *err) {
    json_t *object = (json_t *)(uintptr_t)root; /* jansson's iterators do not say const */
    for (void *each = json_object_iter(object); each; each = json_object_iter_next(object, each)) {
        struct reading at = {owned, json_object_iter_key(each), json_object_iter_value(each), err};
        size_t i = 0;
        while (i < KEY_COUNT && strcmp(keys[i].name, at.key) != 0) {
            i++;
        }
        if (i == KEY_COUNT) {
            warn(at.key, warning, warning_bytes);
            continue;
        }
        if (json_is_null(at.value)) continue; /* no preference, as None in Python */
        rp_status status = keys[i].read(&at);
        if (status != RP_OK) return status;
    }
    return RP_OK;
}

rp_status rp_preferences_parse(const char *json, size_t length, rp_preferences **preferences,
                               char *warning, size_t warning_bytes, rp_error *err) {
    if (!json || !preferences) {
        return rp_fail(err, RP_ERR_ARGUMENT, "JSON and a place for the preferences are needed");
    }
    if (length > RP_LIMIT_PREFERENCES_BYTES) {
        return rp_fail(err, RP_ERR_LIMIT, "preferences of %zu bytes, at most %d are read", length,
                       RP_LIMIT_PREFERENCES_BYTES);
    }
    if (warning && warning_bytes > 0) warning[0] = '\0';
    struct owned *owned = rp_alloc(sizeof *owned);
    if (!owned) return rp_fail(err, RP_ERR_MEMORY, "no memory for preferences");
    owned->preferences = (rp_preferences)RP_PREFERENCES_INIT;
    json_error_t problem;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &problem);
    rp_status status = RP_OK;
    if (!root) {
        status = problem.text[0] == '\0'
                     ? rp_fail(err, RP_ERR_MEMORY, "no memory for preferences")
                     : rp_fail(err, RP_ERR_DATA, "preferences: line %d, column %d: %s",
                               problem.line, problem.column, problem.text);
    } else if (!json_is_object(root)) {
        status = rp_fail(err, RP_ERR_DATA, "preferences are a dictionary: {\"device\": \"auto\"}");
    } else {
        status = read_all(root, owned, warning, warning_bytes, err);
    }
    json_decref(root);
    if (status == RP_OK) {
        *preferences = &owned->preferences;
    } else {
        rp_free(owned);
    }
    return status;
}

void rp_preferences_destroy(rp_preferences *preferences) {
    rp_free(preferences);
}
