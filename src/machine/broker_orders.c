/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people ask the broker for: how it stands, to take things out or move them, and to end.
 *
 * Looking at the whole pool, and changing it, is done on helper threads. What a client gave back
 * before it asks is given back first: both go through the housekeeper. Without force, what is
 * leased *drains*: it takes no new leases and goes with its last one. With force the leases are
 * taken away first; of a move only once the model is there, so that one that fails hurts nobody.
 *
 *     EVICT, CLEAR    (revoke)                                   housekeeper: take out    answer
 *     MOVE            thread: load it there    loop: (revoke)    housekeeper: look        answer
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "machine/broker_inside.h"
#include "pool/pool.h"
#include "pool/reserve.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { PART_BYTES = 48 << 10, HOLDERS_NAMED_MAX = 3 };

/* The processes of models that an order may end, each by a descriptor that tells its end. */
struct watched {
    int *processes;
    size_t count;
    size_t unseen_count;     /* entries that no process holds, or that share theirs */
    size_t draining_count;   /* of both: only waiting for their last lease */
    uint64_t draining_bytes; /* of those */
};

/* One order under way. `client` is NULL once it has gone. */
struct rp_broker_order {
    struct rp_broker *broker;
    struct rp_broker_client *client;
    uint16_t type;
    uint32_t number;
    bool is_wide;      /* STATUS: all */
    bool is_forced;    /* EVICT, CLEAR, MOVE */
    char *key;         /* EVICT, MOVE */
    char *device;      /* MOVE */
    rp_cancel *cancel; /* MOVE: its client has gone */
    struct rp_task task;
    struct rp_broker_order *next;
    struct rp_broker_order **link;

    /* The helper thread's, until it is done. */
    rp_status status;
    rp_error why;
    rp_cleared cleared;
    char *moved_key;
    struct watched watched;
    struct rp_broker_look look;
};

static void free_order(struct rp_broker_order *order) {
    if (order->link) {
        *order->link = order->next;
        if (order->next) order->next->link = order->link;
    }
    for (size_t i = 0; i < order->watched.count; i++) {
        close(order->watched.processes[i]);
    }
    rp_free(order->watched.processes);
    rp_broker_look_fini(&order->look);
    rp_cancel_destroy(order->cancel);
    rp_free(order->moved_key);
    rp_free(order->device);
    rp_free(order->key);
    rp_free(order);
}

void rp_broker_forget_orders(const struct rp_broker_client *client) {
    for (struct rp_broker_order *order = client->broker->orders; order; order = order->next) {
        if (order->client != client) continue;
        order->client = NULL;
        if (order->cancel) rp_cancel_fire(order->cancel);
    }
}

/* ---- answers ---- */

static void send_text(struct rp_broker_client *client, uint32_t number, const char *text) {
    size_t left = strlen(text);
    do {
        size_t part = left < PART_BYTES ? left : PART_BYTES;
        left -= part;
        struct rp_message message = {
            .type = RP_MESSAGE_TEXT, .number = number, .text = {left > 0, {text, (uint32_t)part}}};
        rp_broker_answer(client, &message, NULL);
        text += part;
    } while (left > 0 && !client->is_ending);
}

/* Takes the document over. */
static void send_json(struct rp_broker_order *order, json_t *document) {
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    rp_error why = RP_ERROR_INIT;
    if (text) {
        send_text(order->client, order->number, text);
    } else {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for the broker's answer");
        rp_broker_fail(order->client, order->number, &why);
    }
    free(text); /* jansson's */
    json_decref(document);
}

static const char *seen_text(rp_seen seen) {
    return seen == RP_SEEN_YES ? "yes" : seen == RP_SEEN_NO ? "no" : "unknown";
}

static json_t *describe_cleared(const struct rp_broker_order *order) {
    const rp_cleared *cleared = &order->cleared;
    json_t *document = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o}", "removed_count", (json_int_t)cleared->removed_count,
        "removed_bytes", (json_int_t)cleared->removed_bytes, "leased_count",
        (json_int_t)cleared->leased_count, "loading_count", (json_int_t)cleared->loading_count,
        "freed_bytes", (json_int_t)cleared->freed_bytes, "verified",
        cleared->verified == RP_SEEN_UNKNOWN ? json_null()
                                             : json_boolean(cleared->verified == RP_SEEN_YES));
    if (order->moved_key) json_object_set_new(document, "moved", json_string(order->moved_key));
    return document;
}

/* ---- whether it is gone ---- */

