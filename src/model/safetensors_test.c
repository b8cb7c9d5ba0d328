/* SPDX-License-Identifier: Apache-2.0 */
#include "model/safetensors.h"

#include "base/limits.h"
#include "base/memory.h"

#include "../../tests/folder.h"
#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 16 };

/* A file: the length of the table, the table, and so many bytes of data. */
struct file {
    unsigned char bytes[FILE_BYTES_MAX];
    size_t size;
};

static void put_length(struct file *file, uint64_t length) {
    for (size_t i = 0; i < 8; i++) {
        file->bytes[i] = (unsigned char)(length >> 8 * i);
    }
}

static struct file *make(const char *table, size_t data_bytes) {
    static struct file file;
    size_t length = strlen(table);
    assert_true(8 + length + data_bytes <= sizeof file.bytes);
    memset(&file, 0, sizeof file);
    put_length(&file, length);
    memcpy(file.bytes + 8, table, length);
    file.size = 8 + length + data_bytes;
    return &file;
}

static rp_status read_file(const struct file *file, rp_model_facts *facts, rp_error *err) {
    struct rp_source source;
    rp_source_init_memory(&source, "x.safetensors", file->bytes, file->size);
    return rp_safetensors_read(&source, facts, err);
}

static const char two[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                          "\"b\":{\"dtype\":\"I64\",\"shape\":[3],\"data_offsets\":[24,48]},"
                          "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}   ";

static void tensors_are_counted_to_the_byte(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    rp_facts_init(&facts);
    assert_ok(read_file(make(two, 48), &facts, &err));
    assert_string_equal(facts.format, "safetensors");
    assert_int_equal(facts.tensor_count, 2);
    assert_int_equal(facts.parameter_count, 9);
    assert_int_equal(facts.parameter_count_min, 9);
    assert_int_equal(facts.parameter_count_max, 9);
    assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
    assert_int_equal(facts.weights_bytes, 48);
    assert_int_equal(facts.weights_method, RP_FACTS_FILE);
    assert_int_equal(facts.stored_count, 2);
    assert_string_equal(facts.stored[0].name, "fp32");
    assert_int_equal(facts.stored[0].element_count, 6);
    assert_string_equal(facts.stored[1].name, "int64");
    assert_int_equal(facts.stored[1].bytes, 24);
    assert_string_equal(facts.precision, "fp32");
}

static void every_type_has_its_width(void **state) {
    (void)state;
    static const struct {
        const char *dtype;
        const char *type;
        uint64_t bytes; /* of eight elements */
    } rows[] = {
        {"F64", "fp64", 64},        {"F32", "fp32", 32},      {"F16", "fp16", 16},
        {"BF16", "bf16", 16},       {"F8_E4M3", "fp8", 8},    {"F8_E5M2", "fp8", 8},
        {"F8_E8M0", "fp8_e8m0", 8}, {"F6_E2M3", "fp6", 6},    {"F6_E3M2", "fp6", 6},
        {"F4", "fp4", 4},           {"I64", "int64", 64},     {"I32", "int32", 32},
        {"I16", "int16", 16},       {"I8", "int8", 8},        {"U64", "uint64", 64},
        {"U32", "uint32", 32},      {"U16", "uint16", 16},    {"U8", "uint8", 8},
        {"BOOL", "bool", 8},        {"C64", "complex64", 64},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        char table[160];
        snprintf(table, sizeof table,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%llu]}}",
                 rows[i].dtype, (unsigned long long)rows[i].bytes);
        rp_facts_init(&facts);
        assert_ok(read_file(make(table, rows[i].bytes), &facts, &err));
        assert_string_equal(facts.precision, rows[i].type);
        assert_int_equal(facts.parameter_count, 8);
        assert_int_equal(facts.weights_bytes, rows[i].bytes);
    }
}

static void an_empty_table_and_empty_tensors_are_fine(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    rp_facts_init(&facts);
    assert_ok(read_file(make("{}", 0), &facts, &err));
    assert_int_equal(facts.parameter_count, 0);
    rp_facts_init(&facts);
    assert_ok(read_file(make("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[4,4]},"
                             "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
                             4),
                        &facts, &err));
    assert_int_equal(facts.tensor_count, 2);
    assert_int_equal(facts.parameter_count, 1);
}

