/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "pool/eviction.h"

#include "../../tests/test.h"

#include <stdlib.h>

#define SECOND_NS INT64_C(1000000000)

static uint64_t random_state = 7;

static uint32_t draw(uint32_t below) {
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(random_state >> 33) % below;
}

static void the_chosen_set_suffices_and_none_of_it_can_be_spared(void **state) {
    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct rp_victim victims[10];
        size_t count = draw(11);
        uint64_t bytes = 1 + draw(400);
        uint64_t total = 0;
        double single_cost = -1;
        for (size_t i = 0; i < count; i++) {
            victims[i] = (struct rp_victim){
                .cost = (double)draw(100), .bytes = draw(150), .owner = &victims[i]};
            total += victims[i].bytes;
            bool is_less = single_cost < 0 || victims[i].cost < single_cost;
            if (victims[i].bytes >= bytes && is_less) single_cost = victims[i].cost;
        }
        bool is_found = rp_eviction_choose(victims, count, bytes);
        uint64_t sum = 0;
        double cost = 0;
        for (size_t i = 0; i < count; i++) {
            if (!victims[i].is_chosen) continue;
            sum += victims[i].bytes;
            cost += victims[i].cost;
        }
        assert_int_equal(is_found, total >= bytes);
        if (!is_found) {
            assert_int_equal(sum, 0);
            continue;
        }
        assert_true(sum >= bytes);
        assert_true(single_cost < 0 || cost <= 2 * single_cost + 1e-9);
        for (size_t i = 0; i < count; i++) {
            if (victims[i].is_chosen) assert_true(sum - victims[i].bytes < bytes);
        }
    }
}

/* The price of something used `uses` times, every `gap` seconds, the last `age` seconds ago. */
static double price(struct rp_eviction *eviction, int uses, int gap_s, int age_s, double load_ms) {
    struct rp_worth worth;
    int64_t now_ns = 100000 * SECOND_NS;
    int64_t first_ns = now_ns - ((int64_t)age_s + (int64_t)(uses - 1) * gap_s) * SECOND_NS;
    rp_eviction_admit(eviction, &worth, 0, 1, load_ms, first_ns);
    for (int i = 1; i < uses; i++) {
        rp_eviction_observe(eviction, &worth, (uint64_t)i, 0,
                            first_ns + (int64_t)i * gap_s * SECOND_NS);
    }
    return rp_eviction_cost(eviction, &worth, now_ns);
}

static void prices_rise_with_load_time_and_uses_and_fall_with_age(void **state) {
    (void)state;
    struct rp_eviction eviction;
    rp_eviction_init(&eviction);
    assert_true(price(&eviction, 1, 0, 10, 200) > price(&eviction, 1, 0, 10, 100));
    assert_true(price(&eviction, 5, 10, 10, 100) > price(&eviction, 1, 0, 10, 100));
    assert_true(price(&eviction, 1, 0, 10, 100) > price(&eviction, 1, 0, 1000, 100));
    assert_true(price(&eviction, 1, 0, 10, 0) > 0);
    /* A clock that stands still, or jumps back, gives a price all the same. */
    struct rp_worth worth;
    rp_eviction_admit(&eviction, &worth, 1, 1, 100, 50 * SECOND_NS);
    rp_eviction_observe(&eviction, &worth, 1, 1, 40 * SECOND_NS);
    double odd = rp_eviction_cost(&eviction, &worth, 10 * SECOND_NS);
    assert_true(odd > 0 && odd < 1e12);
    rp_eviction_fini(&eviction);
}

static void what_was_let_go_is_known_again(void **state) {
    (void)state;
    struct rp_eviction eviction;
    struct rp_worth worth;
    int64_t blocks = rp_memory_live_count();
    rp_eviction_init(&eviction);
    rp_eviction_admit(&eviction, &worth, 77, 1, 100, SECOND_NS);
    rp_eviction_observe(&eviction, &worth, 1, 77, 2 * SECOND_NS);
    rp_eviction_observe(&eviction, &worth, 2, 77, 3 * SECOND_NS);
    rp_eviction_forget(&eviction, 77);
    rp_eviction_admit(&eviction, &worth, 77, 1, 100, 9 * SECOND_NS);
    assert_int_equal(worth.first_ns, SECOND_NS);
    assert_true(worth.periods == 4);
    rp_eviction_admit(&eviction, &worth, 78, 1, 100, 9 * SECOND_NS);
    assert_true(worth.periods == 1);
    rp_eviction_fini(&eviction);
    /* Without memory nothing is remembered, and nothing breaks. */
    rp_eviction_init(&eviction);
    rp_memory_fail_at(1);
    rp_eviction_admit(&eviction, &worth, 78, 1, 100, 9 * SECOND_NS);
    rp_memory_fail_at(0);
    rp_eviction_observe(&eviction, &worth, 1, 78, 10 * SECOND_NS);
    rp_eviction_forget(&eviction, 78);
    assert_true(rp_eviction_cost(&eviction, &worth, 11 * SECOND_NS) > 0);
    rp_eviction_fini(&eviction);
    assert_int_equal(rp_memory_live_count(), blocks);
}

/* Items asked for by a rule; which fading is learnt from it? */
static int learnt_from(uint32_t (*pick)(int step)) {
    enum { ITEMS = 60, ROOM = 20, STEPS = 4000 };
    struct rp_eviction eviction;
    struct rp_worth worths[ITEMS];
    uint64_t uses[ITEMS] = {0};
    bool is_there[ITEMS] = {false};
    size_t count = 0;
    rp_eviction_init(&eviction);
    for (int step = 1; step <= STEPS; step++) {
        int64_t now_ns = step * SECOND_NS;
        uint32_t wanted = pick(step);
        if (is_there[wanted]) {
            uses[wanted]++;
            rp_eviction_observe(&eviction, &worths[wanted], uses[wanted], wanted + 1, now_ns);
            continue;
        }
        if (count == ROOM) {
            uint32_t least = UINT32_MAX;
            double least_cost = 0;
            rp_eviction_scan(&eviction);
            for (uint32_t i = 0; i < ITEMS; i++) {
                if (!is_there[i]) continue;
                double cost = rp_eviction_cost(&eviction, &worths[i], now_ns);
                if (least == UINT32_MAX || cost < least_cost) {
                    least = i;
                    least_cost = cost;
                }
            }
            is_there[least] = false;
            count--;
            rp_eviction_forget(&eviction, least + 1);
        }
        is_there[wanted] = true;
        uses[wanted] = 0;
        count++;
        rp_eviction_admit(&eviction, &worths[wanted], wanted + 1, 1, 100, now_ns);
    }
    int best = eviction.best;
    rp_eviction_fini(&eviction);
    return best;
}

/* Two thirds of the requests go to a third of the items, always the same. */
static uint32_t pick_popular(int step) {
    (void)step;
    return draw(3) > 0 ? draw(20) : 20 + draw(40);
}

/* Ten at a time, for a hundred requests. */
static uint32_t pick_moving(int step) {
    return ((uint32_t)step / 100 * 10 + draw(10)) % 60;
}

static void lasting_popularity_and_moving_sets_are_told_apart(void **state) {
    (void)state;
    int lasting = learnt_from(pick_popular);
    int moving = learnt_from(pick_moving);
    assert_true(lasting < moving); /* variants are in the order of how fast uses fade */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chosen_set_suffices_and_none_of_it_can_be_spared),
        cmocka_unit_test(prices_rise_with_load_time_and_uses_and_fall_with_age),
        cmocka_unit_test(what_was_let_go_is_known_again),
        cmocka_unit_test(lasting_popularity_and_moving_sets_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
