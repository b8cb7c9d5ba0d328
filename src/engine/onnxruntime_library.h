/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and opening the real ONNX Runtime library; nothing links to it. */
#ifndef RP_ENGINE_ONNXRUNTIME_LIBRARY_H
#define RP_ENGINE_ONNXRUNTIME_LIBRARY_H

#include <resourcepool/status.h>

#include <onnxruntime_c_api.h>

/* The oldest C API that is used here: ONNX Runtime 1.21. */
enum { RP_ORT_API_VERSION_MIN = 21 };

struct rp_ort_library {
    const OrtApi *api;
    const char *version;
    char path[4096];
};

/*
 * The library, opened at the first call and kept for the life of the process. RP_ERR_ABSENT: none
 * can be used; the message says where was looked and what was wrong with each, the next call looks
 * again. Any thread.
 */
rp_status rp_ort_library_open(const struct rp_ort_library **library, rp_error *err);

#endif
