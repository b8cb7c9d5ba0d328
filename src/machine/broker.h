/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: one loop that talks to clients, in front of an ordinary pool.
 *
 * What a model is made of and where objects are kept is somebody else's: a *host* opens models, a
 * *store* answers the OBJECT_ frames. Both are tables, so that tests bring their own.
 */
#ifndef RP_MACHINE_BROKER_H
#define RP_MACHINE_BROKER_H

#include "machine/channel.h"
#include "machine/memory_look.h"
#include "machine/protocol.h"

#include <jansson.h>
#include <resourcepool/machine.h>
#include <resourcepool/model.h>
#include <stdatomic.h>

struct rp_broker;
struct rp_broker_client;

/* A ring as a client gets it. */
struct rp_broker_ring {
    int fd; /* the client's copy; the broker closes it once it is sent; -1: none */
    uint64_t id;
    uint64_t bytes;
};

/* Who opens models. `user` is the host's own. */
struct rp_broker_host {
    void *user;

    /* As rp_pool_hooks.open_model: on a helper thread. NULL: in the broker's own process. */
    rp_status (*open_model)(void *user, const char *path, const rp_model_options *options,
                            const _Atomic int *cancelled, rp_model **model, rp_error *err);

    /*
     * A ring between a process and a model. In the loop: waits for nobody. RP_ERR_STATE: the model
     * has died, and a request for it loads a fresh one. NULL: there are no rings.
     */
    rp_status (*attach)(void *user, rp_model *model, pid_t client, struct rp_broker_ring *ring,
                        rp_error *err);

    /* Its client gave it back or has gone. In the loop. */
    void (*detach)(void *user, rp_model *model, uint64_t ring_id);

    /*
     * Rings that clients keep between leases. In the loop: whether that ring is to that model,
     * which lives; and that nobody keeps it any more, whose model may be gone by now. NULL: none
     * are kept.
     */
    bool (*has_ring)(void *user, const rp_model *model, uint64_t ring_id);
    void (*close_ring)(void *user, uint64_t ring_id);

    /*
     * Have `died` called with `watcher` when a model has died by itself, from any thread, under
     * locks of the host; watcher NULL: never again from now on. NULL: the next lease finds out.
     */
    void (*watch)(void *user, void (*died)(void *watcher), void *watcher);

    /*
     * Have `look` called with `watcher` when the kernel took a process for lack of memory, so that
     * the story of its models says who holds what; look NULL: never again from now on, once those
     * calls have ended that are under way. NULL: stories do without.
     */
    void (*watch_memory)(void *user, rp_memory_looker *look, void *watcher);

    /* Whether it lives, and if not, its story. Under the pool's lock: waits for nobody. Comes with
     * `watch`. */
    bool (*is_alive)(void *user, const rp_model *model, rp_error *story);

    /*
     * The process that holds a model; *is_alone: nothing else is in it, so that its end is the
     * model's. 0: none. Any thread, under the pool's lock: only looks. NULL: there are none.
     */
    pid_t (*process_of)(void *user, const rp_model *model, bool *is_alone);

    /* The broker is no more, and calls nothing any more. NULL: the host need not know. */
    void (*closed)(void *user);
};

/* Who keeps objects. All of it runs in the loop and waits for nobody. NULL: none are kept. */
struct rp_broker_store {
    rp_status (*open)(struct rp_broker *broker, void **store, rp_error *err);
    void (*close)(void *store);

    /* An OBJECT_ frame. Descriptors that it leaves in place are closed. Whatever the answer is, it
     * goes out by rp_broker_answer() or rp_broker_fail(), now or later. */
    void (*handle)(void *store, struct rp_broker_client *client, const struct rp_message *message,
                   struct rp_descriptors *descriptors);

    /* Nobody waits for the answer of that number any more; what it leased is given back. */
    void (*cancel)(void *store, struct rp_broker_client *client, uint32_t number);

    /* A lease that an OBJECT told; false when it is not one of the store's. retires: nobody is to
     * get that object any more. */
    bool (*release)(void *store, struct rp_broker_client *client, uint64_t lease_id, bool retires);
    void (*client_gone)(void *store, struct rp_broker_client *client);
    size_t (*lease_count)(void *store); /* builds count too: while there is one, nothing is idle */
    void (*tell_status)(void *store, json_t *status); /* adds "objects" */
};

struct rp_broker_setup {
    const rp_broker_options *options;
    const struct rp_broker_host *host;   /* NULL: models live in the broker */
    const struct rp_broker_store *store; /* NULL: no objects */
};

/* rp_broker_serve() with these. */
RP_MUST_CHECK rp_status rp_broker_run(const struct rp_broker_setup *setup, rp_error *err);

/* ---- for stores, in the loop ---- */

/* A lease id that no other lease of this broker has. */
uint64_t rp_broker_next_id(struct rp_broker *broker);

/* Send an answer; descriptors stay the caller's. A client that has gone is no failure. */
void rp_broker_answer(struct rp_broker_client *client, const struct rp_message *message,
                      const struct rp_descriptors *descriptors);
void rp_broker_fail(struct rp_broker_client *client, uint32_t number, const rp_error *why);

/* Call `work` on a helper thread and then `done` in the loop. False: no thread could be had. */
bool rp_broker_defer(struct rp_broker *broker, void (*work)(void *user), void (*done)(void *user),
                     void *user);

/* Call `ring` in the loop after so many milliseconds; cancelled by rp_broker_alarm_close(). */
struct rp_broker_alarm;
struct rp_broker_alarm *rp_broker_alarm_open(struct rp_broker *broker, int64_t milliseconds,
                                             void (*ring)(void *user), void *user);
void rp_broker_alarm_close(struct rp_broker_alarm *alarm);

rp_pool *rp_broker_pool(struct rp_broker *broker);
struct rp_broker *rp_broker_of(struct rp_broker_client *client);
pid_t rp_broker_client_pid(const struct rp_broker_client *client);
const char *rp_broker_client_command(const struct rp_broker_client *client);

/* One logfmt line on stderr: "info event=... pid=...". */
void rp_broker_log(struct rp_broker *broker, const char *level, const char *format, ...)
    RP_PRINTF(3, 4);

#endif
