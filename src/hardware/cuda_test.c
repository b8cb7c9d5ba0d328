/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/cuda_visible.h"

#include "base/memory.h"
#include "base/status.h"
#include "hardware/cuda_driver.h"
#include "hardware/detect.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"
#include "../../tests/tree.h"

#include <dlfcn.h>
#include <resourcepool/hardware.h>
#include <stdlib.h>

/* --- a machine whose drivers are scripts --------------------------------------------------- */

static char folder[64];

#define UUID(n) "0000000" #n "-1111-2222-3333-444444444444"
#define H100                                                                                       \
    "driver = 550.54.15\ncuda = 12040\n"                                                           \
    "gpu.name = NVIDIA H100 80GB HBM3\ngpu.capability = 90\ngpu.pci_device = 0x2330\n"             \
    "gpu.memory_total = 85899345920\ngpu.memory_reserved = 600000000\n"                            \
    "gpu.memory_free = 85000000000\n"                                                              \
    "gpu.utilization = 7\ngpu.temperature = 41\ngpu.ecc = 1\ngpu.ecc_errors = 2\n"                 \
    "gpu.throttle = 0x25\ngpu.mig = 0\n"                                                           \
    "gpu0.uuid = GPU-" UUID(0) "\ngpu1.uuid = GPU-" UUID(                                          \
        1) "\n"                                                                                    \
           "gpu0.pci = 00000000:1A:00.0\ngpu1.pci = 00000000:65:00.0\n"
#define H100_CUDA                                                                                  \
    "cuda = 12040\ngpu.name = NVIDIA H100 80GB HBM3\ngpu.memory_total = 84900000000\n"             \
    "gpu.units = 132\ngpu.integrated = 0\ngpu.ecc = 1\ngpu.major = 9\ngpu.minor = 0\n"             \
    "gpu0.uuid = " UUID(0) "\ngpu1.uuid = " UUID(                                                  \
        1) "\n"                                                                                    \
           "gpu0.pci = 0000:1A:00.0\ngpu1.pci = 0000:65:00.0\n"

static void use(const char *nvml_library, const char *nvml, const char *cuda_library,
                const char *cuda) {
    static char nvml_path[96];
    static char cuda_path[96];
    setenv("RESOURCE_POOL_NVML", nvml_library, 1);
    setenv("RESOURCE_POOL_CUDA", cuda_library, 1);
    tree_write(folder, "/nvml", nvml);
    tree_write(folder, "/cuda", cuda);
    snprintf(nvml_path, sizeof nvml_path, "%s/nvml", folder);
    snprintf(cuda_path, sizeof cuda_path, "%s/cuda", folder);
    setenv("FAKE_NVML", nvml_path, 1);
    setenv("FAKE_CUDA", cuda_path, 1);
}

static const rp_snapshot *detect(const char *nvml, const char *cuda) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    use(nvml ? FAKE_NVML : "off", nvml ? nvml : "", cuda ? FAKE_CUDA : "off", cuda ? cuda : "");
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    return snapshot;
}

static const rp_absence *absence_of(const rp_snapshot *snapshot) {
    for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *each = rp_snapshot_absent(snapshot, i);
        if (each->kind == RP_DEVICE_CUDA) return each;
    }
    return NULL;
}

static const rp_device *device_of(const rp_snapshot *snapshot, const char *id) {
    const rp_device *device = rp_snapshot_find_device(snapshot, id);
    if (!device) {
        const rp_absence *absence = absence_of(snapshot);
        fail_msg("no %s: %s", id, absence ? absence->reason : "and no reason");
    }
    return device;
}

static void expect_absence(const char *nvml, const char *cuda, const char *part) {
    const rp_snapshot *snapshot = detect(nvml, cuda);
    assert_null(rp_snapshot_find_device(snapshot, "cuda"));
    const rp_absence *absence = absence_of(snapshot);
    assert_non_null(absence);
    assert_says(absence->reason, part);
    rp_snapshot_release(snapshot);
}

static bool has_note(const rp_snapshot *snapshot, const char *part) {
    for (size_t i = 0; i < rp_snapshot_note_count(snapshot); i++) {
        if (strstr(rp_snapshot_note(snapshot, i), part)) return true;
    }
    return false;
}

static void assert_note(const rp_snapshot *snapshot, const char *part) {
    if (has_note(snapshot, part)) return;
    for (size_t i = 0; i < rp_snapshot_note_count(snapshot); i++) {
        print_message("note: %s\n", rp_snapshot_note(snapshot, i));
    }
    fail_msg("no note says '%s'", part);
}

static bool has_text(const char *const *texts, size_t count, const char *text) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(texts[i], text) == 0) return true;
    }
    return false;
}