#define TENSOR(dtype, shape, begin, end)                                                           \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void what_is_not_as_the_format_says_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *table;
        size_t data_bytes;
        const char *says;
    } rows[] = {
        {"[]", 0, "no JSON object"},
        {"{", 0, "line 1, byte"},
        {"nonsense", 0, "line 1, byte"},
        {"{\"a\":3}", 0, "type ''"},
        {"{\"a\":null}", 0, "type ''"},
        {"{\"a\":" TENSOR("F33", "1", "0", "4") "}", 4, "type 'F33' is not known"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no 'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "'data_offsets' are not two"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "are not two"},
        {"{\"a\":" TENSOR("F32", "-1", "0", "4") "}", 4, "shape[0] is no whole number"},
        {"{\"a\":" TENSOR("F32", "1.0", "0", "4") "}", 4, "shape[0] is no whole number"},
        {"{\"a\":" TENSOR("F32", "1", "-4", "0") "}", 4, "'data_offsets' are not two"},
        {"{\"a\":" TENSOR("F32", "1", "4", "0") "}", 4, "are not among the 4 of the data"},
        {"{\"a\":" TENSOR("F32", "1", "0", "5") "}", 4, "are not among the 4 of the data"},
        {"{\"a\":" TENSOR("F32", "2", "0", "4") "}", 4, "2 elements of type F32 do not fill"},
        {"{\"a\":" TENSOR("F32", "1", "0", "8") "}", 8, "1 elements of type F32 do not fill"},
        {"{\"a\":" TENSOR("F4", "3", "0", "2") "}", 2, "3 elements of type F4 do not fill"},
        {"{\"a\":" TENSOR("F4", "3", "0", "1") "}", 1, "3 elements of type F4 do not fill"},
        {"{\"a\":" TENSOR("F32", "4294967296,4294967296", "0", "0") "}", 0, "more than 2^64"},
        {"{\"a\":" TENSOR("F32", "4611686018427387904", "0", "0") "}", 0, "do not fill"},
        {"{\"a\":" TENSOR("F32", "99999999999999999999", "0", "4") "}", 4, "too big"},
        {"{\"a\":" TENSOR("U8", "1", "0", "1") ",\"b\":" TENSOR("U8", "1", "2", "3") "}", 3,
         "'b': begins at byte 2 of the data, the one before ends at 1"},
        {"{\"a\":" TENSOR("U8", "2", "0", "2") ",\"b\":" TENSOR("U8", "2", "1", "3") "}", 3,
         "'b': begins at byte 1 of the data, the one before ends at 2"},
        {"{\"a\":" TENSOR("U8", "1", "0", "1") "}", 2, "end at byte 1 of the data, the file at"},
        {"{\"a\":" TENSOR("U8", "1", "0", "1") ",\"a\":" TENSOR("U8", "1", "0", "1") "}", 1,
         "duplicate"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "'__metadata__' is not an object of texts"},
        {"{\"__metadata__\":[]}", 0, "'__metadata__' is not an object of texts"},
        {"{\"\xFF\":" TENSOR("U8", "1", "0", "1") "}", 1, "unable to decode byte 0xff"},
        {"{\"a\":NaN}", 0, "line 1, byte"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_facts_init(&facts);
        assert_status(read_file(make(rows[i].table, rows[i].data_bytes), &facts, &err),
                      RP_ERR_DATA);
        assert_says(err.message, rows[i].says);
        assert_says(err.message, "'x.safetensors'");
    }
}

static void the_length_of_the_table_is_checked(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    rp_facts_init(&facts);
    static const uint64_t lengths[] = {3, 1000, UINT64_MAX, UINT64_MAX - 7, 1ULL << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct file *file = make("{}", 0);
        put_length(file, lengths[i]);
        assert_status(read_file(file, &facts, &err), RP_ERR_DATA);
        assert_says(err.message, "the file has 10");
    }
    struct file *file = make("{}", 0);
    for (file->size = 0; file->size < 10; file->size++) {
        assert_status(read_file(file, &facts, &err), RP_ERR_DATA);
    }
    put_length(file, 0);
    assert_status(read_file(file, &facts, &err), RP_ERR_DATA);
}

/* A text of `count` times `part` between two others, in place of a table. */
static rp_status read_repeated(const char *before, const char *part, size_t count, rp_error *err) {
    size_t part_length = strlen(part);
    size_t length = strlen(before) + count * part_length;
    unsigned char *bytes = calloc(1, 8 + length);
    rp_model_facts facts;
    struct rp_source source;
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    memcpy(bytes + 8, before, strlen(before));
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + 8 + strlen(before) + i * part_length, part, part_length);
    }
    rp_source_init_memory(&source, "x.safetensors", bytes, 8 + length);
    rp_facts_init(&facts);
    rp_status status = rp_safetensors_read(&source, &facts, err);
    free(bytes);
    return status;
}

static void what_would_cost_memory_is_refused_before_it_does(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    assert_status(read_repeated("{\"a\":", "[", 1 << 20, &err), RP_ERR_LIMIT);
    assert_says(err.message, "nests more than 128 deep");
    assert_status(read_repeated("{\"a\":[", "{},", 3 << 20, &err), RP_ERR_LIMIT);
    assert_says(err.message, "more than 2097152 values");
    assert_status(read_repeated("{\"a\":[", "0,", 3 << 20, &err), RP_ERR_LIMIT);
    assert_status(read_repeated("{}", " ", RP_LIMIT_TENSOR_TABLE_BYTES, &err), RP_ERR_LIMIT);
    assert_says(err.message, "at most 33554432 are read");
}

