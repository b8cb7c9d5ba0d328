/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that an engine loaded from a file, in this process or in a worker of the machine's broker.
 *
 * A Model holds a lease: what somebody can still run stays where it is. There is one for each model
 * of the library, as long as anybody refers to it: the pool lists them without a reference of its
 * own. When the last reference goes the lease goes, and the pool keeps the model, or the broker
 * does, until there is need of its room.
 */
#include "core.h"

#include <string.h>
#include <structmember.h>
#include <unistd.h>

static PyTypeObject *model_type;
static PyTypeObject *port_type;
static PyTypeObject *meta_type;

typedef struct rp_python_model {
    PyObject_HEAD rp_python_pool *pool; /* a share                                            */
    rp_lease *lease;                    /* NULL once the pool was closed                      */
    rp_model *model;                    /* the lease's                                        */
    bool is_gone;                       /* its worker died: requests do not find it any more  */
    struct rp_python_model *previous;
    struct rp_python_model *next;
    PyObject *weak_references;
} model_object;

static PyObject *raise(rp_status status, const char *what, const char *hint) {
    rp_error err = RP_ERROR_INIT;
    rp_fail(&err, status, "%s", what);
    rp_hint(&err, "%s", hint);
    return rp_python_raise(&err);
}

/* ---- the list of those that live ---------------------------------------------------------- */

static void enlist(rp_python_pool *pool, model_object *self) {
    self->next = pool->models;
    if (self->next) self->next->previous = self;
    pool->models = self;
    pool->model_count++;
}

static void unlist(model_object *self) {
    if (self->previous) {
        self->previous->next = self->next;
    } else {
        self->pool->models = self->next;
    }
    if (self->next) self->next->previous = self->previous;
    self->previous = self->next = NULL;
    self->pool->model_count--;
}

static model_object *find(const rp_python_pool *pool, const rp_model *model) {
    for (model_object *at = pool->models; at; at = at->next) {
        if (at->model == model) return at;
    }
    return NULL;
}

static void release(rp_python_pool *pool, rp_lease *lease) {
    PyThreadState *thread = rp_python_pool_enter(pool);
    rp_lease_release(lease, NULL); /* in a child of fork() it is the parent's */
    rp_python_pool_leave(pool, thread);
}

PyObject *rp_python_model_take(rp_python_pool *pool, rp_lease *lease) {
    rp_model *model = rp_lease_model(lease);
    PyObject *there = (PyObject *)find(pool, model);
    if (there) {
        Py_INCREF(there); /* before anything else runs */
        release(pool, lease);
        return there;
    }
    model_object *self = PyObject_New(model_object, model_type);
    if (!self) {
        release(pool, lease);
        return NULL;
    }
    self->pool = (rp_python_pool *)Py_NewRef((PyObject *)pool);
    self->lease = lease;
    self->model = model;
    self->is_gone = false;
    self->previous = self->next = NULL;
    self->weak_references = NULL;
    enlist(pool, self);
    return (PyObject *)self;
}

PyObject *rp_python_model_of(rp_python_pool *pool, rp_lease *lease) {
    PyObject *there = (PyObject *)find(pool, rp_lease_model(lease));
    rp_error err = RP_ERROR_INIT;
    rp_lease *clone = NULL;
    if (there) return Py_NewRef(there);
    if (rp_lease_clone(lease, &clone, &err) != RP_OK) return rp_python_raise(&err);
    return rp_python_model_take(pool, clone);
}

PyObject *rp_python_model_find(rp_python_pool *pool, const char *key) {
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_status status = rp_pool_find(pool->pool, key, &lease, &err);
    if (status == RP_ERR_NOT_FOUND) return NULL;
    if (status != RP_OK) return rp_python_raise(&err);
    if (rp_lease_model(lease)) return rp_python_model_take(pool, lease);
    release(pool, lease);
    return NULL;
}

