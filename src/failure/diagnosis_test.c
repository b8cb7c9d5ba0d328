/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/diagnosis.h"

#include "../../tests/test.h"
#include "base/memory.h"
#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rp_diagnosis *read_with(const char *error, const char *trace, const char *hardware) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.error = error;
    question.error_bytes = error ? strlen(error) : 0;
    question.stack_trace = trace;
    question.stack_trace_bytes = trace ? strlen(trace) : 0;
    question.hardware = hardware;
    assert_ok(rp_diagnose(&question, &diagnosis, &err));
    return diagnosis;
}

static struct rp_diagnosis *read_error(const char *error) {
    return read_with(error, NULL, NULL);
}

static void assert_category(const char *error, rp_category expected) {
    struct rp_diagnosis *diagnosis = read_error(error);
    if (diagnosis->category != expected) {
        fail_msg("%s instead of %s: %s", rp_category_name(diagnosis->category),
                 rp_category_name(expected), error);
    }
    rp_diagnosis_destroy(diagnosis);
}

static void a_message_says_its_category_cause_and_facts(void **state) {
    (void)state;
    static const char error[] = "loading\nRuntimeError: CUDA out of memory. Tried to allocate "
                                "2.00 GiB (GPU 0; 7.79 GiB total capacity; 5.20 GiB already "
                                "allocated; 1.10 GiB free)\n";
    struct rp_diagnosis *diagnosis = read_error(error);
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_true(diagnosis->confidence > 0.9);
    assert_says(diagnosis->cause, "Tried to allocate 2.00 GiB");
    assert_true(diagnosis->subject.has_kind);
    assert_int_equal(diagnosis->subject.kind, RP_DEVICE_CUDA);
    const struct rp_fact *asked = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_BYTES_ASKED);
    assert_non_null(asked);
    assert_int_equal(asked->number, UINT64_C(2) << 30);
    assert_memory_equal(error + asked->start, "2.00 GiB", 8); /* the very span */
    assert_int_equal(asked->end - asked->start, 8);
    assert_true(diagnosis->evidence_count > 0);
    assert_memory_equal(error + diagnosis->evidence[0].start, "CUDA out of memory", 18);
    rp_diagnosis_destroy(diagnosis);
}

/* A line of JSON, say, that has a whole log before the error. */
static void the_cause_of_a_long_line_is_what_was_found(void **state) {
    (void)state;
    static const char message[] = "CUDA out of memory. Tried to allocate 2.00 GiB";
    char error[4096];
    for (size_t before = 300; before < 3000; before += 450) {
        memset(error, 'q', before);
        for (size_t i = 60; i + 2 < before; i += 60) {
            memcpy(error + i, i % 120 ? " " : "\xC3\xA9", i % 120 ? 1 : 2);
        }
        snprintf(error + before, sizeof error - before, " %s %0900d", message, 0);
        struct rp_diagnosis *diagnosis = read_error(error);
        assert_says(diagnosis->cause, message);
        assert_true(diagnosis->evidence_count > 0);
        const struct rp_evidence *evidence = &diagnosis->evidence[0];
        assert_memory_equal(error + evidence->start, evidence->text, strlen(evidence->text));
        assert_int_equal(evidence->end - evidence->start, strlen(evidence->text));
        assert_int_equal(rp_text_utf8_error_at(diagnosis->cause, strlen(diagnosis->cause)),
                         strlen(diagnosis->cause));
        rp_diagnosis_destroy(diagnosis);
    }
}

static void a_text_for_people_has_each_figure_once(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        /* error, what stands there, what does not */
        {"worker exited with code 137", "exit code: 137 (SIGKILL)\n", "signal:"},
        {"CUDA out of memory. Tried to allocate 1.50 GiB (GPU 1; 11.76 GiB total capacity; 8.25 "
         "GiB "
         "already allocated; 512.00 MiB free; 9.25 GiB reserved in total by PyTorch)",
         "bytes asked: 1.5 GiB\n", "memory:"},
        {"The NVIDIA driver on your system is too old (found version 11060).",
         "cuda code: 11060 (runs CUDA up to 11.6)\n", "version found:"},
        {"/usr/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by /opt/a.so)",
         "glibcxx needed: 3.4.32 (GCC 13.2, first in RHEL 10", "version needed:"},
        {"RuntimeError: CUDA error code=35(b'cudaErrorInsufficientDriver')",
         "cuda error: 35 (cudaErrorInsufficientDriver)\n", "error code:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_diagnosis *diagnosis = read_error(cases[i][0]);
        rp_error err = RP_ERROR_INIT;
        char *text = NULL;
        assert_ok(rp_diagnosis_to_text(diagnosis, &text, &err));
        assert_says(text, cases[i][1]);
        assert_null(strstr(text, cases[i][2]));
        rp_string_free(text);
        rp_diagnosis_destroy(diagnosis);
    }
}

