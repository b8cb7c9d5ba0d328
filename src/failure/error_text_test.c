/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/error_text.h"

#include "base/memory.h"
#include "base/text.h"

#include "../../tests/test.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEN_BYTES_MAX = 1 << 16, LINES_MAX = 400, BIG_BYTES = 10 << 20 };

/* What came: "M RuntimeError: x\n" for each line, and where. */
struct seen {
    char told[SEEN_BYTES_MAX];
    size_t told_length;
    size_t count;
    unsigned blocks[LINES_MAX];
    uint64_t starts[LINES_MAX];
    uint64_t ends[LINES_MAX]; /* behind the last character */
    const char *input;
    size_t input_length;
    unsigned depths[RP_ERROR_BLOCKS_MAX];
    unsigned block_count;
    uint64_t end;
    uint64_t bytes_told;
};

static struct seen seen;

static void check_line(const struct rp_error_line *line) {
    assert_int_equal(rp_text_utf8_error_at(line->text, line->length), line->length);
    assert_int_equal(rp_text_control_at(line->text, line->length), line->length);
    assert_true(line->length <= RP_ERROR_LINE_BYTES);
    assert_int_equal(line->number, seen.count + 1);
    assert_true(line->start >= seen.end);
    seen.end = line->start + (line->from ? line->from[line->length] : line->length);
    assert_true(seen.end <= seen.input_length);
    for (size_t i = 0; i < line->length; i++) {
        uint64_t at = line->start + (line->from ? line->from[i] : i);
        char there = seen.input[at];
        bool is_letter = (line->text[i] | 0x20) >= 'a' && (line->text[i] | 0x20) <= 'z';
        if (is_letter && there != '\\' && there != '\0') assert_int_equal(line->text[i], there);
        if (line->from) assert_true(line->from[i] <= line->from[i + 1]);
    }
}

static void note(const struct rp_error_line *line, void *user) {
    static const char letters[] = "PMWFSKN";
    (void)user;
    check_line(line);
    if (seen.count < LINES_MAX) {
        seen.blocks[seen.count] = line->block;
        seen.starts[seen.count] = line->start;
        seen.ends[seen.count] = seen.end;
    }
    seen.count++;
    seen.bytes_told += line->length;
    if (seen.told_length + line->length + 4 > sizeof seen.told) return;
    seen.told[seen.told_length++] = letters[line->role];
    seen.told[seen.told_length++] = ' ';
    memcpy(seen.told + seen.told_length, line->text, line->length);
    seen.told_length += line->length;
    seen.told[seen.told_length++] = '\n';
}

static void read_bytes(const char *bytes, size_t length, size_t step) {
    memset(&seen, 0, sizeof seen);
    seen.input = bytes;
    seen.input_length = length;
    struct rp_error_text *text = rp_error_text_create(note, NULL);
    assert_non_null(text);
    for (size_t at = 0; at < length; at += step) {
        rp_error_text_feed(text, bytes + at, length - at < step ? length - at : step);
    }
    rp_error_text_finish(text);
    assert_int_equal(rp_error_text_bytes(text), length);
    assert_int_equal(rp_error_text_line_count(text), seen.count);
    seen.block_count = rp_error_text_block_count(text);
    for (unsigned i = 0; i < seen.block_count; i++) {
        seen.depths[i] = rp_error_text_depth(text, i);
    }
    rp_error_text_destroy(text);
}

/* However it is cut, the bytes are told as `expected`. */
static void expect_bytes(const char *bytes, size_t length, const char *expected) {
    static const size_t steps[] = {1, 2, 3, 5, 7, 16, 61, 64, 1000};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        read_bytes(bytes, length, steps[i]);
        assert_string_equal(seen.told, expected);
    }
    read_bytes(bytes, length, length + 1);
    assert_string_equal(seen.told, expected);
}

static void expect(const char *text, const char *expected) {
    expect_bytes(text, strlen(text), expected);
}

#define EXPECT_BYTES(bytes, expected) expect_bytes(bytes, sizeof(bytes) - 1, expected)

/* How deep the block of a line lies; lines count from 0. */
static unsigned depth_at(size_t line) {
    assert_true(line < seen.count);
    return seen.depths[seen.blocks[line]];
}

/* ---- lines and encodings ----------------------------------------------------------------- */

static void nothing_has_no_lines(void **state) {
    (void)state;
    expect("", "");
    assert_int_equal(seen.block_count, 1);
    EXPECT_BYTES("\0\0\0", "");
    expect("\n", "N \n");
    expect("\r", "");
}

static void lines_end_in_every_usual_way(void **state) {
    (void)state;
    expect("one\ntwo\r\nthree\r\r\nfour", "P one\nP two\nP three\nP four\n");
    assert_int_equal(seen.starts[1], 4);
    assert_int_equal(seen.starts[3], 17);
    assert_int_equal(seen.ends[3], 21);
    expect("a\n\nb\n", "P a\nN \nP b\n");
    expect("next\xc2\x85line", "P next\nP line\n");
}

static void tabs_are_blanks_and_controls_vanish(void **state) {
    (void)state;
    EXPECT_BYTES("a\tb\x01\x7f c\0d\x08\n", "P a b cd\n");
    expect("zero\xe2\x80\x8bwidth no\xc2\xa0"
           "break \xef\xbb\xbfmark",
           "P zerowidth no break mark\n");
}

