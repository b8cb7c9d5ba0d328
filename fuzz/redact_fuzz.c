/* SPDX-License-Identifier: Apache-2.0 */
/* Any text, redacted: bounded, and the same when it is done again. */
#include "failure/redact.h"
#include "target.h"

#include "base/memory.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct rp_own_names names;
    if (!names.home[0]) {
        rp_own_names_add(&names, "adalove", "<user>");
        rp_own_names_add(&names, "engine7", "<host>");
        memcpy(names.home, "/srv/adalove", sizeof "/srv/adalove");
    }
    int64_t live = rp_memory_live_count();
    struct rp_text once = RP_TEXT_INIT;
    struct rp_text twice = RP_TEXT_INIT;
    size_t mark = size / 2;
    rp_redact_as((const char *)data, size, &names, &once, &mark);
    FUZZ_ASSERT(!once.failed && once.length <= 4 * size && mark <= once.length);
    rp_redact_as(once.bytes, once.length, &names, &twice, NULL);
    FUZZ_ASSERT(once.length == twice.length);
    FUZZ_ASSERT(once.length == 0 || memcmp(once.bytes, twice.bytes, once.length) == 0);
    rp_text_fini(&once);
    rp_text_fini(&twice);
    FUZZ_ASSERT(rp_memory_live_count() == live);
    return 0;
}