pid_t rp_broker_process_of(const struct rp_broker *broker, const struct rp_entry *entry,
                           bool *is_alone) {
    bool alone = false;
    if (entry->state != RP_ENTRY_LOADED || !entry->model || !broker->host.process_of) return 0;
    pid_t pid = broker->host.process_of(broker->host.user, entry->model, &alone);
    if (is_alone) *is_alone = alone;
    return pid;
}

/* Watch the process of each entry that has the order's key (none: of any). Without memory none is
 * watched. */
static void watch(struct rp_broker_order *order) {
    const char *key = order->key;
    rp_pool *pool = order->broker->pool;
    struct watched *watched = &order->watched;
    rp_lock_acquire(&pool->lock);
    watched->processes = rp_alloc_array(pool->entry_count, sizeof *watched->processes);
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        bool is_alone = false;
        if (entry->state != RP_ENTRY_LOADED || (key && strcmp(entry->text, key) != 0)) continue;
        if (!key && rp_entry_is_reservation(entry)) continue; /* it is no object to be cleared */
        pid_t pid = rp_broker_process_of(order->broker, entry, &is_alone);
        int process =
            pid > 0 && is_alone && watched->processes && watched->count < pool->entry_count
                ? pidfd_open(pid, 0)
                : -1;
        if (entry->is_detached) {
            watched->draining_count++;
            if (entry->memory_bytes != RP_UNKNOWN_U64) {
                watched->draining_bytes += entry->memory_bytes;
            }
        }
        if (process >= 0) {
            watched->processes[watched->count++] = process;
        } else {
            watched->unseen_count++;
        }
    }
    rp_lock_release(&pool->lock);
}

/* Of so many entries that were taken out, whether the processes that held them are gone. */
static rp_seen see_ends(const struct watched *watched, uint64_t removed_count) {
    uint64_t gone = 0;
    for (size_t i = 0; i < watched->count; i++) {
        struct pollfd end = {.fd = watched->processes[i], .events = POLLIN};
        gone += poll(&end, 1, 0) == 1;
    }
    if (removed_count == 0) return RP_SEEN_UNKNOWN;
    if (gone >= removed_count) return RP_SEEN_YES;
    return gone + watched->unseen_count >= removed_count ? RP_SEEN_UNKNOWN : RP_SEEN_NO;
}

/* ---- the work ---- */

/*
 * What was draining already, before leases were taken away, is no longer the pool's to take out; it
 * went with them, unless somebody else made something of it.
 */
static void add_drained(struct rp_broker_order *order) {
    const struct watched *watched = &order->watched;
    rp_cleared *cleared = &order->cleared;
    if (!order->is_forced || watched->draining_count == 0) return;
    if (order->status == RP_ERR_NOT_FOUND) {
        order->status = RP_OK;
        *cleared = (rp_cleared){0};
    }
    if (cleared->leased_count > 0) return;
    cleared->removed_count += watched->draining_count;
    cleared->removed_bytes += watched->draining_bytes;
    cleared->freed_bytes += watched->draining_bytes;
}

static void take_out(struct rp_broker_order *order) {
    rp_pool *pool = order->broker->pool;
    if (order->type == RP_MESSAGE_EVICT) {
        order->status = rp_pool_evict(pool, order->key, &order->cleared, &order->why);
    } else {
        order->status = rp_pool_clear(pool, &order->cleared, &order->why);
        if (order->status == RP_ERR_BUSY) order->status = RP_OK; /* the rest drains */
    }
    add_drained(order);
    order->cleared.verified = see_ends(&order->watched, order->cleared.removed_count);
}

/* Needs pool.lock. The entry of that key which only waits for its last lease; NULL: none. */
static const struct rp_entry *find_draining(const rp_pool *pool, const char *key) {
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->is_detached && strcmp(entry->text, key) == 0) return entry;
    }
    return NULL;
}

/* What the entry of a move takes where it is; what others do meanwhile comes out in the end. */
static uint64_t bytes_of(rp_pool *pool, const char *key) {
    rp_lock_acquire(&pool->lock);
    const struct rp_entry *entry = rp_pool_find_text(pool, key);
    uint64_t bytes = entry ? entry->memory_bytes : RP_UNKNOWN_U64;
    rp_lock_release(&pool->lock);
    return bytes == RP_UNKNOWN_U64 ? 0 : bytes;
}