static void utf8_stays_and_other_bytes_are_windows_1252(void **state) {
    (void)state;
    expect("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80",
           "P na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80\n");
    /* Both in one line; what has no character vanishes. */
    expect("Datei nicht verf\xfcgbar: \x93x\x94 \x80 \x81 \xc3\xa9",
           "P Datei nicht verf\xc3\xbcgbar: \"x\" \xe2\x82\xac  \xc3\xa9\n");
    assert_int_equal(seen.ends[0], 33);
    /* Quotes of forums are plain ones. */
    expect("\xe2\x80\x98"
           "a\xe2\x80\x99 \xe2\x80\x9c"
           "b\xe2\x80\x9d",
           "P 'a' \"b\"\n");
    /* A surrogate, an overlong form, a character beyond the last, and one cut off. */
    expect("a\xed\xa0\x80z", "P a\xc3\xad \xe2\x82\xac"
                             "z\n");
    expect("a\xc0\xafz", "P a\xc3\x80\xc2\xafz\n");
    expect("a\xf4\x90\x80\x80z", "P a\xc3\xb4\xe2\x82\xac\xe2\x82\xac"
                                 "z\n");
    expect("a\xe2\x96", "P a\xc3\xa2\xe2\x80\x93\n");
}

static void utf16_is_seen_by_its_mark_and_by_its_nuls(void **state) {
    (void)state;
    EXPECT_BYTES("\xff\xfeK\0i\0l\0l\0e\0d\0\r\0\n\0\xfc\0", "P Killed\nP \xc3\xbc\n");
    assert_int_equal(seen.starts[0], 2);
    assert_int_equal(seen.starts[1], 18);
    assert_int_equal(seen.ends[1], 20);
    EXPECT_BYTES("\xfe\xff\0K\0i\0l\0l\0e\0d\0\n\x20\xac", "P Killed\nP \xe2\x82\xac\n");
    EXPECT_BYTES("K\0i\0l\0l\0e\0d\0 \0\xac\x20", "P Killed \xe2\x82\xac\n");
    EXPECT_BYTES("\0K\0i\0l\0l\0e\0d\0 \x20\xac", "P Killed \xe2\x82\xac\n");
    /* Two units make one character, and a half of it is none. */
    EXPECT_BYTES("\xff\xfe\x3d\xd8\x00\xdex\0\x3d\xd8y\0", "P \xf0\x9f\x98\x80x\xef\xbf\xbdy\n");
    EXPECT_BYTES("\xff\xfe"
                 "a\0b",
                 "P a\n");
}

static void a_file_may_change_its_encoding(void **state) {
    (void)state;
    EXPECT_BYTES("plain\n\xff\xfe"
                 "a\0\xfc\0\n\0plain again, long enough\nb\0\xfc\0c\0\n\0",
                 "P plain\nP a\xc3\xbc\nP plain again, long enough\nP b\xc3\xbc"
                 "c\n");
}

/* ---- terminals --------------------------------------------------------------------------- */

static void codes_of_terminals_vanish(void **state) {
    (void)state;
    expect("\x1b[31;1mred\x1b[0m \x1b[38;2;1;2;3mgreen\x1b[m\x1b[K", "P red green\n");
    assert_int_equal(seen.starts[0], 7);
    expect("\x1b]0;a title\x07x\x1b]8;;http://a.b/\x1b\\link\x1b]8;;\x1b\\ \x1bPq#0\x1b\\y",
           "P xlink y\n");
    expect("\x1b(Ba\x1b=b\x1b[?25lc\x1b[1C\x1b[2Kd\xc2\x9b"
           "1me",
           "P abc de\n");
    expect("one\x1b[1Gtwo\x1b[5;1Hthree", "N one\nP two\nP three\n");
}

static void broken_codes_swallow_little(void **state) {
    (void)state;
    expect("a\x1b", "P a\n");
    expect("a\x1b[", "P a\n");
    expect("a\x1b[31\nKilled", "P a\nP Killed\n");
    expect("a\x1b]0;no end\nKilled", "P a\nP Killed\n");
    expect("a\x1b]Killed", "P aKilled\n");
    expect("\x1b[Error: x", "M Error: x\n");
    expect("\x1b\x1b[31mx", "P x\n");
    expect("a\x1b[\xc3\xa9z", "P a\xc3\xa9z\n");
    /* A title without end takes a thousand bytes of its line, no more. */
    static char text[4096];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "\x1b]0;", 4);
    read_bytes(text, sizeof text - 1, sizeof text);
    assert_true(seen.bytes_told > 3000);
    memset(text, '1', sizeof text - 1);
    memcpy(text, "\x1b[", 2);
    read_bytes(text, sizeof text - 1, sizeof text);
    assert_true(seen.bytes_told > 4000);
}

static void codes_that_lost_their_escape_vanish(void **state) {
    (void)state;
    expect("^[[31mred^[[0m \\x1b[1mbold\\x1b[0m \\033[Kx", "P red bold x\n");
    expect("[31mError: x[0m", "M Error: x\n");
    assert_int_equal(seen.starts[0], 4);
    assert_int_equal(seen.ends[0], 12);
    expect("took [5m] [30ms] [1m 30s] [shape] [3", "P took [5m] [30ms] [1m 30s] [shape] [3\n");
}

static void a_carriage_return_begins_the_line_anew(void **state) {
    (void)state;
    expect("step 1\rstep 2\rdone\n", "N step 1\nN step 2\nP done\n");
    expect("50%\r\x1b[K\nx", "P 50%\nP x\n");
    /* What tells of a failure is not lost by it. */
    expect("RuntimeError: out of memory\rnext", "M RuntimeError: out of memory\nP next\n");
}

