/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of this process to brokers, one for each address.
 *
 * Of the callers that wait for an answer one reads from the socket, for all of them, until it has
 * its own; then another takes over. So an answer costs no switch of threads in a program that asks
 * from one, and there is no thread that fork() would lose.
 */
#include "machine/client.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/address.h"
#include "machine/launch.h"
#include "pool/waits.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_MS = 10000,
    ROUNDS = 4,         /* a broker may end just when it is found */
    LOOK_MS = 20,       /* how often a caller's flag is looked at */
    ASK_MS = 50,        /* how often a caller's token is asked */
    COMMAND_LOOK = 4096 /* of a command line, which may be longer */
};

/* A request whose answer is awaited. On its caller's stack. */
struct call {
    uint32_t number;
    bool is_done;
    rp_status status; /* RP_OK: the answer is in `reply` */
    rp_error why;
    struct rp_reply reply;
    struct rp_text parts;    /* of a TEXT */
    const rp_cancel *cancel; /* asked now and then; NULL */
    int64_t asked_ns;
    struct call *next;
};

/* What could not be sent at once, though nobody waits for an answer. */
struct told {
    struct told *next;
    size_t bytes;
    char frame[];
};

/* A ring between two leases. */
struct kept_ring {
    uint64_t id;
    struct rp_ring ring;
};

struct rp_client {
    /* Constant once it is connected. */
    char folder[RP_ADDRESS_FOLDER_BYTES];
    int fd;
    pid_t broker_pid;

    uint32_t use_count;     /* guarded by registry_lock */
    bool is_listed;         /* guarded by registry_lock: as soon as it has a descriptor */
    bool is_welcome;        /* guarded by registry_lock: to be found by others */
    struct rp_client *next; /* guarded by registry_lock */

    _Atomic bool is_inherited; /* by fork(): of no use here */
    _Atomic bool is_dead;

    struct rp_lock lock;
    struct rp_condition changed;
    bool is_read;       /* somebody reads; guarded by lock */
    struct call *calls; /* guarded by lock */
    struct told *told;  /* oldest first; guarded by lock */
    uint32_t last_number;
    struct kept_ring kept[RP_LIMIT_CLIENT_RINGS]; /* oldest first; guarded by lock */
    size_t kept_count;                            /* guarded by lock */
    char *frame;                                  /* what is being received; the reader's */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rp_client *registry;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

void rp_reply_fini(struct rp_reply *reply) {
    rp_descriptors_close(&reply->descriptors);
    rp_free(reply->frame);
    reply->frame = NULL;
}

/* ---- fork ---- */

/* The child keeps no end of its parent's connections: the broker must see when the parent ends. */
static void after_fork(void) {
    for (struct rp_client *client = registry; client; client = client->next) {
        close(client->fd);
        atomic_store(&client->is_inherited, true);
        client->is_listed = false;
    }
    registry = NULL;
    pthread_mutex_unlock(&registry_lock);
}

static void before_fork(void) {
    pthread_mutex_lock(&registry_lock);
}

static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&registry_lock);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork);
}

/* ---- receiving ---- */

static void tell_gone(const struct rp_client *client, rp_error *err) {
    rp_fail(err, RP_ERR_STATE, "the broker (process %d) has gone", (int)client->broker_pid);
    rp_hint(err, "ask again: a new one is started");
}

static void end_call(struct call *call, rp_status status, const rp_error *why) {
    call->is_done = true;
    call->status = status;
    if (why) call->why = *why;
}

/* Nobody will answer any more. Needs client.lock. */
static void die(struct rp_client *client, const rp_error *why) {
    atomic_store(&client->is_dead, true);
    for (struct call *call = client->calls; call; call = call->next) {
        if (!call->is_done) end_call(call, why->status, why);
    }
    rp_condition_broadcast(&client->changed);
}