void rp_python_models_end(rp_python_pool *pool) {
    while (pool->models) {
        model_object *self = pool->models;
        rp_lease *lease = self->lease;
        unlist(self);
        self->lease = NULL;
        self->model = NULL;
        if (lease) release(pool, lease);
    }
}

/* Its weak references may run code, which must not find it. */
static void model_dealloc(PyObject *object) {
    model_object *self = (model_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject *raised[3];
    PyErr_Fetch(&raised[0], &raised[1], &raised[2]);
    if (self->lease) unlist(self);
    PyObject_ClearWeakRefs(object);
    if (self->lease && rp_python_is_running()) release(self->pool, self->lease);
    PyErr_Restore(raised[0], raised[1], raised[2]);
    Py_DECREF((PyObject *)self->pool);
    PyObject_Free(object);
    Py_DECREF((PyObject *)type);
}

/* ---- what the pool asks ------------------------------------------------------------------- */

bool rp_python_model_is_refused(const struct rp_python_call *call) {
    rp_error err = RP_ERROR_INIT;
    if (call->is_shared == call->pool->is_shared) return false;
    rp_fail(&err, RP_ERR_UNSUPPORTED,
            "'%.200s' is a model's file: whether it is shared is the pool's choice, not the call's",
            call->request.name);
    rp_hint(&err,
            "open the pool with share='%s', or set RESOURCE_POOL_SHARE; a constructor's "
            "object is shared as the call says",
            call->is_shared ? "machine" : "process");
    rp_python_raise(&err);
    return true;
}

static void note_plain(rp_python_pool *pool, const char *key) {
    PyObject *text = rp_python_text(key);
    if (!pool->plain_models) pool->plain_models = PySet_New(NULL);
    if (!text || !pool->plain_models || PySet_Add(pool->plain_models, text) < 0) PyErr_Clear();
    Py_XDECREF(text);
}

bool rp_python_model_is_plain(const rp_python_pool *pool, const char *key) {
    PyObject *text = pool->plain_models ? rp_python_text(key) : NULL;
    int has = text ? PySet_Contains(pool->plain_models, text) : 0;
    Py_XDECREF(text);
    PyErr_Clear();
    return has > 0;
}

void rp_python_model_prune(rp_python_pool *pool, const rp_statistics *statistics) {
    PyObject *known = pool->plain_models;
    size_t count = known ? (size_t)PySet_Size(known) : 0;
    if (count <= rp_statistics_entry_count(statistics)) return;
    PyObject *kept = PySet_New(NULL);
    for (size_t i = 0; kept && i < rp_statistics_entry_count(statistics); i++) {
        PyObject *key = rp_python_text(rp_statistics_entry(statistics, i)->key);
        if (key && PySet_Contains(known, key) > 0) PySet_Add(kept, key);
        Py_XDECREF(key);
    }
    PyErr_Clear();
    if (!kept) return;
    pool->plain_models = kept;
    Py_DECREF(known);
}

/* What died in its worker is found no more: the next request gets a fresh one. Once for each: a
 * fresh one of the same key may be there already. */
static void forget(model_object *self) {
    rp_python_pool *pool = self->pool;
    if (self->is_gone) return;
    self->is_gone = true;
    PyThreadState *thread = rp_python_pool_enter(pool);
    rp_pool_evict(pool->pool, rp_lease_key(self->lease), NULL, NULL);
    rp_python_pool_leave(pool, thread);
}

rp_lease *rp_python_model_check_take(const struct rp_python_call *call, rp_lease *lease,
                                     bool *again) {
    rp_python_pool *pool = call->pool;
    if (rp_model_is_gone(rp_lease_model(lease))) {
        PyObject *model = rp_python_model_take(pool, lease);
        if (!model) return NULL;
        *again = !((model_object *)model)->is_gone;
        forget((model_object *)model);
        Py_DECREF(model);
        if (!*again) raise(RP_ERR_RUN, "the model's worker died again", "ask once more");
        return NULL;
    }
    if (!call->constructor && rp_python_model_is_refused(call)) {
        release(pool, lease);
        return NULL;
    }
    const model_object *there = call->is_plain ? find(pool, rp_lease_model(lease)) : NULL;
    if (call->is_plain && !there) note_plain(pool, rp_lease_key(lease));
    return lease;
}

/* ---- a run -------------------------------------------------------------------------------- */

/* The model while it can be used; NULL raised. */
static rp_model *open_model(const model_object *self) {
    if (!self->lease || !self->pool->pool) {
        raise(RP_ERR_STATE, "the pool of this model was closed", "");
        return NULL;
    }
    if (self->pool->pid != (long)getpid()) {
        raise(RP_ERR_FORKED, "the model belongs to the parent of this process",
              "get it again here: get_global_resource_pool() gives a child a pool of its own");
        return NULL;
    }
    return self->model;
}

/* The inputs of one run, in the order of the model's. */
struct run {
    rp_python_pool *pool; /* pinned */
    rp_model *model;
    size_t count;
    size_t given_count;
    PyObject **values; /* owned; NULL: not given yet */
    struct rp_python_input *inputs;
    rp_tensor *tensors;
};

/* Until run_fini() the model stays: what is called for inputs and outputs may close the pool. */
static int run_init(struct run *run, const model_object *self) {
    rp_model *model = self->model;
    size_t count = rp_model_input_count(model);
    size_t each = sizeof *run->values + sizeof *run->inputs + sizeof *run->tensors;
    *run = (struct run){.pool = self->pool, .model = model, .count = count};
    char *block = PyMem_Calloc(count + 1, each);
    if (!block) {
        PyErr_NoMemory();
        return -1;
    }
    run->tensors = (rp_tensor *)(void *)block;
    run->inputs = (struct rp_python_input *)(void *)(run->tensors + count);
    run->values = (PyObject **)(void *)(run->inputs + count);
    rp_python_pool_pin(run->pool);
    return 0;
}

static void run_fini(struct run *run) {
    for (size_t i = 0; i < run->count; i++) {
        Py_XDECREF(run->values[i]);
        rp_python_input_fini(&run->inputs[i]);
    }
    PyMem_Free(run->tensors);
    rp_python_pool_unpin(run->pool);
}

/* "input_ids, attention_mask". Of many the first. */
static void list_inputs(const rp_model *model, char *text, size_t size) {
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < rp_model_input_count(model) && length + 8 < size; i++) {
        PyOS_snprintf(text + length, size - length, "%s%s", i > 0 ? ", " : "",
                      rp_model_input(model, i)->name);
        length = strlen(text);
    }
}