static void what_follows_a_progress_bar_is_a_line(void **state) {
    (void)state;
    const char *text = "Loading checkpoint shards:  38%|\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88   | "
                       "3/8 [00:02<00:03,  1.28it/s]Killed\n";
    expect(text, "N Loading checkpoint shards:  38%|\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88   | "
                 "3/8 [00:02<00:03,  1.28it/s]\nP Killed\n");
    assert_int_equal(seen.starts[1], strlen(text) - 7);
    assert_int_equal(seen.ends[1], strlen(text) - 1);
    expect("3it [00:01,  2.00s/it, loss=0.3]RuntimeError: x\r\n",
           "N 3it [00:01,  2.00s/it, loss=0.3]\nM RuntimeError: x\n");
    expect("0it [00:00, ?it/s]  0%|   | 0/2 [00:00<?, ?it/s]Aborted",
           "N 0it [00:00, ?it/s]\nN 0%|   | 0/2 [00:00<?, ?it/s]\nP Aborted\n");
}

/* ---- strings ----------------------------------------------------------------------------- */

static void line_breaks_of_json_are_line_breaks(void **state) {
    (void)state;
    const char *text =
        "{\"error\":\"process has terminated: exit 2\\nggml_cuda: \\\"out\\\"\\tof\\n\"}";
    expect(text, "P {\"error\":\"process has terminated: exit 2\nP ggml_cuda: \"out\" of\nN \"}\n");
    assert_int_equal(seen.starts[1], strstr(text, "ggml") - text);
    assert_int_equal(seen.ends[1], strstr(text, "\\n\"}") - text);
    expect("{\"a\":\"x \\u00e9 \\ud83d\\ude00 \\/ \\\\ \\u001b[31mred\\r\\nb\"}",
           "P {\"a\":\"x \xc3\xa9 \xf0\x9f\x98\x80 / \\ red\nP b\"}\n");
    expect("b'failed\\nRuntimeError: x'", "P b'failed\nM RuntimeError: x'\n");
    expect("first\\nsecond\\nthird", "P first\nP second\nP third\n");
}

static void a_list_of_strings_is_its_lines(void **state) {
    (void)state;
    expect("['Traceback (most recent call last):\\n', '  File \"x.py\", line 3, in f\\n', "
           "'    g()\\n', 'ValueError: x\\n']",
           "F ['Traceback (most recent call last):\nF File \"x.py\", line 3, in f\nS g()\n"
           "M ValueError: x\nN ']\n");
    expect("{\"log\":\"RuntimeError: x\\n\",\"stream\":\"stderr\",\"time\":\"2024\"}",
           "M RuntimeError: x\nN \",\"stream\":\"stderr\",\"time\":\"2024\"}\n");
}

static void a_string_in_a_string_is_read_too(void **state) {
    (void)state;
    expect("{\"body\":\"{\\\"e\\\":\\\"one.\\\\ntwo.\\\\nthree\\\"}\"}",
           "P {\"body\":\"{\"e\":\"one.\nP two.\nP three\"}\"}\n");
}

static void folders_of_windows_survive(void **state) {
    (void)state;
    static const char *const texts[] = {
        "cannot open C:\\new\\nodes\\net.py",
        "cannot open \"C:\\new\\nodes\\net.dll\" now",
        "cannot open \"comfy\\nodes.py\", line",
        "cannot open 'C:\\Program Files\\nodejs\\npm'",
        "one \\n is none",
        "don't split\\nthis",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char expected[200];
        snprintf(expected, sizeof expected, "P %s\n", texts[i]);
        expect(texts[i], expected);
    }
    expect("  File \"comfy\\nodes\\new.py\", line 3, in f",
           "F File \"comfy\\nodes\\new.py\", line 3, in f\n");
    expect("{\"e\":\"open C:\\\\new\\\\x.dll failed\\nnext: C:\\\\temp\\\\nets\\\\y.dll\"}",
           "P {\"e\":\"open C:\\new\\x.dll failed\nP next: C:\\temp\\nets\\y.dll\"}\n");
    /* A path that ends at the line break. */
    expect("{\"e\":\"in C:\\\\a.cpp\\nbad in C:\\b.cpp:12\\nx\"}",
           "P {\"e\":\"in C:\\a.cpp\nP bad in C:\\b.cpp:12\nP x\"}\n");
}

/* ---- prefixes ---------------------------------------------------------------------------- */

