/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codes that programs send to terminals: colours, titles, links, ways of the cursor. They are
 * known by state, character by character; what is malformed or has no end takes little with it.
 */
#ifndef RP_FAILURE_TERMINAL_H
#define RP_FAILURE_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Where a code that has ended sent the cursor. */
enum rp_terminal_move {
    RP_MOVE_NONE,
    RP_MOVE_RIGHT,    /* as some consoles write blanks   */
    RP_MOVE_TO_BEGIN, /* of the line, as a return does   */
    RP_MOVE_AWAY,     /* to another line                 */
};

/* Zero-initialise. */
struct rp_terminal {
    int state; /* 0: no code has begun */
    unsigned count;
    bool is_numbered;
    enum rp_terminal_move move; /* of the last character */
};

/* Whether a character belongs to a code. A control character that begins none does not. */
bool rp_terminal_takes(struct rp_terminal *terminal, uint32_t character);

#endif
