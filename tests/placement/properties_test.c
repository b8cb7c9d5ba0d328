/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for every machine, model and wish, whatever the answers are. Snapshots are varied as
 * JSON: that is how a machine is described, and the library reads it as any other.
 */
#include "../test.h"
#include "base/memory.h"
#include "placing.h"

#include <jansson.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>

/* --- snapshots, varied ---------------------------------------------------------------------- */

static json_t *json_of(const rp_snapshot *snapshot) {
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    assert_ok(rp_snapshot_to_json(snapshot, 0, &text, &err));
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    rp_string_free(text);
    return json;
}

/* The snapshot that a JSON describes; takes it. */
static const rp_snapshot *snapshot_of(json_t *json) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    char *text = json_dumps(json, 0);
    assert_non_null(text);
    assert_ok(rp_snapshot_from_json(text, strlen(text), "varied", &snapshot, &err));
    free(text);
    json_decref(json);
    return snapshot;
}

static const rp_snapshot *with_free_memory(const rp_snapshot *snapshot, size_t index,
                                           uint64_t bytes) {
    json_t *json = json_of(snapshot);
    json_t *device = json_array_get(json_object_get(json, "devices"), index);
    json_object_set_new(device, "memory_bytes_free", json_integer((json_int_t)bytes));
    return snapshot_of(json);
}

static const rp_snapshot *without_device(const rp_snapshot *snapshot, size_t index) {
    json_t *json = json_of(snapshot);
    assert_int_equal(json_array_remove(json_object_get(json, "devices"), index), 0);
    return snapshot_of(json);
}

/* The machine is real, its processor too; what else it has is pretended. */
static const rp_snapshot *with_pretended_devices(const rp_snapshot *snapshot) {
    json_t *json = json_of(snapshot);
    size_t i;
    json_t *device;
    json_object_set_new(json, "simulated", json_false());
    json_array_foreach(json_object_get(json, "devices"), i, device) {
        json_object_set_new(device, "simulated", json_boolean(i > 0));
    }
    return snapshot_of(json);
}

/* --- plans, compared ------------------------------------------------------------------------ */

static const rp_candidate *find_candidate(const rp_plan *plan, const rp_candidate *like) {
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        bool is_same_precision = each->precision && strcmp(each->precision, like->precision) == 0;
        if (is_same_precision && strcmp(each->device, like->device) == 0) return each;
    }
    return NULL;
}

static bool has_accepted(const rp_plan *plan, const char *device) {
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        if (each->accepted && strcmp(each->device, device) == 0) return true;
    }
    return false;
}

static double best_score(const rp_plan *plan) {
    const rp_candidate *best = rp_plan_candidate(plan, 0);
    return best->accepted ? best->score : -1e9;
}

static void fail_with_plans(const char *what, const char *machine, const char *model,
                            const char *wishes, const rp_plan *before, const rp_plan *after) {
    char *first = placing_describe(before);
    char *second = placing_describe(after);
    print_error("%s, %s %s\n%s\n%s\n", machine, model, wishes, first, second);
    rp_free(first);
    rp_free(second);
    fail_msg("%s", what);
}

/* --- the properties ------------------------------------------------------------------------- */

typedef void visit(const struct machine *machine, const char *model, const char *wishes);

static void for_all(visit *each) {
    assert_true(placing_machine_count > 0);
    for (size_t i = 0; i < placing_machine_count; i++) {
        for (size_t model = 0; model < PLACING_MODEL_COUNT; model++) {
            for (size_t wish = 0; wish < PLACING_WISH_COUNT; wish++) {
                each(&placing_machines[i], placing_models[model], placing_wishes[wish]);
            }
        }
    }
}

static void ask_twice(const struct machine *machine, const char *model, const char *wishes) {
    rp_plan *first = placing_ask(machine->snapshot, model, wishes);
    rp_plan *second = placing_ask(machine->snapshot, model, wishes);
    char *one = placing_describe(first);
    char *other = placing_describe(second);
    assert_string_equal(one, other);
    rp_free(one);
    rp_free(other);
    rp_plan_destroy(first);
    rp_plan_destroy(second);
}

static void the_same_question_has_the_same_answer(void **state) {
    (void)state;
    for_all(ask_twice);
}

