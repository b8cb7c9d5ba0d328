/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Python objects take, and what becomes of their memory when they go: torch keeps freed memory
 * of devices for itself, and garbage in cycles waits for the collector. Both are asked once for
 * each batch of objects that the pool gave up, not for each object.
 */
#include "core.h"

#include <stdatomic.h>
#include <string.h>

/* What fits into less is left to Python's own collector. */
#define COLLECTED_BYTES (UINT64_C(1) << 20)

/* ---- sizes ------------------------------------------------------------------------------ */

/* (bytes, method) of resource_pool._sizes; NULL and nothing raised where nobody can say. */
static PyObject *ask(PyObject *made, const char *device) {
    PyObject *module = PyImport_ImportModule("resource_pool._sizes");
    PyObject *answer = module ? PyObject_CallMethod(module, "measure", "Oz", made, device) : NULL;
    Py_XDECREF(module);
    if (answer && PyTuple_Check(answer)) return answer;
    /* Ctrl-C in here is for whoever waits for the model. */
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
    PyErr_Clear();
    Py_XDECREF(answer);
    return NULL;
}

uint64_t rp_python_measure(PyObject *made, rp_build *build) {
    PyObject *bytes = NULL;
    int method = 0;
    const rp_placement *placement = rp_build_placement(build);
    PyObject *answer = ask(made, placement ? placement->device : NULL);
    if (!answer) return RP_UNKNOWN_U64;
    uint64_t count = RP_UNKNOWN_U64;
    if (PyArg_ParseTuple(answer, "Oi", &bytes, &method)) {
        if (bytes != Py_None) count = PyLong_AsUnsignedLongLong(bytes);
        if (!PyErr_Occurred()) rp_build_set_bytes_by(build, count, (rp_bytes_method)method);
    }
    if (PyErr_Occurred()) count = RP_UNKNOWN_U64;
    PyErr_Clear();
    Py_DECREF(answer);
    return count;
}

/* ---- memory that is free ---------------------------------------------------------------- */

/* What the latest batch has left behind. Read without the GIL. */
enum { LEFT_CUDA = 1, LEFT_MPS = 2, LEFT_GARBAGE = 4 };
static atomic_uint left;

static unsigned cache_of(const char *device) {
    if (!device) return 0;
    if (strncmp(device, "cuda", 4) == 0 || strncmp(device, "rocm", 4) == 0) return LEFT_CUDA;
    return strncmp(device, "mps", 3) == 0 ? LEFT_MPS : 0;
}

unsigned rp_python_cache_of(const rp_build *build) {
    const rp_placement *placement = rp_build_placement(build);
    return placement ? cache_of(placement->device) : 0;
}

/* A weak reference, new; NULL and nothing raised: its class knows none. */
static PyObject *watch(PyObject *object) {
    PyObject *reference = PyWeakref_NewRef(object, NULL);
    if (!reference) PyErr_Clear();
    return reference;
}

void rp_python_give_up(PyObject *object, unsigned cache, uint64_t bytes) {
    bool is_large = bytes != RP_UNKNOWN_U64 && bytes >= COLLECTED_BYTES;
    PyObject *reference = is_large ? watch(object) : NULL;
    Py_DECREF(object);
    if (reference && PyWeakref_GetObject(reference) != Py_None) cache |= LEFT_GARBAGE;
    Py_XDECREF(reference);
    atomic_fetch_or(&left, cache);
}

/* Torch's own part. Nothing of it raises further. */
static void ask_torch(unsigned caches) {
    const char *kinds = (caches & LEFT_CUDA) && (caches & LEFT_MPS) ? "cuda mps"
                        : (caches & LEFT_CUDA)                      ? "cuda"
                                                                    : "mps";
    if (!PyDict_GetItemString(PyImport_GetModuleDict(), "torch")) return;
    PyObject *module = PyImport_ImportModule("resource_pool._torch");
    PyObject *done = module ? PyObject_CallMethod(module, "give_back", "s", kinds) : NULL;
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(module);
}

void rp_python_freed(bool is_short, void *user) {
    unsigned what = atomic_exchange(&left, 0);
    PyObject *raised[3];
    (void)user;
    if (is_short) what = LEFT_CUDA | LEFT_MPS | LEFT_GARBAGE;
    if (what == 0 || !rp_python_is_running()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    PyErr_Fetch(&raised[0], &raised[1], &raised[2]);
    if (what & LEFT_GARBAGE) PyGC_Collect();
    if (what & (LEFT_CUDA | LEFT_MPS)) ask_torch(what);
    PyErr_Restore(raised[0], raised[1], raised[2]);
    PyGILState_Release(state);
}
