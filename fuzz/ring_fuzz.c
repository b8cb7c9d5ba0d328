/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The area of a ring is anybody's: a client wrote the request, a worker with a model's code in it
 * the answer. The first byte says how many tensors are expected, the rest is the start of an area.
 */
#include "machine/ring.h"
#include "target.h"

#include <string.h>

enum { AREA_BYTES = 8192, TENSORS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct rp_ring_tensor table[TENSORS_MAX];
    rp_tensor tensors[TENSORS_MAX];
    rp_error err = RP_ERROR_INIT;
    uint64_t bytes = UINT64_MAX;
    if (size < 1) return 0;
    size_t count = data[0] % (TENSORS_MAX + 1);
    size_t used = size - 1 < AREA_BYTES ? size - 1 : AREA_BYTES;
    /* Areas of the exact size, so that a sanitizer sees what lies outside. */
    size_t area_bytes = data[0] & 0x80 ? used : AREA_BYTES;
    unsigned char *area = calloc(1, area_bytes ? area_bytes : 1);
    FUZZ_ASSERT(area != NULL);
    memcpy(area, data + 1, used);
    rp_status status = rp_ring_read_table(area, area_bytes, count, table, &bytes, &err);
    FUZZ_ASSERT(status == err.status);
    if (status != RP_OK) {
        FUZZ_ASSERT(err.message[0] && memchr(err.message, 0, sizeof err.message));
        free(area);
        return 0;
    }
    FUZZ_ASSERT(bytes <= area_bytes);
    unsigned char *copy = malloc(bytes ? bytes : 1);
    unsigned char *again = calloc(1, AREA_BYTES);
    FUZZ_ASSERT(copy && again);
    rp_ring_read_data(area, table, count, copy, tensors);
    /* What was read can be written, unless its table leaves too little room, and reads the same. */
    status = rp_ring_write(again, AREA_BYTES, tensors, count, &err);
    FUZZ_ASSERT(status == RP_OK || status == RP_ERR_LIMIT);
    if (status == RP_OK) {
        static struct rp_ring_tensor table_again[TENSORS_MAX];
        uint64_t bytes_again = 0;
        FUZZ_ASSERT(rp_ring_read_table(again, AREA_BYTES, count, table_again, &bytes_again, &err) ==
                    RP_OK);
        FUZZ_ASSERT(bytes_again == bytes);
        for (size_t i = 0; i < count; i++) {
            FUZZ_ASSERT(table[i].bytes == table_again[i].bytes);
            FUZZ_ASSERT(memcmp(tensors[i].data, again + table_again[i].offset, table[i].bytes) ==
                        0);
        }
    }
    free(area);
    free(copy);
    free(again);
    return 0;
}
