/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device is offered when the kind of failure leaves it out of play (`others` of data/advice.txt)
 * and there is room: by placement where the model is known, else by what was asked and what is
 * free.
 */
#include "failure/alternatives.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "placement/precision.h"

#include <resourcepool/placement.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTIONS_MAX = 64, /* devices of a machine that are looked at */
    PER_KIND_MAX = 4, /* of eight equal cards, half are enough to choose from */
    REASON_BYTES = 400,
};

/* Why failures of a sort have no part in a device, after its figures. */
static const char *const phrases[] = {
    [RP_OTHERS_KIND] = "it uses another driver and runtime",
    [RP_OTHERS_BUILT] = "the build has it",
    [RP_OTHERS_CHIP] = "it is another chip",
    [RP_OTHERS_NATIVE] = "it needs no such feature of the browser",
    [RP_OTHERS_OTHER] = "the failure was not there",
    [RP_OTHERS_ONE] = "one device by itself needs no communication",
    [RP_OTHERS_LIMIT] = "it has no limit of a browser",
    [RP_OTHERS_DYNAMIC] = "it takes shapes as they come",
    [RP_OTHERS_CPU] = "it says clearly which value is wrong",
    [RP_OTHERS_MAIN] = "it has memory of its own",
};
enum { PHRASE_COUNT = sizeof phrases / sizeof phrases[0] };

struct option {
    const rp_device *device;
    const rp_candidate *candidate; /* of placement; NULL: the model is not known */
    double score;
};

struct finding {
    const struct rp_alternatives_question *question;
    const struct rp_failure_subject *subject;
    const struct rp_places *places;
    const char *operation; /* that failed; NULL */
    const char *dtype;     /* the placement's name of it; NULL */
    const char *dtype_text;
    uint64_t asked_bytes; /* that a device needs free at least; RP_UNKNOWN_U64 */
    struct option options[OPTIONS_MAX];
    size_t count;
};

static bool is_browser(rp_device_kind kind) {
    return kind == RP_DEVICE_WEBNN || kind == RP_DEVICE_WEBGPU;
}

/* Kinds that run a model only once it was converted or compiled for them. */
static bool wants_conversion(rp_device_kind kind) {
    return kind == RP_DEVICE_OPENVINO || kind == RP_DEVICE_QUALCOMM || kind == RP_DEVICE_TPU;
}

static bool is_type(const rp_device *device, const char *type) {
    const rp_accelerator *told = device->accelerator;
    return told && told->type && strcmp(told->type, type) == 0;
}

struct rp_rule_subject rp_failure_rule_subject(const struct rp_places *places,
                                               const rp_model_facts *facts, rp_accelerator *told,
                                               rp_device *device) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    const char *const *texts = places->which.places;
    *told = (rp_accelerator){
        .size = sizeof *told,
        .driver_version = texts[RP_PLACE_DRIVER_FOUND],
        .runtime_version = texts[RP_PLACE_CUDA_FOUND],
        .compute_capability = texts[RP_FACT_NAME_COMPUTE],
        .gfx_target = texts[RP_FACT_NAME_CHIP], /* "gfx1030", or NVIDIA's, which no row has */
    };
    *device = (rp_device){
        .size = sizeof *device, .id = places->id, .kind = subject->kind, .accelerator = told};
    const char *precision = texts[RP_PLACE_TYPE];
    if (!precision && subject->has_facts && subject->facts.precision[0]) {
        precision = subject->facts.precision;
    }
    const char *package = texts[RP_FACT_NAME_PACKAGE];
    const char *operation = texts[RP_FACT_NAME_OPERATOR];
    if (!operation) operation = texts[RP_FACT_NAME_FEATURE];
    if (!operation) operation = texts[RP_FACT_NAME_LIBRARY];
    bool is_of_engine = package && subject->engine && strcmp(package, subject->engine) == 0;
    return (struct rp_rule_subject){
        .device = places->device ? places->device : device,
        .facts = facts,
        .name = subject->model[0] ? subject->model : NULL,
        .family = subject->family,
        .precision = precision,
        .engine = subject->engine,
        .engine_version = is_of_engine ? texts[RP_FACT_NAME_VERSION_FOUND] : NULL,
        .operation = operation,
        .category = rp_category_name(places->diagnosis->category),
    };
}

/* --- what is out of play --------------------------------------------------------------------- */

