/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preferences as Python has them: a dict, which is read by way of JSON.
 *
 * That takes some microseconds, and a loop gives the same preferences with each request. So the
 * latest ones are kept beside a copy of the words that they were read from: whoever asks in the
 * same words gets what was read then. The caller's dict is not remembered by its address, since it
 * may be changed or gone by the next call; its words are compared one by one. Only words whose
 * comparison runs no code of the caller's are kept: str, int, bool and None, and lists, tuples and
 * dicts of them. Keys that are not known are warned of each time, so those are read each time too.
 */
#include "core.h"

#include <string.h>

enum { WARNING_BYTES = 512, KEPT_COUNT = 8, DEPTH_MAX = 4 };

static struct rp_python_wishes *kept[KEPT_COUNT]; /* each with a share; the first are NULL before */
static size_t oldest;

/* ---- words ------------------------------------------------------------------------------ */

static bool is_same(PyObject *word, PyObject *given);

static bool is_same_list(PyObject *words, PyObject *given) {
    Py_ssize_t count = PyList_Size(words);
    bool is_equal = PyList_Size(given) == count;
    for (Py_ssize_t i = 0; is_equal && i < count; i++) {
        is_equal = is_same(PyList_GetItem(words, i), PyList_GetItem(given, i));
    }
    return is_equal;
}

static bool is_same_tuple(PyObject *words, PyObject *given) {
    Py_ssize_t count = PyTuple_Size(words);
    bool is_equal = PyTuple_Size(given) == count;
    for (Py_ssize_t i = 0; is_equal && i < count; i++) {
        is_equal = is_same(PyTuple_GetItem(words, i), PyTuple_GetItem(given, i));
    }
    return is_equal;
}

/* In the same order: what is in another is read once more, and is no less right. */
static bool is_same_dict(PyObject *words, PyObject *given) {
    PyObject *key[2];
    PyObject *value[2];
    Py_ssize_t at[2] = {0, 0};
    bool is_equal = PyDict_Size(words) == PyDict_Size(given);
    while (is_equal && PyDict_Next(words, &at[0], &key[0], &value[0])) {
        is_equal = PyDict_Next(given, &at[1], &key[1], &value[1]) && is_same(key[0], key[1]) &&
                   is_same(value[0], value[1]);
    }
    return is_equal;
}

/* True is not 1 here: only what is written alike is the same. Runs no code of the caller's. */
static bool is_same(PyObject *word, PyObject *given) {
    if (word == given) return true;
    if (Py_TYPE(word) != Py_TYPE(given)) return false;
    if (PyUnicode_CheckExact(word)) return PyUnicode_Compare(word, given) == 0;
    if (PyLong_CheckExact(word)) return PyObject_RichCompareBool(word, given, Py_EQ) == 1;
    if (PyList_CheckExact(word)) return is_same_list(word, given);
    if (PyTuple_CheckExact(word)) return is_same_tuple(word, given);
    return PyDict_CheckExact(word) && is_same_dict(word, given);
}

static PyObject *copy_of(PyObject *given, int depth);

static PyObject *copy_list(PyObject *given, int depth) {
    PyObject *copy = PyList_New(0);
    for (Py_ssize_t i = 0; copy && i < PyList_Size(given); i++) {
        PyObject *item = copy_of(PyList_GetItem(given, i), depth);
        if (!item || PyList_Append(copy, item) < 0) Py_CLEAR(copy);
        Py_XDECREF(item);
    }
    return copy;
}

static PyObject *copy_tuple(PyObject *given, int depth) {
    PyObject *list = PySequence_List(given);
    PyObject *items = list ? copy_list(list, depth) : NULL;
    PyObject *copy = items ? PyList_AsTuple(items) : NULL;
    Py_XDECREF(items);
    Py_XDECREF(list);
    return copy;
}

static PyObject *copy_dict(PyObject *given, int depth) {
    PyObject *key;
    PyObject *value;
    Py_ssize_t at = 0;
    PyObject *copy = PyDict_New();
    while (copy && PyDict_Next(given, &at, &key, &value)) {
        PyObject *word = PyUnicode_CheckExact(key) ? copy_of(value, depth) : NULL;
        if (!word || PyDict_SetItem(copy, key, word) < 0) Py_CLEAR(copy);
        Py_XDECREF(word);
    }
    return copy;
}

