/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/protocol.h"

#include "base/limits.h"
#include "base/memory.h"
#include "machine/channel.h"

#include "../../tests/test.h"

#include <resourcepool/statistics.h>
#include <stdio.h>
#include <stdlib.h>

static rp_error err;
static uint8_t frame[RP_CHANNEL_FRAME_BYTES_MAX];
static uint8_t again[RP_CHANNEL_FRAME_BYTES_MAX];

static const struct rp_message acquire = {
    .type = RP_MESSAGE_ACQUIRE,
    .number = 77,
    .acquire = {.kind = RP_KIND_MODEL,
                .threads = 2,
                .timeout_ms = 1234,
                .memory_bytes = UINT64_C(1) << 40,
                .thread = 4711,
                .resource_type = "embedding",
                .name = "/models/\xC3\xA9.onnx",
                .device = "cpu",
                .engine = ""},
};

static void what_is_written_can_be_read(void **state) {
    (void)state;
    size_t bytes = 0;
    struct rp_message read;
    assert_ok(rp_frame_write(&acquire, frame, &bytes, &err));
    assert_memory_equal(frame, "1RPM", 4);
    assert_ok(rp_frame_parse(frame, bytes, &read, &err));
    assert_int_equal(read.type, RP_MESSAGE_ACQUIRE);
    assert_int_equal(read.version, RP_FRAME_VERSION);
    assert_int_equal(read.number, 77);
    assert_int_equal(read.acquire.threads, 2);
    assert_int_equal(read.acquire.timeout_ms, 1234);
    assert_true(read.acquire.memory_bytes == UINT64_C(1) << 40);
    assert_int_equal(read.acquire.thread, 4711);
    assert_string_equal(read.acquire.name, acquire.acquire.name);
    assert_null(read.acquire.path);
    assert_string_equal(read.acquire.engine, "");
}

/* Every type, with whatever its fields are when they are zero or short texts. */
static void every_type_survives_the_way_there_and_back(void **state) {
    (void)state;
#define WRITE_AND_READ(constant, number_, name, fds_min, fds_max)                                  \
    {                                                                                              \
        struct rp_message message = {.type = RP_MESSAGE_##constant, .number = number_};            \
        size_t bytes = 0;                                                                          \
        rp_status status = rp_frame_write(&message, frame, &bytes, &err);                          \
        if (status == RP_OK) {                                                                     \
            struct rp_message read;                                                                \
            size_t bytes_again = 0;                                                                \
            assert_ok(rp_frame_parse(frame, bytes, &read, &err));                                  \
            assert_ok(rp_frame_write(&read, again, &bytes_again, &err));                           \
            assert_int_equal(bytes, bytes_again);                                                  \
            assert_memory_equal(frame, again, bytes);                                              \
        } else {                                                                                   \
            assert_int_equal(status, RP_ERR_ARGUMENT);                                             \
            assert_says(err.message, "lacks a text");                                              \
        }                                                                                          \
        assert_string_equal(rp_message_name(number_), name);                                       \
        assert_true(rp_message_allows_descriptors(number_, fds_max));                              \
        assert_false(rp_message_allows_descriptors(number_, (fds_max) + 1));                       \
    }
    RP_MESSAGE_MAP(WRITE_AND_READ)
#undef WRITE_AND_READ
    assert_string_equal(rp_message_name(999), "unknown");
    assert_false(rp_message_allows_descriptors(999, 0));
}

static void a_frame_that_is_cut_or_longer_is_none(void **state) {
    (void)state;
    size_t bytes = 0;
    struct rp_message read = {.type = 0};
    assert_ok(rp_frame_write(&acquire, frame, &bytes, &err));
    for (size_t cut = 0; cut < bytes; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, frame, cut);
        assert_status(rp_frame_parse(exact, cut, &read, &err), RP_ERR_DATA);
        if (cut >= RP_FRAME_HEADER_BYTES) {
            exact[8] = (uint8_t)cut; /* even if it says that it is so long */
            assert_status(rp_frame_parse(exact, cut, &read, &err), RP_ERR_DATA);
        }
        free(exact);
    }
    frame[bytes] = 0;
    frame[8] = (uint8_t)(bytes + 1);
    assert_status(rp_frame_parse(frame, bytes + 1, &read, &err), RP_ERR_DATA);
    assert_says(err.message, "too long");
    assert_int_equal(read.type, 0);
}

static void damaged_texts_are_seen(void **state) {
    (void)state;
    struct rp_message message = {.type = RP_MESSAGE_EVICT, .evict = {"abc", 1}};
    struct rp_message read;
    size_t bytes = 0;
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    enum { TEXT_AT = RP_FRAME_HEADER_BYTES + 4 };
    static const struct {
        size_t at;
        uint8_t value;
    } damages[] = {
        {TEXT_AT + 1, 0},                  /* ends early */
        {TEXT_AT + 3, 'd'},                /* does not end */
        {TEXT_AT, 0xFF},                   /* not UTF-8 */
        {RP_FRAME_HEADER_BYTES, 2},        /* shorter than it is */
        {RP_FRAME_HEADER_BYTES + 3, 0x7F}, /* two billion bytes */
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint8_t kept = frame[damages[i].at];
        frame[damages[i].at] = damages[i].value;
        assert_status(rp_frame_parse(frame, bytes, &read, &err), RP_ERR_DATA);
        frame[damages[i].at] = kept;
    }
    memset(frame + RP_FRAME_HEADER_BYTES, 0xFF, 4); /* absent, where it must not be */
    assert_status(rp_frame_parse(frame, bytes, &read, &err), RP_ERR_DATA);
}

