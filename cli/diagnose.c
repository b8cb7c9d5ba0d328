/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool diagnose: one text, or with --jsonl a text a line. A line is answered as soon as no further
 * one is at hand, so that a program at the other end of the pipe may ask one by one; lines that are
 * there together are answered by as many threads as there are processors.
 */
#include "command.h"
#include "diagnose_line.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    HARDWARE,
    MODEL,
    STDIN,
    JSONL,
    INPUT,
    SAVE,
    BUNDLE,
    SHOW,
    SIMULATE,

    CHUNK_BYTES = 64 << 10,
    FIRST_BYTES = 256 << 10,
    LINE_BYTES_MAX = 64 << 20,
    TEXT_BYTES_MAX = 256 << 20, /* of one that is kept in memory, for a report */
    LINES_AT_ONCE = 256,        /* a mebibyte of answers, hardly more than 10 ms */
    THREADS_MAX = 8,
    PROGRESS_AFTER_MS = 1000,
    PROGRESS_EVERY_MS = 200,
};

/* --- what is read ---------------------------------------------------------------------------- */

/* Lines, or all at once, of a descriptor; what was read and not yet used stands from `at` on. */
struct input {
    int fd;
    char *bytes;
    size_t at;
    size_t length;
    size_t capacity;
    bool is_ended;
};

