/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that pretends: it takes as long and says it takes as many bytes as its name tells.
 *
 *     NAME?load_ms=200&memory_bytes=64MiB&run_ms=2&fail=load
 *
 * Everything above engines is tested with it. It allocates nothing of what it claims, and says
 * `simulated` wherever it shows.
 */
#include "engine/simulated.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SLICE_MS = 5, DURATION_MS_MAX = 24 * 60 * 60 * 1000, VALUE_BYTES = 32, WIDTH = 4 };

static const char *const keys[] = {"load_ms", "memory_bytes", "run_ms", "fail"};
enum key { LOAD_MS, MEMORY_BYTES, RUN_MS, FAIL, KEY_COUNT };

static const char *const failures[] = {
    [RP_SIMULATED_NEVER] = "never",
    [RP_SIMULATED_LOAD] = "load",
    [RP_SIMULATED_RUN] = "run",
    [RP_SIMULATED_MEMORY] = "memory",
};
enum { FAILURE_COUNT = sizeof failures / sizeof failures[0] };

static rp_status set_key(struct rp_simulated_plan *plan, enum key key, const char *value,
                         rp_error *err) {
    uint64_t number = 0;
    switch (key) {
    case LOAD_MS:
    case RUN_MS:
        if (!rp_text_parse_u64(value, &number) || number > DURATION_MS_MAX) break;
        *(key == LOAD_MS ? &plan->load_ms : &plan->run_ms) = number;
        return RP_OK;
    case MEMORY_BYTES:
        if (!rp_text_parse_bytes(value, &number) || number == RP_UNKNOWN_U64) break;
        plan->memory_bytes = number;
        return RP_OK;
    case FAIL:
        for (int i = 0; i < FAILURE_COUNT; i++) {
            if (strcmp(value, failures[i]) != 0) continue;
            plan->failure = (enum rp_simulated_failure)i;
            return RP_OK;
        }
        break;
    case KEY_COUNT:
        break;
    }
    rp_fail(err, RP_ERR_ARGUMENT, "a simulated model cannot have %s '%s'", keys[key], value);
    rp_hint(err, key == FAIL           ? "fail is one of never, load, run, memory"
                 : key == MEMORY_BYTES ? "memory_bytes is a size such as 64MiB"
                                       : "milliseconds are a whole number up to one day");
    return RP_ERR_ARGUMENT;
}

rp_status rp_simulated_parse(const char *name, struct rp_simulated_plan *plan, rp_error *err) {
    *plan = (struct rp_simulated_plan){.memory_bytes = 0};
    const char *question = strchr(name, '?');
    const char *at = question ? question + 1 : "";
    while (*at) {
        size_t length = strcspn(at, "&");
        const char *equals = memchr(at, '=', length);
        size_t key_length = equals ? (size_t)(equals - at) : length;
        int key = 0;
        while (key < KEY_COUNT &&
               (strlen(keys[key]) != key_length || memcmp(keys[key], at, key_length) != 0)) {
            key++;
        }
        if (key == KEY_COUNT || !equals) {
            rp_fail(err, RP_ERR_ARGUMENT, "a simulated model knows nothing of '%.*s'",
                    (int)(length < 60 ? length : 60), at);
            rp_hint(err, "it knows load_ms=N, memory_bytes=SIZE, run_ms=N, fail=load|run|memory");
            return RP_ERR_ARGUMENT;
        }
        char value[VALUE_BYTES];
        size_t value_length = length - key_length - 1;
        if (value_length >= sizeof value) {
            return rp_fail(err, RP_ERR_ARGUMENT,
                           "the value of '%s' of a simulated model is too long", keys[key]);
        }
        memcpy(value, equals + 1, value_length);
        value[value_length] = '\0';
        rp_status status = set_key(plan, (enum key)key, value, err);
        if (status != RP_OK) return status;
        at += length;
        if (*at == '&') at++;
    }
    return RP_OK;
}

/* Sleep in slices, so that a load that nobody wants any more ends soon. */
static rp_status pretend_to_work(uint64_t duration_ms, const struct rp_engine_request *request,
                                 rp_error *err) {
    int64_t end_ns = rp_deadline_after_ms((int64_t)duration_ms);
    for (;;) {
        int64_t now_ns = rp_clock_ns();
        if (request && request->cancelled &&
            atomic_load_explicit(request->cancelled, memory_order_relaxed)) {
            return rp_fail(err, RP_ERR_CANCELLED, "the load was called off");
        }
        if (request && now_ns >= request->deadline_ns) {
            return rp_fail(err, RP_ERR_TIMEOUT, "the load passed its deadline");
        }
        if (now_ns >= end_ns) return RP_OK;
        int64_t left_ns = end_ns - now_ns;
        int64_t slice_ns = SLICE_MS * INT64_C(1000000);
        struct timespec slice = {0, (long)(left_ns < slice_ns ? left_ns : slice_ns)};
        nanosleep(&slice, NULL);
    }
}

