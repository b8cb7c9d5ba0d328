/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/snapshot.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <resourcepool/text.h>
#include <stdio.h>

/* A snapshot with something in every place. */
static const char whole[] =
    "{\"version\":1,\"generation\":7,\"simulated\":true,\"devices\":["
    "{\"id\":\"cpu\",\"kind\":\"cpu\",\"name\":\"A \\u00e9 CPU\",\"available\":true,"
    "\"simulated\":true,\"memory_bytes_total\":9223372036854775807,\"memory_bytes_free\":0,"
    "\"cpu\":{\"architecture\":\"x86_64\",\"features\":[\"avx\",\"avx2\"],\"logical_count\":4,"
    "\"physical_count\":2,\"socket_count\":1,\"numa_count\":1,\"numa_nodes\":[{\"index\":0,"
    "\"memory_bytes_total\":1024}],\"affinity\":\"0-2,5\",\"affinity_count\":4,"
    "\"memory_limit_bytes\":1024,\"memory_limit_source\":\"machine\","
    "\"machine_memory_bytes_total\":4096}},"
    "{\"id\":\"cuda:0\",\"kind\":\"cuda\",\"name\":null,\"available\":false,\"simulated\":false,"
    "\"memory_bytes_total\":null,\"memory_bytes_free\":null,\"reason\":\"lost\",\"accelerator\":{"
    "\"type\":\"gpu\",\"vendor\":\"nvidia\",\"uuid\":\"GPU-1\",\"pci_address\":\"0000:65:00.0\","
    "\"pci_id\":\"10de:2330\",\"numa_node\":1,\"driver_version\":\"550\",\"runtime_version\":\"12."
    "4\","
    "\"compute_capability\":\"9.0\",\"gfx_target\":\"gfx1\",\"compute_unit_count\":132,"
    "\"tensor_cores\":true,\"precisions\":[\"fp32\",\"bf16\"],\"integrated\":false,"
    "\"utilization_percent\":0,\"temperature_celsius\":30,\"ecc_enabled\":true,"
    "\"ecc_error_count\":0,\"throttle_reasons\":[],\"mig_enabled\":true,"
    "\"slices\":[{\"uuid\":\"MIG-1\",\"profile\":\"1g.10gb\",\"memory_bytes_total\":10,"
    "\"memory_bytes_free\":9}],"
    "\"processes\":[{\"pid\":7,\"name\":\"python\",\"memory_bytes\":5}],\"source\":\"nvml\"}}],"
    "\"absent\":[{\"kind\":\"tpu\",\"reason\":\"none\",\"unprobed\":true,\"hint\":\"look\"}],"
    "\"notes\":[\"a note\"],"
    "\"detect_ms\":0.61,\"probe_ms\":{\"cpu\":0.1}}";

static rp_status parse(const char *json, const rp_snapshot **snapshot, rp_error *err) {
    return rp_snapshot_from_json(json, strlen(json), "test.json", snapshot, err);
}

/* The text with the first `part` replaced: one wrong thing in an otherwise good snapshot. */
static const char *with(const char *part, const char *other) {
    static char text[6144];
    const char *at = strstr(whole, part);
    if (!at) fail_msg("'%s' is not in the snapshot", part);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, other, at + strlen(part));
    return text;
}

static void kinds_have_names_and_names_kinds(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    for (int i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        rp_device_kind kind = RP_DEVICE_CPU;
        const char *name = rp_device_kind_name((rp_device_kind)i);
        assert_non_null(name);
        assert_ok(rp_device_kind_parse(name, &kind, &err));
        assert_int_equal(kind, i);
    }
    assert_null(rp_device_kind_name((rp_device_kind)RP_DEVICE_KIND_COUNT));
    assert_null(rp_device_kind_name((rp_device_kind)-1));
    rp_device_kind kind = RP_DEVICE_TPU;
    assert_status(rp_device_kind_parse("CPU", &kind, &err), RP_ERR_NOT_FOUND);
    assert_int_equal(kind, RP_DEVICE_TPU);
    assert_string_equal(err.hint,
                        "the kinds are cpu cuda rocm mps openvino qualcomm tpu webnn webgpu");
    assert_status(rp_device_kind_parse(NULL, &kind, &err), RP_ERR_ARGUMENT);
}

