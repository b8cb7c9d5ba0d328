/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of clients on entries of the broker's pool.
 *
 * A request for what is loaded is answered at once, in the loop. Any other becomes a *job*: the
 * pool's own blocking call on a thread of its own, one for all requests that ask the same. Each
 * request keeps its own deadline; a job that runs out of time is begun anew for those who have
 * more, and called off when nobody is left.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"
#include "pool/pool.h"

#include <resourcepool/statistics.h>
#include <string.h>
#include <unistd.h>

/* The pool tells the story of a timeout better than the alarm does: it gets a little longer. */
enum { ALARM_GRACE_MS = 100, JOBS_MAX = 512 };

static uint64_t hash_of(uint64_t id) {
    return id * UINT64_C(0x9E3779B97F4A7C15);
}

uint64_t rp_broker_next_id(struct rp_broker *broker) {
    return ++broker->last_id;
}

/* ---- leases ---- */

static struct rp_broker_lease *find_lease(const struct rp_broker *broker, uint64_t id) {
    struct rp_table_probe at = rp_table_find(&broker->leases, hash_of(id));
    for (; at.value; at = rp_table_find_next(&broker->leases, at)) {
        struct rp_broker_lease *lease = at.value;
        if (lease->id == id) return lease;
    }
    return NULL;
}

/* On the housekeeper. */
static void give_back(void *user) {
    struct rp_broker_lease *lease = user;
    rp_lease_release(lease->ticket, NULL);
    rp_free(lease);
}

/* ---- rings between leases ---- */

static void forget_kept(struct rp_broker_client *client, size_t index) {
    client->kept_count--;
    for (size_t i = index; i < client->kept_count; i++) {
        client->kept_rings[i] = client->kept_rings[i + 1];
    }
}

static void keep_ring(struct rp_broker_client *client, uint64_t ring_id) {
    struct rp_broker *broker = client->broker;
    if (client->kept_count == RP_LIMIT_CLIENT_RINGS) {
        broker->host.close_ring(broker->host.user, client->kept_rings[0]);
        forget_kept(client, 0);
    }
    client->kept_rings[client->kept_count++] = ring_id;
}

/* One that the client keeps to that model, which is its lease's from now on; 0: none. */
static uint64_t take_kept(struct rp_broker_client *client, const rp_model *model) {
    const struct rp_broker_host *host = &client->broker->host;
    for (size_t i = client->kept_count; i > 0; i--) {
        uint64_t ring_id = client->kept_rings[i - 1];
        if (!host->has_ring(host->user, model, ring_id)) continue;
        forget_kept(client, i - 1);
        return ring_id;
    }
    return 0;
}

void rp_broker_close_ring(struct rp_broker_client *client, uint64_t ring_id) {
    struct rp_broker *broker = client->broker;
    for (size_t i = 0; i < client->kept_count; i++) {
        if (client->kept_rings[i] != ring_id) continue;
        forget_kept(client, i);
        broker->host.close_ring(broker->host.user, ring_id);
        return;
    }
}

/* ---- the end of a lease ---- */

static void end_lease(struct rp_broker_lease *lease) {
    struct rp_broker_client *client = lease->client;
    struct rp_broker *broker = client->broker;
    if (lease->has_ring) {
        broker->host.detach(broker->host.user, rp_lease_model(lease->ticket), lease->ring_id);
    }
    rp_table_remove(&broker->leases, hash_of(lease->id), lease);
    *lease->link = lease->next;
    if (lease->next) lease->next->link = lease->link;
    client->lease_count--;
    broker->lease_count--;
    lease->give_back = (struct rp_task){give_back, NULL, lease, NULL};
    rp_broker_add_chore(broker, &lease->give_back);
}

bool rp_broker_give_back(struct rp_broker_client *client, uint64_t lease_id, bool keeps_ring) {
    struct rp_broker_lease *lease = find_lease(client->broker, lease_id);
    if (!lease || lease->client != client) return false;
    rp_broker_log(client->broker, "debug", "event=release pid=%d key=\"%s\"", (int)client->pid,
                  rp_lease_key(lease->ticket));
    if (keeps_ring && lease->has_ring && client->broker->host.close_ring) {
        lease->has_ring = false;
        keep_ring(client, lease->ring_id);
    }
    end_lease(lease);
    rp_broker_note_end(client->broker);
    return true;
}

