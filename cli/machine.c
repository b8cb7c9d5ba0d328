/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders to a broker that runs: evict, move, clear, stop. None of them starts one.
 *
 * Whom --force hurts is said before it does: on stderr, a line for each lease. Without it nobody
 * is hurt, and who still holds what is to go is named after it.
 */
#include "command.h"
#include "look.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { FORCE };

/* A move loads a model, and nobody knows how long that takes. */
enum { MOVE_MS = 3600000, END_MS = 10000 };

/* One order: who has leases on what it takes out, and what came of it. */
struct order {
    rp_machine *machine;
    bool is_forced;
    bool is_json;
    json_t *holders;
    rp_cleared cleared;
    char *moved_key;
};

static void print_holders(const json_t *holders, const char *what) {
    const json_t *lease;
    size_t i;
    json_array_foreach(holders, i, lease) {
        fprintf(stderr, "rpool: %s process %lld, for %s: %s: %s\n", what, look_number(lease, "pid"),
                age_text(look_ms(lease, "age_ms")), look_text(lease, "command"),
                look_text(lease, "key"));
    }
    fflush(stderr);
}

/* False after a report. `key` NULL: everything. */
static bool begin(struct order *order, const struct arguments *arguments, const char *key,
                  int64_t timeout_ms, int *code) {
    *order = (struct order){
        .is_forced = arguments->options[FORCE] != NULL,
        .is_json = arguments->json,
    };
    order->machine = look_reach(NULL, timeout_ms, code);
    json_t *document = order->machine ? look_ask(order->machine, false, code) : NULL;
    if (!document) return false;
    order->holders = look_holders(document, key);
    json_decref(document);
    if (order->is_forced) print_holders(order->holders, "taken away from");
    return true;
}

static const char *verified_text(rp_seen seen) {
    return seen == RP_SEEN_YES  ? ", seen to be back"
           : seen == RP_SEEN_NO ? ", not seen to be back"
                                : "";
}

static json_t *describe(const struct order *order) {
    const rp_cleared *cleared = &order->cleared;
    json_t *document = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "removed_count", (json_int_t)cleared->removed_count,
        "removed_bytes", (json_int_t)cleared->removed_bytes, "leased_count",
        (json_int_t)cleared->leased_count, "loading_count", (json_int_t)cleared->loading_count,
        "freed_bytes", (json_int_t)cleared->freed_bytes, "verified",
        cleared->verified == RP_SEEN_UNKNOWN ? json_null()
                                             : json_boolean(cleared->verified == RP_SEEN_YES),
        "holders", order->holders);
    if (order->moved_key) json_object_set_new(document, "moved", json_text(order->moved_key));
    return document;
}

static int tell(const struct order *order) {
    const rp_cleared *cleared = &order->cleared;
    if (!order->is_forced && cleared->leased_count > 0) {
        print_holders(order->holders, "goes with the last lease, one of them of");
    }
    if (order->is_json) return print_json(describe(order));
    if (order->moved_key) printf("now %s\n", order->moved_key);
    printf("%llu removed, %s, of which %s are free now%s",
           (unsigned long long)cleared->removed_count, bytes_text(cleared->removed_bytes),
           bytes_text(cleared->freed_bytes), verified_text(cleared->verified));
    if (cleared->leased_count > 0) {
        printf("; %llu still leased", (unsigned long long)cleared->leased_count);
    }
    if (cleared->loading_count > 0) {
        printf("; %llu being loaded", (unsigned long long)cleared->loading_count);
    }
    printf("\n");
    return 0;
}

static int finish(struct order *order, rp_status status, const rp_error *err) {
    int code = status == RP_OK ? tell(order) : report(err);
    rp_string_free(order->moved_key);
    return code;
}

static void end(struct order *order) {
    json_decref(order->holders);
    rp_machine_close(order->machine);
}

int evict_run(const struct arguments *arguments) {
    const char *key = arguments->words[0];
    int code = 0;
    struct order order;
    rp_error err = RP_ERROR_INIT;
    if (begin(&order, arguments, key, 0, &code)) {
        rp_status status =
            rp_machine_evict(order.machine, key, order.is_forced, &order.cleared, &err);
        code = finish(&order, status, &err);
    }
    end(&order);
    return code;
}

int move_run(const struct arguments *arguments) {
    const char *key = arguments->words[0];
    int code = 0;
    struct order order;
    rp_error err = RP_ERROR_INIT;
    if (begin(&order, arguments, key, MOVE_MS, &code)) {
        rp_status status = rp_machine_move(order.machine, key, arguments->words[1], order.is_forced,
                                           &order.cleared, &order.moved_key, &err);
        code = finish(&order, status, &err);
    }
    end(&order);
    return code;
}

int clear_run(const struct arguments *arguments) {
    int code = 0;
    struct order order;
    rp_error err = RP_ERROR_INIT;
    if (begin(&order, arguments, NULL, 0, &code)) {
        rp_status status = rp_machine_clear(order.machine, order.is_forced, &order.cleared, &err);
        code = finish(&order, status, &err);
    }
    end(&order);
    return code;
}

/* Whether that process was seen to end. Its descriptor tells even when the number is used anew. */
static bool see_end(int process) {
    struct pollfd end = {.fd = process, .events = POLLIN};
    return poll(&end, 1, END_MS) == 1;
}

static pid_t broker_pid(rp_machine *machine) {
    char *text = NULL;
    if (rp_machine_stats(machine, &text, NULL) != RP_OK) return -1;
    json_t *stats = json_loads(text, 0, NULL);
    rp_string_free(text);
    pid_t pid = (pid_t)look_number(stats, "pid");
    json_decref(stats);
    return pid > 0 ? pid : -1;
}

int stop_run(const struct arguments *arguments) {
    int code = 0;
    struct order order;
    rp_error err = RP_ERROR_INIT;
    if (begin(&order, arguments, NULL, 0, &code)) {
        int process = pidfd_open(broker_pid(order.machine), 0);
        rp_status status = rp_machine_stop(order.machine, order.is_forced, &err);
        if (status != RP_OK) {
            code = report(&err);
        } else if (process >= 0 && !see_end(process)) {
            fprintf(stderr, "rpool: the broker was told to stop, and has not ended within %d s\n",
                    END_MS / 1000);
            code = 1;
        } else if (order.is_json) {
            code = print_json(json_pack("{s:b}", "stopped", 1));
        }
        if (process >= 0) close(process);
    }
    end(&order);
    return code;
}
