/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries that come in a package of the active Python. Starts no Python: looks at its folders. */
#ifndef RP_HARDWARE_PYTHON_H
#define RP_HARDWARE_PYTHON_H

#include "base/limits.h"

#include <stdbool.h>

/*
 * A file of an installed package: `pattern` is relative to site-packages and may have '*', as in
 * "openvino/libs/libopenvino_c.so*". Looked for in VIRTUAL_ENV, CONDA_PREFIX, then beside the
 * python3 that the PATH leads to, then in the build folder's environment (venv); of several the
 * last in the alphabet, which is the newest. False when there is none; always on a recorded machine
 * (root is not ""), whose Python is not known.
 */
bool rp_python_find(const char *root, const char *pattern, char path[RP_LIMIT_NAME_BYTES]);

#endif
