/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/status.h"
#include "failure/report.h"

rp_status rp_redact(const char *text, size_t length, char **out, rp_error *err) {
    char *copy = rp_alloc(length + 1);
    if (!copy) return rp_fail(err, RP_ERR_MEMORY, "no memory for %zu bytes of a report", length);
    for (size_t i = 0; i < length; i++) {
        copy[i] = text[i];
    }
    *out = copy;
    return RP_OK;
}
