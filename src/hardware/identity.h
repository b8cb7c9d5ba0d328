/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What decides which devices a machine has, as fingerprints: while they stay the same, what drivers
 * and runtimes said earlier still holds. They are hashes; nothing can be read from them.
 */
#ifndef RP_HARDWARE_IDENTITY_H
#define RP_HARDWARE_IDENTITY_H

#include "hardware/snapshot.h"

/* 32 hexadecimal digits and a NUL. */
enum { RP_IDENTITY_BYTES = 33 };

/*
 * This machine: its own identity (which survives a restart; its name in the network has no part in
 * it), its kernel, the cards on its PCI bus with the drivers that have them, and the versions of
 * drivers.
 *
 * snapshot  its root stands for "/"
 * RP_ERR_MEMORY is the only failure: what cannot be read counts as not there.
 */
rp_status rp_identity_machine(struct rp_snapshot *snapshot, char out[RP_IDENTITY_BYTES],
                              rp_error *err);

/*
 * What else an answer about one kind hangs on: the environment that hides devices and leads to
 * libraries, the libraries that are installed, and for what a browser says, the browsers.
 *
 * RP_ERR_MEMORY is the only failure.
 */
rp_status rp_identity_conditions(const struct rp_snapshot *snapshot, rp_device_kind kind,
                                 char out[RP_IDENTITY_BYTES], rp_error *err);

#endif
