/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk over the text: where a word or a path begins, each rule says whether something private
 * stands there, how much of it stays in front ("password="), how much goes and what stands for it.
 * A rule looks at a bounded part ahead, so that the work is linear; what stands before is looked at
 * as it was written out, not as it was read, so that a walk over the result finds the same. As a
 * replacement may bring neighbours together, the walk is repeated until nothing changes.
 *
 * Better a harmless word lost than a secret kept, but not where error texts live: "pad_token: 0",
 * "PWD=/work", "foo@@GLIBC_2.34", "cudnn 9.1.0.70", "q@k.transpose(1, 2)" stay.
 */
#include "failure/redact.h"

#include "base/memory.h"
#include "base/status.h"
#include "failure/report.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum {
    WALKS_MAX = 8,
    CUT_TOKEN_BYTES_MIN = 4,
    KEY_BYTES_MAX = 80,
    VALUE_BYTES_MAX = 1024, /* looked at; what is taken out may be longer */
    USER_INFO_BYTES_MAX = 512,
    MAIL_BYTES_MAX = 64,
    DOMAIN_BYTES_MAX = 128,
    KEY_BLOCK_BYTES_MAX = 32 << 10,
    ADDRESS_WORD_BYTES = 24,
};

static const char token_stand[] = "<token>";
static const char secret_stand[] = "<secret>";
static const char mail_stand[] = "<email>";
static const char address_stand[] = "<ip>";
static const char key_block_stand[] = "<private key>";

/* What is left to read, and what was written. */
struct place {
    const char *at;
    size_t left;
    const struct rp_text *out;
    const struct rp_own_names *names;
    char last; /* the last byte that was written, see before() */
};

/* What a rule found: `kept` bytes go over as they are, of the next `gone` stays `stand`. */
struct found {
    size_t kept;
    size_t gone;
    const char *stand;
};

/* --- bytes ----------------------------------------------------------------------------------- */

/* Of ASCII, whatever the locale says; each is asked several times for each byte. */
static inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static inline bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
}

static inline bool is_word(char c) {
    return is_alnum(c) || c == '_';
}

static bool is_token(char c) {
    return is_word(c) || c == '-';
}

static bool is_base64(char c) {
    return is_alnum(c) || c == '+' || c == '/' || c == '=' || c == '-' || c == '_' || c == '.' ||
           c == '~';
}

/* The last byte that was written; 0 at the beginning, and behind a line's end that is spelled out,
 * as in "\nhf_...". */
static char before(const struct rp_text *out) {
    size_t length = out->length;
    if (length == 0) return 0;
    char last = out->bytes[length - 1];
    bool is_spelled =
        (last == 'n' || last == 'r' || last == 't') && length > 1 && out->bytes[length - 2] == '\\';
    if (is_spelled) last = '\0';
    return last;
}

/* How many bytes at the beginning are of that sort, `max` at most. */
static size_t span(const char *at, size_t left, bool (*is_of)(char), size_t max) {
    size_t length = 0;
    while (length < left && length < max && is_of(at[length])) {
        length++;
    }
    return length;
}

static size_t count_of(const char *at, size_t length, int (*is_of)(int)) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += is_of((unsigned char)at[i]) != 0;
    }
    return count;
}

static bool begins(const char *at, size_t left, const char *with) {
    size_t length = strlen(with);
    return left >= length && memcmp(at, with, length) == 0;
}

static bool begins_any_case(const char *at, size_t left, const char *with) {
    size_t length = strlen(with);
    return left >= length && strncasecmp(at, with, length) == 0;
}

static bool is_one_of(const char *word, size_t length, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strlen(list[i]) == length && strncasecmp(list[i], word, length) == 0) return true;
    }
    return false;
}
#define IS_ONE_OF(word, length, list) is_one_of(word, length, list, sizeof(list) / sizeof(list)[0])

/* --- tokens by their looks ------------------------------------------------------------------- */

