/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each process of workers has a *minder*, a thread that starts it, reads what it says and prints,
 * reaps it and tells its story in the rings of those who wait for it. The minder lives as long as
 * the process, which is more than tidiness: PR_SET_PDEATHSIG means the death of the thread that
 * forked.
 *
 * The channel is also the lifeline: only the process holds the other end, so that its hang-up is
 * the process's end, and the other way round.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/proc.h"
#include "machine/worker_inside.h"

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
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CHANNEL_FD = 3,
    PRINTED_SHOWN = 160, /* so much of what it printed fits into a story */
    PRINTED_LEAST = 40,  /* less of it says nothing */
    PATH_SHOWN = 90,     /* of a model, in a story that has more to tell */
    STACK_BYTES = 512 << 10,
    WAITING_MAX = 4096, /* rings that a process has not opened yet: a descriptor each */
    END_MS = 2000,      /* how long one may take to end that was asked to */
    REAP_MS = 5,
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

static void say(int fd, const char *text) {
    ssize_t written = write(fd, text, strlen(text));
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

static _Noreturn void become_worker(const struct rp_process *process, const char *group,
                                    pid_t parent) {
    static char serve[] = "serve";
    static char option[] = "--worker";
    static char descriptor[] = "3";
    _Static_assert(CHANNEL_FD == 3, "the word that says which descriptor it is");
    const char *program = process->program;
    char *const words[] = {(char *)(uintptr_t)program, serve, option, descriptor, NULL};
    /* Above all that is given a place below, whatever the parent had open. */
    int channel = fcntl(process->child_channel, F_DUPFD, CHANNEL_FD + 1);
    int printed = fcntl(process->child_printed, F_DUPFD, CHANNEL_FD + 1);
    if (channel < 0 || printed < 0 || dup2(printed, STDERR_FILENO) < 0) {
        say(process->child_printed, "it has as many files open as it may\n");
        _exit(127);
    }
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(channel, CHANNEL_FD) < 0) {
        say(STDERR_FILENO, "cannot arrange the descriptors of a worker\n");
        _exit(127);
    }
    close_from(CHANNEL_FD + 1);
    reset_signals();
    if (group[0]) rp_worker_group_enter(group);
    setsid();
    /* Its starter may be gone already: then nobody is left to send the signal. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(127);
    execve(program, words, process->environment);
    say(STDERR_FILENO, "cannot execute '");
    say(STDERR_FILENO, program);
    say(STDERR_FILENO, "'\n");
    _exit(127);
}

/* ---- its end ---- */

static void keep_printed(struct rp_process *process, const char *bytes, size_t length) {
    if (length > RP_PROCESS_PRINTED_BYTES) {
        bytes += length - RP_PROCESS_PRINTED_BYTES;
        length = RP_PROCESS_PRINTED_BYTES;
    }
    size_t kept = process->printed_used;
    if (kept + length > RP_PROCESS_PRINTED_BYTES) {
        size_t gone = kept + length - RP_PROCESS_PRINTED_BYTES;
        memmove(process->printed, process->printed + gone, kept - gone);
        kept -= gone;
    }
    memcpy(process->printed + kept, bytes, length);
    process->printed_used = kept + length;
}

/* Read what is there; false when nothing more will come. */
static bool read_printed(struct rp_process *process) {
    char bytes[1024];
    for (;;) {
        ssize_t got = read(process->printed_fd, bytes, sizeof bytes);
        if (got > 0) {
            keep_printed(process, bytes, (size_t)got);
        } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
            return false;
        } else if (errno == EAGAIN) {
            return true;
        }
    }
}

