/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people ask the broker for: how it stands, and to take things out or to end.
 *
 * Looking at the whole pool, and taking things out of it, is done on helper threads. What a client
 * gave back before it asks is given back first: both go through the housekeeper.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"

#include <resourcepool/statistics.h>
#include <resourcepool/text.h>
#include <resourcepool/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PART_BYTES = 48 << 10, HOLDERS_NAMED_MAX = 3 };

/* One order under way. `client` is NULL once it has gone. */
struct rp_broker_order {
    struct rp_broker *broker;
    struct rp_broker_client *client;
    uint16_t type;
    uint32_t number;
    bool is_wide; /* STATUS: all; CLEAR: force */
    char *key;    /* EVICT */
    struct rp_task task;
    struct rp_broker_order *next;
    struct rp_broker_order **link;

    /* The helper thread's, until it is done. */
    rp_status status;
    rp_error why;
    rp_cleared cleared;
    rp_totals totals;
    char *pool_json;
    json_t *models;
};

static void free_order(struct rp_broker_order *order) {
    *order->link = order->next;
    if (order->next) order->next->link = order->link;
    rp_string_free(order->pool_json);
    json_decref(order->models);
    rp_free(order->key);
    rp_free(order);
}

void rp_broker_forget_orders(const struct rp_broker_client *client) {
    for (struct rp_broker_order *order = client->broker->orders; order; order = order->next) {
        if (order->client == client) order->client = NULL;
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

static json_t *json_time(int64_t wall_ns) {
    char text[RP_ISO_TIME_BYTES];
    rp_wall_format_iso(wall_ns, text, sizeof text);
    return json_string(text);
}

static json_t *json_u64(uint64_t value) {
    return value == RP_UNKNOWN_U64 ? json_null() : json_integer((json_int_t)value);
}

/* ---- status ---- */

static json_t *describe_broker(const struct rp_broker *broker) {
    return json_pack(
        "{s:i, s:s, s:i, s:s, s:s, s:o, s:f, s:I, s:b, s:I}", "pid", (int)getpid(), "version",
        rp_version_string(), "protocol", RP_FRAME_VERSION, "socket", broker->claim.address.socket,
        "name", broker->options.name ? broker->options.name : "", "since",
        json_time(broker->start_wall_ns), "uptime_ms",
        rp_elapsed_ms(broker->start_ns, rp_clock_ns()), "clients", (json_int_t)broker->client_count,
        "draining", broker->is_draining, "idle_exit_ms", (json_int_t)broker->idle_exit_ms);
}

static json_t *describe_clients(const struct rp_broker *broker) {
    json_t *list = json_array();
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        json_array_append_new(
            list, json_pack("{s:i, s:s, s:o, s:I, s:I, s:I}", "pid", (int)at->pid, "command",
                            at->command, "since", json_time(at->since_wall_ns), "started_ticks",
                            (json_int_t)at->started_ticks, "leases", (json_int_t)at->lease_count,
                            "waits", (json_int_t)at->wait_count));
    }
    return list;
}

static json_t *describe_leases(const struct rp_broker *broker) {
    json_t *list = json_array();
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        for (const struct rp_broker_lease *lease = at->leases; lease; lease = lease->next) {
            json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:o}", "key",
                                                  rp_lease_key(lease->ticket), "pid", (int)at->pid,
                                                  "command", at->command, "since",
                                                  json_time(lease->since_wall_ns)));
        }
    }
    return list;
}

static json_t *describe_waiters(const struct rp_broker *broker) {
    json_t *list = json_array();
    for (const struct rp_broker_job *job = broker->jobs; job; job = job->next) {
        for (const struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
            json_array_append_new(
                list,
                json_pack("{s:s, s:s, s:i, s:s, s:o, s:s}", "type",
                          job->asked.acquire.resource_type, "name", job->asked.acquire.name, "pid",
                          (int)wait->client->pid, "command", wait->client->command, "since",
                          json_time(wait->since_wall_ns), "for", rp_broker_wait_reason(job)));
        }
    }
    return list;
}

static void send_status(struct rp_broker_order *order) {
    struct rp_broker *broker = order->broker;
    json_t *pool = json_loads(order->pool_json, 0, NULL);
    json_t *document = json_object();
    static const char *const parts[][2] = {{"totals", "totals"},
                                           {"pressure", "pressure"},
                                           {"entries", "entries"},
                                           {"devices", "ledger"},
                                           {"hardware", "hardware"}};
    rp_broker_add_descriptions(json_object_get(pool, "entries"), order->models);
    json_object_set_new(document, "broker", describe_broker(broker));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (i == sizeof parts / sizeof parts[0] - 1 && !order->is_wide) break;
        json_object_set(document, parts[i][1], json_object_get(pool, parts[i][0]));
    }
    json_object_set_new(document, "leases", describe_leases(broker));
    json_object_set_new(document, "waiters", describe_waiters(broker));
    if (order->is_wide) json_object_set_new(document, "clients", describe_clients(broker));
    if (broker->store) broker->store_ops.tell_status(broker->store, document);
    json_decref(pool);
    send_json(order, document);
}

