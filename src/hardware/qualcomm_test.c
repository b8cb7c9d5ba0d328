/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/status.h"
#include "hardware/device.h"

#include "../../tests/drivers/kinds.h"

static void a_recorded_snapdragon_has_its_npu(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("snapdragon-x");
    assert_ok(rp_device_qualcomm.probe(snapshot, &err));
    const rp_device *device = fake_device(snapshot, "qualcomm");
    assert_true(device->available);
    assert_text(device->name, "Qualcomm Hexagon NPU (X1E80100)");
    assert_text(device->accelerator->type, "npu");
    assert_text(device->accelerator->vendor, "qualcomm");
    assert_int_equal(device->accelerator->is_integrated, RP_ANSWER_YES);
    assert_int_equal(device->memory_bytes_total, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
}

static void without_qnn_it_says_so_and_that_snpe_is_another(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("snapdragon-no-qnn");
    assert_ok(rp_device_qualcomm.probe(snapshot, &err));
    const rp_device *device = fake_device(snapshot, "qualcomm");
    assert_false(device->available);
    assert_text(device->name, "Qualcomm Hexagon NPU (qcom,qcs6490)");
    assert_says(device->reason, "libQnnHtp.so is not installed");
    assert_says(device->reason, "SNPE is installed");
    rp_snapshot_release(snapshot);
}

static void another_processor_has_none(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot("plain");
    assert_status(rp_device_qualcomm.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no Qualcomm processor");
    rp_snapshot_release(snapshot);
    snapshot = fake_snapshot(NULL);
    assert_status(rp_device_qualcomm.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "here it only emulates");
    rp_snapshot_release(snapshot);
}

static struct rp_snapshot *ask(const char *machine, const char *answers) {
    rp_error err = RP_ERROR_INIT;
    fake_answers(answers);
    struct rp_snapshot *snapshot = fake_snapshot(machine);
    assert_ok(rp_device_qualcomm.ask(snapshot, &err));
    assert_int_equal(snapshot->device_count, 1);
    return snapshot;
}

static void qnn_tells_its_version(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask("snapdragon-x", "");
    const rp_device *device = fake_device(snapshot, "qualcomm");
    assert_true(device->available);
    assert_text(device->accelerator->runtime_version, "2.25.0");
    assert_text(device->accelerator->source, "qnn, sysfs");
    rp_snapshot_release(snapshot);
}

static void what_is_in_the_way_is_the_reason(void **state) {
    (void)state;
    static const struct {
        const char *library;
        const char *machine;
        const char *answers;
        const char *reason;
    } cases[] = {
        {FAKE_QNN, "snapdragon-no-qnn", "", "/dev/fastrpc-cdsp is not there"},
        {FAKE_QNN_OLD, "snapdragon-x", "", "QnnInterface_getProviders"},
        {"off", "snapdragon-x", "", "switched off"},
        {FAKE_QNN, "snapdragon-x", "result.QnnInterface_getProviders = 1003\n", "1003"},
        {FAKE_QNN, "snapdragon-x", "count = 0\n", "names no interface"},
        {FAKE_QNN, "snapdragon-x", "list = 0\n", "names no interface"},
        {FAKE_QNN, "snapdragon-x", "major = 4000000000\n", "not believed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("RESOURCE_POOL_QNN", cases[i].library, 1);
        struct rp_snapshot *snapshot = ask(cases[i].machine, cases[i].answers);
        const rp_device *device = fake_device(snapshot, "qualcomm");
        assert_false(device->available);
        assert_says(device->reason, cases[i].reason);
        rp_snapshot_release(snapshot);
    }
    setenv("RESOURCE_POOL_QNN", FAKE_QNN, 1);
    fake_answers("act.QnnInterface_getProviders = hang\n");
    assert_int_equal(fake_ending(&rp_device_qualcomm, "snapdragon-x", 1), 'h');
    fake_answers("act.QnnInterface_getProviders = segv\n");
    assert_int_equal(fake_ending(&rp_device_qualcomm, "snapdragon-x", 5), 'c');
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    fake_answers("");
    for (int asked = 0; asked < 2; asked++) {
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            struct rp_snapshot *snapshot = fake_snapshot("snapdragon-x");
            rp_memory_fail_at(n);
            rp_status status = asked ? rp_device_qualcomm.ask(snapshot, &err)
                                     : rp_device_qualcomm.probe(snapshot, &err);
            int pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            rp_snapshot_release(snapshot);
            assert_int_equal(rp_memory_live_count(), before);
            assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
            if (!pending) continue;
            break;
        }
    }
}

int main(void) {
    setenv("RESOURCE_POOL_QNN", FAKE_QNN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_snapdragon_has_its_npu),
        cmocka_unit_test(without_qnn_it_says_so_and_that_snpe_is_another),
        cmocka_unit_test(another_processor_has_none),
        cmocka_unit_test(qnn_tells_its_version),
        cmocka_unit_test(what_is_in_the_way_is_the_reason),
        cmocka_unit_test(every_allocation_may_fail),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    return failed;
}
