/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the pool that can be awaited. */
#include "core.h"

PyObject *rp_python_await(PyObject *self, const char *method, PyObject *const *arguments,
                          Py_ssize_t count, PyObject *keywords) {
    (void)self;
    (void)arguments;
    (void)count;
    (void)keywords;
    PyErr_Format(PyExc_NotImplementedError, "%s() cannot be awaited yet", method);
    return NULL;
}
