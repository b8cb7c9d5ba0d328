/* SPDX-License-Identifier: Apache-2.0 */
/* rpool status: what the broker holds, for whom, and who waits. Never starts one. */
#include "command.h"
#include "isolated.h"
#include "look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL };

enum { EVENTS_SHOWN = 8, PRELOADS_SHOWN = 6 };

static void print_broker(const json_t *document) {
    const json_t *broker = json_object_get(document, "broker");
    const char *name = look_text(broker, "name");
    printf("broker   process %lld%s%s%s, version %s, up for %s, %lld client%s%s\n",
           look_number(broker, "pid"), name[0] ? ", '" : "", name, name[0] ? "'" : "",
           look_text(broker, "version"), age_text(look_ms(broker, "uptime_ms")),
           look_number(broker, "clients"), look_number(broker, "clients") == 1 ? "" : "s",
           json_is_true(json_object_get(broker, "draining")) ? ", stopping" : "");
    printf("socket   %s\n", look_text(broker, "socket"));
}

/* A device of which nothing is held is not worth a line, unless the budget is what was asked for.
 */
static void print_ledger(const json_t *document, bool all) {
    const json_t *totals = json_object_get(document, "totals");
    const char *device;
    json_t *row;
    if (look_bytes(totals, "budget_bytes") != RP_UNKNOWN_U64) {
        printf("budget   %s for all devices together, %s held\n",
               bytes_text(look_bytes(totals, "budget_bytes")), bytes_text(look_held(totals)));
    }
    json_object_foreach(json_object_get(document, "ledger"), device, row) {
        long long outside = look_number(row, "fork_server_bytes");
        bool is_used = look_number(row, "charged_bytes") > 0 || look_number(row, "peak_bytes") > 0;
        if (!all && !is_used && outside <= 0) continue;
        printf("device   %s: %s held, %s at most so far", device,
               bytes_text(look_bytes(row, "charged_bytes")),
               bytes_text(look_bytes(row, "peak_bytes")));
        if (outside > 0) printf(", %s by fork servers", bytes_text((uint64_t)outside));
        printf(", budget %s\n", bytes_text(look_bytes(row, "budget_bytes")));
    }
}

/* Two entries may have one key: one goes with its last lease, the next is there already. */
static void print_holders(const json_t *document, const json_t *entry) {
    json_t *holders = look_holders(document, look_text(entry, "key"));
    long long process = look_number(entry, "process");
    const json_t *lease;
    size_t i;
    json_array_foreach(holders, i, lease) {
        long long its = look_number(lease, "process");
        if (process > 0 && its > 0 && its != process) continue;
        printf("  leased by process %lld for %s: %s\n", look_number(lease, "pid"),
               age_text(look_ms(lease, "age_ms")), look_text(lease, "command"));
    }
    const json_t *objects = json_object_get(json_object_get(document, "objects"), "leases");
    json_array_foreach(objects, i, lease) {
        if (strcmp(look_text(lease, "key"), look_text(entry, "key")) != 0) continue;
        printf("  attached by process %lld for %s: %s\n", look_number(lease, "pid"),
               age_text(look_ms(lease, "age_ms")), look_text(lease, "command"));
    }
    json_decref(holders);
}

static void print_entries(const json_t *document) {
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(document, "entries"), i, row) {
        const char *method = look_text(row, "method");
        bool is_draining = strcmp(look_text(row, "state"), "draining") == 0;
        printf("%s  %s (%s)", look_text(row, "key"), bytes_text(look_bytes(row, "memory_bytes")),
               method[0] ? method : "nobody said");
        if (look_number(row, "process") > 0) printf(", process %lld", look_number(row, "process"));
        printf(", loaded %s ago in %s, %lld hit%s%s\n", age_text(look_ms(row, "age_ms")),
               age_text(look_ms(row, "load_ms")), look_number(row, "hits"),
               look_number(row, "hits") == 1 ? "" : "s",
               is_draining ? ", goes with its last lease" : "");
        if (!is_draining || look_number(row, "leases") > 0) {
            print_holders(document, row);
        }
    }
    json_array_foreach(json_object_get(document, "loading"), i, row) {
        bool needs_room = json_is_true(json_object_get(row, "waits_for_room"));
        printf("%s  %s for %s%s%s\n", look_text(row, "key"),
               needs_room ? "waits for room" : "loading", age_text(look_ms(row, "age_ms")),
               needs_room ? ", needs " : "",
               needs_room ? bytes_text(look_bytes(row, "bytes")) : "");
    }
}

