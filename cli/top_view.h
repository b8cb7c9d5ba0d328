/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What 'rpool top' shows, as lines of text: the same on a terminal, where each has its style, and
 * in a pipe. Made anew at each refresh from the broker's document.
 */
#ifndef RP_CLI_TOP_VIEW_H
#define RP_CLI_TOP_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { VIEW_LINE_BYTES = 512, VIEW_COLUMNS_PLAIN = 120 };

enum view_style { VIEW_PLAIN, VIEW_TITLE, VIEW_HEAD, VIEW_GOOD, VIEW_WARN, VIEW_BAD, VIEW_DIM };

struct view_line {
    enum view_style style;
    char text[VIEW_LINE_BYTES]; /* no control characters */
};

/* Zero it; view_fini(). Without memory it is shorter. */
struct view {
    struct view_line *lines;
    size_t count;
    size_t capacity;
};

/* In the order in which a key goes through them. */
enum view_sort { SORT_BYTES, SORT_LEASES, SORT_HITS, SORT_IDLE, SORT_AGE, SORT_KEY, SORT_COUNT };

extern const char *const view_sort_names[SORT_COUNT];

struct view_wish {
    enum view_sort sort;
    bool is_reversed;
    size_t columns;
    size_t rows; /* 0: as many as it takes */
};

/* Replace the lines. `document` is what rp_machine_status() tells. */
void view_make(struct view *view, const json_t *document, const struct view_wish *wish);

/* Replace them by a line that says why there is nothing to see. */
void view_make_empty(struct view *view, const char *why, const char *hint);

void view_fini(struct view *view);

#endif
