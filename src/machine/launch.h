/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a broker from a program that wants one: once, however many want it at once. */
#ifndef RP_MACHINE_LAUNCH_H
#define RP_MACHINE_LAUNCH_H

#include "machine/address.h"

/*
 * Start a broker at that address and wait until it serves, unless somebody else did so meanwhile.
 * The program is $RESOURCE_POOL_RPOOL, else this program if it is rpool, else the one in the PATH.
 * RP_ERR_ABSENT: there is none; RP_ERR_TIMEOUT.
 */
RP_MUST_CHECK rp_status rp_launch_broker(const struct rp_address *address, int64_t deadline_ns,
                                         rp_error *err);

/* The absolute path of the program that would be started. RP_ERR_ABSENT. */
enum { RP_PROGRAM_BYTES = 4096 };
RP_MUST_CHECK rp_status rp_launch_find_program(char out[RP_PROGRAM_BYTES], rp_error *err);

#endif
