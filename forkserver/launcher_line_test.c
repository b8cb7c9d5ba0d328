/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include "test.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 8 };

struct row { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of reading */
    const char *words[WORDS_MAX];
    bool is_terminal;
    const char *why; /* a part of it; NULL: a fork can do it */
    enum fs_mode mode;
    bool is_unbuffered;
    const char *target;
    const char *argv[WORDS_MAX];
};

/* clang-format off */
static const struct row rows[] = {
    {{"-c", "pass"}, true, NULL, FS_MODE_CODE, false, "pass", {"-c"}},
    {{"-cpass", "a", "-b"}, true, NULL, FS_MODE_CODE, false, "pass", {"-c", "a", "-b"}},
    {{"-uc", "pass", "-X"}, true, NULL, FS_MODE_CODE, true, "pass", {"-c", "-X"}},
    {{"-c", ""}, true, NULL, FS_MODE_CODE, false, "", {"-c"}},
    {{"-c", "\xc3\xa4"}, true, NULL, FS_MODE_CODE, false, "\xc3\xa4", {"-c"}},
    {{"-m", "a.b", "-c", "x"}, true, NULL, FS_MODE_MODULE, false, "a.b", {"-m", "-c", "x"}},
    {{"-u", "-mjson"}, true, NULL, FS_MODE_MODULE, true, "json", {"-m"}},
    {{"a.py", "--preload", "\xff"}, true, NULL, FS_MODE_SCRIPT, false, "a.py",
     {"a.py", "--preload", "\xff"}},
    {{"\xff.py"}, true, NULL, FS_MODE_SCRIPT, false, "\xff.py", {"\xff.py"}},
    {{NULL}, false, NULL, FS_MODE_STDIN, false, "", {""}},
    {{"-", "a"}, false, NULL, FS_MODE_STDIN, false, "", {"-", "a"}},
    {{"-u"}, false, NULL, FS_MODE_STDIN, true, "", {""}},
    {{NULL}, true, "interactive", 0, false, NULL, {NULL}},
    {{"-"}, true, "interactive", 0, false, NULL, {NULL}},
    {{"-u"}, true, "interactive", 0, false, NULL, {NULL}},
    {{"a.pyc"}, true, "compiled", 0, false, NULL, {NULL}},
    {{"-c"}, true, "-c", 0, false, NULL, {NULL}},
    {{"-um"}, true, "-um", 0, false, NULL, {NULL}},
    {{"-c", "\xff"}, true, "UTF-8", 0, false, NULL, {NULL}},
    {{"-c", "\xed\xa0"}, true, "UTF-8", 0, false, NULL, {NULL}},
    {{"-m", "\xff"}, true, "UTF-8", 0, false, NULL, {NULL}},
    {{"-uXdev", "a.py"}, true, "-X", 0, false, NULL, {NULL}},
    {{"-B", "a.py"}, true, "-B", 0, false, NULL, {NULL}},
    {{"--help"}, true, "--help", 0, false, NULL, {NULL}},
    {{"--"}, true, "--", 0, false, NULL, {NULL}},
    {{"-V"}, true, "-V", 0, false, NULL, {NULL}},
};
/* clang-format on */

static void copy_words(const char *const *from, char *to[WORDS_MAX + 1]) {
    for (size_t i = 0; i <= WORDS_MAX; i++)
        to[i] = i < WORDS_MAX && from[i] ? strdup(from[i]) : NULL;
}

static void free_words(char *words[WORDS_MAX + 1]) {
    for (size_t i = 0; i < WORDS_MAX; i++)
        free(words[i]);
}

static void each_command_line_is_a_forks_or_has_a_reason(void **state) {
    (void)state;
    unsetenv("PYTHONDONTWRITEBYTECODE");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        char *words[WORDS_MAX + 1];
        char why[WHY_BYTES] = "";
        struct program program;
        copy_words(row->words, words);
        bool is_read = line_read(words, row->is_terminal, &program, why);
        if (row->why) {
            assert_false(is_read);
            assert_non_null(strstr(why, row->why));
        } else {
            assert_true(is_read);
            assert_int_equal(program.mode, row->mode);
            assert_int_equal(program.is_unbuffered, row->is_unbuffered);
            assert_string_equal(program.target, row->target);
            size_t count = 0;
            for (; row->argv[count]; count++)
                assert_string_equal(program.argv[count], row->argv[count]);
            assert_null(program.argv[count]);
            free(program.argv);
        }
        free_words(words);
    }
}

static void options_of_every_letter_but_three_are_the_interpreters(void **state) {
    (void)state;
    unsetenv("PYTHONDONTWRITEBYTECODE");
    for (int letter = '!'; letter < 0x7f; letter++) {
        char option[] = {'-', (char)letter, '\0'};
        char script[] = "a.py";
        char *words[] = {option, script, NULL};
        char why[WHY_BYTES] = "";
        struct program program;
        bool is_read = line_read(words, true, &program, why);
        assert_int_equal(is_read, letter == 'u' || letter == 'c' || letter == 'm');
        if (is_read) free(program.argv);
    }
}

static void no_bytecode_may_be_said_twice(void **state) {
    (void)state;
    char option[] = "-B";
    char script[] = "a.py";
    char *words[] = {option, script, NULL};
    char why[WHY_BYTES] = "";
    struct program program;
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    assert_true(line_read(words, true, &program, why));
    assert_string_equal(program.target, "a.py");
    free(program.argv);
}

static void the_launchers_own_options_come_first(void **state) {
    (void)state;
    char preload[] = "--preload";
    char names[] = "a,b";
    char interpreter[] = "--interpreter=/x/python";
    char end[] = "--";
    char code[] = "-c";
    char *all[] = {preload, names, interpreter, end, code, preload, NULL};
    char *cut[] = {preload, NULL};
    char why[WHY_BYTES] = "";
    struct line line;
    assert_true(line_split(all, &line, why));
    assert_string_equal(line.preloads, "a,b");
    assert_string_equal(line.interpreter, "/x/python");
    assert_ptr_equal(line.python, all + 4);
    assert_false(line_split(cut, &line, why));
    assert_non_null(strstr(why, "needs a value"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_command_line_is_a_forks_or_has_a_reason),
        cmocka_unit_test(options_of_every_letter_but_three_are_the_interpreters),
        cmocka_unit_test(no_bytecode_may_be_said_twice),
        cmocka_unit_test(the_launchers_own_options_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
