/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every device is asked for every precision that would do, and each pair becomes a candidate:
 * accepted with a score, or refused with the first reason that holds. A score depends on its own
 * device alone, so that taking a refused device away changes nothing, and it grows with the room
 * that is left, so that more free memory never makes a candidate worse.
 *
 *     what the caller said                     thousands: a device by name, its place in a list
 *     how well the kind runs the family        hundreds
 *     a narrower precision than wanted         tens to a hundred
 *     room, preferred index, the kind's order  units to tens
 */
#include "placement/placement.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"
#include "placement/nearness.h"
#include "placement/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
#define RP_DEVICE_KIND_ONE(constant, number, name) +1
    KIND_COUNT = 0 RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE),
#undef RP_DEVICE_KIND_ONE
    REASON_BYTES = 360,
    DEVICE_TEXT_BYTES = 200,
    PRESENT_BYTES = 160,
    PRECISIONS_MAX = 12, /* all that have a name, and a file's own type */
};

struct row {
    rp_candidate candidate;
    const rp_device *device; /* of the snapshot; NULL: absent, or several together */
    uint64_t context_bytes;  /* of its need, what the first model brings along */
    char reason[REASON_BYTES];
    bool is_member;   /* of the group that is being made */
    bool is_absent;   /* a kind that is not in the snapshot */
    bool is_other;    /* another device was required */
    bool is_crowding; /* it would fill the processor's memory */
};

struct rp_plan {
    struct row *rows;
    const rp_candidate **order; /* the best first */
    size_t count;
    rp_policy policy;
    char name[RP_FACTS_TEXT_BYTES];
    char wanted[DEVICE_TEXT_BYTES]; /* the device that was named; "" */
    char description[RP_FACTS_TEXT_BYTES];
    char reason[3 * REASON_BYTES];
    char groups[KIND_COUNT][DEVICE_TEXT_BYTES]; /* ids of devices that together would hold it */
    char advice[REASON_BYTES];                  /* what would fit where nothing does; "" */
    char note[REASON_BYTES];                    /* wishes that could not be followed; "" */
    const rp_snapshot *snapshot;                /* a share: devices' ids are borrowed from it */
};

/* What the model takes in a precision, wherever it goes; worked out when it is first met. */
struct need {
    const char *precision;
    uint64_t bytes;
    const char *method;
    char text[RP_BYTES_TEXT_BYTES]; /* "12.6 GiB" */
    uint64_t context; /* of its bytes, those of the context that comes with the first model */
};

struct placing {
    const struct rp_rules *rules;
    const rp_place_request *request;
    rp_preferences preferences;
    rp_family family;
    rp_subfamily subfamily;
    bool generates; /* text, token by token */
    rp_workload workload;
    const char *named;             /* NULL: auto                              */
    const rp_device *named_device; /* NULL: what is named is a kind, or not here */
    const rp_device *processor;
    uint64_t near_nodes;                 /* rp_near_nodes() */
    const char *allowed[PRECISIONS_MAX]; /* narrower precisions that would do */
    size_t allowed_count;
    struct need needs[PRECISIONS_MAX];
    size_t need_count;
    rp_plan *plan;
};

struct space {
    uint64_t now;     /* free this moment                         */
    uint64_t usable;  /* and once idle objects have gone          */
    uint64_t limit;   /* if nothing else were there               */
    uint64_t context; /* what the first model brings along        */
    uint64_t machine; /* usable if there were no budget, ...      */
    uint64_t total;   /* of this: the device's, or the memory's that it shares */
};

/* What is the same of a device in each precision. */
struct spot {
    const rp_device *device;
    bool is_named;
    size_t place;                  /* of its kind in the caller's list; its length: not there */
    const rp_compatibility *known; /* what the caller knows of the kind; NULL                 */
    struct space space;
    enum rp_level level;
    const char *note; /* of the level; NULL */
    char usable_text[RP_BYTES_TEXT_BYTES];
    char limit_text[RP_BYTES_TEXT_BYTES];
};

/* One pair that is being judged. */
struct pair {
    struct placing *placing;
    const struct spot *spot;
    const rp_device *device;
    const char *precision;
    uint32_t step; /* 0: the precision that was wanted; each narrower one is a step */
    struct row *row;
};

/* --- policies ------------------------------------------------------------------------------ */

static const char *const policy_names[] = {NULL, "require", "any", "prefer"};
enum { POLICY_COUNT = sizeof policy_names / sizeof policy_names[0] };

const char *rp_policy_name(rp_policy policy) {
    return (unsigned)policy < POLICY_COUNT ? policy_names[policy] : NULL;
}

rp_status rp_policy_parse(const char *name, rp_policy *policy, rp_error *err) {
    for (int i = 1; name && i < POLICY_COUNT; i++) {
        if (strcmp(policy_names[i], name) != 0) continue;
        *policy = (rp_policy)i;
        return RP_OK;
    }
    rp_fail(err, RP_ERR_NOT_FOUND, "'%s' is no policy of placement", name ? name : "");
    rp_hint(err, "the policies are require, prefer, any");
    return RP_ERR_NOT_FOUND;
}

rp_status rp_family_level(rp_family family, rp_device_kind kind, const char **level,
                          const char **note, rp_error *err) {
    const struct rp_rules *rules = NULL;
    const char *said = NULL;
    if (!level || !rp_family_name(family) || !rp_device_kind_name(kind)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a family, a kind of device and a place for the level "
                       "are needed");
    }
    rp_status status = rp_rules_of_process(&rules, err);
    if (status != RP_OK) return status;
    *level = rp_level_name(rp_rules_level(rules, family, kind, &said));
    if (note) *note = said;
    return RP_OK;
}

/* --- what one pair is worth ----------------------------------------------------------------- */

RP_PRINTF(2, 3)
static void say(struct row *row, const char *format, ...) {
    size_t length = strlen(row->reason);
    va_list args;
    va_start(args, format);
    if (length > 0 && length + 2 < REASON_BYTES) {
        memcpy(row->reason + length, "; ", 3);
        length += 2;
    }
    vsnprintf(row->reason + length, REASON_BYTES - length, format, args);
    va_end(args);
}

static bool is_browser(rp_device_kind kind) {
    return kind == RP_DEVICE_WEBNN || kind == RP_DEVICE_WEBGPU;
}

/* Kinds to which a framework moves a model as it is; the others need something made for them. */
static bool is_plain(rp_device_kind kind) {
    return kind == RP_DEVICE_CPU || kind == RP_DEVICE_CUDA || kind == RP_DEVICE_ROCM ||
           kind == RP_DEVICE_MPS;
}

static bool is_named(const struct placing *placing, const rp_device *device) {
    if (!placing->named) return false;
    return placing->named_device == device ||
           strcmp(placing->named, rp_device_kind_name(device->kind)) == 0;
}

