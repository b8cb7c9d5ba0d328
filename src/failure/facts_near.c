/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a number means by the words beside it: "needs 4 GiB", "2 GiB left", "8.6 or newer", "GPU 1".
 * Messages that no pattern knows say such things in few ways. A number with no such word beside it
 * is left alone: no size is better than a wrong one.
 */
#include "failure/facts_near.h"

#include "failure/facts_line.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* --- sizes --------------------------------------------------------------------------------- */

/* HAS: free, unless another is said to be; THAN: the other side of what comes before it. */
enum size_role { SIZE_NONE, ASKED, MUST, FREE, HAS, TOTAL, LIMIT, USED, THAN };

/* "tried to allocate", "at most" */
static const struct rp_fact_role before_sizes[] = {
    {"allocate", ASKED},  {"allocating", ASKED},   {"allocation", ASKED}, {"requested", ASKED},
    {"request", ASKED},   {"requesting", ASKED},   {"requests", ASKED},   {"reserve", ASKED},
    {"reserving", ASKED}, {"asked", ASKED},        {"asks", ASKED},       {"tried", ASKED},
    {"trying", ASKED},    {"attempted", ASKED},    {"attempting", ASKED}, {"takes", ASKED},
    {"growing", ASKED},   {"grow", ASKED},         {"map", ASKED},        {"mmap", ASKED},
    {"size", ASKED},      {"buffer", ASKED},       {"tensor", ASKED},     {"demand", ASKED},
    {"obtain", ASKED},    {"commit", ASKED},       {"pin", ASKED},        {"wanted", ASKED},
    {"needs", MUST},      {"need", MUST},          {"needed", MUST},      {"needing", MUST},
    {"requires", MUST},   {"require", MUST},       {"required", MUST},    {"requiring", MUST},
    {"least", MUST},      {"want", MUST},          {"wants", MUST},       {"estimated", MUST},
    {"free", FREE},       {"available", FREE},     {"avail", FREE},       {"remaining", FREE},
    {"left", FREE},       {"only", HAS},           {"have", HAS},         {"has", HAS},
    {"leaving", FREE},    {"remains", FREE},       {"total", TOTAL},      {"capacity", TOTAL},
    {"physical", TOTAL},  {"installed", TOTAL},    {"limit", LIMIT},      {"maximum", LIMIT},
    {"max", LIMIT},       {"budget", LIMIT},       {"cap", LIMIT},        {"quota", LIMIT},
    {"allowed", LIMIT},   {"threshold", LIMIT},    {"most", LIMIT},       {"exceeds", LIMIT},
    {"exceed", LIMIT},    {"exceeding", LIMIT},    {"exceeded", LIMIT},   {"over", LIMIT},
    {"used", USED},       {"using", USED},         {"uses", USED},        {"usage", USED},
    {"allocated", USED},  {"occupied", USED},      {"consumed", USED},    {"consumes", USED},
    {"consuming", USED},  {"rss", USED},           {"holding", USED},     {"holds", USED},
    {"than", THAN},       {"reserved", SIZE_NONE},
};

/* "4 GiB required", "4 GiB exceeds" */
static const struct rp_fact_role after_sizes[] = {
    {"required", ASKED}, {"needed", ASKED},   {"requested", ASKED}, {"necessary", ASKED},
    {"asked", ASKED},    {"exceeds", ASKED},  {"exceed", ASKED},    {"larger", ASKED},
    {"greater", ASKED},  {"bigger", ASKED},   {"over", ASKED},      {"wanted", ASKED},
    {"free", FREE},      {"available", FREE}, {"left", FREE},       {"remaining", FREE},
    {"remain", FREE},    {"remains", FREE},   {"avail", FREE},      {"unused", FREE},
    {"total", TOTAL},    {"capacity", TOTAL}, {"installed", TOTAL}, {"limit", LIMIT},
    {"maximum", LIMIT},  {"max", LIMIT},      {"allowed", LIMIT},   {"budget", LIMIT},
    {"cap", LIMIT},      {"quota", LIMIT},    {"used", USED},       {"use", USED},
    {"allocated", USED}, {"occupied", USED},  {"consumed", USED},
};

