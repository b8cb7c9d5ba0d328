/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot while it is built. Whoever holds a `struct rp_snapshot *` is its only holder and may
 * add; once it is handed out as `const rp_snapshot *` nothing changes but the number of shares.
 *
 * All that hangs on a snapshot lives in its own blocks and goes with it: nothing is freed singly.
 */
#ifndef RP_HARDWARE_SNAPSHOT_H
#define RP_HARDWARE_SNAPSHOT_H

#include <resourcepool/hardware.h>
#include <stdatomic.h>

enum {
#define RP_DEVICE_KIND_ONE(constant, number, name) +1
    RP_DEVICE_KIND_COUNT = 0 RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ONE),
#undef RP_DEVICE_KIND_ONE

    /* Grows when the meaning of a key changes, not when keys are added. */
    RP_SNAPSHOT_VERSION = 1,
};

struct rp_block;
struct rp_pci_device;

struct rp_snapshot {
    struct rp_snapshot *self; /* the way from a const handle to the counter */
    _Atomic uint32_t reference_count;
    struct rp_block *blocks;

    uint64_t generation;
    bool simulated;
    bool from_file;   /* read from JSON: there is nothing to look at again                    */
    const char *root; /* what stood for "/": "" on this machine, never with a '/' at its end  */
    int64_t taken_ns; /* when it was, on the monotonic clock */
    double detect_ms; /* negative: not known                                                  */
    double probe_ms[RP_DEVICE_KIND_COUNT];

    rp_device **devices;
    size_t device_count;
    size_t device_capacity;
    rp_absence **absences;
    size_t absent_count;
    size_t absent_capacity;
    const char **notes;
    size_t note_count;
    size_t note_capacity;

    const struct rp_pci_device *pci_devices; /* rp_pci_devices() read it; NULL: not yet */
    size_t pci_count;
};

/* An empty snapshot with one share, generation 1, durations not known; NULL without memory. */
struct rp_snapshot *rp_snapshot_create(void);

/* Zeroed memory that lives as long as the snapshot; NULL without memory. */
void *rp_snapshot_alloc(struct rp_snapshot *snapshot, size_t bytes);

/* A copy of a text, what is not printable made '?'; NULL without memory. */
const char *rp_snapshot_text(struct rp_snapshot *snapshot, const char *bytes, size_t length);

/* A copy that ends with the snapshot of an array of such copies; NULL without memory. */
const char *const *rp_snapshot_texts(struct rp_snapshot *snapshot, const char *const *texts,
                                     size_t count);

/* The device stays the snapshot's: allocate it and its texts with rp_snapshot_alloc(). */
rp_status rp_snapshot_add_device(struct rp_snapshot *snapshot, rp_device *device, rp_error *err);

/* A new device of a kind, all about it unknown, available; not yet added. NULL without memory. */
rp_device *rp_snapshot_new_device(struct rp_snapshot *snapshot, rp_device_kind kind,
                                  const char *id);

/* What only a processor has, all unknown; NULL without memory. */
rp_cpu *rp_snapshot_new_cpu(struct rp_snapshot *snapshot);

/* What only an accelerator has, all unknown; NULL without memory. */
rp_accelerator *rp_snapshot_new_accelerator(struct rp_snapshot *snapshot);

rp_status rp_snapshot_add_absence(struct rp_snapshot *snapshot, rp_device_kind kind,
                                  const char *reason, rp_error *err);

/* The same for any absence; its texts are copied. */
rp_status rp_snapshot_copy_absence(struct rp_snapshot *snapshot, const rp_absence *absence,
                                   rp_error *err);

/* Say what was met and passed over. Beyond RP_LIMIT_SNAPSHOT_NOTES the last note says so. */
rp_status rp_snapshot_add_note(struct rp_snapshot *snapshot, rp_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Copies of all devices, absences and notes of another snapshot, and the times of its kinds. Fails
 * for lack of memory and at the limits of a snapshot.
 */
rp_status rp_snapshot_add_all(struct rp_snapshot *snapshot, const rp_snapshot *from, rp_error *err);

/* A copy of a device of another snapshot with all that hangs on it; NULL without memory. */
rp_device *rp_snapshot_copy_device(struct rp_snapshot *snapshot, const rp_device *device);

/* Durations have whole microseconds: what is written reads back as the same number. */
double rp_snapshot_round_ms(double ms);

/* Whether an id is the name of a kind, alone or followed by ':' and [A-Za-z0-9._-]. */
bool rp_device_id_fits(const char *id, rp_device_kind kind);

rp_status rp_fail_no_memory(rp_error *err);
#ifdef __clang_analyzer__
#define rp_fail_no_memory(err) ((rp_fail_no_memory)(err), RP_ERR_MEMORY)
#endif

#endif