/* The place of a kind in the caller's list; the length of the list when it is not there. */
static size_t place_in_list(const struct placing *placing, rp_device_kind kind) {
    size_t at = 0;
    while (at < placing->preferences.priority_count && placing->preferences.priority[at] != kind) {
        at++;
    }
    return at;
}

static bool is_for_the_web(const struct placing *placing) {
    return placing->preferences.web_deployment || placing->preferences.browser_optimized;
}

static const rp_compatibility *compatibility_of(const struct placing *placing,
                                                rp_device_kind kind) {
    for (size_t i = 0; i < placing->preferences.compatibility_count; i++) {
        if (placing->preferences.compatibility[i].kind == kind) {
            return &placing->preferences.compatibility[i];
        }
    }
    return NULL;
}

static const struct rp_engine_ops *engine_for(const char *format, rp_device_kind kind) {
    for (size_t i = 0; i < rp_engine_count(); i++) {
        const struct rp_engine_ops *ops = rp_engine_at(i);
        if (!ops->simulated && ops->format && strcmp(ops->format, format) == 0 &&
            (ops->kinds >> kind & 1)) {
            return ops;
        }
    }
    return NULL;
}

static bool is_loaded_by_engines(const char *format) {
    bool is_one = false;
    for (int kind = 0; format && kind <= RP_DEVICE_WEBGPU; kind++) {
        is_one |= engine_for(format, (rp_device_kind)kind) != NULL;
    }
    return is_one;
}

/* Who would load it there; false after a reason why nobody does. */
static bool find_engine(const struct pair *pair) {
    const struct placing *placing = pair->placing;
    rp_device_kind kind = pair->device->kind;
    const char *format = placing->request->facts->format;
    const char *asked = placing->preferences.engine;
    if (asked) {
        const struct rp_engine_ops *ops = rp_engine_find(asked); /* checked before: it is one */
        pair->row->candidate.engine = ops->name;
        if (ops->kinds >> kind & 1) return true;
        say(pair->row, "the engine '%s' cannot use a device of kind %s in this version", ops->name,
            rp_device_kind_name(kind));
        return false;
    }
    if (placing->request->has_constructor || !is_loaded_by_engines(format)) return true;
    const struct rp_engine_ops *ops = engine_for(format, kind);
    if (ops) {
        pair->row->candidate.engine = ops->name;
        return true;
    }
    say(pair->row, "no engine here loads %s files on %s: a constructor of yours may", format,
        rp_device_kind_name(kind));
    return false;
}

/* Whether no other device is required; false after a reason. Comes first: nothing else matters. */
static bool is_wanted(const struct pair *pair) {
    const struct placing *placing = pair->placing;
    if (placing->plan->policy != RP_POLICY_REQUIRE || pair->spot->is_named) return true;
    say(pair->row, "'%s' is required", placing->named);
    pair->row->is_other = true;
    return false;
}

/* Whether the caller's own words keep it out. */
static bool is_allowed(const struct pair *pair) {
    const struct placing *placing = pair->placing;
    const rp_device *device = pair->device;
    bool is_asked = pair->spot->is_named || pair->spot->place < placing->preferences.priority_count;
    if (!device->available) {
        say(pair->row, "not available: %s", device->reason ? device->reason : "no reason is known");
        return false;
    }
    bool is_pretended = device->simulated && !rp_snapshot_is_simulated(placing->request->snapshot);
    if (is_pretended && !placing->preferences.fallback_to_simulation && !pair->spot->is_named) {
        say(pair->row, "simulated: only when asked for (fallback_to_simulation)");
        return false;
    }
    if (is_browser(device->kind) && !is_asked && !is_for_the_web(placing)) {
        say(pair->row, "a browser is chosen only when asked for (priority_list, browser_optimized, "
                       "subfamily web_deployment)");
        return false;
    }
    if (!is_plain(device->kind) && !is_browser(device->kind) && !is_asked &&
        !pair->row->candidate.engine) {
        say(pair->row,
            "no engine of this version runs models on %s: name it, and your constructor "
            "does",
            rp_device_kind_name(device->kind));
        return false;
    }
    const rp_compatibility *known = pair->spot->known;
    if (known && known->compatible == RP_ANSWER_NO && !placing->preferences.force_device) {
        say(pair->row, "hw_compatibility says that it does not run there");
        return false;
    }
    return true;
}

/* --- memory --------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b; /* RP_UNKNOWN_U64 is the largest: an unknown limit limits nothing */
}

static uint64_t minus(uint64_t a, uint64_t b) {
    return a == RP_UNKNOWN_U64 ? a : a > b ? a - b : 0;
}

