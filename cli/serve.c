/* SPDX-License-Identifier: Apache-2.0 */
/* rpool serve: be the broker. */
#include "command.h"
#include "isolated.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FOLDER, READY_FD, IDLE_EXIT, BUDGET, NAME, DETACH };

/* Whoever started it waits for a line: this one says why "ready" does not come. */
static void tell_failure(int ready_fd, const rp_error *err) {
    if (ready_fd < 0) return;
    char line[sizeof err->message + 16];
    int length = snprintf(line, sizeof line, "error %s\n", err->message);
    if (length > 0 && write(ready_fd, line, (size_t)length) < 0) return;
}

/* Go on in a process that is nobody's child. */
static bool detach(void) {
    pid_t child = fork();
    if (child < 0) {
        perror("rpool: cannot start the broker's process");
        exit(1);
    }
    return child > 0;
}

int serve_run(const struct arguments *arguments) {
    rp_broker_options options = RP_BROKER_OPTIONS_INIT;
    rp_error err = RP_ERROR_INIT;
    long ready_fd = -1;
    long idle_s = 60;
    if (!parse_number("serve", "ready-fd", arguments->options[READY_FD], 0, 1 << 20, &ready_fd) ||
        !parse_number("serve", "idle-exit", arguments->options[IDLE_EXIT], -1, 31536000, &idle_s)) {
        return EXIT_USAGE;
    }
    if (arguments->options[DETACH] && detach()) return 0;
    options.folder = arguments->options[FOLDER];
    if (!options.folder) isolated_tidy();
    options.ready_fd = (int)ready_fd;
    options.idle_exit_ms = idle_s < 0 ? -1 : idle_s == 0 ? 1 : idle_s * 1000;
    options.budget = arguments->options[BUDGET];
    options.name = arguments->options[NAME];
    if (rp_broker_serve(&options, &err) == RP_OK) return 0;
    tell_failure((int)ready_fd, &err);
    return report(&err);
}
