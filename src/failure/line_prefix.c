/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of forms, in the order in which they are tried; what does not fit a form has its own
 * function. In a form stand for
 *
 *   %1..%8 so many digits, %0 ten of them, %n one or more     %b blanks, one or more
 *   %w     a name or path, %x anything that is short          %t a time stamp
 *   %l     a level, any case; %L in capitals; %E its letter   %s %c %j what parts a time
 *   %m %d  a month, a weekday; %z a time zone                 {} what may be absent
 *
 * and the rest for itself. There is no way back in a form but for {}, so that the work is bounded
 * by its length and that of what it reads.
 */
#include "failure/line_prefix.h"

#include "failure/line_text.h"

#include <string.h>

enum { ANYTHING_BYTES_MAX = 120, NAME_BYTES_MAX = 200, PREFIXES_MAX = 16 };

/* When a form may be tried. */
enum when { ALWAYS, AFTER_ANOTHER, BEFORE_BLANK };

struct form {
    const char *text;
    enum when when;
    bool is_kernel;
};

/* clang-format off */
static const char *const stamps[] = {
    "%4%s%2%s%2{%j%2:%2{:%2{%c%n}}{%z}}",
    "%8%j%2:%2:%2{%c%n}{%z}",
    "%8-%6{%c%n}",
    "%2%s%2%s%4{,}%b%2:%2{:%2{%c%n}}{%z}",
    "%2%s%2%s%2{,}%b%2:%2:%2{%c%n}{%z}",
    "%2%s%2%b%2:%2:%2{%c%n}{%z}",
    "%2:%2:%2{%c%n}{%z}",
    "%2/%m/%4:%2:%2:%2{%z}",
    "%n%b%m%b%4%b%2:%2:%2{%c%n}{%z}",
    "%m%b%n%b{%4%b}%2:%2:%2{%c%n}{%z}",
    "%d{,}%b%m%b%n%b%2:%2:%2{%z}{%b%4}",
    "%d{,}%b%n%b%m%b%4%b%2:%2:%2{%z}",
    "%0.%n",
};

static const struct form digit_forms[] = {
    {.text = "%t", .when = ALWAYS},
    {.text = "%n.%2.%3.%3%b%E", .when = BEFORE_BLANK},
    {.text = "%n%b%n%b%E%b%w{%b}:", .when = AFTER_ANOTHER},
    {.text = "%n%b---%b[%x]%b%w{%b}:", .when = AFTER_ANOTHER},
};

static const struct form bracket_forms[] = {
    {.text = "[{%b}%n.%6]{%b[{%b}T%n]}{%b[{%b}C%n]}", .is_kernel = true},
    {.text = "[%t]"},
    {.text = "[%t%b%l{%b%x}]"},
    {.text = "[%t%b%x]"},
    {.text = "(%t)"},
    {.text = "<%t>"},
    {.text = "[{%b}%l{%b}]"},
    {.text = "(%l)"},
    {.text = "<%l>"},
    {.text = "[%l:%x]"},
    {.text = "[%l%b%t{%x}]"},
    {.text = "[%l%b%w:%n{%b%x}]"},
    {.text = "[%E]", .when = BEFORE_BLANK},
    {.text = "[%E:%x]"},
    {.text = "[%E%n%b%2:%2:%2{%c%n}%b{%n%b}%w:%n{%b%x}]"},
    {.text = "[%E%b%w:%n{%b%x}]"},
    {.text = "[%n:%n/%n.%n:%l:%x]"},
    {.text = "[%n:%n:%n/%n.%n:%l:%x]"},
    {.text = "[%n:%n:%n/%n:%l:%x]"},
    {.text = "[rank%n]:"},
    {.text = "[default%n]:"},
    {.text = "[%n,%n]<%w>:"},
    {.text = "[%n]:", .when = BEFORE_BLANK},
    {.text = "[%n]", .when = BEFORE_BLANK},
    {.text = "[pod/%x]"},
    {.text = "[%w:%n{:%x}]", .when = AFTER_ANOTHER},
    {.text = "[%w]%b%L{:}", .when = AFTER_ANOTHER},
    {.text = "[%w]{%b}[%l]", .when = AFTER_ANOTHER},
    {.text = "<%n>"},
};

