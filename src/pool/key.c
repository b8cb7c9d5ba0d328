/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/key.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <stdio.h>

static void list_parts(const struct rp_key_parts *parts, const char *list[RP_KEY_PARTS]) {
    list[0] = parts->type;
    list[1] = parts->name;
    list[2] = parts->device;
    list[3] = parts->precision;
    list[4] = parts->engine;
    list[5] = parts->path;
}

static bool texts_equal(const char *a, const char *b) {
    if (!a || !b) return a == b;
    return strcmp(a, b) == 0;
}

bool rp_key_equals_slowly(const struct rp_key *key, const struct rp_key_parts *parts) {
    struct rp_key_parts own = rp_key_parts_of(key);
    if (own.kind != parts->kind || own.threads != parts->threads) return false;
    const char *ours[RP_KEY_PARTS];
    const char *theirs[RP_KEY_PARTS];
    list_parts(&own, ours);
    list_parts(parts, theirs);
    for (size_t i = 0; i < RP_KEY_PARTS; i++) {
        if (!texts_equal(ours[i], theirs[i])) return false;
    }
    return true;
}

size_t rp_key_size(const struct rp_key_parts *parts) {
    const char *list[RP_KEY_PARTS];
    list_parts(parts, list);
    size_t size = sizeof(struct rp_key);
    for (size_t i = 0; i < RP_KEY_PARTS; i++) {
        size += sizeof(uint32_t) + (list[i] ? strlen(list[i]) + 1 : 0);
    }
    return (size + 7) & ~(size_t)7;
}

struct rp_key *rp_key_write(struct rp_key *key, const struct rp_key_parts *parts) {
    const char *list[RP_KEY_PARTS];
    list_parts(parts, list);
    char *at = key->bytes;
    for (size_t i = 0; i < RP_KEY_PARTS; i++) {
        uint32_t length = list[i] ? (uint32_t)strlen(list[i]) : RP_KEY_ABSENT;
        memcpy(at, &length, sizeof length);
        at += sizeof length;
        if (i == 1) key->name_offset = (uint32_t)(at - key->bytes);
        if (!list[i]) continue;
        memcpy(at, list[i], (size_t)length + 1);
        at += length + 1;
    }
    key->hash = rp_key_hash(parts);
    key->size = (uint32_t)(at - key->bytes);
    key->threads = parts->threads;
    key->kind = (uint8_t)parts->kind;
    key->is_plain = rp_key_parts_are_plain(parts);
    return key;
}

struct rp_key *rp_key_create(const struct rp_key_parts *parts) {
    struct rp_key *key = rp_alloc(rp_key_size(parts));
    return key ? rp_key_write(key, parts) : NULL;
}

struct rp_key_parts rp_key_parts_of(const struct rp_key *key) {
    const char *list[RP_KEY_PARTS];
    const char *at = key->bytes;
    for (size_t i = 0; i < RP_KEY_PARTS; i++) {
        uint32_t length;
        memcpy(&length, at, sizeof length);
        at += sizeof length;
        list[i] = length == RP_KEY_ABSENT ? NULL : at;
        if (list[i]) at += length + 1;
    }
    return (struct rp_key_parts){
        .kind = (rp_kind)key->kind,
        .threads = key->threads,
        .type = list[0],
        .name = list[1],
        .device = list[2],
        .precision = list[3],
        .engine = list[4],
        .path = list[5],
    };
}

/* One text of a request. It will be shown to people and written to JSON, so it must be fit for
 * both. */
static rp_status check_text(const char *what, const char *text, size_t bytes_max, rp_error *err) {
    if (!text) return RP_OK;
    size_t length = strnlen(text, bytes_max);
    if (length == 0) return rp_fail(err, RP_ERR_ARGUMENT, "the %s of a request is empty", what);
    if (length == bytes_max) {
        return rp_fail(err, RP_ERR_LIMIT, "the %s '%.40s...' is longer than %zu bytes", what, text,
                       bytes_max - 1);
    }
    size_t at = rp_text_utf8_error_at(text, length);
    if (at < length) {
        rp_fail(err, RP_ERR_ARGUMENT, "the %s '%.60s' is not UTF-8: byte 0x%02x at position %zu",
                what, text, (unsigned)(unsigned char)text[at], at);
        rp_hint(err, "give a file whose name is not UTF-8 another name, or link to it");
        return RP_ERR_ARGUMENT;
    }
    at = rp_text_control_at(text, length);
    if (at < length) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "the %s '%.60s' has a control character, 0x%02x, at position %zu", what,
                       text, (unsigned)(unsigned char)text[at], at);
    }
    return RP_OK;
}

rp_status rp_key_parts_of_request(rp_kind kind, const rp_request *request,
                                  struct rp_key_parts *parts, rp_error *err) {
    const struct {
        const char *what;
        const char *text;
        size_t bytes_max;
    } texts[] = {
        {"type", request->type, RP_LIMIT_TYPE_BYTES},
        {"name", request->name, RP_LIMIT_NAME_BYTES},
        {"device", request->device, RP_LIMIT_DEVICE_BYTES},
        {"precision", request->precision, RP_LIMIT_PRECISION_BYTES},
        {"engine", request->engine, RP_LIMIT_ENGINE_BYTES},
        {"path", request->path, RP_LIMIT_NAME_BYTES},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rp_status status = check_text(texts[i].what, texts[i].text, texts[i].bytes_max, err);
        if (status != RP_OK) return status;
    }
    if (!request->type) return rp_fail(err, RP_ERR_ARGUMENT, "a request without a type");
    if (!request->name && kind != RP_KIND_RESOURCE) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a request for a %s of type '%s' without a name",
                       rp_kind_name(kind), request->type);
    }
    if (request->threads > RP_LIMIT_THREADS) {
        return rp_fail(err, RP_ERR_LIMIT, "%u threads are more than the limit of %d",
                       request->threads, RP_LIMIT_THREADS);
    }
    if (request->timeout_ms < 0) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a timeout of %lld ms; 0 means as long as it takes",
                       (long long)request->timeout_ms);
    }
    if (request->construct && (request->path || request->engine)) {
        return rp_fail(
            err, RP_ERR_ARGUMENT,
            "a request with a constructor of its own and %s '%s': one of the two can load it",
            request->path ? "the file" : "the engine",
            request->path ? request->path : request->engine);
    }
    *parts = (struct rp_key_parts){
        .kind = kind,
        .threads = request->threads,
        .type = request->type,
        .name = request->name,
        .device = request->device && strcmp(request->device, "auto") != 0 ? request->device : NULL,
        .precision = request->precision,
        .engine = request->engine,
        .path = request->path,
    };
    return RP_OK;
}

static void print_parts(struct rp_text *text, const struct rp_key_parts *parts) {
    rp_text_print(text, "%s%s", parts->kind == RP_KIND_TOKENIZER ? "tokenizer:" : "", parts->type);
    if (parts->name) rp_text_print(text, ":%s", parts->name);
    if (parts->device) rp_text_print(text, "@%s", parts->device);
    if (parts->precision) rp_text_print(text, "/%s", parts->precision);
}

char *rp_key_text(const struct rp_key_parts *parts) {
    struct rp_text text = RP_TEXT_INIT;
    print_parts(&text, parts);
    if (text.failed) rp_text_fini(&text);
    return text.bytes;
}

char *rp_key_history_text(const struct rp_key_parts *parts) {
    struct rp_text text = RP_TEXT_INIT;
    print_parts(&text, parts);
    rp_text_print(&text, " #%016llx", (unsigned long long)rp_key_hash(parts));
    if (text.failed) rp_text_fini(&text);
    return text.bytes;
}