static bool lacks_operator(const struct finding *finding, const rp_device *device) {
    if (!finding->operation) return false;
    rp_model_facts facts = {.size = sizeof facts, .parameter_count = RP_UNKNOWN_U64};
    const struct rp_rule_subject subject = {
        .device = device,
        .facts = finding->subject->has_facts ? &finding->subject->facts : &facts,
        .name = finding->subject->model,
        .family = finding->subject->family,
        .operation = finding->operation,
        .category = "unsupported_operation",
    };
    return rp_rules_find_failure(finding->question->rules, &subject,
                                 UINT32_C(1) << RP_RULE_OPERATOR) != NULL;
}

/* Types that placement has no name for: what is wide, processors and the large GPUs have. */
static bool computes_in(const struct finding *finding, const rp_device *device) {
    bool is_wide = device->kind == RP_DEVICE_CPU || device->kind == RP_DEVICE_CUDA ||
                   device->kind == RP_DEVICE_ROCM;
    if (!finding->dtype) return is_wide;
    enum rp_precision_fit fit = rp_precision_fit(device, finding->dtype);
    /* Processors convert bfloat16 by shifting: slow, and it works. Half they often refuse. */
    bool is_converted = device->kind == RP_DEVICE_CPU && fit == RP_PRECISION_SLOWLY &&
                        strcmp(finding->dtype, "bf16") == 0;
    return fit == RP_PRECISION_WELL || is_converted;
}

static bool is_another_chip(const struct finding *finding, const rp_device *device) {
    const char *chip = finding->places->which.places[RP_PLACE_CHIP_HERE];
    const rp_accelerator *told = device->accelerator;
    if (finding->subject->kind == RP_DEVICE_CPU) return false;
    if (device->kind != finding->subject->kind) return true;
    const char *theirs = told && told->compute_capability ? told->compute_capability
                         : told                           ? told->gfx_target
                                                          : NULL;
    const char *least = finding->places->which.places[RP_FACT_NAME_COMPUTE_NEEDED];
    if (least && told && told->compute_capability) {
        return rp_version_compare(told->compute_capability, least) >= 0;
    }
    return chip && theirs && strcmp(chip, theirs) != 0;
}

static bool is_built(const struct finding *finding, const rp_device *device) {
    const char *backends = finding->places->which.places[RP_FACT_NAME_BACKENDS];
    char like[32];
    if (device->kind == RP_DEVICE_CPU) return true;
    snprintf(like, sizeof like, "*%s*", rp_device_kind_name(device->kind));
    return backends && rp_name_is_like(backends, like);
}

/* Whether the sort of failure leaves it out of play. */
static bool is_spared(const struct finding *finding, const rp_device *device) {
    const struct rp_failure_subject *subject = finding->subject;
    bool is_same_kind = subject->has_kind && device->kind == subject->kind;
    bool is_failed = device == finding->places->device;
    bool was_browser = subject->has_kind && is_browser(subject->kind);
    if (is_browser(device->kind) && !was_browser) return false;
    switch (finding->question->others) {
    case RP_OTHERS_NONE:
        return false;
    case RP_OTHERS_ROOM:
        return !is_failed;
    case RP_OTHERS_OTHER: {
        /* Whoever holds one chip of a TPU holds all of them. */
        bool is_held = finding->places->diagnosis->category == RP_CATEGORY_DEVICE_BUSY &&
                       device->kind == RP_DEVICE_TPU;
        return !is_failed && !(is_held && is_same_kind);
    }
    case RP_OTHERS_MAIN: {
        bool is_shared = device->accelerator && device->accelerator->is_integrated != RP_ANSWER_NO;
        bool is_native = was_browser && !is_browser(device->kind);
        return !is_failed && (is_native || (device->kind != RP_DEVICE_CPU && !is_shared &&
                                            !is_browser(device->kind)));
    }
    case RP_OTHERS_LIMIT:
        return was_browser && !is_browser(device->kind);
    case RP_OTHERS_KIND:
        return !is_same_kind;
    case RP_OTHERS_NATIVE:
        return !is_browser(device->kind) && !is_same_kind;
    case RP_OTHERS_BUILT:
        return !is_same_kind && is_built(finding, device);
    case RP_OTHERS_CHIP:
        return !is_failed && is_another_chip(finding, device);
    case RP_OTHERS_LISTED:
        return !is_failed;
    case RP_OTHERS_ONE:
        return true;
    case RP_OTHERS_OPERATOR: {
        bool is_runtimes_own = subject->engine && subject->kind == RP_DEVICE_CPU &&
                               strcmp(subject->engine, "onnxruntime") == 0;
        if (was_browser && is_browser(device->kind)) return false; /* no wider than the other */
        return !is_same_kind && !is_runtimes_own && !lacks_operator(finding, device);
    }
    case RP_OTHERS_DTYPE:
        if (was_browser && is_browser(device->kind)) return false;
        return !is_failed && (!is_same_kind || finding->dtype) && computes_in(finding, device);
    case RP_OTHERS_DYNAMIC: {
        bool was_fixed = subject->has_kind && (was_browser || wants_conversion(subject->kind));
        bool is_fixed = device->kind == RP_DEVICE_QUALCOMM || device->kind == RP_DEVICE_TPU ||
                        is_type(device, "npu") || is_browser(device->kind);
        const rp_device *failed = finding->places->device;
        bool was_npu = failed && is_type(failed, "npu");
        return was_fixed && !is_fixed && !is_failed && (!is_same_kind || was_npu);
    }
    case RP_OTHERS_CPU:
        return device->kind == RP_DEVICE_CPU && !is_same_kind;
    }
    return false;
}