static const struct form capital_forms[] = {
    {.text = "%E%4%b%2:%2:%n{.%n}%b%n%b%w:%n]"},
    {.text = "%E%b%w:%n]"},
    {.text = "%E/%w({%b}%n):"},
    {.text = "%L%b%t{%b}{%n%b}{[}%w:%n]"},
    {.text = "%L%b%t", .when = BEFORE_BLANK},
    {.text = "%L%b{[}%w:%n]"},
    {.text = "%L:%w:"},
    {.text = "%L{%b}:", .when = BEFORE_BLANK},
    {.text = "%L%b-", .when = BEFORE_BLANK},
    {.text = "%L%b|", .when = BEFORE_BLANK},
    {.text = "%L%b%n%b---%b[%x]%b%w{%b}:", .when = AFTER_ANOTHER},
    {.text = "%L", .when = AFTER_ANOTHER},
    {.text = "%E", .when = AFTER_ANOTHER},
    {.text = "%t", .when = ALWAYS},
};

static const struct form name_forms[] = {
    {.text = "kernel:", .is_kernel = true},
    {.text = "%w%bkernel:", .when = AFTER_ANOTHER, .is_kernel = true},
    {.text = "rank%n:"},
    {.text = "npm%bERR!"},
    {.text = "npm%b%l", .when = BEFORE_BLANK},
    {.text = "%w:%n:%n%b[%n]", .when = BEFORE_BLANK},
    {.text = "%w[%n]:"},
    {.text = "%w%b%w[%n]:"},
    {.text = "%w%b-%b%L%b-", .when = AFTER_ANOTHER},
    {.text = "%w:%w:%n%b-", .when = AFTER_ANOTHER},
    {.text = "%w::%w{::%w}{::%w}:", .when = AFTER_ANOTHER},
};

static const struct form sign_forms[] = {
    {.text = "##[%l]"},
    {.text = "::%l{%b%x}::"},
    {.text = "#%n%b%n.%n", .when = BEFORE_BLANK},
    {.text = "!!!", .when = BEFORE_BLANK},
};

static const struct { const char *word; enum rp_log_level level; } levels[] = {
    {"TRACE", RP_LOG_QUIET}, {"VERBOSE", RP_LOG_QUIET}, {"DEBUG", RP_LOG_QUIET}, {"DBG", RP_LOG_QUIET},
    {"INFO", RP_LOG_QUIET}, {"INF", RP_LOG_QUIET}, {"NOTICE", RP_LOG_QUIET},
    {"WARNING", RP_LOG_WARNING}, {"WARN", RP_LOG_WARNING}, {"WRN", RP_LOG_WARNING},
    {"ERROR", RP_LOG_ERROR}, {"ERR", RP_LOG_ERROR}, {"SEVERE", RP_LOG_ERROR},
    {"CRITICAL", RP_LOG_ERROR}, {"CRIT", RP_LOG_ERROR}, {"FATAL", RP_LOG_ERROR},
};
/* clang-format on */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char weekdays[] = "MonTueWedThuFriSatSun";

struct reader {
    const char *end;
    enum rp_log_level level;
};

static bool is_capital(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_of_name(char c) {
    return rp_is_letter(c) || rp_is_digit(c) || (c && strchr("_.-/\\+@~", c));
}

static const char *read_digits(const char *at, const char *end, size_t count) {
    size_t found = 0;
    while (at < end && rp_is_digit(*at) && found < (count ? count : 20)) {
        at++;
        found++;
    }
    if (count ? found != count : found == 0) return NULL;
    /* More digits than were asked for are another number. */
    return at < end && rp_is_digit(*at) ? NULL : at;
}

/* One of the three-letter words of a row of them. */
static const char *read_short_word(const char *words, const char *at, const char *end) {
    if (end - at < 3) return NULL;
    for (; *words; words += 3) {
        if (memcmp(words, at, 3) == 0) return at + 3;
    }
    return NULL;
}

static const char *read_level(const char *at, bool only_capitals, struct reader *reader) {
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        const char *word = levels[i].word;
        if ((*at | 0x20) != (*word | 0x20)) continue;
        size_t length = strlen(word);
        if ((size_t)(reader->end - at) < length) continue;
        size_t same = 0;
        while (same < length && (at[same] == word[same] ||
                                 (!only_capitals && at[same] == (char)(word[same] | 0x20)))) {
            same++;
        }
        const char *after = at + length;
        if (same < length || (after < reader->end && (rp_is_letter(*after) || *after == '_'))) {
            continue;
        }
        /* "FATAL ERROR", "FATAL EXCEPTION" are words of the message. */
        if (strcmp(word, "FATAL") == 0 && reader->end - after > 1 && after[1] == 'E') continue;
        reader->level = levels[i].level;
        return after;
    }
    return NULL;
}

