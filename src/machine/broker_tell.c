/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker says of itself: STATUS and STATS as JSON, and rings of what went wrong lately.
 *
 * What is in the pool is looked at on a helper thread, what clients hold in the loop; a document
 * has both. Jansson's calls pass a missing object on as a failure, so that a row for which there
 * was no memory is missing and nothing else.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"
#include "machine/broker_inside.h"
#include "pool/admission.h"
#include "pool/pool.h"

#include <resourcepool/statistics.h>
#include <resourcepool/text.h>
#include <resourcepool/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVENTS_TOLD = 32 };

static json_t *json_time(int64_t wall_ns) {
    char text[RP_ISO_TIME_BYTES];
    rp_wall_format_iso(wall_ns, text, sizeof text);
    return json_string(text);
}

static json_t *json_u64(uint64_t value) {
    return value == RP_UNKNOWN_U64 ? json_null() : json_integer((json_int_t)value);
}

/* Names come cut, perhaps in the middle of a character. */
static json_t *json_printable(const char *text) {
    char whole[sizeof(rp_error)];
    snprintf(whole, sizeof whole, "%s", text);
    rp_text_make_printable(whole);
    return json_string(whole);
}

/* Since when, as a time and as an age: a clock that is set meanwhile makes nobody younger than 0.
 */
void rp_broker_put_since(json_t *row, int64_t wall_ns) {
    int64_t now_ns = rp_wall_ns();
    json_object_set_new(row, "since", json_time(wall_ns));
    json_object_set_new(row, "age_ms",
                        json_real(now_ns > wall_ns ? rp_elapsed_ms(wall_ns, now_ns) : 0));
}

/* ---- what went wrong ---- */

static struct rp_broker_note *add_note(struct rp_broker_notes *notes, const char *name,
                                       const char *message) {
    uint64_t number = ++notes->count;
    struct rp_broker_note *row = &notes->rows[number % RP_BROKER_NOTES_KEPT];
    *row = (struct rp_broker_note){.number = number, .wall_ns = rp_wall_ns()};
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->message, sizeof row->message, "%s", message);
    return row;
}

/* What a failure says, behind what varies while it stays the same. */
static const char *kernel_of(const char *message) {
    static const char again[] = "not tried again for ";
    if (strncmp(message, again, sizeof again - 1) != 0) return message;
    const char *colon = strstr(message, ": ");
    return colon ? colon + 2 : message;
}

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

/* The same but for its figures: times, numbers of threads and processes. */
static bool says_the_same(const char *one, const char *other) {
    one = kernel_of(one);
    other = kernel_of(other);
    while (*one && *other) {
        while (is_digit(*one) || (*one == '.' && is_digit(one[1]))) {
            one++;
        }
        while (is_digit(*other) || (*other == '.' && is_digit(other[1]))) {
            other++;
        }
        if (*one != *other) return false;
        if (*one) one++, other++;
    }
    return *one == *other;
}

static struct rp_broker_note *find_failure(struct rp_broker_notes *notes,
                                           const struct rp_broker_failure *failure) {
    uint64_t kept = notes->count < RP_BROKER_NOTES_KEPT ? notes->count : RP_BROKER_NOTES_KEPT;
    for (uint64_t number = notes->count; number > notes->count - kept; number--) {
        struct rp_broker_note *row = &notes->rows[number % RP_BROKER_NOTES_KEPT];
        if (row->status == failure->why->status &&
            strncmp(row->name, failure->name, sizeof row->name - 1) == 0 &&
            says_the_same(row->message, failure->why->message)) {
            return row;
        }
    }
    return NULL;
}

void rp_broker_note_failure(struct rp_broker *broker, const struct rp_broker_failure *failure) {
    struct rp_broker_note *row = find_failure(&broker->failures, failure);
    if (!row) {
        row = add_note(&broker->failures, failure->name, failure->why->message);
        row->status = failure->why->status;
        row->first_wall_ns = row->wall_ns;
        snprintf(row->device, sizeof row->device, "%s", failure->device ? failure->device : "");
        snprintf(row->hint, sizeof row->hint, "%s", failure->why->hint);
        if (failure->explanation) row->explanation = *failure->explanation;
    }
    row->wall_ns = rp_wall_ns();
    row->met_count += failure->met_count;
}

void rp_broker_note_leaks(const struct rp_broker_client *client) {
    if (!client->leases) return;
    struct rp_broker_note *row =
        add_note(&client->broker->leaks, rp_lease_key(client->leases->ticket), client->command);
    row->pid = client->pid;
    row->leases = client->lease_count;
}

