/* SPDX-License-Identifier: Apache-2.0 */
/* A part of the TPU kind that its test looks at. */
#ifndef RP_HARDWARE_TPU_H
#define RP_HARDWARE_TPU_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a list such as TPU_VISIBLE_CHIPS ("0,2") has this chip. */
bool rp_tpu_lists_chip(const char *list, size_t index);

#endif
