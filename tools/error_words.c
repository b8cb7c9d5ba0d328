/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For train-errors: error texts on stdin, a JSON object with "error" and "stack_trace" a line; on
 * stdout a line of their buckets each, in the library's own reading.
 */
#include "failure/error_text.h"
#include "failure/words.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take_line(const struct rp_error_line *line, void *user) {
    struct rp_words *words = user;
    if (line->role != RP_LINE_NOISE) rp_words_add(words, line->text, line->length);
}

static void read_text(struct rp_words *words, const char *text) {
    struct rp_error_text *reader = rp_error_text_create(take_line, words);
    if (!reader || !text) abort();
    rp_error_text_feed(reader, text, strlen(text));
    rp_error_text_finish(reader);
    rp_error_text_destroy(reader);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        const char *trace = json_string_value(json_object_get(row, "stack_trace"));
        struct rp_words words = {.line_count = 0};
        read_text(&words, json_string_value(json_object_get(row, "error")));
        if (trace) read_text(&words, trace);
        for (size_t i = 0; i < RP_WORDS_BUCKETS; i++) {
            if (words.bits[i / 64] >> (i % 64) & 1) printf(" %zu", i);
        }
        putchar('\n');
        json_decref(row);
    }
    free(line);
    return 0;
}