static const char *read_level_letter(const char *at, struct reader *reader) {
    static const char letters[] = "VDIWEFC";
    const char *found = *at ? strchr(letters, *at) : NULL;
    if (!found) return NULL;
    if (at + 1 < reader->end && rp_is_letter(at[1])) return NULL;
    reader->level = *at == 'W' ? RP_LOG_WARNING : found - letters < 3 ? RP_LOG_QUIET : RP_LOG_ERROR;
    return at + 1;
}

static const char *read_zone(const char *at, const char *end) {
    at = rp_skip_blanks(at, end);
    if (at < end && *at == 'Z') return at + 1;
    if (end - at >= 3 && (memcmp(at, "UTC", 3) == 0 || memcmp(at, "GMT", 3) == 0)) return at + 3;
    if (end - at >= 2 && (*at == 'A' || *at == 'P') && at[1] == 'M') return at + 2;
    if (end - at < 3 || (*at != '+' && *at != '-')) return NULL;
    const char *after = read_digits(at + 1, end, 4);
    if (after) return after;
    after = read_digits(at + 1, end, 2);
    if (after && after < end && *after == ':') return read_digits(after + 1, end, 2);
    return NULL;
}

static const char *read_name(const char *at, const char *end) {
    const char *from = at;
    while (at < end && is_of_name(*at) && at - from < NAME_BYTES_MAX) {
        at++;
    }
    return at > from ? at : NULL;
}

static const char *read_form(const char *form, const char *form_end, const char *at,
                             struct reader *reader);

static const char *read_stamp(const char *at, struct reader *reader) {
    for (size_t i = 0; i < sizeof stamps / sizeof stamps[0]; i++) {
        const char *after = read_form(stamps[i], stamps[i] + strlen(stamps[i]), at, reader);
        if (!after) continue;
        /* "2024-01-01.bin" is a name. */
        if (after < reader->end && is_of_name(*after) && *after != '-') continue;
        return after;
    }
    return NULL;
}

/* What a letter behind % stands for. `stop` is the byte of the form that follows it. */
static const char *read_class(char letter, char stop, const char *at, struct reader *reader) {
    const char *end = reader->end;
    switch (letter) {
    case 'b':
        return *at == ' ' ? rp_skip_blanks(at, end) : NULL;
    case 'n':
        return read_digits(at, end, 0);
    case '0':
        return read_digits(at, end, 10);
    case 'w':
        return read_name(at, end);
    case 't':
        return read_stamp(at, reader);
    case 'l':
        return read_level(at, false, reader);
    case 'L':
        return read_level(at, true, reader);
    case 'E':
        return read_level_letter(at, reader);
    case 's':
        return *at == '-' || *at == '/' || *at == '.' ? at + 1 : NULL;
    case 'c':
        return *at == '.' || *at == ',' ? at + 1 : NULL;
    case 'j':
        if (*at == ' ') return rp_skip_blanks(at, end);
        return *at == 'T' || *at == '_' || *at == '-' || *at == ':' ? at + 1 : NULL;
    case 'm':
        return read_short_word(months, at, end);
    case 'd':
        return read_short_word(weekdays, at, end);
    case 'z':
        return read_zone(at, end);
    case 'x': {
        size_t most =
            (size_t)(end - at) < ANYTHING_BYTES_MAX ? (size_t)(end - at) : ANYTHING_BYTES_MAX;
        return memchr(at, stop, most);
    }
    default:
        return read_digits(at, end, (size_t)(letter - '0'));
    }
}

static const char *closing_brace(const char *form) {
    for (unsigned depth = 0;; form++) {
        if (*form == '{') depth++;
        if (*form == '}' && --depth == 0) return form;
    }
}