static void nothing_is_unknown_with_a_low_confidence(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n\n\n", "hello", "\xff\xfe\x01\x02", "what is this"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rp_diagnosis *diagnosis = read_error(texts[i]);
        assert_int_equal(diagnosis->category, RP_CATEGORY_UNKNOWN);
        assert_true(diagnosis->confidence < 0.6);
        assert_true(diagnosis->line[0] != '\0');
        rp_diagnosis_destroy(diagnosis);
    }
    struct rp_diagnosis *diagnosis = read_with(NULL, NULL, NULL);
    assert_int_equal(diagnosis->category, RP_CATEGORY_UNKNOWN);
    rp_diagnosis_destroy(diagnosis);
}

static void a_cause_wins_over_what_wraps_it(void **state) {
    (void)state;
    assert_category("Traceback (most recent call last):\n"
                    "  File \"a.py\", line 1, in <module>\n"
                    "    import fast\n"
                    "ImportError: libcudart.so.12: cannot open shared object file: No such file or "
                    "directory\n"
                    "\n"
                    "The above exception was the direct cause of the following exception:\n"
                    "\n"
                    "Traceback (most recent call last):\n"
                    "  File \"b.py\", line 7, in load\n"
                    "RuntimeError: Failed to import the model\n",
                    RP_CATEGORY_RUNTIME_LIBRARY_MISSING);
}

static void words_in_source_lines_are_no_messages(void **state) {
    (void)state;
    assert_category("Traceback (most recent call last):\n"
                    "  File \"run.py\", line 12, in main\n"
                    "    raise MemoryError(\"CUDA out of memory. Tried to allocate\")\n"
                    "safetensors_rust.SafetensorError: Error while deserializing header: "
                    "MetadataIncompleteBuffer\n",
                    RP_CATEGORY_INVALID_MODEL_FILE);
}

static void what_the_question_says_of_the_device_counts(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = read_with("out of memory", NULL, "webgpu");
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    rp_diagnosis_destroy(diagnosis);
    diagnosis = read_with("out of memory", NULL, "onnxruntime-cpu");
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_string_equal(diagnosis->subject.engine, "onnxruntime");
    rp_diagnosis_destroy(diagnosis);
    diagnosis = read_with("CUDA error: out of memory", NULL, "cuda:3");
    assert_string_equal(diagnosis->subject.hardware, "cuda:3");
    rp_diagnosis_destroy(diagnosis);
}

static void a_device_that_is_none_is_refused(void **state) {
    (void)state;
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.hardware = "toaster";
    assert_status(rp_diagnose(&question, &diagnosis, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "'toaster'");
    assert_says(err.hint, "cuda");
}

static void assert_refused(const char *hardware) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.hardware = hardware;
    assert_status(rp_diagnose(&question, &diagnosis, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, hardware);
    assert_says(err.message, "no number or name");
}

static void assert_hardware(const char *told, const char *expected) {
    struct rp_diagnosis *diagnosis = read_with("out of memory", NULL, told);
    assert_string_equal(diagnosis->subject.hardware, expected);
    rp_diagnosis_destroy(diagnosis);
}

static void a_device_is_told_by_a_number_or_a_name(void **state) {
    (void)state;
    static const char *const slips[] = {"cuda:",   "cuda:x",      "cuda:-1", "cuda:99999999999999",
                                        "cuda:1 ", "openvino:-1", "webgpu:", "rocm:0:1"};
    for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++) {
        assert_refused(slips[i]);
    }
    assert_hardware("CUDA", "cuda");
    assert_hardware("Rocm:7", "rocm:7");
    assert_hardware("ONNXRuntime-CPU", "cpu");
    assert_hardware("ANY", "");
    assert_hardware("openvino:GPU.1", "openvino:GPU.1");
    assert_hardware("webgpu:chromium", "webgpu:chromium");
}

static void memory_of_a_gpu_is_none_of_the_processors(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis =
        read_with("CUDA out of memory. Tried to allocate 2.00 GiB", NULL, "onnxruntime-cpu");
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_int_equal(diagnosis->subject.kind, RP_DEVICE_CUDA);
    assert_string_equal(diagnosis->subject.hardware, "cpu");
    assert_null(strstr(diagnosis->line, "on cpu"));
    rp_diagnosis_destroy(diagnosis);
}

