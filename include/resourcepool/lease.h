/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A lease: a share of an object in a pool. While one is out, the object stays where it is.
 *
 * A lease belongs to whoever acquired it and is given back exactly once, from any thread; the
 * thread that acquired it does so fastest. The pool knows for each one which thread took it. A
 * lease is a ticket: it carries a generation, so that one that was given back is recognised.
 */
#ifndef RESOURCEPOOL_LEASE_H
#define RESOURCEPOOL_LEASE_H

#include <resourcepool/api.h>
#include <resourcepool/placement.h>
#include <resourcepool/status.h>
#include <stdint.h>

typedef struct rp_lease rp_lease;
typedef struct rp_model rp_model;

RP_BEGIN_DECLS

/**
 * Give a lease back. NULL is accepted and does nothing. The last lease of an object that was
 * cleared or evicted meanwhile destroys it here, on this thread.
 *
 * RP_ERR_STATE: it was given back before; nothing happens. (A ticket's generation comes round
 * after 64 leases of the same slot; a double release that late is not seen.)
 * RP_ERR_FORKED: it belongs to the parent of this process; nothing happens.
 */
RP_API rp_status rp_lease_release(rp_lease *lease, rp_error *err);

/** A second lease on the same object, as independent as any. Counts as no request. */
RP_API RP_MUST_CHECK rp_status rp_lease_clone(rp_lease *lease, rp_lease **clone, rp_error *err);

/** What the constructor made. Borrowed while the lease is out; NULL for a stale lease, and for a
 * reservation. */
RP_API void *rp_lease_object(const rp_lease *lease);

/** The model that an engine loaded, for rp_model_run(); NULL if a constructor made the object. */
RP_API rp_model *rp_lease_model(const rp_lease *lease);

/** The instance for people: "embedding:bert-base-uncased@cuda:1/fp16". Borrowed; NULL if stale. */
RP_API const char *rp_lease_key(const rp_lease *lease);

/** Where the object is and why. Borrowed; NULL if stale. */
RP_API const rp_placement *rp_lease_placement(const rp_lease *lease);

/** The bytes that the object takes; RP_UNKNOWN_U64 when nobody said. */
RP_API uint64_t rp_lease_memory_bytes(const rp_lease *lease);

RP_END_DECLS

#endif
