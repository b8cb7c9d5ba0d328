/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a client. An object is a mapping and a lease at the broker. The mapping holds the
 * memory by itself, so that an object stays usable when the broker dies; the lease keeps it in the
 * broker's pool for others.
 *
 * After fork() the child has the mapping, but not the lease: what it releases it unmaps only.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/client.h"
#include "machine/machine.h"
#include "machine/segment.h"

#include <resourcepool/machine.h>
#include <unistd.h>

struct rp_object {
    struct rp_client *client;
    struct rp_segment *segment;
    uint64_t lease_id; /* 0: given back */
    pid_t pid;         /* whose lease it is */
};

struct rp_object_build {
    struct rp_client *client;
    uint64_t token;
    int64_t timeout_ms;
    rp_cancel *cancel; /* of the request, whose token outlives it; NULL */
    pid_t pid;
};

/* The broker ends the wait itself, and knows who is to blame: its answer is given a moment. */
enum { ANSWER_MS = 200 };

static int64_t deadline_of(int64_t timeout_ms) {
    bool is_bounded = timeout_ms > 0 && timeout_ms <= INT64_MAX - ANSWER_MS;
    return is_bounded ? rp_deadline_after_ms(timeout_ms + ANSWER_MS) : RP_NEVER_NS;
}

static void release_lease(struct rp_client *client, uint64_t lease_id) {
    const struct rp_message release = {
        .type = RP_MESSAGE_RELEASE,
        .release = {.lease_id = lease_id},
    };
    rp_client_tell(client, &release);
}

/* Attach what came with an OBJECT; the lease goes back when that fails. */
static rp_status take_object(struct rp_client *client, struct rp_reply *reply, rp_object **object,
                             rp_error *err) {
    uint64_t lease_id = reply->message.object.lease_id;
    rp_object *made = rp_alloc(sizeof *made);
    rp_status status = made ? RP_OK : rp_fail(err, RP_ERR_MEMORY, "no memory to attach an object");
    if (status == RP_OK) {
        status = rp_segment_attach(reply->descriptors.fds[0], &made->segment, err);
    }
    if (status != RP_OK) {
        release_lease(client, lease_id);
        rp_free(made);
        return status;
    }
    made->client = rp_client_share(client);
    made->lease_id = lease_id;
    made->pid = getpid();
    *object = made;
    return RP_OK;
}

static rp_status take_build(struct rp_client *client, const struct rp_reply *reply,
                            rp_object_build **build, rp_error *err) {
    rp_object_build *made = rp_alloc(sizeof *made);
    if (!made) {
        struct rp_message abort = {
            .type = RP_MESSAGE_OBJECT_ABORT,
            .object_abort = {.token = reply->message.object_build.token},
        };
        abort.object_abort.why.status = RP_ERR_CANCELLED; /* the next one may have more memory */
        rp_client_tell(client, &abort);
        return rp_fail(err, RP_ERR_MEMORY, "no memory to build an object");
    }
    made->client = rp_client_share(client);
    made->token = reply->message.object_build.token;
    made->pid = getpid();
    *build = made;
    return RP_OK;
}

static rp_status unexpected(const struct rp_reply *reply, rp_error *err) {
    return rp_fail(err, RP_ERR_DATA, "the broker answered a request for an object with '%s'",
                   rp_message_name(reply->message.type));
}

rp_status rp_machine_object_get(rp_machine *machine, const char *key, int64_t timeout_ms,
                                rp_cancel *cancel, rp_object **object, rp_object_build **build,
                                rp_error *err) {
    if (!machine || !key || !key[0] || !object || !build || timeout_ms < 0) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "an object needs a machine, a key, and where to put it or its build");
    }
    struct rp_client *client = machine->client;
    struct rp_reply reply;
    rp_object *attached = NULL;
    rp_object_build *begun = NULL;
    const struct rp_message request = {
        .type = RP_MESSAGE_OBJECT_GET,
        .object_get = {.key = key,
                       .timeout_ms = (uint64_t)timeout_ms,
                       .thread = (uint64_t)gettid()},
    };
    rp_status status =
        rp_client_call_asking(client, &request, NULL, deadline_of(timeout_ms), cancel, &reply, err);
    if (status == RP_OK) {
        if (reply.message.type == RP_MESSAGE_OBJECT) {
            status = take_object(client, &reply, &attached, err);
        } else if (reply.message.type == RP_MESSAGE_OBJECT_BUILD) {
            status = take_build(client, &reply, &begun, err);
            if (begun) begun->timeout_ms = timeout_ms;
            if (begun) begun->cancel = cancel;
        } else {
            status = unexpected(&reply, err);
        }
        rp_reply_fini(&reply);
    }
    if (status != RP_OK) return status;
    *object = attached;
    *build = begun;
    return RP_OK;
}

static void end_build(rp_object_build *build) {
    rp_client_drop(build->client);
    rp_free(build);
}