static uint64_t plus(uint64_t a, uint64_t b) {
    return a > RP_UNKNOWN_U64 - 1 - b ? RP_UNKNOWN_U64 : a + b;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/*
 * What a process can have of a device. Of one that MIG has cut into slices it gets one: the largest
 * if nothing else were there, the emptiest now.
 */
static void find_memory(const rp_device *device, uint64_t *total, uint64_t *free_bytes) {
    const rp_accelerator *told = device->accelerator;
    *total = device->memory_bytes_total;
    *free_bytes = device->memory_bytes_free;
    if (!told || told->slice_count == 0) return;
    uint64_t largest = 0;
    uint64_t emptiest = 0;
    for (size_t i = 0; i < told->slice_count; i++) {
        largest = most(largest, told->slices[i]->memory_bytes_total);
        emptiest = most(emptiest, told->slices[i]->memory_bytes_free);
    }
    *total = least(*total, largest);
    *free_bytes = least(*free_bytes, emptiest);
}

/*
 * What the first model of a process takes on a GPU beside itself: the context and the kernels of
 * the math libraries. Measured on NVIDIA's cards between 300 and 600 MiB.
 */
#define CONTEXT_BYTES (UINT64_C(400) << 20)

static uint64_t context_on(const rp_device *device, const rp_room *room) {
    bool has_one = device->kind == RP_DEVICE_CUDA || device->kind == RP_DEVICE_ROCM;
    return has_one && room->charged_bytes == 0 ? CONTEXT_BYTES : 0;
}

static struct space space_on(const struct placing *placing, const rp_device *device) {
    rp_room room = {device->id, RP_UNKNOWN_U64, 0, 0};
    for (size_t i = 0; i < placing->request->room_count; i++) {
        if (strcmp(placing->request->room[i].device, device->id) == 0) {
            room = placing->request->room[i];
        }
    }
    struct space space;
    uint64_t total;
    uint64_t free_bytes;
    find_memory(device, &total, &free_bytes);
    /* Nothing moves on a machine from a file: what we put there is not in its figures. */
    if (device->simulated) free_bytes = minus(free_bytes, room.charged_bytes);
    space.limit = least(total, room.budget_bytes);
    space.context = context_on(device, &room);
    space.now = least(minus(space.limit, room.charged_bytes), free_bytes);
    space.usable = least(minus(space.limit, minus(room.charged_bytes, room.idle_bytes)),
                         plus(free_bytes, room.idle_bytes));
    space.machine = plus(free_bytes, room.idle_bytes);
    space.total = total;
    const rp_device *processor = placing->processor;
    bool is_shared = device->accelerator && device->accelerator->is_integrated == RP_ANSWER_YES;
    if (is_shared && processor && processor != device) {
        struct space main = space_on(placing, processor); /* once: it is not integrated itself */
        space.now = least(space.now, main.now);
        space.usable = least(space.usable, main.usable);
        space.limit = least(space.limit, main.limit);
        space.machine = least(space.machine, main.machine);
        space.total = main.total;
    }
    return space;
}

static const struct need *need_in(struct placing *placing, const char *precision) {
    struct need *each = placing->needs;
    for (; each < placing->needs + placing->need_count; each++) {
        if (strcmp(each->precision, precision) == 0) return each;
    }
    rp_memory_need found = {.size = sizeof found};
    rp_model_memory_need(placing->request->facts, precision, &placing->workload, &found);
    *each = (struct need){.precision = precision, .bytes = found.total_bytes};
    if (found.total_bytes != RP_UNKNOWN_U64) each->method = rp_facts_method_name(found.method);
    rp_text_bytes(each->bytes, each->text, sizeof each->text);
    placing->need_count++;
    return each;
}

/* What it takes on that device in that precision, and who says so. */
static struct need need_of(const struct pair *pair) {
    const rp_place_request *request = pair->placing->request;
    const rp_compatibility *known = pair->spot->known;
    struct need need = {.precision = pair->precision};
    if (request->memory_bytes != RP_UNKNOWN_U64 && pair->step == 0) {
        need.bytes = request->memory_bytes;
        need.method = request->memory_method;
    } else if (known && known->peak_bytes != RP_UNKNOWN_U64 && known->peak_bytes > 0) {
        need.bytes = known->peak_bytes;
        need.method = "request";
    } else {
        need = *need_in(pair->placing, pair->precision);
        if (need.bytes == RP_UNKNOWN_U64 || pair->spot->space.context == 0) return need;
        need.context = pair->spot->space.context;
        need.bytes = plus(need.bytes, need.context);
    }
    rp_text_bytes(need.bytes, need.text, sizeof need.text);
    return need;
}

/* Who holds the most of a device's memory, where its driver told. */
static void tell_holder(const struct pair *pair) {
    const rp_accelerator *told = pair->device->accelerator;
    const rp_device_process *most = NULL;
    for (size_t i = 0; told && i < told->process_count; i++) {
        const rp_device_process *each = told->processes[i];
        if (each->memory_bytes == RP_UNKNOWN_U64) continue;
        if (!most || each->memory_bytes > most->memory_bytes) most = each;
    }
    if (!most) return;
    char text[RP_BYTES_TEXT_BYTES];
    say(pair->row, "'%s' (pid %u) holds %s", most->name ? most->name : "a process", most->pid,
        rp_text_bytes(most->memory_bytes, text, sizeof text));
}

/* Whether there is room, and what part of it would be left; false after a reason. */
static bool find_room(const struct pair *pair, const struct need *need, double *left) {
    rp_candidate *candidate = &pair->row->candidate;
    const struct spot *spot = pair->spot;
    uint64_t usable = spot->space.usable;
    *left = 0;
    if (need->bytes == RP_UNKNOWN_U64) {
        say(pair->row, "its need is not known");
        return true;
    }
    if (usable == RP_UNKNOWN_U64) {
        say(pair->row, "needs %s (%s), what is free is not known", need->text, need->method);
        return true;
    }
    if (need->bytes <= usable) {
        uint64_t whole = spot->space.limit != RP_UNKNOWN_U64 ? spot->space.limit : usable;
        uint64_t taken = need->bytes - need->context; /* a device in use is no emptier for it */
        *left = whole > 0 ? (double)(usable - taken) / (double)whole : 0;
        say(pair->row, "needs %s (%s) of %s usable", need->text, need->method, spot->usable_text);
        if (need->bytes > spot->space.now) say(pair->row, "idle objects must go first");
        return true;
    }
    candidate->is_short = true;
    candidate->is_later = need->bytes <= spot->space.limit;
    bool is_sliced = pair->device->accelerator && pair->device->accelerator->slice_count > 0;
    if (candidate->is_later) {
        say(pair->row, "needs %s (%s), %s usable now", need->text, need->method, spot->usable_text);
        tell_holder(pair);
    } else {
        say(pair->row, "needs %s (%s), %s has %s", need->text, need->method,
            is_sliced ? "its largest slice" : "the whole device", spot->limit_text);
    }
    return false;
}

/* --- the score ------------------------------------------------------------------------------ */

/* Among kinds that run a family equally well: those whose software is the most complete. */
static const double kind_order[] = {
    [RP_DEVICE_CUDA] = 9,     [RP_DEVICE_ROCM] = 8,  [RP_DEVICE_MPS] = 7,
    [RP_DEVICE_OPENVINO] = 5, [RP_DEVICE_TPU] = 4,   [RP_DEVICE_QUALCOMM] = 3,
    [RP_DEVICE_WEBGPU] = 2,   [RP_DEVICE_WEBNN] = 2, [RP_DEVICE_CPU] = 0,
};

/* The processor behind another interface: a browser's or OpenVINO's, or a renderer in software. */
static bool is_processor_in_disguise(const rp_device *device) {
    const rp_accelerator *told = device->accelerator;
    return told && told->type && strcmp(told->type, "cpu") == 0;
}

/* An accelerator that runs a family at all goes before the processor. */
static double level_score(const rp_device *device, enum rp_level level) {
    static const double accelerators[] = {200, 250, 300, 400};
    static const double processors[] = {100, 110, 130, 150};
    bool is_processor = device->kind == RP_DEVICE_CPU || is_processor_in_disguise(device);
    return is_processor ? processors[level] : accelerators[level];
}

/* "cuda:1" is the second: what stands behind the ':' where that is a number. */
static uint32_t index_of(const rp_device *device) {
    const char *colon = strchr(device->id, ':');
    uint64_t index = 0;
    if (!colon || !rp_text_parse_u64(colon + 1, &index)) return 0;
    return index < RP_UNKNOWN_U32 ? (uint32_t)index : 0;
}

static double score_of_wishes(const struct pair *pair) {
    const struct placing *placing = pair->placing;
    const rp_preferences *wishes = &placing->preferences;
    const rp_device *device = pair->device;
    double score = 0;
    if (placing->plan->policy == RP_POLICY_PREFER && pair->spot->is_named) {
        score += 100000;
        say(pair->row, "preferred");
    }
    size_t place = pair->spot->place;
    if (place < wishes->priority_count) {
        score += 1000.0 * (double)(wishes->priority_count - place);
        say(pair->row, "number %zu in the priority list", place + 1);
    }
    if (is_browser(device->kind) && wishes->web_deployment) {
        score += 500;
        say(pair->row, "meant for a browser");
    }
    if (is_browser(device->kind) && wishes->browser_optimized) score += 50;
    if (wishes->preferred_index != RP_UNKNOWN_U32 && wishes->preferred_index == index_of(device)) {
        score += 40;
        if (device->kind != RP_DEVICE_CPU) say(pair->row, "of the preferred index");
    }
    if (device->simulated && !rp_snapshot_is_simulated(placing->request->snapshot)) {
        score -= 50000;
        say(pair->row, "simulated");
    }
    return score;
}

static double score_of_precision(const struct pair *pair) {
    const double step = 45;
    if (pair->placing->preferences.force_low_memory) return step * pair->step;
    return -step * pair->step;
}

/* Busy, throttled and failing devices of a kind come after the others; the last two are told. */
static double score_of_state(const struct pair *pair) {
    const rp_accelerator *told = pair->device->accelerator;
    if (!told) return 0;
    double score = 0;
    uint64_t errors = told->ecc_error_count;
    if (told->utilization_percent != RP_UNKNOWN_U32) score -= told->utilization_percent / 25.0;
    if (told->throttle_reason_count > 0) {
        say(pair->row, "its clock is held back");
        score -= 2;
    }
    if (errors != RP_UNKNOWN_U64 && errors > 0) {
        say(pair->row, "its memory had %llu error%s that could not be corrected",
            (unsigned long long)errors, errors == 1 ? "" : "s");
        score -= 5;
    }
    return score;
}

static double score_of_room(const struct pair *pair, double left) {
    const double whole = 20;
    bool is_packed = pair->placing->preferences.distribution == RP_DISTRIBUTION_PACK;
    return is_packed ? whole * (1 - left) : whole * left;
}

/* A process that is bound to some processors prefers what is near them. */
static double score_of_nearness(const struct pair *pair) {
    const rp_accelerator *told = pair->device->accelerator;
    uint64_t near = pair->placing->near_nodes;
    if (near == UINT64_MAX || !told || told->numa_node >= 64) return 0;
    if ((near >> told->numa_node & 1) == 0) return 0;
    say(pair->row, "near the processors that may be used");
    return 3;
}

/* The processor's memory is slower than an accelerator's own, and more of it says nothing. */
static double score_of_memory(const rp_device *device) {
    const rp_accelerator *told = device->accelerator;
    return told && told->is_integrated == RP_ANSWER_YES ? -25 : 0;
}

/*
 * What fills the processor's memory makes the whole machine swap, or the container be killed: below
 * an eighth that would be left, a narrower precision that is allowed becomes the better one. A
 * budget does not count here: the rest of the machine was kept out of it on purpose.
 */
static double score_of_crowding(const struct pair *pair, const struct need *need) {
    const double least_left = 1.0 / 8;
    const double most_points = 60;
    const struct space *space = &pair->spot->space;
    const rp_device *device = pair->device;
    bool is_shared = device->kind == RP_DEVICE_CPU ||
                     (device->accelerator && device->accelerator->is_integrated == RP_ANSWER_YES);
    bool is_known = need->bytes != RP_UNKNOWN_U64 && space->machine != RP_UNKNOWN_U64 &&
                    space->total != RP_UNKNOWN_U64 && space->total > 0;
    if (!is_shared || !is_known) return 0;
    double left = (double)minus(space->machine, need->bytes) / (double)space->total;
    if (left >= least_left) return 0;
    char text[RP_BYTES_TEXT_BYTES];
    pair->row->is_crowding = true;
    say(pair->row, "leaves %s to the rest of the machine",
        rp_text_bytes(minus(space->machine, need->bytes), text, sizeof text));
    return -most_points * (1 - left / least_left);
}

/* A known problem: refuses, halves, or there is none. False: refused. */
static bool find_problem(const struct pair *pair, double *score) {
    const struct placing *placing = pair->placing;
    if (placing->preferences.force_device && pair->spot->is_named) return true;
    const struct rp_rule_subject subject = {
        .device = pair->device,
        .facts = placing->request->facts,
        .name = placing->request->name,
        .family = placing->family,
        .subfamily = placing->subfamily,
        .precision = pair->precision,
        .engine = pair->row->candidate.engine,
    };
    const struct rp_problem *problem = rp_rules_find_problem(placing->rules, &subject);
    if (!problem) return true;
    say(pair->row, "%s%s%s", problem->reason, problem->way_out ? ": " : "",
        problem->way_out ? problem->way_out : "");
    *score /= 2;
    return problem->effect != RP_EFFECT_REFUSE;
}

static bool fits_precision(const struct pair *pair) {
    enum rp_precision_fit fit = rp_precision_fit(pair->device, pair->precision);
    bool is_asked = pair->placing->preferences.precision && pair->step == 0;
    if (fit == RP_PRECISION_WELL) return true;
    if (fit == RP_PRECISION_SLOWLY) {
        bool is_only = pair->placing->preferences.require_precision;
        bool is_wish = is_asked && !pair->row->candidate.is_stored;
        say(pair->row, "%s is slow there", pair->precision);
        return !is_wish || is_only;
    }
    say(pair->row, "the device does not compute in %s", pair->precision);
    return false;
}

static void judge(struct pair *pair) {
    rp_candidate *candidate = &pair->row->candidate;
    const char *note = pair->spot->note;
    double left = 0;
    double score = level_score(pair->device, pair->spot->level);
    const struct need need = need_of(pair);
    candidate->memory_bytes_needed = need.bytes;
    candidate->memory_method = need.method;
    candidate->memory_bytes_usable = pair->spot->space.usable;
    pair->row->context_bytes = need.context;
    if (!is_wanted(pair) || !find_engine(pair) || !is_allowed(pair) ||
        !find_problem(pair, &score) || !fits_precision(pair) || !find_room(pair, &need, &left)) {
        return;
    }
    score += score_of_wishes(pair) + score_of_precision(pair) + kind_order[pair->device->kind] +
             score_of_state(pair) + score_of_nearness(pair) + score_of_room(pair, left) +
             score_of_memory(pair->device) + score_of_crowding(pair, &need);
    /* Who asked for WebGPU is to know that no GPU has a part in it. */
    if (is_processor_in_disguise(pair->device)) say(pair->row, "computed by the processor");
    say(pair->row, "%s for %s%s%s", rp_level_name(pair->spot->level),
        rp_family_name(pair->placing->family), note ? ": " : "", note ? note : "");
    candidate->accepted = true;
    candidate->score = score;
}

/* --- all pairs ------------------------------------------------------------------------------ */

static struct row *add_row(rp_plan *plan) {
    struct row *row = &plan->rows[plan->count++];
    row->candidate = (rp_candidate){
        .size = sizeof row->candidate,
        .reason = row->reason,
        .memory_bytes_needed = RP_UNKNOWN_U64,
        .memory_bytes_usable = RP_UNKNOWN_U64,
    };
    return row;
}

static void start_row(struct row *row, const rp_device *device, const char *precision) {
    row->device = device;
    row->candidate.device = device->id;
    row->candidate.kind = device->kind;
    row->candidate.simulated = device->simulated;
    row->candidate.precision = precision;
}

static bool is_among(const char *const *list, size_t count, const char *precision) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], precision) == 0) return true;
    }
    return false;
}

