/* SPDX-License-Identifier: Apache-2.0 */
#include "witness.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 64 << 10, KERNEL_SIGNALS_BYTES = 8, ANSWER_S = 2 };

static pid_t witness = -1;
static pid_t owner;
static _Atomic uint32_t asked;    /* counts questions; the witness sleeps on it */
static _Atomic uint32_t answered; /* the number of the latest that was answered */
static uint64_t pending;          /* the answer; published by `answered`        */
static uint64_t seen;             /* answers that belong to signals not taken yet */

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout) {
    syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* All that is pending, taken off. */
static uint64_t drain(void) {
    static const uint64_t all = ~UINT64_C(0);
    static const struct timespec none = {0};
    uint64_t found = 0;
    for (;;) {
        long signal = syscall(SYS_rt_sigtimedwait, &all, NULL, &none, KERNEL_SIGNALS_BYTES);
        if (signal <= 0) return found;
        found |= UINT64_C(1) << (signal - 1);
    }
}

/* System calls only: memory is the launcher's, and so is what C's library keeps of a thread. */
static int be_witness(void *unused) {
    (void)unused;
    uint32_t done = 0;
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    while (syscall(SYS_getppid) == owner) {
        uint32_t number = atomic_load_explicit(&asked, memory_order_acquire);
        if (number == done) {
            futex_wait(&asked, number, NULL);
            continue;
        }
        pending = drain();
        done = number;
        atomic_store_explicit(&answered, number, memory_order_release);
        futex_wake(&answered);
    }
    return 0;
}

bool witness_open(void) {
    if (witness > 0) return true;
    owner = getpid();
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return false;
    witness = clone(be_witness, stack + STACK_BYTES, CLONE_VM | CLONE_FS | CLONE_FILES, NULL);
    return witness > 0;
}

void witness_barrier(void) {
    /* It changes nothing, and whether it may is all one. */
    if (setpgid(0, getpgrp()) != 0) errno = 0;
}

bool witness_saw(int signal) {
    static const struct timespec patience = {.tv_sec = ANSWER_S};
    uint64_t bit = UINT64_C(1) << (signal - 1);
    if (witness <= 0) return false;
    /* Found with an earlier one already. To ask again would find the next of its kind, too early.
     */
    if (seen & bit) {
        seen &= ~bit;
        return true;
    }
    witness_barrier();
    uint32_t number = atomic_load_explicit(&asked, memory_order_relaxed) + 1;
    atomic_store_explicit(&asked, number, memory_order_release);
    futex_wake(&asked);
    uint32_t last;
    while ((last = atomic_load_explicit(&answered, memory_order_acquire)) != number) {
        errno = 0;
        futex_wait(&answered, last, &patience);
        if (errno == ETIMEDOUT) return false; /* somebody ended the witness */
    }
    seen |= pending;
    bool is_seen = (seen & bit) != 0;
    seen &= ~bit;
    return is_seen;
}

void witness_close(void) {
    if (witness <= 0) return;
    kill(witness, SIGKILL);
    waitpid(witness, NULL, __WALL);
    witness = -1;
}