static void what_no_rule_knows_is_no_guess(void **state) {
    (void)state;
    static const char *const texts[] = {"", "training finished, loss 0.01",
                                        "  x = = 3\nSyntaxError: invalid syntax"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rp_diagnosis *diagnosis = read_error(texts[i]);
        assert_int_equal(diagnosis->category, RP_CATEGORY_UNKNOWN);
        assert_int_equal(diagnosis->rival_count, 0);
        assert_null(strstr(diagnosis->line, "likeliest"));
        assert_null(strstr(diagnosis->line, "perhaps"));
        rp_diagnosis_destroy(diagnosis);
    }
}

static void a_trace_that_comes_apart_counts_behind_the_error(void **state) {
    (void)state;
    static const char error[] = "RuntimeError: it failed";
    static const char trace[] = "  File \"x.py\", line 3, in f\n    open(path)\n"
                                "OSError: [Errno 28] No space left on device\n";
    struct rp_diagnosis *diagnosis = read_with(error, trace, NULL);
    assert_int_equal(diagnosis->category, RP_CATEGORY_DISK_FULL);
    assert_true(diagnosis->cause_start >= strlen(error)); /* spans go on behind the error */
    assert_true(diagnosis->cause_end <= strlen(error) + strlen(trace));
    rp_diagnosis_destroy(diagnosis);
}

static void an_answer_that_is_not_sure_names_what_it_lies_between(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = read_error("the driver: invalid file");
    char *json = NULL;
    rp_error err = RP_ERROR_INIT;
    assert_true(diagnosis->confidence < 0.75);
    assert_ok(rp_diagnosis_to_json(diagnosis, 0, &json, &err));
    json_t *document = json_loads(json, 0, NULL);
    assert_non_null(document);
    assert_true(json_array_size(json_object_get(document, "between")) >= 2);
    json_decref(document);
    rp_string_free(json);
    rp_diagnosis_destroy(diagnosis);
}

static void json_has_the_keys_of_the_contract(void **state) {
    (void)state;
    static const char *const keys[] = {"category",     "cause",      "facts",
                                       "checks",       "confidence", "recommendations",
                                       "alternatives", "evidence",   "between"};
    struct rp_diagnosis *diagnosis =
        read_error("\x1b[31mRuntimeError\x1b[0m: \"}]{ CUDA error: out of memory \\u0000");
    char *json = NULL;
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_diagnosis_to_json(diagnosis, 2, &json, &err));
    json_t *document = json_loads(json, 0, NULL);
    assert_non_null(document);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!json_object_get(document, keys[i])) fail_msg("no '%s' in %s", keys[i], json);
    }
    assert_null(strchr(json, '\x1b'));
    json_decref(document);
    rp_string_free(json);
    rp_diagnosis_destroy(diagnosis);
}

static void a_stream_reads_as_its_text_does(void **state) {
    (void)state;
    static const char text[] = "x\nCUDA error: out of memory\n";
    int ends[2];
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    close(ends[1]);
    assert_ok(rp_diagnose_fd(&question, ends[0], &diagnosis, &err));
    close(ends[0]);
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_int_equal(diagnosis->text_bytes, strlen(text));
    rp_diagnosis_destroy(diagnosis);
    assert_status(rp_diagnose_fd(&question, ends[1], &diagnosis, &err), RP_ERR_IO);
}

/* Whatever an error holds, what is kept of it is bounded. */
static void a_text_of_errors_only_is_read_in_bounded_memory(void **state) {
    (void)state;
    enum { LINES = 20000 };
    static const char line[] =
        "CUDA out of memory. Tried to allocate 2.00 GiB; 3.00 GiB free; GPU 1 "
        "of 7.79 GiB; Relu(1) failed\n";
    char *text = calloc(LINES, sizeof line);
    assert_non_null(text);
    for (size_t i = 0; i < LINES; i++) {
        memcpy(text + i * (sizeof line - 1), line, sizeof line - 1);
    }
    struct rp_diagnosis *diagnosis = read_error(text);
    assert_int_equal(diagnosis->category, RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_true(diagnosis->facts.count <= RP_FACTS_KEPT);
    rp_diagnosis_destroy(diagnosis);
    free(text);
}

/* What the threads ask, one after another, each from another place on. */
static const char *const thread_errors[] = {
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "OSError: org/model does not appear to have a file named pytorch_model.bin",
    "ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory",
    "ValueError: something that nobody has seen",
    "Could not find an implementation for Gelu(20) node with name '/encoder/Gelu'",
};

enum { THREADS = 4, THREAD_ERRORS = sizeof thread_errors / sizeof thread_errors[0] };

static char *json_of(const char *error) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_diagnosis *diagnosis = NULL;
    char *json = NULL;
    question.error = error;
    question.error_bytes = strlen(error);
    question.model = "bert-base-uncased";
    if (rp_diagnose(&question, &diagnosis, NULL) != RP_OK) return NULL;
    if (rp_diagnosis_to_json(diagnosis, 0, &json, NULL) != RP_OK) json = NULL;
    rp_diagnosis_destroy(diagnosis);
    return json;
}

