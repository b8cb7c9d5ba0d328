/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One copy of an object for all processes: what a constructor made becomes parts of a segment at
 * the broker, and each process, the one that made it too, has an object whose arrays lie in that
 * segment. What an object's parts are is _pickling.py's matter; here is who makes it and who waits,
 * and what becomes of it when that fails.
 *
 * Nothing about sharing is a reason not to have the object: without a broker, without room for a
 * segment, or when it cannot be pickled, each process makes its own, and the log says so once. What
 * all get is the exception of the constructor.
 */
#include "buffer.h"
#include "core.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>

enum {
    ROUNDS = 4,          /* so many brokers may die, or stale objects be found, under one request */
    TRIM_BYTES = 1 << 20 /* below this nobody would notice that memory is given back */
};

/* ---- the type: memory that a segment, or a part of one, keeps --------------------------- */

struct memory {
    PyObject_HEAD PyObject *owner; /* what must live as long; NULL */
    rp_object *object;             /* its own; NULL                */
    void *bytes;
    Py_ssize_t length;
};

static PyTypeObject *memory_type; /* NULL before the module is filled */

static int memory_get_buffer(PyObject *self, void *out, int flags) {
    struct memory *memory = (struct memory *)self;
    return PyBuffer_FillInfo(out, self, memory->bytes, memory->length, 0, flags);
}

/* On whichever thread drops the last array; in a child of fork() it is unmapped only. Unmapping
 * much takes a while. */
static void memory_dealloc(PyObject *self) {
    struct memory *memory = (struct memory *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (memory->object && rp_python_is_running()) {
        PyThreadState *thread = PyEval_SaveThread();
        rp_machine_object_release(memory->object);
        PyEval_RestoreThread(thread);
    }
    Py_XDECREF(memory->owner);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

/* owner and object: see above; both may be NULL. */
static PyObject *memory_new(PyObject *owner, void *bytes, size_t length) {
    allocfunc allocate = (allocfunc)PyType_GetSlot(memory_type, Py_tp_alloc);
    struct memory *memory = (struct memory *)allocate(memory_type, 0);
    if (!memory) return NULL;
    memory->owner = Py_XNewRef(owner);
    memory->bytes = bytes;
    memory->length = (Py_ssize_t)length;
    return (PyObject *)memory;
}

static PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, memory_dealloc},
    {RP_PYTHON_SLOT_GET_BUFFER, memory_get_buffer},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "resource_pool._core._Memory",
    .basicsize = sizeof(struct memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = memory_slots,
};

/* _memory(address, length, owner): a buffer, of what has none itself. */
static PyObject *core_memory(PyObject *module, PyObject *arguments) {
    unsigned long long address = 0;
    Py_ssize_t length = 0;
    PyObject *owner = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KnO:_memory", &address, &length, &owner)) return NULL;
    return memory_new(owner, (void *)(uintptr_t)address, (size_t)length);
}

/* _address(buffer): where it begins. */
static PyObject *core_address(PyObject *module, PyObject *buffer) {
    rp_python_buffer seen;
    (void)module;
    if (PyObject_GetBuffer(buffer, &seen, RP_PYTHON_BUFFER_SIMPLE) < 0) return NULL;
    PyObject *address = PyLong_FromVoidPtr(seen.buf);
    PyBuffer_Release(&seen);
    return address;
}

static PyMethodDef share_functions[] = {
    {"_memory", core_memory, METH_VARARGS,
     "_memory(address, length, owner, /)\n--\n\nA buffer of those bytes, which keeps its owner."},
    {"_address", core_address, METH_O, "_address(buffer, /)\n--\n\nWhere it begins."},
    {NULL, NULL, 0, NULL},
};

int rp_python_add_share(PyObject *module) {
    memory_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    if (!memory_type) return -1;
    return PyModule_AddFunctions(module, share_functions);
}

/* ---- what is told ----------------------------------------------------------------------- */

static PyObject *told; /* keys of which it was said that they are not shared; NULL before */

static bool is_told(PyObject *key) {
    if (!told) told = PySet_New(NULL);
    int is_there = told ? PySet_Contains(told, key) : -1;
    if (is_there == 0) PySet_Add(told, key);
    PyErr_Clear();
    return is_there == 1;
}

/* One request that is to be shared, on the stack of its thread. */
struct sharing {
    struct rp_python_call *call;
    rp_build *build;
    PyObject *pickling; /* the module              */
    PyObject *key;      /* at the broker; a str    */
    rp_machine *machine;
    uint64_t private_bytes;
    bool is_mine; /* what is attached was published here */
    rp_error *err;
};

/* Once in a process for each key. */
static void tell_unshared(struct sharing *sharing, rp_log_level level, const char *reason) {
    char line[1024];
    if (is_told(sharing->key)) return;
    PyOS_snprintf(line, sizeof line, "event=unshared key=\"%s\" message=\"%.600s: %s\"",
                  rp_build_key(sharing->build), reason, "each process makes its own");
    rp_python_log(level, line);
}

/* The exception that is set, as a reason; it is set no more. */
static void tell_raised(struct sharing *sharing, const char *what) {
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    char reason[512];
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    PyOS_snprintf(reason, sizeof reason, "%s: %.400s", what, utf8 ? utf8 : "an exception");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    tell_unshared(sharing, RP_LOG_WARNING, reason);
}

/* Ctrl-C and the like are for the program; whatever else is set only stands in the way. */
static bool is_end(void) {
    return PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
}

/* ---- this process's own ----------------------------------------------------------------- */

static PyObject *make_alone(struct sharing *sharing) {
    return rp_python_construct(sharing->call, sharing->build, sharing->err);
}

/* ---- attaching -------------------------------------------------------------------------- */

/* What an attached object turned out to be. */
enum found { FOUND_OBJECT, FOUND_NOTHING, FOUND_STALE, FOUND_END };

/* Its parts as a list of buffers, which keep `whole`. */
static PyObject *parts_of(PyObject *whole, rp_object *object) {
    size_t count = rp_object_part_count(object);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        size_t bytes = 0;
        void *data = rp_object_part_data(object, i, &bytes);
        PyObject *part = memory_new(whole, data, bytes);
        if (!part || PyList_SetItem(list, (Py_ssize_t)i, part) < 0) Py_CLEAR(list);
    }
    return list;
}

