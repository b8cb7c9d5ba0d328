/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test suite as people have them: 4 processes, 8 models, 96 cases, and each case asks the pool
 * for the model that it needs.
 *
 *     suite MODELS_FOLDER REFERENCE_FILE [RESULTS_FILE]
 *
 * Nothing in here knows of other processes. Run plainly, a pool is a cache of its process, which
 * loads each model once and keeps it, like a fixture of a session. Under 'rpool run' the same
 * program shares with the others.
 *
 * Each process begins with another model, as they do when a runner hands out cases in blocks.
 */
#include "sentences.h"

#include <errno.h>
#include <math.h>
#include <resourcepool/resourcepool.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PROCESSES = 4,
    MODELS = 8,
    ROUNDS = 3,    /* cases of each process for each model */
    RUNS = 2,      /* of a case; the sentences are 4 runs of their own */
    BATCH = 1,     /* where a model leaves it open */
    SEQUENCE = 32, /* likewise: tokens */
    PORTS_MAX = 4,
    PROGRESS_S = 3,
};

static const struct {
    const char *folder;
    const char *type;
} models[MODELS] = {
    {"minilm", "embedding"},
    {"bert-base", "embedding"},
    {"gpt2-small", "text"},
    {"vit-base", "vision"},
    {"distilbert", "embedding"},
    {"resnet-50", "vision"},
    {"whisper-tiny-encoder", "audio"},
    {"mobilenet-v2", "vision"},
};

/* What one case found. */
struct record {
    double lease_ms;     /* until the model was there */
    double inference_ms; /* of all runs */
    double answered_ms;  /* the first answer, since the suite began */
    uint64_t answer;     /* a hash of all outputs; of sentences: none */
    int is_good;
};

/* What the processes share: each writes its own rows. */
struct board {
    double start_ms;
    _Atomic int done;
    double difference_max[PROCESSES];
    struct record of[PROCESSES][MODELS][ROUNDS];
};

struct worker {
    int index;
    const char *folder;
    rp_pool *pool;
    struct sentences sentences;
    sentence_vector *reference;
    struct board *board;
};

/* ---- made-up inputs ---- */

static int64_t open_size(const rp_port *port, int32_t axis) {
    if (port->shape[axis] >= 0) return port->shape[axis];
    return strcmp(port->dim_names[axis], "batch") == 0 ? BATCH : SEQUENCE;
}

/* Ids of tokens, a mask that keeps all, one kind of token; or something like a picture. */
static void fill(const rp_port *port, void *data, int64_t count) {
    int is_id = strstr(port->name, "ids") && !strstr(port->name, "type");
    int is_mask = strstr(port->name, "mask") != NULL;
    for (int64_t i = 0; i < count; i++) {
        if (port->dtype.code == RP_DTYPE_FLOAT32.code) {
            ((float *)data)[i] = (float)sin((double)i * 0.37);
        } else {
            ((int64_t *)data)[i] = is_id ? 1000 + i * 37 % 9000 : is_mask;
        }
    }
}

static rp_status make_input(const rp_port *port, rp_tensor *input, rp_error *err) {
    int64_t count = 1;
    int is_known =
        port->dtype.code == RP_DTYPE_FLOAT32.code ? port->dtype.bits == 32 : port->dtype.bits == 64;
    input->shape = calloc((size_t)port->ndim + 1, sizeof *input->shape);
    for (int32_t axis = 0; input->shape && axis < port->ndim; axis++) {
        input->shape[axis] = open_size(port, axis);
        count *= input->shape[axis];
    }
    input->data = input->shape ? calloc((size_t)count, port->dtype.bits / 8) : NULL;
    if (!input->data) return rp_fail(err, RP_ERR_MEMORY, "no memory for '%s'", port->name);
    if (!is_known) return rp_fail(err, RP_ERR_DATA, "'%s' is of type %s", port->name, port->type);
    input->device.type = RP_TENSOR_DEVICE_CPU;
    input->dtype = port->dtype;
    input->ndim = port->ndim;
    fill(port, input->data, count);
    return RP_OK;
}

static void free_inputs(rp_tensor *inputs) {
    for (int i = 0; i < PORTS_MAX; i++) {
        free(inputs[i].data);
        free(inputs[i].shape);
    }
}

/* ---- one test case ---- */