/* Send a descriptor to the broker, which checks it like any stranger's. Uses the build up. */
static rp_status put(rp_object_build *build, int fd, uint64_t size, rp_object **object,
                     rp_error *err) {
    struct rp_reply reply;
    const struct rp_descriptors descriptors = {.fds = {fd}, .count = 1};
    const struct rp_message request = {
        .type = RP_MESSAGE_OBJECT_PUT,
        .object_put = {.token = build->token, .size = size},
    };
    rp_status status =
        rp_client_call_asking(build->client, &request, &descriptors, deadline_of(build->timeout_ms),
                              build->cancel, &reply, err);
    if (status != RP_OK) return status;
    if (reply.message.type != RP_MESSAGE_OBJECT) {
        status = unexpected(&reply, err);
    } else if (object) {
        status = take_object(build->client, &reply, object, err);
    } else {
        release_lease(build->client, reply.message.object.lease_id);
    }
    rp_reply_fini(&reply);
    return status;
}

/* The segment is there, or `status` and *err say why not: then all who wait are told. */
static rp_status put_or_abort(rp_object_build *build, rp_status status, int fd, uint64_t size,
                              rp_object **object, rp_error *why, rp_error *err) {
    if (status != RP_OK) {
        rp_machine_object_abort(build, why);
    } else {
        status = put(build, fd, size, object, why);
        close(fd);
        end_build(build);
    }
    if (status != RP_OK && err) *err = *why;
    return status;
}

/* In a child of the builder the token is not ours to use. */
static rp_status check_build(rp_object_build *build, rp_error *err) {
    if (!build) return rp_fail(err, RP_ERR_ARGUMENT, "publishing needs the build of an object");
    if (build->pid == getpid()) return RP_OK;
    rp_status status =
        rp_fail(err, RP_ERR_FORKED, "process %d is to build the object, not this child of it",
                (int)build->pid);
    end_build(build);
    return status;
}

rp_status rp_machine_object_publish(rp_object_build *build, const rp_object_part *parts,
                                    size_t count, rp_object **object, rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    int fd = -1;
    uint64_t size = 0;
    rp_status status = check_build(build, err);
    if (status != RP_OK) return status;
    if (count > 0 && !parts) {
        status = rp_fail(&why, RP_ERR_ARGUMENT, "%zu parts of an object are at no address", count);
    }
    for (size_t i = 0; i < count && status == RP_OK; i++) {
        if (parts[i].data || parts[i].bytes == 0) continue;
        status = rp_fail(&why, RP_ERR_ARGUMENT, "part %zu of an object is at no address", i);
    }
    if (status == RP_OK) status = rp_segment_create(parts, count, &fd, &size, &why);
    return put_or_abort(build, status, fd, size, object, &why, err);
}

rp_status rp_machine_object_publish_file(rp_object_build *build, const char *path,
                                         rp_object **object, rp_error *err) {
    rp_error why = RP_ERROR_INIT;
    int fd = -1;
    uint64_t size = 0;
    rp_status status = check_build(build, err);
    if (status != RP_OK) return status;
    status = path ? rp_segment_from_file(path, &fd, &size, &why)
                  : rp_fail(&why, RP_ERR_ARGUMENT, "publishing a file needs its path");
    return put_or_abort(build, status, fd, size, object, &why, err);
}

void rp_machine_object_abort(rp_object_build *build, const rp_error *why) {
    if (!build) return;
    rp_error unknown = RP_ERROR_INIT;
    rp_fail(&unknown, RP_ERR_CANCELLED, "it was given up");
    const struct rp_message abort = {
        .type = RP_MESSAGE_OBJECT_ABORT,
        .object_abort = {.token = build->token,
                         .why = rp_error_to_text(why && why->status != RP_OK ? why : &unknown)},
    };
    if (build->pid == getpid()) rp_client_tell(build->client, &abort);
    end_build(build);
}

size_t rp_object_part_count(const rp_object *object) {
    return object ? rp_segment_part_count(object->segment) : 0;
}

void *rp_object_part_data(const rp_object *object, size_t index, size_t *bytes) {
    if (index >= rp_object_part_count(object)) {
        *bytes = 0;
        return NULL;
    }
    return rp_segment_part(object->segment, index, bytes);
}

rp_status rp_object_protect(rp_object *object, rp_error *err) {
    if (!object) return rp_fail(err, RP_ERR_ARGUMENT, "there is no object to protect");
    return rp_segment_protect(object->segment, err);
}

void rp_machine_object_retire(rp_object *object) {
    if (!object || object->pid != getpid() || object->lease_id == 0) return;
    const struct rp_message release = {
        .type = RP_MESSAGE_RELEASE,
        .release = {.lease_id = object->lease_id, .how = RP_RELEASE_RETIRES},
    };
    rp_client_tell(object->client, &release);
    object->lease_id = 0;
}

void rp_machine_object_release(rp_object *object) {
    if (!object) return;
    rp_segment_detach(object->segment);
    if (object->pid == getpid() && object->lease_id != 0) {
        release_lease(object->client, object->lease_id);
    }
    rp_client_drop(object->client);
    rp_free(object);
}
