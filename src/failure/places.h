/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a failure, as texts for the places of data/advice.txt. What came out of an error
 * text is shown only where it is a plain name or figure: no links, nothing that reads like a
 * command.
 */
#ifndef RP_FAILURE_PLACES_H
#define RP_FAILURE_PLACES_H

#include "failure/advice_rows.h"
#include "failure/diagnosis.h"
#include "failure/fit.h"

enum { RP_PLACES_BYTES = 8192, RP_FACT_SHOWN_BYTES = 100 };

struct rp_places {
    struct rp_advice_case which;
    const struct rp_diagnosis *diagnosis;
    const struct rp_fact *facts[RP_FACT_NAME_COUNT]; /* the weightiest of each; NULL: none */
    const rp_device *device;                         /* of the snapshot: that failed; NULL  */
    char id[64];                                     /* "cuda:1", as far as it is known; "" */
    size_t used;
    char bytes[RP_PLACES_BYTES];
};

/* What the diagnosis and the snapshot (may be NULL) say; words are not in yet. */
void rp_places_init(struct rp_places *places, const struct rp_diagnosis *diagnosis,
                    const rp_snapshot *snapshot);

/* What follows from that and from the words, about versions and chips. */
void rp_places_finish(struct rp_places *places);

/* Add one; where there is no place left it stays unknown. */
void rp_places_put(struct rp_places *places, int place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void rp_places_put_text(struct rp_places *places, int place, const char *text);
void rp_places_put_bytes(struct rp_places *places, int place, uint64_t bytes);

void rp_places_put_fit(struct rp_places *places, const struct rp_fit *fit);

/* The number of a fact of bytes; RP_UNKNOWN_U64. */
uint64_t rp_places_bytes_of(const struct rp_places *places, enum rp_fact_name name);

/* Whether a text from outside may be shown. */
bool rp_is_fit_to_show(const char *text);

#endif
