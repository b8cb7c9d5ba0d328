/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child is forked without exec: there is no helper program that a library could rely on, and the
 * child needs the environment, the working folder and the code of its parent anyway.
 *
 * In a process with several threads POSIX lets such a child call little. What makes it work with
 * glibc: fork() takes the locks of malloc and stdio for the moment, and the loader's lock is new in
 * the child, so that memory, text and dlopen() are usable; this library's own locks are either not
 * taken on the way from here to ask(), or have fork handlers (detect.c). What remains is another
 * thread that was in the middle of dlopen(), or a vendor's library that was in use here already and
 * does not survive fork() (CUDA says so itself). For both there is the deadline: the worst
 * that comes of it is a kind that is reported as not answering.
 *
 * The child says what it has to say through a pipe, in frames (child.h), and ends by _exit(). Its
 * answer is complete when its last frame is, not when the pipe ends: what a driver left running in
 * the background may hold that open. It is killed then like one that is late, with all of its
 * process group.
 */
#include "hardware/child.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/proc.h"
#include "hardware/snapshot_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <resourcepool/text.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    /* What a driver printed: the end of it is kept. */
    STDERR_BYTES = 512,
    /* How long a killed child may take to be gone before it is left to a later call. */
    REAP_MS = 50,
    /* How long one whose pipe has ended may take to end itself. */
    END_MS = 200,
    /* Children that the kernel did not let die. */
    STRAYS_MAX = 32,
    /* Where the child's pipe stands in it. */
    ANSWER_FD = 3,
};

struct child {
    struct rp_question *question; /* NULL: none was started, or it is done */
    pid_t pid;
    int answer_fd; /* -1: closed */
    int stderr_fd; /* -1: closed */
    int64_t start_ns;
    int64_t deadline_ns;
    struct rp_inbox inbox;
    char printed[STDERR_BYTES];
    size_t printed_used;
};

/* --- frames -------------------------------------------------------------------------------- */

static uint32_t read_u32(const unsigned char *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The head of a frame is whole: make room for what follows. */
static rp_status open_frame(struct rp_inbox *inbox, rp_error *err) {
    uint32_t type = read_u32(inbox->head);
    inbox->length = read_u32(inbox->head + 4);
    inbox->used = 0;
    bool fits = type == RP_FRAME_STEP     ? inbox->length < RP_CHILD_STEP_BYTES
                : type == RP_FRAME_ANSWER ? inbox->length <= RP_LIMIT_SNAPSHOT_BYTES
                                          : false;
    if (!fits) {
        inbox->is_damaged = true;
        return RP_OK;
    }
    if (type == RP_FRAME_STEP) return RP_OK;
    inbox->answer = rp_alloc(inbox->length + 1);
    return inbox->answer ? RP_OK : rp_fail_no_memory(err);
}

static void close_frame(struct rp_inbox *inbox) {
    inbox->head_used = 0;
    if (inbox->answer) {
        inbox->is_complete = true;
        return;
    }
    inbox->step_arriving[inbox->length] = '\0';
    memcpy(inbox->step, inbox->step_arriving, sizeof inbox->step);
    rp_text_make_printable(inbox->step);
}

rp_status rp_inbox_feed(struct rp_inbox *inbox, const char *bytes, size_t length, rp_error *err) {
    while (length > 0 && !inbox->is_complete && !inbox->is_damaged) {
        bool in_head = inbox->head_used < RP_FRAME_HEAD_BYTES;
        size_t wanted =
            in_head ? RP_FRAME_HEAD_BYTES - inbox->head_used : inbox->length - inbox->used;
        size_t taken = length < wanted ? length : wanted;
        if (in_head) {
            memcpy(inbox->head + inbox->head_used, bytes, taken);
            inbox->head_used += taken;
            if (taken == wanted) {
                rp_status status = open_frame(inbox, err);
                if (status != RP_OK) {
                    inbox->is_damaged = true;
                    return status;
                }
            }
        } else {
            char *at = inbox->answer ? inbox->answer : inbox->step_arriving;
            memcpy(at + inbox->used, bytes, taken);
            inbox->used += taken;
        }
        bytes += taken;
        length -= taken;
        bool is_whole = inbox->head_used == RP_FRAME_HEAD_BYTES && inbox->used == inbox->length;
        if (is_whole && !inbox->is_damaged) close_frame(inbox);
    }
    return RP_OK;
}

void rp_inbox_fini(struct rp_inbox *inbox) {
    rp_free(inbox->answer);
    *inbox = (struct rp_inbox){0};
}

rp_status rp_child_read_answer(const char *json, size_t length, rp_device_kind kind,
                               struct rp_snapshot **answer, rp_error *err) {
    struct rp_snapshot *snapshot = NULL;
    rp_status status = rp_snapshot_parse(json, length, "answer", &snapshot, err);
    if (status != RP_OK) return status;
    const char *name = rp_device_kind_name(kind);
    if (snapshot->device_count == 0 && snapshot->absent_count == 0) {
        status = rp_fail(err, RP_ERR_DATA, "it told of no %s device and of no reason", name);
    }
    for (size_t i = 0; status == RP_OK && i < snapshot->device_count; i++) {
        if (snapshot->devices[i]->kind == kind) continue;
        status = rp_fail(err, RP_ERR_DATA, "asked for %s it told of '%s'", name,
                         snapshot->devices[i]->id);
    }
    for (size_t i = 0; status == RP_OK && i < snapshot->absent_count; i++) {
        if (snapshot->absences[i]->kind == kind) continue;
        status = rp_fail(err, RP_ERR_DATA, "asked for %s it told of another kind", name);
    }
    if (status != RP_OK) {
        rp_snapshot_release(snapshot);
        return status;
    }
    *answer = snapshot;
    return RP_OK;
}

/* --- in the child -------------------------------------------------------------------------- */

static int frames_fd = -1; /* the pipe; -1 in every process that is no child of this kind */

static void send_bytes(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t sent = write(frames_fd, at, length);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return; /* the parent sees that it is not whole */
        at += sent;
        length -= (size_t)sent;
    }
}

