/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of 'rpool run': started, watched, told what rpool is told, ended.
 *
 * Signals. With a controlling terminal the command stays in rpool's process group. Then Ctrl-C and
 * Ctrl-Z reach both at once, as if rpool were not there, and pipelines, scripts and 'fg' work: what
 * the kernel sent (SI_KERNEL) is not sent again. Tried: a group of the command's own, made the
 * terminal's foreground group. It stops the 'less' of 'rpool run -- pytest | less', keeps Ctrl-C
 * from the script that called rpool, and 'fg' brings back the wrong group. Without a terminal the
 * command gets a group of its own, so that a signal sent to rpool's group reaches it once.
 *
 * Processes. As a subreaper rpool becomes the parent of what its children leave behind, so that
 * everything that was started here is below it in the tree, and nothing else is, save brokers: one
 * that a client started belongs to all, and goes by itself. When somebody asked for the end, all of
 * it is ended after the command; when not, what is left is named and left alone, since a build
 * server or a daemon under test may be meant to stay.
 */
#include "run.h"

#include "command.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    GRACE_MS = 2000,   /* from SIGTERM to SIGKILL */
    KILL_ROUNDS = 100, /* looks for what was started while the rest was being killed */
    POLL_MS = 20,
    PROCESSES_MAX = 65536, /* a machine with more has other worries */
};

/* What is passed on, and whether it asks for the end. */
static const struct {
    int number;
    bool ends;
} forwarded[] = {
    {SIGINT, true},   {SIGTERM, true},  {SIGHUP, true},   {SIGQUIT, true},
    {SIGUSR1, false}, {SIGUSR2, false}, {SIGCONT, false},
};

enum { FORWARDED_COUNT = sizeof forwarded / sizeof forwarded[0] };

/* What rpool was started with, for the command to be started with. */
static struct {
    sigset_t mask;
    struct sigaction child;
    struct sigaction pipe;
    struct sigaction file_size;
} inherited;

struct process {
    pid_t pid;
    pid_t parent;
    pid_t group;
    long long start; /* in ticks since the machine started: with pid, the process */
    bool is_below;   /* descends from rpool                                       */
};

struct tree {
    pid_t pid; /* the command's */
    bool has_own_group;
    bool has_ended;
    int wait_status;
    int end_count; /* how often somebody asked for the end */
    int signals;
    struct run_outcome *outcome;
    const struct run_watch *watch;
};

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* --- who is below us ------------------------------------------------------------------------- */

/* From /proc/PID/stat: "7 (a) b) S 1 ...": the name may hold anything, its end is the last ')'. */
static bool read_process(pid_t pid, struct process *process) {
    char path[40];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return false;
    text[length] = '\0';
    const char *rest = strrchr(text, ')');
    if (!rest || rest[1] != ' ' || rest[2] == 'Z' || rest[2] == 'X' || rest[2] == '\0')
        return false;
    /* Fields 4, 5 and 22 of proc(5); the state before them is the third. */
    long long fields[23] = {0};
    const char *at = rest + 3;
    for (int i = 4; i <= 22; i++) {
        char *end;
        fields[i] = strtoll(at, &end, 10);
        if (end == at) return false;
        at = end;
    }
    *process = (struct process){
        .pid = pid,
        .parent = (pid_t)fields[4],
        .group = (pid_t)fields[5],
        .start = fields[22],
    };
    return true;
}

/* Whether a process is 'rpool serve': this program, with that word. */
static bool is_broker(pid_t pid) {
    char path[40];
    char words[256];
    struct stat theirs;
    struct stat ours;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    if (stat(path, &theirs) != 0 || stat("/proc/self/exe", &ours) != 0 ||
        theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino) {
        return false;
    }
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t length = read(file, words, sizeof words - 1);
    close(file);
    if (length <= 0) return false;
    words[length] = '\0';
    size_t first = strlen(words) + 1;
    return first < (size_t)length && strcmp(words + first, "serve") == 0;
}