static void packed_words_count_as_the_weights_in_them(void **state) {
    (void)state;
    static const char table[] = "{\"l.qweight\":" TENSOR(
        "I32", "2,4", "0",
        "32") ","
              "\"l.qzeros\":" TENSOR("I32", "1", "32",
                                     "36") ","
                                           "\"l.scales\":" TENSOR(
                                               "F16", "2", "36",
                                               "40") ","
                                                     "\"l.g_idx\":" TENSOR(
                                                         "I32", "16", "40",
                                                         "104") ","
                                                                "\"norm.weight\":" TENSOR(
                                                                    "F16", "4", "104", "112") "}";
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    rp_facts_init(&facts);
    assert_ok(read_file(make(table, 112), &facts, &err));
    assert_int_equal(facts.parameter_count, 8 + 1 + 2 + 16 + 4);
    assert_string_equal(facts.precision, "int32");
    rp_facts_init(&facts);
    rp_facts_set_text(facts.quantization, sizeof facts.quantization, "gptq", 4);
    rp_facts_set_text(facts.precision, sizeof facts.precision, "int4", 4);
    assert_ok(read_file(make(table, 112), &facts, &err));
    assert_int_equal(facts.parameter_count, 8 * 8 + 4);
    assert_int_equal(facts.weights_bytes, 112);
    assert_string_equal(facts.precision, "int4");
    assert_string_equal(facts.stored[0].name, "int32");
}

/* ---- several files ---- */

static char folder[64];

static void write_in_folder(const char *name, const void *bytes, size_t size) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void write_file(const char *name, const char *table, size_t data_bytes) {
    const struct file *file = make(table, data_bytes);
    write_in_folder(name, file->bytes, file->size);
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/resourcepool-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return folder_remove(folder);
}

static rp_status read_index(const char *text, rp_model_facts *facts, rp_error *err) {
    char path[160];
    struct rp_source source;
    write_in_folder("m.safetensors.index.json", text, strlen(text));
    snprintf(path, sizeof path, "%s/m.safetensors.index.json", folder);
    rp_status status = rp_source_open(path, &source, err);
    if (status != RP_OK) return status;
    rp_facts_init(facts);
    status = rp_safetensors_read_index(&source, facts, err);
    rp_source_close(&source);
    return status;
}

static void an_index_leads_to_every_file(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_file("m-1.safetensors", two, 48);
    write_file("m-2.safetensors", "{\"c\":" TENSOR("F16", "5", "0", "10") "}", 10);
    assert_ok(read_index("{\"metadata\":{\"total_size\":58},\"weight_map\":{"
                         "\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\","
                         "\"b\":\"m-1.safetensors\"}}",
                         &facts, &err));
    assert_int_equal(facts.parameter_count, 14);
    assert_int_equal(facts.weights_bytes, 58);
    assert_int_equal(facts.tensor_count, 3);
    assert_int_equal(facts.file_count, 2);
    assert_int_equal(facts.stored_count, 3);
    assert_int_equal(facts.file_bytes, 8 + strlen(two) + 48 + 8 +
                                           strlen("{\"c\":" TENSOR("F16", "5", "0", "10") "}") +
                                           10);
}

static void an_index_that_lies_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *index;
        const char *says;
    } rows[] = {
        {"{}", "has no 'weight_map'"},
        {"[]", "has no 'weight_map'"},
        {"{\"weight_map\":{}}", "has no 'weight_map'"},
        {"{\"weight_map\":{\"a\":7}}", "mapped to no file name"},
        {"{\"weight_map\":{\"a\":\"m-9.safetensors\"}}", "its file 'm-9.safetensors' is missing"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "outside of its folder"},
        {"{\"weight_map\":{\"a\":\"../m-1.safetensors\"}}", "outside of its folder"},
        {"{\"weight_map\":{\"a\":\"x/../../m-1.safetensors\"}}", "outside of its folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "outside of its folder"},
        {"{\"weight_map\":{\"a\":\"\"}}", "outside of its folder"},
        {"{\"weight_map\":{\"z\":\"m-1.safetensors\"}}", "'z': is not there, against"},
        {"{\"weight_map\":{\"a\":\".\"}}", "is a folder"},
    };
    write_file("m-1.safetensors", two, 48);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        assert_status(read_index(rows[i].index, &facts, &err), RP_ERR_DATA);
        assert_says(err.message, rows[i].says);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    write_file("m-1.safetensors", two, 48);
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_memory_fail_at(n);
        rp_status status = read_index("{\"weight_map\":{\"a\":\"m-1.safetensors\"}}", &facts, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 30);
            return;
        }
        /* jansson takes a text that it has no memory for as damaged. */
        assert_true(status == RP_ERR_MEMORY || status == RP_ERR_DATA || status == RP_OK);
        assert_int_equal(err.status, status);
    }
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_counted_to_the_byte),
        cmocka_unit_test(every_type_has_its_width),
        cmocka_unit_test(an_empty_table_and_empty_tensors_are_fine),
        cmocka_unit_test(what_is_not_as_the_format_says_is_refused),
        cmocka_unit_test(the_length_of_the_table_is_checked),
        cmocka_unit_test(what_would_cost_memory_is_refused_before_it_does),
        cmocka_unit_test(packed_words_count_as_the_weights_in_them),
        cmocka_unit_test(an_index_leads_to_every_file),
        cmocka_unit_test(an_index_that_lies_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
