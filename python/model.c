/* SPDX-License-Identifier: Apache-2.0 */
/* Models that an engine loaded. */
#include "core.h"

int rp_python_add_model(PyObject *module) {
    (void)module;
    return 0;
}

PyObject *rp_python_model_take(rp_python_pool *pool, rp_lease *lease) {
    rp_error err = RP_ERROR_INIT;
    (void)pool;
    rp_fail(&err, RP_ERR_UNSUPPORTED, "'%s' is a model's file: give a constructor",
            rp_lease_key(lease));
    rp_lease_release(lease, NULL);
    return rp_python_raise(&err);
}