/* Words between a size and what it is of. */
static bool is_filler(const struct rp_fact_token *token) {
    static const char *const words[] = {
        "of",   "memory", "is",     "are", "was",  "were",  "vram",     "ram",   "gpu",
        "host", "video",  "device", "in",  "disk", "space", "swap",     "being", "already",
        "were", "still",  "system", "hbm", "to",   "be",    "currently"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

struct size {
    const char *at;
    const char *end;
    size_t first; /* token */
    size_t next;  /* the first token behind it */
    int role;
};

static bool ends_malloc(const struct rp_fact_token *token) {
    return token->length >= 5 && strncasecmp(token->at + token->length - 5, "alloc", 5) == 0;
}

/* A size says so by its unit: "GiB", "MB", "bytes", "24G"; "7B" is a model's, "16k" its context. */
static bool has_unit(const char *at, const char *end) {
    const char *unit = at;
    while (unit < end && (isdigit((unsigned char)*unit) || strchr(".,", *unit))) {
        unit++;
    }
    while (unit < end && isspace((unsigned char)*unit)) {
        unit++;
    }
    size_t length = (size_t)(end - unit);
    if (length == 1) return strchr("GMT", *unit) != NULL;
    return length > 1 && isalpha((unsigned char)*unit) && isalpha((unsigned char)unit[1]);
}

static bool read_size(const struct rp_fact_line *line, size_t i, struct size *size) {
    enum { BARE_DIGITS_MIN = 7 }; /* a bare number of so many may be one of bytes */
    const struct rp_fact_token *token = &line->tokens[i];
    const char *end = line->text + line->length;
    uint64_t number = 0;
    if (!isdigit((unsigned char)*token->at) || token->before == '-') return false;
    const char *to = rp_fact_read(RP_FACT_BYTES, token->at, end, &number);
    if (!to || number == 0) return false;
    if (to < end && (isalnum((unsigned char)*to) || *to == '_' || *to == '%')) return false;
    if (to + 1 < end && *to == '/' && to[1] == 's') return false;
    bool is_shared =
        to < end && strchr("/ ", *to) && i + 1 < line->count && line->tokens[i + 1].before == '/';
    bool is_bare = rp_fact_token_is_number(token) && token->length >= BARE_DIGITS_MIN;
    if (!has_unit(token->at, to) && !is_bare && !is_shared) return false;
    if (is_shared && number < 1048576 && !is_bare) return false;
    *size = (struct size){token->at, to, i, rp_fact_line_token_at(line, i + 1, to), SIZE_NONE};
    return true;
}

/* `from`: behind the size before, whose words are not this one's. */
static int role_before_size(const struct rp_fact_line *line, const struct size *size, size_t from,
                            bool crosses) {
    enum { WORDS_MAX = 8 };
    for (size_t i = size->first; i > from && size->first - i < WORDS_MAX; i--) {
        if (line->tokens[i].is_apart && !crosses) return SIZE_NONE;
        const struct rp_fact_token *token = &line->tokens[i - 1];
        if (ends_malloc(token)) return ASKED;
        int role = rp_fact_token_role(token, before_sizes, COUNT(before_sizes));
        if (role != SIZE_NONE) return role;
    }
    return SIZE_NONE;
}

static int role_after_size(const struct rp_fact_line *line, const struct size *size) {
    enum { WORDS_MAX = 5 };
    for (size_t i = size->next; i < line->count && i - size->next < WORDS_MAX; i++) {
        const struct rp_fact_token *token = &line->tokens[i];
        if (token->is_apart || token->before == '(') return SIZE_NONE;
        int role = rp_fact_token_role(token, after_sizes, COUNT(after_sizes));
        if (role != SIZE_NONE) {
            /* "2 GiB total 8 GiB", "2 GiB limit: 8 GiB": the next one's. */
            const struct rp_fact_token *next = &line->tokens[i + 1];
            bool is_next = i + 1 < line->count && !next->is_apart && next->before != '(' &&
                           isdigit((unsigned char)*next->at);
            return is_next && next->before != '/' ? SIZE_NONE : role;
        }
        if (!is_filler(token)) return SIZE_NONE;
    }
    return SIZE_NONE;
}

static int role_of_size(const struct rp_fact_line *line, const struct size *size,
                        const struct size *last) {
    size_t from = last ? last->next : 0;
    int before = role_before_size(line, size, from, false);
    int after = role_after_size(line, size);
    char mark = line->tokens[size->first].before;
    bool is_value = before != SIZE_NONE && (mark == '=' || mark == ':');
    if (before == SIZE_NONE && after == SIZE_NONE) {
        before = role_before_size(line, size, from, true);
        /* A comma parts what was asked from what there is. */
        if (before != ASKED && before != MUST) before = SIZE_NONE;
    }
    if (before == THAN) {
        before = !last || last->role == ASKED || last->role == SIZE_NONE ? LIMIT : ASKED;
    }
    if (before == MUST) return ASKED;
    if (after != SIZE_NONE && !is_value) return after;
    return before;
}

/* "1 GiB of 8 GiB free", "1 / 8 GiB": the second is the whole, the first what is said of both. */
static bool is_whole(const struct rp_fact_line *line, const struct size *part,
                     const struct size *size) {
    const struct rp_fact_token *token = &line->tokens[part->next];
    if (part->next == size->first) return token->before == '/';
    if (rp_fact_token_is(&line->tokens[size->first - 1], "of"))
        token = &line->tokens[size->first - 1];
    bool is_of = rp_fact_token_is(token, "of") || rp_fact_token_is(token, "out");
    for (size_t i = part->next; i <= size->first; i++) {
        if (line->tokens[i].is_apart || line->tokens[i].before == '(') return false;
    }
    return is_of && size->first - part->next <= 4;
}

static enum rp_fact_name name_of_size(int role) {
    switch (role) {
    case ASKED:
        return RP_FACT_NAME_BYTES_ASKED;
    case FREE:
        return RP_FACT_NAME_BYTES_FREE;
    case TOTAL:
        return RP_FACT_NAME_BYTES_TOTAL;
    case LIMIT:
        return RP_FACT_NAME_BYTES_LIMIT;
    case USED:
        return RP_FACT_NAME_BYTES_USED;
    default:
        return RP_FACT_NAME_NONE;
    }
}

/* "has 8 GiB, 2 GiB free": the first is all of it. */
static void settle_sizes(struct size *sizes, size_t count) {
    bool is_free = false;
    for (size_t i = 0; i < count; i++) {
        is_free = is_free || sizes[i].role == FREE;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i].role == HAS) sizes[i].role = is_free ? TOTAL : FREE;
    }
}

