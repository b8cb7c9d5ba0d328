/* SPDX-License-Identifier: Apache-2.0 */
/* What a launcher asks of a fork server: any process of this user may have written it. */
#include "target.h"
#include "wire.h"

#include <string.h>

static size_t count_of(const char *const *texts, const char *end) {
    size_t count = 0;
    for (; texts[count]; count++)
        FUZZ_ASSERT(texts[count] + strlen(texts[count]) < end);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fs_request request = {0};
    const char *end = (const char *)data + size;
    const char *wrong = fs_request_read(data, size, &request);
    if (wrong) {
        FUZZ_ASSERT(wrong[0] != '\0');
        return 0;
    }
    const struct fs_request_head *head = request.head;
    FUZZ_ASSERT(count_of(request.argv, end) == head->argv_count && head->argv_count > 0);
    FUZZ_ASSERT(count_of(request.original, end) == head->original_count);
    FUZZ_ASSERT(count_of(request.environment, end) == head->environment_count);
    FUZZ_ASSERT(request.target + strlen(request.target) < end);
    for (uint32_t i = 0; i < head->passed_count; i++) {
        FUZZ_ASSERT(request.passed[i] >= 0 && request.passed[i] < INT32_MAX);
        FUZZ_ASSERT(i == 0 || request.passed[i] > request.passed[i - 1]);
    }
    free(request.argv);
    return 0;
}
