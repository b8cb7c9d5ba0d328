/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fake driver answers: a script, a line each, "key value". A key that is not there has the
 * driver's own default. The file is read anew for each answer, so that a test may change it.
 */
#ifndef RP_TESTS_DRIVERS_ANSWERS_H
#define RP_TESTS_DRIVERS_ANSWERS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_API __attribute__((visibility("default")))

/* The rest of the line that begins with the key; "" lines count as an answer too. */
static inline bool answer_text(const char *key, char *out, size_t out_bytes) {
    const char *script = getenv("RP_FAKE_ANSWERS");
    FILE *file = script ? fopen(script, "r") : NULL;
    char line[1024];
    bool is_found = false;
    while (file && !is_found && fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, key, length) != 0 || (line[length] != ' ' && line[length] != '\0')) {
            continue;
        }
        const char *rest = line[length] == ' ' ? line + length + 1 : "";
        size_t rest_bytes = strnlen(rest, out_bytes - 1);
        memcpy(out, rest, rest_bytes);
        out[rest_bytes] = '\0';
        is_found = true;
    }
    if (file) fclose(file);
    return is_found;
}

static inline long long answer_number(const char *key, long long otherwise) {
    char text[64];
    return answer_text(key, text, sizeof text) ? strtoll(text, NULL, 0) : otherwise;
}

/* "function rc": what a function returns; "function hang" or "function crash": that instead. */
static inline int answer_code(const char *function) {
    char text[64];
    if (!answer_text(function, text, sizeof text)) return 0;
    if (strcmp(text, "hang") == 0) {
        while (true) {
            pause();
        }
    }
    if (strcmp(text, "crash") == 0) raise(SIGSEGV);
    return (int)strtol(text, NULL, 0);
}

#endif