/* What is this process's own: at least its share of what the caller says that all of it takes. */
static uint64_t own_bytes(const struct rp_python_call *call, uint64_t own, uint64_t shared) {
    if (call->bytes == RP_UNKNOWN_U64 || call->bytes <= shared) return own;
    return call->bytes - shared > own ? call->bytes - shared : own;
}

/* ("object", ...), ("alone", reason), ("stale", reason): see _pickling.load(). */
static enum found read_result(struct sharing *sharing, PyObject *result, PyObject **made) {
    const char *word = NULL;
    PyObject *what = NULL;
    unsigned long long own = 0;
    unsigned long long shared = 0;
    if (!PyArg_ParseTuple(result, "sO|KK", &word, &what, &own, &shared)) return FOUND_NOTHING;
    if (strcmp(word, "object") == 0) {
        sharing->private_bytes = own_bytes(sharing->call, own, shared);
        sharing->call->shared_bytes = shared;
        *made = Py_NewRef(what);
        return FOUND_OBJECT;
    }
    const char *reason = PyUnicode_AsUTF8AndSize(what, NULL);
    if (!reason) return FOUND_NOTHING;
    if (strcmp(word, "stale") == 0) return FOUND_STALE;
    if (*reason) tell_unshared(sharing, RP_LOG_INFO, reason);
    return FOUND_NOTHING;
}

/* Takes the object. FOUND_END: an exception is set that is for the program. */
static enum found attach_take(struct sharing *sharing, rp_object *object, PyObject **made) {
    PyObject *whole = memory_new(NULL, NULL, 0);
    if (!whole) {
        rp_machine_object_release(object);
        return FOUND_END;
    }
    ((struct memory *)whole)->object = object;
    PyObject *parts = parts_of(whole, object);
    PyObject *result = parts ? PyObject_CallMethod(sharing->pickling, "load", "O", parts) : NULL;
    Py_XDECREF(parts);
    enum found found = result ? read_result(sharing, result, made) : FOUND_NOTHING;
    Py_XDECREF(result);
    if (is_end()) {
        found = FOUND_END;
    } else if (PyErr_Occurred()) {
        tell_raised(sharing, "what another process made cannot be read");
    }
    /* Everybody is to make it anew. */
    bool is_useless = found == FOUND_STALE || (found == FOUND_NOTHING && sharing->is_mine);
    if (is_useless) rp_machine_object_retire(object);
    /* Kept with the object: what has no arrays would give the share up at once. */
    if (found == FOUND_OBJECT) sharing->call->segment = Py_NewRef(whole);
    Py_DECREF(whole);
    return found;
}

