/* SPDX-License-Identifier: Apache-2.0 */
/* rpool doctor: every component does a small real piece of work, and the answer is checked. */
#include "command.h"
#include "doubling_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEST, DETAIL_BYTES = 600 };

enum outcome { WORKS, FAILS, IS_ABSENT };

static const char *const outcome_names[] = {"ok", "failed", "absent"};

struct check {
    const char *name;
    enum outcome (*run)(char *detail, rp_error *err);
};

static enum outcome check_hardware(char *detail, rp_error *err) {
    const rp_snapshot *snapshot = NULL;
    if (rp_hardware_detect(NULL, &snapshot, err) != RP_OK) return FAILS;
    const rp_device *cpu = rp_snapshot_find_device(snapshot, "cpu");
    snprintf(detail, DETAIL_BYTES, "%zu device(s), cpu %s, in %.1f ms%s",
             rp_snapshot_device_count(snapshot), cpu ? "found" : "missing",
             rp_snapshot_detect_ms(snapshot),
             rp_snapshot_is_simulated(snapshot) ? " (simulated)" : "");
    enum outcome outcome = cpu || rp_snapshot_is_simulated(snapshot) ? WORKS : FAILS;
    if (outcome == FAILS) rp_fail(err, RP_ERR_ABSENT, "no processor was found: %s", detail);
    rp_snapshot_release(snapshot);
    return outcome;
}

static rp_status make_text(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)err;
    *object = user;
    return RP_OK;
}

static enum outcome check_pool(char *detail, rp_error *err) {
    char text[] = "loaded";
    rp_pool *pool = NULL;
    rp_lease *leases[2] = {NULL, NULL};
    rp_statistics *statistics = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "doctor";
    request.construct = make_text;
    request.user = text;
    rp_status status = rp_pool_open(NULL, &pool, err);
    for (size_t i = 0; i < 2 && status == RP_OK; i++) {
        status = rp_pool_get_resource(pool, &request, &leases[i], err);
    }
    if (status == RP_OK) status = rp_pool_statistics(pool, &statistics, err);
    if (status == RP_OK) {
        const rp_totals *totals = rp_statistics_totals(statistics);
        snprintf(detail, DETAIL_BYTES, "%llu load, %llu hit, %llu leases",
                 (unsigned long long)totals->loads, (unsigned long long)totals->hits,
                 (unsigned long long)totals->lease_count);
        if (totals->loads != 1 || totals->hits != 1 || totals->lease_count != 2 ||
            rp_lease_object(leases[0]) != text) {
            status = rp_fail(err, RP_ERR_STATE, "two requests gave %s", detail);
        }
    }
    rp_statistics_destroy(statistics);
    rp_lease_release(leases[0], NULL);
    rp_lease_release(leases[1], NULL);
    if (status == RP_OK) {
        status = rp_pool_close(pool, err);
    } else {
        rp_pool_close(pool, NULL);
    }
    return status == RP_OK ? WORKS : FAILS;
}

static enum outcome check_simulated(char *detail, rp_error *err) {
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    double run_ms = 0;
    rp_request request = RP_REQUEST_INIT;
    request.type = "doctor";
    request.name = "model?load_ms=1&memory_bytes=1MiB";
    request.engine = "simulated";
    rp_status status = rp_pool_open(NULL, &pool, err);
    if (status == RP_OK) status = rp_pool_get_model(pool, &request, &lease, err);
    if (status == RP_OK) status = rp_model_run_sample(rp_lease_model(lease), NULL, &run_ms, err);
    if (status == RP_OK) {
        snprintf(detail, DETAIL_BYTES, "loaded and ran, says %s (simulated)",
                 bytes_text(rp_lease_memory_bytes(lease)));
        if (rp_lease_memory_bytes(lease) != 1 << 20) {
            status = rp_fail(err, RP_ERR_STATE, "told 1 MiB, it says %s", detail);
        }
    }
    rp_lease_release(lease, NULL);
    rp_pool_close(pool, NULL);
    return status == RP_OK ? WORKS : FAILS;
}

/* A name of which everybody knows the answer. */
static enum outcome check_classify(char *detail, rp_error *err) {
    rp_model_facts facts;
    rp_model_facts_of_name("bert-base-uncased", NULL, &facts);
    snprintf(detail, DETAIL_BYTES, "bert-base-uncased: %s, %.1f M parameters",
             rp_family_name(facts.classification.family), (double)facts.parameter_count / 1e6);
    bool is_right = facts.classification.family == RP_FAMILY_EMBEDDING &&
                    facts.parameter_count > 100000000 && facts.parameter_count < 120000000;
    if (!is_right) rp_fail(err, RP_ERR_STATE, "wrong: %s", detail);
    return is_right ? WORKS : FAILS;
}

