/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool bench: figures with their spread, each beside a baseline that was measured in turn with it.
 * `hit` needs the inside of the library and comes from it; the rest uses the public calls, `python`
 * those of the Python package.
 */
#include "bench_python.h"
#include "command.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS, ROWS_MAX = 96, ROUNDS_DEFAULT = 15, ROUNDS_MAX = 99, CALLERS = 24, SLOW_MS = 1000 };

struct table {
    rp_measure rows[ROWS_MAX];
    size_t count;
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* A row of figures and the baselines of the same rounds; baselines[i] <= 0 means there is none. */
static void add_row(struct table *table, const char *name, const char *unit, const double *ours,
                    const double *baselines, size_t rounds) {
    double values[ROUNDS_MAX] = {0};
    double bases[ROUNDS_MAX] = {0};
    double ratios[ROUNDS_MAX] = {0};
    for (size_t i = 0; i < rounds; i++) {
        values[i] = ours[i];
        bases[i] = baselines[i];
        ratios[i] = ours[i] / baselines[i];
    }
    rp_measure *row = &table->rows[table->count++];
    row->name = name;
    row->unit = unit;
    row->median = median(values, rounds);
    row->min = values[0];
    row->max = values[rounds - 1];
    row->baseline = median(bases, rounds);
    row->ratio = median(ratios, rounds);
}

static rp_status make_slowly(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)err;
    struct timespec span = {SLOW_MS / 1000, SLOW_MS % 1000 * 1000000L};
    __atomic_add_fetch((int *)user, 1, __ATOMIC_RELAXED);
    nanosleep(&span, NULL);
    *object = user;
    return RP_OK;
}

struct caller {
    rp_pool *pool;
    const char *name;
    int *made;
    rp_status status;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    rp_request request = RP_REQUEST_INIT;
    request.type = "bench";
    request.name = caller->name;
    request.construct = make_slowly;
    request.user = caller->made;
    rp_lease *lease = NULL;
    caller->status = rp_pool_get_model(caller->pool, &request, &lease, NULL);
    rp_lease_release(lease, NULL);
    return NULL;
}

/* How long `count` threads take that ask for `names` different things of SLOW_MS each. */
static double time_callers(size_t count, size_t names, int *made) {
    static const char *const all[] = {"a", "b"};
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    rp_pool *pool = NULL;
    if (rp_pool_open(NULL, &pool, NULL) != RP_OK) abort();
    double start = now_ms();
    for (size_t i = 0; i < count; i++) {
        callers[i] = (struct caller){pool, all[i % names], made, RP_OK};
        if (pthread_create(&threads[i], NULL, call, &callers[i]) != 0) abort();
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        if (callers[i].status != RP_OK) abort();
    }
    double span = now_ms() - start;
    rp_pool_close(pool, NULL);
    return span;
}

/* Loads that go side by side, a load that many share, and what opening things costs. */
static rp_status bench_pool(struct table *table, size_t rounds, rp_error *err) {
    enum { SLOW_ROUNDS = 3 };
    double ours[ROUNDS_MAX];
    double base[ROUNDS_MAX];
    for (size_t i = 0; i < SLOW_ROUNDS; i++) {
        int made = 0;
        ours[i] = time_callers(2, 2, &made);
        base[i] = SLOW_MS;
    }
    add_row(table, "two constructors of 1 s, 2 threads", "ms", ours, base, SLOW_ROUNDS);
    for (size_t i = 0; i < SLOW_ROUNDS; i++) {
        int made = 0;
        time_callers(CALLERS, 1, &made);
        ours[i] = made;
        base[i] = CALLERS; /* what each caller loading for itself would be */
    }
    add_row(table, "constructor calls, 24 threads, one key", "calls", ours, base, SLOW_ROUNDS);

    for (size_t i = 0; i < rounds; i++) {
        rp_pool *pool = NULL;
        double start = now_ms();
        rp_status status = rp_pool_open(NULL, &pool, err);
        ours[i] = now_ms() - start;
        base[i] = 1; /* the promise: at most 1 ms */
        if (status != RP_OK) return status;
        rp_pool_close(pool, NULL);
    }
    add_row(table, "open a pool (baseline: the promised 1 ms)", "ms", ours, base, rounds);
    return RP_OK;
}

