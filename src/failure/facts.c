/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts: their names, how figures are read, which are kept, and what follows from them.
 *
 * Figures are read without the C library's help: its readers follow the locale, skip what stands
 * before a number and know no commas.
 */
#include "failure/facts.h"

#include "failure/codes.h"
#include "failure/versions.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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
    {"kB", 1000, true}, {"KB", 1000, true},
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

static const char *read_version(const char *at, const char *end) {
    if (at < end && (*at == 'v' || *at == 'V')) at++;
    if (!is_digit_at(at, end)) return NULL;
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

/* "v4.31.0" and "4.31.0" are one version, and only the latter compares; the operator of
 * "Conv_0:Conv" and of "com.microsoft:Conv" is Conv, that of "aten::conv2d" has its own colons. */
static void tidy_text(struct rp_fact *fact) {
    const char *text = fact->text;
    if (rows[fact->name].type == RP_FACT_VERSION && (text[0] | 0x20) == 'v') text++;
    const char *colon = strrchr(text, ':');
    if (fact->name == RP_FACT_NAME_OPERATOR && colon && colon > text && colon[-1] != ':' &&
        colon[1] != '\0') {
        text = colon + 1;
    }
    memmove(fact->text, text, strlen(text) + 1);
    /* "torch==2.1", "pillow[heic]" */
    if (fact->name == RP_FACT_NAME_PACKAGE) fact->text[strcspn(fact->text, "=<>!~[;")] = '\0';
}

/* A word behind "signal" or a number behind "returned error:" is not always what it seems. */
static bool is_credible(const struct rp_fact *fact) {
    switch (fact->name) {
    case RP_FACT_NAME_SIGNAL:
        return isdigit((unsigned char)fact->text[0]) || strncmp(fact->text, "SIG", 3) == 0 ||
               strcasecmp(fact->text, "killed") == 0;
    case RP_FACT_NAME_HTTP_STATUS:
        return fact->number >= 100 && fact->number < 600;
    default:
        return true;
    }
}

void rp_facts_add(struct rp_facts *facts, const struct rp_fact *fact) {
    struct rp_fact new = *fact;
    new.text[RP_FACT_TEXT_MAX - 1] = '\0';
    if (!is_credible(&new)) return;
    tidy_text(&new);
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

/* --- decoding ------------------------------------------------------------------------------ */

/* Add what follows from `from`. NULL: nothing does. A name that was read in the text as strongly
 * stays what the text says. */
static void derive(struct rp_facts *facts, const struct rp_fact *from, enum rp_fact_name name,
                   const char *text) {
    if (!text) return;
    struct rp_fact fact = {.name = name,
                           .is_derived = true,
                           .start = from->start,
                           .end = from->end,
                           .weight = from->weight};
    snprintf(fact.text, sizeof fact.text, "%s", text);
    rp_facts_add(facts, &fact);
}

static void derive_bytes(struct rp_facts *facts, const struct rp_fact *from, enum rp_fact_name name,
                         uint64_t bytes) {
    struct rp_fact fact = *from;
    fact.name = name;
    fact.is_derived = true;
    fact.number = bytes;
    snprintf(fact.text, sizeof fact.text, "%llu bytes", (unsigned long long)bytes);
    rp_facts_add(facts, &fact);
}

/* What an allocator keeps for later: PyTorch before 2.0 told what it holds, used or not. */
static void decode_reserved_total(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *used = rp_facts_find(facts, RP_FACT_NAME_BYTES_USED);
    if (!used || used->number > fact->number) return;
    derive_bytes(facts, fact, RP_FACT_NAME_BYTES_RESERVED, fact->number - used->number);
}

/* Apple's GPUs share main memory: what is free is what the limit leaves. */
static void decode_others(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *limit = rp_facts_find(facts, RP_FACT_NAME_BYTES_LIMIT);
    const struct rp_fact *used = rp_facts_find(facts, RP_FACT_NAME_BYTES_USED);
    if (!limit || !used || used->number > limit->number) return;
    uint64_t left = limit->number - used->number;
    derive_bytes(facts, limit, RP_FACT_NAME_BYTES_FREE,
                 fact->number < left ? left - fact->number : 0);
}

/* 12040: "12.4"; what was never a version of CUDA, such as cuDNN's 8907 or 90100, is none. */
static const char *cuda_of_code(int64_t code, char text[24]) {
    if (code < 1000 || code > 30000 || code % 10 != 0 || code % 1000 > 200) return NULL;
    snprintf(text, 24, "%d.%d", (int)(code / 1000), (int)(code % 1000 / 10));
    return text;
}

/* 8907: "8.9.7"; since cuDNN 9 90100: "9.1.0". */
static const char *cudnn_of_code(int64_t code, char text[24]) {
    if (code < 1000 || code > 10000000) return NULL;
    int hundreds = (int)(code / 100);
    int major = code < 10000 ? hundreds / 10 : hundreds / 100;
    int minor = code < 10000 ? hundreds % 10 : hundreds % 100;
    snprintf(text, 24, "%d.%d.%d", major, minor, (int)(code % 100));
    return text;
}

static void decode_cuda_code(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_MAX, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cuda);
}

static void decode_cuda_code_runtime(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_VERSION, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cuda);
}

