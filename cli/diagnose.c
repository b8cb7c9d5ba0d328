/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>

enum { HARDWARE, MODEL, STDIN, JSONL, INPUT, SIMULATE };

int diagnose_run(const struct arguments *arguments) {
    rp_error err = RP_ERROR_INIT;
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    question.hardware = arguments->options[HARDWARE];
    question.model = arguments->options[MODEL];
    rp_diagnosis *diagnosis = NULL;
    char *text = NULL;
    rp_status status = rp_diagnose_fd(&question, 0, &diagnosis, &err);
    if (status == RP_OK) {
        status = arguments->json ? rp_diagnosis_to_json(diagnosis, 2, &text, &err)
                                 : rp_diagnosis_to_text(diagnosis, &text, &err);
    }
    if (status == RP_OK) printf("%s\n", text);
    rp_string_free(text);
    rp_diagnosis_destroy(diagnosis);
    return status == RP_OK ? 0 : report(&err);
}
