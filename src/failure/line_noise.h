/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that say nothing: rules, progress bars, tables of downloads. */
#ifndef RP_FAILURE_LINE_NOISE_H
#define RP_FAILURE_LINE_NOISE_H

#include <stdbool.h>
#include <stddef.h>

bool rp_line_is_noise(const char *line, size_t length);

/* Whether it has neither letters nor digits. */
bool rp_line_is_rule(const char *line, size_t length);

#endif
