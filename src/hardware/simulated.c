/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/simulated.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/snapshot_json.h"

#include <errno.h>

rp_status rp_simulated_open(const char *path, struct rp_snapshot **out, rp_error *err) {
    char *bytes = NULL;
    size_t length = 0;
    struct rp_snapshot *snapshot = NULL;
    rp_status status = RP_OK;
    int os_errno = rp_text_read_file(path, RP_LIMIT_SNAPSHOT_BYTES, &bytes, &length);
    if (os_errno == EFBIG) {
        status = rp_fail(err, RP_ERR_LIMIT, "'%s': larger than any snapshot (%d bytes)", path,
                         RP_LIMIT_SNAPSHOT_BYTES);
    } else if (os_errno != 0) {
        errno = os_errno;
        status = rp_fail_errno(err, "'%s'", path);
    } else {
        status = rp_snapshot_parse(bytes, length, path, &snapshot, err);
    }
    rp_free(bytes);
    if (status != RP_OK) {
        rp_error_prefix(err, "cannot simulate a machine");
        rp_hint(err, "'rpool hardware --json' writes such a file; to use the machine itself, unset "
                     "RESOURCE_POOL_SIMULATE and give none to simulate");
        return status;
    }
    snapshot->simulated = true;
    /* How long somebody else's detection took is not ours to report. */
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        snapshot->probe_ms[i] = -1;
    }
    for (size_t i = 0; i < snapshot->device_count; i++) {
        snapshot->devices[i]->simulated = true;
    }
    *out = snapshot;
    return RP_OK;
}
