/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hit costs beside the least that a look-up can cost.
 *
 * Rounds alternate between ours and the baselines, so that a change of the machine's speed meets
 * all of them, and a ratio is taken within its round.
 */
#include <resourcepool/bench.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/table.h"
#include "bench/summary.h"
#include "pool/key.h"

#include <pthread.h>
#include <resourcepool/pool.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 64, NAME_BYTES = 64, OPERATIONS = 400000, THREADS_MAX = 2 };

/* An entry of the baseline: what a plain cache would keep. */
struct bare_entry {
    struct rp_key *key;
    uint64_t references;
    uint64_t hits;
    uint64_t last;
};

struct bare_cache {
    struct rp_table table;
    struct bare_entry entries[KEYS];
    pthread_mutex_t mutex;
};

enum way { BARE, LOCKED, POOLED, WAYS };

struct bench {
    rp_pool *pool;
    struct bare_cache caches[THREADS_MAX];
    char names[KEYS][NAME_BYTES];
    pthread_barrier_t start;
};

struct runner {
    alignas(128) struct bench *bench; /* two threads write to neighbours of one array */
    struct bare_cache *cache;
    enum way way;
    bool is_spread;
    rp_request request; /* a program that asks often keeps its request */
    double ns_each;
    uint64_t missing; /* look-ups that failed: must stay 0 */
};

static volatile uint64_t tick; /* the baseline's clock: a word in memory, the cheapest there is */

static struct bare_entry *bare_acquire(struct bare_cache *cache, const char *name) {
    struct rp_key_parts parts = {.kind = RP_KIND_MODEL, .type = "embedding", .name = name};
    struct rp_table_probe at = rp_table_find(&cache->table, rp_key_hash(&parts));
    for (; at.value; at = rp_table_find_next(&cache->table, at)) {
        struct bare_entry *entry = at.value;
        if (!rp_key_equals(entry->key, &parts)) continue;
        entry->references++;
        entry->hits++;
        entry->last = tick;
        return entry;
    }
    return NULL;
}

/* Not inlined into the loop, where the compiler would merge it with the acquisition. */
static __attribute__((noinline)) struct bare_entry *acquire_bare(struct bare_cache *cache,
                                                                 const char *name) {
    return bare_acquire(cache, name);
}

static __attribute__((noinline)) void release_bare(struct bare_entry *entry) {
    entry->references--;
}

static __attribute__((noinline)) struct bare_entry *acquire_locked(struct bare_cache *cache,
                                                                   const char *name) {
    pthread_mutex_lock(&cache->mutex);
    struct bare_entry *entry = bare_acquire(cache, name);
    pthread_mutex_unlock(&cache->mutex);
    return entry;
}

static __attribute__((noinline)) void release_locked(struct bare_cache *cache,
                                                     struct bare_entry *entry) {
    pthread_mutex_lock(&cache->mutex);
    entry->references--;
    pthread_mutex_unlock(&cache->mutex);
}

static void hit_bare(struct runner *runner, const char *name) {
    struct bare_entry *entry = acquire_bare(runner->cache, name);
    if (entry) {
        release_bare(entry);
    } else {
        runner->missing++;
    }
}

static void hit_locked(struct runner *runner, const char *name) {
    struct bare_entry *entry = acquire_locked(runner->cache, name);
    if (entry) {
        release_locked(runner->cache, entry);
    } else {
        runner->missing++;
    }
}

static void hit_pooled(struct runner *runner, const char *name) {
    runner->request.name = name;
    rp_lease *lease = NULL;
    if (rp_pool_get_model(runner->bench->pool, &runner->request, &lease, NULL) != RP_OK) {
        runner->missing++;
    }
    rp_lease_release(lease, NULL);
}

static void run_loop(struct runner *runner, void (*hit)(struct runner *, const char *), int count) {
    uint32_t random = 1;
    for (int i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        hit(runner, runner->bench->names[runner->is_spread ? (random >> 16) % KEYS : 0]);
    }
}

static void *run(void *argument) {
    static void (*const hits[WAYS])(struct runner *, const char *) = {
        [BARE] = hit_bare, [LOCKED] = hit_locked, [POOLED] = hit_pooled};
    struct runner *runner = argument;
    run_loop(runner, hits[runner->way], OPERATIONS / 20); /* warm */
    pthread_barrier_wait(&runner->bench->start);
    int64_t start_ns = rp_clock_ns();
    run_loop(runner, hits[runner->way], OPERATIONS);
    runner->ns_each = (double)(rp_clock_ns() - start_ns) / OPERATIONS;
    return NULL;
}

