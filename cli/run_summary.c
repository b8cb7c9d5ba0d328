/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What 'rpool run' tells: a line at the bottom of the terminal while the command runs, a few lines
 * after it, a JSON document and properties of a JUnit file.
 *
 * The line has the last row of the terminal to itself: the region that scrolls ends above it, so
 * that whatever the command prints, in whichever state, stays whole. It appears with the first
 * lease: a command that does not know of pools sees its terminal as it was.
 */
#include "run.h"

#include "command.h"

#include <errno.h>
#include <expat.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_TEXT_BYTES = 256, ROWS_MIN = 5, JUNIT_BYTES_MAX = 64 << 20, MODE = 0666 };

/* --- the line -------------------------------------------------------------------------------- */

/* One write, so that it comes between two of the command's and not into one. */
static void put(const char *text, int length) {
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0) return; /* not worth more */
}

static bool is_in_front(void) {
    return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

void run_line_init(struct run_line *line, const struct run_broker *broker) {
    const char *kind = getenv("TERM");
    bool is_capable = kind && kind[0] && strcmp(kind, "dumb") != 0;
    /* Within another run its line is there already. */
    *line = (struct run_line){
        .is_shown = is_capable && !broker->is_nested && isatty(STDERR_FILENO) == 1,
    };
}

void run_line_draw(struct run_line *line, const struct run_broker *broker) {
    const struct run_counts *counts = &broker->counts;
    struct winsize size;
    char text[LINE_TEXT_BYTES];
    char sequence[LINE_TEXT_BYTES + 96];
    if (!line->is_shown || (counts->leases == 0 && counts->waiter_count == 0) || !is_in_front()) {
        return;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < ROWS_MIN) return;
    int length =
        snprintf(text, sizeof text, "rpool: %llu loaded, %s; %llu leases, %llu hits, %llu waiting",
                 (unsigned long long)counts->entry_count, bytes_text(counts->memory_bytes),
                 (unsigned long long)counts->open_leases, (unsigned long long)counts->hits,
                 (unsigned long long)counts->waiter_count);
    if (length > size.ws_col - 1) length = size.ws_col > 1 ? size.ws_col - 1 : 0;
    if (line->rows != size.ws_row) {
        /* Down and up, whatever the column: at the bottom that makes room, elsewhere nothing. */
        length = snprintf(sequence, sizeof sequence,
                          "\033D\033[A\0337\033[1;%ur\033[%u;1H\033[m\033[2K%.*s\0338",
                          size.ws_row - 1U, size.ws_row, length, text);
        line->rows = size.ws_row;
    } else {
        length = snprintf(sequence, sizeof sequence, "\0337\033[%u;1H\033[m\033[2K%.*s\0338",
                          size.ws_row, length, text);
    }
    put(sequence, length);
    line->is_drawn = true;
}

void run_line_clear(struct run_line *line) {
    char sequence[64];
    if (!line->is_drawn) return;
    int length =
        snprintf(sequence, sizeof sequence, "\0337\033[r\033[%u;1H\033[2K\0338", line->rows);
    put(sequence, length);
    line->is_drawn = false;
    line->rows = 0;
}

/* --- after it -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

/* What happened, what that means, and what to do first where that does not stand in the line. */
static void print_failure(const json_t *row) {
    const char *category = text_of(row, "category");
    const char *line = text_of(row, "line");
    const char *advice = text_of(row, "recommendation");
    json_int_t count = json_integer_value(json_object_get(row, "count"));
    fprintf(stderr, "rpool: failed: %s", text_of(row, "reason"));
    if (count > 1) fprintf(stderr, " (%lld times)", (long long)count);
    fputc('\n', stderr);
    if (category[0] == '\0' || strcmp(category, "unknown") == 0) return;
    fprintf(stderr, "rpool:         %s: %s\n", category, line);
    if (advice[0] && !strstr(line, advice)) fprintf(stderr, "rpool:         do: %s\n", advice);
}

static void print_lists(const struct run_broker *broker, const struct run_outcome *outcome) {
    size_t i;
    const json_t *row;
    json_array_foreach(broker->failures, i, row) {
        print_failure(row);
    }
    json_array_foreach(broker->leaked, i, row) {
        const char *command = json_string_value(json_object_get(row, "command"));
        fprintf(stderr, "rpool: leaked: %s, leased by process %lld, which has ended: %s\n",
                json_string_value(json_object_get(row, "key")),
                (long long)json_integer_value(json_object_get(row, "pid")), command ? command : "");
    }
    for (i = 0; i < outcome->left_count && i < LEFT_BEHIND_SHOWN; i++) {
        fprintf(stderr, "rpool: still running: process %d, '%s'\n", (int)outcome->left[i].pid,
                outcome->left[i].command);
    }
    if (outcome->left_count > LEFT_BEHIND_SHOWN) {
        fprintf(stderr, "rpool: still running: %zu more\n",
                outcome->left_count - LEFT_BEHIND_SHOWN);
    }
}

static const char *peak_remark(const struct run_broker *broker) {
    return broker->kind == RUN_BROKER_SHARED ? " (with what others had in the same broker)" : "";
}

static void print_objects(const struct run_broker *broker) {
    const struct run_counts *counts = &broker->counts;
    fprintf(stderr, "rpool: %llu loads, %llu hits, %llu leases; %s at most%s\n",
            (unsigned long long)counts->loads, (unsigned long long)counts->hits,
            (unsigned long long)counts->leases, bytes_text(counts->peak_bytes),
            peak_remark(broker));
    /* Of bytes nothing is said where no look saw two processes with the same object. */
    fprintf(stderr, "rpool: saved about %s%s%.1f s of loading (an estimate)\n",
            counts->saved_bytes == 0                ? ""
            : counts->saved_bytes == RP_UNKNOWN_U64 ? "an unknown number of bytes"
                                                    : bytes_text(counts->saved_bytes),
            counts->saved_bytes == 0 ? "" : " and ", counts->saved_ms / 1e3);
}

/* The peak, which room is part of, stands with the objects if there are any. */
static void print_reservations(const struct run_broker *broker, bool has_objects) {
    const struct run_counts *counts = &broker->counts;
    if (counts->reservations == 0) return;
    fprintf(stderr, "rpool: %llu reservation%s of room", (unsigned long long)counts->reservations,
            counts->reservations == 1 ? "" : "s");
    if (!has_objects) {
        fprintf(stderr, "; %s at most%s", bytes_text(counts->peak_bytes), peak_remark(broker));
    }
    fputc('\n', stderr);
}

void run_summary_print(const struct run_broker *broker, const struct run_python *python,
                       const struct run_outcome *outcome) {
    const struct run_counts *counts = &broker->counts;
    bool has_objects = counts->leases + counts->load_failures > 0;
    if (broker->kind != RUN_BROKER_NONE && !has_objects && counts->reservations == 0) {
        /* Who was refused before a load began asked all the same: the reasons follow. */
        if (json_array_size(broker->failures) == outcome->was_killed) {
            fprintf(stderr, "rpool: nothing was asked of the pool's broker; what failed before "
                            "that is not counted here\n");
        }
    } else if (broker->kind != RUN_BROKER_NONE) {
        if (has_objects) print_objects(broker);
        print_reservations(broker, has_objects);
    }
    run_python_print(python);
    print_lists(broker, outcome);
}

static json_t *left_behind(const struct run_outcome *outcome) {
    json_t *list = json_array();
    for (size_t i = 0; i < outcome->left_count && i < LEFT_BEHIND_SHOWN; i++) {
        json_array_append_new(list, json_pack("{s:i, s:s}", "pid", (int)outcome->left[i].pid,
                                              "command", outcome->left[i].command));
    }
    return list;
}

static json_t *describe_broker(const struct run_broker *broker) {
    return json_pack("{s:s, s:b, s:b, s:b, s:s, s:o}", "share",
                     broker->kind == RUN_BROKER_NONE ? "process" : "machine", "isolated",
                     broker->kind == RUN_BROKER_ISOLATED, "was_running", broker->was_running,
                     "nested", broker->is_nested, "run", broker->id, "note",
                     json_text(broker->why[0] ? broker->why : NULL));
}

/* Without a broker nobody counts: unknown, not none. */
static json_t *count(const struct run_broker *broker, uint64_t number) {
    return broker->kind == RUN_BROKER_NONE ? json_null() : json_bytes(number);
}

static const char saved_method[] = "estimate: seconds are hits x load; bytes are the most at once, "
                                   "as seen ten times a second, for "
                                   "each process beyond the first, of anonymous memory of workers "
                                   "(smaps_rollup) and of memory on devices; pages of files "
                                   "are not counted, which processes share anyway";

static json_t *make_document(const struct run_broker *broker, const struct run_python *python,
                             const struct run_outcome *outcome, const struct run_width *width) {
    const struct run_counts *counts = &broker->counts;
    bool is_counted = broker->kind != RUN_BROKER_NONE;
    const struct {
        const char *name;
        json_t *value;
    } rows[] = {
        {"loads", count(broker, counts->loads)},
        {"load_failures", count(broker, counts->load_failures)},
        {"hits", count(broker, counts->hits)},
        {"leases", count(broker, counts->leases)},
        {"evictions", count(broker, counts->evictions)},
        {"reservations", count(broker, counts->reservations)},
        {"peak_bytes", count(broker, counts->peak_bytes)},
        {"saved_bytes", count(broker, counts->saved_bytes)},
        {"saved_ms", is_counted ? json_real(counts->saved_ms) : json_null()},
        {"saved_method", is_counted ? json_string(saved_method) : json_null()},
        {"failures", json_incref(broker->failures)},
        {"leaked", json_incref(broker->leaked)},
        {"exit_code", json_integer(outcome->exit_code)},
        {"wall_ms", json_real(outcome->wall_ms)},
        {"interrupted", json_boolean(outcome->was_interrupted)},
        {"workers", width->count ? json_integer(width->count) : json_null()},
        {"why", json_text(width->why[0] ? width->why : NULL)},
        {"process_bytes_peak", json_bytes(outcome->process_bytes_peak)},
        {"left_behind", left_behind(outcome)},
        {"left_behind_count", json_integer((json_int_t)outcome->left_count)},
        {"broker", describe_broker(broker)},
        {"python", run_python_describe(python)},
    };
    json_t *document = json_object();
    bool is_whole = document != NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        is_whole = json_object_set_new(document, rows[i].name, rows[i].value) == 0 && is_whole;
    }
    if (is_whole) return document;
    json_decref(document);
    return NULL;
}

