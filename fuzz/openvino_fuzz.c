/* SPDX-License-Identifier: Apache-2.0 */
/* An IR is anybody's. In memory there is no .bin beside it. */
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_model(rp_openvino_read, "openvino", data, size);
    return 0;
}
