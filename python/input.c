/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers on their way into a model, without a copy where they lie compact: whatever has the buffer
 * protocol (numpy, array, memoryview) or DLPack (torch and most others) is looked at where it is;
 * lists and numbers become what numpy makes of them. What has gaps is copied.
 */
#include "buffer.h"
#include "core.h"
#include "dlpack.h"

#include <stdint.h>
#include <string.h>

_Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "a shape is a shape");

/* ---- errors ------------------------------------------------------------------------------- */

/* What was raised was a failure to understand the input: our error says which one, with the other
 * as its cause. Ends of the program stay what they are. Always -1. */
static int fail_for_raised(const rp_port *port) {
    PyObject *type = NULL;
    PyObject *cause = NULL;
    PyObject *traceback = NULL;
    rp_error err = RP_ERROR_INIT;
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return -1;
    }
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    PyObject *text = cause ? PyObject_Str(cause) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    rp_fail(&err, RP_ERR_ARGUMENT, "the input '%s' wants %s, and cannot be read: %s", port->name,
            port->type, utf8 ? utf8 : "no reason was given");
    Py_XDECREF(text);
    PyErr_Clear();
    rp_python_raise(&err);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    PyErr_Fetch(&type, &text, &traceback);
    PyErr_NormalizeException(&type, &text, &traceback);
    if (text && cause) PyException_SetCause(text, Py_NewRef(cause));
    PyErr_Restore(type, text, traceback);
    Py_XDECREF(cause);
    return -1;
}

/* It has none of what was asked for, whatever is raised about that: 0. The end of the program, or
 * of memory, stays: -1. */
static int clear_unless_end(void) {
    bool is_end = PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
    if (is_end || PyErr_ExceptionMatches(PyExc_MemoryError)) return -1;
    PyErr_Clear();
    return 0;
}

static int fail(rp_error *err) {
    rp_python_raise(err);
    return -1;
}

/* ---- numpy, where it is ------------------------------------------------------------------- */

static PyObject *asarray; /* numpy.asarray, once it was needed */
static bool is_numpy_absent;

PyObject *rp_python_asarray(void) {
    if (asarray || is_numpy_absent) return asarray;
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy && PyErr_ExceptionMatches(PyExc_ImportError)) {
        PyErr_Clear();
        is_numpy_absent = true;
        return NULL;
    }
    if (numpy && !asarray) asarray = PyObject_GetAttrString(numpy, "asarray");
    Py_XDECREF(numpy);
    return asarray;
}

/* ---- types of numbers ----------------------------------------------------------------------- */

/* One letter of the struct module, and how many bytes: the same letter has several sizes. */
static const struct {
    char letters[12];
    uint8_t code;
} letter_rows[] = {{"bhilqn", 0}, {"BHILQNc", 1}, {"efd", 2}, {"?", 6}};

/* lanes 0: a type that is no plain number. */
static rp_dtype dtype_of_format(const char *format, Py_ssize_t itemsize) {
    rp_dtype dtype = {0, 0, 0};
    if (!format) format = "B";
    if (*format == '@' || *format == '=' || *format == '<') format++;
    bool is_complex = *format == 'Z';
    if (is_complex) format++;
    if (strlen(format) != 1 || itemsize > 16) return dtype;
    for (size_t i = 0; i < sizeof letter_rows / sizeof letter_rows[0]; i++) {
        if (!strchr(letter_rows[i].letters, *format)) continue;
        dtype = (rp_dtype){is_complex ? RP_DTYPE_COMPLEX64.code : letter_rows[i].code,
                           (uint8_t)(itemsize * 8), 1};
    }
    return dtype;
}

/* ---- one input ------------------------------------------------------------------------------ */

void rp_python_input_fini(struct rp_python_input *input) {
    if (input->view) PyBuffer_Release(input->view);
    PyMem_Free(input->view);
    PyMem_Free(input->copy);
    Py_XDECREF(input->owner);
    *input = (struct rp_python_input){.owner = NULL};
}

/* Copy what has gaps to one compact block. Strides are in bytes. */
static void gather(char *to, const char *from, int ndim, const int64_t *shape,
                   const int64_t *strides, size_t item) {
    int64_t at[RP_PYTHON_BUFFER_DIMENSIONS_MAX] = {0};
    int last = ndim - 1;
    for (int dimension = last; dimension >= 0;) {
        const char *row = from;
        for (int64_t i = 0; i < shape[last]; i++, row += strides[last], to += item) {
            memcpy(to, row, item);
        }
        for (dimension = last - 1; dimension >= 0; dimension--) {
            from += strides[dimension];
            if (++at[dimension] < shape[dimension]) break;
            from -= strides[dimension] * shape[dimension];
            at[dimension] = 0;
        }
    }
}

