/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two files of those who start workers share: worker_process.c has the process, worker.c
 * the models in it.
 */
#ifndef RP_MACHINE_WORKER_INSIDE_H
#define RP_MACHINE_WORKER_INSIDE_H

#include "base/lock.h"
#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/ring.h"
#include "machine/worker.h"
#include "machine/worker_group.h"

enum { RP_PROCESS_PRINTED_BYTES = 2048 /* the end of what it printed is kept */ };

enum rp_worker_state { RP_WORKER_LOADING, RP_WORKER_READY, RP_WORKER_GONE };

/* A ring as the broker keeps it: to tell a story in. */
struct rp_kept_ring {
    struct rp_kept_ring *next;
    uint32_t id;
    struct rp_ring ring;
};

/* A frame for a process that has not read what came before it. */
struct rp_waiting_frame {
    struct rp_waiting_frame *next;
    uint32_t ring_id; /* of a RING, else 0 */
    struct rp_descriptors descriptors;
    size_t bytes;
    unsigned char frame[];
};

/* A model in a process. */
struct rp_worker {
    /* Constant. */
    struct rp_process *process;
    uint32_t number; /* its name in frames */
    char *path;
    rp_worker_crashed *crashed;       /* NULL: nobody wants to know */
    rp_memory_looker *look_at_memory; /* NULL: nobody keeps a ledger */
    void *user;

    struct rp_worker_facts facts; /* set before READY, constant afterwards */

    /* Guarded by process.lock. */
    enum rp_worker_state state;
    bool is_stopping;
    const char *why; /* of the stop */
    rp_error story;  /* once it is GONE */
    struct rp_kept_ring *rings;
    struct rp_worker *next; /* in the process */
};

/*
 * It goes with the last model that was in it.
 *
 * Lock order: the pool's lock or the host's, process.lock, and then what `crashed` takes: the
 * list of crashes, the host's watch_lock and, below that, the broker's lock.
 */
struct rp_process {
    /* Set before the minder starts, constant afterwards. */
    char *program;
    char **environment;
    int channel;
    int poke_fd; /* wakes the minder: there is something to send */
    pthread_t minder;
    bool has_minder;
    uint64_t oom_kills; /* the machine's, when it started */
    uint64_t limit_bytes;
    struct rp_worker_group group;

    struct rp_lock lock;
    struct rp_condition changed;
    pid_t pid;                 /* guarded by lock: 0 once reaped, so that no stranger is killed */
    pid_t pid_shown;           /* guarded by lock */
    bool is_ending;            /* guarded by lock: takes no more models */
    bool is_shunned;           /* guarded by lock: the same, for its models live on */
    bool is_over;              /* guarded by lock: reaped, and all has been told */
    uint32_t live_count;       /* guarded by lock: models that are not GONE */
    struct rp_worker *workers; /* guarded by lock: also those that are GONE and not freed yet */
    struct rp_waiting_frame *waiting; /* guarded by lock: oldest first */
    uint32_t waiting_count;           /* guarded by lock */

    /* The minder's own. */
    int child_channel; /* closed, and -1, once the child has them */
    int child_printed;
    rp_error why;                 /* it was given up, and ends; RP_OK: it was not */
    uint64_t resident_bytes_peak; /* once reaped: the most that it had; RP_UNKNOWN_U64 */
    int printed_fd;
    char printed[RP_PROCESS_PRINTED_BYTES + 1];
    size_t printed_used;
};

/* One that is not running yet; frames that are sent to it wait in its channel. */
rp_status rp_process_create(const struct rp_worker_request *request, struct rp_process **process,
                            rp_error *err);

/* Its minder starts it; a failure of that is the story of its models. */
rp_status rp_process_start(struct rp_process *process, rp_error *err);

/* Once it is over, or was never started. */
void rp_process_destroy(struct rp_process *process);

/*
 * Send a frame to the worker without waiting for it: what it has no room for is kept, in order, and
 * sent by the minder. RP_ERR_LIMIT: too much is kept already. Needs process.lock.
 */
rp_status rp_process_send(struct rp_process *process, const struct rp_message *message,
                          const struct rp_descriptors *descriptors, rp_error *err);

/* The model is no more, whatever became of the process: those who wait are told `story`. The last
 * one ends the process. Needs process.lock. */
void rp_worker_set_gone(struct rp_worker *worker, const rp_error *story);

/* Ask the process to end, if nobody has; the minder sees to it. Needs process.lock. */
void rp_process_end(struct rp_process *process);

/* What it is told who waits for a model that was taken out. */
void rp_worker_tell_stop(const struct rp_worker *worker, rp_error *story);

/* What a worker said of its model. */
rp_status rp_worker_take_facts(struct rp_worker *worker, const struct rp_message *message,
                               rp_error *err);

#endif
