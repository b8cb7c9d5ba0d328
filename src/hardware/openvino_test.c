/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/status.h"
#include "hardware/device.h"

#include "../../tests/drivers/kinds.h"

static struct rp_snapshot *ask(const char *machine, const char *answers) {
    rp_error err = RP_ERROR_INIT;
    fake_answers(answers);
    struct rp_snapshot *snapshot = fake_snapshot(machine);
    assert_ok(rp_device_openvino.ask(snapshot, &err));
    return snapshot;
}

static const char laptop[] =
    "devices = CPU GPU NPU\n"
    "CPU.FULL_DEVICE_NAME = Intel(R) Core(TM) Ultra 7 258V\n"
    "CPU.OPTIMIZATION_CAPABILITIES = FP32 FP16 INT8 BIN EXPORT_IMPORT\n"
    "GPU.FULL_DEVICE_NAME = Intel(R) Arc(TM) 140V GPU (16GB) (iGPU)\n"
    "GPU.OPTIMIZATION_CAPABILITIES = FP32 BIN FP16 INT8 GPU_HW_MATMUL GPU_USM_MEMORY\n"
    "GPU.DEVICE_TYPE = integrated\n"
    "GPU.DEVICE_UUID = 8680a0640400000000020000000000ff\n"
    "GPU.GPU_DEVICE_TOTAL_MEM_SIZE = 16718598144\n"
    "GPU.GPU_EXECUTION_UNITS_COUNT = 64\n"
    "NPU.FULL_DEVICE_NAME = Intel(R) AI Boost\n"
    "NPU.OPTIMIZATION_CAPABILITIES = FP16 INT8 EXPORT_IMPORT\n"
    "NPU.NPU_DEVICE_TOTAL_MEM_SIZE = 33285996544\n"
    "NPU.NPU_DRIVER_VERSION = 1005\n"
    "result.zeInit = 0x78000001\n";

