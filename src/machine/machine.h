/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the library: what stands behind an rp_machine. */
#ifndef RP_MACHINE_MACHINE_H
#define RP_MACHINE_MACHINE_H

#include "machine/client.h"

#include <resourcepool/machine.h>

struct rp_machine {
    struct rp_client *client; /* a share of the process's connection */
    int64_t timeout_ms;
};

#endif
