/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/holdings.h"

#include "../../tests/test.h"

#include <resourcepool/lease.h>
#include <stdio.h>

static void read_meter(void *user, const char *device, struct rp_meter_reading *reading) {
    (void)device;
    reading->usable_bytes = *(const uint64_t *)user;
}

static uint64_t usable_bytes;

static rp_pool *open_pool(const char *budget) {
    rp_error err = RP_ERROR_INIT;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_pool *pool = NULL;
    options.budget = budget;
    assert_ok(rp_pool_open_hooked(&options, NULL, &pool, &err));
    pool->meter = (struct rp_meter){read_meter, &usable_bytes};
    usable_bytes = UINT64_C(64) << 30;
    return pool;
}

static rp_lease *lease_model(rp_pool *pool, const char *name, unsigned mebibytes) {
    char whole[128];
    rp_error err = RP_ERROR_INIT;
    rp_request request = RP_REQUEST_INIT;
    rp_lease *lease = NULL;
    snprintf(whole, sizeof whole, "%s?memory_bytes=%uMiB", name, mebibytes);
    request.type = "model";
    request.name = whole;
    request.engine = "simulated";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    return lease;
}

static bool is_called(const struct rp_entry *entry, void *user) {
    return strstr(entry->text, user) != NULL;
}

static struct rp_holdings take(rp_pool *pool, const char *own) {
    struct rp_holdings holdings;
    rp_holdings_take(pool, "cpu", is_called, (void *)(uintptr_t)own, &holdings);
    return holdings;
}

static void the_largest_come_first_with_their_leases(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    static const unsigned sizes[] = {20, 50, 10, 60, 30, 40};
    rp_lease *leases[6];
    for (size_t i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", sizes[i]);
        leases[i] = lease_model(pool, name, sizes[i]);
    }
    rp_lease *second = NULL;
    assert_int_equal(rp_lease_clone(leases[1], &second, NULL), RP_OK);
    rp_lease_release(leases[3], NULL);
    struct rp_holdings holdings = take(pool, "m40");
    assert_int_equal(holdings.own_bytes, 40 << 20);
    assert_int_equal(holdings.count, RP_HOLDINGS_TOLD);
    assert_int_equal(holdings.largest[0].bytes, 60 << 20);
    assert_int_equal(holdings.largest[0].lease_count, 0);
    assert_int_equal(holdings.largest[1].bytes, 50 << 20);
    assert_int_equal(holdings.largest[1].lease_count, 2);
    assert_string_equal(holdings.largest[1].name, "m50?memory_bytes=50MiB");
    assert_int_equal(holdings.largest[2].bytes, 30 << 20);
    assert_int_equal(holdings.largest[3].bytes, 20 << 20);
    rp_lease_release(second, NULL);
    for (size_t i = 0; i < 6; i++) {
        if (i != 3) rp_lease_release(leases[i], NULL);
    }
    rp_pool_close(pool, NULL);
}

static void what_is_free_is_the_least_of_budget_and_device(void **state) {
    (void)state;
    rp_pool *pool = open_pool("100MiB");
    rp_lease *one = lease_model(pool, "one", 60);
    rp_lease *two = lease_model(pool, "two", 30);
    struct rp_holdings holdings = take(pool, "two");
    assert_int_equal(holdings.free_bytes, 40 << 20);
    assert_true(holdings.is_budget);
    assert_int_equal(holdings.count, 1);
    usable_bytes = 15 << 20;
    holdings = take(pool, "two");
    assert_int_equal(holdings.free_bytes, 15 << 20);
    assert_false(holdings.is_budget);
    assert_int_equal(take(pool, "three").own_bytes, 0);
    rp_lease_release(one, NULL);
    rp_lease_release(two, NULL);
    rp_pool_close(pool, NULL);
}

static void names_are_told_without_their_folders(void **state) {
    (void)state;
    rp_pool *pool = open_pool(NULL);
    rp_lease *leases[] = {lease_model(pool, "/models/a/bert.onnx", 30),
                          lease_model(pool, "/models/b/model.onnx", 20),
                          lease_model(pool, "model.onnx", 10)};
    struct rp_holdings holdings = take(pool, "nothing");
    assert_string_equal(holdings.largest[0].name, "bert.onnx?memory_bytes=30MiB");
    assert_string_equal(holdings.largest[1].name, "b/model.onnx?memory_bytes=20MiB");
    assert_string_equal(holdings.largest[2].name, "model.onnx?memory_bytes=10MiB");
    for (size_t i = 0; i < 3; i++) {
        rp_lease_release(leases[i], NULL);
    }
    rp_pool_close(pool, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_come_first_with_their_leases),
        cmocka_unit_test(what_is_free_is_the_least_of_budget_and_device),
        cmocka_unit_test(names_are_told_without_their_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