/* --- tests --------------------------------------------------------------------------------- */

static void both_witnesses_tell_one_story(void **state) {
    (void)state;
    const rp_snapshot *snapshot = detect("gpus = 2\ngpu1.compute = 4242:1000000 "
                                         "77:5\ngpu1.graphics = 77:9 78:0xffffffffffffffff\n" H100,
                                         "shown = 2\n" H100_CUDA);
    const rp_device *device = device_of(snapshot, "cuda:1");
    const rp_accelerator *gpu = device->accelerator;
    assert_string_equal(device->name, "NVIDIA H100 80GB HBM3");
    assert_true(device->available);
    assert_false(device->simulated);
    assert_null(device->reason);
    assert_int_equal(device->memory_bytes_total, 84900000000);
    assert_int_equal(device->memory_bytes_free, 84900000000);
    assert_string_equal(gpu->type, "gpu");
    assert_string_equal(gpu->vendor, "nvidia");
    assert_string_equal(gpu->uuid, "GPU-" UUID(1));
    assert_string_equal(gpu->pci_address, "0000:65:00.0");
    assert_string_equal(gpu->pci_id, "10de:2330");
    assert_string_equal(gpu->driver_version, "550.54.15");
    assert_string_equal(gpu->runtime_version, "12.4");
    assert_string_equal(gpu->compute_capability, "9.0");
    assert_int_equal(gpu->compute_unit_count, 132);
    assert_int_equal(gpu->has_tensor_cores, RP_ANSWER_YES);
    assert_int_equal(gpu->is_integrated, RP_ANSWER_NO);
    assert_int_equal(gpu->utilization_percent, 7);
    assert_int_equal(gpu->temperature_celsius, 41);
    assert_int_equal(gpu->is_ecc_enabled, RP_ANSWER_YES);
    assert_int_equal(gpu->ecc_error_count, 2);
    assert_int_equal(gpu->is_mig_enabled, RP_ANSWER_NO);
    assert_int_equal(gpu->throttle_reason_count, 2); /* bit 0 is: idle */
    assert_string_equal(gpu->throttle_reasons[0], "power_cap");
    assert_string_equal(gpu->throttle_reasons[1], "thermal_slowdown");
    assert_true(has_text(gpu->precisions, gpu->precision_count, "fp8"));
    assert_false(has_text(gpu->precisions, gpu->precision_count, "fp4"));
    assert_string_equal(gpu->source, "nvml, cuda");
    assert_int_equal(gpu->process_count, 3);
    assert_int_equal(gpu->processes[0]->pid, 4242);
    assert_int_equal(gpu->processes[0]->memory_bytes, 1000000);
    assert_string_equal(gpu->processes[0]->name, "/usr/bin/process-4242");
    assert_int_equal(gpu->processes[1]->memory_bytes, 9);
    assert_true(gpu->processes[2]->memory_bytes == RP_UNKNOWN_U64);
    const rp_accelerator *other = device_of(snapshot, "cuda:0")->accelerator;
    assert_string_equal(other->pci_address, "0000:1a:00.0");
    assert_null(other->processes); /* not supported is not none */
    assert_null(absence_of(snapshot));
    assert_true(rp_snapshot_probe_ms(snapshot, RP_DEVICE_CUDA) > 0);
    assert_int_equal(rp_snapshot_device(snapshot, 0)->kind, RP_DEVICE_CPU);
    rp_snapshot_release(snapshot);
}

static void the_order_is_that_of_cuda(void **state) {
    (void)state;
    setenv("CUDA_VISIBLE_DEVICES", "1,0", 1);
    const rp_snapshot *snapshot =
        detect("gpus = 2\n" H100, "shown = 2\n"
                                  "gpu0.uuid = " UUID(1) "\ngpu1.uuid = " UUID(0) "\n" H100_CUDA);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "GPU-" UUID(1));
    assert_string_equal(device_of(snapshot, "cuda:1")->accelerator->uuid, "GPU-" UUID(0));
    rp_snapshot_release(snapshot);

    setenv("CUDA_VISIBLE_DEVICES", "1", 1);
    snapshot = detect("gpus = 2\n" H100, "shown = 1\ngpu0.uuid = " UUID(1) "\n" H100_CUDA);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "GPU-" UUID(1));
    assert_null(rp_snapshot_find_device(snapshot, "cuda:1"));
    assert_note(snapshot, "0000:1a:00.0 is no device here: CUDA_VISIBLE_DEVICES ('1') hides it");
    rp_snapshot_release(snapshot);

    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    expect_absence("gpus = 2\n" H100, "result.cuInit = 100\n" H100_CUDA,
                   "CUDA_VISIBLE_DEVICES ('') hides all 2 NVIDIA GPUs");
    unsetenv("CUDA_VISIBLE_DEVICES");
    expect_absence("gpus = 2\n" H100, "shown = 0\n" H100_CUDA, "CUDA shows none of 2 NVIDIA GPUs");
    expect_absence("gpus = 0\n" H100, "shown = 0\n" H100_CUDA, "finds no GPU");
}

