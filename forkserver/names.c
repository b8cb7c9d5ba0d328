/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program may hang things on modules that the server loaded: on builtins, on sys, on a library.
 * At its end they go, as a plain interpreter lets go of all modules. To find them without touching
 * the modules themselves, which would copy their pages, the number of their names is remembered
 * here; what is new is at the end of a dict.
 */
#include "inside.h"

#include <stdlib.h>

struct module {
    PyObject *names;
    Py_ssize_t count;
};

static struct module *modules;
static size_t module_count;

void fs_names_remember(void) {
    PyObject *all = PyImport_GetModuleDict(); /* borrowed, as all below */
    PyObject *module;
    Py_ssize_t at = 0;
    struct module *rows = calloc((size_t)PyDict_Size(all) + 1, sizeof *rows);
    free(modules);
    modules = rows;
    module_count = 0;
    while (rows && PyDict_Next(all, &at, NULL, &module)) {
        if (!PyModule_Check(module)) continue;
        PyObject *names = PyModule_GetDict(module);
        Py_INCREF(names); /* a program may take a module out of sys.modules */
        rows[module_count++] = (struct module){names, PyDict_Size(names)};
    }
}

PyObject *fs_names_grown(void) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < module_count; i++) {
        if (PyDict_Size(modules[i].names) <= modules[i].count) continue;
        PyObject *row = Py_BuildValue("(On)", modules[i].names, modules[i].count);
        if (!row || PyList_Append(list, row) != 0) Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}