static void scan_sizes(const struct rp_fact_scan *scan) {
    enum { SIZES_MAX = 16 };
    struct size sizes[SIZES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < scan->line->count && count < SIZES_MAX;) {
        struct size *size = &sizes[count];
        if (!read_size(scan->line, i, size)) {
            i++;
            continue;
        }
        struct size *last = count > 0 ? size - 1 : NULL;
        size->role = role_of_size(scan->line, size, last);
        if (last && is_whole(scan->line, last, size)) {
            if (last->role == SIZE_NONE) last->role = size->role;
            if (last->role != SIZE_NONE && last->role != TOTAL) size->role = TOTAL;
        }
        count++;
        i = size->next;
    }
    settle_sizes(sizes, count);
    for (size_t i = 0; i < count; i++) {
        enum rp_fact_name name = name_of_size(sizes[i].role);
        if (name != RP_FACT_NAME_NONE) rp_fact_scan_take(scan, name, sizes[i].at, sizes[i].end);
    }
}

/* --- devices and codes --------------------------------------------------------------------- */

static bool is_device_word(const struct rp_fact_token *token, bool by_mark) {
    static const char *const words[] = {"gpu", "device", "npu", "xpu", "ordinal", "card"};
    static const char *const marked[] = {
        "cuda",   "hip",       "rocm",  "tpu",      "mps",    "vulkan",       "musa",
        "gpu_id", "device_id", "gpuid", "deviceid", "gpu-id", "device_index", "device_ordinal",
        "dev",    "mlu"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0 ||
           (by_mark && rp_fact_token_among(token, marked, COUNT(marked)) >= 0);
}

static void scan_device(const struct rp_fact_scan *scan, size_t i) {
    enum { DIGITS_MAX = 2 };
    const struct rp_fact_token *token = &scan->line->tokens[i];
    static const char *const between[] = {"id", "index", "ordinal", "number", "no"};
    if (!rp_fact_token_is_number(token) || token->length > DIGITS_MAX || i == 0) return;
    if (!strchr(":=#([ '\"", token->before ? token->before : ' ')) return;
    const struct rp_fact_token *word = token - 1;
    bool by_mark = token->before == ':' || token->before == '=';
    if (i > 1 && rp_fact_token_among(word, between, COUNT(between)) >= 0 && !token->is_apart) {
        by_mark = true;
        word--;
    }
    if (!is_device_word(word, by_mark) || token->is_apart) return;
    /* "GPU 16 GB", "device 2.5", "GPU: 8 cores" */
    uint64_t number = 0;
    const char *end = scan->line->text + scan->line->length;
    const char *to = token->at + token->length;
    const char *size = rp_fact_read(RP_FACT_BYTES, token->at, end, &number);
    if (size && size > to) return;
    if (to < end && (*to == '%' || *to == '/' ||
                     (*to == '.' && to + 1 < end && isdigit((unsigned char)to[1])))) {
        return;
    }
    rp_fact_scan_take(scan, RP_FACT_NAME_DEVICE_INDEX, token->at, to);
}

/* "CUDA0", "GPU1" */
static void scan_joined_device(const struct rp_fact_scan *scan, const struct rp_fact_token *token) {
    static const char *const words[] = {"cuda", "gpu", "npu", "xpu", "vulkan", "rocm", "hip"};
    for (size_t i = 0; i < COUNT(words); i++) {
        size_t length = strlen(words[i]);
        if (token->length != length + 1 || strncasecmp(token->at, words[i], length) != 0) continue;
        if (!isdigit((unsigned char)token->at[length])) continue;
        rp_fact_scan_take(scan, RP_FACT_NAME_DEVICE_INDEX, token->at + length,
                          token->at + length + 1);
    }
}

static bool is_end_word(const struct rp_fact_token *token) {
    static const char *const words[] = {"exit",     "exited", "exitcode",   "exit_code",
                                        "returned", "return", "rc",         "returncode",
                                        "status",   "ended",  "terminated", "died",
                                        "crashed",  "quit",   "process",    "finished"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

static bool is_code_word(const struct rp_fact_token *token) {
    static const char *const words[] = {"exit",   "code",       "status",   "rc",        "exitcode",
                                        "exited", "returncode", "returned", "exit_code", "value"};
    return rp_fact_token_among(token, words, COUNT(words)) >= 0;
}

/* "exited with code 139", "rc=-9" */
static void scan_exit_code(const struct rp_fact_scan *scan, size_t i) {
    const struct rp_fact_token *token = &scan->line->tokens[i];
    if (i == 0 || !rp_fact_token_is_number(token) || token->length > 3) return;
    if (!is_code_word(token - 1) || token->is_apart) return;
    bool is_end = false;
    for (size_t back = 1; back <= i && back <= 5; back++) {
        const struct rp_fact_token *word = token - back;
        if (rp_fact_token_is(word, "http") || rp_fact_token_is(word, "error")) return;
        is_end = is_end || (is_end_word(word) && !(back == 1 && rp_fact_token_is(word, "status")));
    }
    const char *from = token->at;
    if (from > scan->line->text && from[-1] == '-') from--;
    if (is_end) rp_fact_scan_take(scan, RP_FACT_NAME_EXIT_CODE, from, token->at + token->length);
}

static bool has_digit(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (isdigit((unsigned char)text[i])) return true;
    }
    return false;
}

struct file_scan {
    const char *text;
    rp_facts_take_fn *take;
    void *user;
};

/* A file by its ending: not the folder of a cache, nor the program that runs. */
static void take_file(enum rp_fact_name name, size_t start, size_t end, void *user) {
    const struct file_scan *scan = user;
    size_t at = end;
    while (at > start && !strchr("/\\.", scan->text[at - 1])) {
        at--;
    }
    bool has_ending = at > start && scan->text[at - 1] == '.';
    if (name == RP_FACT_NAME_FILE && has_ending) scan->take(name, start, end, scan->user);
}

static void scan_files(const char *text, size_t length, rp_facts_take_fn *take, void *user) {
    struct file_scan scan = {text, take, user};
    rp_facts_scan_names(text, length, take_file, &scan);
}

void rp_facts_scan_near(const char *text, size_t length, unsigned kinds, rp_facts_take_fn *take,
                        void *user) {
    if (kinds & RP_NEAR_FILES) scan_files(text, length, take, user);
    kinds &= ~(unsigned)RP_NEAR_FILES;
    const unsigned numbers = RP_NEAR_SIZES | RP_NEAR_VERSIONS | RP_NEAR_DEVICES;
    struct rp_fact_line line;
    struct rp_fact_scan scan = {&line, take, user};
    if (!has_digit(text, length)) kinds &= ~numbers;
    if (kinds == 0) return;
    rp_fact_line_read(text, length, &line);
    if (kinds & RP_NEAR_SIZES) scan_sizes(&scan);
    if (kinds & RP_NEAR_VERSIONS) rp_fact_scan_versions(&scan);
    for (size_t i = 0; i < line.count; i++) {
        if (kinds & RP_NEAR_DEVICES) scan_device(&scan, i);
        if (kinds & RP_NEAR_DEVICES) scan_joined_device(&scan, &line.tokens[i]);
        if (kinds & RP_NEAR_ENDS) scan_exit_code(&scan, i);
    }
    rp_facts_scan_terms(&line, kinds, take, user);
}

static bool has_all(const bool *known, const enum rp_fact_name *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!known[names[i]]) return false;
    }
    return true;
}