/* The tensor's strides are in elements. Where it has gaps a compact copy takes its place. */
static int make_compact(const rp_port *port, struct rp_python_input *input) {
    rp_tensor *tensor = &input->tensor;
    int64_t strides[RP_PYTHON_BUFFER_DIMENSIONS_MAX];
    uint64_t bytes = 0;
    rp_error err = RP_ERROR_INIT;
    bool has_bytes = tensor->dtype.bits > 0 && tensor->dtype.bits % 8 == 0;
    bool is_here = tensor->device.type == RP_TENSOR_DEVICE_CPU;
    if (tensor->ndim < 1 || tensor->ndim > RP_PYTHON_BUFFER_DIMENSIONS_MAX ||
        rp_tensor_is_contiguous(tensor) || !has_bytes || !is_here) {
        return 0; /* the library has a word for what it does not take */
    }
    if (rp_tensor_bytes(tensor, &bytes, &err) != RP_OK) {
        rp_error_prefix(&err, "the input '%s'", port->name);
        return fail(&err);
    }
    size_t item = (size_t)tensor->dtype.bits / 8 * tensor->dtype.lanes;
    for (int i = 0; i < tensor->ndim; i++) {
        strides[i] = tensor->strides[i] * (int64_t)item;
    }
    input->copy = PyMem_Malloc(bytes);
    if (!input->copy) {
        PyErr_NoMemory();
        return -1;
    }
    gather(input->copy, rp_tensor_data(tensor), tensor->ndim, tensor->shape, strides, item);
    tensor->data = input->copy;
    tensor->byte_offset = 0;
    tensor->strides = NULL;
    return 0;
}

/* Strides of the buffer protocol are bytes, and numpy's may fall between elements. */
static int copy_view(const rp_port *port, struct rp_python_input *input) {
    const rp_python_buffer *view = input->view;
    rp_error err = RP_ERROR_INIT;
    if (view->ndim > RP_PYTHON_BUFFER_DIMENSIONS_MAX || view->suboffsets) {
        rp_fail(&err, RP_ERR_UNSUPPORTED,
                "the input '%s' is a buffer of %d dimensions or of "
                "pointers, which cannot be read",
                port->name, view->ndim);
        return fail(&err);
    }
    input->copy = PyMem_Malloc(view->len > 0 ? (size_t)view->len : 1);
    if (!input->copy) {
        PyErr_NoMemory();
        return -1;
    }
    gather(input->copy, view->buf, view->ndim, (const int64_t *)view->shape,
           (const int64_t *)view->strides, (size_t)view->itemsize);
    input->tensor.data = input->copy;
    return 0;
}

static bool is_compact(const rp_python_buffer *view) {
    Py_ssize_t expected = view->itemsize;
    if (view->suboffsets) return false;
    if (!view->strides || view->len == 0) return true;
    for (int i = view->ndim - 1; i >= 0; i--) {
        if (view->shape[i] == 1) continue;
        if (view->strides[i] != expected) return false;
        expected *= view->shape[i];
    }
    return true;
}

/* The view of the owner is there: make a tensor of it. */
static int read_view(const rp_port *port, const rp_dtype *dtype, struct rp_python_input *input) {
    const rp_python_buffer *view = input->view;
    rp_error err = RP_ERROR_INIT;
    input->tensor = (rp_tensor){
        .data = view->buf,
        .device = {RP_TENSOR_DEVICE_CPU, 0},
        .ndim = view->ndim,
        .dtype = dtype ? *dtype : dtype_of_format(view->format, view->itemsize),
        .shape = (int64_t *)view->shape,
    };
    if (input->tensor.dtype.lanes == 0) {
        rp_fail(&err, RP_ERR_ARGUMENT, "the input '%s' wants %s, not elements of the format '%s'",
                port->name, port->type, view->format ? view->format : "B");
        return fail(&err);
    }
    return is_compact(view) ? 0 : copy_view(port, input);
}

/* The buffer of an object, if it has one. 1: read; 0: it has none; -1 raised. */
static int try_buffer(PyObject *value, const rp_port *port, const rp_dtype *dtype,
                      struct rp_python_input *input) {
    rp_python_buffer *view = PyMem_Calloc(1, sizeof *view);
    if (!view) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyObject_GetBuffer(value, view, RP_PYTHON_BUFFER_STRIDES | RP_PYTHON_BUFFER_FORMAT) < 0) {
        PyMem_Free(view);
        return clear_unless_end();
    }
    input->view = view;
    return read_view(port, dtype, input) < 0 ? -1 : 1;
}

/* numpy has no bfloat16 of its own: the arrays of those who added one have no buffer either. */
static int try_bfloat16(PyObject *value, const rp_port *port, struct rp_python_input *input) {
    PyObject *dtype = PyObject_GetAttrString(value, "dtype");
    PyObject *name = dtype ? PyObject_GetAttrString(dtype, "name") : NULL;
    bool is_it =
        name && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "bfloat16") == 0;
    PyObject *words = is_it ? PyObject_CallMethod(value, "view", "s", "uint16") : NULL;
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    if (!words) return clear_unless_end();
    Py_XDECREF(input->owner);
    input->owner = words;
    return try_buffer(words, port, &RP_DTYPE_BFLOAT16, input);
}

