/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pool keeps for Python: how a constructor is called, what becomes of its exception, and
 * who still has an object.
 *
 * The pool owns one reference to each object and gives it up in the destructor, on whichever thread
 * lets go last. get_model() hands out a plain reference, without a lease that would tell when it is
 * given up. So the extension keeps a lease of its own, the hold, for as long as there is any
 * reference but the pool's: before anything that wants room, and now and then while it is waited
 * for, it looks at the reference counts (the sweep) and gives holds back. An object that refers to
 * itself counts as held.
 *
 * An exception of a constructor cannot pass through the library, which has texts. It is kept under
 * a number here while any call is inside, the number travels in rp_error.os_errno as a negative one
 * (the system has none), and everybody who waited raises the exception itself.
 */
#include "core.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- exceptions on their way through the library --------------------------------------- */

static PyObject *failures;   /* {number: exception}; NULL before the first */
static int failure_number;   /* of the latest                               */
static int inside_count;     /* calls that may still ask for one            */
static rp_cancel *the_token; /* of all requests: it asks, and is never fired */

static int remember(PyObject *exception) {
    if (!failures) failures = PyDict_New();
    if (failure_number == INT32_MAX) failure_number = 0;
    failure_number++;
    PyObject *number = PyLong_FromLong(failure_number);
    if (!failures || !number || PyDict_SetItem(failures, number, exception) < 0) PyErr_Clear();
    Py_XDECREF(number);
    return failure_number;
}

/* The exception of that number, new; NULL, and nothing raised, when it is not kept any more. */
static PyObject *recall(int os_errno) {
    if (os_errno >= 0 || !failures) return NULL;
    PyObject *number = PyLong_FromLong(-(long)os_errno);
    PyObject *exception = number ? PyDict_GetItemWithError(failures, number) : NULL;
    Py_XDECREF(number);
    PyErr_Clear();
    return Py_XNewRef(exception);
}

static void enter(void) {
    inside_count++;
}

/* Tracebacks hold frames, and those hold whatever: nothing is kept when nobody can ask for it. */
static void leave(void) {
    if (--inside_count == 0 && failures) PyDict_Clear(failures);
}

/* The exception that is set, whole, and set no more. New. */
static PyObject *take_exception(void) {
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* "KeyError: 'x'" as far as it can be had. */
static void tell(PyObject *exception, rp_status status, rp_error *err) {
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(exception), "__name__");
    PyObject *text = PyObject_Str(exception);
    const char *name_utf8 = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    rp_fail(err, status, "%s%s%s", name_utf8 ? name_utf8 : "an exception",
            utf8 && *utf8 ? ": " : "", utf8 ? utf8 : "");
    Py_XDECREF(name);
    Py_XDECREF(text);
    PyErr_Clear();
}

/* Out of memory, as Python, torch or a driver says it, enters the pool's ways to make room. */
static rp_status status_of(PyObject *exception, const rp_error *told) {
    if (PyErr_GivenExceptionMatches(exception, PyExc_MemoryError)) return RP_ERR_MEMORY;
    if (!PyErr_GivenExceptionMatches(exception, PyExc_Exception)) return RP_ERR_LOAD;
    rp_category category = rp_failure_category(told, NULL);
    bool is_memory =
        category == RP_CATEGORY_OUT_OF_MEMORY_DEVICE || category == RP_CATEGORY_OUT_OF_MEMORY_HOST;
    return is_memory ? RP_ERR_MEMORY : RP_ERR_LOAD;
}

/* Frames of a constructor that found no memory hold what it had made so far, and the pool is about
 * to make room: their variables go, their lines stay. */
static void clear_frames(PyObject *exception) {
    PyObject *traceback = PyException_GetTraceback(exception);
    PyObject *module = traceback ? PyImport_ImportModule("traceback") : NULL;
    PyObject *done = module ? PyObject_CallMethod(module, "clear_frames", "O", traceback) : NULL;
    PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(traceback);
}

