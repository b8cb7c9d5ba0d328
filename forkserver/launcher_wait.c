/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A launcher whose child runs is a go-between: signals that came for it alone go on to the child,
 * the child's stops and its end become its own. Everything else the two have in common: terminal,
 * descriptors, and where the kernel allows it the process group.
 */
#include "launcher.h"

#include "proc.h"
#include "witness.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SILENCE_MS = 150000, QUIET_MS = 1000 };

static sigset_t before;
static uint64_t ignored_before;

/*
 * SIGCONT alone is taken by a handler: the kernel throws away one that is held back when a stop
 * comes after it, as the stop of this process does that follows the child's.
 */
static volatile sig_atomic_t continued; /* 0: no; 1: from the terminal; 2: by kill() */
static int continued_fd = -1;

struct wait {
    int connection; /* -1: whoever could tell the end has gone */
    int signals;
    int child; /* a pidfd; -1: not started */
    pid_t pid;
    bool is_joined; /* the child is in this process group */
    bool is_drawn;  /* a line of progress stands on the terminal */
    bool is_started;
    int stop_as;    /* the gentle stop that a SIGSTOP to the child stands for; 0: none */
    uint64_t early; /* signals that came before there was anybody to have them */
    int64_t began_ms;
    int64_t heard_ms;
};

/* --- signals that are the child's ------------------------------------------------------------ */

static void take_sigcont(int signal_number, siginfo_t *info, void *context) {
    static const uint64_t one = 1;
    int os_errno = errno;
    (void)signal_number;
    (void)context;
    continued = info->si_code == SI_KERNEL ? 1 : 2;
    ssize_t ignored = write(continued_fd, &one, sizeof one);
    (void)ignored;
    errno = os_errno;
}

static void handle_sigcont(void) {
    struct sigaction action = {.sa_sigaction = take_sigcont, .sa_flags = SA_SIGINFO | SA_RESTART};
    continued_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigaction(SIGCONT, &action, NULL);
}

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
    /* Before there is a child: what its group gets from then on is seen. */
    witness_open(argv);
    handle_sigcont();
    sigdelset(&all, SIGCONT);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

void wait_undo(void) {
    witness_close();
    signal(SIGCONT, SIG_DFL);
    close(continued_fd);
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

static void send_on(const struct wait *wait, int signal_number) {
    if (wait->child >= 0 &&
        syscall(SYS_pidfd_send_signal, wait->child, signal_number, NULL, 0) == 0) {
        return;
    }
    if (wait->child < 0 || errno == ENOSYS || errno == EPERM) kill(wait->pid, signal_number);
}

/* A SIGCONT for this process alone is the child's. */
static void pass_sigcont(const struct wait *wait) {
    uint64_t count;
    ssize_t ignored = read(continued_fd, &count, sizeof count);
    (void)ignored;
    int how = continued;
    if (how == 0) return;
    /* It stays until there is a child: one that has started may have been told of already. */
    if (!wait->is_started) return;
    continued = 0;
    if (wait->is_joined && (how == 1 || witness_saw(SIGCONT))) return;
    send_on(wait, SIGCONT);
}

/*
 * The child has stopped, and so does this process, for its shell to see; unless somebody has
 * continued both meanwhile. The stop is pending before the child is looked at, since a SIGCONT that
 * comes then takes it away. (Of SIGSTOP there is no pending one; but only who knows the child's pid
 * can send it one.)
 */
static void stop_like(const struct wait *wait, int signal_number) {
    static const struct timespec none = {0};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal_number);
    if (signal_number != SIGSTOP) {
        signal(signal_number, SIG_DFL);
        kill(getpid(), signal_number);
    }
    pass_sigcont(wait);
    witness_barrier();
    if (fs_process_state(wait->pid) != 'T') {
        sigtimedwait(&one, NULL, &none);
    } else if (signal_number == SIGSTOP) {
        kill(getpid(), SIGSTOP);
    } else {
        sigprocmask(SIG_UNBLOCK, &one, NULL);
        sigprocmask(SIG_BLOCK, &one, NULL);
    }
}

/*
 * The child was stopped in the place of this process, which now stops as it was told to; unless the
 * kernel knows better. In a group that nobody could continue such a stop is none, here as for a
 * plain interpreter, and the child goes on.
 */
