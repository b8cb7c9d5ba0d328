/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebNN, as a browser offers it. A context of device type "gpu" or "npu" can be had where there is
 * neither, so what the hardware is stays unknown; that a context can be had at all is known only by
 * making one.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/browser.h"
#include "hardware/describe.h"
#include "hardware/device.h"

#include <stdio.h>
#include <string.h>

enum { ASK_MS_MAX = 5000 };

static rp_status describe(struct rp_snapshot *snapshot, rp_device *device,
                          rp_accelerator *accelerator, const struct rp_browser *browser,
                          const struct rp_browser_answer *answer, rp_error *err) {
    bool has_any = false;
    for (size_t i = 0; i < RP_WEBNN_TYPES; i++) {
        has_any = has_any || answer->has_context[i];
    }
    if (has_any) {
        bool is_cpu = !answer->has_context[RP_WEBNN_GPU] && !answer->has_context[RP_WEBNN_NPU];
        accelerator->type = is_cpu ? "cpu" : NULL;
        accelerator->is_integrated = is_cpu ? RP_ANSWER_YES : RP_ANSWER_UNKNOWN;
        return rp_describe_precisions(snapshot, accelerator, answer->webnn_precisions, err);
    }
    char reason[512];
    snprintf(reason, sizeof reason, "%s %s %s%s", browser->name, answer->version,
             answer->has_webnn ? "makes no WebNN context: " : "has no WebNN",
             answer->has_webnn ? answer->webnn_error : "");
    return rp_describe_unavailable(snapshot, device, reason, err);
}

static rp_status ask_one(struct rp_snapshot *snapshot, const struct rp_browser *browser,
                         rp_error *err) {
    char id[RP_LIMIT_DEVICE_BYTES];
    struct rp_browser_answer answer = {0};
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    rp_error why = RP_ERROR_INIT;
    rp_status asked = rp_browser_ask(browser, ASK_MS_MAX, &answer, &why);
    if (asked == RP_ERR_MEMORY) {
        if (err) *err = why;
        return asked;
    }
    snprintf(id, sizeof id, "webnn:%s", browser->name);
    rp_status status = rp_describe_new(snapshot, RP_DEVICE_WEBNN, id, &device, &accelerator, err);
    /* Whose hardware it is nobody says; what can be named is the interface. */
    if (status == RP_OK) {
        status = rp_describe_print(snapshot, &device->name, err, "WebNN of %s", browser->name);
    }
    if (status == RP_OK) {
        status = rp_describe_text(snapshot, &accelerator->source, browser->name, err);
    }
    if (status == RP_OK) {
        status = rp_describe_text(snapshot, &accelerator->runtime_version, answer.version, err);
    }
    if (status == RP_OK && asked != RP_OK) {
        status = rp_describe_unavailable(snapshot, device, why.message, err);
    } else if (status == RP_OK) {
        status = describe(snapshot, device, accelerator, browser, &answer, err);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status webnn_ask(struct rp_snapshot *snapshot, rp_error *err) {
    struct rp_browsers *browsers = rp_alloc(sizeof *browsers);
    if (!browsers) return rp_fail_no_memory(err);
    rp_status status = RP_OK;
    rp_browsers_find(browsers);
    for (size_t i = 0; status == RP_OK && i < browsers->count; i++) {
        if (!browsers->browsers[i].can_be_asked) continue;
        status = ask_one(snapshot, &browsers->browsers[i], err);
    }
    if (status == RP_OK && snapshot->device_count == 0) {
        status = rp_browser_fail_absent(snapshot, browsers, "WebNN", err);
    }
    rp_free(browsers);
    return status;
}

static rp_status webnn_probe(struct rp_snapshot *snapshot, rp_error *err) {
    return rp_browser_probe(snapshot, RP_DEVICE_WEBNN, "WEBNN", "WebNN", err);
}

const struct rp_device_ops rp_device_webnn = {
    .kind = RP_DEVICE_WEBNN,
    .name = "browser",
    .when = RP_ASK_SLOW,
    .probe = webnn_probe,
    .ask = webnn_ask,
};
