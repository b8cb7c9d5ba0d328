/* SPDX-License-Identifier: Apache-2.0 */
#include "top_view.h"

#include "command.h"
#include "look.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a section gets where the screen is too small for all of them; what the columns of an entry
 * take beside its key. */
enum {
    WAITS_LEAST = 4,
    FORKS_LEAST = 3,
    ENTRY_COLUMNS = 52,
    FAILURES_LEAST = 3,
    EVENTS_MOST = 6,
    EVENTS_LEAST = 1,
    ROWS_LEAST = 8,
    BAR_COLUMNS = 20
};

const char *const view_sort_names[SORT_COUNT] = {"bytes", "leases", "hits", "idle", "age", "key"};

/* --- lines ----------------------------------------------------------------------------------- */

/* Texts of other processes must not move the cursor: no C0, DEL or C1 (which is C2 80 to C2 9F). */
static void defuse(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (*at < 0x20 || *at == 0x7F) *at = '?';
        if (*at == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0) *at = at[1] = '?';
    }
}

static void add_line(struct view *view, enum view_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_line(struct view *view, enum view_style style, const char *format, ...) {
    if (view->count == view->capacity) {
        size_t capacity = view->capacity ? 2 * view->capacity : 64;
        struct view_line *lines = realloc(view->lines, capacity * sizeof *lines);
        if (!lines) return;
        view->lines = lines;
        view->capacity = capacity;
    }
    struct view_line *line = &view->lines[view->count++];
    va_list args;
    va_start(args, format);
    vsnprintf(line->text, sizeof line->text, format, args);
    va_end(args);
    line->style = style;
    defuse(line->text);
    size_t length = strlen(line->text);
    while (length > 0 && line->text[length - 1] == ' ') {
        line->text[--length] = '\0';
    }
}

/* How many characters of UTF-8 those bytes are. */
static size_t character_count(const char *text) {
    size_t count = 0;
    for (; *text; text++) {
        count += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return count;
}

/* A text of exactly so many characters: filled up, or cut with a sign of it. Lives until the next
 * but three calls. */
static const char *fitted(const char *text, size_t columns) {
    static char texts[4][VIEW_LINE_BYTES];
    static unsigned next;
    char *out = texts[next++ % 4];
    size_t used = 0;
    size_t left = columns;
    bool is_cut = character_count(text) > columns;
    for (; *text && left > (size_t)is_cut && used < VIEW_LINE_BYTES - 8; left--) {
        do {
            out[used++] = *text++;
        } while (((unsigned char)*text & 0xC0) == 0x80 && used < VIEW_LINE_BYTES - 8);
    }
    if (is_cut && left > 0) {
        out[used++] = '~';
        left--;
    }
    for (; left > 0 && used < VIEW_LINE_BYTES - 1; left--) {
        out[used++] = ' ';
    }
    out[used] = '\0';
    return out;
}

static size_t rest_of(size_t columns, size_t fixed) {
    return columns > fixed + 12 ? columns - fixed : 12;
}

static void add_more(struct view *view, size_t count, size_t shown) {
    if (count > shown) add_line(view, VIEW_DIM, "  ... %zu more", count - shown);
}

/* --- sections -------------------------------------------------------------------------------- */

static void add_title(struct view *view, const json_t *document) {
    const json_t *broker = json_object_get(document, "broker");
    const json_t *totals = json_object_get(document, "totals");
    const char *step = look_text(json_object_get(document, "pressure"), "step");
    const char *name = look_text(broker, "name");
    uint64_t budget = look_bytes(totals, "budget_bytes");
    add_line(view, VIEW_TITLE, "rpool top  broker %lld%s%s%s, up for %s, %lld client%s%s%s%s",
             look_number(broker, "pid"), name[0] ? " '" : "", name, name[0] ? "'" : "",
             age_text(look_ms(broker, "uptime_ms")), look_number(broker, "clients"),
             look_number(broker, "clients") == 1 ? "" : "s",
             budget == RP_UNKNOWN_U64 ? "" : ", budget ",
             budget == RP_UNKNOWN_U64 ? "" : bytes_text(budget),
             json_is_true(json_object_get(broker, "draining")) ? ", stopping" : "");
    add_line(view, VIEW_PLAIN,
             "%lld requests, %lld hits, %lld loads, %lld failed, %lld evicted; %s now, %s at most",
             look_number(totals, "requests"), look_number(totals, "hits"),
             look_number(totals, "loads"), look_number(totals, "load_failures"),
             look_number(totals, "evictions"), bytes_text(look_held(totals)),
             bytes_text(look_bytes(totals, "peak_bytes")));
    if (step[0] && strcmp(step, "none") != 0) {
        add_line(view, VIEW_WARN, "memory pressure: %s (%s)", step,
                 look_text(json_object_get(document, "pressure"), "reason"));
    }
}

static void add_device(struct view *view, const json_t *row) {
    uint64_t held = look_bytes(row, "charged_bytes");
    uint64_t budget = look_bytes(row, "budget_bytes");
    long long outside = look_number(row, "fork_server_bytes");
    char bar[BAR_COLUMNS + 1];
    bool is_known = held != RP_UNKNOWN_U64 && budget != RP_UNKNOWN_U64 && budget > 0;
    double share = is_known ? (double)held / (double)budget : 0;
    int full = share >= 1 ? BAR_COLUMNS : (int)(share * BAR_COLUMNS + 0.5);
    memset(bar, '.', BAR_COLUMNS);
    memset(bar, '#', (size_t)full);
    bar[BAR_COLUMNS] = '\0';
    add_line(view,
             share > 0.95   ? VIEW_BAD
             : share > 0.75 ? VIEW_WARN
                            : VIEW_GOOD,
             "%s [%s] %s of %s, %s at most so far%s%s", fitted(look_text(row, "device"), 8), bar,
             bytes_text(held), bytes_text(budget), bytes_text(look_bytes(row, "peak_bytes")),
             outside > 0 ? ", fork servers " : "",
             outside > 0 ? bytes_text((uint64_t)outside) : "");
}

/* Devices on which something is or was, or the first, so that a budget is always in sight. */
static void add_ledger(struct view *view, const json_t *document) {
    json_t *ledger = json_object_get(document, "ledger");
    const json_t *first = json_object_iter_value(json_object_iter(ledger));
    size_t before = view->count;
    const char *device;
    json_t *row;
    json_object_foreach(ledger, device, row) {
        bool is_used = look_number(row, "peak_bytes") > 0;
        if (is_used || look_number(row, "fork_server_bytes") > 0) add_device(view, row);
    }
    if (view->count == before && first) add_device(view, first);
}

static int compare_numbers(double a, double b) {
    return a > b ? -1 : a < b; /* the largest first */
}

static int compare_entries(const void *one, const void *other, void *user) {
    const json_t *a = *(json_t *const *)one;
    const json_t *b = *(json_t *const *)other;
    const struct view_wish *wish = user;
    static const char *const fields[] = {
        [SORT_BYTES] = "memory_bytes", [SORT_LEASES] = "leases", [SORT_HITS] = "hits",
        [SORT_IDLE] = "idle_ms",       [SORT_AGE] = "age_ms",    [SORT_KEY] = "key"};
    const char *field = fields[wish->sort];
    int order = wish->sort == SORT_KEY
                    ? 0
                    : compare_numbers(json_number_value(json_object_get(a, field)),
                                      json_number_value(json_object_get(b, field)));
    if (order == 0) order = strcmp(look_text(a, "key"), look_text(b, "key"));
    return wish->is_reversed ? -order : order;
}

static void add_entry(struct view *view, const json_t *row, size_t columns) {
    const char *method = look_text(row, "method");
    const char *state = look_text(row, "state");
    bool is_leased = look_number(row, "leases") > 0;
    bool is_draining = strcmp(state, "draining") == 0;
    add_line(view,
             is_draining ? VIEW_WARN
             : is_leased ? VIEW_GOOD
                         : VIEW_PLAIN,
             "%s %10s %s %6lld %6lld %s %s",
             fitted(look_text(row, "key"), rest_of(columns, ENTRY_COLUMNS)),
             bytes_text(look_bytes(row, "memory_bytes")), fitted(method[0] ? method : "-", 8),
             look_number(row, "leases"), look_number(row, "hits"),
             fitted(is_leased ? "in use" : age_text(look_ms(row, "idle_ms")), 8), state);
}

static void add_loading(struct view *view, const json_t *row, size_t columns) {
    bool needs_room = json_is_true(json_object_get(row, "waits_for_room"));
    add_line(view, VIEW_WARN, "%s %10s %s %6s %6s %s %s",
             fitted(look_text(row, "key"), rest_of(columns, ENTRY_COLUMNS)),
             bytes_text(look_bytes(row, "bytes")), fitted("estimate", 8), "-", "-",
             fitted(age_text(look_ms(row, "age_ms")), 8), needs_room ? "no room" : "loading");
}

static void add_entries(struct view *view, const json_t *document, const struct view_wish *wish,
                        size_t most) {
    const json_t *entries = json_object_get(document, "entries");
    const json_t *loading = json_object_get(document, "loading");
    size_t count = json_array_size(entries);
    size_t all = count + json_array_size(loading);
    json_t **sorted = calloc(count + 1, sizeof *sorted);
    struct view_wish order = *wish;
    size_t shown = 0;
    add_line(view, VIEW_HEAD, "%s %10s %s %6s %6s %s %s",
             fitted("ENTRY", rest_of(wish->columns, ENTRY_COLUMNS)), "BYTES", fitted("METHOD", 8),
             "LEASES", "HITS", fitted("IDLE", 8), "STATE");
    for (size_t i = 0; i < json_array_size(loading) && shown < most; i++, shown++) {
        add_loading(view, json_array_get(loading, i), wish->columns);
    }
    for (size_t i = 0; sorted && i < count; i++) {
        sorted[i] = json_array_get(entries, i);
    }
    if (sorted) qsort_r(sorted, count, sizeof(json_t *), compare_entries, &order);
    for (size_t i = 0; sorted && i < count && shown < most; i++, shown++) {
        add_entry(view, sorted[i], wish->columns);
    }
    if (all == 0) add_line(view, VIEW_DIM, "  nothing is loaded");
    add_more(view, all, shown);
    free(sorted);
}

static void add_leases(struct view *view, const json_t *document, size_t columns, size_t most) {
    const json_t *leases = json_object_get(document, "leases");
    size_t count = json_array_size(leases);
    size_t half = rest_of(columns, 21) / 2;
    if (count == 0) return;
    add_line(view, VIEW_HEAD, "%8s %s %s %s", "PID", fitted("HELD FOR", 11),
             fitted("COMMAND", half), "LEASES");
    for (size_t i = 0; i < count && i < most; i++) {
        const json_t *row = json_array_get(leases, i);
        add_line(view, VIEW_PLAIN, "%8lld %s %s %s", look_number(row, "pid"),
                 fitted(age_text(look_ms(row, "age_ms")), 11),
                 fitted(look_text(row, "command"), half), fitted(look_text(row, "key"), half));
    }
    add_more(view, count, most);
}

static void add_waits(struct view *view, const json_t *document, size_t columns, size_t most) {
    const json_t *waiters = json_object_get(document, "waiters");
    size_t count = json_array_size(waiters);
    size_t half = rest_of(columns, 41) / 2;
    if (count == 0) return;
    add_line(view, VIEW_HEAD, "%8s %s %s %10s %s %s", "PID", fitted("WAITS FOR", 11),
             fitted("WHAT", 8), "NEEDS", fitted("COMMAND", half), "TO GET");
    for (size_t i = 0; i < count && i < most; i++) {
        const json_t *row = json_array_get(waiters, i);
        add_line(view, VIEW_WARN, "%8lld %s %s %10s %s %s", look_number(row, "pid"),
                 fitted(age_text(look_ms(row, "age_ms")), 11), fitted(look_text(row, "for"), 8),
                 look_bytes(row, "bytes") == RP_UNKNOWN_U64 ? "-"
                                                            : bytes_text(look_bytes(row, "bytes")),
                 fitted(look_text(row, "command"), half), fitted(look_text(row, "name"), half));
    }
    add_more(view, count, most);
}

/* What keeps libraries loaded, for Pythons that are forked from it. */
static void add_fork_servers(struct view *view, const json_t *document, size_t columns,
                             size_t most) {
    const json_t *servers = json_object_get(document, "fork_servers");
    size_t count = json_array_size(servers);
    size_t half = rest_of(columns, 48) / 2;
    if (count == 0) return;
    add_line(view, VIEW_HEAD, "%8s %s %10s %7s %7s %7s %s", "PID", fitted("FORKS OF", half),
             "BYTES", "MODULES", "FORKED", "RUNNING", fitted("STATE", half));
    for (size_t i = 0; i < count && i < most; i++) {
        const json_t *row = json_array_get(servers, i);
        const char *state = look_text(row, "state");
        long long pid = look_number(row, "server_pid");
        add_line(view, strcmp(state, "ready") == 0 ? VIEW_GOOD : VIEW_PLAIN,
                 "%8lld %s %10s %7lld %7lld %7lld %s", pid > 0 ? pid : look_number(row, "pid"),
                 fitted(look_text(row, "interpreter"), half),
                 bytes_text(look_bytes(row, "memory_bytes")), look_number(row, "preload_count"),
                 look_number(row, "forked"), look_number(row, "children"), fitted(state, half));
    }
    add_more(view, count, most);
}

/* The last ones, the latest at the bottom. */
static void add_failures(struct view *view, const json_t *document, size_t columns, size_t most) {
    const json_t *failures = json_object_get(document, "failures");
    size_t count = json_array_size(failures);
    if (count == 0) return;
    add_line(view, VIEW_HEAD, "%s %s", fitted("FAILED", 11), "WHY");
    for (size_t i = count > most ? count - most : 0; i < count; i++) {
        const json_t *row = json_array_get(failures, i);
        long long times = look_number(row, "count");
        char text[512];
        char more[32] = "";
        if (times > 1) snprintf(more, sizeof more, " (%lld times)", times);
        snprintf(text, sizeof text, "%s%s", look_text(row, "message"), more);
        add_line(view, VIEW_BAD, "%s %s", fitted(age_text(look_ms(row, "age_ms")), 11),
                 fitted(text, rest_of(columns, 12)));
    }
}

static void add_events(struct view *view, const json_t *document, size_t columns, size_t most) {
    const json_t *events = json_object_get(document, "events");
    size_t count = json_array_size(events);
    if (count == 0) return;
    add_line(view, VIEW_HEAD, "%s %s %10s %s", fitted("AGO", 11), fitted("EVENT", 15), "BYTES",
             "OF");
    for (size_t i = count > most ? count - most : 0; i < count; i++) {
        const json_t *row = json_array_get(events, i);
        uint64_t bytes = look_bytes(row, "bytes");
        add_line(view, VIEW_PLAIN, "%s %s %10s %s", fitted(age_text(look_ms(row, "age_ms")), 11),
                 fitted(look_text(row, "event"), 15),
                 bytes == RP_UNKNOWN_U64 ? "-" : bytes_text(bytes),
                 fitted(look_text(row, "key"), rest_of(columns, 39)));
    }
}

/* --- the whole ------------------------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* A section with its head and, where it has one, a line that says what is missing. */
static size_t section_rows(const json_t *document, const char *name, size_t most, bool has_more) {
    size_t count = json_array_size(json_object_get(document, name));
    return count == 0 ? 0 : 1 + smaller(count, most) + (has_more && count > most);
}

void view_make(struct view *view, const json_t *document, const struct view_wish *wish) {
    size_t waits = SIZE_MAX;
    size_t forks = SIZE_MAX;
    size_t failures = SIZE_MAX;
    size_t events = SIZE_MAX;
    size_t leases = SIZE_MAX;
    size_t entries = SIZE_MAX;
    view->count = 0;
    add_title(view, document);
    add_ledger(view, document);
    if (wish->rows > 0) {
        /* The small sections get what they need up to their least; entries and leases the rest. */
        waits = WAITS_LEAST;
        forks = FORKS_LEAST;
        failures = FAILURES_LEAST;
        events = EVENTS_MOST;
        size_t taken = view->count + section_rows(document, "waiters", waits, true) +
                       section_rows(document, "fork_servers", forks, true) +
                       section_rows(document, "failures", failures, false) +
                       section_rows(document, "events", events, false) + 4; /* heads, "more" */
        /* The latest events stand at the bottom: older ones go before those are cut off. */
        for (; events > EVENTS_LEAST && taken + ROWS_LEAST > wish->rows; taken--) {
            events--;
        }
        size_t rest = wish->rows > taken + ROWS_LEAST ? wish->rows - taken : ROWS_LEAST;
        size_t wanted = json_array_size(json_object_get(document, "leases"));
        leases = smaller(wanted, rest / 2);
        entries = rest - leases;
        size_t held = json_array_size(json_object_get(document, "entries")) +
                      json_array_size(json_object_get(document, "loading"));
        if (held < entries) {
            leases += entries - held;
            entries = held;
        }
    }
    add_entries(view, document, wish, entries);
    add_leases(view, document, wish->columns, leases);
    add_waits(view, document, wish->columns, waits);
    add_fork_servers(view, document, wish->columns, forks);
    add_failures(view, document, wish->columns, failures);
    add_events(view, document, wish->columns, events);
}

void view_make_empty(struct view *view, const char *why, const char *hint) {
    view->count = 0;
    add_line(view, VIEW_TITLE, "rpool top  %s", why);
    if (hint && hint[0]) add_line(view, VIEW_DIM, "%s", hint);
}

void view_fini(struct view *view) {
    free(view->lines);
    *view = (struct view){0};
}
