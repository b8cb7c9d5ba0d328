/* SPDX-License-Identifier: Apache-2.0 */
/* A broker that a benchmark starts for itself and ends, and what its processes take. */
#ifndef RP_BENCH_SERVED_H
#define RP_BENCH_SERVED_H

#include <resourcepool/machine.h>
#include <stdint.h>
#include <sys/types.h>

struct rp_bench_served {
    char folder[64];
    rp_machine *machine;
    pid_t pid; /* the broker's */
};

/* On failure too: rp_bench_served_end(). */
rp_status rp_bench_served_start(struct rp_bench_served *served, rp_error *err);
void rp_bench_served_end(struct rp_bench_served *served);

/* What a process has for itself and its part of what it shares (PSS); RP_UNKNOWN_U64. */
uint64_t rp_bench_pss(pid_t pid);

/* The same of all its children together: a broker's workers. */
uint64_t rp_bench_pss_of_children(pid_t pid);

/* All that it has in memory, shared or not. */
uint64_t rp_bench_resident(pid_t pid);

/* Processor time of all its threads so far; RP_UNKNOWN_U64. */
uint64_t rp_bench_processor_ns(pid_t pid);

#endif