struct asking {
    pthread_t thread;
    size_t first;
    char *answers[THREAD_ERRORS];
};

static void *ask(void *user) {
    struct asking *asking = user;
    for (size_t i = 0; i < 20 * THREAD_ERRORS; i++) {
        size_t which = (asking->first + i) % THREAD_ERRORS;
        rp_string_free(asking->answers[which]);
        asking->answers[which] = json_of(thread_errors[which]);
    }
    return NULL;
}

/* Before anything else, so that they also begin together what the process keeps. */
static void several_threads_get_the_answers_of_one(void **state) {
    (void)state;
    struct asking askings[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++) {
        askings[i].first = i;
        assert_int_equal(pthread_create(&askings[i].thread, NULL, ask, &askings[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(askings[i].thread, NULL), 0);
    }
    for (size_t j = 0; j < THREAD_ERRORS; j++) {
        char *expected = json_of(thread_errors[j]);
        assert_non_null(expected);
        for (size_t i = 0; i < THREADS; i++) {
            assert_non_null(askings[i].answers[j]);
            assert_string_equal(askings[i].answers[j], expected);
            rp_string_free(askings[i].answers[j]);
        }
        rp_string_free(expected);
    }
}

static void a_text_about_another_device_than_the_question_is_told_so(void **state) {
    (void)state;
    static const char error[] = "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED";
    static const char says[] = "The text speaks of cuda, the question of webgpu";
    struct rp_diagnosis *diagnosis = read_with(error, NULL, "webgpu");
    bool is_said = false;
    for (size_t i = 0; i < diagnosis->advice.recommendation_count; i++) {
        is_said = is_said || strstr(diagnosis->advice.recommendations[i], says);
    }
    assert_true(is_said);
    assert_int_equal(diagnosis->subject.kind, RP_DEVICE_WEBGPU);
    rp_diagnosis_destroy(diagnosis);
    diagnosis = read_with(error, NULL, "cuda");
    for (size_t i = 0; i < diagnosis->advice.recommendation_count; i++) {
        assert_null(strstr(diagnosis->advice.recommendations[i], "speaks of"));
    }
    rp_diagnosis_destroy(diagnosis);
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    static const char error[] = "ImportError: libcudart.so.12: cannot open shared object file\n"
                                "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n";
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    question.error = error;
    question.error_bytes = strlen(error);
    rp_diagnosis_destroy(read_error(error)); /* what the process keeps is there */
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_diagnosis *diagnosis = NULL;
        char *text = NULL;
        char *json = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_diagnose(&question, &diagnosis, &err);
        if (status == RP_OK) status = rp_diagnosis_to_text(diagnosis, &text, &err);
        if (status == RP_OK) status = rp_diagnosis_to_json(diagnosis, 0, &json, &err);
        bool is_done = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (status != RP_OK) assert_int_equal(status, RP_ERR_MEMORY);
        rp_string_free(text);
        rp_string_free(json);
        rp_diagnosis_destroy(diagnosis);
        assert_int_equal(rp_memory_live_count(), before);
        if (is_done) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_threads_get_the_answers_of_one),
        cmocka_unit_test(a_text_about_another_device_than_the_question_is_told_so),
        cmocka_unit_test(a_message_says_its_category_cause_and_facts),
        cmocka_unit_test(the_cause_of_a_long_line_is_what_was_found),
        cmocka_unit_test(a_text_for_people_has_each_figure_once),
        cmocka_unit_test(nothing_is_unknown_with_a_low_confidence),
        cmocka_unit_test(a_cause_wins_over_what_wraps_it),
        cmocka_unit_test(words_in_source_lines_are_no_messages),
        cmocka_unit_test(what_the_question_says_of_the_device_counts),
        cmocka_unit_test(a_device_that_is_none_is_refused),
        cmocka_unit_test(a_device_is_told_by_a_number_or_a_name),
        cmocka_unit_test(memory_of_a_gpu_is_none_of_the_processors),
        cmocka_unit_test(what_no_rule_knows_is_no_guess),
        cmocka_unit_test(a_trace_that_comes_apart_counts_behind_the_error),
        cmocka_unit_test(an_answer_that_is_not_sure_names_what_it_lies_between),
        cmocka_unit_test(json_has_the_keys_of_the_contract),
        cmocka_unit_test(a_stream_reads_as_its_text_does),
        cmocka_unit_test(a_text_of_errors_only_is_read_in_bounded_memory),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
