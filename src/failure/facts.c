/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts: their names, how figures are read, which are kept. facts_decode.c has what follows.
 *
 * Figures are read without the C library's help: its readers follow the locale, skip what stands
 * before a number and know no commas.
 */
#include "failure/facts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
    const char *name;
    enum rp_fact_type type;
} rows[] = {
#define ROW(constant, name, type) [RP_FACT_NAME_##constant] = {name, RP_FACT_##type},
    RP_FACT_MAP(ROW)
#undef ROW
};

/* --- reading ------------------------------------------------------------------------------- */

static bool is_digit_at(const char *at, const char *end) {
    return at < end && isdigit((unsigned char)*at);
}

static bool is_word_at(const char *at, const char *end) {
    return at < end && (isalnum((unsigned char)*at) || *at == '_');
}

/* The end of "x2A" behind a 0; NULL: no hexadecimal number, or one beyond 64 bits. */
static const char *read_hex(const char *at, const char *end, uint64_t *value) {
    if (end - at < 3 || at[0] != '0' || (at[1] | 0x20) != 'x') return NULL;
    const char *from = at += 2;
    uint64_t sum = 0;
    for (; at < end && isxdigit((unsigned char)*at); at++) {
        if (sum >> 60) return NULL;
        int c = tolower((unsigned char)*at);
        sum = sum << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (at == from) return NULL;
    *value = sum;
    return at;
}

/* Whether ",ddd" stands there and no further digit: a comma between thousands. */
static bool is_group_at(const char *at, const char *end) {
    return end - at >= 4 && at[0] == ',' && is_digit_at(at + 1, end) && is_digit_at(at + 2, end) &&
           is_digit_at(at + 3, end) && !is_digit_at(at + 4, end);
}

static bool add_digit(uint64_t *value, char digit) {
    uint64_t tens;
    return !__builtin_mul_overflow(*value, 10, &tens) &&
           !__builtin_add_overflow(tens, (uint64_t)(digit - '0'), value);
}

/* Digits, with commas between thousands: "1,455" but not "1,45" (that is 1) nor "12,345,6". */
static const char *read_digits(const char *at, const char *end, uint64_t *value) {
    if (!is_digit_at(at, end)) return NULL;
    const char *from = at;
    uint64_t sum = 0;
    while (is_digit_at(at, end)) {
        if (!add_digit(&sum, *at++)) return NULL;
    }
    bool may_group = at - from <= 3;
    while (may_group && is_group_at(at, end)) {
        for (at++; is_digit_at(at, end); at++) {
            if (!add_digit(&sum, *at)) return NULL;
        }
    }
    *value = sum;
    return at;
}

/* A number with a point and an exponent: digits * 10^exponent. */
struct decimal {
    uint64_t digits;
    int exponent;
    bool is_plain; /* neither point nor exponent */
};

/* Digits behind a point that no longer fit are dropped. */
static const char *read_fraction(const char *at, const char *end, struct decimal *value) {
    if (at >= end || *at != '.' || !is_digit_at(at + 1, end)) return at;
    value->is_plain = false;
    bool fits = true;
    for (at++; is_digit_at(at, end); at++) {
        uint64_t digits = value->digits;
        fits = fits && add_digit(&digits, *at);
        if (!fits) continue;
        value->digits = digits;
        value->exponent--;
    }
    return at;
}

static const char *read_exponent(const char *at, const char *end, struct decimal *value) {
    if (end - at < 2 || (*at | 0x20) != 'e') return at;
    const char *digits = at + 1 + (at[1] == '+' || at[1] == '-');
    if (!is_digit_at(digits, end)) return at;
    int exponent = 0;
    const char *to = digits;
    for (; is_digit_at(to, end); to++) {
        if (exponent < 1000) exponent = exponent * 10 + (*to - '0');
    }
    value->exponent += at[1] == '-' ? -exponent : exponent;
    value->is_plain = false;
    return to;
}

/* digits * 10^exponent * unit, to the nearest byte; false where it does not fit. */
static bool to_bytes(struct decimal value, uint64_t unit, uint64_t *bytes) {
    uint64_t sum = value.digits;
    for (; value.exponent > 0 && sum > 0; value.exponent--) {
        if (__builtin_mul_overflow(sum, 10, &sum)) return false;
    }
    for (; value.exponent < 0 && unit % 10 == 0; value.exponent++) {
        unit /= 10;
    }
    uint64_t divisor = 1;
    for (; value.exponent < 0 && sum > 0; value.exponent++) {
        /* What a unit of 2^50 cannot lift to a byte is nothing. */
        if (divisor >= 1000000000000000000) sum /= 10;
        if (divisor < 1000000000000000000) divisor *= 10;
    }
    /* In two parts, so that only what truly does not fit overflows. */
    uint64_t whole = sum / divisor;
    uint64_t rest = sum % divisor;
    if (__builtin_mul_overflow(whole, unit, &whole)) return false;
    long double part = (long double)rest * (long double)unit / (long double)divisor;
    return !__builtin_add_overflow(whole, (uint64_t)(part + 0.5L), bytes);
}

/* clang-format off */
static const struct {
    const char *name;
    uint64_t bytes;
    bool is_exact; /* small and capital letters differ: "m" is no megabyte, "Kb" a kilobit */
} units[] = {
    {"bytes", 1, false}, {"byte", 1, false}, {"B", 1, true},
    {"kB", UINT64_C(1) << 10, true}, {"KB", 1000, true}, /* "kB" is the kernel's, who means KiB */
    {"MB", 1000000, true}, {"GB", 1000000000, true},
    {"TB", 1000000000000, true}, {"PB", 1000000000000000, true},
    {"KiB", UINT64_C(1) << 10, false}, {"MiB", UINT64_C(1) << 20, false},
    {"GiB", UINT64_C(1) << 30, false}, {"TiB", UINT64_C(1) << 40, false},
    {"PiB", UINT64_C(1) << 50, false},
    {"Ki", UINT64_C(1) << 10, true}, {"Mi", UINT64_C(1) << 20, true},
    {"Gi", UINT64_C(1) << 30, true}, {"Ti", UINT64_C(1) << 40, true},
    {"K", UINT64_C(1) << 10, true}, {"k", UINT64_C(1) << 10, true},
    {"M", UINT64_C(1) << 20, true}, {"G", UINT64_C(1) << 30, true},
    {"T", UINT64_C(1) << 40, true},
    {"kilobytes", 1000, false}, {"megabytes", 1000000, false}, {"gigabytes", 1000000000, false},
    {"KBytes", 1000, false}, {"MBytes", 1000000, false}, {"GBytes", 1000000000, false},
    {"kbyte", 1000, false}, {"mbyte", 1000000, false}, {"gbyte", 1000000000, false},
    {"mb", 1000000, true}, {"gb", 1000000000, true}, {"Mb", 1000000, true}, {"Gb", 1000000000, true},
};
/* clang-format on */

/* The unit behind a number, perhaps after a space; `at` itself and 1 where there is none. */
static const char *read_unit(const char *at, const char *end, uint64_t *unit) {
    const char *from = at;
    while (from < end && (*from == ' ' || *from == '\t') && from - at < 2) {
        from++;
    }
    const char *to = from;
    while (is_word_at(to, end)) {
        to++;
    }
    size_t length = (size_t)(to - from);
    *unit = 1;
    for (size_t i = 0; i < COUNT(units); i++) {
        bool is_same = strlen(units[i].name) == length &&
                       (units[i].is_exact ? memcmp(units[i].name, from, length)
                                          : strncasecmp(units[i].name, from, length)) == 0;
        if (!is_same) continue;
        *unit = units[i].bytes;
        return to;
    }
    return at;
}

/* "59.32/79.15 GiB": both have the unit of the second. */
static bool read_shared_unit(const char *at, const char *end, uint64_t *unit) {
    struct decimal other = {.is_plain = true};
    if (at >= end || *at != '/') return false;
    const char *to = read_digits(at + 1, end, &other.digits);
    if (!to) return false;
    to = read_fraction(to, end, &other);
    return read_unit(to, end, unit) != to;
}

static const char *read_bytes(const char *at, const char *end, uint64_t *number) {
    uint64_t unit;
    struct decimal value = {.is_plain = true};
    const char *to = read_hex(at, end, &value.digits);
    if (!to) {
        to = read_digits(at, end, &value.digits);
        if (!to) return NULL;
        to = read_exponent(read_fraction(to, end, &value), end, &value);
    }
    const char *whole = read_unit(to, end, &unit);
    if (whole == to && read_shared_unit(to, end, &unit)) {
        return to_bytes(value, unit, number) ? to : NULL;
    }
    /* "1.5" of nothing is no size. */
    if (whole == to && !value.is_plain && value.exponent < 0 && value.digits != 0) return NULL;
    return to_bytes(value, unit, number) ? whole : NULL;
}

static const char *read_number(const char *at, const char *end, uint64_t *number) {
    const char *to = read_hex(at, end, number);
    if (to) return to;
    bool is_negative = at < end && *at == '-';
    uint64_t value;
    to = read_digits(at + is_negative, end, &value);
    if (!to || value > (uint64_t)INT64_MAX) return NULL;
    *number = is_negative ? 0 - value : value;
    return to;
}

/* "rc1", "dev2024", ... at the end of a version; `at` where there is none. */
static const char *read_suffix(const char *at, const char *end) {
    static const char *const words[] = {"rc",      "dev", "post",    "alpha", "beta", "pre",
                                        "preview", "git", "nightly", "a",     "b",    "c"};
    for (size_t i = 0; i < COUNT(words); i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(end - at) < length || strncasecmp(at, words[i], length) != 0) continue;
        const char *to = at + length;
        while (is_digit_at(to, end) ||
               (*words[i] == 'g' && to < end && isxdigit((unsigned char)*to))) {
            to++;
        }
        /* One letter is a suffix only with its number. */
        if (is_word_at(to, end) || (length == 1 && to == at + 1)) continue;
        return to;
    }
    return at;
}

