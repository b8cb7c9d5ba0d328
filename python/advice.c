/* SPDX-License-Identifier: Apache-2.0 */
/* What only looks and tells: where a model would go, reports of failures. */
#include "core.h"

#include <string.h>

/* ---- where it would go ------------------------------------------------------------------ */

static int put_bytes(PyObject *dict, const char *key, uint64_t bytes) {
    PyObject *value =
        bytes == RP_UNKNOWN_U64 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
    return rp_python_put(dict, key, value);
}

static PyObject *candidate_dict(const rp_candidate *each) {
    PyObject *dict = PyDict_New();
    if (dict &&
        (rp_python_put(dict, "device", rp_python_text(each->device)) < 0 ||
         rp_python_put(dict, "kind", rp_python_text(rp_device_kind_name(each->kind))) < 0 ||
         rp_python_put(dict, "precision", rp_python_text(each->precision)) < 0 ||
         rp_python_put(dict, "engine", rp_python_text(each->engine)) < 0 ||
         rp_python_put(dict, "accepted", PyBool_FromLong(each->accepted)) < 0 ||
         rp_python_put(dict, "simulated", PyBool_FromLong(each->simulated)) < 0 ||
         rp_python_put(dict, "score", PyFloat_FromDouble(each->accepted ? each->score : 0)) < 0 ||
         rp_python_put(dict, "reason", rp_python_text(each->reason)) < 0 ||
         put_bytes(dict, "memory_bytes_needed", each->memory_bytes_needed) < 0 ||
         put_bytes(dict, "memory_bytes_usable", each->memory_bytes_usable) < 0 ||
         rp_python_put(dict, "method", rp_python_text(each->memory_method)) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *placement_of(const rp_plan *plan, rp_error *err) {
    rp_placement placement;
    if (rp_plan_placement(plan, &placement, err) != RP_OK) return Py_NewRef(Py_None);
    return Py_BuildValue("{szszszszsz}", "device", placement.device, "precision",
                         placement.precision, "engine", placement.engine, "policy",
                         rp_policy_name(placement.policy), "reason", placement.reason);
}

/* Nothing fits: that is an answer, with the reason in place of the placement. */
static PyObject *plan_dict(const rp_plan *plan) {
    rp_error err = RP_ERROR_INIT;
    PyObject *dict = PyDict_New();
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < rp_plan_candidate_count(plan); i++) {
        PyObject *one = candidate_dict(rp_plan_candidate(plan, i));
        if (!one || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    if (dict &&
        (rp_python_put(dict, "placement", placement_of(plan, &err)) < 0 ||
         rp_python_put(dict, "candidates", list) < 0 ||
         rp_python_put(dict, "error", rp_python_text(err.status ? err.message : NULL)) < 0)) {
        Py_CLEAR(dict);
    } else if (!dict) {
        Py_XDECREF(list);
    }
    return dict;
}

/* What is held on each device, for the plan: borrowed texts of the statistics. */
static size_t read_room(const rp_statistics *statistics, rp_room *room, size_t room_max) {
    size_t count = rp_statistics_device_count(statistics);
    if (count > room_max) count = room_max;
    for (size_t i = 0; i < count; i++) {
        const rp_ledger_info *device = rp_statistics_device(statistics, i);
        room[i] = (rp_room){device->device, device->budget_bytes, device->charged_bytes, 0};
        for (size_t j = 0; j < rp_statistics_entry_count(statistics); j++) {
            const rp_entry_info *entry = rp_statistics_entry(statistics, j);
            bool is_idle = entry->lease_count == 0 && entry->memory_bytes != RP_UNKNOWN_U64;
            const char *id = entry->placement.device ? entry->placement.device : "cpu";
            if (is_idle && strcmp(id, device->device) == 0) {
                room[i].idle_bytes += entry->memory_bytes;
            }
        }
    }
    return count;
}

struct place {
    rp_python_pool *pool;
    const char *name;
    rp_family family;
    const rp_preferences *preferences; /* NULL: none */
    rp_plan *plan;                     /* the caller's */
};

/* Needs no GIL: looks at devices and at the model's files. */
static rp_status place(struct place *place, rp_error *err) {
    enum { ROOM_MAX = 64 };
    rp_room room[ROOM_MAX];
    rp_statistics *statistics = NULL;
    const rp_snapshot *snapshot = NULL;
    rp_model_facts facts;
    rp_preferences wishes = RP_PREFERENCES_INIT;
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    if (place->preferences) wishes = *place->preferences;
    if (wishes.family == RP_FAMILY_UNKNOWN) wishes.family = place->family;
    rp_status status = rp_pool_statistics(place->pool->pool, &statistics, err);
    if (status == RP_OK) status = rp_hardware_snapshot(&snapshot, err);
    if (status == RP_OK) {
        if (rp_model_facts_read(place->name, NULL, &facts, NULL) != RP_OK) {
            rp_model_facts_of_name(place->name, NULL, &facts);
        }
        request.snapshot = snapshot;
        request.facts = &facts;
        request.name = place->name;
        request.preferences = &wishes;
        request.room = room;
        request.room_count = read_room(statistics, room, ROOM_MAX);
        request.has_constructor = true;
        status = rp_place(&request, &place->plan, err);
    }
    rp_snapshot_release(snapshot);
    rp_statistics_destroy(statistics);
    return status;
}

static int place_without_gil(struct place *asked) {
    rp_error err = RP_ERROR_INIT;
    rp_status status = RP_OK;
    PyThreadState *thread = rp_python_pool_enter(asked->pool);
    status = place(asked, &err);
    rp_python_pool_leave(asked->pool, thread);
    if (status == RP_OK) return 0;
    rp_python_raise(&err);
    return -1;
}

static const char *const explain_names[] = {"model_type", "model_name", "hardware_preferences",
                                            NULL};
static const struct rp_python_signature explain_signature = {"explain", explain_names, 3, 2};

PyObject *rp_python_explain(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *keywords) {
    rp_python_pool *pool = (rp_python_pool *)self;
    PyObject *values[3];
    if (rp_python_arguments(&explain_signature, arguments, count, keywords, values) < 0 ||
        !rp_python_pool_is_open(pool)) {
        return NULL;
    }
    const char *type = rp_python_utf8(values[0], "model_type");
    const char *name = type ? rp_python_utf8(values[1], "model_name") : NULL;
    rp_preferences *preferences = NULL;
    if (!name) return NULL;
    if (values[2] && values[2] != Py_None) {
        preferences = rp_python_preferences(values[2]);
        if (!preferences) return NULL;
    }
    struct place asked = {pool, name, rp_family_of_name(type), preferences, NULL};
    PyObject *answer = place_without_gil(&asked) == 0 ? plan_dict(asked.plan) : NULL;
    rp_plan_destroy(asked.plan);
    rp_preferences_destroy(preferences);
    return answer;
}

static const char *const recommended_names[] = {"model_type", "model_family", NULL};
static const struct rp_python_signature recommended_signature = {"get_recommended_device",
                                                                 recommended_names, 2, 1};

/* The type may be a family or a model's name: what is neither goes where anything would. */
PyObject *rp_python_get_recommended_device(PyObject *self, PyObject *const *arguments,
                                           Py_ssize_t count, PyObject *keywords) {
    rp_python_pool *pool = (rp_python_pool *)self;
    PyObject *values[2];
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    if (rp_python_arguments(&recommended_signature, arguments, count, keywords, values) < 0 ||
        !rp_python_pool_is_open(pool)) {
        return NULL;
    }
    const char *type = rp_python_utf8(values[0], "model_type");
    const char *family = type;
    if (type && values[1] && values[1] != Py_None)
        family = rp_python_utf8(values[1], "model_family");
    if (!type || !family) return NULL;
    struct place asked = {pool, type, rp_family_of_name(family), NULL, NULL};
    if (place_without_gil(&asked) < 0) return NULL;
    rp_status status = rp_plan_placement(asked.plan, &placement, &err);
    PyObject *device = status == RP_OK ? rp_python_text(placement.device) : rp_python_raise(&err);
    rp_plan_destroy(asked.plan);
    return device;
}

/* ---- reports ---------------------------------------------------------------------------- */

static const char *const report_names[] = {"model_name", "hardware_type", "error_message",
                                           "stack_trace", NULL};
static const struct rp_python_signature report_signature = {"generate_error_report", report_names,
                                                            4, 3};

/* An exception stands for its text: what people have at hand in an except clause. */
static PyObject *text_of_error(PyObject *error) {
    if (PyUnicode_Check(error)) return Py_NewRef(error);
    if (!PyErr_GivenExceptionMatches(error, PyExc_BaseException)) {
        PyErr_Format(PyExc_TypeError, "error_message must be a str or an exception, not %R",
                     (PyObject *)Py_TYPE(error));
        return NULL;
    }
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(error), "__name__");
    PyObject *text = name ? PyUnicode_FromFormat("%U: %S", name, error) : NULL;
    Py_XDECREF(name);
    return text;
}

/* The bytes of a str, whatever is in them: a text from anywhere. */
static int bytes_of(PyObject *text, const char **bytes, size_t *size) {
    Py_ssize_t length = 0;
    *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    *size = (size_t)length;
    return *bytes ? 0 : -1;
}

static PyObject *report(rp_failure_question *question) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    char *text = NULL;
    PyThreadState *thread = PyEval_SaveThread();
    if (rp_hardware_snapshot(&snapshot, NULL) == RP_OK) question->snapshot = snapshot;
    rp_status status = rp_failure_report(question, &text, &err);
    rp_snapshot_release(snapshot);
    PyEval_RestoreThread(thread);
    return status == RP_OK ? rp_python_from_json_take(text) : rp_python_raise(&err);
}

PyObject *rp_python_generate_error_report(PyObject *self, PyObject *const *arguments,
                                          Py_ssize_t count, PyObject *keywords) {
    PyObject *values[4];
    PyObject *error = NULL;
    PyObject *answer = NULL;
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    (void)self;
    if (rp_python_arguments(&report_signature, arguments, count, keywords, values) < 0) return NULL;
    question.model = rp_python_utf8(values[0], "model_name");
    if (!question.model) return NULL;
    question.hardware = rp_python_utf8(values[1], "hardware_type");
    if (!question.hardware) return NULL;
    if (values[3] && values[3] != Py_None) {
        if (!rp_python_utf8(values[3], "stack_trace")) return NULL;
        if (bytes_of(values[3], &question.stack_trace, &question.stack_trace_bytes) < 0)
            return NULL;
    }
    error = text_of_error(values[2]);
    if (error && bytes_of(error, &question.error, &question.error_bytes) == 0) {
        answer = report(&question);
    }
    Py_XDECREF(error);
    return answer;
}

static const char *const save_names[] = {"report", "output_dir", NULL};
static const struct rp_python_signature save_signature = {"save_error_report", save_names, 2, 1};

PyObject *rp_python_save_error_report(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                      PyObject *keywords) {
    PyObject *values[2];
    rp_error err = RP_ERROR_INIT;
    char *path = NULL;
    (void)self;
    if (rp_python_arguments(&save_signature, arguments, count, keywords, values) < 0) return NULL;
    PyObject *json = rp_python_to_json(values[0]);
    const char *text = json ? PyUnicode_AsUTF8AndSize(json, NULL) : NULL;
    PyObject *folder = NULL; /* bytes of what may be a pathlib.Path */
    if (text && values[1]) PyUnicode_FSConverter(values[1], &folder);
    if (!text || (values[1] && !folder)) {
        Py_XDECREF(json);
        return NULL;
    }
    const char *where = folder ? PyBytes_AsString(folder) : "./hardware_reports";
    PyThreadState *thread = PyEval_SaveThread();
    rp_status status = rp_failure_report_save(text, where, &path, &err);
    PyEval_RestoreThread(thread);
    PyObject *answer = status == RP_OK ? PyUnicode_DecodeFSDefault(path) : rp_python_raise(&err);
    rp_string_free(path);
    Py_XDECREF(folder);
    Py_XDECREF(json);
    return answer;
}
