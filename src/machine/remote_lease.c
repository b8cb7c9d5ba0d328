/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/remote_lease.h"

#include "base/memory.h"
#include "base/status.h"
#include "machine/remote_model.h"

enum { TRIM_BYTES = 1 << 20 }; /* of a ring, from which on it is not kept as full as it was */

struct tie {
    struct rp_client *client;
    uint64_t lease_id;
    uint64_t ring_id;
};

static bool is_alive(void *user) {
    const struct tie *tie = user;
    return rp_client_is_alive(tie->client);
}

/* The next lease on the same model takes less time with a ring that is there already. */
static void keep_ring(const struct tie *tie, struct rp_ring *ring) {
    for (uint32_t i = 0; ring->bytes > TRIM_BYTES && i < ring->slot_count; i++) {
        rp_ring_trim(ring, i);
    }
    rp_client_keep_ring(tie->client, tie->ring_id, ring);
}

static void give_back(void *user, struct rp_ring *ring, bool is_clean) {
    struct tie *tie = user;
    bool keeps = is_clean && rp_client_is_alive(tie->client);
    if (keeps) keep_ring(tie, ring); /* before it may be offered again */
    const struct rp_message message = {.type = RP_MESSAGE_RELEASE,
                                       .release = {tie->lease_id, keeps}};
    rp_client_tell(tie->client, &message);
    rp_client_drop(tie->client);
    rp_free(tie);
}

static rp_status open_tied(struct tie *tie, const struct rp_message *message, struct rp_ring *ring,
                           const char *path, rp_model **model, rp_error *err) {
    struct rp_engine_ports inputs = {0};
    struct rp_engine_ports outputs = {0};
    rp_status status = rp_ports_decode(&message->leased.inputs, &inputs, err);
    if (status == RP_OK) status = rp_ports_decode(&message->leased.outputs, &outputs, err);
    const char *device = message->leased.device;
    const char *precision = message->leased.precision;
    struct rp_remote_request request = {
        .path = path,
        .device = device && device[0] ? device : "cpu",
        .precision = precision && precision[0] ? precision : NULL,
        .engine = message->leased.engine ? message->leased.engine : "unknown",
        .threads = message->leased.threads,
        .memory_bytes = message->leased.memory_bytes,
        .ring = ring,
        .inputs = &inputs,
        .outputs = &outputs,
        .is_alive = is_alive,
        .closed = give_back,
        .user = tie,
    };
    if (status == RP_OK) status = rp_remote_model_open(&request, model, err);
    rp_engine_ports_fini(&inputs);
    rp_engine_ports_fini(&outputs);
    return status;
}

/* The ring that came, or the one that was kept since the last lease. */
static rp_status find_ring(struct rp_client *client, struct rp_reply *reply, const char *path,
                           struct rp_ring *ring, rp_error *err) {
    uint64_t ring_id = reply->message.leased.ring_id;
    if (reply->descriptors.count == 1) return rp_ring_map(reply->descriptors.fds[0], ring, err);
    if (ring_id == 0) {
        return rp_fail(err, RP_ERR_DATA, "the broker leased '%s' without a way to run it", path);
    }
    if (rp_client_take_ring(client, ring_id, ring)) return RP_OK;
    return rp_fail(err, RP_ERR_NOT_FOUND, "the ring to '%s' is not kept any more", path);
}

rp_status rp_remote_model_lease(struct rp_client *client, struct rp_reply *reply, const char *path,
                                rp_model **model, rp_error *err) {
    struct rp_ring ring = {0};
    if (reply->message.type != RP_MESSAGE_LEASED) {
        return rp_fail(err, RP_ERR_DATA, "the broker's answer is no lease on '%s'", path);
    }
    struct tie *tie = rp_alloc(sizeof *tie);
    if (!tie) return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", path);
    *tie = (struct tie){client, reply->message.leased.lease_id, reply->message.leased.ring_id};
    rp_status status = find_ring(client, reply, path, &ring, err);
    if (status == RP_OK) status = open_tied(tie, &reply->message, &ring, path, model, err);
    rp_ring_unmap(&ring);
    if (status != RP_OK) rp_free(tie);
    return status;
}
