/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data/advice.txt as rows: what is said of which category, on which kinds of device, when what is
 * known. Texts have places, and a text counts only where each of its places is known.
 */
#ifndef RP_FAILURE_ADVICE_ROWS_H
#define RP_FAILURE_ADVICE_ROWS_H

#include "failure/facts.h"

#include <resourcepool/classify.h>
#include <resourcepool/failure.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Places beside the facts: constant, name in texts. places.c fills them in. */
/* clang-format off */
#define RP_PLACE_MAP(X)                                                                         \
    X(WHERE,          "where")          /* "cuda:1", "cuda": the device that failed          */ \
    X(KIND,           "kind")           /* "cuda"                                            */ \
    X(CARD,           "card")           /* "the NVIDIA GPU"                                  */ \
    X(FAMILY,         "family")         /* "text generation"                                 */ \
    X(NAME,           "name")           /* of the model                                      */ \
    X(BYTES_SHORT,    "bytes_short")    /* asked, less what is free                          */ \
    X(NEED,           "need")           /* of the model, as it is stored                     */ \
    X(NEED_PRECISION, "need_precision")                                                         \
    X(ROOM,           "room")           /* of the device                                     */ \
    X(FIT_PRECISION,  "fit_precision")  /* the widest that has room there                    */ \
    X(FIT_NEED,       "fit_need")                                                               \
    X(FIT_BATCH,      "fit_batch")      /* the largest that has room                         */ \
    X(FIT_CONTEXT,    "fit_context")                                                            \
    X(SIBLING,        "sibling")        /* a smaller model of its line                       */ \
    X(SIBLING_NEED,   "sibling_need")                                                           \
    X(FREE_HERE,      "free_here")      /* on the device, as the snapshot has it             */ \
    X(TOTAL_HERE,     "total_here")                                                             \
    X(HOLDER,         "holder")         /* who holds the most of it: "'python', pid 7"       */ \
    X(HOLDER_PID,     "holder_pid")                                                             \
    X(HOLDER_BYTES,   "holder_bytes")                                                           \
    X(HERE,           "here")           /* devices of the machine: "cpu, cuda:0"             */ \
    X(KIND_ABSENT,    "kind_absent")    /* "yes": the snapshot has none of that kind         */ \
    X(ABSENCE,        "absence")        /* why, as the snapshot says                         */ \
    X(DRIVER_HERE,    "driver_here")                                                            \
    X(CHIP_HERE,      "chip_here")                                                              \
    X(CUDA_FOUND,     "cuda_found")     /* the newest that the driver runs                   */ \
    X(DRIVER_FOUND,   "driver_found")                                                           \
    X(DRIVER_NEEDED,  "driver_needed")                                                          \
    X(FALLBACK,       "fallback")       /* "yes": it went on silently on the CPU             */ \
    X(OTHER_KIND,     "other_kind")     /* which the text speaks of, against the question    */ \
    X(BEST,           "best")           /* the first alternative, "cuda:1 (22.0 GiB free)"   */ \
    X(RECOGNISED,     "recognised")                                                             \
    X(RIVAL,          "rival")          /* what it may be instead, where little is certain   */ \
    X(LIKELIEST,      "likeliest")      /* of what is unknown                                */ \
    X(CAUSE,          "cause")          /* as the text has it: for WHEN alone, never shown    */ \
    X(KNOWN_PROBLEM,  "known_problem")                                                          \
    X(TYPE,           "type")           /* placement's name of the fact 'dtype'              */ \
    X(TEXT_KIND,      "text_kind")      /* the kind of device that the text itself names     */ \
    X(ENGINE,         "engine")         /* the library that printed the text: "torch"        */ \
    X(SYSTEM,         "system")         /* "windows", "macos"; unknown: as on Linux          */ \
    X(OVER,           "over")           /* asked, less the limit                             */ \
    X(NOT_HERE,       "not_here")       /* "yes": no such kind here, and it matters          */ \
    X(CARDS_COUNT,    "cards_count")    /* of the kind that failed: "4"                      */ \
    X(CARDS_ROOM,     "cards_room")     /* all of them together                              */ \
    X(CARDS_PRECISION, "cards_precision") /* the widest that fits so                         */ \
    X(CARDS_NEED,     "cards_need")                                                            \
    X(SWAPPED,        "swapped")        /* "yes": sizes given are those wanted, out of order */ \
    X(CONTEXT,        "context")        /* the most tokens of the model                      */ \
    X(AT_MOST,        "at_most")        /* "yes": the limit is the model's own               */ \
    X(FRAGMENTED,     "fragmented")     /* "yes": an allocator keeps more than was asked     */
