/* SPDX-License-Identifier: Apache-2.0 */
/* A dictionary read: each key, wrong types, what is misspelt. Effects: tests/placement. */
#include "../../tests/test.h"
#include "base/limits.h"
#include "base/memory.h"

#include <resourcepool/placement.h>
#include <stdio.h>
#include <stdlib.h>

static rp_preferences *parsed(const char *json) {
    rp_error err = RP_ERROR_INIT;
    rp_preferences *preferences = NULL;
    char warning[256];
    assert_ok(
        rp_preferences_parse(json, strlen(json), &preferences, warning, sizeof warning, &err));
    assert_string_equal(warning, "");
    return preferences;
}

static void nothing_said_is_no_preference(void **state) {
    (void)state;
    static const char *const nothings[] = {
        "{}", "{\"device\":null,\"policy\":null,\"priority_list\":null,\"preferred_index\":null,"
              "\"precision\":null,\"subfamily\":null,\"hw_compatibility\":null}"};
    for (size_t i = 0; i < 2; i++) {
        const rp_preferences none = RP_PREFERENCES_INIT;
        rp_preferences *found = parsed(nothings[i]);
        assert_int_equal(found->size, sizeof none);
        assert_null(found->device);
        assert_int_equal(found->policy, 0);
        assert_int_equal(found->priority_count, 0);
        assert_int_equal(found->compatibility_count, 0);
        assert_int_equal(found->preferred_index, RP_UNKNOWN_U32);
        assert_int_equal(found->distribution, RP_DISTRIBUTION_SPREAD);
        assert_null(found->precision);
        assert_null(found->precisions);
        assert_null(found->engine);
        assert_null(found->description);
        assert_int_equal(found->family, RP_FAMILY_UNKNOWN);
        assert_int_equal(found->subfamily, RP_SUBFAMILY_NONE);
        assert_false(found->force_device || found->force_low_memory || found->require_precision);
        assert_false(found->web_deployment || found->browser_optimized ||
                     found->fallback_to_simulation);
        assert_int_equal(found->workload.batch_size, 0);
        assert_int_equal(found->workload.context_length, 0);
        rp_preferences_destroy(found);
    }
}

static void each_key_is_read(void **state) {
    (void)state;
    rp_preferences *found = parsed(
        "{\"device\":\"cuda:1\",\"policy\":\"prefer\",\"force_device\":true,"
        "\"priority_list\":[\"mps\",\"cuda:1\",\"cpu\",\"cuda\"],\"preferred_index\":2,"
        "\"distribution\":\"pack\",\"force_low_memory\":true,\"precision\":\"fp16\","
        "\"require_precision\":true,\"precisions\":\"int8,int4\",\"model_family\":\"vision\","
        "\"subfamily\":\"causal_lm\",\"fallback_to_simulation\":true,\"browser_optimized\":true,"
        "\"engine\":\"onnxruntime\",\"description\":\"for the search\",\"batch_size\":4,"
        "\"context_length\":1024}");
    assert_string_equal(found->device, "cuda:1");
    assert_int_equal(found->policy, RP_POLICY_PREFER);
    assert_true(found->force_device);
    assert_int_equal(found->priority_count, 3); /* a kind that is said twice counts once */
    assert_int_equal(found->priority[0], RP_DEVICE_MPS);
    assert_int_equal(found->priority[1], RP_DEVICE_CUDA);
    assert_int_equal(found->priority[2], RP_DEVICE_CPU);
    assert_int_equal(found->preferred_index, 2);
    assert_int_equal(found->distribution, RP_DISTRIBUTION_PACK);
    assert_true(found->force_low_memory);
    assert_string_equal(found->precision, "fp16");
    assert_true(found->require_precision);
    assert_string_equal(found->precisions, "int8,int4");
    assert_int_equal(found->family, RP_FAMILY_VISION);
    assert_int_equal(found->subfamily, RP_SUBFAMILY_CAUSAL_LM);
    assert_false(found->web_deployment);
    assert_true(found->fallback_to_simulation);
    assert_true(found->browser_optimized);
    assert_string_equal(found->engine, "onnxruntime");
    assert_string_equal(found->description, "for the search");
    assert_int_equal(found->workload.batch_size, 4);
    assert_int_equal(found->workload.context_length, 1024);
    rp_preferences_destroy(found);
    found = parsed("{\"subfamily\":\"web_deployment\"}");
    assert_true(found->web_deployment);
    assert_int_equal(found->subfamily, RP_SUBFAMILY_NONE);
    rp_preferences_destroy(found);
}

