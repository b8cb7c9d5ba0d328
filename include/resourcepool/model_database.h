/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The user's model database: a JSON file of families that a person or an earlier run wrote down.
 *
 *     {"acme/frobnicator": {"family": "vision", "subfamily": "segmentation", "confidence": 0.97}}
 *
 * What it says of a name wins over all that could be guessed. Any number of processes may read and
 * record at once: a record is merged into what the file says at that moment, under a lock on
 * "FILE.lock", and the file is replaced as a whole, so that nobody ever reads half of it.
 */
#ifndef RESOURCEPOOL_MODEL_DATABASE_H
#define RESOURCEPOOL_MODEL_DATABASE_H

#include <resourcepool/api.h>
#include <resourcepool/classify.h>
#include <resourcepool/status.h>
#include <stdbool.h>

/** The content of a database file when it was opened; immutable, any thread may look. */
typedef struct rp_model_database rp_model_database;

RP_BEGIN_DECLS

/**
 * Read a database.
 *
 * database  on RP_OK owned by the caller: rp_model_database_close()
 * Waits up to 5 s for a process that writes. RP_ERR_NOT_FOUND: there is no such file. RP_ERR_DATA:
 * it is damaged; the message has the line. RP_ERR_LIMIT: above 64 MiB. RP_ERR_TIMEOUT, RP_ERR_IO,
 * RP_ERR_MEMORY.
 */
RP_API RP_MUST_CHECK rp_status rp_model_database_open(const char *path,
                                                      rp_model_database **database, rp_error *err);

/** Accepts NULL. */
RP_API void rp_model_database_close(rp_model_database *database);

/**
 * What is recorded of a name, letter by letter; false when nothing is. An entry without a
 * confidence is a person's word: 1. result->source is "database".
 */
RP_API bool rp_model_database_find(const rp_model_database *database, const char *name,
                                   rp_classification *result);

/**
 * Record an answer. The file is made when there is none; other entries, and what else stands in
 * this one, stay as they are.
 *
 * answer  its family (not RP_FAMILY_UNKNOWN), subfamily and confidence are written
 * kept    what stands in the file afterwards: `answer`, or what was there when that is surer.
 *         NULL when that is of no interest
 *
 * An answer overwrites a recorded one only when it is surer, or as sure and of the same family. A
 * damaged file is RP_ERR_DATA and stays as it is. Likewise.
 */
RP_API RP_MUST_CHECK rp_status rp_model_database_record(const char *path, const char *name,
                                                        const rp_classification *answer,
                                                        rp_classification *kept, rp_error *err);

RP_END_DECLS

#endif
