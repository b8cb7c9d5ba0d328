/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICE, POLICY, PRECISION, PREFERENCES, BATCH, CONTEXT, ENGINE, SIMULATE, ALL };
enum { WARNING_BYTES = 512, PREFERENCES_BYTES_MAX = 64 << 10 };

/* The text of --preferences: itself where it begins with '{', else the file of that name. */
static int read_preferences(const char *given, char **text) {
    char first = given[strspn(given, " \n\t")];
    if (first == '\0' || first == '[' || first == '"') {
        return usage_error("explain",
                           "'--preferences %.40s': a dictionary, or a file that holds one", given);
    }
    if (first == '{') {
        *text = strdup(given);
        if (!*text) fprintf(stderr, "rpool: no memory for the preferences\n");
        return *text ? 0 : 1;
    }
    FILE *file = strcmp(given, "-") == 0 ? stdin : fopen(given, "re");
    if (!file) {
        int number = errno;
        fprintf(stderr, "rpool: cannot read the preferences in '%s': %s\n", given,
                strerror(number));
        return rp_status_exit_code(number == ENOENT ? RP_ERR_NOT_FOUND : RP_ERR_IO);
    }
    char *bytes = calloc(1, PREFERENCES_BYTES_MAX + 2);
    size_t length = bytes ? fread(bytes, 1, PREFERENCES_BYTES_MAX + 1, file) : 0;
    bool is_read = bytes && !ferror(file) && length <= PREFERENCES_BYTES_MAX;
    if (!is_read) {
        fprintf(stderr, "rpool: cannot read the preferences in '%s': %s\n", given,
                length > PREFERENCES_BYTES_MAX ? "more than 64 KiB" : strerror(errno));
    }
    if (file != stdin) fclose(file);
    if (!is_read) {
        free(bytes);
        return 1;
    }
    *text = bytes;
    return 0;
}

/* What was asked for, from --preferences and then from the other options. */
static int take_preferences(const struct arguments *arguments, rp_preferences **owned,
                            rp_preferences *wishes) {
    rp_error err = RP_ERROR_INIT;
    char warning[WARNING_BYTES] = "";
    long batch = 0;
    long context = 0;
    if (!parse_number("explain", "batch", arguments->options[BATCH], 1, 1 << 20, &batch) ||
        !parse_number("explain", "context", arguments->options[CONTEXT], 1, 1 << 30, &context)) {
        return EXIT_USAGE;
    }
    if (arguments->options[PREFERENCES]) {
        char *json = NULL;
        int code = read_preferences(arguments->options[PREFERENCES], &json);
        if (!json) return code;
        rp_status status =
            rp_preferences_parse(json, strlen(json), owned, warning, sizeof warning, &err);
        free(json);
        if (status != RP_OK) return report(&err);
        *wishes = **owned;
        if (warning[0]) fprintf(stderr, "rpool: %s\n", warning);
    }
    if (arguments->options[DEVICE]) wishes->device = arguments->options[DEVICE];
    if (arguments->options[PRECISION]) wishes->precision = arguments->options[PRECISION];
    if (arguments->options[ENGINE]) wishes->engine = arguments->options[ENGINE];
    if (batch > 0) wishes->workload.batch_size = (uint32_t)batch;
    if (context > 0) wishes->workload.context_length = (uint32_t)context;
    if (arguments->options[POLICY] &&
        rp_policy_parse(arguments->options[POLICY], &wishes->policy, &err) != RP_OK) {
        return usage_error("explain", "%s: %s", err.message, err.hint);
    }
    bool is_auto = !wishes->device || strcmp(wishes->device, "auto") == 0;
    if (is_auto && (wishes->policy == RP_POLICY_REQUIRE || wishes->policy == RP_POLICY_PREFER)) {
        fprintf(stderr, "rpool: the policy '%s' is for a device that is named, and none is\n",
                rp_policy_name(wishes->policy));
    }
    return 0;
}

static json_t *json_candidate(const rp_candidate *each) {
    return json_pack("{s:s, s:s, s:o, s:o, s:b, s:o, s:b, s:s, s:o, s:o, s:o}", "device",
                     each->device, "kind", rp_device_kind_name(each->kind), "precision",
                     json_text(each->precision), "engine", json_text(each->engine), "accepted",
                     each->accepted, "score", each->accepted ? json_real(each->score) : json_null(),
                     "simulated", each->simulated, "reason", each->reason, "memory_bytes_needed",
                     json_bytes(each->memory_bytes_needed), "memory_bytes_usable",
                     json_bytes(each->memory_bytes_usable), "method",
                     json_text(each->memory_method));
}

static json_t *json_model(const char *name, const rp_model_facts *facts) {
    const rp_classification *found = &facts->classification;
    return json_pack("{s:o, s:s, s:o, s:f, s:s, s:o, s:s}", "name", json_text(name), "family",
                     rp_family_name(found->family), "subfamily",
                     json_text(rp_subfamily_name(found->subfamily)), "confidence",
                     found->confidence, "source", found->source, "parameters",
                     json_bytes(facts->parameter_count), "parameter_method",
                     rp_facts_method_name(facts->parameter_method));
}

static int print_as_json(const char *name, const rp_model_facts *facts, const rp_plan *plan,
                         const rp_placement *placement, const rp_error *err) {
    json_t *candidates = json_array();
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        json_array_append_new(candidates, json_candidate(rp_plan_candidate(plan, i)));
    }
    json_t *refusal = placement
                          ? json_null()
                          : json_pack("{s:s, s:s, s:s}", "status", rp_status_name(err->status),
                                      "message", err->message, "hint", err->hint);
    return print_json(json_pack("{s:o, s:o, s:o, s:o}", "model", json_model(name, facts),
                                "placement", placement ? json_placement(placement) : json_null(),
                                "candidates", candidates, "error", refusal));
}

