/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's host for models: each in a worker. What the pool holds is an rp_model whose close()
 * takes it out of its worker; it is run through rings, never from here.
 *
 * Which models share a process: those whose file takes less than an engine does by itself (16 MiB),
 * at most 32 in one process, of the same engine, device and memory group, none of which has crashed
 * lately. All others have a process of their own.
 */
#ifndef RP_MACHINE_WORKER_HOST_H
#define RP_MACHINE_WORKER_HOST_H

#include "machine/broker.h"
#include "machine/worker.h"

struct rp_worker_host;

/*
 * `program` is rpool's path, kept: it outlives the host. limit_bytes: what one worker may have, for
 * its memory cgroup; 0: no limit.
 */
RP_MUST_CHECK rp_status rp_worker_host_open(const char *program, uint64_t limit_bytes,
                                            struct rp_worker_host **host, rp_error *err);

/* Once all of its models are closed. Accepts NULL. */
void rp_worker_host_close(struct rp_worker_host *host);

/* What the broker calls. */
struct rp_broker_host rp_worker_host_calls(struct rp_worker_host *host);

/* The worker behind a model that this host opened. */
struct rp_worker *rp_worker_of(const rp_model *model);

#endif
