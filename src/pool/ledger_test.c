/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "pool/ledger.h"

#include "../../tests/test.h"

#define MIB       (UINT64_C(1) << 20)
#define SECOND_NS INT64_C(1000000000)

static void make(struct rp_ledger *ledger, uint64_t budget_bytes) {
    rp_ledger_init(ledger);
    assert_int_equal(rp_ledger_device_index(ledger, "cpu"), 0);
    assert_int_equal(rp_ledger_device_index(ledger, "cuda:0"), 1);
    assert_int_equal(rp_ledger_device_index(ledger, "cpu"), 0);
    ledger->devices[0].budget_bytes = budget_bytes;
}

static void bytes_go_through_their_states_and_add_up(void **state) {
    (void)state;
    struct rp_ledger ledger;
    struct rp_charge charge = {0};
    make(&ledger, 100 * MIB);
    rp_ledger_charge(&ledger, &charge, 0, 60 * MIB, RP_CHARGE_RESERVED);
    assert_int_equal(rp_ledger_shortage(&ledger, 0, 60 * MIB, RP_UNKNOWN_U64).device_bytes,
                     20 * MIB);
    rp_ledger_move(&ledger, &charge, RP_CHARGE_LOADING);
    rp_ledger_correct(&ledger, &charge, 70 * MIB);
    rp_ledger_move(&ledger, &charge, RP_CHARGE_RESIDENT);
    assert_int_equal(ledger.sums[RP_CHARGE_RESIDENT], 70 * MIB);
    assert_true(rp_ledger_is_sound(&ledger));
    rp_ledger_move(&ledger, &charge, RP_CHARGE_UNLOADING);
    /* On its way out: promised to the next, who may not begin yet. */
    struct rp_charge next = {0};
    assert_int_equal(rp_ledger_shortage(&ledger, 0, 60 * MIB, RP_UNKNOWN_U64).device_bytes, 0);
    rp_ledger_charge(&ledger, &next, 0, 60 * MIB, RP_CHARGE_RESERVED);
    assert_false(rp_ledger_may_begin(&ledger, &next));
    assert_int_equal(rp_ledger_unload(&ledger, &charge, RP_UNKNOWN_U64, RP_UNKNOWN_U64, 0),
                     70 * MIB);
    assert_true(rp_ledger_may_begin(&ledger, &next));
    rp_ledger_drop(&ledger, &next);
    assert_int_equal(rp_ledger_charged(ledger.sums), 0);
    assert_int_equal(ledger.peak_bytes, 70 * MIB);
    rp_ledger_fini(&ledger);
}

static void no_budget_is_above_what_the_device_allows(void **state) {
    (void)state;
    struct rp_ledger ledger;
    make(&ledger, 100 * MIB);
    ledger.devices[0].limit_bytes = 50 * MIB;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 50 * MIB);
    assert_true(rp_ledger_shortage(&ledger, 0, 51 * MIB, RP_UNKNOWN_U64).is_never);
    assert_int_equal(rp_ledger_budget(&ledger, 1), RP_UNKNOWN_U64);
    ledger.budget_bytes = 30 * MIB;
    assert_true(rp_ledger_shortage(&ledger, 1, 31 * MIB, RP_UNKNOWN_U64).is_never);
    ledger.budget_percent = 50;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 25 * MIB);
    assert_int_equal(rp_ledger_budget_all(&ledger), 15 * MIB);
    /* What was measured counts too, with what is promised but not there yet. */
    ledger.budget_percent = 100;
    ledger.budget_bytes = RP_UNKNOWN_U64;
    struct rp_charge other = {0};
    rp_ledger_charge(&ledger, &other, 0, 10 * MIB, RP_CHARGE_LOADING);
    struct rp_shortage shortage = rp_ledger_shortage(&ledger, 0, 20 * MIB, 25 * MIB);
    assert_true(shortage.is_measured);
    assert_int_equal(shortage.device_bytes, 5 * MIB);
    rp_ledger_drop(&ledger, &other);
    rp_ledger_fini(&ledger);
}

static void what_others_hold_is_less_of_what_the_device_allows(void **state) {
    (void)state;
    struct rp_ledger ledger;
    make(&ledger, RP_UNKNOWN_U64);
    ledger.devices[0].outside_bytes = 40 * MIB; /* of nobody knows how much */
    assert_int_equal(rp_ledger_budget(&ledger, 0), RP_UNKNOWN_U64);
    ledger.devices[0].limit_bytes = 100 * MIB;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 60 * MIB);
    assert_int_equal(rp_ledger_shortage(&ledger, 0, 70 * MIB, RP_UNKNOWN_U64).device_bytes,
                     10 * MIB);
    assert_false(rp_ledger_shortage(&ledger, 0, 100 * MIB, RP_UNKNOWN_U64).is_never);
    assert_true(rp_ledger_shortage(&ledger, 0, 101 * MIB, RP_UNKNOWN_U64).is_never);
    /* A budget that was asked for stays what it is, as long as there is so much. */
    ledger.devices[0].budget_bytes = 50 * MIB;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 50 * MIB);
    ledger.devices[0].outside_bytes = 70 * MIB;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 30 * MIB);
    ledger.devices[0].outside_bytes = 170 * MIB;
    assert_int_equal(rp_ledger_budget(&ledger, 0), 0);
    assert_int_equal(rp_ledger_budget_all(&ledger), RP_UNKNOWN_U64);
    assert_int_equal(rp_ledger_charged(ledger.sums), 0);
    assert_true(rp_ledger_is_sound(&ledger));
    rp_ledger_fini(&ledger);
}