void rp_broker_give_back_all(struct rp_broker_client *client) {
    while (client->leases) {
        end_lease(client->leases);
    }
    while (client->kept_count > 0) {
        rp_broker_close_ring(client, client->kept_rings[0]);
    }
}

void rp_broker_revoke(struct rp_broker *broker, const char *key) {
    for (struct rp_broker_client *client = broker->clients; client; client = client->next) {
        for (struct rp_broker_lease *lease = client->leases, *next; lease; lease = next) {
            next = lease->next;
            if (key && strcmp(rp_lease_key(lease->ticket), key) != 0) continue;
            rp_broker_log(broker, "warning", "event=revoke pid=%d key=\"%s\"", (int)client->pid,
                          rp_lease_key(lease->ticket));
            end_lease(lease);
        }
    }
    rp_broker_note_end(broker);
}

/* A lease of the client's on a ticket, which is the lease's from now on; NULL without memory. */
static struct rp_broker_lease *add_lease(struct rp_broker_client *client, uint32_t number,
                                         rp_lease *ticket, uint64_t thread, bool is_hit) {
    struct rp_broker *broker = client->broker;
    struct rp_broker_lease *lease = rp_alloc(sizeof *lease);
    if (!lease || !rp_table_reserve(&broker->leases)) {
        rp_free(lease);
        return NULL;
    }
    lease->id = rp_broker_next_id(broker);
    lease->number = number;
    lease->client = client;
    lease->ticket = ticket;
    lease->thread = thread;
    lease->is_hit = is_hit;
    lease->since_wall_ns = rp_wall_ns();
    lease->next = client->leases;
    lease->link = &client->leases;
    if (lease->next) lease->next->link = &lease->next;
    client->leases = lease;
    client->lease_count++;
    broker->lease_count++;
    rp_table_insert(&broker->leases, hash_of(lease->id), lease);
    return lease;
}

static bool is_room(const struct rp_broker_lease *lease) {
    return rp_pool_lease_kind(lease->ticket) == RP_KIND_RESERVATION;
}

/* There is nothing to run: where it is, is all. */
static rp_status send_room(const struct rp_broker_lease *lease) {
    const rp_placement *placement = rp_lease_placement(lease->ticket);
    struct rp_message message = {.type = RP_MESSAGE_LEASED,
                                 .number = lease->number,
                                 .leased = {.lease_id = lease->id,
                                            .memory_bytes = rp_lease_memory_bytes(lease->ticket),
                                            .policy = (uint32_t)placement->policy,
                                            .key = rp_lease_key(lease->ticket),
                                            .device = placement->device,
                                            .reason = placement->reason}};
    rp_broker_answer(lease->client, &message, NULL);
    return RP_OK;
}

/* Send LEASED with what the client needs to know of the model. */
static rp_status send_lease(struct rp_broker_lease *lease, rp_error *why) {
    struct rp_broker *broker = lease->client->broker;
    rp_model *model = rp_lease_model(lease->ticket);
    const rp_placement *placement = rp_lease_placement(lease->ticket);
    struct rp_broker_ring ring = {.fd = -1};
    struct rp_text inputs = RP_TEXT_INIT;
    struct rp_text outputs = RP_TEXT_INIT;
    rp_status status = RP_OK;
    if (is_room(lease)) return send_room(lease);
    if (!model) {
        return rp_fail(why, RP_ERR_UNSUPPORTED, "'%s' is no model that an engine loaded",
                       rp_lease_key(lease->ticket));
    }
    if (broker->host.has_ring) ring.id = take_kept(lease->client, model);
    if (ring.id == 0 && broker->host.attach) {
        status = broker->host.attach(broker->host.user, model, lease->client->pid, &ring, why);
        if (status != RP_OK) return status;
    }
    lease->has_ring = ring.id != 0;
    lease->ring_id = ring.id;
    rp_ports_encode(&model->inputs, &inputs);
    rp_ports_encode(&model->outputs, &outputs);
    if (inputs.failed || outputs.failed) {
        status =
            rp_fail(why, RP_ERR_MEMORY, "no memory to describe '%s'", rp_lease_key(lease->ticket));
    } else if (inputs.length + outputs.length > RP_LIMIT_FRAME_TEXT_BYTES) {
        status = rp_fail(why, RP_ERR_LIMIT, "'%s' has more inputs and outputs than fit a frame",
                         rp_lease_key(lease->ticket));
    } else {
        struct rp_message message = {
            .type = RP_MESSAGE_LEASED,
            .number = lease->number,
            .leased = {.lease_id = lease->id,
                       .memory_bytes = rp_lease_memory_bytes(lease->ticket),
                       .ring_bytes = ring.fd >= 0 ? ring.bytes : 0,
                       .ring_id = ring.id,
                       .threads = rp_model_threads(model),
                       .policy = (uint32_t)placement->policy,
                       .is_hit = lease->is_hit,
                       .key = rp_lease_key(lease->ticket),
                       .device = placement->device ? placement->device : "",
                       .precision = rp_model_precision(model),
                       .engine = rp_model_engine(model),
                       .reason = placement->reason,
                       .memory_method = rp_pool_lease_method(lease->ticket),
                       .inputs = {inputs.bytes, (uint32_t)inputs.length},
                       .outputs = {outputs.bytes, (uint32_t)outputs.length}}};
        struct rp_descriptors descriptors = {{ring.fd}, ring.fd >= 0};
        rp_broker_answer(lease->client, &message, &descriptors);
    }
    if (ring.fd >= 0) close(ring.fd);
    rp_text_fini(&inputs);
    rp_text_fini(&outputs);
    return status;
}