/* ---- publishing ------------------------------------------------------------------------- */

/* It was not made: who waits hears of it, or goes on in its place. Takes the token. */
static void abort_take(struct sharing *sharing, rp_object_build *token) {
    rp_error why = *sharing->err;
    PyObject *raised = sharing->call->raised;
    bool is_own_end = raised && !PyErr_GivenExceptionMatches(raised, PyExc_Exception);
    /* Out of memory, Ctrl-C and exit are this process's: the next one may do better. */
    bool is_own = is_own_end || why.status == RP_ERR_MEMORY || why.status == RP_ERR_CANCELLED;
    why.status = is_own ? RP_ERR_CANCELLED : RP_ERR_LOAD;
    why.os_errno = 0; /* the number of an exception, which only this process knows */
    PyThreadState *thread = PyEval_SaveThread();
    rp_machine_object_abort(token, &why);
    PyEval_RestoreThread(thread);
}

struct publishing {
    rp_python_buffer *views;
    rp_object_part *parts;
    size_t count;
    size_t taken; /* so many views are to be released */
};

static void publishing_fini(struct publishing *publishing) {
    for (size_t i = 0; i < publishing->taken; i++) {
        PyBuffer_Release(&publishing->views[i]);
    }
    PyMem_Free(publishing->views);
    PyMem_Free(publishing->parts);
}

static int publishing_init(struct publishing *publishing, PyObject *list) {
    Py_ssize_t count = PyList_Size(list);
    if (count < 0) return -1;
    publishing->count = (size_t)count;
    publishing->views = PyMem_Calloc(publishing->count, sizeof *publishing->views);
    publishing->parts = PyMem_Calloc(publishing->count, sizeof *publishing->parts);
    if (!publishing->views || !publishing->parts) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        rp_python_buffer *seen = &publishing->views[i];
        if (PyObject_GetBuffer(PyList_GetItem(list, i), seen, RP_PYTHON_BUFFER_SIMPLE) < 0)
            return -1;
        publishing->taken++;
        publishing->parts[i] = (rp_object_part){seen->buf, (size_t)seen->len};
    }
    return 0;
}

/* Takes the token. `object` may be NULL. False, and nothing raised: it was not to be. */
static bool publish_take(struct sharing *sharing, rp_object_build *token, PyObject *list,
                         rp_object **object) {
    struct publishing publishing = {.views = NULL};
    rp_error why = RP_ERROR_INIT;
    int rc = publishing_init(&publishing, list);
    PyThreadState *thread = PyEval_SaveThread();
    rp_status status = RP_ERR_MEMORY;
    if (rc == 0) {
        status = rp_machine_object_publish(token, publishing.parts, publishing.count, object, &why);
    } else {
        rp_machine_object_abort(token, NULL);
    }
    PyEval_RestoreThread(thread);
    publishing_fini(&publishing);
    if (rc < 0) {
        tell_raised(sharing, "it cannot be published");
    } else if (status != RP_OK) {
        tell_unshared(sharing, RP_LOG_WARNING, why.message);
    }
    return status == RP_OK;
}

/* Its memory is the system's again before anybody measures it. Takes the reference. */
static void give_back_take(PyObject *made, uint64_t bytes) {
    bool is_last = (uint32_t)(size_t)Py_REFCNT(made) == 1; /* newer Pythons keep flags above */
    Py_DECREF(made);
    if (bytes < TRIM_BYTES) return;
    if (!is_last) PyGC_Collect(); /* its parts may refer to it; 0.2 s where torch is loaded */
#ifdef __GLIBC__
    PyThreadState *thread = PyEval_SaveThread();
    malloc_trim(0);
    PyEval_RestoreThread(thread);
#endif
}

