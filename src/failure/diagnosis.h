/* SPDX-License-Identifier: Apache-2.0 */
/* A diagnosis from inside: what reading found (diagnosis.c), what follows from it (advice.c). */
#ifndef RP_FAILURE_DIAGNOSIS_H
#define RP_FAILURE_DIAGNOSIS_H

#include "failure/facts.h"

#include <jansson.h>
#include <resourcepool/facts.h>
#include <resourcepool/failure.h>

enum {
    RP_CAUSE_BYTES = 400,
    RP_EVIDENCE_KEPT = 16,
    RP_RIVALS_KEPT = 3,
};

/* A span of the input that spoke for the category. */
struct rp_evidence {
    uint64_t start;
    uint64_t end;
    uint64_t line;
    char text[RP_FACT_TEXT_MAX]; /* cut where it is longer, printable */
};

/* What a question says, in the library's own words. */
struct rp_failure_subject {
    bool has_kind;       /* the question or the text named a device              */
    bool is_kind_told;   /* the question did                                     */
    rp_device_kind kind; /* as far as has_kind                                   */
    bool has_text_kind;  /* the text is plainly about one, whatever the question says */
    rp_device_kind text_kind;
    char hardware[32];    /* as the question has it, "cuda:1"; "": it has none */
    const char *engine;   /* "onnxruntime" where one is named or spoke: static, or NULL */
    const char *system;   /* "windows" where the text shows it: static, or NULL    */
    char model[256];      /* "" where none is named                               */
    bool has_facts;       /* of the model                                         */
    rp_model_facts facts; /* its files or its name told them                      */
    rp_family family;
};

enum { RP_ADVICE_TEXTS_MAX = 12, RP_ALTERNATIVES_MAX = 8 };

struct rp_alternative {
    char device[64]; /* "cuda:1", "cpu"; of a machine that is not known, a kind */
    char *reason;
    bool simulated;
};

/* A way to see whether it works now. */
struct rp_failure_check {
    char *what;    /* a sentence                        */
    char *command; /* what to type; NULL: nothing to type */
};

struct rp_advice {
    char *recommendations[RP_ADVICE_TEXTS_MAX]; /* the best first */
    size_t recommendation_count;
    struct rp_failure_check checks[RP_ADVICE_TEXTS_MAX];
    size_t check_count;
    struct rp_alternative alternatives[RP_ALTERNATIVES_MAX];
    size_t alternative_count;
    char *known_problem; /* of the database of placement; NULL: none */
};

struct rp_diagnosis {
    rp_category category;
    double confidence;
    rp_category rivals[RP_RIVALS_KEPT]; /* what else it may be, the likeliest first; with a low
                                           confidence these are what it lies between           */
    double rival_shares[RP_RIVALS_KEPT];
    size_t rival_count;
    char cause[RP_CAUSE_BYTES]; /* the deepest cause, as the text has it: printable        */
    uint64_t cause_start;       /* where it stands in the input                            */
    uint64_t cause_end;
    bool is_silent_fallback; /* it went on, on the CPU, without what was asked for         */
    struct rp_facts facts;
    struct rp_evidence evidence[RP_EVIDENCE_KEPT];
    size_t evidence_count;
    uint64_t text_bytes; /* how much was read                                              */
    struct rp_failure_subject subject;
    struct rp_advice advice;
    char line[512];
};

/*
 * What else speaks for a category than the text: the status that came with it. As strong as a rule
 * of that strength on a line of no kind.
 */
struct rp_failure_prior {
    rp_category category; /* RP_CATEGORY_UNKNOWN: nothing does */
    int strength;
};

/* rp_diagnose() of a text that came with more than itself. */
rp_status rp_diagnose_with(const rp_failure_question *question,
                           const struct rp_failure_prior *prior, struct rp_diagnosis **diagnosis,
                           rp_error *err);

/*
 * Fill in diagnosis->advice and ->line from the rest, by data/advice.txt and placement. `snapshot`
 * may be NULL.
 */
rp_status rp_advise(struct rp_diagnosis *diagnosis, const rp_snapshot *snapshot, rp_error *err);
void rp_advice_fini(struct rp_advice *advice);

/* As JSON, a new reference; NULL without memory. */
json_t *rp_diagnosis_as_json(const struct rp_diagnosis *diagnosis);

#endif
