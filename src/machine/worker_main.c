/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker itself: one model, a thread for each slot of each ring, and a main thread that listens
 * to the broker. At most as many runs as there are processors for their threads go on at once: the
 * rest wait in line, because engines that fight over processors finish fewer runs together.
 *
 * What comes through a ring is anybody's. Inputs are private copies before anything looks at them,
 * and rp_model_run() checks those as it checks every caller's.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <resourcepool/machine.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK_BYTES = 2 << 20, /* engines run on it; only what is used is memory */
    IDLE_S = 60,           /* a ring that was closed while its client scribbled ends after that */
    LOOK_MS = 50,
    OOM_SCORE = 500, /* before programs at their usual 0, after what asked for 1000 */
};

struct server {
    rp_model *model; /* constant once loaded */
    struct rp_lock lock;
    struct rp_condition turn;
    uint32_t running;     /* guarded by lock */
    uint32_t running_max; /* constant */
    struct served *rings; /* the main thread's */
};

/* A ring that is served; it goes with the last of its threads and of the main thread's share. */
struct served {
    struct served *next;
    struct server *server;
    uint64_t id;
    struct rp_ring ring;
    _Atomic int is_closing;
    _Atomic uint32_t shares;
};

/* What one thread needs for one slot. */
struct station {
    struct served *served;
    uint32_t index;
    struct rp_ring_spin spin;
    struct rp_ring_tensor *table; /* private copies of one request */
    rp_tensor *inputs;
    unsigned char *data;
    uint64_t data_bytes;
};

static void drop(struct served *served) {
    if (atomic_fetch_sub_explicit(&served->shares, 1, memory_order_acq_rel) != 1) return;
    rp_ring_unmap(&served->ring);
    rp_free(served);
}

/* ---- one request ---- */

static rp_status take_turn(struct server *server, struct rp_ring_slot *slot, uint32_t number,
                           int64_t deadline_ns, rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&server->lock);
    for (;;) {
        int64_t now_ns = rp_clock_ns();
        if (atomic_load_explicit(&slot->cancelled, memory_order_relaxed) == number) {
            status = rp_fail(err, RP_ERR_CANCELLED, "the run was called off");
        } else if (now_ns >= deadline_ns) {
            status = rp_fail(err, RP_ERR_TIMEOUT, "the run passed its deadline before it began");
        }
        if (status != RP_OK || server->running < server->running_max) break;
        int64_t look_ns = now_ns + LOOK_MS * INT64_C(1000000);
        rp_condition_wait(&server->turn, &server->lock,
                          look_ns < deadline_ns ? look_ns : deadline_ns);
    }
    if (status == RP_OK) server->running++;
    rp_lock_release(&server->lock);
    return status;
}

static void end_turn(struct server *server) {
    rp_lock_acquire(&server->lock);
    if (server->running-- == server->running_max) rp_condition_broadcast(&server->turn);
    rp_lock_release(&server->lock);
}

/* Room for private copies; kept for the next request, because fresh memory costs more than it. */
static rp_status make_room(struct station *station, uint64_t bytes, rp_error *err) {
    if (bytes <= station->data_bytes) return RP_OK;
    rp_free(station->data);
    station->data_bytes = 0;
    station->data = rp_alloc_aligned(RP_RING_ALIGNMENT, bytes);
    if (!station->data) {
        return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for %llu bytes of inputs",
                       (unsigned long long)bytes);
    }
    station->data_bytes = bytes;
    return RP_OK;
}

static rp_status run(struct station *station, struct rp_ring_slot *slot, uint32_t number,
                     rp_error *err) {
    struct server *server = station->served->server;
    const struct rp_ring *ring = &station->served->ring;
    unsigned char *area = rp_ring_area(ring, station->index);
    uint64_t area_bytes = rp_ring_area_bytes(ring);
    size_t count = server->model->inputs.count;
    uint64_t timeout_ns = atomic_load_explicit(&slot->timeout_ns, memory_order_relaxed);
    int64_t deadline_ns = RP_NEVER_NS;
    if (timeout_ns < INT64_MAX / 2) deadline_ns = rp_clock_ns() + (int64_t)timeout_ns;
    uint64_t bytes = 0;
    rp_status status = rp_ring_read_table(area, area_bytes, count, station->table, &bytes, err);
    if (status == RP_OK) status = make_room(station, bytes, err);
    if (status == RP_OK) {
        rp_ring_read_data(area, station->table, count, station->data, station->inputs);
        status = take_turn(server, slot, number, deadline_ns, err);
    }
    if (status != RP_OK) return status;
    rp_result *result = NULL;
    status = rp_model_run(server->model, station->inputs, count, &result, err);
    end_turn(server);
    if (status == RP_OK) {
        status = rp_ring_write(area, area_bytes, result->tensors, result->count, err);
        if (status != RP_OK) rp_error_prefix(err, "outputs");
    }
    rp_result_close(result);
    return status;
}

