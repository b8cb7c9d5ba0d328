/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool run: any test command, with one pool for all its processes.
 *
 * A command that knows nothing of ResourcePool must not notice: it sees a few more variables, and
 * its own exit code comes back.
 */
#include "run.h"

#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUDGET, WORKERS, SHARE, ISOLATED, PYTHON, PRELOAD, JSON, JUNIT };

enum { LOOK_MS = 100 };

/* What test runners read for their number of workers. */
static const char *const width_names[] = {"PYTEST_XDIST_AUTO_NUM_WORKERS", "CTEST_PARALLEL_LEVEL",
                                          "RUST_TEST_THREADS"};

struct run {
    struct run_broker broker;
    struct run_line line;
    struct run_killed killed;
    struct run_python python;
};

static void tick(void *user) {
    struct run *run = user;
    run_broker_look(&run->broker);
    run_killed_look(&run->killed);
    run_python_look(&run->python);
    run_line_draw(&run->line, &run->broker);
}

static void pause_line(void *user) {
    struct run *run = user;
    run_line_clear(&run->line);
}

/* False after a usage error. */
static bool take_wish(const struct arguments *arguments, struct run_broker_wish *wish) {
    const char *share = arguments->options[SHARE];
    *wish = (struct run_broker_wish){
        .is_alone = share && strcmp(share, "process") == 0,
        .is_isolated = arguments->options[ISOLATED] != NULL,
        .budget = arguments->options[BUDGET],
    };
    if (share && !wish->is_alone && strcmp(share, "machine") != 0) {
        usage_error("run", "'--share %s': neither 'machine' nor 'process'", share);
        return false;
    }
    if (wish->is_alone && (wish->is_isolated || wish->budget)) {
        usage_error("run", "'--%s' is about a broker, and '--share process' has none",
                    wish->is_isolated ? "isolated" : "budget");
        return false;
    }
    return true;
}

static void set_width(const struct run_width *width) {
    char number[24];
    if (width->count == 0) return;
    snprintf(number, sizeof number, "%ld", width->count);
    for (size_t i = 0; i < sizeof width_names / sizeof width_names[0]; i++) {
        setenv(width_names[i], number, 1);
    }
    fprintf(stderr, "rpool: %ld workers: %s\n", width->count, width->why);
}

/* The files that were asked for. One that cannot be written is told; the command's code stays. */
static bool write_files(const struct arguments *arguments, const struct run *run,
                        const struct run_outcome *outcome, const struct run_width *width) {
    const char *json = arguments->options[JSON];
    const char *junit = arguments->options[JUNIT];
    rp_error err = RP_ERROR_INIT;
    bool is_written = true;
    if (json &&
        run_summary_write(json, &run->broker, &run->python, outcome, width, &err) != RP_OK) {
        report(&err);
        is_written = false;
    }
    if (junit && run_junit_write(junit, &run->broker, &err) != RP_OK) {
        report(&err);
        is_written = false;
    }
    return is_written;
}

/* False after a usage error. */
static bool check_python(const struct arguments *arguments) {
    const char *how = arguments->options[PYTHON];
    if (!how || strcmp(how, "fork") == 0 || strcmp(how, "plain") == 0) return true;
    usage_error("run", "'--python %s': neither 'fork' nor 'plain'", how);
    return false;
}

/* Without a broker there is nobody to look after servers, so there are none. */
static void open_python(struct run *run, const struct arguments *arguments) {
    char why[WHY_BYTES];
    bool is_alone = run->broker.kind == RUN_BROKER_NONE;
    const struct run_python_wish wish = {
        .how = is_alone ? "plain" : arguments->options[PYTHON],
        .preloads = arguments->options[PRELOAD],
        .folder = run->broker.folder[0] ? run->broker.folder : NULL,
    };
    run_python_open(&run->python, &wish, arguments->rest, why, sizeof why);
    if (why[0]) fprintf(stderr, "rpool: %s\n", why);
}

int run_run(const struct arguments *arguments) {
    struct run_broker_wish wish;
    struct run_history history;
    struct run_width width = {0};
    struct run run;
    struct run_outcome outcome;
    rp_error err = RP_ERROR_INIT;
    if (!take_wish(arguments, &wish) || !check_python(arguments)) return EXIT_OWN_FAILURE;
    run_history_open(&history, arguments->rest);
    if (!run_width_choose(&width, arguments->options[WORKERS], &history)) return EXIT_OWN_FAILURE;

    run_signals_init();
    if (run_broker_open(&run.broker, &wish, &err) != RP_OK) {
        report(&err);
        return EXIT_OWN_FAILURE;
    }
    if (run.broker.why[0]) fprintf(stderr, "rpool: %s\n", run.broker.why);
    set_width(&width);
    open_python(&run, arguments);
    run_line_init(&run.line, &run.broker);
    run_killed_open(&run.killed);
    const struct run_watch watch = {
        .interval_ms = LOOK_MS,
        .tick = tick,
        .pause = pause_line,
        .user = &run,
    };
    run_tree(arguments->rest, &watch, &outcome);
    run_line_clear(&run.line);
    run_python_close(&run.python, outcome.has_started && !outcome.was_interrupted);
    run_broker_close(&run.broker);
    run_killed_tell(&run.killed, arguments->rest[0], &outcome, run.broker.failures);
    run_killed_close(&run.killed);
    run_signals_fini(); /* a file that is a pipe without a reader must not hold us for ever */
    if (outcome.has_started) {
        run_summary_print(&run.broker, &run.python, &outcome);
        if (!outcome.was_interrupted) run_history_add(&history, outcome.process_bytes_peak);
    }
    int code = outcome.exit_code;
    if (!write_files(arguments, &run, &outcome, &width) && code == 0) code = EXIT_OWN_FAILURE;
    run_python_fini(&run.python);
    run_broker_fini(&run.broker);
    return code;
}
