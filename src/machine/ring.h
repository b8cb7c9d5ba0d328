/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference through shared memory: one ring for each client and model, a sealed memfd that the
 * client and the worker both map. Its layout is a wire format:
 *
 *     0         struct rp_ring_head (one page)
 *     4096      slot 0: struct rp_ring_slot (128 bytes, padded to 256), then its area
 *     ...       slot 1, ...; each takes slot_bytes, a whole number of pages
 *
 * An area holds a request or the answer to it: struct rp_ring_table, that many struct
 * rp_ring_tensor, then their bytes, each at an offset from the start of the area that is a multiple
 * of 64. The answer overwrites the request, whose inputs the worker has copied by then; a failed
 * one is a table of no tensors followed by the rp_error.
 *
 * Order of writes: the area, then `request` (or `response`), then a futex wake if the other side
 * says that it sleeps. A side that dies half-way has published nothing.
 *
 * Neither side believes the other. The size is sealed, so that no access can be made to fault;
 * geometry is read once when the ring is mapped; a table is copied to private memory, and only
 * the copy is checked and used.
 */
#ifndef RP_MACHINE_RING_H
#define RP_MACHINE_RING_H

#include "engine/engine.h"

#include <stdatomic.h>
#include <stddef.h>

enum {
    RP_RING_MAGIC = 0x47525052, /* "RPRG" */
    RP_RING_VERSION = 1,
    RP_RING_SLOTS = 4, /* requests in flight of one client; more of its threads wait for a slot */
    RP_RING_HEAD_BYTES = 4096,
    RP_RING_SLOT_HEAD_BYTES = 256,
    RP_RING_ALIGNMENT = 64, /* of tensors: what vector units like, and a cache line */
};

/* Written by whoever makes the ring; `gone` and `story` by the broker, once, when the worker died.
 */
struct rp_ring_head {
    uint32_t magic;
    uint32_t version;
    uint64_t bytes; /* of the whole ring */
    uint64_t slot_bytes;
    uint32_t slot_count;
    _Atomic uint32_t gone; /* not 0: the worker is no more, and `story` is whole */
    rp_error story;
};

struct rp_ring_slot {
    /* The client's line. */
    _Atomic uint32_t request; /* changes when a request is there: a futex of the worker's */
    _Atomic uint32_t client_sleeps;
    _Atomic uint32_t cancelled; /* the number of a request whose answer nobody wants */
    uint32_t unused0;
    _Atomic uint64_t timeout_ns; /* of this request, from when it is seen; UINT64_MAX: none */
    uint8_t unused1[40];
    /* The worker's line. */
    _Atomic uint32_t response; /* becomes `request` with the answer: a futex of the client's */
    _Atomic uint32_t worker_sleeps;
    uint8_t unused2[56];
};

struct rp_ring_table {
    uint32_t status; /* an rp_status; RP_OK in a request */
    uint32_t count;
};

struct rp_ring_tensor {
    uint64_t offset;
    uint64_t bytes;
    uint8_t code, bits;
    uint16_t lanes;
    int32_t ndim;
    int64_t shape[32]; /* the first ndim of them */
};

_Static_assert(sizeof(struct rp_ring_head) == 544, "layout of version 1");
_Static_assert(offsetof(struct rp_ring_head, slot_bytes) == 16, "layout of version 1");
_Static_assert(offsetof(struct rp_ring_head, gone) == 28, "layout of version 1");
_Static_assert(offsetof(struct rp_ring_head, story) == 32, "layout of version 1");
_Static_assert(sizeof(struct rp_ring_slot) == 128, "layout of version 1");
_Static_assert(offsetof(struct rp_ring_slot, timeout_ns) == 16, "layout of version 1");
_Static_assert(offsetof(struct rp_ring_slot, response) == 64, "one cache line for each side");
_Static_assert(sizeof(struct rp_ring_table) == 8, "layout of version 1");
_Static_assert(sizeof(struct rp_ring_tensor) == 280, "layout of version 1");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "shared by processes");

/* A ring as one side sees it; the numbers are its own copies. */
struct rp_ring {
    unsigned char *base; /* NULL: not mapped */
    uint64_t bytes;
    uint64_t slot_bytes;
    uint32_t slot_count;
};

