/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals of one kind that arrive before they are taken melt into one, here and in the witness each
 * for itself. What the witness had is kept only as long as its counterpart waits here; where both
 * readings are possible a signal counts as one for the launcher alone, since one too many is less
 * than one that is lost. Those from SIGRTMIN on queue up on both sides, and are counted.
 */
#include "witness.h"

#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KERNEL_SIGNALS_BYTES = 8, LOOK_MS = 20, LOOKS_MAX = 100 };

/* What launcher and witness have in common. */
struct common {
    _Atomic uint32_t is_ready; /* it has its name, and nothing of the launcher's open           */
    _Atomic uint32_t asked;    /* counts questions; the witness sleeps on it                */
    _Atomic uint32_t answered; /* the number of the latest that was answered: publishes     */
    uint32_t found[NSIG];      /* how often each signal was taken off there: the answer     */
};

static struct common *common;
static pid_t witness = -1;
static pid_t owner;
static uint32_t seen[NSIG]; /* by the witness, of signals that have not been taken here */

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout) {
    syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* --- the witness ----------------------------------------------------------------------------- */

/* Who ends processes by their name or command line means the launcher, and would not understand
 * that the witness vouches for a signal that the child did not get. */
static void take_name(char **argv) {
    static const char name[] = "rpool-witness";
    char **last = argv;
    prctl(PR_SET_NAME, name, 0, 0, 0);
    if (!argv[0]) return;
    while (last[1])
        last++;
    size_t bytes = (size_t)(*last - argv[0]) + strlen(*last);
    memset(argv[0], 0, bytes);
    memcpy(argv[0], name, bytes < sizeof name - 1 ? bytes : sizeof name - 1);
}

/* All that is pending, taken off. */
static void drain(void) {
    static const uint64_t all = ~UINT64_C(0);
    static const struct timespec none = {0};
    memset(common->found, 0, sizeof common->found);
    for (;;) {
        long signal = syscall(SYS_rt_sigtimedwait, &all, NULL, &none, KERNEL_SIGNALS_BYTES);
        if (signal <= 0) return;
        if (signal < NSIG) common->found[signal]++;
    }
}

static _Noreturn void be_witness(char **argv) {
    uint32_t done = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    close_range(0, ~0U, 0);
    take_name(argv);
    atomic_store_explicit(&common->is_ready, 1, memory_order_release);
    futex_wake(&common->is_ready);
    while (getppid() == owner) {
        uint32_t number = atomic_load_explicit(&common->asked, memory_order_acquire);
        if (number == done) {
            futex_wait(&common->asked, number, NULL);
            continue;
        }
        drain();
        done = number;
        atomic_store_explicit(&common->answered, number, memory_order_release);
        futex_wake(&common->answered);
    }
    _exit(0);
}

/* --- the launcher ---------------------------------------------------------------------------- */

/* Until it is known by its own name. One that was ended at once is missed when it is asked. */
static void await_ready(void) {
    static const struct timespec patience = {.tv_nsec = LOOK_MS * 1000000L};
    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        if (atomic_load_explicit(&common->is_ready, memory_order_acquire)) return;
        futex_wait(&common->is_ready, 0, &patience);
    }
}

bool witness_open(char **argv) {
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (common == MAP_FAILED) return false;
    owner = getpid();
    memset(seen, 0, sizeof seen);
    /* A fork whose end is no SIGCHLD, and no business of a wait() for any child. */
    witness = (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, NULL);
    if (witness == 0) be_witness(argv);
    if (witness > 0) {
        await_ready();
        return true;
    }
    munmap(common, sizeof *common);
    return false;
}

bool witness_is_open(void) {
    return witness > 0;
}

/* False: somebody ended the witness. */
static bool await_answer(uint32_t number, bool *was_stopped) {
    static const struct timespec patience = {.tv_nsec = LOOK_MS * 1000000L};
    uint32_t last;
    int looks = 0;
    while ((last = atomic_load_explicit(&common->answered, memory_order_acquire)) != number) {
        errno = 0;
        futex_wait(&common->answered, last, &patience);
        if (errno != ETIMEDOUT) continue;
        if (++looks == LOOKS_MAX) return false;
        /* The group was stopped, and we alone were continued. */
        if (fs_process_state(witness) == 'T') {
            *was_stopped = true;
            kill(witness, SIGCONT);
        }
    }
    return true;
}

void witness_barrier(void) {
    /* It changes nothing, and whether it may is all one. */
    if (setpgid(0, getpgrp()) != 0) errno = 0;
}

/* What the witness has got since the last question, added to what it had. */
static void ask(void) {
    bool was_stopped = false;
    witness_barrier();
    uint32_t number = atomic_load_explicit(&common->asked, memory_order_relaxed) + 1;
    atomic_store_explicit(&common->asked, number, memory_order_release);
    futex_wake(&common->asked);
    if (!await_answer(number, &was_stopped)) {
        witness_close();
        return;
    }
    if (was_stopped) common->found[SIGCONT] = 0; /* ours */
    for (int i = 1; i < NSIG; i++)
        seen[i] = i < SIGRTMIN ? (seen[i] || common->found[i]) : seen[i] + common->found[i];
}

/* Of what melted into another here nothing will be taken any more. */
static void forget_what_melted(void) {
    sigset_t waiting;
    witness_barrier();
    sigemptyset(&waiting);
    sigpending(&waiting);
    for (int i = 1; i < SIGRTMIN; i++) {
        /* A handler takes SIGCONT, and asks afterwards. */
        if (i != SIGCONT && sigismember(&waiting, i) != 1) seen[i] = 0;
    }
}

bool witness_saw(int signal) {
    if (witness <= 0) return false;
    /* Found with an earlier one already: to ask again would find the next of its kind too early. */
    if (!seen[signal] || signal == SIGCONT) ask();
    bool is_seen = seen[signal] > 0;
    if (is_seen) seen[signal]--;
    forget_what_melted();
    return is_seen;
}

void witness_close(void) {
    if (witness <= 0) return;
    kill(witness, SIGKILL);
    while (waitpid(witness, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    witness = -1;
}