/* --- files ----------------------------------------------------------------------------------- */

static bool write_all(int file, const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(file, text, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        text += written;
        length -= (size_t)written;
    }
    return true;
}

static rp_status write_over(const char *path, const char *text, size_t length, rp_error *err) {
    int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0) return rp_fail_errno(err, "cannot open '%s'", path);
    bool is_written = write_all(file, text, length);
    rp_status status = is_written ? RP_OK : rp_fail_errno(err, "cannot write '%s'", path);
    close(file);
    return status;
}

/* Write a file beside it and put that in its place. `path` is no link: a link would be replaced. */
static rp_status replace(const char *path, mode_t mode, const char *text, size_t length,
                         rp_error *err) {
    char made[PATH_MAX];
    if (snprintf(made, sizeof made, "%s.XXXXXX", path) >= (int)sizeof made) {
        return rp_fail(err, RP_ERR_LIMIT, "the path '%s' is too long", path);
    }
    int file = mkostemp(made, O_CLOEXEC);
    if (file < 0) return rp_fail_errno(err, "cannot write a file beside '%s'", path);
    rp_status status = RP_OK;
    if (!write_all(file, text, length) || fchmod(file, mode) != 0 || fsync(file) != 0) {
        status = rp_fail_errno(err, "cannot write '%s'", made);
    }
    if (close(file) != 0 && status == RP_OK) status = rp_fail_errno(err, "cannot write '%s'", made);
    if (status == RP_OK && rename(made, path) != 0) {
        status = rp_fail_errno(err, "cannot put '%s' in its place", path);
    }
    if (status != RP_OK) unlink(made);
    return status;
}

