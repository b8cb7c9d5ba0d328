/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: a loaded model in a process of its own, or in one with a few others, which runs it for
 * whoever has a ring to it. What is here is the side of the process that starts it; the process
 * itself is rp_worker_serve() in worker_main.c.
 *
 * The process gets a channel as descriptor 3, nothing to read, a pipe for what it prints, a session
 * and, where possible, a memory cgroup of its own, and the part of the environment that engines
 * look at. It ends with its last model or its channel, and the kernel ends it when its starter
 * dies: there are no stray workers. When memory is short the kernel is asked to take workers before
 * anything else. Models in one process crash together.
 */
#ifndef RP_MACHINE_WORKER_H
#define RP_MACHINE_WORKER_H

#include "engine/engine.h"
#include "machine/memory_look.h"

#include <resourcepool/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rp_worker;
struct rp_worker_groups;

/*
 * The process of a model died unasked. was_alone: no other model lived in it. On a thread of the
 * worker's, under its lock: call nothing of this file but rp_worker_path().
 */
typedef void rp_worker_crashed(void *user, const struct rp_worker *worker, const rp_error *story,
                               bool was_alone);

/* What to load, and with which program: every text is borrowed for the call. */
struct rp_worker_request {
    const char *program; /* runs `PROGRAM serve --worker 3`; an absolute path               */
    const char *path;
    const char *engine;               /* NULL: the first real one that can                      */
    const char *device;               /* NULL: "cpu"                                            */
    const char *precision;            /* NULL: as stored                                        */
    uint32_t threads;                 /* 0: one                                                 */
    struct rp_worker *beside;         /* load it into the process of that one; NULL: a new one  */
    int turns_fd;                     /* of rp_turns_create(); 0: a budget of its own           */
    struct rp_worker_groups *groups;  /* NULL: no memory cgroup                                 */
    uint64_t limit_bytes;             /* of that cgroup; 0: none                                */
    rp_worker_crashed *crashed;       /* NULL: nobody wants to know                             */
    rp_memory_looker *look_at_memory; /* NULL: nobody keeps a ledger                           */
    void *user;
    const _Atomic int *cancelled; /* NULL: cannot be cancelled  */
    int64_t deadline_ns;          /* RP_NEVER_NS: none          */
};

/* What the worker said of its model. Constant, and the worker's. */
struct rp_worker_facts {
    char engine[64];
    char device[64];
    char precision[32]; /* "": unknown */
    uint32_t threads;
    bool is_simulated;
    uint64_t memory_bytes; /* the engine's figure; RP_UNKNOWN_U64 */
    struct rp_engine_ports inputs;
    struct rp_engine_ports outputs;
};

/* A ring as its client gets it. */
struct rp_worker_ring {
    int fd; /* the caller's */
    uint64_t id;
    uint64_t bytes;
};

/* How a worker ended. */
struct rp_worker_end {
    bool is_verified;     /* the process is gone, or has freed the model: its memory is back */
    uint64_t bytes_freed; /* what was its own before; RP_UNKNOWN_U64                         */
};

/*
 * Begin to load, without waiting. RP_ERR_STATE: the process of `beside` takes no more. On RP_OK the
 * caller's: rp_worker_await(), rp_worker_stop().
 */
RP_MUST_CHECK rp_status rp_worker_begin(const struct rp_worker_request *request,
                                        struct rp_worker **worker, rp_error *err);

/*
 * Wait until it has loaded. The failure is the worker's own, or its story when it died
 * (RP_ERR_LOAD; RP_ERR_MEMORY when the kernel took it for lack of memory), RP_ERR_CANCELLED or
 * RP_ERR_TIMEOUT; then rp_worker_stop() is all that is left to do with it.
 */
RP_MUST_CHECK rp_status rp_worker_await(struct rp_worker *worker,
                                        const struct rp_worker_request *request, rp_error *err);

/* Both; a worker that failed is stopped. */
RP_MUST_CHECK rp_status rp_worker_spawn(const struct rp_worker_request *request,
                                        struct rp_worker **worker, rp_error *err);

const struct rp_worker_facts *rp_worker_facts(const struct rp_worker *worker);
const char *rp_worker_path(const struct rp_worker *worker);
pid_t rp_worker_pid(const struct rp_worker *worker);

/* How many models live in its process; 0: it takes no more. */
uint32_t rp_worker_count(struct rp_worker *worker);

/* Its process does not answer: it takes no more models, and those that it has are taken out of it
 * without waiting. */
void rp_worker_shun(struct rp_worker *worker);

/* Make a ring between a client and the worker. Waits for nobody. RP_ERR_STATE: it has died. */
RP_MUST_CHECK rp_status rp_worker_add_ring(struct rp_worker *worker, pid_t client,
                                           struct rp_worker_ring *ring, rp_error *err);

/* Whether it has that ring and lives. No two rings ever have the same id. */
bool rp_worker_has_ring(struct rp_worker *worker, uint64_t ring_id);

/* The client is done with it, or is no more. Waits for nobody. */
void rp_worker_remove_ring(struct rp_worker *worker, uint64_t ring_id);

/*
 * Bytes of the process: its own and its share of what it shares. RP_UNKNOWN_U64: dead, not told, or
 * the process has other models, and nobody knows which bytes are whose.
 */
uint64_t rp_worker_bytes(struct rp_worker *worker);

/* Whether it lives; if not, `story` (NULL: not wanted) says what became of it. */
bool rp_worker_is_alive(struct rp_worker *worker, rp_error *story);

/*
 * Take the model out. The last one of a process ends it, whatever it does: SIGTERM, and SIGKILL
 * when that does not help in 2 s. One of several is freed once its runs have ended; after 2 s
 * nobody waits for that any longer, and the process is shunned. Blocks until then; clients that
 * wait for an answer are told `why`, a text that outlives the worker or NULL. The worker itself
 * stays, dead. A second call changes nothing.
 */
void rp_worker_end(struct rp_worker *worker, const char *why);

/* The same, and free it. `end` may be NULL; accepts NULL. */
void rp_worker_stop(struct rp_worker *worker, const char *why, struct rp_worker_end *end);

#endif
