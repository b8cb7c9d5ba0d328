/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each worker has a *minder*, a thread that starts it, reads what it says and prints, reaps it and
 * tells its story in the rings of those who wait for it. The minder lives as long as the worker,
 * which is more than tidiness: PR_SET_PDEATHSIG means the death of the thread that forked.
 *
 * The channel is also the lifeline: only the worker holds the other end, so that its hang-up is
 * the worker's end, and the other way round.
 */
#include "machine/worker.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/proc.h"
#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CHANNEL_FD = 3,
    PRINTED_BYTES = 2048, /* the end of what it printed is kept */
    PRINTED_SHOWN = 160,  /* and this much of it fits into a story */
    STACK_BYTES = 512 << 10,
    END_MS = 2000, /* how long one may take to end that was asked to */
    REAP_MS = 5,
    LOOK_MS = 20, /* how often a caller's cancel flag is looked at */
};

enum state { LOADING, READY, DEAD };

/* A ring as the broker keeps it: to tell a story in. */
struct ring {
    struct ring *next;
    uint64_t id;
    struct rp_ring ring;
};

struct rp_worker {
    /* Set before the minder starts, constant afterwards. */
    const struct rp_worker_request *request; /* the caller's, until it has loaded */
    char **environment;
    char *path;
    int channel;
    int printed_fd;
    int child_channel; /* both closed by the minder once the child has them */
    int child_printed;
    pthread_t minder;

    struct rp_worker_facts facts; /* set before READY, constant afterwards */

    struct rp_lock lock;
    struct rp_condition changed;
    enum state state;   /* guarded by lock */
    pid_t pid;          /* guarded by lock: 0 once reaped, so that no stranger is killed */
    pid_t pid_shown;    /* set before READY */
    bool is_stopping;   /* guarded by lock */
    const char *why;    /* guarded by lock: of the stop */
    rp_error story;     /* guarded by lock: set before DEAD */
    bool is_refused;    /* guarded by lock: `story` is the worker's own word */
    struct ring *rings; /* guarded by lock */
    uint64_t next_ring; /* guarded by lock */
    uint64_t oom_kills; /* the machine's, when it started */

    /* The minder's own. */
    char printed[PRINTED_BYTES + 1];
    size_t printed_used;
};

/* ---- what a worker is started with ---- */

/*
 * What engines, loaders, drivers and sanitizers read. A name that ends in '*' stands for all that
 * begin so.
 */
static const char *const variables[] = {
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_*",
    "TMPDIR",
    "TZ",
    "XDG_*",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONHOME",
    "CUDA_*",
    "NVIDIA_*",
    "HIP_*",
    "ROCR_*",
    "ROCM_*",
    "HSA_*",
    "ONEAPI_*",
    "ZE_*",
    "SYCL_*",
    "VK_*",
    "MESA_*",
    "LP_*",
    "OPENVINO_*",
    "TPU_NAME",
    "ORT_*",
    "OMP_*",
    "KMP_*",
    "MKL_*",
    "GLIBC_TUNABLES",
    "MALLOC_*",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
    "LSAN_OPTIONS",
    "RESOURCE_POOL_ONNXRUNTIME",
    "RP_TEST_NO_ONNXRUNTIME",
};

static bool is_wanted(const char *entry) {
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        size_t length = strlen(variables[i]);
        bool is_family = variables[i][length - 1] == '*';
        if (is_family) length--;
        if (strncmp(entry, variables[i], length) == 0 && (is_family || entry[length] == '=')) {
            return strncmp(entry, "ORT_DISABLE_TELEMETRY=", 22) != 0;
        }
    }
    return false;
}

/* Texts stay where they are: in this process's environment, which nobody changes meanwhile. */
static char **make_environment(void) {
    static char no_telemetry[] = "ORT_DISABLE_TELEMETRY=1";
    size_t count = 0;
    while (environ[count]) {
        count++;
    }
    char **made = rp_alloc_array(count + 2, sizeof *made);
    if (!made) return NULL;
    size_t used = 0;
    made[used++] = no_telemetry;
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(environ[i])) made[used++] = environ[i];
    }
    return made;
}