static void station_destroy(struct station *station) {
    if (!station) return;
    rp_free(station->table);
    rp_free(station->inputs);
    rp_free(station->data);
    rp_free(station);
}

static void *serve(void *argument) {
    struct station *station = argument;
    struct served *served = station->served;
    struct rp_ring_slot *slot = rp_ring_slot(&served->ring, station->index);
    uint32_t seen = 0;
    for (;;) {
        bool is_there = rp_ring_wait(&slot->request, &slot->worker_sleeps, seen, &station->spin,
                                     IDLE_S * INT64_C(1000000000));
        if (atomic_load_explicit(&served->is_closing, memory_order_acquire)) break;
        if (!is_there) continue;
        seen = atomic_load_explicit(&slot->request, memory_order_acquire);
        rp_error story = RP_ERROR_INIT;
        if (run(station, slot, seen, &story) != RP_OK) {
            rp_ring_write_error(rp_ring_area(&served->ring, station->index), &story);
        }
        rp_ring_post(&slot->response, &slot->client_sleeps, seen);
    }
    station_destroy(station);
    drop(served);
    return NULL;
}

/* ---- rings ---- */

static struct station *station_create(struct served *served, uint32_t index) {
    size_t count = served->server->model->inputs.count;
    struct station *station = rp_alloc(sizeof *station);
    if (!station) return NULL;
    station->served = served;
    station->index = index;
    station->table = rp_alloc_array(count, sizeof *station->table);
    station->inputs = rp_alloc_array(count, sizeof *station->inputs);
    if (station->table && station->inputs) return station;
    station_destroy(station);
    return NULL;
}

static rp_status start_station(struct served *served, uint32_t index, rp_error *err) {
    struct station *station = station_create(served, index);
    if (!station) return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for a ring");
    pthread_attr_t attributes;
    pthread_t thread;
    int rc = pthread_attr_init(&attributes);
    if (rc == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        atomic_fetch_add_explicit(&served->shares, 1, memory_order_relaxed);
        rc = pthread_create(&thread, &attributes, serve, station);
        pthread_attr_destroy(&attributes);
        if (rc != 0) atomic_fetch_sub_explicit(&served->shares, 1, memory_order_relaxed);
    }
    if (rc == 0) return RP_OK;
    station_destroy(station);
    errno = rc;
    return rp_fail_errno(err, "the worker cannot start a thread for a ring");
}

/* Whoever waits for requests sees one, and then that there will be none. */
static void close_served(struct served *served) {
    atomic_store_explicit(&served->is_closing, 1, memory_order_release);
    for (uint32_t i = 0; i < served->ring.slot_count; i++) {
        struct rp_ring_slot *slot = rp_ring_slot(&served->ring, i);
        atomic_fetch_add_explicit(&slot->request, 1, memory_order_seq_cst);
        rp_ring_wake(&slot->request);
    }
    drop(served);
}

static rp_status open_served(struct server *server, uint64_t id, int fd, rp_error *err) {
    struct served *served = rp_alloc(sizeof *served);
    if (!served) return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for a ring");
    served->server = server;
    served->id = id;
    atomic_init(&served->shares, 1);
    rp_status status = rp_ring_map(fd, &served->ring, err);
    for (uint32_t i = 0; status == RP_OK && i < served->ring.slot_count; i++) {
        status = start_station(served, i, err);
    }
    if (status != RP_OK) {
        close_served(served);
        return status;
    }
    served->next = server->rings;
    server->rings = served;
    return RP_OK;
}

static void forget_ring(struct server *server, uint64_t id) {
    for (struct served **at = &server->rings; *at; at = &(*at)->next) {
        struct served *served = *at;
        if (served->id != id) continue;
        *at = served->next;
        close_served(served);
        return;
    }
}

/* ---- the channel ---- */

static rp_status answer(int fd, unsigned char *frame, const struct rp_message *message,
                        rp_error *err) {
    size_t bytes = 0;
    rp_status status = rp_frame_write(message, frame, &bytes, err);
    if (status == RP_OK) status = rp_channel_send(fd, frame, bytes, NULL, RP_NEVER_NS, err);
    return status;
}

static rp_status answer_failed(int fd, unsigned char *frame, uint32_t number, const rp_error *why) {
    struct rp_message message = {
        .type = RP_MESSAGE_FAILED, .number = number, .failed = rp_error_to_text(why)};
    return answer(fd, frame, &message, NULL);
}

