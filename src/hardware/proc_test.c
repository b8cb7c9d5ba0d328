/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/proc.h"

#include "base/limits.h"
#include "base/memory.h"

#include "../../tests/test.h"

#include <errno.h>
#include <resourcepool/hardware.h>
#include <stdlib.h>

static struct rp_span span(const char *text) {
    return (struct rp_span){text, strlen(text)};
}

static void lines_end_with_or_without_a_newline(void **state) {
    (void)state;
    struct rp_span rest = span("one\n\nthree");
    struct rp_span line;
    assert_true(rp_span_next_line(&rest, &line) && rp_span_is(line, "one"));
    assert_true(rp_span_next_line(&rest, &line) && rp_span_is(line, ""));
    assert_true(rp_span_next_line(&rest, &line) && rp_span_is(line, "three"));
    assert_false(rp_span_next_line(&rest, &line));
}

static void memory_is_read_from_its_line(void **state) {
    (void)state;
    const char *text = "MemTotalX: 9 kB\nMemTotal:      2048 kB\nMemAvailable:  1 kB\n";
    assert_int_equal(rp_proc_meminfo_bytes(span(text), "MemTotal:"), 2048 * 1024);
    assert_int_equal(rp_proc_meminfo_bytes(span(text), "MemAvailable:"), 1024);
    assert_int_equal(rp_proc_meminfo_bytes(span("Node 3 MemTotal: 7 kB\n"), "MemTotal:"), 7 * 1024);
    assert_int_equal(rp_proc_meminfo_bytes(span("MemTotal: 0 kB\n"), "MemTotal:"), 0);
}

static void damaged_memory_is_unknown_and_not_zero(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "MemTotal:",
        "MemTotal: kB",
        "MemTotal: 12",
        "MemTotal: 12 MB",
        "MemTotal: -12 kB",
        "MemTotal: 12x kB",
        "MemTotal: 99999999999999999999 kB",
        "MemTotal: 18014398509481984 kB", /* 2^64 bytes */
        "MemTotal: 9007199254740992 kB",  /* 2^63 bytes: more than JSON carries */
        "Node",
        "Node 0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rp_proc_meminfo_bytes(span(bad[i]), "MemTotal:") != RP_UNKNOWN_U64) {
            fail_msg("'%s' was taken as memory", bad[i]);
        }
    }
    assert_int_equal(rp_proc_stat_value(span("inactive_file 4096\n"), "inactive_file"), 4096);
    assert_int_equal(rp_proc_stat_value(span("inactive_file\n"), "inactive_file"), RP_UNKNOWN_U64);
    assert_int_equal(rp_proc_stat_value(span("x 1\n"), "inactive_file"), RP_UNKNOWN_U64);
}

static void a_list_of_processors_is_counted_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t count;
    } good[] = {{"0", 1},  {"0-3", 4}, {"0-3,8", 5},     {"0,2,4\n", 3}, {"", 0},
                {"\n", 0}, {"5-5", 1}, {"0-8191", 8192}, {"0007", 1}};
    uint32_t count = 99;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!rp_cpulist_count(span(good[i].text), &count)) fail_msg("'%s'", good[i].text);
        assert_int_equal(count, good[i].count);
    }
    static const char *const bad[] = {",",
                                      "0,",
                                      ",0",
                                      "3-1",
                                      "0-3,2",
                                      "0,0",
                                      "-1",
                                      "1-",
                                      "a",
                                      "0 1",
                                      "0--1",
                                      "8192",
                                      "0-8192",
                                      "0-18446744073709551615",
                                      "99999999999999999999",
                                      "0,,1"};
    count = 99;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rp_cpulist_count(span(bad[i]), &count)) fail_msg("'%s' was taken as a list", bad[i]);
    }
    assert_int_equal(count, 99);
}

static void cpuinfo_of_each_architecture_is_read(void **state) {
    (void)state;
    struct rp_cpuinfo info;
    rp_cpuinfo_parse(span("processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu lm\n\n"
                          "processor\t: 1\nmodel name\t: B\nflags\t\t: fpu\n\n"),
                     &info);
    assert_true(rp_span_is(info.name, "A CPU"));
    assert_true(rp_span_is(info.features, "fpu lm"));
    assert_string_equal(info.architecture, "x86_64");
    assert_int_equal(info.processor_count, 2);

    rp_cpuinfo_parse(span("processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
                          "CPU architecture: 8\nCPU part\t: 0xd0c\n"),
                     &info);
    assert_null(info.name.at);
    assert_true(rp_span_is(info.features, "fp asimd"));
    assert_true(rp_span_is(info.part, "0xd0c"));
    assert_string_equal(info.architecture, "aarch64");

    rp_cpuinfo_parse(span("flags : fpu sse\n"), &info);
    assert_null(info.architecture); /* 32 bits, or nothing that is known here */
    rp_cpuinfo_parse(span(":\n::\nmodel name:\nprocessor"), &info);
    assert_null(info.name.at);
    assert_int_equal(info.processor_count, 0);
}

static void a_file_that_cannot_be_read_is_an_answer(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_proc_file file;
    assert_ok(rp_proc_file_read(&file, SOURCE_ROOT "/tests/machines/plain", "/proc/nothing", &err));
    assert_null(file.bytes);
    assert_int_equal(file.os_errno, ENOENT);
    assert_ok(rp_proc_file_read_start(&file, SOURCE_ROOT "/tests/machines/plain", "/proc", &err));
    assert_null(file.bytes);
    assert_int_equal(file.os_errno, EISDIR);
    char *root = rp_alloc(4 * RP_LIMIT_NAME_BYTES);
    memset(root, 'r', 4 * RP_LIMIT_NAME_BYTES - 1);
    assert_ok(rp_proc_file_read(&file, root, "/proc/meminfo", &err));
    assert_int_equal(file.os_errno, ENAMETOOLONG);
    rp_free(root);
    assert_ok(rp_proc_file_read(&file, SOURCE_ROOT "/tests/machines/empty", "/proc/meminfo", &err));
    assert_non_null(file.bytes);
    assert_int_equal(file.length, 0);
    rp_proc_file_fini(&file);
}

static void only_the_start_of_a_large_file_is_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_proc_file file;
    assert_ok(rp_proc_file_read_start(&file, "", "/dev/zero", &err));
    assert_int_equal(file.length, 16 << 10);
    rp_proc_file_fini(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_or_without_a_newline),
        cmocka_unit_test(memory_is_read_from_its_line),
        cmocka_unit_test(damaged_memory_is_unknown_and_not_zero),
        cmocka_unit_test(a_list_of_processors_is_counted_or_refused),
        cmocka_unit_test(cpuinfo_of_each_architecture_is_read),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_answer),
        cmocka_unit_test(only_the_start_of_a_large_file_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