/* FNV-1a, a word at a time: the same numbers give the same hash. */
static uint64_t hash_answer(const rp_result *result) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < rp_result_count(result); i++) {
        const rp_tensor *tensor = rp_result_tensor(result, i);
        uint64_t bytes = 0;
        if (rp_tensor_bytes(tensor, &bytes, NULL) != RP_OK) return 0;
        for (const char *at = rp_tensor_data(tensor); bytes >= 4; bytes -= 4, at += 4) {
            uint32_t word;
            memcpy(&word, at, sizeof word);
            hash = (hash ^ word) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

/* The same inputs give the same answer each time. */
static rp_status run_case(struct worker *worker, rp_model *model, struct record *record,
                          rp_error *err) {
    rp_tensor inputs[PORTS_MAX] = {{0}};
    size_t count = rp_model_input_count(model);
    rp_status status = RP_OK;
    if (count > PORTS_MAX) return rp_fail(err, RP_ERR_DATA, "a model with %zu inputs", count);
    for (size_t i = 0; i < count && status == RP_OK; i++) {
        status = make_input(rp_model_input(model, i), &inputs[i], err);
    }
    for (int run = 0; run < RUNS && status == RP_OK; run++) {
        rp_result *result = NULL;
        double begun_ms = now_ms();
        status = rp_model_run(model, inputs, count, &result, err);
        record->inference_ms += now_ms() - begun_ms;
        if (status != RP_OK) break;
        uint64_t answer = hash_answer(result);
        rp_result_close(result);
        if (run == 0) record->answered_ms = now_ms() - worker->board->start_ms;
        if (run == 0) record->answer = answer;
        if (answer == record->answer) continue;
        status = rp_fail(err, RP_ERR_DATA, "the same inputs gave two answers");
    }
    free_inputs(inputs);
    return status;
}

static rp_status run_sentences(struct worker *worker, rp_model *model, int round,
                               struct record *record, rp_error *err) {
    struct sentence_check check;
    int index = (worker->index * ROUNDS + round) % SENTENCE_CASES;
    double *worst = &worker->board->difference_max[worker->index];
    rp_status status = sentences_check(model, &worker->sentences, index, worker->reference, &check,
                                       &record->inference_ms, err);
    if (status != RP_OK) return status;
    record->answered_ms = now_ms() - worker->board->start_ms;
    if (!(check.difference_max <= *worst)) *worst = check.difference_max;
    if (check.out_of_order == 0 && check.difference_max <= 1e-4) return RP_OK;
    return rp_fail(err, RP_ERR_DATA,
                   "case %d of the sentences: %.1e from the reference, %d pairs out of order",
                   index, check.difference_max, check.out_of_order);
}

static rp_status ask_and_run(struct worker *worker, int model, int round, struct record *record,
                             rp_error *err) {
    char path[512];
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    snprintf(path, sizeof path, "%s/%s/model.onnx", worker->folder, models[model].folder);
    request.type = models[model].type;
    request.name = path;
    double begun_ms = now_ms();
    rp_status status = rp_pool_get_model(worker->pool, &request, &lease, err);
    record->lease_ms = now_ms() - begun_ms;
    if (status != RP_OK) return status;
    status = model == 0 ? run_sentences(worker, rp_lease_model(lease), round, record, err)
                        : run_case(worker, rp_lease_model(lease), record, err);
    rp_lease_release(lease, NULL);
    record->is_good = status == RP_OK;
    return status;
}

/* ---- the processes ---- */

static int run_worker(struct worker *worker) {
    rp_error err = RP_ERROR_INIT;
    char path[512];
    int failed = 0;
    snprintf(path, sizeof path, "%s/minilm/sentences.txt", worker->folder);
    rp_status status = sentences_read(path, &worker->sentences, &err);
    if (status == RP_OK) status = rp_pool_default(&worker->pool, &err);
    if (status != RP_OK) {
        fprintf(stderr, "suite: process %d: %s\n", worker->index, err.message);
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MODELS; i++) {
            int model = (worker->index * (MODELS / PROCESSES) + i) % MODELS;
            struct record *record = &worker->board->of[worker->index][model][round];
            if (ask_and_run(worker, model, round, record, &err) != RP_OK) {
                fprintf(stderr, "suite: process %d, '%s': %s\n", worker->index,
                        models[model].folder, err.message);
                failed = 1;
            }
            atomic_fetch_add(&worker->board->done, 1);
        }
    }
    return failed;
}

static pid_t start_worker(struct worker *worker) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    _exit(run_worker(worker));
}

