/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/object_store.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"
#include "machine/object.h"

struct store {
    struct rp_broker *broker;
    struct rp_objects *objects;
    struct rp_broker_alarm *alarm; /* NULL: nobody waits with a deadline */
    int64_t alarm_ns;              /* when it rings */
};

/* --- what the registry needs --------------------------------------------------------------- */

static void send_object(void *user, struct rp_objects_asker asker, uint64_t lease_id, uint64_t size,
                        int fd) {
    (void)user;
    const struct rp_message message = {
        .type = RP_MESSAGE_OBJECT,
        .number = asker.number,
        .object = {.lease_id = lease_id, .size = size},
    };
    const struct rp_descriptors descriptors = {.fds = {fd}, .count = 1};
    rp_broker_answer(asker.client, &message, &descriptors);
}

static void send_build(void *user, struct rp_objects_asker asker, uint64_t token) {
    (void)user;
    const struct rp_message message = {
        .type = RP_MESSAGE_OBJECT_BUILD,
        .number = asker.number,
        .object_build = {.token = token},
    };
    rp_broker_answer(asker.client, &message, NULL);
}

static void send_failure(void *user, struct rp_objects_asker asker, const rp_error *why) {
    (void)user;
    rp_broker_fail(asker.client, asker.number, why);
}

/* Something that the registry put off, and whose broker may be idle afterwards. */
struct deferred {
    struct rp_broker *broker;
    void (*work)(void *job);
    void (*done)(void *job);
    void *job;
};

static void work_deferred(void *user) {
    struct deferred *deferred = user;
    deferred->work(deferred->job);
}

static void end_deferred(void *user) {
    struct deferred deferred = *(struct deferred *)user;
    rp_free(user);
    deferred.done(deferred.job);
    rp_broker_note_end(deferred.broker);
}

static bool defer(void *user, void (*work)(void *job), void (*done)(void *job), void *job) {
    struct store *store = user;
    struct deferred *deferred = rp_alloc(sizeof *deferred);
    if (!deferred) return false;
    *deferred = (struct deferred){store->broker, work, done, job};
    if (rp_broker_defer(store->broker, work_deferred, end_deferred, deferred)) return true;
    rp_free(deferred);
    return false;
}

static uint64_t next_id(void *user) {
    return rp_broker_next_id(((struct store *)user)->broker);
}

static pid_t pid_of(void *user, void *client) {
    (void)user;
    return rp_broker_client_pid(client);
}

static const char *command_of(void *user, void *client) {
    (void)user;
    return rp_broker_client_command(client);
}

/* --- deadlines ----------------------------------------------------------------------------- */

static void ring(void *user);

/* See to it that the next deadline is met. Without memory for an alarm it is met at the next frame.
 */
static void set_alarm(struct store *store) {
    int64_t next_ns = rp_objects_next_deadline_ns(store->objects);
    if (store->alarm && store->alarm_ns == next_ns) return;
    if (store->alarm) rp_broker_alarm_close(store->alarm);
    store->alarm = NULL;
    if (next_ns == RP_NEVER_NS) return;
    int64_t left_ns = next_ns - rp_clock_ns();
    int64_t milliseconds = left_ns > 0 ? left_ns / 1000000 + 1 : 0;
    store->alarm = rp_broker_alarm_open(store->broker, milliseconds, ring, store);
    store->alarm_ns = next_ns;
}

static void ring(void *user) {
    struct store *store = user;
    rp_broker_alarm_close(store->alarm); /* it rings once */
    store->alarm = NULL;
    rp_objects_expire(store->objects, rp_clock_ns());
    set_alarm(store);
}

/* After a call that may have ended a wait, a build or a lease. */
static void settle(struct store *store) {
    set_alarm(store);
    rp_broker_note_end(store->broker);
}

/* --- the store ----------------------------------------------------------------------------- */

static rp_status open_store(struct rp_broker *broker, void **store, rp_error *err) {
    struct store *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for the broker's objects");
    made->broker = broker;
    const struct rp_objects_host host = {
        .user = made,
        .have = send_object,
        .build = send_build,
        .fail = send_failure,
        .defer = defer,
        .next_id = next_id,
        .pid = pid_of,
        .command = command_of,
    };
    rp_status status = rp_objects_open(&host, rp_broker_pool(broker), 0, &made->objects, err);
    if (status != RP_OK) {
        rp_free(made);
        return status;
    }
    *store = made;
    return RP_OK;
}

