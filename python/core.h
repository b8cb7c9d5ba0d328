/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the extension share. Everything here needs the GIL unless it says otherwise.
 * The extension knows the public headers only, and lives in the main interpreter: what the pool
 * gives up is given up on any thread, which then has to know whose lock to take.
 */
#ifndef RESOURCEPOOL_PYTHON_CORE_H
#define RESOURCEPOOL_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- core.c: errors, texts, arguments --------------------------------------------------- */

/**
 * Raise the exception of a failed call: the class that rp_status_exception() names, with the
 * attributes `status` and `hint`. Always NULL, to be returned.
 */
PyObject *rp_python_raise(const rp_error *err);

/** What a JSON text says, as Python has it. Takes the text: rp_string_free() is done here. */
PyObject *rp_python_from_json_take(char *json);

/** A Python object as JSON, for rp_preferences_parse() and the like: a new str. What JSON does not
 * know becomes its str(). */
PyObject *rp_python_to_json(PyObject *object);

/** A text of the library as str; what is not UTF-8 in it is replaced. None for NULL. */
PyObject *rp_python_text(const char *text);

/** The text of a str, borrowed from it. NULL raised: not a str, or with a NUL inside. */
const char *rp_python_utf8(PyObject *object, const char *what);

/** The names of a function's arguments, in order; NULL ends them. */
struct rp_python_signature {
    const char *function;
    const char *const *names;
    Py_ssize_t positional; /* so many may be given without their name */
    Py_ssize_t required;
};

/**
 * Sort out the arguments of a METH_FASTCALL | METH_KEYWORDS function, without a tuple or a dict.
 * values: one for each name, borrowed; NULL for what was not given. 0, or -1 raised.
 */
int rp_python_arguments(const struct rp_python_signature *signature, PyObject *const *arguments,
                        Py_ssize_t count, PyObject *keywords, PyObject **values);

/** Put a value into a dict and give it up. A NULL value that raised is -1; one that did not is
 * nothing to put: what is not known is left out. */
int rp_python_put(PyObject *dict, const char *key, PyObject *value);

/** Whether the interpreter still runs code. Needs no GIL. */
bool rp_python_is_running(void);

/** A line for the logger `resource_pool`, which exists once somebody imported logging. Needs no
 * GIL; an exception that is set stays set. */
void rp_python_log(rp_log_level level, const char *line);

/** The logger itself, new: with a NullHandler, so that nothing is printed unasked. */
PyObject *rp_python_logger(void);

/* ---- objects.c: what the pool keeps for Python ------------------------------------------ */

typedef struct rp_python_pool rp_python_pool;

/**
 * What the pool's entry of a Python object points to. Owned by the pool from the constructor to the
 * destructor, also where the Python pool lists it.
 */
struct rp_python_held {
    PyObject *object; /* the pool's own reference                                        */
    rp_python_pool *pool;
    rp_lease *hold; /* while the caller of a plain get may still have it; NULL          */
    rp_kind kind;
    uint64_t bytes;       /* what it takes; RP_UNKNOWN_U64                                    */
    unsigned cache;       /* who keeps its memory when it is freed: rp_python_cache_of()      */
    PyObject *key_text;   /* a str, the library's: "embedding:bert-base-uncased@cpu"          */
    PyObject *plain_text; /* without device and precision: "embedding:bert-base-uncased"      */
    const char *key;      /* the same, borrowed from the two                                  */
    const char *plain_key;
    bool is_plain;         /* a request without a device or precision of its own led here      */
    PyObject *segment;     /* what it shares with other processes, owned; NULL: nothing */
    uint64_t shared_bytes; /* of it; RP_UNKNOWN_U64: it is not shared */
    bool is_attached;      /* another process made it */
    size_t same_count;     /* entries of the pool with this very object, this one too */
    struct rp_python_held *previous;
    struct rp_python_held *next;
};

