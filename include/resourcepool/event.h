/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a pool decided, as it happened: one event for each load, eviction, wait, refusal, retry.
 * (A hit is no event: it is a counter.) The last RP_EVENT_KEPT are kept in a ring.
 */
#ifndef RESOURCEPOOL_EVENT_H
#define RESOURCEPOOL_EVENT_H

#include <resourcepool/api.h>
#include <stdint.h>

/* One row per kind: constant, number, name, what happened. Numbers never change their meaning. */
/* clang-format off */
#define RP_EVENT_MAP(X)                                                                                       \
    X(LOAD,           1, "load",           "an object was loaded: bytes it takes, ms it took")               \
    X(LOAD_FAILED,    2, "load_failed",    "a constructor or an engine made nothing: ms it took")            \
    X(WAIT,           3, "wait",           "a load waits for room: bytes it needs, bytes that are short")    \
    X(ADMIT,          4, "admit",          "a load that had waited for room has it: bytes, ms it waited")    \
    X(REFUSE,         5, "refuse",         "a load was refused for lack of room: bytes it needs, bytes short") \
    X(EVICT,          6, "evict",          "an idle object was taken out to make room: its bytes")           \
    X(CLEANUP,        7, "cleanup",        "an unused object was taken out: its bytes, ms it was idle")      \
    X(UNLOAD,         8, "unload",         "an object was unmade: its bytes, those seen to be back, ms")     \
    X(LOST,           9, "lost",           "bytes of an unmade object were not seen to come back: bytes")    \
    X(RETRY,         10, "retry",          "a load without memory is tried again: bytes that were freed")    \
    X(OTHER_DEVICE,  11, "other_device",   "a load goes on to the next device: bytes it needs")              \
    X(LOWER_PRECISION, 12, "lower_precision", "a load goes on with a lower precision: bytes it needs")       \
    X(DOOMED,        13, "doomed",         "a load that had no memory is not tried again for ms")            \
    X(MOVE,          14, "move",           "an object was made on another device: bytes, ms")                \
    X(PRESSURE,      15, "pressure",       "memory pressure changed: usable bytes, bytes to free; key has the step") \
    X(LOW_MEMORY,    16, "low_memory",     "low-memory mode: bytes 1 on, 0 off; key has the reason")         \
    X(BUDGET,        17, "budget",         "a budget was set: bytes")                                        \
    X(OVER_BUDGET,   18, "over_budget",    "an object turned out larger than expected: bytes, bytes over")   \
    X(CLEAR,         19, "clear",          "the pool was cleared: bytes that were freed")                    \
    X(NOTE,          20, "note",           "something was lived without: key has what")                      \
    X(RESERVE,       21, "reserve",        "room was reserved for what the pool does not load: bytes")       \
    X(GIVE_BACK,     22, "give_back",      "reserved room was given back: bytes")
/* clang-format on */

typedef enum rp_event_kind {
#define RP_EVENT_ENUM(constant, number, name, text) RP_EVENT_##constant = number,
    RP_EVENT_MAP(RP_EVENT_ENUM)
#undef RP_EVENT_ENUM
} rp_event_kind;

/** One event. A figure that its kind does not have is RP_UNKNOWN_U64, a time below 0. */
typedef struct rp_event {
    uint64_t number; /* 1 for the first; grows by one at each                               */
    int64_t at_ns;   /* coarse monotonic clock                                              */
    uint64_t kind;   /* rp_event_kind                                                       */
    uint64_t bytes;
    uint64_t other_bytes;
    double ms;
    char device[16]; /* "" for none; cut when longer                                        */
    char key[96];    /* the object for people, cut when longer                              */
} rp_event;

/** How many are kept. */
enum { RP_EVENT_KEPT = 1024 };

/** Takes one event; borrowed for the call, which happens under no lock. */
typedef void (*rp_event_reader)(const rp_event *event, void *user);

typedef struct rp_pool rp_pool;

RP_BEGIN_DECLS

/** "load", "evict", ...; NULL for a stranger. Static storage. */
RP_API const char *rp_event_name(rp_event_kind kind);

/**
 * Read the events after number *cursor, oldest first, and move the cursor behind the last. Start
 * with 0. Returns how many were lost because they were overwritten before they were read. Any
 * thread; whoever writes events is never held up by it.
 */
RP_API uint64_t rp_pool_read_events(rp_pool *pool, uint64_t *cursor, rp_event_reader reader,
                                    void *user);

RP_END_DECLS

#endif