/* One answer for one call. `message` points into client->frame. Needs client.lock. */
static void answer(const struct rp_client *client, struct call *call,
                   const struct rp_message *message, size_t bytes,
                   struct rp_descriptors *descriptors) {
    rp_error why = RP_ERROR_INIT;
    if (message->type == RP_MESSAGE_FAILED || message->type == RP_MESSAGE_REFUSED) {
        rp_status status = rp_error_from_text(&message->failed, &why);
        end_call(call, status, &why);
        return;
    }
    if (message->type == RP_MESSAGE_TEXT) {
        rp_text_append(&call->parts, message->text.part.bytes, message->text.part.size);
        if (message->text.more) return;
    }
    call->reply.frame = rp_memdup(client->frame, bytes);
    if (!call->reply.frame) {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for the broker's answer");
        end_call(call, RP_ERR_MEMORY, &why);
        return;
    }
    rp_status status = rp_frame_parse(call->reply.frame, bytes, &call->reply.message, &why);
    call->reply.descriptors = *descriptors;
    descriptors->count = 0;
    end_call(call, status, &why);
}

/*
 * What came, for whoever waits for it. is_lost: its descriptors did not, and *err says why. Needs
 * client.lock.
 */
static rp_status deliver(struct rp_client *client, size_t bytes, struct rp_descriptors *descriptors,
                         bool is_lost, rp_error *err) {
    struct rp_message message;
    rp_status status = rp_frame_parse(client->frame, bytes, &message, err);
    if (status == RP_OK && !is_lost &&
        !rp_message_allows_descriptors(message.type, descriptors->count)) {
        status = rp_fail(err, RP_ERR_DATA, "a %s frame with %zu descriptors",
                         rp_message_name(message.type), descriptors->count);
    }
    for (struct call *call = client->calls; status == RP_OK && call; call = call->next) {
        if (call->number != message.number || call->is_done) continue;
        if (is_lost) {
            end_call(call, err->status, err);
        } else {
            answer(client, call, &message, bytes, descriptors);
        }
        break;
    }
    /* An answer that nobody waits for was called off, and so is what it gave. */
    rp_descriptors_close(descriptors);
    if (status != RP_OK) rp_error_prefix(err, "the broker (process %d)", (int)client->broker_pid);
    return status;
}

/* Read one frame, if one comes until then. Enters and leaves with client.lock held. */
static void read_one(struct rp_client *client, int64_t deadline_ns) {
    struct rp_descriptors descriptors = {.count = 0};
    rp_error why = RP_ERROR_INIT;
    size_t bytes;
    client->is_read = true;
    rp_lock_release(&client->lock);
    rp_status status =
        rp_channel_receive(client->fd, client->frame, &bytes, &descriptors, deadline_ns, &why);
    rp_lock_acquire(&client->lock);
    client->is_read = false;
    if (status == RP_ERR_TIMEOUT) return;
    if (status == RP_ERR_STATE) tell_gone(client, &why);
    bool is_lost = status == RP_ERR_LIMIT;
    if (status == RP_OK || is_lost) status = deliver(client, bytes, &descriptors, is_lost, &why);
    if (status != RP_OK) die(client, &why);
}

/* ---- sending ---- */

/* What is still to be told goes first. Needs client.lock. False: there is no room for it yet. */
static bool send_told(struct rp_client *client) {
    while (client->told) {
        struct told *told = client->told;
        rp_status status = rp_channel_send(client->fd, told->frame, told->bytes, NULL, 0, NULL);
        if (status == RP_ERR_TIMEOUT) return false;
        client->told = told->next;
        rp_free(told);
    }
    return true;
}

/* Needs client.lock. */
static void keep_told(struct rp_client *client, const void *frame, size_t bytes) {
    struct told *told = rp_alloc(sizeof *told + bytes);
    if (!told) {
        /* The broker would take it for leased for ever: without the connection it is not. */
        rp_error why = RP_ERROR_INIT;
        rp_fail(&why, RP_ERR_MEMORY, "no memory to tell the broker that a lease has ended");
        die(client, &why);
        shutdown(client->fd, SHUT_RDWR);
        return;
    }
    told->bytes = bytes;
    memcpy(told->frame, frame, bytes);
    struct told **last = &client->told;
    while (*last) {
        last = &(*last)->next;
    }
    *last = told;
}

void rp_client_tell(struct rp_client *client, const struct rp_message *message) {
    char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes;
    if (atomic_load(&client->is_inherited) || atomic_load(&client->is_dead)) return;
    if (rp_frame_write(message, frame, &bytes, NULL) != RP_OK) return;
    rp_lock_acquire(&client->lock);
    if (!send_told(client) ||
        rp_channel_send(client->fd, frame, bytes, NULL, 0, NULL) == RP_ERR_TIMEOUT) {
        keep_told(client, frame, bytes);
    }
    rp_lock_release(&client->lock);
}

