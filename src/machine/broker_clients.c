/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: who they are, what they say, what they have not read yet. A client that sends what
 * is no frame, or reads too slowly, loses its connection; nobody else notices.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HELLO_S_MAX = 10, FRAMES_PER_TURN = 32, STAT_BYTES_MAX = 4096, STARTED_FIELD = 22 };

/* When a process began, in ticks since boot; 0: unknown. The name in front may have any letters. */
static uint64_t started_ticks_of(pid_t pid) {
    char path[40];
    char *stat = NULL;
    size_t length;
    uint64_t ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (rp_text_read_file(path, STAT_BYTES_MAX, &stat, &length) != 0) return 0;
    char *at = strrchr(stat, ')');
    char *rest = at ? at + 1 : NULL;
    for (int field = 2; rest && field < STARTED_FIELD; field++) {
        at = rest + strspn(rest, " ");
        rest = strpbrk(at, " \n");
    }
    if (rest) {
        *rest = '\0';
        if (!rp_text_parse_u64(at, &ticks)) ticks = 0;
    }
    rp_free(stat);
    return ticks;
}

static void free_unread(struct rp_unread *unread) {
    rp_descriptors_close(&unread->descriptors);
    rp_free(unread);
}

void rp_broker_drop(struct rp_broker_client *client, const char *why) {
    struct rp_broker *broker = client->broker;
    size_t leases = client->lease_count;
    rp_broker_forget_orders(client);
    rp_broker_forget_waits(client);
    rp_broker_note_leaks(client);
    rp_broker_give_back_all(client);
    if (broker->store) broker->store_ops.client_gone(broker->store, client);
    if (client->has_said_hello || leases > 0) {
        rp_broker_log(broker, "info", "event=client_gone pid=%d leases=%zu reason=\"%s\"",
                      (int)client->pid, leases, why);
    }
    if (client->readable) event_free(client->readable);
    if (client->writable) event_free(client->writable);
    close(client->fd);
    rp_broker_forget_told(client);
    while (client->unread) {
        struct rp_unread *next = client->unread->next;
        free_unread(client->unread);
        client->unread = next;
    }
    *client->link = client->next;
    if (client->next) client->next->link = client->link;
    broker->client_count--;
    rp_free(client);
    rp_broker_note_end(broker);
}

/* ---- sending ---- */

/* Keep an answer until there is room for it; false when it cannot be kept. */
static bool keep_unread(struct rp_broker_client *client, const void *frame, size_t bytes,
                        const struct rp_descriptors *descriptors) {
    if (client->unread_bytes + bytes > RP_LIMIT_CLIENT_UNREAD_BYTES) return false;
    struct rp_unread *unread = rp_alloc(sizeof *unread + bytes);
    if (!unread) return false;
    memcpy(unread->frame, frame, bytes);
    unread->bytes = bytes;
    for (size_t i = 0; descriptors && i < descriptors->count; i++) {
        int fd = fcntl(descriptors->fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            free_unread(unread);
            return false;
        }
        unread->descriptors.fds[unread->descriptors.count++] = fd;
    }
    *client->unread_last = unread;
    client->unread_last = &unread->next;
    client->unread_bytes += bytes;
    event_add(client->writable, NULL);
    return true;
}

/* The connection is of no use any more: it ends as if the client had gone, from the loop. */
static void end_soon(struct rp_broker_client *client) {
    client->is_ending = true;
    client->is_broken = true;
    event_active(client->readable, EV_READ, 1);
}

static void send_frame(struct rp_broker_client *client, const void *frame, size_t bytes,
                       const struct rp_descriptors *descriptors) {
    rp_status status = RP_ERR_TIMEOUT;
    if (!client->unread) {
        status = rp_channel_send(client->fd, frame, bytes, descriptors, 0, NULL);
    }
    if (status == RP_ERR_TIMEOUT && keep_unread(client, frame, bytes, descriptors)) return;
    if (status != RP_OK) end_soon(client);
}

