/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool-python: a process in the place of a Python interpreter, whose work a fork of a server does.
 * It depends on nothing but C's library, since it is started as often as an interpreter is.
 *
 *     launcher_line.c     what a command line asks for, and whether a fork can do it
 *     launcher_python.c   which interpreter it stands for
 *     launcher_key.c      which server fits: everything that a start of the interpreter depends on
 *     launcher_keeper.c   the keeper of that server: reached, or started
 *     launcher_wait.c     the child's life, as the caller of the launcher is to see it
 */
#ifndef RP_FORKSERVER_LAUNCHER_H
#define RP_FORKSERVER_LAUNCHER_H

#include "wire.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LAUNCHER_FAILED = 125, WHY_BYTES = FS_TEXT_BYTES, KEY_DIGITS = 32 };

/* --- launcher_line.c ------------------------------------------------------------------------- */

/* What the launcher itself was told, and what the interpreter. All borrowed from argv. */
struct line {
    const char *preloads;    /* "torch,transformers"; NULL: not given */
    const char *interpreter; /* a path; NULL: not given */
    bool is_help;
    char **python; /* the arguments of the interpreter, without its name; ends with NULL */
};

/* Take off the launcher's own options. False with what is wrong. */
bool line_split(char **arguments, struct line *line, char why[WHY_BYTES]);

/* What the interpreter is to run. */
struct program {
    enum fs_mode mode;
    bool is_unbuffered;
    const char *target;
    const char **argv; /* sys.argv: allocated, its texts borrowed; ends with NULL */
};

/* Read an interpreter's command line. False with why only the interpreter can do it. */
bool line_read(char **python, bool is_stdin_terminal, struct program *program, char why[WHY_BYTES]);

/* --- launcher_python.c ----------------------------------------------------------------------- */

/*
 * The absolute path of the interpreter: `given`, or `name` in the PATH, but never this program
 * itself. False with why there is none.
 */
bool python_find(const char *given, const char *name, char path[PATH_MAX], char why[WHY_BYTES]);

/* Whether this is another program than ours, that can be executed. */
bool python_is_other(const char *path);

/* Whether it is one that a server can be made of: a program and no script. False with why not. */
bool python_is_program(const char *path, char why[WHY_BYTES]);

/* --- launcher_key.c -------------------------------------------------------------------------- */

/* Modules to preload, each ended by a newline. */
struct preloads {
    char *text; /* malloc()ed */
    size_t bytes;
};

/* From "--preload", else from the file of $RESOURCE_POOL_PYTHON_PRELOADS, else none. */
bool preloads_read(const char *given, struct preloads *preloads, char why[WHY_BYTES]);

/* The same from the text of such a file. */
bool preloads_parse(const char *text, size_t bytes, struct preloads *preloads);

/* The key of the server that fits, in hex. False with why none can. */
bool key_make(const char *interpreter, const struct preloads *preloads, char key[KEY_DIGITS + 1],
              char why[WHY_BYTES]);

/* PYTHONPATH for who starts in another folder. False: no memory, or the folder has no name. */
bool path_make_absolute(void);

/* Whether the environment asks for what only a plain start does; NULL: no. */
const char *key_forbids(void);

/* --- launcher_keeper.c ----------------------------------------------------------------------- */

/*
 * A connection to the keeper of that key, which is started if there is none. -1 with why not.
 */
int keeper_reach(const char *key, const char *interpreter, const struct preloads *preloads,
                 char why[WHY_BYTES]);

/* --- launcher_wait.c ------------------------------------------------------------------------- */

/* Hold back the signals that are the child's from now on. `argv` is main()'s. */
void wait_begin(char **argv);

/* As they were before: the plain interpreter follows. */
void wait_undo(void);

/* The signals that were blocked, and those that are ignored, for the request. */
uint64_t wait_blocked(void);
uint64_t wait_ignored(void);

/*
 * Wait for the answer, then for the end of the child, which becomes the end of this process. Comes
 * back only when nothing was started, with why. `passed` are closed once it has started.
 */
void wait_for(int connection, const int32_t *passed, size_t passed_count, char why[WHY_BYTES]);

#endif
