/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebGPU, as a browser offers it: the adapter that its page would get. The browser tells neither
 * memory nor driver, so Vulkan is asked beside it; where it sees one GPU of the same maker, that is
 * the one. An adapter that computes on the processor is a device of type "cpu".
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/browser.h"
#include "hardware/describe.h"
#include "hardware/device.h"
#include "hardware/vulkan.h"

#include <stdio.h>
#include <string.h>

/* Half a second is usual, the first start after an installation takes longer. */
enum { ASK_MS_MAX = 5000 };

static rp_status describe_memory(struct rp_snapshot *snapshot, rp_device *device,
                                 rp_accelerator *accelerator,
                                 const struct rp_vulkan_devices *vulkan, rp_error *err) {
    const struct rp_vulkan_device *same = rp_vulkan_find_vendor(vulkan, accelerator->vendor);
    if (!same) return RP_OK;
    device->memory_bytes_total = same->memory_bytes;
    if (same->type == RP_VULKAN_INTEGRATED_GPU) accelerator->is_integrated = RP_ANSWER_YES;
    if (same->type == RP_VULKAN_DISCRETE_GPU) accelerator->is_integrated = RP_ANSWER_NO;
    rp_status status = RP_OK;
    if (same->vendor <= 0xffff && same->device <= 0xffff) {
        status = rp_describe_print(snapshot, &accelerator->pci_id, err, "%04x:%04x", same->vendor,
                                   same->device);
    }
    return status == RP_OK ? rp_describe_text(snapshot, &device->name, same->name, err) : status;
}

static rp_status describe_adapter(struct rp_snapshot *snapshot, rp_device *device,
                                  rp_accelerator *accelerator, const struct rp_browser *browser,
                                  const struct rp_browser_answer *answer,
                                  const struct rp_vulkan_devices *vulkan, rp_error *err) {
    char name[2 * RP_BROWSER_TEXT_BYTES + 2];
    snprintf(name, sizeof name, "%s%s%s", answer->vendor,
             answer->vendor[0] && answer->architecture[0] ? " " : "", answer->architecture);
    accelerator->type = answer->is_fallback ? "cpu" : "gpu";
    rp_status status = rp_describe_text(snapshot, &accelerator->vendor, answer->vendor, err);
    if (status == RP_OK) {
        status = rp_describe_text(snapshot, &device->name,
                                  answer->description[0] ? answer->description : name, err);
    }
    if (status == RP_OK) {
        status = rp_describe_precisions(snapshot, accelerator,
                                        answer->has_f16 ? "fp32 fp16" : "fp32", err);
    }
    if (status != RP_OK) return status;
    if (answer->is_fallback) {
        accelerator->is_integrated = RP_ANSWER_YES;
        return rp_describe_print(snapshot, &accelerator->source, err, "%s (software)",
                                 browser->name);
    }
    bool is_seen = accelerator->vendor && rp_vulkan_find_vendor(vulkan, accelerator->vendor);
    status = rp_describe_print(snapshot, &accelerator->source, err, "%s%s", browser->name,
                               is_seen ? ", vulkan" : "");
    return status == RP_OK && is_seen ? describe_memory(snapshot, device, accelerator, vulkan, err)
                                      : status;
}

static rp_status describe_failure(struct rp_snapshot *snapshot, rp_device *device,
                                  const struct rp_browser *browser,
                                  const struct rp_browser_answer *answer,
                                  const struct rp_vulkan_devices *vulkan, rp_error *err) {
    char reason[1024];
    char seen[512];
    if (!answer->has_webgpu) {
        snprintf(reason, sizeof reason, "%s %s has no WebGPU", browser->name, answer->version);
    } else if (answer->webgpu_error[0] != '\0') {
        snprintf(reason, sizeof reason, "%s %s: %s", browser->name, answer->version,
                 answer->webgpu_error);
    } else {
        snprintf(reason, sizeof reason, "%s %s finds no adapter; Vulkan sees %s", browser->name,
                 answer->version, rp_vulkan_describe(vulkan, seen, sizeof seen));
    }
    return rp_describe_unavailable(snapshot, device, reason, err);
}

static rp_status ask_one(struct rp_snapshot *snapshot, const struct rp_browser *browser,
                         const struct rp_vulkan_devices *vulkan, rp_error *err) {
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
    snprintf(id, sizeof id, "webgpu:%s", browser->name);
    rp_status status = rp_describe_new(snapshot, RP_DEVICE_WEBGPU, id, &device, &accelerator, err);
    if (status == RP_OK) {
        status = rp_describe_print(snapshot, &device->name, err, "WebGPU of %s", browser->name);
    }
    if (status != RP_OK) return status;
    accelerator->source = rp_snapshot_text(snapshot, browser->name, strlen(browser->name));
    if (!accelerator->source) return rp_fail_no_memory(err);
    status = rp_describe_text(snapshot, &accelerator->runtime_version, answer.version, err);
    if (status == RP_OK && asked != RP_OK) {
        status = rp_describe_unavailable(snapshot, device, why.message, err);
    } else if (status == RP_OK && !answer.has_adapter) {
        status = describe_failure(snapshot, device, browser, &answer, vulkan, err);
    } else if (status == RP_OK) {
        status = describe_adapter(snapshot, device, accelerator, browser, &answer, vulkan, err);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status webgpu_ask(struct rp_snapshot *snapshot, rp_error *err) {
    struct rp_browsers *browsers = rp_alloc(sizeof *browsers);
    struct rp_vulkan_devices *vulkan = rp_alloc(sizeof *vulkan);
    rp_status status = browsers && vulkan ? RP_OK : rp_fail_no_memory(err);
    if (status == RP_OK) {
        rp_error ignored = RP_ERROR_INIT; /* a witness only: without it less is known */
        rp_browsers_find(browsers);
        status = rp_vulkan_list(vulkan, &ignored);
        if (status != RP_ERR_MEMORY)
            status = RP_OK;
        else if (err)
            *err = ignored;
    }
    for (size_t i = 0; status == RP_OK && i < browsers->count; i++) {
        if (!browsers->browsers[i].can_be_asked) continue;
        status = ask_one(snapshot, &browsers->browsers[i], vulkan, err);
    }
    if (status == RP_OK && snapshot->device_count == 0) {
        status = rp_browser_fail_absent(snapshot, browsers, "WebGPU", err);
    }
    rp_free(vulkan);
    rp_free(browsers);
    return status;
}

static rp_status webgpu_probe(struct rp_snapshot *snapshot, rp_error *err) {
    return rp_browser_probe(snapshot, RP_DEVICE_WEBGPU, "WEBGPU", "WebGPU", err);
}

const struct rp_device_ops rp_device_webgpu = {
    .kind = RP_DEVICE_WEBGPU,
    .name = "browser",
    .when = RP_ASK_SLOW,
    .probe = webgpu_probe,
    .ask = webgpu_ask,
};