/* Read on; 0 or an errno (EFBIG: more than `bytes_max` are waiting). */
static int fill(struct input *input, size_t bytes_max) {
    if (input->at > 0) {
        memmove(input->bytes, input->bytes + input->at, input->length - input->at);
        input->length -= input->at;
        input->at = 0;
    }
    if (input->length > bytes_max) return EFBIG;
    if (input->capacity - input->length < CHUNK_BYTES) {
        size_t capacity = input->capacity ? 2 * input->capacity : FIRST_BYTES;
        char *grown = realloc(input->bytes, capacity);
        if (!grown) return ENOMEM;
        input->bytes = grown;
        input->capacity = capacity;
    }
    /* One byte stays free for the NUL behind a text. */
    ssize_t got;
    do {
        got = read(input->fd, input->bytes + input->length, input->capacity - input->length - 1);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return errno;
    input->length += (size_t)got;
    input->is_ended = got == 0;
    return 0;
}

static int fail_to_read(const char *path, int problem) {
    rp_error err = RP_ERROR_INIT;
    errno = problem;
    rp_status ignored = path ? rp_fail_errno(&err, "cannot read '%s'", path)
                             : rp_fail_errno(&err, "cannot read stdin");
    (void)ignored;
    return report(&err);
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

/* Where the text comes from; a code other than 0 after a message. */
static int open_input(const struct arguments *arguments, struct input *input) {
    const char *path = arguments->options[INPUT];
    input->fd = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (input->fd < 0) return fail_to_read(path, errno);
    if (!path && isatty(STDIN_FILENO)) {
        fprintf(stderr,
                "rpool: waiting for %s on this terminal; Ctrl-D on a line of its own ends "
                "it\n",
                arguments->options[JSONL] ? "lines of JSON" : "an error text");
    }
    return 0;
}

static void close_input(struct input *input) {
    if (input->fd > STDERR_FILENO) close(input->fd);
    free(input->bytes);
}

/* --- one text -------------------------------------------------------------------------------- */

/* The whole text, for a report; a code other than 0 after a message. */
static int read_whole(const struct arguments *arguments, struct input *input) {
    while (!input->is_ended) {
        int problem = fill(input, TEXT_BYTES_MAX);
        if (problem == EFBIG) {
            fprintf(stderr,
                    "rpool: more than %d MiB are too much for a report\nhint: give the part around "
                    "the failure, or leave --save and --bundle out\n",
                    TEXT_BYTES_MAX >> 20);
            return 1;
        }
        if (problem != 0) return fail_to_read(arguments->options[INPUT], problem);
    }
    return 0;
}

/* Write what was asked for besides the answer; a code other than 0 after a message. */
static int save(const struct arguments *arguments, const rp_failure_question *question,
                char **path) {
    const char *folder = arguments->options[SAVE];
    const char *bundle = arguments->options[BUNDLE];
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    rp_status status = folder ? rp_failure_report(question, &text, &err) : RP_OK;
    if (status == RP_OK && folder) status = rp_failure_report_save(text, folder, path, &err);
    rp_string_free(text);
    if (status == RP_OK && bundle) status = rp_failure_bundle_save(question, bundle, &err);
    return status == RP_OK ? 0 : report(&err);
}

/* The answer with the paths of what was written. */
static int print_answer_json(const char *text, const char *saved, const char *bundle) {
    if (!saved && !bundle) return puts(text) == EOF;
    json_t *document = json_loads(text, 0, NULL);
    if (document && saved) json_object_set_new(document, "report", json_text(saved));
    if (document && bundle) json_object_set_new(document, "bundle", json_text(bundle));
    return print_json(document);
}

static void print_answer_text(const char *text, const char *saved, const char *bundle) {
    size_t length = strlen(text);
    fputs(text, stdout);
    if (length == 0 || text[length - 1] != '\n') putchar('\n');
    if (saved || bundle) putchar('\n');
    if (saved) printf("report: %s\n", saved);
    if (bundle) printf("bundle: %s\n", bundle);
}

static int print_answer(const struct arguments *arguments, const rp_diagnosis *diagnosis,
                        const char *saved, const char *bundle) {
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    rp_status status = arguments->json ? rp_diagnosis_to_json(diagnosis, 2, &text, &err)
                                       : rp_diagnosis_to_text(diagnosis, &text, &err);
    if (status != RP_OK) return report(&err);
    int code = 0;
    if (arguments->json) {
        code = print_answer_json(text, saved, bundle);
    } else {
        print_answer_text(text, saved, bundle);
    }
    rp_string_free(text);
    return code;
}

static int diagnose_text(const struct arguments *arguments, rp_failure_question *question,
                         struct input *input) {
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    char *saved = NULL;
    int code = 0;
    bool is_saved = arguments->options[SAVE] || arguments->options[BUNDLE];
    rp_status status;
    if (is_saved) {
        int failed = read_whole(arguments, input);
        if (failed) return failed;
        question->error = input->bytes;
        question->error_bytes = input->length;
        status = rp_diagnose(question, &diagnosis, &err);
        if (status == RP_OK) code = save(arguments, question, &saved);
    } else {
        const char *path = arguments->options[INPUT];
        status = rp_diagnose_fd(question, input->fd, &diagnosis, &err);
        if (status == RP_ERR_IO && path) rp_error_prefix(&err, "'%s'", path);
    }
    if (status != RP_OK) return report(&err);
    int printed =
        print_answer(arguments, diagnosis, saved, code == 0 ? arguments->options[BUNDLE] : NULL);
    rp_string_free(saved);
    rp_diagnosis_destroy(diagnosis);
    return code ? code : printed;
}

/* --- lines ----------------------------------------------------------------------------------- */

/* The next line; false at the end. Its text is NULL where it was too long, and is passed over. */
static bool next_line(struct input *input, struct line *line, int *problem) {
    bool is_too_long = false;
    size_t looked = 0;
    for (;;) {
        size_t left = input->length - input->at;
        char *end =
            left > looked ? memchr(input->bytes + input->at + looked, '\n', left - looked) : NULL;
        if (end || (input->is_ended && left > 0)) {
            char *text = input->bytes + input->at;
            line->text = is_too_long ? NULL : text;
            line->length = is_too_long ? 0 : end ? (size_t)(end - text) : left;
            input->at = end ? (size_t)(end + 1 - input->bytes) : input->length;
            return true;
        }
        if (input->is_ended) {
            line->text = NULL;
            line->length = 0;
            return is_too_long;
        }
        looked = left;
        if (left > LINE_BYTES_MAX) {
            is_too_long = true;
            input->at = input->length;
            looked = 0;
        }
        /* Whoever asked for what was answered may be waiting before asking on. */
        fflush(stdout);
        *problem = fill(input, LINE_BYTES_MAX + CHUNK_BYTES);
        if (*problem != 0) return false;
    }
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How far it is, on a terminal that shows nothing else. */
struct progress {
    bool is_wanted;
    bool is_shown;
    long next_ms;
};

static void show_progress(struct progress *progress, size_t count) {
    if (!progress->is_wanted || now_ms() < progress->next_ms) return;
    fprintf(stderr, "\r%zu lines", count);
    progress->is_shown = true;
    progress->next_ms = now_ms() + PROGRESS_EVERY_MS;
}

static bool is_blank(const struct line *line) {
    size_t at = 0;
    while (at < line->length && (line->text[at] == ' ' || line->text[at] == '\t')) {
        at++;
    }
    return line->text && at == line->length;
}

/* Without what Windows puts around it. */
static void trim(struct line *line) {
    if (!line->text) return;
    if (line->number == 1 && line->length >= 3 && memcmp(line->text, "\xEF\xBB\xBF", 3) == 0) {
        line->text += 3;
        line->length -= 3;
    }
    while (line->length > 0 && line->text[line->length - 1] == '\r') {
        line->length--;
    }
}

static bool has_line(const struct input *input) {
    size_t left = input->length - input->at;
    return left > 0 && (input->is_ended || memchr(input->bytes + input->at, '\n', left));
}

/* The next line, waited for, and those behind it that are there already; 0 at the end. */
static size_t next_lines(struct input *input, size_t *number, struct line lines[LINES_AT_ONCE],
                         int *problem) {
    size_t count = 0;
    while (count == 0 || (count < LINES_AT_ONCE && has_line(input))) {
        lines[count] = (struct line){.number = *number + 1};
        if (!next_line(input, &lines[count], problem)) break;
        ++*number;
        trim(&lines[count]);
        count += !is_blank(&lines[count]);
    }
    return count;
}

/* Lines that are answered together, each by whichever thread comes first. */
struct batch {
    struct line *lines;
    size_t count;
    const rp_failure_question *question;
    _Atomic size_t next; /* relaxed: nothing but the number is handed over */
};

static void *answer_lines(void *user) {
    struct batch *batch = user;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&batch->next, 1, memory_order_relaxed);
        if (i >= batch->count) return NULL;
        line_answer(&batch->lines[i], batch->question);
    }
}

/* How many threads may work at once. */
static size_t count_threads(void) {
    cpu_set_t set;
    size_t count = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 2;
    double quota = rp_hardware_quota(NULL, NULL, 0);
    if (quota >= 0 && quota < (double)count) count = (size_t)ceil(quota);
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : count;
}

/*
 * Threads live for one batch: to begin one costs less than to answer one line, and nothing waits
 * meanwhile. Where none can be had, this one does it all.
 */
static void answer_all(struct batch *batch, size_t thread_count) {
    pthread_t threads[THREADS_MAX];
    size_t started = 0;
    while (started + 1 < thread_count && started + 1 < batch->count &&
           pthread_create(&threads[started], NULL, answer_lines, batch) == 0) {
        started++;
    }
    answer_lines(batch);
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* A line that cannot be read costs the others nothing. */
static int diagnose_lines(const struct arguments *arguments, const rp_failure_question *question,
                          struct input *input) {
    struct progress progress = {isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO), false,
                                now_ms() + PROGRESS_AFTER_MS};
    struct line lines[LINES_AT_ONCE];
    struct batch batch = {.lines = lines, .question = question};
    size_t thread_count = count_threads();
    size_t number = 0;
    size_t count = 0;
    size_t refused = 0;
    int problem = 0;
    while (!ferror(stdout) && (batch.count = next_lines(input, &number, lines, &problem)) > 0) {
        atomic_store_explicit(&batch.next, 0, memory_order_relaxed);
        answer_all(&batch, thread_count);
        for (size_t i = 0; i < batch.count; i++) {
            refused += line_print(&lines[i]);
        }
        count += batch.count;
        show_progress(&progress, count);
    }
    if (progress.is_shown) fputs("\r\033[K", stderr);
    if (problem != 0) return fail_to_read(arguments->options[INPUT], problem);
    if (refused > 0) {
        fprintf(stderr,
                "rpool: %zu of %zu lines could not be answered: they have an 'error' that "
                "says why\n",
                refused, count);
    }
    return refused > 0;
}

/* --- the command ----------------------------------------------------------------------------- */

static int show(const struct arguments *arguments) {
    const char *path = arguments->options[SHOW];
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    if (rp_failure_report_show(path, &text, &err) != RP_OK) return report(&err);
    if (!arguments->json) fputs(text, stdout);
    rp_string_free(text);
    return arguments->json ? print_json(json_load_file(path, JSON_ALLOW_NUL, NULL)) : 0;
}

/* Options that contradict each other; a code other than 0 after a message. */
static int check_options(const struct arguments *arguments) {
    const char *const *options = arguments->options;
    for (int i = 0; options[SHOW] && i <= SIMULATE; i++) {
        if (i != SHOW && options[i]) {
            return usage_error("diagnose",
                               "--show shows what was saved, and takes no other option");
        }
    }
    if (options[STDIN] && options[INPUT]) {
        return usage_error("diagnose", "the text comes from --stdin or from --file");
    }
    if (options[JSONL] && (options[SAVE] || options[BUNDLE])) {
        return usage_error("diagnose", "--save and --bundle are for one text, not for --jsonl");
    }
    return 0;
}

/* What is opened later must not be taken for a stream that is closed. */
static int check_streams(bool needs_stdin) {
    if (!is_open(STDERR_FILENO) && open("/dev/null", O_WRONLY) < 0) return 1;
    if (!is_open(STDOUT_FILENO)) {
        fprintf(stderr, "rpool: stdout is closed: there is nowhere to answer\n");
        return 1;
    }
    if (needs_stdin && !is_open(STDIN_FILENO)) return fail_to_read(NULL, EBADF);
    return 0;
}

static bool has_kind(const rp_snapshot *snapshot, rp_device_kind kind) {
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        if (rp_snapshot_device(snapshot, i)->kind == kind) return true;
    }
    return false;
}