/* The precisions to try on a device, the wanted one first; *stored as the file has it. */
static size_t list_precisions(const struct placing *placing, const rp_device *device,
                              const char *list[PRECISIONS_MAX], const char **stored) {
    const rp_preferences *wishes = &placing->preferences;
    const char *usual =
        rp_precision_default(device, placing->request->facts, placing->generates, stored);
    size_t count = 0;
    if (wishes->precision) list[count++] = rp_precision_name(wishes->precision);
    if (wishes->require_precision && count > 0) return count;
    if (!is_among(list, count, usual)) list[count++] = usual;
    for (size_t i = 0; i < placing->allowed_count; i++) {
        if (!is_among(list, count, placing->allowed[i])) list[count++] = placing->allowed[i];
    }
    return count;
}

static struct spot look_at(const struct placing *placing, const rp_device *device) {
    struct spot spot = {
        .device = device,
        .is_named = is_named(placing, device),
        .place = place_in_list(placing, device->kind),
        .known = compatibility_of(placing, device->kind),
        .space = space_on(placing, device),
    };
    spot.level = rp_rules_level(placing->rules, placing->family, device->kind, &spot.note);
    rp_text_bytes(spot.space.usable, spot.usable_text, sizeof spot.usable_text);
    rp_text_bytes(spot.space.limit, spot.limit_text, sizeof spot.limit_text);
    return spot;
}