/* "+cu118", "+rocm5.4.2": what a build calls itself; `at` where there is none. */
static const char *read_local(const char *at, const char *end) {
    if (at >= end || *at != '+' || at + 1 >= end || !isalnum((unsigned char)at[1])) return at;
    at++;
    while (at < end && (isalnum((unsigned char)*at) ||
                        (*at == '.' && at + 1 < end && isalnum((unsigned char)at[1])))) {
        at++;
    }
    return at;
}

/* "8, 6)": a version as Python's pairs have it. */
static bool is_pair_at(const char *at, const char *end) {
    while (is_digit_at(at, end)) {
        at++;
    }
    if (end - at < 4 || at[0] != ',' || at[1] != ' ') return false;
    for (at += 2; is_digit_at(at, end);) {
        at++;
    }
    return at < end && *at == ')' && isdigit((unsigned char)at[-1]);
}

static const char *read_version(const char *at, const char *end) {
    if (at < end && (*at == 'v' || *at == 'V')) at++;
    if (!is_digit_at(at, end)) return NULL;
    if (is_pair_at(at, end)) return memchr(at, ')', (size_t)(end - at));
    while (is_digit_at(at, end)) {
        at++;
        if (at < end && *at == '.' && is_digit_at(at + 1, end)) at++;
    }
    /* "3.20.x" */
    if (end - at >= 2 && *at == '.' && (at[1] | 0x20) == 'x' && !is_word_at(at + 2, end)) {
        return at + 2;
    }
    for (int i = 0; i < 2; i++) { /* "2.0.0rc1.dev5" */
        bool is_joined =
            end - at >= 2 && (*at == '.' || *at == '-') && isalpha((unsigned char)at[1]);
        const char *to = read_suffix(at + is_joined, end);
        if (to == at + is_joined) break;
        at = to;
    }
    return read_local(at, end);
}

