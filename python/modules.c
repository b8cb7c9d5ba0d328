/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions behind the modules beside the pool: hardware_detection, model_family_classifier and
 * hardware_model_integration. Each asks the library one question and says the answer with dicts,
 * lists and numbers; None is what is not known. What blocks (drivers, disks, locks) runs without
 * the GIL. Their names begin with '_', so that the package does not hand them on.
 */
#include "core.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

enum { TEXTS_MAX = 256, WARNING_BYTES = 512 };

/* ---- values ----------------------------------------------------------------------------- */

static PyObject *text_or_none(const char *text) {
    if (!text || !text[0]) Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *u64_or_none(uint64_t number) {
    if (number == RP_UNKNOWN_U64) Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(number);
}

static PyObject *u32_or_none(uint32_t number) {
    if (number == RP_UNKNOWN_U32) Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(number);
}

static PyObject *method_or_none(rp_facts_method method) {
    return text_or_none(method == RP_FACTS_UNKNOWN ? NULL : rp_facts_method_name(method));
}

/* Into a dict; takes the value, which may be NULL after a failure. */
static int put(PyObject *dict, const char *key, PyObject *value) {
    int rc = value ? PyDict_SetItemString(dict, key, value) : -1;
    Py_XDECREF(value);
    return rc;
}

/* A list takes it likewise. */
static int append(PyObject *list, PyObject *value) {
    int rc = value ? PyList_Append(list, value) : -1;
    Py_XDECREF(value);
    return rc;
}

/* The dict, or NULL where something did not get into it. */
static PyObject *whole_or_null(PyObject *dict, int rc) {
    if (rc == 0) return dict;
    Py_XDECREF(dict);
    return NULL;
}

static PyObject *classification_dict(const rp_classification *found) {
    return Py_BuildValue(
        "{s:N,s:N,s:N,s:d,s:N,s:N}", "family", text_or_none(rp_family_name(found->family)),
        "subfamily", text_or_none(rp_subfamily_name(found->subfamily)), "task",
        text_or_none(rp_subfamily_task(found->subfamily)), "confidence", found->confidence,
        "source", text_or_none(found->source), "evidence", text_or_none(found->evidence));
}

/* Python's function wants names that it could write to, and does not. 0 raised. */
static int parse(PyObject *args, PyObject *keywords, const char *format, const char *const *names,
                 ...) {
    va_list places;
    va_start(places, names);
    int rc =
        PyArg_VaParseTupleAndKeywords(args, keywords, format, (char **)(uintptr_t)names, places);
    va_end(places);
    return rc;
}

/* ---- what is known of a model ----------------------------------------------------------- */

/* The hints of a call, with what they are made of. */
struct known {
    rp_model_hints hints;
    rp_model_database *database;
    PyObject *tuples[2];
    const char *texts[2][TEXTS_MAX];
};

static void known_fini(struct known *known) {
    rp_model_database_close(known->database);
    Py_XDECREF(known->tuples[0]);
    Py_XDECREF(known->tuples[1]);
}

static const char *text_of(PyObject *object, const char *what) {
    Py_ssize_t length = 0;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: a str is needed", what);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(object, &length);
    if (!text || strlen(text) == (size_t)length) return text;
    PyErr_Format(PyExc_ValueError, "%s: there is a NUL in it", what);
    return NULL;
}

/* An iterable of texts, into list 0 or 1; -1 raised. None and NULL are none. */
static int take_texts(struct known *known, size_t at, PyObject *given, const char *what) {
    if (!given || given == Py_None) return 0;
    if (PyUnicode_Check(given) || PyBytes_Check(given)) {
        PyErr_Format(PyExc_TypeError, "%s: a list of str is needed, not one text", what);
        return -1;
    }
    PyObject *tuple = known->tuples[at] = PySequence_Tuple(given);
    if (!tuple) return -1;
    Py_ssize_t count = PyTuple_Size(tuple);
    if (count > TEXTS_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: %zd are more than the limit of %d", what, count,
                     TEXTS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        known->texts[at][i] = text_of(PyTuple_GetItem(tuple, i), what);
        if (!known->texts[at][i]) return -1;
    }
    return 0;
}

/* The user's database; a file that is not there has nothing to say yet. -1 raised. */
static int open_database(struct known *known, const char *path) {
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    if (!path) return 0;
    Py_BEGIN_ALLOW_THREADS;
    status = rp_model_database_open(path, &known->database, &err);
    Py_END_ALLOW_THREADS;
    known->hints.database = known->database;
    if (status == RP_OK || status == RP_ERR_NOT_FOUND) return 0;
    rp_python_raise(&err);
    return -1;
}

/* Parse what classify() and facts() take: -1 raised, and known_fini() is due either way. */
static int known_init(struct known *known, PyObject *args, PyObject *keywords) {
    static const char *const names[] = {"name",    "model_class", "model_type", "tasks",
                                        "methods", "database",    NULL};
    const char *path = NULL;
    PyObject *tasks = NULL;
    PyObject *methods = NULL;
    known->hints = (rp_model_hints)RP_MODEL_HINTS_INIT;
    known->database = NULL;
    known->tuples[0] = NULL;
    known->tuples[1] = NULL;
    if (!parse(args, keywords, "z|zzOOz", names, &known->hints.name, &known->hints.architecture,
               &known->hints.model_type, &tasks, &methods, &path)) {
        return -1;
    }
    if (take_texts(known, 0, tasks, "tasks") < 0 || take_texts(known, 1, methods, "methods") < 0) {
        return -1;
    }
    known->hints.tasks = known->texts[0];
    known->hints.task_count = known->tuples[0] ? (size_t)PyTuple_Size(known->tuples[0]) : 0;
    known->hints.methods = known->texts[1];
    known->hints.method_count = known->tuples[1] ? (size_t)PyTuple_Size(known->tuples[1]) : 0;
    return open_database(known, path);
}

static const char classify_doc[] =
    "_classify(name, model_class=None, model_type=None, tasks=(), methods=(), "
    "database=None)\n--\n\n"
    "The family of a model by what is given, no file but the database (a path) being looked at:\n"
    "{family, subfamily, task, confidence (0 to 1), source, evidence}.";

static PyObject *classify(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    struct known known;
    rp_classification found = {0};
    PyObject *result = NULL;
    if (known_init(&known, args, keywords) == 0) {
        rp_classify(&known.hints, &found);
        result = classification_dict(&found);
    }
    known_fini(&known);
    return result;
}

static PyObject *facts_dict(const rp_model_facts *facts) {
    const struct {
        const char *key;
        PyObject *value;
    } rows[] = {
        {"format", text_or_none(facts->format)},
        {"model_type", text_or_none(facts->model_type)},
        {"architecture", text_or_none(facts->architecture)},
        {"precision", text_or_none(facts->precision)},
        {"quantization", text_or_none(facts->quantization)},
        {"parameters", u64_or_none(facts->parameter_count)},
        {"parameters_min", u64_or_none(facts->parameter_count_min)},
        {"parameters_max", u64_or_none(facts->parameter_count_max)},
        {"parameter_method", method_or_none(facts->parameter_method)},
        {"weights_bytes", u64_or_none(facts->weights_bytes)},
        {"weights_method", method_or_none(facts->weights_method)},
        {"file_bytes", facts->format ? u64_or_none(facts->file_bytes) : text_or_none(NULL)},
        {"layers", u32_or_none(facts->layer_count)},
        {"hidden_size", u32_or_none(facts->hidden_size)},
        {"heads", u32_or_none(facts->head_count)},
        {"vocabulary_size", u32_or_none(facts->vocabulary_size)},
        {"context_length", u32_or_none(facts->context_length)},
    };
    PyObject *dict = classification_dict(&facts->classification);
    int rc = dict ? 0 : -1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rc == 0) {
            rc = put(dict, rows[i].key, rows[i].value);
        } else {
            Py_XDECREF(rows[i].value);
        }
    }
    return whole_or_null(dict, rc);
}

