/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of what hangs on a device, as tables: making one unknown, copying it, writing and
 * reading its JSON all walk the same rows.
 */
#ifndef RP_HARDWARE_FIELDS_H
#define RP_HARDWARE_FIELDS_H

#include "hardware/snapshot.h"

enum rp_field_type {
    RP_FIELD_TEXT,  /* const char *                                                     */
    RP_FIELD_TEXTS, /* const char *const *, and a size_t after it                       */
    RP_FIELD_U32,
    RP_FIELD_U64,
    RP_FIELD_ANSWER,  /* rp_answer                                                        */
    RP_FIELD_OBJECTS, /* array of pointers to structs with a table, and a size_t after it */
};

struct rp_fields;

struct rp_field {
    const char *key; /* in JSON */
    size_t offset;
    enum rp_field_type type;
    const struct rp_fields *fields; /* of RP_FIELD_OBJECTS */
};

/* A struct: its first field is its size, which is no row. */
struct rp_fields {
    size_t bytes;
    const struct rp_field *rows;
    size_t count;
};

extern const struct rp_fields rp_accelerator_fields;

/* A new struct, all about it unknown; NULL without memory. */
void *rp_fields_new(struct rp_snapshot *snapshot, const struct rp_fields *fields);

/* A copy with all that hangs on it; NULL without memory. */
void *rp_fields_copy(struct rp_snapshot *snapshot, const struct rp_fields *fields,
                     const void *from);

#endif
