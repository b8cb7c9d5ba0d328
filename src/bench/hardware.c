/* SPDX-License-Identifier: Apache-2.0 */
/* What looking at the machine costs, beside what is promised. */
#include <resourcepool/bench.h>

#include "base/clock.h"
#include "base/status.h"
#include "bench/summary.h"
#include "hardware/cache.h"

#include <resourcepool/hardware.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHARES = 1000, PATH_BYTES = 64 };

/* An answer as a browser and as a runtime with three devices give it. */
static const struct {
    rp_device_kind kind;
    const char *json;
} answers[] = {
    {RP_DEVICE_OPENVINO,
     "{\"version\":1,\"devices\":["
     "{\"id\":\"openvino:CPU\",\"kind\":\"openvino\",\"name\":\"a processor\",\"accelerator\":"
     "{\"type\":\"cpu\",\"precisions\":[\"fp32\",\"fp16\",\"int8\"],\"source\":\"openvino\"}},"
     "{\"id\":\"openvino:GPU\",\"kind\":\"openvino\",\"name\":\"a GPU\",\"memory_bytes_total\":"
     "12168933376,\"accelerator\":{\"type\":\"gpu\",\"pci_address\":\"0000:03:00.0\","
     "\"precisions\":[\"fp32\",\"fp16\",\"int8\"],\"source\":\"openvino, level-zero\"}},"
     "{\"id\":\"openvino:NPU\",\"kind\":\"openvino\",\"name\":\"an NPU\",\"accelerator\":"
     "{\"type\":\"npu\",\"precisions\":[\"fp16\",\"int8\"],\"source\":\"openvino\"}}]}"},
    {RP_DEVICE_WEBGPU,
     "{\"version\":1,\"devices\":[{\"id\":\"webgpu:chromium\",\"kind\":\"webgpu\",\"name\":"
     "\"a GPU\",\"accelerator\":{\"type\":\"gpu\",\"precisions\":[\"fp32\",\"fp16\"],"
     "\"source\":\"chromium\"}}]}"},
};
enum { ANSWERS = sizeof answers / sizeof answers[0] };

static double since_ms(int64_t start_ns) {
    return rp_elapsed_ms(start_ns, rp_clock_ns());
}

static rp_status keep_answer(struct rp_cache *cache, size_t i, rp_error *err) {
    const rp_snapshot *answer = NULL;
    rp_status status =
        rp_snapshot_from_json(answers[i].json, strlen(answers[i].json), NULL, &answer, err);
    if (status == RP_OK) status = rp_cache_keep(cache, answers[i].kind, answer, false, err);
    rp_snapshot_release(answer);
    return status;
}

/* One process: writes the answers to the cache, or reads them. */
static rp_status use_cache(const char *path, bool is_writing, rp_error *err) {
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    if (!snapshot) return rp_fail_no_memory(err);
    rp_status status = rp_cache_open(path, snapshot, &cache, err);
    for (size_t i = 0; status == RP_OK && i < ANSWERS; i++) {
        bool found = true;
        status = is_writing ? keep_answer(cache, i, err)
                            : rp_cache_load(cache, answers[i].kind, &found, err);
        if (status == RP_OK && !found) {
            status = rp_fail(err, RP_ERR_STATE, "what was kept is not found: %s",
                             rp_snapshot_note(snapshot, 0));
        }
    }
    rp_status closed = rp_cache_close(cache, status == RP_OK ? err : NULL);
    rp_snapshot_release(snapshot);
    return status == RP_OK ? closed : status;
}

static rp_status measure_cache(double *ms, size_t rounds, rp_error *err) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/tmp/rp-bench-hardware-%ld.json", (long)getpid());
    rp_status status = use_cache(path, true, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        int64_t start_ns = rp_clock_ns();
        status = use_cache(path, false, err);
        ms[i] = since_ms(start_ns);
    }
    unlink(path);
    return status;
}

static rp_status detect(double *ms, size_t rounds, rp_error *err) {
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.cache = "off";
    rp_status status = RP_OK;
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        const rp_snapshot *snapshot = NULL;
        status = rp_hardware_detect(&options, &snapshot, err);
        if (status == RP_OK) ms[i] = rp_snapshot_detect_ms(snapshot);
        rp_snapshot_release(snapshot);
    }
    return status;
}

static rp_status share(double *ms, size_t rounds, rp_error *err) {
    const rp_snapshot *snapshot = NULL;
    rp_status status = rp_hardware_snapshot(&snapshot, err);
    rp_snapshot_release(snapshot);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        int64_t start_ns = rp_clock_ns();
        for (int j = 0; j < SHARES && status == RP_OK; j++) {
            status = rp_hardware_snapshot(&snapshot, err);
            if (status == RP_OK) rp_snapshot_release(snapshot);
        }
        ms[i] = since_ms(start_ns) / SHARES;
    }
    return status;
}

rp_status rp_bench_hardware(rp_measure *rows, size_t rounds, rp_error *err) {
    static const struct {
        const char *name;
        double promised_ms;
        rp_status (*measure)(double *ms, size_t rounds, rp_error *err);
    } figures[RP_BENCH_HARDWARE_ROWS] = {
        {"detect hardware (baseline: the promised 10 ms)", 10, detect},
        {"snapshot of the process (promised: 0.2 ms)", 0.2, share},
        {"slow kinds from the cache (promised: 0.2 ms)", 0.2, measure_cache},
    };
    if (rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu rounds: it takes 3 to %d", rounds,
                       RP_BENCH_ROUNDS_MAX);
    }
    for (size_t i = 0; i < RP_BENCH_HARDWARE_ROWS; i++) {
        double ms[RP_BENCH_ROUNDS_MAX] = {0};
        double promised[RP_BENCH_ROUNDS_MAX];
        for (size_t j = 0; j < rounds; j++) {
            promised[j] = figures[i].promised_ms;
        }
        rp_status status = figures[i].measure(ms, rounds, err);
        if (status != RP_OK) return status;
        rows[i] = rp_bench_summarise(figures[i].name, "ms", ms, promised, rounds);
    }
    return RP_OK;
}
