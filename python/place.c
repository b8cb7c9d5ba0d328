/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices and precisions of Python objects. What moves an object is known in Python only: in
 * resource_pool._place, which is imported when there may be anything to move (torch is there, or a
 * placer of the program's), so that a program without any of it pays nothing.
 */
#include "core.h"

#include <string.h>

static bool is_imported(const char *name) {
    return PyDict_GetItemString(PyImport_GetModuleDict(), name) != NULL;
}

/* Whether the device exists only on paper: nothing can be moved there. Unknown ones are real. */
static bool is_simulated(const char *device) {
    const rp_snapshot *snapshot = NULL;
    PyThreadState *thread = PyEval_SaveThread(); /* looking at the hardware may take seconds */
    rp_status status = rp_hardware_snapshot(&snapshot, NULL);
    PyEval_RestoreThread(thread);
    if (status != RP_OK) return false;
    const rp_device *found = rp_snapshot_find_device(snapshot, device);
    bool simulated = found && found->simulated;
    rp_snapshot_release(snapshot);
    return simulated;
}

PyObject *rp_python_place_take(PyObject *made, const rp_placement *placement) {
    bool may_move = is_imported("torch") || is_imported("resource_pool._place");
    if (!placement->device || made == Py_None || !may_move) return made;
    PyObject *module = PyImport_ImportModule("resource_pool._place");
    PyObject *placed =
        module ? PyObject_CallMethod(module, "place", "OszOO", made, placement->device,
                                     placement->precision,
                                     is_simulated(placement->device) ? Py_True : Py_False,
                                     placement->policy == RP_POLICY_REQUIRE ? Py_True : Py_False)
               : NULL;
    Py_XDECREF(module);
    Py_DECREF(made);
    return placed;
}

PyObject *rp_python_place_copy(PyObject *source, const rp_placement *placement) {
    PyObject *module = PyImport_ImportModule("resource_pool._place");
    PyObject *copy = module
                         ? PyObject_CallMethod(module, "copy", "OszO", source, placement->device,
                                               placement->precision,
                                               is_simulated(placement->device) ? Py_True : Py_False)
                         : NULL;
    Py_XDECREF(module);
    return copy;
}

/* ---- moving ----------------------------------------------------------------------------- */

/* "cuda" is where "cuda:1" is already. */
static bool is_there(const char *key, const char *plain_key, const char *device) {
    size_t plain = strlen(plain_key);
    size_t length = strlen(device);
    if (strncmp(key, plain_key, plain) != 0 || key[plain] != '@') return false;
    const char *where = key + plain + 1;
    if (strncmp(where, device, length) != 0) return false;
    return where[length] == '\0' || where[length] == '/' ||
           (where[length] == ':' && !strchr(device, ':'));
}

/* Whether requests still find it: one that was cleared lives on with its holders. */
static bool is_found(const rp_statistics *statistics, const char *key) {
    for (size_t i = 0; i < rp_statistics_entry_count(statistics); i++) {
        const rp_entry_info *entry = rp_statistics_entry(statistics, i);
        if (!entry->is_draining && strcmp(entry->key, key) == 0) return true;
    }
    return false;
}

/*
 * The model that a request without a device finds; else one that is on the device already; else the
 * newest of that name. The list is the newest first.
 */
static struct rp_python_held *find(rp_python_pool *pool, const rp_statistics *statistics,
                                   const char *plain_key, const char *device) {
    struct rp_python_held *best = NULL;
    for (struct rp_python_held *at = pool->first; at; at = at->next) {
        if (at->kind != RP_KIND_MODEL || strcmp(at->plain_key, plain_key) != 0) continue;
        if (!is_found(statistics, at->key)) continue;
        if (at->is_plain) return at;
        if (!best || is_there(at->key, plain_key, device)) best = at;
    }
    return best;
}

/* What is to be moved, as the moment of the look has it. The object is a share, the key owned. */
struct move {
    PyObject *source;
    PyObject *key; /* bytes */
    bool is_plain;
    bool is_there;
};

static void move_fini(struct move *move) {
    Py_CLEAR(move->source);
    Py_CLEAR(move->key);
}

/* No constructor made an object of that name: it is an engine's model, or nothing is loaded. */
static void refuse(const rp_statistics *statistics, const char *plain_key, const char *device,
                   rp_error *err) {
    size_t plain = strlen(plain_key);
    for (size_t i = 0; i < rp_statistics_entry_count(statistics); i++) {
        const rp_entry_info *entry = rp_statistics_entry(statistics, i);
        if (entry->is_draining || !entry->placement.engine ||
            strncmp(entry->key, plain_key, plain) != 0 ||
            (entry->key[plain] != '\0' && entry->key[plain] != '@')) {
            continue;
        }
        rp_fail(err, RP_ERR_UNSUPPORTED, "cannot move '%s' to %s: the engine '%s' loaded it",
                plain_key, device, entry->placement.engine);
        rp_hint(err, "ask for it there: get_model() with {'device': '%s'}", device);
        return;
    }
    rp_fail(err, RP_ERR_NOT_FOUND, "cannot move '%s' to %s: no such model is loaded", plain_key,
            device);
    rp_hint(err, "load it with get_model() first, there if you like: {'device': '%s'}", device);
}

/* 0, or -1 raised: NotFoundError, UnsupportedError. */
static int look_for(rp_python_pool *pool, const char *type, const char *name, const char *device,
                    struct move *move) {
    rp_error err = RP_ERROR_INIT;
    rp_statistics *statistics = NULL;
    PyObject *plain = PyUnicode_FromFormat("%s:%s", type, name);
    const char *plain_key = plain ? PyUnicode_AsUTF8AndSize(plain, NULL) : NULL;
    if (!plain_key) {
        Py_XDECREF(plain);
        return -1;
    }
    PyThreadState *thread = rp_python_pool_enter(pool);
    rp_status status = rp_pool_statistics(pool->pool, &statistics, &err);
    rp_python_pool_leave(pool, thread);
    struct rp_python_held *held =
        status == RP_OK ? find(pool, statistics, plain_key, device) : NULL;
    if (held) {
        move->source = Py_NewRef(held->object);
        move->is_plain = held->is_plain;
        move->is_there = is_there(held->key, plain_key, device);
        move->key = PyBytes_FromString(held->key);
    } else if (status == RP_OK) {
        refuse(statistics, plain_key, device, &err);
    }
    rp_statistics_destroy(statistics);
    Py_DECREF(plain);
    if (move->key) return 0;
    if (!PyErr_Occurred()) rp_python_raise(&err);
    move_fini(move);
    return -1;
}

static const char *const move_names[] = {"model_type", "model_name", "device", NULL};
static const struct rp_python_signature move_signature = {"move_model_to_device", move_names, 3, 3};

static PyObject *move_model(rp_python_pool *pool, PyObject **values) {
    struct move move = {NULL, NULL, false, false};
    struct rp_python_call call = {
        .pool = pool, .kind = RP_KIND_MODEL, .bytes = RP_UNKNOWN_U64, .request = RP_REQUEST_INIT};
    call.request.type = rp_python_utf8(values[0], "model_type");
    if (call.request.type) call.request.name = rp_python_utf8(values[1], "model_name");
    if (call.request.name) call.move_device = rp_python_utf8(values[2], "device");
    if (!call.move_device || !rp_python_pool_is_open(pool) ||
        look_for(pool, call.request.type, call.request.name, call.move_device, &move) < 0) {
        return NULL;
    }
    PyObject *object = NULL;
    if (move.is_there) {
        object = Py_NewRef(move.source);
    } else {
        call.move_key = PyBytes_AsString(move.key);
        call.move_source = move.source;
        call.is_plain = move.is_plain;
        rp_lease *lease = rp_python_acquire(&call);
        if (lease) object = rp_python_hold_take(pool, lease);
    }
    move_fini(&move);
    return object;
}

PyObject *rp_python_move_model(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *keywords) {
    PyObject *values[3];
    if (rp_python_arguments(&move_signature, arguments, count, keywords, values) < 0) return NULL;
    Py_INCREF(self);
    PyObject *object = move_model((rp_python_pool *)self, values);
    Py_DECREF(self);
    return object;
}
