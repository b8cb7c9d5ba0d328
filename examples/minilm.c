/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo: a real sentence encoder and a small suite that needs it, 4 threads x 8 test cases.
 *
 *     minilm MODEL_FOLDER [REFERENCE_FILE]
 *
 * The suite runs twice, each time in a process of its own so that the peak of memory is its own:
 * first every case loads the model and reads the tokenised sentences for itself, then every case
 * asks the pool. Both use the same engine, options, inputs and checks; only the loading differs.
 * The files are read once beforehand, so that neither half pays for a cold disk.
 */
#include "sentences.h"

#include <pthread.h>
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, CASES = SENTENCE_CASES };

/* What one half of the comparison found. */
struct half {
    int loads;
    double wall_ms;
    double inference_ms; /* of all threads together */
    double difference_max;
    int out_of_order;
    int failures;
};

struct suite {
    const char *model_path;
    const char *sentences_path;
    rp_pool *pool; /* NULL: each case loads for itself */
    sentence_vector *reference;
    pthread_mutex_t lock;
    struct half half;
};

/* ---- the tokenised sentences: a resource like any other ---- */

static rp_status make_sentences(rp_build *build, void *user, void **object, rp_error *err) {
    struct sentences *sentences = malloc(sizeof *sentences);
    if (!sentences) return rp_fail(err, RP_ERR_MEMORY, "no memory for the sentences");
    rp_status status = sentences_read(user, sentences, err);
    if (status != RP_OK) {
        free(sentences);
        return status;
    }
    rp_build_set_bytes(build, sizeof *sentences);
    *object = sentences;
    return RP_OK;
}

/* ---- the two ways to get at what a case needs ---- */

static rp_status check_case(struct suite *suite, rp_model *model, const struct sentences *sentences,
                            int index, rp_error *err) {
    struct sentence_check check;
    double inference_ms = 0;
    rp_status status =
        sentences_check(model, sentences, index, suite->reference, &check, &inference_ms, err);
    if (status != RP_OK) return status;
    pthread_mutex_lock(&suite->lock);
    suite->half.inference_ms += inference_ms;
    suite->half.out_of_order += check.out_of_order;
    if (!(check.difference_max <= suite->half.difference_max)) {
        suite->half.difference_max = check.difference_max;
    }
    pthread_mutex_unlock(&suite->lock);
    return RP_OK;
}

static rp_status run_case_plain(struct suite *suite, int index, rp_error *err) {
    rp_model *model = NULL;
    struct sentences *sentences = malloc(sizeof *sentences);
    rp_status status = sentences ? sentences_read(suite->sentences_path, sentences, err)
                                 : rp_fail(err, RP_ERR_MEMORY, "no memory for the sentences");
    if (status == RP_OK) status = rp_model_open(suite->model_path, NULL, &model, err);
    if (status == RP_OK) {
        pthread_mutex_lock(&suite->lock);
        suite->half.loads++;
        pthread_mutex_unlock(&suite->lock);
        status = check_case(suite, model, sentences, index, err);
    }
    rp_model_close(model);
    free(sentences);
    return status;
}

static rp_status run_case_pooled(struct suite *suite, int index, rp_error *err) {
    rp_lease *model = NULL;
    rp_lease *sentences = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = suite->model_path;
    rp_status status = rp_pool_get_model(suite->pool, &request, &model, err);
    if (status == RP_OK) {
        char path[512];
        snprintf(path, sizeof path, "%s", suite->sentences_path);
        rp_request tokens = RP_REQUEST_INIT;
        tokens.type = "sentences";
        tokens.name = suite->sentences_path;
        tokens.construct = make_sentences;
        tokens.destroy = free;
        tokens.user = path;
        status = rp_pool_get_resource(suite->pool, &tokens, &sentences, err);
    }
    if (status == RP_OK) {
        status = check_case(suite, rp_lease_model(model), rp_lease_object(sentences), index, err);
    }
    rp_lease_release(sentences, NULL);
    rp_lease_release(model, NULL);
    return status;
}

static void *run_thread(void *argument) {
    struct suite *suite = argument;
    for (int index = 0; index < CASES; index++) {
        rp_error err = RP_ERROR_INIT;
        rp_status status =
            suite->pool ? run_case_pooled(suite, index, &err) : run_case_plain(suite, index, &err);
        if (status == RP_OK) continue;
        pthread_mutex_lock(&suite->lock);
        if (suite->half.failures++ == 0) {
            fprintf(stderr, "minilm: case %d: %s\n", index, err.message);
            if (err.hint[0]) fprintf(stderr, "hint: %s\n", err.hint);
        }
        pthread_mutex_unlock(&suite->lock);
    }
    return NULL;
}