static bool is_slash(char c) {
    return c == '/' || c == '\\';
}

static bool ends_path(char c) {
    return c == ' ' || c == '\t' || c == '\0' || strchr("'\"`<>,;()[]{}|", c) != NULL;
}

/* Whether a path goes on behind the space at `at`: one more word, and a slash in its middle. */
static bool goes_on(const char *line, size_t length, size_t at) {
    if (line[at] != ' ' || at + 1 >= length || !isalnum((unsigned char)line[at + 1])) return false;
    for (at += 2; at < length && !ends_path(line[at]); at++) {
        if (line[at] == ':') return false;
        if (is_slash(line[at])) return true;
    }
    return false;
}

size_t rp_fact_path_end(const char *line, size_t length, size_t at) {
    enum { PATH_BYTES_MAX = 300 };
    size_t end = at;
    bool has_slash = false;
    bool has_ending = false; /* a name with a point behind the last slash is a file's */
    while (end < length && end - at < PATH_BYTES_MAX) {
        char c = line[end];
        if (is_slash(c)) has_ending = false;
        if (c == '.') has_ending = true;
        has_slash = has_slash || is_slash(c);
        bool is_inside =
            !ends_path(c) || (has_slash && !has_ending && end > at && goes_on(line, length, end));
        if (!is_inside) break;
        end++;
    }
    while (end > at && strchr(".:!?", line[end - 1])) {
        end--;
    }
    return end;
}