static const struct {
    const char *prefix;
    size_t bytes_min; /* behind the prefix              */
    size_t digits_min;
    bool is_capitals; /* just so many capitals and digits: "ASIANLANGUAGES" is none */
} token_rows[] = {
    {"hf_", 16, 0, false},      {"api_org_", 16, 0, false},    {"ghp_", 16, 0, false},
    {"gho_", 16, 0, false},     {"ghu_", 16, 0, false},        {"ghs_", 16, 0, false},
    {"ghr_", 16, 0, false},     {"github_pat_", 16, 0, false}, {"glpat-", 16, 0, false},
    {"gldt-", 16, 0, false},    {"sk-", 18, 2, false},         {"sk_live_", 16, 0, false},
    {"sk_test_", 16, 0, false}, {"rk_live_", 16, 0, false},    {"AKIA", 16, 0, true},
    {"ASIA", 16, 0, true},      {"AIza", 30, 1, false},        {"ya29.", 20, 0, false},
    {"GOCSPX-", 16, 0, false},  {"xoxb-", 10, 1, false},       {"xoxp-", 10, 1, false},
    {"xoxa-", 10, 1, false},    {"xoxs-", 10, 1, false},       {"xoxr-", 10, 1, false},
    {"xoxe-", 10, 1, false},    {"xapp-", 10, 1, false},       {"npm_", 30, 0, false},
    {"pypi-", 32, 1, false},    {"nvapi-", 20, 1, false},      {"r8_", 24, 1, false},
    {"gsk_", 24, 1, false},     {"dckr_pat_", 16, 0, false},   {"hvs.", 20, 1, false},
    {"SG.", 32, 1, false},      {"wandb_v1_", 16, 1, false},   {"tskey-", 12, 1, false},
    {"dop_v1_", 32, 1, false},  {"lsv2_", 20, 1, false},
};

static bool is_token_or_dot(char c) {
    return is_token(c) || c == '.';
}

/* Whether the text ends behind the first `length` bytes, or was cut there: "hf_AbC1..." */
static bool is_cut_off(const char *at, size_t left, size_t length) {
    return length == left || (left - length == 3 && memcmp(at + length, "...", 3) == 0);
}

/* Whether what stands behind a prefix is a token, of which the beginning is enough at a cut. */
static bool is_token_of_row(size_t row, const char *at, size_t left, size_t length) {
    size_t digits = count_of(at, length, isdigit);
    size_t capitals = count_of(at, length, isupper);
    if (token_rows[row].is_capitals) {
        return length == token_rows[row].bytes_min && digits > 0 && digits + capitals == length;
    }
    if (length >= token_rows[row].bytes_min && digits >= token_rows[row].digits_min) return true;
    return length >= CUT_TOKEN_BYTES_MIN && digits > 0 && capitals > 0 &&
           is_cut_off(at, left, length);
}

static bool find_token(const struct place *place, struct found *found) {
    if (is_word(place->last) || place->last == '-') return false;
    for (size_t i = 0; i < sizeof token_rows / sizeof token_rows[0]; i++) {
        if (token_rows[i].prefix[0] != place->at[0]) continue;
        size_t prefix = strlen(token_rows[i].prefix);
        if (!begins(place->at, place->left, token_rows[i].prefix)) continue;
        const char *rest = place->at + prefix;
        size_t left = place->left - prefix;
        bool has_dots = token_rows[i].prefix[prefix - 1] == '.';
        size_t length = span(rest, left, has_dots ? is_token_or_dot : is_token, left);
        if (!is_token_of_row(i, rest, left, length)) continue;
        *found = (struct found){0, prefix + length, token_stand};
        return true;
    }
    return false;
}

/* Three parts of base64 with dots between; the first begins with '{"'. */
static bool find_web_token(const struct place *place, struct found *found) {
    if (!begins(place->at, place->left, "eyJ") || is_word(place->last)) return false;
    size_t head = span(place->at, place->left, is_token, place->left);
    if (head < 12 || head >= place->left || place->at[head] != '.') return false;
    size_t body = span(place->at + head + 1, place->left - head - 1, is_token, VALUE_BYTES_MAX);
    if (body < 4) return false;
    size_t length = head + 1 + body;
    if (length < place->left && place->at[length] == '.') {
        length++;
        length += span(place->at + length, place->left - length, is_token, VALUE_BYTES_MAX);
    }
    *found = (struct found){0, length, token_stand};
    return true;
}

/* "Bearer " and what is no word of a sentence. */
static bool find_bearer(const struct place *place, struct found *found) {
    if (!begins_any_case(place->at, place->left, "bearer ") || is_word(place->last)) {
        return false;
    }
    size_t length = span(place->at + 7, place->left - 7, is_base64, VALUE_BYTES_MAX);
    if (length < 20 && (length < 6 || count_of(place->at + 7, length, isdigit) == 0)) return false;
    *found = (struct found){7, length, token_stand};
    return true;
}

