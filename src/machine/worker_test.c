/* SPDX-License-Identifier: Apache-2.0 */
/* Workers and remote models with real processes: this program is its own worker. */
#include "machine/worker.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/doubling_model.h"
#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/remote_model.h"
#include "machine/ring.h"
#include "machine/turns.h"
#include "machine/worker_group.h"
#include "machine/worker_host.h"

#include "../../tests/test.h"

#include <errno.h>
#include <pthread.h>
#include <resourcepool/machine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 4, RUNS = 200 };

static char folder[] = "/tmp/rp-worker-test-XXXXXX";
static char self[512];
static char doubling_path[256];

static void write_file(const char *path, const void *bytes, size_t size, mode_t mode) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static int make_folder(void **state) {
    (void)state;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0 || !mkdtemp(folder)) return -1;
    self[length] = '\0';
    snprintf(doubling_path, sizeof doubling_path, "%s/doubling.onnx", folder);
    write_file(doubling_path, doubling_model, sizeof doubling_model, 0600);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char path[256];
    unlink(doubling_path);
    snprintf(path, sizeof path, "%s/program", folder);
    unlink(path);
    return rmdir(folder);
}

static struct rp_worker_request simulated(const char *path) {
    return (struct rp_worker_request){
        .program = self, .path = path, .engine = "simulated", .deadline_ns = RP_NEVER_NS};
}

static struct rp_worker *spawn(const char *path) {
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = NULL;
    struct rp_worker_request request = simulated(path);
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    return worker;
}

/* What a client does with a lease. */
static rp_status open_on(struct rp_worker *worker, int ring_fd,
                         void (*closed)(void *user, struct rp_ring *ring, bool is_clean),
                         void *user, rp_model **model, rp_error *err) {
    const struct rp_worker_facts *facts = rp_worker_facts(worker);
    struct rp_engine_ports in = {0};
    struct rp_engine_ports out = {0};
    struct rp_ring ring = {0};
    struct rp_remote_request request = {
        .path = "here",
        .device = facts->device,
        .precision = facts->precision[0] ? facts->precision : NULL,
        .engine = facts->engine,
        .threads = facts->threads,
        .memory_bytes = facts->memory_bytes,
        .ring = &ring,
        .inputs = &in,
        .outputs = &out,
        .closed = closed,
        .user = user,
    };
    rp_status status = rp_ring_map(ring_fd, &ring, err);
    if (status == RP_OK && (!rp_engine_ports_copy(&facts->inputs, &in) ||
                            !rp_engine_ports_copy(&facts->outputs, &out))) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory");
    }
    if (status == RP_OK) status = rp_remote_model_open(&request, model, err);
    rp_ring_unmap(&ring);
    if (status != RP_OK) {
        rp_engine_ports_fini(&in);
        rp_engine_ports_fini(&out);
    }
    return status;
}

static rp_model *attach(struct rp_worker *worker, uint64_t *ring_id) {
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_ring ring;
    rp_model *model = NULL;
    assert_ok(rp_worker_add_ring(worker, getpid(), &ring, &err));
    assert_ok(open_on(worker, ring.fd, NULL, NULL, &model, &err));
    close(ring.fd);
    if (ring_id) *ring_id = ring.id;
    return model;
}

/* Rows of four numbers, as the simulated engine wants them. */
struct rows {
    float values[64];
    int64_t shape[2];
    rp_tensor tensor;
};

static void fill(struct rows *rows, int64_t count, float first) {
    for (int i = 0; i < 64; i++) {
        rows->values[i] = first + (float)i / 3;
    }
    rows->shape[0] = count;
    rows->shape[1] = 4;
    rows->tensor = (rp_tensor){.data = rows->values,
                               .device = {RP_TENSOR_DEVICE_CPU, 0},
                               .ndim = 2,
                               .dtype = RP_DTYPE_FLOAT32,
                               .shape = rows->shape};
}

/* One run whose answer is compared bit by bit. */
static rp_status run_once(rp_model *model, float first, rp_error *err) {
    struct rows rows;
    rp_result *result = NULL;
    fill(&rows, 16, first);
    rp_status status = rp_model_run(model, &rows.tensor, 1, &result, err);
    if (status != RP_OK) return status;
    const rp_tensor *output = rp_result_tensor(result, 0);
    bool is_right = output->ndim == 2 && output->shape[0] == 16 && output->shape[1] == 4 &&
                    (uintptr_t)output->data % 64 == 0;
    for (int i = 0; is_right && i < 64; i++) {
        is_right = ((const float *)output->data)[i] == rows.values[i] * 2; /* exact in binary */
    }
    rp_result_close(result);
    return is_right ? RP_OK : rp_fail(err, RP_ERR_DATA, "a wrong answer");
}

static void count_close(void *user, struct rp_ring *ring, bool is_clean) {
    assert_non_null(ring->base);
    assert_true(is_clean);
    ++*(int *)user;
}

static void a_worker_runs_for_its_client(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    int64_t blocks = rp_memory_live_count();
    struct rp_worker *worker = spawn("x?memory_bytes=5MiB");
    struct rp_worker_ring ring;
    rp_model *model = NULL;
    int closed = 0;
    assert_true(rp_worker_facts(worker)->is_simulated);
    assert_int_equal(rp_worker_facts(worker)->memory_bytes, 5 << 20);
    assert_ok(rp_worker_add_ring(worker, getpid(), &ring, &err));
    assert_ok(open_on(worker, ring.fd, count_close, &closed, &model, &err));
    close(ring.fd);
    assert_string_equal(rp_model_engine(model), "simulated");
    assert_true(rp_model_is_simulated(model) && rp_model_is_remote(model));
    assert_int_equal(rp_model_bytes(model), 5 << 20);
    assert_string_equal(rp_model_input(model, 0)->name, "input");
    for (int i = 0; i < RUNS; i++) {
        assert_ok(run_once(model, (float)i, &err));
    }
    rp_model_trim(model);
    assert_ok(run_once(model, 1, &err));
    /* Wrong inputs are stopped before they travel. */
    struct rows rows;
    fill(&rows, 1, 0);
    rows.shape[1] = 5;
    rp_result *result = NULL;
    assert_status(rp_model_run(model, &rows.tensor, 1, &result, &err), RP_ERR_ARGUMENT);
    uint64_t bytes = rp_worker_bytes(worker);
    assert_true(bytes > 100000 && bytes != RP_UNKNOWN_U64);
    rp_model_close(model);
    assert_int_equal(closed, 1);
    rp_worker_remove_ring(worker, ring.id);
    struct rp_worker_end end;
    pid_t pid = rp_worker_pid(worker);
    rp_worker_stop(worker, NULL, &end);
    assert_true(end.is_verified && end.bytes_freed > 100000);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(rp_memory_live_count(), blocks);
}

