/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a placement costs: a model of seven billion parameters, asked for in three precisions, on a
 * made-up machine with eight GPUs. The baseline is what is promised.
 */
#include <resourcepool/bench.h>

#include "base/clock.h"
#include "base/status.h"
#include "bench/summary.h"

#include <resourcepool/hardware.h>
#include <resourcepool/placement.h>
#include <stdio.h>
#include <string.h>

enum { GPUS = 8, PLACEMENTS = 50, PROMISED_US = 20, JSON_BYTES = 8192 };

static rp_status make_machine(const rp_snapshot **snapshot, rp_error *err) {
    char json[JSON_BYTES];
    int length = snprintf(json, sizeof json,
                          "{\"version\":1,\"simulated\":true,\"devices\":[{\"id\":\"cpu\",\"kind\":"
                          "\"cpu\",\"available\":true,\"simulated\":true,\"memory_bytes_total\":"
                          "549755813888,\"memory_bytes_free\":500000000000}");
    for (int i = 0; i < GPUS; i++) {
        length += snprintf(
            json + length, sizeof json - (size_t)length,
            ",{\"id\":\"cuda:%d\",\"kind\":\"cuda\",\"available\":true,\"simulated\":true,"
            "\"memory_bytes_total\":85520809984,\"memory_bytes_free\":84983939072,"
            "\"accelerator\":{\"type\":\"gpu\",\"vendor\":\"nvidia\",\"driver_version\":"
            "\"550.54.15\",\"compute_capability\":\"9.0\",\"precisions\":[\"fp32\",\"fp16\","
            "\"bf16\",\"int8\",\"fp8\"],\"utilization_percent\":0}}",
            i);
    }
    length += snprintf(json + length, sizeof json - (size_t)length, "]}");
    return rp_snapshot_from_json(json, (size_t)length, "the machine of the benchmark", snapshot,
                                 err);
}

static rp_status measure(const rp_place_request *request, double *us, rp_error *err) {
    rp_status status = RP_OK;
    int64_t start = rp_clock_ns();
    for (int i = 0; i < PLACEMENTS && status == RP_OK; i++) {
        rp_plan *plan = NULL;
        rp_placement placement;
        status = rp_place(request, &plan, err);
        if (status == RP_OK) status = rp_plan_placement(plan, &placement, err);
        rp_plan_destroy(plan);
    }
    *us = (double)(rp_clock_ns() - start) / 1e3 / PLACEMENTS;
    return status;
}

rp_status rp_bench_placement(rp_measure *row, size_t rounds, rp_error *err) {
    if (rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu rounds: it takes 3 to %d", rounds,
                       RP_BENCH_ROUNDS_MAX);
    }
    const rp_snapshot *snapshot = NULL;
    rp_status status = make_machine(&snapshot, err);
    if (status != RP_OK) return status;
    rp_model_facts facts;
    rp_model_facts_of_name("meta-llama/Llama-2-7b-hf", NULL, &facts);
    facts.parameter_count = UINT64_C(6738415616);
    rp_preferences wishes = RP_PREFERENCES_INIT;
    wishes.precisions = "bf16,int8"; /* after fp16, which its size asks for */
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    request.snapshot = snapshot;
    request.facts = &facts;
    request.name = "meta-llama/Llama-2-7b-hf";
    request.preferences = &wishes;
    double ours[RP_BENCH_ROUNDS_MAX];
    double promised[RP_BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        status = measure(&request, &ours[i], err);
        promised[i] = PROMISED_US;
    }
    if (status == RP_OK) {
        *row = rp_bench_summarise("place on 8 GPUs in 3 precisions (promised: 20 us)", "us", ours,
                                  promised, rounds);
    }
    rp_snapshot_release(snapshot);
    return status;
}
