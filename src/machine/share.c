/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/share.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"
#include "machine/remote_lease.h"
#include "pool/hooks.h"
#include "pool/waits.h"

#include <resourcepool/machine.h>
#include <resourcepool/statistics.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS = 4,      /* so many brokers may die under one request */
    ANSWER_MS = 1000 /* the broker ends a wait itself, and knows who is to blame */
};

rp_share_opener rp_share_open_remote = rp_remote_model_lease;

rp_status rp_share_decide(rp_share wanted, rp_share *share, rp_error *err) {
    const char *text = getenv("RESOURCE_POOL_SHARE");
    if (wanted == RP_SHARE_PROCESS || wanted == RP_SHARE_MACHINE) {
        *share = wanted;
    } else if (wanted != RP_SHARE_DEFAULT) {
        return rp_fail(err, RP_ERR_ARGUMENT, "rp_pool_options.share is %d, which is no rp_share",
                       (int)wanted);
    } else if (!text || !text[0] || strcmp(text, "process") == 0) {
        *share = RP_SHARE_PROCESS;
    } else if (strcmp(text, "machine") == 0) {
        *share = RP_SHARE_MACHINE;
    } else {
        rp_fail(err, RP_ERR_ARGUMENT, "RESOURCE_POOL_SHARE is '%.60s'", text);
        rp_hint(err, "it is 'process' or 'machine'");
        return RP_ERR_ARGUMENT;
    }
    return RP_OK;
}

/*
 * Why what the machine shares cannot be had; each program says so once. It asked for them, so
 * silence would hide why it is slow and large: unless a log was asked for, which then has it,
 * stderr gets the sentence.
 */
void rp_machine_tell_alone(const rp_error *why) {
    static _Atomic bool is_told;
    struct rp_logger logger = rp_logger_make(RP_LOG_OFF, NULL, NULL);
    const char *level = getenv("RESOURCE_POOL_LOG");
    if (!why || atomic_exchange(&is_told, true)) return;
    if (level && level[0]) {
        rp_log(&logger, RP_LOG_WARNING, "event=alone message=\"models are not shared: %s\"",
               why->message);
        return;
    }
    fprintf(stderr, "resourcepool: this process works alone, models are not shared: %s\n",
            why->message);
    if (why->hint[0]) fprintf(stderr, "hint: %s\n", why->hint);
}

/* Whether a program can go on by itself: it is the broker that fails, not the model. */
static bool is_for_want_of_broker(rp_status status) {
    return status == RP_ERR_ABSENT || status == RP_ERR_UNSUPPORTED || status == RP_ERR_STATE ||
           status == RP_ERR_IO || status == RP_ERR_TIMEOUT || status == RP_ERR_DATA;
}

/* How the bytes were found, in storage that outlives the broker's answer. */
static const char *method_of(const char *told) {
    static const char *const methods[] = {"constructor", "request", "measured", "together",
                                          "engine",      "file",    "config",   "name"};
    for (size_t i = 0; told && i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i], told) == 0) return methods[i];
    }
    return NULL;
}

/* is_ring_lost: the broker offered a ring that this process keeps no more, and knows that now. */
static rp_status ask(struct rp_client *client, const struct rp_pool_wanted *wanted,
                     struct rp_pool_leased *leased, bool *is_ring_lost, rp_error *err) {
    struct rp_reply reply = {.frame = NULL};
    const rp_model_options *options = wanted->options;
    const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                       .acquire = {.kind = RP_KIND_MODEL,
                                                   .threads = options->threads,
                                                   .memory_bytes = wanted->memory_bytes,
                                                   .thread = (uint64_t)wanted->thread,
                                                   .resource_type = wanted->type,
                                                   .name = wanted->name,
                                                   .path = wanted->path,
                                                   .device = options->device,
                                                   .precision = options->precision,
                                                   .engine = options->engine}};
    rp_status status =
        rp_client_call(client, &message, NULL, RP_NEVER_NS, wanted->cancelled, &reply, err);
    if (status != RP_OK) return status;
    if (reply.message.type != RP_MESSAGE_LEASED) {
        status = rp_fail(err, RP_ERR_DATA, "the broker answered a request for '%s' with %s",
                         wanted->name, rp_message_name(reply.message.type));
    } else {
        status = rp_share_open_remote(rp_client_share(client), &reply, wanted->file, &leased->model,
                                      err);
        leased->is_hit = reply.message.leased.is_hit != 0;
        leased->memory_method = method_of(reply.message.leased.memory_method);
        *is_ring_lost = status == RP_ERR_NOT_FOUND;
        if (status != RP_OK) {
            const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                               .release = {reply.message.leased.lease_id, false}};
            rp_client_tell(client, &release);
            rp_client_drop(client);
        }
    }
    rp_reply_fini(&reply);
    return status;
}