/* A program that forgets to give back must not take all threads of a worker that others use. */
static rp_status check_share(const struct rp_broker_client *client, rp_lease *ticket,
                             rp_error *why) {
    const rp_model *model = rp_lease_model(ticket);
    size_t count = 0;
    if (client->lease_count < RP_LIMIT_CLIENT_LEASES_SAME || !model) return RP_OK;
    for (const struct rp_broker_lease *at = client->leases; at; at = at->next) {
        count += rp_lease_model(at->ticket) == model;
    }
    if (count < RP_LIMIT_CLIENT_LEASES_SAME) return RP_OK;
    rp_fail(why, RP_ERR_LIMIT, "process %d has %zu leases on '%s', the most on one model",
            (int)client->pid, count, rp_lease_key(ticket));
    rp_hint(why, "one pool in a program is enough: its threads share one lease of the broker's");
    return RP_ERR_LIMIT;
}

/*
 * Answer a request with a ticket of the pool, which is taken over; a failure is the caller's to
 * tell. A model that turns out to be dead is taken out of the pool: RP_ERR_STATE.
 */
static rp_status answer_with(struct rp_broker_client *client, uint32_t number, rp_lease *ticket,
                             uint64_t thread, bool is_hit, rp_error *why) {
    struct rp_broker *broker = client->broker;
    struct rp_broker_lease *lease = NULL;
    rp_status status = check_share(client, ticket, why);
    if (status == RP_OK) {
        lease = add_lease(client, number, ticket, thread, is_hit);
        if (!lease) {
            status =
                rp_fail(why, RP_ERR_MEMORY, "no memory for a lease on '%s'", rp_lease_key(ticket));
        }
    }
    if (status != RP_OK) {
        rp_lease_release(ticket, NULL);
        return status;
    }
    rp_broker_log(broker, "debug", "event=lease pid=%d key=\"%s\"", (int)client->pid,
                  rp_lease_key(ticket));
    status = send_lease(lease, why);
    if (status == RP_OK) return RP_OK;
    if (status == RP_ERR_STATE) {
        rp_broker_log(broker, "warning", "event=dead key=\"%s\" message=\"%s\"",
                      rp_lease_key(ticket), why->message);
        rp_broker_note_dead_key(broker, rp_lease_key(ticket), rp_lease_placement(ticket)->device,
                                why);
        rp_pool_evict(broker->pool, rp_lease_key(ticket), NULL, NULL);
    }
    end_lease(lease);
    return status;
}

/* Give back a ticket that nobody got. On the housekeeper: the last one ends a worker. */
static void let_go(struct rp_broker_client *client, rp_lease *ticket) {
    struct rp_broker_lease *lease = add_lease(client, 0, ticket, 0, true);
    if (lease) {
        end_lease(lease);
    } else {
        rp_lease_release(ticket, NULL);
    }
}