static rp_status send_request(struct rp_client *client, const struct rp_message *request,
                              const struct rp_descriptors *descriptors, int64_t deadline_ns,
                              rp_error *err) {
    char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes;
    rp_status status = rp_frame_write(request, frame, &bytes, err);
    while (status == RP_OK) {
        rp_lock_acquire(&client->lock);
        bool has_room = send_told(client);
        status = has_room ? rp_channel_send(client->fd, frame, bytes, descriptors, 0, err)
                          : RP_ERR_TIMEOUT;
        rp_lock_release(&client->lock);
        if (status != RP_ERR_TIMEOUT || rp_clock_ns() >= deadline_ns) break;
        struct pollfd room = {.fd = client->fd, .events = POLLOUT};
        poll(&room, 1, LOOK_MS);
        status = RP_OK;
    }
    if (status == RP_ERR_TIMEOUT) {
        rp_fail(err, RP_ERR_TIMEOUT, "the broker (process %d) does not read what it is asked",
                (int)client->broker_pid);
    }
    if (status == RP_ERR_STATE) tell_gone(client, err);
    return status;
}

/* ---- calls ---- */

static rp_status check(const struct rp_client *client, rp_error *err) {
    if (atomic_load(&client->is_inherited)) {
        return rp_fail(err, RP_ERR_FORKED, "this connection belongs to the parent of process %d",
                       (int)getpid());
    }
    if (!atomic_load(&client->is_dead)) return RP_OK;
    tell_gone(client, err);
    return RP_ERR_STATE;
}

static bool is_fired(const _Atomic int *cancelled) {
    return cancelled && atomic_load_explicit(cancelled, memory_order_relaxed) != 0;
}

/* Ask the caller's token, without the lock: it may give leases back. Needs client.lock. */
static bool is_called_off(struct rp_client *client, struct call *call, int64_t now_ns) {
    if (!call->cancel || now_ns - call->asked_ns < ASK_MS * INT64_C(1000000)) return false;
    call->asked_ns = now_ns;
    rp_lock_release(&client->lock);
    bool is_off = rp_cancel_ask(call->cancel);
    rp_lock_acquire(&client->lock);
    return is_off && !call->is_done;
}

/* Until it is done, or its caller has no more time. Needs client.lock. */
static void await(struct rp_client *client, struct call *call, int64_t deadline_ns,
                  const _Atomic int *cancelled) {
    while (!call->is_done) {
        int64_t now_ns = rp_clock_ns();
        bool is_off = is_fired(cancelled) || is_called_off(client, call, now_ns);
        if (call->is_done) break;
        if (is_off) {
            rp_fail(&call->why, RP_ERR_CANCELLED, "the request to the broker was called off");
            end_call(call, RP_ERR_CANCELLED, NULL);
        } else if (now_ns >= deadline_ns) {
            rp_fail(&call->why, RP_ERR_TIMEOUT, "the broker (process %d) did not answer in time",
                    (int)client->broker_pid);
            rp_hint(&call->why,
                    "busy, or stopped: 'kill -CONT %d' lets it go on, 'kill -9' ends it",
                    (int)client->broker_pid);
            end_call(call, RP_ERR_TIMEOUT, NULL);
        } else {
            int64_t until_ns = deadline_ns;
            int64_t look_ns = now_ns + LOOK_MS * INT64_C(1000000);
            bool has_to_look = cancelled || call->cancel;
            if (has_to_look && look_ns < until_ns) until_ns = look_ns;
            if (client->is_read) {
                rp_condition_wait(&client->changed, &client->lock, until_ns);
            } else {
                read_one(client, until_ns);
                rp_condition_broadcast(&client->changed); /* it is another's, or another's turn */
            }
        }
    }
}

static void remove_call(struct rp_client *client, const struct call *call) {
    struct call **at = &client->calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
}

