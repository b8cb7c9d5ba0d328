/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process's connection to the broker: requests from any thread, answers matched by number.
 *
 * There is no thread behind it: of the callers that wait, one reads for all. A connection belongs
 * to the process that made it; fork() closes it in the child, which makes its own. When the broker
 * dies every waiting call fails with RP_ERR_STATE, and the next rp_client_acquire() connects anew.
 */
#ifndef RP_MACHINE_CLIENT_H
#define RP_MACHINE_CLIENT_H

#include "machine/channel.h"
#include "machine/protocol.h"
#include "machine/ring.h"

#include <resourcepool/request.h>
#include <resourcepool/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct rp_client;

struct rp_client_options {
    const char *folder;         /* NULL: the environment's, see address.h */
    bool no_start;              /* no broker is RP_ERR_ABSENT, rather than started */
    int64_t connect_timeout_ms; /* for connecting, starting and hello; 0: 10 s */
};

/* An answer. `message` points into `frame`. */
struct rp_reply {
    struct rp_message message;
    struct rp_descriptors descriptors; /* the caller's */
    char *frame;
};

/* Close the descriptors that nobody took, free the frame. */
void rp_reply_fini(struct rp_reply *reply);

/*
 * This process's connection to the broker at that address, made if there is none or it is dead.
 * The caller's until rp_client_drop().
 * RP_ERR_ABSENT: no broker is running (no_start), or there is none to start; RP_ERR_UNSUPPORTED:
 * it speaks another version; RP_ERR_STATE: it is stopping.
 */
RP_MUST_CHECK rp_status rp_client_acquire(const struct rp_client_options *options,
                                          struct rp_client **client, rp_error *err);

/* The last one closes it, which gives back everything that was leased over it. Accepts NULL. */
void rp_client_drop(struct rp_client *client);

/* A second share of it. */
struct rp_client *rp_client_share(struct rp_client *client);

/*
 * Ask and wait for the answer. `request.number` is filled in here; descriptors (NULL: none) stay
 * the caller's. A FAILED answer becomes the error, so *reply is filled in only on RP_OK:
 * rp_reply_fini().
 *
 * deadline_ns  RP_ERR_TIMEOUT when it passes; the broker is told that nobody waits any more
 * cancelled    NULL, or a flag that is looked at now and then: RP_ERR_CANCELLED, likewise
 */
RP_MUST_CHECK rp_status rp_client_call(struct rp_client *client, const struct rp_message *request,
                                       const struct rp_descriptors *descriptors,
                                       int64_t deadline_ns, const _Atomic int *cancelled,
                                       struct rp_reply *reply, rp_error *err);

/* The same with a token (NULL: none), which is asked some twenty times a second. */
RP_MUST_CHECK rp_status rp_client_call_asking(struct rp_client *client,
                                              const struct rp_message *request,
                                              const struct rp_descriptors *descriptors,
                                              int64_t deadline_ns, const rp_cancel *cancel,
                                              struct rp_reply *reply, rp_error *err);

/* The same for an answer in parts (TEXT): *text is the caller's, rp_free(). */
RP_MUST_CHECK rp_status rp_client_call_text(struct rp_client *client,
                                            const struct rp_message *request, int64_t deadline_ns,
                                            char **text, rp_error *err);

/* Tell without waiting: RELEASE, OBJECT_ABORT. A dead broker needs not be told. */
void rp_client_tell(struct rp_client *client, const struct rp_message *message);

/*
 * Rings of leases that were given back, mapped still, for the next lease on the same model. Keeping
 * one takes it over (ring->base becomes NULL); of too many the oldest goes, and the broker is told.
 * Taking one fills in *ring, the caller's; false when it is not kept (any more).
 */
void rp_client_keep_ring(struct rp_client *client, uint64_t ring_id, struct rp_ring *ring);
bool rp_client_take_ring(struct rp_client *client, uint64_t ring_id, struct rp_ring *ring);

/* Whether the broker is still there, as far as a look at the socket tells. */
bool rp_client_is_alive(struct rp_client *client);

/* The broker's process. */
pid_t rp_client_broker_pid(const struct rp_client *client);

#endif