/*
 * Whether the model's file was replaced since it was loaded: a build wrote a new one, and this
 * broker outlives builds. Then nobody gets that entry any more; who leased it keeps it. A broker
 * looks at the file for each lease, which a pool within one process does not.
 */
static bool is_outdated(struct rp_broker *broker, rp_lease *ticket) {
    if (!rp_pool_lease_is_outdated(ticket)) return false;
    rp_broker_log(broker, "info", "event=outdated key=\"%s\"", rp_lease_key(ticket));
    rp_pool_evict(broker->pool, rp_lease_key(ticket), NULL, NULL);
    return true;
}

/* ---- waiting ---- */

static void end_wait(struct rp_broker_wait *wait) {
    if (wait->alarm) event_free(wait->alarm);
    *wait->link = wait->next;
    if (wait->next) wait->next->link = wait->link;
    wait->client->wait_count--;
    rp_free(wait);
}

/* Called off once nobody waits; its thread may take a while to notice. */
static void abandon_if_alone(struct rp_broker_job *job) {
    if (job->waits || job->is_abandoned) return;
    job->is_abandoned = true;
    rp_cancel_fire(job->cancel);
}

/* ---- waiting for each other ---- */

enum { STUCK_NAMED_MAX = 3 };

/* Whether nobody but that thread gives the lease back, and not before its request is answered. */
static bool is_held_by(const struct rp_broker_lease *lease, const struct rp_broker_wait *wait) {
    return wait->thread != 0 && wait->deadline_ns == RP_NEVER_NS && lease->thread == wait->thread;
}

/* Call `tell` with each lease that its waiting thread holds. */
static void each_held(struct rp_broker *broker, void *user,
                      void (*tell)(void *user, struct rp_broker_wait *wait,
                                   struct rp_broker_lease *lease)) {
    for (struct rp_broker_job *job = broker->jobs; job; job = job->next) {
        for (struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
            for (struct rp_broker_lease *at = wait->client->leases; at; at = at->next) {
                if (is_held_by(at, wait)) tell(user, wait, at);
            }
        }
    }
}

/* All of them, in the order in which they are met. */
struct stuck {
    struct rp_pool_held *held; /* NULL: they are only counted */
    size_t count;
    struct rp_broker_wait *latest; /* of those who are stuck */
    struct rp_text who;
    size_t named_count;
};

static void collect_held(void *user, struct rp_broker_wait *wait, struct rp_broker_lease *lease) {
    struct stuck *stuck = user;
    pid_t waiter = atomic_load_explicit(&wait->job->thread_id, memory_order_relaxed);
    if (stuck->held) {
        stuck->held[stuck->count] = (struct rp_pool_held){waiter, lease->ticket, false};
    }
    stuck->count++;
}

static void name_held(void *user, struct rp_broker_wait *wait, struct rp_broker_lease *lease) {
    struct stuck *stuck = user;
    if (!stuck->held[stuck->count++].is_stuck) return;
    if (!stuck->latest || wait->since_wall_ns > stuck->latest->since_wall_ns) stuck->latest = wait;
    if (stuck->named_count++ >= STUCK_NAMED_MAX) return;
    rp_text_print(&stuck->who, "%sprocess %d ('%.30s') holds '%.40s'",
                  stuck->who.length ? ", " : "", (int)wait->client->pid, wait->client->command,
                  rp_lease_key(lease->ticket));
}

/* Of those who wait for room for ever, let the last one know. False: nobody does. */
static bool end_one_stuck(struct rp_broker *broker) {
    struct stuck stuck = {.held = NULL};
    each_held(broker, &stuck, collect_held);
    if (stuck.count == 0) return false;
    stuck.held = rp_alloc_array(stuck.count, sizeof *stuck.held);
    if (!stuck.held) return false; /* the next who waits brings it up again */
    stuck.count = 0;
    each_held(broker, &stuck, collect_held);
    bool is_stuck = rp_pool_find_stuck(broker->pool, stuck.held, stuck.count);
    stuck.count = 0;
    if (is_stuck) each_held(broker, &stuck, name_held);
    if (stuck.latest) {
        struct rp_broker_wait *wait = stuck.latest;
        struct rp_broker_job *job = wait->job;
        rp_error why = RP_ERROR_INIT;
        rp_fail(&why, RP_ERR_CYCLE, "no room for '%.40s', ever: %s%s, and each waits for more",
                job->asked.acquire.name, stuck.who.bytes ? stuck.who.bytes : "others hold leases",
                stuck.named_count > STUCK_NAMED_MAX ? " and others more" : "");
        rp_hint(&why, "release what is held before asking for more, or raise the budget "
                      "(RESOURCE_POOL_BUDGET)");
        rp_broker_log(broker, "warning", "event=stuck pid=%d message=\"%s\"",
                      (int)wait->client->pid, why.message);
        rp_broker_fail(wait->client, wait->number, &why);
        end_wait(wait);
        abandon_if_alone(job);
    }
    rp_text_fini(&stuck.who);
    rp_free(stuck.held);
    return stuck.latest != NULL;
}