static rp_status simulated_probe(rp_engine_info *info, rp_error *err) {
    (void)err;
    info->available = true;
    snprintf(info->version, sizeof info->version, "1");
    return RP_OK;
}

static rp_status simulated_can_load(const char *path, const char *device, rp_error *err) {
    struct rp_simulated_plan plan;
    (void)device;
    return rp_simulated_parse(path, &plan, err);
}

static rp_status simulated_open(const struct rp_engine_request *request, rp_model *model,
                                rp_error *err) {
    struct rp_simulated_plan *plan = rp_alloc(sizeof *plan);
    if (!plan) return rp_fail(err, RP_ERR_MEMORY, "no memory for a simulated model");
    model->state = plan;
    rp_status status = rp_simulated_parse(request->path, plan, err);
    if (status == RP_OK) status = pretend_to_work(plan->load_ms, request, err);
    if (status != RP_OK) return status;
    if (plan->failure == RP_SIMULATED_LOAD) {
        return rp_fail(err, RP_ERR_LOAD, "the simulated model '%s' fails to load, as told",
                       request->path);
    }
    if (plan->failure == RP_SIMULATED_MEMORY) {
        char bytes[RP_BYTES_TEXT_BYTES];
        return rp_fail(err, RP_ERR_MEMORY,
                       "the simulated model '%s' finds no memory for %s, as told", request->path,
                       rp_text_bytes(plan->memory_bytes, bytes, sizeof bytes));
    }
    static const int64_t shape[] = {-1, WIDTH};
    static const char *const names[] = {"batch", ""};
    if (!rp_engine_ports_make(&model->inputs, 1) || !rp_engine_ports_make(&model->outputs, 1) ||
        !rp_engine_ports_set(&model->inputs, 0, "input", NULL, RP_DTYPE_FLOAT32, shape, 2, names) ||
        !rp_engine_ports_set(&model->outputs, 0, "output", NULL, RP_DTYPE_FLOAT32, shape, 2,
                             names)) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a simulated model");
    }
    return RP_OK;
}

/* The output is the input, doubled: enough to see that the right data arrived. */
static rp_status simulated_run(rp_model *model, const rp_tensor *inputs, rp_result **result,
                               rp_error *err) {
    const struct rp_simulated_plan *plan = model->state;
    rp_status status = pretend_to_work(plan->run_ms, NULL, err);
    if (status != RP_OK) return status;
    if (plan->failure == RP_SIMULATED_RUN) {
        return rp_fail(err, RP_ERR_RUN, "the simulated model '%s' fails to run, as told",
                       model->path);
    }
    size_t count = (size_t)inputs[0].shape[0] * WIDTH;
    rp_result *made = rp_result_make(1);
    float *values = rp_alloc_array(count, sizeof *values);
    if (!made || !values) {
        rp_result_close(made);
        rp_free(values);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the result of a simulated model");
    }
    const float *given = rp_tensor_data(&inputs[0]);
    for (size_t i = 0; i < count; i++) {
        values[i] = given[i] * 2;
    }
    made->owner = values;
    made->release = rp_free;
    rp_tensor *output = &made->tensors[0];
    output->data = values;
    output->device.type = RP_TENSOR_DEVICE_CPU;
    output->dtype = RP_DTYPE_FLOAT32;
    output->ndim = 2;
    output->shape[0] = inputs[0].shape[0];
    output->shape[1] = WIDTH;
    *result = made;
    return RP_OK;
}

static uint64_t simulated_estimate(const char *path, const char *device) {
    struct rp_simulated_plan plan;
    (void)device;
    return rp_simulated_parse(path, &plan, NULL) == RP_OK ? plan.memory_bytes : RP_UNKNOWN_U64;
}

static uint64_t simulated_bytes(const rp_model *model) {
    const struct rp_simulated_plan *plan = model->state;
    return plan->memory_bytes;
}

static void simulated_close(rp_model *model) {
    rp_free(model->state);
}

const struct rp_engine_ops rp_engine_simulated = {
    .abi = RP_ENGINE_ABI,
    .name = "simulated",
    .simulated = true,
    .kinds = UINT32_MAX,
    .probe = simulated_probe,
    .can_load = simulated_can_load,
    .open = simulated_open,
    .run = simulated_run,
    .estimate = simulated_estimate,
    .bytes = simulated_bytes,
    .close = simulated_close,
};
