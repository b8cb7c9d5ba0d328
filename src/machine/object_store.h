/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's store of objects: the registry (object.h) behind the OBJECT_ frames. */
#ifndef RP_MACHINE_OBJECT_STORE_H
#define RP_MACHINE_OBJECT_STORE_H

#include "machine/broker.h"

extern const struct rp_broker_store rp_object_store;

#endif