static void a_snapshot_is_read_field_by_field(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(parse(whole, &snapshot, &err));
    assert_int_equal(rp_snapshot_generation(snapshot), 7);
    assert_true(rp_snapshot_is_simulated(snapshot));
    assert_int_equal(rp_snapshot_device_count(snapshot), 2);
    const rp_device *cpu = rp_snapshot_device(snapshot, 0);
    assert_int_equal(cpu->size, sizeof *cpu);
    assert_string_equal(cpu->name, "A \xC3\xA9 CPU");
    assert_int_equal(cpu->memory_bytes_total, INT64_MAX);
    assert_int_equal(cpu->memory_bytes_free, 0);
    assert_int_equal(cpu->cpu->feature_count, 2);
    assert_string_equal(cpu->cpu->features[1], "avx2");
    assert_int_equal(cpu->cpu->numa_nodes[0]->memory_bytes_total, 1024);
    assert_int_equal(cpu->cpu->affinity_count, 4);
    const rp_device *cuda = rp_snapshot_device(snapshot, 1);
    assert_false(cuda->available);
    assert_false(cuda->simulated);
    assert_null(cuda->name);
    assert_null(cuda->cpu);
    assert_int_equal(cuda->memory_bytes_total, RP_UNKNOWN_U64);
    assert_string_equal(cuda->reason, "lost");
    const rp_accelerator *accelerator = cuda->accelerator;
    assert_string_equal(accelerator->pci_address, "0000:65:00.0");
    assert_int_equal(accelerator->numa_node, 1);
    assert_int_equal(accelerator->has_tensor_cores, RP_ANSWER_YES);
    assert_int_equal(accelerator->is_integrated, RP_ANSWER_NO);
    assert_string_equal(accelerator->precisions[1], "bf16");
    assert_non_null(accelerator->throttle_reasons);
    assert_int_equal(accelerator->throttle_reason_count, 0);
    assert_string_equal(accelerator->slices[0]->profile, "1g.10gb");
    assert_int_equal(accelerator->processes[0]->pid, 7);
    assert_null(rp_snapshot_device(snapshot, 2));
    assert_int_equal(rp_snapshot_absent_count(snapshot), 1);
    assert_int_equal(rp_snapshot_absent(snapshot, 0)->kind, RP_DEVICE_TPU);
    assert_string_equal(rp_snapshot_absent(snapshot, 0)->reason, "none");
    assert_true(rp_snapshot_absent(snapshot, 0)->unprobed);
    assert_string_equal(rp_snapshot_absent(snapshot, 0)->hint, "look");
    assert_null(rp_snapshot_absent(snapshot, 1));
    assert_string_equal(rp_snapshot_note(snapshot, 0), "a note");
    assert_null(rp_snapshot_note(snapshot, 1));
    assert_true(rp_snapshot_detect_ms(snapshot) > 0.6);
    assert_true(rp_snapshot_probe_ms(snapshot, RP_DEVICE_CPU) > 0);
    assert_true(rp_snapshot_probe_ms(snapshot, RP_DEVICE_TPU) < 0);
    assert_true(rp_snapshot_probe_ms(snapshot, (rp_device_kind)99) < 0);
    rp_snapshot_release(snapshot);
}

