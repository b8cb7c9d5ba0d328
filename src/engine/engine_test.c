/* SPDX-License-Identifier: Apache-2.0 */
/* The engines through the public calls; the real library runs where there is one. */
#include "engine/engine.h"

#include "base/memory.h"
#include "cli/doubling_model.h"
#include "engine/simulated.h"

#include "../../tests/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/rp-engine-test-XXXXXX";

/* A file in the test's folder; the path lives until the next call. */
static const char *write_file(const char *name, const void *bytes, size_t size) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"model.onnx", "empty", "text",   "cut",
                                        "fifo",       "lib",   "old.so", "exported/model.onnx",
                                        "exported"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    return rmdir(folder);
}

static void names_of_simulated_models_are_read_or_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_simulated_plan plan;
    assert_ok(rp_simulated_parse("x", &plan, &err));
    assert_int_equal(plan.load_ms, 0);
    assert_ok(rp_simulated_parse("x?load_ms=7&memory_bytes=2KiB&run_ms=1&fail=run", &plan, &err));
    assert_int_equal(plan.load_ms, 7);
    assert_int_equal(plan.memory_bytes, 2048);
    assert_int_equal(plan.failure, RP_SIMULATED_RUN);
    static const char *const bad[] = {
        "x?load_ms",
        "x?load_ms=",
        "x?load_ms=-1",
        "x?load_ms=99999999999",
        "x?memory_bytes=much",
        "x?fail=maybe",
        "x?loadms=1",
        "x?load_ms=1&&",
        "x?=1",
        "x?memory_bytes=11111111111111111111111111111111111111111111111111"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_status(rp_simulated_parse(bad[i], &plan, &err), RP_ERR_ARGUMENT);
        assert_true(strlen(err.message) > 10);
    }
}

static void a_simulated_model_does_as_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    assert_int_not_equal(rp_model_open("x", NULL, &model, &err), RP_OK); /* never unless named */
    options.engine = "simulated";
    assert_ok(rp_model_open("x?memory_bytes=5", &options, &model, &err));
    assert_true(rp_model_is_simulated(model));
    assert_int_equal(rp_model_bytes(model), 5);
    float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t shape[2] = {2, 4};
    rp_tensor input = {.data = values,
                       .device = {RP_TENSOR_DEVICE_CPU, 0},
                       .ndim = 2,
                       .dtype = RP_DTYPE_FLOAT32,
                       .shape = shape};
    rp_result *result = NULL;
    assert_ok(rp_model_run(model, &input, 1, &result, &err));
    assert_true(((float *)rp_result_tensor(result, 0)->data)[7] == 16.0f);
    rp_result_close(result);
    /* Wrong inputs are stopped before the engine sees them, and named. */
    assert_status(rp_model_run(model, &input, 0, &result, &err), RP_ERR_ARGUMENT);
    shape[1] = 3;
    assert_status(rp_model_run(model, &input, 1, &result, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "dimension 1 of the input 'input' is 4, not 3");
    shape[1] = 4;
    shape[0] = -2;
    assert_status(rp_model_run(model, &input, 1, &result, &err), RP_ERR_ARGUMENT);
    shape[0] = INT64_MAX / 2;
    assert_true(rp_model_run(model, &input, 1, &result, &err) != RP_OK); /* bytes overflow */
    shape[0] = 2;
    input.dtype = RP_DTYPE_INT64;
    assert_status(rp_model_run(model, &input, 1, &result, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "wants float32, not int64");
    input.dtype = RP_DTYPE_FLOAT32;
    input.data = NULL;
    assert_status(rp_model_run(model, &input, 1, &result, &err), RP_ERR_ARGUMENT);
    rp_model_close(model);
    assert_status(rp_model_open("x?fail=load", &options, &model, &err), RP_ERR_LOAD);
    assert_status(rp_model_open("x?fail=memory", &options, &model, &err), RP_ERR_MEMORY);
    options.engine = "nonsense";
    assert_status(rp_model_open("x", &options, &model, &err), RP_ERR_NOT_FOUND);
}

static void a_simulated_load_stops_when_it_is_called_off(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    options.engine = "simulated";
    _Atomic int cancelled = 1;
    assert_status(
        rp_model_open_until("x?load_ms=3600000", &options, &cancelled, INT64_MAX, &model, &err),
        RP_ERR_CANCELLED);
    assert_status(rp_model_open_until("x?load_ms=3600000", &options, NULL, 1, &model, &err),
                  RP_ERR_TIMEOUT);
}

static void every_allocation_of_a_simulated_model_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        int64_t blocks = rp_memory_live_count();
        rp_model *model = NULL;
        rp_model_options options = RP_MODEL_OPTIONS_INIT;
        options.engine = "simulated";
        rp_memory_fail_at(n);
        rp_status status = rp_model_open("x", &options, &model, &err);
        if (status == RP_OK) status = rp_model_run_sample(model, NULL, NULL, &err);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_model_close(model);
        assert_int_equal(rp_memory_live_count(), blocks);
        assert_int_equal(status, is_pending ? RP_OK : RP_ERR_MEMORY);
        if (is_pending) break;
    }
}