static json_t *json_or_null(const char *text) {
    return text[0] ? json_printable(text) : json_null();
}

/* Of what was called off, or asked for wrongly, there is no diagnosis. */
static json_t *describe_failure(const struct rp_broker_note *note) {
    const struct rp_explanation *explanation = &note->explanation;
    bool is_explained = explanation->line[0] != '\0';
    json_t *row =
        json_pack("{s:I, s:o, s:s, s:o, s:o, s:o, s:I, s:o}", "number", (json_int_t)note->number,
                  "name", json_printable(note->name), "status", rp_status_name(note->status),
                  "message", json_printable(note->message), "hint", json_or_null(note->hint),
                  "device", json_or_null(note->device), "count", (json_int_t)note->met_count,
                  "first", json_time(note->first_wall_ns));
    json_object_set_new(row, "category",
                        is_explained ? json_string(rp_category_name(explanation->category))
                                     : json_null());
    json_object_set_new(row, "confidence",
                        is_explained ? json_real(explanation->confidence) : json_null());
    json_object_set_new(row, "line", json_or_null(explanation->line));
    json_object_set_new(row, "recommendation", json_or_null(explanation->advice));
    return row;
}

static json_t *describe_leak(const struct rp_broker_note *note) {
    return json_pack("{s:I, s:o, s:i, s:o, s:I}", "number", (json_int_t)note->number, "key",
                     json_printable(note->name), "pid", (int)note->pid, "command",
                     json_printable(note->message), "leases", (json_int_t)note->leases);
}

/* Oldest first. */
static json_t *describe_notes(const struct rp_broker_notes *notes,
                              json_t *(*describe)(const struct rp_broker_note *note)) {
    json_t *list = json_array();
    uint64_t kept = notes->count < RP_BROKER_NOTES_KEPT ? notes->count : RP_BROKER_NOTES_KEPT;
    for (uint64_t number = notes->count - kept + 1; number <= notes->count; number++) {
        const struct rp_broker_note *note = &notes->rows[number % RP_BROKER_NOTES_KEPT];
        json_t *row = describe(note);
        rp_broker_put_since(row, note->wall_ns);
        json_array_append_new(list, row);
    }
    return list;
}

/* ---- the pool, on a helper thread ---- */

static void take_event(const rp_event *event, void *user) {
    json_t *list = user;
    int64_t age_ns = rp_clock_coarse_ns() - event->at_ns;
    const char *name = rp_event_name((rp_event_kind)event->kind);
    json_t *row = json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o}", "number",
                            (json_int_t)event->number, "event", name ? name : "unknown", "key",
                            event->key[0] ? json_printable(event->key) : json_null(), "device",
                            event->device[0] ? json_printable(event->device) : json_null(), "bytes",
                            json_u64(event->bytes), "other_bytes", json_u64(event->other_bytes),
                            "ms", event->ms >= 0 ? json_real(event->ms) : json_null());
    rp_broker_put_since(row, rp_wall_ns() - (age_ns > 0 ? age_ns : 0));
    json_array_append_new(list, row);
    if (json_array_size(list) > EVENTS_TOLD) json_array_remove(list, 0);
}

/* The admission of a load that waits for room; NULL: it has room. Needs pool.lock. */
static const struct rp_admission *find_queued(const rp_pool *pool, const struct rp_entry *entry) {
    for (const struct rp_admission *at = pool->queue; at; at = at->next) {
        if (at->entry == entry) return at;
    }
    return NULL;
}

static void take_load(struct rp_broker_look *look, const rp_pool *pool,
                      const struct rp_entry *entry) {
    const struct rp_admission *queued = find_queued(pool, entry);
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "key", entry->text, "type", parts.type, "name",
                  parts.name ? parts.name : "", "device",
                  entry->placement.device ? json_string(entry->placement.device) : json_null(),
                  "waits_for_room", json_boolean(queued), "bytes",
                  json_u64(queued ? queued->bytes : RP_UNKNOWN_U64));
    rp_broker_put_since(row, entry->created_wall_ns);
    json_array_append_new(look->loads, row);
}

/* What is known of a model beyond the pool's statistics. */
static json_t *describe_model(const rp_model *model, pid_t process) {
    const char *precision = rp_model_precision(model);
    json_t *row = json_pack("{s:s, s:s, s:s?, s:I}", "engine", rp_model_engine(model), "device",
                            rp_model_device(model), "precision", precision, "threads",
                            (json_int_t)rp_model_threads(model));
    json_object_set_new(row, "process", process > 0 ? json_integer(process) : json_null());
    return row;
}