/** One call of get_*() or lease_*(), on the stack of its thread. */
struct rp_python_call {
    rp_python_pool *pool;
    rp_kind kind;
    PyObject *constructor; /* borrowed; NULL: none                                           */
    bool allow_none;
    bool is_plain;
    bool is_shared;       /* what is made is for all processes                                   */
    uint64_t bytes;       /* what the caller says it takes; RP_UNKNOWN_U64                       */
    const char *move_key; /* NULL: no move; what is moved, and where to                      */
    const char *move_device;
    PyObject *move_source; /* what is copied there, in place of a constructor; borrowed        */
    PyObject *raised;      /* what the constructor raised on this thread; owned                   */
    PyObject *segment;     /* rp_python_share()'s, for the one that holds it; owned, or NULL */
    uint64_t shared_bytes; /* likewise; RP_UNKNOWN_U64 */
    bool is_attached;      /* likewise: another process made it */
    bool only_loaded;      /* NULL, and nothing raised, where it is not loaded                    */
    PyObject *finish;      /* waits for the coroutine of a constructor; NULL: they are refused    */
    PyObject *load;        /* the constructor that runs, as async.c has it; owned; mostly NULL    */
    rp_build *building;    /* while the constructor runs                                          */
    struct rp_python_call *outer; /* whose constructor this thread runs around it */
    rp_request request;
};

/**
 * Get a lease, with the GIL given up while anything is waited for. NULL raised: the constructor's
 * own exception where it failed, else the library's.
 */
rp_lease *rp_python_acquire(struct rp_python_call *call);

/** Call the constructor and put what it made on the device that was chosen. New; NULL with *err
 * filled in, and nothing raised. */
PyObject *rp_python_construct(struct rp_python_call *call, rp_build *build, rp_error *err);

/** Fill in *err with the exception that is set, which is raised no more: every caller that waits
 * raises the exception itself. Its status. */
rp_status rp_python_fail_as_raised(struct rp_python_call *call, rp_error *err);

/** The token of all requests: it lets Ctrl-C end a wait. NULL raised. */
rp_cancel *rp_python_token(void);

/** A token of one request's own, which does the same: rp_cancel_destroy(). NULL raised. */
rp_cancel *rp_python_token_new(void);
/** Whose holds this thread's waits look after (NULL: nobody's); returns whose it was before. */
rp_python_pool *rp_python_wait_for(rp_python_pool *pool);

/** What get_model() returns for a lease, new: the object, with a hold on it in place of the lease,
 * until only the pool refers to it; or the Model. Takes the lease, also on failure. */
PyObject *rp_python_hold_take(rp_python_pool *pool, rp_lease *lease);

/** The Python object of a lease, new. */
PyObject *rp_python_lease_object(rp_python_pool *pool, rp_lease *lease);

/** Give back holds on objects that only the pool refers to. Returns how many. */
size_t rp_python_sweep(rp_python_pool *pool);

/** Give all holds of a pool back: it is about to close. */
void rp_python_drop_holds(rp_python_pool *pool);

/* ---- place.c: devices and precisions of Python objects ---------------------------------- */

/**
 * Put an object on the device, and into the precision, that the pool chose. Takes `made`; new,
 * often the same. NULL raised: it cannot be put there, with the reason.
 */
PyObject *rp_python_place_take(PyObject *made, const rp_placement *placement);

/** A copy of an object there, with the object left as it is. New; NULL raised. */
PyObject *rp_python_place_copy(PyObject *source, const rp_placement *placement);

/** The method move_model_to_device(). */
PyObject *rp_python_move_model(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *keywords);

/* ---- size.c: what Python objects take --------------------------------------------------- */

/** Tell the pool how many bytes an object takes, and how that is known, where its kind is known.
 * Those bytes, or RP_UNKNOWN_U64. Raises nothing. */
uint64_t rp_python_measure(PyObject *made, rp_build *build);

/** Who keeps the memory of what is built there once it is freed, for rp_python_give_up(). */
unsigned rp_python_cache_of(const rp_build *build);

/** Give up the pool's reference, and note whom rp_python_freed() is to ask for the memory. */
void rp_python_give_up(PyObject *object, unsigned cache, uint64_t bytes);

/** For rp_pool_options.on_freed: once for each batch of objects. Needs no GIL. */
void rp_python_freed(bool is_short, void *user);

/* ---- share.c: one copy of an object for all processes ----------------------------------- */

/** Add the type of shared memory, and what _pickling.py needs. 0, or -1 raised. */
int rp_python_add_share(PyObject *module);

/**
 * What other processes share: attached, or made here with rp_python_construct() and published. New;
 * NULL with *err filled in, and nothing raised.
 *
 * private_bytes  what of it is this process's own; RP_UNKNOWN_U64: it could not be shared
 */
PyObject *rp_python_share(struct rp_python_call *call, rp_build *build, uint64_t *private_bytes,
                          rp_error *err);

/* ---- model.c: models that an engine loaded ---------------------------------------------- */

