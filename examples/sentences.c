/* SPDX-License-Identifier: Apache-2.0 */
#include "sentences.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

rp_status sentences_read(const char *path, struct sentences *sentences, rp_error *err) {
    FILE *file = fopen(path, "r");
    if (!file) return rp_fail_errno(err, "cannot read the sentences '%s'", path);
    int cases = 0;
    int ranks = 0;
    rp_status status = RP_OK;
    if (fscanf(file, "resourcepool-sentences 1 %d %d", &cases, &ranks) != 2 ||
        cases != SENTENCE_CASES || ranks != SENTENCE_RANKS) {
        status = rp_fail(err, RP_ERR_DATA, "'%s' does not hold %d cases of %d sentences", path,
                         SENTENCE_CASES, SENTENCE_RANKS);
    }
    for (int i = 0; i < SENTENCE_CASES * SENTENCE_RANKS && status == RP_OK; i++) {
        struct sentence *sentence = &sentences->of[i / SENTENCE_RANKS][i % SENTENCE_RANKS];
        int at_case = -1;
        int at_rank = -1;
        int good = fscanf(file, "%d %d %d", &at_case, &at_rank, &sentence->token_count) == 3 &&
                   at_case == i / SENTENCE_RANKS && at_rank == i % SENTENCE_RANKS &&
                   sentence->token_count > 0 && sentence->token_count <= SENTENCE_TOKENS_MAX;
        for (int t = 0; good && t < sentence->token_count; t++) {
            long long id = 0;
            good = fscanf(file, "%lld", &id) == 1;
            sentence->ids[t] = id;
        }
        good = good && fscanf(file, "%*[^\n]") == 0; /* the text itself, for people */
        if (!good) status = rp_fail(err, RP_ERR_DATA, "sentence %d of '%s' is damaged", i, path);
    }
    fclose(file);
    return status;
}

sentence_vector *sentences_read_reference(const char *path) {
    FILE *file = fopen(path, "r");
    sentence_vector *vectors = calloc(SENTENCE_CASES * SENTENCE_RANKS, sizeof *vectors);
    int count = 0;
    int width = 0;
    int good = file && vectors &&
               fscanf(file, "resourcepool-vectors 1 %d %d ", &count, &width) == 2 &&
               count == SENTENCE_CASES * SENTENCE_RANKS && width == SENTENCE_WIDTH;
    while (good && fscanf(file, "#%*[^\n] ") == 0) {
        int next = fgetc(file);
        ungetc(next, file);
        if (next != '#') break;
    }
    for (int i = 0; good && i < count * width; i++) {
        good = fscanf(file, "%f", &vectors[i / width][i % width]) == 1;
    }
    if (file) fclose(file);
    if (good) return vectors;
    free(vectors);
    return NULL;
}

static rp_status embed(rp_model *model, const struct sentence *sentence, float *vector,
                       double *inference_ms, rp_error *err) {
    int64_t ids[SENTENCE_TOKENS_MAX];
    int64_t mask[SENTENCE_TOKENS_MAX];
    int64_t types[SENTENCE_TOKENS_MAX] = {0};
    for (int i = 0; i < sentence->token_count; i++) {
        ids[i] = sentence->ids[i];
        mask[i] = 1;
    }
    int64_t shape[2] = {1, sentence->token_count};
    rp_tensor inputs[3] = {{0}};
    size_t count = rp_model_input_count(model);
    if (count > 3) return rp_fail(err, RP_ERR_DATA, "a sentence encoder with %zu inputs", count);
    for (size_t i = 0; i < count; i++) {
        const char *name = rp_model_input(model, i)->name;
        inputs[i].data = strstr(name, "mask") ? mask : strstr(name, "type") ? types : ids;
        inputs[i].device.type = RP_TENSOR_DEVICE_CPU;
        inputs[i].dtype = RP_DTYPE_INT64;
        inputs[i].ndim = 2;
        inputs[i].shape = shape;
    }
    rp_result *result = NULL;
    double start = now_ms();
    rp_status status = rp_model_run(model, inputs, count, &result, err);
    *inference_ms += now_ms() - start;
    if (status != RP_OK) return status;
    status = rp_fail(err, RP_ERR_DATA, "the model has no output 'sentence_embedding'");
    for (size_t i = 0; i < rp_result_count(result); i++) {
        if (strcmp(rp_model_output(model, i)->name, "sentence_embedding") != 0) continue;
        memcpy(vector, rp_tensor_data(rp_result_tensor(result, i)),
               SENTENCE_WIDTH * sizeof *vector);
        status = RP_OK;
    }
    rp_result_close(result);
    return status;
}

static double cosine(const float *a, const float *b) {
    double dot = 0;
    for (int i = 0; i < SENTENCE_WIDTH; i++) {
        dot += (double)a[i] * (double)b[i];
    }
    return dot; /* the vectors have length 1 */
}

rp_status sentences_check(rp_model *model, const struct sentences *sentences, int index,
                          sentence_vector *reference, struct sentence_check *check,
                          double *inference_ms, rp_error *err) {
    sentence_vector vectors[SENTENCE_RANKS];
    struct sentence_check made = {0};
    for (int rank = 0; rank < SENTENCE_RANKS; rank++) {
        rp_status status =
            embed(model, &sentences->of[index][rank], vectors[rank], inference_ms, err);
        if (status != RP_OK) return status;
        for (int i = 0; reference && i < SENTENCE_WIDTH; i++) {
            double d = fabs((double)vectors[rank][i] -
                            (double)reference[index * SENTENCE_RANKS + rank][i]);
            if (!(d <= made.difference_max)) made.difference_max = d; /* also takes a NaN */
        }
    }
    for (int rank = 1; rank + 1 < SENTENCE_RANKS; rank++) {
        made.out_of_order +=
            !(cosine(vectors[0], vectors[rank]) > cosine(vectors[0], vectors[rank + 1]));
    }
    *check = made;
    return RP_OK;
}