static void lies_are_not_passed_on(void **state) {
    (void)state;
    /* Found by its address, the only thing that is true of it. */
    const rp_snapshot *snapshot =
        detect("gpus = 1\ndriver = lies\ncuda = -3\ngpu0.name = ENDLESS\ngpu0.uuid = GPU-zzzz\n"
               "gpu0.pci = 00000000:65:00.0\ngpu0.memory_total = 1000\ngpu0.memory_free = 2000\n"
               "gpu0.utilization = 101\ngpu0.temperature = 500\ngpu0.ecc = 7\n"
               "gpu0.ecc_errors = 0xffffffffffffffff\ngpu0.capability = 0\ngpu0.mig = 9\n"
               "gpu0.compute = 4294967295:1\n",
               "shown = 1\ncuda = 99999999\ngpu0.memory_total = 0xffffffffffffffff\n"
               "gpu0.pci = 0000:65:00.0\n"
               "gpu0.units = 0xffffffff\ngpu0.integrated = 5\ngpu0.ecc = 9\ngpu0.major = 1000\n");
    const rp_device *device = device_of(snapshot, "cuda:0");
    const rp_accelerator *gpu = device->accelerator;
    assert_string_equal(gpu->source, "nvml, cuda");
    assert_int_equal(strlen(device->name), 96);
    assert_int_equal(device->memory_bytes_total, 1000);
    assert_true(device->memory_bytes_free == RP_UNKNOWN_U64);
    assert_null(gpu->uuid);
    assert_null(gpu->pci_id);
    assert_null(gpu->driver_version);
    assert_null(gpu->runtime_version);
    assert_null(gpu->compute_capability);
    assert_null(gpu->precisions);
    assert_int_equal(gpu->has_tensor_cores, RP_ANSWER_UNKNOWN);
    assert_true(gpu->compute_unit_count == RP_UNKNOWN_U32);
    assert_true(gpu->utilization_percent == RP_UNKNOWN_U32);
    assert_true(gpu->temperature_celsius == RP_UNKNOWN_U32);
    assert_true(gpu->ecc_error_count == RP_UNKNOWN_U64);
    assert_int_equal(gpu->is_ecc_enabled, RP_ANSWER_UNKNOWN);
    assert_int_equal(gpu->is_integrated, RP_ANSWER_UNKNOWN);
    assert_int_equal(gpu->is_mig_enabled, RP_ANSWER_UNKNOWN);
    assert_null(gpu->processes);
    rp_snapshot_release(snapshot);
    snapshot = detect("gpus = 1\ngpu0.pci = elsewhere\ngpu0.memory_total = 0\n",
                      "shown = 1\ngpu0.pci = nowhere\ngpu0.memory_total = 0\n");
    assert_null(device_of(snapshot, "cuda:0")->accelerator->pci_address);
    assert_true(device_of(snapshot, "cuda:0")->memory_bytes_total == RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
    expect_absence("gpus = 10000\n", NULL, "NVML counts 10000 GPUs, which no machine has");
    expect_absence(NULL, NULL, "no NVIDIA GPU is on the PCI bus");
    snapshot = detect("gpus = 10000\n", "shown = 1\n" H100_CUDA);
    assert_note(snapshot, "NVML counts 10000 GPUs, which no machine has");
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->source, "cuda");
    rp_snapshot_release(snapshot);
    expect_absence(NULL, "shown = -5\n", "CUDA counts -5 GPUs");
    /* More processes than there is room for. */
    snapshot = detect("gpus = 1\ngpu0.compute = 5:5\ngpu0.process_count = 4000000\n" H100,
                      "shown = 1\n" H100_CUDA);
    assert_null(device_of(snapshot, "cuda:0")->accelerator->processes);
    rp_snapshot_release(snapshot);
}