void rp_broker_look_for_room(struct rp_broker *broker) {
    while (end_one_stuck(broker)) {
    }
}

static void room_look_done(void *user) {
    struct rp_broker *broker = user;
    rp_lock_acquire(&broker->lock);
    broker->is_room_look_posted = false;
    rp_lock_release(&broker->lock);
    rp_broker_look_for_room(broker);
}

void rp_broker_note_room_wait(void *user) {
    struct rp_broker *broker = user;
    rp_broker_post_once(broker, &broker->room_look, &broker->is_room_look_posted, room_look_done);
}

const char *rp_broker_wait_reason(const struct rp_broker_job *job) {
    pid_t thread = atomic_load_explicit(&job->thread_id, memory_order_relaxed);
    return rp_pool_waits_for_room(job->broker->pool, thread) ? "room" : "a load";
}

static void on_alarm(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    struct rp_broker_wait *wait = user;
    struct rp_broker_job *job = wait->job;
    rp_error why = RP_ERROR_INIT;
    rp_fail(&why, RP_ERR_TIMEOUT,
            "'%s' was not there in time: it is being loaded, or waits for "
            "room",
            job->asked.acquire.name);
    rp_hint(&why, "raise timeout_ms, or ask again");
    rp_broker_fail(wait->client, wait->number, &why);
    end_wait(wait);
    abandon_if_alone(job);
}

static bool set_alarm(struct rp_broker *broker, struct rp_broker_wait *wait, uint64_t timeout_ms) {
    if (timeout_ms == 0) return true;
    wait->alarm = evtimer_new(broker->base, on_alarm, wait);
    uint64_t after_ms = timeout_ms + ALARM_GRACE_MS;
    const struct timeval after = {(time_t)(after_ms / 1000), (suseconds_t)(after_ms % 1000 * 1000)};
    return wait->alarm && event_add(wait->alarm, &after) == 0;
}

static bool add_wait(struct rp_broker_client *client, struct rp_broker_job *job,
                     const struct rp_message *message) {
    struct rp_broker_wait *wait = rp_alloc(sizeof *wait);
    uint64_t timeout_ms = message->acquire.timeout_ms;
    if (timeout_ms > INT32_MAX) timeout_ms = 0; /* weeks: as good as for ever */
    if (!wait || !set_alarm(client->broker, wait, timeout_ms)) {
        if (wait && wait->alarm) event_free(wait->alarm);
        rp_free(wait);
        return false;
    }
    wait->client = client;
    wait->number = message->number;
    wait->thread = message->acquire.thread;
    wait->job = job;
    wait->since_wall_ns = rp_wall_ns();
    wait->deadline_ns = timeout_ms ? rp_deadline_after_ms((int64_t)timeout_ms) : RP_NEVER_NS;
    struct rp_broker_wait **last = &job->waits; /* in the order in which they came */
    while (*last) {
        last = &(*last)->next;
    }
    *last = wait;
    wait->link = last;
    client->wait_count++;
    return true;
}

/* ---- jobs ---- */

rp_request rp_broker_request_of(const struct rp_message *message) {
    rp_request request = RP_REQUEST_INIT;
    request.type = message->acquire.resource_type;
    request.name = message->acquire.name;
    request.path = message->acquire.path;
    request.device = message->acquire.device;
    request.precision = message->acquire.precision;
    request.engine = message->acquire.engine;
    request.devices = message->acquire.devices;
    request.precisions = message->acquire.precisions;
    request.threads = message->acquire.threads;
    request.memory_bytes = message->acquire.memory_bytes;
    return request;
}