static void move(struct rp_broker_order *order) {
    rp_pool *pool = order->broker->pool;
    rp_lease *lease = NULL;
    order->cleared.removed_bytes = bytes_of(pool, order->key);
    rp_request maker = RP_REQUEST_INIT;
    maker.cancel = order->cancel;
    order->status = rp_pool_move_key(pool, order->key, order->device, &maker, &lease, &order->why);
    if (order->status != RP_OK) return;
    order->moved_key = rp_strdup(rp_lease_key(lease));
    rp_lease_release(lease, NULL);
    if (!order->moved_key)
        order->status = rp_fail(&order->why, RP_ERR_MEMORY, "moved, but no memory to say so");
}

/* After a move, on the housekeeper: what became of the old one. */
static void look_back(void *user) {
    struct rp_broker_order *order = user;
    rp_pool *pool = order->broker->pool;
    rp_cleared *cleared = &order->cleared;
    rp_lock_acquire(&pool->lock);
    bool has_moved = strcmp(order->moved_key, order->key) != 0;
    bool is_draining = has_moved && find_draining(pool, order->key);
    rp_lock_release(&pool->lock);
    cleared->leased_count = is_draining;
    cleared->removed_count = has_moved && !is_draining;
    if (cleared->removed_count == 0) cleared->removed_bytes = 0;
    cleared->freed_bytes = cleared->removed_bytes;
    cleared->verified = see_ends(&order->watched, cleared->removed_count);
}

static void work(void *user) {
    struct rp_broker_order *order = user;
    if (order->type == RP_MESSAGE_EVICT || order->type == RP_MESSAGE_CLEAR) {
        take_out(order);
    } else if (order->type == RP_MESSAGE_MOVE) {
        move(order);
    } else {
        order->status = rp_broker_look_take(order->broker, order->type == RP_MESSAGE_STATUS,
                                            &order->look, &order->why);
    }
}

static void answer(struct rp_broker_order *order) {
    const rp_cleared *cleared = &order->cleared;
    if (order->status != RP_OK) {
        rp_broker_fail(order->client, order->number, &order->why);
    } else if (order->type == RP_MESSAGE_STATUS) {
        send_json(order, rp_broker_tell_status(order->broker, &order->look, order->is_wide));
    } else if (order->type == RP_MESSAGE_STATS) {
        /* Who counts all the time is a run: between two of its tests nothing is to be lost. */
        order->broker->idle_since_ns = rp_clock_ns();
        send_json(order, rp_broker_tell_stats(order->broker, &order->look));
    } else {
        rp_broker_log(order->broker, "info",
                      "event=%s key=\"%s\" removed=%llu leased=%llu freed_bytes=%llu verified=%s",
                      rp_message_name(order->type), order->key ? order->key : "",
                      (unsigned long long)cleared->removed_count,
                      (unsigned long long)cleared->leased_count,
                      (unsigned long long)cleared->freed_bytes, seen_text(cleared->verified));
        send_json(order, describe_cleared(order));
    }
}

static void done(void *user) {
    struct rp_broker_order *order = user;
    if (order->client) answer(order);
    free_order(order);
}

/* A move that went well goes on, whoever asked for it is there or not. */
static void move_done(void *user) {
    struct rp_broker_order *order = user;
    struct rp_broker *broker = order->broker;
    broker->job_count--;
    if (order->status != RP_OK) {
        done(order);
    } else {
        if (order->is_forced && strcmp(order->moved_key, order->key) != 0) {
            rp_broker_revoke(broker, order->key);
        }
        order->task = (struct rp_task){look_back, done, order, NULL};
        if (order->client) {
            rp_broker_add_chore(broker, &order->task);
        } else {
            free_order(order); /* nobody asks; and the housekeeper may have ended */
        }
    }
    rp_broker_note_end(broker);
}

/* ---- orders ---- */

/* Who has leases on that key (NULL: any), as far as they are named; false when nobody has. */
static bool tell_holders(const struct rp_broker *broker, const char *key, const char *what,
                         rp_error *why) {
    struct rp_text who = RP_TEXT_INIT;
    size_t processes = 0;
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        bool holds = false;
        for (const struct rp_broker_lease *lease = at->leases; lease && !holds;
             lease = lease->next) {
            holds = !key || strcmp(rp_lease_key(lease->ticket), key) == 0;
        }
        if (!holds) continue;
        if (processes++ < HOLDERS_NAMED_MAX) {
            rp_text_print(&who, "%sprocess %d ('%.40s')", who.length ? ", " : "", (int)at->pid,
                          at->command);
        }
    }
    if (processes == 0) return false;
    rp_fail(why, RP_ERR_BUSY, "%s: leased by %s%s", what, who.bytes ? who.bytes : "others",
            processes > HOLDERS_NAMED_MAX ? " and others" : "");
    rp_hint(why, "--force takes it away from them: what they run on it fails");
    rp_text_fini(&who);
    return true;
}