static void errors_are_told_as_sentences(void **state) {
    (void)state;
    expect_absence("result.nvmlInit_v2 = 18\n" H100, "result.cuInit = 803\n" H100_CUDA,
                   "the kernel's driver and the library are of different versions");
    expect_absence("result.nvmlInit_v2 = 9\n", "result.cuInit = 100\n",
                   "CUDA finds no GPU that it can use");
    expect_absence("result.nvmlInit_v2 = 9\n", "result.cuInit = 12345\n", "error 12345");
    /* One witness is enough; what the other said is a note. */
    const rp_snapshot *snapshot = detect("result.nvmlInit_v2 = 4\n" H100, "shown = 2\n" H100_CUDA);
    const rp_device *device = device_of(snapshot, "cuda:1");
    assert_true(device->available);
    assert_string_equal(device->accelerator->source, "cuda");
    assert_string_equal(device->accelerator->uuid, "GPU-" UUID(1));
    assert_true(device->memory_bytes_free == RP_UNKNOWN_U64);
    assert_note(snapshot, "NVML cannot start: this user may not do that");
    rp_snapshot_release(snapshot);
    /* GPUs behind NVSwitch that nothing set up: there, and of no use. */
    snapshot = detect("gpus = 2\n" H100, "result.cuInit = 802\n" H100_CUDA);
    device = device_of(snapshot, "cuda:0");
    assert_false(device->available);
    assert_says(device->reason, "NVSwitch");
    assert_int_equal(device->memory_bytes_total, 85899345920 - 600000000);
    rp_snapshot_release(snapshot);
    /* A container with NVML only. */
    snapshot = detect("gpus = 2\n" H100, NULL);
    assert_false(device_of(snapshot, "cuda:0")->available);
    assert_says(device_of(snapshot, "cuda:0")->reason, "libcuda.so.1");
    rp_snapshot_release(snapshot);
    for (size_t i = 1; i < rp_nvml_result_count; i++) {
        assert_true(rp_nvml_results[i - 1].number < rp_nvml_results[i].number);
    }
    for (size_t i = 1; i < rp_cuda_result_count; i++) {
        assert_true(rp_cuda_results[i - 1].number < rp_cuda_results[i].number);
    }
}

static void a_lost_gpu_does_not_hide_the_others(void **state) {
    (void)state;
    const rp_snapshot *snapshot =
        detect("gpus = 2\ngpu0.result.nvmlDeviceGetHandleByIndex_v2 = 15\n" H100,
               "shown = 1\ngpu0.uuid = " UUID(1) "\n" H100_CUDA);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "GPU-" UUID(1));
    assert_note(snapshot, "NVIDIA GPU number 0: NVML cannot reach it: the GPU is lost");
    rp_snapshot_release(snapshot);
    snapshot = detect("gpus = 2\ngpu1.result.nvmlDeviceGetMemoryInfo = 15\n"
                      "gpu1.result.nvmlDeviceGetMemoryInfo_v2 = 15\n" H100,
                      "shown = 2\n" H100_CUDA);
    assert_true(device_of(snapshot, "cuda:0")->available);
    assert_false(device_of(snapshot, "cuda:1")->available);
    assert_says(device_of(snapshot, "cuda:1")->reason, "fell off the bus");
    rp_snapshot_release(snapshot);
}

static void a_divided_gpu_is_the_slice_that_cuda_shows(void **state) {
    (void)state;
    static const char nvml[] =
        "gpus = 1\ngpu0.mig = 1\n"
        "gpu0.slice0.name = NVIDIA H100 80GB HBM3 MIG 1g.10gb\n"
        "gpu0.slice0.uuid = MIG-" UUID(5) "\n"
                                          "gpu0.slice0.memory_total = 10000000000\n"
                                          "gpu0.slice0.memory_free = 9000000000\n"
                                          "gpu0.slice2.name = NVIDIA H100 80GB HBM3 MIG 3g.40gb\n"
                                          "gpu0.slice2.uuid = MIG-" UUID(
                                              6) "\n"
                                                 "gpu0.slice2.memory_mib = 40000\n" H100;
    const rp_snapshot *snapshot =
        detect(nvml, "shown = 1\ngpu0.name = NVIDIA H100 80GB HBM3 MIG 3g.40gb\ngpu0.units = 60\n"
                     "gpu0.memory_total = 41000000000\ngpu0.uuid = " UUID(6) "\n" H100_CUDA);
    const rp_device *device = device_of(snapshot, "cuda:0");
    const rp_accelerator *gpu = device->accelerator;
    assert_string_equal(gpu->uuid, "MIG-" UUID(6));
    assert_string_equal(device->name, "NVIDIA H100 80GB HBM3 MIG 3g.40gb");
    assert_int_equal(device->memory_bytes_total, 41000000000);
    assert_true(device->memory_bytes_free == RP_UNKNOWN_U64);
    assert_int_equal(gpu->compute_unit_count, 60);
    assert_int_equal(gpu->is_mig_enabled, RP_ANSWER_YES);
    assert_int_equal(gpu->slice_count, 2);
    assert_string_equal(gpu->slices[0]->profile, "1g.10gb");
    assert_int_equal(gpu->slices[0]->memory_bytes_free, 9000000000);
    assert_string_equal(gpu->slices[1]->uuid, "MIG-" UUID(6));
    assert_int_equal(gpu->slices[1]->memory_bytes_total, 40000LL << 20);
    assert_true(gpu->utilization_percent == RP_UNKNOWN_U32);
    rp_snapshot_release(snapshot);
    /* Without CUDA the first slice stands for the GPU, or the one that the variable names. */
    setenv("CUDA_VISIBLE_DEVICES", "MIG-" UUID(6), 1);
    snapshot = detect(nvml, NULL);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "MIG-" UUID(6));
    rp_snapshot_release(snapshot);
    unsetenv("CUDA_VISIBLE_DEVICES");
    snapshot = detect(nvml, NULL);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "MIG-" UUID(5));
    assert_int_equal(device_of(snapshot, "cuda:0")->memory_bytes_free, 9000000000);
    rp_snapshot_release(snapshot);
    expect_absence("gpus = 1\ngpu0.mig = 1\n" H100, "shown = 0\n" H100_CUDA,
                   "is divided (MIG), and has no instance");
}

