/* SPDX-License-Identifier: Apache-2.0 */
/* A diagnosis as JSON and as a text for people. */
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "failure/diagnosis.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below this an answer says what else it may be. */
static const double SURE = 0.75;

static json_t *json_or_null(const char *text) {
    return text && *text ? json_string(text) : json_null();
}

static json_t *json_of_fact(const struct rp_fact *fact) {
    switch (rp_fact_type_of(fact->name)) {
    case RP_FACT_BYTES:
    case RP_FACT_NUMBER:
        return json_integer((json_int_t)fact->number);
    case RP_FACT_VERSION:
    case RP_FACT_WORD:
    case RP_FACT_PATH:
    case RP_FACT_TEXT:
        break;
    }
    return json_string(fact->text);
}

static json_t *json_of_facts(const struct rp_facts *facts) {
    json_t *object = json_object();
    for (int name = 0; name < RP_FACT_NAME_COUNT; name++) {
        const struct rp_fact *fact = rp_facts_find(facts, (enum rp_fact_name)name);
        if (fact) json_object_set_new(object, rp_fact_name_text(fact->name), json_of_fact(fact));
    }
    return object;
}

static void append_span(json_t *list, const char *fact, const char *text, uint64_t start,
                        uint64_t end) {
    json_array_append_new(list,
                          json_pack("{s:o, s:s, s:I, s:I}", "fact", json_or_null(fact), "text",
                                    text, "start", (json_int_t)start, "end", (json_int_t)end));
}

static json_t *json_of_evidence(const struct rp_diagnosis *diagnosis) {
    json_t *list = json_array();
    for (size_t i = 0; i < diagnosis->evidence_count; i++) {
        const struct rp_evidence *evidence = &diagnosis->evidence[i];
        append_span(list, NULL, evidence->text, evidence->start, evidence->end);
        json_t *row = json_array_get(list, json_array_size(list) - 1);
        if (row) json_object_set_new(row, "line", json_integer((json_int_t)evidence->line));
    }
    for (int name = 0; name < RP_FACT_NAME_COUNT; name++) {
        const struct rp_fact *fact = rp_facts_find(&diagnosis->facts, (enum rp_fact_name)name);
        if (!fact || fact->is_derived) continue; /* a derived one stands nowhere */
        append_span(list, rp_fact_name_text(fact->name), fact->text, fact->start, fact->end);
    }
    return list;
}

static json_t *json_of_rivals(const struct rp_diagnosis *diagnosis) {
    json_t *list = json_array();
    if (diagnosis->confidence >= SURE) return list;
    json_array_append_new(list, json_string(rp_category_name(diagnosis->category)));
    for (size_t i = 0; i < diagnosis->rival_count && i < 2; i++) {
        json_array_append_new(list, json_string(rp_category_name(diagnosis->rivals[i])));
    }
    return list;
}

static json_t *json_of_texts(char *const *texts, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(texts[i]));
    }
    return list;
}

static json_t *json_of_checks(const struct rp_advice *advice) {
    json_t *list = json_array();
    for (size_t i = 0; i < advice->check_count; i++) {
        json_array_append_new(list, json_pack("{s:s, s:o}", "what", advice->checks[i].what,
                                              "command", json_or_null(advice->checks[i].command)));
    }
    return list;
}

static json_t *json_of_alternatives(const struct rp_advice *advice) {
    json_t *list = json_array();
    for (size_t i = 0; i < advice->alternative_count; i++) {
        const struct rp_alternative *each = &advice->alternatives[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "device", each->device, "reason",
                                              each->reason, "simulated", each->simulated));
    }
    return list;
}

