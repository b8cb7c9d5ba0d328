/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child: a fork of the server that becomes the process that a launcher asked for. What follows is
 * in its order: the process as the kernel sees it (child.c), then the interpreter as its program
 * sees it, the program and its end (program.c).
 */
#ifndef RP_FORKSERVER_CHILD_H
#define RP_FORKSERVER_CHILD_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>

enum { FS_WHY_BYTES = FS_TEXT_BYTES };

/* What comes with a request, in the order in which it comes. */
enum { FS_FD_CONNECTION, FS_FD_REQUEST, FS_FD_FOLDER, FS_FD_PASSED };

/*
 * Take the descriptors to their numbers and close all others but the connection, whose number may
 * change; current folder, umask, limits, process group and session, environment. False with what
 * could not be had.
 */
bool fs_child_become(const struct fs_request *request, int *fds, size_t fd_count,
                     char why[FS_WHY_BYTES]);

/* What the imports took in this server, for those who count what they were spared. */
struct fs_imports {
    double ms;
    uint64_t private_bytes;
    uint32_t count; /* of modules that were asked for */
};

/* Run it to its end, which is that of the process. The connection is closed on the way. */
_Noreturn void fs_program_run(const struct fs_request *request, int connection,
                              const struct fs_imports *imports);

#endif
