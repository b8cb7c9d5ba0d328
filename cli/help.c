/* SPDX-License-Identifier: Apache-2.0 */
/* What one line does not say of a command: printed by its --help, behind its options. */
#include "command.h"

#include <string.h>

/* clang-format off */
static const struct {
    const char *name;
    const char *text;
} explanations[] = {
    {"run",
     "The command keeps its exit code, its streams and its terminal; rpool's own failures are 125,\n"
     "126 (not executable) and 127 (not found). Its processes see RESOURCE_POOL_SHARE=machine, so that\n"
     "those which use the pool load each model once; others notice nothing. A summary on stderr tells\n"
     "loads, hits, what failed and why, and who ended without giving its leases back. A run within a\n"
     "run joins it. With -n the number of workers is in PYTEST_XDIST_AUTO_NUM_WORKERS,\n"
     "CTEST_PARALLEL_LEVEL and RUST_TEST_THREADS.\n\n"
     "  rpool run -n auto -- python -m pytest -n auto\n"
     "  rpool run --isolated --budget 4GiB --json report.json -- ctest\n"},
    {"serve",
     "Nobody needs to call this: the first program that shares starts a broker, which ends when\n"
     "nothing was leased for a minute. SIGTERM lets those who hold leases finish, a second one ends\n"
     "them. It tells one line an event on stderr.\n"},
    {"status",
     "Never starts a broker: without one the exit code is 5. Keys of entries are what 'evict' and\n"
     "'move' take. A process behind an entry is the worker that holds it.\n"},
    {"top",
     "Keys: q ends, s sorts by the next column, r the other way round, p stops the clock, space looks\n"
     "at once. Without a broker it waits for one. With --json one object a line at each refresh.\n"
     "NO_COLOR is honoured.\n"},
    {"evict",
     "What is leased takes no new leases and goes with its last one. With --force its leases are taken\n"
     "away, and on stderr stands from whom before that happens. 'freed_bytes' and 'verified' tell what\n"
     "became of it: verified is true when the process that held it was seen to be gone, null when\n"
     "nobody could tell.\n\n"
     "  rpool evict model:/models/m.onnx@cpu\n"},
    {"move",
     "Requests that name no device get the new one from then on. Who has the old one leased keeps it\n"
     "until then; with --force it is taken away once the new one is loaded, and on stderr stands from\n"
     "whom before the move begins. A move that fails leaves everything as it was.\n\n"
     "  rpool move model:/models/m.onnx@cuda:0 cuda:1\n"},
    {"clear",
     "As 'rpool evict', with everything. What is being loaded stays.\n"},
    {"stop",
     "Exit code 1 when something is leased, with the names of those who lease it; --force names them\n"
     "first and then ends the broker all the same. Workers end with it.\n"},
    {"cache",
     "The files are in one folder, and none of them is ever needed. RESOURCE_POOL_MACHINE names\n"
     "machines that are alike, so that what was learnt on one counts on the others.\n\n"
     "  restore \"$(rpool cache --folder)\" by the beginning \"$(rpool cache --key)\" of its key\n"},
    {"diagnose",
     "The text is whatever was printed: a message, stack traces, a log of any size. An answer is one also\n"
     "where the category is 'unknown': exit code 0. With --jsonl each answer has the 'id' of its line; a\n"
     "line that cannot be read is answered {id, error}, the others go on, and the exit code is 1.\n"
     "Nothing leaves this machine. Reports and bundles hold no tokens, passwords, homes, names or\n"
     "addresses as far as these can be told; read a bundle before you send it.\n\n"
     "  python train.py 2>&1 | rpool diagnose --hardware cuda:0 --model bert-base-uncased\n"
     "  rpool diagnose --file error.txt --save reports\n"
     "  rpool diagnose --jsonl < errors.jsonl > answers.jsonl\n"},
};
/* clang-format on */

const char *explanation_of(const char *command) {
    for (size_t i = 0; i < sizeof explanations / sizeof explanations[0]; i++) {
        if (strcmp(explanations[i].name, command) == 0) return explanations[i].text;
    }
    return NULL;
}
