/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of <resourcepool/machine.h> that look after the broker. */
#include <resourcepool/machine.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "machine/broker.h"
#include "machine/client.h"
#include "machine/launch.h"
#include "machine/machine.h"
#include "machine/object_store.h"
#include "machine/worker_host.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

enum { CALL_MS = 10000 };

/* What a worker may have: all of the budget, when that is one figure; 0: no limit. */
static uint64_t worker_limit_of(const rp_broker_options *options) {
    uint64_t bytes = 0;
    bool is_one = options && options->budget && rp_text_parse_bytes(options->budget, &bytes);
    return is_one ? bytes : 0;
}

static void close_host(void *user) {
    rp_worker_host_close(user);
}

rp_status rp_broker_serve(const rp_broker_options *options, rp_error *err) {
    char program[RP_PROGRAM_BYTES];
    rp_status status = rp_launch_find_program(program, err);
    if (status != RP_OK) return status;
    struct rp_worker_host *host = NULL;
    status = rp_worker_host_open(program, worker_limit_of(options), &host, err);
    if (status != RP_OK) return status;
    struct rp_broker_host calls = rp_worker_host_calls(host);
    calls.closed = close_host;
    const struct rp_broker_setup setup = {
        .options = options, .host = &calls, .store = &rp_object_store};
    return rp_broker_run(&setup, err);
}

rp_status rp_machine_open(const rp_machine_options *options, rp_machine **machine, rp_error *err) {
    rp_machine_options own = RP_MACHINE_OPTIONS_INIT;
    if (!machine) return rp_fail(err, RP_ERR_ARGUMENT, "no place for the way to the broker");
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    rp_machine *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for the way to the broker");
    made->timeout_ms = own.timeout_ms > 0 ? own.timeout_ms : CALL_MS;
    const struct rp_client_options client = {
        .folder = own.folder, .no_start = own.no_start, .connect_timeout_ms = made->timeout_ms};
    rp_status status = rp_client_acquire(&client, &made->client, err);
    if (status == RP_OK) {
        *machine = made;
    } else {
        rp_free(made);
    }
    return status;
}

void rp_machine_close(rp_machine *machine) {
    if (!machine) return;
    rp_client_drop(machine->client);
    rp_free(machine);
}

static rp_status ask(rp_machine *machine, const struct rp_message *message, char **text,
                     rp_error *err) {
    if (!machine || !text) {
        return rp_fail(err, RP_ERR_ARGUMENT, "no machine to ask, or no place for its answer");
    }
    return rp_client_call_text(machine->client, message, rp_deadline_after_ms(machine->timeout_ms),
                               text, err);
}

rp_status rp_machine_status(rp_machine *machine, bool all, char **json, rp_error *err) {
    const struct rp_message message = {.type = RP_MESSAGE_STATUS, .status = {all}};
    return ask(machine, &message, json, err);
}

rp_status rp_machine_stats(rp_machine *machine, char **json, rp_error *err) {
    const struct rp_message message = {.type = RP_MESSAGE_STATS};
    return ask(machine, &message, json, err);
}

rp_status rp_machine_tell(rp_machine *machine, const char *json, rp_error *err) {
    char *text = NULL;
    if (!json) return rp_fail(err, RP_ERR_ARGUMENT, "nothing to tell the broker");
    const struct rp_message message = {.type = RP_MESSAGE_TELL, .tell = {json}};
    rp_status status = ask(machine, &message, &text, err);
    rp_free(text);
    return status;
}

static uint64_t number_in(const json_t *document, const char *key) {
    return (uint64_t)json_integer_value(json_object_get(document, key));
}

static rp_seen seen_in(const json_t *document, const char *key) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_boolean(value)) return RP_SEEN_UNKNOWN;
    return json_is_true(value) ? RP_SEEN_YES : RP_SEEN_NO;
}

/* Ask for something that takes entries out; `cleared` and `moved_key` may be NULL. */
static rp_status take_out(rp_machine *machine, const struct rp_message *message,
                          rp_cleared *cleared, char **moved_key, rp_error *err) {
    char *text = NULL;
    rp_status status = ask(machine, message, &text, err);
    if (status != RP_OK) return status;
    json_t *document = json_loads(text, 0, NULL);
    const char *moved = json_string_value(json_object_get(document, "moved"));
    char *copy = moved && moved_key ? rp_strdup(moved) : NULL;
    rp_free(text);
    if (!json_is_object(document)) {
        status = rp_fail(err, RP_ERR_DATA, "the broker's answer is no JSON object");
    } else if (moved_key && !copy) {
        status = moved ? rp_fail(err, RP_ERR_MEMORY, "moved, but no memory to say where to")
                       : rp_fail(err, RP_ERR_DATA, "the broker does not say where it moved it");
    } else {
        if (moved_key) *moved_key = copy;
        if (cleared) {
            *cleared = (rp_cleared){.removed_count = number_in(document, "removed_count"),
                                    .removed_bytes = number_in(document, "removed_bytes"),
                                    .leased_count = number_in(document, "leased_count"),
                                    .loading_count = number_in(document, "loading_count"),
                                    .freed_bytes = number_in(document, "freed_bytes"),
                                    .verified = seen_in(document, "verified")};
        }
    }
    json_decref(document);
    return status;
}

rp_status rp_machine_evict(rp_machine *machine, const char *key, bool force, rp_cleared *cleared,
                           rp_error *err) {
    if (!key) return rp_fail(err, RP_ERR_ARGUMENT, "no key to evict");
    const struct rp_message message = {.type = RP_MESSAGE_EVICT, .evict = {key, force}};
    return take_out(machine, &message, cleared, NULL, err);
}

rp_status rp_machine_clear(rp_machine *machine, bool force, rp_cleared *cleared, rp_error *err) {
    const struct rp_message message = {.type = RP_MESSAGE_CLEAR, .clear = {force}};
    return take_out(machine, &message, cleared, NULL, err);
}

rp_status rp_machine_move(rp_machine *machine, const char *key, const char *device, bool force,
                          rp_cleared *cleared, char **moved_key, rp_error *err) {
    if (!key || !device) return rp_fail(err, RP_ERR_ARGUMENT, "a move needs a key and a device");
    const struct rp_message message = {.type = RP_MESSAGE_MOVE, .move = {key, device, force}};
    return take_out(machine, &message, cleared, moved_key, err);
}

rp_status rp_machine_stop(rp_machine *machine, bool force, rp_error *err) {
    char *text = NULL;
    const struct rp_message message = {.type = RP_MESSAGE_STOP, .clear = {force}};
    rp_status status = ask(machine, &message, &text, err);
    rp_free(text);
    return status;
}
