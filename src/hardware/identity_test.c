/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/identity.h"

#include "base/memory.h"

#include "../../tests/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 256 };

static char root[] = "/tmp/rp-identity-test-XXXXXX";

#define CARD "/sys/bus/pci/devices/0000:01:00.0/uevent"
static const char card[] = "DRIVER=nvidia\nPCI_CLASS=30000\nPCI_ID=10DE:2684\n";

static void write_file(const char *path, const char *text) {
    char whole[PATH_BYTES];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = strchr(whole + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_file(const char *path) {
    char whole[PATH_BYTES];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    assert_int_equal(unlink(whole), 0);
}

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(root)) return -1;
    write_file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    write_file("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
    write_file("/proc/sys/kernel/random/boot_id", "00000000-1111-2222-3333-444444444444\n");
    write_file("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 550.54.15\n");
    write_file(CARD, card);
    write_file("/sys/bus/pci/devices/0000:00:1f.6/uevent", "PCI_CLASS=20000\nPCI_ID=8086:15FA\n");
    write_file("/etc/ld.so.cache", "libraries");
    return 0;
}

static int remove_one(const char *path, const struct stat *found, int flag, struct FTW *ftw) {
    (void)found;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state) {
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void take(char out[RP_IDENTITY_BYTES]) {
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    assert_non_null(snapshot);
    snapshot->root = root;
    assert_ok(rp_identity_machine(snapshot, out, &err));
    rp_snapshot_release(snapshot);
    assert_int_equal(strlen(out), RP_IDENTITY_BYTES - 1);
}

static void take_conditions(rp_device_kind kind, char out[RP_IDENTITY_BYTES]) {
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    assert_non_null(snapshot);
    snapshot->root = root;
    assert_ok(rp_identity_conditions(snapshot, kind, out, &err));
    rp_snapshot_release(snapshot);
}

/* What a change of one file does to the fingerprint; the file is put back as it was. */
static bool file_counts(const char *path, const char *text, const char *changed) {
    char before[RP_IDENTITY_BYTES];
    char after[RP_IDENTITY_BYTES];
    char again[RP_IDENTITY_BYTES];
    take(before);
    if (changed) {
        write_file(path, changed);
    } else {
        remove_file(path);
    }
    take(after);
    write_file(path, text);
    take(again);
    assert_string_equal(before, again);
    return strcmp(before, after) != 0;
}

static void another_machine_driver_or_card_is_told(void **state) {
    (void)state;
    assert_true(file_counts("/etc/machine-id", "0123456789abcdef0123456789abcdef\n",
                            "1123456789abcdef0123456789abcdef\n"));
    assert_true(file_counts("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n", "6.1.0-19-amd64\n"));
    static const char version[] = "NVRM version: NVIDIA UNIX x86_64 550.54.15\n";
    assert_true(file_counts("/proc/driver/nvidia/version", version, "NVRM version: 560.35.03\n"));
    assert_true(file_counts("/proc/driver/nvidia/version", version, NULL));
    assert_true(file_counts(CARD, card, NULL));
    assert_true(file_counts(CARD, card, "DRIVER=nvidia\nPCI_CLASS=30000\nPCI_ID=10DE:2685\n"));
    /* Given away to a virtual machine. */
    assert_true(file_counts(CARD, card, "DRIVER=vfio-pci\nPCI_CLASS=30000\nPCI_ID=10DE:2684\n"));
}

static void a_restart_or_a_network_card_is_not(void **state) {
    (void)state;
    assert_false(file_counts("/proc/sys/kernel/random/boot_id",
                             "00000000-1111-2222-3333-444444444444\n", "5"));
    assert_false(file_counts("/sys/bus/pci/devices/0000:00:1f.6/uevent",
                             "PCI_CLASS=20000\nPCI_ID=8086:15FA\n", NULL));
}

static void a_machine_without_identity_is_known_until_it_restarts(void **state) {
    (void)state;
    static const char id[] = "0123456789abcdef0123456789abcdef\n";
    write_file("/etc/machine-id", ""); /* as images leave it */
    assert_true(file_counts("/proc/sys/kernel/random/boot_id",
                            "00000000-1111-2222-3333-444444444444\n", "5"));
    write_file("/etc/machine-id", id);
}

static void what_hides_a_card_counts_for_its_kind_alone(void **state) {
    (void)state;
    char cuda[3][RP_IDENTITY_BYTES];
    char rocm[2][RP_IDENTITY_BYTES];
    unsetenv("CUDA_VISIBLE_DEVICES");
    take_conditions(RP_DEVICE_CUDA, cuda[0]);
    take_conditions(RP_DEVICE_ROCM, rocm[0]);
    setenv("CUDA_VISIBLE_DEVICES", "", 1); /* which hides all of them */
    take_conditions(RP_DEVICE_CUDA, cuda[1]);
    take_conditions(RP_DEVICE_ROCM, rocm[1]);
    setenv("CUDA_VISIBLE_DEVICES", "1", 1);
    take_conditions(RP_DEVICE_CUDA, cuda[2]);
    unsetenv("CUDA_VISIBLE_DEVICES");
    assert_string_not_equal(cuda[0], cuda[1]);
    assert_string_not_equal(cuda[1], cuda[2]);
    assert_string_not_equal(cuda[0], cuda[2]);
    assert_string_equal(rocm[0], rocm[1]);
}

static void new_libraries_count(void **state) {
    (void)state;
    char before[RP_IDENTITY_BYTES];
    char after[RP_IDENTITY_BYTES];
    take_conditions(RP_DEVICE_OPENVINO, before);
    write_file("/etc/ld.so.cache", "more libraries");
    take_conditions(RP_DEVICE_OPENVINO, after);
    assert_string_not_equal(before, after);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        char out[RP_IDENTITY_BYTES] = "";
        struct rp_snapshot *snapshot = rp_snapshot_create();
        snapshot->root = root;
        rp_memory_fail_at(n);
        rp_status status = rp_identity_machine(snapshot, out, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 4);
            return;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_machine_driver_or_card_is_told),
        cmocka_unit_test(a_restart_or_a_network_card_is_not),
        cmocka_unit_test(a_machine_without_identity_is_known_until_it_restarts),
        cmocka_unit_test(what_hides_a_card_counts_for_its_kind_alone),
        cmocka_unit_test(new_libraries_count),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