static const char facts_doc[] =
    "_facts(name, model_class=None, model_type=None, tasks=(), methods=(), database=None)\n--\n\n"
    "What a folder, a file or a name tells of a model: what classify() answers, with format,\n"
    "precision, parameters, weights_bytes, layers, ... None is what is not known.";

static PyObject *facts(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    struct known known;
    rp_model_facts read;
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    PyObject *result = NULL;
    if (known_init(&known, args, keywords) == 0) {
        Py_BEGIN_ALLOW_THREADS;
        status = rp_model_facts_read(known.hints.name, &known.hints, &read, &err);
        Py_END_ALLOW_THREADS;
        result = status == RP_OK ? facts_dict(&read) : rp_python_raise(&err);
    }
    known_fini(&known);
    return result;
}

static const char record_doc[] =
    "_record(database, name, family, subfamily=None, confidence=1.0)\n--\n\n"
    "Write an answer into a database file, which is made when there is none. Returns what stands\n"
    "there afterwards: the answer, or what was there when that is surer.";

static PyObject *record(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"database",  "name",       "family",
                                        "subfamily", "confidence", NULL};
    const char *path = NULL;
    const char *name = NULL;
    const char *family = NULL;
    const char *subfamily = NULL;
    rp_classification answer = {.confidence = 1.0, .source = "database"};
    rp_classification kept = {0};
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    if (!parse(args, keywords, "sss|zd", names, &path, &name, &family, &subfamily,
               &answer.confidence)) {
        return NULL;
    }
    answer.family = rp_family_of_name(family);
    if (subfamily) answer.subfamily = rp_subfamily_of_name(subfamily);
    if (subfamily && answer.subfamily == RP_SUBFAMILY_NONE) {
        return PyErr_Format(PyExc_ValueError, "there is no such subfamily: '%.80s'", subfamily);
    }
    Py_BEGIN_ALLOW_THREADS;
    status = rp_model_database_record(path, name, &answer, &kept, &err);
    Py_END_ALLOW_THREADS;
    return status == RP_OK ? classification_dict(&kept) : rp_python_raise(&err);
}

