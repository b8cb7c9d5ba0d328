/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF file is anybody's. Bytes of weights inside the file are within its size. */
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_model(rp_gguf_read, "gguf", data, size);
    return 0;
}
