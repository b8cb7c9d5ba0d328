/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run through a worker costs. The model is a simulated one that takes no time, so that all
 * there is to see is the way there and back.
 *
 * Rows "awake" ask again at once, so that whoever waits still spins where processors are free; rows
 * "asleep" pause before each run for longer than anybody spins, and meet cold caches, which a bare
 * ping-pong hardly needs: a row has the run here after the same pause in its baseline.
 */
#include <resourcepool/bench.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "bench/summary.h"
#include "engine/engine.h"
#include "machine/remote_model.h"
#include "machine/ring.h"
#include "machine/worker.h"

#include <linux/futex.h>
#include <resourcepool/model.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WIDTH = 4, /* of the simulated model's rows: 16 bytes */
    AWAKE = 1000,
    ASLEEP = 60,
    LARGE = 5,
    LARGE_BYTES = 12 << 20,
    LARGE_ROWS = LARGE_BYTES / 16,
    PAUSE_NS = 500000,
};

/* Two words in memory that two processes share, on lines of their own. */
struct bare {
    _Atomic uint32_t request;
    char unused[60];
    _Atomic uint32_t response;
};

struct bench {
    struct rp_worker *worker;
    rp_model *here;
    rp_model *there;
    struct bare *bare;
    pid_t echo;
    uint32_t number;
    float *large;
    float *copy;
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static void pause_for_a_while(void) {
    struct timespec span = {0, PAUSE_NS};
    nanosleep(&span, NULL);
}

static void sleep_on(_Atomic uint32_t *word, uint32_t seen) {
    while (atomic_load_explicit(word, memory_order_acquire) == seen) {
        syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

static void set_and_wake(_Atomic uint32_t *word, uint32_t value) {
    atomic_store_explicit(word, value, memory_order_release);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The other end of the ping-pong: system calls only, since it is forked from a process at work. */
static _Noreturn void echo(struct bare *bare, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    for (uint32_t seen = 0;;) {
        sleep_on(&bare->request, seen);
        seen = atomic_load_explicit(&bare->request, memory_order_acquire);
        set_and_wake(&bare->response, seen);
    }
}

static rp_status attach(struct bench *bench, rp_error *err) {
    const struct rp_worker_facts *facts = rp_worker_facts(bench->worker);
    struct rp_engine_ports inputs = {0};
    struct rp_engine_ports outputs = {0};
    struct rp_worker_ring ring = {.fd = -1};
    struct rp_ring mapped = {0};
    rp_status status = rp_worker_add_ring(bench->worker, getpid(), &ring, err);
    if (status == RP_OK) status = rp_ring_map(ring.fd, &mapped, err);
    if (status == RP_OK && (!rp_engine_ports_copy(&facts->inputs, &inputs) ||
                            !rp_engine_ports_copy(&facts->outputs, &outputs))) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory for the ports of a benchmark");
    }
    struct rp_remote_request request = {
        .path = "x",
        .device = facts->device,
        .engine = facts->engine,
        .threads = facts->threads,
        .memory_bytes = facts->memory_bytes,
        .ring = &mapped,
        .inputs = &inputs,
        .outputs = &outputs,
    };
    if (status == RP_OK) status = rp_remote_model_open(&request, &bench->there, err);
    rp_engine_ports_fini(&inputs);
    rp_engine_ports_fini(&outputs);
    rp_ring_unmap(&mapped);
    if (ring.fd >= 0) close(ring.fd);
    return status;
}

static rp_status open_bench(struct bench *bench, const char *program, rp_error *err) {
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    struct rp_worker_request request = {
        .program = program, .path = "x", .engine = "simulated", .deadline_ns = RP_NEVER_NS};
    options.engine = "simulated";
    bench->large = rp_alloc_array(LARGE_ROWS, WIDTH * sizeof(float));
    bench->copy = rp_alloc_array(LARGE_ROWS, WIDTH * sizeof(float));
    if (!bench->large || !bench->copy) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a benchmark");
    }
    memset(bench->large, 1, LARGE_BYTES);
    memset(bench->copy, 1, LARGE_BYTES);
    void *shared =
        mmap(NULL, sizeof *bench->bare, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return rp_fail_errno(err, "no shared memory for a benchmark");
    bench->bare = shared;
    pid_t parent = getpid();
    bench->echo = fork();
    if (bench->echo < 0) return rp_fail_errno(err, "cannot start a process for a benchmark");
    if (bench->echo == 0) echo(bench->bare, parent);
    rp_status status = rp_model_open("x", &options, &bench->here, err);
    if (status == RP_OK) status = rp_worker_spawn(&request, &bench->worker, err);
    if (status == RP_OK) status = attach(bench, err);
    return status;
}

static void close_bench(struct bench *bench) {
    if (bench->echo > 0) {
        kill(bench->echo, SIGKILL);
        waitpid(bench->echo, NULL, 0);
    }
    rp_model_close(bench->there);
    rp_worker_stop(bench->worker, NULL, NULL);
    rp_model_close(bench->here);
    if (bench->bare) munmap(bench->bare, sizeof *bench->bare);
    rp_free(bench->large);
    rp_free(bench->copy);
}

/* The median of `count` runs, in microseconds. */
static rp_status time_runs(rp_model *model, float *values, int64_t row_count, size_t count,
                           bool is_asleep, double *us, rp_error *err) {
    static double taken[AWAKE];
    int64_t shape[2] = {row_count, WIDTH};
    rp_tensor input = {.data = values,
                       .device = {RP_TENSOR_DEVICE_CPU, 0},
                       .ndim = 2,
                       .dtype = RP_DTYPE_FLOAT32,
                       .shape = shape};
    for (size_t i = 0; i < count; i++) {
        rp_result *result = NULL;
        if (is_asleep) pause_for_a_while();
        int64_t start_ns = rp_clock_ns();
        rp_status status = rp_model_run(model, &input, 1, &result, err);
        taken[i] = (double)(rp_clock_ns() - start_ns) / 1e3;
        rp_result_close(result);
        if (status != RP_OK) return status;
    }
    *us = median(taken, count);
    return RP_OK;
}

static double time_bare(struct bench *bench, size_t count, bool is_asleep) {
    static double taken[AWAKE];
    for (size_t i = 0; i < count; i++) {
        uint32_t before = bench->number++;
        if (is_asleep) pause_for_a_while();
        int64_t start_ns = rp_clock_ns();
        set_and_wake(&bench->bare->request, bench->number);
        sleep_on(&bench->bare->response, before);
        taken[i] = (double)(rp_clock_ns() - start_ns) / 1e3;
    }
    return median(taken, count);
}

/* What 12 MB each way cost at least: in and out of the ring on both ends. */
static double time_copies(struct bench *bench) {
    enum { COPIES = 4 };
    double taken[LARGE];
    for (int i = 0; i < LARGE; i++) {
        int64_t start_ns = rp_clock_ns();
        for (int copy = 0; copy < COPIES; copy++) {
            float *from = copy % 2 ? bench->copy : bench->large;
            float *to = copy % 2 ? bench->large : bench->copy;
            memcpy(to, from, LARGE_BYTES);
            __asm__ volatile("" : : "r"(to) : "memory");
        }
        taken[i] = (double)(rp_clock_ns() - start_ns) / 1e3;
    }
    return median(taken, (size_t)LARGE);
}

rp_status rp_bench_machine(rp_measure *rows, const char *program, size_t rounds, rp_error *err) {
    enum { RUN, RUN_BARE, RUN_ASLEEP, RUN_COLD, COPY, FIGURES };
    _Static_assert((int)FIGURES == (int)RP_BENCH_MACHINE_ROWS, "rows of the header");
    static const char *const names[FIGURES][2] = {
        [RUN] = {"run through a worker (baseline: here)", "us"},
        [RUN_BARE] = {"the same (baseline: futex ping-pong)", "us"},
        [RUN_ASLEEP] = {"the same, asleep (baseline: ping-pong asleep)", "us"},
        [RUN_COLD] = {"the same (baseline: that + a run here, asleep)", "us"},
        [COPY] = {"12 MB in and out (baseline: here + 4 copies)", "us"},
    };
    double ours[FIGURES][RP_BENCH_ROUNDS_MAX];
    double base[FIGURES][RP_BENCH_ROUNDS_MAX];
    struct bench bench = {0};
    if (!rows || rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a benchmark takes 3 to %d rounds",
                       RP_BENCH_ROUNDS_MAX);
    }
    rp_status status = open_bench(&bench, program, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        double here = 0;
        status = time_runs(bench.there, bench.large, 1, AWAKE, false, &ours[RUN][i], err);
        if (status != RP_OK) break;
        status = time_runs(bench.here, bench.large, 1, AWAKE, false, &base[RUN][i], err);
        if (status != RP_OK) break;
        ours[RUN_BARE][i] = ours[RUN][i];
        base[RUN_BARE][i] = time_bare(&bench, AWAKE, false);
        status = time_runs(bench.there, bench.large, 1, ASLEEP, true, &ours[RUN_ASLEEP][i], err);
        if (status != RP_OK) break;
        base[RUN_ASLEEP][i] = time_bare(&bench, ASLEEP, true);
        status = time_runs(bench.here, bench.large, 1, ASLEEP, true, &here, err);
        if (status != RP_OK) break;
        ours[RUN_COLD][i] = ours[RUN_ASLEEP][i];
        base[RUN_COLD][i] = base[RUN_ASLEEP][i] + here;
        status = time_runs(bench.there, bench.large, LARGE_ROWS, LARGE, false, &ours[COPY][i], err);
        if (status != RP_OK) break;
        status = time_runs(bench.here, bench.large, LARGE_ROWS, LARGE, false, &here, err);
        base[COPY][i] = here + time_copies(&bench);
    }
    for (int i = 0; i < FIGURES && status == RP_OK; i++) {
        rows[i] = rp_bench_summarise(names[i][0], names[i][1], ours[i], base[i], rounds);
    }
    close_bench(&bench);
    return status;
}
