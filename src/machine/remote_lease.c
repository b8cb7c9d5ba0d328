/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/remote_lease.h"

#include "base/memory.h"
#include "base/status.h"
#include "machine/remote_model.h"

#include <unistd.h>

struct tie {
    struct rp_client *client;
    uint64_t lease_id;
};

static bool is_alive(void *user) {
    const struct tie *tie = user;
    return rp_client_is_alive(tie->client);
}

static void give_back(void *user) {
    struct tie *tie = user;
    const struct rp_message message = {.type = RP_MESSAGE_RELEASE, .release = {tie->lease_id}};
    rp_client_tell(tie->client, &message);
    rp_client_drop(tie->client);
    rp_free(tie);
}

static rp_status open_tied(struct tie *tie, const struct rp_message *message, int ring_fd,
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
        .ring_fd = ring_fd,
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

rp_status rp_remote_model_lease(struct rp_client *client, struct rp_reply *reply, const char *path,
                                rp_model **model, rp_error *err) {
    if (reply->message.type != RP_MESSAGE_LEASED || reply->descriptors.count != 1) {
        return rp_fail(err, RP_ERR_DATA, "the broker leased '%s' without a way to run it", path);
    }
    struct tie *tie = rp_alloc(sizeof *tie);
    if (!tie) return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", path);
    *tie = (struct tie){client, reply->message.leased.lease_id};
    int ring_fd = rp_descriptors_take(&reply->descriptors);
    rp_status status = open_tied(tie, &reply->message, ring_fd, path, model, err);
    close(ring_fd);
    if (status != RP_OK) rp_free(tie);
    return status;
}
