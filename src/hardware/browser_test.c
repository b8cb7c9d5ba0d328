/* SPDX-License-Identifier: Apache-2.0 */
/* Browsers, and the two kinds of device that are in them, with one that follows a script. */
#include "hardware/browser.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"

#include "../../tests/drivers/kinds.h"

#include <glob.h>
#include <sys/stat.h>

#define PAGE_START "page = {\"url\": \"file:///page.html\", "

static const char hardware_page[] =
    PAGE_START "\"gpu\": true, \"ml\": true, \"adapter\": {\"vendor\": \"nvidia\", "
               "\"architecture\": \"lovelace\", \"description\": \"\", \"f16\": true, "
               "\"fallback\": false}, \"contexts\": {\"cpu\": true, \"gpu\": true, "
               "\"npu\": \"NotSupportedError: no npu\"}, "
               "\"types\": [\"float32\", \"float16\", \"int32\", \"uint8\", \"int8\", 7]}\n";

static const char software_page[] =
    PAGE_START "\"gpu\": true, \"ml\": true, \"adapter\": {\"vendor\": \"google\", "
               "\"architecture\": \"swiftshader\", \"f16\": false, \"fallback\": true}, "
               "\"contexts\": {\"cpu\": true, \"gpu\": \"no\", \"npu\": \"no\"}, "
               "\"types\": [\"float32\"]}\n";

static struct rp_browser fake_browser(void) {
    struct rp_browser browser = {.name = "chromium", .can_be_asked = true};
    snprintf(browser.path, sizeof browser.path, "%s", FAKE_CHROMIUM);
    return browser;
}

static rp_status ask_for(const char *answers, int timeout_ms, struct rp_browser_answer *answer,
                         rp_error *err) {
    struct rp_browser browser = fake_browser();
    fake_answers(answers);
    return rp_browser_ask(&browser, timeout_ms, answer, err);
}

