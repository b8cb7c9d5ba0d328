/* SPDX-License-Identifier: Apache-2.0 */
/* The number of parameters of a transformer, computed from its configuration alone. */
#ifndef RP_MODEL_PARAMETERS_H
#define RP_MODEL_PARAMETERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rp_parameters {
    uint64_t count;
    uint64_t min; /* what it may be as well */
    uint64_t max;
};

/*
 * `config` is the whole config.json. False when it does not say enough, or describes what these
 * formulas are not made for.
 */
bool rp_parameters_of_config(const json_t *config, struct rp_parameters *parameters);

#endif