/* NULL, perhaps with an exception: it cannot be kept. */
static PyObject *copy_of(PyObject *given, int depth) {
    bool is_word = given == Py_None || PyUnicode_CheckExact(given) || PyLong_CheckExact(given) ||
                   PyBool_Check(given);
    if (is_word) return Py_NewRef(given);
    if (depth == DEPTH_MAX) return NULL;
    if (PyDict_CheckExact(given)) return copy_dict(given, depth + 1);
    if (PyList_CheckExact(given)) return copy_list(given, depth + 1);
    return PyTuple_CheckExact(given) ? copy_tuple(given, depth + 1) : NULL;
}

/* ---- reading ---------------------------------------------------------------------------- */

static rp_preferences *read_words(PyObject *dict, bool *has_warned) {
    rp_preferences *preferences = NULL;
    rp_error err = RP_ERROR_INIT;
    char warning[WARNING_BYTES] = "";
    Py_ssize_t length = 0;
    if (!PyMapping_Check(dict) || PyUnicode_Check(dict) || PyList_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "hardware_preferences must be a dict, not %R",
                     (PyObject *)Py_TYPE(dict));
        return NULL;
    }
    PyObject *json = rp_python_to_json(dict);
    const char *text = json ? PyUnicode_AsUTF8AndSize(json, &length) : NULL;
    if (text && rp_preferences_parse(text, (size_t)length, &preferences, warning, sizeof warning,
                                     &err) != RP_OK) {
        rp_python_raise(&err);
    }
    Py_XDECREF(json);
    *has_warned = warning[0] != '\0';
    if (preferences && *has_warned) rp_python_log(RP_LOG_WARNING, warning);
    return preferences;
}

rp_preferences *rp_python_preferences(PyObject *dict) {
    bool has_warned = false;
    return read_words(dict, &has_warned);
}

static bool has_own_place(const rp_preferences *preferences) {
    bool has_device = preferences->device && strcmp(preferences->device, "auto") != 0;
    return has_device || preferences->precision;
}

/* Takes the words, if there are any. */
static void keep(struct rp_python_wishes *wishes, PyObject *words) {
    struct rp_python_wishes *before = kept[oldest];
    wishes->words = words;
    wishes->shares++;
    kept[oldest] = wishes;
    oldest = (oldest + 1) % KEPT_COUNT;
    rp_python_wishes_release(before);
}

static struct rp_python_wishes *read_wishes(PyObject *dict) {
    bool has_warned = false;
    struct rp_python_wishes *wishes = PyMem_Calloc(1, sizeof *wishes);
    if (!wishes) {
        PyErr_NoMemory();
        return NULL;
    }
    PyObject *words = PyDict_CheckExact(dict) ? copy_of(dict, 0) : NULL;
    PyErr_Clear();
    wishes->shares = 1;
    wishes->preferences = read_words(dict, &has_warned);
    if (!wishes->preferences || has_warned) Py_CLEAR(words);
    if (!wishes->preferences) {
        PyMem_Free(wishes);
        return NULL;
    }
    wishes->has_own_place = has_own_place(wishes->preferences);
    if (words) keep(wishes, words);
    return wishes;
}

struct rp_python_wishes *rp_python_wishes_acquire(PyObject *dict) {
    bool may_be_kept = PyDict_CheckExact(dict);
    for (size_t i = 0; may_be_kept && i < KEPT_COUNT && kept[i]; i++) {
        if (!is_same_dict(kept[i]->words, dict)) continue;
        kept[i]->shares++;
        return kept[i];
    }
    return read_wishes(dict);
}

void rp_python_wishes_release(struct rp_python_wishes *wishes) {
    if (!wishes || --wishes->shares > 0) return;
    Py_XDECREF(wishes->words);
    rp_preferences_destroy(wishes->preferences);
    PyMem_Free(wishes);
}
