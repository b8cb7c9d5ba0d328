/* SPDX-License-Identifier: Apache-2.0 */
/* Filling in a device: texts that may be missing, lists of words, a device with its accelerator. */
#ifndef RP_HARDWARE_DESCRIBE_H
#define RP_HARDWARE_DESCRIBE_H

#include "hardware/snapshot.h"

/* A new device that is not the processor, all about it unknown, not yet added. */
rp_status rp_describe_new(struct rp_snapshot *snapshot, rp_device_kind kind, const char *id,
                          rp_device **device, rp_accelerator **accelerator, rp_error *err);

/* Copy a text into a field of the snapshot; NULL and "" leave it as it is. */
rp_status rp_describe_text(struct rp_snapshot *snapshot, const char **field, const char *text,
                           rp_error *err);

/* The same, printed. */
rp_status rp_describe_print(struct rp_snapshot *snapshot, const char **field, rp_error *err,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The words of a text ("fp32 fp16") as the precisions; NULL and "" leave them as they are. */
rp_status rp_describe_precisions(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                                 const char *words, rp_error *err);

/* It cannot be used now, and why. */
rp_status rp_describe_unavailable(struct rp_snapshot *snapshot, rp_device *device,
                                  const char *reason, rp_error *err);

#endif
