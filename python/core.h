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

/**
 * Raise the exception of a failed call: the class that rp_status_exception() names, with the
 * attributes `status` and `hint`. Always NULL, to be returned.
 */
PyObject *rp_python_raise(const rp_error *err);

/** What a JSON text says, as Python has it. Takes the text: rp_string_free() is done here. */
PyObject *rp_python_from_json_take(char *json);

/** A Python object as JSON, for rp_preferences_parse() and the like: a new str. */
PyObject *rp_python_to_json(PyObject *object);

/** Add the functions behind the modules hardware_detection, ... (modules.c). 0, or -1 raised. */
int rp_python_add_modules(PyObject *module);

#endif