static void send_frame(uint32_t type, const char *bytes, size_t length) {
    uint32_t head[2] = {type, (uint32_t)length};
    _Static_assert(sizeof head == RP_FRAME_HEAD_BYTES, "the head of a frame");
    send_bytes(head, sizeof head);
    send_bytes(bytes, length);
}

void rp_child_step(const char *what) {
    if (frames_fd < 0) return;
    size_t length = strlen(what);
    send_frame(RP_FRAME_STEP, what,
               length < RP_CHILD_STEP_BYTES ? length : RP_CHILD_STEP_BYTES - 1);
}

/* Without a list of what is open. Old kernels have no close_range(); nor do some sandboxes. */
static void close_all(void) {
    if (close_range(ANSWER_FD + 1, UINT_MAX, 0) == 0) return;
    struct rlimit limit;
    rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
    if (end > 65536) end = 65536;
    for (int fd = ANSWER_FD + 1; fd < (int)end; fd++) {
        close(fd);
    }
}

/*
 * A vendor's library that the parent uses already is the same one in the child, and believes that
 * its devices are open. From 195 on stand NVIDIA's, DRM's and those that are numbered as they come.
 */
static bool is_gpu(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISCHR(info.st_mode) && major(info.st_rdev) >= 195;
}

/* Everything above the pipe but GPUs: files, sockets and locks of the parent are not ours to hold.
 */
static void close_rest(void) {
    DIR *stream = opendir("/proc/self/fd");
    if (!stream) {
        close_all();
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(stream))) { /* NOLINT(concurrency-mt-unsafe): one thread is left */
        uint64_t number;
        if (!rp_text_parse_u64(entry->d_name, &number) || number > INT_MAX) continue;
        int fd = (int)number;
        if (fd > ANSWER_FD && fd != dirfd(stream) && !is_gpu(fd)) close(fd);
    }
    closedir(stream);
}

/* The pipes come from the parent and stand above ANSWER_FD. False: this child is of no use. */
static bool arrange_descriptors(int answer_fd, int stderr_fd) {
    int nothing = open("/dev/null", O_RDWR);
    if (nothing >= 0 && nothing <= ANSWER_FD) {
        int above = fcntl(nothing, F_DUPFD, ANSWER_FD + 1);
        close(nothing);
        nothing = above;
    }
    if (dup2(answer_fd, ANSWER_FD) < 0 || dup2(stderr_fd, STDERR_FILENO) < 0) return false;
    /* What the driver starts with exec does not hold the pipe. */
    fcntl(ANSWER_FD, F_SETFD, FD_CLOEXEC);
    if (nothing >= 0) {
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
    } else {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
    }
    close_rest();
    return true;
}

