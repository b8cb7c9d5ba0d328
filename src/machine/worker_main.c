/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's process: models, a thread for each slot of each ring that is used, and a main thread
 * that listens to the broker. Of all workers together, at most as many runs as there are processors
 * for their threads go on at once (turns.h): engines that fight over processors finish fewer runs
 * together.
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
#include "machine/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <resourcepool/machine.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK_BYTES = 2 << 20, /* engines run on it; only what is used is memory */
    IDLE_S = 60,           /* a ring that was closed while its client scribbled ends after that */
    TRIM_S = 1,            /* after a run, until what it left is given back */
    LOOK_MS = 50,
    PATIENCE_MS = 2000, /* nobody waits longer for a turn while none is given back */
    OOM_SCORE = 500,    /* before programs at their usual 0, after what asked for 1000 */
};

enum { LOADING, LOADED, FAILED };

/* The process. */
struct worker {
    int fd;
    struct rp_turns turns;      /* opened with the first LOAD, constant afterwards */
    struct resident *residents; /* the main thread's */

    struct rp_lock lock;
    unsigned char *frame; /* what is being sent; guarded by lock */
};

/* A model that lives in it; it goes with the last of its rings and the main thread's share. */
struct resident {
    struct resident *next;
    struct worker *worker;
    uint32_t number;
    struct rp_message asked; /* the LOAD; texts in `asked_frame` */
    void *asked_frame;
    struct served *rings; /* the main thread's */
    rp_model *model;      /* constant once it is LOADED */
    _Atomic int state;    /* LOADING, LOADED or FAILED */
    _Atomic int is_unwanted;
    _Atomic uint32_t shares;
};