/* Room is no entry: its lease tells what it takes, and where. */
static void print_reservations(const json_t *document) {
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(document, "leases"), i, row) {
        if (strcmp(look_text(row, "kind"), "reservation") != 0) continue;
        printf("%s  %s on %s\n", look_text(row, "key"), bytes_text(look_bytes(row, "bytes")),
               look_text(row, "device"));
        printf("  reserved by process %lld for %s: %s\n", look_number(row, "pid"),
               age_text(look_ms(row, "age_ms")), look_text(row, "command"));
    }
}

/* ---- fork servers ---- */

/* What a program says of itself, on a terminal. Lives until the next call but three. */
static const char *plain(const char *text) {
    static char texts[4][256];
    static unsigned next;
    char *out = texts[next++ % 4];
    snprintf(out, sizeof texts[0], "%s", text);
    for (unsigned char *at = (unsigned char *)out; *at; at++) {
        if (*at < 0x20 || *at == 0x7F) *at = '?';
        if (*at == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0) *at = at[1] = '?';
    }
    return out;
}

static int compare_ms(const void *one, const void *other) {
    double a = look_ms(*(json_t *const *)one, "ms");
    double b = look_ms(*(json_t *const *)other, "ms");
    return a < b ? 1 : a > b ? -1 : 0; /* the slowest first */
}

/* The modules that took longest, each with what was loaded by it. */
static void print_preloads(const json_t *server) {
    const json_t *list = json_object_get(server, "preloads");
    long long count = look_number(server, "preload_count");
    size_t named = json_array_size(list);
    json_t **sorted = calloc(named + 1, sizeof *sorted);
    size_t shown = 0;
    if (count <= 0) printf("  nothing is loaded before forking\n");
    if (count <= 0 || !sorted) {
        free(sorted);
        return;
    }
    for (size_t i = 0; i < named; i++) {
        sorted[i] = json_array_get(list, i);
    }
    qsort(sorted, named, sizeof(json_t *), compare_ms);
    printf("  loaded %lld module%s in %s:", count, count == 1 ? "" : "s",
           age_text(look_ms(server, "import_ms")));
    for (; shown < named && shown < PRELOADS_SHOWN; shown++) {
        const json_t *row = sorted[shown];
        printf("%s %s %s, %s", shown > 0 ? ";" : "", plain(look_text(row, "name")),
               age_text(look_ms(row, "ms")), bytes_text(look_bytes(row, "bytes")));
    }
    if (count > (long long)shown) {
        printf("%s %lld %s", shown > 0 ? "; and" : "", count - (long long)shown,
               shown > 0 ? "more" : "small ones");
    }
    printf("\n");
    free(sorted);
}

/* Models that are there before a fork, each with what the ways to share it would cost. */
static void print_models(const json_t *server) {
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(server, "preloads"), i, row) {
        const char *name = look_text(row, "name");
        if (name[0] == '@') printf("  %s: %s\n", plain(name), plain(look_text(row, "note")));
    }
}

/* Processes that keep libraries loaded, from which Pythons are forked. */
static void print_fork_servers(const json_t *document) {
    const json_t *server;
    const json_t *row;
    size_t i;
    size_t j;
    json_array_foreach(json_object_get(document, "fork_servers"), i, server) {
        long long pid = look_number(server, "server_pid");
        long long children = look_number(server, "children");
        printf("forks    %s: %s", plain(look_text(server, "interpreter")),
               plain(look_text(server, "state")));
        if (pid > 0) {
            printf(", process %lld, %s", pid, bytes_text(look_bytes(server, "memory_bytes")));
        }
        printf(", %lld forked so far, %lld running; kept by process %lld for %s\n",
               look_number(server, "forked"), children, look_number(server, "pid"),
               age_text(look_ms(server, "age_ms")));
        print_preloads(server);
        print_models(server);
        json_array_foreach(json_object_get(server, "refused"), j, row) {
            printf("  not loaded: %s: %s\n", plain(look_text(row, "name")),
                   plain(look_text(row, "reason")));
        }
        const char *reason;
        json_t *count;
        json_object_foreach(json_object_get(server, "refusals"), reason, count) {
            printf("  started plainly %lld time%s: %s\n", (long long)json_integer_value(count),
                   json_integer_value(count) == 1 ? "" : "s", plain(reason));
        }
    }
}

