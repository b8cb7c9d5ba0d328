/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/describe.h"

#include "base/status.h"
#include "hardware/proc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* More than there are number formats. */
enum { PRECISIONS_MAX = 16 };

rp_status rp_describe_new(struct rp_snapshot *snapshot, rp_device_kind kind, const char *id,
                          rp_device **device, rp_accelerator **accelerator, rp_error *err) {
    rp_device *new_device = rp_snapshot_new_device(snapshot, kind, id);
    rp_accelerator *new_accelerator = rp_snapshot_new_accelerator(snapshot);
    if (!new_device || !new_accelerator) return rp_fail_no_memory(err);
    new_device->accelerator = new_accelerator;
    *device = new_device;
    *accelerator = new_accelerator;
    return RP_OK;
}

rp_status rp_describe_text(struct rp_snapshot *snapshot, const char **field, const char *text,
                           rp_error *err) {
    if (!text || text[0] == '\0') return RP_OK;
    const char *copy = rp_snapshot_text(snapshot, text, strlen(text));
    if (!copy) return rp_fail_no_memory(err);
    *field = copy;
    return RP_OK;
}

rp_status rp_describe_print(struct rp_snapshot *snapshot, const char **field, rp_error *err,
                            const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return rp_describe_text(snapshot, field, text, err);
}

rp_status rp_describe_precisions(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                                 const char *words, rp_error *err) {
    const char **precisions = NULL;
    size_t count = 0;
    struct rp_span word;
    struct rp_span rest = {words, words ? strlen(words) : 0};
    while (count < PRECISIONS_MAX && rp_span_next_word(&rest, " ", &word)) {
        if (!precisions) precisions = rp_snapshot_alloc(snapshot, PRECISIONS_MAX * sizeof(char *));
        if (!precisions) return rp_fail_no_memory(err);
        precisions[count] = rp_snapshot_text(snapshot, word.at, word.length);
        if (!precisions[count++]) return rp_fail_no_memory(err);
    }
    if (count > 0) {
        accelerator->precisions = precisions;
        accelerator->precision_count = count;
    }
    return RP_OK;
}

rp_status rp_describe_unavailable(struct rp_snapshot *snapshot, rp_device *device,
                                  const char *reason, rp_error *err) {
    device->available = false;
    return rp_describe_text(snapshot, &device->reason, reason, err);
}
