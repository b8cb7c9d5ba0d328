/* SPDX-License-Identifier: Apache-2.0 */
/* A library that says it is an ONNX Runtime too old for us: what the search must recognise. */
#include <onnxruntime_c_api.h>
#include <stddef.h>

static const OrtApi *ORT_API_CALL get_api(uint32_t version) {
    (void)version;
    return NULL;
}

static const char *ORT_API_CALL get_version(void) {
    return "1.10.0";
}

__attribute__((visibility("default"))) const OrtApiBase *OrtGetApiBase(void);

const OrtApiBase *OrtGetApiBase(void) {
    static const OrtApiBase base = {.GetApi = get_api, .GetVersionString = get_version};
    return &base;
}
