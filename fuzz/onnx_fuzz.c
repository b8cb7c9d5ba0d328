/* SPDX-License-Identifier: Apache-2.0 */
/* An ONNX file is anybody's. In memory there is no folder in which external data could lie. */
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_model(rp_onnx_read, "onnx", data, size);
    return 0;
}
