/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects at the broker: bytes that one process makes and all others attach.
 *
 *     GET   nobody has it       -> the asker gets a token and builds
 *           it is being built   -> the asker waits
 *           the pool has it     -> the asker gets a lease and a descriptor
 *     PUT   by who has the token: checked, kept, and everybody who waits is answered
 *     ABORT by who has the token: everybody who waits gets the reason
 *     GET   by a thread that builds what the other builder waits for -> RP_ERR_CYCLE, at once
 *     the builder's connection ends, or it gave up, or sent rubbish: the next who waits builds
 *
 * What is kept is an entry of the broker's pool: type "object", its key as the name, its bytes as
 * what it takes, its destructor closing the descriptor. So the ledger, the budget, the eviction of
 * what nobody leases, the events and the statistics are the pool's. The registry only knows what
 * the pool cannot: builds, which go on in another process and outlive a builder, and who leases
 * what over which connection. It keeps no list of objects that are there: whether one is, the
 * pool says, and no eviction has to be told here.
 *
 * The pool's own single flight is not used for builds, since each of its waiters is a thread.
 *
 * One thread, the broker's loop, makes all calls. Only the work that rp_objects_host.defer() is
 * given runs elsewhere: admission may have to wait for room.
 */
#ifndef RP_MACHINE_OBJECT_H
#define RP_MACHINE_OBJECT_H

#include <resourcepool/pool.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rp_objects;

/* An answer to a GET or PUT: which connection asked, and the number of its request. */
struct rp_objects_asker {
    void *client; /* only compared, and handed back */
    uint32_t number;
    uint64_t thread; /* of its process, that waits or builds; 0: unknown */
};

/*
 * What the registry needs; a test brings its own. Each GET and PUT gets exactly one answer, unless
 * it was cancelled or its client left. None of the answers
 * may call the registry.
 */
struct rp_objects_host {
    void *user;

    /* The descriptor stays the registry's. */
    void (*have)(void *user, struct rp_objects_asker asker, uint64_t lease_id, uint64_t size,
                 int fd);
    void (*build)(void *user, struct rp_objects_asker asker, uint64_t token);
    void (*fail)(void *user, struct rp_objects_asker asker, const rp_error *why);

    /* `work` on some other thread, then `done` in the loop; false: no thread could be had. */
    bool (*defer)(void *user, void (*work)(void *job), void (*done)(void *job), void *job);

    /* A number that no other lease or token has. */
    uint64_t (*next_id)(void *user);

    /* The process behind a connection, and what it was called with, for messages. */
    pid_t (*pid)(void *user, void *client);
    const char *(*command)(void *user, void *client);
};

/*
 * pool       outlives the registry; the objects in it may outlive both
 * count_max  how many objects may be kept at once; 0: half of the descriptors that the process
 *            may have open, at most RP_LIMIT_OBJECTS
 */
rp_status rp_objects_open(const struct rp_objects_host *host, rp_pool *pool, size_t count_max,
                          struct rp_objects **objects, rp_error *err);

/*
 * Everything leased is given back. No deferred `work` may run any more; what is `done` or was never
 * begun is taken back, and must not be called later. Accepts NULL.
 */
void rp_objects_close(struct rp_objects *objects);

/* deadline_ns: for waiting only, as of rp_clock_ns(); who gets to build has no deadline. */
void rp_objects_get(struct rp_objects *objects, struct rp_objects_asker asker, const char *key,
                    int64_t deadline_ns);

/* The descriptor is the registry's from now on. The token is used up either way. */
void rp_objects_put(struct rp_objects *objects, struct rp_objects_asker asker, uint64_t token,
                    int fd);

/*
 * `why` goes to everybody who waits; RP_ERR_CANCELLED: it only was given up, the next one builds.
 * A token that is not that client's is passed over: there is no answer to an abort.
 */
void rp_objects_abort(struct rp_objects *objects, void *client, uint64_t token,
                      const rp_error *why);

/* Nobody waits for the answer of that number any more: no wait, build or lease of it is left. */
void rp_objects_cancel(struct rp_objects *objects, struct rp_objects_asker asker);

/* False: there is no such lease of that client's. retires: nobody is to get that object any more,
 * and the next who asks makes it. */
bool rp_objects_release(struct rp_objects *objects, void *client, uint64_t lease_id, bool retires);

/* The connection ended. Its builds go to the next who waits. */
void rp_objects_leave(struct rp_objects *objects, void *client);

/* When the next wait runs out; RP_NEVER_NS. And end those that have. */
int64_t rp_objects_next_deadline_ns(const struct rp_objects *objects);
void rp_objects_expire(struct rp_objects *objects, int64_t now_ns);

/* What is going on, for status. */
struct rp_objects_build_info {
    const char *key;
    void *client; /* who builds; NULL: it has left, what it sent is being kept */
    size_t wait_count;
    int64_t since_ns; /* rp_clock_ns() */
};
struct rp_objects_lease_info {
    const char *key; /* borrowed from the pool */
    void *client;
    uint64_t lease_id;
    uint64_t size;
    int64_t since_ns; /* rp_clock_ns() */
};
void rp_objects_list(const struct rp_objects *objects, void *user,
                     void (*build)(void *user, const struct rp_objects_build_info *info),
                     void (*lease)(void *user, const struct rp_objects_lease_info *info));

/* Leases and builds: while there are any, the broker is not idle. */
size_t rp_objects_use_count(const struct rp_objects *objects);

#endif
