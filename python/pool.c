/* SPDX-License-Identifier: Apache-2.0 */
/* The type ResourcePool: the guide's calls, and ours, over rp_pool. */
#include "core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool rp_python_pool_is_open(const rp_python_pool *pool) {
    if (pool->pool) return true;
    rp_error err = RP_ERROR_INIT;
    rp_fail(&err, RP_ERR_STATE, "the pool is closed");
    rp_python_raise(&err);
    return false;
}

PyThreadState *rp_python_pool_enter(rp_python_pool *pool) {
    pool->inside_count++;
    return PyEval_SaveThread();
}

void rp_python_pool_leave(rp_python_pool *pool, PyThreadState *thread) {
    PyEval_RestoreThread(thread);
    pool->inside_count--;
    pool->changes++;
}

void rp_python_pool_pin(rp_python_pool *pool) {
    Py_INCREF((PyObject *)pool);
    pool->inside_count++;
}

void rp_python_pool_unpin(rp_python_pool *pool) {
    pool->inside_count--;
    Py_DECREF((PyObject *)pool);
}

/* ---- opening and closing ---------------------------------------------------------------- */

static void hear(rp_log_level level, const char *line, void *user) {
    (void)user;
    rp_python_log(level, line);
}

/* Says which argument it was, which Python's own TypeError does not. -1. */
static int refuse_type(PyObject *value, const char *what, const char *wanted) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s must be %s, not %R", what, wanted, Py_TYPE(value));
    return -1;
}

/* A number of seconds or minutes as milliseconds; -1 raised. */
static int64_t milliseconds_of(PyObject *number, double unit_ms, const char *what) {
    double value = PyFloat_AsDouble(number);
    if (value == -1.0 && PyErr_Occurred()) return refuse_type(number, what, "a number");
    double ms = value * unit_ms;
    if (ms >= 0 && ms < 9e15) return (int64_t)ms;
    rp_error err = RP_ERROR_INIT;
    rp_fail(&err, RP_ERR_ARGUMENT, "%s of %g; it is 0 or more, and finite", what, value);
    rp_python_raise(&err);
    return -1;
}

enum { OPEN_BUDGET, OPEN_HISTORY, OPEN_LOW_MEMORY, OPEN_IDLE_EXPIRY, OPEN_SHARE, OPEN_COUNT };

static char budget_name[] = "budget";
static char history_name[] = "history";
static char low_memory_name[] = "low_memory";
static char idle_expiry_name[] = "idle_expiry";
static char share_name[] = "share";
static char *open_names[] = {budget_name,      history_name, low_memory_name,
                             idle_expiry_name, share_name,   NULL};

static int read_share(PyObject *value, rp_share *share) {
    const char *text = rp_python_utf8(value, "share");
    rp_error err = RP_ERROR_INIT;
    if (!text) return -1;
    *share = strcmp(text, "process") == 0   ? RP_SHARE_PROCESS
             : strcmp(text, "machine") == 0 ? RP_SHARE_MACHINE
                                            : RP_SHARE_DEFAULT;
    if (*share != RP_SHARE_DEFAULT) return 0;
    rp_fail(&err, RP_ERR_ARGUMENT, "share '%s': it is 'process' or 'machine'", text);
    rp_python_raise(&err);
    return -1;
}