static void bytes_that_are_not_seen_to_come_back_stay_charged_until_they_are_lost(void **state) {
    (void)state;
    struct rp_ledger ledger;
    struct rp_charge charge = {0};
    make(&ledger, 200 * MIB);
    rp_ledger_charge(&ledger, &charge, 0, 100 * MIB, RP_CHARGE_RESIDENT);
    charge.arrived_bytes = 100 * MIB;
    rp_ledger_move(&ledger, &charge, RP_CHARGE_UNLOADING);
    /* The meter stood at 150, and stands at 140: ten are back, ninety are not. */
    uint64_t freed = rp_ledger_unload(&ledger, &charge, 150 * MIB, 140 * MIB, 5 * SECOND_NS);
    assert_int_equal(freed, 10 * MIB);
    assert_int_equal(ledger.sums[RP_CHARGE_UNSEEN], 90 * MIB);
    assert_int_equal(rp_ledger_next_loss_ns(&ledger), 7 * SECOND_NS);
    assert_int_equal(rp_ledger_look(&ledger, 0, 140 * MIB, 6 * SECOND_NS), 0);
    /* The clock jumps back: nothing gets lost for it. */
    assert_int_equal(rp_ledger_look(&ledger, 0, 140 * MIB, SECOND_NS), 0);
    assert_int_equal(ledger.sums[RP_CHARGE_UNSEEN], 90 * MIB);
    /* And forth: they are lost, and in nobody's way. */
    assert_int_equal(rp_ledger_look(&ledger, 0, 140 * MIB, 100 * SECOND_NS), 0);
    assert_int_equal(ledger.sums[RP_CHARGE_LOST], 90 * MIB);
    assert_int_equal(rp_ledger_charged(ledger.sums), 0);
    assert_int_equal(rp_ledger_shortage(&ledger, 0, 200 * MIB, RP_UNKNOWN_U64).device_bytes, 0);
    assert_true(rp_ledger_is_sound(&ledger));
    /* Another load moves the meter by itself, then they come back after all. */
    rp_ledger_level_rose(&ledger, 0, 50 * MIB);
    assert_int_equal(rp_ledger_look(&ledger, 0, 190 * MIB, 101 * SECOND_NS), 0);
    assert_int_equal(rp_ledger_look(&ledger, 0, 100 * MIB, 101 * SECOND_NS), 90 * MIB);
    assert_int_equal(ledger.sums[RP_CHARGE_LOST], 0);
    assert_true(rp_ledger_is_sound(&ledger));
    rp_ledger_fini(&ledger);
}

static void many_that_are_unseen_are_waited_for_together(void **state) {
    (void)state;
    struct rp_ledger ledger;
    make(&ledger, RP_UNKNOWN_U64);
    for (int i = 0; i < 3 * RP_LEDGER_UNSEEN_MAX; i++) {
        struct rp_charge charge = {0};
        rp_ledger_charge(&ledger, &charge, 0, 50 * MIB, RP_CHARGE_UNLOADING);
        charge.arrived_bytes = 50 * MIB;
        assert_int_equal(rp_ledger_unload(&ledger, &charge, 6000 * MIB, 6000 * MIB, i), 0);
        assert_true(rp_ledger_is_sound(&ledger));
        if (i == 2 * RP_LEDGER_UNSEEN_MAX) rp_ledger_look(&ledger, 0, 6000 * MIB, 10 * SECOND_NS);
    }
    uint64_t all = 3 * RP_LEDGER_UNSEEN_MAX * 50 * MIB;
    assert_int_equal(ledger.sums[RP_CHARGE_UNSEEN] + ledger.sums[RP_CHARGE_LOST], all);
    assert_int_equal(rp_ledger_look(&ledger, 0, 0, 20 * SECOND_NS), all);
    rp_ledger_fini(&ledger);
}

static void what_ran_beside_others_is_not_alone(void **state) {
    (void)state;
    struct rp_ledger ledger;
    make(&ledger, RP_UNKNOWN_U64);
    uint64_t first = rp_ledger_begin(&ledger, 0);
    assert_true(rp_ledger_end(&ledger, 0, first));
    first = rp_ledger_begin(&ledger, 0);
    uint64_t second = rp_ledger_begin(&ledger, 0);
    assert_false(rp_ledger_end(&ledger, 0, second));
    assert_false(rp_ledger_end(&ledger, 0, first));
    uint64_t elsewhere = rp_ledger_begin(&ledger, 1);
    uint64_t here = rp_ledger_begin(&ledger, 0);
    assert_true(rp_ledger_end(&ledger, 0, here));
    assert_true(rp_ledger_end(&ledger, 1, elsewhere));
    rp_ledger_fini(&ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_through_their_states_and_add_up),
        cmocka_unit_test(no_budget_is_above_what_the_device_allows),
        cmocka_unit_test(what_others_hold_is_less_of_what_the_device_allows),
        cmocka_unit_test(bytes_that_are_not_seen_to_come_back_stay_charged_until_they_are_lost),
        cmocka_unit_test(many_that_are_unseen_are_waited_for_together),
        cmocka_unit_test(what_ran_beside_others_is_not_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
