/* SPDX-License-Identifier: Apache-2.0 */
/* Names and classes of models: any bytes. */
#include "base/memory.h"
#include "target.h"

#include <resourcepool/classify.h>
#include <stdbool.h>
#include <string.h>

static void check(const rp_classification *found) {
    FUZZ_ASSERT(rp_family_name(found->family));
    FUZZ_ASSERT(found->confidence >= 0 && found->confidence <= 1);
    FUZZ_ASSERT(found->source && memchr(found->evidence, '\0', sizeof found->evidence));
    bool is_unknown = found->family == RP_FAMILY_UNKNOWN;
    FUZZ_ASSERT(is_unknown == (rp_subfamily_name(found->subfamily) == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = rp_alloc(size + 1);
    if (!text) return 0;
    if (size > 0) memcpy(text, data, size);
    rp_classification found;
    rp_classify_name(text, &found);
    check(&found);
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    hints.architecture = text;
    rp_classify(&hints, &found);
    check(&found);
    hints.model_type = text;
    hints.architecture = NULL;
    rp_classify(&hints, &found);
    check(&found);
    rp_free(text);
    return 0;
}
