/* SPDX-License-Identifier: Apache-2.0 */
/* The list of what a fork server loads, which people edit. */
#include "launcher.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct preloads first;
    struct preloads again;
    FUZZ_ASSERT(preloads_parse((const char *)data, size, &first));
    FUZZ_ASSERT(first.bytes == 0 || first.text[first.bytes - 1] == '\n');
    for (size_t i = 0; i < first.bytes; i++) {
        /* Whole names, a line each. */
        FUZZ_ASSERT(first.text[i] != '\0' && first.text[i] != '#');
        FUZZ_ASSERT(first.text[i] != '\n' || (i > 0 && first.text[i - 1] != '\n'));
    }
    /* Fewer bytes than this many names of packages and modules can come to. */
    FUZZ_ASSERT(first.bytes <= (size + 2) * (size + 2));
    if (size < 64 && first.bytes > 0 && !memchr(first.text, ':', first.bytes) &&
        !memchr(first.text, ' ', first.bytes) && first.text[0] != '-') {
        FUZZ_ASSERT(preloads_parse(first.text, first.bytes, &again));
        free(again.text);
    }
    free(first.text);
    return 0;
}