/* What the lines of a key are of, and what its headers have besides. */
static bool is_key_line(char c) {
    return is_base64(c) || c == '\n' || c == '\r' || c == '\\';
}

static bool is_of_key_block(char c) {
    return is_key_line(c) || c == ' ' || c == '\t' || c == ':' || c == ',' || c == '"' || c == '\'';
}

static bool find_key_block(const struct place *place, struct found *found) {
    if (!begins(place->at, place->left, "-----BEGIN ")) return false;
    size_t head = 11;
    while (head < place->left && head < 64 &&
           (isupper((unsigned char)place->at[head]) || place->at[head] == ' ')) {
        head++;
    }
    if (!memmem(place->at + 11, head - 11, "PRIVATE KEY", 11)) return false;
    if (!begins(place->at + head, place->left - head, "-----")) return false;
    head += 5;
    size_t room = place->left < KEY_BLOCK_BYTES_MAX ? place->left : KEY_BLOCK_BYTES_MAX;
    size_t length = head;
    while (length < room && is_of_key_block(place->at[length])) {
        if (begins(place->at + length, room - length, "-----")) break;
        length++;
    }
    const char *end = place->at + length;
    const char *dashes = begins(end, room - length, "-----END ")
                             ? memmem(end + 9, room - length - 9, "-----", 5)
                             : NULL;
    if (dashes) {
        length = (size_t)(dashes + 5 - place->at);
    } else { /* One that is cut off: as far as it looks like one. */
        length = head + span(place->at + head, place->left - head, is_key_line, place->left);
    }
    if (length == head) return false;
    *found = (struct found){0, length, key_block_stand};
    return true;
}

/* --- values by their keys -------------------------------------------------------------------- */

enum key_sort {
    KEY_PLAIN,
    KEY_SECRET,        /* whatever its value is                         */
    KEY_TOKEN,         /* a value that looks like a token: "token: ..." */
    KEY_FOLDER,        /* "pwd": no folder                              */
    KEY_AUTHORIZATION, /* the rest of the line                          */
};

/* The ends of names whose value nobody else should see, in small letters. */
static const char *const secret_keys[] = {
    "password",      "passwd",         "passphrase",
    "secret",        "api_key",        "apikey",
    "access_key",    "accesskey",      "secret_key",
    "secretkey",     "private_key",    "account_key",
    "shared_key",    "auth_key",       "encryption_key",
    "signing_key",   "access_token",   "auth_token",
    "authtoken",     "refresh_token",  "api_token",
    "hf_token",      "hub_token",      "session_token",
    "id_token",      "security_token", "bearer_token",
    "private_token", "bot_token",      "github_token",
    "gitlab_token",  "deploy_token",   "oauth_token",
    "sas_token",     "csrf_token",     "job_token",
    "login_token",   "user_token",     "secret_token",
    "pgpassword",    "webhook_url",    "shared_access_signature",
    "secrets",       "storage_key",
};

/* Of which only a value goes that looks like a token: "auth: basic" does not. */
static const char *const token_keys[] = {"auth", "credential", "credentials"};

/* In the query of an address also these. */
static const char *const query_keys[] = {
    "key",
    "sig",
    "signature",
    "code",
    "auth",
    "token",
    "x_amz_signature",
    "x_amz_credential",
    "x_amz_security_token",
    "x_goog_signature",
    "x_goog_credential",
    "policy",
};

static const char *const authorization_keys[] = {"authorization", "proxy_authorization", "cookie",
                                                 "set_cookie"};

/* In front of "token" these make a word of a vocabulary. */
static const char *const token_words[] = {
    "pad",    "eos",    "bos",     "unk",        "cls",   "mask",   "sep",    "image",
    "audio",  "video",  "start",   "end",        "stop",  "prefix", "suffix", "next",
    "first",  "last",   "special", "additional", "num",   "max",    "min",    "new",
    "per",    "sot",    "eot",     "begin",      "input", "output", "boi",    "eoi",
    "forced", "middle", "decoder", "text",       "patch", "class",  "target", "unexpected",
};

/* Values that hide nothing. */
static const char *const plain_values[] = {
    "none",     "null",     "nil",     "true",    "false", "yes",    "no",       "undefined",
    "required", "missing",  "invalid", "expired", "str",   "string", "int",      "bool",
    "bytes",    "optional", "not",     "is",      "unset", "empty",  "redacted",
};

