/* SPDX-License-Identifier: Apache-2.0 */
/* What server and child share in the interpreter: the functions of inside.py, and the events file.
 */
#ifndef RP_FORKSERVER_INSIDE_H
#define RP_FORKSERVER_INSIDE_H

/* First, since it says which of the system's interfaces are there. */
#include <Python.h>

#include "child.h"

/* Call one of inside.py with up to five arguments. NULL with an exception. */
PyObject *fs_inside_call_all(const char *function, ...);
#define fs_inside_call(...) fs_inside_call_all(__VA_ARGS__, (PyObject *)NULL)

/* How many names each module has now; later, a list of (names, that number) of those with more. */
void fs_names_remember(void);
PyObject *fs_names_grown(void);

/* A child's lines in $RESOURCE_POOL_PYTHON_EVENTS; nothing where there is no such file. */
void fs_events_open(const struct fs_request *request);
void fs_events_forked(const struct fs_imports *imports);
void fs_events_imported(void);

#endif