/* Whether a descriptor of ours is that file, as /dev/stdout is. */
static bool is_open_as(int descriptor, const struct stat *info) {
    struct stat own;
    return fstat(descriptor, &own) == 0 && own.st_dev == info->st_dev && own.st_ino == info->st_ino;
}

rp_status run_file_write(const char *path, const char *text, size_t length, rp_error *err) {
    struct stat info;
    struct stat link;
    mode_t mask = umask(0);
    umask(mask);
    if (stat(path, &info) != 0) {
        /* A link to nothing yet is not to be replaced either. */
        if (lstat(path, &link) == 0) {
            return rp_fail(err, RP_ERR_NOT_FOUND, "'%s' is a link that leads nowhere", path);
        }
        return replace(path, MODE & ~mask, text, length, err);
    }
    for (int descriptor = STDOUT_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (!is_open_as(descriptor, &info)) continue;
        if (write_all(descriptor, text, length)) return RP_OK;
        return rp_fail_errno(err, "cannot write '%s'", path);
    }
    if (!S_ISREG(info.st_mode)) return write_over(path, text, length, err);
    char *target = realpath(path, NULL);
    if (!target) return rp_fail_errno(err, "cannot find '%s'", path);
    rp_status status = replace(target, info.st_mode & 07777, text, length, err);
    free(target);
    return status;
}

