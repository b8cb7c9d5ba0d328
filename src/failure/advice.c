/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known becomes places (places.c), the devices that may stand in are ranked
 * (alternatives.c), and the rows of data/advice.txt that speak of the case are written out.
 */
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "failure/alternatives.h"
#include "failure/diagnosis.h"
#include "failure/places.h"

#include <stdio.h>
#include <string.h>

enum {
    RECOMMENDATIONS_SHOWN = 5,
    CHECKS_SHOWN = 4,
    LINE_BYTES = 300, /* of a summary, for terminals and logs */
};

/* --- known problems -------------------------------------------------------------------------- */

#define KEY(name) (UINT32_C(1) << RP_RULE_##name)

/* What of a rule makes it speak of such a failure: a floor of drivers says nothing of a full disk.
 */
static uint32_t keys_of(rp_category category) {
    const uint32_t always = KEY(OPERATOR) | KEY(CATEGORY);
    const uint32_t chip = KEY(COMPUTE) | KEY(GFX);
    const uint32_t driver = KEY(DRIVER) | KEY(RUNTIME);
    switch (category) {
    case RP_CATEGORY_OUT_OF_MEMORY_DEVICE:
    case RP_CATEGORY_OUT_OF_MEMORY_HOST:
    case RP_CATEGORY_LIMIT_EXCEEDED:
        return always | KEY(PARAMETERS);
    case RP_CATEGORY_DRIVER_TOO_OLD:
        return always | driver | chip;
    case RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE:
        return always | chip;
    case RP_CATEGORY_ACCELERATOR_RUNTIME_ERROR:
        return always | chip | driver | KEY(PRECISION) | KEY(MODEL);
    case RP_CATEGORY_DEVICE_LOST:
        return always | driver;
    case RP_CATEGORY_UNSUPPORTED_OPERATION:
    case RP_CATEGORY_ASSERT_OR_NUMERICAL:
        return always | KEY(MODEL) | KEY(PRECISION);
    case RP_CATEGORY_UNSUPPORTED_DTYPE:
        return always | KEY(PRECISION) | chip;
    case RP_CATEGORY_SHAPE_MISMATCH:
        return always | KEY(MODEL) | KEY(FAMILY);
    default:
        return always;
    }
}

static rp_status find_known_problem(struct rp_places *places, const struct rp_rules *rules,
                                    struct rp_advice *advice, rp_error *err) {
    const struct rp_failure_subject *asked = &places->diagnosis->subject;
    if (!asked->has_kind) return RP_OK;
    rp_accelerator told;
    rp_device device;
    rp_model_facts nothing;
    const rp_model_facts *facts = &asked->facts;
    if (!asked->has_facts) {
        /* Cheaper than the facts of no name: only these are looked at. */
        nothing.parameter_count = RP_UNKNOWN_U64;
        nothing.model_type[0] = '\0';
        nothing.architecture[0] = '\0';
        facts = &nothing;
    }
    const struct rp_rule_subject subject = rp_failure_rule_subject(places, facts, &told, &device);
    const struct rp_problem *problem =
        rp_rules_find_failure(rules, &subject, keys_of(places->diagnosis->category));
    if (!problem) return RP_OK;
    char text[RP_ADVICE_TEXT_BYTES / 2];
    snprintf(text, sizeof text, "%s%s%s", problem->reason, problem->way_out ? "; what helps: " : "",
             problem->way_out ? problem->way_out : "");
    advice->known_problem = rp_strdup(text);
    if (!advice->known_problem) return rp_fail(err, RP_ERR_MEMORY, "no memory for advice");
    /* That a driver is too old is what the first advice says then. */
    bool is_said =
        places->diagnosis->category == RP_CATEGORY_DRIVER_TOO_OLD && asked->kind == RP_DEVICE_CUDA;
    if (!is_said) rp_places_put_text(places, RP_PLACE_KNOWN_PROBLEM, text);
    return RP_OK;
}

/* --- what the text and the question disagree on ---------------------------------------------- */

/* PyTorch calls an AMD card "cuda" too, and a run on the processor may well speak of GPUs. */
static void find_contradiction(struct rp_places *places) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    const char *text_kind = places->which.places[RP_PLACE_TEXT_KIND];
    if (!text_kind && subject->has_text_kind) text_kind = rp_device_kind_name(subject->text_kind);
    rp_device_kind kind;
    bool is_both =
        subject->has_kind && subject->is_kind_told && text_kind && subject->kind != RP_DEVICE_CPU;
    if (!is_both || rp_device_kind_parse(text_kind, &kind, NULL) != RP_OK) return;
    bool is_amd = subject->kind == RP_DEVICE_ROCM && kind == RP_DEVICE_CUDA;
    bool is_runtime = kind == RP_DEVICE_OPENVINO || kind == subject->kind;
    if (!is_amd && !is_runtime) rp_places_put_text(places, RP_PLACE_OTHER_KIND, text_kind);
}