static void prefixes_of_logs_are_taken_off(void **state) {
    (void)state;
    static const char *const prefixes[] = {
        "2024-01-01T00:00:00.0000000Z ",
        "2024-01-01 12:00:00,123 ",
        "2024/01/01 12:00:00 ",
        "[2024-01-01 12:00:00] ",
        "[2024-01-01T12:00:00+01:00]: ",
        "24/01/01 12:00:00 INFO ",
        "20240101-12:00:00 ",
        "12:00:00.123 ",
        "[12:00:00] ",
        "Jan  1 12:00:00 ",
        "Mon Jan  1 12:00:00 2024 ",
        "Mon, 01 Jan 2024 12:00:00 GMT ",
        "01/Jan/2024:12:00:00 +0000 ",
        "1704067200.123 ",
        "INFO:root:",
        "INFO:     ",
        "[INFO] ",
        "[info] ",
        "DEBUG - ",
        "2024-01-01 12:00:00,123 - a.b - INFO - ",
        "2024-01-01 12:00:00.123 | INFO     | mod:func:12 - ",
        "INFO 05-01 12:00:00 engine.py:389] ",
        "(EngineCore_0 pid=123) INFO 07-01 12:00:00 [core.py:586] ",
        "(RayWorkerWrapper pid=12, ip=10.0.0.1) ",
        "I0701 12:00:00.123456 123 file.cc:12] ",
        "I0000 00:00:1704067200.123456  1234 file.cc:12] ",
        "2024-01-01 12:00:00.123456: I tensorflow/core/a.cc:12] ",
        "[I1017 12:00:00.123 socket.cpp:12] ",
        "2024-01-01 12:00:00.1 [I:onnxruntime:Default, env.cc:228 f] ",
        "[12:34:0101/120000.123:INFO:gpu.cc(12)] ",
        "[2024-01-01T12:00:00Z INFO wgpu_core::device] ",
        "2024-01-01T12:00:00.123456Z  INFO wgpu_core::device: ",
        "[rank0]:",
        "[rank12]: ",
        "[default3]:",
        "[1,0]<stderr>:",
        "host1:123:456 [0] ",
        "web-1  | ",
        "ollama  | ",
        "Jul 01 12:00:00 host proc[123]: ",
        "2024-07-01T12:00:00+0200 host proc[123]: ",
        "07-01 12:00:00.123  1234  5678 I Tag: ",
        "> ",
        "> > ",
        "| ",
        "E       ",
        "!!! ",
        "#12 34.56 ",
        "transform.js:214 ",
        "time=2024-01-01T12:00:00Z level=INFO source=a.go:1 msg=",
        "[pod/web-1/main] ",
        "[2024-01-01 12:00:00,123][root][INFO] - ",
        "  | 2024-01-01 12:00:00 [rank0]: [INFO] ",
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        char text[200];
        size_t length = (size_t)snprintf(text, sizeof text, "%ssome text\n", prefixes[i]);
        read_bytes(text, length, length);
        if (strcmp(seen.told, "P some text\n") != 0) print_error("after '%s'\n", prefixes[i]);
        assert_string_equal(seen.told, "P some text\n");
        assert_int_equal(seen.starts[0], strlen(prefixes[i]));
        assert_int_equal(seen.ends[0], length - 1);
    }
}

static void what_looks_like_a_prefix_stays(void **state) {
    (void)state;
    static const char *const texts[] = {
        "[ONNXRuntimeError] : 3 : NO_SUCHFILE",
        "[WebNN] ORT status error code: 6",
        "2024-01-01.bin is not there",
        "In: nothing",
        "I am text",
        "Warp 3 failed",
        "a | b | c",
        "[Rank 0] Watchdog caught",
        "MarMot 3 is no month",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char expected[100];
        snprintf(expected, sizeof expected, "P %s\n", texts[i]);
        expect(texts[i], expected);
    }
    expect("thread 'main' panicked at src/main.rs:1:2",
           "M thread 'main' panicked at src/main.rs:1:2\n");
    expect("12:00:00 FATAL EXCEPTION: main", "M FATAL EXCEPTION: main\n");
    expect("(Traceback (most recent call last)::String)",
           "P (Traceback (most recent call last)::String)\n");
    expect("FATAL ERROR: heap out of memory", "M FATAL ERROR: heap out of memory\n");
}

static void a_line_of_prefixes_alone_is_noise(void **state) {
    (void)state;
    expect("[12:00:00]", "N [12:00:00]\n");
    expect("[rank0]: [ERROR]\n", "N [ERROR]\n");
    expect("E   \n", "N E\n");
}

static void a_level_decides_where_the_text_does_not(void **state) {
    (void)state;
    expect("WARNING:absl:No TPU found", "W No TPU found\n");
    expect("[W socket.cpp:12] [c10d] retry", "W [c10d] retry\n");
    expect("ERROR engine.py:389] Unexpected answer", "M Unexpected answer\n");
    expect("E0701 12:00:00.123 123 file.cc:12] broken", "M broken\n");
    expect("npm ERR! code 1\n##[warning]old", "P code 1\nW old\n");
    expect("ERROR 05-01 12:00:00 a.py:1]   File \"x.py\", line 3, in f\n"
           "ERROR 05-01 12:00:00 a.py:1]     g()\n",
           "F File \"x.py\", line 3, in f\nS g()\n");
}

/* ---- roles ------------------------------------------------------------------------------- */

static void a_python_trace_is_frames_source_and_a_message(void **state) {
    (void)state;
    expect("Traceback (most recent call last):\n"
           "  File \"/a/run.py\", line 12, in main\n"
           "    model.to(\"cuda\")\n"
           "    ~~~~~~~~^^^^^^^^\n"
           "  [Previous line repeated 3 more times]\n"
           "  File \"<stdin>\", line 1, in <module>\n"
           "torch.cuda.OutOfMemoryError: CUDA out of memory.\n"
           "  Tried more\n"
           "after it\n",
           "F Traceback (most recent call last):\nF File \"/a/run.py\", line 12, in main\n"
           "S model.to(\"cuda\")\nS ~~~~~~~~^^^^^^^^\nF [Previous line repeated 3 more times]\n"
           "F File \"<stdin>\", line 1, in <module>\n"
           "M torch.cuda.OutOfMemoryError: CUDA out of memory.\nM Tried more\nP after it\n");
    assert_int_equal(seen.block_count, 1);
    /* Its indentation lost, and a name that ends like no error. */
    expect("File \"a.py\", line 3, in f\ng(x)\nFile \"b.py\", line 1, in h\nonnx.NoSuchFile: [x]\n",
           "F File \"a.py\", line 3, in f\nS g(x)\nF File \"b.py\", line 1, in h\n"
           "M onnx.NoSuchFile: [x]\n");
    /* Code may hold line breaks that are none. */
    expect("  File \"a.py\", line 3, in f\n    print(\"a\\nb\", 'RuntimeError: x\\n')\n",
           "F File \"a.py\", line 3, in f\nS print(\"a\\nb\", 'RuntimeError: x\\n')\n");
}