/* A key in small letters, '-' as '_', with a '_' before a capital behind a small letter. */
static size_t plain_key(const char *at, size_t length, char *key) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        bool is_hump = i > 0 && isupper((unsigned char)at[i]) && islower((unsigned char)at[i - 1]);
        if (is_hump) key[used++] = '_';
        key[used] = at[i];
        if (at[i] == '-') key[used] = '_';
        if (isupper((unsigned char)at[i])) key[used] = (char)(at[i] + ('a' - 'A'));
        used++;
    }
    key[used] = '\0';
    return used;
}

/* Whether a key is that word, or ends with it behind a '_'. */
static bool ends_with(const char *key, size_t length, const char *word) {
    size_t bytes = strlen(word);
    if (length < bytes || memcmp(key + length - bytes, word, bytes) != 0) return false;
    return length == bytes || key[length - bytes - 1] == '_';
}

static bool is_of_vocabulary(const char *key, size_t length) {
    if (length <= 6) return false; /* "token" alone */
    size_t end = length - 6;
    size_t start = end;
    while (start > 0 && key[start - 1] != '_') {
        start--;
    }
    return IS_ONE_OF(key + start, end - start, token_words);
}

static enum key_sort sort_of(const char *at, size_t length, bool is_query) {
    char key[2 * KEY_BYTES_MAX + 1];
    size_t bytes = plain_key(at, length, key);
    for (size_t i = 0; i < sizeof secret_keys / sizeof secret_keys[0]; i++) {
        if (ends_with(key, bytes, secret_keys[i])) return KEY_SECRET;
    }
    if (is_query && IS_ONE_OF(key, bytes, query_keys)) return KEY_SECRET;
    if (IS_ONE_OF(key, bytes, authorization_keys)) return KEY_AUTHORIZATION;
    if (ends_with(key, bytes, "pwd")) return KEY_FOLDER;
    bool is_environment = bytes > 5 && count_of(at, length, islower) == 0;
    if (is_environment && ends_with(key, bytes, "key")) return KEY_TOKEN; /* "WANDB_KEY" */
    /* A compiler has passes, a database "DB_PASS". */
    if (ends_with(key, bytes, "pass") && bytes > 4) return KEY_TOKEN;
    for (size_t i = 0; i < sizeof token_keys / sizeof token_keys[0]; i++) {
        if (ends_with(key, bytes, token_keys[i])) return KEY_TOKEN;
    }
    if (!ends_with(key, bytes, "token") || is_of_vocabulary(key, bytes)) return KEY_PLAIN;
    return is_environment ? KEY_SECRET : KEY_TOKEN;
}

/* Where a value stands. */
struct value {
    size_t start; /* from the beginning of the key */
    size_t length;
    bool is_quoted;
};

static size_t blanks(const char *at, size_t left) {
    size_t length = 0;
    while (length < left && length < 8 && (at[length] == ' ' || at[length] == '\t')) {
        length++;
    }
    return length;
}

/* A quote, perhaps with backslashes in front; 0: none. */
static size_t quote_length(const char *at, size_t left) {
    size_t slashes = 0;
    while (slashes < left && slashes < 3 && at[slashes] == '\\') {
        slashes++;
    }
    return slashes < left && (at[slashes] == '"' || at[slashes] == '\'') ? slashes + 1 : 0;
}

/* What is between a key and its value: `": "`, "=", ": ", " => '", `"] = "`; 0: none follows. */
static size_t sign_length(const char *at, size_t left, bool is_flag) {
    size_t length = quote_length(at, left);
    if (length > 0 && length < left && at[length] == ']') length++;
    length += blanks(at + length, left - length);
    if (length < left && (at[length] == '=' || at[length] == ':')) {
        length++;
        if (length < left && at[length] == '>') length++;
        return length + blanks(at + length, left - length);
    }
    return is_flag ? blanks(at, left) : 0;
}

/* The "b" of `b"..."`, the "Rb", the "f": what stands in front of the quote of a literal. */
static size_t literal_length(const char *at, size_t left) {
    size_t length = 0;
    while (length < left && length < 2 && strchr("bBrRfFuU", at[length])) {
        length++;
    }
    return quote_length(at + length, left - length) > 0 ? length : 0;
}

