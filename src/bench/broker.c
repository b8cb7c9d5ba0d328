/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lease costs, and what the broker is like when many hold some. The model is a simulated
 * one, loaded before anything is timed: what there is to see is asking, answering and giving back.
 *
 * A *wire* is a connection as any program has one, without the library's care for threads, so that
 * a thousand of them fit into one process.
 */
#include "bench/served.h"
#include "bench/summary.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/address.h"
#include "machine/channel.h"
#include "machine/client.h"
#include "machine/protocol.h"

#include <poll.h>
#include <pthread.h>
#include <resourcepool/statistics.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LEASES = 200, /* of a round */
    BUSY_CLIENTS = 8,
    BUSY_MS = 200, /* of a round */
    CROWD = 1000,
    CROWD_ROUNDS = 5,
    IDLE_MS = 300,
    DEADLINE_MS = 30000,
};

static const struct rp_message acquire = {
    .type = RP_MESSAGE_ACQUIRE,
    .acquire = {
        .kind = RP_KIND_MODEL, .resource_type = "model", .name = "bench", .engine = "simulated"}};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, size_t count, double part) {
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)(part * (double)count);
    return values[at < count ? at : count - 1];
}

static void pause_ms(long ms) {
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

/* ---- a wire ---- */

struct wire {
    int fd;
    uint32_t number;
};

/* Send a message; its answer, of which the frame stays in `frame`. Descriptors are closed. */
static rp_status send_on(struct wire *wire, const struct rp_message *message, char *frame,
                         rp_error *err) {
    struct rp_message numbered = *message;
    size_t bytes = 0;
    numbered.number = ++wire->number;
    rp_status status = rp_frame_write(&numbered, frame, &bytes, err);
    if (status != RP_OK) return status;
    return rp_channel_send(wire->fd, frame, bytes, NULL, rp_deadline_after_ms(DEADLINE_MS), err);
}

static rp_status receive_on(struct wire *wire, uint16_t expected, char *frame,
                            struct rp_message *answer, rp_error *err) {
    struct rp_descriptors descriptors = {.count = 0};
    size_t bytes = 0;
    rp_status status = rp_channel_receive(wire->fd, frame, &bytes, &descriptors,
                                          rp_deadline_after_ms(DEADLINE_MS), err);
    if (status != RP_OK) return status;
    rp_descriptors_close(&descriptors);
    status = rp_frame_parse(frame, bytes, answer, err);
    if (status != RP_OK || answer->type == expected) return status;
    if (answer->type == RP_MESSAGE_FAILED) return rp_error_from_text(&answer->failed, err);
    return rp_fail(err, RP_ERR_DATA, "the broker answered with %s, not %s",
                   rp_message_name(answer->type), rp_message_name(expected));
}

static rp_status wire_open(const char *folder, struct wire *wire, char *frame, rp_error *err) {
    struct rp_address address;
    struct rp_message answer;
    const struct rp_message hello = {
        .type = RP_MESSAGE_HELLO, .hello = {RP_FRAME_VERSION, (uint64_t)getpid(), "rpool bench"}};
    rp_status status = rp_address_find(folder, &address, err);
    if (status == RP_OK) status = rp_channel_connect(address.socket, &wire->fd, err);
    if (status == RP_OK) status = send_on(wire, &hello, frame, err);
    if (status == RP_OK) status = receive_on(wire, RP_MESSAGE_WELCOME, frame, &answer, err);
    return status;
}

static rp_status wire_lease(struct wire *wire, char *frame, uint64_t *lease_id, rp_error *err) {
    struct rp_message answer;
    rp_status status = send_on(wire, &acquire, frame, err);
    if (status == RP_OK) status = receive_on(wire, RP_MESSAGE_LEASED, frame, &answer, err);
    if (status == RP_OK) *lease_id = answer.leased.lease_id;
    return status;
}

/* A program keeps the ring of a lease for its next one. */
static rp_status wire_release(struct wire *wire, char *frame, uint64_t lease_id, bool keeps_ring,
                              rp_error *err) {
    const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                       .release = {lease_id, keeps_ring}};
    return send_on(wire, &release, frame, err);
}

/* ---- one client, as a program has it, beside a bare echo ---- */

struct echo {
    int fd;
    pid_t pid;
    size_t asked;    /* bytes of a request of the broker's */
    size_t answered; /* and of an answer: a socket costs by the byte as well */
};