static int read_options(PyObject **values, rp_pool_options *options, char *budget) {
    PyObject *limit = values[OPEN_BUDGET];
    if (limit && PyLong_Check(limit)) {
        unsigned long long bytes = PyLong_AsUnsignedLongLong(limit);
        if (PyErr_Occurred()) return -1;
        PyOS_snprintf(budget, 24, "%llu", bytes);
        options->budget = budget;
    } else if (limit && limit != Py_None) {
        options->budget = rp_python_utf8(limit, "budget");
        if (!options->budget) return -1;
    }
    if (values[OPEN_HISTORY] && values[OPEN_HISTORY] != Py_None) {
        options->history = rp_python_utf8(values[OPEN_HISTORY], "history");
        if (!options->history) return -1;
    }
    if (values[OPEN_IDLE_EXPIRY] && values[OPEN_IDLE_EXPIRY] != Py_None) {
        options->idle_expiry_ms = milliseconds_of(values[OPEN_IDLE_EXPIRY], 1e3, "idle_expiry");
        if (options->idle_expiry_ms < 0) return -1;
    }
    if (values[OPEN_SHARE] && values[OPEN_SHARE] != Py_None &&
        read_share(values[OPEN_SHARE], &options->share) < 0) {
        return -1;
    }
    int low_memory = values[OPEN_LOW_MEMORY] ? PyObject_IsTrue(values[OPEN_LOW_MEMORY]) : 0;
    options->low_memory = low_memory > 0;
    return low_memory < 0 ? -1 : 0;
}

/* As the library decides it: what it does not know it has refused. */
static bool is_shared(rp_share share) {
    const char *text = share == RP_SHARE_DEFAULT ? getenv("RESOURCE_POOL_SHARE") : NULL;
    return share == RP_SHARE_MACHINE || (text && strcmp(text, "machine") == 0);
}

static PyObject *pool_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *values[OPEN_COUNT] = {NULL};
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_error err = RP_ERROR_INIT;
    rp_pool *opened = NULL;
    char budget[24];
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|$OOOOO:ResourcePool", open_names,
                                     &values[0], &values[1], &values[2], &values[3], &values[4]) ||
        read_options(values, &options, budget) < 0) {
        return NULL;
    }
    options.on_freed = rp_python_freed;
    if (!getenv("RESOURCE_POOL_LOG")) {
        options.log_sink = hear;
        options.log_level = RP_LOG_INFO;
    }
    PyThreadState *thread = PyEval_SaveThread();
    rp_status status = rp_pool_open(&options, &opened, &err);
    PyEval_RestoreThread(thread);
    if (status != RP_OK) return rp_python_raise(&err);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    rp_python_pool *self = (rp_python_pool *)allocate(type, 0);
    if (!self) {
        rp_pool_close(opened, NULL);
        return NULL;
    }
    self->pool = opened;
    self->pid = (long)getpid();
    self->is_shared = is_shared(options.share);
    return (PyObject *)self;
}

/* In a child of fork() nothing happens: the pool is the parent's. */
static rp_status close_pool(rp_python_pool *self, rp_error *err) {
    rp_pool *pool = self->pool;
    if (!pool) return RP_OK;
    if (self->inside_count > 0) return rp_fail(err, RP_ERR_BUSY, "calls of the pool are running");
    /* Nobody comes in meanwhile: what is given up runs code, and lets other threads run. */
    self->pool = NULL;
    rp_python_drop_holds(self);
    /* What get_model() handed out does not keep it open; what somebody leased does. */
    if (self->lease_count == 0) rp_python_models_end(self);
    PyThreadState *thread = PyEval_SaveThread();
    rp_status status = rp_pool_close(pool, err);
    if (status == RP_OK) rp_machine_close(self->machine);
    PyEval_RestoreThread(thread);
    if (status == RP_OK) self->machine = NULL;
    if (status != RP_OK) self->pool = pool;
    return status;
}

/* Leases and running calls have a share of the pool: there are none. */
static void pool_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject *raised[3];
    PyErr_Fetch(&raised[0], &raised[1], &raised[2]);
    if (rp_python_is_running()) close_pool((rp_python_pool *)object, NULL);
    Py_CLEAR(((rp_python_pool *)object)->figures);
    PyErr_Restore(raised[0], raised[1], raised[2]);
    Py_XDECREF(((rp_python_pool *)object)->plain_models);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF((PyObject *)type);
}

static PyObject *pool_close(PyObject *object, PyObject *unused) {
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (close_pool((rp_python_pool *)object, &err) != RP_OK) return rp_python_raise(&err);
    return Py_NewRef(Py_None);
}

/* ---- getting ---------------------------------------------------------------------------- */