/* --- what would fit -------------------------------------------------------------------------- */

static bool is_of_memory(rp_category category) {
    return category == RP_CATEGORY_OUT_OF_MEMORY_DEVICE ||
           category == RP_CATEGORY_OUT_OF_MEMORY_HOST || category == RP_CATEGORY_LIMIT_EXCEEDED;
}

/* Whether all cards of the kind together have room for what one has not. */
static void find_cards(struct rp_places *places, const rp_snapshot *snapshot,
                       const struct rp_fit *fit) {
    static const char *const precisions[] = {NULL, "fp16", "int8", "int4"}; /* NULL: as stored */
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    bool is_gpu =
        subject->has_kind && (subject->kind == RP_DEVICE_CUDA || subject->kind == RP_DEVICE_ROCM);
    bool is_short = is_gpu && fit->need_bytes != RP_UNKNOWN_U64 &&
                    fit->room_bytes != RP_UNKNOWN_U64 && fit->need_bytes > fit->room_bytes;
    uint64_t room = 0;
    unsigned count = 0;
    for (size_t i = 0; snapshot && is_short && i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        bool is_one = device->kind == subject->kind && device->available &&
                      device->memory_bytes_free != RP_UNKNOWN_U64;
        if (!is_one) continue;
        room += device->memory_bytes_free;
        count++;
    }
    if (count < 2) return;
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        const char *precision = precisions[i] ? precisions[i] : fit->precision;
        uint64_t need = precisions[i] ? rp_fit_need(&subject->facts, precision) : fit->need_bytes;
        /* A tenth stays free for what each card holds besides its part. */
        if (need > fit->need_bytes || need > room - room / 10) continue;
        rp_places_put(places, RP_PLACE_CARDS_COUNT, "%u", count);
        rp_places_put_bytes(places, RP_PLACE_CARDS_ROOM, room);
        rp_places_put_bytes(places, RP_PLACE_CARDS_NEED, need);
        rp_places_put_text(places, RP_PLACE_CARDS_PRECISION, precision);
        return;
    }
}

static void find_fit(struct rp_places *places, const rp_snapshot *snapshot, uint64_t room_bytes) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    if (!subject->has_facts || !is_of_memory(places->diagnosis->category)) return;
    rp_device nothing = {.size = sizeof nothing, .id = "", .kind = subject->kind};
    const rp_device *device = places->device;
    if (places->diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_HOST) {
        nothing.kind = RP_DEVICE_CPU;
        device = snapshot ? rp_snapshot_find_device(snapshot, "cpu") : NULL;
        room_bytes = device ? device->memory_bytes_free : RP_UNKNOWN_U64;
    } else if (!subject->has_kind) {
        return;
    }
    if (room_bytes == RP_UNKNOWN_U64) {
        room_bytes = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_LIMIT);
    }
    if (room_bytes == RP_UNKNOWN_U64) {
        room_bytes = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_TOTAL);
    }
    struct rp_fit fit;
    rp_fit_find(&subject->facts, subject->model, subject->family, device ? device : &nothing,
                room_bytes, &fit);
    rp_places_put_fit(places, &fit);
    if (places->diagnosis->category == RP_CATEGORY_OUT_OF_MEMORY_DEVICE) {
        find_cards(places, snapshot, &fit);
    }
}

/* --- writing --------------------------------------------------------------------------------- */

struct writer {
    const struct rp_advice_rows *rows;
    struct rp_places *places;
    struct rp_diagnosis *diagnosis;
    rp_error *err;
};

static rp_status keep(const struct writer *writer, const char *text, char **out) {
    *out = rp_strdup(text);
    if (!*out) return rp_fail(writer->err, RP_ERR_MEMORY, "no memory for advice");
    return RP_OK;
}

/* Rows of one section as recommendations, until there are `most`. */
static rp_status recommend(const struct writer *writer, bool common,
                           const struct rp_advice_row **at, size_t most) {
    struct rp_advice *advice = &writer->diagnosis->advice;
    char text[RP_ADVICE_TEXT_BYTES];
    char command[RP_ADVICE_TEXT_BYTES];
    rp_status status = RP_OK;
    while (status == RP_OK && advice->recommendation_count < most) {
        *at = rp_advice_next(writer->rows, writer->diagnosis->category, common, RP_ADVICE_DO,
                             &writer->places->which, *at);
        if (!*at) break;
        rp_advice_write(writer->rows, *at, &writer->places->which, text, command);
        status = keep(writer, text, &advice->recommendations[advice->recommendation_count]);
        if (status == RP_OK) advice->recommendation_count++;
    }
    return status;
}

/* The best of the category, then what is said of any, then the rest; first of all, though, that it
 * went on silently, or that text and question speak of different devices. */
