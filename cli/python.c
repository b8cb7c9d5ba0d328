/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool python: hands its whole command line to the launcher, a program of its own that depends on
 * nothing, since it is started as often as an interpreter is.
 */
#include "python.h"

#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTED = 126, WORDS_MAX = 1 << 20 };

bool python_find_launcher(char path[PATH_MAX]) {
    static const char *const places[] = {"rpool-python", "../forkserver/rpool-python"};
    char self[PATH_MAX];
    char place[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return false;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(place, sizeof place, "%s/%s", self, places[i]);
        if (access(place, X_OK) == 0 && realpath(place, path)) return true;
    }
    return false;
}

int python_run(const struct arguments *arguments) {
    static char name[] = "rpool-python";
    char path[PATH_MAX];
    size_t count = 0;
    while (count < WORDS_MAX && arguments->rest[count])
        count++;
    char **words = calloc(count + 2, sizeof *words);
    if (!words || !python_find_launcher(path)) {
        fprintf(stderr, "rpool: %s\n",
                words ? "the program 'rpool-python' is not beside rpool: install both"
                      : "no memory");
        free(words);
        return EXIT_OWN_FAILURE;
    }
    words[0] = name;
    memcpy(words + 1, arguments->rest, count * sizeof *words);
    execv(path, words);
    fprintf(stderr, "rpool: cannot start '%s': %s\n", path, strerror(errno));
    free(words);
    return EXIT_NOT_EXECUTED;
}