/* The capsule stays whole, and frees what it holds once the run is over. */
static int try_dlpack(PyObject *value, const rp_port *port, struct rp_python_input *input) {
    PyObject *method = PyObject_GetAttrString(value, "__dlpack__");
    if (!method) return clear_unless_end();
    PyObject *capsule = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    if (!capsule) return fail_for_raised(port);
    Py_XDECREF(input->owner);
    input->owner = capsule;
    if (PyCapsule_IsValid(capsule, RP_PYTHON_DLPACK_NAME)) {
        const struct rp_python_managed *managed =
            PyCapsule_GetPointer(capsule, RP_PYTHON_DLPACK_NAME);
        input->tensor = managed->tensor;
    } else if (PyCapsule_IsValid(capsule, RP_PYTHON_DLPACK_NAME_VERSIONED)) {
        const struct rp_python_managed_versioned *managed =
            PyCapsule_GetPointer(capsule, RP_PYTHON_DLPACK_NAME_VERSIONED);
        if (managed->major != RP_PYTHON_DLPACK_MAJOR) {
            PyErr_Format(PyExc_TypeError, "__dlpack__() gave a tensor of DLPack %u.%u",
                         (unsigned)managed->major, (unsigned)managed->minor);
            return fail_for_raised(port);
        }
        input->tensor = managed->tensor;
    } else {
        PyErr_SetString(PyExc_TypeError, "__dlpack__() gave something that is no tensor");
        return fail_for_raised(port);
    }
    return make_compact(port, input) < 0 ? -1 : 1;
}

static bool is_of_kind(PyObject *array, const char *kinds) {
    PyObject *dtype = PyObject_GetAttrString(array, "dtype");
    PyObject *kind = dtype ? PyObject_GetAttrString(dtype, "kind") : NULL;
    const char *text = kind ? PyUnicode_AsUTF8AndSize(kind, NULL) : NULL;
    bool is_it = text && *text && strchr(kinds, *text);
    Py_XDECREF(kind);
    Py_XDECREF(dtype);
    PyErr_Clear();
    return is_it;
}

/* Numbers that do not say what they are. */
static bool is_untyped(PyObject *value) {
    return PyList_Check(value) || PyTuple_Check(value) || PyLong_Check(value) ||
           PyFloat_Check(value);
}

/* A float is not made whole here, nor a text a number: numpy would do both. */
static bool can_become(PyObject *array, rp_dtype dtype) {
    bool is_real = dtype.code == RP_DTYPE_FLOAT32.code || dtype.code == RP_DTYPE_COMPLEX64.code;
    bool is_whole = dtype.code == RP_DTYPE_INT8.code || dtype.code == RP_DTYPE_UINT8.code ||
                    dtype.code == RP_DTYPE_BOOL.code;
    return is_of_kind(array, "biu") ? is_whole || is_real : is_of_kind(array, "f") && is_real;
}

/* A list or a number as an array of what the input wants: numbers that it can hold. New. */
static PyObject *array_of(PyObject *value, const rp_port *port) {
    PyObject *function = rp_python_asarray();
    rp_error err = RP_ERROR_INIT;
    if (!function) {
        if (PyErr_Occurred()) return NULL;
        rp_fail(&err, RP_ERR_ARGUMENT, "the input '%s' wants an array of %s", port->name,
                port->type);
        rp_hint(&err, "give what has the buffer protocol or DLPack; numpy, which makes arrays of "
                      "lists and numbers, is not installed");
        return rp_python_raise(&err);
    }
    PyObject *array = PyObject_CallFunctionObjArgs(function, value, NULL);
    if (array && is_untyped(value)) {
        bool is_empty = PyObject_Size(array) == 0;
        PyErr_Clear(); /* a number has no size */
        if (!is_empty && !can_become(array, port->dtype)) return array;
        Py_DECREF(array);
        array = PyObject_CallFunction(function, "Os", value, port->type);
    }
    if (!array) fail_for_raised(port);
    return array;
}

/* What numpy makes of it: of lists, of numbers, of what has __array__(). */
static int read_others(PyObject *value, const rp_port *port, struct rp_python_input *input) {
    PyObject *array = array_of(value, port);
    if (!array) return -1;
    Py_XDECREF(input->owner);
    input->owner = array;
    int read = try_buffer(array, port, NULL, input);
    if (read != 0) return read;
    rp_error err = RP_ERROR_INIT;
    rp_fail(&err, RP_ERR_ARGUMENT, "the input '%s' wants an array of %s", port->name, port->type);
    return fail(&err);
}

int rp_python_input_read(PyObject *value, const rp_port *port, struct rp_python_input *input) {
    rp_error err = RP_ERROR_INIT;
    int read = 0;
    if (port->dtype.lanes == 0) {
        rp_fail(&err, RP_ERR_UNSUPPORTED,
                "the input '%s' is of type %s: only tensors of numbers can be given", port->name,
                port->type);
        return fail(&err);
    }
    input->owner = Py_NewRef(value);
    bool is_listed = is_untyped(value);
    if (!is_listed) read = try_buffer(value, port, NULL, input);
    if (read == 0 && !is_listed) read = try_bfloat16(value, port, input);
    if (read == 0 && !is_listed) read = try_dlpack(value, port, input);
    if (read == 0) read = read_others(value, port, input);
    return read < 0 ? -1 : 0;
}