static void handle_stop(struct rp_broker_client *client, const struct rp_message *message) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    if (!message->clear.force && tell_holders(broker, NULL, "the broker is in use", &why)) {
        rp_broker_fail(client, message->number, &why);
        return;
    }
    if (!message->clear.force && rp_broker_is_used(broker)) {
        rp_fail(&why, RP_ERR_BUSY, "the broker is in use: loads or objects are under way");
        rp_hint(&why, "wait for their end, or end them with it (force)");
        rp_broker_fail(client, message->number, &why);
        return;
    }
    send_text(client, message->number, "{}");
    if (message->clear.force) broker->is_over = true;
    rp_broker_drain(broker, "told to stop");
}

/* An order as the message has it; NULL without memory. */
static struct rp_broker_order *make_order(struct rp_broker_client *client,
                                          const struct rp_message *message) {
    struct rp_broker_order *order = rp_alloc(sizeof *order);
    if (!order) return NULL;
    order->broker = client->broker;
    order->client = client;
    order->type = message->type;
    order->number = message->number;
    order->task = (struct rp_task){work, done, order, NULL};
    bool is_whole = true;
    switch (message->type) {
    case RP_MESSAGE_STATUS:
        order->is_wide = message->status.all != 0;
        break;
    case RP_MESSAGE_EVICT:
        order->is_forced = message->evict.force != 0;
        is_whole = (order->key = rp_strdup(message->evict.key)) != NULL;
        break;
    case RP_MESSAGE_CLEAR:
        order->is_forced = message->clear.force != 0;
        break;
    case RP_MESSAGE_MOVE:
        order->task.done = move_done;
        order->is_forced = message->move.force != 0;
        is_whole = (order->key = rp_strdup(message->move.key)) != NULL &&
                   (order->device = rp_strdup(message->move.device)) != NULL &&
                   rp_cancel_create(&order->cancel, NULL) == RP_OK;
        break;
    default:
        break;
    }
    if (is_whole) return order;
    free_order(order);
    return NULL;
}

static size_t count_orders(const struct rp_broker_client *client) {
    size_t count = 0;
    for (const struct rp_broker_order *at = client->broker->orders; at; at = at->next) {
        count += at->client == client;
    }
    return count;
}

static void add_order(struct rp_broker *broker, struct rp_broker_order *order) {
    order->next = broker->orders;
    order->link = &broker->orders;
    if (order->next) order->next->link = &order->next;
    broker->orders = order;
}

void rp_broker_handle_order(struct rp_broker_client *client, const struct rp_message *message) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    if (message->type == RP_MESSAGE_STOP) {
        handle_stop(client, message);
        return;
    }
    if (count_orders(client) >= RP_LIMIT_CLIENT_ORDERS) {
        rp_fail(&why, RP_ERR_LIMIT, "process %d waits for what became of %d orders, the limit",
                (int)client->pid, RP_LIMIT_CLIENT_ORDERS);
        rp_broker_fail(client, message->number, &why);
        return;
    }
    struct rp_broker_order *order = make_order(client, message);
    if (!order) {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for the order");
        rp_broker_fail(client, message->number, &why);
        return;
    }
    add_order(broker, order);
    bool takes_out = order->type == RP_MESSAGE_EVICT || order->type == RP_MESSAGE_CLEAR;
    if (takes_out || order->type == RP_MESSAGE_MOVE) watch(order);
    if (order->type == RP_MESSAGE_MOVE) {
        /* It loads: not on the housekeeper, whom all who give back would wait for. */
        broker->job_count++; /* a load like any other: while it runs, nothing is idle */
        if (rp_broker_start_thread(broker, &order->task)) return;
        order->status = rp_fail(&order->why, RP_ERR_MEMORY, "no thread to move '%s'", order->key);
        move_done(order);
    } else if (takes_out) {
        if (order->is_forced) rp_broker_revoke(broker, order->key);
        rp_broker_add_chore(broker, &order->task);
    } else if (!rp_broker_start_thread(broker, &order->task)) {
        rp_broker_add_chore(broker, &order->task);
    }
}