static void print_model(const char *name, const rp_model_facts *facts) {
    const rp_classification *found = &facts->classification;
    const char *subfamily = rp_subfamily_name(found->subfamily);
    print_name(name);
    printf(": %s%s%s", rp_family_name(found->family), subfamily ? "/" : "",
           subfamily ? subfamily : "");
    if (facts->parameter_count != RP_UNKNOWN_U64) {
        double millions = (double)facts->parameter_count / 1e6;
        printf(", %.4g %s parameters (%s)", millions < 1000 ? millions : millions / 1000,
               millions < 1000 ? "M" : "B", rp_facts_method_name(facts->parameter_method));
    }
    putchar('\n');
}

/* Whether two lines would say the same of two devices. */
static bool are_alike(const rp_candidate *left, const rp_candidate *right) {
    return left->precision && right->precision && strcmp(left->precision, right->precision) == 0 &&
           left->kind == right->kind && left->accepted == right->accepted &&
           left->memory_bytes_needed == right->memory_bytes_needed &&
           left->memory_bytes_usable == right->memory_bytes_usable &&
           strcmp(left->reason, right->reason) == 0;
}

static void print_candidate(const rp_candidate *each) {
    printf("%s %-14s %-9s %10s %10s  %s\n", each->accepted ? " +" : " -", each->device,
           each->precision ? each->precision : "",
           each->precision ? bytes_text(each->memory_bytes_needed) : "",
           each->precision ? bytes_text(each->memory_bytes_usable) : "", each->reason);
}

/* What is absent for reasons of no interest here, in one line. */
static void print_absent(const rp_plan *plan) {
    bool is_first = true;
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        if (each->precision) continue;
        printf("%s %s", is_first ? "   not here:" : "", each->device);
        is_first = false;
    }
    if (!is_first) printf(" ('--all' tells why)\n");
}

/* Whether a line is for the same kind and precision: the next of its devices. */
static bool is_next(const rp_candidate *left, const rp_candidate *right) {
    return left->precision && right->precision && strcmp(left->precision, right->precision) == 0 &&
           left->kind == right->kind;
}

/*
 * The devices after `first` of which the same is to be said: their lines are marked as told.
 * Refused ones stand between those of other precisions; the order of accepted ones means something.
 */
static void tell_alike(const rp_plan *plan, size_t first, bool *told) {
    const rp_candidate *like = rp_plan_candidate(plan, first);
    const char *from = NULL;
    const char *to = NULL;
    for (size_t i = first + 1; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        if (!told[i] && are_alike(like, each)) {
            told[i] = true;
            if (!from) from = each->device;
            to = each->device;
        } else if (like->accepted || is_next(like, each)) {
            break;
        }
    }
    if (from) printf("   %s%s%s alike\n", from, from != to ? " to " : "", from != to ? to : "");
}

/* A line a candidate; devices of which the same is to be said share one. */
static void print_table(const rp_plan *plan, bool is_whole) {
    size_t count = rp_plan_candidate_count(plan);
    bool *told = calloc(count + 1, sizeof *told);
    if (!told) return;
    printf("\n   %-14s %-9s %10s %10s  %s\n", "device", "precision", "needs", "usable", "why");
    for (size_t i = 0; i < count; i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        if (told[i] || (!each->precision && !is_whole)) continue;
        print_candidate(each);
        if (each->precision) tell_alike(plan, i, told);
    }
    free(told);
    if (!is_whole) print_absent(plan);
}

static int tell(const struct arguments *arguments, const char *name, const rp_model_facts *facts,
                const rp_plan *plan) {
    rp_error err = RP_ERROR_INIT;
    rp_placement placement;
    bool is_placed = rp_plan_placement(plan, &placement, &err) == RP_OK;
    if (arguments->json) {
        int code = print_as_json(name, facts, plan, is_placed ? &placement : NULL, &err);
        if (code != 0 || is_placed) return code;
        return report(&err);
    }
    print_model(name, facts);
    if (is_placed) {
        printf("goes to %s in %s by %s: %s\n", placement.device, placement.precision,
               placement.engine ? placement.engine : "a constructor of the caller's",
               placement.reason);
    }
    print_table(plan, arguments->options[ALL] != NULL);
    return is_placed ? 0 : report(&err);
}

int explain_run(const struct arguments *arguments) {
    const char *model = arguments->words[0];
    rp_error err = RP_ERROR_INIT;
    rp_preferences *owned = NULL;
    rp_preferences wishes = RP_PREFERENCES_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_plan *plan = NULL;
    rp_model_facts facts;
    int code = take_preferences(arguments, &owned, &wishes);
    if (code == 0) {
        rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
        options.simulate = arguments->options[SIMULATE];
        rp_status status = rp_hardware_detect(&options, &snapshot, &err);
        if (status == RP_OK) status = rp_model_facts_read(model, NULL, &facts, &err);
        rp_place_request request = RP_PLACE_REQUEST_INIT;
        request.snapshot = snapshot;
        request.facts = &facts;
        request.name = model;
        request.preferences = &wishes;
        if (status == RP_OK) status = rp_place(&request, &plan, &err);
        code = status == RP_OK ? tell(arguments, model, &facts, plan) : report(&err);
    }
    rp_plan_destroy(plan);
    rp_snapshot_release(snapshot);
    rp_preferences_destroy(owned);
    return code;
}
