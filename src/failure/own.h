/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures of our own: every one of the pool, the engines and the workers is explained by
 * rp_explain(), and by nothing else. Nobody fails for it: without memory there is no explanation.
 */
#ifndef RP_FAILURE_OWN_H
#define RP_FAILURE_OWN_H

#include <resourcepool/failure.h>
#include <resourcepool/status.h>
#include <stdbool.h>

/* What of a diagnosis is kept: in rings, negative entries and hints. */
struct rp_explanation {
    rp_category category;
    double confidence;
    char line[320];                                /* "": there is none                  */
    char advice[sizeof(((rp_error *)NULL)->hint)]; /* the first recommendation; "": none */
};

/*
 * Explain a failure of what was asked of `device` ("cuda:1") for `model`; both may be NULL, or no
 * names of anything. Where the failure has no hint, it gets the first recommendation. False, and
 * an empty *out: there is nothing to say. `out` may be NULL; then a failure with a hint costs
 * nothing.
 *
 * May open the model's files: under no lock, and not in a loop that others wait for. Any thread.
 */
bool rp_explain(rp_error *failure, const char *device, const char *model,
                struct rp_explanation *out);

/* Copy a text for people; one that does not fit ends after its last sentence, or word and "...". */
void rp_cut_text(char *out, size_t out_bytes, const char *text);

#endif