static const char *read_form(const char *form, const char *form_end, const char *at,
                             struct reader *reader) {
    while (at && form < form_end) {
        if (*form == '{') {
            const char *close = closing_brace(form);
            const char *after = read_form(form + 1, close, at, reader);
            if (after) at = after;
            form = close + 1;
        } else if (at == reader->end) {
            return NULL;
        } else if (*form == '%') {
            char stop = form[2];
            if (stop == '}') stop = form[3];
            at = read_class(form[1], stop, at, reader);
            form += 2;
        } else {
            at = *at == *form ? at + 1 : NULL;
            form++;
        }
    }
    return at;
}

/* Beyond a prefix: a colon, comma, bar or dash that parts it from the rest, and one blank. */
static const char *skip_parting(const char *at, const char *end) {
    if (end - at >= 2 && (*at == ':' || *at == ',') && at[1] == ' ') at++;
    const char *next = rp_skip_blanks(at, end);
    if (end - next >= 2 && next > at && (*next == '-' || *next == '|') && next[1] == ' ') {
        return next + 2;
    }
    return at < end && *at == ' ' ? at + 1 : at;
}

static const char *read_table(const struct form *forms, size_t count, const char *at,
                              const char *end, struct rp_line_prefix *prefix, bool is_first) {
    for (size_t i = 0; i < count; i++) {
        struct reader reader = {.end = end};
        if (forms[i].when == AFTER_ANOTHER && is_first) continue;
        const char *text = forms[i].text;
        const char *after = read_form(text, text + strlen(text), at, &reader);
        if (!after) continue;
        if (forms[i].when != ALWAYS && after < end && *after != ' ') continue;
        if (reader.level) prefix->level = reader.level;
        prefix->is_kernel |= forms[i].is_kernel;
        return skip_parting(after, end);
    }
    return NULL;
}

#define READ_TABLE(forms, at, end, prefix, is_first)                                               \
    read_table(forms, sizeof(forms) / sizeof(forms)[0], at, end, prefix, is_first)

static const char *find(const char *at, const char *end, const char *text) {
    return memmem(at, (size_t)(end - at), text, strlen(text));
}

/* "(EngineCore_0 pid=123)", "(RayWorker pid=123, ip=10.0.0.1)". */
static const char *read_process(const char *at, const char *end) {
    size_t most = (size_t)(end - at) < ANYTHING_BYTES_MAX ? (size_t)(end - at) : ANYTHING_BYTES_MAX;
    const char *close = memchr(at, ')', most);
    if (!close || !find(at, close, "pid=")) return NULL;
    return skip_parting(close + 1, end);
}

/* "web-1  | ", "ollama  | ": a name that ends in a number, or has room behind it. */
static const char *read_container(const char *at, const char *end) {
    const char *after = read_name(at, end);
    if (!after || !memchr(at, '|', (size_t)(end - at))) return NULL;
    const char *bar = rp_skip_blanks(after, end);
    bool is_padded = bar - after >= 2 || (bar > after && rp_is_digit(after[-1]));
    if (!is_padded || bar == end || *bar != '|') return NULL;
    return bar + 1 < end && bar[1] == ' ' ? bar + 2 : bar + 1;
}

/* "bundle.js:214 " and "bundle.js:214:13 " of a browser's console. */
static const char *read_script(const char *at, const char *end) {
    static const char *const kinds[] = {".js", ".mjs", ".ts", ".tsx", ".jsx", ".html"};
    const char *colon = read_name(at, end);
    if (!colon || colon == end || *colon != ':') return NULL;
    bool is_script = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !is_script; i++) {
        size_t length = strlen(kinds[i]);
        is_script = (size_t)(colon - at) > length && memcmp(colon - length, kinds[i], length) == 0;
    }
    const char *after = is_script ? read_digits(colon + 1, end, 0) : NULL;
    if (after && after < end && *after == ':') after = read_digits(after + 1, end, 0);
    return after && after < end && *after == ' ' ? after + 1 : NULL;
}