/* clang-format on */

enum {
#define RP_PLACE_ENUM(constant, name) RP_PLACE_##constant,
    RP_PLACE_FIRST = RP_FACT_NAME_COUNT - 1, /* facts are places too, and come first */
    RP_PLACE_MAP(RP_PLACE_ENUM)
#undef RP_PLACE_ENUM
        RP_PLACE_COUNT,
    RP_PLACE_WORDS_MAX = 24, /* kinds of 'word' rows */
    RP_PLACES_MAX = RP_PLACE_COUNT + RP_PLACE_WORDS_MAX,
    RP_ADVICE_TEXT_BYTES = 1024,
};

enum rp_advice_type { RP_ADVICE_LINE, RP_ADVICE_DO, RP_ADVICE_CHECK };

/* What may stand in for a device that failed. */
/* clang-format off */
#define RP_OTHERS_MAP(X)                                                                    \
    X(NONE,     "none")      /* no device has a part in it                               */ \
    X(ROOM,     "room")      /* where there is room                                      */ \
    X(MAIN,     "main")      /* with memory of its own: RAM ran out                      */ \
    X(LIMIT,    "limit")     /* no browser: their limits are the narrow ones             */ \
    X(KIND,     "kind")      /* of another kind                                          */ \
    X(BUILT,    "built")     /* of a kind that the text lists, or the processor          */ \
    X(CHIP,     "chip")      /* of another kind, or another chip                         */ \
    X(NATIVE,   "native")    /* no browser                                               */ \
    X(LISTED,   "listed")    /* any that is there                                        */ \
    X(OTHER,    "other")     /* any but that one                                         */ \
    X(ONE,      "one")       /* one alone, that one too                                  */ \
    X(OPERATOR, "operator")  /* not known to lack it                                     */ \
    X(DTYPE,    "dtype")     /* that computes in the type                                */ \
    X(DYNAMIC,  "dynamic")   /* that takes shapes as they come                           */ \
    X(CPU,      "cpu")       /* the processor, for its clear messages                    */
/* clang-format on */

enum rp_others {
#define RP_OTHERS_ENUM(constant, name) RP_OTHERS_##constant,
    RP_OTHERS_MAP(RP_OTHERS_ENUM)
#undef RP_OTHERS_ENUM
};

struct rp_advice_rows;
struct rp_advice_row;

/* What rows are chosen by. */
struct rp_advice_case {
    const char *places[RP_PLACES_MAX]; /* NULL: not known */
    bool has_kind;
    rp_device_kind kind;
    rp_family family;
    const char *engine; /* NULL: none */
};

/* The built-in rows; made at first use, kept for the process. RP_ERR_DATA names the line. */
rp_status rp_advice_rows_of_process(const struct rp_advice_rows **out, rp_error *err);

rp_status rp_advice_rows_create(const char *text, size_t length, const char *source,
                                struct rp_advice_rows **out, rp_error *err);
/* Accepts NULL. */
void rp_advice_rows_destroy(struct rp_advice_rows *rows);

/* Fill in the places that 'word' rows make of others. */
void rp_advice_add_words(const struct rp_advice_rows *rows, struct rp_advice_case *which);

/* The place of that name, facts and words too; -1. */
int rp_advice_place(const struct rp_advice_rows *rows, const char *name, size_t length);

enum rp_others rp_advice_others(const struct rp_advice_rows *rows, rp_category category);

/*
 * The next row of that type that speaks of the case, after `after` (NULL: the first); of a row and
 * its plainer forms, the first that does. NULL: no further one. `common`: of the rows of all
 * categories.
 */
const struct rp_advice_row *rp_advice_next(const struct rp_advice_rows *rows, rp_category category,
                                           bool common, enum rp_advice_type type,
                                           const struct rp_advice_case *which,
                                           const struct rp_advice_row *after);

/* Its text, and its command ("" where it has none), with all places filled in. */
void rp_advice_write(const struct rp_advice_rows *rows, const struct rp_advice_row *row,
                     const struct rp_advice_case *which, char text[RP_ADVICE_TEXT_BYTES],
                     char command[RP_ADVICE_TEXT_BYTES]);

/* Whether a text from outside may stand in a command, between quotes. */
bool rp_advice_is_safe_word(const char *text);

#endif