/*
 * How large a slot must be for a model: exact when all sizes are fixed, otherwise room enough for
 * most (RP_RING_OPEN_BYTES; memory is taken when it is written, not before). RP_ERR_LIMIT names
 * both numbers when one run needs more than RP_LIMIT_RING_SLOT_BYTES.
 */
enum { RP_RING_OPEN_BYTES = 64 << 20 };
rp_status rp_ring_measure(const struct rp_engine_ports *inputs,
                          const struct rp_engine_ports *outputs, uint64_t *slot_bytes,
                          rp_error *err);

/* A new ring: a memfd, close-on-exec, sealed against changes of its size. */
rp_status rp_ring_create(uint64_t slot_bytes, uint32_t slot_count, int *fd, rp_error *err);

/*
 * Map a ring that came from elsewhere; the descriptor stays the caller's. RP_ERR_DATA unless it is
 * a memfd whose size is sealed and whose head is sound.
 */
rp_status rp_ring_map(int fd, struct rp_ring *ring, rp_error *err);
void rp_ring_unmap(struct rp_ring *ring);

struct rp_ring_head *rp_ring_head(const struct rp_ring *ring);
struct rp_ring_slot *rp_ring_slot(const struct rp_ring *ring, uint32_t index);
unsigned char *rp_ring_area(const struct rp_ring *ring, uint32_t index);
uint64_t rp_ring_area_bytes(const struct rp_ring *ring);

/* Give back the memory of an area that nobody uses now; it reads as zeros afterwards. */
void rp_ring_trim(const struct rp_ring *ring, uint32_t index);

/* ---- what an area holds ---- */

/*
 * Put tensors in ordinary memory, compact, into an area. RP_ERR_LIMIT says how much they need and
 * how much there is; RP_ERR_UNSUPPORTED for tensors elsewhere.
 */
rp_status rp_ring_write(unsigned char *area, uint64_t area_bytes, const rp_tensor *tensors,
                        size_t count, rp_error *err);

/* Put a failure into an area. */
void rp_ring_write_error(unsigned char *area, const rp_error *story);

/*
 * Read an area that somebody else may be writing to: copy the table of exactly `count` tensors into
 * `table`, check the copy, and say how many bytes the data takes, each tensor rounded up to
 * RP_RING_ALIGNMENT. RP_ERR_DATA for a table that cannot be, or the failure that it tells.
 */
rp_status rp_ring_read_table(const unsigned char *area, uint64_t area_bytes, size_t count,
                             struct rp_ring_tensor *table, uint64_t *data_bytes, rp_error *err);

/* Copy the data of a checked table to private memory, and describe it; shapes lie in `table`. */
void rp_ring_read_data(const unsigned char *area, struct rp_ring_tensor *table, size_t count,
                       unsigned char *data, rp_tensor *tensors);

/* ---- waiting ---- */

/* What one waiter has learnt about spinning; zeroed at first, used by one thread at a time. */
struct rp_ring_spin {
    uint32_t skip;   /* waits to come that do not spin */
    uint32_t streak; /* spins in vain in a row */
};

/*
 * Wait until *word is not `seen`, for at most `wait_ns`; true when it is not. Spins a little first
 * when that lately paid; `sleeps` tells the other side that a wake is needed. May return early.
 */
bool rp_ring_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t seen,
                  struct rp_ring_spin *spin, int64_t wait_ns);

/* Set a word that the other side waits on, after all that it is to see. */
void rp_ring_post(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t value);

/* Wake whoever sleeps on a word, changed or not. */
void rp_ring_wake(_Atomic uint32_t *word);

/* The broker's last word in a ring whose worker died: wakes all that wait there. Only the first
 * counts, which its client may be reading. */
void rp_ring_tell_story(const struct rp_ring *ring, const rp_error *story);

/* Whether the worker of this ring died, and how; `story` is fit to be shown. */
bool rp_ring_is_gone(const struct rp_ring *ring, rp_error *story);

/* An error that came from another process: only a status of ours, only text. */
void rp_ring_clean_error(rp_error *story);

#endif
