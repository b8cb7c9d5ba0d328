/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claim to be the broker at an address. Whoever holds the lock on broker.lock serves, and only
 * it unlinks and binds the socket; a lock ends with its process, however that ends.
 */
#ifndef RP_MACHINE_CLAIM_H
#define RP_MACHINE_CLAIM_H

#include "machine/address.h"

#include <stdbool.h>
#include <sys/types.h>

struct rp_claim {
    struct rp_address address;
    int lock_fd;      /* -1: none */
    int listening_fd; /* -1: none */
    dev_t device;     /* of the socket's file */
    ino_t inode;
};

/*
 * Take the address and listen there. The folder is prepared, a socket file that nobody answers at
 * is removed.
 * RP_ERR_BUSY: another process holds it (the message has its pid), or something answers there.
 */
RP_MUST_CHECK rp_status rp_claim_take(const struct rp_address *address, struct rp_claim *claim,
                                      rp_error *err);

/* Whether the socket's file is still there, and ours. */
bool rp_claim_is_whole(const struct rp_claim *claim);

/*
 * Listen at the address again after its files, or their folder, were removed. Who is in the queue
 * of the old socket is lost to it. RP_ERR_BUSY: another process has taken the address; as
 * rp_claim_take() otherwise. On failure the claim stays as it is.
 */
RP_MUST_CHECK rp_status rp_claim_renew(struct rp_claim *claim, rp_error *err);

/* Stop listening, remove the socket's file if it is still ours, give the lock back. */
void rp_claim_leave(struct rp_claim *claim);

#endif