/* What is raised here is what every waiter raises. */
rp_status rp_python_fail_as_raised(struct rp_python_call *call, rp_error *err) {
    rp_error told = RP_ERROR_INIT;
    PyObject *exception = take_exception();
    if (!exception) return rp_fail(err, RP_ERR_LOAD, "its constructor failed and raised nothing");
    tell(exception, RP_ERR_LOAD, &told);
    told.status = status_of(exception, &told);
    if (told.status == RP_ERR_MEMORY) clear_frames(exception);
    told.os_errno = -remember(exception);
    Py_XDECREF(call->raised);
    call->raised = exception;
    if (err) *err = told;
    return told.status;
}

/* ---- construct and destroy -------------------------------------------------------------- */

static void free_held(struct rp_python_held *held) {
    Py_XDECREF(held->key_text);
    Py_XDECREF(held->plain_text);
    PyMem_Free(held);
}

/* The list is the newest first. */
static struct rp_python_held *new_held(struct rp_python_call *call, const char *key) {
    struct rp_python_held *held = PyMem_Calloc(1, sizeof *held);
    size_t length = strlen(key);
    size_t name = call->request.name ? strlen(call->request.name) + 1 : 0;
    size_t prefix = call->kind == RP_KIND_TOKENIZER ? strlen("tokenizer:") : 0;
    size_t plain = prefix + strlen(call->request.type) + name;
    if (!held) return NULL;
    if (plain > length) plain = length;
    held->key_text = PyUnicode_DecodeUTF8(key, (Py_ssize_t)length, "replace");
    held->plain_text = PyUnicode_DecodeUTF8(key, (Py_ssize_t)plain, "replace");
    held->key = held->key_text ? PyUnicode_AsUTF8AndSize(held->key_text, NULL) : NULL;
    held->plain_key = held->plain_text ? PyUnicode_AsUTF8AndSize(held->plain_text, NULL) : NULL;
    if (!held->key || !held->plain_key) {
        PyErr_Clear();
        free_held(held);
        return NULL;
    }
    held->pool = call->pool;
    held->kind = call->kind;
    held->is_plain = call->is_plain;
    call->pool->changes++;
    held->next = call->pool->first;
    if (held->next) held->next->previous = held;
    call->pool->first = held;
    return held;
}

/* One object may stand under several names: then the pool itself has several references. */
static size_t count_same(const struct rp_python_held *held) {
    size_t count = 0;
    for (const struct rp_python_held *at = held->pool->first; at; at = at->next) {
        count += at->object == held->object;
    }
    return count;
}

static void tell_same(const struct rp_python_held *held, size_t count) {
    for (struct rp_python_held *at = held->pool->first; at; at = at->next) {
        if (at->object == held->object) at->same_count = count;
    }
}

static PyObject *refuse(PyObject *made, const char *what, const char *hint, rp_error *err) {
    Py_DECREF(made);
    rp_fail(err, RP_ERR_LOAD, "%s", what);
    rp_hint(err, "%s", hint);
    return NULL;
}

/* A coroutine is a promise of an object. Its type is asked: stand-ins for objects have whatever
 * attribute they are asked for. */
static bool is_coroutine(PyObject *made) {
    return PyObject_HasAttrString((PyObject *)Py_TYPE(made), "cr_await");
}

/* Closed, so that Python does not warn of it as forgotten. */
static PyObject *refuse_coroutine(PyObject *made, rp_error *err) {
    PyObject *closed = PyObject_CallMethod(made, "close", NULL);
    if (!closed) PyErr_Clear();
    Py_XDECREF(closed);
    return refuse(made, "its constructor returned a coroutine",
                  "await get_model_async() and its kin, or run it with asyncio.run() in the "
                  "constructor",
                  err);
}

static PyObject *copy_there(struct rp_python_call *call, const rp_build *build, rp_error *err) {
    PyObject *made = rp_python_place_copy(call->move_source, rp_build_placement(build));
    if (!made) rp_python_fail_as_raised(call, err);
    return made;
}