static const char memory_need_doc[] =
    "_memory_need(model, precision=None, batch_size=0, context_length=0)\n--\n\n"
    "The bytes that a model needs when its weights are in a precision (None: as stored):\n"
    "{total_bytes, total_bytes_min, total_bytes_max, weights_bytes, state_bytes,\n"
    "activation_bytes, overhead_bytes, method}; None is what is not known.";

static PyObject *memory_need(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"model", "precision", "batch_size", "context_length", NULL};
    const char *model = NULL;
    const char *precision = NULL;
    long batch = 0;
    long context = 0;
    rp_model_facts read;
    rp_workload workload = RP_WORKLOAD_INIT;
    rp_memory_need need = {.size = sizeof need};
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    if (!parse(args, keywords, "s|zll", names, &model, &precision, &batch, &context)) {
        return NULL;
    }
    if (batch < 0 || batch > INT32_MAX || context < 0 || context > INT32_MAX) {
        return PyErr_Format(PyExc_ValueError,
                            "batch_size %ld, context_length %ld: neither may be "
                            "below 0 or above 2^31-1",
                            batch, context);
    }
    workload.batch_size = (uint32_t)batch;
    workload.context_length = (uint32_t)context;
    Py_BEGIN_ALLOW_THREADS;
    status = rp_model_facts_read(model, NULL, &read, &err);
    Py_END_ALLOW_THREADS;
    if (status != RP_OK) return rp_python_raise(&err);
    rp_model_memory_need(&read, precision, &workload, &need);
    return Py_BuildValue(
        "{s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N}", "total_bytes", u64_or_none(need.total_bytes),
        "total_bytes_min", u64_or_none(need.total_bytes_min), "total_bytes_max",
        u64_or_none(need.total_bytes_max), "weights_bytes", u64_or_none(need.weights_bytes),
        "state_bytes", u64_or_none(need.state_bytes), "activation_bytes",
        u64_or_none(need.activation_bytes), "overhead_bytes", u64_or_none(need.overhead_bytes),
        "method", method_or_none(need.method));
}

/* ---- hardware --------------------------------------------------------------------------- */

static const char hardware_doc[] =
    "_hardware(cache=None, refresh=False, all=False, simulate=None)\n--\n\n"
    "The snapshot of this machine, looked at now, as docs/snapshot.md describes it. cache: the\n"
    "file that keeps what slow runtimes said ('off': none); refresh: nothing in it is believed;\n"
    "all: browsers and slow runtimes are asked too; simulate: a snapshot file to be that machine.";

static PyObject *hardware(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"cache", "refresh", "all", "simulate", NULL};
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    char *json = NULL;
    int refresh = 0;
    int all = 0;
    if (!parse(args, keywords, "|zppz", names, &options.cache, &refresh, &all, &options.simulate)) {
        return NULL;
    }
    options.refresh = refresh != 0;
    options.all = all != 0;
    Py_BEGIN_ALLOW_THREADS;
    status = rp_hardware_detect(&options, &snapshot, &err);
    if (status == RP_OK) status = rp_snapshot_to_json(snapshot, 0, &json, &err);
    rp_snapshot_release(snapshot);
    Py_END_ALLOW_THREADS;
    return status == RP_OK ? rp_python_from_json_take(json) : rp_python_raise(&err);
}

static const char level_doc[] = "_level(family, kind)\n--\n\n"
                                "How well a kind of device runs a family of models: (\"high\", "
                                "\"medium\", \"low\" or \"none\",\n"
                                "the note that the rules have on it or None).";

