/* SPDX-License-Identifier: Apache-2.0 */
/* A saved report as anybody may have edited it: shown, or refused with a reason. */
#include "failure/report.h"
#include "target.h"

#include "base/memory.h"

#include <resourcepool/text.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    char *text = NULL;
    rp_error err = RP_ERROR_INIT;
    int64_t live = rp_memory_live_count();
    int fd = memfd_create("report", MFD_CLOEXEC);
    FUZZ_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (rp_failure_report_show(path, &text, &err) == RP_OK) {
        FUZZ_ASSERT(text && strlen(text) > 0);
        for (const char *at = text; *at; at++) {
            FUZZ_ASSERT(*at == '\n' || (unsigned char)*at >= 0x20);
        }
    } else {
        FUZZ_ASSERT(err.message[0] != '\0' && !text);
    }
    rp_string_free(text);
    close(fd);
    FUZZ_ASSERT(rp_memory_live_count() == live);
    return 0;
}