/* What is published could not be read back, here or anywhere: all others are to know. */
static void publish_note(struct sharing *sharing, const char *reason) {
    rp_object *object = NULL;
    rp_object_build *token = NULL;
    const char *key = PyUnicode_AsUTF8AndSize(sharing->key, NULL);
    PyObject *parts =
        PyObject_CallMethod(sharing->pickling, "note", "sO", reason, sharing->call->constructor);
    if (parts && key) {
        PyThreadState *thread = PyEval_SaveThread();
        /* Who builds it by now will find out himself. */
        rp_status status =
            rp_machine_object_get(sharing->machine, key, 1, NULL, &object, &token, NULL);
        rp_machine_object_release(object);
        PyEval_RestoreThread(thread);
        if (status == RP_OK && token) publish_take(sharing, token, parts, NULL);
    }
    PyErr_Clear();
    Py_XDECREF(parts);
}

/* Go on with what was published: its own copy is given up. Takes both. */
static PyObject *replace_take(struct sharing *sharing, PyObject *made, rp_object *object) {
    PyObject *attached = NULL;
    sharing->is_mine = true;
    enum found found = attach_take(sharing, object, &attached);
    if (found == FOUND_OBJECT && sharing->call->shared_bytes == 0) {
        Py_DECREF(attached); /* it can be read back; nothing is gained by going on with that */
        return made;
    }
    if (found == FOUND_OBJECT) {
        give_back_take(made, sharing->call->shared_bytes);
        return attached;
    }
    if (found == FOUND_END) {
        Py_DECREF(made);
        rp_python_fail_as_raised(sharing->call, sharing->err);
        return NULL;
    }
    if (found == FOUND_NOTHING) publish_note(sharing, "what is pickled cannot be read back");
    return made;
}

/* (parts, reason) of what was made; NULL raised, and only for the program's end. */
static PyObject *dump(struct sharing *sharing, PyObject *made) {
    return PyObject_CallMethod(sharing->pickling, "dump", "OsO", made,
                               rp_kind_name(sharing->call->kind), sharing->call->constructor);
}

/* Make it, for all. Takes the token. */
static PyObject *make_take(struct sharing *sharing, rp_object_build *token) {
    PyObject *parts = NULL;
    PyObject *reason = NULL;
    rp_object *object = NULL;
    PyObject *made = make_alone(sharing);
    PyObject *dumped = made ? dump(sharing, made) : NULL;
    if (!dumped || !PyArg_ParseTuple(dumped, "OO", &parts, &reason)) {
        if (made) rp_python_fail_as_raised(sharing->call, sharing->err);
        abort_take(sharing, token);
        Py_XDECREF(made);
        Py_XDECREF(dumped);
        return NULL;
    }
    bool is_note = reason != Py_None;
    const char *text = is_note ? PyUnicode_AsUTF8AndSize(reason, NULL) : NULL;
    if (text && *text) tell_unshared(sharing, RP_LOG_WARNING, text);
    PyErr_Clear();
    bool is_there = publish_take(sharing, token, parts, is_note ? NULL : &object);
    Py_DECREF(dumped);
    return is_there && !is_note ? replace_take(sharing, made, object) : made;
}

/* ---- asking the broker ------------------------------------------------------------------ */

/* The way to the broker stays open with the pool: a connection costs more than a request. The one
 * of this call is its own, since another thread may find that the broker has died. */
static rp_status open_machine(struct sharing *sharing, rp_error *err) {
    rp_machine *before = sharing->machine;
    sharing->machine = NULL;
    PyThreadState *thread = PyEval_SaveThread();
    rp_machine_close(before);
    rp_status status = rp_machine_open(NULL, &sharing->machine, err);
    PyEval_RestoreThread(thread);
    return status;
}

static void keep_machine(struct sharing *sharing) {
    rp_machine *before = sharing->call->pool->machine;
    if (!sharing->machine) return;
    sharing->call->pool->machine = sharing->machine;
    sharing->machine = NULL;
    PyThreadState *thread = PyEval_SaveThread();
    rp_machine_close(before);
    PyEval_RestoreThread(thread);
}