static void a_worker_inherits_nothing(void **state) {
    (void)state;
    setenv("SECRET_TOKEN", "x", 1);
    int open_here = dup(1);
    struct rp_worker *worker = spawn("x");
    pid_t pid = rp_worker_pid(worker);
    char path[64];
    char *text = NULL;
    size_t length = 0;
    for (int fd = 4; fd < 64; fd++) {
        char target[64] = "";
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        /* But for what it opened itself. */
        if (readlink(path, target, sizeof target - 1) < 0) continue;
        assert_string_equal(target, "/memfd:resourcepool-turns (deleted)");
    }
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    assert_int_equal(rp_text_read_file(path, 1 << 20, &text, &length), 0);
    assert_null(memmem(text, length, "SECRET_TOKEN", 12));
    assert_non_null(memmem(text, length, "ORT_DISABLE_TELEMETRY=1", 23));
    rp_free(text);
    assert_int_equal(getsid(pid), pid);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    assert_int_equal(rp_text_read_file(path, 64, &text, &length), 0);
    assert_true(strtol(text, NULL, 10) >= 500);
    rp_free(text);
    close(open_here);
    unsetenv("SECRET_TOKEN");
    rp_worker_stop(worker, NULL, NULL);
}

/* A script that is started in a worker's stead. */
static struct rp_worker_request scripted(const char *script, char path[256]) {
    snprintf(path, 256, "%s/program", folder);
    write_file(path, script, strlen(script), 0700);
    struct rp_worker_request request = simulated("x");
    request.program = path;
    return request;
}

static void what_hinders_a_load_is_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = NULL;
    struct rp_worker_request request = simulated("x?fail=load");
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_LOAD);
    assert_says(err.message, "fails to load, as told");
    request.path = "/nowhere/model.onnx";
    request.engine = NULL;
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_NOT_FOUND);
    request = simulated("x");
    request.program = "/nowhere/rpool";
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_LOAD);
    assert_says(err.message, "exit code 127; it printed: cannot execute '/nowhere/rpool'");
    /* A program that ends in its own way, with a last word. */
    static const char ends[] = "#!/bin/sh\necho 'one'  >&2\necho 'libfoo: no such device' >&2\n"
                               "exit 3\n";
    char path[256];
    request = scripted(ends, path);
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_LOAD);
    assert_says(err.message, "exit code 3; it printed: one libfoo: no such device");
    request = scripted("#!/bin/sh\nkill -SEGV $$\n", path);
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_LOAD);
    assert_says(err.message, "ended by SIGSEGV");
}

static void a_worker_without_descriptors_says_so(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = NULL;
    struct rp_worker_request request = simulated("x");
    struct rlimit before;
    int next = dup(0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    /* A channel, a pipe and an eventfd: room for the starter's, but for no more of the child's. */
    const struct rlimit few = {(rlim_t)next + 5, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    rp_status status = rp_worker_spawn(&request, &worker, &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_status(status, RP_ERR_LOAD);
    assert_says(err.message, "as many files open as it may");
}

/* What this program does in a worker's stead: it loads anything, and sends nonsense for a ring. */
static int be_mad(int fd) {
    static unsigned char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    static const unsigned char no_ports[4] = {0};
    struct rp_descriptors descriptors;
    struct rp_message asked;
    size_t bytes = 0;
    if (rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, NULL) != RP_OK ||
        rp_frame_parse(frame, bytes, &asked, NULL) != RP_OK) {
        return 1;
    }
    const struct rp_message loaded = {
        .type = RP_MESSAGE_LOADED,
        .number = asked.number,
        .loaded = {.engine = "simulated",
                   .device = "cpu",
                   .threads = 1,
                   .inputs = {no_ports, sizeof no_ports},
                   .outputs = {no_ports, sizeof no_ports}},
    };
    if (rp_frame_write(&loaded, frame, &bytes, NULL) != RP_OK ||
        rp_channel_send(fd, frame, bytes, NULL, RP_NEVER_NS, NULL) != RP_OK ||
        rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, NULL) != RP_OK ||
        rp_channel_send(fd, "nonsense", 8, NULL, RP_NEVER_NS, NULL) != RP_OK) {
        return 1;
    }
    for (;;) {
        pause();
    }
}

static void count_crash(void *user, const struct rp_worker *worker, const rp_error *story,
                        bool was_alone) {
    _Atomic int *count = user;
    (void)story;
    atomic_fetch_add(count, strcmp(rp_worker_path(worker), "x") == 0 && was_alone);
}

static void a_worker_that_goes_mad_has_died(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = NULL;
    struct rp_worker_ring made;
    struct rp_ring ring;
    char path[256];
    char script[600];
    _Atomic int crashes = 0;
    snprintf(script, sizeof script, "#!/bin/sh\nexec %s mad\n", self);
    struct rp_worker_request request = scripted(script, path);
    request.crashed = count_crash;
    request.user = &crashes;
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    assert_ok(rp_worker_add_ring(worker, getpid(), &made, &err));
    assert_ok(rp_ring_map(made.fd, &ring, &err));
    close(made.fd);
    int64_t deadline_ns = rp_deadline_after_ms(20000);
    while (rp_worker_is_alive(worker, &err) && rp_clock_ns() < deadline_ns) {
        usleep(1000);
    }
    assert_false(rp_worker_is_alive(worker, &err));
    assert_says(err.message, "a worker sent nonsense");
    assert_true(rp_ring_is_gone(&ring, &err));
    assert_says(err.message, "a worker sent nonsense");
    rp_ring_unmap(&ring);
    rp_worker_stop(worker, NULL, NULL);
    assert_int_equal(atomic_load(&crashes), 1);
}

static void a_load_can_be_left(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = NULL;
    struct rp_worker_request request = simulated("x?load_ms=3600000");
    _Atomic int cancelled = 1;
    request.cancelled = &cancelled;
    int64_t start_ns = rp_clock_ns();
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_CANCELLED);
    request.cancelled = NULL;
    request.deadline_ns = rp_deadline_after_ms(50);
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_TIMEOUT);
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 5000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