/* Handlers of the parent's are for the parent: here a crash is to end the process, at once. */
static void reset_signals(void) {
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0 || action.sa_handler == SIG_DFL) continue;
        if (action.sa_handler == SIG_IGN && number != SIGCHLD) continue;
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* The kind's devices of before, with the figures of now; one that cannot be read stays as it was.
 */
static rp_status refresh(const struct rp_question *question, struct rp_snapshot *snapshot,
                         rp_error *err) {
    const rp_snapshot *previous = question->previous;
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < previous->device_count; i++) {
        if (previous->devices[i]->kind != question->ops->kind) continue;
        rp_device *device = rp_snapshot_copy_device(snapshot, previous->devices[i]);
        if (!device) return rp_fail_no_memory(err);
        rp_error why = RP_ERROR_INIT;
        status = question->ops->refresh(snapshot, device, &why);
        if (status != RP_OK) {
            status = rp_snapshot_add_note(snapshot, err, "%s: figures are old: %s", device->id,
                                          why.message);
        }
        if (status == RP_OK) status = rp_snapshot_add_device(snapshot, device, err);
    }
    if (question->ops->close) question->ops->close();
    return status;
}

/* Ask, and send the answer. A failure is an absence with its reason: one form for both. */
static bool answer(const struct rp_question *question) {
    rp_error why = RP_ERROR_INIT;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    char *json = NULL;
    if (!snapshot) return false;
    rp_status status =
        question->previous ? refresh(question, snapshot, &why) : question->ops->ask(snapshot, &why);
    if (status == RP_ERR_MEMORY) return false;
    if (status != RP_OK) {
        const rp_absence absence = {
            .kind = question->ops->kind,
            .reason = why.message,
            .hint = why.hint[0] != '\0' ? why.hint : NULL,
        };
        snapshot->device_count = 0; /* half of them would be a guess */
        if (rp_snapshot_copy_absence(snapshot, &absence, NULL) != RP_OK) return false;
    }
    if (rp_snapshot_to_json(snapshot, 0, &json, NULL) != RP_OK) return false;
    send_frame(RP_FRAME_ANSWER, json, strlen(json));
    return true;
}

enum { EXIT_ANSWERED = 0, EXIT_NO_MEMORY = 111, EXIT_NO_DESCRIPTORS = 112 };

_Noreturn static void run_child(const struct rp_question *question, int answer_fd, int stderr_fd,
                                pid_t parent) {
    setpgid(0, 0);
    /* Should the parent be killed meanwhile, it may already be gone. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(EXIT_NO_MEMORY);
    /*
     * No core files, and no crash reports, of a driver: 0 does not stop the kernel from starting
     * the program that collects them, 1 does.
     */
    const struct rlimit no_core = {1, 1};
    setrlimit(RLIMIT_CORE, &no_core);
    if (!arrange_descriptors(answer_fd, stderr_fd)) _exit(EXIT_NO_DESCRIPTORS);
    frames_fd = ANSWER_FD;
    reset_signals();
    _exit(answer(question) ? EXIT_ANSWERED : EXIT_NO_MEMORY);
}

/* --- children that do not die -------------------------------------------------------------- */

static pthread_mutex_t strays_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t strays[STRAYS_MAX]; /* guarded by strays_lock; 0: free */
static pid_t strays_parent;      /* guarded by strays_lock: a child of fork() has none of them */

/*
 * Of a fork in another thread the child may get this mutex locked: it is only tried, and who does
 * not get it leaves the zombie to the next call.
 */
static void reap_strays(pid_t newcomer) {
    if (pthread_mutex_trylock(&strays_lock) != 0) return;
    if (strays_parent != getpid()) {
        memset(strays, 0, sizeof strays);
        strays_parent = getpid();
    }
    for (size_t i = 0; i < STRAYS_MAX; i++) {
        if (strays[i] != 0 && waitpid(strays[i], NULL, WNOHANG) != 0) strays[i] = 0;
        if (strays[i] != 0 || newcomer == 0) continue;
        strays[i] = newcomer;
        newcomer = 0;
    }
    pthread_mutex_unlock(&strays_lock);
}