/* Values of get_model(), get_tokenizer(), get_resource() and their leases, in this order. */
enum { TYPE, NAME, CONSTRUCTOR, PREFERENCES, TIMEOUT, ALLOW_NONE, SIZE, SHARE, GET_COUNT };

static const char *const model_names[] = {
    "model_type", "model_name", "constructor", "hardware_preferences", "timeout", "allow_none",
    "size",       "share",      NULL};
static const char *const tokenizer_names[] = {
    "model_type", "model_name", "constructor", "", "timeout", "allow_none", "size", "share", NULL};
static const char *const resource_names[] = {
    "resource_type", "resource_id", "constructor", "",  "timeout",
    "allow_none",    "size",        "share",       NULL};

struct way {
    rp_kind kind;
    struct rp_python_signature signature;
    const char *type_name;
    const char *name_name;
};

static const struct way ways[] = {
    {RP_KIND_MODEL, {"get_model", model_names, 4, 2}, "model_type", "model_name"},
    {RP_KIND_TOKENIZER, {"get_tokenizer", tokenizer_names, 3, 2}, "model_type", "model_name"},
    {RP_KIND_RESOURCE, {"get_resource", resource_names, 3, 1}, "resource_type", "resource_id"},
    {RP_KIND_MODEL, {"lease_model", model_names, 4, 2}, "model_type", "model_name"},
    {RP_KIND_TOKENIZER, {"lease_tokenizer", tokenizer_names, 3, 2}, "model_type", "model_name"},
    {RP_KIND_RESOURCE, {"lease_resource", resource_names, 3, 1}, "resource_type", "resource_id"},
};

static int read_constructor(PyObject *constructor, struct rp_python_call *call) {
    if (!constructor || constructor == Py_None) return 0;
    if (!PyCallable_Check(constructor)) {
        PyErr_Format(PyExc_TypeError, "constructor must be callable, not %R",
                     (PyObject *)Py_TYPE(constructor));
        return -1;
    }
    call->constructor = constructor;
    return 0;
}

int rp_python_timeout(PyObject *timeout, int64_t *timeout_ms) {
    if (!timeout || timeout == Py_None) return 0;
    int64_t ms = milliseconds_of(timeout, 1e3, "timeout");
    *timeout_ms = ms == 0 ? 1 : ms;
    return ms < 0 ? -1 : 0;
}

static int read_call(const struct way *way, PyObject **values, struct rp_python_call *call) {
    call->request.type = rp_python_utf8(values[TYPE], way->type_name);
    if (!call->request.type) return -1;
    if (values[NAME] && (values[NAME] != Py_None || way->kind != RP_KIND_RESOURCE)) {
        call->request.name = rp_python_utf8(values[NAME], way->name_name);
        if (!call->request.name) return -1;
    }
    if (read_constructor(values[CONSTRUCTOR], call) < 0) return -1;
    if (rp_python_timeout(values[TIMEOUT], &call->request.timeout_ms) < 0) return -1;
    if (values[SIZE] && values[SIZE] != Py_None) {
        call->bytes = PyLong_AsUnsignedLongLong(values[SIZE]);
        if (PyErr_Occurred()) return refuse_type(values[SIZE], "size", "an int, in bytes");
        call->request.memory_bytes = call->bytes;
    }
    if (values[SHARE] && values[SHARE] != Py_None) {
        rp_share share;
        if (read_share(values[SHARE], &share) < 0) return -1;
        call->is_shared = share == RP_SHARE_MACHINE;
    }
    int allow_none = values[ALLOW_NONE] ? PyObject_IsTrue(values[ALLOW_NONE]) : 0;
    call->allow_none = allow_none > 0;
    return allow_none < 0 ? -1 : 0;
}

/* A lease on what the values say. The pool must outlive the call, whatever the constructor does to
 * its last name. */