static void decode_cuda_code_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    const char *cuda = cuda_of_code((int64_t)fact->number, text);
    derive(facts, fact, RP_FACT_NAME_CUDA_NEEDED, cuda);
    derive(facts, fact, RP_FACT_NAME_VERSION_NEEDED, cuda);
}

static void decode_cudnn_code(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    derive(facts, fact, RP_FACT_NAME_VERSION_FOUND, cudnn_of_code((int64_t)fact->number, text));
}

static void decode_cudnn_code_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    derive(facts, fact, RP_FACT_NAME_VERSION_NEEDED, cudnn_of_code((int64_t)fact->number, text));
}

static void decode_driver(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_cuda_release *release = rp_cuda_release_of_driver(fact->text);
    if (release) derive(facts, fact, RP_FACT_NAME_CUDA_MAX, release->cuda);
}

static void decode_cuda_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_cuda_release *release = rp_cuda_release_of(fact->text);
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN, release->driver);
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN_WINDOWS, release->driver_windows);
    derive(facts, fact, RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, release->driver_compatible);
}

/* What is installed needs its driver too, unless the text says what is needed. */
static void decode_cuda_version(struct rp_facts *facts, const struct rp_fact *fact) {
    if (!rp_facts_find(facts, RP_FACT_NAME_CUDA_NEEDED)) decode_cuda_needed(facts, fact);
}

static void derive_chip(struct rp_facts *facts, const struct rp_fact *fact,
                        const struct rp_chip *chip) {
    derive(facts, fact, RP_FACT_NAME_CHIP_NAME, chip->products);
    derive(facts, fact, RP_FACT_NAME_CHIP_CUDA_FIRST, chip->cuda_first);
    derive(facts, fact, RP_FACT_NAME_CHIP_CUDA_LAST, chip->cuda_last);
    derive(facts, fact, RP_FACT_NAME_HSA_OVERRIDE, chip->hsa_override);
}

/* 520: "sm_52". */
static void decode_cuda_arch(struct rp_facts *facts, const struct rp_fact *fact) {
    char text[24];
    if (fact->number < 200 || fact->number > 9999) return;
    snprintf(text, sizeof text, "sm_%u", (unsigned)(fact->number / 10));
    derive(facts, fact, RP_FACT_NAME_CHIP, text);
}

static void decode_chip(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_chip *chip = rp_chip_of_name(fact->text);
    if (!chip) return;
    derive_chip(facts, fact, chip);
    derive(facts, fact, RP_FACT_NAME_COMPUTE, chip->compute);
}

/* PyTorch has a compute capability for AMD's chips too: gfx1030's is 10.3, which is no sm_103. */
static void decode_compute(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_fact *named = rp_facts_find(facts, RP_FACT_NAME_CHIP);
    const struct rp_chip *chip = rp_chip_of_compute(fact->text);
    if (!chip || (named && strncmp(named->text, "gfx", 3) == 0)) return;
    derive_chip(facts, fact, chip);
    derive(facts, fact, RP_FACT_NAME_CHIP, chip->name);
}

static void decode_compute_needed(struct rp_facts *facts, const struct rp_fact *fact) {
    const struct rp_chip *chip = rp_chip_of_compute(fact->text);
    if (chip) derive(facts, fact, RP_FACT_NAME_CHIP_NAME_NEEDED, chip->products);
}

static void derive_onnx(struct rp_facts *facts, const struct rp_fact *fact,
                        const struct rp_onnx_release *release) {
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_ONNX_NEEDED, release->onnx);
    derive(facts, fact, RP_FACT_NAME_ONNXRUNTIME_NEEDED, release->onnxruntime);
}

static void decode_opset(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_onnx(facts, fact, rp_onnx_of_opset((int64_t)fact->number));
}