static rp_status answer_loaded(struct server *server, int fd, unsigned char *frame, uint32_t number,
                               rp_error *err) {
    const rp_model *model = server->model;
    struct rp_text inputs = RP_TEXT_INIT;
    struct rp_text outputs = RP_TEXT_INIT;
    rp_ports_encode(&model->inputs, &inputs);
    rp_ports_encode(&model->outputs, &outputs);
    struct rp_message message = {
        .type = RP_MESSAGE_LOADED,
        .number = number,
        .loaded = {.memory_bytes = rp_model_bytes(model),
                   .engine = rp_model_engine(model),
                   .device = rp_model_device(model),
                   .precision = rp_model_precision(model),
                   .threads = rp_model_threads(model),
                   .simulated = rp_model_is_simulated(model),
                   .inputs = {inputs.bytes, (uint32_t)inputs.length},
                   .outputs = {outputs.bytes, (uint32_t)outputs.length}},
    };
    rp_status status = inputs.failed || outputs.failed
                           ? rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for its answer")
                           : answer(fd, frame, &message, err);
    rp_text_fini(&inputs);
    rp_text_fini(&outputs);
    return status;
}

static rp_status load(struct server *server, const struct rp_message *message, rp_error *err) {
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    if (server->model) return rp_fail(err, RP_ERR_STATE, "the worker has its model already");
    options.engine = message->load.engine;
    options.device = message->load.device;
    options.precision = message->load.precision;
    options.threads = message->load.threads;
    if (!message->load.path) return rp_fail(err, RP_ERR_DATA, "no path of a model to load");
    rp_status status = rp_model_open(message->load.path, &options, &server->model, err);
    if (status != RP_OK) return status;
    cpu_set_t set;
    int processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    uint32_t most = (uint32_t)processors / rp_model_threads(server->model);
    server->running_max = most ? most : 1;
    return RP_OK;
}

/* One frame; false when the worker has nothing more to do. */
static bool handle(struct server *server, int fd, unsigned char *frame,
                   const struct rp_message *message, struct rp_descriptors *descriptors) {
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_OK;
    struct rp_message done = {.type = RP_MESSAGE_DONE, .number = message->number};
    switch (message->type) {
    case RP_MESSAGE_LOAD:
        status = load(server, message, &why);
        if (status == RP_OK) status = answer_loaded(server, fd, frame, message->number, &why);
        if (status == RP_OK) return true;
        /* Whoever cannot be told has gone, or hears of the end. */
        (void)!answer_failed(fd, frame, message->number, &why);
        return false;
    case RP_MESSAGE_RING:
        status = server->model && descriptors->count == 1
                     ? open_served(server, message->ring.ring_id, descriptors->fds[0], &why)
                     : rp_fail(&why, RP_ERR_STATE, "a ring came before the model, or without one");
        if (status == RP_OK) return answer(fd, frame, &done, &why) == RP_OK;
        return answer_failed(fd, frame, message->number, &why) == RP_OK;
    case RP_MESSAGE_RING_CLOSE:
        forget_ring(server, message->ring_close.ring_id);
        return true;
    case RP_MESSAGE_BYTES:
        done.type = RP_MESSAGE_BYTES;
        done.bytes.memory_bytes = server->model ? rp_model_bytes(server->model) : RP_UNKNOWN_U64;
        return answer(fd, frame, &done, &why) == RP_OK;
    default:
        rp_fail(&why, RP_ERR_DATA, "a worker knows nothing of '%s'",
                rp_message_name(message->type));
        return answer_failed(fd, frame, message->number, &why) == RP_OK;
    }
}

/* Best effort: without the right to it, a worker is taken like any other process. */
static void offer_to_oom_killer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    char text[16];
    int length = snprintf(text, sizeof text, "%d", OOM_SCORE);
    ssize_t written = write(fd, text, (size_t)length);
    (void)written;
    close(fd);
}

int rp_worker_serve(int fd) {
    struct server server = {.running_max = 1};
    rp_error why = RP_ERROR_INIT;
    unsigned char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    if (!frame) {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for a frame");
        fprintf(stderr, "rpool: %s\n", why.message);
        return 1;
    }
    offer_to_oom_killer();
    prctl(PR_SET_NAME, "rpool-worker");
    rp_lock_init(&server.lock);
    rp_condition_init(&server.turn);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    for (bool goes_on = true; goes_on;) {
        size_t bytes = 0;
        struct rp_descriptors descriptors = {.count = 0};
        struct rp_message message;
        rp_status status = rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, &why);
        if (status != RP_OK) break;
        status = rp_frame_parse(frame, bytes, &message, &why);
        goes_on = status == RP_OK && handle(&server, fd, frame, &message, &descriptors);
        rp_descriptors_close(&descriptors);
    }
    bool is_over = why.status == RP_OK || why.status == RP_ERR_STATE;
    if (!is_over) fprintf(stderr, "rpool: %s\n", why.message);
    fflush(stderr);
    /* Threads may be in the middle of a run: the end of the process is what frees all. */
    _exit(is_over ? 0 : 1);
}