/* Why a device is tried in another precision than the one that was asked for or is stored. */
static void tell_precision(const struct pair *pair, const struct row *first_row) {
    bool has_wish = pair->placing->preferences.precision != NULL;
    const char *first = first_row->candidate.precision;
    if (pair->step > 0 && first_row->candidate.is_short) {
        say(pair->row, "%s, because %s has no room there", pair->precision, first);
    } else if (pair->step > 0 && first_row->is_crowding) {
        say(pair->row, "%s, because %s would fill the machine's memory", pair->precision, first);
    } else if (pair->step > 0 && has_wish &&
               rp_precision_fit(pair->device, first) != RP_PRECISION_WELL) {
        say(pair->row, "%s where %s would be slow", pair->precision, first);
    }
}

static void add_device(struct placing *placing, const rp_device *device) {
    const struct spot spot = look_at(placing, device);
    const char *list[PRECISIONS_MAX];
    const char *stored = NULL;
    size_t count = list_precisions(placing, device, list, &stored);
    bool has_wish = placing->preferences.precision != NULL;
    const struct row *first = NULL;
    for (size_t i = 0; i < count; i++) {
        struct row *row = add_row(placing->plan);
        if (!first) first = row;
        start_row(row, device, list[i]);
        row->candidate.is_stored = strcmp(list[i], stored) == 0;
        struct pair pair = {
            .placing = placing,
            .spot = &spot,
            .device = device,
            .precision = list[i],
            .step = (uint32_t)i,
            .row = row,
        };
        tell_precision(&pair, first);
        if (!has_wish && i == 0 && !row->candidate.is_stored) {
            say(row, "%s, because %s is slow there", list[i], stored);
        }
        judge(&pair);
        bool is_usual_enough = has_wish && i == 0 && row->candidate.accepted;
        if (is_usual_enough && count > 1 && !placing->preferences.precisions) break;
    }
}

static void add_absence(const struct placing *placing, const rp_absence *absence) {
    struct row *row = add_row(placing->plan);
    row->candidate.device = rp_device_kind_name(absence->kind);
    row->candidate.kind = absence->kind;
    row->is_absent = true;
    say(row, "%s: %s", absence->unprobed ? "unprobed" : "absent", absence->reason);
    if (absence->hint) say(row, "to have it: %s", absence->hint);
}

/* --- what would fit, where nothing does --------------------------------------------------------
 */

/* What a device that has no room would be worth in a narrower precision; false when it is refused.
 */
static bool try_precision(struct placing *placing, const rp_device *device, const char *precision,
                          double *score, uint64_t *bytes) {
    const struct spot spot = look_at(placing, device);
    struct row row = {.reason = ""};
    start_row(&row, device, precision);
    struct pair pair = {.placing = placing,
                        .spot = &spot,
                        .device = device,
                        .precision = precision,
                        .step = 1,
                        .row = &row};
    judge(&pair);
    *score = row.candidate.score;
    *bytes = row.candidate.memory_bytes_needed;
    return row.candidate.accepted && *bytes != RP_UNKNOWN_U64;
}

/*
 * The widest in which a device that has no room would take it: "in int8 it would fit on cuda:0".
 * Of interest where nothing else does, or where only the processor does.
 */
static void advise_precision(struct placing *placing) {
    static const char *const narrower[] = {"fp16", "int8", "int4"};
    rp_plan *plan = placing->plan;
    bool is_placed = false;
    for (size_t i = 0; i < plan->count; i++) {
        const rp_candidate *each = &plan->rows[i].candidate;
        if (each->accepted && each->kind != RP_DEVICE_CPU) return;
        is_placed |= each->accepted;
    }
    for (size_t n = 0; n < sizeof narrower / sizeof narrower[0]; n++) {
        const rp_device *best = NULL;
        double best_score = 0;
        uint64_t best_bytes = 0;
        for (size_t i = 0; i < plan->count; i++) {
            const struct row *row = &plan->rows[i];
            bool is_one = row->candidate.is_short && row->device &&
                          rp_precision_is_lower(narrower[n], row->candidate.precision);
            if (!is_one || (is_placed && row->candidate.kind == RP_DEVICE_CPU)) continue;
            uint64_t bytes = 0;
            double score = 0;
            if (!try_precision(placing, row->device, narrower[n], &score, &bytes)) continue;
            if (best && score <= best_score) continue;
            best = row->device;
            best_score = score;
            best_bytes = bytes;
        }
        if (!best) continue;
        char text[RP_BYTES_TEXT_BYTES];
        snprintf(plan->advice, sizeof plan->advice, "in %s it would fit on %s (%s)", narrower[n],
                 best->id, rp_text_bytes(best_bytes, text, sizeof text));
        return;
    }
}

