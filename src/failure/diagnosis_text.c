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
    json_t *document = rp_diagnosis_as_json(diagnosis);
    /* 0.963, not the 17 digits of its binary fraction */
    size_t flags = indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    char *dumped = document ? json_dumps(document, flags | JSON_REAL_PRECISION(6)) : NULL;
    char *copy = dumped ? rp_strdup(dumped) : NULL;
    json_decref(document);
    free(dumped);
    if (!copy) return rp_fail(err, RP_ERR_MEMORY, "no memory for a diagnosis as JSON");
    *text = copy;
    return RP_OK;
}

/* --- for people ---------------------------------------------------------------------------- */

static void print_head(struct rp_text *text, const struct rp_diagnosis *diagnosis) {
    rp_text_print(text, "%s\n", diagnosis->line);
    rp_text_print(text, "\n  category    %s: %s (confidence %.2f)\n",
                  rp_category_name(diagnosis->category), rp_category_text(diagnosis->category),
                  diagnosis->confidence);
    if (diagnosis->confidence < SURE && diagnosis->rival_count > 0) {
        rp_text_print(text, "  or          ");
        for (size_t i = 0; i < diagnosis->rival_count && i < 2; i++) {
            rp_text_print(text, "%s%s", i > 0 ? ", " : "", rp_category_name(diagnosis->rivals[i]));
        }
        rp_text_print(text, "\n");
    }
    if (diagnosis->cause[0]) {
        rp_text_print(text, "  cause       %s\n", diagnosis->cause);
    }
    if (diagnosis->advice.known_problem) {
        rp_text_print(text, "  known       %s\n", diagnosis->advice.known_problem);
    }
}

static void print_facts(struct rp_text *text, const struct rp_diagnosis *diagnosis) {
    bool is_first = true;
    for (int name = 0; name < RP_FACT_NAME_COUNT; name++) {
        const struct rp_fact *fact = rp_facts_find(&diagnosis->facts, (enum rp_fact_name)name);
        if (!fact) continue;
        char bytes[RP_BYTES_TEXT_BYTES];
        bool is_bytes = rp_fact_type_of(fact->name) == RP_FACT_BYTES;
        rp_text_print(text, "  %-10s  %s: %s\n", is_first ? "facts" : "",
                      rp_fact_name_text(fact->name),
                      is_bytes ? rp_text_bytes(fact->number, bytes, sizeof bytes) : fact->text);
        is_first = false;
    }
}

static void print_advice(struct rp_text *text, const struct rp_advice *advice) {
    if (advice->recommendation_count > 0) rp_text_print(text, "\nwhat to do\n");
    for (size_t i = 0; i < advice->recommendation_count; i++) {
        rp_text_print(text, "  %zu. %s\n", i + 1, advice->recommendations[i]);
    }
    if (advice->check_count > 0) rp_text_print(text, "\nhow to see whether it worked\n");
    for (size_t i = 0; i < advice->check_count; i++) {
        const struct rp_failure_check *check = &advice->checks[i];
        rp_text_print(text, "  - %s\n", check->what);
        if (check->command) rp_text_print(text, "      %s\n", check->command);
    }
    if (advice->alternative_count > 0) rp_text_print(text, "\nelsewhere\n");
    for (size_t i = 0; i < advice->alternative_count; i++) {
        const struct rp_alternative *each = &advice->alternatives[i];
        rp_text_print(text, "  %s%s: %s\n", each->device, each->simulated ? " (simulated)" : "",
                      each->reason);
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