/* For each device of a machine, one change of it, under all models and wishes. */
typedef void change_check(const struct machine *machine, size_t device, const rp_snapshot *changed,
                          const char *model, const char *wishes);

static void check_changed(const struct machine *machine, size_t device, const rp_snapshot *changed,
                          change_check *check) {
    for (size_t model = 0; model < PLACING_MODEL_COUNT; model++) {
        for (size_t wish = 0; wish < PLACING_WISH_COUNT; wish++) {
            check(machine, device, changed, placing_models[model], placing_wishes[wish]);
        }
    }
    rp_snapshot_release(changed);
}

static void is_no_worse(const struct machine *machine, size_t device, const rp_snapshot *freer,
                        const char *model, const char *wishes) {
    (void)device;
    rp_plan *before = placing_ask(machine->snapshot, model, wishes);
    rp_plan *after = placing_ask(freer, model, wishes);
    if (best_score(after) < best_score(before)) {
        fail_with_plans("more memory made the best worse", machine->name, model, wishes, before,
                        after);
    }
    for (size_t i = 0; i < rp_plan_candidate_count(before); i++) {
        const rp_candidate *each = rp_plan_candidate(before, i);
        const rp_candidate *later = each->accepted ? find_candidate(after, each) : each;
        if (each->accepted && later && !later->accepted) {
            fail_with_plans("more memory made an accepted one refused", machine->name, model,
                            wishes, before, after);
        }
        if (each->accepted && later && later->score < each->score) {
            fail_with_plans("more memory made a candidate worse", machine->name, model, wishes,
                            before, after);
        }
    }
    rp_plan_destroy(before);
    rp_plan_destroy(after);
}

static void more_free_memory_makes_nothing_worse(void **state) {
    (void)state;
    size_t changes = 0;
    for (size_t i = 0; i < placing_machine_count; i++) {
        const rp_snapshot *snapshot = placing_machines[i].snapshot;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            const rp_device *device = rp_snapshot_device(snapshot, j);
            uint64_t free_bytes = device->memory_bytes_free;
            uint64_t total = device->memory_bytes_total;
            if (free_bytes == RP_UNKNOWN_U64 || free_bytes == total) continue;
            uint64_t half = free_bytes + (total - free_bytes) / 2;
            check_changed(&placing_machines[i], j, with_free_memory(snapshot, j, half),
                          is_no_worse);
            check_changed(&placing_machines[i], j, with_free_memory(snapshot, j, total),
                          is_no_worse);
            changes++;
        }
    }
    assert_true(changes > 30);
}

static void accepted_ones_are_the_same(const struct machine *machine, size_t device,
                                       const rp_snapshot *smaller, const char *model,
                                       const char *wishes) {
    const char *id = rp_snapshot_device(machine->snapshot, device)->id;
    rp_plan *before = placing_ask(machine->snapshot, model, wishes);
    rp_plan *after = placing_ask(smaller, model, wishes);
    bool is_refused = !has_accepted(before, id);
    for (size_t i = 0; is_refused && i < rp_plan_candidate_count(before); i++) {
        const rp_candidate *one = rp_plan_candidate(before, i);
        const rp_candidate *other = rp_plan_candidate(after, i);
        if (!one->accepted && !(other && other->accepted)) break;
        bool is_same = other && one->accepted && other->accepted &&
                       strcmp(one->device, other->device) == 0 &&
                       strcmp(one->precision, other->precision) == 0 &&
                       strcmp(one->reason, other->reason) == 0 && one->score == other->score;
        if (!is_same) {
            fail_with_plans("a refused device made a difference", machine->name, model, wishes,
                            before, after);
        }
    }
    rp_plan_destroy(before);
    rp_plan_destroy(after);
}

/* But for the processor: what shares its memory is bounded by it. */
static void removing_a_refused_device_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < placing_machine_count; i++) {
        const rp_snapshot *snapshot = placing_machines[i].snapshot;
        for (size_t j = 1; j < rp_snapshot_device_count(snapshot); j++) {
            check_changed(&placing_machines[i], j, without_device(snapshot, j),
                          accepted_ones_are_the_same);
        }
    }
}

