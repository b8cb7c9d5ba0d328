/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter is $RESOURCE_POOL_PYTHON, else python3 on the PATH. A package that was built
 * beside this program goes before one that is installed, so that both are of one version.
 */
#include "bench_python.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NOT_IMPORTABLE = 69 };

extern char **environ;

/* Exits with a number of its own where the package cannot be had; a traceback tells all else. */
static const char script[] = "import sys\n"
                             "try:\n"
                             "    from resource_pool import bench\n"
                             "except ImportError as error:\n"
                             "    print(error, file=sys.stderr)\n"
                             "    sys.exit(69)\n"
                             "sys.exit(bench.main(sys.argv[1:]))\n";

/* The folder that this program is in; false: not known. */
static bool own_folder(char program[PATH_BYTES], char folder[PATH_BYTES]) {
    ssize_t length = readlink("/proc/self/exe", program, PATH_BYTES - 1);
    if (length < 0) return false;
    program[length] = '\0';
    memcpy(folder, program, (size_t)length + 1);
    char *end = strrchr(folder, '/');
    if (end) *end = '\0';
    return end != NULL;
}

/* build/cli/rpool has the package in build/python. */
static void find_package(void) {
    char program[PATH_BYTES];
    char folder[PATH_BYTES];
    char path[PATH_BYTES + 64];
    char package[PATH_BYTES + 128];
    if (!own_folder(program, folder)) return;
    setenv("RESOURCE_POOL_RPOOL", program, 0);
    snprintf(path, sizeof path, "%s/../python", folder);
    snprintf(package, sizeof package, "%s/resource_pool/__init__.py", path);
    if (access(package, R_OK) != 0) return;
    const char *before = getenv("PYTHONPATH");
    char *both = NULL;
    if (asprintf(&both, "%s%s%s", path, before ? ":" : "", before ? before : "") < 0) return;
    setenv("PYTHONPATH", both, 1);
    free(both);
}

/* Starts it; *output is what it writes to stdout. */
static rp_status start(const char *python, const char *part, size_t rounds, pid_t *pid,
                       FILE **output, rp_error *err) {
    char count[24];
    int pipe_ends[2];
    const char *const words[] = {python, "-c", script, "--json", "--rounds", count, part, NULL};
    char *arguments[sizeof words / sizeof words[0]];
    memcpy(arguments, words, sizeof words); /* posix_spawn() changes none, whatever it says */
    posix_spawn_file_actions_t actions;
    snprintf(count, sizeof count, "%zu", rounds);
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) return rp_fail_errno(err, "cannot run '%s'", python);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    errno = posix_spawnp(pid, python, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
    *output = errno == 0 ? fdopen(pipe_ends[0], "r") : NULL;
    if (*output) return RP_OK;
    close(pipe_ends[0]);
    rp_fail_errno(err, "cannot run '%s'", python);
    rp_hint(err, "name an interpreter in RESOURCE_POOL_PYTHON");
    return err ? err->status : RP_ERR_IO;
}

static rp_status check_end(const char *python, int status, rp_error *err) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return RP_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_IMPORTABLE) {
        rp_fail(err, RP_ERR_ABSENT, "'%s' cannot import resource_pool", python);
        rp_hint(err, "install the package for it ('pip install .'), or name an interpreter that "
                     "has it in RESOURCE_POOL_PYTHON");
        return RP_ERR_ABSENT;
    }
    return rp_fail(err, RP_ERR_STATE, "'%s' ended with %s %d before it had all figures", python,
                   WIFEXITED(status) ? "exit code" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static rp_status read_rows(json_t *list, rp_measure *rows, size_t rows_max, size_t *count,
                           rp_error *err) {
    size_t total = json_array_size(list);
    if (total > rows_max) {
        return rp_fail(err, RP_ERR_LIMIT, "%zu figures, at most %zu are shown", total, rows_max);
    }
    for (size_t i = 0; i < total; i++) {
        rp_measure *row = &rows[i];
        if (json_unpack(json_array_get(list, i), "{s:s, s:s, s:F, s:F, s:F, s:F, s:F}", "name",
                        &row->name, "unit", &row->unit, "min", &row->min, "median", &row->median,
                        "max", &row->max, "baseline", &row->baseline, "ratio", &row->ratio) != 0) {
            return rp_fail(err, RP_ERR_DATA, "figure %zu of the package is no row", i);
        }
    }
    *count = total;
    return RP_OK;
}

rp_status bench_python(const char *part, size_t rounds, rp_measure *rows, size_t rows_max,
                       size_t *count, rp_error *err) {
    static json_t *list; /* the texts of the rows are in it */
    const char *python = getenv("RESOURCE_POOL_PYTHON");
    FILE *output = NULL;
    pid_t pid = 0;
    int status = 0;
    if (!python || !*python) python = "python3";
    find_package();
    rp_status started = start(python, part, rounds, &pid, &output, err);
    if (started != RP_OK) return started;
    json_decref(list);
    list = json_loadf(output, 0, NULL);
    fclose(output);
    if (waitpid(pid, &status, 0) != pid) return rp_fail_errno(err, "cannot wait for '%s'", python);
    rp_status ended = check_end(python, status, err);
    if (ended != RP_OK) return ended;
    if (!json_is_array(list)) return rp_fail(err, RP_ERR_DATA, "'%s' gave no figures", python);
    return read_rows(list, rows, rows_max, count, err);
}
