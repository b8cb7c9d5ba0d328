/* SPDX-License-Identifier: Apache-2.0 */
/* Precisions: their names, and what a device does well. */
#ifndef RP_PLACEMENT_PRECISION_H
#define RP_PLACEMENT_PRECISION_H

#include <resourcepool/facts.h>
#include <resourcepool/hardware.h>
#include <stdbool.h>

/* How well a device computes in a precision. */
enum rp_precision_fit {
    RP_PRECISION_LACKS,  /* not at all */
    RP_PRECISION_SLOWLY, /* by converting, slower than in a wider one */
    RP_PRECISION_WELL,
};

/* The one name of a precision: "half" and "float16" are "fp16". NULL: it is none that is known. */
const char *rp_precision_name(const char *text);

/* Whether it is narrower than the other; both as rp_precision_name() has them. */
int rp_precision_is_lower(const char *precision, const char *than);

enum rp_precision_fit rp_precision_fit(const rp_device *device, const char *precision);

/*
 * What a model is computed in where nobody asks for anything else: as it is stored, or in the next
 * one that the device does well. Static storage, or the facts' own text for a type that only files
 * have ("q4_k").
 *
 * generates  whether the model writes text, token by token
 * stored     set to what it is stored in, or is taken to be: fp16 for what generates text and has a
 *            billion parameters or more, else fp32, where only a name is known
 */
const char *rp_precision_default(const rp_device *device, const rp_model_facts *facts,
                                 bool generates, const char **stored);

#endif
