/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features of a model's name, as they are weighed in rp_classify_name() and learnt by
 * tools/train-families.
 */
#ifndef RP_MODEL_FAMILY_H
#define RP_MODEL_FAMILY_H

#include <stddef.h>
#include <stdint.h>

/* Tell every feature of a name to `tell`: its bucket, and its value in 1/RP_FAMILY_VALUE_UNIT. */
void rp_family_features(const char *name, void (*tell)(void *user, uint32_t bucket, int value),
                        void *user);

#endif
