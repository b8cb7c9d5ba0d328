/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot file is anybody's: what is read must be written and read again as the same text. */
#include "target.h"

#include <resourcepool/hardware.h>
#include <resourcepool/text.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const rp_snapshot *first = NULL;
    const rp_snapshot *second = NULL;
    char *json = NULL;
    char *again = NULL;
    rp_error err = RP_ERROR_INIT;
    if (rp_snapshot_from_json((const char *)data, size, "input", &first, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return 0;
    }
    FUZZ_ASSERT(rp_snapshot_to_json(first, 0, &json, NULL) == RP_OK);
    FUZZ_ASSERT(rp_snapshot_from_json(json, strlen(json), "output", &second, &err) == RP_OK);
    FUZZ_ASSERT(rp_snapshot_to_json(second, 0, &again, NULL) == RP_OK);
    FUZZ_ASSERT(strcmp(json, again) == 0);
    rp_string_free(json);
    rp_string_free(again);
    rp_snapshot_release(first);
    rp_snapshot_release(second);
    return 0;
}
