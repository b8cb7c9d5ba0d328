/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fence.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

bool rp_fence_is_asymmetric;

#ifdef RP_THREAD_SANITIZER

/* ThreadSanitizer does not model fences: a read-modify-write of one shared word orders both sides.
 */
_Atomic int rp_fence_token;

void rp_fence_prepare(void) {
}

void rp_fence_heavy(void) {
    atomic_fetch_add_explicit(&rp_fence_token, 0, memory_order_seq_cst);
}

#else

static long membarrier(int command) {
    return syscall(SYS_membarrier, command, 0, 0);
}

static void decide(void) {
    rp_fence_is_asymmetric = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void rp_fence_prepare(void) {
    static pthread_once_t decided = PTHREAD_ONCE_INIT;
    pthread_once(&decided, decide);
    /* Registration belongs to an address space: a child of fork() has one of its own. */
    if (rp_fence_is_asymmetric) membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

void rp_fence_heavy(void) {
    atomic_thread_fence(memory_order_seq_cst);
    if (rp_fence_is_asymmetric) membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

#endif