static void check_required(const struct machine *machine, const char *name, bool is_kind) {
    char wishes[128];
    snprintf(wishes, sizeof wishes, "{\"device\":\"%s\",\"policy\":\"require\"}", name);
    for (size_t model = 0; model < PLACING_MODEL_COUNT; model++) {
        rp_plan *plan = placing_ask(machine->snapshot, placing_models[model], wishes);
        rp_placement placement;
        rp_error err = RP_ERROR_INIT;
        if (rp_plan_placement(plan, &placement, &err) == RP_OK) {
            size_t length = strlen(name);
            assert_int_equal(strncmp(placement.device, name, length), 0);
            if (!is_kind) assert_int_equal(placement.device[length], '\0');
            assert_int_equal(placement.policy, RP_POLICY_REQUIRE);
        } else {
            /* The message tells which one it was. */
            assert_says(err.message, name);
            assert_true(err.status == RP_ERR_CAPACITY || err.status == RP_ERR_ABSENT ||
                        err.status == RP_ERR_UNSUPPORTED);
        }
        rp_plan_destroy(plan);
    }
}

static void a_required_device_is_that_one_or_an_error(void **state) {
    (void)state;
    for (size_t i = 0; i < placing_machine_count; i++) {
        const struct machine *machine = &placing_machines[i];
        for (size_t j = 0; j < rp_snapshot_device_count(machine->snapshot); j++) {
            check_required(machine, rp_snapshot_device(machine->snapshot, j)->id, false);
        }
        for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
            check_required(machine, rp_device_kind_name((rp_device_kind)kind), true);
        }
        check_required(machine, "cuda:77", false);
    }
}

static void a_device_that_is_not_here_is_absent(void **state) {
    (void)state;
    char answer[64];
    for (size_t i = 0; i < placing_machine_count; i++) {
        rp_plan *plan =
            placing_ask(placing_machines[i].snapshot, "gpt2", "{\"device\":\"cuda:77\"}");
        assert_string_equal(placing_answer(plan, answer), "error: absent");
        rp_plan_destroy(plan);
    }
}

/* On a machine that is real: the processor, unless something pretended was asked for. */
static void simulated_ones_come_only_when_asked_for(void **state) {
    (void)state;
    for (size_t i = 0; i < placing_machine_count; i++) {
        const rp_snapshot *mixed = with_pretended_devices(placing_machines[i].snapshot);
        for (size_t model = 0; model < PLACING_MODEL_COUNT; model++) {
            rp_plan *plan = placing_ask(mixed, placing_models[model], "{}");
            for (size_t j = 0; j < rp_plan_candidate_count(plan); j++) {
                const rp_candidate *each = rp_plan_candidate(plan, j);
                assert_false(each->accepted && each->simulated);
            }
            rp_plan_destroy(plan);
            plan = placing_ask(mixed, placing_models[model],
                               "{\"fallback_to_simulation\":true,"
                               "\"priority_list\":[\"cuda\",\"rocm\",\"mps\",\"tpu\"],"
                               "\"preferred_index\":0}");
            bool is_simulated_met = false;
            for (size_t j = 0; j < rp_plan_candidate_count(plan); j++) {
                const rp_candidate *each = rp_plan_candidate(plan, j);
                if (!each->accepted) break;
                assert_false(is_simulated_met && !each->simulated);
                is_simulated_met |= each->simulated;
            }
            rp_plan_destroy(plan);
        }
        rp_snapshot_release(mixed);
    }
}

static void a_simulated_one_that_is_named_is_taken(void **state) {
    (void)state;
    char answer[64];
    const rp_snapshot *mixed = with_pretended_devices(placing_machine("1xh100")->snapshot);
    rp_plan *plan = placing_ask(mixed, "bert-base-uncased", "{\"device\":\"cuda:0\"}");
    assert_string_equal(placing_answer(plan, answer), "cuda:0/fp32");
    rp_plan_destroy(plan);
    rp_snapshot_release(mixed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_question_has_the_same_answer),
        cmocka_unit_test(more_free_memory_makes_nothing_worse),
        cmocka_unit_test(removing_a_refused_device_changes_nothing),
        cmocka_unit_test(a_required_device_is_that_one_or_an_error),
        cmocka_unit_test(a_device_that_is_not_here_is_absent),
        cmocka_unit_test(simulated_ones_come_only_when_asked_for),
        cmocka_unit_test(a_simulated_one_that_is_named_is_taken),
    };
    return cmocka_run_group_tests(tests, placing_read_machines, placing_forget_machines);
}
