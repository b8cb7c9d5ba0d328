/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that an engine loaded from a file, in this process or in a worker of the machine's broker.
 *
 * A Model holds a lease: what somebody can still run stays where it is. There is one for each model
 * of the library, as long as anybody refers to it: the pool lists them without a reference of its
 * own. When the last reference goes the lease goes, and the pool keeps the model, or the broker
 * does, until there is need of its room.
 */
#include "model.h"
#include "core.h"

#include <string.h>
#include <structmember.h>
#include <unistd.h>

static PyTypeObject *model_type;
static PyTypeObject *port_type;
static PyTypeObject *meta_type;

typedef struct rp_python_model model_object;

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
void rp_python_model_forget(model_object *self) {
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
        rp_python_model_forget((model_object *)model);
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

rp_model *rp_python_model_open(const struct rp_python_model *self) {
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

/* ---- what it tells, as an InferenceSession of ONNX Runtime does -------------------------------
 */

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
    const rp_model *model = rp_python_model_open((model_object *)self);
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
    const rp_model *model = rp_python_model_open((model_object *)self);
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
    const rp_model *model = rp_python_model_open(self);
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
    if (!rp_python_model_open((model_object *)self)) return NULL;
    return rp_python_text(rp_lease_key(((model_object *)self)->lease));
}

typedef const char *(*text_of)(const rp_model *model);

static PyObject *model_text(PyObject *self, text_of text) {
    const rp_model *model = rp_python_model_open((model_object *)self);
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
    if (!rp_python_model_open((model_object *)self)) return NULL;
    uint64_t bytes = rp_lease_memory_bytes(((model_object *)self)->lease);
    return bytes == RP_UNKNOWN_U64 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
}

static PyObject *model_is_simulated(PyObject *self, void *unused) {
    (void)unused;
    const rp_model *model = rp_python_model_open((model_object *)self);
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
    {"run", FAST(rp_python_model_run),
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
    {Py_tp_dealloc, model_dealloc},   {Py_tp_call, rp_python_model_call},
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
