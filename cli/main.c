/* SPDX-License-Identifier: Apache-2.0 */
/* rpool: the table of commands, and all that follows from it: parsing, help, exit codes. */
#include "command.h"
#include "keeper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const struct command commands[] = {
    {"hardware", "", 0, 0, "what this machine has, and what is absent and why",
     {{"refresh", NULL, "ask again rather than believe what is kept from earlier"},
      {"all", NULL, "also ask what takes seconds: browsers, runtimes that load plugins"},
      {"simulate", "FILE", "be the machine in that file, as 'rpool hardware --json' wrote it"}},
     hardware_run},
    {"classify", "[NAME|DIR...]", 0, ARGUMENTS_MAX, "what models are, by folder, by file or by name",
     {{"stdin", NULL, "names from stdin, a line each; a JSON line for each"},
      {"jsonl", NULL, "lines of stdin are {name?, model_type?, architecture?, tasks?, methods?}"},
      {"model-db", "FILE", "families by name, {model: {family, subfamily?, confidence?}}: wins"}},
     classify_run},
    {"explain", "MODEL", 1, 1, "where a model would go and why, without loading it",
     {{"device", "D", "the device: cpu, cuda:0, cuda, ...; auto chooses (default: auto)"},
      {"policy", "P", "require, prefer or any (default: require a device that is named)"},
      {"precision", "P", "fp32, bf16, fp16, fp8, int8, int4: where the device does it well"},
      {"preferences", "JSON", "a dictionary of preferences, or the file that holds one"},
      {"batch", "N", "inputs at once, for its memory (default: 1)"},
      {"context", "N", "tokens of each, for its memory (default: 2048 or 512)"},
      {"engine", "E", "that engine or none"},
      {"simulate", "FILE", "be that machine: a snapshot that 'rpool hardware --json' printed"},
      {"all", NULL, "also why what is absent is absent"}},
     explain_run},
    {"load", "MODEL", 1, 1, "load a model through the pool, run it once, say what it cost",
     {{"device", "D", "the device: cpu, cuda:0, ...; auto chooses (default: auto)"},
      {"engine", "E", "the engine: onnxruntime, simulated (default: the first that can)"},
      {"threads", "N", "threads of one inference (default: 1)"},
      {"repeat", "N", "how often to ask the pool: 1 miss, N-1 hits (default: 1)"}},
     load_run},
    {"run", "[--] COMMAND...", 0, COMMAND_LINE, "run a test command with one pool for all its processes",
     {{"budget", "B", "the most that models may take, '8GiB': of an isolated or a new broker"},
      {"n", "N", "workers, told to pytest-xdist, ctest and cargo test; auto: as many as fit"},
      {"share", "S", "machine, or process: no broker, as without rpool (default: machine)"},
      {"isolated", NULL, "a broker of its own, which ends with the run"},
      {"python", "HOW", "fork: from one that has its libraries loaded; or plain (default: fork)"},
      {"preload", "M,...", "what forked Pythons have loaded (default: what earlier runs learnt)"},
      {"json", "FILE", "what was loaded, shared and saved, as a JSON document in that file"},
      {"junit", "FILE", "the same as properties in the JUnit file that the command wrote"}},
     run_run},
    {"python", "[--preload M,...] ARGS...", 0, WHOLE_LINE, "a Python forked from one that has its libraries loaded",
     {{0}}, python_run},
    {"serve", "", 0, 0, "be the broker that keeps models for all processes of this user",
     {{"folder", "DIR", "where it listens (default: $RESOURCE_POOL_BROKER, else the user's)"},
      {"ready-fd", "N", "write the line 'ready PID' there once it serves"},
      {"idle-exit", "S", "end when nothing was leased for S seconds; -1: never (default: 60)"},
      {"budget", "B", "at most so much: 8GiB, or cpu=8GiB,cuda:0=20GiB (default: what there is)"},
      {"name", "TEXT", "what it is for, for people who look"},
      {"detach", NULL, "go on in the background"}},
     serve_run},
    {"status", "", 0, 0, "what the broker holds, for whom, who waits, what happened and failed",
     {{"all", NULL, "also each client, the machine, and the brokers of isolated runs"}},
     status_run},
    {"top", "", 0, 0, "a live view of the broker: a screen on a terminal, a table elsewhere",
     {{"once", NULL, "one look, then end; with --json one document"},
      {"interval", "S", "seconds from one look to the next, 1 to 3600 (default: 1)"},
      {"sort", "BY", "bytes, leases, hits, idle, age or key (default: bytes)"},
      {"folder", "DIR", "of the broker to watch, such as an isolated one (default: the user's)"}},
     top_run},
    {"evict", "KEY", 1, 1, "take one entry out of the broker, by its key in 'rpool status'",
     {{"force", NULL, "at once: what its users run on it fails (without: after its last lease)"}},
     evict_run},
    {"move", "KEY DEVICE", 2, 2, "load a model on another device, and let the old one go",
     {{"force", NULL, "at once: what users of the old one run on it fails"}},
     move_run},
    {"clear", "", 0, 0, "take everything out of the broker",
     {{"force", NULL, "at once: what its users run on it fails (without: after the last lease)"}},
     clear_run},
    {"stop", "", 0, 0, "end the broker, if nothing is leased, and wait for its end",
     {{"force", NULL, "also if something is leased: what its users run on it fails"}},
     stop_run},
    {"cache", "", 0, 0, "what is kept between runs, for a CI to keep it too",
     {{"key", NULL, "print what the cache must fit to be of use: the key of a CI's cache"},
      {"folder", NULL, "print the folder to keep"},
      {"prune", NULL, "remove what is damaged, of other machines, or older than 90 days"}},
     cache_run},
    {"diagnose", "", 0, 0, "read an error text: what failed, why, and what to do here",
     {{"hardware", "H", "a kind or device: cuda, cuda:1, onnxruntime-cpu, any (default: as the text tells)"},
      {"model", "M", "a name, folder or file (default: as the text tells)"},
      {"stdin", NULL, "read the text from stdin (the default)"},
      {"jsonl", NULL, "lines are {id?, error, stack_trace?, hardware?, model?}, a JSON line for each"},
      {"file", "F", "read the text, or the lines, from that file"},
      {"save", "DIR", "also save a report in that folder, and print its path"},
      {"bundle", "FILE", "also write all that a bug report needs into that new file"},
      {"show", "FILE", "show a saved report or bundle; reads no text"},
      {"simulate", "FILE", "be that machine: a snapshot that 'rpool hardware --json' printed"}},
     diagnose_run},
    {"bench", "[hit|pool|hardware|classify|placement|diagnose|room|eviction|machine [MODEL]|load MODEL|python [PART]|forkserver]", 0,
     2,
     "the figures this project claims, measured here",
     {{"rounds", "N", "how often each figure is taken, 3 to 99 (default: 15)"}},
     bench_run},
    {"doctor", "", 0, 0, "check every component by using it",
     {{"test", "NAME", "one check only, by name (default: all)"}},
     doctor_run},
    {"version", "", 0, 0, "the version, and the engines found", {{0}}, version_run},
};
/* clang-format on */

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(void) {
    printf("rpool - load each model once per machine, not once per test\n\n"
           "usage: rpool COMMAND [--json] ...\n\ncommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    }
    printf("\n'rpool COMMAND --help' tells more.\n"
           "exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 no room or timed out, 5 no "
           "broker\n");
}

static const char *dashes(const struct option_row *row) {
    return row->name[1] ? "--" : "-";
}

static void print_command_help(const struct command *command) {
    bool has_json = false;
    printf("rpool %s - %s\n\nusage: rpool %s [OPTION...]%s%s\n\noptions:\n", command->name,
           command->help, command->name, command->words[0] ? " " : "", command->words);
    for (const struct option_row *row = command->options; row->name; row++) {
        char spelled[32];
        snprintf(spelled, sizeof spelled, "%s%s%s%s", dashes(row), row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        printf("  %-16s %s\n", spelled, row->help);
        has_json = has_json || strcmp(row->name, "json") == 0;
    }
    if (!has_json) printf("  %-16s %s\n", "--json", "one JSON document on stdout");
    printf("  %-16s %s\n", "--help", "this");
    if (explanation_of(command->name)) printf("\n%s", explanation_of(command->name));
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

static int usage_code(const struct command *command) {
    return command && command->words_max == COMMAND_LINE ? EXIT_OWN_FAILURE : EXIT_USAGE;
}

int usage_error(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("rpool: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nhint: 'rpool%s%s --help' tells more\n", command ? " " : "",
            command ? command : "");
    return usage_code(command ? find_command(command) : NULL);
}

/* The row of an option as it was typed, "--name", "--name=value" or "-n"; NULL: none. */
static const struct option_row *find_option(const struct command *command, const char *typed,
                                            const char **equals) {
    bool is_long = typed[1] == '-';
    const char *word = typed + (is_long ? 2 : 1);
    *equals = is_long ? strchr(word, '=') : NULL;
    size_t length = *equals ? (size_t)(*equals - word) : strlen(word);
    for (const struct option_row *row = command->options; row->name; row++) {
        if (strlen(row->name) == length && memcmp(row->name, word, length) == 0 &&
            is_long == (length > 1)) {
            return row;
        }
    }
    return NULL;
}

/* Take one option and its value, if it has one; false after a usage error. */
static bool take_option(const struct command *command, char **at, struct arguments *arguments,
                        int *used) {
    const char *equals;
    const struct option_row *row = find_option(command, at[0], &equals);
    *used = 1;
    if (!row && strcmp(at[0], "--json") == 0) {
        arguments->json = true;
        return true;
    }
    if (!row) {
        usage_error(command->name, "'rpool %s' has no option '%s'", command->name, at[0]);
        return false;
    }
    const char **option = &arguments->options[row - command->options];
    if (!row->value && equals) {
        usage_error(command->name, "the option '--%s' takes no value", row->name);
        return false;
    }
    if (row->value && !equals && !at[1]) {
        usage_error(command->name, "the option '%s%s' needs a value: %s", dashes(row), row->name,
                    row->value);
        return false;
    }
    *option = !row->value ? "" : equals ? equals + 1 : at[1];
    *used = row->value && !equals ? 2 : 1;
    return true;
}

static int run_command(const struct command *command, char **at) {
    struct arguments arguments = {0};
    if (command->words_max == WHOLE_LINE) {
        arguments.rest = at;
        return command->run(&arguments);
    }
    bool takes_rest = command->words_max == COMMAND_LINE;
    bool only_words = false;
    int used = 1;
    for (; *at; at += used) {
        used = 1;
        if (!only_words && strcmp(*at, "--") == 0) {
            only_words = true;
            if (!takes_rest) continue;
            arguments.rest = at + 1;
            break;
        } else if (!only_words && (strcmp(*at, "--help") == 0 || strcmp(*at, "-h") == 0)) {
            print_command_help(command);
            return 0;
        } else if (!only_words && (*at)[0] == '-' && (*at)[1] != '\0') {
            if (!take_option(command, at, &arguments, &used)) return usage_code(command);
        } else if (takes_rest) {
            arguments.rest = at;
            break;
        } else if (arguments.word_count == command->words_max) {
            return usage_error(command->name, "'%s' is one word too many for 'rpool %s'", *at,
                               command->name);
        } else {
            arguments.words[arguments.word_count++] = *at;
        }
    }
    bool has_rest = arguments.rest && *arguments.rest;
    if (arguments.word_count < command->words_min || (takes_rest && !has_rest)) {
        return usage_error(command->name, "'rpool %s' needs %s", command->name, command->words);
    }
    return command->run(&arguments);
}

static int run(int argc, char **argv) {
    if (argc < 2) return usage_error(NULL, "which command?");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return 0;
    }
    /* What a broker or a launcher starts, and nobody types: no row in the table, no help. */
    if (argc == 4 && strcmp(argv[1], "serve") == 0 && strcmp(argv[2], "--worker") == 0) {
        return worker_run(argv[3]);
    }
    if (argc == 6 && strcmp(argv[1], "serve") == 0 && strcmp(argv[2], "--fork-server") == 0) {
        return fs_keeper_run(argv[3], argv[4], argv[5]);
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    const struct command *command = find_command(name);
    if (!command) return usage_error(NULL, "there is no command '%s'", argv[1]);
    return run_command(command, argv + 2);
}

int main(int argc, char **argv) {
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "rpool: cannot write the result to stdout\n");
        return code ? code : 1;
    }
    return code;
}
