/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A launcher whose child runs is a go-between: signals that came for it alone go on to the child,
 * the child's stops and its end become its own. Everything else the two have in common: terminal,
 * descriptors, and where the kernel allows it the process group.
 */
#include "launcher.h"

#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_S = 150, QUIET_MS = 1000 };

static sigset_t before;
static uint64_t ignored_before;

struct wait {
    int connection; /* -1: whoever could tell the end has gone */
    int signals;
    int child; /* a pidfd; -1: not started */
    pid_t pid;
    pid_t keeper;
    bool is_joined; /* the child is in this process group */
    bool is_drawn;  /* a line of progress stands on the terminal */
    bool is_started;
    int stop_as;    /* the gentle stop that a SIGSTOP to the child stands for; 0: none */
    uint64_t early; /* signals that came before there was anybody to have them */
    int64_t began_ms;
    int64_t heard_ms;
    const int32_t *passed;
    size_t passed_count;
    char progress[FS_TEXT_BYTES];
};

/* --- signals that are the child's ------------------------------------------------------------ */

void wait_begin(char **argv) {
    sigset_t all;
    struct sigaction action;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    for (int i = 1; i < NSIG; i++) {
        if (sigaction(i, NULL, &action) != 0 || action.sa_handler != SIG_IGN) continue;
        ignored_before |= UINT64_C(1) << (i - 1);
        /* The child may come to handle what its caller ignores. */
        if (i != SIGCHLD) signal(i, SIG_DFL);
    }
    /* Before there is a child: it may be in our group before we hear of it. */
    witness_open(argv);
}