static rp_status lease(struct rp_client *client, const struct rp_pool_wanted *wanted,
                       struct rp_pool_leased *leased, rp_error *err) {
    bool is_ring_lost = false;
    rp_status status = ask(client, wanted, leased, &is_ring_lost, err);
    return is_ring_lost ? ask(client, wanted, leased, &is_ring_lost, err) : status;
}

/* Of one pool: what its leases have in common. */
struct sharing {
    struct rp_lock lock;
    struct rp_client *client; /* kept for the next lease, even when nothing is leased; or NULL */
};

static void close_sharing(void *user) {
    struct sharing *sharing = user;
    rp_client_drop(sharing->client);
    rp_lock_fini(&sharing->lock);
    rp_free(sharing);
}

/* A connection costs more than a lease: the latest one stays open. */
static void keep(struct sharing *sharing, struct rp_client *client) {
    struct rp_client *before = NULL;
    rp_lock_acquire(&sharing->lock);
    if (sharing->client != client) {
        before = sharing->client;
        sharing->client = rp_client_share(client);
    }
    rp_lock_release(&sharing->lock);
    rp_client_drop(before);
}

/* The hook for models of a pool that shares. When the broker dies meanwhile the next one is asked.
 */
static rp_status lease_model(void *user, const struct rp_pool_wanted *wanted,
                             struct rp_pool_leased *leased, rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_ERR_STATE;
    bool is_asked = false;
    for (int round = 0; round < ROUNDS && status == RP_ERR_STATE; round++) {
        struct rp_client *client = NULL;
        status = rp_client_acquire(NULL, &client, &why);
        is_asked = status == RP_OK;
        if (is_asked) {
            keep(user, client);
            status = lease(client, wanted, leased, &why);
        }
        rp_client_drop(client);
    }
    if (status == RP_OK) return RP_OK;
    if (!is_for_want_of_broker(status) || (is_asked && status != RP_ERR_STATE)) {
        if (err) *err = why;
        return status;
    }
    rp_machine_tell_alone(&why);
    status = rp_model_open_until(wanted->file, wanted->options, wanted->cancelled, RP_NEVER_NS,
                                 &leased->model, err);
    leased->is_own = true;
    if (status == RP_OK && rp_model_bytes(leased->model) != RP_UNKNOWN_U64) {
        leased->memory_method = "engine";
    }
    return status;
}

/* ---- room ---- */

/* What the lease on room is at the broker. */
struct remote_room {
    struct rp_client *client;
    uint64_t lease_id;
};

static void give_room_back(void *remote) {
    struct remote_room *room = remote;
    const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                       .release = {room->lease_id, false}};
    rp_client_tell(room->client, &release);
    rp_client_drop(room->client);
    rp_free(room);
}

static rp_status take_room(struct rp_client *client, const struct rp_reply *reply,
                           struct rp_pool_room *room, rp_error *err) {
    struct remote_room *remote = rp_alloc(sizeof *remote);
    const char *device = reply->message.leased.device;
    if (!remote) {
        const struct rp_message release = {.type = RP_MESSAGE_RELEASE,
                                           .release = {reply->message.leased.lease_id, false}};
        rp_client_tell(client, &release);
        return rp_fail(err, RP_ERR_MEMORY, "no memory to hold room on '%s'", device);
    }
    *remote = (struct remote_room){rp_client_share(client), reply->message.leased.lease_id};
    room->remote = remote;
    room->give_back = give_room_back;
    room->policy = (rp_policy)reply->message.leased.policy;
    snprintf(room->device, sizeof room->device, "%s", device);
    snprintf(room->reason, sizeof room->reason, "%s", reply->message.leased.reason);
    return RP_OK;
}