static int fail(const struct run *run, const char *what, const char *name) {
    char names[160];
    rp_error err = RP_ERROR_INIT;
    list_inputs(run->model, names, sizeof names);
    rp_fail(&err, RP_ERR_ARGUMENT, "the input '%.60s' %s", name, what);
    rp_hint(&err, "'%.60s' has the inputs: %.100s", rp_model_path(run->model), names);
    rp_python_raise(&err);
    return -1;
}

static int give(struct run *run, size_t index, PyObject *value) {
    if (run->values[index]) {
        return fail(run, "was given twice", rp_model_input(run->model, index)->name);
    }
    run->values[index] = Py_NewRef(value);
    run->given_count++;
    return 0;
}

static int give_named(struct run *run, PyObject *name, PyObject *value) {
    const char *text = rp_python_utf8(name, "the name of an input");
    if (!text) return -1;
    for (size_t i = 0; i < run->count; i++) {
        if (strcmp(rp_model_input(run->model, i)->name, text) == 0) return give(run, i, value);
    }
    return fail(run, "is none of the model's", text);
}

static int give_dict(struct run *run, PyObject *dict) {
    PyObject *name;
    PyObject *value;
    Py_ssize_t at = 0;
    int rc = 0;
    while (rc == 0 && PyDict_Next(dict, &at, &name, &value)) {
        rc = give_named(run, name, value);
    }
    return rc;
}