static void decode_ir(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_onnx(facts, fact, rp_onnx_of_ir((int64_t)fact->number));
}

static void decode_glibc(struct rp_facts *facts, const struct rp_fact *fact) {
    derive(facts, fact, RP_FACT_NAME_SYSTEMS_NEEDED, rp_systems_of_glibc(fact->text));
}

static void derive_gcc(struct rp_facts *facts, const struct rp_fact *fact,
                       const struct rp_gcc_release *release) {
    if (!release) return;
    derive(facts, fact, RP_FACT_NAME_GCC_NEEDED, release->gcc);
    derive(facts, fact, RP_FACT_NAME_SYSTEMS_NEEDED, release->systems);
}

static void decode_glibcxx(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_gcc(facts, fact, rp_gcc_of_glibcxx(fact->text));
}

static void decode_cxxabi(struct rp_facts *facts, const struct rp_fact *fact) {
    derive_gcc(facts, fact, rp_gcc_of_cxxabi(fact->text));
}

/* A status of Windows in any of its clothes: 0xC0000005, 3221225477, -1073741819; a small number is
 * one of GetLastError(). */
static const char *windows_name(int64_t number) {
    if (number >= 0 && number < 65536) return rp_code_name(RP_CODE_WINDOWS, number);
    if (number < INT32_MIN || number > (int64_t)UINT32_MAX) return NULL;
    int64_t status = (int64_t)(uint32_t)number;
    const char *name = rp_code_name(RP_CODE_NTSTATUS, status);
    return name ? name : rp_code_name(RP_CODE_HRESULT, status);
}

/* A shell says 128 + n of a program that signal n ended, Python's subprocess -n, Windows a status.
 */
static void decode_exit_code(struct rp_facts *facts, const struct rp_fact *fact) {
    int64_t code = (int64_t)fact->number;
    int64_t number = code > 128 && code < 193 ? code - 128 : code < 0 && code > -65 ? -code : 0;
    derive(facts, fact, RP_FACT_NAME_SIGNAL, rp_code_name(RP_CODE_SIGNAL, number));
    if (code < -65 || code > 65535) {
        derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name(code));
    }
}

/* The name takes the number's place: nobody wants to hear of signal 11 twice. */
static void decode_signal(struct rp_facts *facts, const struct rp_fact *fact) {
    const char *end = fact->text + strlen(fact->text);
    uint64_t number = 0;
    if (strcasecmp(fact->text, "killed") == 0) {
        number = 9;
    } else if (read_number(fact->text, end, &number) != end) {
        return;
    }
    const char *name = rp_code_name(RP_CODE_SIGNAL, (int64_t)number);
    for (size_t i = 0; name && i < facts->count; i++) {
        if (!is_same(&facts->rows[i], fact)) continue;
        remove_at(facts, i);
        derive(facts, fact, RP_FACT_NAME_SIGNAL, name);
        return;
    }
}

/* Rust's "os error 1455" is errno's on Linux and GetLastError()'s on Windows. */
static void decode_errno(struct rp_facts *facts, const struct rp_fact *fact) {
    if (fact->number < 134) return;
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name((int64_t)fact->number));
}

static void decode_windows_error(struct rp_facts *facts, const struct rp_fact *fact) {
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, windows_name((int64_t)fact->number));
}

/*
 * A number whose library the pattern did not tell. Only ranges that one library has to itself: a
 * status of Windows, CUDA from 100 on, QNN. A name of the library's own is its name.
 */
static void decode_error_code(struct rp_facts *facts, const struct rp_fact *fact) {
    const char *end = fact->text + strlen(fact->text);
    uint64_t number;
    if (strspn(fact->text, "0123456789abcdefABCDEF") == 8 && end - fact->text == 8) {
        char hex[16]; /* "887A0005", as DirectML says it */
        snprintf(hex, sizeof hex, "0x%.8s", fact->text);
        derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME,
               read_hex(hex, hex + 10, &number) ? windows_name((int64_t)number) : NULL);
        return;
    }
    if (read_number(fact->text, end, &number) != end) return;
    int64_t code = (int64_t)number;
    const char *name = NULL;
    if (code >= 100 && code < 1000) name = rp_code_name(RP_CODE_CUDA, code);
    if (code >= 3000 && code < 65536) name = rp_code_name(RP_CODE_QNN, code);
    if (!name && strncasecmp(fact->text, "0x10", 4) == 0) name = rp_code_name(RP_CODE_HSA, code);
    if (!name && (code > 65535 || code < -100000)) name = windows_name(code);
    if (!name && code >= 0x70000000) name = rp_code_name(RP_CODE_LEVEL_ZERO, code);
    if (!name && code <= -1000000000) name = rp_code_name(RP_CODE_VULKAN, code);
    derive(facts, fact, RP_FACT_NAME_ERROR_CODE_NAME, name);
}