/* Loads under way, and what each model is. */
static void walk_pool(struct rp_broker *broker, struct rp_broker_look *look) {
    rp_pool *pool = broker->pool;
    rp_lock_acquire(&pool->lock);
    look->budget_bytes = pool->ledger.budget_bytes;
    for (size_t i = 0; i < pool->ledger.count; i++) {
        look->fork_server_bytes += pool->ledger.devices[i].outside_bytes;
    }
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->state == RP_ENTRY_LOADING) take_load(look, pool, entry);
        if (entry->state != RP_ENTRY_LOADED || !entry->model) continue;
        json_object_set_new(
            look->models[entry->is_detached], entry->text,
            describe_model(entry->model, rp_broker_process_of(broker, entry, NULL)));
    }
    rp_lock_release(&pool->lock);
}

rp_status rp_broker_look_take(struct rp_broker *broker, bool is_whole, struct rp_broker_look *look,
                              rp_error *err) {
    rp_statistics *statistics = NULL;
    rp_status status = rp_pool_statistics(broker->pool, &statistics, err);
    if (status != RP_OK) return status;
    look->totals = *rp_statistics_totals(statistics);
    if (is_whole) {
        uint64_t cursor = 0;
        status = rp_statistics_to_json(statistics, 0, &look->pool_json, err);
        look->events = json_array();
        look->loads = json_array();
        look->models[false] = json_object();
        look->models[true] = json_object();
        rp_pool_read_events(broker->pool, &cursor, take_event, look->events);
        walk_pool(broker, look);
    }
    rp_statistics_destroy(statistics);
    return status;
}

void rp_broker_look_fini(struct rp_broker_look *look) {
    rp_string_free(look->pool_json);
    json_decref(look->events);
    json_decref(look->loads);
    json_decref(look->models[false]);
    json_decref(look->models[true]);
}

/* ---- the clients, in the loop ---- */

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
        json_t *row =
            json_pack("{s:i, s:s, s:I, s:I, s:I}", "pid", (int)at->pid, "command", at->command,
                      "started_ticks", (json_int_t)at->started_ticks, "leases",
                      (json_int_t)at->lease_count, "waits", (json_int_t)at->wait_count);
        rp_broker_put_since(row, at->since_wall_ns);
        json_array_append_new(list, row);
    }
    return list;
}

/* Room is no entry, which would tell what it takes: its lease does. */
static void put_kind(json_t *row, const rp_lease *ticket) {
    rp_kind kind = rp_pool_lease_kind(ticket);
    json_object_set_new(row, "kind", json_string(rp_kind_name(kind)));
    if (kind != RP_KIND_RESERVATION) return;
    json_object_set_new(row, "device", json_string(rp_lease_placement(ticket)->device));
    json_object_set_new(row, "bytes", json_u64(rp_lease_memory_bytes(ticket)));
}

static json_t *describe_leases(const struct rp_broker *broker) {
    json_t *list = json_array();
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        for (const struct rp_broker_lease *lease = at->leases; lease; lease = lease->next) {
            json_t *row = json_pack("{s:s, s:i, s:s}", "key", rp_lease_key(lease->ticket), "pid",
                                    (int)at->pid, "command", at->command);
            /* Of two entries with one key, the one that goes and the next, it tells which. */
            const rp_model *model = rp_lease_model(lease->ticket);
            bool is_alone = false;
            pid_t process = model && broker->host.process_of
                                ? broker->host.process_of(broker->host.user, model, &is_alone)
                                : 0;
            json_object_set_new(row, "process", process > 0 ? json_integer(process) : json_null());
            put_kind(row, lease->ticket);
            rp_broker_put_since(row, lease->since_wall_ns);
            json_array_append_new(list, row);
        }
    }
    return list;
}

/* The load that a request waits for, as the pool calls it; NULL: it is not known, or just ended. */
static const json_t *find_load(const json_t *loads, const struct rp_broker_job *job) {
    size_t i;
    const json_t *load;
    json_array_foreach(loads, i, load) {
        const char *type = json_string_value(json_object_get(load, "type"));
        const char *name = json_string_value(json_object_get(load, "name"));
        if (type && name && strcmp(type, job->asked.acquire.resource_type) == 0 &&
            strcmp(name, job->asked.acquire.name) == 0) {
            return load;
        }
    }
    return NULL;
}