/* Whatever has keys(): transformers gives its inputs in such. */
static int give_mapping(struct run *run, PyObject *mapping) {
    if (PyDict_Check(mapping)) return give_dict(run, mapping);
    if (!PyObject_HasAttrString(mapping, "keys")) {
        PyErr_Format(PyExc_TypeError, "inputs by name are a dict, not %R",
                     (PyObject *)Py_TYPE(mapping));
        return -1;
    }
    PyObject *dict = PyDict_New();
    int rc = dict ? PyDict_Update(dict, mapping) : -1;
    if (rc == 0) rc = give_dict(run, dict);
    Py_XDECREF(dict);
    return rc;
}

static int give_sequence(struct run *run, PyObject *sequence) {
    Py_ssize_t count = PySequence_Size(sequence);
    rp_error err = RP_ERROR_INIT;
    if (count < 0) return -1;
    if ((size_t)count != run->count) {
        char names[160];
        list_inputs(run->model, names, sizeof names);
        rp_fail(&err, RP_ERR_ARGUMENT, "'%s' has %zu inputs, %zd were given",
                rp_model_path(run->model), run->count, count);
        rp_hint(&err, "its inputs: %s", names);
        rp_python_raise(&err);
        return -1;
    }
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < count; i++) {
        PyObject *value = PySequence_GetItem(sequence, i);
        rc = value ? give(run, (size_t)i, value) : -1;
        Py_XDECREF(value);
    }
    return rc;
}

static bool is_array(PyObject *value) {
    return PyObject_HasAttrString(value, "__dlpack__") ||
           PyObject_HasAttrString(value, "__array__") || PyMemoryView_Check(value);
}

/* A column of a table has keys, too, and is an array. */
static bool is_mapping(PyObject *value) {
    return PyDict_Check(value) || (PyObject_HasAttrString(value, "keys") && !is_array(value));
}

/* A list is that of the inputs, unless the model has one and this is a list of its numbers. */
static bool is_inputs(const struct run *run, PyObject *value) {
    if (!PyList_Check(value) && !PyTuple_Check(value)) return false;
    if (run->count != 1) return true;
    if (PySequence_Size(value) != 1) return false;
    PyObject *first = PySequence_GetItem(value, 0);
    bool is_it = first && is_array(first);
    Py_XDECREF(first);
    PyErr_Clear();
    return is_it;
}

static int give_positional(struct run *run, PyObject *arguments, bool has_names) {
    Py_ssize_t count = PyTuple_Size(arguments);
    PyObject *only = count == 1 ? PyTuple_GetItem(arguments, 0) : NULL;
    if (count == 0) return 0;
    if (only && is_mapping(only)) return give_mapping(run, only);
    if (only && is_inputs(run, only)) return give_sequence(run, only);
    if (!has_names || (size_t)count > run->count) return give_sequence(run, arguments);
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < count; i++) {
        rc = give(run, (size_t)i, PyTuple_GetItem(arguments, i));
    }
    return rc;
}

static int read_inputs(struct run *run) {
    for (size_t i = 0; i < run->count; i++) {
        const rp_port *port = rp_model_input(run->model, i);
        if (!run->values[i]) return fail(run, "is missing", port->name);
        if (rp_python_input_read(run->values[i], port, &run->inputs[i]) < 0) return -1;
        run->tensors[i] = run->inputs[i].tensor;
    }
    return 0;
}

/* What owns the outputs, new, and the outputs in *result, which is the owner's. NULL raised. */
static PyObject *run_model(model_object *self, struct run *run, const rp_result **result) {
    rp_error err = RP_ERROR_INIT;
    rp_result *made = NULL;
    if (read_inputs(run) < 0) return NULL;
    PyThreadState *thread = rp_python_pool_enter(self->pool);
    rp_status status = rp_model_run(run->model, run->tensors, run->count, &made, &err);
    bool is_gone = status != RP_OK && rp_model_is_gone(run->model);
    rp_python_pool_leave(self->pool, thread);
    if (is_gone) forget(self);
    if (status != RP_OK) return rp_python_raise(&err);
    *result = made;
    PyObject *owner = rp_python_result_take(made);
    if (owner && PyErr_CheckSignals() < 0) Py_CLEAR(owner);
    return owner;
}