/* What the fork server that this process comes from had made for it. New; NULL, nothing raised. */
static PyObject *inherited(const struct rp_python_call *call, const rp_build *build) {
    const char *type = call->request.type;
    const char *name = call->request.name;
    const rp_placement *placement = rp_build_placement(build);
    bool is_cpu = !placement || !placement->device || strcmp(placement->device, "cpu") == 0;
    if (call->kind != RP_KIND_MODEL || !type || !name || !is_cpu || call->move_source) return NULL;
    PyObject *module_name = PyUnicode_FromString("resource_pool._inherit");
    PyObject *module = module_name ? PyImport_GetModule(module_name) : NULL;
    PyObject *objects = module ? PyObject_GetAttrString(module, "objects") : NULL;
    PyObject *key = objects ? Py_BuildValue("(ss)", type, name) : NULL;
    PyObject *found = key ? PyDict_GetItemWithError(objects, key) : NULL;
    Py_XINCREF(found);
    Py_XDECREF(key);
    Py_XDECREF(objects);
    Py_XDECREF(module);
    Py_XDECREF(module_name);
    PyErr_Clear();
    return found;
}

/* What the constructor returns, or what its coroutine comes to where it can be awaited. */
static PyObject *call_constructor(struct rp_python_call *call, rp_build *build) {
    rp_python_load_begin(call, build);
    PyObject *made = PyObject_CallNoArgs(call->constructor);
    if (made && call->finish && is_coroutine(made)) {
        made = rp_python_finish_take(call, made);
    }
    rp_python_load_end(call);
    return made;
}

PyObject *rp_python_construct(struct rp_python_call *call, rp_build *build, rp_error *err) {
    if (call->move_source) return copy_there(call, build, err);
    PyObject *made = call_constructor(call, build);
    if (made && made == Py_None && !call->allow_none) {
        return refuse(made, "its constructor returned None",
                      "return the object, or say allow_none=True", err);
    }
    if (made && is_coroutine(made)) return refuse_coroutine(made, err);
    const rp_placement *placement = rp_build_placement(build);
    bool has_place = call->kind == RP_KIND_MODEL && placement;
    if (made && has_place) made = rp_python_place_take(made, placement);
    if (!made) rp_python_fail_as_raised(call, err);
    return made;
}

/* What it takes of this process. Of something in shared memory the rest was counted (`counted`);
 * what has no part there is this process's own, and sized as if nobody shared it. */
static uint64_t settle_bytes(const struct rp_python_call *call, const struct rp_python_held *held,
                             rp_build *build, uint64_t counted) {
    bool is_said = call->bytes != RP_UNKNOWN_U64;
    bool is_there = held->shared_bytes != RP_UNKNOWN_U64 && held->shared_bytes > 0;
    uint64_t bytes = is_there ? counted : call->bytes;
    if (!is_there && !is_said) return rp_python_measure(held->object, build);
    rp_build_set_bytes_by(build, bytes, is_said ? RP_BYTES_CONSTRUCTOR : RP_BYTES_SHARED);
    return bytes;
}

static rp_status make(rp_build *build, struct rp_python_call *call, void **object, rp_error *err) {
    uint64_t bytes = RP_UNKNOWN_U64;
    rp_error why = RP_ERROR_INIT;
    PyObject *made = inherited(call, build);
    bool is_inherited = made != NULL;
    if (!made) {
        made = call->is_shared ? rp_python_share(call, build, &bytes, &why)
                               : rp_python_construct(call, build, &why);
    }
    if (!made) {
        if (err) *err = why;
        return why.status;
    }
    struct rp_python_held *held = new_held(call, rp_build_key(build));
    if (!held) {
        Py_DECREF(made);
        Py_CLEAR(call->segment);
        return rp_fail(err, RP_ERR_MEMORY, "no memory to keep what its constructor made");
    }
    held->object = made;
    held->same_count = count_same(held);
    if (held->same_count > 1) tell_same(held, held->same_count);
    held->cache = rp_python_cache_of(build);
    held->segment = call->segment;
    held->shared_bytes = call->segment ? call->shared_bytes : RP_UNKNOWN_U64;
    held->is_attached = call->segment && call->is_attached;
    call->segment = NULL;
    /* Its pages are the fork server's, on whose account they are. */
    if (is_inherited) rp_build_set_bytes_by(build, 0, RP_BYTES_SHARED);
    held->bytes = is_inherited ? 0 : settle_bytes(call, held, build, bytes);
    *object = held;
    return RP_OK;
}