/* The end of a value between quotes, or without. */
static size_t value_length(const char *at, size_t left, const char *quote, size_t quote_bytes) {
    size_t max = left < VALUE_BYTES_MAX ? left : VALUE_BYTES_MAX;
    size_t length = 0;
    if (quote_bytes > 0) {
        while (length < max && at[length] != '\n') {
            if (begins(at + length, left - length, "\\\\") && quote_bytes == 1) {
                length += 2;
                continue;
            }
            if (left - length >= quote_bytes && memcmp(at + length, quote, quote_bytes) == 0) break;
            length += at[length] == '\\' && quote_bytes == 1 && length + 1 < max ? 2 : 1;
        }
        return length < max ? length : max;
    }
    while (length < max && !isspace((unsigned char)at[length]) && !strchr("\"'&<>`", at[length])) {
        if (at[length] == '\\' && quote_length(at + length, left - length) > 0) break;
        if (at[length] == '\\' && length + 1 < max && at[length + 1] == 'n') break;
        length++;
    }
    while (length > 0 && strchr(",;:)]}.\\", at[length - 1])) {
        length--;
    }
    return length;
}

/* Whether it is where a secret would stand, and not one: "$TOKEN", "{token}", "<your token>", "%s",
 * "getpass()", "None", "********". */
static bool hides_nothing(const char *at, const struct value *value) {
    const char *text = at + value->start;
    size_t length = value->length;
    char last = text[length - 1];
    if (IS_ONE_OF(text, length, plain_values)) return true;
    if (text[0] == '%' && length <= 3) return true;
    if ((text[0] == '{' && last == '}') || (text[0] == '<' && last == '>')) return true;
    if (text[0] == '$' && length > 1 && (text[1] == '{' || text[1] == '(')) return true;
    size_t same = 1;
    while (same < length && text[same] == text[0]) {
        same++;
    }
    if (same == length && !is_alnum(text[0])) return true;
    if (value->is_quoted) return false;
    if (text[0] == '{' || text[0] == '[' || text[0] == '(') return true;
    size_t name = text[0] == '$' ? 1 : 0;
    name += span(text + name, length - name, is_word, length);
    if (text[0] == '$' && name == length) return true;
    size_t called = span(text, length, is_token_or_dot, length);
    return called > 0 && called < length && (text[called] == '(' || text[called] == '[');
}

static bool looks_like_token(const char *text, size_t length) {
    if (span(text, length, is_base64, length) < length) return false;
    size_t digits = count_of(text, length, isdigit);
    if (digits == length || memchr(text, '.', length)) return false;
    return length >= 20 || (length >= 6 && digits > 0 && count_of(text, length, isalpha) > 0);
}

static bool is_folder(const char *text, size_t length) {
    return strchr("/~\\.$", text[0]) || (length > 1 && text[1] == ':');
}

/* "Basic ", "Bearer ", ... in front of what is secret */
static size_t scheme_length(const char *at, size_t left) {
    static const char *const schemes[] = {"basic ", "bearer ",    "digest ",
                                          "token ", "negotiate ", "apikey "};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (begins_any_case(at, left, schemes[i])) return strlen(schemes[i]);
    }
    return 0;
}

/* The value of a header: up to the end of its line, or its quote. */
static size_t header_length(const char *at, size_t left) {
    size_t length = 0;
    while (length < left && length < VALUE_BYTES_MAX && !strchr("\"'\r\n<", at[length])) {
        if (at[length] == '\\' && length + 1 < left && strchr("\"'rn", at[length + 1])) break;
        length++;
    }
    while (length > 0 && (at[length - 1] == ' ' || at[length - 1] == ',')) {
        length--;
    }
    return length;
}

