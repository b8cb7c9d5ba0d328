/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool diagnose: one text, or with --jsonl a text a line. A line is answered as soon as no further
 * one is at hand, so that a program at the other end of the pipe may ask one by one.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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
    ID_BYTES_MAX = 128,
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

/* The next line; false at the end. *line NULL: it was too long, and is passed over. */
static bool next_line(struct input *input, char **line, size_t *length, int *problem) {
    bool is_too_long = false;
    size_t looked = 0;
    for (;;) {
        size_t left = input->length - input->at;
        char *end =
            left > looked ? memchr(input->bytes + input->at + looked, '\n', left - looked) : NULL;
        if (end || (input->is_ended && left > 0)) {
            *line = is_too_long ? NULL : input->bytes + input->at;
            *length = end ? (size_t)(end - *line) : left;
            if (is_too_long) *length = 0;
            input->at = end ? (size_t)(end + 1 - input->bytes) : input->length;
            return true;
        }
        if (input->is_ended) {
            *line = NULL;
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

/* What is answered. */
struct line {
    size_t number;
    json_t *object;
    char id[ID_BYTES_MAX]; /* as it was typed, where a number does not fit; "": as in the object */
};

static int hex_at(const char *at) {
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    if (strspn(digits, "0123456789abcdefABCDEF") != 4) return -1;
    return (int)strtol(digits, NULL, 16);
}

/* Whether the escape at `at`, "\uD83D", is half of a character, and its other half follows. */
static bool is_whole_pair(const char *at, size_t left, int first) {
    if (first >= 0xDC00 || left < 12 || at[6] != '\\' || at[7] != 'u') return false;
    int second = hex_at(at + 8);
    return second >= 0xDC00 && second < 0xE000;
}

/*
 * What Python writes of bytes that are no text, "\udcff", and such bytes as they are: each becomes
 * one that can be read. In place, no byte more.
 */
static void mend_text(char *line, size_t length) {
    for (size_t i = 0; i < length;) {
        size_t left = length - i;
        if (line[i] == '\\' && left > 1 && line[i + 1] != 'u') {
            i += 2;
            continue;
        }
        int code = line[i] == '\\' && left >= 6 ? hex_at(line + i + 2) : -1;
        if (code >= 0xD800 && code < 0xE000) {
            if (is_whole_pair(line + i, left, code)) {
                i += 12;
                continue;
            }
            memcpy(line + i + 2, "fffd", 4);
        }
        size_t step = 1;
        if ((unsigned char)line[i] >= 0x80) {
            json_t *one = NULL;
            for (step = 2; step <= 4 && step <= left && !one; step++) {
                one = json_stringn(line + i, step);
            }
            step = one ? step - 1 : 1;
            if (!one) line[i] = '?';
            json_decref(one);
        }
        i += step;
    }
}

static size_t skip_blanks(const char *line, size_t length, size_t at) {
    while (at < length && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    return at;
}

/* An id that is a number beyond 64 bits: keep it as it is typed, and let 0 stand in its place. */
static bool mend_id(char *text, size_t length, struct line *line) {
    static const char number[] = "+-.0123456789Ee";
    int depth = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '{' || text[i] == '[') depth++;
        if (text[i] == '}' || text[i] == ']') depth--;
        if (text[i] != '"') continue;
        size_t start = ++i;
        while (i < length && text[i] != '"') {
            i += text[i] == '\\' ? 2 : 1;
        }
        bool is_id = depth == 1 && i - start == 2 && memcmp(text + start, "id", 2) == 0;
        size_t at = skip_blanks(text, length, i + 1);
        if (!is_id || at >= length || text[at] != ':') continue;
        at = skip_blanks(text, length, at + 1);
        size_t bytes = 0;
        while (at + bytes < length && strchr(number, text[at + bytes]) && text[at + bytes]) {
            bytes++;
        }
        if (bytes == 0 || bytes >= sizeof line->id) return false;
        memcpy(line->id, text + at, bytes);
        line->id[bytes] = '\0';
        memset(text + at, ' ', bytes);
        text[at] = '0';
        return true;
    }
    return false;
}

/* Answer a line that is none, with the reason. */
static int refuse(const struct line *line, const char *why) {
    json_t *id = json_object_get(line->object, "id");
    char *spelled =
        line->id[0] ? NULL : json_dumps(id ? id : json_null(), JSON_ENCODE_ANY | JSON_COMPACT);
    char *reason = NULL;
    json_t *text = json_sprintf("line %zu: %s", line->number, why);
    if (text) reason = json_dumps(text, JSON_ENCODE_ANY);
    printf("{\"id\":%s,\"error\":%s}\n",
           line->id[0] ? line->id
           : spelled   ? spelled
                       : "null",
           reason ? reason : "\"out of memory\"");
    json_decref(text);
    free(spelled);
    free(reason);
    return 1;
}

/* The line as an object; a code other than 0 once it is refused. */
static int parse(char *text, size_t length, struct line *line) {
    json_error_t problem;
    line->object = json_loadb(text, length, JSON_ALLOW_NUL, &problem);
    for (int tries = 0; !line->object && tries < 2; tries++) {
        enum json_error_code code = json_error_code(&problem);
        if (code == json_error_numeric_overflow && !mend_id(text, length, line)) break;
        if (code != json_error_numeric_overflow) mend_text(text, length);
        line->object = json_loadb(text, length, JSON_ALLOW_NUL, &problem);
    }
    if (json_is_object(line->object)) return 0;
    char why[256];
    snprintf(why, sizeof why, "no JSON object: %.200s",
             line->object ? "something else" : problem.text);
    json_decref(line->object);
    line->object = NULL;
    line->id[0] = '\0';
    return refuse(line, why);
}

/* The text of a key; NULL where there is none, or null. False once the line is refused. */
static bool take(const struct line *line, const char *key, bool is_name, const char **text,
                 size_t *length) {
    const json_t *value = json_object_get(line->object, key);
    char why[128];
    if (!value || json_is_null(value)) return true;
    if (!json_is_string(value)) {
        snprintf(why, sizeof why, "'%s' is no text", key);
        refuse(line, why);
        return false;
    }
    *text = json_string_value(value);
    *length = json_string_length(value);
    if (!is_name || strlen(*text) == *length) return true;
    snprintf(why, sizeof why, "'%s' has a zero byte", key);
    refuse(line, why);
    return false;
}

/* The answer is printed as the library made it, behind its id. */
static int print_line(const struct line *line, const char *answer) {
    const json_t *id = json_object_get(line->object, "id");
    if (line->id[0] || !id || json_is_null(id)) {
        printf("{\"id\":%s,%s\n", line->id[0] ? line->id : "null", answer + 1);
        return 0;
    }
    char *spelled = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!spelled) return refuse(line, "out of memory");
    printf("{\"id\":%s,%s\n", spelled, answer + 1);
    free(spelled);
    return 0;
}

/* Answer a line; 0, or 1 if it was refused. */
static int diagnose_line(char *text, size_t length, size_t number,
                         const rp_failure_question *defaults) {
    struct line line = {.number = number};
    rp_failure_question question = *defaults;
    size_t ignored;
    int code = text ? parse(text, length, &line) : refuse(&line, "longer than 64 MiB");
    if (code != 0) return code;
    rp_error err = RP_ERROR_INIT;
    rp_diagnosis *diagnosis = NULL;
    char *answer = NULL;
    if (!take(&line, "error", false, &question.error, &question.error_bytes) ||
        !take(&line, "stack_trace", false, &question.stack_trace, &question.stack_trace_bytes) ||
        !take(&line, "hardware", true, &question.hardware, &ignored) ||
        !take(&line, "model", true, &question.model, &ignored)) {
        json_decref(line.object);
        return 1;
    }
    rp_status status = rp_diagnose(&question, &diagnosis, &err);
    if (status == RP_OK) status = rp_diagnosis_to_json(diagnosis, 0, &answer, &err);
    code = status == RP_OK ? print_line(&line, answer) : refuse(&line, err.message);
    rp_string_free(answer);
    rp_diagnosis_destroy(diagnosis);
    json_decref(line.object);
    return code;
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
    if (!progress->is_wanted || count % 64 != 0 || now_ms() < progress->next_ms) return;
    fprintf(stderr, "\r%zu lines", count);
    progress->is_shown = true;
    progress->next_ms = now_ms() + PROGRESS_EVERY_MS;
}

static bool is_blank(const char *line, size_t length) {
    return line && skip_blanks(line, length, 0) == length;
}

/* A line that cannot be read costs the others nothing. */
static int diagnose_lines(const struct arguments *arguments, const rp_failure_question *question,
                          struct input *input) {
    struct progress progress = {isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO), false,
                                now_ms() + PROGRESS_AFTER_MS};
    size_t count = 0;
    size_t refused = 0;
    char *line = NULL;
    size_t length = 0;
    int problem = 0;
    for (size_t number = 1; !ferror(stdout) && next_line(input, &line, &length, &problem);
         number++) {
        if (number == 1 && length >= 3 && line && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
            line += 3;
            length -= 3;
        }
        while (line && length > 0 && line[length - 1] == '\r') {
            length--;
        }
        if (is_blank(line, length)) continue;
        refused += diagnose_line(line, length, number, question) != 0;
        show_progress(&progress, ++count);
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
    close_input(&input);
    rp_snapshot_release(snapshot);
    return code;
}
