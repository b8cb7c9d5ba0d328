/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of rpool: a row in the table of main.c, with its options and the function that runs
 * it. Parsing, help and usage errors come from the table.
 */
#ifndef RP_CLI_COMMAND_H
#define RP_CLI_COMMAND_H

#include <jansson.h>
#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stddef.h>

enum { OPTIONS_MAX = 12, ARGUMENTS_MAX = 64, EXIT_USAGE = 2 };

/* Of a command that runs another: its exit codes are that one's, and its own failures this. */
enum { COMMAND_LINE = ARGUMENTS_MAX + 1, EXIT_OWN_FAILURE = 125 };

/* Of a command that is another program: all that follows its name is that one's, "--help" too. */
enum { WHOLE_LINE = COMMAND_LINE + 1 };

struct option_row {
    const char *name;  /* without the dashes; of one letter: "-n" */
    const char *value; /* what its value is called in the help; NULL: it takes none */
    const char *help;
};

/* What was typed, in the order of the command's options. */
struct arguments {
    bool json;
    const char
        *options[OPTIONS_MAX]; /* the value; "" for an option that takes none; NULL: not given */
    const char *words[ARGUMENTS_MAX];
    size_t word_count;
    char *const *rest; /* the command line to run, ends with NULL; NULL: the command takes none */
};

struct command {
    const char *name;
    const char *words; /* for the help: "MODEL", "[hit|pool|...]" */
    size_t words_min;
    size_t words_max; /* COMMAND_LINE: its first word, or what follows "--", begins one to run */
    const char *help;
    struct option_row options[OPTIONS_MAX]; /* ends with a row without a name */
    int (*run)(const struct arguments *arguments);
};

int hardware_run(const struct arguments *arguments);
int classify_run(const struct arguments *arguments);
int explain_run(const struct arguments *arguments);
int load_run(const struct arguments *arguments);
int run_run(const struct arguments *arguments);
int python_run(const struct arguments *arguments);
int serve_run(const struct arguments *arguments);
int status_run(const struct arguments *arguments);
int top_run(const struct arguments *arguments);
int cache_run(const struct arguments *arguments);
int evict_run(const struct arguments *arguments);
int move_run(const struct arguments *arguments);
int clear_run(const struct arguments *arguments);
int stop_run(const struct arguments *arguments);
int bench_run(const struct arguments *arguments);
int diagnose_run(const struct arguments *arguments);
int doctor_run(const struct arguments *arguments);
int version_run(const struct arguments *arguments);

/* What the help of a command says behind its options; NULL: nothing. */
const char *explanation_of(const char *command);

/* Be a worker whose channel is the descriptor of that number; returns the exit code. */
int worker_run(const char *descriptor);

/* "rpool: message" and "hint: ..." on stderr; returns the exit code of the error's status. */
int report(const rp_error *err);

/*
 * The same, and "why: category (confidence): ..." where the failure can be diagnosed; with `json`
 * also an object {"error": ...} on stdout. `device` and `model` are what was asked for, or NULL.
 */
int report_failure(const rp_error *err, const char *device, const char *model, bool json);

/* "rpool: ..." on stderr with a pointer to the command's --help; returns its code for that. */
int usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole number from `min` to `max`; false after a usage error. `text` NULL leaves *value alone.
 */
bool parse_number(const char *command, const char *option, const char *text, long min, long max,
                  long *value);

/* Print a document, or one of a line, and free it; 0, or 1 when it could not be made or written. */
int print_json(json_t *document);
int print_json_line(json_t *document);

/* JSON null for what is not known. A text need not be UTF-8: names come from anywhere. */
json_t *json_text(const char *text);
json_t *json_bytes(uint64_t bytes);
json_t *json_placement(const rp_placement *placement);

/* A name as it is, but for control characters: a folder that came from elsewhere colours nothing.
 */
void print_name(const char *name);

/* Bytes for people: "1.3 GiB"; "unknown". The text lives until the next but three calls. */
const char *bytes_text(uint64_t bytes);

/* An age for people: "300 ms", "12 s", "5 min", "3 h 20 min", "4 days"; "unknown" below 0. The
 * text lives until the next but three calls. */
const char *age_text(double milliseconds);

#endif