static void of_a_folder_an_engine_takes_its_file(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_path file;
    char below[96];
    char model[128];
    snprintf(below, sizeof below, "%s/exported", folder);
    snprintf(model, sizeof model, "%s/model.onnx", below);
    assert_int_equal(mkdir(below, 0700), 0);
    assert_status(rp_engine_find_file(NULL, below, &file, &err), RP_ERR_UNSUPPORTED);
    write_file("exported/model.onnx", "x", 1);
    assert_ok(rp_engine_find_file(NULL, below, &file, &err));
    assert_string_equal(file.text, model);
    assert_ok(rp_engine_find_file("onnxruntime", below, &file, &err));
    assert_string_equal(file.text, model);
    /* All else is what it is called: files, names of the simulated engine, what is not there. */
    assert_ok(rp_engine_find_file(NULL, model, &file, &err));
    assert_string_equal(file.text, model);
    assert_ok(rp_engine_find_file("simulated", below, &file, &err));
    assert_string_equal(file.text, below);
    assert_ok(rp_engine_find_file(NULL, "/nowhere", &file, &err));
    assert_string_equal(file.text, "/nowhere");
}

static void what_is_no_model_file_is_told_before_a_runtime_is_opened(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    assert_status(rp_model_open("/nowhere/model.onnx", NULL, &model, &err), RP_ERR_NOT_FOUND);
    assert_says(err.message, "'/nowhere/model.onnx'");
    assert_status(rp_model_open(folder, NULL, &model, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "it is a folder");
    assert_status(rp_model_open(write_file("empty", "", 0), NULL, &model, &err), RP_ERR_DATA);
    assert_says(err.message, "empty (0 bytes)");
    char path[256];
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_status(rp_model_open(path, NULL, &model, &err), RP_ERR_UNSUPPORTED); /* and no hang */
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    options.device = "cuda:0";
    assert_status(rp_model_open(write_file("text", "hello", 5), &options, &model, &err),
                  RP_ERR_UNSUPPORTED);
}

/*
 * Bad libraries come first: once a good one was opened, the process keeps it.
 */
static void a_library_that_cannot_be_used_is_told_with_the_reason(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    const char *kept = getenv("RESOURCE_POOL_ONNXRUNTIME");
    char *before = kept ? strdup(kept) : NULL;
    char path[256];
    unsigned char elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    elf[16] = 3;
    elf[18] = 0xF3; /* EM_RISCV: neither of the machines that this runs on */
    snprintf(path, sizeof path, "%s", write_file("lib", elf, sizeof elf));
    static const char *const says[] = {"No such file", "is not a shared library", "is for riscv",
                                       "the loader finds no 'nowhere.so'"};
    const char *libraries[] = {"/nowhere", "/etc/passwd", path, "nowhere.so"};
    const char *file = "/etc/passwd"; /* a regular file; the library is looked for first */
    for (size_t i = 0; i < 4; i++) {
        setenv("RESOURCE_POOL_ONNXRUNTIME", libraries[i], 1);
        assert_status(rp_model_open(file, NULL, &model, &err), RP_ERR_ABSENT);
        assert_says(err.message, says[i]);
        assert_says(err.hint, "1.21 or newer");
    }
    setenv("RESOURCE_POOL_ONNXRUNTIME", TOO_OLD_LIBRARY, 1);
    assert_status(rp_model_open(file, NULL, &model, &err), RP_ERR_ABSENT);
    assert_says(err.message, "is ONNX Runtime 1.10.0, too old: 1.21 or newer is needed");
    if (before) {
        setenv("RESOURCE_POOL_ONNXRUNTIME", before, 1);
    } else {
        unsetenv("RESOURCE_POOL_ONNXRUNTIME");
    }
    free(before);
}

static void need_onnxruntime(void) {
    static rp_engine_info info;
    if (getenv("RP_TEST_NO_ONNXRUNTIME")) skip(); /* not built with this sanitizer */
    assert_int_equal(rp_engine_probe(0, &info, NULL), RP_OK);
    if (!info.available) {
        print_message("%s\n", info.reason);
        skip();
    }
}

struct runner {
    rp_model *model;
    int wrong;
};

static void *run_often(void *argument) {
    struct runner *runner = argument;
    for (int i = 0; i < 200; i++) {
        float values[2] = {(float)i, -1.5f};
        int64_t shape[1] = {2};
        rp_tensor input = {.data = values,
                           .device = {RP_TENSOR_DEVICE_CPU, 0},
                           .ndim = 1,
                           .dtype = RP_DTYPE_FLOAT32,
                           .shape = shape};
        rp_result *result = NULL;
        if (rp_model_run(runner->model, &input, 1, &result, NULL) != RP_OK) {
            runner->wrong++;
            continue;
        }
        const float *sums = rp_result_tensor(result, 0)->data;
        runner->wrong += sums[0] != 2.0f * (float)i || sums[1] != -3.0f;
        rp_result_close(result);
    }
    return NULL;
}

/* ONNX Runtime is silent about it: the file is asked. */
static void a_model_says_what_its_weights_are_stored_in(void **state) {
    (void)state;
    need_onnxruntime();
    /* y = x + w for two halves, as in cli/doubling_model.h but for w, an initializer. */
    static const unsigned char adding_model[] = {
        0x08, 0x08, 0x3A, 0x44,                                     /* graph: 68 bytes        */
        0x0A, 0x0E, 0x0A, 0x01, 'x',  0x0A, 0x01, 'w',              /* node: inputs x, w      */
        0x12, 0x01, 'y',  0x22, 0x03, 'A',  'd',  'd',              /* output y, op_type Add  */
        0x12, 0x01, 'g',                                            /* graph name             */
        0x2A, 0x0D, 0x08, 0x02, 0x10, 0x0A, 0x42, 0x01, 'w',        /* initializer: two fp16  */
        0x4A, 0x04, 0x00, 0x3C, 0x00, 0x40,                         /* 1 and 2                */
        0x5A, 0x0F, 0x0A, 0x01, 'x',  0x12, 0x0A, 0x0A, 0x08, 0x08, /* input x                */
        0x0A, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x02,                   /* fp16, one dimension 2  */
        0x62, 0x0F, 0x0A, 0x01, 'y',  0x12, 0x0A, 0x0A, 0x08, 0x08, /* output y               */
        0x0A, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x02,                   /* the same               */
        0x42, 0x04, 0x0A, 0x00, 0x10, 0x0D,                         /* opset_import: 13       */
    };
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    assert_ok(rp_model_open(write_file("model.onnx", adding_model, sizeof adding_model), NULL,
                            &model, &err));
    assert_string_equal(rp_model_precision(model), "fp16");
    rp_model_close(model);
}

static void a_real_model_runs_from_several_threads(void **state) {
    (void)state;
    need_onnxruntime();
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    assert_ok(rp_model_open(write_file("model.onnx", doubling_model, sizeof doubling_model), NULL,
                            &model, &err));
    assert_int_equal(rp_model_input_count(model), 1);
    assert_null(rp_model_precision(model)); /* it has no weights */
    const rp_port *port = rp_model_input(model, 0);
    assert_string_equal(port->name, "x");
    assert_string_equal(port->type, "float32");
    assert_int_equal(port->ndim, 1);
    assert_int_equal(port->shape[0], 2);
    assert_string_equal(rp_model_output(model, 0)->name, "y");
    struct runner runners[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        runners[i] = (struct runner){model, 0};
        pthread_create(&threads[i], NULL, run_often, &runners[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(runners[i].wrong, 0);
    }
    /* A result outlives its model. */
    rp_result *result = NULL;
    double run_ms = -1;
    assert_ok(rp_model_run_sample(model, &result, &run_ms, &err));
    assert_true(run_ms >= 0);
    rp_model_close(model);
    assert_true(((float *)rp_result_tensor(result, 0)->data)[0] == -1.0f);
    rp_result_close(result);
}

static void a_damaged_model_is_an_error_wherever_it_is_cut(void **state) {
    (void)state;
    need_onnxruntime();
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    assert_status(rp_model_open(write_file("text", "hello, world", 12), NULL, &model, &err),
                  RP_ERR_DATA);
    int64_t blocks = rp_memory_live_count();
    for (size_t size = 1; size + 1 < sizeof doubling_model; size++) {
        rp_status status =
            rp_model_open(write_file("cut", doubling_model, size), NULL, &model, &err);
        if (status == RP_OK) { /* what is left may be a model by itself, without its last fields */
            rp_model_close(model);
            continue;
        }
        assert_true(strlen(err.message) > 20);
        assert_int_equal(rp_memory_live_count(), blocks);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_simulated_models_are_read_or_refused),
        cmocka_unit_test(a_simulated_model_does_as_told),
        cmocka_unit_test(a_simulated_load_stops_when_it_is_called_off),
        cmocka_unit_test(every_allocation_of_a_simulated_model_may_fail),
        cmocka_unit_test(of_a_folder_an_engine_takes_its_file),
        cmocka_unit_test(what_is_no_model_file_is_told_before_a_runtime_is_opened),
        cmocka_unit_test(a_library_that_cannot_be_used_is_told_with_the_reason),
        cmocka_unit_test(a_model_says_what_its_weights_are_stored_in),
        cmocka_unit_test(a_real_model_runs_from_several_threads),
        cmocka_unit_test(a_damaged_model_is_an_error_wherever_it_is_cut),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