/* Every process of the machine that can be seen, in *all, to be freed; the number of them. */
static size_t list_processes(struct process **all) {
    *all = NULL;
    DIR *folder = opendir("/proc");
    if (!folder) return 0;
    size_t count = 0;
    size_t room = 0;
    const struct dirent *name;
    while ((name = readdir(folder)) && count < PROCESSES_MAX) {
        if (!isdigit((unsigned char)name->d_name[0])) continue;
        if (count == room) {
            room = room ? 2 * room : 256;
            struct process *more = realloc(*all, room * sizeof *more);
            if (!more) break; /* those there are, then */
            *all = more;
        }
        if (read_process((pid_t)strtol(name->d_name, NULL, 10), &(*all)[count])) count++;
    }
    closedir(folder);
    return count;
}

static const struct process *find_process(const struct process *all, size_t count, pid_t pid) {
    for (size_t i = 0; i < count; i++) {
        if (all[i].pid == pid) return &all[i];
    }
    return NULL;
}

/*
 * Whether the way up from a process ends at rpool and passes no broker. The list was not taken in
 * one moment: a way that is longer than the list goes in circles.
 */
static bool is_below(const struct process *all, size_t count, const struct process *process) {
    pid_t self = getpid();
    for (size_t step = 0; process && step < count; step++) {
        if (process->pid == self) return step > 0;
        if (process->parent <= 1) return false;
        if (process->parent == self) return !is_broker(process->pid);
        if (is_broker(process->pid)) return false;
        process = find_process(all, count, process->parent);
    }
    return false;
}

/* Those below rpool, in *below, to be freed; the number of them. */
static size_t list_below(struct process **below) {
    size_t count = list_processes(below);
    struct process *all = *below;
    for (size_t i = 0; i < count; i++) {
        all[i].is_below = is_below(all, count, &all[i]);
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].is_below) all[kept++] = all[i];
    }
    return kept;
}

/* Through a descriptor of the process, so that another one with its number is not hit. */
static void signal_process(const struct process *process, int number) {
    int descriptor = pidfd_open(process->pid, 0);
    struct process again;
    if (read_process(process->pid, &again) && again.start == process->start) {
        if (descriptor < 0) {
            kill(process->pid, number); /* a kernel before 5.3 */
        } else {
            pidfd_send_signal(descriptor, number, NULL, 0);
        }
    }
    if (descriptor >= 0) close(descriptor);
}

/* Tell everything below rpool, or only what is in one process group; how many that were. */
static size_t signal_below(int number, pid_t group) {
    struct process *below;
    size_t count = list_below(&below);
    size_t told = 0;
    for (size_t i = 0; i < count; i++) {
        if (group && below[i].group != group) continue;
        signal_process(&below[i], number);
        told++;
    }
    free(below);
    return told;
}

/* --- signals --------------------------------------------------------------------------------- */

void run_signals_init(void) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < FORWARDED_COUNT; i++) {
        sigaddset(&set, forwarded[i].number);
    }
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTSTP);
    sigprocmask(SIG_BLOCK, &set, &inherited.mask);
    /* Ignored, SIGCHLD would take the exit codes away; a reader that left must not end the run. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &action, &inherited.child);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, &inherited.pipe);
    sigaction(SIGXFSZ, &action, &inherited.file_size); /* a report too large is an error, no end */
}

static int open_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < FORWARDED_COUNT; i++) {
        sigaddset(&set, forwarded[i].number);
    }
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTSTP);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void run_signals_fini(void) {
    struct signalfd_siginfo signal;
    int signals = open_signals();
    while (signals >= 0 && read(signals, &signal, sizeof signal) == sizeof signal) {
    }
    if (signals >= 0) close(signals);
    sigprocmask(SIG_SETMASK, &inherited.mask, NULL);
}

