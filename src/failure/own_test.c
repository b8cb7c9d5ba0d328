/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/own.h"

#include "../../tests/test.h"
#include "base/memory.h"
#include "base/status.h"
#include "failure/diagnosis.h"

#include <errno.h>
#include <string.h>

static rp_category category_of(rp_status status, const char *hardware, const char *message) {
    rp_error failure = RP_ERROR_INIT;
    rp_fail(&failure, status, "%s", message);
    return rp_failure_category(&failure, hardware);
}

static void want_of_memory_is_of_the_device_that_was_asked(void **state) {
    (void)state;
    assert_int_equal(category_of(RP_ERR_CAPACITY, "cuda:1", "no room for 'm'"),
                     RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    assert_int_equal(category_of(RP_ERR_CAPACITY, "cpu", "no room for 'm'"),
                     RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_int_equal(category_of(RP_ERR_CAPACITY, NULL, "no room for 'm'"),
                     RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_int_equal(category_of(RP_ERR_MEMORY, "cuda", "it did not fit"),
                     RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    /* What the library itself lacks for a table is main memory, whatever was asked for. */
    assert_int_equal(category_of(RP_ERR_MEMORY, "cuda", "no memory for a lease on 'm'"),
                     RP_CATEGORY_OUT_OF_MEMORY_HOST);
}

static void a_status_speaks_where_the_message_does_not(void **state) {
    (void)state;
    assert_int_equal(category_of(RP_ERR_ABSENT, NULL, "something"), RP_CATEGORY_DEVICE_NOT_FOUND);
    assert_int_equal(category_of(RP_ERR_DATA, NULL, "something"), RP_CATEGORY_INVALID_MODEL_FILE);
    assert_int_equal(category_of(RP_ERR_NOT_FOUND, NULL, "x"), RP_CATEGORY_MODEL_FILE_MISSING);
    assert_int_equal(category_of(RP_ERR_LIMIT, NULL, "x"), RP_CATEGORY_LIMIT_EXCEEDED);
    assert_int_equal(category_of(RP_ERR_LOAD, NULL, "x"), RP_CATEGORY_UNKNOWN);
}

static void a_sure_message_outweighs_the_status(void **state) {
    (void)state;
    assert_int_equal(category_of(RP_ERR_DATA, NULL, "'m.json': its file 'a.bin' is missing"),
                     RP_CATEGORY_MODEL_FILE_MISSING);
    assert_int_equal(category_of(RP_ERR_ABSENT, NULL, "no broker is running"), RP_CATEGORY_UNKNOWN);
    assert_int_equal(category_of(RP_ERR_RUN, "cpu",
                                 "the worker of 'm' was ended by SIGKILL: the kernel counts no "
                                 "process killed for lack of memory, who sent it is not known"),
                     RP_CATEGORY_UNKNOWN);
    assert_int_equal(category_of(RP_ERR_LOAD, "cuda",
                                 "cannot load 'm': RuntimeError: CUDA out of memory. Tried to "
                                 "allocate 2.00 GiB"),
                     RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
}

static void a_system_error_is_told_by_its_number(void **state) {
    (void)state;
    rp_error failure = RP_ERROR_INIT;
    errno = ENOSPC;
    assert_int_equal(rp_fail_errno(&failure, "cannot write 'm'"), RP_ERR_IO);
    assert_int_equal(rp_failure_category(&failure, NULL), RP_CATEGORY_DISK_FULL);
    errno = EACCES;
    assert_int_equal(rp_fail_errno(&failure, "cannot open 'm'"), RP_ERR_IO);
    assert_int_equal(rp_failure_category(&failure, NULL), RP_CATEGORY_ACCESS_DENIED);
}

static void misuse_is_not_diagnosed(void **state) {
    (void)state;
    static const rp_status statuses[] = {RP_ERR_ARGUMENT, RP_ERR_TIMEOUT, RP_ERR_CANCELLED,
                                         RP_ERR_CYCLE,    RP_ERR_BUSY,    RP_ERR_STATE,
                                         RP_ERR_FORKED,   RP_OK};
    rp_error err = RP_ERROR_INIT;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        rp_error failure = {.status = statuses[i], .message = "CUDA out of memory"};
        rp_diagnosis *diagnosis = NULL;
        struct rp_explanation told;
        assert_int_equal(rp_failure_explain(&failure, NULL, &diagnosis, &err), RP_OK);
        assert_null(diagnosis);
        assert_int_equal(rp_failure_category(&failure, NULL), RP_CATEGORY_UNKNOWN);
        assert_false(rp_explain(&failure, "cpu", NULL, &told));
        assert_string_equal(told.line, "");
        assert_string_equal(failure.hint, "");
    }
    assert_int_equal(rp_failure_explain(NULL, NULL, NULL, &err), RP_ERR_ARGUMENT);
}

static void what_was_printed_beside_it_is_read_too(void **state) {
    (void)state;
    static const char printed[] = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB";
    rp_failure_question about = RP_FAILURE_QUESTION_INIT;
    rp_error failure = RP_ERROR_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    about.error = printed;
    about.error_bytes = sizeof printed - 1;
    about.hardware = "no kind of device"; /* as good as none */
    rp_fail(&failure, RP_ERR_LOAD, "the worker of 'm' ended with exit code 1");
    assert_int_equal(rp_failure_explain(&failure, &about, &diagnosis, &err), RP_OK);
    assert_int_equal(rp_diagnosis_category(diagnosis), RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    rp_diagnosis_destroy(diagnosis);
}

static void figures_of_our_own_messages_are_read(void **state) {
    (void)state;
    rp_error failure = RP_ERROR_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    rp_fail(&failure, RP_ERR_MEMORY,
            "the kernel killed the worker of 'm' for lack of memory: needed 2.0 GiB, 1.0 GiB free "
            "on the machine; held by 'a' 1.0 GiB (2 leases)");
    assert_int_equal(rp_failure_explain(&failure, NULL, &diagnosis, &err), RP_OK);
    const struct rp_fact *asked = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_BYTES_ASKED);
    const struct rp_fact *free_now = rp_facts_find(&diagnosis->facts, RP_FACT_NAME_BYTES_FREE);
    assert_non_null(asked);
    assert_non_null(free_now);
    assert_int_equal(asked->number, UINT64_C(2) << 30);
    assert_int_equal(free_now->number, UINT64_C(1) << 30);
    assert_int_equal(rp_diagnosis_category(diagnosis), RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_null(rp_diagnosis_recommendation(diagnosis, RP_ADVICE_TEXTS_MAX));
    rp_diagnosis_destroy(diagnosis);
}

static void a_hint_of_the_place_of_failure_stays(void **state) {
    (void)state;
    rp_error failure = RP_ERROR_INIT;
    struct rp_explanation told;
    rp_fail(&failure, RP_ERR_CAPACITY, "no room for 'm'");
    rp_hint(&failure, "release a lease");
    assert_true(rp_explain(&failure, "cpu", NULL, &told));
    assert_string_equal(failure.hint, "release a lease");
    assert_int_equal(told.category, RP_CATEGORY_OUT_OF_MEMORY_HOST);
    assert_true(told.confidence > 0.5);
    assert_true(told.line[0] != '\0');
    assert_false(rp_explain(&failure, "cpu", NULL, NULL)); /* nothing to fill in */
}

static void an_empty_hint_is_filled_with_what_to_do_first(void **state) {
    (void)state;
    rp_error failure = RP_ERROR_INIT;
    struct rp_explanation told;
    rp_fail(&failure, RP_ERR_NOT_FOUND,
            "cannot load the model '/m.onnx': No such file or directory");
    assert_true(rp_explain(&failure, "cpu", "/m.onnx", &told));
    assert_int_equal(told.category, RP_CATEGORY_MODEL_FILE_MISSING);
    assert_string_equal(failure.hint, told.advice);
    rp_error other = failure;
    other.hint[0] = '\0';
    (void)rp_explain(&other, "cpu", "/m.onnx", NULL);
    assert_string_equal(other.hint, failure.hint);
}

static void a_text_is_cut_where_it_can_be_read(void **state) {
    (void)state;
    char out[32];
    rp_cut_text(out, sizeof out, "short");
    assert_string_equal(out, "short");
    rp_cut_text(out, sizeof out, "1234567890123456789012345678901");
    assert_string_equal(out, "1234567890123456789012345678901");
    rp_cut_text(out, sizeof out, "Use a smaller batch size. Or another device, if there is one.");
    assert_string_equal(out, "Use a smaller batch size.");
    rp_cut_text(out, sizeof out, "use a smaller batch or another device");
    assert_string_equal(out, "use a smaller batch or...");
    rp_cut_text(out, sizeof out,
                "\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4"
                "\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4");
    assert_int_equal(strlen(out), 31);
    assert_int_equal((unsigned char)out[26], 0xC3);
    assert_string_equal(out + 28, "...");
}

static void without_memory_the_plain_error_stays(void **state) {
    (void)state;
    rp_error plain = RP_ERROR_INIT;
    rp_fail(&plain, RP_ERR_DATA, "'m.onnx' has no graph: it is no ONNX model");
    bool is_told = false;
    for (size_t nth = 1; !is_told; nth++) {
        rp_error failure = plain;
        struct rp_explanation told;
        rp_memory_fail_at(nth);
        is_told = rp_explain(&failure, "cpu", "bert-base", &told);
        rp_memory_fail_at(0);
        assert_int_equal(failure.status, plain.status);
        assert_string_equal(failure.message, plain.message);
        if (!is_told) {
            assert_string_equal(failure.hint, "");
            assert_string_equal(told.line, "");
        }
        assert_true(nth < 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_the_plain_error_stays),
        cmocka_unit_test(want_of_memory_is_of_the_device_that_was_asked),
        cmocka_unit_test(a_status_speaks_where_the_message_does_not),
        cmocka_unit_test(a_sure_message_outweighs_the_status),
        cmocka_unit_test(a_system_error_is_told_by_its_number),
        cmocka_unit_test(misuse_is_not_diagnosed),
        cmocka_unit_test(what_was_printed_beside_it_is_read_too),
        cmocka_unit_test(figures_of_our_own_messages_are_read),
        cmocka_unit_test(a_hint_of_the_place_of_failure_stays),
        cmocka_unit_test(an_empty_hint_is_filled_with_what_to_do_first),
        cmocka_unit_test(a_text_is_cut_where_it_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