static unsigned kinds_of(rp_category category) {
    switch (category) {
    case RP_CATEGORY_OUT_OF_MEMORY_DEVICE:
    case RP_CATEGORY_LIMIT_EXCEEDED:
        return RP_NEAR_SIZES;
    case RP_CATEGORY_DISK_FULL:
        return RP_NEAR_SIZES | RP_NEAR_FILES;
    case RP_CATEGORY_MODEL_FILE_MISSING:
    case RP_CATEGORY_INVALID_MODEL_FILE:
    case RP_CATEGORY_CHECKPOINT_MISMATCH:
        return RP_NEAR_FILES;
    case RP_CATEGORY_OUT_OF_MEMORY_HOST:
        return RP_NEAR_SIZES | RP_NEAR_ENDS;
    case RP_CATEGORY_DRIVER_TOO_OLD:
    case RP_CATEGORY_DRIVER_MISSING_OR_BROKEN:
        return RP_NEAR_VERSIONS;
    case RP_CATEGORY_FORMAT_VERSION_UNSUPPORTED:
    case RP_CATEGORY_UNKNOWN_MODEL_ARCHITECTURE:
        return RP_NEAR_VERSIONS | RP_NEAR_FILES;
    case RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE:
        return RP_NEAR_VERSIONS | RP_NEAR_ENDS;
    case RP_CATEGORY_BACKEND_NOT_BUILT:
        return RP_NEAR_VERSIONS | RP_NEAR_PACKAGES;
    case RP_CATEGORY_DEPENDENCY_MISSING:
    case RP_CATEGORY_DEPENDENCY_CONFLICT:
        return RP_NEAR_VERSIONS | RP_NEAR_PACKAGES;
    case RP_CATEGORY_RUNTIME_LIBRARY_MISSING:
        return RP_NEAR_VERSIONS | RP_NEAR_LIBRARIES;
    case RP_CATEGORY_UNSUPPORTED_DTYPE:
        return RP_NEAR_DTYPES;
    case RP_CATEGORY_DTYPE_MISMATCH:
        return RP_NEAR_DTYPES | RP_NEAR_DTYPE_PAIRS;
    case RP_CATEGORY_UNSUPPORTED_OPERATION:
        return RP_NEAR_OPERATORS;
    case RP_CATEGORY_DEVICE_NOT_FOUND:
    case RP_CATEGORY_DEVICE_BUSY:
        return RP_NEAR_SIZES;
    case RP_CATEGORY_UNKNOWN:
        return RP_NEAR_SIZES | RP_NEAR_ENDS;
    case RP_CATEGORY_DEVICE_LOST:
    case RP_CATEGORY_ACCELERATOR_RUNTIME_ERROR:
    case RP_CATEGORY_MULTI_DEVICE_COMMUNICATION:
    case RP_CATEGORY_ASSERT_OR_NUMERICAL:
        return RP_NEAR_ENDS;
    default:
        return 0;
    }
}

