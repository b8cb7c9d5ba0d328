/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/kept_text.h"

#include "base/memory.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct rp_own_names nobody;

/* What is kept; the caller frees it. */
static char *kept(const char *text, size_t length, uint64_t mark, uint64_t *left_out) {
    struct rp_text out = RP_TEXT_INIT;
    rp_keep_text(text, length, mark, &nobody, &out, left_out);
    assert_false(out.failed);
    if (!out.bytes) return rp_strdup("");
    assert_int_equal(strlen(out.bytes), out.length);
    assert_int_equal(rp_text_utf8_error_at(out.bytes, out.length), out.length);
    return out.bytes;
}

static void assert_kept(const char *text, size_t length, const char *expected) {
    uint64_t left_out = 1;
    char *out = kept(text, length, 0, &left_out);
    assert_string_equal(out, expected);
    assert_int_equal(left_out, 0);
    rp_free(out);
}

#define ASSERT_KEPT(text, expected) assert_kept(text, sizeof(text) - 1, expected)

static void a_short_text_is_kept_clean(void **state) {
    (void)state;
    ASSERT_KEPT("", "");
    ASSERT_KEPT("plain\ttext\n", "plain\ttext\n");
    ASSERT_KEPT("a\r\nb\rc", "a\nb\nc");
    ASSERT_KEPT("\x1B[31mred\x1B[0m \x1B]0;title\agone \x1B(B\x1B", "red gone ");
    ASSERT_KEPT("nul\0 bad\xFF\xC3 \xC3\xA9 c1\xC2\x85", "nul? bad?? \xC3\xA9 c1?");
    ASSERT_KEPT("password=\x1B[1mhunter2", "password=<secret>");
}

static void utf16_is_read(void **state) {
    (void)state;
    char wide[256];
    static const char text[] = "token hf_AbCdEfGhIjKlMnO9 \r\nx";
    size_t length = 0;
    wide[length++] = '\xFF';
    wide[length++] = '\xFE';
    for (size_t i = 0; text[i]; i++) {
        wide[length++] = text[i];
        wide[length++] = '\0';
    }
    memcpy(wide + length, "\x3D\xD8\x00\xDE", 4); /* U+1F600 */
    length += 4;
    memcpy(wide + length, "\x3D\xD8", 2); /* half of one */
    length += 2;
    assert_kept(wide, length, "token <token> \nx\xF0\x9F\x98\x80?");
    assert_kept(wide + 2, 40, "token hf_AbCdEfGhIjK"); /* without a mark of its order */
}

/* A text of numbered lines. */
static char *numbered(size_t length) {
    char *text = rp_alloc(length + 64);
    size_t at = 0;
    for (unsigned line = 0; at < length; line++) {
        at +=
            (size_t)snprintf(text + at, 64, "line %08u of many, that says nothing at all\n", line);
    }
    text[length] = '\0';
    return text;
}

/* The sum of what the lines in brackets say, and what else is there. */
static uint64_t told_as_left(const char *text, size_t *told_bytes) {
    uint64_t sum = 0;
    *told_bytes = 0;
    for (const char *at = text; (at = strstr(at, "[... ")) != NULL; at++) {
        sum += strtoull(at + 5, NULL, 10);
        const char *end = strchr(at, '\n');
        *told_bytes += (size_t)(end + 1 - at);
    }
    return sum;
}