static void compatibility_is_read_by_kind(void **state) {
    (void)state;
    rp_preferences *found =
        parsed("{\"hw_compatibility\":{\"cuda\":{\"compatible\":true,\"memory_usage\":{\"peak\":"
               "500}},\"mps\":{\"compatible\":false},\"webnn\":{\"memory_usage\":{\"peak\":0.5}},"
               "\"rocm\":{\"compatible\":null,\"memory_usage\":{\"peak\":null}},"
               "\"cuda:1\":{\"compatible\":false}}}");
    assert_int_equal(found->compatibility_count, 4); /* "cuda:1" is the kind: it said it last */
    const rp_compatibility *cuda = &found->compatibility[0];
    assert_int_equal(cuda->kind, RP_DEVICE_CUDA);
    assert_int_equal(cuda->compatible, RP_ANSWER_NO);
    assert_int_equal(cuda->peak_bytes, RP_UNKNOWN_U64);
    assert_int_equal(found->compatibility[1].compatible, RP_ANSWER_NO);
    assert_int_equal(found->compatibility[2].compatible, RP_ANSWER_UNKNOWN);
    assert_int_equal(found->compatibility[2].peak_bytes, 512 << 10);
    assert_int_equal(found->compatibility[3].peak_bytes, RP_UNKNOWN_U64);
    rp_preferences_destroy(found);
}