static bool find_value(const struct place *place, struct found *found) {
    char last = place->last;
    if (is_word(last)) return false;
    size_t key = span(place->at, place->left, is_token, KEY_BYTES_MAX);
    /* Most words end here: what follows a key is one of few. */
    if (key < 3 || key == place->left || !strchr("\"'\\ \t=:", place->at[key])) return false;
    size_t written = place->out->length;
    bool is_flag = last == '-' && written > 1 && place->out->bytes[written - 2] == '-';
    size_t sign = sign_length(place->at + key, place->left - key, is_flag);
    if (sign == 0) return false;
    enum key_sort sort = sort_of(place->at, key, last == '?' || last == '&');
    if (sort == KEY_PLAIN) return false;
    struct value value = {.start = key + sign};
    value.start += literal_length(place->at + value.start, place->left - value.start);
    const char *quote = place->at + value.start;
    size_t quote_bytes = quote_length(quote, place->left - value.start);
    value.is_quoted = quote_bytes > 0;
    value.start += quote_bytes;
    const char *text = place->at + value.start;
    size_t left = place->left - value.start;
    if (sort == KEY_AUTHORIZATION) {
        size_t scheme = scheme_length(text, left);
        value.start += scheme;
        value.length = header_length(text + scheme, left - scheme);
    } else {
        value.length = value_length(text, left, quote, quote_bytes);
    }
    text = place->at + value.start;
    if (value.length == 0 || hides_nothing(place->at, &value)) return false;
    if (sort == KEY_TOKEN && !looks_like_token(text, value.length)) return false;
    if (sort == KEY_FOLDER && is_folder(text, value.length)) return false;
    /* A longer one goes whole. */
    while (value.length >= VALUE_BYTES_MAX && value.length < place->left - value.start &&
           !isspace((unsigned char)text[value.length]) && !strchr("\"'", text[value.length])) {
        value.length++;
    }
    *found = (struct found){value.start, value.length, secret_stand};
    return true;
}

/* --- addresses ------------------------------------------------------------------------------- */

/* "://" with a user and perhaps a password behind it; "git@" is everybody. */
static bool find_user_info(const struct place *place, struct found *found) {
    if (!begins(place->at, place->left, "://")) return false;
    size_t end = 0;
    for (size_t i = 3; i < place->left && i < USER_INFO_BYTES_MAX; i++) {
        char c = place->at[i];
        if (isspace((unsigned char)c) || strchr("/?#\"'<>\\`", c)) break;
        if (c == '@') end = i;
    }
    if (end <= 3 || (end == 6 && memcmp(place->at + 3, "git", 3) == 0)) return false;
    *found = (struct found){3, end - 3, secret_stand};
    return true;
}

/* What stands behind an '@' and a dot in code and files, but in no address. */
static const char *const no_domains[] = {
    "weight", "bias", "data", "grad", "shape", "dtype", "device", "float", "half",    "cuda",
    "cpu",    "real", "view", "size", "mean",  "sum",   "to",     "item",  "onnx",    "bin",
    "pt",     "pth",  "so",   "py",   "js",    "mjs",   "cjs",    "json",  "gguf",    "txt",
    "yaml",   "yml",  "cc",   "cpp",  "cu",    "dll",   "exe",    "ts",    "wasm",    "lock",
    "toml",   "log",  "png",  "jpg",  "dylib", "xml",   "md",     "sh",    "service", "whl",
};

static bool is_mail_byte(char c) {
    return is_alnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}

static bool is_domain_byte(char c) {
    return is_alnum(c) || c == '.' || c == '-';
}

static bool find_mail(const struct place *place, struct found *found) {
    char last = place->last;
    if (last && (is_mail_byte(last) || last == '@')) return false;
    size_t local = span(place->at, place->left, is_mail_byte, MAIL_BYTES_MAX + 1);
    if (local == 0 || local > MAIL_BYTES_MAX || local + 4 > place->left ||
        place->at[local] != '@' || (local == 3 && memcmp(place->at, "git", 3) == 0)) {
        return false;
    }
    const char *domain = place->at + local + 1;
    size_t left = place->left - local - 1;
    size_t length = span(domain, left, is_domain_byte, DOMAIN_BYTES_MAX);
    bool is_code = length < left && strchr("_([@", domain[length]);
    while (length > 0 && (domain[length - 1] == '.' || domain[length - 1] == '-')) {
        length--;
    }
    const char *dot = length > 0 ? memrchr(domain, '.', length) : NULL;
    if (!dot || dot == domain || is_code || domain[0] == '-') return false;
    const char *top = dot + 1;
    size_t top_bytes = length - (size_t)(top - domain);
    if (top_bytes < 2 || top_bytes > 6 || count_of(top, top_bytes, isalpha) < top_bytes ||
        IS_ONE_OF(top, top_bytes, no_domains)) {
        return false;
    }
    *found = (struct found){0, local + 1 + length, mail_stand};
    return true;
}