rp_status run_summary_write(const char *path, const struct run_broker *broker,
                            const struct run_python *python, const struct run_outcome *outcome,
                            const struct run_width *width, rp_error *err) {
    json_t *document = make_document(broker, python, outcome, width);
    char *text = document ? json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : NULL;
    char *ended = text ? realloc(text, strlen(text) + 2) : NULL;
    rp_status status;
    if (ended) {
        text = ended;
        memcpy(text + strlen(text), "\n", 2);
        status = run_file_write(path, text, strlen(text), err);
    } else {
        status = rp_fail(err, RP_ERR_MEMORY, "cannot make the JSON document: out of memory");
    }
    free(text);
    json_decref(document);
    return status;
}

/* --- JUnit ----------------------------------------------------------------------------------- */

/* Where the properties go: behind the start tag of the first suite, or into what it has of them. */
struct place {
    XML_Parser parser;
    const char *text;
    size_t at;     /* 0: no suite so far */
    bool is_empty; /* "<testsuite/>": has to be opened */
    bool is_in_properties;
    bool is_found; /* no better place follows */
};

static void take_start(void *user, const char *name, const char **attributes) {
    struct place *place = user;
    (void)attributes;
    if (place->is_found) return;
    bool is_suite = place->at == 0 && strcmp(name, "testsuite") == 0;
    bool is_properties = place->at != 0 && strcmp(name, "properties") == 0;
    place->is_found = place->at != 0; /* the first child tells */
    if (!is_suite && !is_properties) return;
    size_t end = (size_t)XML_GetCurrentByteIndex(place->parser) +
                 (size_t)XML_GetCurrentByteCount(place->parser);
    bool is_empty = place->text[end - 2] == '/';
    if (is_properties && is_empty) return; /* beside it, then: two are no harm */
    place->at = end;
    place->is_empty = is_empty;
    place->is_in_properties = is_properties;
    place->is_found = place->is_found || is_empty;
}

static rp_status find_place(const char *path, const char *text, size_t length, struct place *place,
                            rp_error *err) {
    XML_Parser parser = XML_ParserCreate(NULL);
    if (!parser) return rp_fail(err, RP_ERR_MEMORY, "cannot read '%s': out of memory", path);
    *place = (struct place){.parser = parser, .text = text};
    XML_SetUserData(parser, place);
    XML_SetStartElementHandler(parser, take_start);
    rp_status status = RP_OK;
    if (XML_Parse(parser, text, (int)length, 1) == XML_STATUS_ERROR) {
        status = rp_fail(err, RP_ERR_DATA, "'%s' is not XML: line %lu: %s", path,
                         (unsigned long)XML_GetCurrentLineNumber(parser),
                         XML_ErrorString(XML_GetErrorCode(parser)));
    } else if (place->at == 0) {
        status = rp_fail(err, RP_ERR_DATA, "'%s' has no testsuite", path);
    }
    XML_ParserFree(parser);
    return status;
}

