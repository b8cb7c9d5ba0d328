/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What room costs: eviction and admission of small entries, hits among many, bookkeeping,
 * snapshots, events and looks at memory pressure. Baselines are what is promised, but for the hits,
 * which are compared with hits among few in the same round.
 */
#include <resourcepool/bench.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "bench/summary.h"
#include "pool/event.h"

#include <malloc.h>
#include <pthread.h>
#include <resourcepool/pool.h>
#include <resourcepool/statistics.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NAME_BYTES = 48,
    FEW = 100,
    MANY = 100000,
    LISTED = 10000,
    HOT = 64,
    HITS = 200000,
    THREADS = 8,
    LOADS_EACH = 2500,
    SMALL_BYTES = 1000,
    RESIDENT = 1000,
    EVENTS = 100000,
    LOOKS = 2000,
    SNAPSHOTS = 4,
    ROUNDS = 5, /* the slow ones are taken fewer times */
};

static rp_status make_object(rp_build *build, void *user, void **object, rp_error *err) {
    (void)err;
    rp_build_set_bytes(build, SMALL_BYTES);
    *object = user;
    return RP_OK;
}

static rp_status open_pool(const char *budget, const char *history, rp_pool **pool, rp_error *err) {
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.budget = budget;
    options.history = history;
    return rp_pool_open(&options, pool, err);
}

static rp_status load_and_leave(rp_pool *pool, const char *name, rp_error *err) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "bench";
    request.name = name;
    request.construct = make_object;
    request.user = pool;
    request.memory_bytes = SMALL_BYTES;
    rp_lease *lease = NULL;
    rp_status status = rp_pool_get_resource(pool, &request, &lease, err);
    rp_lease_release(lease, NULL);
    return status;
}

static void name_entry(char *name, int number) {
    snprintf(name, NAME_BYTES, "org-%02d/some-small-model-%06d", number % 37, number);
}

/* A pool with that many entries, and what the heap grew by for each. */
static rp_status fill(int count, rp_pool **pool, double *bytes_each, rp_error *err) {
    char name[NAME_BYTES];
    rp_status status = open_pool(NULL, "off", pool, err);
    if (status == RP_OK) status = load_and_leave(*pool, "first", err);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < count && status == RP_OK; i++) {
        name_entry(name, i);
        status = load_and_leave(*pool, name, err);
    }
    struct mallinfo2 after = mallinfo2();
    *bytes_each = ((double)after.uordblks + (double)after.hblkhd - (double)before.uordblks -
                   (double)before.hblkhd) /
                  count;
    return status;
}

/* Nanoseconds of a hit on some of the entries, spread over all of them. */
static double time_hits(rp_pool *pool, int count) {
    static char names[HOT][NAME_BYTES];
    rp_request request = RP_REQUEST_INIT;
    request.type = "bench";
    for (int i = 0; i < HOT; i++) {
        name_entry(names[i], (int)((int64_t)i * count / HOT));
    }
    uint32_t random = 1;
    int64_t start_ns = 0;
    for (int i = -HITS / 10; i < HITS; i++) {
        if (i == 0) start_ns = rp_clock_ns();
        random = random * 1664525 + 1013904223;
        request.name = names[(random >> 16) % HOT];
        rp_lease *lease = NULL;
        rp_status status = rp_pool_get_resource(pool, &request, &lease, NULL);
        if (status != RP_OK) return -1;
        rp_lease_release(lease, NULL);
    }
    return (double)(rp_clock_ns() - start_ns) / HITS;
}

/* How many allocations a thousand hits and releases make: 0, or 1 for any. */
static double count_allocations(rp_pool *pool) {
    rp_memory_fail_at(1);
    time_hits(pool, FEW);
    double count = rp_memory_fail_pending() ? 0 : 1;
    rp_memory_fail_at(0);
    return count;
}

struct loader {
    rp_pool *pool;
    int number;
    rp_status status;
};

static void *load_many(void *argument) {
    struct loader *loader = argument;
    char name[NAME_BYTES];
    for (int i = 0; i < LOADS_EACH && loader->status == RP_OK; i++) {
        name_entry(name, loader->number * LOADS_EACH + i);
        loader->status = load_and_leave(loader->pool, name, NULL);
    }
    return NULL;
}

/* Loads a second of 8 threads in a pool that is full, so that each one evicts; below 0: failed. */
static double time_evictions(const char *folder, size_t round) {
    char budget[32];
    char history[96];
    rp_pool *pool = NULL;
    struct loader loaders[THREADS];
    pthread_t threads[THREADS];
    snprintf(budget, sizeof budget, "cpu=%d", RESIDENT * SMALL_BYTES);
    snprintf(history, sizeof history, "%s/history-%zu.sqlite", folder, round);
    if (open_pool(budget, history, &pool, NULL) != RP_OK) return -1;
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < THREADS; i++) {
        loaders[i] = (struct loader){pool, i, RP_OK};
        if (pthread_create(&threads[i], NULL, load_many, &loaders[i]) != 0) abort();
    }
    rp_status status = RP_OK;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (loaders[i].status != RP_OK) status = loaders[i].status;
    }
    double seconds = (double)(rp_clock_ns() - start_ns) / 1e9;
    rp_pool_close(pool, NULL);
    return status == RP_OK ? THREADS * LOADS_EACH / seconds : -1;
}

/*
 * Milliseconds of a snapshot as a struct and as JSON. The first after other work finds cold caches
 * and memory that the kernel has yet to give; `again_ms` is what a program pays that looks often.
 */
