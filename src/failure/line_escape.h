/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines that are strings of JSON or Python, with line breaks written as a backslash and an n.
 * Folders of Windows that begin with an n stay what they are.
 */
#ifndef RP_FAILURE_LINE_ESCAPE_H
#define RP_FAILURE_LINE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rp_line_escapes {
    bool are_text;   /* the line is such a string                                   */
    bool are_double; /* and was made one twice: two backslashes are a line break too */
};

void rp_line_escapes_find(const char *line, size_t length, struct rp_line_escapes *escapes);

/*
 * Read what begins with the backslash at `at`. Returns how many bytes that is; *character is what
 * they mean, '\n' for a line break. 0: it means itself.
 */
size_t rp_line_escape_read(const char *line, size_t length, size_t at,
                           const struct rp_line_escapes *escapes, uint32_t *character);

/* Where a string may be cut: behind the last line break beyond `least`; 0: there is none. */
size_t rp_line_escape_cut(const char *line, size_t length, size_t least,
                          const struct rp_line_escapes *escapes);

#endif
