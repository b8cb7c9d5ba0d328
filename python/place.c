/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and precisions of Python objects. */
#include "core.h"

PyObject *rp_python_place_take(PyObject *made, const rp_placement *placement) {
    (void)placement;
    return made;
}

/* A constructor of the first load would be needed again, and is not kept: it may hold anything. */
PyObject *rp_python_move_model(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *keywords) {
    (void)self;
    (void)arguments;
    (void)count;
    (void)keywords;
    PyErr_SetString(PyExc_NotImplementedError,
                    "move_model_to_device() is not there yet: ask get_model() for the device "
                    "(hardware_preferences={'device': ...}), which makes another instance");
    return NULL;
}
