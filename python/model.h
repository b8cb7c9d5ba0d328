/* SPDX-License-Identifier: Apache-2.0 */
/* The type Model: what it is (model.c), and how it is run (run.c). */
#ifndef RESOURCEPOOL_PYTHON_MODEL_H
#define RESOURCEPOOL_PYTHON_MODEL_H

#include "core.h"

struct rp_python_model {
    PyObject_HEAD rp_python_pool *pool; /* a share                                            */
    rp_lease *lease;                    /* NULL once the pool was closed                      */
    rp_model *model;                    /* the lease's                                        */
    bool is_gone;                       /* its worker died: requests do not find it any more  */
    struct rp_python_model *previous;
    struct rp_python_model *next;
    PyObject *weak_references;
};

/** The model while it can be used; NULL raised. */
rp_model *rp_python_model_open(const struct rp_python_model *self);

/** What died in its worker is found no more: the next request gets a fresh one. */
void rp_python_model_forget(struct rp_python_model *self);

/** model(...) and its method run(). */
PyObject *rp_python_model_call(PyObject *object, PyObject *arguments, PyObject *keywords);
PyObject *rp_python_model_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                              PyObject *keywords);

#endif