/* System calls only: it is forked from a process at work. Answers are of the size they have. */
static _Noreturn void answer_echoes(int fd, size_t answered, pid_t parent) {
    static char bytes[RP_CHANNEL_FRAME_BYTES_MAX];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
        if (send(fd, bytes, answered, MSG_NOSIGNAL) < 0) break;
    }
    _exit(0);
}

static rp_status echo_start(struct echo *echo, rp_error *err) {
    int ends[2];
    pid_t parent = getpid();
    rp_status status = rp_channel_pair(ends, err);
    if (status != RP_OK) return status;
    echo->pid = fork();
    if (echo->pid == 0) answer_echoes(ends[1], echo->answered, parent);
    if (echo->pid < 0) status = rp_fail_errno(err, "cannot start a process for a benchmark");
    close(ends[1]);
    echo->fd = ends[0];
    return status;
}

static void echo_end(struct echo *echo) {
    if (echo->fd >= 0) close(echo->fd);
    if (echo->pid > 0) {
        kill(echo->pid, SIGKILL);
        waitpid(echo->pid, NULL, 0);
    }
}

static double time_echo(const struct echo *echo, double *taken) {
    static char bytes[RP_CHANNEL_FRAME_BYTES_MAX];
    for (int i = 0; i < LEASES; i++) {
        int64_t start_ns = rp_clock_ns();
        if (send(echo->fd, bytes, echo->asked, MSG_NOSIGNAL) < 0 ||
            recv(echo->fd, bytes, sizeof bytes, 0) <= 0) {
            return 0;
        }
        taken[i] = (double)(rp_clock_ns() - start_ns) / 1e3;
    }
    return quantile(taken, LEASES, 0.5);
}

/* Ask for a lease and give it back, by the library's client; the release is not waited for. */
static rp_status time_lease(struct rp_client *client, bool keeps_ring, double *taken, double *us,
                            rp_error *err) {
    rp_status status = RP_OK;
    for (int i = 0; i < LEASES && status == RP_OK; i++) {
        struct rp_reply reply = {.frame = NULL};
        int64_t start_ns = rp_clock_ns();
        status = rp_client_call(client, &acquire, NULL, RP_NEVER_NS, NULL, &reply, err);
        if (status != RP_OK) break;
        const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                           .release = {reply.message.leased.lease_id, keeps_ring}};
        rp_client_tell(client, &release);
        taken[i] = (double)(rp_clock_ns() - start_ns) / 1e3;
        rp_reply_fini(&reply);
    }
    *us = quantile(taken, LEASES, 0.5);
    return status;
}

/* ---- eight clients that do nothing else ---- */

struct busy {
    const char *folder;
    int64_t until_ns;
    uint64_t count;
    rp_status status;
    rp_error why;
};

static void *ask_on(void *argument) {
    struct busy *busy = argument;
    struct wire wire = {.fd = -1};
    char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    busy->why = (rp_error)RP_ERROR_INIT;
    busy->status = frame ? wire_open(busy->folder, &wire, frame, &busy->why)
                         : rp_fail(&busy->why, RP_ERR_MEMORY, "no memory for a benchmark");
    while (busy->status == RP_OK && rp_clock_ns() < busy->until_ns) {
        uint64_t lease_id = 0;
        busy->status = wire_lease(&wire, frame, &lease_id, &busy->why);
        if (busy->status == RP_OK) {
            busy->status = wire_release(&wire, frame, lease_id, true, &busy->why);
        }
        busy->count++;
    }
    if (wire.fd >= 0) close(wire.fd);
    rp_free(frame);
    return NULL;
}

static rp_status time_busy(const char *folder, double *per_second, rp_error *err) {
    struct busy busy[BUSY_CLIENTS];
    pthread_t threads[BUSY_CLIENTS];
    int started = 0;
    uint64_t total = 0;
    rp_status status = RP_OK;
    int64_t start_ns = rp_clock_ns();
    for (; started < BUSY_CLIENTS; started++) {
        busy[started] =
            (struct busy){.folder = folder, .until_ns = start_ns + BUSY_MS * INT64_C(1000000)};
        if (pthread_create(&threads[started], NULL, ask_on, &busy[started]) != 0) break;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        total += busy[i].count;
        if (busy[i].status == RP_OK || status != RP_OK) continue;
        status = busy[i].status;
        if (err) *err = busy[i].why;
    }
    *per_second = (double)total / (rp_elapsed_ms(start_ns, rp_clock_ns()) / 1e3);
    if (started < BUSY_CLIENTS) return rp_fail(err, RP_ERR_MEMORY, "no thread for a benchmark");
    return status;
}