static rp_status construct(rp_build *build, void *user, void **object, rp_error *err) {
    if (!rp_python_is_running()) return rp_fail(err, RP_ERR_STATE, "Python has ended");
    PyGILState_STATE state = PyGILState_Ensure();
    rp_status status = make(build, user, object, err);
    PyGILState_Release(state);
    return status;
}

/* Of the pool, on any thread. After the end of Python its objects are nobody's any more. */
static void destroy(void *object) {
    struct rp_python_held *held = object;
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    if (!rp_python_is_running()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    PyErr_Fetch(&type, &value, &traceback);
    if (held->previous) {
        held->previous->next = held->next;
    } else {
        held->pool->first = held->next;
    }
    if (held->next) held->next->previous = held->previous;
    held->pool->changes++;
    if (held->same_count > 1) tell_same(held, held->same_count - 1);
    rp_python_give_up(held->object, held->cache, held->bytes);
    Py_XDECREF(held->segment);
    free_held(held);
    PyErr_Restore(type, value, traceback);
    PyGILState_Release(state);
}

/* ---- holds ------------------------------------------------------------------------------ */

/* Whether there is a reference but the pool's own. Newer Pythons keep flags above the 32 bits. */
static bool is_referred_to(const struct rp_python_held *held) {
    return (uint32_t)(size_t)Py_REFCNT(held->object) != held->same_count;
}

static void release_all(rp_python_pool *pool, rp_lease *const *leases, size_t count) {
    PyThreadState *thread = rp_python_pool_enter(pool);
    for (size_t i = 0; i < count; i++) {
        rp_lease_release(leases[i], NULL);
    }
    rp_python_pool_leave(pool, thread);
}

/* Give back up to a handful of holds, which may change the list; whether there may be more. */
static bool sweep_some(rp_python_pool *pool, bool all, size_t *total) {
    rp_lease *leases[64];
    size_t count = 0;
    for (struct rp_python_held *at = pool->first; at && count < 64; at = at->next) {
        if (!at->hold || (!all && is_referred_to(at))) continue;
        leases[count++] = at->hold;
        at->hold = NULL;
    }
    if (count > 0) release_all(pool, leases, count);
    pool->changes += count;
    *total += count;
    return count == 64;
}

static size_t sweep(rp_python_pool *pool, bool all) {
    size_t total = 0;
    if (pool->pid != (long)getpid()) return 0;
    while (sweep_some(pool, all, &total)) {
    }
    return total;
}

size_t rp_python_sweep(rp_python_pool *pool) {
    return sweep(pool, false);
}

void rp_python_drop_holds(rp_python_pool *pool) {
    sweep(pool, true);
}

PyObject *rp_python_hold_take(rp_python_pool *pool, rp_lease *lease) {
    if (rp_lease_model(lease)) return rp_python_model_take(pool, lease);
    struct rp_python_held *held = rp_lease_object(lease);
    PyObject *object = Py_NewRef(held->object);
    if (held->hold) {
        rp_lease_release(lease, NULL); /* not the last one: nothing is destroyed here */
    } else {
        held->hold = lease;
    }
    return object;
}

PyObject *rp_python_lease_object(rp_python_pool *pool, rp_lease *lease) {
    if (rp_lease_model(lease)) return rp_python_model_of(pool, lease);
    const struct rp_python_held *held = rp_lease_object(lease);
    return Py_NewRef(held->object);
}

/* ---- getting a lease -------------------------------------------------------------------- */

/* Whether one is inside the library: sweeps of one thread's wait look at all pools there. */
static _Thread_local rp_python_pool *waiting;

rp_python_pool *rp_python_wait_for(rp_python_pool *pool) {
    rp_python_pool *before = waiting;
    waiting = pool;
    return before;
}

/* The waiting thread, some twenty times a second: Ctrl-C, and whether somebody let go. */
static int poll_wait(void *user) {
    (void)user;
    if (!rp_python_is_running()) return 0;
    PyGILState_STATE state = PyGILState_Ensure();
    int rc = PyErr_CheckSignals();
    if (rc == 0 && waiting) rp_python_sweep(waiting);
    PyGILState_Release(state);
    return rc;
}

rp_cancel *rp_python_token_new(void) {
    rp_error err = RP_ERROR_INIT;
    rp_cancel *token = NULL;
    if (rp_cancel_create(&token, &err) != RP_OK) {
        rp_python_raise(&err);
        return NULL;
    }
    rp_cancel_set_poll(token, poll_wait, NULL);
    return token;
}

rp_cancel *rp_python_token(void) {
    if (!the_token) the_token = rp_python_token_new();
    return the_token;
}

static rp_status ask(struct rp_python_call *call, rp_lease **lease, rp_error *err) {
    rp_pool *pool = call->pool->pool;
    if (call->move_key) {
        return rp_pool_move_key(pool, call->move_key, call->move_device, &call->request, lease,
                                err);
    }
    switch (call->kind) {
    case RP_KIND_MODEL:
        return rp_pool_get_model(pool, &call->request, lease, err);
    case RP_KIND_TOKENIZER:
        return rp_pool_get_tokenizer(pool, &call->request, lease, err);
    default:
        return rp_pool_get_resource(pool, &call->request, lease, err);
    }
}

static rp_status ask_and_wait(struct rp_python_call *call, rp_lease **lease, rp_error *err) {
    rp_python_pool *outer = rp_python_wait_for(call->pool);
    *err = (rp_error)RP_ERROR_INIT;
    Py_CLEAR(call->raised);
    PyThreadState *thread = rp_python_pool_enter(call->pool);
    rp_status status = ask(call, lease, err);
    rp_python_pool_leave(call->pool, thread);
    rp_python_wait_for(outer);
    return status;
}

/* Objects in cycles of garbage still look referred to. Whether that brought any hold back. */
static bool collect(rp_python_pool *pool) {
    size_t model_count = pool->model_count;
    PyGC_Collect();
    return rp_python_sweep(pool) > 0 || pool->model_count < model_count;
}

/* What was raised on another thread and is not for this one: its Ctrl-C, its exit. */
static bool is_anothers_end(const struct rp_python_call *call, const rp_error *err) {
    PyObject *exception = call->raised ? NULL : recall(err->os_errno);
    bool is_end = exception && !PyErr_GivenExceptionMatches(exception, PyExc_Exception);
    Py_XDECREF(exception);
    return is_end;
}

static rp_status load(struct rp_python_call *call, rp_lease **lease, rp_error *err) {
    rp_python_sweep(call->pool);
    rp_status status = ask_and_wait(call, lease, err);
    while (status != RP_OK && !PyErr_Occurred() && is_anothers_end(call, err)) {
        status = ask_and_wait(call, lease, err);
    }
    bool is_short = status == RP_ERR_CAPACITY && !PyErr_Occurred();
    if (is_short && collect(call->pool)) status = ask_and_wait(call, lease, err);
    if (status == RP_OK && PyErr_Occurred()) { /* it came while a signal's handler raised */
        release_all(call->pool, lease, 1);
        return RP_ERR_CANCELLED;
    }
    return status;
}

/* "cannot load 'embedding:x@cpu': KeyError: 'y'" beside the exception, where Python keeps notes. */
static void add_note(PyObject *exception, const rp_error *err) {
    PyObject *note =
        PyUnicode_FromFormat("%s%s%s", err->message, err->hint[0] ? "\nhint: " : "", err->hint);
    PyObject *done = note && PyObject_HasAttrString(exception, "add_note")
                         ? PyObject_CallMethod(exception, "add_note", "O", note)
                         : NULL;
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(note);
}

/* The constructor's own exception, as it is; else the library's. */
static void raise_failure(struct rp_python_call *call, const rp_error *err) {
    if (PyErr_Occurred()) return; /* a signal's handler raised while this thread waited */
    PyObject *exception = Py_XNewRef(call->raised);
    if (exception && err->os_errno < 0) add_note(exception, err);
    if (!exception) exception = recall(err->os_errno);
    if (exception) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    } else {
        rp_python_raise(err);
    }
}