static void every_row_of_an_accelerator_is_copied_and_none_known_at_first(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(parse(whole, &snapshot, &err));
    struct rp_snapshot *other = rp_snapshot_create();
    rp_device *device = rp_snapshot_copy_device(other, rp_snapshot_device(snapshot, 1));
    assert_ok(rp_snapshot_add_device(other, device, &err));
    char *json = NULL;
    assert_ok(rp_snapshot_to_json(snapshot, 0, &json, &err));
    char *from = strstr(json, "{\"type\":\"gpu\"");
    *strstr(from, "}}]") = '\0';
    char *object = rp_strdup(from);
    rp_string_free(json);
    rp_snapshot_release(snapshot); /* the copy must not lean on it */
    assert_ok(rp_snapshot_to_json(other, 0, &json, &err));
    assert_non_null(strstr(json, object));
    rp_string_free(json);
    rp_free(object);
    device->accelerator = rp_snapshot_new_accelerator(other);
    assert_ok(rp_snapshot_to_json(other, 0, &json, &err));
    assert_non_null(strstr(json, "\"accelerator\":{}"));
    rp_string_free(json);
    rp_snapshot_release(other);
}

static void devices_are_found_by_id_or_kind(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(parse(whole, &snapshot, &err));
    const rp_device *cpu = rp_snapshot_device(snapshot, 0);
    const rp_device *cuda = rp_snapshot_device(snapshot, 1);
    assert_ptr_equal(rp_snapshot_find_device(snapshot, "cpu"), cpu);
    assert_ptr_equal(rp_snapshot_find_device(snapshot, "cpu:0"), cpu);
    assert_ptr_equal(rp_snapshot_find_device(snapshot, "cuda"), cuda);
    assert_ptr_equal(rp_snapshot_find_device(snapshot, "cuda:0"), cuda);
    static const char *const none[] = {"", "cuda:1", "cpu:1", "rocm", "CPU", ":0", "cuda:0:0"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        if (rp_snapshot_find_device(snapshot, none[i])) fail_msg("'%s' was found", none[i]);
    }
    assert_null(rp_snapshot_find_device(snapshot, NULL));
    rp_snapshot_release(snapshot);
}

static void what_is_written_reads_back_as_the_same(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    char *first = NULL;
    char *second = NULL;
    int64_t before = rp_memory_live_count();
    assert_ok(parse(whole, &snapshot, &err));
    assert_ok(rp_snapshot_to_json(snapshot, 0, &first, &err));
    rp_snapshot_release(snapshot);
    assert_string_equal(first, with("A \\u00e9 CPU", "A \xC3\xA9 CPU"));
    for (int indent = 1; indent <= 8; indent++) {
        assert_ok(parse(first, &snapshot, &err));
        assert_ok(rp_snapshot_to_json(snapshot, indent, &second, &err));
        rp_snapshot_release(snapshot);
        assert_ok(parse(second, &snapshot, &err));
        rp_string_free(second);
        assert_ok(rp_snapshot_to_json(snapshot, 0, &second, &err));
        rp_snapshot_release(snapshot);
        assert_string_equal(second, first);
        rp_string_free(second);
    }
    rp_string_free(first);
    assert_int_equal(rp_memory_live_count(), before);
}

static void a_share_keeps_a_snapshot_alive(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    int64_t before = rp_memory_live_count();
    assert_ok(parse(whole, &snapshot, &err));
    assert_ptr_equal(rp_snapshot_acquire(snapshot), snapshot);
    rp_snapshot_release(snapshot);
    assert_string_equal(rp_snapshot_device(snapshot, 1)->id, "cuda:0");
    rp_snapshot_release(snapshot);
    rp_snapshot_release(NULL);
    assert_int_equal(rp_memory_live_count(), before);
}

