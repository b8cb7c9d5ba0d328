/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/level_zero.h"

#include "base/status.h"
#include "hardware/level_zero_abi.h"

#include "../../tests/drivers/kinds.h"

static void devices_are_read_with_all_they_tell(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    static struct rp_level_zero_devices devices;
    fake_answers("ze.count = 2\nze.1.type = 5\nze.1.name = Intel(R) AI Boost\nze.1.uuid = 0\n"
                 "ze.1.pci = 0x58\nze.1.device = 0x7d1d\nze.1.total = 0\nze.1.flags = 1\n");
    assert_ok(rp_level_zero_list(&devices, &err));
    assert_int_equal(devices.count, 2);
    assert_true(devices.devices[0].is_gpu);
    assert_false(devices.devices[0].is_npu);
    assert_text(devices.devices[0].uuid, "86000000000000000000000000000000");
    assert_text(devices.devices[0].pci_address, "0000:03:00.0");
    assert_int_equal(devices.devices[0].unit_count, 512);
    assert_int_equal(devices.devices[0].memory_bytes_total, 16225243136);
    assert_int_equal(devices.devices[0].memory_bytes_free, 12884901888);
    assert_true(devices.devices[1].is_npu);
    assert_true(devices.devices[1].is_integrated);
    assert_text(devices.devices[1].uuid, "");
    assert_text(devices.devices[1].pci_address, "0000:00:0b.0");
    assert_int_equal(devices.devices[1].unit_count, RP_UNKNOWN_U32);
    assert_int_equal(devices.devices[1].memory_bytes_total, RP_UNKNOWN_U64);
}

static void what_cannot_be_is_unknown(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    static struct rp_level_zero_devices devices;
    fake_answers("ze.0.free = 99999999999\nze.0.pci = 0x1234ffff\nze.0.units = 4000000000\n");
    assert_ok(rp_level_zero_list(&devices, &err));
    assert_int_equal(devices.devices[0].memory_bytes_free, RP_UNKNOWN_U64);
    assert_int_equal(devices.devices[0].unit_count, RP_UNKNOWN_U32);
    assert_text(devices.devices[0].pci_address, "1234:ff:1f.7");
    fake_answers("result.zeDevicePciGetPropertiesExt = 1\nresult.zesMemoryGetState = 1\n"
                 "result.zeDeviceGetMemoryProperties = 1\n");
    assert_ok(rp_level_zero_list(&devices, &err));
    assert_int_equal(devices.devices[0].memory_bytes_total, RP_UNKNOWN_U64);
    assert_int_equal(devices.devices[0].memory_bytes_free, RP_UNKNOWN_U64);
    assert_text(devices.devices[0].pci_address, "");
}

static void that_it_does_not_start_has_its_number(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    static struct rp_level_zero_devices devices;
    fake_answers("result.zeInit = 0x78000001\n");
    assert_status(rp_level_zero_list(&devices, &err), RP_ERR_ABSENT);
    assert_says(err.message, "0x78000001, no driver is installed");
    fake_answers("result.zeDriverGet = 5\n");
    assert_status(rp_level_zero_list(&devices, &err), RP_ERR_ABSENT);
    fake_answers("result.zeDeviceGetProperties = 5\n");
    assert_status(rp_level_zero_list(&devices, &err), RP_ERR_ABSENT);
    assert_says(err.message, "lists no device");
    fake_answers("ze.count = 40\n");
    assert_ok(rp_level_zero_list(&devices, &err));
    assert_int_equal(devices.count, RP_LEVEL_ZERO_DEVICES_MAX);
}

int main(void) {
    setenv("RESOURCE_POOL_LEVEL_ZERO", FAKE_LEVEL_ZERO, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_read_with_all_they_tell),
        cmocka_unit_test(what_cannot_be_is_unknown),
        cmocka_unit_test(that_it_does_not_start_has_its_number),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    return failed;
}