/* Four numbers to 255; their length, 0: none */
static size_t read_address(const char *at, size_t left, unsigned *numbers) {
    size_t length = 0;
    for (int i = 0; i < 4; i++) {
        size_t digits = 0;
        unsigned number = 0;
        if (i > 0 && (length == left || at[length++] != '.')) return 0;
        while (length < left && digits < 4 && isdigit((unsigned char)at[length])) {
            number = number * 10 + (unsigned)(at[length++] - '0');
            digits++;
        }
        if (digits == 0 || digits > 3 || number > 255) return 0;
        numbers[i] = number;
    }
    bool goes_on =
        length < left &&
        (is_word(at[length]) || at[length] == '-' ||
         (at[length] == '.' && length + 1 < left && isdigit((unsigned char)at[length + 1])));
    return goes_on ? 0 : length;
}

/* Of this machine, of an own network, of none. */
static bool is_private(const unsigned *numbers) {
    unsigned a = numbers[0];
    unsigned b = numbers[1];
    return a == 0 || a == 10 || a == 127 || a >= 224 || (a == 172 && b >= 16 && b < 32) ||
           (a == 192 && b == 168) || (a == 169 && b == 254) || (a == 100 && b >= 64 && b < 128);
}

/* Whether the words in front speak of an address: "9.1.0.70" alone is a version of cuDNN. */
static bool speaks_of_address(const struct rp_text *out) {
    static const char *const words[] = {"host", "addr", "peer", "ip ", "ip=", "ip:"};
    char part[ADDRESS_WORD_BYTES + 1];
    size_t length = out->length < ADDRESS_WORD_BYTES ? out->length : ADDRESS_WORD_BYTES;
    size_t start = 0;
    for (size_t i = 0; i < length; i++) {
        char c = out->bytes[out->length - length + i];
        part[i] = ' ';
        if (c) part[i] = c;
        if (c == '\n') start = i + 1;
    }
    part[length] = '\0';
    if (strcasestr(part + start, "version")) return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *word = strcasestr(part + start, words[i]);
        if (word && (word == part || !is_alnum(word[-1]))) return true;
    }
    return false;
}

static bool find_address(const struct place *place, struct found *found) {
    unsigned numbers[4];
    char last = place->last;
    if (is_word(last) || last == '.' || last == '-') return false;
    size_t length = read_address(place->at, place->left, numbers);
    if (length == 0 || is_private(numbers)) return false;
    size_t left = place->left - length;
    size_t port = 0;
    if (left > 1 && place->at[length] == ':') {
        port = span(place->at + length + 1, left - 1, is_digit, 6);
    }
    bool is_told = last == '@' || (last == '/' && place->out->length > 2 &&
                                   place->out->bytes[place->out->length - 2] == '/');
    if (!is_told && (port < 2 || port > 5) && !speaks_of_address(place->out)) return false;
    *found = (struct found){0, length, address_stand};
    return true;
}

static bool is_hex_or_colon(char c) {
    return isxdigit((unsigned char)c) || c == ':';
}

/* Public ones begin with 2 or 3, in four digits. */
static bool find_long_address(const struct place *place, struct found *found) {
    const char *at = place->at;
    char last = place->last;
    if (is_word(last) || last == ':' || last == '.') return false;
    size_t length = span(at, place->left, is_hex_or_colon, 40);
    if (length < 7 || (at[0] != '2' && at[0] != '3') || at[4] != ':' ||
        count_of(at, 4, isxdigit) < 4 || (length < place->left && is_word(at[length]))) {
        return false;
    }
    size_t colons = length - count_of(at, length, isxdigit);
    size_t digits = 0;
    bool has_gap = false;
    for (size_t i = 0; i < length; i++) {
        digits = at[i] == ':' ? 0 : digits + 1;
        if (digits > 4) return false;
        has_gap = has_gap || (at[i] == ':' && i + 1 < length && at[i + 1] == ':');
    }
    if (colons != 7 && !(has_gap && colons < 8)) return false;
    *found = (struct found){0, length, address_stand};
    return true;
}

/* --- names and homes ------------------------------------------------------------------------- */

static bool find_own_name(const struct place *place, struct found *found) {
    if (is_word(place->last)) return false;
    for (size_t i = 0; i < RP_OWN_NAMES; i++) {
        size_t length = place->names->words[i].length;
        if (length == 0 || length > place->left ||
            memcmp(place->at, place->names->words[i].text, length) != 0 ||
            (length < place->left && is_word(place->at[length]))) {
            continue;
        }
        *found = (struct found){0, length, place->names->words[i].stand};
        return true;
    }
    return false;
}

