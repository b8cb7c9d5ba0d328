/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/report.h"

#include "base/status.h"

rp_status rp_failure_report(const rp_failure_question *question, char **report, rp_error *err) {
    (void)question;
    (void)report;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "reports are not there yet");
}

rp_status rp_failure_report_save(const char *report, const char *folder, char **path,
                                 rp_error *err) {
    (void)report;
    (void)folder;
    (void)path;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "reports are not there yet");
}

rp_status rp_failure_report_show(const char *path, char **text, rp_error *err) {
    (void)path;
    (void)text;
    return rp_fail(err, RP_ERR_UNSUPPORTED, "reports are not there yet");
}
