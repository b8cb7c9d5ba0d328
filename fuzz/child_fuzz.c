/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a child writes may be anything, once a driver has written over its memory: frames in pieces
 * of any size, then the answer in them. The first byte is the size of the pieces.
 */
#include "hardware/child.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    size_t piece = data[0] ? data[0] : 4096;
    struct rp_inbox inbox = {0};
    struct rp_snapshot *answer = NULL;
    rp_error err = RP_ERROR_INIT;
    for (size_t at = 1; at < size; at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        FUZZ_ASSERT(rp_inbox_feed(&inbox, (const char *)data + at, length, NULL) == RP_OK);
        FUZZ_ASSERT(memchr(inbox.step, '\0', sizeof inbox.step));
        FUZZ_ASSERT(!(inbox.is_complete && inbox.is_damaged));
    }
    if (inbox.is_complete) {
        FUZZ_ASSERT(inbox.used == inbox.length);
        if (rp_child_read_answer(inbox.answer, inbox.used, RP_DEVICE_CUDA, &answer, &err) ==
            RP_OK) {
            FUZZ_ASSERT(answer->device_count + answer->absent_count > 0);
            for (size_t i = 0; i < answer->device_count; i++) {
                FUZZ_ASSERT(answer->devices[i]->kind == RP_DEVICE_CUDA);
            }
            rp_snapshot_release(answer);
        } else {
            FUZZ_ASSERT(err.message[0] != '\0');
        }
    }
    rp_inbox_fini(&inbox);
    return 0;
}