static void a_trace_may_begin_behind_other_text(void **state) {
    (void)state;
    expect("  \"message\": \"It failed: Traceback (most recent call last):\\n  File \\\"a.py\\\", "
           "line 3, "
           "in f\\n    g()\\nlib.Lost: 3 of 4\\n\",\n",
           "P \"message\": \"It failed: Traceback (most recent call last):\nF File \"a.py\", line "
           "3, in "
           "f\nS g()\nM lib.Lost: 3 of 4\nN \",\n");
}

static void frames_of_every_language_are_seen(void **state) {
    (void)state;
    static const char *const frames[] = {
        "#3  0x00007f12 in f () from /lib/x.so",
        "#0  main (argc=1) at x.c:3",
        "frame #1: c10::f() + 0x12 (0x7f in x.so)",
        "\tat a.b.C.run(D.java:1)",
        "    at f (x.js:1:2)",
        "at async Object.create (x.js:1:2)",
        "    at t.setSessionOptions ...",
        "   at A.B.C(String x) in C:\\x.cs:line 3",
        "  12: core::panicking::panic",
        "goroutine 1 [running]:",
        "\t/src/main.go:12 +0x1d",
        "0x00007FFA12345678 (x.dll)",
        "0   libX.dylib   0x0000000104a2 f + 12",
        "/lib/libc.so.6(+0x3c050)[0x7f1234567890]",
        "    @     0x7f1234567890 f",
        "C++ CapturedTraceback:",
        "\t... 12 more",
        "/a/b.py:12: in f",
        "/a/b.py in f(self, x)",
        "<ipython-input-3-abc> in <module>",
        "Exception raised from f at a.cpp:3 (most recent call first):",
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        read_bytes(frames[i], strlen(frames[i]), 1000);
        if (seen.told[0] != 'F') print_error("'%s'\n", frames[i]);
        assert_int_equal(seen.told[0], 'F');
    }
    expect("at least 3 are needed\n#1 cause of errors\n12 of 13",
           "P at least 3 are needed\n"
           "P #1 cause of errors\nP 12 of 13\n");
}

static void a_dump_of_threads_is_no_trace_with_a_message(void **state) {
    (void)state;
    expect("Windows fatal exception: access violation\n\nCurrent thread 0x12 (most recent call "
           "first):\n"
           "  File \"x.py\", line 3 in f\nGone: 3\n",
           "M Windows fatal exception: access violation\nN \n"
           "F Current thread 0x12 (most recent call first):\nF File \"x.py\", line 3 in f\nP Gone: "
           "3\n");
    assert_int_equal(seen.block_count, 1);
}

static void messages_of_every_language_are_seen(void **state) {
    (void)state;
    static const char *const messages[] = {
        "RuntimeError: x",
        "KeyboardInterrupt",
        "huggingface_hub.errors.LocalEntryNotFoundError: x",
        "java.lang.IllegalStateException: x",
        "TypeError [ERR_X]: x",
        "InvalidArgument: [ONNXRuntimeError] : 2 : x",
        "Error: x",
        "error: x",
        "fatal error: x",
        "FATAL: x",
        "Uncaught (in promise) TypeError: x",
        "Exception in thread \"main\" a.B: x",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "  what():  std::bad_alloc",
        "thread 'main' panicked at 'x', src/a.rs:1:2",
        "panic: x",
        "Unhandled exception. System.X: y",
        "Caused by: java.io.IOException: x",
        "Fatal Python error: Segmentation fault",
    };
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        read_bytes(messages[i], strlen(messages[i]), 1000);
        if (seen.told[0] != 'M') print_error("'%s'\n", messages[i]);
        assert_int_equal(seen.told[0], 'M');
    }
    expect("Killed\nError handling is on\nNote: x",
           "P Killed\nP Error handling is on\nP Note: x\n");
}

static void warnings_say_so(void **state) {
    (void)state;
    expect("/a/b.py:651: UserWarning: not enough space\n  warnings.warn(\nnext\n",
           "W /a/b.py:651: UserWarning: not enough space\nS warnings.warn(\nP next\n");
    expect("Warning: x\nwarning: y\nWARNING: z\nx.c:3: warning: w\nFutureWarning: v",
           "W Warning: x\nW warning: y\nW z\nW x.c:3: warning: w\nW FutureWarning: v\n");
    expect("it gave a warning: no", "P it gave a warning: no\n");
}

static void kernel_logs_are_seen(void **state) {
    (void)state;
    expect("[ 1234.567890] Out of memory: Killed process 12 (python)\n"
           "Jul 01 12:00:00 host kernel: NVRM: Xid (PCI:0000:01:00): 79\n"
           "[    1.000000] [T123] usb 1-1: new\n"
           "oom-kill:constraint=CONSTRAINT_MEMCG\n"
           "amdgpu 0000:0b:00.0: amdgpu: [gfxhub] page fault\n"
           "python3 invoked oom-killer: gfp_mask=0x1\n",
           "K Out of memory: Killed process 12 (python)\nK NVRM: Xid (PCI:0000:01:00): 79\n"
           "K usb 1-1: new\nK oom-kill:constraint=CONSTRAINT_MEMCG\n"
           "K amdgpu 0000:0b:00.0: amdgpu: [gfxhub] page fault\n"
           "K python3 invoked oom-killer: gfp_mask=0x1\n");
}

