/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the broker of this user is: a folder that is this user's alone, and what lies in it.
 *
 *     FOLDER/broker.sock    where it listens
 *     FOLDER/broker.lock    held by the one that serves; never removed
 *     FOLDER/broker.start   held by a client while it starts one
 *     FOLDER/broker.log     stderr of a broker that a client started
 */
#ifndef RP_MACHINE_ADDRESS_H
#define RP_MACHINE_ADDRESS_H

#include <resourcepool/status.h>

/* What fits into sockaddr_un with the longest name behind it. */
enum { RP_ADDRESS_FOLDER_BYTES = 92, RP_ADDRESS_PATH_BYTES = 108 };

struct rp_address {
    char folder[RP_ADDRESS_FOLDER_BYTES];
    char socket[RP_ADDRESS_PATH_BYTES];
    char lock[RP_ADDRESS_PATH_BYTES];
    char start[RP_ADDRESS_PATH_BYTES];
    char log[RP_ADDRESS_PATH_BYTES];
};

/*
 * The address in `folder`, which NULL leaves to the environment: $RESOURCE_POOL_BROKER, else
 * $XDG_RUNTIME_DIR/resourcepool, else /tmp/resourcepool-UID. Looks at no file.
 * RP_ERR_ARGUMENT: not absolute; RP_ERR_LIMIT: too long for a socket.
 */
RP_MUST_CHECK rp_status rp_address_find(const char *folder, struct rp_address *address,
                                        rp_error *err);

/*
 * Make the folder if it is missing, and refuse one that is not a folder of this user's, or that
 * anybody else may enter: RP_ERR_UNSUPPORTED.
 */
RP_MUST_CHECK rp_status rp_address_prepare(const struct rp_address *address, rp_error *err);

/* The same without making anything. RP_ERR_ABSENT: there is no such folder, so no broker. */
RP_MUST_CHECK rp_status rp_address_check(const struct rp_address *address, rp_error *err);

#endif