static void a_text_over_its_limit_is_not_sent(void **state) {
    (void)state;
    static char name[RP_LIMIT_NAME_BYTES + 1];
    memset(name, 'n', RP_LIMIT_NAME_BYTES);
    struct rp_message message = acquire;
    size_t bytes = 0;
    message.acquire.name = name;
    assert_status(rp_frame_write(&message, frame, &bytes, &err), RP_ERR_LIMIT);
    name[RP_LIMIT_NAME_BYTES - 1] = '\0';
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    message.acquire.name = "\xFF";
    assert_status(rp_frame_write(&message, frame, &bytes, &err), RP_ERR_ARGUMENT);
    static char large[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_message text = {.type = RP_MESSAGE_TEXT, .text = {0, {large, sizeof large}}};
    assert_status(rp_frame_write(&text, frame, &bytes, &err), RP_ERR_LIMIT);
}

static void versions_understand_each_others_hello(void **state) {
    (void)state;
    struct rp_message message = {
        .type = RP_MESSAGE_HELLO, .version = 9, .number = 3, .hello = {9, 42, "pytest"}};
    struct rp_message read;
    size_t bytes = 0;
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_ok(rp_frame_parse(frame, bytes, &read, &err));
    assert_int_equal(read.version, 9);
    assert_string_equal(read.hello.command, "pytest");
    message = acquire;
    message.version = 9;
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_status(rp_frame_parse(frame, bytes, &read, &err), RP_ERR_UNSUPPORTED);
    assert_int_equal(read.number, 77);
}

static void an_error_travels_with_its_hint(void **state) {
    (void)state;
    rp_error sent = RP_ERROR_INIT;
    rp_error came = RP_ERROR_INIT;
    struct rp_message read;
    size_t bytes = 0;
    rp_fail(&sent, RP_ERR_CAPACITY, "no room for '%s'", "x");
    rp_hint(&sent, "release a lease");
    struct rp_message message = {.type = RP_MESSAGE_FAILED, .failed = rp_error_to_text(&sent)};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_ok(rp_frame_parse(frame, bytes, &read, &err));
    assert_int_equal(rp_error_from_text(&read.failed, &came), RP_ERR_CAPACITY);
    assert_string_equal(came.message, "no room for 'x'");
    assert_string_equal(came.hint, "release a lease");
    struct rp_error_text strange = {12345, 0, "?", NULL};
    assert_int_equal(rp_error_from_text(&strange, &came), RP_ERR_DATA);
    strange.status = RP_OK;
    assert_int_equal(rp_error_from_text(&strange, &came), RP_ERR_DATA);
}

static void ports_travel(void **state) {
    (void)state;
    struct rp_engine_ports ports = {0};
    struct rp_engine_ports came = {0};
    const int64_t shape[] = {-1, 384};
    const char *const names[] = {"batch", ""};
    assert_true(rp_engine_ports_make(&ports, 2));
    assert_true(rp_engine_ports_set(&ports, 0, "ids", "", (rp_dtype){0, 64, 1}, shape, 2, names));
    assert_true(
        rp_engine_ports_set(&ports, 1, "words", "string", (rp_dtype){0, 0, 0}, shape, 0, NULL));
    struct rp_text out = RP_TEXT_INIT;
    rp_ports_encode(&ports, &out);
    assert_false(out.failed);
    struct rp_bytes bytes = {out.bytes, (uint32_t)out.length};
    assert_ok(rp_ports_decode(&bytes, &came, &err));
    assert_int_equal(came.count, 2);
    assert_string_equal(came.ports[0].name, "ids");
    assert_string_equal(came.ports[0].type, "int64");
    assert_int_equal(came.ports[0].shape[0], -1);
    assert_int_equal(came.ports[0].shape[1], 384);
    assert_string_equal(came.ports[0].dim_names[0], "batch");
    assert_string_equal(came.ports[1].type, "string");
    rp_engine_ports_fini(&came);
    for (uint32_t cut = 0; cut < bytes.size; cut++) {
        struct rp_bytes part = {out.bytes, cut};
        assert_status(rp_ports_decode(&part, &came, &err), RP_ERR_DATA);
    }
    int64_t live = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_memory_fail_at(n);
        rp_status status = rp_ports_decode(&bytes, &came, &err);
        if (rp_memory_fail_pending()) {
            assert_int_equal(status, RP_OK);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_int_equal(rp_memory_live_count(), live);
    }
    rp_memory_fail_at(0);
    rp_engine_ports_fini(&came);
    rp_engine_ports_fini(&ports);
    rp_text_fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(every_type_survives_the_way_there_and_back),
        cmocka_unit_test(a_frame_that_is_cut_or_longer_is_none),
        cmocka_unit_test(damaged_texts_are_seen),
        cmocka_unit_test(a_text_over_its_limit_is_not_sent),
        cmocka_unit_test(versions_understand_each_others_hello),
        cmocka_unit_test(an_error_travels_with_its_hint),
        cmocka_unit_test(ports_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
