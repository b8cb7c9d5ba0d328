/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/terminal.h"

#include <string.h>

enum {
    CODE_BYTES_MAX = 64,
    STRING_BYTES_MAX = 1024, /* of titles and links */
};

enum code_state {
    CODE_NONE,
    CODE_BEGUN,   /* after ESC                                  */
    CODE_CONTROL, /* after ESC [                                */
    CODE_STRING,  /* after ESC ] and its like: up to BEL, ESC \ */
    CODE_STRING_ESCAPE,
    CODE_CHARSET, /* after ESC ( */
};

static bool end_control_code(struct rp_terminal *terminal, uint32_t character) {
    static const char bare[] = "ABCDGHJKLMPSTXmsuf@";
    terminal->state = CODE_NONE;
    if (character < 0x40 || character > 0x7e) return false;
    /* Without a number only what is usual: others are text behind a broken code. */
    if (terminal->count == 0 && !strchr(bare, (int)character)) return false;
    if (character == 'G') terminal->move = RP_MOVE_TO_BEGIN;
    if (character == 'C') terminal->move = RP_MOVE_RIGHT;
    if (character == 'H' || character == 'f' || character == 'E') terminal->move = RP_MOVE_AWAY;
    return true;
}

static bool begin_code(struct rp_terminal *terminal, uint32_t character) {
    static const char strings[] = "]P_^X";
    static const char charsets[] = "()*+#% ";
    static const char singles[] = "78=>cHMNOZ";
    terminal->state = CODE_NONE;
    terminal->count = 0;
    if (character == 0 || character > 0x7e) return false;
    if (character == '[') {
        terminal->state = CODE_CONTROL;
    } else if (strchr(strings, (int)character)) {
        terminal->state = CODE_STRING;
        terminal->is_numbered = character == ']';
    } else if (strchr(charsets, (int)character)) {
        terminal->state = CODE_CHARSET;
    } else {
        return strchr(singles, (int)character) != NULL;
    }
    return true;
}

static bool go_on_with_string(struct rp_terminal *terminal, uint32_t character) {
    bool is_broken =
        terminal->is_numbered && terminal->count == 0 && (character < '0' || character > '9');
    if (is_broken || character == '\n' || character == '\r' ||
        ++terminal->count > STRING_BYTES_MAX) {
        terminal->state = CODE_NONE;
        return false;
    }
    if (character == 0x1b) terminal->state = CODE_STRING_ESCAPE;
    if (character == 0x07 || character == 0x9c) terminal->state = CODE_NONE;
    return true;
}

/* Whether a character belongs to the code that has begun. */
static bool is_of_code(struct rp_terminal *terminal, uint32_t character) {
    switch (terminal->state) {
    case CODE_NONE:
        return false;
    case CODE_BEGUN:
        return begin_code(terminal, character);
    case CODE_CONTROL:
        if (character >= 0x20 && character < 0x40 && terminal->count < CODE_BYTES_MAX) {
            terminal->count++;
            return true;
        }
        return end_control_code(terminal, character);
    case CODE_STRING:
        return go_on_with_string(terminal, character);
    case CODE_STRING_ESCAPE:
        if (character == '\\') {
            terminal->state = CODE_NONE;
            return true;
        }
        return begin_code(terminal, character);
    case CODE_CHARSET:
        terminal->state = CODE_NONE;
        return character > 0x20 && character < 0x7f;
    }
    return false;
}

bool rp_terminal_takes(struct rp_terminal *terminal, uint32_t character) {
    terminal->move = RP_MOVE_NONE;
    if (terminal->state != CODE_NONE && is_of_code(terminal, character)) return true;
    if (character != 0x1b && character != 0x90 && character != 0x9b && character != 0x9d) {
        return false;
    }
    terminal->count = 0;
    terminal->is_numbered = character == 0x9d;
    terminal->state = character == 0x1b   ? CODE_BEGUN
                      : character == 0x9b ? CODE_CONTROL
                                          : CODE_STRING;
    return true;
}
