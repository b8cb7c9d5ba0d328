/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions by the words beside them: which one is there, and which one there should be.
 */
#include "failure/facts_line.h"
#include "failure/facts_near.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

enum version_role { VERSION_NONE, FOUND, NEEDED, MADE, WITH };

static const struct rp_fact_role before_versions[] = {
    {"requires", NEEDED},    {"require", NEEDED},     {"required", NEEDED},  {"requiring", NEEDED},
    {"needs", NEEDED},       {"need", NEEDED},        {"needed", NEEDED},    {"expected", NEEDED},
    {"expects", NEEDED},     {"expect", NEEDED},      {"expecting", NEEDED}, {"minimum", NEEDED},
    {"min", NEEDED},         {"least", NEEDED},       {"want", NEEDED},      {"wants", NEEDED},
    {"supports", NEEDED},    {"supported", NEEDED},   {"support", NEEDED},   {"than", NEEDED},
    {"upgrade", NEEDED},     {"maximum", NEEDED},     {"max", NEEDED},       {"between", NEEDED},
    {"up", NEEDED},          {"understands", NEEDED}, {"accepts", NEEDED},   {"target", NEEDED},
    {"built", MADE},         {"compiled", MADE},      {"serialized", MADE},  {"generated", MADE},
    {"created", MADE},       {"exported", MADE},      {"written", MADE},     {"saved", MADE},
    {"found", FOUND},        {"have", FOUND},         {"has", FOUND},        {"got", FOUND},
    {"installed", FOUND},    {"current", FOUND},      {"currently", FOUND},  {"detected", FOUND},
    {"running", FOUND},      {"actual", FOUND},       {"your", FOUND},       {"reported", FOUND},
    {"received", FOUND},     {"reports", FOUND},      {"uses", FOUND},       {"unsupported", FOUND},
    {"using", FOUND},        {"existing", FOUND},     {"invalid", FOUND},    {"unknown", FOUND},
    {"unrecognized", FOUND},
};

static const struct rp_fact_role after_versions[] = {
    {"newer", NEEDED},       {"later", NEEDED},      {"higher", NEEDED},    {"above", NEEDED},
    {"required", NEEDED},    {"expected", NEEDED},   {"needed", NEEDED},    {"onwards", NEEDED},
    {"up", NEEDED},          {"greater", NEEDED},    {"found", FOUND},      {"installed", FOUND},
    {"detected", FOUND},     {"too", FOUND},         {"old", FOUND},        {"older", FOUND},
    {"incompatible", FOUND}, {"unsupported", FOUND}, {"outdated", FOUND},   {"not", FOUND},
    {"lower", FOUND},        {"less", FOUND},        {"does", FOUND},       {"doesn", FOUND},
    {"cannot", FOUND},       {"isn", FOUND},         {"mismatches", FOUND}, {"below", FOUND},
    {"this", VERSION_NONE},
};

struct version {
    const char *at;
    const char *end;
    size_t first;
    size_t next;
    int role;
    bool is_sure; /* "or newer" */
    char kind;    /* 'o': of an operator set, 'i': of ONNX's IR, '\0' */
};

/* What the number is one of; '\0' none: "version 5", "opset: 12", "CUDA 12". */
static char kind_of_number(const struct rp_fact_line *line, size_t i) {
    static const char *const named[] = {
        "version", "versions", "cuda", "rocm",  "python", "driver", "opset", "node",
        "ptx",     "api",      "v",    "level", "schema", "major",  "java",  "revision"};
    for (size_t back = 1; back <= 3 && back <= i; back++) {
        const struct rp_fact_token *token = &line->tokens[i - back];
        if (rp_fact_token_is(token, "opset") || rp_fact_token_is(token, "opset_version"))
            return 'o';
        if (rp_fact_token_is(token, "ir") || rp_fact_token_is(token, "ir_version")) return 'i';
        int word = rp_fact_token_among(token, named, COUNT(named));
        if (word > 1) return 'v';
        if (word >= 0) {
            if (back < i && rp_fact_token_is(token - 1, "opset")) return 'o';
            if (back < i && rp_fact_token_is(token - 1, "ir")) return 'i';
            return 'v';
        }
        if (!rp_fact_token_is(token, "is") && !rp_fact_token_is(token, "of") &&
            !rp_fact_token_is(token, "to") && !rp_fact_token_is(token, "up")) {
            return '\0';
        }
    }
    return '\0';
}

static bool is_address(const struct rp_fact_token *token) {
    static const char *const beginnings[] = {"127.0.0", "192.168.", "0.0.0"};
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        if (strncmp(token->at, beginnings[i], strlen(beginnings[i])) == 0) return true;
    }
    return false;
}

/* "compute capability 7.5": a chip's, read elsewhere. */
static bool is_capability(const struct rp_fact_line *line, size_t i) {
    for (size_t back = 1; back <= 6 && back <= i; back++) {
        if (rp_fact_token_is(&line->tokens[i - back], "capability")) return true;
    }
    return false;
}

/* "version 12, this reader supports 10": the word "version" is said once. */
static bool is_second_number(const struct rp_fact_line *line, size_t i, size_t count) {
    static const char *const words[] = {"supports", "expected", "expects", "requires", "only",
                                        "got",      "found",    "needs",   "wants",    "supported"};
    const struct rp_fact_token *token = &line->tokens[i];
    return count > 0 && i > 0 && token->length < 4 && rp_fact_token_is_number(token) &&
           line->tokens[i + 1].is_apart && rp_fact_token_among(token - 1, words, COUNT(words)) >= 0;
}

