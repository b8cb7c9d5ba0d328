/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/placement.h"

#include "../../tests/test.h"

/* A machine without a processor of its own to show, and one with two devices. */
static const char two_devices[] =
    "{\"version\": 1, \"devices\": ["
    "{\"id\": \"cpu\", \"kind\": \"cpu\", \"name\": \"c\", \"available\": true},"
    "{\"id\": \"cuda:0\", \"kind\": \"cuda\", \"name\": \"g\", \"available\": true},"
    "{\"id\": \"cuda:1\", \"kind\": \"cuda\", \"name\": \"g\", \"available\": false}], \"absent\": "
    "[]}";

static void the_device_asked_for_is_that_device_or_an_error(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    struct rp_placement_choice choice;
    assert_ok(rp_snapshot_from_json(two_devices, strlen(two_devices), "test", &snapshot, &err));
    assert_ok(rp_placement_choose(snapshot, "cuda", &choice, &err));
    assert_string_equal(choice.device, "cuda:0");
    assert_int_equal(choice.policy, RP_POLICY_REQUIRE);
    assert_says(choice.reason, "'cuda:0' was asked for");
    assert_status(rp_placement_choose(snapshot, "cuda:1", &choice, &err), RP_ERR_ABSENT);
    assert_status(rp_placement_choose(snapshot, "mps", &choice, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no device 'mps': it has cpu, cuda:0");
    assert_ok(rp_placement_choose(snapshot, NULL, &choice, &err));
    assert_string_equal(choice.device, "cpu");
    assert_int_equal(choice.policy, RP_POLICY_ANY);
    rp_snapshot_release(snapshot);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_asked_for_is_that_device_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