static PyObject *level(PyObject *self, PyObject *args) {
    (void)self;
    const char *family = NULL;
    const char *name = NULL;
    const char *said = NULL;
    const char *note = NULL;
    rp_device_kind kind = RP_DEVICE_CPU;
    rp_error err = RP_ERROR_INIT;
    if (!PyArg_ParseTuple(args, "ss", &family, &name)) return NULL;
    rp_status status = rp_device_kind_parse(name, &kind, &err);
    if (status == RP_OK) {
        status = rp_family_level(rp_family_of_name(family), kind, &said, &note, &err);
    }
    if (status != RP_OK) return rp_python_raise(&err);
    return Py_BuildValue("(NN)", text_or_none(said), text_or_none(note));
}

/* ---- placement -------------------------------------------------------------------------- */

static PyObject *candidate_dict(const rp_candidate *each) {
    PyObject *score = each->accepted ? PyFloat_FromDouble(each->score) : text_or_none(NULL);
    return Py_BuildValue(
        "{s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N}", "device", text_or_none(each->device),
        "kind", text_or_none(rp_device_kind_name(each->kind)), "precision",
        text_or_none(each->precision), "engine", text_or_none(each->engine), "accepted",
        PyBool_FromLong(each->accepted), "is_short", PyBool_FromLong(each->is_short), "simulated",
        PyBool_FromLong(each->simulated), "score", score, "reason", text_or_none(each->reason),
        "memory_bytes_needed", u64_or_none(each->memory_bytes_needed), "memory_bytes_usable",
        u64_or_none(each->memory_bytes_usable), "method", text_or_none(each->memory_method));
}

static PyObject *candidate_list(const rp_plan *plan) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < rp_plan_candidate_count(plan); i++) {
        if (append(list, candidate_dict(rp_plan_candidate(plan, i))) < 0) Py_CLEAR(list);
    }
    return list;
}

static PyObject *plan_dict(const rp_plan *plan, const char *warning) {
    rp_placement placed;
    rp_error err = RP_ERROR_INIT;
    bool is_placed = rp_plan_placement(plan, &placed, &err) == RP_OK;
    PyObject *placement = text_or_none(NULL);
    PyObject *error = text_or_none(NULL);
    if (is_placed) {
        Py_DECREF(placement);
        placement = Py_BuildValue(
            "{s:N,s:N,s:N,s:N,s:N}", "device", text_or_none(placed.device), "precision",
            text_or_none(placed.precision), "engine", text_or_none(placed.engine), "policy",
            text_or_none(rp_policy_name(placed.policy)), "reason", text_or_none(placed.reason));
    } else {
        Py_DECREF(error);
        error = Py_BuildValue("{s:N,s:N,s:N}", "status", text_or_none(rp_status_name(err.status)),
                              "message", text_or_none(err.message), "hint", text_or_none(err.hint));
    }
    return Py_BuildValue("{s:N,s:N,s:N,s:N}", "placement", placement, "error", error, "candidates",
                         candidate_list(plan), "warning", text_or_none(warning));
}

/* All that one placement is made of. */
struct placing {
    const char *name;
    const char *snapshot_text;
    Py_ssize_t snapshot_length;
    const char *wishes_text;
    Py_ssize_t wishes_length;
    const rp_snapshot *snapshot;
    rp_preferences *wishes;
    rp_plan *plan;
    char warning[WARNING_BYTES];
};

/* Without the GIL. An empty name is a model of which nothing is known. */
static rp_status place_now(struct placing *placing, rp_error *err) {
    rp_model_facts read;
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    rp_status status =
        rp_snapshot_from_json(placing->snapshot_text, (size_t)placing->snapshot_length,
                              "hardware_info", &placing->snapshot, err);
    if (status == RP_OK && placing->wishes_text) {
        status =
            rp_preferences_parse(placing->wishes_text, (size_t)placing->wishes_length,
                                 &placing->wishes, placing->warning, sizeof placing->warning, err);
    }
    if (status == RP_OK && placing->name[0]) {
        status = rp_model_facts_read(placing->name, NULL, &read, err);
    } else {
        rp_model_facts_of_name("", NULL, &read);
    }
    request.snapshot = placing->snapshot;
    request.facts = &read;
    request.name = placing->name[0] ? placing->name : NULL;
    request.preferences = placing->wishes;
    request.has_constructor = true;
    return status == RP_OK ? rp_place(&request, &placing->plan, err) : status;
}

static const char place_doc[] =
    "_place(model, snapshot, preferences=None)\n--\n\n"
    "Where a model goes on a machine, and why: {placement: {device, precision, engine, policy,\n"
    "reason} or None, error: {status, message, hint} or None, candidates: [{device, kind,\n"
    "precision, engine, accepted, is_short, simulated, score, reason, memory_bytes_needed,\n"
    "memory_bytes_usable, method}], warning}. model: a name, file or folder ('': any model);\n"
    "snapshot: as hardware() answers; preferences: as for get_model(). Loads nothing.";

