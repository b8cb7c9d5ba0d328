/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/placement.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

const char *rp_policy_name(rp_policy policy) {
    return policy == RP_POLICY_REQUIRE ? "require" : "any";
}

static rp_status tell_absent(const rp_snapshot *snapshot, const char *device, rp_error *err) {
    char present[160] = "";
    size_t length = 0;
    size_t count = rp_snapshot_device_count(snapshot);
    for (size_t i = 0; i < count && length < sizeof present; i++) {
        length += (size_t)snprintf(present + length, sizeof present - length, "%s%s", i ? ", " : "",
                                   rp_snapshot_device(snapshot, i)->id);
    }
    rp_fail(err, RP_ERR_ABSENT, "this machine has no device '%s': it has %s", device, present);
    rp_hint(err, "'rpool hardware' shows what is here and what is absent, with the reason");
    return RP_ERR_ABSENT;
}

rp_status rp_placement_choose(const rp_snapshot *snapshot, const char *device,
                              struct rp_placement_choice *choice, rp_error *err) {
    const rp_device *found = rp_snapshot_find_device(snapshot, device ? device : "cpu");
    if (!found && !device && rp_snapshot_device_count(snapshot) > 0) {
        found = rp_snapshot_device(snapshot, 0);
    }
    if (!found || !found->available) return tell_absent(snapshot, device ? device : "cpu", err);
    choice->device = found->id;
    choice->policy = device ? RP_POLICY_REQUIRE : RP_POLICY_ANY;
    snprintf(choice->reason, sizeof choice->reason,
             device ? "'%s' was asked for%s" : "no device was asked for: %s%s", found->id,
             found->simulated ? " (simulated)" : "");
    return RP_OK;
}