/* --- with the model: placement ------------------------------------------------------------- */

static rp_status ask_placement(const struct finding *finding, rp_plan **plan, rp_error *err) {
    const struct rp_failure_subject *subject = finding->subject;
    rp_preferences wishes = RP_PREFERENCES_INIT;
    wishes.policy = RP_POLICY_ANY;
    wishes.family = subject->family;
    wishes.precisions = "fp16,int8";
    wishes.browser_optimized = subject->has_kind && is_browser(subject->kind);
    if (finding->question->others == RP_OTHERS_DTYPE && finding->dtype) {
        wishes.precision = finding->dtype;
        wishes.require_precision = true;
    }
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    request.snapshot = finding->question->snapshot;
    request.facts = &subject->facts;
    request.name = subject->model[0] ? subject->model : NULL;
    request.preferences = &wishes;
    request.has_constructor = true;
    return rp_place(&request, plan, err);
}

static bool is_option(const struct finding *finding, const rp_device *device) {
    size_t of_kind = 0;
    for (size_t i = 0; i < finding->count; i++) {
        if (finding->options[i].device == device) return true;
        of_kind += finding->options[i].device->kind == device->kind;
    }
    return of_kind >= PER_KIND_MAX;
}

static void take_plan(struct finding *finding, const rp_plan *plan, uint64_t *room_bytes) {
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *candidate = rp_plan_candidate(plan, i);
        const rp_device *device =
            rp_snapshot_find_device(finding->question->snapshot, candidate->device);
        if (!device || strcmp(device->id, candidate->device) != 0) continue;
        if (device == finding->places->device) *room_bytes = candidate->memory_bytes_usable;
        bool is_one = candidate->accepted && finding->count < OPTIONS_MAX &&
                      is_spared(finding, device) && !is_option(finding, device);
        if (!is_one) continue;
        finding->options[finding->count++] = (struct option){device, candidate, candidate->score};
    }
}

/* --- without it: what is free --------------------------------------------------------------- */

/* What a device must have free for what did not fit: all that was there already, and the rest. */
static uint64_t asked_bytes_of(const struct rp_places *places) {
    uint64_t asked = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_ASKED);
    uint64_t total = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_TOTAL);
    uint64_t used = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_USED);
    uint64_t free_bytes = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_FREE);
    if (asked == RP_UNKNOWN_U64) return total;
    if (used == RP_UNKNOWN_U64 && total != RP_UNKNOWN_U64 && free_bytes < total) {
        used = total - free_bytes;
    }
    return used != RP_UNKNOWN_U64 && used < RP_UNKNOWN_U64 - asked ? used + asked : asked;
}

static uint64_t usable_of(const rp_device *device) {
    return device->memory_bytes_free != RP_UNKNOWN_U64 ? device->memory_bytes_free
                                                       : device->memory_bytes_total;
}

/* Want of memory: there must be more of it. Else it is enough that there is some. */
static bool has_room(const struct finding *finding, const rp_device *device) {
    uint64_t usable = usable_of(device);
    enum rp_others others = finding->question->others;
    bool is_memory = others == RP_OTHERS_ROOM || others == RP_OTHERS_MAIN;
    if (!is_memory) return usable != 0;
    if (finding->asked_bytes == RP_UNKNOWN_U64) {
        uint64_t failed = finding->places->device ? usable_of(finding->places->device) : 0;
        return usable == RP_UNKNOWN_U64 || failed == RP_UNKNOWN_U64 || usable > failed;
    }
    return usable != RP_UNKNOWN_U64 && usable >= finding->asked_bytes;
}

