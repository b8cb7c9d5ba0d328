/* SPDX-License-Identifier: Apache-2.0 */
/* The functions behind the modules beside the pool: hardware, families, both together. */
#include "core.h"

int rp_python_add_modules(PyObject *module) {
    (void)module;
    return 0;
}