json_t *rp_diagnosis_as_json(const struct rp_diagnosis *diagnosis) {
    const struct rp_failure_subject *subject = &diagnosis->subject;
    const struct rp_advice *advice = &diagnosis->advice;
    const char *hardware = subject->hardware[0] ? subject->hardware
                           : subject->has_kind  ? rp_device_kind_name(subject->kind)
                                                : NULL;
    return json_pack(
        "{s:s, s:f, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "category",
        rp_category_name(diagnosis->category), "confidence",
        (double)(int)(diagnosis->confidence * 1000 + 0.5) / 1000, "cause",
        json_or_null(diagnosis->cause), "line", diagnosis->line, "between",
        json_of_rivals(diagnosis), "facts", json_of_facts(&diagnosis->facts), "recommendations",
        json_of_texts(advice->recommendations, advice->recommendation_count), "checks",
        json_of_checks(advice), "alternatives", json_of_alternatives(advice), "hardware",
        json_or_null(hardware), "model", json_or_null(subject->model), "family",
        json_or_null(subject->family == RP_FAMILY_UNKNOWN ? NULL : rp_family_name(subject->family)),
        "known_problem", json_or_null(advice->known_problem), "silent_fallback",
        diagnosis->is_silent_fallback, "evidence", json_of_evidence(diagnosis));
}

rp_status rp_diagnosis_to_json(const rp_diagnosis *diagnosis, int indent, char **text,
                               rp_error *err) {
    enum { USUAL_BYTES = 16 << 10 }; /* most answers have 2 to 4 kB */
    size_t flags =
        (indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT) | JSON_REAL_PRECISION(6);
    json_t *document = rp_diagnosis_as_json(diagnosis);
    char usual[USUAL_BYTES];
    size_t length = document ? json_dumpb(document, usual, sizeof usual, flags) : 0;
    char *copy = length > 0 ? rp_alloc(length + 1) : NULL;
    if (copy && length <= sizeof usual) memcpy(copy, usual, length);
    bool is_whole =
        copy && (length <= sizeof usual || json_dumpb(document, copy, length, flags) == length);
    json_decref(document);
    if (!is_whole) {
        rp_free(copy);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a diagnosis as JSON");
    }
    *text = copy;
    return RP_OK;
}

/* --- for people ---------------------------------------------------------------------------- */

enum {
    COLUMNS = 100, /* of a line; one word may be longer */
    LABEL_COLUMNS = 14,
    CAUSE_COLUMNS = 2 * (COLUMNS - LABEL_COLUMNS), /* more of it is in the JSON form */
};

/* Cut lines between words, and begin each further one with `indent` blanks. The first one has
 * `column` letters already. Letters beyond ASCII count as what they have in bytes, at most. */
static void print_wrapped(struct rp_text *text, const char *words, int column, int indent) {
    bool is_first = true;
    while (*words) {
        words += strspn(words, " ");
        size_t length = strcspn(words, " ");
        if (length == 0) break;
        bool fits = is_first || column + 1 + (int)length <= COLUMNS;
        if (!fits) {
            rp_text_print(text, "\n%*s", indent, "");
            column = indent;
        } else if (!is_first) {
            rp_text_print(text, " ");
            column++;
        }
        rp_text_print(text, "%.*s", (int)length, words);
        column += (int)length;
        words += length;
        is_first = false;
    }
    rp_text_print(text, "\n");
}