void rp_broker_answer(struct rp_broker_client *client, const struct rp_message *message,
                      const struct rp_descriptors *descriptors) {
    char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes;
    rp_error why = RP_ERROR_INIT;
    if (client->is_ending) return;
    if (rp_frame_write(message, frame, &bytes, &why) == RP_OK) {
        send_frame(client, frame, bytes, descriptors);
        return;
    }
    rp_broker_log(client->broker, "error", "event=answer_failed pid=%d message=\"%s\"",
                  (int)client->pid, why.message);
    if (message->type != RP_MESSAGE_FAILED) rp_broker_fail(client, message->number, &why);
}

void rp_broker_fail(struct rp_broker_client *client, uint32_t number, const rp_error *why) {
    struct rp_message message = {
        .type = RP_MESSAGE_FAILED, .number = number, .failed = rp_error_to_text(why)};
    rp_broker_answer(client, &message, NULL);
}

static void send_unread(struct rp_broker_client *client) {
    while (client->unread) {
        struct rp_unread *unread = client->unread;
        rp_status status = rp_channel_send(client->fd, unread->frame, unread->bytes,
                                           &unread->descriptors, 0, NULL);
        if (status == RP_ERR_TIMEOUT) {
            event_add(client->writable, NULL);
            return;
        }
        client->unread = unread->next;
        if (!client->unread) client->unread_last = &client->unread;
        client->unread_bytes -= unread->bytes;
        free_unread(unread);
        if (status != RP_OK) {
            end_soon(client);
            return;
        }
    }
    if (client->is_ending) rp_broker_drop(client, "refused");
}

static void on_writable(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    send_unread(user);
}

/* ---- receiving ---- */

static void refuse(struct rp_broker_client *client, uint32_t number, const rp_error *why) {
    struct rp_message message = {
        .type = RP_MESSAGE_REFUSED, .number = number, .failed = rp_error_to_text(why)};
    rp_broker_log(client->broker, "warning", "event=refuse pid=%d message=\"%s\"", (int)client->pid,
                  why->message);
    rp_broker_answer(client, &message, NULL);
    client->is_ending = true;
}

/* False: it was refused. */
static void handle_hello(struct rp_broker_client *client, const struct rp_message *message) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    if (message->hello.version != RP_FRAME_VERSION || message->version != RP_FRAME_VERSION) {
        rp_fail(&why, RP_ERR_UNSUPPORTED,
                "the broker (process %d) speaks version %d of the protocol, and process %d %u",
                (int)getpid(), RP_FRAME_VERSION, (int)client->pid,
                (unsigned)message->hello.version);
        rp_hint(&why, "'rpool stop' ends the broker; the next program starts one of its own");
    } else if (broker->is_draining) {
        rp_fail(&why, RP_ERR_STATE, "the broker (process %d) is stopping", (int)getpid());
        rp_hint(&why, "it ends when its last lease does; ask again then");
    }
    if (why.status != RP_OK) {
        refuse(client, message->number, &why);
        return;
    }
    snprintf(client->command, sizeof client->command, "%s", message->hello.command);
    rp_text_make_printable(client->command);
    client->has_said_hello = true;
    event_remove_timer(client->readable);
    rp_broker_log(broker, "info", "event=client pid=%d command=\"%s\"", (int)client->pid,
                  client->command);
    struct rp_message welcome = {.type = RP_MESSAGE_WELCOME,
                                 .number = message->number,
                                 .welcome = {RP_FRAME_VERSION, (uint64_t)getpid()}};
    rp_broker_answer(client, &welcome, NULL);
}

static void handle_object(struct rp_broker_client *client, const struct rp_message *message,
                          struct rp_descriptors *descriptors) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    if (!broker->store) {
        rp_fail(&why, RP_ERR_UNSUPPORTED, "this broker keeps no objects");
    } else if (broker->is_draining && message->type == RP_MESSAGE_OBJECT_GET) {
        rp_fail(&why, RP_ERR_STATE, "the broker is stopping");
    }
    if (why.status == RP_OK) {
        broker->store_ops.handle(broker->store, client, message, descriptors);
    } else if (message->type != RP_MESSAGE_OBJECT_ABORT) {
        rp_broker_fail(client, message->number, &why);
    }
}