static PyObject *place(PyObject *self, PyObject *args, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"model", "snapshot", "preferences", NULL};
    PyObject *snapshot = NULL;
    PyObject *wishes = NULL;
    PyObject *snapshot_json = NULL;
    PyObject *wishes_json = NULL;
    PyObject *result = NULL;
    struct placing placing = {0};
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    if (!parse(args, keywords, "sO|O", names, &placing.name, &snapshot, &wishes)) {
        return NULL;
    }
    bool is_wished = wishes && wishes != Py_None;
    snapshot_json = rp_python_to_json(snapshot);
    wishes_json = snapshot_json && is_wished ? rp_python_to_json(wishes) : NULL;
    if (!snapshot_json || (is_wished && !wishes_json)) goto done;
    placing.snapshot_text = PyUnicode_AsUTF8AndSize(snapshot_json, &placing.snapshot_length);
    if (is_wished) {
        placing.wishes_text = PyUnicode_AsUTF8AndSize(wishes_json, &placing.wishes_length);
    }
    if (!placing.snapshot_text || (is_wished && !placing.wishes_text)) goto done;
    Py_BEGIN_ALLOW_THREADS;
    status = place_now(&placing, &err);
    Py_END_ALLOW_THREADS;
    result = status == RP_OK ? plan_dict(placing.plan, placing.warning) : rp_python_raise(&err);
done:
    rp_plan_destroy(placing.plan);
    rp_preferences_destroy(placing.wishes);
    rp_snapshot_release(placing.snapshot);
    Py_XDECREF(snapshot_json);
    Py_XDECREF(wishes_json);
    return result;
}

/* ---- tables ----------------------------------------------------------------------------- */

static PyObject *kinds_tuple(void) {
    PyObject *list = PyList_New(0);
    const char *name = "";
    for (int i = 0; list && (name = rp_device_kind_name((rp_device_kind)i)) != NULL; i++) {
        if (append(list, text_or_none(name)) < 0) Py_CLEAR(list);
    }
    PyObject *tuple = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

/* The subfamilies of a family; those of any family are under "unknown". */
static PyObject *subfamilies_tuple(rp_family family) {
    PyObject *list = PyList_New(0);
    const char *name = "";
    for (int i = 1; list && (name = rp_subfamily_name((rp_subfamily)i)) != NULL; i++) {
        if (rp_subfamily_family((rp_subfamily)i) != family) continue;
        if (append(list, text_or_none(name)) < 0) Py_CLEAR(list);
    }
    PyObject *tuple = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

static PyObject *families_dict(void) {
    PyObject *dict = PyDict_New();
    const char *name = "";
    for (int i = 0; dict && (name = rp_family_name((rp_family)i)) != NULL; i++) {
        if (put(dict, name, subfamilies_tuple((rp_family)i)) < 0) Py_CLEAR(dict);
    }
    return dict;
}

static PyMethodDef functions[] = {
    {"_classify", (PyCFunction)(void (*)(void))classify, METH_VARARGS | METH_KEYWORDS,
     classify_doc},
    {"_facts", (PyCFunction)(void (*)(void))facts, METH_VARARGS | METH_KEYWORDS, facts_doc},
    {"_record", (PyCFunction)(void (*)(void))record, METH_VARARGS | METH_KEYWORDS, record_doc},
    {"_memory_need", (PyCFunction)(void (*)(void))memory_need, METH_VARARGS | METH_KEYWORDS,
     memory_need_doc},
    {"_hardware", (PyCFunction)(void (*)(void))hardware, METH_VARARGS | METH_KEYWORDS,
     hardware_doc},
    {"_level", level, METH_VARARGS, level_doc},
    {"_place", (PyCFunction)(void (*)(void))place, METH_VARARGS | METH_KEYWORDS, place_doc},
    {NULL, NULL, 0, NULL},
};

int rp_python_add_modules(PyObject *module) {
    PyObject *kinds = kinds_tuple();
    PyObject *families = kinds ? families_dict() : NULL;
    int rc = families ? PyModule_AddFunctions(module, functions) : -1;
    if (rc == 0) rc = PyModule_AddObjectRef(module, "_KINDS", kinds);
    if (rc == 0) rc = PyModule_AddObjectRef(module, "_FAMILIES", families);
    Py_XDECREF(kinds);
    Py_XDECREF(families);
    return rc;
}
