/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fake drivers read: a small file of lines "key = value", named by an environment variable
 * and read when the driver is initialised. A line for one device ("gpu3.name = ...") comes before
 * one for all ("gpu.name = ..."); each driver says what it answers where no line does.
 *
 *     act.FUNCTION = hang | segv | abort | exit | slow | print | spawn
 *     result.FUNCTION = NUMBER            gpu3.result.FUNCTION = NUMBER
 */
#ifndef RP_TESTS_SCRIPT_H
#define RP_TESTS_SCRIPT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FAKE_API __attribute__((visibility("default")))

static char script_bytes[64 << 10];

static inline void script_load(const char *variable) {
    const char *path = getenv(variable);
    FILE *file = path ? fopen(path, "re") : NULL;
    script_bytes[0] = '\0';
    if (!file) return;
    size_t length = fread(script_bytes, 1, sizeof script_bytes - 1, file);
    script_bytes[length] = '\0';
    fclose(file);
}

/* The value of a key; NULL when no line has it. */
static inline const char *script_find(const char *key, char *out, size_t out_bytes) {
    size_t key_length = strlen(key);
    for (const char *line = script_bytes; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, key_length) != 0) continue;
        if (strncmp(line + key_length, " = ", 3) != 0) continue;
        const char *value = line + key_length + 3;
        snprintf(out, out_bytes, "%.*s", (int)strcspn(value, "\n"), value);
        return out;
    }
    return NULL;
}

/* That of one device, else that of all. */
static inline const char *script_text(int device, const char *key, char *out, size_t out_bytes) {
    char whole[160];
    if (device >= 0) {
        snprintf(whole, sizeof whole, "gpu%d.%s", device, key);
        if (script_find(whole, out, out_bytes)) return out;
        snprintf(whole, sizeof whole, "gpu.%s", key);
        if (script_find(whole, out, out_bytes)) return out;
        return NULL;
    }
    return script_find(key, out, out_bytes);
}

/* False when there is no such line. */
static inline bool script_number(int device, const char *key, unsigned long long *value) {
    char text[64];
    if (!script_text(device, key, text, sizeof text)) return false;
    *value = strtoull(text, NULL, 0);
    return true;
}

/* For drivers whose keys name the device themselves. */
static inline long long script_number_or(const char *key, long long otherwise) {
    char text[64];
    return script_find(key, text, sizeof text) ? strtoll(text, NULL, 0) : otherwise;
}

static inline void script_sleep(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* What a function does before it answers; the number it is to return, or 0. */
static inline int script_enter(int device, const char *function) {
    char key[128];
    char what[32];
    snprintf(key, sizeof key, "act.%s", function);
    if (script_find(key, what, sizeof what)) {
        if (strcmp(what, "hang") == 0) {
            for (;;) {
                pause();
            }
        }
        if (strcmp(what, "segv") == 0) raise(SIGSEGV);
        if (strcmp(what, "abort") == 0) abort();
        if (strcmp(what, "exit") == 0) exit(3);
        if (strcmp(what, "slow") == 0) script_sleep(300);
        if (strcmp(what, "print") == 0) {
            fprintf(stderr, "NVRM: first line\nNVRM: the GPU\tis on fire\n\n");
            abort();
        }
        /* A process in the background that holds what this one has open. */
        if (strcmp(what, "spawn") == 0 && fork() == 0) {
            for (;;) {
                pause();
            }
        }
    }
    unsigned long long result = 0;
    snprintf(key, sizeof key, "result.%s", function);
    if (!script_number(device, key, &result)) (void)script_number(-1, key, &result);
    return (int)result;
}

#endif
