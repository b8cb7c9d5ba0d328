/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/rocm.h"

#include "base/memory.h"
#include "base/status.h"
#include "hardware/device.h"

#include "../../tests/drivers/kinds.h"

#include <grp.h>

static const rp_accelerator *accelerator_of(const struct rp_snapshot *snapshot, const char *id) {
    const rp_device *device = fake_device(snapshot, id);
    assert_non_null(device->accelerator);
    return device->accelerator;
}

static void a_recorded_instinct_is_described_by_the_kernel(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("mi300x");
    assert_ok(rp_device_rocm.probe(snapshot, &err));
    assert_int_equal(snapshot->device_count, 2);
    const rp_device *device = fake_device(snapshot, "rocm:0");
    const rp_accelerator *accelerator = device->accelerator;
    assert_true(device->available);
    assert_true(device->simulated);
    assert_text(device->name, "AMD Instinct MI300X");
    assert_int_equal(device->memory_bytes_total, 206141652992);
    assert_int_equal(device->memory_bytes_free, 206141652992 - 65498251264);
    assert_text(accelerator->type, "gpu");
    assert_text(accelerator->vendor, "amd");
    assert_text(accelerator->gfx_target, "gfx942");
    assert_text(accelerator->uuid, "GPU-ab54a98ceb1f0ad2");
    assert_text(accelerator->pci_address, "0000:05:00.0");
    assert_text(accelerator->pci_id, "1002:74a1");
    assert_text(accelerator->driver_version, "6.8.5");
    assert_text(accelerator->runtime_version, "6.2.0");
    assert_text(accelerator->source, "sysfs");
    assert_text(fake_words(accelerator->precisions, accelerator->precision_count),
                "fp32 fp16 bf16 int8 fp8");
    assert_int_equal(accelerator->compute_unit_count, 304);
    assert_int_equal(accelerator->has_tensor_cores, RP_ANSWER_YES);
    assert_int_equal(accelerator->is_integrated, RP_ANSWER_NO);
    assert_int_equal(accelerator->is_ecc_enabled, RP_ANSWER_YES);
    assert_int_equal(accelerator->ecc_error_count, 0);
    assert_int_equal(accelerator->numa_node, 0);
    assert_int_equal(accelerator->utilization_percent, 87);
    assert_int_equal(accelerator->temperature_celsius, 41);
    assert_int_equal(accelerator->process_count, 1);
    assert_int_equal(accelerator->processes[0]->pid, 7001);
    assert_int_equal(accelerator->processes[0]->memory_bytes, 65200455680);
    assert_text(accelerator->processes[0]->name, "python3");
    const rp_accelerator *second = accelerator_of(snapshot, "rocm:1");
    assert_int_equal(second->ecc_error_count, 2);
    assert_int_equal(second->temperature_celsius, 43);
    assert_non_null(second->processes);
    assert_int_equal(second->process_count, 0);
    assert_text(second->uuid, "GPU-1122334455667788");
    assert_int_equal(snapshot->note_count, 0);
    rp_snapshot_release(snapshot);
}