static void a_long_text_keeps_beginning_cause_and_end(void **state) {
    (void)state;
    static const size_t lengths[] = {70 << 10, 200 << 10, (1 << 20) + 1, 9 << 20};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *text = numbered(lengths[i]);
        for (size_t tenth = 0; tenth <= 10; tenth++) {
            size_t cause = (lengths[i] - 20) / 10 * tenth;
            char under[16];
            memcpy(under, text + cause, sizeof under);
            memcpy(text + cause, "THE CAUSE IT IS!", sizeof under);
            uint64_t left_out = 0;
            char *out = kept(text, lengths[i], cause, &left_out);
            size_t told_bytes = 0;
            assert_int_equal(told_as_left(out, &told_bytes), left_out);
            assert_true(strlen(out) <= RP_KEPT_TEXT_BYTES + 4096);
            assert_true(strlen(out) >= RP_KEPT_TEXT_BYTES / 2);
            /* Nothing of this text is redacted: what is there and what is not are all of it. */
            assert_int_equal(strlen(out) - told_bytes + left_out, lengths[i]);
            assert_non_null(strstr(out, "THE CAUSE IT IS!"));
            assert_memory_equal(out, text, 16 << 10);
            size_t tail = 16 << 10;
            if (memcmp(out + strlen(out) - tail, text + lengths[i] - tail, tail) != 0) {
                fail_msg("another end of %zu bytes, cause at %zu: '%.200s'", lengths[i], cause,
                         out + strlen(out) - 200);
            }
            rp_free(out);
            memcpy(text + cause, under, sizeof under);
        }
        rp_free(text);
    }
}

static void a_secret_at_a_cut_is_not_kept(void **state) {
    (void)state;
    enum { LENGTH = 3 << 20 };
    static const char secret[] = " password=hunter2hunter2 ";
    char *text = rp_alloc(LENGTH + 1);
    for (size_t at = 0; at < LENGTH; at++) {
        text[at] = secret[at % (sizeof secret - 1)];
    }
    for (size_t mark = 0; mark < LENGTH; mark += LENGTH / 7 + 1) {
        uint64_t left_out = 0;
        char *out = kept(text, LENGTH, mark, &left_out);
        assert_null(strstr(out, "hunter"));
        rp_free(out);
    }
    rp_free(text);
}

/* A cause at 256 KiB from either end, with a secret in front of it. */
static void a_secret_at_the_border_of_a_window_is_seen(void **state) {
    (void)state;
    enum { LENGTH = (2 << 20) + 1, WINDOW = 256 << 10 };
    static const char secret[] = "\npassword=hunter2hunter2hunter2\n";
    static const size_t borders[] = {WINDOW, LENGTH - WINDOW};
    for (size_t i = 0; i < 2; i++) {
        for (size_t back = 0; back < sizeof secret; back++) {
            char *text = numbered(LENGTH);
            size_t at = borders[i] - back;
            uint64_t left_out = 0;
            memcpy(text + at, secret, sizeof secret - 1);
            char *out = kept(text, LENGTH, at + sizeof secret, &left_out);
            assert_null(strstr(out, "hunter2"));
            assert_non_null(strstr(out, "password=<secret>"));
            rp_free(out);
            rp_free(text);
        }
    }
}

static void text_without_lines_is_cut_at_characters(void **state) {
    (void)state;
    enum { LENGTH = 3 * 100000 };
    char *text = rp_alloc(LENGTH + 1);
    for (size_t at = 0; at < LENGTH; at += 3) {
        memcpy(text + at, "\xE2\x82\xAC", 3);
    }
    uint64_t left_out = 0;
    char *out = kept(text, LENGTH, LENGTH / 2, &left_out);
    assert_null(strchr(out, '?'));
    assert_true(left_out > 0 && strlen(out) < RP_KEPT_TEXT_BYTES + 4096);
    rp_free(out);
    rp_free(text);
}

static void without_memory_it_says_so(void **state) {
    (void)state;
    char *text = numbered(100 << 10);
    int64_t live = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        struct rp_text out = RP_TEXT_INIT;
        uint64_t left_out;
        rp_memory_fail_at(n);
        rp_keep_text(text, 100 << 10, 50 << 10, &nobody, &out, &left_out);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(out.failed, !pending);
        rp_text_fini(&out);
        assert_int_equal(rp_memory_live_count(), live);
        if (pending) break;
    }
    rp_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_text_is_kept_clean),
        cmocka_unit_test(utf16_is_read),
        cmocka_unit_test(a_long_text_keeps_beginning_cause_and_end),
        cmocka_unit_test(a_secret_at_a_cut_is_not_kept),
        cmocka_unit_test(a_secret_at_the_border_of_a_window_is_seen),
        cmocka_unit_test(text_without_lines_is_cut_at_characters),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
