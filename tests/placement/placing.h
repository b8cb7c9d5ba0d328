/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of placement share: the composed machines, some models, and a way to ask. */
#ifndef RP_TESTS_PLACING_H
#define RP_TESTS_PLACING_H

#include <resourcepool/hardware.h>
#include <resourcepool/placement.h>
#include <stddef.h>

enum { PLACING_MODEL_COUNT = 12, PLACING_WISH_COUNT = 6, PLACING_TEXT_BYTES = 64 << 10 };

struct machine {
    char name[64]; /* of the file, without its ending */
    const rp_snapshot *snapshot;
};

/* In the order of their names, once placing_read_machines() has been called. */
extern const struct machine *const placing_machines;
extern size_t placing_machine_count;

/* Names of models, and preferences as JSON, that each machine is asked with. */
extern const char *const placing_models[PLACING_MODEL_COUNT];
extern const char *const placing_wishes[PLACING_WISH_COUNT];

/* Set-up and tear-down of a group of tests. */
int placing_read_machines(void **state);
int placing_forget_machines(void **state);

/* One of them; the test fails when there is none. */
const struct machine *placing_machine(const char *name);

/* Where a model of that name goes; the test fails when even that cannot be answered. */
rp_plan *placing_ask(const rp_snapshot *snapshot, const char *model, const char *wishes);

/* "cuda:0/fp16", or "error: capacity"; in a text of the caller's of 64 bytes. Returns it. */
const char *placing_answer(const rp_plan *plan, char *text);

/*
 * Every candidate with all that is said of it, and the error if there is one, as one text that is
 * rp_free()'d by the caller.
 */
char *placing_describe(const rp_plan *plan);

#endif