/* Ask and wait; on RP_OK the answer is in `call`. */
static rp_status ask(struct rp_client *client, const struct rp_message *request,
                     const struct rp_descriptors *descriptors, int64_t deadline_ns,
                     const _Atomic int *cancelled, struct call *call, rp_error *err) {
    rp_status status = check(client, err);
    if (status != RP_OK) return status;
    struct rp_message numbered = *request;
    rp_lock_acquire(&client->lock);
    call->number = numbered.number = ++client->last_number;
    call->next = client->calls;
    client->calls = call;
    rp_lock_release(&client->lock);
    status = send_request(client, &numbered, descriptors, deadline_ns, err);
    bool was_sent = status == RP_OK;
    rp_lock_acquire(&client->lock);
    if (was_sent) {
        await(client, call, deadline_ns, cancelled);
        status = call->status;
        if (status != RP_OK && err) *err = call->why;
    }
    remove_call(client, call);
    rp_lock_release(&client->lock);
    /* It may have been answered, with something that could not be taken. */
    bool is_given_up = was_sent && (status == RP_ERR_TIMEOUT || status == RP_ERR_CANCELLED ||
                                    status == RP_ERR_MEMORY || status == RP_ERR_LIMIT);
    if (is_given_up) {
        struct rp_message cancel = {.type = RP_MESSAGE_CANCEL, .cancel = {call->number}};
        rp_client_tell(client, &cancel);
    }
    if (status != RP_OK) {
        rp_reply_fini(&call->reply);
        rp_text_fini(&call->parts);
    }
    return status;
}

rp_status rp_client_call(struct rp_client *client, const struct rp_message *request,
                         const struct rp_descriptors *descriptors, int64_t deadline_ns,
                         const _Atomic int *cancelled, struct rp_reply *reply, rp_error *err) {
    struct call call = {.number = 0};
    rp_status status = ask(client, request, descriptors, deadline_ns, cancelled, &call, err);
    if (status != RP_OK) return status;
    rp_text_fini(&call.parts);
    *reply = call.reply;
    return RP_OK;
}

rp_status rp_client_call_asking(struct rp_client *client, const struct rp_message *request,
                                const struct rp_descriptors *descriptors, int64_t deadline_ns,
                                const rp_cancel *cancel, struct rp_reply *reply, rp_error *err) {
    struct call call = {.cancel = cancel, .asked_ns = rp_clock_ns()};
    rp_status status = ask(client, request, descriptors, deadline_ns, NULL, &call, err);
    if (status != RP_OK) return status;
    rp_text_fini(&call.parts);
    *reply = call.reply;
    return RP_OK;
}

rp_status rp_client_call_text(struct rp_client *client, const struct rp_message *request,
                              int64_t deadline_ns, char **text, rp_error *err) {
    struct call call = {.number = 0};
    rp_status status = ask(client, request, NULL, deadline_ns, NULL, &call, err);
    if (status != RP_OK) return status;
    bool is_text = call.reply.message.type == RP_MESSAGE_TEXT;
    rp_reply_fini(&call.reply);
    rp_text_append(&call.parts, "", 0);
    if (is_text && !call.parts.failed) {
        *text = call.parts.bytes ? call.parts.bytes : rp_strdup("");
        if (*text) return RP_OK;
    }
    rp_text_fini(&call.parts);
    if (is_text) return rp_fail(err, RP_ERR_MEMORY, "no memory for the broker's answer");
    return rp_fail(err, RP_ERR_DATA, "the broker's answer is no text");
}

/* ---- rings between leases ---- */

/* Needs client.lock. */
static struct kept_ring remove_kept(struct rp_client *client, size_t index) {
    struct kept_ring kept = client->kept[index];
    client->kept_count--;
    for (size_t i = index; i < client->kept_count; i++) {
        client->kept[i] = client->kept[i + 1];
    }
    return kept;
}

void rp_client_keep_ring(struct rp_client *client, uint64_t ring_id, struct rp_ring *ring) {
    struct kept_ring oldest = {.id = 0};
    rp_lock_acquire(&client->lock);
    if (client->kept_count == RP_LIMIT_CLIENT_RINGS) oldest = remove_kept(client, 0);
    client->kept[client->kept_count++] = (struct kept_ring){ring_id, *ring};
    rp_lock_release(&client->lock);
    ring->base = NULL;
    if (oldest.id == 0) return;
    const struct rp_message message = {.type = RP_MESSAGE_RING_CLOSE, .ring_close = {oldest.id}};
    rp_client_tell(client, &message);
    rp_ring_unmap(&oldest.ring);
}