static rp_status recommend_all(const struct writer *writer) {
    const struct rp_advice_row *own = NULL;
    const struct rp_advice_row *common = NULL;
    bool has_lead = writer->diagnosis->is_silent_fallback ||
                    writer->places->which.places[RP_PLACE_OTHER_KIND] != NULL;
    rp_status status = has_lead ? recommend(writer, true, &common, 1) : RP_OK;
    if (status == RP_OK) status = recommend(writer, false, &own, has_lead ? 2 : 1);
    if (status == RP_OK && (common || !has_lead)) {
        status = recommend(writer, true, &common, RECOMMENDATIONS_SHOWN - 1);
    }
    if (status == RP_OK && own) status = recommend(writer, false, &own, RECOMMENDATIONS_SHOWN);
    return status;
}

static bool has_check(const struct rp_advice *advice, const char *command) {
    for (size_t i = 0; *command && i < advice->check_count; i++) {
        const char *other = advice->checks[i].command;
        if (other && strcmp(other, command) == 0) return true;
    }
    return false;
}

static rp_status list_checks(const struct writer *writer) {
    struct rp_advice *advice = &writer->diagnosis->advice;
    char text[RP_ADVICE_TEXT_BYTES];
    char command[RP_ADVICE_TEXT_BYTES];
    const struct rp_advice_row *row = NULL;
    while (advice->check_count < CHECKS_SHOWN) {
        row = rp_advice_next(writer->rows, writer->diagnosis->category, false, RP_ADVICE_CHECK,
                             &writer->places->which, row);
        if (!row) break;
        rp_advice_write(writer->rows, row, &writer->places->which, text, command);
        if (has_check(advice, command)) continue;
        struct rp_failure_check check = {0};
        rp_status status = keep(writer, text, &check.what);
        if (status == RP_OK && *command) status = keep(writer, command, &check.command);
        if (status != RP_OK) {
            rp_free(check.what);
            return status;
        }
        advice->checks[advice->check_count++] = check;
    }
    return RP_OK;
}

/* Cut between letters, where a summary is longer than it may be. */
static void write_line(const struct writer *writer) {
    struct rp_diagnosis *diagnosis = writer->diagnosis;
    char text[RP_ADVICE_TEXT_BYTES];
    char command[RP_ADVICE_TEXT_BYTES];
    const struct rp_advice_row *row = rp_advice_next(writer->rows, diagnosis->category, false,
                                                     RP_ADVICE_LINE, &writer->places->which, NULL);
    if (row) {
        rp_advice_write(writer->rows, row, &writer->places->which, text, command);
    } else {
        snprintf(text, sizeof text, "%s", rp_category_text(diagnosis->category));
    }
    const char *tail = diagnosis->is_silent_fallback ? " (it went on silently on the CPU)" : "";
    size_t room = LINE_BYTES - strlen(tail);
    size_t length = strlen(text);
    if (length > room) {
        length = room - 3;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
            length--;
        }
        memcpy(text + length, "...", 4);
    }
    snprintf(diagnosis->line, sizeof diagnosis->line, "%.*s%s", LINE_BYTES, text, tail);
}

rp_status rp_advise(struct rp_diagnosis *diagnosis, const rp_snapshot *snapshot, rp_error *err) {
    const struct rp_advice_rows *rows = NULL;
    const struct rp_rules *rules = NULL;
    struct rp_places places;
    uint64_t room_bytes = RP_UNKNOWN_U64;
    rp_status status = rp_advice_rows_of_process(&rows, err);
    if (status == RP_OK) status = rp_rules_of_process(&rules, err);
    if (status != RP_OK) return status;
    rp_places_init(&places, diagnosis, snapshot);
    rp_advice_add_words(rows, &places.which);
    rp_places_finish(&places);
    find_contradiction(&places);
    const struct rp_alternatives_question question = {&places, snapshot, rules,
                                                      rp_advice_others(rows, diagnosis->category)};
    status = rp_alternatives_find(&question, &diagnosis->advice, &room_bytes, err);
    if (status != RP_OK) return status;
    status = find_known_problem(&places, rules, &diagnosis->advice, err);
    if (status != RP_OK) return status;
    find_fit(&places, snapshot, room_bytes);
    const struct writer writer = {rows, &places, diagnosis, err};
    status = recommend_all(&writer);
    if (status == RP_OK) status = list_checks(&writer);
    if (status == RP_OK) write_line(&writer);
    return status;
}

void rp_advice_fini(struct rp_advice *advice) {
    for (size_t i = 0; i < advice->recommendation_count; i++) {
        rp_free(advice->recommendations[i]);
    }
    for (size_t i = 0; i < advice->check_count; i++) {
        rp_free(advice->checks[i].what);
        rp_free(advice->checks[i].command);
    }
    for (size_t i = 0; i < advice->alternative_count; i++) {
        rp_free(advice->alternatives[i].reason);
    }
    rp_free(advice->known_problem);
}
