/* SPDX-License-Identifier: Apache-2.0 */
/* The extension module: exceptions, texts, and what puts the other files together. */
#include "core.h"

#include <stdatomic.h>
#include <string.h>

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

PyObject *rp_python_text(const char *text) {
    if (!text) return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static int set_text(PyObject *object, const char *name, const char *text) {
    PyObject *value = rp_python_text(text);
    int rc = value ? PyObject_SetAttrString(object, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

PyObject *rp_python_raise(const rp_error *err) {
    size_t at = (size_t)err->status < EXCEPTION_COUNT ? (size_t)err->status : 0;
    const char *name = rp_status_name(err->status);
    PyObject *message = rp_python_text(err->message);
    PyObject *raised = message ? PyObject_CallFunctionObjArgs(exceptions[at], message, NULL) : NULL;
    Py_XDECREF(message);
    if (raised && set_text(raised, "status", name ? name : "unknown") == 0 &&
        set_text(raised, "hint", err->hint) == 0) {
        PyErr_SetObject(exceptions[at], raised);
    }
    Py_XDECREF(raised);
    return NULL;
}

/* ---- arguments -------------------------------------------------------------------------- */

const char *rp_python_utf8(PyObject *object, const char *what) {
    Py_ssize_t length = 0;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be a str, not %R", what,
                     (PyObject *)Py_TYPE(object));
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(object, &length);
    if (!text || strlen(text) == (size_t)length) return text;
    rp_error err = RP_ERROR_INIT; /* half a KiB to clear: not in a hit's way */
    rp_fail(&err, RP_ERR_ARGUMENT, "%s with a NUL character inside", what);
    rp_python_raise(&err);
    return NULL;
}

static Py_ssize_t find_name(const struct rp_python_signature *signature, PyObject *keyword) {
    const char *text = PyUnicode_AsUTF8AndSize(keyword, NULL);
    if (!text) PyErr_Clear(); /* half a character, from **: no name of ours has one */
    for (Py_ssize_t i = 0; text && signature->names[i]; i++) {
        if (strcmp(text, signature->names[i]) == 0) return i;
    }
    return -1;
}

static int take_keyword(const struct rp_python_signature *signature, PyObject *keyword,
                        PyObject *value, PyObject **values) {
    Py_ssize_t at = find_name(signature, keyword);
    if (at < 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     signature->function, keyword);
        return -1;
    }
    if (values[at]) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                     signature->function, keyword);
        return -1;
    }
    values[at] = value;
    return 0;
}

int rp_python_arguments(const struct rp_python_signature *signature, PyObject *const *arguments,
                        Py_ssize_t count, PyObject *keywords, PyObject **values) {
    if (count > signature->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments, not %zd",
                     signature->function, signature->positional, count);
        return -1;
    }
    for (Py_ssize_t i = 0; signature->names[i]; i++) {
        values[i] = i < count ? arguments[i] : NULL;
    }
    Py_ssize_t keyword_count = keywords ? PyTuple_Size(keywords) : 0;
    for (Py_ssize_t i = 0; i < keyword_count; i++) {
        PyObject *keyword = PyTuple_GetItem(keywords, i);
        if (take_keyword(signature, keyword, arguments[count + i], values) < 0) return -1;
    }
    for (Py_ssize_t i = 0; i < signature->required; i++) {
        if (values[i]) continue;
        PyErr_Format(PyExc_TypeError, "%s() is missing the argument '%s'", signature->function,
                     signature->names[i]);
        return -1;
    }
    return 0;
}

int rp_python_put(PyObject *dict, const char *key, PyObject *value) {
    if (!value) return PyErr_Occurred() ? -1 : 0;
    int rc = PyDict_SetItemString(dict, key, value);
    Py_DECREF(value);
    return rc;
}

/* ---- the interpreter's end, the logger --------------------------------------------------- */

/* Set once, by atexit: whoever comes to give something up after that leaves it. */
static atomic_bool has_ended;

bool rp_python_is_running(void) {
    return !atomic_load_explicit(&has_ended, memory_order_acquire);
}

static PyObject *end(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    atomic_store_explicit(&has_ended, true, memory_order_release);
    return Py_NewRef(Py_None);
}

static PyMethodDef end_method = {"_end", end, METH_NOARGS, NULL};

