/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apple's GPUs. They are reached through Metal, which only macOS has; nothing here was ever run on
 * one, so that a build for macOS says that it cannot look rather than that there is none. Machines
 * with such a GPU can be simulated (tests/machines/m3.json).
 */
#include "base/status.h"
#include "hardware/device.h"

#ifdef __APPLE__
#define REASON "this build cannot look for Metal devices: that was never tried"
#else
#define REASON "Metal exists on macOS only, and this is another system"
#endif

static rp_status mps_probe(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    return rp_fail(err, RP_ERR_ABSENT, REASON);
}

const struct rp_device_ops rp_device_mps = {
    .kind = RP_DEVICE_MPS,
    .name = "metal",
    .when = RP_ASK_NEVER,
    .probe = mps_probe,
};
