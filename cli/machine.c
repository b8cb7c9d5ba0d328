/* SPDX-License-Identifier: Apache-2.0 */
/* What looks after a broker that runs: status, evict, clear, stop. None of them starts one. */
#include "command.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_NO_BROKER = 5, STATUS_ALL = 0, FORCE = 0 };

/* NULL without a broker; *code is the exit code then. */
static rp_machine *reach(int *code) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    rp_error err = RP_ERROR_INIT;
    options.no_start = true;
    rp_status status = rp_machine_open(&options, &machine, &err);
    if (status == RP_OK) return machine;
    *code = report(&err);
    if (status == RP_ERR_ABSENT) *code = EXIT_NO_BROKER;
    return NULL;
}

/* What the broker says of itself; NULL after a report. */
static json_t *ask_status(rp_machine *machine, bool all, int *code) {
    char *text = NULL;
    rp_error err = RP_ERROR_INIT;
    if (rp_machine_status(machine, all, &text, &err) != RP_OK) {
        *code = report(&err);
        return NULL;
    }
    json_t *document = json_loads(text, 0, NULL);
    rp_string_free(text);
    if (!document) {
        fprintf(stderr, "rpool: the broker's answer is no JSON\n");
        *code = 1;
    }
    return document;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long number_of(const json_t *object, const char *key) {
    return (long long)json_integer_value(json_object_get(object, key));
}

static uint64_t bytes_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : RP_UNKNOWN_U64;
}

/* One line for each lease on that key; how many there are. NULL: every key. */
static size_t print_holders(FILE *out, const json_t *document, const char *key,
                            const char *indent) {
    const json_t *lease;
    size_t index;
    size_t count = 0;
    json_array_foreach(json_object_get(document, "leases"), index, lease) {
        if (key && strcmp(text_of(lease, "key"), key) != 0) continue;
        fprintf(out, "%sprocess %lld since %s: %s%s%s\n", indent, number_of(lease, "pid"),
                text_of(lease, "since"), text_of(lease, "command"), key ? "" : ": ",
                key ? "" : text_of(lease, "key"));
        count++;
    }
    return count;
}

static void print_status(const json_t *document) {
    const json_t *broker = json_object_get(document, "broker");
    const json_t *row;
    size_t index;
    printf("broker   process %lld, version %s, since %s, %lld client%s%s\n",
           number_of(broker, "pid"), text_of(broker, "version"), text_of(broker, "since"),
           number_of(broker, "clients"), number_of(broker, "clients") == 1 ? "" : "s",
           json_is_true(json_object_get(broker, "draining")) ? ", stopping" : "");
    printf("socket   %s\n", text_of(broker, "socket"));
    json_array_foreach(json_object_get(document, "ledger"), index, row) {
        printf("device   %s: %s held, at most %s, budget %s\n", text_of(row, "device"),
               bytes_text(bytes_of(row, "charged_bytes")), bytes_text(bytes_of(row, "peak_bytes")),
               bytes_text(bytes_of(row, "budget_bytes")));
    }
    json_array_foreach(json_object_get(document, "entries"), index, row) {
        printf("%s  %s (%s)\n", text_of(row, "key"), bytes_text(bytes_of(row, "memory_bytes")),
               text_of(row, "method"));
        print_holders(stdout, document, text_of(row, "key"), "  ");
    }
    json_array_foreach(json_object_get(document, "waiters"), index, row) {
        printf("waits    process %lld since %s for %s: %s\n", number_of(row, "pid"),
               text_of(row, "since"), text_of(row, "name"), text_of(row, "command"));
    }
}

int status_run(const struct arguments *arguments) {
    int code = 0;
    rp_machine *machine = reach(&code);
    if (!machine) return code;
    json_t *document = ask_status(machine, arguments->options[STATUS_ALL] != NULL, &code);
    if (document && arguments->json) {
        code = print_json(document);
    } else if (document) {
        print_status(document);
        json_decref(document);
    }
    rp_machine_close(machine);
    return code;
}

static int tell_cleared(const struct arguments *arguments, const rp_cleared *cleared) {
    if (arguments->json) {
        return print_json(json_pack(
            "{s:I, s:I, s:I, s:I, s:b}", "removed_count", (json_int_t)cleared->removed_count,
            "removed_bytes", (json_int_t)cleared->removed_bytes, "leased_count",
            (json_int_t)cleared->leased_count, "freed_bytes", (json_int_t)cleared->freed_bytes,
            "verified", cleared->freed_bytes >= cleared->removed_bytes));
    }
    printf("%llu removed, %s, of which %s are free now\n",
           (unsigned long long)cleared->removed_count, bytes_text(cleared->removed_bytes),
           bytes_text(cleared->freed_bytes));
    return 0;
}

/* Whom it hurts, before it does. False: nobody could be asked. */
static bool warn(rp_machine *machine, const char *key, int *code) {
    json_t *document = ask_status(machine, false, code);
    if (!document) return false;
    if (print_holders(stderr, document, key, "rpool: taken away from ") > 0) fflush(stderr);
    json_decref(document);
    return true;
}

int evict_run(const struct arguments *arguments) {
    int code = 0;
    bool force = arguments->options[FORCE] != NULL;
    rp_machine *machine = reach(&code);
    if (!machine) return code;
    rp_cleared cleared;
    rp_error err = RP_ERROR_INIT;
    const char *key = arguments->words[0];
    if (!force || warn(machine, key, &code)) {
        rp_status status = rp_machine_evict(machine, key, force, &cleared, &err);
        code = status == RP_OK ? tell_cleared(arguments, &cleared) : report(&err);
    }
    rp_machine_close(machine);
    return code;
}

int clear_run(const struct arguments *arguments) {
    int code = 0;
    bool force = arguments->options[FORCE] != NULL;
    rp_machine *machine = reach(&code);
    if (!machine) return code;
    rp_cleared cleared;
    rp_error err = RP_ERROR_INIT;
    if (!force || warn(machine, NULL, &code)) {
        rp_status status = rp_machine_clear(machine, force, &cleared, &err);
        code = status == RP_OK ? tell_cleared(arguments, &cleared) : report(&err);
    }
    rp_machine_close(machine);
    return code;
}

int stop_run(const struct arguments *arguments) {
    int code = 0;
    bool force = arguments->options[FORCE] != NULL;
    rp_machine *machine = reach(&code);
    if (!machine) return code;
    rp_error err = RP_ERROR_INIT;
    if (!force || warn(machine, NULL, &code)) {
        rp_status status = rp_machine_stop(machine, force, &err);
        if (status != RP_OK) code = report(&err);
        if (status == RP_OK && arguments->json) code = print_json(json_pack("{s:b}", "stopped", 1));
    }
    rp_machine_close(machine);
    return code;
}