/* Waits for all, telling now and then how far they are. How many did not end well. */
static int await_workers(const struct board *board) {
    struct timespec pause = {0, 20 * 1000 * 1000};
    double told_ms = now_ms();
    int left = PROCESSES;
    int failed = 0;
    while (left > 0) {
        int status = 0;
        pid_t ended = waitpid(-1, &status, WNOHANG);
        if (ended > 0) {
            left--;
            failed += status != 0;
            continue;
        }
        if (ended < 0 && errno != EINTR) return failed + left;
        nanosleep(&pause, NULL);
        if (now_ms() - told_ms < PROGRESS_S * 1e3) continue;
        told_ms = now_ms();
        fprintf(stderr, "suite: %d of %d cases\n", atomic_load(&board->done),
                PROCESSES * MODELS * ROUNDS);
    }
    return failed;
}

/* ---- what it found ---- */

struct totals {
    double seconds;
    double first_seconds; /* until the last process had its first answer of the last model */
    double lease_seconds; /* of all processes together, as are the next */
    double inference_seconds;
    double difference_max;
    int failures;
};

/* One model's answers are one and the same, whoever asked. */
static int is_one_answer(const struct board *board, int model) {
    for (int process = 0; process < PROCESSES; process++) {
        for (int round = 0; round < ROUNDS; round++) {
            if (board->of[process][model][round].answer != board->of[0][model][0].answer) return 0;
        }
    }
    return 1;
}

static struct totals sum_up(const struct board *board) {
    struct totals totals = {.seconds = (now_ms() - board->start_ms) / 1e3};
    for (int process = 0; process < PROCESSES; process++) {
        double difference = board->difference_max[process];
        if (!(difference <= totals.difference_max)) totals.difference_max = difference;
        for (int model = 0; model < MODELS; model++) {
            double first = board->of[process][model][0].answered_ms / 1e3;
            if (first > totals.first_seconds) totals.first_seconds = first;
            for (int round = 0; round < ROUNDS; round++) {
                const struct record *record = &board->of[process][model][round];
                totals.lease_seconds += record->lease_ms / 1e3;
                totals.inference_seconds += record->inference_ms / 1e3;
                totals.failures += !record->is_good;
            }
        }
    }
    for (int model = 0; model < MODELS; model++) {
        totals.failures += !is_one_answer(board, model);
    }
    return totals;
}

static int write_results(const char *path, const struct board *board, const struct totals *totals) {
    FILE *file = fopen(path, "w");
    if (!file) return 0;
    fprintf(file,
            "{\"processes\": %d, \"models\": %d, \"cases\": %d, \"runs\": %d, \"seconds\": %.3f, "
            "\"first_seconds\": %.3f, \"lease_seconds\": %.3f, \"inference_seconds\": %.3f, "
            "\"difference_max\": %.3e, \"failures\": %d, \"answers\": {",
            PROCESSES, MODELS, PROCESSES * MODELS * ROUNDS, RUNS, totals->seconds,
            totals->first_seconds, totals->lease_seconds, totals->inference_seconds,
            totals->difference_max, totals->failures);
    for (int model = 0; model < MODELS; model++) {
        fprintf(file, "%s\"%s\": \"%016llx\"", model > 0 ? ", " : "", models[model].folder,
                (unsigned long long)board->of[0][model][0].answer);
    }
    fprintf(file, "}}\n");
    return fclose(file) == 0;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: suite MODELS_FOLDER REFERENCE_FILE [RESULTS_FILE]\n");
        return 2;
    }
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sentence_vector *reference = sentences_read_reference(argv[2]);
    if (board == MAP_FAILED || !reference) {
        fprintf(stderr, "suite: '%s' is no file of reference vectors\n", argv[2]);
        return 1;
    }
    board->start_ms = now_ms();
    int failed = 0;
    for (int i = 0; i < PROCESSES; i++) {
        struct worker worker = {
            .index = i, .folder = argv[1], .reference = reference, .board = board};
        failed += start_worker(&worker) < 0;
    }
    failed += await_workers(board);
    struct totals totals = sum_up(board);
    printf("%d cases in %.1f s, all answered once after %.1f s; %.1f s waiting for models, %.1f s "
           "inferring; %d failed, %.1e from the reference\n",
           PROCESSES * MODELS * ROUNDS, totals.seconds, totals.first_seconds, totals.lease_seconds,
           totals.inference_seconds, totals.failures, totals.difference_max);
    if (argc == 4 && !write_results(argv[3], board, &totals)) {
        fprintf(stderr, "suite: cannot write '%s'\n", argv[3]);
        failed++;
    }
    free(reference);
    return failed > 0 || totals.failures > 0;
}