static void a_driver_that_misbehaves_costs_a_line(void **state) {
    (void)state;
    static const struct {
        const char *nvml;
        const char *cuda;
        const char *says;
    } cases[] = {
        {"act.nvmlInit_v2 = segv\n", "", "crashed (SIGSEGV) in nvmlInit_v2 of libnvidia-ml.so.1"},
        {"gpus = 1\n" H100, "act.cuInit = segv\n", "crashed (SIGSEGV) in cuInit of libcuda.so.1"},
        {"act.nvmlInit_v2 = abort\n", "", "SIGABRT"},
        {"act.nvmlInit_v2 = exit\n", "", "exit status 3"},
        {"act.nvmlInit_v2 = print\n", "", "it said: 'NVRM: the GPU?is on fire'"},
        {"act.nvmlDeviceGetCount_v2 = hang\n", "", "within 2 s: it hangs in nvmlDeviceGetCount_v2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_absence(cases[i].nvml, cases[i].cuda, cases[i].says);
    }
    const rp_snapshot *snapshot = detect("act.nvmlInit_v2 = slow\ngpus = 2\n" H100,
                                         "act.cuInit = spawn\nshown = 2\n" H100_CUDA);
    assert_non_null(device_of(snapshot, "cuda:1"));
    assert_true(rp_snapshot_probe_ms(snapshot, RP_DEVICE_CUDA) >= 300);
    assert_true(rp_snapshot_detect_ms(snapshot) < 100); /* the fast look alone */
    rp_snapshot_release(snapshot);
}

static void libraries_of_other_years_work_or_say_what_they_lack(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    use(FAKE_NVML_OLD, "gpus = 1\ngpu0.compute = 12:100 13:200\n" H100, FAKE_CUDA,
        "shown = 1\n" H100_CUDA);
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    const rp_accelerator *gpu = device_of(snapshot, "cuda:0")->accelerator;
    assert_int_equal(gpu->process_count, 2); /* rows of the first size */
    assert_int_equal(gpu->processes[1]->pid, 13);
    assert_int_equal(gpu->processes[1]->memory_bytes, 200);
    assert_null(gpu->processes[1]->name);
    assert_int_equal(gpu->is_mig_enabled, RP_ANSWER_UNKNOWN);
    assert_null(gpu->throttle_reasons);
    rp_snapshot_release(snapshot);
    use(FAKE_NVML_BROKEN, "gpus = 1\n" H100, FAKE_CUDA, "shown = 1\n" H100_CUDA);
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    assert_note(snapshot, "has no nvmlDeviceGetName");
    rp_snapshot_release(snapshot);
    use("/no/such/nvml", "", "off", "");
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    assert_says(absence_of(snapshot)->reason, "libcuda.so.1 is switched off");
    rp_snapshot_release(snapshot);
    /* A driver of CUDA 11: there, with a warning. */
    snapshot = detect("gpus = 1\ndriver = 470.82.01\ncuda = 11040\n" H100,
                      "shown = 1\ncuda = 11040\n" H100_CUDA);
    assert_true(device_of(snapshot, "cuda:0")->available);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->runtime_version, "11.4");
    assert_note(snapshot, "driver 470.82.01 offers CUDA 11.4");
    rp_snapshot_release(snapshot);
}

