/* SPDX-License-Identifier: Apache-2.0 */
#include "model/openvino.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/facts.h"

#include "../../tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A model with something in every place. */
static const char whole[] =
    "<?xml version=\"1.0\"?>\n"
    "<net name=\"m\" version=\"11\">\n"
    "<layers>\n"
    "<layer id=\"0\" name=\"input_ids\" type=\"Parameter\" version=\"opset1\">"
    "<data shape=\"?,?\" element_type=\"i64\"/>"
    "<output><port id=\"0\" precision=\"I64\" names=\"12,input_ids\"><dim>-1</dim><dim>-1</dim>"
    "</port></output></layer>\n"
    "<layer id=\"100\" name=\"w\" type=\"Const\" version=\"opset1\">"
    "<data element_type=\"f16\" shape=\"30, 4\" offset=\"0\" size=\"240\"/>"
    "<output><port id=\"0\" precision=\"FP16\" "
    "names=\"w\"><dim>30</dim><dim>4</dim></port></output></layer>\n"
    "<layer id=\"2\" name=\"q\" type=\"Const\" version=\"opset1\">"
    "<data element_type=\"u4\" shape=\"5,1\" offset=\"240\" size=\"3\"/></layer>\n"
    "<layer id=\"4\" name=\"axes\" type=\"Const\" version=\"opset1\">"
    "<data element_type=\"i64\" shape=\"2\" offset=\"243\" size=\"16\"/></layer>\n"
    "<layer id=\"3\" name=\"again\" type=\"Const\" version=\"opset1\">"
    "<data element_type=\"u4\" shape=\"5,1\" offset=\"240\" size=\"3\"/></layer>\n"
    "<layer id=\"5\" name=\"one\" type=\"Const\" version=\"opset1\">"
    "<data element_type=\"f32\" shape=\"\" offset=\"259\" size=\"4\"/></layer>\n"
    "<layer id=\"6\" name=\"loop\" type=\"TensorIterator\" version=\"opset1\">"
    "<output><port id=\"2\" names=\"7,last_hidden_state\"/></output>"
    "<body><layers>"
    "<layer id=\"0\" name=\"inner\" type=\"Parameter\"><data shape=\"1\"/></layer>"
    "<layer id=\"1\" name=\"inner_w\" type=\"Const\">"
    "<data element_type=\"i8\" shape=\"7\" offset=\"263\" size=\"7\"/></layer>"
    "<layer id=\"2\" name=\"inner_result\" type=\"Result\"/>"
    "</layers><edges><edge from-layer=\"0\" from-port=\"0\" to-layer=\"8\" to-port=\"0\"/></edges>"
    "</body></layer>\n"
    "<layer id=\"8\" name=\"Result_99\" type=\"Result\" version=\"opset1\">"
    "<input><port id=\"0\"><dim>-1</dim><dim>-1</dim><dim>384</dim></port></input></layer>\n"
    "</layers>\n"
    "<edges><edge from-layer=\"1\" from-port=\"0\" to-layer=\"6\" to-port=\"0\"/>"
    "<edge from-layer=\"6\" from-port=\"2\" to-layer=\"8\" to-port=\"0\"/></edges>\n"
    "<rt_info><Runtime_version value=\"2025.1\"/>"
    "<nncf><weight_compression><mode value=\"int4_sym\"/></weight_compression>"
    "<other><mode value=\"x\"/></other></nncf></rt_info>\n"
    "</net>\n";

static rp_status read_bytes(const char *bytes, size_t length, rp_model_facts *facts,
                            rp_error *err) {
    struct rp_source source;
    /* A copy of exactly that many bytes: a read beyond them is seen by the sanitizer. */
    char *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    rp_source_init_memory(&source, "test.xml", copy, length);
    rp_facts_init(facts);
    rp_status status = rp_openvino_read(&source, facts, err);
    free(copy);
    return status;
}

static rp_status read_text(const char *text, rp_model_facts *facts, rp_error *err) {
    return read_bytes(text, strlen(text), facts, err);
}

/* The model with the first `part` replaced: one wrong thing in an otherwise good file. */
static const char *with(const char *part, const char *other) {
    static char text[8192];
    const char *at = strstr(whole, part);
    if (!at) fail_msg("'%s' is not in the model", part);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, other, at + strlen(part));
    return text;
}