/** Add the type Model. 0, or -1 raised. */
int rp_python_add_model(PyObject *module);

/** The model of a lease that is one (rp_lease_model()), new; the same object while it lives. Takes
 * the lease, also on failure. */
PyObject *rp_python_model_take(rp_python_pool *pool, rp_lease *lease);

/** The same for a lease that stays the caller's. */
PyObject *rp_python_model_of(rp_python_pool *pool, rp_lease *lease);

/** The same for what is loaded under the library's key: NULL without an exception when it is not
 * there any more. */
PyObject *rp_python_model_find(rp_python_pool *pool, const char *key);

/** Whether a file would be loaded for this call in another way than it says: raises then. */
bool rp_python_model_is_refused(const struct rp_python_call *call);

/** Look at a lease that came from the pool: what it is on may have died in its worker. Then it is
 * given back, *again is set, and NULL. Notes what key the model goes by. NULL raised otherwise. */
rp_lease *rp_python_model_check_take(const struct rp_python_call *call, rp_lease *lease,
                                     bool *again);

/** Whether a request without a device or precision of its own led to that key. */
bool rp_python_model_is_plain(const rp_python_pool *pool, const char *key);

/** Forget the names of models that the pool does not have any more. */
void rp_python_model_prune(rp_python_pool *pool, const rp_statistics *statistics);

/** Take their leases from all models of a pool, which is about to close: they run no more. */
void rp_python_models_end(rp_python_pool *pool);

/* ---- input.c: numbers that go into a model ---------------------------------------------- */

/** One input of a run, as a view of what the caller gave. */
struct rp_python_input {
    rp_tensor tensor;
    PyObject *owner; /* keeps its memory                                       */
    void *view;      /* of the owner, an rp_python_buffer; NULL                */
    void *copy;      /* of what was not compact; NULL                          */
};

/** Look at a value for that input: an array (buffer protocol, DLPack) as it lies there, or what
 * numpy makes of it. Zero *input first; rp_python_input_fini() also on failure. 0, or -1 raised. */
int rp_python_input_read(PyObject *value, const rp_port *port, struct rp_python_input *input);
void rp_python_input_fini(struct rp_python_input *input);

/** numpy.asarray, borrowed; NULL without an exception where numpy is not installed. */
PyObject *rp_python_asarray(void);

/* ---- tensor.c: numbers that come out ---------------------------------------------------- */

/** Add the type Tensor. 0, or -1 raised. */
int rp_python_add_tensor(PyObject *module);

/** What owns the outputs of a run, new. Takes the result, also on failure. */
PyObject *rp_python_result_take(rp_result *result);

/** One of its tensors, new: an array of numpy where that is there, else a Tensor. No copy. */
PyObject *rp_python_output(PyObject *owner, const rp_tensor *tensor);

/* ---- async.c, reserve.c: more methods of the pool --------------------------------------- */

/** Add the types that calls which are awaited are made of. 0, or -1 raised. */
int rp_python_add_async(PyObject *module);

/** get_model_async() and its kin: `method` is the name of the method that is run on a thread. */
PyObject *rp_python_await(PyObject *self, const char *method, PyObject *const *arguments,
                          Py_ssize_t count, PyObject *keywords);

/** What a constructor begins with and ends with: calls that are awaited meanwhile are on behalf of
 * its load. The end waits for those that still run. */
void rp_python_load_begin(struct rp_python_call *call, rp_build *build);
void rp_python_load_end(struct rp_python_call *call);

/** The object that a constructor's coroutine makes. Takes the coroutine; new, NULL raised. */
PyObject *rp_python_finish_take(struct rp_python_call *call, PyObject *coroutine);

/** The method reserve(). */
PyObject *rp_python_reserve(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *keywords);

/* ---- lease.c ---------------------------------------------------------------------------- */

/** Add the type Lease. 0, or -1 raised. */
int rp_python_add_lease(PyObject *module);

/** A new Lease, which takes the lease, also on failure. */
PyObject *rp_python_lease_new_take(rp_python_pool *pool, rp_lease *lease);

/* ---- pool.c, statistics.c --------------------------------------------------------------- */

