/* SPDX-License-Identifier: Apache-2.0 */
/* Room for what the pool does not load itself. */
#include "core.h"

PyObject *rp_python_reserve(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *keywords) {
    (void)self;
    (void)arguments;
    (void)count;
    (void)keywords;
    PyErr_SetString(PyExc_NotImplementedError, "reserve() is not there yet");
    return NULL;
}