bool rp_client_take_ring(struct rp_client *client, uint64_t ring_id, struct rp_ring *ring) {
    bool is_found = false;
    rp_lock_acquire(&client->lock);
    for (size_t i = 0; i < client->kept_count && !is_found; i++) {
        is_found = client->kept[i].id == ring_id;
        if (is_found) *ring = remove_kept(client, i).ring;
    }
    rp_lock_release(&client->lock);
    return is_found;
}

bool rp_client_is_alive(struct rp_client *client) {
    if (atomic_load(&client->is_inherited) || atomic_load(&client->is_dead)) return false;
    struct pollfd end = {.fd = client->fd, .events = 0};
    return poll(&end, 1, 0) <= 0 || (end.revents & (POLLHUP | POLLERR)) == 0;
}

pid_t rp_client_broker_pid(const struct rp_client *client) {
    return client->broker_pid;
}

/* ---- connecting ---- */

/* What this process was called with, for people who look at the broker. */
static void own_command(char out[RP_LIMIT_COMMAND_BYTES + 1]) {
    char bytes[COMMAND_LOOK];
    FILE *file = fopen("/proc/self/cmdline", "re");
    size_t length = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) fclose(file);
    if (length > RP_LIMIT_COMMAND_BYTES) length = RP_LIMIT_COMMAND_BYTES;
    while (length > 0 && bytes[length - 1] == '\0') {
        length--;
    }
    for (size_t i = 0; i < length; i++) {
        out[i] = bytes[i];
        if (out[i] == '\0') out[i] = ' ';
    }
    out[length] = '\0';
    rp_text_make_printable(out);
}

static rp_status say_hello(struct rp_client *client, int64_t deadline_ns, rp_error *err) {
    char command[RP_LIMIT_COMMAND_BYTES + 1];
    struct call call = {.number = 0};
    own_command(command);
    struct rp_message hello = {.type = RP_MESSAGE_HELLO,
                               .hello = {RP_FRAME_VERSION, (uint64_t)getpid(), command}};
    rp_status status = ask(client, &hello, NULL, deadline_ns, NULL, &call, err);
    if (status != RP_OK) return status;
    bool is_welcome = call.reply.message.type == RP_MESSAGE_WELCOME;
    client->broker_pid = (pid_t)call.reply.message.welcome.pid;
    rp_reply_fini(&call.reply);
    if (is_welcome) return RP_OK;
    return rp_fail(err, RP_ERR_DATA, "what answers at '%s' is no broker", client->folder);
}

/* Needs registry_lock. */
static void list(struct rp_client *client) {
    client->next = registry;
    client->is_listed = true;
    registry = client;
}

/* Nobody finds it any more; who still has it may keep it. Needs registry_lock. */
static void unlist(struct rp_client *client) {
    if (!client->is_listed) return;
    struct rp_client **at = &registry;
    while (*at != client) {
        at = &(*at)->next;
    }
    *at = client->next;
    client->is_listed = false;
}

static void free_client(struct rp_client *client) {
    while (client->told) {
        struct told *next = client->told->next;
        rp_free(client->told);
        client->told = next;
    }
    for (size_t i = 0; i < client->kept_count; i++) {
        rp_ring_unmap(&client->kept[i].ring);
    }
    /* In a child of fork() threads that are not here may seem to hold and await these. */
    if (!atomic_load(&client->is_inherited)) {
        rp_condition_fini(&client->changed);
        rp_lock_fini(&client->lock);
    }
    rp_free(client->frame);
    rp_free(client);
}

/* No child of a fork() in another thread may keep the descriptor: it is listed from the start. */
static rp_status connect_listed(struct rp_client *client, const char *path, rp_error *err) {
    pthread_mutex_lock(&registry_lock);
    rp_status status = rp_channel_connect(path, &client->fd, err);
    if (status == RP_OK) list(client);
    pthread_mutex_unlock(&registry_lock);
    return status;
}