static int register_end(void) {
    PyObject *function = PyCFunction_New(&end_method, NULL);
    PyObject *module = function ? PyImport_ImportModule("atexit") : NULL;
    PyObject *done = module ? PyObject_CallMethod(module, "register", "O", function) : NULL;
    int rc = done ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(function);
    return rc;
}

static int add_null_handler(PyObject *logging, PyObject *logger) {
    PyObject *handlers = PyObject_GetAttrString(logger, "handlers");
    int has_any = handlers ? PyObject_IsTrue(handlers) : -1;
    Py_XDECREF(handlers);
    if (has_any != 0) return has_any < 0 ? -1 : 0;
    PyObject *handler = PyObject_CallMethod(logging, "NullHandler", NULL);
    PyObject *done = handler ? PyObject_CallMethod(logger, "addHandler", "O", handler) : NULL;
    int rc = done ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(handler);
    return rc;
}

PyObject *rp_python_logger(void) {
    PyObject *logging = PyImport_ImportModule("logging");
    PyObject *logger =
        logging ? PyObject_CallMethod(logging, "getLogger", "s", "resource_pool") : NULL;
    if (logger && add_null_handler(logging, logger) < 0) Py_CLEAR(logger);
    Py_XDECREF(logging);
    return logger;
}

/* Somebody who never imported logging has no handler, and does not pay for importing it. */
static bool is_logging_there(void) {
    PyObject *modules = PyImport_GetModuleDict();
    return PyDict_GetItemString(modules, "logging") != NULL;
}

void rp_python_log(rp_log_level level, const char *line) {
    static const int python_levels[] = {0, 40, 30, 20, 10};
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    if (!rp_python_is_running()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *logger = is_logging_there() ? rp_python_logger() : NULL;
    PyObject *text = logger ? rp_python_text(line) : NULL;
    PyObject *done =
        text ? PyObject_CallMethod(logger, "log", "isO", python_levels[level], "%s", text) : NULL;
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(text);
    Py_XDECREF(logger);
    PyErr_Restore(type, value, traceback);
    PyGILState_Release(state);
}

/* ---- JSON ------------------------------------------------------------------------------- */

PyObject *rp_python_from_json_take(char *json) {
    PyObject *text = rp_python_text(json);
    rp_string_free(json);
    PyObject *module = text ? PyImport_ImportModule("json") : NULL;
    PyObject *result = module ? PyObject_CallMethod(module, "loads", "O", text) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(text);
    return result;
}

PyObject *rp_python_to_json(PyObject *object) {
    PyObject *module = PyImport_ImportModule("json");
    PyObject *function = module ? PyObject_GetAttrString(module, "dumps") : NULL;
    PyObject *arguments = function ? PyTuple_Pack(1, object) : NULL;
    PyObject *keywords =
        arguments ? Py_BuildValue("{sO}", "default", (PyObject *)&PyUnicode_Type) : NULL;
    PyObject *result = keywords ? PyObject_Call(function, arguments, keywords) : NULL;
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return result;
}

/* ---- the module ------------------------------------------------------------------------- */

static int fill_module(PyObject *module) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "resource_pool works in the main interpreter only");
        return -1;
    }
    if (PyModule_AddStringConstant(module, "__version__", rp_version_string()) < 0) return -1;
    if (add_exceptions(module) < 0 || register_end() < 0) return -1;
    if (rp_python_add_lease(module) < 0 || rp_python_add_model(module) < 0) return -1;
    if (rp_python_add_share(module) < 0) return -1;
    if (rp_python_add_tensor(module) < 0) return -1;
    if (rp_python_add_pool(module) < 0 || rp_python_add_async(module) < 0) return -1;
    return rp_python_add_modules(module);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "resource_pool._core",
    .m_doc = "The library behind the package.",
    .m_slots = slots,
};

/* Objects are laid out otherwise there: nothing that touches one may run. */
static bool is_free_threaded(void) {
    PyObject *flags = PySys_GetObject("abiflags");
    const char *text = flags ? PyUnicode_AsUTF8AndSize(flags, NULL) : NULL;
    return text && strchr(text, 't');
}

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    if (is_free_threaded()) {
        PyErr_SetString(PyExc_ImportError,
                        "resource_pool is not made for a free-threaded Python: it needs the GIL");
        return NULL;
    }
    return PyModuleDef_Init(&definition);
}