/* The end of what it printed, on one line. */
static const char *last_words(struct rp_process *process) {
    char *text = process->printed;
    size_t length = process->printed_used;
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

/* How the process ended, for all of its models. */
struct end {
    int wait_status;     /* negative: not known */
    uint64_t oom_kills;  /* since it began: of its own group, else of the machine */
    bool is_certain;     /* of its own group */
    bool is_counted;     /* one of the two counters could be read */
    const char *words;   /* "" or the last that it printed */
    uint64_t peak_bytes; /* the most that it had; RP_UNKNOWN_U64 */
    struct rp_memory_look look;
};

static struct end find_end(struct rp_process *process, int wait_status) {
    struct end end = {
        .wait_status = wait_status,
        .words = last_words(process),
        .peak_bytes = RP_UNKNOWN_U64,
        .look = {.needed_bytes = RP_UNKNOWN_U64, .free_bytes = RP_UNKNOWN_U64},
    };
    if (wait_status < 0 || !WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL)
        return end;
    uint64_t kills = rp_worker_group_kills(&process->group);
    end.is_certain = end.is_counted = kills != RP_UNKNOWN_U64;
    if (end.is_certain) {
        end.oom_kills = kills;
        return end;
    }
    uint64_t now = count_oom_kills();
    end.is_counted = process->oom_kills != RP_UNKNOWN_U64 && now != RP_UNKNOWN_U64;
    if (end.is_counted && now > process->oom_kills) end.oom_kills = now - process->oom_kills;
    return end;
}

/*
 * How memory stood, by whoever keeps the ledger: the first model of the process says whom to ask.
 * Under no lock, since that may wait for the pool's.
 */
static void look_at_memory(struct rp_process *process, struct end *end) {
    rp_lock_acquire(&process->lock);
    const struct rp_worker *worker = process->workers;
    rp_memory_looker *look = worker ? worker->look_at_memory : NULL;
    void *user = worker ? worker->user : NULL;
    char *path = look ? rp_strdup(worker->path) : NULL;
    pid_t pid = process->pid_shown;
    rp_lock_release(&process->lock);
    uint64_t group_bytes = rp_worker_group_peak(&process->group);
    end->peak_bytes = process->resident_bytes_peak;
    if (group_bytes != RP_UNKNOWN_U64) end->peak_bytes = group_bytes;
    if (path) look(user, pid, path, &end->look);
    rp_free(path);
    uint64_t limit_bytes = process->limit_bytes;
    if (process->group.version != 0 && limit_bytes > 0 && limit_bytes <= end->look.free_bytes) {
        end->look.free_bytes = limit_bytes;
        end->look.is_budget = true;
    }
}

/* The end of a long path, from a '/' on. */
static const char *shown_path(const char *path) {
    size_t length = strlen(path);
    if (length <= PATH_SHOWN) return path;
    const char *end = path + length - PATH_SHOWN;
    const char *slash = strchr(end, '/');
    return slash ? slash : end;
}

/* ": needed 2.1 GiB, 1.3 GiB free on the machine", as far as it is known. What it had when it was
 * killed is the least that it needed. */
static void append_figures(const struct end *end, struct rp_text *text) {
    const struct rp_memory_look *look = &end->look;
    char bytes[RP_BYTES_TEXT_BYTES];
    bool has_charge = look->needed_bytes != RP_UNKNOWN_U64 && look->needed_bytes > 0;
    bool has_peak = end->peak_bytes != RP_UNKNOWN_U64 && end->peak_bytes > 0;
    if (!has_charge && !has_peak) return;
    if (has_charge && (!has_peak || look->needed_bytes > end->peak_bytes)) {
        rp_text_print(text, "needed %s", rp_text_bytes(look->needed_bytes, bytes, sizeof bytes));
    } else {
        rp_text_print(text, "needed more than %s",
                      rp_text_bytes(end->peak_bytes, bytes, sizeof bytes));
    }
    if (look->free_bytes == RP_UNKNOWN_U64) return;
    rp_text_print(text, ", %s free %s", rp_text_bytes(look->free_bytes, bytes, sizeof bytes),
                  look->is_budget ? "in the budget" : "on the machine");
}

/* As many names as fit; where none does, none. */
static void append_holders(const char *holders, struct rp_text *text) {
    static const char begin[] = "; held by ";
    size_t used = text->length + sizeof begin - 1;
    size_t room = sizeof((rp_error *)NULL)->message - 1;
    size_t length = strlen(holders);
    if (length == 0 || used >= room) return;
    if (used + length > room) {
        const char *cut = NULL;
        for (const char *at = strstr(holders, "), "); at; at = strstr(at + 1, "), ")) {
            if (used + (size_t)(at - holders) + 1 <= room) cut = at;
        }
        if (!cut) return;
        length = (size_t)(cut - holders) + 1;
    }
    rp_text_print(text, "%s%.*s", begin, (int)length, holders);
}

static void append_words(const char *words, struct rp_text *text) {
    static const char begin[] = "; it printed: ";
    size_t room = sizeof((rp_error *)NULL)->message - 1;
    if (words[0] == '\0' || text->length + sizeof begin + PRINTED_LEAST > room) return;
    rp_text_print(text, "%s%s", begin, words);
}

static void tell_oom(const struct rp_worker *worker, const struct end *end, rp_error *story) {
    const char *path = shown_path(worker->path);
    struct rp_text text = RP_TEXT_INIT;
    if (end->is_certain) {
        rp_text_print(&text, "the kernel killed the worker of '%s' for lack of memory: ", path);
    } else {
        rp_text_print(
            &text,
            "the worker of '%s' was killed, as it seems for lack of memory, for which the "
            "kernel has killed %" PRIu64 " process%s since it began: ",
            path, end->oom_kills, end->oom_kills == 1 ? "" : "es");
    }
    size_t head = text.length;
    append_figures(end, &text);
    if (text.length == head && head > 0) text.length -= 2; /* nothing follows the colon */
    append_holders(end->look.holders, &text);
    append_words(end->words, &text);
    if (text.failed || !text.bytes) {
        rp_fail(story, RP_ERR_MEMORY, "the kernel killed the worker of '%s' for lack of memory",
                path);
    } else {
        rp_fail(story, RP_ERR_MEMORY, "%.*s", (int)text.length, text.bytes);
    }
    rp_text_fini(&text);
    rp_hint(story, end->look.is_budget
                       ? "raise --budget, or use a smaller model, batch or precision"
                       : "use a smaller model or batch, or a lower --budget");
}

/* A signal whose sender nobody wrote down. */
static const char *about_signal(const struct end *end) {
    if (WTERMSIG(end->wait_status) != SIGKILL) return "";
    return end->is_counted
               ? ": the kernel counts no process killed for lack of memory, who sent it "
                 "is not known"
               : ": who sent it is not known";
}

static void tell_end(const struct rp_worker *worker, const struct end *end, rp_error *story) {
    const char *said = end->words[0] ? "; it printed: " : "";
    rp_status status = worker->state == RP_WORKER_READY ? RP_ERR_RUN : RP_ERR_LOAD;
    int code = end->wait_status;
    if (worker->is_stopping) {
        rp_worker_tell_stop(worker, story);
        return;
    }
    if (worker->process->why.status != RP_OK) {
        *story = worker->process->why;
        return;
    }
    if (end->oom_kills > 0) {
        tell_oom(worker, end, story);
        return;
    }
    if (code < 0) {
        rp_fail(story, status, "the worker of '%s' ended%s%s", worker->path, said, end->words);
    } else if (WIFSIGNALED(code)) {
        const char *name = sigabbrev_np(WTERMSIG(code));
        rp_fail(story, status, "the worker of '%s' was ended by SIG%s%s%s%s", worker->path,
                name ? name : "?", about_signal(end), said, end->words);
    } else {
        rp_fail(story, status, "the worker of '%s' ended with exit code %d%s%s", worker->path,
                WEXITSTATUS(code), said, end->words);
    }
    if (worker->state == RP_WORKER_READY) {
        rp_hint(story, "ask for the model again: a new worker is started");
    }
}

void rp_worker_tell_stop(const struct rp_worker *worker, rp_error *story) {
    rp_fail(story, RP_ERR_STATE, "the worker of '%s' was ended%s%s", worker->path,
            worker->why ? ": " : "", worker->why ? worker->why : "");
}

void rp_process_end(struct rp_process *process) {
    assert(rp_lock_is_held(&process->lock));
    if (process->is_ending) return;
    process->is_ending = true;
    if (process->pid > 0) kill(process->pid, SIGTERM);
    shutdown(process->channel, SHUT_RDWR);
}

void rp_worker_set_gone(struct rp_worker *worker, const rp_error *story) {
    struct rp_process *process = worker->process;
    assert(rp_lock_is_held(&process->lock));
    if (worker->state == RP_WORKER_GONE) return;
    worker->story = *story;
    worker->state = RP_WORKER_GONE;
    for (struct rp_kept_ring *ring = worker->rings; ring; ring = ring->next) {
        rp_ring_tell_story(&ring->ring, story);
    }
    if (--process->live_count == 0) rp_process_end(process);
    rp_condition_broadcast(&process->changed);
}

/* The channel has ended: wait for the process, insist after a while. Its wait status, or -1. */
static int reap(struct rp_process *process) {
    int64_t patience_ns = rp_deadline_after_ms(END_MS);
    int wait_status = -1;
    for (;;) {
        rp_lock_acquire(&process->lock);
        struct rusage usage = {.ru_maxrss = 0};
        pid_t reaped = process->pid > 0 ? wait4(process->pid, &wait_status, WNOHANG, &usage) : -1;
        if (reaped > 0 && usage.ru_maxrss > 0) {
            process->resident_bytes_peak = (uint64_t)usage.ru_maxrss * 1024;
        }
        /* A host program that ignores SIGCHLD has its children reaped by the kernel. */
        bool is_gone = reaped != 0;
        if (!is_gone && rp_clock_ns() > patience_ns) kill(process->pid, SIGKILL);
        if (is_gone) process->pid = 0;
        rp_lock_release(&process->lock);
        if (is_gone) return reaped < 0 ? -1 : wait_status;
        struct timespec span = {0, REAP_MS * 1000000L};
        nanosleep(&span, NULL);
    }
}

/* Say what became of it to all who have a model in it. */
static void bury(struct rp_process *process) {
    int wait_status = reap(process);
    if (process->printed_fd >= 0) read_printed(process);
    struct end end = find_end(process, wait_status);
    if (end.oom_kills > 0) look_at_memory(process, &end);
    rp_lock_acquire(&process->lock);
    process->is_ending = true;
    bool was_alone = process->live_count == 1;
    for (struct rp_worker *worker = process->workers; worker; worker = worker->next) {
        if (worker->state == RP_WORKER_GONE) continue;
        rp_error story = RP_ERROR_INIT;
        tell_end(worker, &end, &story);
        bool has_crashed = !worker->is_stopping && process->pid_shown > 0;
        rp_worker_set_gone(worker, &story);
        if (has_crashed && worker->crashed) {
            worker->crashed(worker->user, worker, &story, was_alone);
        }
    }
    rp_lock_release(&process->lock);
    rp_worker_group_remove(&process->group);
    rp_lock_acquire(&process->lock);
    process->is_over = true;
    rp_condition_broadcast(&process->changed);
    rp_lock_release(&process->lock);
}

/* ---- the minder ---- */

/* Nothing sensible will come from it any more: that is the story of its models. */
static void give_up(struct rp_process *process, const rp_error *why) {
    process->why = *why;
    rp_lock_acquire(&process->lock);
    rp_process_end(process);
    rp_lock_release(&process->lock);
}

static struct rp_worker *find_worker(struct rp_process *process, uint32_t number) {
    struct rp_worker *worker = process->workers;
    while (worker && worker->number != number) {
        worker = worker->next;
    }
    return worker;
}

/* A ring that the worker cannot serve: its client learns that, nobody else. */
static void refuse_ring(struct rp_process *process, uint32_t id, const rp_error *why) {
    for (struct rp_worker *worker = process->workers; worker; worker = worker->next) {
        for (struct rp_kept_ring *ring = worker->rings; ring; ring = ring->next) {
            if (ring->id == id) rp_ring_tell_story(&ring->ring, why);
        }
    }
}

/* One frame about a model or a ring. Needs process.lock. */
static rp_status heed(struct rp_process *process, const struct rp_message *message, rp_error *err) {
    struct rp_worker *worker = find_worker(process, message->number);
    rp_error story = RP_ERROR_INIT;
    if (message->type == RP_MESSAGE_LOADED && worker && worker->state == RP_WORKER_LOADING) {
        rp_status status = rp_worker_take_facts(worker, message, err);
        if (status != RP_OK) return status;
        worker->state = RP_WORKER_READY;
        rp_condition_broadcast(&process->changed);
    } else if (message->type == RP_MESSAGE_FAILED) {
        rp_error_from_text(&message->failed, &story);
        if (worker && worker->state == RP_WORKER_LOADING) {
            rp_worker_set_gone(worker, &story);
        } else if (!worker) {
            refuse_ring(process, message->number, &story);
        }
    } else if (message->type == RP_MESSAGE_DONE && worker && worker->is_stopping) {
        rp_worker_tell_stop(worker, &story);
        rp_worker_set_gone(worker, &story);
    }
    return RP_OK;
}

/* One frame; false when there will be no more. */
static bool hear(struct rp_process *process, unsigned char *frame) {
    size_t bytes = 0;
    struct rp_descriptors descriptors = {.count = 0};
    struct rp_message message;
    rp_error why = RP_ERROR_INIT;
    rp_status status = rp_channel_receive(process->channel, frame, &bytes, &descriptors, 0, &why);
    if (status == RP_ERR_TIMEOUT) return true;
    if (status == RP_ERR_STATE) return false;
    rp_descriptors_close(&descriptors);
    if (status == RP_OK) status = rp_frame_parse(frame, bytes, &message, &why);
    if (status == RP_OK) {
        rp_lock_acquire(&process->lock);
        status = heed(process, &message, &why);
        rp_lock_release(&process->lock);
    }
    if (status == RP_OK) return true;
    rp_error_prefix(&why, "a worker sent nonsense");
    give_up(process, &why);
    return false;
}

static bool start_child(struct rp_process *process, rp_error *err) {
    char group[RP_CGROUP_FOLDER_BYTES + 80] = "";
    pid_t parent = getpid();
    if (process->group.version != 0) rp_worker_group_file(&process->group, group);
    pid_t pid = fork();
    if (pid == 0) become_worker(process, group, parent);
    if (pid < 0) rp_fail_errno(err, "cannot start a process for a model");
    rp_lock_acquire(&process->lock);
    process->pid = pid > 0 ? pid : 0;
    process->pid_shown = process->pid;
    /* Nobody may want it any more: the hang-up of its channel ends it. */
    rp_lock_release(&process->lock);
    return pid > 0;
}

static void close_child_ends(struct rp_process *process) {
    if (process->child_channel >= 0) close(process->child_channel);
    if (process->child_printed >= 0) close(process->child_printed);
    process->child_channel = process->child_printed = -1;
}

/* ---- what it has no room for yet ---- */

static void free_first_waiting(struct rp_process *process) {
    struct rp_waiting_frame *first = process->waiting;
    process->waiting = first->next;
    process->waiting_count--;
    rp_descriptors_close(&first->descriptors);
    rp_free(first);
}

/* What was kept goes first. False: there is no room for it yet. Needs process.lock. */
static bool send_waiting(struct rp_process *process) {
    while (process->waiting) {
        struct rp_waiting_frame *first = process->waiting;
        rp_status status = rp_channel_send(process->channel, first->frame, first->bytes,
                                           &first->descriptors, 0, NULL);
        if (status == RP_ERR_TIMEOUT) return false;
        free_first_waiting(process); /* a process that has gone needs it no more */
    }
    return true;
}

static rp_status keep_waiting(struct rp_process *process, uint32_t ring_id,
                              const unsigned char *frame, size_t bytes,
                              const struct rp_descriptors *descriptors, rp_error *err) {
    if (process->waiting_count >= WAITING_MAX) {
        return rp_fail(err, RP_ERR_LIMIT, "a worker has %d frames to read, the limit", WAITING_MAX);
    }
    struct rp_waiting_frame *kept = rp_alloc(sizeof *kept + bytes);
    if (!kept) return rp_fail(err, RP_ERR_MEMORY, "no memory for a frame");
    kept->ring_id = ring_id;
    kept->bytes = bytes;
    memcpy(kept->frame, frame, bytes);
    for (size_t i = 0; descriptors && i < descriptors->count; i++) {
        int fd = fcntl(descriptors->fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            rp_status status = rp_fail_errno(err, "cannot keep a descriptor for a worker");
            rp_descriptors_close(&kept->descriptors);
            rp_free(kept);
            return status;
        }
        kept->descriptors.fds[kept->descriptors.count++] = fd;
    }
    struct rp_waiting_frame **last = &process->waiting;
    while (*last) {
        last = &(*last)->next;
    }
    *last = kept;
    process->waiting_count++;
    const uint64_t one = 1;
    ssize_t written = write(process->poke_fd, &one, sizeof one);
    (void)written; /* full: then it is poked already */
    return RP_OK;
}

/* A ring that the worker has not heard of needs not be closed. Needs process.lock. */
static bool forget_waiting_ring(struct rp_process *process, uint32_t ring_id) {
    for (struct rp_waiting_frame **at = &process->waiting; *at; at = &(*at)->next) {
        struct rp_waiting_frame *kept = *at;
        if (kept->ring_id != ring_id) continue;
        *at = kept->next;
        process->waiting_count--;
        rp_descriptors_close(&kept->descriptors);
        rp_free(kept);
        return true;
    }
    return false;
}

/* The minder was poked, or there is room: what is left to send. */
static bool has_waiting(struct rp_process *process) {
    uint64_t count;
    ssize_t got = read(process->poke_fd, &count, sizeof count);
    (void)got; /* nothing there: a look costs little */
    rp_lock_acquire(&process->lock);
    bool is_left = !send_waiting(process);
    rp_lock_release(&process->lock);
    return is_left;
}

static void *mind(void *argument) {
    struct rp_process *process = argument;
    bool is_left = false;
    rp_error why = RP_ERROR_INIT;
    unsigned char *frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    if (!frame) rp_fail(&why, RP_ERR_MEMORY, "no memory for a frame of a worker's");
    bool is_started = frame && start_child(process, &why);
    close_child_ends(process);
    if (!is_started) give_up(process, &why);
    while (is_started) {
        short wanted = is_left ? POLLIN | POLLOUT : POLLIN;
        struct pollfd polled[3] = {{process->channel, wanted, 0},
                                   {process->printed_fd, POLLIN, 0},
                                   {process->poke_fd, POLLIN, 0}};
        if (poll(polled, 3, -1) < 0 && errno != EINTR) break;
        if (polled[1].revents && !read_printed(process)) {
            close(process->printed_fd);
            process->printed_fd = -1;
        }
        if (polled[0].revents & ~POLLOUT && !hear(process, frame)) break;
        if (is_left || polled[2].revents) is_left = has_waiting(process);
    }
    rp_free(frame);
    bury(process);
    return NULL;
}

/* ---- the calls ---- */

static rp_status open_pipes(struct rp_process *process, rp_error *err) {
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
    process->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    process->channel = pair[0];
    process->child_channel = pair[1];
    process->printed_fd = printed[0];
    process->child_printed = printed[1];
    if (process->poke_fd < 0) return rp_fail_errno(err, "cannot make an eventfd for a worker");
    return RP_OK;
}

rp_status rp_process_start(struct rp_process *process, rp_error *err) {
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int rc = pthread_attr_init(&attributes);
    if (rc == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        /* Signals are for the threads that know what to do with them. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&process->minder, &attributes, mind, process);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    process->has_minder = rc == 0;
    if (rc == 0) return RP_OK;
    errno = rc;
    return rp_fail_errno(err, "cannot start a thread for a worker");
}

void rp_process_destroy(struct rp_process *process) {
    if (process->has_minder) pthread_join(process->minder, NULL);
    rp_worker_group_remove(&process->group);
    if (process->channel >= 0) close(process->channel);
    if (process->printed_fd >= 0) close(process->printed_fd);
    if (process->poke_fd >= 0) close(process->poke_fd);
    while (process->waiting) {
        free_first_waiting(process);
    }
    close_child_ends(process);
    rp_condition_fini(&process->changed);
    rp_lock_fini(&process->lock);
    rp_free(process->environment);
    rp_free(process->program);
    rp_free(process);
}

rp_status rp_process_create(const struct rp_worker_request *request, struct rp_process **process,
                            rp_error *err) {
    struct rp_process *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for a worker");
    rp_lock_init(&made->lock);
    rp_condition_init(&made->changed);
    made->channel = made->printed_fd = made->child_channel = made->child_printed = -1;
    made->poke_fd = -1;
    made->oom_kills = count_oom_kills();
    made->resident_bytes_peak = RP_UNKNOWN_U64;
    made->environment = make_environment();
    made->program = rp_strdup(request->program);
    made->limit_bytes = request->limit_bytes;
    rp_status status = made->environment && made->program
                           ? open_pipes(made, err)
                           : rp_fail(err, RP_ERR_MEMORY, "no memory for a worker");
    if (status == RP_OK && request->groups) {
        uint64_t limit = request->limit_bytes > 0 ? request->limit_bytes : RP_UNKNOWN_U64;
        rp_worker_group_make(request->groups, limit, &made->group);
    }
    if (status == RP_OK) {
        *process = made;
    } else {
        rp_process_destroy(made);
    }
    return status;
}

rp_status rp_process_send(struct rp_process *process, const struct rp_message *message,
                          const struct rp_descriptors *descriptors, rp_error *err) {
    assert(rp_lock_is_held(&process->lock));
    unsigned char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes = 0;
    uint32_t ring_id = message->type == RP_MESSAGE_RING ? message->number : 0;
    if (message->type == RP_MESSAGE_RING_CLOSE &&
        forget_waiting_ring(process, (uint32_t)message->ring_close.ring_id)) {
        return RP_OK;
    }
    rp_status status = rp_frame_write(message, frame, &bytes, err);
    if (status != RP_OK) return status;
    if (send_waiting(process)) {
        status = rp_channel_send(process->channel, frame, bytes, descriptors, 0, err);
        if (status != RP_ERR_TIMEOUT) return status;
    }
    return keep_waiting(process, ring_id, frame, bytes, descriptors, err);
}
