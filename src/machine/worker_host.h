/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's host for models: each in a worker of its own. What the pool holds is an rp_model
 * whose close() ends the worker; it is run through rings, never from here.
 */
#ifndef RP_MACHINE_WORKER_HOST_H
#define RP_MACHINE_WORKER_HOST_H

#include "machine/broker.h"
#include "machine/worker.h"

/* `program` is rpool's path, kept: it outlives the host. */
struct rp_broker_host rp_worker_host(const char *program);

/* The worker behind a model that this host opened. */
struct rp_worker *rp_worker_of(const rp_model *model);

#endif
