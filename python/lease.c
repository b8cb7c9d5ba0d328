/* SPDX-License-Identifier: Apache-2.0 */
/* A lease as a context manager: while it is out, the object stays where it is. */
#include "core.h"

#include <limits.h>

static PyTypeObject *lease_type;

typedef struct lease_object {
    PyObject_HEAD rp_python_pool *pool; /* its share keeps the pool open         */
    rp_lease *lease;                    /* NULL once released                    */
    unsigned long long number;          /* counts the leases of this process     */
    struct lease_object *older;         /* all that live, for those who ask which */
    struct lease_object *newer;
} lease_object;

static lease_object *newest;
static unsigned long long latest_number;

PyObject *rp_python_lease_new_take(rp_python_pool *pool, rp_lease *lease) {
    lease_object *self = PyObject_New(lease_object, lease_type);
    if (!self) {
        rp_lease_release(lease, NULL);
        return NULL;
    }
    self->pool = (rp_python_pool *)Py_NewRef((PyObject *)pool);
    self->lease = lease;
    self->number = ++latest_number;
    self->newer = NULL;
    self->older = newest;
    if (newest) newest->newer = self;
    newest = self;
    pool->lease_count++;
    return (PyObject *)self;
}

static void unlink_lease(lease_object *self) {
    if (self->older) self->older->newer = self->newer;
    if (self->newer) {
        self->newer->older = self->older;
    } else {
        newest = self->older;
    }
}

static rp_status give_back(lease_object *self, rp_error *err) {
    rp_lease *lease = self->lease;
    rp_status status = RP_OK;
    self->lease = NULL;
    if (!lease) return RP_OK;
    self->pool->changes++;
    self->pool->lease_count--;
    PyThreadState *thread = rp_python_pool_enter(self->pool);
    status = rp_lease_release(lease, err);
    rp_python_pool_leave(self->pool, thread);
    return status;
}