const char *rp_fact_read(enum rp_fact_type type, const char *at, const char *end,
                         uint64_t *number) {
    uint64_t value = 0;
    const char *to = NULL;
    if (type == RP_FACT_BYTES) to = read_bytes(at, end, &value);
    if (type == RP_FACT_NUMBER) to = read_number(at, end, &value);
    if (type == RP_FACT_VERSION) to = read_version(at, end);
    if (to) *number = value;
    return to;
}

/* --- names and keeping --------------------------------------------------------------------- */

const char *rp_fact_name_text(enum rp_fact_name name) {
    return rows[name].name;
}

enum rp_fact_type rp_fact_type_of(enum rp_fact_name name) {
    return rows[name].type;
}

enum rp_fact_name rp_fact_name_of_text(const char *text, size_t length) {
    for (int i = 0; i < RP_FACT_NAME_COUNT; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, text, length) == 0) {
            return (enum rp_fact_name)i;
        }
    }
    return RP_FACT_NAME_NONE;
}

static bool has_number(enum rp_fact_name name) {
    return rows[name].type == RP_FACT_BYTES || rows[name].type == RP_FACT_NUMBER;
}

static bool is_same(const struct rp_fact *a, const struct rp_fact *b) {
    if (a->name != b->name) return false;
    return has_number(a->name) ? a->number == b->number : strcmp(a->text, b->text) == 0;
}

/* Whether `a` is worth more than `b`: what was read beats what was derived from it. */
static bool is_heavier(const struct rp_fact *a, const struct rp_fact *b) {
    if (a->weight != b->weight) return a->weight > b->weight;
    return !a->is_derived && b->is_derived;
}

static void remove_at(struct rp_facts *facts, size_t index) {
    facts->count--;
    memmove(&facts->rows[index], &facts->rows[index + 1],
            (facts->count - index) * sizeof facts->rows[0]);
}

void rp_facts_remove(struct rp_facts *facts, enum rp_fact_name name, uint64_t start) {
    for (size_t i = facts->count; i-- > 0;) {
        if (facts->rows[i].name == name && facts->rows[i].start == start) remove_at(facts, i);
    }
}

/* The lightest, if one of them is not what rp_facts_find() gives then that one, the earliest. */
static size_t dispensable(const struct rp_facts *facts) {
    size_t found = 0;
    bool is_hidden = false;
    for (size_t i = 0; i < facts->count; i++) {
        const struct rp_fact *row = &facts->rows[i];
        bool hidden = rp_facts_find(facts, row->name) != row;
        bool lighter = is_heavier(&facts->rows[found], row);
        bool equal = !lighter && !is_heavier(row, &facts->rows[found]);
        if (i == 0 || lighter || (equal && hidden && !is_hidden)) {
            found = i;
            is_hidden = hidden;
        }
    }
    return found;
}

/* Whether such a fact is one name, around which a message may have put brackets and quotes. */
static bool is_name(enum rp_fact_name name) {
    switch (name) {
    case RP_FACT_NAME_OPERATOR:
    case RP_FACT_NAME_NODE:
    case RP_FACT_NAME_DTYPE:
    case RP_FACT_NAME_DTYPE_EXPECTED:
    case RP_FACT_NAME_LIBRARY:
    case RP_FACT_NAME_SYMBOL:
    case RP_FACT_NAME_PACKAGE:
    case RP_FACT_NAME_PACKAGE_OTHER:
    case RP_FACT_NAME_ARCHITECTURE:
    case RP_FACT_NAME_MODEL:
    case RP_FACT_NAME_FILE:
    case RP_FACT_NAME_FOLDER:
        return true;
    default:
        return false;
    }
}

static void cut_front(struct rp_fact *fact, size_t count) {
    memmove(fact->text, fact->text + count, strlen(fact->text + count) + 1);
    fact->start += count;
}

static void cut_back(struct rp_fact *fact, size_t length) {
    fact->end -= strlen(fact->text) - length;
    fact->text[length] = '\0';
}