static bool find_home(const struct place *place, struct found *found) {
    char last = place->last;
    size_t written = place->out->length;
    bool is_file =
        last == '/' && written >= 7 && memcmp(place->out->bytes + written - 7, "file://", 7) == 0;
    bool is_option = written >= 2 && isalpha((unsigned char)last) && /* "-I/home/ada/include" */
                     place->out->bytes[written - 2] == '-';
    if (last && !is_option && (is_word(last) || (unsigned char)last >= 0x80)) return false;
    if (last && strchr(".-~>/", last) && !is_file) return false;
    /* A path, or a drive. */
    bool may_be = place->at[0] == '/' || (place->left > 1 && place->at[1] == ':');
    size_t length = may_be ? rp_home_at(place->at, place->left, place->names) : 0;
    if (length == 0) return false;
    *found = (struct found){0, length, "~"};
    return true;
}

/* --- the walk -------------------------------------------------------------------------------- */

typedef bool find_fn(const struct place *, struct found *);

/* What may stand here, by its first byte. */
static bool find(const struct place *place, struct found *found) {
    static find_fn *const of_words[] = {find_home,      find_mail,    find_token,
                                        find_web_token, find_bearer,  find_value,
                                        find_own_name,  find_address, find_long_address};
    switch (place->at[0]) {
    case '/':
        return find_home(place, found);
    case ':':
        return find_user_info(place, found);
    case '-':
        return find_key_block(place, found);
    case '.':
    case '%':
    case '+':
        return find_mail(place, found);
    default:
        break;
    }
    if (!is_word(place->at[0])) return false;
    for (size_t i = 0; i < sizeof of_words / sizeof of_words[0]; i++) {
        if (of_words[i](place, found)) return true;
    }
    return false;
}

/* How far a word goes on in which nothing can begin. */
static size_t quiet_length(const struct place *place) {
    if (!is_word(place->at[0]) || !is_word(place->last)) return 0;
    size_t length = span(place->at, place->left, is_word, place->left);
    return length;
}

/* One walk; true: something was replaced. */
static bool walk(const char *text, size_t length, const struct rp_own_names *names,
                 struct rp_text *out, size_t *mark) {
    bool is_changed = false;
    size_t marked = out->length;
    bool is_marked = false;
    for (size_t i = 0; i < length && !out->failed;) {
        const struct place place = {text + i, length - i, out, names, before(out)};
        struct found found = {quiet_length(&place), 0, ""};
        if (found.kept == 0 && !find(&place, &found)) found.kept = 1;
        is_changed = is_changed || found.gone > 0;
        if (mark && !is_marked && *mark < i + found.kept + found.gone) {
            size_t inside = *mark > i ? *mark - i : 0;
            marked = out->length + (inside < found.kept ? inside : found.kept);
            is_marked = true;
        }
        rp_text_append(out, text + i, found.kept);
        rp_text_append(out, found.stand, strlen(found.stand));
        i += found.kept + found.gone;
    }
    if (mark) *mark = is_marked ? marked : out->length;
    return is_changed;
}

void rp_redact_as(const char *text, size_t length, const struct rp_own_names *names,
                  struct rp_text *out, size_t *mark) {
    struct rp_text texts[2] = {RP_TEXT_INIT, RP_TEXT_INIT};
    unsigned latest = 0;
    bool goes_on = walk(text, length, names, &texts[0], mark);
    for (int i = 1; i < WALKS_MAX && goes_on && !texts[latest].failed; i++) {
        struct rp_text *next = &texts[1 - latest];
        next->length = 0;
        goes_on = walk(texts[latest].bytes, texts[latest].length, names, next, mark);
        latest = 1 - latest;
    }
    if (mark) *mark += out->length;
    rp_text_append(out, texts[latest].bytes ? texts[latest].bytes : "", texts[latest].length);
    out->failed = out->failed || texts[latest].failed;
    rp_text_fini(&texts[0]);
    rp_text_fini(&texts[1]);
}

rp_status rp_redact(const char *text, size_t length, char **out, rp_error *err) {
    struct rp_text redacted = RP_TEXT_INIT;
    rp_redact_as(text, length, rp_own_names_of_process(), &redacted, NULL);
    if (redacted.failed) {
        rp_text_fini(&redacted);
        return rp_fail(err, RP_ERR_MEMORY, "no memory to redact %zu bytes", length);
    }
    for (size_t i = 0; i < redacted.length; i++) {
        if (redacted.bytes[i] == '\0') redacted.bytes[i] = '?';
    }
    *out = redacted.bytes;
    return RP_OK;
}