/* --- in the parent ------------------------------------------------------------------------- */

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* A pipe that no program started meanwhile inherits; its writing end stands clear of 0 to 3. */
static bool open_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ends[0] = ends[1] = -1;
        return false;
    }
    if (ends[1] <= ANSWER_FD) {
        int above = fcntl(ends[1], F_DUPFD_CLOEXEC, ANSWER_FD + 1);
        if (above < 0) {
            close_fd(&ends[0]);
            close_fd(&ends[1]);
            return false;
        }
        close(ends[1]);
        ends[1] = above;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return true;
}

static int64_t limit_ms(const struct rp_question *question) {
    const struct rp_device_ops *ops = question->ops;
    bool is_slow = ops->when == RP_ASK_SLOW;
    int64_t ms = ops->ask_ms_max > 0 ? ops->ask_ms_max : is_slow ? RP_CHILD_SLOW_MS : RP_CHILD_MS;
    return question->is_patient && ms < RP_CHILD_SLOW_MS ? RP_CHILD_SLOW_MS : ms;
}

static void start(struct rp_question *question, struct child *child) {
    int answer_ends[2] = {-1, -1};
    int stderr_ends[2] = {-1, -1};
    const char *name = question->ops->name;
    *child = (struct child){.answer_fd = -1, .stderr_fd = -1, .start_ns = rp_clock_ns()};
    if (!open_pipe(answer_ends) || !open_pipe(stderr_ends)) {
        rp_fail_errno(&question->why, "cannot ask %s: no pipe to a child process", name);
        close_fd(&answer_ends[0]);
        close_fd(&answer_ends[1]);
        return;
    }
    /* A handler of the parent's must not run in the child: until it has none, nothing arrives. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) run_child(question, answer_ends[1], stderr_ends[1], parent);
    int os_errno = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close_fd(&answer_ends[1]);
    close_fd(&stderr_ends[1]);
    if (pid < 0) {
        errno = os_errno;
        rp_fail_errno(&question->why, "cannot ask %s: no child process", name);
        close_fd(&answer_ends[0]);
        close_fd(&stderr_ends[0]);
        return;
    }
    setpgid(pid, pid); /* whoever is first; the other fails, and that is fine */
    child->question = question;
    child->pid = pid;
    child->answer_fd = answer_ends[0];
    child->stderr_fd = stderr_ends[0];
    child->deadline_ns = rp_deadline_after_ms(limit_ms(question));
}

/* Keep the end of what a driver prints. */
static void keep_printed(struct child *child, const char *bytes, size_t length) {
    size_t room = sizeof child->printed - child->printed_used;
    if (length >= sizeof child->printed) {
        memcpy(child->printed, bytes + length - sizeof child->printed, sizeof child->printed);
        child->printed_used = sizeof child->printed;
        return;
    }
    if (length > room) {
        size_t gone = length - room;
        memmove(child->printed, child->printed + gone, child->printed_used - gone);
        child->printed_used -= gone;
    }
    memcpy(child->printed + child->printed_used, bytes, length);
    child->printed_used += length;
}

/*
 * Read what is there. False: the pipe has ended. An endless writer is held back after a while, so
 * that the deadlines of all are looked at.
 */
static bool drain(struct child *child, int fd, bool is_answer, rp_status *status, rp_error *err) {
    for (int rounds = 0; rounds < 16; rounds++) {
        char bytes[16 << 10];
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN;
        if (got == 0) return false;
        if (is_answer) {
            *status = rp_inbox_feed(&child->inbox, bytes, (size_t)got, err);
            if (*status != RP_OK) return false;
        } else {
            keep_printed(child, bytes, (size_t)got);
        }
    }
    return true;
}

/* The last line that is not empty, for the end of a reason: "; it said: '...'". */
static void quote_printed(const struct child *child, char *out, size_t out_bytes) {
    struct rp_span rest = {child->printed, child->printed_used};
    struct rp_span line;
    struct rp_span last = {NULL, 0};
    out[0] = '\0';
    while (rp_span_next_line(&rest, &line)) {
        line = rp_span_trim(line);
        if (line.length > 0) last = line;
    }
    if (last.length == 0) return;
    int shown = last.length < 100 ? (int)last.length : 100;
    snprintf(out, out_bytes, "; it said: '%.*s'", shown, last.at);
}

