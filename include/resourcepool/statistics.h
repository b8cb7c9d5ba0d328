/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a pool holds and how it did: one snapshot in which all figures fit each other.
 */
#ifndef RESOURCEPOOL_STATISTICS_H
#define RESOURCEPOOL_STATISTICS_H

#include <resourcepool/api.h>
#include <resourcepool/failure.h>
#include <resourcepool/hardware.h>
#include <resourcepool/ledger.h>
#include <resourcepool/placement.h>
#include <resourcepool/pool.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** An immutable snapshot, the caller's: rp_statistics_destroy(). */
typedef struct rp_statistics rp_statistics;

/** Which name space an entry lives in. */
typedef enum rp_kind {
    RP_KIND_RESOURCE = 1,
    RP_KIND_MODEL = 2,
    RP_KIND_TOKENIZER = 3,
    RP_KIND_RESERVATION = 4, /* of leases only: rp_pool_reserve() */
} rp_kind;

/** Totals since the pool was opened. requests = hits + misses, always. */
typedef struct rp_totals {
    uint64_t requests;
    uint64_t hits;   /* answered with what was there, or what another caller was loading       */
    uint64_t misses; /* had to load, or waited in vain                                         */
    uint64_t waits;  /* requests that found a load in progress, whatever came of it            */
    uint64_t loads;  /* constructors and engines that were started                             */
    uint64_t load_failures; /* of those, that made nothing */
    uint64_t entry_count; /* objects that are loaded, also those that go with their last lease   */
    uint64_t resource_count;
    uint64_t model_count;
    uint64_t tokenizer_count;
    uint64_t loading_count;
    uint64_t lease_count;
    uint64_t memory_bytes; /* of the objects whose size is known                              */
    uint64_t unknown_memory_count; /* objects whose size nobody said */
    double hit_ratio;              /* hits / requests; 0 before the first request               */
    uint64_t evictions;            /* objects taken out to make room, or by name                */
    uint64_t evicted_bytes;
    uint64_t unloads;     /* objects unmade, for whatever reason                       */
    uint64_t freed_bytes; /* of them, those seen to be back, or never seen to come     */
    uint64_t cleanup_runs;
    uint64_t cleanup_removed;
    uint64_t cleanup_bytes;
    int64_t cleanup_wall_ns; /* the latest clean-up, since 1970, UTC; 0: never            */
    uint64_t room_waits;     /* loads that waited for room                                */
    uint64_t refusals;       /* loads that got none                                       */
    uint64_t retries;        /* loads that were tried again after idle objects were freed */
    uint64_t fallbacks;      /* loads that went on to another device or precision         */
    uint64_t peak_bytes;     /* the most that was charged at once                         */
    bool is_low_memory;
    const char *low_memory_reason; /* "" when it is off; static storage                         */
    rp_pressure_info pressure;     /* how memory stood: the system's and the processors' figures */
    int64_t taken_wall_ns;         /* when this snapshot was taken                              */
    uint64_t failures[RP_CATEGORY_COUNT]; /* of load_failures, by what was wrong: by rp_category */
    uint64_t reserved_count; /* reservations that are out; they are no objects and no requests  */
    uint64_t reserved_bytes; /* of them; not in memory_bytes                                     */
    uint64_t reservations;   /* that were given so far                                          */
} rp_totals;

/** One loaded object. Texts are borrowed from the snapshot. */
typedef struct rp_entry_info {
    const char *key; /* "embedding:bert-base-uncased@cpu"                                */
    rp_kind kind;
    const char *type;
    const char *name; /* "" when it has none                                              */
    rp_placement placement;
    uint64_t requests; /* hits + misses of this object                                     */
    uint64_t hits;
    uint64_t misses;
    uint64_t lease_count;
    uint64_t memory_bytes;     /* RP_UNKNOWN_U64 when nobody said                              */
    const char *memory_method; /* how: "constructor", "engine", "measured"; "together": seen to
                                  come while others loaded, right in sum only; "request", "file":
                                  as estimated before; NULL when nobody said                   */
    double load_ms;
    int64_t created_wall_ns; /* since 1970, UTC                                              */
    double idle_ms;          /* since it was last asked for, on the monotonic clock          */
    int is_draining;         /* cleared: goes with its last lease                            */
    double age_ms;           /* since it was loaded                                          */
    size_t depends_on_count; /* what its constructor took from the pool                      */
    const char *const *depends_on;
    size_t dependent_count; /* whose constructors took it: they go before it                */
    const char *const *dependents;
} rp_entry_info;

/** The leases that one thread holds on one object, or a reservation. */
typedef struct rp_lease_info {
    const char *key;
    int64_t pid;
    int64_t thread_id; /* as in /proc/PID/task                                             */
    uint64_t count;
    double oldest_ms;      /* age of the oldest of them                                        */
    rp_kind kind;          /* what it is on                                                    */
    const char *device;    /* of a reservation: where; else NULL                               */
    uint64_t memory_bytes; /* of a reservation; else RP_UNKNOWN_U64                            */
} rp_lease_info;

RP_BEGIN_DECLS

/** Take a snapshot. Hits on other threads go on meanwhile. */
RP_API RP_MUST_CHECK rp_status rp_pool_statistics(rp_pool *pool, rp_statistics **statistics,
                                                  rp_error *err);

/** Accepts NULL. */
RP_API void rp_statistics_destroy(rp_statistics *statistics);

/** Borrowed from the snapshot. */
RP_API const rp_totals *rp_statistics_totals(const rp_statistics *statistics);

/** Entries, oldest first; NULL when the index is not below the count. */
RP_API size_t rp_statistics_entry_count(const rp_statistics *statistics);
RP_API const rp_entry_info *rp_statistics_entry(const rp_statistics *statistics, size_t index);

/** Who holds leases, one row per thread and object; NULL when the index is not below the count. */
RP_API size_t rp_statistics_lease_count(const rp_statistics *statistics);
RP_API const rp_lease_info *rp_statistics_lease(const rp_statistics *statistics, size_t index);

/** What is held on which device; NULL when the index is not below the count. */
RP_API size_t rp_statistics_device_count(const rp_statistics *statistics);
RP_API const rp_ledger_info *rp_statistics_device(const rp_statistics *statistics, size_t index);

/** The entry of that key, as rp_lease_key() has it; NULL when there is none. */
RP_API const rp_entry_info *rp_statistics_find(const rp_statistics *statistics, const char *key);

/**
 * What the machine has, as detection saw it last: each device with its memory, versions and use.
 * Borrowed; NULL when that cannot be told.
 */
RP_API const rp_snapshot *rp_statistics_hardware(const rp_statistics *statistics);

/**
 * The snapshot as JSON: totals, pressure, devices, entries, leases, hardware. Unknown is null,
 * times are ISO 8601.
 *
 * json  on RP_OK a text of the caller's: rp_string_free().
 */
RP_API RP_MUST_CHECK rp_status rp_statistics_to_json(const rp_statistics *statistics, int indent,
                                                     char **json, rp_error *err);

/** "resource", "model", "tokenizer" or "reservation". Static storage. */
RP_API const char *rp_kind_name(rp_kind kind);

RP_END_DECLS

#endif