static bool is_same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Nobody shares room. */
static bool asks_the_same(const struct rp_message *one, const struct rp_message *other) {
    return one->acquire.kind != RP_KIND_RESERVATION && one->acquire.kind == other->acquire.kind &&
           one->acquire.threads == other->acquire.threads &&
           strcmp(one->acquire.name, other->acquire.name) == 0 &&
           strcmp(one->acquire.resource_type, other->acquire.resource_type) == 0 &&
           is_same_text(one->acquire.path, other->acquire.path) &&
           is_same_text(one->acquire.device, other->acquire.device) &&
           is_same_text(one->acquire.precision, other->acquire.precision) &&
           is_same_text(one->acquire.engine, other->acquire.engine) &&
           is_same_text(one->acquire.devices, other->acquire.devices) &&
           is_same_text(one->acquire.precisions, other->acquire.precisions) &&
           is_same_text(one->acquire.preferences, other->acquire.preferences);
}

static void free_job(struct rp_broker_job *job) {
    rp_cancel_destroy(job->cancel);
    rp_free(job->frame);
    rp_free(job);
}

static void reserve(struct rp_broker_job *job) {
    rp_reservation request = RP_RESERVATION_INIT;
    request.device = job->asked.acquire.device;
    request.name = job->asked.acquire.name;
    request.memory_bytes = job->asked.acquire.memory_bytes;
    request.timeout_ms = job->timeout_ms;
    request.cancel = job->cancel;
    job->status = rp_pool_reserve(job->broker->pool, &request, &job->ticket, &job->why);
}

/* On the job's thread. */
static void job_work(void *user) {
    struct rp_broker_job *job = user;
    rp_request request = rp_broker_request_of(&job->asked);
    rp_preferences *preferences = NULL;
    atomic_store_explicit(&job->thread_id, gettid(), memory_order_relaxed);
    const char *json = job->asked.acquire.preferences;
    job->status = RP_OK;
    job->why = (rp_error)RP_ERROR_INIT;
    if (json) {
        job->status = rp_preferences_parse(json, strlen(json), &preferences, NULL, 0, &job->why);
    }
    request.preferences = preferences;
    request.cancel = job->cancel;
    request.timeout_ms = job->timeout_ms;
    bool is_model = job->asked.acquire.kind == RP_KIND_MODEL;
    bool goes_on = job->status == RP_OK && is_model;
    if (!is_model) reserve(job);
    while (goes_on) {
        job->status = rp_pool_get_model_told(job->broker->pool, &request, &job->ticket,
                                             &job->is_hit, &job->why);
        /* What was loaded just now is as new as can be, even if its file changes all the time. */
        goes_on = job->status == RP_OK && job->is_hit && is_outdated(job->broker, job->ticket);
        if (goes_on) {
            rp_lease_release(job->ticket, NULL);
            job->ticket = NULL;
        }
    }
    rp_preferences_destroy(preferences);
    if (job->status != RP_OK) {
        (void)rp_explain(&job->why, request.device, request.path ? request.path : request.name,
                         &job->explanation);
    }
}

static void note_failure(const struct rp_broker_job *job) {
    struct rp_broker_failure failure = {.name = job->asked.acquire.name,
                                        .device = job->asked.acquire.device,
                                        .why = &job->why,
                                        .explanation = &job->explanation};
    for (const struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
        failure.met_count++;
    }
    if (failure.met_count == 0) failure.met_count = 1; /* who asked has gone meanwhile */
    rp_broker_note_failure(job->broker, &failure);
}

static void remove_job(struct rp_broker_job *job) {
    *job->link = job->next;
    if (job->next) job->next->link = job->link;
    job->broker->job_count--;
}

/*
 * Every waiter gets a lease: the last the job's own, the others before it hits of their own. The
 * first is told that the load was begun for it.
 */