/* How often the kernel's out-of-memory killer has killed on this machine; RP_UNKNOWN_U64. */
static uint64_t count_oom_kills(void) {
    char *bytes = NULL;
    size_t length = 0;
    if (rp_text_read_file("/proc/vmstat", RP_LIMIT_SYSTEM_FILE_BYTES, &bytes, &length) != 0) {
        return RP_UNKNOWN_U64;
    }
    uint64_t count = rp_proc_stat_value((struct rp_span){bytes, length}, "oom_kill");
    rp_free(bytes);
    return count;
}

/* ---- the child, between fork and exec: system calls only ---- */

static void close_from(int first) {
    if (close_range((unsigned)first, UINT_MAX, 0) == 0) return;
    struct rlimit limit;
    rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
    if (end > 65536) end = 65536;
    for (int fd = first; fd < (int)end; fd++) {
        close(fd);
    }
}

static void say(const char *text) {
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void reset_signals(void) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become_worker(const struct rp_worker *worker, pid_t parent) {
    static char serve[] = "serve";
    static char option[] = "--worker";
    static char descriptor[] = "3";
    _Static_assert(CHANNEL_FD == 3, "the word that says which descriptor it is");
    const char *program = worker->request->program;
    char *const words[] = {(char *)(uintptr_t)program, serve, option, descriptor, NULL};
    /* Above all that is given a place below, whatever the parent had open. */
    int channel = fcntl(worker->child_channel, F_DUPFD, CHANNEL_FD + 1);
    int printed = fcntl(worker->child_printed, F_DUPFD, CHANNEL_FD + 1);
    if (channel < 0 || printed < 0 || dup2(printed, STDERR_FILENO) < 0) _exit(127);
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(channel, CHANNEL_FD) < 0) {
        say("cannot arrange the descriptors of a worker\n");
        _exit(127);
    }
    close_from(CHANNEL_FD + 1);
    reset_signals();
    setsid();
    /* Its starter may be gone already: then nobody is left to send the signal. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(127);
    execve(program, words, worker->environment);
    say("cannot execute '");
    say(program);
    say("'\n");
    _exit(127);
}

/* ---- the minder ---- */

static void keep_printed(struct rp_worker *worker, const char *bytes, size_t length) {
    if (length > PRINTED_BYTES) {
        bytes += length - PRINTED_BYTES;
        length = PRINTED_BYTES;
    }
    size_t kept = worker->printed_used;
    if (kept + length > PRINTED_BYTES) {
        size_t gone = kept + length - PRINTED_BYTES;
        memmove(worker->printed, worker->printed + gone, kept - gone);
        kept -= gone;
    }
    memcpy(worker->printed + kept, bytes, length);
    worker->printed_used = kept + length;
}

/* Read what is there; false when nothing more will come. */
static bool read_printed(struct rp_worker *worker) {
    char bytes[1024];
    for (;;) {
        ssize_t got = read(worker->printed_fd, bytes, sizeof bytes);
        if (got > 0) {
            keep_printed(worker, bytes, (size_t)got);
        } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
            return false;
        } else if (errno == EAGAIN) {
            return true;
        }
    }
}

/* The end of what it printed, on one line. */
static const char *last_words(struct rp_worker *worker) {
    char *text = worker->printed;
    size_t length = worker->printed_used;
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' ')) {
        length--;
    }
    text[length] = '\0';
    if (length > PRINTED_SHOWN) text += length - PRINTED_SHOWN;
    for (char *at = text; *at; at++) {
        if (*at == '\n') *at = ' ';
    }
    rp_text_make_printable(text);
    return text;
}

static void tell_end(struct rp_worker *worker, int wait_status, rp_error *story) {
    const char *words = last_words(worker);
    const char *said = words[0] ? "; it printed: " : "";
    rp_status status = worker->state == READY ? RP_ERR_RUN : RP_ERR_LOAD;
    if (worker->is_stopping) {
        rp_fail(story, RP_ERR_STATE, "the worker of '%s' was ended%s%s", worker->path,
                worker->why ? ": " : "", worker->why ? worker->why : "");
        return;
    }
    if (wait_status < 0) {
        rp_fail(story, status, "the worker of '%s' ended%s%s", worker->path, said, words);
    } else if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        const char *name = sigabbrev_np(number);
        uint64_t before = worker->oom_kills;
        uint64_t now = number == SIGKILL ? count_oom_kills() : before;
        if (before != RP_UNKNOWN_U64 && now != RP_UNKNOWN_U64 && now > before) {
            rp_fail(story, RP_ERR_MEMORY,
                    "the worker of '%s' was killed, as it seems for lack of memory: the kernel has "
                    "killed %" PRIu64 " process%s for that since it began%s%s",
                    worker->path, now - before, now - before == 1 ? "" : "es", said, words);
            rp_hint(story, "use a smaller model or batch, or a lower --budget");
            return;
        }
        rp_fail(story, status, "the worker of '%s' was ended by SIG%s%s%s", worker->path,
                name ? name : "?", said, words);
    } else {
        rp_fail(story, status, "the worker of '%s' ended with exit code %d%s%s", worker->path,
                WEXITSTATUS(wait_status), said, words);
    }
    if (worker->state == READY) rp_hint(story, "ask for the model again: a new worker is started");
}