static double score_of(const struct finding *finding, const rp_device *device) {
    static const double levels[] = {150, 200, 300, 400};
    static const double order[] = {
        [RP_DEVICE_CPU] = 160,       [RP_DEVICE_CUDA] = 90,  [RP_DEVICE_ROCM] = 80,
        [RP_DEVICE_MPS] = 70,        [RP_DEVICE_TPU] = -150, [RP_DEVICE_OPENVINO] = -150,
        [RP_DEVICE_QUALCOMM] = -160, [RP_DEVICE_WEBGPU] = 0, [RP_DEVICE_WEBNN] = 0,
    };
    const char *note;
    enum rp_level level =
        rp_rules_level(finding->question->rules, finding->subject->family, device->kind, &note);
    double score = device->kind == RP_DEVICE_CPU ? 0 : levels[level];
    uint64_t usable = usable_of(device);
    if (usable != RP_UNKNOWN_U64) score += (double)(usable >> 30) / 1024;
    return score + order[device->kind];
}

static int better_first(const void *left, const void *right) {
    const struct option *a = left;
    const struct option *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return strcmp(a->device->id, b->device->id);
}

static void take_snapshot(struct finding *finding) {
    const rp_snapshot *snapshot = finding->question->snapshot;
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        bool is_one = device->available && is_spared(finding, device) && has_room(finding, device);
        /* The processor behind a runtime's interface is no second device. */
        if (!is_one || (device->kind != RP_DEVICE_CPU && is_type(device, "cpu"))) continue;
        if (finding->count == OPTIONS_MAX || is_option(finding, device)) continue;
        finding->options[finding->count++] =
            (struct option){device, NULL, score_of(finding, device)};
    }
    qsort(finding->options, finding->count, sizeof finding->options[0], better_first);
}

/* --- reasons --------------------------------------------------------------------------------- */

RP_PRINTF(3, 4)
static void say(char *reason, const char *between, const char *format, ...) {
    size_t length = strlen(reason);
    va_list args;
    va_start(args, format);
    if (length > 0)
        length += (size_t)snprintf(reason + length, REASON_BYTES - length, "%s", between);
    if (length < REASON_BYTES) vsnprintf(reason + length, REASON_BYTES - length, format, args);
    va_end(args);
}

static void say_figures(const struct option *option, char *reason) {
    char need[RP_BYTES_TEXT_BYTES];
    char room[RP_BYTES_TEXT_BYTES];
    const rp_candidate *candidate = option->candidate;
    const rp_device *device = option->device;
    if (candidate && candidate->memory_bytes_needed != RP_UNKNOWN_U64) {
        rp_text_bytes(candidate->memory_bytes_needed, need, sizeof need);
        say(reason, "", "needs %s in %s", need, candidate->precision);
        if (candidate->memory_bytes_usable == RP_UNKNOWN_U64) return;
        rp_text_bytes(candidate->memory_bytes_usable, room, sizeof room);
        say(reason, ", ", "%s usable", room);
    } else if (usable_of(device) != RP_UNKNOWN_U64) {
        rp_text_bytes(usable_of(device), room, sizeof room);
        say(reason, "", "%s %s", room,
            device->memory_bytes_free != RP_UNKNOWN_U64 ? "free" : "in all");
    }
}

/* "cuda:1 (22.0 GiB free)" */
static void name_best(const struct option *option, struct rp_places *places) {
    char figures[REASON_BYTES] = "";
    say_figures(option, figures);
    rp_places_put(places, RP_PLACE_BEST, "%s%s%s%s", option->device->id, figures[0] ? " (" : "",
                  figures, figures[0] ? ")" : "");
}