struct caller {
    rp_model *model;
    const _Atomic int *cancelled;
    int64_t deadline_ns;
    rp_status status;
    rp_error err;
    double ms;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    struct rows rows;
    rp_result *result = NULL;
    fill(&rows, 1, 0);
    int64_t start_ns = rp_clock_ns();
    caller->status = rp_remote_model_run(caller->model, &rows.tensor, caller->cancelled,
                                         caller->deadline_ns, &result, &caller->err);
    caller->ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    rp_result_close(result);
    return NULL;
}

static void a_worker_killed_in_a_run_has_its_story_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x?run_ms=60000");
    rp_model *model = attach(worker, NULL);
    struct caller caller = {.model = model, .deadline_ns = RP_NEVER_NS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
    usleep(100000);
    assert_true(rp_worker_is_alive(worker, NULL));
    assert_false(rp_model_is_gone(model));
    assert_int_equal(kill(rp_worker_pid(worker), SIGKILL), 0);
    pthread_join(thread, NULL);
    assert_true(rp_model_is_gone(model));
    assert_int_equal(caller.status, RP_ERR_RUN);
    assert_says(caller.err.message, "the worker of 'x?run_ms=60000' was ended by SIGKILL: ");
    assert_says(caller.err.message, "who sent it is not known");
    assert_true(caller.ms < 5000);
    assert_false(rp_worker_is_alive(worker, &err));
    assert_says(err.message, "SIGKILL");
    /* And the next run fails at once, with the same story; so does the next ring. */
    assert_status(run_once(model, 0, &err), RP_ERR_RUN);
    assert_says(err.message, "SIGKILL");
    struct rp_worker_ring ring;
    assert_status(rp_worker_add_ring(worker, getpid(), &ring, &err), RP_ERR_STATE);
    assert_says(err.message, "SIGKILL");
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

static void a_worker_that_is_stopped_tells_those_who_wait(void **state) {
    (void)state;
    struct rp_worker *worker = spawn("x?run_ms=60000");
    rp_model *model = attach(worker, NULL);
    struct caller caller = {.model = model, .deadline_ns = RP_NEVER_NS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
    usleep(50000);
    rp_worker_stop(worker, "evicted by force", NULL);
    pthread_join(thread, NULL);
    assert_int_equal(caller.status, RP_ERR_STATE);
    assert_says(caller.err.message, "was ended: evicted by force");
    rp_model_close(model);
}

static void a_stopped_worker_does_not_hold_its_client_beyond_the_deadline(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    rp_model *model = attach(worker, NULL);
    assert_ok(run_once(model, 3, &err));
    assert_int_equal(kill(rp_worker_pid(worker), SIGSTOP), 0);
    usleep(20000);
    /* More than there are slots: all are left behind, and whoever finds none waits no longer. */
    for (int i = 0; i < RP_RING_SLOTS + 1; i++) {
        struct caller caller = {.model = model, .deadline_ns = rp_deadline_after_ms(60)};
        call(&caller);
        assert_int_equal(caller.status, RP_ERR_TIMEOUT);
        assert_true(caller.ms >= 50 && caller.ms < 2000);
    }
    assert_int_equal(kill(rp_worker_pid(worker), SIGCONT), 0);
    for (int i = 0; i < 20; i++) {
        assert_ok(run_once(model, (float)i, &err)); /* and no answer is one of before */
    }
    rp_model_close(model);
    /* One that does not even hear SIGTERM is ended too. */
    assert_int_equal(kill(rp_worker_pid(worker), SIGSTOP), 0);
    usleep(50000);
    rp_worker_stop(worker, NULL, NULL);
}

static void a_run_can_be_called_off(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x?run_ms=400");
    rp_model *model = attach(worker, NULL);
    _Atomic int cancelled = 0;
    struct caller caller = {.model = model, .cancelled = &cancelled, .deadline_ns = RP_NEVER_NS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
    usleep(50000);
    atomic_store(&cancelled, 1);
    pthread_join(thread, NULL);
    assert_int_equal(caller.status, RP_ERR_CANCELLED);
    assert_true(caller.ms < 350);
    /* The worker is still at it, in a slot that must not be written to now. */
    assert_ok(run_once(model, 5, &err));
    assert_ok(run_once(model, 6, &err));
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

/* Two hours of runs, as fast as they can. */
static void numbers_of_runs_come_round(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    struct rp_worker_ring made;
    struct rp_ring ring;
    rp_model *model = NULL;
    assert_ok(rp_worker_add_ring(worker, getpid(), &made, &err));
    assert_ok(rp_ring_map(made.fd, &ring, &err));
    struct rp_ring_slot *slot = rp_ring_slot(&ring, 0);
    struct rp_ring_spin spin = {0};
    rp_ring_post(&slot->request, &slot->worker_sleeps, UINT32_MAX - 1);
    while (atomic_load(&slot->response) != UINT32_MAX - 1) {
        rp_ring_wait(&slot->response, &slot->client_sleeps, 0, &spin, 10000000);
    }
    rp_ring_unmap(&ring);
    assert_ok(open_on(worker, made.fd, NULL, NULL, &model, &err));
    close(made.fd);
    for (int i = 0; i < 4; i++) {
        assert_ok(run_once(model, (float)i, &err));
    }
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

/* In a process of its own: run, compare, end. */
static int be_client(struct rp_worker *worker, int ring_fd, int runs) {
    rp_error err = RP_ERROR_INIT;
    rp_model *model = NULL;
    if (open_on(worker, ring_fd, NULL, NULL, &model, &err) != RP_OK) return 2;
    for (int i = 0; i < runs; i++) {
        if (run_once(model, (float)(getpid() % 1000 + i), &err) != RP_OK) {
            fprintf(stderr, "client: %s\n", err.message);
            return 3;
        }
    }
    rp_model_close(model);
    return 0;
}

static void note_clean(void *user, struct rp_ring *ring, bool is_clean) {
    (void)ring;
    *(bool *)user = is_clean;
}

/* Its answer, which comes late, would be another's. */
static void a_ring_with_a_run_that_was_left_is_not_clean(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x?run_ms=300");
    for (int is_left = 0; is_left < 2; is_left++) {
        struct rp_worker_ring ring;
        rp_model *model = NULL;
        bool is_clean = is_left;
        assert_ok(rp_worker_add_ring(worker, getpid(), &ring, &err));
        assert_ok(open_on(worker, ring.fd, note_clean, &is_clean, &model, &err));
        close(ring.fd);
        struct caller caller = {.model = model,
                                .deadline_ns = is_left ? rp_deadline_after_ms(50) : RP_NEVER_NS};
        call(&caller);
        assert_int_equal(caller.status, is_left ? RP_ERR_TIMEOUT : RP_OK);
        rp_model_close(model);
        assert_int_equal(is_clean, !is_left);
    }
    rp_worker_stop(worker, NULL, NULL);
}

static void four_clients_at_once_get_their_own_answers(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    struct rp_worker_ring rings[CLIENTS];
    pid_t pids[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        assert_ok(rp_worker_add_ring(worker, getpid(), &rings[i], &err));
        pids[i] = fork();
        if (pids[i] == 0) _exit(be_client(worker, rings[i].fd, RUNS * 5));
        close(rings[i].fd);
    }
    for (int i = 0; i < CLIENTS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        rp_worker_remove_ring(worker, rings[i].id);
    }
    rp_worker_stop(worker, NULL, NULL);
}

/* More of them than its channel holds; of those it never heard of, some are closed again. */
static void rings_for_a_worker_that_does_not_listen_wait(void **state) {
    (void)state;
    enum { RINGS = 400, KEPT = 8 };
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    struct rp_worker_ring rings[RINGS];
    assert_int_equal(kill(rp_worker_pid(worker), SIGSTOP), 0);
    for (int i = 0; i < RINGS; i++) {
        assert_ok(rp_worker_add_ring(worker, getpid(), &rings[i], &err));
        if (i < RINGS - 1) close(rings[i].fd);
    }
    for (int i = 0; i < RINGS - KEPT; i++) {
        rp_worker_remove_ring(worker, rings[i].id);
    }
    assert_int_equal(kill(rp_worker_pid(worker), SIGCONT), 0);
    rp_model *model = NULL;
    assert_ok(open_on(worker, rings[RINGS - 1].fd, NULL, NULL, &model, &err));
    close(rings[RINGS - 1].fd);
    assert_ok(run_once(model, 1, &err));
    rp_model_close(model);
    for (int i = RINGS - KEPT; i < RINGS; i++) {
        rp_worker_remove_ring(worker, rings[i].id);
    }
    rp_worker_stop(worker, NULL, NULL);
}

static void *run_many(void *argument) {
    struct caller *caller = argument;
    for (int i = 0; i < RUNS && caller->status == RP_OK; i++) {
        caller->status = run_once(caller->model, (float)(i * 7), &caller->err);
    }
    return NULL;
}

static void threads_of_one_client_share_its_ring(void **state) {
    (void)state;
    enum { THREADS = 2 * RP_RING_SLOTS };
    struct rp_worker *worker = spawn("x");
    rp_model *model = attach(worker, NULL);
    struct caller callers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.model = model, .status = RP_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (callers[i].status != RP_OK) fail_msg("%s", callers[i].err.message);
    }
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

static void a_client_that_dies_in_a_run_disturbs_nobody(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x?run_ms=100");
    rp_model *model = attach(worker, NULL);
    for (int i = 0; i < 3; i++) {
        struct rp_worker_ring ring;
        assert_ok(rp_worker_add_ring(worker, getpid(), &ring, &err));
        pid_t pid = fork();
        if (pid == 0) _exit(be_client(worker, ring.fd, 1000));
        close(ring.fd);
        usleep(50000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        rp_worker_remove_ring(worker, ring.id);
        assert_ok(run_once(model, 1, &err));
    }
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

static void a_child_of_a_client_is_told_that_it_is_one(void **state) {
    (void)state;
    struct rp_worker *worker = spawn("x");
    rp_model *model = attach(worker, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        rp_error err = RP_ERROR_INIT;
        _exit(run_once(model, 1, &err) == RP_ERR_FORKED ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

/* Write nonsense into a ring, again and again, while its worker reads. */
static void *scribble(void *argument) {
    const struct rp_ring *ring = argument;
    uint64_t x = 88172645463325252u;
    unsigned char *area = rp_ring_area(ring, 0);
    for (int i = 0; i < 300000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        size_t at = (x >> 8) % 600;
        /* As another process would: neither side takes care of the other. */
        __atomic_store_n(area + at, (unsigned char)x, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void a_hostile_client_harms_itself_only(void **state) {
    (void)state;
#ifdef RP_THREAD_SANITIZER
    skip(); /* it is all races, on purpose */
#endif
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    rp_model *model = attach(worker, NULL);
    struct rp_worker_ring hostile;
    struct rp_ring ring;
    assert_ok(rp_worker_add_ring(worker, getpid(), &hostile, &err));
    assert_ok(rp_ring_map(hostile.fd, &ring, &err));
    close(hostile.fd);
    struct rp_ring_slot *slot = rp_ring_slot(&ring, 0);
    struct rows rows;
    pthread_t thread = 0;
    fill(&rows, 2, 0);
    uint32_t refused = 0;
    struct rp_ring_spin spin = {0};
    for (uint32_t i = 1; i <= 3000; i++) {
        if (i == 2) {
            /* Both sides have read its head: it says what it likes from now on. */
            memset(ring.base, 0xff, sizeof(struct rp_ring_head));
            assert_int_equal(pthread_create(&thread, NULL, scribble, &ring), 0);
        }
        assert_ok(rp_ring_write(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), &rows.tensor, 1,
                                &err));
        struct rp_ring_tensor row;
        unsigned char *at = rp_ring_area(&ring, 0) + sizeof(struct rp_ring_table);
        memcpy(&row, at, sizeof row);
        if (i % 4 == 1) row.offset = i * UINT64_C(0x123456789) & ~UINT64_C(63);
        if (i % 4 == 2) row.shape[0] = (int64_t)(i * UINT64_C(0x9876543210));
        if (i % 4 == 3) row.ndim = (int32_t)(i * 0x1234567u);
        memcpy(at, &row, sizeof row);
        atomic_store(&slot->timeout_ns, (uint64_t)-1 - i);
        uint32_t number = i * 0x10001u + 1; /* numbers may jump */
        uint32_t before = atomic_load(&slot->response);
        rp_ring_post(&slot->request, &slot->worker_sleeps, number);
        int64_t start_ns = rp_clock_ns();
        while (atomic_load(&slot->response) != number) {
            rp_ring_wait(&slot->response, &slot->client_sleeps, before, &spin, 10000000);
            if (!rp_worker_is_alive(worker, &err)) fail_msg("%s", err.message);
            assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 10000);
        }
        struct rp_ring_tensor table[1];
        uint64_t bytes = 0;
        refused += rp_ring_read_table(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), 1, table,
                                      &bytes, NULL) != RP_OK;
        if (i % 500 == 0) assert_ok(run_once(model, (float)i, &err));
    }
    pthread_join(thread, NULL);
    assert_true(refused > 1000);
    assert_true(rp_worker_is_alive(worker, NULL));
    rp_ring_unmap(&ring);
    rp_worker_remove_ring(worker, hostile.id);
    assert_ok(run_once(model, 1, &err));
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

static void outputs_that_do_not_fit_are_told_with_both_numbers(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *worker = spawn("x");
    rp_model *model = attach(worker, NULL);
    struct rows rows;
    rp_result *result = NULL;
    fill(&rows, 1, 0);
    rows.shape[0] = (RP_RING_OPEN_BYTES >> 4) + 1024;
    float *large = rp_alloc_array((size_t)rows.shape[0], 16);
    assert_non_null(large);
    rows.tensor.data = large;
    assert_status(rp_model_run(model, &rows.tensor, 1, &result, &err), RP_ERR_LIMIT);
    assert_says(err.message, "take 67125");
    assert_says(err.message, "room for 671");
    rp_free(large);
    assert_ok(run_once(model, 1, &err));
    rp_model_close(model);
    rp_worker_stop(worker, NULL, NULL);
}

static void the_broker_opens_attaches_and_ends_through_its_host(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_host *workers = NULL;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    rp_model *held = NULL;
    rp_model *model = NULL;
    struct rp_broker_ring ring = {.fd = -1};
    rp_result *result = NULL;
    int64_t blocks = rp_memory_live_count();
    assert_ok(rp_worker_host_open(self, 0, &workers, &err));
    struct rp_broker_host host = rp_worker_host_calls(workers);
    options.engine = "simulated";
    assert_status(host.open_model(host.user, "x?fail=load", &options, NULL, &held, &err),
                  RP_ERR_LOAD);
    assert_ok(host.open_model(host.user, "x?memory_bytes=7", &options, NULL, &held, &err));
    assert_string_equal(rp_model_engine(held), "simulated");
    assert_true(rp_model_is_simulated(held));
    assert_int_equal(rp_model_bytes(held), 7);
    assert_status(rp_model_run_sample(held, &result, NULL, &err), RP_ERR_UNSUPPORTED);
    assert_ok(host.attach(host.user, held, getpid(), &ring, &err));
    assert_ok(open_on(rp_worker_of(held), ring.fd, NULL, NULL, &model, &err));
    close(ring.fd);
    assert_ok(run_once(model, 1, &err));
    rp_worker_end(rp_worker_of(held), "as a test");
    assert_status(run_once(model, 1, &err), RP_ERR_STATE);
    assert_says(err.message, "was ended: as a test");
    assert_status(host.attach(host.user, held, getpid(), &ring, &err), RP_ERR_STATE);
    host.detach(host.user, held, ring.id);
    rp_model_close(model);
    rp_model_close(held);
    rp_worker_host_close(workers);
    assert_int_equal(rp_memory_live_count(), blocks);
}

static bool is_process(pid_t pid) {
    char path[64];
    char *text = NULL;
    size_t length = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (rp_text_read_file(path, 4096, &text, &length) != 0) return false;
    const char *end = strrchr(text, ')');
    bool is = end && end[2] != 'Z' && end[2] != 'X';
    rp_free(text);
    return is;
}

/* ---- many models, few processes ---- */

enum { SMALL_MODELS = 100 };

static void make_small_model(int number, char path[256]) {
    snprintf(path, 256, "%s/small-%d.onnx", folder, number);
    write_file(path, doubling_model, sizeof doubling_model, 0600);
}

static size_t count_processes(rp_model *const models[], size_t count) {
    pid_t pids[SMALL_MODELS];
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        pid_t pid = rp_worker_pid(rp_worker_of(models[i]));
        size_t at = 0;
        while (at < found && pids[at] != pid) {
            at++;
        }
        if (at == found) pids[found++] = pid;
    }
    return found;
}

static rp_model *open_through(const struct rp_broker_host *host, const char *path) {
    rp_error err = RP_ERROR_INIT;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    rp_model *model = NULL;
    options.engine = "simulated";
    assert_ok(host->open_model(host->user, path, &options, NULL, &model, &err));
    return model;
}

static void wait_for_death(rp_model *held) {
    while (rp_worker_is_alive(rp_worker_of(held), NULL)) {
        usleep(1000);
    }
}

static void small_models_live_together_and_die_together(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_host *workers = NULL;
    rp_model *models[SMALL_MODELS];
    char path[256];
    assert_ok(rp_worker_host_open(self, 0, &workers, &err));
    struct rp_broker_host host = rp_worker_host_calls(workers);
    for (int i = 0; i < SMALL_MODELS; i++) {
        make_small_model(i, path);
        models[i] = open_through(&host, path);
    }
    assert_int_equal(count_processes(models, SMALL_MODELS), 4); /* of 32 at most */
    /* Each answers for itself, and goes by itself. */
    rp_model *first = attach(rp_worker_of(models[0]), NULL);
    rp_model *second = attach(rp_worker_of(models[1]), NULL);
    pid_t pid = rp_worker_pid(rp_worker_of(models[1]));
    assert_int_equal(rp_worker_pid(rp_worker_of(models[0])), pid);
    assert_ok(run_once(first, 1, &err));
    assert_ok(run_once(second, 2, &err));
    rp_model_close(models[0]);
    assert_status(run_once(first, 1, &err), RP_ERR_STATE);
    assert_says(err.message, "was ended: the broker took it out");
    assert_ok(run_once(second, 2, &err));
    assert_true(is_process(pid));
    /* Its place is taken by the next. */
    make_small_model(0, path);
    models[0] = open_through(&host, path);
    assert_int_equal(count_processes(models, SMALL_MODELS), 4);
    /* They crash together, and then each has a process of its own. */
    kill(pid, SIGTERM);
    wait_for_death(models[1]);
    assert_status(run_once(second, 2, &err), RP_ERR_RUN);
    assert_says(err.message, "ended by SIGTERM");
    rp_model_close(first);
    rp_model_close(second);
    for (int i = 1; i < 4; i++) {
        assert_false(rp_worker_is_alive(rp_worker_of(models[i]), NULL));
        rp_model_close(models[i]);
        snprintf(path, sizeof path, "%s/small-%d.onnx", folder, i);
        models[i] = open_through(&host, path);
    }
    assert_int_equal(count_processes(models + 1, 3), 3);
    for (int i = 0; i < SMALL_MODELS; i++) {
        rp_model_close(models[i]);
        snprintf(path, sizeof path, "%s/small-%d.onnx", folder, i);
        unlink(path);
    }
    assert_false(is_process(pid));
    rp_worker_host_close(workers);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void one_of_several_is_freed_when_its_runs_have_ended(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *other = spawn("x");
    struct rp_worker *worker = NULL;
    struct rp_worker *failed = NULL;
    struct rp_worker_end end = {0};
    struct rp_worker_request request = simulated("y");
    request.beside = other;
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    assert_int_equal(rp_worker_pid(worker), rp_worker_pid(other));
    assert_int_equal(rp_worker_count(other), 2);
    assert_int_equal(rp_worker_bytes(worker), RP_UNKNOWN_U64); /* whose are they? */
    rp_worker_stop(worker, "as a test", &end);
    assert_true(end.is_verified);
    /* A load that fails disturbs nobody. */
    request.path = "y?fail=load";
    assert_status(rp_worker_spawn(&request, &failed, &err), RP_ERR_LOAD);
    assert_int_equal(rp_worker_count(other), 1);
    /* One whose run goes on is not waited for, and nothing is claimed. */
    request.path = "y?run_ms=3600000";
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    rp_model *model = attach(worker, NULL);
    struct caller caller = {.model = model, .deadline_ns = rp_deadline_after_ms(100)};
    call(&caller);
    assert_status(caller.status, RP_ERR_TIMEOUT);
    end.is_verified = true;
    rp_worker_stop(worker, "as a test", &end);
    assert_false(end.is_verified);
    rp_model_close(model);
    model = attach(other, NULL);
    assert_ok(run_once(model, 1, &err));
    rp_model_close(model);
    rp_worker_stop(other, NULL, &end);
    assert_true(end.is_verified);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_process_that_does_not_answer_gets_no_more(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_host *workers = NULL;
    rp_model *models[3];
    char path[256];
    assert_ok(rp_worker_host_open(self, 0, &workers, &err));
    struct rp_broker_host host = rp_worker_host_calls(workers);
    make_small_model(0, path);
    models[0] = open_through(&host, path);
    pid_t pid = rp_worker_pid(rp_worker_of(models[0]));
    kill(pid, SIGSTOP);
    for (int i = 1; i < 3; i++) {
        make_small_model(i, path);
        models[i] = open_through(&host, path);
        assert_int_not_equal(rp_worker_pid(rp_worker_of(models[i])), pid);
        rp_model *model = attach(rp_worker_of(models[i]), NULL);
        assert_ok(run_once(model, 1, &err));
        rp_model_close(model);
    }
    for (int i = 0; i < 3; i++) {
        rp_model_close(models[i]);
        snprintf(path, sizeof path, "%s/small-%d.onnx", folder, i);
        unlink(path);
    }
    assert_false(is_process(pid));
    rp_worker_host_close(workers);
}

/* Not for each of its models anew. */
static void a_process_that_does_not_answer_is_waited_for_once(void **state) {
    (void)state;
    enum { MODELS = 6 };
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *workers[MODELS] = {spawn("x")};
    struct rp_worker_request request = simulated("x");
    struct rp_worker_end end;
    request.beside = workers[0];
    for (int i = 1; i < MODELS; i++) {
        assert_ok(rp_worker_spawn(&request, &workers[i], &err));
    }
    kill(rp_worker_pid(workers[0]), SIGSTOP);
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < MODELS; i++) {
        rp_worker_stop(workers[i], NULL, &end);
        assert_true(end.is_verified == (i == MODELS - 1)); /* the process ends with the last one */
    }
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 8000);
}

static void a_model_that_crashes_again_and_again_is_held_back(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_host *workers = NULL;
    rp_model *model = NULL;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    assert_ok(rp_worker_host_open(self, 0, &workers, &err));
    struct rp_broker_host host = rp_worker_host_calls(workers);
    for (int i = 0; i < 3; i++) {
        model = open_through(&host, "x");
        kill(rp_worker_pid(rp_worker_of(model)), SIGABRT);
        wait_for_death(model);
        rp_model_close(model);
    }
    options.engine = "simulated";
    assert_status(host.open_model(host.user, "x", &options, NULL, &model, &err), RP_ERR_LOAD);
    assert_says(err.message, "held back for");
    assert_says(err.message, "crashed 3 times: the worker of 'x' was ended by SIGABRT");
    model = open_through(&host, "y");
    rp_model_close(model);
    rp_worker_host_close(workers);
}

static void workers_share_the_processors(void **state) {
    (void)state;
    int fd = -1;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker *a = NULL;
    struct rp_worker *b = NULL;
    struct rp_worker_request request = simulated("a?run_ms=300");
    assert_ok(rp_turns_create(1, &fd, &err));
    request.turns_fd = fd;
    assert_ok(rp_worker_spawn(&request, &a, &err));
    request.path = "b";
    assert_ok(rp_worker_spawn(&request, &b, &err));
    rp_model *slow = attach(a, NULL);
    rp_model *quick = attach(b, NULL);
    struct caller running = {.model = slow, .deadline_ns = RP_NEVER_NS};
    struct rp_turns turns;
    struct rp_turn turn = {0};
    pthread_t thread;
    assert_ok(rp_turns_open(fd, &turns, &err));
    assert_int_equal(pthread_create(&thread, NULL, call, &running), 0);
    while (rp_turns_try(&turns, 1, &turn)) { /* until the slow one has it */
        rp_turns_give(&turns, &turn);
        usleep(1000);
    }
    kill(rp_worker_pid(a), SIGSTOP);
    struct caller late = {.model = quick, .deadline_ns = rp_deadline_after_ms(200)};
    call(&late);
    assert_status(late.status, RP_ERR_TIMEOUT);
    /* It is not let in the way of the others for ever. */
    assert_ok(run_once(quick, 1, &err));
    kill(rp_worker_pid(a), SIGCONT);
    pthread_join(thread, NULL);
    assert_ok(running.status);
    assert_true(rp_turns_try(&turns, 1, &turn));
    rp_turns_close(&turns);
    rp_model_close(slow);
    rp_model_close(quick);
    rp_worker_stop(a, NULL, NULL);
    rp_worker_stop(b, NULL, NULL);
    close(fd);
}

static void tell_memory(void *user, pid_t process, const char *path, struct rp_memory_look *look) {
    assert_true(process > 0);
    assert_true(path[0] != '\0');
    memcpy(look, user, sizeof *look);
}

static void the_kernel_takes_a_worker_that_is_over_its_limit(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_worker_groups groups;
    struct rp_worker_group group;
    struct rp_worker *worker = NULL;
    char path[256];
    rp_worker_groups_find(&groups);
    if (!rp_worker_group_make(&groups, 1 << 20, &group)) {
        print_message("skipped: no memory cgroup can be made here\n");
        skip();
    }
    char made[sizeof group.folder];
    memcpy(made, group.folder, sizeof made);
    rp_worker_group_remove(&group);
    assert_int_equal(access(made, F_OK), -1);
    struct rp_worker_request request =
        scripted("#!/bin/sh\nulimit -v 400000\nexec tail /dev/zero\n", path);
    request.groups = &groups;
    request.limit_bytes = 64 << 20;
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_MEMORY);
    assert_says(err.message, "the kernel killed the worker of 'x' for lack of memory: needed more "
                             "than 64.0 MiB, 64.0 MiB free in the budget");
    assert_says(err.hint, "raise --budget");
    /* With a ledger its story says who holds what, as far as there is room. */
    request.look_at_memory = tell_memory;
    struct rp_memory_look ledger = {.needed_bytes = UINT64_C(2) << 30,
                                    .free_bytes = 32 << 20,
                                    .holders = "'bert-large' 1.3 GiB (2 leases), 'x' 2 B (idle)"};
    request.user = &ledger;
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_MEMORY);
    assert_says(err.message,
                "needed 2.0 GiB, 32.0 MiB free on the machine; held by 'bert-large' 1.3 GiB (2 "
                "leases), 'x' 2 B (idle)");
    assert_says(err.hint, "lower --budget");
    char long_path[200];
    memset(long_path, 'p', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    memcpy(long_path + 150, "/bert.onnx?", 11);
    request.path = long_path;
    for (size_t i = 0; i < 4; i++) {
        size_t used = strlen(ledger.holders);
        snprintf(ledger.holders + used, sizeof ledger.holders - used,
                 ", 'a-name-of-some-length-%zu' 1.0 MiB (idle)", i);
    }
    assert_status(rp_worker_spawn(&request, &worker, &err), RP_ERR_MEMORY);
    assert_says(err.message, "the worker of '/bert.onnx?ppp");
    assert_says(err.message, "needed 2.0 GiB, 32.0 MiB free");
    assert_string_equal(err.message + strlen(err.message) - 6, "(idle)");
    assert_null(strstr(err.message, "length-3"));
    /* What a broker that was killed left behind goes when the next one looks. */
    pid_t pid = fork();
    if (pid == 0) _exit(rp_worker_group_make(&groups, RP_UNKNOWN_U64, &group) ? 0 : 1);
    int ended = 1;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
    char left[sizeof group.folder];
    char number[24];
    snprintf(number, sizeof number, "%ld", strtol(strrchr(made, '-') + 1, NULL, 10) + 4);
    snprintf(left, sizeof left, "%s/rpool-worker-%d-%s", groups.folder, (int)pid, number);
    assert_int_equal(access(left, F_OK), 0);
    rp_worker_groups_find(&groups);
    assert_int_equal(access(left, F_OK), -1);
}

/* In a container brokers often have the same one. */
static void what_a_broker_of_the_same_pid_left_is_not_in_the_way(void **state) {
    (void)state;
    struct rp_worker_groups groups;
    struct rp_worker_group group;
    rp_worker_groups_find(&groups);
    if (!rp_worker_group_make(&groups, RP_UNKNOWN_U64, &group)) {
        print_message("skipped: no memory cgroup can be made here\n");
        skip();
    }
    char left[sizeof group.folder];
    long number = strtol(strrchr(group.folder, '-') + 1, NULL, 10);
    rp_worker_group_remove(&group);
    snprintf(left, sizeof left, "%s/rpool-worker-%d-%ld", groups.folder, (int)getpid(), number + 1);
    assert_int_equal(mkdir(left, 0755), 0);
    bool is_made = rp_worker_group_make(&groups, RP_UNKNOWN_U64, &group);
    rp_worker_group_remove(&group);
    rmdir(left);
    assert_true(is_made);
}

static void a_worker_dies_with_its_starter(void **state) {
    (void)state;
    int ends[2];
    pid_t worker_pid = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        worker_pid = rp_worker_pid(spawn("x"));
        ssize_t written = write(ends[1], &worker_pid, sizeof worker_pid);
        (void)written;
        raise(SIGKILL);
    }
    assert_int_equal(read(ends[0], &worker_pid, sizeof worker_pid), sizeof worker_pid);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < 200 && is_process(worker_pid); i++) {
        usleep(10000);
    }
    assert_false(is_process(worker_pid));
}

static void a_real_engine_gives_the_same_bits(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model *here = NULL;
    struct rp_worker *worker = NULL;
    if (getenv("RP_TEST_NO_ONNXRUNTIME")) skip(); /* not built with this sanitizer */
    if (rp_model_open(doubling_path, NULL, &here, &err) == RP_ERR_ABSENT) {
        print_message("skipped: %s\n", err.message);
        skip();
    }
    assert_non_null(here);
    struct rp_worker_request request = {
        .program = self, .path = doubling_path, .deadline_ns = RP_NEVER_NS};
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    rp_model *there = attach(worker, NULL);
    assert_string_equal(rp_model_engine(there), "onnxruntime");
    assert_false(rp_model_is_simulated(there));
    for (int i = 0; i < RUNS; i++) {
        float values[2] = {(float)i / 7, -1e30f * (float)i};
        int64_t shape = 2;
        rp_tensor input = {.data = values,
                           .device = {RP_TENSOR_DEVICE_CPU, 0},
                           .ndim = 1,
                           .dtype = RP_DTYPE_FLOAT32,
                           .shape = &shape};
        rp_result *a = NULL;
        rp_result *b = NULL;
        assert_ok(rp_model_run(here, &input, 1, &a, &err));
        assert_ok(rp_model_run(there, &input, 1, &b, &err));
        const rp_tensor *x = rp_result_tensor(a, 0);
        const rp_tensor *y = rp_result_tensor(b, 0);
        assert_int_equal(x->shape[0], y->shape[0]);
        assert_memory_equal(rp_tensor_data(x), rp_tensor_data(y), sizeof values);
        rp_result_close(a);
        rp_result_close(b);
    }
    rp_model_close(here);
    rp_model_close(there);
    rp_worker_stop(worker, NULL, NULL);
}

/* A model of real size: three inputs of open sizes, weights in a file beside it. */
static void a_real_model_gives_the_same_bits(void **state) {
    (void)state;
    const char *path = SOURCE_ROOT "/build/models/minilm/model.onnx";
    rp_error err = RP_ERROR_INIT;
    rp_model *here = NULL;
    rp_result *a = NULL;
    rp_result *b = NULL;
    struct rp_worker *worker = NULL;
    struct rp_worker_request request = {.program = self, .path = path, .deadline_ns = RP_NEVER_NS};
    if (getenv("RP_TEST_NO_ONNXRUNTIME")) skip(); /* not built with this sanitizer */
    if (access(path, R_OK) != 0 || rp_model_open(path, NULL, &here, &err) == RP_ERR_ABSENT) {
        print_message("skipped: %s\n", here || !err.message[0] ? "no model" : err.message);
        skip();
    }
    assert_non_null(here);
    assert_ok(rp_worker_spawn(&request, &worker, &err));
    rp_model *there = attach(worker, NULL);
    assert_ok(rp_model_run_sample(here, &a, NULL, &err));
    assert_ok(rp_model_run_sample(there, &b, NULL, &err));
    assert_int_equal(rp_result_count(a), rp_result_count(b));
    for (size_t i = 0; i < rp_result_count(a); i++) {
        uint64_t bytes = 0;
        uint64_t bytes_there = 0;
        assert_ok(rp_tensor_bytes(rp_result_tensor(a, i), &bytes, &err));
        assert_ok(rp_tensor_bytes(rp_result_tensor(b, i), &bytes_there, &err));
        assert_true(bytes > 1000 && bytes == bytes_there);
        assert_memory_equal(rp_tensor_data(rp_result_tensor(a, i)),
                            rp_tensor_data(rp_result_tensor(b, i)), bytes);
    }
    rp_result_close(a);
    rp_result_close(b);
    rp_model_close(here);
    rp_model_close(there);
    rp_worker_stop(worker, NULL, NULL);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        int64_t blocks = rp_memory_live_count();
        struct rp_worker *worker = NULL;
        rp_model *model = NULL;
        struct rp_worker_ring ring = {.fd = -1};
        struct rp_worker_request request = simulated("x");
        rp_memory_fail_at(n);
        rp_status status = rp_worker_spawn(&request, &worker, &err);
        if (status == RP_OK) status = rp_worker_add_ring(worker, getpid(), &ring, &err);
        if (status == RP_OK) status = open_on(worker, ring.fd, NULL, NULL, &model, &err);
        if (status == RP_OK) status = run_once(model, 1, &err);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (ring.fd >= 0) close(ring.fd);
        rp_model_close(model);
        rp_worker_stop(worker, NULL, NULL);
        assert_int_equal(rp_memory_live_count(), blocks);
        if (is_pending) {
            assert_ok(status);
            assert_true(n > 10);
            break;
        }
        /* What only figures are told with may be missing. */
        if (status != RP_OK) assert_int_equal(status, RP_ERR_MEMORY);
    }
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        return rp_worker_serve((int)strtol(argv[3], NULL, 10));
    }
    if (argc == 2 && strcmp(argv[1], "mad") == 0) return be_mad(3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_runs_for_its_client),
        cmocka_unit_test(a_worker_inherits_nothing),
        cmocka_unit_test(what_hinders_a_load_is_told),
        cmocka_unit_test(a_worker_without_descriptors_says_so),
        cmocka_unit_test(a_worker_that_goes_mad_has_died),
        cmocka_unit_test(a_load_can_be_left),
        cmocka_unit_test(a_worker_killed_in_a_run_has_its_story_told),
        cmocka_unit_test(a_worker_that_is_stopped_tells_those_who_wait),
        cmocka_unit_test(a_stopped_worker_does_not_hold_its_client_beyond_the_deadline),
        cmocka_unit_test(a_run_can_be_called_off),
        cmocka_unit_test(a_ring_with_a_run_that_was_left_is_not_clean),
        cmocka_unit_test(numbers_of_runs_come_round),
        cmocka_unit_test(four_clients_at_once_get_their_own_answers),
        cmocka_unit_test(rings_for_a_worker_that_does_not_listen_wait),
        cmocka_unit_test(threads_of_one_client_share_its_ring),
        cmocka_unit_test(a_client_that_dies_in_a_run_disturbs_nobody),
        cmocka_unit_test(a_child_of_a_client_is_told_that_it_is_one),
        cmocka_unit_test(a_hostile_client_harms_itself_only),
        cmocka_unit_test(outputs_that_do_not_fit_are_told_with_both_numbers),
        cmocka_unit_test(the_broker_opens_attaches_and_ends_through_its_host),
        cmocka_unit_test(small_models_live_together_and_die_together),
        cmocka_unit_test(one_of_several_is_freed_when_its_runs_have_ended),
        cmocka_unit_test(a_process_that_does_not_answer_gets_no_more),
        cmocka_unit_test(a_process_that_does_not_answer_is_waited_for_once),
        cmocka_unit_test(a_model_that_crashes_again_and_again_is_held_back),
        cmocka_unit_test(workers_share_the_processors),
        cmocka_unit_test(the_kernel_takes_a_worker_that_is_over_its_limit),
        cmocka_unit_test(what_a_broker_of_the_same_pid_left_is_not_in_the_way),
        cmocka_unit_test(a_worker_dies_with_its_starter),
        cmocka_unit_test(a_real_engine_gives_the_same_bits),
        cmocka_unit_test(a_real_model_gives_the_same_bits),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