static void stop_instead(struct wait *wait) {
    take_default(wait->stop_as);
    wait->stop_as = 0;
    if (continued == 0) send_on(wait, SIGCONT);
}

static bool is_gentle_stop(int signal_number) {
    return signal_number == SIGTSTP || signal_number == SIGTTIN || signal_number == SIGTTOU;
}

/* Whether one of those masks of a process, by its name in /proc, has a signal; unknown is no. */
static bool is_in_mask(pid_t pid, const char *const *names, int signal_number) {
    char text[4096];
    uint64_t mask = 0;
    fs_proc_read_of(pid, "status", text, sizeof text);
    for (; *names; names++) {
        const char *at = strstr(text, *names);
        if (at) mask |= strtoull(at + strlen(*names), NULL, 16);
    }
    return (mask >> (signal_number - 1) & 1) != 0;
}

/* Whether a process catches or ignores a signal. */
static bool minds(pid_t pid, int signal_number) {
    static const char *const names[] = {"\nSigIgn:", "\nSigCgt:", NULL};
    return is_in_mask(pid, names, signal_number);
}

/* Whether a process is known to sleep in a call that does not wait for signals: the kernel shows
 * those that are waited for as if they were not held back. */
static bool sleeps_elsewhere(pid_t pid) {
    char text[64];
    size_t size = fs_proc_read_of(pid, "wchan", text, sizeof text);
    return size > 1 && !strstr(text, "sigtimedwait");
}

/*
 * Whether a signal that the group got can have left the child as it is: it is caught, held back,
 * on its way or waited for. One that would have ended a child which is seen to sleep has not been
 * there.
 */
static bool can_have_had(pid_t pid, int signal_number) {
    static const char *const names[] = {"\nSigCgt:", "\nSigBlk:", "\nShdPnd:", NULL};
    bool is_harmless = is_gentle_stop(signal_number) || signal_number == SIGCHLD ||
                       signal_number == SIGURG || signal_number == SIGWINCH;
    return is_harmless || !sleeps_elsewhere(pid) || is_in_mask(pid, names, signal_number);
}

/*
 * Whether the child has had it, as one of the group. The witness alone may be wrong, where somebody
 * sends a signal to each process of a tree: the child is in no tree of ours. And what the kernel
 * sends is not always for the group: the end of a terminal is told to the session's leader.
 */
static bool has_had(const struct wait *wait, const struct signalfd_siginfo *info) {
    int number = (int)info->ssi_signo;
    bool is_seen = witness_saw(number); /* asked in any case: what was seen is to be forgotten */
    if (!wait->is_joined) return false;
    if (!witness_is_open()) return info->ssi_code == SI_KERNEL;
    return is_seen && can_have_had(wait->pid, number);
}

/* Nobody has it yet: what would end a program that only starts ends this one. */
static void keep_early(struct wait *wait, int number) {
    bool is_held = sigismember(&before, number) == 1;
    bool is_ignored = (ignored_before >> (number - 1) & 1) != 0;
    bool is_default = number == SIGINT || number == SIGTERM || number == SIGHUP ||
                      number == SIGQUIT || number == SIGTSTP;
    if (is_ignored && !is_held) return;
    if (is_default && !is_held) {
        take_default(number);
    } else {
        wait->early |= UINT64_C(1) << (number - 1);
    }
}