static void keys_of_a_newer_writer_are_ignored(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(parse(with("\"generation\":7", "\"_comment\":[{\"x\":1}],\"later\":null"), &snapshot,
                    &err));
    assert_int_equal(rp_snapshot_generation(snapshot), 1);
    rp_snapshot_release(snapshot);
    assert_ok(
        parse("{\"version\":1,\"devices\":[{\"id\":\"cuda:a\",\"kind\":\"cuda\",\"gpu\":{}}]}",
              &snapshot, &err));
    const rp_device *device = rp_snapshot_device(snapshot, 0);
    assert_true(device->available);
    assert_int_equal(device->memory_bytes_total, RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
}

/* One wrong thing each, and what the message says of it. */
static const struct {
    const char *part;
    const char *other;
    const char *says;
} wrongs[] = {
    {"\"version\":1", "\"version\":\"1\"", "version: a string, not a whole number"},
    {"\"version\":1", "\"version\":null", "version: missing"},
    {"\"version\":1", "\"x\":1", "version: missing"},
    {"\"version\":1", "\"version\":1.5", "version: a number with a fraction, not a whole number"},
    {"\"generation\":7", "\"generation\":true", "generation: a truth value, not a whole number"},
    {"\"generation\":7", "\"generation\":-1", "generation: -1 is not from 0 to"},
    {"\"simulated\":true,\"devices\"", "\"simulated\":1,\"devices\"",
     "simulated: a whole number, not true or false"},
    {"\"devices\":[", "\"devices\":3,\"x\":[", "devices: a whole number, not an array"},
    {"\"devices\":[", "\"devices\":null,\"x\":[", "devices: missing"},
    {"\"devices\":[", "\"devices\":[3,", "devices[0]: a whole number, not an object"},
    {"\"devices\":[", "\"devices\":[null,", "devices[0]: null, not an object"},
    {"\"id\":\"cpu\"", "\"id\":[]", "devices[0].id: an array, not a string"},
    {"\"id\":\"cpu\"", "\"x\":1", "devices[0].id: missing"},
    {"\"id\":\"cpu\"", "\"id\":\"cuda:0\"", "devices[0].id: 'cuda:0' is not 'cpu' or 'cpu:'"},
    {"\"id\":\"cpu\"", "\"id\":\"cpu:\"", "devices[0].id"},
    {"\"id\":\"cpu\"", "\"id\":\"cpu:a b\"", "devices[0].id"},
    {"\"id\":\"cpu\"", "\"id\":\"cpux\"", "devices[0].id"},
    {"\"id\":\"cpu\"",
     "\"id\":\"cpu:0123456789012345678901234567890123456789012345678901234567890123\"",
     "devices[0].id"},
    {"\"kind\":\"cpu\"", "\"kind\":\"npu\"", "devices[0].kind: 'npu' is no kind of device"},
    {"\"kind\":\"cpu\"", "\"kind\":{}", "devices[0].kind: an object, not a string"},
    {"\"kind\":\"cpu\"", "\"x\":0", "devices[0].kind: missing"},
    {"\"name\":\"A \\u00e9 CPU\"", "\"name\":4", "devices[0].name: a whole number, not a string"},
    {"A \\u00e9 CPU", "A\\u001b[2J", "devices[0].name: a control character at byte 1"},
    {"A \\u00e9 CPU", "\\u0085", "devices[0].name: a control character at byte 0"},
    {"\"available\":true", "\"available\":\"yes\"",
     "devices[0].available: a string, not true or false"},
    {"\"simulated\":true,\"memory", "\"simulated\":0,\"memory", "devices[0].simulated: a whole"},
    {"9223372036854775807", "\"9\"", "devices[0].memory_bytes_total: a string, not a whole number"},
    {"9223372036854775807", "1e3", "devices[0].memory_bytes_total: a number with a fraction"},
    {"9223372036854775807", "9223372036854775808", "line 1, column"},
    {"\"memory_bytes_free\":0", "\"memory_bytes_free\":-5",
     "devices[0].memory_bytes_free: -5 is not from 0 to 9223372036854775807"},
    {"\"cpu\":{", "\"cpu\":4,\"x\":{", "devices[0].cpu: a whole number, not an object"},
    {"\"architecture\":\"x86_64\"", "\"architecture\":1", "devices[0].cpu.architecture: a whole"},
    {"[\"avx\",\"avx2\"]", "\"avx\"", "devices[0].cpu.features: a string, not an array"},
    {"[\"avx\",\"avx2\"]", "[\"avx\",2]",
     "devices[0].cpu.features[1]: a whole number, not a string"},
    {"\"avx2\"", "\"012345678901234567890123456789012345678901234567890123456789abcd\"",
     "devices[0].cpu.features[1]: 64 bytes long, fewer than 64"},
    {"\"logical_count\":4", "\"logical_count\":\"4\"", "devices[0].cpu.logical_count: a string"},
    {"\"logical_count\":4", "\"logical_count\":4294967295",
     "devices[0].cpu.logical_count: 4294967295 is not from 0 to 4294967294"},
    {"\"physical_count\":2", "\"physical_count\":[]", "devices[0].cpu.physical_count: an array"},
    {"\"socket_count\":1", "\"socket_count\":{}", "devices[0].cpu.socket_count: an object"},
    {"\"numa_count\":1", "\"numa_count\":1.0", "devices[0].cpu.numa_count: a number with"},
    {"\"numa_nodes\":[", "\"numa_nodes\":1,\"x\":[", "devices[0].cpu.numa_nodes: a whole number"},
    {"\"numa_nodes\":[", "\"numa_nodes\":[1,", "devices[0].cpu.numa_nodes[0]: a whole number"},
    {"\"index\":0", "\"index\":\"0\"", "devices[0].cpu.numa_nodes[0].index: a string"},
    {"\"memory_bytes_total\":1024", "\"memory_bytes_total\":true",
     "devices[0].cpu.numa_nodes[0].memory_bytes_total: a truth value"},
    {"\"affinity\":\"0-2,5\"", "\"affinity\":3", "devices[0].cpu.affinity: a whole number"},
    {"\"affinity\":\"0-2,5\"", "\"affinity\":\"5-1\"", "'5-1' is no list of processors"},
    {"\"affinity\":\"0-2,5\"", "\"affinity\":\"\"", "is no list of processors"},
    {"\"affinity_count\":4", "\"affinity_count\":5",
     "devices[0].cpu.affinity_count: 5, but 'affinity' lists 4"},
    {"\"memory_limit_bytes\":1024", "\"memory_limit_bytes\":\"\"",
     "devices[0].cpu.memory_limit_bytes: a string"},
    {"\"memory_limit_source\":\"machine\"", "\"memory_limit_source\":false",
     "devices[0].cpu.memory_limit_source: a truth value, not a string"},
    {"\"machine_memory_bytes_total\":4096", "\"machine_memory_bytes_total\":[]",
     "devices[0].cpu.machine_memory_bytes_total: an array"},
    {"\"id\":\"cuda:0\",\"kind\":\"cuda\"", "\"id\":\"cpu\",\"kind\":\"cpu\"",
     "devices[1].id: 'cpu' stands for an earlier device already"},
    {"\"id\":\"cuda:0\"", "\"id\":\"cuda:0\",\"cpu\":{}",
     "devices[1].cpu: only a device of kind 'cpu' has one"},
    {"\"absent\":[", "\"absent\":{},\"x\":[", "absent: an object, not an array"},
    {"\"absent\":[", "\"absent\":[\"tpu\",", "absent[0]: a string, not an object"},
    {"\"kind\":\"tpu\"", "\"kind\":\"x\"", "absent[0].kind: 'x' is no kind"},
    {"\"reason\":\"none\"", "\"reason\":5", "absent[0].reason: a whole number, not a string"},
    {"\"reason\":\"none\"", "\"x\":5", "absent[0].reason: missing"},
    {"\"notes\":[", "\"notes\":7,\"x\":[", "notes: a whole number, not an array"},
    {"\"a note\"", "null", "notes[0]: null, not a string"},
    {"\"detect_ms\":0.61", "\"detect_ms\":\"fast\"", "detect_ms: a string, not a number"},
    {"\"detect_ms\":0.61", "\"detect_ms\":-0.5", "detect_ms: -0.5 is no duration"},
    {"\"detect_ms\":0.61", "\"detect_ms\":1e300", "detect_ms: 1e+300 is no duration"},
    {"\"probe_ms\":{", "\"probe_ms\":[],\"x\":{", "probe_ms: an array, not an object"},
    {"\"cpu\":0.1", "\"cpu\":[]", "probe_ms.cpu: an array, not a number"},
    {"\"generation\":7", "\"version\":1", "duplicate object key"},
    {"\"name\":null", "\"id\":\"cuda:0\"", "duplicate object key"},
    {"A \\u00e9 CPU", "\xC3", "line 1"},
    {"A \\u00e9 CPU", "\\u0000", "line 1"},
    {"A \\u00e9 CPU", "\\ud800", "line 1"},
};

static void each_wrong_thing_is_named_by_its_place(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        rp_status status = parse(with(wrongs[i].part, wrongs[i].other), &snapshot, &err);
        if (status != RP_ERR_DATA) {
            fail_msg("'%s' for '%s': %s", wrongs[i].other, wrongs[i].part, rp_status_name(status));
        }
        assert_null(snapshot);
        assert_says(err.message, wrongs[i].says);
        assert_says(err.message, "'test.json': ");
        assert_int_equal(rp_memory_live_count(), before);
    }
}