/* The channel has ended: wait for the process, insist after a while, say what became of it. */
static void bury(struct rp_worker *worker) {
    int64_t patience_ns = rp_deadline_after_ms(END_MS);
    int wait_status = -1;
    for (;;) {
        rp_lock_acquire(&worker->lock);
        pid_t reaped = worker->pid > 0 ? waitpid(worker->pid, &wait_status, WNOHANG) : -1;
        /* A host program that ignores SIGCHLD has its children reaped by the kernel. */
        bool is_gone = reaped != 0;
        if (!is_gone && rp_clock_ns() > patience_ns) kill(worker->pid, SIGKILL);
        if (is_gone) worker->pid = 0;
        rp_lock_release(&worker->lock);
        if (reaped < 0) wait_status = -1;
        if (is_gone) break;
        struct timespec span = {0, REAP_MS * 1000000L};
        nanosleep(&span, NULL);
    }
    if (worker->printed_fd >= 0) read_printed(worker);
    rp_error story = RP_ERROR_INIT;
    rp_lock_acquire(&worker->lock);
    tell_end(worker, wait_status, &story);
    if (!worker->is_refused) worker->story = story;
    for (struct ring *ring = worker->rings; ring; ring = ring->next) {
        rp_ring_tell_story(&ring->ring, &worker->story);
    }
    worker->state = DEAD;
    rp_condition_broadcast(&worker->changed);
    rp_lock_release(&worker->lock);
}

static rp_status take_facts(struct rp_worker *worker, const struct rp_message *message,
                            rp_error *err) {
    struct rp_worker_facts *facts = &worker->facts;
    facts->threads = message->loaded.threads;
    facts->is_simulated = message->loaded.simulated != 0;
    facts->memory_bytes = message->loaded.memory_bytes;
    snprintf(facts->engine, sizeof facts->engine, "%s",
             message->loaded.engine ? message->loaded.engine : "");
    snprintf(facts->device, sizeof facts->device, "%s",
             message->loaded.device ? message->loaded.device : "");
    snprintf(facts->precision, sizeof facts->precision, "%s",
             message->loaded.precision ? message->loaded.precision : "");
    rp_status status = rp_ports_decode(&message->loaded.inputs, &facts->inputs, err);
    if (status == RP_OK) status = rp_ports_decode(&message->loaded.outputs, &facts->outputs, err);
    return status;
}

/* It refused, or said what makes no sense: keep that as its story, and end it. */
static void refuse(struct rp_worker *worker, const rp_error *why) {
    rp_lock_acquire(&worker->lock);
    worker->story = *why;
    worker->is_refused = true;
    rp_lock_release(&worker->lock);
    shutdown(worker->channel, SHUT_RDWR);
}

/* A ring that the worker cannot serve: its client learns that, nobody else. */
static void refuse_ring(struct rp_worker *worker, uint32_t number, const rp_error *why) {
    rp_lock_acquire(&worker->lock);
    for (struct ring *ring = worker->rings; ring; ring = ring->next) {
        if ((uint32_t)ring->id == number) rp_ring_tell_story(&ring->ring, why);
    }
    rp_lock_release(&worker->lock);
}

