/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a line in a story of traces: what each line is, to which trace or message it belongs,
 * and which of those caused which.
 */
#ifndef RP_FAILURE_LINE_ROLE_H
#define RP_FAILURE_LINE_ROLE_H

#include "failure/error_text.h"
#include "failure/line_prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_STORY_NO_BLOCK = RP_ERROR_BLOCKS_MAX };

enum rp_trace_kind { RP_TRACE_NONE, RP_TRACE_PYTHON, RP_TRACE_NOTEBOOK, RP_TRACE_BOX };

struct rp_story {
    unsigned block_count;
    unsigned block;
    uint16_t effect[RP_ERROR_BLOCKS_MAX]; /* the block that this one caused                    */
    bool is_touched;                      /* the block has lines                               */
    bool awaits_message;                  /* a trace whose message comes last                  */
    bool has_message;

    enum rp_trace_kind trace;
    size_t trace_indent; /* of its head                                                        */
    size_t frame_indent;
    bool awaits_source; /* the line before was a frame or its source                           */
    bool was_warning;   /* or a warning with the place in the code                             */

    bool is_cause_next; /* the next line begins the cause of this block                        */
    bool is_cause_list; /* below "Caused by:"                                                  */
    size_t cause_indent;
    bool is_nested; /* the line before was an "Exception from" of several                      */
    uint16_t group; /* the exception group whose members come                                  */

    enum rp_line_role last; /* of the line before, noise left out                              */
    bool ended_in_colon;
};

void rp_story_init(struct rp_story *story);

/*
 * The role of the next line, of which the prefix has gone and blanks at its end; its own block is
 * then story->block. `is_overwritten`: a bare carriage return ended it.
 */
enum rp_line_role rp_story_read(struct rp_story *story, const char *line, size_t length,
                                const struct rp_line_prefix *prefix, bool is_overwritten);

/* Whether a line with so many blanks before it would be source code. */
bool rp_story_awaits_source(const struct rp_story *story, size_t indent);

unsigned rp_story_depth(const struct rp_story *story, unsigned block);

#endif