static void name_signal(int number, char *out, size_t out_bytes) {
    const char *name = sigabbrev_np(number);
    if (name) {
        snprintf(out, out_bytes, "SIG%s", name);
    } else {
        snprintf(out, out_bytes, "signal %d", number);
    }
}

/* How a child ended that did not answer. */
static void explain(struct child *child, bool is_late, bool is_known, int wait_status) {
    struct rp_question *question = child->question;
    const char *name = question->ops->name;
    char where[RP_CHILD_STEP_BYTES + 8] = "";
    char said[128];
    char signal_name[32];
    if (child->inbox.step[0]) snprintf(where, sizeof where, " in %s", child->inbox.step);
    quote_printed(child, said, sizeof said);
    question->is_harmful = true;
    if (is_late) {
        int64_t ms = limit_ms(question);
        rp_fail(&question->why, RP_ERR_TIMEOUT, "%s did not answer within %lld %s: it hangs%s%s",
                name, (long long)(ms % 1000 == 0 ? ms / 1000 : ms), ms % 1000 == 0 ? "s" : "ms",
                where, said);
        rp_hint(&question->why,
                question->is_patient
                    ? "the kernel's log ('dmesg') may say what its driver waits for"
                    : "'rpool hardware --all' waits longer, as for GPUs that must wake up first");
    } else if (child->inbox.is_damaged) {
        rp_fail(&question->why, RP_ERR_DATA, "%s answered with what is no answer%s%s", name, where,
                said);
    } else if (is_known && WIFSIGNALED(wait_status)) {
        name_signal(WTERMSIG(wait_status), signal_name, sizeof signal_name);
        rp_fail(&question->why, RP_ERR_IO, "%s crashed (%s)%s%s", name, signal_name, where, said);
        rp_hint(&question->why, "reinstall its driver, or look into the kernel's log ('dmesg')");
    } else if (is_known && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_NO_MEMORY) {
        question->is_harmful = false;
        rp_fail(&question->why, RP_ERR_IO, "%s could not be asked: no memory in its child process",
                name);
    } else if (is_known && WIFEXITED(wait_status)) {
        rp_fail(&question->why, RP_ERR_IO,
                "%s ended the process that asked it (exit status %d)%s%s", name,
                WEXITSTATUS(wait_status), where, said);
    } else {
        /* Somebody else took its status: a handler of SIGCHLD, or SIG_IGN. */
        rp_fail(&question->why, RP_ERR_IO, "%s ended the process that asked it%s%s", name, where,
                said);
    }
}

/*
 * Kill what is left of a child and its group, and take its status. Until then its number cannot
 * stand for another process, unless somebody else waited for it.
 */
static bool reap(pid_t pid, int *wait_status) {
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL); /* in case it was too early for the group */
    int64_t deadline_ns = rp_deadline_after_ms(REAP_MS);
    for (;;) {
        pid_t got = waitpid(pid, wait_status, WNOHANG);
        if (got == pid) return true;
        if (got < 0 && errno != EINTR) return false;
        if (rp_clock_ns() >= deadline_ns) break;
        const struct timespec nap = {0, 200000};
        nanosleep(&nap, NULL);
    }
    reap_strays(pid);
    return false;
}

/* A child is done, in one of three ways: it answered, its pipe ended, or it is late. */
static rp_status finish(struct child *child, bool is_late, rp_error *err) {
    struct rp_question *question = child->question;
    int wait_status = 0;
    bool is_known = false;
    question->ms = rp_elapsed_ms(child->start_ns, rp_clock_ns());
    bool is_answered = child->inbox.is_complete;
    if (!is_answered && !is_late && !child->inbox.is_damaged) {
        /* It ends by itself now: its own status is the reason, so it is not killed at once. */
        int64_t deadline_ns = rp_deadline_after_ms(END_MS);
        pid_t got;
        do {
            got = waitpid(child->pid, &wait_status, WNOHANG);
            if (got != 0) break;
            const struct timespec nap = {0, 200000};
            nanosleep(&nap, NULL);
        } while (rp_clock_ns() < deadline_ns);
        is_known = got == child->pid;
        /* Its group may still have others, which keep its number from being used again. */
        if (is_known) kill(-child->pid, SIGKILL);
        if (got == 0) reap(child->pid, &wait_status);
    } else {
        reap(child->pid, &wait_status);
    }
    rp_status status = RP_OK;
    rp_status memory = RP_OK;
    if (child->stderr_fd >= 0) drain(child, child->stderr_fd, false, &memory, NULL);
    if (is_answered) {
        rp_error why = RP_ERROR_INIT;
        status = rp_child_read_answer(child->inbox.answer, child->inbox.used, question->ops->kind,
                                      &question->answer, &why);
        if (status == RP_ERR_MEMORY) {
            if (err) *err = why;
        } else if (status != RP_OK) {
            status = RP_OK;
            rp_error_prefix(&why, "%s answered with what is no answer", question->ops->name);
            question->why = why;
        }
    } else {
        explain(child, is_late, is_known, wait_status);
    }
    close_fd(&child->answer_fd);
    close_fd(&child->stderr_fd);
    rp_inbox_fini(&child->inbox);
    child->question = NULL;
    return status;
}