static void another_version_of_the_schema_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_status(parse(with("\"version\":1", "\"version\":2"), &snapshot, &err),
                  RP_ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "'test.json': version 2 of a snapshot, this library reads version 1");
}

static void a_snapshot_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        /* A copy of exactly that many bytes: a read beyond them is seen by the sanitizer. */
        char *cut = rp_memdup(whole, length);
        rp_status status = rp_snapshot_from_json(cut, length, NULL, &snapshot, &err);
        rp_free(cut);
        if (status != RP_ERR_DATA) fail_msg("%zu bytes: %s", length, rp_status_name(status));
        assert_says(err.message, "'snapshot': line 1");
    }
    assert_int_equal(rp_memory_live_count(), before);
}

static void depth_size_and_counts_have_limits(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    struct rp_text text = RP_TEXT_INIT;
    for (int i = 0; i < 1000000; i++) {
        rp_text_append(&text, "[", 1);
    }
    assert_status(parse(text.bytes, &snapshot, &err), RP_ERR_DATA);
    assert_says(err.message, "depth");
    rp_text_fini(&text);

    rp_text_print(&text, "{\"version\":1,\"devices\":[],\"x\":\"%*s\"}", 5 << 20, "");
    assert_status(parse(text.bytes, &snapshot, &err), RP_ERR_LIMIT);
    rp_text_fini(&text);

    rp_text_print(&text, "{\"version\":1,\"devices\":[");
    for (int i = 0; i <= RP_LIMIT_DEVICES; i++) {
        rp_text_print(&text, "%s{\"id\":\"cuda:%d\",\"kind\":\"cuda\"}", i ? "," : "", i);
    }
    rp_text_print(&text, "]}");
    assert_status(parse(text.bytes, &snapshot, &err), RP_ERR_DATA);
    assert_says(err.message, "devices: 1025 elements, at most 1024 are allowed");
    rp_text_fini(&text);

    rp_text_print(&text,
                  "{\"version\":1,\"devices\":[],\"absent\":[{\"kind\":\"tpu\",\"reason\":"
                  "\"%0*d\"}]}",
                  RP_LIMIT_SNAPSHOT_TEXT_BYTES, 0);
    assert_status(parse(text.bytes, &snapshot, &err), RP_ERR_DATA);
    assert_says(err.message, "absent[0].reason: 65536 bytes long, fewer than 65536");
    rp_text_fini(&text);
}