static rp_lease *acquire_read(const struct way *way, PyObject **values,
                              struct rp_python_call *call) {
    PyObject *self = (PyObject *)call->pool;
    struct rp_python_wishes *wishes = NULL;
    if (read_call(way, values, call) < 0) return NULL;
    if (values[PREFERENCES] && values[PREFERENCES] != Py_None) {
        wishes = rp_python_wishes_acquire(values[PREFERENCES]);
        if (!wishes) return NULL;
        call->request.preferences = wishes->preferences;
        call->is_plain = !wishes->has_own_place;
    }
    Py_INCREF(self);
    rp_lease *lease = rp_python_acquire(call);
    rp_python_wishes_release(wishes);
    Py_DECREF(self);
    return lease;
}

static rp_lease *acquire_asked(const struct way *way, const struct rp_python_ask *ask) {
    PyObject *values[GET_COUNT];
    rp_python_pool *pool = (rp_python_pool *)ask->pool;
    struct rp_python_call call = {
        .pool = pool,
        .kind = way->kind,
        .is_plain = true,
        .is_shared = pool->is_shared,
        .only_loaded = ask->only_loaded,
        .bytes = RP_UNKNOWN_U64,
        .finish = ask->finish,
        .request = RP_REQUEST_INIT,
    };
    call.request.within = ask->within;
    call.request.cancel = ask->cancel;
    if (rp_python_arguments(&way->signature, ask->arguments, ask->count, ask->keywords, values) <
        0) {
        return NULL;
    }
    return acquire_read(way, values, &call);
}

static rp_lease *acquire(PyObject *self, const struct way *way, PyObject *const *arguments,
                         Py_ssize_t count, PyObject *keywords) {
    struct rp_python_ask ask = {
        .pool = self,
        .arguments = arguments,
        .count = count,
        .keywords = keywords,
    };
    return acquire_asked(way, &ask);
}

static PyObject *get(PyObject *self, const struct way *way, PyObject *const *arguments,
                     Py_ssize_t count, PyObject *keywords) {
    rp_lease *taken = acquire(self, way, arguments, count, keywords);
    return taken ? rp_python_hold_take((rp_python_pool *)self, taken) : NULL;
}

static PyObject *lease(PyObject *self, const struct way *way, PyObject *const *arguments,
                       Py_ssize_t count, PyObject *keywords) {
    rp_lease *taken = acquire(self, way, arguments, count, keywords);
    return taken ? rp_python_lease_new_take((rp_python_pool *)self, taken) : NULL;
}

PyObject *rp_python_ask(const struct rp_python_ask *ask) {
    size_t row = 0;
    while (strcmp(ways[row].signature.function, ask->method) != 0) {
        row++;
    }
    rp_lease *taken = acquire_asked(&ways[row], ask);
    if (!taken) return NULL;
    rp_python_pool *pool = (rp_python_pool *)ask->pool;
    if (strncmp(ask->method, "get", 3) == 0) return rp_python_hold_take(pool, taken);
    return rp_python_lease_new_take(pool, taken);
}

#define GETTER(name, action, row)                                                                  \
    static PyObject *name(PyObject *self, PyObject *const *arguments, Py_ssize_t count,            \
                          PyObject *keywords) {                                                    \
        return action(self, &ways[row], arguments, count, keywords);                               \
    }
GETTER(get_model, get, 0)
GETTER(get_tokenizer, get, 1)
GETTER(get_resource, get, 2)
GETTER(lease_model, lease, 3)
GETTER(lease_tokenizer, lease, 4)
GETTER(lease_resource, lease, 5)
#undef GETTER

