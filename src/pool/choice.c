/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/choice.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

/* Words of a list such as "cuda:1,cpu", and the one that stands before them. */
struct words {
    const char *first; /* may be NULL, and counts all the same */
    const char *rest;  /* each ends in NUL */
    uint32_t count;
};

static uint32_t count_words(const char *list) {
    uint32_t count = 1;
    if (!list || !*list) return count;
    count++;
    for (; *list; list++) {
        count += *list == ',';
    }
    return count;
}

/* Cut a list into words, in a copy of it; false without memory. */
static bool cut_list(const char *first, const char *list, char **copy, struct words *words) {
    *words = (struct words){.first = first, .count = count_words(list)};
    if (words->count == 1) return true;
    *copy = rp_strdup(list);
    if (!*copy) return false;
    words->rest = *copy;
    for (char *at = *copy; *at; at++) {
        if (*at == ',') *at = '\0';
    }
    return true;
}

static const char *word_at(const struct words *words, uint32_t index) {
    if (index == 0) return words->first;
    const char *word = words->rest;
    while (--index > 0) {
        word += strlen(word) + 1;
    }
    return word;
}

rp_status rp_choice_check(rp_kind kind, const rp_request *request, rp_error *err) {
    uint64_t count = (uint64_t)count_words(request->devices) * count_words(request->precisions);
    if (count > RP_ATTEMPTS_MAX) {
        return rp_fail(err, RP_ERR_LIMIT, "more than %d devices or precisions to fall back on",
                       RP_ATTEMPTS_MAX - 1);
    }
    if ((request->devices || request->precisions || request->preferences) &&
        kind != RP_KIND_MODEL) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "only a model has devices and precisions to fall back on");
    }
    if (request->preferences && request->preferences->size != sizeof(rp_preferences)) {
        rp_fail(err, RP_ERR_ARGUMENT, "the preferences of a request have another size");
        rp_hint(err, "start from RP_PREFERENCES_INIT");
        return RP_ERR_ARGUMENT;
    }
    return RP_OK;
}

/* A type that is a family says more than a name does. */
static rp_family family_of_type(const char *type) {
    for (int i = 0; rp_family_name((rp_family)i); i++) {
        if (strcmp(rp_family_name((rp_family)i), type) == 0) return (rp_family)i;
    }
    return RP_FAMILY_UNKNOWN;
}

void rp_choice_facts(const rp_request *request, rp_model_facts *facts) {
    const char *model = request->path ? request->path : request->name;
    rp_error ignored = RP_ERROR_INIT; /* whoever loads it says what is wrong with it */
    bool is_pretended = request->engine && strcmp(request->engine, "simulated") == 0;
    if (!is_pretended && rp_model_facts_read(model, NULL, facts, &ignored) == RP_OK) return;
    char name[RP_LIMIT_NAME_BYTES];
    snprintf(name, sizeof name, "%.*s", is_pretended ? (int)strcspn(model, "?") : -1, model);
    rp_model_facts_of_name(name, NULL, facts);
}

static rp_preferences wishes_of(const rp_request *request, const char *device,
                                const char *precision) {
    rp_preferences wishes = RP_PREFERENCES_INIT;
    if (request->preferences) wishes = *request->preferences;
    if (device) wishes.device = device;
    if (precision) {
        wishes.precision = precision;
        wishes.require_precision = true;
    }
    /* Nobody's numbers change unasked: narrower ones come from the request's own list. */
    if (!wishes.precisions) wishes.precisions = "";
    if (request->engine) wishes.engine = request->engine;
    if (wishes.family == RP_FAMILY_UNKNOWN) wishes.family = family_of_type(request->type);
    return wishes;
}

static void add_attempt(struct rp_choice *choice, const rp_plan *plan,
                        const rp_candidate *candidate, const char *device, const char *precision) {
    if (choice->count == RP_ATTEMPTS_MAX) return;
    for (uint32_t i = 0; candidate && i < choice->count; i++) {
        const struct rp_attempt *other = &choice->attempts[i];
        if (other->candidate && strcmp(other->candidate->device, candidate->device) == 0 &&
            strcmp(other->candidate->precision, candidate->precision) == 0) {
            return;
        }
    }
    choice->attempts[choice->count++] = (struct rp_attempt){plan, candidate, device, precision};
}

/* Candidates that may be tried: those accepted, and those that only lack room now. */
static void add_candidates(struct rp_choice *choice, const rp_plan *plan, const char *device,
                           const char *precision) {
    bool is_found = false;
    const rp_candidate *too_small = NULL;
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        if (each->accepted || each->is_later) {
            is_found = true;
            add_attempt(choice, plan, each, device, precision);
        }
        if (each->is_short && !each->is_later && !too_small) too_small = each;
    }
    /* Where it can never fit, the ledger says so with its own numbers. */
    if (!is_found) add_attempt(choice, plan, too_small, device, precision);
}

