/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON out of model files, and what its readers ask it. It comes from strangers: how deep it nests
 * and how many values it has is known before the parser sees it, since each parsed value takes some
 * fifty times the bytes it is written with.
 */
#ifndef RP_MODEL_JSON_H
#define RP_MODEL_JSON_H

#include "model/source.h"

#include <jansson.h>
#include <stdbool.h>

enum rp_json_kind {
    RP_JSON_TABLE, /* whole numbers are exact; a key that comes twice is refused */
    /*
     * As Python's json module writes it: NaN, Infinity, whole numbers of 31 digits. Every number is
     * read as a real, the last of equal keys counts.
     */
    RP_JSON_CONFIG,
};

/*
 * Parse a range of a file; *root, an object or an array, is the caller's. RP_ERR_DATA when it is no
 * JSON, RP_ERR_LIMIT when it is deeper or has more values than base/limits.h allows, RP_ERR_MEMORY.
 * `what` is for messages: "the header".
 */
rp_status rp_json_read(const struct rp_source *source, uint64_t offset, size_t length,
                       enum rp_json_kind kind, const char *what, json_t **root, rp_error *err);

/* The same of a whole file of at most `bytes_max` bytes. */
rp_status rp_json_read_file(const struct rp_source *source, size_t bytes_max,
                            enum rp_json_kind kind, json_t **root, rp_error *err);

/* How such a list of keys ends. */
#define RP_JSON_KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

/*
 * The first of several keys whose value counts something: whole, above 0, below 2^32 - 1.
 * RP_UNKNOWN_U32 without one; `object` may be NULL or no object.
 */
uint32_t rp_json_count(const json_t *object, const char *const *keys);

/* The text of a key; NULL when there is none. Borrowed. */
const char *rp_json_text(const json_t *object, const char *key);

/* The truth of a key, or `otherwise`. */
bool rp_json_truth(const json_t *object, const char *key, bool otherwise);

#endif