/* One frame of the worker's; false when there will be no more. */
static bool hear(struct rp_worker *worker, unsigned char *frame) {
    size_t bytes = 0;
    struct rp_descriptors descriptors = {.count = 0};
    struct rp_message message;
    rp_error why = RP_ERROR_INIT;
    rp_status status = rp_channel_receive(worker->channel, frame, &bytes, &descriptors, 0, &why);
    if (status == RP_ERR_TIMEOUT) return true;
    if (status == RP_ERR_STATE) return false;
    rp_descriptors_close(&descriptors);
    if (status == RP_OK) status = rp_frame_parse(frame, bytes, &message, &why);
    if (status != RP_OK) {
        rp_error_prefix(&why, "the worker of '%s' sent nonsense", worker->path);
        refuse(worker, &why);
        return false;
    }
    if (message.type == RP_MESSAGE_LOADED && worker->state == LOADING) {
        status = take_facts(worker, &message, &why);
        if (status != RP_OK) {
            refuse(worker, &why);
            return false;
        }
        rp_lock_acquire(&worker->lock);
        worker->state = READY;
        rp_condition_broadcast(&worker->changed);
        rp_lock_release(&worker->lock);
    } else if (message.type == RP_MESSAGE_FAILED) {
        rp_error_from_text(&message.failed, &why);
        if (worker->state == LOADING) {
            refuse(worker, &why);
            return false;
        }
        refuse_ring(worker, message.number, &why);
    }
    return true;
}

static bool start(struct rp_worker *worker, rp_error *err) {
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) become_worker(worker, parent);
    rp_lock_acquire(&worker->lock);
    worker->pid = pid > 0 ? pid : 0;
    worker->pid_shown = worker->pid;
    rp_lock_release(&worker->lock);
    if (pid < 0) rp_fail_errno(err, "cannot start a worker for '%s'", worker->path);
    close(worker->child_channel);
    close(worker->child_printed);
    return pid > 0;
}

static rp_status send_load(struct rp_worker *worker, unsigned char *frame, rp_error *err) {
    const struct rp_worker_request *request = worker->request;
    struct rp_message message = {
        .type = RP_MESSAGE_LOAD,
        .load = {.path = request->path,
                 .engine = request->engine,
                 .device = request->device ? request->device : "cpu",
                 .precision = request->precision,
                 .threads = request->threads ? request->threads : 1},
    };
    size_t bytes = 0;
    rp_status status = rp_frame_write(&message, frame, &bytes, err);
    if (status == RP_OK) status = rp_channel_send(worker->channel, frame, bytes, NULL, 0, err);
    return status;
}

static void *mind(void *argument) {
    struct rp_worker *worker = argument;
    rp_error why = RP_ERROR_INIT;
    unsigned char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    bool is_started = start(worker, &why);
    if (!frame) rp_fail(&why, RP_ERR_MEMORY, "no memory for a frame of a worker's");
    if (is_started && frame) send_load(worker, frame, &why);
    if (why.status != RP_OK) refuse(worker, &why);
    while (why.status == RP_OK) {
        struct pollfd polled[2] = {{worker->channel, POLLIN, 0}, {worker->printed_fd, POLLIN, 0}};
        if (poll(polled, 2, -1) < 0 && errno != EINTR) break;
        if (polled[1].revents && !read_printed(worker)) {
            close(worker->printed_fd);
            worker->printed_fd = -1;
        }
        if (polled[0].revents && !hear(worker, frame)) break;
    }
    rp_free(frame);
    bury(worker);
    return NULL;
}

/* ---- the calls ---- */

static void destroy(struct rp_worker *worker) {
    while (worker->rings) {
        struct ring *ring = worker->rings;
        worker->rings = ring->next;
        rp_ring_unmap(&ring->ring);
        rp_free(ring);
    }
    if (worker->channel >= 0) close(worker->channel);
    if (worker->printed_fd >= 0) close(worker->printed_fd);
    rp_engine_ports_fini(&worker->facts.inputs);
    rp_engine_ports_fini(&worker->facts.outputs);
    rp_condition_fini(&worker->changed);
    rp_lock_fini(&worker->lock);
    rp_free(worker->environment);
    rp_free(worker->path);
    rp_free(worker);
}

static rp_status open_pipes(struct rp_worker *worker, rp_error *err) {
    int pair[2];
    int printed[2];
    rp_status status = rp_channel_pair(pair, err);
    if (status != RP_OK) return status;
    if (pipe2(printed, O_CLOEXEC) != 0) {
        status = rp_fail_errno(err, "cannot make a pipe for a worker");
        close(pair[0]);
        close(pair[1]);
        return status;
    }
    fcntl(printed[0], F_SETFL, O_NONBLOCK);
    worker->channel = pair[0];
    worker->child_channel = pair[1];
    worker->printed_fd = printed[0];
    worker->child_printed = printed[1];
    return RP_OK;
}