static void a_jetson_shares_the_memory_of_its_processor(void **state) {
    (void)state;
    const rp_snapshot *snapshot =
        detect(NULL, "shown = 1\ncuda = 11040\ngpu0.name = Orin\ngpu0.major = 8\ngpu0.minor = 7\n"
                     "gpu0.integrated = 1\ngpu0.memory_total = 1000000\ngpu0.units = 16\n");
    const rp_device *device = device_of(snapshot, "cuda:0");
    assert_string_equal(device->name, "Orin");
    assert_int_equal(device->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(device->memory_bytes_free, 1000000);
    assert_string_equal(device->accelerator->compute_capability, "8.7");
    rp_snapshot_release(snapshot);
}

static void what_a_gpu_can_follows_from_its_capability(void **state) {
    (void)state;
    static const struct {
        int capability;
        const char *name;
        rp_answer tensor_cores;
        const char *has;
        const char *lacks;
    } cases[] = {
        {37, "Tesla K80", RP_ANSWER_NO, "fp32", "fp16"},
        {60, "Tesla P100", RP_ANSWER_NO, "fp16", "int8"},
        {61, "Tesla P40", RP_ANSWER_NO, "int8", "fp16"},
        {70, "Tesla V100", RP_ANSWER_YES, "fp16", "bf16"},
        {75, "Tesla T4", RP_ANSWER_YES, "int4", "bf16"},
        {75, "NVIDIA GeForce GTX 1650", RP_ANSWER_NO, "fp16", "bf16"},
        {75, "NVIDIA T400", RP_ANSWER_UNKNOWN, "fp16", "bf16"},
        {80, "NVIDIA A100", RP_ANSWER_YES, "bf16", "fp8"},
        {89, "NVIDIA L4", RP_ANSWER_YES, "fp8", "fp4"},
        {100, "NVIDIA B200", RP_ANSWER_YES, "fp4", "int4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char cuda[160];
        snprintf(cuda, sizeof cuda, "shown = 1\ngpu0.name = %s\ngpu0.major = %d\ngpu0.minor = %d\n",
                 cases[i].name, cases[i].capability / 10, cases[i].capability % 10);
        const rp_snapshot *snapshot = detect(NULL, cuda);
        const rp_accelerator *gpu = device_of(snapshot, "cuda:0")->accelerator;
        assert_int_equal(gpu->has_tensor_cores, cases[i].tensor_cores);
        assert_true(has_text(gpu->precisions, gpu->precision_count, cases[i].has));
        assert_false(has_text(gpu->precisions, gpu->precision_count, cases[i].lacks));
        rp_snapshot_release(snapshot);
    }
}

static void a_refresh_asks_only_what_moves(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_hardware_forget();
    use(FAKE_NVML, "gpus = 2\n" H100, FAKE_CUDA, "shown = 2\n" H100_CUDA);
    assert_ok(rp_hardware_snapshot(&snapshot, &err));
    assert_int_equal(device_of(snapshot, "cuda:1")->memory_bytes_free, 84900000000);
    rp_snapshot_release(snapshot);
    /* CUDA would crash now: it is not asked. */
    use(FAKE_NVML,
        "gpus = 2\ngpu1.memory_free = 123456\ngpu1.temperature = 66\ngpu1.name = another\n"
        "gpu1.throttle = 0\ngpu1.compute = 9:9\n" H100,
        FAKE_CUDA, "act.cuInit = segv\n");
    assert_ok(rp_hardware_refresh(NULL, &snapshot, &err));
    const rp_device *device = device_of(snapshot, "cuda:1");
    assert_int_equal(device->memory_bytes_free, 123456);
    assert_int_equal(device->memory_bytes_total, 84900000000);
    assert_string_equal(device->name, "NVIDIA H100 80GB HBM3");
    assert_int_equal(device->accelerator->temperature_celsius, 66);
    assert_int_equal(device->accelerator->throttle_reason_count, 0);
    assert_non_null(device->accelerator->throttle_reasons);
    assert_int_equal(device->accelerator->processes[0]->pid, 9);
    assert_int_equal(device->accelerator->compute_unit_count, 132);
    assert_int_equal(rp_snapshot_note_count(snapshot), 0);
    rp_snapshot_release(snapshot);
    /* One that is lost meanwhile, and a driver that dies. */
    use(FAKE_NVML, "gpus = 2\ngpu1.result.nvmlDeviceGetMemoryInfo_v2 = 15\n" H100, FAKE_CUDA, "");
    assert_ok(rp_hardware_refresh(NULL, &snapshot, &err));
    assert_false(device_of(snapshot, "cuda:1")->available);
    assert_says(device_of(snapshot, "cuda:1")->reason, "lost");
    assert_true(device_of(snapshot, "cuda:0")->available);
    rp_snapshot_release(snapshot);
    use(FAKE_NVML, "act.nvmlInit_v2 = segv\n", FAKE_CUDA, "");
    assert_ok(rp_hardware_refresh(NULL, &snapshot, &err));
    assert_int_equal(device_of(snapshot, "cuda:0")->memory_bytes_free, 84900000000);
    assert_note(snapshot, "cuda: figures are old: NVIDIA's driver crashed (SIGSEGV)");
    rp_snapshot_release(snapshot);
    rp_hardware_forget();
}

/* As in a Python that has used its GPU already. */
static void a_process_that_uses_cuda_is_told_by_nvml(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    use(FAKE_NVML, "gpus = 2\n" H100, FAKE_CUDA, "shown = 2\n" H100_CUDA);
    void *handle = dlopen(FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    int (*init)(unsigned int);
    void *symbol = dlsym(handle, "cuInit");
    memcpy(&init, &symbol, sizeof init);
    assert_int_equal(init(0), 0);
    setenv("CUDA_VISIBLE_DEVICES", "1", 1);
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_detect(NULL, &snapshot, &err));
    assert_true(device_of(snapshot, "cuda:0")->available);
    assert_string_equal(device_of(snapshot, "cuda:0")->accelerator->uuid, "GPU-" UUID(1));
    assert_null(rp_snapshot_find_device(snapshot, "cuda:1"));
    rp_snapshot_release(snapshot);
    unsetenv("CUDA_VISIBLE_DEVICES");
    expect_absence(NULL, "", "CUDA was in use in this process before");
    dlclose(handle);
}

/* --- machines that are looked at, not asked ------------------------------------------------ */

#define CARD              "/sys/bus/pci/devices/0000:65:00.0/uevent"
#define CARD_TEXT(driver) driver "PCI_CLASS=30200\nPCI_ID=10DE:2330\nPCI_SLOT_NAME=0000:65:00.0\n"

static void expect_recorded(const char *root, bool is_unprobed, const char *part) {
    rp_error err = RP_ERROR_INIT;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    const rp_snapshot *snapshot = NULL;
    options.root = root;
    assert_ok(rp_hardware_detect(&options, &snapshot, &err));
    const rp_absence *absence = absence_of(snapshot);
    assert_non_null(absence);
    assert_says(absence->reason, part);
    assert_int_equal(absence->unprobed, is_unprobed);
    rp_snapshot_release(snapshot);
}

static void what_is_missing_is_told_with_the_card(void **state) {
    (void)state;
    char root[64];
    tree_create(root);
    use(FAKE_NVML, "gpus = 2\n" H100, FAKE_CUDA, "shown = 2\n" H100_CUDA); /* this machine's */
    expect_recorded(root, false, "no NVIDIA GPU is on the PCI bus");
    tree_write(root, CARD, CARD_TEXT("DRIVER=nouveau\n"));
    expect_recorded(
        root, false,
        "NVIDIA H100 80GB (10de:2330) at 0000:65:00.0 is there, but libcuda.so.1 is not "
        "installed, and the kernel's driver 'nvidia' is not loaded (nouveau has the card)");
    tree_write(root, "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "");
    expect_recorded(root, false,
                    "the kernel's driver 'nvidia' is not loaded (nouveau has the card)");
    tree_write(root, CARD, CARD_TEXT("DRIVER=vfio-pci\n"));
    expect_recorded(root, false, "for a virtual machine");
    tree_write(root, CARD, CARD_TEXT("DRIVER=nvidia\n"));
    expect_recorded(root, false, "at 0000:65:00.0 is there, but /dev/nvidiactl is not");
    tree_write(root, "/dev/nvidiactl", "");
    expect_recorded(root, true, "can only be asked on the machine itself");
    tree_write(root, "/sys/bus/pci/devices/0000:66:00.0/uevent", CARD_TEXT("DRIVER=nvidia\n"));
    char control[96];
    snprintf(control, sizeof control, "%s/dev/nvidiactl", root);
    assert_int_equal(unlink(control), 0);
    expect_recorded(root, false, "at 0000:65:00.0 and 1 more is there");
    tree_remove(root);

    tree_create(root);
    tree_write(root, "/proc/device-tree/compatible", "nvidia,p3737-0000+p3701-0000nvidia,tegra234");
    expect_recorded(root, false, "a Jetson's GPU is there, but libcuda.so.1 is not installed");
    tree_write(root, "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1", "");
    expect_recorded(root, true, "on the machine itself");
    tree_remove(root);

    tree_create(root);
    tree_write(root, "/dev/dxg", "");
    expect_recorded(root, false, "Windows shares no NVIDIA GPU with this Linux");
    tree_write(root, "/usr/lib/wsl/lib/libcuda.so.1", "");
    expect_recorded(root, true, "on the machine itself");
    tree_remove(root);
}

/* --- the variable -------------------------------------------------------------------------- */

static void the_variable_is_read_as_cuda_reads_it(void **state) {
    (void)state;
    static const char *const slices[] = {"MIG-aaaa1111", "MIG-bbbb2222"};
    static const struct rp_cuda_candidate gpus[] = {
        {"GPU-1111aaaa", NULL, 0, false},  {"GPU-1122bbbb", NULL, 0, false},
        {"GPU-3333cccc", slices, 2, true}, {NULL, NULL, 0, false},
        {"GPU-4444dddd", NULL, 0, true}, /* divided, no slice */
    };
    static const struct {
        const char *text;
        const char *shown; /* "01" is GPU 0, then 1; with a letter a slice */
        bool is_cut;
    } cases[] = {
        {NULL, "0123", false},
        {"", "", false},
        {"0", "0", false},
        {"3,0", "30", false},
        {" 1 , 2 ", "12", false},
        {"0,9,1", "0", true},
        {"0,-1,1", "0", true},
        {"-1", "", true},
        {"4", "", true}, /* has no number */
        {"0,0", "0", true},
        {"GPU-1111", "0", false},
        {"gpu-1122BBBB", "1", false},
        {"GPU-11", "", true}, /* two begin so */
        {"GPU-3333", "", true},
        {"MIG-bbbb,0", "2b0", false},
        {"MIG-bbbb,MIG-aaaa", "2b2", false},
        {"NoDevFiles", "", true},
        {",", "", true},
        {"99999999999999999999", "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_cuda_choice choices[8];
        char shown[32] = "";
        bool is_cut = false;
        size_t count = rp_cuda_visible(cases[i].text, gpus, 5, choices, 8, &is_cut);
        for (size_t j = 0; j < count; j++) {
            size_t length = strlen(shown);
            snprintf(shown + length, sizeof shown - length, "%zu%s", choices[j].candidate,
                     choices[j].slice ? "b" : "");
        }
        assert_string_equal(shown, cases[i].shown);
        assert_int_equal(is_cut, cases[i].is_cut);
    }
}

static void every_allocation_of_a_detection_may_fail(void **state) {
    (void)state;
    use(FAKE_NVML, "gpus = 2\ngpu0.compute = 1:1\n" H100, FAKE_CUDA, "shown = 2\n" H100_CUDA);
    int64_t before = rp_memory_live_count();
    bool has_child_failed = false;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_hardware_detect(NULL, &snapshot, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (status != RP_OK) assert_int_equal(status, RP_ERR_MEMORY);
        bool is_whole = status == RP_OK && rp_snapshot_find_device(snapshot, "cuda:1");
        if (status == RP_OK && !is_whole) {
            has_child_failed = has_child_failed || pending;
            assert_non_null(absence_of(snapshot));
        }
        rp_snapshot_release(snapshot);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending && is_whole) break;
    }
    assert_true(has_child_failed);
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    /* What an earlier run heard counts for nothing, and the user's cache stays as it is. */
    setenv("HARDWARE_DETECTION_CACHE", "off", 1);
    static const char *const variables[] = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
                                            "RESOURCE_POOL_SIMULATE"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        unsetenv(variables[i]);
    }
    snprintf(folder, sizeof folder, "/tmp/rp-cuda-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_witnesses_tell_one_story),
        cmocka_unit_test(the_order_is_that_of_cuda),
        cmocka_unit_test(lies_are_not_passed_on),
        cmocka_unit_test(errors_are_told_as_sentences),
        cmocka_unit_test(a_lost_gpu_does_not_hide_the_others),
        cmocka_unit_test(a_divided_gpu_is_the_slice_that_cuda_shows),
        cmocka_unit_test(a_driver_that_misbehaves_costs_a_line),
        cmocka_unit_test(libraries_of_other_years_work_or_say_what_they_lack),
        cmocka_unit_test(a_jetson_shares_the_memory_of_its_processor),
        cmocka_unit_test(what_a_gpu_can_follows_from_its_capability),
        cmocka_unit_test(a_refresh_asks_only_what_moves),
        cmocka_unit_test(what_is_missing_is_told_with_the_card),
        cmocka_unit_test(the_variable_is_read_as_cuda_reads_it),
        cmocka_unit_test(every_allocation_of_a_detection_may_fail),
        cmocka_unit_test(a_process_that_uses_cuda_is_told_by_nvml),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tree_remove(folder);
    return failed;
}