static void bars_rules_and_tables_are_noise(void **state) {
    (void)state;
    static const char *const texts[] = {
        "----------",
        "==== * ====",
        "+-----+-----+",
        "100%|\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88| 3/3",
        "\xe2\x94\x81\xe2\x94\x81\xe2\x94\x81\xe2\x94\x81\xe2\x94\x81 1.2/2.3 GB 3.4 MB/s eta "
        "0:00:10",
        " 50% [=========>        ] 123,456  1.2M/s  eta 3s",
        "10/100 [===>..........] - ETA: 3s",
        "  % Total    % Received % Xferd  Average Speed",
        "  5 1000M    5 52.1M    0     0  8123k      0  0:02:06  0:00:06  --:--:-- 9.1M",
        "3f4e2ab5c1d0: Pulling fs layer",
        "Progress: |########----------| 40%",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        read_bytes(texts[i], strlen(texts[i]), 1000);
        if (seen.told[0] != 'N') print_error("'%s'\n", texts[i]);
        assert_int_equal(seen.told[0], 'N');
    }
    expect("memory is 100% full\n\xd0\xbe\xd1\x88\xd0\xb8\xd0\xb1\xd0\xba\xd0\xb0",
           "P memory is 100% full\nP \xd0\xbe\xd1\x88\xd0\xb8\xd0\xb1\xd0\xba\xd0\xb0\n");
}

static void a_notebook_shows_code_around_its_frames(void **state) {
    (void)state;
    expect("------------------------------\n"
           "RuntimeError                              Traceback (most recent call last)\n"
           "Cell In[3], line 2\n"
           "      1 import torch\n"
           "----> 2 model(x)\n"
           "\n"
           "File ~/x.py:12, in f(self)\n"
           "     11 # RuntimeError: no\n"
           "---> 12 g()\n"
           "\n"
           "RuntimeError: mat1\n",
           "N ------------------------------\n"
           "F RuntimeError                              Traceback (most recent call last)\n"
           "F Cell In[3], line 2\nS 1 import torch\nS model(x)\nN \nF File ~/x.py:12, in f(self)\n"
           "S 11 # RuntimeError: no\nS g()\nN \nM RuntimeError: mat1\n");
    assert_int_equal(seen.block_count, 1);
}

static void a_box_is_read_like_what_is_in_it(void **state) {
    (void)state;
    expect("\xe2\x95\xad\xe2\x94\x80 Traceback (most recent call last) \xe2\x94\x80\xe2\x95\xae\n"
           "\xe2\x94\x82 /a/b.py:12 in f   \xe2\x94\x82\n"
           "\xe2\x94\x82 \xe2\x9d\xb1 12 \xe2\x94\x82 x()    \xe2\x94\x82\n"
           "\xe2\x95\xb0\xe2\x94\x80\xe2\x94\x80\xe2\x95\xaf\n"
           "ValueError: x\n",
           "F \xe2\x95\xad\xe2\x94\x80 Traceback (most recent call last) \xe2\x94\x80\xe2\x95\xae\n"
           "F /a/b.py:12 in f\nS 12 \xe2\x94\x82 x()\nN "
           "\xe2\x95\xb0\xe2\x94\x80\xe2\x94\x80\xe2\x95\xaf\n"
           "M ValueError: x\n");
}

static void a_test_report_is_read_like_what_is_in_it(void **state) {
    (void)state;
    expect(">       model(x)\n\na/test_b.py:12: \n_ _ _ _\nE       RuntimeError: mat1\nE       "
           "more\n\n"
           "a/test_b.py:14: RuntimeError\n",
           "S model(x)\nN \nF a/test_b.py:12:\nN _ _ _ _\nM RuntimeError: mat1\nM more\nN \n"
           "F a/test_b.py:14: RuntimeError\n");
}

/* ---- blocks ------------------------------------------------------------------------------ */

#define TRACE(error)                                                                               \
    "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n" error "\n"

static void of_python_chains_the_first_is_the_deepest(void **state) {
    (void)state;
    const char *text =
        TRACE("OSError: a") "\n"
                            "The above exception was the direct cause of the following "
                            "exception:\n\n" TRACE(
                                "ValueError: b") "\n"
                                                 "During handling of the above exception, another "
                                                 "exception occurred:\n\n" TRACE("RuntimeError: c");
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(seen.block_count, 3);
    assert_int_equal(depth_at(2), 2);
    assert_int_equal(depth_at(8), 1);
    assert_int_equal(depth_at(14), 0);
    /* Frames behind a message are another trace's, even without its head. */
    text = TRACE("OSError: a") "  File \"b.py\", line 3, in f\nValueError: b\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(seen.block_count, 2);
    assert_int_equal(seen.blocks[3], 1);
    assert_int_equal(seen.blocks[4], 1);
    /* Two traces side by side are no chain. */
    text = TRACE("OSError: a") TRACE("ValueError: b");
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(seen.block_count, 2);
    assert_int_equal(depth_at(2), 0);
    assert_int_equal(depth_at(5), 0);
}

static void of_java_chains_the_last_is_the_deepest(void **state) {
    (void)state;
    const char *text = "java.lang.RuntimeException: a\n\tat a.b.C(D.java:1)\n"
                       "Caused by: java.io.IOException: b\n\tat a.b.C(D.java:1)\n\t... 12 more\n"
                       "Caused by: java.lang.UnsatisfiedLinkError: c\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(1), 0);
    assert_int_equal(depth_at(2), 1);
    assert_int_equal(depth_at(4), 1);
    assert_int_equal(depth_at(5), 2);
    text = "Error: a\n    at f (x.js:1:2) {\n  [cause]: TypeError: b\n      at g (x.js:1:2)\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(depth_at(1), 0);
    assert_int_equal(depth_at(2), 1);
    assert_int_equal(depth_at(3), 1);
}

static void inner_exceptions_of_dotnet_end(void **state) {
    (void)state;
    const char *text = "System.A: a\n ---> System.DllNotFoundException: b\n   at A.B()\n"
                       "   --- End of inner exception stack trace ---\n   at C.D()\n";
    expect(text, "P System.A: a\nM ---> System.DllNotFoundException: b\nF at A.B()\n"
                 "F --- End of inner exception stack trace ---\nF at C.D()\n");
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(2), 1);
    assert_int_equal(depth_at(4), 0);
}