static rp_status start_minder(struct rp_worker *worker, rp_error *err) {
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int rc = pthread_attr_init(&attributes);
    if (rc == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        /* Signals are for the threads that know what to do with them. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&worker->minder, &attributes, mind, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (rc == 0) return RP_OK;
    close(worker->child_channel);
    close(worker->child_printed);
    errno = rc;
    return rp_fail_errno(err, "cannot start a thread for a worker");
}

/* Wait until it has loaded or died; the reason why nobody waits any longer, or RP_OK. */
static rp_status wait_for_load(struct rp_worker *worker, const struct rp_worker_request *request,
                               rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&worker->lock);
    while (worker->state == LOADING && status == RP_OK) {
        int64_t now_ns = rp_clock_ns();
        int64_t look_ns = request->cancelled ? now_ns + LOOK_MS * INT64_C(1000000) : RP_NEVER_NS;
        if (request->cancelled && atomic_load_explicit(request->cancelled, memory_order_relaxed)) {
            status = rp_fail(err, RP_ERR_CANCELLED, "the load was called off");
        } else if (now_ns >= request->deadline_ns) {
            status = rp_fail(err, RP_ERR_TIMEOUT, "the load passed its deadline");
        } else {
            rp_condition_wait(&worker->changed, &worker->lock,
                              look_ns < request->deadline_ns ? look_ns : request->deadline_ns);
        }
    }
    if (worker->state == DEAD) {
        status = worker->story.status;
        if (err) *err = worker->story;
    }
    rp_lock_release(&worker->lock);
    return status;
}

rp_status rp_worker_spawn(const struct rp_worker_request *request, struct rp_worker **worker,
                          rp_error *err) {
    struct rp_worker *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for a worker");
    rp_lock_init(&made->lock);
    rp_condition_init(&made->changed);
    made->request = request;
    made->channel = -1;
    made->printed_fd = -1;
    made->next_ring = 1;
    made->oom_kills = count_oom_kills();
    made->environment = make_environment();
    made->path = rp_strdup(request->path);
    rp_status status = made->environment && made->path
                           ? open_pipes(made, err)
                           : rp_fail(err, RP_ERR_MEMORY, "no memory for a worker");
    if (status == RP_OK) status = start_minder(made, err);
    if (status != RP_OK) {
        destroy(made);
        return status;
    }
    status = wait_for_load(made, request, err);
    if (status != RP_OK) {
        rp_worker_stop(made, NULL, NULL);
        return status;
    }
    made->request = NULL;
    *worker = made;
    return RP_OK;
}

const struct rp_worker_facts *rp_worker_facts(const struct rp_worker *worker) {
    return &worker->facts;
}

pid_t rp_worker_pid(const struct rp_worker *worker) {
    return worker->pid_shown;
}

/* Send a frame in the loop of a broker: now or not at all. */
static rp_status send_now(struct rp_worker *worker, const struct rp_message *message,
                          const struct rp_descriptors *descriptors, rp_error *err) {
    unsigned char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    size_t bytes = 0;
    if (!frame) return rp_fail(err, RP_ERR_MEMORY, "no memory for a frame");
    rp_status status = rp_frame_write(message, frame, &bytes, err);
    if (status == RP_OK) {
        status = rp_channel_send(worker->channel, frame, bytes, descriptors, 0, err);
    }
    rp_free(frame);
    return status;
}

/* Slots beyond the processors would only wait for each other. */
static uint32_t slots_for_machine(void) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 2 ? 1 : online < RP_RING_SLOTS ? (uint32_t)online : RP_RING_SLOTS;
}