static void send_stats(struct rp_broker_order *order) {
    const struct rp_broker *broker = order->broker;
    const rp_totals *totals = &order->totals;
    size_t waiters = 0;
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        waiters += at->wait_count;
    }
    send_json(order,
              json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "pid",
                        (int)getpid(), "requests", (json_int_t)totals->requests, "hits",
                        (json_int_t)totals->hits, "misses", (json_int_t)totals->misses, "loads",
                        (json_int_t)totals->loads, "load_failures",
                        (json_int_t)totals->load_failures, "evictions",
                        (json_int_t)totals->evictions, "entries", (json_int_t)totals->entry_count,
                        "leases", (json_int_t)broker->lease_count, "clients",
                        (json_int_t)broker->client_count, "waiters", (json_int_t)waiters,
                        "memory_bytes", json_u64(totals->memory_bytes), "peak_bytes",
                        json_u64(totals->peak_bytes)));
}

/* ---- the work ---- */

static rp_status look(struct rp_broker_order *order) {
    rp_statistics *statistics = NULL;
    rp_status status = rp_pool_statistics(order->broker->pool, &statistics, &order->why);
    if (status != RP_OK) return status;
    order->totals = *rp_statistics_totals(statistics);
    if (order->type == RP_MESSAGE_STATUS) {
        status = rp_statistics_to_json(statistics, 0, &order->pool_json, &order->why);
        order->models = rp_broker_describe_models(order->broker);
    }
    rp_statistics_destroy(statistics);
    return status;
}

static void work(void *user) {
    struct rp_broker_order *order = user;
    rp_pool *pool = order->broker->pool;
    if (order->type == RP_MESSAGE_EVICT) {
        order->status = rp_pool_evict(pool, order->key, &order->cleared, &order->why);
    } else if (order->type == RP_MESSAGE_CLEAR && order->is_wide) {
        order->status = rp_pool_clear(pool, &order->cleared, &order->why);
    } else if (order->type == RP_MESSAGE_CLEAR) {
        order->status = rp_pool_cleanup_unused(pool, 0, &order->cleared, &order->why);
    } else {
        order->status = look(order);
    }
}

static void done(void *user) {
    struct rp_broker_order *order = user;
    const rp_cleared *cleared = &order->cleared;
    if (!order->client) {
        free_order(order);
        return;
    }
    if (order->status != RP_OK) {
        rp_broker_fail(order->client, order->number, &order->why);
    } else if (order->type == RP_MESSAGE_STATUS) {
        send_status(order);
    } else if (order->type == RP_MESSAGE_STATS) {
        send_stats(order);
    } else {
        rp_broker_log(order->broker, "info", "event=%s key=\"%s\" removed=%llu freed_bytes=%llu",
                      rp_message_name(order->type), order->key ? order->key : "",
                      (unsigned long long)cleared->removed_count,
                      (unsigned long long)cleared->freed_bytes);
        send_json(order, json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "removed_count",
                                   (json_int_t)cleared->removed_count, "removed_bytes",
                                   (json_int_t)cleared->removed_bytes, "leased_count",
                                   (json_int_t)cleared->leased_count, "loading_count",
                                   (json_int_t)cleared->loading_count, "freed_bytes",
                                   (json_int_t)cleared->freed_bytes, "verified",
                                   cleared->freed_bytes >= cleared->removed_bytes));
    }
    free_order(order);
}

/* ---- orders that leases are in the way of ---- */

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
        rp_broker_fail(client, message->number, &why);
        return;
    }
    send_text(client, message->number, "{}");
    if (message->clear.force) broker->is_over = true;
    rp_broker_drain(broker, "told to stop");
}

void rp_broker_handle_order(struct rp_broker_client *client, const struct rp_message *message) {
    struct rp_broker *broker = client->broker;
    rp_error why = RP_ERROR_INIT;
    if (message->type == RP_MESSAGE_STOP) {
        handle_stop(client, message);
        return;
    }
    bool is_evict = message->type == RP_MESSAGE_EVICT;
    bool is_clear = message->type == RP_MESSAGE_CLEAR;
    if (is_evict && !message->evict.force) {
        char what[sizeof why.message];
        snprintf(what, sizeof what, "cannot evict '%.120s'", message->evict.key);
        if (tell_holders(broker, message->evict.key, what, &why)) {
            rp_broker_fail(client, message->number, &why);
            return;
        }
    }
    struct rp_broker_order *order = rp_alloc(sizeof *order);
    if (order && is_evict) order->key = rp_strdup(message->evict.key);
    if (!order || (is_evict && !order->key)) {
        rp_free(order);
        rp_fail(&why, RP_ERR_MEMORY, "no memory for the order");
        rp_broker_fail(client, message->number, &why);
        return;
    }
    order->broker = broker;
    order->client = client;
    order->type = message->type;
    order->number = message->number;
    order->is_wide = (message->type == RP_MESSAGE_STATUS && message->status.all) ||
                     (is_clear && message->clear.force);
    order->task = (struct rp_task){work, done, order, NULL};
    order->next = broker->orders;
    order->link = &broker->orders;
    if (order->next) order->next->link = &order->next;
    broker->orders = order;
    if (is_evict && message->evict.force) rp_broker_revoke(broker, message->evict.key);
    if (is_clear && message->clear.force) rp_broker_revoke(broker, NULL);
    if (is_evict || is_clear) {
        rp_broker_add_chore(broker, &order->task);
    } else if (!rp_broker_start_thread(broker, &order->task)) {
        rp_broker_add_chore(broker, &order->task);
    }
}