static uint32_t node_of(const struct row *row) {
    const rp_accelerator *told = row->device ? row->device->accelerator : NULL;
    return told ? told->numa_node : RP_UNKNOWN_U32;
}

/* What a part of a split model may take of a device. */
static uint64_t room_for_a_part(const struct row *row) {
    return minus(row->candidate.memory_bytes_usable, row->context_bytes);
}

/*
 * The next device of a group: the emptiest, but one on the NUMA node of the first that is nearly as
 * empty goes before it. NULL: there is none left.
 */
static struct row *next_member(rp_plan *plan, const struct row *like, const struct row *first) {
    struct row *emptiest = NULL;
    struct row *near = NULL;
    for (size_t i = 0; i < plan->count; i++) {
        struct row *row = &plan->rows[i];
        const rp_candidate *each = &row->candidate;
        bool is_one = each->kind == like->candidate.kind && each->is_short && !row->is_member &&
                      each->memory_bytes_usable != RP_UNKNOWN_U64 &&
                      strcmp(each->precision, like->candidate.precision) == 0;
        if (!is_one) continue;
        uint64_t room = room_for_a_part(row);
        bool is_near = first && node_of(first) != RP_UNKNOWN_U32 && node_of(row) == node_of(first);
        if (!emptiest || room > room_for_a_part(emptiest)) emptiest = row;
        if (is_near && (!near || room > room_for_a_part(near))) near = row;
    }
    if (!near) return emptiest;
    uint64_t most_room = room_for_a_part(emptiest);
    return room_for_a_part(near) >= most_room - most_room / 8 ? near : emptiest;
}

/* "cuda:0+cuda:1": the members, in the order of the snapshot; false when there is no place. */
static bool write_members(const rp_plan *plan, char *ids) {
    size_t length = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->rows[i].is_member) continue;
        int wrote = snprintf(ids + length, DEVICE_TEXT_BYTES - length, "%s%s", length ? "+" : "",
                             plan->rows[i].candidate.device);
        length += (size_t)wrote;
        if (length >= DEVICE_TEXT_BYTES) return false;
    }
    return true;
}

/* A row for the devices like that one which together would hold it; false when they do not. */
static bool add_group_like(rp_plan *plan, const struct row *like) {
    uint64_t whole = like->candidate.memory_bytes_needed - like->context_bytes;
    uint64_t rooms = 0;
    uint64_t usable = 0;
    uint64_t contexts = 0;
    size_t members = 0;
    const struct row *first = NULL;
    char *ids = plan->groups[like->candidate.kind];
    for (size_t i = 0; i < plan->count; i++) {
        plan->rows[i].is_member = false;
    }
    while (rooms < whole) {
        struct row *next = next_member(plan, like, first);
        if (!next) return false;
        if (!first) first = next;
        next->is_member = true;
        rooms = plus(rooms, room_for_a_part(next));
        usable = plus(usable, next->candidate.memory_bytes_usable);
        contexts += next->context_bytes;
        members++;
    }
    if (!write_members(plan, ids)) return false;
    struct row *row = add_row(plan);
    row->candidate.device = ids;
    row->candidate.kind = like->candidate.kind;
    row->candidate.simulated = like->candidate.simulated;
    row->candidate.precision = like->candidate.precision;
    row->candidate.memory_bytes_needed = plus(whole, contexts);
    row->candidate.memory_bytes_usable = usable;
    row->candidate.memory_method = like->candidate.memory_method;
    row->is_other = like->is_other;
    say(row, "these %zu together would hold it, if your constructor splits it over them", members);
    snprintf(plan->advice, sizeof plan->advice, "%s together would hold it in %s, if split", ids,
             like->candidate.precision);
    return true;
}

/*
 * Several devices of a kind would hold together what none holds alone: a row that says so, in the
 * widest precision that is neither too wide for all of them nor held by one. It is never accepted:
 * only a constructor that splits the model can make it true.
 */
static void add_group(rp_plan *plan, rp_device_kind kind) {
    const char *seen[PRECISIONS_MAX];
    size_t seen_count = 0;
    size_t count = plan->count;
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &plan->rows[i];
        const char *precision = row->candidate.precision;
        if (row->candidate.kind != kind || !row->device) continue;
        if (is_among(seen, seen_count, precision)) continue;
        seen[seen_count++] = precision;
        const struct row *like = NULL;
        for (size_t j = i; j < count; j++) {
            const rp_candidate *each = &plan->rows[j].candidate;
            bool is_one = plan->rows[j].device && each->kind == kind &&
                          strcmp(each->precision, precision) == 0;
            if (is_one && each->accepted) return;
            if (is_one && each->is_short && !like) like = &plan->rows[j];
        }
        if (like && add_group_like(plan, like)) return;
    }
}

/* --- the plan ------------------------------------------------------------------------------- */

/* Accepted first, by score; then those for which waiting helps; the order of the snapshot decides.
 */