/* Stop as the signal would have stopped us; whether the kernel does is its own rule. */
static void stop_self(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void forward(struct tree *tree, const struct signalfd_siginfo *signal) {
    int number = (int)signal->ssi_signo;
    bool ends = false;
    for (size_t i = 0; i < FORWARDED_COUNT; i++) {
        if (forwarded[i].number == number) ends = forwarded[i].ends;
    }
    if (ends && ++tree->end_count > 2) {
        signal_below(SIGKILL, 0);
        return;
    }
    if (tree->has_own_group) {
        kill(-tree->pid, number);
    } else if (signal->ssi_code != SI_KERNEL) {
        signal_below(number, getpgrp());
    }
}

/* A signal that asked for the end before there was a command to tell; 0: none. */
static int early_end(const struct tree *tree) {
    struct signalfd_siginfo signal;
    int number = 0;
    while (read(tree->signals, &signal, sizeof signal) == sizeof signal) {
        for (size_t i = 0; i < FORWARDED_COUNT; i++) {
            if (forwarded[i].ends && forwarded[i].number == (int)signal.ssi_signo) {
                number = forwarded[i].number;
            }
        }
    }
    return number;
}

static void take_signals(struct tree *tree) {
    struct signalfd_siginfo signal;
    while (read(tree->signals, &signal, sizeof signal) == sizeof signal) {
        if (signal.ssi_signo == SIGCHLD) continue;
        if (signal.ssi_signo == SIGTSTP) {
            if (tree->watch->pause) tree->watch->pause(tree->watch->user);
            if (tree->has_own_group) kill(-tree->pid, SIGTSTP);
            stop_self();
        } else {
            forward(tree, &signal);
        }
    }
}

/* --- start, wait, end ------------------------------------------------------------------------ */

static bool has_terminal(void) {
    int terminal = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) return false;
    close(terminal);
    return true;
}

/* In the child: become the command, or write errno into the pipe. */
_Noreturn static void become(char *const *command, bool own_group, int failure) {
    if (own_group) setpgid(0, 0);
    sigaction(SIGCHLD, &inherited.child, NULL);
    sigaction(SIGPIPE, &inherited.pipe, NULL);
    sigaction(SIGXFSZ, &inherited.file_size, NULL);
    sigprocmask(SIG_SETMASK, &inherited.mask, NULL);
    execvp(command[0], command);
    int number = errno;
    ssize_t written = write(failure, &number, sizeof number);
    _exit(written < 0 ? EXIT_OWN_FAILURE : EXIT_NOT_EXECUTABLE);
}

static rp_status start(struct tree *tree, char *const *command, rp_error *err) {
    int failure[2];
    tree->outcome->exit_code = EXIT_OWN_FAILURE;
    if (pipe2(failure, O_CLOEXEC) != 0) return rp_fail_errno(err, "cannot make a pipe");
    tree->has_own_group = !has_terminal();
    tree->pid = fork();
    if (tree->pid == 0) become(command, tree->has_own_group, failure[1]);
    close(failure[1]);
    if (tree->pid < 0) {
        close(failure[0]);
        return rp_fail_errno(err, "cannot start a process for '%s'", command[0]);
    }
    if (tree->has_own_group) setpgid(tree->pid, tree->pid); /* whichever of the two is first */
    int number = 0;
    ssize_t length;
    do {
        length = read(failure[0], &number, sizeof number);
    } while (length < 0 && errno == EINTR);
    close(failure[0]);
    if (length != sizeof number) return RP_OK;

    tree->outcome->exit_code = number == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    waitpid(tree->pid, NULL, 0);
    errno = number;
    return rp_fail_errno(err, "cannot run '%s'", command[0]);
}

/* Collect who ended: the command, and orphans. */
static void reap(struct tree *tree) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != tree->pid) continue;
        tree->has_ended = true;
        tree->wait_status = status;
    }
}