/* A model of the caller's: loaded through an empty pool, beside loaded plainly. */
static rp_status bench_load(struct table *table, const char *path, size_t rounds, rp_error *err) {
    double pooled[ROUNDS_MAX];
    double plain[ROUNDS_MAX];
    rp_status status = RP_OK;
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        rp_pool *pool = NULL;
        rp_lease *lease = NULL;
        rp_model *model = NULL;
        rp_request request = RP_REQUEST_INIT;
        request.type = "bench";
        request.name = path;
        double start = now_ms();
        status = rp_pool_open(NULL, &pool, err);
        if (status == RP_OK) status = rp_pool_get_model(pool, &request, &lease, err);
        pooled[i] = now_ms() - start;
        rp_lease_release(lease, NULL);
        rp_pool_close(pool, NULL);
        if (status != RP_OK) break;
        start = now_ms();
        status = rp_model_open(path, NULL, &model, err);
        plain[i] = now_ms() - start;
        rp_model_close(model);
    }
    if (status == RP_OK) add_row(table, "load through a pool", "ms", pooled, plain, rounds);
    return status;
}

static int print_table(const struct table *table, bool is_json) {
    if (!is_json) {
        printf("%-46s %6s %10s %10s %10s %10s %7s\n", "figure", "unit", "min", "median", "max",
               "baseline", "ratio");
        for (size_t i = 0; i < table->count; i++) {
            const rp_measure *row = &table->rows[i];
            printf("%-46s %6s %10.3f %10.3f %10.3f %10.3f %7.3f\n", row->name, row->unit, row->min,
                   row->median, row->max, row->baseline, row->ratio);
        }
        return 0;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const rp_measure *row = &table->rows[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "name",
                                              row->name, "unit", row->unit, "min", row->min,
                                              "median", row->median, "max", row->max, "baseline",
                                              row->baseline, "ratio", row->ratio));
    }
    return print_json(list);
}

static rp_status bench_hit(struct table *table, size_t rounds, rp_error *err) {
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_HIT_ROWS;
    return rp_bench_hit(rows, rounds, err);
}

static rp_status bench_hardware(struct table *table, size_t rounds, rp_error *err) {
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_HARDWARE_ROWS;
    return rp_bench_hardware(rows, rounds, err);
}

static rp_status bench_classify(struct table *table, size_t rounds, rp_error *err) {
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_CLASSIFY_ROWS;
    return rp_bench_classify(rows, rounds, err);
}

static rp_status bench_diagnose(struct table *table, size_t rounds, rp_error *err) {
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_DIAGNOSE_ROWS;
    return rp_bench_diagnose(rows, rounds, err);
}

static rp_status bench_placement(struct table *table, size_t rounds, rp_error *err) {
    return rp_bench_placement(&table->rows[table->count++], rounds, err);
}

/* Takes what it takes, whatever the rounds. */
static rp_status bench_room(struct table *table, size_t rounds, rp_error *err) {
    (void)rounds;
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_ROOM_ROWS;
    return rp_bench_room(rows, err);
}

/* What is large is not measured as often: more rounds tell no more. The model may be named. */
static rp_status bench_machine_with(struct table *table, const char *model, size_t rounds,
                                    rp_error *err) {
    enum { LARGE_ROUNDS = 7 };
    size_t large_rounds = rounds < LARGE_ROUNDS ? rounds : LARGE_ROUNDS;
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0) return rp_fail_errno(err, "cannot tell which file this program is");
    program[length] = '\0';
    /* First, while this process has no engine that its children would share. */
    rp_status status = rp_bench_large(table->rows + table->count, model, large_rounds, err);
    table->count += RP_BENCH_LARGE_ROWS;
    if (status != RP_OK) return status;
    status = rp_bench_machine(table->rows + table->count, program, rounds, err);
    table->count += RP_BENCH_MACHINE_ROWS;
    if (status != RP_OK) return status;
    status = rp_bench_broker(table->rows + table->count, rounds, err);
    table->count += RP_BENCH_BROKER_ROWS;
    if (status != RP_OK) return status;
    status = rp_bench_segment(table->rows + table->count, large_rounds, err);
    table->count += RP_BENCH_SEGMENT_ROWS;
    return status;
}

static rp_status bench_machine(struct table *table, size_t rounds, rp_error *err) {
    return bench_machine_with(table, NULL, rounds, err);
}