/* On this machine, as it is: a model of 500 MiB goes somewhere, or it is said why not. */
static enum outcome check_placement(char *detail, rp_error *err) {
    const rp_snapshot *snapshot = NULL;
    rp_model_facts facts;
    rp_plan *plan = NULL;
    rp_placement placement;
    rp_model_facts_of_name("bert-base-uncased", NULL, &facts);
    rp_status status = rp_hardware_snapshot(&snapshot, err);
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    request.snapshot = snapshot;
    request.facts = &facts;
    request.name = "bert-base-uncased";
    if (status == RP_OK) status = rp_place(&request, &plan, err);
    if (status == RP_OK) status = rp_plan_placement(plan, &placement, err);
    if (status == RP_OK) {
        snprintf(detail, DETAIL_BYTES, "bert-base-uncased goes to %s in %s, of %zu candidates",
                 placement.device, placement.precision, rp_plan_candidate_count(plan));
    }
    rp_plan_destroy(plan);
    rp_snapshot_release(snapshot);
    return status == RP_OK ? WORKS : FAILS;
}

static rp_status run_doubling(const char *path, char *detail, rp_error *err) {
    rp_model *model = NULL;
    rp_result *result = NULL;
    float values[2] = {1.5f, -20.0f};
    int64_t shape[1] = {2};
    rp_tensor input = {.data = values,
                       .device = {.type = RP_TENSOR_DEVICE_CPU},
                       .ndim = 1,
                       .dtype = RP_DTYPE_FLOAT32,
                       .shape = shape};
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    options.engine = "onnxruntime";
    rp_status status = rp_model_open(path, &options, &model, err);
    if (status == RP_OK) status = rp_model_run(model, &input, 1, &result, err);
    if (status == RP_OK) {
        const float *sums = rp_tensor_data(rp_result_tensor(result, 0));
        snprintf(detail, DETAIL_BYTES, "x + x for (1.5, -20) is (%g, %g)", (double)sums[0],
                 (double)sums[1]);
        if (fabsf(sums[0] - 3) > 1e-6f || fabsf(sums[1] + 40) > 1e-6f) {
            status = rp_fail(err, RP_ERR_RUN, "wrong: %s", detail);
        }
    }
    rp_result_close(result);
    rp_model_close(model);
    return status;
}

static enum outcome check_onnxruntime(char *detail, rp_error *err) {
    static rp_engine_info info;
    for (size_t i = 0; i < rp_engine_count(); i++) {
        if (rp_engine_probe(i, &info, err) != RP_OK) return FAILS;
        if (strcmp(info.name, "onnxruntime") == 0) break;
    }
    if (!info.available) {
        snprintf(detail, DETAIL_BYTES, "%.599s", info.reason);
        return IS_ABSENT;
    }
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/rpool-doctor-XXXXXX.onnx", folder ? folder : "/tmp");
    int fd = mkstemps(path, 5);
    if (fd < 0 || write(fd, doubling_model, sizeof doubling_model) != sizeof doubling_model) {
        rp_fail_errno(err, "cannot write a small model to '%s'", path);
        if (fd >= 0) close(fd);
        return FAILS;
    }
    close(fd);
    char sums[DETAIL_BYTES] = "";
    rp_status status = run_doubling(path, sums, err);
    unlink(path);
    snprintf(detail, DETAIL_BYTES, "version %s at %.300s: %.200s", info.version, info.library_path,
             sums);
    return status == RP_OK ? WORKS : FAILS;
}

static const struct check checks[] = {
    {"hardware", check_hardware},   {"pool", check_pool},
    {"classify", check_classify},   {"placement", check_placement},
    {"simulated", check_simulated}, {"onnxruntime", check_onnxruntime},
};
enum { CHECK_COUNT = sizeof checks / sizeof checks[0] };

int doctor_run(const struct arguments *arguments) {
    const char *wanted = arguments->options[TEST] ? arguments->options[TEST] : "all";
    bool is_all = strcmp(wanted, "all") == 0;
    bool is_known = is_all;
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        is_known = is_known || strcmp(wanted, checks[i].name) == 0;
    }
    if (!is_known) return usage_error("doctor", "there is no check '%s'", wanted);

    json_t *list = json_array();
    int code = 0;
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        if (!is_all && strcmp(wanted, checks[i].name) != 0) continue;
        char detail[DETAIL_BYTES] = "";
        rp_error err = RP_ERROR_INIT;
        enum outcome outcome = checks[i].run(detail, &err);
        const char *text = outcome == FAILS ? err.message : detail;
        if (outcome == FAILS) code = 1;
        if (arguments->json) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s}", "name", checks[i].name, "status",
                                            outcome_names[outcome], "detail", text));
        } else {
            printf("%-12s %-7s %s\n", checks[i].name, outcome_names[outcome], text);
            if (outcome == FAILS && err.hint[0]) printf("%-20s hint: %s\n", "", err.hint);
        }
    }
    if (!arguments->json) {
        json_decref(list);
        return code;
    }
    int printed = print_json(json_pack("{s:o}", "checks", list));
    return printed ? printed : code;
}