/* ---- model(...) ---------------------------------------------------------------------------- */

/* One output as it is, several by name. */
static PyObject *outputs_of(const rp_model *model, PyObject *owner, const rp_result *result) {
    size_t count = rp_result_count(result);
    if (count == 1) return rp_python_output(owner, rp_result_tensor(result, 0));
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < count; i++) {
        PyObject *name = rp_python_text(rp_model_output(model, i)->name);
        PyObject *value = name ? rp_python_output(owner, rp_result_tensor(result, i)) : NULL;
        if (!value || PyDict_SetItem(dict, name, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(value);
        Py_XDECREF(name);
    }
    return dict;
}

static PyObject *model_call(PyObject *object, PyObject *arguments, PyObject *keywords) {
    model_object *self = (model_object *)object;
    rp_model *model = open_model(self);
    const rp_result *result = NULL;
    PyObject *outputs = NULL;
    struct run run;
    if (!model || run_init(&run, self) < 0) return NULL;
    bool has_names = keywords && PyDict_Size(keywords) > 0;
    if (give_positional(&run, arguments, has_names) == 0 &&
        (!has_names || give_dict(&run, keywords) == 0)) {
        PyObject *owner = run_model(self, &run, &result);
        if (owner) outputs = outputs_of(model, owner, result);
        Py_XDECREF(owner);
    }
    run_fini(&run);
    return outputs;
}

/* ---- as an InferenceSession of ONNX Runtime has it ------------------------------------------- */

static Py_ssize_t find_output(const rp_model *model, PyObject *name) {
    const char *text = rp_python_utf8(name, "the name of an output");
    rp_error err = RP_ERROR_INIT;
    if (!text) return -1;
    for (size_t i = 0; i < rp_model_output_count(model); i++) {
        if (strcmp(rp_model_output(model, i)->name, text) == 0) return (Py_ssize_t)i;
    }
    rp_fail(&err, RP_ERR_ARGUMENT, "'%s' has no output '%.100s'", rp_model_path(model), text);
    rp_python_raise(&err);
    return -1;
}

/* Where the named outputs are, a new list of numbers; of all where there are no names. */
static PyObject *find_outputs(const rp_model *model, PyObject *names) {
    PyObject *list = PyList_New(0);
    bool is_all = !names || names == Py_None;
    Py_ssize_t count = is_all ? (Py_ssize_t)rp_model_output_count(model) : PySequence_Size(names);
    if (count < 0) Py_CLEAR(list);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *name = is_all ? NULL : PySequence_GetItem(names, i);
        Py_ssize_t at = is_all ? i : name ? find_output(model, name) : -1;
        PyObject *number = at >= 0 ? PyLong_FromSsize_t(at) : NULL;
        if (!number || PyList_Append(list, number) < 0) Py_CLEAR(list);
        Py_XDECREF(number);
        Py_XDECREF(name);
    }
    return list;
}

/* Numbers become outputs, in their place. */
static PyObject *fill_outputs(PyObject *list, PyObject *owner, const rp_result *result) {
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        size_t at = PyLong_AsSize_t(PyList_GetItem(list, i));
        PyObject *value = rp_python_output(owner, rp_result_tensor(result, at));
        if (!value || PyList_SetItem(list, i, value) < 0) return NULL;
    }
    return Py_NewRef(list);
}

enum { OUTPUT_NAMES, FEEDS, RUN_OPTIONS, RUN_COUNT };
static const char *const run_names[] = {"output_names", "input_feed", "run_options", NULL};
static const struct rp_python_signature run_signature = {"run", run_names, 3, 2};

