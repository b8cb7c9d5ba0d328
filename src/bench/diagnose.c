/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to read an error text: short ones of many libraries; a log is those between lines
 * that say nothing. The baseline compares each line with every pattern, as one would without an
 * index.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "bench/summary.h"
#include "failure/rules.h"

#include <resourcepool/bench.h>
#include <resourcepool/failure.h>
#include <string.h>

enum {
    LOG_BYTES = 1 << 20,
    SHORT_TEXTS = 500,
    PLAIN_TEXTS = 16, /* of the baseline: it takes some ms for each */
    ERROR_EVERY = 12,
};

/* What a program prints while all is well. */
static const char *const calm[] = {
    "INFO 05-01 12:00:00 loader.py:389] Loading weights took 4.31 seconds\n",
    "step 1200: loss 2.1034, learning rate 3.0e-05, 812 ms\n",
    "  File \"/opt/env/lib/python3.11/site-packages/app/module.py\", line 1511, in _call_impl\n",
    "    return self._call_impl(*args, **kwargs)\n",
    "the quick brown fox jumps over the lazy dog, and the service goes on as it did before\n",
    "load_tensors: layer  12 assigned to device CPU\n",
};

static const char *const errors[] = {
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total capacity)",
    "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Gelu(20) node",
    "OSError: [Errno 28] No space left on device: '/var/cache/models/blob'",
    "llama_model_load: error loading model: unknown model architecture: 'lightning'",
    "RuntimeError: The size of tensor a (512) must match the size of tensor b (77) at dimension 1",
    "Out of memory: Killed process 4242 (python) total-vm:23456789kB, anon-rss:15728640kB",
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0",
    "requests.exceptions.ConnectionError: Max retries exceeded with url: /model/config.json",
    "Error: no available backend found. ERR: [webgpu] Error: Failed to get GPU adapter.",
    "KeyError: 'choices'",
    "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    "NCCL WARN Cuda failure 'peer access is not supported between these two devices'",
    "ModuleNotFoundError: No module named 'sentencepiece'",
    "Segmentation fault (core dumped)",
    "RuntimeError: Expected all tensors to be on the same device, but found at least two devices",
};

static const char *error_of(size_t i) {
    return errors[i % (sizeof errors / sizeof errors[0])];
}

static char *make_log(size_t *length) {
    struct rp_text text = RP_TEXT_INIT;
    for (size_t i = 0; text.length < LOG_BYTES && !text.failed; i++) {
        const char *line = calm[i % (sizeof calm / sizeof calm[0])];
        rp_text_append(&text, line, strlen(line));
        if (i % ERROR_EVERY != 0) continue;
        const char *error = error_of(i / ERROR_EVERY);
        rp_text_append(&text, error, strlen(error));
        rp_text_append(&text, "\n", 1);
    }
    *length = text.length;
    if (!text.failed) return text.bytes;
    rp_text_fini(&text);
    return NULL;
}

static rp_status read_text(const char *text, size_t length, rp_error *err) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    rp_diagnosis *diagnosis = NULL;
    question.error = text;
    question.error_bytes = length;
    rp_status status = rp_diagnose(&question, &diagnosis, err);
    rp_diagnosis_destroy(diagnosis);
    return status;
}

/* Every pattern, on every line. */
static void compare_all(const struct rp_failure_rules *rules, const char *text, size_t length) {
    const char *end = text + length;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        for (size_t i = 0; i < rules->pattern_count; i++) {
            struct rp_pattern_match match;
            bool found = rp_pattern_find(rules->patterns[i], line, (size_t)(stop - line), &match);
            __asm__ volatile("" : : "r"(found));
        }
        line = stop + 1;
    }
}

/* Microseconds of a short text. */
static rp_status time_short(const struct rp_failure_rules *rules, double *ours_us, double *plain_us,
                            rp_error *err) {
    int64_t begin_ns = rp_clock_ns();
    for (size_t i = 0; i < SHORT_TEXTS; i++) {
        rp_status status = read_text(error_of(i), strlen(error_of(i)), err);
        if (status != RP_OK) return status;
    }
    int64_t middle_ns = rp_clock_ns();
    for (size_t i = 0; i < PLAIN_TEXTS; i++) {
        compare_all(rules, error_of(i), strlen(error_of(i)));
    }
    *ours_us = rp_elapsed_ms(begin_ns, middle_ns) * 1e3 / SHORT_TEXTS;
    *plain_us = rp_elapsed_ms(middle_ns, rp_clock_ns()) * 1e3 / PLAIN_TEXTS;
    return RP_OK;
}

/* Milliseconds of a megabyte (2^20 bytes) of log; the baseline reads a part of it. */
static rp_status time_log(const struct rp_failure_rules *rules, const char *log, size_t length,
                          double *ours_ms, double *plain_ms, rp_error *err) {
    enum { PLAIN_PART = 64 };
    int64_t begin_ns = rp_clock_ns();
    rp_status status = read_text(log, length, err);
    int64_t middle_ns = rp_clock_ns();
    compare_all(rules, log, length / PLAIN_PART);
    *ours_ms = rp_elapsed_ms(begin_ns, middle_ns) * LOG_BYTES / (double)length;
    *plain_ms = rp_elapsed_ms(middle_ns, rp_clock_ns()) * PLAIN_PART * LOG_BYTES / (double)length;
    return status;
}

rp_status rp_bench_diagnose(rp_measure *rows, size_t rounds, rp_error *err) {
    const struct rp_failure_rules *rules = NULL;
    if (rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu rounds: it takes 3 to %d", rounds,
                       RP_BENCH_ROUNDS_MAX);
    }
    rp_status status = rp_failure_rules_of_process(&rules, err);
    if (status != RP_OK) return status;
    size_t length = 0;
    char *log = make_log(&length);
    if (!log) return rp_fail(err, RP_ERR_MEMORY, "no memory for a log of %d bytes", LOG_BYTES);
    double ours[2][RP_BENCH_ROUNDS_MAX];
    double plain[2][RP_BENCH_ROUNDS_MAX];
    for (size_t i = 0; status == RP_OK && i < rounds; i++) {
        status = time_short(rules, &ours[0][i], &plain[0][i], err);
        if (status == RP_OK) {
            status = time_log(rules, log, length, &ours[1][i], &plain[1][i], err);
        }
    }
    rp_free(log);
    if (status != RP_OK) return status;
    rows[0] = rp_bench_summarise("diagnose a short error (baseline: each pattern in turn)", "us",
                                 ours[0], plain[0], rounds);
    rows[1] = rp_bench_summarise("diagnose a MiB of log (baseline: each pattern in turn)", "ms",
                                 ours[1], plain[1], rounds);
    return RP_OK;
}