static void the_largest_snapshot_reads_back(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    struct rp_text text = RP_TEXT_INIT;
    rp_text_print(&text, "{\"version\":1,\"devices\":[");
    for (int i = 0; i < RP_LIMIT_DEVICES; i++) {
        rp_text_print(&text, "%s{\"id\":\"cuda:%d\",\"kind\":\"cuda\"}", i ? "," : "", i);
    }
    rp_text_print(&text, "]}");
    assert_ok(parse(text.bytes, &snapshot, &err));
    assert_int_equal(rp_snapshot_device_count(snapshot), RP_LIMIT_DEVICES);
    assert_string_equal(rp_snapshot_device(snapshot, 1023)->id, "cuda:1023");
    char *json = NULL;
    assert_ok(rp_snapshot_to_json(snapshot, 8, &json, &err));
    rp_snapshot_release(snapshot);
    assert_ok(parse(json, &snapshot, &err));
    rp_snapshot_release(snapshot);
    rp_string_free(json);
    rp_text_fini(&text);
}

static void notes_beyond_the_limit_say_so(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    for (int i = 0; i < RP_LIMIT_SNAPSHOT_NOTES + 5; i++) {
        assert_ok(rp_snapshot_add_note(snapshot, &err, "note %d\x1b", i));
    }
    assert_int_equal(rp_snapshot_note_count(snapshot), RP_LIMIT_SNAPSHOT_NOTES);
    assert_string_equal(rp_snapshot_note(snapshot, 0), "note 0?");
    assert_says(rp_snapshot_note(snapshot, RP_LIMIT_SNAPSHOT_NOTES - 1), "more was met");
    rp_snapshot_release(snapshot);
}