static void wait_for_command(struct tree *tree) {
    double next_ms = now_ms() + tree->watch->interval_ms;
    for (;;) {
        take_signals(tree);
        reap(tree);
        if (tree->has_ended) return;
        double left_ms = next_ms - now_ms();
        if (left_ms <= 0) {
            tree->watch->tick(tree->watch->user);
            next_ms = now_ms() + tree->watch->interval_ms;
            continue;
        }
        struct pollfd signals = {.fd = tree->signals, .events = POLLIN};
        poll(&signals, 1, (int)left_ms + 1);
    }
}

/* Whether nothing is left below rpool, within so many milliseconds. */
static bool wait_until_gone(struct tree *tree, int timeout_ms) {
    for (double end_ms = now_ms() + timeout_ms;;) {
        struct process *below;
        reap(tree);
        size_t count = list_below(&below);
        free(below);
        if (count == 0) return true;
        take_signals(tree);
        if (now_ms() >= end_ms || tree->end_count > 2) return false;
        sleep_ms(POLL_MS);
    }
}

/* What the command left behind goes too: politely first. What is stopped must run to go. */
static void end_all(struct tree *tree) {
    if (signal_below(SIGTERM, 0) == 0) return;
    signal_below(SIGCONT, 0);
    if (wait_until_gone(tree, GRACE_MS)) return;
    for (int round = 0; round < KILL_ROUNDS && signal_below(SIGKILL, 0) > 0; round++) {
        wait_until_gone(tree, POLL_MS);
    }
}

static void read_command(pid_t pid, char *out, size_t out_bytes) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, out, out_bytes - 1);
    if (file >= 0) close(file);
    out[length > 0 ? length : 0] = '\0';
    for (ssize_t i = 0; i < length; i++) {
        if (out[i] == '\0' && i + 1 < length) out[i] = ' ';
        if (iscntrl((unsigned char)out[i]) && i + 1 < length) out[i] = '?';
    }
}

static void find_left_behind(struct run_outcome *outcome) {
    struct process *below;
    outcome->left_count = list_below(&below);
    for (size_t i = 0; i < outcome->left_count && i < LEFT_BEHIND_SHOWN; i++) {
        outcome->left[i].pid = below[i].pid;
        read_command(below[i].pid, outcome->left[i].command, sizeof outcome->left[i].command);
    }
    free(below);
}

/* The kernel keeps the largest resident size of all that were waited for, theirs included. */
static uint64_t largest_process(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_CHILDREN, &usage) != 0 || usage.ru_maxrss <= 0) return RP_UNKNOWN_U64;
    return (uint64_t)usage.ru_maxrss * 1024;
}

void run_tree(char *const *command, const struct run_watch *watch, struct run_outcome *outcome) {
    struct tree tree = {.outcome = outcome, .watch = watch, .signals = open_signals()};
    rp_error err = RP_ERROR_INIT;
    double start_ms = now_ms();
    *outcome = (struct run_outcome){
        .exit_code = EXIT_OWN_FAILURE,
        .process_bytes_peak = RP_UNKNOWN_U64,
    };
    rp_status status = RP_OK;
    if (tree.signals < 0) status = rp_fail_errno(&err, "cannot listen for signals");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int early = status == RP_OK ? early_end(&tree) : 0;
    if (early) {
        outcome->exit_code = 128 + early;
        outcome->was_interrupted = true;
        goto done;
    }
    if (status == RP_OK) status = start(&tree, command, &err);
    if (status != RP_OK) {
        report(&err);
        goto done;
    }
    outcome->has_started = true;
    wait_for_command(&tree);
    outcome->wall_ms = now_ms() - start_ms;
    outcome->exit_code = WIFSIGNALED(tree.wait_status) ? 128 + WTERMSIG(tree.wait_status)
                                                       : WEXITSTATUS(tree.wait_status);
    outcome->was_interrupted = tree.end_count > 0;
    if (outcome->was_interrupted) end_all(&tree);
    outcome->process_bytes_peak = largest_process();
    find_left_behind(outcome);
done:
    if (tree.signals >= 0) close(tree.signals);
}