/* time=... level=INFO source=sched.go:418 msg="...": up to the message, in its quote. */
static const char *read_pairs(const char *at, const char *end, struct rp_line_prefix *prefix) {
    if (!rp_begins(at, end, "time=") && !rp_begins(at, end, "level=") &&
        !rp_begins(at, end, "ts=")) {
        return NULL;
    }
    size_t most = (size_t)(end - at) < 400 ? (size_t)(end - at) : 400;
    const char *message = find(at, at + most, " msg=");
    if (!message) return NULL;
    const char *level = find(at, message, "level=");
    struct reader reader = {.end = message};
    if (level && level + 6 < message && read_level(level + 6, false, &reader)) {
        prefix->level = reader.level;
    }
    message += 5;
    return message < end && *message == '"' ? message + 1 : message;
}

/* "----> 1 code" of a notebook, ">>> code" of a prompt. */
static const char *read_code_sign(const char *at, const char *end) {
    const char *tip = at;
    while (tip < end && *tip == '-') {
        tip++;
    }
    if (tip - at >= 2 && tip < end && *tip == '>') {
        const char *number = rp_skip_blanks(tip + 1, end);
        return number < end ? read_digits(number, end, 0) : NULL;
    }
    if (rp_begins(at, end, ">>> ")) return at + 4;
    return rp_begins(at, end, "\xe2\x9d\xb1 ") ? at + 4 : NULL; /* a pointing bracket */
}

/* The marks of quoted logs, of boxes and of test reports. */
static const char *read_quote(const char *at, const char *end, struct rp_line_prefix *prefix) {
    const char *after = read_code_sign(at, end);
    if (after) {
        prefix->is_source = true;
        return after < end && *after == ' ' ? after + 1 : after;
    }
    if (rp_begins(at, end, "E   ")) return at + 4;
    if (rp_begins(at, end, ">    ")) {
        prefix->is_source = true;
        return at + 4;
    }
    if (rp_begins(at, end, "> ")) return at + 2;
    if (rp_begins(at, end, "+ Exception Group")) return at + 2;
    if (*at == '|') return at + 1 < end && at[1] == ' ' ? at + 2 : at + 1;
    /* Upright lines of boxes, thin, thick and double. */
    if (rp_begins(at, end, "\xe2\x94\x82") || rp_begins(at, end, "\xe2\x94\x83") ||
        rp_begins(at, end, "\xe2\x95\x91")) {
        return at + 3 < end && at[3] == ' ' ? at + 4 : at + 3;
    }
    return rp_begins(at, end, "{\"log\":\"") ? at + 8 : NULL;
}

static const char *read_one(const char *at, const char *end, struct rp_line_prefix *prefix,
                            bool is_first) {
    const char *after = NULL;
    char c = *at;
    if (c == '[' || c == '(' || c == '<') {
        after = READ_TABLE(bracket_forms, at, end, prefix, is_first);
        return !after && c == '(' ? read_process(at, end) : after;
    }
    if (rp_is_digit(c)) after = READ_TABLE(digit_forms, at, end, prefix, is_first);
    if (is_capital(c)) {
        after = READ_TABLE(capital_forms, at, end, prefix, is_first);
        if (!after && c == 'E') after = read_quote(at, end, prefix);
    }
    if (after) return after;
    if (!rp_is_letter(c) && !rp_is_digit(c) && c != '_') {
        after = read_quote(at, end, prefix);
        return after ? after : READ_TABLE(sign_forms, at, end, prefix, is_first);
    }
    after = READ_TABLE(name_forms, at, end, prefix, is_first);
    if (!after) after = read_container(at, end);
    if (!after) after = read_script(at, end);
    return after ? after : read_pairs(at, end, prefix);
}

void rp_line_prefix_read(const char *line, size_t length, struct rp_line_prefix *prefix) {
    const char *end = line + length;
    const char *at = line;
    *prefix = (struct rp_line_prefix){0};
    for (unsigned i = 0; i < PREFIXES_MAX; i++) {
        struct rp_line_prefix found = *prefix;
        const char *first = rp_skip_blanks(at, end);
        if (first == end) return;
        const char *after = read_one(first, end, &found, i == 0);
        if (!after) return;
        if (rp_skip_blanks(after, end) == end) {
            prefix->is_all = true;
            return;
        }
        at = after;
        *prefix = found;
        prefix->length = (size_t)(at - line);
    }
}
