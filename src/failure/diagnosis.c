/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/diagnosis.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <resourcepool/text.h>
#include <string.h>

rp_status rp_diagnose(const rp_failure_question *question, rp_diagnosis **out, rp_error *err) {
    struct rp_diagnosis *diagnosis = rp_alloc(sizeof *diagnosis);
    if (!diagnosis) return rp_fail(err, RP_ERR_MEMORY, "no memory for a diagnosis");
    rp_status status = rp_advise(diagnosis, question->snapshot, err);
    if (status != RP_OK) {
        rp_diagnosis_destroy(diagnosis);
        return status;
    }
    *out = diagnosis;
    return RP_OK;
}

rp_status rp_diagnose_fd(const rp_failure_question *question, int fd, rp_diagnosis **out,
                         rp_error *err) {
    (void)fd;
    return rp_diagnose(question, out, err);
}

rp_category rp_diagnosis_category(const rp_diagnosis *diagnosis) {
    return diagnosis->category;
}

double rp_diagnosis_confidence(const rp_diagnosis *diagnosis) {
    return diagnosis->confidence;
}

const char *rp_diagnosis_line(const rp_diagnosis *diagnosis) {
    return diagnosis->line;
}

rp_status rp_diagnosis_to_json(const rp_diagnosis *diagnosis, int indent, char **text,
                               rp_error *err) {
    (void)diagnosis;
    (void)indent;
    (void)text;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "not there yet");
}

rp_status rp_diagnosis_to_text(const rp_diagnosis *diagnosis, char **text, rp_error *err) {
    (void)diagnosis;
    (void)text;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "not there yet");
}

void rp_diagnosis_destroy(rp_diagnosis *diagnosis) {
    if (!diagnosis) return;
    rp_advice_fini(&diagnosis->advice);
    rp_free(diagnosis);
}