/* Whether the name is that of something on the disk: then the library knows what is wrong. */
static bool is_path(const struct rp_python_call *call) {
    struct stat found;
    return call->kind == RP_KIND_MODEL && call->request.name &&
           stat(call->request.name, &found) == 0;
}

/* What would have made it. */
static void hint_maker(const struct rp_python_call *call, rp_error *err) {
    const char *name = call->request.name ? call->request.name : "";
    const char *start = "give a constructor: it is called once, however many ask";
    size_t length = strlen(name);
    bool is_file = length > 5 && strcmp(name + length - 5, ".onnx") == 0;
    if (call->kind != RP_KIND_MODEL) {
        rp_hint(err, "%s", start);
    } else if (is_file || name[0] == '/' || name[0] == '.') {
        rp_hint(err, "there is no file or folder '%.60s': give the path of a model's file, or %s",
                name, start);
    } else {
        rp_hint(err, "%s; or as the name the path of a model's file, which an engine loads", start);
    }
}

/* Load it, or wait for who does. NULL raised. */
static rp_lease *acquire_slowly(struct rp_python_call *call) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    bool is_file = !call->constructor && !call->move_key && is_path(call);
    if (is_file && rp_python_model_is_refused(call)) return NULL;
    /* An engine that is wished for is the one that has to load the file. */
    if (!call->constructor && call->request.preferences) {
        call->request.engine = call->request.preferences->engine;
    }
    if (!call->request.cancel) call->request.cancel = rp_python_token();
    if (!call->request.cancel) return NULL;
    if (call->constructor || call->move_source) {
        call->request.construct = construct;
        call->request.destroy = destroy;
        call->request.user = call;
    }
    enter();
    rp_status status = load(call, &lease, &err);
    bool has_maker = call->constructor || call->move_key || is_path(call);
    if (status == RP_ERR_NOT_FOUND && !has_maker) {
        rp_fail(&err, status, "no %s '%s%s%s' is loaded, and there is no constructor",
                rp_kind_name(call->kind), call->request.type, call->request.name ? ":" : "",
                call->request.name ? call->request.name : "");
        hint_maker(call, &err);
    }
    if (status != RP_OK) raise_failure(call, &err);
    Py_CLEAR(call->raised);
    leave();
    return status == RP_OK ? lease : NULL;
}

