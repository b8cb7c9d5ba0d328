/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Measurements of this library that need its inside: the hash table that a hit is compared with.
 */
#ifndef RESOURCEPOOL_BENCH_H
#define RESOURCEPOOL_BENCH_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

/** One figure, measured several times, beside a baseline that was measured in turn with it. */
typedef struct rp_measure {
    const char *name; /* static storage                                               */
    const char *unit; /* static storage: "ns", "ms", "x"                              */
    double min;
    double median;
    double max;
    double baseline; /* median of the baseline, in the same unit                     */
    double ratio;    /* median of the ratios, round by round                         */
} rp_measure;

enum {
    RP_BENCH_HIT_ROWS = 8,
    RP_BENCH_EVICTION_ROWS = 47,
    RP_BENCH_ROOM_ROWS = 9,
    RP_BENCH_HARDWARE_ROWS = 3,
    RP_BENCH_CLASSIFY_ROWS = 4,
    RP_BENCH_DIAGNOSE_ROWS = 2,
    RP_BENCH_MACHINE_ROWS = 5,
    RP_BENCH_SEGMENT_ROWS = 5,
    RP_BENCH_LARGE_ROWS = 6,
    RP_BENCH_BROKER_ROWS = 7,
};

RP_BEGIN_DECLS

/**
 * Measure a hit: find a loaded entry, lease it, give the lease back.
 *
 * The baseline is a look-up in the same hash table with the same keys, hash and comparison, which
 * takes a reference, stamps, counts and gives the reference back with plain stores and no
 * synchronisation at all; with two threads each has a table of its own, so that it scales as well
 * as the machine does. One hot key, and 64 keys in pseudo-random order. The rows named "rise" say
 * how much the hits per second of all threads grow from one thread to two.
 *
 * rows    RP_BENCH_HIT_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99
 * Takes about a quarter of a second a round, on two threads.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_hit(rp_measure *rows, size_t rounds, rp_error *err);

/**
 * Replay made-up traces with our eviction policy and with LRU, GDSF, S3-FIFO and random victims:
 * seconds of loading that each costs. The baseline of a row is a lower bound that no policy can
 * pass, even one that knows the future. The rows "to best of the others" have the ratio of ours to
 * the best of those four, seed by seed: their max is the worst trace of the kind.
 *
 * rows        RP_BENCH_EVICTION_ROWS of them, filled in; the caller's
 * first_seed  of the traces: 1 to 9 were used to tune the policy, 101 and on were not
 * seeds       how many, 1 to 9; min, median and max are over them
 */
RP_API RP_MUST_CHECK rp_status rp_bench_eviction(rp_measure *rows, uint64_t first_seed,
                                                 size_t seeds, rp_error *err);

/**
 * Measure what room costs: loads a second that evict others, with the history on disk; hits among
 * 100,000 entries beside hits among 100; allocations on a hit; bytes of bookkeeping of an entry;
 * snapshots of 10,000 entries; events; looks at memory pressure. Baselines are what is promised.
 *
 * rows  RP_BENCH_ROOM_ROWS of them, filled in; the caller's
 * Takes some ten seconds. Writes below /tmp and removes it again.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_room(rp_measure *rows, rp_error *err);

/**
 * Measure what looking at the machine costs: the fast tier of a detection; a share of the
 * snapshot of the process; what slow runtimes said, from the cache file. Baselines are what is
 * promised.
 *
 * rows    RP_BENCH_HARDWARE_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99
 * Writes below /tmp and removes it again. Asks the drivers of this machine.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_hardware(rp_measure *rows, size_t rounds, rp_error *err);

/**
 * Measure what it costs to tell a model's family by its name and by its class, its size by its
 * name, and the memory that it needs. The baseline is the promise for a name: 1 us.
 *
 * rows    RP_BENCH_CLASSIFY_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99
 */
RP_API RP_MUST_CHECK rp_status rp_bench_classify(rp_measure *rows, size_t rounds, rp_error *err);

/**
 * Measure what it costs to read a short error text, and a log. The baseline compares each line with
 * every pattern in turn.
 *
 * rows    RP_BENCH_DIAGNOSE_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99
 */
RP_API RP_MUST_CHECK rp_status rp_bench_diagnose(rp_measure *rows, size_t rounds, rp_error *err);

/**
 * Measure a placement: a model in three precisions on a made-up machine with eight GPUs. The
 * baseline is what is promised.
 *
 * row     one, filled in; the caller's
 * rounds  how often the figure is taken, 3 to 99
 */
RP_API RP_MUST_CHECK rp_status rp_bench_placement(rp_measure *row, size_t rounds, rp_error *err);

/**
 * Measure what a run through a worker process costs beside what it cannot do without: the same run
 * in this process; a bare futex ping-pong between two processes; the four copies that data makes.
 * The model is a simulated one that doubles its inputs.
 *
 * rows     RP_BENCH_MACHINE_ROWS of them, filled in; the caller's
 * program  the path of rpool, which the worker runs
 * rounds   how often each figure is taken, 3 to 99
 */
RP_API RP_MUST_CHECK rp_status rp_bench_machine(rp_measure *rows, const char *program,
                                                size_t rounds, rp_error *err);

/**
 * Measure what sharing bytes costs: to publish an object of 417 MiB, beside one write of the same
 * bytes into fresh memory of that kind; to attach it. Each by itself, and through a broker that is
 * started for it and ended. And what memory four processes take that have it attached and read.
 *
 * rows    RP_BENCH_SEGMENT_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99
 * RP_ERR_MEMORY: it takes 834 MiB at a time. About a second a round. Writes below /tmp and removes
 * it again.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_segment(rp_measure *rows, size_t rounds, rp_error *err);

/**
 * Measure what sharing a large model is worth: the memory of four processes that hold it, plainly
 * and shared, beside one that holds it; what attaching to it costs; what a run through a worker
 * takes longer than one in the process, the two in turn. Through a broker that is started for it
 * and ended.
 *
 * rows    RP_BENCH_LARGE_ROWS of them, filled in; the caller's
 * path    of a model, borrowed; NULL: one of 108.5 M parameters is written for it and removed
 * rounds  how often times are taken, 3 to 99; memory is looked at three times
 * Forks, so no engine may be loaded in this process. Writes below /var/tmp and /tmp.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_large(rp_measure *rows, const char *path, size_t rounds,
                                              rp_error *err);

/**
 * Measure the broker: a lease of a loaded model beside an echo over a bare socket of the same kind;
 * leases a second of eight clients; memory and idle time with a thousand clients that hold a lease
 * each, and how long a lease takes among them. Baselines are what is promised, unless they say
 * otherwise.
 *
 * rows    RP_BENCH_BROKER_ROWS of them, filled in; the caller's
 * rounds  how often each figure is taken, 3 to 99; with a thousand clients at most five times
 * Raises this process's limit of descriptors. Writes below /tmp and removes it again.
 */
RP_API RP_MUST_CHECK rp_status rp_bench_broker(rp_measure *rows, size_t rounds, rp_error *err);

RP_END_DECLS

#endif
