/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: send jansson's memory through base/memory.h, so that it can fail and is counted. */
#ifndef RP_TESTS_JSON_HEAP_H
#define RP_TESTS_JSON_HEAP_H

#include "base/memory.h"

#include <jansson.h>

static inline void json_heap_is_ours(void) {
    json_set_alloc_funcs(rp_alloc, rp_free);
}

#endif