static void lists_of_causes_go_down(void **state) {
    (void)state;
    const char *text = "Error: a\n\nCaused by:\n    0: b\n    1: c\n\nStack backtrace:\n"
                       "   0: anyhow::error::new\n   1: main\n";
    expect(text, "M Error: a\nN \nM Caused by:\nM 0: b\nM 1: c\nN \nF Stack backtrace:\n"
                 "F 0: anyhow::error::new\nF 1: main\n");
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(3), 1);
    assert_int_equal(depth_at(4), 2);
    text = "wgpu error: Validation Error\n\nCaused by:\n    In Queue::write_buffer\n"
           "    Parent device is lost\n";
    expect(text, "P wgpu error: Validation Error\nN \nM Caused by:\nM In Queue::write_buffer\n"
                 "M Parent device is lost\n");
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(4), 1);
}

static void nested_exceptions_of_cpp_go_down(void **state) {
    (void)state;
    expect("RuntimeError: Exception from src/core.cpp:104:\n"
           "Exception from src/plugin.cpp:53:\n"
           "Exception from src/partial_shape.cpp:266:\n"
           "to_shape was called on a dynamic shape.\n",
           "M RuntimeError: Exception from src/core.cpp:104:\nM Exception from src/plugin.cpp:53:\n"
           "M Exception from src/partial_shape.cpp:266:\n"
           "M to_shape was called on a dynamic shape.\n");
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(1), 1);
    assert_int_equal(depth_at(3), 2);
}

static void groups_of_exceptions_have_their_members_below(void **state) {
    (void)state;
    expect("  + Exception Group Traceback (most recent call last):\n"
           "  |   File \"a.py\", line 1, in f\n"
           "  | ExceptionGroup: g (2 sub-exceptions)\n"
           "  +-+---------------- 1 ----------------\n"
           "    | Traceback (most recent call last):\n"
           "    |   File \"a.py\", line 2, in g\n"
           "    | ValueError: a\n"
           "    +---------------- 2 ----------------\n"
           "    | TypeError: b\n"
           "    +------------------------------------\n",
           "F Exception Group Traceback (most recent call last):\nF File \"a.py\", line 1, in f\n"
           "M ExceptionGroup: g (2 sub-exceptions)\nN +-+---------------- 1 ----------------\n"
           "F Traceback (most recent call last):\nF File \"a.py\", line 2, in g\nM ValueError: a\n"
           "N +---------------- 2 ----------------\nM TypeError: b\n"
           "N +------------------------------------\n");
    assert_int_equal(depth_at(2), 0);
    assert_int_equal(depth_at(6), 1);
    assert_int_equal(depth_at(8), 1);
    assert_true(seen.blocks[6] != seen.blocks[8]);
}

static void announced_causes_are_causes(void **state) {
    (void)state;
    expect("RuntimeError: cannot import because of the following error (look up to see its "
           "traceback):\nflash.so: undefined symbol: _Z\n",
           "M RuntimeError: cannot import because of the following error (look up to see its "
           "traceback):\nM flash.so: undefined symbol: _Z\n");
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(1), 1);
    const char *text = "ImportError: a\nOriginal error was: libopenblas.so: no\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(depth_at(1), 1);
    text = "RuntimeError: Caught in worker 0.\n"
           "Original Traceback (most recent call last):\n  File \"a.py\", line 1, in "
           "f\nValueError: b\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(seen.block_count, 2);
    assert_int_equal(depth_at(0), 0);
    assert_int_equal(depth_at(3), 1);
    text = "Cannot load due to the following error:\n\nError: no adapter\n";
    read_bytes(text, strlen(text), 1000);
    assert_int_equal(depth_at(2), 1);
}

static void blocks_have_a_limit(void **state) {
    (void)state;
    static char text[400 * 32];
    size_t length = 0;
    for (int i = 0; i < 400; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "Caused by: a.B: %d\n", i);
    }
    read_bytes(text, length, 1000);
    assert_int_equal(seen.block_count, RP_ERROR_BLOCKS_MAX);
    assert_int_equal(seen.blocks[399], RP_ERROR_BLOCKS_MAX - 1);
    assert_int_equal(depth_at(399), RP_ERROR_BLOCKS_MAX - 1);
    assert_int_equal(rp_memory_live_count(), 0);
}

/* ---- long lines and strange bytes -------------------------------------------------------- */

static void long_lines_come_in_pieces(void **state) {
    (void)state;
    static char text[BIG_BYTES];
    memset(text, 'x', sizeof text);
    read_bytes(text, sizeof text, 4096);
    assert_int_equal(seen.count, BIG_BYTES / RP_ERROR_LINE_BYTES);
    assert_int_equal(seen.bytes_told, BIG_BYTES);
    assert_int_equal(seen.end, BIG_BYTES);
    /* At blanks, which belong to no piece; the role goes on. */
    for (size_t i = 0; i < sizeof text; i += 10) {
        text[i] = ' ';
    }
    memcpy(text, "RuntimeError: x", 15);
    read_bytes(text, 30000, 1);
    assert_int_equal(seen.count, 4);
    for (size_t i = 0; i < seen.count; i++) {
        assert_int_equal((seen.ends[i] - seen.starts[i] + 1) % 10, i ? 0 : 1);
    }
    assert_int_equal(seen.block_count, 1);
    /* At a character. */
    for (size_t i = 0; i + 1 < 30001; i += 2) {
        memcpy(text + 1 + i, "\xc3\xa9", 2);
    }
    text[0] = 'a';
    read_bytes(text, 30001, 7);
    assert_int_equal(seen.bytes_told, 30001);
}