static rp_status open_client(const struct rp_address *address, int64_t deadline_ns,
                             struct rp_client **client, rp_error *err) {
    struct rp_client *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory to connect to the broker");
    memcpy(made->folder, address->folder, sizeof made->folder);
    made->fd = -1;
    made->use_count = 1;
    rp_lock_init(&made->lock);
    rp_condition_init(&made->changed);
    made->frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    rp_status status = made->frame ? RP_OK : rp_fail(err, RP_ERR_MEMORY, "no memory to connect");
    if (status == RP_OK) status = rp_address_check(address, err);
    if (status == RP_OK) status = connect_listed(made, address->socket, err);
    if (status == RP_OK) status = rp_channel_check_peer(made->fd, &made->broker_pid, err);
    if (status == RP_OK) status = say_hello(made, deadline_ns, err);
    if (status == RP_OK) {
        *client = made;
    } else {
        rp_client_drop(made);
    }
    return status;
}

/* One in this process's list that is of use; its new share. Needs registry_lock. */
static struct rp_client *find_client(const char *folder) {
    for (struct rp_client *client = registry, *next; client; client = next) {
        next = client->next;
        if (!rp_client_is_alive(client)) {
            unlist(client);
        } else if (client->is_welcome && strcmp(client->folder, folder) == 0) {
            client->use_count++;
            return client;
        }
    }
    return NULL;
}

/*
 * Connect, and start a broker if there is none. It may end between the moments when it is found and
 * when it answers: then all begins anew.
 */
static rp_status connect_or_start(const struct rp_client_options *options,
                                  const struct rp_address *address, struct rp_client **client,
                                  rp_error *err) {
    int64_t timeout_ms = options->connect_timeout_ms > 0 ? options->connect_timeout_ms : CONNECT_MS;
    int64_t deadline_ns = rp_deadline_after_ms(timeout_ms);
    rp_status status = RP_OK;
    for (int round = 0; round < ROUNDS; round++) {
        rp_error why = RP_ERROR_INIT;
        status = open_client(address, deadline_ns, client, &why);
        bool is_absent = status == RP_ERR_ABSENT;
        bool has_gone = status == RP_ERR_STATE;
        if (is_absent && options->no_start) {
            rp_fail(err, RP_ERR_ABSENT, "no broker is running");
            rp_hint(err, "one starts with the first program that shares, or by 'rpool serve'");
            return RP_ERR_ABSENT;
        }
        if (is_absent) status = rp_launch_broker(address, deadline_ns, &why);
        if (is_absent && status == RP_OK) continue;
        if (!has_gone || rp_clock_ns() >= deadline_ns) {
            if (status != RP_OK && err) *err = why;
            return status;
        }
        if (round == ROUNDS - 1 && err) *err = why;
    }
    return status;
}

rp_status rp_client_acquire(const struct rp_client_options *options, struct rp_client **client,
                            rp_error *err) {
    static const struct rp_client_options defaults = {0};
    struct rp_address address;
    if (!options) options = &defaults;
    rp_status status = rp_address_find(options->folder, &address, err);
    if (status != RP_OK) return status;
    pthread_once(&fork_once, watch_forks);
    pthread_mutex_lock(&registry_lock);
    struct rp_client *found = find_client(address.folder);
    pthread_mutex_unlock(&registry_lock);
    if (!found) {
        status = connect_or_start(options, &address, &found, err);
        if (status != RP_OK) return status;
        pthread_mutex_lock(&registry_lock);
        struct rp_client *other = find_client(address.folder);
        found->is_welcome = !other;
        pthread_mutex_unlock(&registry_lock);
        if (other) {
            rp_client_drop(found); /* another thread was faster: one connection is enough */
            found = other;
        }
    }
    *client = found;
    return RP_OK;
}

struct rp_client *rp_client_share(struct rp_client *client) {
    pthread_mutex_lock(&registry_lock);
    client->use_count++;
    pthread_mutex_unlock(&registry_lock);
    return client;
}

void rp_client_drop(struct rp_client *client) {
    if (!client) return;
    pthread_mutex_lock(&registry_lock);
    bool is_last = --client->use_count == 0;
    if (is_last) {
        if (client->fd >= 0 && !atomic_load(&client->is_inherited)) close(client->fd);
        unlist(client);
    }
    pthread_mutex_unlock(&registry_lock);
    if (is_last) free_client(client);
}