unsigned rp_facts_near_wanted(rp_category category, const struct rp_facts *facts) {
    static const enum rp_fact_name sizes[] = {RP_FACT_NAME_BYTES_ASKED, RP_FACT_NAME_BYTES_FREE,
                                              RP_FACT_NAME_BYTES_TOTAL};
    static const enum rp_fact_name versions[] = {RP_FACT_NAME_VERSION_FOUND,
                                                 RP_FACT_NAME_VERSION_NEEDED};
    static const enum rp_fact_name ends[] = {RP_FACT_NAME_EXIT_CODE, RP_FACT_NAME_SIGNAL};
    static const struct {
        unsigned kind;
        enum rp_fact_name name;
    } rows[] = {
        {RP_NEAR_DEVICES, RP_FACT_NAME_DEVICE_INDEX}, {RP_NEAR_OPERATORS, RP_FACT_NAME_OPERATOR},
        {RP_NEAR_DTYPES, RP_FACT_NAME_DTYPE},         {RP_NEAR_LIBRARIES, RP_FACT_NAME_LIBRARY},
        {RP_NEAR_PACKAGES, RP_FACT_NAME_PACKAGE},     {RP_NEAR_FILES, RP_FACT_NAME_FILE},
        {RP_NEAR_FILES, RP_FACT_NAME_FOLDER},         {RP_NEAR_FILES, RP_FACT_NAME_MODEL},
    };
    bool known[RP_FACT_NAME_COUNT] = {false};
    for (size_t i = 0; i < facts->count; i++) {
        known[facts->rows[i].name] = true;
    }
    unsigned kinds = kinds_of(category) | RP_NEAR_DEVICES;
    if (has_all(known, sizes, COUNT(sizes))) kinds &= ~(unsigned)RP_NEAR_SIZES;
    if (has_all(known, versions, COUNT(versions))) kinds &= ~(unsigned)RP_NEAR_VERSIONS;
    if (has_all(known, ends, COUNT(ends))) kinds &= ~(unsigned)RP_NEAR_ENDS;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (known[rows[i].name]) kinds &= ~rows[i].kind;
    }
    return kinds;
}