static void take_signal(struct wait *wait, const struct signalfd_siginfo *info) {
    int number = (int)info->ssi_signo;
    if (number == SIGCHLD && info->ssi_code != SI_USER && info->ssi_code != SI_QUEUE &&
        info->ssi_code != SI_TKILL) {
        return; /* of a child that we have not got */
    }
    if (!wait->is_started) {
        keep_early(wait, number);
        return;
    }
    if (has_had(wait, info)) return;
    /*
     * A child in a session of its own has no shell that could continue its group, so the kernel
     * passes over the gentle stops; this process is the one that is stopped and continued.
     */
    if (is_gentle_stop(number) && !wait->is_joined && !minds(wait->pid, number)) {
        wait->stop_as = number;
        number = SIGSTOP;
    }
    send_on(wait, number);
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

static void draw(struct wait *wait, const char *text) {
    if (now_ms() - wait->began_ms < QUIET_MS || !isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r\033[Krpool: %.70s", text);
    wait->is_drawn = true;
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

/* --- the answers ----------------------------------------------------------------------------- */

static void take_started(struct wait *wait, const struct fs_frame *frame, int *fds, size_t fd_count,
                         const int32_t *passed, size_t passed_count) {
    wipe(wait);
    wait->pid = frame->value;
    wait->child = fd_count > 0 ? fds[0] : -1;
    wait->is_started = true;
    wait->is_joined = getpgid(wait->pid) == getpgrp();
    /* A reader of a pipe is to see its end when the child closes it. */
    for (size_t i = 0; i < passed_count; i++)
        close(passed[i]);
    for (int i = 1; i < NSIG; i++) {
        if (wait->early >> (i - 1) & 1) send_on(wait, i);
    }
}

/* False: nothing was started, or will be. */
static bool take_frame(struct wait *wait, const int32_t *passed, size_t passed_count,
                       char why[WHY_BYTES]) {
    struct fs_frame frame = {0};
    int fds[4];
    size_t fd_count = 4;
    int rc = fs_receive(wait->connection, &frame, fds, &fd_count);
    if (rc < 0 && errno == EAGAIN) return true;
    if (rc <= 0 && wait->is_started) {
        close(wait->connection);
        wait->connection = -1;
        return true;
    }
    if (rc <= 0) {
        snprintf(why, WHY_BYTES, "the server ended before it answered");
        return false;
    }
    wait->heard_ms = now_ms();
    if (frame.type == FS_WAIT) draw(wait, frame.text);
    if (frame.type == FS_STARTED && !wait->is_started) {
        take_started(wait, &frame, fds, fd_count, passed, passed_count);
        return true;
    }
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (frame.type == FS_ENDED && wait->is_started) end_as(frame.value);
    if (frame.type == FS_STOPPED && wait->is_started) {
        if (frame.value == SIGSTOP && wait->stop_as != 0) {
            stop_instead(wait);
        } else {
            stop_like(wait, frame.value);
        }
    }
    if (!wait->is_started && (frame.type == FS_REFUSED || frame.type == FS_ENDED)) {
        snprintf(why, WHY_BYTES, "%s",
                 frame.type == FS_REFUSED ? frame.text : "the child ended before it began");
        return false;
    }
    return true;
}

static void drain_signals(struct wait *wait) {
    struct signalfd_siginfo info;
    while (read(wait->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        take_signal(wait, &info);
    }
}

void wait_for(int connection, const int32_t *passed, size_t passed_count, char why[WHY_BYTES]) {
    sigset_t all;
    struct wait wait = {.connection = connection, .child = -1};
    sigfillset(&all);
    wait.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    wait.began_ms = wait.heard_ms = now_ms();
    for (;;) {
        struct pollfd polled[] = {
            {.fd = wait.connection, .events = POLLIN},
            {.fd = wait.signals, .events = POLLIN},
            {.fd = continued_fd, .events = POLLIN},
            /* Its end is told by the connection, as long as there is one. */
            {.fd = wait.connection < 0 ? wait.child : -1, .events = POLLIN},
        };
        int rc = poll(polled, 4, wait.is_started ? -1 : QUIET_MS);
        pass_sigcont(&wait);
        /* A signal that a child's caller sends because it has started comes after STARTED. */
        if (rc > 0 && polled[1].revents && !wait.is_started) poll(polled, 1, 0);
        if (rc > 0 && polled[0].revents && !take_frame(&wait, passed, passed_count, why)) {
            break;
        }
        pass_sigcont(&wait);
        if (rc > 0 && polled[0].revents && !wait.is_started) continue;
        if (rc > 0 && polled[1].revents) drain_signals(&wait);
        if (rc > 0 && polled[3].revents) break;
        if (!wait.is_started && now_ms() - wait.heard_ms > SILENCE_MS) {
            snprintf(why, WHY_BYTES, "the server did not answer for %d s", SILENCE_MS / 1000);
            break;
        }
    }
    wipe(&wait);
    /* Server and keeper were killed both, and what became of the child nobody can tell. */
    if (wait.is_started) _exit(LAUNCHER_FAILED);
    /* The signals that nobody had are this process's own again. */
    for (int i = 1; i < NSIG; i++) {
        if (wait.early >> (i - 1) & 1) kill(getpid(), i);
    }
    close(wait.signals);
    close(wait.connection);
}
