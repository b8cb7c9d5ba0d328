/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a caller asks a pool for, and the constructor that makes it when nobody has it yet.
 */
#ifndef RESOURCEPOOL_REQUEST_H
#define RESOURCEPOOL_REQUEST_H

#include <resourcepool/api.h>
#include <resourcepool/placement.h>
#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

/** A load in progress, as its constructor sees it. Dies when the constructor returns. */
typedef struct rp_build rp_build;

/** A way to call a request off from another thread. */
typedef struct rp_cancel rp_cancel;

/**
 * Make the object.
 *
 * Called at most once at a time for one instance, on the thread of the caller that asked first, and
 * never under a lock: it may take as long as it needs and may use the pool, from any thread it
 * likes (threads other than the one it was called on say so with rp_request.within).
 *
 * On success stores a pointer that is not NULL in *object and returns RP_OK. On failure returns
 * something else after rp_fail(err, ...): every caller that waits gets that message. `user` is
 * borrowed from the request for the call.
 */
typedef rp_status (*rp_constructor)(rp_build *build, void *user, void **object, rp_error *err);

/**
 * Unmake what a constructor made. Called exactly once, under no lock, on whichever thread lets go
 * last; may use the pool, for instance to release leases that the object holds.
 */
typedef void (*rp_destructor)(void *object);

/** How a constructor knows the bytes that it tells. */
typedef enum rp_bytes_method {
    RP_BYTES_CONSTRUCTOR = 1, /* it says so                                                     */
    RP_BYTES_TENSORS = 2,     /* its parameters and buffers were counted, each storage once     */
    RP_BYTES_ARRAYS = 3,      /* its arrays were counted, each memory once                      */
    RP_BYTES_BUFFER = 4,      /* it is so many bytes                                            */
    RP_BYTES_CONTENTS = 5,    /* what was found inside was counted; there may be more           */
    RP_BYTES_FILE = 6,        /* the file that it was loaded from has so many                   */
    RP_BYTES_VOCABULARY = 7,  /* estimated from the number of words                             */
    RP_BYTES_NOT_ITS_OWN = 8, /* nobody can say, and what the process grew by stays behind when
                                 it goes: a library                                             */
    RP_BYTES_SHARED = 9,      /* what it has beside memory that processes share was counted     */
} rp_bytes_method;

/** What is asked for. Zero and NULL mean the default; start from RP_REQUEST_INIT. */
typedef struct rp_request {
    size_t size;      /* sizeof(rp_request): lets the struct grow                                */
    const char *type; /* the family or kind of thing, such as "embedding"; required              */
    const char *name; /* which one, such as "bert-base-uncased"; may be NULL for a resource      */
    const char *device;    /* "cpu", "cuda:1"; NULL or "auto": the pool chooses    */
    const char *precision; /* "fp32", "fp16", ...; NULL: as stored */
    const char *engine;    /* which engine loads the file; NULL: the first that can    */
    const char *path; /* the model's file, if `name` is not its path; not with `construct`       */
    uint32_t threads; /* threads of one inference; 0: the engine's default, which is 1           */
    rp_constructor construct; /* makes it; NULL: an engine loads a model from its file */
    rp_destructor destroy;    /* unmakes it; NULL: nothing to do    */
    void *user;         /* given to `construct`                                                 */
    int64_t timeout_ms; /* how long to wait at most; 0: as long as it takes                     */
    rp_cancel *cancel;  /* NULL: cannot be called off                                           */
    rp_build *within;   /* the load on whose behalf another thread of its constructor asks      */
    uint64_t memory_bytes;  /* what it will take, as the caller knows; 0: the pool estimates     */
    const char *devices;    /* where else it may go, best first, when `device` has no room or no
                               memory: "cuda:1,cpu"; NULL: nowhere                               */
    const char *precisions; /* lower precisions that would do, best first: "fp16,int8"; taken
                               when no device has memory for it, and in low-memory mode; NULL   */
    const rp_preferences *preferences; /* more of what the caller would like of a model; `device`,
                               `precision` and `engine` of the request go before theirs; NULL    */
    int only_loaded; /* not 0: what another request of these words found or made is leased at once;
                        otherwise RP_ERR_NOT_FOUND, with nothing looked up, waited for or counted */
} rp_request;

/* clang-format off */
#define RP_REQUEST_INIT {sizeof(rp_request), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

RP_BEGIN_DECLS

/** Where the object is to be put. Borrowed until the constructor returns. */
RP_API const rp_placement *rp_build_placement(const rp_build *build);

/** The instance that is being made, for people: "embedding:bert-base-uncased@cpu". Borrowed. */
RP_API const char *rp_build_key(const rp_build *build);

/**
 * Say how many bytes the object takes, as the constructor knows it. Otherwise, and when the process
 * was seen to grow by more, the pool takes what it measured while nothing else loaded.
 */
RP_API void rp_build_set_bytes(rp_build *build, uint64_t memory_bytes);

/**
 * The same, and how that is known: statistics have the method's name. What was counted whole (of
 * tensors, arrays, a buffer, beside what is shared) stands, however much the process grew beside
 * it. The bytes of RP_BYTES_NOT_ITS_OWN are RP_UNKNOWN_U64.
 */
RP_API void rp_build_set_bytes_by(rp_build *build, uint64_t memory_bytes, rp_bytes_method method);

/** "constructor", "tensors", ...; NULL for what is no method. Static storage. */
RP_API const char *rp_bytes_method_name(rp_bytes_method method);

/**
 * Whether the one who asked has gone: its deadline has passed or its token was fired. A
 * constructor that can stop early looks now and then and returns RP_ERR_CANCELLED; whoever else
 * waits then builds it. Any thread, costs a clock reading.
 */
RP_API int rp_build_is_cancelled(const rp_build *build);

/** Make a token, to be given to any number of requests. The caller's: rp_cancel_destroy(). */
RP_API RP_MUST_CHECK rp_status rp_cancel_create(rp_cancel **cancel, rp_error *err);

/** Call off every request that has the token, now and later. Any thread; returns at once. */
RP_API void rp_cancel_fire(rp_cancel *cancel);

/**
 * Let a token ask: while a request that has it waits, `poll` is called some twenty times a second,
 * on the thread that waits and under no lock. What it returns other than 0 calls that request off,
 * and no other. It may use the pool and give leases back. Before any request has the token.
 */
RP_API void rp_cancel_set_poll(rp_cancel *cancel, int (*poll)(void *user), void *user);

/** Accepts NULL. No request that was given the token may still be running. */
RP_API void rp_cancel_destroy(rp_cancel *cancel);

RP_END_DECLS

#endif
