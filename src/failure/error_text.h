/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An error text, line by line: in UTF-8, without terminal codes and without the prefixes of logs,
 * each line with its part in the story. Memory is bounded, whatever comes.
 */
#ifndef RP_FAILURE_ERROR_TEXT_H
#define RP_FAILURE_ERROR_TEXT_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_ERROR_LINE_BYTES = 8192 }; /* longer ones come in pieces */

enum rp_line_role {
    RP_LINE_PLAIN,   /* what programs print                                                     */
    RP_LINE_MESSAGE, /* of an exception: "RuntimeError: ...", "Caused by: ...", "what():  ..."  */
    RP_LINE_WARNING, /* says of itself that it is one                                           */
    RP_LINE_FRAME,   /* of a stack trace: 'File "...", line 3', "at x (y.js:1)", "#4 0x..."     */
    RP_LINE_SOURCE,  /* source code below a frame                                               */
    RP_LINE_KERNEL,  /* of a kernel log                                                         */
    RP_LINE_NOISE,   /* progress bars, rules, blanks                                            */
};

/*
 * A line as it is told: a progress bar and what follows it on the same line are two, and so are
 * the lines of a JSON or Python string. Prefixes of logs and blanks at both ends are gone.
 */
struct rp_error_line {
    const char *text; /* valid UTF-8, no control characters, not NUL-terminated                  */
    size_t length;
    enum rp_line_role role;
    uint64_t number; /* from 1, of those that are told                                           */
    /*
     * Which trace or message it belongs to, counted from 0. Python's "direct cause" and "During
     * handling", Java's and Rust's "Caused by", C++'s nested "Exception from" say that one block
     * was caused by another, which stands before or after it: rp_error_text_depth() tells at the
     * end.
     */
    unsigned block;
    uint64_t start; /* of text[0] in the input                                             */
    /* text[i] stood at start + from[i]; from[length] is where what follows begins. NULL: text[i]
     * stood at start + i. */
    const uint32_t *from;
};

/* Further blocks count as the last. */
enum { RP_ERROR_BLOCKS_MAX = 256 };

struct rp_error_text; /* opaque: the state of a stream */

/* Called for each line, in order; the line is borrowed for the call. */
typedef void rp_error_line_fn(const struct rp_error_line *line, void *user);

/* NULL: no memory. About 42 KiB. */
struct rp_error_text *rp_error_text_create(rp_error_line_fn *take, void *user);
void rp_error_text_feed(struct rp_error_text *text, const char *bytes, size_t length);

/* The rest; lines may come during the call. Afterwards the causes are known. */
void rp_error_text_finish(struct rp_error_text *text);

/* How deep the cause of a block lies below the outermost of its chain: 0 where there is no chain,
 * else the deepest has the largest. */
unsigned rp_error_text_depth(const struct rp_error_text *text, unsigned block);
unsigned rp_error_text_block_count(const struct rp_error_text *text);
uint64_t rp_error_text_line_count(const struct rp_error_text *text);

/* Bytes that came so far. */
uint64_t rp_error_text_bytes(const struct rp_error_text *text);

void rp_error_text_destroy(struct rp_error_text *text);

#endif
