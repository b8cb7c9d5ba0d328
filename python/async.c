/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the pool that can be awaited. What knows asyncio is the package's _await.py; here are
 * the two objects that it handles.
 *
 * A call is one get_model() with its arguments, to be asked whether it is loaded (on the event
 * loop), to be run (on a thread) and to be called off (from the event loop).
 *
 * A load is a constructor that runs. What it awaits is asked for on another thread, which the
 * library has to be told: otherwise nobody would know that the one needs the other, and a circle of
 * such needs would wait for itself for ever. The library's name for a load dies when the
 * constructor returns; the object lives on, knows that it has ended, and lets the constructor end
 * only when no call on its behalf is inside the library.
 */
#include "core.h"

#include <string.h>

static PyTypeObject *call_type;
static PyTypeObject *load_type;

/* ---- a load ----------------------------------------------------------------------------- */

/* All but the lock is guarded by the GIL. */
typedef struct load_object {
    PyObject_HEAD rp_build *build; /* NULL: ended                                   */
    PyThread_type_lock busy;       /* taken while user_count is not 0               */
    size_t user_count;             /* calls on its behalf that are in the library   */
} load_object;

static void load_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyThread_free_lock(((load_object *)object)->busy);
    PyObject_Free(object);
    Py_DECREF((PyObject *)type);
}

static load_object *new_load(rp_build *build) {
    PyThread_type_lock busy = PyThread_allocate_lock();
    if (!busy) return (load_object *)PyErr_NoMemory();
    load_object *self = PyObject_New(load_object, load_type);
    if (!self) {
        PyThread_free_lock(busy);
        return NULL;
    }
    self->build = build;
    self->busy = busy;
    self->user_count = 0;
    return self;
}

/* What a call is made on behalf of: NULL where the load is None or has ended. */
static rp_build *load_enter(PyObject *object) {
    if (!PyObject_TypeCheck(object, load_type)) return NULL;
    load_object *self = (load_object *)object;
    if (!self->build) return NULL;
    /* Nobody has it: whoever enters or leaves does so with the GIL, and the end only looks. */
    if (self->user_count++ == 0) PyThread_acquire_lock(self->busy, WAIT_LOCK);
    return self->build;
}

static void load_leave(PyObject *object, const rp_build *build) {
    load_object *self = (load_object *)object;
    if (build && --self->user_count == 0) PyThread_release_lock(self->busy);
}

/* The call whose constructor runs on this thread, the innermost one. */
static _Thread_local struct rp_python_call *constructing;

void rp_python_load_begin(struct rp_python_call *call, rp_build *build) {
    call->building = build;
    call->outer = constructing;
    constructing = call;
}

/* Its exception, if one is set, stays set. */
void rp_python_load_end(struct rp_python_call *call) {
    load_object *load = (load_object *)call->load;
    constructing = call->outer;
    call->building = NULL;
    call->load = NULL;
    if (!load) return;
    load->build = NULL;
    PyThreadState *thread = PyEval_SaveThread();
    PyThread_acquire_lock(load->busy, WAIT_LOCK);
    PyThread_release_lock(load->busy);
    PyEval_RestoreThread(thread);
    Py_DECREF((PyObject *)load);
}

/* The object of a call whose constructor runs; borrowed, NULL raised. */
static PyObject *load_of(struct rp_python_call *call) {
    if (!call->load) call->load = (PyObject *)new_load(call->building);
    return call->load;
}

/* On whose behalf this thread asks: a load, or None. */
static PyObject *current_load(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_XNewRef(constructing ? load_of(constructing) : Py_None);
}

PyObject *rp_python_finish_take(struct rp_python_call *call, PyObject *coroutine) {
    PyObject *load = load_of(call);
    PyObject *made =
        load ? PyObject_CallFunctionObjArgs(call->finish, coroutine, load, NULL) : NULL;
    Py_DECREF(coroutine);
    return made;
}

static PyType_Slot load_slots[] = {
    {Py_tp_dealloc, load_dealloc},
    {0, NULL},
};

static PyType_Spec load_spec = {
    .name = "resource_pool._Load",
    .basicsize = sizeof(load_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = load_slots,
};

/* ---- a call ----------------------------------------------------------------------------- */

typedef struct call_object {
    PyObject_HEAD PyObject *pool;
    const char *method;   /* a literal                                              */
    PyObject **arguments; /* owned, `count` and as many as `keywords` names         */
    Py_ssize_t count;
    PyObject *keywords; /* NULL: none                                             */
    rp_cancel *cancel;
} call_object;

static Py_ssize_t argument_count(const call_object *self) {
    return self->count + (self->keywords ? PyTuple_Size(self->keywords) : 0);
}

static int call_traverse(PyObject *object, visitproc visit, void *arg) {
    call_object *self = (call_object *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT(self->pool);
    Py_ssize_t count = self->arguments ? argument_count(self) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_VISIT(self->arguments[i]);
    }
    return 0;
}

static void call_dealloc(PyObject *object) {
    call_object *self = (call_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_ssize_t count = self->arguments ? argument_count(self) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_XDECREF(self->arguments[i]);
    }
    PyMem_Free(self->arguments);
    Py_XDECREF(self->keywords);
    Py_XDECREF(self->pool);
    rp_cancel_destroy(self->cancel);
    PyObject_GC_Del(object);
    Py_DECREF((PyObject *)type);
}

static int keep_arguments(call_object *self, PyObject *const *arguments) {
    Py_ssize_t count = argument_count(self);
    self->arguments = PyMem_Calloc(count > 0 ? (size_t)count : 1, sizeof *self->arguments);
    if (!self->arguments) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        self->arguments[i] = Py_NewRef(arguments[i]);
    }
    return 0;
}