static void the_table_of_types_is_whole(void **state) {
    (void)state;
    /* Every type that OpenVINO 2026.4 can make a constant of. */
    static const char *const names[] = {
        "boolean", "bf16", "f16", "f32", "f64", "f4e2m1", "f8e4m3", "f8e5m2", "f8e8m0",
        "i4",      "i8",   "i16", "i32", "i64", "u1",     "u2",     "u3",     "u4",
        "u6",      "u8",   "u16", "u32", "u64", "nf4",    "string",
    };
    assert_int_equal(rp_openvino_type_count, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < rp_openvino_type_count; i++) {
        const struct rp_openvino_type *found = NULL;
        for (size_t j = 0; j < rp_openvino_type_count && !found; j++) {
            if (strcmp(rp_openvino_types[j].name, names[i]) == 0) found = &rp_openvino_types[j];
        }
        assert_non_null(found);
        /* The first number in a name is its bits: "i4", "f8e4m3". */
        const char *digits = strpbrk(found->name, "0123456789");
        if (digits) assert_int_equal(strtoul(digits, NULL, 10), found->bits);
        bool is_odd = found->bits == 3 || found->bits == 6;
        assert_int_equal(found->unit_bits, is_odd ? 24 : 8);
    }
}

static void a_model_is_read_field_by_field(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_ok(read_text(whole, &facts, &err));
    assert_string_equal(facts.format, "openvino");
    assert_int_equal(facts.tensor_count, 5);
    assert_int_equal(facts.weights_bytes, 240 + 3 + 16 + 4 + 7);
    assert_int_equal(facts.parameter_count, 120 + 5 + 7);
    assert_int_equal(facts.parameter_count_min, facts.parameter_count);
    assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
    assert_string_equal(facts.precision, "fp16");
    assert_string_equal(facts.quantization, "int4_sym");
    assert_string_equal(facts.producer, "OpenVINO 2025.1");
    assert_int_equal(facts.input_count, 1);
    assert_int_equal(facts.output_count, 1);
    assert_int_equal(facts.hidden_size, 384);
    assert_int_equal(facts.file_count, 1);
    assert_int_equal(facts.opset_version, RP_UNKNOWN_U32);
    assert_int_equal(facts.classification.family, RP_FAMILY_EMBEDDING);
    assert_string_equal(facts.classification.evidence,
                        "inputs input_ids; outputs last_hidden_state");
}

static void a_scheme_that_a_configuration_named_stays(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_source source;
    const char *text = "<net version=\"11\"/>";
    rp_source_init_memory(&source, "test.xml", text, strlen(text));
    rp_facts_init(&facts);
    snprintf(facts.quantization, sizeof facts.quantization, "gptq");
    assert_ok(rp_openvino_read(&source, &facts, &err));
    assert_string_equal(facts.quantization, "gptq");
}

static void names_of_results_are_read_where_they_stand(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_ok(read_text(with("name=\"Result_99\"", "name=\"r\" output_names=\"5,logits\""), &facts,
                        &err));
    assert_string_equal(facts.classification.evidence, "inputs input_ids; outputs logits");
    char text[sizeof whole + 64];
    snprintf(text, sizeof text, "%s", with("7,last_hidden_state", ""));
    char *at = strstr(text, "Result_99");
    memcpy(at, "logits/0s", 9);
    assert_ok(read_text(text, &facts, &err));
    assert_string_equal(facts.classification.evidence, "inputs input_ids; outputs logits");
}