/* "\'aten::roll\'", "(gru)": the name alone. A bracket that closes one of the name's own stays. */
static void strip_quotes(struct rp_fact *fact) {
    bool is_escaped = false;
    for (size_t length; (length = strlen(fact->text)) > 1;) {
        char first = fact->text[0];
        char last = fact->text[length - 1];
        if (first == '\\' && strchr("'\"", fact->text[1])) {
            is_escaped = true;
            cut_front(fact, 1);
        } else if (first == '\'' || first == '"' ||
                   (first == '(' && strchr(fact->text, ')') == fact->text + length - 1)) {
            cut_front(fact, 1);
        } else if (strchr("'\",;", last) || (last == '\\' && is_escaped) ||
                   (last == ')' && !strchr(fact->text, '('))) {
            cut_back(fact, length - 1);
        } else {
            return;
        }
    }
}

/* "D:\\\\models\\\\a.gguf", as Python quotes it. */
static void join_backslashes(char *text) {
    if (!isalpha((unsigned char)text[0]) || strncmp(text + 1, ":\\\\", 3) != 0) return;
    char *out = text;
    for (const char *at = text; *at; at++) {
        *out++ = *at;
        if (at[0] == '\\' && at[1] == '\\') at++;
    }
    *out = '\0';
}

/* The quote around the whole message, or the point of its sentence, of which the fact is the end.
 */
static void strip_lone_end(struct rp_fact *fact) {
    size_t length = strlen(fact->text);
    if (length < 2 || !strchr("'\"`.", fact->text[length - 1])) return;
    if (strchr(fact->text, fact->text[length - 1]) != fact->text + length - 1) return;
    cut_back(fact, length - 1);
}

/* "v4.31.0" and "4.31.0" are one version, and only the latter compares; the operator of
 * "Conv_0:Conv" and of "com.microsoft:Conv" is Conv, that of "aten::conv2d" has its own colons. */
static void tidy_text(struct rp_fact *fact) {
    if (is_name(fact->name)) strip_quotes(fact);
    if (rows[fact->name].type == RP_FACT_PATH) join_backslashes(fact->text);
    if (rows[fact->name].type == RP_FACT_TEXT) strip_lone_end(fact);
    const char *text = fact->text;
    if (rows[fact->name].type == RP_FACT_VERSION && (text[0] | 0x20) == 'v') text++;
    const char *colon = strrchr(text, ':');
    if (fact->name == RP_FACT_NAME_OPERATOR && colon && colon > text && colon[-1] != ':' &&
        colon[1] != '\0' && colon[1] != '/') {
        text = colon + 1;
    }
    /* The C++ side's "_index_select" is the operator's private half. */
    if (fact->name == RP_FACT_NAME_OPERATOR && !strchr(text, ':')) {
        size_t marks = strspn(text, "_");
        text += text[marks] ? marks : 0;
    }
    memmove(fact->text, text, strlen(text) + 1);
    char *comma = rows[fact->name].type == RP_FACT_VERSION ? strstr(fact->text, ", ") : NULL;
    if (comma) {
        *comma = '.';
        memmove(comma + 1, comma + 2, strlen(comma + 2) + 1);
    }
    bool is_type = fact->name == RP_FACT_NAME_DTYPE || fact->name == RP_FACT_NAME_DTYPE_EXPECTED;
    if (is_type && strncmp(fact->text, "c10::", 5) == 0 && fact->text[5]) {
        memmove(fact->text, fact->text + 5, strlen(fact->text + 5) + 1);
    }
    /* "torch==2.1", "pillow[heic]" */
    if (fact->name == RP_FACT_NAME_PACKAGE) fact->text[strcspn(fact->text, "=<>!~[;")] = '\0';
}

/* Words that stand where a message could have a name, and are none. */
static bool is_plain_word(const char *text) {
    static const char *const words[] = {
        "a",       "an",       "the",   "this",      "that",      "these",    "it",    "its",
        "your",    "our",      "and",   "or",        "of",        "for",      "from",  "to",
        "in",      "on",       "at",    "with",      "by",        "as",       "is",    "are",
        "was",     "not",      "no",    "none",      "null",      "nan",      "any",   "all",
        "some",    "one",      "first", "latest",    "both",      "other",    "only",  "version",
        "package", "path",     "file",  "module",    "following", "type",     "error", "unknown",
        "correct", "required", "them",  "undefined", "which",     "compiled", "disk",  "local",
        "memory",  "cache",    "host",  "backend",   "library",   "shared",   "model"};
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcasecmp(text, words[i]) == 0) return true;
    }
    return false;
}