static void answer_waits(struct rp_broker_job *job) {
    rp_request request = rp_broker_request_of(&job->asked);
    bool is_hit = job->is_hit;
    while (job->waits) {
        struct rp_broker_client *client = job->waits->client;
        uint32_t number = job->waits->number;
        uint64_t thread = job->waits->thread;
        rp_error why = RP_ERROR_INIT;
        rp_status status = RP_OK;
        bool is_last = !job->waits->next;
        end_wait(job->waits); /* takes it off the list */
        rp_lease *ticket = job->ticket;
        if (!is_last) {
            ticket = rp_pool_hit_model(job->broker->pool, &request);
            if (!ticket) status = rp_lease_clone(job->ticket, &ticket, &why);
        } else {
            job->ticket = NULL;
        }
        if (status == RP_OK) status = answer_with(client, number, ticket, thread, is_hit, &why);
        /* Dead as soon as it was loaded: the model's failure, and not the broker's. */
        if (status == RP_ERR_STATE) why.status = RP_ERR_LOAD;
        if (status != RP_OK) rp_broker_fail(client, number, &why);
        is_hit = true;
    }
    rp_lease_release(job->ticket, NULL);
    job->ticket = NULL;
}

/* Of a job that ran out of time: who has no time left gets its story; whether others have. */
static bool fail_waits(struct rp_broker_job *job) {
    bool was_in_time = job->status != RP_ERR_TIMEOUT && job->status != RP_ERR_CAPACITY;
    int64_t now_ns = rp_clock_ns();
    for (struct rp_broker_wait *wait = job->waits, *next; wait; wait = next) {
        next = wait->next;
        bool has_time =
            wait->deadline_ns == RP_NEVER_NS ? job->timeout_ms > 0 : wait->deadline_ns > now_ns;
        if (!was_in_time && job->timeout_ms > 0 && has_time) continue;
        rp_broker_fail(wait->client, wait->number, &job->why);
        end_wait(wait);
    }
    return job->waits != NULL;
}

static int64_t longest_ms(const struct rp_broker_job *job) {
    int64_t now_ns = rp_clock_ns();
    int64_t longest = 1;
    for (const struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
        if (wait->deadline_ns == RP_NEVER_NS) return 0;
        int64_t left_ms = (wait->deadline_ns - now_ns) / 1000000;
        if (left_ms > longest) longest = left_ms;
    }
    return longest;
}

static bool start_job(struct rp_broker_job *job) {
    job->timeout_ms = longest_ms(job);
    return rp_broker_start_thread(job->broker, &job->task);
}

static void job_done(void *user) {
    struct rp_broker_job *job = user;
    struct rp_broker *broker = job->broker;
    if (job->status == RP_OK) {
        answer_waits(job);
    } else {
        rp_broker_log(broker, "warning", "event=not_leased name=\"%s\" status=%s message=\"%s\"",
                      job->asked.acquire.name, rp_status_name(job->status), job->why.message);
        note_failure(job);
        if (fail_waits(job) && !job->is_abandoned) {
            if (start_job(job)) return;
            job->status = rp_fail(&job->why, RP_ERR_MEMORY, "no thread to load '%s'",
                                  job->asked.acquire.name);
            fail_waits(job);
        }
    }
    remove_job(job);
    free_job(job);
    rp_broker_note_end(broker);
}

static struct rp_broker_job *find_job(const struct rp_broker *broker,
                                      const struct rp_message *message) {
    for (struct rp_broker_job *job = broker->jobs; job; job = job->next) {
        if (!job->is_abandoned && asks_the_same(&job->asked, message)) return job;
    }
    return NULL;
}

/* A new job, not running yet, with its own copy of the frame. */
static struct rp_broker_job *add_job(struct rp_broker *broker, const void *frame, size_t bytes) {
    struct rp_broker_job *job = rp_alloc(sizeof *job);
    if (!job) return NULL;
    job->broker = broker;
    job->frame = rp_memdup(frame, bytes);
    if (!job->frame || rp_frame_parse(job->frame, bytes, &job->asked, NULL) != RP_OK ||
        rp_cancel_create(&job->cancel, NULL) != RP_OK) {
        free_job(job);
        return NULL;
    }
    job->task = (struct rp_task){job_work, job_done, job, NULL};
    job->next = broker->jobs;
    job->link = &broker->jobs;
    if (job->next) job->next->link = &job->next;
    broker->jobs = job;
    broker->job_count++;
    return job;
}

