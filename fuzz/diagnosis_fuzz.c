/* SPDX-License-Identifier: Apache-2.0 */
/* An error text of strangers: what is told of it must be true of it, and clean. */
#include "base/text.h"
#include "target.h"

#include <jansson.h>
#include <resourcepool/failure.h>
#include <resourcepool/text.h>
#include <string.h>

static void check_text(const json_t *value) {
    if (!json_is_string(value)) return;
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    FUZZ_ASSERT(strlen(text) == length);
    FUZZ_ASSERT(rp_text_utf8_error_at(text, length) == length);
    FUZZ_ASSERT(rp_text_control_at(text, length) == length);
}

/* Every text in the document is printable, every span lies in the input. */
static void check(const json_t *value, json_int_t bytes) {
    const char *key;
    json_t *each;
    size_t i;
    check_text(value);
    if (json_is_array(value)) json_array_foreach(value, i, each) check(each, bytes);
    if (!json_is_object(value)) return;
    const json_t *start = json_object_get(value, "start");
    const json_t *end = json_object_get(value, "end");
    if (start || end) {
        FUZZ_ASSERT(json_integer_value(start) >= 0);
        FUZZ_ASSERT(json_integer_value(start) <= json_integer_value(end));
        FUZZ_ASSERT(json_integer_value(end) <= bytes);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, each) check(each, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const kinds[] = {NULL,    "any",      "cuda:1",   "rocm",
                                        "mps",   "openvino", "qualcomm", "tpu",
                                        "webnn", "webgpu",   "cpu",      "onnxruntime-cpu"};
    if (size == 0) return 0;
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    size_t trace = (data[0] & 1) ? size / 3 : 0;
    question.hardware = kinds[data[0] / 2 % (sizeof kinds / sizeof kinds[0])];
    question.error = (const char *)data + 1;
    question.error_bytes = size - 1 - trace;
    question.stack_trace = (const char *)data + size - trace;
    question.stack_trace_bytes = trace;
    FUZZ_ASSERT(rp_diagnose(&question, &diagnosis, &err) == RP_OK);
    FUZZ_ASSERT(rp_category_name(rp_diagnosis_category(diagnosis)));
    double confidence = rp_diagnosis_confidence(diagnosis);
    FUZZ_ASSERT(confidence >= 0 && confidence <= 1);
    FUZZ_ASSERT(rp_diagnosis_line(diagnosis)[0] != '\0');
    char *json = NULL;
    char *text = NULL;
    FUZZ_ASSERT(rp_diagnosis_to_json(diagnosis, 0, &json, &err) == RP_OK);
    FUZZ_ASSERT(rp_diagnosis_to_text(diagnosis, &text, &err) == RP_OK);
    FUZZ_ASSERT(rp_text_utf8_error_at(text, strlen(text)) == strlen(text));
    json_t *document = json_loads(json, 0, NULL);
    FUZZ_ASSERT(document);
    check(document, (json_int_t)size);
    json_decref(document);
    rp_string_free(json);
    rp_string_free(text);
    rp_diagnosis_destroy(diagnosis);
    return 0;
}
