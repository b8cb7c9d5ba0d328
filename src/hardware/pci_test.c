/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/pci.h"

#include "base/memory.h"
#include "base/status.h"

#include "../../tests/test.h"
#include "../../tests/tree.h"

#define BUS "/sys/bus/pci/devices/"

static struct rp_snapshot *look_at(const char *root) {
    struct rp_snapshot *snapshot = rp_snapshot_create();
    assert_non_null(snapshot);
    snapshot->root = root;
    return snapshot;
}

static void accelerators_are_found_among_other_cards(void **state) {
    (void)state;
    char root[64];
    tree_create(root);
    tree_write(root, BUS "0000:65:00.0/uevent",
               "DRIVER=nvidia\nPCI_CLASS=30200\nPCI_ID=10DE:2330\nPCI_SLOT_NAME=0000:65:00.0\n");
    tree_write(root, BUS "0000:65:00.0/numa_node", "1\n");
    tree_write(root, BUS "0000:65:00.1/uevent", "PCI_CLASS=40300\nPCI_ID=10DE:22ba\n"); /* sound */
    tree_write(root, BUS "0000:00:1f.0/uevent", "PCI_CLASS=60100\nPCI_ID=8086:1b81\n");
    tree_write(root, BUS "0000:00:0b.0/uevent", "PCI_CLASS=120000\nPCI_ID=8086:7D1D\n"); /* NPU */
    tree_write(root, BUS "0000:00:0b.0/numa_node", "-1\n");
    tree_write(root, BUS "0000:c4:00.1/uevent", "PCI_CLASS=118000\nPCI_ID=1022:1502\n");
    tree_write(root, BUS "0000:05:00.0/uevent", "PCI_CLASS=FF00\nPCI_ID=1AC1:089A\n");
    /* As a person composes one: a file each, and a link to the driver. */
    tree_write(root, BUS "10000:03:00.0/vendor", "0x1002\n");
    tree_write(root, BUS "10000:03:00.0/device", "0x74a1\n");
    tree_write(root, BUS "10000:03:00.0/class", "0x120000\n");
    tree_link(root, BUS "10000:03:00.0/driver", "../../../../bus/pci/drivers/amdgpu");
    tree_write(root, BUS "nonsense/uevent", "PCI_CLASS=30200\nPCI_ID=10DE:2330\n");
    tree_write(root, BUS "0000:77:00.0/uevent", "PCI_CLASS=zzz\nPCI_ID=10DE\n");
    struct rp_snapshot *snapshot = look_at(root);
    const struct rp_pci_device *cards;
    const struct rp_pci_device *again;
    size_t count;
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pci_devices(snapshot, &cards, &count, &err));
    assert_int_equal(count, 5);
    assert_string_equal(cards[0].address, "0000:00:0b.0");
    assert_true(cards[0].numa_node == RP_UNKNOWN_U32);
    assert_string_equal(cards[1].address, "0000:05:00.0");
    assert_string_equal(cards[2].address, "0000:65:00.0");
    assert_int_equal(cards[2].vendor, RP_PCI_NVIDIA);
    assert_int_equal(cards[2].device, 0x2330);
    assert_int_equal(cards[2].class_code, 0x030200);
    assert_int_equal(rp_pci_base_class(&cards[2]), RP_PCI_DISPLAY);
    assert_int_equal(cards[2].numa_node, 1);
    assert_string_equal(cards[2].driver, "nvidia");
    assert_string_equal(cards[3].address, "0000:c4:00.1");
    assert_string_equal(cards[3].driver, "");
    assert_string_equal(cards[4].address, "10000:03:00.0");
    assert_int_equal(cards[4].device, 0x74a1);
    assert_string_equal(cards[4].driver, "amdgpu");
    char text[RP_PCI_TEXT_BYTES];
    assert_string_equal(rp_pci_describe(&cards[2], text),
                        "NVIDIA H100 80GB (10de:2330) at 0000:65:00.0");
    struct rp_pci_device stranger = cards[2];
    stranger.device = 0xffff;
    assert_string_equal(rp_pci_describe(&stranger, text),
                        "NVIDIA card (10de:ffff) at 0000:65:00.0");
    assert_ok(rp_pci_devices(snapshot, &again, &count, &err));
    assert_ptr_equal(again, cards);
    rp_snapshot_release(snapshot);
    tree_remove(root);
}

static void a_machine_without_a_bus_has_none(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = look_at("/no/such/root");
    const struct rp_pci_device *cards;
    size_t count = 9;
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_pci_devices(snapshot, &cards, &count, &err));
    assert_int_equal(count, 0);
    rp_snapshot_release(snapshot);
}

static void addresses_have_one_form(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"00000000:65:00.0", "0000:65:00.0"},
        {"0000:1A:1f.7", "0000:1a:1f.7"},
        {"10000:e1:00.0", "10000:e1:00.0"},
        {"65:00.0", NULL},
        {"0000:65:20.0", NULL},
        {"0000:65:00.8", NULL},
        {"0000:65:00.", NULL},
        {"0000:65:00.0 ", NULL},
        {"", NULL},
        {"0000:165:00.0", NULL},
        {"xyz", NULL},
        {"000000000:65:00.0", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[16];
        assert_int_equal(rp_pci_parse_address(cases[i][0], out), cases[i][1] != NULL);
        if (cases[i][1]) assert_string_equal(out, cases[i][1]);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char root[64];
    tree_create(root);
    tree_write(root, BUS "0000:65:00.0/uevent", "PCI_CLASS=30200\nPCI_ID=10DE:2330\n");
    tree_write(root, BUS "0000:65:00.0/numa_node", "1\n");
    tree_write(root, BUS "0000:66:00.0/vendor", "0x10de\n");
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        struct rp_snapshot *snapshot = look_at(root);
        const struct rp_pci_device *cards;
        size_t count;
        rp_error err = RP_ERROR_INIT;
        rp_memory_fail_at(n);
        rp_status status = rp_pci_devices(snapshot, &cards, &count, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
        rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) break;
    }
    tree_remove(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accelerators_are_found_among_other_cards),
        cmocka_unit_test(a_machine_without_a_bus_has_none),
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