static int better_first(const void *left, const void *right) {
    const rp_candidate *a = *(const rp_candidate *const *)left;
    const rp_candidate *b = *(const rp_candidate *const *)right;
    if (a->accepted != b->accepted) return a->accepted ? -1 : 1;
    if (a->is_later != b->is_later) return a->is_later ? -1 : 1;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* The narrower ones that would do: the caller's, or int8 for the name of what generates text. */
static rp_status take_precisions(struct placing *placing, rp_error *err) {
    const rp_preferences *wishes = &placing->preferences;
    if (wishes->precision && !rp_precision_name(wishes->precision)) {
        rp_fail(err, RP_ERR_ARGUMENT, "'%s' is no precision", wishes->precision);
        rp_hint(err, "the precisions are fp32, bf16, fp16, fp8, int8, int4");
        return RP_ERR_ARGUMENT;
    }
    bool is_name_only = !placing->request->has_constructor && !placing->request->facts->format;
    const char *at = wishes->precisions;
    if (!at) at = is_name_only && placing->generates ? "int8" : "";
    while (*at) {
        char word[16];
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        const char *name = rp_precision_name(word);
        if (!name) {
            return rp_fail(err, RP_ERR_ARGUMENT, "'%s' is no precision, in '%s'", word,
                           wishes->precisions);
        }
        if (!is_among(placing->allowed, placing->allowed_count, name)) {
            placing->allowed[placing->allowed_count++] = name;
        }
        at += length;
        at += strspn(at, ", ");
    }
    return RP_OK;
}

/* Whether it writes text, token by token; of what takes pictures and text, encoders do not. */
static bool writes_text(rp_family family, rp_subfamily subfamily) {
    return family == RP_FAMILY_TEXT_GENERATION ||
           (family == RP_FAMILY_MULTIMODAL && subfamily != RP_SUBFAMILY_IMAGE_TEXT_ENCODER);
}

static rp_status start(struct placing *placing, const rp_place_request *request, rp_error *err) {
    if (!request || request->size != sizeof *request || !request->snapshot || !request->facts) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a placement needs an rp_place_request with a snapshot and facts");
    }
    placing->request = request;
    placing->preferences = (rp_preferences)RP_PREFERENCES_INIT;
    const rp_preferences *wishes = &placing->preferences;
    if (request->preferences) placing->preferences = *request->preferences;
    if (wishes->engine && !rp_engine_find(wishes->engine)) {
        rp_fail(err, RP_ERR_NOT_FOUND, "there is no engine '%s'", wishes->engine);
        rp_hint(err, "'rpool version' lists the engines");
        return RP_ERR_NOT_FOUND;
    }
    placing->family = wishes->family != RP_FAMILY_UNKNOWN ? wishes->family
                                                          : request->facts->classification.family;
    placing->subfamily = wishes->subfamily != RP_SUBFAMILY_NONE
                             ? wishes->subfamily
                             : request->facts->classification.subfamily;
    placing->generates = writes_text(placing->family, placing->subfamily);
    placing->workload = wishes->workload;
    if (wishes->force_low_memory && placing->workload.context_length == 0) {
        placing->workload.context_length = 512;
    }
    bool is_auto = !wishes->device || !*wishes->device || strcmp(wishes->device, "auto") == 0;
    placing->named = is_auto ? NULL : wishes->device;
    placing->named_device = rp_snapshot_find_device(request->snapshot, placing->named);
    placing->processor = rp_snapshot_find_device(request->snapshot, "cpu");
    placing->near_nodes = rp_near_nodes(placing->processor ? placing->processor->cpu : NULL);
    return take_precisions(placing, err);
}

static rp_plan *create_plan(const struct placing *placing) {
    const rp_snapshot *snapshot = placing->request->snapshot;
    size_t devices = rp_snapshot_device_count(snapshot);
    /* A device is tried in what is asked for, in what is usual there, and in what is allowed. */
    size_t capacity =
        devices * (2 + placing->allowed_count) + rp_snapshot_absent_count(snapshot) + KIND_COUNT;
    rp_plan *plan = rp_alloc(sizeof *plan);
    if (!plan) return NULL;
    plan->rows = rp_alloc_array(capacity, sizeof *plan->rows);
    plan->order = rp_alloc_array(capacity, sizeof *plan->order);
    if (!plan->rows || !plan->order) {
        rp_plan_destroy(plan);
        return NULL;
    }
    plan->snapshot = rp_snapshot_acquire(snapshot);
    rp_policy policy = placing->preferences.policy;
    plan->policy = policy ? policy : placing->named ? RP_POLICY_REQUIRE : RP_POLICY_ANY;
    if (!placing->named && plan->policy != RP_POLICY_ANY) plan->policy = RP_POLICY_ANY;
    const char *name = placing->request->name ? placing->request->name : "the model";
    snprintf(plan->name, sizeof plan->name, "%s", name);
    snprintf(plan->wanted, sizeof plan->wanted, "%s", placing->named ? placing->named : "");
    if (placing->preferences.description) {
        snprintf(plan->description, sizeof plan->description, "%s",
                 placing->preferences.description);
    }
    return plan;
}

/* "cpu, cuda:0, cuda:1", as far as there is place. Returns out. */
static const char *list_devices(const rp_snapshot *snapshot, char out[PRESENT_BYTES]) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot) && length < PRESENT_BYTES; i++) {
        length += (size_t)snprintf(out + length, PRESENT_BYTES - length, "%s%s", i ? ", " : "",
                                   rp_snapshot_device(snapshot, i)->id);
    }
    return out;
}

static bool has_preferred_index(const struct placing *placing) {
    const rp_snapshot *snapshot = placing->request->snapshot;
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        bool is_one = !placing->named || is_named(placing, device);
        if (is_one && index_of(device) == placing->preferences.preferred_index) return true;
    }
    return false;
}

/* Wishes that change nothing, because there is nothing to change. */
static void tell_unheeded(const struct placing *placing) {
    const rp_preferences *wishes = &placing->preferences;
    rp_plan *plan = placing->plan;
    char present[PRESENT_BYTES];
    size_t length = 0;
    uint32_t most_tokens = placing->request->facts->context_length;
    if (wishes->preferred_index != RP_UNKNOWN_U32 && !has_preferred_index(placing)) {
        length = (size_t)snprintf(
            plan->note, sizeof plan->note, "no %.64s has the preferred index %u: there are %s",
            placing->named ? placing->named : "device", wishes->preferred_index,
            list_devices(placing->request->snapshot, present));
    }
    /* A limit of 0 is one that nobody knows. */
    if (most_tokens != RP_UNKNOWN_U32 && most_tokens > 0 &&
        wishes->workload.context_length > most_tokens) {
        snprintf(plan->note + length, sizeof plan->note - length,
                 "%splanned for %u tokens, the most that it takes, instead of %u",
                 length > 0 ? "; " : "", most_tokens, wishes->workload.context_length);
    }
}

/* The row of a candidate: it is its first member. */
static const struct row *row_of(const rp_candidate *candidate) {
    return (const struct row *)(const void *)candidate;
}

/* Whether a kind's absence is the answer to what was named. */
static bool is_absence_of(const struct row *row, const char *named) {
    size_t length = strcspn(named, ":");
    const char *kind = row->candidate.device;
    return row->is_absent && strlen(kind) == length && memcmp(kind, named, length) == 0;
}

/*
 * Of two refusals, the one that a person wants to read: want of room before other reasons, then
 * where waiting helps, then where the least is wanting.
 */
static bool says_more(const rp_candidate *candidate, const rp_candidate *than) {
    if (candidate->is_short != than->is_short) return candidate->is_short;
    if (!candidate->is_short) return false;
    if (candidate->is_later != than->is_later) return candidate->is_later;
    return candidate->memory_bytes_needed - candidate->memory_bytes_usable <
           than->memory_bytes_needed - than->memory_bytes_usable;
}

/* Whether a row is of the device that was named, or of its kind's absence. */
static bool is_of_named(const rp_plan *plan, const struct row *row) {
    if (row->is_absent) return is_absence_of(row, plan->wanted);
    return row->device && (strcmp(row->device->id, plan->wanted) == 0 ||
                           strcmp(rp_device_kind_name(row->device->kind), plan->wanted) == 0);
}

