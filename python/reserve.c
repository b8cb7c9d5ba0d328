/* SPDX-License-Identifier: Apache-2.0 */
/* Room for what the pool does not load itself. */
#include "core.h"

#include <string.h>

enum { DEVICE, MEMORY, NAME, TIMEOUT, COUNT };

static const char *const names[] = {"device", "memory", "name", "timeout", NULL};
static const struct rp_python_signature signature = {"reserve", names, 2, 2};

/* A number, or a text as budgets have it: "8GB". 0, or -1 raised. */
static int read_memory(PyObject *memory, uint64_t *bytes) {
    rp_error err = RP_ERROR_INIT;
    if (PyUnicode_Check(memory)) {
        const char *text = rp_python_utf8(memory, "memory");
        if (!text) return -1;
        if (rp_bytes_parse(text, bytes, &err) == RP_OK) return 0;
        rp_python_raise(&err);
        return -1;
    }
    PyObject *number = PyNumber_Index(memory);
    if (!number) return -1;
    *bytes = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

static int read_request(PyObject **values, rp_reservation *request) {
    request->device = rp_python_utf8(values[DEVICE], "device");
    if (!request->device || read_memory(values[MEMORY], &request->memory_bytes) < 0) return -1;
    if (values[NAME] && values[NAME] != Py_None) {
        request->name = rp_python_utf8(values[NAME], "name");
        if (!request->name) return -1;
    }
    if (rp_python_timeout(values[TIMEOUT], &request->timeout_ms) < 0) return -1;
    request->cancel = rp_python_token();
    return request->cancel ? 0 : -1;
}

static rp_status wait_for_room(rp_python_pool *self, const rp_reservation *request,
                               rp_lease **lease, rp_error *err) {
    rp_python_pool *outer = rp_python_wait_for(self);
    PyThreadState *thread = rp_python_pool_enter(self);
    *err = (rp_error)RP_ERROR_INIT;
    rp_status status = rp_pool_reserve(self->pool, request, lease, err);
    rp_python_pool_leave(self, thread);
    rp_python_wait_for(outer);
    return status;
}

/* Objects that nobody refers to are not in the way; those in cycles of garbage are found last. */
static rp_status reserve(rp_python_pool *self, const rp_reservation *request, rp_lease **lease,
                         rp_error *err) {
    rp_python_sweep(self);
    rp_status status = wait_for_room(self, request, lease, err);
    bool is_in_the_way = status == RP_ERR_CAPACITY || status == RP_ERR_CYCLE;
    if (!is_in_the_way || PyErr_Occurred()) return status;
    PyGC_Collect();
    return rp_python_sweep(self) > 0 ? wait_for_room(self, request, lease, err) : status;
}

PyObject *rp_python_reserve(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *keywords) {
    rp_python_pool *self = (rp_python_pool *)object;
    PyObject *values[COUNT];
    rp_reservation request = RP_RESERVATION_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    PyObject *made = NULL;
    if (rp_python_arguments(&signature, arguments, count, keywords, values) < 0 ||
        read_request(values, &request) < 0 || !rp_python_pool_is_open(self)) {
        return NULL;
    }
    Py_INCREF(object); /* a signal's handler may drop the last name of the pool */
    rp_status status = reserve(self, &request, &lease, &err);
    if (PyErr_Occurred()) { /* Ctrl-C; the room may have come in the same moment */
        rp_lease_release(lease, NULL);
    } else if (status != RP_OK) {
        rp_python_raise(&err);
    } else {
        made = rp_python_lease_new_take(self, lease);
    }
    Py_DECREF(object);
    return made;
}