/* ---- a thousand clients ---- */

struct crowd {
    struct wire wires[CROWD];
    char *frame;
};

static void crowd_close(struct crowd *crowd) {
    for (int i = 0; i < CROWD; i++) {
        if (crowd->wires[i].fd >= 0) close(crowd->wires[i].fd);
    }
    rp_free(crowd->frame);
    rp_free(crowd);
}

static rp_status crowd_open(const char *folder, struct crowd *crowd, rp_error *err) {
    rp_status status = RP_OK;
    crowd->frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    for (int i = 0; i < CROWD; i++) {
        crowd->wires[i].fd = -1;
    }
    if (!crowd->frame) return rp_fail(err, RP_ERR_MEMORY, "no memory for a benchmark");
    for (int i = 0; i < CROWD && status == RP_OK; i++) {
        uint64_t kept = 0;
        status = wire_open(folder, &crowd->wires[i], crowd->frame, err);
        if (status == RP_OK) status = wire_lease(&crowd->wires[i], crowd->frame, &kept, err);
    }
    return status;
}

/* Each asks once more, one after the other: what a lease costs among that many. */
static rp_status time_crowd(struct crowd *crowd, double *p99_ms, rp_error *err) {
    static double taken[CROWD];
    rp_status status = RP_OK;
    for (int i = 0; i < CROWD && status == RP_OK; i++) {
        uint64_t lease_id = 0;
        int64_t start_ns = rp_clock_ns();
        status = wire_lease(&crowd->wires[i], crowd->frame, &lease_id, err);
        taken[i] = rp_elapsed_ms(start_ns, rp_clock_ns());
        if (status == RP_OK) {
            status = wire_release(&crowd->wires[i], crowd->frame, lease_id, false, err);
        }
    }
    *p99_ms = quantile(taken, CROWD, 0.99);
    return status;
}

/* All ask before any answer is read: the slowest waits for all the others. */
static rp_status time_rush(struct crowd *crowd, double *p99_ms, rp_error *err) {
    static double taken[CROWD];
    static int64_t start_ns[CROWD];
    rp_status status = RP_OK;
    for (int i = 0; i < CROWD && status == RP_OK; i++) {
        start_ns[i] = rp_clock_ns();
        status = send_on(&crowd->wires[i], &acquire, crowd->frame, err);
    }
    for (int i = 0; i < CROWD && status == RP_OK; i++) {
        struct rp_message answer;
        status = receive_on(&crowd->wires[i], RP_MESSAGE_LEASED, crowd->frame, &answer, err);
        taken[i] = rp_elapsed_ms(start_ns[i], rp_clock_ns());
        if (status == RP_OK) {
            status =
                wire_release(&crowd->wires[i], crowd->frame, answer.leased.lease_id, false, err);
        }
    }
    *p99_ms = quantile(taken, CROWD, 0.99);
    return status;
}

/* ---- all of it ---- */

enum { FIRST, LEASE, BUSY, RESIDENT, IDLE, CROWDED, RUSH, FIGURES };
_Static_assert((int)FIGURES == (int)RP_BENCH_BROKER_ROWS, "rows of the header");

struct figures {
    double ours[FIGURES][RP_BENCH_ROUNDS_MAX];
    double base[FIGURES][RP_BENCH_ROUNDS_MAX];
};

/* The sizes of what is asked and answered, for the echo. */
static rp_status measure_frames(struct rp_client *client, struct echo *echo, rp_error *err) {
    struct rp_reply reply = {.frame = NULL};
    char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    if (!frame) return rp_fail(err, RP_ERR_MEMORY, "no memory for a benchmark");
    rp_status status = rp_frame_write(&acquire, frame, &echo->asked, err);
    if (status == RP_OK) {
        status = rp_client_call(client, &acquire, NULL, RP_NEVER_NS, NULL, &reply, err);
    }
    if (status == RP_OK) {
        const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                           .release = {reply.message.leased.lease_id}};
        rp_client_tell(client, &release);
        status = rp_frame_write(&reply.message, frame, &echo->answered, err);
        rp_reply_fini(&reply);
    }
    rp_free(frame);
    return status;
}