void wait_undo(void) {
    witness_close();
    for (int i = 1; i < NSIG; i++) {
        if (ignored_before >> (i - 1) & 1) signal(i, SIG_IGN);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

uint64_t wait_blocked(void) {
    uint64_t blocked = 0;
    for (int i = 1; i < NSIG; i++) {
        if (sigismember(&before, i) == 1) blocked |= UINT64_C(1) << (i - 1);
    }
    return blocked;
}

uint64_t wait_ignored(void) {
    return ignored_before;
}

/* --- progress -------------------------------------------------------------------------------- */

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void wipe(struct wait *wait) {
    if (wait->is_drawn) fprintf(stderr, "\r\033[K");
    wait->is_drawn = false;
}

/* What is done meanwhile, for somebody who waits at a terminal for more than a moment. */
static void draw(struct wait *wait) {
    if (!wait->progress[0] || now_ms() - wait->began_ms < QUIET_MS || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[Krpool: %.70s", wait->progress);
    wait->is_drawn = true;
}

/* --- the child's stops, and signals for it ------------------------------------------------------
 */

/* Let one signal do to this process what it does by default. */
static void take_default(int signal_number) {
    sigset_t one;
    signal(signal_number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, signal_number);
    kill(getpid(), signal_number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    sigprocmask(SIG_BLOCK, &one, NULL);
}

static bool is_stopped(pid_t pid) {
    char path[64];
    char text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[size] = '\0';
    const char *at = strrchr(text, ')');
    return at && at[1] == ' ' && at[2] == 'T';
}

/*
 * The child has stopped, and so does this process, for its shell to see; unless somebody has
 * continued both meanwhile. The stop is pending before the child is looked at, since a SIGCONT that
 * comes then takes it away.
 */
static void stop_like(pid_t child, int signal_number) {
    static const struct timespec none = {0};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal_number);
    if (signal_number != SIGSTOP) {
        signal(signal_number, SIG_DFL);
        kill(getpid(), signal_number);
    }
    witness_barrier();
    if (!is_stopped(child)) {
        sigtimedwait(&one, NULL, &none);
    } else if (signal_number == SIGSTOP) {
        kill(getpid(), SIGSTOP);
    } else {
        sigprocmask(SIG_UNBLOCK, &one, NULL);
        sigprocmask(SIG_BLOCK, &one, NULL);
    }
}

static void send_on(const struct wait *wait, int signal_number) {
    if (wait->child >= 0 &&
        syscall(SYS_pidfd_send_signal, wait->child, signal_number, NULL, 0) == 0) {
        return;
    }
    if (wait->child < 0 || errno == ENOSYS || errno == EPERM) kill(wait->pid, signal_number);
}

/*
 * Whether a signal means to a process what the process wants: it is caught, or held back for those
 * who wait for it, or (if that counts) ignored. Unknown is no.
 */
static bool minds(pid_t pid, int signal_number, bool or_ignores) {
    static const char *const names[] = {"\nSigCgt:", "\nSigBlk:", "\nSigIgn:"};
    char path[64];
    char text[4096];
    uint64_t mask = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[size] = '\0';
    for (size_t i = 0; i < (or_ignores ? 3 : 2); i++) {
        const char *at = strstr(text, names[i]);
        if (at) mask |= strtoull(at + strlen(names[i]), NULL, 16);
    }
    return (mask >> (signal_number - 1) & 1) != 0;
}

/*
 * Whether a process waits for signals. The kernel takes what is waited for out of the mask that it
 * shows. Where it does not say what a process sleeps in, nobody is found to wait.
 */
static bool waits_for_signals(pid_t pid) {
    char path[64];
    char text[64];
    snprintf(path, sizeof path, "/proc/%d/wchan", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    return strstr(text, "sigtimedwait") != NULL;
}

static bool is_gentle_stop(int signal_number) {
    return signal_number == SIGTSTP || signal_number == SIGTTIN || signal_number == SIGTTOU;
}

static bool ends_by_default(int signal_number) {
    return !is_gentle_stop(signal_number) && signal_number != SIGCONT && signal_number != SIGCHLD &&
           signal_number != SIGURG && signal_number != SIGWINCH;
}

/*
 * Whether the child has had it, as one of the group. The witness may be wrong where somebody sends
 * a signal to each process of a tree, one by one: what ends the child it gets then in any case,
 * since who was ended by it cannot be ended twice.
 */
static bool has_had(const struct wait *wait, const struct signalfd_siginfo *info, bool is_seen) {
    int number = (int)info->ssi_signo;
    if (!wait->is_joined) return false;
    /* Without a witness what the terminal sends is for the group, as nearly all of it is. */
    if (!witness_is_open()) return info->ssi_code == SI_KERNEL;
    return is_seen && (!ends_by_default(number) || minds(wait->pid, number, false) ||
                       waits_for_signals(wait->pid));
}

/* Nobody has it yet: what would end a program that only starts ends this one. */
static void keep_early(struct wait *wait, int number) {
    bool is_held = sigismember(&before, number) == 1;
    bool is_ignored = (ignored_before >> (number - 1) & 1) != 0;
    bool is_default = number == SIGINT || number == SIGTERM || number == SIGHUP ||
                      number == SIGQUIT || number == SIGTSTP;
    if (is_ignored && !is_held) return;
    if (is_default && !is_held) {
        wipe(wait);
        take_default(number);
    } else {
        wait->early |= UINT64_C(1) << (number - 1);
    }
}

static void take_signal(struct wait *wait, const struct signalfd_siginfo *info, bool is_seen) {
    int number = (int)info->ssi_signo;
    bool is_from_kernel = info->ssi_code > 0 || info->ssi_code == SI_KERNEL;
    if (number == SIGCHLD && is_from_kernel) return; /* of a child that we have not got */
    if (!wait->is_started) {
        keep_early(wait, number);
        return;
    }
    /* Woken by the keeper, since the child goes on already. */
    if (number == SIGCONT && (pid_t)info->ssi_pid == wait->keeper) return;
    if (has_had(wait, info, is_seen)) return;
    /*
     * A child in a session of its own has no shell that could continue its group, so the kernel
     * passes over the gentle stops; this process is the one that is stopped and continued.
     */
    if (is_gentle_stop(number) && !wait->is_joined && !minds(wait->pid, number, true)) {
        wait->stop_as = number;
        number = SIGSTOP;
    }
    send_on(wait, number);
}

static void take_next_signal(struct wait *wait) {
    struct signalfd_siginfo info;
    if (read(wait->signals, &info, sizeof info) != (ssize_t)sizeof info) return;
    take_signal(wait, &info, witness_saw((int)info.ssi_signo));
}

/*
 * The child was stopped in the place of this process, which stops as it was told to. The kernel may
 * know better: in a group that nobody could continue such a stop is none, here as for a plain
 * interpreter, and the child goes on.
 */
static void stop_instead(struct wait *wait) {
    sigset_t waiting;
    take_default(wait->stop_as);
    wait->stop_as = 0;
    sigemptyset(&waiting);
    sigpending(&waiting);
    /* Else it is on its way through the queue. */
    if (sigismember(&waiting, SIGCONT) != 1) send_on(wait, SIGCONT);
}

static void take_stop(struct wait *wait, int signal_number) {
    if (signal_number == SIGSTOP && wait->stop_as != 0) {
        stop_instead(wait);
    } else {
        stop_like(wait->pid, signal_number);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

static _Noreturn void end_as(int status) {
    struct rlimit none = {0, 0};
    witness_close();
    if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
    /* The child's core is the one that tells something. */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    take_default(WTERMSIG(status));
    _exit(128 + WTERMSIG(status));
}

/*
 * Server and keeper were killed both, and what becomes of the child nobody will be able to tell.
 * This process has no stderr any more: the child's is asked for, as long as it has one.
 */
static void say_lost(const struct wait *wait) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/2", (int)wait->pid);
    int fd = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    dprintf(fd, "rpool: the fork server of process %d was killed: its exit status will be lost\n",
            (int)wait->pid);
    close(fd);
}

/* --- the answers ----------------------------------------------------------------------------- */

static bool take_started(struct wait *wait, const struct fs_frame *frame, int *fds,
                         size_t fd_count) {
    if (frame->value <= 0) return false;
    wipe(wait);
    wait->pid = frame->value;
    wait->child = fd_count > 0 ? fds[0] : -1;
    wait->is_started = true;
    wait->is_joined = getpgid(wait->pid) == getpgrp();
    /* A reader of a pipe is to see its end when the child closes it. */
    for (size_t i = 0; i < wait->passed_count; i++)
        close(wait->passed[i]);
    for (int i = 1; i < NSIG; i++) {
        if (wait->early >> (i - 1) & 1) send_on(wait, i);
    }
    wait->early = 0;
    return true;
}

/* Nobody will tell the end: the launcher waits for it, if it can, and says that it knows no more.
 */
static void lose(struct wait *wait) {
    say_lost(wait);
    close(wait->connection);
    wait->connection = -1;
    if (wait->child < 0) _exit(LAUNCHER_FAILED);
}

/* While there is no child yet. False: there will be none, with why. */
static bool take_first(struct wait *wait, const struct fs_frame *frame, int *fds, size_t fd_count,
                       char why[WHY_BYTES]) {
    bool is_good = true;
    switch (frame->type) {
    case FS_STARTED:
        is_good = take_started(wait, frame, fds, fd_count);
        if (is_good && fd_count > 0) return true; /* the descriptor is kept */
        break;
    case FS_WAIT:
        memcpy(wait->progress, frame->text, sizeof wait->progress);
        draw(wait);
        break;
    case FS_REFUSED:
        snprintf(why, WHY_BYTES, "%s", frame->text);
        return false;
    case FS_ENDED:
        snprintf(why, WHY_BYTES, "the child ended before it began");
        return false;
    case FS_STOPPED: /* by somebody else, and not yet a program's */
    case FS_CONTINUED:
        break;
    default:
        is_good = false;
    }
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (!is_good) snprintf(why, WHY_BYTES, "the keeper's answer is damaged");
    return is_good;
}

/* False: nothing was started, or will be. */
static bool take_frame(struct wait *wait, char why[WHY_BYTES]) {
    struct fs_frame frame;
    int fd;
    size_t fd_count = 1;
    int rc = fs_receive(wait->connection, &frame, &fd, &fd_count);
    if (rc < 0 && errno == EAGAIN) return true;
    if (rc <= 0 && wait->is_started) {
        lose(wait);
        return true;
    }
    if (rc <= 0) {
        snprintf(why, WHY_BYTES, "%s",
                 rc == 0 ? "the server ended before it answered"
                         : "the keeper's answer is damaged");
        return false;
    }
    wait->heard_ms = now_ms();
    if (!wait->is_started) return take_first(wait, &frame, &fd, fd_count, why);
    if (fd_count > 0) close(fd);
    if (frame.type == FS_ENDED) end_as(frame.value);
    if (frame.type == FS_STOPPED) take_stop(wait, frame.value);
    return true;
}

static bool is_readable(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&polled, 1, 0) > 0;
}

/*
 * A signal and a frame that are there. Until the child's program has begun frames go first: who saw
 * it begin, and sent a signal then, means the child. Afterwards the signal does, since a child that
 * was continued is no longer stopped; but one only, since the next may stop the child again.
 */
static bool take_both(struct wait *wait, char why[WHY_BYTES]) {
    while (!wait->is_started && is_readable(wait->connection)) {
        if (!take_frame(wait, why)) return false;
    }
    if (is_readable(wait->signals)) take_next_signal(wait);
    return !is_readable(wait->connection) || take_frame(wait, why);
}

/* How long a keeper may be silent: it tells what it does several times a second. */
static int64_t answer_ms(void) {
    const char *given = getenv("RESOURCE_POOL_PYTHON_ANSWER_SECONDS");
    char *end = NULL;
    long seconds = given && given[0] ? strtol(given, &end, 10) : ANSWER_S;
    if ((end && *end) || seconds < 1 || seconds > 86400) seconds = ANSWER_S;
    return (int64_t)seconds * 1000;
}

/* The signals that nobody had are this process's own again. */
static void give_back_early(const struct wait *wait) {
    for (int i = 1; i < NSIG; i++) {
        if (wait->early >> (i - 1) & 1) kill(getpid(), i);
    }
}

static pid_t peer_of(int connection) {
    struct ucred peer = {0};
    socklen_t bytes = sizeof peer;
    return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 ? peer.pid : 0;
}

void wait_for(int connection, const int32_t *passed, size_t passed_count, char why[WHY_BYTES]) {
    sigset_t all;
    struct wait wait = {.connection = connection,
                        .child = -1,
                        .keeper = peer_of(connection),
                        .passed = passed,
                        .passed_count = passed_count};
    int64_t silence_ms = answer_ms();
    sigfillset(&all);
    wait.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    wait.began_ms = wait.heard_ms = now_ms();
    for (;;) {
        struct pollfd polled[] = {
            {.fd = wait.connection, .events = POLLIN},
            {.fd = wait.signals, .events = POLLIN},
            /* Its end is told by the connection, as long as there is one. */
            {.fd = wait.connection < 0 ? wait.child : -1, .events = POLLIN},
        };
        int rc = poll(polled, 3, wait.is_started ? -1 : QUIET_MS);
        if (rc > 0 && polled[2].revents) _exit(LAUNCHER_FAILED);
        if (!take_both(&wait, why)) break;
        if (wait.is_started) continue;
        draw(&wait);
        if (now_ms() - wait.heard_ms > silence_ms) {
            snprintf(why, WHY_BYTES, "the server did not answer for %lld s",
                     (long long)silence_ms / 1000);
            break;
        }
    }
    wipe(&wait);
    give_back_early(&wait);
    close(wait.signals);
    close(wait.connection);
}