static struct half run_half(struct suite *suite, int is_pooled) {
    rp_error err = RP_ERROR_INIT;
    if (is_pooled && rp_pool_open(NULL, &suite->pool, &err) != RP_OK) {
        fprintf(stderr, "minilm: %s\n", err.message);
        exit(1);
    }
    pthread_mutex_init(&suite->lock, NULL);
    pthread_t threads[THREADS];
    double start = now_ms();
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, run_thread, suite) != 0) abort();
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    suite->half.wall_ms = now_ms() - start;
    rp_statistics *statistics = NULL;
    if (suite->pool && rp_pool_statistics(suite->pool, &statistics, NULL) == RP_OK) {
        for (size_t i = 0; i < rp_statistics_entry_count(statistics); i++) {
            const rp_entry_info *entry = rp_statistics_entry(statistics, i);
            if (entry->kind == RP_KIND_MODEL) suite->half.loads += (int)entry->misses;
        }
        rp_statistics_destroy(statistics);
    }
    rp_pool_close(suite->pool, NULL);
    return suite->half;
}

/* ---- the comparison ---- */

/* Bring a file into the page cache, as a suite finds it from its second run on. */
static void read_through(const char *path) {
    FILE *file = fopen(path, "r");
    char block[1 << 16];
    while (file && fread(block, 1, sizeof block, file) > 0) {
    }
    if (file) fclose(file);
}

/* Run one half in a process of its own; its peak of memory in *peak_bytes. */
static int run_in_child(struct suite *suite, int is_pooled, struct half *half, double *peak_bytes) {
    int ends[2];
    if (pipe(ends) != 0) return 0;
    fprintf(stderr, "running %d threads x %d cases, %s ...\n", THREADS, CASES,
            is_pooled ? "through the pool" : "each case loading for itself");
    pid_t child = fork();
    if (child == 0) {
        *half = run_half(suite, is_pooled);
        _exit(write(ends[1], half, sizeof *half) == sizeof *half ? 0 : 1);
    }
    close(ends[1]);
    int status = 1;
    struct rusage usage;
    int good = child > 0 && read(ends[0], half, sizeof *half) == sizeof *half &&
               wait4(child, &status, 0, &usage) == child && status == 0;
    close(ends[0]);
    *peak_bytes = good ? (double)usage.ru_maxrss * 1024 : 0;
    return good;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: minilm MODEL_FOLDER [REFERENCE_FILE]\n");
        return 2;
    }
    char model[512];
    char data[512];
    char sentences[512];
    snprintf(model, sizeof model, "%s/model.onnx", argv[1]);
    snprintf(data, sizeof data, "%s/model.onnx.data", argv[1]);
    snprintf(sentences, sizeof sentences, "%s/sentences.txt", argv[1]);
    struct suite suite = {.model_path = model, .sentences_path = sentences};
    if (argc > 2) suite.reference = sentences_read_reference(argv[2]);
    if (argc > 2 && !suite.reference) {
        fprintf(stderr, "minilm: '%s' is no file of reference vectors\n", argv[2]);
        return 1;
    }
    read_through(model);
    read_through(data);

    struct half halves[2];
    double peaks[2];
    for (int i = 0; i < 2; i++) {
        if (!run_in_child(&suite, i, &halves[i], &peaks[i])) {
            fprintf(stderr, "minilm: the process of the %s half failed\n", i ? "pooled" : "plain");
            return 1;
        }
    }
    printf("%d threads x %d cases, %d sentences each\n\n", THREADS, CASES, SENTENCE_RANKS);
    printf("%-26s %12s %12s %12s\n", "", "plain", "pool", "saved");
    printf("%-26s %12d %12d %12d\n", "loads", halves[0].loads, halves[1].loads,
           halves[0].loads - halves[1].loads);
    printf("%-26s %12.2f %12.2f %12.2f\n", "seconds", halves[0].wall_ms / 1e3,
           halves[1].wall_ms / 1e3, (halves[0].wall_ms - halves[1].wall_ms) / 1e3);
    printf("%-26s %12.2f %12.2f\n", "thread-seconds inferring", halves[0].inference_ms / 1e3,
           halves[1].inference_ms / 1e3);
    printf("%-26s %12.0f %12.0f %12.0f\n\n", "peak memory, MiB", peaks[0] / 0x1p20,
           peaks[1] / 0x1p20, (peaks[0] - peaks[1]) / 0x1p20);

    int failed = 0;
    for (int i = 0; i < 2; i++) {
        const struct half *half = &halves[i];
        int bad = half->failures > 0 || half->out_of_order > 0 || !(half->difference_max <= 1e-4);
        failed |= bad;
        printf("%-6s %s: %d pairs out of the order of meaning, %d cases failed",
               i ? "pool" : "plain", bad ? "WRONG" : "right", half->out_of_order, half->failures);
        if (suite.reference)
            printf(", largest difference from the reference %.1e", half->difference_max);
        printf("\n");
    }
    free(suite.reference);
    return failed || halves[1].loads != 1;
}
