/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of the Python package: taken by a module of its own, in an interpreter. */
#ifndef RP_CLI_BENCH_PYTHON_H
#define RP_CLI_BENCH_PYTHON_H

#include <resourcepool/bench.h>
#include <resourcepool/status.h>
#include <stddef.h>

/*
 * Run `python -m resource_pool.bench` and read its rows. What it skips it says on stderr.
 *
 * part      "calls", "sharing", "suite"; NULL: all
 * rounds    0: as many as each figure needs
 * rows      room for rows_max; their texts live as long as the process
 */
RP_MUST_CHECK rp_status bench_python(const char *part, size_t rounds, rp_measure *rows,
                                     size_t rows_max, size_t *count, rp_error *err);

#endif