static void each_of_its_devices_is_described(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask("plain", laptop);
    assert_int_equal(snapshot->device_count, 3);
    const rp_device *cpu = fake_device(snapshot, "openvino:CPU");
    assert_text(cpu->name, "Intel(R) Core(TM) Ultra 7 258V");
    assert_text(cpu->accelerator->type, "cpu");
    assert_text(cpu->accelerator->runtime_version, "2026.4.1");
    assert_text(cpu->accelerator->vendor, "intel");
    assert_text(fake_words(cpu->accelerator->precisions, cpu->accelerator->precision_count),
                "fp32 fp16 int8");
    assert_int_equal(cpu->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(cpu->accelerator->has_tensor_cores, RP_ANSWER_UNKNOWN);
    /* The memory is the processor's, which detection reads from the same files. */
    struct rp_snapshot *scratch = fake_snapshot(NULL);
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_device_cpu.probe(scratch, &err));
    assert_int_equal(cpu->memory_bytes_total, scratch->devices[0]->memory_bytes_total);
    assert_true(cpu->memory_bytes_free <= cpu->memory_bytes_total);
    rp_snapshot_release(scratch);
    const rp_device *gpu = fake_device(snapshot, "openvino:GPU");
    assert_text(gpu->accelerator->type, "gpu");
    assert_text(gpu->accelerator->uuid, "8680a0640400000000020000000000ff");
    assert_int_equal(gpu->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(gpu->accelerator->has_tensor_cores, RP_ANSWER_YES);
    assert_int_equal(gpu->accelerator->compute_unit_count, 64);
    assert_int_equal(gpu->memory_bytes_total, 16718598144);
    assert_int_equal(gpu->memory_bytes_free, RP_UNKNOWN_U64);
    assert_text(gpu->accelerator->source, "openvino");
    const rp_device *npu = fake_device(snapshot, "openvino:NPU");
    assert_text(npu->accelerator->type, "npu");
    assert_text(npu->accelerator->driver_version, "1005");
    assert_int_equal(npu->memory_bytes_total, 33285996544);
    rp_snapshot_release(snapshot);
}

static void level_zero_adds_free_memory_and_the_address(void **state) {
    (void)state;
    struct rp_snapshot *snapshot =
        ask("plain",
            "devices = GPU.0 GPU.1\n"
            "GPU.0.FULL_DEVICE_NAME = Intel(R) Arc(TM) A770 Graphics (dGPU)\n"
            "GPU.1.FULL_DEVICE_NAME = Intel(R) UHD Graphics 770 (iGPU)\n"
            "GPU.1.DEVICE_TYPE = integrated\n"
            "ze.count = 2\nze.1.name = Intel(R) UHD Graphics 770\nze.1.flags = 1\nze.1.pci = 16\n"
            "ze.1.device = 0x4680\nze.1.units = 0\nze.1.free = -1\n");
    const rp_device *first = fake_device(snapshot, "openvino:GPU.0");
    assert_text(first->accelerator->pci_address, "0000:03:00.0");
    assert_text(first->accelerator->pci_id, "8086:56a0");
    assert_text(first->accelerator->source, "openvino, level-zero");
    assert_int_equal(first->memory_bytes_total, 16225243136);
    assert_int_equal(first->memory_bytes_free, 12884901888);
    assert_int_equal(first->accelerator->is_integrated, RP_ANSWER_NO);
    assert_int_equal(first->accelerator->compute_unit_count, 512);
    const rp_device *second = fake_device(snapshot, "openvino:GPU.1");
    assert_text(second->accelerator->pci_address, "0000:00:02.0");
    assert_int_equal(second->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(second->memory_bytes_free, RP_UNKNOWN_U64);
    assert_int_equal(second->accelerator->compute_unit_count, RP_UNKNOWN_U32);
    rp_snapshot_release(snapshot);
    /* Two of one name, without a number to tell them apart: neither is guessed. */
    snapshot =
        ask("plain", "devices = GPU.0 GPU.1\nze.count = 2\nze.0.name = Arc\nze.1.name = Arc\n"
                     "GPU.0.FULL_DEVICE_NAME = Arc\nGPU.1.FULL_DEVICE_NAME = Arc\n");
    assert_null(fake_device(snapshot, "openvino:GPU.0")->accelerator->pci_address);
    rp_snapshot_release(snapshot);
    /* What Level Zero claims beyond what it gave is not followed. */
    snapshot = ask("plain", "ze.claims = 4000000000\n");
    assert_int_equal(snapshot->device_count, 1);
    rp_snapshot_release(snapshot);
}

static void a_card_that_it_does_not_list_is_there_with_what_is_missing(void **state) {
    (void)state;
    struct rp_snapshot *snapshot =
        ask("intel-arc-npu", "devices = CPU\nresult.zeInit = 0x78000001\n");
    assert_int_equal(snapshot->device_count, 3);
    const rp_device *gpu = fake_device(snapshot, "openvino:GPU");
    assert_false(gpu->available);
    assert_text(gpu->name, "Intel Arc A770");
    assert_text(gpu->accelerator->pci_address, "0000:03:00.0");
    assert_text(gpu->accelerator->pci_id, "8086:56a0");
    assert_says(gpu->reason, "intel-opencl-icd");
    const rp_device *npu = fake_device(snapshot, "openvino:NPU");
    assert_false(npu->available);
    assert_text(npu->accelerator->type, "npu");
    assert_says(npu->reason, "no driver for it (intel_vpu)");
    rp_snapshot_release(snapshot);
}

static void names_that_are_no_ids_and_lies_are_left_out(void **state) {
    (void)state;
    struct rp_snapshot *snapshot =
        ask("plain", "devices = CPU CPU AUTO:GPU,CPU GPU/0 TEMPLATE\nCPU.DEVICE_TYPE = odd\n");
    assert_int_equal(snapshot->device_count, 2);
    assert_null(fake_device(snapshot, "openvino:TEMPLATE")->accelerator->type);
    assert_int_equal(snapshot->note_count, 3);
    assert_says(snapshot->notes[0], "lists 'CPU' twice");
    assert_says(snapshot->notes[1], "'AUTO:GPU,CPU' left out");
    rp_snapshot_release(snapshot);
    snapshot = ask("plain", "devices = GPU\nGPU.GPU_DEVICE_TOTAL_MEM_SIZE = 99999999999999999999\n"
                            "GPU.GPU_EXECUTION_UNITS_COUNT = -4\nresult.zeInit = 1\n");
    assert_int_equal(fake_device(snapshot, "openvino:GPU")->memory_bytes_total, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
    rp_error err = RP_ERROR_INIT;
    fake_answers("count = 0\n");
    snapshot = fake_snapshot("plain");
    assert_status(rp_device_openvino.ask(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "lists no device");
    fake_answers("count = 70\n");
    assert_status(rp_device_openvino.ask(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "70 devices, which is not believed");
    assert_int_equal(snapshot->device_count, 0);
    rp_snapshot_release(snapshot);
}

static void its_errors_are_reasons(void **state) {
    (void)state;
    static const struct {
        const char *answers;
        const char *message;
    } cases[] = {
        {"result.ov_core_create = -1\n",
         "OpenVINO cannot start: general error (-1): Cannot load library"},
        {"result.ov_core_get_available_devices = -1\n",
         "OpenVINO cannot list its devices: general error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        fake_answers(cases[i].answers);
        struct rp_snapshot *snapshot = fake_snapshot("plain");
        assert_status(rp_device_openvino.ask(snapshot, &err), RP_ERR_ABSENT);
        assert_says(err.message, cases[i].message);
        assert_says(err.hint, "pip install");
        rp_snapshot_release(snapshot);
    }
    fake_answers("act.ov_core_get_available_devices = hang\n");
    assert_int_equal(fake_ending(&rp_device_openvino, "plain", 1), 'h');
    fake_answers("act.ov_core_create = segv\n");
    assert_int_equal(fake_ending(&rp_device_openvino, "plain", 5), 'c');
    fake_answers("act.zeInit = segv\n");
    assert_int_equal(fake_ending(&rp_device_openvino, "plain", 5), 'c');
}

static void a_library_that_lacks_a_symbol_is_named(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    setenv("RESOURCE_POOL_OPENVINO", FAKE_OPENVINO_OLD, 1);
    struct rp_snapshot *snapshot = fake_snapshot("plain");
    assert_status(rp_device_openvino.ask(snapshot, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "ov_core_get_available_devices");
    rp_snapshot_release(snapshot);
    setenv("RESOURCE_POOL_OPENVINO", FAKE_OPENVINO, 1);
}

static void without_it_the_absence_names_what_it_would_use(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("intel-arc-npu");
    assert_status(rp_device_openvino.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "OpenVINO is not installed; it would use Intel NPU (Meteor Lake) "
                             "(8086:7d1d) at 0000:00:0b.0, Intel Arc A770 (8086:56a0) at ");
    assert_says(err.hint, "pip install openvino");
    rp_snapshot_release(snapshot);
    snapshot = fake_snapshot(NULL);
    assert_ok(rp_device_openvino.probe(snapshot, &err));
    assert_int_equal(snapshot->device_count, 0);
    setenv("RESOURCE_POOL_OPENVINO", "/nonexistent/libopenvino_c.so", 1);
    assert_status(rp_device_openvino.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "/nonexistent");
    setenv("RESOURCE_POOL_OPENVINO", FAKE_OPENVINO, 1);
    rp_snapshot_release(snapshot);
}

static void free_memory_is_of_now_or_unknown(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = ask("plain", laptop);
    struct rp_snapshot *next = fake_snapshot(NULL);
    for (size_t i = 0; i < 2; i++) {
        rp_device *device = rp_snapshot_copy_device(next, snapshot->devices[i]);
        assert_non_null(device);
        device->memory_bytes_free = 5;
        assert_ok(rp_device_openvino.refresh(next, device, &err));
        assert_true(device->memory_bytes_free != 5);
        if (i == 1) assert_int_equal(device->memory_bytes_free, RP_UNKNOWN_U64);
    }
    rp_snapshot_release(next);
    rp_snapshot_release(snapshot);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    fake_answers(laptop);
    for (int asked = 0; asked < 2; asked++) {
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            struct rp_snapshot *snapshot = fake_snapshot("intel-arc-npu");
            rp_memory_fail_at(n);
            rp_status status = asked ? rp_device_openvino.ask(snapshot, &err)
                                     : rp_device_openvino.probe(snapshot, &err);
            int pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            rp_snapshot_release(snapshot);
            assert_int_equal(rp_memory_live_count(), before);
            if (!pending) assert_int_equal(status, RP_ERR_MEMORY);
            if (pending) assert_int_equal(status, asked ? RP_OK : RP_ERR_ABSENT);
            if (!pending) continue;
            assert_true(n > 1);
            break;
        }
    }
}

int main(void) {
    setenv("RESOURCE_POOL_OPENVINO", FAKE_OPENVINO, 1);
    setenv("RESOURCE_POOL_LEVEL_ZERO", FAKE_LEVEL_ZERO, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_its_devices_is_described),
        cmocka_unit_test(level_zero_adds_free_memory_and_the_address),
        cmocka_unit_test(a_card_that_it_does_not_list_is_there_with_what_is_missing),
        cmocka_unit_test(names_that_are_no_ids_and_lies_are_left_out),
        cmocka_unit_test(its_errors_are_reasons),
        cmocka_unit_test(a_library_that_lacks_a_symbol_is_named),
        cmocka_unit_test(without_it_the_absence_names_what_it_would_use),
        cmocka_unit_test(free_memory_is_of_now_or_unknown),
        cmocka_unit_test(every_allocation_may_fail),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    return failed;
}
