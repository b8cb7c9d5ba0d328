/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORDS_MAX = 12, SHOWN_BYTES = 256 };

/* A line's words, ended by blanks, in `words`. */
static void split(char *text, char *words[WORDS_MAX]) {
    size_t count = 0;
    char *rest = text;
    for (char *word; (word = strsep(&rest, " ")) && count < WORDS_MAX - 1;) {
        if (*word) words[count++] = word;
    }
    words[count] = NULL;
}

/* "MODE[u] TARGET: argv", or "why: REASON". */
static void show(const char *line, bool is_terminal, char shown[SHOWN_BYTES]) {
    static const char *const modes[] = {"code", "module", "script", "stdin"};
    char text[SHOWN_BYTES];
    char *words[WORDS_MAX];
    char why[WHY_BYTES] = "";
    struct program program;
    snprintf(text, sizeof text, "%s", line);
    split(text, words);
    if (!line_read(words, is_terminal, &program, why)) {
        snprintf(shown, SHOWN_BYTES, "why: %s", why);
        return;
    }
    int length = snprintf(shown, SHOWN_BYTES, "%s%s %s:", modes[program.mode],
                          program.is_unbuffered ? "u" : "", program.target);
    for (const char **at = program.argv; *at; at++)
        length += snprintf(shown + length, SHOWN_BYTES - (size_t)length, " %s", *at);
    free(program.argv);
}

static void each_line_means_what_the_interpreter_takes_it_for(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *means;
    } rows[] = {
        {"-c pass", "code pass: -c"},
        {"-cpass", "code pass: -c"},
        {"-c pass -x --y", "code pass: -c -x --y"},
        {"-uc pass a", "codeu pass: -c a"},
        {"-u -c pass", "codeu pass: -c"},
        {"-ucpass", "codeu pass: -c"},
        {"-m unittest -v", "module unittest: -m -v"},
        {"-munittest", "module unittest: -m"},
        {"script.py a -c b", "script script.py: script.py a -c b"},
        {"-u script.py", "scriptu script.py: script.py"},
        {"-", "stdin : -"},
        {"- a", "stdin : - a"},
        {"", "stdin : "},
        {"-c", "why: the option -c"},
        {"-um", "why: the option -um"},
        {"-X dev script.py", "why: the option -X"},
        {"-uI script.py", "why: the option -I"},
        {"-E", "why: the option -E"},
        {"-i script.py", "why: the option -i"},
        {"-V", "why: the option -V"},
        {"--version", "why: the option --version"},
        {"--", "why: the option --"},
        {"script.pyc", "why: a compiled script"},
        {"-B script.py", "why: the option -B"},
        {"-c \xff", "why: -c with a text that is not UTF-8"},
        {"-m \xc0\x80", "why: -m with a text that is not UTF-8"},
        {"-c \xc3\xa9", "code \xc3\xa9: -c"},
        {"\xff.py \xfe", "script \xff.py: \xff.py \xfe"},
    };
    char shown[SHOWN_BYTES];
    unsetenv("PYTHONDONTWRITEBYTECODE");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        show(rows[i].line, false, shown);
        if (strcmp(shown, rows[i].means) != 0) {
            fail_msg("'%s' is '%s', not '%s'", rows[i].line, shown, rows[i].means);
        }
    }
}

static void a_terminal_is_a_session_and_no_program(void **state) {
    (void)state;
    char shown[SHOWN_BYTES];
    show("-u", true, shown);
    assert_string_equal(shown, "why: an interactive session");
    show("-", true, shown);
    assert_string_equal(shown, "why: an interactive session");
    show("-c pass", true, shown);
    assert_string_equal(shown, "code pass: -c");
}

static void bytecode_that_is_not_written_anyway_is_no_matter(void **state) {
    (void)state;
    char shown[SHOWN_BYTES];
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    show("-Bu -c pass", false, shown);
    assert_string_equal(shown, "codeu pass: -c");
    unsetenv("PYTHONDONTWRITEBYTECODE");
}

static void our_own_options_come_first(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *preloads;
        const char *interpreter;
        const char *first; /* of the interpreter's */
        bool is_help;
    } rows[] = {
        {"--preload a,b -c pass", "a,b", NULL, "-c", false},
        {"--preload=a --interpreter=/p s.py", "a", "/p", "s.py", false},
        {"--interpreter python3.11 -- --preload", NULL, "python3.11", "--preload", false},
        {"-- --help", NULL, NULL, "--help", false},
        {"s.py --preload a", NULL, NULL, "s.py", false},
        {"--preloads a", NULL, NULL, "--preloads", false},
        {"--help", NULL, NULL, "--help", true},
        {"", NULL, NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[SHOWN_BYTES];
        char *words[WORDS_MAX];
        char why[WHY_BYTES] = "";
        struct line line;
        snprintf(text, sizeof text, "%s", rows[i].line);
        split(text, words);
        assert_true(line_split(words, &line, why));
        const char *const pairs[][2] = {{line.preloads, rows[i].preloads},
                                        {line.interpreter, rows[i].interpreter},
                                        {line.python[0], rows[i].first}};
        for (size_t j = 0; j < 3; j++) {
            assert_string_equal(pairs[j][0] ? pairs[j][0] : "(none)",
                                pairs[j][1] ? pairs[j][1] : "(none)");
        }
        assert_int_equal(line.is_help, rows[i].is_help);
    }
}

static void an_option_without_its_value_is_an_error(void **state) {
    (void)state;
    char why[WHY_BYTES] = "";
    char option[] = "--preload";
    char *words[] = {option, NULL};
    struct line line;
    assert_false(line_split(words, &line, why));
    assert_says(why, "'--preload' needs a value");
}

/* --- the list of preloads -------------------------------------------------------------------- */

static void a_list_of_preloads_is_names_in_order(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *names;
    } rows[] = {
        {"", ""},
        {"# nothing\n\n", ""},
        {"torch\nnumpy", "torch\nnumpy\n"},
        {"torch: nn nn.functional # why\n", "torch\ntorch.nn\ntorch.nn.functional\n"},
        {"torch: nn optim\n-torch.nn\n", "torch\ntorch.optim\n"},
        {"-scipy # refused: starts threads\nscipy: linalg\nscipy2\n", "scipy2\n"},
        {"  a \t\r\n", "a\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct preloads preloads;
        assert_true(preloads_parse(rows[i].text, strlen(rows[i].text), &preloads));
        assert_int_equal(preloads.bytes, strlen(rows[i].names));
        if (preloads.bytes > 0) assert_memory_equal(preloads.text, rows[i].names, preloads.bytes);
        free(preloads.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_means_what_the_interpreter_takes_it_for),
        cmocka_unit_test(a_terminal_is_a_session_and_no_program),
        cmocka_unit_test(bytecode_that_is_not_written_anyway_is_no_matter),
        cmocka_unit_test(our_own_options_come_first),
        cmocka_unit_test(an_option_without_its_value_is_an_error),
        cmocka_unit_test(a_list_of_preloads_is_names_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
