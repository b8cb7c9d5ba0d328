/* SPDX-License-Identifier: Apache-2.0 */
/* The extension module: exceptions, texts, and what puts the other files together. */
#include "core.h"

/* ---- errors ----------------------------------------------------------------------------- */

/* By number of the status; [0] is the base of all. Owned for as long as the process lives. */
static PyObject *exceptions[18];

struct exception_row {
    rp_status status;
    const char *name;
    const char *text;
};

static const struct exception_row exception_rows[] = {
#define EXCEPTION_ROW(constant, number, http, exit_code, name, exception, text)                    \
    {RP_##constant, exception, text},
    RP_STATUS_MAP(EXCEPTION_ROW)
#undef EXCEPTION_ROW
};

enum { EXCEPTION_COUNT = sizeof exception_rows / sizeof exception_rows[0] };
_Static_assert(EXCEPTION_COUNT == sizeof exceptions / sizeof exceptions[0], "one for each status");

/* Those that Python has a class for are that as well: `except TimeoutError` catches ours. */
static PyObject *builtin_base(rp_status status) {
    switch (status) {
    case RP_ERR_ARGUMENT:
        return PyExc_ValueError;
    case RP_ERR_MEMORY:
        return PyExc_MemoryError;
    case RP_ERR_TIMEOUT:
        return PyExc_TimeoutError;
    case RP_ERR_NOT_FOUND:
        return PyExc_LookupError;
    case RP_ERR_UNSUPPORTED:
        return PyExc_NotImplementedError;
    case RP_ERR_IO:
        return PyExc_OSError;
    default:
        return NULL;
    }
}

static PyObject *new_exception(const char *name, const char *text, PyObject *bases) {
    PyObject *full = PyUnicode_FromFormat("resource_pool.%s", name);
    PyObject *words = full ? PyUnicode_AsUTF8String(full) : NULL;
    PyObject *made =
        words ? PyErr_NewExceptionWithDoc(PyBytes_AsString(words), text, bases, NULL) : NULL;
    Py_XDECREF(words);
    Py_XDECREF(full);
    return made;
}

static int add_exception(PyObject *module, const struct exception_row *row) {
    PyObject *builtin = builtin_base(row->status);
    PyObject *bases =
        builtin ? PyTuple_Pack(2, exceptions[0], builtin) : PyTuple_Pack(1, exceptions[0]);
    PyObject *made = bases ? new_exception(row->name, row->text, bases) : NULL;
    Py_XDECREF(bases);
    if (!made) return -1;
    exceptions[row->status] = made;
    return PyModule_AddObjectRef(module, row->name, made);
}

static int add_exceptions(PyObject *module) {
    exceptions[0] = new_exception("ResourcePoolError",
                                  "What a call of the pool failed of. `status` names its kind, "
                                  "`hint` says what to do next ('' where nothing would help).",
                                  NULL);
    if (!exceptions[0] || PyModule_AddObjectRef(module, "ResourcePoolError", exceptions[0]) < 0) {
        return -1;
    }
    for (size_t i = 1; i < EXCEPTION_COUNT; i++) {
        if (add_exception(module, &exception_rows[i]) < 0) return -1;
    }
    return 0;
}

static int set_text(PyObject *object, const char *name, const char *text) {
    PyObject *value = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    int rc = value ? PyObject_SetAttrString(object, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

PyObject *rp_python_raise(const rp_error *err) {
    size_t at = (size_t)err->status < EXCEPTION_COUNT ? (size_t)err->status : 0;
    const char *name = rp_status_name(err->status);
    PyObject *message =
        PyUnicode_DecodeUTF8(err->message, (Py_ssize_t)strlen(err->message), "replace");
    PyObject *raised = message ? PyObject_CallFunctionObjArgs(exceptions[at], message, NULL) : NULL;
    Py_XDECREF(message);
    if (raised && set_text(raised, "status", name ? name : "unknown") == 0 &&
        set_text(raised, "hint", err->hint) == 0) {
        PyErr_SetObject(exceptions[at], raised);
    }
    Py_XDECREF(raised);
    return NULL;
}

/* ---- JSON ------------------------------------------------------------------------------- */

/* A function of Python's own module, which is loaded by the first call that needs it. */
static PyObject *call_json(const char *function, PyObject *argument) {
    PyObject *json = PyImport_ImportModule("json");
    PyObject *result = json ? PyObject_CallMethod(json, function, "O", argument) : NULL;
    Py_XDECREF(json);
    return result;
}

PyObject *rp_python_from_json_take(char *json) {
    PyObject *text = PyUnicode_DecodeUTF8(json, (Py_ssize_t)strlen(json), "replace");
    rp_string_free(json);
    PyObject *result = text ? call_json("loads", text) : NULL;
    Py_XDECREF(text);
    return result;
}

PyObject *rp_python_to_json(PyObject *object) {
    return call_json("dumps", object);
}

/* ---- the module ------------------------------------------------------------------------- */

static int fill_module(PyObject *module) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "resource_pool works in the main interpreter only");
        return -1;
    }
    if (PyModule_AddStringConstant(module, "__version__", rp_version_string()) < 0) return -1;
    if (add_exceptions(module) < 0) return -1;
    return rp_python_add_modules(module);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "resource_pool._core",
    .m_doc = "The library behind the package.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