rp_status rp_worker_add_ring(struct rp_worker *worker, pid_t client, struct rp_worker_ring *ring,
                             rp_error *err) {
    uint64_t slot_bytes = 0;
    int fd = -1;
    rp_status status =
        rp_ring_measure(&worker->facts.inputs, &worker->facts.outputs, &slot_bytes, err);
    if (status == RP_OK) status = rp_ring_create(slot_bytes, slots_for_machine(), &fd, err);
    if (status != RP_OK) return status;
    struct ring *made = rp_alloc(sizeof *made);
    status = made ? rp_ring_map(fd, &made->ring, err)
                  : rp_fail(err, RP_ERR_MEMORY, "no memory for a ring");
    if (status == RP_OK) {
        rp_lock_acquire(&worker->lock);
        if (worker->state == DEAD) {
            status = worker->story.status;
            if (err) *err = worker->story;
        } else {
            made->id = worker->next_ring++;
            struct rp_descriptors descriptors = {.fds = {fd}, .count = 1};
            struct rp_message message = {
                .type = RP_MESSAGE_RING,
                .number = (uint32_t)made->id,
                .ring = {made->id, (uint64_t)client, made->ring.bytes},
            };
            status = send_now(worker, &message, &descriptors, err);
        }
        if (status == RP_OK) {
            made->next = worker->rings;
            worker->rings = made;
            *ring = (struct rp_worker_ring){fd, made->id, made->ring.bytes};
        }
        rp_lock_release(&worker->lock);
    }
    if (status != RP_OK) {
        if (made) rp_ring_unmap(&made->ring);
        rp_free(made);
        close(fd);
    }
    return status;
}

void rp_worker_remove_ring(struct rp_worker *worker, uint64_t ring_id) {
    struct ring *found = NULL;
    rp_lock_acquire(&worker->lock);
    for (struct ring **at = &worker->rings; *at; at = &(*at)->next) {
        if ((*at)->id != ring_id) continue;
        found = *at;
        *at = found->next;
        break;
    }
    if (found && worker->state != DEAD) {
        struct rp_message message = {.type = RP_MESSAGE_RING_CLOSE, .ring_close = {ring_id}};
        /* A worker that does not listen keeps the ring until it ends. */
        rp_status ignored = send_now(worker, &message, NULL, NULL);
        (void)ignored;
        /* Its lease may have been taken away in the middle of a run, which nothing will answer. */
        rp_error story = RP_ERROR_INIT;
        rp_fail(&story, RP_ERR_STATE, "the lease on '%s' has ended", worker->path);
        rp_ring_tell_story(&found->ring, &story);
    }
    rp_lock_release(&worker->lock);
    if (!found) return;
    rp_ring_unmap(&found->ring);
    rp_free(found);
}

uint64_t rp_worker_bytes(struct rp_worker *worker) {
    char path[64];
    char *bytes = NULL;
    size_t length = 0;
    rp_lock_acquire(&worker->lock);
    pid_t pid = worker->pid;
    rp_lock_release(&worker->lock);
    if (pid <= 0) return RP_UNKNOWN_U64;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    if (rp_text_read_file(path, RP_LIMIT_SYSTEM_FILE_BYTES, &bytes, &length) != 0) {
        return RP_UNKNOWN_U64;
    }
    uint64_t pss = rp_proc_meminfo_bytes((struct rp_span){bytes, length}, "Pss:");
    rp_free(bytes);
    return pss;
}

bool rp_worker_is_alive(struct rp_worker *worker, rp_error *story) {
    rp_lock_acquire(&worker->lock);
    bool is_alive = worker->state != DEAD;
    if (!is_alive && story) *story = worker->story;
    rp_lock_release(&worker->lock);
    return is_alive;
}

void rp_worker_end(struct rp_worker *worker, const char *why) {
    rp_lock_acquire(&worker->lock);
    if (worker->state != DEAD && !worker->is_stopping) {
        worker->is_stopping = true;
        worker->why = why;
        if (worker->pid > 0) kill(worker->pid, SIGTERM);
        shutdown(worker->channel, SHUT_RDWR);
    }
    while (worker->state != DEAD) {
        rp_condition_wait(&worker->changed, &worker->lock, RP_NEVER_NS);
    }
    rp_lock_release(&worker->lock);
}

void rp_worker_stop(struct rp_worker *worker, const char *why, struct rp_worker_end *end) {
    if (!worker) return;
    uint64_t bytes = end ? rp_worker_bytes(worker) : RP_UNKNOWN_U64;
    rp_worker_end(worker, why);
    pthread_join(worker->minder, NULL);
    if (end) *end = (struct rp_worker_end){true, bytes};
    destroy(worker);
}