#define GETTER_ASYNC(name)                                                                         \
    static PyObject *name##_async(PyObject *self, PyObject *const *arguments, Py_ssize_t count,    \
                                  PyObject *keywords) {                                            \
        return rp_python_await(self, #name, arguments, count, keywords);                           \
    }
GETTER_ASYNC(get_model)
GETTER_ASYNC(get_tokenizer)
GETTER_ASYNC(get_resource)
GETTER_ASYNC(lease_model)
GETTER_ASYNC(lease_tokenizer)
GETTER_ASYNC(lease_resource)
#undef GETTER_ASYNC

/* ---- clearing --------------------------------------------------------------------------- */

/* Cyclic garbage keeps objects alive that nobody has: what clears looks for it. */
static void let_go(rp_python_pool *self) {
    PyGC_Collect();
    rp_python_sweep(self);
}

static int zero_counts(rp_python_pool *self) {
    rp_statistics *statistics = NULL;
    rp_error err = RP_ERROR_INIT;
    if (rp_pool_statistics(self->pool, &statistics, &err) != RP_OK) {
        rp_python_raise(&err);
        return -1;
    }
    self->cleared_hits = rp_statistics_totals(statistics)->hits;
    self->cleared_misses = rp_statistics_totals(statistics)->misses;
    rp_statistics_destroy(statistics);
    return 0;
}

static PyObject *pool_clear(PyObject *object, PyObject *unused) {
    rp_python_pool *self = (rp_python_pool *)object;
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (!rp_python_pool_is_open(self)) return NULL;
    let_go(self);
    PyThreadState *thread = rp_python_pool_enter(self);
    rp_status status = rp_pool_clear(self->pool, NULL, &err);
    rp_python_pool_leave(self, thread);
    /* Busy: what somebody still has goes when that one lets go, and nobody else finds it. */
    if (status != RP_OK && status != RP_ERR_BUSY) return rp_python_raise(&err);
    return zero_counts(self) < 0 ? NULL : Py_NewRef(Py_None);
}

static const char *const cleanup_names[] = {"max_age_minutes", NULL};
static const struct rp_python_signature cleanup_signature = {"cleanup_unused_resources",
                                                             cleanup_names, 1, 0};

static PyObject *pool_cleanup(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                              PyObject *keywords) {
    rp_python_pool *self = (rp_python_pool *)object;
    PyObject *values[1];
    int64_t age_ms = INT64_C(30) * 60 * 1000;
    rp_error err = RP_ERROR_INIT;
    rp_cleared cleared = {0};
    if (rp_python_arguments(&cleanup_signature, arguments, count, keywords, values) < 0) {
        return NULL;
    }
    if (values[0]) age_ms = milliseconds_of(values[0], 60e3, "max_age_minutes");
    if (age_ms < 0 || !rp_python_pool_is_open(self)) return NULL;
    let_go(self);
    PyThreadState *thread = rp_python_pool_enter(self);
    rp_status status = rp_pool_cleanup_unused(self->pool, age_ms, &cleared, &err);
    rp_python_pool_leave(self, thread);
    if (status != RP_OK) return rp_python_raise(&err);
    return PyLong_FromUnsignedLongLong(cleared.removed_count);
}

/* ---- memory ----------------------------------------------------------------------------- */

static int look_at_memory(PyObject *object, rp_pressure_info *info) {
    rp_python_pool *self = (rp_python_pool *)object;
    rp_error err = RP_ERROR_INIT;
    if (!rp_python_pool_is_open(self)) return -1;
    PyThreadState *thread = rp_python_pool_enter(self);
    rp_status status = rp_pool_check_pressure(self->pool, info, &err);
    rp_python_pool_leave(self, thread);
    if (status == RP_OK) return 0;
    rp_python_raise(&err);
    return -1;
}

bool rp_python_is_short(const rp_pressure_info *info) {
    bool has_to_free = info->to_free_bytes > 0 && info->to_free_bytes != RP_UNKNOWN_U64;
    return info->step != RP_PRESSURE_NONE || has_to_free;
}

static PyObject *pool_check_memory_pressure(PyObject *self, PyObject *unused) {
    rp_pressure_info info;
    (void)unused;
    if (look_at_memory(self, &info) < 0) return NULL;
    return PyBool_FromLong(rp_python_is_short(&info));
}

static PyObject *pool_available_memory_mb(PyObject *self, void *unused) {
    rp_pressure_info info;
    (void)unused;
    if (look_at_memory(self, &info) < 0) return NULL;
    if (info.usable_bytes == RP_UNKNOWN_U64) return Py_NewRef(Py_None);
    return PyFloat_FromDouble((double)info.usable_bytes / (1 << 20));
}

static PyObject *pool_enable_low_memory_mode(PyObject *object, PyObject *unused) {
    rp_python_pool *self = (rp_python_pool *)object;
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (!rp_python_pool_is_open(self)) return NULL;
    rp_python_sweep(self);
    PyThreadState *thread = rp_python_pool_enter(self);
    rp_status status = rp_pool_set_low_memory(self->pool, true, &err);
    rp_python_pool_leave(self, thread);
    return status == RP_OK ? Py_NewRef(Py_None) : rp_python_raise(&err);
}

static PyObject *pool_low_memory_mode(PyObject *object, void *unused) {
    rp_python_pool *self = (rp_python_pool *)object;
    (void)unused;
    if (!rp_python_pool_is_open(self)) return NULL;
    return PyBool_FromLong(rp_pool_is_low_memory(self->pool, NULL));
}

static PyObject *pool_logger(PyObject *self, void *unused) {
    (void)self;
    (void)unused;
    return rp_python_logger();
}

/* ---- the type --------------------------------------------------------------------------- */

/* Functions with keywords have another shape than the table's. */
#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef pool_methods[] = {
    {"get_model", FAST(get_model),
     "get_model($self, model_type, model_name, constructor=None, hardware_preferences=None, *,\n"
     "          timeout=None, allow_none=False, size=None, share=None)\n--\n\n"
     "The model of that name, made by constructor() if nobody has it yet. Without a\n"
     "constructor a name that is a file's or a folder's is loaded by an engine: a Model.\n\n"
     "model_type: its family, such as 'embedding'. hardware_preferences: a dict such as\n"
     "{'device': 'cuda', 'precision': 'fp16'}; docs/placement.md has all keys. timeout: seconds\n"
     "to wait for somebody else's load or for room; a constructor runs to its end. size: bytes it\n"
     "takes. share: 'machine', one copy for all processes, or 'process'. allow_none: None is an\n"
     "object too.\n"
     "It stays in the pool at least while anybody else refers to it.\n\n"
     "What constructor() raises is raised here, and in every thread that waits for it.\n"
     "CapacityError: no room; NotFoundError: not loaded, and no constructor; CycleError;\n"
     "TimeoutError."},
    {"get_tokenizer", FAST(get_tokenizer),
     "get_tokenizer($self, model_type, model_name, constructor=None, *, timeout=None,\n"
     "              allow_none=False, size=None,\n"
     "          share=None)\n--\n\n"
     "The tokenizer of that name; see get_model()."},
    {"get_resource", FAST(get_resource),
     "get_resource($self, resource_type, resource_id=None, constructor=None, *, timeout=None,\n"
     "             allow_none=False, size=None,\n"
     "          share=None)\n--\n\n"
     "Anything else: a library, a data set; see get_model()."},
    {"lease_model", FAST(lease_model),
     "lease_model($self, model_type, model_name, constructor=None, hardware_preferences=None, *,\n"
     "            timeout=None, allow_none=False, size=None,\n"
     "          share=None)\n--\n\n"
     "A Lease on the model: `with pool.lease_model(...) as model:`. See get_model()."},
    {"lease_tokenizer", FAST(lease_tokenizer),
     "lease_tokenizer($self, model_type, model_name, constructor=None, *, timeout=None,\n"
     "                allow_none=False, size=None,\n"
     "          share=None)\n--\n\nA Lease on the tokenizer."},
    {"lease_resource", FAST(lease_resource),
     "lease_resource($self, resource_type, resource_id=None, constructor=None, *, timeout=None,\n"
     "               allow_none=False, size=None,\n"
     "          share=None)\n--\n\nA Lease on the resource."},
    {"clear", pool_clear, METH_NOARGS,
     "clear($self)\n--\n\nTake everything out and set the counts to zero. What somebody still has "
     "lives on with him,\nand the next request for it makes a fresh one."},
    {"cleanup_unused_resources", FAST(pool_cleanup),
     "cleanup_unused_resources($self, max_age_minutes=30)\n--\n\nTake out what nobody has and "
     "nobody asked for in that time. How many went: an int."},
    {"get_stats", rp_python_get_stats, METH_NOARGS,
     "get_stats($self)\n--\n\nWhat the pool holds and how it did: a dict of counts (hits, misses, "
     "total_requests), hit_ratio\n(0 to 1), memory_usage (bytes, and _mb: MiB), devices (bytes by "
     "device), ages (seconds by key),\nmodels (a dict by key), system_memory (MiB, percent). An "
     "unknown figure is left out."},
    {"get_resource_details", rp_python_get_resource_details, METH_O,
     "get_resource_details($self, resource_key, /)\n--\n\nAll about one key, such as "
     "'embedding:bert-base-uncased', as a dict: state, device, placement,\nmemory_bytes, load_ms "
     "(milliseconds), age_seconds, hits, leases, depends_on and more.\nKeyError: there is none."},
    {"move_model_to_device", FAST(rp_python_move_model),
     "move_model_to_device($self, model_type, model_name, device)\n--\n\nThe model on that "
     "device, 'cpu' or 'cuda:1', a copy; who has the old one keeps it.\n\nNotFoundError: it is not "
     "loaded. AbsentError: no such device. UnsupportedError: nobody knows\nhow to put it there."},
    {"reserve", FAST(rp_python_reserve),
     "reserve($self, device, memory, *, name=None, timeout=None)\n--\n\nRoom for what is not "
     "loaded by the pool: a Lease, with device and memory_bytes.\n\ndevice: 'cpu', 'cuda:1', or a "
     "kind, 'cuda': whichever has room. memory: bytes, or '8GB', '8GiB'.\nname: what for, for "
     "people. timeout: seconds to wait for room.\nCapacityError: it never fits. TimeoutError. "
     "CycleError: all who wait hold what the others wait\nfor. AbsentError: there is no such "
     "device."},
    {"get_model_async", FAST(get_model_async),
     "get_model_async($self, model_type, model_name, constructor=None,\n"
     "                hardware_preferences=None, *, timeout=None, allow_none=False, size=None,\n"
     "                share=None)\n--\n\n"
     "get_model(), to be awaited under asyncio: the event loop stays free meanwhile.\n\n"
     "What is loaded comes at once; all else is waited for on a thread of its own, with the\n"
     "context variables of the caller. constructor may be a coroutine function: it runs on the\n"
     "caller's event loop. Who is cancelled waits no longer; a load that has begun is kept.\n"
     "UnsupportedError: no event loop of asyncio runs."},
    {"get_tokenizer_async", FAST(get_tokenizer_async),
     "get_tokenizer_async($self, model_type, model_name, constructor=None, *, timeout=None,\n"
     "                    allow_none=False, size=None, share=None)\n--\n\n"
     "get_tokenizer(), to be awaited; see get_model_async()."},
    {"get_resource_async", FAST(get_resource_async),
     "get_resource_async($self, resource_type, resource_id=None, constructor=None, *,\n"
     "                   timeout=None, allow_none=False, size=None, share=None)\n--\n\n"
     "get_resource(), to be awaited; see get_model_async()."},
    {"lease_model_async", FAST(lease_model_async),
     "lease_model_async($self, model_type, model_name, constructor=None,\n"
     "                  hardware_preferences=None, *, timeout=None, allow_none=False, size=None,\n"
     "                  share=None)\n--\n\n"
     "`async with pool.lease_model_async(...) as model:`; awaited, it gives the Lease.\n"
     "See get_model_async()."},
    {"lease_tokenizer_async", FAST(lease_tokenizer_async),
     "lease_tokenizer_async($self, model_type, model_name, constructor=None, *, timeout=None,\n"
     "                      allow_none=False, size=None, share=None)\n--\n\n"
     "A lease on the tokenizer; see lease_model_async()."},
    {"lease_resource_async", FAST(lease_resource_async),
     "lease_resource_async($self, resource_type, resource_id=None, constructor=None, *,\n"
     "                     timeout=None, allow_none=False, size=None, share=None)\n--\n\n"
     "A lease on the resource; see lease_model_async()."},
    {"check_memory_pressure", pool_check_memory_pressure, METH_NOARGS,
     "check_memory_pressure($self)\n--\n\nWhether memory is short: True or False."},
    {"enable_low_memory_mode", pool_enable_low_memory_mode, METH_NOARGS,
     "enable_low_memory_mode($self)\n--\n\nHalve the budgets, and keep nothing that nobody has."},
    {"get_recommended_device", FAST(rp_python_get_recommended_device),
     "get_recommended_device($self, model_type, model_family=None)\n--\n\nWhere a model of that "
     "kind would go, such as 'cuda:0': a str. Nothing is loaded."},
    {"explain", FAST(rp_python_explain),
     "explain($self, model_type, model_name, hardware_preferences=None)\n--\n\nWhere it would go "
     "and why, without loading: a dict with 'placement' (device, precision, reason, ...),\n"
     "'candidates' (all that was looked at, best first) and 'error', where it can go nowhere."},
    {"generate_error_report", FAST(rp_python_generate_error_report),
     "generate_error_report($self, model_name, hardware_type, error_message, stack_trace=None)\n"
     "--\n\nWhat failed and what to do, as a dict (docs/failures.md).\n\n"
     "error_message: a text, or an exception. Secrets and names in paths are taken out."},
    {"save_error_report", FAST(rp_python_save_error_report),
     "save_error_report($self, report, output_dir='./hardware_reports')\n--\n\nWrite a report into "
     "a folder; the path of its file."},
    {"close", pool_close, METH_NOARGS,
     "close($self)\n--\n\nClear and close the pool. BusyError: leases are out."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pool_attributes[] = {
    {"resources", rp_python_resources, NULL, "What is loaded, by key; read-only.",
     (void *)(intptr_t)RP_KIND_RESOURCE},
    {"models", rp_python_resources, NULL, "The models that are loaded, by key; read-only.",
     (void *)(intptr_t)RP_KIND_MODEL},
    {"tokenizers", rp_python_resources, NULL, "The tokenizers that are loaded, by key; read-only.",
     (void *)(intptr_t)RP_KIND_TOKENIZER},
    {"_stats", rp_python_stats, NULL, "Figures, and a dict for each key.", NULL},
    {"_totals", rp_python_totals, NULL, "Figures since the pool was opened, whatever was cleared.",
     NULL},
    {"low_memory_mode", pool_low_memory_mode, NULL, "Whether it is on.", NULL},
    {"available_memory_mb", pool_available_memory_mb, NULL,
     "MiB that the process could still take; None when not known.", NULL},
    {"logger", pool_logger, NULL, "logging.getLogger('resource_pool').", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static char pool_doc[] =
    "ResourcePool(*, budget=None, history=None, low_memory=False, idle_expiry=None,\n"
    "             share=None)\n--\n\n"
    "Loads each model once, however many ask for it.\n\n"
    "budget: bytes, or '2GiB', or 'cpu=8GiB,cuda:0=20GiB'. history: the file that\n"
    "remembers what loads took, 'off' for none. idle_expiry: seconds after which an\n"
    "object that nobody uses goes. share: 'process' or 'machine'.";

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new},           {Py_tp_dealloc, pool_dealloc}, {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_attributes}, {Py_tp_doc, pool_doc},         {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "resource_pool.ResourcePool",
    .basicsize = sizeof(rp_python_pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = pool_slots,
};

int rp_python_add_pool(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &pool_spec, NULL);
    int rc = type ? PyModule_AddObjectRef(module, "ResourcePool", type) : -1;
    Py_XDECREF(type);
    return rc;
}