/* A text may be of another machine: that its device is not here is no error, and worth a word.
 * Where there is none of the kind the answer says so. */
static void tell_absent(const rp_snapshot *snapshot, const char *hardware) {
    size_t length = hardware ? strcspn(hardware, ":") : 0;
    char id[64];
    rp_device_kind kind;
    if (length == 0 || length >= 32 || hardware[length] != ':') return;
    snprintf(id, sizeof id, "%s", hardware);
    for (size_t i = 0; i < length; i++) {
        id[i] = (char)tolower((unsigned char)id[i]);
    }
    if (rp_snapshot_find_device(snapshot, id)) return;
    id[length] = '\0';
    if (rp_device_kind_parse(id, &kind, NULL) != RP_OK || !has_kind(snapshot, kind)) return;
    fprintf(stderr, "rpool: %s has no device '%s%.24s'\n",
            rp_snapshot_is_simulated(snapshot) ? "the simulated machine" : "this machine", id,
            hardware + length);
}

int diagnose_run(const struct arguments *arguments) {
    int code = check_options(arguments);
    if (code == 0) {
        code = check_streams(!arguments->options[INPUT] && !arguments->options[SHOW]);
    }
    if (code != 0) return code;
    /* A reader that went, and a file that may not grow, are errors with a message. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (arguments->options[SHOW]) return show(arguments);
    struct input input = {.fd = -1};
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = arguments->options[SIMULATE];
    code = open_input(arguments, &input);
    if (code != 0) return code;
    if (rp_hardware_detect(&options, &snapshot, &err) != RP_OK) {
        close_input(&input);
        return report(&err);
    }
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    question.hardware = arguments->options[HARDWARE];
    question.model = arguments->options[MODEL];
    question.snapshot = snapshot;
    code = arguments->options[JSONL] ? diagnose_lines(arguments, &question, &input)
                                     : diagnose_text(arguments, &question, &input);
    if (code == 0) tell_absent(snapshot, question.hardware);
    close_input(&input);
    rp_snapshot_release(snapshot);
    return code;
}