static void a_gpu_in_the_processor_is_told_apart_and_named_from_the_table(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("radeon");
    assert_ok(rp_device_rocm.probe(snapshot, &err));
    const rp_device *card = fake_device(snapshot, "rocm:0");
    const rp_device *part = fake_device(snapshot, "rocm:1");
    assert_text(card->name, "AMD Radeon RX 7900 XTX");
    assert_text(part->name, "AMD Radeon Graphics");
    assert_true(card->available);
    assert_int_equal(card->accelerator->is_integrated, RP_ANSWER_NO);
    assert_int_equal(card->accelerator->compute_unit_count, 96);
    assert_int_equal(card->accelerator->numa_node, RP_UNKNOWN_U32);
    assert_int_equal(card->accelerator->is_ecc_enabled, RP_ANSWER_UNKNOWN);
    assert_null(card->accelerator->uuid);
    assert_null(card->accelerator->processes);
    assert_int_equal(part->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(part->accelerator->has_tensor_cores, RP_ANSWER_NO);
    /* Its memory is the processor's: what is free of the part set aside says little. */
    assert_int_equal(part->memory_bytes_free, RP_UNKNOWN_U64);
    assert_false(part->available);
    assert_says(part->reason, "/dev/dri/renderD129 is not there");
    assert_int_equal(snapshot->note_count, 1);
    assert_says(snapshot->notes[0], "HSA_OVERRIDE_GFX_VERSION=10.3.0");
    rp_snapshot_release(snapshot);
}

static void a_card_without_driver_is_an_absence_that_says_so(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("amd-no-driver");
    assert_status(rp_device_rocm.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "1002:744c");
    assert_says(err.message, "0000:03:00.0");
    assert_says(err.message, "no driver");
    assert_says(err.hint, "modprobe amdgpu");
    assert_int_equal(snapshot->device_count, 0);
    rp_snapshot_release(snapshot);
    snapshot = fake_snapshot("plain");
    err = (rp_error)RP_ERROR_INIT;
    assert_status(rp_device_rocm.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no AMD GPU");
    rp_snapshot_release(snapshot);
}

static void a_whole_detection_has_them_and_no_absence_of_their_kind(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.root = SOURCE_ROOT "/tests/machines/mi300x";
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    assert_non_null(rp_snapshot_find_device(snapshot, "rocm:1"));
    for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
        assert_int_not_equal(rp_snapshot_absent(snapshot, i)->kind, RP_DEVICE_ROCM);
    }
    rp_snapshot_release(snapshot);
}

static void figures_move_and_the_rest_stays(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("mi300x");
    assert_ok(rp_device_rocm.probe(snapshot, &err));
    struct rp_snapshot *next = fake_snapshot("mi300x");
    rp_device *device = rp_snapshot_copy_device(next, snapshot->devices[0]);
    assert_non_null(device);
    device->memory_bytes_free = 1;
    const rp_accelerator *before = device->accelerator;
    assert_ok(rp_device_rocm.refresh(next, device, &err));
    assert_int_equal(device->memory_bytes_free, 206141652992 - 65498251264);
    assert_true(device->accelerator != before);
    assert_int_equal(device->accelerator->process_count, 1);
    assert_text(device->accelerator->gfx_target, "gfx942");
    rp_accelerator gone = *device->accelerator;
    gone.pci_address = "0000:99:00.0";
    device->accelerator = &gone;
    assert_status(rp_device_rocm.refresh(next, device, &err), RP_ERR_ABSENT);
    assert_says(err.message, "gone");
    rp_snapshot_release(next);
    rp_snapshot_release(snapshot);
}

static struct rp_snapshot *ask(const char *machine, const char *answers) {
    rp_error err = RP_ERROR_INIT;
    fake_answers(answers);
    struct rp_snapshot *snapshot = fake_snapshot(machine);
    assert_ok(rp_device_rocm.ask(snapshot, &err));
    return snapshot;
}

static void hip_says_what_programs_get_and_in_which_order(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask(
        "mi300x",
        "count = 2\npci.0 = 0000:26:00.0\npci.1 = 0000:05:00.0\nname.1 = Instinct, the first\n");
    assert_int_equal(snapshot->device_count, 2);
    assert_text(accelerator_of(snapshot, "rocm:0")->pci_address, "0000:26:00.0");
    assert_text(accelerator_of(snapshot, "rocm:1")->pci_address, "0000:05:00.0");
    assert_text(accelerator_of(snapshot, "rocm:0")->runtime_version, "6.2.41133");
    assert_text(accelerator_of(snapshot, "rocm:0")->source, "hip, sysfs");
    assert_text(fake_device(snapshot, "rocm:1")->name, "Instinct, the first");
    assert_int_equal(fake_device(snapshot, "rocm:1")->memory_bytes_total, 206141652992);
    rp_snapshot_release(snapshot);
}

static void a_gpu_that_hip_hides_is_there_with_its_reason(void **state) {
    (void)state;
    setenv("HIP_VISIBLE_DEVICES", "1", 1);
    struct rp_snapshot *snapshot = ask("mi300x", "count = 1\npci.0 = 0000:26:00.0\n");
    unsetenv("HIP_VISIBLE_DEVICES");
    assert_true(fake_device(snapshot, "rocm:0")->available);
    const rp_device *hidden = fake_device(snapshot, "rocm:1");
    assert_false(hidden->available);
    assert_text(hidden->reason, "hidden by HIP_VISIBLE_DEVICES=1");
    assert_text(hidden->accelerator->pci_address, "0000:05:00.0");
    rp_snapshot_release(snapshot);
    /* And without such a variable. */
    snapshot = ask("mi300x", "result.hipGetDeviceCount = 100\ncount = 99\n");
    assert_int_equal(snapshot->device_count, 2);
    assert_text(fake_device(snapshot, "rocm:1")->reason, "HIP does not list it");
    rp_snapshot_release(snapshot);
}

static void what_hip_says_wrongly_is_not_believed(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask("mi300x", "count = 2000000000\n");
    assert_int_equal(snapshot->device_count, 2);
    assert_false(fake_device(snapshot, "rocm:0")->available);
    assert_says(fake_device(snapshot, "rocm:0")->reason, "not believed");
    rp_snapshot_release(snapshot);
    snapshot = ask("mi300x", "result.hipGetDeviceCount = 3\n");
    assert_says(fake_device(snapshot, "rocm:1")->reason, "hipErrorNotInitialized");
    rp_snapshot_release(snapshot);
    /* An address that no card has, the same one twice, memory beyond all bounds, no name. */
    snapshot =
        ask("mi300x", "count = 3\npci.0 = nonsense\npci.1 = 0000:05:00.0\npci.2 = 0000:05:00.0\n"
                      "bytes.0 = -1\nbytes.2 = 0\nresult.hipDeviceGetName = 1\n");
    assert_int_equal(snapshot->device_count, 4);
    assert_null(accelerator_of(snapshot, "rocm:0")->pci_address);
    assert_int_equal(fake_device(snapshot, "rocm:0")->memory_bytes_total, RP_UNKNOWN_U64);
    assert_null(fake_device(snapshot, "rocm:0")->name);
    assert_text(accelerator_of(snapshot, "rocm:1")->source, "hip, sysfs");
    assert_text(accelerator_of(snapshot, "rocm:2")->source, "hip");
    assert_int_equal(fake_device(snapshot, "rocm:2")->memory_bytes_total, RP_UNKNOWN_U64);
    assert_false(fake_device(snapshot, "rocm:3")->available);
    rp_snapshot_release(snapshot);
    char answers[400] = "count = 1\nname.0 = ";
    memset(answers + strlen(answers), 'x', 300);
    snapshot = ask("mi300x", answers);
    assert_int_equal(strlen(fake_device(snapshot, "rocm:0")->name), 255);
    rp_snapshot_release(snapshot);
}

/* Programs see the set that the environment names: so does placement. */
static void an_override_is_what_programs_run_for(void **state) {
    (void)state;
    setenv("HSA_OVERRIDE_GFX_VERSION", "10.3.0", 1);
    struct rp_snapshot *snapshot = ask("radeon", "count = 2\npci.0 = 0000:03:00.0\n");
    const rp_accelerator *part = accelerator_of(snapshot, "rocm:2");
    assert_text(part->gfx_target, "gfx1030");
    assert_int_equal(part->is_integrated, RP_ANSWER_YES);
    assert_int_equal(snapshot->note_count, 2);
    assert_says(
        snapshot->notes[1],
        "the gfx1036 at 0000:12:00.0 runs programs for gfx1030, by HSA_OVERRIDE_GFX_VERSION");
    assert_text(accelerator_of(snapshot, "rocm:0")->gfx_target, "gfx1030");
    assert_int_equal(accelerator_of(snapshot, "rocm:0")->has_tensor_cores, RP_ANSWER_NO);
    rp_snapshot_release(snapshot);
    /* Its own: nothing is to be told of that card. */
    setenv("HSA_OVERRIDE_GFX_VERSION", "9.0.10", 1);
    snapshot = ask("radeon", "");
    assert_says(snapshot->notes[0], "runs programs for gfx90a");
    rp_snapshot_release(snapshot);
    static const char *const wrong[] = {"10.3",    "gfx1030",   "10.3.0.1",
                                        "10.3.-1", "99999.0.0", " 1.1.1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("HSA_OVERRIDE_GFX_VERSION", wrong[i], 1);
        snapshot = ask("radeon", "");
        assert_int_equal(snapshot->note_count, 2); /* once, and that the gfx1036 is not supported */
        assert_says(snapshot->notes[0], "is no version like 10.3.0, ignored");
        assert_text(accelerator_of(snapshot, "rocm:2")->gfx_target, "gfx1036");
        rp_snapshot_release(snapshot);
    }
    /* A recorded machine had its own environment. */
    rp_error err = RP_ERROR_INIT;
    setenv("HSA_OVERRIDE_GFX_VERSION", "10.3.0", 1);
    snapshot = fake_snapshot("radeon");
    assert_ok(rp_device_rocm.probe(snapshot, &err));
    assert_text(accelerator_of(snapshot, "rocm:0")->gfx_target, "gfx1100");
    rp_snapshot_release(snapshot);
    unsetenv("HSA_OVERRIDE_GFX_VERSION");
}

static void a_library_that_is_too_old_or_switched_off_leaves_the_cards(void **state) {
    (void)state;
    setenv("RESOURCE_POOL_HIP", FAKE_HIP_OLD, 1);
    struct rp_snapshot *snapshot = ask("mi300x", "");
    assert_int_equal(snapshot->device_count, 2);
    assert_false(fake_device(snapshot, "rocm:0")->available);
    assert_says(fake_device(snapshot, "rocm:0")->reason, "hipDeviceGetPCIBusId");
    rp_snapshot_release(snapshot);
    setenv("RESOURCE_POOL_HIP", "off", 1);
    snapshot = ask("mi300x", "");
    assert_says(fake_device(snapshot, "rocm:1")->reason, "switched off");
    rp_snapshot_release(snapshot);
    /* No card either: an absence. */
    rp_error err = RP_ERROR_INIT;
    snapshot = fake_snapshot("plain");
    assert_status(rp_device_rocm.ask(snapshot, &err), RP_ERR_ABSENT);
    rp_snapshot_release(snapshot);
    setenv("RESOURCE_POOL_HIP", FAKE_HIP, 1);
}

static void a_hang_and_a_crash_are_the_child_s(void **state) {
    (void)state;
    fake_answers("act.hipGetDeviceCount = hang\n");
    assert_int_equal(fake_ending(&rp_device_rocm, "mi300x", 1), 'h');
    fake_answers("act.hipDeviceGetName = segv\n");
    assert_int_equal(fake_ending(&rp_device_rocm, "mi300x", 5), 'c');
    fake_answers("count = 1\n");
    assert_int_equal(fake_ending(&rp_device_rocm, "mi300x", 5), 'e');
}

static void no_permission_names_the_group(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/tests/machines/radeon/dev/kfd", SOURCE_ROOT);
    if (geteuid() != 0) {
        print_message("skipped: only root can make a file that another user may not open\n");
        skip();
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* The file is root's: readable for all, writable for none else but perhaps its group. */
        if (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0) _exit(77);
        if (setresuid(65534, 65534, 65534) != 0 || access(path, R_OK) != 0) _exit(77);
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = fake_snapshot("radeon");
        if (rp_device_rocm.probe(snapshot, &err) != RP_OK) _exit(1);
        const char *reason = snapshot->devices[0]->reason;
        _exit(reason && strstr(reason, "no permission for /dev/kfd") ? 0 : 2);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) == 77) {
        print_message("skipped: user 65534 cannot reach this folder\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void names_are_read_from_their_lines(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *name;
    } lines[] = {
        {"744C,\tC8,\tAMD Radeon RX 7900 XTX", "AMD Radeon RX 7900 XTX"},
        {"744c, c8, x", "x"},
        {"744C,\tC7,\tother revision", NULL},
        {"744D,\tC8,\tother device", NULL},
        {"744C,\tC8,", NULL},
        {"744C,\tC8", NULL},
        {"744C", NULL},
        {"", NULL},
        {"# a comment, of, commas", NULL},
        {"744C744C744C744C744C,C8,x", NULL},
        {"-744C,C8,x", NULL},
        {",,x", NULL},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct rp_span name = {NULL, 0};
        struct rp_span line = {lines[i].line, strlen(lines[i].line)};
        bool is_read = rp_rocm_parse_name(line, 0x744c, 0xc8, &name);
        if (is_read != (lines[i].name != NULL)) fail_msg("'%s'", lines[i].line);
        if (is_read) assert_true(rp_span_is(name, lines[i].name));
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    fake_answers("count = 1\n");
    for (int asked = 0; asked < 2; asked++) {
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            struct rp_snapshot *snapshot = fake_snapshot("mi300x");
            rp_memory_fail_at(n);
            rp_status status =
                asked ? rp_device_rocm.ask(snapshot, &err) : rp_device_rocm.probe(snapshot, &err);
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
    setenv("RESOURCE_POOL_HIP", FAKE_HIP, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_instinct_is_described_by_the_kernel),
        cmocka_unit_test(a_gpu_in_the_processor_is_told_apart_and_named_from_the_table),
        cmocka_unit_test(a_card_without_driver_is_an_absence_that_says_so),
        cmocka_unit_test(a_whole_detection_has_them_and_no_absence_of_their_kind),
        cmocka_unit_test(figures_move_and_the_rest_stays),
        cmocka_unit_test(hip_says_what_programs_get_and_in_which_order),
        cmocka_unit_test(a_gpu_that_hip_hides_is_there_with_its_reason),
        cmocka_unit_test(what_hip_says_wrongly_is_not_believed),
        cmocka_unit_test(an_override_is_what_programs_run_for),
        cmocka_unit_test(a_library_that_is_too_old_or_switched_off_leaves_the_cards),
        cmocka_unit_test(a_hang_and_a_crash_are_the_child_s),
        cmocka_unit_test(no_permission_names_the_group),
        cmocka_unit_test(names_are_read_from_their_lines),
        cmocka_unit_test(every_allocation_may_fail),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    return failed;
}
