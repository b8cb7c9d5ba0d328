/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of a model that an engine loaded: whose inputs are given in one of the ways that people
 * write, model(...) or run(...), and whose outputs come back in the way that belongs to it.
 */
#include "core.h"
#include "model.h"

#include <string.h>

typedef struct rp_python_model model_object;

/* ---- the inputs --------------------------------------------------------------------------- */

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
    if (is_gone) rp_python_model_forget(self);
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

PyObject *rp_python_model_call(PyObject *object, PyObject *arguments, PyObject *keywords) {
    model_object *self = (model_object *)object;
    rp_model *model = rp_python_model_open(self);
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

PyObject *rp_python_model_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                              PyObject *keywords) {
    model_object *self = (model_object *)object;
    PyObject *values[RUN_COUNT];
    rp_error err = RP_ERROR_INIT;
    const rp_result *result = NULL;
    PyObject *outputs = NULL;
    struct run run;
    if (rp_python_arguments(&run_signature, arguments, count, keywords, values) < 0) return NULL;
    rp_model *model = rp_python_model_open(self);
    if (!model) return NULL;
    if (values[RUN_OPTIONS] && values[RUN_OPTIONS] != Py_None) {
        rp_fail(&err, RP_ERR_UNSUPPORTED, "a run takes no options of ONNX Runtime");
        rp_hint(&err, "leave them out");
        return rp_python_raise(&err);
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
