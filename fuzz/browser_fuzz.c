/* SPDX-License-Identifier: Apache-2.0 */
/* What a browser says about its page comes from another program. */
#include "hardware/browser.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rp_browser_answer answer = {.version = "1"};
    rp_error err = RP_ERROR_INIT;
    if (rp_browser_parse_answer((const char *)data, size, &answer, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        FUZZ_ASSERT(!answer.has_webgpu && !answer.has_webnn);
    }
    FUZZ_ASSERT(strcmp(answer.version, "1") == 0);
    FUZZ_ASSERT(memchr(answer.description, '\0', sizeof answer.description));
    FUZZ_ASSERT(memchr(answer.webnn_precisions, '\0', sizeof answer.webnn_precisions));
    return 0;
}