static PyObject *model_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *keywords) {
    model_object *self = (model_object *)object;
    PyObject *values[RUN_COUNT];
    const rp_result *result = NULL;
    PyObject *outputs = NULL;
    struct run run;
    if (rp_python_arguments(&run_signature, arguments, count, keywords, values) < 0) return NULL;
    rp_model *model = open_model(self);
    if (!model) return NULL;
    if (values[RUN_OPTIONS] && values[RUN_OPTIONS] != Py_None) {
        return raise(RP_ERR_UNSUPPORTED, "a run takes no options of ONNX Runtime",
                     "leave them out");
    }
    if (run_init(&run, self) < 0) return NULL;
    PyObject *wanted = find_outputs(model, values[OUTPUT_NAMES]);
    if (wanted && give_mapping(&run, values[FEEDS]) == 0) {
        PyObject *owner = run_model(self, &run, &result);
        if (owner) outputs = fill_outputs(wanted, owner, result);
        Py_XDECREF(owner);
    }
    run_fini(&run);
    Py_XDECREF(wanted);
    return outputs;
}

/* As ONNX Runtime words it: its "float" has 32 bits. */
static PyObject *type_text(const rp_port *port) {
    const char *name = port->type;
    if (rp_dtype_equals(port->dtype, RP_DTYPE_FLOAT32)) name = "float";
    if (rp_dtype_equals(port->dtype, RP_DTYPE_FLOAT64)) name = "double";
    bool is_tensor = port->dtype.lanes > 0 || strcmp(port->type, "string") == 0;
    return is_tensor ? PyUnicode_FromFormat("tensor(%s)", name) : rp_python_text(name);
}

/* A size, the file's name for one, or None. */
static PyObject *shape_list(const rp_port *port) {
    PyObject *list = PyList_New(0);
    for (int32_t i = 0; list && i < port->ndim; i++) {
        const char *name = port->dim_names[i];
        PyObject *size = port->shape[i] >= 0 ? PyLong_FromLongLong(port->shape[i])
                                             : rp_python_text(name && name[0] ? name : NULL);
        if (!size || PyList_Append(list, size) < 0) Py_CLEAR(list);
        Py_XDECREF(size);
    }
    return list;
}

/* A named tuple of these, which are given up. */
static PyObject *record(PyTypeObject *type, PyObject *const *fields, Py_ssize_t count) {
    PyObject *made = PyStructSequence_New(type);
    bool is_whole = made != NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        is_whole = is_whole && fields[i];
        if (made && fields[i]) {
            PyStructSequence_SetItem(made, i, fields[i]);
        } else {
            Py_XDECREF(fields[i]);
        }
    }
    if (!is_whole) Py_CLEAR(made);
    return made;
}

typedef const rp_port *(*port_at)(const rp_model *model, size_t index);