/* What happened, and below it what that means, where it is known. */
static void print_failure(const json_t *row) {
    long long count = look_number(row, "count");
    const char *category = look_text(row, "category");
    printf("failed   %s ago: %s", age_text(look_ms(row, "age_ms")), look_text(row, "message"));
    if (count > 1) printf(" (%lld times)", count);
    printf("\n");
    if (category[0] && strcmp(category, "unknown") != 0) {
        printf("         %s: %s\n", category, look_text(row, "line"));
    }
}

static void print_lists(const json_t *document) {
    const json_t *events = json_object_get(document, "events");
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(document, "waiters"), i, row) {
        printf("waits    process %lld for %s for %s of '%s': %s\n", look_number(row, "pid"),
               age_text(look_ms(row, "age_ms")), look_text(row, "for"), look_text(row, "name"),
               look_text(row, "command"));
    }
    size_t count = json_array_size(events);
    for (i = count > EVENTS_SHOWN ? count - EVENTS_SHOWN : 0; i < count; i++) {
        row = json_array_get(events, i);
        printf("event    %s ago: %s %s", age_text(look_ms(row, "age_ms")), look_text(row, "event"),
               look_text(row, "key"));
        if (look_bytes(row, "bytes") != RP_UNKNOWN_U64) {
            printf(" %s", bytes_text(look_bytes(row, "bytes")));
        }
        printf("\n");
    }
    json_array_foreach(json_object_get(document, "failures"), i, row) {
        print_failure(row);
    }
    json_array_foreach(json_object_get(document, "leaks"), i, row) {
        printf("leaked   %s ago: %s, by process %lld, which has ended: %s\n",
               age_text(look_ms(row, "age_ms")), look_text(row, "key"), look_number(row, "pid"),
               look_text(row, "command"));
    }
}

static void print_clients(const json_t *document) {
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(document, "clients"), i, row) {
        printf("client   process %lld for %s, %lld leases, waits for %lld: %s\n",
               look_number(row, "pid"), age_text(look_ms(row, "age_ms")),
               look_number(row, "leases"), look_number(row, "waits"), look_text(row, "command"));
    }
}

static void print_status(const json_t *document, bool all) {
    const json_t *isolated = json_object_get(document, "isolated");
    const json_t *other;
    size_t i;
    if (json_is_object(json_object_get(document, "broker"))) {
        print_broker(document);
        print_ledger(document, all);
        print_entries(document);
        print_reservations(document);
        print_fork_servers(document);
        print_lists(document);
        print_clients(document);
    } else {
        printf("broker   none of this user's own is running\n");
    }
    json_array_foreach(isolated, i, other) {
        printf("\nisolated, of a run of its own:\n");
        print_broker(other);
        print_ledger(other, false);
        print_entries(other);
        print_reservations(other);
        print_fork_servers(other);
        print_lists(other);
    }
}

/* A broker that ended in between, or is being started, is none. */
static void add_isolated(const char *folder, void *user) {
    json_t *list = user;
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    char *text = NULL;
    options.folder = folder;
    options.no_start = true;
    if (rp_machine_open(&options, &machine, NULL) == RP_OK &&
        rp_machine_status(machine, false, &text, NULL) == RP_OK) {
        json_array_append_new(list, json_loads(text, 0, NULL));
    }
    rp_string_free(text);
    rp_machine_close(machine);
}

/* With --all: the user's broker, if it runs, and those of isolated runs. NULL after a report. */
static json_t *ask_all(int *code) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    rp_error err = RP_ERROR_INIT;
    json_t *isolated = json_array();
    json_t *document = NULL;
    isolated_tidy();
    isolated_each(add_isolated, isolated);
    options.no_start = true;
    rp_status status = rp_machine_open(&options, &machine, &err);
    if (status == RP_OK) {
        document = look_ask(machine, true, code);
    } else if (status == RP_ERR_ABSENT && json_array_size(isolated) > 0) {
        document = json_pack("{s:n}", "broker");
    } else {
        *code = report(&err);
        if (status == RP_ERR_ABSENT) *code = EXIT_NO_BROKER;
    }
    if (document) json_object_set(document, "isolated", isolated);
    json_decref(isolated);
    rp_machine_close(machine);
    return document;
}

static json_t *ask_one(int *code) {
    rp_machine *machine = look_reach(NULL, 0, code);
    json_t *document = machine ? look_ask(machine, false, code) : NULL;
    rp_machine_close(machine);
    return document;
}

int status_run(const struct arguments *arguments) {
    int code = 0;
    bool all = arguments->options[ALL] != NULL;
    json_t *document = all ? ask_all(&code) : ask_one(&code);
    if (document && arguments->json) return print_json(document);
    if (document) print_status(document, all);
    json_decref(document);
    return code;
}