/* An object whose bytes this process had no number left to open: nobody waits for it in vain. */
static void lose_object(struct rp_broker_client *client, const struct rp_message *message,
                        const rp_error *why) {
    struct rp_descriptors none = {.count = 0};
    const struct rp_message abort = {
        .type = RP_MESSAGE_OBJECT_ABORT,
        .object_abort = {message->object_put.token, rp_error_to_text(why)}};
    rp_broker_log(client->broker, "warning", "event=lost_object pid=%d message=\"%s\"",
                  (int)client->pid, why->message);
    rp_broker_fail(client, message->number, why);
    handle_object(client, &abort, &none);
}

/* What a client says once it was welcomed. False: nothing that a client may say. */
static bool handle(struct rp_broker_client *client, const struct rp_message *message, size_t bytes,
                   struct rp_descriptors *descriptors) {
    struct rp_broker *broker = client->broker;
    switch (message->type) {
    case RP_MESSAGE_ACQUIRE:
        rp_broker_handle_acquire(client, message, broker->frame, bytes);
        return true;
    case RP_MESSAGE_RELEASE:
        if (!rp_broker_give_back(client, message->release.lease_id,
                                 message->release.how == RP_RELEASE_KEEPS_RING) &&
            broker->store) {
            broker->store_ops.release(broker->store, client, message->release.lease_id,
                                      message->release.how == RP_RELEASE_RETIRES);
        }
        return true;
    case RP_MESSAGE_RING_CLOSE:
        rp_broker_close_ring(client, message->ring_close.ring_id);
        return true;
    case RP_MESSAGE_CANCEL:
        rp_broker_handle_cancel(client, message->cancel.number);
        return true;
    case RP_MESSAGE_OBJECT_GET:
    case RP_MESSAGE_OBJECT_PUT:
    case RP_MESSAGE_OBJECT_ABORT:
        handle_object(client, message, descriptors);
        return true;
    case RP_MESSAGE_TELL:
        rp_broker_handle_told(client, message);
        return true;
    case RP_MESSAGE_STATUS:
    case RP_MESSAGE_STATS:
    case RP_MESSAGE_EVICT:
    case RP_MESSAGE_CLEAR:
    case RP_MESSAGE_MOVE:
    case RP_MESSAGE_STOP:
        rp_broker_handle_order(client, message);
        return true;
    default:
        return false;
    }
}