static void every_type_has_the_bytes_of_its_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < rp_openvino_type_count; i++) {
        const struct rp_openvino_type *type = &rp_openvino_types[i];
        if (type->bits == 0) continue;
        for (unsigned elements = 1; elements <= 17; elements++) {
            rp_error err = RP_ERROR_INIT;
            rp_model_facts facts;
            char data[128];
            unsigned units = (elements * type->bits + type->unit_bits - 1) / type->unit_bits;
            unsigned bytes = units * type->unit_bits / 8;
            snprintf(data, sizeof data, "element_type=\"%s\" shape=\"%u\" offset=\"0\" size=\"%u\"",
                     type->name, elements, bytes);
            assert_ok(read_text(with("element_type=\"f16\" shape=\"30, 4\" offset=\"0\" "
                                     "size=\"240\"",
                                     data),
                                &facts, &err));
            assert_int_equal(facts.weights_bytes, bytes + 30);
            snprintf(data, sizeof data, "element_type=\"%s\" shape=\"%u\" offset=\"0\" size=\"%u\"",
                     type->name, elements, bytes + 1);
            assert_status(read_text(with("element_type=\"f16\" shape=\"30, 4\" offset=\"0\" "
                                         "size=\"240\"",
                                         data),
                                    &facts, &err),
                          RP_ERR_DATA);
            assert_says(err.message, "'test.xml', line 5: constant 'w' has ");
        }
    }
}

static void each_wrong_thing_is_named(void **state) {
    (void)state;
    static const struct {
        const char *part;
        const char *other;
        rp_status status;
        const char *says;
    } wrongs[] = {
        {"<net ", "<nit ", RP_ERR_DATA, "begins with <nit>, not with <net>"},
        {"version=\"11\"", "", RP_ERR_DATA, "does not say which version"},
        {"version=\"11\"", "version=\"x\"", RP_ERR_DATA, "does not say which version"},
        {"version=\"11\"", "version=\"7\"", RP_ERR_UNSUPPORTED,
         "is OpenVINO IR version 7, known are 10 and 11"},
        {"version=\"11\"", "version=\"12\"", RP_ERR_UNSUPPORTED, "is OpenVINO IR version 12"},
        {"version=\"11\"", "version=\"10\"", RP_OK, NULL},
        {"element_type=\"f16\"", "element_type=\"f17\"", RP_ERR_UNSUPPORTED,
         "constant 'w' is of type 'f17', which is not known"},
        {"element_type=\"f16\"", "", RP_ERR_UNSUPPORTED, "is of type ''"},
        {"offset=\"0\"", "", RP_ERR_DATA, "line 5: constant 'w' has no offset or no size"},
        {"offset=\"0\"", "offset=\"-1\"", RP_ERR_DATA, "has no offset"},
        {"offset=\"0\"", "offset=\"18446744073709551616\"", RP_ERR_DATA, "has no offset"},
        {"size=\"240\"", "size=\"241\"", RP_ERR_DATA, "has 241 bytes, its shape makes 240"},
        {"shape=\"30, 4\"", "shape=\"30, -1\"", RP_ERR_DATA, "has a shape that is none"},
        {"shape=\"30, 4\"", "shape=\"30 4\"", RP_OK, NULL},
        {"shape=\"30, 4\"", "shape=\"30,,4\"", RP_ERR_DATA, "has a shape that is none"},
        {"shape=\"30, 4\"", "shape=\"4294967296, 4294967296\"", RP_ERR_DATA,
         "has a shape that is none"},
        {"shape=\"30, 4\"", "shape=\"4294967296, 4294967295\"", RP_ERR_DATA,
         "has more than 2^64 bits"},
        {"</layers>", "", RP_ERR_DATA, "line "},
        {"name=\"m\"", "name=\"m\" name=\"n\"", RP_ERR_DATA, "line 2"},
        {"name=\"m\"", "name=\"&m;\"", RP_ERR_DATA, "line 2"},
        {"<layers>", "<layers>\xff", RP_ERR_DATA, "line 3"},
        {"<net ", "<!DOCTYPE net><net ", RP_ERR_DATA, "a document type"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        assert_status(read_text(with(wrongs[i].part, wrongs[i].other), &facts, &err),
                      wrongs[i].status);
        if (!wrongs[i].says) continue;
        assert_says(err.message, wrongs[i].says);
        assert_says(err.message, "'test.xml'");
        assert_null(facts.format); /* untouched */
    }
}

static void entities_that_expand_are_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    const char *text = "<!DOCTYPE net [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>"
                       "<net name=\"&b;\" version=\"11\"/>";
    assert_status(read_text(text, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "a document type");
    text = "<!DOCTYPE net SYSTEM \"/etc/passwd\"><net version=\"11\"/>";
    assert_status(read_text(text, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "a document type");
}

static void depth_and_length_have_limits(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_text text = RP_TEXT_INIT;
    rp_text_print(&text, "<net version=\"11\">");
    for (int i = 0; i < 100000; i++) {
        rp_text_print(&text, "<a>");
    }
    assert_status(read_text(text.bytes, &facts, &err), RP_ERR_LIMIT);
    assert_says(err.message, "elements within elements, at most 64");
    rp_text_fini(&text);
    for (int is_comment = 0; is_comment < 2; is_comment++) {
        rp_text_print(&text, "<net version=\"11\">%s", is_comment ? "<!--" : "<a b=\"");
        for (int i = 0; i < 2 * RP_LIMIT_MODEL_XML_BYTES / 8; i++) {
            rp_text_append(&text, "12345678", 8);
        }
        rp_text_print(&text, "%s</net>", is_comment ? "-->" : "\"/>");
        assert_status(read_text(text.bytes, &facts, &err), RP_ERR_LIMIT);
        assert_says(err.message, "more than 1048576 bytes for one element");
        rp_text_fini(&text);
    }
    struct rp_source source = {.name = "test.xml", .size = 1ULL << 40, .fd = -1};
    assert_status(rp_openvino_read(&source, &facts, &err), RP_ERR_LIMIT);
    assert_says(err.message, "has 1099511627776 bytes, a graph at most");
}

static void a_file_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    for (size_t length = 0; length < sizeof whole - 2; length++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_status status = read_bytes(whole, length, &facts, &err);
        if (status != RP_ERR_DATA) fail_msg("%zu bytes: %s", length, rp_status_name(status));
    }
}

static void fake_quantize_is_a_scheme(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_ok(read_text(with("TensorIterator", "FakeQuantize"), &facts, &err));
    assert_string_equal(facts.quantization, "FakeQuantize");
}

/* ---- on disk ---- */

static char folder[] = "/tmp/rp-openvino-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, uint64_t size) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    if (size) assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static rp_status read_path(const char *name, rp_model_facts *facts, rp_error *err) {
    struct rp_source source;
    char path[512];
    snprintf(path, sizeof path, "%s", path_of(name));
    assert_int_equal(rp_source_open(path, &source, err), RP_OK);
    rp_facts_init(facts);
    rp_status status = rp_openvino_read(&source, facts, err);
    rp_source_close(&source);
    return status;
}