static void close_store(void *user) {
    struct store *store = user;
    if (store->alarm) rp_broker_alarm_close(store->alarm);
    rp_objects_close(store->objects);
    rp_free(store);
}

static void handle(void *user, struct rp_broker_client *client, const struct rp_message *message,
                   struct rp_descriptors *descriptors) {
    struct store *store = user;
    struct rp_objects_asker asker = {.client = client, .number = message->number};
    rp_error why = RP_ERROR_INIT;
    switch (message->type) {
    case RP_MESSAGE_OBJECT_GET: {
        uint64_t timeout_ms = message->object_get.timeout_ms;
        int64_t deadline_ns = timeout_ms > 0 && timeout_ms <= INT64_MAX
                                  ? rp_deadline_after_ms((int64_t)timeout_ms)
                                  : RP_NEVER_NS;
        asker.thread = message->object_get.thread;
        rp_objects_get(store->objects, asker, message->object_get.key, deadline_ns);
        break;
    }
    case RP_MESSAGE_OBJECT_PUT:
        rp_objects_put(store->objects, asker, message->object_put.token,
                       rp_descriptors_take(descriptors));
        break;
    case RP_MESSAGE_OBJECT_ABORT:
        rp_error_from_text(&message->object_abort.why, &why);
        rp_objects_abort(store->objects, client, message->object_abort.token, &why);
        break;
    default:
        rp_fail(&why, RP_ERR_UNSUPPORTED, "the store of objects does not know '%s'",
                rp_message_name(message->type));
        rp_broker_fail(client, message->number, &why);
        break;
    }
    settle(store);
}

static void cancel(void *user, struct rp_broker_client *client, uint32_t number) {
    struct store *store = user;
    rp_objects_cancel(store->objects,
                      (struct rp_objects_asker){.client = client, .number = number});
    settle(store);
}

static bool release(void *user, struct rp_broker_client *client, uint64_t lease_id, bool retires) {
    struct store *store = user;
    bool was_ours = rp_objects_release(store->objects, client, lease_id, retires);
    settle(store);
    return was_ours;
}

static void client_gone(void *user, struct rp_broker_client *client) {
    struct store *store = user;
    rp_objects_leave(store->objects, client);
    settle(store);
}

static size_t lease_count(void *user) {
    return rp_objects_use_count(((struct store *)user)->objects);
}

/* --- status -------------------------------------------------------------------------------- */

struct lists {
    json_t *builds;
    json_t *leases;
};

/* Of a process; a reference that json_object_update() or an array takes over. NULL: no memory. */
static json_t *describe(const char *key, struct rp_broker_client *client) {
    json_t *row = json_pack("{s:s}", "key", key);
    if (!client) return row;
    json_object_set_new(row, "pid", json_integer(rp_broker_client_pid(client)));
    json_object_set_new(row, "command", json_string(rp_broker_client_command(client)));
    return row;
}

static void list_build(void *user, const struct rp_objects_build_info *info) {
    json_t *row = describe(info->key, info->client);
    json_object_set_new(row, "waiters", json_integer((json_int_t)info->wait_count));
    json_object_set_new(row, "since_ms", json_real(rp_elapsed_ms(info->since_ns, rp_clock_ns())));
    json_array_append_new(((struct lists *)user)->builds, row);
}

static void list_lease(void *user, const struct rp_objects_lease_info *info) {
    json_t *row = describe(info->key, info->client);
    json_object_set_new(row, "lease_id", json_integer((json_int_t)info->lease_id));
    json_object_set_new(row, "bytes", json_integer((json_int_t)info->size));
    json_object_set_new(row, "age_ms", json_real(rp_elapsed_ms(info->since_ns, rp_clock_ns())));
    json_array_append_new(((struct lists *)user)->leases, row);
}

/* Jansson's calls pass a missing object on as a failure: what memory there is for gets listed. */
static void tell_status(void *user, json_t *status) {
    struct lists lists = {json_array(), json_array()};
    json_t *objects = json_object();
    rp_objects_list(((struct store *)user)->objects, &lists, list_build, list_lease);
    json_object_set_new(objects, "builds", lists.builds);
    json_object_set_new(objects, "leases", lists.leases);
    json_object_set_new(status, "objects", objects);
}

const struct rp_broker_store rp_object_store = {
    .open = open_store,
    .close = close_store,
    .handle = handle,
    .cancel = cancel,
    .release = release,
    .client_gone = client_gone,
    .lease_count = lease_count,
    .tell_status = tell_status,
};
