/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A budget of processors for all workers of a broker: a run takes as many turns as it has threads,
 * so that runs in several workers do not crowd each other out.
 *
 * A turn is a byte of a memfd that a worker has locked (F_OFD_SETLK). The kernel keeps the locks,
 * and gives back those of a worker that dies. The memfd's one page has a futex that those wait on
 * who found no turn; nothing in it is trusted, so that a worker gone mad can only make others
 * impatient.
 */
#ifndef RP_MACHINE_TURNS_H
#define RP_MACHINE_TURNS_H

#include "base/lock.h"

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stdint.h>

struct rp_turns_page;

/* A worker's way to the budget. Any thread. */
struct rp_turns {
    int fd; /* -1: not open */
    uint32_t count;
    struct rp_turns_page *page;
    struct rp_lock lock;
    bool *is_ours; /* [count] guarded by lock: the kernel does not tell threads of one process apart
                    */
    uint32_t hint; /* guarded by lock: where one was free last */
};

/* What a run has taken. */
struct rp_turn {
    uint32_t first;
    uint32_t count; /* 0: none */
};

/* One turn for each processor that this process may use. */
uint32_t rp_turns_of_machine(void);

/* A budget of so many threads (at least 1), as a descriptor that workers open; the caller's. */
RP_MUST_CHECK rp_status rp_turns_create(uint32_t count, int *fd, rp_error *err);

/* Open one that came over a channel; the descriptor stays the caller's. RP_ERR_DATA: it is none. */
RP_MUST_CHECK rp_status rp_turns_open(int fd, struct rp_turns *turns, rp_error *err);
void rp_turns_close(struct rp_turns *turns);

/* What rp_turns_wait() waits for a change of. Read it before a try that may fail. */
uint32_t rp_turns_look(const struct rp_turns *turns);

/* Take turns for that many threads, all of them at most; false when they are not free. */
bool rp_turns_try(struct rp_turns *turns, uint32_t threads, struct rp_turn *turn);
void rp_turns_give(struct rp_turns *turns, struct rp_turn *turn);

/* Wait until turns were given since that look, or for so long; may return early. */
void rp_turns_wait(struct rp_turns *turns, uint32_t seen, int64_t wait_ns);

#endif
