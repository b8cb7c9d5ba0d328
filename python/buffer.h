/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buffer protocol, which the stable ABI has from 3.11 on. The structure has been the same since
 * 3.3, and libpython 3.10 exports the three functions as well: they are only missing from its list
 * of what stays. Where Python's functions come from a python3.dll that has that list and no more,
 * the extension needs 3.11.
 *
 * Names of our own, since newer headers have theirs.
 */
#ifndef RESOURCEPOOL_PYTHON_BUFFER_H
#define RESOURCEPOOL_PYTHON_BUFFER_H

#include "core.h"

#if Py_LIMITED_API < 0x030b0000
typedef struct rp_python_buffer {
    void *buf;
    PyObject *obj;
    Py_ssize_t len;
    Py_ssize_t itemsize;
    int readonly;
    int ndim;
    char *format;
    Py_ssize_t *shape;
    Py_ssize_t *strides; /* in bytes */
    Py_ssize_t *suboffsets;
    void *internal;
} rp_python_buffer;
int PyObject_GetBuffer(PyObject *object, rp_python_buffer *view, int flags);
void PyBuffer_Release(rp_python_buffer *view);
int PyBuffer_FillInfo(rp_python_buffer *view, PyObject *object, void *bytes, Py_ssize_t length,
                      int readonly, int flags);
#else
typedef Py_buffer rp_python_buffer;
#endif

enum {
    RP_PYTHON_BUFFER_SIMPLE = 0,
    RP_PYTHON_BUFFER_FORMAT = 0x4,
    RP_PYTHON_BUFFER_ND = 0x8,
    RP_PYTHON_BUFFER_STRIDES = 0x10 | RP_PYTHON_BUFFER_ND,
    RP_PYTHON_BUFFER_FORTRAN = 0x40 | RP_PYTHON_BUFFER_STRIDES,
    RP_PYTHON_BUFFER_DIMENSIONS_MAX = 64,
    RP_PYTHON_SLOT_GET_BUFFER = 1,
};

#endif
