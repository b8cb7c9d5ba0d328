/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/turns.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC = 0x31545052 /* "RPT1" */ };

struct rp_turns_page {
    uint32_t magic;
    uint32_t count;
    _Atomic uint32_t given;   /* a futex: changes whenever turns are given back */
    _Atomic uint32_t waiters; /* about so many sleep; those that were killed count for ever */
};

_Static_assert(sizeof(struct rp_turns_page) == 16, "shared by processes");

uint32_t rp_turns_of_machine(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

rp_status rp_turns_create(uint32_t count, int *fd, rp_error *err) {
    if (count < 1) count = 1;
    if (count > RP_LIMIT_PROCESSORS) count = RP_LIMIT_PROCESSORS;
    struct rp_turns_page page = {.magic = MAGIC, .count = count};
    off_t bytes = count > sizeof page ? (off_t)count : (off_t)sizeof page;
    int made = memfd_create("resourcepool-turns", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0) return rp_fail_errno(err, "cannot make a budget of threads");
    if (ftruncate(made, bytes) != 0 || pwrite(made, &page, sizeof page, 0) != sizeof page ||
        fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        rp_status status = rp_fail_errno(err, "cannot make a budget of threads");
        close(made);
        return status;
    }
    *fd = made;
    return RP_OK;
}

/* Its own open file, which is what locks belong to: what comes over a channel is shared. */
static int open_anew(int fd) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

static bool is_sound(int fd, const struct rp_turns_page *page) {
    struct stat found;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &found) == 0 &&
           found.st_size >= (off_t)sizeof *page &&
           pread(fd, (void *)(uintptr_t)page, sizeof *page, 0) == sizeof *page &&
           page->magic == MAGIC && page->count >= 1 && page->count <= RP_LIMIT_PROCESSORS;
}

rp_status rp_turns_open(int fd, struct rp_turns *turns, rp_error *err) {
    struct rp_turns_page page;
    *turns = (struct rp_turns){.fd = -1};
    if (!is_sound(fd, &page)) {
        return rp_fail(err, RP_ERR_DATA, "what came as a budget of threads is none");
    }
    int own = open_anew(fd);
    if (own < 0) return rp_fail_errno(err, "cannot open the budget of threads");
    void *mapped = mmap(NULL, sizeof page, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
    bool *is_ours = rp_alloc_array(page.count, sizeof *is_ours);
    if (mapped == MAP_FAILED || !is_ours) {
        rp_fail(err, RP_ERR_MEMORY, "no memory for the budget of threads");
        if (mapped != MAP_FAILED) munmap(mapped, sizeof page);
        rp_free(is_ours);
        close(own);
        return RP_ERR_MEMORY;
    }
    turns->fd = own;
    turns->count = page.count;
    turns->page = mapped;
    turns->is_ours = is_ours;
    rp_lock_init(&turns->lock);
    return RP_OK;
}

void rp_turns_close(struct rp_turns *turns) {
    if (turns->fd < 0) return;
    munmap(turns->page, sizeof *turns->page);
    close(turns->fd);
    rp_free(turns->is_ours);
    rp_lock_fini(&turns->lock);
    turns->fd = -1;
}

uint32_t rp_turns_look(const struct rp_turns *turns) {
    return atomic_load_explicit(&turns->page->given, memory_order_acquire);
}

static bool set_lock(const struct rp_turns *turns, short type, uint32_t first, uint32_t count) {
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)count};
    return fcntl(turns->fd, F_OFD_SETLK, &lock) == 0;
}

/* Turns side by side, so that one call takes them all or none. Needs turns.lock. */
static bool take_at(struct rp_turns *turns, uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < first + count; i++) {
        if (turns->is_ours[i]) return false;
    }
    if (!set_lock(turns, F_WRLCK, first, count)) return false;
    for (uint32_t i = first; i < first + count; i++) {
        turns->is_ours[i] = true;
    }
    return true;
}

bool rp_turns_try(struct rp_turns *turns, uint32_t threads, struct rp_turn *turn) {
    uint32_t count = threads < 1 ? 1 : threads < turns->count ? threads : turns->count;
    uint32_t places = turns->count - count + 1;
    bool is_taken = false;
    rp_lock_acquire(&turns->lock);
    for (uint32_t i = 0; i < places && !is_taken; i++) {
        uint32_t first = (turns->hint + i) % places;
        is_taken = take_at(turns, first, count);
        if (!is_taken) continue;
        turns->hint = first;
        *turn = (struct rp_turn){first, count};
    }
    rp_lock_release(&turns->lock);
    return is_taken;
}

void rp_turns_give(struct rp_turns *turns, struct rp_turn *turn) {
    if (turn->count == 0) return;
    rp_lock_acquire(&turns->lock);
    set_lock(turns, F_UNLCK, turn->first, turn->count);
    for (uint32_t i = turn->first; i < turn->first + turn->count; i++) {
        turns->is_ours[i] = false;
    }
    rp_lock_release(&turns->lock);
    turn->count = 0;
    struct rp_turns_page *page = turns->page;
    atomic_fetch_add_explicit(&page->given, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&page->waiters, memory_order_seq_cst) == 0) return;
    /* All of them: who needs several turns may not be able to use these. */
    syscall(SYS_futex, &page->given, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void rp_turns_wait(struct rp_turns *turns, uint32_t seen, int64_t wait_ns) {
    struct rp_turns_page *page = turns->page;
    if (wait_ns <= 0) return;
    const struct timespec most = {wait_ns / 1000000000, wait_ns % 1000000000};
    atomic_fetch_add_explicit(&page->waiters, 1, memory_order_seq_cst);
    syscall(SYS_futex, &page->given, FUTEX_WAIT, seen, &most, NULL, 0);
    atomic_fetch_sub_explicit(&page->waiters, 1, memory_order_seq_cst);
}
