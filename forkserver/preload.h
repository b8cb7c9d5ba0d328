/* SPDX-License-Identifier: Apache-2.0 */
/* Importing what is to be there before the first fork, and seeing that it did nothing else. */
#ifndef RP_FORKSERVER_PRELOAD_H
#define RP_FORKSERVER_PRELOAD_H

#include "inside.h"

/*
 * Before the first import; `control` is the server's own descriptor. What the interpreter's start
 * left (sitecustomize, .pth files): FS_IMPORT_GOOD, or what no fork of it could have, and why.
 */
enum fs_import fs_preload_init(int control, char *why, size_t room);

/* Import one module, or load the model of a line that begins with '@'; the answer for the keeper.
 */
struct fs_frame fs_preload_import(const char *name);

/* Call that in a fork; the text that it returns, "" where it came to nothing. NULL with an
 * exception. */
PyObject *fs_preload_trial(PyObject *callable);

/* All is imported. The answer, with the descriptor of the inventory in *fd; -1: there is none. */
struct fs_frame fs_preload_freeze(int *fd);

/* What the imports took, all together. */
const struct fs_imports *fs_preload_sums(void);

#endif