/* What is loaded is answered without giving up the GIL: nothing there waits. What is wrong with the
 * words is told by the same question, asked again: a hit makes no rp_error and clears none. */
static rp_lease *acquire_once(struct rp_python_call *call) {
    rp_lease *lease = NULL;
    if (!rp_python_pool_is_open(call->pool)) return NULL;
    call->request.only_loaded = 1;
    rp_status status = call->move_key ? RP_ERR_NOT_FOUND : ask(call, &lease, NULL);
    if (status != RP_OK && status != RP_ERR_NOT_FOUND) {
        rp_error err = RP_ERROR_INIT;
        status = ask(call, &lease, &err);
        if (status != RP_OK && status != RP_ERR_NOT_FOUND) rp_python_raise(&err);
    }
    call->request.only_loaded = 0;
    call->pool->changes++;
    if (status != RP_ERR_NOT_FOUND || call->only_loaded) return lease;
    lease = acquire_slowly(call);
    call->pool->changes++;
    return lease;
}

rp_lease *rp_python_acquire(struct rp_python_call *call) {
    rp_lease *lease = NULL;
    bool again = true;
    while (again) {
        again = false;
        lease = acquire_once(call);
        if (!lease) return NULL;
        if (rp_lease_model(lease)) {
            lease = rp_python_model_check_take(call, lease, &again);
        } else if (call->is_plain) {
            struct rp_python_held *held = rp_lease_object(lease);
            held->is_plain = true;
        }
    }
    return lease;
}