static json_t *describe_wait(const struct rp_broker_wait *wait, const json_t *loads) {
    const struct rp_broker_job *job = wait->job;
    const json_t *load = find_load(loads, job);
    json_t *row = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", job->asked.acquire.resource_type,
                            "name", job->asked.acquire.name, "pid", (int)wait->client->pid,
                            "command", wait->client->command, "for", rp_broker_wait_reason(job));
    json_object_set(row, "key", load ? json_object_get(load, "key") : json_null());
    json_object_set(row, "bytes", load ? json_object_get(load, "bytes") : json_null());
    rp_broker_put_since(row, wait->since_wall_ns);
    return row;
}

static json_t *describe_waiters(const struct rp_broker *broker, const json_t *loads) {
    json_t *list = json_array();
    for (const struct rp_broker_job *job = broker->jobs; job; job = job->next) {
        for (const struct rp_broker_wait *wait = job->waits; wait; wait = wait->next) {
            json_array_append_new(list, describe_wait(wait, loads));
        }
    }
    return list;
}

/* Each entry learns what its model is; those that are no models say nothing of it. */
static void put_models(json_t *entries, const struct rp_broker_look *look) {
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry) {
        const char *key = json_string_value(json_object_get(entry, "key"));
        const char *state = json_string_value(json_object_get(entry, "state"));
        bool is_draining = state && strcmp(state, "draining") == 0;
        if (key) json_object_update(entry, json_object_get(look->models[is_draining], key));
    }
}

/* Rows with a "device" as an object that has them by it. */
static json_t *by_device(const json_t *rows) {
    json_t *all = json_object();
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *device = json_string_value(json_object_get(row, "device"));
        if (device) json_object_set(all, device, row);
    }
    return all;
}

json_t *rp_broker_tell_status(struct rp_broker *broker, const struct rp_broker_look *look,
                              bool all) {
    json_t *pool = json_loads(look->pool_json, 0, NULL);
    json_t *document = json_object();
    static const char *const parts[][2] = {
        {"totals", "totals"}, {"pressure", "pressure"}, {"entries", "entries"}};
    json_object_set_new(document, "broker", describe_broker(broker));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        json_object_set(document, parts[i][1], json_object_get(pool, parts[i][0]));
    }
    put_models(json_object_get(document, "entries"), look);
    json_object_set_new(document, "ledger", by_device(json_object_get(pool, "devices")));
    json_object_set(document, "loading", look->loads);
    json_object_set_new(document, "leases", describe_leases(broker));
    json_object_set_new(document, "waiters", describe_waiters(broker, look->loads));
    rp_broker_put_told(broker, look, document);
    json_object_set(document, "events", look->events);
    json_object_set_new(document, "failures", describe_notes(&broker->failures, describe_failure));
    json_object_set_new(document, "leaks", describe_notes(&broker->leaks, describe_leak));
    json_object_set_new(json_object_get(document, "totals"), "budget_bytes",
                        json_u64(look->budget_bytes));
    if (all) json_object_set(document, "hardware", json_object_get(pool, "hardware"));
    if (all) json_object_set_new(document, "clients", describe_clients(broker));
    if (broker->store) broker->store_ops.tell_status(broker->store, document);
    json_decref(pool);
    return document;
}

json_t *rp_broker_tell_stats(const struct rp_broker *broker, const struct rp_broker_look *look) {
    const rp_totals *totals = &look->totals;
    size_t waiters = 0;
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        waiters += at->wait_count;
    }
    return json_pack(
        "{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "pid",
        (int)getpid(), "requests", (json_int_t)totals->requests, "hits", (json_int_t)totals->hits,
        "misses", (json_int_t)totals->misses, "loads", (json_int_t)totals->loads, "load_failures",
        (json_int_t)totals->load_failures, "evictions", (json_int_t)totals->evictions, "entries",
        (json_int_t)totals->entry_count, "leases", (json_int_t)broker->lease_count, "clients",
        (json_int_t)broker->client_count, "waiters", (json_int_t)waiters, "failures",
        (json_int_t)broker->failures.count, "leaks", (json_int_t)broker->leaks.count,
        "reservations", (json_int_t)totals->reservations, "memory_bytes",
        json_u64(totals->memory_bytes + totals->reserved_bytes), "peak_bytes",
        json_u64(totals->peak_bytes));
}