static void say_reason(const struct finding *finding, const struct option *option, char *reason) {
    enum rp_others others = finding->question->others;
    const rp_device *device = option->device;
    const char *note = NULL;
    char bytes[RP_BYTES_TEXT_BYTES];
    reason[0] = '\0';
    say_figures(option, reason);
    bool is_memory = others == RP_OTHERS_ROOM || others == RP_OTHERS_MAIN;
    if (is_memory && !option->candidate && finding->asked_bytes != RP_UNKNOWN_U64) {
        rp_text_bytes(finding->asked_bytes, bytes, sizeof bytes);
        say(reason, ", ", "about %s is needed", bytes);
    }
    if (others == RP_OTHERS_OPERATOR && finding->operation) {
        say(reason, "; ", "not known to lack '%s'", finding->operation);
    } else if (others == RP_OTHERS_DTYPE && finding->dtype_text) {
        say(reason, "; ", "it computes in %s", finding->dtype_text);
    } else if (others == RP_OTHERS_MAIN && device->kind == RP_DEVICE_CPU) {
        say(reason, "; ", "natively, without the limit of a tab");
    } else if (others == RP_OTHERS_KIND && device->kind == RP_DEVICE_CPU) {
        say(reason, "; ", "it needs no driver");
    } else if (others == RP_OTHERS_CHIP && device->kind == RP_DEVICE_CPU) {
        say(reason, "; ", "it needs no code for a GPU");
    } else if ((size_t)others < PHRASE_COUNT && phrases[others]) {
        say(reason, "; ", "%s", phrases[others]);
    }
    bool is_cpu = device->kind == RP_DEVICE_CPU;
    rp_family family = finding->subject->family;
    enum rp_level level = rp_rules_level(finding->question->rules, family, device->kind, &note);
    if (family != RP_FAMILY_UNKNOWN && level != RP_LEVEL_HIGH && !is_cpu) {
        char name[40];
        snprintf(name, sizeof name, "%s", rp_family_name(family));
        for (char *c = name; *c; c++) {
            if (*c == '_') *c = ' ';
        }
        say(reason, "; ", "support for %s: %s%s%s", name, rp_level_name(level), note ? ", " : "",
            note ? note : "");
    }
    bool is_same_kind = finding->subject->has_kind && device->kind == finding->subject->kind;
    if (is_cpu) say(reason, "; ", "slower than an accelerator");
    if (wants_conversion(device->kind) && !is_same_kind) {
        say(reason, "; ", "once the model is converted for it");
    }
    if (!reason[0]) say(reason, "", "this machine has it");
}

static rp_status keep(struct rp_advice *advice, const char *device, const char *reason,
                      bool simulated, rp_error *err) {
    struct rp_alternative *alternative = &advice->alternatives[advice->alternative_count];
    alternative->reason = rp_strdup(reason);
    if (!alternative->reason) return rp_fail(err, RP_ERR_MEMORY, "no memory for advice");
    snprintf(alternative->device, sizeof alternative->device, "%s", device);
    alternative->simulated = simulated;
    advice->alternative_count++;
    return RP_OK;
}

/* Nothing is known of the machine: it has a processor. */
static rp_status offer_processor(struct finding *finding, struct rp_advice *advice, rp_error *err) {
    rp_device processor = {.size = sizeof processor, .id = "cpu", .kind = RP_DEVICE_CPU};
    processor.memory_bytes_free = RP_UNKNOWN_U64;
    processor.memory_bytes_total = RP_UNKNOWN_U64;
    bool is_same = finding->subject->has_kind && finding->subject->kind == RP_DEVICE_CPU;
    if (is_same || !is_spared(finding, &processor)) return RP_OK;
    const struct option option = {&processor, NULL, 0};
    char reason[REASON_BYTES];
    char room[REASON_BYTES];
    say_reason(finding, &option, reason);
    bool is_memory = finding->question->others == RP_OTHERS_ROOM;
    name_best(&option, finding->question->places);
    snprintf(room, sizeof room, "every machine has one%s; %.300s",
             is_memory ? ", if its RAM suffices" : "", reason);
    return keep(advice, "cpu", room, false, err);
}

rp_status rp_alternatives_find(const struct rp_alternatives_question *question,
                               struct rp_advice *advice, uint64_t *room_bytes, rp_error *err) {
    const struct rp_places *places = question->places;
    struct finding finding = {.question = question};
    finding.subject = &places->diagnosis->subject;
    finding.places = places;
    finding.operation = places->which.places[RP_FACT_NAME_OPERATOR];
    finding.dtype_text = places->which.places[RP_FACT_NAME_DTYPE];
    finding.dtype = places->which.places[RP_PLACE_TYPE];
    finding.asked_bytes = asked_bytes_of(places);
    *room_bytes = RP_UNKNOWN_U64;
    if (question->others == RP_OTHERS_NONE) return RP_OK;
    if (!question->snapshot) return offer_processor(&finding, advice, err);
    rp_plan *plan = NULL;
    if (finding.subject->has_facts) {
        rp_status status = ask_placement(&finding, &plan, err);
        if (status != RP_OK) return status;
        take_plan(&finding, plan, room_bytes);
    } else {
        take_snapshot(&finding);
    }
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < finding.count && i < RP_ALTERNATIVES_MAX; i++) {
        const struct option *option = &finding.options[i];
        char reason[REASON_BYTES];
        say_reason(&finding, option, reason);
        status = keep(advice, option->device->id, reason, option->device->simulated, err);
        if (i == 0) name_best(option, question->places);
    }
    rp_plan_destroy(plan);
    return status;
}
