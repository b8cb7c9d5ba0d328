/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of KFD's nodes and libdrm's table of names: files that others wrote. */
#include "hardware/rocm.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[1024];
    if (size >= sizeof text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    struct rp_span rest = {text, size};
    struct rp_span line;
    struct rp_span name;
    while (rp_span_next_line(&rest, &line)) {
        if (!rp_rocm_parse_name(line, 0x744c, 0xc8, &name)) continue;
        FUZZ_ASSERT(name.length > 0 && name.at >= line.at);
        FUZZ_ASSERT(name.at + name.length <= line.at + line.length);
    }
    char address[RP_ROCM_ADDRESS_BYTES];
    char target[RP_ROCM_TARGET_BYTES];
    rp_rocm_format_address(text, address);
    FUZZ_ASSERT(strlen(address) == strlen("0000:00:00.0"));
    if (rp_rocm_format_target(text, target)) FUZZ_ASSERT(strncmp(target, "gfx", 3) == 0);
    return 0;
}