static void a_long_string_is_cut_at_its_line_breaks(void **state) {
    (void)state;
    static char text[100000];
    size_t length = (size_t)snprintf(text, sizeof text, "{\"e\":\"");
    while (length < 55000) {
        length += (size_t)snprintf(text + length, sizeof text - length, "a line of a log\\n");
    }
    read_bytes(text, length, 333);
    assert_int_equal(seen.count, (length - 6) / 17);
    assert_memory_equal(seen.told, "P {\"e\":\"a line of a log\nP a line of a log\n", 42);
    assert_string_equal(seen.told + seen.told_length - 18, "P a line of a log\n");
}

static void a_cut_takes_no_escape_apart(void **state) {
    (void)state;
    static char text[RP_ERROR_LINE_BYTES + 32];
    memset(text, 'x', sizeof text);
    memcpy(text, "{\"e\":\"", 6);
    memcpy(text + RP_ERROR_LINE_BYTES - 1, "\\nb\\nKilled\"}", 13);
    read_bytes(text, RP_ERROR_LINE_BYTES + 12, 100);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.ends[0] - seen.starts[0], RP_ERROR_LINE_BYTES - 1);
    assert_string_equal(seen.told + seen.told_length - 15, "P b\nP Killed\"}\n");
}

static void blanks_that_pass_a_line_are_no_lines(void **state) {
    (void)state;
    static char text[3 * RP_ERROR_LINE_BYTES];
    memset(text, ' ', sizeof text);
    text[0] = 'x';
    text[sizeof text - 1] = '\n';
    expect_bytes(text, sizeof text, "P x\n");
    text[0] = ' ';
    expect_bytes(text, sizeof text, "N \n");
}

static void binary_is_no_trouble(void **state) {
    (void)state;
    static char bytes[200000];
    uint32_t number = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        number = number * 1664525 + 1013904223;
        bytes[i] = (char)(number >> 24);
    }
    read_bytes(bytes, sizeof bytes, 97);
    size_t count = seen.count;
    uint64_t told = seen.bytes_told;
    read_bytes(bytes, sizeof bytes, sizeof bytes);
    assert_int_equal(seen.count, count);
    assert_int_equal(seen.bytes_told, told);
}

static void without_memory_there_is_no_reader(void **state) {
    (void)state;
    rp_memory_fail_at(1);
    assert_null(rp_error_text_create(note, NULL));
    assert_false(rp_memory_fail_pending());
    rp_error_text_destroy(NULL);
    assert_int_equal(rp_memory_live_count(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_has_no_lines),
        cmocka_unit_test(lines_end_in_every_usual_way),
        cmocka_unit_test(tabs_are_blanks_and_controls_vanish),
        cmocka_unit_test(utf8_stays_and_other_bytes_are_windows_1252),
        cmocka_unit_test(utf16_is_seen_by_its_mark_and_by_its_nuls),
        cmocka_unit_test(a_file_may_change_its_encoding),
        cmocka_unit_test(codes_of_terminals_vanish),
        cmocka_unit_test(broken_codes_swallow_little),
        cmocka_unit_test(codes_that_lost_their_escape_vanish),
        cmocka_unit_test(a_carriage_return_begins_the_line_anew),
        cmocka_unit_test(what_follows_a_progress_bar_is_a_line),
        cmocka_unit_test(line_breaks_of_json_are_line_breaks),
        cmocka_unit_test(a_list_of_strings_is_its_lines),
        cmocka_unit_test(a_string_in_a_string_is_read_too),
        cmocka_unit_test(folders_of_windows_survive),
        cmocka_unit_test(prefixes_of_logs_are_taken_off),
        cmocka_unit_test(what_looks_like_a_prefix_stays),
        cmocka_unit_test(a_line_of_prefixes_alone_is_noise),
        cmocka_unit_test(a_level_decides_where_the_text_does_not),
        cmocka_unit_test(a_python_trace_is_frames_source_and_a_message),
        cmocka_unit_test(a_trace_may_begin_behind_other_text),
        cmocka_unit_test(frames_of_every_language_are_seen),
        cmocka_unit_test(a_dump_of_threads_is_no_trace_with_a_message),
        cmocka_unit_test(messages_of_every_language_are_seen),
        cmocka_unit_test(warnings_say_so),
        cmocka_unit_test(kernel_logs_are_seen),
        cmocka_unit_test(bars_rules_and_tables_are_noise),
        cmocka_unit_test(a_notebook_shows_code_around_its_frames),
        cmocka_unit_test(a_box_is_read_like_what_is_in_it),
        cmocka_unit_test(a_test_report_is_read_like_what_is_in_it),
        cmocka_unit_test(of_python_chains_the_first_is_the_deepest),
        cmocka_unit_test(of_java_chains_the_last_is_the_deepest),
        cmocka_unit_test(inner_exceptions_of_dotnet_end),
        cmocka_unit_test(lists_of_causes_go_down),
        cmocka_unit_test(nested_exceptions_of_cpp_go_down),
        cmocka_unit_test(groups_of_exceptions_have_their_members_below),
        cmocka_unit_test(announced_causes_are_causes),
        cmocka_unit_test(blocks_have_a_limit),
        cmocka_unit_test(long_lines_come_in_pieces),
        cmocka_unit_test(a_long_string_is_cut_at_its_line_breaks),
        cmocka_unit_test(a_cut_takes_no_escape_apart),
        cmocka_unit_test(blanks_that_pass_a_line_are_no_lines),
        cmocka_unit_test(binary_is_no_trouble),
        cmocka_unit_test(without_memory_there_is_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
