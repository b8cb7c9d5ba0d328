/* SPDX-License-Identifier: Apache-2.0 */
/* One copy of an object for all processes. */
#include "core.h"

PyObject *rp_python_share(struct rp_python_call *call, rp_build *build, uint64_t *private_bytes,
                          rp_error *err) {
    (void)private_bytes;
    return rp_python_construct(call, build, err);
}