static size_t count_profiles(void) {
    glob_t found;
    char pattern[128];
    snprintf(pattern, sizeof pattern, "%s/rpool-browser-*", getenv("TMPDIR"));
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static void a_browser_tells_what_its_page_found(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_browser_answer answer = {0};
    assert_ok(ask_for(hardware_page, 5000, &answer, &err));
    assert_text(answer.version, "156.0.1.2");
    assert_true(answer.has_webgpu);
    assert_true(answer.has_adapter);
    assert_false(answer.is_fallback);
    assert_true(answer.has_f16);
    assert_text(answer.vendor, "nvidia");
    assert_text(answer.architecture, "lovelace");
    assert_true(answer.has_webnn);
    assert_true(answer.has_context[RP_WEBNN_CPU]);
    assert_true(answer.has_context[RP_WEBNN_GPU]);
    assert_false(answer.has_context[RP_WEBNN_NPU]);
    assert_text(answer.webnn_error, "NotSupportedError: no npu");
    assert_text(answer.webnn_precisions, "fp32 fp16 int8");
    assert_int_equal(count_profiles(), 0);
}

static void a_page_that_is_not_loaded_is_asked_again(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_browser_answer answer = {0};
    char answers[1024];
    snprintf(answers, sizeof answers, "blank = 5\n%s", software_page);
    assert_ok(ask_for(answers, 5000, &answer, &err));
    assert_true(answer.is_fallback);
    assert_status(ask_for("blank = 1000000\n", 300, &answer, &err), RP_ERR_TIMEOUT);
    assert_int_equal(count_profiles(), 0);
}

static void a_browser_that_fails_costs_its_time_and_leaves_nothing(void **state) {
    (void)state;
    static const struct {
        const char *answers;
        rp_status status;
        const char *message;
    } cases[] = {
        {"start = hang\n", RP_ERR_TIMEOUT, "did not answer in time"},
        {"start = segv\n", RP_ERR_ABSENT, "ended"},
        {"start = exit\n", RP_ERR_ABSENT, "ended"},
        {"start = endless\n", RP_ERR_DATA, "more than"},
        {"Target.createTarget = hang\n", RP_ERR_TIMEOUT, "did not answer in time"},
        {"Runtime.evaluate = segv\n", RP_ERR_ABSENT, "ended without an answer"},
        {"Browser.getVersion = nonsense\n", RP_ERR_DATA, "no JSON"},
        {"Browser.getVersion = {\"product\": 7}\n", RP_ERR_DATA,
         "does not answer Browser.getVersion"},
        {"Target.createTarget = {}\n", RP_ERR_DATA, "does not answer Target.createTarget"},
        {"Runtime.evaluate = {\"result\": {}}\n", RP_ERR_DATA, "has no value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_browser_answer answer = {.version = "untouched"};
        int64_t start_ns = rp_clock_ns();
        rp_status status = ask_for(cases[i].answers, 400, &answer, &err);
        if (status != cases[i].status) fail_msg("%s: %s", cases[i].answers, err.message);
        assert_says(err.message, cases[i].message);
        assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 2500);
        assert_text(answer.version, "untouched");
        assert_int_equal(count_profiles(), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    }
}

static void one_that_does_not_end_is_killed(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_browser_answer answer = {0};
    int64_t start_ns = rp_clock_ns();
    assert_ok(ask_for("no-exit = 1\n", 2000, &answer, &err));
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 3000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void one_that_cannot_start_says_why(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_browser_answer answer = {0};
    struct rp_browser browser = fake_browser();
    snprintf(browser.path, sizeof browser.path, "/nonexistent/chromium");
    assert_status(rp_browser_ask(&browser, 1000, &answer, &err), RP_ERR_ABSENT);
    assert_says(err.message, "cannot start '/nonexistent/chromium': No such file");
    assert_int_equal(count_profiles(), 0);
}

static void answers_that_are_none_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *json;
        rp_status status;
    } cases[] = {
        {"", RP_ERR_DATA},
        {"[]", RP_ERR_DATA},
        {"{\"result\": {\"result\": {\"value\": 7}}}", RP_ERR_DATA},
        {"{\"result\": {\"result\": {\"value\": {\"url\": 7}}}}", RP_ERR_DATA},
        {"{\"error\": {\"message\": \"no context\"}}", RP_ERR_BUSY},
        {"{\"error\": {}}", RP_ERR_BUSY},
        {"{\"error\": {\"message\": 7}}", RP_ERR_BUSY},
        {"{\"result\": {\"result\": {\"value\": {\"url\": \"chrome-error://web/\"}}}}",
         RP_ERR_DATA},
        {"{\"result\": {\"result\": {\"value\": {\"url\": \"about:blank\"}}}}", RP_ERR_BUSY},
        {"{\"result\": {\"result\": {\"value\": {\"url\": \"file:///x\"}}}}", RP_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_browser_answer answer = {.version = "1"};
        rp_status status =
            rp_browser_parse_answer(cases[i].json, strlen(cases[i].json), &answer, &err);
        if (status != cases[i].status) fail_msg("%s: %s", cases[i].json, err.message);
        assert_text(answer.version, "1");
    }
}

/* --- finding --------------------------------------------------------------------------------- */

static void make_program(const char *folder, const char *name, mode_t mode) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void remove_program(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
}

static void browsers_are_found_on_the_path_one_of_each_name(void **state) {
    (void)state;
    static struct rp_browsers browsers;
    char folder[] = "/tmp/rp-path-XXXXXX";
    assert_non_null(mkdtemp(folder));
    make_program(folder, "google-chrome-stable", 0755);
    make_program(folder, "google-chrome", 0644); /* cannot be executed */
    make_program(folder, "chromium-browser", 0755);
    make_program(folder, "firefox", 0755);
    setenv("PATH", folder, 1);
    unsetenv("CHROME_PATH");
    rp_browsers_find(&browsers);
    assert_int_equal(browsers.count, 3);
    assert_text(browsers.browsers[0].name, "chromium");
    assert_text(browsers.browsers[1].name, "chrome");
    assert_says(browsers.browsers[1].path, "google-chrome-stable");
    assert_text(browsers.browsers[2].name, "firefox");
    assert_true(rp_browsers_can_ask(&browsers));
    remove_program(folder, "google-chrome-stable");
    remove_program(folder, "chromium-browser");
    rp_browsers_find(&browsers);
    assert_int_equal(browsers.count, 1);
    assert_false(rp_browsers_can_ask(&browsers));
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = fake_snapshot(NULL);
    assert_status(rp_device_webgpu.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "firefox is the only browser");
    setenv("PATH", "::/nonexistent:", 1);
    assert_status(rp_device_webnn.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no browser with WebNN is on the PATH");
    assert_says(err.hint, "chromium-headless-shell");
    setenv("CHROME_PATH", FAKE_CHROMIUM, 1);
    assert_ok(rp_device_webgpu.probe(snapshot, &err));
    rp_browsers_find(&browsers);
    assert_int_equal(browsers.count, 1);
    assert_text(browsers.browsers[0].name, "chromium");
    setenv("CHROME_PATH", "/nonexistent", 1);
    assert_status(rp_device_webgpu.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "CHROME_PATH is '/nonexistent'");
    setenv("CHROME_PATH", "off", 1);
    assert_status(rp_device_webgpu.ask(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "switched off");
    assert_int_equal(snapshot->device_count, 0);
    rp_snapshot_release(snapshot);
    snapshot = fake_snapshot("plain");
    setenv("CHROME_PATH", FAKE_CHROMIUM, 1);
    assert_status(rp_device_webgpu.probe(snapshot, &err), RP_ERR_ABSENT);
    assert_says(err.message, "recorded machine");
    rp_snapshot_release(snapshot);
    remove_program(folder, "google-chrome");
    remove_program(folder, "firefox");
    assert_int_equal(rmdir(folder), 0);
}

/* --- devices --------------------------------------------------------------------------------- */

static struct rp_snapshot *ask(const struct rp_device_ops *ops, const char *answers) {
    rp_error err = RP_ERROR_INIT;
    fake_answers(answers);
    struct rp_snapshot *snapshot = fake_snapshot(NULL);
    assert_ok(ops->ask(snapshot, &err));
    return snapshot;
}

static void webgpu_on_a_gpu_has_the_memory_that_vulkan_tells(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask(&rp_device_webgpu, hardware_page);
    const rp_device *device = fake_device(snapshot, "webgpu:chromium");
    assert_true(device->available);
    assert_text(device->name, "NVIDIA Graphics");
    assert_text(device->accelerator->type, "gpu");
    assert_text(device->accelerator->vendor, "nvidia");
    assert_text(device->accelerator->pci_id, "10de:2684");
    assert_text(device->accelerator->runtime_version, "156.0.1.2");
    assert_text(device->accelerator->source, "chromium, vulkan");
    assert_text(fake_words(device->accelerator->precisions, device->accelerator->precision_count),
                "fp32 fp16");
    assert_int_equal(device->accelerator->is_integrated, RP_ANSWER_NO);
    assert_int_equal(device->memory_bytes_total, 25757220864);
    assert_int_equal(device->memory_bytes_free, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
    char answers[1024];
    snprintf(answers, sizeof answers, "%svk.count = 2\n", hardware_page);
    snapshot = ask(&rp_device_webgpu, answers);
    device = fake_device(snapshot, "webgpu:chromium");
    assert_text(device->name, "nvidia lovelace");
    assert_text(device->accelerator->source, "chromium");
    assert_int_equal(device->memory_bytes_total, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
}

static void webgpu_in_software_is_of_type_cpu(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask(&rp_device_webgpu, software_page);
    const rp_device *device = fake_device(snapshot, "webgpu:chromium");
    assert_text(device->accelerator->type, "cpu");
    assert_text(device->accelerator->source, "chromium (software)");
    assert_text(device->name, "google swiftshader");
    assert_null(device->accelerator->pci_id);
    assert_int_equal(device->memory_bytes_total, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
}

static void webgpu_without_an_adapter_is_there_with_its_reason(void **state) {
    (void)state;
    static const struct {
        const char *answers;
        const char *reason;
    } cases[] = {
        {PAGE_START "\"gpu\": true, \"ml\": false}\n",
         "chromium 156.0.1.2 finds no adapter; Vulkan sees 'NVIDIA Graphics' (GPU)"},
        {"result.vkCreateInstance = -9\n" PAGE_START "\"gpu\": true, \"ml\": false}\n",
         "finds no adapter; Vulkan sees nothing"},
        {PAGE_START "\"gpu\": false, \"ml\": false}\n", "chromium 156.0.1.2 has no WebGPU"},
        {PAGE_START "\"gpu\": true, \"gpu_error\": \"TypeError: x\"}\n", "TypeError: x"},
        {"start = exit\n", "chromium ended"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_snapshot *snapshot = ask(&rp_device_webgpu, cases[i].answers);
        const rp_device *device = fake_device(snapshot, "webgpu:chromium");
        assert_false(device->available);
        assert_text(device->name, "WebGPU of chromium");
        assert_says(device->reason, cases[i].reason);
        rp_snapshot_release(snapshot);
    }
}

static void webnn_is_there_when_a_context_can_be_had(void **state) {
    (void)state;
    struct rp_snapshot *snapshot = ask(&rp_device_webnn, hardware_page);
    const rp_device *device = fake_device(snapshot, "webnn:chromium");
    assert_true(device->available);
    assert_text(device->name, "WebNN of chromium");
    /* A context for a GPU is no sign of one. */
    assert_null(device->accelerator->type);
    assert_text(fake_words(device->accelerator->precisions, device->accelerator->precision_count),
                "fp32 fp16 int8");
    rp_snapshot_release(snapshot);
    snapshot = ask(&rp_device_webnn, software_page);
    assert_text(fake_device(snapshot, "webnn:chromium")->accelerator->type, "cpu");
    rp_snapshot_release(snapshot);
    snapshot = ask(&rp_device_webnn,
                   PAGE_START "\"ml\": true, \"contexts\": {\"cpu\": \"WebNN is not supported on "
                              "this platform.\", \"gpu\": \"x\", \"npu\": \"x\"}}\n");
    device = fake_device(snapshot, "webnn:chromium");
    assert_false(device->available);
    assert_says(device->reason, "makes no WebNN context: WebNN is not supported on this platform.");
    rp_snapshot_release(snapshot);
    snapshot = ask(&rp_device_webnn, PAGE_START "\"ml\": false}\n");
    assert_says(fake_device(snapshot, "webnn:chromium")->reason, "has no WebNN");
    rp_snapshot_release(snapshot);
}

static void the_environment_adds_simulated_ones(void **state) {
    (void)state;
    static const struct {
        const char *variable;
        const char *value;
        bool is_added;
        size_t notes;
    } cases[] = {
        {"WEBNN_SIMULATION", "1", true, 0}, {"WEBNN_SIMULATION", "0", false, 0},
        {"WEBNN_SIMULATION", "", false, 0}, {"WEBNN_SIMULATION_ENABLED", "true", true, 1},
        {"WEBNN_AVAILABLE", "1", true, 1},  {"WEBGPU_SIMULATION", "1", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_snapshot *snapshot = fake_snapshot(NULL);
        setenv(cases[i].variable, cases[i].value, 1);
        assert_ok(rp_device_webnn.probe(snapshot, &err));
        unsetenv(cases[i].variable);
        assert_int_equal(snapshot->device_count, cases[i].is_added ? 1 : 0);
        assert_int_equal(snapshot->note_count, cases[i].notes);
        if (cases[i].is_added) assert_true(fake_device(snapshot, "webnn:simulated")->simulated);
        if (cases[i].notes) assert_says(snapshot->notes[0], "means the same as WEBNN_SIMULATION");
        rp_snapshot_release(snapshot);
    }
}

/* The conversation is over before the library's own memory is counted: it has its own. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    const struct rp_device_ops *const kinds[] = {&rp_device_webgpu, &rp_device_webnn};
    int64_t before = rp_memory_live_count();
    fake_answers(hardware_page);
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t n = 1;; n++) {
            rp_error err = RP_ERROR_INIT;
            struct rp_snapshot *snapshot = fake_snapshot(NULL);
            rp_memory_fail_at(n);
            rp_status status = kinds[i]->ask(snapshot, &err);
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
    char folder[] = "/tmp/rp-tmp-XXXXXX";
    if (!mkdtemp(folder)) return 1;
    setenv("TMPDIR", folder, 1);
    setenv("CHROME_PATH", FAKE_CHROMIUM, 1);
    setenv("PATH", "/nonexistent", 1);
    setenv("RESOURCE_POOL_VULKAN", FAKE_VULKAN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_browser_tells_what_its_page_found),
        cmocka_unit_test(a_page_that_is_not_loaded_is_asked_again),
        cmocka_unit_test(a_browser_that_fails_costs_its_time_and_leaves_nothing),
        cmocka_unit_test(one_that_does_not_end_is_killed),
        cmocka_unit_test(one_that_cannot_start_says_why),
        cmocka_unit_test(answers_that_are_none_are_refused),
        cmocka_unit_test(webgpu_on_a_gpu_has_the_memory_that_vulkan_tells),
        cmocka_unit_test(webgpu_in_software_is_of_type_cpu),
        cmocka_unit_test(webgpu_without_an_adapter_is_there_with_its_reason),
        cmocka_unit_test(webnn_is_there_when_a_context_can_be_had),
        cmocka_unit_test(the_environment_adds_simulated_ones),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(browsers_are_found_on_the_path_one_of_each_name),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    rmdir(folder);
    return failed;
}
