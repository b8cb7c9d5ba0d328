/* SPDX-License-Identifier: Apache-2.0 */
/* data/errors and data/advice.txt, as the build made them. */
#ifndef RP_FAILURE_BUILT_IN_H
#define RP_FAILURE_BUILT_IN_H

#include <stddef.h>

extern const char rp_built_in_error_rules[];
extern const size_t rp_built_in_error_rules_bytes;
extern const char rp_built_in_advice[];
extern const size_t rp_built_in_advice_bytes;

#endif
