/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines. What an interpreter does with its options before it runs a program, a fork of one
 * that runs already cannot do; so the list of what can be done is short, and everything else is the
 * interpreter's. */
#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the launcher's own options -------------------------------------------------------------- */

/* "--name=VALUE", or "--name" and VALUE. 0: it is another one; else how many words it took. */
static int take(char **at, const char *name, const char **value) {
    size_t length = strlen(name);
    if (strncmp(at[0], name, length) != 0) return 0;
    if (at[0][length] == '=') {
        *value = at[0] + length + 1;
        return 1;
    }
    if (at[0][length] != '\0' || !at[1]) return 0;
    *value = at[1];
    return 2;
}

bool line_split(char **arguments, struct line *line, char why[WHY_BYTES]) {
    *line = (struct line){0};
    char **at = arguments;
    while (*at) {
        int taken = take(at, "--preload", &line->preloads);
        if (taken == 0) taken = take(at, "--interpreter", &line->interpreter);
        if (taken == 0) break;
        at += taken;
    }
    if (*at && (strcmp(*at, "--preload") == 0 || strcmp(*at, "--interpreter") == 0)) {
        snprintf(why, WHY_BYTES, "the option '%s' needs a value", *at);
        return false;
    }
    line->is_help = *at && at == arguments && strcmp(*at, "--help") == 0;
    if (*at && strcmp(*at, "--") == 0) at++;
    line->python = at;
    return true;
}

/* --- the interpreter's ----------------------------------------------------------------------- */

/* argv with another first. NULL: no memory. */
static const char **make_argv(const char *first, char **rest) {
    size_t count = 0;
    while (rest[count])
        count++;
    const char **argv = calloc(count + 2, sizeof *argv);
    if (!argv) return NULL;
    argv[0] = first;
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = rest[i];
    return argv;
}

static bool is_utf8(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        int more = *at < 0x80 ? 0 : *at >= 0xf0 && *at < 0xf5 ? 3 : *at >= 0xe0 ? 2 : 1;
        if (*at >= 0xf5 || (*at >= 0x80 && *at < 0xc2)) return false;
        for (at++; more > 0; more--, at++) {
            if ((*at & 0xc0) != 0x80) return false;
        }
    }
    return true;
}

static bool finish(struct program *program, enum fs_mode mode, const char *target,
                   const char *first, char **rest, char why[WHY_BYTES]) {
    program->mode = mode;
    program->target = target;
    if ((mode == FS_MODE_CODE || mode == FS_MODE_MODULE) && !is_utf8(target)) {
        snprintf(why, WHY_BYTES, "-%c with a text that is not UTF-8",
                 mode == FS_MODE_CODE ? 'c' : 'm');
        return false;
    }
    program->argv = make_argv(first, rest);
    if (!program->argv) snprintf(why, WHY_BYTES, "no memory for the arguments");
    return program->argv != NULL;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool writes_no_bytecode(void) {
    const char *value = getenv("PYTHONDONTWRITEBYTECODE");
    return value && value[0];
}

/* One word of options, "-uc": what follows -c or -m is the rest of the word, or the next one. */
static bool read_options(char **at, struct program *program, bool *is_done, char why[WHY_BYTES]) {
    for (const char *letter = at[0] + 1; *letter; letter++) {
        bool is_code = *letter == 'c';
        if (*letter == 'u') {
            program->is_unbuffered = true;
        } else if (*letter == 'B' && writes_no_bytecode()) {
            /* The server's environment has said it already; multiprocessing says it again. */
        } else if (is_code || *letter == 'm') {
            const char *target = letter[1] ? letter + 1 : at[1];
            if (!target) break;
            *is_done = true;
            return finish(program, is_code ? FS_MODE_CODE : FS_MODE_MODULE, target,
                          is_code ? "-c" : "-m", letter[1] ? at + 1 : at + 2, why);
        } else {
            snprintf(why, WHY_BYTES, "the option -%c", *letter);
            return false;
        }
        if (letter[1] == '\0') return true;
    }
    snprintf(why, WHY_BYTES, "the option %.80s", at[0]);
    return false;
}

bool line_read(char **python, bool is_stdin_terminal, struct program *program,
               char why[WHY_BYTES]) {
    *program = (struct program){0};
    char **at = python;
    for (; *at && (*at)[0] == '-' && (*at)[1] != '\0'; at++) {
        bool is_done = false;
        if ((*at)[1] == '-') {
            snprintf(why, WHY_BYTES, "the option %.80s", *at);
            return false;
        }
        if (!read_options(at, program, &is_done, why)) return false;
        if (is_done) return true;
    }
    if (!*at || strcmp(*at, "-") == 0) {
        if (is_stdin_terminal) {
            snprintf(why, WHY_BYTES, "an interactive session");
            return false;
        }
        return finish(program, FS_MODE_STDIN, "", *at ? *at : "", *at ? at + 1 : at, why);
    }
    if (ends_with(*at, ".pyc")) {
        snprintf(why, WHY_BYTES, "a compiled script");
        return false;
    }
    return finish(program, FS_MODE_SCRIPT, *at, *at, at + 1, why);
}