static rp_status add_plan(const struct rp_choice_request *asked, struct rp_choice *choice,
                          const char *device, const char *precision, rp_error *err) {
    const rp_request *request = asked->request;
    rp_preferences wishes = wishes_of(request, device, precision);
    rp_place_request place = RP_PLACE_REQUEST_INIT;
    place.snapshot = asked->snapshot;
    place.facts = &choice->facts;
    place.name = request->name;
    place.preferences = &wishes;
    place.room = asked->room;
    place.room_count = asked->room_count;
    place.has_constructor = asked->has_constructor;
    if (request->memory_bytes > 0) {
        place.memory_bytes = request->memory_bytes;
        place.memory_method = "request";
    } else if (request->engine && !request->construct) {
        const char *path = request->path ? request->path : request->name;
        place.memory_bytes = rp_engine_estimate(request->engine, path, device ? device : "cpu");
        place.memory_method = "engine";
    }
    rp_plan *plan = NULL;
    rp_status status = rp_place(&place, &plan, err);
    if (status != RP_OK) return status;
    choice->plans[choice->plan_count++] = plan;
    add_candidates(choice, plan, device, precision);
    return RP_OK;
}

rp_status rp_choice_create(const struct rp_choice_request *asked, struct rp_choice **out,
                           rp_error *err) {
    const rp_request *request = asked->request;
    struct rp_choice *choice = rp_alloc(sizeof *choice);
    struct words devices;
    struct words precisions;
    *out = choice;
    bool is_auto = !request->device || strcmp(request->device, "auto") == 0;
    if (!choice ||
        !cut_list(is_auto ? NULL : request->device, request->devices, &choice->devices, &devices) ||
        !cut_list(request->precision, request->precisions, &choice->precisions, &precisions)) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the request for '%s'", request->type);
    }
    rp_choice_facts(request, &choice->facts);
    rp_status status = RP_OK;
    for (uint32_t p = 0; status == RP_OK && p < precisions.count; p++) {
        choice->lowest = choice->count;
        for (uint32_t d = 0; status == RP_OK && d < devices.count; d++) {
            status = add_plan(asked, choice, word_at(&devices, d), word_at(&precisions, p), err);
        }
    }
    return status;
}

void rp_choice_destroy(struct rp_choice *choice) {
    if (!choice) return;
    for (size_t i = 0; i < choice->plan_count; i++) {
        rp_plan_destroy(choice->plans[i]);
    }
    rp_free(choice->devices);
    rp_free(choice->precisions);
    rp_free(choice);
}

/* --- the key of preferences ---------------------------------------------------------------- */

static uint64_t add_text(uint64_t hash, const char *text) {
    return rp_key_hash_part(text, hash);
}

static uint64_t add_number(uint64_t hash, uint64_t number) {
    return XXH3_64bits_withSeed(&number, sizeof number, hash);
}

enum { DEVICE_IN_KEY_MAX = 40 };
_Static_assert(DEVICE_IN_KEY_MAX + 18 <= RP_LIMIT_DEVICE_BYTES, "a '/', 16 digits, an end");

/* What decides: all but the description. */
static uint64_t hash_preferences(const rp_preferences *wishes) {
    uint64_t hash = add_text(0, wishes->device);
    hash = add_text(hash, wishes->precision);
    hash = add_text(hash, wishes->precisions);
    hash = add_text(hash, wishes->engine);
    const uint64_t numbers[] = {
        wishes->policy,
        wishes->force_device,
        wishes->preferred_index,
        wishes->distribution,
        wishes->force_low_memory,
        wishes->require_precision,
        wishes->family,
        wishes->subfamily,
        wishes->web_deployment,
        wishes->browser_optimized,
        wishes->fallback_to_simulation,
        wishes->workload.batch_size,
        wishes->workload.context_length,
        wishes->priority_count,
        wishes->compatibility_count,
    };
    hash = XXH3_64bits_withSeed(numbers, sizeof numbers, hash);
    for (size_t i = 0; i < wishes->priority_count; i++) {
        hash = add_number(hash, wishes->priority[i]);
    }
    for (size_t i = 0; i < wishes->compatibility_count; i++) {
        hash = add_number(hash, wishes->compatibility[i].kind);
        hash = add_number(hash, wishes->compatibility[i].compatible);
        hash = add_number(hash, wishes->compatibility[i].peak_bytes);
    }
    return hash;
}

const char *rp_choice_key_device(const rp_request *request, char *text) {
    bool is_auto = !request->device || strcmp(request->device, "auto") == 0;
    if (!request->preferences) return is_auto ? NULL : request->device;
    /* No device has a '/' in its name. Each hit comes by here: snprintf() would be half of it. */
    uint64_t hash = hash_preferences(request->preferences);
    const char *device = is_auto ? "auto" : request->device;
    size_t length = strnlen(device, DEVICE_IN_KEY_MAX);
    memcpy(text, device, length);
    text[length++] = '/';
    for (int shift = 60; shift >= 0; shift -= 4) {
        text[length++] = "0123456789abcdef"[hash >> shift & 15];
    }
    text[length] = '\0';
    return text;
}