/* Pythons from a server, measured by the package as well. */
static int bench_forkserver(struct table *table, const struct arguments *arguments, size_t rounds) {
    rp_error err = RP_ERROR_INIT;
    rp_status status =
        bench_python("forkserver", rounds, table->rows, ROWS_MAX, &table->count, &err);
    return status == RP_OK ? print_table(table, arguments->json) : report(&err);
}

/* Not among all: it takes minutes, and an interpreter. */
static int bench_python_with(struct table *table, const struct arguments *arguments,
                             size_t rounds) {
    static const char *const parts[] = {"calls", "sharing", "suite"};
    const char *part = arguments->word_count > 1 ? arguments->words[1] : NULL;
    bool is_known = !part;
    rp_error err = RP_ERROR_INIT;
    for (size_t i = 0; part && i < sizeof parts / sizeof parts[0]; i++) {
        is_known = is_known || strcmp(part, parts[i]) == 0;
    }
    if (!is_known) {
        return usage_error("bench", "there is no part '%s' of 'python': calls, sharing or suite",
                           part);
    }
    if (bench_python(part, rounds, table->rows, ROWS_MAX, &table->count, &err) != RP_OK) {
        return report(&err);
    }
    return print_table(table, arguments->json);
}

/* Seeds that the policy was not tuned on; each is a round of its own. */
static rp_status bench_eviction(struct table *table, size_t rounds, rp_error *err) {
    enum { FIRST_SEED = 101, SEEDS = 9 };
    (void)rounds;
    rp_measure *rows = table->rows + table->count;
    table->count += RP_BENCH_EVICTION_ROWS;
    return rp_bench_eviction(rows, FIRST_SEED, SEEDS, err);
}

static const struct benchmark {
    const char *name;
    rp_status (*run)(struct table *table, size_t rounds, rp_error *err);
} benchmarks[] = {
    {"hit", bench_hit},           {"pool", bench_pool},           {"hardware", bench_hardware},
    {"classify", bench_classify}, {"placement", bench_placement}, {"diagnose", bench_diagnose},
    {"room", bench_room},         {"eviction", bench_eviction},   {"machine", bench_machine},
};
enum { BENCHMARK_COUNT = sizeof benchmarks / sizeof benchmarks[0] };

static int unknown_benchmark(const char *what) {
    char names[160] = "";
    for (size_t i = 0; i < BENCHMARK_COUNT; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "", benchmarks[i].name);
    }
    return usage_error("bench",
                       "there is no benchmark '%s': %s, load MODEL, python [PART] or forkserver",
                       what, names);
}

int bench_run(const struct arguments *arguments) {
    long rounds = ROUNDS_DEFAULT;
    if (!parse_number("bench", "rounds", arguments->options[ROUNDS], 3, ROUNDS_MAX, &rounds)) {
        return EXIT_USAGE;
    }
    const char *what = arguments->word_count > 0 ? arguments->words[0] : "all";
    struct table table = {.count = 0};
    size_t rounds_given = arguments->options[ROUNDS] ? (size_t)rounds : 0;
    if (strcmp(what, "python") == 0) return bench_python_with(&table, arguments, rounds_given);
    if (strcmp(what, "forkserver") == 0 && arguments->word_count == 1) {
        return bench_forkserver(&table, arguments, rounds_given);
    }
    bool is_all = strcmp(what, "all") == 0;
    bool is_load = strcmp(what, "load") == 0;
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    bool has_model = arguments->word_count == 2;
    bool is_machine = has_model && strcmp(what, "machine") == 0;
    bool is_known = is_load || is_machine;
    if (is_load != has_model && !is_machine) {
        return usage_error("bench",
                           "'rpool bench load' takes a model, 'machine' may, the others do not");
    }
    if (is_machine) {
        status = bench_machine_with(&table, arguments->words[1], (size_t)rounds, &err);
        return status == RP_OK ? print_table(&table, arguments->json) : report(&err);
    }
    for (size_t i = 0; status == RP_OK && i < BENCHMARK_COUNT; i++) {
        if (!is_all && strcmp(what, benchmarks[i].name) != 0) continue;
        is_known = true;
        status = benchmarks[i].run(&table, (size_t)rounds, &err);
    }
    if (!is_known) return unknown_benchmark(what);
    if (status == RP_OK && is_load) {
        status = bench_load(&table, arguments->words[1], (size_t)rounds, &err);
    }
    return status == RP_OK ? print_table(&table, arguments->json) : report(&err);
}