static void the_bin_beside_it_is_looked_up(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_file("m.xml", whole, 0);
    assert_status(read_path("m.xml", &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "/m.bin', which is not there");
    write_file("m.bin", "", 269);
    assert_status(read_path("m.xml", &facts, &err), RP_ERR_DATA);
    assert_says(err.message,
                "constant 'inner_w' needs 7 bytes from byte 263 of its .bin, which has 269");
    write_file("m.bin", "", 270);
    assert_ok(read_path("m.xml", &facts, &err));
    assert_int_equal(facts.file_count, 2);
    assert_int_equal(facts.file_bytes, sizeof whole - 1 + 270);
    write_file("m.bin", "", 100ULL << 30);
    assert_ok(read_path("m.xml", &facts, &err));
    write_file("m.xml", with("offset=\"0\"", "offset=\"18446744073709551615\""), 0);
    assert_status(read_path("m.xml", &facts, &err), RP_ERR_DATA);
    unlink(path_of("m.bin"));
    write_file("m.xml", "<net version=\"11\"/>", 0);
    assert_ok(read_path("m.xml", &facts, &err)); /* no constants, no .bin */
    assert_int_equal(facts.file_count, 1);
    unlink(path_of("m.xml"));
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_memory_fail_at(n);
        rp_status status = read_text(whole, &facts, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 15);
            return;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_says(err.message, "no memory ");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_types_is_whole),
        cmocka_unit_test(a_model_is_read_field_by_field),
        cmocka_unit_test(a_scheme_that_a_configuration_named_stays),
        cmocka_unit_test(names_of_results_are_read_where_they_stand),
        cmocka_unit_test(every_type_has_the_bytes_of_its_bits),
        cmocka_unit_test(each_wrong_thing_is_named),
        cmocka_unit_test(entities_that_expand_are_refused),
        cmocka_unit_test(depth_and_length_have_limits),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(fake_quantize_is_a_scheme),
        cmocka_unit_test(the_bin_beside_it_is_looked_up),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