/* Nanoseconds of one operation as one of `threads` threads sees it; below 0: it went wrong. */
static double measure(struct bench *bench, enum way way, bool is_spread, unsigned threads) {
    struct runner runners[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    double total = 0;
    pthread_barrier_init(&bench->start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        /* Unsynchronised means a table for each thread; a mutex means one for all. */
        runners[i] = (struct runner){
            .bench = bench,
            .cache = &bench->caches[way == BARE ? i : 0],
            .way = way,
            .is_spread = is_spread,
            .request = RP_REQUEST_INIT,
        };
        runners[i].request.type = "embedding";
        if (pthread_create(&ids[i], NULL, run, &runners[i]) != 0) abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        total += runners[i].missing == 0 ? runners[i].ns_each : -1e12;
    }
    pthread_barrier_destroy(&bench->start);
    return total / threads;
}

static rp_status make_object(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)err;
    *object = user;
    return RP_OK;
}

static rp_status prepare(struct bench *bench, rp_error *err) {
    rp_status status = rp_pool_open(NULL, &bench->pool, err);
    for (int i = 0; i < KEYS && status == RP_OK; i++) {
        snprintf(bench->names[i], NAME_BYTES, "org-%02d/some-model-base-%04d", i % 37, i);
        rp_request request = RP_REQUEST_INIT;
        request.type = "embedding";
        request.name = bench->names[i];
        request.construct = make_object;
        request.user = bench;
        rp_lease *lease = NULL;
        status = rp_pool_get_model(bench->pool, &request, &lease, err);
        rp_lease_release(lease, NULL);
        struct rp_key_parts parts = {
            .kind = RP_KIND_MODEL, .type = "embedding", .name = bench->names[i]};
        for (int t = 0; t < THREADS_MAX && status == RP_OK; t++) {
            struct bare_cache *cache = &bench->caches[t];
            struct bare_entry *entry = &cache->entries[i];
            entry->key = rp_key_create(&parts);
            if (!entry->key || !rp_table_reserve(&cache->table)) {
                status = rp_fail(err, RP_ERR_MEMORY, "no memory for the baseline of the benchmark");
            } else {
                rp_table_insert(&cache->table, entry->key->hash, entry);
            }
        }
    }
    return status;
}

static void clean_up(struct bench *bench) {
    for (int t = 0; t < THREADS_MAX; t++) {
        for (int i = 0; i < KEYS; i++) {
            rp_free(bench->caches[t].entries[i].key);
        }
        rp_table_fini(&bench->caches[t].table);
        pthread_mutex_destroy(&bench->caches[t].mutex);
    }
    rp_pool_close(bench->pool, NULL);
    rp_free(bench);
}

rp_status rp_bench_hit(rp_measure *rows, size_t rounds, rp_error *err) {
    if (rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu rounds: it takes 3 to %d", rounds,
                       RP_BENCH_ROUNDS_MAX);
    }
    struct bench *bench = rp_alloc(sizeof *bench);
    if (!bench) return rp_fail(err, RP_ERR_MEMORY, "no memory for the benchmark");
    for (int t = 0; t < THREADS_MAX; t++) {
        pthread_mutex_init(&bench->caches[t].mutex, NULL);
    }
    rp_status status = prepare(bench, err);
    double ns[WAYS][2][THREADS_MAX + 1][RP_BENCH_ROUNDS_MAX];
    for (size_t round = 0; round < rounds && status == RP_OK; round++) {
        for (int spread = 0; spread < 2; spread++) {
            for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
                for (enum way way = BARE; way < WAYS; way++) {
                    double each = measure(bench, way, spread, threads);
                    ns[way][spread][threads][round] = each;
                    if (each < 0)
                        status = rp_fail(err, RP_ERR_LOAD, "a key of the benchmark was not found");
                }
            }
        }
    }
    if (status == RP_OK) {
        static const char *const names[2][4] = {
            {"hit hot", "hit hot, 2 threads", "hit hot rise", "mutex hot, 2 threads"},
            {"hit spread", "hit spread, 2 threads", "hit spread rise", "mutex spread, 2 threads"},
        };
        for (int spread = 0; spread < 2; spread++) {
            double rises[2][RP_BENCH_ROUNDS_MAX];
            for (size_t i = 0; i < rounds; i++) {
                rises[0][i] = 2 * ns[POOLED][spread][1][i] / ns[POOLED][spread][2][i];
                rises[1][i] = 2 * ns[BARE][spread][1][i] / ns[BARE][spread][2][i];
            }
            rp_measure *row = rows + 4 * (ptrdiff_t)spread;
            for (unsigned threads = 1; threads <= 2; threads++) {
                row[threads - 1] = rp_bench_summarise(names[spread][threads - 1], "ns",
                                                      ns[POOLED][spread][threads],
                                                      ns[BARE][spread][threads], rounds);
            }
            row[2] = rp_bench_summarise(names[spread][2], "x", rises[0], rises[1], rounds);
            row[3] = rp_bench_summarise(names[spread][3], "ns", ns[LOCKED][spread][2],
                                        ns[BARE][spread][2], rounds);
        }
    }
    clean_up(bench);
    return status;
}