struct rp_python_pool {
    PyObject_HEAD rp_pool *pool; /* NULL once closed */
    long pid; /* the process that opened it                                        */
    struct rp_python_held *first;
    uint64_t cleared_hits; /* what clear() took off the counts                                */
    uint64_t cleared_misses;
    int inside_count;    /* calls that it has to stay open for                             */
    uint64_t changes;    /* calls that may have changed a figure                           */
    PyObject *figures;   /* what _stats last gave, when nothing changed since; NULL        */
    uint64_t figures_at; /* `changes` of then                                              */
    int64_t figures_ns;  /* and when that was, on the monotonic clock                      */
    bool is_shared;      /* what constructors make is for all processes                    */
    rp_machine *machine; /* the way to the broker, once it was needed; share.c's         */
    struct rp_python_model *models; /* that live; model.c's                              */
    size_t model_count;
    size_t lease_count;     /* Lease objects that are out                                */
    PyObject *plain_models; /* a set of keys: rp_python_model_is_plain(); NULL           */
};

/** Add the type ResourcePool. 0, or -1 raised. */
int rp_python_add_pool(PyObject *module);

/** One call of get_model(), lease_model() or their kin, for whoever asked for it. */
struct rp_python_ask {
    PyObject *pool;
    const char *method;
    PyObject *const *arguments;
    Py_ssize_t count;
    PyObject *keywords; /* names of the last ones, a tuple; NULL                    */
    PyObject *finish;   /* as in rp_python_call                                     */
    rp_build *within;   /* as in rp_request, like `cancel`                          */
    rp_cancel *cancel;
    bool only_loaded; /* nothing is waited for                                    */
};

/** Its result, new. NULL: raised, or nothing raised where only_loaded found it not loaded. */
PyObject *rp_python_ask(const struct rp_python_ask *ask);
/** Seconds to wait as milliseconds: NULL and None are no limit, which is 0; 0 s is what can be had
 * at once. 0, or -1 raised: it is below 0, or no number. */
int rp_python_timeout(PyObject *timeout, int64_t *timeout_ms);

/** Whether it is open; raises StateError where not. */
bool rp_python_pool_is_open(const rp_python_pool *pool);

/** Whether memory is short, as check_memory_pressure() and get_stats() both say it. No GIL. */
bool rp_python_is_short(const rp_pressure_info *info);

/** Give the GIL up for a call into the library, during which the pool is not closed. */
PyThreadState *rp_python_pool_enter(rp_python_pool *pool);
void rp_python_pool_leave(rp_python_pool *pool, PyThreadState *thread);

/** Keep the pool from being closed while Python code runs, which could do that. With the GIL. */
void rp_python_pool_pin(rp_python_pool *pool);
void rp_python_pool_unpin(rp_python_pool *pool);

/** Methods and attributes of the pool that only look: get_stats() and its kin. */
PyObject *rp_python_get_stats(PyObject *self, PyObject *unused);
PyObject *rp_python_stats(PyObject *self, void *unused);
PyObject *rp_python_totals(PyObject *self, void *unused);
PyObject *rp_python_resources(PyObject *self, void *kind);
PyObject *rp_python_get_resource_details(PyObject *self, PyObject *key);

/** Methods about failures and places. */
PyObject *rp_python_generate_error_report(PyObject *self, PyObject *const *arguments,
                                          Py_ssize_t count, PyObject *keywords);
PyObject *rp_python_save_error_report(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                      PyObject *keywords);
PyObject *rp_python_explain(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *keywords);
PyObject *rp_python_get_recommended_device(PyObject *self, PyObject *const *arguments,
                                           Py_ssize_t count, PyObject *keywords);

/* ---- preferences.c ---------------------------------------------------------------------- */

/** Preferences of a dict, the caller's: rp_preferences_destroy(). Keys that are not known are
 * warned of through the logger. NULL raised. */
rp_preferences *rp_python_preferences(PyObject *dict);

/** Preferences that several calls may share. */
struct rp_python_wishes {
    rp_preferences *preferences;
    bool has_own_place; /* a device or a precision of their own                           */
    size_t shares;      /* with the GIL                                                   */
    PyObject *words;    /* what they were read from, a copy of our own; NULL: not kept    */
};

/** What a dict says, read now or lately. The caller's share: rp_python_wishes_release(). NULL
 * raised. */
struct rp_python_wishes *rp_python_wishes_acquire(PyObject *dict);

/** Accepts NULL. */
void rp_python_wishes_release(struct rp_python_wishes *wishes);

/* ---- modules.c -------------------------------------------------------------------------- */

/** Add the functions behind the modules hardware_detection, ... 0, or -1 raised. */
int rp_python_add_modules(PyObject *module);

#endif