static bool read_version(const struct rp_fact_line *line, size_t i, size_t count,
                         struct version *version) {
    const struct rp_fact_token *token = &line->tokens[i];
    const char *end = line->text + line->length;
    bool has_v = tolower((unsigned char)token->at[0]) == 'v';
    if (!isdigit((unsigned char)token->at[has_v]) ||
        (token->before && strchr("/\\#-", token->before)))
        return false;
    uint64_t number = 0;
    const char *to = rp_fact_read(RP_FACT_VERSION, token->at, end, &number);
    if (!to || to < token->at + token->length || is_address(token)) return false;
    if (to < end && strchr("/%:\\", *to) && to + 1 < end && !isspace((unsigned char)to[1])) {
        return false;
    }
    const char *size = rp_fact_read(RP_FACT_BYTES, token->at, end, &number);
    if (!has_v && size && size > to) return false;
    const char *point = memchr(token->at, '.', (size_t)(to - token->at));
    char kind = kind_of_number(line, i);
    if (is_second_number(line, i, count)) kind = 'v';
    if ((!point && !has_v && kind == '\0') || is_capability(line, i)) return false;
    if (!point && token->length > 3 && kind == 'v') return false;
    *version = (struct version){token->at,
                                to,
                                i,
                                rp_fact_line_token_at(line, i + 1, to),
                                VERSION_NONE,
                                false,
                                (char)(kind == 'v' || point ? '\0' : kind)};
    return true;
}

/* ">=2.1", "< 1.22": a bound; '=' of "==" and ':' are none. */
static bool is_bound(const struct rp_fact_line *line, const struct version *version) {
    const char *at = version->at;
    while (at > line->text && isspace((unsigned char)at[-1])) {
        at--;
    }
    while (at > line->text && strchr("'\"(", at[-1])) {
        at--;
    }
    if (at - line->text < 2) return false;
    return strchr("<>", at[-1]) || (at[-1] == '=' && strchr("<>~!", at[-2]));
}

static int role_before_version(const struct rp_fact_line *line, const struct version *version,
                               size_t from) {
    enum { WORDS_MAX = 7 };
    for (size_t i = version->first; i > from && version->first - i < WORDS_MAX; i--) {
        if (line->tokens[i].is_apart) return VERSION_NONE;
        int role =
            rp_fact_token_role(&line->tokens[i - 1], before_versions, COUNT(before_versions));
        if (role != VERSION_NONE) return role;
    }
    return VERSION_NONE;
}

static int role_after_version(const struct rp_fact_line *line, const struct version *version) {
    enum { WORDS_MAX = 4 };
    for (size_t i = version->next; i < line->count && i - version->next < WORDS_MAX; i++) {
        const struct rp_fact_token *token = &line->tokens[i];
        bool is_other = token->before != '\0' && strchr("():", token->before);
        if (token->is_apart || is_other) return VERSION_NONE;
        if (isdigit((unsigned char)*token->at)) return VERSION_NONE;
        int role = rp_fact_token_role(token, after_versions, COUNT(after_versions));
        if (role == VERSION_NONE &&
            (rp_fact_token_is(token, "but") || rp_fact_token_is(token, "while"))) {
            return VERSION_NONE;
        }
        /* "4.2 found 3.1", "8 expected: 5" */
        bool is_next = i + 1 < line->count && isdigit((unsigned char)*line->tokens[i + 1].at);
        if (role != VERSION_NONE) return is_next ? VERSION_NONE : role;
    }
    return VERSION_NONE;
}

/* Of two, one is what there is and one what there should be. */
static void settle_pair(struct version *a, struct version *b) {
    if (a->role == MADE && b->role == NEEDED) a->role = FOUND;
    if (b->role == MADE && a->role == NEEDED) b->role = FOUND;
    if (a->role == VERSION_NONE && b->role != VERSION_NONE) {
        a->role = b->role == FOUND ? NEEDED : FOUND;
    }
    if (b->role == VERSION_NONE && a->role != VERSION_NONE) {
        b->role = a->role == FOUND ? NEEDED : FOUND;
    }
}

static enum rp_fact_name name_of_version(const struct version *version) {
    bool is_found = version->role == FOUND;
    if (version->role == VERSION_NONE) return RP_FACT_NAME_NONE;
    if (version->kind == 'o')
        return is_found ? RP_FACT_NAME_OPSET_FOUND : RP_FACT_NAME_OPSET_SUPPORTED;
    if (version->kind == 'i') return is_found ? RP_FACT_NAME_IR_VERSION : RP_FACT_NAME_IR_SUPPORTED;
    return is_found ? RP_FACT_NAME_VERSION_FOUND : RP_FACT_NAME_VERSION_NEEDED;
}

void rp_fact_scan_versions(const struct rp_fact_scan *scan) {
    enum { VERSIONS_MAX = 8 };
    struct version versions[VERSIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < scan->line->count && count < VERSIONS_MAX;) {
        struct version *version = &versions[count];
        if (!read_version(scan->line, i, count, version)) {
            i++;
            continue;
        }
        int after = role_after_version(scan->line, version);
        version->role = is_bound(scan->line, version) ? NEEDED : after;
        version->is_sure = version->role == NEEDED;
        if (version->role == VERSION_NONE) {
            size_t from = count > 0 ? version[-1].next : 0;
            version->role = role_before_version(scan->line, version, from);
        }
        count++;
        i = version->next;
    }
    if (count == 2) settle_pair(&versions[0], &versions[1]);
    for (int sure = 1; sure >= 0; sure--) {
        for (size_t i = 0; i < count; i++) {
            enum rp_fact_name name = name_of_version(&versions[i]);
            if (name == RP_FACT_NAME_NONE || versions[i].is_sure != (sure == 1)) continue;
            rp_fact_scan_take(scan, name, versions[i].at, versions[i].end);
        }
    }
}
