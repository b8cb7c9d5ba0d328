/* SPDX-License-Identifier: Apache-2.0 */
/* A line of 'rpool diagnose --jsonl' and its answer. */
#ifndef RP_CLI_DIAGNOSE_LINE_H
#define RP_CLI_DIAGNOSE_LINE_H

#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stddef.h>

struct line {
    size_t number;
    char *text; /* borrowed, and mended in place; NULL: it was too long */
    size_t length;

    /* Its answer. */
    char *id;     /* as JSON; NULL: null */
    char *answer; /* as the library made it; NULL: it is refused */
    char *reason; /* of a refusal, as JSON; NULL: no memory was left for it */
};

/* Answer it; any thread. `defaults` is what a line does not say itself. */
void line_answer(struct line *line, const rp_failure_question *defaults);

/* Print its answer on a line of stdout, and free it; whether it was refused. */
bool line_print(struct line *line);

#endif
