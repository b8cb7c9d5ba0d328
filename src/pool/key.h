/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key: the parts that tell one request, or one instance, from every other.
 *
 * The parts lie one behind the other, each with its length before it, so that ("a:b", "c") and
 * ("a", "b:c") differ. The same form serves for what was asked ("auto") and for what it became
 * ("cpu"); the pool keeps a table of each.
 */
#ifndef RP_POOL_KEY_H
#define RP_POOL_KEY_H

#include <resourcepool/request.h>
#include <resourcepool/statistics.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The parts of a key, borrowed. NULL is an absent part, which differs from an empty one. */
struct rp_key_parts {
    rp_kind kind;
    uint32_t threads;
    const char *type;
    const char *name;
    const char *device;
    const char *precision;
    const char *engine;
    const char *path;
};

/*
 *   bytes:  [u32 length][type][NUL] [u32 length][name][NUL] ... device, precision, engine, path
 *
 * An absent part has length RP_KEY_ABSENT and no bytes, not even the NUL. The NULs let a part be
 * compared with a caller's text by strcmp(), which is faster than measuring it first.
 */
struct rp_key {
    uint64_t hash;
    uint32_t size; /* of bytes[] */
    uint32_t name_offset;
    uint32_t threads;
    uint8_t kind;
    bool is_plain; /* type and name only: the form of nearly every request, compared fastest */
    char bytes[];
};

enum { RP_KEY_TYPE_OFFSET = 4, RP_KEY_PARTS = 6 };
#define RP_KEY_ABSENT UINT32_MAX

static inline bool rp_key_parts_are_plain(const struct rp_key_parts *parts) {
    return !parts->device && !parts->precision && !parts->engine && !parts->path &&
           parts->threads == 0 && parts->name;
}

static inline uint64_t rp_key_hash_part(const char *part, uint64_t seed) {
    return part ? XXH3_64bits_withSeed(part, strlen(part), seed) : seed * 31 + 1;
}

/* The hash of parts that are not in a key yet; the same as that of the key made of them. */
static inline uint64_t rp_key_hash(const struct rp_key_parts *parts) {
    uint64_t hash = rp_key_hash_part(parts->type, parts->kind);
    hash = rp_key_hash_part(parts->name, hash);
    if (rp_key_parts_are_plain(parts)) return hash;
    hash = rp_key_hash_part(parts->device, hash + parts->threads);
    hash = rp_key_hash_part(parts->precision, hash);
    hash = rp_key_hash_part(parts->engine, hash);
    return rp_key_hash_part(parts->path, hash);
}

bool rp_key_equals_slowly(const struct rp_key *key, const struct rp_key_parts *parts);

/* Whether the key is made of exactly these parts. */
static inline bool rp_key_equals(const struct rp_key *key, const struct rp_key_parts *parts) {
    if (key->kind != parts->kind) return false;
    if (!key->is_plain || !rp_key_parts_are_plain(parts)) return rp_key_equals_slowly(key, parts);
    return strcmp(parts->name, key->bytes + key->name_offset) == 0 &&
           strcmp(parts->type, key->bytes + RP_KEY_TYPE_OFFSET) == 0;
}

/* The bytes of a key made of parts, a multiple of 8. The parts have been checked: they fit. */
size_t rp_key_size(const struct rp_key_parts *parts);

/* Make a key of parts where rp_key_size() zeroed bytes are free, aligned to 8. Returns `key`. */
struct rp_key *rp_key_write(struct rp_key *key, const struct rp_key_parts *parts);

/* A key by itself; NULL without memory. rp_free(). */
struct rp_key *rp_key_create(const struct rp_key_parts *parts);

/* The parts of a key, borrowed from it. */
struct rp_key_parts rp_key_parts_of(const struct rp_key *key);

/*
 * What a request asks for, as parts, after checking them: lengths, UTF-8, control characters, what
 * goes with what. "auto" becomes an absent device.
 */
rp_status rp_key_parts_of_request(rp_kind kind, const rp_request *request,
                                  struct rp_key_parts *parts, rp_error *err);

/*
 * A key for people: "embedding:bert-base-uncased@cuda:1/fp16", "tokenizer:embedding:x", "torch".
 * NULL without memory; rp_free().
 */
char *rp_key_text(const struct rp_key_parts *parts);

/*
 * The same, with all parts in a hash behind it: what tells instances apart in the history. NULL
 * without memory; rp_free().
 */
char *rp_key_history_text(const struct rp_key_parts *parts);

#endif