/* What is wrong with each, as the message says it. */
static void what_is_wrong_is_told_with_its_key(void **state) {
    (void)state;
    static const struct {
        const char *json;
        const char *says;
    } wrong[] = {
        {"{\"device\":1}", "'device': a text"},
        {"{\"device\":\"cuda\\n\"}", "'device': fewer than 512 bytes"},
        {"{\"policy\":\"maybe\"}", "'policy': one of require, prefer, any"},
        {"{\"policy\":true}", "'policy': one of"},
        {"{\"force_device\":1}", "'force_device': true or false"},
        {"{\"priority_list\":\"cuda\"}", "'priority_list': a list"},
        {"{\"priority_list\":[1]}", "element 0 is no text"},
        {"{\"priority_list\":[\"cuda\",\"gpu\"]}", "'gpu' is no kind"},
        {"{\"preferred_index\":-1}", "'preferred_index': a whole number"},
        {"{\"preferred_index\":1.5}", "'preferred_index': a whole number"},
        {"{\"preferred_index\":4294967295}", "'preferred_index': a whole number"},
        {"{\"distribution\":\"both\"}", "'spread' or 'pack'"},
        {"{\"hw_compatibility\":[]}", "a dictionary by kinds"},
        {"{\"hw_compatibility\":{\"gpu\":{}}}", "'gpu' is no kind"},
        {"{\"hw_compatibility\":{\"cuda\":true}}", "'cuda' is no dictionary"},
        {"{\"hw_compatibility\":{\"cuda\":{\"compatible\":\"yes\"}}}", "neither true nor false"},
        {"{\"hw_compatibility\":{\"cuda\":{\"memory_usage\":{\"peak\":\"1\"}}}}", "number of MiB"},
        {"{\"hw_compatibility\":{\"cuda\":{\"memory_usage\":{\"peak\":-1}}}}", "number of MiB"},
        {"{\"hw_compatibility\":{\"cuda\":{\"memory_usage\":{\"peak\":1e30}}}}", "number of MiB"},
        {"{\"force_low_memory\":\"yes\"}", "'force_low_memory': true or false"},
        {"{\"precision\":16}", "'precision': a text"},
        {"{\"require_precision\":[]}", "'require_precision': true or false"},
        {"{\"precisions\":[\"int8\"]}", "'precisions': a text"},
        {"{\"model_family\":\"nlp\"}", "'nlp' is no family"},
        {"{\"model_family\":1}", "'that' is no family"},
        {"{\"subfamily\":\"nlp\"}", "'nlp' is no subfamily"},
        {"{\"fallback_to_simulation\":0}", "true or false"},
        {"{\"browser_optimized\":0}", "true or false"},
        {"{\"engine\":0}", "'engine': a text"},
        {"{\"description\":{}}", "'description': a text"},
        {"{\"batch_size\":\"1\"}", "'batch_size': a whole number"},
        {"{\"context_length\":-5}", "'context_length': a whole number"},
        {"{\"device\":\"cpu\",\"device\":\"cuda\"}", "duplicate"},
        {"[]", "are a dictionary"},
        {"{\"device\":", "line 1"},
        {"", "line 1"},
        {"\xff", "line 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_preferences untouched;
        rp_preferences *found = &untouched;
        assert_status(
            rp_preferences_parse(wrong[i].json, strlen(wrong[i].json), &found, NULL, 0, &err),
            RP_ERR_DATA);
        assert_says(err.message, wrong[i].says);
        assert_ptr_equal(found, &untouched);
    }
}

static void a_misspelt_key_is_told_with_the_nearest(void **state) {
    (void)state;
    static const struct {
        const char *json;
        const char *warning;
    } misspelt[] = {
        {"{\"priorty_list\":[\"cuda\"]}",
         "preference 'priorty_list' is not known: did you mean 'priority_list'?"},
        {"{\"force_devise\":true}",
         "preference 'force_devise' is not known: did you mean 'force_device'?"},
        {"{\"contextlength\":5}",
         "preference 'contextlength' is not known: did you mean 'context_length'?"},
        {"{\"priority\":[\"cuda\"]}",
         "preference 'priority' is not known: did you mean 'priority_list'?"},
        {"{\"zzzzzzzz\":null}", "preference 'zzzzzzzz' is not known"},
        {"{\"a_key_that_is_much_longer_than_any_known_one\":1}",
         "preference 'a_key_that_is_much_longer_than_any_known' is not known"},
        {"{\"\\u0007\":1}", "preference '?' is not known"},
        {"{\"devise\":\"cpu\",\"polity\":\"any\"}",
         "preference 'devise' is not known: did you mean 'device'?; preference 'polity' is not "
         "known: did you mean 'policy'?"},
    };
    for (size_t i = 0; i < sizeof misspelt / sizeof misspelt[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_preferences *found = NULL;
        char warning[256];
        assert_ok(rp_preferences_parse(misspelt[i].json, strlen(misspelt[i].json), &found, warning,
                                       sizeof warning, &err));
        assert_string_equal(warning, misspelt[i].warning);
        assert_int_equal(found->priority_count, 0); /* what is not known has no effect */
        rp_preferences_destroy(found);
    }
}

/* However little room the caller has for it. */
static void a_warning_ends_where_its_room_does(void **state) {
    (void)state;
    static const char json[] = "{\"devise\":1,\"polity\":2,\"engin\":3}";
    for (size_t bytes = 0; bytes < 128; bytes++) {
        rp_error err = RP_ERROR_INIT;
        rp_preferences *found = NULL;
        char warning[130];
        memset(warning, '#', sizeof warning);
        assert_ok(rp_preferences_parse(json, sizeof json - 1, &found, warning, bytes, &err));
        assert_int_equal(warning[bytes], '#');
        if (bytes > 0) assert_non_null(memchr(warning, '\0', bytes));
        rp_preferences_destroy(found);
    }
}

static void what_is_too_much_is_refused(void **state) {
    (void)state;
    enum { BYTES = RP_LIMIT_PREFERENCES_BYTES + 1 };
    rp_error err = RP_ERROR_INIT;
    rp_preferences *found = NULL;
    char *json = malloc(BYTES);
    assert_non_null(json);
    memset(json, ' ', BYTES);
    json[0] = '{';
    json[BYTES - 2] = '}';
    assert_ok(rp_preferences_parse(json, BYTES - 1, &found, NULL, 0, &err));
    rp_preferences_destroy(found);
    assert_status(rp_preferences_parse(json, BYTES, &found, NULL, 0, &err), RP_ERR_LIMIT);
    /* A text of 511 bytes is the longest. */
    for (size_t length = 511; length <= 512; length++) {
        memset(json, 'x', 1024);
        memcpy(json, "{\"device\":\"", 11);
        memcpy(json + 11 + length, "\"}", 2);
        rp_status status = rp_preferences_parse(json, 13 + length, &found, NULL, 0, &err);
        assert_int_equal(status, length == 511 ? RP_OK : RP_ERR_DATA);
        if (status == RP_OK) rp_preferences_destroy(found);
    }
    free(json);
    assert_status(rp_preferences_parse(NULL, 0, &found, NULL, 0, &err), RP_ERR_ARGUMENT);
    assert_status(rp_preferences_parse("{}", 2, NULL, NULL, 0, &err), RP_ERR_ARGUMENT);
    rp_preferences_destroy(NULL);
}

static void want_of_memory_is_told(void **state) {
    (void)state;
    static const char json[] = "{\"device\":\"cuda\",\"priority_list\":[\"cuda\",\"cpu\"]}";
    int64_t before = rp_memory_live_count();
    bool is_failing = true;
    for (uint64_t n = 1; is_failing; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_preferences *found = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_preferences_parse(json, sizeof json - 1, &found, NULL, 0, &err);
        is_failing = !rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, is_failing ? RP_ERR_MEMORY : RP_OK);
        rp_preferences_destroy(found);
        assert_int_equal(rp_memory_live_count(), before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_no_preference),
        cmocka_unit_test(each_key_is_read),
        cmocka_unit_test(compatibility_is_read_by_kind),
        cmocka_unit_test(what_is_wrong_is_told_with_its_key),
        cmocka_unit_test(a_misspelt_key_is_told_with_the_nearest),
        cmocka_unit_test(a_warning_ends_where_its_room_does),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