static rp_status time_statistics(rp_pool *pool, double *struct_ms, double *again_ms,
                                 double *json_ms, rp_error *err) {
    rp_statistics *statistics = NULL;
    char *json = NULL;
    rp_status status = RP_OK;
    for (int i = 0; i < SNAPSHOTS && status == RP_OK; i++) {
        rp_statistics_destroy(statistics);
        statistics = NULL;
        int64_t start_ns = rp_clock_ns();
        status = rp_pool_statistics(pool, &statistics, err);
        *(i == 0 ? struct_ms : again_ms) = rp_elapsed_ms(start_ns, rp_clock_ns());
    }
    int64_t start_ns = rp_clock_ns();
    if (status == RP_OK) status = rp_statistics_to_json(statistics, 0, &json, err);
    *json_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    rp_string_free(json);
    rp_statistics_destroy(statistics);
    return status;
}

static double time_events(struct rp_event_ring *ring) {
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < EVENTS; i++) {
        rp_event_tell(ring, RP_EVENT_LOAD, "embedding:some/model@cpu", "cpu", 1, 2, 3);
    }
    return (double)(rp_clock_ns() - start_ns) / EVENTS;
}

static rp_status time_pressure(rp_pool *pool, double *us_each, rp_error *err) {
    rp_pressure_info info;
    rp_status status = RP_OK;
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < LOOKS && status == RP_OK; i++) {
        status = rp_pool_check_pressure(pool, &info, err);
    }
    *us_each = (double)(rp_clock_ns() - start_ns) / LOOKS / 1e3;
    return status;
}

/* The folder for the histories that are written on the way, and its end. */
static bool make_folder(char *folder, size_t size) {
    snprintf(folder, size, "/tmp/resourcepool-bench-XXXXXX");
    return mkdtemp(folder) != NULL;
}

static void remove_folder(const char *folder) {
    static const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
            char path[128];
            snprintf(path, sizeof path, "%s/history-%zu.sqlite%s", folder, round, endings[i]);
            unlink(path);
        }
    }
    rmdir(folder);
}

static void repeat(double *values, double value) {
    for (size_t i = 0; i < ROUNDS; i++) {
        values[i] = value;
    }
}

rp_status rp_bench_room(rp_measure *rows, rp_error *err) {
    enum { EVICT, AMONG, ALLOCATIONS, BOOKKEEPING, STRUCT, AGAIN, JSON, EVENT, PRESSURE, FIGURES };
    _Static_assert((int)FIGURES == (int)RP_BENCH_ROOM_ROWS, "a row for each");
    double ours[FIGURES][ROUNDS];
    double base[FIGURES][ROUNDS];
    char folder[64];
    rp_pool *few = NULL;
    rp_pool *listed = NULL;
    rp_pool *many = NULL;
    double bytes_each = 0;
    double ignored = 0;
    if (!make_folder(folder, sizeof folder)) {
        return rp_fail_errno(err, "cannot make a folder for the benchmark under /tmp");
    }
    struct rp_event_ring *ring = rp_alloc(sizeof *ring);
    rp_status status = ring ? RP_OK : rp_fail(err, RP_ERR_MEMORY, "no memory for the benchmark");
    if (status == RP_OK) status = fill(FEW, &few, &ignored, err);
    if (status == RP_OK) status = fill(LISTED, &listed, &bytes_each, err);
    if (status == RP_OK) status = fill(MANY, &many, &ignored, err);
    repeat(base[EVICT], 10000);
    repeat(base[ALLOCATIONS], 1);
    repeat(base[BOOKKEEPING], 512);
    repeat(ours[BOOKKEEPING], bytes_each);
    repeat(base[STRUCT], 1);
    repeat(base[AGAIN], 1);
    repeat(base[JSON], 50);
    repeat(base[EVENT], 100);
    repeat(base[PRESSURE], 100);
    for (size_t i = 0; i < ROUNDS && status == RP_OK; i++) {
        ours[EVICT][i] = time_evictions(folder, i);
        ours[AMONG][i] = time_hits(many, MANY);
        base[AMONG][i] = time_hits(few, FEW);
        ours[ALLOCATIONS][i] = count_allocations(few);
        ours[EVENT][i] = time_events(ring);
        status = time_statistics(listed, &ours[STRUCT][i], &ours[AGAIN][i], &ours[JSON][i], err);
        if (status == RP_OK) status = time_pressure(few, &ours[PRESSURE][i], err);
        if (status == RP_OK && (ours[EVICT][i] < 0 || ours[AMONG][i] < 0 || base[AMONG][i] < 0)) {
            status = rp_fail(err, RP_ERR_LOAD, "a load or a hit of the benchmark failed");
        }
    }
    static const char *const names[FIGURES][2] = {
        [EVICT] = {"evict and admit small, 8 threads, history on", "1/s"},
        [AMONG] = {"hit among 100,000 entries (baseline: 100)", "ns"},
        [ALLOCATIONS] = {"allocations on hit and release", "count"},
        [BOOKKEEPING] = {"bookkeeping of an entry (baseline: 512)", "bytes"},
        [STRUCT] = {"snapshot of 10,000 entries, cold (baseline: 1)", "ms"},
        [AGAIN] = {"the same, taken again (baseline: 1)", "ms"},
        [JSON] = {"the same as JSON (baseline: 50)", "ms"},
        [EVENT] = {"event into the ring (baseline: 100)", "ns"},
        [PRESSURE] = {"check memory pressure (baseline: 100)", "us"},
    };
    for (int i = 0; i < FIGURES && status == RP_OK; i++) {
        rows[i] = rp_bench_summarise(names[i][0], names[i][1], ours[i], base[i], ROUNDS);
    }
    rp_pool_close(few, NULL);
    rp_pool_close(listed, NULL);
    rp_pool_close(many, NULL);
    rp_free(ring);
    remove_folder(folder);
    return status;
}