/* Two lines of it: cut between letters. */
static void print_cause(struct rp_text *text, const char *cause) {
    char shown[CAUSE_COLUMNS + 8];
    size_t length = strlen(cause);
    bool is_long = length > CAUSE_COLUMNS;
    if (is_long) {
        length = CAUSE_COLUMNS - 3;
        while (length > 0 && ((unsigned char)cause[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    memcpy(shown, cause, length);
    memcpy(shown + length, is_long ? "..." : "", is_long ? 4 : 1);
    rp_text_print(text, "  cause       ");
    print_wrapped(text, shown, LABEL_COLUMNS, LABEL_COLUMNS);
}

static void print_head(struct rp_text *text, const struct rp_diagnosis *diagnosis) {
    rp_text_print(text, "%s\n", diagnosis->line); /* one line, whoever takes the first */
    rp_text_print(text, "\n  category    %s: %s (confidence %.2f)\n",
                  rp_category_name(diagnosis->category), rp_category_text(diagnosis->category),
                  diagnosis->confidence);
    bool is_doubtful = diagnosis->confidence < SURE && diagnosis->category != RP_CATEGORY_UNKNOWN;
    if (is_doubtful && diagnosis->rival_count > 0) {
        rp_text_print(text, "  or          ");
        for (size_t i = 0; i < diagnosis->rival_count && i < 2; i++) {
            rp_text_print(text, "%s%s", i > 0 ? ", " : "", rp_category_name(diagnosis->rivals[i]));
        }
        rp_text_print(text, "\n");
    }
    if (diagnosis->cause[0]) print_cause(text, diagnosis->cause);
}

/* What a derived fact is called beside the one that it follows from; those without a row say it
 * themselves. */
static const struct {
    enum rp_fact_name name;
    const char *label;
} derived_labels[] = {
    {RP_FACT_NAME_BYTES_FREE, "free "},
    {RP_FACT_NAME_BYTES_RESERVED, "of it unused "},
    {RP_FACT_NAME_CUDA_MAX, "runs CUDA up to "},
    {RP_FACT_NAME_CUDA_NEEDED, "CUDA "},
    {RP_FACT_NAME_CUDA_VERSION, "CUDA "},
    {RP_FACT_NAME_DRIVER_MIN, "needs driver "},
    {RP_FACT_NAME_DRIVER_MIN_WINDOWS, "on Windows "},
    {RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, "at least "},
    {RP_FACT_NAME_COMPUTE, "compute capability "},
    {RP_FACT_NAME_CHIP_CUDA_FIRST, "since CUDA "},
    {RP_FACT_NAME_CHIP_CUDA_LAST, "until CUDA "},
    {RP_FACT_NAME_HSA_OVERRIDE, "HSA_OVERRIDE_GFX_VERSION "},
    {RP_FACT_NAME_ONNX_NEEDED, "ONNX "},
    {RP_FACT_NAME_ONNXRUNTIME_NEEDED, "ONNX Runtime "},
    {RP_FACT_NAME_GCC_NEEDED, "GCC "},
    {RP_FACT_NAME_SYSTEMS_NEEDED, "first in "},
    {RP_FACT_NAME_OPERATOR, "operator "},
};

static const char *derived_label(enum rp_fact_name name) {
    for (size_t i = 0; i < sizeof derived_labels / sizeof derived_labels[0]; i++) {
        if (derived_labels[i].name == name) return derived_labels[i].label;
    }
    return "";
}

static const char *text_of_fact(const struct rp_fact *fact, char bytes[RP_BYTES_TEXT_BYTES]) {
    if (rp_fact_type_of(fact->name) != RP_FACT_BYTES) return fact->text;
    return rp_text_bytes(fact->number, bytes, RP_BYTES_TEXT_BYTES);
}

static bool is_same_place(const struct rp_fact *a, const struct rp_fact *b) {
    return a->start == b->start && a->end == b->end;
}

/* The fact of that name if it has a line of its own. A figure that was read under two names has one
 * line, under the name that says more, which stands behind; what follows from a fact stands beside
 * it; which memory is meant says the category. */
static const struct rp_fact *shown_fact(const struct rp_facts *facts, int name) {
    const struct rp_fact *fact = rp_facts_find(facts, (enum rp_fact_name)name);
    if (!fact || (fact->is_derived && name == RP_FACT_NAME_MEMORY)) return NULL;
    const struct rp_fact *named = rp_facts_find(facts, RP_FACT_NAME_ERROR_CODE_NAME);
    if (name == RP_FACT_NAME_ERROR_CODE && named && strcmp(named->text, fact->text) == 0)
        return NULL;
    for (int i = fact->is_derived ? 0 : name + 1; i < RP_FACT_NAME_COUNT; i++) {
        const struct rp_fact *other = rp_facts_find(facts, (enum rp_fact_name)i);
        if (!other || other == fact || other->is_derived || !is_same_place(other, fact)) continue;
        if (fact->is_derived || strcmp(other->text, fact->text) == 0) return NULL;
    }
    return fact;
}

/* Whether a later row says the same with a better name: "runs CUDA up to 11.6", not "11.6". */
static bool is_said_later(const struct rp_facts *facts, const struct rp_fact *fact) {
    for (int i = (int)fact->name + 1; i < RP_FACT_NAME_COUNT; i++) {
        const struct rp_fact *other = rp_facts_find(facts, (enum rp_fact_name)i);
        if (other && is_same_place(other, fact) && strcmp(other->text, fact->text) == 0)
            return true;
    }
    return false;
}

/* "(ENOSPC)", "(runs CUDA up to 12.2)": what is not in the fact's own text yet. */
static void print_derived(struct rp_text *text, const struct rp_facts *facts,
                          const struct rp_fact *from) {
    const struct rp_fact *last = from;
    for (int name = 0; name < RP_FACT_NAME_COUNT && !from->is_derived; name++) {
        const struct rp_fact *fact = rp_facts_find(facts, (enum rp_fact_name)name);
        if (!fact || !fact->is_derived || !is_same_place(fact, from)) continue;
        if (strstr(from->text, fact->text) || is_said_later(facts, fact)) continue;
        char bytes[RP_BYTES_TEXT_BYTES];
        rp_text_print(text, "%s%s%s", last == from ? " (" : ", ", derived_label(fact->name),
                      text_of_fact(fact, bytes));
        last = fact;
    }
    if (last != from) rp_text_print(text, ")");
}

static void print_facts(struct rp_text *text, const struct rp_diagnosis *diagnosis) {
    bool is_first = true;
    for (int i = 0; i < RP_FACT_NAME_COUNT; i++) {
        const struct rp_fact *fact = shown_fact(&diagnosis->facts, i);
        if (!fact) continue;
        char bytes[RP_BYTES_TEXT_BYTES];
        char name[40];
        snprintf(name, sizeof name, "%s", rp_fact_name_text(fact->name));
        for (char *at = name; (at = strchr(at, '_'));) {
            *at = ' ';
        }
        rp_text_print(text, "  %-10s  %s: %s", is_first ? "facts" : "", name,
                      text_of_fact(fact, bytes));
        print_derived(text, &diagnosis->facts, fact);
        rp_text_print(text, "\n");
        is_first = false;
    }
}

static void print_advice(struct rp_text *text, const struct rp_advice *advice) {
    if (advice->recommendation_count > 0) rp_text_print(text, "\nwhat to do\n");
    for (size_t i = 0; i < advice->recommendation_count; i++) {
        rp_text_print(text, "  %zu. ", i + 1);
        print_wrapped(text, advice->recommendations[i], 5, 5);
    }
    if (advice->check_count > 0) rp_text_print(text, "\nhow to see whether it worked\n");
    for (size_t i = 0; i < advice->check_count; i++) {
        const struct rp_failure_check *check = &advice->checks[i];
        rp_text_print(text, "  - ");
        print_wrapped(text, check->what, 4, 4);
        if (check->command) rp_text_print(text, "      %s\n", check->command);
    }
    if (advice->alternative_count > 0) rp_text_print(text, "\nelsewhere\n");
    for (size_t i = 0; i < advice->alternative_count; i++) {
        const struct rp_alternative *each = &advice->alternatives[i];
        char line[600];
        snprintf(line, sizeof line, "%s%s: %s", each->device, each->simulated ? " (simulated)" : "",
                 each->reason);
        rp_text_print(text, "  ");
        print_wrapped(text, line, 2, 6);
    }
}

rp_status rp_diagnosis_to_text(const rp_diagnosis *diagnosis, char **text, rp_error *err) {
    struct rp_text out = RP_TEXT_INIT;
    print_head(&out, diagnosis);
    print_facts(&out, diagnosis);
    print_advice(&out, &diagnosis->advice);
    if (out.failed) {
        rp_text_fini(&out);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a diagnosis as text");
    }
    *text = out.bytes;
    return RP_OK;
}