/* Wait until something moves, and look at who it was. */
static rp_status turn(struct child *children, size_t count, struct pollfd *polls, rp_error *err) {
    int64_t now_ns = rp_clock_ns();
    int64_t next_ns = RP_NEVER_NS;
    for (size_t i = 0; i < count; i++) {
        bool is_open = children[i].question != NULL;
        polls[2 * i] = (struct pollfd){is_open ? children[i].answer_fd : -1, POLLIN, 0};
        polls[2 * i + 1] = (struct pollfd){is_open ? children[i].stderr_fd : -1, POLLIN, 0};
        if (is_open && children[i].deadline_ns < next_ns) next_ns = children[i].deadline_ns;
    }
    int64_t ms = next_ns > now_ns ? (next_ns - now_ns) / 1000000 + 1 : 0;
    int rc = poll(polls, (nfds_t)(2 * count), ms < INT_MAX ? (int)ms : INT_MAX);
    if (rc < 0 && errno != EINTR) {
        /* No memory in the kernel: a short sleep, and the deadlines hold as before. */
        const struct timespec nap = {0, 1000000};
        nanosleep(&nap, NULL);
    }
    now_ns = rp_clock_ns();
    rp_status status = RP_OK;
    for (size_t i = 0; i < count && status == RP_OK; i++) {
        struct child *child = &children[i];
        if (!child->question) continue;
        bool is_open = true;
        if (rc > 0 && polls[2 * i + 1].revents != 0 &&
            !drain(child, child->stderr_fd, false, &status, err)) {
            close_fd(&child->stderr_fd);
        }
        if (rc > 0 && polls[2 * i].revents != 0) {
            is_open = drain(child, child->answer_fd, true, &status, err);
        }
        if (status != RP_OK) break;
        bool is_done = !is_open || child->inbox.is_complete || child->inbox.is_damaged;
        if (is_done || now_ns >= child->deadline_ns) status = finish(child, !is_done, err);
    }
    return status;
}

static bool is_waiting(const struct child *children, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (children[i].question) return true;
    }
    return false;
}

rp_status rp_questions_ask(struct rp_question *questions, size_t count, rp_error *err) {
    for (size_t i = 0; i < count; i++) {
        questions[i].answer = NULL;
        questions[i].why = (rp_error)RP_ERROR_INIT;
        questions[i].ms = 0;
    }
    if (count == 0) return RP_OK;
    struct child *children = rp_alloc_array(count, sizeof *children);
    struct pollfd *polls = rp_alloc_array(2 * count, sizeof *polls);
    rp_status status = children && polls ? RP_OK : rp_fail_no_memory(err);
    if (status == RP_OK) {
        reap_strays(0);
        for (size_t i = 0; i < count; i++) {
            start(&questions[i], &children[i]);
        }
        while (status == RP_OK && is_waiting(children, count)) {
            status = turn(children, count, polls, err);
        }
        for (size_t i = 0; i < count; i++) { /* after a failure: the others are ended */
            int wait_status;
            if (!children[i].question) continue;
            reap(children[i].pid, &wait_status);
            close_fd(&children[i].answer_fd);
            close_fd(&children[i].stderr_fd);
            rp_inbox_fini(&children[i].inbox);
        }
    }
    rp_free(polls);
    rp_free(children);
    return status;
}

void rp_questions_fini(struct rp_question *questions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        rp_snapshot_release(questions[i].answer);
        questions[i].answer = NULL;
    }
}
