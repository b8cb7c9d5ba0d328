/* SPDX-License-Identifier: Apache-2.0 */
/* data/compatibility.txt, as the build made it. */
#ifndef RP_PLACEMENT_BUILT_IN_RULES_H
#define RP_PLACEMENT_BUILT_IN_RULES_H

#include <stddef.h>

extern const char rp_built_in_rules[];
extern const size_t rp_built_in_rules_bytes;

#endif