static call_object *new_call(PyObject *pool, const char *method) {
    call_object *self = PyObject_GC_New(call_object, call_type);
    if (!self) return NULL;
    self->pool = Py_NewRef(pool);
    self->method = method;
    self->arguments = NULL;
    self->count = 0;
    self->keywords = NULL;
    self->cancel = NULL;
    return self;
}

static PyObject *ask(call_object *self, PyObject *load, PyObject *finish, bool only_loaded) {
    rp_build *within = load_enter(load);
    struct rp_python_ask asked = {
        .pool = self->pool,
        .method = self->method,
        .arguments = self->arguments,
        .count = self->count,
        .keywords = self->keywords,
        .finish = finish,
        .within = within,
        .cancel = self->cancel,
        .only_loaded = only_loaded,
    };
    PyObject *result = rp_python_ask(&asked);
    load_leave(load, within);
    return result;
}

/* loaded(load): (object,) where it is loaded, else None. */
static PyObject *call_loaded(PyObject *self, PyObject *load) {
    PyObject *object = ask((call_object *)self, load, NULL, true);
    if (!object) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    PyObject *found = PyTuple_Pack(1, object);
    Py_DECREF(object);
    return found;
}

/* run(load, finish): what the method returns. finish(coroutine, load) waits for a constructor's
 * coroutine. */
static PyObject *call_run(PyObject *self, PyObject *arguments) {
    PyObject *load = NULL;
    PyObject *finish = NULL;
    if (!PyArg_ParseTuple(arguments, "OO:run", &load, &finish)) return NULL;
    return ask((call_object *)self, load, finish, false);
}

static PyObject *call_call_off(PyObject *self, PyObject *unused) {
    (void)unused;
    rp_cancel_fire(((call_object *)self)->cancel);
    return Py_NewRef(Py_None);
}

static PyMethodDef call_methods[] = {
    {"loaded", call_loaded, METH_O, NULL},
    {"run", call_run, METH_VARARGS, NULL},
    {"call_off", call_call_off, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_traverse, call_traverse},
    {Py_tp_methods, call_methods},
    {0, NULL},
};

static PyType_Spec call_spec = {
    .name = "resource_pool._Call",
    .basicsize = sizeof(call_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

/* ---- the methods ------------------------------------------------------------------------ */

/* _await.get or _await.Leasing, imported when first needed. Borrowed. */
static PyObject *awaitable_of(const char *method) {
    static PyObject *functions[2];
    static const char *const names[] = {"get", "Leasing"};
    int at = strncmp(method, "get", 3) == 0 ? 0 : 1;
    if (functions[at]) return functions[at];
    PyObject *module = PyImport_ImportModule("resource_pool._await");
    PyObject *found = module ? PyObject_GetAttrString(module, names[at]) : NULL;
    Py_XDECREF(module);
    if (functions[at]) { /* another thread was in here, too */
        Py_XDECREF(found);
    } else {
        functions[at] = found;
    }
    return functions[at];
}

PyObject *rp_python_await(PyObject *self, const char *method, PyObject *const *arguments,
                          Py_ssize_t count, PyObject *keywords) {
    PyObject *function = awaitable_of(method);
    call_object *call = function ? new_call(self, method) : NULL;
    PyObject *result = NULL;
    if (!call) return NULL;
    call->count = count;
    call->keywords = Py_XNewRef(keywords);
    if (keep_arguments(call, arguments) == 0) call->cancel = rp_python_token_new();
    PyObject_GC_Track((PyObject *)call);
    if (call->cancel) result = PyObject_CallFunctionObjArgs(function, (PyObject *)call, NULL);
    Py_DECREF((PyObject *)call);
    return result;
}

static PyMethodDef load_method = {"_load", current_load, METH_NOARGS, NULL};

int rp_python_add_async(PyObject *module) {
    load_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &load_spec, NULL);
    call_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &call_spec, NULL);
    PyObject *function = PyCFunction_New(&load_method, NULL);
    int rc =
        load_type && call_type && function ? PyModule_AddObjectRef(module, "_load", function) : -1;
    Py_XDECREF(function);
    return rc;
}
