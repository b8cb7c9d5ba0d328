/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What messages say: the rules of data/errors.
 *
 *   CATEGORY STRENGTH [on KIND...]
 *       PATTERN                      one or more: any of them on a line
 *       with PATTERN                 this too, anywhere in the text (several: all of them)
 *       without PATTERN              and this nowhere
 *       = AN ERROR TEXT              a test: the rule holds there and its category wins;
 *                                    \n begins a new line
 *
 * A category is one of failure.h. Strength: 9 the library's own words for just this; 7, 8 nearly
 * always this; 5, 6 mostly; 3, 4 a hint, or a wrapper whose cause may stand elsewhere; 1, 2 a
 * trace. "on" holds a rule to texts of such devices, as the question or the text names them.
 *
 * Three more words stand in the place of a category: "fact 0" reads facts and says nothing else;
 * "cuda", "webgpu", ... of a kind of device: the text is about such a one; "fallback": it went on
 * without the accelerator. "torch", "windows", ... of RP_RULE_ENGINES and RP_RULE_SYSTEMS: that is
 * what printed the text, or where it ran.
 */
#ifndef RP_FAILURE_RULES_H
#define RP_FAILURE_RULES_H

#include "failure/pattern.h"

#include <resourcepool/failure.h>
#include <resourcepool/status.h>

enum rp_verdict_kind {
    RP_VERDICT_CATEGORY,
    RP_VERDICT_FACT,
    RP_VERDICT_DEVICE,
    RP_VERDICT_FALLBACK,
    RP_VERDICT_ENGINE,
    RP_VERDICT_SYSTEM,
};

/* Libraries whose users are advised in words of their own, and systems likewise. */
#define RP_RULE_ENGINES                                                                            \
    "onnxruntime", "torch", "llama.cpp", "jax", "tensorflow", "tensorrt", "transformers.js"
#define RP_RULE_SYSTEMS "windows", "macos"

/* A pattern of a rule is the number of one in the table of patterns: rules share them. */
struct rp_failure_rule {
    enum rp_verdict_kind verdict;
    rp_category category; /* of RP_VERDICT_CATEGORY */
    rp_device_kind kind;  /* of RP_VERDICT_DEVICE   */
    const char *name;     /* of RP_VERDICT_ENGINE and RP_VERDICT_SYSTEM */
    int strength;
    uint32_t kinds; /* a bit for each kind it is held to; 0: any */
    uint32_t first; /* its patterns, in rp_failure_rules.used: any, then with, then without */
    uint16_t any_count;
    uint16_t with_count;
    uint16_t without_count;
    uint16_t example_count;
    uint32_t first_example;
    uint32_t line; /* in its file */
};

/* In the text that the rules were made of. */
struct rp_failure_example {
    const char *text;
    size_t length;
};

struct rp_failure_rules {
    struct rp_failure_rule *rows;
    size_t count;
    struct rp_pattern **patterns;
    size_t pattern_count;
    uint32_t *used; /* numbers of patterns */
    size_t used_count;
    struct rp_failure_example *examples;
    size_t example_count;
    /* The rules in which pattern i is one of "any": of_pattern[of_pattern_first[i]] and so on, up
     * to the next one's first. */
    uint32_t *of_pattern_first; /* pattern_count + 1 of them */
    uint16_t *of_pattern;
    struct rp_gram_index *index;
};

/* The built-in ones; made at first use, kept for the process. */
rp_status rp_failure_rules_of_process(const struct rp_failure_rules **out, rp_error *err);

/* Those of a text, which must outlive them. `source` names it in messages. */
rp_status rp_failure_rules_create(const char *text, size_t length, const char *source,
                                  struct rp_failure_rules **out, rp_error *err);
void rp_failure_rules_destroy(struct rp_failure_rules *rules);

/* Called for each pattern that a line holds, once; borrowed for the call. */
typedef void rp_failure_hit_fn(uint32_t pattern, const struct rp_pattern_match *match, void *user);

enum { RP_RULES_LINE_BYTES = 8192 }; /* of longer lines the beginning is looked at */

/* `seen` has rp_failure_rules_seen_bytes() bytes of the caller's, zero before and after. */
size_t rp_failure_rules_seen_bytes(const struct rp_failure_rules *rules);
void rp_failure_rules_scan(const struct rp_failure_rules *rules, const char *line, size_t length,
                           unsigned char *seen, rp_failure_hit_fn *take, void *user);

#endif
