/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients say of themselves: fork servers for Python, so far, which hold memory that is no
 * model's.
 *
 * It stands in the ledger beside the charges and is none: nobody leases it, it keeps no broker from
 * leaving, and no order takes it out. What the processor's memory allows is less by it. A budget
 * that somebody asked for is for what the pool loads and stays what it is: a suite that keeps it
 * when each of its Pythons imports for itself, which nobody counts, keeps it when they are forked.
 */
#include "base/memory.h"
#include "machine/broker_inside.h"
#include "pool/pool.h"

#include <string.h>

static bool is_fork_server(const struct rp_broker_client *client) {
    const char *kind = json_string_value(json_object_get(client->told, "kind"));
    return kind && strcmp(kind, "fork_server") == 0;
}

/* Whatever a client says, the sum is one. */
static uint64_t bytes_of(const struct rp_broker_client *client) {
    json_int_t bytes = json_integer_value(json_object_get(client->told, "memory_bytes"));
    return is_fork_server(client) && bytes > 0 ? (uint64_t)bytes : 0;
}

/* ---- the ledger's part, by the housekeeper ---- */

struct account {
    struct rp_task task;
    rp_pool *pool;
    uint64_t bytes;
};

static void account(void *user) {
    struct account *account = user;
    rp_pool_note_outside(account->pool, "cpu", account->bytes);
    rp_free(account);
}

/* Without memory the ledger is behind until somebody says the next thing. */
static void account_all(struct rp_broker *broker) {
    uint64_t bytes = 0;
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        bytes += bytes_of(at); /* of two that are no more than INT64_MAX */
        if (bytes > INT64_MAX) bytes = INT64_MAX;
    }
    if (bytes == broker->fork_server_bytes) return;
    struct account *chore = rp_alloc(sizeof *chore);
    if (!chore) return;
    broker->fork_server_bytes = bytes;
    *chore = (struct account){{account, NULL, chore, NULL}, broker->pool, bytes};
    rp_broker_add_chore(broker, &chore->task);
}

/* ---- the loop's ---- */

void rp_broker_handle_told(struct rp_broker_client *client, const struct rp_message *message) {
    rp_error why = RP_ERROR_INIT;
    json_error_t error = {.line = 0};
    json_t *told = json_loads(message->tell.about, 0, &error);
    struct rp_message answer = {.type = RP_MESSAGE_TEXT, .number = message->number};
    if (json_is_object(told)) {
        json_decref(client->told);
        client->told = told;
        account_all(client->broker);
        answer.text.part = (struct rp_bytes){"{}", 2};
        rp_broker_answer(client, &answer, NULL);
        return;
    }
    if (!told && json_error_code(&error) == json_error_out_of_memory) {
        rp_fail(&why, RP_ERR_MEMORY, "no memory for what a program says of itself");
    } else {
        rp_fail(&why, RP_ERR_ARGUMENT, "what a program says of itself is no JSON object");
    }
    json_decref(told);
    rp_broker_fail(client, message->number, &why);
}

void rp_broker_forget_told(struct rp_broker_client *client) {
    if (!client->told) return;
    json_decref(client->told);
    client->told = NULL;
    account_all(client->broker);
}

static json_t *describe_fork_servers(const struct rp_broker *broker) {
    json_t *list = json_array();
    for (const struct rp_broker_client *at = broker->clients; at; at = at->next) {
        if (!is_fork_server(at)) continue;
        json_t *row = json_pack("{s:i, s:s}", "pid", (int)at->pid, "command", at->command);
        rp_broker_put_since(row, at->since_wall_ns);
        json_object_update_missing(row, at->told);
        json_array_append_new(list, row);
    }
    return list;
}

void rp_broker_put_told(const struct rp_broker *broker, const struct rp_broker_look *look,
                        json_t *document) {
    json_t *cpu = json_object_get(json_object_get(document, "ledger"), "cpu");
    if (cpu) {
        json_object_set_new(cpu, "fork_server_bytes",
                            json_integer((json_int_t)look->fork_server_bytes));
    }
    json_object_set_new(document, "fork_servers", describe_fork_servers(broker));
}
