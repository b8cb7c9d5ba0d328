/* SPDX-License-Identifier: Apache-2.0 */
/* The model database from bytes in memory, for its reader and for fuzzing. */
#ifndef RP_MODEL_DATABASE_INTERNAL_H
#define RP_MODEL_DATABASE_INTERNAL_H

#include <resourcepool/model_database.h>
#include <stddef.h>

/* As rp_model_database_open(); `source` is for messages. */
rp_status rp_model_database_parse(const char *bytes, size_t length, const char *source,
                                  rp_model_database **database, rp_error *err);

#endif
