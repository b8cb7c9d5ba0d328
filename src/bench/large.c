/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of 110 M parameters, shared: what memory four processes take, what it costs to attach to
 * it when it is loaded, and how much longer a run takes than in a process of one's own.
 *
 * Memory comes first, while no engine is loaded here: the processes are forked from this one, and
 * what it had would be shared by them.
 */
#include "bench/large_model.h"
#include "bench/served.h"
#include "bench/summary.h"

#include "base/clock.h"
#include "base/status.h"
#include "machine/client.h"
#include "machine/remote_lease.h"

#include <limits.h>
#include <resourcepool/model.h>
#include <resourcepool/pool.h>
#include <resourcepool/statistics.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, MEMORY_ROUNDS = 3, RUNS = 10, ATTACHES = 20 };

/* ---- processes that hold the model ---- */

struct holder {
    pid_t pid;
    int told;  /* a byte comes once it has run the model     */
    int stays; /* closing it ends the process                */
};

static rp_status run_plainly(const char *path, rp_error *err) {
    rp_model *model = NULL;
    rp_status status = rp_model_open(path, NULL, &model, err);
    if (status == RP_OK) status = rp_model_run_sample(model, NULL, NULL, err);
    return status; /* and keeps it */
}

static rp_status run_shared(const char *path, const char *folder, rp_error *err) {
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_request request = RP_REQUEST_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    setenv("RESOURCE_POOL_BROKER", folder, 1);
    options.share = RP_SHARE_MACHINE;
    options.history = "off";
    request.type = "bench";
    request.name = path;
    rp_status status = rp_pool_open(&options, &pool, err);
    if (status == RP_OK) status = rp_pool_get_model(pool, &request, &lease, err);
    if (status == RP_OK) status = rp_model_run_sample(rp_lease_model(lease), NULL, NULL, err);
    return status;
}

/* Plainly without a broker's folder. */
static _Noreturn void hold(const char *path, const char *folder, int tell, int stay) {
    rp_error why = RP_ERROR_INIT;
    char byte = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rp_status status = folder ? run_shared(path, folder, &why) : run_plainly(path, &why);
    if (status != RP_OK) fprintf(stderr, "rpool: %s\n", why.message);
    if (status != RP_OK || write(tell, &byte, 1) != 1) _exit(1);
    while (read(stay, &byte, 1) > 0) {
    }
    _exit(0);
}

static rp_status start_holder(struct holder *holder, const char *path, const char *folder,
                              rp_error *err) {
    int told[2];
    int stays[2];
    if (pipe(told) != 0) return rp_fail_errno(err, "no pipe for a benchmark");
    if (pipe(stays) != 0) {
        close(told[0]);
        close(told[1]);
        return rp_fail_errno(err, "no pipe for a benchmark");
    }
    holder->pid = fork();
    if (holder->pid == 0) {
        close(told[0]);
        close(stays[1]);
        hold(path, folder, told[1], stays[0]);
    }
    close(told[1]);
    close(stays[0]);
    holder->told = told[0];
    holder->stays = stays[1];
    if (holder->pid > 0) return RP_OK;
    rp_status status = rp_fail_errno(err, "no process for a benchmark");
    close(told[0]);
    close(stays[1]);
    return status;
}

static void end_holders(struct holder *holders, int count) {
    for (int i = 0; i < count; i++) {
        kill(holders[i].pid, SIGKILL);
        waitpid(holders[i].pid, NULL, 0);
        close(holders[i].told);
        close(holders[i].stays);
    }
}

/* What `count` processes take that hold the model, with their broker and its workers. */
static rp_status measure(const char *path, int count, const struct rp_bench_served *served,
                         double *mib, rp_error *err) {
    struct holder holders[PROCESSES] = {{0, -1, -1}};
    rp_status status = RP_OK;
    int started = 0;
    uint64_t total = 0;
    for (; started < count && status == RP_OK; started += status == RP_OK) {
        status = start_holder(&holders[started], path, served ? served->folder : NULL, err);
    }
    for (int i = 0; i < started && status == RP_OK; i++) {
        char byte = 0;
        if (read(holders[i].told, &byte, 1) == 1) continue;
        status = rp_fail(err, RP_ERR_RUN, "a process of a benchmark could not run '%s'", path);
    }
    for (int i = 0; i < started; i++) {
        total += rp_bench_pss(holders[i].pid);
    }
    if (served) total += rp_bench_pss(served->pid) + rp_bench_pss_of_children(served->pid);
    end_holders(holders, started);
    *mib = (double)total / 0x1p20;
    return status;
}

/* ---- the figures ---- */

enum { SHARED, PLAIN, EXTRA, ATTACH, RUN, LONGER, FIGURES };
_Static_assert((int)FIGURES == (int)RP_BENCH_LARGE_ROWS, "rows of the header");

struct figures {
    double ours[FIGURES][RP_BENCH_ROUNDS_MAX];
    double base[FIGURES][RP_BENCH_ROUNDS_MAX];
};

/* Plainly first: a worker that stays would share the engine's library with whom it is compared. */
static rp_status time_memory(const char *path, const struct rp_bench_served *served,
                             struct figures *figures, rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; i < MEMORY_ROUNDS && status == RP_OK; i++) {
        double one = 0;
        status = measure(path, 1, NULL, &one, err);
        if (status == RP_OK) {
            status = measure(path, PROCESSES, NULL, &figures->ours[PLAIN][i], err);
        }
        figures->base[SHARED][i] = figures->base[PLAIN][i] = one;
        figures->base[EXTRA][i] = 1e6 / 0x1p20;
    }
    for (size_t i = 0; i < MEMORY_ROUNDS && status == RP_OK; i++) {
        double client = 0;
        status = measure(path, 1, served, &client, err);
        if (status == RP_OK) {
            status = measure(path, PROCESSES, served, &figures->ours[SHARED][i], err);
        }
        figures->ours[EXTRA][i] = (figures->ours[SHARED][i] - client) / (PROCESSES - 1);
    }
    return status;
}