static rp_status ask_for_room(struct rp_client *client, const struct rp_pool_room_wanted *wanted,
                              int64_t deadline_ns, struct rp_pool_room *room, rp_error *err) {
    struct rp_reply reply = {.frame = NULL};
    int64_t left_ns = deadline_ns == RP_NEVER_NS ? 0 : deadline_ns - rp_clock_ns();
    uint64_t left_ms = left_ns > 1000000 ? (uint64_t)left_ns / 1000000 : 1;
    const struct rp_message message = {
        .type = RP_MESSAGE_ACQUIRE,
        .acquire = {.kind = RP_KIND_RESERVATION,
                    .timeout_ms = deadline_ns == RP_NEVER_NS ? 0 : left_ms,
                    .memory_bytes = wanted->memory_bytes,
                    .thread = (uint64_t)wanted->thread,
                    .resource_type = "reservation",
                    .name = wanted->name,
                    .device = wanted->device}};
    int64_t until_ns = deadline_ns == RP_NEVER_NS
                           ? RP_NEVER_NS
                           : rp_deadline_after_ms((int64_t)left_ms + ANSWER_MS);
    rp_status status =
        rp_client_call_asking(client, &message, NULL, until_ns, wanted->cancel, &reply, err);
    if (status != RP_OK) return status;
    if (reply.message.type == RP_MESSAGE_LEASED) {
        status = take_room(client, &reply, room, err);
    } else {
        status = rp_fail(err, RP_ERR_DATA, "the broker answered the reservation '%s' with %s",
                         wanted->name, rp_message_name(reply.message.type));
    }
    rp_reply_fini(&reply);
    return status;
}

/* The hook: as lease_model(), but who works alone has an account of its own. */
static rp_status reserve(void *user, const struct rp_pool_room_wanted *wanted,
                         struct rp_pool_room *room, rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_ERR_STATE;
    bool is_asked = false;
    int64_t deadline_ns =
        wanted->timeout_ms > 0 ? rp_deadline_after_ms(wanted->timeout_ms) : RP_NEVER_NS;
    for (int round = 0; round < ROUNDS && status == RP_ERR_STATE; round++) {
        struct rp_client *client = NULL;
        status = rp_client_acquire(NULL, &client, &why);
        is_asked = status == RP_OK;
        if (is_asked) {
            keep(user, client);
            status = ask_for_room(client, wanted, deadline_ns, room, &why);
        }
        rp_client_drop(client);
    }
    if (status == RP_OK) return RP_OK;
    if (is_for_want_of_broker(status) && (!is_asked || status == RP_ERR_STATE)) {
        rp_machine_tell_alone(&why);
        return RP_OK;
    }
    if (err) *err = why;
    return status;
}

rp_status rp_pool_open(const rp_pool_options *options, rp_pool **pool, rp_error *err) {
    rp_pool_options own = RP_POOL_OPTIONS_INIT;
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    rp_share share;
    rp_status status = rp_share_decide(own.share, &share, err);
    if (status != RP_OK) return status;
    if (share != RP_SHARE_MACHINE || !rp_share_open_remote) {
        return rp_pool_open_hooked(options, NULL, pool, err);
    }
    struct sharing *sharing = rp_alloc(sizeof *sharing);
    if (!sharing) return rp_fail(err, RP_ERR_MEMORY, "no memory for a pool that shares");
    rp_lock_init(&sharing->lock);
    const struct rp_pool_hooks hooks = {
        .lease_model = lease_model, .reserve = reserve, .closed = close_sharing, .user = sharing};
    status = rp_pool_open_hooked(options, &hooks, pool, err);
    if (status != RP_OK) close_sharing(sharing);
    return status;
}