static rp_status read_file(const char *path, char **text, size_t *length, rp_error *err) {
    struct stat info;
    /* Without waiting: a pipe is refused below. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "r");
    if (!file) {
        rp_status failed = rp_fail_errno(err, "cannot read '%s'", path);
        if (descriptor >= 0) close(descriptor);
        return failed;
    }
    rp_status status = RP_OK;
    if (fstat(fileno(file), &info) != 0) {
        status = rp_fail_errno(err, "cannot look at '%s'", path);
    } else if (!S_ISREG(info.st_mode) || info.st_size > JUNIT_BYTES_MAX) {
        status = rp_fail(err, RP_ERR_LIMIT, "'%s' is no file of at most %d MiB", path,
                         JUNIT_BYTES_MAX >> 20);
    } else if (!(*text = malloc((size_t)info.st_size + 1))) {
        status = rp_fail(err, RP_ERR_MEMORY, "cannot read '%s': out of memory", path);
    } else {
        *length = fread(*text, 1, (size_t)info.st_size, file);
        (*text)[*length] = '\0';
    }
    fclose(file);
    return status;
}

static void print_properties(FILE *out, const struct run_broker *broker) {
    const struct run_counts *counts = &broker->counts;
    fprintf(out, "<property name=\"rpool.share\" value=\"%s\"/>",
            broker->kind == RUN_BROKER_NONE ? "process" : "machine");
    if (broker->kind == RUN_BROKER_NONE) return;
    const struct {
        const char *name;
        unsigned long long value;
    } rows[] = {
        {"loads", counts->loads},
        {"load_failures", counts->load_failures},
        {"hits", counts->hits},
        {"leases", counts->leases},
        {"peak_bytes", counts->peak_bytes},
        {"saved_bytes_estimate", counts->saved_bytes},
        {"saved_ms_estimate", (unsigned long long)counts->saved_ms},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value == RP_UNKNOWN_U64) continue;
        fprintf(out, "<property name=\"rpool.%s\" value=\"%llu\"/>", rows[i].name, rows[i].value);
    }
}

/* The file with the properties in it, in *out, to be freed. */
static rp_status join(const char *text, size_t length, const struct place *place,
                      const struct run_broker *broker, char **out, size_t *out_length,
                      rp_error *err) {
    FILE *file = open_memstream(out, out_length);
    if (!file) return rp_fail_errno(err, "cannot make the JUnit file");
    fwrite(text, 1, place->is_empty ? place->at - 2 : place->at, file);
    if (place->is_empty) fputs(">", file);
    if (!place->is_in_properties) fputs("<properties>", file);
    print_properties(file, broker);
    if (!place->is_in_properties) fputs("</properties>", file);
    if (place->is_empty) fputs("</testsuite>", file);
    fwrite(text + place->at, 1, length - place->at, file);
    bool is_whole = !ferror(file);
    if (fclose(file) != 0 || !is_whole) {
        return rp_fail(err, RP_ERR_MEMORY, "cannot make the JUnit file: out of memory");
    }
    return RP_OK;
}

rp_status run_junit_write(const char *path, const struct run_broker *broker, rp_error *err) {
    char *text = NULL;
    char *joined = NULL;
    size_t length = 0;
    size_t joined_length = 0;
    struct place place = {0};
    rp_status status = read_file(path, &text, &length, err);
    if (status == RP_OK && length > 1 && (text[0] == '\0' || text[1] == '\0')) {
        status = rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is in UTF-16", path);
    }
    if (status == RP_OK) status = find_place(path, text, length, &place, err);
    if (status == RP_OK) {
        status = join(text, length, &place, broker, &joined, &joined_length, err);
    }
    if (status == RP_OK) status = run_file_write(path, joined, joined_length, err);
    free(joined);
    free(text);
    return status;
}