static rp_status attach(struct rp_client *client, const char *path, rp_model **model,
                        rp_error *err) {
    const struct rp_message acquire = {
        .type = RP_MESSAGE_ACQUIRE,
        .acquire = {.kind = RP_KIND_MODEL, .resource_type = "model", .name = path}};
    struct rp_reply reply = {.frame = NULL};
    rp_status status = rp_client_call(client, &acquire, NULL, RP_NEVER_NS, NULL, &reply, err);
    if (status != RP_OK) return status;
    status = rp_remote_model_lease(rp_client_share(client), &reply, path, model, err);
    if (status != RP_OK) rp_client_drop(client);
    rp_reply_fini(&reply);
    return status;
}

static rp_status time_attach(struct rp_client *client, const char *path, double *ms,
                             rp_error *err) {
    rp_status status = RP_OK;
    double total = 0;
    for (int i = 0; i < ATTACHES && status == RP_OK; i++) {
        rp_model *model = NULL;
        int64_t start_ns = rp_clock_ns();
        status = attach(client, path, &model, err);
        total += rp_elapsed_ms(start_ns, rp_clock_ns());
        rp_model_close(model);
    }
    *ms = total / ATTACHES;
    return status;
}

/*
 * The quickest of each, in turn: what the way there and back adds, it adds to every run, while
 * whatever else goes on in the machine adds more than that to most.
 */
static rp_status time_runs(rp_model *here, rp_model *there, double *here_ms, double *there_ms,
                           rp_error *err) {
    double least[2] = {0, 0};
    for (int i = 0; i < 2 * RUNS; i++) {
        int is_there = (i + i / 2) % 2; /* here, there, there, here, ... */
        double ms = 0;
        rp_status status = rp_model_run_sample(is_there ? there : here, NULL, &ms, err);
        if (status != RP_OK) return status;
        if (i < 2 || ms < least[is_there]) least[is_there] = ms;
    }
    *here_ms = least[0];
    *there_ms = least[1];
    return RP_OK;
}

static rp_status time_use(const char *path, const struct rp_bench_served *served,
                          struct figures *figures, size_t rounds, rp_error *err) {
    const struct rp_client_options options = {.folder = served->folder, .no_start = true};
    struct rp_client *client = NULL;
    rp_model *here = NULL;
    rp_model *there = NULL;
    rp_status status = rp_client_acquire(&options, &client, err);
    if (status == RP_OK) status = rp_model_open(path, NULL, &here, err);
    if (status == RP_OK) status = attach(client, path, &there, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        status = time_attach(client, path, &figures->ours[ATTACH][i], err);
        figures->base[ATTACH][i] = 1;
        if (status != RP_OK) break;
        status = time_runs(here, there, &figures->base[RUN][i], &figures->ours[RUN][i], err);
        figures->ours[LONGER][i] = figures->ours[RUN][i] - figures->base[RUN][i];
        figures->base[LONGER][i] = 0.3;
    }
    rp_model_close(there);
    rp_model_close(here);
    rp_client_drop(client);
    return status;
}

static rp_status measure_all(const char *path, struct figures *figures, size_t rounds,
                             rp_error *err) {
    struct rp_bench_served served = {.machine = NULL};
    rp_status status = rp_bench_served_start(&served, err);
    if (status == RP_OK) status = time_memory(path, &served, figures, err);
    if (status == RP_OK) status = time_use(path, &served, figures, rounds, err);
    rp_bench_served_end(&served);
    return status;
}

rp_status rp_bench_large(rp_measure *rows, const char *path, size_t rounds, rp_error *err) {
    static const char *const names[FIGURES][2] = {
        [SHARED] = {"110 M, 4 processes share (baseline: 1 plain)", "MiB"},
        [PLAIN] = {"110 M, 4 plain processes (baseline: 1 plain)", "MiB"},
        [EXTRA] = {"one more process that shares (baseline: 1 MB)", "MiB"},
        [ATTACH] = {"attach to it, loaded (baseline: 1 ms)", "ms"},
        [RUN] = {"run it, best of 10 in turn (baseline: here)", "ms"},
        [LONGER] = {"the difference of the two (baseline: 0.3 ms)", "ms"},
    };
    struct figures figures;
    char folder[] = "/var/tmp/resourcepool-large-XXXXXX";
    char made[RP_LARGE_MODEL_PATH_BYTES];
    char whole[PATH_MAX]; /* workers are elsewhere */
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_OK;
    if (!rows || rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a benchmark takes 3 to %d rounds",
                       RP_BENCH_ROUNDS_MAX);
    }
    bool is_made = !path;
    if (is_made && !mkdtemp(folder)) return rp_fail_errno(err, "cannot make a folder for a model");
    if (is_made) status = rp_large_model_write(folder, made, &why);
    if (!is_made && !realpath(path, whole)) status = rp_fail_errno(&why, "cannot find '%s'", path);
    if (status == RP_OK) status = measure_all(is_made ? made : whole, &figures, rounds, &why);
    if (is_made) {
        rp_large_model_remove(folder);
        rmdir(folder);
    }
    for (int i = 0; i < FIGURES && status == RP_OK; i++) {
        rows[i] = rp_bench_summarise(names[i][0], names[i][1], figures.ours[i], figures.base[i],
                                     i <= EXTRA ? MEMORY_ROUNDS : rounds);
    }
    if (status != RP_OK && err) *err = why;
    return status;
}
