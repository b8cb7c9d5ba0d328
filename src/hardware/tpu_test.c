/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/tpu.h"

#include "base/memory.h"
#include "base/status.h"
#include "hardware/device.h"

#include "../../tests/drivers/kinds.h"

static struct rp_snapshot *probe(const char *machine) {
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot(machine);
    assert_ok(rp_device_tpu.probe(snapshot, &err));
    return snapshot;
}

static void the_chips_of_a_cloud_machine_are_counted(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = probe("tpu-v5e");
    /* Four chips; the network card of the same maker, handed out by the same driver, is none. */
    assert_int_equal(snapshot->device_count, 4);
    const rp_device *device = fake_device(snapshot, "tpu:3");
    assert_false(device->available);
    assert_text(
        device->reason,
        "/dev/vfio/12 is not there: a container must be given the device files of its TPUs");
    assert_true(fake_device(snapshot, "tpu:2")->available);
    assert_text(device->name, "TPU v5e");
    assert_int_equal(device->memory_bytes_total, UINT64_C(16) << 30);
    assert_int_equal(device->memory_bytes_free, RP_UNKNOWN_U64);
    assert_text(device->accelerator->type, "tpu");
    assert_text(device->accelerator->vendor, "google");
    assert_text(device->accelerator->pci_address, "0000:00:07.0");
    assert_text(device->accelerator->pci_id, "1ae0:0063");
    assert_text(device->accelerator->source, "sysfs, table");
    assert_int_equal(device->accelerator->numa_node, 1);
    assert_text(fake_words(device->accelerator->precisions, device->accelerator->precision_count),
                "fp32 bf16 int8");
    rp_snapshot_release(snapshot);
}

static void a_chip_seen_in_two_places_is_one(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = probe("tpu-v4");
    assert_int_equal(snapshot->device_count, 1);
    assert_text(fake_device(snapshot, "tpu:0")->name, "TPU v4");
    assert_true(fake_device(snapshot, "tpu:0")->available);
    rp_snapshot_release(snapshot);
}

static void corals_are_found_on_usb_and_pci(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = probe("coral");
    assert_int_equal(snapshot->device_count, 2);
    const rp_device *stick = fake_device(snapshot, "tpu:0");
    assert_text(stick->name, "Coral Edge TPU");
    assert_true(stick->available);
    assert_text(stick->accelerator->source, "sysfs (usb)");
    assert_null(stick->accelerator->pci_address);
    const rp_device *card = fake_device(snapshot, "tpu:1");
    assert_false(card->available);
    assert_says(card->reason, "no driver for it (apex)");
    assert_text(card->accelerator->pci_address, "0000:01:00.0");
    assert_text(fake_words(card->accelerator->precisions, card->accelerator->precision_count),
                "int8");
    rp_snapshot_release(snapshot);
}

static void a_list_of_visible_chips_is_read(void **state) {
    (void)state;
    assert_true(rp_tpu_lists_chip("0,2", 0));
    assert_true(rp_tpu_lists_chip("0, 2", 2));
    assert_false(rp_tpu_lists_chip("0,2", 1));
    assert_false(rp_tpu_lists_chip("", 0));
    assert_false(rp_tpu_lists_chip("12,x,-1", 1));
}

static void no_chip_is_an_absence(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("plain");
    assert_status(rp_device_tpu.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no TPU is in this machine");
    rp_snapshot_release(snapshot);
    snapshot = fake_snapshot(NULL);
    setenv("TPU_NAME", "node-1", 1);
    rp_status status = rp_device_tpu.probe(snapshot, &err);
    unsetenv("TPU_NAME");
    if (status == RP_ERR_ABSENT) assert_says(err.message, "TPU_NAME is 'node-1'");
    rp_snapshot_release(snapshot);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char *const machines[] = {"tpu-v5e", "coral"};
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            struct rp_snapshot *snapshot = fake_snapshot(machines[i]);
            rp_memory_fail_at(n);
            rp_status status = rp_device_tpu.probe(snapshot, &err);
            int pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            rp_snapshot_release(snapshot);
            assert_int_equal(rp_memory_live_count(), before);
            assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
            if (!pending) continue;
            assert_true(n > 1);
            break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chips_of_a_cloud_machine_are_counted),
        cmocka_unit_test(a_chip_seen_in_two_places_is_one),
        cmocka_unit_test(corals_are_found_on_usb_and_pci),
        cmocka_unit_test(a_list_of_visible_chips_is_read),
        cmocka_unit_test(no_chip_is_an_absence),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