/* Why it is not the device that was preferred; "" where it is, or none was. */
static void tell_preferred(const rp_plan *plan, char *text, size_t text_bytes) {
    const struct row *told = NULL;
    text[0] = '\0';
    if (plan->policy != RP_POLICY_PREFER || is_of_named(plan, row_of(plan->order[0]))) return;
    for (size_t i = 0; i < plan->count; i++) {
        const struct row *row = row_of(plan->order[i]);
        if (!is_of_named(plan, row)) continue;
        if (!told || says_more(&row->candidate, &told->candidate)) told = row;
    }
    snprintf(text, text_bytes, "'%s' is preferred, but %.240s; ", plan->wanted,
             told ? told->reason : "there is no such device");
}

/* Why the best is the best: its own reason, and what the caller called its wish. */
static void tell_reason(rp_plan *plan) {
    char preferred[DEVICE_TEXT_BYTES + REASON_BYTES];
    if (plan->count == 0 || !plan->order[0]->accepted) return;
    tell_preferred(plan, preferred, sizeof preferred);
    snprintf(plan->reason, sizeof plan->reason, "%s%s%s%s%s%s", plan->description,
             plan->description[0] ? ": " : "",
             plan->wanted[0] && plan->policy == RP_POLICY_REQUIRE ? "asked for; " : "", preferred,
             plan->order[0]->reason, plan->order[0]->simulated ? " (simulated)" : "");
    /* What it would take to have it in the precision that it did not fit in, and what was not
     * heeded. */
    size_t length = strlen(plan->reason);
    if (plan->advice[0]) {
        snprintf(plan->reason + length, sizeof plan->reason - length, "; %s", plan->advice);
    }
    length = strlen(plan->reason);
    if (plan->note[0]) {
        snprintf(plan->reason + length, sizeof plan->reason - length, "; %s", plan->note);
    }
}

rp_status rp_place_by_rules(const struct rp_rules *rules, const rp_place_request *request,
                            rp_plan **plan, rp_error *err) {
    struct placing placing = {.rules = rules};
    rp_status status = start(&placing, request, err);
    if (status != RP_OK) return status;
    placing.plan = create_plan(&placing);
    if (!placing.plan) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory to place '%s'",
                       request->name ? request->name : "the model");
    }
    tell_unheeded(&placing);
    size_t device_count = rp_snapshot_device_count(request->snapshot);
    for (size_t i = 0; i < device_count; i++) {
        add_device(&placing, rp_snapshot_device(request->snapshot, i));
    }
    for (int kind = RP_DEVICE_CUDA; kind <= RP_DEVICE_WEBGPU; kind++) {
        add_group(placing.plan, (rp_device_kind)kind);
    }
    if (!placing.plan->advice[0]) advise_precision(&placing);
    for (size_t i = 0; i < rp_snapshot_absent_count(request->snapshot); i++) {
        add_absence(&placing, rp_snapshot_absent(request->snapshot, i));
    }
    rp_plan *made = placing.plan;
    for (size_t i = 0; i < made->count; i++) {
        made->order[i] = &made->rows[i].candidate;
    }
    qsort(made->order, made->count, sizeof *made->order, better_first);
    tell_reason(made);
    *plan = made;
    return RP_OK;
}

rp_status rp_place(const rp_place_request *request, rp_plan **plan, rp_error *err) {
    if (!plan) return rp_fail(err, RP_ERR_ARGUMENT, "a place for the plan is needed");
    const struct rp_rules *rules = NULL;
    rp_status status = rp_rules_of_process(&rules, err);
    return status == RP_OK ? rp_place_by_rules(rules, request, plan, err) : status;
}

static bool is_of_a_kind(const char *named) {
    size_t length = strcspn(named, ":");
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        const char *name = rp_device_kind_name((rp_device_kind)kind);
        if (strlen(name) == length && memcmp(name, named, length) == 0) return true;
    }
    return false;
}

static rp_status tell_absent(const rp_plan *plan, rp_error *err) {
    char present[PRESENT_BYTES];
    const char *why = NULL;
    for (size_t i = 0; i < plan->count; i++) {
        if (is_absence_of(&plan->rows[i], plan->wanted)) why = plan->rows[i].reason;
    }
    rp_fail(err, RP_ERR_ABSENT, "this machine has no device '%s': it has %s%s%s", plan->wanted,
            list_devices(plan->snapshot, present), why ? "; " : "", why ? why : "");
    if (is_of_a_kind(plan->wanted)) {
        rp_hint(err, "'rpool hardware' shows what is here and what is absent, with the reason");
    } else {
#define RP_DEVICE_KIND_ONE(constant, number, name) " " name
        rp_hint(err, "the kinds are%s", RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE));
#undef RP_DEVICE_KIND_ONE
    }
    return RP_ERR_ABSENT;
}

rp_status rp_plan_placement(const rp_plan *plan, rp_placement *placement, rp_error *err) {
    if (!plan || !placement) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a plan and a place for its placement are needed");
    }
    const rp_candidate *best = plan->count > 0 ? plan->order[0] : NULL;
    if (best && best->accepted) {
        *placement = (rp_placement){
            .device = best->device,
            .precision = best->precision,
            .engine = best->engine,
            .policy = plan->policy,
            .reason = plan->reason,
        };
        return RP_OK;
    }
    const struct row *told = NULL;
    for (size_t i = 0; i < plan->count; i++) {
        const struct row *row = row_of(plan->order[i]);
        bool is_one = !row->is_absent && !row->is_other;
        if (is_one && (!told || says_more(&row->candidate, &told->candidate))) told = row;
    }
    if (!told) return tell_absent(plan, err);
    if (!told->candidate.is_short) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' cannot be placed: %s: %s", plan->name,
                       told->candidate.device, told->reason);
    }
    rp_fail(err, RP_ERR_CAPACITY, "no device has room for '%s': %s: %s%s%s", plan->name,
            told->candidate.device, told->reason, plan->note[0] ? "; " : "", plan->note);
    if (plan->advice[0]) {
        rp_hint(err, "%s", plan->advice);
    } else if (told->candidate.is_later) {
        rp_hint(err, "free memory there, or take a smaller model");
    } else {
        rp_hint(err, "take a smaller model, or a device with more memory");
    }
    return RP_ERR_CAPACITY;
}

rp_policy rp_plan_policy(const rp_plan *plan) {
    return plan->policy;
}

const char *rp_plan_reason(const rp_plan *plan, const rp_candidate *candidate) {
    bool is_best = candidate == plan->order[0] && candidate->accepted;
    return is_best ? plan->reason : candidate->reason;
}

size_t rp_plan_candidate_count(const rp_plan *plan) {
    return plan->count;
}

const rp_candidate *rp_plan_candidate(const rp_plan *plan, size_t index) {
    return index < plan->count ? plan->order[index] : NULL;
}

void rp_plan_destroy(rp_plan *plan) {
    if (!plan) return;
    if (plan->snapshot) rp_snapshot_release(plan->snapshot);
    rp_free(plan->rows);
    rp_free(plan->order);
    rp_free(plan);
}