static rp_status time_few(const struct rp_bench_served *served, struct figures *figures,
                          size_t rounds, rp_error *err) {
    static double taken[LEASES];
    const struct rp_client_options options = {.folder = served->folder, .no_start = true};
    struct echo echo = {.fd = -1};
    struct rp_client *client = NULL;
    rp_status status = rp_client_acquire(&options, &client, err);
    if (status == RP_OK) status = measure_frames(client, &echo, err);
    if (status == RP_OK) status = echo_start(&echo, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        status = time_lease(client, false, taken, &figures->ours[FIRST][i], err);
        if (status != RP_OK) break;
        figures->base[FIRST][i] = time_echo(&echo, taken);
        status = time_lease(client, true, taken, &figures->ours[LEASE][i], err);
        if (status != RP_OK) break;
        figures->base[LEASE][i] = time_echo(&echo, taken);
        status = time_busy(served->folder, &figures->ours[BUSY][i], err);
        figures->base[BUSY][i] = 10000;
    }
    echo_end(&echo);
    rp_client_drop(client);
    return status;
}

static rp_status time_many(const struct rp_bench_served *served, struct figures *figures,
                           size_t rounds, rp_error *err) {
    struct crowd *crowd = rp_alloc(sizeof *crowd);
    if (!crowd) return rp_fail(err, RP_ERR_MEMORY, "no memory for a benchmark");
    rp_status status = crowd_open(served->folder, crowd, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        status = time_crowd(crowd, &figures->ours[CROWDED][i], err);
        if (status == RP_OK) status = time_rush(crowd, &figures->ours[RUSH][i], err);
        pause_ms(IDLE_MS); /* until all has been given back */
        figures->base[CROWDED][i] = figures->base[RUSH][i] = 20;
        figures->ours[RESIDENT][i] = (double)rp_bench_resident(served->pid) / 1e6;
        figures->base[RESIDENT][i] = 8;
        uint64_t before_ns = rp_bench_processor_ns(served->pid);
        int64_t start_ns = rp_clock_ns();
        pause_ms(IDLE_MS);
        double used_ms = (double)(rp_bench_processor_ns(served->pid) - before_ns) / 1e6;
        figures->ours[IDLE][i] = used_ms / (rp_elapsed_ms(start_ns, rp_clock_ns()) / 1e3);
        figures->base[IDLE][i] = 1;
    }
    crowd_close(crowd);
    return status;
}

/* A descriptor for each client, and one for what it got. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

rp_status rp_bench_broker(rp_measure *rows, size_t rounds, rp_error *err) {
    static const char *const names[FIGURES][2] = {
        [FIRST] = {"lease of a loaded model (baseline: bare echo)", "us"},
        [LEASE] = {"the same, not a program's first (bare echo)", "us"},
        [BUSY] = {"leases, 8 clients (baseline: promised 10,000)", "/s"},
        [RESIDENT] = {"broker with 1,000 leases (baseline: 8 MB)", "MB"},
        [IDLE] = {"idle broker, ms of CPU a second (baseline: 1)", "ms"},
        [CROWDED] = {"p99 lease, 1,000 clients (baseline: 20 ms)", "ms"},
        [RUSH] = {"the same, all ask at once (baseline: 20 ms)", "ms"},
    };
    struct figures figures;
    struct rp_bench_served served = {.machine = NULL};
    rp_error why = RP_ERROR_INIT;
    if (!rows || rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a benchmark takes 3 to %d rounds",
                       RP_BENCH_ROUNDS_MAX);
    }
    raise_descriptor_limit();
    size_t crowd_rounds = rounds < CROWD_ROUNDS ? rounds : CROWD_ROUNDS;
    rp_status status = rp_bench_served_start(&served, &why);
    if (status == RP_OK) status = time_few(&served, &figures, rounds, &why);
    if (status == RP_OK) status = time_many(&served, &figures, crowd_rounds, &why);
    for (int i = 0; i < FIGURES && status == RP_OK; i++) {
        rows[i] = rp_bench_summarise(names[i][0], names[i][1], figures.ours[i], figures.base[i],
                                     i <= BUSY ? rounds : crowd_rounds);
    }
    if (status != RP_OK && err) *err = why;
    rp_bench_served_end(&served);
    return status;
}