/* A ring that is served; it goes with the last of its threads and of the main thread's share. */
struct served {
    struct served *next;
    struct resident *resident;
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

/* ---- the channel ---- */

/* Whoever cannot be told has gone, or hears of the end. */
static void answer(struct worker *worker, const struct rp_message *message) {
    size_t bytes = 0;
    rp_lock_acquire(&worker->lock);
    rp_status status = rp_frame_write(message, worker->frame, &bytes, NULL);
    if (status == RP_OK) {
        status = rp_channel_send(worker->fd, worker->frame, bytes, NULL, RP_NEVER_NS, NULL);
    }
    rp_lock_release(&worker->lock);
    (void)status;
}

static void answer_failed(struct worker *worker, uint32_t number, const rp_error *why) {
    const struct rp_message message = {
        .type = RP_MESSAGE_FAILED, .number = number, .failed = rp_error_to_text(why)};
    answer(worker, &message);
}

static void answer_done(struct worker *worker, uint32_t number) {
    const struct rp_message message = {.type = RP_MESSAGE_DONE, .number = number};
    answer(worker, &message);
}

/* ---- shares ---- */

/* The last one frees the model and says so. */
static void drop_resident(struct resident *resident) {
    struct worker *worker = resident->worker;
    if (atomic_fetch_sub_explicit(&resident->shares, 1, memory_order_acq_rel) != 1) return;
    uint32_t number = resident->number;
    rp_model_close(resident->model);
    rp_free(resident->asked_frame);
    rp_free(resident);
    malloc_trim(0); /* the bytes are to be seen to be back */
    answer_done(worker, number);
}

static void drop(struct served *served) {
    if (atomic_fetch_sub_explicit(&served->shares, 1, memory_order_acq_rel) != 1) return;
    struct resident *resident = served->resident;
    rp_ring_unmap(&served->ring);
    rp_free(served);
    drop_resident(resident);
}

/* ---- one request ---- */

/* Wait for as many processors as a run uses. Without any sign of others for a while it goes on all
 * the same: a worker that was stopped in its turn must not stop the others. */
static rp_status take_turn(struct worker *worker, uint32_t threads, struct rp_ring_slot *slot,
                           uint32_t number, int64_t deadline_ns, struct rp_turn *turn,
                           rp_error *err) {
    struct rp_turns *turns = &worker->turns;
    int64_t patience_ns = RP_NEVER_NS;
    uint32_t last_seen = 0;
    for (;;) {
        uint32_t seen = rp_turns_look(turns);
        int64_t now_ns = rp_clock_ns();
        if (atomic_load_explicit(&slot->cancelled, memory_order_relaxed) == number) {
            return rp_fail(err, RP_ERR_CANCELLED, "the run was called off");
        }
        if (now_ns >= deadline_ns) {
            return rp_fail(err, RP_ERR_TIMEOUT, "the run passed its deadline before it began");
        }
        if (rp_turns_try(turns, threads, turn) || now_ns >= patience_ns) return RP_OK;
        if (patience_ns == RP_NEVER_NS || seen != last_seen) {
            patience_ns = now_ns + PATIENCE_MS * INT64_C(1000000);
            last_seen = seen;
        }
        int64_t wait_ns = LOOK_MS * INT64_C(1000000);
        if (deadline_ns - now_ns < wait_ns) wait_ns = deadline_ns - now_ns;
        rp_turns_wait(turns, seen, wait_ns);
    }
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
    const struct resident *resident = station->served->resident;
    rp_model *model = resident->model;
    struct rp_turns *turns = &resident->worker->turns;
    struct rp_turn turn = {0};
    const struct rp_ring *ring = &station->served->ring;
    unsigned char *area = rp_ring_area(ring, station->index);
    uint64_t area_bytes = rp_ring_area_bytes(ring);
    size_t count = model->inputs.count;
    uint64_t timeout_ns = atomic_load_explicit(&slot->timeout_ns, memory_order_relaxed);
    int64_t deadline_ns = RP_NEVER_NS;
    if (timeout_ns < INT64_MAX / 2) deadline_ns = rp_clock_ns() + (int64_t)timeout_ns;
    uint64_t bytes = 0;
    rp_status status = rp_ring_read_table(area, area_bytes, count, station->table, &bytes, err);
    if (status == RP_OK) status = make_room(station, bytes, err);
    if (status == RP_OK) {
        rp_ring_read_data(area, station->table, count, station->data, station->inputs);
        status = take_turn(resident->worker, rp_model_threads(model), slot, number, deadline_ns,
                           &turn, err);
    }
    if (status != RP_OK) return status;
    rp_result *result = NULL;
    status = rp_model_run(model, station->inputs, count, &result, err);
    rp_turns_give(turns, &turn);
    if (status == RP_OK) {
        status = rp_ring_write(area, area_bytes, result->tensors, result->count, err);
        if (status != RP_OK) rp_error_prefix(err, "outputs");
    }
    rp_result_close(result);
    return status;
}

static rp_status start_thread(void *(*begin)(void *argument), void *argument, rp_error *err) {
    pthread_attr_t attributes;
    pthread_t thread;
    int rc = pthread_attr_init(&attributes);
    if (rc == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        rc = pthread_create(&thread, &attributes, begin, argument);
        pthread_attr_destroy(&attributes);
    }
    if (rc == 0) return RP_OK;
    errno = rc;
    return rp_fail_errno(err, "the worker cannot start a thread");
}

static void station_destroy(struct station *station) {
    if (!station) return;
    rp_free(station->table);
    rp_free(station->inputs);
    rp_free(station->data);
    rp_free(station);
}

static rp_status start_station(struct served *served, uint32_t index, rp_error *err);

/*
 * A client takes the first slot that is free, so that nobody waits for the next one before this one
 * has had a request: most rings never need more than one thread.
 */
static bool start_next(struct station *station) {
    struct served *served = station->served;
    rp_error why = RP_ERROR_INIT;
    uint32_t next = station->index + 1;
    if (next == served->ring.slot_count || start_station(served, next, &why) == RP_OK) return true;
    /* Nobody would answer there: the ring's client is told, and goes. */
    answer_failed(served->resident->worker, (uint32_t)served->id, &why);
    return false;
}

/* What the last run left: of no use to a ring that is kept for later, and of some to others. */
static void trim(struct station *station) {
    rp_free(station->data);
    station->data = NULL;
    station->data_bytes = 0;
    malloc_trim(0);
}

static void *serve(void *argument) {
    struct station *station = argument;
    struct served *served = station->served;
    struct rp_ring_slot *slot = rp_ring_slot(&served->ring, station->index);
    bool has_next = false;
    bool is_trimmed = true;
    uint32_t seen = 0;
    for (;;) {
        int64_t wait_s = is_trimmed ? IDLE_S : TRIM_S;
        bool is_there = rp_ring_wait(&slot->request, &slot->worker_sleeps, seen, &station->spin,
                                     wait_s * INT64_C(1000000000));
        if (atomic_load_explicit(&served->is_closing, memory_order_acquire)) break;
        if (!is_there && !is_trimmed) {
            trim(station);
            is_trimmed = true;
        }
        if (!is_there) continue;
        is_trimmed = false;
        seen = atomic_load_explicit(&slot->request, memory_order_acquire);
        if (!has_next) has_next = start_next(station);
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
    size_t count = served->resident->model->inputs.count;
    struct station *station = rp_alloc(sizeof *station);
    if (!station) return NULL;
    station->served = served;
    station->index = index;
    /* Most rings wait for long before their first request, if one comes at all: spinning for that
     * costs more than all the rest of a lease. */
    station->spin.skip = 1;
    station->table = rp_alloc_array(count, sizeof *station->table);
    station->inputs = rp_alloc_array(count, sizeof *station->inputs);
    if (station->table && station->inputs) return station;
    station_destroy(station);
    return NULL;
}

static rp_status start_station(struct served *served, uint32_t index, rp_error *err) {
    struct station *station = station_create(served, index);
    if (!station) return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for a ring");
    atomic_fetch_add_explicit(&served->shares, 1, memory_order_relaxed);
    rp_status status = start_thread(serve, station, err);
    if (status == RP_OK) return RP_OK;
    atomic_fetch_sub_explicit(&served->shares, 1, memory_order_relaxed);
    station_destroy(station);
    return status;
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

static rp_status open_served(struct resident *resident, uint64_t id, int fd, rp_error *err) {
    struct served *served = rp_alloc(sizeof *served);
    if (!served) return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for a ring");
    served->resident = resident;
    served->id = id;
    atomic_init(&served->shares, 1);
    atomic_fetch_add_explicit(&resident->shares, 1, memory_order_relaxed);
    rp_status status = rp_ring_map(fd, &served->ring, err);
    if (status == RP_OK) status = start_station(served, 0, err);
    if (status != RP_OK) {
        close_served(served);
        return status;
    }
    served->next = resident->rings;
    resident->rings = served;
    return RP_OK;
}

static struct resident *find_resident(const struct worker *worker, uint32_t number) {
    struct resident *resident = worker->residents;
    while (resident && resident->number != number) {
        resident = resident->next;
    }
    return resident;
}

static rp_status handle_ring(struct worker *worker, const struct rp_message *message,
                             const struct rp_descriptors *descriptors, rp_error *err) {
    struct resident *resident = find_resident(worker, message->ring.worker);
    bool is_loaded =
        resident && atomic_load_explicit(&resident->state, memory_order_acquire) == LOADED;
    if (!is_loaded || descriptors->count != 1) {
        return rp_fail(err, RP_ERR_STATE, "a ring came before the model, or without one");
    }
    return open_served(resident, message->ring.ring_id, descriptors->fds[0], err);
}

static void forget_ring(struct worker *worker, uint64_t id) {
    for (struct resident *resident = worker->residents; resident; resident = resident->next) {
        for (struct served **at = &resident->rings; *at; at = &(*at)->next) {
            struct served *served = *at;
            if (served->id != id) continue;
            *at = served->next;
            close_served(served);
            return;
        }
    }
}

/* ---- models ---- */

static rp_status answer_loaded(struct resident *resident, rp_error *err) {
    const rp_model *model = resident->model;
    struct rp_text inputs = RP_TEXT_INIT;
    struct rp_text outputs = RP_TEXT_INIT;
    rp_ports_encode(&model->inputs, &inputs);
    rp_ports_encode(&model->outputs, &outputs);
    const struct rp_message message = {
        .type = RP_MESSAGE_LOADED,
        .number = resident->number,
        .loaded = {.memory_bytes = rp_model_bytes(model),
                   .engine = rp_model_engine(model),
                   .device = rp_model_device(model),
                   .precision = rp_model_precision(model),
                   .threads = rp_model_threads(model),
                   .simulated = rp_model_is_simulated(model),
                   .inputs = {inputs.bytes, (uint32_t)inputs.length},
                   .outputs = {outputs.bytes, (uint32_t)outputs.length}},
    };
    rp_status status = RP_OK;
    if (inputs.failed || outputs.failed) {
        status = rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for its answer");
    } else {
        answer(resident->worker, &message);
    }
    rp_text_fini(&inputs);
    rp_text_fini(&outputs);
    return status;
}

/* A load, on a thread of its own: rings of the other models do not wait for it. */
static void *load(void *argument) {
    struct resident *resident = argument;
    const struct rp_message *asked = &resident->asked;
    rp_error why = RP_ERROR_INIT;
    rp_model_options options = RP_MODEL_OPTIONS_INIT;
    options.engine = asked->load.engine;
    options.device = asked->load.device;
    options.precision = asked->load.precision;
    options.threads = asked->load.threads;
    rp_status status = rp_model_open_until(asked->load.path, &options, &resident->is_unwanted,
                                           RP_NEVER_NS, &resident->model, &why);
    atomic_store_explicit(&resident->state, status == RP_OK ? LOADED : FAILED,
                          memory_order_release);
    if (status == RP_OK) status = answer_loaded(resident, &why);
    if (status != RP_OK) answer_failed(resident->worker, resident->number, &why);
    drop_resident(resident);
    return NULL;
}

/* The budget of processors: the starter's, else one of its own. */
static rp_status open_turns(struct worker *worker, const struct rp_descriptors *descriptors,
                            rp_error *err) {
    int fd = -1;
    if (worker->turns.fd >= 0) return RP_OK;
    if (descriptors->count > 0) return rp_turns_open(descriptors->fds[0], &worker->turns, err);
    rp_status status = rp_turns_create(rp_turns_of_machine(), &fd, err);
    if (status != RP_OK) return status;
    status = rp_turns_open(fd, &worker->turns, err);
    close(fd);
    return status;
}

/* Out of the list; what runs on it may go on for a while. */
static void remove_resident(struct resident **at) {
    struct resident *resident = *at;
    *at = resident->next;
    atomic_store_explicit(&resident->is_unwanted, 1, memory_order_relaxed);
    while (resident->rings) {
        struct served *served = resident->rings;
        resident->rings = served->next;
        close_served(served);
    }
    drop_resident(resident);
}

static void handle_unload(struct worker *worker, uint32_t number) {
    for (struct resident **at = &worker->residents; *at; at = &(*at)->next) {
        if ((*at)->number != number) continue;
        remove_resident(at);
        return;
    }
}

/* Those whose load failed: the starter was told, and has forgotten them. */
static void remove_failed(struct worker *worker) {
    for (struct resident **at = &worker->residents; *at;) {
        if (atomic_load_explicit(&(*at)->state, memory_order_acquire) == FAILED) {
            remove_resident(at);
        } else {
            at = &(*at)->next;
        }
    }
}

static rp_status handle_load(struct worker *worker, const struct rp_message *message,
                             const unsigned char *frame, size_t bytes,
                             const struct rp_descriptors *descriptors, rp_error *err) {
    remove_failed(worker);
    if (find_resident(worker, message->number)) {
        return rp_fail(err, RP_ERR_STATE, "the worker has a model of that number already");
    }
    rp_status status = open_turns(worker, descriptors, err);
    if (status != RP_OK) return status;
    struct resident *resident = rp_alloc(sizeof *resident);
    if (resident) resident->asked_frame = rp_memdup(frame, bytes);
    if (!resident || !resident->asked_frame) {
        rp_free(resident);
        return rp_fail(err, RP_ERR_MEMORY, "the worker has no memory for a model");
    }
    resident->worker = worker;
    resident->number = message->number;
    atomic_init(&resident->shares, 2); /* the list's and the loading thread's */
    status = rp_frame_parse(resident->asked_frame, bytes, &resident->asked, err);
    if (status == RP_OK) status = start_thread(load, resident, err);
    if (status != RP_OK) {
        rp_free(resident->asked_frame);
        rp_free(resident);
        return status;
    }
    resident->next = worker->residents;
    worker->residents = resident;
    return RP_OK;
}

/* ---- the process ---- */

static void handle(struct worker *worker, const unsigned char *frame, size_t bytes,
                   const struct rp_message *message, const struct rp_descriptors *descriptors) {
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_OK;
    switch (message->type) {
    case RP_MESSAGE_LOAD:
        status = handle_load(worker, message, frame, bytes, descriptors, &why);
        break;
    case RP_MESSAGE_UNLOAD:
        handle_unload(worker, message->number);
        break;
    case RP_MESSAGE_RING:
        status = handle_ring(worker, message, descriptors, &why);
        break;
    case RP_MESSAGE_RING_CLOSE:
        forget_ring(worker, message->ring_close.ring_id);
        break;
    default:
        status = rp_fail(&why, RP_ERR_DATA, "a worker knows nothing of '%s'",
                         rp_message_name(message->type));
    }
    if (status != RP_OK) answer_failed(worker, message->number, &why);
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
    struct worker worker = {.fd = fd, .turns.fd = -1};
    rp_error why = RP_ERROR_INIT;
    unsigned char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    worker.frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    if (!frame || !worker.frame) {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for a frame");
        fprintf(stderr, "rpool: %s\n", why.message);
        return 1;
    }
    offer_to_oom_killer();
    /* No more runs go on at once than there are processors: more heaps would keep what they freed.
     */
    mallopt(M_ARENA_MAX, (int)rp_turns_of_machine());
    prctl(PR_SET_NAME, "rpool-worker");
    rp_lock_init(&worker.lock);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    rp_status status = RP_OK;
    while (status == RP_OK) {
        size_t bytes = 0;
        struct rp_descriptors descriptors = {.count = 0};
        struct rp_message message = {.type = 0};
        status = rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, &why);
        bool is_lost = status == RP_ERR_LIMIT;
        if (status == RP_OK || is_lost) status = rp_frame_parse(frame, bytes, &message, &why);
        if (status == RP_OK && is_lost) {
            answer_failed(&worker, message.number, &why);
        } else if (status == RP_OK) {
            handle(&worker, frame, bytes, &message, &descriptors);
        }
        rp_descriptors_close(&descriptors);
    }
    bool is_over = status == RP_ERR_STATE; /* the other end has gone */
    if (!is_over) fprintf(stderr, "rpool: %s\n", why.message);
    fflush(stderr);
    /* Threads may be in the middle of a run: the end of the process is what frees all. */
    _exit(is_over ? 0 : 1);
}