/* "Operation", as in "Operation not permitted". */
static bool is_capitalised_word(const char *text) {
    if (!isupper((unsigned char)*text) || !islower((unsigned char)text[1])) return false;
    for (text++; *text; text++) {
        if (!islower((unsigned char)*text)) return false;
    }
    return true;
}

/* A part of every name of a number type, of any library. */
static bool is_dtype(const char *text) {
    if (strpbrk(text, "/-") && !strcasestr(text, "mixed")) return false; /* "shader-f16" */
    if (strcasestr(text, "texture") || strcasestr(text, "buffer") || strcasestr(text, "array")) {
        return false;
    }
    static const char *const parts[] = {
        "float", "half", "double", "int",  "bool", "byte", "char",  "short",  "long", "complex",
        "fp",    "bf16", "f16",    "f32",  "f64",  "f8",   "i8",    "u8",     "i16",  "u16",
        "i32",   "u32",  "i64",    "u64",  "i4",   "nf4",  "q4",    "q5",     "q6",   "q8",
        "iq",    "q2",   "q3",     "e4m3", "e5m2", "str",  "quant", "object", "tf32", "mixed"};
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (strcasestr(text, parts[i])) return true;
    }
    return false;
}

static bool is_signal(const char *text) {
    static const char *const words[] = {"killed",  "segmentation", "bus",       "aborted",
                                        "illegal", "floating",     "terminated"};
    if (isdigit((unsigned char)*text) || strncmp(text, "SIG", 3) == 0) return true;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcasecmp(text, words[i]) == 0) return true;
    }
    return false;
}

static bool has_letter(const char *text) {
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || (unsigned char)*text > 127) return true;
    }
    return false;
}

/* A word behind "signal" or a number behind "returned error:" is not always what it seems. */
static bool is_credible(const struct rp_fact *fact) {
    if (is_name(fact->name) && (!has_letter(fact->text) || is_plain_word(fact->text))) return false;
    switch (fact->name) {
    case RP_FACT_NAME_SIGNAL:
        return is_signal(fact->text);
    case RP_FACT_NAME_HTTP_STATUS:
        return fact->number >= 100 && fact->number < 600;
    case RP_FACT_NAME_DTYPE:
    case RP_FACT_NAME_DTYPE_EXPECTED:
        return is_dtype(fact->text);
    case RP_FACT_NAME_FILE:
    case RP_FACT_NAME_FOLDER:
        return !is_capitalised_word(fact->text) && !strstr(fact->text, "' ");
    case RP_FACT_NAME_PACKAGE:
    case RP_FACT_NAME_PACKAGE_OTHER:
        return (isalnum((unsigned char)fact->text[0]) || strchr("_@", fact->text[0])) &&
               !strchr(fact->text, '\\') && strcmp(fact->text, "__main__") != 0;
    case RP_FACT_NAME_PROCESS:
        return !strpbrk(fact->text, "=$") && !is_plain_word(fact->text);
    case RP_FACT_NAME_DEVICE_INDEX:
        return fact->number < 4096;
    default:
        return true;
    }
}

void rp_facts_add(struct rp_facts *facts, const struct rp_fact *fact) {
    struct rp_fact new = *fact;
    new.text[RP_FACT_TEXT_MAX - 1] = '\0';
    tidy_text(&new);
    if (!is_credible(&new)) return;
    for (size_t i = 0; i < facts->count; i++) {
        if (!is_same(&facts->rows[i], &new)) continue;
        if (is_heavier(&facts->rows[i], &new)) return;
        remove_at(facts, i);
        break;
    }
    if (facts->count == RP_FACTS_KEPT) {
        size_t index = dispensable(facts);
        if (is_heavier(&facts->rows[index], &new)) return;
        remove_at(facts, index);
    }
    facts->rows[facts->count++] = new;
}

const struct rp_fact *rp_facts_find(const struct rp_facts *facts, enum rp_fact_name name) {
    const struct rp_fact *found = NULL;
    for (size_t i = 0; i < facts->count; i++) {
        const struct rp_fact *row = &facts->rows[i];
        if (row->name != name || (found && is_heavier(found, row))) continue;
        if (found && !is_heavier(row, found) && row->start < found->start) continue;
        found = row;
    }
    return found;
}