static void lease_dealloc(PyObject *object) {
    lease_object *self = (lease_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject *raised[3];
    unlink_lease(self);
    PyErr_Fetch(&raised[0], &raised[1], &raised[2]);
    give_back(self, NULL); /* in a child of fork() it is the parent's */
    PyErr_Restore(raised[0], raised[1], raised[2]);
    Py_DECREF((PyObject *)self->pool);
    PyObject_Free(object);
    Py_DECREF((PyObject *)type);
}

static rp_lease *lease_of(PyObject *object) {
    lease_object *self = (lease_object *)object;
    rp_error err = RP_ERROR_INIT;
    if (self->lease) return self->lease;
    rp_fail(&err, RP_ERR_STATE, "the lease was given back");
    rp_python_raise(&err);
    return NULL;
}

static PyObject *lease_enter(PyObject *self, PyObject *unused) {
    (void)unused;
    rp_lease *lease = lease_of(self);
    if (lease && !rp_lease_object(lease)) return Py_NewRef(self); /* room, which has no object */
    return lease ? rp_python_lease_object(((lease_object *)self)->pool, lease) : NULL;
}

static PyObject *lease_release(PyObject *object, PyObject *unused) {
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (!lease_of(object)) return NULL;
    if (give_back((lease_object *)object, &err) != RP_OK) return rp_python_raise(&err);
    return Py_NewRef(Py_None);
}

/* Given back inside the block already: that is all the block wanted. */
static PyObject *lease_exit(PyObject *object, PyObject *unused) {
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (give_back((lease_object *)object, &err) != RP_OK) return rp_python_raise(&err);
    return Py_NewRef(Py_None);
}

static PyObject *lease_object_of(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    if (!lease) return NULL;
    return rp_lease_object(lease) ? lease_enter(self, NULL) : Py_NewRef(Py_None);
}

static PyObject *lease_key(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    return lease ? rp_python_text(rp_lease_key(lease)) : NULL;
}

static PyObject *lease_device(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    return lease ? rp_python_text(rp_lease_placement(lease)->device) : NULL;
}

static PyObject *lease_precision(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    return lease ? rp_python_text(rp_lease_placement(lease)->precision) : NULL;
}

static PyObject *lease_reason(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    return lease ? rp_python_text(rp_lease_placement(lease)->reason) : NULL;
}

static PyObject *lease_memory_bytes(PyObject *self, void *unused) {
    (void)unused;
    const rp_lease *lease = lease_of(self);
    if (!lease) return NULL;
    uint64_t bytes = rp_lease_memory_bytes(lease);
    return bytes == RP_UNKNOWN_U64 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
}

static PyObject *lease_released(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(!((lease_object *)self)->lease);
}

static PyObject *lease_number(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(((lease_object *)self)->number);
}

static PyMethodDef lease_methods[] = {
    {"__enter__", lease_enter, METH_NOARGS, "The object; of room that was reserved the lease."},
    {"__exit__", lease_exit, METH_VARARGS, "Gives the lease back, if that was not done before."},
    {"release", lease_release, METH_NOARGS,
     "release($self)\n--\n\nGive the lease back. StateError: it was before."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Lease[Model], for type checkers."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lease_attributes[] = {
    {"object", lease_object_of, NULL,
     "What the constructor made, or the Model; None for room that was reserved.", NULL},
    {"key", lease_key, NULL, "The instance: 'embedding:bert-base-uncased@cpu'.", NULL},
    {"device", lease_device, NULL, "'cpu', 'cuda:0'; None for what lives on no device.", NULL},
    {"precision", lease_precision, NULL, "'fp16'; None: as stored.", NULL},
    {"reason", lease_reason, NULL, "Why it is there, in a sentence.", NULL},
    {"memory_bytes", lease_memory_bytes, NULL, "What it takes; None when nobody said.", NULL},
    {"_number", lease_number, NULL, "Its number in _leases().", NULL},
    {"released", lease_released, NULL, "Whether it was given back.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static char lease_doc[] = "A share of an object in the pool: it stays while the lease is out.\n\n"
                          "Use it in a with statement, which gives the object, or release() it.";

static PyType_Slot lease_slots[] = {
    {Py_tp_dealloc, lease_dealloc},
    {Py_tp_methods, lease_methods},
    {Py_tp_getset, lease_attributes},
    {Py_tp_doc, lease_doc},
    {0, NULL},
};

static PyType_Spec lease_spec = {
    .name = "resource_pool.Lease",
    .basicsize = sizeof(lease_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = lease_slots,
};

/* Making a tuple may collect garbage, and with it leases: the place is looked for anew each time,
 * by its number. */
static PyObject *list_leases(PyObject *self, PyObject *unused) {
    PyObject *list = PyList_New(0);
    PyObject *key = NULL;
    unsigned long long before = ULLONG_MAX;
    (void)self;
    (void)unused;
    while (list) {
        const lease_object *at = newest;
        while (at && (at->number >= before || !at->lease)) {
            at = at->older;
        }
        if (!at) break;
        before = at->number;
        key = rp_python_text(rp_lease_key(at->lease));
        PyObject *row = key ? Py_BuildValue("KO", before, key) : NULL;
        if (!row || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
        Py_XDECREF(key);
    }
    return list;
}

static PyMethodDef lease_functions[] = {
    {"_leases", list_leases, METH_NOARGS,
     "_leases()\n--\n\n[(number, key), ...] of the Lease objects of this process that are out, the "
     "newest first.\nNumbers only grow."},
    {NULL, NULL, 0, NULL},
};

/* Made by a pool only. */
int rp_python_add_lease(PyObject *module) {
    lease_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lease_spec, NULL);
    if (!lease_type || PyModule_AddFunctions(module, lease_functions) < 0) return -1;
    return PyModule_AddObjectRef(module, "Lease", (PyObject *)lease_type);
}