/* In an order in which what is derived is there when something follows from it. */
static const struct {
    enum rp_fact_name name;
    void (*decode)(struct rp_facts *facts, const struct rp_fact *fact);
} decoders[] = {
    {RP_FACT_NAME_BYTES_RESERVED_TOTAL, decode_reserved_total},
    {RP_FACT_NAME_BYTES_OTHERS, decode_others},
    {RP_FACT_NAME_CUDA_CODE, decode_cuda_code},
    {RP_FACT_NAME_CUDA_CODE_RUNTIME, decode_cuda_code_runtime},
    {RP_FACT_NAME_CUDA_CODE_NEEDED, decode_cuda_code_needed},
    {RP_FACT_NAME_CUDNN_CODE, decode_cudnn_code},
    {RP_FACT_NAME_CUDNN_CODE_NEEDED, decode_cudnn_code_needed},
    {RP_FACT_NAME_DRIVER_VERSION, decode_driver},
    {RP_FACT_NAME_CUDA_NEEDED, decode_cuda_needed},
    {RP_FACT_NAME_CUDA_VERSION, decode_cuda_version},
    {RP_FACT_NAME_CUDA_ARCH, decode_cuda_arch},
    {RP_FACT_NAME_CHIP, decode_chip},
    {RP_FACT_NAME_COMPUTE, decode_compute},
    {RP_FACT_NAME_COMPUTE_NEEDED, decode_compute_needed},
    {RP_FACT_NAME_OPSET_FOUND, decode_opset},
    {RP_FACT_NAME_IR_VERSION, decode_ir},
    {RP_FACT_NAME_GLIBC_NEEDED, decode_glibc},
    {RP_FACT_NAME_GLIBCXX_NEEDED, decode_glibcxx},
    {RP_FACT_NAME_CXXABI_NEEDED, decode_cxxabi},
    {RP_FACT_NAME_SIGNAL, decode_signal},
    {RP_FACT_NAME_EXIT_CODE, decode_exit_code},
    {RP_FACT_NAME_ERRNO, decode_errno},
    {RP_FACT_NAME_WINDOWS_ERROR, decode_windows_error},
    {RP_FACT_NAME_ERROR_CODE, decode_error_code},
};

/* Numbers that are only looked up. */
static const struct {
    enum rp_fact_name name;
    enum rp_fact_name derived;
    enum rp_code_kind kind;
} names[] = {
    {RP_FACT_NAME_CUDA_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUDA},
    {RP_FACT_NAME_HIP_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_HIP},
    {RP_FACT_NAME_HSA_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_HSA},
    {RP_FACT_NAME_NCCL_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_NCCL},
    {RP_FACT_NAME_CUDNN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUDNN},
    {RP_FACT_NAME_CUBLAS_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_CUBLAS},
    {RP_FACT_NAME_OPENCL_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_OPENCL},
    {RP_FACT_NAME_VULKAN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_VULKAN},
    {RP_FACT_NAME_LEVEL_ZERO_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_LEVEL_ZERO},
    {RP_FACT_NAME_QNN_ERROR, RP_FACT_NAME_ERROR_CODE_NAME, RP_CODE_QNN},
    {RP_FACT_NAME_ERRNO, RP_FACT_NAME_ERRNO_NAME, RP_CODE_ERRNO},
    {RP_FACT_NAME_HTTP_STATUS, RP_FACT_NAME_HTTP_TEXT, RP_CODE_HTTP},
    {RP_FACT_NAME_XID, RP_FACT_NAME_XID_TEXT, RP_CODE_XID},
};

/* Of each name only the weightiest is decoded; a copy, since adding moves the rows. */
void rp_facts_decode(struct rp_facts *facts) {
    for (size_t i = 0; i < COUNT(decoders); i++) {
        const struct rp_fact *fact = rp_facts_find(facts, decoders[i].name);
        if (!fact) continue;
        struct rp_fact copy = *fact;
        decoders[i].decode(facts, &copy);
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct rp_fact *fact = rp_facts_find(facts, names[i].name);
        if (!fact) continue;
        struct rp_fact copy = *fact;
        derive(facts, &copy, names[i].derived, rp_code_name(names[i].kind, (int64_t)copy.number));
    }
}