static void misuse_is_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    char *json = NULL;
    assert_status(rp_snapshot_from_json(NULL, 0, NULL, &snapshot, &err), RP_ERR_ARGUMENT);
    assert_status(rp_snapshot_from_json(whole, sizeof whole - 1, NULL, NULL, &err),
                  RP_ERR_ARGUMENT);
    assert_ok(parse(whole, &snapshot, &err));
    assert_status(rp_snapshot_to_json(snapshot, -1, &json, &err), RP_ERR_ARGUMENT);
    assert_status(rp_snapshot_to_json(snapshot, 9, &json, &err), RP_ERR_ARGUMENT);
    assert_status(rp_snapshot_to_json(snapshot, 0, NULL, &err), RP_ERR_ARGUMENT);
    assert_status(rp_snapshot_to_json(NULL, 0, &json, &err), RP_ERR_ARGUMENT);
    rp_snapshot_release(snapshot);
    rp_string_free(NULL);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        const rp_snapshot *snapshot = NULL;
        char *json = NULL;
        rp_memory_fail_at(n);
        rp_status status = parse(whole, &snapshot, &err);
        if (status == RP_OK) status = rp_snapshot_to_json(snapshot, 2, &json, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_snapshot_release(snapshot);
        rp_string_free(json);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 100);
            return;
        }
        /*
         * jansson takes a string that it has no memory for as damaged, and loses a byte of it when
         * its buffer cannot grow. What is ours must neither crash nor leak then.
         */
        bool is_told = status == RP_ERR_MEMORY || status == RP_ERR_DATA;
        assert_true(is_told || status == RP_OK);
        assert_int_equal(err.status, status);
    }
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_names_and_names_kinds),
        cmocka_unit_test(a_snapshot_is_read_field_by_field),
        cmocka_unit_test(every_row_of_an_accelerator_is_copied_and_none_known_at_first),
        cmocka_unit_test(devices_are_found_by_id_or_kind),
        cmocka_unit_test(what_is_written_reads_back_as_the_same),
        cmocka_unit_test(a_share_keeps_a_snapshot_alive),
        cmocka_unit_test(keys_of_a_newer_writer_are_ignored),
        cmocka_unit_test(each_wrong_thing_is_named_by_its_place),
        cmocka_unit_test(another_version_of_the_schema_is_refused),
        cmocka_unit_test(a_snapshot_cut_at_any_byte_is_refused),
        cmocka_unit_test(depth_size_and_counts_have_limits),
        cmocka_unit_test(the_largest_snapshot_reads_back),
        cmocka_unit_test(notes_beyond_the_limit_say_so),
        cmocka_unit_test(misuse_is_told),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