static rp_status wait_for_load(struct rp_broker_client *client, const struct rp_message *message,
                               const void *frame, size_t bytes, rp_error *why) {
    struct rp_broker *broker = client->broker;
    struct rp_broker_job *job = find_job(broker, message);
    if (job) {
        if (add_wait(client, job, message)) {
            rp_broker_look_for_room(broker);
            return RP_OK;
        }
        return rp_fail(why, RP_ERR_MEMORY, "no memory to wait for '%s'", message->acquire.name);
    }
    if (broker->job_count >= JOBS_MAX) {
        return rp_fail(why, RP_ERR_LIMIT, "%d loads at once are the limit", JOBS_MAX);
    }
    job = add_job(broker, frame, bytes);
    if (job && add_wait(client, job, message)) {
        if (start_job(job)) return RP_OK;
        end_wait(job->waits);
    }
    if (job) {
        remove_job(job);
        free_job(job);
    }
    return rp_fail(why, RP_ERR_MEMORY, "no memory or no thread to load '%s'",
                   message->acquire.name);
}

void rp_broker_handle_acquire(struct rp_broker_client *client, const struct rp_message *message,
                              const void *frame, size_t bytes) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    rp_status status = RP_OK;
    bool is_model = message->acquire.kind == RP_KIND_MODEL;
    if (!is_model && message->acquire.kind != RP_KIND_RESERVATION) {
        status = rp_fail(&why, RP_ERR_UNSUPPORTED,
                         "only models and room are leased by the broker, not '%s'",
                         message->acquire.name);
    } else if (broker->is_draining) {
        status = rp_fail(&why, RP_ERR_STATE, "the broker (process %d) is stopping", (int)getpid());
    } else if (client->lease_count + client->wait_count >= RP_LIMIT_CLIENT_LEASES) {
        status = rp_fail(&why, RP_ERR_LIMIT, "process %d holds %zu leases, which is the limit",
                         (int)client->pid, client->lease_count);
    } else if (client->wait_count >= RP_LIMIT_CLIENT_REQUESTS) {
        status = rp_fail(&why, RP_ERR_LIMIT, "process %d waits for %zu answers already",
                         (int)client->pid, client->wait_count);
    }
    if (status == RP_OK) {
        rp_request request = rp_broker_request_of(message);
        bool may_hit = is_model && !message->acquire.preferences;
        rp_lease *ticket = may_hit ? rp_pool_hit_model(broker->pool, &request) : NULL;
        if (ticket && is_outdated(broker, ticket)) {
            let_go(client, ticket);
            ticket = NULL;
        }
        if (ticket)
            status =
                answer_with(client, message->number, ticket, message->acquire.thread, true, &why);
        /* One that has died is loaded afresh. */
        if (!ticket || status == RP_ERR_STATE) {
            status = wait_for_load(client, message, frame, bytes, &why);
        }
    }
    if (status != RP_OK) rp_broker_fail(client, message->number, &why);
}

/* ---- calling off ---- */

static struct rp_broker_wait *find_wait(const struct rp_broker_client *client,
                                        const uint32_t *number) {
    for (struct rp_broker_job *job = client->broker->jobs; job; job = job->next) {
        for (struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
            if (wait->client == client && (!number || wait->number == *number)) return wait;
        }
    }
    return NULL;
}

static void forget(struct rp_broker_wait *wait) {
    struct rp_broker_job *job = wait->job;
    end_wait(wait);
    abandon_if_alone(job);
}

void rp_broker_handle_cancel(struct rp_broker_client *client, uint32_t number) {
    struct rp_broker *broker = client->broker;
    struct rp_broker_wait *wait = find_wait(client, &number);
    if (wait) {
        forget(wait);
        return;
    }
    /* It was answered already, and the answer crossed this on its way. */
    for (struct rp_broker_lease *lease = client->leases; lease; lease = lease->next) {
        if (lease->number != number) continue;
        end_lease(lease);
        rp_broker_note_end(broker);
        return;
    }
    if (broker->store) broker->store_ops.cancel(broker->store, client, number);
}

void rp_broker_forget_waits(struct rp_broker_client *client) {
    while (client->wait_count > 0) {
        struct rp_broker_wait *wait = find_wait(client, NULL);
        forget(wait);
    }
}

void rp_broker_call_off_all(struct rp_broker *broker) {
    rp_error why = RP_ERROR_INIT;
    rp_fail(&why, RP_ERR_STATE, "the broker (process %d) has been ended", (int)getpid());
    for (struct rp_broker_job *job = broker->jobs; job; job = job->next) {
        while (job->waits) {
            rp_broker_fail(job->waits->client, job->waits->number, &why);
            end_wait(job->waits);
        }
        abandon_if_alone(job);
    }
}