static rp_status ask(struct sharing *sharing, rp_object **object, rp_object_build **token,
                     rp_error *err) {
    const rp_request *request = &sharing->call->request;
    const char *key = PyUnicode_AsUTF8AndSize(sharing->key, NULL);
    rp_status status = key ? open_machine(sharing, err) : RP_ERR_MEMORY;
    if (status != RP_OK) return status;
    PyThreadState *thread = PyEval_SaveThread();
    status = rp_machine_object_get(sharing->machine, key, request->timeout_ms, request->cancel,
                                   object, token, err);
    PyEval_RestoreThread(thread);
    return status;
}

/* Neither attached nor to be built here. */
static PyObject *go_without(struct sharing *sharing, rp_status status, const rp_error *why) {
    switch (status) {
    case RP_ERR_LOAD: /* its constructor failed, in another process */
    case RP_ERR_CYCLE:
    case RP_ERR_TIMEOUT:
    case RP_ERR_CANCELLED:
        *sharing->err = *why;
        return NULL;
    case RP_ERR_ABSENT:
    case RP_ERR_UNSUPPORTED:
    case RP_ERR_STATE:
    case RP_ERR_IO:
        rp_machine_tell_alone(why);
        return make_alone(sharing);
    default: /* no room, too many, damaged: it is told by whoever found out, too */
        tell_unshared(sharing, RP_LOG_WARNING, why->message);
        return make_alone(sharing);
    }
}

/* One try. False: once more, *made is nothing yet. */
static bool try_once(struct sharing *sharing, bool is_last, PyObject **made) {
    rp_object *object = NULL;
    rp_object_build *token = NULL;
    rp_error why = RP_ERROR_INIT;
    rp_status status = ask(sharing, &object, &token, &why);
    if (PyErr_Occurred()) { /* a signal's handler raised while it waited */
        rp_python_fail_as_raised(sharing->call, sharing->err);
        if (token) abort_take(sharing, token);
        rp_machine_object_release(object);
        return true;
    }
    if (status == RP_ERR_STATE && !is_last) return false; /* it died: the next one */
    if (status != RP_OK) {
        *made = go_without(sharing, status, &why);
        return true;
    }
    if (token) {
        *made = make_take(sharing, token);
        return true;
    }
    enum found found = attach_take(sharing, object, made);
    if (found == FOUND_STALE && !is_last) return false;
    sharing->call->is_attached = found == FOUND_OBJECT;
    if (found == FOUND_END) rp_python_fail_as_raised(sharing->call, sharing->err);
    if (found == FOUND_NOTHING || found == FOUND_STALE) *made = make_alone(sharing);
    return true;
}

static int sharing_init(struct sharing *sharing) {
    sharing->pickling = PyImport_ImportModule("resource_pool._pickling");
    PyObject *suffix =
        sharing->pickling ? PyObject_GetAttrString(sharing->pickling, "KEY_SUFFIX") : NULL;
    if (suffix) {
        sharing->key = PyUnicode_FromFormat("%s%U", rp_build_key(sharing->build), suffix);
    }
    Py_XDECREF(suffix);
    return sharing->key ? 0 : -1;
}

PyObject *rp_python_share(struct rp_python_call *call, rp_build *build, uint64_t *private_bytes,
                          rp_error *err) {
    rp_error ignored = RP_ERROR_INIT;
    struct sharing sharing = {
        .call = call,
        .build = build,
        .private_bytes = RP_UNKNOWN_U64,
        .err = err ? err : &ignored,
    };
    PyObject *made = NULL;
    Py_CLEAR(call->segment);
    call->shared_bytes = RP_UNKNOWN_U64;
    call->is_attached = false;
    if (sharing_init(&sharing) < 0) {
        rp_python_fail_as_raised(call, sharing.err);
    } else {
        for (int round = 1; round <= ROUNDS && !try_once(&sharing, round == ROUNDS, &made);
             round++) {
        }
    }
    keep_machine(&sharing);
    Py_XDECREF(sharing.pickling);
    Py_XDECREF(sharing.key);
    if (!made) Py_CLEAR(call->segment);
    *private_bytes = sharing.private_bytes;
    return made;
}