static PyObject *ports_list(PyObject *self, port_at at) {
    const rp_model *model = open_model((model_object *)self);
    if (!model) return NULL;
    rp_python_pool *pool = ((model_object *)self)->pool;
    rp_python_pool_pin(pool); /* a list may set off the collector, and that runs code */
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && at(model, i); i++) {
        const rp_port *port = at(model, i);
        PyObject *fields[] = {rp_python_text(port->name), shape_list(port), type_text(port)};
        PyObject *one = record(port_type, fields, 3);
        if (!one || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    rp_python_pool_unpin(pool);
    return list;
}

static PyObject *model_get_inputs(PyObject *self, PyObject *unused) {
    (void)unused;
    return ports_list(self, rp_model_input);
}

static PyObject *model_get_outputs(PyObject *self, PyObject *unused) {
    (void)unused;
    return ports_list(self, rp_model_output);
}

/* ONNX Runtime's name for where it runs; of another engine its own name. */
static PyObject *model_get_providers(PyObject *self, PyObject *unused) {
    (void)unused;
    const rp_model *model = open_model((model_object *)self);
    if (!model) return NULL;
    bool is_known = strcmp(rp_model_engine(model), "onnxruntime") == 0 &&
                    strcmp(rp_model_device(model), "cpu") == 0;
    return Py_BuildValue("[s]", is_known ? "CPUExecutionProvider" : rp_model_engine(model));
}

static PyObject *known_text(const char *text) {
    return rp_python_text(text && text[0] ? text : NULL);
}

static PyObject *model_get_modelmeta(PyObject *object, PyObject *unused) {
    model_object *self = (model_object *)object;
    const rp_model *model = open_model(self);
    rp_model_facts facts;
    rp_error err = RP_ERROR_INIT;
    (void)unused;
    if (!model) return NULL;
    /* The path may be the engine's own words: then there are no facts. */
    PyThreadState *thread = rp_python_pool_enter(self->pool);
    rp_status status = rp_model_facts_read(rp_model_path(model), NULL, &facts, &err);
    rp_python_pool_leave(self->pool, thread);
    bool is_read = status == RP_OK;
    if (status == RP_ERR_MEMORY) return rp_python_raise(&err);
    bool has_opset = is_read && facts.opset_version != RP_UNKNOWN_U32;
    bool has_count = is_read && facts.parameter_count != RP_UNKNOWN_U64;
    PyObject *fields[] = {
        known_text(is_read ? facts.producer : NULL),
        known_text(is_read ? facts.architecture : NULL),
        known_text(is_read ? facts.task : NULL),
        has_opset ? PyLong_FromUnsignedLong(facts.opset_version) : Py_NewRef(Py_None),
        has_count ? PyLong_FromUnsignedLongLong(facts.parameter_count) : Py_NewRef(Py_None),
    };
    return record(meta_type, fields, sizeof fields / sizeof fields[0]);
}

/* ---- the type ------------------------------------------------------------------------------ */

static PyObject *model_key(PyObject *self, void *unused) {
    (void)unused;
    if (!open_model((model_object *)self)) return NULL;
    return rp_python_text(rp_lease_key(((model_object *)self)->lease));
}

typedef const char *(*text_of)(const rp_model *model);

static PyObject *model_text(PyObject *self, text_of text) {
    const rp_model *model = open_model((model_object *)self);
    return model ? rp_python_text(text(model)) : NULL;
}

static PyObject *model_path(PyObject *self, void *unused) {
    (void)unused;
    return model_text(self, rp_model_path);
}

static PyObject *model_engine(PyObject *self, void *unused) {
    (void)unused;
    return model_text(self, rp_model_engine);
}

static PyObject *model_device(PyObject *self, void *unused) {
    (void)unused;
    return model_text(self, rp_model_device);
}

static PyObject *model_precision(PyObject *self, void *unused) {
    (void)unused;
    return model_text(self, rp_model_precision);
}

static PyObject *model_memory_bytes(PyObject *self, void *unused) {
    (void)unused;
    if (!open_model((model_object *)self)) return NULL;
    uint64_t bytes = rp_lease_memory_bytes(((model_object *)self)->lease);
    return bytes == RP_UNKNOWN_U64 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
}

static PyObject *model_is_simulated(PyObject *self, void *unused) {
    (void)unused;
    const rp_model *model = open_model((model_object *)self);
    return model ? PyBool_FromLong(rp_model_is_simulated(model)) : NULL;
}

static PyObject *model_repr(PyObject *object) {
    const model_object *self = (model_object *)object;
    if (!self->lease) return PyUnicode_FromString("<resource_pool.Model of a closed pool>");
    const char *precision = rp_model_precision(self->model);
    const char *key = rp_lease_key(self->lease);
    return PyUnicode_FromFormat("<resource_pool.Model '%s' %s%s%s%s>", key ? key : "?",
                                rp_model_engine(self->model), precision ? " " : "",
                                precision ? precision : "",
                                rp_model_is_simulated(self->model) ? " (simulated)" : "");
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef model_methods[] = {
    {"run", FAST(model_run),
     "run($self, output_names, input_feed, run_options=None)\n--\n\n"
     "Run on {name: array}: the list of the named outputs, of all for None."},
    {"get_inputs", model_get_inputs, METH_NOARGS,
     "get_inputs($self)\n--\n\nWhat goes in: each with .name, .shape and .type."},
    {"get_outputs", model_get_outputs, METH_NOARGS,
     "get_outputs($self)\n--\n\nWhat comes out: each with .name, .shape and .type."},
    {"get_providers", model_get_providers, METH_NOARGS,
     "get_providers($self)\n--\n\nWhat runs it: ['CPUExecutionProvider']."},
    {"get_modelmeta", model_get_modelmeta, METH_NOARGS,
     "get_modelmeta($self)\n--\n\nWhat the file tells; None where it does not."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef model_attributes[] = {
    {"key", model_key, NULL, "The instance: 'embedding:model.onnx@cpu'.", NULL},
    {"path", model_path, NULL, "The file that was loaded.", NULL},
    {"engine", model_engine, NULL, "'onnxruntime'.", NULL},
    {"device", model_device, NULL, "'cpu'.", NULL},
    {"precision", model_precision, NULL, "'fp32'; None when it is not known.", NULL},
    {"memory_bytes", model_memory_bytes, NULL, "What it takes; None when it is not known.", NULL},
    {"is_simulated", model_is_simulated, NULL, "Whether nothing is computed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef model_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(model_object, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static char model_doc[] =
    "A model that an engine loaded from a file, in this process or in a worker.\n\n"
    "model(array), model(a, b), model(name=array) or model({name: array}) runs it: the output, or\n"
    "a dict of them when it has several. Arrays are numpy's or whatever has the buffer protocol\n"
    "or DLPack; types and dimensions are those of get_inputs(). Several threads may run it.\n\n"
    "ArgumentError: the inputs; RunError: the engine failed on them, or its process died.";

static PyType_Slot model_slots[] = {
    {Py_tp_dealloc, model_dealloc},   {Py_tp_call, model_call},
    {Py_tp_repr, model_repr},         {Py_tp_methods, model_methods},
    {Py_tp_getset, model_attributes}, {Py_tp_members, model_members},
    {Py_tp_doc, model_doc},           {0, NULL},
};

static PyType_Spec model_spec = {
    .name = "resource_pool.Model",
    .basicsize = sizeof(model_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = model_slots,
};

static PyStructSequence_Field port_fields[] = {
    {"name", "As the file has it."},
    {"shape", "A list of sizes, of names of sizes, and of None for any size."},
    {"type", "'tensor(float)', 'tensor(int64)', ..."},
    {NULL, NULL},
};

static PyStructSequence_Desc port_description = {"resource_pool.NodeArg",
                                                 "One input or output of a model.", port_fields, 3};

static PyStructSequence_Field meta_fields[] = {
    {"producer_name", "What wrote the file."},
    {"architecture", "Such as 'BertModel'."},
    {"task", "Such as 'fill-mask'."},
    {"opset_version", "Of the standard operators."},
    {"parameter_count", "Elements of all weights."},
    {NULL, NULL},
};

static PyStructSequence_Desc meta_description = {
    "resource_pool.ModelMetadata", "What a model's files tell; None: they do not.", meta_fields, 5};

/* Made by a pool only. */
int rp_python_add_model(PyObject *module) {
    port_type = PyStructSequence_NewType(&port_description);
    meta_type = port_type ? PyStructSequence_NewType(&meta_description) : NULL;
    model_type =
        meta_type ? (PyTypeObject *)PyType_FromModuleAndSpec(module, &model_spec, NULL) : NULL;
    if (!model_type) return -1;
    return PyModule_AddObjectRef(module, "Model", (PyObject *)model_type);
}
