/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages with holes: the text that a library prints, where a hole stands for what varies.
 *
 *   CUDA out of memory. Tried to allocate {bytes_asked}
 *
 * Small and capital letters are the same, a space stands for any white space. {fact} reads a fact
 * (facts.h), {fact=words} is those words and the fact, {} any word, * anything on the line (nothing
 * too). [a|b] is one of several, [a|] may be absent. ^ at the beginning and $ at the end hold a
 * pattern to the ends of the line. A letter or digit at either end of a pattern ends a word there
 * ("Killed" is not in "SkilledModel"); a * beside it lifts that. A backslash takes the next
 * character as it is.
 */
#ifndef RP_FAILURE_PATTERN_H
#define RP_FAILURE_PATTERN_H

#include "failure/facts.h"

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_PATTERN_HOLES_MAX = 8, RP_PATTERN_BYTES_MAX = 512 };

struct rp_pattern;

/* One hole as it was filled. */
struct rp_pattern_hole {
    enum rp_fact_name name;
    size_t start; /* in the line */
    size_t end;
    uint64_t number;
};

struct rp_pattern_match {
    size_t start;
    size_t end;
    struct rp_pattern_hole holes[RP_PATTERN_HOLES_MAX];
    size_t hole_count;
};

/* RP_ERR_DATA says what is wrong with it, RP_ERR_MEMORY. */
rp_status rp_pattern_create(const char *text, size_t length, struct rp_pattern **out,
                            rp_error *err);
void rp_pattern_destroy(struct rp_pattern *pattern);

/* The first place where the line is as the pattern says. The work is bounded whatever the line is:
 * one that takes more is taken for no match. */
bool rp_pattern_find(const struct rp_pattern *pattern, const char *line, size_t length,
                     struct rp_pattern_match *match);

/* The same where it is known that no match begins before `from`. */
bool rp_pattern_find_from(const struct rp_pattern *pattern, const char *line, size_t length,
                          size_t from, struct rp_pattern_match *match);

/*
 * What every match has, in small letters and with single blanks: each literal, and one of the
 * choices of a part, of which a match has one. Runs of one part have its number; every match begins
 * with one of part 0, or with a blank and that.
 */
typedef void rp_pattern_run_fn(const char *run, size_t length, unsigned part, void *user);
void rp_pattern_runs(const struct rp_pattern *pattern, rp_pattern_run_fn *take, void *user);

#endif