/* One frame; false when there is none, or the client is no more. */
static bool receive_one(struct rp_broker_client *client) {
    struct rp_broker *broker = client->broker;
    struct rp_descriptors descriptors = {.count = 0};
    struct rp_message message = {.type = 0};
    size_t bytes;
    rp_error why = RP_ERROR_INIT;
    rp_status status = rp_channel_receive(client->fd, broker->frame, &bytes, &descriptors, 0, &why);
    if (status == RP_ERR_TIMEOUT) return false;
    if (status == RP_ERR_STATE) {
        rp_broker_drop(client, "it has gone");
        return false;
    }
    bool is_lost = status == RP_ERR_LIMIT;
    if (status == RP_OK || is_lost) {
        status = rp_frame_parse(broker->frame, bytes, &message, &why);
    }
    if (status == RP_OK && is_lost && client->has_said_hello &&
        message.type == RP_MESSAGE_OBJECT_PUT) {
        lose_object(client, &message, &why);
        return true;
    }
    if (status == RP_OK && !rp_message_allows_descriptors(message.type, descriptors.count)) {
        status = rp_fail(&why, RP_ERR_DATA, "a %s frame with %zu descriptors",
                         rp_message_name(message.type), descriptors.count);
    }
    bool is_hello = status == RP_OK && message.type == RP_MESSAGE_HELLO;
    if (is_hello && !client->has_said_hello) {
        handle_hello(client, &message);
    } else if (status == RP_OK && (is_hello || !client->has_said_hello ||
                                   !handle(client, &message, bytes, &descriptors))) {
        status = rp_fail(&why, RP_ERR_DATA, "a %s frame, which has no place here",
                         rp_message_name(message.type));
    }
    rp_descriptors_close(&descriptors);
    if (status == RP_OK) return true;
    rp_broker_log(broker, "warning", "event=bad_frame pid=%d message=\"%s\"", (int)client->pid,
                  why.message);
    rp_broker_drop(client, why.message);
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    struct rp_broker_client *client = user;
    if (what & EV_TIMEOUT) {
        rp_broker_drop(client, "it never said hello");
        return;
    }
    if (client->is_ending) {
        if (client->is_broken || !client->unread) {
            rp_broker_drop(client, "it cannot be written to, or does not read");
        } else {
            event_del(client->readable); /* it goes when it has read why */
        }
        return;
    }
    /* In turns, so that one client that talks a lot does not keep the others waiting. */
    for (int i = 0; i < FRAMES_PER_TURN && receive_one(client); i++) {
        if (!client->is_ending) continue;
        if (!client->unread) rp_broker_drop(client, "refused");
        return;
    }
}

static struct rp_broker_client *make_client(struct rp_broker *broker, int fd, pid_t pid) {
    struct rp_broker_client *client = rp_alloc(sizeof *client);
    if (!client) return NULL;
    *client = (struct rp_broker_client){.broker = broker,
                                        .fd = fd,
                                        .pid = pid,
                                        .started_ticks = started_ticks_of(pid),
                                        .since_wall_ns = rp_wall_ns()};
    client->unread_last = &client->unread;
    client->readable = event_new(broker->base, fd, EV_READ | EV_PERSIST, on_readable, client);
    client->writable = event_new(broker->base, fd, EV_WRITE, on_writable, client);
    const struct timeval most = {HELLO_S_MAX, 0};
    if (!client->readable || !client->writable || event_add(client->readable, &most) != 0) {
        if (client->readable) event_free(client->readable);
        if (client->writable) event_free(client->writable);
        rp_free(client);
        return NULL;
    }
    client->next = broker->clients;
    client->link = &broker->clients;
    if (client->next) client->next->link = &client->next;
    broker->clients = client;
    broker->client_count++;
    return client;
}

void rp_broker_accept(struct rp_broker *broker) {
    static const struct timeval later = {0, 100000};
    for (;;) {
        int fd;
        pid_t pid = 0;
        rp_error why = RP_ERROR_INIT;
        rp_status status = rp_channel_accept(broker->claim.listening_fd, &fd, &why);
        if (status == RP_OK && fd < 0) return;
        if (status == RP_OK) status = rp_channel_check_peer(fd, &pid, &why);
        if (status == RP_OK && broker->client_count >= RP_LIMIT_CLIENTS) {
            status = rp_fail(&why, RP_ERR_LIMIT, "%d clients are the limit", RP_LIMIT_CLIENTS);
        } else if (status == RP_OK && !make_client(broker, fd, pid)) {
            status = rp_fail(&why, RP_ERR_MEMORY, "no memory for a client");
        }
        if (status == RP_OK) continue;
        rp_broker_log(broker, "warning", "event=not_accepted pid=%d message=\"%s\"", (int)pid,
                      why.message);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        /* Out of descriptors, most likely: the connection stays in the queue, and would call at
         * once again. */
        event_del(broker->accepting);
        event_add(broker->accept_again, &later);
        return;
    }
}

struct rp_broker *rp_broker_of(struct rp_broker_client *client) {
    return client->broker;
}

pid_t rp_broker_client_pid(const struct rp_broker_client *client) {
    return client->pid;
}

const char *rp_broker_client_command(const struct rp_broker_client *client) {
    return client->command;
}
